"""A peer's storage directory that fills up to the last byte or inode, or is damaged: what is wrong is never served, is said, and is fetched
again; other downloads go on; nothing needs a restart."""
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from random import Random

from cluster import Cluster, Origin, finish, make_file, merge, run_tests, sha256, wait_for

MIB = 1 << 20


def content_files(peer, kind="tasks"):
    return [p for p in glob.glob(f"{peer.store}/content/{kind}/*/*") if os.path.isfile(p)]


def usage(path):
    """Bytes that du counts in the files below."""
    seen, total = set(), 0
    for root, _, names in os.walk(path):
        for name in names:
            st = os.lstat(os.path.join(root, name))
            if st.st_ino not in seen:
                seen.add(st.st_ino)
                total += st.st_blocks * 512
    return total


def store_check(build, directory):
    p = subprocess.run([f"{build}/dfctl", "store", "check", directory], capture_output=True, text=True, timeout=30)
    return p.returncode, p.stdout + p.stderr


class SmallDisk:
    """A tmpfs of its own; None where this user may not mount."""

    def __init__(self, options):
        self.dir = tempfile.mkdtemp(prefix="dragonfly-disk-")
        self.mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.dir], capture_output=True).returncode == 0

    def __enter__(self):
        return self if self.mounted else None

    def __exit__(self, *exc):
        if self.mounted:
            for _ in range(50):
                if subprocess.run(["umount", self.dir], capture_output=True).returncode == 0:
                    break
                time.sleep(0.1)
        os.rmdir(self.dir)


def full_disk(build, options, fill, words):
    """Ten downloads at once into a small file system that `fill` leaves too little of."""
    with SmallDisk(options) as disk:
        if disk is None:
            print("skipped: mounting a tmpfs needs root")
            return
        with tempfile.TemporaryDirectory() as www:
            sums = {f"f{i}": make_file(f"{www}/f{i}", 3 * MIB) for i in range(10)}
            sums["small"] = make_file(f"{www}/small", 1000)
            origin = Origin(build, www)
            try:
                with Cluster(build, peers=2, start=False) as c:
                    small, other = c.peers
                    small.store = f"{disk.dir}/store"
                    small.config["storage"]["dir"] = small.store
                    small.config["storage"]["keep"] = True
                    c.start()
                    ballast = fill(disk.dir)
                    runs = {n: small.dfget_start(origin.url("/" + n), c.path("out-" + n)) for n in sums if n != "small"}
                    beside = other.dfget_start(origin.url("/small"), c.path("beside"))
                    failed, passed = {}, 0
                    for name, p in runs.items():
                        rc, err = finish(p, 60, name)
                        if rc == 0:
                            passed += 1
                            assert sha256(c.path("out-" + name)) == sums[name], name
                        else:
                            failed[name] = err
                            assert not os.path.exists(c.path("out-" + name)), name
                    assert failed, "the disk was not full"
                    for err in failed.values():
                        assert any(w in err for w in words), err
                    assert finish(beside, 60, "beside")[0] == 0
                    # What others have is not hurt, and this peer lives.
                    assert small.process.poll() is None
                    for name in failed:
                        rc, err = other.dfget(origin.url("/" + name), c.path("other-" + name))
                        assert rc == 0 and sha256(c.path("other-" + name)) == sums[name], err
                    # Space is back: all works, and nobody was started again.
                    for path in ballast:
                        os.unlink(path)
                    subprocess.run(["mount", "-o", "remount,size=80m,nr_inodes=4000", disk.dir], check=True)
                    for name in failed:
                        rc, err = small.dfget(origin.url("/" + name), c.path("again-" + name))
                        assert rc == 0 and sha256(c.path("again-" + name)) == sums[name], err
                    small.stop()
                    rc, text = store_check(build, small.store)
                    assert rc == 0, text
                    print(f"{passed} fitted, {len(failed)} were refused, such as: {next(iter(failed.values())).strip()[:300]!r}")
            finally:
                origin.stop()


def test_last_byte(build):
    def fill(path):
        # Some of the ten fit, the last byte is taken.
        with open(f"{path}/ballast", "wb") as f:
            f.write(b"x" * (8 * MIB + 1))
        return [f"{path}/ballast"]
    full_disk(build, "size=20m", fill, ["no space left on device"])


