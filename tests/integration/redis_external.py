"""A Redis of the user's own: every way it can be wrong is one line with what to do, and when it goes away in the middle
of a campaign the campaign goes on by itself, exact, judged at the receiver.

HIKYAKU_AWAY_S (default 12) is how long Redis is away; scripts/soak takes a minute. HIKYAKU_DROP_S (default 5) is how long
nothing gets through to it, nor back, and nobody is told; scripts/soak takes three minutes, at the lease that is the default.
"""
import os
import signal
import socket
import subprocess
import sys
import time

import harness
from harness import wait_for
from nsd import die_with_parent

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))

from proxy import Proxy

DROP_S = float(os.environ.get("HIKYAKU_DROP_S", "5"))
AWAY_S = float(os.environ.get("HIKYAKU_AWAY_S", "12"))
PASSWORD = "correct-horse-battery"
USER = "user hikyaku on >" + PASSWORD + " resetkeys ~* resetchannels &* +@all -@admin -@dangerous +info"


class Redis:
    """A redis-server on TCP and on a unix socket, with an ACL user; only that user may do anything."""

    def __init__(self, folder, *options, user=USER + " +config|get", default="user default on >somebody-else ~* &* +@all"):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.socket = os.path.join(folder, "r.sock")
        with open(os.path.join(folder, "users.acl"), "w", encoding="utf-8") as f:
            f.write(f"{default}\n{user}\n" if user else f"{default}\n")
        self.options = options or ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", self.socket, "--dir",
             self.folder, "--aclfile", os.path.join(self.folder, "users.acl"), "--logfile", os.path.join(self.folder, "log"), *self.options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_parent)
        wait_for(self.listens, 20, "redis-server")

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)
            os.kill(self.process.pid, number)
            self.process.wait(20)


