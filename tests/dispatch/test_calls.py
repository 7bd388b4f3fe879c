"""Actions that are calls: once, in order within a trade, and looked up rather than repeated."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.dispatch.calls import SIDE_BY_SIDE, Calls
from daemon.errors import JournalError
from daemon.events import TradeEvent
from daemon.ports import Outcome, Result
from daemon.settings import Call, Press, Route, When
from tests.dispatch.support import Core, SetClock, ages, core, turns, until

DONE = Outcome(Result.DONE, "order 1")
AWAY = Outcome(Result.FAILED, "Connection refused", away=True)


class Exchange:
    """A caller whose answers the test decides."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.looked: list[str] = []
        self.answer: Callable[[], Outcome] = lambda: DONE
        self.found = Outcome(Result.DONE, "found")
        self.gates: dict[str, asyncio.Event] = {}
        self.looking = asyncio.Event()
        self.looking.set()

    async def perform(self, step: str, event: TradeEvent) -> Outcome:
        self.asked.append((event.id, json.loads(step)))
        if event.symbol in self.gates:
            await self.gates[event.symbol].wait()
        return self.answer()

    async def reconcile(self, step: str, event: TradeEvent) -> Outcome:  # noqa: ARG002  # the shape is Caller's
        self.looked.append(event.id)
        await self.looking.wait()
        return self.found

    @property
    def ids(self) -> list[str]:
        return [event_id for event_id, _ in self.asked]


BUY = Call(
    hummingbot="place_order", account="master_account", connector="x_perpetual", pair="{symbol}", side="BUY",
    amount="{quantity}", leverage=2,
)  # fmt: skip
STOP = Call(hummingbot="stop_bot", bot="{meta.bot}")
ROUTES = (
    Route(when=When(type="sl"), do=(STOP,)),
    Route(when=When(source="hummingbot", type="close"), do=(Press(hotkeys="main"),)),
    Route(do=(BUY,)),
)


@asynccontextmanager
async def desk(folder: Path, exchange: Exchange | None, *, crash: bool = False) -> AsyncIterator[Core]:
    async with core(folder, how={"routes": ROUTES}, opened=False) as c:
        calls = Calls(
            "hummingbot:api", "live", c.rules.max_age_s, c.journal, c.clock, c.metrics, c.dispatcher.on_end,
            c.dispatcher.flush_soon,
        )  # fmt: skip
        calls.caller = exchange
        c.dispatcher.add_calls(calls)
        c.journal.open()
        c.take_up()
        try:
            yield c
        finally:
            if crash:
                c.crash()
            await calls.stop()


async def test_fields_come_from_the_event_and_the_answer_is_the_outcome(tmp_path: Path) -> None:
    exchange = Exchange()
    async with desk(tmp_path, exchange) as c:
        assert await c.done("entry", "SOL-USDT", quantity="1.50") == ("done", "order 1")
        assert exchange.asked[0][1] == {
            "do": "place_order", "account": "master_account", "connector": "x_perpetual", "pair": "SOL-USDT",
            "side": "BUY", "amount": "1.50", "leverage": "2",
        }  # fmt: skip
        reason = "place_order needs {quantity} for amount, and the event brings none"
        assert await c.done("entry", "ETH-USDT") == ("refused", reason)
        assert await c.done("sl", "ETH-USDT", meta={"bot": "grid-1"}) == ("done", "order 1")
        assert exchange.asked[-1][1] == {"do": "stop_bot", "bot": "grid-1"}


async def test_in_order_within_a_trade_and_side_by_side_across_them(tmp_path: Path) -> None:
    exchange = Exchange()
    exchange.gates = {"A": asyncio.Event()}
    async with desk(tmp_path, exchange) as c:
        await c.send("entry", "A", quantity=1, id="a1")
        await c.send("tp1", "A", quantity=1, id="a2")
        await c.send("entry", "B", quantity=1, id="b1")
        await until(lambda: exchange.ids == ["a1", "b1"])
        await turns()
        assert exchange.ids == ["a1", "b1"]
        exchange.gates["A"].set()
        await until(lambda: exchange.ids == ["a1", "b1", "a2"])


