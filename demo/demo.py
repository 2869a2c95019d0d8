#!/usr/bin/python3
"""The demo: a whole campaign on this machine, through real DNS and real SMTP, and judged at the receivers.

Usage: demo.py BUILD_DIR

Makes a list, keys, a zone (NSD) and receivers (bench/sink) on loopback addresses, lets `hikyaku send` do its
work, then counts at the receivers and verifies signatures. Everything lies in one temporary directory; at the
end, on Ctrl-C and on failure, what was started is ended by its pid and the directory is removed.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import dkim
import dns.query

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "tests", "integration")]
import world  # noqa: E402
from nsd import Nsd, die_with_parent  # noqa: E402

CAMPAIGN = "november"
STORE_EVERY = 100
CONFIG = """\
hostname  = "mta1.{sender}"
state_dir = "{dir}/state"
log_level = "warning"

sender   {{ from_domain = "{sender}" return_path = "bounce.{sender}" secret_file = "verp.key"
           unsubscribe_url = "https://{sender}/unsubscribe/" list_id = "news.{sender}" }}
dkim "s1" {{ domain = "{sender}" key_file = "s1.pem" }}
resolver {{ servers = {{ "{dns}" }} }}
smtp     {{ port = {port} }}
retry    {{ schedule = {{ 5s, 10s }} give_up = 1min }}

