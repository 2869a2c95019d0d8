"""The main job: one command, everyone mailed once, and every exit status."""
import email
import email.header
import json
import os
import signal
import stat

import dkim
import jsonschema

import harness
from harness import ROOT, wait_for

LETTERS = """\
From: =?utf-8?B?55Om54mI?= <news@news.test>
To: {{name}} <{{email}}>
Subject: {{name}} 様、十一月のお知らせ
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="b1"

--b1
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

{{name}} 様
{{#vip}}いつもありがとうございます。{{/vip}}
.
..
{{unsubscribe_url}}
--b1
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: 8bit

<p>{{name}} 様</p>
--b1--
"""


def validate(schema, document):
    with open(os.path.join(ROOT, "docs", schema + ".schema.json"), encoding="utf-8") as f:
        jsonschema.validate(document, json.load(f))


class Send(harness.Case):
    def two_receivers(self, *options):
        self.a = self.receiver("a", "--tls", "auto", *options)
        self.b = self.receiver("b", *options)
        return {"a.test": self.a, "also-a.test": self.a, "b.test": self.b}

    def test_everyone_is_mailed_once_and_the_report_says_what_the_receivers_saw(self):
        unknown = self.write("unknown", "u7@a.test\nu8@b.test\n")
        mx = self.two_receivers("--unknown-file", unknown, "--defer", "0.05", "--store", "{store}")
        self.dns(mx, more=self.keys(dkim=True) + "null.test. MX 0 .\nno-address.test. MX 10 nowhere.mx.test.\n",
                 servfail=["broken.test"])
        self.configure(dkim=True, give_up="6s")
        people = [f"u{n}@{domain}" for domain in mx for n in range(100)]
        lost = ["x@null.test", "x@gone.test", "x@no-address.test", "x@broken.test"]
        rows = [(p, f"山田 {n}", "1" if n % 2 else "") for n, p in enumerate(people + lost)]
        rows += [("U1@A.TEST", "twice", ""), ("Hanako <h@a.test>", "rejected", ""), ("no-at", "rejected", "")]
        self.list(rows, header=("email", "name", "vip"))

        done = self.send(message=LETTERS, more=["--json"])
        self.stop_receivers()

        report = json.loads(done.out)
        validate("report", report)
        self.assertEqual(report["recipients"], 304)
        self.assertEqual((report["rejected_rows"], report["duplicate_rows"]), (2, 1))
        self.assertEqual(sum(report["counts"].values()), 304)
        self.assertEqual(report["counts"]["sent"], 298)
        self.assertEqual(report["counts"]["bounced"], 4)  # two unknown users, null MX, NXDOMAIN
        self.assertEqual(report["counts"]["expired"], 2)  # no address, SERVFAIL
        self.assertEqual(report["by_class"]["mailbox-unknown"], 2)
        self.assertEqual(sum(sum(s["counts"].values()) for s in report["by_site"]), 304)
        by_site = {s["site"]: sum(s["counts"].values()) for s in report["by_site"]}
        self.assertEqual(by_site["a.mx.test"], 200)  # two domains with one MX are one site
        taken = self.a.taken() + self.b.taken()
        self.assertEqual(set(taken), set(people) - {"u7@a.test", "u8@b.test"})
        self.assertEqual(set(taken.values()), {1})
        self.assertTrue(all(s.tls for s in self.a.log("accepted")))
        self.assertFalse(any(s.tls for s in self.b.log("accepted")))
        for receiver in (self.a, self.b):
            ledger = receiver.ledger()
            self.assertEqual((ledger["bad_commands"], ledger["bare_lf"], ledger["long_lines"],
                              ledger["out_of_turn"]), (0, 0, 0, 0))
        self.check_letters()
        self.check_recipients(people)
        self.check_rejected()

    def check_letters(self):
        senders = set()
        for receiver in (self.a, self.b):
            for name in sorted(os.listdir(receiver.store)):
                with open(os.path.join(receiver.store, name), "rb") as f:
                    content = f.read()
                if name.endswith(".json"):
                    senders.add(json.loads(content)["sender"])
                    continue
                self.assertTrue(dkim.verify(content, dnsfunc=self.txt), name)
                letter = email.message_from_bytes(content)
                for header in ("Message-ID", "Date", "List-Unsubscribe", "List-Unsubscribe-Post"):
                    self.assertEqual(len(letter.get_all(header, [])), 1, header)
                subject = str(email.header.make_header(email.header.decode_header(letter["Subject"])))
                self.assertRegex(subject, r"^山田 \d+ 様、十一月のお知らせ$")
                text = letter.get_payload(0).get_payload(decode=True).decode("utf-8")
                self.assertIn("様", text)
                self.assertIn("\n.\n..\n", text.replace("\r\n", "\n"))
                self.assertIn("https://news.test/u/", text)
        self.assertEqual(len(senders), 298)  # a return path of its own for each
        self.assertTrue(all(s.endswith("@bounce.news.test") for s in senders))

    def check_recipients(self, people):
        lines = self.recipients()
        for line in lines:
            validate("recipients", line)
        self.assertEqual(sorted(line["index"] for line in lines), list(range(304)))
        found = {line["recipient"]: line for line in lines}
        self.assertTrue(set(people) <= set(found))
        self.assertEqual(found["u0@a.test"]["row"], 1)
        self.assertEqual(found["u0@a.test"]["state"], "sent")
        self.assertEqual(found["u7@a.test"]["state"], "bounced")
        self.assertEqual(found["u7@a.test"]["class"], "mailbox-unknown")
        self.assertEqual(found["u7@a.test"]["code"], 550)
        self.assertEqual(found["x@null.test"]["code"], None)

    def check_rejected(self):
        with open(self.path("state", "campaigns", "c", "rejected.csv"), encoding="utf-8") as f:
            text = f.read()
        self.assertIn("h@a.test", text)
        self.assertIn("no-at", text)
        for folder, _, names in os.walk(self.path("state")):
            self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode) & 0o077, 0, folder)
            for name in names:
                mode = stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode)
                self.assertEqual(mode & 0o077, 0, os.path.join(folder, name))

    def test_a_settled_campaign_has_nothing_to_do_and_a_changed_one_is_refused(self):
        self.dns(self.two_receivers())
        self.configure()
        people = [f"u{n}@a.test" for n in range(20)]
        self.send(rows=people)
        again = self.send()
        self.assertIn("nothing to do", again.out)
        self.assertEqual(json.loads(self.send(more=["--json"]).out)["counts"]["sent"], 20)

        changed = self.send(rows=people[5:] + ["new1@a.test", "new2@b.test"], expect=2)
        self.assertIn("2 new addresses, 5 gone", changed.err)
        self.assertIn("another --campaign", changed.err)
        self.list(people)
        self.assertIn("message.eml: not the message", self.send(message=harness.MESSAGE + "more\n", expect=2).err)
        self.write("message.eml", harness.MESSAGE)
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            config = f.read()
        self.write("hikyaku.conf", config.replace("https://news.test/u/", "https://news.test/other/"))
        self.assertIn("sender section", self.send(expect=2).err)
        self.write("hikyaku.conf", config)
        self.send()
        self.stop_receivers()
        self.assertEqual(self.a.taken(), {p: 1 for p in people})

    def test_ctrl_c_finishes_what_is_under_way_and_the_same_command_goes_on(self):
        self.dns(self.two_receivers("--latency-dot", "50"))
        self.configure(connections=5)
        people = [f"u{n}@{d}" for n in range(400) for d in ("a.test", "b.test")]
        process = self.start_send(rows=people)
        self.wait_for_events(100, process)
        self.interrupt(process)
        stopped = self.finish(process, expect=1)
        self.assertRegex(stopped.err, r"stopped: [\d,]+ of 800 left; run the same command again to go on")
        counts = self.report()["counts"]
        self.assertEqual(counts["unknown"], 0)
        self.assertEqual(counts["sending"], 0)
        self.assertGreater(counts["pending"], 0)

        status = self.status()
        validate("status", status)
        self.assertIsNone(status["node"])
        self.send()
        self.stop_receivers()
        self.assertEqual(self.a.taken() + self.b.taken(), {p: 1 for p in people})

    def test_a_node_takes_the_campaign_and_a_follower_may_leave_it(self):
        self.dns(self.two_receivers("--latency-dot", "50"))
        self.configure(connections=5)
        people = [f"u{n}@{d}" for n in range(300) for d in ("a.test", "b.test")]
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")), 20, "the control socket")
        follower = self.start_send(rows=people)
        self.wait_for_events(50, follower)
        status = self.status()
        validate("status", status)
        self.assertEqual(status["pids"]["master"], node.pid)
        self.assertEqual(len(status["pids"]["workers"]), 2)
        with open(f"/proc/{status['pids']['workers'][0]}/cmdline", "rb") as f:
            self.assertEqual(f.read().split(b"\0")[0], b"hikyaku: worker 0")
        for pid in (status["pids"]["master"], status["pids"]["redis"], *status["pids"]["workers"]):
            self.assertEqual(os.sched_getscheduler(pid), os.SCHED_BATCH)
        self.interrupt(follower)
        self.assertIn("the node goes on", self.finish(follower, expect=1).err)
        self.assertIn("sent", self.send().out)  # follow it again, to the end
        self.assertEqual(self.report()["counts"]["sent"], 600)
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)
        self.stop_receivers()
        self.assertEqual(self.a.taken() + self.b.taken(), {p: 1 for p in people})

    def test_bad_usage_configuration_and_input_give_2_and_say_what_to_write(self):
        self.dns(self.two_receivers())
        self.configure()
        conf = self.path("hikyaku.conf")
        self.send(rows=["u1@a.test"])
        bad = self.write("bad.conf", 'sender { from_domain = "a.test" return_path = "b.a.test" }\nwibble = 1\n')
        self.assertRegex(self.hikyaku("config", "check", "--config", bad, expect=2).err, r"bad\.conf:2: ")
        self.assertIn("state_dir", self.hikyaku("config", "check", "--config", conf, expect=0).out)
        self.assertIn("no campaign 'other'", self.hikyaku("report", "--config", conf, "--campaign", "other",
                                                          expect=2).err)
        self.hikyaku("status", "--config", conf, "--campaign", "other", expect=2)
        self.assertIn("no command 'wibble'", self.hikyaku("wibble", expect=2).err)
        self.assertIn("missing: --campaign", self.hikyaku("report", "--config", conf, expect=2).err)
        self.send(campaign="../x", expect=2)
        self.send("empty", rows=[], expect=2)
        self.send("rejected", rows=["nobody"], expect=2)
        self.list([("u1@a.test",)], header=("address",))
        self.assertIn("email", self.send("no-email", expect=2).err)
        self.assertRegex(self.send("tag", rows=["u1@a.test"], message=harness.MESSAGE + "{{wibble}}\n",
                                   expect=2).err, r"message\.eml:7: .*wibble")
        self.hikyaku("send", "--config", conf, "--campaign", "c2", "--list", self.path("none.csv"), "--message",
                     self.path("message.eml"), expect=2)
        self.hikyaku("keygen", "verp", "--out", self.path("verp.key"), expect=2)
        self.hikyaku("report", "--config", conf, "--campaign", "tag", expect=2)  # nothing was created
        self.assertEqual([c["campaign"] for c in self.status()["campaigns"]], ["c"])

    def test_what_is_needed_and_not_to_be_had_gives_3(self):
        self.dns(self.two_receivers())
        self.configure()
        self.write("file", "not a directory")
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            config = f.read()
        self.write("hikyaku.conf", config.replace(f"{self.dir}/state", f"{self.dir}/file/state"))
        self.send(rows=["u1@a.test"], expect=3)

    def test_a_kill_while_a_campaign_is_made_leaves_nothing_or_a_whole_one(self):
        self.dns(self.two_receivers())
        self.configure(connections=50)
        people = [f"u{n}@{d}" for n in range(1500) for d in ("a.test", "b.test")]
        self.list(people)
        for delay in (0.0, 0.02, 0.05, 0.1, 0.2):
            process = self.start_send()
            try:
                process.wait(delay)
            except harness.subprocess.TimeoutExpired:
                process.kill()
            self.finish(process)
        self.send()
        self.stop_receivers()
        taken = self.a.taken() + self.b.taken()
        self.assertEqual(set(taken.values()), {1})
        counts = self.report()["counts"]
        self.assertEqual(counts["sent"] + counts["unknown"], 3000)
        self.assertGreaterEqual(len(taken), counts["sent"])


if __name__ == "__main__":
    harness.main()
