#!/usr/bin/python3
"""bench/load judged by the receiver: what it reports is what the sink counted, and what it measures is there.

Usage: load.py BUILD_DIR
"""
import collections
import email
import email.policy
import json
import logging
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import aiosmtpd.controller
import aiosmtpd.smtp
import jsonschema

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from mta import make_certificate  # noqa: E402
from nsd import die_with_parent  # noqa: E402
from postfix import Postfix  # noqa: E402
from sinks import Sink  # noqa: E402

BUILD = sys.argv[1] if len(sys.argv) > 1 else "build/release"
ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
PROGRAM = os.path.join(BUILD, "bench", "load")
WAIT_S = 60
DOT = 3  # octets of the final dot and its line end, which the sink counts too


def free_port(address="127.0.0.1"):
    with socket.socket() as s:
        s.bind((address, 0))
        return s.getsockname()[1]


def validated(text):
    report = json.loads(text)
    with open(os.path.join(ROOT, "docs", "load.schema.json"), encoding="utf-8") as f:
        jsonschema.validate(report, json.load(f))
    messages = report["messages"]
    assert messages["accepted"] + messages["failed"] + messages["unfinished"] == messages["due"], messages
    return report


class LoadCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="load-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name, content=None):
        path = os.path.join(self.folder, name)
        if content is not None:
            with open(path, "wb") as f:
                f.write(content)
        return path

    def sink(self, *options, **kw):
        sink = Sink(BUILD, *options, **kw)
        self.addCleanup(sink.stop)
        sink.start()
        return sink

    def until(self, condition):
        deadline = time.monotonic() + WAIT_S
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def until_taken(self, sink, count):
        self.until(lambda: sink.ledger()["accepted"] >= count)

    def begin(self, port, *options, host="127.0.0.1"):
        process = subprocess.Popen([PROGRAM, "--to", f"{host}:{port}", "--json", *options], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        return process

    def end(self, process, status=0):
        out, self.err = process.communicate(timeout=WAIT_S)
        self.assertEqual(process.returncode, status, (out, self.err))
        return validated(out) if out else None

    def load(self, port, *options, status=0, **kw):
        return self.end(self.begin(port, *options, **kw), status)

    def refused(self, *options, status=2):
        """What it says on standard error when it does not begin."""
        done = subprocess.run([PROGRAM, *options], capture_output=True, text=True, timeout=WAIT_S, check=False)
        self.assertEqual((done.returncode, done.stdout), (status, ""), (options, done.stderr))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done.stderr


class Counts(LoadCase):
    """What is reported is what was received."""

    def test_a_closed_loop_to_a_sink(self):
        sink = self.sink()
        report = self.load(sink.ports[0], "--messages", "2000", "--connections", "7", "--size", "1k:50,10k:40,100k:10")
        ledger = sink.stop()
        self.assertEqual(report["messages"], {"due": 2000, "accepted": 2000, "failed": 0, "unfinished": 0})
        self.assertEqual((ledger["accepted"], ledger["bytes"]), (2000, report["bytes"] + 2000 * DOT))
        self.assertEqual((ledger["recipients"], ledger["duplicates"]), (2000, 0))
        self.assertEqual((ledger["connections"], ledger["max_connections_at_once"]),
                         (report["connections"]["opened"], report["connections"]["max_at_once"]))
        self.assertEqual(report["connections"]["opened"], 7)
        for fault in ("abandoned", "bad_commands", "out_of_turn", "bare_lf", "long_lines"):
            self.assertEqual(ledger[fault], 0, fault)
        self.assertEqual((report["mode"], report["ended_by"], report["errors"]), ("closed", "messages", []))
        self.assertEqual(report["times_ms"]["latency"]["count"], 2000)
        self.assertEqual(sum(n for _, n in report["times_ms"]["latency"]["buckets"]), 2000)

    def test_an_open_loop_has_its_rate_and_is_even(self):
        sink = self.sink()
        report = self.load(sink.ports[0], "--rate", "500", "--time", "3s", "--connections", "200")
        ledger = sink.stop()
        self.assertAlmostEqual(report["messages"]["due"], 1500, delta=1)
        self.assertEqual(ledger["accepted"], report["messages"]["accepted"])
        self.assertEqual(report["messages"]["accepted"], report["messages"]["due"])
        at = [line.time_us for line in sink.log()]
        halves = [sum(t < at[0] + 1500000 for t in at), sum(t >= at[0] + 1500000 for t in at)]
        self.assertAlmostEqual(halves[0], halves[1], delta=250)  # half a second in which the machine stands still

    def test_refused_and_deferred_recipients(self):
        unknown = self.path("unknown", b"".join(b"user%d@domain.test\n" % i for i in range(0, 1000, 10)))
        for options in ([], ["--no-pipelining"], ["--rcpts-per-message", "4"]):
            with self.subTest(options):
                sink = self.sink("--unknown-file", unknown, "--defer", "0.2")
                # a message that some of its recipients get has not failed
                report = self.load(sink.ports[0], "--messages", "250", "--connections", "3", *options,
                                   status=0 if "4" in options else 1)
                ledger = sink.stop()
                rows = {(e["phase"], e["code"], e["enhanced"]): e["count"] for e in report["errors"]}
                self.assertEqual(report["recipients"]["refused"], ledger["recipients_refused"] + ledger["deferred"])
                self.assertEqual(rows[("rcpt", 550, "5.1.1")], ledger["recipients_refused"])
                self.assertEqual(sum(n for (_, code, _), n in rows.items() if code // 100 == 4), ledger["deferred"])
                self.assertGreater(ledger["deferred"], 20)
                self.assertEqual(report["messages"]["accepted"], ledger["accepted"])
                self.assertEqual(report["recipients"]["accepted"], sum(l.event == "accepted" for l in sink.log()))
                self.assertEqual((ledger["bad_commands"], ledger["out_of_turn"]), (0, 0))

    def test_a_refusal_at_each_command(self):
        for phase, code in (("mail", 452), ("rcpt", 550), ("data", 451), ("dot", 554)):
            for options in ([], ["--no-pipelining"]):
                with self.subTest(phase=phase, options=options):
                    sink = self.sink(f"--reply-{phase}", f"{code} 5.0.0 not now" if code > 499 else f"{code} 4.0.0 later")
                    report = self.load(sink.ports[0], "--messages", "50", "--connections", "2", *options, status=1)
                    self.assertEqual(report["messages"]["failed"], 50)
                    self.assertEqual([(e["phase"], e["code"], e["count"]) for e in report["errors"]], [(phase, code, 50)])
                    self.assertEqual(report["connections"]["opened"], 2)
                    self.assertEqual(sink.stop()["accepted"], 0)
                    self.assertEqual(report["times_ms"]["failed"]["count"], 50)

    def test_connections_that_are_dropped_anywhere(self):
        sink = self.sink("--drop", "0.2", "--drop-dot", "0.05")
        report = self.load(sink.ports[0], "--messages", "800", "--connections", "10", status=1)
        ledger = sink.stop()
        messages, connections = report["messages"], report["connections"]
        self.assertEqual(messages["due"], 800)
        self.assertEqual(messages["accepted"], ledger["accepted"])
        dropped = {p: ledger["dropped_" + p] for p in ("banner", "ehlo", "mail", "rcpt", "data", "body", "dot")}
        self.assertEqual(messages["failed"], sum(dropped[p] for p in ("mail", "rcpt", "data", "body", "dot")))
        self.assertEqual(connections["failed"], dropped["banner"] + dropped["ehlo"])
        self.assertEqual(connections["opened"], ledger["connections"])

    def test_connections_above_a_cap_are_refused_and_the_others_go_on(self):
        sink = self.sink("--cap-connections", "4", "--latency-dot", "10")
        report = self.load(sink.ports[0], "--messages", "300", "--connections", "12")
        ledger = sink.stop()
        self.assertEqual((report["messages"]["accepted"], ledger["accepted"]), (300, 300))
        self.assertEqual(report["connections"]["failed"], ledger["connections_refused"])
        self.assertEqual(report["connections"]["ready"], 4)
        self.assertEqual([(e["phase"], e["code"], e["count"]) for e in report["errors"]],
                         [("banner", 421, ledger["connections_refused"])])

    def test_an_open_loop_ends_with_what_was_never_answered(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections and says nothing
            report = None
            sink = self.sink("--cap-connections", "1", "--latency-dot", "300")
            report = self.load(sink.ports[0], "--rate", "100", "--time", "1s", "--drain", "500ms", "--connections", "1",
                               status=1)
            self.assertGreater(report["messages"]["unfinished"], 80)
            self.assertGreater(report["times_ms"]["latency"]["max"], 1400)
            self.assertEqual(report["times_ms"]["latency"]["count"], report["messages"]["due"])
            self.assertIn("not answered", report["notes"][-1])
            said = self.refused("--to", f"127.0.0.1:{listener.getsockname()[1]}", "--timeout", "200ms", status=3)
            self.assertIn("no reply within 200 ms", said)

    def test_messages_on_a_connection_and_sources_in_turn(self):
        sink = self.sink("--log-mail")
        report = self.load(sink.ports[0], "--messages", "600", "--source", "127.0.0.2..127.0.0.4", "--source", "127.0.0.9",
                           "--connections-per-source", "2", "--messages-per-connection", "10")
        sink.stop()
        by_connection = collections.Counter(l.connection for l in sink.log() if l.event == "accepted")
        peers = [line.text.rsplit(":", 1)[0] for line in sink.log() if line.event == "connect"]
        sources = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.9")
        self.assertEqual(max(by_connection.values()), 10)
        self.assertEqual(collections.Counter(peers[:8]), dict.fromkeys(sources, 2))
        self.assertEqual(set(peers), set(sources))
        self.assertEqual(report["connections"]["max_at_once"], 8)
        self.assertGreaterEqual(report["connections"]["opened"], 60)

    def test_two_thousand_connections(self):
        count = min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100)
        sink = self.sink("--latency-dot", "2000", log=False)
        report = self.load(sink.ports[0], "--messages", str(2 * count), "--connections", str(count), "--size", "1k")
        ledger = sink.stop()
        self.assertEqual(report["connections"]["max_at_once"], count)
        self.assertEqual((ledger["max_connections_at_once"], ledger["accepted"]), (count, 2 * count))


class Content(LoadCase):
    def test_messages_are_mail_of_exactly_their_size(self):
        store = self.path("store")
        sink = self.sink("--store", store)
        report = self.load(sink.ports[0], "--messages", "150", "--size", "600..800", "--from", "me@from.test", "--rcpt",
                           "r%d@to%d.test", "--rcpt-count", "5")
        stored = sink.stored()
        self.assertEqual(len(stored), 150)
        self.assertEqual(sum(len(message) for _, message in stored), report["bytes"])
        ids = set()
        for envelope, content in stored:
            self.assertIn(len(content), range(600, 801))
            message = email.message_from_bytes(content, policy=email.policy.SMTP)
            self.assertEqual(message.defects, [])
            self.assertEqual(envelope["sender"], "me@from.test")
            self.assertRegex(envelope["recipients"][0], r"^r([0-4])@to\1\.test$")
            self.assertEqual(message["To"], envelope["recipients"][0])
            self.assertIsNotNone(message["Date"].datetime)
            ids.add(message["Message-ID"])
        self.assertEqual(len(ids), 150)
        ledger = sink.stop()
        self.assertEqual(ledger["recipients"], 5)

    def test_a_file_arrives_as_it_is(self):
        given = b"Subject: dots\n\n.\n..two\n." + b"y" * 900 + b"\n" + b"line\n" * 30000 + b"\xe8\xaa\x9e"
        store = self.path("store")
        sink = self.sink("--store", store, "--tls", "auto")
        self.load(sink.ports[0], "--messages", "3", "--message", self.path("message", given), "--rcpt-file",
                  self.path("who", b"a@x.test\nb@x.test\n"), "--tls", "starttls")
        stored = sink.stored()
        self.assertEqual({content for _, content in stored}, {given.replace(b"\n", b"\r\n") + b"\r\n"})
        self.assertEqual(sorted(e["recipients"][0] for e, _ in stored), ["a@x.test", "a@x.test", "b@x.test"])


class Times(LoadCase):
    """What is measured is there: latencies that the sink was told to have, and stalls."""

    def test_the_latency_of_the_receiver_is_found_where_it_is(self):
        sink = self.sink("--latency", "20", "--latency-dot", "60")
        times = self.load(sink.ports[0], "--rate", "100", "--time", "2s", "--connections", "100")["times_ms"]
        for name, expected in (("mail", 20), ("dot", 60), ("service", 80), ("banner", 20)):
            # The shortest of two hundred: a busy machine makes some longer.
            self.assertTrue(expected - 1.5 <= times[name]["min"] < expected + 15, (name, times[name]))
            self.assertGreaterEqual(times[name]["p50"], times[name]["min"])
        self.assertLess(times["connect"]["min"], 15)

    def stall(self, *options):
        """Times of a run of 5 s in which the sink stands still for one second."""
        sink = self.sink(log=False)
        process = self.begin(sink.ports[0], "--time", "5s", "--size", "1k", *options)
        time.sleep(2)
        sink.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        sink.process.send_signal(signal.SIGCONT)
        report = self.end(process)
        self.assertEqual(report["messages"]["accepted"], sink.stop()["accepted"])
        return report["times_ms"]

    def test_a_stall_of_one_second_is_seen_by_the_open_loop_and_not_by_the_closed_one(self):
        """A fifth of the messages were due in that second. The closed loop sent none then, so only those that were under
        way tell of it: that is the omission which the open loop does not make."""
        closed = self.stall("--connections", "4")
        self.assertGreater(closed["latency"]["max"], 900)
        self.assertLess(closed["latency"]["p99"], 300)
        opened = self.stall("--connections", "4", "--rate", "200")
        self.assertGreater(opened["latency"]["max"], 900)
        self.assertGreater(opened["latency"]["p99"], 800)
        # Messages due in the stall waited between 1 s and nothing: a tenth of all waited for more than half of it.
        self.assertGreater(opened["latency"]["p95"], 500)
        self.assertLess(opened["latency"]["p50"], 300)
        # Of MAIL alone the open loop could not tell either.
        self.assertLess(opened["service"]["p95"], 300)

    def test_the_knee_of_a_receiver_whose_limit_is_known(self):
        """Two connections with 20 ms for the envelope and 20 ms for the dot: 50 messages a second."""
        sink = self.sink("--latency", "20")
        report = self.load(sink.ports[0], "--ramp", "30..90:20", "--step-time", "1500ms", "--connections", "2", "--knee-p99",
                           "5s")
        self.assertEqual((report["mode"], report["ended_by"]), ("ramp", "knee"), report["steps"])
        self.assertIn(report["knee"]["rate"], (30, 50), report["steps"])
        *holding, once, twice = [s["verdict"] for s in report["steps"]]
        self.assertEqual((once, twice), ("behind", "behind"))
        self.assertEqual([s["rate"] for s in report["steps"]][-2:], [report["knee"]["rate"] + 20] * 2)
        self.assertRegex(report["knee"]["reason"], r"answered, less than 95 % of")
        self.assertIn("holds", holding)

    def test_a_knee_by_latency_and_a_ramp_without_one(self):
        sink = self.sink("--latency-dot", "30")
        report = self.load(sink.ports[0], "--ramp", "20..40:20", "--step-time", "1s", "--connections", "50", "--knee-p99",
                           "20ms")
        self.assertEqual((report["ended_by"], report["knee"]["rate"]), ("knee", None))
        self.assertEqual([s["verdict"] for s in report["steps"]], ["slow", "slow"])
        report = self.load(sink.ports[0], "--ramp", "20..40:x2", "--step-time", "1s", "--connections", "50", "--knee-p99",
                           "5s", "--arrivals", "poisson", "--knee-rate", "0.5")
        self.assertEqual((report["ended_by"], report["knee"]["rate"]), ("ramp", None))
        self.assertIn("not reached", report["knee"]["reason"])
        self.assertEqual([s["rate"] for s in report["steps"]], [20, 40])


class Security(LoadCase):
    def test_tls_of_both_kinds_and_resumed(self):
        for kind, options in (("starttls", []), ("implicit", ["--implicit-tls"])):
            with self.subTest(kind):
                sink = self.sink("--tls", "auto", *options)
                report = self.load(sink.ports[0], "--messages", "200", "--connections", "3", "--tls", kind, "--tls-resume",
                                   "--messages-per-connection", "5", "--size", "1k..100k")
                ledger = sink.stop()
                self.assertEqual((ledger["accepted"], ledger["bytes"]), (200, report["bytes"] + 200 * DOT))
                connections = report["connections"]
                self.assertEqual((ledger["tls"], ledger["tls_resumed"], ledger["tls_failures"]),
                                 (connections["tls"], connections["tls_resumed"], 0))
                self.assertEqual(report["times_ms"]["tls"]["count"], connections["tls"])
                self.assertGreater(connections["tls_resumed"], 20)
                self.assertTrue(all(line.tls for line in sink.log()))

    def test_what_a_server_does_not_offer_ends_it_with_the_reason(self):
        plain, broken, hanging = self.sink(), self.sink("--tls", "auto", "--starttls", "inject"), \
            self.sink("--tls", "auto", "--starttls", "hang")
        for port, options, words in ((plain.ports[0], ["--tls", "starttls"], "does not offer STARTTLS"),
                                     (broken.ports[0], ["--tls", "starttls"], "behind the reply to STARTTLS"),
                                     (hanging.ports[0], ["--tls", "starttls", "--timeout", "300ms"], "no reply within"),
                                     (plain.ports[0], ["--tls", "implicit"], "TLS: "),
                                     (free_port(), [], "Connection refused")):
            with self.subTest(words):
                said = self.refused("--to", f"127.0.0.1:{port}", *options, status=3)
                self.assertRegex(said, f"^load: 127.0.0.1:{port} cannot be reached: .*{words}")

    def test_certificates_are_verified_when_asked(self):
        make_certificate(self.folder, "mx.load.test", "127.0.0.1")
        sink = self.sink("--tls", self.path("cert.pem"), self.path("key.pem"))
        to = ["--to", f"127.0.0.1:{sink.ports[0]}", "--tls", "starttls", "--messages", "3"]
        self.load(sink.ports[0], *to[2:], "--tls-ca", self.path("cert.pem"))
        self.assertIn("certificate: ", self.refused(*to, "--tls-ca", "system", status=3))
        wrong = self.refused("--to", f"localhost:{sink.ports[0]}", *to[2:], "--tls-ca", self.path("cert.pem"), status=3)
        self.assertIn("certificate: hostname mismatch", wrong)

    def test_auth_with_both_mechanisms_and_a_wrong_password(self):
        seen = []

        class Authenticator:
            def __call__(self, _server, _session, _envelope, mechanism, data):
                seen.append((mechanism, data.login, data.password))
                good = data.password == b"s3cret-word"
                return aiosmtpd.smtp.AuthResult(success=good, handled=False, message=None if good else
                                                f"535 5.7.8 {data.password.decode()} is not it")

        class Handler:
            async def handle_DATA(self, _server, session, _envelope):
                return "250 kept" if session.authenticated else "530 log in"

        make_certificate(self.folder, "mx.load.test", "127.0.0.1")
        port = free_port()
        context = aiosmtpd.controller.ssl.SSLContext(aiosmtpd.controller.ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("cert.pem"), self.path("key.pem"))
        controller = aiosmtpd.controller.Controller(Handler(), hostname="127.0.0.1", port=port, tls_context=context,
                                                    authenticator=Authenticator(), auth_required=True)
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # it warns of its own deprecations at every log-in
        controller.start()
        self.addCleanup(controller.stop)
        good, bad = self.path("good", b"s3cret-word\nrest\n"), self.path("bad", b"wr0ng-word")
        for auth in ([], ["--auth", "plain"], ["--auth", "login"]):
            report = self.load(port, "--tls", "starttls", "--user", "jo", "--password-file", good, "--messages", "20", *auth)
            self.assertEqual((report["messages"]["accepted"], report["server"]["auth"]), (20, True))
        self.assertEqual({s[0] for s in seen}, {"PLAIN", "LOGIN"})
        self.assertEqual({s[1:] for s in seen}, {(b"jo", b"s3cret-word")})
        said = self.refused("--to", f"127.0.0.1:{port}", "--tls", "starttls", "--user", "jo", "--password-file", bad, status=3)
        self.assertIn("AUTH was refused: 535 (a text with the password in it)", said)
        self.assertNotIn("wr0ng", said)

    def test_a_password_never_goes_out_in_the_clear(self):
        secret = self.path("secret", b"s3cret\n")
        said = self.refused("--to", "127.0.0.1:9", "--user", "jo", "--password-file", secret)
        self.assertIn("--tls starttls", said)
        self.assertIn("--tls-ca", self.refused("--to", "192.0.2.1:9", "--i-own-this-server", "192.0.2.1", "--tls", "implicit",
                                               "--user", "jo", "--password-file", secret))

    def test_only_a_server_of_ones_own(self):
        """In a network namespace of its own, where 192.0.2.1 is a sink."""
        if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
            self.fail("network namespaces need root")
        script = ("ip link set lo up && ip addr add 192.0.2.1/32 dev lo && "
                  "exec %s %s %s inside" % (sys.executable, os.path.abspath(__file__), os.path.realpath(BUILD)))
        done = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, timeout=WAIT_S,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("five tries", done.stdout)

    @staticmethod
    def inside():
        sink = Sink(BUILD, listen=("192.0.2.1:2525",))
        sink.start()

        def tried(host, *options):
            return subprocess.run([PROGRAM, "--to", host + ":2525", "--messages", "5", *options], capture_output=True,
                                  text=True, timeout=WAIT_S, check=False)
        refusals = [tried("192.0.2.1"), tried("192.0.2.1", "--i-own-this-server", "192.0.2.2"),
                    tried("192.0.2.1", "--i-own-this-server", "127.0.0.1"),
                    tried("[::ffff:192.0.2.1]", "--i-own-this-server", "192.0.2.1")]
        assert [r.returncode for r in refusals] == [2, 2, 2, 2], refusals
        assert all("--i-own-this-server" in r.stderr for r in refusals), refusals
        assert sink.ledger()["connections"] == 0
        taken = tried("192.0.2.1", "--i-own-this-server", "192.0.2.1")
        assert taken.returncode == 0, taken.stderr
        assert sink.stop()["accepted"] == 5
        print("five tries")


class Usage(LoadCase):
    def test_bad_input_says_what_to_write_instead(self):
        to = ["--to", "127.0.0.1:2525"]
        empty, not_there = self.path("empty", b""), self.path("not-there")
        lines = self.path("lines", b"a@x.test\nnobody\n")
        for options, words in (
                ([], "write --to 127.0.0.1:2525"),
                (["--to", "127.0.0.1"], "write HOST:PORT"), (["--to", "::1:25"], "[::1]:2525"),
                (["--to", "127.0.0.1:smtp"], "from 1 to 65535"), (["--to", "127.0.0.1:65536"], "from 1 to 65535"),
                ([*to, "--rate", "0"], "from 1 to"), ([*to, "--rate", "5x"], "whole number"),
                ([*to, "--rate", "5", "--ramp", "1..2:1"], "one of them"), ([*to, "--ramp", "9..1:1"], "FROM..TO:STEP"),
                ([*to, "--time", "10"], "500ms, 10s or 5min"), ([*to, "--time", "5d"], "500ms, 10s or 5min"),
                ([*to, "--size", "10kb"], "write a size (10k)"), ([*to, "--size", "50"], "the header alone"),
                ([*to, "--size", "1k", "--message", lines], "one of them"),
                ([*to, "--message", empty], "write a message"), ([*to, "--message", not_there], not_there),
                ([*to, "--rcpt", "nobody"], "user@domain.test"), ([*to, "--rcpt", "%x@a.test"], "%d"),
                ([*to, "--rcpt-file", lines], "lines:2: is no address"), ([*to, "--rcpt-file", empty], "one a line"),
                ([*to, "--rcpt", "a@b.test", "--rcpt-file", lines], "one of them"),
                ([*to, "--from", "a@b> X"], "--from"), ([*to, "--helo", "a b"], "write a host name"),
                ([*to, "--tls", "yes"], "starttls | implicit"), ([*to, "--tls-resume"], "need --tls"),
                ([*to, "--auth", "plain"], "need --user"), ([*to, "--user", "a"], "--password-file"),
                ([*to, "--source", "localhost"], "write an address"), ([*to, "--source", "::1"], "other family"),
                ([*to, "--source", "127.0.0.9..127.0.0.2"], "first and last"),
                ([*to, "--source", "127.0.0.1..127.0.9.9"], "at most 1024"),
                ([*to, "--connections", "5", "--connections-per-source", "2"], "write --connections 2"),
                ([*to, "--connections", "0"], "from 1 to"), ([*to, "--arrivals", "poisson"], "needs --rate"),
                ([*to, "--knee-rate", "95"], "share from 0 to 1"), ([*to, "--what"], "no such option"),
                ([*to, "--size"], "value is missing"), ([*to, "word"], "what is this?")):
            with self.subTest(options):
                self.assertIn(words, self.refused(*options))
        self.assertIn("bad.invalid", self.refused("--to", "bad.invalid:25", status=3))

    def test_the_limit_of_descriptors_is_said(self):
        done = subprocess.run(["sh", "-c", f"ulimit -n 200 && exec {PROGRAM} --to 127.0.0.1:9 --connections 5000"],
                              capture_output=True, text=True, timeout=WAIT_S, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("may have 200 (ulimit -Hn): write --connections 168", done.stderr)

    def test_an_interrupt_ends_with_the_report_so_far(self):
        for options in (["--rate", "20", "--connections", "50"], ["--connections", "3"]):
            for number in (signal.SIGINT, signal.SIGTERM):
                sink = self.sink("--latency-dot", "50")
                process = self.begin(sink.ports[0], "--time", "10min", *options)
                self.until_taken(sink, 20)
                process.send_signal(number)
                begun = time.monotonic()
                out, err = process.communicate(timeout=WAIT_S)
                self.assertLess(time.monotonic() - begun, 60)  # of ten minutes
                report = validated(out)
                # What was due and still waited for its connection is not begun any more.
                unfinished = report["messages"]["unfinished"]
                self.assertEqual(process.returncode, 1 if unfinished else 0, err)
                self.assertLessEqual(unfinished, 10 if "--rate" in options else 0)
                self.assertEqual(report["ended_by"], "signal")
                self.assertGreater(report["messages"]["accepted"], 10)
                self.assertEqual(report["messages"]["accepted"], sink.stop()["accepted"])

    def test_a_second_interrupt_does_not_wait(self):
        sink = self.sink("--latency-dot", "60000", "--log-mail")
        process = self.begin(sink.ports[0], "--time", "10min", "--connections", "3")
        self.until(lambda: sum(line.event == "mail" for line in sink.log()) == 3)
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        report = self.end(process, 1)
        self.assertEqual(report["messages"], {"due": 3, "accepted": 0, "failed": 0, "unfinished": 3})

    def test_a_line_a_second_on_a_terminal_only(self):
        sink = self.sink()
        command = [PROGRAM, "--to", f"127.0.0.1:{sink.ports[0]}", "--rate", "100", "--time", "2500ms"]
        ours, theirs = pty.openpty()
        seen = []

        def read():
            try:
                while data := os.read(ours, 4096):
                    seen.append(data)
            except OSError:
                pass
        reader = threading.Thread(target=read)
        reader.start()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, text=True, timeout=WAIT_S, check=True)
        os.close(theirs)
        reader.join()
        os.close(ours)
        lines = b"".join(seen).decode().splitlines()
        self.assertIn(len(lines), (2, 3), lines)  # three, if its last replies took half a second
        for line in lines:
            self.assertRegex(line, r"^ +[123]s  due \d+/s  accepted \d+/s  p50 \d+\.\d ms  p99 \d+\.\d ms  waiting \d+  "
                                   r"connections \d+  failed 0$")
        self.assertNotIn("\x1b", done.stdout)
        for words in ("open loop, 100 messages a second (even)", "messages     2", "own CPU", "p99.99", "due to the last reply"):
            self.assertIn(words, done.stdout)
        quiet = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=True)
        self.assertEqual(quiet.stderr, "")

    def test_a_report_that_cannot_be_written_is_said(self):
        sink = self.sink()
        for options in ([], ["--json"]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([PROGRAM, "--to", f"127.0.0.1:{sink.ports[0]}", "--messages", "5", *options], stdout=full,
                                      stderr=subprocess.PIPE, text=True, timeout=WAIT_S, check=False)
            self.assertEqual(done.returncode, 3)
            self.assertIn("standard output: No space left", done.stderr)


class Others(LoadCase):
    """Receivers that nobody here wrote, and some that misbehave."""

    def test_postfix_gets_every_message(self):
        port = free_port("127.0.0.5")
        with Postfix("127.0.0.5", port, ["domain.test"], unknown_users=["user7@domain.test"]) as mta:
            report = self.load(port, "--rate", "100", "--messages", "200", "--connections", "10", "--tls", "starttls",
                               "--size", "1k..20k", host="127.0.0.5", status=1)
            self.assertEqual(report["messages"], {"due": 200, "accepted": 199, "failed": 1, "unfinished": 0})
            self.assertEqual([(e["phase"], e["code"], e["enhanced"], e["count"]) for e in report["errors"]],
                             [("rcpt", 550, "5.1.1", 1)])
            self.assertEqual(mta.wait(199), 199)
            arrived = collections.Counter(recipient for recipient, _ in mta.messages())
        self.assertEqual(arrived, collections.Counter(f"user{i}@domain.test" for i in range(200) if i != 7))

    def smtp_sink(self, *options):
        port = free_port()
        process = subprocess.Popen(["/usr/sbin/smtp-sink", "-u", "nobody", "-c", *options, f"127.0.0.1:{port}", "100"],
                                   stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            time.sleep(0.05)
        self.fail("smtp-sink does not start")

    def test_smtp_sink_in_its_moods(self):
        for options, accepted, row in (([], 300, None), (["-p"], 300, None), (["-r", "rcpt"], 0, ("rcpt", 450)),
                                       (["-f", "."], 0, ("dot", 500)), (["-r", "data"], 0, ("data", 450))):
            with self.subTest(options):
                port = self.smtp_sink(*options)
                report = self.load(port, "--messages", "300", "--connections", "5", "--size", "3k",
                                   status=0 if accepted else 1)
                self.assertEqual(report["messages"]["accepted"], accepted)
                self.assertEqual([(e["phase"], e["code"]) for e in report["errors"]], [row] if row else [])

    def scripted(self, answer):
        """A receiver whose replies are `answer(line)`, written octet by octet."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def talk(client):
            with client, client.makefile("rb") as lines:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                say(client, b"220-hello\r\n220 mx\r\n")
                in_data = False
                for line in lines:
                    if in_data and line != b".\r\n":
                        continue
                    reply = answer(line)
                    in_data = reply.startswith(b"354")
                    say(client, reply)
                    if reply.startswith(b"421") or line == b"QUIT\r\n":
                        return

        def say(client, text):
            for i in range(len(text)):
                client.sendall(text[i:i + 1])

        def serve():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=lambda c=client: quiet(talk, c), daemon=True).start()

        def quiet(call, *args):
            try:
                call(*args)
            except OSError:
                pass
        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    REPLIES = {b"EHLO": b"250-mx\r\n250-SIZE 10000000\r\n250 PIPELINING\r\n", b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}

    def test_replies_that_come_octet_by_octet(self):
        port = self.scripted(lambda line: self.REPLIES.get(line[:4], b"250-2.0.0 a\r\n250 2.0.0 b\r\n"))
        report = self.load(port, "--messages", "60", "--connections", "6", "--size", "1k")
        self.assertEqual(report["messages"]["accepted"], 60)

    def test_421_and_nonsense_fail_the_message_they_meet(self):
        def every_third(reply):
            count = [0]

            def answer(line):
                if line == b".\r\n":
                    count[0] += 1
                    if count[0] % 3 == 0:
                        return reply
                return self.REPLIES.get(line[:4], b"250 ok\r\n")
            return answer
        for reply, code, words in ((b"421 4.3.2 closing\r\n", 421, "closing"), (b"\x00\xffwhat\r\n", None, "not an SMTP reply"),
                                   (b"2500000000\r\n", None, "not an SMTP reply"), (b"250-" + b"x" * 20000, None, "not an SMTP")):
            with self.subTest(words):
                report = self.load(self.scripted(every_third(reply)), "--messages", "30", "--connections", "1", "--size", "1k",
                                   status=1)
                self.assertEqual((report["messages"]["accepted"], report["messages"]["failed"]), (20, 10))
                self.assertEqual([(e["phase"], e["code"], e["count"]) for e in report["errors"]], [("dot", code, 10)])
                self.assertIn(words, report["errors"][0]["text"])

    def test_a_reply_that_nobody_asked_for(self):
        port = self.scripted(lambda line: self.REPLIES.get(line[:4], b"250 ok\r\n" * (2 if line == b".\r\n" else 1)))
        report = self.load(port, "--rate", "4", "--messages", "4", "--connections", "1", "--size", "1k")
        self.assertEqual(report["messages"]["accepted"], 4)
        self.assertIn(("idle", 250, "ok"), [(e["phase"], e["code"], e["text"]) for e in report["errors"]])

    def test_a_server_that_goes_away_for_good(self):
        sink = self.sink()
        process = self.begin(sink.ports[0], "--rate", "50", "--time", "10min", "--timeout", "500ms")
        self.until_taken(sink, 20)
        taken = sink.stop()["accepted"]
        begun = time.monotonic()
        report = self.end(process, 3)
        self.assertLess(time.monotonic() - begun, 60)  # of ten minutes
        self.assertIn("cannot be reached: Connection refused", self.err)
        self.assertEqual((report["ended_by"], report["messages"]["accepted"]), ("server-lost", taken))
        self.assertGreater(report["messages"]["unfinished"], 10)

    def test_a_server_that_comes_back(self):
        """It is away for a second in the middle: connections are lost, messages wait, and all of it is in the report."""
        port = free_port()
        first = self.sink(listen=(f"127.0.0.1:{port}",))
        process = self.begin(port, "--rate", "50", "--time", "4s", "--connections", "5")
        self.until_taken(first, 20)
        taken = first.stop()["accepted"]
        time.sleep(1)
        second = self.sink(listen=(f"127.0.0.1:{port}",))
        out, err = process.communicate(timeout=WAIT_S)
        report = validated(out)
        self.assertGreater(report["connections"]["failed"], 0)
        self.assertIn(("connect", None, "Connection refused"), [(e["phase"], e["code"], e["text"]) for e in report["errors"]])
        self.assertEqual(report["messages"]["unfinished"], 0)
        self.assertLessEqual(report["messages"]["failed"], 5)
        taken += second.stop()["accepted"]
        self.assertIn(taken - report["messages"]["accepted"], range(0, 6))
        self.assertGreater(report["times_ms"]["latency"]["max"], 700)


if __name__ == "__main__":
    if sys.argv[2:] == ["inside"]:
        Security.inside()
    else:
        unittest.main(argv=[sys.argv[0]] + sys.argv[2:])
