"""parts.py - parts of the program measured alone: the import of a list, and the resolver."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from campaign import DOMAINS, Failed, Nsd, output, zone_of
from processes import Watch, reap, tree_of

WINDOW = 2000  # questions open at once: what a node asks is bounded in the same way (RESOLVE_INFLIGHT_MAX)


def write_rows(path, count):
    with open(path, "w", encoding="utf-8") as f:
        f.write("email,name\n")
        for begin in range(0, count, 100000):
            f.write("".join([f"reader{i}@d{i % DOMAINS}.bench.test,Reader {i}\n"
                             for i in range(begin, min(begin + 100000, count))]))


def import_list(build, case, count, keep=False):
    """`list import` of so many rows; rows per CPU-second of its processes, and the most memory they had."""
    folder = tempfile.mkdtemp(prefix="bench-")
    hikyaku = os.path.join(build, "hikyaku")
    try:
        write_rows(f"{folder}/list.csv", count)
        spare = set(tree_of([os.getpid()])) | {0}
        started = time.monotonic()
        child = subprocess.Popen([hikyaku, "list", "import", "--list", f"{folder}/list.csv", "--out", f"{folder}/segment"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        watch = Watch(child.pid, spare)
        watch.start()
        cpu, child.returncode = reap(spare, child.pid)
        seconds = time.monotonic() - started
        watch.done.set()
        watch.join()
        faults = [f"exit status {child.returncode}"] if child.returncode else []
        if not faults:
            shown = re.search(r"^recipients\s+([\d,]+)", output([hikyaku, "list", "show", "--list", f"{folder}/segment"]), re.MULTILINE)
            got = int(shown.group(1).replace(",", "")) if shown else 0
            faults = [f"{got} recipients of {count} rows"] if got != count else []
        return {"title": case.title, "count": count, "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3),
                "rows_per_second": round(count / seconds), "rows_per_cpu_second": round(count / cpu),
                "memory_bytes": watch.peak, "bytes": os.path.getsize(f"{folder}/list.csv"), "faults": faults}
    finally:
        if keep:
            sys.stderr.write(f"bench/run: files are in {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def resolve(build, case, count, keep=False):
    """MX and address of so many domains, none of them asked for before, of an NSD on this machine."""
    del keep
    with Nsd({"test": zone_of(count)}) as dns:
        done = subprocess.run([os.path.join(build, "resolve", "resolve_ask"), "--server", dns.server(), "--window", str(WINDOW)],
                              input="".join(f"mx d{i}.bench.test\n" for i in range(count)), text=True, check=False,
                              stdout=subprocess.PIPE)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        raise Failed(f"resolve_ask gives {done.returncode}")
    total = json.loads(lines.pop())
    found = {a["name"] for a in map(json.loads, lines) if a["status"] == "ok" and a["hosts"] == [[10, "mx." + a["name"]]]}
    return {"title": case.title, "count": count, "seconds": total["ms"] / 1000, "cpu_seconds": total["cpu_ms"] / 1000,
            "domains_per_second": round(count * 1000 / total["ms"]),
            "domains_per_cpu_second": round(count * 1000 / total["cpu_ms"]), "memory_bytes": total["rss_kb"] * 1024,
            "faults": [f"{count - len(found)} domains not found"] if len(found) < count else []}
