"""The sink as a receiver for tests: Sink(build, "--tls", "auto").start() -> port; .stop(); .ledger(); .log().

Files of a sink (ledger, log, stored messages) lie in a directory of its own that goes away with stop().
Nothing here is a test.
"""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter, namedtuple

Line = namedtuple("Line", "time_us event connection tls port text")


class Sink:
    def __init__(self, build, *options, listen=("127.0.0.1:0",), log=True, directory=None):
        self.program = os.path.join(build, "bench", "sink")
        self.options = list(options)
        self.listen = listen
        self.with_log = log
        self.made = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="sink-")
        self.process = None
        self.ports = []
        self.output = ""
        self.status = None
        self._ledger = None
        self._log = None

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self):
        """Start, wait until it listens; the (first) port."""
        command = [self.program, "--ledger", self.path("ledger.json")]
        if self.with_log:
            command += ["--log", self.path("log")]
        for address in self.listen:
            command += ["--listen", address]
        self.process = subprocess.Popen(command + self.options, stdout=subprocess.PIPE, text=True)
        for _ in self.listen:
            line = self.process.stdout.readline()
            if not line.startswith("ready "):
                self.process.wait()
                raise RuntimeError("the sink did not start: %r" % (line,))
            self.ports.append(int(line.rsplit(":", 1)[1]))
        return self.ports[0]

    def stop(self):
        """End it; the ledger and the log stay readable. Returns the ledger."""
        if self.process is not None and self.status is None:
            self.process.send_signal(signal.SIGTERM)
            self.output = self.process.communicate(timeout=60)[0]
            self.status = self.process.returncode
            self._ledger = self._read_ledger()
            self._log = self._read_log()
            if self.status != 0:
                raise RuntimeError("the sink ended with status %d" % self.status)
        if self.made:
            shutil.rmtree(self.directory, ignore_errors=True)
        return self._ledger

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def _read_ledger(self):
        with open(self.path("ledger.json")) as f:
            return json.load(f)

    def _read_log(self):
        if not self.with_log:
            return []
        lines = []
        with open(self.path("log"), encoding="utf-8", errors="surrogateescape") as f:
            for line in f:
                if line.endswith("\n"):
                    at, event, connection, tls, port, text = line[:-1].split(" ", 5)
                    lines.append(Line(int(at), event, int(connection), tls == "1", int(port), text))
        return lines

    def ledger(self):
        """The figures now (asks a running sink for them and waits until they are written)."""
        if self._ledger is not None:
            return self._ledger
        path = self.path("ledger.json")
        before = self._written(path)
        self.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 30
        while self._written(path) in (None, before):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("the sink wrote no ledger")
            time.sleep(0.005)
        return self._read_ledger()

    @staticmethod
    def _written(path):
        """Which of the files that replace each other there; two of them may be made within one tick of the file system."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def log(self):
        """Lines so far; of a running sink up to the moment of the call."""
        if self._log is not None:
            return self._log
        self.ledger()
        return self._read_log()

    def delivered(self):
        """How often each recipient was delivered to, replies that were never sent included."""
        return Counter(l.text for l in self.log() if l.event in ("accepted", "ambiguous"))

    def stored(self):
        """(envelope, message bytes) of each stored message. Read before stop()."""
        directory = self.options[self.options.index("--store") + 1]
        out = []
        for name in sorted(os.listdir(directory)):
            if name.endswith(".eml"):
                with open(os.path.join(directory, name), "rb") as f:
                    message = f.read()
                with open(os.path.join(directory, name[:-4] + ".json")) as f:
                    out.append((json.load(f), message))
        return out
