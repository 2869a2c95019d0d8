"""Exim and OpenSMTPD bounce real messages of ours to our own `inbound`, as Postfix does in inbound.py.

Each takes a campaign, cannot deliver parts of it for reasons of its own or of a second hop that refuses, and writes to our return
path what it writes to everybody. Judged by class, disposition and mark as the event log, the report, `suppress check` and the next
campaign show them.
"""
import collections
import os
import smtplib

import harness
import inbound
from harness import wait_for
from mtas import Exim, OpenSmtpd

FINE, GONE, FULL = None, ("mailbox-unknown", "suppress"), ("mailbox-full", "count")
LARGE, REFUSED = ("too-large", "block"), ("content-policy", "block")
LARGER = 1200  # bytes that the second hop takes
MESSAGE = harness.MESSAGE + "x" * 70 + "\n" + ("y" * 70 + "\n") * 30
STRANGERS = """From: <{path}>
To: <{to}>
Subject: not of ours

It only says that it came from us.
"""


class Case(inbound.Case):
    """people: by recipient what his bounce has to say, or FINE."""

    def world_of(self, people):
        self.people = people
        self.address = f"127.{self.net}.200.1"
        self.second, self.third = self._free_port(), self._free_port()
        self.choose_addresses()
        os.chmod(self.dir, 0o755)

    def begin(self, mta):
        self.sink = mta
        mta.name = "a"
        mta.start()
        self.addCleanup(mta.stop)
        self.listen(more='soft "mailbox-full" { count = 1 apart = 0s }\nbounce { breaker_count = 0 }')

    def judge(self, mta, stranger):
        lost = {who: verdict for who, verdict in self.people.items() if verdict}
        self.list(list(self.people))
        self.send("one", message=MESSAGE)
        self.assertEqual(self.report("one")["counts"]["sent"], len(self.people))
        try:
            wait_for(lambda: self.report("one")["later"]["bounced"] == len(lost), 60, "all bounces")
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.report('one')}\n{self.lines('bounce')}\n{mta.log()[-20000:]}\n{self.finish_words()}") from e
        found = {line["recipient"]: (line["class"], line["disposition"]) for line in self.lines("bounce")}
        self.assertEqual(found, lost, self.lines("bounce"))
        self.assertEqual(self.report("one")["later_by_class"], collections.Counter(verdict[0] for verdict in lost.values()))
        self.forged(mta, stranger)
        # A full mailbox counts, and here one is enough.
        suppressed = {who for who, verdict in lost.items() if verdict[1] == "suppress" or verdict == FULL}
        for who in self.people:
            self.check(who, 1 if who in suppressed else 0)
        self.send("two", message=MESSAGE)
        self.assertEqual({r["recipient"] for r in self.recipients("two") if r["state"] == "suppressed"}, suppressed)
        self.stop()

    def forged(self, mta, stranger):
        """A message that only says it came from us, to somebody who is not there: its bounce has no token of ours."""
        before = self.lines("bounce")
        for path in ("b-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@bounce.news.test", "postmaster@bounce.news.test"):
            with smtplib.SMTP(mta.address, mta.port, timeout=30) as client:
                client.sendmail(path, [stranger], STRANGERS.format(path=path, to=stranger).encode())
        for words in ("550 5.1.1 no such address", "550 5.7.1 nobody reads this mailbox"):
            wait_for(lambda words=words: words in mta.log(), 30, words)
        self.assertEqual(self.lines("bounce"), before)
        self.check(stranger, 0)


EXIM_ACCEPTS = """
acl_smtp_rcpt = rcpt
acl_smtp_data = data
message_size_limit = ${{if eq{{$received_port}}{{{third}}}{{{larger}}}{{50M}}}}
system_filter = {dir}/filter
"""
EXIM_ROUTERS = """
bounces:
  driver = manualroute
  domains = bounce.news.test
  route_list = * {inbound}
  transport = back
failed:
  driver = redirect
  local_parts = ^gone-failed
  allow_fail
  data = :fail: Unknown user
second:
  driver = manualroute
  local_parts = ^.*-second
  route_list = * {address}
  self = send
  transport = ${{if match{{$local_part}}{{large}}{{third}}{{second}}}}
full:
  driver = accept
  local_parts = ^full-quota
  transport = full
full_program:
  driver = accept
  local_parts = ^full-program
  transport = full_program
large:
  driver = accept
  local_parts = ^large-local
  transport = large
none:
  driver = redirect
  local_parts = ^gone
  allow_fail
  data = ${{if eq{{1}}{{2}}{{x}}}}
  more = false
"""
EXIM_TRANSPORTS = """
back:
  driver = smtp
  port = {inbound_port}
  hosts_try_fastopen =
second:
  driver = smtp
  port = {second}
third:
  driver = smtp
  port = {third}
full:
  driver = appendfile
  directory = $spool_directory/full
  create_directory
  maildir_format
  quota = 1k
  user = Debian-exim
full_program:
  driver = pipe
  command = {dir}/full
  return_fail_output
  user = Debian-exim
large:
  driver = appendfile
  directory = $spool_directory/large
  create_directory
  maildir_format
  message_size_limit = {larger}
  user = Debian-exim
"""
EXIM_SECTIONS = """
begin acl
rcpt:
  deny
    condition = ${{if eq{{$received_port}}{{{second}}}}}
    local_parts = ^gone
    message = no such user here
  deny
    condition = ${{if eq{{$received_port}}{{{second}}}}}
    local_parts = ^full
    message = 552 5.2.2 mailbox quota exceeded for this user
  accept
data:
  deny
    condition = ${{if eq{{$received_port}}{{{second}}}}}
    condition = ${{if match{{$recipients}}{{refused}}}}
    message = This message contains content that is not wanted here
  accept
"""
EXIM_FILTER = """# Exim filter
if first_delivery and $recipients is "refused-filter@a.test" then
    fail text "This message has been rejected because its content looks like spam"
endif
"""


