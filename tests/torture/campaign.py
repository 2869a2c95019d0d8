"""One campaign of a torture run: its world, its lives, its end. What kills it is in deaths.py.

A user is played: `send` is started again until its exit status is 0. Everything hikyaku starts has the world's directory
(or one below) as its working directory, so every process of it is found in /proc by that, orphans too, and nothing else is.
"""
import os
import resource
import signal
import subprocess
import time

import facts as witness
import harness
from nsd import die_with_parent
from proxy import Proxy

CAMPAIGN = "c"
SITES = 3
SMALL_DOMAINS = 60
DOMAINS = ["big1.test", "big2.test"] + [f"small{n}.test" for n in range(SMALL_DOMAINS)]
LEASE_S = 3
NODE = "torture"
STILL_S = 5         # where it says that it stands still: so long its user waits before he does something
STUCK_S = 60        # nothing was written for so long: somebody has no next event
PATIENCE_S = 300    # for the whole campaign
STARTS_MOST = 60

DISK_MB = 96

SETTINGS = """
provider "big1" {{ domains = {{ "big1.test" }} max_connections = {connections} }}
provider "big2" {{ domains = {{ "big2.test" }} max_connections = {connections} }}
campaign {{ unknown = {unknown} }}
events   {{ file = "{events}" {rotate} }}
{redis}
"""


class Stuck(Exception):
    """The campaign does not come to its end."""


