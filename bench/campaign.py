"""campaign.py - one campaign of the bench: its inputs, the run against sinks of this machine, and what the receiver saw.

CPU time is what the kernel counted for all processes of hikyaku: command, master, workers, resolver, import and the embedded
Redis. Exact is who got the message once each: read from the receiver's log, address by address. Where everything is killed on
the way and sent again, the two lives are one campaign: nobody twice, and whoever is lacking is one of those that `hikyaku unknown
list` names, who are no more than bodies were in flight at the kill.
"""
import array
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.join(os.path.dirname(HERE), "tests")
sys.path[:0] = [HERE, os.path.join(TESTS, "integration"), os.path.join(TESTS, "torture")]
from delay import Delay  # noqa: E402
from facts import flights  # noqa: E402
from nsd import Nsd, free_port  # noqa: E402
from processes import Watch, cpu_of, end_all, reap, tree_of  # noqa: E402
from sinks import Sink  # noqa: E402

DOMAINS = 2000        # of a campaign without DNS
MX_ADDRESSES = 8      # loopback addresses that share the hosts of a campaign with DNS: ports of one would run out
TIMES_READ = 200000   # of the event log, for the quantiles of times
SYNCS = 50            # to the disk of a campaign whose receiver is far away, for what one takes
SYNC_BYTES = 500      # about what a message has Redis write
SYNC_PAUSE_S = 0.02
KILL_LOOK_S = 0.1     # between two looks at how many were accepted
LOGGED = re.compile(r"\d{4}-\d\d-\d\dT\S+ \w+ \w+")  # a line of the log on standard error, not of the report
RECOVERY_LINES = 20   # that a start after a kill said, kept beside its figure
MANNERS = ("out_of_turn", "bad_commands", "bare_lf", "long_lines", "abandoned", "tls_failures")


class Failed(Exception):
    """A program that is needed here does not do its part."""


def output(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command[:3])}: {done.stderr.strip() or 'status %d' % done.returncode}")
    return done.stdout


# ---- inputs ----

def domain_of(case, count, number):
    return f"d{number % (count if case.domains else DOMAINS)}.bench.test"


def number_of(case, count, address):
    """Whose address of the list that is; None: nobody's."""
    digits = address[len("reader"):].partition("@")[0]
    number = int(digits) if digits.isdecimal() else count
    return number if number < count and address == f"reader{number}@{domain_of(case, count, number)}" else None


def zone_of(count):
    """`test`: each domain with an MX host of its own, that is, a site of its own."""
    return "".join(f"d{i}.bench MX 10 mx.d{i}.bench\nmx.d{i}.bench A 127.0.0.{2 + i % MX_ADDRESSES}\n" for i in range(count))


