"""cases.py - the table of what must be true: what is measured, and how it is judged.

A Case is one measurement: a campaign of so many recipients and how it is sent, or a part of the program alone. A Row is a
figure made of one round of cases and of what this core can do at all (raw.py) in the same round, with its floor and goal.
KB and MB of floors and goals are 1,000 and 1,000,000 bytes; sizes of messages are multiples of 1,024.
"""
import dataclasses
import statistics
import typing

KB = 1024


@dataclasses.dataclass(frozen=True)
class Case:
    title: str
    count: int                    # recipients; rows or domains where a part is measured alone
    quick: int                    # the same for --quick
    measure: str = "campaign"     # or "import", "resolve": parts.py
    size: int = 10 * KB           # of a message
    tag: str = "top"              # where the first tag of the body stands, or "bottom"
    key: str = ""                 # "rsa", "ed25519"; "": unsigned
    tls: bool = False
    workers: int = 2
    connections: int = 64         # at most, at once
    quick_connections: int = 0    # the same for --quick, where it differs
    all_open: bool = False        # no figure unless so many were open at once
    per_connection: str = "none"  # messages
    resumed: bool = False         # no figure unless connections after the first ones resumed their TLS session
    domains: bool = False         # everybody has a domain of his own, found by DNS, with a host of its own
    defer: float = 0              # share that the receiver tells to come again
    retry_s: int = 1
    idle_s: int = 5               # how long connections are kept without work
    latency_ms: int = 0           # of each reply
    delay_ms: int = 0             # of a round trip, by a proxy
    kill_at: float = 0            # share accepted when all of hikyaku is killed with SIGKILL; then `send` again
    once: bool = False            # not repeated: what it costs in time buys more elsewhere


SIGNED = {"key": "rsa", "tls": True}
IDLE = {"tls": True, "defer": 1.0, "retry_s": 17, "idle_s": 120, "latency_ms": 20, "all_open": True}

CASES = {
    "plain": Case("10 KB, unsigned, plain", 200000, 30000),
    "plain1": Case("the same with one worker", 200000, 30000, workers=1),
    "wide": Case("10 KB, unsigned, plain, 256 connections", 200000, 30000, connections=256),
    "wide1": Case("the same with one worker", 200000, 30000, connections=256, workers=1),
    "signed": Case("10 KB, RSA-2048, over TLS", 50000, 8000, **SIGNED),
    "signed1": Case("the same with one worker", 50000, 8000, workers=1, **SIGNED),
    "ed25519": Case("10 KB, Ed25519, over TLS", 100000, 15000, key="ed25519", tls=True),
    "top": Case("100 KB, RSA-2048, over TLS, first tag at the top", 25000, 4000, size=100 * KB, **SIGNED),
    "bottom": Case("100 KB, RSA-2048, over TLS, first tag at the bottom", 25000, 4000, size=100 * KB, tag="bottom",
                   **SIGNED),
    "per20": Case("20 messages a connection, TLS resumed, RSA-2048", 50000, 8000, per_connection="20", resumed=True,
                  **SIGNED),
    "domains": Case("domains with one recipient each, a connection each, plain, unsigned", 200000, 5000, domains=True,
                    connections=2000),
    "deferred": Case("30 % deferred once, unsigned, plain", 200000, 30000, defer=0.3),
    "far": Case("one connection, a round trip of 50 ms", 600, 60, connections=1, delay_ms=50),
    "idle": Case("idle connections with TLS", 20000, 2000, connections=2000, quick_connections=200, **IDLE),
    "idle_few": Case("the same with few connections", 2000, 1000, connections=50, quick_connections=50, **IDLE),
    "resolve": Case("uncached domains", 100000, 10000, measure="resolve"),
    "import": Case("import", 100000000, 1000000, measure="import", once=True),
    "large": Case("10 million recipients, 2,000 connections with TLS", 10000000, 50000, tls=True, connections=2000,
                  quick_connections=200, all_open=True, kill_at=0.5, once=True),
}


class Round(typing.NamedTuple):
    """What one round measured; a row's figure is made of this."""
    raw: dict
    case: dict  # name -> figures


@dataclasses.dataclass(frozen=True)
class Row:
    key: str
    title: str
    unit: str                # "share", "messages/CPU-s", "messages/s", "rows/CPU-s", "domains/s", "s", "bytes"
    floor: float
    goal: float
    cases: tuple             # whose figures it needs
    figure: typing.Callable  # Round -> number
    less: bool = False       # less is better
    whole: bool = False      # means nothing unless its cases have their full size: then it is shown and not judged
    beside: typing.Callable = None  # [Round] -> words that a reader needs to judge the figure


def speed(r, name):
    return r.case[name]["messages_per_cpu_second"]


def of_rsa(name):
    return lambda r: speed(r, name) / r.case[name]["rsa2048_sign_per_second"]


def against(name, other):
    return lambda r: speed(r, name) / speed(r, other)


def both_ends(name, other):
    """against() with the receiver's CPU. Over loopback either end runs part of the other's TCP: what one saves the other may pay."""
    def cpu(c):
        return (c["cpu_seconds"] + c["sink_cpu_seconds"]) / c["count"]

    def words(rounds):
        shares = [cpu(r.case[other]) / cpu(r.case[name]) for r in rounds]
        middle, least, most = (100 * share for share in (statistics.median(shares), min(shares), max(shares)))
        return f"with the receiver's CPU: {middle:.1f} % ({least:.1f} to {most:.1f})"
    return words


