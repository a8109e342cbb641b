#!/usr/bin/python3
"""The acceptance list of the proxy's specification (proxy.md 21), line by line: one origin, a registry that redirects blobs to a CDN, an
origin with TLS, one daemon between them. Lines whose expectations another test holds in full are named in ELSEWHERE. Ports are free ones,
so task ids are worked out by the rule; the ids printed in the list are those of the rule (here, and of the daemon's own function in
tests/unit/peer/test_ids.c). The blob has the digest of its name: this daemon compares it.

usage: test_proxy_table.py BUILD_DIR [TEST...]"""
import ast
import contextlib
import http.client
import os
import re
import shutil
import socket
import ssl
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, Peer, run_tests_in, wait_for                                              # noqa: E402
from proxy_support import F1, MIB, SMALL, Answer, ScriptedOrigin, ask, daemon, open_get, sha  # noqa: E402
from test_shapes import task_id                                                            # noqa: E402
from tls_support import Authority                                                          # noqa: E402
import scripted_support as scripted                                                      # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
VIA = "dragonfly_client_proxy_request_via_dfdaemon_total"
PREFETCHES = "dragonfly_client_prefetch_task_total"
PIECE = 4 * MIB
CHALLENGE = 'Bearer realm="http://127.0.0.1:1/token",service="stub",scope="repository:lib/app:pull"'

# Line: tests that hold all of it.
ELSEWHERE = {
    "3": "test_proxy.test_routes", "4": "test_proxy.test_ids", "5": "test_proxy.test_ids", "6": "test_proxy.test_ids", "7": "test_proxy.test_ids",
    "8": "test_proxy.test_ids", "10": "test_proxy.test_ids", "11": "test_proxy.test_ids", "13": "test_proxy.test_routes",
    "14": "test_proxy.test_routes", "15": "test_proxy.test_routes", "16": "test_proxy.test_routes", "19": "test_proxy.test_ranges",
    "20": "test_proxy.test_ranges", "21": "test_proxy.test_ranges", "22": "test_proxy.test_ranges", "23": "test_proxy.test_ranges",
    "24": "test_proxy.test_ranges", "25": "test_proxy.test_ranges", "26": "test_proxy.test_ranges", "27": "test_proxy.test_errors_of_origins",
    "28": "test_proxy.test_errors_of_origins", "29": "test_proxy.test_errors_of_origins", "30": "test_proxy.test_errors_of_origins",
    "31": "test_proxy.test_errors_of_origins", "32": "test_proxy.test_conditions", "36": "test_proxy.test_mirror", "37": "test_proxy.test_mirror",
    "38": "unit/serve/test_proxy_rules.c mirror_bases", "39": "test_proxy.test_mirror", "42a": "test_proxy.test_policy_and_manifests",
    "44": "test_proxy.test_many_open_ended_ranges_share_their_pieces", "45": "test_proxy.test_a_client_that_leaves_and_one_that_is_slow",
    "46": "test_proxy.test_a_client_that_leaves_and_one_that_is_slow", "48": "test_proxy.test_prefetch",
    "52": "test_proxy_tls.test_old_connect_works", "53": "test_proxy_tls.test_intercepted_gets_go_through_the_cluster",
    "54": "test_proxy_tls.test_certificate_is_for_the_address_and_is_kept", "55": "test_proxy_tls.test_protocols_are_agreed_on",
    "56": "test_proxy_tls.test_tls_on_the_plain_port_without_an_authority", "57": "test_proxy.test_bad_requests",
    "59": "test_proxy.test_credentials", "60": "test_proxy.test_credentials", "61": "test_proxy.test_credentials",
    "62": "test_proxy.test_credentials", "63": "test_proxy.test_credentials", "64": "test_proxy.test_block_list", "66": "test_proxy.test_rules",
    "67": "unit/config/test_config.c proxy_rules_are_complete", "68": "test_proxy.test_rules", "69": "test_proxy.test_bad_requests",
    "71": "test_proxy.test_output_path", "72": "test_proxy.test_output_path", "74": "test_proxy.test_routes",
    "75": "test_dfinit.test_containerd_with_a_directory", "76": "test_dfinit.test_containerd_of_both_versions",
    "77": "test_dfinit.test_containerd_keeps_credentials", "78": "test_dfinit.test_containerd_with_a_directory", "79": "test_dfinit.test_crio_and_podman",
    "80": "test_dfinit.test_docker",
}

