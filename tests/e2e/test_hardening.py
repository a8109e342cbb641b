"""What a daemon does with strangers beyond refusing nonsense: origins they may not name, orders they may not give, hosts that are not theirs,
floods of connections; and the rights it runs with itself. usage: tests/e2e/test_hardening.py BUILD_DIR [NAME...]"""
import http.server
import os
import pwd
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

os.environ.setdefault("GRPC_VERBOSITY", "NONE")      # refused handshakes are what is tested
import grpc  # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grpc_support as g  # noqa: E402
from cluster import Cluster, Origin, free_ports, make_file, merge, run_tests, sha256, to_yaml, wait_for  # noqa: E402
from strangers import Relay, own_address  # noqa: E402
from test_manager import Manager  # noqa: E402
from test_tls import day, keys  # noqa: E402
from tls_support import Authority, under_tls  # noqa: E402

api = g.Api()
MIB = 1 << 20
SIZE = 5 * MIB + 77
WAIT_S = 60         # for what happens within a second on a machine that does nothing else
UPLOAD = "dfdaemon.v2.DfdaemonUpload"
SCHEDULER = "scheduler.v2.Scheduler"


def code_of(call):
    try:
        call()
    except grpc.RpcError as e:
        return e.code().name, e.details()
    return "OK", ""


def connected(channel):
    """The channel, once it has a connection: a first attempt that fails on a busy machine is no answer of the daemon."""
    grpc.channel_ready_future(channel).result(WAIT_S)
    return channel


def expect(call, code, text=""):
    got = code_of(call)
    assert got[0] == code and text in got[1], (got, code, text)


class World:
    """A cluster, an origin with /big, and a channel to the first daemon's upload port through a relay: from a stranger's address."""

    def __init__(self, build, peers=0, seed=True, config=None):
        self.cluster = Cluster(build, peers=peers, seed=seed, config=config)
        try:
            self.first = self.cluster.all[0]
            self.files = self.cluster.path("files")
            os.mkdir(self.files)
            self.digest = make_file(os.path.join(self.files, "big"), SIZE)
            self.origin = Origin(build, self.files)
            self.here = g.channel_to(f"127.0.0.1:{self.first.upload_port}")
            self.local = api.stub(self.here, UPLOAD)
            self.own = own_address()
            self.relay = Relay(self.first.upload_port, self.own) if self.own else None
            if self.relay:
                self.there = connected(g.channel_to(f"127.0.0.1:{self.relay.port}"))
                self.stranger = api.stub(self.there, UPLOAD)
        except BaseException:
            self.cluster.close()
            raise

    def get(self, name="/big", peer=None, *flags):
        out = self.cluster.path("out")
        code, err = (peer or self.first).dfget(self.origin.url(name), out, "--overwrite", *flags)
        assert code == 0, (err, (peer or self.first).log()[-3000:])
        assert sha256(out) == self.digest

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.here.close()
        if self.relay:
            self.there.close()
            self.relay.close()
        self.origin.stop()
        self.cluster.close()


def no_stranger(w):
    if w.own is None:
        print("   no address but loopback: what strangers get is not tried", flush=True)
    return w.own is None


def download(stub, url, **more):
    return lambda: list(stub.DownloadTask(api.dfdaemon.DownloadTaskRequest(download=api.common.Download(url=url, **more)), timeout=WAIT_S))


