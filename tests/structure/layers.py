#!/usr/bin/python3
"""The folders of the project and the arrows between them (docs/architecture.md), as a test.

Usage: layers.py SOURCE_DIR

Fails on an include that points the wrong way: a process that includes another process, a library that knows
a process, a contract header that pulls in more than it declares, a folder that uses a third-party library
which is another folder's business. Also on calls that cannot be used safely, and on names of somebody's
machine. Reads files only; compiles nothing.
"""
import os
import re
import sys

# Contract headers, lowest first: what each may include. A header may only include those above it.
CONTRACTS = {
    "base": set(),
    "fault": {"base"},
    "address": {"base"},
    "config": {"base", "address"},
    "client_cert": {"base", "config"},
    "ring": {"base"},
    "dane": {"base", "address"},
    "region": {"base", "address", "config", "dane", "ring"},
    "reply": {"base"},
    "body": {"base"},
    "segment": {"base", "address", "config"},
    "message": {"base", "config", "segment", "address"},
    "classify": {"base", "region"},
    "bounce": {"base", "address", "classify"},
    "whose": {"base", "address", "bounce", "message"},
    "rules": {"base", "classify"},
    "sns": {"base"},
    "ses": {"bounce"},
    "state": {"base", "classify", "config"},
    "suppress": {"base", "address", "config", "state"},
    "limits": {"base", "state"},
    "feedback": {"base", "classify", "config", "state", "suppress"},
    "resolve": {"base", "address", "config", "dane"},
    "process": {"base", "config", "region"},
    "desk": {"base"},
    "web": {"process"},
    "inbound": {"process"},
    "node": {"base", "config", "process", "state"},
}

LIBRARIES = ["list", "message", "state", "bounce", "smtp", "shm", "front"]
PROCESSES = ["master", "worker", "resolve", "inbound", "web"]
SHARED = {"base", "fault", "address", "config", "client_cert", "dane", "ring", "region", "reply", "body", "segment", "message",
          "classify", "bounce", "whose", "rules", "state", "suppress", "limits", "feedback"}

# Which contracts the code of a folder may include.
FOLDERS = {
    "base": {"base", "fault", "address", "config", "client_cert", "dane", "resolve", "process"},
    "shm": {"base", "fault", "address", "config", "ring", "region"},
    "smtp": {"base", "address", "reply", "body"},
    "list": {"base", "address", "config", "segment"},
    "message": {"base", "address", "config", "segment", "message"},
    "bounce": {"base", "address", "region", "classify", "bounce", "message", "whose", "rules", "sns", "ses"},
    "state": {"base", "fault", "address", "config", "classify", "region", "segment", "state", "suppress",
              "limits", "feedback"},
    "front": {"base", "process", "desk"},
    "resolve": {"base", "address", "config", "dane", "resolve", "process"},
    "worker": {"base", "fault", "address", "config", "client_cert", "dane", "ring", "region", "reply", "segment", "message",
               "classify", "process"},
    "web": {"base", "address", "config", "message", "bounce", "classify", "whose", "sns", "ses", "process", "desk", "web"},
    "inbound": {"base", "address", "config", "client_cert", "reply", "body", "segment", "message", "classify", "bounce", "whose",
                "process", "desk", "inbound"},
    "master": SHARED | {"resolve", "process", "node"},
    "cli": SHARED | {"resolve", "process", "node", "inbound", "web"},
    "bench": SHARED,
}

# Libraries a folder may link: hk_NAME in its hk_library() call.
LINKS = {
    "base": set(),
    "shm": {"base"},
    "smtp": {"base"},
    "list": {"base"},
    "message": {"base", "list"},
    "bounce": {"base", "shm", "message"},
    "state": {"base", "bounce", "shm", "list"},
    "front": {"base"},
    "resolve": {"base"},
    "worker": {"base", *LIBRARIES} - {"state", "front"},
    "web": {"base", "message", "bounce", "front"},
    "inbound": {"base", "smtp", "message", "bounce", "front"},
    "master": {"base", *LIBRARIES} - {"front"},
    "cli": {"base", *LIBRARIES, *PROCESSES},
    "bench": {"base", *LIBRARIES},
}