PRINTED = (
    ("http://127.0.0.1:18080/p2p/f1", {}, "29988d454f00e9d0ab903f6e09846ef27e60427fb70a49efed3c012dfa749706"),
    ("http://127.0.0.1:18080/p2p/f1?X-Amz-Signature=zz&ns=a", {}, "29988d454f00e9d0ab903f6e09846ef27e60427fb70a49efed3c012dfa749706"),
    ("http://127.0.0.1:18080/p2p/f1?v=1&Expires=9", {}, "980f1f234cd5393aae2a5e71b23133eb2a7940407e2beddde71fcec820ce2726"),
    ("http://127.0.0.1:18080/p2p/f1", {"tag": "t1"}, "80789b96cb87797e59eb48e2677e6e7f85baaf40e6cd451dfa3f6b25efd25a64"),
    ("http://127.0.0.1:18080/p2p/f1", {"tag": "t1", "application": "a1"}, "8b31ec83eed1a56d58ec033e2844c6311476806fba37f42e6ac1e6d4ff65c359"),
    ("http://127.0.0.1:18080/p2p/f1", {"piece_length": 8388608}, "fcd3581768e5654d47eb131233c70376d2e7e3eb8e01c7c0427da45a98af0b47"),
    ("http://127.0.0.1:18080/v2/lib/app/blobs/sha256:" + "ab" * 32 + "?ns=127.0.0.1:18080", {},
     "0162858f98e74db43b6e2a3735251c6e38afcaf0684cdb480c80c2f970c0e8ac"),
    ("https://127.0.0.1:18443/p2p/f1", {}, "acb14b8c3a4001660ab0e9d362f664834c80ec819cd9b37bdd1f523205cf4dbc"),
    ("https://127.0.0.1:18443/sec/f1", {}, "35f4e23abd56d00b9cb8717748aa2dde6e3edd9e7dea5868243fd4d2f7c0d064"),
)


def same(*pairs):
    for what, got, want in pairs:
        assert got == want, f"{what}: {got!r} instead of {want!r}"


def names_of(fields):
    return {n.lower(): v for n, v in fields}


# ---- the fixture ----

def registry_paths(cdn):
    """A registry whose every blob and manifest wants "Bearer T"; blobs are elsewhere, for who does not bring the token along."""
    def guarded(then):
        return lambda h: then(h) if h.headers.get("Authorization") == "Bearer T" else h.reply(401, b"{}", ("WWW-Authenticate", CHALLENGE))

    paths = {"/v2/": lambda h: h.reply(401, b"{}", ("WWW-Authenticate", CHALLENGE))}
    for blob in (B1, B2):
        at = f"/blob/{sha(blob)}"
        paths[blob_path(blob)] = guarded(lambda h, at=at: h.reply(307, b"", ("Location", cdn.url(at))))
        cdn.paths[at] = lambda h, blob=blob: h.reply(400, b"two credentials") if "Authorization" in h.headers else h.reply_file(blob)
    return paths


B1, B2 = F1[7:5 * MIB], F1[9:6 * MIB]


def blob_path(blob):
    return f"/v2/lib/app/blobs/sha256:{sha(blob)}"


class World:
    def __init__(self, build):
        self.build = build
        self.dir = tempfile.mkdtemp(prefix="dragonfly-test-")
        self.ca = Authority(self.dir)
        self.C = ScriptedOrigin({"/y": lambda h: h.reply(200, b"y")})
        self.O = ScriptedOrigin({**registry_paths(self.C), "/direct/r": lambda h: h.reply(302, b"", ("Location", self.C.url("/y")))})
        self.O2 = ScriptedOrigin(registry_paths(self.C))
        self.S = ScriptedOrigin({"/sec/f1": lambda h: h.reply_file(F1)}, tls=self.ca.leaf("origin"))
        self.daemon = self.start({})
        self.peer = self.daemon.seed
        self.port = self.peer.proxy_port

    def start(self, config, **more):
        """A daemon of the list's configuration, and of what a line adds."""
        c = dict(config)
        c["registryMirror"] = {"addr": self.O.url(""), "cert": self.ca.cert, **c.get("registryMirror", {})}
        return daemon(self.build, c, **more)

    def close(self):
        self.daemon.close()
        for server in (self.O, self.O2, self.C, self.S):
            server.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


world = None


def p2p(target, headers=None, **more):
    """Asks the shared daemon; the answer came by way of the cluster: it names the task, and the request was counted."""
    before = world.peer.metric(VIA)
    a = ask(world.port, target, headers, **more)
    assert a.is_p2p, a.fields
    wait_for(lambda: world.peer.metric(VIA) == before + 1, 10, "one more request by way of the cluster")
    return a


