"""The rules of classification as a person meets them: bounce classify --replies, rules check, rules show, and a file of
one's own in the configuration. No receiver, no Redis."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

BUILD = os.path.abspath(sys.argv.pop(1))
OWN = """rule partner
  class       sender-blocked
  reason      partner
  match       speak to our partner team
  example     550 5.1.1 User unknown, speak to our partner team
  not         550 5.1.1 User unknown
"""


class Rules(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def file(self, name, text):
        path = os.path.join(self.dir.name, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def configuration(self, rules):
        return self.file("hikyaku.conf", f'state_dir = "{self.dir.name}/state"\n'
                         'sender { from_domain = "us.test" return_path = "bounce.us.test" secret_file = "verp.key" }\n'
                         f'rules {{ file = "{rules}" }}\n')

    def hikyaku(self, *words, given=""):
        return subprocess.run([os.path.join(BUILD, "hikyaku"), *words], input=given, capture_output=True, text=True,
                              timeout=60, check=False)

    def verdicts(self, given, *words):
        done = self.hikyaku("bounce", "classify", "--replies", *words, given=given)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_bare_text_and_json_mean_the_same(self):
        one, two, three = self.verdicts("550 5.1.1 <a@x.test>: User unknown\n"
                                        '{"reply": "550 5.1.1 <a@x.test>: User unknown", "phase": "rcpt"}\r\n'
                                        '{"reply": "550-5.1.1 <a@x.test>\\r\\n550 5.1.1 User unknown", "phase": null}\n')
        self.assertEqual(one, {"class": "mailbox-unknown", "disposition": "suppress", "reason": "userunknown",
                               "rule": "unknown-user-plainly"})
        self.assertEqual(two, one)
        self.assertEqual(three, one)

    def test_the_phase_counts(self):
        told = self.verdicts("".join(json.dumps({"reply": "550 User unknown", "phase": phase}) + "\n"
                                     for phase in ("rcpt", "RCPT", "dot", "mail", "")))
        self.assertEqual([row["disposition"] for row in told], ["suppress", "suppress", "count", "block", "suppress"])

    def test_an_enhanced_code_may_stand_beside_the_text(self):
        given = '{"reply": "no", "status": "5.1.1"}\n{"reply": "no", "status": "4.1.1"}\n{"reply": "no"}\n'
        self.assertEqual([(row["class"], row["disposition"]) for row in self.verdicts(given)],
                         [("mailbox-unknown", "suppress"), ("mailbox-unknown", "count"), ("unknown", "count")])

    def test_success_is_delivered_and_blank_lines_are_passed_over(self):
        self.assertEqual([row["class"] for row in self.verdicts("\n250 2.0.0 Ok, user unknown\n\n")], ["delivered"])

    def test_files_are_read_in_their_order(self):
        a, b = self.file("a", "552 5.2.2 full\n"), self.file("b", "550 5.1.2 Host unknown\n")
        self.assertEqual([row["class"] for row in self.verdicts("421 slow down\n", a, "-", b)],
                         ["mailbox-full", "rate-limited", "domain-invalid"])

    def test_a_bad_line_is_told_with_its_number(self):
        for line, said in (('{"reply": "550', "no JSON"), ('{"phase": "rcpt"}', "there is no text `reply`"),
                           ('{"reply": "550 x", "phase": "lunch"}', "phase is no phase"),
                           ('{"reply": "550 x", "status": "5.1"}', "status is no enhanced code"),
                           ("x" * 70000, "a line of more than")):
            done = self.hikyaku("bounce", "classify", "--replies", "-", given="550 no\n" + line + "\n")
            self.assertEqual(done.returncode, 2)
            self.assertIn("standard input:2: " + said, done.stderr)
            self.assertEqual(len(done.stdout.splitlines()), 1)
        done = self.hikyaku("bounce", "classify", "--replies", self.dir.name + "/none")
        self.assertEqual(done.returncode, 2)
        self.assertIn("none: No such file", done.stderr)

    def test_the_built_in_rules_hold(self):
        done = self.hikyaku("rules", "check")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^\d+ rules, all examples hold\n$")

    def test_rules_of_ones_own_are_checked_and_used(self):
        config = self.configuration(self.file("own.rules", OWN))
        self.assertEqual(self.hikyaku("rules", "check", "--config", config).returncode, 0)
        self.assertEqual(self.hikyaku("rules", "check", self.dir.name + "/own.rules").returncode, 0)
        told = self.verdicts("550 5.1.1 User unknown, speak to our partner team\n", "--config", config)
        self.assertEqual((told[0]["rule"], told[0]["reason"]), ("partner", "partner"))
        shown = self.hikyaku("rules", "show", "--config", config, "rcpt: 550 speak to our partner team").stdout
        self.assertIn("sender-blocked, block, partner\n", shown)
        self.assertIn(f"rule partner ({self.dir.name}/own.rules:1), match speak to our partner team\n", shown)
        self.assertIn("phase rcpt\n", shown)

    def test_a_check_fails_with_file_and_line(self):
        done = self.hikyaku("rules", "check", self.file("own.rules", OWN + "  example 550 5.1.1 User unknown\n"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("own.rules:7: unknown-user-plainly (etc/replies.rules:", done.stderr)
        done = self.hikyaku("rules", "check", self.file("own.rules", OWN + "  colour red\n"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("own.rules:7: 'colour' is no word for a rule; write set, rule, class", done.stderr)
        self.assertEqual(self.hikyaku("rules", "check", self.dir.name + "/none").returncode, 2)

    def test_a_configuration_with_rules_that_cannot_be_used_is_wrong(self):
        config = self.configuration(self.file("own.rules", "rule x\n"))
        self.hikyaku("keygen", "verp", "--out", os.path.join(self.dir.name, "verp.key"))
        for words in (("config", "check"), ("serve",)):
            done = self.hikyaku(*words, "--config", config)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("own.rules:1: rule x has no class", done.stderr)

    def test_show_lists_every_rule_and_says_what_the_phase_made_of_one(self):
        listed = self.hikyaku("rules", "show").stdout
        self.assertIn("mailbox-full  (etc/replies.rules:", listed)
        self.assertIn("    for example: ", listed)
        shown = self.hikyaku("rules", "show", "dot: 550 User unknown", "550 x").stdout
        self.assertIn("recipient-refused, count, filtered\n", shown)
        self.assertIn("it says mailbox-unknown, which cannot be meant", shown)
        self.assertIn("rule bare-550 (etc/replies.rules:", shown)

    def test_usage(self):
        self.assertIn("--replies", self.hikyaku("bounce", "classify", "--help").stdout)
        for words in (("rules",), ("rules", "chek"), ("rules", "check", "a", "b")):
            self.assertEqual(self.hikyaku(*words).returncode, 2)


if __name__ == "__main__":
    unittest.main()
