"""cost.py - what exactness costs: the cases of bench/run by turns with a ledger, without one, and without an event log too.

Three variants take turns in each round, so that whatever else the machine does falls on all of them alike:
    exact      the program as it ships
    no ledger  built with HK_NO_LEDGER (state/ledger_none.c): nothing is asked of Redis for a recipient
    bare       the same, and the event log is a file in memory (/dev/shm): its lines are made, and no disk keeps them
CPU time is what the kernel counted for all processes of hikyaku and its Redis. By process it is sampled, and so a little less
than the whole; a start costs the same in all variants.
"""
import glob
import json
import os
import statistics
import sys

import campaign
from cases import CASES as ALL

CASES = ["plain", "signed"]  # unless others are asked for
MESSAGES = 100000
TARGET = 0.10  # of messages per CPU-second, in the signed case over TLS
IN_MEMORY = f"/dev/shm/hikyaku-cost-{os.getpid()}.jsonl"
ROLES = ("redis", "master", "worker", "resolver", "other")


def variants(args):
    """Without a ledger the report knows of nobody, and so the program says that it is not finished: status 1."""
    return {"exact": {"exit_expected": 0}, "no ledger": {"program": args.cost, "exit_expected": 1},
            "bare": {"program": args.cost, "events": IN_MEMORY, "exit_expected": 1}}


def microseconds(c, role=None):
    """CPU time a message, of one role or of all."""
    seconds = c["cpu_by_role"].get(role, 0) if role else c["cpu_seconds"]
    return seconds * 1e6 / c["count"]


def measure(case, count, args):
    """{variant: [a case's figures, for each round]}"""
    runs = {name: [] for name in variants(args)}
    for turn in range(args.rounds):
        names = list(runs)
        for name in names[turn % len(names):] + names[:turn % len(names)]:
            runs[name].append(campaign.run(args.build, case, count, case.connections, keep=args.keep, **variants(args)[name]))
            for part in glob.glob(IN_MEMORY + "*"):
                os.unlink(part)
    return runs


def summary(runs):
    """Medians over the rounds; the share of messages per CPU-second that is lost, of each round and in the middle."""
    out = {"variants": {}, "good": not any(c["faults"] for cs in runs.values() for c in cs)}
    for name, cs in runs.items():
        out["variants"][name] = {
            "messages_per_cpu_second": [c["messages_per_cpu_second"] for c in cs],
            "cpu_us_per_message": round(statistics.median(microseconds(c) for c in cs), 1),
            "by_role": {role: round(statistics.median(microseconds(c, role) for c in cs), 1) for role in ROLES}}
    for name, against in (("ledger", "no ledger"), ("ledger and event log kept", "bare")):
        each = [1 - a["messages_per_cpu_second"] / b["messages_per_cpu_second"]
                for a, b in zip(runs["exact"], runs[against])]
        out[name] = {"each": [round(x, 3) for x in each], "median": round(statistics.median(each), 3)}
    return out


def print_summary(case, s):
    print("\n%s" % case.title)
    print("  CPU, us a message   %9s  %s" % ("all", "  ".join("%8s" % role for role in ROLES)))
    for name, v in s["variants"].items():
        print("    %-17s %9.1f  %s" % (name, v["cpu_us_per_message"],
                                       "  ".join("%8.1f" % v["by_role"][role] for role in ROLES)))
    for name, v in s["variants"].items():
        print("  messages per CPU-second, %-10s %s" % (name + ":", ", ".join("%d" % x for x in v["messages_per_cpu_second"])))
    for name in ("ledger", "ledger and event log kept"):
        print("  cost of the %s: %.1f %% of messages per CPU-second (%s)" %
              (name, s[name]["median"] * 100, ", ".join("%.1f" % (x * 100) for x in s[name]["each"])))
    if not s["good"]:
        print("  NOT GOOD: a run lost, doubled or did not finish; no figure of it counts")


def main(args, machine):
    cases = {name: ALL[name] for name in args.case if ALL[name].measure == "campaign"}
    count = args.messages or MESSAGES
    figures = {"schema": 1, "machine": machine, "cost": {}}
    if not args.json:
        print("machine     %s, %d cores, Linux %s, %s, load %.2f; %d messages, %d rounds" %
              (machine["cpu"], machine["cores"], machine["kernel"], machine["openssl"], machine["load"], count,
               args.rounds))
    for name, case in cases.items():
        s = summary(measure(case, count, args))
        figures["cost"][name] = s
        if not args.json:
            print_summary(case, s)
            sys.stdout.flush()
    if args.json:
        json.dump(figures, sys.stdout, indent=2)
        print()
    good = all(s["good"] for s in figures["cost"].values())
    over = [name for name, s in figures["cost"].items() if cases[name].key and s["ledger"]["median"] > TARGET]
    for name in over:
        sys.stderr.write("bench/run: exactness costs more than %d %% in the case %s\n" % (TARGET * 100, name))
    return 0 if good and not over else 1
