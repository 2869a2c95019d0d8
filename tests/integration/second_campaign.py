"""A second campaign to the same list skips exactly those whom the first one removed, each with his evidence.

Four kinds of answers to the first one, all at once: replies in the session; mails that come back through the bounce receiver, in the shapes of
many mail systems (tests/data/bounces/notices.txt); notices of Amazon SES by way of SNS; people who unsubscribe, by one click
and by mail. Among them what must remove nobody: full mailboxes, our own faults, delays, automatic answers, people who quote a
bounce, forged and unsigned ones, and domains where everyone is suddenly unknown.

What each person's answer has to do is said in one place (Person); held against it, person by person: what the receivers got of the second
campaign, `suppress check`, the suppression list, both reports with their tables, every line of the event log, and all of that once
more after the event log was told to an empty Redis.

HIKYAKU_PEOPLE sets the size of the list; scripts/soak takes 100,000 and prints what the node needs for them.
"""
import collections
import concurrent.futures
import csv
import email
import glob
import http.client
import io
import itertools
import json
import os
import re
import shutil
import signal
import time

import harness
import played_sns
import web
from harness import wait_for
from pouring import Mail, pour

PEOPLE = int(os.environ.get("HIKYAKU_PEOPLE", "2000"))
NOTICES = os.path.join(harness.ROOT, "tests", "data", "bounces", "notices.txt")
TEMPLATE_PATH = "b+token@bounce.test"
SECRET = "a-secret-of-some-length-0123"
LIST_ID = "news.list.test"
SMALL = 20  # domains beside the big one
FEW = 40    # of a domain that becomes unknown, at least
FIVE = 5    # of them who complain as well
NEVER = ("full", "given-up", "moved")  # get nothing in either campaign, and are not removed

# What becomes of whom: shares of the list in per mille; the rest hears and says nothing.
SHARES = {
    "refused": 40,      # 550 in the session: gone
    "came-back": 70,    # a bounce mail that says so
    "came-back-soft": 30, "came-back-ours": 20,
    "told-nothing": 30,  # delays, automatic answers
    "wrote": 10,        # a person, perhaps quoting a bounce
    "forged": 20,
    "complained-by-mail": 20,
    "ses-bounce": 40, "ses-suppressed": 10, "ses-complaint": 30, "ses-soft": 20, "ses-nothing": 20, "ses-stranger": 10,
    "one-click": 50, "mailto": 30, "looked": 10,
    "all-of-it": 10,    # bounces, complains and unsubscribes
}


def one(text, what):
    found = re.search(what, text)
    assert found, (what, text)
    return found.group(1)


class Notice:
    """One mail of the collection, made out to somebody else."""

    def __init__(self, block):
        title, _, self.mail = block.partition("\n")
        self.name, self.recipient, self.reply_class, self.disposition, self.kind = title.split(" | ")

    def usable(self):
        return self.recipient in ("-", "taro@rcpt.test", "guilty@rcpt.test")

    def about(self, address, path):
        local, domain = address.split("@")
        mail = self.mail.replace(TEMPLATE_PATH, path)
        if self.recipient != "-":
            mail = mail.replace(self.recipient, address).replace("rcpt.test", domain)
        return mail.replace("\r\n", "\n").replace("\n", "\r\n")


def notices():
    with open(NOTICES, encoding="utf-8") as f:
        found = [Notice(block) for block in f.read().split("\n=== ")[1:]]
    found = [n for n in found if n.usable() and n.mail.isascii()]
    kinds = {
        "gone": [n for n in found if (n.disposition, n.kind) == ("suppress", "bounce")],
        "soft": [n for n in found if (n.disposition, n.kind) == ("count", "bounce") and n.reply_class != "*"],
        "ours": [n for n in found if (n.disposition, n.kind) == ("block", "bounce")],
        "nothing": [n for n in found if n.disposition == "none" and n.kind != "feedback"],
        "complaint": [n for n in found if (n.disposition, n.kind) == ("suppress", "feedback")],
        "person": [n for n in found if n.recipient == "-"],
    }
    assert all(kinds.values()) and len(kinds["gone"]) > 20, {k: len(v) for k, v in kinds.items()}
    return kinds


