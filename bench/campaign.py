"""campaign.py - one campaign of the bench: its inputs, the run against sinks of this machine, and what the receiver saw.

CPU time is what the kernel counted for all processes of hikyaku: command, master, workers, resolver, import and the embedded
Redis. Exact is who got the message once each: read from the receiver's log, address by address.
"""
import array
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "tests", "integration")]
from delay import Delay  # noqa: E402
from nsd import Nsd, free_port  # noqa: E402
from processes import Watch, cpu_of, end_all, reap, tree_of  # noqa: E402
from sinks import Sink  # noqa: E402

DOMAINS = 2000        # of a campaign without DNS
MX_ADDRESSES = 8      # loopback addresses that share the hosts of a campaign with DNS: ports of one would run out
TIMES_READ = 200000   # of the event log, for the quantiles of times
SYNCS = 50            # to the disk of a campaign whose receiver is far away, for what one takes
SYNC_BYTES = 500      # about what a message has Redis write
SYNC_PAUSE_S = 0.02
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

    def __init__(self, path, case, count):
        self.case, self.count = case, count
        self.times = array.array("H", bytes(2 * count))
        self.strangers = 0
        self.accepted_us = []  # of a receiver that is far away
        self.first_us = self.last_us = self.last_deferred_us = None
        with open(path, "rb") as f:
            for line in f:
                at, event, _, _, _, address = line.rstrip(b"\n").split(b" ", 5)
                if event in (b"accepted", b"ambiguous"):
                    self._accepted(int(at), address.decode(errors="replace"))
                elif event == b"deferred":
                    self.last_deferred_us = int(at)

    def _accepted(self, at_us, address):
        self.first_us = self.first_us or at_us
        self.last_us = at_us
        if self.case.delay_ms:
            self.accepted_us.append(at_us)
        digits = address[len("reader"):].partition("@")[0]
        number = int(digits) if digits.isdecimal() else self.count
        if number < self.count and address == f"reader{number}@{domain_of(self.case, self.count, number)}":
            self.times[number] = min(self.times[number] + 1, 65535)
        else:
            self.strangers += 1

    def exactness(self):
        lost = self.times.count(0)
        return {"delivered": self.count - lost, "lost": lost, "duplicates": sum(self.times) - (self.count - lost),
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

def faults_of(case, count, connections, figures, ledger):
    """Why no figure of this campaign may be shown; nothing where all is well."""
    for what in ("lost", "duplicates", "strangers"):
        if figures[what]:
            yield f"{figures[what]} {what}"
    if figures["exit_status"] != figures["exit_expected"]:
        yield f"exit status {figures['exit_status']}"
    if figures["left_running"]:
        yield f"{figures['left_running']} processes left running"
    if case.tls and ledger["tls"] < ledger["connections"]:
        yield f"{ledger['connections'] - ledger['tls']} connections without TLS"
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
    send = None
    try:
        write_message(f"{folder}/message.eml", case)
        write_list(f"{folder}/list.csv", case, count)
        with receiver(build, case, count, connections, folder) as (sink, to):
            write_config(folder, hikyaku, case, connections, to, events)
            spare = set(tree_of([os.getpid()])) | {0}
            started, started_at = time.monotonic(), time.time()
            with open(f"{folder}/errors", "wb") as errors:
                send = subprocess.Popen([hikyaku, "send", "--config", f"{folder}/bench.conf", "--campaign", "bench", "--list",
                                         f"{folder}/list.csv", "--message", f"{folder}/message.eml"],
                                        stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
            watch = Watch(send.pid, spare)
            watch.start()
            cpu, send.returncode = reap(spare, send.pid)
            seconds = time.monotonic() - started
            watch.done.set()
            watch.join()
            left = end_all(watch.pids, spare | {send.pid})
            sink_cpu = cpu_of(sink.process.pid)
            ledger = sink.stop()
        seen = Seen(f"{folder}/log", case, count)
        p50, p99 = answer_times(folder)
        out = {"title": case.title, "count": count, "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3),
               "cpu_by_role": watch.cpu_by_role(), "messages_per_second": round(count / seconds),
               "messages_per_cpu_second": round(count / cpu), "memory_bytes": watch.peak,
               "memory_by_role": watch.peak_by_role, "p50_ms": p50, "p99_ms": p99, "exit_status": send.returncode,
               "exit_expected": exit_expected, "left_running": left, "sink_cpu_seconds": round(sink_cpu, 2),
               "connections": ledger["connections"], "most_connections": ledger["max_connections_at_once"],
               "tls_connections": ledger["tls"], "tls_resumed": ledger["tls_resumed"],
               "manners": {name: ledger[name] for name in MANNERS}}
        out.update(seen.exactness())
        out.update(times_of(seen, watch, started_at))
        if case.delay_ms:
            out["between_ms"] = middle_step_ms(seen.accepted_us)
            out["fdatasync_ms"] = fdatasync_ms(folder)
        out["faults"] = list(faults_of(case, count, connections, out, ledger))
        if send.returncode != exit_expected:
            with open(f"{folder}/errors", encoding="utf-8", errors="replace") as f:
                out["errors"] = f.read()[-2000:].strip()
        return out
    finally:
        if send is not None and send.returncode is None:
            end_all(lambda: tree_of([send.pid]), set())
        if keep:
            sys.stderr.write(f"bench/run: files are in {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
