"""What the machine runs out of in the middle of a campaign: disk for Redis, for the event log, for both; descriptors; memory.

Sending pauses with a word before Redis would have to stop, goes on by itself, and in the end each has it once. The small disk
is a tmpfs, which takes root to mount: without it these tests fail, and say so.
"""
import os
import resource
import subprocess
import threading
import time

import harness
from harness import wait_for

PEOPLE = [f"u{n}@{d}.test" for n in range(700) for d in "ab"]
SMALL = 64  # MB
PAUSED, ON_AGAIN = "sending pauses until there is room", "sending goes on"
QUIET_S = 0.6


class Starved(harness.Case):
    def small_disk(self, megabytes=SMALL):
        place = self.path("small")
        os.mkdir(place)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "hikyaku-test", place],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, f"a small disk cannot be mounted, are you root? {done.stderr}")
        self.addCleanup(self.give_up_disk, place)
        return place

    def give_up_disk(self, place):
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
        self._end_redis()
        subprocess.run(["umount", "--lazy", place], check=True)

    def world(self, state, events="events.jsonl", tls=(), more="", connections=10):
        self.state = state
        for name in "ab":
            self.receiver(name, "--latency-dot", "15", *tls)
        self.dns({r.name + ".test": r for r in self.receivers})
        self.configure(connections=connections, give_up="90s", more=f'events {{ file = "{events}" }}\n{more}')
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read().replace(f'state_dir = "{self.path("state")}"', f'state_dir = "{state}"')
        self.assertIn(f'state_dir = "{state}"', text)
        self.write("hikyaku.conf", text)
        self.log = events if os.path.isabs(events) else os.path.join(state, events)
        if state != self.path("state"):
            os.symlink(state, self.path("state"))  # where the harness looks for it

    def begin(self):
        send = self.start_send(rows=PEOPLE)
        self.outcomes(len(PEOPLE) // 6, send)
        return send

    def lines(self):
        try:
            with open(self.log, "rb") as f:
                return f.read().count(b'"outcome":')
        except FileNotFoundError:
            return 0

    def outcomes(self, count, send):
        wait_for(lambda: self.lines() >= count or send.poll() is not None, 60, f"{count} outcomes")
        self.assertIsNone(send.poll(), self.finish_words())

    def said(self, words, since=0):
        with open(self.path("stderr"), encoding="utf-8", errors="replace") as f:
            return f.read().count(words) > since

    def fill(self, place, leave_bytes, name="filler"):
        """Somebody else's file takes what there is but for so much."""
        filler = os.path.join(place, name)
        disk = os.statvfs(place)
        piece = disk.f_bavail * disk.f_frsize - leave_bytes
        with open(filler, "wb") as f:
            while piece >= 4096:  # one that does not fit, for others write too, takes nothing
                try:
                    os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size, piece)
                    if leave_bytes:
                        break
                except OSError:
                    piece //= 2
        return filler

    def ends_exactly(self, send, unknown=0):
        self.finish(send, expect=0, timeout=90)
        _, not_known, _ = self.judge_exact(PEOPLE)
        self.assertLessEqual(len(not_known), unknown)

    def a_disk_that_fills_up(self, place):
        """It is nearly full while Redis and the log still have room; then there is room again."""
        send = self.begin()
        redis = self.status()["pids"]["redis"]
        filler = self.fill(place, 6 << 20)
        wait_for(lambda: self.said(PAUSED), 30, "the pause")
        wait_for(lambda: self.status()["campaigns"][0]["counts"]["sending"] == 0, 30, "the end of what was under way")
        before = self.lines()
        time.sleep(QUIET_S)
        self.assertEqual(self.lines(), before)
        self.assertIsNone(send.poll())
        self.assertEqual(self.status()["pids"]["redis"], redis)
        self.assertEqual(self.status()["campaigns"][0]["counts"]["sending"], 0)
        os.unlink(filler)
        wait_for(lambda: self.said(ON_AGAIN), 30, "the end of the pause")
        self.ends_exactly(send)
        self.assertFalse(self.said("Redis is gone"), self.finish_words())

    def a_disk_that_is_full_at_once(self, place, what):
        """Not one byte is left, from one moment to the next: whoever writes first notices, or who looks at the disk."""
        send = self.begin()
        filler = self.fill(place, 0)
        wait_for(lambda: self.said(what) or self.said(PAUSED), 30, what)
        time.sleep(QUIET_S)
        self.assertIsNone(send.poll(), self.finish_words())
        os.unlink(filler)
        self.ends_exactly(send)

    def test_the_disk_of_redis_fills_up(self):
        place = self.small_disk()
        self.world(place + "/state", self.path("events.jsonl"))
        self.a_disk_that_fills_up(place)

    def test_the_disk_of_the_event_log_fills_up(self):
        place = self.small_disk()
        self.world(self.path("state"), place + "/events.jsonl")
        self.a_disk_that_fills_up(place)

    def test_the_disk_of_both_fills_up(self):
        place = self.small_disk()
        self.world(place + "/state")
        self.a_disk_that_fills_up(place)

    def test_the_disk_of_redis_is_full_at_once(self):
        place = self.small_disk()
        self.world(place + "/state", self.path("events.jsonl"))
        self.a_disk_that_is_full_at_once(place, "Redis is gone")

    def test_the_disk_of_the_event_log_is_full_at_once(self):
        place = self.small_disk()
        self.world(self.path("state"), place + "/events.jsonl")
        self.a_disk_that_is_full_at_once(place, "cannot write the event log")

    def test_the_disk_of_both_is_full_at_once(self):
        place = self.small_disk()
        self.world(place + "/state")
        self.a_disk_that_is_full_at_once(place, "cannot write the event log")

    def test_told_to_stop_on_a_full_disk_it_does_not_wait_for_room(self):
        """What was under way when the disk was full lies in the region: an end in seconds, with 1, and nothing is lost."""
        place = self.small_disk(2 * SMALL)  # the region of the first one stays beside that of the second
        self.world(place + "/state")
        send = self.begin()
        # Most of it before, above what makes a pause: the rest is taken between two looks at the room, so that there are lines
        # to write when there is none.
        most = self.fill(place, 14 << 20, "most")
        self.assertFalse(self.said(PAUSED), self.finish_words())
        filler = self.fill(place, 0)
        ended = threading.Event()
        greedy = threading.Thread(target=self.take_what_comes, args=(place, ended))
        greedy.start()
        try:
            wait_for(lambda: self.said("cannot write the event log"), 30, "the full disk")
            at = time.monotonic()
            self.interrupt(send)
            self.finish(send, expect=1, timeout=30)
            self.assertLess(time.monotonic() - at, 15)  # its drain is 20 s
        finally:
            ended.set()
            greedy.join()
        self.assertTrue(self.said("nothing can be written down"), self.finish_words())
        for path in (most, filler, filler + "2"):
            os.unlink(path)
        self.ends_exactly(self.start_send())

    def take_what_comes(self, place, ended):
        """Somebody else writes on: what a line that is taken back gives free is gone at once."""
        with open(os.path.join(place, "filler2"), "wb", buffering=0) as f:
            while not ended.wait(0.005):
                try:
                    while f.write(b"x" * 4096):
                        pass
                except OSError:
                    pass

    # ---- descriptors and memory ----

    def test_no_descriptor_is_left(self):
        """Workers may not open one more: what is open goes on, and new connections come when they may."""
        self.world(self.path("state"), more='provider "ab" { domains = { "a.test", "b.test" } messages_per_connection = 20'
                                            ' max_connections = 10 }')
        send = self.begin()
        workers = self.status()["pids"]["workers"]
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, 4096))
        time.sleep(1.2)
        self.assertIsNone(send.poll())
        self.assertEqual(self.status()["pids"]["workers"], workers)
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (4096, 4096))
        self.ends_exactly(send)

    def test_workers_without_memory(self):
        """One that dies of it is replaced. One that cannot open a campaign says so, and the next `send` goes on."""
        self.world(self.path("state"), tls=("--tls", "auto"), connections=60)
        send = self.start_send(rows=PEOPLE)
        self.outcomes(1, send)
        for pid in self.status()["pids"]["workers"]:
            with open(f"/proc/{pid}/statm", encoding="utf-8") as f:
                pages = int(f.read().split()[0])
            resource.prlimit(pid, resource.RLIMIT_AS, (pages * 4096, resource.RLIM_INFINITY))

        def felt():
            return (self.said(" runs again") or send.poll() is not None or self.said("internal error", 20) or
                    self.said("stands still", 2))  # tried again, and still no memory to read the list
        wait_for(felt, 30, "what comes of no memory")
        for pid in self.status()["pids"]["workers"] if send.poll() is None else ():
            try:
                resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            except OSError:  # it has ended
                pass
        if self.finish(send, timeout=90).status == 1:
            self.assertTrue(self.said("stands still") and self.said("Cannot allocate memory"), self.finish_words())
            send = self.start_send()
        self.ends_exactly(send, unknown=120)


if __name__ == "__main__":
    harness.main()
