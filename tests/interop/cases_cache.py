"""dfcache, dfctl and persistent cache tasks: tools and daemons of both makes, the scheduler in Go and ours."""
import hashlib
import json
import subprocess
import time

from lab import ANSI, Lab
from cluster import make_file, sha256, wait_for
from registry import Registry

MIB = 1 << 20
REPLICAS_S = 20
PREHEAT_S = 40


class Tools:
    """The tools of one make."""

    def __init__(self, programs, make, seconds):
        self.make = make
        self.seconds = seconds
        self.paths = {name: f"{programs.build}/{name}" if make == "ours" else getattr(programs, name) for name in ("dfcache", "dfctl")}

    def run(self, name, *args):
        """(exit code, standard output, all that was said) without colours"""
        p = subprocess.run([self.paths[name], *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=self.seconds,
                           env={"TZ": "UTC", "PATH": "/usr/bin:/bin"})
        return p.returncode, ANSI.sub("", p.stdout), ANSI.sub("", p.stdout + p.stderr)

    def dfcache(self, peer, *args):
        return self.run("dfcache", *args, "-e", peer.socket)

    def dfctl(self, peer, *args):
        return self.run("dfctl", *args, "-e", peer.socket)


def said(text):
    """The lines of an error block that tell something."""
    return [x.rstrip() for x in text.splitlines() if x.strip("* ") and not x.startswith(("Warning:", "The file is hashed"))]


def replicas(tools, lab, task, count):
    def counted():
        code, out, _ = tools["ours"].dfcache(lab.all[0], "stat", task, "--json")
        return code == 0 and json.loads(out)[0]["current_persistent_replica_count"] == count
    wait_for(counted, REPLICAS_S, f"{count} replicas", step=0.2)


def import_and_export(run, lab, tools, seconds):
    """Imports at a daemon of each make with the tool of each make; everybody gets the bytes; both tools tell the same."""
    wrong = []
    path = lab.path("content")
    digest = make_file(path, 21 * MIB + 7)
    for importer in {p.is_real: p for p in lab.all}.values():
        for make, tool in tools.items():
            label = f"import by {make} tool at {importer.name}"
            name = f"{make}-{importer.name}"
            code, out, text = tool.dfcache(importer, "import", path, "--content-for-calculating-task-id", name)
            assert code == 0, f"{label}: {text}"
            task = hashlib.sha256(name.encode()).hexdigest()
            assert make == "real" or out == task + "\n", f"{label}: {out}"
            replicas(tools, lab, task, 2)
            tables = [t.dfcache(lab.all[-1], "stat", task)[1] for t in tools.values()]
            if tables[0] != tables[1]:
                wrong.append(f"stat differs:\n{tables[0]}{tables[1]}")
            for i, p in enumerate(lab.all):
                for getter in tools.values():
                    for flags in ([], ["--transfer-from-dfdaemon"]):
                        target = lab.path(f"out-{name}-{i}-{getter.make}-{len(flags)}")
                        code, _, text = getter.dfcache(p, "export", task, "-O", target, *flags)
                        if code != 0 or sha256(target) != digest:
                            wrong.append(f"{label}: export by {getter.make} tool at {p.name} {flags}: {code} {said(text)}")
            # A second import is refused by the scheduler, whoever asks.
            answers = [t.dfcache(importer, "import", path, "--content-for-calculating-task-id", name) for t in tools.values()]
            if {a[0] for a in answers} != {1} or said(answers[0][2]) != said(answers[1][2]):
                wrong.append(f"{label}: {answers}")
            print(f"    ok {label}", flush=True)
    for p in lab.all:
        for what in ("task", "persistent-task", "persistent-cache-task"):
            lists = [t.dfctl(p, what, "ls") for t in tools.values()]
            if lists[0] != lists[1] or lists[0][0] != 0:
                wrong.append(f"dfctl {what} ls at {p.name} differs:\n{lists[0][1]}{lists[1][1]}")
    refusals(lab, tools, wrong)
    assert not wrong, "\n      ".join(wrong)


def refusals(lab, tools, wrong):
    """What no daemon has: the same exit code from both tools, and the same words about it."""
    unknown = "0" * 64
    for p in {p.is_real: p for p in lab.all}.values():
        for args in (["dfcache", "stat", unknown], ["dfctl", "task", "rm", unknown], ["dfcache", "export", unknown, "-O", lab.path("none")]):
            answers = [t.run(*args, "-e", p.socket) for t in tools.values()]
            # The real export reports the absent output instead, where the daemon did not make it.
            same = args[1] == "export" or said(answers[0][2]) == said(answers[1][2])
            if {a[0] for a in answers} != {1} or not same:
                wrong.append(f"{args[:2]} at {p.name}: {[said(a[2]) for a in answers]}")


def add(case, seconds, seeds_known_s):
    def both(programs):
        return {make: Tools(programs, make, seconds) for make in ("real", "ours")}

    @case("scheduler", "dfdaemon", "dfcache", "dfctl", "redis")
    def go_persistent_cache(run):
        """Through the scheduler in Go: two daemons of each make."""
        with Lab(run.programs, ["ours-a", "real-b", "ours-c", "real-d"], go=True, redis=True) as lab:
            import_and_export(run, lab, both(run.programs), seconds)

    @case("dfdaemon", "dfcache", "dfctl")
    def ours_persistent_cache(run):
        """Through the scheduler inside a daemon of ours."""
        with Lab(run.programs, ["ours-a", "real-b", "ours-c", "real-d"]) as lab:
            import_and_export(run, lab, both(run.programs), seconds)

    def preheated(lab, tools, origin, port):
        for i, (make, tool) in enumerate(tools.items()):
            url = origin.url(f"/gen/12M/{90 + i}/f")
            code, _, text = tool.run("dfctl", "task", "preheat", url, "--scheduler-endpoint", f"http://127.0.0.1:{port}", "--tag", "")
            assert code == 0 and "Preheat Succeeded!" in text, f"{make}: {text}"

            def held():
                out = tools["ours"].dfctl(lab.seed, "task", "ls", "--json")[1]
                return sum(t["finished_at"] is not None and t["content_length"] == 12 * MIB for t in json.loads(out)) == i + 1
            wait_for(held, PREHEAT_S, f"the seed has what the {make} dfctl preheated", step=0.2)
            print(f"    ok preheat by {make} dfctl", flush=True)

    @case("scheduler", "dfdaemon", "dfctl", "redis")
    def go_preheat_of_our_seed(run):
        """A preheat through the scheduler in Go reaches a seed of ours."""
        with Lab(run.programs, ["ours-seed", "real-a"], go=True, redis=True) as lab:
            time.sleep(seeds_known_s)
            preheated(lab, both(run.programs), run.origin, lab.scheduler_port)

    @case("dfdaemon", "dfctl")
    def our_preheat_of_a_real_seed(run):
        """A preheat through our scheduler reaches a real seed."""
        with Lab(run.programs, ["ours-a", "real-seed"]) as lab:
            preheated(lab, both(run.programs), run.origin, lab.scheduler_port)

    @case("dfdaemon", "dfctl")
    def our_preheat_of_an_image(run):
        """The layers of an image come to a real seed under the ids that it gives them, with the token that our scheduler got."""
        with Lab(run.programs, ["ours-a", "real-seed"], config={"x": {"scheduler": {"preheat": {"allowLoopback": True}}}}) as lab:
            registry = Registry(lab.dir)
            try:
                want = []
                tools = both(run.programs)
                for (make, tool), arch in zip(tools.items(), ("amd64", "arm64")):
                    code, _, text = tool.run("dfctl", "task", "preheat", f"oci://{registry.host}/team/app:1.2", "--platform", f"linux/{arch}",
                                             "--username", "user", "--password", "secret", "--insecure-skip-verify",
                                             "--scheduler-endpoint", f"http://127.0.0.1:{lab.scheduler_port}")
                    assert code == 0 and "Preheat Succeeded!" in text, f"{make}: {text}"
                    want = sorted(want + registry.image(arch))

                    def held():
                        out = tools["ours"].dfctl(lab.seed, "task", "ls", "--json")[1]
                        return sorted(t["id"] for t in json.loads(out) if t["finished_at"] is not None) == want
                    wait_for(held, PREHEAT_S, f"the seed has the layers that the {make} dfctl preheated", step=0.2)
                    print(f"    ok preheat of an image by {make} dfctl", flush=True)
            finally:
                registry.stop()
