"""dfinit: files of container runtimes in, files out; twice is once; what it does not understand it leaves alone.
usage: SCRIPT BUILD_DIR [NAME...]"""
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile

from cluster import run_tests

GRPC = 'plugins."io.containerd.grpc.v1.cri"'
IMAGES = 'plugins."io.containerd.cri.v1.images"'
HOSTS = '''server = "https://index.docker.io"

[host."http://127.0.0.1:4001"]
capabilities = ["pull", "resolve"]
skip_verify = true
ca = ["a.crt"]

[host."http://127.0.0.1:4001".header]
X-Dragonfly-Registry = "https://index.docker.io"
'''
DEFAULT = '''[host."http://127.0.0.1:4001"]
capabilities = ["pull", "resolve"]
'''
REGISTRIES = '''unqualified-search-registries = ["registry.example.com"]

[[registry]]
prefix = "registry.example.com"
location = "registry.example.com"

[[registry.mirror]]
insecure = true
location = "127.0.0.1:4001"
'''


def equal(got, expected, what=""):
    if got != expected:
        raise AssertionError("%s: %r, expected %r" % (what, got, expected))


def contains(text, part, what=""):
    if part not in text:
        raise AssertionError("%s: %r is not in %r" % (what, part, text))


class Home:
    """A directory with files of runtimes, and dfinit in it."""

    def __init__(self, build):
        self.program = os.path.join(os.path.abspath(build), "dfinit")
        self.dir = tempfile.mkdtemp(prefix="dragonfly-test-")
        self.sentinel = self.path("run/dfinit/restart-required")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", newline="") as f:
            f.write(text)

    def read(self, name):
        with open(self.path(name), newline="") as f:
            return f.read()

    def exists(self, name):
        return os.path.exists(self.path(name))

    def run(self, config, *flags):
        """(exit code, standard output, standard error); @ in the configuration is the directory."""
        self.write("dfinit.yaml", config.replace("@", self.dir))
        p = subprocess.run([self.program, "-c", self.path("dfinit.yaml"), "--restart-sentinel", self.sentinel, *flags],
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=20, text=True)
        return p.returncode, p.stdout, p.stderr

    def done(self, config, *flags):
        code, out, err = self.run(config, *flags)
        equal((code, err if "--console" not in flags else ""), (0, ""), "dfinit")
        return out


CONTAINERD = '''
containerRuntime:
  containerd:
    configPath: @/config.toml
    registries:
      - hostNamespace: docker.io
        serverAddr: https://index.docker.io
        skipVerify: true
        ca: [a.crt]
'''


def test_containerd_with_a_directory(build):
    with Home(build) as h:
        config = f'# mine\nversion = 2\n[{GRPC}.registry]\n  config_path = "{h.dir}/certs:/other"\n'
        h.write("config.toml", config)
        out = h.done(CONTAINERD, "--console")
        contains(out, f"unchanged: {h.dir}/config.toml")
        contains(out, f"changed: {h.dir}/certs/docker.io/hosts.toml")
        equal(h.read("config.toml"), config, "config.toml is the same byte for byte")
        equal(h.read("certs/docker.io/hosts.toml"), HOSTS)
        equal(h.read("certs/_default/hosts.toml"), DEFAULT)
        equal(os.path.exists(h.sentinel), False, "no restart for hosts.toml")
        equal(h.exists("config.toml.dfinit.bak"), False, "no backup of what stays")
        again = h.done(CONTAINERD, "--console")
        equal([line for line in again.splitlines() if "changed: " in line and "unchanged: " not in line], [], "twice is once")
        equal((again.count("unchanged: "), os.path.exists(h.sentinel)), (3, False), "nothing to restart for")


def containerd_changed(h, config, text, plugin=None):
    """Runs on config.toml with an empty path; where dfinit would put hosts.toml cannot be written by a test, so only the text is
    looked at, by the difference shown."""
    h.write("config.toml", text)
    return h.done(config, "--dry-run")


