"""nghttp and h2load against the gRPC ports, and a client that does all that HTTP/2 forbids: it costs that connection, nothing else.
usage: SCRIPT BUILD_DIR [NAME...]"""
import re
import socket
import struct
import subprocess
import sys

import grpc_support as g
from cluster import Cluster, wait_for

CHECK = "/grpc.health.v1.Health/Check"
SERVING = b"\0\0\0\0\2\x08\x01"
HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CALM = 1, 3, 5, 6, 7, 11
COMPRESSION_ERROR = 9

world = None


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError("%s: %r, expected %r" % (what, got, expected))


class World:
    def __init__(self, build):
        self.cluster = Cluster(build, peers=0, config={"upload": {"server": {"requestRateLimit": 100000}}})
        self.seed = self.cluster.seed
        self.body = self.cluster.path("body")
        with open(self.body, "wb") as f:
            f.write(b"\0\0\0\0\0")
        self.ports = {"upload": self.seed.upload_port, "scheduler": self.cluster.scheduler_port}
        self.addresses = {"upload": ("127.0.0.1", self.seed.upload_port), "scheduler": ("127.0.0.1", self.cluster.scheduler_port),
                          "unix": self.seed.socket}
        self.descriptors = self.seed.descriptors()

    def close(self):
        self.cluster.close()


# ---- the tools ----

