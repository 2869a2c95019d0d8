"""pause, resume, cancel, --first, why, campaigns, unknown; several campaigns and followers on one node.

What a command promises is judged at the receiver: its clock against the moment at which the command came back.
HIKYAKU_CANCELS sets how many campaigns are cancelled in the middle (20).
"""
import collections
import json
import os
import random
import signal
import socket
import threading
import time

import jsonschema

import harness
from harness import ROOT, wait_for

CANCELS = int(os.environ.get("HIKYAKU_CANCELS", "20"))
LATENCY_MS = 20


def validate(schema, document):
    with open(os.path.join(ROOT, "docs", schema + ".schema.json"), encoding="utf-8") as f:
        jsonschema.validate(document, json.load(f))


class Stalling(threading.Thread):
    """A receiver that stops reading in the middle of each message, until it is let go; then it takes them."""

    def __init__(self, address, port):
        super().__init__(daemon=True)
        self.go, self.taken, self.stalled = threading.Event(), [], threading.Event()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.listener.bind((address, port))
        self.listener.listen(8)
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve_until_it_ends, args=(client,), daemon=True).start()

    def serve_until_it_ends(self, client):
        try:
            self.serve(client)
        except OSError:
            pass  # the sender went away

    def serve(self, client):
        with client, client.makefile("rb") as lines:
            client.sendall(b"220 stalling\r\n")
            for line in lines:
                verb = line.split(None, 1)[0].upper()
                if verb == b"RCPT":
                    recipient = line.split(b"<")[1].split(b">")[0].decode()
                client.sendall({b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}.get(verb, b"250 ok\r\n"))
                if verb == b"DATA":
                    self.stalled.set()
                    self.go.wait()
                    while lines.readline() not in (b".\r\n", b""):
                        pass
                    self.taken.append(recipient)
                    client.sendall(b"250 taken\r\n")


