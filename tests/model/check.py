#!/usr/bin/python3
"""Let spin check exactly_once.pml: every run of the model, not a sample (docs/model.md).

Usage: check.py holds | ends | without RULE | long

holds    within the bounds of HOLDS no invariant can be broken, and everything that the model can do was done
ends     no run goes round for ever: with `holds`, every run ends with everybody settled
without  with RULE taken out of the model the checker finds the invariant that RULE is for, and the shortest way there
long     `holds` within the bounds of LONG: minutes, and some gigabytes

Prints how many states there are, or a trace of steps in words. Exit status: 0 as it should be, 1 not, 2 spin cannot run.
"""
import os
import re
import subprocess
import sys
import tempfile

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exactly_once.pml")
BOUNDS = ("KILLS", "CRASHES", "LAPSES", "CUTS", "ATTEMPTS")
STATES = {"1": "pending", "2": "deferred", "3": "sending", "4": "unknown", "5": "bounced", "6": "sent", "7": "returned",
          "8": "denied"}
HOLDS = [(2, 0, 1, 0, 2), (1, 0, 1, 1, 1), (1, 1, 1, 0, 1)]
ENDS = [(1, 0, 1, 0, 2)]
LONG = [(1, 0, 1, 1, 2), (1, 1, 1, 0, 2), (2, 0, 0, 1, 2), (1, 1, 1, 1, 1)]
# What is found without a rule, and within which bounds.
RULES = {
    "NO_CAS": ("I1", (0, 0, 1, 0, 2)),
    "TAIL_BEFORE_SLOT": ("I4", (1, 0, 0, 0, 2)),
    "WRITE_BEFORE_PHASE": ("I1", (1, 0, 0, 0, 2)),
    "LEDGER_BEFORE_LINE": ("I7", (0, 0, 0, 0, 2)),
    "TAKE_WITHOUT_LEASE": ("I4", (0, 0, 0, 1, 1)),
    "RELEASE_BY_LATER_EPOCH": ("I1", (1, 0, 1, 0, 1)),
    "NO_CALL_NUMBERS": ("I1", (0, 0, 1, 2, 1)),
    "REFUSED_IS_FINAL": ("I2/I5", (1, 0, 1, 0, 2)),
}


def run(command, directory):
    try:
        done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        sys.stderr.write("check.py: %s: %s (scripts/deps installs spin)\n" % (command[0], error.strerror))
        raise SystemExit(2)
    return done.returncode, done.stdout


def must(command, directory):
    status, text = run(command, directory)
    if status != 0:
        sys.stderr.write("check.py: %s gives %d:\n%s" % (" ".join(command), status, text))
        raise SystemExit(2)
    return text


def words(bounds):
    return ", ".join("%s %d" % pair for pair in zip(BOUNDS, bounds))


def check(directory, bounds, rules=(), compiler=(), options=()):
    """What the checker says of the model within these bounds, and what it takes to have a trace told."""
    defines = ["-D%s=%d" % pair for pair in zip(BOUNDS, bounds)] + ["-D" + rule for rule in rules]
    must(["spin", "-a", *defines, MODEL], directory)
    must(["cc", "-w", *compiler, "-DMEMLIM=8000", "-o", "pan", "pan.c"], directory)
    return run(["./pan", "-m20000", *options], directory)[1], defines


def trace(directory, defines):
    """The steps that lead to what was found, in words."""
    text = run(["spin", "-t", "-k", os.path.basename(MODEL) + ".trail", *defines, MODEL], directory)[1]
    steps = []
    for line in text.splitlines():
        line = re.sub(r"\[(\d)\]", lambda m: STATES[m.group(1)], line.strip())
        if re.match(r"Redis|FATE|master|worker|VIOLATED", line):
            steps.append("    " + line if line.startswith("Redis, to") else "  " + line)
            if line.startswith("VIOLATED"):
                break
    return "\n".join(steps)


def errors(report):
    """How many were found; -1 where the search was not complete."""
    found = re.search(r"errors: (\d+)", report)
    if not found or (int(found.group(1)) == 0 and re.search(r"max search depth too small|Search not completed|out of memory",
                                                            report)):
        return -1
    return int(found.group(1))


def states(report):
    return int(re.search(r"(\d+(?:\.\d+e\+\d+)?) states, stored", report).group(1).split(".")[0])


def not_reached(report):
    """Statements of the model that no run came to, without those that would tell of a broken invariant."""
    return {line for line in re.findall(r"\.pml:(\d+, state \d+, .*)", report)
            if not re.search(r"-end-|VIOLATED|assert\(0\)", line)}


def complain(directory, report, defines):
    print(trace(directory, defines) if errors(report) > 0 else report)
    return 1


def holds(all_bounds):
    missed = None
    for bounds in all_bounds:
        with tempfile.TemporaryDirectory(prefix="model-") as directory:
            report, defines = check(directory, bounds, compiler=["-O1", "-DSAFETY"], options=["-w22"])
            if errors(report) != 0:
                return complain(directory, report, defines)
        missed = not_reached(report) if missed is None else missed & not_reached(report)
        print("%s: %d states, every invariant holds" % (words(bounds), states(report)), flush=True)
    if missed:
        print("the model can do what no run has done, so it proves less than it says:\n  %s" % "\n  ".join(sorted(missed)))
    return 1 if missed else 0


def ends(all_bounds):
    for bounds in all_bounds:
        with tempfile.TemporaryDirectory(prefix="model-") as directory:
            report, defines = check(directory, bounds, compiler=["-O1", "-DNP"], options=["-l", "-w22"])
            if errors(report) != 0:
                return complain(directory, report, defines)
        print("%s: every run ends" % words(bounds))
    return 0


def without(rule):
    expected, bounds = RULES[rule]
    with tempfile.TemporaryDirectory(prefix="model-") as directory:
        report, defines = check(directory, bounds, [rule], ["-O0", "-DSAFETY", "-DBFS"], ["-w20"])
        if errors(report) < 1:
            print("%s: nothing is found without this rule; %d states" % (rule, states(report)))
            return 1
        steps = trace(directory, defines)
    print("%s (%s):\n%s" % (rule, words(bounds), steps))
    if not steps.splitlines()[-1].strip().startswith("VIOLATED %s:" % expected):
        print("that is not %s, which was expected" % expected)
        return 1
    return 0


def main(arguments):
    if arguments == ["holds"]:
        return holds(HOLDS)
    if arguments == ["long"]:
        return holds(LONG)
    if arguments == ["ends"]:
        return ends(ENDS)
    if len(arguments) == 2 and arguments[0] == "without" and arguments[1] in RULES:
        return without(arguments[1])
    sys.stderr.write("%s\nRULE: %s\n" % (__doc__.split("\n\n")[1], ", ".join(RULES)))
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
