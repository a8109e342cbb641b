"""Both makes under mutual TLS: gRPC with certificates everywhere, pieces over TLS among ours and in plaintext where another make takes part."""
import collections
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import cluster  # noqa: E402
from lab import Lab, directions  # noqa: E402
from tls_support import Authority, keys, under_tls  # noqa: E402

PEERS = ("ours-a", "ours-b", "ours-c", "real-a", "real-b", "real-c")


def certificates(directory):
    ca = Authority(directory)
    return ca, ca.leaf("member")


def add(case):
    def one(run, go, seed, total):
        with cluster.tempfile.TemporaryDirectory() as home:
            ca, pair = certificates(home)
            tls = keys(ca, pair)
            with Lab(run.programs, (seed, *PEERS), go=go, config=under_tls(ca, pair),
                     scheduler_config={"server": {"tls": tls}, "seedPeer": {"tls": tls}}) as lab:
                for _ in range(3):
                    url, digest = run.content()
                    run.fetch(lab, lab.peers, url, digest)
                    assert run.origin_times() <= 1.05, f"origin read {run.origin_times():.2f} times"
                total.update(directions(lab))
                ours = [p for p in lab.all if not p.is_real]
                for p in ours:
                    lines = [line for line in p.complaints() if "pieces in plaintext peer=" in line]
                    addresses = [line.split("peer=")[1] for line in lines if "parent sends" in line]
                    assert len(addresses) == len(set(addresses)), f"{p.name}: warned more than once: {lines}"
                    assert not [a for a in addresses for q in ours if a.endswith(f":{q.upload_port}")], f"{p.name}: plaintext among ours: {lines}"

    def mixed(run, go):
        """Under a seed of either make: who is asked is the scheduler's choice, all four directions come together over both."""
        total = collections.Counter()
        for seed in ("ours-seed", "real-seed"):
            one(run, go, seed, total)
        print("   " + ", ".join(f"{a}->{b} {n}" for (a, b), n in sorted(total.items())), flush=True)
        for parent in ("ours", "real"):
            for child in ("ours", "real"):
                assert total[parent, child] > 0, f"no piece from {parent} to {child}: {total}"

    @case("dfdaemon")
    def tls_ours_scheduler_mixed(run):
        mixed(run, False)

    @case("scheduler", "dfdaemon")
    def tls_go_mixed(run):
        mixed(run, True)

    @case("dfdaemon")
    def tls_required_keeps_real_parents_out(run):
        with cluster.tempfile.TemporaryDirectory() as home:
            ca, pair = certificates(home)
            with Lab(run.programs, ("ours-seed", "ours-a", "real-a"), config=under_tls(ca, pair)) as lab:
                ours, real = lab.named("ours-a"), lab.named("real-a")
                url, digest = run.content()
                run.fetch(lab, [real], url, digest)
                ours.stop()
                cluster.merge(ours.config, {"x": {"piece": {"tls": "require"}}})
                ours.start()
                run.fetch(lab, [ours], url, digest)
                assert ours.parents()["real"] == 0, ours.parents()
                if f"127.0.0.1:{real.upload_port}" in ours.log():
                    assert f"127.0.0.1:{real.upload_port} sends pieces in plaintext (x.piece.tls is require)" in ours.log()
