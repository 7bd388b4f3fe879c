"""The only place that reads a clock, so that tests can move time and rooms cannot disagree about it."""

import time


class Clock:
    """Wall time, and time since boot that a suspended machine does not stop; all in seconds."""

    def now(self) -> float:
        """Wall-clock time, seconds since the Unix epoch."""
        return time.time()

    def boot(self) -> float:
        """Seconds since the machine started, suspension included (CLOCK_BOOTTIME)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC, which the service manager goes by."""
        return time.monotonic()

    def booted_at(self) -> float:
        """Wall-clock time at which the machine started, seconds since the epoch."""
        return self.now() - self.boot()
