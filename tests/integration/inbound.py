"""The bounce receiver of `serve`: what comes back by SMTP and LMTP counts, what strangers try does not.

Judged by what `suppress check`, the report, the event log and the next campaign's receiver say, and by the replies on the wire.
"""
import contextlib
import email.policy
import os
import resource
import signal
import smtplib
import socket
import ssl
import time

import bounce_ingest
import crowd
import harness
from certificates import Authority
from crowd import Crowd
from harness import wait_for
from postfix import Postfix
from pouring import Mail, pour
from redis_external import PASSWORD, Redis

HUGE = int(os.environ.get("HIKYAKU_BODY_MB", "1024")) << 20  # bytes of a message that nobody needs
BENCH = 4000          # bounces whose cost is measured
BOUNCES_A_SECOND = 1000 # of the processor, at least: inbound, master and Redis together; usual is five times as many (docs/operation.md)
OPTIMIZED = os.path.basename(harness.BUILD) in ("release", "clang", "fault", "noledger")
WAITING = 800         # who connect while the process stands still


class Wire:
    """A bare client: what it says is what it is told to, octet by octet."""

    def __init__(self, at, banner=True, timeout=30):
        self.socket = socket.create_connection(at, timeout=timeout)
        self.file = self.socket.makefile("rb")
        if banner:
            self.banner = self.reply()

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def reply(self):
        """One reply, its lines in one text; "" at the end of the connection."""
        text = b""
        while True:
            try:
                line = self.file.readline()
            except ConnectionResetError:
                line = b""
            text += line
            if len(line) < 4 or line[3:4] != b"-":
                return text.decode()

    def ask(self, data):
        self.send(data if isinstance(data, bytes) else data + "\r\n")
        return self.reply()

    def begin(self, path):
        """A message to `path`: what is said to its DATA."""
        self.ask("EHLO x")
        self.ask("MAIL FROM:<>")
        self.ask(f"RCPT TO:<{path}>")
        return self.ask("DATA")

    def close(self):
        self.file.close()
        self.socket.close()


class Case(bounce_ingest.Case):
    more = ""

    def choose_addresses(self):
        self.at = (f"127.{self.net}.201.1", self._free_port())
        self.lmtp = (self.at[0], self._free_port())

    def listen(self, inbound="", more="", start=True):
        if not hasattr(self, "at"):
            self.choose_addresses()
        ca = Authority(self.dir)
        self.ca, leaf = ca.file, ca.leaf("inbound", ["bounce.news.test"])
        self.dns(mx={"a.test": self.sink, "b.test": self.sink})
        self.configure(more=f"""inbound {{ listen = {{ "{self.at[0]}:{self.at[1]}" }} lmtp = {{ "{self.lmtp[0]}:{self.lmtp[1]}" }}
  certificate = "{leaf.certificate}" key = "{leaf.key}" {inbound} }}
{more}""")
        if start:
            self.serve()

    def serve(self):
        self.node = self.start("serve", "--config", self.path("hikyaku.conf"))
        self.wait_until_it_listens()

    def wait_until_it_listens(self):
        def answers():
            self.assertIsNone(self.node.poll(), self.finish_words())
            with contextlib.suppress(OSError):
                client = self.wire(timeout=5)
                with contextlib.closing(client):
                    return client.banner.startswith("220 ")
        wait_for(answers, 30, "the greeting")

    def wire(self, banner=True, timeout=30, at=None):
        return Wire(at or self.at, banner, timeout)

    def client(self, tls=False):
        client = smtplib.SMTP(*self.at, timeout=60)
        self.addCleanup(client.close)
        if tls:
            context = ssl.create_default_context(cafile=self.ca)
            client._host = "bounce.news.test"
            client.starttls(context=context)
        return client

    def world(self, people, more="", inbound=""):
        self.sink = self.receiver("a", "--store", "{store}")
        self.listen(inbound=inbound, more=more)
        self.list(people)
        self.send("one")
        self.people = people
        self.path_of = self.paths()

    def stop(self):
        self.interrupt(self.node)
        self.finish(self.node, expect=0)


