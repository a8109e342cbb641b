"""A cluster of real daemons on loopback for tests, the demo and benches: ports chosen free, everything below one temporary
directory, every wait with a deadline, every child ended. The test origin is tests/origin (see tests/support/origin.h)."""
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import traceback
import urllib.request

# What takes a moment may take long on a machine that is busy with other things: nothing is given up before.
PATIENCE_S = 60


class Timeout(Exception):
    pass


def wait_for(ready, seconds, what, step=0.01):
    """Calls ready() until it is true; its value. Errors of files and sockets that are not there yet count as not ready."""
    seconds = max(seconds, PATIENCE_S)
    end = time.monotonic() + seconds
    while True:
        try:
            value = ready()
            if value:
                return value
        except OSError:
            pass
        if time.monotonic() > end:
            raise Timeout(f"{what}: not within {seconds} s")
        time.sleep(step)


# Below the ports that systems give to outgoing connections: those may be taken at any moment.
PORTS = range(12000, 32000)


GIVEN = set()


def free_ports(n):
    """Ports that nobody listens on and that were not given before, since who got them may not listen yet."""
    socks = []
    while len(socks) < n:
        s = socket.socket()
        port = random.choice(PORTS)
        try:
            if port in GIVEN:
                raise OSError
            s.bind(("127.0.0.1", port))
            GIVEN.add(port)
            socks.append(s)
        except OSError:
            s.close()
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_file(path, size):
    """A file of random bytes; its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as f:
        while size > 0:
            block = os.urandom(min(size, 1 << 20))
            f.write(block)
            digest.update(block)
            size -= len(block)
    return digest.hexdigest()


def to_yaml(node, indent=0):
    out = ""
    for key, value in node.items():
        pad = " " * indent
        if isinstance(value, dict):
            out += f"{pad}{key}:\n" + to_yaml(value, indent + 2) if value else f"{pad}{key}: {{}}\n"
        elif isinstance(value, list):
            out += f"{pad}{key}:\n" + "".join(f"{pad}  - {json.dumps(v) if isinstance(v, dict) else v}\n" for v in value)
        else:
            out += f"{pad}{key}: {str(value).lower() if isinstance(value, bool) else value}\n"
    return out


def merge(base, extra):
    for key, value in (extra or {}).items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value


def http_get(url, timeout=PATIENCE_S):
    with urllib.request.urlopen(url, timeout=timeout) as r:
        return r.read()


class Origin:
    """The test origin. url(path) gives an address on it; stats() what it sent."""

    def __init__(self, build, directory=None, rate=0, address="127.0.0.1"):
        args = [f"{build}/tests/origin/origin", "--bind", address]
        self.address = address
        if directory:
            args += ["--dir", directory]
        if rate:
            args += ["--rate", str(rate)]
        self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = int(self.process.stdout.readline().split()[-1])

    def url(self, path):
        return f"http://{self.address}:{self.port}{path}"

    def stats(self):
        return json.loads(http_get(self.url("/_stats")))

    def bytes(self):
        return self.stats()["bytes"]

    def reset(self):
        http_get(self.url("/_reset"))

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(PATIENCE_S)
        self.process.stdout.close()


class Peer:
    """One dfdaemon: its files are home/{dfdaemon.yaml,dynconfig.yaml,log,sock,store}."""

    def __init__(self, cluster, name, is_seed, has_scheduler):
        self.cluster = cluster
        self.name = name
        self.home = os.path.join(cluster.dir, name)
        os.mkdir(self.home)
        self.socket = f"{self.home}/sock"
        self.store = f"{self.home}/store"
        self.log_path = f"{self.home}/log"
        self.upload_port, self.piece_port, self.proxy_port, self.metrics_port, self.health_port, self.stats_port = free_ports(6)
        self.process = None
        self.flags = []     # of the command line, further ones
        self.config = {
            "host": {"hostname": name, "ip": "127.0.0.1"},
            "download": {"server": {"socketPath": self.socket}},
            "upload": {"server": {"ip": "127.0.0.1", "port": self.upload_port}},
            "storage": {"dir": self.store, "server": {"ip": "127.0.0.1", "tcpPort": self.piece_port}},
            "scheduler": {"announceInterval": "5s"},
        }
        for section, port in (("proxy", self.proxy_port), ("metrics", self.metrics_port), ("health", self.health_port),
                              ("stats", self.stats_port)):
            self.config[section] = {"server": {"ip": "127.0.0.1", "port": port}}
        if is_seed:
            self.config["seedPeer"] = {"enable": True}
        if has_scheduler:
            self.config["x"] = {"scheduler": {"enable": True, "port": cluster.scheduler_port}}

    def start(self, wait=True):
        with open(f"{self.home}/dfdaemon.yaml", "w") as f:
            f.write(to_yaml(self.config))
        if not os.path.exists(f"{self.home}/dynconfig.yaml"):
            self.set_schedulers([f"127.0.0.1:{self.cluster.scheduler_port}"])
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                [f"{self.cluster.build}/dfdaemon", "--config", f"{self.home}/dfdaemon.yaml", "--dynconfig", f"{self.home}/dynconfig.yaml",
                 "--console", "--log-level", self.cluster.log_level, *self.flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait_ready()

    def wait_ready(self):
        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.log()[-2000:]}")
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(self.socket)
            return True
        wait_for(ready, PATIENCE_S, f"{self.name} answers on its socket")

    def set_schedulers(self, addresses):
        with open(f"{self.home}/dynconfig.yaml.new", "w") as f:
            f.write(to_yaml({"scheduler": {"addrs": addresses}}))
        os.rename(f"{self.home}/dynconfig.yaml.new", f"{self.home}/dynconfig.yaml")

    def stop(self, sig=signal.SIGTERM):
        """Ends it; its exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(sig)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Timeout(f"{self.name} did not end within {PATIENCE_S} s")
        finally:
            self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def log_lines(self, *levels):
        return [line for line in self.log().splitlines() if any(f" {level} " in line for level in levels)]

    def metric(self, name, **labels):
        """Sum of the samples of a family that have these labels; 0 when there is none."""
        total = 0.0
        for line in http_get(f"http://127.0.0.1:{self.metrics_port}/metrics").decode().splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all(f'{k}="{v}"' in head for k, v in labels.items()):
                total += float(value)
        return total

    def status(self, field):
        """A number of /proc/PID/status, such as VmRSS (KiB)."""
        with open(f"/proc/{self.process.pid}/status") as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
        raise KeyError(field)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def dfget_args(self, url, output, *flags):
        return [f"{self.cluster.build}/dfget", url, "-O", output, "--endpoint", self.socket, "--daemon=require", "--progress=none", *flags]

    def dfget_start(self, url, output, *flags):
        p = subprocess.Popen(self.dfget_args(url, output, *flags), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.cluster.children.append(p)
        return p

    def dfget(self, url, output, *flags, seconds=60):
        """Runs dfget; (exit code, stderr)."""
        p = subprocess.run(self.dfget_args(url, output, *flags), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
        return p.returncode, p.stderr.decode(errors="replace")


class Cluster:
    """`peers` daemons and (seed=True) a seed before them, which carries the scheduler. Use as a context manager."""

    def __init__(self, build, peers=2, seed=True, config=None, log_level="info", start=True):
        self.build = os.path.abspath(build)
        self.dir = tempfile.mkdtemp(prefix="dragonfly-test-")
        self.log_level = log_level
        self.children = []
        self.scheduler_port = free_ports(1)[0]
        self.all = []
        try:
            if seed:
                self.all.append(Peer(self, "seed", True, True))
            for i in range(peers):
                self.all.append(Peer(self, f"peer{i + 1}", False, not seed and i == 0))
            self.seed = self.all[0] if seed else None
            self.peers = self.all[1:] if seed else self.all
            for p in self.all:
                merge(p.config, config)
            if start:
                self.start()
        except BaseException:
            self.close()
            raise

    def start(self):
        """For start=False, once the configurations are as they should be."""
        for p in self.all:
            p.start()
        self.wait_announced()

    def wait_announced(self, count=None):
        scheduler = self.all[0]
        want = len(self.all) if count is None else count
        wait_for(lambda: scheduler.metric("dragonfly_scheduler_hosts") >= want, PATIENCE_S, f"{want} hosts are announced")

    def path(self, name):
        return os.path.join(self.dir, name)

    def close(self):
        for p in self.children:
            if p.poll() is None:
                p.kill()
            p.wait()
            for stream in (p.stdout, p.stderr):
                if stream:
                    stream.close()
        for peer in self.all:
            try:
                peer.stop()
            except Timeout as e:
                print(e)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def finish(process, seconds, what):
    """Waits for a dfget_start; (exit code, stderr)."""
    try:
        _, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Timeout(f"{what}: not within {seconds} s")
    return process.returncode, err.decode(errors="replace")


def is_sanitized(build):
    """Sanitizers keep memory of their own, which says nothing of ours."""
    with open(f"{build}/dfdaemon", "rb") as f:
        program = f.read()
    return b"__asan_" in program or b"__tsan_" in program


def run_tests(namespace, argv, last=None):
    """Runs the functions named test_* (each takes the build directory) and then `last`, prints failures and the closing line; the exit
    code. usage: SCRIPT BUILD_DIR [NAME...]"""
    build, names = argv[1], argv[2:]
    passed = failed = 0
    tests = [(name, test) for name, test in namespace.items()
             if name.startswith("test_") and callable(test) and (not names or name in names)]
    for name, test in tests + ([(last.__name__, last)] if tests and last else []):
        begin = time.monotonic()
        try:
            test(build)
            passed += 1
            print(f"ok {name} {time.monotonic() - begin:.1f}s", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {name} {time.monotonic() - begin:.1f}s", flush=True)
            traceback.print_exc()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def run_tests_in(make, ends_well, namespace, argv):
    """The same in one world, make(build), which they find as `world`; at the end ends_well(world) is the last test."""
    namespace["world"] = world = make(argv[1])
    try:
        def the_world_ends_well(_build):
            ends_well(world)
        return run_tests(namespace, argv, the_world_ends_well)
    finally:
        world.close()
