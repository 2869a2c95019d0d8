#!/usr/bin/python3
"""Suppression on several nodes of one Redis: an entry that ends is over on all of them as they stand, what one is told the others
know within a second, and at the commit of what is under way; who was away knows it on his return. Judged by what receivers saw.

Usage: shared_suppression.py BUILD_DIR
"""
import csv
import io
import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
from datetime import datetime

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
import round_trips  # noqa: E402
from harness import Receiver, wait_for  # noqa: E402
from shared_limits import Nodes  # noqa: E402

EXPIRES_S = 20
STREAM = "hikyaku:suppress:log"
INTERVALS = 8     # between readings of the stream of changes, of each node
INTERVAL_S = 0.9  # one that a node keeps to where the machine lets it: usual is 0.4, so that with what follows it is a second
READINGS = 4      # of the stream by a node, until it has skipped somebody for what is new there: usual are 1 or 2
GRANTED = 4  # messages that may have been granted when a node learns it: two connections, two on each


class Monitor:
    """What a Redis is asked, by its own clock."""

    LINE = re.compile(r'\+(\d+\.\d+) \[\d+ (\S+)\] "(\w+)" "([^"]*)"')

    def __init__(self, path):
        self.asked = []  # (time, by whom: an address, or lua for a script; command, key)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")
        for words in ("AUTH default somebody-else", "MONITOR"):
            self.socket.sendall(words.encode() + b"\r\n")
            answer = self.file.readline()
            assert answer == b"+OK\r\n", answer
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        for line in self.file:
            found = self.LINE.match(line.decode(errors="replace"))
            if found:
                self.asked.append((float(found[1]), *found.groups()[1:]))

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.file.close()
        self.socket.close()

    def readings(self):
        """By node, when it read the stream of changes."""
        found = {}
        for when, who, command, key in list(self.asked):
            if command.upper() == "XRANGE" and key == STREAM:
                found.setdefault(who, []).append(when)
        return found

    def change(self):
        """When the stream had its first change, and which node made it."""
        node = None
        for when, who, command, key in list(self.asked):
            if who != "lua":
                node = who
            elif command.upper() == "XADD" and key == STREAM:
                return when, node
        return None


class Shared(Nodes):
    def serve(self, name):
        node = self.start("serve", "--config", self.path(f"{name}.conf"))
        wait_for(lambda: os.path.exists(self.path(name, "control.sock")), 60, f"the node {name}")
        return node

    def end(self, node, number=signal.SIGTERM):
        self.interrupt(node, number)
        self.finish(node)

    def kill(self, name, node):
        """The node and its children, at once."""
        pids = json.loads(self.hikyaku("status", "--config", self.path(f"{name}.conf"), "--json", expect=0).out)["pids"]
        for pid in (pids["master"], *pids["workers"], pids["resolver"]):
            os.kill(pid, signal.SIGKILL)
        self.finish(node)

    def suppress(self, name, verb, *words, expect=0):
        return self.hikyaku("suppress", verb, "--config", self.path(f"{name}.conf"), *words, expect=expect)

    def tell(self, names):
        """What was told elsewhere, now and not within a second: a command that changes nothing has its node read the news."""
        for name in names:
            self.suppress(name, "remove", "nobody@other.test")

    def send_on_all(self, names, campaign, rows):
        """The same campaign on each node by itself, side by side; states by recipient of each. A node that runs does the sending."""
        self.list(rows)
        sending = {name: self.send_by(self.path(f"{name}.conf"), f"{campaign}-{name}") for name in names}
        for process in sending.values():
            self.finish(process, expect=0)
        return {name: self.states(name, f"{campaign}-{name}", rows) for name in names}

    def states(self, name, campaign, rows):
        done = self.hikyaku("report", "--config", self.path(f"{name}.conf"), "--campaign", campaign, "--recipients", expect=0)
        states = {line["recipient"]: line["state"] for line in map(json.loads, done.out.splitlines())}
        self.assertEqual(set(states), set(rows))
        return states

    def send_on(self, name, campaign, rows):
        return self.send_on_all([name], campaign, rows)[name]

    def polls(self):
        """How often the stream of changes was read, by whom ever."""
        found = re.search(r"cmdstat_xrange:calls=(\d+)", self.redis("INFO", "commandstats"))
        return int(found[1]) if found else 0


