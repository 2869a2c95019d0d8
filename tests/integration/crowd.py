"""A crowd: thousands of connections of one process, for tests of what strangers can do to one that listens.

    with Crowd(at, 10000, sources=["127.0.0.2", "127.0.0.3"]) as crowd:
        crowd.connect()
        crowd.hear()              # what each was told so far
        crowd.say(b"x", part)     # where there is room for it

HIKYAKU_CROWD says how many a test takes: few in scripts/test, ten thousand in scripts/soak.
"""
import os
import resource
import selectors
import socket
import sys
import time

SIZE = int(os.environ.get("HIKYAKU_CROWD", "400"))
SPARE = 200      # descriptors of the test itself
UNDER_WAY = 256  # connections being made at once


class Crowd:
    """sources: the addresses that they come from, in turn."""

    def __init__(self, at, count, sources=(None,)):
        self.at, self.count, self.sources = at, count, sources
        self.members, self.heard, self.closed = [], {}, set()
        self.limit = resource.getrlimit(resource.RLIMIT_NOFILE)

    def __enter__(self):
        soft, hard = self.limit
        need = self.count + SPARE
        if hard < need:
            raise RuntimeError(f"the limit of open files is {hard}: a crowd of {self.count} needs {need} (ulimit -Hn, or HIKYAKU_CROWD)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), hard))
        return self

    def __exit__(self, *exception):
        for member in self.members:
            member.close()
        self.members = []
        resource.setrlimit(resource.RLIMIT_NOFILE, self.limit)

    def connect(self, seconds=60):
        """All of them."""
        waiting, begun, left = selectors.DefaultSelector(), set(), self.count - len(self.members)
        deadline = time.monotonic() + seconds
        while left > 0 or begun:
            while left > 0 and len(begun) < UNDER_WAY:
                member = socket.socket()
                member.setblocking(False)
                source = self.sources[len(self.members) % len(self.sources)]
                if source:
                    member.bind((source, 0))
                self.members.append(member)
                member.connect_ex(self.at)
                begun.add(member)
                waiting.register(member, selectors.EVENT_WRITE)
                left -= 1
            for key, _ in waiting.select(1):
                error = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, f"connection {len(self.members)}: {os.strerror(error)}")
                begun.discard(key.fileobj)
                waiting.unregister(key.fileobj)
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(begun)} of {len(self.members)} connections are still being made after {seconds} s")
        waiting.close()

    def knocked_again(self):
        """How many packets they had to send a second time until now, to be connected or since (tcpi_total_retrans)."""
        return sum(int.from_bytes(member.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[100:], sys.byteorder)
                   for member in self.members)

    def hear(self):
        """member -> all that it was told until now."""
        for member in self.members:
            try:
                while member not in self.closed:
                    data = member.recv(65536)
                    self.heard[member] = self.heard.get(member, b"") + data
                    if not data:
                        self.closed.add(member)
            except BlockingIOError:
                pass
            except OSError:
                self.closed.add(member)
        return self.heard

    def wait_heard(self, words, count, seconds=60):
        """Until `count` of them were told something that begins so."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.told(words) >= count:
                return
            time.sleep(0.05)
        raise AssertionError(f"only {self.told(words)} of {count} were told {words}")

    def told(self, words):
        return sum(text.startswith(words) for text in self.hear().values())

    def say(self, data, members=None):
        """To those that are still there."""
        for member in self.members if members is None else members:
            try:
                if member not in self.closed:
                    member.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self.closed.add(member)


def memory_kb(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


def timed(function):
    """How long it takes."""
    began = time.monotonic()
    function()
    return time.monotonic() - began
