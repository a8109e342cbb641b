#!/usr/bin/python3
"""What goes wrong at the proxy: each cause has its status, says in its body and in the log what it is, and comes to an end.

usage: test_proxy_errors.py BUILD_DIR [TEST...]"""
import base64
import contextlib
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import free_ports, run_tests_in, wait_for                          # noqa: E402
from proxy_support import F1, MIB, SMALL, Answer, ScriptedOrigin, ask, daemon, open_get, raw, sha  # noqa: E402
from strangers import Relay, own_address                                     # noqa: E402
from test_proxy_table import authority_of, ends_well, same, tunnel           # noqa: E402
from tls_support import Authority                                            # noqa: E402

FAILURES = "dragonfly_client_proxy_request_failure_total"
GOOD = {"Authorization": "Basic " + base64.b64encode(b"admin:dragonfly").decode()}


class RawServer:
    """Accepts, reads a head, sends these bytes and closes; None: says nothing and keeps the connection."""

    def __init__(self, answer):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.kept = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        s.settimeout(60)
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (block := s.recv(65536)):
                head += block
            if self.answer is None:
                self.kept.append(s)
                return
            s.sendall(self.answer)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        s.close()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def stop(self):
        self.listener.close()
        for s in self.kept:
            s.close()


def pieces_answer(how):
    """A file of 10 MiB whose first byte is given as asked, and whose pieces as `how` says."""
    return lambda h: h.reply_file(F1) if h.headers.get("Range") == "bytes=0-0" else how(h)


class World:
    """plain: as most are. strict: a credential, lists of what is blocked and allowed, little space, no source. hasty: short
    times. none: no request in a second. remote: files where other hosts want them."""

    def __init__(self, build):
        self.dir = tempfile.mkdtemp(prefix="dragonfly-test-")
        self.ca = Authority(self.dir)
        self.O = ScriptedOrigin({
            "/p2p/403": lambda h: h.reply(403, b"<xml>AccessDenied</xml>", ("X-Amz-Request-Id", "r1"), ("Content-Type", "application/xml"), ("ETag", '"no"')),
            "/p2p/429": lambda h: h.reply(429, b"", ("Retry-After", "7")), "/p2p/503": lambda h: h.reply(503, b"busy"),
            "/p2p/304": lambda h: h.reply(304), "/p2p/nowhere": lambda h: h.reply(302, b""),
            "/p2p/pieces-403": pieces_answer(lambda h: h.reply(403, b"", ("X-Why", "late"))), "/p2p/pieces-500": pieces_answer(lambda h: h.reply(500, b"")),
            "/p2p/pieces-whole": pieces_answer(lambda h: h.reply_file(F1, ranges=False)),
            "/p2p/pieces-other": pieces_answer(lambda h: h.reply(206, F1[:100], ("Content-Range", f"bytes 0-99/{len(F1)}"))),
            "/p2p/loop": lambda h: h.reply(302, b"", ("Location", self.O.url("/p2p/loop"))),
            "/p2p/ftp": lambda h: h.reply(302, b"", ("Location", "ftp://h/x")),
            f"/v2/a/blobs/sha256:{sha(SMALL)}": lambda h: h.reply_file(b"x" * 100),
        })
        self.T = ScriptedOrigin(tls=Authority(self.dir, "unknown").leaf("untrusted"))
        self.silent = RawServer(None)
        self.garbage, self.nothing = RawServer(b"SSH-2.0-OpenSSH_9.2\r\n"), RawServer(b"")
        self.endless = RawServer(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + SMALL[:1000])
        self.short = RawServer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nshort")
        self.closed = free_ports(1)[0]
        mirror = {"addr": self.O.url(""), "cert": self.ca.cert}
        no_retries = lambda c: c.seed.config.update(backend={"maxRetries": 0})     # noqa: E731
        self.plain = daemon(build, {"registryMirror": mirror, "server": {"interceptHosts": ["127.0.0.1"]}}, before=no_retries)

        def strict(c):
            no_retries(c)
            c.seed.config["x"]["storage"] = {"capacity": "8MiB"}
            with open(os.path.join(c.seed.home, "dynconfig.yaml"), "w") as f:
                f.write(f"scheduler: {{addrs: ['127.0.0.1:{c.scheduler_port}']}}\n"
                        "seedClientConfig: {blockList: {task: {download: {urls: ['/p2p/blocked'], tags: [bad]}}}}\n")
        self.strict = daemon(build, {
            "registryMirror": {**mirror, "allow": ["127.0.0.1"]}, "disableBackToSource": True,
            "server": {"basicAuth": {"username": "admin", "password": "dragonfly"}, "interceptHosts": ["127.0.0.1"]}}, before=strict)

        def hasty(c):
            no_retries(c)
            c.seed.config["download"]["pieceTimeout"] = "1s"
            c.seed.config["x"]["proxy"] = {"answerTimeout": "1s"}
        self.hasty = daemon(build, {"registryMirror": mirror}, before=hasty)
        self.none = daemon(build, {"registryMirror": mirror, "server": {"requestRateLimit": 0}})
        self.remote = daemon(build, {"registryMirror": mirror, "server": {"allowRemoteOutputPath": True}})

    @property
    def daemons(self):
        return self.plain, self.strict, self.hasty, self.none, self.remote

    def close(self):
        for d in self.daemons:
            d.close()
        for server in (self.O, self.T, self.silent, self.garbage, self.nothing, self.endless, self.short):
            server.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


