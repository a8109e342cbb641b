"""dfget downloads directories that the daemon lists: a daemon of another make, played by grpcio, since ours has no object stores.
usage: SCRIPT BUILD_DIR [NAME...]"""
import concurrent.futures
import os
import signal
import subprocess
import sys
import tempfile
import threading

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grpc_support as g  # noqa: E402
from cluster import run_tests, wait_for  # noqa: E402

LIMIT_S = 60

api = g.Api()


class Daemon:
    """Holds s3://b/p/: `files` by their keys below it. `listed` adds entries to the listing; the calls are in `asked` and `got`."""

    def __init__(self, files, listed=(), hold=None):
        self.dir = tempfile.TemporaryDirectory(prefix="dragonfly-test-")
        self.out = os.path.join(self.dir.name, "out")
        os.mkdir(self.out)
        self.files, self.listed, self.hold = files, list(listed), hold
        self.asked, self.got, self.at_once, self.most = [], [], 0, 0
        self.lock = threading.Lock()
        self.socket = f"{self.dir.name}/sock"
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
        self.server.add_generic_rpc_handlers([api.handler("dfdaemon.v2.DfdaemonDownload", {"DownloadTask": self.download, "ListTaskEntries": self.list})])
        self.server.add_insecure_port("unix:" + self.socket)
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.server.stop(0).wait(LIMIT_S)
        self.dir.cleanup()

    def list(self, request, context):
        self.asked.append(request)
        Entry = api.dfdaemon.Entry
        below = request.url
        entries = [Entry(url=f"s3://b/p/{k}", content_length=len(v)) for k, v in self.files.items() if f"s3://b/p/{k}".startswith(below)]
        if below == "s3://b/p/":
            entries += [Entry(url=u, content_length=1, is_dir=u.endswith("/")) for u in self.listed]
        return api.dfdaemon.ListTaskEntriesResponse(content_length=0, entries=entries)

    def download(self, request, context):
        d = request.download
        key = d.url.removeprefix("s3://b/p/")
        with self.lock:
            self.got.append(d)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        try:
            if key not in self.files:
                context.abort(grpc.StatusCode.INTERNAL, f"no {key} here")
            content = self.files[key]
            if self.hold is not None:
                self.hold(self, key, context)
            with open(d.output_path, "wb") as f:
                f.write(content)
            piece = api.common.Piece(number=0, offset=0, length=len(content))
            answer = api.dfdaemon.DownloadTaskResponse
            yield answer(host_id="h", task_id="t", peer_id="p", download_task_started_response=api.dfdaemon.DownloadTaskStartedResponse(
                content_length=len(content), pieces=[piece]))
            yield answer(host_id="h", task_id="t", peer_id="p", download_piece_finished_response=api.dfdaemon.DownloadPieceFinishedResponse(piece=piece))
        finally:
            with self.lock:
                self.at_once -= 1

    def args(self, build, url="s3://b/p/", *flags):
        return [f"{build}/dfget", url, "-O", self.out, "-e", self.socket, "--storage-access-key-id", "k", "--storage-access-key-secret", "SECRET", *flags]

    def run(self, build, url="s3://b/p/", *flags):
        p = subprocess.run(self.args(build, url, *flags), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S)
        assert "SECRET" not in p.stdout + p.stderr
        return p.returncode, p.stderr

    def tree(self):
        found = {}
        for path, dirs, files in os.walk(self.out):
            for name in files:
                with open(os.path.join(path, name), "rb") as f:
                    found[os.path.relpath(os.path.join(path, name), self.out)] = f.read()
            for name in dirs:
                found.setdefault(os.path.relpath(os.path.join(path, name), self.out) + "/", None)
        return found


FILES = {"a": b"AA", "s/b": b"BBB", "s/t/c.txt": b"C", "d%20e.txt": b"blank"}


def test_all_files_come_with_their_directories(build):
    with Daemon(FILES, listed=["s3://b/p/", "s3://b/p/empty/", "s3://b/p/a"]) as d:
        code, err = d.run(build, "s3://b/p", "-r", "--tag", "T")
        assert (code, err) == (0, ""), err
        assert d.tree() == {"a": b"AA", "s/": None, "s/b": b"BBB", "s/t/": None, "s/t/c.txt": b"C", "d e.txt": b"blank", "empty/": None}, d.tree()
        assert [r.url for r in d.asked] == ["s3://b/p/"] and d.asked[0].object_storage.access_key_secret == "SECRET"
        assert sorted(x.url for x in d.got) == sorted(f"s3://b/p/{k}" for k in FILES)
        assert all(x.tag == "T" and x.object_storage.access_key_id == "k" for x in d.got)


