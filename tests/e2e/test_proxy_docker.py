#!/usr/bin/python3
"""What Docker does with HTTPS_PROXY, request by request: CONNECT to registry, token server and the store that the registry redirects blobs to,
TLS with certificates of the peer's authority, signed URLs that are good for a few requests. Four peers, each by way of its own proxy: two
with a rule for the registry's blobs, two with one for the store alone.

usage: test_proxy_docker.py BUILD_DIR [TEST...]"""
import base64
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import re
import secrets
import shutil
import ssl
import sys
import tempfile
import threading
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, run_tests_in                                        # noqa: E402
from engines_support import equal, together                                   # noqa: E402
from tls_support import Authority                                             # noqa: E402

MIB = 1 << 20
NAMES = ("registry.localhost", "tokens.localhost", "store.localhost")
WORD = "Basic " + base64.b64encode(b"puller:secret").decode()
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", **fields):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        host = self.headers["Host"].partition(":")[0]
        with self.server.lock:
            self.server.seen.append((host, self.command, self.path, dict(self.headers)))
        {NAMES[0]: self.registry, NAMES[1]: self.tokens, NAMES[2]: self.store}[host]()

    do_HEAD = do_GET

    def registry(self):
        s = self.server
        if self.headers.get("Authorization") != "Bearer T":
            return self.reply(401, b"{}", WWW_Authenticate=f'Bearer realm="https://{NAMES[1]}:{s.port}/token",service="hub"',
                              Docker_Distribution_Api_Version="registry/2.0")
        if self.path in s.documents:
            return self.reply(200, s.documents[self.path], Content_Type=MANIFEST, Docker_Content_Digest=digest(s.documents[self.path]))
        name = self.path.rpartition("/")[2]
        if name not in s.blobs:
            return self.reply(404, b"{}")
        # A signature for this answer alone.
        signature = secrets.token_hex(32)
        with s.lock:
            s.left[signature] = s.uses
        self.reply(307, b"", Location=f"https://{NAMES[2]}:{s.port}/v2/blobs/sha256/{name[7:9]}/{name[7:]}/data?X-Amz-Algorithm=AWS4-HMAC-SHA256&"
                   f"X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}")

    def tokens(self):
        ok = self.headers.get("Authorization") == WORD and "scope=repository%3Alib%2Fapp%3Apull" in self.path
        self.reply(200 if ok else 401, json.dumps({"token": "T"}).encode() if ok else b"{}", Content_Type="application/json")

    def store(self):
        s = self.server
        url = urllib.parse.urlsplit(self.path)
        signature = urllib.parse.parse_qs(url.query).get("X-Amz-Signature", [""])[0]
        if "Authorization" in self.headers:
            return self.reply(400, b"two ways to say who asks")
        with s.lock:
            s.left[signature] = s.left.get(signature, 0) - 1
            good = s.left[signature] >= 0
        if not good:
            return self.reply(403, b"expired")
        body = s.blobs["sha256:" + url.path.split("/")[-2]]
        total, status, fields = len(body), 200, {}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            first, last = int(asked[1]), min(int(asked[2] or total), total - 1)
            body, status, fields = body[first:last + 1], 206, {"Content_Range": f"bytes {first}-{last}/{total}"}
        with s.lock:
            s.sent[url.path.split("/")[-2]] = s.sent.get(url.path.split("/")[-2], 0) + len(body)
        self.reply(status, body, Content_Type="application/octet-stream", Accept_Ranges="bytes", **fields)


class Hub(http.server.ThreadingHTTPServer):
    """Registry, tokens and store, by the name that is asked. uses: how many requests a signature is good for."""
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, tls, uses):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.lock = threading.Lock()
        self.uses, self.left, self.seen, self.sent = uses, {}, [], {}
        content = (os.urandom(9 * MIB), os.urandom(5 * MIB + 1), os.urandom(300))
        self.blobs = {digest(b): b for b in content}
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [{"digest": d} for d in self.blobs]}).encode()
        self.documents = {f"/v2/lib/app/manifests/{name}": self.manifest for name in ("1", digest(self.manifest))} | {"/v2/": b"{}"}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, request, address):
        pass

    def stop(self):
        self.shutdown()
        self.server_close()


