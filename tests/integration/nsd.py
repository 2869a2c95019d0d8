"""A private NSD: real DNS answers on a free port of a loopback address, for any integration test.

    with Nsd({"test": "a.test. MX 10 mx.a.test.\nmx.a.test. A 127.0.0.2\n"}, servfail=["broken.test"]) as dns:
        ... servers = { "127.0.0.1:%d" % dns.port } ...

A zone is text in master file format; names are relative to the zone unless they end in a dot. SOA and NS are
put in front where the text has no SOA, with a TTL and a negative TTL of 300 s. A zone named in `servfail` is a
secondary that can never fetch its content: NSD answers SERVFAIL for it. Everything lies in one temporary
directory; the server runs as a child, dies with its parent, and stop() ends it by its pid.

Run as a program it serves zone files until it is interrupted: nsd.py NAME=FILE... [servfail:NAME...]
"""
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import dns.exception
import dns.message
import dns.query

PR_SET_PDEATHSIG = 1
START_TRIES = 5  # another process may take the port between the look and the start
READY_SECONDS = 60


def free_port(address="127.0.0.1"):
    """A port that is free for UDP and TCP at this moment."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind((address, 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind((address, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port is free on {address}")


def die_with_parent():
    """Before exec in a child: it gets SIGTERM when the process that started it is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def zone_text(text, ttl=300):
    """The text with the records that every zone has, unless it brings a SOA of its own."""
    if any("SOA" in line.split() for line in text.splitlines()):
        return text
    return (f"$TTL {ttl}\n@ SOA ns hostmaster 1 3600 600 86400 {ttl}\n@ NS ns\nns A 127.0.0.1\n") + text


class Nsd:
    def __init__(self, zones, servfail=(), address="127.0.0.1", port=None):
        """address: one, or several to listen on. port: a free one unless given."""
        self.zones = dict(zones)
        self.servfail = list(servfail)
        self.addresses = [address] if isinstance(address, str) else list(address)
        self.address = self.addresses[0]
        self.wanted_port = port
        self.port = None
        self.process = None
        self.dir = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()

    def start(self):
        for attempt in range(START_TRIES):
            self.dir = tempfile.mkdtemp(prefix="nsd-")
            self.port = self.wanted_port or free_port(self.address)
            self._write_configuration()
            log = open(self._path("output"), "wb")
            self.process = subprocess.Popen([self._program(), "-d", "-c", self._path("nsd.conf")], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
            log.close()
            if self._wait_ready():
                return self
            words = self._log()
            self.stop()
            if "address already in use" not in words.lower():
                break
        raise RuntimeError(f"nsd does not start: {words}")

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)
            self.dir = None

    def reload(self, zones):
        """Serve other content for zones that are there. Answers change a moment later."""
        for name, text in zones.items():
            with open(self._path(f"zone-{list(self.zones).index(name)}"), "w", encoding="utf-8") as f:
                f.write(f"$ORIGIN {name.rstrip('.')}.\n" + zone_text(text))
        self.process.send_signal(signal.SIGHUP)

    def server(self):
        """As resolver { servers } takes it."""
        return f"{self.address}:{self.port}"

    @staticmethod
    def _program():
        program = shutil.which("nsd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if not program:
            raise RuntimeError("nsd is not installed: scripts/deps installs it")
        return program

    def _path(self, *name):
        return os.path.join(self.dir, *name)

    def _write_configuration(self):
        lines = ["server:"] + [f"  ip-address: {address}@{self.port}" for address in self.addresses]
        lines += ["  server-count: 1", '  username: ""',
                 '  chroot: ""', '  database: ""', f'  zonesdir: "{self.dir}"', f'  pidfile: "{self._path("pid")}"',
                 f'  xfrdfile: "{self._path("xfrd.state")}"', f'  xfrdir: "{self.dir}"',
                 f'  zonelistfile: "{self._path("zone.list")}"', "  rrl-ratelimit: 0", "  hide-version: yes",
                 "  tcp-count: 200", "remote-control:", "  control-enable: no"]
        for number, (name, text) in enumerate(self.zones.items()):
            with open(self._path(f"zone-{number}"), "w", encoding="utf-8") as f:
                f.write(f"$ORIGIN {name.rstrip('.')}.\n" + zone_text(text))
            lines += ["zone:", f'  name: "{name}"', f'  zonefile: "zone-{number}"']
        for name in self.servfail:
            # port 1: nobody serves DNS there, so the transfer never comes
            lines += ["zone:", f'  name: "{name}"', '  zonefile: "never"', "  request-xfr: AXFR 127.0.0.1@1 NOKEY"]
        with open(self._path("nsd.conf"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")

    def _log(self):
        with open(self._path("output"), encoding="utf-8", errors="replace") as f:
            return f.read()[-2000:]

    def _wait_ready(self):
        """Until it answers, and every zone with what it should. A zone file with a fault shows here."""
        deadline = time.monotonic() + READY_SECONDS
        for name in self.zones:
            question = dns.message.make_query(name.rstrip(".") + ".", "SOA")
            while True:
                try:
                    reply = dns.query.udp(question, self.address, timeout=0.5, port=self.port)
                    if reply.answer:
                        break
                    if time.monotonic() > deadline - READY_SECONDS / 2:
                        raise RuntimeError(f"nsd does not serve {name}: {self._log()}")
                except (dns.exception.Timeout, dns.query.BadResponse, OSError):
                    pass  # BadResponse: a late answer to a question before, from the same port
                if self.process.poll() is not None or time.monotonic() > deadline:
                    return False
                time.sleep(0.02)
        return True


def main(arguments):
    zones, servfail = {}, []
    for argument in arguments:
        if argument.startswith("servfail:"):
            servfail.append(argument.split(":", 1)[1])
        else:
            name, path = argument.split("=", 1)
            with open(path, encoding="utf-8") as f:
                zones[name] = f.read()
    with Nsd(zones, servfail) as server:
        print(server.server(), flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main(sys.argv[1:])
