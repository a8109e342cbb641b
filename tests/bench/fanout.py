#!/usr/bin/env python3
"""Fan-out: one origin, one seed with the scheduler inside and n peers, each behind its own link; all peers ask for one file at once.

usage: /usr/bin/python3 tests/bench/fanout.py BUILD [--peers N] [--mib SIZE] [--mbit RATE] [--runs K] [--dir DIR] [--logs DIR]
                                              [--scheduler SCHEDULER [--dfdaemon DFDAEMON --dfget DFGET]]

With --scheduler it is that of the project in Go, on a node of its own; with --dfdaemon and --dfget every run is done with those of another make
too, and the ratio of the times is printed. BUILD holds dfget, dfdaemon and tests/origin/origin. Every node is a network namespace; its veth into a common bridge carries RATE Mbit/s each
way (tbf at both ends). The bridge has a namespace of its own, so that nothing of the machine's network is touched. Printed is
when the last peer was done against the bound max(S/rate, n S / ((n + 1) rate)): the origin's link and every peer's link must carry the file
once, and n copies must leave by n + 1 uplinks. Needs root and ip, tc; without them it says so and ends with 0.
"""
import argparse
import hashlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

NET = "10.213.7."
SCHEDULER_PORT = 8002
PAYLOAD = 0.95            # of a link's bits, what headers leave for the file
START_S = 20              # until a daemon's socket answers
RUN_S = 600               # until all peers are done
TOOLS = ("ip", "tc")


class Skip(Exception):
    pass


def run(*args):
    done = subprocess.run(args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(args), done.stderr.strip()))