def test_containerd_of_both_versions(build):
    with Home(build) as h:
        for version, plugin in ((2, GRPC), (3, IMAGES)):
            text = f"# a\nversion = {version}\n\n[{plugin}.registry]\n  config_path = \"\" # b\n\n[debug]\n  level = \"info\"\n"
            diff = containerd_changed(h, CONTAINERD, text)
            contains(diff, '-  config_path = "" # b\n+  config_path = "/etc/containerd/certs.d" # b\n')
            contains(diff, "+++ /etc/containerd/certs.d/docker.io/hosts.toml\n")
            equal(h.read("config.toml"), text, "a dry run changes nothing")
        equal(os.path.exists(h.sentinel), False, "nor asks for a restart")
        patch = diff[:diff.index("--- ", 5)]
        p = subprocess.run(["patch", "-s", "-d", "/", "-p0"], input=patch, text=True, capture_output=True) if shutil.which("patch") else None
        if p:
            equal((p.returncode, h.read("config.toml")), (0, text.replace('""', '"/etc/containerd/certs.d"')), "patch takes the difference")


def test_containerd_keeps_credentials(build):
    with Home(build) as h:
        text = (f'version = 2\n[{GRPC}.registry]\n[{GRPC}.registry.mirrors."docker.io"]\nendpoint = ["x"]\n'
                f'[{GRPC}.registry.configs.x.auth]\nusername = "u"\n')
        diff = containerd_changed(h, CONTAINERD, text)
        contains(diff, "-endpoint")
        contains(diff, f" [{GRPC}.registry.configs.x.auth]")
        contains(diff, '+  config_path = "/etc/containerd/certs.d"')
        contains(diff, ' username = "u"')


def test_containerd_defaults(build):
    with Home(build) as h:
        h.write("config.toml", f'version = 3\n[{IMAGES}.registry]\nconfig_path = "{h.dir}/certs"\n')
        h.done("proxy:\n  addr: http://10.0.0.1:4001\ncontainerRuntime: {containerd: {configPath: @/config.toml}}\n")
        contains(h.read("certs/docker.io/hosts.toml"), 'X-Dragonfly-Registry = "https://index.docker.io"')
        contains(h.read("certs/_default/hosts.toml"), '[host."http://10.0.0.1:4001"]')
        h.done("containerRuntime: {containerd: {configPath: @/config.toml, proxyAllRegistries: false, registries: []}}\n")


CRIO = '''
containerRuntime:
  containerd: null
  docker: ~
  crio:
    configPath: @/sub/registries.conf
    unqualifiedSearchRegistries: ["registry.example.com"]
    registries:
      - prefix: registry.example.com
        location: registry.example.com
'''


def test_crio_and_podman(build):
    for config in (CRIO, CRIO.replace("crio", "podman")):
        with Home(build) as h:
            contains(h.done(config, "--console"), f"changed: {h.dir}/sub/registries.conf")
            equal(h.read("sub/registries.conf"), REGISTRIES)
            equal(os.path.exists(h.sentinel), True, "a restart is asked for")
            equal(os.path.getsize(h.sentinel), 0)
            os.remove(h.sentinel)
            contains(h.done(config, "--console"), f"unchanged: {h.dir}/sub/registries.conf")
            equal(os.path.exists(h.sentinel), False, "not by a run that changes nothing")
            equal(h.exists("sub/registries.conf.dfinit.bak"), False, "there was nothing before")


def test_registries_of_others_stay(build):
    with Home(build) as h:
        before = "# ours\nshort-name-mode = \"enforcing\"\n\n[[registry]]\nlocation = \"a.example\"\nblocked = true\n"
        h.write("sub/registries.conf", before)
        os.chmod(h.path("sub/registries.conf"), 0o640)
        h.done(CRIO)
        after = h.read("sub/registries.conf")
        for line in before.splitlines():
            contains(after, line + "\n")
        contains(after, 'prefix = "registry.example.com"')
        equal(h.read("sub/registries.conf.dfinit.bak"), before, "the backup")
        equal(stat.S_IMODE(os.stat(h.path("sub/registries.conf")).st_mode), 0o640, "the mode")
        h.done(CRIO.replace('"registry.example.com"', '"other.example"'))
        contains(h.read("sub/registries.conf"), '"other.example"')
        equal(h.read("sub/registries.conf.dfinit.bak"), before, "the backup is of before the first change")
        equal(sorted(os.listdir(h.path("sub"))), ["registries.conf", "registries.conf.dfinit.bak"], "nothing else is left")


DOCKER = "containerRuntime: {docker: {configPath: @/daemon.json}}\n"


