#!/usr/bin/python3
"""One worker against scripted receivers: what it says on the wire, and what it makes of the answers.

Usage: peers.py BUILD_DIR [SCRIPT...]

Each tests/peers/*.peer is one case. worker_drive plays the master; the receiver says and expects what the script
has, line by line ("a / b" is two lines in one write):

  connection [ADDRESS] the next connection, at this address (127.0.0.1); a case without this line has one
  addresses A B ...    of the destination, in order; where no connection line names one, nobody listens
  peer A / B           say these lines                bytes A / B   say them a byte at a time
  raw TEXT             say this, with \\r and \\n; TEXT@20: twenty times
  expect A / B         hear these lines; * matches anything; "message" is everything up to the final dot
  held                 hear only pieces of a message, never its dot, until the connection is closed
  quiet 100ms          hear nothing for so long       pause 100ms   look away
  tls [other]          shake hands for TLS ("other": with another host's certificate)
  close | reset | eof  hang up; with a reset; expect to be hung up on
  template LINE        one more line of the message
  pad BYTES            make the message so much longer
  config LINE          into the smtp section          settings LINE into the file
  plan KEY=JSON ...    for worker_drive
  outcome RECIPIENT RESULT [PHASE CODE [ENHANCED]] ["WORDS"]      / separates several; they make the list, in order
  flight RECIPIENT PHASE[|PHASE]                      what a dead worker left in the slot
  failure PHASE CODE [ENHANCED] ["WORDS"]             why the connection never opened
  fact KEY=JSON ...                                   about the connection
  worker exit|signal N                                how the worker ended (default exit 0)

Every expectation has a deadline. Nothing but loopback is used; ports are free ones.
"""
import concurrent.futures
import fnmatch
import json
import os
import re
import shlex
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = os.path.join(HERE, "..", "peers")
PATIENCE_S = 40

MESSAGE = """From: News <news@me.test>
To: <{{email}}>
Subject: Hello
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Good day to you,
.this line begins with a dot
"""


class Wrong(Exception):
    """What was seen is not what the script says."""


def duration_s(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s)", text).groups()
    return int(number) / (1000 if unit == "ms" else 1)


class Script:
    def __init__(self, path):
        self.path = path
        self.connections = [["127.0.0.1", []]]
        self.addresses = []
        self.config, self.settings, self.plan, self.facts = [], [], {}, {}
        self.outcomes, self.flights = [], []
        self.failure = None
        self.pad, self.template = 0, MESSAGE
        self.worker = ("exit", 0)
        explicit = False
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            line = line.rstrip("\n")
            if not line.strip() or line.startswith("#"):
                continue
            word, _, rest = line.partition(" ")
            rest = rest.strip()
            if word == "connection":
                if not explicit:
                    self.connections = []
                explicit = True
                self.connections.append([rest or "127.0.0.1", []])
            elif word == "none":
                self.connections = []
                explicit = True
            elif not self.header(word, rest):
                self.connections[-1][1].append((number, word, rest))
        if not self.addresses:
            self.addresses = list(dict.fromkeys(address for address, _ in self.connections))

    def header(self, word, rest):
        if word == "addresses":
            self.addresses = rest.split()
        elif word == "config":
            self.config.append(rest)
        elif word == "template":
            self.template += rest + "\n"
        elif word == "pad":
            self.pad = int(rest)
        elif word == "settings":
            self.settings.append(rest)
        elif word in ("plan", "fact"):
            pairs = dict(pair.split("=", 1) for pair in shlex.split(rest, posix=False))
            target = self.plan if word == "plan" else self.facts
            target.update({key: json.loads(value) for key, value in pairs.items()})
        elif word == "outcome":
            self.outcomes += [shlex.split(part) for part in rest.split(" / ")]
        elif word == "flight":
            self.flights.append(rest.split())
        elif word == "failure":
            self.failure = shlex.split(rest)
        elif word == "worker":
            how, value = rest.split()
            self.worker = (how, int(value))
        else:
            return False
        return True

    def recipients(self):
        return [o[0] for o in self.outcomes] + [f[0] for f in self.flights]


