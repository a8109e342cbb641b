"""grpcio as the scheduler and as the parents of a real daemon: each answer of a scheduler, each fault of a parent, and what the daemon
reports then, field by field. One daemon, a task for each case. usage: SCRIPT BUILD_DIR [NAME...]"""
import concurrent.futures
import hashlib
import re
import struct
import sys
import time

import grpc

import grpc_support as g
from cluster import wait_for
from scripted_support import (DEADLINE, FROM_PARENTS, FROM_SOURCE, HOST_ID, PIECE, PIECES, SIZE, Case, api, answer, begin, check_pieces,
                              equal, give, need_source, normal, refuse)

world = None


# ---- what a scheduler may say ----

def test_announces_its_host():
    m, metadata = world.scheduler.hosts[0]
    h = m.host
    equal((h.id, h.type, h.hostname, h.ip, h.port, h.download_port, h.os, h.disable_shared),
          (HOST_ID, 0, "tested", "127.0.0.1", world.peer.upload_port, world.peer.upload_port, "linux", False), "host")
    for part in ("cpu", "memory", "network", "disk", "build"):
        assert h.HasField(part), part
    assert m.HasField("interval") and m.interval.seconds == 5, m.interval
    assert 0 <= h.cpu.percent <= 100 and 0 <= h.memory.used_percent <= 100 and 0 <= h.disk.used_percent <= 100


def test_register_tells_all_of_the_download():
    with Case("register", give(need_source())) as case:
        # A field of a later release goes along.
        download = api.common.Download(url=case.url, need_piece_content=True, tag="t", application="a", priority=5,
                                       filtered_query_params=["x"],
                                       request_header={"X-Some": "v"}, concurrent_piece_count=99)
        raw = download.SerializeToString() + g.put(99, "of a later release")
        call = world.channel.unary_stream("/dfdaemon.v2.DfdaemonDownload/DownloadTask", request_serializer=None,
                                          response_deserializer=api.dfdaemon.DownloadTaskResponse.FromString)
        answers = list(call(g.put(1, raw), timeout=DEADLINE))
        equal(len(answers), 1 + PIECES, "answers")
        talk = case.conversations()
        d = talk.log[0].register_peer_request.download
        equal((talk.log[0].task_id, talk.log[0].peer_id), (answers[0].task_id, answers[0].peer_id), "ids")
        equal((d.url, d.tag, d.application, d.priority, list(d.filtered_query_params), dict(d.request_header),
               d.need_piece_content),
              (case.url, "t", "a", 5, ["x"], {"X-Some": "v"}, True), "download")
        equal((d.actual_content_length, d.actual_piece_length, d.actual_piece_count), (SIZE, PIECE, PIECES), "actual lengths")
        assert 0 < d.concurrent_piece_count < 99, "the daemon's own limit goes to the scheduler"
        assert not d.need_back_to_source and not d.metadata_only
        equal(g.fields(d.SerializeToString())[99], [b"of a later release"], "unknown field")
        assert "grpc-timeout" not in dict(talk.context.invocation_metadata())


def test_need_back_to_source():
    with Case("source", give(need_source())) as case:
        pieces = case.run()
        equal({p.traffic_type for p in pieces.values()}, {0}, "traffic")
        talk = case.conversations()
        equal(talk.kinds(), FROM_SOURCE, "messages")
        check_pieces(case, talk.said("download_piece_back_to_source_finished"))
        assert talk.half_closed, "the daemon half-closes after its last word"
        # By hand: BACK_TO_SOURCE is written, although it is 0.
        raw = g.fields(g.fields(talk.log[2].SerializeToString())[13][0])[1][0]
        equal((g.fields(raw)[7], 2 in g.fields(raw), 6 in g.fields(raw)), ([0], False, False), "raw piece")


