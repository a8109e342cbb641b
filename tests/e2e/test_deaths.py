#!/usr/bin/python3
"""Something dies, lies or stops in the middle of a download. The others end with the right bytes; who cannot gets an error that names the
cause and the address, in time. Every wait has an end.

usage: test_deaths.py BUILD_DIR [TEST...]"""
import contextlib
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import PATIENCE_S, Cluster, Origin, finish, make_file, merge, run_tests, sha256, wait_for  # noqa: E402

MIB = 1 << 20
PIECE = 4 * MIB
SIZE = 48 * MIB
# The origin, or the uplink of a parent, so that a download takes a second and a half.
RATE = 32 * MIB
LIMIT_S = 90        # of one dfget; the timeouts below are far shorter
# Silence of an origin or a parent is an error after this.
IMPATIENT = {"download": {"pieceTimeout": "2s", "collectedPieceTimeout": "2s"}}
TRAFFIC = "dragonfly_client_download_traffic"


class World:
    def __init__(self, cluster, rate):
        self.cluster = cluster
        files = cluster.path("files")
        os.mkdir(files)
        self.digest = make_file(os.path.join(files, "big"), SIZE)
        self.origin = Origin(cluster.build, directory=files, rate=rate)

    def url(self, switches=""):
        return self.origin.url("/big" + ("?" + switches if switches else ""))

    def output(self, peer):
        return self.cluster.path(peer.name + ".out")

    def start(self, peer, switches="", *flags):
        return peer.dfget_start(self.url(switches), self.output(peer), *flags)

    def right(self, process, peer):
        code, err = finish(process, LIMIT_S, f"dfget at {peer.name}")
        assert code == 0, f"{peer.name}: {code} {err}\n{peer.log()[-3000:]}"
        assert sha256(self.output(peer)) == self.digest, f"{peer.name}: wrong bytes"

    def wrong(self, process, peer, *texts):
        """It fails in time, says why, and leaves nothing behind."""
        code, err = finish(process, LIMIT_S, f"dfget at {peer.name}")
        assert code == 1, f"{peer.name}: exit code {code} {err} {process.args}"
        for text in texts:
            assert re.search(text, err), f"{peer.name}: no {text!r} in {err}"
        assert not os.path.exists(self.output(peer)), f"{peer.name}: an output is left"
        return err

    def address(self):
        return f"127.0.0.1:{self.origin.port}"


@contextlib.contextmanager
def world(build, rate=RATE, prepare=None, **kw):
    with Cluster(build, start=False, **kw) as c:
        for p in c.all:
            if prepare:
                prepare(p)
        c.start()
        w = World(c, rate)
        try:
            yield w
        finally:
            w.origin.stop(signal.SIGKILL)


def got(peer, kind=None):
    """Bytes that a daemon has taken from somewhere else."""
    if kind:
        return peer.metric(TRAFFIC, type=kind)
    return peer.metric(TRAFFIC, type="REMOTE_PEER") + peer.metric(TRAFFIC, type="BACK_TO_SOURCE")


def wait_middle(peer, least=PIECE):
    wait_for(lambda: got(peer) >= least, 20, f"{peer.name} is in the middle")
    assert got(peer) < SIZE, f"{peer.name} was too quick"


@contextlib.contextmanager
def parent_and_child(build):
    """No seed. The scheduler is on a daemon that downloads nothing; `parent` has the file and a slow uplink; `child` has begun."""
    def prepare(p):
        merge(p.config, IMPATIENT)
        if p.name == "peer2":
            merge(p.config, {"upload": {"bandwidthLimit": f"{RATE // 2}B"}})

    with world(build, rate=0, prepare=prepare, peers=3, seed=False) as w:
        _, parent, child = w.cluster.all
        w.right(w.start(parent), parent)
        w.origin.reset()
        process = w.start(child)
        wait_middle(child)
        assert got(child, "REMOTE_PEER") > 0
        yield w, parent, child, process


# ---- peers and schedulers ----

def test_the_parent_is_killed(build):
    with parent_and_child(build) as (w, parent, child, process):
        parent.kill()
        w.right(process, child)
        assert 0 < w.origin.bytes() < SIZE, "only what was missing comes from the origin"


