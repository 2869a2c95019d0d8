#!/usr/bin/python3
"""TLS, each way in which it can go wrong under each policy (RFC 3207, 7672, 6698, 5280): what is delivered, and what the
event log says of it. Signed zones on NSD, a local authority, bench/sink as receiver.

Usage: tls_matrix.py BUILD_DIR [unittest arguments]

A cell of the matrix is a recipient of his own, at a domain, MX host and address of its own. What a sink has seen decides
whether he was sent to, and whether under TLS; mx_ip finds the line of the event log.
"""
import collections
import json
import os
import unittest

import harness
from certificates import Authority, self_signed
from sinks import Sink
from zones import forged, signed

POLICIES = ["none", "opportunistic", "required", "verified", "dane"]
PLAIN = ("sent", None, None)  # outcome, tls.policy, tls.verified_by
NEVER = ("expired", None, None)


def tls(policy, verified=None):
    return ("sent", policy, verified)


# row: what comes of it under none, opportunistic, required, verified, and with TLSA records that fit
MATRIX = {
    "notls": [PLAIN, PLAIN, NEVER, NEVER, NEVER],
    "selfsigned": [PLAIN, tls("opportunistic"), tls("required"), NEVER, tls("dane", "dane")],
    "expired": [PLAIN, tls("opportunistic"), tls("required"), NEVER, tls("dane", "dane")],
    "wrongname": [PLAIN, tls("opportunistic"), tls("required"), NEVER, tls("dane", "dane")],
    "good": [PLAIN, tls("opportunistic", "pkix"), tls("required", "pkix"), tls("verified", "pkix"), tls("dane", "dane")],
    "refused": [PLAIN, PLAIN, NEVER, NEVER, NEVER],
    "hangs": [PLAIN, PLAIN, NEVER, NEVER, NEVER],
    "injected": [PLAIN, PLAIN, NEVER, NEVER, NEVER],
}
# name: (what the sink is, policy of the domain, outcome, what its case is)
MORE = {
    "mismatch": ("good", "dane", NEVER),            # RFC 7672 2.2: authentication fails, nothing is sent
    "mismatch-required": ("good", "required", NEVER),   # DANE wins over required
    "ignored-verified": ("good", "verified", tls("verified", "pkix")),  # the operator's word stands
    "ignored-none": ("good", "none", PLAIN),
    "ta-expired": ("expired", "dane", NEVER),       # 3.1.2: with usage 2 the chain is checked as ever
    "ta-wrongname": ("wrongname", "dane", NEVER),   # 3.2
    "ta-nexthop": ("nexthop", "dane", tls("dane", "dane")),     # 3.2.2: the recipient's domain
    "ta-nexthop-other": ("nexthop", "dane", NEVER),  # ... of another recipient is no name for this one
    "ta-nexthop-shared": ("nexthop", "dane", NEVER),  # ... even where both have the same host
    "ta-nexthop-alias": ("nexthop", "dane", tls("dane", "dane")),  # 3.2.2: what the domain is an alias of
    "ta-full": ("good", "dane", tls("dane", "dane")),   # 2 0 0
    "ee-full": ("selfsigned", "dane", tls("dane", "dane")),     # 3 1 0
    "ee-sha512": ("selfsigned", "dane", tls("dane", "dane")),   # 3 0 2
    "rollover": ("selfsigned", "dane", tls("dane", "dane")),    # one of several records fits
    "unusable": ("selfsigned", "dane", tls("required")),        # 2.2: usages 0 and 1 alone: TLS, not verified
    "unusable-notls": ("notls", "dane", NEVER),
    "bogus": ("good", "dane", NEVER),               # 2.1.2: the look-up fails, the host is not used
    "bogus-next": ("good", "dane", tls("opportunistic", "pkix")),   # ... and another one is
    "unsigned": ("selfsigned", "dane", tls("opportunistic")),   # 2.2.1: without DNSSEC the records count for nothing
    "unsigned-mx": ("good", "dane", tls("opportunistic", "pkix")),  # ... nor where only the host is signed
    "alias": ("selfsigned", "dane", tls("dane", "dane")),       # 2.2.2: at the end of the CNAME
    "alias-own": ("selfsigned", "dane", tls("dane", "dane")),   # 2.2.2: at the alias itself
    "alias-out": ("selfsigned", "dane", tls("dane", "dane")),   # 2.2.2: a secure alias into an unsigned zone
    "no-mx": ("good", "dane", tls("dane", "dane")),             # 2.2.2: the domain is the host
}
TLS12 = """openssl_conf = here
[here]
ssl_conf = versions
[versions]
system_default = limits
[limits]
MaxProtocol = TLSv1.2
"""
PROVIDER = """provider "%s" {{ domains = {{ "*.%s.test" }} tls = %s max_connections = 10 max_connection_rate = "none"
                      rate = "none" messages_per_connection = 100 }}
"""


