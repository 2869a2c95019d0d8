#!/usr/bin/python3
"""One worker against a real Postfix: what it reports is what Postfix has, for plain and for TLS.

Usage: worker_postfix.py BUILD_DIR

200 recipients over four connections; unknown users and temporary refusals among them, so that refused recipients
and accepted ones follow each other on one connection. Judged at the receiver: each accepted message is there once.
"""
import collections
import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from postfix import Postfix  # noqa: E402

RECIPIENTS = 200
BUILD = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else "build/release"
MESSAGE = "From: News <news@me.test>\nTo: <{{email}}>\nSubject: For {{email}}\n\n.Hello {{email}}\n"


def address(number):
    kind = "gone" if number % 10 == 3 else "later" if number % 10 == 6 else "user"
    return f"{kind}{number}@example.test"


def free_port(host):
    with socket.socket() as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def drive(folder, mta, tls):
    with open(f"{folder}/hikyaku.conf", "w", encoding="utf-8") as out:
        out.write(f'hostname = "me.test"\nstate_dir = "{folder}/state"\ntls {{ ca_file = "{mta.path("etc", "cert.pem")}" }}\n'
                  'sender { from_domain = "me.test" return_path = "bounce.me.test" secret_file = "verp.key" }\n')
    with open(f"{folder}/list.csv", "w", encoding="utf-8") as out:
        out.write("email\n" + "".join(address(i) + "\n" for i in range(RECIPIENTS)))
    with open(f"{folder}/message.eml", "w", encoding="utf-8") as out:
        out.write(MESSAGE)
    with open(f"{folder}/plan.json", "w", encoding="utf-8") as out:
        json.dump({"list": f"{folder}/list.csv", "message": f"{folder}/message.eml", "port": mta.port,
                   "addresses": [mta.address], "mx": [mta.hostname], "tls": tls, "conns": 4, "window": 2,
                   "timeout_ms": 60000}, out)
    result = subprocess.run([f"{BUILD}/worker/worker_drive", f"{folder}/hikyaku.conf", f"{folder}/plan.json"],
                            capture_output=True, text=True, timeout=120, check=False)
    if result.returncode != 0:
        raise RuntimeError(result.stderr)
    return json.loads(result.stdout)


class WorkerAndPostfix(unittest.TestCase):
    def campaign(self, tls):
        gone = [address(i) for i in range(RECIPIENTS) if i % 10 == 3]
        later = {address(i): "450 4.3.0 come back later" for i in range(RECIPIENTS) if i % 10 == 6}
        host = "127.0.0.5"
        with Postfix(host, free_port(host), ["example.test"], unknown_users=gone, replies=later) as mta, \
                tempfile.TemporaryDirectory(prefix="worker-postfix-") as folder:
            report = drive(folder, mta, tls)
            accepted = [o["recipient"] for o in report["outcomes"] if o["result"] == "sent"]
            self.assertEqual(mta.wait(len(accepted)), len(accepted))
            arrived = collections.Counter(recipient for recipient, _ in mta.messages())
            contents = dict(mta.messages())
        self.assertEqual(arrived, collections.Counter(accepted))
        for recipient in accepted:
            self.assertIn(f"Subject: For {recipient}".encode(), contents[recipient])
        for outcome in report["outcomes"]:
            wanted = {"gone": ("bounced", "rcpt", 550), "late": ("deferred", "rcpt", 450),
                      "user": ("sent", "dot", 250)}[outcome["recipient"][:4]]
            got = (outcome["result"], outcome["reply"]["phase"], outcome["reply"]["code"])
            self.assertEqual(got, wanted, outcome)
        self.assertEqual([c["broken_sync"] for c in report["conns"]], [0, 0, 0, 0])
        self.assertEqual(report["counters"]["connects"], 4)
        return report

    def test_in_plain(self):
        report = self.campaign(0)
        self.assertEqual(report["conns"][0]["tls_version"], "")

    def test_under_verified_tls(self):
        report = self.campaign(3)
        self.assertEqual({c["tls_verified"] for c in report["conns"]}, {"pkix"})


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
