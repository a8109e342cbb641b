"""grpcio as a client of every RPC that a daemon and its scheduler serve: every field of the answers.
usage: SCRIPT BUILD_DIR [NAME...]"""
import hashlib
import json
import os
import re
import sys
import threading
import time
import zlib

import grpc

import grpc_support as g
from cluster import Cluster, Origin, wait_for

MIB = 1 << 20
PIECE = 4 * MIB
SIZE = 2 * PIECE + 12345
DEADLINE = 60
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
DOWNLOAD, UPLOAD, SCHEDULER = "dfdaemon.v2.DfdaemonDownload", "dfdaemon.v2.DfdaemonUpload", "scheduler.v2.Scheduler"

api = g.Api()
world = None


class World:
    """A seed with the scheduler, a peer, an origin with files, and channels to all."""

    def __init__(self, build):
        self.cluster = Cluster(build, peers=1, config={"download": {"pieceTimeout": "20s"}})
        try:
            self.files = self.cluster.path("files")
            os.mkdir(self.files)
            self.origin = Origin(build, self.files)
        except BaseException:
            self.cluster.close()
            raise
        self.seed, self.peer = self.cluster.all
        self.local = g.channel_to("unix:" + self.peer.socket)
        self.seed_local = g.channel_to("unix:" + self.seed.socket)
        self.peer_up = g.channel_to("127.0.0.1:%d" % self.peer.upload_port)
        self.seed_up = g.channel_to("127.0.0.1:%d" % self.seed.upload_port)
        self.sched = g.channel_to("127.0.0.1:%d" % self.cluster.scheduler_port)
        self.download = api.stub(self.local, DOWNLOAD)
        self.seed_download = api.stub(self.seed_local, DOWNLOAD)
        self.upload = api.stub(self.peer_up, UPLOAD)
        self.seed_upload = api.stub(self.seed_up, UPLOAD)
        self.scheduler = api.stub(self.sched, SCHEDULER)
        self.count = 0
        self.lock = threading.Lock()

    def close(self):
        for channel in (self.local, self.seed_local, self.peer_up, self.seed_up, self.sched):
            channel.close()
        try:
            self.origin.stop()
        finally:
            self.cluster.close()

    def file(self, size=SIZE):
        """A new file at the origin: (url, content)."""
        with self.lock:
            self.count += 1
            name = "f%d" % self.count
        content = os.urandom(size)
        with open(os.path.join(self.files, name), "wb") as f:
            f.write(content)
        return self.origin.url("/" + name), content


def task_id(url, *parts):
    return hashlib.sha256("".join([url] + list(parts) + ["STANDARD"]).encode()).hexdigest()


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError("%s: %r, expected %r" % (what, got, expected))


def fails(call, code, text=None):
    """Runs the call to its end; it must fail with that code and (a str: exactly; a pattern: somewhere) text. The error."""
    try:
        got = call()
        if hasattr(got, "__iter__"):
            got = list(got)
    except grpc.RpcError as e:
        if e.code() != code:
            raise AssertionError("%s %r, expected %s" % (e.code(), e.details(), code))
        if isinstance(text, str):
            equal(e.details(), text, "text")
        elif text is not None and not text.search(e.details()):
            raise AssertionError("%r does not match %s" % (e.details(), text.pattern))
        return e
    raise AssertionError("no error but %s; expected %s" % (str(got)[:300], code))


def has_time(t, since=0):
    """A Timestamp of this hour."""
    now = time.time()
    assert max(since, now - 3600) - 1 <= t.seconds <= now + 1 and 0 <= t.nanos < 10**9, t


def crc(data):
    return "crc32:%d" % zlib.crc32(data)


def piece_of(content, n):
    return content[n * PIECE:(n + 1) * PIECE]


def run_download(stub, **fields):
    """(started, [pieces in order of arrival], ids)"""
    answers = list(stub.DownloadTask(api.dfdaemon.DownloadTaskRequest(download=api.common.Download(**fields)), timeout=DEADLINE))
    kinds = [a.WhichOneof("response") for a in answers]
    equal(kinds[0], "download_task_started_response", "first answer")
    assert all(k == "download_piece_finished_response" for k in kinds[1:]), kinds
    ids = {(a.host_id, a.task_id, a.peer_id) for a in answers}
    equal(len(ids), 1, "ids")
    return answers[0].download_task_started_response, [a.download_piece_finished_response.piece for a in answers[1:]], ids.pop()


def check_started(started, content, numbers, is_finished):
    equal(started.content_length, len(content), "content_length")
    equal(started.is_finished, is_finished, "is_finished")
    equal([p.number for p in started.pieces], list(numbers), "numbers")
    for p in started.pieces:
        equal((p.offset, p.length, p.digest), (p.number * PIECE, len(piece_of(content, p.number)), ""), "announced piece")
        has_time(p.created_at)
        for unset in ("parent_id", "content", "traffic_type"):
            assert not p.HasField(unset), p


def check_pieces(pieces, content, numbers, traffic, parent=None, with_content=False):
    equal(sorted(p.number for p in pieces), list(numbers), "numbers")
    for p in pieces:
        data = piece_of(content, p.number)
        equal((p.offset, p.length, p.digest), (p.number * PIECE, len(data), crc(data)), "piece %d" % p.number)
        assert p.HasField("traffic_type") and p.HasField("cost") and p.HasField("created_at"), p
        equal(p.traffic_type, traffic, "traffic type")
        has_time(p.created_at)
        assert 0 <= p.cost.seconds < DEADLINE and 0 <= p.cost.nanos < 10**9
        equal(p.HasField("content"), with_content, "has content")
        if with_content:
            equal(p.content == data, True, "content of piece %d" % p.number)
        equal(p.HasField("parent_id"), parent is not None, "has parent_id")
        if parent:
            assert re.fullmatch(parent, p.parent_id), p.parent_id


# ---- DownloadTask ----

def test_download_with_content_through_the_seed():
    url, content = world.file()
    started, pieces, ids = run_download(world.download, url=url, need_piece_content=True)
    equal(ids[0], "127.0.0.1-peer1", "host_id")
    equal(ids[1], task_id(url), "task_id")
    assert re.fullmatch("127.0.0.1-peer1-" + UUID, ids[2]), ids
    check_started(started, content, range(3), False)
    assert not started.HasField("range")
    equal(started.response_header.get("content-length", started.response_header.get("Content-Length")), str(len(content)), "header")
    check_pieces(pieces, content, range(3), 1, "127.0.0.1-seed-" + UUID + "-seed", True)
    # Again: from the store, in order.
    started, pieces, again = run_download(world.download, url=url, need_piece_content=True)
    equal(again[:2], ids[:2], "ids")
    assert again[2] != ids[2]
    check_started(started, content, range(3), True)
    equal([p.number for p in pieces], [0, 1, 2], "order")
    check_pieces(pieces, content, range(3), 2, None, True)


