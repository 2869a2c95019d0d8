#!/usr/bin/python3
"""The bench's own exactness: what it refuses to show, the shape of what it keeps, and how two results are compared.

Usage: bench_table.py BUILD_DIR [unittest arguments]

Sizes are tiny and no figure is judged: how fast it is on a machine that tests share tells nothing.
"""
import dataclasses
import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest

import jsonschema

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.realpath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(ROOT, "build", "release")
BENCH = os.path.join(ROOT, "bench")
sys.path.insert(0, BENCH)
import campaign  # noqa: E402
import grow  # noqa: E402
import processes  # noqa: E402
import table  # noqa: E402
from cases import CASES, ROWS, Round  # noqa: E402

PEOPLE = 40


def bench(program, *words):
    return subprocess.run([os.path.join(BENCH, program), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300, check=False)


class Whole(unittest.TestCase):
    """bench/run itself, once."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="hikyaku-test-")
        cls.addClassCleanup(cls.folder.cleanup)
        cases = [word for name in ("plain", "per20", "domains", "deferred", "resolve", "import") for word in ("--case", name)]
        cls.done = bench("run", "--quick", "--messages", str(PEOPLE), "--build", BUILD, "--results", cls.folder.name, *cases)
        cls.files = sorted(glob.glob(os.path.join(cls.folder.name, "*.json")))
        if cls.done.returncode != 0 or len(cls.files) != 1:
            raise AssertionError(f"bench/run gives {cls.done.returncode}:\n{cls.done.stdout}\n{cls.done.stderr}")
        with open(cls.files[0], encoding="utf-8") as f:
            cls.doc = json.load(f)

    def with_a_figure(self):
        """All rows but one: so small an import may be over before anybody looks at its memory."""
        rows = [row for row in self.doc["rows"] if row["value"] is not None]
        self.assertLessEqual({row["key"] for row in self.doc["rows"]} - {row["key"] for row in rows}, {"import.memory"})
        return rows

    def test_what_is_kept_has_the_shape_that_docs_promise(self):
        with open(os.path.join(ROOT, "docs", "bench.schema.json"), encoding="utf-8") as f:
            jsonschema.validate(self.doc, json.load(f))
        asked = set(self.doc["rounds"][0]["cases"])
        self.assertEqual([row["key"] for row in self.doc["rows"]], [row.key for row in ROWS if set(row.cases) <= asked])
        with open(self.files[0][:-len("json")] + "md", encoding="utf-8") as f:
            page = f.read()
        for row in self.doc["rows"]:
            self.assertIn(f"| {row['title']} | {table.shown(row['value'], row['unit'])} |", page)

    def test_every_case_was_what_its_name_says(self):
        cases = self.doc["rounds"][0]["cases"]
        for name in ("plain", "per20", "domains", "deferred"):
            c = cases[name]
            self.assertEqual((c["delivered"], c["lost"], c["duplicates"], c["strangers"], c["exit_status"]), (PEOPLE, 0, 0, 0, 0))
            self.assertLessEqual({"master", "worker", "resolver", "redis"}, set(c["cpu_by_role"]))
        self.assertEqual(cases["per20"]["tls_connections"], cases["per20"]["connections"])
        self.assertEqual(cases["domains"]["connections"], PEOPLE)

    def test_a_size_that_is_not_the_rows_is_shown_and_not_judged(self):
        row = next(row for row in self.doc["rows"] if row["key"] == "domains")
        self.assertEqual((row["met"], row["note"]), (None, f"with {PEOPLE}: not judged"))
        self.assertGreater(row["value"], 0)

    def test_a_result_beside_itself_has_not_changed(self):
        done = bench("compare", self.files[0], os.path.basename(self.files[0])[:10], "--results", self.folder.name)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count("(+0.0 %)"), len(self.with_a_figure()))

    def test_a_fall_beyond_the_rounds_spread_is_told(self):
        worse = json.loads(json.dumps(self.doc))
        for row in worse["rows"]:
            if row["value"] is None:
                continue
            by = 2 if row["less"] else 0.5
            row.update({name: row[name] * by for name in ("value", "lowest", "highest")})
        path = os.path.join(self.folder.name, "worse")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(worse, f)
        done = bench("compare", self.files[0], path)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stdout.count("worse"), len(self.with_a_figure()))
        self.assertEqual(done.stdout.count("-50.0 %"), sum(not row["less"] for row in self.with_a_figure()))


class Refusal(unittest.TestCase):
    """A figure of a campaign that was not exact is none."""

    def seen(self, lines):
        with tempfile.NamedTemporaryFile("w", suffix=".log") as f:
            f.writelines(f"{at} {event} 1 0 25 {address}\n" for at, (event, address) in enumerate(lines, 1))
            f.flush()
            return campaign.Seen(f.name, CASES["plain"], 4)

    def test_each_way_of_being_inexact_is_counted(self):
        seen = self.seen([("deferred", "reader0@d0.bench.test"), ("accepted", "reader1@d1.bench.test"),
                          ("ambiguous", "reader1@d1.bench.test"), ("accepted", "reader2@d2.bench.test"),
                          ("accepted", "reader3@d4.bench.test"), ("accepted", "reader4@d4.bench.test"),
                          ("accepted", "somebody@else.test"), ("accepted", "reader02@d2.bench.test")])
        self.assertEqual(seen.exactness(), {"delivered": 2, "lost": 2, "duplicates": 1, "strangers": 4})
        self.assertEqual((seen.first_us, seen.last_us, seen.last_deferred_us), (2, 8, 1))

    def test_faults_name_what_is_wrong(self):
        case = dataclasses.replace(CASES["per20"], resumed=False)
        figures = {"lost": 1, "duplicates": 0, "strangers": 0, "exit_status": 0, "exit_expected": 0, "left_running": 0,
                   "most_connections": 64}
        ledger = {"tls": 9, "connections": 10, "tls_resumed": 0, "deferred": 0}
        self.assertEqual(list(campaign.faults_of(case, 200, 64, figures, ledger)), ["1 lost", "1 connections without TLS"])

    def rounds(self, *faults):
        raw = {"bare_loop": {"plain": {"messages_per_cpu_second": 100000}}}
        return [Round(raw, {"plain": {"messages_per_cpu_second": speed, "count": 200000, "faults": words}})
                for speed, words in faults]

    def test_one_inexact_round_takes_the_figure_of_all(self):
        row = next(row for row in ROWS if row.key == "plain")
        judged = table.judged(row, self.rounds((40000, []), (40000, ["1 duplicates"]), (40000, [])))
        self.assertEqual((judged["value"], judged["met"], judged["each"]), (None, None, []))
        self.assertIn("1 duplicates", judged["faults"][0])
        self.assertIn("NO FIGURE", table.row_cells(judged)[-1])

    def test_the_median_is_judged_by_floor_and_goal(self):
        row = next(row for row in ROWS if row.key == "plain")
        for speeds, met in (((20000, 24000, 90000), "missed"), ((20000, 25000, 90000), "floor"), ((1, 38000, 38001), "goal")):
            judged = table.judged(row, self.rounds(*[(speed, []) for speed in speeds]))
            self.assertEqual((judged["met"], judged["value"]), (met, sorted(speeds)[1] / 100000))
        smaller = next(row for row in ROWS if row.key == "idle")
        self.assertEqual([table.verdict(smaller, x) for x in (28e3, 28.1e3, 40.1e3)], ["goal", "floor", "missed"])


class Workers(unittest.TestCase):
    def test_the_receivers_cpu_stands_beside_and_is_not_judged(self):
        row = next(row for row in ROWS if row.key == "workers.plain")

        def case(ours, receiver):
            return {"messages_per_cpu_second": 200 / ours, "cpu_seconds": ours, "sink_cpu_seconds": receiver, "count": 200, "faults": []}
        rounds = [Round({}, {"plain": case(10, receiver), "plain1": case(9, 6)}) for receiver in (5, 6, 10)]
        judged = table.judged(row, rounds)
        self.assertEqual((judged["met"], judged["value"]), ("missed", 0.9))
        self.assertEqual(judged["note"], "with the receiver's CPU: 93.8 % (75.0 to 100.0)")


class Far(unittest.TestCase):
    """A receiver that is far away: the disk's share stands beside the figure."""

    def test_the_row_says_what_the_way_takes_and_what_the_disk(self):
        row = next(row for row in ROWS if row.key == "far")
        rounds = [Round({"far_between_ms": way}, {"far": {"messages_per_second_at_the_receiver": 18.2, "between_ms": whole,
                                                          "fdatasync_ms": disk, "count": 600, "faults": []}})
                  for way, whole, disk in ((50.4, 54.9, 3.5), (50.3, 54.0, 3.1), (60.0, 90.0, 0.2))]
        judged = table.judged(row, rounds)
        self.assertEqual(judged["note"], "the message in the middle: 54.9 ms, of the bare loop 50.4; an fdatasync of this disk 3.1, "
                                         "so the rest is 1.4")
        self.assertEqual(table.row_cells(judged)[-1], "MISSED; " + judged["note"])

    def test_a_campaign_measures_both(self):
        figures = campaign.run(BUILD, dataclasses.replace(CASES["far"], delay_ms=2), 12, 1)
        self.assertEqual(figures["faults"], [])
        self.assertGreaterEqual(figures["between_ms"], 2)
        self.assertGreater(figures["fdatasync_ms"], 0)

    def test_the_step_in_the_middle_does_not_see_one_stall(self):
        self.assertEqual(campaign.middle_step_ms([0, 50000, 101000, 900000, 951500]), 51.25)
        self.assertIsNone(campaign.middle_step_ms([1]))


class Killed(unittest.TestCase):
    """Everything is killed in the middle of a campaign, and what counts is both lives together."""

    CASE = dataclasses.replace(CASES["large"], latency_ms=50)

    def test_a_campaign_is_killed_and_goes_on_exactly(self):
        count, connections = 1500, 10
        processes.adopt_orphans()
        figures = campaign.run(BUILD, self.CASE, count, connections)
        self.assertEqual(figures["faults"], [], figures)
        self.assertGreaterEqual(figures["accepted_before_the_kill"], count // 2)
        self.assertLess(figures["accepted_before_the_kill"], count)
        self.assertGreater(figures["restart_s"], 0)
        self.assertEqual(figures["delivered"] + figures["unknown"] - figures["unknown_arrived"], count)
        self.assertLessEqual(figures["unknown"], figures["in_flight_at_the_kill"])
        self.assertLessEqual(figures["in_flight_at_the_kill"], connections)
        for words in ("started the embedded Redis", "settled before", "told the ledger", "the last run left"):
            self.assertEqual(sum(words in line for line in figures["recovery"]), 1, figures["recovery"])

    def test_whoever_lacks_it_is_lost_unless_he_is_unknown(self):
        with tempfile.NamedTemporaryFile("w", suffix=".log") as f:
            f.write("".join(f"{at} accepted {connection} {tls} 25 reader{n}@d{n}.bench.test\n"
                            for at, connection, tls, n in ((1, 3, 1, 0), (2, 3, 1, 1), (3, 2, 0, 2), (4, 4, 1, 3), (5, 5, 1, 1))))
            f.flush()
            seen = campaign.Seen(f.name, self.CASE, 7, old_connections=3)
        self.assertEqual(seen.exactness([2, 4]), {"delivered": 4, "lost": 2, "duplicates": 1, "strangers": 0})
        self.assertEqual((seen.first_again_us, seen.in_plain), (4, 1))

    def test_its_faults_are_named(self):
        figures = {"lost": 0, "duplicates": 0, "strangers": 0, "exit_status": 0, "exit_expected": 0, "left_running": 0,
                   "most_connections": 64, "in_plain": 0}
        ledger = {"tls": 9, "connections": 10, "tls_resumed": 0, "deferred": 0}

        def faults(**more):
            return list(campaign.faults_of(self.CASE, 200, 64, {**figures, **more}, ledger))
        kill = {"unknown": 3, "in_flight_at_the_kill": 3, "restart_s": 1.5}
        self.assertEqual(faults(**kill), [])
        self.assertEqual(faults(), ["it was over before it could be killed"])
        self.assertEqual(faults(**kill, in_plain=2), ["2 messages without TLS"])
        self.assertEqual(faults(**{**kill, "unknown": 4}), ["4 are unknown, and 3 bodies were in flight at the kill"])
        self.assertEqual(faults(**{**kill, "restart_s": None}), ["nothing was accepted after the kill"])

    def test_the_row_is_judged_by_five_seconds(self):
        row = next(row for row in ROWS if row.key == "restart")
        left = {"accepted_before_the_kill": 5000123, "in_flight_at_the_kill": 1999, "unknown": 1998, "unknown_arrived": 40}
        for seconds, count, met in ((4.9, 10000000, "floor"), (1.9, 10000000, "goal"), (5.1, 10000000, "missed"), (9, 50000, None)):
            judged = table.judged(row, [Round({}, {"large": {"restart_s": seconds, "count": count, "faults": [], **left}})])
            self.assertEqual((judged["met"], judged["value"]), (met, seconds))
            self.assertIn("killed when 5,000,123 were accepted: 1999 had their last byte under way, 1998 are unknown, 40 of those arrived",
                          judged["note"])


class Growth(unittest.TestCase):
    def test_an_axis_ends_where_it_is_told(self):
        def ends(axis, *how):
            return [(value, case.count) for value, case in grow.points(axis, *how)][-1]
        self.assertEqual(ends("recipients", False, None, None), (10000000, 10000000))
        self.assertEqual(ends("recipients", False, None, 100000), (100000, 100000))
        self.assertEqual(ends("recipients", True, None, None), (grow.LARGEST_QUICK, grow.LARGEST_QUICK))
        self.assertEqual(ends("connections", False, 500, 9999), (1000, 10000))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