async def test_an_exit_supersedes_what_waits_in_its_trade(tmp_path: Path) -> None:
    exchange = Exchange()
    gate = exchange.gates["A"] = asyncio.Event()
    async with desk(tmp_path, exchange) as c:
        await c.send("entry", "A", quantity=1, id="a1")
        waiting = (await c.send("tp1", "A", quantity=1, id="a2")).deliveries[0]
        await c.send("sl", "A", meta={"bot": "x"}, id="a3")
        assert waiting.outcome == Outcome(Result.SUPERSEDED, "superseded by sl a3")
        await until(lambda: exchange.ids == ["a1", "a3"])  # beside the entry: its caller knows what is on its way
        await c.send("close", "A", quantity=1, id="a4")
        await turns()
        assert exchange.ids == ["a1", "a3"]  # one exit at a time
        gate.set()
        await until(lambda: exchange.ids == ["a1", "a3", "a4"])


async def test_an_exit_waits_for_what_a_caller_of_before_a_reload_has_under_way(tmp_path: Path) -> None:
    before, after = Exchange(), Exchange()
    gate = before.gates["A"] = asyncio.Event()
    async with desk(tmp_path, before) as c:
        await c.send("entry", "A", quantity=1, id="a1")
        await until(lambda: before.ids == ["a1"])
        c.dispatcher.calls["hummingbot:api"].adopt("live", c.rules.max_age_s, after)
        await c.send("sl", "A", meta={"bot": "x"}, id="a2")
        await turns()
        assert after.ids == []
        gate.set()
        await until(lambda: after.ids == ["a2"])


async def test_lookups_take_no_place_of_what_is_new_and_hold_up_no_exit(tmp_path: Path) -> None:
    async def killed(life: Exchange, symbols: list[str]) -> None:
        life.looking.clear()
        life.gates = {symbol: asyncio.Event() for symbol in symbols}
        async with desk(tmp_path, life, crash=True) as c:
            for symbol in symbols:
                await c.send("entry", symbol, quantity=1, id=symbol)
            await until(lambda: life.ids == symbols)

    first, second = [f"A{n}" for n in range(SIDE_BY_SIDE)], [f"B{n}" for n in range(SIDE_BY_SIDE)]
    await killed(Exchange(), first)
    await killed(life := Exchange(), second)
    assert life.looked == first
    after = Exchange()
    after.looking.clear()
    async with desk(tmp_path, after) as c:
        await until(lambda: len(after.looked) == SIDE_BY_SIDE)
        await c.send("entry", "C", quantity=1, id="new")
        await c.send("sl", "A0", meta={"bot": "x"}, id="out of what is looked up")
        await c.send("sl", "B15", meta={"bot": "x"}, id="out of what waits to be")
        await until(lambda: after.ids == ["new", "out of what is looked up", "out of what waits to be"])
        assert len(after.looked) == SIDE_BY_SIDE
        after.looking.set()
        await until(lambda: sorted(after.looked) == sorted(first + second))


async def test_one_at_a_time_in_a_trade_however_many_wait(tmp_path: Path) -> None:
    exchange = Exchange()
    async with desk(tmp_path, exchange) as c:
        gate = exchange.gates["A"] = asyncio.Event()
        for kind in ("entry", "tp1", "tp2"):
            await c.send(kind, "A", quantity=1, id=kind)
        await until(lambda: exchange.ids == ["entry"])
        exchange.gates["A"] = asyncio.Event()
        gate.set()
        await until(lambda: exchange.ids == ["entry", "tp1"])
        await turns()
        assert exchange.ids == ["entry", "tp1"]
        assert c.dispatcher.draining
        exchange.gates["A"].set()
        await until(lambda: len(c.ended) == 3)


