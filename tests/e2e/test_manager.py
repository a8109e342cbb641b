"""Real daemons that find their schedulers through a scripted manager (grpcio), and what they do when it is away, comes back with others or
answers nonsense; many tasks while schedulers die; clocks that differ. usage: SCRIPT BUILD_DIR [NAME...]"""
import concurrent.futures
import glob
import hashlib
import os
import shutil
import sys
import threading

import grpc

import grpc_support as g
from cluster import Cluster, Origin, Peer, finish, free_ports, http_get, is_sanitized, merge, run_tests, sha256, wait_for

JOIN_S = 20
SIZE = 5 << 20          # above what a peer takes from the source without asking anybody
TASKS = 50
AT_ONCE = 5
QUICK = {"dynconfig": {"refreshInterval": "300ms"}}

api = g.Api()


class Manager:
    """Tells of schedulers ((hostname, id, cluster, port), ...). mode: "good", "error", "garbage", "empty". credentials: of a TLS server."""

    def __init__(self, port, schedulers, rules=b"{}", credentials=None):
        self.credentials = credentials
        self.port, self.schedulers, self.rules = port, list(schedulers), rules
        self.mode = "good"
        self.asked, self.seeds, self.keeps, self.deleted = [], [], 0, []
        self.lock = threading.Lock()
        self.server = None
        self.start()

    def start(self):
        pool = concurrent.futures.ThreadPoolExecutor(32)
        self.server = grpc.server(pool, options=g.UNLIMITED)
        table = {"ListSchedulers": self.list_schedulers, "UpdateSeedPeer": self.update_seed, "DeleteSeedPeer": self.delete_seed}
        handlers = {name: grpc.unary_unary_rpc_method_handler(fn, request_deserializer=api.by_name[f"manager.v2.{name}Request"].FromString,
                                                              response_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString())
                    for name, fn in table.items()}
        handlers["KeepAlive"] = grpc.stream_unary_rpc_method_handler(
            self.keep_alive, request_deserializer=api.manager.KeepAliveRequest.FromString, response_serializer=lambda m: m.SerializeToString())
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("manager.v2.Manager", handlers),))
        where = f"127.0.0.1:{self.port}"
        bound = self.server.add_secure_port(where, self.credentials) if self.credentials else self.server.add_insecure_port(where)
        assert bound == self.port
        self.server.start()

    def stop(self):
        if self.server:
            self.server.stop(0).wait()
        self.server = None

    def list_schedulers(self, request, context):
        with self.lock:
            self.asked.append(request)
            mode = self.mode
        if mode == "error":
            context.abort(grpc.StatusCode.UNKNOWN, "record not found")
        if mode == "garbage":
            return b"\x0a\xff\xff\xff\xffnonsense"
        answer = api.manager.ListSchedulersResponse()
        for hostname, number, cluster, port in self.schedulers if mode == "good" else ():
            answer.schedulers.add(id=number, hostname=hostname, ip="127.0.0.1", port=port, state="active", scheduler_cluster_id=cluster,
                                  scheduler_cluster=api.manager.SchedulerCluster(id=cluster, name="c", client_config=self.rules,
                                                                                 seed_client_config=self.rules))
        return answer

    def update_seed(self, request, context):
        self.seeds.append(request)
        return api.manager.SeedPeer(id=1, hostname=request.hostname)

    def delete_seed(self, request, context):
        self.deleted.append(request)
        return api.google.Empty()

    def keep_alive(self, requests, context):
        try:
            for _ in requests:
                self.keeps += 1
        except Exception:
            pass
        return api.google.Empty()


class Managed(Cluster):
    """Carriers, each with a scheduler of its own that is all it knows, and members that know only a manager."""

    def __init__(self, build, carriers, members, config=None, managers=1):
        super().__init__(build, peers=0, seed=False, start=False)
        try:
            self.carriers, self.members = [], []
            self.ports = {}
            for i in range(carriers):
                [self.scheduler_port] = free_ports(1)
                p = Peer(self, f"carrier{i}", False, True)
                p.config["x"]["scheduler"]["port"] = self.ports[p.name] = self.scheduler_port
                p.set_schedulers([f"127.0.0.1:{self.scheduler_port}"])
                self.carriers.append(p)
            self.manager_ports = free_ports(managers)
            for name in members:
                p = Peer(self, name, name.startswith("seed"), False)
                merge(p.config, {"manager": {"addr": f"http://127.0.0.1:{self.manager_ports[0]}"}})
                merge(p.config, QUICK)
                merge(p.config, config)
                # A manager is configured: nobody looks here.
                p.set_schedulers(["127.0.0.1:9"])
                self.members.append(p)
            self.all = self.carriers + self.members
            for p in self.carriers:
                p.start()
        except BaseException:
            self.close()
            raise

    def rows(self, *carriers):
        """(hostname, id, cluster, port) of carriers by number, all of cluster 1."""
        return [(f"scheduler-{i}", i + 1, 1, self.ports[f"carrier{i}"]) for i in carriers]


