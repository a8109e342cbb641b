"""What a stranger on the network tries with a daemon: each attempt is refused or bounded, and the daemon goes on serving.
usage: tests/e2e/test_hostile_peer.py BUILD_DIR [NAME...]"""
import hashlib
import os
import socket
import struct
import sys
import time
import urllib.error
import urllib.request

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grpc_support as g  # noqa: E402
import scripted_support as scripted  # noqa: E402
from cluster import PATIENCE_S, Cluster, Origin, Peer, make_file, run_tests, sha256, wait_for  # noqa: E402

api = g.Api()
MIB = 1 << 20
SIZE = 9 * MIB
UPLOAD = "dfdaemon.v2.DfdaemonUpload"
BAD_IDS = ("", "a", "ab", "é", "日", "/etc/passwd", "../../" + "a" * 58, "A" * 64, "g" * 64, "a" * 63, "a" * 65, "a" * 62 + "é", "a" * 100000)
LIMIT_KB = 300 * 1024

world = None


class World:
    """A seed with the scheduler that has /big, and its descriptions."""

    def __init__(self, build):
        self.cluster = Cluster(build, peers=1)
        self.files = self.cluster.path("files")
        os.mkdir(self.files)
        self.digest = make_file(os.path.join(self.files, "big"), SIZE)
        self.origin = Origin(build, self.files)
        self.seed, self.peer = self.cluster.all
        self.channel = g.channel_to(f"127.0.0.1:{self.seed.upload_port}")
        self.stub = api.stub(self.channel, UPLOAD)
        self.get("/big")
        self.task = self.seed.log().split("task=")[1].split()[0]

    def get(self, name):
        out = self.cluster.path("out")
        code, err = self.peer.dfget(self.origin.url(name), out, "--overwrite")
        assert code == 0, err
        assert sha256(out) == self.digest

    def close(self):
        self.channel.close()
        self.origin.stop()
        self.cluster.close()


def hostile(test):
    """Runs against the common daemons; afterwards both live, serve, and are small."""
    def run(build):
        global world
        if world is None:
            world = World(build)
        test()
        for p in world.cluster.all:
            assert p.process.poll() is None, f"{p.name} ended:\n{p.log()[-3000:]}"
        world.get(f"/big?{time.monotonic_ns()}")
        assert world.seed.status("VmRSS") < LIMIT_KB, world.seed.status("VmRSS")
    run.__name__ = test.__name__
    return run


def code_of(call):
    try:
        call()
    except grpc.RpcError as e:
        return e.code().name, e.details()
    return "OK", ""


def request(url=None, **more):
    return api.dfdaemon.DownloadTaskRequest(download=api.common.Download(url=url or world.origin.url("/big"), **more))


@hostile
def test_01_no_output_path_over_tcp():
    for path in ("/tmp/hostile-output", world.cluster.path("hostile"), "relative", world.seed.store + "/x"):
        for more in ({}, {"overwrite": True}, {"force_hard_link": True}):
            code, text = code_of(lambda: list(world.stub.DownloadTask(request(output_path=path, **more), timeout=PATIENCE_S)))
            assert code == "PERMISSION_DENIED" and "output path" in text, (code, text)
            assert not os.path.exists(path)


@hostile
def test_02_ids_are_no_paths():
    kept = world.cluster.path("kept")
    with open(kept, "w") as f:
        f.write("kept")
    for task_id in (kept, "../" * 12 + kept.lstrip("/"), *BAD_IDS[:5]):
        for name in ("DeletePersistentTask", "DeletePersistentCacheTask", "UpdatePersistentTask", "UpdatePersistentCacheTask", "DeleteTask"):
            message = getattr(api.dfdaemon, name + "Request")(task_id=task_id)
            code, text = code_of(lambda: getattr(world.stub, name)(message, timeout=PATIENCE_S))
            assert code == "INVALID_ARGUMENT", (name, task_id, code, text)
    assert open(kept).read() == "kept"


@hostile
def test_03_short_and_broken_ids():
    for task_id in BAD_IDS:
        for name in ("StatTask", "StatLocalTask", "SyncPieces", "StatPersistentTask", "StatPersistentCacheTask", "SyncPersistentPieces",
                     "SyncPersistentCachePieces", "DeleteTask"):
            message = getattr(api.dfdaemon, name + "Request")(task_id=task_id)

            def call():
                out = getattr(world.stub, name)(message, timeout=PATIENCE_S)
                if name.startswith("Sync"):
                    list(out)
            code, text = code_of(call)
            assert code in ("INVALID_ARGUMENT", "INTERNAL", "NOT_FOUND"), (name, task_id[:70], code, text)
    # Bytes that are no UTF-8, where a text is wanted.
    code, _ = code_of(lambda: g.raw_call(world.channel, f"/{UPLOAD}/StatTask", g.put(1, b"x") + g.put(2, b"\xff\xfe\x80")))
    assert code != "OK"


