#!/usr/bin/python3
"""The proxy in front of upstreams that close, lie and break off; what its clients and its scheduler get to see of that.

usage: test_proxy_upstream.py BUILD_DIR [TEST...]"""
import concurrent.futures
import contextlib
import gzip
import http.client
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, Peer, run_tests, wait_for                                                # noqa: E402
from proxy_support import F1, MIB, SMALL, ScriptedOrigin, ask, daemon, open_get, raw, read_n, sha    # noqa: E402
from test_proxy import ends_well, same, world                                                         # noqa: E402
import scripted_support as scripted                                                                 # noqa: E402


class RawServer:
    """Each connection is given to serve(socket) in a thread of its own and closed behind it."""

    def __init__(self, serve):
        self.serve = serve
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(s,), daemon=True).start()

    def one(self, s):
        s.settimeout(30)
        with s, contextlib.suppress(OSError):
            self.serve(s)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def read_request(f):
    """(first line, fields, body) from a file of a socket; None at its end."""
    first = f.readline()
    if not first:
        return None
    fields = {}
    while (line := f.readline().strip()):
        name, _, value = line.decode().partition(":")
        fields[name.lower()] = value.strip()
    return first.decode().strip(), fields, f.read(int(fields.get("content-length", 0)))


def test_no_post_is_lost_to_an_upstream_that_closes_behind_each_answer(build):
    got = []

    def serve(s):
        first, _, body = read_request(s.makefile("rb"))
        got.append(body)
        # Nothing says that this connection ends now.
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with RawServer(serve) as server, world(build) as (_, _, port):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for i in range(1000):
            body = b"number %d" % i
            a = ask(port, server.url("/api"), method="POST", body=body, connection=c)
            same((f"POST {i}", (a.status, a.body), (200, body)))
        c.close()
        same(("each once, in order", got, [b"number %d" % i for i in range(1000)]))


