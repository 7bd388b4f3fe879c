"""The runs of jobs: tasks of our own, because apscheduler's executors let go of theirs while they still run.

One run of a job at a time, each in bounded time, and none that fails, hangs or dies reaches anything else.
"""

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from loguru import logger

from daemon.clock import Clock
from daemon.errors import DeskhandError
from daemon.metrics import Metrics

if TYPE_CHECKING:
    from daemon.scheduling.timetable import Timetable

LEAST_LIMIT_S = 10.0
"""How long any run may take, in seconds, however short its interval; the ticks meanwhile are skipped."""
_LIMIT = 0.9  # of the interval, so that a run that hangs is out of the way when the next is due
_STOP_S = 0.9


@dataclass(frozen=True, slots=True)
class Job:
    """Something to `run` every `every_s` seconds, the first time `first_s` seconds after it was applied."""

    name: str
    every_s: float
    first_s: float
    run: Callable[[], Coroutine[Any, Any, None]]


@dataclass(slots=True, eq=False)
class _Entry:
    """A job as it is now; `first` and `last` are the loop's time of its first run and of the start of its last one."""

    job: Job
    first: float
    last: float | None = None
    failures: int = 0


class Scheduler:
    """Runs the jobs it was last given; on the loop's thread only. Without jobs it imports nothing and does nothing."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._entries: dict[str, _Entry] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._timetable: Timetable | None = None

    def apply(self, jobs: Iterable[Job]) -> None:
        """From now on these jobs and no others.

        A new one begins after its `first_s`; one that is gone ends, its running run is cancelled. A changed interval
        counts from the start of the last run, but gives no run earlier than now and only one. An unchanged one keeps
        its next time. A run under way goes on as it began; the job's `run` is asked anew each time.
        """
        wanted = {job.name: job for job in jobs}
        for name in self._entries.keys() - wanted.keys():
            self._remove(name)
        for job in wanted.values():
            self._put(job)

    async def stop(self) -> None:
        """End everything within a second: cancel what runs and wait for it. `apply` begins anew."""
        self.apply(())
        if self._timetable is not None:
            self._timetable.shutdown()
            self._timetable = None
        if self._running:
            await asyncio.wait(self._running.values(), timeout=_STOP_S)
        for name in self._running:
            logger.error("job {}: its run does not end", name)
        await asyncio.sleep(0)  # apscheduler lets go of its timer in the loop's next turn

    def _put(self, job: Job) -> None:
        now = asyncio.get_running_loop().time()
        entry = self._entries.get(job.name)
        if entry is None:
            entry = self._entries[job.name] = _Entry(job, now + job.first_s)
            at = entry.first
        else:
            before, entry.job = entry.job, job
            if before.every_s == job.every_s:
                return
            if entry.last is None:
                at = entry.first = min(entry.first, now + job.every_s)
            else:
                at = max(now, entry.last + job.every_s)
            logger.debug("job {}: every {:g} s, next in {:.1f} s", job.name, job.every_s, at - now)
        self._table().put(job.name, partial(self._tick, job.name), job.every_s, at)

    def _table(self) -> "Timetable":
        if self._timetable is None:
            from daemon.scheduling.timetable import Timetable  # noqa: PLC0415  # two thirds of a megabyte

            self._timetable = Timetable()
            self._timetable.start()
        return self._timetable

    def _remove(self, name: str) -> None:
        del self._entries[name]
        if self._timetable is not None:
            self._timetable.drop(name)
        self._metrics.job_gone(name)
        if name in self._running:
            self._running[name].cancel()

    def _tick(self, name: str) -> None:
        if name in self._running:
            self._metrics.job_run(name, "skipped")
            return
        entry = self._entries[name]
        entry.last = asyncio.get_running_loop().time()
        task = asyncio.create_task(self._run(entry), name=f"job:{name}")
        task.add_done_callback(lambda _: self._running.pop(name))
        self._running[name] = task

    async def _run(self, entry: _Entry) -> None:
        job = entry.job
        limit_s = max(LEAST_LIMIT_S, job.every_s * _LIMIT)
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                await job.run()
        except Exception as error:  # promise 4: a job that fails hinders neither the daemon nor another job
            if self._entries.get(job.name) is entry:
                self._failed(entry, f"not done after {limit_s:g} s" if limit.expired() else _why(error))
        else:
            if self._entries.get(job.name) is entry:
                self._succeeded(entry)

    def _failed(self, entry: _Entry, why: str) -> None:
        self._metrics.job_run(entry.job.name, "failed")
        entry.failures += 1
        logger.log("WARNING" if entry.failures == 1 else "DEBUG", "job {} failed: {}", entry.job.name, why)

    def _succeeded(self, entry: _Entry) -> None:
        name, failures, entry.failures = entry.job.name, entry.failures, 0
        self._metrics.job_run(name, "done")
        self._metrics.job_succeeded(name, self._clock.now())
        if failures:
            logger.info("job {} works again after {} failed {}", name, failures, "run" if failures == 1 else "runs")


def _why(error: Exception) -> str:
    """An error in words; of one that is a bug its kind and place, and not its own text, which may quote anything."""
    if isinstance(error, (DeskhandError, OSError)):
        return str(error) or type(error).__name__
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"