class Person:
    """Who it is, what he answers, and what has to follow from it."""

    def __init__(self, address, role, number):
        self.address, self.role, self.number = address, role, number
        self.domain = address.split("@")[1]
        self.state = "sent"             # in the first campaign
        self.marks = set()              # that came later
        self.later_class = None         # and of a bounce why
        self.removed = {}               # scope -> what `suppress check` has to say of it, a pattern
        self.soft = None                # class of his soft bounce
        self.held = False               # by the breaker of his domain
        self.lines = []                 # (type, kind, class, source) in the event log
        self.mails, self.posts, self.clicks = [], [], []  # what he, or a mail system for him, sends to us

    # ---- what follows ----

    def told(self, type_, kind=None, reply_class=None, source=None):
        self.lines.append((type_, kind, reply_class, source))

    def bounced(self, reply_class, source=None, mark=True):
        self.told("bounce", "bounce", reply_class, source)
        if mark:
            self.marks.add("bounced")
            self.later_class = self.later_class or reply_class

    def is_removed(self, scope, reason, source, evidence):
        self.removed[scope] = rf"\({reason}, since 20[^)]*, from {source}: {evidence}\)$"

    # ---- by mail ----

    def notice(self, notice, path, to=None, expect=250):
        self.mails.append((Mail("", to or path, notice.about(self.address, path)), expect))

    def comes_back(self, notice, path):
        self.notice(notice, path)
        self.bounced(notice.reply_class)
        if notice.disposition == "suppress":
            self.is_removed("all", "bounce", "bounce-mail", rf"campaign one, {notice.reply_class}: .+")
        elif notice.disposition == "count":
            self.soft = notice.reply_class

    def complains(self, notice, path):
        at_abuse = TEMPLATE_PATH in notice.mail and self.number % 2
        self.notice(notice, path, to="abuse@bounce.news.test" if at_abuse else path)
        self.told("complaint", "feedback", "complaint")
        self.marks.add("complained")
        if "all" not in self.removed:
            self.is_removed("all", "complaint", "bounce-mail", "campaign one, complaint: .*")

    def forges(self, notice, path):
        """No token that holds: in the envelope, in a complaint at the desk, or in a letter to postmaster."""
        local, domain = path.split("@")
        forged = local[:-3] + ("aaa" if local[-3:] != "aaa" else "bbb") + "@" + domain
        to = (forged, "abuse@bounce.news.test", "postmaster@bounce.news.test")[self.number % 3]
        self.notice(notice, forged, to=to, expect=550)

    # ---- by SNS ----

    def ses(self, sns, copy, kind, part, **how):
        notice = web.ses(kind, copy, self.address, part, event=self.number % 2 == 0, tags=self.number % 4 < 2, **how)
        raw = self.number % 5 == 0
        self.posts.append((raw, json.dumps(notice) if raw else json.dumps(sns.message(notice, version=str(1 + self.number % 2)))))

    # ---- by his own hand ----

    def unsubscribes(self, source):
        self.told("unsubscribe", source=source)
        self.marks.add("unsubscribed")
        self.is_removed("list:" + LIST_ID, "unsubscribe", source, f"campaign one, recipient {self.number}")


class Copy:
    """What somebody got: the links and the return path in the mail itself."""

    def __init__(self, folder, number):
        with open(os.path.join(folder, number + ".json"), encoding="utf-8") as f:
            envelope = json.load(f)
        with open(os.path.join(folder, number + ".eml"), "rb") as f:
            message = email.message_from_binary_file(f)
        header, body = re.sub(r"\s+", " ", message["List-Unsubscribe"]), message.get_payload(decode=True).decode()
        self.recipient, self.path = envelope["recipients"][0], envelope["sender"].strip("<>")
        self.header_link = one(header, r"<https://news\.test(/u/[a-z0-9]+)>")
        self.body_link = one(body, r"https://news\.test(/u/[a-z0-9]+)")
        self.mailto = one(header, r"<mailto:(u-[a-z0-9]+@bounce\.news\.test)\?")


