"""What is known of a campaign after (or in the middle of) a run, gathered from three independent witnesses.

    receivers  what bench/sink accepted, refused and dropped: its log lines and its own counters
    Redis      the keys of the campaign (include/hikyaku/state.h), read without the help of hikyaku
    event log  every line of every part, in order

and what hikyaku itself says: `report --json` and `report --recipients`. Nothing here judges; judge.py does. Facts can be
kept as one JSON file and judged again (save, load).
"""
import collections
import dataclasses
import datetime
import glob
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time

from nsd import die_with_parent

STATES = ("pending", "sending", "sent", "deferred", "bounced", "expired", "suppressed", "unknown", "cancelled")
FINAL = frozenset(STATES) - {"pending", "sending", "deferred"}

# A recipient's four bytes, taken apart (struct ledger_word).
Word = collections.namedtuple("Word", "state marks reply_class attempts code uncounted")


def unpack_word(packed):
    state = packed & 15
    return Word(STATES[state] if state < len(STATES) else f"state {state}", packed >> 4 & 7, packed >> 7 & 31,
                packed >> 12 & 255, packed >> 20 & 1023, packed >> 30 & 1)


@dataclasses.dataclass
class Ledger:
    """What Redis holds of one campaign. words, due, first: by index; `lacking`: spans that were taken and have no key."""
    manifest: dict
    counters: dict
    words: dict
    due: dict
    first: dict
    span_due: dict
    span_of: dict
    lacking: list
    now_s: float
    owner: dict = dataclasses.field(default_factory=dict)  # span -> epoch that took it
    endless: list = dataclasses.field(default_factory=list)  # epochs of them whose lease never runs out
    spans: int = 0  # in the table that says where each begins


@dataclasses.dataclass
class Facts:
    people: list
    rows: list = dataclasses.field(default_factory=list)
    report: dict = dataclasses.field(default_factory=dict)
    ledger: Ledger = None
    accepted: dict = dataclasses.field(default_factory=dict)
    ambiguous: dict = dataclasses.field(default_factory=dict)
    refused: list = dataclasses.field(default_factory=list)
    receiver_duplicates: int = 0
    dropped_bodies: int = 0
    events: list = dataclasses.field(default_factory=list)
    torn_lines: int = 0
    in_flight: list = dataclasses.field(default_factory=list)  # indexes of those whose body was, at a death that can tell
    allowed: int = 0  # bodies that the other deaths can have lost at most
    drained: int = 0  # bodies that can have been on the way at the ends of its lives, where it did not wait for all
    resend: bool = False
    log_was_cut: bool = False
    restored: dict = None


def save(facts, path):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(dataclasses.asdict(facts), f)


def _by_number(mapping):
    return {int(key): value for key, value in mapping.items()}


def load(path):
    with open(path, encoding="utf-8") as f:
        raw = json.load(f)
    ledger = raw.pop("ledger")
    facts = Facts(**raw)
    if ledger:
        for name in ("due", "first", "span_of", "span_due", "owner"):
            ledger[name] = _by_number(ledger[name])
        ledger["words"] = {int(i): Word(*word) for i, word in ledger["words"].items()}
        facts.ledger = Ledger(**ledger)
    if facts.restored is not None:
        facts.restored = _by_number(facts.restored)
    return facts


class Redis:
    """A connection that speaks just enough RESP: call("GET", key) gives bytes, a number, a list or None."""

    def __init__(self, where, timeout=20):
        family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(where)
        except OSError:
            self.socket.close()
            raise
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def call(self, *words):
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self._reply()

    def _reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RuntimeError(rest.decode("utf-8", "replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if int(rest) < 0:
                return None
            data = self.file.read(int(rest) + 2)
            if len(data) != int(rest) + 2:
                raise ConnectionError("Redis closed the connection")
            return data[:-2]
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))] if int(rest) >= 0 else None
        raise ConnectionError(f"not a reply: {line[:80]!r}")

    def hash(self, key):
        flat = self.call("HGETALL", key)
        return {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}


