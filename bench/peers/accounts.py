"""accounts.py - CPU time of everything that a peer runs, by a control group of its own.

Mail servers fork daemons that leave their parent, and Exim ignores SIGCHLD in processes that fork deliveries, so that the kernel
adds their time to nobody's sum: rusage would miss it. A control group has all that was ever started in it, whoever its parent is.
The unified hierarchy (cgroup2) counts CPU time in every group without any controller; without it, cpuacct of the first version does.
Making a group needs root, as the mail servers do.
"""
import contextlib
import os
import signal
import time


class Unavailable(Exception):
    """No hierarchy that counts CPU time can be written to."""


def hierarchies():
    """(mount point, its first column in /proc/self/cgroup, file of the counter, reads it: seconds) of those that count."""
    with open("/proc/self/mounts", encoding="utf-8") as f:
        mounts = [line.split() for line in f]
    for _, where, kind, options, *_ in mounts:
        if kind == "cgroup2":
            yield where, "", "cpu.stat", lambda text: int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6
    for _, where, kind, options, *_ in mounts:
        if kind == "cgroup" and "cpuacct" in options.split(","):
            yield where, "cpuacct", "cpuacct.usage", lambda text: int(text) / 1e9


def own_group(controller):
    with open("/proc/self/cgroup", encoding="utf-8") as f:
        for line in f:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controller in controllers.split(","):
                return path
    return "/"


class Group:
    """With Group() as group: with group.inside(): start programs; group.cpu(); at the end nothing of them is left."""

    def __init__(self):
        self.folder = None
        for where, controller, name, read in hierarchies():
            try:
                self.folder = os.path.join(where, f"hikyaku-bench-{os.getpid()}-{time.monotonic_ns()}")
                os.mkdir(self.folder)
            except OSError:
                self.folder = None
                continue
            self.home = os.path.join(where, own_group(controller).lstrip("/"), "cgroup.procs")
            self.counter, self.read = os.path.join(self.folder, name), read
            return
        raise Unavailable("no control group can be made: root, and a cgroup2 or cpuacct hierarchy that can be written to")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    @contextlib.contextmanager
    def inside(self):
        """Who is started meanwhile belongs to the group. This process is in it for as long, so do little else."""
        self._move(os.path.join(self.folder, "cgroup.procs"))
        try:
            yield
        finally:
            self._move(self.home)

    @staticmethod
    def _move(to):
        with open(to, "w", encoding="utf-8") as f:
            f.write(str(os.getpid()))

    def cpu(self):
        with open(self.counter, encoding="utf-8") as f:
            return self.read(f.read())

    def pids(self):
        with open(os.path.join(self.folder, "cgroup.procs"), encoding="utf-8") as f:
            return [int(line) for line in f]

    def settle(self, quiet_s=1.0, most_s=60):
        """Until the group has used next to nothing for a while."""
        deadline, before = time.monotonic() + most_s, self.cpu()
        while time.monotonic() < deadline:
            time.sleep(quiet_s)
            now = self.cpu()
            if now - before < 0.01 * quiet_s:
                return
            before = now

    def end(self):
        """Whoever is left is ended, each by his pid; how many that were."""
        ended, deadline = 0, time.monotonic() + 20
        while self.folder and time.monotonic() < deadline:
            pids = self.pids()
            if not pids:
                os.rmdir(self.folder)
                self.folder = None
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    ended += 1
            time.sleep(0.05)
        return ended
