#!/usr/bin/python3
"""Tools that are no container engines, pointed at the proxy the way their manuals say: curl, git-lfs and pip as programs, the requests of
nydusd, stargz-snapshotter, huggingface_hub, ollama, Triton and TorchServe as those programs send them; preheats that are the later pull; the
token and redirect flows of registries, step by step. One daemon with one scheduler, origins with and without TLS.

usage: test_proxy_tools.py BUILD_DIR [TEST...]"""
import hashlib
import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import http_get, run_tests_in, wait_for                                      # noqa: E402
from proxy_support import F1, MIB, ScriptedOrigin, ask, daemon, sha                  # noqa: E402
from test_proxy_table import ask_inside, authority_of, ends_well, names_of, same, tunnel  # noqa: E402
from test_shapes import SIGNING, task_id                                               # noqa: E402
from tls_support import Authority                                                      # noqa: E402

VIA = "dragonfly_client_proxy_request_via_dfdaemon_total"
REGISTERED = "dragonfly_scheduler_register_peer_total"
PIECE = 4 * MIB
MANIFEST = b'{"schemaVersion":2}'
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
SECRET = "veryprivatesignature"
LIMIT = 60
# Loopback names that programs do not take for loopback: only the proxy has to resolve them.
NAMES = ("registry", "objects", "cdn-lfs", "hub", "index", "files", "amazonaws")
LFS_FILTERS = SIGNING + ["actor_id", "token"]
RULES = [{"regex": "blobs/sha256.*"}, {"regex": "/p2p/"}, {"regex": r"objects\.localhost(?::\d+)?/.*", "useTLS": True, "filteredQueryParams": LFS_FILTERS},
         {"regex": "/repos.*", "useTLS": True}, {"regex": r"files\.localhost(?::\d+)?/packages/.*\.(whl|tar.gz|zip)$", "useTLS": True},
         {"regex": ".*amazonaws.*"}]


class World:
    """S: the origin with TLS, whichever of the names it is called by. O: one without."""

    def __init__(self, build):
        self.dir = tempfile.mkdtemp(prefix="dragonfly-test-")
        self.ca = Authority(self.dir)
        names = ",".join(f"DNS:{n}.localhost" for n in NAMES)
        self.S = ScriptedOrigin(tls=self.ca.leaf("origin", san=f"{names},IP:127.0.0.1"))
        self.O = ScriptedOrigin()
        self.build = build
        self.daemon = daemon(build, {"rules": RULES, "registryMirror": {"addr": self.S.url(""), "cert": self.ca.cert}},
                             before=self.configure)
        self.peer = self.daemon.seed
        self.port = self.peer.proxy_port
        self.proxy = f"http://127.0.0.1:{self.port}"
        self.proxy_ca = authority_of(self.peer)

    @staticmethod
    def configure(c):
        c.seed.config["x"]["scheduler"]["preheat"] = {"allowLoopback": True, "blobDigestTaskID": False}
        # Each thread remembers redirects by itself; with one it can be counted who was asked.
        c.seed.config["x"]["server"] = {"ioThreads": 1}

    def name(self, host, path="", scheme="https", origin=None):
        return f"{scheme}://{host}.localhost:{(origin or self.S).port}{path}"

    def env(self, **more):
        clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return {**clean, "HOME": self.dir, "no_proxy": "", "NO_PROXY": "", **more}

    def close(self):
        self.daemon.close()
        for server in (self.S, self.O):
            server.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


world = None


def via():
    return world.peer.metric(VIA)


def counted(before, more=1):
    wait_for(lambda: via() == before + more, 10, f"{more} more requests by way of the cluster")