def test_download_by_hand_built_bytes():
    url, content = world.file(PIECE + 7)
    request = g.put(1, g.put(1, url) + g.put(9, g.put(1, "X-Extra") + g.put(2, "1")) + g.put(20, 1))
    call = world.local.unary_stream("/" + DOWNLOAD + "/DownloadTask", request_serializer=None, response_deserializer=None)
    answers = [g.fields(a) for a in call(request, timeout=DEADLINE)]
    for a in answers:
        equal(a[1] + a[2], [b"127.0.0.1-peer1", task_id(url).encode()], "ids")
        assert a[3][0].startswith(b"127.0.0.1-peer1-")
    started = g.fields(answers[0][4][0])
    equal(started[1], [len(content)], "content_length")
    assert 2 not in started and 5 not in started
    headers = {g.fields(h)[1][0].lower(): g.fields(h)[2][0] for h in started[3]}
    equal(headers[b"content-length"], b"%d" % len(content), "response header")
    pieces = [g.fields(p) for p in started[4]]
    equal([(p.get(1, [0])[0], p.get(3, [0])[0], p[4][0]) for p in pieces], [(0, 0, PIECE), (1, PIECE, 7)], "pieces")
    got = sorted((g.fields(g.fields(a[5][0])[1][0]) for a in answers[1:]), key=lambda p: p.get(1, [0])[0])
    for n, p in enumerate(got):
        data = piece_of(content, n)
        equal((p.get(1, [0])[0], p.get(3, [0])[0], p[4][0], p[5][0].decode(), p[7][0]), (n, n * PIECE, len(data), crc(data), 1),
              "piece")
        equal(p[6][0] == data, True, "content")
        assert p[2][0].startswith(b"127.0.0.1-seed-")
        assert set(g.fields(p[8][0])) <= {1, 2} and g.fields(p[9][0])[1][0] > 1.6e9
    equal(len(got), 2, "pieces")


def test_download_unix_authority_is_percent_encoded():
    url, content = world.file(1000)
    channel = grpc.insecure_channel("unix:" + world.peer.socket, options=g.UNLIMITED + [
        ("grpc.default_authority", world.peer.socket.replace("/", "%2F"))])
    with channel:
        _, pieces, _ = run_download(api.stub(channel, DOWNLOAD), url=url, need_piece_content=True)
    check_pieces(pieces, content, [0], 0, None, True)


def test_download_range():
    url, content = world.file()
    # The end of piece 0 and the start of piece 1: both whole.
    started, pieces, _ = run_download(world.download, url=url, range=api.common.Range(start=PIECE - 10, length=20),
                                      need_piece_content=True)
    check_started(started, content, [0, 1], False)
    equal((started.range.start, started.range.length), (PIECE - 10, 20), "range")
    check_pieces(pieces, content, [0, 1], 0, None, True)
    # The rest later; a range does not make a task finished.
    stat = world.download.StatLocalTask(api.dfdaemon.StatLocalTaskRequest(task_id=task_id(url)), timeout=DEADLINE)
    assert not stat.HasField("finished_at"), stat
    started, pieces, _ = run_download(world.download, url=url)
    check_started(started, content, [0, 1, 2], False)
    equal(sorted(p.number for p in pieces), [0, 1, 2], "numbers")
    equal([p.traffic_type for p in pieces if p.number < 2], [2, 2], "local")


def test_download_range_header():
    url, content = world.file()
    for header, start, length, numbers in (("bytes=5-14", 5, 10, [0]), ("bytes=-100", SIZE - 100, 100, [2]),
                                           ("bytes=%d-" % (2 * PIECE), 2 * PIECE, 12345, [2])):
        started, pieces, ids = run_download(world.download, url=url, request_header={"Range": header})
        equal((started.range.start, started.range.length), (start, length), header)
        equal([p.number for p in started.pieces], numbers, header)
        equal([p.number for p in pieces], numbers, header)
        equal(ids[1], task_id(url), "the range is not part of the id")
    request = api.dfdaemon.DownloadTaskRequest(download=api.common.Download(url=url, request_header={"range": "bytes=99999999-"}))
    fails(lambda: world.download.DownloadTask(request, timeout=DEADLINE), grpc.StatusCode.FAILED_PRECONDITION)
    request.download.request_header["range"] = "bytes=x-y"
    fails(lambda: world.download.DownloadTask(request, timeout=DEADLINE), grpc.StatusCode.FAILED_PRECONDITION)


def test_download_ids():
    url, content = world.file(10)
    tagged = run_download(world.download, url=url + "?b=2&a=1&skip=1", tag="t", application="a",
                          filtered_query_params=["skip"])[2][1]
    equal(tagged, task_id(url + "?a=1&b=2", "t", "a"), "tag, application, query")
    equal(run_download(world.download, url=url, piece_length=PIECE)[2][1], task_id(url, str(PIECE)), "piece length")
    by_content = run_download(world.download, url=url, content_for_calculating_task_id="This is a test file")[2][1]
    equal(by_content, "e2d0fe1585a63ec6009c8016ff8dda8b17719a637405a4e23c0ff81339148249", "content")


def test_download_empty_file():
    url, _ = world.file(0)
    started, pieces, _ = run_download(world.download, url=url, need_piece_content=True)
    equal((started.content_length, len(started.pieces), pieces), (0, 0, []), "empty")


def test_download_digest():
    url, content = world.file(PIECE + 5)
    right = "sha256:" + hashlib.sha256(content).hexdigest()
    run_download(world.download, url=url, digest=right)
    run_download(world.download, url=url, digest=crc(content))
    wrong = "sha256:" + "0" * 64
    other, _ = world.file(PIECE + 5)

    def ask(url, digest):
        return lambda: world.download.DownloadTask(api.dfdaemon.DownloadTaskRequest(
            download=api.common.Download(url=url, digest=digest)), timeout=DEADLINE)
    error = fails(ask(other, wrong), grpc.StatusCode.INTERNAL,
                  re.compile("digest mismatch expected: sha256:0{64}, actual: sha256:[0-9a-f]{64}"))
    assert "0" * 64 + "," in error.details()
    for bad in ("sha256:12", "md9:" + "0" * 32, "crc32:xyz", "nonsense"):
        fails(ask(url, bad), grpc.StatusCode.INVALID_ARGUMENT, re.compile(re.escape("invalid digest(%s)" % bad)))


