"""Real programs of Dragonfly beside ours, on loopback: a peer that is another make of dfdaemon, a scheduler in Go, and clusters of
them. Programs are given by path; nothing of theirs is kept. Names of hosts begin with the make ("ours-", "real-"), so that a log line
that names a peer tells its make."""
import collections
import os
import random
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import cluster  # noqa: E402
from cluster import Cluster, Peer, merge, to_yaml, wait_for  # noqa: E402

KEEP_LOGS = os.environ.get("INTEROP_LOGS", "")     # a directory that gets the logs of each cluster, in a directory of its own
REAL_START_S = 60       # it samples its host first, and the machine may be busy
REAL_STOP_S = 30
GO_START_S = 30

ANSI = re.compile(r"\x1b\[[0-9;]*m")
HOST = re.compile(r"127\.0\.0\.1-((ours|real)-[a-z0-9]+)")
SHAPE_MAX = 160
# A line of a log without what differs from run to run.
SHAPE = (
    (re.compile(r"^\S+Z?\s+"), ""),
    (re.compile(r"(\S+:)+ \S*/registry/src/[^/]*/"), ""),     # the place in another make's program
    (re.compile(r"\S*/registry/src/[^/]*/"), ""),
    (re.compile(r"[0-9a-f]{64}"), "TASK"),
    (re.compile(r"127\.0\.0\.1-(ours|real)-[a-z0-9]+(-seed)?(-[0-9a-f-]{36})?(-seed)?"), "PEER"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDR"),
    (re.compile(r"/[^ \"]*dragonfly-test-[^ \"/]*"), "DIR"),
    (re.compile(r"\b(ours|real)-[a-z0-9]+"), "HOST"),
    (re.compile(r"\d+"), "N"),
)


def quiet_ports(n):
    """Free ports below those that connections get, each only once: a real daemon takes 4 s to listen."""
    ports = []
    while len(ports) < n:
        port = random.randint(12000, 30000)
        with cluster.socket.socket() as t, cluster.socket.socket(type=cluster.socket.SOCK_DGRAM) as u:
            try:
                t.bind(("127.0.0.1", port))
                u.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in cluster.GIVEN:
            cluster.GIVEN.add(port)
            ports.append(port)
    return ports


def shape(line):
    for pattern, text in SHAPE:
        line = pattern.sub(text, line)
    return line.strip()[:SHAPE_MAX]


class Programs:
    """Paths of the real programs; "" where one is absent."""

    def __init__(self, build, scheduler="", manager="", dfdaemon="", dfget=""):
        self.build = os.path.abspath(build)
        self.scheduler, self.manager, self.dfdaemon, self.dfget = (os.path.abspath(p) if p else "" for p in
                                                                   (scheduler, manager, dfdaemon, dfget))

        for tool in ("dfctl", "dfcache"):
            beside = os.path.join(os.path.dirname(self.dfdaemon), tool) if self.dfdaemon else ""
            setattr(self, tool, beside if os.path.exists(beside) else "")
        self.redis = shutil.which("redis-server") or ""

    def missing(self, *names):
        return [n for n in names if not getattr(self, n)]

    def version(self, name):
        path = getattr(self, name)
        if not path:
            return "absent"
        args = [path, "version"] if name in ("scheduler", "manager") else [path, "--version"]
        out = subprocess.run(args, capture_output=True, text=True, timeout=30)
        text = ANSI.sub("", out.stdout + out.stderr)
        number = re.search(r"\d+\.\d+\.\d+[^\s\"]*", text)
        return number.group(0) if number else "of unknown version"


class OurPeer(Peer):
    is_real = False
    quic_port = None

    def parents(self):
        """Pieces by the make of the parent they came from."""
        counts = {"ours": 0, "real": 0}
        for line in self.log().splitlines():
            if "piece came task=" in line:
                counts[HOST.search(line.split("parent=")[1]).group(2)] += 1
        return counts

    def complaints(self):
        return [line for line in self.log().splitlines() if " WARN " in line or " ERROR " in line]


class RealPeer(Peer):
    is_real = True

    def __init__(self, lab, name, is_seed, binary):
        was, cluster.free_ports = cluster.free_ports, quiet_ports
        try:
            super().__init__(lab, name, is_seed, False)
        finally:
            cluster.free_ports = was
        self.binary = binary
        self.quic_port = quiet_ports(1)[0]
        for d in ("plugin", "cache", "logs", "store"):
            os.mkdir(f"{self.home}/{d}")
        merge(self.config, {
            "server": {"pluginDir": f"{self.home}/plugin", "cacheDir": f"{self.home}/cache"},
            "storage": {"server": {"quicPort": self.quic_port}},
            "proxy": {"registryMirror": {"addr": "http://127.0.0.1:9"}},
        })
        if is_seed:
            self.config["seedPeer"]["type"] = "super"

    def start(self, wait=True):
        with open(f"{self.home}/dfdaemon.yaml", "w") as f:
            f.write(to_yaml(self.config))
        if not os.path.exists(f"{self.home}/dynconfig.yaml"):
            self.set_schedulers([f"127.0.0.1:{self.cluster.scheduler_port}"])
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                [self.binary, "--config", f"{self.home}/dfdaemon.yaml", "--dynconfig", f"{self.home}/dynconfig.yaml",
                 "--log-dir", f"{self.home}/logs", "--console", "--log-level", "debug"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait_ready()

    def log(self):
        return ANSI.sub("", super().log())

    def parents(self):
        # A child that prefers QUIC comes to the gRPC port of a parent that has none.
        ports = {port: "real" if p.is_real else "ours" for p in self.cluster.all for port in (p.piece_port, p.upload_port, p.quic_port)}
        counts = {"ours": 0, "real": 0}
        for line in self.log().splitlines():
            m = "received piece content" in line and re.search(r'parent_addr="127\.0\.0\.1:(\d+)"', line)
            if m:
                counts[ports[int(m.group(1))]] += 1
        return counts

    def complaints(self):
        return [line for line in self.log().splitlines() if re.search(r"\b(WARN|ERROR)\b", line[:60])]


class Redis:
    """Where Go schedulers keep persistent tasks and jobs."""

    def __init__(self, lab, binary):
        self.port = quiet_ports(1)[0]
        with open(os.path.join(lab.dir, "redis.log"), "w") as log:
            self.process = subprocess.Popen([binary, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no",
                                             "--dir", lab.dir], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ready():
            with cluster.socket.socket() as s:
                s.connect(("127.0.0.1", self.port))
            return True
        wait_for(ready, GO_START_S, "redis answers")

    def stop(self):
        self.process.terminate()
        self.process.wait(REAL_STOP_S)


class GoScheduler:
    def __init__(self, lab, binary, name, port, manager=None, config=None):
        self.home = os.path.join(lab.dir, name)
        self.port = port
        self.binary = binary
        self.process = None
        for d in ("log", "plugin", "data", "cache"):
            os.makedirs(f"{self.home}/{d}")
        server = {"advertiseIP": "127.0.0.1", "listenIP": "127.0.0.1", "port": self.port, "workHome": self.home}
        for d in ("log", "plugin", "data", "cache"):
            server[d + "Dir"] = f"{self.home}/{d}"
        if manager is not None:
            server.update({"host": name, "advertisePort": self.port})
        with open(f"{self.home}/scheduler.yaml", "w") as f:
            base = {
                "server": server,
                "scheduler": {"algorithm": "default", "backToSourceCount": 200, "retryBackToSourceLimit": 3, "retryLimit": 5,
                              "retryInterval": "1s"},
                "dynConfig": {"refreshInterval": "1m"},
                "job": {"enable": lab.redis is not None}, "metrics": {"enable": False}, "network": {"enableIPv6": False}}
            merge(base, config)
            f.write(to_yaml(base))
            if manager is not None:
                f.write(to_yaml({"manager": {"addr": f"127.0.0.1:{manager.port}", "schedulerClusterID": 1, "keepAlive": {"interval": "1s"}}}))
            if lab.redis:
                f.write(to_yaml({"database": {"redis": {"addrs": [f"127.0.0.1:{lab.redis.port}"]}}}))
        with open(f"{self.home}/dynconfig.yaml", "w") as f:
            f.write("applications: []\n" + to_yaml({
                "seedPeerClusterConfig": {"loadLimit": 2000},
                "schedulerClusterConfig": {"candidateParentLimit": 3, "filterParentLimit": 15},
                "schedulerClusterClientConfig": {"loadLimit": 200}}))
        self.start()

    def start(self):
        with open(f"{self.home}/out", "a") as log:
            self.process = subprocess.Popen([self.binary, "--config", f"{self.home}/scheduler.yaml", "--dynconfig",
                                             f"{self.home}/dynconfig.yaml", "--console"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"scheduler ended with {self.process.returncode}:\n{self.log()[-2000:]}")
            with cluster.socket.socket() as s:
                s.connect(("127.0.0.1", self.port))
            return True
        wait_for(ready, GO_START_S, "the scheduler answers")

    def log(self):
        with open(f"{self.home}/out", errors="replace") as f:
            return ANSI.sub("", f.read())

    def complaints(self):
        return [line for line in self.log().splitlines() if re.search(r"\b(WARN|ERROR)\b", line[:80])]

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(REAL_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


class Lab(Cluster):
    """Daemons of both makes. `members`: names; "seed" in a name makes a seed, "real-" or "ours-" before it tells the make.
    go: how many Go schedulers (True: one); without, the first of ours carries the scheduler. Use as a context manager."""

    def __init__(self, programs, members, go=False, config=None, real_config=None, redis=False, scheduler_config=None):
        self.build = programs.build
        self.dir = cluster.tempfile.mkdtemp(prefix="dragonfly-test-")
        self.log_level = "debug"
        self.children = []
        self.scheduler_port = quiet_ports(1)[0]
        self.all = []
        self.schedulers = []
        self.seed = None
        self.dfget_real = programs.dfget
        self.redis = None
        carrier = None
        try:
            if redis:
                self.redis = Redis(self, programs.redis)
            ports = [self.scheduler_port] + quiet_ports(max(int(go) - 1, 0))
            for i in range(int(go)):
                self.schedulers.append(GoScheduler(self, programs.scheduler, f"scheduler{i}", ports[i], config=scheduler_config))
            for name in members:
                is_seed = "seed" in name
                if name.startswith("real-"):
                    p = RealPeer(self, name, is_seed, programs.dfdaemon)
                else:
                    p = OurPeer(self, name, is_seed, not go and carrier is None)
                    carrier = carrier or p
                if is_seed:
                    self.seed = p
                merge(p.config, config)
                merge(p.config, (real_config if p.is_real else None))
                p.set_schedulers([f"127.0.0.1:{port}" for port in ports])
                self.all.append(p)
            self.peers = [p for p in self.all if p is not self.seed]
            self.carrier = carrier
            for p in sorted(self.all, key=lambda p: (p is not carrier, p is not self.seed)):
                p.start(wait=not p.is_real or p is self.seed)
            for p in self.all:
                p.wait_ready()
            if not go:
                wait_for(lambda: carrier.metric("dragonfly_scheduler_hosts") >= len(self.all), REAL_START_S, "all hosts are announced")
        except BaseException:
            self.close()
            raise

    def named(self, name):
        return next(p for p in self.all if p.name == name)

    def close(self):
        if KEEP_LOGS:
            kept = os.path.join(KEEP_LOGS, os.path.basename(self.dir))
            os.makedirs(kept)
            for p in self.all:
                shutil.copy(p.log_path, f"{kept}/{p.name}.log")
            for i, scheduler in enumerate(self.schedulers):
                shutil.copy(f"{scheduler.home}/out", f"{kept}/scheduler{i}.log")
        super().close()
        for scheduler in self.schedulers:
            scheduler.stop()
        if self.redis:
            self.redis.stop()


# ---- what a cluster did ----

def directions(lab):
    """(make of the parent, make of the child) -> pieces."""
    counts = collections.Counter()
    for p in lab.all:
        for make, n in p.parents().items():
            counts[make, "real" if p.is_real else "ours"] += n
    return counts


def traffic(lab):
    """Bytes by the metrics of all: (make, kind) with kind source, peer, upload."""
    sums = collections.Counter()
    for p in lab.all:
        if p.process is None:
            continue
        make = "real" if p.is_real else "ours"
        sums[make, "source"] += p.metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE")
        sums[make, "peer"] += p.metric("dragonfly_client_download_traffic", type="REMOTE_PEER")
        sums[make, "upload"] += p.metric("dragonfly_client_upload_traffic")
    return sums


def complaints(lab):
    """make -> shapes of WARN and ERROR lines with an example."""
    found = {"ours": {}, "real": {}, "scheduler": {}}
    for p in lab.all:
        for line in p.complaints():
            found["real" if p.is_real else "ours"].setdefault(shape(line), line)
    for scheduler in lab.schedulers:
        for line in scheduler.complaints():
            found["scheduler"].setdefault(shape(line), line)
    return found
