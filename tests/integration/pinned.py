"""A campaign is pinned by hash: with another template, list, sender or DKIM domain nothing of it is sent.

Each change is tried by `send` and by `serve`, with and without a running node, at a campaign of which some were sent; then it
is taken back and the campaign ends, each recipient once. What a user may change is named too: the selector and the key of
a DKIM domain (keys are rotated), and what is not about the message: providers, connections, the retry schedule.
"""
import collections
import email
import glob
import os
import shutil
import signal

import harness
from harness import wait_for

PEOPLE = [f"u{n}@a.test" for n in range(24)]
EARLY = 5  # of them have an outcome before the first stop
WORDS = {  # what is changed -> words of `send`, words of `serve` in its log (None: nothing for it to see, or the same as another)
    "message": ("not the message that campaign 'c' was made of", None),
    "list": ("not the list that campaign 'c' was made of: 1 new addresses, 1 gone", None),
    "from_domain": ("the sender section or the DKIM domains are not those", "sender section or the DKIM domains"),
    "return_path": ("the sender section or the DKIM domains are not those", None),
    "list_id": ("the sender section or the DKIM domains are not those", None),
    "dkim_domain": ("the sender section or the DKIM domains are not those", "sender section or the DKIM domains"),
    "dkim_gone": ("the sender section or the DKIM domains are not those", "sender section or the DKIM domains"),
    "dkim_more": ("the sender section or the DKIM domains are not those", None),
}
CONF = {  # the same, as text of the configuration
    "from_domain": ('from_domain = "news.test"', 'from_domain = "mail.news.test"'),
    "return_path": ('return_path = "bounce.news.test"', 'return_path = "back.news.test"'),
    "list_id": ('secret_file = "verp.key"', 'secret_file = "verp.key" list_id = "list.news.test"'),
    "dkim_domain": ('domain = "news.test" key', 'domain = "mail.news.test" key'),
    "dkim_gone": ('dkim "s1" { domain = "news.test" key_file = "s1.pem" }', ""),
    "dkim_more": ('dkim "s1"', 'dkim "s9" { domain = "mail.news.test" key_file = "s1.pem" }\ndkim "s1"'),
}