def test_download_output_path():
    url, content = world.file()
    target = world.cluster.path("out")
    run_download(world.download, url=url, output_path=target)
    with open(target, "rb") as f:
        equal(f.read() == content, True, "output")
    other = world.cluster.path("out-link")
    run_download(world.download, url=url, output_path=other, force_hard_link=True)
    with open(other, "rb") as f:
        equal(f.read() == content, True, "linked output")
    with open(target, "wb") as f:
        f.write(b"mine")

    def again(**more):
        return world.download.DownloadTask(api.dfdaemon.DownloadTaskRequest(
            download=api.common.Download(url=url, output_path=target, **more)), timeout=DEADLINE)
    # A file that was there is kept, unless it is to be overwritten.
    if os.stat(target).st_ino != os.stat(other).st_ino:
        fails(again, grpc.StatusCode.INTERNAL, re.compile("output path %s is already exists" % re.escape(target)))
    list(again(overwrite=True))
    with open(target, "rb") as f:
        equal(f.read() == content, True, "overwritten output")


def test_download_refused():
    stub = world.download
    fails(lambda: stub.DownloadTask(api.dfdaemon.DownloadTaskRequest(), timeout=DEADLINE), grpc.StatusCode.INVALID_ARGUMENT,
          "missing download")
    for stub in (world.download, world.upload):
        for url in ("", "relative/path"):
            # Without parameters to filter the id takes the text as it is; then the source does not know what to do with it.
            for params, code in (((), grpc.StatusCode.INTERNAL), (("x",), grpc.StatusCode.INVALID_ARGUMENT)):
                fails(lambda: stub.DownloadTask(api.dfdaemon.DownloadTaskRequest(download=api.common.Download(
                    url=url, filtered_query_params=params)), timeout=DEADLINE), code, "ParseError cause: relative URL without a base")
        for fields in ({"url": world.origin.url("/x"), "piece_length": 1},
                       {"url": world.origin.url("/x"), "piece_length": 1 << 40}):
            fails(lambda: stub.DownloadTask(api.dfdaemon.DownloadTaskRequest(download=api.common.Download(**fields)),
                                            timeout=DEADLINE),
                  grpc.StatusCode.INVALID_ARGUMENT)
    fails(lambda: world.upload.DownloadTask(api.dfdaemon.DownloadTaskRequest(download=api.common.Download(
        url=world.origin.url("/x"), output_path="/tmp/never")), timeout=DEADLINE), grpc.StatusCode.PERMISSION_DENIED)


def details_of(error):
    raw = [v for k, v in error.trailing_metadata() if k == "grpc-status-details-bin"]
    equal(len(raw), 1, "details")
    return json.loads(raw[0])


def test_download_origin_errors_carry_json_details():
    for code, words in ((404, "Not Found"), (403, "Forbidden"), (503, "Service Unavailable")):
        request = api.dfdaemon.DownloadTaskRequest(download=api.common.Download(url=world.origin.url("/gen/5M/%d?status=%d" % (code, code))))
        error = fails(lambda: world.download.DownloadTask(request, timeout=DEADLINE), grpc.StatusCode.INTERNAL,
                      re.compile("^backend error: %d %s" % (code, words)))
        details = details_of(error)
        equal(set(details), {"message", "header", "status_code"}, "members")
        equal(details["status_code"], code, "status_code")
        assert isinstance(details["header"], dict) and all(isinstance(v, str) for v in details["header"].values())
        assert "backend error: " + details["message"] == error.details(), (details, error.details())
    port = g.socket.socket()
    port.bind(("127.0.0.1", 0))     # bound, not listening: refused
    request = api.dfdaemon.DownloadTaskRequest(download=api.common.Download(url="http://127.0.0.1:%d/x" % port.getsockname()[1]))
    error = fails(lambda: world.download.DownloadTask(request, timeout=DEADLINE), grpc.StatusCode.INTERNAL,
                  re.compile("^backend error: "))
    port.close()
    equal(details_of(error)["status_code"], None, "status_code")


def test_download_on_the_upload_port():
    url, content = world.file()
    started, pieces, ids = run_download(world.seed_upload, url=url, need_back_to_source=True)
    equal(ids[:2], ("127.0.0.1-seed-seed", task_id(url)), "ids")
    assert re.fullmatch("127.0.0.1-seed-" + UUID + "-seed", ids[2]), ids
    check_started(started, content, range(3), False)
    check_pieces(pieces, content, range(3), 0)
    # What is there already is only announced.
    equal(list(world.seed_upload.DownloadTask(api.dfdaemon.DownloadTaskRequest(download=api.common.Download(
        url=url, need_back_to_source=True)), timeout=DEADLINE)), [], "answers")
    started, pieces, _ = run_download(world.upload, url=url)
    check_pieces(pieces, content, range(3), 1, "127.0.0.1-seed-" + UUID + "-seed")


def test_download_timeout():
    request = api.dfdaemon.DownloadTaskRequest(download=api.common.Download(
        url=world.origin.url("/gen/9M/4?drip=1000"), timeout=api.google.Duration(seconds=1), need_piece_content=True))
    began = time.monotonic()
    fails(lambda: world.download.DownloadTask(request, timeout=DEADLINE), grpc.StatusCode.DEADLINE_EXCEEDED,
          re.compile("did not finish within its timeout"))
    assert time.monotonic() - began > 0.8


def test_download_prefetch():
    url, _ = world.file()
    _, pieces, _ = run_download(world.download, url=url, range=api.common.Range(start=0, length=10), prefetch=True)
    equal([p.number for p in pieces], [0], "pieces")
    request = api.dfdaemon.StatLocalTaskRequest(task_id=task_id(url))
    stat = wait_for(lambda: [s for s in [world.download.StatLocalTask(request, timeout=DEADLINE)] if s.HasField("finished_at")], 10,
                    "the whole task is fetched")[0]
    assert stat.HasField("prefetched_at")


