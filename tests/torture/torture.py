#!/usr/bin/python3
"""Campaigns that are killed by a plan drawn from a seed, and judged (docs/invariants.md).

    torture.py BUILD_DIR [--seed N | --seeds N..M] [--kinds a,b,...] [--recipients N] [--jobs N] [--minutes M] [--keep]

Each seed is a campaign of 20,000 against bench/sink with deferrals, refusals and dropped connections. `send` is started
again, as a user would, until its exit status is 0; then the invariants I1 to I7 are held against what the receivers, Redis
and the event log say (judge.py). A violation keeps the directory and prints the command that plays it again; the status
is 1. Without --kinds all kinds of death that this build and this user can play take part. --minutes: new seeds from the
first one on until the time is over. HIKYAKU_TORTURE_DIR: where kept directories go.
"""
import argparse
import collections
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

import harness
import facts as witness
import judge
import plan as plans
from campaign import CAMPAIGN, SITES, Stuck, World
from deaths import COUNTED, KINDS, NONE, Missed, fault_struck
from nsd import die_with_parent

DEFAULT_SEED = 1


def fault_points():
    """Action -> the points where it can be, as this build names them; {} where it has none."""
    found = {}
    for action in ("kill", "error", "short"):
        done = subprocess.run([os.path.join(harness.BUILD, "hikyaku"), "--version"], stdin=subprocess.DEVNULL,
                              env={**os.environ, "HIKYAKU_FAULTS": f"list:{action}"}, capture_output=True, text=True)
        found[action] = [line for line in done.stdout.splitlines() if "." in line and " " not in line]
    return found if all(found.values()) else {}


def playable_kinds(points):
    root = os.geteuid() == 0
    return [name for name, kind in KINDS.items() if (points or not kind.faults) and (root or not kind.root)]


def strike(world, death, say):
    """One death, and what it was in the middle of."""
    if not world.reach(death):
        return None
    bodies, before = len(witness.flights(world.path("state", "region")) or ()), world.look_at_regions()
    kind, line = KINDS[death.kind], world.progress()
    record = {"kind": death.kind, "line": line, "bodies": bodies, "unknown": 0, "struck": True, "once": None, "who": []}
    try:
        blow = kind.strike(world, death.dice)
        record["once"], record["who"], harmless, words = blow.once, list(blow.who), blow.harmless, blow.words
    except Missed as missed:
        record["struck"], harmless, words = False, missed.harmless, f"missed: {missed}"
    say(f"  {death} at line {line}: {words} ({bodies} bodies in flight)")
    record["guessed"] = kind.bodies != NONE and not harmless  # nobody knows whom it lost
    after = world.look_at_regions()
    record["regions"] = []  # of the nodes that it ended
    if world.process.poll() is not None and before is not None:
        record["regions"] = list(range(before, (before if after is None else after) + 1))
    return record


def gather(world, deaths):
    """All that is known once send gave 0 and nothing runs any more."""
    facts = witness.Facts(people=world.people, resend=world.plan.resend, log_was_cut=world.log_was_cut)
    world.redis_ensure()
    words = ("report", "--config", world.path("hikyaku.conf"), "--campaign", CAMPAIGN, "--json")
    said = world.hikyaku(*words)
    if "campaigns restore" in said.err or (world.evicted and said.status != 0):
        world.restore()  # lost behind the last outcome, or a key that only reports ask for
        world.start_life()
        world.go_on()
    facts.report = json.loads(world.hikyaku_says("report", "--json"))
    facts.rows = [json.loads(line) for line in world.hikyaku_says("report", "--recipients").splitlines()]
    world.stop_receivers()  # what they have not written yet they write now
    log = collections.defaultdict(list)
    for receiver in world.receivers:
        for seen in receiver.log("accepted", "ambiguous", "refused"):
            log[seen.event].append(seen.address)
        counted = receiver.ledger()
        facts.receiver_duplicates += counted["duplicates"]
        facts.dropped_bodies += counted["dropped_dot"] + counted["dropped_body"]
    facts.accepted, facts.ambiguous = (dict(collections.Counter(log[event])) for event in ("accepted", "ambiguous"))
    facts.refused = sorted(set(log["refused"]))
    if world.plan.external:
        with witness.Redis(world.redis_where()) as redis:
            facts.ledger = witness.read_ledger(redis, CAMPAIGN)
    else:
        facts.ledger = witness.read_ledger_of_directory(world.redis_directory(), CAMPAIGN)
    facts.events, facts.torn_lines = witness.read_events(world.events_path)
    for log in world.other_logs:
        events, torn = witness.read_events(log)
        facts.events, facts.torn_lines = facts.events + events, facts.torn_lines + torn
    return facts


