#!/usr/bin/python3
"""Contents and requests of every shape through a seed and two peers: right bytes, the task ids that the wire agreement asks for, origins
that can little or lie, many tasks and many requests at once.

usage: test_shapes.py BUILD_DIR [TEST...]. BIG=1: the full numbers."""
import contextlib
import hashlib
import os
import re
import stat
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, Origin, finish, is_sanitized, make_file, run_tests, sha256, wait_for  # noqa: E402

BIG = os.environ.get("BIG", "") not in ("", "0")
MIB = 1 << 20
PIECE = 4 * MIB
LIMIT_S = 60        # of one dfget

SIGNING = """X-Amz-Algorithm X-Amz-Credential X-Amz-Date X-Amz-Expires X-Amz-SignedHeaders X-Amz-Signature X-Amz-Security-Token
X-Amz-User-Agent X-Goog-Algorithm X-Goog-Credential X-Goog-Date X-Goog-Expires X-Goog-SignedHeaders X-Goog-Signature OSSAccessKeyId Expires
Signature SecurityToken AccessKeyId X-Obs-Date X-Obs-Security-Token q-sign-algorithm q-ak q-sign-time q-key-time q-header-list
q-url-param-list q-signature x-cos-security-token ns""".split()


def task_id(url, tag="", application="", piece_length="", filters=SIGNING):
    """Worked out here, from the rule alone; for plain URLs of the test origin."""
    head, mark, query = url.partition("?")
    pairs = [p for p in urllib.parse.parse_qsl(query, keep_blank_values=True) if p[0] not in filters]
    pairs.sort(key=lambda p: p[0].encode())
    text = "&".join(urllib.parse.quote_plus(k, safe="-._~") + "=" + urllib.parse.quote_plus(v, safe="-._~") for k, v in pairs)
    return hashlib.sha256((head + (mark + text if text else "") + tag + application + str(piece_length) + "STANDARD").encode()).hexdigest()