class Receiver(Case):
    """What it takes, and what becomes of it."""

    def setUp(self):
        super().setUp()
        self.world([f"u{n}@a.test" for n in range(12)])

    def send_bounce(self, who, client=None, to=None, **kind):
        client = client or self.client()
        path = to or self.path_of[who]
        client.sendmail("", [path], self.bounce(path, who, **kind).encode())

    def test_a_bounce_suppresses_and_its_250_is_durable(self):
        self.send_bounce("u0@a.test", self.client(tls=True))
        # No pause: what was answered is there, whatever becomes of the node.
        os.kill(self.node.pid, signal.SIGKILL)
        self.node.wait()
        self.assertIn("User unknown", self.check("u0@a.test", 1))
        self.check("u1@a.test", 0)
        self.assertEqual(self.report("one")["later"], {"bounced": 1, "complained": 0, "unsubscribed": 0})
        self.assertEqual([(e["recipient"], e["kind"], e["class"]) for e in self.lines("bounce")],
                         [("u0@a.test", "bounce", "mailbox-unknown")])

    def test_the_process_holds_no_list_and_can_do_little(self):
        pid = self.status()["pids"]["inbound"]
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            self.assertEqual(f.read().rstrip(b"\0"), b"hikyaku: inbound")
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"], int(status["CapEff"], 16), int(status["CapPrm"], 16)),
                         ("1", "2", 0, 0))
        with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
            maps = f.read()
        for secret in ("segment-", "region", "suppress.hashes"):
            self.assertNotIn(secret, maps)
        open_files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        self.assertEqual([name for name in open_files if self.dir in name and not name.endswith("/stderr")], [])

    def test_killed_it_runs_again_and_who_comes_meanwhile_waits(self):
        pid = self.status()["pids"]["inbound"]
        os.kill(pid, signal.SIGKILL)
        self.send_bounce("u0@a.test")
        self.check("u0@a.test", 1)
        self.assertNotEqual(self.status()["pids"]["inbound"], pid)
        self.stop()

    def test_without_redis_the_mail_stays_where_it_is(self):
        redis = self.status()["pids"]["redis"]
        os.kill(redis, signal.SIGSTOP)
        try:
            os.kill(redis, signal.SIGKILL)
            client = self.client()
            client.ehlo("mx.a.test")
            path = self.path_of["u0@a.test"]
            answers = set()

            def taken():
                client.mail("")
                client.rcpt(path)
                answers.add(client.data(self.bounce(path, "u0@a.test").encode())[0])
                return 250 in answers
            wait_for(taken, 60, "the bounce to be taken")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(redis, signal.SIGCONT)
        self.assertLessEqual(answers, {250, 451})
        self.check("u0@a.test", 1)
        self.assertEqual(self.report("one")["later"]["bounced"], 1)

    def test_only_what_can_be_ours_is_taken_and_nothing_is_relayed(self):
        path = self.path_of["u0@a.test"]
        local, domain = path.split("@")
        forged = local[:-3] + ("aaa" if local[-3:] != "aaa" else "bbb")
        client = self.client()
        client.ehlo("mx.a.test")
        client.mail("someone@else.test")
        for address, code in ((path, 250), (path.upper(), 250), (f"{forged}@{domain}", 550), (f"{local}@news.test", 550),
                              ("u1@a.test", 550), ("postmaster@news.test", 550), ("x%a.test@bounce.news.test", 550),
                              ("victim@gmail.example", 550), (f"nobody@{domain}", 550), (f"b-@{domain}", 550),
                              ("u-aaaa@bounce.news.test", 550), ('"a b"@' + domain, 550), ("@a.test:" + path, 250),
                              (f"postmaster@{domain}", 250), ("Postmaster", 250)):
            self.assertEqual(client.rcpt(address)[0], code, address)
        for words in (f"u1%a.test@{domain}", f"a.test!u1@{domain}", f"<{path}>"):
            self.assertIn(client.docmd("RCPT", f"TO:<{words}>")[0], (501, 550), words)
        self.sink.stop()
        self.assertEqual(sorted(self.sink.taken()), sorted(self.people))  # the campaign's, and nothing else ever

    def test_a_forged_bounce_harms_nobody_but_whom_its_token_names(self):
        path = self.path_of["u3@a.test"]
        self.client().sendmail("", [path], self.bounce(path, "u4@a.test").encode())
        self.check("u4@a.test", 0)
        self.check("u3@a.test", 1)

    def test_a_complaint_at_abuse_counts_and_a_letter_there_is_refused(self):
        client = self.client()
        complaint = bounce_ingest.COMPLAINT.format(path=self.path_of["u5@a.test"])
        client.sendmail("fbl@isp.test", ["abuse@bounce.news.test"], complaint.encode())
        self.assertIn("complaint", self.check("u5@a.test", 1))
        with self.assertRaises(smtplib.SMTPDataError) as refused:
            client.sendmail("me@a.test", ["postmaster@bounce.news.test"], b"Subject: hello\r\n\r\nare you there?\r\n")
        self.assertEqual(refused.exception.smtp_code, 550)
        self.assertIn(b"nobody reads", refused.exception.smtp_error)

    def test_what_is_no_bounce_is_taken_and_answered_by_nobody(self):
        path = self.path_of["u6@a.test"]
        self.client().sendmail("me@a.test", [path], b"Subject: Re: hello\r\n\r\nThank you for your letter.\r\n")
        self.check("u6@a.test", 0)
        self.sink.stop()
        self.assertEqual(len(self.sink.taken()), len(self.people))

    def test_lmtp_has_a_reply_for_each_recipient(self):
        wire = self.wire(at=self.lmtp)
        path = [self.path_of[f"u{n}@a.test"] for n in (7, 8)]
        self.assertTrue(wire.ask("EHLO mx").startswith("500"))
        self.assertIn("PIPELINING", wire.ask("LHLO mx"))
        wire.ask("MAIL FROM:<>")
        for p in (path[0], "postmaster@bounce.news.test", path[1]):
            self.assertTrue(wire.ask(f"RCPT TO:<{p}>").startswith("250"))
        wire.ask("DATA")
        body = self.bounce(path[0], "u7@a.test").replace(f"To: {path[0]}", "To: x@y.test").replace("\n", "\r\n")
        wire.send(body + "\r\n.\r\n")
        self.assertEqual([wire.reply()[:3] for _ in range(3)], ["250", "550", "250"])
        self.check("u7@a.test", 1)
        self.check("u8@a.test", 1)

    def test_config_check_names_what_is_wrong(self):
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        for old, new, words in ((f'certificate = "{self.dir}/inbound.pem"', 'certificate = "nowhere.pem"', "inbound.certificate"),
                                ("listen = {", "memory = 1mb listen = {", "inbound.memory"),
                                (f'listen = {{ "{self.at[0]}:{self.at[1]}" }} lmtp = {{ "{self.lmtp[0]}:{self.lmtp[1]}" }}', "",
                                 "listens nowhere")):
            self.assertIn(old, text)
            self.write("wrong.conf", text.replace(old, new))
            self.assertIn(words, self.hikyaku("config", "check", "--config", self.path("wrong.conf"), expect=2).err)
        self.write("other.conf", text.replace(f"{self.dir}/state", f"{self.dir}/other"))
        self.assertIn("cannot listen", self.hikyaku("serve", "--config", self.path("other.conf"), expect=3).err)


