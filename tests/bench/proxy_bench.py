"""The proxy beside nginx, curl and dfget: steps j to n of run.py."""
import os
import re
import subprocess

from measure import Nginx, Run, Wrong, check_same, cpu_of, median, remove, seconds

MIB = 1 << 20
CONNECTIONS = 64
SLOW_CLIENTS = 1000
CONFIG = {"proxy": {"rules": [{"regex": ".*"}], "server": {"requestRateLimit": 10000000}}}


def get(bench, peer, url, out="/dev/null"):
    return Run(["curl", "-sS", "-f", "-o", out, "-x", f"http://127.0.0.1:{peer.proxy_port}", url]).end()


def load(bench, port, target, *flags):
    """(answers a second) of the load tool."""
    tool = os.path.join(bench.build, "tests/bench/http_load")
    seconds = "1" if bench.quick else "3"
    done = subprocess.run([tool, "-p", str(port), "-c", str(CONNECTIONS), "-t", seconds, *flags, target], capture_output=True, text=True, timeout=120)
    found = re.match(r"answers (\d+) bytes \d+ seconds ([\d.]+)", done.stdout)
    if done.returncode != 0 or not found:
        raise Wrong(f"http_load: {done.stderr}{done.stdout}")
    return int(found.group(1)) / float(found.group(2))


def beside_nginx(bench, letter, name, size, flags, what, target, reference, cpu_target=None):
    """Warm content of one peer beside nginx, which serves the same file; in turns."""
    source = bench.source(name, size)
    rates, costs = [], []
    # Without tcp_nopush: with it the last segment of a range waits for the client's acknowledgement.
    nginx = Nginx(os.path.join(bench.work, f"nginx-{letter}"), bench.www, nopush="off")
    try:
        with bench.cluster(0, CONFIG) as c:
            peer, url = c.seed, nginx.url("/" + name)
            out = bench.out()
            get(bench, peer, url, out)
            check_same(source, out)
            remove(out)
            ours, theirs = [], []
            for i in range(bench.runs + 1):
                pids = nginx.pids()
                before = cpu_of(*pids)
                b = load(bench, nginx.port, "/" + name, *flags)
                used_b = cpu_of(*pids) - before
                before = cpu_of(peer.process.pid)
                a = load(bench, peer.proxy_port, url, *flags)
                used_a = cpu_of(peer.process.pid) - before
                if i == 0:
                    continue
                ours.append(a)
                theirs.append(b)
                rates.append(a / b)
                costs.append((used_a / a) / (used_b / b))
    finally:
        nginx.stop()
    rate, cost = median(rates), median(costs)
    bench.table.row(letter, what, f"{median(ours):,.0f}/s", f"{median(theirs):,.0f}/s nginx", f"{rate:.2f}", f">= {target} x", rate >= target, reference)
    if cpu_target:
        bench.table.row(letter, "the same, processor time of an answer", "", "nginx", f"{cost:.2f}", f"<= {cpu_target} x", cost <= cpu_target)


def warm(bench):
    beside_nginx(bench, "j", "mib", MIB, (), f"proxy: warm 1 MiB, {CONNECTIONS} connections", 1.0, "0.98 x", 1.3)


def ranges(bench):
    size = 256 * MIB
    beside_nginx(bench, "k", "ranged", size, ("-r", "65536", "-s", str(size)), f"proxy: 64 KiB ranges of 256 MiB, {CONNECTIONS} connections", 0.9,
                 "0.56 x")


def first_byte(bench):
    size, n = 10 * MIB, 5 if bench.quick else 21
    bench.source("ten", size)
    ours, direct = [], []

    def one(args, firsts):
        run = Run(args, stdout=True)
        at, total = run.drain()
        run.end()
        if total != size:
            raise Wrong(f"{' '.join(args)}: {total} bytes")
        firsts.append(at)

    with bench.cluster(1, CONFIG) as c:
        peer = c.peers[0]
        get(bench, peer, bench.nginx.url("/ten"))
        for i in range(n):
            url = bench.nginx.url(f"/ten?proxy={i}")
            one(["curl", "-sS", "-x", f"http://127.0.0.1:{peer.proxy_port}", url], ours)
            one(["curl", "-sS", url], direct)
    later = median([a - b for a, b in zip(ours, direct)])
    bench.table.row("l", f"proxy: first byte of 10 MiB cold, median of {n}", f"{median(ours) * 1e3:.1f} ms", f"{median(direct) * 1e3:.1f} ms curl",
                    f"+{later * 1e3:.1f} ms", "<= +20 ms", later <= 0.020, "920 ms")


def cold(bench):
    """Bytes to a client that drops them, by the proxy and by dfget; dfget's file, a link of the peer's; and curl's file, which is a second one."""
    source, walls = bench.big(), {"proxy": [], "pipe": [], "link": [], "file": []}
    kinds = list(walls)
    for i in range(min(bench.runs, 5) + 1):
        with bench.cluster(1, CONFIG) as c:
            peer, out = c.peers[0], bench.out()
            for kind in kinds[i % 4:] + kinds[:i % 4]:
                url = bench.nginx.url("/big?" + kind)
                if kind in ("pipe", "link"):
                    walls[kind].append(bench.dfget(peer, url, "-" if kind == "pipe" else out).wall)
                else:
                    walls[kind].append(get(bench, peer, url, out if kind == "file" else "/dev/null").wall)
                if kind in ("link", "file"):
                    check_same(source, out)
                    remove(out)
    proxy, pipe, link, file = (walls[kind][1:] for kind in kinds)
    bench.table.ratio("m", f"proxy: {bench.big_text()} cold, beside dfget to a pipe, wall", proxy, pipe, "dfget", 1.15, "")
    bench.table.ratio("m", "the same, beside dfget with a link", proxy, link, "dfget", 1.15, "")
    bench.table.row("m", "the same, to a file of curl's own", seconds(median(file)), f"{seconds(median(link))} dfget",
                    f"{median([a / b for a, b in zip(file, link)]):.2f}")


def slow_clients(bench):
    size = 256 * MIB
    bench.source("ranged", size)
    with bench.cluster(0, CONFIG) as c:
        peer, url = c.seed, bench.nginx.url("/ranged")
        get(bench, peer, url)
        tool = os.path.join(bench.build, "tests/bench/http_load")
        with subprocess.Popen([tool, "-p", str(peer.proxy_port), "-c", str(SLOW_CLIENTS), "-t", "30", "-m", "slow", url], stdout=subprocess.PIPE,
                              text=True) as p:
            if p.stdout.readline().split() != ["open", str(SLOW_CLIENTS)]:
                raise Wrong("http_load: slow clients")
            peak = peer.status("VmHWM")
            p.kill()
    bench.table.memory("n", f"proxy: peak memory with {SLOW_CLIENTS:,} slow clients", peak, 64, "166 MiB, 64 fast ones")
