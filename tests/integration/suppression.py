"""Who is suppressed gets nothing: judged at the receiver's log, whatever hikyaku says of itself.

A campaign bounces some of its people; the next one over the same list skips exactly these, after whatever happened in
between to the node, its Redis and its file of hashes. Somebody added in the middle of a campaign gets nothing more.
"""
import csv
import io
import json
import os
import random
import shutil
import signal
import time

import harness
from harness import wait_for

NAMES = [f"u{n}@a.test" for n in range(400)]
SLOW = """
provider "slow" {{ domains = {{ "slow.test" }} rate = "{rate}" burst = 1 max_connections = 2 }}
"""
# The messages that may have been granted when a command returns: two connections, two on each.
GRANTED = 4


class Lists(harness.Case):
    def suppress(self, verb, *words, expect=0):
        return self.hikyaku("suppress", verb, "--config", self.path("hikyaku.conf"), *words, expect=expect)

    def export(self):
        return list(csv.DictReader(io.StringIO(self.suppress("export").out)))


class Suppression(Lists):
    def world(self, *options, more="", people=None, **configure):
        """One receiver that refuses a quarter of a.test; gone.test does not exist, null.test takes no mail."""
        receiver = self.receiver("a", *(options or ("--unknown", "0.25")))
        self.dns(mx={"a.test": receiver, "slow.test": receiver}, more="null.test. MX 0 .")
        self.configure(more=more, **configure)
        self.list(people if people is not None else NAMES + ["x@gone.test", "y@null.test"])
        return receiver

    def states(self, campaign):
        by_state = {}
        for line in self.recipients(campaign):
            by_state.setdefault(line["state"], set()).add(line["recipient"])
        return by_state

    def events_of(self, campaign, kind):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        return [e for e in lines if e["type"] == kind and e.get("campaign") == campaign]

    def judge_second(self, receiver, first, campaign, since_us):
        """The campaign that was sent after `since_us` skipped exactly whom the first one bounced."""
        bounced, second = self.states(first)["bounced"], self.states(campaign)
        self.assertEqual(second.get("suppressed"), bounced)
        self.assertEqual(set(second), {"suppressed", "sent"})
        self.assertEqual(self.report(campaign)["counts"]["suppressed"], len(bounced))
        told = self.events_of(campaign, "suppressed")
        self.assertEqual({e["recipient"] for e in told}, bounced)
        receiver.stop()
        log = receiver.log()
        refused = {s.address for s in log if s.event == "refused" and s.time_us < since_us}
        self.assertEqual(refused, {r for r in bounced if r.endswith("@a.test")})
        self.assertGreater(len(refused), 40)
        seen = {s.address for s in log if s.time_us >= since_us}
        self.assertEqual(seen, second["sent"])

    def test_a_table_that_breaks_off_is_told_where(self):
        self.world()
        for text, words in (('email,"reason\na@a.test,x\n', ":1: a quote that opens in this row never closes"),
                            ('email\na@a.test\n"b@a.test\n', ":3: a quote that opens in this row never closes"),
                            ("", ": is empty; a header row with a column email is wanted")):
            path = self.write("table.csv", text)
            said = self.suppress("import", path, expect=2).err
            self.assertTrue(said.endswith(path + words + "\n"), said)
        self.assertEqual([row["email"] for row in self.export()], ["a@a.test"])

    def test_a_reason_that_is_none_is_refused_before_anything_is_changed(self):
        self.world(people=[])
        rows = self.write("rows.csv", "email\na@a.test\n")
        for reason, words in (("x" * 32, "at most 31 letters"), ("two words", "one word of small letters"), ("", "a reason is missing")):
            for verb, what in (("add", "a@a.test"), ("import", rows)):
                said = self.suppress(verb, "--reason", reason, what, expect=2).err
                self.assertIn(f"hikyaku suppress {verb}: ", said)
                self.assertIn(words, said)
        self.assertEqual(self.export(), [])
        self.suppress("add", "--reason", "x" * 31, "a@a.test")
        self.suppress("import", "--reason", "BOUNCE", self.write("more.csv", "email\nb@a.test\n"))
        self.assertEqual({row["email"]: row["reason"] for row in self.export()}, {"a@a.test": "x" * 31, "b@a.test": "bounce"})

    def test_lists_of_other_senders_are_understood(self):
        self.world(people=[])
        sendgrid = self.write("sendgrid.csv", "status,reason,email,created\n"
                              '5.1.1,"550 5.1.1 The email account, that you tried to reach",Gone@a.test,1443651125\n'
                              "4.2.2,mailbox full,full@a.test,2026-11-24 09:00:00\n")
        spam = self.write("spam.csv", "ip,email,created\n192.0.2.1,spam@a.test,1443651141\n")
        ses = self.write("ses.csv", "one@a.test,BOUNCE\ntwo@a.test,COMPLAINT\n")
        ses_head = self.write("ses-head.csv", "EmailAddress,Reason,LastUpdateTime\n"
                              "three@a.test,COMPLAINT,2020-04-10T21:03:05.123000+09:00\n")
        mailgun = self.write("mailgun.csv", "address,code,error,created_at\n"
                             'm1@a.test,550,"5.1.1 No such user, sorry","Fri, 21 Oct 2011 11:02:55 UTC"\n')
        left = self.write("left.csv", 'address,tags,created_at\nm2@a.test,*,"Fri, 21 Oct 2011 11:02:55 GMT"\n')
        for path, words in ((sendgrid, ()), (spam, ("--reason", "complaint")), (ses, ()), (ses_head, ()), (mailgun, ()),
                            (left, ("--reason", "unsubscribe"))):
            self.suppress("import", *words, path)
        found = {row["email"]: (row["reason"], row["evidence"], row["time"][:19], row["source"]) for row in self.export()}
        now = {email for email in ("one@a.test", "two@a.test")}
        self.assertEqual({email: found[email][:2] for email in now}, {"one@a.test": ("bounce", ""), "two@a.test": ("complaint", "")})
        self.assertEqual({email: row for email, row in found.items() if email not in now}, {
            "gone@a.test": ("bounce", "5.1.1 550 5.1.1 The email account, that you tried to reach", "2015-09-30T22:12:05", "sendgrid.csv"),
            "full@a.test": ("bounce", "4.2.2 mailbox full", "2026-11-24T09:00:00", "sendgrid.csv"),
            "spam@a.test": ("complaint", "", "2015-09-30T22:12:21", "spam.csv"),
            "three@a.test": ("complaint", "", "2020-04-10T12:03:05", "ses-head.csv"),
            "m1@a.test": ("bounce", "550 5.1.1 No such user, sorry", "2011-10-21T11:02:55", "mailgun.csv"),
            "m2@a.test": ("unsubscribe", "", "2011-10-21T11:02:55", "left.csv")})
        for text in ("address,created_at\nx@a.test,yesterday\n", "email,created\nx@a.test,2026-11-24T09:00:00+99:00\n"):
            said = self.suppress("import", self.write("bad.csv", text), expect=1).err
            self.assertIn("bad.csv:2: the time is not written as 2026-11-24T09:00:00Z", said)
        self.suppress("import", self.write("none.csv", "x@a.test,y\n"), expect=2)

    def test_a_second_campaign_skips_exactly_the_bounced(self):
        receiver = self.world()
        self.send("one")
        since = time.time_ns() // 1000
        entries = {e["email"]: e for e in self.export()}
        self.assertEqual(set(entries), self.states("one")["bounced"])
        self.assertIn("x@gone.test", entries)
        self.assertIn("y@null.test", entries)
        for email, entry in entries.items():
            self.assertEqual((entry["scope"], entry["reason"], entry["source"]), ("all", "bounce", "one"))
            self.assertRegex(entry["evidence"], r"^550 " if email.endswith("@a.test") else r".")
        self.send("two")
        self.judge_second(receiver, "one", "two", since)

    def test_a_refusal_that_is_not_about_the_recipient_suppresses_nobody(self):
        self.world("--reply-rcpt", "550 5.7.1 Service unavailable, client host [192.0.2.1] blocked using Spamhaus",
                   people=["u1@a.test", "u2@a.test"])
        self.send("one")
        self.assertEqual(self.report("one")["counts"]["bounced"], 2)
        self.assertEqual(self.export(), [])

    def strike_and_skip(self, strike):
        """Campaign one is struck in the middle, goes on, and the second one skips exactly the bounced."""
        receiver = self.world("--unknown", "0.25", "--latency-dot", "60", people=NAMES)
        process = self.start_send("one")
        self.wait_for_events(100, process)
        strike(self.status()["pids"], process)
        self.finish(process, expect=0)
        since = time.time_ns() // 1000
        self.send("two")
        self.judge_second(receiver, "one", "two", since)

    def test_a_killed_redis_forgets_nothing(self):
        def strike(pids, _):
            os.kill(pids["redis"], signal.SIGKILL)
        self.strike_and_skip(strike)

    def test_a_killed_master_forgets_nothing(self):
        receiver = self.world("--unknown", "0.25", "--latency-dot", "60", people=NAMES)
        dice = random.Random(os.environ.get("HIKYAKU_SEED", "1"))
        process = self.start_send("one")
        for moment in (60, 150, 250):
            self.wait_for_events(moment, process)
            # The lines may all be of the node before: this one has to be there.
            master = wait_for(lambda: self.status()["pids"]["master"], 20, "the node")
            time.sleep(dice.uniform(0, 0.03))
            os.kill(master, signal.SIGKILL)
            process.wait(20)
            self.finish(process)
            process = self.start_send("one")
        self.finish(process, expect=0)
        since = time.time_ns() // 1000
        # Whoever was in his dot is unknown, and no word about the second campaign.
        self.send("two")
        first, second = self.states("one"), self.states("two")
        self.assertEqual(second["suppressed"], first["bounced"])
        self.assertEqual({e["email"] for e in self.export()}, first["bounced"])
        receiver.stop()
        log = receiver.log()
        self.assertEqual({s.address for s in log if s.event == "refused"}, first["bounced"])
        self.assertEqual({s.address for s in log if s.time_us >= since}, set(NAMES) - first["bounced"])

    def test_a_damaged_and_a_missing_file_are_made_anew(self):
        receiver = self.world()
        self.send("one")
        path = self.path("state", "suppress.hashes")
        with open(path, "r+b") as f:
            f.seek(100)
            f.write(b"\0\0\0\0\0\0\0\0")
        since = time.time_ns() // 1000
        self.assertIn("damaged", self.send("two").err)
        os.unlink(path)
        self.send("three")
        self.assertTrue(os.path.exists(path))
        self.assertEqual(self.states("three"), self.states("two"))
        self.judge_second(receiver, "one", "two", since)

    def test_added_in_the_middle_of_a_campaign_is_mailed_no_more(self):
        people = [f"u{n}@slow.test" for n in range(300)]
        receiver = self.world("--log-mail", more=SLOW.format(rate="60/s"), people=people)
        process = self.start_send("one")
        self.wait_for_events(60, process)
        added = set(random.Random(2).sample(people, 100))
        self.suppress("add", *added)
        returned_us = time.time_ns() // 1000
        self.finish(process, expect=0)
        states = self.states("one")
        receiver.stop()
        late = [s.address for s in receiver.log("accepted") if s.address in added and s.time_us > returned_us]
        self.assertLessEqual(len(late), GRANTED)
        # Nor is he tried: no envelope begins that ends in a refused commit.
        begun, taken = ([s for s in receiver.log(event) if s.time_us > returned_us] for event in ("mail", "accepted"))
        self.assertLessEqual(len(begun), len(taken) + GRANTED)
        taken = set(receiver.taken())
        self.assertEqual(states["sent"], taken)
        self.assertEqual(states["suppressed"], added - taken)
        self.assertGreater(len(states["suppressed"]), 20)
        self.assertEqual(taken | states["suppressed"], set(people))

    def test_a_commit_is_refused_to_him_who_was_added_after_his_envelope_left(self):
        receiver = self.world("--latency", "1500", "--log-mail", people=["late@a.test", "other@a.test"],
                              connections=1)
        process = self.start_send("one")
        wait_for(lambda: receiver.log("mail"), 20, "MAIL")
        self.suppress("add", "late@a.test")
        self.finish(process, expect=0)
        self.assertEqual(self.states("one"), {"suppressed": {"late@a.test"}, "sent": {"other@a.test"}})
        receiver.stop()
        self.assertEqual(set(receiver.taken()), {"other@a.test"})

    def test_removed_is_mailed_again(self):
        receiver = self.world("--latency", "0", people=["a@a.test", "b@a.test"])
        self.suppress("add", "--reason", "complaint", "A@a.test", "b@a.test")
        self.send("one")
        self.assertEqual(self.states("one"), {"suppressed": {"a@a.test", "b@a.test"}})
        self.suppress("remove", "a@A.test")
        self.send("two")
        self.assertEqual(self.states("two"), {"suppressed": {"b@a.test"}, "sent": {"a@a.test"}})
        receiver.stop()
        self.assertEqual(dict(receiver.taken()), {"a@a.test": 1})

    def test_a_scope_holds_for_its_sender_alone(self):
        self.world("--latency", "0", people=["a@a.test", "b@a.test"])
        self.suppress("add", "--scope", "sender", "a@a.test")
        self.assertIn("list_id", self.suppress("add", "--scope", "list", "a@a.test", expect=2).err)
        self.write("theirs.csv", "email,scope\nb@a.test,sender:other.test\n")
        self.suppress("import", self.path("theirs.csv"))
        self.send("one")
        self.assertEqual(self.states("one"), {"suppressed": {"a@a.test"}, "sent": {"b@a.test"}})

    def commands(self):
        """Add, check, import, export and remove, as a user types them."""
        check = self.suppress("check", "a@x.test", "Ü@例え.test")
        self.assertEqual(check.out, "a@x.test: not suppressed\nÜ@例え.test: not suppressed\n")
        self.assertEqual(self.suppress("add", "a@x.test").out, "a@x.test: now suppressed in all\n")
        self.assertRegex(self.suppress("add", "A@x.test").out, r"^A@x.test: was suppressed already in all \(manual, ")
        self.assertRegex(self.suppress("check", "b@x.test", "a@x.test", expect=1).out,
                         r"^b@x.test: not suppressed\na@x.test: suppressed in all \(manual, since 20\d\d-.*, from comm")
        self.assertIn("no @", self.suppress("add", "b@x.test", "nonsense", expect=2).err)
        self.assertIn("b@x.test: not suppressed", self.suppress("check", "b@x.test").out)
        rows = self.write("in.csv", '\ufeffName, EMAIL ,reason,evidence,time\r\n"Ha, Na",h@x.test,complaint,"he said ""no""",'
                          "2026-01-02T03:04:05Z\r\nx,not an address,,,\nshort,k@x.test\n"
                          'x,late@x.test,,,yesterday\nx,two@x.test,Bad Word,,\nx,A@X.test,,,\n\nx,"n@x.test",,,\n')
        done = self.suppress("import", rows, expect=1)
        self.assertEqual(done.out, "7 rows: 2 added, 1 were there already, 4 rejected\n")
        for line, reason in ((3, "no @"), (4, "2 fields where the header has 5"), (5, "time"), (6, "small letters")):
            self.assertRegex(done.err, rf"(?m)^{rows}:{line}: .*{reason}")
        self.assertEqual(self.suppress("import", rows, expect=1).out,
                         "7 rows: 0 added, 3 were there already, 4 rejected\n")
        before = sorted(self.export(), key=lambda e: e["email"])
        self.assertEqual([e["email"] for e in before], ["a@x.test", "h@x.test", "n@x.test"])
        self.assertEqual((before[1]["reason"], before[1]["evidence"], before[1]["time"], before[1]["source"]),
                         ("complaint", 'he said "no"', "2026-01-02T03:04:05.000000Z", "in.csv"))
        self.suppress("export", self.path("out.csv"))
        self.suppress("remove", "a@x.test", "h@x.test", "n@x.test")
        self.assertEqual(self.export(), [])
        self.assertEqual(self.suppress("import", self.path("out.csv")).out,
                         "3 rows: 3 added, 0 were there already, 0 rejected\n")
        self.assertEqual(sorted(self.export(), key=lambda e: e["email"]), before)
        excel = self.write("excel.csv", 'email;reason;evidence\nz@x.test;complaint;"a; b, c"\n')
        self.assertEqual(self.suppress("import", excel).out, "1 rows: 1 added, 0 were there already, 0 rejected\n")
        self.assertIn("a; b, c", self.suppress("check", "z@x.test", expect=1).out)
        os.mkfifo(self.path("pipe"))
        self.assertIn("no ordinary file", self.suppress("export", self.path("pipe"), expect=2).err)
        listed = self.write("listed.txt", "s1@x.test\tBOUNCE\ns2@x.test\tCOMPLAINT\n")  # by the aws command that is named below
        self.assertEqual(self.suppress("import", listed).out, "2 rows: 2 added, 0 were there already, 0 rejected\n")
        self.suppress("remove", "s1@x.test", "s2@x.test")
        ses = '{\n    "SuppressedDestinationSummaries": [\n        {\n            "EmailAddress": "a@x.test",\n'
        for text, words in (("", "is empty"), ("name\nx\n", "no column email"), (ses, "list-suppressed-destinations --output text"),
                            (ses.replace("\n", "") + '"Reason": "BOUNCE"}]}\n', "is JSON, and CSV is wanted"), ("email,Email\n", "there twice"),
                            ('email\na@y.test\n"never\n', ":3: a quote that opens in this row never closes")):
            self.assertIn(words, self.suppress("import", self.write("bad.csv", text), expect=2).err)
        self.assertIn("directory", self.suppress("import", self.dir, expect=2).err)
        self.assertIn("No such file", self.suppress("import", self.path("none.csv"), expect=2).err)

    def test_the_commands_without_a_node(self):
        self.world(people=[])
        self.commands()

    def test_the_commands_beside_a_node(self):
        self.world(people=[])
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")), 20, "the node")
        self.commands()
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)


