"""On which workers the connections of one site live: on one while that is enough, on all when it is not.

A worker's connections are counted as the sockets that it has; nothing else of it is one.
"""
import os
import subprocess

import harness
from harness import wait_for

CONNECTIONS = 20
SLOW_CONNECTIONS = 100
MANY_CONNECTIONS = 120  # more than one worker is given before it is known what they cost
LITTLE = [f"u{n}@site.test" for n in range(6000)]   # 20 ms each: some 1,000 a second
MUCH = [f"u{n}@site.test" for n in range(12000)]    # with a signature each some 3 s of one core
LARGE = [f"u{n}@site.test" for n in range(2000)]    # a signature by a key of 4,096 bits each: some 5 s of one core


def sockets(pid):
    """How many a process has; it has to live."""
    count = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            count += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
        except FileNotFoundError:
            pass  # closed meanwhile
    return count


class Sharing(harness.Case):
    def begin(self, people, *latency, dkim=False, bits=2048, connections=CONNECTIONS, each="none"):
        self.dns({"site.test": self.receiver("site", *latency)}, more=self.keys(dkim))
        if bits != 2048:
            subprocess.run(["openssl", "genrsa", "-out", self.path("s1.pem"), str(bits)], check=True, capture_output=True)
        self.configure(connections=connections, dkim=dkim)
        with open(self.path("hikyaku.conf"), encoding="utf-8") as f:
            text = f.read().replace("messages_per_connection = 100", f'messages_per_connection = "{each}"')
        self.write("hikyaku.conf", text)
        process = self.start_send(rows=people)
        self.wait_for_events(len(people) // 20, process)
        return process, self.status()["pids"]["workers"]

    def test_one_worker_is_enough_for_a_site_with_little_work(self):
        process, workers = self.begin(LITTLE, "--latency-dot", "20")
        wait_for(lambda: sum(map(sockets, workers)) == CONNECTIONS, 10, "all connections")
        self.assertEqual(sorted(map(sockets, workers)), [0, CONNECTIONS])
        self.wait_for_events(len(LITTLE) // 2, process)
        self.assertEqual(sorted(map(sockets, workers)), [0, CONNECTIONS], "it stays so")
        self.finish(process, expect=0)
        self.judge_exact(LITTLE)
        self.assertEqual(self.receivers[0].ledger()["connections"], CONNECTIONS)

    def share(self, people, *latency, **how):
        process, workers = self.begin(people, *latency, dkim=True, **how)
        enough = how.get("connections", CONNECTIONS) * 2 // 5  # some may be on their way
        wait_for(lambda: process.poll() is not None or min(map(sockets, workers)) >= enough, 30, "both workers")
        self.assertIsNone(process.poll(), "one worker did it all")
        self.finish(process, expect=0)
        self.judge_exact(people)
        return self.receivers[0].ledger()["connections"]

    def test_signatures_are_for_all_of_them(self):
        self.assertLess(self.share(MUCH), 2 * CONNECTIONS, "half of them end and open elsewhere, once")

    # Those that end by themselves open on either: with every look the first worker has time again, and they would go to and fro.
    def test_a_site_that_was_shared_stays_so(self):
        process, workers = self.begin(MUCH, "--latency-dot", "50", connections=MANY_CONNECTIONS, each="20")
        self.wait_for_events(len(MUCH) // 2, process)
        self.assertGreater(min(map(sockets, workers)), MANY_CONNECTIONS // 3)
        self.finish(process, expect=0)
        self.judge_exact(MUCH)

    # What is under way at a slow receiver takes longer than it is between two looks at who is busy.
    def test_a_slow_receiver_sees_each_connection_move_once(self):
        self.assertLess(self.share(LARGE, "--latency-dot", "300", bits=4096, connections=SLOW_CONNECTIONS), SLOW_CONNECTIONS * 7 // 4)


if __name__ == "__main__":
    harness.main()
