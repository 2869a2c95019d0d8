"""The kinds of death. Each is a function strike(world, dice): it does its harm, and says in a few words what it did; or
that it did nothing (Missed), for what it was aimed at was not there. Only what struck is counted.

Afterwards the node lives on, or world.process has ended; the next wait starts it again as a user would.

`bodies` says which messages may be unknown after it:

    NONE     none but those that the region of a node says were in flight when it was gone (facts.py: Regions). That is
             known for each end of a node, by whatever kind, and needs no allowance.
    COUNTED  the same, and those that this kind has looked up by itself at the moment of the death (Blow.who).
    GUESSED  which ones is known to nobody: a process of ours was killed, or a call or an allocation failed in it, at a
             moment that only itself knew, and its slots were cleared before anybody could look; or the ledger lost words
             about bodies that were on their way. So at most one for each connection there can be; none where the strike
             knows better (Blow.harmless).

(Bodies that a receiver dropped are the receivers' to count: they are dropped while they are read, and how many of them
had their last byte written by then is known to neither end.)
"""
import collections
import json
import os
import resource
import signal
import subprocess
import time

import facts as witness
import harness
import judge
from campaign import CAMPAIGN, LEASE_S, NODE

NONE, COUNTED, GUESSED = "none", "counted", "guessed"
WEIGHT = 3  # cards of a kind in the deck (plan.py)
LONG_STOPS = 0.75

Kind = collections.namedtuple("Kind", "strike bodies external root faults loses weight")
KINDS = {}
ERRORS = ("ENOSPC", "EIO", "EPIPE", "ECONNRESET", "ENOMEM")  # what a call may fail with


# What a strike did. who: indexes of those whose body it found in flight (COUNTED). harmless: it cannot have lost any but
# those, whatever its kind says. once: a directory in which a fault leaves a mark when it strikes, which may be later than
# the strike itself is over.
Blow = collections.namedtuple("Blow", "words who harmless once", defaults=((), False, None))


class Missed(Exception):
    """It did nothing; in words, why. harmless: as in Blow."""

    def __init__(self, words, harmless=True):
        super().__init__(words)
        self.harmless = harmless


def kind(name, bodies=NONE, external=False, root=False, faults=False, loses=None, weight=WEIGHT):
    def register(strike):
        KINDS[name] = Kind(strike, bodies, external, root, faults, loses, weight)
        return strike
    return register


def _wait_for_end(world, seconds, what):
    try:
        world.process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{what} did not end the node within {seconds} s") from error


def _one_of(world, dice, role):
    """A process of that role, waited for a moment: it may be about to be started again."""
    deadline = time.monotonic() + 3
    while not (pids := world.pids(role)) and time.monotonic() < deadline and world.process.poll() is None:
        time.sleep(0.01)
    if not pids:
        raise Missed(f"no {role} was there")
    return dice.choice(pids)


def _is_there(world):
    """The node, for a strike that is aimed at it."""
    if world.process.poll() is not None:
        raise Missed("the node had just ended")


def _halt(world, pid):
    """SIGSTOP, and until it stands still; False: it has ended before."""
    def stands():
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                return f.read().rpartition(")")[2].split()[0] in "TtZX"
        except OSError:
            return True
    if not world.kill(pid, signal.SIGSTOP):
        return False
    harness.wait_for(stands, 20, f"process {pid} to stand still")
    return pid in world.processes()


@kind("worker", bodies=COUNTED)
def _worker(world, dice):
    """It stands still for the moment in which its flights are read: those that are in flight are so at its death."""
    pid = _one_of(world, dice, "worker")
    name = world.processes().get(pid, "").split()
    if not name or not _halt(world, pid):
        raise Missed("the worker had just ended")
    flights = witness.flights(world.path("state", "region"), worker=int(name[2])) or []
    world.kill(pid)
    return Blow(f"SIGKILL with {len(flights)} of its own", who=flights, harmless=True)


@kind("master")
def _master(world, _):
    _is_there(world)
    world.process.kill()
    world.process.wait()
    look_at_what_stands(world)
    return Blow("SIGKILL")


@kind("resolver")
def _resolver(world, dice):
    if not world.kill(_one_of(world, dice, "resolver")):
        raise Missed("the resolver had just ended")
    return Blow("SIGKILL")


@kind("redis")
def _redis(world, dice):
    killed = world.redis_kill()
    if world.plan.external:
        time.sleep(dice.uniform(0, 1.5))
        world.redis_ensure()
    if not killed:
        raise Missed("no redis-server was there")
    return Blow("SIGKILL")


