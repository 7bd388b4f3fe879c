"""Within a trade an exit goes first: it waits for a request that is on its way, and never for what is looked for."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from daemon.lifecycle import until
from daemon.ports import Outcome, Result
from tests.handlers.hummingbot.acting import EXECUTORS, ORDERS, PERP, QUICK, Desk, desk, make

BUY: dict[str, Any] = PERP | {"side": "long", "amount": "0.5"}
LEVERAGE = ("POST", "/trading/{account}/{connector}/leverage")
LONG = replace(QUICK, confirm_s=1.0, absent_s=20.0, give_up_s=40.0, close_s=30.0)
"""Nothing that is waited for by mistake ends within the test."""


def doing(d: Desk, what: str, **fields: Any) -> asyncio.Task[Outcome]:
    return asyncio.create_task(d.do(what, **fields))


async def test_what_was_not_sent_when_an_exit_came_is_not_sent() -> None:
    for what in ("place_order", "executor"):
        async with desk() as d:
            d.server.habits.think_s[LEVERAGE] = 0.3
            entry = doing(d, what, **BUY)
            await until(lambda d=d: bool(d.server.thinking), 5.0)  # type: ignore[misc]
            assert await d.do("close_position", "sl", **PERP) == Outcome(Result.DONE, "no position is open")
            words = "nothing was sent: an sl or close of its trade came first"
            assert await entry == Outcome(Result.SUPERSEDED, words)
            assert (d.rows, d.server.exchange.executors) == ([], {})
            d.server.habits.think_s.clear()
            assert (await d.do(what, **BUY)).result is Result.DONE  # the next one is another


async def test_an_exit_waits_for_a_request_that_is_on_its_way_and_closes_what_it_opened() -> None:
    for what, route in (("place_order", ORDERS), ("executor", EXECUTORS)):
        async with desk() as d:
            d.server.habits.think_s[route] = 0.5
            entry = doing(d, what, **BUY)
            await until(lambda d=d: bool(d.server.thinking), 5.0)  # type: ignore[misc]
            d.server.habits.think_s.clear()
            assert await d.do("close_position", "sl", **PERP) == Outcome(Result.DONE, "closed 0.5 long")
            assert d.server.exchange.positions == {}
            await entry


async def test_an_exit_does_not_wait_until_an_order_is_filled() -> None:
    async with desk(patience=LONG) as d:
        d.server.habits.orders = "partial"
        entry = doing(d, "place_order", **BUY)
        await until(lambda: bool(d.rows), 5.0)
        d.server.habits.orders = "rest"
        assert (await d.do("cancel_orders", "sl", **PERP)).reason == "1 cancelled"
        assert (await entry).reason.endswith("filled 0.25 of 0.5 at 60000, no more")


@pytest.mark.parametrize(
    ("what", "words"),
    [("close_position", "no position is open; 1 order cancelled"), ("cancel_orders", "1 cancelled")],
)
async def test_an_exit_does_not_end_while_the_entry_is_looked_for(what: str, words: str) -> None:
    async with desk(patience=LONG) as d:
        d.server.habits.reset[ORDERS] = "lost"
        entry = doing(d, "place_order", **BUY | {"price": "50000"})
        await until(lambda: bool(d.sent("/trading/orders/search")), 5.0)
        leave = asyncio.create_task(d.do(what, "sl", **PERP))
        await until(lambda: len(d.sent("/trading/orders/active")) > 2, 5.0)
        assert not leave.done()
        body = d.sent("/trading/orders")[0]
        d.server.exchange.place(body | {"amount": Decimal("0.5"), "price": Decimal(50000)})  # now it appears
        found = await entry  # before the exit cancels it or after, as the two lookups fall
        assert found.result is Result.DONE or "was cancelled, nothing was filled" in found.reason
        assert await leave == Outcome(Result.DONE, words)
        assert d.rows[0]["status"] == "CANCELLED"


async def test_after_a_crash_an_exit_goes_beside_the_lookup_of_its_entry() -> None:
    event = make("entry")
    async with desk(patience=LONG) as d:
        d.server.habits.think_s[ORDERS] = 30.0
        entry = asyncio.create_task(d.do("place_order", event=event, **BUY))
        await until(lambda: bool(d.server.thinking), 5.0)
        entry.cancel()
        d.crash()
        d.server.habits.think_s.clear()
        look = asyncio.create_task(d.again("place_order", event=event, **BUY))
        await until(lambda: bool(d.sent("/trading/orders/search")), 5.0)
        d.server.exchange.hold("master_account", "hyperliquid_perpetual", "BTC-USD", "0.5", "60000")
        close = asyncio.create_task(d.do("close_position", "sl", **PERP))
        await until(lambda: d.server.exchange.positions == {}, 5.0)
        assert not look.done()
        look.cancel()
        assert (await close).result is Result.DONE
