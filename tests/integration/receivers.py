"""Receivers that greet and then take nothing: everybody ends expired, for the reason that was given, and not by hammering.
And one that takes and does not say so, for a sender who rather writes twice than not at all.

The receiver of each case is a few lines here; what became of its recipients is read from report and event log.
"""
import json
import socket
import threading
import time

import harness

GIVE_UP_S = 4


class Receiver(threading.Thread):
    """Talks by `talk(client)` to each who connects, and notes when."""

    def __init__(self, address, port, talk):
        super().__init__(daemon=True)
        self.talk, self.connects = talk, []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(64)
        self.name, self.address = address, address
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connects.append(time.monotonic())
            with client:
                client.settimeout(5)
                try:
                    self.talk(client)
                except OSError:
                    pass

    def stop(self):
        self.listener.close()


def greet(client, text=b"220 mx\r\n"):
    client.sendall(text)
    client.recv(1000)


def ehlo_then_421(client):
    greet(client)
    client.sendall(b"250 mx\r\n421 4.7.0 too many connections from you\r\n")
    client.recv(1000)


def ehlo_then_close(client):
    greet(client)
    client.sendall(b"250 mx\r\n")


def ehlo_then_more(client):
    greet(client)
    client.sendall(b"250 mx\r\n250 and\r\n250 more\r\n")
    client.recv(1000)


def mail_then_421(client):
    ehlo = b"250 mx\r\n"
    greet(client)
    client.sendall(ehlo)
    client.recv(1000)
    client.sendall(b"421 4.3.2 closing\r\n")


def greet_554(client):
    greet(client, b"554 5.7.1 blocked: see https://list.test/your-address\r\n")


class Receivers(harness.Case):
    def expire_behind(self, talk, rows=12):
        """The report after a campaign to a receiver that never takes anything."""
        harness.Case.next_address += 1
        receiver = Receiver(f"127.{self.net}.9.{harness.Case.next_address}", self.port, talk)
        receiver.name = "difficult"
        self.addCleanup(receiver.stop)
        self.dns({"difficult.test": receiver})
        self.configure(give_up=f"{GIVE_UP_S}s")
        begun = time.monotonic()
        self.send(rows=[f"u{i}@difficult.test" for i in range(rows)], expect=0, timeout=60)
        self.assertLess(time.monotonic() - begun, 6 * GIVE_UP_S)
        report = self.report()
        self.assertEqual(report["counts"]["expired"], rows, report["counts"])
        # A try for each step of the schedule (1 s) and its second chance, and not one each turn of a loop.
        self.assertLess(len(receiver.connects), 4 * GIVE_UP_S)
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            events = [json.loads(line) for line in f]
        self.assertEqual(sum(e["type"] == "expired" for e in events), rows)
        return report, events

    def test_421_behind_ehlo_is_a_receiver_that_wants_nothing_now(self):
        """RFC 5321 4.5.4.1"""
        report, events = self.expire_behind(ehlo_then_421)
        self.assertEqual(report["by_class"], {"rate-limited": 12})
        self.assertIn("too many connections", json.dumps(events))

    def test_a_close_behind_ehlo(self):
        report, _ = self.expire_behind(ehlo_then_close)
        self.assertEqual(report["by_class"], {"network": 12})

    def test_more_replies_than_commands(self):
        self.expire_behind(ehlo_then_more)

    def test_421_instead_of_an_answer_to_mail(self):
        """RFC 5321 3.8"""
        report, _ = self.expire_behind(mail_then_421)
        self.assertEqual(report["by_class"], {"system": 12})

    def test_a_greeting_that_refuses_is_named_in_the_report(self):
        """RFC 5321 4.5.4.1"""
        report, _ = self.expire_behind(greet_554)
        self.assertEqual(report["by_class"], {"sender-blocked": 12})

    def test_a_connection_that_ends_with_more_on_its_way_is_replaced_by_one_that_is_used(self):
        """Some of hundreds end while a recipient is being handed to them: he comes back when their place is taken already."""
        receivers = {f"d{n}.test": self.receiver(f"r{n}", "--cap-messages", "2") for n in range(20)}
        self.dns(receivers)
        self.configure(connections=1)
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        # What is not used is closed after this only, which is longer than the campaign may take.
        self.write("hikyaku.conf", text.replace(f"port = {self.port} }}", f"port = {self.port} idle_timeout = 5min }}"))
        self.send(rows=[f"u{n}@{domain}" for n in range(60) for domain in receivers], timeout=60)
        self.assertEqual(self.report()["counts"]["sent"], 60 * len(receivers))

    def test_who_chose_to_send_the_unknown_again_reaches_everyone(self):
        rows = [f"u{i}@a.test" for i in range(300)]
        a = self.receiver("a", "--drop-dot", "0.3")
        self.dns({"a.test": a})
        self.configure(more="campaign { unknown = resend }", give_up="30s")
        process = self.start_send(rows=rows)
        self.wait_for_events(100, process)
        process.kill()  # those in their dot are told unknown by the next node
        self.finish(process)
        self.send(expect=0)
        report = self.report()
        self.assertEqual(report["counts"]["sent"], len(rows), report["counts"])
        self.stop_receivers()
        taken = a.taken()
        self.assertEqual(set(taken), set(rows))
        self.assertGreater(max(taken.values()), 1)


if __name__ == "__main__":
    harness.main()