def _kill_everything(world):
    """All at once; and what stands then, as a Ledger (None: nothing, or it is known to have been hurt)."""
    there = world.process.poll() is None
    world.kill_everything()
    ledger = look_at_what_stands(world)
    if not there:
        raise Missed("the node had just ended")
    return ledger


@kind("everything")
def _everything(world, _):
    _kill_everything(world)
    return Blow("SIGKILL to all")


def look_at_what_stands(world):
    """No node runs: can everyone in the ledger go on, and do its counters agree? Gives the ledger. It is read from the
    Redis that still answers, once nothing of the dead node is on its way to it; else from a copy of its directory."""
    directory = world.redis_directory()
    if not os.path.isdir(os.path.join(directory, "appendonlydir")) or world.process.poll() is None:
        return None
    if world.evicted or world.stands_still():
        return None  # what was taken away a moment ago may not have been missed yet; or its user has to restore it first
    if world.pids("redis-server"):
        ledger = _read_when_alone(world)
    else:
        ledger = witness.read_ledger_of_directory(directory, CAMPAIGN)
    if ledger:
        world.looked += 1
        world.standing += judge.judge_standing(ledger)
    return ledger


def _read_when_alone(world):
    """The ledger of a Redis that has no other client any more; None where that does not come to pass."""
    try:
        with witness.Redis(world.redis_where()) as redis:
            deadline = time.monotonic() + 1
            while redis.call("CLIENT", "LIST").count(b"\n") > 1:
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.002)
            return witness.read_ledger(redis, CAMPAIGN)
    except (OSError, RuntimeError):
        return None  # a server that ends with its node


@kind("stop")
def _stop(world, dice):
    """Asleep, and then it is as if nothing had been. For longer than the lease others may think that it is dead, and take
    over: that is the death. A shorter sleep, now and then, is told as a miss."""
    seconds = dice.uniform(LEASE_S * 1.02, LEASE_S * 1.2) if dice.random() < LONG_STOPS else dice.uniform(0.3, LEASE_S * 0.6)
    pid = dice.choice([world.process.pid, _one_of(world, dice, "worker")])
    if not _halt(world, pid):
        raise Missed("nobody was there")
    begun = time.monotonic()
    time.sleep(seconds)
    asleep = time.monotonic() - begun
    if pid not in world.processes():
        raise Missed("it was ended while it stood still")
    world.kill(pid, signal.SIGCONT)
    words = f"SIGSTOP of {'the master' if pid == world.process.pid else 'a worker'} for {asleep:.1f} s"
    if asleep <= LEASE_S:
        raise Missed(f"{words}, and the lease is {LEASE_S} s")
    return Blow(words)


@kind("term")
def _term(world, _):
    _is_there(world)
    begun = time.monotonic()
    world.process.terminate()
    _wait_for_end(world, 30, "SIGTERM")
    words = world.words()[world.words_before:]
    gave_up = world.process.returncode == 3 and " error hikyaku: " in words
    struck = world.process.returncode == -signal.SIGKILL and "hikyaku: fault: kill" in words  # by the fault before
    if world.process.returncode not in (0, 1, -signal.SIGTERM) and not gave_up and not struck:
        world.crashes.append(f"SIGTERM ended the node with {world.process.returncode}")
    drained = time.monotonic() - begun
    look_at_what_stands(world)
    return Blow(f"SIGTERM, drained in {drained:.1f} s")


@kind("redis-restart")
def _redis_restart(world, dice):
    before, obeyed = set(world.pids("redis-server")), False
    try:
        with witness.Redis(world.redis_where()) as redis:
            redis.call("SHUTDOWN")
    except ConnectionError:
        obeyed = bool(before)  # to that it has no answer; and one that could not be reached is found living below
    except (OSError, RuntimeError) as error:
        raise Missed(f"no Redis to shut down: {error}") from error
    deadline = time.monotonic() + 20
    while obeyed and before & set(world.pids("redis-server")):
        if time.monotonic() > deadline:
            obeyed = False
        time.sleep(0.01)
    if world.plan.external:
        time.sleep(dice.uniform(0, 1.5))
        world.redis_ensure()
    if not obeyed:
        raise Missed("no redis-server was there, or it did not end")
    return Blow("SHUTDOWN")


@kind("second-send")
def _second_send(world, dice):
    _is_there(world)
    other = world.spawn("send")
    time.sleep(dice.uniform(0.05, 1.0))
    if other.poll() is not None:
        return Blow(f"a second send ended with {other.returncode}")
    if world.process.poll() is not None:  # it became the node
        world.process = other
        return Blow("a second send became the node")
    other.kill()
    other.wait()
    return Blow("a second send followed and was killed")


