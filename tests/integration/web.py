"""The web process of `serve`: one-click unsubscribe (RFC 8058) and Amazon SNS, over real HTTP.

Judged by what the next campaign's receiver sees, by `suppress check`, the report's `later`, the event log, and, for what is
never to be asked for, by the proxy that every request of ours has to pass.
"""
import concurrent.futures
import contextlib
import email
import glob
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time

import browser
import crowd
import harness
import played_ses
import played_sns
from harness import wait_for
from redis_external import PASSWORD, Redis

FORM = "application/x-www-form-urlencoded"
ONE_CLICK = "List-Unsubscribe=One-Click"
SECRET = "a-secret-of-some-length-0123"


class Case(harness.Case):
    people = [f"u{n}@a.test" for n in range(8)]
    list_id = 'list_id = "news.list.test"'
    bounds = "timeout = 4s connections = 64"

    def world(self, more="", people=None):
        self.sink = self.receiver("a", "--store", "{store}")
        self.dns(mx={"a.test": self.sink})
        self.http_port = self._free_port()
        self.more = more
        self.write_config()
        self.list(people or self.people)
        self.send("one")

    def write_config(self):
        self.configure(more=f'web {{ listen = "127.0.0.1:{self.http_port}" {self.bounds} }}\n{self.more}')
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        self.write("hikyaku.conf", text.replace('unsubscribe_url =', f"{self.list_id} unsubscribe_url ="))

    def serve(self):
        self.node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(self.answers, 30, "the web process")
        return self.node

    def answers(self):
        self.assertIsNone(self.node.poll(), self.finish_words())
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.http_port)) == 0

    def stop(self, number=signal.SIGTERM):
        self.interrupt(self.node, number)
        return self.finish(self.node)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body): the answer, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def copies(self):
        """Recipient -> (path of the unsubscribe link, return path) of his newest copy."""
        found = {}
        for name in sorted(glob.glob(os.path.join(self.sink.store, "*.json"))):
            with open(name, encoding="utf-8") as f:
                envelope = json.load(f)
            with open(name[:-5] + ".eml", "rb") as f:
                message = email.message_from_binary_file(f)
            link = message["List-Unsubscribe"].strip("<>").replace("https://news.test", "")
            for recipient in envelope["recipients"]:
                found[recipient] = link, envelope["sender"].strip("<>")
        return found

    def one_click(self, path, body=ONE_CLICK, kind=FORM):
        return self.request("POST", path, body, {"Content-Type": kind})

    def check(self, address, expect):
        return self.hikyaku("suppress", "check", "--config", self.path("hikyaku.conf"), address, expect=expect).out

    def lines(self, kind):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            return [e for e in map(json.loads, f) if e["type"] == kind]

    def later(self, campaign="one"):
        return self.report(campaign)["later"]


