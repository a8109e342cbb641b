#!/usr/bin/python3
"""Mixed load on the proxies of a seed (with the scheduler in it) and two peers for as long as one likes: pulls, ranges, several ranges, clients
that leave, slow readers, uploads, TLS in tunnels, nonsense, origins that fail, break off and lie.

Fails when an answer that looks complete has one wrong byte; when a client gets an error that nothing here caused; when a log has a line of
level ERROR or WARN that is not about something that was broken here on purpose; when a daemon ends otherwise than in order (sanitizers
included); or when memory or descriptors of a daemon grow after the first minute. What a daemon holds under load is a matter of the load, so the
clients rest twice, after the first minute and at the end, until what they asked for is collected; these two states are compared. A scheduler keeps
what it heard of for a day: what registered since is allowed for.

usage: soak_proxy.py BUILD_DIR [MINUTES]"""
import collections
import contextlib
import http.client
import os
import random
import re
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, wait_for                                                 # noqa: E402
from proxy_support import F1, MIB, ScriptedOrigin, ask, open_get, raw, read_n, sha    # noqa: E402
from test_shapes import task_id                                                       # noqa: E402
from tls_support import Authority                                                     # noqa: E402

FILES = {f"/p2p/{i}": F1[i:i + size] for i, size in enumerate((0, 1, 5000, MIB, 4 * MIB, 4 * MIB + 1, 9 * MIB))}
# What a client does next.
KINDS = ("whole", "whole", "range", "range", "range", "ranges", "leave", "slow", "direct", "upload", "blob", "tunnel", "flaky", "broken", "lying", "garbage")
CLIENTS = 8
BROKEN_NAMES = 1000
WARM_UP_S = 60
# Tasks are collected TTL_S after their last use, at the next of the passes every GC_S.
TTL_S, GC_S = 30, 10
REST_S = TTL_S + 2 * GC_S
# What a process may grow by after that: of its size, and for what one registration leaves in a scheduler.
GROWTH_KIB, GROWTH_PARTS, REGISTRATION_KIB = 2048, 10, 2
GROWTH_DESCRIPTORS = 16
ASAN_GROWTH_KIB = 32768

# Freed memory that a sanitizer holds back is not growth.
os.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=1")


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


def broken(h):
    """For requests past the cluster."""
    h.close_connection = True
    if random.random() < 0.5:
        h.reply(200, F1[:MIB], ("Content-Length", str(len(F1))))


def liar(content):
    """One byte is wrong every other time."""
    return lambda h: h.reply_file(content if random.random() < 0.5 else content[:-1] + bytes([content[-1] ^ 1]))


# How http.client shows that an answer broke off.
BROKE_OFF = (http.client.HTTPException, ConnectionError)


