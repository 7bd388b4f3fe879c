"""When jobs run, in virtual time: a day takes a moment. What real loops do is at the end."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvloop
from loguru import logger

from daemon.clock import Clock
from daemon.errors import UnreachableError
from daemon.metrics import Metrics
from daemon.scheduling import Job, Scheduler
from tests import virtual
from tests.dispatch.support import until
from tests.test_metrics import samples

SUCCESS = "deskhand_job_last_success_timestamp_seconds"


def now() -> float:
    return asyncio.get_running_loop().time()


class Work:
    """A job that notes when it ran, on the loop's clock, and then does what `does` says."""

    def __init__(self, does: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        self.began: list[float] = []
        self.does = does
        self.cancelled = 0

    async def run(self) -> None:
        self.began.append(now())
        if self.does is not None:
            try:
                await self.does()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise


class Desk:
    """A scheduler in virtual time, with its numbers."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.clock = virtual.clock()
        self.scheduler = Scheduler(self.clock, self.metrics)

    def apply(self, **jobs: tuple[Work, float, float]) -> None:
        self.scheduler.apply([Job(name, every, first, work.run) for name, (work, every, first) in jobs.items()])

    def count(self, job: str, result: str) -> float:
        return samples(self.metrics).get(("deskhand_job_runs_total", f"job={job}", f"result={result}"), 0)


@contextmanager
def said() -> Iterator[list[tuple[str, str]]]:
    lines: list[tuple[str, str]] = []

    def keep(message: Any) -> None:
        lines.append((message.record["level"].name, message.record["message"]))

    sink = logger.add(keep, level="DEBUG")
    try:
        yield lines
    finally:
        logger.remove(sink)


async def forever() -> None:
    await asyncio.Event().wait()


def close(times: list[float]) -> list[float]:
    """To the nearest hundredth: a tick may come a millisecond late."""
    return [round(each, 2) for each in times]


def test_a_day_of_ticks_none_missed_and_none_doubled() -> None:
    async def day() -> tuple[list[float], list[float]]:
        desk, metrics, markets = Desk(), Work(), Work()
        desk.apply(metrics=(metrics, 30, 30), markets=(markets, 60, 15))
        await asyncio.sleep(86_400.5)
        await desk.scheduler.stop()
        return metrics.began, markets.began

    metrics, markets = virtual.run(day())
    assert close(metrics) == [30.0 * n for n in range(1, 2881)]
    assert close(markets) == [15 + 60.0 * n for n in range(1440)]


def test_a_changed_interval_counts_from_the_last_run() -> None:
    async def change() -> list[float]:
        desk, work = Desk(), Work()
        desk.apply(job=(work, 60, 5))
        await asyncio.sleep(75)  # ran at 5 and 65
        desk.apply(job=(work, 20, 5))
        await asyncio.sleep(32)  # at 85 and 105
        desk.apply(job=(work, 100, 5))
        await asyncio.sleep(200)
        await desk.scheduler.stop()
        return work.began

    assert close(virtual.run(change())) == [5, 65, 85, 105, 205, 305]


def test_a_shorter_interval_that_is_over_already_gives_one_run_at_once() -> None:
    async def change() -> list[float]:
        desk, work = Desk(), Work()
        desk.apply(job=(work, 3600, 0))
        await asyncio.sleep(1805)
        desk.apply(job=(work, 10, 0))
        desk.apply(job=(work, 11, 0))
        desk.apply(job=(work, 10, 0))
        await asyncio.sleep(25)
        await desk.scheduler.stop()
        return work.began

    assert close(virtual.run(change())) == [0, 1805, 1815, 1825]


def test_a_changed_interval_before_the_first_run() -> None:
    async def change() -> tuple[list[float], list[float]]:
        desk, shorter, longer = Desk(), Work(), Work()
        desk.apply(shorter=(shorter, 600, 500), longer=(longer, 60, 50))
        await asyncio.sleep(10)
        desk.apply(shorter=(shorter, 60, 500), longer=(longer, 600, 50))
        await asyncio.sleep(100)
        await desk.scheduler.stop()
        return shorter.began, longer.began

    shorter, longer = virtual.run(change())
    assert close(shorter) == [70]
    assert close(longer) == [50]


def test_what_did_not_change_keeps_its_times_and_runs_what_is_new() -> None:
    async def change() -> tuple[list[float], list[float], list[float], list[float]]:
        desk, old, new, other, later = Desk(), Work(), Work(), Work(), Work()
        desk.apply(job=(old, 30, 10), later=(later, 10, 60))
        await asyncio.sleep(45)
        desk.apply(job=(new, 30, 0), other=(other, 30, 1), later=(later, 10, 60))
        await asyncio.sleep(30)
        await desk.scheduler.stop()
        return old.began, new.began, other.began, later.began

    old, new, other, later = virtual.run(change())
    assert (close(old), close(new), close(other), close(later)) == ([10, 40], [70], [46], [60, 70])


def test_one_that_is_gone_ends_with_its_run_and_its_series() -> None:
    async def change() -> None:
        desk, quick, slow = Desk(), Work(), Work(forever)
        desk.apply(quick=(quick, 30, 1), slow=(slow, 30, 1))
        await asyncio.sleep(2)
        assert samples(desk.metrics)[(SUCCESS, "job=quick")] == pytest.approx(desk.clock.now() - 1, abs=0.01)
        desk.apply()
        await asyncio.sleep(0.01)
        assert slow.cancelled == 1
        assert not [key for key in samples(desk.metrics) if key[0] == SUCCESS]
        await asyncio.sleep(100)
        assert len(quick.began) == len(slow.began) == 1
        await desk.scheduler.stop()

    virtual.run(change())


def test_runs_do_not_overlap_even_when_the_job_is_taken_away_and_given_back() -> None:
    async def change() -> None:
        end = asyncio.Event()

        async def stubborn() -> None:
            while not end.is_set():
                try:
                    await end.wait()
                except asyncio.CancelledError:
                    continue

        desk, first, second = Desk(), Work(stubborn), Work()
        desk.apply(job=(first, 5, 0))
        await asyncio.sleep(1)
        desk.apply()
        desk.apply(job=(second, 5, 0))
        await asyncio.sleep(6)
        assert second.began == []
        assert desk.count("job", "skipped") == 2
        end.set()
        await asyncio.sleep(5)
        assert close(second.began) == [11]
        assert desk.count("job", "done") == 1  # the one that was taken away tells nobody
        await desk.scheduler.stop()

    virtual.run(change())


def test_a_tick_that_finds_the_last_run_at_work_is_skipped_and_counted() -> None:
    async def slow() -> None:
        desk = Desk()
        work = Work(lambda: asyncio.sleep(7))
        desk.apply(job=(work, 3, 0))
        await asyncio.sleep(20)
        assert close(work.began) == [0, 9, 18]
        assert desk.count("job", "skipped") == 4
        await desk.scheduler.stop()

    virtual.run(slow())


@pytest.mark.parametrize(("every", "limit"), [(1, 10), (60, 54)])
def test_a_run_that_hangs_is_cancelled_and_told(every: float, limit: float) -> None:
    async def hang() -> None:
        desk, work = Desk(), Work(forever)
        with said() as lines:
            desk.apply(job=(work, every, 0))
            await asyncio.sleep(limit - 0.1)
            assert work.cancelled == 0
            await asyncio.sleep(0.2)
        assert work.cancelled == 1
        assert ("WARNING", f"job job failed: not done after {limit} s") in lines
        assert desk.count("job", "failed") == 1
        await desk.scheduler.stop()

    virtual.run(hang())


def test_failures_are_told_once_and_the_recovery_too() -> None:
    async def fail() -> None:
        good = False

        async def peer() -> None:
            if not good:
                raise UnreachableError("the Center is away")

        desk, work, other = Desk(), Work(peer), Work()
        with said() as lines:
            desk.apply(job=(work, 10, 0), other=(other, 10, 0))
            await asyncio.sleep(25)
            good = True
            await asyncio.sleep(10)
        assert lines == [
            ("WARNING", "job job failed: the Center is away"),
            ("DEBUG", "job job failed: the Center is away"),
            ("DEBUG", "job job failed: the Center is away"),
            ("INFO", "job job works again after 3 failed runs"),
        ]
        assert len(other.began) == len(work.began) == 4
        assert (desk.count("job", "failed"), desk.count("job", "done")) == (3, 1)
        await desk.scheduler.stop()

    virtual.run(fail())


def test_a_bug_is_told_by_its_place_and_not_by_its_words() -> None:
    async def fail() -> None:
        async def bug() -> None:
            raise KeyError("canary")

        desk = Desk()
        with said() as lines:
            desk.apply(job=(Work(bug), 10, 0))
            await asyncio.sleep(1)
        ((level, text),) = lines
        assert level == "WARNING"
        assert "KeyError" in text
        assert "in bug" in text
        assert '"canary"' not in text.replace('raise KeyError("canary")', "")
        await desk.scheduler.stop()

    virtual.run(fail())


def test_a_loop_that_was_held_up_gives_one_run_in_the_old_phase() -> None:
    async def hold() -> list[float]:
        desk, work = Desk(), Work()
        desk.apply(job=(work, 10, 0))
        await asyncio.sleep(5)
        desk.clock._jump.passed += 3600.0
        await asyncio.sleep(20)
        await desk.scheduler.stop()
        return work.began

    assert close(virtual.run(hold())) == [0, 3605, 3610, 3620]


def test_a_job_may_change_the_jobs() -> None:
    async def change() -> list[float]:
        desk, work = Desk(), Work()

        async def itself() -> None:
            desk.apply(job=(work, 5, 0))

        work.does = itself
        desk.apply(job=(work, 10, 0))
        await asyncio.sleep(12)
        await desk.scheduler.stop()
        return work.began

    assert close(virtual.run(change())) == [0, 5, 10]


def test_setting_the_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What apscheduler does by itself: a clock set back by an hour is an hour without jobs."""

    async def set_back() -> int:
        desk, work = Desk(), Work()
        desk.apply(job=(work, 30, 0))
        await asyncio.sleep(45)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 3600)
        desk.clock.wall -= 3600
        await asyncio.sleep(60)
        await desk.scheduler.stop()
        return len(work.began)

    assert virtual.run(set_back()) == 4