def taken(name, figure):
    return lambda r: r.case[name][figure]


def of_a_connection(r):
    many, few = r.case["idle"], r.case["idle_few"]
    return (many["idle_memory_bytes"] - few["idle_memory_bytes"]) / (many["most_connections"] - few["most_connections"])


def far_budget(rounds):
    """Where the time of a message goes whose commit has to be durable before its dot leaves. No program is quicker than the way and
    the disk together. Of the message in the middle: a machine that is busy for a moment has no part in it."""
    def middle(figure):
        return statistics.median(figure(r) for r in rounds)
    whole, disk = middle(lambda r: r.case["far"]["between_ms"]), middle(lambda r: r.case["far"]["fdatasync_ms"])
    way = middle(lambda r: r.raw["far_between_ms"])
    return (f"the message in the middle: {whole:.1f} ms, of the bare loop {way:.1f}; an fdatasync of this disk {disk:.1f}, so the "
            f"rest is {whole - way - disk:.1f}")


def what_the_kill_left(rounds):
    c = rounds[0].case["large"]
    return (f"killed when {c['accepted_before_the_kill']:,} were accepted: {c['in_flight_at_the_kill']} had their last byte under way, "
            f"{c['unknown']} are unknown, {c['unknown_arrived']} of those arrived")


ROWS = (
    Row("plain", "10 KB, unsigned, plain, kept connections: share of the bare loop", "share", 0.25, 0.38, ("plain",),
        lambda r: speed(r, "plain") / r.raw["bare_loop"]["plain"]["messages_per_cpu_second"]),
    Row("plain.speed", "the same", "messages/CPU-s", 30000, 45000, ("plain",), lambda r: speed(r, "plain")),
    Row("signed", "10 KB, RSA-2048, TLS: share of raw RSA", "share", 0.78, 0.86, ("signed",), of_rsa("signed")),
    Row("ed25519", "10 KB, Ed25519, TLS", "messages/CPU-s", 12000, 15000, ("ed25519",), lambda r: speed(r, "ed25519")),
    Row("top", "100 KB, RSA-2048, TLS, first tag at the top: share of raw RSA", "share", 0.55, 0.62, ("top",), of_rsa("top")),
    Row("bottom", "the same, first tag at the bottom", "share", 0.65, 0.74, ("bottom",), of_rsa("bottom")),
    Row("per20", "20 messages a connection, TLS resumed, RSA-2048: share of raw RSA", "share", 0.68, 0.76, ("per20",),
        of_rsa("per20")),
    Row("domains", "200,000 domains with one recipient each, a new connection each", "messages/CPU-s", 6000, 9000,
        ("domains",), lambda r: speed(r, "domains"), whole=True),
    Row("deferred", "30 % deferred once, unsigned: share of the first row", "share", 0.6, 0.75, ("plain", "deferred"),
        against("deferred", "plain")),
    Row("workers", "2 workers against 1, RSA-2048, TLS", "share", 0.95, 1.0, ("signed", "signed1"),
        against("signed", "signed1")),
    Row("workers.plain", "2 workers against 1, unsigned, plain", "share", 0.95, 1.0, ("plain", "plain1"),
        against("plain", "plain1"), beside=both_ends("plain", "plain1")),
    Row("workers.wide", "the same with 256 connections", "share", 0.95, 1.0, ("wide", "wide1"), against("wide", "wide1"),
        beside=both_ends("wide", "wide1")),
    Row("far", "over one connection with a round trip of 50 ms", "messages/s", 19, 19.7, ("far",),
        taken("far", "messages_per_second_at_the_receiver"), beside=far_budget),
    Row("far.share", "the same: share of the bare loop", "share", 0.95, 0.985, ("far",),
        lambda r: r.case["far"]["messages_per_second_at_the_receiver"] / r.raw["far_messages_per_second"]),
    Row("memory", "memory: 10 million recipients, 2,000 connections with TLS", "bytes", 400e6, 250e6, ("large",),
        taken("large", "memory_bytes"), less=True, whole=True),
    Row("first", "first message accepted after `send` on 10 million rows", "s", 15, 5, ("large",),
        taken("large", "first_accepted_s"), less=True, whole=True),
    Row("restart", "goes on after kill -9 of everything in the middle of 10 million", "s", 5, 2, ("large",),
        taken("large", "restart_s"), less=True, whole=True, beside=what_the_kill_left),
    Row("import", "import", "rows/CPU-s", 1e6, 3e6, ("import",), taken("import", "rows_per_cpu_second")),
    Row("import.memory", "memory of an import of 100 million rows", "bytes", 256e6, 256e6, ("import",),
        taken("import", "memory_bytes"), less=True, whole=True),
    Row("idle", "an idle connection with TLS", "bytes", 40e3, 28e3, ("idle", "idle_few"), of_a_connection, less=True),
    Row("resolve", "uncached domains resolved (local server)", "domains/s", 2000, 10000, ("resolve",),
        taken("resolve", "domains_per_second")),
)