class Client(threading.Thread):
    def __init__(self, world, number):
        super().__init__(daemon=True)
        self.world, self.random, self.rests = world, random.Random(number), False

    def run(self):
        while not self.world.is_over:
            self.rests = self.world.is_resting
            if self.rests:
                time.sleep(0.05)
                continue
            what = self.random.choice(KINDS)
            try:
                getattr(self, what)()
                self.world.done[what] += 1
            except (OSError, AssertionError, ValueError, http.client.HTTPException) as e:
                self.world.failures.append(f"{time.strftime('%X')} {what}: {type(e).__name__} {e}"[:300])
                print(self.world.failures[-1], flush=True)

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

    def ranges(self):
        url, content = self.pick()
        if len(content) < 5000:
            return
        specs = [(first, min(len(content) - 1, first + self.random.randrange(2000))) for first in self.random.sample(range(len(content)), 5)]
        a = ask(self.port, url, {"Range": "bytes=" + ",".join(f"{first}-{last}" for first, last in specs)})
        boundary = a.get("Content-Type").rpartition("=")[2].encode()
        parts = [p.partition(b"\r\n\r\n")[2] for p in a.body.split(b"\r\n--" + boundary)[1:-1]]
        assert a.status == 206 and parts == [content[first:last + 1] for first, last in specs], (url, a.status, specs)

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
        a = ask(self.port, self.world.origin.url("/up"), method=self.random.choice(("PUT", "POST")), body=body)
        assert a.body == sha(body).encode(), a.status

    def blob(self):
        name, content = self.random.choice(self.world.blobs)
        a = ask(self.port, self.world.origin.url(f"/v2/x/blobs/sha256:{name}"))
        assert a.status == 200 and a.body == content

    def tunnel(self):
        """Two requests inside TLS: one through the cluster, one past it."""
        peer, tls = self.random.choice(self.world.cluster.all), self.world.tls
        c = http.client.HTTPSConnection("127.0.0.1", peer.proxy_port, context=self.world.trust[peer.name], timeout=20)
        c.set_tunnel("127.0.0.1", tls.port)
        with contextlib.closing(c):
            path = self.random.choice(list(FILES))
            a = ask(None, f"{path}?n={self.random.randrange(5)}", connection=c)
            assert a.status == 200 and a.body == FILES[path], (path, a.status)
            assert ask(None, "/direct/x", connection=c).body == b"hello"

    def flaky(self):
        with contextlib.suppress(*BROKE_OFF):
            a = ask(self.port, self.world.broken_url("/flaky/p2p/", self.random))
            assert a.status >= 400 or a.body == F1, "a wrong answer"

    def broken(self):
        with contextlib.suppress(*BROKE_OFF):
            a = ask(self.port, self.world.broken_url("/broken", self.random))
            assert a.status >= 400, "a wrong answer"

    def lying(self):
        content = self.random.choice(self.world.lies)
        with contextlib.suppress(*BROKE_OFF):
            a = ask(self.port, self.world.broken_url(f"/v2/liar/blobs/sha256:{sha(content)}", self.random))
            assert a.status >= 400 or a.body == content, "a wrong blob"

    def garbage(self):
        raw(self.port, os.urandom(self.random.randrange(1, 500)), shut=True)


class World:
    def __init__(self, build):
        self.blobs = [(sha(F1[:n]), F1[:n]) for n in (3000, 2 * MIB, 6 * MIB)]
        self.lies = [F1[7:7 + n] for n in (3000, 2 * MIB, 6 * MIB)]
        paths = {path: (lambda h, c=content: h.reply_file(c, ranges=bool(c))) for path, content in FILES.items()}
        paths |= {f"/v2/x/blobs/sha256:{name}": (lambda h, c=content: h.reply_file(c)) for name, content in self.blobs}
        lies = {f"/v2/liar/blobs/sha256:{sha(content)}": liar(content) for content in self.lies}
        paths |= {"/flaky/p2p/": flaky, "/broken": broken, "/up": lambda h: h.reply(201, sha(h.body).encode())} | lies
        self.origin, self.tls = ScriptedOrigin(paths), ScriptedOrigin(paths)
        self.origin.keeps_log = self.tls.keeps_log = False
        config = {"proxy": {"rules": [{"regex": "/p2p/"}, {"regex": "blobs/sha256.*"}], "registryMirror": {"enableTaskIDBasedBlobDigest": False}},
                  "gc": {"interval": f"{GC_S}s", "policy": {"taskTTL": f"{TTL_S}s"}}}
        self.cluster = Cluster(build, peers=2, config=config, start=False)
        ca = Authority(self.cluster.dir, "upstream-ca")
        cert = ca.leaf("upstream")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*cert)
        self.tls.socket = context.wrap_socket(self.tls.socket, server_side=True, do_handshake_on_connect=False)
        for peer in self.cluster.all:
            peer.config.setdefault("x", {})["backend"] = {"caCert": ca.cert}
        self.cluster.start()
        self.trust = {p.name: ssl.create_default_context(cafile=f"{p.store}/proxy-ca/ca.crt") for p in self.cluster.all}
        self.is_over = self.is_resting = False
        self.done = collections.Counter()
        self.failures = []
        # What a line of the log about trouble may be about.
        self.broken_words = {"/flaky/p2p/", "/broken", "/v2/liar/"}
        for path in ["/flaky/p2p/", *lies]:
            self.broken_words |= {task_id(self.origin.url(f"{path}?n={n}")) for n in range(BROKEN_NAMES)}

    def broken_url(self, path, r):
        return self.origin.url(f"{path}?n={r.randrange(BROKEN_NAMES)}")

    def is_caused(self, line):
        return any(word in self.broken_words for word in re.findall(r"[0-9a-f]{64}", line)) or any(
            word in line for word in self.broken_words if word.startswith("/"))


