"""HTTPS through the proxy: CONNECT intercepted with minted certificates, for curl, Python, Go and skopeo; the authority made at the
first start or given; blind tunnels; what goes wrong. The upstream is a TLS server in this process with a certificate of
tests/vectors/tls. usage: SCRIPT BUILD_DIR [NAME...]"""
import base64
import hashlib
import http.server
import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading

from cluster import Cluster, Peer, free_ports, http_get, run_tests_in, wait_for

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors", "tls")
UPSTREAM_CA = os.path.join(VECTORS, "ca.crt")
SIZE = 5 * 1024 * 1024 + 17
F1 = bytes(i % 251 for i in range(SIZE))
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


NAME = "registry.localhost"


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError("%s: %r, expected %r" % (what, got, expected))


def contains(text, part, what=""):
    if part not in text:
        raise AssertionError("%s: %r is not in %r" % (what, part, text[:2000]))


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Image:
    """The smallest image there is: one empty tar as its layer."""
    layer = b"\0" * 10240
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
        "type": "layers", "diff_ids": [digest(layer)]}}).encode()
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": LAYER_TYPE, "digest": digest(layer), "size": len(layer)}]}).encode()
    files = {"manifests/1": (MANIFEST_TYPE, manifest), "manifests/" + digest(manifest): (MANIFEST_TYPE, manifest),
             "blobs/" + digest(config): ("application/octet-stream", config),
             "blobs/" + digest(layer): ("application/octet-stream", layer)}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def content(self):
        path = self.path.partition("?")[0]
        if path == "/p2p/f1":
            return "application/octet-stream", F1
        if path == "/direct/x":
            return "text/plain", b"hello"
        if path.startswith("/git/") and self.server.git:
            file = os.path.join(self.server.git, os.path.normpath(path[len("/git/"):]))
            return ("application/octet-stream", open(file, "rb").read()) if os.path.isfile(file) else (None, None)
        if path == "/v2/":
            return "application/json", b"{}"
        if path.startswith("/v2/app/"):
            return Image.files.get(path[len("/v2/app/"):], (None, None))
        return None, None

    def do_GET(self):
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        kind, body = self.content()
        status = 200 if body is not None else 404
        total = len(body or b"")
        wanted = self.headers.get("Range")
        extra = []
        if wanted and body is not None:
            first, _, last = wanted.partition("=")[2].partition("-")
            first, last = int(first), min(int(last or total - 1), total - 1)
            extra.append(("Content-Range", f"bytes {first}-{last}/{total}"))
            body, status = body[first:last + 1], 206
        self.send_response(status)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(body or b"")))
        if kind == MANIFEST_TYPE:
            self.send_header("Docker-Content-Digest", digest(body))
        for name, value in extra:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body or b"")

    do_HEAD = do_GET


class Upstream:
    """An HTTP server; over TLS with the certificate and key in that path + .crt, .key."""

    def __init__(self, cert=None):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.seen = self.seen = []
        self.server.git = None
        self.port = self.server.server_address[1]
        if cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{cert}.crt", f"{cert}.key")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def wait_port(port):
    wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, 15, f"port {port} answers")


