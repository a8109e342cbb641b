"""Container engines as programs: podman, buildah, skopeo, containerd and crane, each with files of its own in a directory of the test, and a
cluster of our daemons before a registry that speaks TLS and wants tokens."""
import base64
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import threading

from cluster import Cluster, wait_for
from docker_registry import USER, WORD, Registry, Tokens, make_image
from tls_support import Authority

# Only the proxy has to know these names. Loopback addresses Go asks without its proxy.
NAME = "registry.localhost"
TOKENS = "tokens.localhost"
# Nobody has this name: who gets an image of it has it from a mirror.
NOWHERE = "registry.example"
REQUESTS = "dragonfly_client_proxy_request_total"
VIA = "dragonfly_client_proxy_request_via_dfdaemon_total"
BASE = ("docker-registry", "skopeo", "openssl")
LIMIT = 60


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: {got!r}, expected {want!r}")


def is_root_a_mount():
    """Not so in a chroot of a mere directory. Where namespaces are not allowed at all, the engines do without them."""
    p = subprocess.run(["unshare", "--mount", "true"], env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    return p.returncode == 0 or "Invalid argument" not in p.stderr


def missing(*tools):
    """Says what a test does without; the registry and what it is filled with are always needed."""
    absent = [t for t in (*BASE, *tools) if not shutil.which(t)]
    if set(tools) & {"podman", "buildah"} and not is_root_a_mount():
        absent.append("root directory that is a mount point (podman and buildah unpack layers in a mount namespace of their own)")
    if os.geteuid() != 0 and set(tools) & {"podman", "buildah", "containerd"}:
        absent.append("root")
    if absent:
        print("   skipped: no " + ", ".join(absent))
    return bool(absent)


def together(*functions):
    """Runs them at the same time; fails when one does."""
    failures = []

    def one(f):
        try:
            f()
        except BaseException as e:
            failures.append(e)
    threads = [threading.Thread(target=one, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


class World:
    """Seed and three peers, registry, tokens. Images: their names, blobs (digest: size) and manifest's digest."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.stack = contextlib.ExitStack()
        try:
            self.start()
        except BaseException:
            self.stack.close()
            raise

    def start(self):
        self.home = tempfile.mkdtemp(prefix="dragonfly-test-")
        self.stack.callback(shutil.rmtree, self.home, ignore_errors=True)
        self.run_dir = tempfile.mkdtemp(prefix="dragonfly-", dir="/tmp")        # podman wants no more than 50 characters
        self.stack.callback(shutil.rmtree, self.run_dir, ignore_errors=True)
        self.ca = Authority(self.home)
        pair = self.ca.leaf("registry", f"DNS:{NAME},DNS:{TOKENS},IP:127.0.0.1", "server")
        self.tokens = Tokens(self.home, pair)
        self.stack.callback(self.tokens.server_close)
        self.stack.callback(self.tokens.shutdown)
        self.registry = Registry(self.home, self.tokens, pair)
        self.stack.callback(self.registry.stop)
        # Whoever asks this one needs the proxy to get at the tokens as well.
        self.hidden = Registry(self.home, self.tokens, pair, self.tokens.url.replace("127.0.0.1", TOKENS))
        self.stack.callback(self.hidden.stop)
        self.host = f"{NAME}:{self.registry.port}"
        proxy = {"server": {"requestRateLimit": 1000000}, "rules": [{"regex": "blobs/sha256.*", "schedulingPolicy": "always"}],
                 "registryMirror": {"addr": f"https://{self.host}", "cert": self.ca.cert}}
        self.cluster = self.stack.enter_context(Cluster(self.build, peers=3, config={"proxy": proxy}))
        self.peers = self.cluster.peers
        os.mkdir(f"{self.home}/certs")
        shutil.copy(self.ca.cert, f"{self.home}/certs/ca.crt")
        self.users = {}

    def close(self):
        self.stack.close()

    def push_image(self, repository, sizes):
        """Straight to the registry; (digest: size of each blob, digest of the manifest)."""
        path = f"{self.home}/layouts/{repository}"
        blobs, manifest = make_image(path, sizes)
        self.user("pusher").run("skopeo", "--insecure-policy", "copy", "--dest-cert-dir", f"{self.home}/certs", "--dest-creds", f"{USER}:{WORD}",
                                f"oci:{path}:1", f"docker://127.0.0.1:{self.registry.port}/{repository}:1")
        return blobs, manifest

    def put_blob(self, repository, data):
        """Straight to the registry; (digest, a header with a token)."""
        digest = hashlib.sha256(data).hexdigest()
        header = {"Authorization": "Bearer " + self.tokens.token([f"repository:{repository}:pull,push"])}
        c = http.client.HTTPSConnection("127.0.0.1", self.registry.port, context=ssl.create_default_context(cafile=self.ca.cert), timeout=LIMIT)
        c.request("POST", f"/v2/{repository}/blobs/uploads/", headers=header)
        r = c.getresponse()
        r.read()
        c.request("PUT", f"{r.getheader('Location')}&digest=sha256:{digest}", body=data, headers=header)
        r = c.getresponse()
        r.read()
        c.close()
        equal(r.status, 201, "upload")
        return digest, header

    def user(self, name):
        if name not in self.users:
            self.users[name] = User(self, name)
        return self.users[name]

    @contextlib.contextmanager
    def pulls(self, repository, blobs, peers, registry=None):
        """Within, these peers hand out an image: each blob leaves the registry once, and none of the clients goes past its peer."""
        registry = registry or self.registry
        before, via = len(registry.answered()), [p.metric(VIA) for p in peers]
        yield
        for peer, n in zip(peers, via):
            assert peer.metric(VIA) - n >= len(blobs), f"{peer.name}: {peer.metric(VIA) - n} requests for blobs, there are {len(blobs)}"
        for digest, size in blobs.items():
            sent = registry.sent(digest, repository, before, size)
            # Each host asks for one byte, to learn the length.
            assert sent <= size + len(self.cluster.all), (digest, size, sent)

    def ends_well(self):
        for peer in self.cluster.all:
            code, log = peer.stop(), peer.log()
            assert code in (0, None) and "Sanitizer" not in log and "runtime error" not in log, f"{peer.name} ended with {code}:\n{log[-6000:]}"
            given = base64.b64encode(f"{USER}:{WORD}".encode()).decode()
            for secret in (WORD, given, "Bearer ey", "Signature="):
                assert secret not in log, f"{peer.name} wrote a secret to its log: {secret}"


class User:
    """A home with the files that engines read."""

    def __init__(self, world, name):
        self.world = world
        self.home, self.run_dir = os.path.join(world.home, name), os.path.join(world.run_dir, name)
        self.containers = f"{self.home}/.config/containers"
        os.makedirs(self.containers)
        os.mkdir(f"{self.home}/run")
        os.mkdir(self.run_dir)
        self.put("policy.json", json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        self.put("registries.conf", "")
        self.login()
        self.env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        self.env.update(HOME=self.home, XDG_RUNTIME_DIR=f"{self.home}/run", TMPDIR=self.home, REGISTRY_AUTH_FILE=f"{self.home}/auth.json",
                        CONTAINERS_REGISTRIES_CONF=f"{self.containers}/registries.conf", CONTAINERS_CONF="/dev/null")

    def put(self, name, text):
        with open(f"{self.containers}/{name}", "w") as f:
            f.write(text)

    def run(self, *args, seconds=LIMIT, **env):
        p = subprocess.run(args, env={**self.env, **env}, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, cwd=self.home)
        assert p.returncode == 0, f"{' '.join(args)}:\n{p.stderr}{p.stdout}"
        return p.stdout

    def storage(self, program):
        """The program with images in this home alone, without overlay and control groups."""
        args = [program, "--root", f"{self.home}/images", "--runroot", self.run_dir, "--storage-driver", "vfs"]
        if program == "podman":
            args += ["--tmpdir", f"{self.home}/run/libpod", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        return args

    def login(self, *hosts):
        """What `podman login` and `docker login` write. A mirror is asked with the word for its own address, not with that for the registry."""
        word = base64.b64encode(f"{USER}:{WORD}".encode()).decode()
        for name in ("auth.json", "config.json"):
            with open(f"{self.home}/{name}", "w") as f:
                json.dump({"auths": {host: {"auth": word} for host in hosts}}, f)

    def proxied(self, peer, host):
        """HTTPS_PROXY, and trust in this peer's authority: in a file for the registry, and in one that stands for the system's store."""
        at = f"{self.containers}/certs.d/{host}"
        os.makedirs(at, exist_ok=True)
        shutil.copy(f"{peer.store}/proxy-ca/ca.crt", f"{at}/ca.crt")
        self.env.update(HTTPS_PROXY=f"http://127.0.0.1:{peer.proxy_port}", SSL_CERT_FILE=f"{at}/ca.crt")

    def mirror(self, peer):
        """registries.conf as in doc/proxy.md."""
        self.put("registries.conf", f'[[registry]]\nlocation = "{NOWHERE}"\n[[registry.mirror]]\nlocation = "127.0.0.1:{peer.proxy_port}"\ninsecure = true\n')

    def dfinit(self, peer, runtime, **settings):
        with open(f"{self.home}/dfinit.yaml", "w") as f:
            json.dump({"proxy": {"addr": f"http://127.0.0.1:{peer.proxy_port}"}, "containerRuntime": {runtime: settings}}, f)
        self.run(f"{self.world.build}/dfinit", "-c", f"{self.home}/dfinit.yaml", "--restart-sentinel", f"{self.home}/restart")

    # ---- pulls: the digest of the manifest of what came ----

    def podman(self, image, *args, **env):
        self.run(*self.storage("podman"), "pull", "-q", *args, image, **env)
        return json.loads(self.run(*self.storage("podman"), "image", "inspect", image))[0]["Digest"]

    def buildah(self, image, *args, **env):
        self.run(*self.storage("buildah"), "pull", "-q", *args, image, **env)
        return json.loads(self.run(*self.storage("buildah"), "images", "--json", "--digests", image))[0]["digest"]

    def skopeo(self, image, *args, blobs=(), **env):
        self.run("skopeo", "copy", "-q", *args, f"docker://{image}", f"dir:{self.home}/copy", **env)
        for digest in blobs:
            with open(f"{self.home}/copy/{digest}", "rb") as f:
                equal(hashlib.sha256(f.read()).hexdigest(), digest, "a blob")
        with open(f"{self.home}/copy/manifest.json", "rb") as f:
            return "sha256:" + hashlib.sha256(f.read()).hexdigest()


    def crane(self, image, *args, **env):
        self.run("crane", "pull", *args, "--format", "oci", image, f"{self.home}/crane", DOCKER_CONFIG=self.home, **env)
        with open(f"{self.home}/crane/index.json") as f:
            return json.load(f)["manifests"][0]["digest"]


class Containerd:
    """The daemon in a directory of the test. Blobs are not shared between namespaces, so that each pulls for itself."""

    def __init__(self, user, program="containerd", ctr="ctr"):
        self.user, self.ctr = user, ctr
        home = user.home
        self.config = f"{home}/config.toml"
        with open(self.config, "w") as f:
            f.write(f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\n'
                    'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.restart"]\n'
                    f'[grpc]\naddress = "{home}/sock"\n[ttrpc]\naddress = "{home}/sock.ttrpc"\n'
                    '[plugins."io.containerd.metadata.v1.bolt"]\ncontent_sharing_policy = "isolated"\n')
        self.log = open(f"{home}/log", "w")
        self.process = subprocess.Popen([program, "-c", self.config], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=user.env)
        try:
            wait_for(self.answers, 30, "containerd answers", step=0.05)
        except BaseException:
            self.stop()
            raise

    def answers(self):
        return subprocess.run([self.ctr, "--address", f"{self.user.home}/sock", "version"], capture_output=True, timeout=10).returncode == 0

    def run(self, space, *args, **env):
        return self.user.run(self.ctr, "--address", f"{self.user.home}/sock", "-n", space, *args, **env)

    def pull(self, space, image, hosts, *args, **env):
        self.run(space, "content", "fetch", "--hosts-dir", hosts, "--user", f"{USER}:{WORD}", *args, image, **env)
        return next(line.split()[2] for line in self.run(space, "images", "ls").splitlines() if line.startswith(image + " "))

    def has(self, space, blobs):
        """Reads every blob of the image and compares it."""
        for digest in blobs:
            data = subprocess.run([self.ctr, "--address", f"{self.user.home}/sock", "-n", space, "content", "get", f"sha256:{digest}"],
                                  capture_output=True, timeout=LIMIT, check=True).stdout
            equal(hashlib.sha256(data).hexdigest(), digest, "a blob in containerd's store")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
