"""The addresses we send from: IPv4 and IPv6 side by side, and the share of each.

The judge is where the event log says that each message left from, and the receivers, of which one listens on ::1.
"""
import collections
import json

import harness

EACH = 30


class Sources(harness.Case):
    def attempts(self):
        """domain -> source -> messages sent"""
        found = collections.defaultdict(collections.Counter)
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            for event in map(json.loads, f):
                if event.get("outcome") == "sent":
                    found[event["recipient"].split("@")[1]][event["source"]] += 1
        return found

    def one_worker(self, **settings):
        """Connections of a worker that starts late get nothing to do, whatever their source."""
        self.configure(**settings)
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read()
        self.write("hikyaku.conf", text.replace("workers   = 2", "workers   = 1"))

    def families(self, sources):
        """four.test has an IPv4 address, six.test an IPv6 address, both.test both."""
        slow = ("--latency-dot", "5")  # more than one connection gets something to do
        self.receiver("a", *slow)
        self.receivers.append(harness.Receiver(self.dir, "b", "[::1]", self.port, slow))
        four = self.receivers[0].address
        self.dns({"four.test": self.receivers[0]},
                 more=f"six.test. MX 10 six.mx.test.\nsix.mx.test. AAAA ::1\n"
                      f"both.test. MX 10 mx.both.test.\nmx.both.test. A {four}\nmx.both.test. AAAA ::1")
        self.one_worker(more=sources, schedule="1s", give_up="2s")
        return [f"u{n}@{domain}.test" for domain in ("four", "six", "both") for n in range(EACH)]

    def test_a_source_connects_to_addresses_of_its_own_kind(self):
        people = self.families(f'source "v4" {{ address = "127.{self.net}.9.1" }}\nsource "v6" {{ address = "::1" }}')
        self.send(rows=people)
        self.judge_exact(people)
        sent = self.attempts()
        self.assertEqual(sent["four.test"], {"v4": EACH})
        self.assertEqual(sent["six.test"], {"v6": EACH})
        self.assertEqual(set(sent["both.test"]), {"v4", "v6"})
        came = [receiver.taken() for receiver in self.receivers]
        self.assertEqual([sum(who.endswith("@both.test") for who in of) for of in came],
                         [sent["both.test"]["v4"], sent["both.test"]["v6"]])

    def test_whom_no_source_can_reach_waits_and_is_told_why(self):
        people = self.families('source "v6" { address = "::1" }')
        self.send(rows=people)
        self.assertEqual({domain: dict(of) for domain, of in self.attempts().items()},
                         {"six.test": {"v6": EACH}, "both.test": {"v6": EACH}})
        counts = self.report()["counts"]
        self.assertEqual((counts["sent"], counts["expired"]), (2 * EACH, EACH))
        with open(self.path("state", "events.jsonl"), encoding="utf-8") as f:
            self.assertIn("it has IPv4 addresses alone, and no source has one", f.read())

    def test_without_a_source_it_is_ipv4(self):
        people = [who for who in self.families("") if not who.endswith("@six.test")]
        self.send(rows=people)
        self.judge_exact(people)
        self.assertEqual(sum(self.receivers[1].taken().values()), 0)

    def weights(self, connections):
        self.one_worker(connections=connections, more=f"""source "one" {{ address = "127.{self.net}.9.1" }}
            source "two" {{ address = "127.{self.net}.9.2" }}
            source "none" {{ address = "127.{self.net}.9.3" }}
            pool "main" {{ sources = {{ "one", "two" }} weights = {{ 3, 1 }} }}
            provider "few" {{ domains = {{ "one.test" }} messages_per_connection = 5 max_connections = {connections} }}""")

    def test_a_pool_gives_each_source_its_share(self):
        self.receiver("a", "--latency-dot", "2")
        self.dns({"one.test": self.receivers[0]})
        self.weights(connections=400)  # at its limits a source holds nobody up, and shares are equal
        people = [f"u{n}@one.test" for n in range(1200)]
        self.send(rows=people)
        self.judge_exact(people)
        sent = self.attempts()["one.test"]
        self.assertEqual(set(sent), {"one", "two"})
        self.assertAlmostEqual(sent["one"] / 1200, 0.75, delta=0.08, msg=sent)

    def test_a_share_holds_over_domains_of_one_recipient_too(self):
        receivers = [self.receiver(f"r{n}") for n in range(4)]
        domains = [f"d{n}" for n in range(400)]
        more = "\n".join(f"{d}.test. MX 10 {d}.mx.test.\n{d}.mx.test. A {receivers[n % 4].address}" for n, d in enumerate(domains))
        self.dns({}, more=more)
        self.weights(connections=5)
        people = [f"u@{d}.test" for d in domains]
        self.send(rows=people)
        self.judge_exact(people)
        sent = sum(self.attempts().values(), collections.Counter())
        self.assertAlmostEqual(sent["one"] / 400, 0.75, delta=0.11, msg=sent)  # five standard deviations


if __name__ == "__main__":
    harness.main()