@kind("list-file")
def _list_file(world, dice):
    path, harm = world.path("list.csv"), dice.choice(["truncated", "emptied", "replaced", "extended"])
    with open(path, "rb") as f:
        before = f.read()
    with open(path, "r+b") as f:
        if harm == "extended":
            f.seek(0, os.SEEK_END)
            f.write(b"one.more@big1.test\n")
        else:
            f.truncate(0 if harm == "emptied" else len(before) // 2)
            if harm == "replaced":
                f.seek(0)
                f.write(b"email\r\n" + b"somebody.else@big1.test\r\n" * 1000)
    other = world.spawn("send")
    status = other.wait(60)
    if status not in (2, 3):
        world.crashes.append(f"send with a list that was {harm} gave {status} and not 2")
    with open(path, "wb") as f:
        f.write(before)
    return Blow(f"{harm}; send with it gave {status}")


@kind("nofile", bodies=GUESSED)
def _nofile(world, dice):
    """No descriptor is left to a process that runs, or few to the next one."""
    if dice.random() < 0.3:
        world.process.terminate()
        _wait_for_end(world, 30, "SIGTERM")
        limit = dice.randint(40, 120)
        world.start_life(nofile=limit)
        try:
            world.process.wait(dice.uniform(0.5, 2))
        except subprocess.TimeoutExpired:
            world.process.terminate()
            _wait_for_end(world, 30, "SIGTERM")
        look_at_what_stands(world)
        return Blow(f"a life with {limit} descriptors")
    pid = dice.choice([world.process.pid, _one_of(world, dice, "worker")])
    try:
        used = len(os.listdir(f"/proc/{pid}/fd"))
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + dice.randint(0, 2), hard))
        time.sleep(dice.uniform(0.3, 1.5))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    except OSError as error:
        raise Missed("nobody was there") from error
    is_master = pid == world.process.pid  # the bodies are its workers', and what it leaves when it ends the region tells
    return Blow(f"{'the master' if is_master else 'a worker'} had {used} descriptors and no more", harmless=is_master)


