"""The invariants of docs/invariants.md, held against the facts of a run (facts.py). It starts nothing and knows no plan.

    judge(facts) -> [Violation]          of a campaign whose `send` gave 0
    judge_standing(ledger) -> [Violation]  of a ledger whose node is dead: can everyone go on?

Each Violation names the invariant, says in words what is wrong, and whom it is about. As a program it judges kept facts
again: judge.py FACTS.json
"""
import collections
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

import facts as facts_of_a_run
from facts import FINAL, STATES

Violation = collections.namedtuple("Violation", "invariant words recipients")

# What wins where two stories of one recipient meet (design 4).
RANK = {"pending": 1, "deferred": 2, "sending": 3, "unknown": 4, "expired": 4, "suppressed": 4, "cancelled": 4,
        "bounced": 5, "sent": 6}
# How a body was lost, as its event line begins: the first three are deaths of ours. BY_TAKE is a line without a reply:
# somebody took over what another had left under way. All else is the reply that did not come (BY_REPLY).
BY_WORKER, BY_NODE, BY_END, BY_TAKE, BY_REPLY = "our worker died", "our node died", "our node ended", "taken over", "no reply"
SHOWN = 10  # recipients that a violation names; the rest are counted


def show(violation):
    names = [str(r) for r in violation.recipients]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{violation.invariant}: {violation.words}" + (f": {', '.join(names[:SHOWN])}{more}" if names else "")


class _Judge:
    def __init__(self, facts):
        self.facts = facts
        self.found = []
        self.state = {row["recipient"]: row["state"] for row in facts.rows}
        self.taken = collections.Counter(facts.accepted) + collections.Counter(facts.ambiguous)

    def complain(self, invariant, words, recipients=()):
        self.found.append(Violation(invariant, words, sorted(recipients, key=str)))

    def nobody(self, invariant, words, recipients):
        if recipients:
            self.complain(invariant, f"{len(recipients)} {words}", recipients)

    def equal(self, invariant, words, left, right):
        if left != right:
            self.complain(invariant, f"{words}: {left} against {right}")


def _i1_no_second_copy(j):
    """Accepted twice, unless unknown = resend, and then no more often than he was unknown before."""
    was_unknown = collections.defaultdict(set)
    for event in j.facts.events if j.facts.resend else ():
        if event.get("outcome") == "unknown" or (event.get("type") == "unknown" and event.get("settled_as") is None):
            was_unknown[event.get("recipient")].add(event.get("attempt"))
    chances = {recipient: len(attempts) for recipient, attempts in was_unknown.items()}
    if j.facts.resend and j.facts.log_was_cut:  # what it said of them may be lost, and each attempt but the last was unknown
        chances = {row["recipient"]: row["attempts"] - 1 for row in j.facts.rows}
    j.nobody("I1", "have the message more often than they may", [r for r, n in j.taken.items() if n > 1 + chances.get(r, 0)])
    second = sum(n - 1 for n in j.taken.values() if n > 1)
    j.equal("I1", "second copies by the receivers' logs and by their own count", second, j.facts.receiver_duplicates)


def _i2_one_final_state(j):
    """Every recipient of the list stands in the ledger once, in a final state; nobody else does."""
    times = collections.Counter(row["recipient"] for row in j.facts.rows)
    people = collections.Counter(j.facts.people)
    j.nobody("I2", "are not in the report", list((people - times).elements()))
    j.nobody("I2", "are in the report too often, or were never in the list", list((times - people).elements()))
    j.nobody("I2", "are in no final state though send gave 0", [r for r, s in j.state.items() if s not in FINAL])
    rows = sorted(row["index"] for row in j.facts.rows)
    if rows != list(range(len(j.facts.people))):
        j.complain("I2", "the indexes of the report are not 0, 1, 2, ...")
    # Suppressed: his bounce got as far as the suppression list before everything died.
    j.nobody("I2", "were refused for good and are not bounced",
             [r for r in set(j.facts.refused) - set(j.taken) if j.state.get(r) not in ("bounced", "suppressed", None)])


def _i3_sent_was_accepted(j):
    sent = {r for r, s in j.state.items() if s == "sent"}
    j.nobody("I3", "are sent and never arrived", sent - set(j.taken))
    j.nobody("I3", "are sent and the receiver never wrote its reply", sent & set(j.taken) - set(j.facts.accepted))


def made_unknown(event):
    return event.get("outcome") == "unknown" or event.get("type") == "unknown" and event.get("settled_as") is None


def how_lost(event):
    if event.get("type") == "unknown":
        return BY_TAKE
    text = event.get("reply", {}).get("text", "")
    return next((how for how in (BY_WORKER, BY_NODE, BY_END) if text.startswith(how)), BY_REPLY)


def unknown_by(facts):
    """how -> recipients that are unknown at the end: those whose body is known to have been in flight at a death under
    `known`, the others by how they were lost. Where the log lost that line too nobody knows how: BY_REPLY."""
    told = {event["index"]: how_lost(event) for event in facts.events if made_unknown(event)}
    known, found = set(facts.in_flight), collections.defaultdict(list)
    for row in facts.rows:
        if row["state"] == "unknown":
            how = told.get(row["index"])
            found["known" if row["index"] in known and how != BY_REPLY else how or BY_REPLY].append(row["recipient"])
    return found


