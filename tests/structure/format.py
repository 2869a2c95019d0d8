#!/usr/bin/python3
"""Every C file looks as .clang-format says. Usage: format.py SOURCE_DIR"""
import os
import subprocess
import sys

FOLDERS = ["include", "base", "shm", "smtp", "list", "message", "state", "bounce", "resolve", "worker", "master",
           "cli", "bench", "tests"]


def sources(root):
    for folder in FOLDERS:
        for where, dirs, names in os.walk(os.path.join(root, folder)):
            dirs.sort()
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.join(where, name)


def main():
    files = list(sources(sys.argv[1]))
    if not files:
        print("format: no C files found")
        return 1
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], check=False)
    print(f"format: {len(files)} files looked at; mend with: clang-format -i FILE")
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
