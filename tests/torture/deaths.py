"""The kinds of death. Each is a function strike(world, dice): it does its harm, and says in a few words what it did.

Afterwards the node lives on, or world.process has ended; the next wait starts it again as a user would. `bodies` says
whether messages may be unknown after it: where it is False nothing may be.
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

Kind = collections.namedtuple("Kind", "strike bodies external root faults loses")
KINDS = {}
ERRORS = ("ENOSPC", "EIO", "EPIPE", "ECONNRESET", "ENOMEM")  # what a call may fail with


def kind(name, bodies=False, external=False, root=False, faults=False, loses=None):
    def register(strike):
        KINDS[name] = Kind(strike, bodies, external, root, faults, loses)
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
    return dice.choice(pids) if pids else None


@kind("worker", bodies=True)
def _worker(world, dice):
    pid = _one_of(world, dice, "worker")
    if pid is None:
        return "no worker was there"
    world.kill(pid)
    return "SIGKILL"


@kind("master", bodies=True)
def _master(world, _):
    world.process.kill()
    world.process.wait()
    return "SIGKILL"


@kind("resolver")
def _resolver(world, dice):
    pid = _one_of(world, dice, "resolver")
    if pid is None:
        return "no resolver was there"
    world.kill(pid)
    return "SIGKILL"


@kind("redis")
def _redis(world, dice):
    world.redis_kill()
    if world.plan.external:
        time.sleep(dice.uniform(0, 1.5))
        world.redis_ensure()
    return "SIGKILL"


@kind("everything", bodies=True)
def _everything(world, _):
    world.kill_everything()
    look_at_what_stands(world)
    return "SIGKILL to all"


def look_at_what_stands(world):
    """Nothing runs: can everyone in the ledger go on, and do its counters agree?"""
    directory = world.redis_directory()
    if not os.path.isdir(os.path.join(directory, "appendonlydir")):
        return
    if world.evicted:
        return  # what was taken away a moment ago may not have been missed yet
    ledger = witness.read_ledger_of_directory(directory, CAMPAIGN)
    if ledger:
        world.standing += judge.judge_standing(ledger)


@kind("stop")
def _stop(world, dice):
    """Asleep for a while, perhaps longer than the lease: then it is as if nothing had been."""
    pid = dice.choice([world.process.pid, _one_of(world, dice, "worker")])
    seconds = dice.uniform(0.3, LEASE_S * 1.3)
    if pid is None or not world.kill(pid, signal.SIGSTOP):
        return "nobody was there"
    time.sleep(seconds)
    world.kill(pid, signal.SIGCONT)
    return f"SIGSTOP of {'the master' if pid == world.process.pid else 'a worker'} for {seconds:.1f} s"


@kind("term")
def _term(world, _):
    begun = time.monotonic()
    world.process.terminate()
    _wait_for_end(world, 30, "SIGTERM")
    words = world.words()[world.words_before:]
    gave_up = world.process.returncode == 3 and " error hikyaku: " in words
    struck = world.process.returncode == -signal.SIGKILL and "hikyaku: fault: kill" in words  # by the fault before
    if world.process.returncode not in (0, 1, -signal.SIGTERM) and not gave_up and not struck:
        world.crashes.append(f"SIGTERM ended the node with {world.process.returncode}")
    return f"SIGTERM, drained in {time.monotonic() - begun:.1f} s"


@kind("redis-restart")
def _redis_restart(world, dice):
    try:
        with witness.Redis(world.redis_where()) as redis:
            redis.call("SHUTDOWN")
    except (OSError, RuntimeError):
        pass
    if world.plan.external:
        world.external.wait(20)
        time.sleep(dice.uniform(0, 1.5))
        world.redis_ensure()
    return "SHUTDOWN"


@kind("second-send")
def _second_send(world, dice):
    other = world.spawn("send")
    time.sleep(dice.uniform(0.05, 1.0))
    if other.poll() is not None:
        return f"a second send ended with {other.returncode}"
    if world.process.poll() is not None:  # it became the node
        world.process = other
        return "a second send became the node"
    other.kill()
    other.wait()
    return "a second send followed and was killed"


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
    return f"{harm}; send with it gave {status}"


@kind("nofile", bodies=True)
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
        return f"a life with {limit} descriptors"
    pid = dice.choice([world.process.pid, _one_of(world, dice, "worker")])
    try:
        used = len(os.listdir(f"/proc/{pid}/fd"))
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + dice.randint(0, 2), hard))
        time.sleep(dice.uniform(0.3, 1.5))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ProcessLookupError, TypeError):
        return "nobody was there"
    return f"{'the master' if pid == world.process.pid else 'a worker'} had {used} descriptors and no more"


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


@kind("aof-cut", bodies=True, loses="ledger")
def _aof_cut(world, dice):
    if dice.random() < 0.5:
        world.kill_everything()
        look_at_what_stands(world)
        return f"all killed, {cut_newest_file(world, dice)} bytes lost"
    stopped = not world.plan.external and world.kill(world.process.pid, signal.SIGSTOP)
    world.redis_kill()
    harness.wait_for(lambda: not world.pids("redis-server"), 10, "redis-server to end")
    cut = cut_newest_file(world, dice)
    world.redis_ensure()
    if stopped:
        world.kill(world.process.pid, signal.SIGCONT)
    return f"Redis killed under a live node, {cut} bytes lost"


def _let_it_notice(world):
    """Until it says that it stands still, it ends, or goes on unharmed for a while."""
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline and world.process.poll() is None and not world.stands_still():
        world.progress()
        time.sleep(0.05)
    if not world.stands_still():
        return "no word about it"
    return f"noticed, restore gave {world.restore()}"


@kind("flushall", bodies=True, loses="ledger")
def _flushall(world, _):
    try:
        with witness.Redis(world.redis_where()) as redis:
            redis.call("FLUSHALL")
    except (OSError, RuntimeError) as error:
        return f"no Redis to flush: {error}"
    return f"FLUSHALL, {_let_it_notice(world)}"


@kind("evicted", bodies=True, loses="ledger")
def _evicted(world, dice):
    try:
        with witness.Redis(world.redis_where()) as redis:
            keys = sorted(redis.call("KEYS", "{" + CAMPAIGN + "}:*"))
            key = dice.choice(keys) if keys else None
            if key is not None:
                redis.call("DEL", key)
                world.evicted = True
    except (OSError, RuntimeError) as error:
        return f"no Redis to evict from: {error}"
    if key is None:
        return "no key was there"
    return f"{key.decode()} evicted, {_let_it_notice(world)}"


@kind("proxy", external=True)
def _proxy(world, dice):
    seconds = dice.uniform(0.3, LEASE_S * 1.5)
    world.proxy.mode("drop")
    time.sleep(seconds)
    world.proxy.mode("pass")
    return f"Redis not to be reached for {seconds:.1f} s"


@kind("replies-lost", external=True)
def _replies_lost(world, dice):
    seconds = dice.uniform(0.005, 0.5)
    world.proxy.mode("deaf")
    time.sleep(seconds)
    world.proxy.mode("pass")
    return f"answers of {seconds * 1000:.0f} ms lost"


@kind("two-masters", external=True, bodies=True)
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
    sent = sum(event.get("outcome") == "sent" for event in witness.read_events(log)[0])
    # A first node that ended by itself (a fault at its start, say) has given its name and its lease back.
    gave_back = world.process.poll() is not None and world.process.returncode >= 0
    if held and sent and not gave_back:
        world.crashes.append(f"a second node of the same name sent {sent} messages")
    if held and status not in (None, 3) and world.process.poll() is None:
        world.crashes.append(f"a second node of the same name ended with {status} and not with 3")
    return f"a second node {'waited' if status is None else f'ended with {status}'}, sent {sent}{'' if held else ': no lease'}"


@kind("full-disk", root=True)
def _full_disk(world, dice):
    """Not a byte is free for a while: where the log is, where the ledger is, or both."""
    which = dice.choice([["events"], ["state"], ["events", "state"]])
    seconds = dice.uniform(0.3, 2.5)
    fillers = [world.path(name, "filler") for name in which]
    for filler in fillers:
        with open(filler, "wb", buffering=0) as f:
            try:
                while f.write(b"\0" * 65536):
                    pass
            except OSError:
                pass
    time.sleep(seconds)
    for filler in fillers:
        os.unlink(filler)
    return f"no room for {' and '.join(which)} for {seconds:.1f} s"


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


@kind("boot-id", bodies=True, faults=True, loses="region")
def _boot_id(world, dice):
    """The power goes: nothing in the region is believed, and the log may lack its last second."""
    world.kill_everything()
    look_at_what_stands(world)
    world.env["HIKYAKU_BOOT_ID"] = "%08x-0000-4000-8000-%012x" % (dice.getrandbits(32), dice.getrandbits(48))
    lost = _lose_the_last_second(world, dice) if os.path.exists(world.events_path) and dice.random() < 0.5 else 0
    world.log_was_cut = world.log_was_cut or lost > 0
    return f"all killed, the machine was started anew, {lost} bytes of the log lost"


@kind("clock", faults=True)
def _clock(world, dice):
    hours = dice.choice([-3600, 3600])
    world.write("clock", f"{hours}\n")
    time.sleep(dice.uniform(0.2, 2))
    if dice.random() < 0.5:
        world.write("clock", "0\n")
    return f"the clock went {hours:+} s"


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
    return f"{fault}, {'struck' if struck and os.listdir(once) else 'did not strike'}"


@kind("fault-point", bodies=True, faults=True)
def _fault_point(world, dice):
    point = dice.choice(world.fault_points["kill"])
    return _with_fault(world, f"any/{point}:{int(2 ** dice.uniform(0, 10))}:kill")


@kind("fault-error", bodies=True, faults=True)
def _fault_error(world, dice):
    """One call fails, or writes half of what it was given, and nobody dies of it by plan."""
    action, points = dice.choice([(f"error:{name}", world.fault_points["error"]) for name in ERRORS] +
                                 [("short", world.fault_points["short"])])
    return _with_fault(world, f"any/{dice.choice(points)}:{int(2 ** dice.uniform(0, 10))}:{action}")


@kind("malloc", bodies=True, faults=True)
def _malloc(world, dice):
    return _with_fault(world, f"worker/malloc:{int(2 ** dice.uniform(0, 12))}:error:ENOMEM")
