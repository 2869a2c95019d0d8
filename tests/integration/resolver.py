#!/usr/bin/python3
"""The resolver process against a real NSD: every rule of resolve.h, thousands at once, servers that never answer.

Usage: resolver.py BUILD_DIR [unittest arguments]
"""
import collections
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import dns.message
import dns.rdatatype

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import nsd  # noqa: E402
import zones  # noqa: E402

ASK = None  # the helper program, set by main

MANY = 5000
SHARED = 500

ZONE = """
two MX 20 mx2
two MX 10 mx1
mx1 60 A 127.0.0.11
mx2 900 A 127.0.0.12
eq MX 10 e1
eq MX 10 e2
eq MX 10 e3
eq MX 10 e4
e1 A 127.0.1.1
e2 A 127.0.1.2
e3 A 127.0.1.3
e4 A 127.0.1.4
fallback A 127.0.0.20
text TXT "neither MX nor A"
null MX 0 .
notnull MX 0 .
notnull MX 10 mx1
alias CNAME two
dangling CNAME nowhere
mxalias MX 10 aliasmx
aliasmx 50 CNAME mx2
gone MX 10 nowhere
gone MX 20 text
gone A 127.0.0.66
half MX 10 nowhere
half MX 20 mx1
mixed MX 10 nowhere
mixed MX 20 mx.broken
brokenmx MX 10 mx.broken
brokenmx MX 20 mx1
odd MX 10 under_score
odd MX 20 sp\\032ace
odd MX 30 mx1
allodd MX 10 sp\\032ace
allodd A 127.0.0.66
under_score A 127.0.0.30
dual MX 10 dualmx
dualmx A 127.0.0.40
dualmx AAAA 2001:db8::40
sixonly MX 10 sixmx
sixmx AAAA 2001:db8::41
brief 1 MX 10 briefmx
briefmx 1 A 127.0.0.50
long MX 10 longmx
long2 999999 MX 10 longmx
longmx 999999 A 127.0.0.51
loop1 CNAME loop2
loop2 CNAME loop1
xn--eckwd4c7c MX 10 mx1
slow MX 10 mx1
slow MX 20 mx.hole
twin MX 10 mx1
twin MX 20 mx1
""" + "".join(f"big MX {100 - i} bigmx{i}\nbigmx{i} A 127.0.3.{i}\n" for i in range(80)) \
    + "".join(f"fat A 127.0.4.{i}\n" for i in range(40)) + "fatmx MX 10 fat\nfatmx MX 20 mx2\n" \
    + "".join(f"d{i} MX 10 m{i % SHARED}\n" for i in range(MANY)) \
    + "".join(f"m{i} A 127.1.{i // 256}.{i % 256}\n" for i in range(SHARED)) \
    + "".join(f"roll{i} MX 10 e{k}\n" for i in range(300) for k in (1, 2, 3, 4))