def test_need_back_to_source_and_the_source_fails():
    with Case("source-fails", give(need_source()), path="/gen/12M/91?cut=1000000") as case:
        error = case.fails(grpc.StatusCode.INTERNAL, "^backend error: ")
        assert "grpc-status-details-bin" in dict(error.trailing_metadata())
        talk = case.conversations()
        kinds = talk.kinds()
        equal(kinds[:2] + kinds[-2:],
              ["register_peer", "download_peer_back_to_source_started", "download_piece_back_to_source_failed",
                                       "download_peer_back_to_source_failed"], "messages")
        failed = talk.said("download_piece_back_to_source_failed")[0]
        assert failed.WhichOneof("response") in ("backend", "unknown"), failed
        assert (failed.backend.message or failed.unknown.message), failed
        assert talk.said("download_peer_back_to_source_failed")[0].description, "the reason"


def test_need_back_to_source_is_not_obeyed_when_disabled():
    with Case("disabled", give(need_source())) as case:
        case.fails(grpc.StatusCode.INTERNAL, "^unknown download failed", disable_back_to_source=True)
        talk = case.conversations()
        equal(talk.kinds(), ["register_peer", "download_peer_failed"], "messages")
        assert "back-to-source is disabled" in talk.said("download_peer_failed")[0].description


def test_normal_task():
    with Case("normal") as case:
        parent = case.parent()
        case.scripts(give(normal(parent)))
        pieces = case.run()
        equal({(p.traffic_type, p.parent_id) for p in pieces.values()}, {(1, parent.id)}, "pieces")
        talk = case.conversations()
        equal(talk.kinds(), FROM_PARENTS, "messages")
        check_pieces(case, talk.said("download_piece_finished"), [parent])
        request = parent.sync_requests[0]
        equal((request.host_id, request.task_id, sorted(request.interested_piece_numbers)),
              (HOST_ID, case.task_id, list(range(PIECES))), "SyncPieces")
        assert "grpc-timeout" not in parent.sync_metadata[0], "a server that is strict would end it"
        equal(sorted(parent.asked), list(range(PIECES)), "asked for")
        equal(case.origin_requests()["bytes"] <= 1, True, "the origin sent no content")


def test_late_first_answer_is_heard():
    with Case("late") as case:
        parent = case.parent()

        def script(c):
            c.over.wait(5)
            yield normal(parent)
            c.hear_all()
        case.scripts(script)
        equal({p.traffic_type for p in case.run().values()}, {1}, "traffic")
        equal(case.conversations().kinds(), FROM_PARENTS, "messages")


def test_first_answer_is_waited_for_10_seconds():
    with Case("no-first-answer") as case:
        def script(c):
            c.over.wait(DEADLINE)
            return
            yield
        case.scripts(script)
        began = time.monotonic()
        equal({p.traffic_type for p in case.run().values()}, {0}, "traffic")
        talk = case.conversations()
        assert talk.ended - began >= 10, talk.ended - began
        assert "download_peer_started" not in talk.kinds(), talk.kinds()


def test_sixth_answer_is_one_too_many():
    with Case("six") as case:
        rounds = [case.parent(tells=[]) for _ in range(7)]
        case.scripts(give(*[normal(p) for p in rounds]))
        equal({p.traffic_type for p in case.run().values()}, {0}, "traffic")
        talk = case.conversations()
        kinds = [k for k in talk.kinds() if k != "download_peer_started"]
        equal(kinds, ["register_peer"] + ["reschedule_peer"] * 5 + ["download_peer_failed"], "messages")
        equal(talk.said("download_peer_failed")[0].description, "max schedule count exceeded", "description")
        for m in talk.said("reschedule_peer"):
            equal(m.description, "not all pieces are downloaded from parent", "description")
            assert m.candidate_parents
        # What came is echoed whole.
        first = talk.said("reschedule_peer")[0]
        equal(list(first.candidate_parents), [rounds[0].message()], "echo")


def test_slow_round_asks_for_more_parents():
    """A scheduler that names a parent once and no more: asked again, and the parent stays."""
    with Case("more") as case:
        slow, second = case.parent("trickle"), case.parent()

        def script(c):
            yield normal(slow)
            m = c.hear_until("reschedule_peer_request")
            equal((list(m.candidate_parents), m.description), ([], "more parents are wanted"), "reschedule")
            yield normal(slow, second)
            c.hear_all()
        case.scripts(script)
        pieces = case.run()
        assert slow.id in {p.parent_id for p in pieces.values()}, "the parent stays"
        assert second.sync_requests, "the other one is asked too"
        equal([k for k in case.conversations().kinds() if k not in ("reschedule_peer", "download_peer_started")],
              [k for k in FROM_PARENTS if k != "download_peer_started"], "messages")


