#!/usr/bin/python3
"""A receiver that asks who we are (RFC 5246 7.4.6, RFC 8446 4.4.2): Postfix that asks for a client certificate, or demands one
(and says so in a reply), and Exim that breaks TLS off without one; under TLS 1.2 and 1.3.

Usage: client_certificate.py BUILD_DIR [unittest arguments]

What the receiver says of a message's way in (its Received field) is what counts: which certificate it saw, and whether it
trusted it. Each is the MX of several domains, whose providers differ in what they show it.
"""
import json
import os
import re

import harness
from certificates import Authority, self_signed
from mtas import Exim
from postfix import Postfix

VERSIONS = ("TLSv1.2", "TLSv1.3")
# domain: (the receiver, what is shown, whom it sees in the end; or, where nobody is let in, what the event log says)
KNOWN, STRANGER, NOBODY = ("mta.news.test", "verified OK"), ("stranger.test", "not verified"), ()
DOMAINS = {
    "known": ("demands", "client", KNOWN),
    "nameless": ("demands", None, "Error: No client certificate presented"),
    "stranger": ("demands", "stranger", "Error: Client certificate not trusted"),
    "asked-known": ("asks", "client", KNOWN),
    "asked-nameless": ("asks", None, NOBODY),
    "asked-stranger": ("asks", "stranger", STRANGER),
    "exim-known": ("breaks", "client", ()),
    "exim-nameless": ("breaks", None, "; the server asked for a client certificate, and no client_certificate is set for it"),
    "exim-stranger": ("breaks", "stranger",
                      "; the server asked for a client certificate, and was shown that of {dir}/stranger.pem"),
}
EXIM = """tls_verify_hosts = *
tls_verify_certificates = {ca}
tls_require_ciphers = NORMAL:-VERS-ALL:+VERS-{version}
"""
PROVIDER = """provider "{0}" {{ domains = {{ "{0}.test" }} {1} max_connections = 2 max_connection_rate = "none" rate = "none"
                      messages_per_connection = 2 }}
"""
CLIENT = 'client_certificate = "{0}.pem" client_key = "{0}.key"'
EACH = 6


