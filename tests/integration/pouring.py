"""Many mails into one SMTP receiver, as MTAs bring them: over many connections, each with one mail after the other, and once
more where the receiver says "later" or goes away in the middle.

    codes = pour(("127.0.0.1", 25), [Mail("", "b-x@bounce.test", "Subject: ...\\r\\n...")])   # the last reply to each, in order

Nothing here is a test.
"""
import collections
import selectors
import socket
import time

Mail = collections.namedtuple("Mail", "sender recipient text")
AGAIN_S = 0.2  # after a 4yz, or a connection that was lost
GREETING, IDLE, ENVELOPE, CONTENT = range(4)
REPLIES = {GREETING: 2, ENVELOPE: 4, CONTENT: 1}  # that answer what was sent


class Lane:
    """One connection, and the mail that it is busy with."""

    def __init__(self, at):
        self.at, self.socket, self.state, self.rest, self.codes = at, None, GREETING, b"", []
        self.number, self.mail = 0, None

    def send(self, state, data):
        self.state, self.codes = state, []
        self.socket.sendall(data)

    def open(self):
        self.socket, self.rest = socket.create_connection(self.at, timeout=10), b""
        self.send(GREETING, b"EHLO mx\r\n")

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def begin(self, number, mail):
        self.number, self.mail = number, mail
        self.send(ENVELOPE, f"RSET\r\nMAIL FROM:<{mail.sender}>\r\nRCPT TO:<{mail.recipient}>\r\nDATA\r\n".encode())

    def content(self):
        text = self.mail.text.replace("\r\n.", "\r\n..").encode()
        self.send(CONTENT, text + (b".\r\n" if text.endswith(b"\r\n") else b"\r\n.\r\n"))

    def read(self):
        """Have all replies come that are awaited? ConnectionError at the end."""
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionResetError("closed")
        *lines, self.rest = (self.rest + piece).split(b"\r\n")
        self.codes += [int(line[:3]) for line in lines if line[3:4] != b"-"]
        if 421 in self.codes:
            raise ConnectionResetError("ended")
        return len(self.codes) >= REPLIES.get(self.state, 1)

    def refusal(self):
        """Of the envelope: the first code that refuses it, None where there is none."""
        return next((code for code in self.codes if code >= 400), None)


class Pour:
    def __init__(self, at, mails, connections, seconds):
        self.until, self.seconds = time.monotonic() + seconds, seconds
        self.waiting = collections.deque(enumerate(mails))
        self.later = collections.deque()  # (when, number, mail)
        self.codes, self.left = [None] * len(mails), len(mails)
        self.ready = selectors.DefaultSelector()
        self.closed = collections.deque((0, Lane(at)) for _ in range(min(connections, len(mails))))
        self.idle = []

    def put_off(self, lane):
        if lane.mail is not None:
            self.later.append((time.monotonic() + AGAIN_S, lane.number, lane.mail))
        lane.mail = None

    def lost(self, lane):
        self.ready.unregister(lane.socket)
        lane.close()
        self.put_off(lane)
        self.closed.append((time.monotonic() + AGAIN_S, lane))

    def settled(self, lane, code):
        if 400 <= code < 500:
            self.put_off(lane)
        else:
            self.codes[lane.number], lane.mail = code, None
            self.left -= 1
        lane.state = IDLE
        self.idle.append(lane)

    def answered(self, lane):
        if lane.state == GREETING:
            lane.state = IDLE
            self.idle.append(lane)
        elif lane.state == CONTENT:
            self.settled(lane, lane.codes[0])
        elif lane.refusal() is None:
            lane.content()
        else:
            self.settled(lane, lane.refusal())

    def open_lanes(self):
        for _ in range(len(self.closed)):
            when, lane = self.closed.popleft()
            if when > time.monotonic():
                self.closed.append((when, lane))
                continue
            try:
                lane.open()
                self.ready.register(lane.socket, selectors.EVENT_READ, lane)
            except OSError:
                lane.close()
                self.closed.append((time.monotonic() + AGAIN_S, lane))

    def feed(self):
        while self.later and self.later[0][0] <= time.monotonic():
            self.waiting.append(self.later.popleft()[1:])
        while self.idle and self.waiting:
            lane = self.idle.pop()
            try:
                lane.begin(*self.waiting.popleft())
            except OSError:
                self.lost(lane)

    def run(self):
        while self.left > 0:
            if time.monotonic() > self.until:
                raise AssertionError(f"{self.left} of {len(self.codes)} mails are not taken within {self.seconds} s")
            self.open_lanes()
            self.feed()
            for key, _ in self.ready.select(0.05):
                lane = key.data
                try:
                    if lane.read():
                        self.answered(lane)
                except OSError:
                    if lane in self.idle:
                        self.idle.remove(lane)
                    self.lost(lane)
        for key in list(self.ready.get_map().values()):
            key.data.close()
        self.ready.close()
        return self.codes


def pour(at, mails, connections=32, seconds=120):
    """The code of the last reply to each mail, in order: 250, or whatever refused it for good."""
    return Pour(at, mails, connections, seconds).run()
