#!/usr/bin/python3
"""The points of include/hikyaku/fault.h are in the program of a build with HK_FAULTS, and in no other.

Usage: faultless.py SOURCE_DIR BUILD_DIR ON|OFF

Looks for the points' names, the names of their variables and their functions, in every byte of BUILD_DIR/hikyaku: what
ships must not be able to kill itself because of a variable in somebody's environment.
"""
import os
import re
import sys


def main():
    root, build, wanted = sys.argv[1:4]
    with open(os.path.join(root, "include", "hikyaku", "fault.h"), encoding="utf-8") as f:
        header = f.read()
    with open(os.path.join(build, "hikyaku"), "rb") as f:
        program = f.read()
    names = re.findall(r'"([a-z]+(?:\.[a-z]+)+)"', header)
    functions = re.findall(r"^\w[\w ]*?\*?(fault_\w+)\(", header, re.MULTILINE)
    variables = sorted(set(re.findall(r"HIKYAKU_[A-Z_]+(?==)", header)))
    traces = names + functions + variables
    found = [trace for trace in traces if trace.encode() in program]
    print(f"faultless: {len(found)} of {len(names)} points, {len(functions)} functions and {len(variables)} variables "
          f"are in {build}/hikyaku")
    if len(names) < 30 or len(functions) < 5 or len(variables) < 4:
        print("fault.h is not read as it was meant to be")
        return 1
    if wanted == "OFF":
        for trace in found:
            print(f"{build}/hikyaku: has {trace}, and is no test build")
        return 1 if found else 0
    missing = sorted(set(traces) - set(found))
    for trace in missing:
        print(f"{build}/hikyaku: has no {trace}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