class World:
    def __init__(self, build):
        self.dir = tempfile.mkdtemp(prefix="dragonfly-test-")
        self.tls = Upstream(self.make_certificate())
        self.plain = Upstream()
        self.expired = Upstream(f"{VECTORS}/expired")
        self.cluster = Cluster(build, peers=0, config={
            "proxy": {"rules": [{"regex": "/p2p/"}, {"regex": "blobs/sha256.*"}], "registryMirror": {
                "addr": f"http://127.0.0.1:{self.plain.port}", "cert": UPSTREAM_CA}}})
        self.peer = self.cluster.seed
        self.ca = f"{self.peer.store}/proxy-ca/ca.crt"
        self.proxy = f"http://127.0.0.1:{self.peer.proxy_port}"
        self.more = 0

    def make_certificate(self):
        """For localhost and its address, and for a name that Go does not take for a loopback address."""
        path = f"{self.dir}/upstream"
        with open(f"{path}.ext", "w") as f:
            f.write(f"subjectAltName=DNS:localhost,DNS:{NAME},IP:127.0.0.1\n")
        for args in (["req", "-nodes", "-newkey", "rsa:2048", "-keyout", f"{path}.key", "-out", f"{path}.csr", "-subj", "/CN=upstream"],
                     ["x509", "-req", "-in", f"{path}.csr", "-CA", UPSTREAM_CA, "-CAkey", f"{VECTORS}/ca.key", "-CAcreateserial",
                      "-CAserial", f"{path}.srl", "-days", "9", "-extfile", f"{path}.ext", "-out", f"{path}.crt"]):
            subprocess.run(["openssl", *args], check=True, capture_output=True)
        return path

    def extra_peer(self, proxy):
        """A daemon beside the first, with other settings of the proxy."""
        self.more += 1
        p = Peer(self.cluster, f"extra{self.more}", False, False)
        p.config["proxy"]["registryMirror"] = {"addr": f"http://127.0.0.1:{self.plain.port}", "cert": UPSTREAM_CA}
        p.config["proxy"]["server"].update(proxy)
        self.cluster.all.append(p)
        p.start()
        wait_port(p.proxy_port)
        return p

    def url(self, path, host="localhost"):
        return f"https://{host}:{self.tls.port}{path}"

    def check_logs(self):
        """Of daemons built with sanitizers, also what they say at their end."""
        for p in self.cluster.all:
            p.stop()
            for word in ("Sanitizer", "runtime error"):
                equal([line for line in p.log().splitlines() if word in line], [], p.name)

    def close(self):
        self.cluster.close()
        for server in (self.tls, self.plain, self.expired):
            server.close()
        shutil.rmtree(self.dir, ignore_errors=True)


world = None


def curl(url, *args, proxy=None, ca=None):
    """(exit code, headers, body) through the proxy."""
    args = ["curl", "-sS", "-m", "20", "-D", "-", "-x", proxy or world.proxy, "--cacert", ca or world.ca, *args, url]
    p = subprocess.run(args, capture_output=True, timeout=30, env={**os.environ, "NO_PROXY": "", "no_proxy": ""})
    out = p.stdout
    head = b""
    while out.startswith(b"HTTP/"):
        head, _, out = out.partition(b"\r\n\r\n")
    return p.returncode, head.decode(), out