def test_download_many_at_once():
    url, content = world.file()
    failures = []

    def one():
        try:
            _, pieces, _ = run_download(world.download, url=url, need_piece_content=True)
            equal(b"".join(p.content for p in sorted(pieces, key=lambda p: p.number)) == content, True, "content")
        except BaseException as e:
            failures.append(e)
    threads = [threading.Thread(target=one) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(DEADLINE)
    if failures:
        raise failures[0]


# ---- pieces and hosts between peers ----

def test_sync_pieces_answers():
    url, content = world.file()
    run_download(world.seed_download, url=url)
    request = api.dfdaemon.SyncPiecesRequest(host_id="127.0.0.1-x", task_id=task_id(url),
                                             interested_piece_numbers=[2, 0, 0, 1, 7, 2**32 - 1])
    answers = list(world.seed_upload.SyncPieces(request, timeout=DEADLINE))
    equal([(a.number, a.offset, a.length, a.ip, a.tcp_port) for a in answers],
          [(n, n * PIECE, len(piece_of(content, n)), "127.0.0.1", world.seed.piece_port) for n in range(3)], "answers")
    assert all(a.HasField("tcp_port") and not a.HasField("quic_port") for a in answers)
    # By hand, unpacked numbers, as old protobuf writers put them.
    call = world.seed_up.unary_stream("/" + UPLOAD + "/SyncPieces", request_serializer=None, response_deserializer=None)
    raw = [g.fields(a) for a in call(g.put(1, "h") + g.put(2, task_id(url)) + g.put(3, 1) + g.put(3, 2), timeout=DEADLINE)]
    expected = [{1: [n], 2: [n * PIECE], 3: [len(piece_of(content, n))], 4: [b"127.0.0.1"], 5: [world.seed.piece_port]} for n in (1, 2)]
    equal(raw, expected, "raw")


def test_sync_pieces_errors():
    def ask(task, numbers=(0,)):
        return lambda: world.upload.SyncPieces(api.dfdaemon.SyncPiecesRequest(
            host_id="h", task_id=task, interested_piece_numbers=numbers), timeout=DEADLINE)
    unknown = "0" * 64
    fails(ask(unknown), grpc.StatusCode.INTERNAL, "task %s not found" % unknown)
    url = world.origin.url("/gen/9M/77?cut=100")
    fails(lambda: world.download.DownloadTask(api.dfdaemon.DownloadTaskRequest(download=api.common.Download(
        url=url, disable_back_to_source=False)), timeout=DEADLINE), grpc.StatusCode.INTERNAL)
    fails(ask(task_id(url)), grpc.StatusCode.INTERNAL, re.compile("^task %s (failed|not found)$" % task_id(url)))
    for bad in ("", "x", "A" * 64, "../" * 30, "0" * 63, "0" * 65, "0" * 100000):
        fails(ask(bad), grpc.StatusCode.INVALID_ARGUMENT)


def test_sync_pieces_outlives_grpc_timeout():
    # Two pieces that take some 17 s, from an origin with little to give.
    url = world.origin.url("/gen/5M/5?drip=300000")
    call = world.seed_download.DownloadTask(api.dfdaemon.DownloadTaskRequest(download=api.common.Download(url=url)), timeout=60)
    next(iter(call))
    with g.RawH2(("127.0.0.1", world.seed.upload_port)) as link:
        began = time.monotonic()
        link.call(1, "/" + UPLOAD + "/SyncPieces", g.put(1, "h") + g.put(2, task_id(url)) + g.put(3, g.varint(0) + g.varint(1)),
                  [("grpc-timeout", "10000000u")])
        _, flags, _, _ = link.wait_for(g.HEADERS, 8, stream=1)
        assert not flags & g.END_STREAM, "headers come before there is a piece"
        data, end = b"", None
        while end is None:
            kind, flags, stream, payload = link.read(began + DEADLINE - time.monotonic())
            if stream == 1:
                assert kind in (g.DATA, g.HEADERS), "frame type %d" % kind
                data += payload if kind == g.DATA else b""
                end = flags if kind == g.HEADERS else None
        assert end & g.END_STREAM
        assert time.monotonic() - began > 10.5, "the pieces came too early for this test"
        got = []
        while data:
            size = int.from_bytes(data[1:5], "big")
            got.append(g.fields(data[5:5 + size]))
            data = data[5 + size:]
        equal(sorted((a.get(1, [0])[0], a.get(2, [0])[0], a[3][0]) for a in got), [(0, 0, PIECE), (1, PIECE, MIB)], "pieces")
    equal(len(list(call)), 2, "pieces of the download")


def test_sync_host():
    call = world.upload.SyncHost(api.dfdaemon.SyncHostRequest(host_id="h", peer_id="p"), timeout=DEADLINE)
    began, hosts = time.monotonic(), []
    for host in call:
        hosts.append((time.monotonic() - began, host))
        if len(hosts) == 3:
            break
    call.cancel()
    assert hosts[2][0] > 1.5, [t for t, _ in hosts]
    for _, host in hosts:
        equal([f.name for f, _ in host.ListFields()], ["network"], "fields")
        assert host.network.HasField("rx_bandwidth") and host.network.HasField("tx_bandwidth")
        equal({f.number for f, _ in host.network.ListFields()} - {9, 10, 11, 12}, set(), "network fields")
        assert host.network.max_tx_bandwidth > 0 and host.network.max_rx_bandwidth > 0


# ---- local answers ----

def test_stat_list_delete():
    url, content = world.file()
    before = time.time()
    run_download(world.download, url=url)
    tid = task_id(url)

    def check(s):
        equal((s.task_id, s.piece_length, s.content_length), (tid, PIECE, len(content)), "stat")
        equal({k.lower(): v for k, v in s.response_header.items()}["content-length"], str(len(content)), "response_header")
        equal(s.uploading_count, 0, "uploading_count")
        for t in (s.created_at, s.updated_at, s.finished_at):
            has_time(t, before)
        assert s.HasField("finished_at") and not s.HasField("failed_at") and not s.HasField("prefetched_at"), s
    request = api.dfdaemon.StatLocalTaskRequest(task_id=tid, remote_ip="127.0.0.1")
    check(world.download.StatLocalTask(request, timeout=DEADLINE))
    check(world.upload.StatLocalTask(request, timeout=DEADLINE))
    seen = wait_for(lambda: world.seed_upload.StatLocalTask(request, timeout=DEADLINE).uploaded_count == 3, 5,
                    "three pieces are uploaded")
    assert seen
    tasks = world.download.ListLocalTasks(api.dfdaemon.ListLocalTasksRequest(), timeout=DEADLINE).tasks
    equal([t.task_id for t in tasks], sorted(t.task_id for t in tasks), "order")
    check([t for t in tasks if t.task_id == tid][0])
    raw = g.fields(g.raw_call(world.local, "/" + DOWNLOAD + "/StatLocalTask", g.put(1, tid)))
    equal((raw[1], raw[2], raw[3]), ([tid.encode()], [PIECE], [len(content)]), "raw")
    assert {7, 8, 11} <= set(raw) and not {5, 9, 10} & set(raw), raw
    # What the scheduler knows of it: the seed reported all pieces.
    for stub in (world.download, world.upload):
        task = stub.StatTask(api.dfdaemon.StatTaskRequest(task_id=tid), timeout=DEADLINE)
        equal((task.id, task.type, task.url, task.content_length, task.piece_count, task.state, task.size_scope,
               task.has_available_peer),
              (tid, 0, url, len(content), 3, "Succeeded", 0, True), "task")
        assert task.peer_count >= 2
        has_time(task.created_at, before)
        has_time(task.updated_at, before)
    world.download.DeleteLocalTask(api.dfdaemon.DeleteLocalTaskRequest(task_id=tid), timeout=DEADLINE)
    fails(lambda: world.download.StatLocalTask(request, timeout=DEADLINE), grpc.StatusCode.NOT_FOUND,
          "local task not found: " + tid)
    run_download(world.download, url=url)
    world.upload.DeleteTask(api.dfdaemon.DeleteTaskRequest(task_id=tid), timeout=DEADLINE)
    fails(lambda: world.upload.StatLocalTask(request, timeout=DEADLINE), grpc.StatusCode.NOT_FOUND, "local task not found: " + tid)
    for call, kind in ((world.download.DeleteTask, api.dfdaemon.DeleteTaskRequest),
                       (world.upload.DeleteTask, api.dfdaemon.DeleteTaskRequest),
                       (world.download.DeleteLocalTask, api.dfdaemon.DeleteLocalTaskRequest)):
        fails(lambda: call(kind(task_id=tid), timeout=DEADLINE), grpc.StatusCode.NOT_FOUND,
              re.compile("^(local )?task (not found: )?" + tid))
    fails(lambda: world.download.StatTask(api.dfdaemon.StatTaskRequest(task_id="1" * 64), timeout=DEADLINE),
          grpc.StatusCode.NOT_FOUND,
          "task %s not found" % ("1" * 64))


def test_list_task_entries():
    url, content = world.file(4321)
    for stub in (world.download, world.upload):
        got = stub.ListTaskEntries(api.dfdaemon.ListTaskEntriesRequest(task_id="00000000-0000-4000-8000-000000000000", url=url),
                                   timeout=DEADLINE)
        # 206: a file's length is asked for with a range of one byte.
        equal((got.content_length, got.status_code, list(got.entries)), (4321, 206, []), "entries")
        assert got.response_header
        fails(lambda: stub.ListTaskEntries(api.dfdaemon.ListTaskEntriesRequest(task_id="x", url="nonsense://x/"), timeout=DEADLINE),
              grpc.StatusCode.INTERNAL)


def test_hostile_ids():
    hostile = ["", ".", "..", "../../../../etc/passwd", "/" * 64, "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 100000, "\0" * 64,
               "a" * 63 + "\n", "é" * 32]
    for bad in hostile:
        for stub in (world.download, world.upload):
            for name in ("StatTask", "StatLocalTask", "DeleteTask", "DeleteLocalTask"):
                call = getattr(stub, name, None)
                if call is not None:
                    request = getattr(api.dfdaemon, name + "Request")(task_id=bad)
                    fails(lambda: call(request, timeout=DEADLINE), grpc.StatusCode.INVALID_ARGUMENT)
    # A string that is no UTF-8, and a message cut short.
    for broken in (g.put(1, b"\xff\xfe"), b"\x0a\x40abc", b"\x0a", b"\xff" * 11, b"\x0b"):
        try:
            g.raw_call(world.local, "/" + DOWNLOAD + "/StatLocalTask", broken)
            raise AssertionError("no error for %r" % broken)
        except grpc.RpcError as e:
            assert e.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL), e


