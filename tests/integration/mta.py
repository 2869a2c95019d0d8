"""What the real MTAs of the tests have in common: a main process that is ours, a folder of its own, and the mail in it.

Configuration, spool, mail and log lie in one temporary directory. The main process runs in a session of its own, dies with
its parent, and stop() ends it by its pid. All of them need root, as the MTAs do.
"""
import email
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from nsd import die_with_parent

READY_SECONDS = 60
STOP_SECONDS = 10
ADDED_ON_TOP = {b"return-path", b"delivered-to", b"envelope-to", b"x-original-to", b"received"}


def sent_bytes(content):
    """The message as the sender wrote it: without the fields that a receiver put on top."""
    while content.split(b":", 1)[0].lower() in ADDED_ON_TOP:
        end = content.index(b"\r\n") + 2
        while content[end:end + 1] in (b" ", b"\t"):
            end = content.index(b"\r\n", end) + 2
        content = content[end:]
    return content


def make_certificate(folder, hostname, address):
    """folder/cert.pem and folder/key.pem, good for two days."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={hostname}",
                    "-addext", f"subjectAltName=DNS:{hostname},IP:{address}", "-keyout", f"{folder}/key.pem", "-out",
                    f"{folder}/cert.pem"], check=True, capture_output=True)
    os.chmod(f"{folder}/key.pem", 0o600)


class Mta:
    """new: where in its folder the mail is delivered."""
    software, new = "", ("mail", "new")

    def __init__(self, address, port, hostname, tls):
        self.address, self.port, self.hostname, self.tls = address, port, hostname, tls
        self.process, self.dir = None, None

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()

    def start(self):
        if os.geteuid() != 0:
            raise RuntimeError(f"{self.software} needs root")
        self.check()
        self.dir = tempfile.mkdtemp(prefix=self.software + "-")
        os.chmod(self.dir, 0o755)
        self.make_folders()
        if self.tls:
            make_certificate(self.path("etc"), self.hostname, self.address)
        command = self.configure()
        with open(self.path("output"), "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            start_new_session=True, preexec_fn=die_with_parent)
        if not self._wait_ready():
            words = self.log()
            self.stop()
            raise RuntimeError(f"{self.software} does not start: {words}")
        return self

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)  # its own session: only its own children
                self.process.wait()
            self.process = None
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)
            self.dir = None

    def check(self):
        """Is it there? Raises what to do where it is not."""
        raise NotImplementedError

    def make_folders(self):
        raise NotImplementedError

    def configure(self):
        """Write the configuration; the command that runs the main process in the foreground."""
        raise NotImplementedError

    def path(self, *name):
        return os.path.join(self.dir, *name)

    def _names(self):
        folder = self.path(*self.new)
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def count(self):
        """Messages delivered so far."""
        return len(self._names())

    def wait(self, count, seconds=120):
        """Until `count` messages are delivered; the number that is there in the end."""
        deadline = time.monotonic() + seconds
        while self.count() < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.count()

    def messages(self):
        """[(recipient, content)] of what was delivered, in no order. CRLF line ends; with the receiver's fields on top:
        Return-Path has the envelope's sender, Received says how it came (sent_bytes() takes them off)."""
        found = []
        for name in self._names():
            with open(self.path(*self.new, name), "rb") as f:
                content = f.read().replace(b"\n", b"\r\n")
            head = email.message_from_bytes(content.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n")
            found.append((head["Delivered-To"] or head["Envelope-To"], content))
        return found

    def log(self):
        text = ""
        for name in ["output", *self.logs()]:
            if os.path.exists(self.path(name)):
                with open(self.path(name), encoding="utf-8", errors="replace") as f:
                    text += f.read()
        return text

    def logs(self):
        return ["log"]

    def _wait_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection((self.address, self.port), 2) as s:
                    if s.recv(512).startswith(b"220 "):
                        s.sendall(b"QUIT\r\n")
                        return True
            except OSError:
                time.sleep(0.05)
        return False