class Commands(harness.Case):
    def receivers_for(self, *names, options=("--latency-dot", str(LATENCY_MS)), **configure):
        receivers = {name: self.receiver(name, "--log-dot", *options) for name in names}
        self.dns({f"{name}.test": receiver for name, receiver in receivers.items()})
        self.configure(**configure)
        return receivers

    def command(self, *words, campaign="c", expect=0, more=()):
        return self.hikyaku(*words, "--config", self.path("hikyaku.conf"), "--campaign", campaign, *more, expect=expect)

    def serve(self):
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")), 20, "the control socket")
        return node

    def log_says(self, words):
        with open(self.path("stderr"), encoding="utf-8", errors="replace") as f:
            return words in f.read()

    def counts(self, campaign="c"):
        return self.report(campaign)["counts"]

    def attempts_of(self, campaign):
        """How many outcomes of this campaign are in the event log."""
        with open(self.path("state", "events.jsonl"), "rb") as f:
            return sum(f'"campaign":"{campaign}"'.encode() in line and b'"attempt"' in line for line in f)

    def state_of(self, campaign="c"):
        done = self.hikyaku("campaigns", "list", "--config", self.path("hikyaku.conf"), "--json", expect=0)
        document = json.loads(done.out)
        validate("campaigns", document)
        return next(c for c in document["campaigns"] if c["campaign"] == campaign)

    def wait_settled(self, campaign="c"):
        return wait_for(lambda: self.state_of(campaign)["settled"], 20, f"{campaign} settled")

    def dots(self, addresses, after_s, before_s=float("inf")):
        """Messages whose dot was in a receiver's kernel between these moments: after a command came back, none may be. How
        late a receiver gets to read it does not matter."""
        return [s.address for r in self.receivers for s in r.log("dot")
                if after_s * 1e6 < s.time_us < before_s * 1e6 and s.address in addresses]

    def all_taken(self):
        return sum((r.taken() for r in self.receivers), collections.Counter())

    # ---- pause and resume ----

    def test_nothing_leaves_while_a_campaign_is_paused_and_everyone_is_mailed_once_after_that(self):
        # Retries are far off: what was let go must not wait for them.
        self.receivers_for("a", "b", options=("--latency-dot", str(LATENCY_MS), "--defer", "0.02"), schedule="15s",
                           give_up="1min")
        people = [f"u{n}@{d}.test" for n in range(1500) for d in "ab"]
        process = self.start_send(rows=people)
        pauses = []
        for moment in (200, 900):
            self.wait_for_events(moment, process)
            self.assertIn("is paused", self.command("pause").out)
            returned = time.time()
            before = wait_for(lambda: self.quiet_counts(), 10, "the outcomes of what was handed over")
            time.sleep(0.7)
            pauses.append((returned, time.time()))
            self.assertEqual(self.counts(), before)
            self.assertTrue(self.status()["campaigns"][0]["paused"])
            self.assertIn("is running", self.command("resume").out)
            seen = self.events()
            wait_for(lambda: self.events() > seen + 100, 12, "the campaign goes on at once")
        for word in ("pause", "resume"):  # at once: what is refused meanwhile comes back to a running campaign
            self.command(word)
        self.finish(process, expect=0)
        self.stop_receivers()
        self.assertEqual(self.all_taken(), {p: 1 for p in people})
        for returned, ended in pauses:
            self.assertEqual(self.dots(set(people), returned, ended), [])

    def test_pauses_at_random_moments_and_killed_workers_lose_nobody(self):
        self.receivers_for("a", "b", options=("--latency-dot", "10", "--defer", "0.05", "--drop", "0.01"), connections=8,
                           schedule="1s", give_up="2min")
        dice = random.Random(os.environ.get("HIKYAKU_SEED", "1"))
        people = [f"u{n}@{d}.test" for n in range(3000) for d in "ab"]
        process = self.start_send(rows=people)
        self.wait_for_events(100, process)
        for step in range(20):
            self.command("pause", expect=None)
            time.sleep(dice.choice((0, 0, 0.2)))
            if step % 4 == 3:
                self.kill_a_worker(dice)
            self.command("resume")
            time.sleep(dice.uniform(0, 0.15))
            if step % 4 == 1:
                self.kill_a_worker(dice)
        self.finish(process, expect=0)
        self.stop_receivers()
        taken, state = self.all_taken(), collections.defaultdict(set)
        for line in self.recipients():
            state[line["state"]].add(line["recipient"])
        print({name: len(members) for name, members in state.items()})
        self.assertEqual([a for a, times in taken.items() if times > 1], [])
        self.assertEqual(state["sent"] | state["unknown"], set(people))
        self.assertEqual(state["sent"] - set(taken), set())
        self.assertLess(len(state["unknown"]), len(people) * 0.05)

    def kill_a_worker(self, dice):
        status = self.status()
        validate("status", status)
        if status["pids"]["workers"]:
            os.kill(dice.choice(status["pids"]["workers"]), signal.SIGKILL)

    def quiet_counts(self, campaign="c"):
        counts = self.counts(campaign)
        return counts if counts["sending"] == 0 else None

    def test_without_a_node_a_state_is_changed_all_the_same(self):
        self.receivers_for("a", connections=5)
        people = [f"u{n}@a.test" for n in range(600)]
        process = self.start_send(rows=people)
        self.wait_for_events(50, process)
        self.interrupt(process)
        self.finish(process, expect=1)
        self.assertIn("is paused", self.command("pause").out)
        node = self.serve()  # a paused campaign is not sent by whoever starts
        before = self.counts()
        time.sleep(0.5)
        self.assertEqual(self.counts(), before)
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)
        self.assertIn("no node runs", self.command("resume").out)
        node = self.serve()  # and a running one is
        wait_for(lambda: self.attempts_of("c") >= 250, 20, "serve goes on")
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)
        left = self.counts()
        self.assertEqual(left["sending"], 0)
        self.assertGreater(left["pending"], 0)
        self.assertIn("is cancelled", self.command("cancel").out)
        counts = self.counts()
        self.assertEqual(counts["cancelled"], left["pending"] + left["deferred"])
        self.assertEqual(counts["sent"], left["sent"])
        self.assertIn("nothing to do", self.send().out)
        self.assertIn("cancelled before", self.command("cancel").out)
        self.assertIn("cancelled", self.command("resume", expect=2).err)
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            told = [json.loads(line) for line in f if '"cancelled"' in line]
        whole = [t for t in told if "index" not in t]  # the others tell of whom, span by span
        self.assertEqual([(t["campaign"], t["recipients"]) for t in whole], [("c", counts["cancelled"])])
        self.stop_receivers()
        self.assertEqual(sum(self.all_taken().values()), counts["sent"])
        self.assertEqual(set(self.all_taken().values()), {1})

    def test_commands_about_what_is_not_there_say_so(self):
        self.receivers_for("a")
        self.send(rows=["u1@a.test"])
        for word in ("pause", "resume", "cancel"):
            self.assertIn("no campaign 'x'", self.command(word, campaign="x", expect=2).err)
            self.assertIn("everyone is settled", self.command(word).out)
            self.command(word, campaign="../x", expect=2)
        self.assertEqual(self.counts()["sent"], 1)

    # ---- cancel ----

    def test_after_cancel_has_returned_no_dot_leaves(self):
        self.receivers_for("a", "b", connections=10)
        dice = random.Random(os.environ.get("HIKYAKU_SEED", "1"))
        node = self.serve()
        cases = []
        for n in range(CANCELS):
            name, people = f"c{n}", [f"u{n}-{i}@{d}.test" for i in range(600) for d in "ab"]
            follower = self.start_send(name, rows=people)
            share = dice.uniform(0.0, 0.8)
            wait_for(lambda: self.attempts_of(name) > share * len(people), 30, "messages of " + name)
            self.command("cancel", campaign=name)
            returned = time.time()
            self.finish(follower, expect=0)
            self.wait_settled(name)
            cases.append((name, people, returned))
        counts = {name: self.counts(name) for name, _, _ in cases}
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)
        self.stop_receivers()
        taken = self.all_taken()
        self.assertEqual([a for a, times in taken.items() if times > 1], [])
        for name, people, returned in cases:
            self.assertEqual(self.dots(set(people), returned), [], name)
            arrived = sum(p in taken for p in people)
            self.assertEqual((counts[name]["sent"], counts[name]["cancelled"]), (arrived, len(people) - arrived))
        stopped = sum(c["cancelled"] > 0 for c in counts.values())
        print(f"{stopped} of {CANCELS} cancelled in the middle, {sum(taken.values())} messages before that")
        self.assertGreater(stopped, CANCELS // 2)

    def test_a_body_that_cannot_be_handed_over_is_named_and_pause_gives_1(self):
        address = f"127.{self.net}.200.1"
        peer = Stalling(address, self.port)
        self.addCleanup(peer.listener.close)
        self.addCleanup(peer.go.set)
        sink = self.receiver("a")
        self.dns({"a.test": sink}, more=f"s.test. MX 10 s.mx.test.\ns.mx.test. A {address}\n")
        self.configure(connections=1)
        message = harness.MESSAGE + ("x" * 70 + "\n") * 200_000  # more than the kernel takes of it
        process = self.start_send(rows=["u1@s.test", "u1@a.test"], message=message)
        self.assertTrue(peer.stalled.wait(20))
        time.sleep(0.5)
        began = time.monotonic()
        refused = self.command("pause", expect=1)
        self.assertGreater(time.monotonic() - began, 9)
        self.assertIn("u1@s.test", refused.err)
        self.assertNotIn("u1@a.test", refused.err)
        self.command("resume")
        waiting = self.start("pause", "--config", self.path("hikyaku.conf"), "--campaign", "c")
        wait_for(lambda: self.status()["campaigns"][0]["paused"], 20, "the pause")
        self.command("resume")
        self.assertIn("resumed meanwhile", self.finish(waiting, expect=1).err)
        peer.go.set()
        self.command("pause")
        self.command("resume")
        self.finish(process, expect=0)
        self.assertEqual(peer.taken, ["u1@s.test"])

    def test_a_cancel_that_was_cut_off_is_brought_to_its_end(self):
        self.receivers_for("a", connections=5)
        people = [f"u{n}@a.test" for n in range(300)]
        process = self.start_send(rows=people)
        self.wait_for_events(50, process)
        cancel = self.start("cancel", "--config", self.path("hikyaku.conf"), "--campaign", "c")
        wait_for(lambda: '"cancelled"' in self.event_text(), 20, "the line of the cancel")
        process.kill()
        self.finish(process)
        self.finish(cancel)
        self.command("cancel")
        counts = self.counts()
        self.assertEqual(counts["pending"] + counts["sending"] + counts["deferred"], 0)
        self.assertEqual(sum(counts.values()), 300)
        self.stop_receivers()
        self.assertEqual(set(self.all_taken().values()), {1})
        self.assertLessEqual(counts["sent"], len(self.all_taken()))
        self.assertLessEqual(len(self.all_taken()), counts["sent"] + counts["unknown"])

    def event_text(self):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            return f.read()

    # ---- --first ----

    def test_first_sends_to_the_first_rows_and_a_later_send_to_the_rest(self):
        self.receivers_for("a", "b", options=("--defer", "0.2"))
        people = [f"u{n}@{d}.test" for n in range(150) for d in "ab"]
        stopped = self.send(rows=people, more=["--first", "100"], expect=1)
        self.assertIn("200 of 300 left", stopped.err)
        self.assertEqual(self.state_of()["state"], "paused")
        sent = {line["recipient"] for line in self.recipients() if line["state"] == "sent"}
        self.assertEqual(sent, set(people[:100]))
        self.send(more=["--first", "0"], expect=2)
        self.send(more=["--first", "120"], expect=1)
        sent = {line["recipient"] for line in self.recipients() if line["state"] == "sent"}
        self.assertEqual(sent, set(people[:120]))
        self.send(expect=0)
        self.stop_receivers()
        self.assertEqual(self.all_taken(), {p: 1 for p in people})

    def test_first_on_a_node_ends_its_follower_and_resume_goes_on(self):
        self.receivers_for("a", options=())
        people = [f"u{n}@a.test" for n in range(200)]
        node = self.serve()
        self.assertIn("180 of 200 left", self.send(rows=people, more=["--first", "20"], expect=1).err)
        self.assertEqual(self.counts()["sent"], 20)
        self.command("resume")
        self.wait_settled()
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)
        self.stop_receivers()
        self.assertEqual(self.all_taken(), {p: 1 for p in people})

    # ---- several campaigns ----

    def test_a_small_campaign_passes_through_a_site_where_a_large_one_waits(self):
        self.receivers_for("a", options=(), more='provider "slow" { mx = { "*.mx.test" } rate = "100/s" burst = 5 }')
        large, small = [f"l{n}@a.test" for n in range(6000)], [f"s{n}@a.test" for n in range(50)]
        node = self.serve()
        first = self.start_send("large", rows=large)
        wait_for(lambda: self.attempts_of("large") > 50, 20, "the large campaign")
        began = time.monotonic()
        self.send("small", rows=small)
        seconds = time.monotonic() - began
        print(f"50 beside 6,000 at 100 a second: {seconds:.1f} s")
        self.assertLess(seconds, 30)  # 1 s for half of the rate, and the ends of it; the large one takes a minute
        large_meanwhile = self.attempts_of("large")
        self.assertGreater(large_meanwhile, 80)
        self.command("cancel", campaign="large")
        self.finish(first, expect=0)
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)

    def test_a_send_beside_a_send_gives_its_campaign_to_the_first_ones_node(self):
        self.receivers_for("a", "b", connections=5)
        one, two = [f"u{n}@a.test" for n in range(200)], [f"v{n}@b.test" for n in range(900)]
        first = self.start_send("one", rows=one)
        self.wait_for_events(20, first)
        second = self.start_send("two", rows=two)
        done = self.finish(second, expect=0)
        self.assertIn("has the campaign now", done.err)
        self.assertIn("900", done.out)
        self.assertIn("200", self.finish(first, expect=0).out)
        self.assertIsNone(self.status()["node"])
        self.stop_receivers()
        self.assertEqual(self.all_taken(), {p: 1 for p in one + two})

    def test_serve_takes_up_every_running_campaign_at_its_start(self):
        self.receivers_for("a", connections=5)
        lists = {name: [f"{name}{n}@a.test" for n in range(400)] for name in ("x", "y", "z")}
        for name, people in lists.items():
            process = self.start_send(name, rows=people)
            wait_for(lambda: os.path.exists(self.path("state", "events.jsonl")) and self.attempts_of(name) > 20, 20,
                     name)
            self.interrupt(process)
            self.finish(process, expect=1)
        node = self.serve()
        for name in lists:
            self.wait_settled(name)
            words = f"campaign {name} is settled: {len(lists[name])} recipients, {len(lists[name])} sent\n"
            wait_for(lambda: self.log_says(words), 30, words)
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)
        self.stop_receivers()
        self.assertEqual(self.all_taken(), {p: 1 for people in lists.values() for p in people})

    def test_a_node_takes_more_campaigns_in_its_life_than_it_has_room_for_at_a_time(self):
        self.receivers_for("a", options=())
        node = self.serve()
        people = []
        for batch in range(7):
            followers = []
            for n in range(10):
                person = f"u{batch}-{n}@a.test"
                people.append(person)
                followers.append(self.start_send(f"c{batch}-{n}", rows=[person]))
                wait_for(lambda: os.path.exists(self.path("state", "campaigns", f"c{batch}-{n}", "message.eml")) or
                         followers[-1].poll() is not None, 20, "the list is read")
            for follower in followers:
                self.finish(follower, expect=0)
        self.assertLess(len(self.status()["campaigns"]), 71)
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)
        self.stop_receivers()
        self.assertEqual(self.all_taken(), {p: 1 for p in people})

    def test_each_campaign_has_a_rate_of_its_own(self):
        self.receivers_for("a", connections=4, options=("--latency-dot", "200"))
        node = self.serve()
        followers = [self.start_send(name, rows=[f"{name}{n}@a.test" for n in range(500)]) for name in ("one", "two")]
        rates = lambda: {c["campaign"]: c["rate"] for c in self.status()["campaigns"]}

        def both_are_sent():
            self.assertEqual([f.poll() for f in followers], [None, None], self.finish_words())
            return all(rates().get(name, 0) > 0 for name in ("one", "two"))
        wait_for(both_are_sent, 60, "both are sent")
        self.command("pause", campaign="one")
        self.assertEqual(rates()["one"], 0)
        wait_for(lambda: rates()["two"] > 0, 60, "the other one is sent")
        self.assertEqual([self.state_of(c)["state"] for c in ("one", "two")], ["paused", "running"])
        for name in ("one", "two"):
            self.command("cancel", campaign=name)
        self.assertEqual(rates(), {"one": 0, "two": 0})
        for follower in followers:
            self.finish(follower, expect=0)
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)

    def test_a_campaign_that_is_settled_is_called_so_everywhere(self):
        self.receivers_for("a")
        self.send(rows=["u1@a.test"])
        self.assertEqual(self.state_of()["state"], "settled")
        self.assertIn("campaign c (settled)", self.hikyaku("why", *self.conf(), "u1@a.test", expect=0).out)
        self.assertIn("it is settled", self.hikyaku("campaigns", "restore", *self.conf(), "--campaign", "c", expect=0).out)
        self.assertEqual(self.state_of()["state"], "settled")

    def conf(self):
        return "--config", self.path("hikyaku.conf")

    # ---- what became of them ----

    def test_why_tells_the_state_of_an_address_in_every_campaign(self):
        unknown = self.write("unknown", "U2@a.test\nu2@a.test\n")
        self.receivers_for("a", options=("--unknown-file", unknown))
        self.send("one", rows=["u1@a.test", "U2@a.test"])
        self.send("two", rows=["u2@a.test", "u3@a.test"])
        conf = self.path("hikyaku.conf")
        document = json.loads(self.hikyaku("why", "--config", conf, "--json", "u2@A.test", expect=0).out)
        validate("why", document)
        self.assertEqual([(c["campaign"], c["recipient"], c["state"], c["code"], c["class"])
                          for c in document["campaigns"]],
                         [("one", "U2@a.test", "bounced", 550, "mailbox-unknown"),
                          ("two", "u2@a.test", "suppressed", None, None)])  # for what it did in the first
        self.assertEqual(document["campaigns"][0]["site"], "a.mx.test")
        self.assertEqual(document["campaigns"][0]["events"][-1]["reply"]["code"], 550)
        text = self.hikyaku("why", "--config", conf, "--campaign", "two", "u3@a.test", expect=0).out
        self.assertIn("campaign two (settled): u3@a.test is sent after 1 attempt,", text)
        self.assertIn("in no campaign", self.hikyaku("why", "--config", conf, "nobody@a.test", expect=0).out)
        self.hikyaku("why", "--config", conf, "--campaign", "three", "u3@a.test", expect=2)
        self.assertIn("ADDRESS", self.hikyaku("why", "--config", conf, "a.test", expect=2).err)
        self.assertIn("no address", self.hikyaku("why", "--config", conf, "@a.test", expect=2).err)

    def test_why_tells_of_a_receiver_that_cannot_be_reached(self):
        """One line of the log stands for all whom it puts back: it is told of each of them."""
        self.dns({"a.test": self.receiver("a")}, servfail=("broken.test",))
        self.configure(schedule="1min", give_up="1h")
        self.stop_receivers()
        process = self.start_send(rows=["u1@a.test", "u2@a.test", "u3@broken.test"])
        conf = ("--config", self.path("hikyaku.conf"))
        tell = lambda who: self.hikyaku("why", *conf, who, expect=0).out
        text = wait_for(lambda: (t := tell("u2@a.test")) and "refused" in t and t, 20, "the reason")
        self.assertRegex(text, r"is deferred after 1 attempt \(network\), site a.mx.test, next attempt 20\S+Z\n"
                               r"    20\S+Z  deferred in connect at 127\.\S+, with 1 other: connection refused")
        document = json.loads(self.hikyaku("why", "--json", *conf, "u1@a.test", expect=0).out)
        validate("why", document)
        self.assertEqual(document["campaigns"][0]["events"][-1]["recipients"], 2)
        self.assertIn(": SERVFAIL for MX of broken.test\n",
                      wait_for(lambda: (t := tell("u3@broken.test")) and "SERVFAIL" in t and t, 20, "the reason"))
        wait_for(lambda: "1 domain could not be looked up for now, the last: SERVFAIL" in self.finish_words(), 30, "a word")
        self.interrupt(process)
        self.finish(process, expect=1)

    def test_unknown_ones_are_listed_and_settled_as_the_user_says(self):
        self.receivers_for("a", options=("--drop-dot", "0.2"), connections=4)
        people = [f"u{n}@a.test" for n in range(100)]
        self.send(rows=people)
        lines = [json.loads(line) for line in self.command("unknown", "list", more=["--json"]).out.splitlines()]
        for line in lines:
            validate("unknown", line)
            self.assertEqual(line["mx"], "a.mx.test")
        unknown = [line["recipient"] for line in lines]
        before = self.counts()
        self.assertEqual(len(unknown), before["unknown"])
        self.assertGreater(len(unknown), 4)
        self.assertIn(unknown[0], self.command("unknown", "list").out)

        self.command("unknown", "settle", expect=2, more=["--as", "sent"])
        self.command("unknown", "settle", expect=2, more=["--as", "gone", "--all"])
        self.assertIn("not in the list", self.command("unknown", "settle", expect=2,
                                                      more=["--as", "sent", "x@a.test"]).err)
        sent = next(p for p in people if p not in unknown)
        told = self.command("unknown", "settle", more=["--as", "sent", unknown[0].upper(), sent])
        self.assertIn("1 of campaign c are sent", told.out)
        self.assertIn("is not unknown", told.err)
        node = self.serve()
        self.command("unknown", "settle", more=["--as", "bounced", unknown[2], unknown[1]])
        counts = self.counts()
        self.assertEqual((counts["sent"], counts["bounced"], counts["unknown"]),
                         (before["sent"] + 1, 2, before["unknown"] - 3))
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)

        self.assertIn("nothing to do", self.send().out)
        self.command("unknown", "settle", more=["--as", "pending", "--all"])
        self.assertEqual(self.counts()["pending"], before["unknown"] - 3)
        self.send()
        counts = self.counts()
        self.assertEqual(sum(counts.values()), 100)
        self.assertEqual(counts["pending"], 0)
        self.stop_receivers()
        again = {p for p, times in self.all_taken().items() if times > 1}
        self.assertEqual(again, set(unknown[3:]))

    def test_unknown_ones_are_sent_to_again_by_a_running_node(self):
        self.receivers_for("a", options=("--drop-dot", "0.3"), connections=4)
        node = self.serve()
        self.send(rows=[f"u{n}@a.test" for n in range(60)])
        unknown = self.counts()["unknown"]
        self.assertGreater(unknown, 3)
        self.command("unknown", "settle", more=["--as", "pending", "--all"])
        self.send()
        self.assertLess(self.counts()["unknown"], unknown)
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)

    # ---- purge ----

    def test_a_purged_campaign_is_gone_and_its_name_is_free(self):
        self.receivers_for("a", options=())
        self.send("one", rows=["u1@a.test", "u2@a.test"])
        self.send("two", rows=["u1@a.test"])
        self.assertIn("purged", self.command("campaigns", "purge", campaign="one").out)
        self.assertEqual(os.listdir(self.path("state", "campaigns")), ["two"])
        self.command("report", campaign="one", expect=2)
        self.assertEqual(self.counts("two")["sent"], 1)
        self.send("one", rows=["u1@a.test"])
        node = self.serve()
        self.send("three", rows=["u3@a.test"])
        self.command("campaigns", "purge", campaign="three")
        self.command("campaigns", "purge", campaign="three", expect=2)
        self.send("three", rows=["u3@a.test"])
        self.assertEqual(self.counts("three")["sent"], 1)
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)
        self.stop_receivers()
        self.assertEqual(self.all_taken(), {"u1@a.test": 3, "u2@a.test": 1, "u3@a.test": 2})

    def test_an_unsettled_campaign_is_purged_by_force_alone(self):
        self.receivers_for("a", connections=2)
        node = self.serve()
        follower = self.start_send(rows=[f"u{n}@a.test" for n in range(2000)])
        self.wait_for_events(20, follower)
        self.assertIn("--force", self.command("campaigns", "purge", expect=2).err)
        self.assertIn("pause or cancel", self.command("campaigns", "purge", expect=2, more=["--force"]).err)
        self.interrupt(follower)
        self.finish(follower, expect=1)
        self.command("pause")
        self.command("campaigns", "purge", more=["--force"])
        self.command("report", expect=2)
        self.assertEqual(self.status()["campaigns"], [])
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)


if __name__ == "__main__":
    harness.main()
