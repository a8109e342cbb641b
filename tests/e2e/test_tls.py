"""A cluster under mutual TLS: right bytes and no plaintext on the wire, strangers and bad certificates kept out, certificates changed while it runs.
usage: tests/e2e/test_tls.py BUILD_DIR [NAME...]"""
import datetime
import os
import shutil
import signal
import socket
import struct
import ssl
import sys
import threading

os.environ.setdefault("GRPC_VERBOSITY", "NONE")      # refused handshakes are what is tested
import grpc  # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import scripted_support as scripted  # noqa: E402
from cluster import Cluster, Origin, Peer, merge, run_tests, sha256, wait_for  # noqa: E402
from grpc_support import Api  # noqa: E402
from tls_support import Authority, client_context, keys, try_tls, under_tls  # noqa: E402

MIB = 1 << 20
SIZE = 16 * MIB


class TlsCluster:
    """A cluster whose daemons have certificates of `ca`, and an origin with a file /big that repeats a random mark."""

    def __init__(self, build, peers=2, piece=None, config=None, start=True):
        self.cluster = Cluster(build, peers=peers, start=False, config=config)
        c = self.cluster
        try:
            self.certs = c.path("certs")
            os.mkdir(self.certs)
            self.ca = Authority(self.certs)
            for p in c.all:
                merge(p.config, under_tls(self.ca, self.ca.leaf(p.name), piece))
            files = c.path("files")
            os.mkdir(files)
            self.mark = os.urandom(32)
            with open(os.path.join(files, "big"), "wb") as f:
                f.write(self.mark * (SIZE // 32))
            self.digest = sha256(os.path.join(files, "big"))
            self.origin = Origin(build, directory=files)
            if start:
                c.start()
        except BaseException:
            c.close()
            raise

    def get(self, peer, name="/big?1"):
        out = self.cluster.path(peer.name + ".out")
        code, err = peer.dfget(self.origin.url(name), out, "--overwrite")
        assert code == 0, f"{code} {err}\n{peer.log()[-3000:]}"
        assert sha256(out) == self.digest

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.origin.stop()
        self.cluster.close()


class Capture:
    """What passes on the loopback interface, where the system lets one look; searched for a mark."""

    def __init__(self, mark, origin_port):
        self.mark, self.origin_port = mark, origin_port
        self.seen = {}          # port -> bytes
        self.found = {}         # port pair -> times
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * MIB)
        self.socket.bind(("lo", 0))
        self.socket.settimeout(0.2)
        self.ends = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.ends:
            try:
                packet = self.socket.recv(1 << 17)
            except socket.timeout:
                continue
            if len(packet) < 54 or packet[12:14] != b"\x08\x00" or packet[23] != 6:
                continue
            source, sink = struct.unpack(">HH", packet[34:38])
            for port in (source, sink):
                self.seen[port] = self.seen.get(port, 0) + len(packet)
            if self.mark in packet:
                self.found[(source, sink)] = self.found.get((source, sink), 0) + 1

    def stop(self):
        self.ends = True
        self.thread.join()
        self.socket.close()


def test_pieces_and_calls_are_encrypted(build):
    with TlsCluster(build) as t:
        c = t.cluster
        try:
            capture = Capture(t.mark, t.origin.port)
        except (PermissionError, AttributeError):
            capture = None
            print("   the wire is not looked at: no right to capture", flush=True)
        try:
            for p in c.peers:
                t.get(p)
        finally:
            if capture:
                capture.stop()
        for p in c.peers:
            assert p.metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE") == 0
            assert "plaintext" not in p.log(), p.log()
        if capture:
            assert any(t.origin.port in pair for pair in capture.found), "the capture saw nothing of the origin"
            leaks = {pair: n for pair, n in capture.found.items() if t.origin.port not in pair}
            assert not leaks, f"plaintext between {leaks}"
            assert capture.seen.get(c.seed.piece_port, 0) > SIZE / 4
        assert not [line for p in c.all for line in p.log_lines("WARN", "ERROR")]


def vortex(task_id, number=0, first=0x16):
    value = task_id.encode() + struct.pack(">I", number)
    return struct.pack(">BBI", first, 0, len(value)) + value


def ask_piece(port, request, source="127.0.0.1", context=None):
    s = socket.create_connection(("127.0.0.1", port), 5, source_address=(source, 0))
    try:
        if context:
            s = context.wrap_socket(s)
        s.settimeout(5)
        s.sendall(request)
        got = b""
        while block := s.recv(1 << 16):
            got += block
            if len(got) > 4096 or (len(got) >= 6 and got[1] == 0xff):
                break
        return got
    except OSError as e:
        return str(e).encode()
    finally:
        s.close()


def grpc_channel(t, pair, port):
    read = [open(f, "rb").read() for f in (t.ca.cert, *((pair[1], pair[0]) if pair else ()))]
    return grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(*read))


