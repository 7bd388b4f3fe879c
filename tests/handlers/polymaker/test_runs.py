"""When a run begins, goes on and ends, and what of its trades is told, whatever happened in between."""

from contextlib import suppress
from pathlib import Path

import pytest

from daemon.errors import JournalError, UnreachableError
from daemon.ports import Mode, Post, Result, State
from handlers.polymaker.runs import START, STOP, TRADE, UPDATE
from tests.dispatch.support import SetClock, event, turns
from tests.fakes.center import Center
from tests.handlers.polymaker.room import META, Room, room


def said(room: Room) -> list[tuple[str, str]]:
    """Name and trade of every post of this run."""
    return [(post.name, post.group) for post in room.posts()]


async def test_a_life(tmp_path: Path) -> None:
    async with Center() as center:
        async with room(tmp_path, center.url) as r:
            number = await r.opened()
            r.trade(1)
            await r.told()
        (run,) = center.runs.values()
        assert (run.id, run.mode, run.bankroll, run.status, run.config_id) == (number, "live", 500, "completed", 7)
        assert run.final["totalOrders"] == 2
        assert [said["totalOrders"] for _, said in run.updates] == [0], "the first figures, at once"
        assert center.violations == []


@pytest.mark.parametrize(
    ("age_s", "alive_s", "goes_on"), [(10, None, True), (700, None, False), (700, 650, True), (1300, 650, False)]
)
async def test_a_run_of_before(tmp_path: Path, age_s: float, alive_s: float | None, goes_on: bool) -> None:
    clock = SetClock()
    async with Center() as center:
        async with room(tmp_path, center.url, clock=clock, crash=True) as r:
            first = await r.opened()
            r.trade(1)
            await r.told()
            if alive_s is not None:
                clock.advance(alive_s)
                r.runs.alive()
        clock.advance(age_s - (alive_s or 0))
        async with room(tmp_path, center.url, clock=clock) as r:
            second = await r.opened()
            assert (second == first) is goes_on
            assert r.runs.figures()["totalOrders"] == (2 if goes_on else 0)
        statuses = [run.status for run in center.runs.values()]
        assert statuses == (["completed"] if goes_on else ["error", "completed"])
        if not goes_on:
            lost = center.runs[first]
            assert lost.error_message == "the daemon ended without closing this run"
            assert lost.final["totalOrders"] == 2


async def test_a_trade_shows_that_a_run_is_alive(tmp_path: Path) -> None:
    clock = SetClock()
    async with Center() as center:
        async with room(tmp_path, center.url, clock=clock, crash=True) as r:
            first = await r.opened()
            clock.advance(1000)
            r.trade(1)
            await r.told()
        clock.advance(500)
        async with room(tmp_path, center.url, clock=clock) as r:
            assert await r.opened() == first


async def test_it_is_alive_while_the_center_is_away(tmp_path: Path) -> None:
    clock = SetClock()
    async with Center() as center:
        async with room(tmp_path, center.url, clock=clock, crash=True) as r:
            first = await r.opened()
            await center.stop()
            for _ in range(60):
                clock.advance(30)
                with suppress(UnreachableError):
                    await r.handler.push_metrics()
        await center.start()
        async with room(tmp_path, center.url, clock=clock) as r:
            assert await r.opened() == first


@pytest.mark.parametrize("change", ["place", "mode"])
async def test_a_run_that_was_elsewhere_is_closed_where_it_was(tmp_path: Path, change: str) -> None:
    mode: Mode = "practice" if change == "mode" else "live"
    async with Center() as first, Center() as second:
        async with room(tmp_path, first.url, crash=True) as r:
            await r.opened()
        now = second if change == "place" else first
        async with room(tmp_path, now.url, mode=mode) as r:
            await r.opened()
            assert [run.status for run in now.runs.values()] == (["open"] if change == "place" else ["error", "open"])
            assert r.outbox.depth == (1 if change == "place" else 0)
        async with room(tmp_path, first.url) as r:
            await r.opened()
        assert first.runs[101].status == "error"
        assert not first.violations + second.violations


