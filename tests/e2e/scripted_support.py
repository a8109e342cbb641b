"""What the tests with a scripted scheduler have in common: grpcio as the scheduler and as the parents of a real daemon, and one download of
that daemon as a case."""
import collections
import concurrent.futures
import os
import re
import socket
import struct
import threading
import time
import zlib

import grpc

import grpc_support as g
from cluster import Cluster, Origin, Peer, free_ports, wait_for

PIECE = 4 << 20
SIZE = 3 * PIECE + 1000
PIECES = 4
DEADLINE = 90       # of what takes seconds on a machine that does nothing else
MORE = "more parents are wanted"
HOST_ID = "127.0.0.1-tested"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

api = g.Api()
world = None


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError("%s: %r, expected %r" % (what, got, expected))


def crc(data):
    return "crc32:%d" % zlib.crc32(data)


# ---- the scheduler ----

class Conversation:
    """One AnnouncePeer stream; the script is a generator of answers that is given this."""

    def __init__(self, requests, context, first):
        self.requests = requests
        self.context = context
        self.log = [first]
        self.half_closed = None         # when the daemon had said all
        self.over = threading.Event()   # the stream is over on our side
        self.ended = None

    def hear(self, *kinds):
        """The next message; it must be one of these kinds. None when the daemon has said all."""
        try:
            m = next(self.requests)
        except StopIteration:
            self.half_closed = time.monotonic()
            return None
        except Exception:               # the call was cancelled
            return None
        self.log.append(m)
        kind = m.WhichOneof("request")
        if kinds and kind not in kinds:
            raise AssertionError("heard %s, expected %s" % (kind, kinds))
        return getattr(m, kind)

    def hear_until(self, *kinds):
        while True:
            m = self.hear()
            if m is None or self.log[-1].WhichOneof("request") in kinds:
                return m

    def hear_all(self):
        while self.hear() is not None:
            pass

    def messages(self):
        """All but that a round took its time and asks for more parents: on a busy machine any does."""
        return [m for m in self.log if m.reschedule_peer_request.description != MORE]

    def kinds(self):
        return [m.WhichOneof("request")[:-len("_request")] for m in self.messages()]

    def said(self, kind):
        return [getattr(m, kind + "_request") for m in self.messages() if m.WhichOneof("request") == kind + "_request"]


class Scheduler:
    """Answers by the script of the task's URL."""

    def __init__(self, port):
        self.scripts = {}
        self.conversations = collections.defaultdict(list)
        self.hosts = []
        self.left, self.deleted = [], []
        self.lock = threading.Lock()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), options=g.UNLIMITED)
        self.server.add_generic_rpc_handlers((
            api.handler("scheduler.v2.Scheduler", {"AnnouncePeer": self.announce_peer, "AnnounceHost": self.announce_host,
                                                   "DeleteHost": self.heard(self.left), "DeleteTask": self.heard(self.deleted)}),
            api.handler("grpc.health.v1.Health", {"Check": lambda m, c: api.health.HealthCheckResponse(status=1)})))
        if self.server.add_insecure_port("127.0.0.1:%d" % port) == 0:
            raise AssertionError("port %d is taken" % port)
        self.server.start()

    def heard(self, messages):
        return lambda m, context: messages.append(m) or api.google.Empty()

    def announce_host(self, m, context):
        with self.lock:
            self.hosts.append((m, dict(context.invocation_metadata())))
        return api.google.Empty()

    def announce_peer(self, requests, context):
        first = next(requests)
        url = first.register_peer_request.download.url
        c = Conversation(requests, context, first)
        with self.lock:
            self.conversations[url].append(c)
            scripts = self.scripts[url]
            script = scripts[min(len(self.conversations[url]), len(scripts)) - 1]

        def gone():
            c.ended = time.monotonic()
            c.over.set()
        context.add_callback(gone)
        for answer in script(c):
            yield answer


