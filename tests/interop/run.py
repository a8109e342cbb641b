#!/usr/bin/env python3
"""Our peers beside the real programs of Dragonfly, on loopback.
    tests/interop/run.py BUILD_DIR [SCHEDULER [MANAGER [DFDAEMON [DFGET]]]] [--size MIB] [--rounds N] [--only NAME[,NAME]]
The paths are those of the real programs; "" for one that is not here: what needs it is skipped and named. Every case checks the bytes,
that the origin was read once, where the pieces came from by the counts of both makes, and the WARN and ERROR lines of both."""
import argparse
import collections
import functools
import os
import re
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cases_cache  # noqa: E402
import cases_directory  # noqa: E402
import cases_restart  # noqa: E402
import cases_tls  # noqa: E402
from lab import ANSI, Lab, Programs, complaints, directions, traffic  # noqa: E402
import cluster  # noqa: E402
import managed  # noqa: E402
from cluster import Origin, sha256, wait_for  # noqa: E402

DOWNLOAD_S = 240
DFGET_S = 40
REAL_ANNOUNCE_S = 20    # the peers' announceInterval is 5 s
SEEDS_KNOWN_S = 34      # the Go scheduler looks for seed peers every 30 s
MIB = 1 << 20


# Lines that real programs write among themselves too, seen in runs without any of ours, but not in every run.
USUAL = (
    "fall back to grpc downloader", # a real child that prefers QUIC, at a parent that has none
    "to stream: channel closed",    # a real child ends SyncPieces when it has heard of all pieces; its real parent then cannot write
)


class Skipped(Exception):
    pass


CASES = []


def case(*needs):
    def add(f):
        @functools.wraps(f)
        def run(run_):
            missing = run_.programs.missing(*needs)
            if missing:
                raise Skipped("no " + ", ".join(missing))
            return f(run_)
        CASES.append(run)
        return run
    return add


