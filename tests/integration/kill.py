"""kill -9 of a worker, of the master, of everything, and `send` again: exact on 20,000, judged at the receiver.

Each case kills at five moments of one campaign. Afterwards: nobody has the message twice; whoever is `sent` has
it; whoever has it is `sent` or `unknown`; and no more are unknown than bodies can have been under way.
"""
import ctypes
import glob
import os
import random
import re
import signal
import socket
import time

import harness
from harness import wait_for

DOMAINS = ["big1.test", "big2.test"] + [f"small{n}.test" for n in range(100)]
PEOPLE = [f"u{n}@{DOMAINS[n % 2]}" for n in range(16000)] + [f"u{n}@{DOMAINS[2 + n % 100]}" for n in range(4000)]
MOMENTS = (0.05, 0.2, 0.4, 0.6, 0.8)  # share of the list that has an outcome
CONNECTIONS = 10
PIDFD_GETFD = 438  # the number of that system call, which the C library has no function for
LIMITS = f"""
provider "big" {{ domains = {{ "big1.test", "big2.test" }} max_connections = {CONNECTIONS} }}
"""


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def say_instead(pid, octets):
    """Write into the packet socket of another process, as if it had."""
    libc, pidfd, sent = ctypes.CDLL(None, use_errno=True), os.pidfd_open(pid), 0
    for fd in map(int, os.listdir(f"/proc/{pid}/fd")):
        copy = libc.syscall(PIDFD_GETFD, pidfd, fd, 0)
        if copy >= 0 and os.readlink(f"/proc/self/fd/{copy}").startswith("socket:"):
            with socket.socket(fileno=copy) as s:
                if s.family == socket.AF_UNIX and s.type == socket.SOCK_SEQPACKET:
                    sent += s.send(octets)
        elif copy >= 0:
            os.close(copy)
    os.close(pidfd)
    return sent


def all_but_redis(pids):
    return [pids["master"], *pids["workers"], pids["resolver"]]


