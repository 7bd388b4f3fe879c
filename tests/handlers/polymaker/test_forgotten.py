"""A Center that does not remember what was agreed: the answer to a start or stop is lost, or the run itself."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from daemon.dispatch import outbox as module
from daemon.ports import Outcome, Result
from handlers.polymaker.handler import REOPEN_S
from tests.dispatch.support import SetClock, until
from tests.fakes.center import Center
from tests.handlers.polymaker.room import META, Room, room
from tests.handlers.polymaker.support import RUN
from tests.handlers.polymaker.test_handler import nudged


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_S", 0.02)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The lines of the log."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    yield lines
    logger.remove(sink)


def ends(r: Room, name: str = "trade") -> Counter[str]:
    """How often this run's posts of that name ended in which way."""
    return Counter(post.outcome.result.value for post in r.posts(name) if post.outcome)


def forget(center: Center) -> None:
    """Its database is gone, or a backup from before the run."""
    center.runs.clear()
    center.trades.clear()


# -- the answer is lost ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("habit", ["reset_after", "broken_after", "garbage"])
async def test_a_run_whose_opening_was_not_answered_is_gone_on_with(tmp_path: Path, habit: str) -> None:
    async with Center() as center:
        center.open_runs = "refuse"
        center.script("/run/start", habit)
        async with room(tmp_path, center.url) as r:
            r.trade(1)
            assert await r.opened() == 101
            await r.told()
        assert len(center.asked("/run/start")) == 2
        assert [run.status for run in center.runs.values()] == ["completed"]
        assert len(center.trades) == 2


async def test_also_after_a_crash(tmp_path: Path) -> None:
    async with Center() as center:
        center.open_runs = "refuse"
        center.script("/run/start", "hang")
        async with room(tmp_path, center.url, crash=True) as r:
            r.trade(1)
            await until(lambda: center.runs)
        async with room(tmp_path, center.url) as r:
            assert await r.opened() == 101
            await r.told()
        assert [run.status for run in center.runs.values()] == ["completed"]
        assert len(center.trades) == 2


async def test_where_the_refusal_names_no_run_it_is_said_what_to_do(tmp_path: Path) -> None:
    async with Center() as center:
        center.script("/run/start", "reset_after", "conflict")
        async with room(tmp_path, center.url) as r:
            await until(lambda: r.outbox.held)
            assert r.outbox.held == (
                "it opens no run: HTTP 409: there is an open run; it may be one whose opening was not answered, "
                "close it there"
            )
            r.outbox.nudge()
            assert await r.opened() == 102


async def test_a_run_that_somebody_else_has_open_is_left_alone(tmp_path: Path) -> None:
    async with Center() as center:
        center.open_runs = "refuse"
        center.take("POST", "/run/start", "application/json", RUN, 0.0)
        async with room(tmp_path, center.url) as r:
            r.trade(1)
            await until(lambda: r.outbox.held)
            assert r.outbox.held == "it opens no run: HTTP 409: run 101 is still open"
            assert r.runs.current_id is None
        assert not center.trades


@pytest.mark.parametrize("habit", ["reset_after", "broken_after"])
async def test_a_run_whose_end_was_not_answered_is_closed(tmp_path: Path, habit: str) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        center.repeat_stop = "refuse"
        center.script("/run/stop", habit)
        await r.opened()
        r.runs.end("completed")
        await r.told()
        assert len(center.asked("/run/stop")) == 2
        assert [post.outcome for post in r.posts("run/stop")] == [Outcome(Result.DONE)]


async def test_a_run_whose_end_was_broken_off_is_closed(tmp_path: Path) -> None:
    async with Center() as center:
        center.repeat_stop = "refuse"
        async with room(tmp_path, center.url) as r:
            await r.opened()
            center.script("/run/stop", "hang")
            r.runs.end("completed")
            await until(lambda: not center.open)
            mark = r.posts("run/stop")[0].mark
        async with room(tmp_path, center.url) as r:
            await r.opened()
            stop = r.outbox.find(mark)
            assert stop is not None
            assert stop.outcome == Outcome(Result.DONE)


# -- the run is lost ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("waiting", "path"), [(1, "/trade"), (8, "/trade/batch")])
async def test_a_run_that_the_center_forgets_is_opened_anew(tmp_path: Path, waiting: int, path: str) -> None:
    async with Center() as center:
        async with room(tmp_path, center.url) as r:
            await r.opened()
            r.say("entry", 0)
            await r.told()
            forget(center)
            before = len(center.asked(path))
            for number in range(1, 1 + waiting):
                r.say("entry", number, meta=META | {"cycle": number})
            await nudged(r)
            assert ends(r) == {"done": 1 + waiting}
            assert len(center.asked(path)) == before + 2, "together, as before"
            assert len(center.asked("/run/start")) == 2
            assert r.runs.current_id == 101
        assert [trade.body["cycle"] for trade in center.trades.values()] == list(range(1, 1 + waiting))
        assert [(run.status, run.final["totalOrders"]) for run in center.runs.values()] == [("completed", 1 + waiting)]


