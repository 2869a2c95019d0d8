"""Files that mail programs save, as templates: what a recipient sees is what the author saw, tags filled in.

The judge reads the template and the copy with Python's email and compares the texts; the tags are filled by a few
lines here, not by hikyaku. send --dry-run and send --test are judged by the same eyes.
"""
import email
import email.header
import glob
import html
import json
import os
import re
import time

import dkim

import harness
from harness import ROOT, wait_for

FOLDER = os.path.join(ROOT, "tests", "data", "messages")
NAMES = sorted(os.path.splitext(name)[0] for name in os.listdir(FOLDER) if name.endswith(".eml"))
HEADER = ("email", "name", "company", "markup")
ROWS = [("zoe@a.test", "Zoë & 山田", 'Müller "AG"', "<hr class='x'>"), ("bob@a.test", "Bob", "", "")]

# What the author saw, for a program that nobody here wrote to read: a line of the text, and the subject.
SEEN = {
    "apple-mail": ("the café is open — see you! 🍵", "Tea 🍵 for {{name}} — and a long line that Mail breaks in two"),
    "gmail": ("50% off & more at the café.", "50% off 🍰 for {{name}}, this week only at the café"),
    "outlook": ("the café’s “summer” menu costs €5.", "Sommer–Menü für {{name}} € 5"),
    "outlook-japanese": ("①次回の発送は㈱飛脚が承ります。\n②ﾊﾝｶｸの品番もそのままです。", "【①お知らせ】 {{name}} 様へ"),
    "thunderbird": ("> 引用された行は \n> そのまま残ります。", "飛脚から{{name}}様へ"),
}
NOT_SENT = {"received", "bcc", "dkim-signature", "arc-seal", "authentication-results", "return-path", "delivered-to",
            "x-mailer", "user-agent", "thread-index", "thread-topic", "x-unsent", "x-mozilla-status", "fcc",
            "x-ms-has-attach", "x-originatororg", "x-gm-message-state", "x-google-smtp-source", "x-account-key",
            "x-uniform-type-identifier", "x-apple-base-url", "x-mimeole", "received-spf"}


def jis(octets):
    """ISO-2022-JP with the characters that Windows adds, which Python's codec refuses."""
    out, at, kind = b"", 0, b"(B"
    while at < len(octets):
        if octets[at] == 0x1B:
            kind, at = octets[at + 1:at + 3], at + 3
        elif kind in (b"$B", b"$@") and octets[at] > 0x20:
            row, cell = octets[at] - 0x21, octets[at + 1] - 0x21
            lead, trail = row // 2 + 0x81, cell + (0x9F if row % 2 else 0x40)
            out += bytes([lead if lead < 0xA0 else lead + 0x40, trail if row % 2 or trail < 0x7F else trail + 1])
            at += 2
        else:
            out += bytes([octets[at] | 0x80 if kind == b"(I" and octets[at] > 0x20 else octets[at]])
            at += 1
    return out.decode("cp932")


def decode(octets, charset):
    return jis(octets) if (charset or "").lower() == "iso-2022-jp" else octets.decode(charset or "utf-8")


def header(value):
    pieces = email.header.decode_header(re.sub(r"\r?\n", "", value))
    text = "".join(p if isinstance(p, str) else decode(p, c if c != "unknown-8bit" else "utf-8") for p, c in pieces)
    return re.sub(r"\s+", " ", text).strip()


def fill(text, values, escape=lambda value: value):
    text = re.sub(r"\{\{#(\w+)\}\}(.*?)\{\{/\1\}\}", lambda m: m[2] if values[m[1]] else "", text, flags=re.S)
    text = re.sub(r"\{\{\^(\w+)\}\}(.*?)\{\{/\1\}\}", lambda m: "" if values[m[1]] else m[2], text, flags=re.S)
    text = re.sub(r"\{\{\{(\w+)\}\}\}", lambda m: values[m[1]], text)
    return re.sub(r"\{\{(\w+)\}\}", lambda m: escape(values[m[1]]), text)


