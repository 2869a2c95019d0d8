"""A Redis that forgets: everything, one key, its last writes; and two nodes on one Redis. Judged at the receiver:
nobody has the message twice, nobody is left out.
"""
import glob
import json
import os
import re
import signal
import subprocess
import time

import harness
from harness import wait_for
from redis_external import Redis, PASSWORD

PEOPLE = [f"u{n}@{'a' if n % 3 else 'b'}.test" for n in range(4000)]


class Forgotten(harness.Case):
    def setUp(self):
        super().setUp()
        self.a = self.receiver("a", "--latency-dot", "20", "--defer", "0.05")
        self.b = self.receiver("b", "--latency-dot", "20")
        self.dns({"a.test": self.a, "b.test": self.b})

    def redis_answers(self):
        return self.redis_cli("PING", check=False) == "PONG"

    def campaigns(self, verb, expect=None, more=()):
        return self.hikyaku("campaigns", verb, "--config", self.path("hikyaku.conf"), "--campaign", "c", *more,
                            expect=expect)

    def resume(self):
        self.hikyaku("resume", "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=0)

    def judge(self, unknown_most=0):
        _, unknown, _ = self.judge_exact(PEOPLE)
        self.assertLessEqual(len(unknown), unknown_most)

    def test_after_flushall_nothing_is_sent_until_it_was_restored(self):
        self.configure(connections=10)
        process = self.start_send(rows=PEOPLE)
        self.wait_for_events(800, process)
        self.redis_cli("FLUSHALL")
        done = self.finish(process)
        self.assertEqual(done.status, 3, done.err[-3000:])
        self.assertIn("campaigns restore", done.err)
        for _ in range(2):
            self.assertIn("campaigns restore", self.send(expect=3).err)
        self.assertIn("campaigns restore", self.hikyaku("status", "--config", self.path("hikyaku.conf"),
                                                        "--campaign", "c", expect=3).err)
        conf = ("--config", self.path("hikyaku.conf"))
        for command in (("status", *conf), ("campaigns", "list", *conf), ("why", *conf, PEOPLE[0])):
            self.assertIn("campaigns restore", self.hikyaku(*command, expect=3).err)
        out = self.campaigns("restore", expect=0).out
        self.assertIn("lines of the event log again; it is paused", out)
        restored = {r["recipient"]: r["state"] for r in self.recipients()}
        attempts, at_us = self.report()["attempts"], int(time.time() * 1e6)
        self.resume()
        self.send(expect=0)
        self.judge(unknown_most=20)
        # What was restored is what the receivers had by then: nobody they lack, and nobody left waiting whom they know.
        had = {seen.address for receiver in (self.a, self.b) for seen in receiver.log("accepted", "ambiguous")
               if seen.time_us < at_us}
        self.assertGreater(len(had), 500)
        self.assertEqual({r for r, s in restored.items() if s == "sent"} - had, set())
        self.assertEqual(had - {r for r, s in restored.items() if s in ("sent", "unknown")}, set())
        self.assertGreaterEqual(attempts, len(had))

    def test_a_key_that_was_deleted_is_noticed_and_restored(self):
        self.configure(connections=10)
        for key in ("s:0.0", "n", "own", "q"):
            with self.subTest(key):
                process = self.start_send("c", rows=PEOPLE)
                self.wait_for_events(self.events() + 800, process)
                self.redis_cli("DEL", "{c}:" + key)
                done = self.finish(process)
                self.assertEqual(done.status, 3, done.err[-3000:])
                self.assertIn("campaigns restore", done.err)
                self.assertIn("campaigns restore", self.send(expect=3).err)
                self.campaigns("restore", expect=0)
                self.resume()
                self.send(expect=0)
                self.assertEqual(self.report()["counts"]["sent"], len(PEOPLE))
                states = {r["recipient"]: r["state"] for r in self.recipients()}
                self.assertEqual(set(states.values()), {"sent"})
                self.campaigns("purge")
        self.stop_receivers()
        taken = self.a.taken() + self.b.taken()
        self.assertEqual(set(taken.values()), {4})
        self.assertEqual(set(taken), set(PEOPLE))

    def judge_deleted(self, kind):
        """Keys of those who were deferred: missed when they are read, also where they have come to be again in part."""
        self.configure(connections=10, schedule="3s", give_up="60s")
        process = self.start_send("c", rows=PEOPLE)
        self.wait_for_events(400, process)
        keys = wait_for(lambda: self.redis_cli("KEYS", "{c}:" + kind + ":*").split(), 20, "somebody deferred")
        self.redis_cli("DEL", *keys)
        done = self.finish(process)
        self.assertNotEqual(done.status, 0, done.err[-3000:])
        self.assertIn("campaigns restore", done.err)
        self.campaigns("restore", expect=0)
        self.resume()
        self.send(expect=0)
        self.judge()

    def test_due_times_that_were_deleted_are_noticed(self):
        self.judge_deleted("d")

    def test_first_attempts_that_were_deleted_are_noticed(self):
        self.judge_deleted("f")

    def test_a_redis_that_makes_room_is_noticed_whatever_it_threw_away(self):
        """Of others here, so that nothing of ours is missed; then it goes on by itself."""
        self.configure(connections=10)
        process = self.start_send("c", rows=PEOPLE)
        self.wait_for_events(400, process)
        self.redis_cli("EVAL", "for i = 1, 20000 do redis.call('SET', 'other' .. i, string.rep('x', 100), 'EX', 3600) end", "0")
        used = int(re.search(r"used_memory:(\d+)", self.redis_cli("INFO", "memory"))[1])
        self.redis_cli("CONFIG", "SET", "maxmemory-policy", "volatile-random", "maxmemory", str(used - 1000000))
        wait_for(lambda: "evicted_keys:0\n" not in self.redis_cli("INFO", "stats").replace("\r", ""), 20, "keys thrown away")
        self.redis_cli("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "0")
        done = self.finish(process, expect=0)
        self.assertIn("has thrown away keys to make room (maxmemory-policy has to be noeviction there)", done.err)
        self.judge(unknown_most=20)

    def test_what_was_restored_and_lost_again_is_told_again(self):
        self.configure(connections=10)
        process = self.start_send("c", rows=PEOPLE)
        self.wait_for_events(self.events() + 1600, process)
        self.redis_cli("DEL", "{c}:s:0.0")
        self.assertNotEqual(self.finish(process).status, 0)
        aof = sorted(glob.glob(self.path("state", "redis", "appendonlydir", "*.incr.aof")))[-1]
        before = os.path.getsize(aof)
        self.campaigns("restore", expect=0)
        self.assertEqual(sorted(glob.glob(self.path("state", "redis", "appendonlydir", "*.incr.aof")))[-1], aof)
        os.truncate(aof, before + int((os.path.getsize(aof) - before) * 0.7))
        self.send(expect=0)
        self.judge(unknown_most=20)

    def test_a_redis_that_lost_its_last_writes_is_told_again(self):
        self.configure(connections=10)
        process = self.start_send(rows=PEOPLE)
        for moment, part in ((700, 0.1), (1600, 0.4)):
            self.wait_for_events(moment, process)
            redis = self.status()["pids"]["redis"]
            os.kill(redis, signal.SIGKILL)
            aof = sorted(glob.glob(self.path("state", "redis", "appendonlydir", "*.incr.aof")))[-1]
            os.truncate(aof, int(os.path.getsize(aof) * (1 - part)))
            wait_for(self.redis_answers, 20, "another Redis")
        done = self.finish(process, expect=0, timeout=60)
        self.assertIn("less than it had acknowledged", done.err)
        self.assertIn("lines of the event log again", done.err)
        self.judge(unknown_most=40)

    def test_killed_and_cut_it_is_told_at_the_next_start(self):
        self.configure(connections=10)
        process = self.start_send(rows=PEOPLE)
        self.wait_for_events(1500, process)
        pids = self.status()["pids"]
        for pid in (pids["master"], *pids["workers"], pids["resolver"], pids["redis"]):
            os.kill(pid, signal.SIGKILL)
        self.finish(process)
        aof = sorted(glob.glob(self.path("state", "redis", "appendonlydir", "*.incr.aof")))[-1]
        os.truncate(aof, int(os.path.getsize(aof) * 0.7))
        self.send(expect=0)
        self.judge(unknown_most=20)

    def test_a_log_that_was_moved_and_a_damaged_file_of_redis_are_mended_as_the_words_say(self):
        """A node says that its event log was moved away and under which name it will be found; redis-server cannot read
        its file, and the words say what to do. Who does both has lost nothing."""
        self.configure(connections=10)
        process = self.start_send(rows=PEOPLE)
        self.wait_for_events(500, process)
        elsewhere = self.path("events.jsonl.1")
        os.rename(self.path("state", "events.jsonl"), elsewhere)
        said = wait_for(lambda: re.search(r"moved the event log to (\S+) .* named (\S+);", self.finish_words()), 10,
                        "the word about the log")
        self.assertEqual(said.group(1), elsewhere)
        os.rename(elsewhere, said.group(2))
        self.wait_for_events(600, process)
        pids = self.status()["pids"]
        for pid in (pids["master"], *pids["workers"], pids["resolver"], pids["redis"]):
            os.kill(pid, signal.SIGKILL)
        self.finish(process)
        folder = self.path("state", "redis", "appendonlydir")
        aof = sorted(glob.glob(os.path.join(folder, "*.incr.aof")))[-1]
        with open(aof, "r+b") as f:
            # Where a command begins: within the words of a span it would be words like any others.
            f.seek(f.read().index(b"\r\n*", os.path.getsize(aof) // 2))
            f.write(b"\0" * 200)
        refused = self.send(expect=3).err
        for words in (folder, "is damaged", os.path.basename(aof), "redis-check-aof --fix appendonly.aof.manifest"):
            self.assertIn(words, refused)
        subprocess.run(["redis-check-aof", "--fix", "appendonly.aof.manifest"], cwd=folder, input="y\n", text=True,
                       capture_output=True, timeout=20, check=True)
        self.assertNotIn("is gone", self.send(expect=0).err)
        self.judge(unknown_most=20)

    def test_a_restore_without_the_part_it_needs_is_refused(self):
        self.configure(connections=10)
        process = self.start_send(rows=PEOPLE)
        self.wait_for_events(400, process)
        self.redis_cli("FLUSHALL")
        self.finish(process)
        os.rename(self.path("state", "events.jsonl"), self.path("elsewhere"))
        self.assertIn("nobody knows who was sent to", self.campaigns("restore", expect=2).err)
        self.assertIn("campaigns restore", self.send(expect=3).err)
        os.replace(self.path("elsewhere"), self.path("state", "events.jsonl"))
        self.campaigns("restore", expect=0)

    def test_a_restore_without_a_part_in_the_middle_is_refused(self):
        self.configure(connections=10, more="events { rotate = 64kb }")
        process = self.start_send(rows=PEOPLE)
        rotated = lambda: sorted(glob.glob(self.path("state", "events.jsonl.*.zst")))
        wait_for(lambda: len(rotated()) > 4, 30, "parts of the event log")
        self.redis_cli("FLUSHALL")
        self.finish(process)
        part = rotated()[2]
        os.rename(part, self.path("elsewhere"))
        self.assertIn("a part of the event log is gone", self.campaigns("restore", expect=2).err)
        os.replace(self.path("elsewhere"), part)
        self.campaigns("restore", expect=0)
        self.resume()
        self.send(expect=0)
        self.judge(unknown_most=20)

    def test_a_key_that_went_while_no_node_ran_is_said_and_restored(self):
        self.configure(connections=10)
        process = self.start_send(rows=PEOPLE)
        self.wait_for_events(1500, process)
        pids = self.status()["pids"]
        for pid in (pids["master"], *pids["workers"], pids["resolver"]):
            os.kill(pid, signal.SIGKILL)
        self.finish(process)
        self.redis_cli("DEL", "{c}:s:0.0")
        for _ in range(2):
            self.assertIn("campaigns restore", self.send(expect=3).err)
        self.campaigns("restore", expect=0)
        self.send(expect=0)
        self.judge(unknown_most=20)

    # ---- the campaign's state ----

    def test_a_redis_that_has_forgotten_that_the_campaign_goes_on_is_believed(self):
        self.configure(connections=10)
        process = self.start_send(rows=PEOPLE)
        self.wait_for_events(800, process)
        self.redis_cli("HSET", "{c}:m", "state", "paused")
        done = self.finish(process, expect=1, timeout=60)
        self.assertIn("Redis says that it is paused", done.err)
        self.assertIn("goes on", self.send(expect=0).err)
        self.judge()

    def test_a_node_follows_what_another_one_did_to_the_campaign(self):
        self.configure(connections=10)
        process = self.start("serve", "--config", self.path("hikyaku.conf"))
        wait_for(lambda: os.path.exists(self.path("state", "control.sock")), 20, "the control socket")
        sending = self.start_send(rows=PEOPLE)
        self.wait_for_events(800, process)
        self.redis_cli("HSET", "{c}:m", "state", "paused")
        wait_for(lambda: self.status()["campaigns"][0]["paused"], 30, "the node to follow")
        sending.terminate()
        self.finish(sending, expect=1, timeout=60)
        events = self.events()
        time.sleep(1.5)
        self.assertEqual(self.events(), events)
        self.redis_cli("HSET", "{c}:m", "state", "running")
        wait_for(lambda: self.report()["settled"] is not None, 60, "the campaign")
        process.terminate()
        self.finish(process, expect=0, timeout=60)
        self.judge()

    # ---- a Redis that forgets what somebody decided ----

    def redis_file(self):
        return sorted(glob.glob(self.path("state", "redis", "appendonlydir", "*.incr.aof")))[-1]

    def lose(self, size):
        """Redis dies and has no more than so many bytes when it comes back."""
        redis = self.status()["pids"]["redis"]
        os.kill(redis, signal.SIGKILL)
        os.truncate(self.redis_file(), size)

    def decide(self, command):
        """The size of Redis' file before."""
        size = os.path.getsize(self.redis_file())
        self.hikyaku(command, "--config", self.path("hikyaku.conf"), "--campaign", "c", expect=0)
        return size

    def test_a_pause_that_redis_lost_is_still_one(self):
        self.configure(connections=10)
        process = self.start_send(rows=PEOPLE)
        self.wait_for_events(800, process)
        size = self.decide("pause")
        self.lose(size)
        lost_us = int(time.time() * 1e6)
        done = self.finish(process, expect=1)
        self.assertIn("Redis has lost that it was paused; it stays paused", done.err)
        again_us = int(time.time() * 1e6)
        self.send(expect=0)
        self.judge()
        self.assertEqual([s for r in (self.a, self.b) for s in r.log("accepted", "ambiguous")
                          if lost_us < s.time_us < again_us], [])

    def test_that_it_goes_on_is_asked_again_where_redis_lost_it(self):
        self.configure(connections=10)
        process = self.start_send(rows=PEOPLE)
        self.wait_for_events(800, process)
        self.decide("pause")
        size = self.decide("resume")
        self.wait_for_events(1200, process)
        self.lose(size)
        done = self.finish(process, expect=1)
        self.assertIn("Redis says that it is paused", done.err)
        self.send(expect=0)
        self.judge()

    def test_what_was_cancelled_is_cancelled_though_redis_lost_it(self):
        self.configure(connections=10)
        process = self.start_send(rows=PEOPLE)
        self.wait_for_events(800, process)
        size = self.decide("cancel")
        self.finish(process, expect=0)
        os.truncate(self.redis_file(), size)
        cancelled_us = int(time.time() * 1e6)
        done = self.send(expect=0)
        self.assertIn("Redis has lost that it was cancelled", done.err)
        counts = self.report()["counts"]
        self.assertGreater(counts["cancelled"], 1000)
        self.stop_receivers()
        seen = [s for r in (self.a, self.b) for s in r.log("accepted", "ambiguous")]
        self.assertEqual([s for s in seen if s.time_us > cancelled_us], [])
        self.assertEqual(len(seen), counts["sent"] + counts["unknown"])

    # ---- two nodes ----

    def node(self, name, server, state, lease="2s"):
        self.write("redis.password", PASSWORD + "\n")
        self.configure(more=f"""redis {{ mode = external host = "127.0.0.1" port = {server.port} user = "hikyaku"
            password_file = "redis.password" }}""")
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read().replace(self.path("state"), self.path(state))
        text = text.replace("node     {", f'node {{ name = "{name}" lease = {lease}', 1)
        self.assertIn("lease", text)
        self.write(f"{state}.conf", text)
        return self.path(f"{state}.conf")

    def by(self, config):
        words = list(self.send_words(rows=PEOPLE))
        words[words.index("--config") + 1] = config
        return words

    def test_a_second_node_of_the_same_name_is_refused(self):
        server = Redis(self.path("redis"))
        self.addCleanup(server.stop)
        one, two = self.node("mta1", server, "state"), self.node("mta1", server, "state2")
        process = self.start(*self.by(one))
        self.wait_for_events(200, process)
        words = self.by(two)
        done = self.hikyaku(*words, expect=3)
        self.assertIn('"mta1" runs already', done.err)
        self.finish(process, expect=0)
        self.assertIn("nothing to do", self.hikyaku(*words, expect=0).out)
        self.judge()

    def test_a_node_that_was_stopped_past_its_lease_finds_its_recipients_taken(self):
        server = Redis(self.path("redis"))
        self.addCleanup(server.stop)
        one, two = self.node("mta1", server, "state"), self.node("mta2", server, "state2")
        process = self.start(*self.by(one))
        self.wait_for_events(600, process)
        master = self.status()["pids"]["master"]
        os.kill(master, signal.SIGSTOP)
        other = self.start(*self.by(two))
        wait_for(lambda: self.lines(self.path("state2", "events.jsonl")) > 300 or other.poll() is not None, 30,
                 "the other node to take over")
        os.kill(master, signal.SIGCONT)
        self.assertEqual(self.finish(other, timeout=60).status, 0)
        done = self.finish(process, timeout=60)
        self.assertEqual(done.status, 0, done.err[-3000:])
        self.judge(unknown_most=20)

    def logged_as_sent(self):
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            attempts = [e for e in map(json.loads, f) if e["type"] == "attempt"]
        return {e["recipient"] for e in attempts if e["outcome"] == "sent"}

    def called(self, state):
        return {row["recipient"] for row in self.recipients() if row["state"] == state}

    def test_what_a_dead_node_knew_is_told_when_another_one_has_settled_everyone(self):
        server = Redis(self.path("redis"))
        self.addCleanup(server.stop)
        one, two = self.node("mta1", server, "state"), self.node("mta2", server, "state2")
        process = self.start(*self.by(one))
        self.wait_for_events(600, process)
        pids = self.status()["pids"]
        os.kill(server.process.pid, signal.SIGSTOP)
        time.sleep(0.5)  # bodies that were granted end, and their outcomes reach the log alone
        for pid in (pids["master"], pids["resolver"], *pids["workers"]):
            os.kill(pid, signal.SIGKILL)
        self.finish(process)
        os.kill(server.process.pid, signal.SIGCONT)
        self.assertEqual(self.hikyaku(*self.by(two), expect=0, timeout=60).status, 0)
        better_known = self.called("unknown") & self.logged_as_sent()
        self.assertGreater(len(better_known), 0)
        self.hikyaku(*self.by(one), expect=0)
        self.assertEqual(self.called("unknown") & self.logged_as_sent(), set())
        self.assertLessEqual(better_known, self.called("sent"))
        self.assertIn("nothing to do", self.hikyaku(*self.by(one), expect=0).out)

    @staticmethod
    def lines(path):
        try:
            with open(path, "rb") as f:
                return f.read().count(b"\n")
        except FileNotFoundError:
            return 0


if __name__ == "__main__":
    harness.main()