# Third-party headers that are the business of some folders only.
THIRD_PARTY = {
    "hiredis/": {"state"},
    "unbound": {"resolve"},
    "curl/": {"resolve", "web"},
    "microhttpd.h": {"web"},
    "confuse.h": {"base"},
    "seccomp.h": {"base"},
    "idn2.h": {"base"},
    "pcre2.h": {"bounce"},
    "sodium.h": {"message"},
    "openssl/": {"base", "message", "worker", "inbound", "bench", "list", "cli", "bounce", "web"},
    "ev.h": {"state", "front", "resolve", "worker", "inbound", "web", "master", "bench"},
}

BANNED = re.compile(r"\b(strcpy|strcat|stpcpy|sprintf|vsprintf|gets|strtok|atoi|atol|atof|alloca)\s*\(")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
MACHINE = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/")
SKIPPED_DIRS = {".git", "build", "__pycache__", "third_party", ".cache"}


def code_only(text):
    """The text with comments and string literals blanked out, lines kept."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def contract_name(included):
    """'ring' of "hikyaku/ring.h"; None for anything else."""
    m = re.fullmatch(r"hikyaku/([a-z0-9_]+)\.h", included)
    return m.group(1) if m else None


def check_includes(folder, path, text, local_headers):
    """Every include of one file of `folder` ('include' for the contracts themselves)."""
    own = os.path.basename(path)[:-2]
    for m in INCLUDE.finditer(text):
        quote, included = m.groups()
        where = f"{path}:{line_of(text, m.start())}"
        contract = contract_name(included)
        if contract is not None:
            allowed = CONTRACTS.get(own, set()) if folder == "include" else FOLDERS[folder]
            if contract not in allowed:
                yield f"{where}: {folder}/ may not include {included}: the arrow points the wrong way"
        elif quote == '"':
            if "/" in included or included not in local_headers:
                yield f"{where}: \"{included}\" is no header of {folder}/ and no contract in include/hikyaku/"
        else:
            for prefix, users in THIRD_PARTY.items():
                declared = folder == "include" and own == "state" and prefix == "ev.h"
                if included.startswith(prefix) and folder not in users and not declared:
                    yield f"{where}: <{included}> is for {', '.join(sorted(users))} only"


def check_calls(path, text):
    code = code_only(text)
    for m in BANNED.finditer(code):
        yield f"{path}:{line_of(code, m.start())}: {m.group(1)}() is banned: it has no bound or hides errors"


def check_links(folder, path, text):
    m = re.search(r"hk_library\s*\((.*?)\)", text, re.DOTALL)
    if not m or "LINK" not in m.group(1):
        return
    for name in re.findall(r"\bhk_(\w+)", m.group(1).split("LINK", 1)[1]):
        if name not in LINKS[folder]:
            yield f"{path}: the library of {folder}/ may not link hk_{name}"


def check_words(path, text):
    for m in MACHINE.finditer(text):
        yield f"{path}:{line_of(text, m.start())}: names a place on somebody's machine: {m.group(0)}"
    for m in UNFINISHED.finditer(text):
        yield f"{path}:{line_of(text, m.start())}: '{m.group(0)}' marks unfinished work"


def check_contract_order():
    seen = set()
    for name, includes in CONTRACTS.items():
        for other in includes - seen:
            yield f"layers.py: {name}.h is declared before {other}.h which it includes"
        seen.add(name)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read()


def tree(root):
    """Every text file of the project, relative to root."""
    for folder, dirs, files in os.walk(root):
        dirs[:] = sorted(d for d in dirs if d not in SKIPPED_DIRS)
        for name in sorted(set(files) - SKIPPED_DIRS):  # .git of a worktree is a file
            path = os.path.relpath(os.path.join(folder, name), root)
            with open(os.path.join(root, path), "rb") as f:
                if b"\0" not in f.read(65536):
                    yield path


def check_source(root, folder, path, local_headers):
    text = read(root, path)
    yield from check_includes(folder, path, text, local_headers)
    yield from check_calls(path, text)


def check_tree(root):
    yield from check_contract_order()
    contracts = sorted(os.listdir(os.path.join(root, "include/hikyaku")))
    for name in contracts:
        if name[:-2] not in CONTRACTS:
            yield f"include/hikyaku/{name}: a new contract: declare it in tests/structure/layers.py"
        yield from check_source(root, "include", f"include/hikyaku/{name}", set())
    for folder in FOLDERS:
        names = sorted(os.listdir(os.path.join(root, folder))) if os.path.isdir(os.path.join(root, folder)) else []
        headers = {n for n in names if n.endswith(".h")}
        for name in names:
            path = f"{folder}/{name}"
            if name.endswith((".c", ".h")):
                yield from check_source(root, folder, path, headers)
            elif name == "CMakeLists.txt":
                yield from check_links(folder, path, read(root, path))
    sources = {f"{folder}/{name}" for folder in ["include/hikyaku", *FOLDERS] if os.path.isdir(os.path.join(root, folder))
               for name in os.listdir(os.path.join(root, folder)) if name.endswith((".c", ".h", ".lua"))}
    yield from check_map(read(root, "docs/architecture.md"), sources)
    self_path = "tests/structure/layers.py"
    for path in tree(root):
        try:
            text = read(root, path)
        except UnicodeDecodeError:
            continue  # test data in another charset
        if path != self_path:
            yield from check_words(path, text)
        if path.startswith("tests/") and path.endswith(".c"):
            yield from check_calls(path, text)


def check_map(text, sources):
    """docs/architecture.md has a line for every source file, below its folder, and for no file that is gone.
    A row `ring.h, .c` stands for both."""
    folder, named = None, set()
    for line in text.splitlines():
        if line.startswith("#"):
            folder = line.strip("# /") if line.startswith("### ") else None
        m = re.match(r"\| `([^`]+)` \|", line)
        if m and folder in {os.path.dirname(s) for s in sources}:
            first, *more = m.group(1).split(", ")
            named |= {f"{folder}/{first}", *(f"{folder}/{first[:-2]}{suffix}" for suffix in more)}
    for path in sorted(sources - named):
        yield f"docs/architecture.md: has no line for {path}"
    for path in sorted(named - sources):
        yield f"docs/architecture.md: names {path}, which is not there"


def self_test():
    """The checks find what they are for: each bad text is refused, each good one passes."""
    def found(folder, text):
        return list(check_includes(folder, f"{folder}/x.c", text, {"x.h"}))

    assert found("worker", '#include "hikyaku/state.h"\n')
    assert found("master", '#include "worker/session.h"\n')
    assert found("base", '#include "hikyaku/ring.h"\n')
    assert found("worker", "#include <hiredis/hiredis.h>\n")
    assert found("list", "#include <ev.h>\n")
    assert not found("state", '#include "hikyaku/state.h"\n#include "x.h"\n#include <hiredis/hiredis.h>\n')
    assert list(check_includes("include", "include/hikyaku/ring.h", '#include "hikyaku/state.h"\n', set()))
    assert list(check_calls("a.c", "int f(void) { strcpy(a, b); }"))
    assert list(check_calls("a.c", "x = atoi (s);"))
    assert not list(check_calls("a.c", '/* strcpy(a, b) */ f("sprintf(x)"); hk_atoi(s); snprintf(a, 1, "");'))
    assert list(check_words("a", "see /" + "work/x"))
    assert not list(check_words("a", "https://x.test/workers/ framework/"))
    assert list(check_links("worker", "w", "hk_library(worker SOURCES a.c LINK hk_base hk_state)"))
    assert not list(check_links("worker", "w", "hk_library(worker SOURCES a.c LINK hk_base hk_smtp)"))
    assert not list(check_map("### shm/\n| `ring.h, .c` | x |\n", {"shm/ring.c", "shm/ring.h"}))
    assert len(list(check_map("### shm/\n| `ring.h` | x |\n", {"shm/ring.c"}))) == 2


def main():
    self_test()
    problems = list(check_tree(sys.argv[1]))
    for problem in problems:
        print(problem)
    print(f"layers: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
