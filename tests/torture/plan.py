"""From a seed to a plan: what the campaign is like, how its receivers misbehave, and who dies when.

The same seed with the same kinds gives the same plan. Over consecutive seeds every kind gets its share: the first deaths
of a plan are dealt from a deck that is shuffled anew when it is used up, the others are drawn. A kind has as many cards in
the deck as its weight says.
"""
import dataclasses
import random

DEALT = 4           # deaths of each plan that come from the deck
MOST = 8
AT_ONCE = 0.25      # share of deaths that strike soon after the one before, in the middle of the recovery
EARLY_S = 0.8


@dataclasses.dataclass
class Death:
    kind: str
    share: float    # of the list that has an outcome when it strikes; None: after_s
    after_s: float  # since the last start; None: share
    dice: random.Random

    def __str__(self):
        return self.kind + (f"@{self.share:.0%}" if self.share is not None else f"@+{self.after_s:.1f}s")


@dataclasses.dataclass
class Plan:
    seed: int
    recipients: int
    workers: int
    connections: int
    latency_ms: int
    defer: float
    unknown: float
    drop: float
    drop_dot: float
    tls: bool
    pipelining: bool
    resend: bool
    external: bool
    small_disks: bool
    rotate_kb: int
    deaths: list

    def __str__(self):
        yes = [word for word, is_so in (("STARTTLS", self.tls), ("no pipelining", not self.pipelining),
                                        ("unknown = resend", self.resend),
                                        (f"log rotated at {self.rotate_kb} kB", self.rotate_kb)) if is_so]
        return ", ".join([f"{self.recipients} recipients", f"{self.workers} workers", f"{self.connections} connections a site",
                          f"dot after {self.latency_ms} ms", f"defer {self.defer:.1%}", f"unknown {self.unknown:.1%}",
                          f"drop {self.drop:.2%}", f"drop after the dot {self.drop_dot:.2%}",
                          "external Redis" if self.external else "embedded Redis", *["small disks"] * self.small_disks, *yes]) + \
            "; deaths: " + ", ".join(map(str, self.deaths))


def _dealt(seed, cards):
    """The deck's cards for this seed."""
    dealt, at = [], seed * DEALT
    for place in range(at, at + DEALT):
        deck = list(cards)
        random.Random(f"deck {place // len(cards)}").shuffle(deck)
        dealt.append(deck[place % len(cards)])
    return dealt


def _cards(kinds):
    return [name for name in sorted(kinds) for _ in range(kinds[name].weight)]


def _one_loss_only(names, kinds, dice):
    """Ledger and region are each other's witness: where the plan takes both, one sort of loss is drawn anew."""
    sorts = sorted({kinds[name].loses for name in names if kinds[name].loses})
    if len(sorts) < 2:
        return names
    kept = dice.choice(sorts)
    others = [name for name in _cards(kinds) if kinds[name].loses in (None, kept)]
    return [name if kinds[name].loses in (None, kept) else dice.choice(others) for name in names]


def draw(seed, kinds, recipients):
    """kinds: name -> what deaths.py says of it, to draw from."""
    dice = random.Random(f"plan {seed}")
    cards = _cards(kinds)
    names = _dealt(seed, cards)
    names += [dice.choice(cards) for _ in range(dice.randint(DEALT, MOST) - DEALT)]
    names = _one_loss_only(names, kinds, dice)
    dice.shuffle(names)
    shares = sorted(dice.uniform(0.01, 0.97) for _ in names)
    deaths = []
    for number, (name, share) in enumerate(zip(names, shares)):
        at_once = number > 0 and dice.random() < AT_ONCE
        deaths.append(Death(name, None if at_once else share, dice.uniform(0, EARLY_S) if at_once else None,
                            random.Random(f"death {seed} {number}")))
    return Plan(seed=seed, recipients=recipients, workers=dice.randint(1, 3), connections=dice.randint(12, 20),
                latency_ms=dice.randint(3, 9), defer=dice.uniform(0.01, 0.06), unknown=dice.uniform(0.005, 0.03),
                drop=dice.uniform(0, 0.008), drop_dot=dice.choice((0, dice.uniform(0, 0.002))),
                tls=dice.random() < 0.3, pipelining=dice.random() < 0.8, resend=dice.random() < 0.15,
                external=any(kinds[name].external for name in names) or dice.random() < 0.15,
                small_disks=any(kinds[name].root for name in names),
                rotate_kb=dice.choice((0, 0, 0, 700)), deaths=deaths)