class World(harness.Case):
    def build(self, plan):
        self.setUp()
        self.plan, self.process, self.starts, self.notes, self.env = plan, None, 0, [], {}
        self.standing, self.crashes, self.looks_at_exits, self.log_was_cut = [], [], True, False
        self.external = self.proxy = None
        self.mounted, self.other_logs, self.evicted = [], [], False
        self.regions, self.looked = witness.Regions(), 0
        self.addCleanup(self.end_all)
        self.begun = self.moved = time.monotonic()
        self.lines, self._log = 0, None
        os.makedirs(self.path("faults"))
        self.people = self._people(plan.recipients)
        misbehave = ["--latency-dot", str(plan.latency_ms), "--defer", f"{plan.defer}", "--unknown", f"{plan.unknown}",
                     "--drop", f"{plan.drop}", "--drop-dot", f"{plan.drop_dot}", "--seed", str(plan.seed)]
        misbehave += ["--tls", "auto"] * plan.tls + ["--no-pipelining"] * (not plan.pipelining)
        mx = {}
        for name, domains in (("a", DOMAINS[:1]), ("b", DOMAINS[1:2]), ("c", DOMAINS[2:])):
            receiver = self.receiver(name, *misbehave)
            mx.update({domain: receiver for domain in domains})
        self.dns(mx)
        redis = ""
        if plan.external:
            os.makedirs(self.path("redis"))
            if plan.small_disks:
                self.mount("redis")
            self.redis_port = self._free_port()
            self.redis_ensure()
            self.proxy = Proxy(self.redis_port)
            self.addCleanup(self.proxy.stop)
            redis = f'redis {{ mode = external host = "127.0.0.1" port = {self.proxy.port} }}'
        self.events_path = self.path("events", "events.jsonl")
        for name in ("events", "state"):
            os.makedirs(self.path(name), 0o700)
            if plan.small_disks:
                self.mount(name)
        self.write_config(redis)
        self.list(self.people)
        self.write("message.eml", harness.MESSAGE)
        self.write("clock", "0\n")

    def write_config(self, redis):
        plan = self.plan
        more = SETTINGS.format(connections=plan.connections, unknown="resend" if plan.resend else "skip",
                               events=self.events_path, rotate=f"rotate = {plan.rotate_kb}kb" if plan.rotate_kb else "",
                               redis=redis)
        self.configure(more=more, connections=plan.connections, schedule="1s, 2s", give_up="2min")
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        text = text.replace("workers   = 2", f"workers   = {plan.workers}")
        text = text.replace("orphan = 2s", f'name = "{NODE}" lease = {LEASE_S}s orphan = 2s')
        text = text.replace("smtp     {", "smtp     { connections = 200")
        self.write("hikyaku.conf", text)

    def mount(self, name):
        """A disk of its own, small enough to be filled in a moment."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "tmpfs", self.path(name)], check=True)
        self.mounted.append(name)

    def unmount(self):
        """What lay on the small disks lies in the directory afterwards."""
        for name in self.mounted:
            subprocess.run(["cp", "-a", self.path(name), self.path(name + ".kept")], check=True)
            subprocess.run(["umount", "-l", self.path(name)], check=True)
            os.rmdir(self.path(name))
            os.rename(self.path(name + ".kept"), self.path(name))
        self.mounted = []

    @staticmethod
    def _people(count):
        big = count * 8 // 10
        return [f"u{n}@{DOMAINS[n % 2]}" for n in range(big)] + \
            [f"u{n}@{DOMAINS[2 + n % SMALL_DOMAINS]}" for n in range(big, count)]

    def disk_of_the_ledger(self):
        """Which of the small disks Redis writes its append-only file to."""
        return "redis" if self.plan.external else "state"

    # ---- processes ----

    def spawn(self, *words, env=None, config="hikyaku.conf", nofile=None):
        """A command in this world, its words appended to the one file."""
        def prepare():
            die_with_parent()
            if nofile:
                resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))
        if words == ("send",):
            words = ("send", "--config", self.path(config), "--campaign", CAMPAIGN, "--list", self.path("list.csv"),
                     "--message", self.path("message.eml"))
        self.look_at_regions()  # what is spawned may make its own
        with open(self.path("stderr"), "ab") as errors:
            errors.write(f"--- {time.time():.3f} {' '.join(words[:1])}\n".encode())
            errors.flush()
            process = subprocess.Popen([os.path.join(harness.BUILD, "hikyaku"), *words], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True, cwd=self.dir,
                                       env={**os.environ, "HIKYAKU_CLOCK": self.path("clock"), **self.env, **(env or {})},
                                       preexec_fn=prepare)
        self.running.append(process)
        return process

    def start_life(self, env=None, nofile=None):
        self.starts += 1
        if self.starts > STARTS_MOST:
            raise Stuck(f"send was started {STARTS_MOST} times and does not come to its end")
        self.redis_ensure()
        self.words_before = len(self.words()) if self.starts > 1 else 0
        self.process = self.spawn("send", env=env, nofile=nofile)
        self.started = time.monotonic()

    def processes(self):
        """pid -> command line of everything that works in this world."""
        found = {}
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                where = os.readlink(f"/proc/{name}/cwd")
                if where == self.dir or where.startswith(self.dir + "/"):
                    with open(f"/proc/{name}/cmdline", "rb") as f:
                        found[int(name)] = f.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            except OSError:
                continue
        return {pid: words for pid, words in found.items() if words}  # a zombie has no command line

    def pids(self, role):
        """worker, resolver, master (a short-lived one too), redis-server, or everything."""
        return sorted(pid for pid, words in self.processes().items()
                      if role == "everything" or words.startswith((f"hikyaku: {role}", role)))

    @staticmethod
    def kill(pid, number=signal.SIGKILL):
        try:
            os.kill(pid, number)
            return True
        except ProcessLookupError:
            return False

    def kill_everything(self):
        """All at once, and until nothing is left: one may have been in the middle of a fork."""
        deadline = time.monotonic() + 20
        while pids := self.pids("everything"):
            for pid in pids:
                self.kill(pid)
            for process in self.running:
                process.poll()
            if time.monotonic() > deadline:
                raise Stuck(f"processes that SIGKILL does not end: {self.processes()}")
            time.sleep(0.005)
        if self.process:
            self.process.wait()

    def look_at_regions(self):
        """Those of this machine and of the others that have sent. Gives the number of this one's (facts.py)."""
        for log in self.other_logs:
            self.regions.look(log.replace(".jsonl", "/region"))
        return self.regions.look(self.path("state", "region"))

    # ---- Redis ----

    def redis_where(self):
        return ("127.0.0.1", self.redis_port) if self.plan.external else self.path("state", "redis.sock")

    def redis_directory(self):
        return self.path("redis") if self.plan.external else self.path("state", "redis")

    def redis_ensure(self):
        """The user's own server runs; the embedded one is hikyaku's business."""
        if not self.plan.external or (self.external and self.external.poll() is None):
            return
        self.external = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(self.redis_port), "--dir", self.path("redis"),
             "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--logfile", self.path("redis.log")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            cwd=self.dir, preexec_fn=die_with_parent)
        self.running.append(self.external)
        harness.wait_for(self.redis_answers, 30, "redis-server")

    def redis_answers(self):
        try:
            with witness.Redis(self.redis_where()) as redis:
                return redis.call("PING")
        except (OSError, RuntimeError):
            return False

    def redis_kill(self):
        """Gives how many there were."""
        killed = sum(self.kill(pid) for pid in self.pids("redis-server"))
        if self.external:
            self.external.wait()
        harness.wait_for(lambda: not self.pids("redis-server") or not self.plan.external, 10, "redis-server to end")
        return killed

    # ---- time ----

    def progress(self):
        """Lines of the event log so far. It is held open: what was written before it was rotated counts too."""
        while True:
            try:
                inode = os.stat(self.events_path).st_ino
            except FileNotFoundError:
                return self.lines
            if self._log is None:
                self._log = open(self.events_path, "rb", buffering=0)
            about = os.fstat(self._log.fileno())
            if about.st_size < self._log.tell():
                self._log.seek(about.st_size)  # a power cut has shortened it
            for block in iter(lambda: self._log.read(1 << 20), b""):
                self.lines += block.count(b"\n")
                self.moved = time.monotonic()
            if about.st_ino == inode:
                return self.lines
            self._log.close()
            self._log = None

    def check_patience(self):
        now = time.monotonic()
        if now - self.moved > STUCK_S:
            raise Stuck(f"nothing was written to the event log for {STUCK_S} s")
        if now - self.begun > PATIENCE_S:
            raise Stuck(f"the campaign is not settled after {PATIENCE_S} s")

    def note_exit(self):
        status = self.process.returncode
        if status < 0 and self.looks_at_exits and -status not in (signal.SIGKILL, signal.SIGTERM):  # both are ours
            self.crashes.append(f"the node died by itself of signal {-status}")
        elif status not in (0, -signal.SIGKILL, -signal.SIGTERM):
            self.notes.append(f"send ended with {status} and was started again")

    def go_on(self, until=lambda: False):
        """Let it send until until(), or until send gave 0 (then False). What ended otherwise is started again."""
        while True:
            self.progress()
            self.look_at_regions()
            self.check_patience()
            if self.process.poll() is not None:
                self.note_exit()
                if self.process.returncode == 0:
                    return False
                if self.stands_still():
                    self.restore()
                time.sleep(0.2)
                self.start_life()
            elif time.monotonic() - self.moved > STILL_S and self.stands_still():
                self.restore()
            if until():
                return True
            time.sleep(0.01)

    def others_come_back(self):
        """A second machine that was killed is started again by its user too: its log may know what the ledger calls unknown."""
        for log in filter(os.path.exists, self.other_logs):
            deadline = time.monotonic() + 60
            while (status := self.spawn("send", config=log.replace(".jsonl", ".conf")).wait(90)) != 0:
                if time.monotonic() > deadline:
                    raise Stuck(f"send on the second machine gives {status} when all is settled")
                time.sleep(0.5)

    def stands_still(self):
        """Does the campaign, by the words since its last start or restore, wait for its user?"""
        said = self.words()[self.words_before:]
        return "stands still" in said or "campaigns restore" in said

    def restore(self):
        """What those words ask for, typed by the user: with the node, or where that does not help, without it; and on each
        other machine that has sent."""
        def type_it(config):
            return self.spawn("campaigns", "restore", "--config", self.path(config), "--campaign", CAMPAIGN).wait(90)
        status = type_it("hikyaku.conf")
        if status != 0 and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(40)
            status = type_it("hikyaku.conf")
        for log in self.other_logs:
            if os.path.exists(log):
                self.notes.append(f"restore from another machine gave {type_it(log.replace('.jsonl', '.conf'))}")
        self.words_before = len(self.words())
        self.moved = time.monotonic()
        self.notes.append(f"restore gave {status}")
        return status

    def reach(self, death):
        """Let it send until the moment of that death; it hits something that lives, for what is dead is started first."""
        if death.share is not None:
            return self.go_on(lambda: self.progress() >= death.share * len(self.people))
        return self.go_on(lambda: time.monotonic() >= self.started + death.after_s)

    # ---- looking ----

    def hikyaku_says(self, *words):
        """The lines a command prints; it has to give 0."""
        done = self.hikyaku(*words[:1], "--config", self.path("hikyaku.conf"), "--campaign", CAMPAIGN, *words[1:], expect=0)
        return done.out

    def end_all(self):
        """Every process of this world, by its pid, and the small disks."""
        self.kill_everything()
        self.regions.end()
        if self._log:
            self._log.close()
            self._log = None
        self.stop_receivers()
        self.unmount()

    def words(self):
        with open(self.path("stderr"), encoding="utf-8", errors="replace") as f:
            return f.read()