def entries(stub, url):
    return lambda: stub.ListTaskEntries(api.dfdaemon.ListTaskEntriesRequest(url=url), timeout=WAIT_S)


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Redirects to where the query says, with the code that the path says."""

    def do_GET(self):
        path, _, query = self.path.partition("?")
        self.send_response(int(path[1:]))
        self.send_header("Location", query)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


def of_server(ca, pair):
    """Credentials of a grpcio server that wants client certificates of the same authority."""
    read = [open(f, "rb").read() for f in (pair[1], pair[0], ca.cert)]
    return grpc.ssl_server_credentials([(read[0], read[1])], root_certificates=read[2], require_client_auth=True)


def authorities_and_file(c):
    """One that is trusted and one that is not; a directory with the file "big", and its digest."""
    certs, files = c.path("certs"), c.path("files")
    os.mkdir(certs)
    os.mkdir(files)
    return Authority(certs), Authority(certs, "other-ca"), files, make_file(os.path.join(files, "big"), SIZE)


def test_a_manager_over_tls(build):
    """Found, trusted by its name and authority alone, and a daemon that must not trust it says why and works on."""
    with Cluster(build, peers=1, start=False) as c:
        seed, peer = c.all
        ca, other, files, digest = authorities_and_file(c)
        [port] = free_ports(1)
        rows = [("scheduler", 1, 1, c.scheduler_port)]
        origin = Origin(build, files)
        merge(peer.config, {"dynconfig": {"refreshInterval": "300ms"}, "manager": {"addr": f"https://127.0.0.1:{port}", **keys(ca, ca.leaf("peer"))}})
        peer.set_schedulers(["127.0.0.1:9"])

        def get(name):
            code, err = peer.dfget(origin.url(name), c.path("out"), "--overwrite")
            assert code == 0 and sha256(c.path("out")) == digest, (err, peer.log()[-2000:])
        try:
            seed.start()
            cases = [
                (ca.leaf("elsewhere", san="IP:10.1.2.3,DNS:manager.example"), "the certificate is for 10.1.2.3, manager.example, not for 127.0.0.1"),
                (other.leaf("foreign"), "is not signed by an authority in " + ca.cert),
                (ca.leaf("old", dates=(day(-20), day(-1))), "expired at 20"),
                (ca.leaf("onlyclient", use="client"), "is not for servers (its extended key usage lacks serverAuth)"),
            ]
            for pair, want in cases:
                manager = Manager(port, rows, credentials=of_server(ca, pair))
                peer.start()
                wait_for(lambda: want in peer.log(), WAIT_S, f"{want}: {peer.log()[-1500:]}", step=0.1)
                get("/big")
                assert not manager.asked, "a manager that is not trusted was asked"
                assert peer.stop() == 0
                manager.stop()
            # Who speaks no TLS is none either.
            manager = Manager(port, rows)
            before = len(peer.log())
            peer.start()
            wait_for(lambda: "the manager gives no schedulers" in peer.log()[before:], WAIT_S, "plaintext is told of", step=0.1)
            assert not manager.asked
            manager.stop()
            # The right one, by its address and by its name.
            for name, san in (("127.0.0.1", "IP:127.0.0.1"), ("localhost", "DNS:localhost")):
                peer.stop()
                merge(peer.config, {"manager": {"addr": f"https://{name}:{port}"}})
                manager = Manager(port, rows, credentials=of_server(ca, ca.leaf(f"manager-{name}", san=san)))
                peer.start()
                wait_for(lambda: manager.asked, WAIT_S, "the manager is asked")
                wait_for(lambda: seed.metric("dragonfly_scheduler_hosts") == 2, WAIT_S, f"its scheduler knows both: {peer.log()[-1500:]}")
                get("/big?" + name)
                assert peer.metric("dragonfly_client_download_traffic", type="REMOTE_PEER") > 0
                assert peer.stop() == 0
                manager.stop()
                wait_for(lambda: seed.metric("dragonfly_scheduler_hosts") == 1, WAIT_S, "the peer took leave")
        finally:
            origin.stop()


def test_parents_that_are_not_trusted(build):
    """A peer with the whole content and a certificate that is not its own or of nobody we know: said so, and the content comes from the source."""
    with Cluster(build, peers=1, start=False) as c:
        seed, peer = c.all
        ca, other, files, digest = authorities_and_file(c)
        good = ca.leaf("good")
        cases = [
            (other.leaf("foreign"), "is not signed by an authority in " + ca.cert),
            (ca.leaf("elsewhere", san="IP:10.1.2.3"), "the certificate is for 10.1.2.3, not for 127.0.0.1"),
        ]
        origin = Origin(build, files)
        for p in c.all:
            merge(p.config, {"upload": {"client": keys(ca, good), "server": keys(ca, good)}})
        try:
            for n, (pair, want) in enumerate(cases):
                merge(seed.config, {"upload": {"server": keys(ca, pair)}})
                c.start()
                url = origin.url(f"/big?{n}")
                for p in (seed, peer):
                    code, err = p.dfget(url, c.path("out"), "--overwrite")
                    assert code == 0 and sha256(c.path("out")) == digest, (err, p.log()[-2000:])
                assert want in peer.log(), (want, peer.log()[-3000:])
                assert peer.metric("dragonfly_client_download_traffic", type="REMOTE_PEER") == 0
                for p in (peer, seed):
                    assert p.stop() == 0
        finally:
            origin.stop()


def test_strangers_cannot_make_the_daemon_ask_its_own_host(build):
    with World(build) as w:
        if no_stranger(w):
            return
        port = w.origin.port
        names = [f"http://{host}:{port}/big?{n}" for n, host in enumerate(("127.0.0.1", "localhost", "127.9.9.9", "0.0.0.0", "[::1]",
                                                                           "[::ffff:127.0.0.1]", "169.254.169.254"))]
        for url in names:
            expect(download(w.stranger, url), "PERMISSION_DENIED", "x.upload.origins")
            expect(entries(w.stranger, url), "PERMISSION_DENIED", "x.upload.origins")
        # This host itself may, and what a stranger was refused is no harm to it.
        expect(download(w.local, names[0]), "OK")
        expect(entries(w.local, names[0]), "OK")
        w.get("/big?0")
        # Origins elsewhere are for everybody, but they lead to no other place.
        outside = Origin(build, w.files, address=w.own)
        try:
            expect(download(w.stranger, outside.url("/big")), "OK")
            expect(entries(w.stranger, outside.url("/big")), "OK")
        finally:
            outside.stop()
        elsewhere = http.server.ThreadingHTTPServer((w.own, 0), Elsewhere)
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        try:
            base = f"http://{w.own}:{elsewhere.server_port}"
            for code in (301, 302, 303, 307, 308):
                url = f"{base}/{code}?http://127.0.0.1:{port}/big"
                expect(download(w.stranger, url), "PERMISSION_DENIED", "x.upload.origins")
                # The user's own download leaves a kept 307 target behind.
                expect(entries(w.local, url), "OK")
                expect(entries(w.stranger, url), "PERMISSION_DENIED", "x.upload.origins")
                expect(download(w.local, url), "OK")
        finally:
            elsewhere.shutdown()
            elsewhere.server_close()


def test_a_scheduler_passes_on_no_more_than_strangers_may(build):
    """As clusters are: daemons at an address of the network, triggers from there. A seed does not ask its own host for others; nobody suffers."""
    own = own_address()
    if own is None:
        print("   no address but loopback: not tried", flush=True)
        return
    with Cluster(build, peers=1, start=False) as c:
        for p in c.all:
            merge(p.config, {"host": {"ip": own}, "upload": {"server": {"ip": own}}, "storage": {"server": {"ip": own}}})
            p.set_schedulers([f"{own}:{c.scheduler_port}"])
        os.mkdir(c.path("files"))
        digest = make_file(c.path("files/big"), SIZE)
        inside, outside = Origin(build, c.path("files")), Origin(build, c.path("files"), address=own)
        try:
            c.start()
            peer = c.peers[0]
            for origin, from_seed in ((inside, False), (outside, True)):
                code, err = peer.dfget(origin.url("/big"), c.path("out"), "--overwrite")
                assert code == 0 and sha256(c.path("out")) == digest, err
                wait_for(lambda: "x.upload.origins" in c.seed.log(), WAIT_S, "the refusal is told of")
                assert (c.seed.metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE") > 0) == from_seed
                assert (peer.metric("dragonfly_client_download_traffic", type="REMOTE_PEER") > 0) == from_seed
        finally:
            inside.stop()
            outside.stop()


def test_ranges_of_origins_for_strangers(build):
    with World(build, config={"x": {"upload": {"origins": {"allow": ["127.0.0.0/8"], "deny": ["127.0.0.2/32"]}}}}) as w:
        if no_stranger(w):
            return
        expect(download(w.stranger, w.origin.url("/big?1")), "OK")
        expect(download(w.stranger, f"http://127.0.0.2:{w.origin.port}/big"), "PERMISSION_DENIED", "x.upload.origins")
        expect(download(w.stranger, f"http://{w.own}:{w.origin.port}/big"), "PERMISSION_DENIED", "x.upload.origins")


def test_credential_files_are_nobodys_on_the_upload_port(build):
    with World(build) as w:
        secret = w.cluster.path("secret.json")
        with open(secret, "w") as f:
            f.write('{"token": "top-secret-token"}')
        storage = api.common.ObjectStorage(credential_path=secret, region="r", endpoint="e")
        for url in (w.origin.url("/big"), "gs://bucket/key", "s3://bucket/key"):
            for stub in (w.local, w.stranger) if w.own else (w.local,):
                expect(download(stub, url, object_storage=storage), "PERMISSION_DENIED", "credential path")
                expect(lambda: stub.ListTaskEntries(api.dfdaemon.ListTaskEntriesRequest(url=url, object_storage=storage), timeout=WAIT_S),
                       "PERMISSION_DENIED", "credential path")
                expect(lambda: list(stub.DownloadPersistentTask(api.dfdaemon.DownloadPersistentTaskRequest(url=url, object_storage=storage),
                                                                timeout=WAIT_S)), "PERMISSION_DENIED", "credential path")
        assert "top-secret-token" not in w.first.log() and secret not in w.first.log()


def test_orders_of_strangers(build):
    """x.upload.control: any, schedulers, none."""
    with World(build, seed=False, peers=1) as w:
        w.get()
        task = w.first.log().split("task=")[1].split()[0]
        if w.own:
            expect(lambda: w.stranger.DeleteTask(api.dfdaemon.DeleteTaskRequest(task_id=task), timeout=WAIT_S), "OK")
    for control in ("schedulers", "none"):
        with World(build, seed=False, peers=1, config={"x": {"upload": {"control": control}}}) as w:
            w.get()
            task = w.first.log().split("task=")[1].split()[0]
            stubs = ([w.stranger] if w.own else []) + ([w.local] if control == "none" else [])
            for stub in stubs:
                for name in ("DeleteTask", "DeletePersistentTask", "DeletePersistentCacheTask", "UpdatePersistentTask", "UpdatePersistentCacheTask"):
                    expect(lambda: getattr(stub, name)(getattr(api.dfdaemon, name + "Request")(task_id=task), timeout=WAIT_S),
                           "PERMISSION_DENIED", "x.upload.control")
                for name in ("DownloadPersistentTask", "DownloadPersistentCacheTask"):
                    expect(lambda: list(getattr(stub, name)(getattr(api.dfdaemon, name + "Request")(), timeout=WAIT_S)),
                           "PERMISSION_DENIED", "x.upload.control")
                expect(download(stub, w.origin.url("/big")), "PERMISSION_DENIED", "x.upload.control")
                expect(entries(stub, w.origin.url("/big")), "PERMISSION_DENIED", "x.upload.control")
                # Children are served all the same.
                pieces = list(stub.SyncPieces(api.dfdaemon.SyncPiecesRequest(task_id=task, interested_piece_numbers=[0]), timeout=WAIT_S))
                assert [p.number for p in pieces] == [0]
            if stubs:
                assert w.first.metric("dragonfly_client_x_orders_refused_total") == 9 * len(stubs)
                assert "order refused peer=" in w.first.log() and f"x.upload.control: {control}" in w.first.log()
            if control == "schedulers":
                expect(lambda: w.local.DeleteTask(api.dfdaemon.DeleteTaskRequest(task_id=task), timeout=WAIT_S), "OK")
            w.get("/big?again")


def test_certificates_that_count_as_schedulers(build):
    own = own_address()
    if own is None:
        print("   no address but loopback: not tried", flush=True)
        return
    with Cluster(build, peers=0, start=False) as c:
        certs = c.path("certs")
        os.mkdir(certs)
        ca = Authority(certs)
        merge(c.seed.config, under_tls(ca, ca.leaf("seed")))
        merge(c.seed.config, {"x": {"upload": {"control": "schedulers", "controllers": ["trusted.example"]}}})
        c.start()
        with Relay(c.seed.upload_port, own) as relay:
            for name, want in (("stranger.example", "PERMISSION_DENIED"), ("trusted.example", "NOT_FOUND")):
                pair = ca.leaf(name, san=f"DNS:{name}")
                read = [open(f, "rb").read() for f in (ca.cert, pair[1], pair[0])]
                with grpc.secure_channel(f"127.0.0.1:{relay.port}", grpc.ssl_channel_credentials(*read), options=g.UNLIMITED) as channel:
                    stub = api.stub(connected(channel), UPLOAD)
                    expect(lambda: stub.DeleteTask(api.dfdaemon.DeleteTaskRequest(task_id="a" * 64), timeout=WAIT_S), want)


def test_outputs_over_tcp_lie_below_given_directories(build):
    with Cluster(build, peers=0, start=False) as c:
        given, other = c.path("given"), c.path("other")
        for d in (given, other, f"{given}/sub"):
            os.mkdir(d)
        os.symlink(other, f"{given}/link")
        files = c.path("files")
        os.mkdir(files)
        digest = make_file(os.path.join(files, "big"), SIZE)
        merge(c.seed.config, {"x": {"upload": {"outputDirs": [given]}}})
        origin = Origin(build, files)
        try:
            c.start()
            with g.channel_to(f"127.0.0.1:{c.seed.upload_port}") as channel:
                stub = api.stub(channel, UPLOAD)
                for n, path in enumerate((f"{given}/a", f"{given}/sub/b")):
                    expect(download(stub, origin.url("/big"), output_path=path), "OK")
                    assert sha256(path) == digest
                    assert os.stat(path).st_nlink == 1, "a copy, not the content itself"
                    expect(download(stub, origin.url("/big"), output_path=path), "ALREADY_EXISTS")
                    expect(download(stub, origin.url("/big"), output_path=path, overwrite=True), "OK")
                for path in (f"{other}/x", f"{given}/../other/x", f"{given}/./x", f"{given}", f"{given}/", f"{given}x", f"{given}//x", "relative"):
                    for more in ({}, {"overwrite": True}, {"force_hard_link": True}):
                        expect(download(stub, origin.url("/big"), output_path=path, **more), "PERMISSION_DENIED", "output path is not allowed")
                # Through a link the text looks right and the way is not.
                for more in ({}, {"overwrite": True}, {"force_hard_link": True}):
                    code, _ = code_of(download(stub, origin.url("/big"), output_path=f"{given}/link/x", **more))
                    assert code != "OK", code
                assert os.listdir(other) == []
        finally:
            origin.stop()


def test_hosts_belong_to_who_announced_them(build):
    with World(build, peers=1) as w:
        if no_stranger(w):
            return
        c = w.cluster
        with Relay(c.scheduler_port, w.own) as relay, connected(g.channel_to(f"127.0.0.1:{relay.port}")) as there, \
                g.channel_to(f"127.0.0.1:{c.scheduler_port}") as here:
            stranger, local = api.stub(there, SCHEDULER), api.stub(here, SCHEDULER)

            def hosts():
                return {h.id: h for h in local.ListHosts(api.scheduler.ListHostsRequest(), timeout=WAIT_S).hosts}
            before = wait_for(lambda: hosts() if len(hosts()) == 2 else None, WAIT_S, "both hosts are known")
            for host in before.values():
                false = type(host)()
                false.CopyFrom(host)
                false.ip, false.port, false.download_port = w.own, 4000, 4000
                expect(lambda: stranger.AnnounceHost(api.scheduler.AnnounceHostRequest(host=false), timeout=WAIT_S), "PERMISSION_DENIED")
                expect(lambda: stranger.DeleteHost(api.scheduler.DeleteHostRequest(host_id=host.id), timeout=WAIT_S), "PERMISSION_DENIED")
                expect(lambda: stranger.DeleteTask(api.scheduler.DeleteTaskRequest(host_id=host.id, task_id="a" * 64), timeout=WAIT_S),
                       "PERMISSION_DENIED")
            after = hosts()
            assert {k: (v.ip, v.port) for k, v in after.items()} == {k: (v.ip, v.port) for k, v in before.items()}
            assert "order about another's host refused" in w.first.log()
            # Its own host it may announce, again and again, and take away.
            mine = type(host)()
            mine.CopyFrom(host)
            mine.id, mine.ip, mine.hostname = f"{w.own}-mine", w.own, "mine"
            for _ in range(2):
                expect(lambda: stranger.AnnounceHost(api.scheduler.AnnounceHostRequest(host=mine), timeout=WAIT_S), "OK")
            # A tool on the scheduler's machine may all that, and the host still is its owner's.
            expect(lambda: local.AnnounceHost(api.scheduler.AnnounceHostRequest(host=mine), timeout=WAIT_S), "OK")
            expect(lambda: stranger.DeleteHost(api.scheduler.DeleteHostRequest(host_id=mine.id), timeout=WAIT_S), "OK")
            # Who claimed a host first does not keep it from the machine whose address is in its id.
            mine.id = f"{w.own}-claimed"
            expect(lambda: local.AnnounceHost(api.scheduler.AnnounceHostRequest(host=mine), timeout=WAIT_S), "OK")
            expect(lambda: stranger.AnnounceHost(api.scheduler.AnnounceHostRequest(host=mine), timeout=WAIT_S), "OK")
            expect(lambda: stranger.DeleteHost(api.scheduler.DeleteHostRequest(host_id=mine.id), timeout=WAIT_S), "OK")
        w.get("/big", c.peers[0])


def test_hosts_belong_to_nobody_where_the_key_says_so(build):
    with World(build, config={"x": {"scheduler": {"hostOwners": False}}}) as w:
        if no_stranger(w):
            return
        with Relay(w.cluster.scheduler_port, w.own) as relay, connected(g.channel_to(f"127.0.0.1:{relay.port}")) as there:
            stranger = api.stub(there, SCHEDULER)
            wait_for(lambda: len(stranger.ListHosts(api.scheduler.ListHostsRequest(), timeout=WAIT_S).hosts) == 1, WAIT_S, "the host is known")
            host = stranger.ListHosts(api.scheduler.ListHostsRequest(), timeout=WAIT_S).hosts[0]
            expect(lambda: stranger.DeleteHost(api.scheduler.DeleteHostRequest(host_id=host.id), timeout=WAIT_S), "OK")


def cpu(peer):
    """Seconds of processor time so far."""
    with open(f"/proc/{peer.process.pid}/stat") as f:
        part = f.read().rpartition(")")[2].split()
    return (int(part[11]) + int(part[12])) / os.sysconf("SC_CLK_TCK")


def test_when_descriptors_run_out(build):
    """Nothing spins, who is connected goes on, files can still be opened, and all is as before when the flood is over."""
    with World(build, peers=1) as w:
        seed = w.first
        w.get("/big", w.cluster.peers[0])
        task = seed.log().split("task=")[1].split()[0]

        def sync():
            return len(list(w.local.SyncPieces(api.dfdaemon.SyncPiecesRequest(task_id=task, interested_piece_numbers=[0]), timeout=WAIT_S)))
        assert sync() == 1
        before = seed.descriptors()
        limit = before + 160
        old = resource.prlimit(seed.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(seed.process.pid, resource.RLIMIT_NOFILE, (limit, old[1]))
        flood = []
        for port in (seed.upload_port, seed.piece_port, seed.proxy_port, seed.metrics_port, w.cluster.scheduler_port):
            for _ in range(60):
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex(("127.0.0.1", port))
                flood.append(s)
        try:
            wait_for(lambda: "too many connections for the limit of open files" in seed.log(), WAIT_S, f"the limit is told of: {seed.log()[-2000:]}")
            assert sync() == 1
            # A task of its own needs a new file and connections to the origin.
            expect(download(w.local, w.origin.url("/big?flood")), "OK")
            spent, began = cpu(seed), time.monotonic()
            time.sleep(1)
            assert cpu(seed) - spent < 0.7 * (time.monotonic() - began), "the accept loops spin"
            assert seed.descriptors() <= limit - 40
            assert seed.log().count("cannot accept connections for now") <= 6, "once a minute and port"
        finally:
            for s in flood:
                s.close()
        wait_for(lambda: seed.descriptors() < before + 40, WAIT_S, "the flood is gone")
        resource.prlimit(seed.process.pid, resource.RLIMIT_NOFILE, old)
        w.get("/big?after", w.cluster.peers[0])


def test_one_address_has_a_part_of_the_connections(build):
    with World(build, peers=1) as w:
        if no_stranger(w):
            return
        seed = w.first
        w.get("/big", w.cluster.peers[0])
        task = seed.log().split("task=")[1].split()[0]

        def count_open(port, n):
            """Of n connections from the stranger, those that are not closed at once."""
            all_of_them = [socket.create_connection(("127.0.0.1", port), 10, source_address=(w.own, 0)) for _ in range(n)]
            try:
                for s in all_of_them:
                    # At the port that several protocols share nothing is decided before the first bytes.
                    s.sendall(g.PREFACE + g.frame(g.SETTINGS, 0, 0) if port == seed.upload_port else b"")
                still = 0
                for s in all_of_them:
                    s.settimeout(1 if still == 0 else 0.01)
                    try:
                        still += s.recv(1) != b""
                    except socket.timeout:
                        still += 1
                    except OSError:
                        pass
                return still
            finally:
                for s in all_of_them:
                    s.close()
        assert count_open(seed.upload_port, 80) <= 64
        limited = seed.metric("dragonfly_client_x_limited_total", what="upload")
        assert limited >= 16, limited
        flood = [socket.create_connection(("127.0.0.1", seed.piece_port), 10, source_address=(w.own, 0)) for _ in range(300)]
        try:
            wait_for(lambda: seed.metric("dragonfly_client_x_limited_total", what="pieces") >= 300 - 256, WAIT_S, "the piece port has its limit")
            # Others are served.
            with socket.create_connection(("127.0.0.1", seed.piece_port), 10) as s:
                s.sendall(struct.pack(">BBI", 9, 0, 68) + task.encode() + struct.pack(">I", 0))
                assert s.recv(100)[1] != 0xff
        finally:
            for s in flood:
                s.close()


def test_a_bad_range_leaves_the_task_as_it_is(build):
    with World(build, peers=1) as w:
        w.get("/big", w.cluster.peers[0])
        task = w.first.log().split("task=")[1].split()[0]
        before = w.local.StatLocalTask(api.dfdaemon.StatLocalTaskRequest(task_id=task), timeout=WAIT_S)
        assert before.HasField("finished_at") and not before.HasField("failed_at")
        url = w.origin.url("/big")
        for ask in ({"range": api.common.Range(start=SIZE, length=1)}, {"range": api.common.Range(start=1 << 63, length=1 << 63)},
                    {"request_header": {"Range": f"bytes={SIZE}-"}}, {"request_header": {"Range": "bytes=9-1"}},
                    {"request_header": {"Range": "nonsense"}}):
            code, _ = code_of(download(w.local, url, **ask))
            assert code != "OK", ask
        after = w.local.StatLocalTask(api.dfdaemon.StatLocalTaskRequest(task_id=task), timeout=WAIT_S)
        assert after.finished_at == before.finished_at and not after.HasField("failed_at"), after
        pieces = list(w.local.SyncPieces(api.dfdaemon.SyncPiecesRequest(task_id=task, interested_piece_numbers=[0, 1]), timeout=WAIT_S))
        assert [p.number for p in pieces] == [0, 1]
        # While it is under way, too: who waits for the whole of it gets it.
        slow = w.cluster.peers[0].dfget_start(w.origin.url("/big?slow"), w.cluster.path("slow"))
        code_of(download(w.local, w.origin.url("/big?slow"), range=api.common.Range(start=SIZE * 2, length=1)))
        slow.communicate(timeout=60)
        assert slow.returncode == 0 and sha256(w.cluster.path("slow")) == w.digest


# ---- the daemon's own rights ----

def proc(pid, field):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(field + ":"):
                return line.split(":", 1)[1].split()
    return None


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def output_mode():
    """What a file for everybody gets where these tests were started."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o644 & ~mask