class Unsubscribe(Case):
    def test_a_post_takes_off_the_list_and_nothing_else_does(self):
        # RFC 8058 3.2
        self.world()
        copies = self.copies()
        path = copies["u0@a.test"][0]
        self.serve()
        self.assertIn("web", self.status()["pids"])
        with open(f"/proc/{self.status()['pids']['web']}/cmdline", encoding="utf-8") as f:
            self.assertEqual(f.read().strip("\0"), "hikyaku: web")
        for method in ("GET", "HEAD", "GET"):
            status, headers, body = self.request(method, path)
            self.assertEqual(status, 200)
            self.assertEqual("<form" in body, method == "GET")
        self.assertEqual(self.lines("unsubscribe"), [])
        self.check("u0@a.test", 0)
        status, headers, body = self.one_click(path)
        self.assertEqual(status, 200, body)
        self.assertIsNone(headers["Location"])
        self.assertIsNone(headers["Set-Cookie"])
        said = self.check("u0@a.test", 1)
        self.assertIn("list:news.list.test", said)
        self.assertIn("unsubscribe", said)
        wait_for(lambda: self.later() == {"bounced": 0, "complained": 0, "unsubscribed": 1}, 30, "the mark")
        for _ in range(3):  # again: nothing more
            self.assertEqual(self.one_click(path)[0], 200)
        self.assertEqual(len(self.lines("unsubscribe")), 1)
        line = self.lines("unsubscribe")[0]
        self.assertEqual((line["campaign"], line["recipient"], line["source"]), ("one", "u0@a.test", "one-click"))
        # The same as a form of several parts, and what the page itself sends.
        parts = '--x1y2z3\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x1y2z3--\r\n'
        self.assertEqual(self.one_click(copies["u1@a.test"][0], parts, "multipart/form-data; boundary=x1y2z3")[0], 200)
        self.check("u1@a.test", 1)
        # What is no one-click changes nothing.
        for body, kind in (("", FORM), ("x=y", FORM), ("List-Unsubscribe=Two-Clicks", FORM), (ONE_CLICK, "text/plain"),
                           ("List-Unsubscribe=One-Clicks", FORM)):
            self.assertEqual(self.one_click(copies["u2@a.test"][0], body, kind)[0], 400, body)
        # However it is cut on the way: libmicrohttpd ends a value at a NUL that begins a piece.
        for pieces in ((ONE_CLICK.encode() + b"\0\0/k",), (ONE_CLICK.encode(), b"\0\0/k")):
            self.assertEqual(self.one_click(copies["u2@a.test"][0], iter(pieces))[0], 400, pieces)
        for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
            self.assertEqual(self.request(method, copies["u2@a.test"][0])[0], 405)
        self.check("u2@a.test", 0)
        self.send("two")
        self.assertEqual({r["recipient"] for r in self.recipients("two") if r["state"] == "suppressed"},
                         {"u0@a.test", "u1@a.test"})
        # Put back by hand, he may go again.
        self.hikyaku("suppress", "remove", "--config", self.path("hikyaku.conf"), "--scope", "list", "u0@a.test", expect=0)
        self.check("u0@a.test", 0)
        # An entry that ends is not what he asks for: his own does not.
        self.write("full.csv", "email,scope,until\nu0@a.test,list,2099-01-01T00:00:00Z\n")
        self.hikyaku("suppress", "import", "--config", self.path("hikyaku.conf"), self.path("full.csv"), expect=0)
        self.assertIn("ends 2099", self.check("u0@a.test", 1))
        self.assertEqual(self.one_click(path)[0], 200)
        self.assertNotIn("ends", self.check("u0@a.test", 1))
        self.assertEqual(self.stop().status, 0)

    def test_tokens_that_are_none_of_ours_are_told_so_in_words(self):
        # RFC 8058 3.1: an opaque identifier that is hard to forge
        self.world()
        copies = self.copies()
        path, return_path = copies["u0@a.test"]
        self.serve()
        forged = path[:-3] + ("a" if path[-3] != "a" else "b") + path[-2:]
        of_bounces = "/u/" + return_path.split("@")[0][2:]
        for bad in (forged, of_bounces, path[:-4], path + "aaaa", "/u/", "/u/x", "/u/%00", "/u/" + "a" * 300):
            for method, body in (("GET", None), ("POST", ONE_CLICK)):
                status, _, text = self.request(method, bad, body, {"Content-Type": FORM})
                self.assertEqual(status, 404, bad)
                self.assertIn("This link is not complete", text)
        for nowhere in ("/", "/x", "//u/" + path, "/..", "/sns"):
            self.assertEqual(self.request("GET", nowhere)[0], 404, nowhere)
        self.assertEqual(self.lines("unsubscribe"), [])
        # What mail programs put behind a link is no harm.
        self.assertEqual(self.request("GET", path.upper().replace("/U/", "/u/") + "?utm_source=x")[0], 200)
        # The list is gone: 410, in words.
        self.hikyaku("campaigns", "purge", "--config", self.path("hikyaku.conf"), "--campaign", "one", "--force", expect=0)
        status, _, text = self.one_click(path)
        self.assertEqual(status, 410, text)
        self.assertIn("too old", text)

    def test_pages_speak_the_readers_language_and_load_nothing(self):
        self.world(people=["u0@a.test"])
        path = self.copies()["u0@a.test"][0]
        self.serve()
        for accept, language, words in ((None, "en", "Unsubscribe"), ("ja", "ja", "配信を停止する"), ("ja-JP,en;q=0.5", "ja", "配信"),
                                        ("en-US,ja;q=0.5", "en", "Unsubscribe"), ("fr,de;q=0.9", "en", "Unsubscribe"),
                                        ("x" * 4000, "en", "Unsubscribe")):
            status, headers, body = self.request("GET", path, headers={"Accept-Language": accept} if accept else {})
            self.assertEqual(status, 200)
            self.assertIn(f'<html lang="{language}">', body)
            self.assertIn(words, body)
            self.assertIn("news.list.test", body)
            self.assertEqual(headers["Content-Language"], language)
            self.assertEqual(headers["Cache-Control"], "no-store")
            policy = headers["Content-Security-Policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)
            for outside in ("http:", "https:", "src=", "href=", "<script"):
                self.assertNotIn(outside, body)
        self.assertIn("配信を停止しました", self.request("POST", path, ONE_CLICK, {"Content-Type": FORM, "Accept-Language": "ja"})[2])


class Seen(Case):
    def test_a_person_opens_the_page_and_presses_the_button(self):
        self.world(people=["u0@a.test", "u1@a.test", "u2@a.test"])
        copies = self.copies()
        self.serve()
        with browser.Browser(self.dir) as chromium:
            for who, accept, language, button, done in (("u0@a.test", "en-US,en", "en", "Unsubscribe", "You are unsubscribed"),
                                                        ("u1@a.test", "ja,en;q=0.5", "ja", "配信を停止する", "配信を停止しました")):
                url = f"http://127.0.0.1:{self.http_port}{copies[who][0]}"
                page = chromium.page(accept)
                page.open(url)
                self.assertEqual(page.tell("document.documentElement.lang"), language)
                self.assertEqual(page.tell("document.querySelector('button').innerText"), button)
                self.assertIn("news.list.test", page.tell("document.body.innerText"))
                # Its own style is applied, nothing is cut off, and nothing was looked for elsewhere.
                self.assertEqual(page.tell("getComputedStyle(document.querySelector('button')).borderTopWidth"), "0px")
                self.assertLessEqual(page.tell("document.documentElement.scrollWidth"), 360)
                self.check(who, 0)
                page.press("button")
                self.assertIn(done, page.tell("document.body.innerText"))
                self.assertEqual(page.tell("document.cookie"), "")
                self.check(who, 1)
                self.assertEqual([r for r in page.requests if not r.endswith("/favicon.ico")], ["GET " + url, "POST " + url])
                self.assertEqual([c for c in page.complaints if "favicon" not in c and "404" not in c], [])
        self.check("u2@a.test", 0)


class Away(Case):
    """Redis is away between what was accepted and what follows from it."""

    def away_world(self):
        self.keys()
        self.server = Redis(self.path("redis-x"))
        self.addCleanup(self.server.stop)
        self.write("redis.password", PASSWORD + "\n")
        self.world(more=f'redis {{ mode = external host = "127.0.0.1" port = {self.server.port} user = "hikyaku" '
                        'password_file = "redis.password" }')
        self.serve()

    def accept_while_away(self):
        copies = self.copies()
        self.server.stop()
        wait_for(lambda: "Redis is gone" in self.finish_words(), 20, "Redis to be missed")
        for u in self.people[:3]:
            status, _, body = self.one_click(copies[u][0])
            self.assertEqual(status, 200, body)
            self.assertEqual(self.one_click(copies[u][0])[0], 200)
        self.assertEqual([e["campaign"] for e in self.lines("unsubscribe")], ["one"] * 3)

    def judge(self):
        for u in self.people[:3]:
            wait_for(lambda u=u: self.hikyaku("suppress", "check", "--config", self.path("hikyaku.conf"), u).status == 1, 20, u)
        self.check(self.people[3], 0)
        wait_for(lambda: self.later()["unsubscribed"] == 3, 20, "the marks")
        self.send("two")
        self.assertEqual({r["recipient"] for r in self.recipients("two") if r["state"] == "suppressed"}, set(self.people[:3]))

    def test_what_is_accepted_while_redis_is_away_is_applied_when_it_is_back(self):
        self.away_world()
        self.accept_while_away()
        self.server.start()
        self.judge()

    def test_a_redis_that_hangs_keeps_nobody_from_unsubscribing(self):
        self.away_world()
        copies = self.copies()
        os.kill(self.server.process.pid, signal.SIGSTOP)
        try:
            # Nobody asked about this campaign yet, so the first of them has the node ask Redis for it, in vain; but one only.
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                answers = list(pool.map(lambda u: self.one_click(copies[u][0])[0], self.people[:3]))
        finally:
            os.kill(self.server.process.pid, signal.SIGCONT)
        self.assertEqual(answers, [200] * 3, self.finish_words())
        self.judge()
        self.assertEqual(len(self.lines("unsubscribe")), 3)

    def test_a_node_that_dies_before_it_applies_them_is_told_again(self):
        self.away_world()
        self.accept_while_away()
        self.interrupt(self.node, signal.SIGKILL)
        self.finish(self.node)
        self.server.start()
        self.serve()
        self.judge()
        self.assertEqual(len(self.lines("unsubscribe")), 3)


class NoRoom(Case):
    """So many campaigns are under way that there is no room for the one whose reader unsubscribes."""

    SLOTS = 64  # REGION_CAMPAIGNS_MAX

    def redis(self, *commands):
        """One command a line; their answers in words."""
        done = subprocess.run(["redis-cli", "-s", self.path("state", "redis.sock")], input="\n".join(commands) + "\n",
                              capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.split()

    def ask(self, **request):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(self.path("state", "control.sock"))
            s.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(s.makefile().readline())

    def fill(self):
        """Paused campaigns in every place that there is: copies of the one that was sent."""
        keys = self.redis("KEYS {one}:*")
        for n in range(self.SLOTS):
            name = f"f{n}"
            self.redis(*(f"COPY {key} {key.replace('one', name)}" for key in keys),
                       "HSET {" + name + "}:m state paused settled_us 0", f"SADD hikyaku:campaigns {name}")
            shutil.copytree(self.path("state", "campaigns", "one"), self.path("state", "campaigns", name), copy_function=os.link)
            reply = self.ask(command="run", campaign=name)
            self.assertTrue(reply["ok"], reply)
        self.assertFalse(self.ask(command="run", campaign="one")["ok"])

    def test_who_unsubscribes_is_written_to_no_more_and_marked_when_there_is_room(self):
        self.world()
        copies = self.copies()
        self.serve()
        self.fill()
        for u in self.people[:2]:
            self.assertEqual(self.one_click(copies[u][0])[0], 200)
        for u in self.people[:2]:
            wait_for(lambda u=u: self.hikyaku("suppress", "check", "--config", self.path("hikyaku.conf"), u).status == 1, 30, u)
        self.check(self.people[2], 0)
        self.assertEqual(self.later()["unsubscribed"], 0)
        self.assertEqual([e["recipient"] for e in self.lines("unsubscribe")], self.people[:2])
        self.hikyaku("cancel", "--config", self.path("hikyaku.conf"), "--campaign", "f7", expect=0)
        wait_for(lambda: self.later()["unsubscribed"] == 2, 30, "the marks")
        self.assertEqual(len(self.lines("unsubscribe")), 2)


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Full(Case):
    """The disk of the event log has no room: what cannot be written down is not accepted."""

    def small_disk(self):
        place = self.path("small")
        os.mkdir(place)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "hikyaku-test", place], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, f"a small disk cannot be mounted, are you root? {done.stderr}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", place], check=True)
        return place

    def unsubscribes(self):
        with open(self.path("small", "events.jsonl"), "rb") as f:
            return f.read().count(b'"type":"unsubscribe"')

    def test_a_wish_that_cannot_be_written_down_is_not_accepted_however_often_it_is_said(self):
        place = self.small_disk()
        self.world(people=[f"u{n}@a.test" for n in range(50)])
        self.more = f'events {{ file = "{place}/events.jsonl" }}'
        self.write_config()
        copies = self.copies()
        self.serve()
        with open(os.path.join(place, "filler"), "wb", buffering=0) as f, contextlib.suppress(OSError):
            while f.write(b"x" * 4096):
                pass
        # What is left of the last page takes some lines.
        who = next((u for u, (path, _) in copies.items() if self.one_click(path)[0] == 503), None)
        self.assertIsNotNone(who)
        self.assertEqual({self.one_click(copies[who][0])[0] for _ in range(3)}, {503})
        written = self.unsubscribes()
        os.unlink(os.path.join(place, "filler"))
        wait_for(lambda: self.one_click(copies[who][0])[0] == 200, 20, "room")
        self.assertEqual(self.unsubscribes(), written + 1)
        wait_for(lambda: self.hikyaku("suppress", "check", "--config", self.path("hikyaku.conf"), who).status == 1, 20, who)
        self.stop()