def test_the_parent_is_stopped(build):
    with parent_and_child(build) as (w, parent, child, process):
        os.kill(parent.process.pid, signal.SIGSTOP)
        begin = time.monotonic()
        w.right(process, child)
        assert time.monotonic() - begin < PATIENCE_S
        assert w.origin.bytes() < SIZE


def test_the_parent_ends_in_the_middle_of_an_upload(build):
    with parent_and_child(build) as (w, parent, child, process):
        begin = time.monotonic()
        code = parent.stop(signal.SIGTERM)
        assert code == 0, f"{code}\n{parent.log()[-2000:]}"
        assert time.monotonic() - begin < PATIENCE_S
        w.right(process, child)


def test_one_of_several_parents_is_killed(build):
    with world(build, peers=4) as w:
        running = [w.start(p) for p in w.cluster.peers]
        victim = w.cluster.peers[0]
        wait_middle(victim)
        victim.kill()
        for p, process in zip(w.cluster.peers[1:], running[1:]):
            w.right(process, p)
        code, err = finish(running[0], LIMIT_S, "dfget of the dead daemon")
        assert code == 1 and err, "the dfget of the dead daemon says so"
        assert not os.path.exists(w.output(victim))
        assert w.origin.bytes() <= SIZE * 1.02, w.origin.bytes()


def test_the_seed_is_killed(build):
    """With it the scheduler, which it carries."""
    with world(build, prepare=lambda p: merge(p.config, IMPATIENT)) as w:
        running = [w.start(p) for p in w.cluster.peers]
        for p in w.cluster.peers:
            wait_middle(p)
        w.cluster.seed.kill()
        for p, process in zip(w.cluster.peers, running):
            w.right(process, p)
        assert w.origin.bytes() <= 3 * SIZE


def test_the_seed_alone_is_killed(build):
    """The scheduler, on another daemon, lives on."""
    def prepare(p):
        merge(p.config, IMPATIENT)
        if p.name == "peer2":
            merge(p.config, {"seedPeer": {"enable": True}})

    with world(build, prepare=prepare, peers=4, seed=False) as w:
        _, seed, *peers = w.cluster.all
        running = [w.start(p) for p in peers]
        for p in peers:
            wait_middle(p)
        assert got(seed, "BACK_TO_SOURCE") > 0, "the seed asked the origin"
        seed.kill()
        for p, process in zip(peers, running):
            w.right(process, p)
        assert w.origin.bytes() <= 3 * SIZE


def test_the_scheduler_is_killed_and_comes_back(build):
    with world(build, peers=3, seed=False) as w:
        scheduler, *peers = w.cluster.all
        running = [w.start(p) for p in peers]
        for p in peers:
            wait_middle(p)
        scheduler.kill()
        time.sleep(0.3)
        scheduler.start()
        for p, process in zip(peers, running):
            w.right(process, p)
        # And it is of use again.
        w.cluster.wait_announced()
        before = w.origin.bytes()
        for p in peers:
            os.unlink(w.output(p))
        running = [w.start(p, "again") for p in peers]
        for p, process in zip(peers, running):
            w.right(process, p)
        assert w.origin.bytes() - before <= SIZE * 1.02, "the origin is read once again"


def test_the_scheduler_is_gone(build):
    with world(build, rate=0, peers=2, seed=False) as w:
        scheduler, peer = w.cluster.all
        scheduler.kill()
        w.right(w.start(peer), peer)
        os.unlink(w.output(peer))
        w.wrong(w.start(peer, "other", "--disable-back-to-source"), peer, "Message: .+")


# ---- origins ----

def test_the_origin_cuts_once(build):
    with world(build, rate=0) as w:
        for switch in ("cut", "reset"):
            running = [w.start(p, f"{switch}={MIB}&until=5", "--overwrite") for p in w.cluster.peers]
            for p, process in zip(w.cluster.peers, running):
                w.right(process, p)


def test_the_origin_stalls_once(build):
    with world(build, rate=0, prepare=lambda p: merge(p.config, IMPATIENT)) as w:
        running = [w.start(p, f"stall={MIB}&until=5") for p in w.cluster.peers]
        for p, process in zip(w.cluster.peers, running):
            w.right(process, p)