def run(args, **env):
    p = subprocess.run(args, env=world.env(**env), cwd=world.dir, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
    assert p.returncode == 0, f"{args}: {p.returncode}\n{p.stderr.decode(errors='replace')}{p.stdout.decode(errors='replace')}"
    return p.stdout


def new_blob(size, seed=[0]):
    """Bytes that no other test uses."""
    seed[0] += 1
    return (b"%d " % seed[0] * 10 + F1 * (size // len(F1) + 1))[:size]


def registry(origin, blob, repo="lib/app", token="Bearer T", answer=None):
    """The blob of a repository that wants a token; its path."""
    path = f"/v2/{repo}/blobs/sha256:{sha(blob)}"
    give = answer or (lambda h: h.reply_file(blob))
    challenge = f'Bearer realm="{origin.url("/token")}",service="stub",scope="repository:{repo}:pull"'
    origin.paths[path] = lambda h: give(h) if token is None or h.headers.get("Authorization") == token else \
        h.reply(401, b'{"errors":[]}', ("WWW-Authenticate", challenge), ("Content-Type", "application/json"))
    return path


# ---- curl ----

def test_curl(build):
    curl = ["curl", "-sS", "-m", "20", "-x", world.proxy, "-D", "-"]
    before = via()
    out = run([*curl, world.O.url("/p2p/f1")])
    head, _, body = out.partition(b"\r\n\r\n")
    assert body == F1 and b"X-Dragonfly-Task-ID" in head, head
    assert "proxy-connection" not in {n.lower() for n, _ in world.O.seen("/p2p/f1")[-1][2]}
    assert run([*curl, "-r", "0-99", world.O.url("/p2p/f1")]).partition(b"\r\n\r\n")[2] == F1[:100]
    counted(before, 2)
    for trust in (["--insecure"], ["--cacert", world.proxy_ca]):
        before = via()
        for path, body in (("/direct/x", b"hello"), ("/p2p/f1", F1)):
            assert run([*curl, *trust, world.S.url(path)]).endswith(b"\r\n\r\n" + body), (trust, path)
        counted(before)


# ---- lazy snapshotters ----

def test_nydusd(build):
    """mirrors[] with a header; ranges of about 1 MiB; HEAD for the size; the health server it pings. Then its proxy mode."""
    blob = new_blob(10 * MIB + 5)
    same(("ping", http_get(f"http://127.0.0.1:{world.peer.health_port}/healthy") is not None, True))
    cdn = "/cdn/nydus"
    world.O.paths[cdn] = lambda h: h.reply_file(blob) if "Authorization" not in h.headers else h.reply(400, b"two credentials")
    path = registry(world.S, blob, answer=lambda h: h.reply(307, b"", ("Location", world.O.url(cdn))) if h.command == "GET" else h.reply_file(blob))
    there = {"X-Dragonfly-Registry": world.S.url(""), "Authorization": "Bearer T"}
    a = ask(world.port, path, there, method="HEAD")
    same(("size", (a.status, a.get("Content-Length"), a.is_direct), (200, str(len(blob)), True)))
    got = b""
    for at in range(0, len(blob), MIB):
        last = min(at + MIB, len(blob)) - 1
        a = ask(world.port, path, {**there, "Range": f"bytes={at}-{last}"})
        same((f"from {at}", (a.status, a.get("Content-Range"), a.is_p2p), (206, f"bytes {at}-{last}/{len(blob)}", True)))
        got += a.body
    same(("all", got == blob, True))
    a = ask(world.port, path + "?again", {"X-Dragonfly-Registry": world.S.url(""), "Range": "bytes=0-9"})
    same(("no token", (a.status, a.type), (401, "backend")))
    # As a proxy: the registry first, whose answer goes to the client, then where it points.
    a = ask(world.port, world.S.url(path), {"Authorization": "Bearer T"}, method="HEAD")
    same(("forward", (a.status, a.is_direct), (200, True)))
    world.O.paths["/v2/app/blobs/elsewhere"] = lambda h: h.reply(307, b"", ("Location", world.O.url(cdn)))
    a = ask(world.port, world.O.url("/v2/app/blobs/elsewhere"), {"Range": "bytes=0-9"})
    same(("redirect", (a.status, a.get("Location"), a.is_direct), (307, world.O.url(cdn), True)))
    a = ask(world.port, a.get("Location"), {"Range": "bytes=0-9"})
    same(("to the redirected host", (a.status, a.body), (206, blob[:10])))


def test_stargz_snapshotter(build):
    """bytes=0-1 for the length, HEAD, then one or several ranges; answers need a media type, even where the registry gave none."""
    blob = new_blob(9 * MIB)

    def bare(h):
        if "Range" not in h.headers:
            return h.reply(200, blob)
        first, _, last = h.headers["Range"][6:].partition("-")
        body = blob[int(first):int(last) + 1 if last else None]
        return h.reply(206, body, ("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{len(blob)}"))
    path = registry(world.S, blob, answer=bare)
    there = {"X-Dragonfly-Registry": world.S.url(""), "Authorization": "Bearer T", "Accept-Encoding": "identity"}
    a = ask(world.port, path, {**there, "Range": "bytes=0-1"})
    same(("length", (a.status, a.get("Content-Range"), a.body), (206, f"bytes 0-1/{len(blob)}", blob[:2])),
         ("media type", a.get("Content-Type"), "application/octet-stream"), ("length of this", a.get("Content-Length"), "2"))
    a = ask(world.port, path, there, method="HEAD")
    same(("head", (a.status, a.get("Content-Length")), (200, str(len(blob)))))
    a = ask(world.port, path, {**there, "Range": "bytes=4194300-4194309"})
    same(("one", (a.status, a.body), (206, blob[4194300:4194310])))
    wanted = [(k * 300000, k * 300000 + 999) for k in range(30)]
    a = ask(world.port, path, {**there, "Range": "bytes=" + ",".join(f"{x}-{y}" for x, y in wanted)})
    kind, _, boundary = a.get("Content-Type").partition("; boundary=")
    same(("several", (a.status, kind, int(a.get("Content-Length"))), (206, "multipart/byteranges", len(a.body))))
    parts = a.body.split(b"--" + boundary.encode())
    same(("parts", (len(parts), parts[-1]), (len(wanted) + 2, b"--\r\n")))
    for (first, last), part in zip(wanted, parts[1:]):
        head, _, content = part.partition(b"\r\n\r\n")
        assert f"Content-Range: bytes {first}-{last}/{len(blob)}".encode() in head and b"Content-Type: " in head, head
        same((f"part {first}", content == blob[first:last + 1] + b"\r\n", True))


# ---- git-lfs ----

class Lfs:
    """The batch API and the store of a server of Git LFS: hrefs are signed, on another name."""

    def __init__(self, batch="/repo/info/lfs/objects/batch"):
        self.objects, self.uploads = {}, []
        self.signature = 0
        world.S.paths[batch] = self.batch

    def batch(self, h):
        asked = json.loads(h.body)
        self.signature += 1
        query = f"?X-Amz-Signature={SECRET}{self.signature}&actor_id={self.signature}&token=t{self.signature}&kept=1"
        out = []
        for o in asked["objects"]:
            at = f"/objects/{o['oid']}"
            world.S.paths[at] = lambda h, oid=o["oid"]: self.object(h, oid)
            out.append({**o, "authenticated": True, "actions": {asked["operation"]: {"href": world.name("objects", at + query)}}})
        h.reply(200, json.dumps({"transfer": "basic", "objects": out}).encode(), ("Content-Type", "application/vnd.git-lfs+json"))

    def object(self, h, oid):
        if h.command == "PUT":
            self.objects[oid] = h.body
            self.uploads.append(h.body)
            return h.reply(200)
        return h.reply_file(self.objects[oid]) if oid in self.objects else h.reply(404)


def test_git_lfs(build):
    if not shutil.which("git-lfs") or not shutil.which("git"):
        print("   skipped: no git-lfs")
        return
    lfs, blob = Lfs(), os.urandom(9 * MIB)
    home, oid = f"{world.dir}/lfs", hashlib.sha256(blob).hexdigest()
    env = {"HOME": home, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_SSL_CAINFO": world.proxy_ca}
    settings = {"user.name": "a", "user.email": "a@example", "http.proxy": world.proxy, "lfs.locksverify": "false",
                "lfs.url": world.name("registry", "/repo/info/lfs"), "lfs.transfer.enablehrefrewrite": "true"}

    def git(where, *args):
        return run(["git", "-C", where, *args], **env)
    for where in ("up", "down"):
        os.makedirs(f"{home}/{where}")
        git(f"{home}/{where}", "init", "-q", "-b", "main")
        git(f"{home}/{where}", "lfs", "install", "--local")
        for key, value in settings.items():
            git(f"{home}/{where}", "config", key, value)
    # Downloads go to the proxy as http; uploads, by CONNECT, stay https.
    git(f"{home}/down", "config", f"url.{world.name('objects', '/', scheme='http')}.insteadOf", world.name("objects", "/"))
    with open(f"{home}/up/large.bin", "wb") as f:
        f.write(blob)
    git(f"{home}/up", "lfs", "track", "*.bin")
    git(f"{home}/up", "add", ".gitattributes", "large.bin")
    git(f"{home}/up", "commit", "-q", "-m", "one")
    git(f"{home}/up", "remote", "add", "origin", world.name("registry", "/repo"))
    before = via()
    git(f"{home}/up", "lfs", "push", "--object-id", "origin", oid)
    same(("uploaded", [u == blob for u in lfs.uploads], [True]), ("past the cluster", via(), before))
    batches = world.S.seen("/repo/info/lfs/objects/batch", "POST")
    assert batches and all(names_of(e[2])["host"] == f"registry.localhost:{world.S.port}" for e in batches)
    git(f"{home}/down", "pull", "-q", f"{home}/up", "main")
    with open(f"{home}/down/large.bin", "rb") as f:
        same(("the file", f.read() == blob, True))
    counted(before)
    # Another signature and another user: the same task.
    count = len(world.S.seen(f"/objects/{oid}", "GET"))
    shutil.rmtree(f"{home}/down/.git/lfs/objects")
    os.remove(f"{home}/down/large.bin")
    git(f"{home}/down", "lfs", "pull")
    git(f"{home}/down", "checkout", "-q", "--", "large.bin")
    with open(f"{home}/down/large.bin", "rb") as f:
        same(("once more", f.read() == blob, True))
    counted(before, 2)
    same(("the store was not asked", len(world.S.seen(f"/objects/{oid}", "GET")), count))
    a = ask(world.port, world.name("objects", f"/objects/{oid}?X-Amz-Signature=z&actor_id=9&token=t9&kept=1", scheme="http"), {"Range": "bytes=0-0"})
    same(("its id", a.get("X-Dragonfly-Task-ID"), task_id(world.name("objects", f"/objects/{oid}?kept=1"), filters=LFS_FILTERS)))


# ---- huggingface_hub ----

def hub(blob):
    """A model's page that points to a CDN with signed URLs; (path of the file, path at the CDN, its query)."""
    name = sha(blob)[:12]
    at, cdn = f"/org/{name}/resolve/main/model.safetensors", f"/repos/{name}"
    query = f"?Expires=1&Policy=p&Signature={SECRET}&Key-Pair-Id=k"
    world.S.paths[at] = lambda h: h.reply(302, b"", ("Location", world.name("cdn-lfs", cdn + query)), ("X-Linked-Size", str(len(blob))),
                                          ("X-Linked-Etag", f'"{sha(blob)}"'), ("X-Repo-Commit", "abc"))
    world.S.paths[f"/api/models/org/{name}"] = lambda h: h.reply(200, b'{"siblings":[]}', ("Content-Type", "application/json"))
    world.S.paths[cdn] = lambda h: h.reply_file(blob)
    return at, cdn, query


def check_hub_head(r, blob):
    same(("head", (r.status_code, r.headers["X-Linked-Size"], r.headers["X-Linked-Etag"]), (302, str(len(blob)), f'"{sha(blob)}"')),
         ("not ours", [n for n in r.headers if n.lower().startswith("x-dragonfly")], []))


def test_huggingface_hub_with_an_adapter(build):
    """https of the CDN is turned into http, which a proxy for http takes; the rule turns it back."""
    import requests
    from requests.adapters import HTTPAdapter

    class ToProxy(HTTPAdapter):
        def get_connection(self, url, proxies=None):
            return super().get_connection(url.replace("https://cdn-lfs.", "http://cdn-lfs.", 1), {"http": world.proxy})

        def send(self, request, **more):
            request.url = request.url.replace("https://cdn-lfs.", "http://cdn-lfs.", 1)
            more["proxies"] = {"http": world.proxy}
            return super().send(request, **more)
    blob = new_blob(5 * MIB)
    _, cdn, query = hub(blob)
    with requests.Session() as s:
        s.trust_env = False
        s.mount(world.name("cdn-lfs"), ToProxy())
        r = s.get(world.name("cdn-lfs", cdn + query), timeout=LIMIT)
    url = world.name("cdn-lfs", cdn + query)
    same(("answer", (r.status_code, r.content == blob), (200, True)), ("id", r.headers["X-Dragonfly-Task-ID"], task_id(url)),
         ("kept in it", task_id(url), task_id(world.name("cdn-lfs", f"{cdn}?Key-Pair-Id=k&Policy=p"))),
         ("what the CDN saw", {e[1] for e in world.S.seen(cdn)}, {cdn + query}))


def test_huggingface_hub_with_an_https_proxy(build):
    import requests
    blob = new_blob(5 * MIB)
    at, cdn, query = hub(blob)
    with requests.Session() as s:
        s.trust_env, s.verify, s.proxies = False, world.proxy_ca, {"https": world.proxy}
        check_hub_head(s.head(world.name("hub", at), allow_redirects=False, timeout=LIMIT), blob)
        before = via()
        r = s.get(world.name("hub", at), timeout=LIMIT)
        same(("answer", (r.status_code, r.content == blob), (200, True)), ("hops", [h.status_code for h in r.history], [302]),
             ("id", r.headers["X-Dragonfly-Task-ID"], task_id(world.name("cdn-lfs", cdn + query))))
        counted(before)


def test_huggingface_hub_with_an_endpoint(build):
    """HF_ENDPOINT is the proxy itself, a mirror of the hub."""
    import requests
    blob = new_blob(5 * MIB)
    at, cdn, query = hub(blob)
    with requests.Session() as s:
        s.trust_env = False
        r = s.get(f"{world.proxy}/api/models/org/{at.split('/')[2]}", timeout=LIMIT)
        same(("api", (r.status_code, r.json()), (200, {"siblings": []})))
        for method in ("HEAD", "GET"):
            r = s.request(method, world.proxy + at, allow_redirects=False, timeout=LIMIT)
            check_hub_head(r, blob)
            same(("redirect", r.headers["Location"], world.name("cdn-lfs", cdn + query)))


# ---- pip ----

def wheel():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as z:
        z.writestr("lazy/__init__.py", os.urandom(300000).hex())
        z.writestr("lazy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: lazy\nVersion: 1.0\n")
        z.writestr("lazy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("lazy-1.0.dist-info/RECORD", "")
    return data.getvalue()


def test_pip(build):
    """Index and files over https, with trusted hosts; wheels whose metadata is read by ranges first."""
    if subprocess.run(["/usr/bin/python3", "-m", "pip", "--version"], capture_output=True).returncode != 0:
        print("   skipped: no pip")
        return
    name, data = "lazy-1.0-py3-none-any.whl", wheel()
    link = world.name("files", f"/packages/{name}")
    world.S.paths["/simple/lazy/"] = lambda h: h.reply(200, f'<a href="{link}#sha256={sha(data)}">{name}</a>'.encode(), ("Content-Type", "text/html"))
    world.S.paths[f"/packages/{name}"] = lambda h: h.reply_file(data)
    before = via()
    run(["/usr/bin/python3", "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--use-feature=fast-deps", "-d",
         f"{world.dir}/wheels", "--index-url", world.name("index", "/simple/"), "--trusted-host", f"index.localhost:{world.S.port}",
         "--trusted-host", f"files.localhost:{world.S.port}", "--proxy", world.proxy, "lazy"])
    with open(f"{world.dir}/wheels/{name}", "rb") as f:
        same(("wheel", f.read() == data, True))
    assert via() > before
    same(("the index goes past the cluster", {names_of(e[2])["host"] for e in world.S.seen("/simple/lazy/")}, {f"index.localhost:{world.S.port}"}))
    world.S.paths[f"/packages/{name}.metadata"] = lambda h: h.reply(200, b"Name: lazy")
    with tunnel(world.port, "files.localhost", world.S.port, world.proxy_ca, version="1.0") as (t, head):
        assert head.startswith("HTTP/1.0 200 "), head
        a = ask_inside(t, f"/packages/{name}.metadata")
        same(("metadata", (a.status, a.body, a.is_direct), (200, b"Name: lazy", True)))


# ---- model loaders ----

def test_ollama(build):
    """In tunnels: the manifest, HEAD, a GET that is not read, and many parts at once; each byte leaves the registry once."""
    blob = new_blob(32 * MIB)
    path = registry(world.S, blob, "library/model", token=None)
    world.S.paths["/v2/library/model/manifests/latest"] = lambda h: h.reply(200, MANIFEST, ("Content-Type", MANIFEST_TYPE))
    to = ("registry.localhost", world.S.port, world.proxy_ca)
    with tunnel(world.port, *to) as (t, _):
        a = ask_inside(t, "/v2/library/model/manifests/latest")
        same(("manifest", (a.status, a.body, a.is_direct), (200, MANIFEST, True)))
        t.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        r = http.client.HTTPResponse(t, method="HEAD")
        r.begin()
        same(("head", (r.status, r.getheader("Content-Length")), (200, str(len(blob)))))
    parts, size, got = 16, len(blob) // 16, {}

    def part(k):
        with tunnel(world.port, *to) as (t, _):
            t.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes={k * size}-{(k + 1) * size - 1}\r\n\r\n".encode())
            r = http.client.HTTPResponse(t)
            r.begin()
            got[k] = (r.status, r.getheader("Content-Range"), r.read() == blob[k * size:(k + 1) * size])
    with tunnel(world.port, *to) as (t, _):
        t.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        r = http.client.HTTPResponse(t)
        r.begin()
        same(("unread", r.status, 200))
        threads = [threading.Thread(target=part, args=(k,)) for k in range(parts)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(LIMIT)
    for k in range(parts):
        same((f"part {k}", got.get(k), (206, f"bytes {k * size}-{(k + 1) * size - 1}/{len(blob)}", True)))
    asked = [names_of(e[2]).get("range", "bytes=0-") for e in world.S.seen(path, "GET")]
    pieces = []
    for first, last in (r[6:].split("-") for r in asked if r != "bytes=0-0"):
        pieces += range(int(first) // PIECE, (int(last) if last else len(blob) - 1) // PIECE + 1)
    same(("each piece once", sorted(pieces), list(range(len(blob) // PIECE))))


def test_triton_and_torchserve(build):
    """Signed URLs of object stores through a proxy for http; the filter comes along with each request."""
    blob = new_blob(5 * MIB)
    at = "/bucket/model.pt"
    world.O.paths[at] = lambda h: h.reply_file(blob)
    ids = set()
    for n in range(3):
        url = world.name("amazonaws", f"{at}?X-Amz-Date=d{n}&X-Amz-Signature={SECRET}{n}&versionId=7", scheme="http", origin=world.O)
        a = ask(world.port, url, {"X-Dragonfly-Filtered-Query-Params": "X-Amz-Date, X-Amz-Signature"})
        same(("answer", (a.status, a.body == blob), (200, True)))
        ids.add(a.get("X-Dragonfly-Task-ID"))
    same(("one task", ids, {task_id(world.name("amazonaws", f"{at}?versionId=7", scheme="http", origin=world.O), filters=[])}),
         ("signed by the first", {"Signature=" + SECRET + "0&" in e[1] for e in world.O.seen(at)}, {True}))


# ---- preheat ----

def test_preheated_blobs_are_the_pulled_ones(build):
    """A preheat of an image names the registry alone, a pull brings `ns` along: the same tasks, with and without ids by digest."""
    for digest_mode in ("false", "true"):
        blobs = [new_blob(6 * MIB), new_blob(3000)]
        paths = [registry(world.S, b, "lib/heated", token=None) for b in blobs]
        layer, config = ({"digest": f"sha256:{sha(b)}", "size": len(b), "mediaType": "application/octet-stream"} for b in blobs)
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": [layer]}).encode()
        world.S.paths["/v2/lib/heated/manifests/1"] = lambda h: h.reply(200, manifest, ("Content-Type", MANIFEST_TYPE))
        run([f"{world.build}/dfctl", "task", "preheat", f"oci://registry.localhost:{world.S.port}/lib/heated:1", "--insecure-skip-verify",
             "--scheduler-endpoint", f"http://127.0.0.1:{world.daemon.scheduler_port}"], DFCTL_TASK_PREHEAT_ENABLE_TASK_ID_BASED_BLOB_DIGEST=digest_mode)
        want = [sha(b) if digest_mode == "true" else task_id(world.name("registry", p)) for b, p in zip(blobs, paths)]

        def are_there():
            tasks = json.loads(run([f"{world.build}/dfctl", "task", "ls", "--json", "-e", world.peer.socket]))
            return {t["id"] for t in tasks if t["finished_at"]} >= set(want)
        wait_for(are_there, 20, "the seed has the blobs", step=0.1)
        for blob, path, id in zip(blobs, paths, want):
            count = len(world.S.seen(path))
            a = ask(world.port, f"{path}?ns=registry.localhost:{world.S.port}", {"X-Dragonfly-Enable-Task-ID-Based-Blob-Digest": digest_mode})
            same((f"digest mode {digest_mode}", (a.status, a.body == blob, a.get("X-Dragonfly-Task-ID"), a.get("X-Dragonfly-Task-Download-Finished")),
                  (200, True, id, "true")), ("the registry was not asked", len(world.S.seen(path)), count))


# ---- registries: tokens and redirects ----

def test_token_flow(build):
    S, repo = world.S, "library/alpine"
    ns = f"?ns=registry.localhost:{S.port}"
    digest = "sha256:" + sha(MANIFEST)
    challenge = f'Bearer realm="{world.name("registry", "/token")}",service="registry",scope="repository:{repo}:pull"'

    def manifest(h):
        if h.headers.get("Authorization") != "Bearer T":
            return h.reply(401, b'{"errors":[]}', ("Www-Authenticate", challenge), ("Docker-Distribution-Api-Version", "registry/2.0"))
        return h.reply(200, MANIFEST, ("Content-Type", MANIFEST_TYPE), ("Docker-Content-Digest", digest), ("ETag", f'"{digest}"'))
    for name in ("3.19", digest):
        S.paths[f"/v2/{repo}/manifests/{name}"] = manifest
    S.paths["/token"] = lambda h: h.reply(200, b'{"token":"T"}')
    # 1. Nobody is known yet: the registry's own words.
    a = ask(world.port, f"/v2/{repo}/manifests/3.19{ns}", {"Accept": MANIFEST_TYPE}, method="HEAD")
    same(("1", (a.status, [(n, v) for n, v in a.fields if n.lower() == "www-authenticate"], a.is_direct), (401, [("Www-Authenticate", challenge)], True)),
         ("1: other fields", a.get("Docker-Distribution-Api-Version"), "registry/2.0"), ("1: Accept goes along", names_of(S.seen()[-1][2])["accept"], MANIFEST_TYPE))
    # 2. The client gets the token itself, by way of the proxy where all its https goes there.
    realm = urllib.parse.urlsplit(challenge.split('"')[1])
    with tunnel(world.port, realm.hostname, realm.port, world.proxy_ca) as (t, _):
        a = ask_inside(t, realm.path)
        same(("2", (a.status, json.loads(a.body), a.is_direct), (200, {"token": "T"}, True)))
    # 3. and 4. Manifests, by tag and by digest, are the registry's each time.
    token = {"Authorization": "Bearer T", "Accept": MANIFEST_TYPE}
    for method, name in (("HEAD", "3.19"), ("GET", "3.19"), ("GET", digest), ("GET", digest)):
        count = len(S.seen())
        a = ask(world.port, f"/v2/{repo}/manifests/{name}{ns}", token, method=method)
        same((f"3, 4: {method} {name}", (a.status, a.body, a.is_direct), (200, MANIFEST if method == "GET" else b"", True)),
             ("digest", a.get("Docker-Content-Digest"), digest), ("type", a.get("Content-Type"), MANIFEST_TYPE),
             ("length", a.get("Content-Length"), str(len(MANIFEST))), ("asked", len(S.seen()), count + 1))
    # 5. Blobs by way of the cluster; what the registry refuses is said in its fields, and does not stand in the way of the next attempt.
    blob = new_blob(5 * MIB)
    path = registry(S, blob, repo)
    for refused, status in (({}, 401), ({"Authorization": "Bearer old"}, 401)):
        a = ask(world.port, path + ns, refused)
        same((f"5: {refused}", (a.status, a.type), (status, "backend")))
        assert a.get("WWW-Authenticate").startswith("Bearer realm="), a.fields
    good = S.paths[path]
    for status in (403, 404):
        S.paths[path] = lambda h, status=status: h.reply(status, b"{}", ("X-Why", "no"))
        a = ask(world.port, path + ns, token)
        same((f"5: {status}", (a.status, a.type, a.get("X-Why")), (status, "backend", "no")))
    S.paths[path] = good
    a = ask(world.port, path + ns, token)
    same(("5: at last", (a.status, a.body == blob, a.is_p2p), (200, True, True)),
         ("5: the first byte is asked with the token", {names_of(e[2]).get("authorization") for e in S.seen(path)[-2:]}, {"Bearer T"}))
    # 6. The config: one piece, straight from the registry.
    config = new_blob(3000)
    path = registry(S, config, repo)
    before, kept = world.peer.metric(REGISTERED), len(S.seen(path))
    a = ask(world.port, path + ns, token)
    same(("6", (a.status, a.body == config, a.is_p2p), (200, True, True)), ("6: schedulers", world.peer.metric(REGISTERED), before))
    assert len(S.seen(path)) - kept <= 2, S.seen(path)
    assert "Bearer T" not in world.peer.log()


def test_blob_redirects(build):
    """307 is kept for the pieces that follow, other redirects are followed each time; credentials stay with the registry; a kept target
    that has run out is left, and the registry asked again."""
    S, O = world.S, world.O
    private = {"Authorization": "Bearer T", "Cookie": "a=b", "Cookie2": "c", "Proxy-Authorization": "Basic eDp5"}
    for status in (307, 302, 200):
        blob = new_blob(10 * MIB)
        cdn = f"/cdn/{status}"
        O.paths[cdn] = lambda h, blob=blob: h.reply_file(blob) if "Authorization" not in h.headers else h.reply(400, b"two credentials")
        to = ("Location", O.url(cdn + f"?X-Amz-Signature={SECRET}"))
        path = registry(S, blob, answer=None if status == 200 else lambda h, to=to, status=status: h.reply(status, b"", to))
        a = ask(world.port, path, {**private, "X-Dragonfly-Registry": S.url("")})
        same((f"{status}", (a.status, a.body == blob, a.is_p2p), (200, True, True)))
        if status != 200:
            got = {n.lower() for e in O.seen(cdn) for n, _ in e[2]}
            same(("credentials at the CDN", got & {"authorization", "cookie", "cookie2", "proxy-authorization", "www-authenticate"}, set()))
            a = ask(world.port, path, {**private, "X-Dragonfly-Registry": S.url("")}, method="HEAD")
            same(("past the cluster redirects are the client's", (a.status, a.get("Location"), a.is_direct), (status, to[1], True)))
        if status == 307:
            same(("the registry was asked once", len(S.seen(path, "GET")), 1))
    for refusal in (401, 403, 404, 410):
        blob, now = new_blob(10 * MIB), {"n": 0}
        cdn = f"/cdn/expires-{refusal}"

        def give(h, blob=blob, now=now, refusal=refusal):
            n = urllib.parse.parse_qs(h.path.partition("?")[2])["n"]
            h.reply_file(blob) if n == [str(now["n"])] else h.reply(refusal, b"expired")
        O.paths[cdn] = give
        path = registry(S, blob, answer=lambda h, cdn=cdn, now=now: h.reply(307, b"", ("Location", O.url(f"{cdn}?n={now['n']}&X-Amz-Signature={SECRET}"))))
        there = {"Authorization": "Bearer T", "X-Dragonfly-Registry": S.url("")}
        a = ask(world.port, path, {**there, "Range": "bytes=0-9"})
        same(("first piece", (a.status, a.body), (206, blob[:10])), ("asked", len(S.seen(path)), 1))
        now["n"] = 1
        a = ask(world.port, path, there)
        same((f"after {refusal}", (a.status, a.body == blob), (200, True)))
        # Each of the two pieces that were under way may have met the old target.
        assert 2 <= len(S.seen(path)) <= 3, S.seen(path)
    assert SECRET not in world.peer.log(), [line for line in world.peer.log().splitlines() if SECRET in line][:3]


if __name__ == "__main__":
    sys.exit(run_tests_in(World, lambda w: ends_well(w.daemon), globals(), sys.argv))