def test_last_inode(build):
    def fill(path):
        names = []
        try:
            for i in range(10000):
                name = f"{path}/inode{i}"
                open(name, "w").close()
                names.append(name)
        except OSError:
            pass
        # Room for a few directories and files: some of ten tasks get on.
        keep, free = names[:-12], names[-12:]
        for name in free:
            os.unlink(name)
        return keep
    full_disk(build, "size=80m,nr_inodes=200", fill, ["no inodes left"])


def run_as_root(*command):
    return subprocess.run(command, capture_output=True, text=True).returncode == 0


class FailingDisk:
    """An ext4 of its own in a file, which becomes read-only as after an error of the disk; None where that cannot be."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="dragonfly-disk-")
        self.image = self.dir + ".img"

    def __enter__(self):
        with open(self.image, "wb") as f:
            f.truncate(64 * MIB)
        if not shutil.which("mkfs.ext4") or not run_as_root("mkfs.ext4", "-q", "-F", self.image) or not self.mount():
            return None
        return self if os.path.exists(self.trigger()) else None

    def mount(self):
        return run_as_root("mount", "-o", "loop,errors=remount-ro", self.image, self.dir)

    def trigger(self):
        device = subprocess.run(["findmnt", "-no", "SOURCE", self.dir], capture_output=True, text=True).stdout.strip()
        return f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error"

    def fail(self):
        with open(self.trigger(), "w") as f:
            f.write("test")

    def repair(self):
        assert run_as_root("umount", self.dir)
        subprocess.run(["fsck.ext4", "-fy", self.image], capture_output=True)
        assert self.mount()

    def __exit__(self, *exc):
        if os.path.ismount(self.dir):
            for _ in range(50):
                if run_as_root("umount", self.dir):
                    break
                time.sleep(0.1)
        os.rmdir(self.dir)
        os.unlink(self.image)


def test_disk_becomes_read_only(build):
    """What is there is served, what is new is refused with the reason; after a repair nothing that was synced is lost."""
    with FailingDisk() as disk:
        if disk is None:
            print("skipped: a loop mount of ext4 needs root and mkfs.ext4")
            return
        with tempfile.TemporaryDirectory() as www:
            sums = {n: make_file(f"{www}/{n}", 5 * MIB) for n in ("there", "new")}
            origin = Origin(build, www)
            try:
                with Cluster(build, peers=2, seed=False, start=False) as c:
                    peer, child = c.peers
                    peer.store = f"{disk.dir}/store"
                    peer.config["storage"]["dir"] = peer.store
                    peer.config["storage"]["keep"] = True
                    c.start()

                    def get(p, name):
                        rc, err = p.dfget(origin.url("/" + name), c.path("out"), "--overwrite")
                        if rc == 0:
                            assert sha256(c.path("out")) == sums[name], name
                            os.unlink(c.path("out"))
                        return rc, err

                    assert get(peer, "there") == (0, "")
                    os.sync()
                    disk.fail()
                    rc, err = get(peer, "new")
                    assert rc != 0 and "ead-only file system" in err and peer.store in err and not os.path.exists(c.path("out")), err
                    for p in (peer, child):
                        assert get(p, "there") == (0, ""), p.name
                    assert peer.process.poll() is None
                    peer.stop()
                    disk.repair()
                    peer.start()
                    origin.reset()
                    assert get(peer, "there") == (0, "") and origin.bytes() == 0
                    assert get(peer, "new") == (0, "")
                    peer.stop()
                    rc, text = store_check(build, peer.store)
                    assert rc == 0, text
            finally:
                origin.stop()


def test_target_is_read_only_or_full(build):
    """The message names path and cause; a file that was there is kept, nothing is left beside it, and the next try succeeds."""
    with SmallDisk("size=10m") as target:
        if target is None:
            print("skipped: mounting a tmpfs needs root")
            return
        with tempfile.TemporaryDirectory() as www:
            sums = {n: make_file(f"{www}/{n}", 5 * MIB) for n in ("first", "second")}
            origin = Origin(build, www)
            try:
                with Cluster(build, peers=1, seed=False) as c:
                    out = f"{target.dir}/out"
                    subprocess.run(["mount", "-o", "remount,ro", target.dir], check=True)
                    rc, err = c.peers[0].dfget(origin.url("/first"), out)
                    assert rc != 0 and "ead-only file system" in err and target.dir in err, err
                    subprocess.run(["mount", "-o", "remount,rw", target.dir], check=True)
                    rc, err = c.peers[0].dfget(origin.url("/first"), out)
                    assert rc == 0 and sha256(out) == sums["first"] and os.listdir(target.dir) == ["out"], err
                    with open(f"{target.dir}/ballast", "wb") as f:
                        f.write(b"x" * (4 * MIB))
                    rc, err = c.peers[0].dfget(origin.url("/second"), out, "--overwrite")
                    assert rc != 0 and "no space left on device" in err and out in err, err
                    assert sha256(out) == sums["first"] and sorted(os.listdir(target.dir)) == ["ballast", "out"]
                    os.unlink(f"{target.dir}/ballast")
                    rc, err = c.peers[0].dfget(origin.url("/second"), out, "--overwrite")
                    # The old one stays until the new one is whole.
                    assert rc == 0 and sha256(out) == sums["second"] and os.listdir(target.dir) == ["out"], err
            finally:
                origin.stop()


def test_two_callers_of_one_output(build):
    """Without --overwrite one of them gets the name and the other is told; with it the last one does. Never a mixture, and nothing beside it."""
    with tempfile.TemporaryDirectory() as www:
        sums = {n: make_file(f"{www}/{n}", 6 * MIB) for n in ("a", "b")}
        origin = Origin(build, www, rate=60 * MIB)
        try:
            with Cluster(build, peers=1, seed=False) as c:
                os.mkdir(c.path("out"))
                for flags in ([], ["--transfer-from-dfdaemon"], ["--overwrite"]):
                    runs = {n: c.peers[0].dfget_start(origin.url("/" + n), c.path("out/file"), *flags) for n in sums}
                    ends = {n: finish(p, 60, n) for n, p in runs.items()}
                    good = [n for n, (rc, _) in ends.items() if rc == 0]
                    assert os.listdir(c.path("out")) == ["file"] and sha256(c.path("out/file")) in [sums[n] for n in good], ends
                    if "--overwrite" in flags:
                        assert len(good) == 2, ends
                        continue
                    assert len(good) == 1 and all("exist" in err for rc, err in ends.values() if rc != 0), ends
                    os.unlink(c.path("out/file"))
        finally:
            origin.stop()


def test_budget(build):
    """x.storage.capacity is never exceeded; the longest unused goes for a new task; what can never fit is refused with both numbers."""
    with tempfile.TemporaryDirectory() as www:
        sums = {f"f{i}": make_file(f"{www}/f{i}", 3 * MIB) for i in range(6)}
        make_file(f"{www}/large", 20 * MIB)
        origin = Origin(build, www)
        try:
            with Cluster(build, peers=1, seed=False, config={"x": {"storage": {"capacity": "10MiB"}}}) as c:
                peer = c.peers[0]
                for name in sums:
                    rc, err = peer.dfget(origin.url("/" + name), c.path(name))
                    assert rc == 0 and sha256(c.path(name)) == sums[name], err
                    os.unlink(c.path(name))
                    assert usage(f"{peer.store}/content") <= 10 * MIB
                rc, err = peer.dfget(origin.url("/large"), c.path("large"))
                assert rc != 0 and "content_length=20971520, available=" in err, err
                # The first ones went.
                origin.reset()
                rc, err = peer.dfget(origin.url("/f5"), c.path("f5"))
                assert rc == 0 and origin.bytes() == 0, err
        finally:
            origin.stop()


def test_resumed_and_never_mixed(build):
    """After a kill only missing pieces move; when the origin's file changed meanwhile, nothing of the old one is in the output."""
    size = 32 * MIB
    for changes in (False, True):
        with tempfile.TemporaryDirectory() as www:
            want = make_file(f"{www}/a", size)
            origin = Origin(build, www, rate=25 * MIB)
            try:
                with Cluster(build, peers=1, seed=False, config={"storage": {"keep": True}}) as c:
                    peer = c.peers[0]
                    run = peer.dfget_start(origin.url("/a"), c.path("a"))
                    wait_for(lambda: origin.bytes() > size // 2, 20, "half of it moved")
                    peer.kill()
                    assert finish(run, 30, "dfget")[0] != 0 or not os.path.exists(c.path("a"))
                    if os.path.exists(c.path("a")):
                        os.unlink(c.path("a"))
                    if changes:
                        want = make_file(f"{www}/a", size)
                        os.utime(f"{www}/a", (1, 1))
                    peer.start()
                    origin.reset()
                    rc, err = peer.dfget(origin.url("/a"), c.path("a"))
                    assert rc == 0 and sha256(c.path("a")) == want, f"changes={changes}: {err}"
                    moved = origin.bytes()
                    assert moved >= size if changes else moved < size * 3 // 4, f"changes={changes}: {moved} bytes moved"
            finally:
                origin.stop()


def bytes_read(peer):
    """By calls on files; those on sockets do not count there."""
    with open(f"/proc/{peer.process.pid}/io") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("rchar:"))


