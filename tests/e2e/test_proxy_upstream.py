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
from cluster import run_tests                                           # noqa: E402
from proxy_support import F1, MIB, ask                                           # noqa: E402
from test_proxy import same, world                                      # noqa: E402


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


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