def say_unknown(facts):
    """The number of unknown ones beside what was in flight."""
    by = unknown_by(facts)
    guessed = len(by[BY_WORKER] + by[BY_TAKE])
    return (f"unknown {sum(map(len, by.values()))}: {len(by['known'])} of the {len(facts.in_flight)} bodies that were in flight "
            f"at a death, {guessed} of at most {facts.allowed} at deaths that nobody could look at, {len(by[BY_REPLY])} for "
            f"want of a reply (receivers dropped {facts.dropped_bodies})" +
            (f", {len(by[BY_END])} at an end that did not wait for them" if by[BY_END] else ""))


def _i4_accepted_is_sent_or_unknown(j):
    """What a node leaves that is gone, its region names: those and no others may it call lost. How many were in flight in a
    worker that died at a moment of its own, or under a ledger that forgot them, is known as a bound only (deaths.py)."""
    j.nobody("I4", "have the message and are neither sent nor unknown",
             [r for r in j.taken if j.state.get(r) not in ("sent", "unknown")])
    by, facts = unknown_by(j.facts), j.facts
    j.nobody("I4", "are unknown by the death of a node, and no region had their body in flight", by[BY_NODE])
    died = by[BY_WORKER] + by[BY_TAKE]
    if len(died) > facts.allowed:
        j.complain("I4", f"{len(died)} are unknown by a death that nobody could look at, and at most {facts.allowed} bodies "
                   "were in flight then", died)
    if len(by[BY_END]) > facts.drained:
        j.complain("I4", f"{len(by[BY_END])} are unknown by an end of a node, and at most {facts.drained} bodies were in "
                   "flight then", by[BY_END])
    lost = died + by[BY_REPLY]
    if len(lost) > facts.allowed + facts.dropped_bodies:
        j.complain("I4", f"{len(lost)} more are unknown, and at most {facts.allowed} bodies were in flight at deaths that nobody "
                   f"could look at, and the receivers dropped {facts.dropped_bodies} connections in or after a body", lost)


def _i5_everyone_can_go_on(j):
    """Nothing is left to come where everyone is settled. (Of a run in the middle: judge_standing.)"""
    ledger = j.facts.ledger
    if ledger is None:
        j.complain("I5", "the ledger is gone")
        return
    j.found += _not_lacking(ledger)
    if "settled_us" not in ledger.manifest or ledger.manifest["settled_us"] == "0":
        j.complain("I5", "send gave 0 and the manifest does not say that all are settled")


def _i6_counters(j):
    ledger, report = j.facts.ledger, j.facts.report
    if ledger is None:
        return
    j.found += _counted(ledger)
    by_word = collections.Counter(w.state for w in ledger.words.values())
    by_row = collections.Counter(row["state"] for row in j.facts.rows)
    counts = {s: report.get("counts", {}).get(s, 0) for s in STATES}
    j.equal("I6", "states by the words and by the report", {s: by_word[s] for s in STATES}, counts)
    j.equal("I6", "states by the report's rows and by its counts", {s: by_row[s] for s in STATES}, counts)
    j.equal("I6", "the sum of the counts and the recipients", sum(counts.values()), report.get("recipients"))
    j.equal("I6", "attempts by Redis and by the report", ledger.counters.get("attempts", 0), report.get("attempts"))
    by_site = collections.Counter()
    for site in report.get("by_site", []):
        by_site.update(site["counts"])
    j.equal("I6", "the counts of all sites and those of the campaign", {s: by_site[s] for s in STATES}, counts)
    not_sent = collections.Counter(row["class"] for row in j.facts.rows if row["state"] != "sent" and row["class"])
    j.equal("I6", "recipients not sent by class", dict(not_sent), {k: n for k, n in report.get("by_class", {}).items() if n})
    j.nobody("I6", "have another state or number of attempts in the report than in Redis",
             [row["recipient"] for row in j.facts.rows
              if (word := ledger.words.get(row["index"])) and (word.state, word.attempts) != (row["state"], row["attempts"])])


def _once(events):
    seen = set()
    for event in events:
        if event.get("id") not in seen:
            seen.add(event.get("id"))
            yield event


def replay(events):
    """index -> (state, code), as the log alone tells it: the merge of design 4, a line seen twice counts once."""
    story = {}
    for event in _once(events):
        kind, index = event.get("type"), event.get("index")
        if index is None:
            continue
        state = event.get("outcome") if kind == "attempt" else event.get("settled_as", kind)
        if kind == "unknown" and state == "pending" and story.get(index, ("",))[0] == "unknown":
            del story[index]  # somebody, or unknown = resend, decided that he is sent to again
        if state not in RANK:
            continue
        if RANK[state] > RANK[story.get(index, ("pending", 0))[0]]:
            story[index] = (state, event.get("reply", {}).get("code", 0))
    return story


