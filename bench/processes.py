"""processes.py - CPU time and memory of a program and all it started, from /proc and from the kernel's sums."""
import ctypes
import os
import signal
import threading
import time

PR_SET_CHILD_SUBREAPER = 36
TICK = os.sysconf("SC_CLK_TCK")


def adopt_orphans():
    """Whoever outlives the process that started it becomes our child, so that nothing is missed or left."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def cpu_of(pid):
    """User and system seconds of a living process."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def children_of():
    """parent -> children, of all processes there are."""
    tree = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8") as f:
                    tree.setdefault(int(f.read().rsplit(")", 1)[1].split()[1]), []).append(int(name))
            except OSError:
                continue
    return tree


def tree_of(roots):
    tree, out, todo = children_of(), [], list(roots)
    while todo:
        pid = todo.pop()
        out.append(pid)
        todo += tree.get(pid, [])
    return out


def memory_of(pid):
    """PSS in bytes without clean file pages: what would have to be found somewhere if the program were not."""
    figures = {}
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
            for line in f:
                parts = line.split()
                if len(parts) == 3 and parts[2] == "kB":
                    figures[parts[0].rstrip(":")] = int(parts[1]) * 1024
    except OSError:
        return 0
    own = figures.get("Pss_Anon", 0) + figures.get("Pss_Shmem", 0)
    # Pss_Dirty (Linux 6.0) counts dirty pages of all kinds; before, the whole file part is taken.
    dirty = figures.get("Pss_Dirty", own + figures.get("Pss_File", 0))
    return max(own, dirty)


def role_of(pid):
    """What the process is for, by the name it gives itself."""
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        title = f.read().split(b"\0")[0].decode(errors="replace")
    if not title:
        return None  # it has ended, and waits to be waited for
    for role in ("master", "worker", "resolver"):
        if title.startswith("hikyaku: " + role):
            return role
    return "redis" if "redis-server" in title else "other"


class Watch(threading.Thread):
    """Samples the memory of a process and everything below it; and what was orphaned to us from it. And the CPU time of
    each, of which up to the last twentieth of a second may be missed (a quarter, where it runs for long)."""

    def __init__(self, pid, not_ours):
        super().__init__(daemon=True)
        self.pid, self.not_ours, self.peak, self.done = pid, not_ours, 0, threading.Event()
        self.cpu, self.memory, self.peak_by_role = {}, [], {}

    def pids(self):
        ours = [p for p in children_of().get(os.getpid(), []) if p not in self.not_ours]
        return tree_of(set(ours) | {self.pid})

    def cpu_by_role(self):
        roles = {}
        for role, seconds in self.cpu.values():
            roles[role] = round(roles.get(role, 0) + seconds, 3)
        return roles

    def _sample_cpu(self, pids):
        for pid in pids:
            try:
                self.cpu[pid] = (role_of(pid) or self.cpu.get(pid, ("other",))[0], cpu_of(pid))
            except OSError:
                continue  # it has ended meanwhile

    def _sample_memory(self, pids):
        by_role = {}
        for pid in pids:
            role = self.cpu.get(pid, ("other",))[0]
            by_role[role] = by_role.get(role, 0) + memory_of(pid)
        self.memory.append((time.time(), sum(by_role.values())))
        if self.memory[-1][1] >= self.peak:
            self.peak, self.peak_by_role = self.memory[-1][1], by_role

    def memory_between(self, begin, end):
        """The middle one of the samples between two times of day; None where there are none."""
        found = sorted(size for at, size in self.memory if begin < at < end)
        return found[len(found) // 2] if found else None

    def run(self):
        started, turn = time.monotonic(), 0
        while True:
            pids = self.pids()
            self._sample_cpu(pids)
            if turn % 2 == 0:
                self._sample_memory(pids)
            turn += 1
            if self.done.wait(0.05 if time.monotonic() < started + 60 else 0.25):
                break


def end_all(pids, spare):
    """Nothing is left running: what the campaign's processes did not end themselves is ended here."""
    left = [p for p in pids() if p not in spare]
    for p in left:
        try:
            os.kill(p, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return len(left)


def reap(spare, first):
    """CPU seconds of the process and of all its descendants, as the kernel adds them up for who waits."""
    _, status, use = os.wait4(first, 0)
    cpu, code = use.ru_utime + use.ru_stime, os.waitstatus_to_exitcode(status)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        orphans = [p for p in children_of().get(os.getpid(), []) if p not in spare]
        if not orphans:
            break
        for p in orphans:
            got, _, use = os.wait4(p, os.WNOHANG)
            if got:
                cpu += use.ru_utime + use.ru_stime
        time.sleep(0.02)
    return cpu, code