def tunnel(host, port, version="1.1", fields="", proxy_port=None):
    """A socket behind a CONNECT; (socket, head of the answer)."""
    s = socket.create_connection(("127.0.0.1", proxy_port or world.peer.proxy_port), 10)
    s.sendall(f"CONNECT {host}:{port} HTTP/{version}\r\nHost: {host}:{port}\r\n{fields}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        got = s.recv(1)
        if not got:
            break
        head += got
    return s, head.decode()


def client_context(ca=None, alpn=None):
    context = ssl.create_default_context(cafile=ca or world.ca)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def ask(s, path="/direct/x", fields=""):
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n".encode())
    data = b""
    while got := s.recv(65536):
        data += got
    return data


def test_authority_is_made_once(build):
    key = os.path.join(os.path.dirname(world.ca), "ca.key")
    equal(stat.S_IMODE(os.stat(key).st_mode), 0o600, "mode of the key")
    contains(world.peer.log(), f"cert={world.ca}", "a line says where it lies")
    before = open(world.ca).read()
    world.peer.stop()
    world.peer.start()
    wait_port(world.peer.proxy_port)
    equal(open(world.ca).read(), before, "the same after a restart")
    equal(world.peer.log().count("made a certificate authority"), 1, "made once")


def test_curl_trusts_the_authority(build):
    for host in ("localhost", "127.0.0.1"):
        code, head, body = curl(world.url("/direct/x", host))
        equal((code, body), (0, b"hello"), f"curl to {host}")
        contains(head, "HTTP/1.1 200")
        equal("x-dragonfly" in head.lower(), False, "direct")
        _, path, seen = world.tls.seen[-1]
        equal((path, seen["Host"]), ("/direct/x", f"{host}:{world.tls.port}"), "what the upstream saw")


def test_intercepted_gets_go_through_the_cluster(build):
    url = world.url("/p2p/f1", "127.0.0.1")
    via = world.peer.metric("dragonfly_client_proxy_request_via_dfdaemon_total")
    code, head, body = curl(url)
    equal(code, 0, "curl")
    equal(body == F1, True, "the content")
    contains(head.lower(), "x-dragonfly-task-id: " + hashlib.sha256(url.encode() + b"STANDARD").hexdigest(), "the task")
    count = len(world.tls.seen)
    code, head, body = curl(url, "-r", "4194300-4194309")
    equal((code, body), (0, F1[4194300:4194310]), "a range")
    equal(len(world.tls.seen), count, "from the store")
    equal(world.peer.metric("dragonfly_client_proxy_request_via_dfdaemon_total"), via + 2, "counted")


def test_certificate_is_for_the_address_and_is_kept(build):
    seen = []
    for _ in range(8):
        s, head = tunnel("127.0.0.1", world.tls.port)
        contains(head, "HTTP/1.1 200")
        equal("length" in head.lower() or "transfer" in head.lower(), False, "no length in the answer to CONNECT")
        with client_context().wrap_socket(s, server_hostname="127.0.0.1") as t:
            equal(t.getpeercert()["subjectAltName"], (("IP Address", "127.0.0.1"),), "names")
            seen.append((t.getpeercert()["notBefore"], t.getpeercert(binary_form=True)))
    # Whichever data loop takes the connection; on another day it is another one.
    equal(len(set(seen)), len({day for day, _ in seen}), "one certificate")


def test_old_connect_works(build):
    s, head = tunnel("localhost", world.tls.port, version="1.0")
    contains(head, "HTTP/1.0 200")
    with client_context().wrap_socket(s, server_hostname="localhost") as t:
        contains(ask(t), b"hello")


def test_protocols_are_agreed_on(build):
    s, _ = tunnel("localhost", world.tls.port)
    with client_context(alpn=["h2", "http/1.1"]).wrap_socket(s, server_hostname="localhost") as t:
        equal(t.selected_alpn_protocol(), "http/1.1", "the one we know")
    s, _ = tunnel("localhost", world.tls.port)
    try:
        client_context(alpn=["h2"]).wrap_socket(s, server_hostname="localhost")
        raise AssertionError("h2 alone was accepted")
    except ssl.SSLError as e:
        contains(str(e).lower(), "alert no application protocol", "refused by an alert")
    s.close()
    wait_for(lambda: "offers no protocol of ours, such as http/1.1 (alert no_application_protocol)" in world.peer.log(), 10, "a line in the log")
    equal("does not trust" in world.peer.log(), False, "it has nothing to do with certificates")


def test_curl_with_http2_in_mind(build):
    """It takes HTTP/1.1 where that is agreed on; where it insists, it ends at once, and the log says why."""
    for flag in ("--http2", "--http2-prior-knowledge"):
        code, head, body = curl(world.url("/direct/x"), flag)
        equal((code, head[:12], body), (0, "HTTP/1.1 200", b"hello"), flag)
    plain = f"http://localhost:{world.plain.port}/direct/x"
    refused = world.peer.log().count("HTTP/2 preface on an HTTP/1 port")
    equal(curl(plain, "-p", "--http2-prior-knowledge")[::2] != (0, b"hello"), True, "in a tunnel without TLS")
    equal(curl(plain, "--http2-prior-knowledge", proxy=world.proxy)[2], b"hello", "a request to the proxy itself is HTTP/1.1 for curl")
    wait_for(lambda: world.peer.log().count("HTTP/2 preface on an HTTP/1 port") == refused + 1, 10, "a line in the log")


def test_requests_inside_keep_the_connection(build):
    s, _ = tunnel("localhost", world.tls.port)
    with client_context().wrap_socket(s, server_hostname="localhost") as t:
        for _ in range(3):
            t.sendall(b"GET /direct/x HTTP/1.1\r\nHost: somebody.else\r\n\r\n")
            data = b""
            while not data.endswith(b"hello"):
                data += t.recv(4096)
        t.sendall(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n")
        contains(t.recv(4096), b"400", "CONNECT inside a tunnel")


def test_plain_http_inside_a_tunnel(build):
    s, _ = tunnel("127.0.0.1", world.plain.port)
    contains(ask(s), b"hello")
    s.close()


def test_names_without_certificate_are_refused(build):
    for host in ("10.0.0.256", "*.example.com", "a..b"):
        s, head = tunnel(host, 443)
        contains(head, "HTTP/1.1 400", host)
        s.close()


def test_untrusting_client_is_told_of(build):
    def distrust(host):
        s, _ = tunnel(host, world.tls.port)
        try:
            ssl.create_default_context(cafile=UPSTREAM_CA).wrap_socket(s, server_hostname=host)
            raise AssertionError("trusted by everybody")
        except ssl.SSLCertVerificationError:
            pass
        s.close()

    def told(host):
        return sum("does not trust the proxy's certificates" in line and f"host={host}:" in line for line in world.peer.log().splitlines())

    for _ in range(4):          # on each data loop twice
        for host in ("localhost", "other.localhost"):
            distrust(host)
    for host in ("localhost", "other.localhost"):
        wait_for(lambda: sum("ended before its first request" in line and f"host={host}:" in line and "unknown_ca" in line
                             for line in world.peer.log().splitlines()) >= 4, 10, "the ends of the tunnels are in the log")
        equal(told(host), 1, f"a line for {host}")


def test_sessions_of_clients_are_resumed(build):
    """By Python's ssl, connection after connection (on whichever loop), and by openssl s_client; each carries a request."""
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session, reused = None, []
    for _ in range(4):
        s, _ = tunnel("localhost", world.tls.port)
        with context.wrap_socket(s, server_hostname="localhost", session=session) as t:
            contains(ask(t), b"hello")
            session = t.session
            reused.append(t.session_reused)
    equal(reused, [False, True, True, True], "resumed")
    # What was agreed on for one host is of no use to who was not there.
    s, _ = tunnel("localhost", world.tls.port)
    with client_context().wrap_socket(s, server_hostname="localhost") as t:
        equal(t.session_reused, False, "a stranger")
    p = subprocess.run(["openssl", "s_client", "-proxy", f"127.0.0.1:{world.peer.proxy_port}", "-connect", f"localhost:{world.tls.port}", "-tls1_2",
                        "-reconnect", "-CAfile", world.ca], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, text=True)
    equal((p.stdout.count("\nNew, TLSv1.2"), p.stdout.count("\nReused, TLSv1.2")), (1, 5), p.stdout[-2000:] + p.stderr[-2000:])


def test_sessions_with_upstreams_are_resumed(build):
    """openssl s_server says of each connection whether it is a new session, and ends it: each data loop agrees on one and comes back to it."""
    port = free_ports(1)[0]
    key = f"{world.dir}/upstream"
    with subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", f"{key}.crt", "-key", f"{key}.key", "-www", "-quiet"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_port(port)
            new = reused = 0
            while reused < 5 and new < 100:
                code, _, body = curl(f"https://localhost:{port}/")
                equal(code, 0, "curl")
                new += body.count(b"\nNew, TLSv1.2,")
                reused += body.count(b"\nReused, TLSv1.2,")
            equal(reused, 5, f"resumed, beside {new} new ones")
        finally:
            server.kill()


def test_upstream_is_verified(build):
    code, head, body = curl(f"https://localhost:{world.expired.port}/direct/x")
    equal(code, 0, "the tunnel works")
    contains(head, "HTTP/1.1 502")
    contains(head, "X-Dragonfly-Error-Type: backend")
    contains(body.decode(), "expired", "the cause")
    code, head, body = curl(f"https://localhost:{world.expired.port}/p2p/f1")
    contains(head, "HTTP/1.1 502", "through the cluster")


def test_tls_on_the_plain_port_without_an_authority(build):
    hello = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = hello.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    with socket.create_connection(("127.0.0.1", world.peer.proxy_port), 10) as s:
        s.sendall(outgoing.read())
        contains(s.recv(100), b"HTTP/1.1 400")
        while s.recv(1000):
            pass


def make_authority(name, kind):
    path = world.cluster.path(name)
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-newkey", *kind, "-keyout", f"{path}.key", "-out", f"{path}.crt", "-days", "30",
                    "-sha256", "-subj", f"/O=Test/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign"], check=True,
                   capture_output=True)
    os.chmod(f"{path}.key", 0o600)
    return f"{path}.crt", f"{path}.key"