LOOPS = pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])


@LOOPS
def test_on_a_real_loop_and_stopped_with_nothing_left(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def live() -> None:
        before = asyncio.all_tasks()
        scheduler, work, hangs = Scheduler(Clock(), Metrics()), Work(), Work(forever)
        scheduler.apply([Job("work", 0.05, 0.0, work.run), Job("hangs", 1, 0.0, hangs.run)])
        started = now()
        await until(lambda: len(work.began) == 6)
        assert 0.2 <= now() - started < 2
        started = now()
        await scheduler.stop()
        assert now() - started < 1
        assert hangs.cancelled == 1
        assert asyncio.all_tasks() == before
        runs = len(work.began)
        scheduler.apply([Job("again", 1, 0.0, hangs.run)])
        await until(lambda: len(hangs.began) == 2)
        await scheduler.stop()
        assert len(work.began) == runs
        assert asyncio.all_tasks() == before

    with asyncio.Runner(loop_factory=factory, debug=True) as runner:
        runner.run(live())


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop, virtual.VirtualLoop])
def test_stopping_does_not_wait_for_one_that_will_not_end(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def live() -> None:
        end = asyncio.Event()

        async def stubborn() -> None:
            while not end.is_set():
                try:
                    await end.wait()
                except asyncio.CancelledError:
                    continue

        scheduler, work = Scheduler(Clock(), Metrics()), Work(stubborn)
        scheduler.apply([Job("stubborn", 1, 0.0, work.run)])
        await until(lambda: bool(work.began))
        started = now()
        try:
            with said() as lines:
                async with asyncio.timeout(5):
                    await scheduler.stop()
            assert factory is not virtual.VirtualLoop or now() - started < 1, "a second, to who counts no others"
            assert ("ERROR", "job stubborn: its run does not end") in lines
        finally:
            end.set()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(live())


_IMPORTS = """
import asyncio, sys
from daemon.clock import Clock
from daemon.metrics import Metrics
from daemon.scheduling import Job, Scheduler
async def main():
    scheduler = Scheduler(Clock(), Metrics())
    scheduler.apply([])
    assert "apscheduler" not in sys.modules
    scheduler.apply([Job("job", 60, 60, asyncio.Event().wait)])
    assert "apscheduler" in sys.modules
    await scheduler.stop()
asyncio.run(main())
"""


def test_without_jobs_nothing_is_imported() -> None:
    subprocess.run([sys.executable, "-c", _IMPORTS], timeout=20, check=True)
