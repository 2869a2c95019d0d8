"""The hostile internet: 90 receivers, each misbehaving in its own way, and a campaign to all of them at once.

Everyone is accounted for: who was sent to has the message exactly once, nobody has it twice, and who has it without
knowing is unknown. What each receiver did stands in the event log in words; workers stay small; the end comes in time.
HIKYAKU_HOSTILE is the number of recipients (scripts/soak takes 20,000).
"""
import asyncio
import collections
import json
import os
import re
import socket
import ssl
import struct
import threading
import time

import harness
from mta import make_certificate

RECIPIENTS = int(os.environ.get("HIKYAKU_HOSTILE", "5000"))
GIVE_UP_S = 5
PATIENCE_S = 90 + RECIPIENTS // 100  # for a campaign whose receivers cost it a second at every turn
WORKER_ANON_KB = 32 * 1024
TIMEOUTS = " ".join(f"{name}_timeout = 1s" for name in ("connect", "banner", "ehlo", "starttls", "mail", "rcpt", "data",
                                                        "block", "dot", "quit"))
PHASES = ("banner", "ehlo", "mail", "rcpt", "data", "dot")
GOOD = {"banner": b"220 mx ESMTP\r\n", "ehlo": b"250-mx\r\n250-8BITMIME\r\n250 PIPELINING\r\n", "mail": b"250 ok\r\n",
        "rcpt": b"250 ok\r\n", "data": b"354 go on\r\n", "dot": b"250 2.0.0 taken\r\n"}
SENT, EXPIRED, BOUNCED, UNKNOWN = {"sent"}, {"expired"}, {"bounced"}, {"unknown"}


class Gone(Exception):
    """The connection is over."""


class Talk:
    """One connection: a receiver in order, but for its twist."""

    def __init__(self, host, reader, writer):
        self.host, self.reader, self.writer = host, reader, writer
        self.recipient, self.secured = None, False

    async def say(self, octets):
        self.writer.write(octets)
        await self.writer.drain()

    async def line(self):
        line = await self.reader.readline()
        if not line.endswith(b"\n"):
            raise Gone
        return line.rstrip(b"\r\n")

    def reset(self):
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise Gone

    async def answer(self, phase):
        """Say what belongs here, or what the twist has instead. True: it took what it was asked to."""
        twist = self.host.twists.get(phase)
        reply = await twist(self) if twist else None
        if reply is None:
            reply = self.host.good.get(phase, GOOD[phase])
        await self.say(reply)
        return reply[:1] in (b"2", b"3")

    async def run(self):
        await self.answer("banner")
        while True:
            line = await self.line()
            verb = line[:4].upper()
            if verb == b"EHLO":
                await self.answer("ehlo")
            elif verb == b"STAR":
                await self.host.starttls(self)
            elif verb == b"HELO":
                await self.answer("helo") if "helo" in self.host.twists else await self.say(b"250 mx\r\n")
            elif verb == b"MAIL":
                await self.answer("mail")
            elif verb == b"RCPT":
                self.recipient = line[9:-1].decode() if await self.answer("rcpt") else None
            elif verb == b"DATA":
                await self.data()
            elif verb == b"QUIT":
                await self.say(b"221 bye\r\n")
                raise Gone
            else:
                await self.say(b"250 ok\r\n")

    async def data(self):
        if self.recipient is None:
            await self.say(b"554 no valid recipients\r\n")
            return
        await self.answer("data")
        while await self.line() != b".":
            pass
        self.host.whole[self.recipient] += 1
        if await self.answer("dot"):
            self.host.told[self.recipient] += 1
        self.recipient = None


