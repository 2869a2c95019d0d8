"""The judge finds what it is for: for each invariant facts that violate it, and facts of a clean run that pass. And what it is
told is so: the flights of a region, the shares of the kinds in the plans.

test_judge.py BUILD_DIR (which it does not use)
"""
import copy
import collections
import os
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

import facts as witness
import judge
import plan as plans
from deaths import KINDS

# index -> state, attempts, code, class; what a small campaign came to
END = [("sent", 1, 250, None), ("sent", 2, 250, None), ("bounced", 1, 550, "mailbox-unknown"), ("unknown", 1, 0, None),
       ("sent", 1, 250, None), ("expired", 3, 451, "rate-limited")]
PEOPLE = [f"u{i}@a.test" for i in range(len(END))]


def attempt(number, index, nth, outcome, code=0):
    return {"id": f"1-{number}", "type": "attempt", "campaign": "c", "recipient": PEOPLE[index], "index": index, "attempt": nth,
            "outcome": outcome, "reply": {"code": code, "text": ""} if code else {"text": "our node died before the reply"}}


def clean():
    """Facts of a run without a fault: one was deferred first, one is unknown though he has it, one expired."""
    words = {i: witness.Word(state, 0, 0, attempts, code, 0) for i, (state, attempts, code, _) in enumerate(END)}
    counts = {state: sum(end[0] == state for end in END) for state in witness.STATES}
    facts = witness.Facts(people=list(PEOPLE))
    facts.rows = [{"recipient": PEOPLE[i], "index": i, "row": i + 1, "state": state, "attempts": attempts, "class": class_,
                   "code": code or None} for i, (state, attempts, code, class_) in enumerate(END)]
    facts.report = {"recipients": len(END), "counts": counts, "attempts": 9, "by_class": {"mailbox-unknown": 1, "rate-limited": 1},
                    "by_site": [{"site": "mx.a.test", "counts": dict(counts)}]}
    facts.ledger = witness.Ledger(
        manifest={"settled_us": "5", "recipients": "6"}, counters={**{s: n for s, n in counts.items() if n}, "attempts": 9},
        words=words, due={1: 3}, first={1: 1}, span_due={}, span_of={i: 0 for i in range(len(END))}, lacking=[], now_s=100.0,
        owner={0: 7}, spans=1)
    facts.accepted, facts.ambiguous, facts.refused = {PEOPLE[0]: 1, PEOPLE[1]: 1, PEOPLE[4]: 1}, {PEOPLE[3]: 1}, [PEOPLE[2]]
    facts.in_flight = [3, 4]
    facts.events = [attempt(1, 0, 1, "sent", 250), attempt(2, 1, 1, "deferred", 451), attempt(3, 2, 1, "bounced", 550),
                    attempt(4, 3, 1, "unknown"), attempt(5, 1, 2, "sent", 250), attempt(6, 4, 1, "sent", 250),
                    attempt(6, 4, 1, "sent", 250), attempt(7, 5, 3, "deferred", 451),
                    {"id": "1-8", "type": "expired", "recipient": PEOPLE[5], "index": 5},
                    {"id": "1-9", "type": "attempt", "outcome": "deferred", "recipients": 40, "reply": {"text": "no route"}}]
    return facts


def set_state(facts, index, state):
    """In all that comes of the ledger, so that only one invariant is hurt."""
    old = facts.rows[index]["state"]
    facts.rows[index]["state"] = state
    facts.ledger.words[index] = facts.ledger.words[index]._replace(state=state)
    for counts in (facts.report["counts"], facts.report["by_site"][0]["counts"]):
        counts[old] -= 1
        counts[state] += 1
    facts.ledger.counters[old] -= 1
    facts.ledger.counters[state] = facts.ledger.counters.get(state, 0) + 1