def read_before_the_end(origin, peer, run, sent):
    """Stops the origin in the middle and sees whether what has come is read; None where the download was over before it stopped."""
    before = bytes_read(peer)
    wait_for(lambda: origin.bytes() > sent or run.poll() is not None, 30, "half of it moved")
    origin.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(200):
            if run.poll() is not None:
                return None
            if bytes_read(peer) - before > MIB:
                return True
            time.sleep(0.05)
        return False
    finally:
        origin.process.send_signal(signal.SIGCONT)


def test_output_that_is_a_link_is_not_read_back(build):
    """What was checked on its way in is linked without being read. With --digest it is read once, and while the download goes on."""
    size = 48 * MIB
    with tempfile.TemporaryDirectory() as www:
        want = make_file(f"{www}/plain", size)
        os.link(f"{www}/plain", f"{www}/verified")
        make_file(f"{www}/other", 9 * MIB)
        # Slow enough that it is not all over before the first look; the first pieces come before the last ones begin.
        origin = Origin(build, www, rate=30 * MIB)
        config = {"download": {"concurrentPieceCount": 4}}
        try:
            with Cluster(build, peers=1, seed=False, config=config, log_level="debug") as c:
                peer = c.peers[0]
                for name, flags, least, most in (("plain", [], 0, size // 8), ("verified", ["--digest", "sha256:" + want], size, size * 9 // 8)):
                    origin.reset()
                    before = bytes_read(peer)
                    run = peer.dfget_start(origin.url("/" + name), c.path(name), *flags)
                    if flags:
                        was_early = read_before_the_end(origin, peer, run, size // 2)
                    rc, err = finish(run, 60, name)
                    read = bytes_read(peer) - before
                    assert rc == 0 and sha256(c.path(name)) == want, err
                    assert any(os.path.samefile(c.path(name), f) for f in content_files(peer)), f"{name} is no link"
                    assert least <= read <= most, f"{name}: {read} bytes read"
                line = next(ln for ln in peer.log().splitlines() if "digest verified" in ln)
                after = int(line.rsplit("read_after_last_piece=", 1)[1].split()[0])
                print(f"   {read / MIB:.1f} of {size / MIB:.0f} MiB read, {after / MIB:.1f} MiB of it after the last piece")
                assert was_early is not False
                # A wrong one is told, and nothing delivered: of content that is there, and of a download.
                for name in ("plain", "other"):
                    rc, err = peer.dfget(origin.url("/" + name), c.path("wrong"), "--digest", "sha256:" + "0" * 64)
                    assert rc != 0 and "digest mismatch" in err and not os.path.exists(c.path("wrong")), err
        finally:
            origin.stop()


# ---- ten kinds of damage ----

def flip(path, at, leaves_trace=False):
    """One bit, without a trace in the file's times, as a bad disk does it, or with one, as a program."""
    st = os.stat(path)
    os.chmod(path, 0o644)
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x10]))
    if not leaves_trace:
        os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def truncate(files, peer):
    os.truncate(files[0], os.path.getsize(files[0]) // 2)


def extend(files, peer):
    with open(files[0], "ab") as f:
        f.write(b"more than there should be")


def flip_body(files, peer):
    # In one run, a piece is read against its checksum once; after that the file's times and size tell.
    flip(files[0], os.path.getsize(files[0]) // 2, leaves_trace=peer.process is not None)


def flip_header(files, peer):
    name = files[0].replace("/content/", "/meta/") + ".m"
    flip(name, 20)


def flip_journal(files, peer):
    flip(files[0].replace("/content/", "/meta/") + ".p", 17)


def swap(files, peer):
    os.rename(files[0], files[0] + "-")
    os.rename(files[1], files[0])
    os.rename(files[0] + "-", files[1])


def delete_file(files, peer):
    os.unlink(files[0])


def delete_content(files, peer):
    shutil.rmtree(f"{peer.store}/content")


def delete_all(files, peer):
    shutil.rmtree(peer.store)


def old_record(files, peer):
    # A record of a version that is none: damaged.
    name = files[0].replace("/content/", "/meta/") + ".m"
    with open(name, "r+b") as f:
        f.seek(4)
        f.write(b"\x00\x00")


def newer_record(files, peer):
    import struct
    name = files[0].replace("/content/", "/meta/") + ".m"
    with open(name, "rb") as f:
        body = bytearray(f.read())
    body[4:6] = b"\x00\x02"
    table = []
    for i in range(256):
        v = i
        for _ in range(8):
            v = v >> 1 ^ (0x82F63B78 if v & 1 else 0)
        table.append(v)
    crc = 0xFFFFFFFF
    for b in body[:-4]:
        crc = table[(crc ^ b) & 255] ^ crc >> 8
    body[-4:] = struct.pack(">I", crc ^ 0xFFFFFFFF)
    with open(name, "wb") as f:
        f.write(body)


# What, and whether a word in the log (WARN, ERROR) or of dfctl store check tells of it.
DAMAGES = [truncate, extend, flip_body, flip_header, flip_journal, swap, delete_file, delete_content, delete_all, old_record, newer_record]
QUIET = {"delete_all"}                              # nothing is left that could be missed
UNSEEN = (swap, delete_file, delete_content, delete_all)    # open files keep their bytes


def test_damage(build):
    """Each kind to a stopped peer, and those that one can do while it runs: a child and a caller get right bytes."""
    with tempfile.TemporaryDirectory() as www:
        size = 5 * MIB + 12345
        sums = {n: make_file(f"{www}/{n}", size) for n in ("a", "b")}
        origin = Origin(build, www)
        try:
            with Cluster(build, peers=2, seed=False, start=False) as c:
                peer, child = c.peers
                peer.config["storage"]["keep"] = True
                child.config["storage"]["keep"] = False
                c.start()
                for damage in DAMAGES:
                    for running in (False, True):
                        if running and damage in (flip_header, flip_journal, old_record, newer_record):
                            continue        # read at a start only
                        one_damage(build, c, peer, child, origin, sums, damage, running)
        finally:
            origin.stop()


def one_damage(build, c, peer, child, origin, sums, damage, running):
    what = f"{damage.__name__}, {'running' if running else 'stopped'}"
    for name, want in sums.items():
        rc, err = peer.dfget(origin.url("/" + name), c.path(name), "--overwrite")
        assert rc == 0 and sha256(c.path(name)) == want, f"before {what}: {err}"
        os.unlink(c.path(name))
    files = content_files(peer)
    assert len(files) == 2, f"before {what}: {files}"
    mark = len(peer.log())
    if not running:
        peer.stop(signal.SIGKILL)
    damage(files, peer)
    if not running:
        if damage is not delete_all and damage is not extend:
            rc, text = store_check(build, peer.store)
            assert ("damaged" in text or "foreign" in text or "missing" in text) and rc in (0, 1), f"{what}: {text}"
        peer.start()
    # The child first: it may take pieces from the peer whose store is damaged.
    for name, want in sums.items():
        rc, err = child.dfget(origin.url("/" + name), c.path("child-" + name))
        assert rc == 0 and sha256(c.path("child-" + name)) == want, f"{what}, child: {err}"
        os.unlink(c.path("child-" + name))
    for name, want in sums.items():
        rc, err = peer.dfget(origin.url("/" + name), c.path(name))
        assert rc == 0 and sha256(c.path(name)) == want, f"{what}: {err}"
        os.unlink(c.path(name))
    said = [line for line in peer.log()[mark:].splitlines() if " WARN " in line or " ERROR " in line]
    assert said or damage.__name__ in QUIET or (running and damage in UNSEEN), f"{what}: nothing was said"
    # Afterwards, and after another start, all is as it was.
    peer.stop()
    if not running:
        rc, text = store_check(build, peer.store)
        assert rc == 0, f"after {what}: {text}"
    shutil.rmtree(peer.store)
    peer.start()
    child.stop(signal.SIGKILL)
    child.start()


def give(path, user):
    for root, _, names in os.walk(path):
        for name in [root] + [os.path.join(root, n) for n in names]:
            os.chown(name, user, user, follow_symlinks=False)


def test_wrong_owner(build):
    """Files of another user under a daemon that is not root: said, and fetched again into its own."""
    if os.geteuid() != 0:
        print("skipped: giving files away needs root")
        return
    nobody = 65534
    with tempfile.TemporaryDirectory() as www:
        sums = {n: make_file(f"{www}/{n}", 2 * MIB) for n in ("a", "b")}
        origin = Origin(build, www)
        try:
            with Cluster(build, peers=1, seed=False, config={"storage": {"keep": True}}) as c:
                peer = c.peers[0]
                for name in sums:
                    rc, err = peer.dfget(origin.url("/" + name), c.path(name))
                    assert rc == 0, err
                    os.unlink(c.path(name))
                peer.stop()
                os.chmod(c.dir, 0o755)
                give(peer.home, nobody)
                # Where the build lies may be closed to others.
                program = shutil.copy(f"{build}/dfdaemon", c.path("dfdaemon"))
                first, second = content_files(peer)
                os.chown(first, 0, 0)
                os.chmod(first, 0o600)
                record = second.replace("/content/", "/meta/") + ".m"
                os.chown(record, 0, 0)
                os.chmod(record, 0o600)
                with open(peer.log_path, "a") as log:
                    peer.process = subprocess.Popen(
                        [program, "--config", f"{peer.home}/dfdaemon.yaml", "--dynconfig", f"{peer.home}/dynconfig.yaml",
                         "--console"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=nobody, group=nobody, extra_groups=[])
                peer.wait_ready()
                for name, want in sums.items():
                    rc, err = peer.dfget(origin.url("/" + name), c.path(name), "--transfer-from-dfdaemon")
                    assert rc == 0 and sha256(c.path(name)) == want, f"{name}: {err}\n{peer.log()[-1000:]}"
                assert "task record not read, left alone" in peer.log()
                assert "content is missing or not ours" in peer.log() or "content file is missing" in peer.log(), peer.log()[-2000:]
        finally:
            origin.stop()


def test_linked_output_edited_by_its_user(build):
    with tempfile.TemporaryDirectory() as www:
        want = make_file(f"{www}/a", 6 * MIB)
        origin = Origin(build, www)
        try:
            with Cluster(build, peers=2, seed=False) as c:
                peer, child = c.peers
                rc, err = peer.dfget(origin.url("/a"), c.path("mine"))
                assert rc == 0 and os.path.samefile(c.path("mine"), content_files(peer)[0]), err
                os.chmod(c.path("mine"), 0o644)
                with open(c.path("mine"), "r+b") as f:
                    f.seek(MIB)
                    f.write(b"edited by its user")
                edited = sha256(c.path("mine"))
                rc, err = child.dfget(origin.url("/a"), c.path("child"))
                assert rc == 0 and sha256(c.path("child")) == want, err
                rc, err = peer.dfget(origin.url("/a"), c.path("second"))
                assert rc == 0 and sha256(c.path("second")) == want, err
                assert sha256(c.path("mine")) == edited
        finally:
            origin.stop()


def test_damaged_parent_beside_a_good_one(build):
    """One of two parents has rotten pieces: children get all from the other, and the first one heals."""
    with tempfile.TemporaryDirectory() as www:
        want = make_file(f"{www}/a", 24 * MIB)
        origin = Origin(build, www)
        try:
            with Cluster(build, peers=3, seed=False, config={"storage": {"keep": True}}) as c:
                bad, good, child = c.peers
                for peer in (bad, good):
                    rc, err = peer.dfget(origin.url("/a"), c.path("out"), "--overwrite")
                    assert rc == 0, err
                    os.unlink(c.path("out"))
                file = content_files(bad)[0]
                bad.kill()
                for at in range(0, 24 * MIB, 2 * MIB):
                    flip(file, at)
                bad.start()
                wait_for(lambda: bad.metric("dragonfly_scheduler_hosts") >= 3, 15, "all are announced again")
                # A new scheduler knows of no parents; those who have the task tell it when they are asked for it.
                rc, err = good.dfget(origin.url("/a"), c.path("good"))
                assert rc == 0 and sha256(c.path("good")) == want, err
                url = origin.url("/a")
                rc, err = child.dfget(url, c.path("child"))
                assert rc == 0 and sha256(c.path("child")) == want, err
                rc, err = bad.dfget(url, c.path("bad"))
                assert rc == 0 and sha256(c.path("bad")) == want, err
                assert "piece dropped" in bad.log() and "offset=" in bad.log()
                bad.stop()
                rc, text = store_check(build, bad.store)
                assert rc == 0, text
        finally:
            origin.stop()


def kill_round(c, origin, peer, child, sums, number, random):
    """A mixed load that ends with kill -9: downloads, a child fed by this peer, a delete, and collections for the budget."""
    names = random.sample(sorted(sums), 4)
    runs = {n: peer.dfget_start(origin.url("/" + n), c.path(f"out-{number}-{n}")) for n in names}
    fed = child.dfget_start(origin.url("/" + random.choice(names)), c.path(f"fed-{number}"), "--overwrite")
    held = content_files(peer)
    if held:
        subprocess.run([f"{c.build}/dfctl", "task", "rm", "-e", peer.socket, os.path.basename(random.choice(held))], capture_output=True,
                       timeout=30)
    time.sleep(random.uniform(0.01, 0.5))           # where the kill falls is left to chance
    peer.kill()
    for name, p in runs.items():
        rc, _ = finish(p, 60, name)
        out = c.path(f"out-{number}-{name}")
        assert not os.path.exists(out) or sha256(out) == sums[name], f"kill {number}: {name}"
        assert rc != 0 or os.path.exists(out), f"kill {number}: {name}"
        if os.path.exists(out):
            os.unlink(out)
    finish(fed, 60, "fed")
    if os.path.exists(c.path(f"fed-{number}")):
        assert sha256(c.path(f"fed-{number}")) in sums.values(), f"kill {number}: the child's"
        os.unlink(c.path(f"fed-{number}"))
    # All that it holds is hashed; what a kill leaves is rubbish at most.
    rc, text = store_check(c.build, peer.store)
    assert rc == 0 and " 0 damaged" in text and " 0 foreign" in text, f"kill {number}: {text}"


def test_killed_again_and_again(build):
    """kill -9 under downloads, serves, deletes and collections: what was delivered is right, the store whole after each start, and
    accounted for to the block. DAEMON_KILLS=n for more of them."""
    kills, seed = int(os.environ.get("DAEMON_KILLS", 6)), int(os.environ.get("KILL_SEED", time.time_ns()))
    random, slowest = Random(seed), 0
    print(f"KILL_SEED={seed}")
    with tempfile.TemporaryDirectory() as www:
        sums = {f"f{i}": make_file(f"{www}/f{i}", (3 * i + 1) * MIB + i) for i in range(8)}
        origin = Origin(build, www, rate=60 * MIB)
        config = {"storage": {"keep": True}, "x": {"storage": {"capacity": "60MiB"}}}
        try:
            with Cluster(build, peers=2, seed=False, start=False) as c:
                scheduler, peer = c.peers
                merge(peer.config, config)
                c.start()
                for number in range(kills):
                    kill_round(c, origin, peer, scheduler, sums, number, random)
                    begin = time.monotonic()
                    peer.start()
                    slowest = max(slowest, time.monotonic() - begin)
                    wait_for(lambda: peer.metric("dragonfly_client_x_storage_bytes") == usage(f"{peer.store}/content"), 30,
                             "accounting equals du")
                    assert usage(f"{peer.store}/content") <= 60 * MIB
                for name, want in sums.items():
                    rc, err = peer.dfget(origin.url("/" + name), c.path(name))
                    assert rc == 0 and sha256(c.path(name)) == want, err
                    os.unlink(c.path(name))
                peer.stop()
                rc, text = store_check(build, peer.store)
                assert rc == 0 and " 0 rubbish, 0 foreign" in text, text
        finally:
            origin.stop()
    print(f"{kills} kills; the slowest start took {slowest:.2f} s until the socket answered")


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