def ses(kind, copy, recipient, part, event=True, tags=True):
    """A notice of SES about a copy: (unsubscribe path, return path)."""
    mail = {"timestamp": "2026-11-24T09:00:00.000Z", "messageId": "0102-" + recipient, "destination": [recipient, "innocent@a.test"],
            "source": copy[1]}
    if tags:
        mail = {**mail, "source": "somebody@else.test", "tags": {"ses:operation": ["x"], "hikyaku": [copy[1].split("@")[0]]}}
    name = {"Bounce": "bounce", "Complaint": "complaint", "Delivery": "delivery", "Reject": "reject",
            "DeliveryDelay": "deliveryDelay"}[kind]
    return {"eventType" if event else "notificationType": kind, "mail": mail, name: part}


def bounced(recipient, said="smtp; 550 5.1.1 user unknown", kind=("Permanent", "General"), **more):
    one = {"emailAddress": recipient, "action": "failed", "status": said.split()[2], "diagnosticCode": said} if said else {"emailAddress": recipient}
    return {"bounceType": kind[0], "bounceSubType": kind[1], "bouncedRecipients": [one], "feedbackId": "f-" + recipient, **more}


class SnsCase(Case):
    def setUp(self):
        super().setUp()
        self.sns = played_sns.Sns(self.dir)
        self.addCleanup(self.sns.stop)
        self.write("raw.secret", SECRET + "\n")
        self.world(more=f'sns {{ topics = {{ "{played_sns.TOPIC}" }} ca_file = "sns-ca.pem" proxy = "{self.sns.proxy}" '
                        'secret_file = "raw.secret" }')
        self.copy = self.copies()
        self.serve()

    def post(self, message, path="/sns", headers=None):
        body = message if isinstance(message, (str, bytes)) else json.dumps(message)
        return self.request("POST", path, body, {"Content-Type": "text/plain; charset=UTF-8", **(headers or {})})

    def take(self, message, status=200, **more):
        got, _, words = self.post(message, **more)
        self.assertEqual(got, status, words)
        return words