class Sample:
    def __init__(self, w):
        peers = w.cluster.all
        self.kib = [p.status("VmRSS") for p in peers]
        self.descriptors = [p.descriptors() for p in peers]
        self.registered = peers[0].metric("dragonfly_scheduler_register_peer_total")

    def tell(self, what, w):
        print(f"{what}, {sum(w.done.values())} requests, {len(w.failures)} failures, KiB {self.kib}, descriptors {self.descriptors}, "
              f"registered {self.registered:.0f}", flush=True)


def load(w, clients, seconds):
    """The clients work for so long; then they rest, and what the daemons hold is looked at."""
    begin = time.monotonic()
    w.is_resting = False
    while (at := time.monotonic() - begin) < seconds:
        Sample(w).tell(f"{at:.0f} s", w)
        time.sleep(min(15, seconds - at))
    w.is_resting = True
    wait_for(lambda: all(client.rests for client in clients), 60, "the clients rest")
    time.sleep(REST_S)
    at_rest = Sample(w)
    at_rest.tell("at rest", w)
    return at_rest


def grown(w, early, late, allowed_kib):
    """What grew between two rests, in words."""
    out = []
    for i, p in enumerate(w.cluster.all):
        kib, fds = [s.kib[i] for s in (early, late)], [s.descriptors[i] for s in (early, late)]
        may = allowed_kib + kib[0] / GROWTH_PARTS
        if i == 0:
            may += (late.registered - early.registered) * REGISTRATION_KIB
        print(f"{p.name}: memory {kib[0]} -> {kib[1]} KiB (may grow by {may:.0f}), descriptors {fds[0]} -> {fds[1]} (by {GROWTH_DESCRIPTORS})")
        if kib[1] - kib[0] > may:
            out.append(f"{p.name}: memory grew from {kib[0]} to {kib[1]} KiB")
        if fds[1] - fds[0] > GROWTH_DESCRIPTORS:
            out.append(f"{p.name}: descriptors grew from {fds[0]} to {fds[1]}")
    return out


def look_at_logs(w):
    bad, counts = [], collections.Counter()
    # The one with the scheduler last: the others tell it what they collect.
    for p in reversed(w.cluster.all):
        code, log = p.stop(), p.log()
        for line in p.log_lines("ERROR", "WARN"):
            caused = w.is_caused(line)
            counts["caused" if caused else "not caused"] += 1
            if not caused and len(bad) < 40:
                bad.append(f"{p.name}: {line[:400]}")
        found = re.search("(?s)[^\n]*(Sanitizer|runtime error).{,3000}", log)
        if code != 0 or found:
            bad.append(f"{p.name} ended with {code} {found.group(0) if found else ''}")
    print(f"lines of trouble in the logs: {dict(counts)}")
    return bad


def main(argv):
    seconds = 60 * (float(argv[2]) if len(argv) > 2 else 15)
    w = World(argv[1])
    with w.cluster as c:
        with open(f"/proc/{c.seed.process.pid}/maps") as f:
            is_asan = "asan" in f.read() or c.seed.status("VmSize") > 1 << 30
        clients = [Client(w, i) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        early = load(w, clients, min(WARM_UP_S, seconds / 2))
        late = load(w, clients, seconds - min(WARM_UP_S, seconds / 2))
        w.is_over = True
        for client in clients:
            client.join(30)
        bad = [f"nobody did: {kind}" for kind in sorted(set(KINDS) - set(w.done))]
        stuck = [client for client in clients if client.is_alive()]
        bad += grown(w, early, late, ASAN_GROWTH_KIB if is_asan else GROWTH_KIB) + look_at_logs(w)
        if stuck:
            bad.append(f"{len(stuck)} clients wait without an end")
    for origin in (w.origin, w.tls):
        origin.stop()
    print(dict(w.done))
    for line in w.failures[:20] + bad:
        print(line)
    if w.failures or bad:
        print("0 passed, 1 failed")
        return 1
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
