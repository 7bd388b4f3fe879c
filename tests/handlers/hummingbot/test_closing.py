"""Getting out: cancel, look, close what is really held and no more, look again; and say so loudly when it cannot be."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from daemon.lifecycle import until
from daemon.ports import Outcome, Result
from tests.handlers.hummingbot.acting import KEY, ORDERS, PERP, QUICK, Desk, desk, make

SLOW = replace(QUICK, give_up_s=20.0, close_s=40.0)
"""For what ends by the number of its attempts, and not by time."""
BUY: dict[str, Any] = PERP | {"side": "BUY", "amount": "0.5"}
PLACE = "/trading/orders"
HALT = "BTC-USD at hyperliquid_perpetual (master_account) could not be closed: "


async def opened(d: Desk) -> None:
    """Half a bitcoin, long, and a resting order."""
    assert (await d.do("place_order", **BUY)).result is Result.DONE
    assert (await d.do("place_order", **BUY | {"price": "50000"})).result is Result.DONE
    d.server.asked.clear()


async def test_the_safe_order() -> None:
    async with desk() as d:
        await opened(d)
        outcome = await d.do("close_position", "sl", **PERP)
        assert outcome == Outcome(Result.DONE, "closed 0.5 long; 1 order cancelled")
        assert d.server.exchange.positions == {}
        way = [each.path.rpartition("/")[2] for each in d.server.asked]
        assert way.index("cancel") < way.index("positions") < way.index("orders") < len(way) - 1
        (sent,) = d.sent(PLACE)
        assert sent == {
            "account_name": "master_account", "connector_name": "hyperliquid_perpetual", "trading_pair": "BTC-USD",
            "trade_type": "SELL", "amount": "0.5", "order_type": "MARKET", "position_action": "CLOSE",
        }  # fmt: skip
        assert await d.do("close_position", "sl", **PERP) == Outcome(Result.DONE, "no position is open")
        assert len(d.sent(PLACE)) == 1


async def test_a_short_that_came_from_elsewhere() -> None:
    async with desk() as d:
        d.server.exchange.hold(*KEY, "-0.25", "59000")
        assert await d.do("close_position", "close", **PERP) == Outcome(Result.DONE, "closed 0.25 short")
        assert d.sent(PLACE)[0]["trade_type"] == "BUY"


async def test_an_executor_of_ours_lets_go_first_and_others_are_left_alone() -> None:
    ours = PERP | {"side": "long", "amount": "0.5", "take_profit": "2%"}
    async with desk() as d:
        assert (await d.do("executor", **ours)).result is Result.DONE
        d.server.exchange.executors["theirs"] = d.server.exchange.executors["ex0001"] | {
            "executor_id": "theirs", "controller_id": "main",
        }  # fmt: skip
        assert await d.do("close_position", "sl", **PERP) == Outcome(Result.DONE, "closed 0.5 long")
        assert d.server.exchange.executors["ex0001"]["close_type"] == "POSITION_HOLD"
        assert d.server.exchange.executors["theirs"]["is_active"]
        way = [each.path for each in d.server.asked]
        assert way.index("/executors/ex0001/stop") < way.index("/trading/orders")
        assert d.server.exchange.positions == {}


async def test_an_executor_that_does_not_let_go_halts_entries() -> None:
    async with desk() as d:
        await d.do("executor", **PERP | {"side": "long", "amount": "0.5"})
        d.server.habits.answer["POST", "/executors/{executor}/stop"] = (500, "text/plain", b"Internal Server Error")
        outcome = await d.do("close_position", "sl", **PERP)
        assert outcome == Outcome(
            Result.UNCERTAIN, "executor ex0001 still runs", f"{HALT}executor ex0001 still runs"
        )  # closed all the same
        assert d.server.exchange.positions == {}


async def test_filled_while_it_was_cancelled() -> None:
    async with desk() as d:
        await opened(d)
        d.server.habits.cancels = "fills"
        assert (await d.do("close_position", "sl", **PERP)).reason == "closed 1.0 long; 1 order cancelled"
        assert d.server.exchange.positions == {}


async def test_a_close_that_needs_two_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(patience=SLOW) as d:
        await opened(d)
        d.server.habits.orders = "partial"
        fill = d.server.exchange.fill

        def once(order_id: str, amount: Decimal | None = None, price: Decimal | None = None) -> None:
            fill(order_id, amount, price)
            d.server.habits.orders = "rest"

        monkeypatch.setattr(d.server.exchange, "fill", once)
        outcome = await d.do("close_position", "sl", **PERP)
        assert outcome == Outcome(Result.DONE, "closed 0.5 long in 2 attempts; 2 orders cancelled")
        assert [sent["amount"] for sent in d.sent(PLACE)] == ["0.5", "0.25"]
        assert d.server.exchange.positions == {}


async def test_a_stubborn_position_halts_entries() -> None:
    async with desk(patience=SLOW) as d:
        await opened(d)
        d.server.habits.orders = "reject"
        outcome = await d.do("close_position", "sl", **PERP)
        why = f"0.5 long still open after 3 attempts: the exchange refused order {d.rows[-1]['order_id']}"
        assert outcome == Outcome(Result.FAILED, f"{why}: Insufficient margin", f"{HALT}{why}: Insufficient margin")
        assert len(d.sent(PLACE)) == 3


async def test_partly_closed_is_not_nothing() -> None:
    async with desk(patience=SLOW) as d:
        await opened(d)
        d.server.habits.orders = "partial"
        outcome = await d.do("close_position", "sl", **PERP)
        assert outcome.result is Result.UNCERTAIN
        assert "0.0625 long still open after 3 attempts" in outcome.reason
        assert outcome.halt


@pytest.mark.parametrize("habit", ["done", "lost"])
async def test_a_reset_while_closing(habit: Any) -> None:
    async with desk(patience=SLOW) as d:
        await opened(d)
        place = d.server.exchange.place

        def once(body: dict[str, Any]) -> dict[str, Any]:
            del d.server.habits.reset[ORDERS]
            return place(body)

        d.server.habits.reset[ORDERS] = habit
        if habit == "done":
            d.server.exchange.place = once  # type: ignore[method-assign]
            outcome = await d.do("close_position", "sl", **PERP)
            assert outcome == Outcome(Result.DONE, "closed 0.5 long; 1 order cancelled")
            assert len(d.sent(PLACE)) == 1
        else:
            outcome = await d.do("close_position", "sl", **PERP)
            assert outcome.result is Result.UNCERTAIN
            assert "0.5 long still open after 3 attempts" in outcome.reason
            assert outcome.halt == f"{HALT}{outcome.reason}"


async def test_an_empty_list_is_no_proof() -> None:
    async with desk() as d:
        await opened(d)
        d.server.exchange.blind.add(PERP["connector"])
        outcome = await d.do("close_position", "sl", **PERP)
        assert outcome.result is Result.FAILED
        assert outcome.reason == "no position is listed, but by the fills 0.5 long should be open"
        assert outcome.halt
        assert d.sent(PLACE) == []


async def test_blind_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as d:
        await opened(d)
        d.server.habits.orders = "reject"
        place = d.server.exchange.place

        def then_blind(body: dict[str, Any]) -> dict[str, Any]:
            answer = place(body)
            d.server.exchange.blind.add(PERP["connector"])
            return answer

        monkeypatch.setattr(d.server.exchange, "place", then_blind)
        outcome = await d.do("close_position", "sl", **PERP)
        assert outcome.result is Result.FAILED
        assert outcome.halt


async def test_the_close_of_an_older_position_is_no_short() -> None:
    async with desk() as d:
        await opened(d)
        assert (await d.do("close_position", "sl", **PERP)).result is Result.DONE
        del d.server.exchange.trades[0]  # the opening one is older than what is looked at
        assert await d.do("close_position", "sl", **PERP) == Outcome(Result.DONE, "no position is open")
        # Closed by hand elsewhere: said once, and forgotten with the next position that was seen to go.
        await d.do("place_order", **BUY)
        d.server.exchange.positions.clear()
        assert (await d.do("close_position", "sl", **PERP)).halt
        d.server.exchange.hold(*KEY, "0.5", "60000")
        assert (await d.do("close_position", "sl", **PERP)).result is Result.DONE
        assert (await d.do("close_position", "sl", **PERP)).result is Result.DONE


async def test_a_server_that_is_away_is_waited_for_and_then_it_is_said() -> None:
    async with desk(patience=replace(QUICK, confirm_s=0.1, give_up_s=0.2, close_s=0.5)) as d:
        await opened(d)
        await d.server.stop()
        outcome = await d.do("close_position", "sl", **PERP)
        assert outcome.result is Result.FAILED
        assert "Connection refused" in outcome.reason or "no end within" in outcome.reason
        assert outcome.halt


async def test_a_server_that_hangs_does_not_hold_it_for_ever() -> None:
    async with desk(patience=replace(QUICK, confirm_s=0.1, give_up_s=0.2, close_s=1.5), limit_s=5) as d:
        await opened(d)
        d.server.habits.think_s[ORDERS] = 4
        outcome = await d.do("close_position", "sl", **PERP)
        assert outcome.result is Result.UNCERTAIN
        assert outcome.reason == "no end within 1.5 s"
        assert outcome.halt


async def test_spot_holds_no_positions() -> None:
    async with desk() as d:
        outcome = await d.do("close_position", "sl", **PERP | {"connector": "binance"})
        assert outcome == Outcome(
            Result.REFUSED, "binance holds no positions; close_position is for perpetual connectors"
        )
        assert (await d.do("close_position", "sl", **PERP | {"account": "x"})).result is Result.REFUSED


async def test_after_a_crash_nothing_is_sent() -> None:
    event = make("sl")
    async with desk() as d:
        await opened(d)
        outcome = await d.again("close_position", event=event, **PERP)
        assert outcome.result is Result.UNCERTAIN
        assert outcome.reason == "interrupted by a crash and not tried again; 0.5 long still open"
        assert outcome.halt == (
            f"BTC-USD at hyperliquid_perpetual (master_account) was not closed: {outcome.reason}; "
            "close it by hand or send another close, then `deskhand resume`"
        )
        assert d.posts == []
        await d.do("close_position", event=event, **PERP)
        assert await d.again("close_position", event=event, **PERP) == Outcome(Result.DONE, "no position is open")


async def test_after_a_crash_an_order_on_its_way_is_waited_for() -> None:
    event = make("sl")
    async with desk(patience=replace(QUICK, confirm_s=5.0, give_up_s=6.0)) as d:
        await opened(d)
        d.server.habits.think_s[ORDERS] = 0.3
        cut = asyncio.create_task(d.do("close_position", event=event, **PERP))
        await until(lambda: bool(d.server.thinking), 5.0)
        cut.cancel()
        d.crash()
        assert d.server.exchange.position(*KEY) == Decimal("0.5")
        assert await d.again("close_position", event=event, **PERP) == Outcome(Result.DONE, "no position is open")
        assert len(d.sent("/trading/orders")) == 1


async def test_after_a_crash_a_server_that_is_not_up_yet_is_waited_for() -> None:
    event = make("sl")
    async with desk(patience=replace(QUICK, confirm_s=0.1, give_up_s=5.0)) as d:
        await d.server.stop()
        look = asyncio.create_task(d.again("close_position", event=event, **PERP))
        assert not (await asyncio.wait([look], timeout=0.3))[0]
        await d.server.start()
        assert await look == Outcome(Result.DONE, "no position is open")
    async with desk() as d:
        await d.server.stop()
        outcome = await d.again("close_position", event=event, **PERP)
        assert outcome.result is Result.UNCERTAIN
        assert "the open orders cannot be listed: Connection refused" in outcome.halt


async def test_a_server_that_is_away_halts_entries_and_may_be_tried_again() -> None:
    async with desk(patience=replace(QUICK, confirm_s=0.1, give_up_s=0.2)) as d:
        await opened(d)
        await d.server.stop()
        outcome = await d.do("close_position", "sl", **PERP)
        assert (outcome.result, outcome.away) == (Result.FAILED, True)
        assert outcome.halt.startswith(HALT)
        await d.server.start()
        d.server.habits.orders = "reject"
        outcome = await d.do("close_position", "sl", **PERP)
        assert (outcome.result, outcome.away) == (Result.FAILED, False)
