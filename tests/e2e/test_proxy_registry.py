#!/usr/bin/python3
"""A real registry with token authentication behind the proxies of a seed and three peers: an image is pushed through one of them with skopeo
and pulled through all; digests are equal, each blob leaves the registry once.

usage: test_proxy_registry.py BUILD_DIR [TEST...]"""
import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, free_ports, http_get, run_tests, wait_for       # noqa: E402
from proxy_support import ask                                                 # noqa: E402
from test_proxy import ends_well                                              # noqa: E402

MIB = 1 << 20
USER, WORD = "puller", "secret"
TOOLS = ("docker-registry", "skopeo", "openssl")


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Tokens(http.server.ThreadingHTTPServer):
    """Gives everybody who knows the password what they ask for, signed."""
    daemon_threads = True

    def __init__(self, home):
        super().__init__(("127.0.0.1", 0), TokenHandler)
        self.port = self.server_address[1]
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
        ok = self.headers.get("Authorization") == f"Basic {given}"
        scopes = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("scope", [])
        body = json.dumps({"token": self.server.token([s for one in scopes for s in one.split(" ")])} if ok else {}).encode()
        self.send_response(200 if ok else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Registry:
    def __init__(self, home, tokens):
        self.home, self.port = home, free_ports(1)[0]
        self.log_path = f"{home}/registry.log"
        config = {
            "version": "0.1",
            "log": {"formatter": "json", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": f"{home}/registry"}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{self.port}", "relativeurls": True},
            "auth": {"token": {"realm": f"http://127.0.0.1:{tokens.port}/token", "service": "registry", "issuer": "tests",
                               "rootcertbundle": tokens.cert}},
        }
        with open(f"{home}/registry.yml", "w") as f:
            json.dump(config, f)
        self.log_file = open(self.log_path, "w")
        self.process = subprocess.Popen([shutil.which("docker-registry"), "serve", f"{home}/registry.yml"], stdin=subprocess.DEVNULL,
                                        stdout=self.log_file, stderr=self.log_file)
        wait_for(self.answers, 10, "the registry answers")

    def answers(self):
        try:
            http_get(f"http://127.0.0.1:{self.port}/v2/")
        except OSError as e:
            return getattr(e, "code", 0) == 401
        return False

    def answered(self):
        """(method, uri, status, bytes) of each answer."""
        out = []
        with open(self.log_path) as f:
            for line in f:
                with contextlib.suppress(ValueError):
                    e = json.loads(line)
                    if e.get("msg") == "response completed":
                        out.append((e["http.request.method"], e["http.request.uri"], e["http.response.status"], e.get("http.response.written", 0)))
        return out

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


def skopeo(home, *args):
    done = subprocess.run(["skopeo", "--insecure-policy", "--tmpdir", home, *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")})
    assert done.returncode == 0, done.stderr + done.stdout


@contextlib.contextmanager
def world(build):
    with contextlib.ExitStack() as stack:
        home = tempfile.mkdtemp(prefix="dragonfly-test-")
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        tokens = Tokens(home)
        stack.callback(tokens.server_close)
        stack.callback(tokens.shutdown)
        registry = Registry(home, tokens)
        stack.callback(registry.stop)
        proxy = {"rules": [{"regex": "blobs/sha256.*", "schedulingPolicy": "always"}], "registryMirror": {"addr": f"http://127.0.0.1:{registry.port}"}}
        c = stack.enter_context(Cluster(build, peers=3, config={"proxy": proxy}))
        yield home, c, registry


def test_push_and_pull_through_three_peers(build):
    missing = [t for t in TOOLS if not shutil.which(t)]
    if missing:
        print("skipped: no " + ", ".join(missing))
        return
    with world(build) as (home, c, registry):
        blobs, manifest = make_image(f"{home}/image", (12 * MIB, 5 * MIB, 20000))
        creds = f"{USER}:{WORD}"
        first = c.peers[0].proxy_port
        skopeo(home, "copy", "--dest-tls-verify=false", "--dest-creds", creds, f"oci:{home}/image:1", f"docker://127.0.0.1:{first}/lib/app:1")
        pushed = [e for e in registry.answered() if e[0] in ("POST", "PATCH", "PUT")]
        assert len(pushed) >= 3 * len(blobs), pushed
        a = ask(first, "/v2/")
        assert a.status == 401 and a.get("WWW-Authenticate").startswith("Bearer realm=") and a.is_direct, a.fields
        before = len(registry.answered())
        pulls = []
        for i, peer in enumerate(c.peers):
            pulls.append(threading.Thread(target=skopeo, args=(
                home, "copy", "--src-tls-verify=false", "--src-creds", creds, f"docker://127.0.0.1:{peer.proxy_port}/lib/app:1",
                f"dir:{home}/pulled{i}")))
        for p in pulls:
            p.start()
        for p in pulls:
            p.join(90)
        for i in range(3):
            with open(f"{home}/pulled{i}/manifest.json", "rb") as f:
                assert "sha256:" + hashlib.sha256(f.read()).hexdigest() == manifest
            for digest in blobs:
                with open(f"{home}/pulled{i}/{digest}", "rb") as f:
                    assert hashlib.sha256(f.read()).hexdigest() == digest
        for digest, size in blobs.items():
            sent = [e for e in registry.answered()[before:] if e[0] == "GET" and digest in e[1]]
            # Each host asks for one byte, to learn the length.
            assert size <= sum(e[3] for e in sent) <= size + 4, (digest, size, sent)
        for peer in c.all:
            assert creds not in peer.log() and "Bearer ey" not in peer.log(), peer.name
        ends_well(c)


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
