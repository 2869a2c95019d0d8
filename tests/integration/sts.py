#!/usr/bin/python3
"""MTA-STS (RFC 8461) and TLS reports (RFC 8460): policies from a real HTTPS server with a local authority, zones on NSD,
bench/sink as receivers. What the sinks have seen decides what was sent; the reports have to say the same.

Usage: sts.py BUILD_DIR [unittest arguments]

The web server listens on port 443 of a loopback address, as the protocol wants it, so this needs root.
"""
import glob
import http.server
import json
import os
import ssl
import subprocess
import threading
import time
import unittest

import jsonschema

import harness
from certificates import Authority, self_signed
from zones import signed

ASK = os.path.join(harness.BUILD, "resolve", "resolve_ask")
MOVED = "/moved.txt"  # a good policy is there, for whoever follows a redirect
POLICY = "version: STSv1\nmode: {mode}\n{mx}max_age: {age}\n"

# RFC 8460 4.4, with nothing beside what it names.
REPORT = {
    "type": "object", "additionalProperties": False,
    "required": ["organization-name", "date-range", "contact-info", "report-id", "policies"],
    "properties": {
        "organization-name": {"type": "string"},
        "date-range": {
            "type": "object", "additionalProperties": False, "required": ["start-datetime", "end-datetime"],
            "properties": {k: {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
                           for k in ("start-datetime", "end-datetime")}},
        "contact-info": {"type": "string", "pattern": "@"},
        "report-id": {"type": "string", "minLength": 1},
        "policies": {"type": "array", "minItems": 1, "items": {
            "type": "object", "additionalProperties": False, "required": ["policy", "summary"],
            "properties": {
                "policy": {
                    "type": "object", "additionalProperties": False, "required": ["policy-type", "policy-domain"],
                    "properties": {
                        "policy-type": {"enum": ["tlsa", "sts", "no-policy-found"]},
                        "policy-string": {"type": "array", "items": {"type": "string"}},
                        "policy-domain": {"type": "string"},
                        "mx-host": {"type": "array", "items": {"type": "string"}}}},
                "summary": {
                    "type": "object", "additionalProperties": False,
                    "required": ["total-successful-session-count", "total-failure-session-count"],
                    "properties": {k: {"type": "integer", "minimum": 0}
                                   for k in ("total-successful-session-count", "total-failure-session-count")}},
                "failure-details": {"type": "array", "minItems": 1, "items": {
                    "type": "object", "additionalProperties": False, "required": ["result-type", "failed-session-count"],
                    "properties": {
                        "result-type": {"enum": [
                            "starttls-not-supported", "certificate-host-mismatch", "certificate-expired", "tlsa-invalid",
                            "dnssec-invalid", "dane-required", "certificate-not-trusted", "sts-policy-invalid",
                            "sts-webpki-invalid", "validation-failure", "sts-policy-fetch-error"]},
                        "sending-mta-ip": {"type": "string"},
                        "receiving-mx-hostname": {"type": "string"},
                        "receiving-mx-helo": {"type": "string"},
                        "receiving-ip": {"type": "string"},
                        "failed-session-count": {"type": "integer", "minimum": 1},
                        "additional-information": {"type": "string"},
                        "failure-reason-code": {"type": "string"}}}}}}}}}


def policy(mode, *mx, age=86400):
    return POLICY.format(mode=mode, mx="".join(f"mx: {m}\n" for m in mx), age=age)


class Page:
    """What the web server says for one domain; may be changed while it runs."""

    def __init__(self, body="", status=200, kind="text/plain", location=None, hang_s=0, length=True):
        self.body, self.status, self.kind, self.location = body, status, kind, location
        self.hang_s, self.length, self.asked = hang_s, length, 0


class Web:
    """An HTTPS server on port 443 of an address: pages by domain, certificates by the name that the client asks for."""

    def __init__(self, address, pages, certificates, otherwise):
        self.pages, self.end = pages, threading.Event()
        contexts = {}
        for name, leaf in [*certificates.items(), (None, otherwise)]:
            contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            contexts[name].load_cert_chain(leaf.certificate, leaf.key)

        def choose(sock, name, _):
            sock.context = contexts.get(name, contexts[None])
        contexts[None].sni_callback = choose
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 20

            def setup(self):
                self.request.settimeout(20)
                self.request.do_handshake()
                super().setup()

            def do_GET(self):
                web.answer(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # a client that goes away, as it may

        self.server = Server((address, 443), Handler)
        self.server.socket = contexts[None].wrap_socket(self.server.socket, server_side=True,
                                                        do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, request):
        host = request.headers.get("Host", "")
        page = self.pages.get(host.removeprefix("mta-sts."))
        if page is not None and request.path == MOVED:
            page = Page(policy("enforce", "mx.redirect.test"))
        elif page is None or request.path != "/.well-known/mta-sts.txt":
            request.send_error(404)
            return
        page.asked += 1
        self.end.wait(page.hang_s)
        body = page.body.encode()
        request.send_response(page.status)
        if page.location:
            request.send_header("Location", page.location)
        request.send_header("Content-Type", page.kind)
        if page.length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def stop(self):
        self.end.set()
        self.server.shutdown()
        self.server.server_close()


@unittest.skipUnless(os.geteuid() == 0, "port 443 needs root")
class Sts(harness.Case):
    def web(self, pages, wrong=()):
        """wrong: domain -> the certificate that its web server shows."""
        self.web_address = f"127.{self.net}.90.{harness.Case.next_address % 250 + 1}"
        harness.Case.next_address += 1
        good = self.ca.leaf("web", [f"mta-sts.{d}" for d in pages])
        server = Web(self.web_address, pages, {f"mta-sts.{d}": leaf for d, leaf in dict(wrong).items()}, good)
        self.addCleanup(server.stop)

    def setUp(self):
        super().setUp()
        self.ca = Authority(self.dir)

    def zone(self, domains, rua=(), ttl=300):
        """Who announces a policy, and who wants reports."""
        lines = [f'_mta-sts.{d}. {ttl} TXT "v=STSv1; id=1;"\nmta-sts.{d}. A {self.web_address}' for d in domains]
        lines += [f'_smtp._tls.{d}. TXT "v=TLSRPTv1; rua=mailto:tls@{d}"' for d in rua]
        return "\n".join(lines) + "\n"


class Discovery(Sts):
    """The resolver process alone."""

    def serve(self, pages, wrong=(), ttl=300, silent=()):
        self.web(pages, wrong)
        self.mx = "".join(f"{d}. {ttl} MX 10 mx.{d}.\nmx.{d}. A 127.0.0.9\n" for d in pages)
        self.nsd = harness.Nsd({"test": self.zone([d for d in pages if d not in silent], ttl=ttl) + self.mx}).start()

    def start_asking(self, *options):
        process = subprocess.Popen([ASK, "--server", self.nsd.server(), "--ca", self.ca.file, *options],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.running.append(process)
        self.addCleanup(process.stdin.close)
        return process

    def ask(self, process, domain):
        process.stdin.write(f"mx {domain}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())["sts"]

    def ask_all(self, domains, *options):
        process = self.start_asking(*options)
        out, _ = process.communicate("".join(f"mx {d}\n" for d in domains), timeout=60)
        found = [json.loads(line) for line in out.splitlines()]
        return {a["name"]: a for a in found if "name" in a}

    def test_what_a_policy_server_says(self):
        enforce = policy("enforce", "mx.good.test", "*.wild.test")
        pages = {
            "good.test": Page(enforce), "wild.test": Page(enforce, kind="text/plain; charset=utf-8"),
            "crlf.test": Page(policy("testing", "mx.crlf.test").replace("\n", "\r\n")),
            "unlisted.test": Page(enforce), "none.test": Page(policy("none")),
            "redirect.test": Page(status=301, location="https://mta-sts.redirect.test" + MOVED),
            "missing.test": Page(enforce, status=404),
            "html.test": Page(enforce, kind="text/html"), "invalid.test": Page("version: STSv1\nmode: maybe\n"),
            "large.test": Page(enforce + "x: " + "y" * 70000), "endless.test": Page("x: " + "y" * 70000, length=False),
            "fits.test": Page(policy("enforce", "mx.fits.test") + "x: " + "y" * 65000),
            "expired.test": Page(enforce), "othername.test": Page(enforce), "selfsigned.test": Page(enforce),
            "silent.test": Page(enforce),
        }
        self.serve(pages, {"expired.test": self.ca.leaf("expired", ["mta-sts.expired.test"], expired=True),
                           "othername.test": self.ca.leaf("othername", ["mta-sts.good.test"]),
                           "selfsigned.test": self_signed(self.dir, "selfsigned", ["mta-sts.selfsigned.test"])},
                   silent=("silent.test",))
        answers = self.ask_all(pages)

        def says(name):
            sts = answers[name]["sts"]
            return sts["mode"], sts["fault"], sts["listed"]

        self.assertEqual({a["status"] for a in answers.values()}, {"ok"})  # nothing of it keeps mail back
        self.assertEqual(says("good.test"), ("enforce", "", ["mx.good.test"]))
        self.assertEqual(says("wild.test"), ("enforce", "", ["mx.wild.test"]))
        self.assertEqual(says("crlf.test"), ("testing", "", ["mx.crlf.test"]))
        self.assertEqual(says("fits.test"), ("enforce", "", ["mx.fits.test"]))
        self.assertEqual(says("unlisted.test"), ("enforce", "", []))
        self.assertEqual(says("none.test"), ("none", "", []))
        for name in ("redirect", "missing", "html", "large", "endless"):
            self.assertEqual(says(name + ".test"), ("none", "fetch", []), name)
        for name in ("expired", "othername", "selfsigned"):
            self.assertEqual(says(name + ".test"), ("none", "webpki", []), name)
        self.assertEqual(says("invalid.test"), ("none", "invalid", []))
        self.assertEqual(says("silent.test"), ("none", "", []))
        self.assertEqual(pages["silent.test"].asked, 0)  # no TXT record: nobody asks its server
        self.assertEqual(answers["good.test"]["sts"]["policy"].splitlines(),
                         ["version: STSv1", "mode: enforce", "max_age: 86400", "mx: mx.good.test", "mx: *.wild.test"])

    def test_a_slow_server_holds_up_nobody_else(self):
        quick = [f"q{i}.test" for i in range(40)]
        pages = {"slow.test": Page(policy("enforce", "mx.slow.test"), hang_s=30)}
        pages.update({d: Page(policy("enforce", "mx." + d)) for d in quick})
        self.serve(pages)
        answers = self.ask_all(pages, "--deadline", "12000")
        slow = answers.pop("slow.test")
        self.assertEqual((slow["status"], slow["sts"]["mode"], slow["sts"]["fault"]), ("ok", "none", "fetch"))
        self.assertGreaterEqual(slow["ms"], 11900)
        self.assertLessEqual(slow["ttl"], 300)  # asked again soon: the fetch goes on
        self.assertEqual({a["sts"]["mode"] for a in answers.values()}, {"enforce"})
        self.assertLess(max(a["ms"] for a in answers.values()), 11500)

    def test_a_policy_that_vanishes_counts_until_it_has_expired(self):
        page = Page(policy("enforce", "mx.brief.test", age=6))
        self.serve({"brief.test": page})
        process = self.start_asking("--step")
        self.assertEqual(self.ask(process, "brief.test")["mode"], "enforce")
        self.assertEqual(self.ask(process, "brief.test")["mode"], "enforce")
        self.assertEqual(page.asked, 1)  # kept
        page.status = 404

        def asked_again():
            sts = self.ask(process, "brief.test")
            self.assertEqual(sts["mode"], "enforce")
            return page.asked > 1
        harness.wait_for(asked_again, 30, "a renewal at half of max_age")
        self.assertEqual(self.ask(process, "brief.test")["mode"], "enforce")  # 404: what is kept counts
        gone = harness.wait_for(lambda: [s for s in [self.ask(process, "brief.test")] if s["mode"] == "none"], 30, "expiry")
        self.assertEqual(gone[0]["fault"], "fetch")
        self.assertEqual(page.asked, 2)  # not asked again for a while

    def test_a_new_id_brings_the_new_policy_and_a_withdrawn_record_keeps_the_old(self):
        page = Page(policy("enforce", "mx.turn.test"))
        self.serve({"turn.test": page}, ttl=1)
        process = self.start_asking("--step")
        self.assertEqual(self.ask(process, "turn.test")["mode"], "enforce")
        page.body = policy("testing", "mx.turn.test")
        text = self.zone(["turn.test"], ttl=1).replace("id=1", "id=2") + self.mx
        self.nsd.reload({"test": text})
        harness.wait_for(lambda: self.ask(process, "turn.test")["mode"] == "testing", 30, "the new policy")
        self.assertEqual(page.asked, 2)
        self.nsd.reload({"test": self.mx + "_mta-sts.turn.test. 1 TXT \"withdrawn\"\n"})
        harness.wait_for(lambda: "withdrawn" in self.record("_mta-sts.turn.test"), 30, "the new zone")
        time.sleep(1.1)  # the TTL of the old record, in the resolver's cache
        self.assertEqual(self.ask(process, "turn.test")["mode"], "testing")

    def record(self, name):
        return (self.txt(name.encode()) or b"").decode()


class Sending(Sts):
    """The whole program."""
    ROWS = 3  # recipients of each domain

    def sent_to(self, receiver):
        return sum(receiver.taken().values())

    def reports(self):
        found = {}
        for path in glob.glob(self.path("state", "tlsrpt", "*.json")):
            with open(path, encoding="utf-8") as f:
                report = json.load(f)
            jsonschema.validate(report, REPORT)
            domain = os.path.basename(path).split("!")[1]
            self.assertNotIn(domain, found)
            with open(path[:-5] + ".rua", encoding="utf-8") as f:
                self.assertEqual(f.read(), f"mailto:tls@{domain}\n")
            for one in report["policies"]:
                self.assertEqual(one["policy"]["policy-domain"], domain)
                details = one.get("failure-details", [])
                self.assertEqual(sum(d["failed-session-count"] for d in details),
                                 one["summary"]["total-failure-session-count"])
                found.setdefault(domain, {})[one["policy"]["policy-type"]] = (
                    one["summary"]["total-successful-session-count"],
                    {d["result-type"]: d["failed-session-count"] for d in details}, one)
        return found

    def build(self):
        names = ["good", "wild", "wrongmx", "badcert", "oldcert", "othername", "plain", "trial", "trialmx", "missing",
                 "webpki", "nopolicy", "quiet", "both", "second"]
        pages = {f"{n}.test": Page(policy("enforce", f"{n}.mx.test")) for n in names}
        pages["wild.test"].body = policy("enforce", "*.mx.test")
        pages["wrongmx.test"].body = policy("enforce", "other.mx.test", "*.wrongmx.mx.test", "*.test")
        pages["both.test"].body = policy("enforce", "other.mx.test")
        pages["trial.test"].body = policy("testing", "trial.mx.test")
        pages["trialmx.test"].body = policy("testing", "other.mx.test")
        pages["missing.test"].status = 404
        self.web(pages, {"webpki.test": self_signed(self.dir, "webself", ["mta-sts.webpki.test"])})
        leaf = {n: self.ca.leaf(n, [f"{n}.mx.test"]) for n in names}
        leaf["badcert"] = leaf["trial"] = leaf["both"] = leaf["nopolicy"] = self_signed(self.dir, "self", ["x.mx.test"])
        leaf["oldcert"] = self.ca.leaf("oldcert", ["oldcert.mx.test"], expired=True)
        leaf["othername"] = self.ca.leaf("othername", ["good.mx.test"])
        self.sink = {n: self.receiver(n, "--log-mail", *(["--tls", leaf[n].certificate, leaf[n].key] if n != "plain" else []))
                     for n in names}
        announcing = [f"{n}.test" for n in names if n not in ("nopolicy",)]
        wanting = [f"{n}.test" for n in names if n != "quiet"]
        records = [f"{n}.test. MX 10 {n}.mx.test.\n{n}.mx.test. A {r.address}" for n, r in self.sink.items()]
        records.append("second.test. MX 5 wrongmx.mx.test.")  # preferred, but not listed
        tlsa = f"_{self.port}._tcp.both.mx.test. TLSA {leaf['both'].tlsa(3, 1, 1)}"
        text, anchor = signed("test", self.zone(announcing, wanting) + "\n".join(records) + "\n" + tlsa + "\n")
        self.nsd = harness.Nsd({"test": text}).start()
        self.write("anchor.key", anchor)
        self.configure(tls=f'opportunistic ca_file = "{self.ca.file}"', give_up="4s")
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        self.write("hikyaku.conf", text.replace(f'"{self.nsd.server()}" }} }}', f'"{self.nsd.server()}" }} '
                                                f'trust_anchor_file = "{self.path("anchor.key")}" }}'))
        return names

    def test_policies_are_kept_and_reports_say_what_was(self):
        names = self.build()
        self.send(rows=[f"u{i}@{n}.test" for n in names for i in range(self.ROWS)], expect=0, timeout=60)
        self.stop_receivers()
        report = self.report()
        never = {"wrongmx", "badcert", "oldcert", "othername", "plain"}
        self.assertEqual(report["counts"]["expired"], self.ROWS * len(never), report["counts"])
        for name, sink in self.sink.items():
            self.assertEqual(self.sent_to(sink), 0 if name in never else self.ROWS, name)
        self.assertEqual(self.sink["wrongmx"].log("connect"), [])  # not even connected to
        for name in ("badcert", "oldcert", "othername", "plain"):
            self.assertTrue(self.sink[name].log("connect"), name)
            self.assertEqual(self.sink[name].log("mail"), [], name)
        self.check_events()
        self.check_reports()

    def check_events(self):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            events = [json.loads(line) for line in f]
        tls = {e["recipient"].split("@")[1]: (e["tls"]["policy"], e["tls"].get("verified_by")) for e in events
               if e["type"] == "attempt" and e["outcome"] == "sent"}
        self.assertEqual(tls["good.test"], ("sts", "pkix"))
        self.assertEqual(tls["wild.test"], ("sts", "pkix"))
        self.assertEqual(tls["quiet.test"], ("sts", "pkix"))
        self.assertEqual(tls["second.test"], ("sts", "pkix"))
        self.assertEqual(tls["trial.test"], ("opportunistic", None))
        self.assertEqual(tls["missing.test"], ("opportunistic", "pkix"))
        self.assertEqual(tls["both.test"], ("dane", "dane"))  # RFC 8461 2: DANE wins over a policy that forbids the host
        words = {e["site"]: e["reply"]["text"] for e in events if e["type"] == "attempt" and "recipients" in e}
        self.assertIn("the MTA-STS policy of wrongmx.test does not list it", words["wrongmx.mx.test"])
        self.assertIn("certificate of badcert.mx.test not accepted", words["badcert.mx.test"])
        self.assertIn("expired", words["oldcert.mx.test"])
        self.assertIn("another host's", words["othername.mx.test"])
        self.assertIn("STARTTLS is not offered", words["plain.mx.test"])

    def check_reports(self):
        reports = self.reports()
        connects = {n: len(s.log("connect")) for n, s in self.sink.items()}
        self.assertNotIn("quiet.test", reports)
        self.assertEqual(set(reports), {f"{n}.test" for n in self.sink if n != "quiet"})

        def is_told(name, kind, good, failures, kinds=None):
            told = reports[name + ".test"]
            self.assertEqual(set(told), set(kinds or [kind]), name)
            self.assertEqual(told[kind][:2], (good, failures), name)
            return told[kind][2]

        for name in ("good", "wild"):
            self.assertEqual(is_told(name, "sts", connects[name], {})["policy"]["mx-host"],
                             [{"good": "good.mx.test", "wild": "*.mx.test"}[name]])
        is_told("badcert", "sts", 0, {"certificate-not-trusted": connects["badcert"]})
        is_told("oldcert", "sts", 0, {"certificate-expired": connects["oldcert"]})
        is_told("othername", "sts", 0, {"certificate-host-mismatch": connects["othername"]})
        is_told("plain", "sts", 0, {"starttls-not-supported": connects["plain"]})
        is_told("trial", "sts", 0, {"certificate-not-trusted": connects["trial"]})
        is_told("trialmx", "sts", 0, {"validation-failure": connects["trialmx"]})
        is_told("second", "sts", connects["second"], {"validation-failure": connects["second"]})
        is_told("nopolicy", "no-policy-found", connects["nopolicy"], {})
        is_told("both", "tlsa", connects["both"], {})
        for name, fault in (("missing", "sts-policy-fetch-error"), ("webpki", "sts-webpki-invalid")):
            both = ["sts", "no-policy-found"]
            is_told(name, "sts", 0, {fault: connects[name]}, both)
            is_told(name, "no-policy-found", connects[name], {}, both)
        self.assertEqual(list(reports["wrongmx.test"]["sts"][1]), ["validation-failure"])
        detail = reports["oldcert.test"]["sts"][2]["failure-details"][0]
        self.assertEqual((detail["receiving-mx-hostname"], detail["receiving-ip"]),
                         ("oldcert.mx.test", self.sink["oldcert"].address))
        self.assertTrue(detail["sending-mta-ip"].startswith("127."))


if __name__ == "__main__":
    harness.main()