class ClientCertificate(harness.Case):
    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o711)  # Postfix reads the authority as itself
        self.ca = Authority(self.dir)
        for leaf in (self.ca.leaf("client", ["mta.news.test"]), self_signed(self.dir, "stranger", ["stranger.test"])):
            os.chmod(leaf.key, 0o600)

    def postfix(self, name, version, demand, domains):
        harness.Case.next_address += 1
        settings = {"smtpd_tls_security_level": "encrypt", "smtpd_tls_ask_ccert": "yes",
                    "smtpd_tls_req_ccert": "yes" if demand else "no", "smtpd_tls_CAfile": self.ca.file,
                    "smtpd_tls_mandatory_protocols": version, "smtpd_tls_protocols": version}
        mta = Postfix(f"127.{self.net}.9.{harness.Case.next_address}", self.port, domains, hostname=f"{name}.mx.test",
                      settings=settings)
        mta.name = name
        mta.start()
        self.addCleanup(mta.stop)
        return mta

    def exim(self, name, version):
        harness.Case.next_address += 1
        mta = Exim(f"127.{self.net}.9.{harness.Case.next_address}", self.port, hostname=f"{name}.mx.test",
                   settings=EXIM.format(ca=self.ca.file, version=version.replace("v", "")))
        mta.name = name
        mta.start()
        self.addCleanup(mta.stop)
        return mta

    def receiver_of(self, kind, version, domains):
        name = kind + version[-1]
        if kind == "breaks":
            return self.exim(name, version)
        return self.postfix(name, version, kind == "demands", [f"{d}.test" for d in domains])

    @staticmethod
    def seen(content):
        """(TLS version, CN, trusted) of the last hop; of Exim, which says no more, the version."""
        received = re.search(rb"Received: .*?;", content, re.DOTALL)[0].decode()
        version = re.search(r"(TLSv?1\.\d)", received)[1].replace("TLS1", "TLSv1")
        shown = re.search(r'Client CN "([^"]*)".*\((verified OK|not verified)\)', received, re.DOTALL)
        return (version, *(shown.groups() if shown else ()))

    def attempts(self, domain):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            events = [e for e in map(json.loads, f) if e["type"] == "attempt"]
        return [e for e in events if e.get("site") == domain]

    def world(self):
        """domain -> (version, row of DOMAINS), and the Postfixes of them."""
        self.domains, mx = {}, {}
        for version in VERSIONS:
            for kind in ("demands", "asks", "breaks"):
                mine = {f"{domain}-{version[-1]}": (version, row) for domain, row in DOMAINS.items() if row[0] == kind}
                mta = self.receiver_of(kind, version, mine)
                self.domains.update(mine)
                mx.update({f"{domain}.test": mta for domain in mine})
        return mx

    def test_who_asks_is_shown_what_is_set_for_it(self):
        """RFC 8446 4.4.2, RFC 5246 7.4.6."""
        mx = self.world()
        self.dns(mx)
        self.configure("".join(PROVIDER.format(domain, CLIENT.format(row[1]) if row[1] else "")
                               for domain, (_, row) in self.domains.items()), tls="required", give_up="3s")
        self.send(rows=[f"u{n}@{domain}.test" for n in range(EACH) for domain in self.domains])
        states = {r["recipient"]: r["state"] for r in self.recipients()}
        for domain, (version, (_, _, wanted)) in self.domains.items():
            refused = isinstance(wanted, str)
            mta, mine = mx[f"{domain}.test"], [f"u{n}@{domain}.test" for n in range(EACH)]
            came = [self.seen(content) for to, content in mta.messages() if to in mine]
            self.assertEqual(came, [] if refused else [(version, *wanted)] * EACH, domain)
            self.assertEqual({states[to] for to in mine}, {"expired" if refused else "sent"}, domain)
            self.judge_log(self.attempts(domain), version, wanted)

    def judge_log(self, attempts, version, wanted):
        self.assertTrue(attempts)
        for attempt in attempts:
            if isinstance(wanted, str):
                self.assertIn(wanted.format(dir=self.dir), attempt["reply"]["text"])
            else:
                self.assertEqual((attempt["tls"]["version"], attempt["tls"]["policy"]), (version, "required"))

    def test_a_relay_is_shown_what_its_route_has(self):
        """RFC 8446 4.4.2."""
        mta = self.postfix("relay", "TLSv1.3", True, ["a.test"])
        self.dns({})
        self.configure(f'route "*" {{ relay = "{mta.address}:{mta.port}" tls = required {CLIENT.format("client")} }}')
        self.send(rows=["u1@a.test", "u2@a.test"])
        self.assertEqual([self.seen(content) for _, content in mta.messages()], [("TLSv1.3", *KNOWN)] * 2)

    def check(self, client, expect):
        self.configure(f'route "*" {{ relay = "127.0.0.1:25" {client} }}')
        return self.hikyaku("config", "check", "--config", self.path("hikyaku.conf"), expect=expect).err

    def test_what_cannot_be_used_is_told_at_start(self):
        self.dns({})
        self.assertEqual(self.check(CLIENT.format("client"), 0).count("warning"), 1)  # no DKIM
        self.assertIn('route "*": ' + self.path("nowhere.pem"), self.check('client_certificate = "nowhere.pem"', 2))
        words = self.check('client_certificate = "client.pem" client_key = "stranger.key"', 2)
        self.assertIn("it is not the key of the certificate in", words)
        self.assertIn("no private key in PEM form", self.check('client_certificate = "client.pem"', 2))
        os.chmod(self.ca.leaf("old", ["old.test"], expired=True).key, 0o644)
        words = self.check(CLIENT.format("old"), 0)
        self.assertIn('route "*": ' + self.path("old.pem") + ": the client certificate has expired", words)
        self.assertIn(self.path("old.key") + " can be read by others", words)


if __name__ == "__main__":
    harness.main()