def test_source_for_more_parents_is_not_taken():
    with Case("more-source") as case:
        slow = case.parent("trickle")

        def script(c):
            yield normal(slow)
            c.hear_until("reschedule_peer_request")
            yield need_source()
            c.hear_all()
        case.scripts(script)
        equal({p.traffic_type for p in case.run().values()}, {1}, "traffic")
        equal([k for k in case.conversations().kinds() if k != "reschedule_peer"], FROM_PARENTS, "messages")


def mid_round(name, finish):
    """The scheduler leaves while a parent is giving pieces: they are taken all the same."""
    with Case(name) as case:
        parent = case.parent("trickle")

        def script(c):
            yield normal(parent)
            c.hear_until("download_piece_finished_request")
            finish(c)
        case.scripts(script, give(normal(parent)))
        pieces = case.run()
        assert 1 in {p.traffic_type for p in pieces.values()}
        talks = world.scheduler.conversations[case.url]
        equal(talks[0].kinds()[:3], ["register_peer", "download_peer_started", "download_piece_finished"], "messages")
        return case


def test_stream_ends_ok_in_mid_round():
    mid_round("mid-ok", lambda c: None)


def test_stream_ends_with_an_error_in_mid_round():
    mid_round("mid-error", lambda c: c.context.abort(grpc.StatusCode.INTERNAL, "scheduler fell over"))


def test_stream_ends_before_an_answer():
    def silent(c):
        return
        yield
    with Case("no-answer", silent) as case:
        equal({p.traffic_type for p in case.run().values()}, {0}, "traffic")
        equal(case.conversations().kinds(), ["register_peer"], "messages")


def test_scheduler_that_never_ends_the_stream():
    with Case("never-ends") as case:
        parent = case.parent()

        def script(c):
            yield normal(parent)
            c.hear_all()
            c.over.wait(DEADLINE)
        case.scripts(script)
        case.run()
        finished = time.monotonic()
        talk = case.conversations()
        equal(talk.kinds(), FROM_PARENTS, "messages")
        assert talk.half_closed and talk.ended > finished, "the caller does not wait for the scheduler"
        line = "scheduler did not end the conversation in 10 s task=%s" % case.task_id
        wait_for(lambda: line in world.peer.log(), DEADLINE, "the log tells of it")


def test_empty_task():
    with Case("empty-answer", give(answer("empty_task_response"))) as case:
        equal({p.traffic_type for p in case.run().values()}, {0}, "traffic")
        equal(case.conversations().kinds(), ["register_peer", "download_peer_started", "download_peer_finished"], "messages")


def test_metadata_only_that_nobody_asked_for():
    with Case("metadata-answer", give(answer("metadata_only_response"))) as case:
        equal({p.traffic_type for p in case.run().values()}, {0}, "traffic")
        equal(case.conversations().kinds(), ["register_peer", "download_peer_failed"], "messages")


def test_answer_that_is_unset():
    with Case("unset-answer", give(answer(None))) as case:
        equal({p.traffic_type for p in case.run().values()}, {0}, "traffic")
        case.conversations()


def test_unknown_host_is_announced_and_registers_again():
    with Case("unknown-host") as case:
        parent = case.parent()
        case.scripts(refuse(grpc.StatusCode.NOT_FOUND, "host %s not found" % HOST_ID), give(normal(parent)))
        before = len(world.scheduler.hosts)
        equal({p.traffic_type for p in case.run().values()}, {1}, "traffic")
        first, second = case.conversations(2)
        assert len(world.scheduler.hosts) > before, "announced again"
        equal(first.kinds(), ["register_peer"], "messages")
        equal(second.kinds(), FROM_PARENTS, "messages")
        assert first.log[0].peer_id != second.log[0].peer_id, "a peer id is for one stream only"


def test_forbidden_is_final():
    with Case("forbidden", refuse(grpc.StatusCode.FAILED_PRECONDITION, "LEVEL1 peer is forbidden")) as case:
        case.fails(grpc.StatusCode.PERMISSION_DENIED, "^LEVEL1 peer is forbidden$")
        case.conversations()
        equal(case.origin_requests()["bytes"] <= 1, True, "nothing was taken from the origin")