class External(harness.Case):
    def redis(self, *options, **more):
        server = Redis(self.path(f"redis{len(os.listdir(self.dir))}"), *options, **more)
        self.addCleanup(server.stop)
        return server

    def use(self, server, where=None, password=PASSWORD, user="hikyaku"):
        self.write("redis.password", password + "\n")
        where = where or f'host = "127.0.0.1" port = {server.port}'
        who = f'user = "{user}" password_file = "redis.password"' if password else ""
        self.configure(more=f"redis {{ mode = external {where} {who} }}")

    def setUp(self):
        super().setUp()
        self.a = self.receiver("a", "--latency-dot", "10")
        self.dns({"a.test": self.a})

    def refused(self, *words, expect=3):
        done = self.send(rows=["u@a.test"], expect=expect)
        for word in words:
            self.assertIn(word, done.err)
        self.assertEqual(done.err.count("\n"), 1, done.err)
        self.assertNotIn(PASSWORD, done.err + done.out)
        return done

    def test_what_is_wrong_is_one_line_with_what_to_do(self):
        good = self.redis()
        self.use(good, password="wrong-secret")
        self.assertNotIn("wrong-secret", self.refused("WRONGPASS", "redis.password_file").err)
        self.use(good, user="nobody")
        self.refused("WRONGPASS", "redis.user")
        self.use(good, password="")
        self.refused("NOAUTH", "redis.password_file")
        self.use(good, where=f'host = "127.0.0.1" port = {self._free_port()}')
        self.refused("Connection refused", "redis.port")
        self.use(good, where='host = "no-such-host.invalid"')
        self.refused("no-such-host.invalid", "write an address")
        self.use(good, where=f'socket = "{self.dir}/none.sock"')
        self.refused("No such file", "redis.socket")
        with open(self.path("redis.password"), "w", encoding="utf-8") as f:
            f.write("\n")
        self.use(good, where=f'host = "127.0.0.1" port = {good.port}', password="\n")
        self.refused("has no password in its first line", expect=2)

    def test_a_port_that_speaks_tls_or_smtp_is_named(self):
        folder = self.path("tls")
        os.makedirs(folder)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=r",
                        "-keyout", folder + "/k.pem", "-out", folder + "/c.pem"], check=True, capture_output=True)
        port = self._free_port()
        server = subprocess.Popen(["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-key",
                                   folder + "/k.pem", "-cert", folder + "/c.pem"], stdin=subprocess.PIPE,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
        self.running.append(server)
        server.stdin.close()

        def up():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        wait_for(up, 10, "s_server")
        self.use(None, where=f'host = "127.0.0.1" port = {port}')
        self.refused("TLS", "stunnel")

        self.use(None, where=f'host = "{self.a.address}" port = {self.port}')
        self.refused("Protocol error", "is that the port of a Redis?")

    def test_a_server_that_would_lose_or_evict_is_refused(self):
        evicting = self.redis("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru")
        self.use(evicting)
        self.refused("allkeys-lru", "maxmemory-policy noeviction")
        primary = self.redis()
        replica = self.redis("--replicaof", "127.0.0.1", str(primary.port))
        self.use(replica)
        self.refused("replica", "primary")
        cluster = self.redis("--cluster-enabled", "yes", "--cluster-port", str(self._free_port()))
        self.use(cluster)
        self.refused("Redis Cluster", "cluster-enabled no")
        off = self.redis(user=USER + " +config|get +acl|getuser", default="user default off")
        self.use(off)
        self.refused("user default off", "ACL SETUSER default on")
        few = self.redis(user=f"user hikyaku on >{PASSWORD} ~* +ping")
        self.use(few)
        self.refused("NOPERM", "ACL SETUSER")

    def test_doubtful_persistence_is_told_once_and_it_sends(self):
        cases = ((("--appendonly", "no", "--save", ""), {}, "keeps nothing on disk"),
                 (("--appendonly", "no", "--save", "3600 1"), {}, "snapshots only"),
                 (("--appendonly", "yes", "--appendfsync", "everysec"), {}, "appendfsync everysec"),
                 ((), {"user": USER}, "does not let CONFIG be asked"))
        for number, (options, more, words) in enumerate(cases):
            self.use(self.redis(*options, **more))
            done = self.send(campaign=f"c{number}", rows=["u@a.test"])
            self.assertEqual(done.err.count(words), 1, done.err)
            self.assertEqual(done.err.count(" warning "), 2, done.err)  # that, and that there is no DKIM key

    def people(self, server, count=3000):
        self.list([f"u{n}@a.test" for n in range(count)])
        process = self.start_send()
        self.wait_for_events(count // 10, process)
        self.assertIsNone(self.status()["pids"]["redis"])  # it is not ours
        return process

    def judge(self, process, count=3000, unknown=0):
        self.finish(process, expect=0)
        counts = self.report()["counts"]
        self.stop_receivers()
        taken = self.a.taken()
        self.assertEqual(set(taken.values()), {1})
        self.assertEqual(counts["sent"] + counts["unknown"], count)
        self.assertLessEqual(counts["unknown"], unknown)
        self.assertGreaterEqual(len(taken), counts["sent"])
        words = self.finish_words()
        self.assertEqual(words.count("Redis is gone"), 1, words)
        self.assertEqual(words.count("Redis answers again"), 1, words)
        self.assertNotIn(PASSWORD, words)

    def test_stopped_and_continued_over_tcp_it_goes_on(self):
        server = self.redis()
        self.use(server)
        process = self.people(server)
        os.kill(server.process.pid, signal.SIGSTOP)
        time.sleep(AWAY_S)
        self.assertIsNone(process.poll())
        os.kill(server.process.pid, signal.SIGCONT)
        self.judge(process)

    def test_dropped_on_the_way_it_goes_on(self):
        server = self.redis()
        proxy = Proxy(server.port)
        self.addCleanup(proxy.stop)
        self.use(server, where=f'host = "127.0.0.1" port = {proxy.port}')
        process = self.people(server)
        proxy.mode("drop")
        time.sleep(DROP_S)
        self.assertIsNone(process.poll())
        self.assertGreater(proxy.mode("pass"), 0)  # it has asked
        self.judge(process)

    def test_ended_and_started_again_on_a_socket_it_goes_on(self):
        server = self.redis()
        self.use(server, where=f'socket = "{server.socket}"')
        process = self.people(server)
        server.stop()
        time.sleep(AWAY_S)
        self.assertIsNone(process.poll())
        server.start()  # without the scripts: they were in its memory
        self.judge(process)

    def test_forgotten_scripts_are_loaded_again(self):
        server = self.redis(user=USER + " +config|get +script")
        self.use(server)
        process = self.people(server)
        subprocess.run(["redis-cli", "-s", server.socket, "--user", "hikyaku", "-a", PASSWORD, "SCRIPT", "FLUSH"],
                       check=True, capture_output=True)
        self.finish(process, expect=0)
        self.assertEqual(self.report()["counts"]["sent"], 3000)
        self.stop_receivers()
        self.assertEqual(set(self.a.taken().values()), {1})
        self.assertEqual(len(self.a.taken()), 3000)

    def test_no_secret_is_in_any_log(self):
        server = self.redis()
        self.use(server)
        with open(self.path("hikyaku.conf"), "a", encoding="utf-8") as f:
            f.write('log_level = debug\n')
        self.send(rows=["u@a.test"])
        for folder, _, files in os.walk(self.path("state")):
            for name in files:
                with open(os.path.join(folder, name), "rb") as f:
                    self.assertNotIn(PASSWORD.encode(), f.read(), name)
        with open(self.path("stderr"), encoding="utf-8") as f:
            text = f.read()
        self.assertIn(" debug ", text)
        self.assertNotIn(PASSWORD, text)


if __name__ == "__main__":
    harness.main()