class Peer:
    """The receiver's end of one connection."""

    def __init__(self, sock, tls, pad):
        sock.settimeout(PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.tls, self.pad, self.buffer, self.ended = sock, tls, pad, bytearray(), False

    def read(self, timeout=PATIENCE_S):
        self.sock.settimeout(timeout)
        try:
            piece = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            piece = b""
        self.buffer += piece
        return len(piece) > 0

    def line(self):
        while b"\n" not in self.buffer:
            if not self.read():
                raise Wrong(f"the connection was closed, {bytes(self.buffer[-200:])!r} had come")
        end = self.buffer.index(b"\n") + 1
        line = bytes(self.buffer[:end])
        del self.buffer[:end]
        if not line.endswith(b"\r\n"):
            raise Wrong(f"a line without CR: {line!r}")
        return line[:-2].decode("utf-8", "replace")

    def do_expect(self, rest):
        for pattern in rest.split(" / "):
            if pattern == "message":
                self.message()
                continue
            line = self.line()
            if not fnmatch.fnmatchcase(line, pattern.replace("[", "[[]")):
                raise Wrong(f"expected {pattern!r}, got {line!r}")

    def message(self):
        lines = []
        while True:
            line = self.line()
            if line == ".":
                break
            lines.append(line)
        if "..this line begins with a dot" not in lines:
            raise Wrong(f"not the message: {lines[:20]!r}")
        padding = [int(line[:9]) for line in lines if line.endswith("0123456789.")]
        if padding != list(range(self.pad // 72)):
            raise Wrong(f"{len(padding)} lines of padding came, or not in order")

    def do_held(self, _rest):
        while self.read():
            pass
        if re.search(rb"(^|\n)\.\r\n", self.buffer):
            raise Wrong("a dot came that had to be held back")
        if b"Good day" not in self.buffer and b"From:" not in self.buffer and self.buffer:
            raise Wrong(f"not a message: {self.buffer!r}")
        self.ended = True

    def do_peer(self, rest):
        self.sock.sendall("".join(line + "\r\n" for line in rest.split(" / ")).encode())

    def do_bytes(self, rest):
        for byte in "".join(line + "\r\n" for line in rest.split(" / ")).encode():
            self.sock.sendall(bytes([byte]))
            time.sleep(0.002)

    def do_raw(self, rest):
        text, _, times = rest.partition("@")
        try:
            self.sock.sendall(text.encode().decode("unicode_escape").encode("latin-1") * int(times or 1))
        except (BrokenPipeError, ConnectionResetError):
            pass  # hung up on in the middle, which is for the next line to judge

    def do_quiet(self, rest):
        self.sock.settimeout(duration_s(rest))
        try:
            piece = self.sock.recv(100)
        except (socket.timeout, ssl.SSLWantReadError):
            return
        raise Wrong(f"expected silence, got {piece!r}")

    def do_pause(self, rest):
        time.sleep(duration_s(rest))

    def do_tls(self, rest):
        self.sock.settimeout(PATIENCE_S)
        try:
            self.sock = self.tls[rest or "mx"].wrap_socket(self.sock, server_side=True)
        except (OSError, ssl.SSLError) as error:
            raise Wrong(f"TLS: {error}") from error

    def do_close(self, _rest):
        self.ended = True
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def do_reset(self, _rest):
        self.ended = True
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def do_eof(self, _rest):
        if self.buffer or self.read():
            raise Wrong(f"expected to be hung up on, got {self.buffer!r}")
        self.ended = True

    def end(self):
        """What no script has to say: QUIT is answered, then nothing more comes."""
        if self.ended:
            return
        while b"\n" not in self.buffer and self.read():
            pass
        if self.buffer not in (b"", b"QUIT\r\n"):
            raise Wrong(f"the script is at its end, but {self.buffer!r} came")
        if self.buffer:
            self.do_peer("221 bye")
        self.sock.close()


def play(script, listeners, tls, faults):
    for address, steps in script.connections:
        where = "accept"
        try:
            sock, _ = listeners[address].accept()
            peer = Peer(sock, tls, script.pad)
            for number, word, rest in steps:
                where = f"line {number}"
                getattr(peer, "do_" + word)(rest)
            where = "the end"
            peer.end()
        except (Wrong, OSError, AttributeError) as error:
            faults.append(f"{where}: {error!r}")
            return


def listen(script):
    """One port, free at every address that somebody listens at."""
    wanted = list(dict.fromkeys(address for address, _ in script.connections))
    while True:
        made, port = {}, 0
        try:
            for address in wanted or ["127.0.0.1"]:
                sock = socket.create_server((address, port), backlog=16)
                sock.settimeout(PATIENCE_S)
                port = sock.getsockname()[1]
                made[address] = sock
        except OSError:
            for sock in made.values():
                sock.close()
            continue
        if not wanted:
            made.pop("127.0.0.1").close()
        return made, port


def write_case(script, folder, port, ca):
    with open(f"{folder}/hikyaku.conf", "w", encoding="utf-8") as out:
        settings = "\n".join(script.settings).replace("@PORT@", str(port)).replace("@DIR@", folder)
        out.write(f'hostname = "me.test"\nstate_dir = "{folder}/state"\n'
                  f'sender {{\n from_domain = "me.test"\n return_path = "bounce.me.test"\n'
                  f' secret_file = "{folder}/verp.key"\n}}\n'
                  f'tls {{\n ca_file = "{ca}"\n}}\n{settings}\n'
                  "smtp {\n" + "\n".join(script.config) + "\n}\n")
    with open(f"{folder}/list.csv", "w", encoding="utf-8") as out:
        out.write("email\n" + "".join(r + "\n" for r in script.recipients()))
    with open(f"{folder}/message.eml", "w", encoding="utf-8") as out:
        out.write(script.template)
        for number in range(script.pad // 72):
            out.write(f"{number:09} " + "0123456789" * 6 + ".\n")
    plan = {"list": f"{folder}/list.csv", "message": f"{folder}/message.eml", "port": port,
            "addresses": script.addresses, "mx": ["mx.test"] * len(script.addresses)}
    plan.update(script.plan)
    with open(f"{folder}/plan.json", "w", encoding="utf-8") as out:
        json.dump(plan, out)


def check_reply(what, reply, wanted):
    """wanted: PHASE CODE [ENHANCED] ["WORDS"], as far as given."""
    got = [reply["phase"], str(reply["code"])]
    if [w for w in wanted[:2]] != got[:len(wanted[:2])]:
        raise Wrong(f"{what}: expected {wanted}, got {reply}")
    for word in wanted[2:]:
        if re.fullmatch(r"\d\.\d+\.\d+", word):
            if reply["enhanced"] != word:
                raise Wrong(f"{what}: enhanced code {reply['enhanced']!r}, expected {word}")
        elif word not in reply["text"]:
            raise Wrong(f"{what}: {word!r} is not in {reply['text']!r}")


def check(script, report):
    by_recipient = {o["recipient"]: o for o in report["outcomes"]}
    for wanted in script.outcomes:
        got = by_recipient[wanted[0]]
        if got["flight"] != "done" or got["result"] != wanted[1]:
            raise Wrong(f"expected {wanted}, got {got}")
        if got["result"] == "returned" and bool(got["reply"]["text"]) != (len(wanted) > 2):
            raise Wrong(f"a return with words, and only that, freezes its campaign: {got}")
        check_reply(wanted[0], got["reply"], wanted[2:])
    for recipient, phase in script.flights:
        if by_recipient[recipient]["flight"] not in phase.split("|"):
            raise Wrong(f"expected {recipient} in phase {phase}, got {by_recipient[recipient]}")
    conn = report["conns"][0]
    if script.failure:
        if not conn["failed"]:
            raise Wrong(f"the connection opened: {conn}")
        check_reply("failure", conn["failure"], script.failure)
    for key, value in script.facts.items():
        got = report["counters"].get(key, conn.get(key, report.get(key)))
        if got != value:
            raise Wrong(f"{key} is {got!r}, expected {value!r}")
    how = ("signal", report["worker_signal"]) if report["worker_signal"] else ("exit", report["worker_exit"])
    if how != script.worker:
        raise Wrong(f"the worker ended by {how}, expected {script.worker}")


def run(path, build, tls, ca):
    script = Script(path)
    faults = []
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        listeners, port = listen(script)
        write_case(script, folder, port, ca)
        player = threading.Thread(target=play, args=(script, listeners, tls, faults), daemon=True)
        player.start()
        program = os.environ.get("WORKER_DRIVE", f"{build}/worker/worker_drive")
        result = subprocess.run([program, f"{folder}/hikyaku.conf", f"{folder}/plan.json"], capture_output=True,
                                text=True, timeout=120, check=False)
        player.join(5)
        if player.is_alive():
            faults.append("the receiver's script was not finished")
        for sock in listeners.values():
            sock.close()
        noise = [l for l in result.stderr.splitlines() if "Sanitizer" in l or "runtime error" in l or "bug" in l]
        if noise:
            faults.append("\n".join(noise))
        try:
            check(script, json.loads(result.stdout))
        except (Wrong, ValueError) as error:
            faults.append(f"{error}")
        if faults and result.stderr:
            faults.append(result.stderr.strip())
    return faults


def make_certificates(folder):
    """A CA, and certificates of two hosts; contexts by host."""
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test CA",
            "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.pem")
    contexts = {}
    for name, host in (("mx", "mx.test"), ("other", "other.test")):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={host}", "-keyout", f"{folder}/{name}.key",
                "-out", f"{folder}/{name}.csr")
        with open(f"{folder}/{name}.ext", "w", encoding="utf-8") as out:
            out.write(f"subjectAltName=DNS:{host}\n")
        openssl("x509", "-req", "-days", "2", "-in", f"{folder}/{name}.csr", "-CA", f"{folder}/ca.pem", "-CAkey",
                f"{folder}/ca.key", "-CAcreateserial", "-extfile", f"{folder}/{name}.ext", "-out",
                f"{folder}/{name}.pem")
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(f"{folder}/{name}.pem", f"{folder}/{name}.key")
    return contexts, f"{folder}/ca.pem"


def main():
    build = os.path.abspath(sys.argv[1])
    paths = sys.argv[2:] or sorted(os.path.join(PEERS, f) for f in os.listdir(PEERS) if f.endswith(".peer"))
    failed = 0
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        tls, ca = make_certificates(folder)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for path, faults in zip(paths, pool.map(lambda p: run(p, build, tls, ca), paths)):
                print(("FAILED " if faults else "ok     ") + os.path.basename(path))
                for fault in faults:
                    print("       " + fault.replace("\n", "\n       "))
                failed += bool(faults)
    print(f"{len(paths)} scripts, {failed} failed")
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
