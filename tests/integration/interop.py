"""Receivers that nobody here wrote: Postfix, Exim, OpenSMTPD and aiosmtpd, each with TLS and without, and smtp-sink.

A thousand copies of ten kinds of messages go to eight receivers at once. A bench/sink gets the same copies beside them:
what it stored as it came over the wire is what each receiver has to have, byte for byte, once the fields it put on top
are off. Domains and addresses are of one length, so that nothing folds in another place. DKIM is verified behind each.
"""
import asyncio
import base64
import collections
import email
import json
import os
import pwd
import re
import ssl
import subprocess

import aiosmtpd.controller
import dkim

import harness
from mta import make_certificate, sent_bytes
from mtas import Exim, OpenSmtpd
from nsd import die_with_parent
from postfix import Postfix

PER_KIND = 14
PER_HUGE_KIND = 6
NAMES = ["Ann", "山田太郎", "Bob O'Neill <b@x>", ".dot first", "Łukasz &c", "", "x" * 120, "=3D=?utf-8?q?x?="]

HEAD = 'From: "News & Co" <news@news.test>\nTo: {{name}} <{{email}}>\nSubject: =?utf-8?B?44GK55+l44KJ44Gb?= {{name}}\nMIME-Version: 1.0\n'
RAW_DOTS = "".join(f"{'.' * (n % 4)}{' ' * (n % 3)}line {n}\n.\n..\n" for n in range(60))
DOTS = "".join(f"{'.' * (n % 4)}{' ' * (n % 3)}line {n} for {{{{name}}}}\n.\n..\n" for n in range(60))
RANDOM_LOOKING = bytes((n * n * 31 + n // 7) & 0xff for n in range(700000))


def base64_part(octets):
    return base64.encodebytes(octets).decode()


def plain(encoding, text):
    return HEAD + f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: {encoding}\n\n{text}"


def mixed(size):
    return (HEAD + 'Content-Type: multipart/mixed; boundary="=_m"\n\npreamble\n--=_m\n'
            "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nAttached for {{name}}: これ。\n--=_m\n"
            "Content-Type: application/octet-stream\nContent-Disposition: attachment; filename=data.bin\n"
            "Content-Transfer-Encoding: base64\n\n" + base64_part(RANDOM_LOOKING[:size]) + "--=_m--\n")


KINDS = {
    "small": plain("7bit", "Hello {{name}}\n" + "0123456789" * 7 + "\n"),
    "8bit": plain("8bit", "{{name}} 様\n" + "今日は良い天気です。\n" * 400),
    "base64": plain("base64", base64_part("{{name}} 様 in base64\n".encode() + "行\n".encode() * 1500)),
    "quoted-printable": HEAD + 'Content-Type: multipart/alternative; boundary="=_a"\n\n--=_a\n'
                        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
                        "Caf=C3=A9 for {{name}}=\n and no break\n.=20\n--=_a\n"
                        "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
                        "<p class=3D\"x\">=E3=81=8A {{name}}</p>\n" + "<p>=C3=A9</p>\n" * 800 + "--=_a--\n",
    "dots": plain("7bit", ".\n" + DOTS + "."),
    # What has no tag goes out as it was written, and there a dot more is all that keeps it whole.
    "raw-dots": plain("7bit", ".\n" + RAW_DOTS + "."),
    "dot-attachment": HEAD + 'Content-Type: multipart/mixed; boundary="=_d"\n\n.preamble\n--=_d\nContent-Type: text/plain\n\n'
                      ".For {{name}}\n--=_d\nContent-Type: text/x-log\nContent-Disposition: attachment; filename=a.log\n\n"
                      f".\n{RAW_DOTS}.\n\n--=_d--\n.epilogue\n.\n",
    "long-lines": plain("8bit", ("x" * 5000 + "{{name}}") * 3 + "\n.\n" + "語" * 3000 + "\n"),
    "no-final-newline": plain("7bit", "{{name}}\nthe last line has no end"),
    "huge": mixed(len(RANDOM_LOOKING)),
}


class Library(asyncio.Protocol):
    """aiosmtpd behind the calls that the MTAs have."""

    def __init__(self, address, port, folder, tls):
        self.address, self.port, self.tls, self.kept = address, port, tls, []
        options = {}
        if tls:
            make_certificate(folder, "mx.aio.test", address)
            options["tls_context"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            options["tls_context"].load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
        self.controller = aiosmtpd.controller.Controller(self, hostname=address, port=port, **options)

    async def handle_DATA(self, _server, _session, envelope):
        for recipient in envelope.rcpt_tos:
            self.kept.append((recipient, envelope.original_content))
        return "250 kept"

    def start(self):
        self.controller.start()
        return self

    def stop(self):
        self.controller.stop()

    def wait(self, count):
        return len(self.kept)

    def messages(self):
        return self.kept


def wire(copy, recipient):
    """What of a copy has to be the same at all receivers: the header with what is of this recipient blotted out, and the
    body."""
    head, body = copy.split(b"\r\n\r\n", 1)
    head = re.sub(rb"(?m)^(Date|DKIM-Signature|Message-ID|List-Unsubscribe):[^\r]*(\r\n[ \t][^\r]*)*", rb"\1:", head)
    return head.replace(recipient.encode(), b"<who>"), body


class SmtpSink:
    """Postfix' own test receiver, with the options of one way to be difficult; what it took is in its dump file."""

    def __init__(self, folder, name, address, port, options):
        self.name, self.address, self.dump = name, address, os.path.join(folder, name)
        os.mkdir(self.dump, 0o755)
        os.chown(self.dump, pwd.getpwnam("nobody").pw_uid, -1)
        self.process = subprocess.Popen(["smtp-sink", "-u", "nobody", "-D", f"{self.dump}/mail", *options,
                                         f"{address}:{port}", "100"], start_new_session=True, preexec_fn=die_with_parent)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def dumped(self):
        """Recipient -> how often a whole message for him came."""
        found = collections.Counter()
        for name in os.listdir(self.dump):
            with open(os.path.join(self.dump, name), encoding="utf-8") as f:
                text = f.read()
            for piece in text.split("X-Client-Addr: ")[1:]:
                if "the last line\n" in piece:
                    found[re.search(r"X-Rcpt-Args: <(.*)>", piece)[1]] += 1
        return found


SENT, EXPIRED, BOUNCED, UNKNOWN = "sent", "expired", "bounced", "unknown"
# Ways to be difficult: smtp-sink's options, what becomes of everyone, and whether the receiver has each message in the end.
DIFFICULT = {
    "easy": ("", SENT, True),
    "no-pipelining": ("-p", SENT, True),
    "no-esmtp": ("-e", SENT, True),
    "no-8bitmime": ("-8 -E -N", SENT, True),
    "cisco-pix": ("-P", SENT, True),
    "two-connections": ("-m 2", SENT, True),
    "slow-reader": ("-H 1 -T 1024", SENT, True),
    "slow-data": ("-w 1", SENT, True),
    "slow-now-and-then": ("-W rcpt:1:30", SENT, True),
    "slow-dot": ("-W .:1", SENT, True),
    "hard-connect": ("-f connect", EXPIRED, False),
    "hard-ehlo": ("-f ehlo", SENT, True),  # HELO is taken (RFC 5321 3.2)
    "hard-helo": ("-f ehlo,helo", EXPIRED, False),
    "hard-mail": ("-f mail", BOUNCED, False),
    "hard-rcpt": ("-f rcpt", BOUNCED, False),
    "hard-data": ("-f data", BOUNCED, False),
    "hard-dot": ("-f .", BOUNCED, None),
    "hard-rset-quit": ("-f rset,quit", SENT, True),
    "soft-connect": ("-r connect", EXPIRED, False),
    "soft-ehlo": ("-r ehlo", EXPIRED, False),
    "soft-mail": ("-r mail", EXPIRED, False),
    "soft-rcpt": ("-r rcpt", EXPIRED, False),
    "soft-data": ("-r data", EXPIRED, False),
    "soft-dot": ("-r .", EXPIRED, None),
    "gone-connect": ("-q connect", EXPIRED, False),
    "gone-ehlo": ("-q ehlo", EXPIRED, False),
    "gone-mail": ("-q mail", EXPIRED, False),
    "gone-rcpt": ("-q rcpt", EXPIRED, False),
    "gone-data": ("-q data", EXPIRED, False),
    "gone-dot": ("-q .", UNKNOWN, True),
    "gone-quit": ("-q quit", SENT, True),
    "closing-connect": ("-Q connect", EXPIRED, False),
    "closing-ehlo": ("-Q ehlo", EXPIRED, False),
    "closing-mail": ("-Q mail", EXPIRED, False),
    "closing-rcpt": ("-Q rcpt", EXPIRED, False),
    "closing-data": ("-Q data", EXPIRED, False),
    "closing-dot": ("-Q .", EXPIRED, None),
    "aborts-in-data": ("-A 0", BOUNCED, False),
}


class Interop(harness.Case):
    def address(self):
        harness.Case.next_address += 1
        return f"127.{self.net}.7.{harness.Case.next_address}"

    def start_mtas(self):
        domains = [f"r{n}.test" for n in range(8)]
        made = {}
        for tls in (False, True):
            folder = self.path(f"aio-{tls}")
            os.mkdir(folder)
            for name, mta in (("postfix", Postfix(self.address(), self.port, domains, tls=tls)),
                              ("exim", Exim(self.address(), self.port, tls=tls)),
                              ("opensmtpd", OpenSmtpd(self.address(), self.port, tls=tls)),
                              ("aiosmtpd", Library(self.address(), self.port, folder, tls))):
                mta.name = name + ("-tls" if tls else "")
                mta.offers_tls = tls
                mta.start()
                self.addCleanup(mta.stop)
                made[domains[len(made)]] = mta
        return made

    def rows(self, domains, kind):
        count = PER_HUGE_KIND if kind == "huge" else PER_KIND
        return [(f"{kind}.{n:02}@{domain}", NAMES[n % len(NAMES)]) for domain in domains for n in range(count)]

    def test_a_thousand_messages_arrive_byte_for_byte(self):
        mtas = self.start_mtas()
        reference = self.receiver("reference", "--store", "{store}")
        self.dns({**mtas, "r8.test": reference}, more=self.keys(dkim=True))
        self.configure(dkim=True, give_up="60s")
        for kind, message in KINDS.items():
            self.list(self.rows([*mtas, "r8.test"], kind), header=("email", "name"))
            self.send(kind, message=message)
            counts = self.report(kind)["counts"]
            self.assertEqual(counts["sent"], sum(counts.values()), (kind, counts))
        reference.stop()
        self.judge(mtas, dict(self.stored(reference)))
        self.judge_connections(mtas)

    def stored(self, reference):
        for name in os.listdir(reference.store):
            if name.endswith(".eml"):
                with open(os.path.join(reference.store, name), "rb") as f, \
                        open(os.path.join(reference.store, name[:-4] + ".json"), encoding="utf-8") as envelope:
                    yield json.load(envelope)["recipients"][0], f.read()

    def judge(self, mtas, reference):
        wanted = {to.split("@")[0]: wire(copy, to) for to, copy in reference.items()}
        per_mta = PER_KIND * (len(KINDS) - 1) + PER_HUGE_KIND
        self.assertEqual(len(wanted), per_mta)
        self.assertGreaterEqual(per_mta * len(mtas), 1000)
        self.judge_reference(reference)
        records = {}

        def record(name, timeout=5):
            if name not in records:
                records[name] = self.txt(name, timeout)
            return records[name]

        for domain, mta in mtas.items():
            mta.wait(per_mta)
            got = mta.messages()
            self.assertEqual(collections.Counter(to for to, _ in got),
                             collections.Counter(f"{local}@{domain}" for local in wanted), mta.name)
            for to, content in got:
                copy = sent_bytes(content)
                head, body = wire(copy, to)
                self.assertEqual((head, body == wanted[to.split("@")[0]][1]), (wanted[to.split("@")[0]][0], True), (mta.name, to))
                self.assertTrue(dkim.verify(copy, dnsfunc=record), (mta.name, to))

    def judge_reference(self, reference):
        """The copies say what the templates say, read by the standard library."""
        for to, copy in reference.items():
            kind, number = to.split("@")[0].rsplit(".", 1)
            name = NAMES[int(number) % len(NAMES)]
            payload = email.message_from_bytes(copy)
            leaf = next(part for part in payload.walk() if part.get_content_type() == "text/plain")
            text = leaf.get_payload(decode=True).decode("utf-8").replace("\r\n", "\n")
            source = email.message_from_bytes(KINDS[kind].encode())
            leaf = next(part for part in source.walk() if part.get_content_type() == "text/plain")
            whole = leaf.get_payload(decode=True).decode("utf-8").replace("{{name}}", name)
            self.assertEqual(text.rstrip("\n"), whole.rstrip("\n"), to)
            self.assertTrue(copy.endswith(b"\r\n") and b"\n" not in copy.replace(b"\r\n", b""), to)
            self.assertLessEqual(max(map(len, copy.split(b"\r\n"))), 998, to)
            for attached, given in zip(payload.walk(), source.walk()):
                if given.get_filename():
                    pair = [part.get_payload(decode=True).replace(b"\r\n", b"\n") for part in (attached, given)]
                    self.assertTrue(pair[0] == pair[1], to)

    def judge_connections(self, mtas):
        """TLS where it is offered, and connections that are used again."""
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            attempts = [e for e in map(json.loads, f) if e["type"] == "attempt"]
        for domain, mta in mtas.items():
            mine = [e for e in attempts if e["recipient"].endswith("@" + domain)]
            self.assertEqual({"tls" in e for e in mine}, {mta.offers_tls}, mta.name)
            self.assertGreater(max(e["nth"] for e in mine), 1, mta.name)
            self.assertEqual({e["attempt"] for e in mine}, {1}, mta.name)

    def test_everyone_is_accounted_for_behind_difficult_receivers(self):
        sinks = {}
        os.chmod(self.dir, 0o711)  # smtp-sink gives up root before it writes
        for name, (options, _, _) in DIFFICULT.items():
            sinks[f"{name}.test"] = sink = SmtpSink(self.dir, name, self.address(), self.port, options.split())
            self.addCleanup(sink.stop)
        self.dns(sinks)
        self.configure(give_up="4s", connections=4)
        rows = [f"u{n}@{domain}" for n in range(10) for domain in sinks]
        self.send(rows=rows, message=HEAD.replace("{{name}}", "") + "\nFor {{email}}\n" + "filler\n" * 3000 + "the last line\n")
        by_domain = collections.defaultdict(collections.Counter)
        for recipient in self.recipients():
            by_domain[recipient["recipient"].split("@")[1]][recipient["state"]] += 1
        wanted = {domain: {DIFFICULT[sink.name][1]: 10} for domain, sink in sinks.items()}
        self.maxDiff = None
        self.assertEqual(by_domain, wanted)
        for domain, sink in sinks.items():
            has = DIFFICULT[sink.name][2]
            if has is not None:
                self.assertEqual(sink.dumped(), dict.fromkeys((f"u{n}@{domain}" for n in range(10)), 1) if has else {}, sink.name)


if __name__ == "__main__":
    harness.main()
