#!/usr/bin/python3
"""What bench/peers measures with: its mail servers take their settings and deliver, bench/inject hands over what it should.

Usage: bench_peers.py BUILD_DIR [unittest arguments]

Sizes are tiny and no figure is judged. What bench/peers/deps fetches (opendkim, nodemailer) is not needed here, and not tested.
"""
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.realpath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(ROOT, "build", "release")
sys.path[:0] = [os.path.join(ROOT, "bench"), os.path.join(ROOT, "bench", "peers")]
import senders  # noqa: E402
from nsd import free_port  # noqa: E402
from sinks import Sink  # noqa: E402


def load_run():
    """bench/peers/run has no .py behind its name."""
    loader = importlib.machinery.SourceFileLoader("peers_run", os.path.join(ROOT, "bench", "peers", "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("peers_run", loader))
    loader.exec_module(module)
    return module


RUN = load_run()
PEOPLE = 12


class Handing(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="hikyaku-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        os.chmod(self.folder, 0o755)
        os.mkdir(os.path.join(self.folder, "kept"))

    def sink(self, *options):
        sink = Sink(BUILD, "--quiet", "--store", os.path.join(self.folder, "kept"), *options, listen=("127.0.0.2:0",))
        sink.start()
        self.addCleanup(sink.stop)
        return sink

    def job(self, sink):
        errors = open(os.path.join(self.folder, "errors"), "w+", encoding="utf-8")
        self.addCleanup(errors.close)
        job = senders.Job(BUILD, self.folder, RUN.CASES["unsigned"], ("127.0.0.2", sink.ports[0]),
                          (senders.ADDRESS, free_port(senders.ADDRESS)), errors)
        RUN.write_inputs(job, PEOPLE)
        return job

    def kept(self):
        folder = os.path.join(self.folder, "kept")
        return [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".eml")]

    def everybody_once(self, sink, job):
        deadline = time.monotonic() + 30
        while sum(sink.delivered().values()) < PEOPLE and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(sink.delivered(), {f"reader{i}@d{i}.bench.test": 1 for i in range(PEOPLE)})
        self.assertEqual(len(self.kept()), PEOPLE)
        self.assertEqual(list(RUN.wrong_with(job, self.kept())), [])

    def inject(self, sink, *options):
        job = self.job(sink)
        done = subprocess.run([os.path.join(BUILD, "bench", "inject"), "--to", f"127.0.0.2:{sink.ports[0]}", "--list",
                               job.path("list.csv"), "--message", job.path("ready.eml"), *options], capture_output=True, text=True,
                              timeout=30, check=False)
        return job, done

    def test_each_row_is_handed_over_once_and_is_personal(self):
        sink = self.sink()
        job, done = self.inject(sink, "--connections", "5")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.everybody_once(sink, job)

    def test_a_server_without_pipelining_is_waited_for(self):
        sink = self.sink("--no-pipelining")
        job, done = self.inject(sink, "--connections", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.everybody_once(sink, job)
        self.assertEqual(sink.ledger()["out_of_turn"], 0)

    def test_a_server_that_refuses_is_not_taken_for_a_fast_one(self):
        _, done = self.inject(self.sink("--reply-rcpt", "550 5.1.1 no"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("the server answered 550 5.1.1 no", done.stderr)

    def test_a_name_that_its_memory_is_not_made_for_is_refused(self):
        sink = self.sink()
        job = self.job(sink)
        with open(job.path("list.csv"), "w", encoding="utf-8") as f:
            f.write("email,name\na@a.test,Ann\nb@a.test," + "B" * 5000 + "\n")
        done = subprocess.run([os.path.join(BUILD, "bench", "inject"), "--to", f"127.0.0.2:{sink.ports[0]}", "--list",
                               job.path("list.csv"), "--message", job.path("ready.eml")], capture_output=True, text=True,
                              timeout=30, check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("row 2", done.stderr)

    def delivers(self, name):
        sink = self.sink()
        job = self.job(sink)
        peer = senders.PEERS[name](job)
        peer.start()
        self.addCleanup(peer.stop)
        giving = peer.give()
        self.assertEqual(giving.wait(30), 0, peer.log())
        self.everybody_once(sink, job)

    def test_postfix_takes_its_settings_and_delivers(self):
        self.delivers("Postfix")

    def test_exim_takes_its_settings_and_delivers(self):
        self.delivers("Exim")

    def test_opensmtpd_takes_its_settings_and_delivers(self):
        self.delivers("OpenSMTPD")

    def test_a_message_that_is_not_as_it_should_be_is_told(self):
        sink = self.sink()
        job, done = self.inject(sink)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.everybody_once(sink, job)
        path = self.kept()[0]
        with open(path, "rb") as f:
            text = f.read()
        with open(path, "wb") as f:
            f.write(b"DKIM-Signature: v=1\r\n" + text.replace(b"Dear Reader", b"Dear Friend")[:5000])
        words = "; ".join(RUN.wrong_with(job, [path]))
        for wrong in ("is not his", "a message of 50", "is signed"):
            self.assertIn(wrong, words)


class Rows(unittest.TestCase):
    def test_one_inexact_round_takes_the_figure_of_all(self):
        def round_of(value, *faults):
            return {"rsa": {"Exim": {"count": 1, "messages_per_cpu_second": value, "connections": 1, "seconds": 1,
                                     "faults": list(faults)}}}
        self.assertEqual(RUN.rows_of([round_of(3), round_of(1), round_of(2)])[0]["value"], 2)
        row = RUN.rows_of([round_of(3), round_of(9, "1 duplicates"), round_of(2)])[0]
        self.assertEqual((row["value"], row["each"], row["faults"]), (None, [], ["1 duplicates"]))
        self.assertIn("NO FIGURE: 1 duplicates", RUN.text({"rows": [row]}))


class Page(unittest.TestCase):
    def page(self, *words):
        return subprocess.run([os.path.join(ROOT, "bench", "page"), *words], capture_output=True, text=True, timeout=60, check=False)

    def test_page_and_plots_are_made_of_the_results_that_are_kept(self):
        done = self.page("--check")
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_a_result_of_something_else_is_refused_and_not_kept(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            f.write('{"schema": 99}')
            f.flush()
            done = self.page("--peers", f.name)
        self.assertEqual(done.returncode, 2)
        self.assertIn("made by another version", done.stderr)
        self.assertEqual(self.page("--check").returncode, 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