async def test_stop_before_start(tmp_path: Path) -> None:
    """What the Center did not take goes out at the next start before anything else."""
    async with Center() as center:
        async with room(tmp_path, center.url) as r:
            await r.opened()
            await center.stop()
            r.trade(1)
            r.runs.end("completed")
            r.journal.commit()
        await center.start()
        async with room(tmp_path, center.url) as r:
            await r.opened()
            await r.told()
        assert [run.status for run in center.runs.values()] == ["completed", "completed"]
        asked = [call.path for call in center.calls if call.method == "POST" and call.path != "/run/update"]
        assert asked == ["/run/start", "/trade/batch", "/trade/update", "/run/stop", "/run/start", "/run/stop"]
        assert not center.doubled()


@pytest.mark.parametrize("result", list(Result))
async def test_what_is_told_of_each_outcome(tmp_path: Path, result: Result) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        r.say("entry", 1, result)
        r.say("close", 2, result)
        told = said(r)
        if result in (Result.REFUSED, Result.EXPIRED):
            assert told == [(START, "")]
            return
        words = {Result.FAILED: "failed", Result.SUPERSEDED: "cancelled"}
        each = [TRADE, *([UPDATE] if result in words else [])]
        assert told == [(START, ""), *((name, "t1") for name in each), *((name, "t2") for name in each)]
        await r.told()
        statuses = [trade.status for trade in center.trades.values()]
        assert statuses == [words.get(result)] * 2, "what is said is said of the order itself"
        assert r.runs.figures()["totalFills"] == (2 if result in (Result.DONE, Result.SIMULATED) else 0)