def test_too_large_a_request():
    for channel, service in ((world.local, DOWNLOAD), (world.peer_up, UPLOAD)):
        fails(lambda: g.raw_call(channel, "/" + service + "/StatLocalTask", g.put(15, b"x" * (4 * MIB + 1))),
              grpc.StatusCode.OUT_OF_RANGE,
              re.compile("decoded message length too large: found [0-9]+ bytes, the limit is: 4194304 bytes"))
        # One that just fits is read.
        fails(lambda: g.raw_call(channel, "/" + service + "/StatLocalTask", g.put(1, "2" * 64) + g.put(15, b"x" * (4 * MIB - 100))),
              grpc.StatusCode.NOT_FOUND)


def test_delete_host():
    # It leaves the scheduler, and is back with the next announcement (5 s).
    world.download.DeleteHost(api.google.Empty(), timeout=DEADLINE)

    def is_listed():
        hosts = world.scheduler.ListHosts(api.scheduler.ListHostsRequest(), timeout=DEADLINE).hosts
        return "127.0.0.1-peer1" in [h.id for h in hosts]
    wait_for(is_listed, 12, "the host is announced again", 0.1)


# ---- health, names ----

def test_health():
    for channel, service, unknown in ((world.local, DOWNLOAD, "service not registered"),
                                      (world.peer_up, UPLOAD, "service not registered"),
                                      (world.seed_up, UPLOAD, "service not registered"),
                                      (world.sched, SCHEDULER, "unknown service")):
        stub = api.stub(channel, "grpc.health.v1.Health")
        for name in ("", service):
            equal(stub.Check(api.health.HealthCheckRequest(service=name), timeout=DEADLINE).status, 1, "status of %r" % name)
        fails(lambda: stub.Check(api.health.HealthCheckRequest(service="a.B"), timeout=DEADLINE), grpc.StatusCode.NOT_FOUND,
              unknown)
        equal(g.raw_call(channel, "/grpc.health.v1.Health/Check", b""), b"\x08\x01", "bytes of SERVING")
        if channel is not world.sched:
            watch = stub.Watch(api.health.HealthCheckRequest(), timeout=DEADLINE)
            equal(next(iter(watch)).status, 1, "first of Watch")
            watch.cancel()
            fails(lambda: stub.Watch(api.health.HealthCheckRequest(service="a.B"), timeout=DEADLINE), grpc.StatusCode.NOT_FOUND,
                  unknown)


def test_unknown_names():
    for channel, service in ((world.local, DOWNLOAD), (world.peer_up, UPLOAD), (world.sched, SCHEDULER)):
        fails(lambda: g.raw_call(channel, "/%s/Nope" % service, b""), grpc.StatusCode.UNIMPLEMENTED,
              "unknown method Nope for service " + service)
        fails(lambda: g.raw_call(channel, "/a.b.C/D", b""), grpc.StatusCode.UNIMPLEMENTED, "unknown service a.b.C")
        fails(lambda: g.raw_call(channel, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b""),
              grpc.StatusCode.UNIMPLEMENTED)
    for name in ("StatCacheTask", "DeleteCacheTask"):
        for stub in (world.download, world.upload):
            fails(lambda: getattr(stub, name)(getattr(api.dfdaemon, name + "Request")(task_id="x"), timeout=DEADLINE),
                  grpc.StatusCode.UNIMPLEMENTED)


# ---- the scheduler ----

def a_host(name, **more):
    """What a peer announces; unlike any real one."""
    fields = dict(
        id="10.9.8.7-" + name, type=0, hostname=name, ip="10.9.8.7", port=4000, download_port=4000, os="linux", platform="debian",
        platform_family="debian", platform_version="12", kernel_version="6.1", disable_shared=False, proxy_port=4001, name=name,
        cpu=api.common.CPU(logical_count=8, physical_count=4, percent=12.5, process_percent=1.5,
                           times=api.common.CPUTimes(user=1, idle=2)),
        memory=api.common.Memory(total=1000, available=600, used=400, used_percent=40, process_used_percent=1, free=500),
        network=api.common.Network(tcp_connection_count=5, upload_tcp_connection_count=2, idc="idc1", location="a|b",
                                   max_rx_bandwidth=10**10, rx_bandwidth=1, max_tx_bandwidth=10**10, tx_bandwidth=2),
        disk=api.common.Disk(total=10, free=5, used=5, used_percent=50, inodes_total=10, inodes_used=1, inodes_free=9,
                             inodes_used_percent=10, read_bandwidth=1, write_bandwidth=2),
        build=api.common.Build(git_version="v1", git_commit="c", rust_version="1", platform="x86_64"))
    fields.update(more)
    return api.common.Host(**fields)