def domain_of(name, policy):
    if name == "unsigned-mx":
        return "unsigned-mx.plain.dane.test"
    return f"{name}.{policy}.test"


class World(harness.Case):
    """Sinks, zones and a configuration. cells: name -> (kind of sink, policy, ...)."""

    def build(self, cells, routes=""):
        self.address, self.host, self.sinks, self.sink_of, self.tlsa = {}, {}, {}, {}, {}
        self.ca = Authority(self.dir)
        for number, (name, cell) in enumerate(cells.items()):
            self.address[name] = f"127.{self.net}.77.{number + 1}"
            self.host[name] = f"{name}.mx.test"
            self.sink_of[name] = cell[0]
        self.leaves = {
            "selfsigned": self_signed(self.dir, "selfsigned", self.hosts_of("selfsigned")),
            "expired": self.ca.leaf("expired", self.hosts_of("expired"), expired=True),
            "wrongname": self.ca.leaf("wrongname", ["other.test"]),
            "nexthop": self.ca.leaf("nexthop", [domain_of("ta-nexthop", "dane"), "nexthop.real.test"]),
            "tls12": self.ca.leaf("tls12", self.hosts_of("tls12")),
        }
        good = self.ca.leaf("good", self.hosts_of("good") + self.extra_names())
        for kind in ("good", "refused", "hangs", "injected"):
            self.leaves[kind] = good
        for kind in dict.fromkeys(self.sink_of.values()):
            self.sink_start(kind)

    def extra_names(self):
        return []

    def hosts_of(self, kind):
        return [self.host[n] for n in self.host if self.sink_of[n] == kind] or ["nobody.test"]

    def sink_start(self, kind):
        options = ["--quiet"]
        if kind in self.leaves:
            options += ["--tls", self.leaves[kind].certificate, self.leaves[kind].key]
        wrong = {"refused": "refuse", "hangs": "hang", "injected": "inject"}
        if kind in wrong:
            options += ["--starttls", wrong[kind]]
        listen = [f"{self.address[n]}:{self.port}" for n in self.address if self.sink_of[n] == kind]
        sink = Sink(harness.BUILD, *options, listen=listen)
        self.addCleanup(sink.stop)
        if kind == "tls12":
            os.environ["OPENSSL_CONF"] = self.write("tls12.cnf", TLS12)
        try:
            sink.start()
        finally:
            os.environ.pop("OPENSSL_CONF", None)
        self.sinks[kind] = sink

    def zone_line(self, name, *tlsa):
        """Address and TLSA records of a cell's host."""
        return "".join([f"{self.host[name]}. A {self.address[name]}\n"] +
                       [f"_{self.port}._tcp.{self.host[name]}. TLSA {t}\n" for t in tlsa])

    def serve(self, zone, unsigned="", unsigned_mx="", forge=()):
        text, anchor = signed("test", zone + "plain NS ns.plain\nplain.dane NS ns.plain\n")
        for change in forge:
            text = forged(text, *change)
        self.nsd = harness.Nsd({"test": text, "plain.test": unsigned, "plain.dane.test": unsigned_mx}).start()
        self.write("anchor.key", anchor)

    def set_up_node(self, more="", **how):
        providers = "".join(PROVIDER.format() % (p, p, "opportunistic" if p == "dane" else p) for p in POLICIES)
        self.configure(providers + more, give_up="3s", **how)
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        for old, new in ((f"port = {self.port} }}", f"port = {self.port} starttls_timeout = 500ms }}"),
                         ("tls      { policy = opportunistic }",
                          f'tls      {{ policy = opportunistic ca_file = "{self.ca.file}" }}'),
                         (f'"{self.nsd.server()}" }} }}',
                          f'"{self.nsd.server()}" }} trust_anchor_file = "{self.path("anchor.key")}" }}')):
            self.assertIn(old, text)
            text = text.replace(old, new)
        self.write("hikyaku.conf", text)

    def event_lines(self):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def seen(self):
        """recipient -> (times, under TLS) at the sinks."""
        found = {}
        for sink in self.sinks.values():
            for line in sink.log():
                if line.event in ("accepted", "ambiguous"):
                    times = found.get(line.text, (0, None))[0]
                    found[line.text] = (times + 1, line.tls)
        return found

    def judge(self, recipients, want):
        """recipients: name -> address. want: name -> (outcome, policy, verified)."""
        seen, events = self.seen(), self.event_lines()
        sent = {e["recipient"]: e for e in events if e.get("outcome") == "sent"}
        states = {r["recipient"]: r["state"] for r in self.recipients()}
        wrong = []
        for name, recipient in recipients.items():
            outcome, policy, verified = want[name]
            says = sent.get(recipient, {}).get("tls", {})
            got = (states[recipient], says.get("policy"), says.get("verified_by"))
            wire = seen.get(recipient, (0, None))
            wire_want = (1, policy is not None) if outcome == "sent" else (0, None)
            suite = says.get("cipher")
            if got != want[name] or wire != wire_want or (policy and not suite) or \
                    (says.get("version") == "TLSv1.3" and suite != "TLS_AES_128_GCM_SHA256"):
                lines = [e for e in events if e.get("recipient") == recipient or
                         e.get("mx_ip") == self.address.get(name)]
                wrong.append(f"{name}: {got} wanted {want[name]}; at the sink {wire} wanted {wire_want}; {lines[-2:]}")
        self.assertEqual(wrong, [], "\n".join(wrong))
        return sent


