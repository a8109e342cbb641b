"""The manager in Go with a database and a Redis of its own, both from the system's packages, started on free ports with directories that
go with the test; and clusters that find each other through it. Cases for run.py."""
import glob
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import cluster
from cluster import merge, sha256, to_yaml, wait_for
from lab import Lab, OurPeer, RealPeer, Redis, GoScheduler, quiet_ports

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
DATABASE_START_S = 60
MANAGER_START_S = 60
SEEDS_KNOWN_S = 34      # the Go scheduler looks for seed peers every 30 s
JOB_S = 100             # the manager looks at a job's state every 30 s
MIB = 1 << 20


def which(name):
    return shutil.which(name, path=PATH)


def missing():
    return [name for name in ("mariadbd", "mariadb-install-db") if not which(name)]


class GoManager:
    def __init__(self, directory, binary, redis):
        self.home = os.path.join(directory, "manager")
        self.redis_port = redis.port
        self.binary = binary
        self.process = None
        self.database = None
        self.token = None
        self.port, self.rest_port, self.db_port = quiet_ports(3)
        for d in ("home", "log", "db"):
            os.makedirs(f"{self.home}/{d}")
        try:
            self.start_database()
            self.write_config()
            self.start()
        except BaseException:
            self.close()
            raise

    def start_database(self):
        # A directory of its own: a database that starts removes all temporary tables that it finds, those of others too.
        os.mkdir(f"{self.home}/tmp")
        made = subprocess.run([which("mariadb-install-db"), "--no-defaults", f"--datadir={self.home}/db", "--skip-test-db",
                               "--auth-root-authentication-method=normal"] + (["--user=root"] if os.getuid() == 0 else []),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=DATABASE_START_S, env={**os.environ, "PATH": PATH, "TMPDIR": f"{self.home}/tmp"})
        assert made.returncode == 0, made.stdout[-2000:]
        with open(f"{self.home}/init.sql", "w") as f:
            f.write("CREATE DATABASE manager;\n")
        # Nobody but this test sees the port for its short life: no passwords, and nothing has to outlive a power cut.
        with open(f"{self.home}/db.log", "a") as log:
            self.database = subprocess.Popen(
                [which("mariadbd"), "--no-defaults", f"--datadir={self.home}/db", f"--socket={self.home}/db.sock", f"--port={self.db_port}",
                 f"--tmpdir={self.home}/tmp",
                 "--bind-address=127.0.0.1", "--skip-grant-tables", "--innodb-flush-log-at-trx-commit=0", f"--init-file={self.home}/init.sql"] +
                (["--user=root"] if os.getuid() == 0 else []), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_port(self.database, self.db_port, "db", DATABASE_START_S)

    def wait_port(self, process, port, name, seconds):
        def ready():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{self.text(name)[-2000:]}")
            with cluster.socket.socket() as s:
                s.connect(("127.0.0.1", port))
            return True
        wait_for(ready, seconds, f"{name} answers", 0.1)

    def text(self, name):
        with open(f"{self.home}/{name}.log", errors="replace") as f:
            return f.read()

    def write_config(self):
        dirs = {"workHome": f"{self.home}/home", "logDir": f"{self.home}/log", "cacheDir": f"{self.home}/home",
                "pluginDir": f"{self.home}/home"}
        with open(f"{self.home}/manager.yaml", "w") as f:
            f.write(to_yaml({
                "server": {**dirs, "grpc": {"advertiseIP": "127.0.0.1", "listenIP": "127.0.0.1", "port": {"start": self.port, "end": self.port}},
                           "rest": {"addr": f"127.0.0.1:{self.rest_port}"}},
                "auth": {"jwt": {"realm": "Dragonfly", "key": "ZHJhZ29uZmx5Cg==", "timeout": "48h", "maxRefresh": "48h"}},
                "database": {
                    "type": "mysql",
                    "mysql": {"user": "root", "password": "none", "host": "127.0.0.1", "port": self.db_port, "dbname": "manager",
                              "migrate": True},
                    "redis": {"addrs": [f'"127.0.0.1:{self.redis_port}"'], "proxy": {"enable": False}}}}))

    def start(self):
        with open(f"{self.home}/manager.log", "a") as log:
            self.process = subprocess.Popen([self.binary, "--config", f"{self.home}/manager.yaml", "--console"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_port(self.process, self.port, "manager", MANAGER_START_S)
        self.wait_port(self.process, self.rest_port, "manager", MANAGER_START_S)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def close(self):
        for p in (self.process, self.database):
            if p is not None and p.poll() is None:
                p.terminate()
                try:
                    p.wait(20)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()

    # ---- REST ----

    def rest(self, method, path, body=None):
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = "Bearer " + self.token
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest_port}/api/v1{path}", method=method, headers=headers,
                                         data=json.dumps(body).encode() if body is not None else None)
        try:
            with urllib.request.urlopen(request, timeout=20) as r:
                return json.loads(r.read() or b"null")
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{method} {path}: {e.code} {e.read().decode(errors='replace')}")

    def sign_in(self):
        self.token = None
        self.token = self.rest("POST", "/users/signin", {"name": "root", "password": "dragonfly"})["token"]

    def block(self, **rules):
        self.rest("PATCH", "/scheduler-clusters/1", {"client_config": {"load_limit": 200, "block_list": {"task": {"download": rules}}}})

    def seeds(self):
        return self.rest("GET", "/seed-peers")

    def schedulers(self):
        return self.rest("GET", "/schedulers")

    def preheat(self, url, scope="single_seed_peer"):
        job = self.rest("POST", "/jobs", {"type": "preheat", "scheduler_cluster_ids": [1],
                                          "args": {"type": "file", "url": url, "scope": scope}})
        return job["id"]

    def job_state(self, number):
        return self.rest("GET", f"/jobs/{number}")["state"]


class ManagedLab(Lab):
    """Lab whose members know only the manager. `members` as there; `schedulers`: how many Go schedulers; late: not started yet."""

    def __init__(self, programs, members, schedulers=1, config=None, rules=None):
        self.build = programs.build
        self.dir = cluster.tempfile.mkdtemp(prefix="dragonfly-test-")
        self.log_level = "debug"
        self.children, self.all, self.schedulers = [], [], []
        self.seed = self.carrier = self.manager = self.redis = None
        self.dfget_real = programs.dfget
        self.scheduler_port = 0
        try:
            self.redis = Redis(self, programs.redis)
            self.manager = GoManager(self.dir, programs.manager, self.redis)
            self.manager.sign_in()
            if rules:
                self.manager.block(**rules)
            for i in range(schedulers):
                self.schedulers.append(GoScheduler(self, programs.scheduler, f"scheduler{i}", quiet_ports(1)[0], manager=self.manager))
            wait_for(lambda: len([s for s in self.manager.schedulers() if s["state"] == "active"]) == schedulers, MANAGER_START_S,
                     "the manager knows the schedulers", 0.5)
            for name in members:
                is_seed = "seed" in name
                p = RealPeer(self, name, is_seed, programs.dfdaemon) if name.startswith("real-") else OurPeer(self, name, is_seed, False)
                if is_seed:
                    self.seed = p
                merge(p.config, {"manager": {"addr": f"http://127.0.0.1:{self.manager.port}"}, "dynconfig": {"refreshInterval": "2s"}})
                merge(p.config, config)
                # Nothing there: whoever reads it finds no scheduler.
                p.set_schedulers(["127.0.0.1:9"])
                self.all.append(p)
            self.peers = [p for p in self.all if p is not self.seed]
            for p in self.all:
                p.start(wait=False)
            for p in self.all:
                p.wait_ready()
        except BaseException:
            self.close()
            raise

    def close(self):
        manager, self.manager = self.manager, None
        if manager is not None:
            manager.close()
        super().close()


def hosts_of(port):
    """What a scheduler knows of its hosts, over ListHosts."""
    import grpc_support as g
    api = g.Api()
    with g.channel_to(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/scheduler.v2.Scheduler/ListHosts", request_serializer=lambda m: m.SerializeToString(),
                                   response_deserializer=api.scheduler.ListHostsResponse.FromString)
        return {h.hostname: h for h in call(api.scheduler.ListHostsRequest(), timeout=10).hosts}


def register(case):
    """Adds the cases to run.py's."""

    @case("manager", "redis", "scheduler")
    def manager_tells_of_schedulers(run):
        """Our peers find the scheduler, appear there with what they are, obey the cluster's block list, and the seed's entry comes and goes."""
        with ManagedLab(run.programs, ["ours-seed", "ours-a"], rules={"urls": ["[?]forbidden"], "tags": ["night"]},
                        config={"host": {"idc": "hall-2", "location": "north|rack-7"}}) as lab:
            seed, a = lab.all
            hosts = wait_for(lambda: (lambda h: h if len(h) == 2 else None)(hosts_of(lab.schedulers[0].port)), 20, "both are announced", 0.2)
            h = hosts["ours-a"]
            assert (h.ip, h.port, h.type, h.network.idc, h.network.location) == ("127.0.0.1", a.upload_port, 0, "hall-2", "north|rack-7"), h
            assert h.os == "linux" and h.cpu.logical_count > 0 and h.memory.total > 0 and h.disk.total > 0 and h.build.git_version, h
            assert hosts["ours-seed"].type == 1
            url, digest = run.content(8 * MIB)
            run.fetch(lab, [a], url, digest)
            code, text = a.dfget(url + "?forbidden", lab.path("x"))
            assert code != 0 and "rejected by blocklist policy" in text, f"{code} {text}"
            code, text = a.dfget(url, lab.path("x"), "--tag", "night")
            assert code != 0 and "rejected by blocklist policy" in text, f"{code} {text}"
            # Seed peers have rules of their own: none.
            code, text = seed.dfget(url, lab.path("x"), "--tag", "night")
            assert code == 0, text
            rows = wait_for(lambda: [s for s in lab.manager.seeds() if s["state"] == "active"], 20, "the seed has its entry", 0.2)
            assert [(s["host_name"], s["ip"], s["port"], s["type"]) for s in rows] == [("ours-seed", "127.0.0.1", seed.upload_port, "super")], rows
            seed.stop()
            wait_for(lambda: not lab.manager.seeds(), 10, "the entry is gone", 0.2)
            assert not [line for line in seed.complaints() + a.complaints()], seed.complaints() + a.complaints()

    @case("manager", "redis", "scheduler")
    def manager_preheats_our_seed(run):
        """A job of the manager's REST API comes to our seed through the scheduler and is done; a peer gets the file from there."""
        with ManagedLab(run.programs, ["ours-seed", "ours-a"]) as lab:
            time.sleep(SEEDS_KNOWN_S)
            url, digest = run.content()
            number = lab.manager.preheat(url)
            state = wait_for(lambda: (lambda s: s if s in ("SUCCESS", "FAILURE") else None)(lab.manager.job_state(number)), JOB_S,
                             "the job is done", 1)
            assert state == "SUCCESS", lab.manager.rest("GET", f"/jobs/{number}")
            assert lab.seed.metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE") == run.size
            run.fetch(lab, lab.peers, url, digest)
            why = [line for line in lab.peers[0].log().splitlines() if "to the source" in line or " WARN " in line]
            assert run.origin_times() <= 1.05, f"origin read {run.origin_times():.3f} times: {why}"

    @case("manager", "redis", "scheduler", "dfdaemon")
    def manager_and_peers_of_both_makes(run):
        with ManagedLab(run.programs, ["ours-seed", "real-a", "ours-b", "real-c"]) as lab:
            time.sleep(SEEDS_KNOWN_S)
            url, digest = run.content()
            run.fetch(lab, lab.peers, url, digest)
            assert run.origin_times() <= 1.05, f"origin read {run.origin_times():.3f} times"

    @case("manager", "redis", "scheduler")
    def manager_goes_and_comes(run):
        """50 files while the manager is away; a daemon that starts meanwhile takes from the source and joins when it is back."""
        size = 8 * MIB
        with ManagedLab(run.programs, ["ours-seed", "ours-a", "ours-b"]) as lab:
            a, b = lab.peers
            time.sleep(SEEDS_KNOWN_S)
            lab.manager.kill()
            b.stop()
            b.start()
            url, digest = run.content(size)
            run.fetch(lab, [b], url, digest)
            for _ in range(50):
                url, digest = run.content(size)
                run.fetch(lab, [a], url, digest)
                assert run.origin_times(size) <= 1.05
            said = [line for line in a.log_lines("WARN") if "the manager gives no schedulers" in line]
            assert len(said) <= 2, said
            lab.manager.start()
            wait_for(lambda: hosts_of(lab.schedulers[0].port).get("ours-b"), 30, "it joins", 0.2)
            run.fetch(lab, [b], url, digest)
            assert run.origin_times(size) <= 1.05, "b did not get it from the others"

    @case("manager", "redis", "scheduler")
    def manager_three_schedulers_one_dies(run):
        """50 files while one of three schedulers is killed and another restarted."""
        size = 8 * MIB
        with ManagedLab(run.programs, ["ours-a", "ours-b"], schedulers=3) as lab:
            for i in range(50):
                url, digest = run.content(size)
                if i == 15:
                    lab.schedulers[0].process.kill()
                if i == 30:
                    lab.schedulers[1].stop()
                if i == 32:
                    lab.schedulers[1].start()
                run.fetch(lab, lab.all, url, digest)
                assert run.origin_times(size) <= 2.05
            asked = [len(set(re.findall(r"\b[0-9a-f]{64}\b", s.log()))) for s in lab.schedulers]
            print(f"    50 tasks, by scheduler {asked}")
            # The file at which a death is noticed goes to the source; which scheduler it would have had is luck.
            assert sum(asked) >= 50 - 2 and min(asked) > 0, f"{asked}"

    @case("manager", "redis", "scheduler")
    def manager_clocks_ten_minutes_apart(run):
        """Our peers' clocks stand before and behind the scheduler's."""
        library = (glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") or [None])[0]
        if library is None:
            raise RuntimeError("no libfaketime: tests/deps installs it")
        size = 8 * MIB
        with ManagedLab(run.programs, ["ours-seed", "ours-early", "ours-late"]) as lab:
            for p, offset in zip(lab.peers, ("-10m", "+10m")):
                p.stop()
                fake = {"LD_PRELOAD": library, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
                os.environ.update(fake)
                try:
                    p.start()
                finally:
                    for name in fake:
                        del os.environ[name]
            time.sleep(SEEDS_KNOWN_S)
            assert lab.peers[0].log().splitlines()[-1][:16] != lab.peers[1].log().splitlines()[-1][:16], "the clocks are not set"
            for i in range(10):
                url, digest = run.content(size)
                first, second = lab.peers if i % 2 else lab.peers[::-1]
                run.fetch(lab, [first], url, digest)
                run.fetch(lab, [second], url, digest)
                assert run.origin_times(size) <= 1.05, f"origin read {run.origin_times(size):.3f} times"
