#!/usr/bin/python3
"""The proxy with a real daemon and an origin that the test writes: where requests go, names of tasks, ranges, errors, credentials, limits,
bodies in both directions, clients that are slow or go away, origins that lie.

usage: test_proxy.py BUILD_DIR [TEST...]"""
import contextlib
import http.client
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, Origin, free_ports, is_sanitized, run_tests, wait_for                               # noqa: E402
from proxy_support import F1, MIB, SMALL, ScriptedOrigin, ask, daemon, open_get, raw, read_n, sha  # noqa: E402
from test_shapes import task_id                                                           # noqa: E402

REQUESTS = "dragonfly_client_proxy_request_total"
VIA = "dragonfly_client_proxy_request_via_dfdaemon_total"


@contextlib.contextmanager
def world(build, config=None, paths=None, **more):
    origin = ScriptedOrigin(paths)
    try:
        with daemon(build, config, **more) as c:
            yield c.seed, origin, c.seed.proxy_port
            ends_well(c)
    finally:
        origin.stop()


def ends_well(c):
    """Every daemon stops by itself, and a sanitizer had nothing to say."""
    for peer in c.all:
        code, log = peer.stop(), peer.log() if os.path.exists(peer.log_path) else ""
        assert code in (0, None) and "Sanitizer" not in log and "runtime error" not in log, f"{peer.name} ended with {code}:\n{log[-6000:]}"


def same(*pairs):
    for what, got, want in pairs:
        assert got == want, f"{what}: {got!r} instead of {want!r}"


# ---- where requests go ----

def test_routes(build):
    with world(build) as (peer, o, port):
        a = ask(port, o.url("/direct/x?a=1"), {"X-Dragonfly-Tag": "t", "Connection": "X-Mine", "X-Mine": "1", "TE": "trailers", "X-Keep": "2"})
        same(("status", a.status, 200), ("body", a.body, b"hello"), ("direct", a.is_direct, True),
             ("twice", [v for n, v in a.fields if n == "X-Several"], ["1", "2"]))
        method, path, fields, _ = o.seen()[-1]
        names = {n.lower(): v for n, v in fields}
        same(("path", path, "/direct/x?a=1"), ("Host", names["host"], f"127.0.0.1:{o.port}"), ("kept", names["x-keep"], "2"))
        assert not {"x-mine", "te", "x-dragonfly-tag", "connection", "proxy-connection"} & set(names), names
        via = names["via"]
        assert re.fullmatch(r"1\.1 dfdaemon-[0-9a-f]{8}", via), via

        first = ask(port, o.url("/p2p/f1"))
        same(("status", first.status, 200), ("length", first.get("Content-Length"), "10485760"), ("body", first.body, F1),
             ("etag", first.get("ETag"), '"e1"'), ("ip", first.get("X-Dragonfly-Server-IP"), "127.0.0.1"),
             ("id", first.get("X-Dragonfly-Task-ID"), task_id(o.url("/p2p/f1"))), ("fresh", first.get("X-Dragonfly-Task-Download-Finished"), None))
        before = len(o.seen())
        for _ in range(3):      # asked of the control loop, then remembered by a data loop
            again = ask(port, o.url("/p2p/f1"))
            same(("finished", again.get("X-Dragonfly-Task-Download-Finished"), "true"), ("body", again.body, F1))
        same(("origin was not asked", len(o.seen()), before))

        for headers, want in ((("X-Dragonfly-Use-P2P", "TRUE"), True), (("X-Dragonfly-Use-P2P", "1"), False)):
            a = ask(port, o.url("/direct/x"), [headers])
            same(("p2p", a.is_p2p, want), ("body", a.body, b"hello"))
        assert ask(port, o.url("/p2p/small"), {"X-Dragonfly-Use-P2P": "false"}).is_p2p
        a = ask(port, o.url("/p2p/f1"), method="HEAD")
        same(("head", (a.status, a.is_direct, a.body, a.get("Content-Length")), (200, True, b"", "10485760")))
        a = ask(port, o.url("/direct/r"))
        same(("redirect", (a.status, a.get("Location"), a.is_direct), (302, "http://127.0.0.1:9/y", True)))
        signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host;range, Signature=1", "Range": "bytes=0-9"}
        assert ask(port, o.url("/p2p/f1"), signed).is_direct
        same(("loop", (lambda a: (a.status, a.type))(ask(port, f"http://127.0.0.1:{port}/x")), (508, "proxy")),
             ("own via", ask(port, o.url("/direct/x"), {"Via": via}).status, 508))
        for target, method in (("ftp://127.0.0.1/x", "GET"), ("http://h:70000/", "GET"), ("*", "OPTIONS")):
            a = ask(port, target, method=method)
            same((target, (a.status, a.type), (400, "proxy")))
        assert peer.metric(REQUESTS, method="GET", scheme="http") >= 10 and peer.metric(VIA) >= 6
        same(("heads", peer.metric(REQUESTS, method="HEAD"), 1))


