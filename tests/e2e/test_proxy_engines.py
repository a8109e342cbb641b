#!/usr/bin/python3
"""Container engines pull through a seed and three peers from a real registry with TLS and tokens: podman, buildah, skopeo, containerd and
crane, each by way of another peer and with the files that its users write or dfinit writes. Images are equal by digest, each blob leaves
the registry once. Pushes, too.

usage: test_proxy_engines.py BUILD_DIR [TEST...]"""
import contextlib
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import is_sanitized, make_file, run_tests, run_tests_in, wait_for                                              # noqa: E402
from docker_registry import MIB, USER, WORD, make_image                                         # noqa: E402
from engines_support import LIMIT, NAME, NOWHERE, VIA, Containerd, World, equal, missing, together   # noqa: E402
from proxy_support import ask                                                                   # noqa: E402

ALONE = ("unshare", "--mount")
SIZES = (9 * MIB, 5 * MIB, 20000)
world = None


def test_mirrors_of_podman_buildah_and_skopeo(build):
    """registries.conf: by hand for podman, by dfinit for the others. TLS to the mirror is tried first and fails in the way that lets them go on."""
    if missing("podman", "buildah"):
        return
    blobs, manifest = world.push_image("lib/mirrored", SIZES)
    image = f"{NOWHERE}/lib/mirrored:1"
    users = [world.user(name) for name in ("podman", "buildah", "skopeo")]
    for user, peer in zip(users, world.peers):
        if user is users[0]:
            user.run(*user.storage("podman"), "login", "--tls-verify=false", "-u", USER, "-p", WORD, f"127.0.0.1:{peer.proxy_port}")
            user.mirror(peer)
        else:
            user.login(f"127.0.0.1:{peer.proxy_port}")
            user.dfinit(peer, "podman", configPath=f"{user.containers}/registries.conf", registries=[{"prefix": NOWHERE, "location": NOWHERE}])
    with world.pulls("lib/mirrored", blobs, world.peers):
        together(lambda: equal(users[0].podman(image), manifest, "podman"),
                 lambda: equal(users[1].buildah(image), manifest, "buildah"),
                 lambda: equal(users[2].skopeo(image, blobs=blobs), manifest, "skopeo"))


def hosts_by_hand(home, peer):
    """hosts.toml as in doc/proxy.md, with a `server` to fall back on, and `ca` on the http host: TLS is tried first."""
    os.makedirs(f"{home}/hosts/{world.host}")
    with open(f"{home}/hosts/{world.host}/hosts.toml", "w") as f:
        f.write(f'server = "https://{NOWHERE}"\n[host."http://127.0.0.1:{peer.proxy_port}"]\n  capabilities = ["pull", "resolve"]\n  ca = "{world.ca.cert}"\n'
                f'  [host."http://127.0.0.1:{peer.proxy_port}".header]\n    X-Dragonfly-Registry = ["https://{world.host}"]\n')
    return f"{home}/hosts"


def test_containerd(build):
    """hosts.toml by hand, by dfinit for a registry (header), by dfinit for all (query ns)."""
    if missing("containerd", "ctr"):
        return
    blobs, manifest = world.push_image("lib/contained", SIZES)
    user = world.user("containerd")
    trust = {"SSL_CERT_FILE": world.ca.cert}        # of the token server
    hosts = [hosts_by_hand(user.home, world.peers[0])]
    for i, peer in enumerate(world.peers[1:]):
        at = f"{user.home}/certs{i}"
        with open(f"{user.home}/for-dfinit.toml", "w") as f:
            f.write(f'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{at}"\n')
        user.dfinit(peer, "containerd", configPath=f"{user.home}/for-dfinit.toml",
                    registries=[{"hostNamespace": NOWHERE, "serverAddr": f"https://{world.host}", "skipVerify": True}])
        hosts.append(at)
    images = [f"{name}/lib/contained:1" for name in (world.host, NOWHERE, world.host)]
    daemon = Containerd(user)
    try:
        with world.pulls("lib/contained", blobs, world.peers):
            together(*(lambda i=i: equal(daemon.pull(f"space{i}", images[i], hosts[i], **trust), manifest, hosts[i]) for i in range(3)))
        for i in range(3):
            daemon.has(f"space{i}", blobs)
        if can_mount(user, "tmpfs"):
            daemon.run("space1", "images", "rm", images[1])
            daemon.run("space1", "images", "pull", "--snapshotter", "native", "--hosts-dir", hosts[1], "--user", f"{USER}:{WORD}", images[1], **trust)
    finally:
        daemon.stop()