class Links:
    """The bridge and the nodes around it."""

    def __init__(self, names, mbit):
        self.prefix = "dffan%d-" % os.getpid()
        self.made = []
        self.mbit = mbit
        self.names = names

    def open(self):
        hub = self.space("hub")
        run("ip", "-n", hub, "link", "add", "name", "bridge0", "type", "bridge")
        run("ip", "-n", hub, "link", "set", "bridge0", "up")
        for i, name in enumerate(self.names):
            space, port = self.space(name), "port%d" % i
            run("ip", "link", "add", "name", port, "netns", hub, "type", "veth", "peer", "name", "eth0", "netns", space)
            run("ip", "-n", hub, "link", "set", port, "master", "bridge0", "up")
            run("ip", "-n", space, "addr", "add", "%s%d/24" % (NET, i + 1), "dev", "eth0")
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "-n", space, "link", "set", "eth0", "up")
            for where, device in ((hub, port), (space, "eth0")):
                run("tc", "-n", where, "qdisc", "add", "dev", device, "root", "tbf", "rate", "%dmbit" % self.mbit,
                    "burst", "128k", "latency", "100ms")

    def space(self, name):
        full = self.prefix + name
        run("ip", "netns", "add", full)
        self.made.append(full)
        return full

    def address(self, name):
        return NET + str(self.names.index(name) + 1)

    def within(self, name):
        return ["ip", "netns", "exec", self.prefix + name]

    def close(self):
        for full in reversed(self.made):
            subprocess.run(["ip", "netns", "del", full], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


CONFIG = """\
host:
  hostname: {name}
  ip: {ip}
download:
  server:
    socketPath: {dir}/sock
upload:
  server:
    ip: {ip}
    port: 4000
storage:
  dir: {dir}/store
  server:
    ip: {ip}
    tcpPort: 4005
proxy:
  server:
    ip: {ip}
    port: 4001
metrics:
  server:
    ip: {ip}
    port: 4002
health:
  server:
    ip: {ip}
    port: 4003
stats:
  server:
    ip: {ip}
    port: 4004
scheduler:
  announceInterval: 10s
seedPeer:
  enable: {seed}
  type: super
"""

CONFIG_SCHEDULER = """\
x:
  scheduler:
    enable: true
    port: %d
"""


CONFIG_OTHER = """\
server:
  pluginDir: {dir}/plugin
  cacheDir: {dir}/cache
"""

GO_SCHEDULER = """\
server: {{advertiseIP: {ip}, listenIP: {ip}, port: {port}, workHome: {dir}, logDir: {dir}/log, pluginDir: {dir}/plugin, dataDir: {dir}/data, cacheDir: {dir}/cache}}
scheduler: {{algorithm: default, backToSourceCount: 200, retryBackToSourceLimit: 3, retryLimit: 5, retryInterval: 1s}}
dynConfig: {{refreshInterval: 1m}}
job: {{enable: false}}
metrics: {{enable: false}}
network: {{enableIPv6: false}}
"""

GO_DYNCONFIG = """\
applications: []
seedPeerClusterConfig: {loadLimit: 2000}
schedulerClusterConfig: {candidateParentLimit: 3, filterParentLimit: 15}
schedulerClusterClientConfig: {loadLimit: 200}
"""
GO_START_S = 3
GO_SEEDS_S = 36           # it looks for seed peers every 30 s


class Cluster:
    def __init__(self, options, work, is_other=False):
        self.options = options
        self.work = work
        self.is_other = is_other
        self.dfdaemon = options.dfdaemon if is_other else os.path.join(options.build, "dfdaemon")
        self.dfget = options.dfget if is_other else os.path.join(options.build, "dfget")
        self.peers = ["p%d" % i for i in range(options.peers)]
        self.links = Links(["origin", "seed"] + self.peers + (["sched"] if options.scheduler else []), options.mbit)
        self.running = []
        self.origin = None

    def start(self, name, command, **where):
        process = subprocess.Popen(self.links.within(name) + command, **where)
        self.running.append(process)
        return process

    def daemon(self, name):
        path = os.path.join(self.work, name)
        os.mkdir(path)
        text = CONFIG.format(name=name, ip=self.links.address(name), dir=path, seed="true" if name == "seed" else "false")
        with open(path + "/dfdaemon.yaml", "w") as f:
            f.write(text + (CONFIG_SCHEDULER % SCHEDULER_PORT if name == "seed" and not self.options.scheduler else "") +
                    (CONFIG_OTHER.format(dir=path) if self.is_other else ""))
        with open(path + "/dynconfig.yaml", "w") as f:
            f.write("scheduler:\n  addrs: ['%s:%d']\n" % (self.links.address("sched" if self.options.scheduler else "seed"), SCHEDULER_PORT))
        command = [self.dfdaemon, "--config", path + "/dfdaemon.yaml", "--dynconfig", path + "/dynconfig.yaml",
                   "--console", "--log-dir", path + "/logs"]
        if self.options.logs:
            command += ["-l", "debug"]
        return self.start(name, command, stdout=open(path + "/log", "w"), stderr=subprocess.STDOUT)

    def go_scheduler(self):
        path = os.path.join(self.work, "sched")
        for d in ("log", "plugin", "data", "cache"):
            os.makedirs(os.path.join(path, d))
        with open(path + "/scheduler.yaml", "w") as f:
            f.write(GO_SCHEDULER.format(ip=self.links.address("sched"), port=SCHEDULER_PORT, dir=path))
        with open(path + "/dynconfig.yaml", "w") as f:
            f.write(GO_DYNCONFIG)
        self.start("sched", [self.options.scheduler, "--config", path + "/scheduler.yaml", "--dynconfig", path + "/dynconfig.yaml"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(GO_START_S)

    def wait_for_socket(self, name, process):
        path = os.path.join(self.work, name, "sock")
        end = time.monotonic() + START_S
        while not os.path.exists(path):
            if process.poll() is not None or time.monotonic() > end:
                with open(os.path.join(self.work, name, "log")) as f:
                    raise RuntimeError("%s did not start: %s" % (name, f.read()[-500:]))
            time.sleep(0.01)

    def open(self, directory):
        self.links.open()
        self.origin = self.start("origin", [os.path.join(self.options.build, "tests/origin/origin"), "--bind", self.links.address("origin"),
                                            "--port", "8080", "--dir", directory], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if self.options.scheduler:
            self.go_scheduler()
        self.wait_for_socket("seed", self.daemon("seed"))
        started = [(name, self.daemon(name)) for name in self.peers]
        for name, process in started:
            self.wait_for_socket(name, process)
        time.sleep(GO_SEEDS_S if self.options.scheduler else 1)         # all hosts announced

    def get(self, name, url):
        path = os.path.join(self.work, name)
        return subprocess.Popen([self.dfget, "--endpoint", path + "/sock", "-O", path + "/out", url],
                                stdout=open(path + "/get.log", "w"), stderr=subprocess.STDOUT)

    def all_at_once(self, url):
        """Seconds until each peer was done, in order of their names."""
        begin = time.monotonic()
        gets = [self.get(name, url) for name in self.peers]
        self.running += gets
        done = {}
        while len(done) < len(gets):
            if time.monotonic() - begin > RUN_S:
                raise RuntimeError("not done after %d s" % RUN_S)
            for i, process in enumerate(gets):
                if i not in done and process.poll() is not None:
                    done[i] = time.monotonic() - begin
            time.sleep(0.005)
        for name, process in zip(self.peers, gets):
            if process.returncode != 0:
                with open(os.path.join(self.work, name, "get.log")) as f:
                    raise RuntimeError("dfget at %s failed: %s" % (name, f.read()[-500:]))
        return [done[i] for i in range(len(gets))]

    def origin_bytes(self):
        self.origin.send_signal(signal.SIGTERM)
        text = self.origin.communicate(timeout=10)[1]
        return int(re.search(r"(\d+) body bytes", text).group(1))

    def close(self):
        for process in self.running:
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + 3
        for process in self.running:
            try:
                process.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.options.logs:
            for name in ["seed"] + self.peers:
                log = os.path.join(self.work, name, "log")
                if os.path.exists(log):
                    shutil.copy(log, os.path.join(self.options.logs, name + ".log"))
        self.links.close()


def digest_of(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for part in iter(lambda: f.read(1 << 20), b""):
            h.update(part)
    return h.hexdigest()


def make_file(path, mib):
    with open(path, "wb") as f:
        for _ in range(mib):
            f.write(os.urandom(1 << 20))
    return digest_of(path)


def one_run(options, base, is_other=False):
    work = tempfile.mkdtemp(prefix="dffan", dir=base)
    os.mkdir(work + "/www")
    want = make_file(work + "/www/file", options.mib)
    cluster = Cluster(options, work, is_other)
    try:
        cluster.open(work + "/www")
        load = os.getloadavg()[0]
        times = sorted(cluster.all_at_once("http://%s:8080/file" % cluster.links.address("origin")))
        sent = cluster.origin_bytes()
        wrong = [name for name in cluster.peers if digest_of(os.path.join(work, name, "out")) != want]
    finally:
        cluster.close()
        shutil.rmtree(work, ignore_errors=True)
    if wrong:
        raise RuntimeError("wrong bytes at " + " ".join(wrong))
    size, rate = options.mib << 20, options.mbit * 1e6 / 8 * PAYLOAD
    bound = max(size / rate, options.peers * size / ((options.peers + 1) * rate))
    print(("other make: " if is_other else "") + "fan-out %d MiB to %d peers at %d Mbit/s: first %.1f median %.1f last %.1f s; bound %.1f s; last/bound %.2f; origin %.2f x; load %.1f"
          % (options.mib, options.peers, options.mbit, times[0], statistics.median(times), times[-1], bound, times[-1] / bound,
             sent / size, load), flush=True)
    return times[-1] / bound


def check_machine():
    if os.geteuid() != 0:
        raise Skip("needs root")
    for tool in TOOLS:
        if shutil.which(tool) is None:
            raise Skip("needs " + tool)
    probe = Links(["a"], 100)
    try:
        probe.open()
    except RuntimeError as e:
        raise Skip("no network namespaces with tbf here: %s" % e)
    finally:
        probe.close()


def main():
    parser = argparse.ArgumentParser(description="time until n peers have one file, each behind its own link")
    parser.add_argument("build")
    parser.add_argument("--peers", type=int, default=16)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--mbit", type=int, default=100)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--dir", help="where nodes keep their files (default: the system's temporary directory)")
    parser.add_argument("--logs", help="keep the daemons' logs here, with debug lines")
    parser.add_argument("--scheduler", help="the scheduler in Go, instead of the one inside the seed")
    parser.add_argument("--dfdaemon", help="another make's, to compare with")
    parser.add_argument("--dfget", help="another make's")
    options = parser.parse_args()
    if (options.dfdaemon is None) != (options.dfget is None) or (options.dfdaemon and not options.scheduler):
        parser.error("--dfdaemon and --dfget go together, with --scheduler")
    if not 1 <= options.peers <= 200 or options.mib < 1 or options.mbit < 1 or options.runs < 1:
        parser.error("from 1 to 200 peers, the rest above 0")
    options.build = os.path.abspath(options.build)
    for program in ("dfdaemon", "dfget", "tests/origin/origin"):
        if not os.path.exists(os.path.join(options.build, program)):
            parser.error("%s is not built" % os.path.join(options.build, program))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        check_machine()
        ratios, others = [], []
        for _ in range(options.runs):
            ratios.append(one_run(options, options.dir))
            if options.dfdaemon:
                others.append(one_run(options, options.dir, True))
    except Skip as e:
        print("fan-out skipped: %s" % e)
        return 0
    except RuntimeError as e:
        print("fan-out failed: %s" % e, file=sys.stderr)
        return 1
    if others:
        print("fan-out: ours needs %.2f of the other make's time" % (statistics.median(ratios) / statistics.median(others)))
    if options.runs > 1:
        print("fan-out median of %d: last/bound %.2f" % (options.runs, statistics.median(ratios)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
