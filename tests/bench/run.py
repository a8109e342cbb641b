#!/usr/bin/env python3
"""The bench: how fast and how large we are, measured against curl and nginx in the same run, in one table.

usage: /usr/bin/python3 tests/bench/run.py BUILD [--quick] [--dir DIR] [--only LETTERS] [--runs N]

BUILD holds dfget, dfdaemon, tests/bench/{sched_load,http_load} and tests/origin/origin. Ours and theirs take turns; the table has the median of
each and the median of the ratios run by run. All files lie below one directory of one file system, the source file is in the page
cache, outputs are removed before each run, and every output is compared with the source outside the measured time. Ends with 0 when
all could be measured, missed or not.
"""
import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
import proxy_bench                                                              # noqa: E402
from cluster import Cluster, Peer, wait_for                                     # noqa: E402
from measure import Nginx, Run, Table, Wrong, check_same, cpu_of, make_file, remove       # noqa: E402

MIB = 1 << 20


def answers(peer):
    """Whether the socket and the ports for peers and health take connections."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(peer.socket)
    for port in (peer.upload_port, peer.piece_port, peer.health_port):
        socket.create_connection(("127.0.0.1", port)).close()
    return True


def cluster(build, peers, config=None):
    """A cluster that runs. Another program may have taken one of its ports since it was chosen: then once more with others."""
    for last in (False, False, True):
        try:
            return Cluster(build, peers=peers, log_level="warn", config=config)
        except RuntimeError as e:
            if last or "Address already in use" not in str(e):
                raise


class Bench:
    def __init__(self, options, work):
        self.build = options.build
        self.quick = options.quick
        self.runs = options.runs or (2 if options.quick else 7)
        self.work = work
        self.big_bytes = (256 if options.quick else 1024) * MIB
        self.table = Table()
        self.www = os.path.join(work, "www")
        os.mkdir(self.www)
        self.nginx = Nginx(os.path.join(work, "nginx"), self.www)
        self.count = 0

    def cluster(self, peers, config=None):
        return cluster(self.build, peers, config)

    def out(self):
        """A fresh output path."""
        self.count += 1
        return os.path.join(self.work, f"out{self.count}")

    def source(self, name, size):
        path = os.path.join(self.www, name)
        if not os.path.exists(path):
            make_file(path, size)
        return path

    def big(self):
        return self.source("big", self.big_bytes)

    def big_text(self):
        return "1 GiB" if self.big_bytes == 1024 * MIB else f"{self.big_bytes // MIB} MiB"

    def join(self, cluster, name):
        """A further peer, announced."""
        before = cluster.all[0].metric("dragonfly_scheduler_hosts")
        peer = Peer(cluster, name, False, False)
        cluster.all.append(peer)
        peer.start()
        wait_for(lambda: cluster.all[0].metric("dragonfly_scheduler_hosts") > before, 15, f"{name} is announced")
        return peer

    def curl(self, url, out):
        """(wall, processor seconds of curl and nginx)."""
        pids = self.nginx.pids()
        before = cpu_of(*pids)
        run = Run(["curl", "-sS", "-o", out, url]).end()
        return run.wall, run.cpu + cpu_of(*pids) - before

    def dfget(self, peer, url, out):
        return Run(peer.dfget_args(url, out)).end()

    def must_get(self, peer, url, source):
        out = self.out()
        self.dfget(peer, url, out)
        check_same(source, out)
        remove(out)

    # ---- (a) and a part of (e) ----

    def warm(self):
        source, url = self.big(), self.nginx.url("/big")
        wall, cpu, curl_wall, curl_cpu, peak = [], [], [], [], {}
        with cluster(self.build, 1) as c:
            self.must_get(c.peers[0], url, source)
            c.peers[0].stop()
            shutil.rmtree(c.peers[0].home)
            for i in range(self.runs + 1):
                peer, out = self.join(c, f"warm{i}"), self.out()
                before = cpu_of(c.seed.process.pid, peer.process.pid)
                run = self.dfget(peer, url, out)
                used = run.cpu + cpu_of(c.seed.process.pid, peer.process.pid) - before
                check_same(source, out)
                peak = {"peer": max(peak.get("peer", 0), peer.status("VmHWM")), "seed": c.seed.status("VmHWM")}
                peer.stop()
                shutil.rmtree(peer.home)
                remove(out)
                theirs = self.curl(url, out)
                remove(out)
                if i == 0:
                    continue            # the first of each warms up
                wall.append(run.wall)
                cpu.append(used)
                curl_wall.append(theirs[0])
                curl_cpu.append(theirs[1])
        self.table.ratio("a", f"{self.big_text()}: seed -> peer -> dfget, wall", wall, curl_wall, "curl", 0.4, "1.56 x")
        self.table.ratio("a", "the same, processor time of all processes", cpu, curl_cpu, "curl, nginx", 0.7, "2.8 x")
        self.table.memory("e", f"peak memory of the peer in (a), {self.big_text()}", peak["peer"], 16, "138 MiB")
        self.table.memory("e", "peak memory of the seed in (a), scheduler inside", peak["seed"], 16, "138 MiB")

    # ---- (b) ----

    def cold(self):
        source, url = self.big(), self.nginx.url("/big")
        wall, curl_wall, spread = [], [], []
        for i in range(self.runs + 1):
            with cluster(self.build, 2) as c:
                outs = [self.out(), self.out()]
                begin = time.monotonic()
                runs = [Run(p.dfget_args(url, out)) for p, out in zip(c.peers, outs)]
                for run in runs:
                    run.end()
                took = time.monotonic() - begin
                for out in outs:
                    check_same(source, out)
                    remove(out)
            theirs = self.curl(url, outs[0])[0]
            remove(outs[0])
            if i > 0:
                wall.append(took)
                curl_wall.append(theirs)
        what = f"{self.big_text()} cold: origin -> seed -> 2 peers at once, wall"
        self.table.ratio("b", what, wall, curl_wall, "curl", 1.0, "3.2 x")

    # ---- (c) ----

    def tiny(self):
        source = self.source("tiny", 100)
        n = 30 if self.quick else 200
        cached, curl, new = [], [], []
        with cluster(self.build, 1) as c:
            peer, url = c.peers[0], self.nginx.url("/tiny")
            self.must_get(peer, url, source)
            for i in range(n):
                outs = [self.out() for _ in range(3)]
                cached.append(self.dfget(peer, url, outs[0]).wall)
                curl.append(Run(["curl", "-sS", "-o", outs[1], url]).end().wall)
                new.append(self.dfget(peer, self.nginx.url(f"/tiny?n={i}"), outs[2]).wall)
                for out in outs:
                    check_same(source, out)
                    remove(out)
        self.table.beside("c", f"dfget of 100 bytes that the peer has, median of {n}", cached, curl, "curl", 0.003, "7.8 ms")
        self.table.beside("c", f"dfget of 100 new bytes, peer and seed, median of {n}", new, curl, "curl", 0.008, "7.7 ms")

    # ---- (d) ----

    def first_byte(self):
        size = 10 * MIB
        source = self.source("ten", size)
        n = 5 if self.quick else 21
        first, whole, curl_first, curl_whole = [], [], [], []

        def one(args, firsts, wholes):
            run = Run(args, stdout=True)
            at, total = run.drain()
            run.end()
            if total != size:
                raise Wrong(f"{' '.join(args)}: {total} bytes")
            firsts.append(at)
            wholes.append(run.wall)

        with cluster(self.build, 1) as c:
            self.must_get(c.peers[0], self.nginx.url("/ten"), source)
            for i in range(n):
                url = self.nginx.url(f"/ten?n={i}")
                one(c.peers[0].dfget_args(url, "-"), first, whole)
                one(["curl", "-sS", url], curl_first, curl_whole)
        what = f"10 MiB cold through seed and peer, first byte, median of {n}"
        self.table.beside("d", what, first, curl_first, "curl", 0.020, "920 ms")
        self.table.beside("d", "the same, all of it", whole, curl_whole, "curl", 0.060)

    # ---- (e), idle and many tasks ----

    def memory(self):
        count, size = (16, 16 * MIB) if self.quick else (64, 64 * MIB)
        source = self.source("one", size)
        with cluster(self.build, 1) as c:
            peer = c.peers[0]
            idle, idle_seed = peer.status("VmRSS"), c.seed.status("VmRSS")
            outs = [self.out() for _ in range(count)]
            runs = [Run(peer.dfget_args(self.nginx.url(f"/one?n={i}"), out)) for i, out in enumerate(outs)]
            for run in runs:
                run.end()
            for out in outs:
                check_same(source, out)
                remove(out)
            busy, busy_seed = peer.status("VmHWM"), c.seed.status("VmHWM")
        self.table.memory("e", "idle dfdaemon", idle, 4, "78 MiB")
        self.table.memory("e", "idle dfdaemon with the scheduler", idle_seed, 4)
        self.table.memory("e", f"{count} tasks of {size // MIB} MiB at once, peak of the peer", busy, 40)
        self.table.memory("e", "the same, peak of the seed", busy_seed, 40)

    # ---- (f) ----

    def start_stop(self):
        n = 5 if self.quick else 21
        ready, stopped, again = [], [], []
        source = self.source("tiny", 100)
        with cluster(self.build, 1) as c:
            peer = c.peers[0]
            for i in range(n):
                self.must_get(peer, self.nginx.url(f"/tiny?start={i}"), source)     # with connections that were used
                begin = time.monotonic()
                peer.stop()
                stopped.append(time.monotonic() - begin)
                begin = time.monotonic()
                peer.start(wait=False)
                wait_for(lambda: answers(peer), 15, "started again", step=0.0002)
                again.append(time.monotonic() - begin)
                fresh = Peer(c, f"fresh{i}", False, False)
                c.all.append(fresh)
                begin = time.monotonic()
                fresh.start(wait=False)
                wait_for(lambda: answers(fresh), 15, "started", step=0.0002)
                ready.append(time.monotonic() - begin)
                fresh.stop()
        self.table.time("f", f"start until socket and ports answer, median of {n}", ready, 0.020, "3,600 ms")
        self.table.time("f", "stop when idle", stopped, 0.100)
        self.table.time("f", "start again on the same ports at once", again, 0.020, "refused")

    # ---- (g) ----

    def size(self):
        stripped = os.path.join(self.work, "stripped")
        subprocess.run(["strip", "-o", stripped, os.path.join(self.build, "dfget")], check=True)
        a, b = (os.stat(os.path.join(self.build, name)) for name in ("dfget", "dfdaemon"))
        is_one = a.st_ino == b.st_ino
        total = os.path.getsize(stripped) * (1 if is_one else 2)
        what = "stripped binaries, one file with several names" if is_one else "stripped binaries"
        self.table.row("g", what, f"{total / 1e6:.2f} MB", target="<= 1.5 MB", is_met=total <= 1500000, reference="70 MB")

    # ---- (h) ----

    def scheduler(self):
        args = ["-H", "1000", "-n", "10000", "-o", "1000"] if self.quick else ["-H", "10000", "-n", "100000"]
        tool = os.path.join(self.build, "tests/bench/sched_load")
        done = subprocess.run([tool, *args], capture_output=True, text=True, timeout=600)
        text = done.stdout

        def number(pattern):
            found = re.search(pattern, text)
            if done.returncode != 0 or not found:
                raise Wrong(f"sched_load: {done.stderr}{text}")
            return float(found.group(1))

        rate, failed = number(r"decisions.*: (\d+) a second"), number(r"\((\d+) failed\)")
        cpu, wait = number(r"processor +([\d.]+) us"), number(r"latency +median ([\d.]+) ms")
        peak = number(r"memory.*peak ([\d.]+) MiB")
        hosts, peers = number(r"memory +(\d+) hosts"), number(r"tasks, (\d+) peers")
        if failed:
            raise Wrong(f"sched_load: {text}")
        row = self.table.row
        row("h", "scheduler: processor time of a decision, 4 piece reports", f"{cpu:.1f} us", target="<= 50 us", is_met=cpu <= 50,
            reference="450-750 us")
        row("h", "scheduler: decisions a second, load tool beside it", f"{rate:,.0f}", target=">= 20,000", is_met=rate >= 20000)
        row("h", "scheduler: median answer", f"{wait:.2f} ms", target="< 2 ms", is_met=wait < 2, reference="61 ms")
        row("h", f"scheduler: peak memory, {hosts:,.0f} hosts, {peers:,.0f} peers", f"{peak:.0f} MiB", target="<= 500 MiB",
            is_met=peak <= 500, reference="1.3 GB")

    # ---- (i) ----

    def fan_out(self):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fanout.py")
        cases = ((16, 64, 1.8, "5.0"), (8, 256, 1.3, "3.1"))
        for peers, mib, target, reference in cases[:1] if self.quick else cases:
            args = [sys.executable, script, self.build, "--peers", str(peers), "--mib", str(mib), "--dir", self.work]
            done = subprocess.run(args, capture_output=True, text=True, timeout=900)
            what = f"{mib} MiB to {peers} peers, 100 Mbit/s links, last one done"
            found = re.search(r"last ([\d.]+) s; bound ([\d.]+) s; last/bound ([\d.]+)", done.stdout)
            goal = {"target": f"<= {target} x", "reference": f"{reference} x"}
            if found:
                last, bound, ratio = found.groups()
                self.table.row("i", what, f"{last} s", f"{bound} s bound", ratio, is_met=float(ratio) <= target, **goal)
            elif done.returncode == 0 and "skipped" in done.stdout:
                self.table.row("i", what, done.stdout.strip().removeprefix("fan-out "), **goal)
            else:
                raise Wrong(f"fanout.py: {done.stdout}{done.stderr}")


STEPS = {"a": Bench.warm, "b": Bench.cold, "c": Bench.tiny, "d": Bench.first_byte, "e": Bench.memory, "f": Bench.start_stop,
         "g": Bench.size, "h": Bench.scheduler, "i": Bench.fan_out, "j": proxy_bench.warm, "k": proxy_bench.ranges, "l": proxy_bench.first_byte,
         "m": proxy_bench.cold, "n": proxy_bench.slow_clients}


def cpu_model():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "unknown processor"


def main():
    parser = argparse.ArgumentParser(description="our figures beside those of curl and nginx")
    parser.add_argument("build")
    parser.add_argument("--quick", action="store_true", help="smaller files and fewer runs: a look, not a figure")
    parser.add_argument("--dir", help="files go below it (default: the system's temporary directory)")
    parser.add_argument("--only", default="".join(STEPS), help="letters of the figures wanted, such as ab")
    parser.add_argument("--runs", type=int, help="of the large downloads")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tempfile.tempdir = options.dir
    work = tempfile.mkdtemp(prefix="dragonfly-bench-")
    load = os.getloadavg()
    bench = None
    failed = 0
    try:
        bench = Bench(options, work)
        for letter in options.only:
            try:
                STEPS[letter](bench)
            except (Wrong, RuntimeError, OSError, subprocess.SubprocessError) as e:
                failed += 1
                bench.table.row(letter, "not measured: " + str(e).partition("\n")[0][:80], "")
                print(f"({letter}) {e}", file=sys.stderr)
    finally:
        if bench:
            bench.nginx.stop()
        shutil.rmtree(work, ignore_errors=True)
    after = os.getloadavg()
    system = f"{os.cpu_count()} processors, {cpu_model()}, {os.uname().sysname} {os.uname().release}"
    load = f"load average {load[0]:.1f} at the start, {after[0]:.1f} at the end"
    print(f"\n{system}; {load}{'; --quick' if options.quick else ''}\n")
    print(bench.table.text())
    print(f"\n{bench.table.missed} missed" + (f", {failed} not measured" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
