"""What comes back later: a real Postfix bounces for real, by its pipe, and mails from files, an mbox and a maildir.

A recipient is who the token of our return path says. Judged by what the next campaign's receiver sees, by `suppress check`,
the report's `later` and the event log.
"""
import glob
import json
import mailbox
import os
import pwd
import shutil
import subprocess

import harness
from harness import wait_for
from nsd import die_with_parent
from postfix import Postfix

USER = "nobody"  # whom the MTA's pipe runs as: the node's user

REPORT = """\
Return-Path: <>
{on_top}From: MAILER-DAEMON@mx.a.test (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {to}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="=_r"

--=_r
Content-Type: text/plain

This is the mail system at host mx.a.test. Your message could not be delivered.

<{recipient}>: {said}
--=_r
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.a.test

Final-Recipient: rfc822; {recipient}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {said}

--=_r
Content-Type: message/rfc822

From: News <news@news.test>
To: <{recipient}>
Subject: hello

Dear you
--=_r--
"""

COMPLAINT = """\
From: <feedback@isp.test>
To: <abuse@news.test>
Subject: FW: hello
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="=_f"

--=_f
Content-Type: text/plain

This is an email abuse report for a message received from IP 192.0.2.1.
--=_f
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <{path}>

--=_f
Content-Type: message/rfc822

Return-Path: <{path}>
From: News <news@news.test>
To: <undisclosed>
Subject: hello

Dear you
--=_f--
"""


class Case(harness.Case):
    def world(self, people, more=""):
        self.sink = self.receiver("a", "--store", "{store}")
        self.dns(mx={"a.test": self.sink, "b.test": self.sink})
        self.configure(more=more)
        self.list(people)

    def paths(self):
        """Recipient -> return path of his newest copy."""
        found = {}
        for name in sorted(glob.glob(os.path.join(self.sink.store, "*.json"))):
            with open(name, encoding="utf-8") as f:
                envelope = json.load(f)
            for recipient in envelope["recipients"]:
                found[recipient] = envelope["sender"].strip("<>")
        return found

    @staticmethod
    def bounce(path, recipient, said="550 5.1.1 <x> User unknown", status="5.1.1", action="failed", on_top="", to=None):
        return REPORT.format(to=to or path, recipient=recipient, said=said, status=status, action=action, on_top=on_top)

    def ingest(self, *words, text=None, expect=0, env=None):
        command = [os.path.join(harness.BUILD, "hikyaku"), "bounce", "ingest", "--config", self.path("hikyaku.conf"), *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120,
                              env={**os.environ, **(env or {})})
        self.assertEqual(done.returncode, expect, f"{done.stdout}\n{done.stderr}")
        return done.stdout

    def check(self, address, expect):
        return self.hikyaku("suppress", "check", "--config", self.path("hikyaku.conf"), address, expect=expect).out

    def lines(self, kind):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            return [e for e in map(json.loads, f) if e["type"] == kind]

    def held(self):
        return self.hikyaku("bounce", "held", "--config", self.path("hikyaku.conf"), expect=0).out


