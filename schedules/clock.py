"""Notices that somebody set the clock: an event's age, and so whether it still acts, is judged by it."""

from loguru import logger

from daemon.clock import Clock

STEP_S = 1.0
"""What the wall clock may move more or less than time passed, in seconds. Slewing slows time since boot as well and so
stays out of this; a leap second is one second exactly.
"""


class ClockWatch:
    """Compares how far the wall clock and time since boot have moved since the last look."""

    name = "clock"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._booted_at = clock.booted_at()

    async def run(self) -> None:
        """Warn once for each time the clock was set."""
        booted_at = self._clock.booted_at()
        moved, self._booted_at = booted_at - self._booted_at, booted_at
        if abs(moved) > STEP_S:
            way = "forward" if moved > 0 else "back"
            logger.warning("the clock was set {} by {:.1f} s; the age of events is judged by it", way, abs(moved))
