"""kill -9 of a worker, of the master, of everything, and `send` again: exact on 20,000, judged at the receiver.

Each case kills at five moments of one campaign. Afterwards: nobody has the message twice; whoever is `sent` has
it; whoever has it is `sent` or `unknown`; and no more are unknown than bodies can have been under way.
"""
import os
import random
import signal
import time

import harness
from harness import wait_for

DOMAINS = ["big1.test", "big2.test"] + [f"small{n}.test" for n in range(100)]
PEOPLE = [f"u{n}@{DOMAINS[n % 2]}" for n in range(16000)] + [f"u{n}@{DOMAINS[2 + n % 100]}" for n in range(4000)]
MOMENTS = (0.05, 0.2, 0.4, 0.6, 0.8)  # share of the list that has an outcome
CONNECTIONS = 10
LIMITS = f"""
provider "big" {{ domains = {{ "big1.test", "big2.test" }} max_connections = {CONNECTIONS} }}
"""


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Kill(harness.Case):
    def setUp(self):
        super().setUp()
        self.dice = random.Random(os.environ.get("HIKYAKU_SEED", "1"))
        mx = {}
        for name, domains in (("a", DOMAINS[:1]), ("b", DOMAINS[1:2]), ("c", DOMAINS[2:])):
            receiver = self.receiver(name, "--latency-dot", "10")
            mx.update({d: receiver for d in domains})
        self.dns(mx)
        self.configure(more=LIMITS)
        self.list(PEOPLE)

    def at_each_moment(self, strike, goes_on):
        """Run the campaign, strike(pids) at each moment; where the node did not survive that, send again."""
        process = self.start_send()
        for moment in MOMENTS:
            self.wait_for_events(int(moment * len(PEOPLE)), process)
            pids = self.status()["pids"]
            time.sleep(self.dice.uniform(0, 0.05))
            strike(pids, process)
            if not goes_on:
                process.wait(20)
                self.finish(process)
                process = self.start_send()
        self.finish(process, expect=0, timeout=120)
        self.judge()

    def judge(self):
        sent, unknown, taken = self.judge_exact(PEOPLE)
        print(f"sent {len(sent)}, unknown {len(unknown)} of which {len(unknown & set(taken))} arrived")
        # One body for each connection can be under way at each of the five kills.
        self.assertLessEqual(len(unknown), len(MOMENTS) * 3 * CONNECTIONS)

    def test_a_worker(self):
        def strike(pids, process):
            victim = self.dice.choice(pids["workers"])
            kill(victim)
            wait_for(lambda: process.poll() is not None or victim not in self.status()["pids"]["workers"], 20,
                     "a new worker")
        self.at_each_moment(strike, goes_on=True)

    def test_the_master(self):
        self.at_each_moment(lambda pids, process: kill(pids["master"]), goes_on=False)

    def test_everything(self):
        def strike(pids, process):
            for pid in [pids["master"], *pids["workers"], pids["resolver"], pids["redis"]]:
                kill(pid)
        self.at_each_moment(strike, goes_on=False)


if __name__ == "__main__":
    harness.main()
