"""Redis dies between a line of the event log and what follows from it: that is made up for, and there is one line.

The node stands still just behind the line (fault point effect.before), its Redis is killed, and it goes on. Whoever asked is
told that it was not done; it is done when Redis is back, though nobody comes again, and whoever does come again has no second
line. A node that dies there tells the line at its next start. BUILD is a build with HK_FAULTS.
"""
import json
import os
import signal
import socket
import subprocess
import unittest.mock

import bounce_ingest
import harness
from harness import wait_for

PEOPLE = [f"u{n}@a.test" for n in range(4)]


def state_of(pid):
    """The letter that the kernel has for a process; "" where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(") ", 1)[1][0]
    except OSError:
        return ""


class Owed(bounce_ingest.Case):
    def setUp(self):
        super().setUp()
        self.world(PEOPLE)
        self.send("c")
        self.path_of = self.paths()
        os.mkdir(self.path("struck"))
        self.node = self.serve(HIKYAKU_FAULTS="master/effect.before:1:stop", HIKYAKU_FAULTS_ONCE=self.path("struck"))

    def serve(self, **variables):
        sock = self.path("state", "control.sock")
        with unittest.mock.patch.dict(os.environ, variables):
            node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(sock) and self.redis_pid() > 0, 30, "the node")
        return node

    def redis_pid(self):
        try:
            return self.ask({"command": "status"})["pids"]["redis"]
        except OSError:
            return 0

    def ask(self, request):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(60)
            s.connect(self.path("state", "control.sock"))
            s.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(s.makefile().readline())

    def command(self, *words, stdin=None):
        process = subprocess.Popen([os.path.join(harness.BUILD, "hikyaku"), *words, "--config", self.path("hikyaku.conf")],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        if stdin is not None:
            process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
        return process

    def between(self, redis):
        """The node stands behind the line; now its Redis is gone."""
        wait_for(lambda: state_of(self.node.pid) == "T", 60, "a node that stands still")
        self.assertEqual(len(os.listdir(self.path("struck"))), 1)
        os.kill(redis, signal.SIGKILL)
        wait_for(lambda: state_of(redis) in ("", "Z"), 30, "the end of Redis")

    def interrupted(self, start, status):
        """Run it with a Redis that dies in its middle: what it said."""
        redis = self.redis_pid()
        process = start()
        self.between(redis)
        os.kill(self.node.pid, signal.SIGCONT)
        out, _ = process.communicate(timeout=100)
        self.assertEqual(process.returncode, status, out)
        return out

    def bounce_of(self, recipient):
        return self.bounce(self.path_of[recipient], recipient)

    def is_suppressed(self, address):
        """Where Redis is just coming back nobody can say."""
        return self.hikyaku("suppress", "check", "--config", self.path("hikyaku.conf"), address).status == 1

    def later(self):
        return self.report("c")["later"]["bounced"]

    def judge_bounce(self, address):
        wait_for(lambda: self.is_suppressed(address), 60, "a suppression though nobody came again")
        wait_for(lambda: self.later() == 1, 60, "the mark in the ledger")
        self.assertEqual([e["recipient"] for e in self.lines("bounce")], [address])

    def test_a_bounce_that_redis_did_not_take_counts_when_it_is_back(self):
        text = self.bounce_of(PEOPLE[0])
        self.interrupted(lambda: self.command("bounce", "ingest", stdin=text), 75)
        self.judge_bounce(PEOPLE[0])
        # The mail that was kept comes again.
        self.assertIn("taken before", self.ingest(text=text))
        self.assertEqual((len(self.lines("bounce")), self.later()), (1, 1))
        self.ingest(text=self.bounce_of(PEOPLE[1]))
        self.assertEqual((len(self.lines("bounce")), self.later()), (2, 2))

    def test_a_mail_that_comes_again_at_once_has_no_second_line(self):
        text = self.bounce_of(PEOPLE[0])
        self.interrupted(lambda: self.command("bounce", "ingest", stdin=text), 75)
        conf = ("--config", self.path("hikyaku.conf"))
        wait_for(lambda: self.run_once("bounce", "ingest", *conf, text=text) == 0, 60, "a mail that is taken")
        self.judge_bounce(PEOPLE[0])

    def run_once(self, *words, text):
        return subprocess.run([os.path.join(harness.BUILD, "hikyaku"), *words], input=text, capture_output=True, text=True,
                              timeout=100, check=False).returncode

    def test_a_notice_that_is_delivered_again_is_known(self):
        """As the web process asks it for what SNS posts; a bounce without a mark, and a complaint."""
        request = {"command": "bounce", "bounces": [
            {"campaign": "gone", "recipient": "x@a.test", "kind": "bounce", "class": "mailbox-unknown", "code": 550,
             "disposition": "suppress", "text": "550 gone", "source": "ses", "heard": ["sns:1"]},
            {"campaign": "gone", "recipient": "y@a.test", "kind": "feedback", "class": "complaint",
             "disposition": "suppress", "text": "abuse", "source": "ses", "heard": ["sns:2"]}]}
        redis = self.redis_pid()
        asked = subprocess.Popen(["/usr/bin/python3", "-c", "import socket, sys\n"
                                  "s = socket.socket(socket.AF_UNIX)\n"
                                  "s.connect(sys.argv[1])\n"
                                  "s.sendall(sys.argv[2].encode() + b'\\n')\n"
                                  "print(s.makefile().readline())", self.path("state", "control.sock"), json.dumps(request)],
                                 stdout=subprocess.PIPE, text=True)
        self.between(redis)
        os.kill(self.node.pid, signal.SIGCONT)
        reply = json.loads(asked.communicate(timeout=100)[0])
        self.assertFalse(reply["ok"], reply)
        for address in ("x@a.test", "y@a.test"):
            wait_for(lambda a=address: self.is_suppressed(a), 60, "a suppression though nobody came again")
        again = wait_for(lambda: (r := self.ask(request))["ok"] and r, 60, "an answer")
        self.assertEqual([one["heard"] for one in again["bounces"]], [True, True])
        told = self.lines("bounce") + self.lines("complaint")
        self.assertEqual(sorted(e["recipient"] for e in told), ["x@a.test", "y@a.test"])

    def test_a_node_that_dies_there_tells_it_at_its_next_start(self):
        redis = self.redis_pid()
        process = self.command("bounce", "ingest", stdin=self.bounce_of(PEOPLE[0]))
        self.between(redis)
        os.kill(self.node.pid, signal.SIGKILL)
        self.finish(self.node)
        out, _ = process.communicate(timeout=100)
        self.assertEqual(process.returncode, 75, out)
        self.node = self.serve()
        self.judge_bounce(PEOPLE[0])
        self.assertIn("taken before", self.ingest(text=self.bounce_of(PEOPLE[0])))
        self.assertEqual((len(self.lines("bounce")), self.later()), (1, 1))

    def test_what_a_person_typed_is_done_when_redis_is_back(self):
        said = self.interrupted(lambda: self.command("suppress", "add", "a@x.test", "b@x.test"), 3)
        self.assertIn("it is written down, and is done as soon as Redis is back", said)
        for address in ("a@x.test", "b@x.test"):
            wait_for(lambda a=address: self.is_suppressed(a), 60, "a suppression though nobody typed again")
        done = self.hikyaku("suppress", "add", "--config", self.path("hikyaku.conf"), "a@x.test", "b@x.test", expect=0)
        self.assertEqual(done.out.count("was suppressed already"), 2)
        self.assertEqual([e["recipient"] for e in self.lines("suppression")], ["a@x.test", "b@x.test"])


if __name__ == "__main__":
    harness.main()
