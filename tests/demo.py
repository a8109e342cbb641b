#!/usr/bin/python3
"""The main job, shown: an origin, a seed peer with the scheduler inside, four peers, one file asked by all four at once.

usage: demo.py BUILD_DIR. Everything runs on loopback below one temporary directory; nothing is left running."""
import hashlib
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "e2e"))
from cluster import Cluster, Origin, Timeout, sha256  # noqa: E402

PEERS = 4
SIZE = 256 << 20
ORIGIN_RATE = 50_000_000
DOWNLOAD_S = 60


class Failure(Exception):
    pass


def make_file(path):
    digest = hashlib.sha256()
    with open(path, "wb") as f:
        for _ in range(SIZE >> 20):
            block = os.urandom(1 << 20)
            f.write(block)
            digest.update(block)
    return digest.hexdigest()


def race(cluster, commands):
    """Runs them all at once; seconds of each."""
    start = time.monotonic()
    running = {}
    for i, c in enumerate(commands):
        running[i] = subprocess.Popen(c, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        cluster.children.append(running[i])
    took = {}
    while running:
        for i, p in list(running.items()):
            if p.poll() is None:
                continue
            took[i] = time.monotonic() - start
            if p.returncode != 0:
                raise Failure(f"download {i + 1} failed: {p.stderr.read().decode().strip()}")
            del running[i]
        if time.monotonic() - start > DOWNLOAD_S:
            raise Failure(f"{len(running)} downloads did not finish in {DOWNLOAD_S} s")
        time.sleep(0.005)
    return [took[i] for i in range(len(commands))]


def mb(n):
    return f"{n / 1e6:8.1f}"


def run(cluster, origin, url, digest):
    size_mb = SIZE / 1e6
    outputs = [cluster.path(f"out{i + 1}") for i in range(PEERS)]
    right = True

    before = origin.bytes()
    took = race(cluster, [p.dfget_args(url, out) for p, out in zip(cluster.peers, outputs)])
    with_p2p = origin.bytes() - before
    print("  peer     time         rate   from origin     from seed    from peers   content")
    for i, peer in enumerate(cluster.peers):
        good = sha256(outputs[i]) == digest
        right = right and good
        source = peer.metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE")
        seed = peer.metric("dragonfly_client_x_parent_bytes_total", kind="seed")
        others = peer.metric("dragonfly_client_x_parent_bytes_total", kind="peer")
        print(f"  {i + 1:>4} {took[i]:6.2f} s  {size_mb / took[i]:6.1f} MB/s {mb(source)} MB  {mb(seed)} MB  {mb(others)} MB   "
              f"{'right' if good else 'WRONG'}")
        os.unlink(outputs[i])
    print(flush=True)

    before = origin.bytes()
    alone = race(cluster, [[f"{cluster.build}/dfget", url, "-O", out, "--daemon=never", "--progress=none", "--quiet"] for out in outputs])
    without = origin.bytes() - before
    for out in outputs:
        right = sha256(out) == digest and right
        os.unlink(out)
    print("                 origin sent   last one done")
    print(f"  with P2P     {mb(with_p2p)} MB  {max(took):10.2f} s")
    print(f"  without      {mb(without)} MB  {max(alone):10.2f} s")
    print(f"  the file x {PEERS} {mb(SIZE * PEERS)} MB\n")
    if not right:
        raise Failure("some content is wrong")
    if with_p2p > SIZE * 1.02:
        raise Failure(f"the origin sent {with_p2p / SIZE:.2f} times the file")
    print(f"The origin was read {with_p2p / SIZE:.3f} times for {PEERS} downloads; all contents are right.")


def stopped(*_):
    raise Failure("stopped")


def main():
    if len(sys.argv) != 2:
        print("usage: demo.py BUILD_DIR", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, stopped)
    print(f"One file of {SIZE >> 20} MiB ({SIZE / 1e6:.0f} MB), an origin that gives {ORIGIN_RATE / 1e6:.0f} MB/s in all, "
          f"a seed peer with the scheduler inside, {PEERS} peers asking at once.\n", flush=True)
    try:
        with Cluster(sys.argv[1], peers=PEERS) as cluster:
            files = cluster.path("files")
            os.mkdir(files)
            digest = make_file(os.path.join(files, "image.bin"))
            origin = Origin(cluster.build, directory=files, rate=ORIGIN_RATE)
            try:
                run(cluster, origin, origin.url("/image.bin"), digest)
            except Failure:
                for p in cluster.all:
                    print(f"--- {p.name}\n{p.log()[-2000:]}", file=sys.stderr)
                raise
            finally:
                origin.stop()
        return 0
    except (Failure, Timeout) as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