async def test_an_exit_waits_for_a_peer_that_is_away_and_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.dispatch.calls.AGAIN_S", 0.02)
    exchange = Exchange()
    exchange.answer = lambda: replace(AWAY, halt="could not be closed")
    async with desk(tmp_path, exchange) as c:
        halts: list[str] = []

        async def halt(reason: str) -> None:
            halts.append(reason)

        c.dispatcher.calls["hummingbot:api"].on_halt = halt
        assert await c.done("entry", "A", quantity=1) == ("failed", "Connection refused")
        await c.send("sl", "A", meta={"bot": "x"}, id="a1")
        await c.send("entry", "A", quantity=1, id="a2")
        await until(lambda: exchange.ids.count("a1") > 2)
        assert "a2" not in exchange.ids
        exchange.answer = lambda: DONE
        await until(lambda: len(c.ended) == 3)
        assert exchange.ids[-2:] == ["a1", "a2"]
        assert [each.outcome for each in c.ended[1:]] == [DONE, DONE]
        assert set(halts) == {"could not be closed"}  # who waits says so at once


async def test_an_exit_that_waits_ends_when_it_is_too_old_or_all_is_halted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.dispatch.calls.AGAIN_S", 0.02)
    exchange = Exchange()
    exchange.answer = lambda: AWAY
    async with desk(tmp_path, exchange) as c:

        async def waiting() -> None:
            before = len(exchange.ids)
            await c.send("sl", "A", meta={"bot": "x"})
            await until(lambda: len(exchange.ids) > before + 1)

        await waiting()
        c.clock.advance(400)
        await until(lambda: len(c.ended) == 1)
        await waiting()
        c.dispatcher.halt("all", "")
        await until(lambda: len(c.ended) == 2)
        ends = [(each.outcome.result, each.outcome.reason) for each in c.ended if each.outcome]
        assert ends[0][0] == "expired"
        assert ends[0][1].endswith("the limit for sl is 300 s; Connection refused")
        assert ends[1] == ("refused", "halted (all); Connection refused")


async def test_an_exit_that_waits_goes_out_in_the_next_life(tmp_path: Path) -> None:
    exchange = Exchange()
    exchange.answer = lambda: AWAY
    async with desk(tmp_path, exchange, crash=True) as c:
        await c.send("sl", "A", meta={"bot": "x"}, id="a1")
        await until(lambda: exchange.ids == ["a1"])
        await until(lambda: not c.dispatcher.draining)
    after = Exchange()
    async with desk(tmp_path, after) as c:
        await until(lambda: len(c.ended) == 1)
        assert (after.ids, after.looked) == (["a1"], [])
        assert c.ended[0].outcome == DONE


async def test_in_practice_no_byte_leaves(tmp_path: Path) -> None:
    exchange = Exchange()
    async with desk(tmp_path, exchange) as c:
        calls = c.dispatcher.calls["hummingbot:api"]
        calls.adopt("practice", c.rules.max_age_s, exchange)
        c.intake.mode = "practice"
        result, reason = await c.done("entry", quantity=1)
        assert result == "simulated"
        assert "place_order" in reason
        assert exchange.asked == []


async def test_what_was_cut_off_is_looked_up_and_not_repeated(tmp_path: Path) -> None:
    exchange = Exchange()
    exchange.gates = {"A": asyncio.Event()}
    async with desk(tmp_path, exchange, crash=True) as c:
        await c.send("entry", "A", quantity=1, id="a1")
        await until(lambda: exchange.ids == ["a1"])
    after = Exchange()
    async with desk(tmp_path, after) as c:
        await until(lambda: after.looked == ["a1"])
        await until(lambda: len(c.ended) == 1)
        assert c.ended[0].outcome == Outcome(Result.DONE, "found")
        assert after.asked == []