def escaped(value):
    return html.escape(value).replace("&#x27;", "&#39;")


def leaves(message):
    """Depth first, an attached message as one leaf."""
    if message.is_multipart() and message.get_content_type() != "message/rfc822":
        for part in message.get_payload():
            yield from leaves(part)
    else:
        yield message


def shape(message):
    """The tree of types."""
    kind = message.get_content_type()
    return [kind, *map(shape, message.get_payload())] if message.is_multipart() else kind


def lines(text):
    return text.replace("\r\n", "\n").rstrip("\n")


class Messages(harness.Case):
    def prepare(self, *options):
        self.a = self.receiver("a", "--store", "{store}", *options)
        self.b = self.receiver("b", "--reply-rcpt", "550 5.1.1 no such user here")
        self.dns({"a.test": self.a, "b.test": self.b}, more=self.keys(dkim=True))
        self.configure(dkim=True)
        self.list(ROWS, header=HEADER)

    def words(self, name, campaign, *more):
        return ("send", "--config", self.path("hikyaku.conf"), "--campaign", campaign, "--list", self.path("list.csv"),
                "--message", os.path.join(FOLDER, name + ".eml"), *more)

    def judge_part(self, source, copy, values):
        """One leaf of the template and of the copy."""
        charset = source.get_content_charset()
        raw = source.get_payload(decode=True)
        text = decode(raw, charset) if source.get_content_maintype() == "text" else ""
        if "{{" not in text:
            # Octet for octet, its header too; the order of its fields is not kept.
            self.assertEqual(*(sorted((n, lines(v)) for n, v in part.items()) for part in (source, copy)))
            self.assertEqual(*(lines(part.as_string()).split("\n\n", 1)[1] for part in (source, copy)))
            return
        is_html = source.get_content_subtype() == "html"
        text = fill(text, values, escaped if is_html else lambda value: value)
        if is_html:
            text = re.sub(r"(<meta[^>]*charset=)[\w-]+", r"\1UTF-8", text, flags=re.I)
        self.assertEqual(copy.get_content_charset(), "utf-8")
        self.assertEqual(lines(copy.get_payload(decode=True).decode("utf-8")), lines(text))
        for name in ("format", "name"):
            self.assertEqual(copy.get_param(name), source.get_param(name))

    def judge(self, name, octets, row):
        with open(os.path.join(FOLDER, name + ".eml"), "rb") as f:
            source = email.message_from_bytes(f.read())
        copy = email.message_from_bytes(octets)
        values = dict(zip(HEADER, row))
        match = re.search(r"https://news\.test/u/[a-z2-7]+", copy["List-Unsubscribe"])
        values["unsubscribe_url"] = match[0]
        line, subject = SEEN[name]
        self.assertEqual(shape(copy), shape(source))
        for old, new in zip(leaves(source), leaves(copy)):
            self.judge_part(old, new, values)
        plain = next(p for p in leaves(copy) if p.get_content_type() == "text/plain")
        self.assertIn(line, lines(plain.get_payload(decode=True).decode("utf-8")))
        self.assertEqual(header(copy["Subject"]), fill(subject, values))
        self.assertEqual(header(copy["Subject"]), fill(header(source["Subject"]), values))
        self.assertEqual(header(copy["From"]), header(source["From"]))
        self.assertFalse({n.lower() for n in copy.keys()} & (NOT_SENT - {"dkim-signature"}))
        self.assertEqual(len(copy.get_all("DKIM-Signature")), 1)
        self.assertNotEqual(copy["Message-ID"], source["Message-ID"])
        self.assertNotEqual(copy["Date"], source["Date"])
        self.assertTrue(octets.isascii())
        self.assertTrue(dkim.verify(octets, dnsfunc=self.txt))
        return copy

    def stored(self):
        """Recipient -> the messages that the receiver kept for it."""
        found = {}
        for path in sorted(glob.glob(os.path.join(self.a.store, "*.json"))):
            with open(path, encoding="utf-8") as f:
                recipient = json.load(f)["recipients"][0]
            with open(path[:-5] + ".eml", "rb") as f:
                found.setdefault(recipient, []).append(f.read())
        return found

    def test_what_arrives_is_what_the_mail_program_showed(self):
        self.prepare()
        self.assertEqual(set(NAMES), set(SEEN))
        for name in NAMES:
            done = self.hikyaku(*self.words(name, name), expect=0)
            left_out = [line for line in done.err.splitlines() if "left out, " in line]
            self.assertEqual(len(left_out), len(set(left_out)), "said twice")
            self.assertEqual(len(re.findall("(?i)the message's own Message-ID is left out", done.err)), 1)
        self.stop_receivers()
        kept = self.stored()
        for row in ROWS:
            self.assertEqual(len(kept[row[0]]), len(NAMES))
            for name, octets in zip(NAMES, kept[row[0]]):
                with self.subTest(program=name, to=row[0]):
                    self.judge(name, octets, row)

    def test_a_dry_run_writes_the_copies_that_would_go_and_touches_nothing(self):
        self.prepare()
        for name in NAMES:
            done = self.hikyaku(*self.words(name, name, "--dry-run"), expect=0)
            folder = self.path("state", "campaigns", name, "preview")
            for number, row in enumerate(ROWS, 1):
                path = os.path.join(folder, f"row-{number}.eml")
                self.assertIn(path, done.out)
                with open(path, "rb") as f:
                    self.judge(name, f.read(), row)
            self.assertEqual(sorted(os.listdir(folder)), ["rejected.csv", "row-1.eml", "row-2.eml"])
            self.assertIn("2 at 1 domains", done.out)
            self.assertRegex(done.out, "(?i)own Message-ID is left out")
        self.assertEqual(os.listdir(self.path("state")), ["campaigns"])  # no lock, no Redis, no event log
        self.hikyaku(*self.words("gmail", "gmail"), expect=0)
        self.assertEqual(self.report("gmail")["counts"]["sent"], 2)
        # Neither does one disturb a campaign that there is, and an earlier preview is gone.
        self.list(ROWS[:1], header=HEADER)
        self.hikyaku(*self.words("gmail", "gmail", "--dry-run"), expect=0)
        self.assertEqual(sorted(os.listdir(self.path("state", "campaigns", "gmail", "preview"))),
                         ["rejected.csv", "row-1.eml"])
        self.list(ROWS, header=HEADER)
        self.assertIn("nothing to do", self.hikyaku(*self.words("gmail", "gmail"), expect=0).out)
        self.stop_receivers()
        self.assertEqual(self.a.taken(), {"zoe@a.test": 1, "bob@a.test": 1})

    def test_a_dry_run_shows_the_first_ten_rows_whatever_their_domains(self):
        self.prepare()
        self.list([(f"u{n}@{'a' if n % 2 else 'b'}.test", "x", "", "") for n in range(25)] + [("no-at", "", "", "")],
                  header=HEADER)
        done = self.hikyaku(*self.words("gmail", "c", "--dry-run"), expect=0)
        self.assertEqual(re.findall(r"row-(\d+)\.eml  (\S+)", done.out),
                         [(str(n + 1), f"u{n}@{'a' if n % 2 else 'b'}.test") for n in range(10)])
        self.assertIn("1 rows", done.out)

    def test_what_is_wrong_with_a_message_is_said_by_a_dry_run(self):
        self.prepare()
        self.write("bad.eml", "From: a@news.test\nSubject: s\n\nDear {{nobody}}\n")
        words = list(self.words("gmail", "c", "--dry-run"))
        words[words.index("--message") + 1] = self.path("bad.eml")
        done = self.hikyaku(*words, expect=2)
        self.assertIn(f"{self.path('bad.eml')}:4: ", done.err)
        self.assertEqual(self.hikyaku(*self.words("gmail", "c", "--dry-run", "--test", "x@a.test")).status, 2)
        self.assertEqual(self.hikyaku(*self.words("gmail", "c", "--dry-run", "--json")).status, 2)

    def test_a_test_sends_the_first_rows_copy_and_leaves_the_campaign_alone(self):
        self.prepare()
        done = self.hikyaku(*self.words("outlook", "c", "--test", "me@a.test,you@a.test"), expect=0)
        self.assertRegex(done.out, r"\Ame@a\.test: sent \(a\.mx\.test\): 250 .*\nyou@a\.test: sent .*\n\Z")
        self.assertFalse(os.path.exists(self.path("state", "test")))
        self.assertIn("there is no campaign", self.hikyaku("report", "--config", self.path("hikyaku.conf"), "--campaign",
                                                           "c", expect=2).err)
        self.assertEqual(self.status()["campaigns"], [])
        self.hikyaku(*self.words("outlook", "c"), expect=0)
        self.stop_receivers()
        kept = self.stored()
        self.assertEqual({to: len(copies) for to, copies in kept.items()},
                         {"me@a.test": 1, "you@a.test": 1, "zoe@a.test": 1, "bob@a.test": 1})
        test = self.judge("outlook", kept["me@a.test"][0], ("me@a.test", *ROWS[0][1:]))
        real = self.judge("outlook", kept["zoe@a.test"][0], ROWS[0])
        self.assertNotEqual(test["Message-ID"], real["Message-ID"])
        self.assertNotEqual(test["List-Unsubscribe"], real["List-Unsubscribe"])

    def test_a_test_tells_each_refusal_and_does_not_wait_for_a_retry(self):
        self.prepare("--defer", "1")
        started = time.monotonic()
        done = self.hikyaku(*self.words("gmail", "c", "--test", "me@a.test, x@b.test,y@gone.test"), expect=1)
        self.assertLess(time.monotonic() - started, 30)
        said = done.out.splitlines()
        self.assertEqual(len(said), 3)
        self.assertRegex(said[0], r"^me@a\.test: deferred \(a\.mx\.test\): 451 ")
        self.assertRegex(said[1], r"^x@b\.test: bounced \(b\.mx\.test\): 550 5\.1\.1 no such user here$")
        self.assertRegex(said[2], r"^y@gone\.test: bounced: .*no such domain|^y@gone\.test: bounced: .+")
        self.b.stop()
        done = self.hikyaku(*self.words("gmail", "c", "--test", "x@b.test"), expect=1)
        self.assertRegex(done.out, r"^x@b\.test: deferred: .+")
        for wrong in ("", ",", "me", "me@a.test,Me <me@a.test>"):
            self.assertIn("--test", self.hikyaku(*self.words("gmail", "c", "--test", wrong), expect=2).err)

    def test_words_about_keys_are_said_once_and_not_by_each_worker(self):
        self.prepare()
        self.configure(dkim=False)
        self.assertEqual(self.send(rows=["u@a.test"]).err.count("no dkim section"), 1)
        os.chmod(self.path("verp.key"), 0o644)
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")), 20, "the node")
        self.interrupt(node)
        self.assertEqual(self.finish(node, expect=0).err.count("verp.key can be read by others"), 1)
        os.unlink(self.path("verp.key"))
        self.assertIn("verp.key", self.hikyaku("serve", "--config", self.path("hikyaku.conf"), expect=2).err)

    def test_a_test_beside_a_node_and_after_one_that_was_killed(self):
        self.prepare("--latency-dot", "2000")
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")), 20, "the node")
        killed = self.start(*self.words("gmail", "c", "--test", "me@a.test"))
        wait_for(lambda: os.path.exists(self.path("state", "test", "control.sock")), 20, "the test's node")
        busy = self.hikyaku(*self.words("gmail", "c", "--test", "me@a.test"), expect=3)
        self.assertIn("another send --test is under way", busy.err)
        killed.kill()
        killed.wait()
        done = self.hikyaku(*self.words("gmail", "c", "--test", "you@a.test"), expect=0)
        self.assertIn("you@a.test: sent", done.out)
        self.assertFalse(os.path.exists(self.path("state", "test")))
        self.assertEqual(self.status()["campaigns"], [])
        self.interrupt(node)
        self.finish(node, expect=0)


if __name__ == "__main__":
    harness.main()