def direct(target, headers=None, **more):
    before = world.peer.metric(VIA)
    a = ask(world.port, target, headers, **more)
    same(("fields of ours", a.is_direct, True), ("requests by way of the cluster", world.peer.metric(VIA), before))
    return a


def ends_well(c):
    for peer in c.all:
        code, log = peer.stop(), peer.log()
        assert code in (0, None) and "Sanitizer" not in log and "runtime error" not in log, f"{peer.name} ended with {code}:\n{log[-6000:]}"


# ---- the list ----

def test_every_line_has_its_test(build):
    lines = {str(n) for n in range(1, 81)} | {"10a", "42a"}
    here = {n for name in globals() if name.startswith("test_line_") for n in re.match(r"test_((?:line_\d+a?_)+)", name).group(1).split("_") if n != "line" and n}
    same(("lines without a test", lines - set(ELSEWHERE) - here, set()), ("named twice", set(ELSEWHERE) & here, set()))
    for line, where in ELSEWHERE.items():
        file, _, name = where.partition(" ") if " " in where else where.partition(".")
        path = os.path.join(HERE, "..", file) if " " in where else os.path.join(HERE, file + ".py")
        with open(path) as f:
            text = f.read()
        found = name + "(" in text if " " in where else name in {n.name for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)}
        assert found, f"line {line}: {where} is not there"
    for url, more, want in PRINTED:
        same((f"{url} {more}", task_id(url, **more), want))
    same(("content header", sha(b"my-key"), "5e78863ed1ffb9fc66b1d61634b126bf8eb20267e7996297eeeb9b19c8c0f732"))


def test_line_1_direct(build):
    a = direct(world.O.url("/direct/x"))
    method, path, fields, _ = world.O.seen()[-1]
    same(("answer", (a.status, a.body), (200, b"hello")), ("origin saw", (method, path), ("GET", "/direct/x")),
         ("Host", names_of(fields)["host"], f"127.0.0.1:{world.O.port}"))


def test_line_2_by_way_of_the_cluster(build):
    a = p2p(world.O.url("/p2p/f1"))
    same(("answer", (a.status, a.body == F1), (200, True)), ("length", a.get("Content-Length"), "10485760"), ("etag", a.get("ETag"), '"e1"'),
         ("ip", a.get("X-Dragonfly-Server-IP"), "127.0.0.1"), ("id", a.get("X-Dragonfly-Task-ID"), task_id(world.O.url("/p2p/f1"))),
         ("finished", a.get("X-Dragonfly-Task-Download-Finished"), None))


def ranges_of(origin, path):
    """What was asked of the origin but for the first byte, as (first, last); None: the whole."""
    out = [names_of(e[2]).get("range") for e in origin.seen(path)]
    return sorted(tuple(int(n) for n in r[6:].split("-")) if r else (0, None) for r in out if r != "bytes=0-0")


def test_line_9_piece_length(build):
    url = world.O.url("/p2p/f9")
    world.O.paths["/p2p/f9"] = lambda h: h.reply_file(F1)
    first = p2p(url, {"X-Dragonfly-Piece-Length": "8mib", "Range": "bytes=5-9"})
    same(("id", first.get("X-Dragonfly-Task-ID"), task_id(url, piece_length=8 * MIB)), ("a piece is", ranges_of(world.O, "/p2p/f9"), [(0, 8 * MIB - 1)]))
    a = p2p(url, {"X-Dragonfly-Piece-Length": "8mib"})
    same(("answer", (a.status, a.body == F1), (200, True)), ("the other", ranges_of(world.O, "/p2p/f9"), [(0, 8 * MIB - 1), (8 * MIB, 10 * MIB - 1)]))


