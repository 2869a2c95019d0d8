"""RFC 5321 and its extensions, the whole program: what DNS and receivers say, and what becomes of the recipients.

Receivers are `Mta` below: a few lines of SMTP server, one thread for each connection, which write down what each
connection said. docs/conformance.md lists which test stands for which rule.
"""
import json
import socket
import threading

import harness


class Talk:
    """What one connection said."""

    def __init__(self, address):
        self.address, self.mail, self.rcpt, self.taken = address, 0, [], []


class Mta:
    """A receiver. `offers`: lines of its EHLO reply; `rcpt(talk, path)`: its reply to RCPT; `greeting`: its first line."""

    def __init__(self, address, port, offers=("PIPELINING",), rcpt=lambda talk, path: "250 ok", greeting="220 mx"):
        self.offers, self.answer_rcpt, self.greeting = offers, rcpt, greeting
        self.talks = []
        self.listener = socket.create_server((address, port), backlog=64)
        self.name, self.address = "mta" + address.replace(".", "-"), address
        threading.Thread(target=self.accept, daemon=True).start()

    def stop(self):
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        talk = Talk(self.address)
        self.talks.append(talk)
        with client:
            client.settimeout(20)
            try:
                self.speak(client, client.makefile("rb"), talk)
            except OSError:
                pass

    def speak(self, client, lines, talk):
        def say(*texts):
            client.sendall("".join(t + "\r\n" for t in texts).encode())
        say(self.greeting)
        good = []
        for line in lines:
            word, _, rest = line.decode().strip().partition(" ")
            if self.greeting[0] != "2":
                return
            if word == "EHLO":
                offers = ["mx", *self.offers]
                say(*[f"250-{o}" for o in offers[:-1]], f"250 {offers[-1]}")
            elif word == "MAIL":
                talk.mail += 1
                good = []
                say("250 ok")
            elif word == "RCPT":
                path = rest[len("TO:<"):-1]
                talk.rcpt.append(path)
                reply = self.answer_rcpt(talk, path)
                good += [path] if reply[0] == "2" else []
                say(*reply.split("|"))
                if reply.endswith("|"):
                    return
            elif word == "DATA" and good:
                say("354 go on")
                while lines.readline() not in (b".\r\n", b""):
                    pass
                talk.taken += good
                say("250 2.0.0 queued")
            elif word == "DATA":
                say("554 no valid recipients")
            else:
                say("221 bye" if word == "QUIT" else "250 ok")

    def taken(self):
        return [path for talk in self.talks for path in talk.taken]