# What these receivers tolerate; a real campaign has such figures for the real ones.
provider "default" {{ max_connections = 8 max_connection_rate = "none" rate = "none" messages_per_connection = 100 }}
provider "bigmail" {{ mx = {{ "*.bigmail.test" }} max_connections = 16 rate = "250/s" burst = 50 }}
provider "keitai"  {{ domains = {{ "keitai.test" }} max_connections = 2 rate = "6/s" messages_per_connection = 20 }}
"""
# What each receiver is like: a share greylisted, a share of unknown users, how slow.
SINKS = {
    "bigmail": ["--defer", "0.02", "--unknown", "0.01"],
    "postbox": ["--defer", "0.05", "--unknown", "0.02"],
    "yubin": ["--unknown", "0.02", "--latency", "2"],
    "keitai": ["--latency", "30", "--cap-connections", "4", "--cap-messages", "20"],
    "hosting-east": ["--defer", "0.03", "--unknown", "0.02"],
    "hosting-west": ["--unknown", "0.03"],
    "own-servers": ["--defer", "0.10", "--unknown", "0.02"],
}


def port_free_on_all(addresses):
    """A port that nobody uses on any of these addresses."""
    for port in range(2525, 3525):
        taken = False
        for address in addresses:
            with socket.socket() as s:
                taken = taken or s.connect_ex((address, port)) == 0
        if not taken:
            return port
    raise RuntimeError("no port from 2525 to 3524 is free on 127.0.0.2 to 127.0.0.9")


def addresses_of(name):
    if name in world.PROVIDERS:
        return world.PROVIDERS[name][0]
    return world.HOSTING[name][0] if name in world.HOSTING else [world.OWN_SERVERS]


class Demo:
    def __init__(self, build):
        self.hikyaku = os.path.join(build, "hikyaku")
        self.sink = os.path.join(build, "bench", "sink")
        self.dir = tempfile.mkdtemp(prefix="hikyaku-demo-")
        self.dns = None
        self.sinks = []
        self.sender = None
        self.port = port_free_on_all(world.ADDRESSES)

    def path(self, *name):
        return os.path.join(self.dir, *name)

    def run(self, *words):
        done = subprocess.run([self.hikyaku, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"hikyaku {' '.join(words)} gave {done.returncode}: {done.stderr}")
        return done.stdout

    def prepare(self):
        subprocess.run([sys.executable, os.path.join(HERE, "make_list.py"), self.path("list.csv")], check=True)
        record = self.run("keygen", "dkim", "--domain", world.SENDER, "--selector", "s1", "--out", self.path("s1.pem"))
        self.run("keygen", "verp", "--out", self.path("verp.key"))
        self.dns = Nsd({"test": world.zone([record])}).start()
        for name, options in SINKS.items():
            self.start_sink(name, options)
        with open(self.path("demo.conf"), "w", encoding="utf-8") as f:
            f.write(CONFIG.format(dir=self.dir, sender=world.SENDER, dns=self.dns.server(), port=self.port))

    def start_sink(self, name, options):
        os.mkdir(self.path(name))
        listen = [word for a in addresses_of(name) for word in ("--listen", f"{a}:{self.port}")]
        command = [self.sink, *listen, "--tls", "auto", "--quiet", "--ledger", self.path(name + ".json"), "--store",
                   self.path(name), "--store-every", str(STORE_EVERY), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
                                   start_new_session=True, preexec_fn=die_with_parent)
        self.sinks.append(process)
        for _ in addresses_of(name):
            if not process.stdout.readline().startswith("ready"):
                raise RuntimeError(f"the receiver {name} does not start")

    def send(self):
        """The command that a person would type; its progress and its report go to the terminal."""
        words = ["send", "--config", self.path("demo.conf"), "--campaign", CAMPAIGN, "--list", self.path("list.csv"),
                 "--message", os.path.join(HERE, "message.eml")]
        print("hikyaku " + " ".join(words), flush=True)
        self.sender = subprocess.Popen([self.hikyaku, *words], stdin=subprocess.DEVNULL)
        status = self.sender.wait()
        if status:
            raise RuntimeError(f"hikyaku send gave {status}")

    def check(self):
        """Count at the receivers and verify what they stored; True if all is well."""
        report = json.loads(self.run("report", "--config", self.path("demo.conf"), "--campaign", CAMPAIGN, "--json"))
        for process in self.sinks:
            process.terminate()
            process.wait(10)
        ledgers = []
        for name in SINKS:
            with open(self.path(name + ".json"), encoding="utf-8") as f:
                ledgers.append(json.load(f))
        got = sum(ledger["recipients"] for ledger in ledgers)
        twice = sum(ledger["duplicates"] for ledger in ledgers)
        valid, stored = self.verify_signatures()
        sent = report["counts"]["sent"]
        print(f"Checked at the receivers: {got:,} people have the message ({sent:,} reported as sent), {twice} got it "
              f"twice; {valid} of {stored} stored messages carry a valid DKIM signature.")
        return got == sent and twice == 0 and valid == stored and stored > 0

    def verify_signatures(self):
        valid = stored = 0
        for name in SINKS:
            for file in sorted(os.listdir(self.path(name))):
                if not file.endswith(".eml"):
                    continue
                with open(self.path(name, file), "rb") as f:
                    stored += 1
                    valid += dkim.verify(f.read(), dnsfunc=self.txt)
        return valid, stored

    def txt(self, name, timeout=5):
        """The TXT record behind a name, from the demo's own DNS: for python3-dkim."""
        question = dns.message.make_query(name.decode(), "TXT")
        answer = dns.query.udp(question, self.dns.address, timeout=timeout, port=self.dns.port).answer
        return b"".join(answer[0][0].strings) if answer else None

    def end_sender(self):
        """Ctrl-C reached it too (it drains); SIGTERM asks for the same. What outlives that is killed."""
        if self.sender is None or self.sender.poll() is not None:
            return
        self.sender.terminate()
        try:
            self.sender.wait(40)
        except subprocess.TimeoutExpired:
            self.sender.kill()
            self.sender.wait()

    def end_redis(self):
        """Only where hikyaku was killed is its Redis still there; it ends what it started otherwise."""
        with socket.socket(socket.AF_UNIX) as s:
            if s.connect_ex(self.path("state", "redis.sock")) == 0:
                s.sendall(b"SHUTDOWN NOSAVE\r\n")
                time.sleep(0.5)

    def clean_up(self):
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, signal.SIG_IGN)
        self.end_sender()
        self.end_redis()
        for process in self.sinks:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if self.dns:
            self.dns.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    demo = Demo(sys.argv[1])
    try:
        demo.prepare()
        demo.send()
        return 0 if demo.check() else 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; cleaning up", file=sys.stderr)
        return 1
    except RuntimeError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        demo.clean_up()


if __name__ == "__main__":
    sys.exit(main())
