"""The only import of apscheduler, which keeps the jobs, their triggers and the next wake-up.

Its own look for due jobs asks the wall clock: set back by an hour, everything would rest for an hour. The one here asks
the event loop, as the loop's timers do, and nothing else about when reads any clock. So setting the clock changes
nothing, a suspended machine owes no runs, and a loop with a time of its own takes the jobs along. The dates that
apscheduler handles are therefore no dates: `_date(x)` stands for the moment at which the loop's `time()` is x.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-untyped]

_LEAST_WAIT_S = 0.001  # uvloop counts in milliseconds: less than one would go round and round until it is over


def _date(loop_s: float) -> datetime:
    return datetime.fromtimestamp(loop_s, UTC)


class Timetable(AsyncIOScheduler):  # type: ignore[misc]  # apscheduler has no types
    """Calls functions at intervals of the running loop's time; all in seconds."""

    def __init__(self) -> None:
        super().__init__(timezone=UTC)
        self._loop = asyncio.get_running_loop()

    def put(self, name: str, call: Callable[[], None], every_s: float, at_s: float) -> None:
        """`call` when the loop's time is `at_s` and then every `every_s`, instead of what went by that `name`."""
        trigger = IntervalTrigger(seconds=every_s, start_date=_date(at_s), timezone=UTC)
        self.add_job(call, trigger, id=name, next_run_time=_date(at_s), replace_existing=True)

    def drop(self, name: str) -> None:
        """Call that one no more."""
        self.remove_job(name)

    def _process_jobs(self) -> float | None:
        now = _date(self._loop.time())
        for job in self.get_jobs():
            if job.next_run_time > now:
                continue
            following = job.trigger.get_next_fire_time(job.next_run_time, now)
            while following <= now:  # the loop was held up: one run for all that it missed, in the same phase
                following = job.trigger.get_next_fire_time(following, now)
            job.modify(next_run_time=following)
            job.func()
        upcoming = [job.next_run_time for job in self.get_jobs()]
        return max(_LEAST_WAIT_S, (min(upcoming) - _date(self._loop.time())).total_seconds()) if upcoming else None