def nghttp(port, *args, path=CHECK):
    p = subprocess.run(["nghttp", "-v", "--no-dep", "-d", world.body, *HEADERS, *args, "http://127.0.0.1:%d%s" % (port, path)],
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    equal(p.returncode, 0, "exit code of nghttp")
    return re.sub(rb"\x1b\[[0-9;]*m", b"", p.stdout)


def answers(out):
    """(number of :status 200, number of grpc-status 0)"""
    return len(re.findall(rb"recv \(stream_id=\d+\) :status: 200",
                          out)), len(re.findall(rb"recv \(stream_id=\d+\) grpc-status: 0", out))


def test_nghttp_call():
    for port in world.ports.values():
        out = nghttp(port)
        equal(answers(out), (1, 1), "answers")
        assert b"content-type: application/grpc" in out and SERVING in out, out


def test_nghttp_variants():
    for port in world.ports.values():
        for args in (["-b", "200"], ["-c", "0"], ["-c", "65536"], ["--encoder-header-table-size=0"], ["-w", "3"], ["-W", "20"],
                     ["--no-push"],
                     ["--expect-continue"], ["--hexdump"]):
            equal(answers(nghttp(port, *args)), (1, 1), "answers with %s" % args)
        # As many as may be at once, and more after them.
        equal(answers(nghttp(port, "-m", "1000")), (1000, 1000), "answers to a thousand calls")


def test_nghttp_unknown_method():
    for port in world.ports.values():
        out = nghttp(port, path="/a.B/C")
        assert b"grpc-status: 12" in out and b":status: 200" in out, out


def test_nghttp_headers_that_are_too_large():
    # --continuation adds more than 16 KiB of them: the call is refused, not the connection.
    for port in world.ports.values():
        out = nghttp(port, "--continuation", "-m", "2")
        equal(len(re.findall(rb"recv \(stream_id=\d+\) :status: 431", out)), 2, "refusals")
        assert b"recv GOAWAY" not in out, out


def h2load(port, *args):
    p = subprocess.run(["h2load", "-d", world.body, *HEADERS, *args, "http://127.0.0.1:%d%s" % (port, CHECK)],
                       stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=60)
    equal(p.returncode, 0, "exit code of h2load")
    m = re.search(r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
                  p.stdout)
    assert m, p.stdout
    total, done, good, failed, errored, late = map(int, m.groups())
    equal((done, good, failed, errored, late), (total, total, 0, 0, 0), p.stdout)
    return total


def test_h2load_many_streams():
    for port in world.ports.values():
        equal(h2load(port, "-n", "5000", "-c", "1", "-m", "100"), 5000, "calls on one connection")
        equal(h2load(port, "-n", "5000", "-c", "50", "-m", "20"), 5000, "calls on fifty")
        equal(h2load(port, "-n", "500", "-c", "10", "-m", "1", "-w", "4", "-W", "16"), 500, "calls with small windows")


# ---- what a client may do ----

def check(link, stream, seconds=10):
    """A call on a raw connection."""
    link.call(stream, CHECK, b"")
    data = b""
    while True:
        got = link.read(seconds)
        assert got is not None, "connection ended"
        kind, flags, id_, payload = got
        assert kind != g.GOAWAY, "GOAWAY %r" % payload
        if id_ == stream:
            assert kind != g.RST_STREAM or flags, "reset %r" % payload
            data += payload if kind == g.DATA else b""
            if flags & g.END_STREAM and kind in (g.HEADERS, g.DATA):
                equal(data, SERVING, "answer")
                return


def test_allowed_forms():
    for address in world.addresses.values():
        with g.RawH2(address) as link:
            check(link, 1)
            link.send(g.frame(g.PING, 0, 0, b"abcdefgh"))
            equal(link.wait_for(g.PING, flags=g.ACK)[3], b"abcdefgh", "PING")
            # Frames of unknown types and unknown settings are passed over; PRIORITY is, too.
            link.send(g.frame(0xFA, 0xFF, 0, b"x" * 100) + g.frame(0xFA, 0, 3, b"") + g.frame(g.SETTINGS, 0, 0,
                                                            struct.pack(">HI", 0xF0F0, 7)))
            link.send(g.frame(g.PRIORITY, 0, 5, struct.pack(">IB", 3, 10)))
            link.wait_for(g.SETTINGS, flags=g.ACK)
            check(link, 3)
            # Headers in parts, padding, priority, body byte by byte.
            head = g.call_headers(CHECK)
            link.send(g.frame(g.HEADERS, 0x28, 5, bytes([4]) + struct.pack(">IB", 0, 16) + head[:10] + b"\0" * 4))
            link.send(g.frame(g.CONTINUATION, 0, 5, head[10:20]) + g.frame(g.CONTINUATION, g.END_HEADERS, 5, head[20:]))
            for i, byte in enumerate(g.message(b"")):
                link.send(g.frame(g.DATA, 8 | (g.END_STREAM if i == 4 else 0), 5, bytes([3, byte, 0, 0, 0])))
            equal(link.wait_for(g.DATA, stream=5)[3], SERVING, "answer")
            check(link, 7)


def test_more_streams_than_allowed_are_refused():
    # Calls that stay open: their request does not end.
    for name in ("upload", "scheduler"):
        with g.RawH2(world.addresses[name]) as link:
            n = 1200
            for i in range(n):
                link.send(g.frame(g.HEADERS, g.END_HEADERS, 2 * i + 1, g.call_headers(CHECK)))
            refused = 0
            link.send(g.frame(g.PING, 0, 0, b"12345678"))
            while True:
                got = link.read(10)
                assert got is not None and got[0] != g.GOAWAY, got
                if got[0] == g.RST_STREAM:
                    equal(struct.unpack(">I", got[3])[0], REFUSED_STREAM, "code")
                    refused += 1
                if got[0] == g.PING and got[1] & g.ACK:
                    break
            assert 0 < refused < n, "%d refused" % refused
            # The first one is still there.
            link.send(g.frame(g.DATA, g.END_STREAM, 1, g.message(b"")))
            equal(link.wait_for(g.DATA, stream=1)[3], SERVING, "answer")


# ---- attacks: each ends its connection with this code ----

def flood(link, data, times, chunk=200):
    """Sends it again and again, reading nothing; false as soon as the other side has closed."""
    for _ in range(0, times, chunk):
        if not link.try_send(data * chunk):
            return False
    return True


def rapid_reset(link):
    head = g.call_headers(CHECK)
    for i in range(10000):
        id_ = 2 * i + 1
        if not link.try_send(g.frame(g.HEADERS, g.END_HEADERS, id_, head) + g.frame(g.RST_STREAM, 0, id_, struct.pack(">I", 8))):
            return


def made_to_reset(link):
    # Streams whose errors make the server reset them: no message at all.
    head = g.call_headers(CHECK)
    for i in range(10000):
        id_ = 2 * i + 1
        if not link.try_send(g.frame(g.HEADERS, g.END_HEADERS, id_, head) + g.frame(g.WINDOW_UPDATE, 0, id_, b"\0\0\0\0")):
            return


def continuation_flood(link):
    link.send(g.frame(g.HEADERS, 0, 1, g.call_headers(CHECK)))
    flood(link, g.frame(g.CONTINUATION, 0, 1, g.literal("x", "y" * 100)), 20000)


def empty_continuations(link):
    link.send(g.frame(g.HEADERS, 0, 1, g.call_headers(CHECK)))
    flood(link, g.frame(g.CONTINUATION, 0, 1), 20000)


def settings_flood(link):
    flood(link, g.frame(g.SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)), 20000)


