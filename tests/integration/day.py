"""A day in a user's life, with the commands of the README, judged at the receivers; and --extend by itself.

His list comes from Excel in Japan, his message from Outlook. He tries it on himself, on the first hundred, on everyone;
a worker dies, Redis dies, late sign-ups come, he calls a campaign off; the next one skips whom the first found dead.
"""
import os
import shutil
import signal

import harness
from harness import ROOT, wait_for

ROWS = 3000
LATE = 500


def rows(first, count):
    return [(f"u{i}@{'big' if i % 3 else 'small'}.test", f"顧客{i}号") for i in range(first, first + count)]


class Day(harness.Case):
    def excel_list(self, people):
        """As "CSV" saves it there: Shift_JIS, CRLF."""
        text = "email,name\r\n" + "".join(f"{email},{name}\r\n" for email, name in people)
        with open(self.path("list.csv"), "wb") as f:
            f.write(text.encode("cp932"))

    def send_command(self, *more, campaign="c"):
        return ("send", "--config", self.path("hikyaku.conf"), "--campaign", campaign, "--list", self.path("list.csv"),
                "--encoding", "Shift_JIS", "--message", self.path("message.eml"), *more)

    def command(self, *words, expect=0):
        return self.hikyaku(words[0], "--config", self.path("hikyaku.conf"), *words[1:], expect=expect)

    def set_up_world(self, *options):
        self.receivers_by_name = {name: self.receiver(name, "--tls", "auto", "--unknown", "0.03", "--seed", "7", *options)
                                  for name in ("big", "small")}
        self.me = self.receiver("me", "--tls", "auto")
        self.dns({"big.test": self.receivers_by_name["big"], "small.test": self.receivers_by_name["small"],
                  "me.test": self.me})
        self.configure(dkim=self.keys(dkim=True) != "")
        shutil.copy(os.path.join(ROOT, "tests", "data", "messages", "outlook-japanese.eml"), self.path("message.eml"))

    def taken(self):
        counts = {}
        for receiver in self.receivers_by_name.values():
            counts.update(receiver.taken())
        return counts

    def kill_a_worker(self):
        os.kill(self.status()["pids"]["workers"][0], signal.SIGKILL)

    def kill_redis(self):
        os.kill(self.status()["pids"]["redis"], signal.SIGKILL)

    def test_a_day(self):
        self.set_up_world("--latency-dot", "20")
        self.excel_list(rows(0, ROWS))

        # Without the encoding he is told what to write.
        words = [w for w in self.send_command() if w not in ("--encoding", "Shift_JIS")]
        self.assertIn("--encoding Shift_JIS", self.hikyaku(*words, expect=2).err)

        # On himself; then on the first hundred, which stops as paused.
        self.assertIn("boss@me.test", self.hikyaku(*self.send_command("--test", "boss@me.test"), expect=0).out)
        self.hikyaku(*self.send_command("--first", "100"), expect=1)
        counts = self.report()["counts"]
        self.assertEqual(counts["pending"], ROWS - 100)
        self.assertEqual(counts["sent"] + counts["bounced"], 100)

        # On everyone, while a worker and then Redis die.
        process = self.start(*self.send_command())
        self.wait_for_events(ROWS // 4, process)
        self.kill_a_worker()
        self.wait_for_events(ROWS // 2, process)
        self.kill_redis()
        self.finish(process, expect=0)
        report = self.report()
        self.assertEqual(sum(report["counts"].values()), ROWS)
        self.assertEqual(sum(report["counts"][s] for s in ("sent", "bounced", "unknown")), ROWS)

        # Late sign-ups.
        self.excel_list(rows(100, ROWS - 100 + LATE))
        self.assertIn("--extend", self.hikyaku(*self.send_command(), expect=2).err)
        said = self.hikyaku(*self.send_command("--extend"), expect=0).err
        self.assertIn(f"{LATE} new recipients, {ROWS - 100:,} in the campaign already, 100 of the campaign no longer", said)
        report = self.report()
        self.assertEqual(report["recipients"], ROWS + LATE)
        bounced = {r["recipient"] for r in self.recipients() if r["state"] == "bounced"}
        self.assertGreater(len(bounced), ROWS // 100)

        # One that he calls off, and a second one, which skips whom the first found dead.
        process = self.start(*self.send_command(campaign="wrong"))
        self.wait_for_events(ROWS + LATE + 300, process)
        self.command("cancel", "--campaign", "wrong")
        self.finish(process)
        wrong = self.report("wrong")["counts"]
        self.assertGreater(wrong["cancelled"], 0)
        self.assertEqual(wrong["pending"] + wrong["sending"] + wrong["deferred"], 0)
        self.hikyaku(*self.send_command(campaign="second"), expect=0)
        second = {r["recipient"]: r["state"] for r in self.recipients("second")}
        skipped = {r for r, state in second.items() if state == "suppressed"}
        listed = {email for email, _ in rows(100, ROWS - 100 + LATE)}
        self.assertEqual(skipped, bounced & listed)

        self.judge(bounced, second)

    def judge(self, bounced, second):
        """What the receivers saw over the day, against what was reported."""
        states = {r["recipient"]: r["state"] for r in self.recipients()}
        wrong = {r["recipient"]: r["state"] for r in self.recipients("wrong")}
        self.stop_receivers()
        taken = self.taken()
        for address in states:
            reports = [s.get(address) for s in (states, wrong, second)]
            sure, unsure = reports.count("sent"), reports.count("unknown")
            self.assertTrue(sure <= taken.get(address, 0) <= sure + unsure, f"{address}: {reports}, {taken.get(address)}")
        self.assertFalse(bounced & set(taken))
        self.assertEqual(self.me.taken(), {"boss@me.test": 1})

    def test_extend_while_it_is_sent(self):
        self.set_up_world("--latency-dot", "50")
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")), 20, "the node")
        self.excel_list(rows(0, ROWS))
        first = self.start(*self.send_command())
        self.wait_for_events(ROWS // 5, first)
        self.excel_list(rows(0, ROWS + LATE))
        self.hikyaku(*self.send_command("--extend"), expect=0)
        self.finish(first, expect=0)
        report = self.report()
        self.assertEqual(report["recipients"], ROWS + LATE)
        self.assertEqual(report["counts"]["sent"] + report["counts"]["bounced"], ROWS + LATE)
        self.assertEqual([r["index"] for r in self.recipients()], list(range(ROWS + LATE)))

        # The same again changes nothing; a list with nobody new says so; another node goes on with all of it.
        self.hikyaku(*self.send_command("--extend"), expect=0)
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)
        self.assertIn("nothing to do", self.hikyaku(*self.send_command(), expect=0).out)
        self.assertIn("recipients", self.hikyaku(*self.send_command("--extend"), expect=0).err)
        self.stop_receivers()
        taken = self.taken()
        self.assertEqual(sum(taken.values()), report["counts"]["sent"])
        self.assertEqual(max(taken.values()), 1)


if __name__ == "__main__":
    harness.main()