class Matrix(World):
    def extra_names(self):
        return [domain_of("no-mx", "dane")]

    def test_every_receiver_under_every_policy(self):
        cells = {f"{row}-{policy}": (row, policy, want)
                 for row, wants in MATRIX.items() for policy, want in zip(POLICIES, wants)}
        cells.update(MORE)
        cells["tls12"] = ("tls12", "verified", tls("verified", "pkix"))
        self.build(cells)
        zone, unsigned, forge = self.zone(cells)
        # The same provider, and the host of "mismatch": what DANE asks of one domain is not asked of the other.
        self.serve(zone, unsigned, f"unsigned-mx MX 10 {self.host['mismatch']}.\n", forge)
        self.set_up_node()
        recipients = {name: f"u@{domain_of(name, cell[1])}" for name, cell in cells.items()}
        self.send(rows=list(recipients.values()), timeout=35)
        sent = self.judge(recipients, {name: cell[2] for name, cell in cells.items()})
        self.check_versions(sent, recipients)
        self.check_reasons(cells)

    def zone(self, cells):
        lines, unsigned, forge = [], "", []
        fit = {row: self.leaves[row].tlsa(3, 1, 1) for row in self.leaves}
        fit.update(notls=fit["good"], good=self.ca.tlsa(2, 0, 1))
        other = self.leaves["wrongname"].tlsa(3, 1, 1)
        own = self.leaves["selfsigned"]
        records = {
            "mismatch": [other], "mismatch-required": [other], "ignored-verified": [other], "ignored-none": [other],
            "ta-full": [self.ca.tlsa(2, 0, 0)], "ee-full": [own.tlsa(3, 1, 0)], "ee-sha512": [own.tlsa(3, 0, 2)],
            "rollover": [other, own.tlsa(3, 1, 1), self.ca.tlsa(2, 1, 1)],
            "unusable": [other.replace("3", "1", 1), other.replace("3", "0", 1)],
            "unusable-notls": [other.replace("3", "1", 1)],
            "bogus": [self.leaves["good"].tlsa(3, 1, 1)], "bogus-next": [],
        }
        records.update({name: [self.ca.tlsa(2, 0, 1)] for name in cells if name.startswith("ta-") and name != "ta-full"})
        for name, (row, policy, _) in cells.items():
            domain = domain_of(name, policy)
            special = getattr(self, "zone_" + name.replace("-", "_"), None)
            if special:
                more, plain = special(domain, fit[row])
                lines += more
                unsigned += plain
                continue
            tlsa = records.get(name, [fit[row]] if policy == "dane" else [])
            lines += [f"{domain}. MX 10 {self.host[name]}.\n", self.zone_line(name, *tlsa)]
        # A whole answer, then one octet of it changed: SERVFAIL is what libunbound makes of both.
        for name in ("bogus", "first.bogus-next"):
            forge.append((f"_{self.port}._tcp.{name}.mx.test", "TLSA", "3 1 1 ", "3 1 1 00"))
        return "".join(lines), unsigned, forge

    def zone_bogus_next(self, domain, fit):
        name = "bogus-next"
        return [f"{domain}. MX 5 first.{self.host[name]}.\n", f"{domain}. MX 10 {self.host[name]}.\n",
                f"first.{self.host[name]}. A {self.address['bogus']}\n", self.zone_line(name),
                f"_{self.port}._tcp.first.{self.host[name]}. TLSA {self.leaves['good'].tlsa(3, 1, 1)}\n"], ""

    def zone_unsigned_mx(self, domain, fit):
        return [], ""

    def zone_ta_nexthop_shared(self, domain, fit):
        return [f"{domain}. MX 10 {self.host['ta-nexthop']}.\n"], ""

    def zone_unsigned(self, domain, fit):
        name, host = "unsigned", "mx.plain.test"
        return [f"{domain}. MX 10 {host}.\n"], (f"mx A {self.address[name]}\n_{self.port}._tcp.mx TLSA "
                                              f"{self.leaves['good'].tlsa(3, 1, 1)}\n")

    def zone_alias(self, domain, fit):
        name = "alias"
        return [f"{domain}. MX 10 {self.host[name]}.\n", f"{self.host[name]}. CNAME end.alias.test.\n",
                f"end.alias.test. A {self.address[name]}\n", f"_{self.port}._tcp.end.alias.test. TLSA {fit}\n"], ""

    def zone_alias_own(self, domain, fit):
        name = "alias-own"
        return [f"{domain}. MX 10 {self.host[name]}.\n", f"{self.host[name]}. CNAME own.alias.test.\n",
                f"own.alias.test. A {self.address[name]}\n", f"_{self.port}._tcp.{self.host[name]}. TLSA {fit}\n"], ""

    def zone_alias_out(self, domain, fit):
        name = "alias-out"
        return [f"{domain}. MX 10 {self.host[name]}.\n", f"{self.host[name]}. CNAME out.plain.test.\n",
                f"_{self.port}._tcp.{self.host[name]}. TLSA {fit}\n"], f"out A {self.address[name]}\n"

    def zone_no_mx(self, domain, fit):
        return [f"{domain}. A {self.address['no-mx']}\n", f"_{self.port}._tcp.{domain}. TLSA {fit}\n"], ""

    def zone_ta_nexthop_alias(self, domain, fit):
        name = "ta-nexthop-alias"
        return [f"{domain}. CNAME nexthop.real.test.\n", f"nexthop.real.test. MX 10 {self.host[name]}.\n",
                self.zone_line(name, self.ca.tlsa(2, 0, 1))], ""

    def check_versions(self, sent, recipients):
        self.assertEqual(sent[recipients["good-verified"]]["tls"]["version"], "TLSv1.3")
        self.assertEqual(sent[recipients["tls12"]]["tls"]["version"], "TLSv1.2")

    def check_reasons(self, cells):
        """Who was not sent to: phase and words of the last line of his host."""
        words = {
            "notls-required": "STARTTLS is not offered", "notls-dane": "STARTTLS is not offered",
            "selfsigned-verified": "self-signed", "expired-verified": "expired", "wrongname-verified": "another host",
            "refused-dane": "TLS is not to be had", "hangs-required": "timed out", "injected-dane": "before TLS began",
            "mismatch": "TLSA", "ta-expired": "expired", "ta-wrongname": "name", "bogus": "TLSA records",
        }
        last = {e["mx_ip"]: e["reply"] for e in self.event_lines() if e.get("outcome") == "deferred" and "mx_ip" in e}
        for name, word in words.items():
            reply = last.get(self.address[name], {"text": "no line", "phase": ""})
            self.assertIn(word, reply["text"], name)
        phases = collections.Counter(
            e["phase"] for e in self.event_lines() if e.get("outcome") == "deferred" and "mx_ip" in e)
        self.assertEqual(set(phases), {"starttls"}, phases)


