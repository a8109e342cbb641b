"""An origin whose behaviour a test writes, and HTTP clients that show every byte, for the tests of the proxy."""
import hashlib
import http.client
import http.server
import socket
import ssl
import threading
import time

from cluster import PATIENCE_S, Cluster, wait_for

MIB = 1 << 20
F1 = bytes(i % 251 for i in range(10 * MIB))
SMALL = F1[:MIB]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.body = self.read_body()
        if self.server.keeps_log:
            with self.server.lock:
                self.server.log.append((self.command, self.path, list(self.headers.items()), self.body))
        self.server.answer(self, self.path.partition("?")[0])

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_PURGE = do_GET

    def read_body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                self.server.trailers.append(line)
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, status, body=b"", *fields):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        if not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in fields):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_file(self, body, *fields, ranges=True, rate=0):
        """A file with validators; one range. rate: bytes a second."""
        fields = (("ETag", '"e1"'), ("Content-Type", "application/octet-stream"), *fields)
        wanted = self.headers.get("Range", "")
        total = len(body)
        status = 200
        if ranges and wanted.startswith("bytes="):
            first, _, last = wanted[6:].partition("-")
            if int(first) >= total:
                return self.reply(416, b"", ("Content-Range", f"bytes */{total}"))
            last = min(int(last), total - 1) if last else total - 1
            body = body[int(first):last + 1]
            fields += (("Content-Range", f"bytes {first}-{last}/{total}"),)
            status = 206
        if not rate or self.command == "HEAD":
            return self.reply(status, body, *fields)
        self.reply(status, b"", ("Content-Length", str(len(body))), *fields)
        for at in range(0, len(body), rate // 20):
            self.wfile.write(body[at:at + rate // 20])
            time.sleep(0.05)


class ScriptedOrigin(http.server.ThreadingHTTPServer):
    """paths: path -> function(handler). Others are 404. log: (method, path with query, header fields, body). tls: (certificate, key)."""
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, paths=None, tls=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths = {
            "/p2p/f1": lambda h: h.reply_file(F1),
            "/p2p/small": lambda h: h.reply_file(SMALL),
            "/p2p/empty": lambda h: h.reply_file(b"", ranges=False),
            "/p2p/auth": lambda h: h.reply(401, b"no", ("WWW-Authenticate", "Bearer realm=\"a\""), ("WWW-Authenticate", "Basic realm=\"b\"")),
            "/p2p/norange": lambda h: h.reply_file(F1, ranges=False),
            "/direct/x": lambda h: h.reply(200, b"hello", ("X-Several", "1"), ("X-Several", "2")),
            "/direct/r": lambda h: h.reply(302, b"", ("Location", "http://127.0.0.1:9/y")),
            **(paths or {}),
        }
        self.log = []
        self.keeps_log = True
        self.trailers = []
        self.lock = threading.Lock()
        self.port = self.server_address[1]
        self.scheme = "https" if tls else "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, request, address):
        pass            # clients may go away

    def answer(self, handler, path):
        self.paths.get(path, lambda h: h.reply(404, b"none"))(handler)

    def url(self, path):
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def seen(self, path=None, method=None):
        with self.lock:
            return [e for e in self.log if (path is None or e[1].partition("?")[0] == path) and (method is None or e[0] == method)]

    def stop(self):
        self.shutdown()
        self.server_close()


def daemon(build, config=None, before=None, **more):
    """One daemon with a scheduler inside; the rule /p2p/ and the one for blobs, digest mode off. before: called with the cluster before it starts."""
    c = Cluster(build, peers=0, start=False, **more)
    peer = c.seed
    proxy = peer.config["proxy"]
    proxy["rules"] = [{"regex": "blobs/sha256.*"}, {"regex": "/p2p/"}]
    proxy["registryMirror"] = {"enableTaskIDBasedBlobDigest": False}
    for key, value in (config or {}).items():
        if isinstance(value, dict):
            proxy.setdefault(key, {}).update(value)
        else:
            proxy[key] = value
    if before:
        before(c)
    c.start()
    return c


class Answer:
    def __init__(self, r):
        self.status, self.version = r.status, r.version
        self.fields = r.getheaders()
        self.body = r.read()

    def get(self, name):
        values = [v for n, v in self.fields if n.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def is_p2p(self):
        return self.get("X-Dragonfly-Task-ID") is not None

    @property
    def is_direct(self):
        return not any(n.lower().startswith("x-dragonfly") for n, _ in self.fields)

    @property
    def type(self):
        return self.get("X-Dragonfly-Error-Type")


def ask(port, target, headers=None, method="GET", body=None, connection=None, **more):
    """target: absolute for a forward proxy, a path for the mirror."""
    c = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    c.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    c.putheader("Host", "client.example")
    for name, value in (headers.items() if isinstance(headers, dict) else headers or []):
        c.putheader(name, value)
    if isinstance(body, bytes):
        c.putheader("Content-Length", str(len(body)))
    elif body is not None:
        c.putheader("Transfer-Encoding", "chunked")
    c.endheaders(body, encode_chunked=body is not None and not isinstance(body, bytes), **more)
    answer = Answer(c.getresponse())
    if connection is None:
        c.close()
    return answer


def raw(port, data, shut=False, seconds=PATIENCE_S):
    """Sends bytes; everything that comes until the end. A reset counts as an end and is told."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as s:
        s.sendall(data)
        if shut:
            s.shutdown(socket.SHUT_WR)
        out = b""
        try:
            while block := s.recv(65536):
                out += block
        except ConnectionResetError:
            return out, True
        return out, False


def open_get(port, target, headers=(), receive_buffer=None):
    """A socket on which a GET was sent."""
    s = socket.socket()
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.settimeout(PATIENCE_S)
    s.connect(("127.0.0.1", port))
    lines = [f"GET {target} HTTP/1.1", "Host: client.example", *(f"{n}: {v}" for n, v in headers), "", ""]
    s.sendall("\r\n".join(lines).encode())
    return s


def read_n(s, n):
    out = bytearray()
    while len(out) < n and (block := s.recv(min(65536, n - len(out)))):
        out += block
    return bytes(out)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def has_pieces(peer, count):
    """Waits until so many pieces came from the source or peers."""
    wait_for(lambda: peer.metric("dragonfly_client_download_piece_duration_milliseconds_count", type="BackToSource") >= count, 10,
             f"{count} pieces")
