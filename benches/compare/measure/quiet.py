"""Tells whether something else used the processors during a run."""

import os
import time

# How much slower than ever before the loop may be.
TOLERANCE = 1.3
STEPS = 3_000_000


class Watch:
    """Runs a loop on every core before and after each run, and compares its time with the shortest so far."""

    def __init__(self, tries=2):
        self.tries = tries
        self.best = {}
        self.disturbed = 0
        for _ in range(5):
            self.is_quiet()

    def quietly(self, run):
        """Returns what `run` returns. Repeats it while the machine was busy, up to `tries` runs in all."""
        for _ in range(self.tries):
            before = self.is_quiet()
            result = run()
            if before and self.is_quiet():
                return result
        self.disturbed += 1
        return result

    def is_quiet(self):
        allowed = os.sched_getaffinity(0)
        ratios = []
        for core in sorted(allowed):
            os.sched_setaffinity(0, {core})
            began = time.perf_counter()
            for _ in range(STEPS):
                pass
            took = time.perf_counter() - began
            self.best[core] = min(took, self.best.get(core, took))
            ratios.append(took / self.best[core])
        os.sched_setaffinity(0, allowed)
        return max(ratios) <= TOLERANCE
