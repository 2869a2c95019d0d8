#!/usr/bin/python3
"""One worker against bench/sink, which drops connections at random phases: every recipient is told as it was.

Usage: worker_sink.py BUILD_DIR

What the worker calls sent was accepted exactly once; what was accepted is sent or unknown; what was refused is
bounced, what was put off is deferred; nothing is without an outcome. For plain and TLS, with and without PIPELINING.
"""
import collections
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else "build/release"
RECIPIENTS = 3000
MESSAGE = "From: News <news@me.test>\nTo: <{{email}}>\nSubject: For {{email}}\n\nHello\n" + "some more text\n" * 200


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
            return [int(child) for child in f.read().split()]
    except FileNotFoundError:
        return []


def sockets(pid):
    folder, count = f"/proc/{pid}/fd", 0
    for fd in os.listdir(folder):
        try:
            count += os.readlink(os.path.join(folder, fd)).startswith("socket:")
        except FileNotFoundError:
            pass
    return count


def anonymous_kb(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return int(next(line for line in f if line.startswith("RssAnon")).split()[1])


class WorkerAndSink(unittest.TestCase):
    def write_case(self, folder, port, tls, **plan):
        with open(f"{folder}/hikyaku.conf", "w", encoding="utf-8") as out:
            out.write(f'hostname = "me.test"\nstate_dir = "{folder}/state"\n'
                      'sender { from_domain = "me.test" return_path = "bounce.me.test" secret_file = "verp.key" }\n')
        with open(f"{folder}/list.csv", "w", encoding="utf-8") as out:
            out.write("email\n" + "".join(f"user{i}@x.test\n" for i in range(RECIPIENTS)))
        with open(f"{folder}/message.eml", "w", encoding="utf-8") as out:
            out.write(MESSAGE)
        with open(f"{folder}/plan.json", "w", encoding="utf-8") as out:
            json.dump({"list": f"{folder}/list.csv", "message": f"{folder}/message.eml", "port": port,
                       "addresses": ["127.0.0.1"], "mx": ["mx.test"], "tls": tls, "conns": 8, "window": 3,
                       "reopen": 100000, "stop_when_done": 1, "timeout_ms": 60000, **plan}, out)

    def drive(self, tls, *options):
        with tempfile.TemporaryDirectory(prefix="worker-sink-") as folder:
            port = free_port()
            self.write_case(folder, port, tls)
            sink = subprocess.Popen([f"{BUILD}/bench/sink", "--listen", f"127.0.0.1:{port}", "--log", f"{folder}/log",
                                     "--quiet", "--drop", "0.03", "--drop-dot", "0.01", "--unknown", "0.05", "--defer",
                                     "0.05", *options], stdout=subprocess.PIPE)
            try:
                sink.stdout.readline()  # "ready ..."
                result = subprocess.run([f"{BUILD}/worker/worker_drive", f"{folder}/hikyaku.conf",
                                         f"{folder}/plan.json"], capture_output=True, text=True, timeout=100, check=False)
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                time.sleep(0.2)
            finally:
                sink.send_signal(signal.SIGTERM)
                sink.wait(10)
                sink.stdout.close()
            events = collections.defaultdict(collections.Counter)
            with open(f"{folder}/log", encoding="utf-8") as log:
                for line in log:
                    field = line.split()
                    events[field[1]][field[-1]] += 1
            return json.loads(result.stdout), events

    def judge(self, report, events):
        result = {o["recipient"]: o["result"] for o in report["outcomes"]}
        self.assertEqual({o["flight"] for o in report["outcomes"]}, {"done"})
        for recipient, what in result.items():
            arrived = events["accepted"][recipient] + events["ambiguous"][recipient]
            self.assertLessEqual(arrived, 1, recipient)
            if what == "sent":
                self.assertEqual(arrived, 1, recipient)
            elif what != "unknown":
                self.assertEqual(arrived, 0, (recipient, what))
            if what == "bounced":
                self.assertEqual(events["refused"][recipient], 1, recipient)
        counts = collections.Counter(result.values())
        self.assertGreater(counts["sent"], RECIPIENTS / 2)
        for what in ("bounced", "deferred", "unknown", "returned"):
            self.assertGreater(counts[what], 0, what)
        self.assertEqual(report["counters"]["bugs_contained"], 0)
        return report

    def memory_of_waiting(self, conns):
        """What the worker has in memory of its own, in kB, while so many connections wait for their greeting."""
        with tempfile.TemporaryDirectory(prefix="worker-sink-") as folder:
            port = free_port()
            self.write_case(folder, port, 0, conns=conns)
            sink = subprocess.Popen([f"{BUILD}/bench/sink", "--listen", f"127.0.0.1:{port}", "--quiet", "--latency", "60000"],
                                    stdout=subprocess.PIPE)
            sink.stdout.readline()  # "ready ..."
            drive = subprocess.Popen([f"{BUILD}/worker/worker_drive", f"{folder}/hikyaku.conf", f"{folder}/plan.json"],
                                     stdout=subprocess.DEVNULL)
            worker = None
            try:
                for _ in range(3000):
                    worker = worker or next((pid for child in children(drive.pid) for pid in children(child)), None)
                    if worker and sockets(worker) >= conns:
                        return anonymous_kb(worker)
                    time.sleep(0.01)
                self.fail(f"{worker and sockets(worker)} of {conns} connections after 30 s")
            finally:
                if worker:
                    os.kill(worker, signal.SIGKILL)  # then the drive ends by itself
                else:
                    drive.kill()
                drive.wait(30)
                sink.kill()
                sink.wait()
                sink.stdout.close()

    def test_a_connection_that_waits_holds_no_buffers(self):
        """They are 20 kB for each that reads or writes; here nobody does."""
        few, many = self.memory_of_waiting(20), self.memory_of_waiting(520)
        self.assertLess(many - few, 2500)

    def test_in_plain(self):
        self.judge(*self.drive(0))

    def test_without_pipelining(self):
        self.judge(*self.drive(0, "--no-pipelining"))

    def test_under_tls_sessions_are_resumed(self):
        report = self.judge(*self.drive(2, "--tls", "auto"))
        self.assertGreater(report["counters"]["tls_resumed"], 10)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
