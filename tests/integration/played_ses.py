"""A relay as Amazon SES plays it: TLS, AUTH, a sending rate, a daily quota, a sandbox; and one that dies.

    ses = Ses(folder, rate=200)           # listens on ses.host, ses.port until ses.stop()
    ses.accepted                          # [Accepted], in order
    ses.refused                           # [(time, words)]
    ses.said                              # every line that came, AUTH included

Replies are those of the SES developer guide. What a client did is judged by what is kept here. The rate counts what was
accepted within the last second. All of it may be changed while it runs.
"""
import asyncio
import base64
import collections
import hashlib
import hmac
import os
import socket
import ssl
import subprocess
import threading
import time

Accepted = collections.namedtuple("Accepted", "time mail_from rcpt message id")

SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYplayedKEY"
REGION = "ap-northeast-1"
USER = "AKIAPLAYED"


def password(secret=SECRET_KEY, region=REGION):
    """The SMTP password of an IAM user, told apart from the code under test."""
    key = ("AWS4" + secret).encode()
    for word in ("11111111", region, "ses", "aws4_request", "SendRawEmail"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return base64.b64encode(b"\x04" + key).decode()


def make_certificate(folder):
    """A certificate for 127.0.0.1 that is its own authority: (cert, key)."""
    cert, key = os.path.join(folder, "relay.pem"), os.path.join(folder, "relay.key")
    if not os.path.exists(cert):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=relay.test", "-addext",
                        "subjectAltName=IP:127.0.0.1"], check=True, stderr=subprocess.DEVNULL)
    return cert, key


class Ses:
    def __init__(self, folder, rate=None, quota=None, unverified="", implicit_tls=False, auth=("PLAIN", "LOGIN"),
                 starttls=True, secret=None, die_after=None, reject_login=None):
        self.rate, self.quota, self.unverified, self.die_after = rate, quota, unverified, die_after
        self.implicit_tls, self.auth, self.starttls = implicit_tls, auth, starttls
        self.secret, self.reject_login = secret or password(), reject_login
        self.accepted, self.refused, self.said, self.logins = [], [], [], 0
        self._recent, self._dead = collections.deque(), False
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*make_certificate(folder))
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.host, self.port = "127.0.0.1", self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda loop, context: None)  # connections that were cut
        tls = {"ssl": self.context} if self.implicit_tls else {}
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._socket, **tls))
        self._loop.run_forever()
        self._server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def stop(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(20)

    def is_dead(self):
        """Nobody listens any more, and each connection is cut at its next MAIL: of what was taken, all is answered."""
        if not self._dead and self.die_after is not None and len(self.accepted) >= self.die_after:
            self._dead = True
            self._server.close()
        return self._dead

    async def _serve(self, reader, writer):
        try:
            await Session(self, reader, writer).run()
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, EOFError):
            pass
        finally:
            writer.close()

    def judge(self, mail_from, rcpt, message):
        """The reply to a message."""
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if self.quota is not None and len(self.accepted) >= self.quota:
            words = "454 Throttling failure: Daily message quota exceeded."
        elif self.rate is not None and len(self._recent) >= self.rate:
            words = "454 Throttling failure: Maximum sending rate exceeded."
        elif self.unverified and self.unverified in rcpt:
            words = ("554 Message rejected: Email address is not verified. The following identities failed the check in "
                     f"region {REGION.upper()}: {rcpt}")
        else:
            self._recent.append(now)
            name = f"0106018f{len(self.accepted):08x}-6d1f2c3a-0000-4b5c-8d6e-{self.port:012x}-000000"
            self.accepted.append(Accepted(now, mail_from, rcpt, message, name))
            return f"250 Ok {name}"
        self.refused.append((now, words))
        return words


class Session:
    def __init__(self, ses, reader, writer):
        self.ses, self.reader, self.writer = ses, reader, writer
        self.secure, self.logged_in = ses.implicit_tls, False

    async def say(self, *lines):
        self.writer.write(b"".join(line.encode() + b"\r\n" for line in lines))
        await self.writer.drain()

    async def line(self):
        line = (await self.reader.readuntil(b"\r\n"))[:-2].decode("latin-1")
        self.ses.said.append((self.secure, line))
        return line

    async def run(self):
        await self.say("220 email-smtp.amazonaws.com ESMTP SimpleEmailService-d-PLAYED")
        mail_from = rcpt = None
        while True:
            line = await self.line()
            verb = line.split(":")[0].split(" ")[0].upper()
            if verb == "EHLO":
                await self.hello()
            elif verb == "STARTTLS":
                await self.say("220 Ready to start TLS")
                await self.writer.start_tls(self.ses.context)
                self.secure = True
            elif verb == "AUTH":
                await self.login(line)
            elif verb == "QUIT":
                await self.say("221 Bye")
                return
            elif verb == "RSET":
                await self.say("250 Ok")
            elif verb == "MAIL":
                if self.ses.is_dead():
                    return
                mail_from = line[line.index("<") + 1:line.index(">")]
                await self.say("250 Ok" if self.logged_in else "530 Authentication required")
            elif verb == "RCPT":
                rcpt = line[line.index("<") + 1:line.index(">")]
                await self.say("250 Ok" if self.logged_in else "530 Authentication required")
            elif verb == "DATA":
                await self.say("354 End data with <CR><LF>.<CR><LF>")
                message = await self.reader.readuntil(b"\r\n.\r\n")
                await self.say(self.ses.judge(mail_from, rcpt, message[:-3].replace(b"\r\n..", b"\r\n.")))
            else:
                await self.say("502 Unimplemented")

    async def hello(self):
        words = ["email-smtp.amazonaws.com", "8BITMIME"]
        if not self.secure and self.ses.starttls:
            words.append("STARTTLS")
        if self.secure or not self.ses.starttls:
            words.append("AUTH " + " ".join(self.ses.auth))
        words.append("Ok")
        await self.say(*[f"250-{w}" for w in words[:-1]], f"250 {words[-1]}")

    async def login(self, line):
        self.ses.logins += 1
        if line.upper().startswith("AUTH LOGIN"):
            await self.say("334 " + base64.b64encode(b"Username:").decode())
            user = base64.b64decode(await self.line()).decode()
            await self.say("334 " + base64.b64encode(b"Password:").decode())
            told = await self.line()
            secret = base64.b64decode(told).decode()
        else:
            told = line.split(" ")[2]
            user, secret = base64.b64decode(told).decode().split("\0")[1:]
        self.logged_in = (user, secret) == (USER, self.ses.secret) and not self.ses.reject_login
        if self.logged_in:
            await self.say("235 Authentication successful.")
        else:
            await self.say((self.ses.reject_login or "535 Authentication Credentials Invalid").format(told=told, secret=secret))