def task_of(peer):
    for line in peer.log().splitlines():
        if "task=" in line:
            word = line.split("task=")[1].split()[0]
            if len(word) == 64:
                return word
    raise AssertionError("no task in the log")


def test_without_a_certificate_nothing_is_read(build):
    api = Api()
    for piece in (None, "require"):
        with TlsCluster(build, peers=1, piece=piece) as t:
            seed = t.cluster.seed
            t.get(t.cluster.peers[0])
            task = task_of(t.cluster.peers[0])
            for channel in (grpc.insecure_channel(f"127.0.0.1:{seed.upload_port}"), grpc_channel(t, None, seed.upload_port)):
                with channel:
                    stub = api.stub(channel, "dfdaemon.v2.DfdaemonUpload")
                    try:
                        list(stub.SyncPieces(api.dfdaemon.SyncPiecesRequest(task_id=task, interested_piece_numbers=[0]), timeout=5))
                        raise AssertionError("a stranger heard of pieces")
                    except grpc.RpcError as e:
                        assert e.code() == grpc.StatusCode.UNAVAILABLE, e
            wait_for(lambda: "the client sent no certificate" in seed.log(), 5, "the refusal is in the log")
            # Another host, by its address; at the piece port and at the one of gRPC, which knows pieces too.
            for port in (seed.piece_port, seed.upload_port):
                got = ask_piece(port, vortex(task), source="127.0.0.9")
                assert got[1] == 0xff and b"certificates" in got or b"only sent over TLS" in got, (port, got[:100])
            got = ask_piece(seed.piece_port, vortex(task), context=client_context(alpn=("d7y-pieces",)))
            assert t.mark not in got, got[:100]
            # With a certificate pieces come, over TLS.
            got = ask_piece(seed.piece_port, vortex(task), context=client_context(pair=t.ca.leaf("child"), alpn=("d7y-pieces",)))
            assert t.mark in got, got[:100]
            # A known host that fetches in plaintext, as peers of other makes do.
            pair = t.ca.leaf("other")
            with grpc_channel(t, pair, seed.upload_port) as channel:
                call = api.stub(channel, "dfdaemon.v2.DfdaemonUpload").SyncPieces(
                    api.dfdaemon.SyncPiecesRequest(task_id=task, interested_piece_numbers=[0]), timeout=5)
                assert ("d7y-piece-tls", "1") in [tuple(m) for m in call.initial_metadata()]
                assert len(list(call)) == 1
            got = ask_piece(seed.piece_port, vortex(task))
            assert (t.mark in got) == (piece is None), got[:100]
            if piece is None:
                ask_piece(seed.piece_port, vortex(task))
                assert seed.log().count("child fetches pieces in plaintext peer=127.0.0.1:") == 1