class Hostile(Case):
    """What a stranger may try. One node for all of it: it serves the next one as it did the first."""

    def setUp(self):
        super().setUp()
        self.world([f"u{n}@a.test" for n in range(12)],
                   inbound="timeout = 20s message_size = 100kb memory = 1mb connections = 1900 connections_per_address = 1000 rate_per_address = none")
        self.path0 = self.path_of["u0@a.test"]

    def tearDown(self):
        """It still takes bounces, and is the process it was."""
        self.client(tls=True).sendmail("", [self.path_of["u11@a.test"]],
                                       self.bounce(self.path_of["u11@a.test"], "u11@a.test").encode())
        self.check("u11@a.test", 1)

    def rss(self, pid):
        with open(f"/proc/{pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * resource.getpagesize()

    def test_what_hides_behind_a_line_end_is_no_command(self):
        inner = "\r\nRSET\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<u1@a.test>\r\nDATA\r\nSubject: x\r\n\r\nx"
        for end in ("\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\n.\0\r\n", "\n\n.\r\n", "\r\r\n.\r\r\n"):
            wire = self.wire()
            self.assertTrue(wire.begin(self.path0).startswith("354"))
            wire.send("Subject: y\r\n\r\ny" + end + inner + "\r\n.\r\nQUIT\r\n")
            self.assertEqual([wire.reply()[:3] for _ in range(3)], ["250", "221", ""], repr(end))  # one message, one reply
            wire.close()

    def test_a_bare_line_feed_ends_the_session(self):
        wire = self.wire()
        self.assertTrue(wire.ask(b"EHLO x\nMAIL FROM:<>\r\n").startswith("500 5.5.2"))
        self.assertEqual(wire.reply(), "")

    def test_dots_are_unstuffed_and_pieces_of_any_size_are_one_message(self):
        wire = self.wire()
        text = self.bounce(self.path0, "u0@a.test", said="550 5.1.1 <x>\n ..User unknown").replace("\n", "\r\n")
        script = f"EHLO x\r\nMAIL FROM:<> SIZE={len(text)} BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<{self.path0}>\r\nDATA\r\n" \
                 f"..\r\n{text}\r\n.\r\nQUIT\r\n"
        for byte in script.encode():
            wire.send(bytes([byte]))
        self.assertEqual([wire.reply()[:3] for _ in range(6)], ["250", "250", "250", "354", "250", "221"])
        self.check("u0@a.test", 1)

    def test_commands_out_of_order_unknown_and_wrong(self):
        wire = self.wire()
        for line, code in (("MAIL FROM:<>", "503"), ("RCPT TO:<x@y.test>", "503"), ("DATA", "503"), ("BDAT 10 LAST", "500"),
                           ("AUTH PLAIN AAAA", "502"), ("VRFY root", "252"), ("EXPN list", "500"), ("EHLO", "501"),
                           ("ETRN x", "500"), ("EHLO x", "250"), ("DATA", "503"), ("MAIL FROM:<>\0", "501"),
                           ("MAIL FROM:<> SIZE=100000000000000000000000", "552"), ("MAIL FROM:<> SIZE=x", "501"),
                           ("MAIL FROM:<> BODY=BINARYMIME", "555"), ("MAIL FROM:<>", "250"), ("MAIL FROM:<>", "503"),
                           ("DATA", "554"), (f"RCPT TO:<{self.path0}> NOTIFY=NEVER", "555"), ("RSET", "250")):
            self.assertEqual(wire.ask(line)[:3], code, line)
        self.assertNotIn("CHUNKING", wire.ask("EHLO x"))
        wire = self.wire()
        self.assertIn("500 5.5.2 line too long", wire.ask("EHLO " + "x" * 100000))
        replies = [wire.ask("NOOP")[:3] for _ in range(30)]
        self.assertEqual(set(replies[20:]), {""})
        self.assertIn("421", replies)

    def test_what_comes_before_tls_is_not_believed_behind_it(self):
        wire = self.wire()
        wire.ask("EHLO x")
        self.assertTrue(wire.ask(f"STARTTLS\r\nMAIL FROM:<>\r\nRCPT TO:<{self.path0}>").startswith("220"))
        context = ssl.create_default_context(cafile=self.ca)
        inner = context.wrap_socket(wire.socket, server_hostname="bounce.news.test", suppress_ragged_eofs=True)
        inner.settimeout(10)
        inner.sendall(b"NOOP\r\n")
        self.assertTrue(inner.recv(1000).startswith(b"250 2.0.0"))  # and not the answer to MAIL
        inner.sendall(b"MAIL FROM:<>\r\n")
        self.assertTrue(inner.recv(1000).startswith(b"503"))        # EHLO has to come again
        inner.sendall(b"EHLO x\r\n")
        self.assertNotIn(b"STARTTLS", inner.recv(1000))
        inner.sendall(b"STARTTLS\r\n")
        self.assertTrue(inner.recv(1000).startswith(b"503"))
        inner.close()
        wire = self.wire()
        wire.ask("EHLO x")
        wire.ask("STARTTLS")
        wire.send(b"this is no handshake\r\n" * 100)
        self.assertNotIn("250", wire.reply())

    def test_a_message_of_a_gigabyte_costs_no_memory_and_is_refused(self):
        pid = self.status()["pids"]["inbound"]
        before, most = self.rss(pid), 0
        wire = self.wire(timeout=120)
        wire.begin(self.path0)
        block = (b"x" * 998 + b"\r\n") * 1000
        for _ in range(HUGE // len(block)):
            wire.send(block)
            most = max(most, self.rss(pid))
        self.assertTrue(wire.ask(b"\r\n.\r\n").startswith("552 5.3.4"))
        self.assertLess(most - before, 4 << 20)
        self.assertTrue(wire.ask("RSET").startswith("250"))
        wire.close()
        endless = self.wire()  # and a command line without an end
        endless.send(b"x" * (4 << 20))
        self.assertLess(self.rss(pid) - before, 4 << 20)
        endless.close()

    def test_nothing_is_kept_of_a_tls_session_but_what_its_client_brings(self):
        def resumed(without):
            context = ssl.create_default_context(cafile=self.ca)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.options |= without
            session = None
            for _ in range(2):
                wire = self.wire()
                wire.ask("EHLO x")
                wire.ask("STARTTLS")
                inner = context.wrap_socket(wire.socket, server_hostname="bounce.news.test", session=session)
                inner.sendall(b"NOOP\r\n")
                self.assertTrue(inner.recv(1000).startswith(b"250"))
                session, was_resumed = inner.session, inner.session_reused
                inner.close()
            return was_resumed
        self.assertTrue(resumed(0))
        self.assertFalse(resumed(ssl.OP_NO_TICKET))

    def test_garbage_is_answered_and_harms_nothing(self):
        for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, b"\0" * 100000,
                     b"\xff\xfe" * 5000 + b"\r\n", b"EHLO " + b"\xe3\x81\x82" * 100 + b"\r\n", b"\r\n" * 5000,
                     b"MAIL FROM:<" + b"a" * 1000 + b"@x>\r\n", b"RCPT TO:" * 500 + b"\r\n"):
            wire = self.wire()
            with contextlib.suppress(OSError):
                wire.send(data)
                wire.socket.shutdown(socket.SHUT_WR)
                while wire.socket.recv(65536):
                    pass
            wire.close()


class Crowded(Case):
    """More strangers than anybody needs; scripts/soak takes ten thousand (crowd.py)."""

    def strangers(self, count, *numbers):
        found = Crowd(self.at, count, [f"127.{self.net}.203.{n}" for n in numbers or (1, 2, 3, 4)])
        found.__enter__()
        self.addCleanup(found.__exit__)
        return found

    def begin(self, bounds):
        self.world([f"u{n}@a.test" for n in range(12)], inbound=f"rate_per_address = none {bounds}", more="bounce { breaker_count = 0 }")
        self.pid = self.status()["pids"]["inbound"]
        self.free = list(self.people)

    def one_bounce(self):
        """Of a client that behaves: how long it takes to its 250, behind which it counts."""
        who = self.free.pop()
        path = self.path_of[who]
        began = time.monotonic()
        with contextlib.closing(smtplib.SMTP(*self.at, timeout=30)) as client:
            client.sendmail("", [path], self.bounce(path, who).encode())
        took = time.monotonic() - began
        self.check(who, 1)
        return took

    def test_who_sends_drop_by_drop_is_cut_off_and_keeps_nobody_waiting(self):
        self.begin("timeout = 5s connections = 1900 connections_per_address = 1000")
        in_body, slow = [], []
        for _ in range(50):
            in_body.append(self.wire())
            self.assertTrue(in_body[-1].begin(self.path_of["u0@a.test"]).startswith("354"))
        slow = [self.wire() for _ in range(200)]
        alive, longest, until = set(slow + in_body), 0, time.monotonic() + 60
        while alive:
            self.assertLess(time.monotonic(), until)
            for wire in list(alive):
                try:
                    wire.send(b"x")
                except OSError:
                    alive.discard(wire)
            began = time.monotonic()
            with contextlib.closing(smtplib.SMTP(*self.at, timeout=30)) as client:
                client.ehlo("x")
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.2)
        for wire in slow + in_body:
            self.assertEqual(wire.reply()[:3], "421")
            self.assertEqual(wire.reply(), "")
            wire.close()
        self.assertLess(longest, 4)
        self.one_bounce()

    def test_who_behaves_is_answered_beside_a_crowd(self):
        """A third says nothing, a third half a command, a third a message drop by drop."""
        size = crowd.SIZE
        self.begin(f"timeout = 5min connections = {2 * size} connections_per_address = {size}")
        alone = self.one_bounce()
        before = crowd.memory_kb(self.pid)
        strangers = self.strangers(size)
        strangers.connect()
        strangers.wait_heard(b"220 ", size)
        silent = crowd.memory_kb(self.pid)
        talking, writing = strangers.members[1::3], strangers.members[2::3]
        strangers.say(b"EHLO x\r\nMAIL FRO", talking)
        strangers.say(f"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{self.path_of['u0@a.test']}>\r\nDATA\r\nSubj".encode(), writing)
        wait_for(lambda: sum(b"\r\n354 " in text for text in strangers.hear().values()) == len(writing), 60, "their messages to begin")
        times = []
        for _ in range(8):
            strangers.say(b"x", talking + writing)
            times.append(self.one_bounce())
        after = crowd.memory_kb(self.pid)
        self.assertEqual(len(strangers.closed), 0)
        self.assertEqual(self.status()["pids"]["inbound"], self.pid)
        print(f"\ninbound, {size} connections: {before} kB before, {silent} kB when they are silent, {after} kB in the end; a bounce takes "
              f"{alone:.3f} s alone, at most {max(times):.3f} s beside them", flush=True)
        self.assertLess(max(times), 5)
        self.assertLess(after - before, 4096 + 24 * size)

    def test_at_its_bounds_it_says_so_and_a_silent_crowd_makes_room(self):
        size = crowd.SIZE
        self.begin(f"timeout = 15s connections = {size} connections_per_address = {size // 2}")
        strangers = self.strangers(size // 2 + 10, 1)
        strangers.connect()
        strangers.wait_heard(b"421 4.7.0 too many connections from your address", 10)
        strangers.wait_heard(b"220 ", size // 2)
        others = self.strangers(size // 2, 2)
        others.connect()
        others.wait_heard(b"220 ", size // 2)
        with contextlib.closing(self.wire()) as wire:
            self.assertTrue(wire.banner.startswith("421 4.3.2 too many connections"), wire.banner)
        # Most of the room is taken: who is slow has a fifth of the time.
        began = time.monotonic()
        wait_for(self.greets, 14, "room")
        waited = time.monotonic() - began
        self.one_bounce()
        self.assertEqual(self.status()["pids"]["inbound"], self.pid)
        print(f"\ninbound, bound of {size} reached: room after {waited:.1f} s of inbound.timeout = 15 s", flush=True)
        self.assertLess(waited, 14)

    def test_who_connects_while_it_stands_still_waits(self):
        self.begin(f"connections = {2 * WAITING} connections_per_address = {2 * WAITING}")
        with open("/proc/sys/net/core/somaxconn", encoding="ascii") as f:
            waiting = min(WAITING, int(f.read()))
        os.kill(self.pid, signal.SIGSTOP)
        try:
            strangers = self.strangers(waiting)
            strangers.connect()
            self.assertEqual(strangers.knocked_again(), 0)  # for want of a place in the kernel's queue
        finally:
            os.kill(self.pid, signal.SIGCONT)
        strangers.wait_heard(b"220 ", waiting)
        self.one_bounce()

    def test_with_few_descriptors_it_has_fewer_connections_and_says_so(self):
        self.begin("connections = 1000 connections_per_address = 1000")
        resource.prlimit(self.node.pid, resource.RLIMIT_NOFILE, (300, 300))  # what its next child begins with
        os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: self.status()["pids"]["inbound"] not in (0, self.pid), 20, "another process")
        wait_for(self.greets, 20, "its greeting")
        self.assertIn("236 connections instead of inbound.connections = 1000", self.finish_words())
        strangers = self.strangers(400)
        strangers.connect()
        strangers.wait_heard(b"421 4.3.2", 400 - 236)
        self.assertLessEqual(strangers.told(b"220 "), 236)
        strangers.__exit__()
        wait_for(self.greets, 20, "room")
        self.one_bounce()

    def greets(self):
        with contextlib.suppress(OSError), contextlib.closing(self.wire(timeout=5)) as wire:
            return wire.banner.startswith("220 ")

    def test_memory_for_messages_has_an_end(self):
        self.begin("message_size = 100kb memory = 1mb connections_per_address = 1000")
        path, wires = self.path_of["u0@a.test"], []
        for _ in range(30):
            wire = self.wire()
            wire.begin(path)
            wire.send(b"x" * 60000)
            wires.append(wire)
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.send(b"\r\n.\r\n")
        codes = {wire.reply()[:3] for wire in wires}
        self.assertIn("452", codes)
        self.assertIn("250", codes)
        self.assertLessEqual(codes, {"250", "452"})


class Unsubscribe(Case):
    """List-Unsubscribe has an address, and who writes to it is written to no more."""

    people = ["u0@a.test", "u1@a.test"]

    def one(self, more=""):
        self.sink = self.receiver("a", "--store", "{store}")
        self.listen(more=more)
        self.list(self.people)
        self.send("one")

    def addresses(self):
        """Recipient -> the address in his copy's List-Unsubscribe."""
        found = {}
        for name in os.listdir(self.sink.store):
            if name.endswith(".eml"):
                with open(os.path.join(self.sink.store, name), "rb") as f:
                    message = email.message_from_binary_file(f, policy=email.policy.default)
                header = message["List-Unsubscribe"]
                self.assertRegex(header, r"<mailto:u-[a-z0-9]+@bounce\.news\.test\?subject=unsubscribe>")
                found[message["To"].strip("<>")] = header.split("<mailto:")[1].split("?")[0]
        return found

    def write_to(self, address, who):
        self.client().sendmail(who, [address], b"Subject: unsubscribe\r\n\r\n")

    def test_the_header_has_an_address_and_it_is_taken(self):
        self.one()
        self.write_to(self.addresses()["u0@a.test"], "u0@a.test")
        self.check("u0@a.test", 1)
        self.check("u1@a.test", 0)
        self.assertEqual(self.report("one")["later"]["unsubscribed"], 1)

    def test_who_writes_while_redis_is_away_is_taken_and_off_when_it_is_back(self):
        self.keys()
        redis = Redis(self.path("redis-x"))
        self.addCleanup(redis.stop)
        self.write("redis.password", PASSWORD + "\n")
        self.one(f'redis {{ mode = external host = "127.0.0.1" port = {redis.port} user = "hikyaku" password_file = "redis.password" }}')
        address = self.addresses()["u0@a.test"]
        redis.stop()
        wait_for(lambda: "Redis is gone" in self.finish_words(), 20, "Redis to be missed")
        for _ in range(2):  # again: nothing more
            self.write_to(address, "u0@a.test")
        wish, = self.lines("unsubscribe")
        self.assertEqual((wish["recipient"], wish["source"]), ("u0@a.test", "mailto"))
        redis.start()
        wait_for(lambda: self.hikyaku("suppress", "check", "--config", self.path("hikyaku.conf"), "u0@a.test").status == 1, 60, "the wish to be applied")
        wait_for(lambda: self.report("one")["later"]["unsubscribed"] == 1, 60, "the mark")
        self.check("u1@a.test", 0)
        self.send("two")
        self.assertEqual({r["recipient"] for r in self.recipients("two") if r["state"] == "suppressed"}, {"u0@a.test"})
        self.stop()


class RealPostfix(Case):
    """It bounces real messages of ours to us, over STARTTLS."""

    def test_postfix_bounces_for_real(self):
        """As in bounce_ingest.py, by SMTP under TLS that it verifies: unknown, over quota, too large, refused by its content."""
        kinds = 4
        address = f"127.{self.net}.200.1"
        second, third = self._free_port(), self._free_port()
        services = bounce_ingest.SERVICES.format(address=address, second=second, third=third, dir=self.dir).replace("\ningest unix", "\nunused unix")
        transports = [f"full{n}@a.test full:" for n in range(kinds)]
        transports += [f"large{n}@a.test smtp:[{address}]:{second}" for n in range(kinds)]
        transports += [f"refused{n}@a.test smtp:[{address}]:{third}" for n in range(kinds)]
        self.write("header_checks", "/^Subject: To /  REJECT 5.7.1 content refused by header_checks\n")
        self.write("people", "".join(f"fine{n}@a.test mail/all/\n" for n in range(kinds)))
        self.write("full", "#!/bin/sh\ncat >/dev/null\necho 5.2.2 mailbox is full\nexit 73\n")
        os.chmod(self.path("full"), 0o755)
        os.chmod(self.dir, 0o755)
        self.choose_addresses()
        self.write("tls", f"[{self.at[0]}]:{self.at[1]} secure match=bounce.news.test\n")
        settings = {"transport_maps": f"texthash:{self.path('transport')}", "virtual_mailbox_maps": f"texthash:{self.path('people')}",
                    "smtpd_reject_unlisted_recipient": "no", "virtual_mailbox_domains": "a.test", "relay_domains": "bounce.news.test",
                    "full_destination_recipient_limit": "1", "notify_classes": "", "minimal_backoff_time": "2s",
                    "queue_run_delay": "2s", "smtp_host_lookup": "native", "default_transport": "error:nobody is here",
                    "smtp_tls_policy_maps": f"texthash:{self.path('tls')}", "smtp_tls_loglevel": "1", "smtp_connection_cache_on_demand": "no"}
        mta = Postfix(address, self.port, ["a.test"], settings=settings, services=services, tls=False)
        self.sink = mta
        mta.name = "a"
        self.listen(more='soft "mailbox-full" { count = 1 apart = 0s }')
        mta.settings["smtp_tls_CAfile"] = self.ca
        self.write("transport", "\n".join([*transports, f"bounce.news.test smtp:[{self.at[0]}]:{self.at[1]}", ""]))
        mta.start()
        self.addCleanup(mta.stop)
        people = [f"{kind}{n}@a.test" for kind in ("fine", "gone", "full", "large", "refused") for n in range(kinds)]
        self.list(people)
        self.send("one", message=harness.MESSAGE + "x" * 70 + "\n" + ("y" * 70 + "\n") * 30)
        self.assertEqual(self.report("one")["counts"]["sent"], len(people))
        try:
            wait_for(lambda: self.report("one")["later"]["bounced"] == 4 * kinds, 60, "all bounces")
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.report('one')}\n{mta.log()[-20000:]}\n{self.finish_words()}") from e
        self.assertIn("Verified TLS connection established", mta.log())
        self.send("two")
        self.assertEqual({r["recipient"] for r in self.recipients("two") if r["state"] == "suppressed"},
                         {f"{kind}{n}@a.test" for kind in ("gone", "full") for n in range(kinds)})
        classes = {line["recipient"]: line["class"] for line in self.lines("bounce")}
        self.assertEqual((classes["large0@a.test"], classes["refused0@a.test"]), ("too-large", "content-policy"))
        self.stop()


class Cost(Case):
    """What a bounce costs the processor; how long it took is told and judges nothing."""

    def test_bounces_a_second(self):
        people = [f"u{n}@a.test" for n in range(BENCH)]
        self.sink = self.receiver("a", "--store", "{store}")
        self.listen(inbound="rate_per_address = none", more="bounce { breaker_count = 0 }")
        self.list(people)
        self.send("one", timeout=240)
        path_of = self.paths()
        mails = [Mail("", path_of[who], self.bounce(path_of[who], who).replace("\n", "\r\n")) for who in people]
        pids = self.status()["pids"]
        before = {name: self.cpu(pids[name]) for name in ("inbound", "master", "redis")}
        began = time.monotonic()
        self.assertEqual(set(pour(self.at, mails, connections=48)), {250})
        wall = time.monotonic() - began
        used = {name: self.cpu(pids[name]) - before[name] for name in before}
        self.assertEqual(self.report("one")["later"]["bounced"], BENCH)
        if OPTIMIZED:
            self.assertGreater(BENCH / sum(used.values()), BOUNCES_A_SECOND, used)
        print(f"\n{BENCH} bounces in {wall:.2f} s; CPU seconds {used}: {BENCH / sum(used.values()):.0f} a CPU-second of all three, "
              f"{BENCH / used['inbound']:.0f} of inbound, {BENCH / used['master']:.0f} of the master", flush=True)

    @staticmethod
    def cpu(pid):
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    harness.main()