def count_bodies(world, facts, deaths):
    """What was in flight, and whom each death may have lost. Nothing runs any more.

    A fault may have struck after its strike was over, so that is asked now. One in the master loses nothing but by the end
    of the node, and that the region tells; one in a worker may have cost all its bodies."""
    world.regions.end()
    most = SITES * world.plan.connections
    facts.in_flight = sorted(set().union(*world.regions.said, *(death["who"] for death in deaths)))
    for death in deaths:
        if death["once"]:
            role = fault_struck(death["once"])
            death["struck"], death["guessed"] = role is not None, role == "worker"
        death["allowed"] = most if death["guessed"] else 0
        if KINDS[death["kind"]].bodies == COUNTED:
            death["bodies"] = len(death["who"])
        elif death["regions"]:
            death["who"] = sorted(set().union(*(world.regions.said[number] for number in death["regions"])))
            death["bodies"] = len(death["who"])
    facts.allowed = sum(death["allowed"] for death in deaths)
    facts.drained = most * world.starts


def restores():
    """Can this build make a ledger anew from the event log?"""
    done = subprocess.run([os.path.join(harness.BUILD, "hikyaku"), "campaigns", "--help"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    return "restore" in done.stdout


def restored(world):
    """The second opinion on I7: nothing is left in Redis, and hikyaku makes the ledger anew. index -> state"""
    if world.plan.external:
        with witness.Redis(world.redis_where()) as redis:
            redis.call("FLUSHALL")
    else:
        shutil.rmtree(world.redis_directory())
    world.hikyaku("campaigns", "restore", "--config", world.path("hikyaku.conf"), "--campaign", CAMPAIGN, expect=0)
    rows = [json.loads(line) for line in world.hikyaku_says("report", "--recipients").splitlines()]
    return {row["index"]: row["state"] for row in rows}


def blame(facts, deaths):
    """Each unknown that a death made, to the last death before its line that found him in flight (a power cut may have taken
    lines, so that it stands before all of them); where none did, to the last one of which nobody knows whom it lost. A line
    that is told once more counts once."""
    told = set()
    for number, event in enumerate(facts.events):
        if not judge.made_unknown(event) or judge.how_lost(event) == judge.BY_REPLY:
            continue
        if (about := (event["index"], event.get("attempt"))) in told:
            continue
        told.add(about)
        before = [death for death in deaths if death["line"] <= number]
        found = [death for death in deaths if event["index"] in death["who"]]
        made = [d for d in found if d in before] or found[:1] or [d for d in before if d["allowed"]]
        if made:
            made[-1]["unknown"] += 1


def keep(world, facts):
    """The directory of a run that went wrong, out of the way of the clean-up; its processes are ended first."""
    world.end_all()
    place = os.environ.get("HIKYAKU_TORTURE_DIR", tempfile.gettempdir())
    os.makedirs(place, exist_ok=True)
    kept = tempfile.mkdtemp(prefix=f"hikyaku-torture-{world.plan.seed}-", dir=place)
    os.rmdir(kept)
    shutil.move(world.dir, kept)
    if facts:
        witness.save(facts, os.path.join(kept, "facts.json"))
    return kept


def play(seed, kinds, points, recipients, keep_always, say):
    """One seed; what became of it."""
    plan = plans.draw(seed, {name: KINDS[name] for name in kinds}, recipients)
    say(f"seed {seed}: plan: {plan}")
    world = World()
    world.fault_points = points
    try:
        return play_in(world, plan, kinds, keep_always, say)
    finally:
        world.doCleanups()


def play_in(world, plan, kinds, keep_always, say):
    deaths, facts, found = [], None, []
    begun = time.monotonic()
    try:
        world.build(plan)
        world.start_life()
        for death in plan.deaths:
            struck = strike(world, death, say)
            if struck is None:
                say(f"  {death}: the campaign was settled before")
                break
            deaths.append(struck)
        world.go_on()
        world.others_come_back()
        facts = gather(world, deaths)
        if restores() and not any(map(os.path.exists, world.other_logs)):  # it knows this node's log alone
            facts.restored = restored(world)
        count_bodies(world, facts, deaths)
        blame(facts, deaths)
        found += judge.judge(facts)
    except (Stuck, AssertionError, RuntimeError, OSError) as error:
        invariant = "I5" if isinstance(error, Stuck) else "run"
        found.append(judge.Violation(invariant, str(error)[-2000:], ()))
    found += world.standing + [judge.Violation("run", crash, ()) for crash in world.crashes]
    for note, times in collections.Counter(world.notes).items():
        say(f"  {note}, {times} times")
    seconds = time.monotonic() - begun
    say_verdict(world, facts, found, deaths, f"{seconds:.1f} s", say)
    if found or keep_always:
        say(f"seed {plan.seed}: kept in {keep(world, facts)}")
    if found:
        words = [os.path.relpath(os.path.abspath(__file__)), sys.argv[1], "--seed", str(plan.seed), "--kinds", ",".join(kinds),
                 "--recipients", str(plan.recipients)]
        say(f"seed {plan.seed}: again: /usr/bin/python3 {shlex.join(words)}")
    return {"seed": plan.seed, "ok": not found, "deaths": deaths, "seconds": seconds}


def say_verdict(world, facts, found, deaths, seconds, say):
    seed = world.plan.seed
    for violation in found:
        say(f"seed {seed}: VIOLATED {judge.show(violation)}")
    if not found:
        struck = sum(death["struck"] for death in deaths)
        say(f"seed {seed}: ok, {struck} deaths, {judge.say_unknown(facts)}; the ledger looked at {world.looked} times in "
            f"between, {seconds}")


def table(results):
    by_kind = collections.defaultdict(list)
    for result in results:
        for death in result["deaths"]:
            by_kind[death["kind"]].append(death)
    print(f"\n{'':15} {'':>6} {'':>6} {'unknown each':>20} {'bodies in flight':>20}")
    print(f"{'death':15} {'struck':>6} {'missed':>6} {'median':>10} {'most':>9} {'median':>10} {'most':>9}")
    for name, deaths in sorted(by_kind.items()):
        struck = [death for death in deaths if death["struck"]]
        unknown, bodies = ([death[what] for death in struck] or [0] for what in ("unknown", "bodies"))
        print(f"{name:15} {len(struck):6} {len(deaths) - len(struck):6} {statistics.median(unknown):10.0f} "
              f"{max(unknown):9} {statistics.median(bodies):10.0f} {max(bodies):9}")
    failed = [result["seed"] for result in results if not result["ok"]]
    print(f"{len(results)} seeds, {sum(d['struck'] for deaths in by_kind.values() for d in deaths)} deaths, "
          f"{len(failed)} violated{': ' + ', '.join(map(str, failed)) if failed else ''}")


class Runner:
    """Seeds as processes of their own, a few at a time; what one says is printed when it is done."""

    def __init__(self, options):
        self.options, self.working, self.results = options, {}, []
        self.dir = tempfile.mkdtemp(prefix="hikyaku-torture-run-")

    def start(self, seed):
        output = open(os.path.join(self.dir, f"{seed}.log"), "w+", encoding="utf-8")
        process = subprocess.Popen([sys.executable, os.path.abspath(__file__), sys.argv[1], "--seed", str(seed), "--kinds",
                                    ",".join(self.options.kinds), "--recipients", str(self.options.recipients), "--result",
                                    os.path.join(self.dir, f"{seed}.json")], stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=output, preexec_fn=die_with_parent)
        self.working[seed] = (process, output)

    def reap(self):
        for seed, (process, output) in list(self.working.items()):
            if process.poll() is None:
                continue
            del self.working[seed]
            output.seek(0)
            print(output.read(), end="", flush=True)
            output.close()
            try:
                with open(os.path.join(self.dir, f"{seed}.json"), encoding="utf-8") as f:
                    self.results.append(json.load(f))
            except FileNotFoundError:
                print(f"seed {seed}: the torture itself failed", flush=True)
                self.results.append({"seed": seed, "ok": False, "deaths": [], "seconds": 0})
        time.sleep(0.05)

    def run(self, seeds):
        try:
            for seed in seeds:
                while len(self.working) >= self.options.jobs:
                    self.reap()
                self.start(seed)
            while self.working:
                self.reap()
        finally:
            for process, _ in self.working.values():
                process.terminate()
                process.wait()
            shutil.rmtree(self.dir, ignore_errors=True)
        table(self.results)
        return bool(self.results) and all(result["ok"] for result in self.results)


def until(deadline, first):
    seed = first
    while time.monotonic() < deadline:
        yield seed
        seed += 1


def read_options(kinds):
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("build")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds")
    parser.add_argument("--kinds", default=",".join(kinds))
    parser.add_argument("--recipients", type=int, default=20000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--result", help=argparse.SUPPRESS)  # a file that Runner reads
    options = parser.parse_args()
    options.kinds = options.kinds.split(",")
    unknown = [name for name in options.kinds if name not in kinds]
    if unknown:
        parser.error(f"--kinds: {', '.join(unknown)}: this build and user can play {', '.join(kinds)}")
    return options


def end_in_order(*_):
    """SIGTERM ends like an exception, so that everything that was started is ended too."""
    raise SystemExit(143)


def main():
    signal.signal(signal.SIGTERM, end_in_order)
    if not os.access(os.path.join(harness.BUILD, "hikyaku"), os.X_OK):
        print(f"{__doc__.split(chr(10) * 2)[1].strip()}\n{harness.BUILD} has no hikyaku: build it first", file=sys.stderr)
        return 2
    points = fault_points()
    options = read_options(playable_kinds(points))
    first, last = [int(n) for n in options.seeds.split("..")] if options.seeds else [options.seed or DEFAULT_SEED] * 2
    if options.minutes:
        return 0 if Runner(options).run(until(time.monotonic() + options.minutes * 60, first)) else 1
    if options.seeds:
        return 0 if Runner(options).run(range(first, last + 1)) else 1
    result = play(first, options.kinds, points, options.recipients, options.keep, lambda words: print(words, flush=True))
    if options.result:
        with open(options.result, "w", encoding="utf-8") as f:
            json.dump(result, f)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