def cut_newest_file(world, dice):
    """A random number of bytes off the newest append-only file: what a disk that lied about its fsync loses."""
    directory = os.path.join(world.redis_directory(), "appendonlydir")
    parts = [os.path.join(directory, name) for name in os.listdir(directory) if name.endswith(".incr.aof")] \
        if os.path.isdir(directory) else []
    if not parts:
        return 0
    newest = max(parts, key=os.path.getmtime)
    size = os.path.getsize(newest)
    keep = size - min(int(2 ** dice.uniform(0, 18)), size // 3)
    if world.plan.external:
        keep = before_half_a_transaction(newest, keep)
    os.truncate(newest, keep)
    return size - keep


def before_half_a_transaction(path, keep):
    """Where a file that is cut there has to be cut instead. Redis 7.0 does not see to that by itself (state/aof_tail.h), and
    nobody but its owner can, where it is his."""
    with open(path, "rb") as f:
        data = f.read(keep)
    begin = data.rfind(b"*1\r\n$5\r\nMULTI\r\n")
    return keep if begin < 0 or b"*1\r\n$4\r\nEXEC\r\n" in data[begin:] else begin


@kind("aof-cut", bodies=GUESSED, loses="ledger")
def _aof_cut(world, dice):
    if dice.random() < 0.5:
        _kill_everything(world)
        return _lost(cut_newest_file(world, dice), "all killed")
    stopped = not world.plan.external and world.kill(world.process.pid, signal.SIGSTOP)
    world.redis_kill()
    harness.wait_for(lambda: not world.pids("redis-server"), 10, "redis-server to end")
    cut = cut_newest_file(world, dice)
    world.redis_ensure()
    if stopped:
        world.kill(world.process.pid, signal.SIGCONT)
    return _lost(cut, "Redis killed under a live node")


def _lost(cut, words):
    if cut == 0:
        raise Missed(f"{words}, and there was nothing to cut")
    return Blow(f"{words}, {cut} bytes lost")


def _let_it_notice(world):
    """Until it says that it stands still, it ends, or goes on unharmed for a while."""
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline and world.process.poll() is None and not world.stands_still():
        world.progress()
        time.sleep(0.05)
    if not world.stands_still():
        return "no word about it"
    return f"noticed, restore gave {world.restore()}"


@kind("flushall", bodies=GUESSED, loses="ledger")
def _flushall(world, _):
    try:
        with witness.Redis(world.redis_where()) as redis:
            there = redis.call("EXISTS", "{" + CAMPAIGN + "}:m")
            redis.call("FLUSHALL")
    except (OSError, RuntimeError) as error:
        raise Missed(f"no Redis to flush: {error}") from error
    words = f"FLUSHALL, {_let_it_notice(world)}"
    if not there:
        raise Missed(f"{words}: it was empty")
    return Blow(words)


@kind("evicted", bodies=GUESSED, loses="ledger")
def _evicted(world, dice):
    try:
        with witness.Redis(world.redis_where()) as redis:
            keys = sorted(redis.call("KEYS", "{" + CAMPAIGN + "}:*"))
            key = dice.choice(keys) if keys else None
            gone = 0
            if key is not None:
                world.evicted = True
                gone = redis.call("DEL", key)
    except (OSError, RuntimeError) as error:
        raise Missed(f"no Redis to evict from: {error}") from error
    if not gone:
        raise Missed("no key was there")
    return Blow(f"{key.decode()} evicted, {_let_it_notice(world)}")


@kind("proxy", external=True)
def _proxy(world, dice):
    return _lose_bytes(world, "drop", dice.uniform(0.3, LEASE_S * 1.3))


@kind("replies-lost", external=True)
def _replies_lost(world, dice):
    return _lose_bytes(world, "deaf", dice.uniform(0.005, 0.5))


def _lose_bytes(world, mode, seconds):
    world.proxy.mode(mode)
    time.sleep(seconds)
    lost = world.proxy.mode("pass")
    words = "Redis not to be reached" if mode == "drop" else "answers lost"
    if lost == 0:
        raise Missed(f"{words} for {seconds:.2f} s, in which nothing was said")
    return Blow(f"{words} for {seconds:.2f} s, {lost} bytes")


@kind("two-masters", external=True, bodies=GUESSED)
def _two_masters(world, dice):
    """The same configuration on a second machine: it waits or is refused, and sends nothing. Only where the first one was
    silent for longer than its lease may it take over; then it is killed in the middle, and what it logged counts too."""
    with open(world.path("hikyaku.conf"), encoding="utf-8") as f:
        text = f.read()
    name = f"second{len(world.other_logs)}"
    log = world.path(name + ".jsonl")
    text = text.replace(f'state_dir = "{world.dir}/state"', f'state_dir = "{world.path(name)}"')
    world.write(name + ".conf", text.replace(world.events_path, log))
    world.other_logs.append(log)
    with witness.Redis(world.redis_where()) as redis:
        held = redis.call("EXISTS", f"hikyaku:node:{NODE}")
    other = world.spawn("send", config=name + ".conf")
    try:
        status = other.wait(dice.uniform(1, LEASE_S))
    except subprocess.TimeoutExpired:
        other.kill()
        other.wait()
        status = None
    world.look_at_regions()
    sent = sum(event.get("outcome") == "sent" for event in witness.read_events(log)[0])
    # A first node that ended by itself (a fault at its start, say) has given its name and its lease back.
    gave_back = world.process.poll() is not None and world.process.returncode >= 0
    if held and sent and not gave_back:
        world.crashes.append(f"a second node of the same name sent {sent} messages")
    if held and status not in (None, 3) and world.process.poll() is None:
        world.crashes.append(f"a second node of the same name ended with {status} and not with 3")
    words = f"a second node {'waited' if status is None else f'ended with {status}'}, sent {sent}{'' if held else ': no lease'}"
    if not held and not sent:
        raise Missed(f"{words}: it met nobody", harmless=False)
    return Blow(words, harmless=status == 3 and not sent)  # refused: it has taken nothing from the first one


@kind("full-disk-log", root=True, weight=2)
def _full_disk_log(world, dice):
    return _fill(world, dice, ["events"])


@kind("full-disk-aof", root=True, weight=2)
def _full_disk_aof(world, dice):
    return _fill(world, dice, [world.disk_of_the_ledger()])


@kind("full-disk-both", root=True, weight=2)
def _full_disk_both(world, dice):
    return _fill(world, dice, ["events", world.disk_of_the_ledger()])


def _fill(world, dice, which):
    """Not a byte is free for a while: where the log is, where the ledger is, or both."""
    _is_there(world)
    seconds = dice.uniform(0.3, 2)
    fillers = [world.path(name, "filler") for name in which]
    for filler in fillers:
        with open(filler, "wb", buffering=0) as f:
            try:
                while f.write(b"\0" * 65536):
                    pass
            except OSError:
                pass
    time.sleep(seconds)
    for filler in reversed(fillers):  # the ledger's first: with room for the log alone sending would go on, into a full ledger
        os.unlink(filler)
    # A server of the user's own has ended when it could not write, or is about to: one that answers now is not.
    harness.wait_for(lambda: world.external is None or world.external.poll() is not None or world.redis_answers(), 30,
                     "redis-server to answer or end")
    world.redis_ensure()
    return Blow(f"no room for {' and '.join(which)} for {seconds:.1f} s")


# ---- kinds that need the fault build ----

def _lose_the_last_second(world, dice):
    """Of the event log, from a random place on: what a power cut takes that was not synced yet."""
    with open(world.events_path, "r+b") as f:
        f.seek(max(0, os.path.getsize(world.events_path) - (1 << 20)))
        base, tail = f.tell(), f.read()
        lines = [line for line in tail.split(b"\n")[1:] if line.endswith(b"}")]
        if not lines:
            return 0
        end = witness.seconds_of(json.loads(lines[-1])["time"])
        old = [n for n, line in enumerate(lines) if abs(witness.seconds_of(json.loads(line)["time"]) - end) > 1]
        synced = len(tail) - sum(len(line) + 1 for line in (lines[old[-1] + 1:] if old else lines))
        keep = base + dice.randint(max(synced, 0), len(tail))
        f.truncate(keep)
    return base + len(tail) - keep


@kind("boot-id", bodies=COUNTED, faults=True, loses="region", weight=4)
def _boot_id(world, dice):
    """The power goes: nothing in the region is believed, and the log may lack its last second. What the ledger calls
    `sending` is then unknown."""
    ledger = _kill_everything(world)
    sending = [index for index, word in ledger.words.items() if word.state == "sending"] if ledger else []
    world.env["HIKYAKU_BOOT_ID"] = "%08x-0000-4000-8000-%012x" % (dice.getrandbits(32), dice.getrandbits(48))
    lost = _lose_the_last_second(world, dice) if os.path.exists(world.events_path) and dice.random() < 0.5 else 0
    world.log_was_cut = world.log_was_cut or lost > 0
    return Blow(f"all killed, the machine was started anew, {len(sending)} were under way, {lost} bytes of the log lost",
                who=sending, harmless=ledger is not None)


@kind("clock", faults=True)
def _clock(world, dice):
    hours = dice.choice([-3600, 3600])
    world.write("clock", f"{hours}\n")
    if dice.random() < 0.5:
        time.sleep(dice.uniform(1.2, 2))  # each second it is read
        world.write("clock", "0\n")
        return Blow(f"the clock went {hours:+} s and back")
    return Blow(f"the clock went {hours:+} s")


def _with_fault(world, fault):
    """A life with this fault in it, until it strikes. A drain makes room for it."""
    if world.process.poll() is None:
        world.process.terminate()
        _wait_for_end(world, 40, "SIGTERM")
    once = world.path("faults", str(world.starts))
    os.makedirs(once, exist_ok=True)
    world.looks_at_exits = False
    world.start_life(env={"HIKYAKU_FAULTS": fault, "HIKYAKU_FAULTS_ONCE": once})
    deadline = time.monotonic() + 5
    struck = world.go_on(lambda: os.listdir(once) or world.process.poll() is not None or time.monotonic() > deadline)
    world.looks_at_exits = True
    look_at_what_stands(world)
    did = "struck" if struck and os.listdir(once) else "did not strike yet"
    return Blow(f"{fault}, {did}", once=once)


def pass_of(point, dice):
    """Which pass of a point it strikes: one that there is. Of some there is one in a life, or one in a second."""
    if point.startswith(("settle.", "fork.")):
        return 1
    return int(2 ** dice.uniform(0, 2 if point.startswith(("log.sync.", "redis.store.")) else 10))


def fault_struck(once):
    """In which role of a process, as the mark says; None: it did not."""
    marks = os.listdir(once)
    if not marks:
        return None
    with open(os.path.join(once, marks[0]), encoding="utf-8") as f:
        return f.read().partition("/")[0]


@kind("fault-point", bodies=GUESSED, faults=True)
def _fault_point(world, dice):
    point = dice.choice(world.fault_points["kill"])
    return _with_fault(world, f"any/{point}:{pass_of(point, dice)}:kill")


@kind("fault-error", bodies=GUESSED, faults=True)
def _fault_error(world, dice):
    """One call fails, or writes half of what it was given, and nobody dies of it by plan."""
    action, points = dice.choice([(f"error:{name}", world.fault_points["error"]) for name in ERRORS] +
                                 [("short", world.fault_points["short"])])
    point = dice.choice(points)
    return _with_fault(world, f"any/{point}:{pass_of(point, dice)}:{action}")


@kind("malloc", bodies=GUESSED, faults=True)
def _malloc(world, dice):
    return _with_fault(world, f"worker/malloc:{int(2 ** dice.uniform(0, 12))}:error:ENOMEM")
