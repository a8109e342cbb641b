"""What the benches measure with: processes timed from outside, an nginx to compare with, rows of one table."""
import os
import shutil
import signal
import socket
import statistics
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")
WAIT_S = 120


class Wrong(Exception):
    """A download failed or its bytes are wrong: there is nothing to measure."""


class Run:
    """One process from before its start to its end: seconds of wall time and of processor time (user and system)."""

    def __init__(self, args, stdout=None):
        self.args = args
        self.read, write = (None, None) if stdout is None else os.pipe()
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        if stdout is None:
            actions.append((os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0))
        else:
            actions.append((os.POSIX_SPAWN_DUP2, write, 1))
        self.begin = time.monotonic()
        self.pid = os.posix_spawnp(args[0], args, os.environ, file_actions=actions)
        if write is not None:
            os.close(write)

    def drain(self):
        """Reads standard output to its end: (seconds to the first byte, bytes)."""
        first, total = None, 0
        while block := os.read(self.read, 1 << 20):
            if first is None:
                first = time.monotonic() - self.begin
            total += len(block)
        os.close(self.read)
        return first, total

    def end(self):
        _, status, usage = os.wait4(self.pid, 0)
        self.wall = time.monotonic() - self.begin
        self.cpu = usage.ru_utime + usage.ru_stime
        if status != 0:
            raise Wrong(f"{' '.join(self.args)}: exit status {os.waitstatus_to_exitcode(status)}")
        return self


def cpu_of(*pids):
    """Processor seconds that these processes used so far."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def make_file(path, size):
    """A file that does not compress, in the page cache."""
    block = os.urandom(min(size, 1 << 20))
    with open(path, "wb") as f:
        for at in range(0, size, len(block)):
            f.write(at.to_bytes(8, "big") + block[8:] if len(block) >= 8 else block)
        f.truncate(size)


def check_same(a, b):
    if subprocess.run(["cmp", "-s", a, b]).returncode != 0:
        raise Wrong(f"{b} is not what {a} is")


NGINX = """
{user}
worker_processes {workers};
daemon off;
error_log stderr crit;
pid {dir}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
	access_log off;
	sendfile on;
	tcp_nopush {nopush};
	keepalive_requests 1000000;
	default_type application/octet-stream;
	client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
	uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
	server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


class Nginx:
    """Serves a directory on loopback."""

    def __init__(self, directory, root, nopush="on"):
        self.dir = directory
        os.mkdir(directory)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        conf = f"{directory}/nginx.conf"
        with open(conf, "w") as f:
            f.write(NGINX.format(dir=directory, root=root, port=self.port, nopush=nopush, workers=os.cpu_count(),
                                 user="user root;" if os.geteuid() == 0 else ""))
        program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if program is None:
            raise Wrong("nginx is not installed")
        self.process = subprocess.Popen([program, "-p", directory, "-c", conf], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL)
        end = time.monotonic() + WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise Wrong("nginx did not start")
                time.sleep(0.01)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def pids(self):
        """The master and its workers."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return [self.process.pid] + [int(pid) for pid in f.read().split()]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def median(values):
    return statistics.median(values)


def seconds(x):
    return f"{x:.2f} s" if x >= 0.2 else f"{x * 1e3:.1f} ms"


def milliseconds(x):
    return f"{x * 1e3:.0f} ms"


def mib_of(kib):
    return f"{kib / 1024:.1f} MiB"


class Table:
    """Rows of: what, ours, theirs, ratio, target, verdict, the reference's figure."""

    HEAD = ("", "what", "ours", "theirs", "ratio", "target", "", "reference")

    def __init__(self):
        self.rows = []
        self.missed = 0

    def row(self, key, what, ours, theirs="", ratio="", target="", is_met=None, reference=""):
        self.missed += is_met is False
        verdict = "" if is_met is None else "pass" if is_met else "miss"
        self.rows.append((key, what, ours, theirs, ratio, target, verdict, f"[{reference}]" if reference else ""))
        print("  " + ", ".join(cell for cell in self.rows[-1] if cell), flush=True)

    def ratio(self, key, what, ours, theirs, tool, limit, reference):
        """Runs in pairs: the medians, and the median of the ratios pair by pair against a limit."""
        ratio = median([a / b for a, b in zip(ours, theirs)])
        self.row(key, what, seconds(median(ours)), f"{seconds(median(theirs))} {tool}", f"{ratio:.2f}", f"<= {limit} x", ratio <= limit,
                 reference)

    def beside(self, key, what, ours, theirs, tool, limit, reference=""):
        """Runs in pairs whose median is held against a time; the tool's is there to compare."""
        a, b = median(ours), median(theirs)
        target = f"<= {milliseconds(limit)}"
        self.row(key, what, seconds(a), f"{seconds(b)} {tool}", f"{a / b:.2f}", target, a <= limit, reference)

    def time(self, key, what, ours, limit, reference=""):
        took = median(ours)
        self.row(key, what, seconds(took), target=f"<= {milliseconds(limit)}", is_met=took <= limit, reference=reference)

    def memory(self, key, what, kib, limit_mib, reference=""):
        self.row(key, what, mib_of(kib), target=f"<= {limit_mib} MiB", is_met=kib <= limit_mib * 1024, reference=reference)

    def text(self):
        rows = [self.HEAD, *sorted(self.rows, key=lambda row: row[0])]
        width = [max(len(row[i]) for row in rows) for i in range(len(self.HEAD))]
        lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, width)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (w + 2) for w in width) + "|")
        return "\n".join(lines)