class Ending(Shared):
    def test_what_ends_is_over_on_every_node_and_who_was_away_knows_it(self):
        full = self.receiver("full", "--reply-rcpt", "550 5.2.2 Mailbox is full")
        other = self.receiver("other")
        self.dns({"full.test": full, "other.test": other})
        for name in ("one", "two", "ended", "killed"):
            self.node(name, more=f'soft "mailbox-full" {{ count = 1 apart = 0s expires = {EXPIRES_S}s }}')
        nodes = {name: self.serve(name) for name in ("one", "two", "ended", "killed")}
        self.suppress("one", "add", "off@other.test", "kept@other.test")
        rows = ["u@full.test", "off@other.test", "kept@other.test", "added@other.test"]
        before = {"off@other.test": "suppressed", "kept@other.test": "suppressed", "added@other.test": "sent"}
        self.assertEqual(self.send_on("one", "first", rows), {**before, "u@full.test": "bounced"})
        full.stop()
        entry, = (e for e in csv.DictReader(io.StringIO(self.suppress("two", "export").out)) if e["email"] == "u@full.test")
        until = datetime.fromisoformat(entry["until"].replace("Z", "+00:00")).timestamp()

        # While it lasts all skip him. A machine that takes ten times as long as usual is not judged by it.
        roomy = Receiver(self.dir, "roomy", full.address, self.port, ())
        self.receivers.append(roomy)
        self.tell(nodes)
        states = self.send_on_all(nodes, "lasts", rows)
        if time.time() < until:
            self.assertEqual(states, dict.fromkeys(nodes, {**before, "u@full.test": "suppressed"}))
        else:
            print("    too slow a machine to see that an entry lasts", file=sys.stderr)

        # Two nodes go away and miss its end, a removal and an addition.
        self.end(nodes["ended"])
        self.kill("killed", nodes["killed"])
        self.suppress("two", "remove", "off@other.test")
        self.suppress("one", "add", "added@other.test")
        wait_for(lambda: time.time() > until, 2 * EXPIRES_S, "the end")
        for name in ("ended", "killed"):
            nodes[name] = self.serve(name)
        self.tell(("one", "two"))
        now = {"u@full.test": "sent", "off@other.test": "sent", "kept@other.test": "suppressed", "added@other.test": "suppressed"}
        self.assertEqual(self.send_on_all(nodes, "over", rows), dict.fromkeys(nodes, now))
        self.assertRegex(self.suppress("one", "check", "u@full.test").out, r"was suppressed in all .*, ended 20")
        for node in nodes.values():
            self.end(node)
        self.stop_receivers()
        self.assertEqual(other.taken(), {"added@other.test": 5, "off@other.test": 4})
        taken = [s.time_us / 1e6 for s in roomy.log("accepted")]
        self.assertGreaterEqual(len(taken), 4)
        self.assertGreaterEqual(min(taken), int(until))