class Pinned(harness.Case):
    def setUp(self):
        super().setUp()
        self.a = self.receiver("a", "--latency-dot", "90", "--store", "{store}")
        self.dns({"a.test": self.a})
        self.keys(dkim=True)
        self.configure(dkim=True, connections=1, give_up="60s")
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            self.conf = f.read()
        send = self.start_send(rows=PEOPLE)
        self.wait_for_events(EARLY, send)
        self.interrupt(send)
        self.finish(send, expect=1)
        self.begun, self.had_it = self.events(), self.stored()
        self.assertLess(self.begun, len(PEOPLE) - 5)

    def stored(self):
        return len(glob.glob(self.a.store + "/*.eml"))

    def change(self, what):
        """Returns what takes the change back."""
        if what in CONF:
            self.assertEqual(self.conf.count(CONF[what][0]), 1)
            self.write("hikyaku.conf", self.conf.replace(*CONF[what]))
            return lambda: self.write("hikyaku.conf", self.conf)
        name = {"message": "message.eml", "list": "list.csv"}[what]
        with open(self.path(name), encoding="utf-8") as f:
            text = f.read()
        self.write(name, text.replace("Dear", "Dearest") if what == "message" else text.replace("u7@", "u99@"))
        return lambda: self.write(name, text)

    def serve(self):
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")) or node.poll() is not None, 20, "the node")
        return node

    def end(self, node):
        self.interrupt(node, signal.SIGTERM)
        return self.finish(node, expect=0)

    def nothing_was_sent(self):
        self.assertEqual(self.events(), self.begun)

    def ends_exactly(self):
        self.send(timeout=60)
        self.stop_receivers()
        self.assertEqual(self.a.taken(), collections.Counter(PEOPLE))
        self.assertEqual(self.report()["counts"]["sent"], len(PEOPLE))

    def test_each_change_is_refused_where_no_node_runs(self):
        for what, (send_words, serve_words) in WORDS.items():
            with self.subTest(what):
                back = self.change(what)
                done = self.send(expect=2)
                self.assertIn(send_words, done.err)
                self.assertEqual(self.hikyaku("status", "--config", self.path("hikyaku.conf")).status, 0)
                if serve_words:
                    node = self.serve()
                    wait_for(lambda: "campaign c is not run" in self.finish_words(), 30, "the refusal")
                    refused = self.hikyaku("resume", "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=2)
                    self.assertIn(serve_words, refused.err)
                    self.assertIn(serve_words, self.end(node).err)
                    refused = self.hikyaku("resume", "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=2)
                    self.assertIn(serve_words, refused.err)
                self.nothing_was_sent()
                back()
        self.ends_exactly()

    def test_each_change_is_refused_beside_a_running_node(self):
        node = self.serve()
        self.hikyaku("pause", "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=0)
        # The last dot is out by now, its reply need not be in.
        wait_for(lambda: self.events() - self.begun == self.stored() - self.had_it, 20, "a line for each message that was taken")
        self.begun = self.events()
        for what, (send_words, _) in WORDS.items():
            with self.subTest(what):
                back = self.change(what)
                self.assertIn(send_words, self.send(expect=2).err)
                self.assertIn(send_words.split(":")[0].split(" are not")[0],
                              self.send(expect=2, more=("--extend",)).err if what != "list" else send_words)
                self.nothing_was_sent()
                back()
        self.hikyaku("resume", "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=0)
        self.ends_exactly()
        self.end(node)

    def test_cancel_needs_no_sender(self):
        """What cannot be sent any more can still be ended."""
        back = self.change("dkim_gone")
        node = self.serve()
        self.hikyaku("cancel", "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=0)
        self.end(node)
        back()
        counts = self.report()["counts"]
        self.stop_receivers()
        self.assertEqual(sum(self.a.taken().values()), counts["sent"])
        self.assertEqual(counts["sent"] + counts["cancelled"], len(PEOPLE))
        self.assertLess(counts["sent"], len(PEOPLE) - 5)

    def test_a_rotated_key_of_the_same_domain_goes_on(self):
        self.hikyaku("keygen", "dkim", "--domain", "news.test", "--selector", "s2", "--out", self.path("s2.pem"), expect=0)
        self.write("hikyaku.conf", self.conf.replace('dkim "s1"', 'dkim "s2"').replace("s1.pem", "s2.pem"))
        stored = self.stored()
        self.ends_exactly()
        selectors = collections.Counter()
        for name in glob.glob(self.a.store + "/*.eml"):
            with open(name, "rb") as f:
                signature = "".join(email.message_from_bytes(f.read())["DKIM-Signature"].split())
            selectors.update(part for part in signature.split(";") if part.startswith("s="))
        self.assertEqual(selectors, {"s=s1": stored, "s=s2": len(PEOPLE) - stored})

    # ---- files in state_dir ----

    def kept(self, name):
        return self.path("state", "campaigns", "c", name)

    def damage(self, how):
        segment, message = self.kept("segment-0.seg"), self.kept("message.eml")
        if how == "a byte":
            with open(segment, "r+b") as f:
                f.seek(os.path.getsize(segment) // 2)
                byte = f.read(1)
                f.seek(-1, 1)
                f.write(bytes([byte[0] ^ 1]))
        elif how == "cut":
            os.truncate(segment, os.path.getsize(segment) // 2)
        elif how == "gone":
            os.unlink(segment)
        elif how == "another":
            self.list([f"x{n}@a.test" for n in range(30)], name="other.csv")
            self.hikyaku("list", "import", "--list", self.path("other.csv"), "--out", self.path("other.seg"), expect=0)
            shutil.copy(self.path("other.seg"), segment)
        else:
            with open(message, "a", encoding="utf-8") as f:
                f.write("One more line.\n")

    def test_damage_to_what_is_kept_is_refused_by_serve_and_mended_by_send(self):
        # A campaign of one segment can be made anew from the list that `send` is given; a node has no list.
        for how, words in (("a byte", "its SHA-256 is another"), ("cut", "segment-0.seg"), ("gone", "segment-0.seg"),
                           ("another", "not the list that the campaign was begun with"),
                           ("the message", "not the message that campaign c was begun with")):
            with self.subTest(how):
                self.damage(how)
                node = self.serve()
                wait_for(lambda: "campaign c is not run" in self.finish_words(), 30, "the refusal")
                self.assertIn(words, self.end(node).err)
                self.nothing_was_sent()
                if how != "the message":
                    back = self.change("list")
                    self.assertIn("not the list that campaign 'c' was made of", self.send(expect=2).err)
                    self.nothing_was_sent()
                    back()
                # Mended as far as `send` mends it, without a message on its way.
                send = self.start_send()
                self.wait_for_events(self.begun + 1, send)
                self.interrupt(send)
                self.finish(send, expect=1)
                self.begun = self.events()
        self.ends_exactly()

    def test_what_cannot_be_opened_stays_paused(self):
        words = ("--config", self.path("hikyaku.conf"), "--campaign", "c")
        self.hikyaku("pause", *words, expect=0)
        self.damage("a byte")
        node = self.serve()
        self.assertIn("its SHA-256 is another", self.hikyaku("resume", *words, expect=2).err)
        self.end(node)
        listed = self.hikyaku("campaigns", "list", "--config", self.path("hikyaku.conf"), expect=0).out
        self.assertIn("paused", listed)
        self.nothing_was_sent()
        self.ends_exactly()

    def test_a_worker_that_starts_anew_takes_no_other_message_or_list(self):
        for how, words in (("the message", "not the message that campaign c was begun with"),
                           ("another", "not the list that campaign c was begun with")):
            with self.subTest(how):
                node = self.serve()
                self.wait_for_events(self.begun + 1, node)
                kept = {}
                for name in ("segment-0.seg", "message.eml"):
                    with open(self.kept(name), "rb") as f:
                        kept[name] = f.read()
                if how == "another":
                    self.list([f"x{n}@a.test" for n in range(30)], name="other.csv")
                    self.hikyaku("list", "import", "--list", self.path("other.csv"), "--out", self.path("other.seg"), expect=0)
                    os.rename(self.path("other.seg"), self.kept("segment-0.seg"))  # replaced: the node keeps its own
                else:
                    self.damage(how)
                for pid in self.status()["pids"]["workers"]:
                    os.kill(pid, signal.SIGKILL)
                wait_for(lambda: "stands still: " + words in self.finish_words(), 20, "the refusal")
                self.end(node)
                for name, content in kept.items():
                    with open(self.kept(name), "wb") as f:
                        f.write(content)
                self.begun = self.events()
        self.send(timeout=60)
        counts = self.report()["counts"]
        self.stop_receivers()
        self.assertEqual({who for who in self.a.taken() if not who.startswith("u")}, set())
        self.assertEqual([n for n in self.a.taken().values() if n != 1], [])
        self.assertEqual(counts["sent"] + counts["unknown"], len(PEOPLE))
        for name in glob.glob(self.a.store + "/*.eml"):
            with open(name, encoding="utf-8") as f:
                self.assertNotIn("One more line", f.read())

    def test_a_list_that_is_cut_under_the_node_stops_it_with_a_word(self):
        """A mapped file that is cut kills whoever reads on: that is said, and the next start refuses until it is whole."""
        with open(self.kept("segment-0.seg"), "rb") as f:
            whole = f.read()
        node = self.serve()
        self.wait_for_events(self.begun + 1, node)
        with open(self.kept("segment-0.seg"), "wb"):
            pass
        done = self.finish(node, timeout=30)
        self.assertEqual(done.status, 2, done.err)
        self.assertIn("was cut while it was in use", done.err)
        again = self.serve()
        wait_for(lambda: self.finish_words().count("campaign c is not run") >= 1, 30, "the refusal")
        self.end(again)
        with open(self.kept("segment-0.seg"), "wb") as f:
            f.write(whole)
        self.send(timeout=60)
        counts = self.report()["counts"]
        self.stop_receivers()
        self.assertEqual([n for n in self.a.taken().values() if n != 1], [])
        self.assertEqual(counts["sent"] + counts["unknown"], len(PEOPLE))
        self.assertLessEqual(counts["unknown"], 1)


if __name__ == "__main__":
    harness.main()
