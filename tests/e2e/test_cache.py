"""dfcache and dfctl with daemons of ours: import here, export there, replicas, what is told and refused.
usage: tests/e2e/test_cache.py BUILD_DIR [NAME...]"""
import hashlib
import json
import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, Origin, make_file, run_tests, sha256, wait_for  # noqa: E402
from registry import Registry  # noqa: E402

MIB = 1 << 20
RUN_S = 30
REPLICAS_S = 15
STATS = 100         # bytes that questions for the length take


class Ended:
    def __init__(self, p):
        self.code, self.out, self.err = p.returncode, p.stdout.decode(), p.stderr.decode()


def tool(build, name, *args, env=None):
    p = subprocess.run([f"{build}/{name}", *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=RUN_S,
                       env={**os.environ, "TZ": "UTC", **(env or {})})
    return Ended(p)


def dfcache(peer, *args, env=None):
    return tool(peer.cluster.build, "dfcache", *args, "-e", peer.socket, env=env)


def dfctl(peer, *args):
    return tool(peer.cluster.build, "dfctl", *args, "-e", peer.socket)


def import_ok(peer, path, *args):
    p = dfcache(peer, "import", path, *args)
    assert p.code == 0, p.err
    return p.out.strip()


def export_ok(peer, task, out, digest, *args):
    p = dfcache(peer, "export", task, "-O", out, *args)
    assert p.code == 0, p.err
    assert p.out == "" and sha256(out) == digest, "wrong bytes"


def stat(peer, task):
    p = dfcache(peer, "stat", task, "--json")
    assert p.code == 0, p.err
    return json.loads(p.out)[0]


def local(peer, task):
    p = dfctl(peer, "persistent-cache-task", "ls", "--json")
    assert p.code == 0, p.err
    return next((t for t in json.loads(p.out) if t["id"] == task), None)


def replicas(peers, task, count, asked=None):
    """Waits until so many peers hold the task for good, and the scheduler counts as many."""
    def ready():
        held = [p for p in peers if p.process and (local(p, task) or {}).get("persistent") and local(p, task)["finished_at"]]
        return len(held) == count and stat(asked or peers[0], task)["current_persistent_replica_count"] == count and held
    return wait_for(ready, REPLICAS_S, f"{count} replicas", step=0.1)


def fails(p, *texts, code=1):
    assert p.code == code and p.out == "", (p.code, p.out, p.err)
    for text in texts:
        assert text in p.err, (text, p.err)


# ---- import, export, stat ----

def test_import_here_export_there(build):
    with Cluster(build, peers=3) as c:
        path = c.path("content")
        digest = make_file(path, 21 * MIB + 7)
        task = import_ok(c.peers[0], path)
        # The id is that of file, tag, application and piece length; nothing was given here.
        with open(path, "rb") as f:
            assert task == hashlib.sha256(f.read() + b"PERSISTENT_CACHE").hexdigest()
        held = replicas(c.all, task, 2)
        assert c.peers[0] in held
        # The user's file is not what is shared.
        with open(path, "r+b") as f:
            f.write(b"changed after the import")
        for i, peer in enumerate(c.all):
            export_ok(peer, task, c.path(f"out{i}"), digest)
        export_ok(c.peers[1], task, c.path("transferred"), digest, "--transfer-from-dfdaemon", "--digest", "sha256:" + digest)
        p = subprocess.run([f"{build}/dfcache", "export", task, "-O", "-", "-e", c.peers[2].socket], capture_output=True, timeout=RUN_S)
        assert p.returncode == 0 and hashlib.sha256(p.stdout).hexdigest() == digest
        s = stat(c.peers[2], task)
        assert s["state"] == "Succeeded" and s["content_length"] == 21 * MIB + 7 and s["piece_length"] == 4 * MIB and s["piece_count"] == 6
        assert s["current_replica_count"] == 4 and s["persistent_replica_count"] == 2 and s["ttl_seconds"] == 3600
        # Who only looked keeps it for a while.
        assert sum(local(p, task)["persistent"] for p in c.all) == 2
        assert c.seed.metric("dragonfly_scheduler_persistent_tasks") == 1
        assert sum(p.metric("dragonfly_client_download_task_total", type="2") for p in c.all) >= 5
        assert c.peers[0].metric("dragonfly_client_upload_task_total", type="2") == 1
        for p in c.all:
            assert not p.log_lines("ERROR"), p.log_lines("ERROR")


def test_ids_options_and_empty_files(build):
    with Cluster(build, peers=2, seed=False) as c:
        a, b = c.peers
        small, empty = c.path("small"), c.path("empty")
        digest, nothing = make_file(small, 1000), make_file(empty, 0)
        task = import_ok(a, small, "--content-for-calculating-task-id", "hello", "--ttl", "36h 61s", "--persistent-replica-count", "1")
        assert task == hashlib.sha256(b"hello").hexdigest()
        s = stat(b, task)
        assert s["ttl_seconds"] == 36 * 3600 + 61 and s["persistent_replica_count"] == s["current_persistent_replica_count"] == 1
        export_ok(b, task, c.path("out"), digest)
        with open(small, "rb") as f:
            content = f.read()
        assert import_ok(a, small, "--tag", "t", "--application", "app", "--piece-length", "8MiB") == \
            hashlib.sha256(content + b"tapp8388608PERSISTENT_CACHE").hexdigest()
        task = import_ok(a, empty, "--content-for-calculating-task-id", "nothing")
        export_ok(b, task, c.path("none"), nothing)
        assert stat(a, task)["piece_count"] == 0
        # A task of the other kind may have the same id.
        origin = c.path("plain")
        make_file(origin, 1)
        p = dfcache(a, "import", small, "--content-for-calculating-task-id", "quiet", env={"DFCACHE_IMPORT_TTL": "7d"})
        assert p.code == 0 and p.err == "" and stat(a, p.out.strip())["ttl_seconds"] == 7 * 86400


def test_what_is_refused(build):
    with Cluster(build, peers=2, seed=False) as c:
        a, b = c.peers
        path, out = c.path("content"), c.path("out")
        make_file(path, 5 * MIB)
        fails(dfcache(a, "import", path, "--ttl", "1m"), "Validating Failed!",
              "validate failed: ttl must be between 5 minutes and 7 days, but got 60")
        fails(dfcache(a, "import", c.dir), f"validate failed: path {c.dir} is a directory")
        fails(dfcache(a, "import", c.path("none")), f"path {c.path('none')} does not exist")
        fails(dfcache(a, "import", path, "--piece-length", "1MiB"),
              "piece length 1048576 bytes is less than the minimum piece length 4194304 bytes")
        fails(dfcache(a, "import", path, "--persistent-replica-count", "0"), "error: ", code=2)
        fails(dfcache(a, "import", "/dev/zero"), "Importing Failed!", "/dev/zero is not a regular file")
        task = import_ok(a, path, "--content-for-calculating-task-id", "x")
        fails(dfcache(a, "import", path, "--content-for-calculating-task-id", "x"), "Importing Failed!",
              "Bad Code: Some entity that we attempted to create already exists",
              f"persistent cache task {task} is Succeeded cannot upload", "Details: \n")
        fails(dfcache(b, "import", path, "--content-for-calculating-task-id", "x"), "is Succeeded cannot upload")
        unknown = "0" * 64
        fails(dfcache(b, "export", unknown, "-O", out), "Exporting Failed!", "Bad Code: Some requested entity was not found",
              f"Message: persistent cache task {unknown} not found")
        fails(dfcache(b, "stat", unknown), "Stating Failed!", "Bad Code: Some requested entity was not found", "Details: \n")
        fails(dfcache(b, "export", "../../etc/passwd", "-O", out), "Bad Code: Client specified an invalid argument")
        assert not os.path.exists(out)
        with open(out, "w") as f:
            f.write("kept")
        fails(dfcache(b, "export", task, "-O", out), f"validate failed: output path {out} is already exist")
        fails(dfcache(b, "export", task, "-O", c.path("no/such")), "is not a directory")
        fails(dfcache(b, "export", task, "-O", c.path("y"), "--digest", "sha256:" + "0" * 64), "digest mismatch expected: sha256:000")
        with open(out) as f:
            assert f.read() == "kept" and not os.path.exists(c.path("y"))
        p = dfcache(b, "export", task, "-O", out, "--overwrite")
        assert p.code == 0 and sha256(out) == sha256(path)
        for command in (["import", path], ["export", task, "-O", c.path("z")], ["stat", task]):
            fails(tool(build, "dfcache", *command, "-e", c.path("none.sock")), "Connect Dfdaemon Failed!",
                  "can not connect ConnectError cause: transport error", f"please check the unix socket {c.path('none.sock')}")


def test_block_lists(build):
    with Cluster(build, peers=1, seed=False, start=False) as c:
        a = c.peers[0]
        with open(f"{a.home}/dynconfig.yaml", "w") as f:
            f.write(f"""scheduler:
  addrs: ['127.0.0.1:{c.scheduler_port}']
clientConfig:
  blockList:
    persistentCacheTask:
      upload: {{tags: [secret]}}
      download: {{applications: [nosy]}}
""")
        c.start()
        path = c.path("content")
        make_file(path, MIB)
        refused = "Bad Code: The caller does not have permission to execute the specified operation"
        fails(dfcache(a, "import", path, "--tag", "secret"), refused, "upload rejected by blocklist policy")
        task = import_ok(a, path)
        fails(dfcache(a, "export", task, "-O", c.path("out"), "--application", "nosy"), refused, "download blocked by block list")
        assert a.metric("dragonfly_client_upload_task_blocked_total", type="2") == 1
        assert a.metric("dragonfly_client_download_task_blocked_total", type="2") == 1


# ---- replicas ----

def test_replicas_are_made_again(build):
    """A holder leaves: another one is made; a holder of the store's own comes back: it counts again."""
    with Cluster(build, peers=3, config={"storage": {"keep": True}}) as c:
        path = c.path("content")
        digest = make_file(path, 9 * MIB)
        task = import_ok(c.peers[0], path)
        held = replicas(c.all, task, 2)
        other = next(p for p in held if p is not c.peers[0])
        gone = c.peers[0] if other is c.seed else other
        gone.stop()
        rest = [p for p in c.all if p is not gone]
        replicas(rest, task, 2, asked=c.seed)
        for i, p in enumerate(rest):
            export_ok(p, task, c.path(f"out{i}"), digest)
        gone.start()
        wait_for(lambda: stat(c.seed, task)["current_persistent_replica_count"] == 3, REPLICAS_S, "it counts again")


def test_scheduler_restart_forgets_nothing(build):
    with Cluster(build, peers=2, config={"storage": {"keep": True}}) as c:
        path = c.path("content")
        digest = make_file(path, 9 * MIB)
        task = import_ok(c.peers[0], path)
        replicas(c.all, task, 2)
        c.seed.kill()
        c.seed.start()
        c.wait_announced()
        wait_for(lambda: stat(c.peers[0], task)["current_persistent_replica_count"] == 2, REPLICAS_S, "the replicas are known")
        for i, p in enumerate(c.all):
            export_ok(p, task, c.path(f"out{i}"), digest)


def test_interrupted_import_can_be_done_again(build):
    """The importer dies in the middle: the task is not taken for uploaded."""
    with Cluster(build, peers=2) as c:
        path = c.path("content")
        with open(path, "wb") as f:
            f.truncate(2 << 30)
        p = subprocess.Popen([f"{build}/dfcache", "import", path, "--content-for-calculating-task-id", "x", "-e", c.peers[0].socket],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        wait_for(lambda: local(c.peers[0], hashlib.sha256(b"x").hexdigest()), REPLICAS_S, "the copy began")
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=RUN_S)
        task = hashlib.sha256(b"x").hexdigest()
        wait_for(lambda: local(c.peers[0], task) is None, REPLICAS_S, "the copy is gone")
        digest = make_file(path, 3 * MIB)
        assert import_ok(c.peers[1], path, "--content-for-calculating-task-id", "x") == task
        export_ok(c.peers[0], task, c.path("out"), digest)


# ---- dfctl ----

def test_dfctl_lists_and_removes(build):
    with Cluster(build, peers=1, seed=False) as c:
        a = c.peers[0]
        empty = " ID   PIECE LENGTH   CONTENT LENGTH   CREATED   FINISHED   FAILED   UPDATED \n"
        p = dfctl(a, "task", "ls")
        assert (p.code, p.out, p.err) == (0, empty, "")
        p = dfctl(a, "persistent-task", "ls")
        assert p.out == " ID   PERSISTENT   TTL   PIECE LENGTH   CONTENT LENGTH   CREATED   FINISHED   FAILED   UPDATED \n"
        path = c.path("content")
        make_file(path, 10 * MIB + MIB // 2)
        task = import_ok(a, path, "--content-for-calculating-task-id", "x")
        p = dfctl(a, "persistent-cache-task", "ls")
        head, row, end = p.out.split("\n")
        assert end == "" and len(head) == len(row)
        assert head == f" {'ID':64}   PERSISTENT   TTL   PIECE LENGTH   CONTENT LENGTH   {'CREATED':19}   {'FINISHED':19}   FAILED   {'UPDATED':19} "
        at = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        assert re.fullmatch(f" {task}   true         1h    4.0 MiB        10.5 MiB         {at}   {at}   -        {at} ", row), row
        p = dfcache(a, "stat", task)
        head, row, end = p.out.split("\n")
        assert head == f" {'ID':^64}     STATE     CONTENT LENGTH   PIECE LENGTH   PERSISTENT REPLICA COUNT   TTL   " \
            f"{'CREATED':^19}   {'UPDATED':^19} "
        assert re.fullmatch(f" {task}   Succeeded   10.5 MiB         4.0 MiB        2                          1h    {at}   {at} ", row), row
        removed = dfctl(a, "task", "rm", "0" * 64)
        fails(removed, "Removing Task Failed!", "Bad Code: Some requested entity was not found", f"Message: task {'0' * 64} not found")
        fails(tool(build, "dfctl", "task", "ls", "-e", c.path("none")), "Connect Dfdaemon Failed!")


def test_dfctl_removes_a_download(build):
    with Cluster(build, peers=1, seed=False) as c:
        origin = Origin(build)
        try:
            a = c.peers[0]
            code, err = a.dfget(origin.url("/gen/6M/1/f"), c.path("f"))
            assert code == 0, err
            rows = json.loads(dfctl(a, "task", "ls", "--json").out)
            assert len(rows) == 1 and rows[0]["content_length"] == 6 * MIB and rows[0]["finished_at"] and rows[0]["failed_at"] is None
            p = dfctl(a, "task", "rm", rows[0]["id"])
            assert (p.code, p.out, p.err) == (0, "Task Removed!\n", "")
            assert json.loads(dfctl(a, "task", "ls", "--json").out) == []
        finally:
            origin.stop()


# ---- preheat ----

def preheat(cluster, url, *args):
    return tool(cluster.build, "dfctl", "task", "preheat", url, "--scheduler-endpoint", f"http://127.0.0.1:{cluster.scheduler_port}", *args)


def held(peer):
    return [t for t in json.loads(dfctl(peer, "task", "ls", "--json").out) if t["finished_at"]]


def test_preheat_of_a_file(build):
    """A file is at the seed before anybody asks; with the scope of all peers at each of them; the origin is read once."""
    with Cluster(build, peers=2) as c:
        origin = Origin(build)
        try:
            url = origin.url("/gen/12M/1/f")
            p = preheat(c, url, "--tag", "t")
            assert (p.code, p.out, p.err) == (0, "Preheat Succeeded!\n", ""), p.err
            wait_for(lambda: held(c.seed), REPLICAS_S, "the seed has it")
            assert not held(c.peers[0]) and origin.bytes() < 12 * MIB + STATS
            # It is the task of a user who gives the same tag.
            origin.reset()
            code, err = c.peers[0].dfget(url, c.path("out"), "--tag", "t")
            assert code == 0 and origin.bytes() < STATS, err
            assert len(held(c.seed)) == 1
            url = origin.url("/gen/12M/2/f")
            origin.reset()
            p = preheat(c, url, "--scope", "all_peers")
            assert p.code == 0, p.err
            wait_for(lambda: len(held(c.peers[0])) == 2 and len(held(c.peers[1])) == 1, REPLICAS_S, "all peers have it")
            assert origin.bytes() < 12 * MIB + STATS
            p = preheat(c, origin.url("/gen/12M/3/f"), "--scope", "single_seed_peer")
            assert p.code == 0, p.err
            wait_for(lambda: len(held(c.seed)) == 3, REPLICAS_S, "the seed has it")
            fails(preheat(c, origin.url("/d/")), "Preheating Task Failed!",
                  "failed to list task entries: backend error: 404 Not Found")
            fails(preheat(c, url, "--scope", "all_seed_peers", "--ip", "10.9.8.7"), "no seed peer found")
            fails(preheat(c, "nothing"), "invalid PreheatFileRequest.Url: value must be absolute")
            fails(preheat(c, url, "--percentage", "0"), "0 is not in 1..=100", code=2)
            fails(preheat(c, url, "--scope", "everywhere"), "[possible values: single_seed_peer, all_peers, all_seed_peers]", code=2)
        finally:
            origin.stop()


def test_preheat_of_an_image(build):
    """Config and layers of one platform come to the seed under their digests, with the registry's token; reasons are told."""
    with Cluster(build, peers=1, start=False) as c:
        registry = Registry(c.dir)
        try:
            for peer in (c.seed, *c.peers):
                peer.config.setdefault("x", {})["backend"] = {"caCert": registry.cert}
            c.seed.config["x"]["scheduler"]["preheat"] = {"allowLoopback": True}
            c.start()
            url = f"oci://{registry.host}/team/app:1.2"
            user = ("--username", "user", "--password", "secret", "--insecure-skip-verify")
            p = preheat(c, url, *user, "--platform", "linux/x86_64")
            assert (p.code, p.out, p.err) == (0, "Preheat Succeeded!\n", ""), p.err
            wait_for(lambda: len(held(c.seed)) == 3, REPLICAS_S, "the seed has the layers")
            assert sorted(t["id"] for t in held(c.seed)) == registry.image("amd64")
            p = preheat(c, url, *user, "--platform", "linux/arm64", "--scope", "all_peers")
            assert p.code == 0, p.err
            wait_for(lambda: len(held(c.peers[0])) == 3, REPLICAS_S, "the peer has the layers")
            assert sorted(t["id"] for t in held(c.peers[0])) == registry.image("arm64")
            assert all(n < len(registry.blobs[d]) + STATS for d, n in registry.reads.items()), registry.reads
            said = "failed to resolve manifests: "
            fails(preheat(c, url, *user, "--platform", "linux/s390x"), said + "no matching manifest for platform linux/s390x")
            fails(preheat(c, url.replace("1.2", "1.3"), *user), said + "manifest: status 404: ")
            fails(preheat(c, url, "--insecure-skip-verify"), said + "token: status 401: ")
            fails(preheat(c, url, *user[:4]), said + registry.host + ": ")
            assert "secret" not in c.seed.log() and "Bearer T" not in c.seed.log()
            assert c.seed.metric("dragonfly_scheduler_preheat_image_total") == 6
            assert c.seed.metric("dragonfly_scheduler_preheat_image_failure_total") == 4
        finally:
            registry.stop()


def test_preheat_of_an_image_on_this_host(build):
    with Cluster(build, peers=0) as c:
        fails(preheat(c, "oci://127.0.0.1:1/team/app"), "failed to resolve manifests: ip 127.0.0.1 is invalid")
        fails(preheat(c, "oci://localhost:1/team/app"), "is invalid")


def test_preheat_without_a_seed(build):
    with Cluster(build, peers=1, seed=False) as c:
        fails(preheat(c, "http://127.0.0.1:1/f"), "Bad Code: The system is not in a state required for the operation's execution",
              "Message: no available seed peer")
        fails(tool(build, "dfctl", "task", "preheat", "http://x/f", "--scheduler-endpoint", "http://127.0.0.1:1"), "Preheating Task Failed!",
              "127.0.0.1:1")
        fails(tool(build, "dfctl", "task", "preheat", "http://x/f", "--scheduler-endpoint", "nothing"), "nothing is not http://HOST:PORT")


def test_command_lines(build):
    for name, group in (("dfcache", "import"), ("dfctl", "task")):
        p = tool(build, name)
        assert p.code == 2 and p.out == "" and "Usage: " + name in p.err and group in p.err
        p = tool(build, name, "--help")
        assert p.code == 0 and p.err == "" and group in p.out
        p = tool(build, name, "--version")
        assert p.code == 0 and p.out.startswith(name + " ") and p.out.count("\n") == 1
        fails(tool(build, name, "foo"), "error: unrecognized subcommand 'foo'", code=2)
        fails(tool(build, name, "--foo"), "error: unexpected argument '--foo' found", code=2)
    p = tool(build, "dfctl", "task")
    assert p.code == 2 and p.out == "" and "Usage: dfctl task <COMMAND>" in p.err
    p = tool(build, "dfctl", "help", "task")
    assert p.code == 0 and p.err == "" and "Usage: dfctl task <COMMAND>" in p.out
    p = tool(build, "dfcache", "export", "--help")
    assert p.code == 0 and "--transfer-from-dfdaemon" in p.out and "[env: DFCACHE_EXPORT_TIMEOUT]" in p.out
    fails(tool(build, "dfcache", "export", "x"), "error: the following required arguments were not provided:\n  --output <OUTPUT>\n",
          code=2)
    fails(tool(build, "dfcache", "import"), "  <PATH>\n", "Usage: dfcache import <PATH>", code=2)
    fails(tool(build, "dfctl", "task", "rm"), "  <ID>\n", code=2)


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
