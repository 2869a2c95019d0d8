#!/usr/bin/python3
"""clang's warnings and clang-tidy's checks over every source of a build. Usage: tidy.py SOURCE_DIR BUILD_DIR [--deep]

Reads BUILD_DIR/compile_commands.json, so the flags (-Wall -Wextra -Wshadow -Wconversion) are those of the
build. clang-tidy carries clang's own warnings as clang-diagnostic-*, so one pass does for both. One process
for each processor, at the lowest priority since tests with real time run beside it; the largest files first, so
that none runs alone at the end. The analyzer follows each function for so many steps as find what it finds in a few
seconds; --deep (scripts/soak) leaves it its own, which are four times as many.
"""
import concurrent.futures
import json
import os
import subprocess
import sys


QUICK = [f"--extra-arg={arg}" for arg in ("-Xclang", "-analyzer-config", "-Xclang", "max-nodes=50000")]


def check(build, path, depth):
    done = subprocess.run(["clang-tidy", "--quiet", "--checks=clang-diagnostic-*", *depth, "-p", build, path],
                          capture_output=True, text=True, check=False)
    return path, done.returncode, done.stdout, done.stderr


def main():
    os.nice(19)
    root, build = (os.path.realpath(p) for p in sys.argv[1:3])
    depth = [] if "--deep" in sys.argv[3:] else QUICK
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        files = {os.path.realpath(os.path.join(e["directory"], e["file"])) for e in json.load(f)}
    # The tests' sources are held to the compilers' warnings by the builds; the checks are for what ships.
    files = [p for p in files if p.startswith(root + "/") and not p.startswith((root + "/tests/", build))]
    files.sort(key=os.path.getsize, reverse=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for path, status, out, err in pool.map(lambda p: check(build, p, depth), files):
            if status or "warning:" in out:
                failed += 1
                print(f"{os.path.relpath(path, root)}:\n{out}{err}")
    print(f"tidy: {len(files)} files, {failed} with findings")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main())