def ping_flood(link):
    flood(link, g.frame(g.PING, 0, 0, b"12345678"), 400000, 2000)


def empty_data(link):
    link.send(g.frame(g.HEADERS, g.END_HEADERS, 1, g.call_headers(CHECK)))
    flood(link, g.frame(g.DATA, 0, 1), 20000)


def hpack_bomb(link):
    # One field of 4000 bytes into the table, then a reference of one byte to it, 16,000 times.
    entry = b"\x40" + b"\x01x" + b"\x7f" + g.varint(3900 - 127) + b"v" * 3900
    for i in range(200):
        block = (entry if i == 0 else b"") + b"\xbe" * 16000
        if not link.try_send(g.frame(g.HEADERS, g.END_HEADERS | g.END_STREAM, 2 * i + 1, block[:200000])):
            return


def bad_hpack(link):
    link.send(g.frame(g.HEADERS, g.END_HEADERS | g.END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"))


def connection_window_overflow(link):
    link.send(g.frame(g.WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF)) * 2)


def settings_window_overflow(link):
    link.send(g.frame(g.SETTINGS, 0, 0, struct.pack(">HI", 4, 0x80000000)))


def zero_window_update(link):
    link.send(g.frame(g.WINDOW_UPDATE, 0, 0, b"\0\0\0\0"))


def frame_too_large(link):
    link.try_send(g.frame(g.DATA, 0, 1, b"")[3:9].join([b"\xff\xff\xff", b""]) + b"x" * 1000)


def data_on_idle_stream(link):
    link.send(g.frame(g.DATA, g.END_STREAM, 99, b"x"))


def even_stream(link):
    link.send(g.frame(g.HEADERS, g.END_HEADERS | g.END_STREAM, 2, g.call_headers(CHECK)))


def stream_ids_go_back(link):
    link.send(g.frame(g.HEADERS, g.END_HEADERS, 9, g.call_headers(CHECK)) + g.frame(g.HEADERS, g.END_HEADERS, 7,
                                                            g.call_headers(CHECK)))


def padding_longer_than_frame(link):
    link.send(g.frame(g.HEADERS, g.END_HEADERS, 1, g.call_headers(CHECK)) + g.frame(g.DATA, 8, 1, b"\xffxx"))


def push_promise(link):
    link.send(g.frame(g.PUSH_PROMISE, g.END_HEADERS, 1, struct.pack(">I", 2)))


def continuation_alone(link):
    link.send(g.frame(g.CONTINUATION, g.END_HEADERS, 1, b""))


def settings_of_5_bytes(link):
    link.send(g.frame(g.SETTINGS, 0, 0, b"12345"))


def ping_of_7_bytes(link):
    link.send(g.frame(g.PING, 0, 0, b"1234567"))


ATTACKS = [
    (rapid_reset, CALM), (made_to_reset, CALM), (continuation_flood, CALM), (empty_continuations, CALM), (settings_flood, CALM),
    (ping_flood, CALM), (empty_data, CALM), (hpack_bomb, CALM), (bad_hpack, COMPRESSION_ERROR),
    (connection_window_overflow, FLOW_CONTROL_ERROR), (settings_window_overflow, FLOW_CONTROL_ERROR), (zero_window_update,
                                                            PROTOCOL_ERROR),
    (frame_too_large, FRAME_SIZE_ERROR), (data_on_idle_stream, PROTOCOL_ERROR), (even_stream, PROTOCOL_ERROR),
    (stream_ids_go_back, STREAM_CLOSED), (padding_longer_than_frame, PROTOCOL_ERROR), (push_promise, PROTOCOL_ERROR),
    (continuation_alone, PROTOCOL_ERROR), (settings_of_5_bytes, FRAME_SIZE_ERROR), (ping_of_7_bytes, FRAME_SIZE_ERROR),
]


def attack(how, code):
    """With another client in the middle of a call and one between calls: both go on."""
    def test():
        for name, address in world.addresses.items():
            with g.RawH2(address) as open_call, g.RawH2(address) as idle:
                open_call.send(g.frame(g.HEADERS, g.END_HEADERS, 1, g.call_headers(CHECK)))
                check(idle, 1)
                with g.RawH2(address) as link:
                    link.socket.settimeout(10)
                    how(link)
                    try:
                        said = link.wait_for_end(10)
                    except TimeoutError:
                        raise AssertionError("%s: the connection is still open" % name)
                    # A peer that floods may lose the GOAWAY in the reset of its own unread bytes.
                    if said is not None:
                        equal(said, code, "%s: code of GOAWAY" % name)
                check(idle, 3)
                open_call.send(g.frame(g.DATA, g.END_STREAM, 1, g.message(b"")))
                equal(open_call.wait_for(g.DATA, stream=1)[3], SERVING, "%s: answer to the open call" % name)
    test.__name__ = "test_attack_" + how.__name__
    return test


def test_message_larger_than_the_limit_ends_the_call():
    for name, path in (("upload", "/dfdaemon.v2.DfdaemonUpload/SyncPieces"), ("scheduler", "/scheduler.v2.Scheduler/AnnouncePeer")):
        with g.RawH2(world.addresses[name]) as link:
            link.send(g.frame(g.HEADERS, g.END_HEADERS, 1, g.call_headers(path)) + g.frame(g.DATA, 0, 1, b"\0\xff\xff\xff\xff"))
            # Goes on without waiting for credit.
            flood(link, g.frame(g.DATA, 0, 1, b"x" * 16384), 256, 16)
            while True:
                kind, flags, stream, payload = link.read(10)
                assert kind != g.GOAWAY, payload
                if stream == 1 and (kind == g.RST_STREAM or flags & g.END_STREAM):
                    break
            check(link, 3)


def test_stream_window_overflow_ends_the_stream():
    for address in world.addresses.values():
        with g.RawH2(address) as link:
            link.send(g.frame(g.HEADERS, g.END_HEADERS, 1, g.call_headers(CHECK)))
            link.send(g.frame(g.WINDOW_UPDATE, 0, 1, struct.pack(">I", 0x7FFFFFFF)))
            got = link.wait_for(g.RST_STREAM, stream=1)
            equal(struct.unpack(">I", got[3])[0], FLOW_CONTROL_ERROR, "code")
            check(link, 3)


def test_headers_too_many_end_the_call():
    for address in world.addresses.values():
        with g.RawH2(address) as link:
            more = b"".join(g.literal("x-%d" % i, "y" * 100) for i in range(200))
            link.send(g.frame(g.HEADERS, g.END_HEADERS | g.END_STREAM, 1, g.call_headers(CHECK) + more))
            while True:
                kind, flags, stream, payload = link.read(10)
                assert kind != g.GOAWAY, payload
                if stream == 1 and (kind == g.RST_STREAM or flags & g.END_STREAM):
                    break
            check(link, 3)


def test_other_protocols_are_turned_away():
    for address in world.addresses.values():
        for first in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                      b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\0" * 100,
                      b"SSH-2.0-x\r\n"):
            with g.RawH2(address, preface=False) as link:
                link.try_send(first)
                try:
                    link.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                link.socket.settimeout(10)
                try:
                    while link.socket.recv(65536):
                        pass
                except ConnectionError:
                    pass
        with g.RawH2(address) as link:
            check(link, 1)