def test_origins_that_never_give_the_content(build):
    """All at once, since each takes its time; of both peers, so that the seed and the scheduler have their say."""
    cases = (("cut=1000", "."), ("reset=1000", "."), ("stall=1000", "ime|received"), ("hang", "ime|received"), ("status=500", "500"),
             ("fail=99&status=503", "503"))
    with world(build, rate=0, prepare=lambda p: merge(p.config, IMPATIENT)) as w:
        running = []
        for n, (switch, text) in enumerate(cases):
            for p in w.cluster.peers:
                output = w.cluster.path(f"never{n}{p.name}")
                running.append((switch, text, p, output, p.dfget_start(w.url(switch), output)))
        for switch, text, p, output, process in running:
            code, err = finish(process, LIMIT_S, f"dfget at {p.name} of {switch}")
            assert code == 1 and "Downloading Failed!" in err, f"{switch} at {p.name}: {code} {err}"
            message = re.search("Message: (.+)", err)
            assert message and re.search(text, err), f"{switch} at {p.name}: no {text!r} in {err}"
            # What the origin itself said is shown as such; of all else the address is told.
            if not re.search("Bad Status Code: 50[03]", err):
                assert w.address() in err, f"{switch} at {p.name}: no address in {err}"
            assert not os.path.exists(output), switch


def test_an_origin_that_lies(build):
    """The bytes are right or there are none."""
    with world(build, rate=0, prepare=lambda p: merge(p.config, IMPATIENT)) as w:
        for lie in ("lie=1000", "lie=-1000", f"lie={PIECE}", "wrongrange"):
            running = [w.start(p, lie) for p in w.cluster.peers]
            for p, process in zip(w.cluster.peers, running):
                code, err = finish(process, LIMIT_S, f"dfget at {p.name}")
                if code == 0:
                    assert sha256(w.output(p)) == w.digest, f"{lie} at {p.name}: wrong bytes"
                    os.unlink(w.output(p))
                else:
                    assert re.search("Message: .+", err), f"{lie} at {p.name}: {err}"
                    assert not os.path.exists(w.output(p))


class HalfOrigin(http.server.ThreadingHTTPServer):
    """Gives half of the content, then only status 500."""
    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), HalfHandler)
        self.content = content
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()


class HalfHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, has_body):
        content = self.server.content
        asked = re.match(r"bytes=(\d+)-(\d+)$", self.headers.get("Range", ""))
        first, last = (int(asked[1]), min(int(asked[2]), len(content) - 1)) if asked else (0, len(content) - 1)
        if has_body and first >= len(content) // 2:
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if asked else 200)
        self.send_header("ETag", '"half"')
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        if has_body:
            with contextlib.suppress(OSError):
                self.wfile.write(content[first:last + 1])


def test_the_origin_fails_after_half(build):
    with Cluster(build) as c, HalfOrigin(os.urandom(10 * PIECE)) as origin:
        url = f"http://127.0.0.1:{origin.server_port}/f"
        outputs = [c.path(p.name + ".out") for p in c.peers]
        running = [p.dfget_start(url, o) for p, o in zip(c.peers, outputs)]
        for p, o, process in zip(c.peers, outputs, running):
            code, err = finish(process, LIMIT_S, f"dfget at {p.name}")
            assert code == 1 and "500" in err, f"{p.name}: {code} {err}"
            assert not os.path.exists(o)
        # Half of it is there, and for who wants no more it is enough.
        code, err = c.peers[0].dfget(url, c.path("part"), "--range", f"0-{PIECE - 1}")
        assert code == 0, err
        with open(c.path("part"), "rb") as f:
            assert f.read() == origin.content[:PIECE]


def test_the_origin_dies(build):
    with world(build, rate=RATE) as w:
        running = [w.start(p) for p in w.cluster.peers]
        for p in w.cluster.peers:
            wait_middle(p)
        w.origin.stop(signal.SIGKILL)
        for p, process in zip(w.cluster.peers, running):
            w.wrong(process, p, w.address(), "onnection refused|reset|closed")


def test_the_origin_changes_its_content(build):
    """After the peer and the seed have asked for it, with most of the pieces still to come. Who asked later would see the new content alone."""
    with world(build, rate=0) as w:
        peer = w.cluster.peers[0]
        w.wrong(w.start(peer, "etag=one&etagafter=4"), peer, "source changed while it was downloaded: the ETag", w.address())


