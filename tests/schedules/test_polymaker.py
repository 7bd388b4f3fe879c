"""What the Command Center is told at intervals: a whole day in virtual time, and what each job does."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import UnreachableError
from daemon.ports import Result
from daemon.scheduling import Job, Scheduler
from daemon.settings import ScheduleSettings
from schedules.polymaker import PolymakerConfig, PolymakerMarkets, PolymakerMetrics
from tests import virtual
from tests.handlers.polymaker.room import META, InProcess, Room
from tests.test_metrics import samples

DAY_S = 86_400.0


def jobs(room: Room, paused: list[bool], **every: float) -> Iterator[Job]:
    """As the graph makes them."""

    async def pause(wanted: bool) -> None:
        paused.append(wanted)

    usual = ScheduleSettings()
    center = room.handler
    for schedule in (PolymakerMetrics(center), PolymakerMarkets(center), PolymakerConfig(center, pause)):
        every_s = every.get(schedule.name, getattr(usual, schedule.name))
        yield Job(schedule.name, every_s, min(schedule.first_s, every_s), schedule.run)


class Day:
    """A room, its jobs and a Center that answers after a moment, in a loop where a day takes seconds."""

    def __init__(self, folder: Path) -> None:
        self.clock = virtual.clock()
        self.center = InProcess(self.clock)
        self.center.takes_s = 0.02
        self.room = Room(folder, "http://127.0.0.1:1", self.clock, "live")
        self.center.serve(self.room)
        self.room.journal.after_sync = lambda done, events=1: done(None)  # type: ignore[method-assign]  # noqa: ARG005  # a disk has its own time
        self.scheduler = Scheduler(self.clock, self.room.metrics)
        self.paused: list[bool] = []
        self.began = self.clock.now()

    def begin(self) -> None:
        self.room.begin()
        self.scheduler.apply(jobs(self.room, self.paused))

    async def end(self) -> None:
        """As the daemon stops: jobs first, then the run, then the rest."""
        await self.scheduler.stop()
        await self.room.stop()

    def asked(self, path: str) -> list[float]:
        """When, in seconds since the begin."""
        return [round(at - self.began, 1) for at, asked in self.center.asked if asked == path]


def test_a_day(tmp_path: Path) -> None:
    async def day() -> Day:
        found = Day(tmp_path)
        found.begin()
        await asyncio.sleep(1)
        found.room.say("entry", 0, meta=META | {"cycle": 0})  # open all day, so that there is a market to report
        for number in range(1, 145):
            await asyncio.sleep(DAY_S / 145)
            found.room.trade(number)
        await asyncio.sleep(DAY_S - (found.clock.now() - found.began) + 0.5)
        await found.end()
        return found

    found = virtual.run(day())
    center = found.center
    metrics, markets, config = (found.asked(path) for path in ("/run/update", "/markets/report", "/config"))
    first, *ticks = metrics
    assert first < 1, "the first figures go at once"
    assert ticks == [30.0 * n for n in range(1, 2881)], "none missed, none doubled"
    assert markets == [15.0 + 60 * n for n in range(1440)]
    assert config[1:] == [7.5 + 30 * n for n in range(2880)], "the first one was asked for the run's start"
    assert not set(ticks) & set(markets) | set(markets) & set(config) | set(ticks) & set(config), "none coincide"
    assert found.paused == [False] * 2880
    assert set(center.copies().values()) == {1}
    assert len(center.trades) == 289
    assert [trade.body["cycle"] for trade in center.trades.values()] == [0, *range(2, 290)], "in order"
    (run,) = center.runs.values()
    assert (run.status, run.stops, run.final["totalOrders"]) == ("completed", 1, 289)
    assert center.asked[-1][1] == "/run/stop"
    assert center.violations == []
    assert max(Counter(center.asked).values()) == 1


def test_a_day_with_a_center_that_is_away_for_hours(tmp_path: Path) -> None:
    async def day() -> Day:
        found = Day(tmp_path)
        found.begin()
        await asyncio.sleep(100)
        egress = found.room.client._egress
        found.room.client._egress = Away(found.center)  # type: ignore[assignment]
        for number in range(300):
            await asyncio.sleep(60)
            found.room.trade(number)
        asked = len(found.center.asked)
        found.room.client._egress = egress
        await asyncio.sleep(120)
        assert found.room.outbox.depth == 0
        assert len(found.center.asked) - asked < 400, "the trades went in batches, their updates one by one"
        await found.end()
        return found

    found = virtual.run(day())
    center = found.center
    assert [trade.body["cycle"] for trade in center.trades.values()] == list(range(600))
    assert center.batches == 6
    away = [path for at, path in center.asked if 130 < at - found.began < 18_000]
    assert set(away) == {"away:/config"}, "only whether it is back"
    assert len(away) < 18_000 / 30 + 18_000 / 25
    runs = samples(found.room.metrics)
    failed = runs["deskhand_job_runs_total", "job=polymaker_metrics", "result=failed"]
    assert failed > 18_000 / 30 - 10, "none that told nothing says that it was done"
    assert [run.status for run in center.runs.values()] == ["completed"]
    assert center.violations == []


class Away(InProcess):
    """Nobody answers."""

    def __init__(self, center: InProcess) -> None:
        self.center = center

    async def request(self, method: str, path: str, **_: object) -> object:  # type: ignore[override]
        assert method
        self.center.asked.append((self.center.clock.now(), f"away:{path}"))
        await asyncio.sleep(0.02)
        raise UnreachableError("Connection refused")


def test_other_intervals_need_no_restart(tmp_path: Path) -> None:
    async def day() -> Day:
        found = Day(tmp_path)
        found.begin()
        found.room.say("entry")
        await asyncio.sleep(100)
        found.scheduler.apply(jobs(found.room, found.paused, polymaker_metrics=10, polymaker_markets=300))
        await asyncio.sleep(100)
        await found.end()
        return found

    found = virtual.run(day())
    assert found.asked("/run/update")[1:] == [30, 60, 90, 100, *range(110, 200, 10)]
    assert found.asked("/markets/report") == [15, 75]


def test_a_center_that_hangs_is_asked_once_at_a_time(tmp_path: Path) -> None:
    async def day() -> Day:
        found = Day(tmp_path)
        found.begin()
        await asyncio.sleep(40)
        found.center.takes_s = 3600  # the real wire would give up after timeout_s
        await asyncio.sleep(600)
        found.center.takes_s = 0.02
        await asyncio.sleep(200)
        await found.end()
        return found

    found = virtual.run(day())
    late = [at for at in found.asked("/run/update") if at > 640]
    assert len(late) >= 5
    assert [run.status for run in found.center.runs.values()] == ["completed"]


@pytest.mark.parametrize(("said", "told"), [(True, [True]), (False, [False]), (None, [])])
async def test_only_a_word_of_the_center_pauses(said: bool | None, told: list[bool]) -> None:
    paused: list[bool] = []

    class Center:
        async def push_metrics(self) -> None: ...

        async def report_markets(self) -> None: ...

        async def poll_config(self) -> bool | None:
            return said

    async def pause(wanted: bool) -> None:
        paused.append(wanted)

    await PolymakerConfig(Center(), pause).run()
    assert paused == told


def test_the_clock_is_set_in_the_middle(tmp_path: Path) -> None:
    """Intervals go by the loop; a run that is alive stays alive."""

    async def day() -> Day:
        found = Day(tmp_path)
        found.begin()
        for hours in (5, -9, 24 * 400, -24 * 400):
            await asyncio.sleep(300)
            found.clock.wall += 3600 * hours
            found.room.say("entry", abs(hours), Result.DONE)
        await asyncio.sleep(300)
        assert found.room.outbox.depth == 0
        await found.end()
        return found

    found = virtual.run(day())
    assert len(found.asked("/run/update")) == 1 + 1499 // 30
    assert len(found.center.trades) == 4
    assert [run.status for run in found.center.runs.values()] == ["completed"]
