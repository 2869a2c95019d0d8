"""`hikyaku bounce classify`: mails that came back, through the command.

The collection in tests/data/bounces is everybody's; the large public one is read where it lies (HK_SHARED, or ../shared beside the
tree): its own judge scores what the command prints. Then each of its mails in other clothes, which must change no verdict, and
what is too large, too deep or no mail at all.
"""
import base64
import collections
import json
import os
import re
import resource
import subprocess
import sys
import time
import unittest

import harness
from harness import BUILD, ROOT

HIKYAKU = os.path.join(BUILD, "hikyaku")
NOTICES = os.path.join(ROOT, "tests", "data", "bounces", "notices.txt")
SHARED = os.path.join(os.environ.get("HK_SHARED", os.path.join(ROOT, "..", "shared")), "data", "bounce")
CHANGED_MAX = 0.005   # share of variants whose verdict may differ
MEMORY_MAX_KB = 64 * 1024
SECONDS_MAX = 1.0
MAILS = 20000         # to see how many are read in a second of the processor
MAILS_A_SECOND, REAL_A_SECOND = 10000, 4000 # at least, of small and of real mails; usual are five times as many (docs/operation.md)
OPTIMIZED = os.path.basename(BUILD) in ("release", "clang", "fault", "noledger")
SANITIZED = os.path.basename(BUILD) in ("asan", "tsan")


def classify(*files, data=None, expect=0):
    """What the command prints, by file."""
    given = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    done = subprocess.run([HIKYAKU, "bounce", "classify", *files], capture_output=True, timeout=120, check=False, **given)
    if done.returncode != expect:
        raise AssertionError(f"status {done.returncode}: {done.stderr.decode()}")
    return {line["file"]: line["bounces"] for line in map(json.loads, done.stdout.splitlines())}, done.stderr.decode()


def notices():
    """name, recipients, the mail"""
    with open(NOTICES, encoding="utf-8") as f:
        blocks = f.read().split("\n=== ")[1:]
    for block in blocks:
        title, _, mail = block.partition("\n")
        name, recipients = title.split(" | ")[:2]
        yield name, set() if recipients == "-" else {recipients} if recipients[0] == '"' else set(recipients.split()), mail


def verdict(bounces):
    return sorted((b["recipient"], b["class"], b["disposition"], b["kind"]) for b in bounces)


class Command(harness.Case):
    def put(self, name, data):
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        return path

    def test_each_file_has_a_line_and_a_line_has_all_its_bounces(self):
        cases = list(notices())
        paths = [self.put(f"{n}.eml", mail) for n, (_, _, mail) in enumerate(cases)]
        mbox = self.put("all.mbox", "".join(f"From a@b Thu Jan  1 00:00:00 2026\n{mail}\n\n" for _, _, mail in cases))
        lines, _ = classify(*paths, mbox)
        self.assertEqual(list(lines), [*paths, mbox])
        for path, (name, recipients, _) in zip(paths, cases):
            with self.subTest(name):
                self.assertEqual({b["recipient"] for b in lines[path]}, recipients)
                for row in lines[path]:
                    self.assertEqual(set(row), {"recipient", "class", "disposition", "reason", "status", "kind", "text"})
        self.assertEqual(verdict(lines[mbox]), sorted(v for path in paths for v in verdict(lines[path])))

    def test_standard_input_is_a_file_too(self):
        mail = next(notices())[2].encode()
        self.assertEqual(len(classify(data=mail)[0]["-"]), 1)
        self.assertEqual(len(classify("-", data=mail)[0]["-"]), 1)
        self.assertEqual(classify(data=b"")[0], {"-": []})

    def test_a_file_that_cannot_be_read_is_said_and_the_others_are_read(self):
        good = self.put("good.eml", next(notices())[2])
        lines, said = classify(self.path("none.eml"), good, self.dir, expect=2)
        self.assertEqual(list(lines), [good])
        self.assertEqual(len(said.splitlines()), 2)
        self.assertIn(f"{self.path('none.eml')}: cannot be opened: No such file or directory\n", said)
        self.assertIn(f"{self.dir}: cannot be read: Is a directory\n", said)

    def test_a_name_that_is_no_utf8_is_printed_as_json(self):
        path = os.fsencode(self.path("")) + b"\xff.eml"
        with open(path, "wb"):
            pass
        done = subprocess.run([HIKYAKU, "bounce", "classify", path], capture_output=True, timeout=60, check=True)
        self.assertEqual(json.loads(done.stdout)["bounces"], [])