def announce(host, seconds=300):
    world.scheduler.AnnounceHost(api.scheduler.AnnounceHostRequest(host=host, interval=api.google.Duration(seconds=seconds)),
                                 timeout=DEADLINE)


class Talk:
    """A peer's conversation with the scheduler."""

    def __init__(self, host, task, peer):
        self.ids = dict(host_id=host.id, task_id=task, peer_id=peer)
        self.queue, self.wake, self.over = [], threading.Condition(), False
        self.call = world.scheduler.AnnouncePeer(self.requests(), timeout=DEADLINE)

    def requests(self):
        while True:
            with self.wake:
                if not self.queue and not self.over:
                    self.wake.wait(DEADLINE)
                if not self.queue:
                    return
                m = self.queue.pop(0)
            yield m

    def say(self, kind, **fields):
        name = "".join(part.capitalize() for part in kind.split("_")) + "Request"
        m = api.scheduler.AnnouncePeerRequest(**self.ids)
        getattr(m, kind + "_request").CopyFrom(getattr(api.scheduler, name)(**fields))
        getattr(m, kind + "_request").SetInParent()
        with self.wake:
            self.queue.append(m)
            self.wake.notify()

    def register(self, url, **more):
        fields = dict(url=url, actual_content_length=2 * PIECE, actual_piece_length=PIECE, actual_piece_count=2, priority=6)
        fields.update(more)
        self.say("register_peer", download=api.common.Download(**fields))

    def hear(self):
        m = next(self.call)
        return m.WhichOneof("response"), m

    def piece(self, n, parent=None):
        p = api.common.Piece(number=n, offset=n * PIECE, length=PIECE, digest="crc32:%d" % (n + 1), traffic_type=1 if parent else 0,
                             cost=api.google.Duration(nanos=5000000), created_at=api.google.Timestamp(seconds=int(time.time())))
        if parent:
            p.parent_id = parent
        self.say("download_piece_finished" if parent else "download_piece_back_to_source_finished", piece=p)

    def hear_end(self):
        """The server ends the stream with OK."""
        equal(list(self.call), [], "answers before the end")
        self.leave()

    def leave(self):
        with self.wake:
            self.over = True
            self.wake.notify()


def host_fields(host):
    out = {}
    for f, v in host.ListFields():
        out[f.name] = v
    return out


def test_scheduler_hosts():
    host = a_host("lister")
    announce(host)
    hosts = {h.id: h for h in world.scheduler.ListHosts(api.scheduler.ListHostsRequest(), timeout=DEADLINE).hosts}
    assert {"127.0.0.1-seed-seed", "127.0.0.1-peer1", host.id} <= set(hosts), list(hosts)
    expected = api.common.Host()
    expected.CopyFrom(host)
    expected.scheduler_cluster_id = 1
    equal(hosts[host.id], expected, "the host as it was announced")
    ours = hosts["127.0.0.1-peer1"]
    equal((ours.type, ours.hostname, ours.ip, ours.port, ours.download_port, ours.os, ours.disable_shared),
          (0, "peer1", "127.0.0.1", world.peer.upload_port, world.peer.upload_port, "linux", False), "our own host")
    assert ours.kernel_version and ours.platform and ours.cpu.logical_count >= 1 and ours.memory.total > 0 and ours.disk.total > 0
    assert 0 <= ours.cpu.percent <= 100 and 0 <= ours.memory.used_percent <= 100 and ours.network.max_tx_bandwidth > 0
    assert ours.build.git_version
    equal(hosts["127.0.0.1-seed-seed"].type, 1, "seed's type")
    seeds = world.scheduler.ListHosts(api.scheduler.ListHostsRequest(type=1), timeout=DEADLINE).hosts
    equal([h.id for h in seeds], ["127.0.0.1-seed-seed"], "seeds")
    assert host.id in [h.id for h in world.scheduler.ListHosts(api.scheduler.ListHostsRequest(type=0), timeout=DEADLINE).hosts]
    equal(len(world.scheduler.ListHosts(api.scheduler.ListHostsRequest(type=7), timeout=DEADLINE).hosts), 0, "no such type")
    # Announced again with fewer parts: those stay.
    announce(api.common.Host(id=host.id, hostname=host.hostname, ip=host.ip, port=4444, download_port=4444))
    again = {h.id: h for h in world.scheduler.ListHosts(api.scheduler.ListHostsRequest(), timeout=DEADLINE).hosts}[host.id]
    equal((again.port, again.cpu, again.memory, again.disk), (4444, host.cpu, host.memory, host.disk), "merged host")
    # By hand: the numbers of the fields.
    network = g.put(4, "i") + g.put(11, 77)
    raw = (g.put(1, "10.9.8.6-raw") + g.put(3, "raw") + g.put(4, "10.9.8.6") + g.put(5, 4000) + g.put(6, 4000) +
           g.put(14, network))
    equal(g.raw_call(world.sched, "/" + SCHEDULER + "/AnnounceHost", g.put(1, raw) + g.put(2, g.put(1, 300))), b"", "Empty")
    listed = [g.fields(h) for h in g.fields(g.raw_call(world.sched, "/" + SCHEDULER + "/ListHosts", b""))[1]]
    mine = [h for h in listed if h[1] == [b"10.9.8.6-raw"]][0]
    equal((mine[3], mine[4], mine[5], mine[6], mine[17]), ([b"raw"], [b"10.9.8.6"], [4000], [4000], [1]), "raw host")
    equal((g.fields(mine[14][0])[4], g.fields(mine[14][0])[11]), ([b"i"], [77]), "raw network")
    for gone in (host.id, "10.9.8.6-raw"):
        world.scheduler.DeleteHost(api.scheduler.DeleteHostRequest(host_id=gone), timeout=DEADLINE)
        fails(lambda: world.scheduler.DeleteHost(api.scheduler.DeleteHostRequest(host_id=gone), timeout=DEADLINE),
              grpc.StatusCode.NOT_FOUND,
              "host %s not found" % gone)


