"""Copy me: the smallest honest schedule, something looked at every so often.

A schedule gets a clock, and what it needs and no more: never the app, never `os.environ`. When it runs is not its
business; runs of one schedule never overlap, and one that takes too long is cancelled. Whatever it raises is logged
and tried again at the next interval, so retry nothing here. Then: a line in `schedules.SCHEDULES`, a key in
`ScheduleSettings` (null must switch it off), its place in `daemon.graph`, a test and a row in README.
"""

from loguru import logger

from daemon.clock import Clock


class Template:
    """Says how long the machine has been up."""

    name = "template"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def run(self) -> None:
        """One run. May raise anything; must let itself be cancelled at every await."""
        logger.debug("up for {:.0f} s", self._clock.boot())