def test_given_authority_signs(build):
    cert, key = make_authority("given", ["rsa:2048"])
    peer = world.extra_peer({"caCert": cert, "caKey": key})
    proxy = f"http://127.0.0.1:{peer.proxy_port}"
    equal(os.path.exists(f"{peer.store}/proxy-ca"), False, "none is made")
    code, _, body = curl(world.url("/direct/x"), proxy=proxy, ca=cert)
    equal((code, body), (0, b"hello"), "curl")
    # TLS on the proxy's own port: mirror requests by name and by address, and requests to a proxy over TLS.
    for host in ("localhost", "127.0.0.1"):
        p = subprocess.run(["curl", "-sS", "-m", "20", "--noproxy", "*", "--cacert", cert, f"https://{host}:{peer.proxy_port}/direct/x"],
                           capture_output=True, timeout=30)
        equal((p.returncode, p.stdout), (0, b"hello"), f"TLS to {host}: {p.stderr}")
    code, _, body = curl(f"http://127.0.0.1:{world.plain.port}/direct/x", "--proxy-cacert", cert,
                         proxy=f"https://localhost:{peer.proxy_port}", ca=cert)
    equal((code, body), (0, b"hello"), "a proxy over TLS")
    code, _, _ = curl(world.url("/direct/x"), "--proxy-cacert", cert, proxy=f"https://localhost:{peer.proxy_port}", ca=cert)
    equal(code != 0, True, "TLS inside TLS is refused")
    with socket.create_connection(("127.0.0.1", peer.proxy_port), 10) as s:
        contains(ask(s), b"hello", "plain text still works")
    peer.stop()