async def test_a_run_that_the_center_has_closed_is_opened_anew(tmp_path: Path) -> None:
    async with Center() as center:
        async with room(tmp_path, center.url) as r:
            await r.opened()
            r.trade(1)
            await r.told()
            center.late_trades = "refuse"
            center.runs[101].status = "stale"
            r.trade(2)
            await nudged(r)
            assert ends(r) == {"done": 4}
        assert [run.status for run in center.runs.values()] == ["stale", "completed"]
        assert [trade.run for trade in center.trades.values()] == [101, 101, 102, 102]


async def test_a_run_that_was_closed_here_is_not_opened_again(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        await until(lambda: not r.handler._fresh)
        r.runs.end("completed")
        await r.told()
        center.late_trades = "refuse"
        r.say("entry", 1)
        await r.told()
        assert [post.outcome for post in r.posts("trade")] == [Outcome(Result.FAILED, "HTTP 409: the run is stopped")]
        assert [run.status for run in center.runs.values()] == ["completed"]


async def test_forgotten_while_the_daemon_was_away(tmp_path: Path) -> None:
    async with Center() as center:
        async with room(tmp_path, center.url, crash=True) as r:
            await r.opened()
        forget(center)
        async with room(tmp_path, center.url) as r:
            r.trade(1)
            await nudged(r)
            assert ends(r) == {"done": 2}
        assert [run.status for run in center.runs.values()] == ["completed"]


async def test_a_crash_while_it_is_opened_anew_loses_nothing(tmp_path: Path) -> None:
    async with Center() as center:
        async with room(tmp_path, center.url, crash=True) as r:
            await r.opened()
            r.trade(1)
            await r.told()
            forget(center)
            center.script("/run/start", "hang")
            r.trade(2)
            await until(lambda: center.runs)
        center.open_runs = "refuse"
        async with room(tmp_path, center.url) as r:
            await nudged(r)
            assert ends(r) == {"done": 4}
        assert [run.status for run in center.runs.values()] == ["completed"]
        assert len(center.trades) == 2


async def test_a_center_that_takes_no_trade_has_no_more_than_one_run_of_it(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        r.trade(1)
        await r.told()
        center.habits |= {"/trade": "not_found", "/trade/batch": "not_found", "/run/update": "not_found"}
        for number in range(2, 6):
            r.trade(number)
        await nudged(r)
        assert ends(r) == {"done": 2, "failed": 8}
        assert len(center.asked("/run/start")) == 2


async def test_a_center_that_keeps_forgetting_is_told_ever_again_but_seldom(tmp_path: Path) -> None:
    clock = SetClock()
    async with Center() as center, room(tmp_path, center.url, clock=clock) as r:
        await r.opened()
        for times in (2, 3):
            await until(lambda: r.runs.current_id and not r.handler._fresh)
            forget(center)
            r.say("entry", times, meta=META | {"cycle": times})
            if times == 3:
                await until(lambda: r.outbox.held)
                assert r.outbox.held == "it takes nothing for run 101 any more: HTTP 400: there is no such run"
                assert r.outbox.depth == 1
                clock.advance(REOPEN_S)
            await nudged(r)
            assert len(center.asked("/run/start")) == times
        assert ends(r) == {"done": 2}


@pytest.mark.parametrize(
    ("habit", "end"), [(None, "failed"), ("broken", "failed"), ("busy:1", "done"), ("unauthorized", "done")]
)
async def test_a_trade_that_is_refused_for_itself(tmp_path: Path, habit: str | None, end: str) -> None:
    """Where nothing is said of the run it is not known why the trade was refused, and it is asked again."""
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        await until(lambda: not r.handler._fresh)
        center.script("/trade", "status:400")
        center.script("/run/update", habit)
        r.say("entry", 1)
        await nudged(r)
        assert ends(r) == {end: 1}
        assert len(center.asked("/run/start")) == 1


# -- what it wants meanwhile -------------------------------------------------------------------------------------------


async def test_a_run_that_is_gone_on_with_hears_at_once_of_a_pause(tmp_path: Path) -> None:
    wanted: list[bool] = []

    async def pause(paused: bool) -> None:
        wanted.append(paused)

    async with Center() as center:
        async with room(tmp_path, center.url, crash=True) as r:
            await r.opened()
        center.config["pauseOrders"] = True
        r = Room(tmp_path, center.url, SetClock(), "live")
        r.handler.pause = pause
        r.begin()
        await until(lambda: wanted)
        assert wanted == [True]
        assert len(center.asked("/run/start")) == 1
        await r.stop()


async def test_a_secret_in_the_place_of_an_id_is_left_out(tmp_path: Path, said: list[str]) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        ids = {"condition_id": "[hidden]", "token_id": "0x[hidden]", "outcome": "Up"}
        found = r.say("entry", 1, meta={"asset": "BTC", **ids})
        r.say("entry", 2, meta={"asset": "[hidden]", **ids})
        await r.told()
        await r.handler.report_markets()
        assert [trade.body["asset"] for trade in center.trades.values()] == ["BTC", "M2"]
        assert all(not {"conditionId", "tokenId"} & set(trade.body) for trade in center.trades.values())
        assert not any(b"[hidden]" in call.raw for call in center.calls)
        assert f"polymaker: entry {found.id}: meta.token_id, meta.condition_id held a secret and is left out\n" in said
