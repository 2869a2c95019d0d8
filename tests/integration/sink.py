#!/usr/bin/python3
"""The sink judged from outside, option by option: what it answers, what it counts, what it writes.

Usage: sink.py BUILD_DIR
"""
import json
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sinks import Sink  # noqa: E402

BUILD = sys.argv[1] if len(sys.argv) > 1 else "build/release"
MESSAGE = b"Subject: hello\r\n\r\nbody\r\n"


class Raw:
    """A socket that speaks lines."""

    def __init__(self, port, banner=True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("rb")
        if banner:
            self.greeting = self.reply()

    def send(self, data):
        self.socket.sendall(data)

    def reply(self):
        """Code and lines of one reply; (0, []) at the end of the connection."""
        lines = []
        while True:
            line = self.file.readline()
            if not line:
                return 0, lines
            lines.append(line.rstrip(b"\r\n").decode())
            if line[3:4] != b"-":
                return int(line[:3]), lines

    def ask(self, data):
        self.send(data)
        return self.reply()[0]

    def close(self):
        self.file.close()
        self.socket.close()

    def mail(self, recipient, message=MESSAGE):
        """One message; the codes up to the first refusal."""
        codes = [self.ask(b"MAIL FROM:<s@x.test>\r\n")]
        if codes[-1] == 250:
            codes.append(self.ask(b"RCPT TO:<%s>\r\n" % recipient.encode()))
        if codes[-1] == 250:
            codes.append(self.ask(b"DATA\r\n"))
        if codes[-1] == 354:
            codes.append(self.ask(message + b".\r\n"))
        elif codes[-1] != 0 and len(codes) > 1:
            self.ask(b"RSET\r\n")
        return codes


def connect(port):
    raw = Raw(port)
    raw.ask(b"EHLO me.test\r\n")
    return raw


class SinkTest(unittest.TestCase):
    def sink(self, *options, **kw):
        sink = Sink(BUILD, *options, **kw)
        self.addCleanup(sink.stop)
        sink.start()
        return sink

    def connect(self, sink):
        raw = connect(sink.ports[0])
        self.addCleanup(raw.close)
        return raw

    def until(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_smtplib_delivers_and_the_ledger_says_so(self):
        sink = self.sink()
        with smtplib.SMTP("127.0.0.1", sink.ports[0]) as c:
            for name in ("a", "b", "c", "a"):
                self.assertEqual(c.sendmail("s@x.test", [name + "@y.test"], MESSAGE), {})
        ledger = sink.stop()
        self.assertEqual((ledger["accepted"], ledger["recipients"], ledger["duplicates"]), (4, 3, 1))
        self.assertEqual((ledger["connections"], ledger["tls"], ledger["abandoned"]), (1, 0, 0))
        self.assertEqual((ledger["bad_commands"], ledger["out_of_turn"], ledger["bare_lf"]), (0, 0, 0))
        self.assertEqual(sink.delivered(), {"a@y.test": 2, "b@y.test": 1, "c@y.test": 1})
        self.assertEqual(sink.status, 0)
        self.assertIn("messages answered 2xx", sink.output)

    def test_a_session_cut_at_every_octet_counts_the_same(self):
        sink = self.sink()
        wire = (b"EHLO me.test\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<a@y.test>\r\nDATA\r\n"
                b"Subject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n")
        for cut in range(0, len(wire), 3):
            raw = Raw(sink.ports[0])
            raw.send(wire[:cut])
            if cut:
                time.sleep(0.002)
            raw.send(wire[cut:])
            self.assertEqual([raw.reply()[0] for _ in range(6)], [250, 250, 250, 354, 250, 221])
            self.assertEqual(raw.reply()[0], 0)
            raw.close()
        self.assertEqual(sink.stop()["accepted"], len(range(0, len(wire), 3)))

    def test_two_messages_travel_in_one_write(self):
        raw = self.connect(self.sink())
        raw.send(b"MAIL FROM:<s@x.test>\r\nRCPT TO:<a@y.test>\r\nDATA\r\n")
        self.assertEqual([raw.reply()[0] for _ in range(3)], [250, 250, 354])
        raw.send(MESSAGE + b".\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n")
        self.assertEqual([raw.reply()[0] for _ in range(4)], [250, 250, 250, 354])

    def test_the_order_of_commands_is_kept(self):
        sink = self.sink()
        raw = Raw(sink.ports[0])
        self.addCleanup(raw.close)
        for command, code in ((b"MAIL FROM:<a@b.test>", 503), (b"EHLO me.test", 250), (b"RCPT TO:<a@b.test>", 503),
                              (b"DATA", 503), (b"MAIL FROM:<>", 250), (b"MAIL FROM:<>", 503), (b"DATA", 554),
                              (b"WHAT", 500), (b"MAIL FROM:x", 501), (b"STARTTLS", 502), (b"AUTH PLAIN x", 502),
                              (b"NOOP", 250), (b"VRFY a", 252), (b"x" * 5000, 500), (b"RSET", 250),
                              (b"MAIL FROM:<a@b.test> SIZE=99999999999", 552), (b"QUIT", 221)):
            self.assertEqual(raw.ask(command + b"\r\n"), code, command)
        self.assertEqual(sink.stop()["bad_commands"], 9)

    def test_tls_by_starttls_with_a_certificate_made_in_memory(self):
        sink = self.sink("--tls", "auto")
        context = ssl._create_unverified_context()
        with smtplib.SMTP("127.0.0.1", sink.ports[0]) as c:
            c.starttls(context=context)
            c.sendmail("s@x.test", ["a@y.test"], MESSAGE * 20000)
            self.assertFalse(c.has_extn("starttls"))
        ledger = sink.stop()
        self.assertEqual((ledger["accepted"], ledger["tls"], ledger["tls_failures"]), (1, 1, 0))
        self.assertEqual([(l.event, l.tls) for l in sink.log()], [("accepted", True)])

    def test_tls_from_the_first_byte_with_files(self):
        with tempfile.TemporaryDirectory() as d:
            cert, key = os.path.join(d, "c.pem"), os.path.join(d, "k.pem")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=mx.test", "-addext",
                            "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
            sink = self.sink("--tls", cert, key, "--implicit-tls")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP_SSL("127.0.0.1", sink.ports[0], context=context) as c:
            c.sendmail("s@x.test", ["a@y.test"], MESSAGE)
        with socket.create_connection(("127.0.0.1", sink.ports[0])) as s:
            s.sendall(b"EHLO this is not TLS\r\n\r\n")
            while s.recv(100):
                pass
        ledger = sink.stop()
        self.assertEqual((ledger["accepted"], ledger["tls"], ledger["tls_failures"]), (1, 1, 1))

    def test_commands_behind_starttls_in_the_clear_are_dropped(self):
        sink = self.sink("--tls", "auto")
        raw = self.connect(sink)
        raw.send(b"STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n")
        self.assertEqual(raw.reply()[0], 220)
        context = ssl._create_unverified_context()
        with context.wrap_socket(raw.socket) as s:
            s.sendall(b"EHLO me.test\r\nRCPT TO:<a@y.test>\r\n")
            text = b""
            while b"503" not in text:
                text += s.recv(1000)
            self.assertNotIn(b"2.1.0", text)

    def test_without_pipelining_commands_out_of_turn_are_counted(self):
        sink = self.sink("--no-pipelining")
        raw = Raw(sink.ports[0])
        self.addCleanup(raw.close)
        raw.send(b"EHLO me.test\r\n")
        self.assertNotIn("PIPELINING", " ".join(raw.reply()[1]))
        self.assertEqual(raw.mail("a@y.test"), [250, 250, 354, 250])
        self.assertEqual(sink.ledger()["out_of_turn"], 0)
        raw.send(b"MAIL FROM:<s@x.test>\r\nRCPT TO:<a@y.test>\r\n")
        raw.reply(), raw.reply()
        self.assertEqual(sink.stop()["out_of_turn"], 1)

    def test_with_pipelining_a_body_before_354_is_counted(self):
        sink = self.sink()
        raw = self.connect(sink)
        raw.send(b"MAIL FROM:<s@x.test>\r\nRCPT TO:<a@y.test>\r\nDATA\r\n" + MESSAGE + b".\r\n")
        self.assertEqual([raw.reply()[0] for _ in range(4)], [250, 250, 354, 250])
        self.assertEqual(sink.stop()["out_of_turn"], 1)

    def test_latency_holds_each_reply_back_but_not_one_behind_the_other(self):
        raw = self.connect(self.sink("--latency", "100", "--latency-dot", "300"))
        groups = []
        while len(groups) < 10 and min(groups, default=1) >= 0.29:  # a busy machine takes longer, but not each time
            start = time.monotonic()
            raw.send(b"MAIL FROM:<s@x.test>\r\nRCPT TO:<a@y.test>\r\nDATA\r\n")
            self.assertEqual([raw.reply()[0] for _ in range(3)], [250, 250, 354])
            groups.append(time.monotonic() - start)
            raw.send(MESSAGE + b".\r\n")
            raw.reply()
            dot = time.monotonic() - start - groups[-1]
            self.assertTrue(0.3 <= dot < 3, dot)
        self.assertTrue(0.1 <= min(groups) < 0.29, groups)  # one behind the other would be 0.3

    def test_defer_refuses_once_and_takes_the_second_time(self):
        sink = self.sink("--defer", "0.5", "--seed", "7")
        raw = self.connect(sink)
        names = ["r%d@y.test" % i for i in range(200)]
        first = {n: raw.mail(n)[-1] for n in names}
        again = {n: raw.mail(n)[-1] for n in names if first[n] == 451}
        self.assertEqual(set(first.values()), {250, 451})
        self.assertTrue(60 < len(again) < 140, len(again))
        self.assertEqual(set(again.values()), {250})
        ledger = sink.stop()
        self.assertEqual((ledger["deferred"], ledger["recipients"], ledger["duplicates"]), (len(again), 200, 0))
        self.assertEqual({l.text for l in sink.log() if l.event == "deferred"}, set(again))

    def test_unknown_refuses_the_same_ones_always(self):
        refused = []
        for _ in range(2):
            sink = self.sink("--unknown", "0.2", "--seed", "3")
            raw = self.connect(sink)
            names = ["r%d@y.test" % i for i in range(200)]
            refused.append({n for n in names if raw.mail(n)[1] == 550})
            self.assertEqual(raw.mail(min(refused[-1]))[1], 550)
            self.assertEqual(sink.stop()["recipients_refused"], len(refused[-1]) + 1)
        self.assertEqual(refused[0], refused[1])
        self.assertTrue(15 < len(refused[0]) < 70, len(refused[0]))

    def test_unknown_file_names_those_refused(self):
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("gone@y.test\r\nleft@y.test\n")
            f.flush()
            raw = self.connect(self.sink("--unknown-file", f.name))
        self.assertEqual(raw.mail("gone@y.test"), [250, 550])
        self.assertEqual(raw.mail("left@y.test"), [250, 550])
        self.assertEqual(raw.mail("here@y.test"), [250, 250, 354, 250])

    def test_drop_happens_in_every_phase_and_nothing_is_lost_from_the_count(self):
        sink = self.sink("--drop", "0.5")
        taken = 0
        for i in range(300):
            raw = None
            try:
                raw = Raw(sink.ports[0])
                if raw.greeting[0] == 220 and raw.ask(b"EHLO me.test\r\n") == 250:
                    codes = raw.mail("r%d@y.test" % i)
                    taken += codes[-1] == 250
            except ConnectionError:
                pass
            finally:
                if raw:
                    raw.close()
        ledger = sink.stop()
        for phase in ("banner", "ehlo", "mail", "rcpt", "data", "body", "dot"):
            self.assertTrue(ledger["dropped_" + phase] > 0, phase)
        self.assertEqual(ledger["accepted"], taken)
        self.assertEqual(ledger["ambiguous"], ledger["dropped_dot"])
        self.assertEqual(ledger["recipients"], taken + ledger["ambiguous"])
        self.assertEqual(sum(sink.delivered().values()), taken + ledger["ambiguous"])
        self.assertEqual(ledger["abandoned"], 0)

    def test_drop_dot_takes_the_message_and_says_nothing(self):
        sink = self.sink("--drop-dot", "1")
        raw = self.connect(sink)
        self.assertEqual(raw.mail("a@y.test"), [250, 250, 354, 0])
        ledger = sink.stop()
        self.assertEqual((ledger["accepted"], ledger["ambiguous"], ledger["recipients"]), (0, 1, 1))
        self.assertEqual([l.event for l in sink.log()], ["ambiguous"])

    def test_a_client_that_leaves_before_the_reply_makes_it_ambiguous(self):
        sink = self.sink("--latency-dot", "5000")
        raw = connect(sink.ports[0])
        raw.send(b"MAIL FROM:<s@x.test>\r\nRCPT TO:<a@y.test>\r\nDATA\r\n")
        [raw.reply() for _ in range(3)]
        raw.send(MESSAGE + b".\r\n")
        time.sleep(0.1)
        self.assertEqual(sink.ledger()["accepted"], 0)
        raw.close()
        self.until(lambda: sink.ledger()["ambiguous"] == 1)
        ledger = sink.stop()
        self.assertEqual((ledger["accepted"], ledger["ambiguous"], ledger["recipients"]), (0, 1, 1))

    def test_a_client_that_leaves_in_the_body_delivers_nothing(self):
        sink = self.sink()
        raw = connect(sink.ports[0])
        raw.send(b"MAIL FROM:<s@x.test>\r\nRCPT TO:<a@y.test>\r\nDATA\r\n")
        [raw.reply() for _ in range(3)]
        raw.send(MESSAGE + b".\r")
        raw.close()
        self.until(lambda: sink.ledger()["abandoned"] == 1)
        ledger = sink.stop()
        self.assertEqual((ledger["recipients"], ledger["abandoned"]), (0, 1))

    def test_connections_above_the_cap_get_421(self):
        sink = self.sink("--cap-connections", "2")
        first, second = connect(sink.ports[0]), connect(sink.ports[0])
        third = Raw(sink.ports[0])
        self.assertEqual(third.greeting[0], 421)
        self.assertEqual(third.reply()[0], 0)
        for raw in (first, second, third):
            raw.close()
        self.assertEqual(sink.ledger()["connections_refused"], 1)
        deadline = time.monotonic() + 20
        while Raw(sink.ports[0]).greeting[0] == 421 and time.monotonic() < deadline:
            time.sleep(0.01)
        ledger = sink.stop()
        self.assertEqual((ledger["connections"], ledger["max_connections_at_once"]), (3, 2))

    def test_messages_above_the_cap_get_421(self):
        raw = self.connect(self.sink("--cap-messages", "2"))
        self.assertEqual([raw.mail("a@y.test")[-1] for _ in range(3)], [250, 250, 421])
        self.assertEqual(raw.reply()[0], 0)

    def test_fixed_replies(self):
        for option, codes in ((("--reply-mail", "450 4.7.1 slow\\ndown"), [450]),
                              (("--reply-rcpt", "550 5.7.1 no"), [250, 550]),
                              (("--reply-rcpt", "251 2.1.5 will forward"), [250, 251]),
                              (("--reply-data", "451 4.3.0 not now"), [250, 250, 451]),
                              (("--reply-dot", "554 5.7.1 spam"), [250, 250, 354, 554]),
                              (("--reply-dot", "421 4.7.0 bye"), [250, 250, 354, 421]),
                              (("--reply-dot", "250 2.6.0 as you like"), [250, 250, 354, 250])):
            sink = self.sink(*option)
            raw = self.connect(sink)
            self.assertEqual(raw.mail("a@y.test"), codes, option)
            ledger = sink.stop()
            self.assertEqual(ledger["accepted"], codes == [250, 250, 354, 250], option)
            self.assertEqual(ledger["messages_refused"], len(codes) == 4 and codes[3] > 400, option)
        raw = Raw(self.sink("--reply-mail", "450 4.7.1 slow\\ndown").ports[0])
        self.addCleanup(raw.close)
        raw.ask(b"EHLO me.test\r\n")
        raw.send(b"MAIL FROM:<>\r\n")
        self.assertEqual(raw.reply(), (450, ["450-4.7.1 slow", "450 down"]))

    def test_stored_messages_are_what_was_sent(self):
        with tempfile.TemporaryDirectory() as d:
            sink = self.sink("--store", d, "--store-every", "2")
            raw = self.connect(sink)
            for i in range(4):
                raw.mail("r%d@y.test" % i, b"Subject: %d\r\n\r\n..dot\r\nend\r\n" % i)
            stored = sink.stored()
        self.assertEqual([m for _, m in stored], [b"Subject: %d\r\n\r\n.dot\r\nend\r\n" % i for i in (0, 2)])
        self.assertEqual(stored[1][0]["recipients"], ["r2@y.test"])
        self.assertEqual(stored[1][0]["sender"], "s@x.test")

    def test_the_log_has_mail_connect_and_disconnect_when_asked(self):
        sink = self.sink("--log-mail")
        before = time.time() * 1e6
        raw = connect(sink.ports[0])
        raw.mail("a@y.test")
        raw.ask(b"QUIT\r\n")
        raw.close()
        self.until(lambda: any(l.event == "disconnect" for l in sink.log()))
        sink.stop()
        self.assertEqual([l.event for l in sink.log()], ["connect", "mail", "accepted", "disconnect"])
        self.assertTrue(all(before - 1000 <= l.time_us <= time.time() * 1e6 for l in sink.log()))
        self.assertEqual({l.port for l in sink.log()}, {sink.ports[0]})

    def test_the_log_has_the_moment_at_which_a_message_was_there(self):
        sink = self.sink("--log-dot")
        raw = connect(sink.ports[0])
        for behind in (b"", b"NOOP\r\n"):
            self.assertEqual([raw.ask(line) for line in (b"MAIL FROM:<s@x.test>\r\n", b"RCPT TO:<a@y.test>\r\n",
                                                         b"DATA\r\n")], [250, 250, 354])
            raw.send(MESSAGE)
            time.sleep(0.1)
            sink.process.send_signal(signal.SIGSTOP)  # it will read late, and that does not count
            before = time.time() * 1e6
            raw.send(b".\r\n")
            after = time.time() * 1e6
            if behind:
                time.sleep(0.2)
                raw.send(behind)
                after = time.time() * 1e6
            time.sleep(0.4)
            sink.process.send_signal(signal.SIGCONT)
            self.assertEqual(raw.reply()[0], 250)
            dot, accepted = [l for l in sink.log() if l.event != "mail"][-2:]
            self.assertEqual((dot.event, dot.text), ("dot-by" if behind else "dot", "a@y.test"))
            self.assertGreaterEqual(dot.time_us, before + (200000 if behind else -1000))
            self.assertLess(dot.time_us, after + 200000)
            self.assertGreater(accepted.time_us, after + 350000)
            if behind:
                self.assertEqual(raw.reply()[0], 250)
        raw.close()

    def test_each_listener_has_its_figures(self):
        sink = self.sink(listen=("127.0.0.1:0", "127.0.0.1:0"))
        for port, count in zip(sink.ports, (1, 2)):
            raw = connect(port)
            for i in range(count):
                raw.mail("r%d@y.test" % i)
            raw.close()
        ledger = sink.stop()
        self.assertEqual([l["accepted"] for l in ledger["listeners"]], [1, 2])
        self.assertEqual((ledger["accepted"], ledger["recipients"], ledger["duplicates"]), (3, 2, 1))

    def test_bare_line_ends_and_long_lines_are_counted(self):
        sink = self.sink()
        raw = self.connect(sink)
        raw.mail("a@y.test", b"Subject: x\n\r\n" + b"x" * 999 + b"\r\n")
        ledger = sink.stop()
        self.assertEqual((ledger["bare_lf"], ledger["long_lines"]), (1, 1))

    def test_many_recipients_and_a_thousand_at_most(self):
        sink = self.sink()
        raw = self.connect(sink)
        raw.ask(b"MAIL FROM:<s@x.test>\r\n")
        raw.send(b"".join(b"RCPT TO:<r%d@y.test>\r\n" % i for i in range(1001)))
        codes = [raw.reply()[0] for _ in range(1001)]
        self.assertEqual(codes, [250] * 1000 + [452])
        self.assertEqual((raw.ask(b"DATA\r\n"), raw.ask(MESSAGE + b".\r\n")), (354, 250))
        ledger = sink.stop()
        self.assertEqual((ledger["accepted"], ledger["recipients"]), (1, 1000))

    def blast(self, sink, *options):
        done = subprocess.run([os.path.join(BUILD, "bench", "blast"), "--to", "127.0.0.1:%d" % sink.ports[0], *options],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_the_bare_loop_and_the_sink_agree_on_every_message(self):
        for sink_options, blast_options in (([], []), (["--tls", "auto"], ["--tls"]), (["--latency-dot", "3"], []),
                                            (["--latency", "2", "--tls", "auto"], ["--tls"]), ([], ["--connection-each"]),
                                            (["--tls", "auto"], ["--tls", "--connection-each"])):
            sink = self.sink(*sink_options)
            figures = self.blast(sink, "--messages", "3000", "--connections", "30", *blast_options)
            ledger = sink.stop()
            self.assertEqual(figures["messages"], 3000)
            self.assertEqual((ledger["accepted"], ledger["recipients"], ledger["duplicates"]), (3000, 3000, 0))
            self.assertEqual((ledger["bytes"], ledger["out_of_turn"]), (figures["bytes"], 0))
            self.assertEqual(ledger["connections"], 3000 if "--connection-each" in blast_options else 30)
            self.assertEqual(sink.delivered(), {"r%d@domain%d.test" % (i, i % 1000): 1 for i in range(1, 3001)})

    def test_a_large_message_arrives_whole(self):
        for options, blast_options in (([], []), (["--tls", "auto"], ["--tls"])):
            sink = self.sink(*options)
            figures = self.blast(sink, "--messages", "4", "--connections", "2", "--size", "16000000", *blast_options)
            self.assertEqual(sink.stop()["bytes"], figures["bytes"])

    def test_a_client_that_never_stops_asking_is_answered_in_order(self):
        raw = self.connect(self.sink("--latency", "20"))
        for i in range(300):
            raw.send(b"NOOP\r\n" if i % 3 else b"VRFY a\r\n")
            time.sleep(0.001)
        self.assertEqual([raw.reply()[0] for _ in range(300)], [250 if i % 3 else 252 for i in range(300)])

    def test_a_client_that_does_not_read_is_not_read_from(self):
        sink = self.sink()
        raw = self.connect(sink)
        raw.socket.settimeout(1)
        sent = 0
        with self.assertRaises(TimeoutError):
            while sent < 200_000_000:
                sent += raw.socket.send(b"NOOP\r\n" * 10000)
        with open("/proc/%d/statm" % sink.process.pid) as f:
            self.assertLess(int(f.read().split()[1]) * 4096, 100_000_000)

    def test_bad_usage_is_one_line_and_status_2(self):
        for arguments, words in (([], "--listen 127.0.0.1:2525"), (["--listen", "here"], "ADDRESS:PORT"),
                                 (["--defer", "2"], "share"), (["--what"], "no such option"),
                                 (["--listen", "127.0.0.1:0", "--implicit-tls"], "--tls auto"),
                                 (["--latency"], "missing"), (["--reply-dot", "no"], "code"),
                                 (["--listen", "127.0.0.1:0", "--log-mail"], "--log FILE"),
                                 (["--listen", "127.0.0.1:0", "--log-dot", "--log", "x", "--tls", "auto"],
                                  "without --tls")):
            done = subprocess.run([os.path.join(BUILD, "bench", "sink")] + arguments, capture_output=True, text=True,
                                  timeout=20)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