def can_mount(user, kind, *options):
    """Whether the machine lets programs do so; in a mount namespace that goes with the program."""
    try:
        user.run(*ALONE, "mount", "-t", kind, *options, kind, user.run_dir)
        return True
    except AssertionError as e:
        print(f"   without mounts of {kind}: {str(e).splitlines()[-1]}")
        return False


def test_https_proxy(build):
    """CONNECT to the registry and to the tokens, TLS with certificates of the peer's authority, which is trusted as each program wants it."""
    if missing("podman", "buildah"):
        return
    blobs, manifest = world.push_image("lib/tunnelled", SIZES)
    host = f"{NAME}:{world.hidden.port}"
    image = f"{host}/lib/tunnelled:1"
    users = [world.user(f"{name}-proxied") for name in ("podman", "buildah", "skopeo", "crane")]
    for user, peer in zip(users, world.peers + world.peers[:1]):
        user.login(host)
        user.proxied(peer, host)
    pulls = [lambda: equal(users[0].podman(image), manifest, "podman"), lambda: equal(users[1].buildah(image), manifest, "buildah"),
             lambda: equal(users[2].skopeo(image, blobs=blobs), manifest, "skopeo")]
    if shutil.which("crane"):
        pulls.append(lambda: equal(users[3].crane(image), manifest, "crane"))
    else:
        print("   without crane")
    with world.pulls("lib/tunnelled", blobs, world.peers, world.hidden):
        together(*pulls)


def check_pushed(repository, manifest, peer):
    """What was pushed comes back through another peer."""
    user = world.user(f"reads-{repository.replace('/', '-')}")
    user.login(f"127.0.0.1:{peer.proxy_port}")
    user.mirror(peer)
    equal(user.skopeo(f"{NOWHERE}/{repository}:1"), manifest, repository)


