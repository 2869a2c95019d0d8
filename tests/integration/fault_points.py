"""A process dies at each named point (include/hikyaku/fault.h), `send` runs again until it gives 0: exact, each time.

One campaign for each point and role, judged at the receiver: nobody has the message twice; whoever is `sent` has it;
whoever has it is `sent` or `unknown`; and no more are unknown than bodies can have been under way. Then each call that
can fail, fails once, and each write that can come short. BUILD is a build with HK_FAULTS.
"""
import collections
import datetime
import glob
import json
import os
import re
import signal
import subprocess
import unittest.mock

import harness

PEOPLE = [f"u{n}@a.test" for n in range(300)]
CONNECTIONS = 6
RUNS_MAX = 5

ROLES = {
    "master": ("ring.", "log.", "redis.", "fork.", "settle.", "take.", "malloc"),
    "worker": ("ring.", "slot.", "socket.", "malloc"),
}
# Passes are counted in one process. What is passed once or twice in its life, and what is passed at every start.
PASS = {"fork.": 2, "settle.": 1, "take.": 1, "log.sync.": 1, "redis.store.": 3, "malloc": 60}
PASS_ELSE = 12
# What the campaign needs besides, so that the point is passed at all: the log is synced each second.
LIMITS = {"log.sync.": 'rate = "250/s" burst = 50'}
# There is nothing to settle before a master has died.
BEFORE = {"settle.": "master/log.write.after:5:kill,"}
# With which errno a call fails where it does; the rest with EIO.
ERRNO = {"log.": "ENOSPC", "malloc": "ENOMEM", "fork.": "EAGAIN", "socket.": "ECONNRESET"}


# No campaign passes these: tests/integration/owed.py does.
ELSEWHERE = ("effect.",)


def by_prefix(table, point, otherwise):
    return next((value for prefix, value in table.items() if point.startswith(prefix)), otherwise)


def plans():
    """(name of a test, its plan) for every point that the program names, in each role that passes it."""
    for action in ("kill", "error", "short"):
        for point in listed(f"list:{action}"):
            if point.startswith(ELSEWHERE):
                continue
            roles = [role for role, own in ROLES.items() if point.startswith(own)]
            if not roles:
                raise AssertionError(f"the point {point} is new: say in ROLES who passes it")
            argument = ":" + by_prefix(ERRNO, point, "EIO") if action == "error" else ""
            for role in roles:
                entry = f"{role}/{point}:{by_prefix(PASS, point, PASS_ELSE)}:{action}{argument}"
                yield f"{role}_{action}_{point.replace('.', '_')}", by_prefix(BEFORE, point, "") + entry
    yield "worker_error_malloc_at_its_start", "worker/malloc:10:error:ENOMEM"