def ask(server, questions, *options):
    """(answers in order of arrival, totals). `questions`: "mx NAME" and the like."""
    servers = [server] if isinstance(server, str) else server
    command = [ASK] + [word for s in servers for word in ("--server", s)] + list(options)
    done = subprocess.run(command, input="".join(q + "\n" for q in questions), capture_output=True, text=True,
                          timeout=110)
    if done.returncode:
        raise AssertionError(f"resolve_ask gives {done.returncode}: {done.stderr}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    lines[-1]["stderr"] = done.stderr
    return lines[:-1], lines[-1]


class BlackHole(threading.Thread):
    """A UDP port where questions arrive and nothing ever comes back. `names` are those that came (wire format)."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.2)
        self.server = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.names = set()
        self.over = False

    def run(self):
        while not self.over:
            try:
                packet = self.socket.recv(65535)
            except socket.timeout:
                continue
            self.names.add(packet[12:packet.index(b"\0", 12)])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.over = True
        self.join()
        self.socket.close()


class HoleyProxy(threading.Thread):
    """Hands DNS questions on to a server, but those whose name has the given label are lost; so is everything in the
    first `deaf_s` seconds after the first question."""

    def __init__(self, server, label=None, deaf_s=0):
        super().__init__(daemon=True)
        host, port = server.split(":")
        self.behind = (host, int(port))
        self.label = bytes([len(label)]) + label.encode() if label else None
        self.deaf_s = deaf_s
        self.first = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.2)
        self.over = False
        self.server = f"127.0.0.1:{self.socket.getsockname()[1]}"

    def lost(self, packet):
        self.first = self.first or time.monotonic()
        if time.monotonic() - self.first < self.deaf_s:
            return True
        return self.label is not None and self.label in packet

    def run(self):
        while not self.over:
            try:
                packet, asker = self.socket.recvfrom(65535)
            except socket.timeout:
                continue
            if self.lost(packet):
                continue
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                out.settimeout(2)
                out.sendto(packet, self.behind)
                self.socket.sendto(out.recv(65535), asker)

    def __enter__(self):
        self.start()
        return self.server

    def __exit__(self, *exception):
        self.over = True
        self.join()
        self.socket.close()


class Rules(unittest.TestCase):
    """One NSD for all; every question of `answers` is asked at once, as the master would."""

    questions = ["mx two.test", "mx TWO.Test", "mx fallback.test", "mx text.test", "mx null.test", "mx notnull.test",
                 "mx alias.test", "mx dangling.test", "mx mxalias.test", "mx gone.test", "mx half.test",
                 "mx mixed.test", "mx brokenmx.test", "mx broken.test", "mx elsewhere.example", "mx nowhere.test",
                 "mx odd.test", "mx allodd.test", "mx dual.test", "mx6 dual.test", "mx sixonly.test",
                 "mx6 sixonly.test", "mx brief.test", "mx long.test", "mx long2.test", "mx loop1.test",
                 "mx xn--eckwd4c7c.test", "mx twin.test", "mx big.test", "mx fatmx.test", "host mx1.test",
                 "host6 dualmx.test", "host nowhere.test", "host text.test", "host broken.test", "host 127.0.0.5",
                 "host6 ::1", "host localhost", "mx a..b"]

    @classmethod
    def setUpClass(cls):
        cls.dns = nsd.Nsd({"test": ZONE}, servfail=["broken.test"]).start()
        cls.addClassCleanup(cls.dns.stop)
        # one at a time, so that answers come in the order of the questions
        answers, cls.totals = ask(cls.dns.server(), cls.questions, "--window", "1")
        cls.answers = dict(zip(cls.questions, answers))

    def expect(self, question, status, hosts=None, ips=None, ttl=None, words=None):
        a = self.answers[question]
        self.assertEqual(a["status"], status, a)
        if hosts is not None:
            self.assertEqual([tuple(h) for h in a["hosts"]], hosts, a)
        if ips is not None:
            self.assertEqual([x["ip"] for x in a["addresses"]], ips, a)
        if ttl is not None:  # a second may have passed in the cache
            self.assertIn(a["ttl"], (ttl, ttl - 1, ttl - 2), a)
        if words is not None:
            self.assertIn(words, a["words"])
        if status != "ok":
            self.assertEqual((a["hosts"], a["addresses"]), ([], []))
            self.assertNotEqual(a["words"], "")

    def test_hosts_come_by_preference_with_the_smallest_ttl(self):
        for name in ("two.test", "TWO.Test"):
            self.expect(f"mx {name}", "ok", [(10, "mx1.test"), (20, "mx2.test")], ["127.0.0.11", "127.0.0.12"], 60)

    def test_without_mx_the_a_record_serves(self):
        self.expect("mx fallback.test", "ok", [(0, "fallback.test")], ["127.0.0.20"], 300)
        self.expect("mx text.test", "no_address", words="neither MX nor address")

    def test_a_null_mx_is_final_and_a_root_among_others_is_skipped(self):
        """RFC 7505"""
        self.expect("mx null.test", "null_mx", ttl=300)
        self.expect("mx notnull.test", "ok", [(10, "mx1.test")])

    def test_cnames_are_followed(self):
        """RFC 5321 5.1"""
        self.expect("mx alias.test", "ok", [(10, "mx1.test"), (20, "mx2.test")])
        self.expect("mx mxalias.test", "ok", [(10, "aliasmx.test")], ["127.0.0.12"], 50)
        self.expect("mx dangling.test", "nxdomain")
        self.expect("mx loop1.test", "temporary")

    def test_nxdomain_is_told_from_a_server_that_fails(self):
        """RFC 5321 5.1"""
        self.expect("mx nowhere.test", "nxdomain", ttl=300)
        self.expect("mx broken.test", "temporary", words="SERVFAIL for MX of broken.test")
        self.expect("mx elsewhere.example", "temporary")

    def test_mx_hosts_without_an_address_are_skipped(self):
        self.expect("mx half.test", "ok", [(20, "mx1.test")], words="1 of 2 MX hosts have no address")

    def test_unusable_mx_never_lead_to_the_a_fallback(self):
        """RFC 5321 5.1"""
        self.expect("mx gone.test", "no_address", words="MX nowhere.test has no address")
        self.expect("mx allodd.test", "no_address", words="usable host name")

    def test_a_failed_look_up_among_addressless_hosts_is_temporary(self):
        self.expect("mx mixed.test", "temporary", words="SERVFAIL for A of mx.broken.test")
        self.expect("mx brokenmx.test", "ok", [(20, "mx1.test")], ttl=60)

    def test_host_names_are_checked(self):
        self.expect("mx odd.test", "ok", [(10, "under_score.test"), (30, "mx1.test")])
        self.expect("mx a..b", "nxdomain", words="no domain name")
        self.expect("mx xn--eckwd4c7c.test", "ok", [(10, "mx1.test")])

    def test_a_host_listed_twice_is_one_host(self):
        self.expect("mx twin.test", "ok", [(10, "mx1.test")], ["127.0.0.11"])

    def test_ipv6_comes_second_and_only_when_asked_for(self):
        self.expect("mx dual.test", "ok", ips=["127.0.0.40"])
        self.expect("mx6 dual.test", "ok", ips=["127.0.0.40", "2001:db8::40"])
        self.expect("mx sixonly.test", "no_address")
        self.expect("mx6 sixonly.test", "ok", ips=["2001:db8::41"])

    def test_ttls_are_held_between_half_a_minute_and_a_day(self):
        self.expect("mx brief.test", "ok", ttl=30)
        self.expect("mx long.test", "ok", ttl=300)
        self.expect("mx long2.test", "ok", ttl=86400)

    def test_a_large_answer_comes_by_tcp_and_is_cut_to_the_best_hosts(self):
        self.expect("mx big.test", "ok", [(100 - i, f"bigmx{i}.test") for i in range(79, 63, -1)])
        self.assertEqual(len(self.answers["mx big.test"]["addresses"]), 16)

    def test_many_addresses_of_one_host_leave_room_for_the_next(self):
        hosts = [x["host"] for x in self.answers["mx fatmx.test"]["addresses"]]
        self.assertEqual(hosts, ["fat.test"] * 15 + ["mx2.test"])

    def test_a_relay_needs_only_addresses(self):
        self.expect("host mx1.test", "ok", [(0, "mx1.test")], ["127.0.0.11"], 60)
        self.expect("host6 dualmx.test", "ok", ips=["127.0.0.40", "2001:db8::40"])
        self.expect("host nowhere.test", "nxdomain")
        self.expect("host text.test", "no_address", words="text.test has no address")
        self.expect("host broken.test", "temporary")
        self.expect("host 127.0.0.5", "ok", ips=["127.0.0.5"])
        self.expect("host6 ::1", "ok", ips=["::1"])
        self.expect("host localhost", "ok", ips=["127.0.0.1"])

    def test_every_question_was_answered_and_the_process_ended_well(self):
        self.assertEqual(self.totals["answered"], len(self.questions))
        self.assertEqual(self.totals["exit"], 0, self.totals)

    def test_equal_preference_comes_in_random_order(self):
        """RFC 5321 5.1"""
        answers, _ = ask(self.dns.server(), ["mx eq.test"] * 400)
        first = collections.Counter(a["hosts"][0][1] for a in answers)
        orders = {tuple(h[1] for h in a["hosts"]) for a in answers}
        self.assertEqual(len(orders), 24, "400 draws of 24 orders")
        for host in ("e1.test", "e2.test", "e3.test", "e4.test"):
            self.assertTrue(50 <= first[host] <= 150, first)
        for a in answers:  # hosts of one preference take turns, so the first addresses are of different hosts
            self.assertEqual([x["host"] for x in a["addresses"]], [h[1] for h in a["hosts"]])

    def test_domains_with_one_mx_set_give_the_same_hosts(self):
        answers, _ = ask(self.dns.server(), [f"mx roll{i}.test" for i in range(300)])
        sets = collections.Counter(tuple(sorted(h[1] for h in a["hosts"])) for a in answers)
        self.assertEqual(sets, {("e1.test", "e2.test", "e3.test", "e4.test"): 300})

    def test_thousands_of_questions_at_once_are_answered_rightly(self):
        answers, totals = ask(self.dns.server(), [f"mx d{i}.test" for i in range(MANY)])
        self.assertEqual((totals["answered"], totals["exit"]), (MANY, 0), totals)
        for a in answers:
            m = int(a["name"][1:-5]) % SHARED
            self.assertEqual(a["hosts"], [[10, f"m{m}.test"]])
            self.assertEqual([x["ip"] for x in a["addresses"]], [f"127.1.{m // 256}.{m % 256}"])
        print(f"{MANY} domains, {SHARED} MX hosts: {MANY * 1000 // max(totals['ms'], 1)} questions/s, up to "
              f"{totals['most_open']} open, {totals['cpu_ms']} ms of processor, {totals['rss_kb'] // 1024} MB",
              file=sys.stderr)


class Silence(unittest.TestCase):
    """DNS servers that do not answer, or not at first."""

    def test_a_server_that_never_answers_is_temporary_at_the_deadline(self):
        with BlackHole() as hole:
            answers, totals = ask(hole.server, [f"mx d{i}.test" for i in range(300)], "--deadline", "1500")
        self.assertEqual((totals["answered"], totals["exit"]), (300, 0), totals)
        for a in answers:
            self.assertEqual(a["status"], "temporary")
            self.assertEqual(a["words"], f"no answer from DNS within 1.5 s for MX of {a['name']}")
            self.assertTrue(1400 <= a["ms"] <= 10000, a)

    def test_thousands_of_look_ups_are_under_way_together(self):
        with BlackHole() as hole:
            ask(hole.server, [f"mx d{i}.test" for i in range(4096)], "--deadline", "5000")
        print(f"{len(hole.names)} of 4096 questions reached a server that answers none", file=sys.stderr)
        self.assertGreater(len(hole.names), 3500)

    def test_more_questions_than_may_be_open_wait_their_turn(self):
        with BlackHole() as hole:
            answers, totals = ask(hole.server, [f"mx d{i}.test" for i in range(12000)], "--deadline", "700")
        # Three goes of 4,096 at most. By the third, libunbound holds all the look-ups it may (8,192, given up one by one
        # long after their questions), so those wait in line and are never asked.
        self.assertEqual((totals["answered"], totals["exit"]), (12000, 0), totals)
        self.assertEqual({a["status"] for a in answers}, {"temporary"})
        self.assertTrue(2000 <= totals["ms"] <= 60000, totals)
        self.assertLess(totals["most_open"], 6000)

    def test_the_process_ends_when_the_master_hangs_up(self):
        with BlackHole() as hole:
            _, totals = ask(hole.server, [f"mx d{i}.test" for i in range(300)], "--hang-up")
        self.assertEqual((totals["exit"], totals["asked"]), (0, 300), totals)
        self.assertLess(totals["end_ms"], 5000)

    def test_what_has_come_by_the_deadline_is_used(self):
        with nsd.Nsd({"test": ZONE}) as dns, HoleyProxy(dns.server(), "hole") as proxy:
            answers, _ = ask(proxy, ["mx slow.test"], "--deadline", "1500")
        self.assertEqual((answers[0]["status"], answers[0]["hosts"]), ("ok", [[10, "mx1.test"]]))
        self.assertIn("no answer from DNS within 1.5 s for A of mx.hole.test", answers[0]["words"])

    def test_a_server_that_was_away_for_a_while_is_used_again(self):
        with nsd.Nsd({"test": ZONE}) as dns, HoleyProxy(dns.server(), deaf_s=4) as proxy:
            answers, _ = ask(proxy, [f"mx d{i}.test" for i in range(20)], "--deadline", "15000")
        self.assertEqual({a["status"] for a in answers}, {"ok"}, answers)

    def test_one_server_of_two_is_enough(self):
        with nsd.Nsd({"test": ZONE}) as dns, BlackHole() as hole:
            answers, _ = ask([hole.server, dns.server()], [f"mx d{i}.test" for i in range(200)], "--deadline", "15000")
        self.assertEqual(collections.Counter(a["status"] for a in answers), {"ok": 200})


class Asked(HoleyProxy):
    """Notes what is asked for."""

    def __init__(self, server):
        super().__init__(server)
        self.questions = []

    def lost(self, packet):
        question = dns.message.from_wire(packet).question[0]
        self.questions.append((dns.rdatatype.to_text(question.rdtype), question.name.to_text(omit_final_dot=True)))
        return False


class Spared(unittest.TestCase):
    """What does not have to be asked is not asked."""

    zone = ("inside MX 10 mx.inside\nmx.inside A 127.0.0.41\noutside MX 10 mx1\nmx1 A 127.0.0.11\n"
            '_smtp._tls.inside TXT "v=TLSRPTv1; rua=mailto:tls@inside.test"\n')

    def asked(self, *options):
        with nsd.Nsd({"test": self.zone}) as server:
            proxy = Asked(server.server())
            with proxy as to:
                answers, _ = ask(to, ["mx inside.test", "mx outside.test"], "--window", "1", *options)
        self.assertEqual([a["status"] for a in answers], ["ok", "ok"])
        self.assertEqual([[x["ip"] for x in a["addresses"]] for a in answers], [["127.0.0.41"], ["127.0.0.11"]])
        return [a["sts"]["rua"] for a in answers], sorted(proxy.questions)

    def test_without_tls_nothing_is_asked_about_it_and_addresses_beside_the_mx_serve(self):
        rua, questions = self.asked("--plain")
        self.assertEqual(rua, ["", ""])
        self.assertEqual(questions, [("A", "mx1.test"), ("MX", "inside.test"), ("MX", "outside.test")])

    def test_with_tls_the_domain_is_asked_what_it_says_of_it(self):
        rua, questions = self.asked()
        self.assertEqual(rua, ["mailto:tls@inside.test", ""])
        self.assertEqual(questions, [("A", "mx1.test"), ("MX", "inside.test"), ("MX", "outside.test")] + [
            ("TXT", f"{label}.{domain}.test") for label in ("_mta-sts", "_smtp._tls") for domain in ("inside", "outside")])


class Start(unittest.TestCase):
    def test_a_forwarder_that_is_no_address_ends_the_process_with_a_word(self):
        _, totals = ask("dns.example:53", ["mx a.test"])
        self.assertEqual((totals["exit"], totals["answered"]), (2, 0), totals)
        self.assertIn('"dns.example" is no address', totals["stderr"])

    def test_a_trust_anchor_that_is_not_there_ends_the_process_with_a_word(self):
        _, totals = ask("127.0.0.1:1", ["mx a.test"], "--anchor", "/nowhere/anchor")
        self.assertEqual((totals["exit"], totals["answered"]), (2, 0), totals)
        self.assertIn("trust_anchor_file: /nowhere/anchor: No such file", totals["stderr"])


# a to m.root-servers.net, as in libunbound's built-in hints
ROOT_SERVERS = ["198.41.0.4", "199.9.14.201", "192.33.4.12", "199.7.91.13", "192.203.230.10", "192.5.5.241",
                "192.112.36.4", "198.97.190.53", "192.36.148.17", "192.58.128.30", "193.0.14.129", "199.7.83.42",
                "202.12.27.33"]


def recursion_child():
    """In a network namespace of its own: the root servers' addresses are on the loopback device, and what listens
    there is an NSD that delegates test to another. Prints the answers of a resolver that has no forwarder."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in ROOT_SERVERS:
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    root = (f"$TTL 300\n@ SOA a.root-servers.net. h. 1 3600 600 86400 300\n@ NS a.root-servers.net.\n"
            f"a.root-servers.net. A {ROOT_SERVERS[0]}\ntest. NS ns.test.\nns.test. A 127.0.0.53\n")
    test = "$TTL 300\n@ SOA ns h 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.53\n" + ZONE
    with nsd.Nsd({".": root}, address=ROOT_SERVERS, port=53), nsd.Nsd({"test": test}, address="127.0.0.53", port=53):
        answers, _ = ask([], ["mx two.test", "mx nowhere.test", "mx a.nosuchtld", "mx d7.test"], "--window", "1")
    print(json.dumps(answers))


class OwnAddress(unittest.TestCase):
    def test_an_mx_at_an_address_of_an_interface_is_this_host(self):
        """RFC 5321 5.1: whatever it is called; what is on loopback is a receiver as any other."""
        if subprocess.run(["unshare", "-n", "ip", "link"], capture_output=True).returncode:
            self.skipTest("no network namespace may be made here")
        done = subprocess.run(["unshare", "-n", sys.executable, os.path.abspath(__file__), sys.argv[1], "own-child"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        some, all_, alone, six, loopback = json.loads(done.stdout)
        self.assertEqual((some["status"], some["hosts"]), ("ok", [[10, "better.test"]]))
        self.assertEqual([a["status"] for a in (all_, alone, six)], ["own_host"] * 3, (all_, alone, six))
        self.assertEqual((loopback["status"], loopback["hosts"]), ("ok", [[10, "onlo.test"]]))


OWN_ZONE = """
some MX 10 better
some MX 20 ours
some MX 30 better2
better A 127.0.0.11
better2 A 127.0.0.12
ours A 10.99.0.1
all MX 10 ours
all MX 20 better
alone A 10.99.0.1
six MX 10 oursix
oursix AAAA fd00:99::1
loopback MX 10 onlo
onlo A 10.98.0.1
"""


def own_child():
    """In a namespace of its own: an interface with addresses, and one more address on loopback."""
    for command in ("link set lo up", "addr add 10.98.0.1/32 dev lo", "link add a0 type veth peer name b0",
                    "addr add 10.99.0.1/24 dev a0", "addr add fd00:99::1/64 dev a0 nodad", "link set a0 up"):
        subprocess.run(["ip", *command.split()], check=True)
    server = nsd.Nsd({"test": OWN_ZONE}).start()
    try:
        questions = ["mx some.test", "mx all.test", "mx alone.test", "mx6 six.test", "mx loopback.test"]
        answers, _ = ask(server.server(), questions, "--window", "1")
        print(json.dumps(answers))
    finally:
        server.stop()


class Recursion(unittest.TestCase):
    def test_without_forwarders_names_are_found_from_the_root(self):
        if subprocess.run(["unshare", "-n", "ip", "link"], capture_output=True).returncode:
            self.skipTest("no network namespace may be made here")
        done = subprocess.run(["unshare", "-n", sys.executable, os.path.abspath(__file__), sys.argv[1],
                               "recursion-child"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        two, nowhere, tld, d7 = json.loads(done.stdout)
        self.assertEqual((two["status"], two["hosts"]), ("ok", [[10, "mx1.test"], [20, "mx2.test"]]))
        self.assertEqual(nowhere["status"], "nxdomain", nowhere)
        self.assertEqual(tld["status"], "nxdomain", tld)
        self.assertEqual((d7["status"], d7["hosts"]), ("ok", [[10, "m7.test"]]))


def signed_zone(origin):
    """(zone text, trust anchor text): good.ORIGIN is signed rightly, forged.ORIGIN was changed after signing."""
    import dns.dnssec
    import dns.name
    import dns.rrset
    from cryptography.hazmat.primitives.asymmetric import ec
    key = ec.generate_private_key(ec.SECP256R1())
    dnskey = dns.dnssec.make_dnskey(key.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
    apex = dns.name.from_text(origin)

    def signed(name, kind, *values):
        rrset = dns.rrset.from_text(f"{name}." if name.endswith(origin) else f"{name}.{origin}.", 300, "IN", kind,
                                    *values)
        signature = dns.dnssec.sign(rrset, key, apex, dnskey, lifetime=86400)
        return rrset.to_text() + f"\n{rrset.name} 300 IN RRSIG {signature.to_text()}\n"
    text = signed(origin, "SOA", f"ns.{origin}. h.{origin}. 1 3600 600 86400 300")
    text += signed(origin, "NS", f"ns.{origin}.") + signed("ns", "A", "127.0.0.1")
    text += signed(origin, "DNSKEY", dnskey.to_text())
    text += signed("good", "MX", f"10 mx.{origin}.") + signed("mx", "A", "127.0.0.9")
    text += signed("forged", "MX", f"10 mx.{origin}.").replace(f"MX 10 mx.{origin}.", "MX 10 evil.example.")
    return text, f"{origin}. 300 IN DNSKEY {dnskey.to_text()}\n"


class Dnssec(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        try:
            zone, anchor = signed_zone("signed.test")
        except ImportError as e:
            raise unittest.SkipTest(f"no python3-cryptography to sign a zone with: {e}")
        cls.dns = nsd.Nsd({"signed.test": zone, "plain.test": "a MX 10 mx.signed.test.\n"}).start()
        cls.addClassCleanup(cls.dns.stop)
        with tempfile.NamedTemporaryFile("w", suffix=".key") as file:
            file.write(anchor)
            file.flush()
            questions = ["mx good.signed.test", "mx forged.signed.test", "mx a.plain.test"]
            answers, _ = ask(cls.dns.server(), questions, "--window", "1", "--anchor", file.name)
        cls.good, cls.forged, cls.plain = answers

    def test_a_signed_zone_is_secure_and_another_is_not(self):
        self.assertEqual((self.good["status"], self.good["secure"]), ("ok", True), self.good)
        self.assertEqual((self.plain["status"], self.plain["secure"]), ("ok", False), self.plain)

    def test_a_forged_record_is_temporary_and_says_so(self):
        self.assertEqual(self.forged["status"], "temporary", self.forged)
        self.assertIn("validation failure", self.forged["words"])


EE = "3 1 1 " + "ab" * 32
DANE_ZONE = f"""
good MX 10 mx1
good MX 20 mx2
mx1 A 127.0.0.1
mx2 A 127.0.0.2
_25._tcp.mx1 TLSA {EE}
_25._tcp.mx1 TLSA 2 0 2 {"cd" * 64}
forged MX 10 mx3
mx3 A 127.0.0.3
_25._tcp.mx3 TLSA {EE}
unusable MX 10 mx4
mx4 A 127.0.0.4
_25._tcp.mx4 TLSA 1 1 1 {"ab" * 32}
alias MX 10 mx5
mx5 CNAME mx1
out MX 10 mx6
mx6 CNAME mx.plain.test.
_25._tcp.mx6 TLSA {EE}
outside MX 10 mx.plain.test.
plain NS ns.plain
many MX 10 mx7
mx7 A 127.0.0.7
""" + "".join(f"_25._tcp.mx7 TLSA 3 1 1 {i:064x}\n" for i in range(40))


class Dane(unittest.TestCase):
    """RFC 7672 2.1, 2.2 with libunbound and zones that are really signed."""

    @classmethod
    def setUpClass(cls):
        text, anchor = zones.signed("test", DANE_ZONE)
        text = zones.forged(text, "_25._tcp.mx3.test", "TLSA", "3 1 1 ab", "3 1 1 00")
        plain = f"mx A 127.0.0.6\n_25._tcp.mx TLSA {EE}\na MX 10 mx1.test.\n"
        names = ["good.test", "forged.test", "unusable.test", "alias.test", "out.test", "outside.test", "many.test",
                 "a.plain.test"]
        with nsd.Nsd({"test": text, "plain.test": plain}) as dns, tempfile.NamedTemporaryFile("w") as file:
            file.write(anchor)
            file.flush()
            answers, _ = ask(dns.server(), [f"mx {n}" for n in names], "--anchor", file.name, "--tlsa", "25")
            cls.other, _ = ask(dns.server(), ["mx good.test"], "--anchor", file.name, "--tlsa", "26")
        cls.dane = {a["name"]: a["dane"] for a in answers}
        cls.words = {a["name"]: a["words"] for a in answers}

    def test_each_host_has_the_records_of_its_port(self):
        (state, base, records), second = self.dane["good.test"]
        self.assertEqual((state, base, sorted(records)), ("usable", "mx1.test", ["2 0 2 64", "3 1 1 32"]))
        self.assertEqual(second, ["none", "mx2.test", []])
        self.assertEqual([host[0] for host in self.other[0]["dane"]], ["none", "none"])

    def test_a_forged_record_makes_the_host_fail(self):
        self.assertEqual(self.dane["forged.test"], [["failed", "mx3.test", []]])
        self.assertIn("TLSA of _25._tcp.mx3.test", self.words["forged.test"])

    def test_unusable_is_not_none(self):
        self.assertEqual(self.dane["unusable.test"], [["unusable", "mx4.test", []]])

    def test_an_alias_has_the_records_of_its_end_or_its_own(self):
        self.assertEqual([host[:2] for host in self.dane["alias.test"]], [["usable", "mx1.test"]])
        self.assertEqual([host[:2] for host in self.dane["out.test"]], [["usable", "mx6.test"]])

    def test_without_signatures_records_count_for_nothing(self):
        self.assertEqual(self.dane["outside.test"], [["none", "mx.plain.test", []]])
        self.assertEqual(self.dane["a.plain.test"], [["none", "mx1.test", []]])

    def test_records_beyond_the_bound_are_left_out(self):
        (state, _, records), = self.dane["many.test"]
        self.assertEqual((state, len(records)), ("usable", 8))


def main():
    global ASK
    if len(sys.argv) < 2:
        sys.exit("usage: resolver.py BUILD_DIR [unittest arguments]")
    ASK = os.path.join(sys.argv[1], "resolve", "resolve_ask")
    if sys.argv[2:] == ["recursion-child"]:
        return recursion_child()
    if sys.argv[2:] == ["own-child"]:
        return own_child()
    return unittest.main(argv=[sys.argv[0]] + sys.argv[2:])


if __name__ == "__main__":
    main()
