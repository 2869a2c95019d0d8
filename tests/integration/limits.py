"""What a receiver tolerates is kept, and made use of; judged by the receiver's own log."""
import collections
import json

import harness

RATE, BURST, CONNECTIONS, NTH = 50, 10, 3, 20
LIMITS = f"""
provider "strict" {{ mx = {{ "*.mx.test" }} max_connections = {CONNECTIONS} rate = "{RATE}/s" burst = {BURST}
                    messages_per_connection = {NTH} }}
"""


class Limits(harness.Case):
    def test_rate_burst_connections_and_messages_per_connection_hold_in_every_window(self):
        strict = self.receiver("strict", "--log-mail", "--latency", "5")
        self.dns({d: strict for d in ("a.test", "b.test", "c.test")})
        self.configure(more=LIMITS)
        people = [f"u{n}@{d}" for n in range(150) for d in ("a.test", "b.test", "c.test")]
        report = json.loads(self.send(rows=people, more=["--json"]).out)
        self.stop_receivers()

        self.assertEqual(report["counts"]["sent"], len(people))
        self.assertEqual(strict.taken(), {p: 1 for p in people})
        self.check_rate([s.time_us for s in strict.log("mail")])
        self.check_connections(strict)
        per_connection = collections.Counter(s.connection for s in strict.log("accepted", "ambiguous"))
        self.assertLessEqual(max(per_connection.values()), NTH)

    def test_one_mx_set_of_a_provider_does_not_wait_for_the_idle_connections_of_another(self):
        """Each domain has hosts of its own (as at Microsoft), and the provider takes one connection at a time."""
        domains = [f"d{n}.test" for n in range(12)]
        one = self.receiver("one", "--log-mail")
        self.dns({}, more="".join(f"{d}. MX 10 h{n}.mx.test.\nh{n}.mx.test. A {one.address}\n"
                                  for n, d in enumerate(domains)))
        self.configure(more='provider "one" { mx = { "*.mx.test" } max_connections = 1 rate = "none" }\n')
        people = [f"u{n}@{d}" for d in domains for n in range(2)]
        self.send(rows=people)
        self.stop_receivers()
        self.assertEqual(one.taken(), {p: 1 for p in people})
        times = [s.time_us for s in one.log("mail")]
        self.assertLess((max(times) - min(times)) / 1e6, 40)  # each would idle for 5 s
        self.assertEqual(len({s.connection for s in one.log("mail")}), len(domains))

    def check_rate(self, times):
        """At most r x w + b in any window of w seconds; c more for what is on its way (design 8)."""
        times.sort()
        worst = 0
        for i, first in enumerate(times):
            for j in range(i, len(times)):
                allowed = RATE * (times[j] - first) / 1e6 + BURST + CONNECTIONS
                worst = max(worst, (j - i + 1) - allowed)
        self.assertLessEqual(worst, 0, f"{worst} messages too many in a window")
        seconds, ideal = (times[-1] - times[0]) / 1e6, (len(times) - BURST) / RATE
        print(f"{len(times)} messages in {seconds:.2f} s; the limit allows {ideal:.2f} s")
        self.assertLess(seconds, ideal * 1.5 + 1)  # and the allowance is used

    def check_connections(self, receiver):
        """A connection counts until our socket is closed; the close takes up to 100 ms to arrive."""
        events = [(s.time_us, 1) for s in receiver.log("connect")]
        events += [(s.time_us - 100_000, -1) for s in receiver.log("disconnect")]
        now = most = 0
        for _, step in sorted(events, key=lambda e: (e[0], e[1])):
            now += step
            most = max(most, now)
        print(f"{most} connections at a time of {CONNECTIONS}")
        self.assertLessEqual(most, CONNECTIONS)
        self.assertGreater(most, 0)


if __name__ == "__main__":
    harness.main()