class Bounces(Case):
    # ---- who is meant ----

    def test_a_bounce_suppresses_whom_its_token_names_whatever_it_says(self):
        people = [f"u{n}@a.test" for n in range(6)]
        self.world(people)
        self.send("one")
        path = self.paths()
        for u in people:
            self.assertTrue(path[u].startswith("b-"), path)
        self.assertIn("suppressed", self.ingest(text=self.bounce(path["u0@a.test"], "u0@a.test")))
        # An innocent one is named: who is meant is the token's recipient.
        self.ingest("--recipient", path["u1@a.test"], text=self.bounce("x@y.test", "u5@a.test"))
        said = self.check("u0@a.test", 1)
        self.assertIn("from bounce-mail: campaign one, mailbox-unknown: ", said)
        self.assertIn("User unknown", said)
        self.check("u1@a.test", 1)
        self.check("u5@a.test", 0)
        # Forged: one digit of the HMAC is another one; no token; the token of another domain.
        forged = self.forge(path["u2@a.test"])
        for text in (self.bounce(forged, "u2@a.test"), self.bounce("postmaster@news.test", "u2@a.test"),
                     self.bounce(path["u2@a.test"].split("@")[0] + "@elsewhere.test", "u2@a.test")):
            self.assertIn("ignored: ", self.ingest(text=text))
        self.check("u2@a.test", 0)
        ignored = [e["ignored"] for e in self.lines("bounce") if "ignored" in e]
        self.assertEqual(len(ignored), 3)
        self.assertEqual(self.report("one")["later"], {"bounced": 2, "complained": 0, "unsubscribed": 0})
        self.assertEqual(self.report("one")["counts"]["sent"], 6)
        self.send("two")
        self.assertEqual({r["recipient"] for r in self.recipients("two") if r["state"] == "suppressed"},
                         {"u0@a.test", "u1@a.test"})

    @staticmethod
    def forge(path):
        local, domain = path.split("@")
        return local[:-3] + ("a" if local[-3] != "a" else "b") + local[-2:] + "@" + domain

    def test_the_envelope_is_what_an_mta_says_it_is(self):
        people = [f"u{n}@a.test" for n in range(5)]
        self.world(people)
        self.send("one")
        path = self.paths()
        self.ingest(text=self.bounce("x@y.test", "?"), env={"ORIGINAL_RECIPIENT": path["u0@a.test"]})
        self.ingest("-", text=self.bounce("x@y.test", "?"), env={"RECIPIENT": path["u1@a.test"]})
        for u, field in (("u2@a.test", "Delivered-To"), ("u3@a.test", "X-Original-To"), ("u4@a.test", "Envelope-to")):
            self.ingest(text=self.bounce("x@y.test", "?", on_top=f"{field}: {path[u]}\n"))
        for u in people:
            self.check(u, 1)

    def test_a_mail_that_is_taken_twice_counts_once(self):
        self.world(["u0@a.test", "u1@a.test"], more='soft "mailbox-full" { count = 2 apart = 0s }')
        self.send("one")
        path = self.paths()
        full = self.bounce(path["u0@a.test"], "u0@a.test", "552 5.2.2 Mailbox is full", "5.2.2")
        for _ in range(3):
            self.ingest(text=full)
            self.ingest(text=self.bounce(path["u1@a.test"], "u1@a.test"))
        self.assertEqual(self.report("one")["later"]["bounced"], 2)
        self.assertEqual(len(self.lines("bounce")), 2)
        said = self.check("u0@a.test", 0)
        self.assertIn("1 of 2 soft bounces (mailbox-full", said)
        self.send("two")
        self.ingest(text=self.bounce(self.paths()["u0@a.test"], "u0@a.test", "552 5.2.2 Mailbox is full", "5.2.2"))
        self.assertIn("2 times mailbox-full", self.check("u0@a.test", 1))

    def test_complaints_suppress_and_what_is_no_verdict_does_not(self):
        people = [f"u{n}@a.test" for n in range(6)]
        self.world(people)
        self.send("one")
        path = self.paths()
        self.assertIn("suppressed", self.ingest(text=COMPLAINT.format(path=path["u0@a.test"])))
        self.assertIn("(complaint, since", self.check("u0@a.test", 1))
        away = (f"From: <u1@a.test>\nTo: <{path['u1@a.test']}>\nSubject: Out of office\nAuto-Submitted: auto-replied\n"
                "Precedence: bulk\n\nI am on vacation until Monday.\n")
        human = f"From: <u2@a.test>\nTo: <{path['u2@a.test']}>\nSubject: Re: hello\n\nThank you, 550 5.1.1 times.\n"
        late = self.bounce(path["u3@a.test"], "u3@a.test", "451 4.4.1 no answer", "4.4.1", action="delayed")
        spam = self.bounce(path["u4@a.test"], "u4@a.test", "554 5.7.1 Message rejected as spam by content filter", "5.7.1")
        for text in (away, human, late, spam):
            self.ingest(text=text)
        for u in people[1:]:
            self.check(u, 0)
        self.assertEqual(self.report("one")["later"], {"bounced": 1, "complained": 1, "unsubscribed": 0})
        for u, words in (("u0", "complaint: "), ("u1", "autoreply: Out of office"), ("u3", "delay: 451 "),
                         ("u4", "bounce (content-policy, block): 554 ")):
            told = self.hikyaku("why", "--config", self.path("hikyaku.conf"), f"{u}@a.test", expect=0).out
            self.assertIn(f"Z  {words}", told)

    # ---- where mails come from ----

    def test_an_mbox_and_a_maildir_are_taken_and_what_is_not_taken_stays(self):
        people = [f"u{n}@a.test" for n in range(40)]
        self.world(people, more="bounce { breaker_count = 0 }")
        self.send("one")
        path = self.paths()
        box = self.path("box")
        with open(box, "w", encoding="utf-8") as f:
            for u in people[:20]:
                f.write("From MAILER-DAEMON Thu Nov 26 09:00:00 2026\n" + self.bounce(path[u], u) + "\n")
        said = self.ingest(box)
        self.assertEqual(said.count("suppressed"), 20, said)
        folder = mailbox.Maildir(self.path("maildir"))
        for u in people[20:]:
            folder.add(self.bounce(path[u], u).encode())
        folder.add(b"From: <x@y.test>\nSubject: hello\n\nno bounce\n")
        away = self.path("hikyaku.conf")
        shutil.move(away, away + ".away")
        self.ingest(self.path("maildir"), expect=2)
        shutil.move(away + ".away", away)
        self.assertEqual(len(os.listdir(self.path("maildir", "new"))), 21)
        said = self.ingest(self.path("maildir"))
        self.assertEqual(said.count("suppressed"), 20, said)
        self.assertEqual(os.listdir(self.path("maildir", "new")), [])
        self.assertEqual(len(os.listdir(self.path("maildir", "cur"))), 21)
        self.assertEqual(self.ingest(self.path("maildir")), "")
        self.assertEqual(self.report("one")["later"]["bounced"], 40)

    def test_what_lies_in_a_maildir_and_is_no_mail_keeps_no_mail(self):
        people = [f"u{n}@a.test" for n in range(4)]
        self.world(people, more="bounce { breaker_count = 0 }")
        self.send("one")
        path = self.paths()
        folder = mailbox.Maildir(self.path("maildir"))
        strange = ["0a-folder", "0b-fifo", "0c-loop", "zz-gone"]
        os.mkdir(self.path("maildir", "new", strange[0]))
        os.mkfifo(self.path("maildir", "new", strange[1]))
        os.symlink(strange[2], self.path("maildir", "new", strange[2]))
        os.symlink("nothing", self.path("maildir", "new", strange[3]))  # as one that somebody else has just taken
        for u in people[:2]:
            folder.add(self.bounce(path[u], u).encode())
        # Two mails in one file, as of an MTA that appends: it leaves when both were taken.
        self.write("maildir/new/9.two", "".join("From MAILER-DAEMON Thu Nov 26 09:00:00 2026\n" + self.bounce(path[u], u) + "\n"
                                                for u in people[2:]))
        os.rename(self.path("maildir", "cur"), self.path("maildir", "away"))
        self.ingest(self.path("maildir"), expect=75)
        self.assertEqual(len(os.listdir(self.path("maildir", "new"))), 7)
        os.rename(self.path("maildir", "away"), self.path("maildir", "cur"))
        self.ingest(self.path("maildir"), expect=2)
        for u in people:
            self.check(u, 1)
        self.assertEqual(sorted(os.listdir(self.path("maildir", "new"))), strange)
        self.assertEqual(len(os.listdir(self.path("maildir", "cur"))), 3)

    def test_a_pipe_without_its_redis_has_the_mta_keep_the_mail(self):
        self.world(["u0@a.test"])
        self.send("one")
        text = self.bounce(self.paths()["u0@a.test"], "u0@a.test")
        with open(self.path("hikyaku.conf"), "a", encoding="utf-8") as f:
            f.write('redis { mode = external socket = "/nonexistent/redis.sock" }\n')
        self.ingest(text=text, expect=75)
        with open(self.path("hikyaku.conf"), "a", encoding="utf-8") as f:
            f.write("nonsense = 1\n")
        self.ingest(text=text, expect=75)

    # ---- a node that runs ----

    def test_a_node_that_runs_hears_of_it_at_once(self):
        people = [f"u{n}@a.test" for n in range(30)]
        self.world(people, more='provider "slow" { domains = { "b.test" } rate = "2/s" max_connections = 1 }')
        self.send("one")
        path = self.paths()
        self.list(["b0@b.test"] + people + [f"b{n}@b.test" for n in range(1, 30)])
        node = self.start_send("two", None)
        self.wait_for_events(32, node)
        said = self.ingest(text=self.bounce(path["u3@a.test"], "u3@a.test"))
        self.assertIn("suppressed", said)
        self.assertIn("suppressed", self.check("u3@a.test", 1))
        self.assertEqual(self.report("one")["later"]["bounced"], 1)
        newest = self.paths()
        self.ingest(text=self.bounce(newest["b0@b.test"], "b0@b.test"))
        self.assertEqual(self.report("two")["later"]["bounced"], 1)
        self.interrupt(node)
        self.finish(node)

    # ---- later than the campaign ----

    def test_a_purged_campaign_still_suppresses_whom_the_token_proves(self):
        people = [f"u{n}@a.test" for n in range(4)]
        self.world(people)
        self.send("one")
        path = self.paths()
        self.hikyaku("campaigns", "purge", "--config", self.path("hikyaku.conf"), "--campaign", "one", expect=0)
        # Another campaign of that name, where the same index is somebody else.
        self.send("one", rows=["a0@a.test", "a1@a.test", "a2@a.test", "a3@a.test"])
        self.assertIn("ignored: the list of its campaign is gone", self.ingest(text=self.bounce(path["u0@a.test"], "a0@a.test")))
        self.assertIn("suppressed", self.ingest(text=self.bounce(path["u1@a.test"], "U1@A.test")))
        self.check("u0@a.test", 0)
        self.check("u1@a.test", 1)
        for n in range(4):
            self.check(f"a{n}@a.test", 0)
        self.assertEqual(self.report("one")["later"]["bounced"], 0)

    def test_what_redis_forgot_is_told_again_by_the_log(self):
        people = [f"u{n}@a.test" for n in range(4)]
        self.world(people)
        self.send("one")
        path = self.paths()
        self.ingest(text=self.bounce(path["u0@a.test"], "u0@a.test"))
        self.ingest(text=COMPLAINT.format(path=path["u1@a.test"]))
        self._end_redis()
        shutil.rmtree(self.path("state", "redis"))
        self.hikyaku("campaigns", "restore", "--config", self.path("hikyaku.conf"), "--campaign", "one", expect=0)
        self.assertEqual(self.report("one")["later"], {"bounced": 1, "complained": 1, "unsubscribed": 0})
        self.assertIn("User unknown", self.check("u0@a.test", 1))
        self.assertIn("(complaint, since", self.check("u1@a.test", 1))

    def test_a_domain_where_most_are_unknown_suppresses_nobody(self):
        people = [f"u{n}@a.test" for n in range(50)] + ["x@b.test"]
        self.world(people)
        self.send("one")
        path = self.paths()
        box = self.path("box")
        with open(box, "w", encoding="utf-8") as f:
            for u in people:
                f.write("From MAILER-DAEMON Thu Nov 26 09:00:00 2026\n" + self.bounce(path[u], u) + "\n")
        self.ingest(box)
        for u in ("u0@a.test", "u49@a.test"):
            self.check(u, 0)
        self.check("x@b.test", 1)
        self.assertEqual(len(self.held().splitlines()), 50)
        alarms = self.lines("alarm")
        self.assertEqual([(e["cause"], e["domain"]) for e in alarms], [("domain-unknown", "a.test")])
        report = self.report("one")
        self.assertEqual(report["later"]["bounced"], 51)
        self.assertEqual(report["later_by_class"], {"mailbox-unknown": 51})
        self.assertEqual(sum(site["later"]["bounced"] for site in report["by_site"]), 51)
        self.assertEqual(sum(site["later_by_class"]["mailbox-unknown"] for site in report["by_site"]), 51)
        text = self.hikyaku("report", "--config", self.path("hikyaku.conf"), "--campaign", "one", expect=0).out
        self.assertRegex(text, r"came back later +bounced +complained +unsubscribed\n")
        self.assertRegex(text, r"\n  all +51 +0 +0\n")
        self.assertRegex(text, r"bounced later, by class\n  mailbox-unknown +51\n")
        config = ("--config", self.path("hikyaku.conf"))
        self.hikyaku("bounce", "apply", *config, "u0@a.test", expect=0)
        self.hikyaku("bounce", "drop", *config, "a.test", expect=0)
        self.assertIn("nobody is held", self.held())
        self.check("u0@a.test", 1)
        self.check("u1@a.test", 0)