def test_line_10a_line_73_what_a_scheduler_is_told(build):
    c = Cluster(build, peers=0, seed=False, start=False)
    scheduler = None
    try:
        scheduler = scripted.Scheduler(c.scheduler_port)
        peer = Peer(c, "tested", False, False)
        peer.config["proxy"]["rules"] = [{"regex": "/p2p/"}]
        c.all.append(peer)
        for query in ("?priority", "?always"):
            scheduler.scripts[world.O.url("/p2p/small" + query)] = [scripted.give(scripted.need_source())]
        scheduler.scripts[world.O.url("/p2p/f1?priority")] = [scripted.give(scripted.need_source())]
        peer.start()
        wait_for(lambda: scheduler.hosts, 10, "the daemon announces itself")

        def heard(url):
            return [talk.log[0].register_peer_request.download for talk in scheduler.conversations[url]]
        url = world.O.url("/p2p/small?nobody-is-asked")
        a = ask(peer.proxy_port, url)
        same(("small", (a.status, a.is_p2p, a.body == SMALL), (200, True, True)), ("registrations", len(heard(url)), 0))
        url = world.O.url("/p2p/small?always")
        a = ask(peer.proxy_port, url, {"X-Dragonfly-Scheduling-Policy": "ALWAYS"})
        same(("small, always", (a.status, a.is_p2p, a.body == SMALL), (200, True, True)))
        told, = heard(url)
        field = told.DESCRIPTOR.fields_by_number[35]
        same(("policy", getattr(told, field.name), 1))
        url = world.O.url("/p2p/f1?priority")
        a = ask(peer.proxy_port, url, {"X-Dragonfly-Priority": "99"})
        same(("priority 99", (a.status, a.is_p2p, a.body == F1), (200, True, True)))
        told, = heard(url)
        same(("what is told of it", (told.DESCRIPTOR.fields_by_number[7].name, told.priority), ("priority", 6)))
        # And what else the message says of a request (7 of the specification).
        same(("url", told.url, url), ("remote ip", told.remote_ip, "127.0.0.1"), ("kind", told.type, 0),
             ("header", [n for n in told.request_header if n.startswith("x-dragonfly") or n in ("host", "proxy-connection")], []))
        ends_well(c)
    finally:
        c.close()
        if scheduler:
            scheduler.server.stop(0)


def test_line_12_id_of_a_text(build):
    a = p2p(world.O.url("/p2p/small"), {"X-Dragonfly-Content-For-Calculating-Task-ID": "my-key"})
    same(("id", a.get("X-Dragonfly-Task-ID"), "5e78863ed1ffb9fc66b1d61634b126bf8eb20267e7996297eeeb9b19c8c0f732"), ("body", a.body == SMALL, True))


def test_line_17_upload_in_chunks(build):
    body = os.urandom(3 * MIB)
    a = direct(world.O.url("/p2p/f1"), method="POST", body=iter([body[at:at + 70000] for at in range(0, len(body), 70000)]))
    method, path, fields, got = world.O.seen("/p2p/f1")[-1]
    same(("answer", a.status, 200), ("origin saw", (method, path, got == body), ("POST", "/p2p/f1", True)),
         ("framing", names_of(fields).get("transfer-encoding"), "chunked"))


def test_line_18_one_byte_range(build):
    a = p2p(world.O.url("/p2p/f1"), {"Range": "bytes=0-0"})
    same(("answer", (a.status, a.body), (206, F1[:1])), ("range", a.get("Content-Range"), "bytes 0-0/10485760"), ("length", a.get("Content-Length"), "1"))


def test_line_33_redirects_go_to_the_client(build):
    a = direct(world.O.url("/direct/r"))
    same(("answer", (a.status, a.get("Location")), (302, world.C.url("/y"))), ("the CDN was asked", len(world.C.seen("/y")), 0))


def test_line_34_ping_of_a_registry(build):
    a = direct("/v2/")
    same(("answer", (a.status, a.get("WWW-Authenticate"), a.body), (401, CHALLENGE, b"{}")))


def test_line_35_line_40_registry_by_header(build):
    o, c = len(world.O.seen()), len(world.C.seen())
    direct("/direct/x", {"X-Dragonfly-Registry": world.C.url("")})
    same(("path", world.C.seen()[-1][1], "/direct/x"), ("there", len(world.C.seen()), c + 1), ("here", len(world.O.seen()), o))
    direct(world.O.url("/direct/x"), {"X-Dragonfly-Registry": world.C.url("")})
    same(("absolute: here", len(world.O.seen()), o + 1), ("absolute: not there", len(world.C.seen()), c + 1))