class Host:
    """A receiver at one address. whole: how often it got a recipient's message to its end; told: and said so."""

    def __init__(self, name, address, twists, wanted, words, good=None, starttls=None):
        self.name, self.address, self.twists, self.wanted, self.words = name, address, twists, wanted, words
        self.good, self.how_tls = good or {}, starttls
        self.whole, self.told = collections.Counter(), collections.Counter()
        if starttls:
            self.good["ehlo"] = b"250-mx\r\n250-PIPELINING\r\n250 STARTTLS\r\n"

    async def starttls(self, talk):
        await self.how_tls(talk)

    async def serve(self, reader, writer):
        try:
            await Talk(self, reader, writer).run()
        except (Gone, OSError, ssl.SSLError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            writer.close()


# Twists: what happens where a good reply should be. None: the good one after all.

async def drop(_talk):
    raise Gone


async def reset(talk):
    talk.reset()


async def silence(talk):
    while await talk.reader.read(65536):
        pass
    raise Gone


async def late(talk):
    await asyncio.sleep(4)


async def dribble(talk):
    for octet in b"250 one octet at a time, and a second for each of them\r\n":
        await talk.say(bytes([octet]))
        await asyncio.sleep(0.4)
    raise Gone


async def endless(talk):
    while True:
        await talk.say(b"250-and another line\r\n" * 50)


async def endless_line(talk):
    await talk.say(b"250 ")
    while True:
        await talk.say(b"x" * 4096)


async def flood(talk):
    if talk.recipient:
        talk.host.told[talk.recipient] += 1
    while True:
        await talk.say(b"250 ok\r\n" * 500)


def replies(octets):
    async def reply(_talk):
        return octets
    return reply


# And for STARTTLS.

def tls(*octets, then=silence):
    async def broken(talk):
        for piece in octets:
            await talk.say(piece)
        await then(talk)
    return broken


async def tls_that_works(talk):
    await talk.say(b"220 go\r\n")
    await talk.writer.start_tls(talk.host.context)
    talk.secured = True


async def tls_record_dribbles(talk):
    await talk.say(b"220 go\r\n\x16\x03\x03\x40\x00")
    while True:
        await talk.say(b"\x02")
        await asyncio.sleep(0.2)


GARBAGE = b"\x80\x81<html>500 not smtp</html>\r\n"
SENSELESS = {"banner": b"354 what\r\n", "ehlo": b"354 what\r\n", "mail": b"354 what\r\n", "rcpt": b"354 what\r\n",
             "data": b"250 what\r\n", "dot": b"354 what\r\n"}
LONG = b"x" * 4000


def everywhere(name, twist, words, at_dot=UNKNOWN, wanted=EXPIRED):
    """A twist at each phase: before the dot nothing is lost but time, behind it nobody knows. twist(phase) makes it."""
    for phase in PHASES:
        yield f"{name}-{phase}", {phase: twist(phase)}, at_dot if phase == "dot" else wanted, words


HOSTILE = [
    *everywhere("drop", lambda _: drop, "connection closed|reset|broken pipe"),
    *everywhere("reset", lambda _: reset, "reset|closed|broken pipe"),
    *everywhere("silent", lambda _: silence, "timed out"),
    *everywhere("421", lambda _: replies(b"421 4.3.2 not now\r\n"), "not now", at_dot=EXPIRED),
    *everywhere("garbage", lambda _: replies(GARBAGE), "not an SMTP reply"),
    *everywhere("senseless", lambda phase: replies(SENSELESS[phase]), "makes no sense|senseless"),
    *everywhere("dribble", lambda _: dribble, "timed out"),
    *everywhere("endless", lambda _: endless, "too long"),
    ("endless-line-rcpt", {"rcpt": endless_line}, EXPIRED, "too long"),
    ("flood-banner", {"banner": flood}, EXPIRED, "sense|not an SMTP reply|closed|out of step"),
    ("flood-dot", {"dot": flood}, {"sent", "expired"}, "sense|taken|ok"),
    ("late-banner", {"banner": late}, EXPIRED, "timed out waiting for the greeting"),
    ("long-ehlo", {"ehlo": replies(b"250-mx\r\n" + b"".join(b"250-X%d %s\r\n" % (n, b"y" * 100) for n in range(70)) +
                                   b"250 PIPELINING\r\n")}, SENT, "taken"),
    ("longer-ehlo", {"ehlo": replies(b"250-mx\r\n" + b"250-XXXX\r\n" * 1000 + b"250 PIPELINING\r\n")}, EXPIRED, "too long"),
    ("ehlo-502", {"ehlo": replies(b"502 what is that\r\n")}, SENT, "taken"),
    ("ehlo-helo-502", {"ehlo": replies(b"502 no\r\n"), "helo": replies(b"502 nor that\r\n")}, EXPIRED, "nor that"),
    ("long-line-banner", {"banner": replies(b"220 " + LONG + b"\r\n")}, SENT, "taken"),
    ("long-line-rcpt", {"rcpt": replies(b"550 5.1.1 " + LONG + b"\r\n")}, BOUNCED, "xxxx"),
    ("long-line-dot", {"dot": replies(b"250 2.0.0 " + LONG + b"\r\n")}, SENT, "xxxx"),
    ("nul-banner", {"banner": replies(b"220 a\0b\r\n")}, SENT, "taken"),
    ("nul-rcpt", {"rcpt": replies(b"550 5.1.1 \0\0no\0body\r\n")}, BOUNCED, "no.body"),
    ("nul-dot", {"dot": replies(b"250 \0\0thanks\r\n")}, SENT, "thanks"),
    ("nul-code", {"rcpt": replies(b"2\x0050 ok\r\n")}, EXPIRED, "not an SMTP reply"),
    ("escape-rcpt", {"rcpt": replies(b"550 5.1.1 \x1b]0;pwned\x07 \xff\xfe nobody\r\n")}, BOUNCED, "nobody"),
    ("codes-differ-rcpt", {"rcpt": replies(b"250-ok\r\n550 no\r\n")}, EXPIRED, "not an SMTP reply"),
    ("codes-differ-dot", {"dot": replies(b"250-ok\r\n451 no\r\n")}, UNKNOWN, "not an SMTP reply"),
    ("codes-vary-rcpt", {"rcpt": replies(b"550-5.1.1 no\r\n551 5.1.1 such one\r\n")}, BOUNCED, "such one"),
    ("cr-banner", {"banner": replies(b"220 mx\r220 mx\r")}, EXPIRED, "timed out"),
    # A reply that has no end takes the next one's: taken, unless there is no next one.
    ("cr-dot", {"dot": replies(b"250 taken\r")}, {"unknown", "sent"}, "timed out"),
    ("lf-everywhere", {phase: replies(reply.replace(b"\r\n", b"\n")) for phase, reply in GOOD.items()}, SENT, "taken"),
    ("early-banner", {"banner": replies(b"220 mx\r\n250 already\r\n")}, EXPIRED, "sense|already"),
    ("early-ehlo", {"ehlo": replies(b"250-mx\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n250 ok\r\n")}, EXPIRED, "sense|ok"),
    ("early-data", {"data": replies(b"354 go on\r\n250 2.0.0 have it already\r\n")}, EXPIRED, "sense"),
    ("early-refusal", {"data": replies(b"354 go on\r\n552 5.3.4 I have seen enough\r\n")}, BOUNCED, "seen enough"),
    ("twice-dot", {"dot": replies(b"250 2.0.0 taken\r\n250 2.0.0 taken\r\n")}, {"sent", "expired"}, "taken"),
    ("code-999-rcpt", {"rcpt": replies(b"999 ok\r\n")}, EXPIRED, "not an SMTP reply"),
    ("code-199-dot", {"dot": replies(b"199 hm\r\n")}, UNKNOWN, "not an SMTP reply"),
    ("521-banner", {"banner": replies(b"521 mx takes no mail\r\n")}, BOUNCED, "takes no mail"),  # RFC 7504
    ("552-rcpt", {"rcpt": replies(b"552 too many recipients\r\n")}, EXPIRED, "too many"),
    ("503-mail", {"mail": replies(b"503 bad sequence\r\n")}, {"bounced", "expired"}, "bad sequence"),
]
# With TLS only where it can be had, what is broken is tried again in plain.
BROKEN_TLS = [
    ("tls-refused", tls(b"454 4.7.0 no TLS today\r\n", then=drop)),
    ("tls-drop", tls(b"220 go\r\n", then=drop)),
    ("tls-reset", tls(b"220 go\r\n", then=reset)),
    ("tls-silent", tls(b"220 go\r\n")),
    ("tls-alert", tls(b"220 go\r\n\x15\x03\x03\x00\x02\x02\x28")),
    ("tls-garbage", tls(b"220 go\r\n", b"<html>" * 50)),
    ("tls-injected", tls(b"220 go\r\n250 injected\r\n")),
    ("tls-record-dribbles", tls_record_dribbles),
    ("tls-record-never-ends", tls(b"220 go\r\n\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + b"\x03" * 8000)),
]


class Hostile(harness.Case):
    def start_hosts(self):
        hosts = []
        rows = [(name, twists, wanted, words, None) for name, twists, wanted, words in HOSTILE]
        rows += [(name, {}, SENT, "taken", broken) for name, broken in BROKEN_TLS]
        rows += [("tls-then-drop", {"mail": drop}, EXPIRED, "closed|reset", tls_that_works)]
        for number, (name, twists, wanted, words, starttls) in enumerate(rows, 1):
            host = Host(name, f"127.{self.net}.11.{number}", twists, wanted, words, starttls=starttls)
            host.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            host.context.load_cert_chain(self.path("cert.pem"), self.path("key.pem"))
            hosts.append(host)
        return hosts

    def serve(self, hosts):
        """All of them in a thread with a loop of its own, until the test is over."""
        ready = threading.Event()
        over = asyncio.Event()
        loops = []

        async def listen():
            loops.append(asyncio.get_running_loop())
            listening = [await asyncio.start_server(host.serve, host.address, self.port, limit=1 << 20, backlog=200)
                         for host in hosts]
            ready.set()
            await over.wait()  # what is under way then is cancelled by asyncio.run
            for server in listening:
                server.close()

        thread = threading.Thread(target=asyncio.run, args=(listen(),), daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)
        self.addCleanup(lambda: loops[0].call_soon_threadsafe(over.set))
        self.assertTrue(ready.wait(20))

    def workers_anon_kb(self):
        """The largest anonymous memory of a worker at this moment."""
        largest = 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    mine = f.read().startswith(b"hikyaku: worker") and self.is_ours(pid)
                if mine:
                    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
                        largest = max(largest, int(re.search(r"RssAnon:\s*(\d+)", f.read())[1]))
            except (OSError, TypeError):
                continue
        return largest

    def is_ours(self, pid):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return int(f.read().rsplit(")", 1)[1].split()[1]) in [p.pid for p in self.running]

    def events_by_host(self):
        """What the event log says of each receiver, in its words."""
        words = collections.defaultdict(set)
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            for event in map(json.loads, f):
                if event["type"] in ("attempt", "unknown"):
                    words[event["site"].split(".")[0]].add(event["reply"]["text"])
        return words

    def test_everyone_is_accounted_for(self):
        make_certificate(self.dir, "mx.test", "127.0.0.1")
        hosts = self.start_hosts()
        self.serve(hosts)
        self.dns({f"{host.name}.test": host for host in hosts})
        self.configure(give_up=f"{GIVE_UP_S}s")
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            lines = f.read()
        self.write("hikyaku.conf", lines.replace(f"port = {self.port}", f"port = {self.port} {TIMEOUTS}"))
        begun = time.monotonic()
        process = self.start_send(rows=[f"u{n}@{hosts[n % len(hosts)].name}.test" for n in range(RECIPIENTS)])
        anon_kb = 0
        while process.poll() is None:
            anon_kb = max(anon_kb, self.workers_anon_kb())
            self.assertLess(time.monotonic() - begun, PATIENCE_S)
            time.sleep(0.1)
        took_s = time.monotonic() - begun
        self.finish(process, expect=0)
        print(f"{RECIPIENTS} recipients, {len(hosts)} receivers: {took_s:.0f} s, workers at most {anon_kb} KB", flush=True)
        self.judge(hosts)
        self.assertTrue(0 < anon_kb < WORKER_ANON_KB, anon_kb)

    def judge(self, hosts):
        states = collections.defaultdict(dict)
        for recipient in self.recipients():
            address = recipient["recipient"]
            states[address.split("@")[1][:-len(".test")]][address] = recipient["state"]
        self.assertEqual(sum(map(len, states.values())), RECIPIENTS)
        words = self.events_by_host()
        wrong = []
        for host in hosts:
            wrong += [f"{host.name}: {fault}" for fault in self.faults(host, states[host.name], words[host.name])]
        self.assertFalse(wrong, "\n" + "\n".join(wrong))

    def faults(self, host, states, words):
        found = collections.Counter(states.values())
        if not set(found) <= host.wanted:
            yield f"{dict(found)}, expected {host.wanted}"
        if not any(re.search(host.words, text) for text in words):
            yield f"{host.words!r} is not among {sorted(words)[:5]}"
        for address, state in states.items():
            whole, told = host.whole[address], host.told[address]
            if state == "sent" and (whole, told) != (1, 1):
                yield f"{address} is sent, but came {whole} times, and was taken {told} times"
            if state != "sent" and told > 0 and state != "unknown":
                yield f"{address} was taken, but is {state}"
            if state == "unknown" and whole > 1:
                yield f"{address} is unknown and came {whole} times"


if __name__ == "__main__":
    harness.main()