world = None


def check(what, d, a, status, kind, words, fields=()):
    """The answer, and the line in the log of daemon d that says the same."""
    same((what, (a.status, a.type), (status, kind)))
    text = a.body.decode()
    assert text.endswith("\n") and text.count("\n") == 1 and re.search(words, text), (what, text)
    same((f"{what}: type of the body", a.get("Content-Type"), "text/plain; charset=utf-8"), (f"{what}: length", a.get("Content-Length"), str(len(a.body))))
    for name, value in fields:
        same((f"{what}: {name}", a.get(name), value))
    line = f'status={status} type={kind} cause="' if kind else 'bad request client='
    said = text[:-1]
    wait_for(lambda: any(line in one and said in one for one in d.seed.log().splitlines()), 10, f"{what}: a line in the log with {text!r}")


def of(d, target, headers=None, **more):
    return ask(d.seed.proxy_port, target, headers, **more)


def test_what_the_proxy_refuses(build):
    d, O = world.plain, world.O
    rows = (
        ("scheme", "ftp://127.0.0.1/x", {}, 400, "scheme must be http or https"),
        ("URL", "http://h:70000/", {}, 400, "port"),
        ("mirror", "/x", {"X-Dragonfly-Registry": "http://[bad"}, 400, "invalid registry"),
        ("piece too small", O.url("/p2p/f1"), {"X-Dragonfly-Piece-Length": "1mib"}, 400, "from 4 MiB to 64 MiB"),
        ("piece too large", O.url("/p2p/f1"), {"X-Dragonfly-Piece-Length": "65mib"}, 400, "from 4 MiB to 64 MiB"),
        ("output", O.url("/p2p/f1"), {"X-Dragonfly-Output-Path": "a/b"}, 400, "must be absolute"),
        ("loop", f"http://127.0.0.1:{d.seed.proxy_port}/x", {}, 508, "its own upstream"),
        ("range", O.url("/p2p/f1"), {"Range": "bytes=10485760-"}, 416, "range not satisfiable"),
        ("range, from memory", O.url("/p2p/f1"), {"Range": "bytes=10485760-"}, 416, "range not satisfiable"),
    )
    for what, target, headers, status, words in rows:
        check(what, d, of(d, target, headers), status, "proxy", words, (("Content-Range", "bytes */10485760"),) if status == 416 else ())
    check("asterisk", d, of(d, "*", method="OPTIONS"), 400, "proxy", "URL|scheme")
    same(("nothing is spoilt", of(d, O.url("/p2p/f1")).body == F1, True))
    d = world.strict
    challenge = (("WWW-Authenticate", 'Basic realm="dragonfly"'),)
    check("no credential", d, of(d, O.url("/direct/x")), 401, "proxy", "credential required", challenge)
    check("wrong credential", d, of(d, O.url("/direct/x"), {"Authorization": "Basic YTpi"}), 401, "proxy", "wrong proxy credential", challenge)
    check("wrong credential for proxies", d, of(d, O.url("/direct/x"), {"Proxy-Authorization": "Basic YTpi"}), 401, "proxy", "wrong proxy credential",
          challenge)
    check("unreadable credential", d, of(d, O.url("/direct/x"), {"Authorization": "Basic !!!"}), 400, "proxy", "unreadable credential")
    check("blocked", d, of(d, O.url("/p2p/blocked"), GOOD), 403, "proxy", "block")
    check("blocked tag", d, of(d, O.url("/p2p/f1"), {**GOOD, "X-Dragonfly-Tag": "bad"}), 403, "proxy", "block")
    check("registry not allowed", d, of(d, "/v2/?ns=ghcr.io", GOOD), 403, "proxy", "ghcr.io")
    check("rate", world.none, of(world.none, O.url("/direct/x")), 429, "proxy", "requestRateLimit", (("Retry-After", "1"),))


