"""What a node needs of its machine is seen before the first message: one line, with what to do. And how it ends when it is
told twice."""
import fcntl
import os
import re
import resource
import shutil
import signal
import subprocess
import time

import harness
from harness import BUILD, wait_for

NOBODY = 65534


class Start(harness.Case):
    def setUp(self):
        super().setUp()
        self.a = self.receiver("a", "--latency-dot", "200")
        self.dns({"a.test": self.a})

    def as_nobody(self, *words):
        """Run hikyaku as a user who may do nothing here; a copy, for the build may lie where he cannot go."""
        program = self.path("hikyaku")
        shutil.copy(os.path.join(BUILD, "hikyaku"), program)
        os.chmod(self.dir, 0o755)
        return subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", program, *words],
                              capture_output=True, text=True, timeout=60, check=False)

    def said_once(self, done, status, *words):
        err = done.stderr if hasattr(done, "stderr") else done.err
        lines = [line for line in err.splitlines() if all(word in line for word in words)]
        self.assertEqual(len(lines), 1, err)
        self.assertEqual(done.returncode if hasattr(done, "returncode") else done.status, status, err)

    def test_too_few_open_files_means_fewer_connections_and_a_word(self):
        self.configure()
        self.list([f"u{n}@a.test" for n in range(50)])
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        words = ["prlimit", "--nofile=300:300", os.path.join(BUILD, "hikyaku"), *self.send_words()]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        self.said_once(done, 0, "limit of open files is 300", "236 connections", "LimitNOFILE=2064")
        self.stop_receivers()
        self.assertEqual(len(self.a.taken()), 50)
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), limit)

    def test_a_source_that_is_not_on_this_machine_is_refused(self):
        self.configure(more='source "s1" { address = "192.0.2.77" }')
        done = self.send(rows=["u@a.test"], expect=3)
        self.said_once(done, 3, 'source "s1"', "192.0.2.77", "public_address")
        self.stop_receivers()
        self.assertEqual(self.a.taken(), {})

    def test_a_state_dir_that_may_not_be_written_is_refused(self):
        self.configure()
        os.chmod(self.path("verp.key"), 0o644)
        self.list(["u@a.test"])
        self.said_once(self.as_nobody(*self.send_words()), 3, "cannot make state_dir", "write another state_dir")
        os.mkdir(self.path("state"), 0o755)
        self.said_once(self.as_nobody(*self.send_words()), 3, "state_dir cannot be written", "chown")

    def test_a_key_that_may_not_be_read_is_refused(self):
        self.configure()
        self.list(["u@a.test"])
        os.mkdir(self.path("state"), 0o700)
        os.chown(self.path("state"), NOBODY, NOBODY)
        done = self.as_nobody(*self.send_words())
        self.assertIn(done.returncode, (2, 3))
        self.said_once(done, done.returncode, "verp.key", "Permission denied")

    def test_files_that_the_configuration_names_are_tried_first(self):
        self.list(["u@a.test"])
        for more, words in (('tls { policy = verified ca_file = "nosuch" }', ("tls.ca_file", "nosuch")),
                            ('route "b.test" { relay = "127.0.0.1:1" auth { user = "u" password_file = "nosuch" } }',
                             ("route.auth.password_file", "nosuch")),
                            ('dkim "s1" { domain = "news.test" key_file = "nosuch" }', ("nosuch",))):
            self.configure(more=more, tls="none")
            if more.startswith("tls"):
                with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
                    text = f.read()
                self.write("hikyaku.conf", text.replace("tls      { policy = none }", ""))
            check = self.hikyaku("config", "check", "--config", self.path("hikyaku.conf"), expect=2)
            for done in (check, self.hikyaku(*self.send_words(), expect=2)):
                self.said_once(done, 2, *words)
            self.assertEqual(check.out, "")
        self.stop_receivers()
        self.assertEqual(self.a.taken(), {})

    def test_files_that_a_process_reads_later_are_tried_first_too(self):
        """Else each look-up fails until everybody is expired, or web ends again and again beside a node that runs."""
        self.list(["u@a.test"])
        self.write("words", "garbage\n")
        self.write("comment", "; DS and DNSKEY stand here in a comment alone\n")
        self.write("cut", ". IN DS 20326 8 two\n")
        self.write("root.key", ". IN DS 20326 8 2 " + 32 * "a5" + "\n")
        for name, words in (("nosuch", "nosuch: No such file"), ("words", "no DS or DNSKEY"),
                            ("comment", "no DS or DNSKEY"), ("cut", "integer expected")):
            self.trust_anchor(name)
            for verb in (("config", "check"), ("serve",)):
                done = self.hikyaku(*verb, "--config", self.path("hikyaku.conf"))
                self.said_once(done, 2, "resolver.trust_anchor_file", words)
            self.said_once(self.hikyaku(*self.send_words()), 2, "resolver.trust_anchor_file", words)
        self.trust_anchor("root.key")
        self.hikyaku("config", "check", "--config", self.path("hikyaku.conf"), expect=0)
        for secret, words in (("", "16 to 128 letters"), ("tooshort\n", "16 to 128 letters"),
                              ("with a blank that is long\n", "16 to 128 letters"), (None, "No such file")):
            if secret is not None:
                self.write("sns.secret", secret)
            self.configure(more='sns { topics = { "arn:aws:sns:us-east-1:123456789012:t" } '
                                f'secret_file = "{"sns.secret" if secret is not None else "nosuch"}" }}\n'
                                'web { listen = "127.0.0.1:8080" }')
            for verb in (("config", "check"), ("serve",)):
                done = self.hikyaku(*verb, "--config", self.path("hikyaku.conf"))
                self.said_once(done, 2, "hikyaku.conf: sns.secret_file", words)
        self.stop_receivers()
        self.assertEqual(self.a.taken(), {})

    def test_what_a_newcomer_does_not_know_of_his_configuration_is_told(self):
        """The machine's own name as the greeting; a relay that gets no more than a stranger."""
        self.configure()
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read().replace('"mta.news.test"', '"vm"')
        check = ("config", "check", "--config", self.path("hikyaku.conf"))
        self.write("hikyaku.conf", text)
        for words in (check, self.send_words(rows=["u@a.test"])):
            self.said_once(self.hikyaku(*words), 0, "warning", 'greeted as "vm"', 'hostname = "mta1.news.test"')
        for more in ('source "s" { address = "127.0.0.1" hostname = "m.news.test" }', 'route "*" { relay = "127.0.0.1:1" }'):
            self.write("hikyaku.conf", text + more + "\n")
            self.assertNotIn("greeted as", self.hikyaku(*check, expect=0).err)
        sources = 'source "s" { address = "127.0.0.1" hostname = "m.news.test" }'
        self.write("hikyaku.conf", f'{text}{sources}\npool "a" {{ sources = {{ "s" }} }}\npool "b" {{ sources = {{ "s" }} }}\n')
        self.said_once(self.hikyaku(*check), 0, "warning", 'pool "b" is not used', '"a"')
        words = "100 messages a second over 10 connections at most"
        plain = re.sub(r'(?s)provider "default" \{.*?\}', "", text)
        mine = 'provider "mine" { mx = { "relay.test" } rate = none }'
        for name, more, told in (("127.0.0.1", "", True), ("relay.test", "", True), ("relay.test", mine, False)):
            self.write("hikyaku.conf", f'{plain}route "*" {{ relay = "{name}:1" }} {more}\n')
            self.assertEqual(words in self.hikyaku(*check, expect=0).err, told)
        self.write("hikyaku.conf", text + 'route "*" { relay = "127.0.0.1:1" }\n')  # with a provider "default" of its own
        self.assertNotIn(words, self.hikyaku(*check, expect=0).err)
        self.assertRegex(self.hikyaku("status", "--config", self.path("nosuch"), expect=2).err,
                         r"/nosuch: the configuration cannot be read: No such file")

    def trust_anchor(self, name):
        self.configure()
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        self.assertIn("resolver {", text)
        self.write("hikyaku.conf", text.replace("resolver {", f'resolver {{ trust_anchor_file = "{name}"', 1))

    def test_a_state_dir_that_is_removed_stops_the_node(self):
        self.configure()
        process = self.start_send(rows=[f"u{n}@a.test" for n in range(2000)])
        self.wait_for_events(20, process)
        shutil.rmtree(self.path("state"), ignore_errors=True)
        done = self.finish(process, timeout=60)
        self.assertEqual(done.status, 3, done.err)
        self.assertIn("was removed or moved under this node", done.err)

    def test_a_state_dir_that_is_moved_stops_the_node_too(self):
        """What is begun in its place would know of nobody who was sent to."""
        self.configure()
        process = self.start_send(rows=[f"u{n}@a.test" for n in range(2000)])
        self.wait_for_events(20, process)
        os.rename(self.path("state"), self.path("moved"))
        done = self.finish(process, timeout=60)
        self.said_once(done, 3, "was removed or moved under this node", "put it back")
        os.rename(self.path("moved"), self.path("state"))
        self.assertGreater(self.report()["counts"]["sent"], 10)

    def test_what_is_written_takes_the_place_of_nothing_else(self):
        """The list, the message, the configuration, a device: named as the event log by mistake, they are left as they are."""
        self.configure()
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        self.send_words(rows=["u@a.test"])
        with open(self.path("list.csv"), "a", encoding="utf-8") as f:
            f.write("last@a.test")  # without a newline: the end of a log would be cut off
        for name in ("list.csv", "message.eml", "hikyaku.conf"):
            self.write("hikyaku.conf", text + f'events {{ file = "{self.path(name)}" }}\n')
            with open(self.path(name), "rb") as f:
                before = f.read()
            self.said_once(self.hikyaku(*self.send_words()), 2, self.path(name), "is no event log")
            with open(self.path(name), "rb") as f:
                self.assertEqual(f.read(), before)
        self.write("hikyaku.conf", text + 'events { file = "/dev/null" }\n')
        self.said_once(self.hikyaku(*self.send_words()), 2, "no ordinary file")
        self.write("hikyaku.conf", text.replace(f'"{self.path("state")}"', f'"{self.path("list.csv")}"'))
        for words in (self.send_words(), ("status", "--config", self.path("hikyaku.conf"))):
            self.said_once(self.hikyaku(*words), 2, "is no directory", "write another one")

    def test_unfinished_files_of_the_dead_are_removed(self):
        self.configure()
        self.send(rows=["u@a.test"])
        gone = subprocess.Popen(["true"])
        gone.wait()
        dead = [self.path("state", f"node.id.{gone.pid}.tmp"), self.path("state", "campaigns", "c", "segment-1.seg.tmp")]
        alive = [self.path("state", f"node.id.{os.getpid()}.tmp"), self.path("state", "campaigns", "c", "rejected.csv.tmp")]
        for path in dead + alive:
            self.write(path, "half")
        with open(alive[1], encoding="utf-8") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            node = self.start("serve", "--config", self.path("hikyaku.conf"))
            wait_for(lambda: "removed 2 unfinished files" in self.finish_words(), 20, "the word")
            self.interrupt(node)
            self.finish(node, expect=0)
        self.assertEqual([os.path.exists(path) for path in dead + alive], [False, False, True, True])

    def test_a_node_that_hangs_is_named_by_whoever_asks_it(self):
        """Stopped by somebody: each command ends within its time and says which process it is, and what Redis knows is
        told all the same. A second node says at once for whom it waits."""
        self.configure()
        master = self.start("serve", "--config", self.path("hikyaku.conf"))
        campaign = ("--config", self.path("hikyaku.conf"), "--campaign", "c")
        wait_for(lambda: "is ready: 2 workers, 0 campaigns under way" in self.finish_words(), 20, "the node")
        follower = self.start_send(rows=[f"u{n}@a.test" for n in range(3000)])
        self.wait_for_events(20, follower)
        os.kill(master.pid, signal.SIGSTOP)
        try:
            second = self.start("serve", "--config", self.path("hikyaku.conf"))
            wait_for(lambda: f"process {master.pid}: waiting for it, 30 s at most" in self.finish_words(), 20, "for whom")
            self.interrupt(second)
            self.finish(second, expect=0)
            began = time.monotonic()
            asked = [self.start(*words, *campaign) for words in (("status",), ("pause",), ("cancel",))]
            self.assertIn("u9@a.test is ", self.hikyaku("why", *campaign, "u9@a.test", expect=0).out)
            self.assertLess(time.monotonic() - began, 9)
            outs = [self.finish(process, expect=3, timeout=60).out for process in asked]
            self.assertLess(time.monotonic() - began, 29)  # together, and not one behind the other
        finally:
            os.kill(master.pid, signal.SIGCONT)
        self.assertRegex(outs[0], r"(?m)^c +3,000 +\d+")
        words = f"(process {master.pid}) has not answered for 10 s: somebody stopped it; 'kill -CONT {master.pid}'"
        with open(self.path("stderr"), encoding="utf-8") as f:
            self.assertGreaterEqual(f.read().count(words), 3)
        self.assertIsNone(follower.poll())  # it follows on
        self.assertFalse(self.status()["campaigns"][0]["paused"])
        self.interrupt(follower)
        self.finish(follower, expect=1)
        self.interrupt(master)
        self.finish(master, expect=0)

    def test_a_full_disk_is_said(self):
        self.configure()
        os.mkdir(self.path("state"))
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", self.path("state")], capture_output=True,
                          check=False).returncode != 0:
            self.skipTest("tmpfs may not be mounted here")
        self.addCleanup(subprocess.run, ["umount", self.path("state")], check=True)
        done = self.send(rows=["u@a.test"], expect=3)
        self.said_once(done, 3, "the disk is full", "make room")

    def test_ctrl_c_finishes_what_is_under_way_and_twice_stops_at_once(self):
        slow = self.receiver("slow", "--latency-dot", "15000")
        self.nsd.stop()
        self.dns({"slow.test": slow})
        self.configure()
        process = self.start_send(rows=[f"u{n}@slow.test" for n in range(20)])
        wait_for(lambda: "asking" in self.finish_words(), 20, "the start")
        time.sleep(2)  # a body is under way, and its reply takes 15 s
        self.interrupt(process)
        wait_for(lambda: "once more stops at once" in self.finish_words(), 20, "the word")
        time.sleep(0.5)
        self.assertIsNone(process.poll())
        at = time.monotonic()
        self.interrupt(process)
        self.finish(process, expect=1, timeout=20)
        self.assertLess(time.monotonic() - at, 6)
        self.assertIn("stopping at once", self.finish_words())
        self.assertIn("was not waited for any longer; settled", self.finish_words())
        self.assertNotIn("killed by signal", self.finish_words())  # by us, and no fault
        for line in self.finish_words().splitlines():
            self.assertNotIn("bug", line)

    def test_lines_for_the_journal_begin_with_their_level(self):
        self.configure()
        self.list(["u@a.test"])
        self.send_words(message=harness.MESSAGE)
        with open(self.path("journal"), "w+b") as log:
            about = os.fstat(log.fileno())
            subprocess.run([os.path.join(BUILD, "hikyaku"), *self.send_words()], stderr=log, check=True, timeout=60,
                           stdout=subprocess.DEVNULL, env={**os.environ, "JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"})
            log.seek(0)
            text = log.read().decode()
        self.assertRegex(text, r"(?m)^<4>hikyaku: .*no dkim section")
        self.assertRegex(text, r"(?m)^<6>resolver: asking")
        self.assertNotIn("\x1b", text)


if __name__ == "__main__":
    harness.main()
