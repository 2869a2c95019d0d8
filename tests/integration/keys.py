"""Who holds which secret: the memory of every process of a node, read through and searched for each of them.

A node with all its processes: a Redis with a password, DKIM, a relay with a password, the bounce receiver with a certificate, and the
web process with the one that fetches for it. Each secret is found where it belongs, so a search that finds nothing would be
seen; and nowhere else, neither in those that were there from the start nor in those that were forked later, when the node held more.
Not for a sanitizer's build, whose processes have terabytes that are mapped and empty.
"""
import base64
import ctypes
import email
import glob
import http.client
import json
import os
import signal
import stat
import subprocess

from cryptography.hazmat.primitives.serialization import load_pem_private_key

import harness
import played_ses
import played_sns
import web
from certificates import Authority
from harness import wait_for
from nsd import die_with_parent
from redis_external import PASSWORD, Redis

RELAY_PASSWORD = "four-score-and-seven"


def memory(pid):
    """Every byte that the process can read of its own, one bytes for each mapping."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            where, mode = line.split()[:2]
            begin, end = (int(x, 16) for x in where.split("-"))
            if mode[0] != "r" or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            mem.seek(begin)
            try:
                yield mem.read(end - begin)
            except OSError:
                pass  # a mapping behind the end of its file


def dkim_needles(pem):
    """The primes as OpenSSL keeps them and as DER has them, and a line of the file."""
    numbers = load_pem_private_key(pem, None).private_numbers()
    found = [pem.splitlines()[5]]
    for prime in (numbers.p, numbers.q):
        found += [prime.to_bytes(prime.bit_length() // 8, order) for order in ("big", "little")]
    return found


def token_needles(text):
    """The secret of the tokens as it is kept: the state of SHA-256 behind the first block of an HMAC (RFC 2104), inner and outer."""
    key = bytes.fromhex(next(line.split()[0] for line in text.splitlines() if line and line[0] != "#"))
    crypto, found = ctypes.CDLL("libcrypto.so.3"), []
    for pad in (0x36, 0x5C):
        state = ctypes.create_string_buffer(256)
        block = bytes(b ^ pad for b in key.ljust(64, b"\0"))
        crypto.SHA256_Init(state)
        crypto.SHA256_Update(state, block, ctypes.c_size_t(len(block)))
        found.append(state.raw[:32])
    return found


def ec_needles(pem):
    number = load_pem_private_key(pem, None).private_numbers().private_value
    return [number.to_bytes(32, order) for order in ("big", "little")]


class Keys(web.Case):
    people = ["u0@a.test", "u1@a.test"]

    def setUp(self):
        super().setUp()
        self.sns = played_sns.Sns(self.dir)
        self.addCleanup(self.sns.stop)
        self.relay = played_ses.Ses(self.dir, secret=RELAY_PASSWORD)
        self.addCleanup(self.relay.stop)
        self.redis = Redis(self.path("redis-x"))
        self.addCleanup(self.redis.stop)
        self.keys(dkim=True)
        self.leaf = Authority(self.dir).leaf("inbound", ["bounce.news.test"])
        self.write("redis.password", PASSWORD + "\n")
        self.write("relay.password", RELAY_PASSWORD + "\n")
        self.write("raw.secret", web.SECRET + "\n")
        self.dns(mx={})
        self.http_port, self.smtp_port = self._free_port(), self._free_port()
        self.configure(dkim=True, tls='opportunistic\n ca_file = "relay.pem"', more=(
            f'redis {{ mode = external host = "127.0.0.1" port = {self.redis.port} user = "hikyaku" password_file = "redis.password" }}\n'
            f'web {{ listen = "127.0.0.1:{self.http_port}" }}\n'
            f'inbound {{ listen = "127.0.0.1:{self.smtp_port}" certificate = "{self.leaf.certificate}" key = "{self.leaf.key}" }}\n'
            f'sns {{ topics = {{ "{played_sns.TOPIC}" }} ca_file = "sns-ca.pem" proxy = "{self.sns.proxy}" secret_file = "raw.secret" }}\n'
            f'route "*" {{ relay = "{self.relay.host}:{self.relay.port}"\n'
            f'  auth {{ user = "{played_ses.USER}" password_file = "relay.password" }} }}'))
        self.secrets = {
            "Redis' password": [PASSWORD.encode()],
            "the relay's password": [RELAY_PASSWORD.encode(),
                                     base64.b64encode(f"\0{played_ses.USER}\0{RELAY_PASSWORD}".encode())],
            "the DKIM key": dkim_needles(self.bytes_of("s1.pem")),
            "inbound's TLS key": ec_needles(self.bytes_of(self.leaf.key)),
            "the secret of the tokens": token_needles(self.bytes_of("verp.key").decode())}

    def bytes_of(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def pids(self):
        """Name -> pids of the node's processes, as they are now."""
        found = {"master": [self.node.pid]}
        for line in glob.glob("/proc/[0-9]*/cmdline"):
            pid = int(line.split("/")[2])
            try:
                with open(line, "rb") as f:
                    title = f.read().rstrip(b"\0").decode("utf-8", "replace")
                with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue  # it has ended
            if title.startswith("hikyaku: ") and (parent == self.node.pid or parent in found.get("web", [])):
                found.setdefault(title.removeprefix("hikyaku: ").rstrip("0123456789").rstrip(), []).append(pid)
        return found

    def all_run(self):
        """All of them, when all of them run and are beyond their beginning."""
        self.assertIsNone(self.node.poll(), self.finish_words())
        found = self.pids()
        if {name: len(p) for name, p in found.items()} != {"master": 1, "worker": 2, "resolver": 1, "web": 1, "web fetch": 1,
                                                           "inbound": 1}:
            return None
        return found if all(self.is_confined(found[name][0]) for name in ("web", "web fetch", "inbound")) else None

    @staticmethod
    def is_confined(pid):
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            return "Seccomp:\t2" in f.read()

    def holders(self, pids):
        """Secret -> names of the processes that have any form of it."""
        found = {secret: set() for secret in self.secrets}
        for name, those in pids.items():
            for pid in those:
                for piece in memory(pid):
                    for secret, needles in self.secrets.items():
                        if any(n in piece for n in needles):
                            found[secret].add(name)
        return found

    def copies(self):
        """Recipient -> path of his unsubscribe link, by what the relay took."""
        return {a.rcpt: email.message_from_bytes(a.message)["List-Unsubscribe"].split(">")[0].removeprefix("<https://news.test")
                for a in self.relay.accepted}

    def test_each_secret_is_where_it_belongs_and_nowhere_else(self):
        self.serve()
        wait_for(self.all_run, 60, "all processes")
        self.list(self.people)
        self.send("one")
        # Something through each of them; the master takes a token apart, so it has the secret from here on.
        self.assertEqual(self.one_click(self.copies()["u0@a.test"])[0], 200)
        wait_for(lambda: self.hikyaku("suppress", "check", "--config", self.path("hikyaku.conf"), "u0@a.test").status == 1, 60,
                 "the suppression")
        self.confirm(1)
        pids = wait_for(self.all_run, 60, "all processes")
        belongs = {"Redis' password": {"master"}, "the relay's password": {"worker"}, "the DKIM key": {"worker"},
                   "inbound's TLS key": {"inbound"}, "the secret of the tokens": {"master", "worker", "web", "inbound"}}
        self.assertEqual(self.holders(pids), belongs)
        self.assert_nothing_is_open(pids)
        # Once more, forked by a node that holds all it ever will.
        for name in ("resolver", "web", "inbound"):
            os.kill(pids[name][0], signal.SIGKILL)
        later = wait_for(lambda: self.all_others(pids), 60, "those that come after them")
        wait_for(self.answers, 60, "the web process")
        self.confirm(2)
        self.assertEqual(self.holders(later), belongs)
        self.assert_nothing_is_open(later)
        # And with a connection to Redis made anew.
        self.redis.stop()
        wait_for(lambda: "Redis is gone" in self.finish_words(), 60, "Redis to be missed")
        self.redis.start()
        wait_for(lambda: self.hikyaku("suppress", "add", "--config", self.path("hikyaku.conf"), "u1@a.test").status == 0, 60,
                 "Redis to be back")
        os.kill(later["web"][0], signal.SIGKILL)
        last = wait_for(lambda: self.all_others({"web": later["web"], "web fetch": later["web fetch"]}), 60, "another web process")
        self.assertEqual(self.holders(last), belongs)
        self.assertEqual(self.stop().status, 0)

    def all_others(self, than):
        pids = self.all_run()
        return pids if pids and all(set(pids[name]).isdisjoint(than[name]) for name in than if name in ("resolver", "web", "web fetch", "inbound")) \
            else None

    def confirm(self, count):
        """Through `web fetch`: TLS with its own list of authorities, by way of the proxy."""
        status, _, words = self.request("POST", "/sns", json.dumps(self.sns.confirmation()), {"Content-Type": "text/plain; charset=UTF-8"})
        self.assertEqual(status, 200, words)
        self.assertEqual(len([r for r in self.sns.requests if "ConfirmSubscription" in r]), count)

    def assert_nothing_is_open(self, pids):
        """Of files, the libraries and the log; no list, no shared memory, nothing of state_dir."""
        for name in ("resolver", "web", "web fetch", "inbound"):
            pid = pids[name][0]
            with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
                maps = [line.split(None, 5)[5].strip() for line in f if len(line.split(None, 5)) == 6]
            self.assertEqual([m for m in maps if self.dir in m or "segment-" in m or "region" in m or "suppress.hashes" in m], [], name)
            if name == "resolver":
                continue
            kinds = {}
            for fd in os.listdir(f"/proc/{pid}/fd"):
                path = f"/proc/{pid}/fd/{fd}"
                kinds[int(fd)] = os.readlink(path), os.stat(path).st_mode
            files = {fd: where for fd, (where, mode) in kinds.items() if fd > 2 and (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or
                                                                                   stat.S_ISBLK(mode) or stat.S_ISFIFO(mode))}
            self.assertEqual(files, {}, name)
            self.assertEqual([where for fd, (where, _) in kinds.items() if self.dir in where and not where.endswith("/stderr")], [], name)
            with open(f"/proc/{pid}/status", encoding="utf-8") as f:
                status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
            self.assertEqual((status["NoNewPrivs"], int(status["CapEff"], 16), int(status["CapPrm"], 16)), ("1", 0, 0), name)


