# Used by cli_*.py alone; cluster.py is what every other test, the demo and the benches use.
"""Real daemons and a real origin on loopback, for tests and the demo. Everything lives in one temporary directory; every process is
a child that is ended with it; every wait has a deadline."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from cluster import free_ports

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
READY_S = 20
STOP_S = 30


def wait_until(condition, seconds, what):
    """Asks again and again until condition() is true; its value. AssertionError after the time."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError("not within %g s: %s" % (seconds, what))
        time.sleep(0.005)


def end(process, sig=signal.SIGTERM, seconds=STOP_S):
    """Ends a child and takes its exit code; kills it when it does not go in time."""
    if process.poll() is None:
        process.send_signal(sig)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError("process %d did not end within %g s" % (process.pid, seconds))


class Origin:
    """The test origin (tests/support/origin.h): files of `directory`, and /gen/SIZE/SEED."""

    def __init__(self, build_dir, directory=None, rate=0, port=0):
        self.program = os.path.join(build_dir, "tests", "origin", "origin")
        if not os.path.exists(self.program):
            self.program = os.path.join(build_dir, "origin")
        if not os.path.exists(self.program):
            support = os.path.join(ROOT, "tests", "support")
            sources = [os.path.join(support, f) for f in sorted(os.listdir(support)) if f.startswith("origin") and f.endswith(".c")]
            subprocess.run(
                [os.environ.get("CC", "cc"), "-std=c11", "-O2", "-D_POSIX_C_SOURCE=200809L", "-D_XOPEN_SOURCE=700", "-pthread",
                 "-I" + os.path.join(ROOT, "tests"), "-o", self.program, os.path.join(ROOT, "tests", "origin", "origin.c")] + sources,
                check=True, timeout=120)
        command = [self.program, "--bind", "127.0.0.1", "--port", str(port)]
        if directory:
            command += ["--dir", directory]
        if rate:
            command += ["--rate", str(rate)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if "listening on port" not in line:
            end(self.process)
            raise AssertionError("origin did not start: " + line)
        self.port = int(line.split()[-1])
        self.url = "http://127.0.0.1:%d" % self.port

    def _get(self, path):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, timeout=10) as answer:
            return answer.read()

    def stats(self):
        """{"requests": n, "bytes": n, "connections": n, ...}"""
        return json.loads(self._get("/_stats"))

    def reset(self):
        self._get("/_reset")

    def stop(self):
        end(self.process)
        self.process.stdout.close()


class Peer:
    """One dfdaemon."""

    def __init__(self, cluster, index, is_seed, ports, scheduler_port):
        self.cluster = cluster
        self.index = index
        self.is_seed = is_seed
        self.dir = os.path.join(cluster.dir, "p%d" % index)
        self.socket = os.path.join(self.dir, "sock")
        self.log_path = os.path.join(self.dir, "log")
        self.config = os.path.join(self.dir, "dfdaemon.yaml")
        self.dynconfig = os.path.join(self.dir, "dynconfig.yaml")
        self.upload, self.piece, self.proxy, self.metrics_port, self.health, self.stats = ports
        self.process = None
        os.makedirs(self.dir)
        self._write(scheduler_port)

    def _write(self, scheduler_port):
        keys = {
            "host": {"hostname": "p%d" % self.index, "ip": "127.0.0.1"},
            "download": {"server": {"socketPath": self.socket}},
            "upload": {"server": {"port": self.upload}},
            "storage": {"dir": os.path.join(self.dir, "store"), "server": {"tcpPort": self.piece}},
            "proxy": {"server": {"port": self.proxy}},
            "metrics": {"server": {"port": self.metrics_port}},
            "health": {"server": {"port": self.health}},
            "stats": {"server": {"port": self.stats}},
            "seedPeer": {"enable": self.is_seed, "type": "super"},
            "scheduler": {"announceInterval": "5s"},
        }
        if self.is_seed and self.index == 0:
            keys["x"] = {"scheduler": {"enable": True, "port": scheduler_port}}
        merge(keys, self.cluster.config)
        merge(keys, self.cluster.peer_config.get(self.index, {}))
        # JSON is YAML, too.
        with open(self.config, "w") as f:
            json.dump(keys, f, indent=1)
        with open(self.dynconfig, "w") as f:
            json.dump({"scheduler": {"addrs": ["127.0.0.1:%d" % scheduler_port]}}, f)

    def start(self, wait=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(self.cluster.build_dir, "dfdaemon"), "-c", self.config, "--dynconfig", self.dynconfig, "--console",
                 "-l", self.cluster.log_level],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait_ready()

    def answers(self):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.settimeout(1)
            s.connect(self.socket)
            return True
        except OSError:
            return False
        finally:
            s.close()

    def wait_ready(self):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError("dfdaemon %d ended with %d:\n%s" % (self.index, self.process.returncode, self.log()))
            return self.answers()
        wait_until(ready, READY_S, "dfdaemon %d answers" % self.index)

    def stop(self):
        """Orderly; the exit code."""
        if self.process is None:
            return 0
        code = end(self.process)
        self.process = None
        return code

    def kill(self):
        """As a power cut: SIGKILL."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def metrics(self):
        """Samples of the Prometheus page: {"name{labels}": value}. None when there is no such page."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open("http://127.0.0.1:%d/metrics" % self.metrics_port, timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        samples = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples


def merge(into, more):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


class Cluster:
    """peers[0] is the seed with the scheduler inside (seed=True); peers others beside it. config is merged into every
    dfdaemon.yaml, peer_config[i] into that of one."""

    def __init__(self, build_dir, peers=2, seed=True, config=None, peer_config=None, log_level="info", directory=None):
        self.build_dir = os.path.abspath(build_dir)
        self.config = config or {}
        self.peer_config = peer_config or {}
        self.log_level = log_level
        self.owns_dir = directory is None
        self.dir = directory or tempfile.mkdtemp(prefix="dragonfly-")
        count = peers + (1 if seed else 0)
        ports = free_ports(6 * count + 1)
        self.scheduler_port = ports.pop()
        self.peers = [Peer(self, i, seed and i == 0, ports[6 * i:6 * i + 6], self.scheduler_port) for i in range(count)]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *failure):
        self.stop()

    def start(self):
        try:
            for peer in self.peers:
                peer.start()
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """Ends all and removes the directory; exit codes by peer."""
        codes = []
        try:
            for peer in reversed(self.peers):
                codes.append(peer.stop())
        finally:
            for peer in self.peers:
                if peer.process is not None:
                    peer.kill()
            if self.owns_dir:
                shutil.rmtree(self.dir, ignore_errors=True)
        return codes[::-1]

    def kill(self, index):
        self.peers[index].kill()

    def metrics(self, index):
        return self.peers[index].metrics()

    def command(self, index, *args):
        return [os.path.join(self.build_dir, "dfget"), "-e", self.peers[index].socket] + [str(a) for a in args]

    def dfget(self, index, *args, env=None, timeout=120):
        """Runs dfget at that peer: CompletedProcess with bytes."""
        return subprocess.run(self.command(index, *args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=clean_env(env), timeout=timeout)


def clean_env(more=None):
    """The environment without what would change a test."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("DFGET_", "DFDAEMON_")) and k.lower() not in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
           and k not in ("RUST_LOG", "NO_COLOR")}
    env.update(more or {})
    return env