class Run:
    """What the cases share: programs, the origin, and the lines that real programs write even among themselves."""

    def __init__(self, programs, size, rounds):
        self.programs = programs
        self.size = size
        self.rounds = rounds
        self.origin = Origin(programs.build)
        self.usual = collections.defaultdict(set)
        self.count = 0

    def content(self, size=None):
        """A new URL and the digest of its content; the origin's counts start from 0."""
        self.count += 1
        url = self.origin.url(f"/gen/{size or self.size}/{self.count}/f")
        digest = cluster.hashlib.sha256(cluster.http_get(url, 60)).hexdigest()
        self.origin.reset()
        return url, digest

    def dfget(self, lab, peer, url, output, *flags):
        """Starts the dfget of the peer's make."""
        if not peer.is_real or not self.programs.dfget:
            return peer.dfget_start(url, output, *flags)
        p = subprocess.Popen([self.programs.dfget, url, "-O", output, "--endpoint", peer.socket, "--no-progress", *flags],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        lab.children.append(p)
        return p

    def begin(self, lab, peers, url):
        """All peers at once: (peer, output, process of dfget) of each."""
        outputs = [lab.path(f"out-{p.name}-{self.count}") for p in peers]
        return [(p, out, self.dfget(lab, p, url, out)) for p, out in zip(peers, outputs)]

    def all_right(self, started, digest):
        for peer, out, process in started:
            finish_ok(process, peer.name)
            assert sha256(out) == digest, f"{peer.name}: wrong bytes"
            os.unlink(out)

    def fetch(self, lab, peers, url, digest):
        """All peers at once; the seconds it took."""
        begin = time.monotonic()
        self.all_right(self.begin(lab, peers, url), digest)
        return time.monotonic() - begin

    def origin_times(self, size=None):
        return self.origin.bytes() / (size or self.size)


def finish_ok(process, name):
    try:
        out, err = process.communicate(timeout=DOWNLOAD_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise cluster.Timeout(f"dfget at {name}: not within {DOWNLOAD_S} s")
    assert process.returncode == 0, f"dfget at {name}: {process.returncode} {(err or out).decode(errors='replace')}"


def judge(run, lab, seconds, times, usual=False):
    """Prints what was measured; checks counts and lines. usual=True: real programs alone, which tells what they always write."""
    went, bytes_ = directions(lab), traffic(lab)
    print(f"    {seconds:.2f} s, origin read {times:.3f} times, pieces " +
          ", ".join(f"{a}->{b} {n}" for (a, b), n in sorted(went.items()) if n), flush=True)
    print("    MiB " + ", ".join(f"{make} {kind} {n / MIB:.1f}" for (make, kind), n in sorted(bytes_.items()) if n), flush=True)
    unexpected = []
    for make, lines in complaints(lab).items():
        for s, line in lines.items():
            if usual:
                run.usual[make].add(s)
            elif s not in run.usual[make] and not any(text in line for text in USUAL):
                unexpected.append(f"{make}: {line}")
    assert not unexpected, "lines:\n      " + "\n      ".join(unexpected[:20])
    assert times <= 1.05, f"origin read {times:.3f} times"
    return went, bytes_


def forget(run, lab):
    """All peers give their copies back, so that many rounds fit the disk."""
    tool = os.path.join(run.programs.build, "dfctl")
    for p in lab.all:
        listed = subprocess.run([tool, "task", "ls", "--endpoint", p.socket], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=DFGET_S, check=True)
        for task_id in re.findall(r"\b[0-9a-f]{64}\b", listed.stdout):
            subprocess.run([tool, "task", "rm", task_id, "--endpoint", p.socket], stdin=subprocess.DEVNULL, capture_output=True,
                           timeout=DFGET_S, check=True)


def cluster_case(run, members, go, children=None, usual=False, rounds=1, **config):
    """A cluster gets `rounds` files one after another, all peers each at once."""
    with Lab(run.programs, members, go=go, **config) as lab:
        if go and lab.seed:
            time.sleep(SEEDS_KNOWN_S)
        peers = [p for p in lab.peers if children is None or p.name in children]
        seconds, times = 0, []
        for n in range(rounds):
            if n > 0:
                forget(run, lab)
            url, digest = run.content()
            seconds += run.fetch(lab, peers, url, digest)
            times.append(run.origin_times())
        went, bytes_ = judge(run, lab, seconds / rounds, max(times), usual)
        total = sum(went.values())
        wanted = (len(peers) + (lab.seed is not None) - 1) * -(-run.size // (4 * MIB)) * rounds
        assert total >= wanted * 0.95, f"{total} pieces came from peers, {wanted} expected"
        up = bytes_["ours", "upload"] + bytes_["real", "upload"]
        down = bytes_["ours", "peer"] + bytes_["real", "peer"]
        assert 0.95 * down <= up <= 1.1 * down, f"peers sent {up / MIB:.0f} MiB and took {down / MIB:.0f} MiB"
        return went


# ---- the measure: real programs alone ----

REAL_ALONE = ["real-seed"] + [f"real-{c}" for c in "abcde"]


@case("scheduler", "dfdaemon")
def go_real_alone(run):
    cluster_case(run, REAL_ALONE, True, usual=True, rounds=run.rounds)


# ---- our scheduler ----

@case("dfdaemon")
def ours_carries_real_alone(run):
    """A real seed and real peers with the scheduler in a daemon of ours that takes no part."""
    cluster_case(run, ["ours-carrier"] + REAL_ALONE, False, REAL_ALONE[1:], usual=not run.usual, rounds=run.rounds)


@case("dfdaemon")
def ours_seed_real_peers(run):
    went = cluster_case(run, ["ours-seed", "real-a", "real-b"], False)
    assert went["ours", "real"] > 0


@case("dfdaemon")
def ours_scheduler_no_seed(run):
    cluster_case(run, ["ours-carrier", "real-a", "real-b", "real-c"], False, ("real-a", "real-b", "real-c"))


@case("dfdaemon")
def ours_scheduler_mixed(run):
    went = cluster_case(run, ["ours-seed", "real-a", "ours-b", "real-c", "ours-d"], False)
    assert went["ours", "real"] > 0 and went["ours", "ours"] > 0


@case("dfdaemon")
def ours_seed_real_peers_that_prefer_quic(run):
    went = cluster_case(run, ["ours-seed", "real-a", "real-b"], False, real_config={"download": {"protocol": "quic"}})
    assert went["ours", "real"] > 0


# ---- the Go scheduler ----

@case("scheduler")
def go_ours_alone(run):
    cluster_case(run, ["ours-seed", "ours-a", "ours-b"], True)


@case("scheduler", "dfdaemon")
def go_ours_seed_real_peers(run):
    went = cluster_case(run, ["ours-seed", "real-a", "real-b"], True)
    assert went["ours", "real"] > 0


@case("scheduler", "dfdaemon")
def go_real_seed_ours_peers(run):
    went = cluster_case(run, ["real-seed", "ours-a", "ours-b"], True)
    assert went["real", "ours"] > 0


@case("scheduler", "dfdaemon")
def go_mixed(run):
    went = cluster_case(run, ["ours-seed"] + [f"{make}-{i}" for i in range(5) for make in ("real", "ours")], True,
                        rounds=run.rounds)
    assert all(went[a, b] > 0 for a in ("ours", "real") for b in ("ours", "real"))


# ---- a parent dies ----

def parent_dies(run, parent_name):
    """Two children, one of each make, in the middle of taking everything from one parent that is killed."""
    url, digest = run.content()
    slow = {"upload": {"bandwidthLimit": "24MB"}}
    with Lab(run.programs, ["ours-carrier", parent_name, "real-c", "ours-d"], config=slow) as lab:
        parent, children = lab.named(parent_name), [lab.named("real-c"), lab.named("ours-d")]
        run.fetch(lab, [parent], url, digest)
        started = slowly(run, lab, children, url)
        parent.kill()
        begin = time.monotonic()
        run.all_right(started, digest)
        assert run.origin_times() <= 2.05, "one child at most goes to the origin"
        print(f"    {time.monotonic() - begin:.2f} s after the parent's end, origin read {run.origin_times():.3f} times, pieces " +
              ", ".join(f"{a}->{b} {n}" for (a, b), n in sorted(directions(lab).items()) if n))
        for make, lines in complaints(lab).items():
            for line in lines.values():
                print(f"      {make}: {line[:300]}")


@case("dfdaemon")
def real_parent_dies(run):
    parent_dies(run, "real-p")


@case("dfdaemon")
def ours_parent_dies(run):
    parent_dies(run, "ours-p")


def slowly(run, lab, peers, url):
    """All peers begin, from a source that takes its time; returns when each has something."""
    started = run.begin(lab, peers, url)
    for p in peers:
        wait_for(lambda p=p: p.metric("dragonfly_client_download_traffic", type="REMOTE_PEER") > 0, DOWNLOAD_S, f"{p.name} has a piece")
    return started


def peers_die(run, members, go):
    """Two peers of a cluster with a seed are killed while all take a file: the rest ends well, and the origin is read once."""
    url, digest = run.content()
    with Lab(run.programs, members, go=go, config={"upload": {"bandwidthLimit": "64MB"}}) as lab:
        if go:
            time.sleep(SEEDS_KNOWN_S)
        peers = [p for p in lab.peers if p is not lab.carrier or go]
        started = slowly(run, lab, peers, url)
        for peer in peers[:2]:
            peer.kill()
        run.all_right(started[2:], digest)
        print(f"    origin read {run.origin_times():.3f} times, pieces " +
              ", ".join(f"{a}->{b} {n}" for (a, b), n in sorted(directions(lab).items()) if n))
        assert run.origin_times() <= 1.05, f"origin read {run.origin_times():.3f} times"


@case("dfdaemon")
def ours_scheduler_ten_real_peers_two_die(run):
    peers_die(run, ["ours-carrier", "real-seed"] + [f"real-{c}" for c in "abcdefghij"], False)


@case("scheduler", "dfdaemon")
def go_mixed_peers_die(run):
    peers_die(run, ["ours-seed"] + [f"{make}-{i}" for i in range(3) for make in ("real", "ours")], True)


# ---- dfctl ----

def dfctl(run, *args):
    p = subprocess.run([run.programs.dfctl, "task", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DFGET_S)
    return p.returncode, ANSI.sub("", p.stdout + p.stderr)


@case("dfdaemon", "dfctl")
def dfctl_lists_and_removes(run):
    """The real dfctl sees the same at a daemon of each make."""
    url, digest = run.content()
    with Lab(run.programs, ["ours-d", "real-d"]) as lab:
        run.fetch(lab, lab.all, url, digest)
        seen = []
        for p in lab.all:
            code, text = dfctl(run, "ls", "--endpoint", p.socket)
            lines = [line.split() for line in text.splitlines() if re.search(r"\b[0-9a-f]{64}\b", line)]
            assert code == 0 and len(lines) == 1, f"{p.name}: {code} {text}"
            seen.append(lines[0][:5])       # id, piece length, content length
            rm = [dfctl(run, "rm", "--endpoint", p.socket, lines[0][0])[0] for _ in range(2)]
            assert rm == [0, 1], f"{p.name}: rm twice ends with {rm}"
            assert lines[0][0] not in dfctl(run, "ls", "--endpoint", p.socket)[1], f"{p.name}: the task is still there"
        assert seen[0] == seen[1], f"{seen}"


@case("dfdaemon", "dfctl")
def dfctl_preheats_our_seed(run):
    """The request SDK asks our scheduler for seed peers and our seed for the task."""
    url, digest = run.content()
    with Lab(run.programs, ["ours-seed", "real-a"]) as lab:
        code, text = dfctl(run, "preheat", "--scheduler-endpoint", f"http://127.0.0.1:{lab.scheduler_port}", "--request-sdk",
                           "--replicas", "1", url)
        assert code == 0, text
        assert lab.seed.metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE") == run.size
        run.fetch(lab, lab.peers, url, digest)
        assert run.origin_times() <= 1.05, f"origin read {run.origin_times():.3f} times"


# ---- a scheduler goes and comes back ----

def scheduler_restarts(run, members, go):
    url, digest = run.content()
    slow = {"upload": {"bandwidthLimit": "24MB"}, "download": {"backToSourceBandwidthLimit": "24MB"}}
    with Lab(run.programs, members, go=go, config=slow) as lab:
        if go:
            time.sleep(SEEDS_KNOWN_S)
        peers = [p for p in lab.peers if p is not lab.carrier or go]
        started = slowly(run, lab, peers, url)
        if go:
            scheduler = lab.schedulers[0]
            scheduler.process.kill()
            scheduler.process.wait()
            scheduler.start()
        else:
            lab.carrier.kill()
            lab.carrier.start()
        run.all_right(started, digest)
        print(f"    origin read {run.origin_times():.3f} times during the restart, pieces " +
              ", ".join(f"{a}->{b} {n}" for (a, b), n in sorted(directions(lab).items()) if n))
        for make, lines in complaints(lab).items():
            for line in lines.values():
                print(f"      {make}: {line[:300]}")
        # What comes after it is shared again. (Real peers announce themselves after their interval.)
        if not go:
            wait_for(lambda: lab.carrier.metric("dragonfly_scheduler_hosts") >= len(lab.all), REAL_ANNOUNCE_S,
                     "all hosts are announced again")
        else:
            time.sleep(SEEDS_KNOWN_S)
        url, digest = run.content()
        run.fetch(lab, peers, url, digest)
        print(f"    afterwards origin read {run.origin_times():.3f} times")
        assert run.origin_times() <= 1.05


@case("dfdaemon")
def ours_scheduler_restarts(run):
    scheduler_restarts(run, ["ours-carrier", "real-seed", "real-a", "ours-b"], False)


@case("scheduler", "dfdaemon")
def go_scheduler_restarts(run):
    scheduler_restarts(run, ["ours-seed", "real-a", "ours-b"], True)


@case("scheduler", "dfdaemon")
def go_three_schedulers(run):
    """Peers of both makes choose the same scheduler for a task: what one has, the other gets from it. Then one scheduler dies."""
    size = 8 * MIB
    with Lab(run.programs, ["real-a", "ours-b"], go=3) as lab:
        def one(first, second, bound):
            url, digest = run.content(size)
            run.fetch(lab, [first], url, digest)
            run.fetch(lab, [second], url, digest)
            assert run.origin_times(size) <= bound, f"{second.name} went to the origin for what {first.name} has"

        for i in range(16):
            one(*(lab.all if i % 2 else lab.all[::-1]), 1.05)
        asked = [len(set(re.findall(r"\b[0-9a-f]{64}\b", s.log()))) for s in lab.schedulers]
        print(f"    16 tasks, by scheduler {asked}")
        assert sum(asked) == 16 and max(asked) < 16, f"{asked}"
        lab.schedulers[1].process.kill()
        lab.schedulers[1].process.wait()
        for i in range(16):
            one(*(lab.all if i % 2 else lab.all[::-1]), 2.05)


# ---- dfget and dfdaemon of two makes ----

def dfget_table(run):
    """name, url, flags, digest of the output (None: it fails and leaves none)."""
    big, digest = run.content(24 * MIB)
    small, small_digest = run.content(100)
    o = run.origin
    return [
        ("24 MiB", big, [], digest),
        ("again, from the store", big, [], digest),
        ("100 bytes", small, [], small_digest),
        ("nothing", o.url("/gen/0/70/x"), [], "same"),
        ("transfer-from-dfdaemon", big, ["--transfer-from-dfdaemon"], digest),
        ("digest right", o.url("/gen/8M/71/x"), ["--digest", "right"], "same"),
        ("digest wrong", o.url("/gen/8M/72/x"), ["--digest", "sha256:" + "0" * 64], None),
        ("404", o.url("/no/such"), [], None),
        ("403", o.url("/gen/1M/73/x?status=403"), [], None),
        ("refused", f"http://127.0.0.1:{cluster.free_ports(1)[0]}/x", [], None),
        ("no such name", "http://no-such-name.invalid/x", [], None),
        ("-O existing", small, ["existing"], None),
        ("-O existing --overwrite", small, ["existing", "--overwrite"], small_digest),
        ("--force-hard-link", big, ["--force-hard-link"], digest),
        ("--disable-back-to-source", o.url("/gen/8M/74/x"), ["--disable-back-to-source"], None),
        ("--range", big, ["--range", "5000000-20000000"], "range"),
        ("no range support", o.url("/gen/24M/75/x?norange"), [], "same"),
        ("unknown length", o.url("/gen/24M/76/x?chunked"), [], "same"),
    ]


PAIRS = [("real", "real"), ("ours", "real"), ("real", "ours"), ("ours", "ours")]     # dfget, dfdaemon


@case("dfdaemon", "dfget")
def dfget_and_dfdaemon(run):
    """Every line with the dfget and the dfdaemon of both makes: same exit code, same bytes."""
    # A real daemon fails these, or ends well with wrong bytes.
    beyond_real = ("no range support", "unknown length")
    with Lab(run.programs, ["ours-d", "real-d"]) as lab:
        daemons = {"ours": lab.named("ours-d"), "real": lab.named("real-d")}
        wrong = []
        for name, url, flags, digest in dfget_table(run):
            if digest == "same":
                digest = cluster.hashlib.sha256(cluster.http_get(url, 60)).hexdigest()
            elif digest == "range":
                with cluster.urllib.request.urlopen(cluster.urllib.request.Request(
                        url, headers={"Range": "bytes=" + flags[1]}), timeout=60) as r:
                    digest = cluster.hashlib.sha256(r.read()).hexdigest()
            # The real dfget has no --range.
            pairs = [(g, d) for g, d in PAIRS if g == "ours" or "--range" not in flags]
            results = []
            for get, daemon in pairs:
                results.append(dfget_once(run, lab, get, daemons[daemon], f"{name}-{get}-{daemon}", url, flags, digest))
            judged = [r for (g, d), r in zip(pairs, results) if d == "ours" or name not in beyond_real]
            good = len({r[0] for r in judged}) == 1 and (digest is None) == (judged[0][0] != 0) and all(r[1] for r in judged)
            print(f"    {'ok   ' if good else 'DIFFERS'} {name}: " + ", ".join(
                f"{g}/{d} {r[0]}{'' if r[1] else ' bytes wrong'}" for (g, d), r in zip(pairs, results)), flush=True)
            for (g, d), r in zip(pairs, results):
                if r[0] != 0:
                    print(f"        {g}/{d}: {said(r[2])}")
            if not good:
                wrong.append(name)
        for make, lines in complaints(lab).items():
            for line in lines.values():
                print(f"      {make}: {line[:300]}")
        assert not wrong, "differ: " + ", ".join(wrong)


def said(text):
    lines = (x.strip() for x in ANSI.sub("", text).splitlines())
    return " | ".join(x for x in lines if x.strip("*"))[:300]


def dfget_once(run, lab, get, peer, label, url, flags, digest):
    """(exit code, bytes are right, what it said)"""
    home = lab.path(label.replace(" ", "_"))
    os.mkdir(home)
    out = f"{home}/out"
    if "existing" in flags:
        with open(out, "w") as f:
            f.write("kept")
    args = [f if f != "right" else "sha256:" + digest for f in flags if f != "existing"]
    command = [f"{run.programs.build}/dfget" if get == "ours" else run.programs.dfget, url, "-O", out, "--endpoint", peer.socket,
               "--no-progress", *args]
    p = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DFGET_S)
    if digest is not None:
        right = os.path.exists(out) and sha256(out) == digest
    elif "existing" in flags:
        right = open(out).read() == "kept"
    else:
        right = not os.path.exists(out)
    return p.returncode, right, (p.stdout + p.stderr).decode(errors="replace")


cases_cache.add(case, DFGET_S, SEEDS_KNOWN_S)
cases_directory.add(case, DFGET_S)
cases_restart.add(case, SEEDS_KNOWN_S)
cases_tls.add(case)


def managed_case(*needs):
    def add(f):
        def checked(run):
            if managed.missing():
                raise Skipped("no " + ", ".join(managed.missing()))
            return f(run)
        return case(*needs)(functools.wraps(f)(checked))
    return add


managed.register(managed_case)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("build")
    for name in ("scheduler", "manager", "dfdaemon", "dfget"):
        ap.add_argument(name, nargs="?", default="")
    ap.add_argument("--size", type=int, default=128)
    ap.add_argument("--rounds", type=int, default=5, help="files in the mixed cluster")
    ap.add_argument("--only", default="")
    a = ap.parse_args()
    programs = Programs(a.build, a.scheduler, a.manager, a.dfdaemon, a.dfget)
    print("real programs: " + ", ".join(f"{n} {programs.version(n)}" for n in ("scheduler", "manager", "dfdaemon", "dfget")))
    run = Run(programs, a.size * MIB, a.rounds)
    passed, failed, skipped = 0, 0, []
    try:
        for c in CASES:
            if a.only and c.__name__ not in a.only.split(","):
                continue
            begin = time.monotonic()
            try:
                c(run)
                passed += 1
                print(f"ok {c.__name__} {time.monotonic() - begin:.1f}s", flush=True)
            except Skipped as e:
                skipped.append(c.__name__)
                print(f"skipped {c.__name__}: {e}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED {c.__name__} {time.monotonic() - begin:.1f}s", flush=True)
                traceback.print_exc(file=sys.stdout)
    finally:
        run.origin.stop()
    print(f"{passed} passed, {failed} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