def write_message(path, case):
    line = "The couriers carried the mail on foot, in relays, through every season of th\r\n"
    head = ("From: Bench <news@bench.test>\r\nSubject: News for {{name}}\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n\r\n")
    body, tag = line * ((case.size - 600) // len(line)), "Dear {{name}},\r\n"
    with open(path, "w", newline="", encoding="utf-8") as f:
        f.write(head + (tag + body if case.tag == "top" else body + tag))


def write_list(path, case, count):
    with open(path, "w", encoding="utf-8") as f:
        f.write("email,name\n")
        for begin in range(0, count, 100000):
            f.write("".join(f"reader{i}@{domain_of(case, count, i)},Reader {i}\n"
                            for i in range(begin, min(begin + 100000, count))))


def write_config(folder, hikyaku, case, connections, to, events):
    """to: the lines that say where mail goes."""
    output([hikyaku, "keygen", "verp", "--out", f"{folder}/verp.key"])
    dkim = ""
    if case.key:
        output([hikyaku, "keygen", "dkim", "--domain", "bench.test", "--selector", "s1", "--type", case.key, "--out",
                f"{folder}/s1.pem"])
        dkim = 'dkim "s1" { domain = "bench.test" key_file = "s1.pem" }\n'
    with open(f"{folder}/bench.conf", "w", encoding="utf-8") as f:
        f.write(f'hostname = "sender.bench.test"\nstate_dir = "{folder}/state"\nworkers = {case.workers}\n'
                'sender { from_domain = "bench.test" return_path = "bounce.bench.test" secret_file = "verp.key" '
                f'unsubscribe_url = "https://u.bench.test/" list_id = "news.bench.test" }}\n{dkim}{to}'
                f'provider "default" {{ max_connections = {connections} max_connection_rate = "none" rate = "none" '
                f'messages_per_connection = "{case.per_connection}" }}\n'
                f'retry {{ schedule = {{ {case.retry_s}s }} }}\n' +
                (f'events {{ file = "{events}" }}\n' if events else ""))


# ---- the receiver ----

@contextlib.contextmanager
def receiver(build, case, count, connections, folder):
    """The sink, and the lines of the configuration that lead to it."""
    port = free_port("127.0.0.2")
    listen = [f"127.0.0.{2 + i}:{port}" for i in range(MX_ADDRESSES if case.domains else 1)]
    options = ["--quiet", "--log", f"{folder}/log"] + (["--log-mail"] if case.delay_ms else [])
    options += ["--tls", "auto"] if case.tls else []
    options += ["--defer", str(case.defer)] if case.defer else []
    options += ["--latency", str(case.latency_ms)] if case.latency_ms else []
    smtp = f"smtp {{ port = {port} connections = {max(connections, 2000)} idle_timeout = {case.idle_s}s }}\n"
    with contextlib.ExitStack() as started:
        sink = Sink(build, *options, listen=listen, log=False)
        started.callback(sink.stop)
        sink.start()
        if case.domains:
            dns = started.enter_context(Nsd({"test": zone_of(count)}))
            yield sink, f'resolver {{ servers = {{ "{dns.server()}" }} }}\n{smtp}tls {{ policy = none }}\n'
            return
        address = listen[0]
        if case.delay_ms:
            far = Delay(*address.split(":"), case.delay_ms / 2000)
            started.callback(far.stop)
            address = f"127.0.0.1:{far.port}"
        yield sink, f'{smtp}route "*" {{ relay = "{address}" tls = {"required" if case.tls else "none"} }}\n'


class Seen:
    """What the sink's log says: how often each recipient got the message, and when."""

    def __init__(self, path, case, count, old_connections=None):
        """old_connections: of a campaign that was killed, how many there had been by then."""
        self.case, self.count = case, count
        self.times = array.array("H", bytes(2 * count))
        self.strangers = self.in_plain = 0
        self.first_again_us = None
        self.accepted_us = []  # of a receiver that is far away
        self.first_us = self.last_us = self.last_deferred_us = None
        with open(path, "rb") as f:
            for line in f:
                at, event, connection, tls, _, address = line.rstrip(b"\n").split(b" ", 5)
                if event in (b"accepted", b"ambiguous"):
                    self._accepted(int(at), address.decode(errors="replace"))
                    self.in_plain += tls == b"0"
                    if old_connections is not None and self.first_again_us is None and int(connection) > old_connections:
                        self.first_again_us = int(at)
                elif event == b"deferred":
                    self.last_deferred_us = int(at)

    def _accepted(self, at_us, address):
        self.first_us = self.first_us or at_us
        self.last_us = at_us
        if self.case.delay_ms:
            self.accepted_us.append(at_us)
        number = number_of(self.case, self.count, address)
        if number is None:
            self.strangers += 1
        else:
            self.times[number] = min(self.times[number] + 1, 65535)

    def exactness(self, unknown=()):
        """unknown: numbers of those about whom the program says that nobody knows; they may lack."""
        lack = self.times.count(0)
        lost = lack - sum(self.times[number] == 0 for number in unknown)
        return {"delivered": self.count - lack, "lost": lost, "duplicates": sum(self.times) - (self.count - lack),
                "strangers": self.strangers}


def middle_step_ms(times_us):
    """From one of these moments to the next, the one in the middle; None where there are less than two."""
    steps = [after - before for before, after in zip(times_us, times_us[1:])]
    return round(statistics.median(steps) / 1000, 3) if steps else None


def answer_times(folder):
    """p50 and p99 of smtp_ms over the first attempts in the event log; None where there is none."""
    times = []
    try:
        with open(os.path.join(folder, "state", "events.jsonl"), encoding="utf-8") as f:
            for line in f:
                event = json.loads(line)
                if event.get("type") == "attempt" and event.get("outcome") == "sent":
                    times.append(event["smtp_ms"])
                if len(times) == TIMES_READ:
                    break
    except (OSError, ValueError, KeyError):
        return None, None
    times.sort()
    return (times[len(times) // 2], times[len(times) * 99 // 100]) if times else (None, None)


def fdatasync_ms(folder):
    """What it takes this disk to keep a few hundred octets more of a file, in the middle of so many: Redis waits for it before it
    answers. With pauses, since what a disk can gather from one behind the other is another figure."""
    took = []
    fd = os.open(f"{folder}/sync", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for _ in range(SYNCS):
            os.write(fd, b"x" * SYNC_BYTES)
            began = time.perf_counter()
            os.fdatasync(fd)
            took.append(time.perf_counter() - began)
            time.sleep(SYNC_PAUSE_S)
    finally:
        os.close(fd)
    return round(statistics.median(took) * 1000, 4)


# ---- the run ----

class Life:
    """One `send` and all that it starts, from its start to the end of the last of them."""

    def __init__(self, command, errors, spare):
        self.spare, self.errors, self.errors_at = spare, errors, os.fstat(errors.fileno()).st_size
        self.started_at = time.time()
        self.send = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        self.watch = Watch(self.send.pid, spare)
        self.watch.start()
        self.cpu = self.left = 0

    def is_over(self):
        return os.waitid(os.P_PID, self.send.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self):
        end_all(self.watch.pids, self.spare)

    def see_out(self):
        self.cpu, self.send.returncode = reap(self.spare, self.send.pid)
        self.watch.done.set()
        self.watch.join()
        self.left = end_all(self.watch.pids, self.spare | {self.send.pid})

    def said(self):
        with open(self.errors.name, encoding="utf-8", errors="replace") as f:
            f.seek(self.errors_at)
            return f.read()

    def abandon(self):
        if self.send.returncode is None:
            end_all(lambda: tree_of([self.send.pid]), set())


class Kill:
    """Everything of a life is killed when the sink has accepted so many; what is seen then."""

    def __init__(self, life, sink, folder, accepted):
        self.happened = False
        while not life.is_over():
            self.accepted = sink.ledger()["accepted"]
            if self.accepted >= accepted:
                self._strike(life, sink, folder)
                return
            time.sleep(KILL_LOOK_S)

    def _strike(self, life, sink, folder):
        self.at = time.time()
        life.kill()
        life.see_out()
        self.connections = sink.ledger()["connections"]
        in_dot = flights(f"{folder}/state/region")
        self.happened = in_dot is not None
        self.in_flight = len(in_dot) if self.happened else None


def unknown_ones(hikyaku, folder, case, count):
    """Numbers of those whom the program calls unknown."""
    lines = output([hikyaku, "unknown", "list", "--config", f"{folder}/bench.conf", "--campaign", "bench", "--json"]).splitlines()
    numbers = [number_of(case, count, json.loads(line)["recipient"]) for line in lines]
    if None in numbers:
        raise Failed("hikyaku unknown list names somebody who is not in the list")
    return numbers


def after_the_kill(kill, seen, unknown, life):
    """Figures of a campaign that was killed and sent again: from the signal, which is before the end of any worker, to the first
    message that the receiver accepted on a connection that was not there before."""
    return {"restart_s": round(seen.first_again_us / 1e6 - kill.at, 3) if seen.first_again_us else None,
            "accepted_before_the_kill": kill.accepted, "in_flight_at_the_kill": kill.in_flight, "unknown": len(unknown),
            "unknown_arrived": sum(seen.times[number] > 0 for number in unknown),
            "recovery": [line for line in life.said().splitlines() if LOGGED.match(line)][:RECOVERY_LINES]}


def roles_of(lives):
    """CPU seconds of each role in all lives."""
    merged = {}
    for life in lives:
        for role, seconds in life.watch.cpu_by_role().items():
            merged[role] = round(merged.get(role, 0) + seconds, 3)
    return merged


def faults_of_the_kill(case, figures):
    """Connections that died in their handshake count as without TLS, so of such a campaign the messages are looked at."""
    if case.tls and figures["in_plain"]:
        yield f"{figures['in_plain']} messages without TLS"
    if "restart_s" not in figures:
        yield "it was over before it could be killed"
    elif figures["unknown"] > figures["in_flight_at_the_kill"]:
        yield f"{figures['unknown']} are unknown, and {figures['in_flight_at_the_kill']} bodies were in flight at the kill"
    elif figures["restart_s"] is None:
        yield "nothing was accepted after the kill"


def faults_of(case, count, connections, figures, ledger):
    """Why no figure of this campaign may be shown; nothing where all is well."""
    for what in ("lost", "duplicates", "strangers"):
        if figures[what]:
            yield f"{figures[what]} {what}"
    if figures["exit_status"] != figures["exit_expected"]:
        yield f"exit status {figures['exit_status']}"
    if figures["left_running"]:
        yield f"{figures['left_running']} processes left running"
    if case.tls and ledger["tls"] < ledger["connections"] and not case.kill_at:
        yield f"{ledger['connections'] - ledger['tls']} connections without TLS"
    if case.kill_at:
        yield from faults_of_the_kill(case, figures)
    if case.all_open and figures["most_connections"] < connections:
        yield f"only {figures['most_connections']} connections were open at once"
    if case.resumed and ledger["connections"] - ledger["tls_resumed"] > 2 * connections:
        yield f"only {ledger['tls_resumed']} of {ledger['connections']} connections resumed their session"
    if case.domains and ledger["connections"] < count:
        yield f"only {ledger['connections']} connections"
    if case.defer and ledger["deferred"] < count * case.defer * 0.8:
        yield f"only {ledger['deferred']} were deferred"


def times_of(seen, watch, started_at):
    """What the moments of the receiver's log tell: figures that only some rows need."""
    out = {"first_accepted_s": None, "messages_per_second_at_the_receiver": None, "idle_memory_bytes": None}
    if seen.first_us:
        out["first_accepted_s"] = round(seen.first_us / 1e6 - started_at, 3)
        if seen.last_us > seen.first_us:
            between = sum(seen.times) - 1
            out["messages_per_second_at_the_receiver"] = round(between * 1e6 / (seen.last_us - seen.first_us), 3)
        if seen.last_deferred_us:
            # Before the first retry nobody has work; freed memory goes back to the system in ten seconds.
            begin = max(seen.last_deferred_us / 1e6 + 1, seen.first_us / 1e6 - 5)
            out["idle_memory_bytes"] = watch.memory_between(begin, seen.first_us / 1e6 - 1)
    return out


def run(build, case, count, connections, program=None, events=None, exit_expected=0, keep=False):
    """Send one campaign; its figures. program: the build directory of hikyaku, where it is another one."""
    folder = tempfile.mkdtemp(prefix="bench-")
    hikyaku = os.path.join(program or build, "hikyaku")
    command = [hikyaku, "send", "--config", f"{folder}/bench.conf", "--campaign", "bench", "--list", f"{folder}/list.csv",
               "--message", f"{folder}/message.eml"]
    lives, kill = [], None
    try:
        write_message(f"{folder}/message.eml", case)
        write_list(f"{folder}/list.csv", case, count)
        with receiver(build, case, count, connections, folder) as (sink, to), open(f"{folder}/errors", "ab") as errors:
            write_config(folder, hikyaku, case, connections, to, events)
            spare = set(tree_of([os.getpid()])) | {0}
            started = time.monotonic()
            lives.append(Life(command, errors, spare))
            if case.kill_at:
                kill = Kill(lives[0], sink, folder, count * case.kill_at)
                if kill.happened:
                    lives.append(Life(command, errors, spare))
            lives[-1].see_out()
            seconds = time.monotonic() - started
            sink_cpu = cpu_of(sink.process.pid)
            ledger = sink.stop()
        seen = Seen(f"{folder}/log", case, count, kill.connections if len(lives) > 1 else None)
        last, largest, cpu = lives[-1], max((life.watch for life in lives), key=lambda watch: watch.peak), sum(x.cpu for x in lives)
        p50, p99 = answer_times(folder)
        out = {"title": case.title, "count": count, "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3),
               "cpu_by_role": roles_of(lives), "messages_per_second": round(count / seconds),
               "messages_per_cpu_second": round(count / cpu), "memory_bytes": largest.peak,
               "memory_by_role": largest.peak_by_role, "p50_ms": p50, "p99_ms": p99, "exit_status": last.send.returncode,
               "exit_expected": exit_expected, "left_running": last.left, "sink_cpu_seconds": round(sink_cpu, 2),
               "connections": ledger["connections"], "most_connections": ledger["max_connections_at_once"],
               "tls_connections": ledger["tls"], "tls_resumed": ledger["tls_resumed"], "in_plain": seen.in_plain,
               "manners": {name: ledger[name] for name in MANNERS}}
        unknown = unknown_ones(hikyaku, folder, case, count) if len(lives) > 1 else []
        out.update(seen.exactness(unknown))
        if len(lives) > 1:
            out.update(after_the_kill(kill, seen, unknown, last))
        out.update(times_of(seen, lives[0].watch, lives[0].started_at))
        if case.delay_ms:
            out["between_ms"] = middle_step_ms(seen.accepted_us)
            out["fdatasync_ms"] = fdatasync_ms(folder)
        out["faults"] = list(faults_of(case, count, connections, out, ledger))
        if last.send.returncode != exit_expected:
            out["errors"] = last.said()[-2000:].strip()
        return out
    finally:
        for life in lives:
            life.abandon()
        if keep:
            sys.stderr.write(f"bench/run: files are in {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
