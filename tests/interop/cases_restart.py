"""Ten real peers and a real seed lose two parents and their scheduler, which comes back at once: ours, and the one in Go in the same way.
What is killed is killed by progress, not by the clock. Which lines the peers write is partly luck: ours may cause every line that the Go
scheduler caused in one of several runs, in what words a connection's end is told does not count, and what needs a call in the very moment
of a death is let pass in that moment alone."""
import datetime
import re
import time

from lab import Lab, directions, shape
from cluster import wait_for

PEERS = [f"real-{c}" for c in "abcdefghij"]
MEMBERS = ["real-seed"] + PEERS
PARENTS = 2             # that die
PARENTS_DIE_AT = 0.25   # parts of what all peers at work are to get
SCHEDULER_DIES_AT = 0.5
PROGRESS_S = 120
ENDED = re.compile(r"IO\((Os|Custom) \{[^}]*\}\)|early eof|(Connection reset by peer|Connection refused|Broken pipe) \(os error \d+\)")
MOMENTARY = (
    "failed to announce host",      # while there is no scheduler
    "ConnectError cause: transport error",  # a parent that was named just before it died
    "failed: transport error",
)
MOMENT_S = 5
UPLINK = {"upload": {"bandwidthLimit": "64MB"}}


def held(peers):
    """Bytes that each has from others."""
    return [p.metric("dragonfly_client_download_traffic", type="REMOTE_PEER") for p in peers]


def wait_progress(run, peers, part):
    wait_for(lambda: sum(held(peers)) >= part * len(peers) * run.size, PROGRESS_S, f"{part} of all is there")


def without_parents(run, lab, peers, url):
    """Two begin; when they have a part of it the others do, and take from them; then the two are killed. What goes on: (peers, started).
    (Real peers that begin together have one parent, the seed.)"""
    dead, left = peers[:PARENTS], peers[PARENTS:]
    run.begin(lab, dead, url)
    wait_progress(run, dead, PARENTS_DIE_AT)
    started = run.begin(lab, left, url)
    wait_progress(run, left, PARENTS_DIE_AT)
    wait_for(lambda: sum(p.metric("dragonfly_client_upload_traffic") for p in dead) > 0, PROGRESS_S, "they are parents")
    lab.deaths.append(time.time())
    for p in dead:
        p.process.kill()
    for p in dead:
        p.kill()
    return left, started


def check_origin(run, lab, bound, when):
    """The Go scheduler may do what it wants: a parent that a peer has named once it never gives to it again."""
    assert lab.schedulers or run.origin_times() <= bound, f"origin read {run.origin_times():.3f} times {when}"


def restart_scheduler(lab):
    if lab.schedulers:
        lab.deaths.append(time.time())
        lab.schedulers[0].process.kill()
        lab.schedulers[0].process.wait()
        lab.schedulers[0].start()
    else:
        lab.deaths.append(time.time())
        lab.carrier.kill()
        lab.carrier.start()


def at_work(run, lab, url, digest):
    """All ten take the file when first two parents, then the scheduler die. A real peer that loses its scheduler takes what it lacks
    from the source itself, whichever scheduler it was (so it does under the one in Go): so much may be read, and no more."""
    left, started = without_parents(run, lab, lab.peers, url)
    wait_progress(run, left, SCHEDULER_DIES_AT)
    check_origin(run, lab, 1.05, "before the scheduler's end")
    bound = 1.05 + sum(1 - n / run.size for n in held(left))
    restart_scheduler(lab)
    run.all_right(started, digest)
    return bound


def half_way(run, lab, url, digest):
    """Five take the file and the parents among them die; when the rest has it the scheduler dies, and five others ask at once."""
    first, second = lab.peers[:len(PEERS) // 2], lab.peers[len(PEERS) // 2:]
    _, started = without_parents(run, lab, first, url)
    run.all_right(started, digest)
    check_origin(run, lab, 1.05, "before the scheduler's end")
    restart_scheduler(lab)
    run.fetch(lab, second, url, digest)
    return 1.05


def is_momentary(line, deaths):
    when = datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp()
    return any(text in line for text in MOMENTARY) and any(0 <= when - d <= MOMENT_S for d in deaths)


def real_lines(lab):
    """What real peers complain of: shape -> example."""
    return {shape(ENDED.sub("ENDED", line)): line for p in lab.all if p.is_real for line in p.complaints()
            if not is_momentary(line, lab.deaths)}


def add(case, seeds_known_s):
    def one(run, story, go):
        url, digest = run.content()
        with Lab(run.programs, MEMBERS if go else ["ours-carrier"] + MEMBERS, go=go, config=UPLINK) as lab:
            lab.deaths = []
            lab.peers = [lab.named(name) for name in PEERS]
            if go:
                time.sleep(seeds_known_s)
            begin = time.monotonic()
            bound = story(run, lab, url, digest)
            print(f"    {'Go' if go else 'our'} scheduler: {time.monotonic() - begin:.1f} s, origin read {run.origin_times():.3f} times of "
                  f"{bound:.3f} at most, pieces {directions(lab)['real', 'real']}", flush=True)
            check_origin(run, lab, bound, "in all")
            own = [line for p in lab.all if not p.is_real for line in p.complaints()]
            assert not own, "ours: " + "\n      ".join(own)
            return real_lines(lab)

    def both(run, story):
        """Runs of the Go scheduler are repeated until they have had all lines, at most `rounds` times."""
        ours, usual = one(run, story, False), set()
        for _ in range(run.rounds if run.programs.scheduler else 0):
            if ours.keys() <= usual:
                break
            usual |= one(run, story, True).keys()
        more = [line for s, line in ours.items() if s not in usual]
        if not run.programs.scheduler:
            print("    no Go scheduler to compare lines with")
            return
        assert not more, "lines that the Go scheduler does not cause:\n      " + "\n      ".join(more)

    @case("dfdaemon")
    def ten_real_peers_scheduler_restarts_at_work(run):
        both(run, at_work)

    @case("dfdaemon")
    def ten_real_peers_scheduler_restarts_half_way(run):
        both(run, half_way)