class Kill(harness.Case):
    def setUp(self):
        super().setUp()
        self.dice = random.Random(os.environ.get("HIKYAKU_SEED", "1"))
        mx = {}
        for name, domains in (("a", DOMAINS[:1]), ("b", DOMAINS[1:2]), ("c", DOMAINS[2:])):
            receiver = self.receiver(name, "--latency-dot", "10")
            mx.update({d: receiver for d in domains})
        self.dns(mx)
        self.configure(more=LIMITS)
        self.list(PEOPLE)

    def at_each_moment(self, strike, goes_on):
        """Run the campaign, strike(pids) at each moment; where the node did not survive that, send again."""
        process = self.start_send()
        for moment in MOMENTS:
            self.wait_for_events(int(moment * len(PEOPLE)), process)
            pids = self.status()["pids"]
            time.sleep(self.dice.uniform(0, 0.05))
            strike(pids, process)
            if not goes_on:
                process.wait(20)
                self.finish(process)
                process = self.start_send()
        self.finish(process, expect=0, timeout=120)
        self.judge()

    def judge(self):
        sent, unknown, taken = self.judge_exact(PEOPLE)
        print(f"sent {len(sent)}, unknown {len(unknown)} of which {len(unknown & set(taken))} arrived")
        # One body for each connection can be under way at each of the five kills.
        self.assertLessEqual(len(unknown), len(MOMENTS) * 3 * CONNECTIONS)

    def test_a_worker(self):
        def strike(pids, process):
            victim = self.dice.choice(pids["workers"])
            kill(victim)
            wait_for(lambda: process.poll() is not None or victim not in self.status()["pids"]["workers"], 20,
                     "a new worker")
        self.at_each_moment(strike, goes_on=True)

    def test_the_master(self):
        self.at_each_moment(lambda pids, process: kill(pids["master"]), goes_on=False)

    def test_a_resolver_that_says_what_cannot_be_read(self):
        """It is started anew: it reads what strangers send, and the domains it was asked about wait for an answer."""
        people = PEOPLE[-4000:]
        process = self.start_send(rows=people)
        self.wait_for_events(len(people) // 20, process)
        resolver = self.status()["pids"]["resolver"]
        self.assertEqual(say_instead(resolver, b"xyz"), 3)
        wait_for(lambda: process.poll() is not None or self.status()["pids"]["resolver"] not in (0, resolver), 20, "a new resolver")
        self.finish(process, expect=0, timeout=120)
        with open(self.path("stderr"), encoding="utf-8", errors="replace") as f:
            self.assertEqual(f.read().count("the resolver says what cannot be read, and is started anew"), 1)
        sent, unknown, _ = self.judge_exact(people)
        self.assertEqual((len(sent), len(unknown)), (len(people), 0))

    def test_everything(self):
        def strike(pids, process):
            for pid in [*all_but_redis(pids), pids["redis"]]:
                kill(pid)
        self.at_each_moment(strike, goes_on=False)


class Words(harness.Case):
    """What a start after a kill says: a line for each step, in their order, and once."""

    STARTED = r"started the embedded Redis of a dead node \(pid \d+\): its files of \d+\.\d MB were read, in \d+\.\d s"
    ADOPTED = r"adopted the embedded Redis that a dead node left running \(pid (\d+)\)"
    CUT_COMMAND = r"redis-server cut off an unfinished command of (\d+) bytes"
    CUT_TRANSACTION = r"cut off an unfinished transaction of (\d+) bytes"
    TAKEN_UP = r"campaign c: 4000 recipients, [1-9]\d* settled before"
    TOLD = r"told the ledger [1-9]\d* lines? of the event log again( \(from its beginning\))?, in \d+\.\d s"
    LEFT = r"the last run left \d+ messages under way: \d+ had their outcome, \d+ are unknown, \d+ are sent again"
    ALL = (CUT_COMMAND, CUT_TRANSACTION, STARTED, ADOPTED, TAKEN_UP, TOLD, LEFT)

    def life(self, victims, strike=lambda pids, process: None):
        """Send until some more are settled, kill, and give back what it said and what it was."""
        process = self.start_send()
        self.wait_for_events(self.events() + 50, process)
        pids = self.status()["pids"]
        for pid in victims(pids):
            kill(pid)
        strike(pids, process)
        process.wait(20)
        return self.finish(process).err, pids

    def append(self, text):
        """To the file that Redis will load next, once it is dead."""
        def strike(pids, _):
            wait_for(lambda: not os.path.exists(f"/proc/{pids['redis']}") or self.is_dead(pids["redis"]), 20, "the end of Redis")
            newest = max(glob.glob(self.path("state", "redis", "appendonlydir", "*.incr.aof")), key=os.path.getmtime)
            with open(newest, "ab") as f:
                f.write(text)
        return strike

    @staticmethod
    def is_dead(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
        except FileNotFoundError:
            return True

    def assert_said(self, err, *steps):
        """These in this order, each in one line; of the others none."""
        found = [list(re.finditer(step, err)) for step in self.ALL]
        self.assertEqual([len(matches) for matches in found], [step in steps for step in self.ALL], err)
        places = [re.search(step, err).start() for step in steps]
        self.assertEqual(places, sorted(places), err)

    def test_each_step_of_a_recovery_is_said_once(self):
        receiver = self.receiver("a", "--latency-dot", "100")
        self.dns({"a.test": receiver})
        self.configure(connections=10)
        self.list([f"u{n}@a.test" for n in range(4000)])
        torn = b"*3\r\n$3\r\nSET\r\n$4\r\nnob"
        transaction = b"*1\r\n$5\r\nMULTI\r\n" + torn

        def everything(pids):
            return [*all_but_redis(pids), pids["redis"]]
        err, _ = self.life(everything)
        self.assert_said(err)
        err, pids = self.life(all_but_redis)
        self.assert_said(err, self.STARTED, self.TAKEN_UP, self.TOLD, self.LEFT)
        err, _ = self.life(everything, self.append(torn))
        self.assert_said(err, self.ADOPTED, self.TAKEN_UP, self.TOLD, self.LEFT)
        self.assertEqual(int(re.search(self.ADOPTED, err)[1]), pids["redis"])
        err, _ = self.life(everything, self.append(transaction))
        self.assert_said(err, self.CUT_COMMAND, self.STARTED, self.TAKEN_UP, self.TOLD, self.LEFT)
        self.assertEqual(int(re.search(self.CUT_COMMAND, err)[1]), len(torn))
        err, _ = self.life(lambda pids: [], lambda _, process: self.interrupt(process))
        self.assert_said(err, self.CUT_TRANSACTION, self.STARTED, self.TAKEN_UP, self.TOLD, self.LEFT)
        self.assertEqual(int(re.search(self.CUT_TRANSACTION, err)[1]), len(transaction))
        # After an end that left nothing untold a start of Redis is nobody's news.
        err = self.hikyaku("report", "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=0).err
        self.assertEqual(err, "")
        self.stop_receivers()
        self.assertEqual([r for r, n in receiver.taken().items() if n > 1], [], "somebody has it twice")


if __name__ == "__main__":
    harness.main()