def test_output_paths_of_other_hosts(build):
    own = own_address()
    if own is None:
        print("   no address but loopback: what other hosts get is not tried", flush=True)
        return
    for d, is_allowed in ((world.plain, False), (world.remote, True)):
        out = os.path.join(d.seed.home, "out")
        with Relay(d.seed.proxy_port, own) as relay:
            a = ask(relay.port, world.O.url("/p2p/small"), {"X-Dragonfly-Output-Path": out})
            if is_allowed:
                with open(out, "rb") as f:
                    same(("allowed", (a.status, f.read() == SMALL), (200, True)))
                continue
            check("another host", d, a, 403, "proxy", "is for clients on this host")
            assert not os.path.exists(out) and not world.O.seen("/p2p/small"), "the origin was asked"
            line = [one for one in d.seed.log().splitlines() if "is for clients on this host" in one][-1]
            assert f"client={own}:" in line, line
            same(("without a path", ask(relay.port, world.O.url("/p2p/small")).body == SMALL, True))


def connect(d, target, *fields):
    with socket.create_connection(("127.0.0.1", d.seed.proxy_port), 20) as s:
        s.sendall("\r\n".join([f"CONNECT {target} HTTP/1.1", "Host: x", "Connection: close", *fields, "", ""]).encode())
        return answer_on(s)


def answer_on(s):
    import http.client
    r = http.client.HTTPResponse(s)
    r.begin()
    return Answer(r)