def remote_download(peer, url):
    """The code of a DownloadTask on the port for peers and schedulers."""
    with g.channel_to(f"127.0.0.1:{peer.upload_port}") as channel:
        call = channel.unary_stream("/dfdaemon.v2.DfdaemonUpload/DownloadTask", request_serializer=lambda m: m.SerializeToString(),
                                    response_deserializer=api.dfdaemon.DownloadTaskResponse.FromString)
        try:
            for _ in call(api.dfdaemon.DownloadTaskRequest(download=api.common.Download(url=url)), timeout=30):
                pass
            return grpc.StatusCode.OK
        except grpc.RpcError as e:
            return e.code()


def hosts(carrier, count):
    wait_for(lambda: carrier.metric("dragonfly_scheduler_hosts") == count, JOIN_S, f"{carrier.name} knows {count} hosts")


def content(origin, number):
    """A URL and the digest of what it gives, by the origin alone."""
    url = origin.url(f"/gen/{SIZE}/{number}/f")
    return url, hashlib.sha256(http_get(url, 20)).hexdigest()


def get(cluster, peer, url, digest, name):
    out = cluster.path(name)
    code, err = peer.dfget(url, out)
    assert code == 0, err
    assert sha256(out) == digest, f"{peer.name}: wrong bytes of {url}"
    os.unlink(out)


def many(cluster, origin, peers, first, between=None):
    """TASKS files, AT_ONCE at a time, each to all peers at once; between(i) is called before each lot."""
    for i in range(0, TASKS, AT_ONCE):
        if between:
            between(i)
        started = []
        for k in range(i, i + AT_ONCE):
            url, digest = content(origin, first + k)
            started += [(p.dfget_start(url, cluster.path(f"m-{p.name}-{k}")), cluster.path(f"m-{p.name}-{k}"), digest) for p in peers]
        for process, out, digest in started:
            code, err = finish(process, 60, "dfget")
            assert code == 0, err
            assert sha256(out) == digest, "wrong bytes"
            os.unlink(out)


def test_manager_tells_schedulers_and_rules(build):
    origin = Origin(build)
    with Managed(build, 1, ["peer_1", "seed"], {"host": {"idc": "i", "location": "a|b"}}) as c:
        m = Manager(c.manager_ports[0], c.rows(0), b'{"load_limit":200,"block_list":{"persistent_task":null,"task":{"download":'
                    b'{"applications":null,"urls":["forbidden"],"tags":null,"priorities":null}}}}')
        try:
            peer, seed = c.members
            seed.config["x"] = {"upload": {"enforceBlockList": True}}
            for p in c.members:
                p.start()
            hosts(c.carriers[0], 3)
            wait_for(lambda: m.keeps > 0, JOIN_S, "the seed keeps its entry alive")
            asked = next(r for r in m.asked if r.source_type == 1)
            assert (asked.hostname, asked.ip, asked.idc, asked.location, asked.scheduler_cluster_id) == ("peer-1", "127.0.0.1", "i", "a|b", 0)
            assert asked.version and asked.commit
            assert (m.seeds[0].hostname, m.seeds[0].port, m.seeds[0].type, m.seeds[0].seed_peer_cluster_id) == \
                ("seed", seed.upload_port, "super", 1)
            url, digest = content(origin, 1)
            get(c, c.carriers[0], url, digest, "a")
            origin.reset()
            get(c, peer, url, digest, "b")
            assert origin.bytes() <= 4096, str(origin.bytes()) + " bytes of the origin: " + "the peer did not take it from the carrier"
            code, err = peer.dfget(url + "?forbidden", c.path("c"))
            assert code != 0 and "download rejected by blocklist policy" in err, err
            assert peer.metric("dragonfly_client_download_task_blocked_total") == 1
            # What others ask of it is another matter, unless it is told so.
            for p, code in ((peer, grpc.StatusCode.OK), (seed, grpc.StatusCode.PERMISSION_DENIED)):
                assert remote_download(p, url + "?forbidden") == code, p.name
            m.rules = b"{}"
            wait_for(lambda: peer.dfget(url + "?forbidden", c.path("c"))[0] == 0, JOIN_S, "the rule is gone")
            assert seed.stop() == 0
            assert [r.hostname for r in m.deleted] == ["seed"]
        finally:
            m.stop()
            origin.stop()