class RealExim(Case):
    def test_exim_bounces_for_real(self):
        # An address that no router takes may be a domain that is none, and is called so by Exim itself. Why a transport of its own
        # does not take something it tells nobody.
        self.world_of({"fine0@a.test": FINE, "fine1@a.test": FINE,
                       "gone0@a.test": ("domain-invalid", "suppress"), "gone-failed@a.test": GONE, "gone-second@a.test": GONE,
                       "full-quota@a.test": FULL, "full-program@a.test": FULL, "full-second@a.test": FULL,
                       "large-local@a.test": ("recipient-refused", "count"), "large-second@a.test": LARGE,
                       "refused-filter@a.test": REFUSED, "refused-second@a.test": REFUSED})
        self.write("filter", EXIM_FILTER)
        self.write("full", "#!/bin/sh\ncat >/dev/null\necho '552 5.2.2 Mailbox is over quota'\nexit 69\n")
        os.chmod(self.path("full"), 0o755)
        names = {"dir": self.dir, "second": self.second, "third": self.third, "larger": LARGER, "address": self.address, "inbound": self.at[0],
                 "inbound_port": self.at[1]}
        mta = Exim(self.address, self.port, accepts=EXIM_ACCEPTS.format(**names), routers=EXIM_ROUTERS.format(**names),
                   transports=EXIM_TRANSPORTS.format(**names), sections=EXIM_SECTIONS.format(**names), ports=[self.second, self.third])
        self.begin(mta)
        self.judge(mta, "gone9@a.test")


# The second hop takes little, knows few, and has a filter that asks nobody: this is its side of the protocol with smtpd.
OPENSMTPD_FILTER = """#!/usr/bin/python3
import sys
for line in sys.stdin:
    words = line.rstrip("\\n").split("|")
    if words == ["config", "ready"]:
        print("register|filter|smtp-in|commit\\nregister|ready", flush=True)
    elif words[0] == "filter":
        print(f"filter-result|{words[5]}|{words[6]}|reject|550 5.7.1 the content of this message is not wanted", flush=True)
"""
OPENSMTPD = """
action "back" relay host "smtp://{inbound}:{inbound_port}"
action "second" relay host "smtp://{address}:{second}"
action "third" relay host "smtp://{address}:{third}"
action "full" mda "{dir}/full" virtual <everyone>
action "none" mda "exit 67" virtual <everyone>
action "in" maildir "{mail}" virtual <everyone>
match from any for domain "bounce.news.test" action "back"
match from any for rcpt-to "full-program@a.test" action "full"
match from any for rcpt-to "gone-program@a.test" action "none"
match from any for rcpt-to "large-second@a.test" action "second"
match from any for rcpt-to regex "^(gone|refused)-second.*@a.test$" action "third"
match from any for any action "in"
"""
OPENSMTPD_SECOND = """
smtp max-message-size {larger}
action "in" maildir "{mail}" virtual <everyone>
match from any for rcpt-to "large-second@a.test" action "in"
"""
OPENSMTPD_THIRD = """
action "in" maildir "{mail}" virtual <everyone>
match from any for rcpt-to "refused-second@a.test" action "in"
"""


class RealOpenSmtpd(Case):
    def test_opensmtpd_bounces_for_real(self):
        # What the exit status of a program means it keeps for its own log.
        self.world_of({"fine0@a.test": FINE, "fine1@a.test": FINE,
                       "gone-second@a.test": GONE, "gone-program@a.test": ("system", "count"), "full-program@a.test": FULL,
                       "large-second@a.test": LARGE, "refused-second@a.test": REFUSED})
        self.write("full", "#!/bin/sh\ncat >/dev/null\necho '552 5.2.2 Mailbox is over quota'\nexit 69\n")
        self.write("filter", OPENSMTPD_FILTER)
        for name in ("full", "filter"):
            os.chmod(self.path(name), 0o755)
        names = {"dir": self.dir, "mail": "{mail}", "second": self.second, "third": self.third, "larger": LARGER, "address": self.address,
                 "inbound": self.at[0], "inbound_port": self.at[1]}
        for port, lines, options in ((self.second, OPENSMTPD_SECOND, {}), (self.third, OPENSMTPD_THIRD, {"filter": self.path("filter")})):
            hop = OpenSmtpd(self.address, port, hostname="second.opensmtpd.test", lines=lines.format(**names), **options).start()
            self.addCleanup(hop.stop)
        mta = OpenSmtpd(self.address, self.port, lines=OPENSMTPD.format(**names))
        self.begin(mta)
        self.judge(mta, "gone-second9@a.test")


if __name__ == "__main__":
    harness.main()
