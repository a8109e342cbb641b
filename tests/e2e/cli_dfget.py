#!/usr/bin/python3
"""dfget and dfdaemon as a user of the command line sees them: one daemon, one origin, every documented case.
    /usr/bin/python3 tests/e2e/cli_dfget.py [BUILD_DIR] [unittest arguments]"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_support import Cluster, Origin, clean_env, end, wait_until  # noqa: E402

BUILD = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]) else "build")
HELLO = b"hello world\n"
HELLO_SHA256 = "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447"
MIB = 1 << 20
# Of one dfget; far beyond what any needs.
LIMIT_S = 20


def read(path):
    with open(path) as f:
        return f.read()


class Case(unittest.TestCase):
    """A daemon and an origin for all, a fresh directory T for each."""

    @classmethod
    def setUpClass(cls):
        cls.files = tempfile.mkdtemp(prefix="dragonfly-files-")
        with open(os.path.join(cls.files, "f"), "wb") as f:
            f.write(HELLO)
        with open(os.path.join(cls.files, "empty"), "wb"):
            pass
        cls.big = os.urandom(20 * MIB + 12345)
        with open(os.path.join(cls.files, "big"), "wb") as f:
            f.write(cls.big)
        cls.origin = Origin(BUILD, cls.files)
        cls.url = cls.origin.url
        cls.cluster = Cluster(BUILD, peers=0)
        cls.cluster.start()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()
        cls.origin.stop()
        shutil.rmtree(cls.files)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="dragonfly-t-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def files_left(self):
        return sorted(os.listdir(self.dir))

    def run_dfget(self, *args, env=None, endpoint=True, timeout=LIMIT_S):
        command = [os.path.join(BUILD, "dfget")]
        if endpoint:
            command += ["-e", self.cluster.peers[0].socket]
        done = subprocess.run(command + [str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=clean_env(env), cwd=self.dir, timeout=timeout)
        done.out, done.err = done.stdout, done.stderr.decode(errors="replace")
        return done

    def ok(self, *args, **kw):
        done = self.run_dfget(*args, **kw)
        self.assertEqual(0, done.returncode, done.err)
        return done

    def fails(self, code, text, *args, **kw):
        done = self.run_dfget(*args, **kw)
        self.assertEqual(code, done.returncode, done.err)
        self.assertIn(text, done.err)
        self.assertEqual(b"", done.out)
        return done


class Output(Case):
    def test_01_a_file_is_downloaded_and_nothing_printed(self):
        done = self.ok(self.url + "/f", "-O", self.path("f"))
        self.assertEqual(HELLO, self.read("f"))
        self.assertEqual((b"", ""), (done.out, done.err))
        self.assertEqual(["f"], self.files_left())

    def test_02_two_dashes_end_the_options(self):
        self.ok("-O", self.path("f"), "--", self.url + "/f")
        self.assertEqual(HELLO, self.read("f"))

    def test_03_tag_and_application_make_another_task(self):
        plain = self.ok(self.url + "/f", "-O", self.path("f"), "--print-task-id").out
        other = self.ok(self.url + "/f", "-O" + self.path("g"), "--tag=a", "--application=b", "--print-task-id").out
        self.assertRegex(plain.decode(), "^[0-9a-f]{64}\n$")
        self.assertNotEqual(plain, other)

    def test_04_an_existing_file_is_not_touched(self):
        self.ok(self.url + "/f", "-O", self.path("f"))
        self.fails(1, "validate failed: output path %s is already exist" % self.path("f"), self.url + "/big", "-O", self.path("f"))
        self.assertEqual(HELLO, self.read("f"))

    def test_05_overwrite_makes_a_new_file_and_spares_the_cache(self):
        self.ok(self.url + "/f", "-O", self.path("f"))
        before = os.stat(self.path("f")).st_ino
        self.ok(self.url + "/big", "-O", self.path("f"), "--overwrite")
        self.assertNotEqual(before, os.stat(self.path("f")).st_ino)
        self.assertEqual(self.big, self.read("f"))
        self.ok(self.url + "/f", "-O", self.path("again"))
        self.assertEqual(HELLO, self.read("again"))

    def test_06_the_directory_of_the_output_must_exist(self):
        self.fails(1, "output path %s is not a directory" % self.path("no"), self.url + "/f", "-O", "no/f")

    def test_07_root_is_no_output(self):
        self.fails(1, "output path / is not exist", self.url + "/f", "-O", "/")

    def test_08_into_a_directory_by_the_name_in_the_url(self):
        self.ok(self.url + "/f", "-O", self.dir)
        self.assertEqual(HELLO, self.read("f"))

    def test_09_content_over_the_socket(self):
        old = os.umask(0o022)
        try:
            self.ok(self.url + "/big", "-O", self.path("b"), "--transfer-from-dfdaemon")
        finally:
            os.umask(old)
        self.assertEqual(self.big, self.read("b"))
        self.assertEqual(0o644, os.stat(self.path("b")).st_mode & 0o7777)
        self.assertEqual(["b"], self.files_left())

    def test_10_to_standard_output(self):
        self.assertEqual(HELLO, self.ok(self.url + "/f", "-O", "-").out)
        self.assertEqual(self.big, self.ok(self.url + "/big", "-O-").out)
        self.assertEqual([], self.files_left())

    def test_10a_a_pipe_that_nobody_reads_any_more_is_an_error(self):
        get = subprocess.Popen(self.cluster.command(0, self.url + "/big", "-O", "-"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        get.stdout.read(10)
        get.stdout.close()
        err = get.stderr.read().decode()
        self.assertEqual(1, get.wait(LIMIT_S))
        get.stderr.close()
        self.assertIn("write standard output: Broken pipe (os error 32)", err)

    def test_10b_a_device_is_written_to_and_not_replaced(self):
        self.ok(self.url + "/f", "-O", "/dev/null", "--overwrite")
        self.assertFalse(os.path.isfile("/dev/null"))

    def test_11_an_empty_file(self):
        self.ok(self.url + "/empty", "-O", self.path("e"))
        self.ok(self.url + "/empty", "-O", self.path("t"), "--transfer-from-dfdaemon")
        self.assertEqual((b"", b""), (self.read("e"), self.read("t")))

    def test_11a_unknown_length(self):
        self.ok(self.url + "/big?chunked", "-O", self.path("c"))
        self.assertEqual(self.big, self.read("c"))

    def test_a_range_is_written_alone(self):
        for text, want in (("5-9", self.big[5:10]), ("%d-" % (20 * MIB), self.big[20 * MIB:]), ("-7", self.big[-7:]),
                           ("%d-%d" % (4 * MIB - 1, 8 * MIB), self.big[4 * MIB - 1:8 * MIB + 1])):
            with self.subTest(text):
                self.ok(self.url + "/big", "-O", self.path("r"), "--overwrite", "--range=" + text)
                self.assertEqual(want, self.read("r"))
                self.assertEqual(want, self.ok(self.url + "/big", "-O", "-", "-H", "Range: bytes=" + text).out)

    def test_a_range_past_the_end_or_malformed_is_an_error(self):
        self.run_dfget(self.url + "/f", "-O", self.path("r"), "--range", "100-200")
        self.assertEqual([], self.files_left())
        self.fails(2, "invalid value '9-x' for '--range <RANGE>'", self.url + "/f", "-O", self.path("r"), "--range", "9-x")
        self.fails(2, "more than one range", self.url + "/f", "-O", self.path("r"), "-H", "Range: bytes=1-2,4-5")


class Errors(Case):
    def test_12_a_missing_file(self):
        done = self.fails(1, "Bad Status Code: 404\nMessage: 404 Not Found\n", self.url + "/missing", "-O", self.path("m"))
        self.assertTrue(done.err.startswith("Downloading Failed!\n" + "*" * 40 + "\n"), done.err)
        self.assertEqual([], self.files_left())

    def test_13_the_cause_of_a_failed_connection_is_named(self):
        self.fails(1, "connect to 127.0.0.1:1: Connection refused", "http://127.0.0.1:1/f", "-O", self.path("x"))

    def test_14_no_daemon(self):
        done = self.fails(1, "Connect Dfdaemon Failed!\n", self.url + "/f", "-O", self.path("f"), "-e", self.path("none.sock"), endpoint=False)
        self.assertIn("Message: can not connect ConnectError cause: transport error: No such file or directory (os error 2), "
                      "please check the unix socket %s\n" % self.path("none.sock"), done.err)

    def test_14a_a_stale_socket(self):
        import socket
        s = socket.socket(socket.AF_UNIX)
        s.bind(self.path("stale"))
        s.close()
        self.fails(1, "Connection refused (os error 111)", self.url + "/f", "-O", self.path("f"), "-e", self.path("stale"), endpoint=False)
        self.fails(3, "Connect Dfdaemon Failed!", self.url + "/f", "-O", self.path("f"), "-e", "unix:" + self.path("stale"),
                   "--exit-detail", endpoint=False)

    def test_16_what_is_required(self):
        self.fails(2, "error: the following required arguments were not provided:\n  --output <OUTPUT>\n  <URL>\n", endpoint=False)

    def test_17_a_relative_url(self):
        self.fails(2, "error: invalid value 'foo' for '<URL>': relative URL without a base\n", "foo", "-O", self.path("x"))

    def test_18_a_duration_needs_a_unit(self):
        self.fails(2, "error: invalid value '30' for '--timeout <TIMEOUT>': time unit needed, for example 30sec or 30ms",
                   self.url + "/f", "-O", self.path("x"), "--timeout", "30")

    def test_19_20_piece_length(self):
        self.fails(1, "piece length 1048576 bytes is less than the minimum piece length 4194304 bytes",
                   self.url + "/f", "-O", self.path("x"), "--piece-length", "1mib")
        self.fails(2, "couldn't parse \"x\" into a known SI unit", self.url + "/f", "-O", self.path("x"), "--piece-length", "4x")

    def test_21_a_similar_option_is_named(self):
        self.fails(2, "error: unexpected argument '--outpu' found\n\n  tip: a similar argument exists: '--output'\n",
                   self.url + "/f", "-O", self.path("x"), "--outpu", "y")

    def test_27_a_digest_that_cannot_be_is_refused_before_the_origin_is_asked(self):
        self.origin.reset()
        self.fails(1, "validate failed: invalid digest algorithm: md5", self.url + "/f", "-O", self.path("x"), "--digest", "md5:00")
        self.fails(1, "validate failed: invalid sha256 digest length: 2, expected 64", self.url + "/f", "-O", self.path("x"),
                   "--digest", "sha256:00")
        self.assertLessEqual(self.origin.stats()["requests"], 1)

    def test_29_http_has_no_directories(self):
        self.fails(1, "Message: unsupported http download directory\n", self.url + "/d/", "-O", self.dir, "-r")

    def test_34_include_files(self):
        self.fails(1, "path is not a normal relative path in include_files: '../x'", "s3://b/p", "-r", "-O", self.dir, "-I", "../x")
        self.fails(1, "invalid glob pattern in include_files: 'a***'", "s3://b/p", "-r", "-O", self.dir, "-I", "a***")
        self.fails(1, "include_files needs a directory", self.url + "/f", "-O", self.path("x"), "-I", "a")

    def test_35_no_concurrent_request_is_refused(self):
        self.fails(2, "0 is not in 1..=", "s3://b/p", "-r", "-O", self.dir, "--max-concurrent-requests", "0")

    def test_36b_a_failed_overwrite_keeps_the_old_file(self):
        with open(self.path("old"), "wb") as f:
            f.write(b"old")
        for way in ([], ["--transfer-from-dfdaemon"]):
            done = self.run_dfget(self.url + "/big?cut=1000&tag=%d" % len(way), "-O", self.path("old"), "--overwrite", *way)
            self.assertEqual(1, done.returncode, done.err)
            self.assertEqual(b"old", self.read("old"))
            self.assertEqual(["old"], self.files_left())

    def test_37_the_last_header_of_a_name_counts(self):
        self.ok(self.url + "/f?basic=u:p", "-O", self.path("x"), "-H", "authorization: nonsense", "-u", "u:p", "-H",
                "Authorization: Basic dTpw")

    def test_38_header_syntax(self):
        self.fails(2, "invalid header 'NoColon': expected 'Name: value'", self.url + "/f", "-O", self.path("x"), "-H", "NoColon")
        self.fails(2, "not a header name", self.url + "/f", "-O", self.path("x"), "-H", "a b: c")
        self.fails(2, "control characters", self.url + "/f", "-O", self.path("x"), "-H", "a: b\r\nc: d")

    def test_38a_38b_scheduling_policy(self):
        self.ok(self.url + "/f", "-O", self.path("x"), "--scheduling-policy", "always")
        self.fails(2, "error: invalid value 'Always' for '--scheduling-policy <SCHEDULING_POLICY>'\n  [possible values: auto, always]\n",
                   self.url + "/f", "-O", self.path("y"), "--scheduling-policy", "Always")

    def test_combinations_that_cannot_be(self):
        self.fails(1, "--force-hard-link cannot be used with --overwrite", self.url + "/f", "-O", self.path("x"), "--force-hard-link", "--overwrite")
        self.fails(1, "--digest is that of the whole content", self.url + "/f", "-O", self.path("x"), "--range", "0-1", "--digest", "crc32:1")
        self.fails(1, "a directory cannot be written to standard output", "s3://b/p/", "-O", "-")
        self.fails(1, "--insecure works only in this process", self.url + "/f", "-O", self.path("x"), "--insecure")

    def test_exit_detail(self):
        self.fails(4, "404", self.url + "/missing", "-O", self.path("m"), "--exit-detail")
        self.fails(6, "digest mismatch", self.url + "/f?detail", "-O", self.path("m"), "--exit-detail", "--digest", "sha256:" + 64 * "1")
        self.fails(7, "download timed out after 300ms", self.url + "/big?drip=1000", "-O", self.path("m"), "--exit-detail", "--timeout", "300ms")
        self.assertEqual([], self.files_left())

    def test_the_timeout_covers_the_whole_download(self):
        for way in ([], ["--transfer-from-dfdaemon"], ["--daemon=never"]):
            self.fails(1, "download timed out after 500ms", self.url + "/big?stall=100000&way=%d" % len(way), "-O", self.path("s"),
                       "--timeout", "500ms", *way, endpoint="--daemon=never" not in way)
            self.assertEqual([], self.files_left())


class Grammar(Case):
    def test_forms_of_options(self):
        for args in (["-O=%s" % self.path("a")], ["--output=%s" % self.path("b")], ["-qO%s" % self.path("c")], ["-o", self.path("d")]):
            with self.subTest(args):
                self.ok(self.url + "/f", *args)
        self.assertEqual(["a", "b", "c", "d"], self.files_left())

    def test_wrong_forms(self):
        u, o = self.url + "/f", self.path("x")
        for text, args in (
                ("the argument '--output <OUTPUT>' cannot be used multiple times", [u, "-O", o, "-O", o]),
                ("the argument '--overwrite' cannot be used multiple times", [u, "-O", o, "--overwrite", "--overwrite"]),
                ("unexpected argument 'http://c/d' found", [u, "http://c/d", "-O", o]),
                ("a value is required for '--header <HEADER>' but none was supplied", [u, "-O", o, "-H"]),
                ("a value is required for '--output <OUTPUT>' but none was supplied", [u, "--output="]),
                ("unexpected argument '-1' found", [u, "-O", o, "-p", "-1"]),
                ("invalid value '7' for '--priority <PRIORITY>': 7 is not in 0..=6", [u, "-O", o, "-p", "7"]),
                ("unexpected value 'true' for '--console' found; no more were expected", [u, "-O", o, "--console=true"]),
                ("invalid value 'yes!' for '--storage-insecure-skip-verify <STORAGE_INSECURE_SKIP_VERIFY>'\n  [possible values: true, false]",
                 [u, "-O", o, "--storage-insecure-skip-verify", "yes!"]),
                ("error parsing level", [u, "-O", o, "-l", "off"]),
                ("value was empty", [u, "-O", o, "--timeout="]),
                ("unknown time unit \"X\"", [u, "-O", o, "--timeout", "5X"]),
                ("expected number at 0", [u, "-O", o, "--timeout", "abc"]),
                ("invalid digit found in string", [u, "-O", o, "--max-files", "x"])):
            with self.subTest(text):
                self.fails(2, "error: " + text if not text.startswith(("error", "value was", "unknown", "expected", "invalid digit")) else text, *args)

    def test_22_variables(self):
        done = self.ok(self.url + "/f", "-O", self.path("x"), env={"DFGET_CONSOLE": "true"})
        self.assertRegex(done.err, r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z +INFO download to ")
        self.assertEqual(b"", done.out)
        self.fails(2, "error: invalid value 'foo' for '--console'\n  [possible values: true, false]\n", self.url + "/f", "-O", self.path("y"),
                   env={"DFGET_CONSOLE": "foo"})
        self.fails(2, "for '--timeout <TIMEOUT>'", self.url + "/f", "-O", self.path("y"), env={"DFGET_TIMEOUT": "30"})
        self.ok(self.url + "/f", "-O", self.path("y"), "--timeout", "1m", env={"DFGET_TIMEOUT": "30"})
        self.ok(self.url + "/f", "-O", self.path("z"), env={"DFGET_TIMEOUT": "", "DFGET_CONSOLE": "", "DFGET_PIECE_LENGTH": ""})

    def test_39_version(self):
        done = self.ok("--version", endpoint=False)
        self.assertRegex(done.out.decode(), r"^dfget \d+\.\d+\.\d+ \([^,]+, [^)]+\)\n$")

    def test_40_help_shows_no_secret(self):
        for flag in ("--help", "-h"):
            done = self.ok(flag, endpoint=False, env={"DFGET_HF_TOKEN": "s3cret"})
            self.assertIn(b"Usage: dfget [OPTIONS] --output <OUTPUT> <URL>", done.out)
            self.assertIn(b"[env: DFGET_HF_TOKEN]", done.out)
            self.assertNotIn(b"s3cret", done.out)


class Digests(Case):
    def test_23_25_26_28_right_digests(self):
        crc = "%08x" % zlib.crc32(HELLO)
        self.assertEqual("af083b2d", crc)
        for n, digest in enumerate(("sha256:" + HELLO_SHA256, "crc32:2936552237", "crc32:" + crc, "crc32:" + crc.upper(),
                                    "sha256:" + HELLO_SHA256.upper(), "sha512:" + hashlib.sha512(HELLO).hexdigest())):
            for way in ([], ["--transfer-from-dfdaemon"]):
                with self.subTest(digest=digest, way=way):
                    self.ok(self.url + "/f", "-O", self.path("x"), "--overwrite", "--digest", digest, *way)
        self.assertEqual(HELLO, self.ok(self.url + "/f", "-O", "-", "--digest", "sha256:" + HELLO_SHA256).out)

    def test_24_a_wrong_digest_leaves_nothing(self):
        for way in ([], ["--transfer-from-dfdaemon"]):
            self.fails(1, "digest mismatch expected: sha256:%s, actual: sha256:%s" % (64 * "0", HELLO_SHA256),
                       self.url + "/f?wrong=%d" % len(way), "-O", self.path("x"), "--digest", "sha256:" + 64 * "0", *way)
            self.assertEqual([], self.files_left())


class Progress(Case):
    def test_41_nothing_on_a_pipe_when_it_is_quick(self):
        self.assertEqual("", self.ok(self.url + "/big", "-O", self.path("b")).err)

    def test_plain_lines_when_it_takes_long(self):
        done = self.ok(self.url + "/gen/6M/1?drip=2500000", "-O", self.path("b"), "--progress=plain", "--transfer-from-dfdaemon")
        self.assertRegex(done.err, r"(?m)^100% 6291456/6291456 [0-9.]+ [KM]iB/s eta 0s \d+% from peers /gen/6M/1$")

    def test_json_lines(self):
        done = self.ok(self.url + "/big?json&token=s3cret", "-O", self.path("b"), "--progress=json")
        events = [json.loads(line) for line in done.err.splitlines()]
        self.assertEqual(["started", "finished"], [e["event"] for e in events if e["event"] != "progress"])
        self.assertEqual(len(self.big), events[0]["length"])
        self.assertEqual(len(self.big), events[-1]["bytes"])
        self.assertEqual(len(self.big), events[-1]["from_source"] + events[-1]["from_peers"] + events[-1]["from_cache"])
        self.assertEqual(self.path("b"), events[-1]["output"])
        self.assertNotIn("s3cret", done.err)
        failed = json.loads(self.run_dfget(self.url + "/missing", "-O", self.path("m"), "--progress=json").err.splitlines()[0])
        self.assertEqual(("failed", 404), (failed["event"], failed["status"]))

    def test_bar_on_a_terminal(self):
        import pty
        parent, child = pty.openpty()
        get = subprocess.Popen(self.cluster.command(0, self.url + "/big?bar", "-O", self.path("b")), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=child, env=clean_env({"TERM": "xterm"}))
        os.close(child)
        shown = b""
        try:
            while True:
                part = os.read(parent, 65536)
                shown += part
                if not part:
                    break
        except OSError:
            pass
        os.close(parent)
        self.assertEqual(0, get.wait(LIMIT_S))
        get.stdout.close()
        text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
        self.assertRegex(text, r"/big\r\n\[00:00:0\d\] \[={60}\] 100% \([0-9.]+ [KMG]iB/s, 0\.0s\)")


class Interrupts(Case):
    def test_42_interrupt_leaves_nothing(self):
        for sig, code, way in ((signal.SIGINT, 130, []), (signal.SIGTERM, 143, ["--transfer-from-dfdaemon"]),
                               (signal.SIGINT, 130, ["--daemon=never"])):
            with self.subTest(way=way):
                get = subprocess.Popen(self.cluster.command(0, self.url + "/big?drip=1000000&way=%s" % len("".join(way)), "-O", self.path("b"),
                                                            "--progress=json", *way),
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_env())
                self.assertEqual("started", json.loads(get.stderr.readline())["event"])
                self.assertEqual(code, end(get, sig, 10))
                get.stdout.close()
                get.stderr.close()
                self.assertEqual([], self.files_left())


class Alone(Case):
    """dfget without a daemon."""

    def alone(self, *args, **kw):
        return self.ok(*args, "--daemon=never", endpoint=False, **kw)

    def test_15_auto_downloads_in_this_process_and_says_so(self):
        done = self.ok(self.url + "/f", "-O", self.path("f"), "-e", self.path("none.sock"), "--daemon=auto", endpoint=False)
        self.assertEqual(HELLO, self.read("f"))
        self.assertEqual("dfget: no dfdaemon at %s, downloading in this process\n" % self.path("none.sock"), done.err)
        self.assertEqual(["f"], self.files_left())

    def test_auto_is_the_default_where_no_socket_is_named(self):
        home = {"XDG_RUNTIME_DIR": self.dir, "HOME": self.dir}
        if os.path.exists("/var/run/dragonfly/dfdaemon.sock"):
            self.skipTest("a daemon of this machine answers")
        self.ok(self.url + "/f", "-O", self.path("f"), endpoint=False, env=home)
        self.assertEqual(HELLO, self.read("f"))

    def test_shapes(self):
        old = os.umask(0o022)
        try:
            for path, want in (("/f", HELLO), ("/empty", b""), ("/big", self.big), ("/big?chunked", self.big), ("/big?norange", self.big),
                               ("/big?nohead", self.big)):
                with self.subTest(path):
                    self.alone(self.url + path, "-O", self.path("x"), "--overwrite")
                    self.assertEqual(want, self.read("x"))
                    self.assertEqual(want, self.alone(self.url + path, "-O", "-").out)
                    self.assertEqual(["x"], self.files_left())
        finally:
            os.umask(old)
        self.assertEqual(0o644, os.stat(self.path("x")).st_mode & 0o7777)
        self.assertEqual(self.big[5:10], self.alone(self.url + "/big", "-O", "-", "--range", "5-9").out)

    def test_digest_and_errors(self):
        self.alone(self.url + "/f", "-O", self.path("x"), "--digest", "sha256:" + HELLO_SHA256)
        self.fails(1, "digest mismatch", self.url + "/f", "-O", self.path("y"), "--digest", "sha256:" + 64 * "0", "--daemon=never", endpoint=False)
        self.fails(1, "Bad Status Code: 404\nMessage: 404 Not Found\n", self.url + "/nothing", "-O", self.path("y"), "--no-daemon", endpoint=False)
        self.fails(1, "Connection refused", "http://127.0.0.1:1/f", "-O", self.path("y"), "--no-daemon", endpoint=False)
        self.assertEqual(["x"], self.files_left())

    def test_a_second_try_goes_on_where_the_first_ended(self):
        first = self.run_dfget(self.url + "/big", "-O", self.path("c"), "-c", "--timeout", "1500ms", "--limit-rate", "8MB",
                               "--daemon=never", endpoint=False)
        self.assertEqual(1, first.returncode)
        self.assertEqual([".c.dfpart"], self.files_left())
        self.origin.reset()
        self.alone(self.url + "/big", "-O", self.path("c"), "-c")
        self.assertEqual(self.big, self.read("c"))
        self.assertEqual(["c"], self.files_left())
        self.assertLess(self.origin.stats()["bytes"], len(self.big))

    def test_retry(self):
        self.fails(1, "503", self.url + "/f?status=503&fail=9", "-O", self.path("r"), "--daemon=never", endpoint=False)
        self.alone(self.url + "/f?status=503&fail=3&second", "-O", self.path("r"), "--retry", "3", "--retry-delay", "10ms")
        self.assertEqual(HELLO, self.read("r"))


class Peers(Case):
    def test_the_share_that_came_from_peers(self):
        with Cluster(BUILD, peers=1) as c:
            def events(name, *args):
                done = subprocess.run(c.command(1, self.url + "/big?peers", "-O", self.path(name), "--progress=json", *args),
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_env(),
                                      timeout=LIMIT_S, text=True)
                self.assertEqual(0, done.returncode, done.stderr)
                self.assertEqual(self.big, self.read(name))
                return json.loads(done.stderr.splitlines()[-1])
            first, again = events("a"), events("b", "--transfer-from-dfdaemon")
            self.assertEqual((0, len(self.big), 0), (first["from_source"], first["from_peers"], first["from_cache"]))
            self.assertEqual((0, 0, len(self.big)), (again["from_source"], again["from_peers"], again["from_cache"]))


class Daemon(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="dragonfly-d-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def run_dfdaemon(self, *args, env=None, program="dfdaemon"):
        done = subprocess.run([os.path.join(BUILD, program)] + list(args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=clean_env(env), cwd=self.dir, timeout=LIMIT_S, text=True)
        return done

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def fails(self, code, text, *args):
        done = self.run_dfdaemon(*args)
        self.assertEqual(code, done.returncode, done.stderr)
        self.assertIn(text, done.stderr)
        self.assertEqual("", done.stdout)
        return done

    def test_43_a_named_file_must_exist(self):
        self.fails(1, "none.yaml: No such file or directory", "-c", "none.yaml")

    def test_44_45_usage(self):
        self.fails(2, "error: unexpected argument 'extra' found\n", "extra")
        self.fails(2, "error: invalid value 'foo' for '--log-max-file-size <LOG_MAX_FILE_SIZE>': couldn't parse \"foo\"",
                   "--log-max-file-size", "foo")

    def test_every_error_of_the_file_is_told(self):
        path = self.write("bad.yaml", "upload:\n  server:\n    port: 70000\ndownload:\n  concurrentPieceCount: 0\n  pieceTimeout: 30\n")
        done = self.fails(1, "bad.yaml:3:", "-c", path)
        lines = done.stderr.splitlines()
        self.assertEqual(3, len(lines), done.stderr)
        for line, key in zip(lines, ("upload.server.port", "download.concurrentPieceCount", "download.pieceTimeout")):
            self.assertRegex(line, r"^dfdaemon: .*/bad\.yaml:\d+:\d+: %s: " % re.escape(key))

    def test_check_and_print(self):
        path = self.write("ok.yaml", "upload:\n  server:\n    prot: 4000\n")
        done = self.run_dfdaemon("-c", path, "--check-config")
        self.assertEqual(0, done.returncode)
        self.assertIn("did you mean \"port\"", done.stderr)
        self.assertEqual(1, self.run_dfdaemon("-c", path, "--check-config", "--strict-config").returncode)
        done = self.run_dfdaemon("-c", path, "--print-config", "--set", "upload.server.port=4321")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn("4321", done.stdout)
        again = self.write("again.yaml", done.stdout)
        self.assertEqual(done.stdout, self.run_dfdaemon("-c", again, "--print-config").stdout)

    def test_the_name_dfget_daemon(self):
        done = self.run_dfdaemon("daemon", "--version", program="dfget")
        self.assertRegex(done.stdout, r"^dfdaemon \d")

    def test_46_a_second_daemon_of_the_same_configuration(self):
        with Cluster(BUILD, peers=0) as c:
            p = c.peers[0]
            done = self.run_dfdaemon("-c", p.config, "--dynconfig", p.dynconfig, "--console")
            self.assertEqual(1, done.returncode, done.stderr)
            self.assertRegex(done.stderr, r"(?m)^Error: .+")
            self.assertTrue(p.answers())

    def test_47_terminate(self):
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            c = Cluster(BUILD, peers=0)
            try:
                c.start()
                self.assertEqual(0, end(c.peers[0].process, sig))
                self.assertFalse(os.path.exists(c.peers[0].socket))
            finally:
                c.stop()

    def test_log_file_and_hangup(self):
        c = Cluster(BUILD, peers=0)
        p = c.peers[0]
        log = os.path.join(self.dir, "logs", "deep", "dfdaemon.log")
        try:
            p.process = subprocess.Popen([os.path.join(BUILD, "dfdaemon"), "-c", p.config, "--dynconfig", p.dynconfig,
                                          "--log-dir", os.path.dirname(log)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            p.wait_ready()
            wait_until(lambda: "started" in read(log), 10, "the start is logged")
            os.rename(log, log + ".moved")
            p.process.send_signal(signal.SIGHUP)
            wait_until(lambda: os.path.exists(log) and "log reopened" in read(log), 10, "the log is opened again")
            self.assertEqual(0, end(p.process))
            self.assertEqual(b"", p.process.stderr.read())
            p.process.stderr.close()
        finally:
            c.stop()


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=2 if "-v" in sys.argv else 1)
    r = program.result
    bad = len(r.failures) + len(r.errors)
    print("%d passed, %d failed" % (r.testsRun - bad - len(r.skipped), bad))
    sys.exit(1 if bad or r.testsRun == 0 else 0)