def test_manager_away_at_start(build):
    origin = Origin(build)
    with Managed(build, 1, ["peer"]) as c:
        [peer] = c.members
        m = None
        try:
            peer.start()
            url, digest = content(origin, 2)
            get(c, c.carriers[0], url, digest, "a")
            get(c, peer, *content(origin, 3), "b")
            wait_for(lambda: "no scheduler is available" in peer.log(), JOIN_S, "it says that it is alone")
            m = Manager(c.manager_ports[0], c.rows(0))
            hosts(c.carriers[0], 2)
            origin.reset()
            get(c, peer, url, digest, "c")
            assert origin.bytes() <= 4096, str(origin.bytes()) + " bytes of the origin: " + "the peer did not join"
            assert peer.log().count("no scheduler is available") == 1 and peer.log().count("the manager gives no schedulers") == 1, peer.log()
            assert peer.stop() == 0
        finally:
            if m:
                m.stop()
            origin.stop()


def test_manager_goes_answers_nonsense_and_names_others(build):
    """50 files meanwhile; nothing is lost, and at the end the peers use the schedulers that it names then."""
    origin = Origin(build)
    with Managed(build, 2, ["peer1", "peer2"]) as c:
        m = Manager(c.manager_ports[0], c.rows(0))
        try:
            for p in c.members:
                p.start()
            hosts(c.carriers[0], 3)

            def between(i):
                if i == 5:
                    m.stop()
                elif i == 20:
                    m.mode = "garbage"
                    m.start()
                elif i == 30:
                    m.mode = "error"
                elif i == 40:
                    m.mode = "empty"
            many(c, origin, c.members, 100, between)
            m.schedulers, m.mode = [("bad", 9, 1, 0)] + c.rows(1), "good"
            hosts(c.carriers[1], 3)
            for p in c.members:
                assert p.log().count("no scheduler is available") == 0, p.log()
            url, digest = content(origin, 4)
            get(c, c.members[0], url, digest, "a")
            origin.reset()
            get(c, c.members[1], url, digest, "b")
            assert origin.bytes() <= 4096, str(origin.bytes()) + " bytes of the origin"
        finally:
            m.stop()
            origin.stop()


def test_fifty_files_while_schedulers_die(build):
    """Of three schedulers one is killed, another restarted."""
    origin = Origin(build)
    with Managed(build, 3, ["peer1", "peer2"]) as c:
        m = Manager(c.manager_ports[0], c.rows(0, 1, 2))
        try:
            for p in c.members:
                p.start()
            for p in c.carriers:
                hosts(p, 3)

            def between(i):
                if i == 15:
                    c.carriers[0].kill()
                elif i == 25:
                    c.carriers[1].kill()
                elif i == 35:
                    c.carriers[1].start()
            many(c, origin, c.members, 200, between)
            hosts(c.carriers[1], 3)
            origin.reset()
            many_small = [content(origin, 300 + i) for i in range(6)]
            origin.reset()
            for i, (url, digest) in enumerate(many_small):
                get(c, c.members[i % 2], url, digest, "a")
                get(c, c.members[(i + 1) % 2], url, digest, "b")
            assert origin.bytes() <= 6 * SIZE * 1.05, "two peers ask different schedulers"
        finally:
            m.stop()
            origin.stop()


