#!/usr/bin/python3
"""What several nodes on one Redis may do together: a relay's quota rests all of them, also one that is started meanwhile.
Judged by what the relay saw.

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
        config = self.node("one", schedule="8s", give_up="60s")
        rows = [f"u{i}@a.test" for i in range(150)]
        sending = self.send_by(config, rows=rows)
        wait_for(lambda: self.lines("one", "suspended"), 20, "a suspension")
        begun = time.monotonic()
        wait_for(lambda: self.redis("EXISTS", "hikyaku:suspended") == "1", 5, "Redis to hear of it")
        status = json.loads(self.hikyaku("status", "--config", config, "--json", expect=0).out)["pids"]
        for pid in (status["master"], *status["workers"], status["resolver"]):
            os.kill(pid, signal.SIGKILL)
        self.finish(sending)
        wait_for(lambda: self.is_quiet(0.3), 5, "what was under way")
        mails = self.mails()
        sending = self.send_by(config)
        wait_for(lambda: len(self.lines("one", "suspended")) > 1, 20, "the next one to find it")
        self.assertLess(time.monotonic() - begun, 6)
        while time.monotonic() < begun + 7:
            self.assertEqual(self.mails(), mails, "something was sent into the block")
            time.sleep(0.1)
        self.ses.quota = None
        done = self.finish(sending, expect=0, timeout=30)
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
        wait_for(lambda: self.lines("two", "suspended"), 2, "the other node to learn it")
        learned = self.lines("two", "suspended")[0]
        self.assertEqual((learned["site"], learned["cause"]), ("*", "daily quota"))
        self.assertGreater(learned["for_s"], 50)
        wait_for(lambda: self.is_quiet(0.3), 5, "what was under way")
        self.redis("DEL", "hikyaku:suspended")
        wait_for(lambda: self.redis("HLEN", "hikyaku:suspended") == "2", 5, "it to be told again")
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
        self.finish(following, expect=0, timeout=20)
        self.finish(sending, expect=0, timeout=20)
        self.interrupt(other, signal.SIGTERM)
        self.finish(other, expect=0)
        self.assertEqual(len({a.rcpt for a in self.ses.accepted}), 152)
        self.assertEqual(len(self.ses.accepted), 152)
        self.assertEqual(len(self.lines("two", "released")), 1)


if __name__ == "__main__":
    harness.main()