def test_line_41_line_42_line_43_blob_that_is_elsewhere(build):
    O, O2, C = world.O, world.O2, world.C
    ns = f"?ns=127.0.0.1:{O.port}"
    token = {"Authorization": "Bearer T", "X-Dragonfly-Registry": O.url("")}
    a = ask(world.port, blob_path(B1) + ns, {"X-Dragonfly-Registry": O.url("")})
    same(("without a token", (a.status, a.type, a.get("WWW-Authenticate")), (401, "backend", CHALLENGE)), ("asked of the CDN", len(C.seen("/blob/" + sha(B1))), 0))
    a = p2p(blob_path(B1) + ns, token)
    same(("answer", (a.status, a.body == B1), (200, True)), ("id", a.get("X-Dragonfly-Task-ID"), task_id(O.url(blob_path(B1)) + ns)))
    same(("the registry saw the token", {names_of(e[2]).get("authorization") for e in O.seen(blob_path(B1))[1:]}, {"Bearer T"}),
         ("the CDN did not", {names_of(e[2]).get("authorization") for e in C.seen("/blob/" + sha(B1))}, {None}))
    mode = {**token, "X-Dragonfly-Enable-Task-ID-Based-Blob-Digest": "true"}
    a = p2p(blob_path(B2) + ns, mode)
    same(("digest mode", (a.status, a.body == B2, a.get("X-Dragonfly-Task-ID")), (200, True, sha(B2))))
    seen = len(O.seen()), len(C.seen())
    a = p2p(blob_path(B2), {**mode, "X-Dragonfly-Registry": O2.url("")})
    same(("of another registry", (a.status, a.body == B2, a.get("X-Dragonfly-Task-ID")), (200, True, sha(B2))),
         ("nobody was asked", (len(O.seen()), len(C.seen()), len(O2.seen())), (*seen, 0)))


def test_line_47_origin_that_dies(build):
    state = {"asked": 0, "dead": False}
    gone = threading.Event()

    def dying(h):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", h.headers.get("Range", "") or "bytes=0-")
        first, last = int(wanted[1]), int(wanted[2] or len(F1) - 1)
        if (first, last) == (0, 0):
            return h.reply_file(F1)
        h.close_connection = True
        if first > 0 or state["dead"]:
            gone.wait(20)
            return None
        status = 206 if "Range" in h.headers else 200
        h.reply(status, b"", ("Content-Length", str(last - first + 1)), ("ETag", '"e1"'), ("Content-Range", f"bytes {first}-{last}/{len(F1)}"))
        h.wfile.write(F1[first:min(last + 1, PIECE + 1000)])
        h.wfile.flush()
        state["dead"] = True
        return None

    o = ScriptedOrigin({"/p2p/f1": dying})
    with world.start({}) as c:
        try:
            with open_get(c.seed.proxy_port, o.url("/p2p/f1")) as s:
                got = bytearray()
                with contextlib.suppress(ConnectionResetError):
                    while b"\r\n\r\n" not in got or len(got.partition(b"\r\n\r\n")[2]) < PIECE:
                        block = s.recv(1 << 20)
                        assert block, bytes(got[:300])
                        got += block
                    o.stop()            # the first piece is with the client: now nobody listens any more
                    gone.set()
                    while block := s.recv(1 << 20):
                        got += block
            head, _, body = bytes(got).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ") and b"Content-Length: 10485760" in head, head
            same(("what came is right", body == F1[:len(body)], True))
            assert PIECE <= len(body) < len(F1), len(body)
            wait_for(lambda: "answer of the proxy broken off" in c.seed.log(), 10, "a line in the log")
        finally:
            gone.set()
            if not state["dead"]:
                o.stop()
        ends_well(c)


def test_line_49_line_50_no_prefetch(build):
    url = world.O.url("/p2p/f1?line=49")
    with world.start({"prefetch": True}) as c:
        port, count = c.seed.proxy_port, len(world.O.seen("/p2p/f1"))
        a = ask(port, url, {"Range": "bytes=0-9", "X-Dragonfly-Prefetch": "false"})
        same(("answer", (a.status, a.body), (206, F1[:10])), ("prefetches", c.seed.metric(PREFETCHES), 0))
        same(("of the origin", [names_of(e[2]).get("range") for e in world.O.seen("/p2p/f1")[count:]], ["bytes=0-0", f"bytes=0-{PIECE - 1}"]))
        # The rest is not there: it has to be fetched.
        a = ask(port, url, {"Range": f"bytes={PIECE}-{PIECE}", "X-Dragonfly-Prefetch": "false"})
        same(("another piece", (a.status, a.body), (206, F1[PIECE:PIECE + 1])), ("is fetched", len(world.O.seen("/p2p/f1")), count + 3))
        same(("prefetches", c.seed.metric(PREFETCHES), 0))
        ends_well(c)
    before = world.peer.metric(PREFETCHES)
    p2p(world.O.url("/p2p/small?line=50"), {"X-Dragonfly-Prefetch": "true"})
    same(("prefetches of a whole", world.peer.metric(PREFETCHES), before))