def test_other_refusals_lead_to_the_source():
    for i, (code, text) in enumerate(((grpc.StatusCode.FAILED_PRECONDITION, "scheduling exceeded RetryLimit"),
                                      (grpc.StatusCode.INVALID_ARGUMENT, "invalid"), (grpc.StatusCode.INTERNAL, "x"),
                                      (grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected"))):
        with Case("refusal%d" % i, refuse(code, text)) as case:
            equal({p.traffic_type for p in case.run().values()}, {0}, text)
    with Case("refusal-disabled", refuse(grpc.StatusCode.FAILED_PRECONDITION, "scheduling exceeded RetryLimit")) as case:
        case.fails(grpc.StatusCode.INTERNAL, "^unknown download failed.*scheduling exceeded RetryLimit",
                   disable_back_to_source=True)


def test_small_tasks_need_no_scheduler_unless_told_so():
    with Case("small", size=1000) as case:
        equal(case.run()[0].traffic_type, 0, "traffic")
        equal(len(world.scheduler.conversations[case.url]), 0, "conversations")
    with Case("small-always", size=1000) as case:
        parent = case.parent()
        case.scripts(give(normal(parent)))
        equal(case.run(scheduling_policy=1)[0].traffic_type, 1, "traffic")
        talk = case.conversations()
        equal(talk.log[0].register_peer_request.download.scheduling_policy, 1, "policy")


def announce_again(name, *scripts):
    """What a scheduler's call to a peer that has all of the task leads to: (answers or error, conversations of that)."""
    with Case(name, give(need_source()), *scripts) as case:
        case.run()
        case.conversations()
        request = api.dfdaemon.DownloadTaskRequest(download=api.common.Download(url=case.url, need_back_to_source=True))
        try:
            got = list(world.upload.DownloadTask(request, timeout=DEADLINE))
        except grpc.RpcError as e:
            got = e
        return got, case.conversations(1 + len(scripts))[1:]


def test_finished_task_is_announced_as_metadata():
    got, (talk,) = announce_again("metadata", give(answer("metadata_only_response")))
    equal(got, [], "answers")
    equal(talk.kinds(), ["register_peer", "download_peer_started", "download_peer_finished"], "messages")
    d = talk.log[0].register_peer_request.download
    equal((d.metadata_only, d.need_back_to_source, d.actual_content_length, d.actual_piece_length, d.actual_piece_count),
          (True, False, SIZE, PIECE, PIECES), "download")


def test_finished_task_is_announced_to_an_old_scheduler():
    for i, m in enumerate((need_source(), answer("normal_task_response"))):
        got, (talk,) = announce_again("metadata-old%d" % i, give(m))
        equal(got, [], "answers")
        equal(talk.kinds(), ["register_peer", "download_peer_started", "download_peer_finished"], "messages")


def test_announcement_of_a_finished_task_fails():
    got, _ = announce_again("metadata-fails", refuse(grpc.StatusCode.INTERNAL, "no"))
    equal((got.code(), got.details()[:37]), (grpc.StatusCode.INTERNAL, "unknown stream is finished abnormally"), "error")


def test_caller_goes_away():
    with Case("leaver") as case:
        parent = case.parent("trickle")
        case.scripts(give(normal(parent)))
        call = world.download.DownloadTask(api.dfdaemon.DownloadTaskRequest(download=api.common.Download(url=case.url)),
                                           timeout=DEADLINE)
        next(call)
        wait_for(lambda: parent.asked, DEADLINE, "a piece is asked for")
        call.cancel()
        talk = case.conversations()
        equal(talk.kinds()[-1], "download_peer_failed", "last word")


def test_two_callers_of_one_task():
    with Case("twins") as case:
        parent = case.parent("trickle")
        case.scripts(give(normal(parent)))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for f in [pool.submit(case.run) for _ in range(2)]:
                f.result(DEADLINE)
        equal(sorted(parent.asked), list(range(PIECES)), "each piece once")


# ---- what parents do wrong ----

def bad_parent(vortex, reported=True, **sync):
    """A parent with a fault and a good one that tells once the other was tried: the content comes from the good one, the fault is reported."""
    name = "parent-" + vortex + "".join(sync)
    with Case(name) as case:
        bad = case.parent(vortex, **sync)
        good = case.parent(after=case.heard_of_failure if reported else lambda: bad.sync_requests or vortex == "dead")
        case.scripts(give(normal(bad, good), normal(good), normal(good)))
        pieces = case.run()
        equal({(p.traffic_type, p.parent_id) for p in pieces.values()}, {(1, good.id)}, "pieces")
        talk = case.conversations()
        check_pieces(case, talk.said("download_piece_finished"), [good])
        failed = talk.said("download_piece_failed")
        for f in failed:
            equal((f.parent_id, f.temporary, f.HasField("piece_number")), (bad.id, True, True), "report")
            assert f.piece_number < PIECES
        equal(bool(failed), reported, "failures are reported")
        kinds = talk.kinds()
        equal((kinds[0], kinds[1], kinds[-1]), ("register_peer", "download_peer_started", "download_peer_finished"), "messages")
        equal(case.origin_requests()["bytes"] <= 1, True, "the origin sent no content")
        return bad


def faulty(vortex, most=None, **sync):
    def test():
        bad = bad_parent(vortex, **sync)
        if most is not None:
            assert len(bad.asked) <= most, "asked %d times" % len(bad.asked)
    test.__name__ = "test_parent_%s" % (vortex if not sync else "_".join(sync))
    return test


# A liar is dropped; who only fails is asked three times in a row at most (and a few that were under way).
FAULTS = [faulty("wrong_digest"), faulty("wrong_content"), faulty("short"), faulty("wrong_offset"), faulty("wrong_number"),
          faulty("wrong_length"), faulty("error", 8), faulty("unknown_tag"), faulty("huge_digest"), faulty("refused"),
          faulty("dead", reported=False), faulty("good", sync_error="task x failed", reported=False),
          faulty("good", length_off=1, reported=False), faulty("good", tells=[], reported=False)]


def test_parents_of_every_kind_at_once():
    with Case("many-parents") as case:
        dead, wrong, short = case.parent("dead"), case.parent("wrong_digest"), case.parent("short")
        slow, offset = case.parent(after=case.heard_of_failure), case.parent("wrong_offset")
        case.scripts(give(normal(dead, wrong, short, slow, offset), normal(slow), normal(slow)))
        pieces = case.run()
        equal({p.parent_id for p in pieces.values()}, {slow.id}, "parents")
        failed = case.conversations().said("download_piece_failed")
        assert {f.parent_id for f in failed} <= {wrong.id, short.id, offset.id} and failed


def test_content_that_is_not_what_the_caller_knows():
    """A parent that lies with the right checksum of wrong bytes is found out by the digest of the whole."""
    with Case("liar") as case:
        parent = case.parent("other_content")
        case.scripts(give(normal(parent)))
        digest = "sha256:" + hashlib.sha256(case.content).hexdigest()
        case.fails(grpc.StatusCode.INTERNAL, "^digest mismatch expected: %s, actual: sha256:" % digest, digest=digest)
        # Nothing of it is kept.
        case.scripts(give(need_source()))
        case.run(digest=digest)


def test_error_while_a_message_is_under_way():
    """The caller reads slowly: the message is completed, then the error is told."""
    with Case("slow-reader") as case:
        parent = case.parent("other_content")
        case.scripts(give(normal(parent)))
        with g.RawH2(world.peer.socket) as link:
            download = g.put(1, case.url) + g.put(2, "sha256:" + "0" * 64) + g.put(20, 1)
            link.call(1, "/dfdaemon.v2.DfdaemonDownload/DownloadTask", g.put(1, download))
            link.wait_for(g.DATA, stream=1)
            case.conversations()
            wait_for(lambda: "digest mismatch" in world.peer.log(), DEADLINE, "the digest is found wrong")
            more = struct.pack(">I", 1 << 30)
            link.send(g.frame(g.WINDOW_UPDATE, 0, 0, more) + g.frame(g.WINDOW_UPDATE, 0, 1, more))
            while True:
                kind, flags, stream, payload = link.read(DEADLINE)
                if stream == 1 and kind != g.DATA and not (kind == g.HEADERS and not flags & g.END_STREAM):
                    break
            equal((kind, bool(flags & g.END_STREAM)), (g.HEADERS, True), "the end of the call")


def test_all_parents_fail_then_others():
    with Case("others") as case:
        bad, good = case.parent("wrong_digest"), case.parent()
        case.scripts(give(normal(bad), normal(good)))
        case.run()
        talk = case.conversations()
        kinds = [k for k in talk.kinds()]
        at = kinds.index("reschedule_peer")
        assert "download_piece_failed" in kinds[:at], kinds
        m = talk.said("reschedule_peer")[0]
        equal((list(m.candidate_parents), m.description), ([bad.message()], "not all pieces are downloaded from parent"),
              "reschedule")
        check_pieces(case, talk.said("download_piece_finished"), [good])
        equal(kinds[-1], "download_peer_finished", "last word")


def test_all_parents_fail_then_the_source():
    with Case("then-source") as case:
        half = case.parent(tells=[0, 2])
        case.scripts(give(normal(half), need_source()))
        pieces = case.run()
        equal({n: p.traffic_type for n, p in pieces.items()}, {0: 1, 1: 0, 2: 1, 3: 0}, "traffic")
        talk = case.conversations()
        equal(sorted(r.piece.number for r in talk.said("download_piece_finished")), [0, 2], "from the parent")
        equal(sorted(r.piece.number for r in talk.said("download_piece_back_to_source_finished")), [1, 3], "from the source")
        equal(talk.kinds()[-1], "download_peer_back_to_source_finished", "last word")


def test_parent_of_the_old_release_closes_after_each_piece():
    with Case("old-parent") as case:
        parent = case.parent("old")
        case.scripts(give(normal(parent)))
        case.run()
        equal(case.conversations().kinds(), FROM_PARENTS, "messages")
        equal(sorted(parent.asked), list(range(PIECES)), "asked for")
        assert parent.connections >= PIECES


def test_parent_that_closes_idle_connections():
    with Case("closing-parent") as case:
        parent = case.parent("closes_idle")
        case.scripts(give(normal(parent)))
        case.run()
        talk = case.conversations()
        equal(talk.said("download_piece_failed"), [], "failures")
        check_pieces(case, talk.said("download_piece_finished"), [parent])


def test_connections_are_used_again():
    with Case("reuse", size=12 * PIECE) as case:
        parent = case.parent()
        case.scripts(give(normal(parent)))
        case.run()
        equal(sorted(parent.asked), list(range(12)), "asked for")
        assert parent.connections <= 8, "%d connections for 12 pieces" % parent.connections


def test_metadata_of_a_later_release():
    with Case("longer-metadata") as case:
        parent = case.parent("longer_metadata")
        case.scripts(give(normal(parent)))
        case.run()
        equal(case.conversations().kinds(), FROM_PARENTS, "messages")


def test_more_bytes_than_said():
    with Case("excess") as case:
        parent = case.parent("excess")
        case.scripts(give(normal(parent), need_source(), need_source()))
        case.run()


def test_sync_pieces_stays_open():
    with Case("open-sync") as case:
        parent = case.parent(stays_open=True)
        case.scripts(give(normal(parent)))
        case.run()
        equal(case.conversations().kinds(), FROM_PARENTS, "messages")


def the_daemon_stops_clean():
    equal(world.peer.stop(), 0, "exit code")
    assert not re.search("AddressSanitizer|ThreadSanitizer|runtime error", world.peer.log()), world.peer.log()[-5000:]


def main():
    global world
    build, names = sys.argv[1], sys.argv[2:]
    tests = [t for n, t in list(globals().items()) if n.startswith("test_")] + FAULTS
    slow = ("test_first_answer_is_waited_for_10_seconds", "test_late_first_answer_is_heard",
            "test_scheduler_that_never_ends_the_stream")
    tests = sorted((t for t in tests if not names or t.__name__ in names), key=lambda t: t.__name__ not in slow)
    world = begin(build)
    try:
        return g.run_all(tests, 6, [the_daemon_stops_clean])
    finally:
        world.close()


if __name__ == "__main__":
    sys.exit(main())