def test_scheduler_that_answers_is_asked_again_and_a_lost_one_gives_way(build):
    """Of three schedulers: one that does not know the host hears of it and is asked again; when it is gone the next one is, not the source."""
    import scripted_support as scripted
    origin = Origin(build)
    with Managed(build, 0, ["peer"]) as c:
        c.peer, c.scheduler_port = c.members[0], 0
        schedulers = {port: scripted.Scheduler(port) for port in free_ports(3)}
        m = Manager(c.manager_ports[0], [(f"s{i}", i, 1, port) for i, port in enumerate(schedulers)])
        try:
            c.peer.start()
            wait_for(lambda: all(s.hosts for s in schedulers.values()), JOIN_S, "it is announced to all")
            for number in range(8):
                url, digest = content(origin, 600 + number)
                for s in schedulers.values():
                    s.scripts[url] = [scripted.refuse(grpc.StatusCode.NOT_FOUND, "host not found"), scripted.give(scripted.need_source())]
                get(c, c.peer, url, digest, "a")
                assert sorted(len(s.conversations[url]) for s in schedulers.values()) == [0, 0, 2], "asked another one than the one that answered"
            # All tasks of one that is gone come to the others, from the first on.
            port, gone = schedulers.popitem()
            gone.server.stop(0).wait()
            for number in range(8):
                url, digest = content(origin, 620 + number)
                for s in schedulers.values():
                    s.scripts[url] = [scripted.give(scripted.need_source())]
                get(c, c.peer, url, digest, "a")
                assert sorted(len(s.conversations[url]) for s in schedulers.values()) == [0, 1], "went to the source on its own"
        finally:
            m.stop()
            for s in schedulers.values():
                s.server.stop(0)
            origin.stop()


def test_schedulers_hear_again_of_the_host_and_of_what_goes(build):
    """Announced again after the interval; the scheduler of a task hears that it was collected, all that the host stops."""
    import scripted_support as scripted
    origin = Origin(build)
    quick = {"scheduler": {"announceInterval": "300ms"}, "gc": {"interval": "300ms", "policy": {"taskTTL": "1s"}}}
    with Managed(build, 0, ["peer"], quick) as c:
        [peer] = c.members
        schedulers = {port: scripted.Scheduler(port) for port in free_ports(2)}
        m = Manager(c.manager_ports[0], [(f"s{i}", i, 1, port) for i, port in enumerate(schedulers)])
        try:
            peer.start()
            url, digest = content(origin, 650)
            wait_for(lambda: all(len(s.hosts) >= 3 for s in schedulers.values()), JOIN_S, "it is announced again and again")
            for s in schedulers.values():
                s.scripts[url] = [scripted.give(scripted.need_source())]
            get(c, peer, url, digest, "a")
            [(asked, talk)] = [(s, s.conversations[url][0]) for s in schedulers.values() if s.conversations[url]]
            wait_for(lambda: asked.deleted, JOIN_S, "the scheduler hears that the task is gone")
            assert [(r.host_id, r.task_id) for r in asked.deleted] == [("127.0.0.1-peer", talk.log[0].task_id)]
            assert peer.stop() == 0
            assert [[r.host_id for r in s.left] for s in schedulers.values()] == [["127.0.0.1-peer"]] * 2
            assert sum(len(s.deleted) for s in schedulers.values()) == 1
        finally:
            m.stop()
            for s in schedulers.values():
                s.server.stop(0)
            origin.stop()


def test_managers_take_turns(build):
    with Managed(build, 1, ["peer"], managers=2) as c:
        [peer] = c.members
        peer.config["x"] = {"manager": {"addrs": [f"127.0.0.1:{c.manager_ports[1]}"]}}
        m = Manager(c.manager_ports[1], c.rows(0))
        try:
            peer.start()
            hosts(c.carriers[0], 2)
        finally:
            m.stop()


def faketime():
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    return found[0] if found and shutil.which("faketime") else None


def test_clocks_ten_minutes_apart(build):
    """Peers ten minutes before and behind the scheduler: the same, in both directions."""
    library = faketime()
    if library is None or is_sanitized(build):
        print("    without libfaketime: not run")
        return
    origin = Origin(build)
    with Managed(build, 1, ["early", "late"]) as c:
        m = Manager(c.manager_ports[0], c.rows(0))
        try:
            for p, offset in zip(c.members, ("-10m", "+10m")):
                os.environ.update({"LD_PRELOAD": library, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
                try:
                    p.start()
                finally:
                    for name in ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"):
                        del os.environ[name]
            hosts(c.carriers[0], 3)
            times = {line[:16] for p in c.members for line in p.log().splitlines()[:1]}
            assert len(times) == 2, f"the clocks are not set: {times}"
            many(c, origin, c.members, 400)
            for i, (first, second) in enumerate((c.members, c.members[::-1])):
                url, digest = content(origin, 500 + i)
                get(c, first, url, digest, "a")
                origin.reset()
                get(c, second, url, digest, "b")
                assert origin.bytes() <= 4096, str(origin.bytes()) + " bytes of the origin: " + f"{second.name} did not take it from {first.name}"
        finally:
            m.stop()
            origin.stop()


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
