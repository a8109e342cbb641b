"""A registry of container images for tests: one image, TLS, tokens."""
import collections
import hashlib
import http.server
import json
import os
import re
import ssl
import subprocess
import threading
import urllib.parse

MIB = 1 << 20


class Registry:
    """An https registry with one image for linux/amd64 and linux/arm64, which wants a token of its own token server."""

    def __init__(self, directory):
        self.cert = f"{directory}/registry.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{directory}/registry.key", "-out", self.cert,
                        "-days", "2", "-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        self.blobs = {}
        self.documents = {}
        self.reads = collections.Counter()
        entries = []
        for arch in ("amd64", "arm64"):
            layers = [self.add_blob(os.urandom(5 * MIB)), self.add_blob(os.urandom(200))]
            body = json.dumps({"config": {"digest": self.add_blob(arch.encode())}, "layers": [{"digest": d} for d in layers]}).encode()
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            self.documents[digest] = ("application/vnd.oci.image.manifest.v1+json", body)
            entries.append({"digest": digest, "platform": {"os": "linux", "architecture": arch}})
        self.documents["1.2"] = ("application/vnd.oci.image.index.v1+json", json.dumps({"manifests": entries}).encode())
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, kind, body, **fields):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", kind)
                for name, value in fields.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                registry.get(self)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, f"{directory}/registry.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add_blob(self, content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    def image(self, arch):
        """Hex digests of what its manifest names."""
        index = json.loads(self.documents["1.2"][1])
        digest = next(m["digest"] for m in index["manifests"] if m["platform"]["architecture"] == arch)
        manifest = json.loads(self.documents[digest][1])
        return sorted(d["digest"][7:] for d in [manifest["config"], *manifest["layers"]])

    def get(self, h):
        url = urllib.parse.urlsplit(h.path)
        query = urllib.parse.parse_qs(url.query)
        authorization = h.headers.get("Authorization")
        if url.path == "/token":
            good = query.get("scope") == ["repository:team/app:pull"] and authorization == "Basic dXNlcjpzZWNyZXQ="
            h.answer(200 if good else 401, "application/json", json.dumps({"access_token": "T"}).encode())
        elif authorization != "Bearer T":
            h.answer(401, "application/json", b"{}",
                     WWW_Authenticate=f'Bearer realm="https://{self.host}/token",service="here"')
        elif url.path.startswith("/v2/team/app/manifests/") and url.path.split("/")[-1] in self.documents:
            h.answer(200, *self.documents[url.path.split("/")[-1]])
        elif url.path.startswith("/v2/team/app/blobs/") and url.path.split("/")[-1] in self.blobs:
            self.blob(h, url.path.split("/")[-1])
        else:
            h.answer(404, "application/json", b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')

    def blob(self, h, digest):
        body = self.blobs[digest]
        first, last = 0, len(body) - 1
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", h.headers.get("Range", ""))
        if asked:
            first, last = int(asked[1]), min(int(asked[2] or last), last)
        self.reads[digest] += last - first + 1
        h.answer(206 if asked else 200, "application/octet-stream", body[first:last + 1], Accept_Ranges="bytes",
                 Content_Range=f"bytes {first}-{last}/{len(body)}")

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