def test_methods_and_bodies_pass_unchanged(build):
    paths = {"/up": lambda h: h.reply(201, h.command.encode()),
             "/chunks": lambda h: (h.reply(200, b"", ("Transfer-Encoding", "chunked")),
                                   h.wfile.write(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")),
             "/early": lambda h: h.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                               b"2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n"),
             "/old": lambda h: (setattr(h, "close_connection", True), h.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nold"))}
    with world(build, paths=paths) as (peer, o, port):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        body = os.urandom(3 * MIB)
        for method in ("POST", "PUT", "PATCH", "DELETE", "PURGE"):
            a = ask(port, o.url("/up"), method=method, body=body, connection=c)
            same((method, (a.status, a.body, a.is_direct), (201, method.encode(), True)), ("bytes", o.seen()[-1][3] == body, True))
        a = ask(port, o.url("/p2p/f1"), method="POST", body=iter([body[:MIB], body[MIB:]]), connection=c)
        same(("chunked", (a.status, o.seen()[-1][3] == body, o.seen()[-1][0]), (200, True, "POST")))
        same(("chunks down", ask(port, o.url("/chunks"), connection=c).body, b"abcdefg"))
        same(("close-delimited", ask(port, o.url("/old"), connection=c).body, b"old"))
        a = ask(port, o.url("/p2p/small"), connection=c)
        same(("and p2p on the same connection", (a.body, a.is_p2p), (SMALL, True)))
        c.close()
        got, _ = raw(port, f"PUT {o.url('/up')} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc".encode())
        assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201"), got
        close = "Host: x\r\nConnection: close\r\n"
        got, _ = raw(port, f"GET {o.url('/early')} HTTP/1.1\r\n{close}\r\n".encode())
        assert got.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"), got
        assert got.endswith(b"2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n"), got
        got, _ = raw(port, f"POST {o.url('/up')} HTTP/1.1\r\n{close}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 2\r\n\r\n".encode())
        same(("trailers up", (o.seen()[-1][3], o.trailers), (b"a", [b"X-T: 2\r\n"])))
        got, _ = raw(port, f"GET {o.url('/direct/x')} HTTP/1.0\r\n\r\n".encode())
        assert got.startswith(b"HTTP/1.0 200 OK\r\n") and got.endswith(b"\r\n\r\nhello"), got


def test_upgraded_connections_carry_bytes_both_ways(build):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            s, _ = server.accept()
            with s:
                head = s.recv(65536)
                assert b"Upgrade: websocket" in head, head
                s.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                while block := s.recv(65536):
                    s.sendall(block[::-1])
        threading.Thread(target=serve, daemon=True).start()
        with world(build) as (_, _, port):
            url = f"http://127.0.0.1:{server.getsockname()[1]}/ws"
            with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
                s.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode())
                head = s.recv(65536)
                assert head.startswith(b"HTTP/1.1 101 ") and b"Upgrade: websocket" in head, head
                for word in (b"abc", b"12345"):
                    s.sendall(word)
                    same(("echo", s.recv(100), word[::-1]))


def test_mirror(build):
    with contextlib.closing(ScriptedOrigin({"/v2/": lambda h: h.reply(401, b"", ("WWW-Authenticate", 'Bearer realm="x"'))})) as other:
        other.close = other.stop
        origin = ScriptedOrigin({"/v2/": lambda h: h.reply(401, b"", ("WWW-Authenticate", 'Bearer realm="t"'))})
        with daemon(build, {"registryMirror": {"addr": origin.url("")}}) as c:
            port, there = c.seed.proxy_port, other.url("")
            a = ask(port, "/v2/")
            same(("ping", (a.status, a.get("WWW-Authenticate"), a.is_direct), (401, 'Bearer realm="t"', True)))
            same(("header", ask(port, "/direct/x", {"X-Dragonfly-Registry": there}).body, b"hello"), ("there", len(other.seen()), 1))
            ask(port, f"/direct/x?ns={there}")
            same(("ns", other.seen()[-1][1], f"/direct/x?ns={there}"))
            ask(port, "/direct/x?ns=http://127.0.0.1:9", {"X-Dragonfly-Registry": there + "/"})
            same(("header wins", other.seen()[-1][1], "/direct/x?ns=http://127.0.0.1:9"), ("all", len(other.seen()), 3))
            ask(port, origin.url("/direct/x"), {"X-Dragonfly-Registry": there})
            same(("not for absolute targets", len(other.seen()), 3))
            for path in ("/direct/x", f"/v2/x/blobs/sha256:{'0' * 64}"):
                a = ask(port, f"{path}?ns=127.0.0.1:{other.port}")
                same(("no TLS there", (a.status, a.type, b"registryMirror.plainHTTP" in a.body), (502, "backend", True)))
            a = ask(port, f"/direct/x?ns=127.0.0.1:{origin.port}")
            same(("the mirror's own host is asked as the mirror is", (a.status, a.body), (200, b"hello")))
            a = ask(port, "/x", {"X-Dragonfly-Registry": "http://[bad"})
            same(("bad base", (a.status, a.type), (400, "proxy")))
            blob = SMALL
            path = f"/v2/lib/app/blobs/sha256:{sha(blob)}"
            for o in (origin, other):
                o.paths[path] = lambda h: h.reply_file(blob) if h.headers.get("Authorization") == "Bearer T" else \
                    h.reply(401, b"", ("WWW-Authenticate", "Bearer realm=x"))
            a = ask(port, path + "?ns=docker.io", {"X-Dragonfly-Registry": origin.url("")})
            same(("no token", (a.status, a.type, a.get("WWW-Authenticate")), (401, "backend", "Bearer realm=x")))
            digest = {"X-Dragonfly-Enable-Task-ID-Based-Blob-Digest": "true", "Authorization": "Bearer T"}
            a = ask(port, path, {**digest, "X-Dragonfly-Registry": origin.url("")})
            same(("blob", (a.status, a.body == blob, a.get("X-Dragonfly-Task-ID")), (200, True, sha(blob))))
            a = ask(port, path, {**digest, "X-Dragonfly-Registry": there})
            same(("same blob elsewhere", (a.status, a.body == blob, len(other.seen(path))), (200, True, 0)))
            ends_well(c)
        origin.stop()


def test_ids(build):
    with world(build) as (_, o, port):
        u = o.url("/p2p/f1")
        for query, headers, want in (
                ("", {"X-Dragonfly-Tag": "t1"}, task_id(u, "t1")),
                ("", {"X-Dragonfly-Tag": "t1", "X-Dragonfly-Application": "a1"}, task_id(u, "t1", "a1")),
                ("?X-Amz-Signature=zz&ns=a", {}, task_id(u)),
                ("?v=1&Expires=9", {}, task_id(u + "?v=1")),
                ("?v=1", {"X-Dragonfly-Filtered-Query-Params": "v"}, task_id(u)),
                ("", {"X-Dragonfly-Piece-Length": "8mib"}, task_id(u, piece_length=8 * MIB)),
                ("", {"X-Dragonfly-Piece-Length": "junk"}, task_id(u)),
                ("", {"X-Dragonfly-Priority": "99"}, task_id(u)),
                ("", {"X-Dragonfly-Content-For-Calculating-Task-ID": "my-key"}, sha(b"my-key"))):
            a = ask(port, u + query, {**headers, "Range": "bytes=0-9"})
            same((f"{query} {headers}", (a.status, a.get("X-Dragonfly-Task-ID"), a.body), (206, want, F1[:10])))
        assert any(e[1] == "/p2p/f1?v=1&Expires=9" for e in o.seen()), o.seen()
        for size in ("1mib", "65mib"):
            a = ask(port, u, {"X-Dragonfly-Piece-Length": size})
            same((size, (a.status, a.type), (400, "proxy")))


def test_rules(build):
    with contextlib.closing(ScriptedOrigin()) as other:
        other.close = other.stop
        rules = [{"regex": "/sec/", "redirect": f"127.0.0.1:{other.port}"}, {"regex": "/p2p/small", "filteredQueryParams": ["a"]},
                 {"regex": "/p2p/", "filteredQueryParams": ["b"]}, {"regex": r"^http://127\.0\.0\.1(?::\d+)?/.*\.(whl|tar.gz)$"}]
        other.paths["/sec/f1"] = lambda h: h.reply_file(SMALL)
        paths = {"/a/b.whl": lambda h: h.reply_file(SMALL), "/a/b.whl.metadata": lambda h: h.reply_file(SMALL)}
        with world(build, {"rules": rules}, paths) as (_, o, port):
            a = ask(port, "http://any.host/sec/f1")
            same(("redirect", (a.status, a.body == SMALL, a.get("X-Dragonfly-Task-ID")), (200, True, task_id(other.url("/sec/f1")))))
            same(("first rule", ask(port, o.url("/p2p/small?a=1&b=2")).get("X-Dragonfly-Task-ID"), task_id(o.url("/p2p/small?b=2"))))
            assert ask(port, o.url("/a/b.whl?x=1")).is_p2p and ask(port, o.url("/a/b.whl.metadata")).is_direct


# ---- ranges and conditions ----

def test_ranges(build):
    with world(build) as (_, o, port):
        size = len(F1)
        for value, first, last in (("0-0", 0, 0), ("-100", size - 100, size - 1), ("4194300-4194309", 4194300, 4194309),
                                   ("10485700-99999999", 10485700, size - 1), ("-99999999", 0, size - 1), ("10485700-", 10485700, size - 1)):
            for _ in range(2):
                a = ask(port, o.url("/p2p/f1"), {"Range": "bytes=" + value})
                same((value, (a.status, a.get("Content-Range"), a.body == F1[first:last + 1]), (206, f"bytes {first}-{last}/{size}", True)))
        for round in range(2):
            for value in ("bytes=10485760-", "bytes=-0"):
                a = ask(port, o.url("/p2p/f1"), {"Range": value})
                same((value, (a.status, a.get("Content-Range"), a.type, a.body), (416, f"bytes */{size}", "proxy", b"range not satisfiable\n")))
            for value in ("bytes=junk", "items=0-1", "bytes=200-100", "bytes=+0-1", "bytes=00-5"):
                a = ask(port, o.url("/p2p/f1"), {"Range": value})
                same((value, (a.status, a.body == F1), (200, True)))
            a = ask(port, o.url("/p2p/f1"), {"Range": "bytes=20-29, 4194300-4194309,-1"})
            boundary = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", a.get("Content-Type")).group(1)
            parts = a.body.split(b"--" + boundary.encode())
            same(("parts", (a.status, len(parts)), (206, 5)))
            for part, (first, last) in zip(parts[1:], ((20, 29), (4194300, 4194309), (size - 1, size - 1))):
                head, _, content = part.partition(b"\r\n\r\n")
                assert f"Content-Range: bytes {first}-{last}/{size}".encode() in head, head
                same(("part", content, F1[first:last + 1] + b"\r\n"))
        a = ask(port, o.url("/p2p/empty"))
        same(("empty", (a.status, a.get("Content-Length"), a.is_p2p), (200, "0", True)))
        a = ask(port, o.url("/p2p/empty"), {"Range": "bytes=0-9"})
        same(("range of nothing", (a.status, a.get("Content-Range")), (416, "bytes */0")))


def test_conditions(build):
    with world(build) as (_, o, port):
        u = o.url("/p2p/small")
        for _ in range(3):
            a = ask(port, u, {"If-None-Match": 'W/"e1", "x"'})
            same(("same", (a.status, a.body, a.get("ETag")), (304, b"", '"e1"')))
            same(("other", ask(port, u, {"If-None-Match": '"e2"'}).status, 200))
            same(("range of this", ask(port, u, {"If-Range": '"e1"', "Range": "bytes=0-4"}).status, 206))
            same(("range of another", ask(port, u, {"If-Range": '"e2"', "Range": "bytes=0-4"}).body, SMALL))
        assert not any(n.lower().startswith("if-none") for e in o.seen() for n, _ in e[2])


def test_prefetch(build):
    with world(build, {"prefetch": True}) as (peer, o, port):
        a = ask(port, o.url("/p2p/f1"), {"Range": "bytes=0-9"})
        same(("range", (a.status, a.body), (206, F1[:10])))
        wait_for(lambda: ask(port, o.url("/p2p/f1"), {"Range": "bytes=0-9"}).get("X-Dragonfly-Task-Download-Finished") == "true", 10, "all of it")
        same(("once", peer.metric("dragonfly_client_prefetch_task_total"), 1))
        ask(port, o.url("/p2p/f1?n=1"), {"Range": "bytes=0-9", "X-Dragonfly-Prefetch": "false"})
        ask(port, o.url("/p2p/small?n=1"), {"X-Dragonfly-Prefetch": "true"})
        same(("not asked for", peer.metric("dragonfly_client_prefetch_task_total"), 1))


# ---- errors ----

def test_errors_of_origins(build):
    def lie_short(h):
        h.close_connection = True
        h.reply(200, F1[:MIB], ("Content-Length", str(len(F1))))

    with world(build, paths={"/direct/short": lie_short, "/direct/teapot": lambda h: h.reply(418, b"tea")}) as (peer, o, port):
        a = ask(port, o.url("/p2p/missing"))
        same(("404", (a.status, a.type, a.body), (404, "backend", b"the origin answered 404 Not Found\n")))
        a = ask(port, o.url("/p2p/auth"))
        same(("401", (a.status, a.type), (401, "backend")),
             ("challenges", sorted(v for n, v in a.fields if n.lower() == "www-authenticate"), ['Basic realm="b"', 'Bearer realm="a"']))
        a = ask(port, o.url("/p2p/norange"))
        same(("no ranges", (a.status, a.body == F1), (200, True)))
        a = ask(port, o.url("/direct/teapot"))
        same(("418", (a.status, a.body, a.is_direct), (418, b"tea", True)))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
            s.sendall(f"GET {o.url('/direct/short')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while block := s.recv(65536):
                    got += block
            assert got.startswith(b"HTTP/1.1 200") and len(got) < len(F1)
        gone = free_ports(1)[0]
        for path in ("/p2p/new", "/direct/x"):
            a = ask(port, f"http://127.0.0.1:{gone}{path}")
            same((path, (a.status, a.type), (502, "backend")))
            assert b"refused" in a.body, a.body
        assert "status=502 type=backend" in peer.log()
        assert peer.metric("dragonfly_client_proxy_request_failure_total") >= 3


def test_origin_that_dies_cuts_the_answer(build):
    state = {"n": 0}

    def dying(h):
        wanted = h.headers.get("Range", "")
        if wanted.startswith("bytes=0-") or not wanted:
            return h.reply_file(F1[:4 * MIB] + bytes(6 * MIB)) if wanted == "bytes=0-0" else h.reply_file(F1)
        state["n"] += 1
        h.reply(503, b"")

    with world(build, {"disableBackToSource": False}, {"/p2p/dying": dying}) as (_, o, port):
        with open_get(port, o.url("/p2p/dying?x=1")) as s:
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while block := s.recv(1 << 20):
                    got += block
        head, _, body = got.partition(b"\r\n\r\n")
        assert (head.startswith(b"HTTP/1.1 200") and len(body) < len(F1)) or head.startswith(b"HTTP/1.1 503"), head


def test_wrong_content_is_never_a_blob(build):
    good = os.urandom(10 * MIB)
    small = os.urandom(1000)
    now = {"good": bytearray(good), "small": b"x" * 1000}
    now["good"][9 * MIB] ^= 1
    paths = {f"/v2/a/blobs/sha256:{sha(good)}": lambda h: h.reply_file(bytes(now["good"])),
             f"/v2/a/blobs/sha256:{sha(small)}": lambda h: h.reply_file(now["small"])}
    with world(build, paths=paths) as (peer, o, port):
        with open_get(port, o.url(f"/v2/a/blobs/sha256:{sha(good)}")) as s:
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while block := s.recv(1 << 20):
                    got += block
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and len(body) < len(good), (head, len(body))
        a = ask(port, o.url(f"/v2/a/blobs/sha256:{sha(small)}"))
        same(("small", (a.status, a.type), (502, "backend")))
        wait_for(lambda: peer.log().count("does not have the digest of its name and is dropped") == 2, 20, "both are dropped")
        now["good"], now["small"] = good, small
        same(("fetched again", ask(port, o.url(f"/v2/a/blobs/sha256:{sha(good)}")).body == good, True),
             ("small, too", ask(port, o.url(f"/v2/a/blobs/sha256:{sha(small)}")).body == small, True))
        before = len(o.seen())
        same(("and kept", ask(port, o.url(f"/v2/a/blobs/sha256:{sha(good)}")).body == good, True), ("origin", len(o.seen()), before))


def test_wrong_content_of_a_seed_is_fetched_from_the_origin(build):
    good = os.urandom(10 * MIB)
    path = f"/v2/a/blobs/sha256:{sha(good)}"
    now = {"content": good[:-1] + bytes([good[-1] ^ 1])}
    with contextlib.closing(ScriptedOrigin({path: lambda h: h.reply_file(now["content"])})) as o:
        o.close = o.stop
        with Cluster(build, peers=1, config={"proxy": {"rules": [{"regex": "blobs/sha256.*"}]}}) as c:
            port = c.peers[0].proxy_port
            with open_get(port, o.url(path)) as s, contextlib.suppress(ConnectionResetError):
                got = read_n(s, 11 * MIB)
                assert len(got.partition(b"\r\n\r\n")[2]) < len(good)
            now["content"] = good
            wait_for(lambda: "does not have the digest" in c.peers[0].log(), 20, "it is dropped")
            same(("from the origin, not from the seed", ask(port, o.url(path)).body == good, True))
            ends_well(c)


def test_bad_requests(build):
    with world(build, {"readBufferSize": 524288}) as (_, o, port):
        target = o.url("/direct/x")
        many = "".join(f"X-{i}: 1\r\n" for i in range(101))
        for data, status in ((f"GET {target} HTTP/1.1\r\n{many}\r\n", 431), (f"GET {target} HTTP/1.1\r\nX: {'a' * 600 * 1024}\r\n\r\n", 431),
                             (f"GET {target}{'a' * 70000} HTTP/1.1\r\n\r\n", 414), ("GET /\r\n\r\n", 400), ("\x16\x03\x01\x02\x00\x01", 400),
                             (f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
                             (f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400)):
            got, was_reset = raw(port, data.encode("latin-1"))
            assert got.startswith(f"HTTP/1.1 {status} ".encode()) and not was_reset, (data[:40], got[:60], was_reset)
        got, _ = raw(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        same(("preface", got, b""), ("nothing reached the origin", len(o.seen()), 0))


# ---- who may ask, and how often ----

def test_credentials(build):
    good = "Basic YWRtaW46ZHJhZ29uZmx5"
    with world(build, {"server": {"basicAuth": {"username": "admin", "password": "dragonfly"}}}) as (_, o, port):
        u = o.url("/direct/x")
        for headers, status in (({}, 401), ({"Authorization": "Basic !!!"}, 400), ({"Authorization": "x"}, 401), ({"Authorization": "Bearer T"}, 401),
                                ({"Authorization": "Basic YWRtaW46eA=="}, 401), ({"Authorization": "Basic YWRtaW4="}, 401)):
            for _ in range(2):
                a = ask(port, u, headers)
                same((headers, (a.status, a.type), (status, "proxy")))
        same(("nothing went up", len(o.seen()), 0), ("challenge", ask(port, u).get("WWW-Authenticate"), 'Basic realm="dragonfly"'))
        same(("right", ask(port, u, {"Authorization": good}).status, 200))
        assert not any(n.lower() == "authorization" for n, _ in o.seen()[-1][2]), o.seen()
        a = ask(port, u, {"Proxy-Authorization": good, "Authorization": "Bearer T"})
        fields = {n.lower(): v for n, v in o.seen()[-1][2]}
        same(("both", (a.status, fields.get("authorization"), fields.get("proxy-authorization")), (200, "Bearer T", None)))
        ask(port, o.url("/p2p/small"), {"Authorization": good})
        ask(port, o.url("/p2p/small"), {"Authorization": good})
        same(("remembered contents, too", ask(port, o.url("/p2p/small")).status, 401))
        assert not any("YWRtaW4" in v for e in o.seen() for _, v in e[2])
        got, _ = raw(port, b"CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic eDp5\r\nConnection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 407 ") and b"Proxy-Authenticate: Basic" in got, got


def test_rate(build):
    with world(build, {"server": {"requestRateLimit": 5}}) as (peer, o, port):
        got, end = [], time.monotonic() + 30
        # On a slow machine the seconds may pass faster than the requests.
        while len(got) < 12 or not any(a.status == 429 for a in got):
            assert time.monotonic() < end, [a.status for a in got]
            got.append(ask(port, o.url("/direct/x")))
        limited = [a for a in got if a.status == 429]
        assert all(a.type == "proxy" and a.get("Retry-After") == "1" for a in limited), [a.status for a in got]
        same(("counted", peer.metric("dragonfly_client_proxy_request_rate_limited_total"), len(limited)))
        wait_for(lambda: ask(port, o.url("/direct/x")).status == 200, 10, "the next second")


def test_block_list(build):
    lists = "seedClientConfig: {blockList: {task: {download: {urls: ['/p2p/s', '^http://h/p2p/'], tags: [bad]}}}}\n"
    with contextlib.closing(ScriptedOrigin()) as o:
        o.close = o.stop
        with daemon(build, before=lambda c: open(os.path.join(c.seed.home, "dynconfig.yaml"), "w").write(
                f"scheduler: {{addrs: ['127.0.0.1:{c.scheduler_port}']}}\n" + lists)) as c:
            port = c.seed.proxy_port
            for target, headers, status in ((o.url("/p2p/small"), {}, 403), (o.url("/p2p/f1"), {"X-Dragonfly-Tag": "bad"}, 403),
                                            ("http://h:80/p2p/x", {}, 403), (o.url("/p2p/f1"), {}, 200), (o.url("/direct/x"), {}, 200)):
                a = ask(port, target, headers)
                same((f"{target} {headers}", (a.status, a.type), (status, "proxy" if status == 403 else None)))
            same(("counted", c.seed.metric("dragonfly_client_download_task_blocked_total"), 3))
            ends_well(c)


def test_policy_and_manifests(build):
    content = SMALL[:5000]
    digest = sha(content)
    rules = [{"regex": "manifests/sha256.*", "schedulingPolicy": "always"}, {"regex": "/p2p/"}]
    paths = {f"/v2/a/manifests/{n}": lambda h: h.reply_file(content) for n in (f"sha256:{digest}", "latest", "sha256:abc")}
    with contextlib.closing(ScriptedOrigin(paths)) as other:
        other.close = other.stop
        with world(build, {"rules": rules, "registryMirror": {"enableTaskIDBasedBlobDigest": True}}, paths) as (peer, o, port):
            def registered():
                return peer.metric("dragonfly_scheduler_register_peer_total")
            ask(port, o.url("/p2p/small"))
            same(("small, nobody is asked", registered(), 0))
            ask(port, o.url("/p2p/small?1"), {"X-Dragonfly-Scheduling-Policy": "ALWAYS"})
            same(("small, always", registered(), 1))
            a = ask(port, o.url(f"/v2/a/manifests/sha256:{digest}"))
            same(("manifest", (a.status, a.body, a.get("X-Dragonfly-Task-ID"), registered()), (200, content, digest, 2)))
            a = ask(port, other.url(f"/v2/a/manifests/sha256:{digest}"))
            same(("elsewhere", (a.body, a.get("X-Dragonfly-Task-ID"), len(other.seen())), (content, digest, 0)))
            same(("tag", ask(port, o.url("/v2/a/manifests/latest")).is_direct, True))
            a = ask(port, o.url("/v2/a/manifests/sha256:abc"))
            same(("no digest", (a.status, a.get("X-Dragonfly-Task-ID")), (200, task_id(o.url("/v2/a/manifests/sha256:abc")))))


# ---- clients of all kinds ----

def test_many_open_ended_ranges_share_their_pieces(build):
    with world(build) as (_, o, port):
        def one(k, out):
            with open_get(port, o.url("/p2p/f1"), [("Range", f"bytes={k * MIB}-")]) as s:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += s.recv(65536)
                head, _, rest = data.partition(b"\r\n\r\n")
                out[k] = (head[:12], rest[:MIB] + read_n(s, MIB - len(rest)))
        results = {}
        threads = [threading.Thread(target=one, args=(k, results)) for k in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(20)
        for k in range(8):
            same((k, (results[k][0], results[k][1] == F1[k * MIB:(k + 1) * MIB]), (b"HTTP/1.1 206", True)))
        starts = [dict(e[2]).get("Range") for e in o.seen("/p2p/f1")]
        wanted = []
        for r in starts:
            first, _, last = r[6:].partition("-")
            if (first, last) != ("0", "0"):
                wanted += range(int(first) // (4 * MIB), (int(last) if last else len(F1) - 1) // (4 * MIB) + 1)
        same(("each piece once", sorted(wanted), sorted(set(wanted))))


def test_a_client_that_leaves_and_one_that_is_slow(build):
    paths = {"/p2p/slow": lambda h: h.reply_file(F1, rate=20 * MIB), "/p2p/large": lambda h: h.reply_file(F1 * 6)}
    with world(build, paths=paths) as (peer, o, port):
        with open_get(port, o.url("/p2p/slow")) as s:
            read_n(s, MIB)
        same(("whole", ask(port, o.url("/p2p/slow")).body == F1, True))
        slow = [open_get(port, o.url("/p2p/large"), receive_buffer=4096) for _ in range(20)]
        for s in slow:
            read_n(s, 1000)
        rss = peer.status("VmRSS")
        # Those never read on: an answer that waited for one of them would not come.
        same(("another", ask(port, o.url("/p2p/large?other=1"), {"X-Dragonfly-Tag": "t9"}).body == F1 * 6, True))
        assert is_sanitized(build) or peer.status("VmRSS") - rss < 8192
        same(("still there", len(read_n(slow[0], 4 * MIB)), 4 * MIB))
        for s in slow:
            s.close()
        same(("and after them", ask(port, o.url("/p2p/large")).body == F1 * 6, True))
        assert " ERROR " not in peer.log(), peer.log()


def test_a_slow_client_is_not_read_far_ahead(build):
    size = 300 * MIB
    with daemon(build, {"rules": [{"regex": "/large"}]}) as c:
        files = c.path("files")
        os.mkdir(files)
        with open(os.path.join(files, "large"), "wb") as f:
            f.truncate(size)
        origin, port = Origin(build, directory=files), c.seed.proxy_port
        try:
            s = open_get(port, origin.url("/large"), receive_buffer=4096)
            read_n(s, 1000)
            wait_for(lambda: origin.bytes() > 60 * MIB, 10, "what is read ahead")
            time.sleep(0.5)
            ahead = origin.bytes()
            assert ahead < 100 * MIB, ahead
            end = time.monotonic() + 90
            rest = 1000
            while rest < size and time.monotonic() < end and (block := s.recv(4 * MIB)):
                rest += len(block)
            assert rest >= size, rest
            s.close()
            # A range far behind, and a fast client beside a slow one.
            slow = open_get(port, origin.url("/large?2"), receive_buffer=4096)
            read_n(slow, 1000)
            a = ask(port, origin.url("/large?2"), {"Range": f"bytes={250 * MIB}-{250 * MIB + 9},5-6"})
            same(("parts far apart", a.status, 206))
            same(("all of it", len(ask(port, origin.url("/large?2")).body), size))
            slow.close()
            ends_well(c)
        finally:
            origin.stop()


def test_output_path(build):
    with world(build) as (peer, o, port):
        at = os.path.join(peer.home, "o1")
        a = ask(port, o.url("/p2p/f1"), {"X-Dragonfly-Output-Path": at})
        with open(at, "rb") as f:
            same(("placed", (a.status, f.read() == F1), (200, True)))
        a = ask(port, o.url("/p2p/small"), {"X-Dragonfly-Output-Path": peer.home, "X-Dragonfly-Force-Hard-Link": "true"})
        same(("a directory", (a.status, a.type), (500, "dfdaemon")))
        for path in ("relative", "/a/../b"):
            same((path, ask(port, o.url("/p2p/small"), {"X-Dragonfly-Output-Path": path}).status, 400))


def test_blind_tunnel(build):
    with world(build, {"server": {"interceptHosts": ["nowhere.example"]}}) as (peer, o, port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
            s.sendall(f"CONNECT 127.0.0.1:{o.port} HTTP/1.0\r\n\r\n".encode())
            head = s.recv(65536)
            assert head.startswith(b"HTTP/1.0 200 ") and b"ontent-Length" not in head, head
            s.sendall(b"GET /direct/x HTTP/1.1\r\nHost: inside\r\nConnection: close\r\n\r\n")
            got = b""
            while block := s.recv(65536):
                got += block
            assert got.startswith(b"HTTP/1.1 200") and got.endswith(b"hello"), got
        same(("as it was sent", dict(o.seen()[-1][2]).get("Host"), "inside"))
        got, _ = raw(port, f"CONNECT 127.0.0.1:{free_ports(1)[0]} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert got.startswith(b"HTTP/1.1 502 "), got
        got, _ = raw(port, b"CONNECT :443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 400 "), got


def run_tool(peer, args, proxy=True, **more):
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    if proxy:
        env["http_proxy"] = f"http://127.0.0.1:{peer.proxy_port}"
    return subprocess.run(args, env=env, cwd=peer.home, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, **more)


def test_curl_and_wget(build):
    with world(build) as (peer, o, port):
        x = f"http://127.0.0.1:{port}"
        for flags, want in (([], F1), (["-r", "4194300-4194309"], F1[4194300:4194310])):
            done = run_tool(peer, ["curl", "-sS", "-x", x, *flags, o.url("/p2p/f1")], proxy=False)
            same((f"curl {flags}", done.stdout == want, True))
        assert not shutil.which("wget") or run_tool(peer, ["wget", "-q", "-O", "w", o.url("/p2p/f1")]).returncode == 0
        if shutil.which("wget"):
            at = os.path.join(peer.home, "w")
            os.truncate(at, 3 * MIB + 5)
            for _ in range(2):          # the rest; then there is nothing left, 416
                done = run_tool(peer, ["wget", "-c", "-O", "w", o.url("/p2p/f1")])
                with open(at, "rb") as f:
                    same(("wget -c", (done.returncode, f.read() == F1), (0, True)))


def test_pip(build):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as z:
        z.writestr("tiny/__init__.py", "x = 1\n" * 1000)
        z.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        z.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("tiny-1.0.dist-info/RECORD", "")
    name = "tiny-1.0-py3-none-any.whl"
    paths = {"/simple/tiny/": lambda h: h.reply(200, f'<a href="/packages/{name}">{name}</a>'.encode(), ("Content-Type", "text/html")),
             f"/packages/{name}": lambda h: h.reply_file(data.getvalue())}
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        print("skipped: no pip")
        return
    with world(build, {"rules": [{"regex": r"/packages/.*\.(whl|tar.gz)$"}]}, paths) as (peer, o, port):
        done = run_tool(peer, [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "-d", peer.home,
                               "--index-url", o.url("/simple/"), "--trusted-host", "127.0.0.1", "--proxy", f"http://127.0.0.1:{port}", "tiny"])
        assert done.returncode == 0, done.stderr.decode()
        with open(os.path.join(peer.home, name), "rb") as f:
            same(("wheel", f.read() == data.getvalue(), True), ("from the cluster", peer.metric(VIA) >= 1, True))


def test_contents_outlive_a_restart(build):
    path = f"/v2/a/blobs/sha256:{sha(F1)}"
    with world(build, paths={path: lambda h: h.reply_file(F1)}, before=lambda c: c.seed.config["storage"].update(keep=True)) as (peer, o, port):
        ask(port, o.url(path))
        ask(port, o.url("/p2p/small"))
        before = len(o.seen())
        peer.stop()
        peer.start()
        wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close() or True, 10, "the proxy answers again")
        for _ in range(2):
            a = ask(port, o.url(path))
            same(("after a restart", (a.status, a.body == F1, a.get("ETag"), a.get("X-Dragonfly-Task-Download-Finished")), (200, True, '"e1"', "true")))
            same(("a range", ask(port, o.url("/p2p/small"), {"Range": "bytes=5-9"}).body, SMALL[5:10]))
        same(("the origin was not asked", len(o.seen()), before))


def test_stop_lets_running_answers_end(build):
    with world(build, paths={"/direct/slow": lambda h: h.reply_file(F1, rate=10 * MIB)}) as (peer, o, port):
        s = open_get(port, o.url("/direct/slow"))
        read_n(s, 1000)
        stopper = threading.Thread(target=peer.stop)
        stopper.start()
        rest = read_n(s, 2 * len(F1))
        stopper.join(20)
        assert len(rest) + 1000 > len(F1), len(rest)
        with contextlib.suppress(OSError):
            shutil.rmtree(peer.home)


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