def test_scheduler_host_validation():
    def refuse(text, **more):
        fails(lambda: announce(a_host("bad", **more)), grpc.StatusCode.INVALID_ARGUMENT,
              "invalid AnnounceHostRequest.Host: embedded message failed validation | caused by: invalid Host." + text)
    refuse("Id: value length must be at least 1 runes", id="")
    refuse("Hostname: value length must be at least 1 runes", hostname="")
    refuse("Type: value must be less than or equal to 3", type=4)
    refuse("Ip: value must be a valid IP address", ip="nowhere")
    for port in (0, 1023, 65535, -1):
        refuse("Port: value must be inside range [1024, 65535)", port=port)
        refuse("DownloadPort: value must be inside range [1024, 65535)", download_port=port)
    fails(lambda: world.scheduler.AnnounceHost(api.scheduler.AnnounceHostRequest(), timeout=DEADLINE),
          grpc.StatusCode.INVALID_ARGUMENT,
          "invalid AnnounceHostRequest.Host: value is required")
    fails(lambda: world.scheduler.DeleteHost(api.scheduler.DeleteHostRequest(), timeout=DEADLINE), grpc.StatusCode.INVALID_ARGUMENT,
          "invalid DeleteHostRequest.HostId: value length must be at least 1 runes")
    fails(lambda: announce(a_host("b" * 100000)), grpc.StatusCode.INVALID_ARGUMENT)


def test_scheduler_conversation():
    url = "http://origin.invalid/talk?x=1"
    task = "a" * 64
    source, child = a_host("talk1"), a_host("talk2", ip="10.9.8.8")
    announce(source)
    announce(child)
    one, two = Talk(source, task, "peer-one"), Talk(child, task, "peer-two")
    one.register(url, need_back_to_source=True, tag="t", application="app", digest="sha256:" + "1" * 64, request_header={"h": "v"})
    kind, m = one.hear()
    equal(kind, "need_back_to_source_response", "answer")
    assert m.need_back_to_source_response.description
    one.say("download_peer_back_to_source_started")
    one.piece(0)
    ask = api.scheduler.StatPeerRequest(host_id=source.id, task_id=task, peer_id="peer-one")
    wait_for(lambda: world.scheduler.StatPeer(ask, timeout=DEADLINE).state == "BackToSource", 5,
             "the scheduler knows of the source")
    two.register(url, tag="t", application="app")
    kind, m = two.hear()
    equal(kind, "normal_task_response", "answer")
    equal([p.id for p in m.normal_task_response.candidate_parents], ["peer-one"], "parents")
    parent = m.normal_task_response.candidate_parents[0]
    # What a Rust or Go reader validates and uses: A4, A5.
    equal((parent.state, parent.priority), ("BackToSource", 6), "state, priority")
    for name in ("cost", "task", "host", "created_at", "updated_at"):
        assert parent.HasField(name), name
    has_time(parent.created_at)
    has_time(parent.updated_at)
    equal((parent.task.id, parent.task.url, parent.task.type, parent.task.content_length, parent.task.piece_count,
           parent.task.size_scope),
          (task, url, 0, 2 * PIECE, 2, 0), "task")
    assert parent.task.state and parent.task.HasField("created_at") and parent.task.HasField("updated_at")
    h = parent.host
    equal((h.id, h.type, h.hostname, h.ip, h.port, h.download_port, h.network.max_tx_bandwidth, h.network.idc),
          (source.id, 0, "talk1", "10.9.8.7", 4000, 4000, 10**10, "idc1"), "host")
    two.say("download_peer_started")
    two.piece(0, "peer-one")
    two.say("download_piece_failed", piece_number=1, parent_id="peer-one", temporary=True)
    one.piece(1)
    one.say("download_peer_back_to_source_finished")
    one.hear_end()
    # All that is known of a peer and of the task.
    peer = world.scheduler.StatPeer(api.scheduler.StatPeerRequest(host_id=source.id, task_id=task, peer_id="peer-one"),
                                    timeout=DEADLINE)
    equal((peer.id, peer.state, peer.priority, peer.need_back_to_source, peer.task.id, peer.host.id),
          ("peer-one", "Succeeded", 6, True, task, source.id), "peer")
    assert peer.cost.seconds or peer.cost.nanos
    stat = world.scheduler.StatTask(api.scheduler.StatTaskRequest(host_id=source.id, task_id=task), timeout=DEADLINE)
    equal((stat.id, stat.type, stat.url, stat.tag, stat.application, stat.content_length, stat.piece_count, stat.state,
           stat.peer_count,
           stat.has_available_peer), (task, 0, url, "t", "app", 2 * PIECE, 2, "Succeeded", 2, True), "task")
    equal([(p.number, p.offset, p.length) for p in stat.pieces], [(0, 0, PIECE), (1, PIECE, PIECE)], "pieces")
    # The failed parent is blocked for this child: it is not named again, and without another one the source is left.
    two.say("reschedule_peer", candidate_parents=[parent], description="not all pieces are downloaded from parent")
    kind, m = two.hear()
    equal(kind, "need_back_to_source_response", "answer to the reschedule")
    two.say("download_peer_back_to_source_started")
    two.say("download_peer_back_to_source_failed", description="no luck")
    two.hear_end()
    peer = world.scheduler.StatPeer(api.scheduler.StatPeerRequest(host_id=child.id, task_id=task, peer_id="peer-two"),
                                    timeout=DEADLINE)
    equal(peer.state, "Failed", "state")
    stat = world.scheduler.StatTask(api.scheduler.StatTaskRequest(host_id=source.id, task_id=task), timeout=DEADLINE)
    equal(stat.content_length, 2 * PIECE, "length is kept")
    # Forgotten one by one.
    for _ in range(2):
        world.scheduler.DeletePeer(api.scheduler.DeletePeerRequest(host_id=child.id, task_id=task, peer_id="peer-two"),
                                   timeout=DEADLINE)
    fails(lambda: world.scheduler.StatPeer(api.scheduler.StatPeerRequest(host_id=child.id, task_id=task, peer_id="peer-two"),
                                           timeout=DEADLINE),
          grpc.StatusCode.NOT_FOUND, "peer peer-two not found")
    world.scheduler.DeleteTask(api.scheduler.DeleteTaskRequest(host_id=source.id, task_id=task), timeout=DEADLINE)
    fails(lambda: world.scheduler.StatPeer(api.scheduler.StatPeerRequest(host_id=source.id, task_id=task, peer_id="peer-one"),
                                           timeout=DEADLINE),
          grpc.StatusCode.NOT_FOUND, "peer peer-one not found")
    fails(lambda: world.scheduler.DeleteTask(api.scheduler.DeleteTaskRequest(host_id="nobody", task_id=task), timeout=DEADLINE),
          grpc.StatusCode.NOT_FOUND, "host nobody not found")
    fails(lambda: world.scheduler.StatTask(api.scheduler.StatTaskRequest(host_id="h", task_id="b" * 64), timeout=DEADLINE),
          grpc.StatusCode.NOT_FOUND, "task %s not found" % ("b" * 64))


