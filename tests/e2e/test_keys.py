"""Keys and options do what their description says; those that do nothing are told of. usage: tests/e2e/test_keys.py BUILD_DIR [NAME...]"""
import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grpc_support as g  # noqa: E402
from cluster import Cluster, Origin, finish, free_ports, make_file, run_tests, wait_for  # noqa: E402

MIB = 1 << 20
WAIT_S = 60


def test_a_seed_asks_the_origin_for_who_may_not(build):
    with Cluster(build, peers=1, config={"storage": {"server": {"tcpFastopen": "true"}}}) as c:
        os.mkdir(c.path("o"))
        sums = {name: make_file(c.path(f"o/{name}"), size) for name, size in (("small", 1000), ("large", 9 * MIB + 5))}
        origin = Origin(build, c.path("o"))
        try:
            for name in sums:
                code, err = c.peers[0].dfget(origin.url(f"/{name}"), c.path(name), "--disable-back-to-source", "--digest", f"sha256:{sums[name]}",
                                             "--timeout", f"{WAIT_S}s", seconds=2 * WAIT_S)
                assert code == 0, err
            # The host that was told not to ask the origin has not done so; the seed has, once for each.
            assert c.peers[0].metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE") == 0
            assert c.seed.metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE") == 1000 + 9 * MIB + 5
            # Other schedulers pass the wish of the host that asked on to the seed, together with their order to go to the origin.
            api = g.Api()
            with g.channel_to(f"127.0.0.1:{c.seed.upload_port}") as channel:
                ask = api.common.Download(url=origin.url("/small?other"), need_back_to_source=True, disable_back_to_source=True)
                answers = list(api.stub(channel, "dfdaemon.v2.DfdaemonUpload").DownloadTask(
                    api.dfdaemon.DownloadTaskRequest(download=ask), timeout=WAIT_S))
                assert answers, "the seed answered nothing"
        finally:
            origin.stop()


def test_tasks_at_once_are_bounded(build):
    with Cluster(build, peers=1, seed=False, config={"x": {"download": {"maxConcurrentTasks": 2}, "log": {"format": "json"}}}) as c:
        peer = c.peers[0]
        origin = Origin(build)
        try:
            def get(name, path):
                return peer.dfget(origin.url(path), c.path(name), "--overwrite")
            code, err = get("stored", "/gen/1K/1")
            assert code == 0, err
            running = [peer.dfget_start(origin.url(f"/gen/8M/{i}?drip=50000"), c.path(f"slow{i}")) for i in range(2)]
            wait_for(lambda: peer.metric("dragonfly_client_download_task_total") >= 3, WAIT_S, "two tasks run")
            # What is on file is given all the same.
            code, err = get("again", "/gen/1K/1")
            assert code == 0, err
            code, err = get("third", "/gen/1K/2")
            assert code == 1 and "more than 2 tasks at once (x.download.maxConcurrentTasks)" in err, (code, err)
            ask = urllib.request.Request(origin.url("/gen/1K/3"), headers={"X-Dragonfly-Use-P2P": "true"})
            ask.set_proxy(f"127.0.0.1:{peer.proxy_port}", "http")
            try:
                urllib.request.urlopen(ask, timeout=WAIT_S)
                raise AssertionError("the proxy took a third task")
            except urllib.error.HTTPError as e:
                assert e.code == 503 and b"maxConcurrentTasks" in e.read(), e
            for p in running:
                p.terminate()
                finish(p, WAIT_S, "dfget ends")
            wait_for(lambda: get("third", "/gen/1K/2")[0] == 0, WAIT_S, "room for another task")
        finally:
            origin.stop()
        peer.stop()
        # And its log is one of JSON objects.
        lines = [json.loads(line) for line in peer.log().splitlines()]
        assert {line["level"] for line in lines} >= {"info"} and all(set(line) == {"time", "level", "message"} for line in lines), lines
        assert any(line["message"].startswith("started host=") for line in lines), lines