@hostile
def test_04_rpcs_of_the_cache_kind_end_in_an_error():
    for name in ("StatCacheTask", "DeleteCacheTask", "DownloadCacheTask", "SyncCachePieces", "DownloadCachePiece"):
        for body in (b"", g.put(1, "x"), g.put(2, "a" * 64)):
            code, text = code_of(lambda: g.raw_call(world.channel, f"/{UPLOAD}/{name}", body))
            assert code in ("UNIMPLEMENTED", "INVALID_ARGUMENT", "INTERNAL", "NOT_FOUND"), (name, code, text)


@hostile
def test_05_piece_lengths():
    for length in (0, 1, 3, 1 << 20, (1 << 64) - 1):
        code, text = code_of(lambda: list(world.stub.DownloadTask(
            request(world.origin.url(f"/gen/1099511627776/{length % 97}/f"), piece_length=length), timeout=3)))
        assert code != "OK", (length, code, text)


@hostile
def test_06_origins_and_credential_files():
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "unix:/etc/passwd", "http://", "http:///x", "x", "",
                "http://[::1", "http://127.0.0.1:1/x", "http://127.0.0.1:99999/", "hdfs:///etc/passwd"):
        code, text = code_of(lambda: list(world.stub.DownloadTask(
            api.dfdaemon.DownloadTaskRequest(download=api.common.Download(url=url)), timeout=10)))
        assert code != "OK" and "root:" not in text, (url, code, text)
    for header in ({"a\r\nb": "c"}, {"a": "b\r\nX: y"}, {"": "x"}, {"x-a": "a\nb"}):
        code, text = code_of(lambda: list(world.stub.DownloadTask(
            request(world.origin.url(f"/big?{len(str(header))}"), request_header=header), timeout=10)))
        assert code != "OK", (header, code)


@hostile
def test_07_content_by_id_only():
    other = hashlib.sha256(b"nobody").hexdigest()
    code, _ = code_of(lambda: list(world.stub.SyncPieces(api.dfdaemon.SyncPiecesRequest(
        task_id=other, interested_piece_numbers=[0]), timeout=PATIENCE_S)))
    assert code in ("INTERNAL", "NOT_FOUND"), code
    with socket.create_connection(("127.0.0.1", world.seed.piece_port), PATIENCE_S) as s:
        s.sendall(struct.pack(">BBI", 9, 0, 68) + other.encode() + struct.pack(">I", 0))
        assert s.recv(100)[1] == 0xff