class World:
    """A cluster, an origin with a directory, and outputs with names of their own."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.peers = cluster.peers
        self.files = cluster.path("files")
        os.mkdir(self.files)
        self.origin = Origin(cluster.build, directory=self.files)
        self.url = self.origin.url
        self.outputs = 0

    def file(self, name, size):
        """A new file of the origin; its bytes."""
        make_file(os.path.join(self.files, name), size)
        with open(os.path.join(self.files, name), "rb") as f:
            return f.read()

    def output(self):
        self.outputs += 1
        return self.cluster.path(f"out{self.outputs}")

    def run(self, peer, url, output, *flags):
        p = subprocess.run(peer.dfget_args(url, output, *flags), stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S)
        return p.returncode, p.stdout, p.stderr.decode(errors="replace")

    def get(self, peer, url, *flags):
        """What dfget put into its output, and the task id that it printed."""
        output = self.output()
        code, out, err = self.run(peer, url, output, "--print-task-id", *flags)
        assert code == 0 and err == "", f"{url} {flags}: {code} {err}"
        with open(output, "rb") as f:
            content = f.read()
        os.unlink(output)
        return content, out.decode().strip()

    def fails(self, peer, url, text, *flags, code=1):
        output = self.output()
        got, out, err = self.run(peer, url, output, *flags)
        assert got == code, f"{url} {flags}: exit code {got} {err}"
        assert text in err, f"{url} {flags}: {err}"
        assert not os.path.exists(output), f"{url} {flags}: an output is left"

    def everywhere(self, path, content, *flags, **id_parts):
        """Of both peers and once more of the first: the same bytes under the right id."""
        for peer in (*self.peers, self.peers[0]):
            got, task = self.get(peer, self.url(path), *flags)
            assert got == content, f"{path} at {peer.name}: {len(got)} bytes, wrong"
            assert task == task_id(self.url(path), **id_parts), f"{path} at {peer.name}: task {task}"


@contextlib.contextmanager
def world(build, **kw):
    with Cluster(build, **kw) as c:
        w = World(c)
        try:
            yield w
        finally:
            w.origin.stop()


def test_sizes_around_a_piece(build):
    with world(build) as w:
        for size in (0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 17):
            content = w.file(f"f{size}", size)
            w.everywhere(f"/f{size}", content)


def test_origins_that_can_little(build):
    with world(build) as w:
        for name, size in (("small", 1000), ("big", 2 * PIECE + 5), ("piece", PIECE), ("none", 0)):
            content = w.file(name, size)
            for switch in ("chunked", "norange", "nohead", "headlength", "nototal", "noetag", "norange&chunked", "chunked&nohead"):
                w.everywhere(f"/{name}?{switch}", content)
            # Only the end of the connection would tell the end of the content: cut or complete, nobody knows.
            w.everywhere(f"/{name}?nolength&headlength", content)
            w.fails(w.peers[0], w.url(f"/{name}?nolength"), "invalid content length")


def test_ranges(build):
    with world(build) as w:
        size = 3 * PIECE + 100
        content = w.file("big", size)
        url, first = w.url("/big"), w.peers[0]
        for text, start, end in (("0-99", 0, 100), (f"{PIECE - 1}-{PIECE}", PIECE - 1, PIECE + 1), (f"{size - 10}-", size - 10, size),
                                 ("-7", size - 7, size), (f"{size - 5}-{size + 1000}", size - 5, size), ("0-", 0, size),
                                 (f"0-{size - 1}", 0, size), (f"-{size}", 0, size), (f"{PIECE}-{2 * PIECE - 1}", PIECE, 2 * PIECE)):
            for n, flags in enumerate(((f"--range={text}",), ("-H", f"Range: bytes={text}"), ("-H", f"range:bytes={text}"))):
                got, task = w.get(w.peers[n % 2], url, *flags)
                assert got == content[start:end], f"{flags}: {len(got)} bytes, wrong"
                assert task == task_id(url), "a range is no part of the id"
                code, out, err = w.run(first, url, "-", *flags)
                assert (code, err) == (0, "") and out == content[start:end], f"{flags} to standard output: {code} {len(out)} {err}"
        # Each in a task of its own that nobody knows yet: the error of one request must not stick to the task.
        for n, text in enumerate((f"{size}-", f"{size + 5}-{size + 9}", f"-{size + 1}", "-0")):
            fresh = w.url(f"/big?n={n}")
            output = w.output()
            code, _, err = w.run(first, fresh, output, "-H", f"Range: bytes={text}")
            assert code in (1, 2) and "ange" in err, f"{text}: {code} {err}"
            assert not os.path.exists(output)
            assert w.get(first, fresh)[0] == content, f"after the range {text}"
        for text in ("x", "9-x", "5-2", "--5", "1-2-3", "", "+1-2"):
            for flags in ((f"--range={text}",), ("-H", f"Range: bytes={text}")):
                output = w.output()
                code, _, err = w.run(first, url, output, *flags)
                assert code in (1, 2) and "ange" in err, f"{flags}: {code} {err}"
                assert not os.path.exists(output)
        for text in ("items=0-5", "bytes 0-5", "0-5"):
            code, _, err = w.run(first, url, w.output(), "-H", f"Range: {text}")
            assert code in (1, 2) and "ange" in err, f"{text}: {code} {err}"
        # Of contents whose length is not known before, and where the origin has no ranges.
        for switch in ("chunked", "norange"):
            got, _ = w.get(first, w.url(f"/big?{switch}"), "--range", f"{PIECE + 3}-{PIECE + 9}")
            assert got == content[PIECE + 3:PIECE + 10], switch


def test_a_range_brings_only_its_pieces(build):
    with world(build) as w:
        content = w.file("big", 8 * PIECE)
        got, _ = w.get(w.peers[0], w.url("/big"), "--range", f"{2 * PIECE}-{2 * PIECE + 1}")
        assert got == content[2 * PIECE:2 * PIECE + 2]
        assert w.origin.bytes() <= PIECE + 100, w.origin.bytes()
        # Then the whole: what is there is not fetched again.
        assert w.get(w.peers[0], w.url("/big"))[0] == content
        assert w.origin.bytes() <= 9 * PIECE + 100, w.origin.bytes()


def test_many_tiny_files(build):
    count = 10000 if BIG else 1000
    # The store keeps a bounded number of files open; from here on it has them.
    warm = count // 2
    with world(build) as w:
        peer = w.peers[0]
        os.mkdir(os.path.join(w.files, "t"))
        for i in range(count):
            with open(os.path.join(w.files, f"t/{i}"), "wb") as f:
                f.write(b"tiny file %d" % i)
        before = None
        for i in range(count):
            code, err = peer.dfget(w.url(f"/t/{i}"), w.cluster.path("tiny"), "--overwrite")
            assert code == 0 and err == "", f"{i}: {code} {err}"
            with open(w.cluster.path("tiny"), "rb") as f:
                assert f.read() == b"tiny file %d" % i
            if i == warm:
                before = [(p.descriptors(), p.status("VmRSS")) for p in w.cluster.all]
        wait_for(lambda: peer.descriptors() <= before[1][0] + 8, 15, "the descriptors are as many as before")
        for p, (descriptors, kib) in zip(w.cluster.all, before):
            assert p.descriptors() <= descriptors + 8, f"{p.name}: {descriptors} descriptors became {p.descriptors()}"
            # What is kept of a task: 0.6 KiB, and more while a busy disk is behind with its syncs; and what the allocator holds back.
            if not is_sanitized(build):
                assert p.status("VmRSS") <= kib + 2048 + 4 * (count - warm), f"{p.name}: {kib} KiB became {p.status('VmRSS')}"


def test_many_tasks_at_once(build):
    with world(build) as w:
        count = 64
        size = 8 * MIB if BIG else PIECE + 1
        digests = [make_file(os.path.join(w.files, f"f{i}"), size + i) for i in range(count)]
        running = [w.peers[i % 2].dfget_start(w.url(f"/f{i}"), w.cluster.path(f"o{i}")) for i in range(count)]
        for i, p in enumerate(running):
            code, err = finish(p, LIMIT_S, f"task {i}")
            assert code == 0 and err == "", f"task {i}: {code} {err}"
            assert sha256(w.cluster.path(f"o{i}")) == digests[i], f"task {i}: wrong bytes"
        assert w.origin.bytes() <= (size + count) * count * 1.02, w.origin.stats()


def test_many_requests_of_one_task(build):
    with world(build) as w:
        size = 5 * PIECE + 3
        content = w.file("f", size)
        running = [w.peers[i % 2].dfget_start(w.url("/f"), w.cluster.path(f"o{i}")) for i in range(64)]
        for i, p in enumerate(running):
            code, err = finish(p, LIMIT_S, f"request {i}")
            assert code == 0 and err == "", f"request {i}: {code} {err}"
            with open(w.cluster.path(f"o{i}"), "rb") as f:
                assert f.read() == content, f"request {i}: wrong bytes"
        assert w.origin.bytes() <= size * 1.02, w.origin.stats()


def test_query_filters(build):
    with world(build) as w:
        content = w.file("f", PIECE + 9)
        one, two = w.url("/f?X-Amz-Signature=abc&v=2&a=x%20y*~"), w.url("/f?v=2&a=x+y*~&X-Amz-Signature=other&X-Amz-Date=1")
        assert task_id(one) == task_id(two)
        got, task = w.get(w.peers[0], one)
        assert got == content and task == task_id(one), task
        sent = w.origin.bytes()
        got, task = w.get(w.peers[0], two)
        assert got == content and task == task_id(one), task
        assert w.origin.bytes() == sent, "the same task was fetched again"
        assert w.get(w.peers[1], two)[1] == task
        flags = ("--filtered-query-param", "v", "--filtered-query-param", "a")
        got, task = w.get(w.peers[0], one, *flags)
        assert got == content and task == task_id(one, filters=["v", "a"]), task
        assert task == task_id(w.url("/f?X-Amz-Signature=abc"), filters=[])
        # A filtered parameter is sent to the origin all the same: this one is a switch of it.
        w.fails(w.peers[0], w.url("/f?status=410"), "410", "--filtered-query-param", "status")


def test_tags_and_applications(build):
    with world(build) as w:
        content = w.file("f", 1000)
        ids = set()
        for tag, application in (("", ""), ("t", ""), ("", "t"), ("a", "b"), ("a b", "ä")):
            w.everywhere("/f", content, "--tag", tag, "--application", application, tag=tag, application=application)
            ids.add(task_id(w.url("/f"), tag=tag, application=application))
        assert len(ids) == 4


def test_piece_lengths(build):
    with world(build) as w:
        content = w.file("f", 21 * MIB)
        for text, number in (("4MiB", 4 * MIB), ("8MiB", 8 * MIB), ("5000000", 5000000), ("64MiB", 64 * MIB)):
            w.everywhere("/f", content, "--piece-length", text, piece_length=number)


def test_the_text_that_makes_the_id(build):
    with world(build) as w:
        content = w.file("f", 1000)
        got, task = w.get(w.peers[0], w.url("/f"), "--content-for-calculating-task-id", "This is a test file")
        assert got == content and task == "e2d0fe1585a63ec6009c8016ff8dda8b17719a637405a4e23c0ff81339148249", task


def test_small_files_are_shared_when_asked(build):
    with world(build) as w:
        content = w.file("f", MIB)
        for peer in w.peers:
            assert w.get(peer, w.url("/f"), "--scheduling-policy", "always")[0] == content
        assert w.origin.bytes() <= MIB * 1.02, w.origin.stats()
        assert w.peers[1].metric("dragonfly_client_download_traffic", type="REMOTE_PEER") == MIB
        w.origin.reset()
        for peer in w.peers:
            assert w.get(peer, w.url("/f?auto"))[0] == content
        assert w.origin.bytes() >= 2 * MIB, "small files are fetched by each"


def test_redirects(build):
    with world(build) as w:
        content = w.file("f", PIECE + 77)
        target = urllib.parse.quote(w.url("/f"), safe="")
        for code in (301, 302, 303, 307, 308):
            w.everywhere(f"/r?redirect={target}&code={code}", content)
        relative = urllib.parse.quote("/f", safe="")
        w.everywhere(f"/deep/r?redirect={relative}", content)
        chain = w.url("/f")
        for n in range(4):
            chain = w.url(f"/r{n}?redirect={urllib.parse.quote(chain, safe='')}")
        assert w.get(w.peers[1], chain)[0] == content
        again = urllib.parse.quote("/loop?redirect=%2Floop", safe="")
        loop = w.url(f"/loop?redirect={again}")
        code, _, err = w.run(w.peers[0], w.url("/loop?redirect=" + urllib.parse.quote("/loop2?redirect=%2Floop3%3Fredirect%3D", safe="")), w.output())
        assert code == 1 and err, f"{code} {err} {loop}"


def test_an_encoding_that_is_none(build):
    with world(build) as w:
        content = w.file("f", PIECE + 5)
        w.everywhere("/f?gzip", content)


def test_outputs(build):
    with world(build) as w:
        content, other = w.file("f", PIECE + 5), w.file("g", 100)
        peer, output = w.peers[0], w.cluster.path("o")
        code, err = peer.dfget(w.url("/f"), output)
        assert code == 0, err
        code, err = peer.dfget(w.url("/g"), output)
        assert code == 1 and f"{output} is already exist" in err, err
        with open(output, "rb") as f:
            assert f.read() == content
        code, err = peer.dfget(w.url("/g"), output, "--overwrite")
        assert code == 0, err
        with open(output, "rb") as f:
            assert f.read() == other
        # The cache is not written through a link.
        assert w.get(peer, w.url("/f"))[0] == content
        linked = w.cluster.path("linked")
        code, err = peer.dfget(w.url("/f"), linked, "--force-hard-link")
        assert code == 0, err
        assert os.stat(linked).st_nlink >= 2 and stat.S_ISREG(os.stat(linked).st_mode)
        with open(linked, "rb") as f:
            assert f.read() == content
        code, err = peer.dfget(w.url("/f"), linked, "--force-hard-link")
        assert code == 1, "an existing output of another time"
        if os.path.isdir("/dev/shm") and os.stat("/dev/shm").st_dev != os.stat(w.cluster.dir).st_dev:
            away = f"/dev/shm/dragonfly-test-{os.getpid()}"
            try:
                code, err = peer.dfget(w.url("/f"), away, "--force-hard-link")
                assert code == 1 and "on another file system" in err, f"{code} {err}"
                assert not os.path.exists(away)
                code, err = peer.dfget(w.url("/f"), away)
                assert code == 0 and sha256(away) == hashlib.sha256(content).hexdigest(), err
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(away)
        directory = w.cluster.path("d")
        os.mkdir(directory)
        code, err = peer.dfget(w.url("/f?x=1"), directory)
        assert code == 0 and os.listdir(directory) == ["f"], err
        code, err = peer.dfget(w.url("/f"), w.cluster.path("none/x"))
        assert code == 1 and "none" in err, err


def test_content_over_the_socket(build):
    with world(build) as w:
        for size in (0, 1, PIECE, 5 * PIECE + 11):
            content = w.file(f"f{size}", size)
            for peer in (*w.peers, w.peers[0]):
                code, out, err = w.run(peer, w.url(f"/f{size}"), "-")
                assert (code, err) == (0, "") and out == content, f"{size} at {peer.name}: {code} {len(out)} {err}"
                output = w.output()
                code, out, err = w.run(peer, w.url(f"/f{size}"), output, "--transfer-from-dfdaemon")
                assert code == 0, err
                with open(output, "rb") as f:
                    assert f.read() == content


def test_headers_reach_the_origin_through_the_seed(build):
    with world(build) as w:
        content = w.file("f", 2 * PIECE + 5)
        url = w.url("/f?bearer=s3cr3t-t0ken")
        w.fails(w.peers[0], w.url("/f?bearer=another"), "401")
        got, _ = w.get(w.peers[0], url, "-H", "Authorization: Bearer s3cr3t-t0ken")
        assert got == content
        assert w.cluster.seed.metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE") == len(content)
        assert w.peers[0].metric("dragonfly_client_download_traffic", type="BACK_TO_SOURCE") == 0
        basic = w.url("/f?basic=user:pw")
        assert w.get(w.peers[1], basic, "-u", "user:pw")[0] == content
        inside = basic.replace("http://", "http://user:pw@")
        assert w.get(w.peers[1], inside)[0] == content
        for p in w.cluster.all:
            assert not re.search(r"s3cr3t-t0ken|user:pw|dXNlcjpwdw", p.log()), f"{p.name} logs a secret"


def test_what_is_missing(build):
    with world(build) as w:
        w.fails(w.peers[0], w.url("/none"), "404")
        w.fails(w.peers[0], w.url("/f?status=403"), "403")
        w.fails(w.peers[0], "http://127.0.0.1:1/f", "connect to 127.0.0.1:1: Connection refused")
        w.fails(w.peers[0], "http://name.invalid/f", "name.invalid")
        content = w.file("f", PIECE + 5)
        assert w.get(w.peers[1], w.url("/f?status=503&fail=1"))[0] == content


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