class Routes(World):
    """RFC 7672 2.2.3 and the policy of a route: the relay is the host, whatever the domain's MX says."""

    def test_a_route_has_its_own_policy_and_its_relay_has_tlsa_records(self):
        policies = ["none", "opportunistic", "required", "verified"]
        cells = {f"relay-{p}": ("selfsigned", p) for p in policies}
        cells["relay-dane"] = ("selfsigned", "opportunistic")
        cells["relay-mismatch"] = ("selfsigned", "opportunistic")
        self.build(cells)
        fit = {"relay-dane": [self.leaves["selfsigned"].tlsa(3, 1, 1)],
               "relay-mismatch": [self.leaves["expired"].tlsa(3, 1, 1)]}
        self.serve("".join(self.zone_line(name, *fit.get(name, [])) for name in cells))
        self.set_up_node("".join(
            f'route "{name}.routed.test" {{ relay = "{self.host[name]}:{self.port}" tls = {cell[1]} }}\n'
            for name, cell in cells.items()))
        recipients = {name: f"u@{name}.routed.test" for name in cells}
        self.send(rows=list(recipients.values()), timeout=30)
        self.judge(recipients, {"relay-none": PLAIN, "relay-opportunistic": tls("opportunistic"),
                                "relay-required": tls("required"), "relay-verified": NEVER,
                                "relay-dane": tls("dane", "dane"), "relay-mismatch": NEVER})