class Sns(SnsCase):
    def test_what_ses_tells_counts_for_whom_our_token_names(self):
        u = self.people
        self.take(self.sns.message(ses("Bounce", self.copy[u[0]], u[0], bounced(u[0])), version="1"))
        self.take(self.sns.message(ses("Bounce", self.copy[u[1]], u[1], bounced(u[1]), event=False, tags=False), Subject="Amazon SES"))
        self.take(self.sns.message(ses("Complaint", self.copy[u[2]], u[2], {
            "complainedRecipients": [{"emailAddress": u[2]}, {"emailAddress": u[3]}], "complaintFeedbackType": "abuse", "feedbackId": "c-2"})))
        # Named by a stranger's hand: our token's recipient is meant, and nobody else.
        self.take(self.sns.message(ses("Bounce", self.copy[u[4]], u[5], bounced(u[5]))))
        self.take(self.sns.message(ses("Bounce", self.copy[u[6]], u[6], bounced(u[6], "smtp; 554 5.7.1 blocked using Spamhaus"))))
        self.take(self.sns.message(ses("Delivery", self.copy[u[7]], u[7], {"recipients": [u[7]], "smtpResponse": "250 ok"})))
        self.take(self.sns.message(ses("Reject", self.copy[u[7]], u[7], {"reason": "Bad content"})))
        self.take(self.sns.message(ses("DeliveryDelay", self.copy[u[7]], u[7], {
            "delayType": "General", "delayedRecipients": [{"emailAddress": u[7], "status": "4.4.1", "diagnosticCode": "smtp; 450 4.4.1 later"}]})))
        for text in ("Successfully validated SNS topic for Amazon SES event publishing.",
                     {"notificationType": "AmazonSnsSubscriptionSucceeded"}, {"eventType": "Send", "mail": {}},
                     {"eventType": "Open", "mail": {}}):
            self.assertIn("nothing follows", self.take(self.sns.message(text)))
        for who, expect in ((u[0], 1), (u[1], 1), (u[2], 1), (u[3], 0), (u[4], 1), (u[5], 0), (u[6], 0), (u[7], 0), ("innocent@a.test", 0)):
            said = self.check(who, expect)
            if expect:
                self.assertIn("from ses", said)
        kinds = sorted(e["kind"] for e in self.lines("bounce") + self.lines("complaint"))
        self.assertEqual(kinds, ["bounce"] * 5 + ["delay", "delivered", "feedback"])
        # A message that names no recipient of ours counts for nothing.
        self.take(self.sns.message({"eventType": "Bounce", "mail": {"source": "x@y.test"}, "bounce": bounced(u[7])}))
        self.assertIn("no token of ours", self.lines("bounce")[-1]["ignored"])
        self.check(u[7], 0)
        # One certificate, fetched once.
        self.assertEqual(self.sns.connects, [f"{played_sns.HOST}:443"])
        self.send("two")
        self.assertEqual({r["recipient"] for r in self.recipients("two") if r["state"] == "suppressed"}, {u[0], u[1], u[2], u[4]})

    def test_what_is_delivered_twice_counts_once(self):
        u = self.people[0]
        full = ses("Bounce", self.copy[u], u, bounced(u, "smtp; 552 5.2.2 mailbox full", ("Transient", "MailboxFull")))
        first = self.sns.message(full)
        self.take(first)
        self.assertIn("known already", self.take(first))
        self.assertIn("known already", self.take(self.sns.message(full)))  # another MessageId, the same feedbackId
        self.assertEqual(len(self.lines("bounce")), 1)
        self.assertIn("1 of", self.check(u, 0))

    def test_a_subscription_is_confirmed_for_our_topics_alone(self):
        self.take(self.sns.confirmation())
        self.assertEqual(self.sns.requests, ["GET " + played_sns.CERT_PATH,
                                             f"GET /?Action=ConfirmSubscription&TopicArn={played_sns.TOPIC}&Token=2336412f37f"])
        self.sns.confirm = 302  # a redirect is not followed
        self.take(self.sns.confirmation(), 502)
        self.assertEqual(set(self.sns.connects), {f"{played_sns.HOST}:443"})
        before = len(self.sns.connects)
        other = played_sns.TOPIC.replace("bounces", "others")
        self.assertIn("sns.topics", self.take(self.sns.confirmation(TopicArn=other), 403))
        self.assertIn("sns.topics", self.take(self.sns.message("x", TopicArn=other), 403))
        for url in ("http://169.254.169.254/latest/meta-data/", "https://evil.example/?Action=ConfirmSubscription&Token=x",
                    "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=x",
                    f"https://{played_sns.HOST}/?Action=DeleteTopic&TopicArn=x", f"https://{played_sns.HOST}@evil.example/?Action=ConfirmSubscription&"):
            self.take(self.sns.confirmation(SubscribeURL=url), 403)
        self.assertEqual(len(self.sns.connects), before, self.sns.connects)

    def test_raw_delivery_is_taken_behind_its_secret_alone(self):
        u = self.people
        raw = {"x-amz-sns-rawdelivery": "true", "x-amz-sns-topic-arn": played_sns.TOPIC}
        body = ses("Bounce", self.copy[u[0]], u[0], bounced(u[0]))
        self.take(body, 403, headers=raw)
        self.take(body, 400)
        self.take(body, 404, path="/sns/" + SECRET[:-1], headers=raw)
        self.take(body, 404, path="/sns/" + SECRET + "x", headers=raw)
        self.take(body, 404, path="/sns/", headers=raw)
        self.check(u[0], 0)
        self.take(body, path="/sns/" + SECRET, headers=raw)
        self.check(u[0], 1)
        arrived = ses("Delivery", self.copy[u[1]], u[1], {"recipients": [u[1]], "smtpResponse": "250 ok"})
        self.assertIn("taken", self.take(arrived, path="/sns/" + SECRET, headers=raw))
        self.assertIn("known already", self.take(arrived, path="/sns/" + SECRET, headers=raw))
        self.assertEqual([e["kind"] for e in self.lines("bounce")], ["bounce", "delivered"])
        self.assertEqual(self.sns.connects, [])

    def test_hostile_envelopes_are_refused_with_a_reason_and_no_request(self):
        u = self.people[0]
        notice = ses("Bounce", self.copy[u], u, bounced(u))
        urls = ["https://sns.us-east-1.amazonaws.com.evil.example/x.pem", "https://sns.us-east-1.amazonaws.com@evil.example/x.pem",
                "https://evil.example/sns.us-east-1.amazonaws.com/x.pem", "http://sns.us-east-1.amazonaws.com/x.pem",
                "https://s3.amazonaws.com/sns.us-east-1.amazonaws.com/x.pem", "https://sns.us-east-1.amazonaws.com:8443/x.pem",
                "https://sns.us-east-1.amazonaws.com/x.pem?y=.pem#.pem", "https://sns.us-east-1.amazonaws.com/x.txt",
                "https://user:pw@sns.us-east-1.amazonaws.com/x.pem", "file:///etc/passwd.pem", "https://127.0.0.1/x.pem",
                "https://evil.example#.sns.us-east-1.amazonaws.com/x.pem", "https://evil.example\\.sns.us-east-1.amazonaws.com/x.pem"]
        for url in urls:
            self.take(self.sns.message(notice, SigningCertURL=url), 403)
        good = self.sns.message(notice)
        text = json.dumps(good)
        deep = text[:-1] + ', "x": ' + "[" * 100000 + "]" * 100000 + "}"
        for body, status in (("", 400), ("{}", 400), ("[]", 400), ("no", 400), (text[:-1], 400), (deep, 400),
                             ('{"Type": "Notification", ' + text[1:], 400), (text.replace('"SignatureVersion": "2"', '"SignatureVersion": "3"'), 400),
                             ("[" * 100000, 400), (b"\xff\xfe" + text.encode(), 400)):
            self.take(body, status)
        with socket.create_connection(("127.0.0.1", self.http_port), timeout=30) as s:
            s.sendall(b"POST /sns HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n")
            self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 413"))
        folder = os.path.join(os.environ.get("HK_SHARED", os.path.join(harness.ROOT, "..", "shared")), "data", "bounce", "hostile")
        names = sorted(glob.glob(os.path.join(folder, "*sns*.json")))
        if not names:
            print(f"left out: {folder} is not there")
        for name in names:  # of a topic that is not ours
            with open(name, encoding="utf-8") as f:
                self.take(f.read(), 403)
        self.assertEqual(self.sns.connects, [])
        # Signed by somebody else, changed behind its signature, of the other version: the certificate is asked for, no more.
        other = played_sns.Authority("Another")
        for message in (self.sns.message(notice, key=other.key), {**good, "Message": good["Message"] + " "}, {**good, "SignatureVersion": "1"},
                        {**good, "Signature": "AAAA"}, {**good, "MessageId": "x"}, {**good, "Subject": "added"}):
            self.assertIn("signature", self.take(message, 403))
        self.assertEqual(set(self.sns.connects), {f"{played_sns.HOST}:443"})
        self.check(u, 0)
        self.assertEqual(self.lines("bounce"), [])

    def test_a_certificate_that_is_not_to_be_trusted_is_refused(self):
        u = self.people[0]
        notice = ses("Bounce", self.copy[u], u, bounced(u))
        key, authority = self.sns.key, self.sns.authority
        other = played_sns.Authority("Another")
        bad = {"other": other.issue("sns.amazonaws.com", key, ["sns.amazonaws.com"]),
               "old": authority.issue("sns.amazonaws.com", key, ["sns.amazonaws.com"], days=(-9, -2)),
               "early": authority.issue("sns.amazonaws.com", key, ["sns.amazonaws.com"], days=(2, 9)),
               "name": authority.issue("www.example.com", key, ["www.example.com"])}
        for name, certificate in bad.items():
            self.sns.pages[f"/{name}.pem"] = (200, played_sns.pem(certificate))
            self.take(self.sns.message(notice, SigningCertURL=f"https://{played_sns.HOST}/{name}.pem"), 403)
        # Not to be had, a redirect, too large, no certificate: SNS may try again, or not.
        self.sns.pages.update({"/gone.pem": (404, b""), "/moved.pem": (302, b""), "/large.pem": (200, b"x" * 200000), "/text.pem": (200, b"hello")})
        for name, status in (("gone", 503), ("moved", 503), ("large", 503), ("text", 403)):
            self.take(self.sns.message(notice, SigningCertURL=f"https://{played_sns.HOST}/{name}.pem"), status)
        asked = len(self.sns.requests)
        for _ in range(20):  # what was bad is not asked for again at once
            self.take(self.sns.message(notice, SigningCertURL=f"https://{played_sns.HOST}/gone.pem"), 503)
        self.assertEqual(len(self.sns.requests), asked)
        self.assertEqual(set(self.sns.connects), {f"{played_sns.HOST}:443"})
        self.check(u, 0)


    def test_certificates_that_anybody_may_name_do_not_drive_out_the_good_one(self):
        u = self.people
        self.take(self.sns.message(ses("Bounce", self.copy[u[0]], u[0], bounced(u[0]))))
        self.sns.slow_s = 1
        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            names = [f"https://{played_sns.HOST}/slow-{n}.pem" for n in range(9)]
            refused = [pool.submit(self.post, self.sns.message("x", SigningCertURL=name)) for name in names]
            wait_for(lambda: any("slow" in r for r in self.sns.requests), 20, "the first of them")
            began = time.monotonic()
            self.take(self.sns.message(ses("Bounce", self.copy[u[1]], u[1], bounced(u[1]))))
            self.assertLess(time.monotonic() - began, 5)  # behind all of them it would be nine
            self.assertEqual({r.result()[0] for r in refused}, {503})
        self.assertEqual([r for r in self.sns.requests if "slow" not in r], ["GET " + played_sns.CERT_PATH])


