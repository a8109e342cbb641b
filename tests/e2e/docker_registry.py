"""Debian's docker-registry with token authentication, for tests: in the clear or over TLS; images made of random bytes."""
import base64
import collections
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import ssl
import subprocess
import tarfile
import threading
import time
import urllib.parse
import urllib.request

from cluster import free_ports, wait_for

MIB = 1 << 20
USER, WORD = "puller", "secret"
Answered = collections.namedtuple("Answered", "method uri status size")


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Tokens(http.server.ThreadingHTTPServer):
    """Gives everybody who knows the password what they ask for, signed. tls: (certificate, key), files."""
    daemon_threads = True

    def __init__(self, home, tls=None):
        super().__init__(("127.0.0.1", 0), TokenHandler)
        self.port = self.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/token"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.key, self.cert = f"{home}/token.key", f"{home}/token.crt"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tokens", "-days", "1", "-keyout", self.key,
                        "-out", self.cert], check=True, capture_output=True)
        der = subprocess.run(["openssl", "x509", "-in", self.cert, "-outform", "DER"], check=True, capture_output=True).stdout
        self.header = b64(json.dumps({"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}).encode())
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def token(self, scopes):
        now = int(time.time())
        access = [{"type": t, "name": n, "actions": a.split(",")} for t, n, a in (s.split(":") for s in scopes)]
        claims = {"iss": "tests", "sub": USER, "aud": "registry", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": str(now), "access": access}
        text = f"{self.header}.{b64(json.dumps(claims).encode())}"
        signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), check=True, capture_output=True).stdout
        return f"{text}.{b64(signed)}"


class TokenHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        given = base64.b64encode(f"{USER}:{WORD}".encode()).decode()
        self.answer(self.headers.get("Authorization") == f"Basic {given}", urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query))

    def do_POST(self):
        """OAuth 2, which containerd asks first."""
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.answer((form.get("username"), form.get("password")) == ([USER], [WORD]), form)

    def answer(self, ok, fields):
        token = self.server.token([s for one in fields.get("scope", []) for s in one.split(" ")]) if ok else None
        body = json.dumps({"token": token, "access_token": token} if ok else {}).encode()
        self.send_response(200 if ok else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Registry:
    """tls: (certificate, key), files; realm: another URL of the token server. Registries in one home have the same images."""

    def __init__(self, home, tokens, tls=None, realm=None):
        self.port = free_ports(1)[0]
        self.scheme = "https" if tls else "http"
        self.log_path = f"{home}/registry-{self.port}.log"
        config = {
            "version": "0.1",
            "log": {"formatter": "json", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": f"{home}/registry"}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{self.port}", "relativeurls": True},
            "auth": {"token": {"realm": realm or tokens.url, "service": "registry", "issuer": "tests",
                               "rootcertbundle": tokens.cert}},
        }
        if tls:
            config["http"]["tls"] = {"certificate": tls[0], "key": tls[1]}
        with open(f"{home}/registry-{self.port}.yml", "w") as f:
            json.dump(config, f)
        self.log_file = open(self.log_path, "w")
        self.process = subprocess.Popen([shutil.which("docker-registry"), "serve", f"{home}/registry-{self.port}.yml"], stdin=subprocess.DEVNULL,
                                        stdout=self.log_file, stderr=self.log_file)
        wait_for(self.answers, 10, "the registry answers")

    def answers(self):
        try:
            context = ssl._create_unverified_context()
            urllib.request.urlopen(f"{self.scheme}://127.0.0.1:{self.port}/v2/", timeout=5, context=context).close()
        except OSError as e:
            return getattr(e, "code", 0) == 401
        return False

    def answered(self):
        """What was answered, in order."""
        out = []
        with open(self.log_path) as f:
            for line in f:
                with contextlib.suppress(ValueError):
                    e = json.loads(line)
                    if e.get("msg") == "response completed":
                        out.append(Answered(e["http.request.method"], e["http.request.uri"], e["http.response.status"],
                                            e.get("http.response.written", 0)))
        return out

    def sent(self, digest, repository="", after=0, least=0):
        """Bytes of a blob that GETs got since the answer `after`. Lines of the log come a moment after their answers: waits for `least`."""
        def count():
            return sum(e.size for e in self.answered()[after:] if e.method == "GET" and f"{repository}/blobs/sha256:{digest}" in e.uri)
        wait_for(lambda: count() >= least, 20, f"the registry's log tells of {least} bytes of {digest}")
        return count()

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.log_file.close()


def layer(size):
    """A compressed tar with one file of random bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as t:
        info = tarfile.TarInfo(f"file-{size}")
        info.size = size
        t.addfile(info, io.BytesIO(os.urandom(size)))
    return plain.getvalue(), gzip.compress(plain.getvalue(), 1)


def make_image(path, sizes):
    """An OCI layout; digests and sizes of its blobs."""
    blobs = {}
    os.makedirs(f"{path}/blobs/sha256")

    def put(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{path}/blobs/sha256/{digest}", "wb") as f:
            f.write(data)
        blobs[digest] = len(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    layers, plain = [], []
    for size in sizes:
        tar, packed = layer(size)
        plain.append("sha256:" + hashlib.sha256(tar).hexdigest())
        layers.append(put(packed, "application/vnd.oci.image.layer.v1.tar+gzip"))
    config = put(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": plain}, "config": {}}).encode(),
                 "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}
    content = dict(blobs)
    top = put(json.dumps(manifest).encode(), manifest["mediaType"])
    with open(f"{path}/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [{**top, "annotations": {"org.opencontainers.image.ref.name": "1"}}]}, f)
    with open(f"{path}/oci-layout", "w") as f:
        json.dump({"imageLayoutVersion": "1.0.0"}, f)
    return content, top["digest"]