class Sessions(World):
    def test_sessions_are_resumed_and_judged_as_before(self):
        cells = {"resumed-dane": ("selfsigned", "dane"), "resumed-verified": ("good", "verified")}
        self.build(cells)
        self.serve("".join(
            f"{domain_of(name, cell[1])}. MX 10 {self.host[name]}.\n" +
            self.zone_line(name, *([self.leaves[cell[0]].tlsa(3, 1, 1)] if cell[1] == "dane" else []))
            for name, cell in cells.items()))
        self.set_up_node()
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        self.write("hikyaku.conf", text.replace("messages_per_connection = 100", "messages_per_connection = 1")
                   .replace("max_connections = 10", "max_connections = 1").replace("workers   = 2", "workers = 1"))
        rows = [f"u{i}@{domain_of(name, cell[1])}" for name, cell in cells.items() for i in range(4)]
        self.send(rows=rows, timeout=30)
        sent = [e for e in self.event_lines() if e.get("outcome") == "sent"]
        self.assertEqual(collections.Counter(e["tls"]["verified_by"] for e in sent), {"dane": 4, "pkix": 4})
        for sink in self.sinks.values():
            ledger = sink.ledger()
            self.assertEqual((ledger["tls"], ledger["tls_resumed"]), (4, 3), ledger)


if __name__ == "__main__":
    harness.main()
