"""Rubbish on the control socket of a live node: each line gets one answer or the door, and the node goes on.

Mutated requests, half lines, many at once, clients that do not read. HIKYAKU_FUZZ_S sets for how long (3 s); the sanitizer
builds of the node see every byte of it.
"""
import json
import os
import random
import signal
import socket
import time

import harness
from harness import wait_for

SECONDS = float(os.environ.get("HIKYAKU_FUZZ_S", "3"))
SEEDS = [
    {"command": "status"},
    {"command": "run", "campaign": "c"},
    {"command": "run", "campaign": "none"},
    {"command": "pause", "campaign": "c"},
    {"command": "resume", "campaign": "c", "first": 3},
    {"command": "cancel", "campaign": "other"},
    {"command": "unknown", "campaign": "c", "as": "pending", "indexes": [0, 1, 4294967295, -1]},
    {"command": "forget", "campaign": "none"},
    {"command": "suppress", "change": "added", "entries": [["a@c.test", "all", "manual", "command", "", 1, 0]]},
    {"command": "suppress", "change": "removed", "entries": [["a@c.test", "all", "manual", "command", "", 1, 0]]},
]
PIECES = [b"", b"\0", b"{", b"}", b'"', b"\\u0000", b"\xff", b"[[[[[[[[", b"9" * 40, b"null", b"true", b"1e999", b"c", b"-"]


def mutate(dice, seed):
    text = bytearray(json.dumps(seed).encode())
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(text) + 1)
        text[at:at + dice.randrange(5)] = dice.choice(PIECES)
    return bytes(text).replace(b"\n", b" ")


class Control(harness.Case):
    def serve(self):
        """A node that answers, with a campaign that is over."""
        a = self.receiver("a")
        self.dns({"a.test": a})
        self.configure()
        self.send(rows=["u@a.test", "v@a.test"])
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")), 20, "the node")
        return node

    def test_rubbish_gets_an_answer_or_the_door(self):
        node, path = self.serve(), self.path("state", "control.sock")
        dice = random.Random(7)
        asked = 0
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            self.assertIsNone(node.poll(), self.finish_words())
            asked += self.one_client(dice, path)
        self.assertGreater(asked, 100)
        self.assertEqual(self.status()["node"] != "", True)
        self.interrupt(node, 15)
        done = self.finish(node, expect=0)
        self.assertNotIn("runtime error", done.err)

    def test_status_of_a_node_that_ends_before_it_answers_tells_what_it_left(self):
        node = self.serve()
        self.assertIsNotNone(self.status()["node"])
        told = json.loads(self.ask_one_that_ends(node, "status", "--json").out)
        self.assertIsNone(told["node"])
        self.assertEqual(told["campaigns"][0]["counts"]["sent"], 2)

    def test_what_is_asked_of_a_node_that_ends_before_it_answers_is_done_without_it(self):
        done = self.ask_one_that_ends(self.serve(), "pause", "--campaign", "c")
        again = self.hikyaku("pause", "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=0)
        self.assertEqual(done.out, again.out)
        self.assertIn("campaign c is ", done.out)

    def ask_one_that_ends(self, node, command, *options):
        """The command found the node, and gets no answer, for that is killed."""
        os.kill(node.pid, signal.SIGSTOP)
        before = self.connections()
        asking = self.start(command, "--config", self.path("hikyaku.conf"), *options)
        wait_for(lambda: self.connections() > before, 10, "the question")
        os.kill(node.pid, signal.SIGKILL)
        done = self.finish(asking, expect=0)
        self.assertNotIn("answer", done.err)
        node.wait(20)
        return done

    def connections(self):
        """Sockets of the control path: the listening one and one for each client."""
        with open("/proc/net/unix", encoding="utf-8") as f:
            return sum(line.rstrip().endswith(self.path("state", "control.sock")) for line in f)

    def one_client(self, dice, path):
        lines = [mutate(dice, dice.choice(SEEDS)) for _ in range(dice.randrange(1, 6))]
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(15)
            try:
                s.connect(path)
                kind = dice.random()
                if kind < 0.05:
                    s.sendall(b"x" * 40000)  # more than any request: closed
                    self.assertEqual(s.recv(1000), b"")
                    return 0
                for line in lines:
                    s.sendall(line[:dice.randrange(len(line))] if kind < 0.1 else line + b"\n")
                if kind < 0.2:
                    return 0  # leaves without reading
                answers = b""
                while answers.count(b"\n") < len(lines):
                    got = s.recv(65536)
                    if not got:
                        return 0
                    answers += got
                for answer in answers.splitlines():
                    self.assertIn(json.loads(answer)["ok"], (True, False))
                return len(lines)
            except (ConnectionError, BrokenPipeError):
                return 0


if __name__ == "__main__":
    harness.main()
