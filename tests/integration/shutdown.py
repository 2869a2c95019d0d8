"""Stop, upgrade, crash: what systemd would do with packaging/hikyaku.service is done here, and judged at the receiver.

systemd is not PID 1 where tests run, so Unit reads KillMode, KillSignal, TimeoutStopSec and ExecStop out of the unit and
does what systemd.kill(5) says of them. This process is the subreaper of what it starts: whatever a node leaves behind is
found among its descendants, in whatever session.
"""
import collections
import ctypes
import datetime
import fcntl
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import harness
from harness import wait_for

UNIT = os.path.join(harness.ROOT, "packaging", "hikyaku.service")
PR_SET_CHILD_SUBREAPER = 36
CONNECTIONS = 10
SILENT = 5  # domains whose receiver never answers a message
PEOPLE = [f"u{n}@a.test" for n in range(400)] + [f"u{n}@b.test" for n in range(400)]


def seconds(text):
    """'90s', '2min 30s' of a unit or of a configuration."""
    return sum(float(n) * {"ms": 0.001, "s": 1, "": 1, "min": 60, "h": 3600}[unit]
               for n, unit in re.findall(r"([\d.]+)(ms|s|min|h|)\b", text))


def parents():
    """pid -> parent of every process that still runs."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                state, parent = f.read().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            found[int(pid)] = int(parent)
    return found


def name_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as f:
            return f.read().replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Unit:
    def __init__(self):
        self.value = collections.defaultdict(list)
        with open(UNIT, encoding="utf-8") as f:
            for line in f:
                key, is_one, value = line.strip().partition("=")
                if is_one and not key.startswith("#"):
                    self.value[key].append(value)

    def one(self, key):
        assert len(self.value[key]) == 1, key
        return self.value[key][0]

    def stop_words(self, state_dir):
        """ExecStop as a command, for another state_dir. systemd takes the quotes off, and no $ inside of a word."""
        prefix, shell, script = re.fullmatch(r"(-)(/bin/sh) -c '(.*)'", self.one("ExecStop")).groups()
        assert prefix == "-" and "/var/lib/hikyaku" in script
        return [shell, "-c", script.replace("/var/lib/hikyaku", state_dir)]


def system_calls(groups):
    """Names of system calls: those that are given, and those of groups such as @system-service, with the groups in them."""
    found = {name for name in groups if not name.startswith("@")}
    for group in (name for name in groups if name.startswith("@")):
        shown = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", group], capture_output=True, text=True,
                               check=True).stdout
        names = [line.strip() for line in shown.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
        found.update(name for name in names if not name.startswith("@"))
        found.update(system_calls([name for name in names if name.startswith("@")]))
    return found


def confine(allowed):
    """What the unit forbids, in a child before its exec: capabilities, new privileges, code in memory, system calls."""
    libc, seccomp = ctypes.CDLL(None, use_errno=True), ctypes.CDLL("libseccomp.so.2")
    for capability in range(64):
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; those that this kernel does not know fail
    if libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS
        os._exit(121)
    libc.prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, of Linux 6.3
    seccomp.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(0x00050000 | 1)))  # SCMP_ACT_ERRNO(EPERM)
    for name in allowed:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            seccomp.seccomp_rule_add(rules, ctypes.c_uint32(0x7fff0000), number, 0)
    if seccomp.seccomp_load(rules) != 0:
        os._exit(122)


class Shutdown(harness.Case):
    @classmethod
    def setUpClass(cls):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

    def setUp(self):
        super().setUp()
        self.unit = Unit()

    def world(self, dot_ms=40, drain="20s", more="", people=PEOPLE):
        """Two receivers that take everything, one that never answers a message."""
        self.a = self.receiver("a", "--latency-dot", str(dot_ms), "--log-mail")
        self.b = self.receiver("b", "--latency-dot", str(dot_ms), "--log-mail")
        self.silent = self.receiver("silent", "--latency-dot", "600000")
        hosts = "\n".join(f"silent{n} MX 10 mx{n}.silent\nmx{n}.silent A {self.silent.address}" for n in range(SILENT))
        self.dns({"a.test": self.a, "b.test": self.b, "silent.test": self.silent}, more=hosts)
        self.configure(connections=CONNECTIONS, give_up="60s", more=more)
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read().replace("drain = 20s", f"drain = {drain}")
        self.write("hikyaku.conf", text)
        self.list(people)
        self.before = set(parents())

    # ---- what systemd does ----

    def serve(self):
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        self.up(node)
        return node

    def up(self, node):
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")) or node.poll() is not None, 20, "the node")
        wait_for(lambda: len(self.status()["pids"]["workers"]) == 2, 20, "the workers")

    def run_campaign(self):
        """Given to the node by a `send` that then no longer follows."""
        follower = self.start_send("c")
        wait_for(lambda: "has the campaign now" in self.finish_words() or follower.poll() is not None, 20, "the campaign")
        self.interrupt(follower)
        self.finish(follower, expect=1)

    def group(self):
        """What systemd would have in the unit's control group: descendants of ours that were not there before."""
        parent = parents()

        def is_ours(pid):
            while pid in parent and pid != os.getpid():
                pid = parent[pid]
            return pid == os.getpid()
        return {pid for pid in parent if pid != os.getpid() and pid not in self.before and is_ours(pid)}

    def stop(self, node, gone_wrong=None):
        """systemctl stop, or what systemd does by itself when the main process has died. Returns the seconds it took."""
        mode, number = self.unit.one("KillMode"), getattr(signal, self.unit.one("KillSignal"))
        self.assertIn(mode, ("mixed", "control-group", "process", "none"))
        begun = time.monotonic()
        alive = node.poll() is None
        environment = {key: value for key, value in os.environ.items() if key != "MAINPID"}
        if alive:
            environment["MAINPID"] = str(node.pid)
        subprocess.run(self.unit.stop_words(self.path("state")), env=environment, check=False, timeout=60)
        targets = {node.pid} if mode in ("mixed", "process") else self.group() if mode == "control-group" else set()
        for pid in targets if alive else ():
            os.kill(pid, number)
        if gone_wrong:
            gone_wrong()
        try:
            node.wait(seconds(self.unit.one("TimeoutStopSec")))
        except subprocess.TimeoutExpired:
            pass
        took = time.monotonic() - begun
        self.left = {pid: name_of(pid) for pid in self.group()}
        for pid in self.group() if mode in ("mixed", "control-group") else {node.pid}:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.group(), 60, "the end of what was killed")
        return took

    def stopped_well(self, node, drain_s, gone_wrong=None):
        """drain_s: more than it may take, and less than it would if it waited for what it need not wait for."""
        took = self.stop(node, gone_wrong)
        self.assertEqual(self.finish(node).status, 0, self.finish_words())
        self.assertEqual(self.left, {})
        self.assertLess(took, drain_s)
        return took

    # ---- what must be true in the end ----

    def go_on_to_the_end(self):
        """Another build of the program takes the same state_dir over, and ends the campaign."""
        os.makedirs(self.path("newer"))
        shutil.copy(os.path.join(harness.BUILD, "hikyaku"), self.path("newer", "hikyaku"))
        with open(self.path("stderr"), "ab") as errors:
            node = subprocess.Popen([self.path("newer", "hikyaku"), "serve", "--config", self.path("hikyaku.conf")],
                                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
                                    stderr=errors)
        self.running.append(node)
        self.up(node)
        wait_for(lambda: self.waiting_and_sending() == (0, 0) or node.poll() is not None, 60, "the end of the campaign")
        took = self.stop(node)
        self.assertEqual((node.returncode, self.left), (0, {}), self.finish_words())
        return took

    def judge(self, unknown=0):
        _, not_known, _ = self.judge_exact()
        self.assertEqual(len(not_known), unknown)

    # ---- tests ----

    def test_the_unit_is_sound(self):
        self.dns({"a.test": self.receiver("a")})
        self.configure()
        with open(UNIT, encoding="utf-8") as f:
            text = f.read()
        self.assertEqual(text.count("=/usr/bin/hikyaku serve"), 1)
        copy = self.write("hikyaku.service", text.replace("/usr/bin/hikyaku", os.path.join(harness.BUILD, "hikyaku")))
        for words in (["verify"], ["security", "--offline=true", "--threshold=20", "--no-pager"]):
            done = subprocess.run(["systemd-analyze", *words, copy], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr.strip()), (0, ""), done.stdout)
        # What the unit grants is more than what the defaults may take.
        self.write("plain.conf", 'sender { from_domain = "x.test" return_path = "b.x.test" secret_file = "verp.key" }')
        shown = self.hikyaku("config", "check", "--config", self.path("plain.conf"), expect=0).out
        node = re.search(r"node \{(.*?)\}", shown, re.DOTALL).group(1)
        drain, orphan = (seconds(re.search(rf"{key}\s*=\s*(\S+)", node).group(1)) for key in ("drain", "orphan"))
        self.assertGreater(seconds(self.unit.one("TimeoutStopSec")), drain + orphan + 2 + 20)
        patience = re.search(r"flock --timeout (\d+)", self.unit.one("ExecStop")).group(1)
        self.assertGreater(float(patience), orphan)
        connections = int(re.search(r"connections\s*=\s*(\d+)", shown).group(1))
        self.assertGreaterEqual(int(self.unit.one("LimitNOFILE")), connections + 64)
        # The status that is not started again is that of a wrong configuration.
        self.write("wrong.conf", "no_such_key = 1\n")
        done = self.hikyaku("serve", "--config", self.path("wrong.conf"))
        self.assertIn(str(done.status), self.unit.one("RestartPreventExitStatus").split())

    def test_a_node_works_within_what_the_unit_allows(self):
        self.assertEqual((self.unit.one("CapabilityBoundingSet"), self.unit.one("NoNewPrivileges"),
                          self.unit.one("MemoryDenyWriteExecute")), ("", "yes", "yes"))
        allowed = set()
        for line in self.unit.value["SystemCallFilter"]:  # each counts on top of those before it
            if line.startswith("~"):
                allowed -= system_calls(line[1:].split())
            else:
                allowed |= system_calls(line.split())
        self.world(people=PEOPLE[:50])
        with open(self.path("stderr"), "ab") as errors:
            node = subprocess.Popen([os.path.join(harness.BUILD, "hikyaku"), "serve", "--config",
                                     self.path("hikyaku.conf")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    stderr=errors, preexec_fn=lambda: confine(allowed), start_new_session=True)
        self.running.append(node)
        self.up(node)
        for pid in self.group():  # the filter is there, in Redis too
            with open(f"/proc/{pid}/status", encoding="utf-8") as f:
                self.assertIn("Seccomp:\t2\n", f.read(), name_of(pid))
        self.run_campaign()
        wait_for(lambda: self.waiting_and_sending() == (0, 0) or node.poll() is not None, 60, "the end of the campaign")
        self.stop(node)
        self.assertEqual((node.returncode, self.left), (0, {}), self.finish_words())
        self.judge()

    def test_a_stop_in_the_middle_and_an_upgrade(self):
        self.world()
        node = self.serve()
        self.run_campaign()
        self.wait_for_events(len(PEOPLE) // 4, node)
        os.kill(node.pid, signal.SIGHUP)  # harmless
        self.wait_for_events(len(PEOPLE) // 3, node)
        took = self.stopped_well(node, 15)
        signalled_us = self.told_to_stop_us()
        counts = self.report()["counts"]
        self.assertGreater(counts["pending"], 0)
        self.assertEqual((counts["sending"], counts["unknown"]), (0, 0), counts)
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            self.assertEqual(counts["sent"], sum('"outcome":"sent"' in line for line in f))
        end = self.go_on_to_the_end()
        self.judge()
        # No MAIL but those that were on their way when the node had the signal; with PIPELINING each connection may have one.
        mail = [s.time_us for r in (self.a, self.b) for s in r.log("mail")]
        self.assertGreaterEqual(len(mail), len(PEOPLE))
        late = [t for t in mail if signalled_us < t < signalled_us + took * 1e6]
        print(f"stopped in {took:.2f} s, idle in {end:.2f} s, {len(late)} MAIL after the signal")
        self.assertLessEqual(len(late), 2 * CONNECTIONS)
        self.assertEqual([t - signalled_us for t in late if t > signalled_us + 5000000], [])

    def told_to_stop_us(self):
        """When the node had the signal, by its own word."""
        when = re.search(r"(?m)^(\S+)Z info hikyaku: Terminated: finishing what is under way", self.finish_words()).group(1)
        return int(datetime.datetime.fromisoformat(when + "+00:00").timestamp() * 1e6)

    def test_a_receiver_that_never_answers_costs_the_drain_and_no_more(self):
        self.world(drain="2s", people=PEOPLE[350:450] + [f"u@silent{n}.test" for n in range(SILENT)])
        node = self.serve()
        self.run_campaign()
        self.silent_bodies_are_out(node)
        took = self.stopped_well(node, 2 + 15)
        self.assertGreater(took, 1.9)
        self.assertEqual(self.report()["counts"]["unknown"], SILENT)
        self.go_on_to_the_end()
        self.judge(unknown=SILENT)

    def silent_bodies_are_out(self, node):
        """Until nobody waits but for the receiver that does not answer."""
        wait_for(lambda: self.waiting_and_sending() == (0, SILENT) or node.poll() is not None, 30,
                 "bodies at the silent receiver")

    def waiting_and_sending(self):
        for campaign in self.status()["campaigns"]:
            counts = campaign["counts"]
            return counts["pending"] + counts["deferred"], counts["sending"]
        return None

    def test_a_second_signal_stops_at_once(self):
        self.world(drain="50s", people=PEOPLE[:100] + [f"u@silent{n}.test" for n in range(SILENT)])
        node = self.serve()
        self.run_campaign()
        self.silent_bodies_are_out(node)

        def again():
            time.sleep(0.5)
            self.assertIsNone(node.poll())
            os.kill(node.pid, signal.SIGTERM)
        self.stopped_well(node, 20, again)
        self.assertEqual(self.report()["counts"]["unknown"], SILENT)
        self.go_on_to_the_end()
        self.judge(unknown=SILENT)

    def test_a_stop_while_redis_hangs(self):
        self.world(drain="3s")
        node = self.serve()
        self.run_campaign()
        self.wait_for_events(len(PEOPLE) // 4, node)
        redis = self.status()["pids"]["redis"]
        os.kill(redis, signal.SIGSTOP)
        threading.Timer(5.2, os.kill, (redis, signal.SIGCONT)).start()
        # The drain and the last words; then Redis is asked to end, which it does when it wakes.
        took = self.stopped_well(node, 15)
        self.go_on_to_the_end()
        self.judge()
        print(f"stopped beside a hanging Redis in {took:.2f} s")

    def test_a_stop_while_redis_is_dead(self):
        self.world()
        node = self.serve()
        self.run_campaign()
        self.wait_for_events(len(PEOPLE) // 4, node)
        os.kill(self.status()["pids"]["redis"], signal.SIGKILL)
        self.stopped_well(node, 15)
        self.go_on_to_the_end()
        self.judge()

    def test_a_stop_at_any_moment_of_the_start(self):
        self.world()
        node = self.serve()
        self.run_campaign()
        self.wait_for_events(len(PEOPLE) // 10, node)
        self.stopped_well(node, 15)
        # From where the program has caught its signals (its first act that shows is the lock) to where it sends.
        for wait_ms in (0, 5, 10, 20, 30, 50, 80, 130, 200):
            os.unlink(self.path("state", "lock"))
            node = self.start("serve", "--config", self.path("hikyaku.conf"))
            wait_for(lambda: os.path.exists(self.path("state", "lock")), 20, "the lock")
            time.sleep(wait_ms / 1000)
            if wait_ms == 20:
                os.kill(node.pid, signal.SIGHUP)
                time.sleep(0.05)
                self.assertIsNone(node.poll())
            self.stopped_well(node, 15)
        self.go_on_to_the_end()
        self.judge()

    def test_a_stop_while_it_waits_for_others(self):
        self.world()
        first = self.serve()
        second = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: "waiting for it, 30 s at most" in self.finish_words(), 20, "the word for whom it waits")
        self.interrupt(second, signal.SIGTERM)
        self.assertEqual(self.finish(second, timeout=20).status, 0)
        self.stopped_well(first, 15)
        # For the workers of a dead master.
        with open(self.path("state", "workers.lock"), "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            node = self.start("serve", "--config", self.path("hikyaku.conf"))
            wait_for(lambda: "waiting for the workers" in self.finish_words(), 20, "the wait")
            self.stopped_well(node, 15)
        # For a Redis that loads a long file, here one that never gets there.
        self.write("redis-server", "#!/bin/sh\nexec sleep 60\n")
        os.chmod(self.path("redis-server"), 0o755)
        path, os.environ["PATH"] = os.environ["PATH"], self.dir + ":" + os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", path)
        node = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: any("sleep" in name_of(p) for p in self.group()), 20, "Redis")
        self.stopped_well(node, 15)

    def test_send_is_stopped_while_it_reads_its_list(self):
        self.world()
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        os.write(writer, b"email\nu0@a.test\n")
        words = self.send_words()
        send = self.start(*[w if w != self.path("list.csv") else "-" for w in words], stdin=reader)
        os.close(reader)
        wait_for(lambda: any("redis-server" in name_of(p) for p in self.group()), 20, "Redis")
        time.sleep(0.3)
        self.interrupt(send, signal.SIGTERM)
        done = self.finish(send, expect=1, timeout=30)
        self.assertIn("nothing was sent", done.err)
        wait_for(lambda: not self.group(), 30, "the end of all")
        self.send(timeout=60)
        self.judge()

    def test_a_master_that_died_costs_nothing_that_its_workers_could_finish(self):
        self.world(dot_ms=400, people=PEOPLE[360:450])
        node = self.serve()
        self.run_campaign()
        self.wait_for_events(40, node)
        os.kill(node.pid, signal.SIGKILL)
        node.wait()
        self.stop(node)
        # Redis, which outlives a master by design, is what was left to be killed.
        self.assertEqual([name for name in self.left.values() if "redis" not in name], [])
        self.go_on_to_the_end()
        self.judge()


if __name__ == "__main__":
    harness.main()