class Telling(Shared):
    def test_what_one_node_is_told_the_other_knows_in_the_middle_of_a_campaign(self):
        receiver = self.receiver("a", "--log-mail")
        self.dns({"slow.test": receiver})
        self.node("one")
        self.node("two", more='provider "slow" { domains = { "slow.test" } rate = "20/s" burst = 1 max_connections = 2 }')
        nodes = [self.serve("one"), self.serve("two")]
        people = [f"u{n}@slow.test" for n in range(400)]
        added = set(random.Random(3).sample(people, 200))
        sending = self.send_by(self.path("two.conf"), "c", people)
        wait_for(lambda: self.lines("two", "attempt"), 60, "a campaign under way")
        monitor = Monitor(self.server.socket)
        self.addCleanup(monitor.close)
        self.judge_intervals(monitor)
        self.suppress("one", "add", *added)
        told = time.time()
        wait_for(lambda: self.lines("two", "suppressed"), 60, "the other node to know it")
        known_us = time.time_ns() // 1000
        print(f"    known by the other node {known_us / 1e6 - told:.2f} s later", file=sys.stderr)
        self.judge_readings(monitor)
        wait_for(lambda: len(self.lines("two", "attempt", "suppressed")) >= 100, 60, "some more")
        self.hikyaku("cancel", "--config", self.path("two.conf"), "--campaign", "c", expect=0)
        self.finish(sending)
        for node in nodes:
            self.end(node)
        self.stop_receivers()
        late = [s.address for s in receiver.log("accepted") if s.address in added and s.time_us > known_us]
        self.assertLessEqual(len(late), GRANTED)

    def judge_intervals(self, monitor):
        """A machine that has other things to do makes them longer, nothing makes them shorter: two of them are enough."""
        wait_for(lambda: [len(times) > INTERVALS for times in monitor.readings().values()] == [True, True], 60,
                 "both nodes to read the stream for a while")
        for times in monitor.readings().values():
            intervals = sorted(later - time for time, later in zip(times, times[1:]))
            print(f"    a node reads what is new every {intervals[len(intervals) // 2]:.2f} s", file=sys.stderr)
            self.assertLess(intervals[1], INTERVAL_S, intervals)

    def judge_readings(self, monitor):
        """The first reading behind a change brings it; counted, and not timed."""
        changed, teller = monitor.change()
        skipped = datetime.fromisoformat(self.lines("two", "suppressed")[0]["time"].replace("Z", "+00:00")).timestamp()
        times, = (times for node, times in monitor.readings().items() if node != teller)
        readings = sum(changed < when <= skipped + 0.001 for when in times)  # its time is cut
        print(f"    skipped after {readings} readings", file=sys.stderr)
        self.assertGreaterEqual(readings, 1)
        self.assertLessEqual(readings, READINGS)

    def test_who_was_added_elsewhere_after_his_envelope_left_is_refused_at_his_commit(self):
        def rcpt(recipient):
            if recipient == "late@a.test":
                self.suppress("one", "add", recipient)
                polls = self.polls()
                wait_for(lambda: self.polls() >= polls + 3, 60, "the node to read what is new")  # it alone runs
            return False

        receiver = round_trips.Receiver(f"127.{self.net}.13.1", self.port, refuse=rcpt)
        self.addCleanup(receiver.stop)
        self.dns({"a.test": receiver})
        self.node("one")
        self.node("two", connections=1)
        node = self.serve("two")
        states = self.send_on("two", "c", ["late@a.test", "other@a.test"])
        self.assertEqual(states, {"late@a.test": "suppressed", "other@a.test": "sent"})
        self.assertEqual(receiver.taken, ["other@a.test"])
        self.end(node)

    def test_a_campaign_whose_counts_are_damaged_keeps_nobody_from_the_news(self):
        self.dns({"a.test": self.receiver("a", "--reply-rcpt", "451 4.3.0 Come again")})
        self.node("one", schedule="600s", give_up="3600s")
        node = self.serve("one")
        sending = self.send_by(self.path("one.conf"), "c", ["u@a.test"])
        wait_for(lambda: self.lines("one", "attempt"), 60, "a recipient to be deferred")
        self.redis("HSET", "{c}:n", "sent", "99")
        polls = self.polls()
        wait_for(lambda: self.polls() >= polls + 10, 60, "the node to go on reading")
        self.interrupt(sending)
        self.finish(sending)
        self.end(node)


if __name__ == "__main__":
    harness.main()