@contextlib.contextmanager
def tunnel(port, host, to, ca, version="1.1"):
    """TLS behind a CONNECT; (socket, head of the answer to CONNECT)."""
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        s.sendall(f"CONNECT {host}:{to} HTTP/{version}\r\nHost: {host}:{to}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            block = s.recv(1)
            assert block, head
            head += block
        with contextlib.ExitStack() as stack:
            inside = None
            if b" 200 " in head:
                context = ssl.create_default_context(cafile=ca)
                inside = stack.enter_context(context.wrap_socket(s, server_hostname=host))
            yield inside, head.decode()


def ask_inside(t, path):
    t.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    r = http.client.HTTPResponse(t)
    r.begin()
    return Answer(r)


def authority_of(peer):
    return f"{peer.store}/proxy-ca/ca.crt"


def test_line_51_tunnel(build):
    via = world.peer.metric(VIA)
    with tunnel(world.port, "127.0.0.1", world.S.port, authority_of(world.peer)) as (t, head):
        assert head.startswith("HTTP/1.1 200 ") and "length" not in head.lower() and "transfer" not in head.lower(), head
        same(("names of the certificate", t.getpeercert()["subjectAltName"], (("IP Address", "127.0.0.1"),)))
        a = ask_inside(t, "/direct/x")
        same(("inside", (a.status, a.body, a.is_direct), (200, b"hello", True)), ("counted", world.peer.metric(VIA), via))
        a = ask_inside(t, "/p2p/f1")
        same(("by way of the cluster", (a.status, a.body == F1, a.get("X-Dragonfly-Task-ID")), (200, True, task_id(world.S.url("/p2p/f1")))))


def test_line_58_rate(build):
    with world.start({"server": {"requestRateLimit": 5}}) as c:
        port, ca, plain = c.seed.proxy_port, authority_of(c.seed), world.O.url("/direct/x")
        end = time.monotonic() + 60

        def one_second():
            """A CONNECT that is the first of its second, five GETs in it, one outside; what each got."""
            # All that is left of the running second is taken; the first that passes then begins the next one.
            while ask(port, plain).status != 429:
                assert time.monotonic() < end, "never limited"
            while time.monotonic() < end:
                with tunnel(port, "127.0.0.1", world.S.port, ca) as (t, head):
                    if t is None:
                        assert head.startswith("HTTP/1.1 429 "), head
                        time.sleep(0.01)
                        continue
                    return [ask_inside(t, "/direct/x") for _ in range(5)] + [ask(port, plain)]
            raise AssertionError("no CONNECT passed")
        while True:
            got = one_second()
            status = [a.status for a in got]
            # A machine that is slow may have gone on into the next second: then more pass, never fewer.
            assert status[:4] == [200] * 4, status
            if status[4:] == [429, 429]:
                break
            assert time.monotonic() < end, status
        for a in got[4:]:
            same(("refusal", (a.type, a.get("Retry-After")), ("proxy", "1")))
        wait_for(lambda: ask(port, plain).status == 200, 10, "the next second")
        ends_well(c)


def test_line_65_rule_with_tls_and_another_host(build):
    rules = [{"regex": "/sec/", "useTLS": True, "redirect": f"127.0.0.1:{world.S.port}"}]
    with world.start({"rules": rules}) as c:
        a = ask(c.seed.proxy_port, "http://any.host/sec/f1")
        same(("answer", (a.status, a.body == F1), (200, True)), ("id", a.get("X-Dragonfly-Task-ID"), task_id(world.S.url("/sec/f1"))),
             ("asked over TLS", {e[1] for e in world.S.seen()} >= {"/sec/f1"}, True))
        ends_well(c)


def test_line_70_both_ways_on_one_connection(build):
    c = http.client.HTTPConnection("127.0.0.1", world.port, timeout=20)
    a = p2p(world.O.url("/p2p/f1"), connection=c)
    where = c.sock.getsockname()
    b = direct(world.O.url("/direct/x"), connection=c)
    same(("first", (a.status, a.body == F1), (200, True)), ("second", (b.status, b.body), (200, b"hello")), ("on the same", c.sock.getsockname(), where))
    c.close()


if __name__ == "__main__":
    sys.exit(run_tests_in(World, lambda w: ends_well(w.daemon), globals(), sys.argv))