def test_several_ranges_fetch_the_pieces_they_lie_in(build):
    paths = {"/p2p/large": lambda h: h.reply_file(F1 * 10)}                # 25 pieces of 4 MiB
    content, piece = F1 * 10, 4 * MIB
    with world(build, paths=paths) as (_, o, port):
        # In order, with gaps; then out of order, beside pieces that are there; two in one piece; the first and the last.
        for query, specs, pieces in (("a", ((5, 9), (9 * piece - 5, 9 * piece + 4), (20 * piece, 20 * piece)), {0, 8, 9, 20}),
                                     ("a", ((21 * piece, 21 * piece + 9), (2 * piece, 2 * piece + 9), (9 * piece, 9 * piece)), {2, 21}),
                                     ("b", ((6 * piece, 6 * piece), (6 * piece + 7, 6 * piece + 8)), {6}),
                                     ("c", ((len(content) - 1, len(content) - 1), (0, 0)), {0, 24})):
            before = len(o.seen())
            a = ask(port, o.url(f"/p2p/large?{query}"), {"Range": "bytes=" + ",".join(f"{first}-{last}" for first, last in specs)})
            parts = a.body.split(b"\r\n\r\n")[1:]
            same(("status", a.status, 206), ("parts", len(parts), len(specs)))
            for (first, last), part in zip(specs, parts):
                same((f"{first}-{last}", part.startswith(content[first:last + 1] + b"\r\n--"), True))
            asked = set()
            for _, _, fields, _ in o.seen()[before:]:
                first, _, last = dict(fields)["Range"][6:].partition("-")
                if (first, last) != ("0", "0"):
                    asked |= set(range(int(first) // piece, int(last) // piece + 1))
            same((f"pieces for {specs}", asked, pieces))


def test_private_content_is_for_those_whom_the_origin_lets_have_it(build):
    state = {"good": "Bearer T", "answers": 401}

    def private(h):
        if h.headers.get("Authorization") == state["good"]:
            h.reply_file(SMALL)
        else:
            h.reply(state["answers"], b"", ("WWW-Authenticate", 'Bearer realm="r"'))

    def asked_by(port, url, credential):
        a = ask(port, url, {"Authorization": credential} if credential else {})
        return a.status, a.type, a.get("WWW-Authenticate") if a.status == 401 else None, a.body == SMALL

    challenge = 'Bearer realm="r"'
    paths = {"/p2p/private": private}
    with world(build, {"revalidateAuth": True}, paths, before=lambda c: c.seed.config["storage"].update(keep=True)) as (peer, o, port):
        private_url, public_url = o.url("/p2p/private"), o.url("/p2p/small")
        same(("first", asked_by(port, private_url, "Bearer T"), (200, None, None, True)))
        same(("public", asked_by(port, public_url, None), (200, None, None, True)))
        public = len(o.seen("/p2p/small"))
        for round in range(2):
            for _ in range(3):
                seen = len(o.seen())
                same(("nobody", asked_by(port, private_url, None), (401, "backend", challenge, False)),
                     ("another", asked_by(port, private_url, "Bearer U"), (401, "backend", challenge, False)),
                     ("range", ask(port, private_url, {"Range": "bytes=0-0"}).status, 401),
                     ("right", asked_by(port, private_url, "Bearer T"), (200, None, None, True)))
                asked = o.seen()[seen:]
                same(("the origin was asked for one byte by each", [dict(e[2]).get("Range") for e in asked], ["bytes=0-0"] * 4))
            same(("what is public needs no question", (asked_by(port, public_url, None)[0], len(o.seen("/p2p/small")) - public), (200, 0)))
            if round == 0:
                # The mark is part of the record on disk.
                peer.stop()
                peer.start()
                wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close() or True, 10, "the proxy answers again")
        for status in (403, 404):
            state["answers"] = status
            same((status, asked_by(port, private_url, "Bearer U")[:2], (status, "backend")))
        state["good"] = "Bearer V"
        same(("a token that was taken back", asked_by(port, private_url, "Bearer T")[0], 404), ("the new one", asked_by(port, private_url, "Bearer V")[0], 200))
    # Without the key everybody who may use the proxy gets it.
    state["good"] = "Bearer T"
    with world(build, paths=paths) as (_, o, port):
        same(("first", asked_by(port, o.url("/p2p/private"), "Bearer T")[0], 200), ("nobody", asked_by(port, o.url("/p2p/private"), None)[0], 200))


def test_nobody_joins_the_first_request_for_private_content(build):
    release = threading.Event()

    def held(h):
        if h.headers.get("Authorization") != "Bearer T":
            return h.reply(401, b"")
        release.wait(20)
        h.reply_file(SMALL)

    with world(build, {"revalidateAuth": True}, {"/p2p/held": held}) as (_, o, port):
        got = []
        first = threading.Thread(target=lambda: got.append(ask(port, o.url("/p2p/held"), {"Authorization": "Bearer T"})))
        first.start()
        try:
            wait_for(lambda: o.seen("/p2p/held"), 10, "the first request is at the origin")
            same(("without credential", ask(port, o.url("/p2p/held")).status, 401))
        finally:
            release.set()
        first.join(20)
        same(("with it", (got[0].status, got[0].body == SMALL), (200, True)))


def test_private_content_whose_origin_is_gone_is_for_nobody(build):
    gone = threading.Event()
    o = ScriptedOrigin({"/p2p/private": lambda h: setattr(h, "close_connection", True) if gone.is_set() else h.reply_file(SMALL)})
    with daemon(build, {"revalidateAuth": True}) as c:
        port = c.seed.proxy_port
        for path, headers in (("/p2p/private", {"Authorization": "Bearer T"}), ("/p2p/small", {})):
            same((path, ask(port, o.url(path), headers).status, 200))
        o.stop()
        gone.set()              # for connections that are open
        a = ask(port, o.url("/p2p/private"), {"Authorization": "Bearer T"})
        same(("private", (a.status, a.type), (502, "backend")), ("public", ask(port, o.url("/p2p/small")).status, 200))
        ends_well(c)


# ---- upstreams that lie ----

def part(h, content, total=None, fields=()):
    """The range that was asked for, honestly framed."""
    first, _, last = h.headers["Range"][6:].partition("-")
    first, last = int(first), min(int(last or len(content) - 1), len(content) - 1)
    body = content[first:last + 1]
    h.reply(206, body, ("Content-Range", f"bytes {first}-{first + len(body) - 1}/{total or len(content)}"), *fields)


def longer(h, good):
    """Promises more than it sends."""
    h.close_connection = True
    if "Range" in h.headers and h.headers["Range"] != "bytes=0-0":
        first, _, last = h.headers["Range"][6:].partition("-")
        last = min(int(last), len(good) - 1)
        h.reply(206, good[int(first):last - 999], ("Content-Range", f"bytes {first}-{last}/{len(good)}"), ("Content-Length", str(last + 1 - int(first))))
    else:
        part(h, good)


def shorter(h, good):
    """Says that there is less than there is, and sends that."""
    part(h, good[:-1000])


def overflowing(h, good):
    """Sends more than it promised."""
    h.close_connection = True
    first, _, last = h.headers["Range"][6:].partition("-")
    last = min(int(last or len(good) - 1), len(good) - 1)
    h.reply(206, good[int(first):last + 1] + b"more", ("Content-Range", f"bytes {first}-{last}/{len(good)}"), ("Content-Length", str(last + 1 - int(first))))


def changing(h, good):
    """No validators, and another content for each part."""
    part(h, bytes(byte ^ 1 for byte in good[:1]) + good[1:] if h.headers["Range"] != "bytes=0-0" else good)


def elsewhere(h, good):
    """206 for another range than the one that was asked for."""
    first, _, last = h.headers["Range"][6:].partition("-")
    if h.headers["Range"] == "bytes=0-0":
        return part(h, good)
    n = min(int(last), len(good) - 1) - int(first) + 1
    h.reply(206, good[:n] if first != "0" else good[1:n] + b"x", ("Content-Range", f"bytes {'0' if first != '0' else '1'}-{n - 1 if first != '0' else n}/{len(good)}"))


def nowhere(h, good):
    """206 that does not say of what."""
    h.reply(206, good)


def whole(h, good):
    """206 with all of it, whatever was asked for."""
    h.reply(206, good, ("Content-Range", f"bytes 0-{len(good) - 1}/{len(good)}"))


def zipped(h, good):
    """gzip where identity was asked for."""
    assert h.headers.get("Accept-Encoding", "identity") == "identity", h.headers
    packed = gzip.compress(good, 0)
    h.reply_file(packed, ("Content-Encoding", "gzip"))


def sometimes_zipped(h, good):
    """Tells the length of the plain bytes, sends packed ones."""
    if h.headers["Range"] == "bytes=0-0":
        return part(h, good)
    h.reply(200, gzip.compress(good, 0), ("Content-Encoding", "gzip"))


def page(h, good):
    """A page of a captive portal, with status 200."""
    h.reply(200, b"<html>please log in</html>", ("Content-Type", "text/html"))


LIES = (longer, shorter, overflowing, changing, elsewhere, nowhere, whole, zipped, sometimes_zipped, page)


def attempt(port, url):
    """What a client gets: (status, body), the body None when the answer broke off."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        a = ask(port, url, connection=c)
        return a.status, a.body
    except (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionResetError):
        return 0, None
    finally:
        c.close()


def meet_lie(o, port, lie, size):
    good = os.urandom(size)
    path = f"/v2/a/blobs/sha256:{sha(good)}"
    now = {"lie": lie}
    o.paths[path] = lambda h: now["lie"](h, good) if now["lie"] else h.reply_file(good)
    for _ in range(2):
        status, body = attempt(port, o.url(path))
        assert body is None or body == good or status in (422, 502), (lie.__name__, size, status, body[:50])       # 422: no usable length
    now["lie"] = None
    for _ in range(2):
        status, body = attempt(port, o.url(path))
        same((f"honest after {lie.__name__}, {size}", (status, body == good), (200, True)))


def test_a_lying_origin_never_makes_a_wrong_blob(build):
    """Whatever it does, a client gets the right blob, an error, or an answer that breaks off; and the right blob once the origin is honest."""
    with world(build) as (_, o, port), concurrent.futures.ThreadPoolExecutor(5) as pool:
        for done in [pool.submit(meet_lie, o, port, lie, size) for size in (3000, 300000, 10 * MIB) for lie in LIES]:
            done.result()


def test_lies_past_the_cluster_break_off(build):
    """Direct answers are passed on as they are, and never look complete when they are not."""
    def short(h):
        h.close_connection = True
        h.reply(200, SMALL[:1000], ("Content-Length", "2000"))

    def broken_chunks(h):
        h.close_connection = True
        h.reply(200, b"", ("Transfer-Encoding", "chunked"))
        h.wfile.write(b"5\r\nhello\r\n")

    def long(h):
        h.reply(200, b"hello", ("Content-Length", "3"))

    def zipped_page(h):
        h.reply(200, gzip.compress(b"hello"), ("Content-Encoding", "gzip"))

    with world(build, paths={"/direct/short": short, "/direct/chunks": broken_chunks, "/direct/long": long, "/direct/zip": zipped_page}) as (_, o, port):
        for path in ("short", "chunks"):
            same((path, attempt(port, o.url("/direct/" + path)), (0, None)))
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for _ in range(3):      # what is too much never becomes part of the next answer
            same(("long", ask(port, o.url("/direct/long"), connection=c).body, b"hel"), ("next", ask(port, o.url("/direct/x"), connection=c).body, b"hello"))
        c.close()
        a = ask(port, o.url("/direct/zip"), {"Accept-Encoding": "gzip"})
        same(("packed, as it was asked for", (a.get("Content-Encoding"), gzip.decompress(a.body)), ("gzip", b"hello")))


# ---- answers of a task, as they come ----

def test_bytes_leave_with_their_piece_in_order(build):
    """Pieces come when this test lets them; other clients have later ones brought first."""
    size, piece = 20 * MIB, 4 * MIB
    content = F1 * 2
    gates = [threading.Event() for _ in range(5)]

    def gated(h):
        if h.headers["Range"] == "bytes=0-0":
            return h.reply_file(content)
        first, _, last = h.headers["Range"][6:].partition("-")
        first, last = int(first), min(int(last), size - 1)
        h.reply(206, b"", ("Content-Range", f"bytes {first}-{last}/{size}"), ("Content-Length", str(last + 1 - first)), ("ETag", '"e1"'))
        for at in range(first, last + 1, piece):
            assert gates[at // piece].wait(60)
            h.wfile.write(content[at:min(at + piece, last + 1)])

    with world(build, paths={"/p2p/gated": gated}) as (_, o, port):
        try:
            for gate in (4, 2):
                gates[gate].set()
                a = ask(port, o.url("/p2p/gated"), {"Range": f"bytes={gate * piece}-{gate * piece + 9}"})
                same((f"piece {gate}", a.body, content[gate * piece:gate * piece + 10]))
            with open_get(port, o.url("/p2p/gated")) as s:
                gates[0].set()
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += s.recv(1)
                same(("head", head[:12], b"HTTP/1.1 200"), ("the first piece, while others are not there", read_n(s, piece) == content[:piece], True))
                gates[1].set()
                same(("the second and third", read_n(s, 2 * piece) == content[piece:3 * piece], True))
                gates[3].set()
                same(("the rest", read_n(s, size - 3 * piece) == content[3 * piece:], True))
        finally:
            for gate in gates:
                gate.set()


# ---- what upstreams say is kept ----

def test_manifests_are_as_fresh_as_their_registry(build):
    now = {"content": b"one"}

    def manifest(h):
        tag = f'"{sha(now["content"])}"'
        if h.headers.get("If-None-Match") == tag:
            return h.reply(304, b"", ("ETag", tag))
        h.reply(200, now["content"], ("ETag", tag), ("Docker-Content-Digest", "sha256:" + sha(now["content"])), ("Content-Type", "application/vnd.x+json"),
                ("X-RateLimit", "1"), ("X-RateLimit", "2"), ("Cache-Control", "max-age=99999"))

    with world(build, paths={"/v2/a/manifests/latest": manifest}) as (_, o, port):
        url = o.url("/v2/a/manifests/latest")
        for content in (b"one", b"two", b"two"):
            now["content"] = content
            etag = f'"{sha(content)}"'
            for method in ("HEAD", "GET"):
                a = ask(port, url, method=method)
                same((f"{method} {content}", (a.status, a.body, a.get("ETag"), a.get("Docker-Content-Digest"), a.get("Content-Type"), a.get("Content-Length")),
                      (200, b"" if method == "HEAD" else content, etag, "sha256:" + sha(content), "application/vnd.x+json", "3")),
                     ("each field", [v for n, v in a.fields if n == "X-RateLimit"], ["1", "2"]), ("direct", a.is_direct, True))
            a = ask(port, url, {"If-None-Match": etag})
            same(("not modified, says the registry", (a.status, a.body, a.get("ETag")), (304, b"", etag)))
            same(("modified", ask(port, url, {"If-None-Match": '"other"'}).status, 200))
        same(("each was asked of the registry", len(o.seen()), 12))


def test_fields_of_the_origin_are_told_with_a_task(build):
    fields = (("Docker-Content-Digest", "sha256:" + sha(SMALL)), ("Docker-Distribution-Api-Version", "registry/2.0"), ("Last-Modified", "Tue, 24 Nov 2026 10:00:00 GMT"),
              ("X-Mine", "1"), ("Connection", "X-Hop"), ("Set-Cookie", "a=b"))
    with world(build, paths={"/p2p/fields": lambda h: h.reply_file(SMALL, *fields)}) as (_, o, port):
        for _ in range(3):      # asked of the engine, then of the data loop's memory
            a = ask(port, o.url("/p2p/fields"))
            same(*((name, a.get(name), value) for name, value in fields[:4]), ("ETag", a.get("ETag"), '"e1"'), ("type", a.get("Content-Type"), "application/octet-stream"),
                 ("nobody's cookie", a.get("Set-Cookie"), None), ("connection", a.get("Connection"), None), ("ranges", a.get("Accept-Ranges"), "bytes"))


# ---- what must not be passed on ----

SMUGGLED = (
    "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "Content-Length: 3, 4\r\n\r\nabcd", "Content-Length: +3\r\n\r\nabc",
    "Content-Length: 0x3\r\n\r\nabc", "Content-Length: -1\r\n\r\n", "Content-Length:\r\n\r\n", "Content-Length: 3 3\r\n\r\nabc",
    "Content-Length: 99999999999999999999999\r\n\r\nabc", "Content-Length : 3\r\n\r\nabc", "Content-Length\t: 3\r\n\r\nabc",
    "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "Transfer-Encoding: identity\r\n\r\n", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "X: a\0b\r\n\r\n", "X\0: a\r\n\r\n", ": a\r\n\r\n", "no colon\r\n\r\n", "X(: a\r\n\r\n",
)
BROKEN_CHUNKS = ("0x3\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "-1\r\n\r\n", "+3\r\nabc\r\n0\r\n\r\n", "3 \rabc\r\n0\r\n\r\n", "fffffffffffffffff\r\nabc",
                 "3\r\nabc0\r\n\r\n", "\r\n0\r\n\r\n", "3;a\rb\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n bad: folded\r\n\r\n")


def test_forms_of_smuggling_are_refused(build):
    """400 before anything went up; broken chunks may be seen too late for that: then the request never ends at the upstream."""
    inner = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    with world(build) as (_, o, port):
        for form in SMUGGLED:
            got, _ = raw(port, f"POST {o.url('/direct/x')} HTTP/1.1\r\nHost: x\r\n{form}{inner}".encode("latin-1"))
            assert got.startswith(b"HTTP/1.1 400 ") and got.count(b"HTTP/1.1 ") == 1, (form, got[:200])
        same(("nothing reached the origin", o.seen(), []))
        for chunks in BROKEN_CHUNKS:
            got, _ = raw(port, f"POST {o.url('/direct/x')} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{inner}".encode("latin-1"))
            assert not got.startswith(b"HTTP/1.1 2") and got.count(b"HTTP/1.1 ") <= 1, (chunks, got[:200])
        same(("none of them was a whole request there", o.seen(), []))
        for old in ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
            got, _ = raw(port, f"POST {o.url('/direct/x')} HTTP/1.0\r\n{old}{inner}".encode())
            assert got.startswith(b"HTTP/1.0 400 ") and got.count(b"HTTP/1.0 ") == 1, got[:200]
        same(("nor these", o.seen(), []))


def test_framing_of_upstreams_cannot_be_bent(build):
    """Answers that two readers could cut in different places: refused, or cut off; never two answers of one."""
    second = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"
    forms = (b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n", b"Content-Length: 0, 5\r\n\r\n", b"Content-Length: x\r\n\r\n",
             b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
             b"Content-Length: 0\r\n\r\n")
    now = {}

    def serve(s):
        f = s.makefile("rb")
        while read_request(f):
            s.sendall(b"HTTP/1.1 200 OK\r\n" + now["form"] + second)

    with RawServer(serve) as server, world(build) as (_, o, port):
        for form in forms:
            now["form"] = form
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            with contextlib.suppress(http.client.HTTPException, OSError):
                a = ask(port, server.url("/x"), connection=c)
                assert a.status == 502 or b"smuggled" not in a.body, (form, a.body)
                same(("the next one on this connection", ask(port, o.url("/direct/x"), connection=c).body, b"hello"))
            c.close()


def test_a_scheduler_never_hears_of_a_redirects_signature(build):
    """The task's URL goes to the scheduler as it was asked for; where the registry sent us, with a signature, does not."""
    content = os.urandom(10 * MIB)
    path = f"/v2/a/blobs/sha256:{sha(content)}"
    secret = "verysecretsignature"
    c = Cluster(build, peers=0, seed=False, start=False)
    o = ScriptedOrigin({"/cdn": lambda h: h.reply_file(content)})
    scheduler = None
    try:
        o.paths[path] = lambda h: h.reply(307, b"", ("Location", o.url(f"/cdn?X-Amz-Signature={secret}")))
        scheduler = scripted.Scheduler(c.scheduler_port)
        peer = Peer(c, "tested", False, False)
        peer.config["proxy"]["rules"] = [{"regex": "blobs/sha256.*"}]
        c.all.append(peer)
        scheduler.scripts[o.url(path)] = [scripted.give(scripted.need_source())]
        peer.start()
        wait_for(lambda: scheduler.hosts, 10, "the daemon announces itself")
        a = ask(peer.proxy_port, o.url(path), {"Authorization": "Bearer verysecrettoken"})
        same(("blob", (a.status, a.body == content), (200, True)))
        talk, = scheduler.conversations[o.url(path)]
        wait_for(lambda: any(m.HasField("download_peer_back_to_source_finished_request") for m in talk.log), 10, "the scheduler is told of the end")
        heard = "".join(str(m) for m in talk.log)
        assert o.url(path) in heard and secret not in heard, heard[:500]
        ends_well(c)
        for word in (secret, "verysecrettoken"):
            assert word not in peer.log(), [line for line in peer.log().splitlines() if word in line][:3]
    finally:
        c.close()
        o.stop()
        if scheduler:
            scheduler.server.stop(0)


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