def test_connects_that_are_refused(build):
    for target in (":443", "h:0", "h:x"):
        check(target, world.plain, connect(world.plain, target), 400, "proxy", "host:port")
    check("no name for a certificate", world.hasty, connect(world.hasty, "a..b:443"), 400, "proxy", "no certificate can be made")
    check("rate", world.none, connect(world.none, "127.0.0.1:443"), 429, "proxy", "requestRateLimit", (("Retry-After", "1"),))
    check("wrong credential", world.strict, connect(world.strict, "127.0.0.1:443", "Proxy-Authorization: Basic YTpi"), 407, "proxy", "wrong proxy credential",
          (("Proxy-Authenticate", 'Basic realm="dragonfly"'),))
    check("blind tunnels need one", world.strict, connect(world.strict, "localhost:443"), 407, "proxy", "credential",
          (("Proxy-Authenticate", 'Basic realm="dragonfly"'),))
    check("nobody there", world.plain, connect(world.plain, f"localhost:{world.closed}"), 502, "backend", "refused")
    check("no such name", world.plain, connect(world.plain, "nobody.invalid:443"), 502, "backend", "nobody.invalid")
    with tunnel(world.plain.seed.proxy_port, "127.0.0.1", 443, authority_of(world.plain.seed)) as (t, _):
        t.sendall(b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n")
        check("CONNECT inside", world.plain, answer_on(t), 400, "proxy", "inside a tunnel")


def test_what_is_no_request(build):
    """Answers before there is a request: no type, for nobody asked for anything yet."""
    d, target = world.plain, world.O.url("/direct/x")
    many = "".join(f"X-{i}: 1\r\n" for i in range(101))
    rows = (
        (b"GET /\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400), (b"\x16\x03\x01\x02\x00\x01", 400), (b"GET / HTTP/1.1\r\nHost: h\r\nA\x01: b\r\n\r\n", 400),
        (f"GET {target} HTTP/1.1\r\n{many}\r\n".encode(), 431), (f"GET {target}{'a' * 70000} HTTP/1.1\r\n\r\n".encode(), 414),
        (f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(), 400),
        (f"POST {target} HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(), 400),
        (f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc".encode(), 400),
    )
    for data, status in rows:
        count = d.seed.log().count("bad request client=")
        got, was_reset = raw(d.seed.proxy_port, data)
        head, _, body = got.partition(b"\r\n\r\n")
        assert re.match(b"HTTP/1.[01] %d " % status, head) and b"Connection: close" in head and not was_reset, (data[:50], got)
        assert body.endswith(b"\n") and body.count(b"\n") == 1 and b"x-dragonfly" not in head.lower(), got
        wait_for(lambda: d.seed.log().count("bad request client=") == count + 1, 10, "a line in the log")
        assert f'cause="{body[:-1].decode()}" status={status}' in d.seed.log(), body


def test_origins_of_the_cluster_s_content(build):
    d, O = world.plain, world.O
    rows = (
        ("404", O.url("/p2p/missing"), 404, "the origin answered 404 Not Found", ()),
        ("401", O.url("/p2p/auth"), 401, "the origin answered 401", (("WWW-Authenticate", 'Bearer realm="a", Basic realm="b"'),)),
        ("403", O.url("/p2p/403"), 403, "the origin answered 403", (("X-Amz-Request-Id", "r1"), ("ETag", None))),
        ("429", O.url("/p2p/429"), 429, "the origin answered 429", (("Retry-After", "7"),)),
        ("503", O.url("/p2p/503"), 503, "the origin answered 503", ()),
        ("304 to no condition", O.url("/p2p/304"), 502, "304", ()),
        ("302 to nowhere", O.url("/p2p/nowhere"), 502, "302", ()),
        ("redirects in a circle", O.url("/p2p/loop"), 502, "redirect", ()),
        ("redirect to another scheme", O.url("/p2p/ftp"), 502, "neither http nor https", ()),
        ("a piece is refused", O.url("/p2p/pieces-403"), 403, "the origin answered 403", (("X-Why", "late"),)),
        ("a piece fails", O.url("/p2p/pieces-500"), 500, "the origin answered 500", ()),
        ("a range for the whole", O.url("/p2p/pieces-other"), 502, "206 Partial Content although no range", ()),
        ("refused", f"http://127.0.0.1:{world.closed}/p2p/x", 502, "refused", ()),
        ("no such name", "http://nobody.invalid/p2p/x", 502, "nobody.invalid", ()),
        ("unknown authority", world.T.url("/p2p/f1"), 502, "TLS|certificate", ()),
        ("TLS to a plain port", f"https://127.0.0.1:{O.port}/p2p/f1", 502, "TLS", ()),
        ("not HTTP", world.garbage.url("/p2p/x"), 502, "not an HTTP answer", ()),
        ("closed without a word", world.nothing.url("/p2p/x"), 502, "closed|ended", ()),
        ("the digest is another", O.url(f"/v2/a/blobs/sha256:{sha(SMALL)}"), 502, "digest of its name", ()),
    )
    failures = d.seed.metric(FAILURES)
    for what, target, status, words, fields in rows:
        check(what, d, of(d, target), status, "backend", words, fields)
    a = of(d, O.url("/p2p/pieces-whole"), {"Range": "bytes=5000000-5000009"})
    same(("the whole for a range is read in one go", (a.status, a.body), (206, F1[5000000:5000010])))
    a = of(d, O.url("/p2p/pieces-other"), {"Range": "bytes=5000000-5000009"})
    check("another range", d, a, 502, "backend", "206 Partial Content although no range")
    a = of(d, world.endless.url("/p2p/x"))
    check("no length", d, a, 422, "dfdaemon", "length")
    same(("each answer of 5xx counts", d.seed.metric(FAILURES), failures + 1 + sum(1 for r in rows if r[2] >= 500)))
    a = of(d, O.url("/p2p/small?large"), {"X-Large": "a" * 1500000})
    check("no request can be made of it", d, a, 400, "dfdaemon", "larger than 1048576 bytes")
    a = of(d, O.url("/p2p/small"), {"X-Dragonfly-Output-Path": d.seed.home, "X-Dragonfly-Force-Hard-Link": "true"})
    check("no hard link", d, a, 500, "dfdaemon", re.escape(d.seed.home))
    d = world.hasty
    check("silence", d, of(d, world.silent.url("/p2p/x")), 504, "backend", "time limit|timed out")
    d = world.strict
    check("no space", d, of(d, O.url("/p2p/f1"), GOOD), 507, "dfdaemon", "no space left")
    # Priority 1 is what schedulers refuse at once, and the source is not for this one.
    check("nobody gives it", d, of(d, O.url("/p2p/small"), {**GOOD, "X-Dragonfly-Priority": "1"}), 500, "dfdaemon", "peer is forbidden")


def test_upstreams_of_what_passes(build):
    d, O = world.plain, world.O
    rows = (
        ("refused", f"http://127.0.0.1:{world.closed}/direct/x", "refused"), ("no such name", "http://nobody.invalid/x", "nobody.invalid"),
        ("unknown authority", world.T.url("/direct/x"), "TLS|certificate"), ("TLS to a plain port", f"https://127.0.0.1:{O.port}/direct/x", "TLS"),
        ("a registry without TLS", f"/v2/?ns=localhost:{O.port}", "registryMirror.plainHTTP"), ("not HTTP", world.garbage.url("/x"), "not an HTTP answer"),
        ("closed without a word", world.nothing.url("/x"), "closed|ended"),
    )
    failures = d.seed.metric(FAILURES)
    for what, target, words in rows:
        check(what, d, of(d, target), 502, "backend", words)
        a = of(d, target, method="HEAD")
        same((f"HEAD, {what}", (a.status, a.type, a.body), (502, "backend", b"")))
        a = of(d, target, method="POST", body=b"x" * 100000)
        check(f"POST, {what}", d, a, 502, "backend", words)
    same(("each counts", d.seed.metric(FAILURES), failures + 3 * len(rows)))
    check("silence", world.hasty, of(world.hasty, world.silent.url("/x")), 504, "backend", "no answer within x.proxy.answerTimeout")
    check("silence after a body", world.hasty, of(world.hasty, world.silent.url("/x"), method="PUT", body=iter([b"a" * 1000] * 5)), 504, "backend", "no answer within")


def test_failures_behind_the_head(build):
    """What was promised is not delivered: the connection ends early, in the log stands why."""
    d = world.plain

    def cut(h):
        h.close_connection = True
        h.reply(200, b"", ("Content-Length", str(len(F1))), ("ETag", '"e1"'))
        h.wfile.write(F1[:5 * MIB])
    world.O.paths["/p2p/cut"] = pieces_answer(cut)
    for url, log in ((world.short.url("/x"), "upstream broke off within its answer"), (world.O.url("/p2p/cut"), "answer of the proxy broken off")):
        failures = d.seed.metric(FAILURES)
        with open_get(d.seed.proxy_port, url) as s:
            got = bytearray()
            with contextlib.suppress(ConnectionResetError):
                while block := s.recv(1 << 20):
                    got += block
        head, _, body = bytes(got).partition(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        assert head.startswith(b"HTTP/1.1 200 ") and len(body) < length, (head, len(body))
        wait_for(lambda: log in d.seed.log() and d.seed.metric(FAILURES) == failures + 1, 10, f"{url}: {log}")


def test_clients_that_stop_in_the_middle_of_an_upload(build):
    """Nobody waits for the upstream while the client is the slow one: its silence is no upstream's silence."""
    got = []
    world.O.paths["/slow-up"] = lambda h: (got.append(len(h.body)), h.reply(201, b"done"))
    d = world.hasty
    with socket.create_connection(("127.0.0.1", d.seed.proxy_port), 20) as s:
        s.sendall(f"PUT {world.O.url('/slow-up')} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\n12345".encode())
        s.settimeout(2)                 # twice x.proxy.answerTimeout
        with contextlib.suppress(socket.timeout):
            assert not s.recv(1), "answered while the upload is under way"
        s.settimeout(20)
        begin = time.monotonic()
        s.sendall(b"67890")
        a = answer_on(s)
        # On a machine that is slow the upstream may now be too slow indeed.
        assert (a.status, a.body, got) == (201, b"done", [10]) or (a.status == 504 and time.monotonic() - begin >= 1), (a.status, a.body, got)


if __name__ == "__main__":
    sys.exit(run_tests_in(World, lambda w: [ends_well(d) for d in w.daemons], globals(), sys.argv))