class Docker:
    """A client that keeps one tunnel for each host."""

    def __init__(self, peer, hub):
        self.peer, self.hub, self.tunnels = peer, hub, {}
        self.trust = ssl.create_default_context(cafile=f"{peer.store}/proxy-ca/ca.crt")

    def ask(self, url, method="GET", **fields):
        u = urllib.parse.urlsplit(url)
        if u.netloc not in self.tunnels:
            c = http.client.HTTPSConnection("127.0.0.1", self.peer.proxy_port, context=self.trust, timeout=30)
            c.set_tunnel(u.hostname, u.port)
            self.tunnels[u.netloc] = c
        c = self.tunnels[u.netloc]
        c.request(method, u.path + (f"?{u.query}" if u.query else ""), headers={n.replace("_", "-"): v for n, v in fields.items()})
        r = c.getresponse()
        return r, r.read()

    def pull(self):
        """{digest: header of the answer that brought it}, hosts that were asked."""
        base = f"https://{NAMES[0]}:{self.hub.port}"
        r, _ = self.ask(f"{base}/v2/")
        equal((r.status, r.getheader("Docker-Distribution-Api-Version")), (401, "registry/2.0"), "who asks")
        realm = re.search(r'realm="([^"]+)"', r.getheader("WWW-Authenticate"))[1]
        r, body = self.ask(f"{realm}?account=puller&scope=repository%3Alib%2Fapp%3Apull&service=hub", Authorization=WORD)
        equal(r.status, 200, "token")
        token = {"Authorization": "Bearer " + json.loads(body)["token"]}
        r, _ = self.ask(f"{base}/v2/lib/app/manifests/1", "HEAD", Accept=MANIFEST, **token)
        name = r.getheader("Docker-Content-Digest")
        r, manifest = self.ask(f"{base}/v2/lib/app/manifests/{name}", Accept=MANIFEST, **token)
        equal((r.status, r.getheader("Content-Type"), digest(manifest), r.getheader("X-Dragonfly-Task-ID")), (200, MANIFEST, name, None), "manifest")
        came = {}
        for blob in [layer["digest"] for layer in json.loads(manifest)["layers"]]:
            r, body = self.ask(f"{base}/v2/lib/app/blobs/{blob}", Accept_Encoding="identity", **token)
            if r.status == 307:
                r, body = self.ask(r.getheader("Location"), Accept_Encoding="identity", Referer=f"{base}/v2/lib/app/blobs/{blob}")
            equal((r.status, digest(body)), (200, blob), "blob")
            came[blob] = r.headers
        return came, {n.partition(":")[0] for n in self.tunnels}


class World:
    """Peers 1 and 2 have a rule for the registry's blobs, 3 and 4 one for the store."""

    def __init__(self, build):
        with contextlib.ExitStack() as stack:
            self.home = tempfile.mkdtemp(prefix="dragonfly-test-")
            stack.callback(shutil.rmtree, self.home, ignore_errors=True)
            self.ca = Authority(self.home)
            self.pair = self.ca.leaf("hub", ",".join(f"DNS:{n}" for n in NAMES), "server")
            self.hubs = []
            self.cluster = stack.enter_context(Cluster(build, peers=4, start=False, config={"proxy": {"registryMirror": {"cert": self.ca.cert}}}))
            for i, peer in enumerate(self.cluster.peers):
                peer.config["proxy"]["rules"] = [{"regex": f"{NAMES[0]}.*/blobs/sha256.*" if i < 2 else f"{NAMES[2]}.*", "schedulingPolicy": "always"}]
            self.cluster.start()
            self.close = stack.pop_all().close

    @contextlib.contextmanager
    def hub(self, uses):
        hub = Hub(self.pair, uses)
        self.hubs.append(hub)
        try:
            yield hub
        finally:
            hub.stop()

    def ends_well(self):
        for peer in self.cluster.all:
            code, log = peer.stop(), peer.log()
            assert code in (0, None) and "Sanitizer" not in log and "runtime error" not in log, f"{peer.name} ended with {code}:\n{log[-6000:]}"
            for secret in ["Bearer T", WORD, *(s for hub in self.hubs for s in hub.left if s)]:
                assert secret not in log, f"{peer.name} wrote a secret to its log: {secret}"


world = None


def pull_at(peers, hub):
    results = [None] * len(peers)

    def one(i):
        results[i] = Docker(peers[i], hub).pull()
    together(*(lambda i=i: one(i) for i in range(len(peers))))
    for blob, content in hub.blobs.items():
        sent = hub.sent.get(blob[7:], 0)
        # Each host asks for one byte, to learn the length.
        assert len(content) <= sent <= len(content) + len(peers) + 1, (blob, len(content), sent)
    return results


def test_blobs_of_the_registry_come_from_the_cluster(build):
    """The redirect is followed by the daemon; a signature that has run out has it ask the registry again."""
    with world.hub(2) as hub:
        for came, hosts in pull_at(world.cluster.peers[:2], hub):
            equal(hosts, set(NAMES[:2]), "hosts that the client itself asked")
            for blob, header in came.items():
                equal(header["X-Dragonfly-Task-ID"], blob[7:], "task")
        refused = [e for e in hub.seen if e[0] == NAMES[2] and ("Authorization" in e[3] or "Bearer" in str(e[3]))]
        equal(refused, [], "the store sees no credentials")


def test_what_the_registry_redirects_to_comes_from_the_cluster(build):
    """The client gets the redirect. Each has a signature of its own, the content is one task all the same."""
    with world.hub(50) as hub:
        results = pull_at(world.cluster.peers[2:], hub)
        for came, hosts in results:
            equal(hosts, set(NAMES), "hosts that the client itself asked")
            equal([h["X-Dragonfly-Task-ID"] for h in came.values()], [h["X-Dragonfly-Task-ID"] for h in results[0][0].values()], "tasks")
            assert all(h["X-Dragonfly-Task-ID"] for h in came.values())


if __name__ == "__main__":
    sys.exit(run_tests_in(World, World.ends_well, globals(), sys.argv))