def test_connections_that_come_and_go():
    for address in world.addresses.values():
        for i in range(300):
            s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            s.settimeout(10)
            s.connect(address)
            if i % 3:
                s.sendall(g.PREFACE[:i % len(g.PREFACE)])
            if i % 2:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        with g.RawH2(address) as link:
            check(link, 1)


def test_nothing_is_left():
    """Last: the daemon lives, has let go of what the attackers had, and stops."""
    wait_for(lambda: world.seed.descriptors() <= world.descriptors + 4, 15, "descriptors are given back")
    # Sanitizers keep a shadow of all memory, which says nothing of ours.
    if world.seed.status("VmSize") < 1 << 32:
        rss = world.seed.status("VmRSS")
        assert rss < 48 * 1024, "%d KiB resident" % rss
    equal(world.seed.stop(), 0, "exit code")


def main():
    global world
    build, names = sys.argv[1], sys.argv[2:]
    tests = [t for n, t in list(globals().items()) if n.startswith("test_")] + [attack(how, code) for how, code in ATTACKS]
    tests = [t for t in tests if not names or t.__name__ in names]
    last = [t for t in tests if t is test_nothing_is_left]
    world = World(build)
    try:
        return g.run_all([t for t in tests if t not in last], 2, last)
    finally:
        world.close()


if __name__ == "__main__":
    sys.exit(main())
