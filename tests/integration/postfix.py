#!/usr/bin/python3
"""A private Postfix as receiver: a real MTA on a loopback address and port, for any integration test.

    with Postfix("127.0.0.5", 2525, ["example.test"], unknown_users=["gone@example.test"]) as mta:
        ... send ...
        mta.wait(3)
        for recipient, content in mta.messages():
            ...

Takes all mail for its domains but that for unknown_users, which it refuses at RCPT as Postfix does ("550 5.1.1
<...>: Recipient address rejected: User unknown in virtual mailbox table"). STARTTLS is offered with a certificate
made for the occasion. Nothing ever leaves it: mail for elsewhere is refused, bounces are discarded, no DNS is asked.
Configuration, queue, mail and log lie in one temporary directory; /etc/postfix is not read. Needs root, as Postfix
does. The master process runs as a child in a session of its own, dies with its parent, and stop() ends it by its pid.

Run as a program it tests itself.
"""
import grp
import os
import pwd
import smtplib
import socket
import ssl
import sys
import time
import unittest

from mta import Mta, sent_bytes

MASTER = "/usr/lib/postfix/sbin/master"
MAIL_USER = "nobody"  # who the delivered files belong to
UNKNOWN = "550 5.1.1 User unknown in virtual mailbox table"

SERVICES = """
{listen} inet n - n - {processes} smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Mta):
    software, new = "postfix", ("mail", "all", "new")

    def __init__(self, address, port, domains, unknown_users=(), replies=None, hostname="mx.postfix.test", tls=True,
                 settings=None, services=""):
        """replies: {recipient: "450 4.3.0 come back later"} for RCPT. settings: lines for main.cf that come last. services: for
        master.cf."""
        super().__init__(address, port, hostname, tls)
        self.domains = list(domains)
        self.replies = dict.fromkeys(unknown_users, UNKNOWN)
        self.replies.update(replies or {})
        self.settings = dict(settings or {})
        self.services = services

    def check(self):
        if not os.path.exists(MASTER):
            raise RuntimeError("postfix is not installed: scripts/deps installs it")

    def configure(self):
        self._write_configuration()
        return [MASTER, "-c", self.path("etc"), "-d"]

    def make_folders(self):
        postfix, postdrop = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postdrop").gr_gid
        nobody = pwd.getpwnam(MAIL_USER)
        for name in ("etc", "queue", "queue/pid"):
            os.mkdir(self.path(name), 0o755)
        for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
                     "saved", "trace"):
            os.mkdir(self.path("queue", name), 0o700)
            os.chown(self.path("queue", name), postfix, -1)
        for name, mode in (("public", 0o2710), ("maildrop", 0o1730)):
            os.mkdir(self.path("queue", name))
            os.chown(self.path("queue", name), postfix, postdrop)
            os.chmod(self.path("queue", name), mode)
        os.mkdir(self.path("data"), 0o700)
        os.chown(self.path("data"), postfix, -1)
        os.mkdir(self.path("mail"), 0o755)
        os.chown(self.path("mail"), nobody.pw_uid, nobody.pw_gid)

    def _write_configuration(self):
        nobody = pwd.getpwnam(MAIL_USER)
        settings = {
            "compatibility_level": "3.6", "myhostname": self.hostname, "mydomain": "postfix.test",
            "queue_directory": self.path("queue"), "data_directory": self.path("data"),
            "maillog_file": self.path("log"), "maillog_file_prefixes": self.dir,
            # where it listens is said in master.cf; here only an address that an interface has is accepted,
            # and 127.0.0.5 is on none
            "inet_interfaces": "::1" if ":" in self.address else "127.0.0.1",
            "inet_protocols": "ipv6" if ":" in self.address else "ipv4",
            "mynetworks": "127.0.0.0/8, [::1]/128", "mydestination": "", "alias_maps": "",
            "local_recipient_maps": "", "default_transport": "discard:",
            "relay_transport": "discard:", "local_transport": "discard:", "disable_dns_lookups": "yes",
            "smtpd_peername_lookup": "no", "biff": "no",
            # clients on loopback are strangers here: nothing in their messages is rewritten or added
            "local_header_rewrite_clients": "",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "smtpd_recipient_restrictions": f"reject_unauth_destination, check_recipient_access "
                                            f"texthash:{self.path('etc', 'replies')}",
            "virtual_mailbox_domains": f"texthash:{self.path('etc', 'domains')}",
            "virtual_mailbox_maps": "static:all/",
            "virtual_mailbox_base": self.path("mail"), "virtual_mailbox_limit": "0",
            "virtual_uid_maps": f"static:{nobody.pw_uid}", "virtual_gid_maps": f"static:{nobody.pw_gid}",
            "virtual_destination_recipient_limit": "1",
        }
        if self.tls:
            settings.update({"smtpd_tls_security_level": "may", "smtpd_tls_received_header": "yes",
                             "smtpd_tls_cert_file": self.path("etc", "cert.pem"),
                             "smtpd_tls_key_file": self.path("etc", "key.pem")})
        settings.update(self.settings)
        host = f"[{self.address}]" if ":" in self.address else self.address
        self._write("main.cf", (f"{key} = {value}" for key, value in settings.items()))
        self._write("master.cf", [SERVICES.format(listen=f"{host}:{self.port}", processes=200) + self.services])
        self._write("domains", (f"{domain} here" for domain in self.domains))
        self._write("replies", (f"{recipient} {reply}" for recipient, reply in self.replies.items()))

    def _write(self, name, lines):
        with open(self.path("etc", name), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")


class SelfTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("Postfix needs root")
        with socket.socket() as s:
            s.bind(("127.0.0.5", 0))
            port = s.getsockname()[1]
        cls.mta = Postfix("127.0.0.5", port, ["a.test", "b.test"], unknown_users=["gone@a.test"],
                          replies={"later@a.test": "450 4.3.0 come back later"}).start()
        cls.addClassCleanup(cls.mta.stop)

    def client(self):
        client = smtplib.SMTP(self.mta.address, self.mta.port, timeout=60)
        self.addCleanup(client.close)
        return client

    def test_mail_is_delivered_as_it_was_sent(self):
        before = self.mta.count()
        text = b"From: x@y.test\r\nSubject: =?utf-8?B?44GC?=\r\n\r\n.\r\n..dots\r\n" + b"x" * 900 + b"\r\nend\r\n"
        client = self.client()
        client.sendmail("bounce+1@y.test", ["one@a.test", "two@b.test"], text)
        self.assertEqual(self.mta.wait(before + 2), before + 2)
        mine = [(r, c) for r, c in self.mta.messages() if b"<bounce+1@y.test>" in c]
        self.assertEqual(sorted(r for r, _ in mine), ["one@a.test", "two@b.test"])
        for _, content in mine:
            self.assertEqual(sent_bytes(content), text)

    def test_unknown_users_and_other_replies_come_at_rcpt(self):
        client = self.client()
        client.ehlo("me.test")
        client.mail("x@y.test")
        code, words = client.rcpt("gone@a.test")
        self.assertEqual((code, words), (550, b"5.1.1 <gone@a.test>: Recipient address rejected: User unknown in "
                                              b"virtual mailbox table"))
        self.assertEqual(client.rcpt("later@a.test")[0], 450)
        self.assertEqual(client.rcpt("x@elsewhere.test")[0], 554)
        self.assertEqual(client.rcpt("known@a.test")[0], 250)

    def test_starttls_works_and_shows_in_received(self):
        before = self.mta.count()
        context = ssl.create_default_context(cafile=self.mta.path("etc", "cert.pem"))
        client = self.client()
        client.starttls(context=context)
        client.sendmail("tls@y.test", ["tls@a.test"], b"Subject: tls\r\n\r\nx\r\n")
        self.assertEqual(self.mta.wait(before + 1), before + 1)
        content = [c for r, c in self.mta.messages() if r == "tls@a.test"][0]
        self.assertIn(b"using TLSv1.3", content)

    def test_nothing_is_left_after_stop(self):
        with socket.socket() as s:
            s.bind(("127.0.0.5", 0))
            port = s.getsockname()[1]
        mta = Postfix("127.0.0.5", port, ["c.test"], tls=False).start()
        directory, group = mta.dir, mta.process.pid
        client = smtplib.SMTP(mta.address, mta.port, timeout=60)
        self.assertFalse(client.has_extn("starttls"))
        client.sendmail("x@y.test", ["x@c.test"], b"Subject: x\r\n\r\nx\r\n")
        self.assertEqual(mta.wait(1), 1)
        mta.stop()
        client.close()
        self.assertFalse(os.path.exists(directory))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
        self.fail("processes of the stopped Postfix are still there")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + [a for a in sys.argv[1:] if not os.path.isdir(a)])