def normal(*parents):
    return api.scheduler.AnnouncePeerResponse(normal_task_response=api.scheduler.NormalTaskResponse(
        candidate_parents=[p.message() for p in parents]))


def need_source():
    m = api.scheduler.AnnouncePeerResponse()
    m.need_back_to_source_response.description = "because"
    return m


def answer(kind):
    m = api.scheduler.AnnouncePeerResponse()
    if kind:
        getattr(m, kind).SetInParent()
    return m


def give(*answers):
    """A script: after the registration these answers, one after each Reschedule; then hears until the daemon has said all. Who asks for
    more is told the same again."""
    def script(c):
        left = list(answers)
        last = left.pop(0)
        yield last
        while (m := c.hear_until("reschedule_peer_request")) is not None:
            if m.description != MORE:
                if not left:
                    continue
                last = left.pop(0)
            yield last
    return script


def refuse(code, text):
    def script(c):
        c.context.abort(code, text)
        yield
    return script


# ---- parents ----

class Parent:
    """A peer that has the content: SyncPieces over gRPC, pieces over vortex. `vortex` names what it does wrong, sync_* how it tells; it tells
    once after() is true."""

    def __init__(self, content, vortex="good", after=None, tells=None, sync_error=None, length_off=0, stays_open=False,
                 credentials=None):
        self.content, self.vortex, self.after, self.tells = content, vortex, after, tells
        self.sync_error, self.length_off, self.stays_open = sync_error, length_off, stays_open
        self.asked = []                 # piece numbers asked for over vortex
        self.connections = 0
        self.sync_requests = []
        self.sync_metadata = []
        self.port, self.piece_port = free_ports(2)
        self.id = "127.0.0.1-parent%d-0-peer" % self.port
        self.server = self.listener = None
        self.open = True
        self.now = int(time.time())
        if vortex != "dead":
            self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=g.UNLIMITED)
            self.server.add_generic_rpc_handlers((api.handler("dfdaemon.v2.DfdaemonUpload", {
                "SyncPieces": self.sync_pieces, "SyncHost": self.sync_host}),))
            if credentials:
                self.server.add_secure_port("127.0.0.1:%d" % self.port, credentials)
            else:
                self.server.add_insecure_port("127.0.0.1:%d" % self.port)
            self.server.start()
        if vortex not in ("dead", "refused"):
            self.listener = socket.create_server(("127.0.0.1", self.piece_port), backlog=64)
            threading.Thread(target=self.accept, daemon=True).start()

    def stop(self):
        self.open = False
        if self.server:
            self.server.stop(0)
        if self.listener:
            self.listener.close()

    def message(self):
        now = api.google.Timestamp(seconds=self.now)
        host = api.common.Host(id="127.0.0.1-parent%d" % self.port, hostname="parent%d" % self.port, ip="127.0.0.1", port=self.port,
                               download_port=self.port, network=api.common.Network(max_tx_bandwidth=10**10))
        task = api.common.Task(id="0" * 64, url="http://x/", state="Running", created_at=now, updated_at=now)
        return api.common.Peer(id=self.id, state="Running", priority=6, cost=api.google.Duration(seconds=1), task=task, host=host,
                               created_at=now, updated_at=now, concurrent_piece_count=8)

    def sync_host(self, request, context):
        while context.is_active() and self.open:
            yield api.common.Host(network=api.common.Network(max_rx_bandwidth=10**10, rx_bandwidth=0, max_tx_bandwidth=10**10,
                                                             tx_bandwidth=0))
            time.sleep(0.5)

    def sync_pieces(self, request, context):
        self.sync_requests.append(request)
        self.sync_metadata.append(dict(context.invocation_metadata()))
        if self.after:
            wait_for(self.after, DEADLINE, "the others were tried")
        if self.sync_error:
            context.abort(grpc.StatusCode.INTERNAL, self.sync_error)
        for n in request.interested_piece_numbers:
            if self.tells is None or n in self.tells:
                yield api.dfdaemon.SyncPiecesResponse(number=n, offset=n * PIECE, length=len(self.piece(n)) + self.length_off,
                                                      ip="127.0.0.1", tcp_port=self.piece_port)
        while self.stays_open and context.is_active() and self.open:
            time.sleep(0.05)

    def piece(self, n):
        return self.content[n * PIECE:(n + 1) * PIECE]

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        with s:
            s.settimeout(DEADLINE)
            try:
                while True:
                    head = self.take(s, 6)
                    if head is None or head[1] != 0 or head[2:] != b"\0\0\0\x44":
                        return
                    value = self.take(s, 68)
                    if value is None or not self.answer(s, struct.unpack(">I", value[64:])[0]):
                        return
            except OSError:
                return

    @staticmethod
    def take(s, n):
        out = b""
        while len(out) < n:
            more = s.recv(n - len(out))
            if not more:
                return None
            out += more
        return out

    def answer(self, s, n):
        """Answers one request; false when the connection is to be closed."""
        self.asked.append(n)
        how, data = self.vortex, self.piece(n)
        number, offset, length, digest, tag = n, n * PIECE, len(data), crc(data), 1
        if how == "error":
            s.sendall(b"\x01\xff" + struct.pack(">I", 10) + b"\x02not found")
            return True
        if how == "unknown_tag":
            tag = 9
        if how == "wrong_digest":
            digest = "crc32:1"
        if how == "wrong_content":
            data = b"\0" + data[1:] if data[:1] != b"\0" else b"\1" + data[1:]
        if how == "other_content":      # and the digest that belongs to it
            data = bytes(len(data))
            digest = crc(data)
        if how == "wrong_number":
            number += 1
        if how == "wrong_offset":
            offset += PIECE
        if how == "wrong_length":
            length -= 1
        if how == "huge_digest":
            digest = "crc32:" + "1" * 100000
        body = struct.pack(">IQQI", number, offset, length, len(digest)) + digest.encode()
        body += struct.pack(">I", 1) + b"p" + struct.pack(">BQq", 1, 0, self.now)
        if how == "longer_metadata":
            body += b"from a later release"
        s.sendall(b"\x07" + bytes([tag]) + struct.pack(">II", len(body) + 4, len(body)) + body)
        if how == "short":
            s.sendall(data[:-10])
            return False
        if how == "trickle":
            for at in range(0, len(data), 1 << 18):
                s.sendall(data[at:at + (1 << 18)])
                time.sleep(0.03)
            return True
        s.sendall(data)
        if how == "excess":
            s.sendall(b"more than was said")
        if how == "closes_idle":
            time.sleep(0.02)
        return how not in ("old", "closes_idle")