def test_files_are_not_for_others(build):
    with Cluster(build, peers=0, start=False) as c:
        seed = c.seed
        merge(seed.config, {"x": {"download": {"socketMode": "0660"}}})
        os.mkdir(c.path("files"))
        make_file(c.path("files/big"), SIZE)
        origin = Origin(build, c.path("files"))
        try:
            c.start()
            code, err = seed.dfget(origin.url("/big"), c.path("out"))
            assert code == 0, err
            assert mode_of(seed.socket) == 0o660
            assert proc(seed.process.pid, "NoNewPrivs") in (["1"], None)
            assert proc(seed.process.pid, "Umask") in (["0027"], None)
            # A link to the content, which nobody is to write to, or a copy.
            assert mode_of(c.path("out")) in (0o444, output_mode()), oct(mode_of(c.path("out")))
            for top, dirs, files in os.walk(seed.store):
                for name in dirs:
                    assert mode_of(os.path.join(top, name)) & 0o027 == 0, os.path.join(top, name)
                for name in files:
                    path = os.path.join(top, name)
                    # Content that is linked to an output is readable by its readers, below a directory that is not.
                    assert mode_of(path) & 0o022 == 0, (path, oct(mode_of(path)))
            assert mode_of(seed.store) == 0o750
            soft = [line.split()[3] for line in open(f"/proc/{seed.process.pid}/limits") if line.startswith("Max open files")][0]
            hard = [line.split()[4] for line in open(f"/proc/{seed.process.pid}/limits") if line.startswith("Max open files")][0]
            assert soft == hard or int(soft) >= 1 << 20, (soft, hard)
        finally:
            origin.stop()