class Refusals(harness.Case):
    """What replies in the session count: soft bounces, and the breaker of a domain."""

    def world(self, people, *options, **configure):
        receiver = self.receiver("a", *options)
        self.dns(mx={"a.test": receiver, "b.test": receiver})
        self.configure(**configure)
        self.list(people)
        return receiver

    def bounce(self, verb, *addresses, expect=0):
        return self.hikyaku("bounce", verb, "--config", self.path("hikyaku.conf"), *addresses, expect=expect).out

    def check(self, address, expect):
        return self.hikyaku("suppress", "check", "--config", self.path("hikyaku.conf"), address, expect=expect).out

    def alarms(self):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            return [e for e in map(json.loads, f) if e["type"] == "alarm"]

    def test_the_nth_refusal_that_counts_suppresses(self):
        receiver = self.world(["u1@a.test", "u2@a.test"], "--reply-rcpt", "550 5.2.2 Mailbox is full",
                              more='soft "mailbox-full" { count = 3 within = 30d apart = 0s }')
        for campaign in ("one", "two", "three"):
            self.check("u1@a.test", 0)
            self.send(campaign)
            self.assertEqual(self.report(campaign)["counts"]["bounced"], 2)
        for address in ("u1@a.test", "U2@a.test"):
            said = self.check(address, 1)
            self.assertIn("3 times mailbox-full within 30 days: 550", said)
        self.send("four")
        self.assertEqual(self.report("four")["counts"]["suppressed"], 2)
        receiver.stop()
        self.assertEqual(sum(s.event == "refused" for s in receiver.log()), 6)

    def test_one_that_is_given_up_counts_once_however_often_it_was_tried(self):
        self.world(["u1@a.test"], "--reply-rcpt", "452 4.2.2 Mailbox is full",
                   more='soft "mailbox-full" { count = 2 within = 30d apart = 0s }', give_up="3s")
        self.send("one")
        self.assertEqual(self.report("one")["counts"]["expired"], 1)
        self.assertGreater(self.report("one")["attempts"], 1)
        self.assertIn("1 of 2", self.check("u1@a.test", 0))
        self.send("two")
        self.assertIn("2 times mailbox-full", self.check("u1@a.test", 1))

    def test_what_was_given_up_counts_after_redis_forgot_it(self):
        self.world(["u1@a.test"], "--reply-rcpt", "452 4.2.2 Mailbox is full",
                   more='soft "mailbox-full" { count = 2 within = 30d apart = 0s }', give_up="3s")
        self.send("one")
        self.assertIn("1 of 2", self.check("u1@a.test", 0))
        self._end_redis()
        shutil.rmtree(self.path("state", "redis"))
        self.check("u1@a.test", 0)
        for _ in range(2):  # once more tells the same once more
            self.hikyaku("campaigns", "restore", "--config", self.path("hikyaku.conf"), "--campaign", "one", expect=0)
            self.assertIn("1 of 2", self.check("u1@a.test", 0))
        self.assertEqual(self.report("one")["counts"]["expired"], 1)
        self.send("two")
        self.assertIn("2 times mailbox-full within 30 days: 452", self.check("u1@a.test", 1))

    def test_who_was_full_is_written_to_again_after_a_time(self):
        full = 'soft "mailbox-full" { count = 1 apart = 0s expires = 6s }'
        receiver = self.world(["u1@a.test", "u2@a.test"], "--reply-rcpt", "550 5.2.2 Mailbox is full", more=full)
        self.send("one")
        self.assertRegex(self.check("u1@a.test", 1), r"suppressed in all \(bounce, since .*, ends 20")
        rows = self.hikyaku("suppress", "export", "--config", self.path("hikyaku.conf")).out
        ends = {row["email"]: row["until"] for row in csv.DictReader(io.StringIO(rows))}
        self.assertEqual(sorted(ends), ["u1@a.test", "u2@a.test"])
        self.assertTrue(all(ends.values()))
        # Who complains meanwhile is suppressed for good.
        self.hikyaku("suppress", "add", "--config", self.path("hikyaku.conf"), "--reason", "complaint", "u2@a.test", expect=0)
        self.send("two")
        self.assertEqual(self.report("two")["counts"]["suppressed"], 2)
        wait_for(lambda: ", ended 20" in self.hikyaku("suppress", "check", "--config", self.path("hikyaku.conf"),
                                                      "u1@a.test").out, 30, "the end of an entry")
        self.assertRegex(self.check("u1@a.test", 0), r"was suppressed in all .*, ended 20.*\n.*: not suppressed\n")
        self.assertIn("(complaint, since", self.check("u2@a.test", 1))
        self.send("three")
        counts = self.report("three")["counts"]
        self.assertEqual((counts["bounced"], counts["suppressed"]), (1, 1))
        self.assertIn(", ends 20", self.check("u1@a.test", 1))  # full once more: from now on
        receiver.stop()
        self.assertEqual(sum(s.event == "refused" for s in receiver.log()), 3)
        # What was exported says when it ends, and so does what is imported.
        ended = time.strftime("%Y-%m-%dT00:00:00", time.gmtime(time.time() - 10 * 86400))
        self.write("theirs.csv", f"email,until\nx@a.test,2099-01-01T00:00:00Z\ny@a.test,{ended}Z\nz@a.test,\n")
        self.hikyaku("suppress", "import", "--config", self.path("hikyaku.conf"), self.path("theirs.csv"), expect=0)
        self.assertIn(", ends 2099-01-01T00:00:00", self.check("x@a.test", 1))
        self.assertIn(f", ended {ended}", self.check("y@a.test", 0))
        self.assertNotIn(", end", self.check("z@a.test", 1))

    def test_what_is_our_own_fault_counts_for_nobody(self):
        self.world(["u1@a.test"], "--reply-rcpt", "550 5.7.1 Message rejected as spam by content scanner",
                   more='soft "recipient-refused" { count = 1 apart = 0s }')
        self.send("one")
        self.assertEqual(self.report("one")["counts"]["bounced"], 1)
        self.assertNotIn("1 of", self.check("u1@a.test", 0))

    def test_a_domain_where_everyone_is_unknown_suppresses_nobody(self):
        people = [f"u{n}@a.test" for n in range(60)]
        self.world(people + ["x@b.test"], "--unknown", "1")
        self.send("one")
        self.assertEqual(self.report("one")["counts"]["bounced"], 61)
        for address in ("u0@a.test", "u30@a.test", "u59@a.test"):
            self.check(address, 0)
        self.check("x@b.test", 1)
        self.assertEqual(len(self.bounce("held").splitlines()), 60)
        self.assertEqual([(e["cause"], e["domain"], e["campaign"]) for e in self.alarms()],
                         [("domain-unknown", "a.test", "one")])
        # They are written to again, and nobody is told twice.
        self.send("two")
        counts = self.report("two")["counts"]
        self.assertEqual((counts["bounced"], counts["suppressed"]), (60, 1))
        self.assertEqual(len(self.alarms()), 1)
        self.bounce("apply", "u0@a.test")
        self.bounce("drop", "a.test")
        self.check("u0@a.test", 1)
        self.check("u1@a.test", 0)

    def test_a_few_of_a_domain_are_suppressed_at_once(self):
        gone = [f"u{n}@a.test" for n in range(30)]
        self.world([f"u{n}@a.test" for n in range(100)], "--unknown-file", self.write("gone", "\n".join(gone) + "\n"))
        self.send("one")
        self.assertEqual(self.report("one")["counts"]["bounced"], 30)
        self.assertEqual(self.bounce("held"), "nobody is held\n")
        self.assertEqual(self.alarms(), [])
        self.send("two")
        self.assertEqual(self.report("two")["counts"], {**self.report("two")["counts"], "suppressed": 30, "sent": 70})