class Conformance(harness.Case):
    def mta(self, **options):
        harness.Case.next_address += 1
        mta = Mta(f"127.{self.net}.8.{harness.Case.next_address}", self.port, **options)
        self.addCleanup(mta.stop)
        return mta

    def events_of(self, kind="attempt"):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            events = [json.loads(line) for line in f]
        return [e for e in events if e["type"] == kind]

    def states(self):
        return {r["recipient"]: r["state"] for r in self.recipients()}

    def suppressed(self, address):
        return self.hikyaku("suppress", "check", "--config", self.path("hikyaku.conf"), address).status == 1

    def zone(self, text, **mtas):
        """DNS of this text, with NAME.mx.test for each receiver."""
        hosts = "".join(f"{name}.mx.test. A {mta.address}\n" for name, mta in mtas.items())
        self.dns({}, hosts + text)

    def test_5321_equal_preference_is_shared_and_a_worse_one_is_left_alone(self):
        """RFC 5321 5.1: randomise among equals; a less preferred host only where none of the better answers."""
        a, b, c = self.mta(), self.mta(), self.mta()
        self.zone("d.test. MX 10 a.mx.test.\nd.test. MX 10 b.mx.test.\nd.test. MX 20 c.mx.test.\n", a=a, b=b, c=c)
        self.configure(more='provider "all" { mx = { "*.mx.test" } messages_per_connection = 1 }')
        self.send(rows=[f"u{i}@d.test" for i in range(60)])
        self.assertEqual(len(a.taken()) + len(b.taken()), 60)
        # One answer of DNS, 60 connections, each of which draws: one host alone has a chance of 2 in 2**60.
        self.assertTrue(a.taken() and b.taken(), (len(a.taken()), len(b.taken())))
        self.assertEqual(c.talks, [])

    def test_5321_a_second_address_is_tried(self):
        """RFC 5321 5.1: at least two addresses; of a host that answers 4yz to the greeting, too."""
        full, good = self.mta(greeting="421 4.3.2 full"), self.mta()
        self.zone("nobody.mx.test. A 127.0.0.254\n"
                  "d.test. MX 10 nobody.mx.test.\nd.test. MX 20 full.mx.test.\nd.test. MX 30 good.mx.test.\n",
                  full=full, good=good)
        self.configure()
        self.send(rows=["u1@d.test", "u2@d.test"])
        self.assertEqual(sorted(good.taken()), ["u1@d.test", "u2@d.test"])
        self.assertEqual({e["outcome"] for e in self.events_of()}, {"sent"})

    def test_5321_a_host_of_our_own_name_is_never_sent_to(self):
        """RFC 5321 5.1: it and all of no better preference are dropped; where none is left, nothing is sent."""
        ours, better, worse = self.mta(), self.mta(), self.mta()
        self.zone(f"mta.news.test. A {ours.address}\n"
                  "some.test. MX 20 mta.news.test.\nsome.test. MX 10 better.mx.test.\nsome.test. MX 30 worse.mx.test.\n"
                  "all.test. MX 10 mta.news.test.\nall.test. MX 10 better.mx.test.\nall.test. MX 20 worse.mx.test.\n",
                  better=better, worse=worse)
        self.configure()
        self.send(rows=["u@some.test", "u@all.test", "u@mta.news.test"])
        self.assertEqual(self.states(), {"u@some.test": "sent", "u@all.test": "bounced", "u@mta.news.test": "bounced"})
        self.assertEqual(better.taken(), ["u@some.test"])
        self.assertEqual(ours.talks + worse.talks, [])
        words = {e["recipient"]: e["reply"]["text"] for e in self.events_of() if e["outcome"] == "bounced"}
        self.assertIn("this host is itself the best MX of all.test: write a route", words["u@all.test"])
        self.assertEqual({e["disposition"] for e in self.events_of() if e["outcome"] == "bounced"}, {"none"})
        self.assertFalse(self.suppressed("u@all.test"))

    def test_5321_a_host_at_an_address_of_our_own_is_never_sent_to(self):
        """RFC 5321 5.1: this host under another name, told by its address, here the one in front of a NAT."""
        better, worse = self.mta(), self.mta()
        self.zone("ours.mx.test. A 203.0.113.7\nalone.test. A 203.0.113.7\n"
                  "some.test. MX 20 ours.mx.test.\nsome.test. MX 10 better.mx.test.\nsome.test. MX 30 worse.mx.test.\n"
                  "all.test. MX 10 ours.mx.test.\nall.test. MX 20 worse.mx.test.\n", better=better, worse=worse)
        self.configure(more=f'source "nat" {{ address = "127.{self.net}.8.250" public_address = "203.0.113.7" }}')
        self.send(rows=["u@some.test", "u@all.test", "u@alone.test"])
        self.assertEqual(self.states(), {"u@some.test": "sent", "u@all.test": "bounced", "u@alone.test": "bounced"})
        self.assertEqual((better.taken(), worse.talks), (["u@some.test"], []))
        bounced = [e for e in self.events_of() if e["outcome"] == "bounced"]
        self.assertEqual({e["disposition"] for e in bounced}, {"none"})
        self.assertIn("this host is itself the best MX of all.test: write a route",
                      {e["recipient"]: e["reply"]["text"] for e in bounced}["u@all.test"])
        self.assertFalse(self.suppressed("u@all.test"))

    def test_7505_a_null_mx_bounces_at_once_and_its_address_record_is_not_used(self):
        """RFC 7505 3, 4.1: no delivery is tried, and there is no fallback to A."""
        a = self.mta()
        self.zone(f"d.test. MX 0 .\nd.test. A {a.address}\n")
        self.configure()
        self.send(rows=["u@d.test"])
        self.assertEqual(self.states(), {"u@d.test": "bounced"})
        self.assertEqual(a.talks, [])
        self.assertTrue(self.suppressed("u@d.test"))

    def test_7504_521_from_every_host_bounces_at_once(self):
        """RFC 7504 3, 5: a host that takes no mail; nobody is suppressed for a host's word."""
        no = [self.mta(greeting="521 5.3.2 mx does not accept mail") for _ in range(2)]
        self.zone("d.test. MX 10 no1.mx.test.\nd.test. MX 20 no2.mx.test.\n", no1=no[0], no2=no[1])
        self.configure(schedule="1h", give_up="2h")
        self.send(rows=[f"u{i}@d.test" for i in range(20)], timeout=30)
        self.assertEqual(self.report()["counts"]["bounced"], 20)
        self.assertEqual(self.report()["by_class"], {"domain-invalid": 20})
        self.assertEqual([len(mta.talks) for mta in no], [1, 1])
        reply = self.events_of()[0]["reply"]
        self.assertEqual((reply["code"], reply["enhanced"]), (521, "5.3.2"))
        self.assertFalse(self.suppressed("u1@d.test"))

    def test_7504_521_from_one_host_while_another_is_out_of_reach_is_a_deferral(self):
        """RFC 7504 3: the word of one host is not that of the other, which may come back."""
        no = self.mta(greeting="521 5.3.2 mx does not accept mail")
        self.zone("nobody.mx.test. A 127.0.0.254\nd.test. MX 10 no.mx.test.\nd.test. MX 20 nobody.mx.test.\n", no=no)
        self.configure(give_up="3s")
        self.send(rows=["u@d.test"])
        self.assertEqual(self.states(), {"u@d.test": "expired"})

    def test_7504_556_is_about_the_domain(self):
        """RFC 7504 4: bounced, and so is all that goes there later."""
        a = self.mta(rcpt=lambda talk, path: "556 5.1.10 no mail for this domain")
        self.zone("d.test. MX 10 a.mx.test.\n", a=a)
        self.configure()
        self.send(rows=["u@d.test"])
        self.assertEqual(self.report()["by_class"], {"domain-invalid": 1})
        self.assertTrue(self.suppressed("u@d.test"))

    def test_9422_mailmax_is_kept_in_every_session(self):
        """RFC 9422 4.1: MAILMAX transactions in a session, where the provider table allows more."""
        a = self.mta(offers=("PIPELINING", "LIMITS MAILMAX=3 RCPTMAX=1"))
        self.zone("d.test. MX 10 a.mx.test.\n", a=a)
        self.configure(connections=2)
        rows = [f"u{i}@d.test" for i in range(31)]
        self.send(rows=rows)
        self.assertEqual(sorted(a.taken()), sorted(rows))
        self.assertEqual(max(talk.mail for talk in a.talks), 3)

    def test_9422_rcptdomainmax_is_kept_in_every_session(self):
        """RFC 9422 4.3: so many recipient domains in a session, whatever shares the MX."""
        a = self.mta(offers=("PIPELINING", "LIMITS RCPTDOMAINMAX=2"))
        self.zone("".join(f"d{i}.test. MX 10 a.mx.test.\n" for i in range(9)), a=a)
        self.configure(connections=2)
        rows = [f"u{n}@d{i}.test" for n in range(4) for i in range(9)]
        self.send(rows=rows)
        self.assertEqual(sorted(a.taken()), sorted(rows))
        for talk in a.talks:
            self.assertLessEqual(len({path.split("@")[1] for path in talk.rcpt}), 2)

    def test_5321_552_at_rcpt_is_tried_again(self):
        """RFC 5321 4.5.3.1.10: 552 is 452 there, "too many recipients"; no full mailbox, and nobody bounces."""
        first = set()

        def once(_talk, path):
            if path in first:
                return "250 ok"
            first.add(path)
            return "552 try fewer"
        a = self.mta(rcpt=once)
        self.zone("d.test. MX 10 a.mx.test.\n", a=a)
        self.configure()
        self.send(rows=["u1@d.test", "u2@d.test"])
        self.assertEqual(self.report()["counts"]["sent"], 2)
        self.assertEqual({(e["class"], e["outcome"]) for e in self.events_of() if e["reply"]["code"] == 552},
                         {("rate-limited", "deferred")})

    def test_5321_an_address_literal_is_refused_with_its_row(self):
        """RFC 5321 4.1.3: user@[192.0.2.1] is a legal address that no list of ours may hold; a relay may be a literal."""
        a = self.mta()
        self.zone("d.test. MX 10 nowhere.test.\n")
        self.configure(more=f'route "d.test" {{ relay = "{a.address}:{self.port}" }}')
        done = self.send(rows=["u@[192.0.2.1]", "u@[IPv6:2001:db8::1]", "u@d.test"])
        self.assertEqual(self.report()["counts"]["sent"], 1)
        self.assertEqual(self.report()["rejected_rows"], 2)
        with open(self.path("state", "campaigns", "c", "rejected.csv"), encoding="utf-8") as f:
            self.assertIn("an IP address in brackets is not taken", f.read())
        self.assertIn("rejected.csv", done.err)
        self.assertEqual(a.taken(), ["u@d.test"])

    def test_5890_an_international_domain_is_asked_and_written_as_a_labels(self):
        """RFC 5890, 5891: U-labels in the list, A-labels in DNS and RCPT."""
        a = self.mta()
        self.zone("xn--wgv71a119e.test. MX 10 a.mx.test.\n", a=a)
        self.configure()
        self.send(rows=["u@日本語.test"])
        self.assertEqual(a.taken(), ["u@xn--wgv71a119e.test"])

    def test_6531_without_smtputf8_there_is_no_downgrade(self):
        """RFC 6531 3.1: the recipient fails with the reason; nothing about him is written."""
        a = self.mta()
        self.zone("d.test. MX 10 a.mx.test.\n", a=a)
        self.configure()
        self.send(rows=["飛脚@d.test", "u@d.test"])
        self.assertEqual(self.states(), {"飛脚@d.test": "bounced", "u@d.test": "sent"})
        self.assertEqual([path for talk in a.talks for path in talk.rcpt], ["u@d.test"])
        bounced = [e for e in self.events_of() if e["outcome"] == "bounced"]
        self.assertEqual(bounced[0]["reply"]["text"], "receiver does not offer SMTPUTF8")
        self.assertFalse(self.suppressed("飛脚@d.test"))

    def test_docomo_a_historic_address_is_raw_as_key_and_quoted_on_the_wire(self):
        """RFC 5321 4.1.2: the quoted form is the legal one; who understands only the raw one gets that, once."""
        quoted = self.mta()
        raw = self.mta(rcpt=lambda talk, path: "553 5.1.3 bad" if '"' in path else "250 ok")
        self.zone("docomo.ne.test. MX 10 quoted.mx.test.\nau.ne.test. MX 10 raw.mx.test.\nno.test. MX 10 raw.mx.test.\n",
                  quoted=quoted, raw=raw)
        self.configure(more='provider "d" { domains = { "docomo.ne.test" } legacy_local_part = yes }\n'
                            'provider "a" { domains = { "au.ne.test" } legacy_local_part = yes }\n')
        self.send(rows=["a..b@docomo.ne.test", "c.@au.ne.test", "d..d@no.test"])
        self.assertEqual(self.states(), {"a..b@docomo.ne.test": "sent", "c.@au.ne.test": "sent"})
        self.assertEqual(quoted.taken(), ['"a..b"@docomo.ne.test'])
        self.assertEqual(raw.talks[0].rcpt, ['"c."@au.ne.test', "c.@au.ne.test"])
        self.assertEqual({e["recipient"] for e in self.events_of()}, {"a..b@docomo.ne.test", "c.@au.ne.test"})

    def test_docomo_the_recipients_of_a_connection_stay_below_its_hundred(self):
        """RFC 5321 4.5.3.1.8 and docomo: 100 RCPT a session, the 101st undoes all; one recipient a transaction."""
        def carrier(talk, path):
            if len(talk.rcpt) > 100:
                return "554 Transaction failed|"
            return f"550 Unknown user {path}" if path.startswith("gone") else "250 ok"
        a = self.mta(rcpt=carrier)
        self.zone("docomo.ne.test. MX 10 a.mx.test.\n", a=a)
        self.configure(more='provider "docomo" { domains = { "docomo.ne.test" } rate = none }')
        rows = [f"u{i}@docomo.ne.test" for i in range(240)] + ["gone@docomo.ne.test"]
        self.send(rows=rows)
        self.assertEqual(sorted(a.taken()), sorted(rows[:-1]))
        self.assertLessEqual(max(len(talk.rcpt) for talk in a.talks), 20)
        self.assertEqual(max(len(talk.rcpt) - talk.mail for talk in a.talks), 0)
        self.assertTrue(self.suppressed("gone@docomo.ne.test"))

    def test_docomo_a_session_that_was_full_all_the_same_costs_nobody_his_mail(self):
        """RFC 5321 4.5.3.1.10 in the spirit: the 554 of a full session is tried again on another connection."""
        a = self.mta(rcpt=lambda talk, path: "554 Transaction failed|" if len(talk.rcpt) > 5 else "250 ok")
        self.zone("docomo.ne.test. MX 10 a.mx.test.\n", a=a)
        self.configure(more='provider "docomo" { domains = { "docomo.ne.test" } rate = none max_connections = 1 }')
        rows = [f"u{i}@docomo.ne.test" for i in range(23)]
        self.send(rows=rows)
        self.assertEqual(sorted(a.taken()), sorted(rows))
        self.assertEqual(self.report()["counts"]["sent"], len(rows))


if __name__ == "__main__":
    harness.main()