# ---- dfget ----

def test_dfget_is_interrupted(build):
    with world(build, rate=RATE // 2) as w:
        peer = w.cluster.peers[0]
        for name in ("seed", "peer1"):
            assert name in [p.name for p in w.cluster.all]
        first = peer.dfget_start(w.url(), w.cluster.path("first"), "--transfer-from-dfdaemon")
        second = w.start(peer)
        wait_middle(peer)
        first.send_signal(signal.SIGINT)
        code, err = finish(first, PATIENCE_S, "the interrupted dfget")
        assert code == 130, f"{code} {err}"
        left = [f for f in os.listdir(w.cluster.dir) if f.startswith((".first", "first"))]
        assert not left, left
        w.right(second, peer)
        assert w.origin.bytes() <= SIZE * 1.02

        # Alone, it takes the daemon's download with it.
        before = got(peer)
        alone = peer.dfget_start(w.url("alone"), w.cluster.path("alone"))
        wait_for(lambda: got(peer) > before, 20, "the download is in the middle")
        assert peer.metric("dragonfly_client_x_tasks_active") == 1
        alone.send_signal(signal.SIGINT)
        code, err = finish(alone, 5, "the interrupted dfget")
        assert code == 130 and not os.path.exists(w.cluster.path("alone")), f"{code} {err}"
        wait_for(lambda: peer.metric("dragonfly_client_x_tasks_active") == 0, 10, "the daemon has cancelled")
        assert got(peer) - before < SIZE

        # And what it left does not disturb the next.
        code, err = peer.dfget(w.url("alone"), w.cluster.path("alone"))
        assert code == 0 and sha256(w.cluster.path("alone")) == w.digest, err


# ---- disks ----

@contextlib.contextmanager
def small_disk(size):
    """A file system of its own; None where that is not allowed."""
    directory = tempfile.mkdtemp(prefix="dragonfly-disk-")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", directory], stderr=subprocess.DEVNULL).returncode == 0
    try:
        yield directory if made else None
    finally:
        if made:
            subprocess.run(["umount", "-l", directory], check=True)
        shutil.rmtree(directory)


@contextlib.contextmanager
def world_with_a_small_disk(build, size):
    """(world, peer, the other peer, whose store is on a disk of that size); None where that is not allowed."""
    with small_disk(size) as disk:
        if disk is None:
            print("   skipped: mount is not allowed")
            yield None
            return

        def prepare(p):
            if p.name == "peer2":
                p.store = os.path.join(disk, "store")
                merge(p.config, {"storage": {"dir": p.store}})

        with world(build, prepare=prepare) as w:
            yield w, *w.cluster.peers


def test_the_disk_of_one_peer_is_full(build):
    with world_with_a_small_disk(build, 24 * MIB) as made:
        if made is None:
            return
        w, roomy, full = made
        running = [w.start(p) for p in (roomy, full)]
        w.wrong(running[1], full, "(?i)no space left|not enough space", "peer2|127.0.0.1|store|content_length")
        w.right(running[0], roomy)
        # It still does what fits.
        code, err = full.dfget(w.url("small"), w.cluster.path("part"), "--range", "0-999")
        assert code in (0, 1), err


def test_the_disk_fills_up_in_the_middle(build):
    with world_with_a_small_disk(build, 64 * MIB) as made:
        if made is None:
            return
        w, roomy, full = made
        running = [w.start(p) for p in (roomy, full)]
        wait_middle(full)
        with contextlib.suppress(OSError), open(os.path.join(os.path.dirname(full.store), "other"), "wb") as f:
            for _ in range(64):
                f.write(bytes(MIB))
                f.flush()
        w.right(running[0], roomy)
        code, err = finish(running[1], LIMIT_S, "dfget at the full disk")
        # What was set aside for the task is its own; where nothing could be, the error is clear.
        if code == 0:
            assert sha256(w.output(full)) == w.digest
        else:
            assert re.search("(?i)no space left", err), err
            assert not os.path.exists(w.output(full))
        assert full.process.poll() is None, full.log()[-2000:]


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