class Names(web.Case):
    """`web fetch` looks names up as the machine does, though it may read no other file; here with a /etc/hosts of its own."""

    def setUp(self):
        super().setUp()
        self.sns = played_sns.Sns(self.dir)
        self.addCleanup(self.sns.stop)
        self.dns(mx={})
        self.http_port = self._free_port()
        proxy = self.sns.proxy.replace("127.0.0.1", "proxy.test")
        self.configure(more=f'web {{ listen = "127.0.0.1:{self.http_port}" }}\n'
                            f'sns {{ topics = {{ "{played_sns.TOPIC}" }} ca_file = "sns-ca.pem" proxy = "{proxy}" }}')
        self.hosts = self.write("hosts", "127.0.0.1 localhost proxy.test\n")
        script = 'mount --bind "$1" /etc/hosts && exec "$2" serve --config "$3"'
        with open(self.path("stderr"), "ab") as errors:
            self.node = subprocess.Popen(["unshare", "-m", "sh", "-c", script, "sh", self.hosts, os.path.join(harness.BUILD, "hikyaku"),
                                          self.path("hikyaku.conf")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                                         text=True, start_new_session=True, preexec_fn=die_with_parent)
        self.node.errors_at = 0
        self.running.append(self.node)
        wait_for(self.answers, 60, "the web process")

    def is_confirmed(self):
        try:
            return self.request("POST", "/sns", json.dumps(self.sns.confirmation()), {"Content-Type": "text/plain; charset=UTF-8"})[0] == 200
        except (OSError, http.client.HTTPException):
            return False  # it has just ended

    def test_a_name_of_etc_hosts_is_found_and_a_change_there_is_seen(self):
        before = self.status()["pids"]["web"]
        self.assertTrue(self.is_confirmed(), self.finish_words())
        self.assertEqual(len(self.sns.connects), 2)  # the certificate, and the confirmation
        self.assertEqual(self.status()["pids"]["web"], before)
        with open(self.hosts, "a", encoding="utf-8") as f:
            f.write("127.0.0.2 other.test\n")
        wait_for(self.is_confirmed, 60, "a web process that has seen it")
        self.assertNotEqual(self.status()["pids"]["web"], before)
        self.assertTrue(self.is_confirmed(), self.finish_words())
        self.assertEqual(self.stop().status, 0)


if __name__ == "__main__":
    harness.main()