def test_broken_authority_stops_the_start(build):
    cert, key = make_authority("broken", ["rsa:2048"])
    peer = Peer(world.cluster, "broken", False, False)
    peer.config["proxy"]["server"].update({"caCert": cert, "caKey": f"{VECTORS}/server.key"})
    peer.start(wait=False)
    equal(peer.process.wait(15) != 0, True, "it ends")
    contains(peer.log(), "proxy.server.caCert", "names the key")
    contains(peer.log(), f"{VECTORS}/server.key: not the key of the first certificate", "names the file")


def test_only_chosen_hosts_are_intercepted(build):
    peer = world.extra_peer({"interceptHosts": ["127.0.0.1"]})
    s, head = tunnel("localhost", world.tls.port, proxy_port=peer.proxy_port)
    contains(head, "200")
    with client_context(ca=UPSTREAM_CA).wrap_socket(s, server_hostname="localhost") as t:
        contains(ask(t), b"hello", "the upstream's own certificate")
    s, head = tunnel("127.0.0.1", world.tls.port, proxy_port=peer.proxy_port)
    with client_context(ca=f"{peer.store}/proxy-ca/ca.crt").wrap_socket(s, server_hostname="127.0.0.1") as t:
        contains(ask(t), b"hello", "ours")
    s, head = tunnel("localhost", 1, proxy_port=peer.proxy_port)
    contains(head, "HTTP/1.1 502", "nobody there")
    peer.stop()