def test_include_files(build):
    for values, want in ((["s/b"], {"s/b"}), (["s/"], {"s/b", "s/t/c.txt"}), (["*.txt"], {"d e.txt"}), (["**/*.txt"], {"d e.txt", "s/t/c.txt"}),
                         (["s/*"], {"s/b"}), (["?", "s/t/[a-c].txt"], {"a", "s/t/c.txt"}), (["**"], {"a", "s/b", "s/t/c.txt", "d e.txt"}),
                         (["[!a]*"], {"d e.txt"}), (["s/**/"], {"s/b", "s/t/c.txt"}), (["d e.txt"], {"d e.txt"})):
        with Daemon(FILES) as d:
            code, err = d.run(build, "s3://b/p/", *[f"-I{v}" for v in values])
            assert code == 0, (values, err)
            assert {k for k in d.tree() if not k.endswith("/")} == want, (values, d.tree())
    with Daemon(FILES) as d:
        code, err = d.run(build, "s3://b/p/", "-I", "none/*")
        assert code == 1 and "no entries found in directory s3://b/p/" in err, err


def test_what_is_found_first_stops_it_before_anything_is_made(build):
    with Daemon(FILES) as d:
        code, err = d.run(build, "s3://b/p/", "--max-files", "3")
        assert code == 1 and "exceeded the maximum download limit of 4 files. Use --max-files to increase this limit" in err, err
        assert d.tree() == {} and d.got == []
        with open(f"{d.out}/a", "w") as f:
            f.write("mine")
        code, err = d.run(build)
        assert code == 1 and f"output path {d.out}/a is already exists" in err and d.tree() == {"a": b"mine"}, err
        code, err = d.run(build, "s3://b/p/", "--overwrite")
        assert code == 0 and d.tree()["a"] == b"AA", err
    with Daemon({}) as d:
        code, err = d.run(build)
        assert code == 1 and "no entries found in directory s3://b/p/" in err, err


def test_entries_that_lead_elsewhere(build):
    for bad in ("s3://b/p/..%2f..%2fetc%2fx", "s3://b/p/%2e%2e%2fx", "s3://b/q/x", "s3://c/p/x", "s3://b/p/a%00b", "s3://b/p/x//y", "http://b/p/x", "junk"):
        with Daemon(FILES, listed=[bad]) as d:
            code, err = d.run(build)
            assert code == 1 and ("unsafe entry path" in err or "ParseError cause" in err), (bad, err)
            assert d.tree() == {} and d.got == [], bad
    # A link in the output directory is not followed.
    with Daemon(FILES) as d:
        os.mkdir(f"{d.dir.name}/elsewhere")
        os.symlink(f"{d.dir.name}/elsewhere", f"{d.out}/s")
        code, err = d.run(build)
        assert code == 1 and "make directory s of" in err and os.listdir(f"{d.dir.name}/elsewhere") == [], err


def test_files_at_once_and_the_first_failure(build):
    gate = threading.Barrier(3)
    with Daemon({f"f{i}": b"x" for i in range(6)}, hold=lambda d, key, context: gate.wait(LIMIT_S)) as d:
        code, err = d.run(build, "s3://b/p/", "--max-concurrent-requests", "3")
        assert code == 0 and len(d.tree()) == 6 and d.most == 3, (err, d.most)
    # One that fails ends those under way, and no further one begins.
    begun = threading.Event()

    def hold(d, key, context):
        if key == "f0":
            assert begun.wait(LIMIT_S)
            context.abort(grpc.StatusCode.INTERNAL, "no luck")
        begun.set()
        over = threading.Event()
        context.add_callback(over.set)
        assert over.wait(LIMIT_S), "the other was not cancelled"
        raise RuntimeError("cancelled")
    with Daemon({f"f{i}": b"x" for i in range(4)}, hold=hold) as d:
        code, err = d.run(build, "s3://b/p/", "--max-concurrent-requests", "2")
        assert code == 1 and "no luck" in err and len(d.got) == 2 and d.tree() == {}, (err, len(d.got))


def test_the_others_go_on_when_asked_to(build):
    with Daemon({"a": b"x", "c": b"z"}, listed=["s3://b/p/b"]) as d:
        code, err = d.run(build, "s3://b/p/", "--continue-on-error", "--max-concurrent-requests", "1")
        assert code == 1 and err.count("no b here") == 1 and d.tree() == {"a": b"x", "c": b"z"}, (err, d.tree())


def test_signals_end_all(build):
    def hold(d, key, context):
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(LIMIT_S)
        raise RuntimeError("cancelled")
    with Daemon({"a": b"x", "b": b"y"}, hold=hold) as d:
        p = subprocess.Popen(d.args(build), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            wait_for(lambda: len(d.got) == 2, LIMIT_S, "both are asked for")
            p.send_signal(signal.SIGTERM)
            p.communicate(timeout=LIMIT_S)
            assert p.returncode == 143, p.returncode
            wait_for(lambda: d.at_once == 0, LIMIT_S, "both were cancelled")
        finally:
            if p.poll() is None:
                p.kill()
                p.communicate()


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