class MessageIds(Case):
    """Notices of SES that carry neither our tag nor our return path: the id that SES gave the message says whose it is."""
    people = [f"u{n}@a.test" for n in range(6)]
    remember = "remember = 3d"
    redis = ""

    def setUp(self):
        super().setUp()
        self.write("raw.secret", SECRET + "\n")
        self.write("ses.key", played_ses.SECRET_KEY + "\n")
        self.ses = played_ses.Ses(self.dir)
        self.addCleanup(self.ses.stop)

    def write_config(self):
        self.configure(tls='opportunistic\n ca_file = "relay.pem"', more=(
            f'web {{ listen = "127.0.0.1:{self.http_port}" }}\nsns {{ secret_file = "raw.secret" {self.remember} }}\n'
            f'route "*" {{ relay = "{self.ses.host}:{self.ses.port}" profile = ses region = "{played_ses.REGION}"\n'
            f'  auth {{ user = "{played_ses.USER}" secret_key_file = "ses.key" }} }}\n{self.redis}'))

    def begin(self):
        self.dns(mx={})
        self.http_port = self._free_port()
        self.write_config()
        self.list(self.people)
        self.send("one")
        self.id = {a.rcpt: a.id for a in self.ses.accepted}
        self.assertEqual(sorted(self.id), self.people)

    def tell(self, kind, message_id, part):
        name = {"Bounce": "bounce", "Complaint": "complaint", "Delivery": "delivery"}[kind]
        mail = {"timestamp": "2026-11-24T09:00:00.000Z", "messageId": message_id, "source": "news@else.test", "destination": ["x@else.test"]}
        status, _, words = self.request("POST", "/sns/" + SECRET, json.dumps({"notificationType": kind, "mail": mail, name: part}),
                                        {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-rawdelivery": "true"})
        self.assertEqual(status, 200, words)
        return words

    def test_a_notice_without_our_token_finds_its_recipient(self):
        u = self.people
        self.begin()
        self.serve()
        self.tell("Bounce", self.id[u[0]], bounced(u[0]))
        self.tell("Complaint", self.id[u[1]], {"complainedRecipients": [{"emailAddress": u[1]}, {"emailAddress": u[2]}], "feedbackId": "c"})
        self.tell("Bounce", self.id[u[3]], bounced(u[3], "smtp; 552 5.2.2 mailbox full", ("Transient", "MailboxFull")))
        # Of a message that is none of ours, and of one whose id is nearly one of ours.
        self.tell("Bounce", "0106018f-of-somebody-else", bounced(u[4], feedbackId="other"))
        self.tell("Bounce", self.id[u[4]][:-1] + "1", bounced(u[4], feedbackId="near"))
        self.assertIn("known already", self.tell("Bounce", self.id[u[0]], bounced(u[0])))
        for who, expect in ((u[0], 1), (u[1], 1), (u[2], 0), (u[3], 0), (u[4], 0), (u[5], 0)):
            self.check(who, expect)
        self.assertIn("1 of", self.check(u[3], 0))
        lines = self.lines("bounce") + self.lines("complaint")
        self.assertEqual([e.get("recipient") for e in lines], [u[0], u[3], None, None, u[1]])
        self.assertEqual([e.get("ignored") for e in lines], [None, None, "no token of ours", "no token of ours", None])
        self.assertEqual([e["remote_id"] for e in lines[:2]], [self.id[u[0]], self.id[u[3]]])
        wait_for(lambda: self.later() == {"bounced": 2, "complained": 1, "unsubscribed": 0}, 30, "the marks")
        self.assertEqual(self.stop().status, 0)
        self.send("two")
        self.assertEqual({r["recipient"] for r in self.recipients("two") if r["state"] == "suppressed"}, {u[0], u[1]})

    def test_after_redis_was_lost_the_event_log_tells_the_ids_again(self):
        u = self.people
        self.begin()
        self._end_redis()
        shutil.rmtree(self.path("state", "redis"))
        self.hikyaku("campaigns", "restore", "--config", self.path("hikyaku.conf"), "--campaign", "one", expect=0)
        self.serve()
        self.tell("Bounce", self.id[u[5]], bounced(u[5]))
        self.check(u[5], 1)
        self.assertEqual(self.stop().status, 0)

    def other_node(self):
        """Another node on the same Redis, with the same secret, that has sent nothing."""
        port = self._free_port()
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        for old, new in ((self.path("state"), self.path("other")), (f":{self.http_port}", f":{port}"),
                         ("node     {", 'node { name = "other"')):
            self.assertEqual(text.count(old), 1, old)
            text = text.replace(old, new)
        self.http_port = port
        self.node = self.start("serve", "--config", self.write("other.conf", text))
        wait_for(self.answers, 30, "the web process of the other node")

    def test_another_node_finds_them_as_well(self):
        u = self.people
        server = Redis(self.path("redis-x"))
        self.addCleanup(server.stop)
        self.write("redis.password", PASSWORD + "\n")
        self.redis = f'redis {{ mode = external host = "127.0.0.1" port = {server.port} user = "hikyaku" password_file = "redis.password" }}'
        self.begin()
        self.other_node()
        self.tell("Bounce", self.id[u[0]], bounced(u[0]))
        # It has no list of them: a notice that names somebody else is not believed.
        self.tell("Bounce", self.id[u[1]], bounced(u[2], feedbackId="f"))
        self.assertEqual(self.stop().status, 0)
        self.send("two")
        self.assertEqual({r["recipient"] for r in self.recipients("two") if r["state"] == "suppressed"}, {u[0]})

    def test_nothing_is_kept_unless_it_is_wanted(self):
        u = self.people
        self.remember = ""
        self.begin()
        self.serve()
        self.tell("Bounce", self.id[u[0]], bounced(u[0]))
        self.check(u[0], 0)
        self.assertEqual(self.lines("bounce")[0]["ignored"], "no token of ours")
        self.assertEqual(self.stop().status, 0)


class Strained(Case):
    def begin(self):
        self.world()
        self.path_of = {u: c[0] for u, c in self.copies().items()}
        self.serve()
        self.web = self.status()["pids"]["web"]

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.http_port), timeout=60)
        self.addCleanup(s.close)
        return s

    def crowd(self, count):
        found = crowd.Crowd(("127.0.0.1", self.http_port), count)
        found.__enter__()
        self.addCleanup(found.__exit__)
        return found

    def memory_kb(self):
        return crowd.memory_kb(self.web)

    def assert_it_lives(self):
        self.assertEqual(self.status()["pids"]["web"], self.web, self.finish_words())

    def page(self):
        self.assertEqual(self.request("GET", self.path_of["u1@a.test"])[0], 200)