def test_credentials_inside_tunnels(build):
    peer = world.extra_peer({"basicAuth": {"username": "admin", "password": "dragonfly"}, "interceptHosts": ["localhost"]})
    ca = f"{peer.store}/proxy-ca/ca.crt"
    word = "Basic " + base64.b64encode(b"admin:dragonfly").decode()
    rows = (("", "", b"401"), ("", f"Authorization: {word}\r\n", b"200"), (f"Proxy-Authorization: {word}\r\n", "", b"200"))
    for outer, inner, want in rows:
        s, head = tunnel("localhost", world.tls.port, fields=outer, proxy_port=peer.proxy_port)
        contains(head, "200")
        with client_context(ca=ca).wrap_socket(s, server_hostname="localhost") as t:
            contains(ask(t, fields=inner), b"HTTP/1.1 " + want, outer + inner)
            equal("Authorization" in world.tls.seen[-1][2], False, "the upstream does not see it")
    s, head = tunnel("localhost", world.tls.port, fields="Proxy-Authorization: Basic YTpi\r\n", proxy_port=peer.proxy_port)
    contains(head, "HTTP/1.1 407")
    s.close()
    # Where nobody looks inside, the CONNECT itself needs it.
    for outer, want in (("", "407"), (f"Proxy-Authorization: {word}\r\n", "200")):
        s, head = tunnel("127.0.0.1", world.tls.port, fields=outer, proxy_port=peer.proxy_port)
        contains(head, f"HTTP/1.1 {want}", "a blind tunnel")
        s.close()
    peer.stop()


def test_tunnels_that_never_speak_end(build):
    before = world.peer.descriptors()
    socks = [tunnel("localhost", world.tls.port)[0] for _ in range(100)]
    for i, s in enumerate(socks):
        if i % 2:
            s.sendall(b"\x16\x03\x01\x02\x00\x01")
        s.close()
    wait_for(lambda: world.peer.descriptors() <= before + 2, 10, "their sockets are closed")


def test_python_requests(build):
    import requests
    with requests.Session() as session:
        session.trust_env = False
        session.verify = world.ca
        session.proxies = {"https": world.proxy, "http": world.proxy}
        for path, body in (("/direct/x", b"hello"), ("/p2p/f1", F1)):
            answer = session.get(world.url(path), timeout=20)
            equal((answer.status_code, answer.content == body), (200, True), path)
        equal(session.get(world.url("/none"), timeout=20).status_code, 404, "an upstream's error")


GO = """package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

func main() {
	pem, _ := os.ReadFile(os.Args[1])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	proxy, _ := url.Parse(os.Args[2])
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	for _, u := range os.Args[3:] {
		answer, err := client.Get(u)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		fmt.Printf("%d %s %x %v\\n", answer.StatusCode, answer.Proto, sha256.Sum256(body), err)
	}
}
"""


def test_go_net_http(build):
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not os.path.exists(go):
        print("   without go")
        return
    cache = os.path.join(build, "tests", "go")
    os.makedirs(cache, exist_ok=True)
    source, program = f"{cache}/get.go", f"{cache}/get"
    if not os.path.exists(source) or open(source).read() != GO or not os.path.exists(program):
        with open(source, "w") as f:
            f.write(GO)
        env = {**os.environ, "GO111MODULE": "off", "CGO_ENABLED": "0"}
        p = subprocess.run([go, "build", "-o", program, source], env=env, capture_output=True, timeout=300)
        equal(p.returncode, 0, p.stderr.decode())
    # Go reaches loopback addresses without its proxy unless it is set in the program, as here.
    p = subprocess.run([program, world.ca, world.proxy, world.url("/direct/x"), world.url("/p2p/f1?go", "127.0.0.1")],
                       capture_output=True, timeout=60)
    lines = [f"200 HTTP/1.1 {hashlib.sha256(body).hexdigest()} <nil>" for body in (b"hello", F1)]
    equal(p.stdout.decode().splitlines(), lines, p.stderr.decode())