def _i7_log_tells_the_same(j):
    facts = j.facts
    told = {}
    for event in facts.events:
        what = (event.get("type"), event.get("index"), event.get("attempt"))
        if told.setdefault(event.get("id"), what) != what:
            j.complain("I7", f"two events have the id {event.get('id')}", [event.get("recipient")])
    if facts.torn_lines:
        j.complain("I7", f"{facts.torn_lines} lines of the log are no JSON")
    story = replay(facts.events)
    name = {row["index"]: row["recipient"] for row in facts.rows}
    strangers = [i for e in facts.events if (i := e.get("index")) is not None and name.get(i) != e.get("recipient")]
    j.nobody("I7", "indexes stand in the log with another recipient than in the list", set(strangers))
    differ = collections.defaultdict(list)
    for row in facts.rows:
        state, code = story.get(row["index"], ("pending", 0))
        if _log_agrees(facts, row, state):
            if state == "bounced" and code != (row["code"] or 0):
                j.complain("I7", f"bounced with {row['code']} by the ledger and {code} by the log", [row["recipient"]])
            continue
        differ[row["state"], state].append(row["recipient"])
    for (here, there), recipients in sorted(differ.items()):
        j.nobody("I7", f"are {here} in the ledger and {there} by the log", recipients)
    if facts.restored is not None:
        j.nobody("I7", "have another state in a ledger that was restored from the log",
                 [row["recipient"] for row in facts.rows
                  if not _log_agrees(facts, row, facts.restored.get(row["index"], "pending"))])


def _log_agrees(facts, row, by_log):
    """After a power cut the ledger rules: the log may lack what came last, and never knows more."""
    if row["state"] == by_log:
        return True
    return facts.log_was_cut and RANK[by_log] < RANK[row["state"]]


def _not_lacking(ledger):
    if ledger.lacking:
        yield Violation("I5", f"{len(ledger.lacking)} spans were taken and have no words", ledger.lacking)


def _counted(ledger):
    """{c}:n against the words. An attempt counts when its outcome was told: not one that is under way, nor one whose
    `unknown` came of a takeover."""
    by_word = collections.Counter(w.state for w in ledger.words.values())
    for state in STATES:
        if state != "pending" and ledger.counters.get(state, 0) != by_word[state]:
            yield Violation("I6", f"Redis counts {ledger.counters.get(state, 0)} {state}, and {by_word[state]} words say so", ())
    attempts = sum(w.attempts - (w.uncounted or w.state == "sending") for w in ledger.words.values())
    if ledger.counters.get("attempts", 0) != attempts:
        yield Violation("I6", f"Redis counts {ledger.counters.get('attempts', 0)} attempts, and the words say {attempts}", ())


def judge_standing(ledger):
    """A ledger whose node is dead. Whoever is deferred has a due time and a first attempt, and if that time is still to
    come his span stands in {c}:due no later than it: so any node will look at it again. Whoever is pending has a span that
    the next start takes (it takes all that no living node has, of a campaign that is not settled): nobody has it, or an
    epoch whose lease is over or runs out."""
    found = list(_not_lacking(ledger)) + list(_counted(ledger)) + list(_held_for_ever(ledger))
    without, forgotten = [], []
    for index, word in ledger.words.items():
        if word.state != "deferred":
            continue
        due = ledger.due.get(index, 0)
        if due == 0 or ledger.first.get(index, 0) == 0:
            without.append(index)
        elif due > ledger.now_s + 1 and ledger.span_due.get(ledger.span_of[index], float("inf")) > due:
            forgotten.append(index)
    if without:
        found.append(Violation("I5", f"{len(without)} are deferred and have no due time or no first attempt", without))
    if forgotten:
        found.append(Violation("I5", f"{len(forgotten)} are due after what the set of due spans says", forgotten))
    return found


def _held_for_ever(ledger):
    """Who is not settled, and nobody will ever come for him."""
    is_open = [index for index, word in ledger.words.items() if word.state not in FINAL]
    if is_open and ledger.manifest.get("settled_us", "0") != "0":
        yield Violation("I5", f"the manifest says that all are settled, and {len(is_open)} are not", is_open)
    held = [index for index in is_open if ledger.owner.get(ledger.span_of[index]) in ledger.endless]
    if held:
        yield Violation("I5", f"{len(held)} are not settled, and the lease of who has their span never runs out", held)
    tabled = int(ledger.manifest.get("spans", ledger.spans))
    if ledger.spans != tabled:
        yield Violation("I5", f"the campaign has {tabled} spans, and the table by which they are found {ledger.spans}", ())
    nowhere = [index for index in range(int(ledger.manifest["recipients"])) if index not in ledger.words]
    if nowhere:
        yield Violation("I5", f"{len(nowhere)} of the list are in no span", nowhere)


INVARIANTS = (_i1_no_second_copy, _i2_one_final_state, _i3_sent_was_accepted, _i4_accepted_is_sent_or_unknown,
              _i5_everyone_can_go_on, _i6_counters, _i7_log_tells_the_same)


def judge(facts):
    j = _Judge(facts)
    for invariant in INVARIANTS:
        invariant(j)
    return j.found


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    found = judge(facts_of_a_run.load(sys.argv[1]))
    for violation in found:
        print(show(violation))
    print(f"{len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