class Copy:
    """A redis-server on a copy of a directory, so that looking changes nothing for whoever owns it."""

    def __init__(self, directory):
        self.dir = tempfile.mkdtemp(prefix="hikyaku-look-")
        self.process = None
        try:
            shutil.copytree(directory, os.path.join(self.dir, "redis"))
            self.socket = os.path.join(self.dir, "s")
            self.process = subprocess.Popen(
                ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", os.path.join(self.dir, "redis"),
                 "--appendonly", "yes", "--save", "", "--logfile", os.path.join(self.dir, "log")],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True, preexec_fn=die_with_parent)
            self._wait_until_loaded()
        except BaseException:
            self.__exit__()
            raise

    def _wait_until_loaded(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                with Redis(self.socket) as redis:
                    redis.call("PING")
                return
            except (OSError, RuntimeError):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as log:
                        words = log.read()[-500:]
                    raise RuntimeError(f"no redis-server on a copy of the ledger: {words}") from None
                time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def _numbers(text):
    return struct.unpack(f"<{len(text) // 4}I", text[:len(text) // 4 * 4]) if text else ()


def read_ledger(redis, campaign, now_s=None):
    """The campaign's keys as a Ledger; None where there is no such campaign. now_s: of the moment that is looked at."""
    tag = "{" + campaign + "}"
    manifest = redis.hash(f"{tag}:m")
    if not manifest:
        return None
    first_of = list(_numbers(redis.call("GET", f"{tag}:span:0"))) + [int(manifest["recipients"])]
    taken = redis.hash(f"{tag}:own")
    lease_ms = {int(epoch): redis.call("PTTL", f"hikyaku:lease:{epoch}") for epoch in set(taken.values())}
    due = redis.call("ZRANGE", f"{tag}:due", 0, -1, "WITHSCORES")
    ledger = Ledger(manifest=manifest, counters={k: int(v) for k, v in redis.hash(f"{tag}:n").items()}, words={}, due={},
                    first={}, span_due={}, span_of={}, lacking=[],
                    now_s=now_s if now_s is not None else time.time() - int(manifest["created_us"]) / 1e6,
                    owner={int(span.split(".")[1]): int(epoch) for span, epoch in taken.items()},
                    endless=sorted(epoch for epoch, left in lease_ms.items() if left == -1), spans=len(first_of) - 1)
    for i in range(0, len(due), 2):
        ledger.span_due[int(due[i].split(b".")[1])] = float(due[i + 1])
    for span, (begin, end) in enumerate(zip(first_of, first_of[1:])):
        words = _numbers(redis.call("GET", f"{tag}:s:0.{span}"))
        if len(words) != end - begin and f"0.{span}" in taken:
            ledger.lacking.append(span)
        for name, into in (("d", ledger.due), ("f", ledger.first)):
            into.update((begin + i, v) for i, v in enumerate(_numbers(redis.call("GET", f"{tag}:{name}:0.{span}"))) if v)
        for index in range(begin, end):
            ledger.span_of[index] = span
            ledger.words[index] = unpack_word(words[index - begin] if index - begin < len(words) else 0)
    return ledger


def read_ledger_of_directory(directory, campaign, now_s=None):
    with Copy(directory) as copy, Redis(copy.socket) as redis:
        return read_ledger(redis, campaign, now_s)


def seconds_of(text):
    """A time of the event log."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def read_events(path):
    """All lines of the log and of its older parts, oldest first; and how many were no JSON (a torn one in the middle)."""
    events, torn = [], 0
    for part in sorted(glob.glob(glob.escape(path) + ".*")) + [path]:
        if not os.path.exists(part) or os.path.exists(part.removesuffix(".zst")) and part.endswith(".zst"):
            continue  # a zstd that died has left both; what it compressed is still whole
        if part.endswith(".zst"):
            data = subprocess.run(["zstd", "-dcq", part], check=True, stdout=subprocess.PIPE).stdout
        else:
            with open(part, "rb") as f:
                data = f.read()
        for line in data.split(b"\n"):
            if not line:
                continue
            try:
                events.append(json.loads(line))
            except ValueError:
                torn += 1
    return events, torn


REGION_HEADER = struct.Struct("<8sI5I40sQQiIQQQQQQQQQ")
REGION_LAYOUTS = (10,)  # of include/hikyaku/region.h: header and flights are as they are read here
FLIGHT_BYTES, FLIGHT_DOT = 1104, 4
FLIGHT_INDEX = 20  # of its recipient: struct flight.send.index


def _flights_of(fd, worker=None):
    """Indexes of the recipients whose message is between its last byte and the outcome; None: no region, or none yet."""
    try:
        head = REGION_HEADER.unpack(os.pread(fd, REGION_HEADER.size, 0))
    except (OSError, struct.error):
        return None
    workers, slots, layout, magic = head[2], head[4], head[1], head[0]
    workers_at, stride, flights_at = head[14], head[15], head[18]
    if magic != b"HKREGION":
        return None
    if layout not in REGION_LAYOUTS:
        raise RuntimeError(f"the region has layout {layout}, and facts.py reads {REGION_LAYOUTS}: teach it the new one")
    found = []
    for number in range(workers) if worker is None else [worker]:
        flights = os.pread(fd, slots * FLIGHT_BYTES, workers_at + number * stride + flights_at)
        found += [struct.unpack_from("<I", flights, at + FLIGHT_INDEX)[0]
                  for at in range(0, len(flights) - FLIGHT_BYTES + 1, FLIGHT_BYTES)
                  if struct.unpack_from("<I", flights, at)[0] == FLIGHT_DOT]
    return found


def flights(region_path, worker=None):
    """The same by the file's name."""
    try:
        fd = os.open(region_path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _flights_of(fd, worker)
    finally:
        os.close(fd)


class Regions:
    """What each region says once nobody writes to it any more: whose bodies were in flight when its node was gone.

    A worker without a master still writes the replies that it gets, so the moment of the death is too early to look, and
    the next node takes the file's name away. Therefore the file is held open, and read when another stands in its place (a
    node makes its own once no worker of the old one lives), or when everything has ended. What the next node settles it
    leaves in the phase that it found.
    """

    def __init__(self):
        self.held = {}     # path -> (inode, descriptor, number)
        self.said = []     # of each region that is over: indexes

    def look(self, path):
        """Hold the one that stands there now. Gives its number among all that were seen here, None where none is."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        inode = os.fstat(fd).st_ino  # of a file that is held open it is not given to another
        held = self.held.get(path)
        if held and held[0] == inode:
            os.close(fd)
            return held[2]
        if held:
            self._read(path)
        self.said.append([])
        self.held[path] = (inode, fd, len(self.said) - 1)
        return len(self.said) - 1

    def _read(self, path):
        _, fd, number = self.held.pop(path)
        self.said[number] = _flights_of(fd) or []
        os.close(fd)

    def end(self):
        """Nothing runs any more."""
        for path in list(self.held):
            self._read(path)