def test_apt_and_wget(build):
    helper = "/usr/lib/apt/apt-helper"
    env = {**os.environ, "https_proxy": world.proxy, "no_proxy": "", "NO_PROXY": ""}
    for name, program, args in (
            ("apt", helper, ["-o", f"Acquire::https::Proxy={world.proxy}", "-o", f"Acquire::https::CAInfo={world.ca}", "-o",
                             "APT::Sandbox::User=root", "download-file", world.url("/p2p/f1"), world.cluster.path("by-apt"),
                             "SHA256:" + hashlib.sha256(F1).hexdigest()]),
            ("wget", shutil.which("wget"), ["-q", f"--ca-certificate={world.ca}", "-O", world.cluster.path("by-wget"), world.url("/p2p/f1")])):
        if not program or not os.path.exists(program):
            print(f"   without {name}")
            continue
        p = subprocess.run([program, *args], env=env, capture_output=True, timeout=60)
        equal(p.returncode, 0, p.stderr.decode() + p.stdout.decode())
        with open(world.cluster.path(f"by-{name}"), "rb") as f:
            equal(f.read() == F1, True, name)


def test_git_clones(build):
    if not shutil.which("git"):
        print("   without git")
        return
    home = world.cluster.path("git")
    env = {**os.environ, "HOME": home, "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
           "GIT_COMMITTER_EMAIL": "a@b", "GIT_SSL_CAINFO": world.ca, "no_proxy": "", "NO_PROXY": ""}

    def git(*args):
        p = subprocess.run(["git", "-c", "gc.auto=0", "-c", f"http.proxy={world.proxy}", *args], env=env,
                           capture_output=True, timeout=60)
        equal(p.returncode, 0, p.stderr.decode())

    os.makedirs(home)
    git("init", "-q", f"{home}/work")
    with open(f"{home}/work/file", "wb") as f:
        f.write(F1)
    git("-C", f"{home}/work", "add", "file")
    git("-C", f"{home}/work", "commit", "-q", "-m", "one")
    git("clone", "-q", "--bare", f"{home}/work", f"{home}/bare")
    git("-C", f"{home}/bare", "update-server-info")
    world.tls.server.git = f"{home}/bare"
    git("clone", "-q", world.url("/git"), f"{home}/clone")
    with open(f"{home}/clone/file", "rb") as f:
        equal(f.read() == F1, True, "the file")


def test_skopeo_copies_an_image(build):
    if not shutil.which("skopeo"):
        print("   without skopeo")
        return
    certs = world.cluster.path("certs")
    os.makedirs(certs, exist_ok=True)
    shutil.copy(world.ca, f"{certs}/ca.crt")
    to = world.cluster.path("image")
    # Go programs ask "localhost" without their proxy; this name only the proxy has to resolve.
    env = {**os.environ, "HTTPS_PROXY": world.proxy, "NO_PROXY": "", "no_proxy": "", "HOME": world.cluster.dir}
    p = subprocess.run(["skopeo", "--insecure-policy", "copy", "--src-cert-dir", certs, f"docker://{NAME}:{world.tls.port}/app:1",
                        f"dir:{to}"], env=env, capture_output=True, timeout=60)
    equal(p.returncode, 0, p.stderr.decode())
    with open(f"{to}/{digest(Image.layer)[7:]}", "rb") as f:
        equal(f.read(), Image.layer, "the layer")
    equal(json.load(open(f"{to}/manifest.json")), json.loads(Image.manifest), "the manifest")


