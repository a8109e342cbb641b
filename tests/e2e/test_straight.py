#!/usr/bin/python3
"""The straight path: one seed, two peers, one file asked of both at about the same moment, again and again. The origin is read once,
the bytes are right, the peers help each other, nobody complains.

usage: test_straight.py BUILD_DIR [TEST...]. BIG=1: the full size. E2E_ASAN_BUILD=DIR: the same with a build that has the address sanitizer."""
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, Origin, finish, make_file, merge, run_tests, sha256  # noqa: E402

BIG = os.environ.get("BIG", "") not in ("", "0")
# Slow enough that the peers have time to get pieces from each other, as with a distant origin.
ORIGIN_S = 4.0 if BIG else 1.2
# Of one download; far beyond what it needs on a machine that does other things too.
LIMIT_S = 120


def both_at_once(build, size, offset_s, first=0):
    # The seed's uplink is no faster: were it without limit, nobody would need to ask anybody else.
    with Cluster(build, peers=2, start=False) as c:
        merge(c.seed.config, {"upload": {"bandwidthLimit": f"{int(size / ORIGIN_S)}B"}})
        c.start()
        files = c.path("files")
        os.mkdir(files)
        digest = make_file(os.path.join(files, "big"), size)
        origin = Origin(os.environ.get("E2E_ORIGIN_BUILD", build), directory=files, rate=int(size / ORIGIN_S))
        try:
            order = [c.peers[first], c.peers[1 - first]]
            running = [order[0].dfget_start(origin.url("/big"), c.path(order[0].name + ".out"))]
            time.sleep(offset_s)
            running.append(order[1].dfget_start(origin.url("/big"), c.path(order[1].name + ".out")))
            for peer, process in zip(order, running):
                code, err = finish(process, LIMIT_S, f"dfget at {peer.name}")
                assert code == 0 and err == "", f"{peer.name}: {code} {err}"
                assert sha256(c.path(peer.name + ".out")) == digest, f"{peer.name}: wrong bytes"
            sent = origin.bytes()
            assert sent <= size * 1.02, f"the origin sent {sent / size:.3f} times the file"
            from_peers = [p.metric("dragonfly_client_x_parent_bytes_total", kind="peer") for p in c.peers]
            for peer in c.peers:
                assert peer.metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE") == 0, f"{peer.name} asked the origin"
            for peer in c.all:
                assert peer.stop() == 0, f"{peer.name} ended badly:\n{peer.log()[-2000:]}"
                complaints = peer.log_lines("WARN", "ERROR")
                assert not complaints, f"{peer.name}: {complaints}"
                assert "Sanitizer" not in peer.log(), peer.log()[-4000:]
            return from_peers
        finally:
            origin.stop()


def repeat(build, size, times):
    """What each peer got from the other, in all runs together. With a large file that is something in every run; a small one may come and go
    on a busy machine before a peer has anything to give."""
    total = [0, 0]
    for i in range(times):
        # The first time at the same moment.
        offset_s = random.uniform(0, 0.5 if BIG else 0.2) if i else 0
        from_peers = both_at_once(build, size, offset_s, i % 2)
        print(f"   offset {offset_s * 1000:3.0f} ms: from each other {from_peers[0] / 1e6:.1f} and {from_peers[1] / 1e6:.1f} MB", flush=True)
        assert all(from_peers) or size < 1 << 30, f"offset {offset_s:.3f} s: a peer got nothing from the other"
        total = [a + b for a, b in zip(total, from_peers)]
    return total


def test_two_peers_at_the_same_moment(build):
    total = repeat(build, 1 << 30 if BIG else 128 << 20, 20 if BIG else 3)
    assert all(total), f"a peer got nothing from the other in all runs: {total}"


def test_the_same_without_leaks(build):
    asan = os.environ.get("E2E_ASAN_BUILD")
    if not asan:
        print("   skipped: E2E_ASAN_BUILD names no build")
        return
    linked = subprocess.run([os.path.join(asan, "dfdaemon"), "--version"], capture_output=True, check=True, timeout=10)
    assert linked.returncode == 0
    with open(os.path.join(asan, "dfdaemon"), "rb") as f:
        assert b"__asan_init" in f.read(), f"{asan} has no address sanitizer"
    os.environ["E2E_ORIGIN_BUILD"] = build
    try:
        repeat(asan, 48 << 20, 2)
    finally:
        del os.environ["E2E_ORIGIN_BUILD"]


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
