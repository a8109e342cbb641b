#!/usr/bin/python3
"""Mixed load on the proxies of a seed and two peers for as long as one likes: pulls, ranges, clients that leave, slow readers, origins that fail.
Every byte is compared; at the end no error that this script did not cause, and no growth of memory after the first quarter.

usage: soak_proxy.py BUILD_DIR [MINUTES]"""
import collections
import contextlib
import os
import random
import re
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster                                                  # noqa: E402
from proxy_support import F1, MIB, ScriptedOrigin, ask, open_get, raw, read_n, sha    # noqa: E402

FILES = {f"/p2p/{i}": F1[i:i + size] for i, size in enumerate((0, 1, 5000, MIB, 4 * MIB, 4 * MIB + 1, 9 * MIB))}
CLIENTS = 8


def flaky(h):
    r = random.random()
    if r < 0.3:
        h.reply(503, b"")
    elif r < 0.5:
        h.close_connection = True
        h.reply(200, F1[:MIB], ("Content-Length", str(len(F1))))
    elif r < 0.6:
        h.close_connection = True
    else:
        h.reply_file(F1)


class Client(threading.Thread):
    def __init__(self, world, number):
        super().__init__(daemon=True)
        self.world, self.random = world, random.Random(number)

    def run(self):
        while not self.world.is_over:
            what = self.random.choice((self.whole, self.whole, self.range, self.range, self.range, self.leave, self.slow, self.direct, self.upload,
                                       self.blob, self.flaky, self.garbage))
            try:
                what()
                self.world.done[what.__name__] += 1
            except (OSError, AssertionError, ValueError) as e:
                self.world.failures.append(f"{what.__name__}: {type(e).__name__} {e}"[:300])

    @property
    def port(self):
        return self.random.choice(self.world.cluster.all).proxy_port

    def pick(self):
        path = self.random.choice(list(FILES))
        # Names that nobody used before: fetched anew; and some that are used again and again.
        return self.world.origin.url(f"{path}?n={self.random.choice((0, 1, 2, self.random.randrange(10 ** 9)))}"), FILES[path]

    def whole(self):
        url, content = self.pick()
        a = ask(self.port, url)
        assert a.status == 200 and a.body == content, (url, a.status, len(a.body))

    def range(self):
        url, content = self.pick()
        if not content:
            return
        first = self.random.randrange(len(content))
        last = min(len(content) - 1, first + self.random.randrange(200000))
        a = ask(self.port, url, {"Range": f"bytes={first}-{last}"})
        assert a.status == 206 and a.body == content[first:last + 1], (url, a.status, first, last)

    def leave(self):
        url, _ = self.pick()
        with open_get(self.port, url, [("Connection", "close")]) as s:
            read_n(s, self.random.randrange(1, 300000))

    def slow(self):
        url, content = self.pick()
        with open_get(self.port, url, [("Connection", "close")], receive_buffer=4096) as s:
            got = b""
            for _ in range(20):
                time.sleep(0.02)
                got += s.recv(20000)
            head, _, body = got.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200") and content.startswith(body), head

    def direct(self):
        assert ask(self.port, self.world.origin.url("/direct/x")).body == b"hello"

    def upload(self):
        body = F1[:self.random.randrange(MIB)]
        a = ask(self.port, self.world.origin.url("/up"), method="PUT", body=body)
        assert a.body == sha(body).encode(), a.status

    def blob(self):
        name, content = self.random.choice(self.world.blobs)
        a = ask(self.port, self.world.origin.url(f"/v2/x/blobs/sha256:{name}"))
        assert a.status == 200 and a.body == content

    def flaky(self):
        with contextlib.suppress(Exception):
            a = ask(self.port, self.world.origin.url(f"/flaky/p2p/?n={self.random.randrange(1000)}"))
            assert a.status >= 400 or a.body == F1, "a wrong answer"

    def garbage(self):
        raw(self.port, os.urandom(self.random.randrange(1, 500)), shut=True)


class World:
    def __init__(self, build):
        self.blobs = [(sha(F1[:n]), F1[:n]) for n in (3000, 2 * MIB, 6 * MIB)]
        paths = {path: (lambda h, c=content: h.reply_file(c, ranges=bool(c))) for path, content in FILES.items()}
        paths |= {f"/v2/x/blobs/sha256:{name}": (lambda h, c=content: h.reply_file(c)) for name, content in self.blobs}
        paths |= {"/flaky/p2p/": flaky, "/up": lambda h: h.reply(201, sha(h.body).encode())}
        self.origin = ScriptedOrigin(paths)
        self.origin.keeps_log = False
        config = {"proxy": {"rules": [{"regex": "/p2p/"}, {"regex": "blobs/sha256.*"}]},
                  "gc": {"interval": "10s", "policy": {"taskTTL": "30s"}}}
        self.cluster = Cluster(build, peers=2, config=config)
        self.is_over = False
        self.done = collections.Counter()
        self.failures = []

    def memory(self):
        return [p.status("VmRSS") // 1024 for p in self.cluster.all]


def main(argv):
    minutes = float(argv[2]) if len(argv) > 2 else 15
    w = World(argv[1])
    with w.cluster as c:
        clients = [Client(w, i) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        begin, early = time.monotonic(), None
        while time.monotonic() - begin < minutes * 60:
            time.sleep(min(15, minutes * 15))
            if early is None and time.monotonic() - begin > minutes * 15:
                early = w.memory()
            print(f"{time.monotonic() - begin:.0f} s, {sum(w.done.values())} requests, {len(w.failures)} failures, MiB {w.memory()}, descriptors "
                  f"{[p.descriptors() for p in c.all]}", flush=True)
        w.is_over = True
        for client in clients:
            client.join(30)
        late, bad = w.memory(), []
        for p in c.all:
            code = p.stop()
            # What the flaky origin did.
            errors = [line for line in p.log_lines("ERROR") if not re.search("503 Service|source changed|connection closed|answer is shorter|404 Not Found", line)]
            found = re.search("(?s)[^\n]*(Sanitizer|runtime error).{,3000}", p.log())
            if code != 0 or errors or found:
                bad.append(f"{p.name} ended with {code}: {errors[:5]} {found.group(0) if found else ''}")
    w.origin.stop()
    print(dict(w.done))
    print(f"memory in MiB, early {early}, late {late}")
    grown = [b - a for a, b in zip(early or late, late) if b - a > 16 + a // 5]
    for line in w.failures[:20] + bad:
        print(line)
    if w.failures or bad or grown:
        print("0 passed, 1 failed")
        return 1
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