class Crowded(Strained):
    """As many as web.connections, and more; scripts/soak takes ten thousand (crowd.py)."""
    bounds = f"timeout = 60s connections = {2 * crowd.SIZE}"

    def strangers(self, count=crowd.SIZE):
        """A third says nothing, a third half a head, a third a body drop by drop."""
        strangers = self.crowd(count)
        strangers.connect()
        strangers.say(b"GET / HTTP/1.1\r\nX-", strangers.members[1::3])
        strangers.say(f"POST {self.path_of['u0@a.test']} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: 4000\r\n\r\n".encode(),
                      strangers.members[2::3])
        return strangers

    def test_who_behaves_is_answered_beside_a_crowd(self):
        self.begin()
        self.page()
        alone, before = crowd.timed(self.page), self.memory_kb()
        strangers = self.strangers()
        drops = strangers.members[1::3] + strangers.members[2::3]
        times = []
        for _ in range(8):
            strangers.say(b"x", drops)
            times.append(crowd.timed(self.page))
        self.assertEqual(self.one_click(self.path_of["u2@a.test"])[0], 200)
        after = self.memory_kb()
        strangers.hear()
        self.assertEqual(len(strangers.closed), 0)
        self.assert_it_lives()
        print(f"\nweb, {crowd.SIZE} connections: {before} kB before, {after} kB with them; a page takes {alone:.3f} s alone, at most {max(times):.3f} s "
              "beside them", flush=True)
        self.assertLess(max(times), 5)
        self.assertLess(after - before, 4096 + 24 * crowd.SIZE)

    def test_with_few_descriptors_it_has_fewer_connections_and_says_so(self):
        self.bounds = "timeout = 10s connections = 1000"
        self.begin()
        resource.prlimit(self.node.pid, resource.RLIMIT_NOFILE, (300, 300))  # what its next child begins with
        os.kill(self.web, signal.SIGKILL)
        wait_for(lambda: self.status()["pids"]["web"] not in (0, self.web), 20, "another process")
        self.page()
        self.web = self.status()["pids"]["web"]
        self.assertIn("236 connections instead of web.connections = 1000", self.finish_words())
        self.strangers(400)
        before = cpu_s(self.web)
        took = crowd.timed(self.page)  # when those who came before have had a fifth of their time
        self.assertLess(took, 10)
        self.assertLess(cpu_s(self.web) - before, took / 2)  # and it rests while it waits
        self.assert_it_lives()