def test_parents_that_send_pieces_in_plaintext(build):
    """gRPC with certificates and pieces without, as other makes do: taken with one warning, or refused."""
    for piece in (None, "require"):
        with TlsCluster(build, peers=0, start=False) as t:
            peer = Peer(t.cluster, "child", False, False)
            t.cluster.all.append(peer)
            pair = t.ca.leaf("child")
            merge(peer.config, {"upload": under_tls(t.ca, pair)["upload"], **({"x": {"piece": {"tls": piece}}} if piece else {})})
            with open(os.path.join(t.cluster.path("files"), "big"), "rb") as f:
                content = f.read()
            read = [open(f, "rb").read() for f in (*t.ca.leaf("parent"), t.ca.cert)]
            parent = scripted.Parent(content, credentials=grpc.ssl_server_credentials([(read[1], read[0])], read[2], True))
            scheduler = scripted.Scheduler(t.cluster.scheduler_port)
            urls = [t.origin.url(f"/big?{i}") for i in range(2)]
            for url in urls:
                scheduler.scripts[url] = [scripted.give(scripted.normal(parent), scripted.need_source())]
            try:
                peer.start()
                wait_for(lambda: scheduler.hosts, 10, "the daemon announces itself")
                for i in range(2):
                    t.get(peer, f"/big?{i}")
                if piece:
                    assert parent.connections == 0
                    want = f"127.0.0.1:{parent.port} sends pieces in plaintext (x.piece.tls is require)"
                    assert peer.log().count(want) >= 2, peer.log()
                else:
                    assert len(parent.asked) == 8, parent.asked
                    assert peer.log().count(f"WARN  parent sends pieces in plaintext peer=127.0.0.1:{parent.port}") + \
                        peer.log().count(f"WARN parent sends pieces in plaintext peer=127.0.0.1:{parent.port}") == 1, peer.log()
            finally:
                parent.stop()
                scheduler.server.stop(0)


def start_error(peer):
    with open(peer.log_path, "w"):
        pass
    peer.start(wait=False)
    code = peer.process.wait(15)
    peer.process = None
    assert code != 0
    return peer.log()


def day(offset):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=offset)).strftime("%Y%m%d%H%M%SZ")


def test_bad_certificates_of_our_own_end_the_start(build):
    with TlsCluster(build, peers=0, start=False) as t:
        seed, ca = t.cluster.seed, t.ca
        good = ca.leaf("good")

        def write(name, text, mode=0o600):
            path = os.path.join(t.certs, name)
            with open(path, "w") as f:
                f.write(text)
            os.chmod(path, mode)
            return path
        cases = [
            ("server", ca.cert, ca.leaf("old", dates=(day(-20), day(-1))), "old.pem: the certificate expired at 20"),
            ("server", ca.cert, ca.leaf("early", dates=(day(2), day(20))), "early.pem: the certificate is not valid before 20"),
            ("server", ca.cert, (good[0], ca.leaf("other")[1]), "other.key: not the key of the first certificate in"),
            ("server", ca.cert, (good[0], t.certs + "/none.key"), "none.key: No such file"),
            ("server", ca.cert, (write("garbage.pem", "not PEM"), good[1]), "garbage.pem: no certificate in PEM form"),
            ("server", ca.cert, (write("cut.pem", open(good[0]).read()[:300]), good[1]), "cut.pem: "),
            ("server", write("empty-ca.pem", ""), good, "empty-ca.pem: no certificate in PEM form"),
            ("server", ca.cert, (good[0], write("crypt.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")),
             "crypt.key: the private key is encrypted"),
            ("server", ca.cert, ca.leaf("ed", key=("ed25519",)), "ed.key: not an RSA or EC private key"),
            ("server", ca.cert, ca.leaf("weak", key=("RSA", "rsa_keygen_bits:1024")), "weak.pem: an RSA key of 1024 bits"),
            ("server", ca.cert, ca.leaf("onlyclient", use="client"), "onlyclient.pem: the certificate is not for servers"),
            ("client", ca.cert, ca.leaf("onlyserver", use="server"), "onlyserver.pem: the certificate is not for clients"),
        ]
        for side, authority, pair, want in cases:
            before = dict(seed.config["upload"][side])
            seed.config["upload"][side].update(keys(authority, pair))
            log = start_error(seed)
            assert want.lower() in log.lower() and f"upload.{side}" in log, (want, log)
            seed.config["upload"][side].update(before)
        seed.config["upload"]["client"] = {}
        seed.config["x"]["piece"] = {"tls": "require"}
        assert "x.piece.tls: require needs the certificates" in start_error(seed)