class ByHand(Lists):
    """What people typed is in the event log, and comes back from there onto an empty Redis: the same list."""

    PEOPLE = [f"u{n}@a.test" for n in range(40)] + [f"v{n}@b.test" for n in range(8)]

    def setUp(self):
        super().setUp()
        receiver = self.receiver("a", "--unknown", "1")
        self.dns(mx={"a.test": receiver, "b.test": receiver})
        self.configure()
        self.list(self.PEOPLE)

    def held(self):
        return sorted(self.bounce("held").splitlines())

    def bounce(self, verb, *words):
        return self.hikyaku("bounce", verb, "--config", self.path("hikyaku.conf"), *words, expect=0).out

    def changes(self):
        """Before a campaign whose people are unknown, all of a.test at once, and after it."""
        self.suppress("add", "a@x.test", "B@x.test", "c@x.test", "v0@b.test")
        self.suppress("add", "--scope", "sender", "--reason", "complaint", "a@x.test")
        self.suppress("remove", "B@x.test", "c@x.test", "none@x.test")
        self.suppress("add", "--reason", "unsubscribe", "c@x.test")
        rows = self.write("theirs.csv", "email,scope,reason,evidence,time,until,source\n"
                          'i1@x.test,all,bounce,"550 5.1.1 ""no""",2026-01-02T03:04:05Z,,crm\n'
                          "i2@x.test,list:other.test,complaint,,1970-01-01T00:00:00Z,2099-01-01T00:00:00Z,\n"
                          "i3@x.test,,,,2124-01-01T00:00:00Z,,\na@x.test,all,bounce,,,,\n"
                          "v1@b.test,all,bounce,,,2033-01-01T00:00:00Z,\n")
        self.assertEqual(self.suppress("import", rows).out, "5 rows: 4 added, 1 were there already, 0 rejected\n")
        self.send("c")
        self.suppress("remove", "i3@x.test", "v2@b.test", "v3@b.test", "v1@b.test")
        self.suppress("add", "--reason", "manual", "v3@b.test")
        self.bounce("apply", "u0@a.test", "u1@a.test")
        self.bounce("drop", "u2@a.test", "u3@a.test", "u4@a.test")
        self.suppress("remove", "u1@a.test")
        self.suppress("add", "u4@a.test")

    def lines(self):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            return [e for e in map(json.loads, f) if e["type"] == "suppression"]

    def known(self):
        return sorted(map(tuple, (row.items() for row in self.export()))), self.held()

    def empty_redis(self):
        self._end_redis()
        shutil.rmtree(self.path("state", "redis"))

    def judge(self):
        before = self.known()
        emails = {dict(row)["email"] for row in before[0]}
        self.assertEqual({"a@x.test", "c@x.test", "v0@b.test", "i1@x.test", "i2@x.test", "v3@b.test", "v4@b.test", "u0@a.test",
                          "u4@a.test"} - emails, set())
        self.assertEqual({"b@x.test", "i3@x.test", "v1@b.test", "v2@b.test", "u1@a.test", "u2@a.test"} & emails, set())
        self.assertEqual(len(before[1]), 35)
        self.assertEqual([(e["change"], e["recipient"], e["scope"]) for e in self.lines()[:4]],
                         [("added", address, "all") for address in ("a@x.test", "B@x.test", "c@x.test", "v0@b.test")])
        told = len(self.lines())
        self.empty_redis()
        self.hikyaku("campaigns", "restore", "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=0)
        self.assertEqual(self.known(), before)
        # All of it once more, onto a Redis that has it.
        self.hikyaku("campaigns", "restore", "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=0)
        self.assertEqual(self.known(), before)
        self.assertEqual(len(self.lines()), told)

    def test_what_was_typed_without_a_node_comes_back(self):
        self.changes()
        self.judge()

    def test_what_was_typed_beside_a_node_comes_back(self):
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")), 20, "the node")
        self.changes()
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)
        self.judge()

    def test_without_a_campaign_the_next_start_tells_it(self):
        self.suppress("add", "a@x.test", "b@x.test")
        self.suppress("remove", "b@x.test")
        before = self.known()
        self.empty_redis()
        self.assertEqual(self.export(), [])
        self.suppress("add", "c@x.test")
        self.assertEqual([row for row in self.known()[0] if dict(row)["email"] != "c@x.test"], before[0])

    def test_what_changes_nothing_has_no_line(self):
        rows = self.list([f"n{n}@x.test" for n in range(9000)], name="many.csv")
        for added in (9000, 0):
            self.assertEqual(self.suppress("import", rows).out,
                             f"9000 rows: {added} added, {9000 - added} were there already, 0 rejected\n")
            self.assertEqual(len(self.lines()), 9000)
        self.suppress("add", "n1@x.test")
        self.suppress("remove", "o@x.test")
        self.assertEqual(len(self.lines()), 9000)
        # Who was told of by a start that ended well is not told of again.
        self.assertNotIn("of the event log again", self.suppress("remove", "n2@x.test").err)
        self.assertEqual(len(self.export()), 8999)


if __name__ == "__main__":
    harness.main()
