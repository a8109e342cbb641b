#!/usr/bin/python3
"""The proxy in front of upstreams that close, lie and break off.

usage: test_proxy_upstream.py BUILD_DIR [TEST...]"""
import contextlib
import http.client
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import run_tests, wait_for                                 # noqa: E402
from proxy_support import F1, MIB, SMALL, ScriptedOrigin, ask, daemon   # noqa: E402
from test_proxy import ends_well, same, world                           # noqa: E402


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


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