class Judge(unittest.TestCase):
    def setUp(self):
        self.facts = clean()

    def found(self):
        return {violation.invariant for violation in judge.judge(self.facts)}

    def violated(self, *invariants):
        self.assertEqual(self.found(), set(invariants), [judge.show(v) for v in judge.judge(self.facts)])

    def test_a_clean_run_passes(self):
        self.violated()

    def test_facts_that_were_kept_are_judged_the_same(self):
        path = f"/tmp/test_judge.{os.getpid()}.json"
        self.addCleanup(os.unlink, path)
        self.facts.restored = {i: end[0] for i, end in enumerate(END)}
        self.facts.accepted[PEOPLE[0]] = 2
        witness.save(self.facts, path)
        self.assertEqual(judge.judge(witness.load(path)), judge.judge(self.facts))

    def test_i1_a_second_copy(self):
        self.facts.accepted[PEOPLE[0]] = 2
        self.facts.receiver_duplicates = 1
        self.violated("I1")

    def test_i1_a_second_copy_whose_first_reply_was_lost(self):
        self.facts.ambiguous[PEOPLE[0]] = 1
        self.facts.receiver_duplicates = 1
        self.violated("I1")

    def test_i1_a_second_copy_that_only_the_receiver_counts(self):
        self.facts.receiver_duplicates = 1
        self.violated("I1")

    def test_i1_resend_allows_as_many_as_were_unknown(self):
        self.facts.resend = True
        set_state(self.facts, 3, "sent")
        self.facts.accepted[PEOPLE[3]] = 1
        self.facts.receiver_duplicates = 1
        self.facts.events.append(attempt(10, 3, 2, "sent", 250))
        self.violated()
        self.facts.accepted[PEOPLE[3]] = 2
        self.facts.receiver_duplicates = 2
        self.violated("I1")

    def test_i1_resend_with_a_log_that_was_cut_goes_by_the_attempts(self):
        self.facts.resend = self.facts.log_was_cut = True
        self.facts.accepted[PEOPLE[1]] = 2  # two attempts
        self.facts.receiver_duplicates = 1
        self.violated()
        self.facts.accepted[PEOPLE[0]] = 2  # one
        self.facts.receiver_duplicates = 2
        self.violated("I1")

    def test_i2_a_row_is_missing(self):
        del self.facts.rows[0]
        self.assertIn("I2", self.found())

    def test_i2_a_row_stands_twice(self):
        self.facts.rows.append(copy.deepcopy(self.facts.rows[0]))
        self.assertIn("I2", self.found())

    def test_i2_somebody_who_is_not_in_the_list(self):
        self.facts.rows[0]["recipient"] = "stranger@a.test"
        self.assertIn("I2", self.found())

    def test_i2_an_index_is_given_twice(self):
        self.facts.rows[0]["index"] = 1
        self.assertIn("I2", self.found())

    def test_i2_not_final_though_send_gave_0(self):
        for state in ("pending", "sending", "deferred"):
            self.facts = clean()
            set_state(self.facts, 5, state)
            self.assertIn("I2", self.found(), state)

    def test_i2_refused_for_good_and_called_unknown(self):
        set_state(self.facts, 2, "unknown")
        self.facts.allowed = 5
        self.assertIn("I2", self.found())

    def test_i2_refused_for_good_and_suppressed_by_that(self):
        set_state(self.facts, 2, "suppressed")
        self.assertNotIn("I2", self.found())

    def test_i3_sent_and_never_arrived(self):
        del self.facts.accepted[PEOPLE[0]]
        self.violated("I3")

    def test_i3_sent_without_a_reply(self):
        del self.facts.accepted[PEOPLE[0]]
        self.facts.ambiguous[PEOPLE[0]] = 1
        self.violated("I3")

    def test_i4_arrived_and_called_something_else(self):
        for state in ("bounced", "expired", "deferred", "pending"):
            self.facts = clean()
            set_state(self.facts, 0, state)
            self.assertIn("I4", self.found(), state)

    def test_i4_unknown_by_the_death_of_a_node_that_had_no_such_body(self):
        self.facts.in_flight = [2, 4]  # as many, and he is none of them
        self.violated("I4")
        self.facts.dropped_bodies = self.facts.allowed = 1
        self.violated("I4")  # its line says that a death of a node did it, and that could be looked at

    def test_i4_unknown_by_the_death_of_a_worker(self):
        self.facts.events[3]["reply"]["text"] = "our worker died before the reply"
        self.violated()  # it was looked at
        self.facts.in_flight = [4]
        self.violated("I4")
        self.facts.dropped_bodies = 1
        self.violated("I4")
        self.facts.allowed = 1
        self.violated()  # it died at a moment of its own

    def test_i4_unknown_by_a_takeover(self):
        self.facts.events[3] = {"id": "1-4", "type": "unknown", "recipient": PEOPLE[3], "index": 3, "attempt": 1}
        self.violated()
        self.facts.in_flight, self.facts.dropped_bodies = [], 1
        self.violated("I4")
        self.facts.allowed = 1
        self.violated()

    def test_i4_unknown_by_an_end_that_did_not_wait(self):
        self.facts.in_flight = []
        self.facts.events[3]["reply"]["text"] = "our node ended before the reply"
        self.violated("I4")
        self.facts.drained = 1
        self.violated()

    def test_i4_a_reply_that_the_receiver_never_sent(self):
        self.facts.events[3]["reply"]["text"] = "connection closed by the receiver"
        self.violated("I4")  # whether or not a death could have lost him too
        self.facts.dropped_bodies = 1
        self.violated()

    def test_i4_unknown_and_the_log_lost_his_line(self):
        self.facts.log_was_cut = True
        del self.facts.events[3]
        self.violated()
        self.facts.in_flight = [4]
        self.violated("I4")
        self.facts.dropped_bodies = 1
        self.violated()

    def test_what_is_said_of_the_unknown_ones_adds_up(self):
        self.assertIn("unknown 1: 1 of the 2 bodies", judge.say_unknown(self.facts))
        self.facts.in_flight = []
        self.facts.events[3]["reply"]["text"] = "our worker died before the reply"
        self.facts.allowed = 36
        self.assertIn("unknown 1: 0 of the 0 bodies that were in flight at a death, 1 of at most 36",
                      judge.say_unknown(self.facts))

    def test_i5_the_ledger_is_gone(self):
        self.facts.ledger = None
        self.violated("I5")

    def test_i5_a_span_that_was_taken_has_no_words(self):
        self.facts.ledger.lacking = [0]
        self.violated("I5")

    def test_i5_send_gave_0_before_all_were_settled(self):
        self.facts.ledger.manifest["settled_us"] = "0"
        self.violated("I5")

    def test_i6_a_counter_is_wrong(self):
        self.facts.ledger.counters["sent"] += 1
        self.violated("I6")

    def test_i6_attempts_are_counted_wrong(self):
        self.facts.ledger.counters["attempts"] += 1
        self.facts.report["attempts"] += 1
        self.violated("I6")

    def test_i6_an_unknown_of_a_takeover_is_not_counted(self):
        self.facts.ledger.words[3] = self.facts.ledger.words[3]._replace(uncounted=1)
        self.violated("I6")
        self.facts.ledger.counters["attempts"] -= 1
        self.facts.report["attempts"] -= 1
        self.violated()

    def test_i6_the_report_counts_wrong(self):
        self.facts.report["counts"]["sent"] -= 1
        self.violated("I6")

    def test_i6_the_report_has_other_attempts(self):
        self.facts.report["attempts"] += 1
        self.violated("I6")

    def test_i6_a_site_is_missing(self):
        self.facts.report["by_site"] = []
        self.violated("I6")

    def test_i6_a_class_is_missing(self):
        del self.facts.report["by_class"]["rate-limited"]
        self.violated("I6")

    def test_i6_a_row_and_its_word_differ(self):
        self.facts.rows[1]["attempts"] = 1
        self.violated("I6")

    def test_i7_the_log_lacks_an_outcome(self):
        del self.facts.events[0]
        self.violated("I7")

    def test_i7_the_log_may_lack_it_after_a_power_cut_and_never_knows_more(self):
        self.facts.log_was_cut = True
        del self.facts.events[0]
        self.violated()
        self.facts.events.append(attempt(11, 3, 1, "sent", 250))
        self.violated("I7")

    def test_i7_the_log_tells_another_end(self):
        self.facts.events[3] = attempt(4, 3, 1, "sent", 250)
        self.facts.dropped_bodies = 1
        self.violated("I7")

    def test_i7_the_log_tells_another_code(self):
        self.facts.events[2]["reply"]["code"] = 551
        self.violated("I7")

    def test_i7_two_events_of_one_id(self):
        self.facts.events[1]["id"] = "1-1"
        self.assertEqual(self.found(), {"I7"})

    def test_i7_a_line_is_torn_in_the_middle(self):
        self.facts.torn_lines = 1
        self.violated("I7")

    def test_i7_an_index_with_somebody_else(self):
        self.facts.events[1]["recipient"] = PEOPLE[0]
        self.violated("I7")

    def test_i7_restore_tells_another_end(self):
        self.facts.restored = {i: end[0] for i, end in enumerate(END)}
        self.violated()
        self.facts.restored[3] = "pending"
        self.violated("I7")
        self.facts.log_was_cut = True
        self.violated()

    def test_i7_who_was_settled_by_hand(self):
        set_state(self.facts, 3, "bounced")
        self.facts.rows[3]["code"] = None
        self.facts.events.append({"id": "1-20", "type": "unknown", "recipient": PEOPLE[3], "index": 3, "settled_as": "bounced"})
        self.assertNotIn("I7", self.found())

    def test_i7_who_was_unknown_and_sent_to_again(self):
        self.facts.resend = True
        set_state(self.facts, 3, "expired")
        self.facts.events.append({"id": "1-21", "type": "unknown", "recipient": PEOPLE[3], "index": 3, "settled_as": "pending"})
        self.facts.events.append({"id": "1-22", "type": "expired", "recipient": PEOPLE[3], "index": 3})
        self.assertNotIn("I7", self.found())
        del self.facts.events[-2]
        self.assertIn("I7", self.found())

    def test_i1_an_unknown_of_a_takeover_is_a_chance_too(self):
        self.facts.resend = True
        set_state(self.facts, 3, "sent")
        self.facts.events[3] = {"id": "1-4", "type": "unknown", "recipient": PEOPLE[3], "index": 3, "attempt": 1}
        self.facts.events.append(attempt(10, 3, 2, "sent", 250))
        self.facts.accepted[PEOPLE[3]] = 1
        self.facts.receiver_duplicates = 1
        self.violated()

    def test_what_is_shown_names_invariant_and_recipients(self):
        violation = judge.Violation("I1", "have it twice", [f"u{i}" for i in range(12)])
        self.assertEqual(judge.show(violation), "I1: have it twice: " + ", ".join(f"u{i}" for i in range(10)) + " and 2 more")