# ---- the world and one case ----

class World:
    def __init__(self, build):
        self.cluster = Cluster(build, peers=0, seed=False, start=False)
        self.origin = self.scheduler = None
        try:
            self.files = self.cluster.path("files")
            os.mkdir(self.files)
            self.origin = Origin(build, self.files)
            self.scheduler = Scheduler(self.cluster.scheduler_port)
            self.peer = Peer(self.cluster, "tested", False, False)
            self.cluster.all.append(self.peer)
            self.peer.start()
            wait_for(lambda: self.scheduler.hosts, DEADLINE, "the daemon announces itself")
            self.channel = g.channel_to("unix:" + self.peer.socket)
            self.download = api.stub(self.channel, "dfdaemon.v2.DfdaemonDownload")
            self.upload = api.stub(g.channel_to("127.0.0.1:%d" % self.peer.upload_port), "dfdaemon.v2.DfdaemonUpload")
        except BaseException:
            self.close()
            raise

    def close(self):
        try:
            self.cluster.close()
        finally:
            if self.scheduler:
                self.scheduler.server.stop(0)
            if self.origin:
                self.origin.stop()


class Case:
    """A file at the origin, a script, and the download of it."""

    def __init__(self, name, *scripts, path=None, size=SIZE):
        self.content = os.urandom(size)
        with open(os.path.join(world.files, name), "wb") as f:
            f.write(self.content)
        self.path = path or "/" + name
        self.url = world.origin.url(self.path)
        self.parents = []
        self.scripts(*scripts)

    def scripts(self, *scripts):
        world.scheduler.scripts[self.url] = scripts

    def parent(self, *args, **kwargs):
        p = Parent(self.content, *args, **kwargs)
        self.parents.append(p)
        return p

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        for p in self.parents:
            p.stop()

    def run(self, **more):
        """Downloads it all; the content must be right. {number: piece} as they were told."""
        pieces = {}
        request = api.dfdaemon.DownloadTaskRequest(download=api.common.Download(url=self.url, need_piece_content=True, **more))
        for m in world.download.DownloadTask(request, timeout=DEADLINE):
            if m.WhichOneof("response") == "download_piece_finished_response":
                p = m.download_piece_finished_response.piece
                pieces[p.number] = p
            else:
                self.task_id, self.peer_id = m.task_id, m.peer_id
        equal(b"".join(pieces[n].content for n in sorted(pieces)) == self.content, True, "content")
        return pieces

    def fails(self, code, text, **more):
        try:
            self.run(**more)
        except grpc.RpcError as e:
            if e.code() != code or not re.search(text, e.details()):
                raise AssertionError("%s %r, expected %s %r" % (e.code(), e.details(), code, text))
            return e
        raise AssertionError("no error, expected %s" % code)

    def heard_of_failure(self):
        """The scheduler was told of a piece that failed."""
        return any(t.said("download_piece_failed") for t in list(world.scheduler.conversations[self.url]))

    def conversations(self, count=1):
        """They must be that many; waits until all are over."""
        talks = world.scheduler.conversations[self.url]
        wait_for(lambda: len(talks) >= count, DEADLINE, "%d conversations" % count)
        for t in talks:
            if not t.over.wait(DEADLINE):
                raise AssertionError("the stream is still open: %s" % t.kinds())
        equal(len(talks), count, "conversations")
        for t in talks:
            equal({(m.host_id, m.task_id, m.peer_id) for m in t.log}, {(HOST_ID, t.log[0].task_id, t.log[0].peer_id)}, "ids")
            assert re.fullmatch(HOST_ID + "-" + UUID, t.log[0].peer_id), t.log[0].peer_id
        return talks[0] if count == 1 else talks

    def origin_requests(self):
        stats = world.origin.stats()
        assert "paths" in stats, stats
        return stats["paths"].get(self.path, {"requests": 0, "bytes": 0})


