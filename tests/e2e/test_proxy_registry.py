#!/usr/bin/python3
"""A real registry with token authentication behind the proxies of a seed and three peers: an image is pushed through one of them with skopeo
and pulled through all; digests are equal, each blob leaves the registry once.

usage: test_proxy_registry.py BUILD_DIR [TEST...]"""
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, run_tests, wait_for                              # noqa: E402
from docker_registry import MIB, USER, WORD, Registry, Tokens, make_image     # noqa: E402
from proxy_support import ask                                                 # noqa: E402
from test_proxy import ends_well                                              # noqa: E402


TOOLS = ("docker-registry", "skopeo", "openssl")


def skopeo(home, *args):
    done = subprocess.run(["skopeo", "--insecure-policy", "--tmpdir", home, *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")})
    assert done.returncode == 0, done.stderr + done.stdout


@contextlib.contextmanager
def world(build):
    with contextlib.ExitStack() as stack:
        home = tempfile.mkdtemp(prefix="dragonfly-test-")
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        tokens = Tokens(home)
        stack.callback(tokens.server_close)
        stack.callback(tokens.shutdown)
        registry = Registry(home, tokens)
        stack.callback(registry.stop)
        proxy = {"rules": [{"regex": "blobs/sha256.*", "schedulingPolicy": "always"}], "registryMirror": {"addr": f"http://127.0.0.1:{registry.port}"}}
        c = stack.enter_context(Cluster(build, peers=3, config={"proxy": proxy}))
        yield home, c, registry


def test_push_and_pull_through_three_peers(build):
    missing = [t for t in TOOLS if not shutil.which(t)]
    if missing:
        print("skipped: no " + ", ".join(missing))
        return
    with world(build) as (home, c, registry):
        blobs, manifest = make_image(f"{home}/image", (12 * MIB, 5 * MIB, 20000))
        creds = f"{USER}:{WORD}"
        first = c.peers[0].proxy_port
        skopeo(home, "copy", "--dest-tls-verify=false", "--dest-creds", creds, f"oci:{home}/image:1", f"docker://127.0.0.1:{first}/lib/app:1")
        wait_for(lambda: len([e for e in registry.answered() if e.method in ("POST", "PATCH", "PUT")]) >= 3 * len(blobs), 20, "the log tells of uploads")
        a = ask(first, "/v2/")
        assert a.status == 401 and a.get("WWW-Authenticate").startswith("Bearer realm=") and a.is_direct, a.fields
        before = len(registry.answered())
        pulls = []
        for i, peer in enumerate(c.peers):
            pulls.append(threading.Thread(target=skopeo, args=(
                home, "copy", "--src-tls-verify=false", "--src-creds", creds, f"docker://127.0.0.1:{peer.proxy_port}/lib/app:1",
                f"dir:{home}/pulled{i}")))
        for p in pulls:
            p.start()
        for p in pulls:
            p.join(90)
        for i in range(3):
            with open(f"{home}/pulled{i}/manifest.json", "rb") as f:
                assert "sha256:" + hashlib.sha256(f.read()).hexdigest() == manifest
            for digest in blobs:
                with open(f"{home}/pulled{i}/{digest}", "rb") as f:
                    assert hashlib.sha256(f.read()).hexdigest() == digest
        for digest, size in blobs.items():
            sent = registry.sent(digest, after=before, least=size)
            # Each host asks for one byte, to learn the length.
            assert sent <= size + 4, (digest, size, sent)
        for peer in c.all:
            assert creds not in peer.log() and "Bearer ey" not in peer.log(), peer.name
        ends_well(c)


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