SERVICES = """
smtp unix - - n - - smtp
{address}:{second} inet n - n - - smtpd
  -o cleanup_service_name=strict -o message_size_limit=1200 -o syslog_name=second
{address}:{third} inet n - n - - smtpd
  -o cleanup_service_name=strict -o syslog_name=third
strict unix n - n - 0 cleanup
  -o header_checks=regexp:{dir}/header_checks
full unix - n n - - pipe
  flags=q user=nobody argv={dir}/full
ingest unix - n n - - pipe
  flags=q user=nobody argv={dir}/hikyaku bounce ingest --config {dir}/hikyaku.conf --recipient ${{original_recipient}}
"""


class RealPostfix(Case):
    """It takes everything, and bounces what it cannot deliver to our return path, which is a pipe into hikyaku."""

    def start(self, *words, stdin=subprocess.DEVNULL):
        """As the user of the MTA's pipe: what a node has is its owner's alone."""
        command = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", self.path("hikyaku"), *words]
        with open(self.path("stderr"), "ab") as errors:
            at = errors.tell()
            process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=errors, text=True,
                                       start_new_session=True, preexec_fn=die_with_parent)
        process.errors_at = at
        self.running.append(process)
        return process

    def mta(self, kinds):
        address = f"127.{self.net}.200.1"
        second, third = self._free_port(), self._free_port()
        services = SERVICES.format(address=address, second=second, third=third, dir=self.dir)
        transports = [f"full{n}@a.test full:" for n in range(kinds)]
        transports += [f"large{n}@a.test smtp:[{address}]:{second}" for n in range(kinds)]
        transports += [f"refused{n}@a.test smtp:[{address}]:{third}" for n in range(kinds)]
        self.write("transport", "\n".join([*transports, "bounce.news.test ingest:", ""]))
        self.write("people", "".join(f"fine{n}@a.test mail/all/\n" for n in range(kinds)))
        self.write("header_checks", "/^Subject: To /  REJECT 5.7.1 content refused by header_checks\n")
        self.write("full", "#!/bin/sh\ncat >/dev/null\necho 5.2.2 mailbox is full\nexit 73\n")
        os.chmod(self.path("full"), 0o755)
        settings = {"transport_maps": f"texthash:{self.path('transport')}", "virtual_mailbox_maps": f"texthash:{self.path('people')}",
                    "smtpd_reject_unlisted_recipient": "no", "virtual_mailbox_domains": "a.test",
                    "relay_domains": "bounce.news.test", "ingest_destination_recipient_limit": "1",
                    "full_destination_recipient_limit": "1", "notify_classes": "", "minimal_backoff_time": "2s", "queue_run_delay": "2s", "smtp_host_lookup": "native",
                    "default_transport": "error:nobody is here"}
        mta = Postfix(address, self.port, ["a.test"], settings=settings, services=services, tls=False).start()
        self.addCleanup(mta.stop)
        mta.name = "a"
        return mta

    def setUp(self):
        super().setUp()
        owner = pwd.getpwnam(USER)
        shutil.copy(os.path.join(harness.BUILD, "hikyaku"), self.path("hikyaku"))
        os.chmod(self.path("hikyaku"), 0o755)
        os.chown(self.dir, owner.pw_uid, -1)
        os.chmod(self.dir, 0o755)

    def test_a_second_campaign_skips_exactly_whom_the_first_ones_bounces_removed(self):
        kinds = 6
        people = [f"{kind}{n}@a.test" for kind in ("fine", "gone", "full", "large", "refused") for n in range(kinds)]
        self.sink = self.mta(kinds)
        self.dns(mx={"a.test": self.sink})
        self.configure(more='soft "mailbox-full" { count = 2 apart = 0s }')
        self.list(people)
        for name in ("hikyaku.conf", "verp.key", "list.csv"):
            os.chown(self.path(name), pwd.getpwnam(USER).pw_uid, -1)
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")), 30, "the node")
        self.send("one", message=harness.MESSAGE + "x" * 70 + "\n" + ("y" * 70 + "\n") * 30)
        self.assertEqual(self.report("one")["counts"]["sent"], len(people))
        self.judge(1, kinds)
        self.send("two")
        self.assertEqual({r["recipient"] for r in self.recipients("two") if r["state"] == "suppressed"},
                         {f"gone{n}@a.test" for n in range(kinds)})
        self.judge(2, kinds)
        self.send("three")
        self.assertEqual({r["recipient"] for r in self.recipients("three") if r["state"] == "suppressed"},
                         {f"{kind}{n}@a.test" for kind in ("gone", "full") for n in range(kinds)})
        self.interrupt(node)
        self.finish(node, expect=0)

    def judge(self, campaigns, kinds):
        """Until every bounce of so many campaigns is in: whom is gone only the first one wrote to."""
        name = ["", "one", "two"][campaigns]
        awaited = kinds * (4 if campaigns == 1 else 3)
        try:
            wait_for(lambda: self.report(name)["later"]["bounced"] == awaited, 60, f"{awaited} bounces of campaign {name}")
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.report(name)}\n{self.sink.log()[-20000:]}") from e
        for n in range(kinds):
            said = self.check(f"gone{n}@a.test", 1)
            self.assertIn("from bounce-mail: campaign one, mailbox-unknown: ", said)
            self.check(f"full{n}@a.test", 0 if campaigns == 1 else 1)
            for kind in ("fine", "large", "refused"):
                self.check(f"{kind}{n}@a.test", 0)


if __name__ == "__main__":
    harness.main()