async def test_an_exit_tells_of_its_entry(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        entry = r.say("entry", 1, price="0.40", quantity="20")
        r.say("tp1", 1, price="0.50", quantity="10")
        r.say("sl", 1, Result.FAILED, price="0.30")
        r.say("close", 1, price="0.30")
        await r.told()
        bought, sold, failed, closed = center.trades.values()
        assert [(said["status"], said["pnl"]) for _, said in bought.updates] == [("filled", 2), ("filled", -1)]
        assert {said["fillSize"] for _, said in bought.updates} == {20}
        assert entry.ts == r.clock.now()
        assert (sold.status, failed.status, closed.status) == (None, "failed", None)


async def test_what_is_not_ours_is_not_told(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        r.runs.told(event("entry"), Result.DONE, "live")
        r.runs.told(event("entry", meta={"window": "5m"}), Result.DONE, "live")
        r.runs.told(event("entry", meta=META), Result.DONE, "practice")
        assert said(r) == [(START, "")]


async def test_an_exit_that_names_only_its_trade_is_told_as_its_entry_was(tmp_path: Path) -> None:
    meta = {"outcome": "Down", "token_id": "7", "window": "5m"}
    async with Center() as center:
        async with room(tmp_path, center.url, crash=True) as r:
            r.say("entry", 1, price="0.40", quantity="20", strategy="arb", meta=meta)
            r.say("tp1", 1, price="0.50", quantity="10", meta=None)
            r.say("sl", 2, meta=None)
            await r.told()
        async with room(tmp_path, center.url) as r:  # the same after a crash
            r.say("sl", 1, price="0.30", quantity=None, meta=None)
            r.say("close", 1, price="0.30", meta=None)
            await r.told()
            assert float(r.runs.figures()["realizedPnl"]) == -1
        bought, *sold = center.trades.values()
    same = ("asset", "windowDuration", "outcome", "strategy", "tokenId", "cycle")
    assert [[each.body[name] for name in same] for each in sold] == [[bought.body[name] for name in same]] * 2
    assert [(each.body["side"], float(each.body["price"])) for each in sold] == [("sell", 0.5), ("sell", 0.3)]
    assert [said["pnl"] for _, said in bought.updates] == [2, -1]


async def test_an_event_is_told_once(tmp_path: Path) -> None:
    async with Center() as center:
        async with room(tmp_path, center.url, crash=True) as r:
            found = r.say("entry", 1)
            r.runs.told(found, Result.FAILED, "live")
            await r.told()
            assert r.runs.figures()["totalOrders"] == 1
        async with room(tmp_path, center.url) as r:
            r.runs.told(found, Result.UNCERTAIN, "live")
            await r.told()
        assert len(center.trades) == 1


async def test_before_there_is_a_run_it_is_remembered(tmp_path: Path) -> None:
    async with Center() as center:
        r = Room(tmp_path, center.url, SetClock(), "live")
        r.journal._release(wait_s=1)
        r.outbox.adopt(r.handler)
        with pytest.raises(JournalError):
            r.outbox.take_up()
        r.runs.told(event("entry", meta=META, price="0.4", quantity="1"), Result.DONE, "live")
        r.runs.told(event("sl", price="0.5"), Result.DONE, "live")
        r.runs.told(event("sl", trade_id="no trade there"), Result.DONE, "live")
        r.journal.open()
        r.begin()
        await r.told()
        assert len(center.trades) == 2
        await r.stop()


async def test_while_nothing_can_be_written_it_is_remembered_and_told_once(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        before = event("entry", meta=META, price="0.5", quantity="1")
        r.runs.told(before, Result.DONE, "live")
        await r.told()
        r.journal._release(wait_s=1)
        r.runs.told(before, Result.DONE, "live")
        during = event("sl", meta=META, price="0.4", quantity="1")
        r.runs.told(during, Result.DONE, "live")
        r.runs.told(during, Result.FAILED, "live")
        await turns(100)
        assert len(center.trades) == 1
        r.journal.open()
        await r.told()
        assert [trade.body["side"] for trade in center.trades.values()] == ["buy", "sell"]


async def test_a_mistake_of_ours_harms_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        monkeypatch.setattr(r.runs.ledger, "take", lambda _: 1 / 0)
        r.runs.told(event("sl", meta=META, price="0.5", quantity="1"), Result.DONE, "live")
        monkeypatch.undo()
        r.trade(1)
        await r.told()
        assert len(center.trades) == 2


async def test_after_the_end_of_a_run_nothing_is_lost(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        r.runs.end("completed")
        r.runs.end("error")
        r.trade(1)
        await r.told()
        assert r.runs.current_id is None
        await r.handler.push_metrics()
        (run,) = center.runs.values()
        assert (run.status, run.stops, len(run.updates), len(center.trades)) == ("completed", 1, 1, 2)


async def test_records_that_cannot_be_read(tmp_path: Path) -> None:
    async with Center() as center:
        async with room(tmp_path, center.url, crash=True) as r:
            number = await r.opened()
            r.trade(1)
            r.outbox.put(Post("polymaker", r.handler.place, r.runs.run, "t2", TRADE, "odd:trade", {"note": 5}, 1.0))
            await r.told()
            odd = r.outbox.find("odd:trade")
            assert odd is not None
            assert odd.outcome is not None
            assert (odd.outcome.result, odd.outcome.reason) == (
                Result.FAILED,
                "cannot be told: its record cannot be read",
            )
            r.outbox.remember("alive", "no time")
            r.journal.commit()
        async with room(tmp_path, center.url) as r:
            assert await r.opened() == number
            assert r.runs.figures()["totalOrders"] == 2


async def test_a_run_of_which_the_beginning_is_lost(tmp_path: Path) -> None:
    async with Center() as center:
        async with room(tmp_path, center.url, crash=True) as r:
            await r.opened()
            await center.stop()
            r.trade(1)
            r.journal._query(f"DELETE FROM posts WHERE name = '{START}'")
        await center.start()
        async with room(tmp_path, center.url) as r:
            await r.opened()
            await r.told()
            lost = r.outbox.find(next(p.mark for p in r.outbox._journal.posts_of(r.runs.run)))
            assert lost is not None
        assert center.trades == {}
        assert [run.status for run in center.runs.values()] == ["stale", "completed"]


async def test_no_bankroll_is_none(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url, bankroll=None) as r:
        await r.opened()
        assert [run.bankroll for run in center.runs.values()] == [0]
        assert "endingBankroll" not in r.runs.figures()


async def test_the_end_of_a_run_that_never_opened(tmp_path: Path) -> None:
    """It is opened and closed once the Center is back: nothing of it is lost."""
    async with Center() as center:
        await center.stop()
        async with room(tmp_path, center.url) as r:
            r.trade(1)
            r.runs.end("completed")
            r.journal.commit()
        await center.start()
        async with room(tmp_path, center.url) as r:
            await r.opened()
            await r.told()
            assert [post.state for post in r.posts(STOP)] == []
            assert r.posts(START)[0].state is State.ENDED
        assert [run.status for run in center.runs.values()] == ["completed", "completed"]
        assert {trade.run for trade in center.trades.values()} == {101}