@hostile
def test_08_metrics_cannot_be_wiped_and_profiles_cost_nothing():
    before = world.seed.metric("dragonfly_client_download_task_total")
    # Who sits on this host may count from zero again; a stranger is one that comes from another address.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            own = s.getsockname()[0]
        except OSError:
            own = None
    if own is None or own.startswith("127."):
        print("   no address but loopback: the wiping of metrics is not tried", flush=True)
    for method in ("DELETE", "POST", "PUT") if own and not own.startswith("127.") else ():
        with socket.create_connection(("127.0.0.1", world.seed.metrics_port), PATIENCE_S, source_address=(own, 0)) as s:
            s.sendall(f"{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            assert s.recv(100).split()[1] in (b"403", b"404", b"405"), method
    assert world.seed.metric("dragonfly_client_download_task_total") >= before > 0
    began = time.monotonic()
    for path in ("/debug/pprof/profile?seconds=3600", "/debug/pprof/heap"):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{world.seed.stats_port}{path}", timeout=PATIENCE_S).read()
        except urllib.error.HTTPError:
            pass
    assert time.monotonic() - began < PATIENCE_S


@hostile
def test_09_pieces_that_never_come():
    before = world.seed.descriptors()
    calls = [world.stub.SyncPieces(api.dfdaemon.SyncPiecesRequest(task_id=world.task, interested_piece_numbers=[10 ** 6, 2 ** 32 - 1, i]),
                                   timeout=20) for i in range(500)]
    for c in calls:
        code_of(lambda: list(c))
    code, _ = code_of(lambda: list(world.stub.SyncPieces(api.dfdaemon.SyncPiecesRequest(
        task_id=world.task, interested_piece_numbers=range((1 << 20) + 1)), timeout=10)))
    assert code in ("RESOURCE_EXHAUSTED", "OK"), code
    assert world.seed.descriptors() <= before + 5


@hostile
def test_10_vortex_lengths_and_silence():
    before = world.seed.status("VmRSS")
    silent = [socket.create_connection(("127.0.0.1", world.seed.piece_port), PATIENCE_S) for _ in range(64)]
    for i, s in enumerate(silent[:32]):
        s.sendall(struct.pack(">BBI", 1, i % 8, 0xffffffff))
    time.sleep(0.3)
    assert world.seed.status("VmRSS") < before + 32 * 1024
    for s in silent[:32]:
        s.settimeout(PATIENCE_S)
        got = s.recv(100)
        assert got == b"" or got[1] == 0xff, got
    for s in silent:
        s.close()


@hostile
def test_11_floods_of_connections():
    for port in (world.seed.piece_port, world.seed.upload_port, world.seed.proxy_port, world.cluster.scheduler_port):
        many = []
        try:
            for _ in range(600):
                many.append(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
            assert len(list(world.stub.SyncPieces(api.dfdaemon.SyncPiecesRequest(
                task_id=world.task, interested_piece_numbers=[0]), timeout=10))) == 1
        finally:
            for s in many:
                s.close()


def test_12_parents_that_lie(build):
    """Other offsets, lengths and numbers, wrong content, no digest: never in the file."""
    with Cluster(build, peers=0, seed=False, start=False) as c:
        peer = Peer(c, "tested", False, False)
        c.all.append(peer)
        os.mkdir(c.path("files"))
        size = 3 * (4 << 20) + 1000
        digest = make_file(c.path("files/big"), size)
        with open(c.path("files/big"), "rb") as f:
            content = f.read()
        origin, scheduler = Origin(build, c.path("files")), scripted.Scheduler(c.scheduler_port)
        try:
            peer.start()
            wait_for(lambda: scheduler.hosts, 10, "the daemon announces itself")
            for how in ("wrong_offset", "wrong_length", "wrong_number", "wrong_content", "huge_digest", "excess", "short"):
                parent = scripted.Parent(content, how)
                url = origin.url(f"/big?{how}")
                scheduler.scripts[url] = [scripted.give(scripted.normal(parent), scripted.need_source())]
                code, err = peer.dfget(url, c.path(how), "--digest", "sha256:" + digest)
                assert code == 0 and sha256(c.path(how)) == digest, (how, code, err)
                parent.stop()
        finally:
            origin.stop()
            scheduler.server.stop(0)


@hostile
def test_13_a_bad_range_fails_its_asker_alone():
    url = world.origin.url("/big")
    for first, length in ((SIZE, 1), (SIZE * 2, 10), (0, 0), (2 ** 63, 2 ** 63), (5, 2 ** 64 - 1)):
        code, text = code_of(lambda: list(world.stub.DownloadTask(request(url, range=api.common.Range(start=first, length=length)), timeout=10)))
        if code == "OK":
            assert first < SIZE, (first, length)
    assert len(list(world.stub.SyncPieces(api.dfdaemon.SyncPiecesRequest(
        task_id=world.task, interested_piece_numbers=[0]), timeout=10))) == 1


@hostile
def test_14_blob_digests_at_the_proxy_are_no_paths():
    for digest in ("sha256:" + "/../" * 16, "sha256:" + "%2f..%2f" * 8, "crc32:../../x", "sha256:" + "Z" * 64, "crc32:a"):
        with socket.create_connection(("127.0.0.1", world.seed.proxy_port), PATIENCE_S) as s:
            s.settimeout(PATIENCE_S)
            s.sendall(f"GET {world.origin.url('/v2/a/blobs/' + digest)} HTTP/1.1\r\nHost: x\r\nX-Dragonfly-Use-P2P: true\r\n"
                      "Connection: close\r\n\r\n".encode())
            got = s.recv(1000)
            assert got.startswith(b"HTTP/1.1 ") and not got.startswith(b"HTTP/1.1 200"), (digest, got[:200])
    names = {name for _, _, files in os.walk(world.seed.store) for name in files}
    assert not [n for n in names if ".." in n or "Z" in n], names


@hostile
def test_15_deleting_what_is_known_costs_a_download_only():
    code, text = code_of(lambda: world.stub.UpdatePersistentTask(
        api.dfdaemon.UpdatePersistentTaskRequest(task_id=world.task, persistent=True), timeout=PATIENCE_S))
    assert code != "OK", text
    code_of(lambda: world.stub.DeleteTask(api.dfdaemon.DeleteTaskRequest(task_id=world.task), timeout=PATIENCE_S))
    world.get("/big")


def test_99_the_daemons_end_well(build):
    if world is None:
        return
    try:
        for p in world.cluster.all:
            assert p.stop() == 0, p.log()[-2000:]
            assert "Sanitizer" not in p.log() and "runtime error" not in p.log(), p.log()[-3000:]
    finally:
        world.close()


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