async def test_a_broken_handler_ends_uncertain_and_the_next_call_goes(tmp_path: Path) -> None:
    exchange = Exchange()

    def broken() -> Outcome:
        raise ValueError("oops")

    exchange.answer = broken
    async with desk(tmp_path, exchange) as c:
        assert await c.done("entry", quantity=1) == ("uncertain", "a mistake of ours: ValueError")
        exchange.answer = lambda: DONE
        assert (await c.done("tp1", quantity=1))[0] == "done"


async def test_a_handler_may_ask_for_entries_to_stop(tmp_path: Path) -> None:
    exchange = Exchange()
    exchange.answer = lambda: Outcome(Result.UNCERTAIN, "0.1 still open", halt="could not be closed")
    async with desk(tmp_path, exchange) as c:
        asked: list[str] = []

        async def halt(reason: str) -> None:
            assert not c.ended
            asked.append(reason)
            c.dispatcher.halt("entries", reason, "hummingbot")

        c.dispatcher.calls["hummingbot:api"].on_halt = halt
        assert await c.done("tp1", quantity=1) == ("uncertain", "0.1 still open")
        assert asked == ["could not be closed"]
        exchange.answer = lambda: DONE
        assert await c.done("entry", "X", quantity=1) == ("refused", "halted (entries)")
        assert (await c.done("close", "Y", quantity=1))[0] == "done"

        async def broken(_: str) -> None:
            raise JournalError("disk full")

        c.dispatcher.calls["hummingbot:api"].on_halt = broken
        exchange.answer = lambda: Outcome(Result.FAILED, "0.1 still open", halt="could not be closed")
        assert await c.done("tp1", "Z", quantity=1) == ("failed", "0.1 still open")


async def test_too_old_halted_or_nobody_there(tmp_path: Path) -> None:
    clock = SetClock()
    async with desk(tmp_path, Exchange()) as c:
        c.clock.wall = clock.wall + 100
        assert (await c.done("entry", quantity=1, ts=clock.wall))[0] == "expired"
        c.dispatcher.halt("entries", "")
        assert await c.done("entry", quantity=1) == ("refused", "halted (entries)")
    async with desk(tmp_path, None) as c:
        assert await c.done("tp1", "X", quantity=1) == ("refused", "hummingbot is not configured")


async def test_a_failed_call_may_be_sent_again(tmp_path: Path) -> None:
    exchange = Exchange()
    exchange.answer = lambda: Outcome(Result.FAILED, "insufficient margin")
    async with desk(tmp_path, exchange) as c:
        raw = b'{"type":"entry","symbol":"A","quantity":1}'
        first = await c.intake.submit(raw, "http")
        await c.settled(first)
        second = await c.intake.submit(raw, "http")
        assert second.status == "accepted"
        assert second.id != first.id


async def test_reports_have_no_age_and_no_default_route(tmp_path: Path) -> None:
    exchange = Exchange()
    async with desk(tmp_path, exchange) as c:
        c.intake.max_age_s = ages(entry=1, close=1)
        old = {"ts": c.clock.wall - 3600, "source": "hummingbot", "quantity": 1}
        told = list[str]()
        c.dispatcher.told.append(lambda event, result, mode: told.append(event.id))  # noqa: ARG005
        entry = await c.intake.submit(
            json.dumps({"type": "entry", "symbol": "A", "id": "r1"} | old).encode(), "hummingbot"
        )
        assert (entry.status, list(entry.deliveries)) == ("accepted", [])
        close = await c.intake.submit(
            json.dumps({"type": "close", "symbol": "A", "id": "r2"} | old).encode(), "hummingbot"
        )
        assert [d.action.handler for d in close.deliveries] == ["hotkeys"]
        assert exchange.asked == []
        assert told[0] == "r1"
        assert (await c.settled(close)).outcome == Outcome(Result.EXPIRED, "3600.0 s old, the limit for close is 300 s")
