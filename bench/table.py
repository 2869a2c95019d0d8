"""table.py - results: rows judged by floor and goal, the JSON document and the Markdown page, and what stands on the terminal."""
import statistics
import time

from cases import CASES, ROWS, Round

SCHEMA = 1


def shown(value, unit):
    """A figure as people read it."""
    if value is None:
        return "-"
    if unit == "share":
        return f"{value * 100:.1f} %"
    if unit == "bytes":
        return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value / 1e3:.1f} KB"
    return f"{value:,.2f} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def verdict(row, value):
    """"goal", "floor", or "missed"."""
    if value <= row.goal if row.less else value >= row.goal:
        return "goal"
    return "floor" if (value <= row.floor if row.less else value >= row.floor) else "missed"


def judged(row, rounds):
    """One row of the document. rounds: what each measured; a case that is not repeated stands in the first alone."""
    faults, values, whole, counted = [], [], True, []
    for r in rounds:
        if not all(name in r.case for name in row.cases):
            continue
        faults += [f"{CASES[name].title}: {words}" for name in row.cases for words in r.case[name]["faults"]]
        whole = whole and all(r.case[name]["count"] >= CASES[name].count for name in row.cases)
        if not faults:
            values.append(figure_of(row, r, faults))
            counted.append(r)
    out = {"key": row.key, "title": row.title, "unit": row.unit, "floor": row.floor, "goal": row.goal, "less": row.less,
           "value": None, "lowest": None, "highest": None, "each": [], "met": None, "note": "", "faults": faults}
    if faults or not values:
        return out
    out.update(value=statistics.median(values), lowest=min(values), highest=max(values), each=values)
    if row.whole and not whole:
        out["note"] = f"with {rounds[0].case[row.cases[0]]['count']:,}: not judged"
    else:
        out["met"] = verdict(row, out["value"])
    if row.beside:
        out["note"] = "; ".join(filter(None, [out["note"], row.beside(counted)]))
    return out


def figure_of(row, r, faults):
    try:
        return row.figure(r)
    except (TypeError, ZeroDivisionError):
        faults.append("what the figure is made of was not seen")  # a moment or a sample that is not there
        return None


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def document(about, rounds):
    """about: machine, versions, commit and settings. The whole result, as bench/results/ keeps it."""
    rows = [judged(row, rounds) for row in ROWS if all(name in rounds[0].case for name in row.cases)]
    return {"schema": SCHEMA, "date": now(), **about,
            "rows": rows, "rounds": [{"raw": r.raw, "cases": r.case} for r in rounds]}


def rounds_of(doc):
    return [Round(r["raw"], r["cases"]) for r in doc["rounds"]]


def middle(rounds, *path):
    """The median over the rounds of what stands under these names."""
    values = []
    for r in rounds:
        at = r.raw
        for name in path:
            at = at[name]
        values.append(at)
    return statistics.median(values)


def about_lines(doc):
    m, rounds = doc["machine"], rounds_of(doc)
    loop = middle(rounds, "bare_loop", "plain", "messages_per_cpu_second")
    loop_tls = middle(rounds, "bare_loop", "tls", "messages_per_cpu_second")
    loop_each = middle(rounds, "bare_loop", "connection_each", "messages_per_cpu_second")
    settings = ", ".join(f"{name} {value}" for name, value in doc["settings"].items())
    return [f"{doc['date']}, commit {doc['commit']}",
            f"{m['cpu']}, {m['cores']} cores, {m['memory_bytes'] / 1e9:.0f} GB, Linux {m['kernel']}; load {m['load']:.2f} at the "
            "beginning" + (": BUSY, do not trust" if m["load"] > 0.5 else ""),
            ", ".join(f"{name} {value}" for name, value in doc["versions"].items()), settings,
            f"one core: RSA-2048 {middle(rounds, 'rsa2048_sign_per_second'):,.0f} signatures/s, Ed25519 "
            f"{middle(rounds, 'ed25519_sign_per_second'):,.0f}, SHA-256 {middle(rounds, 'sha256_bytes_per_second') / 1e6:,.0f} MB/s; "
            f"bare loop {loop:,.0f} messages per CPU-second, over TLS {loop_tls:,.0f}, with a connection each {loop_each:,.0f}"]


WORDS = {"goal": "goal", "floor": "floor", "missed": "MISSED", None: ""}


def row_cells(row):
    unit = row["unit"]
    spread = f"{shown(row['lowest'], unit)} to {shown(row['highest'], unit)}" if len(row["each"]) > 1 else ""
    words = "; ".join(filter(None, [WORDS[row["met"]], row["note"], "NO FIGURE: " + ", ".join(row["faults"][:3])
                                    if row["faults"] else ""]))
    return [row["title"], shown(row["value"], unit), spread, shown(row["floor"], unit), shown(row["goal"], unit), words]


def case_cells(name, rounds):
    c = next(r.case[name] for r in rounds if name in r.case)
    if CASES[name].measure != "campaign":
        return None
    if c["faults"]:
        return [c["title"], f"{c['count']:,}", *[""] * 6, "; ".join(c["faults"])]
    roles = ", ".join(f"{role} {seconds * 1e6 / c['count']:.1f}" for role, seconds in sorted(c["cpu_by_role"].items()))
    return [c["title"], f"{c['count']:,}", f"{c['messages_per_second']:,}", f"{c['messages_per_cpu_second']:,}",
            str(c["p50_ms"]), str(c["p99_ms"]), f"{c['memory_bytes'] / 1e6:.0f} MB", roles,
            f"{c['delivered']:,} delivered, {c['lost']} lost, {c['duplicates']} twice"]


def markdown(doc):
    def table(head, lines):
        return ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"] + \
               ["| " + " | ".join(cells) + " |" for cells in lines]

    rounds = rounds_of(doc)
    cases = filter(None, (case_cells(name, rounds) for name in CASES if any(name in r.case for r in rounds)))
    lines = ["# hikyaku, measured", "", *[line + "  " for line in about_lines(doc)], "",
             *table(["row", "median", "of the rounds", "floor", "goal", "met"], [row_cells(row) for row in doc["rows"]]), "",
             "The campaigns, in the first round. CPU by process is sampled: in us a message.", "",
             *table(["campaign", "recipients", "messages/s", "per CPU-second", "p50 ms", "p99 ms", "memory",
                     "CPU of", "exact"], cases)]
    return "\n".join(lines) + "\n"


def text(doc):
    """For the terminal: the same rows, aligned."""
    cells = [["", "median", "of the rounds", "floor", "goal", "met"]] + [row_cells(row) for row in doc["rows"]]
    width = [max(len(line[i]) for line in cells) for i in range(6)]
    lines = about_lines(doc) + [""]
    for line in cells:
        lines.append("  ".join([line[0].ljust(width[0])] + [line[i].rjust(width[i]) for i in range(1, 5)] + [line[5]]).rstrip())
    return "\n".join(lines)


def is_good(doc):
    """Nothing was lost, doubled or left undone; how fast it was is another question."""
    return not any(row["faults"] for row in doc["rows"]) and \
        not any(c["faults"] for r in doc["rounds"] for c in r["cases"].values())