class Cpu:
    """Seconds of processor and memory of the node's processes, by name, also of those that died."""

    def __init__(self, pids):
        self.pids, self.before = pids, {name: self.seconds(pid) for name, pid in pids.items()}

    @staticmethod
    def seconds(pid):
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def most_memory_mb(pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return round(int(one(f.read(), r"VmHWM:\s*(\d+)")) / 1024, 1)

    def spent(self):
        return {name: (round(self.seconds(pid) - self.before[name], 2), self.most_memory_mb(pid)) for name, pid in self.pids.items()}


class Case(harness.Case):
    def setUp(self):
        super().setUp()
        self.sns = played_sns.Sns(self.dir)
        self.addCleanup(self.sns.stop)
        self.at, self.http_port = (f"127.{self.net}.201.1", self._free_port()), self._free_port()
        self.node = None

    # ---- the world ----

    def people_of(self, count):
        """The list, in its order, which is by domain as the compiled one."""
        few = max(FEW, count // 50)
        roles = list(itertools.chain.from_iterable([role] * (count * share // 1000) for role, share in SHARES.items()))
        people = []
        domains = ["big.test"] * SMALL + [f"small{n:02}.test" for n in range(SMALL)]
        for n in range(count):
            people.append((domains[n % len(domains)], roles[n] if n < len(roles) else "quiet"))
        for domain, role, number in (("full.test", "full", few), ("later.test", "given-up", few), ("moved.test", "moved", few), ("lost.test", "lost", few),
                                     ("lost.test", "lost-complained", FIVE)):
            people += [(domain, role)] * number
        people.sort(key=lambda p: p[0])
        return [Person(f"p{n}@{domain}", role, n) for n, (domain, role) in enumerate(people)]

    def world(self, count):
        self.people = self.people_of(count)
        gone = [p.address for p in self.people if p.role == "refused"]
        options = {
            "big": ("--unknown-file", self.write("gone", "\n".join(gone) + "\n")),
            "small": ("--unknown-file", self.path("gone")),
            "full": ("--reply-rcpt", "550 5.2.2 Mailbox is full"),
            "later": ("--reply-rcpt", "452 4.2.2 Mailbox is full"),
            "moved": ("--reply-rcpt", "550 5.1.1 User unknown"),
            "lost": (),
        }
        self.options = options
        self.by_name = {name: self.receiver(name, "--store", "{store}", *more) for name, more in options.items()}
        self.dns(mx={p.domain: self.by_name[re.match(r"[a-z]+", p.domain).group()] for p in self.people})
        self.write("raw.secret", SECRET + "\n")
        self.configure(connections=20, give_up="2s", more=f"""
inbound {{ listen = "{self.at[0]}:{self.at[1]}" rate_per_address = none connections_per_address = 200 }}
web {{ listen = "127.0.0.1:{self.http_port}" }}
sns {{ topics = {{ "{played_sns.TOPIC}" }} ca_file = "sns-ca.pem" proxy = "{self.sns.proxy}" secret_file = "raw.secret" }}
""")
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        self.write("hikyaku.conf", text.replace("unsubscribe_url =", f'list_id = "{LIST_ID}" unsubscribe_url ='))
        self.list([p.address for p in self.people])

    def serve(self):
        self.node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(self.answers, 60, "the node")

    def answers(self):
        self.assertIsNone(self.node.poll(), self.finish_words())
        try:
            return self.request("GET", "/")[0] == 404
        except OSError:
            return False

    def stop(self):
        self.interrupt(self.node, signal.SIGTERM)
        self.finish(self.node, expect=0)

    def copies(self):
        found = {}
        for receiver in self.receivers:
            for name in glob.glob(os.path.join(receiver.store, "*.json")):
                copy = Copy(receiver.store, os.path.basename(name)[:-5])
                self.assertNotIn(copy.recipient, found)
                found[copy.recipient] = copy
        return found

    # ---- who answers what ----

    def act_of(self, person, copy):
        kinds, role, n = self.kinds, person.role, person.number
        shape = lambda kind: kinds[kind][next(self.turns[kind]) % len(kinds[kind])]  # noqa: E731 all shapes, one after the other
        if role == "refused":
            person.state = "bounced"
            person.is_removed("all", "bounce", "one", "550 5.1.1 .*")
        elif role == "full":
            person.state, person.soft = "bounced", "mailbox-full"
        elif role == "given-up":
            person.state, person.soft = "expired", "mailbox-full"
        elif role == "moved":
            person.state, person.held = "bounced", True
        elif role.startswith("lost"):
            person.comes_back(shape("gone"), copy.path)
            person.removed.clear()
            person.held = role == "lost"
            if role == "lost-complained":  # a complaint stands, whatever becomes of the domain
                self.ses_complaint(person, (copy.header_link, copy.path))
                person.is_removed("all", "(bounce|complaint)", "(bounce-mail|ses)", "campaign one, (mailbox-|domain-|complaint).*")
        elif role == "came-back":
            person.comes_back(shape("gone"), copy.path)
        elif role == "came-back-soft":
            person.comes_back(shape("soft"), copy.path)
        elif role == "came-back-ours":
            person.comes_back(shape("ours"), copy.path)
        elif role == "told-nothing":
            notice = shape("nothing")
            person.notice(notice, copy.path)
            person.told("bounce", notice.kind, None)
        elif role == "wrote":
            person.notice(shape("person"), copy.path)
        elif role == "forged":
            person.forges(shape("gone"), copy.path)
        elif role == "complained-by-mail":
            person.complains(shape("complaint"), copy.path)
        elif role.startswith("ses-"):
            self.ses_act(person, (copy.header_link, copy.path))
        elif role == "one-click":
            person.clicks.append(("POST", copy.body_link if n % 2 else copy.header_link))
            person.unsubscribes("one-click")
        elif role == "looked":
            person.clicks.append(("GET", copy.header_link))
        elif role == "mailto":
            person.mails.append((Mail(person.address, copy.mailto, "Subject: unsubscribe\r\n\r\n"), 250))
            person.unsubscribes("mailto")
        elif role == "all-of-it":
            person.comes_back(kinds["gone"][n % len(kinds["gone"])], copy.path)
            person.clicks.append(("POST", copy.header_link))
            person.unsubscribes("one-click")

    def ses_act(self, person, copy):
        role, u = person.role, person.address
        if role == "ses-bounce":
            person.ses(self.sns, copy, "Bounce", web.bounced(u))
            person.bounced("mailbox-unknown", "ses")
            person.is_removed("all", "bounce", "ses", "campaign one, mailbox-unknown: smtp; 550 5.1.1 user unknown")
        elif role == "ses-suppressed":
            person.ses(self.sns, copy, "Bounce", web.bounced(u, None, ("Permanent", "OnAccountSuppressionList")))
            person.bounced("provider-suppressed", "ses")
            person.is_removed("all", "bounce", "ses", "campaign one, provider-suppressed: OnAccountSuppressionList")
        elif role == "ses-complaint":
            self.ses_complaint(person, copy)
        elif role == "ses-soft":
            person.ses(self.sns, copy, "Bounce", web.bounced(u, "smtp; 552 5.2.2 mailbox full", ("Transient", "MailboxFull")))
            person.bounced("mailbox-full", "ses")
            person.soft = "mailbox-full"
        elif role == "ses-nothing":
            kind, part = (("Delivery", {"recipients": [u], "smtpResponse": "250 ok"}),
                          ("DeliveryDelay", {"delayType": "General", "delayedRecipients": [
                              {"emailAddress": u, "status": "4.4.1", "diagnosticCode": "smtp; 450 4.4.1 later"}]}))[person.number % 2]
            person.ses(self.sns, copy, kind, part)
            person.told("bounce", "delay" if person.number % 2 else "delivered", None, "ses")
        else:  # of a message that was never ours
            person.ses(self.sns, (copy[0], "b-nobody@else.test"), "Bounce", web.bounced(u))

    def ses_complaint(self, person, copy):
        u = person.address
        person.ses(self.sns, copy, "Complaint", {"complainedRecipients": [{"emailAddress": u}], "complaintFeedbackType": "abuse",
                                                 "feedbackId": "c-" + u})
        person.told("complaint", "feedback", "complaint", "ses")
        person.marks.add("complained")
        person.is_removed("all", "complaint", "ses", "campaign one, complaint: abuse")

    def decide(self):
        self.kinds = notices()
        self.turns = {kind: itertools.count() for kind in self.kinds}
        copies = self.copies()
        refused = self.expected(lambda p: p.role in ("refused", *NEVER))
        self.assertEqual(set(copies), {p.address for p in self.people} - refused)
        for person in self.people:
            self.act_of(person, copies.get(person.address))

    # ---- all at once ----

    def request(self, method, path, body=None, kind="text/plain"):
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if body is not None else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def request_until_taken(self, *words):
        """As SNS and mailbox providers do it: once more where nobody answers, or says later."""
        until = time.monotonic() + 60
        while True:
            try:
                status, text = self.request(*words)
                if status < 500:
                    return status, text
            except (OSError, http.client.HTTPException):
                status, text = None, "no answer"
            if time.monotonic() > until:
                raise AssertionError(f"{words}: {status} {text}")
            time.sleep(0.2)

    def post_all(self):
        """What SNS delivers; each tenth twice, for it delivers at least once."""
        posts = [post for p in self.people for post in p.posts]
        posts += posts[::10]

        def post(raw, body):
            return self.request_until_taken("POST", "/sns/" + SECRET if raw else "/sns", body)[0]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertEqual(collections.Counter(pool.map(lambda p: post(*p), posts)), {200: len(posts)})
        return len(posts)

    def click_all(self):
        clicks = [click for p in self.people for click in p.clicks]

        def click(method, path):
            body = web.ONE_CLICK if method == "POST" else None
            return self.request_until_taken(method, path, body, web.FORM)[0]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.assertEqual(collections.Counter(pool.map(lambda c: click(*c), clicks)), {200: len(clicks)})
        return len(clicks)

    def pour_all(self):
        mails = [mail for p in self.people for mail in p.mails]
        codes = pour(self.at, [mail for mail, _ in mails], seconds=120 + len(mails) / 100)
        self.assertEqual([(m.recipient, code, m.text) for (m, expect), code in zip(mails, codes) if code != expect], [])
        return len(mails)

    def answer_all(self, beside=None):
        """Mails, notices and clicks side by side, and what else is to happen meanwhile. How many of each, and in what time."""
        figures = {}

        def timed(name, work):
            began = time.monotonic()
            figures[name] = (work(), time.monotonic() - began)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            tasks = [pool.submit(timed, name, work) for name, work in (("mails", self.pour_all), ("notices", self.post_all),
                                                                       ("clicks", self.click_all))]
            if beside:
                tasks.append(pool.submit(beside))
            for task in tasks:
                task.result()
        return figures

    # ---- held against what has to follow ----

    def expected(self, what):
        return {p.address for p in self.people if what(p)}

    def config(self, *words):
        """The words of a command, its configuration behind them."""
        return (*words, "--config", self.path("hikyaku.conf"))

    def judge_reports(self):
        report = self.report("one")
        later = collections.Counter(mark for p in self.people for mark in p.marks)
        self.assertEqual(report["later"], {name: later[name] for name in ("bounced", "complained", "unsubscribed")})
        counts = {state: n for state, n in report["counts"].items() if n}
        self.assertEqual(counts, dict(collections.Counter(p.state for p in self.people)))
        self.assertEqual(report["later_by_class"], dict(collections.Counter(p.later_class for p in self.people if p.later_class)))
        site_of = {p.address: re.match(r"[a-z]+", p.domain).group() + ".mx.test" for p in self.people}
        sites = {site["site"]: site for site in report["by_site"] if any(site["counts"].values())}
        self.assertEqual(set(sites), set(site_of.values()))
        for name, site in sites.items():
            here = [p for p in self.people if site_of[p.address] == name]
            marks = collections.Counter(mark for p in here for mark in p.marks)
            self.assertEqual(site["later"], {mark: marks[mark] for mark in ("bounced", "complained", "unsubscribed")}, name)
            self.assertEqual(site["later_by_class"], dict(collections.Counter(p.later_class for p in here if p.later_class)), name)

    def checked(self, addresses):
        """Address -> the lines of `suppress check`, in pieces as a shell takes them."""
        found = collections.defaultdict(list)
        for at in range(0, len(addresses), 1000):
            for line in self.hikyaku(*self.config("suppress", "check"), *addresses[at:at + 1000]).out.splitlines():
                address, _, words = line.partition(": ")
                found[address].append(words)
        return found

    def judge_evidence(self):
        said = self.checked([p.address for p in self.people])
        for p in self.people:
            lines = {one(line, r"^suppressed in ([^ ]+) \("): line for line in said[p.address] if line.startswith("suppressed in ")}
            self.assertEqual(set(lines), set(p.removed), (p.address, p.role, said[p.address]))
            for scope, pattern in p.removed.items():
                self.assertRegex(lines[scope], pattern, (p.address, p.role))
            soft = [line for line in said[p.address] if "soft bounces" in line]
            if not p.removed:
                self.assertEqual([one(line, r"^1 of \d+ soft bounces \(([a-z-]+), ") for line in soft], [p.soft] if p.soft else [],
                                 (p.address, p.role, said[p.address]))

    def export(self):
        return list(csv.DictReader(io.StringIO(self.hikyaku(*self.config("suppress", "export"), expect=0).out)))

    def held(self):
        out = self.hikyaku(*self.config("bounce", "held"), expect=0).out
        return sorted(line.split()[0].rstrip(":") for line in out.splitlines() if "@" in line)

    def judge_lists(self):
        entries = collections.Counter((e["email"], e["scope"]) for e in self.export())
        self.assertEqual(entries, collections.Counter((p.address, scope) for p in self.people for scope in p.removed))
        self.assertEqual(self.held(), sorted(p.address for p in self.people if p.held))

    def lines(self):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def judge_log(self, calm):
        """A line for each thing that came, and none for what is nobody's. Whoever lost his answer to a death comes again; where Redis is
        away just then nobody can tell that it is done, and he may have another line."""
        told, alarms = collections.defaultdict(list), collections.Counter()
        for e in self.lines():
            if e["type"] in ("bounce", "complaint", "unsubscribe") and "ignored" not in e:
                self.assertEqual(e["campaign"], "one")
                moves = e.get("disposition", "none") != "none"
                told[e["recipient"]].append((e["type"], e.get("kind"), e.get("class") if moves else None, e.get("source")))
            elif e["type"] == "alarm" and e["cause"] == "domain-unknown":
                alarms[e["domain"]] += 1
        self.assertEqual(alarms, {"moved.test": 1, "lost.test": 1})
        for p in self.people:
            here = collections.Counter(told.pop(p.address, []))
            if not calm:
                here = collections.Counter(here.keys())
            self.assertEqual(here, collections.Counter(p.lines), (p.address, p.role))
        self.assertEqual(told, {})

    def judge_first(self, calm=True):
        unsubscribed = sum("unsubscribed" in p.marks for p in self.people)
        wait_for(lambda: self.report("one")["later"]["unsubscribed"] == unsubscribed, 60, "all who unsubscribed")
        self.judge_reports()
        self.judge_lists()
        self.judge_evidence()
        self.judge_log(calm)

    def judge_second(self, name="two", receivers=True):
        """Who got it by the receivers' own logs is everybody but whom the first one removed."""
        skipped = self.expected(lambda p: p.removed)
        states = collections.defaultdict(set)
        for line in self.recipients(name):
            states[line["state"]].add(line["recipient"])
        self.assertEqual(states["suppressed"], skipped)
        for state in ("bounced", "expired"):
            self.assertEqual(states[state], self.expected(lambda p, state=state: p.state == state and not p.removed))
        self.assertEqual(states["sent"], self.expected(lambda p: not p.removed and p.role not in NEVER))
        told = [e["recipient"] for e in self.lines() if e["type"] == "suppressed" and e["campaign"] == name]
        self.assertEqual(sorted(told), sorted(skipped))
        if receivers:
            self.stop_receivers()
            taken = sum((r.taken() for r in self.receivers), collections.Counter())
            self.assertEqual(taken, collections.Counter(states["sent"]))
            refused = {s.address for r in self.receivers for s in r.log("refused", "deferred")}
            self.assertEqual(refused, states["bounced"] | states["expired"])

    def other_receivers(self):
        """At the same addresses, with nothing in their logs yet."""
        self.stop_receivers()
        self.receivers = [harness.Receiver(self.dir, name + "2", self.by_name[name].address, self.port, options)
                          for name, options in self.options.items()]

    # ---- the whole of it ----

    def first_and_second(self, count, beside=None):
        self.world(count)
        self.serve()
        self.send("one", timeout=600)
        self.assertEqual(self.report("one")["counts"]["sending"], 0)
        self.decide()
        pids = self.status()["pids"]
        cpu = Cpu({"master": pids["master"], "redis": pids["redis"], "inbound": pids["inbound"], "web": pids["web"]})
        figures = self.answer_all(beside)
        if beside is None:
            print("\n" + "; ".join(f"{n} {name} in {s:.1f} s, {n / s:.0f}/s" for name, (n, s) in figures.items()), flush=True)
            print("CPU seconds and most MB: " + ", ".join(f"{name} {s} {mb}" for name, (s, mb) in cpu.spent().items()), flush=True)
        self.judge_first(calm=beside is None)
        self.other_receivers()
        self.send("two", timeout=600)
        self.judge_second()


class Calm(Case):
    def snapshot(self):
        """Everything that outlives the campaigns, without what tells when exactly."""
        entries = sorted((e["email"], e["scope"], e["reason"], e["source"], e["evidence"], e["time"][:10]) for e in self.export())
        reports = [{name: report[name] for name in ("counts", "later", "by_class", "later_by_class", "by_site", "attempts")}
                   for report in map(self.report, ("one", "two"))]
        soft = {a: [re.sub(r", last .*", "", line) for line in lines] for a, lines in
                self.checked([p.address for p in self.people if p.soft]).items()}
        return {"entries": entries, "reports": reports, "soft": soft, "held": self.held(),
                "recipients": [self.recipients("one"), self.recipients("two")]}

    def same(self, before, after):
        for name, value in before.items():
            self.assertEqual(after[name], value, name)

    def test_a_second_campaign_skips_exactly_whom_the_first_one_removed(self):
        self.first_and_second(PEOPLE)
        before = self.snapshot()
        self.stop()
        # All of it stands in the event log, and twice told is once.
        self._end_redis()
        shutil.rmtree(self.path("state", "redis"))
        for _ in range(2):
            for campaign in ("one", "two"):
                self.hikyaku(*self.config("campaigns", "restore"), "--campaign", campaign, expect=0, timeout=600)
            self.same(before, self.snapshot())


class Struck(Case):
    """Processes die while the answers come in. Whoever was not answered comes again, and all of it counts once."""

    def strike(self):
        lines = self.events()
        awaited = sum(len(p.lines) for p in self.people)

        def after(share):
            wait_for(lambda: self.events() >= lines + awaited * share, 120, f"{share} of the lines")
        after(0.2)
        pids = self.status()["pids"]
        os.kill(pids["inbound"], signal.SIGKILL)
        os.kill(pids["web"], signal.SIGKILL)
        after(0.4)
        os.kill(self.status()["pids"]["redis"], signal.SIGKILL)
        after(0.6)
        self.interrupt(self.node, signal.SIGKILL)
        self.finish(self.node)
        self.serve()

    def test_nobody_is_lost_and_nobody_counts_twice_when_processes_die(self):
        self.first_and_second(PEOPLE // 2, beside=self.strike)


if __name__ == "__main__":
    harness.main()