class Standing(unittest.TestCase):
    """A ledger whose node is dead."""

    def setUp(self):
        self.ledger = clean().ledger
        self.ledger.manifest["settled_us"] = "0"
        self.ledger.words[1] = self.ledger.words[1]._replace(state="deferred", attempts=1)
        self.ledger.counters.update(sent=2, deferred=1, attempts=8)
        self.ledger.due, self.ledger.first, self.ledger.span_due = {1: 200}, {1: 1}, {0: 200.0}

    def found(self):
        return {violation.invariant for violation in judge.judge_standing(self.ledger)}

    def test_one_who_waits_for_his_time_passes(self):
        self.assertEqual(self.found(), set())

    def test_deferred_without_a_due_time(self):
        self.ledger.due = {}
        self.assertEqual(self.found(), {"I5"})

    def test_deferred_without_a_first_attempt(self):
        self.ledger.first = {}
        self.assertEqual(self.found(), {"I5"})

    def test_his_span_is_due_later_than_he(self):
        self.ledger.span_due = {0: 201.0}
        self.assertEqual(self.found(), {"I5"})

    def test_his_span_is_not_among_the_due_ones(self):
        self.ledger.span_due = {}
        self.assertEqual(self.found(), {"I5"})

    def test_what_is_due_by_now_the_dead_node_had(self):
        self.ledger.due, self.ledger.span_due = {1: 100}, {}
        self.assertEqual(self.found(), set())

    def test_a_counter_is_wrong_in_the_middle(self):
        self.ledger.counters["sent"] = 1
        self.assertEqual(self.found(), {"I6"})

    def test_one_under_way_counts_no_attempt_yet(self):
        self.ledger.words[3] = self.ledger.words[3]._replace(state="sending", attempts=2)
        self.ledger.counters.update(unknown=0, sending=1)
        self.assertEqual(self.found(), set())

    def test_a_span_without_words(self):
        self.ledger.lacking = [0]
        self.assertEqual(self.found(), {"I5"})

    def some_are_pending(self):
        self.ledger.words[0] = self.ledger.words[0]._replace(state="pending", attempts=0)
        self.ledger.counters.update(sent=1, attempts=7)

    def test_pending_in_a_span_that_the_next_start_takes(self):
        self.some_are_pending()
        self.assertEqual(self.found(), set())
        self.ledger.owner = {}
        self.assertEqual(self.found(), set())

    def test_pending_in_a_span_of_a_lease_that_never_runs_out(self):
        self.some_are_pending()
        self.ledger.endless = [7]
        self.assertEqual(self.found(), {"I5"})
        self.ledger.owner = {0: 8}
        self.assertEqual(self.found(), set())

    def test_pending_where_the_manifest_says_that_all_are_settled(self):
        self.some_are_pending()
        self.ledger.manifest["settled_us"] = "5"
        self.assertEqual(self.found(), {"I5"})

    def test_pending_and_in_no_span(self):
        self.some_are_pending()
        self.ledger.manifest["recipients"] = "7"
        self.assertEqual(self.found(), {"I5"})

    def test_the_table_of_spans_is_cut(self):
        self.some_are_pending()
        self.ledger.manifest["spans"] = "2"
        self.assertEqual(self.found(), {"I5"})


