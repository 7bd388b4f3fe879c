"""What the Center may have in its books although it said otherwise: told once, and little of it risked."""

import asyncio
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from daemon.dispatch import outbox as module
from daemon.ports import Outcome, Result
from handlers.polymaker.handler import ERRORS_MOST
from handlers.polymaker.models import BATCH_MOST
from tests.fakes.center import Center
from tests.handlers.polymaker.room import META, room
from tests.handlers.polymaker.test_handler import nudged


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_S", 0.02)


async def test_a_center_that_takes_it_and_breaks_has_each_trade_once(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        center.habits["/trade/batch"] = "broken_after"
        center.script("/trade", "broken_after")
        for number in range(150):
            r.say("entry", number, meta=META | {"cycle": number})
        await nudged(r)
        r.say("entry", 150, meta=META | {"cycle": 150})
        await nudged(r)
        for number in (151, 152):
            r.say("entry", number, meta=META | {"cycle": number})
        await nudged(r)
        assert [trade.body["cycle"] for trade in center.trades.values()] == list(range(153))
        assert len(center.asked("/trade/batch")) == 1, "one batch was risked, and no second one"
        ends = Counter(post.outcome.result for post in r.posts("trade") if post.outcome)
        assert ends == {Result.UNCERTAIN: BATCH_MOST + 1, Result.DONE: 52}


async def test_after_a_doubt_no_more_than_one_trade_is_risked(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        center.script("/trade/batch", "reset_after")
        center.script("/trade", "reset_after", "reset_after")
        for number in range(250):
            r.say("entry", number, meta=META | {"cycle": number})
        await nudged(r)
        assert [trade.body["cycle"] for trade in center.trades.values()] == list(range(250))
        assert [len(call.body.get("trades", [None])) for call in center.calls if "/trade" in call.path] == [
            100, 1, 1, 1, 100, 47,
        ]  # fmt: skip


async def test_a_center_that_breaks_at_every_update_has_all_trades_and_its_run_ends(tmp_path: Path) -> None:
    async with Center() as center:
        async with room(tmp_path, center.url) as r:
            await r.opened()
            center.habits["/trade/update"] = "broken"
            for number in range(3):
                r.trade(number)
            await nudged(r)
            updates = r.posts("trade/update")
            assert [post.outcome.result for post in updates if post.outcome] == [Result.UNCERTAIN] * 3
            assert len(center.asked("/trade/update")) == ERRORS_MOST["trade/update"] + 2
            center.habits.clear()
            r.trade(3)
            await nudged(r)
            assert r.posts("trade/update")[-1].outcome == Outcome(Result.DONE)
        assert set(center.copies().values()) == {1}
        assert len(center.trades) == 8
        assert [run.status for run in center.runs.values()] == ["completed"]


async def test_a_run_whose_end_the_center_breaks_at_keeps_no_other_from_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ERRORS_MOST, "run/stop", 5)
    async with Center() as center:
        center.habits["/run/stop"] = "broken_after"
        async with room(tmp_path, center.url) as r:
            await r.opened()
            r.trade(1)
            await r.told()
        async with room(tmp_path, center.url) as r:
            r.trade(2)
            await nudged(r)
            await r.told()
            assert r.runs.current_id == 102
            center.habits.clear()
        assert [(run.status, run.stops > 1) for run in center.runs.values()] == [
            ("completed", True), ("completed", False),
        ]  # fmt: skip
        assert center.copies().total() == 4
        assert 5 <= center.runs[101].stops <= 10, "a life has its own count"


async def test_a_power_cut_after_a_backlog_has_gone_tells_no_trade_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut leaves is what the last flush brought to the disk."""
    live, left, real = tmp_path / "live", tmp_path / "left", os.fdatasync
    left.mkdir()

    def flush(descriptor: int) -> None:
        real(descriptor)
        for name in ("journal.db", "journal.db-wal"):
            shutil.copy(live / name, left / name)

    async with Center() as center:
        async with room(live, center.url, crash=True) as r:
            await r.opened()
            monkeypatch.setattr("daemon.journal.sync.os.fdatasync", flush)
            center.habits["*"] = "away"
            for number in range(2 * BATCH_MOST + 10):
                r.say("entry", number, meta=META | {"cycle": number})
            acknowledged = asyncio.Event()
            r.journal.after_sync(lambda _: acknowledged.set())
            await acknowledged.wait()
            center.habits.clear()
            await nudged(r)
            monkeypatch.setattr("daemon.journal.sync.os.fdatasync", real)  # the power is gone
        async with room(left, center.url) as r:
            await r.told()
        assert len(center.trades) == 2 * BATCH_MOST + 10
        assert set(center.copies().values()) == {1}
        assert len(center.runs) == 1