def test_partial_pulls_of_podman(build):
    """zstd:chunked: podman asks for the ranges of the files that it has not, several in one request."""
    if missing("podman", "buildah"):
        return
    made = world.user("chunks")
    under = [f"{made.home}/{n}" for n in ("lower", "upper", "work", "tree")]
    for path in under:
        os.mkdir(path)
    if not can_mount(made, "overlay", "-o", f"lowerdir={under[0]},upperdir={under[1]},workdir={under[2]}"):
        return
    for i in range(40):
        make_file(f"{under[3]}/{i}", 300000)
    port = world.peers[0].proxy_port
    made.login(f"127.0.0.1:{port}")
    buildah = made.storage("buildah")
    name = made.run(*buildah, "from", "scratch").strip()
    made.run(*buildah, "add", name, under[3], "/")
    made.run(*buildah, "commit", "-q", name, "made")
    to = f"127.0.0.1:{port}/lib/chunks:1"
    made.run(*made.storage("podman"), "push", "-q", "--tls-verify=false", "--compression-format", "zstd:chunked", "made", f"docker://{to}")
    layer = json.loads(made.run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{to}"))["layers"][0]

    def pull(user, peer):
        user.login(f"127.0.0.1:{peer.proxy_port}")
        user.mirror(peer)
        with open(f"{user.home}/storage.conf", "w") as f:
            f.write(f'[storage]\ndriver = "overlay"\ngraphroot = "{user.home}/images"\nrunroot = "{user.run_dir}"\n'
                    '[storage.options]\npull_options = {enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}\n')
        p = subprocess.run([*ALONE, "podman", "--log-level", "debug", "--tmpdir", f"{user.home}/run/libpod", "--cgroup-manager", "cgroupfs",
                            "--events-backend", "none", "pull", "-q", f"{NOWHERE}/lib/chunks:1"], capture_output=True, text=True, timeout=LIMIT,
                           stdin=subprocess.DEVNULL, env={**user.env, "CONTAINERS_STORAGE_CONF": f"{user.home}/storage.conf"})
        equal(p.returncode, 0, p.stderr[-2000:])
        equal(f"Retrieved partial blob {layer['digest']}" in p.stderr, True, p.stderr[-2000:])
    before, via = len(world.registry.answered()), [p.metric(VIA) for p in world.peers]
    together(*(lambda i=i: pull(world.user(f"parts{i}"), world.peers[i]) for i in range(3)))
    for peer, n in zip(world.peers, via):
        assert peer.metric(VIA) - n >= 3, f"{peer.name}: {peer.metric(VIA) - n} requests for the table of contents, files and configuration"
    sent = world.registry.sent(layer["digest"][7:], "lib/chunks", before)
    assert sent <= layer["size"] + len(world.cluster.all), (sent, layer["size"])


def test_pushes(build):
    """To the proxy's own address, and by CONNECT. Engines send layers chunked."""
    if missing("podman", "buildah"):
        return
    made, tunnelled = world.user("makes"), world.user("pushes")
    before = len(world.registry.answered())

    def build_and_push():
        port = world.peers[0].proxy_port
        made.login(f"127.0.0.1:{port}")
        buildah = made.storage("buildah")
        name = made.run(*buildah, "from", "scratch").strip()
        make_file(f"{made.home}/content", 7 * MIB)
        made.run(*buildah, "add", name, f"{made.home}/content", "/content")
        made.run(*buildah, "commit", "-q", name, "made")
        made.run(*buildah, "push", "-q", "--tls-verify=false", "--digestfile", f"{made.home}/digest", "made", f"docker://127.0.0.1:{port}/lib/made:1")

    def push_by_connect():
        podman = tunnelled.storage("podman")
        make_image(f"{tunnelled.home}/layout", SIZES)
        image = tunnelled.run(*podman, "pull", "-q", "oci:layout:1").strip()
        host = f"{NAME}:{world.hidden.port}"
        tunnelled.login(host)
        tunnelled.proxied(world.peers[1], host)
        tunnelled.run(*podman, "push", "-q", "--digestfile", f"{tunnelled.home}/digest", image, f"docker://{host}/lib/pushed:1")
    together(build_and_push, push_by_connect)
    for user, repository in ((made, "lib/made"), (tunnelled, "lib/pushed")):
        with open(f"{user.home}/digest") as f:
            check_pushed(repository, f.read().strip(), world.peers[2])
    wait_for(lambda: {e.method for e in world.registry.answered()[before:]} >= {"POST", "PATCH", "PUT"}, 20, "the registry's log tells of uploads")


def test_an_upload_that_waits_for_100(build):
    """curl sends a blob chunked, once the registry said 100 Continue; the registry compares it with its digest."""
    if missing("curl"):
        return
    size = 6 * MIB + 77
    at = f"{world.home}/upload"
    for i, way in enumerate((["--noproxy", "*"], ["--noproxy", "", "-x", f"http://127.0.0.1:{world.peers[0].proxy_port}", "--proxytunnel",
                                                  "--cacert", f"{world.peers[0].store}/proxy-ca/ca.crt"])):
        base = f"https://{world.host}" if i else f"http://127.0.0.1:{world.peers[0].proxy_port}"
        digest = make_file(at, size)
        token = world.tokens.token([f"repository:lib/curled{i}:pull,push"])

        def curl(path, *args):
            p = subprocess.run(["curl", "-sS", "-i", "-m", "30", *way, "-H", f"Authorization: Bearer {token}", *args, base + path],
                               capture_output=True, timeout=LIMIT, stdin=subprocess.DEVNULL)
            assert p.returncode == 0, p.stderr
            out = p.stdout
            heads = []
            while out.startswith(b"HTTP/"):
                head, _, out = out.partition(b"\r\n\r\n")
                heads.append(head.decode())
            return heads, out

        def location(head):
            return re.search(r"(?i)^location: *(\S+)", head, re.M)[1]
        heads, _ = curl(f"/v2/lib/curled{i}/blobs/uploads/", "-X", "POST")
        heads, _ = curl(location(heads[-1]), "-X", "PATCH", "-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked", "--expect100-timeout", "30",
                        "-H", "Content-Type: application/octet-stream", "-T", at)
        got = [h.split()[1] for h in heads if "onnection established" not in h]
        equal(got[-2:], ["100", "202"], "answers")
        heads, _ = curl(location(heads[-1]) + f"&digest=sha256:{digest}", "-X", "PUT", "-H", "Content-Length: 0")
        equal(heads[-1].split()[1], "201", heads[-1])
        a = ask(world.peers[2].proxy_port, f"/v2/lib/curled{i}/blobs/sha256:{digest}", {"Authorization": f"Bearer {token}"})
        equal((a.status, a.is_p2p, hashlib.sha256(a.body).hexdigest()), (200, True, digest), "it comes back")


# ---- lazy snapshotters ----

BLOCK = 65536


class Reader(threading.Thread):
    """One connection that asks for blocks of a blob here and there, as file systems on top of images do."""

    def __init__(self, peer, path, header, data, count, seed):
        super().__init__(daemon=True)
        self.peer, self.path, self.header, self.data, self.count = peer, path, header, data, count
        self.random = random.Random(seed)
        self.wrong = []

    def run(self):
        c = http.client.HTTPConnection("127.0.0.1", self.peer.proxy_port, timeout=LIMIT)
        try:
            for _ in range(self.count):
                at = self.random.randrange(len(self.data) // BLOCK) * BLOCK
                c.request("GET", self.path, headers={**self.header, "Range": f"bytes={at}-{at + BLOCK - 1}"})
                r = c.getresponse()
                body = r.read()
                if r.status != 206 or body != self.data[at:at + BLOCK]:
                    self.wrong.append((at, r.status, len(body)))
        except (OSError, http.client.HTTPException) as e:
            self.wrong.append(repr(e))
        finally:
            c.close()


def sockets(peer):
    count = 0
    for fd in os.listdir(f"/proc/{peer.process.pid}/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/{peer.process.pid}/fd/{fd}").startswith("socket:")
    return count


def read_blocks(readers):
    """Runs them; the most sockets that a peer of theirs had."""
    peers = {r.peer for r in readers}
    for r in readers:
        r.start()
    most = 0
    while any(r.is_alive() for r in readers):
        most = max(most, *(sockets(p) for p in peers))
        readers[0].join(0.02)
    for r in readers:
        r.join()
    equal([w for r in readers for w in r.wrong][:5], [], "answers")
    return most


def test_thousands_of_small_ranges(build):
    """Of a blob that nobody has, at three peers at once: it leaves the registry once. Then of one that is there: the scheduler hears nothing of
    4096 ranges, and sockets and memory stay as they are."""
    if missing():
        return
    data = random.randbytes(64 * MIB)
    digest, header = world.put_blob("lib/lazy", data)
    path, seed = f"/v2/lib/lazy/blobs/sha256:{digest}", world.cluster.seed
    with world.pulls("lib/lazy", {digest: len(data)}, world.peers):
        read_blocks([Reader(world.peers[i % 3], path, header, data, 30, i) for i in range(48)])
        for peer in world.peers:
            equal(hashlib.sha256(ask(peer.proxy_port, path, header).body).hexdigest(), digest, "the whole")
    wait_for(lambda: seed.metric("dragonfly_scheduler_concurrent_schedule_total") == 0, 20, "the scheduler hears the end of it")
    peer = world.peers[0]
    read_blocks([Reader(peer, path, header, data, 8, 1000 + i) for i in range(64)])

    def heard():
        return [seed.metric(f"dragonfly_scheduler_{n}_total") for n in ("announce_peer", "register_peer", "stat_task", "download_piece_finished")]
    calls, memory, held = heard(), peer.status("VmRSS"), sockets(peer)
    most = read_blocks([Reader(peer, path, header, data, 64, 2000 + i) for i in range(64)])
    equal(heard(), calls, "asked of the scheduler")
    sent = world.registry.sent(digest)
    assert sent <= len(data) + len(world.cluster.all), f"the registry sent {sent} of {len(data)} bytes"
    assert most <= held + 64 + 8, f"{most} sockets for 64 clients, {held} before"
    if not is_sanitized(build):
        assert peer.status("VmRSS") - memory < 4096, f"{peer.status('VmRSS')} KiB, {memory} KiB before"


if __name__ == "__main__":
    # Without the registry each test says so.
    sys.exit(run_tests(globals(), sys.argv) if missing() else run_tests_in(World, World.ends_well, globals(), sys.argv))