def test_scheduler_conversation_by_hand():
    host = a_host("hand")
    announce(host)
    ids = g.put(1, host.id) + g.put(2, "c" * 64) + g.put(3, "peer-hand")
    lengths = g.put(27, PIECE) + g.put(28, PIECE) + g.put(29, 1)
    download = g.put(1, "http://origin.invalid/hand") + g.put(7, 6) + g.put(14, 1) + lengths
    piece = g.put(4, PIECE) + g.put(5, "crc32:9") + g.put(7, 0) + g.put(8, g.put(2, 1000)) + g.put(9, g.put(1, 1700000000))
    later = threading.Event()

    def requests():
        yield ids + g.put(4, g.put(1, download))
        later.wait(DEADLINE)
        yield ids + g.put(6, b"")
        yield ids + g.put(13, g.put(1, piece))
        yield ids + g.put(9, b"")
    call = world.sched.stream_stream("/" + SCHEDULER + "/AnnouncePeer", request_serializer=None, response_deserializer=None)(
        requests(), timeout=DEADLINE)
    first = g.fields(next(call))
    later.set()
    equal(set(first), {3}, "NeedBackToSource")
    equal(list(call), [], "no more answers")
    raw = g.fields(g.raw_call(world.sched, "/" + SCHEDULER + "/StatTask", g.put(1, host.id) + g.put(2, "c" * 64)))
    equal((raw[1], raw[3], raw[9], raw[10], raw[11], raw[13], raw[14], raw[15]),
          ([b"c" * 64], [b"http://origin.invalid/hand"], [PIECE], [1], [1], [b"Succeeded"], [1], [1]), "task")
    equal([(g.fields(p).get(1, [0]), g.fields(p)[4]) for p in raw[12]], [([0], [PIECE])], "pieces")
    raw = g.fields(g.raw_call(world.sched, "/" + SCHEDULER + "/StatPeer",
                              g.put(1, host.id) + g.put(2, "c" * 64) + g.put(3, "peer-hand")))
    equal((raw[1], raw[3], raw[6], raw[9]), ([b"peer-hand"], [6], [b"Succeeded"], [1]), "peer")
    assert {5, 7, 8, 10, 11} <= set(raw), raw.keys()
    world.scheduler.DeleteHost(api.scheduler.DeleteHostRequest(host_id=host.id), timeout=DEADLINE)


def one_word(host, task, peer, expected, **download):
    """Registers and checks the answer's kind, or the error (code, text)."""
    talk = Talk(host, task, peer)
    talk.register(**download)
    try:
        if isinstance(expected, str):
            equal(talk.hear()[0], expected, "answer")
        else:
            fails(lambda: talk.hear(), *expected)
    finally:
        talk.leave()
    return talk


def test_scheduler_register_rules():
    host, other = a_host("rules"), a_host("rules2", ip="10.9.8.8")
    announce(host)
    announce(other)
    url = "http://origin.invalid/rules"
    one_word(host, "d" * 64, "p-empty", "empty_task_response", url=url, actual_content_length=0, actual_piece_count=0)
    one_word(host, "e" * 64, "p-forbidden", (grpc.StatusCode.FAILED_PRECONDITION, "LEVEL1 peer is forbidden"), url=url, priority=1)
    one_word(host, "e" * 64, "p-level2", (grpc.StatusCode.NOT_FOUND, "LEVEL2 peer not found candidate peers"), url=url, priority=2)
    one_word(host, "f" * 64, "p-level3", "need_back_to_source_response", url=url, priority=3)
    talk = Talk(host, "1" * 64, "p-metadata")
    talk.register(url, metadata_only=True)
    equal(talk.hear()[0], "metadata_only_response", "answer")
    talk.say("download_peer_started")
    talk.say("download_peer_finished")
    talk.hear_end()
    # It is a parent now, without a single piece report.
    child = Talk(other, "1" * 64, "p-child")
    child.register(url)
    kind, m = child.hear()
    equal((kind, [p.id for p in m.normal_task_response.candidate_parents], m.normal_task_response.candidate_parents[0].state),
          ("normal_task_response", ["p-metadata"], "Succeeded"), "parents")
    child.say("download_peer_started")
    child.say("download_peer_failed", description="x")
    child.hear_end()
    prefix = "invalid AnnouncePeerRequest."
    chain = prefix + "RegisterPeerRequest: embedded message failed validation | caused by: "
    download = chain + "invalid RegisterPeerRequest.Download: embedded message failed validation | caused by: invalid Download."
    bad = grpc.StatusCode.INVALID_ARGUMENT
    one_word(host, "2" * 64, "p", (bad, download + "Url: value must be absolute"), url="relative/path")
    one_word(host, "2" * 64, "p", (bad, download + "Priority: value must be one of the defined enum values"), url=url, priority=7)
    one_word(host, "2" * 64, "p", (bad, download + "PieceLength: value must be inside range [4194304, 67108864]"), url=url,
             piece_length=1)
    one_word(host, "2" * 64, "p", (bad, download + "RemoteIp: value must be a valid IP address"), url=url, remote_ip="x")
    one_word(host, "2" * 64, "p", (bad, re.compile(re.escape(download + "Digest: value does not match regex pattern"))), url=url,
             digest="x")
    one_word(host, "", "p", (bad, prefix + "TaskId: value length must be at least 1 runes"), url=url)
    one_word(host, "2" * 64, "", (bad, prefix + "PeerId: value length must be at least 1 runes"), url=url)
    empty = Talk(host, "2" * 64, "p")
    empty.say("register_peer")
    fails(empty.hear, bad, chain + "invalid RegisterPeerRequest.Download: value is required")
    empty.leave()
    twice = Talk(host, "3" * 64, "p-twice")
    twice.register(url, need_back_to_source=True)
    twice.hear()
    twice.register(url)
    fails(twice.hear, grpc.StatusCode.INTERNAL, re.compile("^event Register(Normal)? inappropriate in current state "))
    twice.leave()
    early = Talk(host, "4" * 64, "p-early")
    early.say("download_peer_started")
    fails(early.hear, grpc.StatusCode.NOT_FOUND, "peer p-early not found")
    early.leave()
    long = Talk(host, "5" * 100000, "p-long")
    long.register(url)
    fails(long.hear, bad)
    long.leave()
    for h in (host, other):
        world.scheduler.DeleteHost(api.scheduler.DeleteHostRequest(host_id=h.id), timeout=DEADLINE)


def the_daemons_stop_clean():
    for peer in (world.peer, world.seed):
        equal(peer.stop(), 0, "exit code of " + peer.name)
        assert not re.search("AddressSanitizer|ThreadSanitizer|runtime error", peer.log()), peer.log()[-5000:]


def main():
    global world
    build, names = sys.argv[1], sys.argv[2:]
    world = World(build)
    tests = [t for n, t in list(globals().items()) if n.startswith("test_") and (not names or n in names)]
    # This one empties the scheduler's view of the peer, so nothing runs beside it.
    last = [t for t in tests if t is test_delete_host]
    try:
        return g.run_all([t for t in tests if t not in last], 3, last + [the_daemons_stop_clean])
    finally:
        world.close()


if __name__ == "__main__":
    sys.exit(main())