def test_bad_certificates_of_others_are_refused(build):
    with TlsCluster(build, peers=0) as t:
        seed, ca = t.cluster.seed, t.ca
        other = Authority(t.certs, "other-ca")
        cases = [
            (None, "the client sent no certificate"),
            (other.leaf("foreign"), "(for 127.0.0.1) is not signed by an authority in " + ca.cert),
            (ca.leaf("old", dates=(day(-20), day(-1))), "(for 127.0.0.1) expired at 20"),
            (ca.leaf("early", dates=(day(2), day(20))), "is not valid before 20"),
            (ca.leaf("onlyserver", use="server"), "is not for clients (its extended key usage lacks clientAuth)"),
            (ca.leaf("weak", key=("RSA", "rsa_keygen_bits:1024")), "weak key"),
            (ca.leaf("ed", key=("ed25519",)), "the client sent no certificate"),    # it keeps it: the server did not name that kind
        ]
        for pair, want in cases:
            for port, alpn in ((seed.upload_port, "h2"), (seed.piece_port, "d7y-pieces")):
                before = len(seed.log())
                context = client_context(pair=pair, alpn=(alpn,))

                def refused():
                    got = try_tls(port, context)
                    assert isinstance(got, str), got
                    return want.lower() in seed.log()[before:].lower()
                wait_for(refused, 5, f"refused at {alpn}: {want}: {seed.log()[before:]}", step=0.2)


def test_bad_certificates_of_parents_are_refused(build):
    """What our client side says of servers: wrong name, wrong authority, expired, not for servers, plaintext."""
    with TlsCluster(build, peers=1) as t:
        peer, ca = t.cluster.peers[0], t.ca
        other = Authority(t.certs, "other-ca")
        wrong = [
            (ca.leaf("elsewhere", san="IP:10.1.2.3,DNS:seed.example"), "the certificate is for 10.1.2.3, seed.example, not for 127.0.0.1"),
            (other.leaf("foreign"), "is not signed by an authority in " + ca.cert),
            (ca.leaf("old", dates=(day(-20), day(-1))), "expired at 20"),
            (ca.leaf("onlyclient", use="client"), "is not for servers (its extended key usage lacks serverAuth)"),
        ]
        for pair, want in wrong:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*pair)
            context.set_alpn_protocols(["h2"])
            alerts = []
            listener = socket.create_server(("127.0.0.1", 0))

            def serve():
                while True:
                    try:
                        s, _ = listener.accept()
                        context.wrap_socket(s, server_side=True).recv(1)
                    except ssl.SSLError as e:
                        alerts.append(str(e))
                    except OSError:
                        return
            threading.Thread(target=serve, daemon=True).start()
            peer.set_schedulers([f"127.0.0.1:{listener.getsockname()[1]}"])
            peer.stop()
            peer.start()
            wait_for(lambda: want in peer.log() and alerts, 10, f"{want}: {peer.log()[-1500:]}", step=0.1)
            assert "alert" in alerts[0].lower(), alerts
            listener.close()


def test_certificates_are_read_again(build):
    with TlsCluster(build, peers=1) as t:
        c, ca = t.cluster, t.ca
        seed, peer = c.all
        t.get(peer, "/big?1")
        # A certificate that cannot be used: the old one stays.
        pair = seed.config["upload"]["server"]
        shutil.copy(pair["cert"], c.path("kept.pem"))
        with open(pair["cert"], "w") as f:
            f.write("garbage")
        wait_for(lambda: "the old ones stay in use section=upload.server" in seed.log(), 10, "the bad file is told of", step=0.1)
        assert f"{pair['cert']}: no certificate in PEM form" in seed.log()
        t.get(peer, "/big?2")
        # New ones of a new authority on both sides, and the old authority is trusted no more.
        new = Authority(t.certs, "new-ca")
        for p in c.all:
            fresh = new.leaf("new-" + p.name)
            for source, target in zip((*fresh,), (p.config["upload"]["server"]["cert"], p.config["upload"]["server"]["key"])):
                os.replace(source, target)
        os.replace(new.cert, ca.cert)
        for p in c.all:
            p.process.send_signal(signal.SIGHUP)
            wait_for(lambda: p.log().count("certificates were read again") >= 3, 10, f"read again by {p.name}: {p.log()[-1500:]}", step=0.1)
        old = Authority(t.certs, "ca2")
        assert isinstance(try_tls(seed.piece_port, client_context(pair=old.leaf("stranger"), alpn=("d7y-pieces",))), str)
        t.get(peer, "/big?3")
        assert peer.metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE") == 0
        assert len(seed.log_lines("ERROR")) == 3, seed.log_lines("ERROR")   # one for each section


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