class Strain(Strained):
    """Slow ones and large ones, in small; scripts/soak takes larger figures."""

    BODY = int(os.environ.get("HIKYAKU_BODY_MB", "64")) << 20
    bounds = f"timeout = 4s connections = {max(64, crowd.SIZE // 6)}"

    def setUp(self):
        super().setUp()
        self.begin()

    def test_a_crowd_beyond_its_bound_does_not_keep_others_out(self):
        strangers = self.crowd(crowd.SIZE)
        strangers.connect()
        for i, member in enumerate(strangers.members[:crowd.SIZE // 2]):
            strangers.say(b"GET / HTTP/1.1\r\n" if i % 2 else f"POST {self.path_of['u0@a.test']} HTTP/1.1\r\nHost: x\r\n".encode(), [member])
        took = crowd.timed(self.page)
        print(f"\nweb, {crowd.SIZE} connections and a bound of a sixth of them: a page after {took:.1f} s, web.timeout = 4 s", flush=True)
        self.assertLess(took, 25)
        self.assert_it_lives()

    def test_a_byte_now_and_then_does_not_hold_a_connection(self):
        s = self.connect()
        s.settimeout(1)
        began = time.monotonic()
        closed = False
        while not closed and time.monotonic() - began < 60:
            try:
                s.sendall(b"G" if time.monotonic() - began < 0.2 else b"E")
                time.sleep(0.2)
                s.setblocking(False)
                closed = s.recv(100) == b""
            except BlockingIOError:
                s.setblocking(True)
            except OSError:
                closed = True
        self.assertTrue(closed)
        self.assertLess(time.monotonic() - began, 40)  # web.timeout is 4 s
        self.assert_it_lives()

    def test_bodies_beyond_any_use_are_refused_without_being_kept(self):
        path, before = self.path_of["u0@a.test"], self.memory_kb()
        s = self.connect()
        s.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: 1000000000\r\n\r\n".encode())
        self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 413"))
        for head in (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n",
                     "GET / HTTP/1.1\r\nX: "):
            s = self.connect()
            sent = 0
            try:
                s.sendall(head.encode())
                while sent < self.BODY:
                    s.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n" if "chunked" in head else b"x" * 65536)
                    sent += 65536
            except OSError:
                pass
            self.assertLess(sent, self.BODY)
        self.assertLess(self.memory_kb() - before, 16384)
        self.assert_it_lives()
        self.check("u0@a.test", 0)

    def test_many_at_a_time_are_all_taken(self):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda u: self.one_click(self.path_of[u])[0], self.people * 10))
        self.assertEqual(set(answers), {200})
        self.assertEqual(len(self.lines("unsubscribe")), len(self.people))

    def test_it_is_started_again_and_holds_next_to_nothing(self):
        self.assertEqual(self.request("GET", self.path_of["u0@a.test"])[0], 200)  # it reads strangers' bytes from here on
        with open(f"/proc/{self.web}/status", encoding="utf-8") as f:
            status = dict(line.split(":", 1) for line in f)
        self.assertEqual(status["CapEff"].strip().strip("0"), "")
        self.assertEqual(status["NoNewPrivs"].strip(), "1")
        if os.path.basename(harness.BUILD) not in ("asan", "tsan"):
            self.assertEqual(status["Seccomp"].strip(), "2")
        os.kill(self.web, signal.SIGKILL)
        wait_for(lambda: self.status()["pids"]["web"] not in (0, self.web), 20, "a new web process")
        wait_for(lambda: self.request("GET", self.path_of["u0@a.test"])[0] == 200, 20, "its answers")


if __name__ == "__main__":
    harness.main()