def test_connections_beyond_the_limit_are_told_of(build):
    with Cluster(build, peers=1, seed=False, config={"x": {"proxy": {"maxConnections": 2}, "server": {"ioThreads": 1}}}) as c:
        peer = c.peers[0]
        kept = []
        try:
            for _ in range(2):
                s = socket.create_connection(("127.0.0.1", peer.proxy_port), timeout=WAIT_S)
                s.sendall(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
                kept.append(s)
                assert s.recv(12) == b"HTTP/1.1 400", "no answer to one of the first two"
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", peer.proxy_port), timeout=WAIT_S) as s:
                    try:
                        assert s.recv(1) == b"", "a third connection was served"
                    except ConnectionResetError:
                        pass
            assert peer.metric("dragonfly_client_x_limited_total", what="proxy") == 3
            told = [line for line in peer.log_lines("WARN") if "too many at once" in line]
            assert len(told) == 1 and 'server="proxy (x.proxy.maxConnections)" limit=2 peer=127.0.0.1:' in told[0], told
        finally:
            for s in kept:
                s.close()


def test_embedded_schedulers_that_name_each_other(build):
    with Cluster(build, peers=3, seed=False, start=False) as c:
        addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
        for peer, own in zip(c.all, addresses):
            peer.config["x"] = {"scheduler": {"enable": True, "port": own.split(":")[1], "peers": [a for a in addresses if a != own]}}
            with open(f"{peer.home}/dynconfig.yaml", "w") as f:
                f.write("{}\n")
            peer.start()
        for peer in c.all:
            wait_for(lambda peer=peer: peer.metric("dragonfly_scheduler_hosts") >= 3, WAIT_S, "each scheduler knows each host")
        os.mkdir(c.path("o"))
        size = 9 * MIB
        digest = make_file(c.path("o/f"), size)
        origin = Origin(build, c.path("o"))
        try:
            def get(n, peers):
                for peer in peers:
                    code, err = peer.dfget(origin.url(f"/f?{n}"), c.path(f"{peer.name}-{n}"), "--digest", f"sha256:{digest}")
                    assert code == 0, err
            for n in range(6):
                get(n, c.all)
            # Both ask the same scheduler for a task, whichever it is: the second has it from the first.
            assert origin.bytes() < 6 * size + MIB, origin.bytes()
            c.all[1].kill()
            for n in range(6, 12):
                get(n, (c.all[0], c.all[2]))
            # Most still come from a peer.
            assert origin.bytes() < 15 * size, origin.bytes()
        finally:
            origin.stop()


def test_signed_urls_are_in_no_message(build):
    with Cluster(build, peers=1, seed=False, log_level="trace") as c:
        origin = Origin(build)
        try:
            for target in ("http://[broken/x?sig=SECRET", "http://127.0.0.1:1/x?sig=SECRET", "ftp://u:SECRET@h/"):
                quoted = urllib.parse.quote(target, safe="")
                code, err = c.peers[0].dfget(origin.url(f"/gen/1K/1?redirect={quoted}"), c.path("x"), "-H", "Authorization: Bearer SECRET", "-u", "a:SECRET")
                assert code == 1 and "Failed" in err and "SECRET" not in err, err
        finally:
            origin.stop()
        c.peers[0].stop()
        assert "SECRET" not in c.peers[0].log(), c.peers[0].log()


def test_credentials_of_netrc(build):
    with Cluster(build, peers=1, seed=False) as c:
        origin = Origin(build)
        netrc = c.path("netrc")
        os.environ["NETRC"] = netrc

        def get(text, *flags, user="me:a%20b"):
            with open(netrc, "w") as f:
                f.write(text)
            return c.peers[0].dfget(origin.url(f"/gen/1K/1?basic={user}&{get.count}"), c.path(f"n{get.count}"), *flags)
        get.count = 0
        entry = 'machine 127.0.0.1\n\tlogin me password "a b"\n'
        rows = ((entry, (), 1), (entry, ("--netrc",), 0), (f"machine other login x password y\n{entry}", ("--netrc",), 0),
                (f"macdef init\nmachine 127.0.0.1 login bad\n\n{entry}", ("--netrc",), 0), (f'default login me password "a b"', ("--netrc",), 0),
                (f"machine 127.0.0.1 login no password no\n{entry}", ("--netrc",), 1), ("machine", ("--netrc",), 1), ("", ("--netrc",), 1),
                ("machine 127.0.0.1 login no password no", ("--netrc", "-u", "me:a b"), 0),
                (entry, ("--netrc", "-H", "Authorization: Basic bm86bm8="), 1))
        try:
            for text, flags, want in rows:
                get.count += 1
                code, err = get(text, *flags)
                assert code == want and (want == 0 or "401" in err), (text, flags, code, err)
            os.unlink(netrc)
            os.mkdir(netrc)
            code, err = c.peers[0].dfget(origin.url("/gen/1K/1?dir"), c.path("dir"), "--netrc")
            assert code == 1 and f"read {netrc}" in err, err
        finally:
            del os.environ["NETRC"]
            origin.stop()


def test_service_managers_hear_when_it_serves(build):
    with Cluster(build, peers=1, seed=False, start=False) as c:
        peer = c.peers[0]
        pid = c.path("pid")
        with open(pid, "w") as f:
            f.write("1\n")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(c.path("notify"))
            s.settimeout(WAIT_S)
            peer.flags = ["--pid-file", pid]
            os.environ["NOTIFY_SOCKET"] = c.path("notify")
            try:
                peer.start(wait=False)
                assert s.recv(100) == b"READY=1"
            finally:
                del os.environ["NOTIFY_SOCKET"]
            # It serves indeed.
            assert peer.dfget("http://127.0.0.1:1/x", c.path("x"))[0] == 1
        with open(pid) as f:
            assert int(f.read()) == peer.process.pid
        assert peer.stop() == 0 and not os.path.exists(pid)


def check_config(build, text, *flags):
    p = subprocess.run([f"{build}/dfdaemon", "--check-config", "-c", "/dev/stdin", *flags], input=text, capture_output=True, text=True, timeout=WAIT_S)
    return p.returncode, p.stderr


def test_keys_without_effect_are_told_of(build):
    text = "storage: {cacheCapacity: 1GiB, writeBufferSize: 524288}\nbackend:\n  putTimeout: 1s\n"
    code, err = check_config(build, text)
    assert code == 0, err
    assert "/dev/stdin:1:26: storage.cacheCapacity: has no effect" in err or "1:11: storage.cacheCapacity: has no effect" in err, err
    assert "storage.writeBufferSize: has no effect" in err and "backend.putTimeout: has no effect" in err, err
    # With the values that they have anyway there is nothing to tell.
    assert check_config(build, "storage: {cacheCapacity: 64MiB, writeBufferSize: 2097152}\n") == (0, "")
    assert "has no effect" in check_config(build, "{}", "--set", "storage.cacheCapacity=1")[1]


def test_manual_pages_name_every_option(build):
    commands = ["dfget", "dfdaemon", "dfinit", "dfcache import", "dfcache export", "dfcache stat", "dfctl task ls", "dfctl task rm",
                "dfctl task preheat", "dfctl store check", "dfctl persistent-task ls", "dfctl persistent-cache-task ls"]
    missing = []
    for command in commands:
        program, *rest = command.split()
        text = subprocess.run([f"{build}/{program}", *rest, "--help"], capture_output=True, text=True, timeout=WAIT_S, check=True).stdout
        with open(f"doc/{program}.1") as f:
            page = re.sub(r"\\f[BIR]", "", f.read().replace("\\-", "-"))
        options = re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", text, re.M)
        assert "--help" in options, text
        missing += [f"{command} {o}" for o in options if o != "--version" and not re.search(re.escape(o) + r"(?![a-z-])", page)]
    assert not missing, missing


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
