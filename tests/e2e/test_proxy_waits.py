#!/usr/bin/python3
"""How long the proxy waits: for heads that never end, for bodies that stall, for what runs when the daemon is told to stop. All of it at once, for
the times are long.

usage: test_proxy_waits.py BUILD_DIR [TEST...]"""
import contextlib
import http.client
import os
import re
import select
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import run_tests_in, wait_for                                       # noqa: E402
from proxy_support import F1, MIB, ScriptedOrigin, daemon, open_get, raw         # noqa: E402
from test_proxy_errors import FAILURES, RawServer, check, answer_on, of, pieces_answer  # noqa: E402
from test_proxy_table import authority_of, ends_well, same, tunnel               # noqa: E402

HEAD_S = 30         # HTTP_SERVER_HEAD_MS; of the small servers for health and metrics: 10
GRACE_S = 10        # PROXY_GRACE_MS
LATE_S = 60         # later than this is wrong on a busy machine, too


class EndlessHead:
    """A request whose head goes on, a byte a second, until it is answered."""

    def __init__(self, s, limit=HEAD_S):
        self.s, self.limit = s, limit
        self.begin = time.monotonic()
        self.got, self.took = b"", None
        s.sendall(b"GET /x HTTP/1.1\r\nHost: client.example\r\nX-Long: ")
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with contextlib.suppress(OSError):
            while not select.select([self.s], [], [], 1)[0] and time.monotonic() < self.begin + self.limit + LATE_S:
                self.s.sendall(b"a")
            self.took = time.monotonic() - self.begin
            self.s.settimeout(LATE_S)
            while block := self.s.recv(65536):
                self.got += block
        self.s.close()


class World:
    """plain: heads that never end. hasty: gives up bodies after a while. leaving: is told to stop."""

    def __init__(self, build):
        self.go_on = threading.Event()
        self.O = ScriptedOrigin({"/p2p/stalls": self.stalls(0), "/p2p/stalls-later": self.stalls(5 * MIB)})
        self.silent = RawServer(None)
        self.plain = daemon(build, {"server": {"interceptHosts": ["127.0.0.1"]}})
        port = self.plain.seed.proxy_port
        self.stack = contextlib.ExitStack()
        inside, _ = self.stack.enter_context(tunnel(port, "127.0.0.1", 443, authority_of(self.plain.seed)))
        self.heads = {
            "proxy": EndlessHead(socket.create_connection(("127.0.0.1", port), LATE_S)), "inside a tunnel": EndlessHead(inside),
            "health": EndlessHead(socket.create_connection(("127.0.0.1", self.plain.seed.health_port), LATE_S), 10)}

        def hasty(c):
            c.seed.config.update(backend={"maxRetries": 0})
            c.seed.config["download"]["pieceTimeout"] = "3s"
        self.hasty = daemon(build, before=hasty)
        self.leaving = daemon(build)

    def stalls(self, after):
        """A file whose first byte is given, and of the rest so many bytes at once and no more."""
        def some(h):
            h.close_connection = True
            h.reply(200, b"", ("Content-Length", str(len(F1))), ("ETag", '"e1"'))
            h.wfile.write(F1[:after])
            h.wfile.flush()
            self.go_on.wait(4 * LATE_S)
        return pieces_answer(some)

    def close(self):
        self.go_on.set()
        self.stack.close()
        for d in (self.plain, self.hasty, self.leaving):
            d.close()
        self.O.stop()
        self.silent.stop()


world = None


def test_bodies_that_stall(build):
    """Before the head was sent: 504 with the cause. Behind it: the connection ends early. Either way soon, and it is in the log."""
    d = world.hasty
    failures = d.seed.metric(FAILURES)
    check("nothing came", d, of(d, world.O.url("/p2p/stalls")), 504, "backend", "time limit of 3 s .* receiving the body")
    got, _ = raw(d.seed.proxy_port, f"GET {world.O.url('/p2p/stalls-later')} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), seconds=LATE_S)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"Content-Length: %d" % len(F1) in head and F1.startswith(body) and len(body) == 4 * MIB, (head, len(body))
    line = rf'answer of the proxy broken off client=\S+ task=\w+ sent={len(body)} of={len(F1)} cause=".*time limit of 3 s .* receiving the body"'
    wait_for(lambda: re.search(line, d.seed.log()), 10, "a line in the log")
    wait_for(lambda: d.seed.metric(FAILURES) == failures + 2, 10, "both count")
    same(("nothing is spoilt", of(d, world.O.url("/p2p/f1")).body == F1, True))


def test_requests_that_wait_when_the_daemon_stops(build):
    """They have their time. What ends within it is answered, what waits longer is told why it gets nothing."""
    d = world.leaving
    asked, answer = threading.Event(), threading.Event()

    def slow(h):
        asked.set()
        answer.wait(LATE_S)
        h.reply(200, b"hello")
    world.O.paths["/direct/slow"] = slow
    with open_get(d.seed.proxy_port, world.silent.url("/p2p/x")) as s, open_get(d.seed.proxy_port, world.O.url("/direct/slow")) as soon:
        wait_for(lambda: world.silent.kept, LATE_S, "the origin is asked")
        assert asked.wait(LATE_S)
        begin = time.monotonic()
        d.seed.process.send_signal(signal.SIGTERM)

        def is_closed():
            try:
                socket.create_connection(("127.0.0.1", d.seed.proxy_port), LATE_S).close()
                return False
            except ConnectionRefusedError:
                return True
        wait_for(is_closed, LATE_S, "no further connections are taken")
        answer.set()
        try:
            a = answer_on(soon)
            same(("one that ends", (a.status, a.body, a.get("Connection")), (200, b"hello", "close")))
        except (OSError, http.client.HTTPException):
            # A machine that is so slow that the time was over before the answer came.
            assert time.monotonic() - begin >= GRACE_S - 1
        s.settimeout(GRACE_S + LATE_S)
        check("one that waits", d, answer_on(s), 503, "dfdaemon", "the daemon is stopping")
        assert time.monotonic() - begin >= GRACE_S - 1, "it did not have its time"
    same(("exit code", d.seed.process.wait(LATE_S), 0))
    d.seed.process = None


def test_heads_that_never_end(build):
    for name, h in world.heads.items():
        h.thread.join(HEAD_S + 2 * LATE_S)
        assert h.took is not None and h.got.startswith(b"HTTP/1.1 408 ") and b"Connection: close" in h.got, (name, h.took, h.got)
        assert h.got.endswith(b"\r\n\r\nthe request's head did not come in time\n"), (name, h.got)
        assert h.limit - 1 < h.took < h.limit + LATE_S, (name, h.took)
    line = 'cause="the request\'s head did not come in time" status=408'
    same(("lines in the log", world.plain.seed.log().count(line), len(world.heads)))
    same(("others are served", of(world.plain, world.O.url("/direct/x")).status, 200))


if __name__ == "__main__":
    sys.exit(run_tests_in(World, lambda w: [ends_well(d) for d in (w.plain, w.hasty)], globals(), sys.argv))
