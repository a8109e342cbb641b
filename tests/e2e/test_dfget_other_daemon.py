"""dfget at a daemon of another make, played by grpcio: one that puts the output in its place when it begins, as some do.
usage: SCRIPT BUILD_DIR [NAME...]"""
import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading

import grpc

import grpc_support as g
from cluster import run_tests

LIMIT_S = 20
CONTENT = b"x" * 100

api = g.Api()


class Daemon:
    """`script(request, context)` yields the answers of DownloadTask."""

    def __init__(self, directory, script):
        self.socket = f"{directory}/sock"
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers([api.handler("dfdaemon.v2.DfdaemonDownload", {"DownloadTask": script})])
        self.server.add_insecure_port("unix:" + self.socket)
        self.server.start()


@contextlib.contextmanager
def asked(build, script, *flags):
    """A dfget under way, and where its output belongs."""
    with tempfile.TemporaryDirectory(prefix="dragonfly-test-") as d:
        daemon = Daemon(d, script)
        out = f"{d}/out"
        if "--overwrite" in flags:
            with open(out, "w") as f:
                f.write("before")
        p = subprocess.Popen([f"{build}/dfget", "http://127.0.0.1:9/f", "-O", out, "-e", daemon.socket, "--progress=json", *flags],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            yield p, out
        finally:
            if p.poll() is None:
                p.kill()
            p.communicate()
            daemon.server.stop(0).wait(LIMIT_S)


def started():
    return api.dfdaemon.DownloadTaskResponse(
        host_id="h", task_id="t", peer_id="p",
        download_task_started_response=api.dfdaemon.DownloadTaskStartedResponse(
            content_length=len(CONTENT), pieces=[api.common.Piece(number=0, offset=0, length=len(CONTENT))]))


def finished():
    return api.dfdaemon.DownloadTaskResponse(
        host_id="h", task_id="t", peer_id="p",
        download_piece_finished_response=api.dfdaemon.DownloadPieceFinishedResponse(
            piece=api.common.Piece(number=0, offset=0, length=len(CONTENT))))


def place_early(request, content):
    with open(request.download.output_path, "wb") as f:
        f.write(content)


def test_early_output_stays_when_all_is_well(build):
    def script(request, context):
        place_early(request, CONTENT)
        yield started()
        yield finished()
    with asked(build, script) as (p, out):
        _, err = p.communicate(timeout=LIMIT_S)
        assert p.returncode == 0, err
        with open(out, "rb") as f:
            assert f.read() == CONTENT


def test_early_output_goes_when_the_download_fails(build):
    def script(request, context):
        place_early(request, bytes(100))
        yield started()
        context.abort(grpc.StatusCode.INTERNAL, "no luck")
    with asked(build, script) as (p, out):
        _, err = p.communicate(timeout=LIMIT_S)
        assert p.returncode == 1 and "no luck" in err, err
        assert not os.path.lexists(out)


def test_early_output_goes_when_the_answer_makes_no_sense(build):
    def script(request, context):
        place_early(request, bytes(100))
        yield started()
        yield api.dfdaemon.DownloadTaskResponse(host_id="h", task_id="t", peer_id="p")
    with asked(build, script) as (p, out):
        _, err = p.communicate(timeout=LIMIT_S)
        assert p.returncode == 1 and "unexpected response" in err, err
        assert not os.path.lexists(out)


def test_early_output_goes_when_dfget_is_interrupted(build):
    over = threading.Event()

    def script(request, context):
        place_early(request, bytes(100))
        yield started()
        over.wait(LIMIT_S)
    with asked(build, script) as (p, out):
        assert '"start' in p.stderr.readline()
        assert os.path.exists(out)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=LIMIT_S)
        over.set()
        assert p.returncode == 130, p.returncode
        assert not os.path.lexists(out)


def test_output_that_was_there_before_stays_when_the_download_fails(build):
    def script(request, context):
        yield started()
        context.abort(grpc.StatusCode.INTERNAL, "no luck")
    with asked(build, script, "--overwrite") as (p, out):
        _, err = p.communicate(timeout=LIMIT_S)
        assert p.returncode == 1 and "no luck" in err, err
        with open(out) as f:
            assert f.read() == "before"


def test_output_that_took_its_place_stays_when_the_download_fails(build):
    seen = threading.Event()

    def script(request, context):
        place_early(request, bytes(100))
        yield started()
        seen.wait(LIMIT_S)
        context.abort(grpc.StatusCode.INTERNAL, "no luck")
    with asked(build, script) as (p, out):
        assert '"start' in p.stderr.readline()
        with open(out + ".new", "w") as f:
            f.write("theirs")
        os.rename(out + ".new", out)
        seen.set()
        p.communicate(timeout=LIMIT_S)
        assert p.returncode == 1
        with open(out) as f:
            assert f.read() == "theirs"


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
