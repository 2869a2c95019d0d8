"""grow.py - bench/run --grow: how the cost of a message grows with recipients, domains, connections and workers.

Each axis is one case of cases.py with one setting drawn along it, everything else kept. What is judged is the shape: CPU time a
message at the far end against its least on the way (linear growth of the whole is 1.0), and of recipients also that messages per
CPU-second at ten million are within a tenth of those at a hundred thousand. Memory is shown beside it.
"""
import dataclasses

from cases import CASES

AXES = {
    "recipients": ("plain", "count", (10000, 100000, 1000000, 10000000)),
    "domains": ("domains", "count", (1000, 10000, 100000, 500000)),
    "connections": ("plain", "connections", (1, 10, 100, 1000, 10000)),
    "workers": ("plain", "workers", (1, 2, 4, 8)),
}
LARGEST_QUICK = 10000
SMALL = 10000    # below it the start is most of what is measured, so that no ratio is made of it
LINEAR = 1.5     # times the CPU a message that an axis may cost at its far end
TENTH = 0.9


def points(axis, quick, messages, most):
    """(value on the axis, case) of each point."""
    name, field, values = AXES[axis]
    case = dataclasses.replace(CASES[name], count=messages or (20000 if quick else 200000))
    for value in values:
        if value <= (most or (LARGEST_QUICK if quick else value)):
            point = dataclasses.replace(case, **{field: value})
            yield value, dataclasses.replace(point, count=max(point.count, 10 * point.connections)) \
                if field == "connections" else point


def measure(args, run, say):
    """run(case): a campaign's figures. The points of all axes asked for."""
    found = []
    for axis in args.grow:
        for value, case in points(axis, args.quick, args.messages, args.most):
            say(f"{axis} {value:,}")
            c = run(case)
            found.append({"axis": axis, "at": value, "count": c["count"],
                          "cpu_us_per_message": None if c["faults"] else round(c["cpu_seconds"] * 1e6 / c["count"], 2),
                          "messages_per_second": c["messages_per_second"], "memory_bytes": c["memory_bytes"],
                          "most_connections": c["most_connections"], "cpu_by_role": c["cpu_by_role"], "faults": c["faults"]})
    return found


def judged(found):
    """(words, is it so) of each thing that must be true and can be seen here."""
    for axis in dict.fromkeys(p["axis"] for p in found):
        cost = {p["at"]: p["cpu_us_per_message"] for p in found
                if p["axis"] == axis and p["cpu_us_per_message"] and p["count"] >= SMALL}
        if len(cost) > 1:
            last = max(cost)
            by = cost[last] / min(cost.values())
            yield f"{axis}: {by:.2f} times the least CPU a message at {last:,}", by <= LINEAR
        if axis == "recipients" and {100000, 10000000} <= set(cost):
            share = cost[100000] / cost[10000000]
            yield f"recipients: messages per CPU-second at 10 million are {share:.2f} of those at 100,000", share >= TENTH


def lines(found):
    out = ["| axis | at | recipients | CPU a message, us | of it | memory | open at most | exact |",
           "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for p in found:
        roles = ", ".join(f"{role} {seconds * 1e6 / p['count']:.1f}" for role, seconds in sorted(p["cpu_by_role"].items()))
        out.append(f"| {p['axis']} | {p['at']:,} | {p['count']:,} | {p['cpu_us_per_message'] or '-'} | {roles} | "
                   f"{p['memory_bytes'] / 1e6:.0f} MB | {p['most_connections']:,} | {'; '.join(p['faults']) or 'yes'} |")
    return out + [""] + [f"- {words}: {'so it must be' if good else 'MISSED'}" for words, good in judged(found)]