REPORT = """Content-Type: message/delivery-status

Reporting-MTA: dns; mx.test

Final-Recipient: rfc822; taro@rcpt.test
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

"""
TOP = "Return-Path: <>\nFrom: MAILER-DAEMON@mx.test\nTo: b@bounce.test\nSubject: Undelivered Mail Returned to Sender\n"


def cost_of(out, paths, cwd=None):
    """What the process used for these files, and how many bounces it told of; `out`: a file to be written."""
    with open(out, "wb") as stdout:
        process = subprocess.Popen([HIKYAKU, "bounce", "classify", *paths], stdin=subprocess.DEVNULL, stdout=stdout, cwd=cwd)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = status
    if status != 0:
        raise AssertionError(f"status {status}")
    with open(out, encoding="utf-8") as f:
        return used, f.read().count('"recipient"')


class Bounds(harness.Case):
    """Whatever the bytes: an answer in a second, in 64 MB."""

    def cost(self, pieces, rows):
        """What the process used, and its largest size."""
        path = self.path("mail")
        with open(path, "wb") as f:
            for piece in pieces:
                f.write(piece if isinstance(piece, bytes) else piece.encode())
        used, found = cost_of(self.path("out"), [path])
        self.assertEqual(found, rows)
        os.unlink(path)
        return used

    def measure(self, pieces, rows):
        used = self.cost(pieces, rows)
        if not SANITIZED:
            self.assertLess(used.ru_utime + used.ru_stime, SECONDS_MAX)
            self.assertLess(used.ru_maxrss, MEMORY_MAX_KB)

    def test_thousands_of_mails_are_read_in_a_second_of_the_processor(self):
        """In an mbox, the collection again and again; reading the rules once is part of it."""
        cases = list(notices())
        rounds = MAILS // len(cases)
        once = "".join(f"From a@b Thu Jan  1 00:00:00 2026\n{mail}\n\n" for _, _, mail in cases)
        rows = sum(len(recipients) for _, recipients, _ in cases)
        used = self.cost([once] * rounds, rows * rounds)
        rate = rounds * len(cases) / (used.ru_utime + used.ru_stime)
        print(f"{rounds * len(cases)} mails of {len(once) // len(cases)} bytes: {rate:.0f} in a second of the processor")
        if OPTIMIZED:
            self.assertGreater(rate, MAILS_A_SECOND)

    def multipart(self, *parts):
        yield TOP + 'Content-Type: multipart/report; report-type=delivery-status; boundary="B"\n\n'
        for part in parts:
            yield "--B\n"
            if isinstance(part, str):
                yield part
            else:
                yield from part
        yield "\n--B--\n"

    def returned(self, line, megabytes):
        yield "Content-Type: message/rfc822\n\nTo: x@y.test\n\n"
        block = line * ((1 << 20) // len(line))
        for _ in range(megabytes):
            yield block

    def test_a_returned_message_of_100_megabytes(self):
        self.measure(self.multipart(REPORT, self.returned("A" * 76 + "\n", 100)), 1)

    def test_the_report_behind_100_megabytes(self):
        self.measure(self.multipart(self.returned("A" * 76 + "\r", 100), "\n", REPORT), 1)

    def test_100_megabytes_in_one_line(self):
        self.measure(self.multipart(REPORT, self.returned("-", 100)), 1)

    def test_10000_nested_multiparts(self):
        opened = (f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(10000))
        closed = (f"--b{n}--\n" for n in reversed(range(10000)))
        self.measure([TOP, *opened, REPORT, *closed], 0)

    def test_2000_nested_messages(self):
        self.measure([TOP, "Content-Type: message/rfc822\n\n" * 2000], 0)

    def test_a_header_of_a_megabyte_and_20000_fields(self):
        self.measure([TOP, "X-A: ", "y" * 1000000, "\n", "X-B: z\n" * 20000, "Content-Type: multipart/report; boundary=B\n\n--B\n", REPORT, "--B--\n"], 1)

    def test_300000_addresses_that_are_none(self):
        self.measure([TOP, "\nfailed: ", "a@" * 300000], 0)

    def test_lines_of_addresses_without_end(self):
        self.measure([TOP, "\nfailed:\n", *(f"a{n}@b.test\n" for n in range(300000))], 12288)

    def test_one_line_of_8_megabytes(self):
        self.measure([TOP, "\n<taro@rcpt.test>: 550 5.1.1 User unknown ", "a" * (8 << 20)], 1)

    def test_10000_recipients_each_with_its_paragraph(self):
        text = ["Content-Type: text/plain\n\n"] + [f"<u{n}@rcpt.test>: host mx said: 550 5.1.1 User unknown\n\n"
                                                   for n in range(10000)]
        report = ["Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\n"] + [
            f"Final-Recipient: rfc822; u{n}@rcpt.test\nAction: failed\nStatus: 5.1.1\n\n" for n in range(10000)]
        self.measure(self.multipart(text, report), 10000)

    def test_random_bytes(self):
        self.measure([os.urandom(1 << 20) for _ in range(16)], 0)


def shared(path):
    return os.path.join(SHARED, path)


@unittest.skipUnless(os.path.exists(shared("score.py")), f"left out: no {SHARED} (HK_SHARED names the folder above data/)")
class Corpus(harness.Case):
    """The public collection, judged by its own judge."""

    def scored(self, name):
        found = re.search(rf"{name}\s+([0-9.]+)%", self.score)
        self.assertIsNotNone(found, self.score)
        return float(found.group(1))

    def test_the_public_set(self):
        with open(shared("truth.jsonl"), encoding="utf-8") as f:
            files = [json.loads(line)["file"] for line in f]
        files = [f for f in files if f.startswith("maildir/")]
        done = subprocess.run([HIKYAKU, "bounce", "classify", *files], cwd=shared("mails"), capture_output=True, timeout=120,
                              check=True)
        prediction = self.path("prediction.jsonl")
        with open(prediction, "wb") as f:
            f.write(done.stdout)
        self.score = subprocess.run([sys.executable, shared("score.py"), prediction, "-v"], capture_output=True, text=True,
                                    timeout=120, check=True).stdout
        print(self.score.split("-- ", 1)[0])
        self.assertGreaterEqual(self.scored("detected"), 99.5)
        self.assertGreaterEqual(self.scored("recipients exact"), 99)
        self.assertGreaterEqual(self.scored(r"class \(14\)"), CLASS_MIN)
        self.assertGreaterEqual(self.scored("disposition"), DISPOSITION_MIN)
        self.assertEqual(self.scored("false suppression"), 0)
        self.assertLessEqual(self.scored("missed suppression"), MISSED_MAX)

    def test_thousands_of_real_mails_are_read_in_a_second_of_the_processor(self):
        with open(shared("truth.jsonl"), encoding="utf-8") as f:
            files = [json.loads(line)["file"] for line in f]
        files = [f for f in files if f.startswith("maildir/bsd/")] * 20
        used, _ = cost_of(self.path("out"), files, cwd=shared("mails"))
        rate = len(files) / (used.ru_utime + used.ru_stime)
        print(f"{len(files)} real mails: {rate:.0f} in a second of the processor")
        if OPTIMIZED:
            self.assertGreater(rate, REAL_A_SECOND)

    def test_the_hostile_set(self):
        with open(shared("hostile/expected.jsonl"), encoding="utf-8") as f:
            expected = list(map(json.loads, f))
        self.assertGreater(len(expected), 15)
        for e in expected:
            with self.subTest(e["file"]):
                got = classify(shared(os.path.join("hostile", e["file"])))[0].popitem()[1]
                if e["recipients"] is not None:
                    self.assertEqual(sorted(b["recipient"] for b in got), sorted(e["recipients"]))
                if e["disposition"] is not None:
                    self.assertLessEqual({b["disposition"] for b in got}, {e["disposition"]})
                if "kind" in e:
                    self.assertEqual({b["kind"] for b in got}, {e["kind"]})

    def test_other_clothes_change_no_verdict(self):
        with open(shared("truth.jsonl"), encoding="utf-8") as f:
            files = [json.loads(line)["file"] for line in f]
        files = [f for f in files if f.startswith("maildir/bsd/")]
        names, changed = [], collections.Counter()
        for number, file in enumerate(files):
            with open(shared(os.path.join("mails", file)), "rb") as f:
                mail = f.read()
            for name, variant in variants(mail):
                path = self.path(f"{number}.{name}")
                with open(path, "wb") as f:
                    f.write(variant)
                names.append((path, name, number, file))
        lines = {}
        for at in range(0, len(names), 500):
            lines |= classify(*(path for path, *_ in names[at:at + 500]))[0]
        plain = {number: verdict(lines[path]) for path, name, number, _ in names if name == "plain"}
        wrong = [(name, file) for path, name, number, file in names if verdict(lines[path]) != plain[number]]
        changed.update(name for name, _ in wrong)
        self.assertGreater(sum(name == "odd-boundary" for _, name, _, _ in names), 100)
        print(f"{len(names) - len(plain)} variants of {len(plain)} mails, {len(wrong)} changed: {dict(changed)}")
        self.assertGreater(len(names), 5000)
        self.assertLessEqual(len(wrong), CHANGED_MAX * (len(names) - len(plain)), wrong[:40])


def header_and_body(mail):
    """Of a mail whose lines end in LF."""
    head, _, body = mail.partition(b"\n\n")
    return head + b"\n", body


def fields_of(head):
    """The fields of a header, each with its folded lines."""
    fields = []
    for line in head.splitlines(keepends=True):
        if fields and (line[:1] in b" \t" or b":" not in line):
            fields[-1] += line
        else:
            fields.append(line)
    return fields


def refolded(head):
    """Fields of several words are folded at each blank that is not in quotes."""
    out = []
    for field in fields_of(head):
        if field.lower().startswith((b"received", b"to:", b"from:", b"x-failed")) and b'"' not in field and b"=?" not in field:
            out.append(re.sub(rb"[ \t]+", b" ", field.replace(b"\n", b"")).replace(b" ", b"\n\t") + b"\n")
        else:
            out.append(field)
    return b"".join(out)


def with_case(head, change):
    return b"".join(re.sub(rb"^[!-9;-~]+(?=:)", lambda m: change(m.group(0)), field) for field in fields_of(head))


def content_of(head):
    """The fields of MIME, and the others."""
    mime = [f for f in fields_of(head) if f.lower().startswith(b"content-")]
    return b"".join(mime), b"".join(f for f in fields_of(head) if f not in mime)


def encoded_parts(mail, wanted):
    """Parts of a type in base64, where they are not encoded yet."""
    def encode(match):
        head, body = match.group(1), match.group(2)
        if b"transfer-encoding" in head.lower():
            return match.group(0)
        return head + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(body)
    return re.sub(rb"(?i)(\n--[^\n]+\nContent-Type: *" + wanted + rb"[^\n]*\n(?:[\w-]+:[^\n]*\n|[ \t]+[^\n]*\n)*)\n(.*?\n)(?=--)", lambda m: encode(m), mail,
                  count=1, flags=re.DOTALL)


ODD_BOUNDARY = b"'it is=_(odd)+,-./:? and legal'"  # RFC 2046 5.1.1: all that it allows


def odd_boundary(mime, mail):
    """The mail with another boundary of its outermost parts; None where the one it has begins others, or is not found."""
    found = re.search(rb"""(?i)boundary=("[^"\n]+"|[^\s;"]+)""", mime)
    if not found or mail.count(found.group(0)) != 1:
        return None
    old = found.group(1).strip(b'"')
    lines = re.findall(rb"(?m)^--(.*?)[ \t]*$", mail)
    if old + b"--" not in lines or [line for line in lines if line.startswith(old) and line not in (old, old + b"--")]:
        return None
    mail = mail.replace(found.group(0), b'boundary="' + ODD_BOUNDARY + b'"')
    return re.sub(rb"(?m)^--" + re.escape(old) + rb"(--)?[ \t]*$", lambda m: b"--" + ODD_BOUNDARY + (m.group(1) or b""), mail)


def variants(mail):
    """The mail and what means the same (name, bytes)."""
    mail = mail.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    head, body = header_and_body(mail)
    mime, others = content_of(head)
    first, _, rest = head.partition(b"\n") if head.startswith(b"From ") else (b"", b"", head)
    first += b"\n" if first else b""
    yield "plain", mail
    yield "crlf", mail.replace(b"\n", b"\r\n")
    yield "cr", mail.replace(b"\n", b"\r")
    yield "mixed", b"".join(line + (b"\r\n" if n % 3 else b"\n") for n, line in enumerate(mail.split(b"\n")))
    yield "upper", with_case(head, bytes.upper) + b"\n" + body
    yield "lower", with_case(head, bytes.lower) + b"\n" + body
    yield "hops", first + b"Received: from a.test by b.test id 550511; Thu, 1 Jan 2026 05:50:00 +0000\n" * 30 + rest + b"\n" + body
    yield "nul", mail + b"\0" * 64
    yield "tail", mail + b"\n-- \nThis mail is confidential.\n" if b"multipart" in mime.lower() else mail + b"\n"
    yield "refolded", refolded(head) + b"\n" + body
    yield "report-in-base64", encoded_parts(mail, rb"message/delivery-status")
    yield "text-in-base64", encoded_parts(mail, rb"text/plain")
    yield "blank-before-colon", re.sub(rb"(?m)^(final-recipient|action|status|diagnostic-code|original-recipient):",
                                       lambda m: m.group(1).lower() + b" :", mail, flags=re.IGNORECASE)
    if re.search(rb"(?i)multipart/\w+;", mime):
        other = odd_boundary(mime, mail)
        if other:
            yield "odd-boundary", other
        yield "preamble", others + mime + b"\n" + b"This is a multi-part message in MIME format.\n" * 1400 + b"\n" + body
        yield "no-last-boundary", re.sub(rb"\n--[^\n]*--\s*\Z", b"\n", mail)
        yield "wrapped", (others + b'Content-Type: multipart/mixed; boundary="outer=1"\n\n--outer=1\n' + mime + b"\n" + body +
                          b"\n--outer=1\nContent-Type: text/plain\n\nThis mail is confidential. Ask help@gate.test.\n--outer=1--\n")
    if mime and not re.search(rb"(?i)transfer-encoding|multipart", mime) and re.search(rb"(?i)text/plain", mime):
        yield "body-in-base64", others + mime + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(body)


# In per cent, of the public set.
CLASS_MIN, DISPOSITION_MIN, MISSED_MAX = 97, 98, 1


if __name__ == "__main__":
    harness.main()
