"""What a message costs in round trips, counted: one on a connection that is kept, whatever became of the message before it; and
what it costs in calls of Redis, where all connections share one.

The receiver answers only when nothing more comes for a while, and then everything it was sent at once, as a network with
a long delay would have it. Each time it answers is a round trip. Calls of Redis are what it counts itself.
"""
import json
import re
import select
import socket
import threading
import time

import harness

MESSAGES = 40
OPENING = 6  # the greeting, EHLO, the first envelope, and what a slow machine may need more
SILENCE_S = 0.06
NEAR_CONNECTIONS = 8
NEAR_MESSAGES = 20000
NEAR_CAMPAIGNS = ("c1", "c2", "c3")  # one has to do: a busy machine answers late, and who is late is not waited for
LOOK_S = 0.01  # between two looks at Redis' counter, whose last calls nobody sees


class Receiver(threading.Thread):
    """One connection after the other. refuse(recipient): at RCPT; data_without_rcpt: what DATA gets then."""

    def __init__(self, address, port, refuse=lambda _: False, data_without_rcpt="554 no valid recipients", pipelining=True):
        super().__init__(daemon=True)
        self.refuse, self.data_without_rcpt, self.pipelining = refuse, data_without_rcpt, pipelining
        self.name, self.address, self.turns, self.connections, self.taken = "counter", address, 0, 0, []
        self.listener = socket.create_server((address, port))
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.serve(client)

    def serve(self, client):
        self.buffer, self.in_body, self.recipient = b"", False, None
        client.sendall(b"220 counter\r\n")
        while True:
            wait_s = None
            while select.select([client], [], [], wait_s)[0]:
                piece = client.recv(65536)
                if not piece:
                    return
                self.buffer += piece
                wait_s = SILENCE_S
            answers = b"".join(iter(self.answer, b""))
            if answers:
                self.turns += 1
                client.sendall(answers)

    def cut(self, end):
        piece, found, rest = self.buffer.partition(end)
        if not found:
            return None
        self.buffer = rest
        return piece

    def answer(self):
        """The reply to the next thing that came whole; nothing: there is none."""
        if self.in_body:
            if self.buffer.startswith(b".\r\n"):
                self.buffer = self.buffer[3:]
            elif self.cut(b"\r\n.\r\n") is None:
                return b""
            self.in_body = False
            if self.recipient is None:
                return b"554 nobody to give it to\r\n"
            self.taken.append(self.recipient)
            self.recipient = None
            return b"250 taken\r\n"
        line = self.cut(b"\r\n")
        if line is None:
            return b""
        if line.startswith(b"EHLO"):
            return b"250-counter\r\n250 PIPELINING\r\n" if self.pipelining else b"250 counter\r\n"
        if line.startswith(b"RCPT"):
            recipient = line[9:-1].decode()
            self.recipient = None if self.refuse(recipient) else recipient
            return b"250 ok\r\n" if self.recipient else b"550 5.1.1 nobody\r\n"
        if line == b"DATA":
            if self.recipient is None and not self.data_without_rcpt.startswith("354"):
                return self.data_without_rcpt.encode() + b"\r\n"
            self.in_body = True
            return b"354 go on\r\n"
        return b"250 ok\r\n"

    def stop(self):
        self.listener.close()


class RoundTrips(harness.Case):
    def count(self, **how):
        """Round trips of a campaign over one connection."""
        receiver = Receiver(f"127.{self.net}.12.1", self.port, **how)
        self.addCleanup(receiver.stop)
        self.dns({"counted.test": receiver})
        self.configure(connections=1)
        rows = [f"u{n}@counted.test" for n in range(MESSAGES)]
        self.send(rows=rows)
        self.assertEqual(sorted(receiver.taken), sorted(row for row in rows if not receiver.refuse(row)))
        self.assertEqual(receiver.connections, 1)
        return receiver.turns

    def test_a_message_costs_one_round_trip(self):
        self.assertLessEqual(self.count(), MESSAGES * 1.1 + OPENING)

    # DATA, which is on its way behind a refused RCPT, is refused as well: RSET goes with the next envelope.
    def test_a_refused_recipient_costs_the_next_message_nothing(self):
        self.assertLessEqual(self.count(refuse=lambda r: int(r[1:-13]) % 3 == 1), MESSAGES * 1.1 + OPENING)

    # RFC 2920 3.1: a lone dot, and it goes with the next envelope.
    def test_neither_does_one_whose_data_was_granted_all_the_same(self):
        turns = self.count(refuse=lambda r: int(r[1:-13]) % 3 == 1, data_without_rcpt="354")
        self.assertLessEqual(turns, MESSAGES * 1.1 + OPENING)

    # With RCPT accepted and DATA on its way, only a hard close keeps the message back: that is all it costs the next one.
    def test_a_refused_commit_costs_the_next_message_no_attempt(self):
        late = {f"u{n}@counted.test" for n in (5, 17, 18)}

        def suppress(recipient):
            if recipient in late:
                self.hikyaku("suppress", "add", "--config", self.path("hikyaku.conf"), recipient, expect=0)
            return False

        receiver = Receiver(f"127.{self.net}.12.1", self.port, refuse=suppress)
        self.addCleanup(receiver.stop)
        self.dns({"counted.test": receiver})
        self.configure(connections=1)
        self.send(rows=[f"u{n}@counted.test" for n in range(MESSAGES)])
        self.assertEqual(self.report()["counts"]["suppressed"], len(late))
        self.assertEqual(len(receiver.taken), MESSAGES - len(late))
        self.assertEqual(len(set(receiver.taken) | late), MESSAGES)
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            attempts = [event for event in map(json.loads, f) if event["type"] == "attempt"]
        self.assertEqual({(a["outcome"], a["attempt"]) for a in attempts}, {("sent", 1)})
        self.assertEqual(receiver.connections, 1 + len(late), [(a["time"], a["connection"], a["nth"]) for a in attempts])

    def test_without_pipelining_each_command_costs_one(self):
        self.assertGreaterEqual(self.count(pipelining=False), 4 * MESSAGES)


class Calls(harness.Case):
    def calls(self, process):
        """Of Redis' scripts while that runs, by the last answer that could be had."""
        calls = None
        while process.poll() is None:
            found = re.search(r"cmdstat_evalsha:calls=(\d+)", self.redis_cli("INFO", "commandstats", check=False))
            calls = int(found[1]) if found else calls
            time.sleep(LOOK_S)
        self.assertIsNotNone(calls, "Redis never told how often it was called")
        return calls

    # A call waits for who is about to answer: half of the connections would be with Redis, and half with the receiver.
    def test_all_connections_to_a_receiver_nearby_share_a_call(self):
        self.dns({"near.test": self.receiver("near")})
        self.configure(connections=NEAR_CONNECTIONS)
        shared = []
        for campaign in NEAR_CAMPAIGNS:
            process = self.start_send(campaign, rows=[f"u{n}@near.test" for n in range(NEAR_MESSAGES)])
            shared.append(NEAR_MESSAGES / self.calls(process))
            self.finish(process, expect=0)
            if shared[-1] > 0.75 * NEAR_CONNECTIONS:
                return
        self.fail(f"messages a call, with {NEAR_CONNECTIONS} connections: {shared}")


if __name__ == "__main__":
    harness.main()
