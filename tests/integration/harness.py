"""What an integration test of the whole program needs: DNS, receivers, keys, a configuration, and hikyaku.

    class Test(harness.Case):
        def test_everyone_gets_one(self):
            a = self.receiver("a", "--unknown", "0.1")
            self.dns(mx={"a.test": a})
            self.configure()
            done = self.send("c1", ["u1@a.test", "u2@a.test"])

Each test has a temporary directory, loopback addresses of its own and a free port, so tests can run side by
side. What it starts is ended by pid at its end, also when it fails. The receiver is bench/sink; what counts is
what it has seen (Receiver.ledger, Receiver.log), not what hikyaku says of itself. BUILD is the build directory,
the first argument of each test program.
"""
import collections
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import dns.message
import dns.query

from nsd import Nsd, die_with_parent

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.realpath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(ROOT, "build", "release")
SENDER = "news.test"

MESSAGE = """\
From: News <news@news.test>
To: <{{email}}>
Subject: To {{email}}
Content-Type: text/plain; charset=utf-8

Dear {{email}}, to hear no more of us: {{unsubscribe_url}}
"""

CONFIG = """\
hostname  = "mta.news.test"
state_dir = "{dir}/state"
workers   = 2
sender   {{ from_domain = "news.test" return_path = "bounce.news.test" secret_file = "verp.key"
           unsubscribe_url = "https://news.test/u/" }}
resolver {{ servers = {{ "{dns}" }} }}
smtp     {{ port = {port} }}
tls      {{ policy = {tls} }}
retry    {{ schedule = {{ {schedule} }} give_up = {give_up} }}
node     {{ orphan = 2s drain = 20s }}
{dkim}
provider "default" {{ max_connections = {connections} max_connection_rate = "none" rate = "none"
                     messages_per_connection = 100 }}
{more}
"""

Done = collections.namedtuple("Done", "status out err")
Seen = collections.namedtuple("Seen", "time_us event connection tls port address")


