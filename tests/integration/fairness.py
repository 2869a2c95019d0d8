"""One site's slowness never slows another, whatever the order of the list."""
import harness
from harness import wait_for

FAST = [f"u{n}@{d}" for n in range(2000) for d in ("fast1.test", "fast2.test")]
SLOW = [f"u{n}@slow.test" for n in range(6000)]
LIMITS = """
provider "slow" { domains = { "slow.test" } max_connections = 2 rate = "20/s" messages_per_connection = 1000 }
"""


class Fairness(harness.Case):
    def world(self):
        fast = self.receiver("fast")
        slow = self.receiver("slow", "--latency-dot", "200")
        self.dns({"fast1.test": fast, "fast2.test": fast, "slow.test": slow})
        self.configure(more=LIMITS)
        return fast, slow

    def seconds_for_fast(self, rows):
        """Send until the fast sites' people have their message; seconds from the first of them to the last."""
        fast, slow = self.world()
        process = self.start_send(rows=rows)
        wait_for(lambda: self.events() > 0, 30, "the first outcome")
        wait_for(lambda: self.events() >= len(FAST), 60, "the fast sites' outcomes")
        wait_for(lambda: self.status_counts(process) >= len(FAST), 30, "the fast sites' outcomes in the ledger")
        if process.poll() is None:
            self.interrupt(process)
        self.finish(process)
        self.stop_receivers()
        self.assertEqual(fast.taken(), {p: 1 for p in FAST})
        times = [s.time_us for s in fast.log("accepted")]
        return (times[-1] - times[0]) / 1e6, slow

    def status_counts(self, process):
        if process.poll() is not None:
            return len(FAST)
        campaigns = self.status()["campaigns"]
        return campaigns[0]["counts"]["sent"] if campaigns else 0

    def test_a_list_that_begins_with_a_slow_site_does_not_hold_up_the_others(self):
        alone, _ = self.seconds_for_fast(FAST)
        self.doCleanups()
        self.setUp()
        beside, slow = self.seconds_for_fast(SLOW + FAST)
        print(f"fast sites alone: {alone:.2f} s; behind {len(SLOW)} of a slow site: {beside:.2f} s")
        self.assertLess(beside, 3 * alone + 10)  # the slow one's people take ten minutes
        times = [s.time_us for s in slow.log("accepted")]
        self.assertGreater(len(times), 1)  # it was served all the while, within what it takes: 2 x 5 a second
        self.assertLess(len(times), 10 * ((times[-1] - times[0]) / 1e6) + 4)


if __name__ == "__main__":
    harness.main()