def test_skopeo_with_the_files_of_dfinit(build):
    """A mirror in registries.conf: TLS to the proxy's port is tried first and must fail in the way that lets skopeo go on."""
    if not shutil.which("skopeo"):
        print("   without skopeo")
        return
    conf, to = world.cluster.path(".config/containers/registries.conf"), world.cluster.path("mirrored")
    with open(world.cluster.path("dfinit.yaml"), "w") as f:
        f.write(f"proxy: {{addr: '{world.proxy}'}}\ncontainerRuntime:\n  podman:\n    configPath: {conf}\n"
                "    registries: [{prefix: registry.example.com, location: registry.example.com}]\n")
    subprocess.run([f"{build}/dfinit", "-c", world.cluster.path("dfinit.yaml"), "--restart-sentinel", world.cluster.path("restart")],
                   check=True, timeout=20)
    env = {**os.environ, "HOME": world.cluster.dir}
    p = subprocess.run(["skopeo", "--insecure-policy", "copy", "docker://registry.example.com/app:1", f"dir:{to}"], env=env,
                       capture_output=True, timeout=60)
    equal(p.returncode, 0, p.stderr.decode())
    equal(json.load(open(f"{to}/manifest.json")), json.loads(Image.manifest), "the manifest")


def test_containerd_with_the_files_of_dfinit(build):
    """hosts.toml of a registry and of all: containerd's own client fetches an image through the proxy."""
    if not shutil.which("containerd") or not shutil.which("ctr") or os.geteuid() != 0:
        print("   without containerd")
        return
    home = world.cluster.path("containerd")
    os.makedirs(home)
    with open(f"{home}/config.toml", "w") as f:
        f.write(f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\ndisabled_plugins = ["io.containerd.internal.v1.restart"]\n'
                f'[grpc]\naddress = "{home}/sock"\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{home}/certs"\n')
    with open(f"{home}/dfinit.yaml", "w") as f:
        f.write(f"proxy: {{addr: '{world.proxy}'}}\ncontainerRuntime:\n  containerd:\n    configPath: {home}/config.toml\n"
                f"    registries: [{{hostNamespace: registry.example.com, serverAddr: 'http://127.0.0.1:{world.plain.port}'}}]\n")
    subprocess.run([f"{build}/dfinit", "-c", f"{home}/dfinit.yaml", "--restart-sentinel", f"{home}/restart"], check=True, timeout=20)
    # The CRI plugin itself wants more of a host than a test has.
    config = open(f"{home}/config.toml").read().replace("internal.v1.restart", "grpc.v1.cri")
    with open(f"{home}/config.toml", "w") as f:
        f.write(config)
    with open(f"{home}/log", "w") as log:
        daemon = subprocess.Popen(["containerd", "-c", f"{home}/config.toml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        ctr = ["ctr", "--address", f"{home}/sock", "content", "fetch", "--hosts-dir", f"{home}/certs"]
        wait_for(lambda: subprocess.run(["ctr", "--address", f"{home}/sock", "version"], capture_output=True, timeout=10).returncode == 0, 20,
                 "containerd answers", step=0.1)
        before = world.peer.metric("dragonfly_client_proxy_request_via_dfdaemon_total")
        # A registry with a directory of its own, and one that only the query "ns" names.
        for host in ("registry.example.com", f"{NAME}:{world.tls.port}"):
            p = subprocess.run([*ctr, f"{host}/app:1"], capture_output=True, timeout=60)
            equal(p.returncode, 0, p.stderr.decode() + p.stdout.decode())
        equal(world.peer.metric("dragonfly_client_proxy_request_via_dfdaemon_total") > before, True, "blobs come by way of the cluster")
    finally:
        daemon.terminate()
        daemon.wait(15)


if __name__ == "__main__":
    sys.exit(run_tests_in(World, World.check_logs, globals(), sys.argv))