def test_the_log_is_not_for_others(build):
    with Cluster(build, peers=0, start=False) as c:
        seed, log_dir = c.seed, c.path("logs")
        with open(f"{seed.home}/dfdaemon.yaml", "w") as f:
            f.write(to_yaml(seed.config))
        seed.set_schedulers([f"127.0.0.1:{c.scheduler_port}"])
        with open(seed.log_path, "w") as out:
            seed.process = subprocess.Popen([f"{c.build}/dfdaemon", "--config", f"{seed.home}/dfdaemon.yaml", "--dynconfig",
                                             f"{seed.home}/dynconfig.yaml", "--log-dir", log_dir], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        seed.wait_ready()
        assert mode_of(f"{log_dir}/dfdaemon.log") == 0o640
        assert mode_of(seed.socket) == 0o777


def test_local_users_have_no_more_rights_than_their_own(build):
    """A daemon of root, asked over its socket by somebody else: files are written and read as that user."""
    if os.geteuid() != 0:
        print("   not root: not tried", flush=True)
        return
    entry = pwd.getpwnam("nobody")
    with Cluster(build, peers=0, start=False) as c:
        seed = c.seed
        files, theirs, ours = c.path("files"), c.path("theirs"), c.path("ours")
        for d in (files, theirs, ours):
            os.mkdir(d)
        os.chown(theirs, entry.pw_uid, entry.pw_gid)
        digest = make_file(os.path.join(files, "big"), SIZE)
        for path in (c.dir, seed.home):
            os.chmod(path, 0o755)
        secret = f"{ours}/secret"
        with open(secret, "w") as f:
            f.write("kept")
        os.chmod(secret, 0o600)
        origin = Origin(build, files)
        try:
            c.start()
            # Who connects is who counts.
            os.setegid(entry.pw_gid)
            os.seteuid(entry.pw_uid)
            try:
                channel = g.channel_to("unix:" + seed.socket)
                grpc.channel_ready_future(channel).result(WAIT_S)
            finally:
                os.seteuid(0)
                os.setegid(0)
            with channel:
                stub = api.stub(channel, "dfdaemon.v2.DfdaemonDownload")
                url = origin.url("/big")
                for kind in ({}, {"overwrite": True}, {"force_hard_link": True}, {"overwrite": True, "force_hard_link": True}):
                    for path in (f"{ours}/new", secret, f"{seed.store}/new", "/etc/dragonfly-test-of-rights"):
                        code, text = code_of(download(stub, url, output_path=path, **kind))
                        assert code in ("PERMISSION_DENIED", "ALREADY_EXISTS"), (path, kind, code, text)
                assert os.listdir(ours) == ["secret"] and open(secret).read() == "kept"
                assert not os.path.exists("/etc/dragonfly-test-of-rights")
                # A link of theirs is replaced and not followed.
                os.symlink(secret, f"{theirs}/link")
                for name, more in (("file", {}), ("link", {"overwrite": True})):
                    expect(download(stub, url, output_path=f"{theirs}/{name}", **more), "OK")
                    st = os.lstat(f"{theirs}/{name}")
                    assert stat.S_ISREG(st.st_mode) and st.st_uid == entry.pw_uid and st.st_gid == entry.pw_gid, st
                    assert stat.S_IMODE(st.st_mode) == output_mode() and st.st_nlink == 1
                    assert sha256(f"{theirs}/{name}") == digest
                assert open(secret).read() == "kept"
                # An import reads with the rights of who asks.
                def import_of(path):
                    return lambda: stub.UploadPersistentCacheTask(api.dfdaemon.UploadPersistentCacheTaskRequest(
                        path=path, persistent_replica_count=1, ttl=api.google.Duration(seconds=3600)), timeout=WAIT_S)
                for path in (secret, "/etc/shadow"):
                    if os.path.exists(path):
                        code, text = code_of(import_of(path))
                        assert code != "OK" and "Permission denied" in text, (path, code, text)
                expect(import_of(f"{theirs}/file"), "OK")
        finally:
            origin.stop()


def as_user(c, p, user, group=None):
    """The daemon's configuration and directories so that it can become the user."""
    entry = pwd.getpwnam(user)
    merge(p.config, {"x": {"user": user, **({"group": group} if group else {})}})
    for path in (c.dir, p.home):
        os.chmod(path, 0o755)
    return entry


def test_the_daemon_becomes_another_user(build):
    if os.geteuid() != 0:
        print("   not root: not tried", flush=True)
        return
    with Cluster(build, peers=0, start=False) as c:
        seed = c.seed
        os.mkdir(c.path("files"))
        digest = make_file(c.path("files/big"), SIZE)
        origin = Origin(build, c.path("files"))
        try:
            # First as root, as it was before somebody set the key; all of that is the user's then.
            c.start()
            assert seed.dfget(origin.url("/big"), c.path("out"))[0] == 0
            assert seed.stop() == 0
            entry = as_user(c, seed, "nobody")
            seed.start()
            wait_for(lambda: seed.log().count("started host=") == 2, WAIT_S, "started")
            for task in os.listdir(f"/proc/{seed.process.pid}/task"):
                assert proc(f"{seed.process.pid}/task/{task}", "Uid") == [str(entry.pw_uid)] * 4
                assert proc(f"{seed.process.pid}/task/{task}", "Gid") == [str(entry.pw_gid)] * 4
                assert "0" not in proc(f"{seed.process.pid}/task/{task}", "Groups")
            for top, dirs, files in os.walk(seed.store):
                for name in dirs + files:
                    assert os.lstat(os.path.join(top, name)).st_uid == entry.pw_uid, os.path.join(top, name)
            # What is on file is served, what is new is fetched; outputs of other users come through dfget's own hands.
            for name in ("/big", "/big?new"):
                code, err = seed.dfget(origin.url(name), c.path("out"), "--overwrite", "--transfer-from-dfdaemon")
                assert code == 0, (err, seed.log()[-2000:])
                assert sha256(c.path("out")) == digest
            code, err = seed.dfget(origin.url("/big"), c.path("not-mine"))
            assert code != 0 and "may not write for others" in err, err
            assert seed.log_lines("ERROR") == [], seed.log_lines("ERROR")
            assert seed.stop() == 0
            # And again: the directory is the user's already.
            seed.start()
            assert seed.stop() == 0
        finally:
            origin.stop()


def start_error(peer):
    peer.start(wait=False)
    code = peer.process.wait(WAIT_S)
    peer.process = None
    assert code == 1, code
    return peer.log()


def test_users_that_cannot_be(build):
    with Cluster(build, peers=0, start=False) as c:
        seed = c.seed
        for x, want in (({"user": "no-such-user"}, 'x.user: there is no user "no-such-user"'),
                        ({"user": "nobody", "group": "no-such-group"}, 'x.group: there is no group "no-such-group"'),
                        ({"user": "3999999"}, "x.group must be given with it")):
            seed.config["x"].pop("group", None)
            seed.config["x"].update(x)
            log = start_error(seed)
            assert want in log, (want, log[-1000:])
            open(seed.log_path, "w").close()
        assert not os.path.exists(seed.socket)


def test_memory_with_keys_is_not_for_debuggers(build):
    if os.geteuid() != 0:
        print("   not root: not tried", flush=True)
        return
    entry = pwd.getpwnam("nobody")
    with Cluster(build, peers=0, start=False) as c:
        seed = c.seed
        os.chmod(c.dir, 0o755)
        os.chown(seed.home, entry.pw_uid, entry.pw_gid)
        # Where the build lies may be closed to others.
        program = shutil.copy(f"{c.build}/dfdaemon", c.path("dfdaemon"))
        for secret in (False, True):
            if secret:
                merge(seed.config, {"proxy": {"server": {"basicAuth": {"username": "u", "password": "p"}}}})
            with open(f"{seed.home}/dfdaemon.yaml", "w") as f:
                f.write(to_yaml(seed.config))
            seed.set_schedulers([f"127.0.0.1:{c.scheduler_port}"])
            os.chmod(f"{seed.home}/dynconfig.yaml", 0o644)
            with open(seed.log_path, "a") as out:
                seed.process = subprocess.Popen([program, "--config", f"{seed.home}/dfdaemon.yaml", "--dynconfig",
                                                 f"{seed.home}/dynconfig.yaml", "--console"], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                                user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])
            seed.wait_ready()
            wait_for(lambda: "started host=" in seed.log(), WAIT_S, "started")
            # Files of a process that may not be looked at are root's.
            looks = [os.stat(f"/proc/{seed.process.pid}/maps").st_uid]
            if secret:
                wait_for(lambda: os.stat(f"/proc/{seed.process.pid}/maps").st_uid == 0 or sanitized(c.build), WAIT_S, f"closed to debuggers {looks}")
            else:
                assert looks == [entry.pw_uid], looks
            assert seed.stop(signal.SIGTERM) == 0


def sanitized(build):
    with open(f"{build}/dfdaemon", "rb") as f:
        return b"__asan_init" in f.read()


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