def test_docker(build):
    with Home(build) as h:
        h.done(DOCKER)
        proxy = "http://127.0.0.1:4001"
        equal(json.loads(h.read("daemon.json")), {"proxies": {"http-proxy": proxy, "https-proxy": proxy}})
        before = '{\n  "log-driver": "journald",\n  "proxies": {\n    "no-proxy": "*.local"\n  }\n}\n'
        h.write("daemon.json", before)
        h.done(DOCKER)
        equal(json.loads(h.read("daemon.json")), {"log-driver": "journald", "proxies": {
            "no-proxy": "*.local", "http-proxy": proxy, "https-proxy": proxy}})
        equal(h.read("daemon.json.dfinit.bak"), before)
        os.remove(h.sentinel)
        contains(h.done(DOCKER, "--console"), "unchanged")
        equal(os.path.exists(h.sentinel), False)
        h.write("daemon.json", '{"a":1,}')
        code, _, err = h.run(DOCKER)
        equal(code, 1)
        contains(err, f"Error: {h.dir}/daemon.json: ParseError cause: ")
        equal(h.read("daemon.json"), '{"a":1,}', "the file is untouched")


def test_links_are_followed(build):
    with Home(build) as h:
        h.write("real/daemon.json", "{}")
        os.symlink("real/daemon.json", h.path("daemon.json"))
        h.done(DOCKER)
        equal(os.path.islink(h.path("daemon.json")), True, "the link stays")
        contains(h.read("real/daemon.json"), "https-proxy")


def test_all_runtimes_are_done(build):
    with Home(build) as h:
        h.write("config.toml", "broken = [")
        code, _, err = h.run(CONTAINERD.rstrip() + "\n  docker: {configPath: @/daemon.json}\n" + CRIO[CRIO.index("  crio"):])
        equal(code, 1, "one failed")
        contains(err, f"Error: {h.dir}/config.toml: line 1: ")
        contains(h.read("daemon.json"), "https-proxy", "the others are done")
        equal(h.read("sub/registries.conf"), REGISTRIES)
        equal(os.path.exists(h.sentinel), True)


def test_nothing_configured_is_fine(build):
    with Home(build) as h:
        for config in ("", "proxy: {}\n", "containerRuntime:\n", "containerRuntime: {containerd: null}\n"):
            equal(h.done(config), "")
        equal(os.path.exists(h.sentinel), False)


def test_wrong_configurations_are_refused(build):
    rows = (("containerRuntime: {docker: 1}", "docker must be a map"), ("containerRuntime: [a]", "containerRuntime must be a map"),
            ("a: [", "dfinit.yaml"), ("containerRuntime: {docker: {configPath: x}}", "configPath must be an absolute path"),
            ("proxy: {addr: x}\ncontainerRuntime: {docker: {}}", "proxy.addr must be http://host:port"),
            ("containerRuntime: {containerd: {registries: [{hostNamespace: a/b}]}}", "hostNamespace must be a host without /"),
            ("containerRuntime: {containerd: {registries: [{hostNamespace: '..'}]}}", "hostNamespace"),
            ("containerRuntime: {containerd: {registries: [{hostNamespace: a, serverAddr: b}]}}", "serverAddr must be"),
            ("containerRuntime: {containerd: {registries: [{hostNamespace: a, skipVerify: maybe}]}}", "skipVerify must be true or false"),
            ("containerRuntime: {crio: {registries: [{prefix: a}]}}", "registries need prefix and location"))
    with Home(build) as h:
        for config, why in rows:
            code, out, err = h.run(config)
            equal((code, out), (1, ""), config)
            contains(err, "Error: " + h.path("dfinit.yaml"), config)
            contains(err, why, config)
        p = subprocess.run([h.program, "-c", h.path("none.yaml")], capture_output=True, text=True)
        equal(p.returncode, 1)
        contains(p.stderr, "none.yaml")
        equal(subprocess.run([h.program, "--what"], capture_output=True).returncode, 2)
        contains(subprocess.run([h.program, "-V"], capture_output=True, text=True).stdout, "dfinit ")
        for flags in ((), ("--console",), ("--dry-run",)):
            code, _, err = h.run("proxi: 1\ncontainerRuntime: {docker: {configPath: @/daemon.json, x: 1}}\n", *flags)
            equal(code, 0)
            contains(err, "key=proxi")
            contains(err, "key=containerRuntime.docker.x")


if __name__ == "__main__":
    sys.exit(run_tests(globals(), sys.argv))