def wait_for(condition, seconds, what):
    """Until condition() gives something true, which is returned; AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


class Receiver:
    """One bench/sink on one loopback address."""

    def __init__(self, folder, name, address, port, options):
        self.name, self.address = name, address
        self._ledger = os.path.join(folder, name + ".ledger.json")
        self._log = os.path.join(folder, name + ".log")
        self.store = os.path.join(folder, name + ".store")
        command = [os.path.join(BUILD, "bench", "sink"), "--listen", f"{address}:{port}", "--quiet", "--ledger",
                   self._ledger, "--log", self._log, *[o.replace("{store}", self.store) for o in options]]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
                                        start_new_session=True, preexec_fn=die_with_parent)
        if not self.process.stdout.readline().startswith("ready"):
            self.stop()
            raise RuntimeError(f"the receiver {name} does not start")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.process.stdout.close()

    def ledger(self):
        """Its figures; it has to be stopped before."""
        with open(self._ledger, encoding="utf-8") as f:
            return json.load(f)

    def log(self, *events):
        """What it has seen, in order; it has to be stopped before."""
        found = []
        with open(self._log, encoding="utf-8") as f:
            for line in f:
                word = line.split()
                if len(word) >= 5 and (not events or word[1] in events):
                    found.append(Seen(int(word[0]), word[1], int(word[2]), word[3] == "1", int(word[4]),
                                      word[5] if len(word) > 5 else ""))
        return found

    def taken(self):
        """Address -> how often it got the message (a reply that never left counts: it has the message)."""
        return collections.Counter(s.address for s in self.log("accepted", "ambiguous"))


class Case(unittest.TestCase):
    next_address = 0

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="hikyaku-test-")
        self.addCleanup(self._clean_up)
        self.receivers, self.running, self.nsd = [], [], None
        self.net = (os.getpid() % 250) + 1  # loopback addresses of our own: 127.NET.X.Y
        self.port = self._free_port()

    def _clean_up(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()
        self._end_redis()
        for receiver in self.receivers:
            receiver.stop()
        if self.nsd:
            self.nsd.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _end_redis(self):
        """The embedded server outlives a killed node, by design: end it through its socket."""
        path = self.path("state", "redis.sock")
        with socket.socket(socket.AF_UNIX) as s:
            if s.connect_ex(path) == 0:
                s.sendall(b"SHUTDOWN NOSAVE\r\n")
                s.settimeout(10)
                try:
                    while s.recv(1024):
                        pass
                except OSError:
                    pass

    def redis_cli(self, *words, check=True):
        """What the embedded server answers; with check=False "" where it does not."""
        done = subprocess.run(["redis-cli", "-s", self.path("state", "redis.sock"), *words], capture_output=True, text=True,
                              timeout=20, check=check)
        return done.stdout.strip()

    @staticmethod
    def _free_port():
        with socket.socket() as s:
            s.bind(("", 0))
            return s.getsockname()[1]

    def path(self, *name):
        return os.path.join(self.dir, *name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        return self.path(name)

    def receiver(self, name, *options):
        Case.next_address += 1
        address = f"127.{self.net}.{Case.next_address // 250}.{Case.next_address % 250 + 1}"
        receiver = Receiver(self.dir, name, address, self.port, options)
        self.receivers.append(receiver)
        return receiver

    def dns(self, mx, more="", servfail=()):
        """mx: domain -> Receiver. Each receiver is the MX host NAME.mx.test."""
        hosts = {r.name: r.address for r in mx.values()}
        lines = [f"{host}.mx.test. A {address}" for host, address in hosts.items()]
        lines += [f"{domain}. MX 10 {r.name}.mx.test." for domain, r in mx.items()]
        self.nsd = Nsd({"test": "\n".join(lines) + "\n" + more + "\n"}, servfail).start()

    def txt(self, name, timeout=5):
        """The TXT record behind a name, for dkim.verify."""
        question = dns.message.make_query(name.decode(), "TXT")
        answer = dns.query.udp(question, self.nsd.address, timeout=timeout, port=self.nsd.port).answer
        return b"".join(answer[0][0].strings) if answer else None

    def keys(self, dkim=False):
        """verp.key, and s1.pem with its DNS record as the return value."""
        if not os.path.exists(self.path("verp.key")):
            self.hikyaku("keygen", "verp", "--out", self.path("verp.key"), expect=0)
        if not dkim:
            return ""
        return self.hikyaku("keygen", "dkim", "--domain", SENDER, "--selector", "s1", "--out", self.path("s1.pem"),
                            expect=0).out

    def configure(self, more="", dkim=False, tls="opportunistic", connections=10, schedule="1s", give_up="10s"):
        self.keys()
        section = f'dkim "s1" {{ domain = "{SENDER}" key_file = "s1.pem" }}' if dkim else ""
        self.write("hikyaku.conf", CONFIG.format(dir=self.dir, dns=self.nsd.server(), port=self.port, tls=tls,
                                                 dkim=section, connections=connections, more=more, schedule=schedule,
                                                 give_up=give_up))

    def list(self, rows, name="list.csv", header=("email",)):
        with open(self.path(name), "w", encoding="utf-8", newline="") as f:
            out = csv.writer(f)
            out.writerow(header)
            out.writerows([row] if isinstance(row, str) else row for row in rows)
        return self.path(name)

    def hikyaku(self, *words, expect=None, timeout=120):
        """Run a command to its end. With expect: its exit status has to be that."""
        process = self.start(*words)
        return self.finish(process, expect, timeout)

    def start(self, *words, stdin=subprocess.DEVNULL):
        """Start a command. All of them write their errors behind each other into one file."""
        with open(self.path("stderr"), "ab") as errors:
            at = errors.tell()
            process = subprocess.Popen([os.path.join(BUILD, "hikyaku"), *words], stdin=stdin, text=True,
                                       stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
                                       preexec_fn=die_with_parent)
        process.errors_at = at
        self.running.append(process)
        return process

    def finish(self, process, expect=None, timeout=120):
        out, _ = process.communicate(timeout=timeout)
        with open(self.path("stderr"), "rb") as f:
            f.seek(process.errors_at)
            done = Done(process.returncode, out, f.read().decode("utf-8", "replace"))
        if expect is not None:
            self.assertEqual(done.status, expect, f"{process.args}\n{done.out[-2000:]}\n{done.err[-4000:]}")
        return done

    def send_words(self, campaign="c", rows=None, message=None, more=()):
        if rows is not None:
            self.list(rows)
        if message is not None or not os.path.exists(self.path("message.eml")):
            self.write("message.eml", message or MESSAGE)
        return ("send", "--config", self.path("hikyaku.conf"), "--campaign", campaign, "--list",
                self.path("list.csv"), "--message", self.path("message.eml"), *more)

    def send(self, campaign="c", rows=None, message=None, expect=0, more=(), timeout=120):
        return self.hikyaku(*self.send_words(campaign, rows, message, more), expect=expect, timeout=timeout)

    def start_send(self, campaign="c", rows=None, message=None):
        return self.start(*self.send_words(campaign, rows, message))

    def report(self, campaign="c"):
        done = self.hikyaku("report", "--config", self.path("hikyaku.conf"), "--campaign", campaign, "--json", expect=0)
        return json.loads(done.out)

    def recipients(self, campaign="c"):
        done = self.hikyaku("report", "--config", self.path("hikyaku.conf"), "--campaign", campaign, "--recipients",
                            expect=0)
        return [json.loads(line) for line in done.out.splitlines()]

    def status(self):
        done = self.hikyaku("status", "--config", self.path("hikyaku.conf"), "--json", expect=0)
        return json.loads(done.out)

    def events(self):
        """How many lines the event log has by now."""
        try:
            with open(self.path("state", "events.jsonl"), "rb") as f:
                return sum(block.count(b"\n") for block in iter(lambda: f.read(1 << 20), b""))
        except FileNotFoundError:
            return 0

    def wait_for_events(self, count, process, seconds=60):
        """Until that many outcomes are written, or the process has ended."""
        wait_for(lambda: self.events() >= count or process.poll() is not None, seconds, f"{count} event lines")
        self.assertIsNone(process.poll(), f"hikyaku ended early: {self.finish_words()}")

    def finish_words(self):
        with open(self.path("stderr"), encoding="utf-8", errors="replace") as f:
            return f.read()[-2000:]

    def judge_exact(self, people=None, campaign="c"):
        """Exactly once, by the receivers' own ledgers: nobody has the message twice; everyone is `sent` or `unknown`; whoever
        is sent has it, whoever has it is one of the two; the counts are what the list of recipients says. Ends the
        receivers. Returns who is sent, who is unknown, and how often who has it."""
        counts = self.report(campaign)["counts"]
        state = {line["recipient"]: line["state"] for line in self.recipients(campaign)}
        self.stop_receivers()
        taken = sum((r.taken() for r in self.receivers), collections.Counter())
        sent = {r for r, s in state.items() if s == "sent"}
        unknown = {r for r, s in state.items() if s == "unknown"}
        self.assertEqual([r for r, n in taken.items() if n > 1], [], "somebody has it twice")
        self.assertEqual(set(state), set(people or state))
        self.assertEqual(set(state) - sent - unknown, set(), "somebody was left out")
        self.assertEqual(sent - set(taken), set(), "sent, and no receiver has it")
        self.assertEqual(set(taken) - sent - unknown, set(), "a receiver has it, and it is not sent")
        self.assertEqual({s: n for s, n in counts.items() if n}, dict(collections.Counter(state.values())))
        return sent, unknown, taken

    def stop_receivers(self):
        for receiver in self.receivers:
            receiver.stop()

    def interrupt(self, process, number=signal.SIGINT):
        os.kill(process.pid, number)


def main():
    """unittest with the build directory as the first argument."""
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
