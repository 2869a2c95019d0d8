#!/usr/bin/python3
"""Relays and Amazon SES, played: log-in, rate, quota, sandbox, and one of two that dies. Nobody is dropped, nobody gets two,
nothing that a relay says about our account is charged to a recipient, and no log holds the password.

Usage: ses.py BUILD_DIR
"""
import base64
import collections
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
import played_ses  # noqa: E402
from played_ses import Ses, make_certificate  # noqa: E402

RATE, MANY = 100, 1000


class Relays(harness.Case):
    def setUp(self):
        super().setUp()
        make_certificate(self.dir)
        self.write("ses.key", played_ses.SECRET_KEY + "\n")
        self.write("smtp.password", played_ses.password() + "\n")
        self.played = []
        self.dns(mx={})

    def tearDown(self):
        for ses in self.played:
            ses.stop()
        self.assert_no_log_has_the_password()

    def assert_no_log_has_the_password(self):
        secrets = [played_ses.SECRET_KEY, played_ses.password()]
        secrets += [base64.b64encode(s.encode()).decode() for s in secrets]
        secrets.append(base64.b64encode(f"\0{played_ses.USER}\0{played_ses.password()}".encode()).decode())
        files = [self.path("stderr")]
        for folder, _, names in os.walk(self.path("state")):
            files += [os.path.join(folder, name) for name in names]
        for file in files:
            if not os.path.isfile(file):
                continue
            with open(file, "rb") as f:
                text = f.read()
            for secret in secrets:
                self.assertNotIn(secret.encode(), text, f"{file} holds a password")

    def ses(self, **options):
        self.played.append(Ses(self.dir, **options))
        return self.played[-1]

    def route(self, *relays, ses=True, more="", schedule="1s", give_up="60s"):
        addresses = ", ".join(f'"{r.host}:{r.port}"' for r in relays)
        relay = f"{{ {addresses} }}" if len(relays) > 1 else addresses
        profile = f'profile = ses region = "{played_ses.REGION}" configuration_set = "news"' if ses else ""
        secret = 'secret_key_file = "ses.key"' if ses else 'password_file = "smtp.password"'
        self.configure(tls='opportunistic\n ca_file = "relay.pem"', schedule=schedule, give_up=give_up, more=(
            f'log_level = debug\nroute "*" {{ relay = {relay} {profile} {more}\n'
            f'  auth {{ user = "{played_ses.USER}" {secret} }} }}'))

    def lines(self, *types):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            return [line for line in map(json.loads, f) if line["type"] in types]

    def assert_everyone_once(self, rows, *relays):
        taken = collections.Counter(a.rcpt for relay in relays for a in relay.accepted)
        self.assertEqual(taken, collections.Counter(rows))

    def assert_counts(self, attempts, **counts):
        report = self.report()
        expected = dict.fromkeys(report["counts"], 0) | counts
        self.assertEqual(report["counts"], expected)
        self.assertEqual(report["attempts"], attempts)

    @staticmethod
    def told_by(token):
        """(campaign, index) of a return path's local part."""
        text = token[2:].upper()
        octets = base64.b32decode(text + "=" * (-len(text) % 8))
        campaign, index = octets[12:12 + octets[11]], octets[3:7]  # behind key id and day, and the proof of the address
        return campaign.decode(), int.from_bytes(index, "big")

    def test_the_rate_of_the_account_is_found_and_everyone_gets_one(self):
        ses = self.ses(rate=RATE)
        self.route(ses)
        rows = [f"u{i}@a.test" for i in range(MANY)]
        done = self.send(rows=rows, timeout=120)
        self.assert_everyone_once(rows, ses)
        self.assert_counts(MANY, sent=MANY)
        self.assertIn("sends too fast", done.err)
        self.assert_settled(ses)
        self.assert_traced(ses)

    def assert_settled(self, ses):
        """Once the first seconds are over: near the limit, and few refusals."""
        begin, end = ses.accepted[0].time + 3, ses.accepted[-1].time
        self.assertGreater(end - begin, 3)
        rate = sum(a.time > begin for a in ses.accepted) / (end - begin)
        self.assertGreater(rate, 0.5 * RATE)
        self.assertLess(rate, 1.2 * RATE)
        late = sum(when > begin for when, _ in ses.refused)
        self.assertLess(late, 0.1 * rate * (end - begin))

    def assert_traced(self, ses):
        """From what a notification has (the id, or our tag) to campaign and recipient."""
        told = {line["remote_id"]: line for line in self.lines("attempt")}
        self.assertEqual(len(told), MANY)
        index_of = {line["recipient"]: line["index"] for line in told.values()}
        for a in ses.accepted:
            self.assertEqual(told[a.id]["recipient"], a.rcpt)
            head = a.message.split(b"\r\n\r\n")[0].decode().split("\r\n")
            self.assertIn("X-SES-CONFIGURATION-SET: news", head)
            tag = [h for h in head if h.startswith("X-SES-MESSAGE-TAGS: hikyaku=")][0].split("=")[1]
            self.assertEqual(tag, a.mail_from.split("@")[0])
            self.assertEqual(self.told_by(tag), ("c", index_of[a.rcpt]))

    def test_a_daily_quota_stops_the_route_until_it_is_over(self):
        ses = self.ses(quota=100)
        self.route(ses, schedule="6s")
        rows = [f"u{i}@a.test" for i in range(150)]
        self.list(rows)
        sending = self.start_send()
        harness.wait_for(lambda: ses.refused, 20, "a refusal")
        time.sleep(1)
        refused = len(ses.refused)  # what was under way; then silence
        self.assertLessEqual(refused, 40)
        time.sleep(0.5)
        self.assertEqual(len(ses.refused), refused)
        harness.wait_for(lambda: len(ses.refused) > refused, 30, "it asks again")
        time.sleep(0.5)
        self.assertLessEqual(len(ses.refused) - refused, 2, "one connection asks, not all")
        ses.quota = None
        self.finish(sending, expect=0, timeout=60)
        self.assert_everyone_once(rows, ses)
        self.assert_counts(150, sent=150)
        suspended = self.lines("suspended")
        self.assertGreaterEqual(len(suspended), 2)
        self.assertEqual(suspended[0]["for_s"], 6)
        self.assertIn("quota", suspended[0]["reply"]["text"])
        self.assertEqual(len(self.lines("released")), len(suspended))

    def test_the_sandbox_stops_the_campaign_and_says_what_to_do(self):
        ses = self.ses(unverified="@a.test")
        self.route(ses)
        rows = [f"u{i}@a.test" for i in range(50)]
        done = self.send(rows=rows, expect=1, timeout=30)
        self.assertIn("is not verified", done.err)
        self.assertIn("production access", done.err)
        self.assert_counts(0, pending=50)
        self.assertEqual(self.lines("attempt"), [])
        ses.unverified = ""
        self.send(rows=rows, timeout=30)
        self.assert_everyone_once(rows, ses)
        self.assert_counts(50, sent=50)

    def test_another_relay_takes_over_when_one_dies(self):
        one, two = self.ses(die_after=300), self.ses()
        self.route(one, two, ses=False)
        rows = [f"u{i}@a.test" for i in range(1000)]
        self.send(rows=rows, timeout=60)
        self.assert_everyone_once(rows, one, two)
        self.assertGreaterEqual(len(one.accepted), 300)
        self.assertLess(len(one.accepted), 400)
        report = self.report()
        self.assertEqual(report["counts"]["sent"], 1000)
        self.assertLess(report["attempts"], 1050, "who only waited was not tried")
        self.assertFalse([line for line in self.lines("attempt") if line["outcome"] in ("bounced", "unknown")])

    def test_a_relay_that_never_was_there_does_not_matter(self):
        one, two = self.ses(), self.ses()
        one.stop()
        self.route(one, two, ses=False)
        self.send(rows=["u1@a.test"], timeout=30)
        self.assert_everyone_once(["u1@a.test"], two)
        self.assert_counts(1, sent=1)

    def test_auth_login_under_implicit_tls(self):
        relay = self.ses(implicit_tls=True, auth=("LOGIN",))
        self.route(relay, ses=False, more="implicit_tls = yes")
        self.send(rows=["u1@a.test", "u2@a.test"], timeout=30)
        self.assert_everyone_once(["u1@a.test", "u2@a.test"], relay)
        self.assertTrue(all(secure for secure, _ in relay.said))
        self.assertNotIn(b"X-SES", relay.accepted[0].message)
        self.assertNotIn("remote_id", self.lines("attempt")[0])

    def test_a_log_in_that_is_refused_stops_the_campaign_and_is_masked(self):
        relay = self.ses(reject_login="535 5.7.8 nobody logs in with {told}, which is {secret}")
        self.route(relay)
        done = self.send(rows=["u1@a.test", "u2@a.test"], expect=1, timeout=30)
        self.assertIn("535", done.err)
        self.assertIn("secret_key_file", done.err)
        self.assertIn("which is ****", done.err)
        self.assert_counts(0, pending=2)

    def test_no_password_is_said_without_tls(self):
        relay = self.ses(starttls=False)
        self.route(relay, ses=False)
        self.list(["u1@a.test"])
        sending = self.start_send()
        harness.wait_for(lambda: "STARTTLS is not offered" in self.finish_words(), 20, "a refusal in words")
        self.interrupt(sending, signal.SIGINT)
        self.finish(sending, expect=1, timeout=30)
        self.assertEqual(relay.logins, 0)
        self.assertFalse([line for _, line in relay.said if "AUTH" in line.upper()])
        self.assertEqual(relay.accepted, [])


if __name__ == "__main__":
    harness.main()