def listed(question):
    done = subprocess.run([os.path.join(harness.BUILD, "hikyaku")], env={**os.environ, "HIKYAKU_FAULTS": question},
                          stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()


class FaultPoints(harness.Case):
    def setUp(self):
        super().setUp()
        self.dns({"a.test": self.receiver("a", "--latency-dot", "3")})
        self.list(PEOPLE)
        os.mkdir(self.path("struck"))

    def limits(self, more=""):
        self.configure(more=f'provider "a" {{ domains = {{ "a.test" }} max_connections = {CONNECTIONS} {more} }}')

    def strike(self, plan):
        """Send, with that plan, until it is done; then judge."""
        self.limits(by_prefix(LIMITS, plan.rsplit("/", 1)[1], ""))
        faults = {"HIKYAKU_FAULTS": plan, "HIKYAKU_FAULTS_ONCE": self.path("struck")}
        for runs in range(1, RUNS_MAX + 1):
            with unittest.mock.patch.dict(os.environ, faults):
                done = self.send(more=("--json",), expect=None, timeout=120)
            self.assertNotEqual(done.status, 2, f"{plan}: nothing is wrong with what was typed\n{done.err[-3000:]}")
            if done.status == 0:
                break
        self.assertEqual(done.status, 0, f"{plan}: run {runs} ended so\n{done.err[-3000:]}")
        deaths = sum(":kill" in entry or "/socket." in entry for entry in plan.split(","))  # of a process, a connection
        self.assertEqual(len(os.listdir(self.path("struck"))), plan.count(",") + 1, f"{plan} has not struck")
        self.judge(deaths, json.loads(done.out)["counts"])

    def judge(self, deaths, told=None):
        """told: the counts that `send` printed."""
        if told is not None:
            self.assertEqual(told, self.report()["counts"])
        _, unknown, _ = self.judge_exact(PEOPLE)
        self.assertLessEqual(len(unknown), deaths * CONNECTIONS)
        self.judge_ids()

    def judge_ids(self):
        """What is told a second time, by whoever settles what a dead node left, has the id it had; no other line has it."""
        told = {}
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            for event in map(json.loads, f):
                what = (event["type"], event.get("recipient"), event.get("attempt"), event.get("outcome"))
                self.assertEqual(told.setdefault(event["id"], what), what, f"two events have the id {event['id']}")
        attempts = collections.Counter((w[1], w[2]) for w in told.values() if w[0] == "attempt" and w[1] is not None)
        self.assertEqual([a for a, times in attempts.items() if times > 1], [], "an attempt has two ids")

    # What the build with HK_FAULTS has besides points.

    def send_with(self, expect, **variables):
        with unittest.mock.patch.dict(os.environ, variables):
            return self.send(more=("--json",), expect=expect, timeout=120)

    def test_the_machine_was_started_anew(self):
        self.limits()
        self.send_with(-9, HIKYAKU_FAULTS="master/log.write.after:12:kill")
        self.assertIn("started anew", self.send_with(-9, HIKYAKU_BOOT_ID="of-today",
                                                     HIKYAKU_FAULTS="master/log.write.after:12:kill").err)
        done = self.send_with(0, HIKYAKU_BOOT_ID="of-today")
        self.assertNotIn("started anew", done.err)
        self.judge(2, json.loads(done.out)["counts"])

    def purge(self, expect, **variables):
        with unittest.mock.patch.dict(os.environ, variables):
            return self.hikyaku("campaigns", "purge", "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=expect)

    def test_the_purge_is_cut_off_anywhere_and_the_name_is_free(self):
        self.limits()
        self.list(["u1@a.test", "u2@a.test"])
        nth, cut = 0, True
        while cut:
            nth += 1
            self.send_with(0)
            cut = self.purge(None, HIKYAKU_FAULTS=f"command/redis.store.after:{nth}:kill").status == -9
            # Another purge makes an end of what is left, where something is; then it is no campaign that Redis has lost.
            self.assertIn(self.purge(None).status, (0, 2))
        self.assertGreater(nth, 8)
        self.stop_receivers()
        self.assertEqual(set(self.receivers[0].taken().values()), {nth})

    def begin_to_settle(self, plan, happens):
        """A node has died; the next one stands at that point of settling for a while, and happens() meanwhile."""
        self.limits()
        self.send_with(-9, HIKYAKU_FAULTS="master/log.write.after:12:kill")
        struck = self.path("struck")
        faults = {"HIKYAKU_FAULTS": plan + ":sleep:3000", "HIKYAKU_FAULTS_ONCE": struck}
        with unittest.mock.patch.dict(os.environ, faults):
            process = self.start_send()
        harness.wait_for(lambda: os.listdir(struck), 20, plan)
        happens()
        return process

    def lose_last_writes(self):
        os.kill(int(re.search(r"process_id:(\d+)", self.redis_cli("INFO", "server"))[1]), signal.SIGKILL)
        aof = sorted(glob.glob(self.path("state", "redis", "appendonlydir", "*.incr.aof")))[-1]
        with open(aof, "rb") as f:
            os.truncate(aof, f.read().rindex(b"{c}:s:"))  # in the last transaction of the ledger

    def test_redis_loses_its_last_writes_while_a_start_settles(self):
        process = self.begin_to_settle("master/settle.middle:1", self.lose_last_writes)
        done = self.finish(process, expect=0, timeout=60)
        self.assertIn("less than it had acknowledged", done.err)
        self.judge(1)

    def test_redis_ends_while_a_start_settles(self):
        process = self.begin_to_settle("master/redis.send.before:2", lambda: self.redis_cli("SHUTDOWN", check=False))
        self.assertIn(self.finish(process, timeout=20).status, (0, 3), "it is waited for, or said, and soon")
        self.send_with(0)
        self.judge(1)

    def test_the_clock_is_set_back_while_a_node_runs(self):
        self.limits('rate = "100/s"')
        with unittest.mock.patch.dict(os.environ, HIKYAKU_CLOCK=self.write("clock", "0\n")):
            process = self.start_send()
        self.wait_for_events(20, process)
        self.write("clock", "-3600\n")
        self.finish(process, expect=0, timeout=120)
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            times = [datetime.datetime.fromisoformat(json.loads(line)["time"]) for line in f]
        self.assertGreater((max(times) - min(times)).total_seconds(), 3500, "no event an hour before another")
        self.judge(0)


def add(name, plan):
    setattr(FaultPoints, "test_" + name, lambda self: self.strike(plan))


for case in plans():
    add(*case)

if __name__ == "__main__":
    harness.main()
