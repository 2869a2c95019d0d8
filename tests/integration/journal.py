"""After a power cut the event log may know what the ledger does not: outcomes that were written down and not yet told.

A power cut is played by freezing Redis, letting outcomes gather in the log, killing everything, and a region that says it
is of another boot, so that nothing in it is believed.
"""
import json
import os
import signal
import time

import harness


class Journal(harness.Case):
    def test_an_acceptance_that_only_the_log_knows_is_sent_and_not_unknown(self):
        rows = [f"u{i}@a.test" for i in range(2000)]
        a = self.receiver("a", "--latency-dot", "150")
        self.dns({"a.test": a})
        self.configure(connections=40)
        process = self.start_send(rows=rows)
        self.wait_for_events(200, process)
        pids = self.status()["pids"]
        os.kill(pids["redis"], signal.SIGSTOP)
        time.sleep(0.6)  # bodies that were granted get their replies; the lines are written, the ledger hears nothing
        for pid in [pids["master"], *pids["workers"], pids["resolver"], pids["redis"]]:
            os.kill(pid, signal.SIGKILL)
        self.finish(process)
        self.of_another_boot()
        known = self.sent_in_log()

        done = self.send(expect=0)
        self.assertIn("the machine was started anew", done.err)
        self.assertIn("lines of the event log again", done.err)
        states = {r["recipient"]: r["state"] for r in self.recipients()}
        self.assertEqual({states[r] for r in known}, {"sent"})
        report = self.report()
        self.assertEqual(sum(report["counts"][s] for s in ("sent", "unknown")), len(rows))
        self.stop_receivers()
        taken = a.taken()
        self.assertEqual(max(taken.values()), 1)
        self.assertEqual(set(taken) | {r for r in rows if states[r] == "unknown"}, set(rows))

    def of_another_boot(self):
        with open("/proc/sys/kernel/random/boot_id", "rb") as f:
            boot_id = f.read().strip()
        with open(self.path("state", "region"), "r+b") as f:
            head = f.read(4096)
            at = head.index(boot_id)
            f.seek(at)
            f.write(boot_id[::-1])

    def sent_in_log(self):
        known = set()
        with open(self.path("state", "events.jsonl"), "rb") as f:
            for line in f:
                if line.endswith(b"\n"):
                    event = json.loads(line)
                    if event.get("outcome") == "sent":
                        known.add(event["recipient"])
        self.assertGreater(len(known), 200)
        return known


if __name__ == "__main__":
    harness.main()
