"""What a command prints has to arrive: a full disk behind standard output is said and is no success, for each command.

/dev/full takes no byte. A reader that just left, as `| head` does, hears nothing; but it is no success either.
"""
import os
import resource
import signal
import subprocess

import harness
from harness import BUILD, wait_for

WORDS = "hikyaku: cannot write to standard output: No space left on device\n"


class Output(harness.Case):
    def world(self):
        receiver = self.receiver("a", "--drop-dot", "0.3")
        self.dns({"a.test": receiver})
        self.configure()
        self.people = [f"u{n}@a.test" for n in range(40)]
        self.config = ("--config", self.path("hikyaku.conf"))
        self.campaign = (*self.config, "--campaign", "c")

    def into(self, out, *words, limit=None):
        """Run a command with that standard output: its status, and what it said on standard error."""
        def prepare():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        done = subprocess.run([os.path.join(BUILD, "hikyaku"), *words], stdin=subprocess.DEVNULL, stdout=out,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False, preexec_fn=prepare)
        return done.returncode, done.stderr

    def full(self, *words):
        with self.subTest(words=" ".join(words[:3])), open("/dev/full", "w", encoding="ascii") as out:
            status, said = self.into(out, *words)
            self.assertEqual(status, 3, said)
            self.assertEqual(said.count("standard output"), 1, said)
            self.assertTrue(said.endswith(WORDS), said)

    def left(self, *words):
        with self.subTest(left=" ".join(words[:3])):
            reader, writer = os.pipe()
            os.close(reader)
            try:
                status, said = self.into(writer, *words)
            finally:
                os.close(writer)
            self.assertIn(status, (3, -signal.SIGPIPE), said)
            self.assertNotIn("standard output", said)

    def test_commands_without_a_campaign(self):
        self.world()
        with open(self.path("list.csv"), "w", encoding="ascii") as out:
            out.write("email\n" + "\n".join(f"u{n}@a.test" for n in range(2000)) + "\n")
        self.full("--help")
        self.full("--version")
        self.full("send", "--help")
        self.full("config", "check", *self.config)
        self.full("keygen", "dkim", "--domain", "news.test", "--selector", "s1", "--out", self.path("s1.pem"))
        self.assertTrue(os.path.exists(self.path("s1.pem")))
        self.full("list", "import", "--list", self.path("list.csv"), "--out", self.path("list.seg"))
        self.full("list", "show", "--list", self.path("list.seg"))
        self.full("list", "export", "--list", self.path("list.seg"))
        self.full("suppress", "add", *self.config, "x@a.test", "y@a.test")
        self.full("suppress", "check", *self.config, "x@a.test")
        self.full("suppress", "export", *self.config)
        self.full("suppress", "remove", *self.config, "x@a.test")
        self.full("suppress", "import", *self.config, self.path("list.csv"))
        self.left("--help")
        self.left("list", "export", "--list", self.path("list.seg"))
        self.left("suppress", "export", *self.config)
        # What could not be told was done all the same: the list, and y@a.test.
        self.assertEqual(self.hikyaku("suppress", "export", *self.config, expect=0).out.count("\n"), 1 + 2000 + 1)

    def test_commands_about_a_campaign(self):
        self.world()
        send = self.send_words(rows=self.people)
        self.full(*send, "--dry-run")
        self.full(*send, "--test", "me@a.test")
        self.full(*send)
        self.full(*send)  # there is nothing to do
        self.full(*send, "--json")
        for words in (("status", *self.config), ("report", *self.campaign), ("why", *self.config, "u1@a.test"),
                      ("campaigns", "list", *self.config), ("unknown", "list", *self.campaign)):
            self.full(*words)
            self.full(*words, "--json")
            self.left(*words, "--json")
        self.full("report", *self.campaign, "--recipients")
        self.left("report", *self.campaign, "--recipients")
        self.full("pause", *self.campaign)
        self.full("resume", *self.campaign)
        self.full("unknown", "settle", *self.campaign, "--as", "bounced", "--all")
        self.assertEqual(self.report()["counts"]["unknown"], 0)
        self.full("cancel", *self.campaign)
        self.full("campaigns", "purge", *self.campaign)
        self.assertNotIn('"c"', self.hikyaku("campaigns", "list", *self.config, "--json", expect=0).out)

    def test_a_suppression_file_stays_whole_where_the_new_one_finds_no_room(self):
        self.world()
        node = self.start("serve", *self.config)  # a Redis of ours would inherit the limit
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")), 20, "the control socket")
        self.write("many.csv", "email\n" + "\n".join(f"u{n}@a.test" for n in range(2000)) + "\n")
        self.hikyaku("suppress", "import", *self.config, self.path("many.csv"), expect=0)
        self.write("out.csv", "what was there\n")
        status, said = self.into(subprocess.DEVNULL, "suppress", "export", *self.config, self.path("out.csv"), limit=50000)
        self.assertEqual(status, 3)
        self.assertRegex(said, r"out\.csv.*: File too large\n$")
        with open(self.path("out.csv"), encoding="ascii") as f:
            self.assertEqual(f.read(), "what was there\n")
        self.assertFalse(os.path.exists(self.path("out.csv.new")))
        self.hikyaku("suppress", "export", *self.config, self.path("out.csv"), expect=0)
        with open(self.path("out.csv"), encoding="ascii") as f:
            self.assertEqual(len(f.readlines()), 2001)
        self.interrupt(node, signal.SIGTERM)
        self.finish(node, expect=0)


if __name__ == "__main__":
    harness.main()
