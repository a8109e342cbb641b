#!/usr/bin/python3
"""The main job, shown: an origin, a seed peer with the scheduler inside, four peers, one file asked by all four at once.

usage: demo.py BUILD_DIR. Everything runs on loopback below one temporary directory; nothing is left running."""
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

PEERS = 4
SIZE = 256 << 20
ORIGIN_RATE = 50_000_000
START_S = 10
DOWNLOAD_S = 60


def free_ports(n):
    socks = [socket.socket() for _ in range(n)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


class Demo:
    def __init__(self, build):
        self.build = build
        self.dir = tempfile.mkdtemp(prefix="dragonfly-demo-")
        self.children = []

    def spawn(self, args, **kw):
        p = subprocess.Popen(args, stdin=subprocess.DEVNULL, **kw)
        self.children.append(p)
        return p

    def close(self):
        for p in self.children:
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        end = time.monotonic() + 10
        for p in self.children:
            try:
                p.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def start_origin(self):
        self.file = os.path.join(self.dir, "files", "image.bin")
        os.mkdir(os.path.dirname(self.file))
        digest = hashlib.sha256()
        with open(self.file, "wb") as f:
            for _ in range(SIZE >> 20):
                block = os.urandom(1 << 20)
                f.write(block)
                digest.update(block)
        self.digest = digest.hexdigest()
        p = self.spawn([f"{self.build}/tests/origin/origin", "--dir", os.path.dirname(self.file), "--rate", str(ORIGIN_RATE)],
                       stdout=subprocess.PIPE, text=True)
        self.origin_port = int(p.stdout.readline().split()[-1])
        self.url = f"http://127.0.0.1:{self.origin_port}/image.bin"

    def origin_bytes(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.origin_port}/_stats", timeout=5) as r:
            return json.load(r)["bytes"]

    def start_peers(self):
        per_peer = 6
        ports = free_ports(1 + per_peer * (PEERS + 1))
        scheduler, ports = ports[0], ports[1:]
        self.metrics = []
        self.sockets = []
        for i in range(PEERS + 1):
            home = os.path.join(self.dir, "seed" if i == 0 else f"peer{i}")
            os.mkdir(home)
            p = ports[i * per_peer:(i + 1) * per_peer]
            config = {
                "host": {"hostname": os.path.basename(home), "ip": "127.0.0.1"},
                "download": {"server": {"socketPath": f"{home}/dfdaemon.sock"}},
                "upload": {"server": {"ip": "127.0.0.1", "port": p[0]}},
                "storage": {"dir": f"{home}/store", "server": {"ip": "127.0.0.1", "tcpPort": p[1]}},
                "proxy": {"server": {"ip": "127.0.0.1", "port": p[2]}},
                "metrics": {"server": {"ip": "127.0.0.1", "port": p[3]}},
                "health": {"server": {"ip": "127.0.0.1", "port": p[4]}},
                "stats": {"server": {"ip": "127.0.0.1", "port": p[5]}},
            }
            if i == 0:
                config["seedPeer"] = {"enable": True}
                config["x"] = {"scheduler": {"enable": True, "port": scheduler}}
            with open(f"{home}/dfdaemon.yaml", "w") as f:
                f.write(to_yaml(config))
            with open(f"{home}/dynconfig.yaml", "w") as f:
                f.write(f"scheduler:\n  addrs:\n    - 127.0.0.1:{scheduler}\n")
            log = open(f"{home}/log", "w")
            self.spawn([f"{self.build}/dfdaemon", "--config", f"{home}/dfdaemon.yaml", "--dynconfig", f"{home}/dynconfig.yaml",
                        "--console"], stdout=log, stderr=log)
            self.metrics.append(p[3])
            self.sockets.append(f"{home}/dfdaemon.sock")
            wait_for(lambda s=self.sockets[-1]: os.path.exists(s), START_S, f"{home} did not start")
        # Every peer is known to the scheduler before the race begins.
        wait_for(lambda: self.metric(0, "dragonfly_scheduler_hosts") >= PEERS + 1, START_S, "not all peers were announced")

    def metric(self, peer, name, **labels):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics[peer]}/metrics", timeout=5) as r:
            text = r.read().decode()
        total = 0.0
        for line in text.splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all(f'{k}="{v}"' in head for k, v in labels.items()):
                total += float(value)
        return total

    def race(self, commands):
        """Runs them all at once; seconds of each."""
        start = time.monotonic()
        running = {i: self.spawn(c, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for i, c in enumerate(commands)}
        took = {}
        while running:
            for i, p in list(running.items()):
                if p.poll() is not None:
                    took[i] = time.monotonic() - start
                    if p.returncode != 0:
                        fail(f"download {i + 1} failed: {p.stderr.read().decode().strip()}")
                    del running[i]
            if time.monotonic() - start > DOWNLOAD_S:
                fail(f"{len(running)} downloads did not finish in {DOWNLOAD_S} s")
            time.sleep(0.005)
        return [took[i] for i in range(len(commands))]


def to_yaml(node, indent=0):
    out = ""
    for key, value in node.items():
        if isinstance(value, dict):
            out += " " * indent + f"{key}:\n" + to_yaml(value, indent + 2)
        else:
            out += " " * indent + f"{key}: {str(value).lower() if isinstance(value, bool) else value}\n"
    return out


class Failure(Exception):
    pass


def fail(text):
    raise Failure(text)


def wait_for(ready, seconds, text):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if ready():
                return
        except OSError:
            pass
        time.sleep(0.01)
    fail(f"{text} in {seconds} s")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def mb(n):
    return f"{n / 1e6:8.1f}"


def run(demo):
    size_mb = SIZE / 1e6
    print(f"One file of {SIZE >> 20} MiB ({size_mb:.0f} MB), an origin that gives {ORIGIN_RATE / 1e6:.0f} MB/s in all, "
          f"a seed peer with the scheduler inside, {PEERS} peers.\n", flush=True)
    demo.start_origin()
    demo.start_peers()

    outputs = [os.path.join(demo.dir, f"out{i + 1}") for i in range(PEERS)]
    before = demo.origin_bytes()
    took = demo.race([[f"{demo.build}/dfget", demo.url, "-O", outputs[i], "--endpoint", demo.sockets[i + 1], "--progress=none"]
                      for i in range(PEERS)])
    with_p2p = demo.origin_bytes() - before
    print("with P2P, all at once:")
    print("  peer    time    rate       from origin  from seed  from peers   content")
    right = True
    for i in range(PEERS):
        good = sha256(outputs[i]) == demo.digest
        right = right and good
        source = demo.metric(i + 1, "dragonfly_client_download_traffic", type="BACK_TO_SOURCE")
        seed = demo.metric(i + 1, "dragonfly_client_x_parent_bytes_total", kind="seed")
        peers = demo.metric(i + 1, "dragonfly_client_x_parent_bytes_total", kind="peer")
        print(f"  {i + 1:>4} {took[i]:6.2f} s {size_mb / took[i]:6.1f} MB/s   {mb(source)} MB {mb(seed)} MB {mb(peers)} MB   "
              f"{'right' if good else 'WRONG'}")
        os.unlink(outputs[i])
    print(flush=True)

    before = demo.origin_bytes()
    alone = demo.race([[f"{demo.build}/dfget", demo.url, "-O", outputs[i], "--daemon=never", "--progress=none", "--quiet"]
                       for i in range(PEERS)])
    without = demo.origin_bytes() - before
    for out in outputs:
        good = sha256(out) == demo.digest
        right = right and good
        os.unlink(out)
    print(f"                     origin sent      last one done")
    print(f"  with P2P           {mb(with_p2p)} MB      {max(took):6.2f} s")
    print(f"  without            {mb(without)} MB      {max(alone):6.2f} s")
    print(f"  the file x {PEERS}       {mb(SIZE * PEERS)} MB\n")
    if not right:
        fail("some content is wrong")
    if with_p2p > SIZE * 1.02:
        fail(f"the origin sent {with_p2p / SIZE:.2f} times the file")
    print(f"The origin was read {with_p2p / SIZE:.3f} times for {PEERS} downloads; all contents are right.")


def main():
    if len(sys.argv) != 2:
        print("usage: demo.py BUILD_DIR", file=sys.stderr)
        return 2
    demo = Demo(os.path.abspath(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: fail("stopped"))
    try:
        run(demo)
        return 0
    except Failure as e:
        print(f"demo: {e}", file=sys.stderr)
        for name in sorted(os.listdir(demo.dir)):
            log = os.path.join(demo.dir, name, "log")
            if os.path.exists(log):
                print(f"--- {name}", file=sys.stderr)
                with open(log) as f:
                    print("".join(f.readlines()[-15:]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        demo.close()


if __name__ == "__main__":
    sys.exit(main())