def check_pieces(case, reports, parents=None):
    """Reports of finished pieces: every field; parents None: from the source. Each piece once."""
    equal(sorted(r.piece.number for r in reports), list(range(PIECES)), "reported pieces")
    for r in reports:
        p, data = r.piece, case.content[r.piece.number * PIECE:(r.piece.number + 1) * PIECE]
        equal((p.offset, p.length, p.digest), (p.number * PIECE, len(data), crc(data)), "piece")
        equal((p.HasField("traffic_type"), p.traffic_type), (True, 1 if parents else 0), "traffic type")
        assert p.HasField("cost") and p.HasField("created_at") and not p.HasField("content"), p
        assert 0 <= p.cost.seconds < DEADLINE and abs(p.created_at.seconds - time.time()) < 60
        if parents:
            assert p.parent_id in [x.id for x in parents], p.parent_id
        else:
            assert not p.HasField("parent_id"), p


FROM_SOURCE = ["register_peer", "download_peer_back_to_source_started"] + ["download_piece_back_to_source_finished"] * PIECES + [
    "download_peer_back_to_source_finished"]
FROM_PARENTS = ["register_peer", "download_peer_started"] + ["download_piece_finished"] * PIECES + ["download_peer_finished"]


def begin(build):
    """The world, which cases find from here on."""
    global world
    world = World(build)
    return world