class Regions(unittest.TestCase):
    """Files as a node leaves them: two workers with three slots each."""
    WORKERS_AT, STRIDE, FLIGHTS_AT = 4096, 8192, 64

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "region")

    def make(self, flights, layout=witness.REGION_LAYOUTS[0], magic=b"HKREGION"):
        """flights: (worker, slot) -> (phase, index)"""
        whole = bytearray(self.WORKERS_AT + 2 * self.STRIDE)
        witness.REGION_HEADER.pack_into(whole, 0, magic, layout, 2, 64, 3, 8, 8, b"boot", 1, len(whole), 1, 0, 0, 0,
                                        self.WORKERS_AT, self.STRIDE, 0, 0, self.FLIGHTS_AT, 0, 0)
        for (worker, slot), (phase, index) in flights.items():
            at = self.WORKERS_AT + worker * self.STRIDE + self.FLIGHTS_AT + slot * witness.FLIGHT_BYTES
            struct.pack_into("<I", whole, at, phase)
            struct.pack_into("<I", whole, at + witness.FLIGHT_INDEX, index)
        if os.path.exists(self.path):
            os.rename(self.path, self.path + ".old")
        with open(self.path, "wb") as f:
            f.write(whole)

    def test_those_after_the_last_byte_are_in_flight(self):
        self.make({(0, 0): (4, 11), (0, 1): (5, 12), (0, 2): (3, 13), (1, 2): (4, 14)})
        self.assertEqual(witness.flights(self.path), [11, 14])
        self.assertEqual(witness.flights(self.path, worker=1), [14])

    def test_no_region_and_none_yet(self):
        self.assertIsNone(witness.flights(self.path))
        self.make({(0, 0): (4, 11)}, magic=b"\0" * 8)
        self.assertIsNone(witness.flights(self.path))

    def test_another_layout_is_not_guessed_at(self):
        self.make({}, layout=witness.REGION_LAYOUTS[-1] + 1)
        self.assertRaises(RuntimeError, witness.flights, self.path)

    def test_what_it_says_last_counts_though_its_name_is_gone(self):
        regions = witness.Regions()
        self.make({(0, 0): (4, 11), (0, 1): (4, 12)})
        self.assertEqual(regions.look(self.path), 0)
        with open(self.path, "r+b") as f:  # a worker without a master got one more reply
            f.seek(self.WORKERS_AT + self.FLIGHTS_AT)
            f.write(struct.pack("<I", 5))
        self.assertEqual(regions.look(self.path), 0)
        self.make({(1, 1): (4, 20)})
        self.assertEqual(regions.look(self.path), 1)
        self.assertEqual(regions.said[0], [12])
        os.unlink(self.path)
        self.assertIsNone(regions.look(self.path))
        regions.end()
        self.assertEqual(regions.said, [[12], [20]])


class Plans(unittest.TestCase):
    def test_every_kind_has_its_share_of_500_seeds(self):
        times = collections.Counter()
        for seed in range(1, 501):
            times.update(death.kind for death in plans.draw(seed, KINDS, 20000).deaths)
        self.assertEqual(set(times), set(KINDS))
        self.assertGreaterEqual(min(times.values()), 60, times)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
