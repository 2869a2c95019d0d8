#!/usr/bin/python3
"""What several nodes on one Redis may do together: a limit of the cluster holds for all of them in every window, and a relay's
quota rests all of them, also one that is started meanwhile. Judged by what receivers and relays saw.

Usage: shared_limits.py BUILD_DIR
"""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
import played_ses  # noqa: E402
from harness import wait_for  # noqa: E402
from played_ses import Ses, make_certificate  # noqa: E402
from redis_external import PASSWORD, Redis  # noqa: E402


class Nodes(harness.Case):
    """Nodes with a state_dir each, and one Redis of the user's own."""

    def setUp(self):
        super().setUp()
        self.server = Redis(self.path("redis"))
        self.addCleanup(self.server.stop)
        self.write("redis.password", PASSWORD + "\n")

    def node(self, name, more="", **options):
        """A configuration of its own; returns its path."""
        self.configure(more=f"""redis {{ mode = external host = "127.0.0.1" port = {self.server.port} user = "hikyaku"
            password_file = "redis.password" }}\n{more}""", **options)
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read().replace(self.path("state"), self.path(name))
        return self.write(f"{name}.conf", text.replace("node     {", f'node {{ name = "{name}" lease = 2s', 1))

    def send_by(self, config, campaign="c", rows=None):
        words = list(self.send_words(campaign, rows))
        words[words.index("--config") + 1] = config
        return self.start(*words)

    def lines(self, name, *types):
        try:
            with open(self.path(name, "events.jsonl"), encoding="utf-8") as f:
                return [line for line in map(json.loads, f) if line["type"] in types]
        except FileNotFoundError:
            return []

    def redis(self, *words):
        done = subprocess.run(["redis-cli", "-s", self.server.socket, "--user", "hikyaku", "-a", PASSWORD, "--no-auth-warning",
                               *words], capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.strip()


class Suspensions(Nodes):
    def setUp(self):
        super().setUp()
        make_certificate(self.dir)
        self.write("ses.key", played_ses.SECRET_KEY + "\n")
        self.dns(mx={})
        self.ses = Ses(self.dir, quota=100)
        self.addCleanup(self.ses.stop)

    def node(self, name, more="", **options):
        return super().node(name, more=f"""route "*" {{ relay = "{self.ses.host}:{self.ses.port}" profile = ses
            region = "{played_ses.REGION}" auth {{ user = "{played_ses.USER}" secret_key_file = "ses.key" }} }}\n{more}""",
                            tls='opportunistic\n ca_file = "relay.pem"', **options)

    def mails(self):
        return sum(line.upper().startswith("MAIL") for _, line in self.ses.said)

    def assert_silent(self, seconds):
        mails = self.mails()
        time.sleep(seconds)
        self.assertEqual(self.mails(), mails, "something was sent into the block")

    def test_a_node_that_is_started_again_does_not_send_into_the_block(self):
        config = self.node("one", schedule="20s", give_up="120s")
        rows = [f"u{i}@a.test" for i in range(150)]
        sending = self.send_by(config, rows=rows)
        wait_for(lambda: self.lines("one", "suspended"), 20, "a suspension")
        begun = time.monotonic()
        wait_for(lambda: self.redis("EXISTS", "hikyaku:suspended") == "1", 10, "Redis to hear of it")
        def at_rest():
            """Nobody is in his dot: who is killed there would be unknown, and not sent to again."""
            status = json.loads(self.hikyaku("status", "--config", config, "--json", expect=0).out)
            return status["pids"] if status["campaigns"][0]["counts"]["sending"] == 0 else None
        status = wait_for(at_rest, 10, "the end of what was under way")
        for pid in (status["master"], *status["workers"], status["resolver"]):
            os.kill(pid, signal.SIGKILL)
        self.finish(sending)
        wait_for(lambda: self.is_quiet(0.3), 10, "what was under way")
        mails = self.mails()
        sending = self.send_by(config)
        wait_for(lambda: len(self.lines("one", "suspended")) > 1, 20, "the next one to find it")
        self.assertLess(time.monotonic() - begun, 15)
        for _ in range(20):
            self.assertEqual(self.mails(), mails, "something was sent into the block")
            time.sleep(0.1)
        self.ses.quota = None
        done = self.finish(sending, expect=0, timeout=60)
        self.assertRegex(done.err, r"\*: suspended until 20\S+Z, another [\d.]+ s: daily quota")
        self.assertEqual(done.err.count("suspended until"), 1)
        taken = [a.rcpt for a in self.ses.accepted]
        self.assertEqual(sorted(taken), sorted(rows))

    def is_quiet(self, seconds):
        mails = self.mails()
        time.sleep(seconds)
        return self.mails() == mails

    def test_another_node_rests_too_and_a_redis_that_forgets_is_told_again(self):
        one, two = self.node("one", schedule="60s", give_up="600s"), self.node("two", schedule="60s", give_up="600s")
        other = self.start("serve", "--config", two)
        wait_for(lambda: os.path.exists(self.path("two", "control.sock")), 20, "the other node")
        sending = self.send_by(one, rows=[f"u{i}@a.test" for i in range(150)])
        wait_for(lambda: self.lines("one", "suspended"), 20, "a suspension")
        wait_for(lambda: self.lines("two", "suspended"), 20, "the other node to learn it")
        learned = self.lines("two", "suspended")[0]
        self.assertEqual((learned["site"], learned["cause"]), ("*", "daily quota"))
        self.assertGreater(learned["for_s"], 40)
        wait_for(lambda: self.is_quiet(0.3), 10, "what was under way")
        self.redis("DEL", "hikyaku:suspended")
        wait_for(lambda: self.redis("HLEN", "hikyaku:suspended") == "2", 20, "it to be told again")
        self.server.stop(signal.SIGKILL)
        self.assert_silent(1)
        self.server.start()
        self.assert_silent(2)
        following = self.send_by(two, "d", rows=["v1@a.test", "v2@a.test"])
        wait_for(lambda: os.path.exists(self.path("two", "campaigns", "d", "message.eml")), 20, "its campaign")
        self.assert_silent(2)
        self.assertEqual(self.redis("HLEN", "hikyaku:suspended"), "2")

        self.ses.quota = None
        release = ("release", "--config", one, "--site", "*")
        self.assertEqual(self.hikyaku(*release, expect=0).out, "* is released\n")
        self.assertEqual(self.hikyaku(*release, expect=0).out, "* is not suspended\n")
        self.finish(following, expect=0, timeout=60)
        self.finish(sending, expect=0, timeout=60)
        self.interrupt(other, signal.SIGTERM)
        self.finish(other, expect=0)
        self.assertEqual(len({a.rcpt for a in self.ses.accepted}), 152)
        self.assertEqual(len(self.ses.accepted), 152)
        self.assertEqual(len(self.lines("two", "released")), 1)


RATE, BURST, CONNECTIONS = 100, 10, 3


class Limits(Nodes):
    def setUp(self):
        super().setUp()
        self.relay = self.receiver("relay", "--log-mail", "--latency", "5")
        self.dns({"a.test": self.relay})

    def node(self, name, scope="cluster", more="", burst=BURST, **options):
        return super().node(name, connections=CONNECTIONS, more=f"""
            route "*" {{ relay = "{self.relay.address}:{self.port}" }}
            limit "route:*" {{ scope = {scope} rate = "{RATE}/s" burst = {burst} }}\n{more}""", **options)

    def mails(self):
        """When each MAIL came."""
        self.stop_receivers()
        return sorted(seen.time_us for seen in self.relay.log("mail"))

    def check_windows(self, times, connections, rate=RATE, burst=BURST):
        """At most r x w + b in any window of w seconds; c more for what is on its way (design 8)."""
        for i, first in enumerate(times):
            for k in range(i, len(times)):
                allowed = rate * (times[k] - first) / 1e6 + burst + connections
                self.assertLessEqual(k - i + 1, allowed, f"in {(times[k] - first) / 1e6:.3f} s, from {i} on")

    def check_used(self, times, least, rate=RATE):
        used = (len(times) - BURST) / ((times[-1] - times[0]) / 1e6) / rate
        print(f"{len(times)} messages, {used:.0%} of what the limit allows")
        self.assertGreater(used, least)

    def test_two_nodes_share_the_limit_and_redis_goes_away_meanwhile(self):
        one, two = self.node("one"), self.node("two")
        sending = [self.send_by(one, "c", [f"c{i}@a.test" for i in range(250)]),
                   self.send_by(two, "d", [f"d{i}@a.test" for i in range(250)])]
        wait_for(lambda: min(len(self.lines(n, "attempt")) for n in ("one", "two")) > 60, 30, "both to send")
        self.server.stop(signal.SIGKILL)
        time.sleep(1)
        self.server.start()
        for process in sending:
            self.finish(process, timeout=60)
        done = {n: [line["time"] for line in self.lines(n, "attempt") if line["outcome"] == "sent"] for n in ("one", "two")}
        times = self.mails()
        self.assertEqual(len(times), 500)
        self.check_windows(times, 2 * CONNECTIONS)
        # While both want all of it each has about half.
        end = min(max(done["one"]), max(done["two"]))
        counts = [sum(when <= end for when in done[n]) for n in ("one", "two")]
        self.assertGreater(min(counts) / max(counts), 0.5, counts)

    def test_without_a_burst_the_nodes_keep_their_distance(self):
        sending = [self.send_by(self.node(name, burst=1), campaign, [f"{campaign}{i}@a.test" for i in range(150)])
                   for name, campaign in (("one", "c"), ("two", "d"))]
        for process in sending:
            self.finish(process, expect=0, timeout=60)
        times = self.mails()
        self.check_windows(times, 2 * CONNECTIONS, burst=1)
        self.check_used(times, 0.3)

    def test_what_one_node_does_not_want_is_the_others(self):
        one, two = self.node("one"), self.node("two")
        other = self.start("serve", "--config", two)
        wait_for(lambda: os.path.exists(self.path("two", "control.sock")), 20, "the other node")
        few = self.send_by(two, "d", ["d1@a.test", "d2@a.test", "d3@a.test"])
        self.finish(few, expect=0)
        self.finish(self.send_by(one, "c", [f"c{i}@a.test" for i in range(300)]), expect=0, timeout=60)
        self.interrupt(other, signal.SIGTERM)
        self.finish(other, expect=0)
        times = self.mails()
        self.check_windows(times, 2 * CONNECTIONS)
        self.check_used(times[3:], 0.65)  # half of it would be its share

    def test_a_limit_of_the_node_counts_for_its_sources_together(self):
        self.node("one", "node", more=f"""
            source "s1" {{ address = "127.{self.net}.9.1" }}
            source "s2" {{ address = "127.{self.net}.9.2" }}""")
        self.finish(self.send_by(self.path("one.conf"), rows=[f"c{i}@a.test" for i in range(250)]), expect=0, timeout=60)
        times = self.mails()
        self.assertEqual(len({seen.connection for seen in self.relay.log("mail")}), 2 * CONNECTIONS)
        self.check_windows(times, 2 * CONNECTIONS)
        self.check_used(times, 0.65)

    def test_a_limit_per_source_counts_for_each(self):
        self.node("one", "source", more=f"""
            source "s1" {{ address = "127.{self.net}.9.1" }}
            source "s2" {{ address = "127.{self.net}.9.2" }}""")
        self.finish(self.send_by(self.path("one.conf"), rows=[f"c{i}@a.test" for i in range(250)]), expect=0, timeout=60)
        times = self.mails()
        self.check_windows(times, 2 * CONNECTIONS + BURST, 2 * RATE)
        self.check_used(times, 0.6, 2 * RATE)  # one of two sources would use half

    def test_sites_that_share_what_a_domain_may_sign_are_served_in_turn(self):
        """One site with many who wait, twenty with two each: the few do not wait for the many."""
        few = [f"d{n}.test" for n in range(20)]
        self.nsd.stop()
        self.dns({}, more="".join(f"{d}. MX 10 {d}.\n{d}. A {self.relay.address}\n" for d in ["a.test", *few]))
        config = Nodes.node(self, "one", dkim=True, more=f"""
            limit "dkim:news.test" {{ scope = cluster rate = "{RATE}/s" burst = {BURST} }}""")
        self.keys(dkim=True)
        rows = [f"a{n}@a.test" for n in range(300)] + [f"u{n}@{d}" for d in few for n in range(2)]
        self.finish(self.send_by(config, rows=rows), expect=0, timeout=60)
        times = self.mails()
        self.assertEqual(len(times), len(rows))
        self.check_windows(times, 40)
        last = max(n for n, seen in enumerate(self.relay.log("accepted")) if not seen.address.endswith("@a.test"))
        self.assertLess(last, 200)


class Account(Nodes):
    def test_the_rate_that_one_node_finds_is_kept_by_the_other(self):
        make_certificate(self.dir)
        self.write("ses.key", played_ses.SECRET_KEY + "\n")
        self.dns(mx={})
        ses = Ses(self.dir, rate=100)
        self.addCleanup(ses.stop)
        nodes = [self.node(name, tls='opportunistic\n ca_file = "relay.pem"', give_up="60s", more=f"""
            route "*" {{ relay = "{ses.host}:{ses.port}" profile = ses region = "{played_ses.REGION}"
                auth {{ user = "{played_ses.USER}" secret_key_file = "ses.key" }} }}""") for name in ("one", "two")]
        self.finish(self.send_by(nodes[0], "c", [f"c{i}@a.test" for i in range(400)]), expect=0, timeout=60)
        self.assertGreater(len(ses.refused), 0)
        refused = len(ses.refused)
        sending = [self.send_by(nodes[0], "e", [f"e{i}@a.test" for i in range(500)]),
                   self.send_by(nodes[1], "d", [f"d{i}@a.test" for i in range(500)])]
        for process in sending:
            self.finish(process, expect=0, timeout=60)
        took = ses.accepted[-1].time - ses.accepted[400].time
        print(f"{1000 / took:.0f} a second of 100, {refused} refusals until it was found, {len(ses.refused) - refused} after")
        self.assertEqual(len(ses.accepted), 1400)
        self.assertLess(len(ses.refused) - refused, 60)
        self.assertGreater(1000 / took, 50)


if __name__ == "__main__":
    harness.main()
