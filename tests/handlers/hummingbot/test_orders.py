"""Orders that routes ask for: what goes out, what counts as done, and that no doubt ever makes a second one."""

import asyncio
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from daemon.lifecycle import until
from daemon.ports import Outcome, Result
from tests.handlers.hummingbot.acting import KEY, ORDERS, PERP, QUICK, desk, make

BUY: dict[str, Any] = PERP | {"side": "long", "amount": "0.50"}
LONG = replace(QUICK, confirm_s=1.5, absent_s=3.0, give_up_s=6.0)
"""For what comes late, and is there in the end."""


async def test_what_goes_out_for_an_entry_and_for_its_exit() -> None:
    async with desk() as d:
        d.server.exchange.leverage[KEY] = 20
        outcome = await d.do("place_order", **BUY)
        assert outcome == Outcome(Result.DONE, f"order {d.rows[0]['order_id']}: filled 0.50 at 60000")
        assert d.posts == ["/trading/master_account/hyperliquid_perpetual/leverage", "/trading/orders"]
        assert d.sent("/trading/orders") == [
            {
                "account_name": "master_account", "connector_name": "hyperliquid_perpetual",
                "trading_pair": "BTC-USD", "trade_type": "BUY", "amount": "0.50", "order_type": "MARKET",
                "position_action": "OPEN",
            }
        ]  # fmt: skip
        assert d.server.exchange.leverage[KEY] == 1
        await d.do("place_order", "tp1", **BUY | {"amount": "0.2"})
        sent = d.sent("/trading/orders")[-1]
        assert (sent["trade_type"], sent["position_action"]) == ("SELL", "CLOSE")
        assert d.server.exchange.position(*KEY) == Decimal("0.30")
        assert d.posts.count("/trading/master_account/hyperliquid_perpetual/leverage") == 1


async def test_a_short_a_limit_and_leverage() -> None:
    async with desk() as d:
        fields = BUY | {"side": "short", "price": "61000.5", "order_type": "limit_maker", "leverage": 3}
        outcome = await d.do("place_order", **fields)
        assert outcome == Outcome(Result.DONE, f"order {d.rows[0]['order_id']}: open")
        (sent,) = d.sent("/trading/orders")
        assert (sent["trade_type"], sent["order_type"], sent["price"]) == ("SELL", "LIMIT_MAKER", "61000.5")
        assert d.server.exchange.leverage[KEY] == 3


async def test_spot_has_neither_leverage_nor_position() -> None:
    spot: dict[str, Any] = {
        "account": "master_account",
        "connector": "binance",
        "pair": "BTC/USDT",
        "side": "SELL",
        "amount": 1,
    }
    async with desk() as d:
        assert (await d.do("place_order", "sl", **spot)).result is Result.DONE
        assert d.posts == ["/trading/orders"]
        more: dict[str, Any]
        for more in ({"leverage": 2}, {"position_action": "CLOSE"}):
            refused = await d.do("place_order", **spot, **more)
            assert refused.result is Result.REFUSED
            assert "perpetual" in refused.reason
        assert len(d.rows) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"side": "up"}, "side must be BUY or SELL, or {side}"),
        ({"amount": "0"}, "amount must be a number above 0"),
        ({"amount": "1_0"}, "amount must be a number above 0"),
        ({"amount": "NaN"}, "amount must be a number above 0"),
        ({"amount": "1e400"}, "amount must be a number above 0"),
        ({"amount": "ten"}, "amount must be a number above 0"),
        ({"leverage": "126"}, "leverage must be 1 to 125"),
        ({"leverage": "1.5"}, "leverage must be 1 to 125"),
        ({"order_type": "LIMIT"}, "a LIMIT order needs a price"),
        ({"order_type": "MARKET", "price": "1"}, "a MARKET order takes no price"),
        ({"order_type": "STOP"}, "order_type must be MARKET, LIMIT or LIMIT_MAKER"),
        ({"position_action": "FLIP"}, "position_action must be OPEN or CLOSE"),
        ({"account": "../x"}, "account must be letters, digits, _ and -, 128 at most"),
        ({"connector": "a b"}, "connector must be letters, digits, _ and -, 128 at most"),
        ({"pair": "BTC"}, "pair must be like BTC-USDT"),
        ({"account": "nobody"}, "Hummingbot has no account nobody"),
        ({"connector": "bybit_perpetual"}, "master_account has no credentials for bybit_perpetual"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_words(change: dict[str, str], words: str) -> None:
    async with desk() as d:
        assert await d.do("place_order", **BUY | change) == Outcome(Result.REFUSED, words)
        assert d.posts == []


async def test_taken_is_not_done() -> None:
    async with desk() as d:
        d.server.habits.orders = "reject"
        outcome = await d.do("place_order", **BUY)
        assert outcome == Outcome(
            Result.FAILED, f"the exchange refused order {d.rows[0]['order_id']}: Insufficient margin"
        )
        d.server.habits.orders = "partial"
        outcome = await d.do("place_order", **BUY)
        assert outcome.result is Result.DONE
        assert outcome.reason.endswith("open, filled 0.25 of 0.50 at 60000")


async def test_an_order_the_exchange_never_confirms_is_uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as d:
        monkeypatch.setattr(d.server.exchange, "_accept", lambda _: None)
        outcome = await d.do("place_order", **BUY)
        assert outcome.result is Result.UNCERTAIN
        assert "has not confirmed" in outcome.reason


async def test_the_server_refuses_or_is_away() -> None:
    async with desk() as d:
        assert (await d.do("place_order", **BUY)).result is Result.DONE
        refused = await d.do("place_order", **BUY | {"amount": "0.000001"})
        assert refused.result is Result.FAILED
        assert "below minimum order size" in refused.reason
        d.server.habits.answer["POST", "/trading/{account}/{connector}/leverage"] = (
            200, "application/json", b'{"status": "error", "message": "rate limit"}',
        )  # fmt: skip
        assert (await d.do("place_order", **BUY)) == Outcome(
            Result.FAILED, "no order was sent: leverage 1 could not be set: rate limit"
        )
        d.server.password = "another"
        outcome = await d.do("place_order", **BUY)
        assert outcome.result is Result.FAILED
        assert "user name or password refused" in outcome.reason
        await d.server.stop()
        outcome = await d.do("place_order", **BUY)
        assert outcome.result is Result.FAILED
        assert "no order was sent" in outcome.reason
        assert len(d.rows) == 1


async def test_an_order_that_would_come_late_is_not_sent() -> None:
    async with desk(patience=replace(QUICK, send_s=0.1)) as d:
        d.server.habits.think_s["POST", "/trading/{account}/{connector}/leverage"] = 0.2
        outcome = await d.do("place_order", **BUY)
        assert outcome.result is Result.EXPIRED
        assert d.rows == []
        assert (await d.do("executor", **BUY)).result is Result.EXPIRED
        assert d.server.exchange.executors == {}
        d.server.exchange.hold(*KEY, "0.5", "60000")
        assert (await d.do("place_order", "sl", **BUY | {"leverage": 1})).result is Result.DONE


async def test_reset_after_receipt_found_again_and_never_a_second_order() -> None:
    async with desk() as d:
        d.server.habits.reset[ORDERS] = "done"
        outcome = await d.do("place_order", **BUY)
        assert outcome.result is Result.DONE
        assert outcome.reason.startswith(f"found again: order {d.rows[0]['order_id']}: filled 0.50")
        assert len(d.rows) == len(d.sent("/trading/orders")) == 1


async def test_reset_before_it_was_placed_is_surely_absent() -> None:
    async with desk() as d:
        d.server.habits.reset[ORDERS] = "lost"
        outcome = await d.do("place_order", **BUY)
        assert outcome.result is Result.FAILED
        assert outcome.reason.endswith("Hummingbot has no such order")
        assert len(d.sent("/trading/orders")) == 1


@pytest.mark.parametrize("answer", [(500, "text/plain", b"Internal Server Error"), (200, "application/json", b"{}")])
async def test_an_answer_that_says_nothing_is_looked_into(answer: tuple[int, str, bytes]) -> None:
    async with desk() as d:
        d.server.habits.answer[ORDERS] = answer
        outcome = await d.do("place_order", **BUY)
        assert outcome.result is Result.FAILED
        assert outcome.reason.endswith("Hummingbot has no such order")


async def test_when_nothing_can_be_searched_it_stays_uncertain() -> None:
    async with desk() as d:
        d.server.habits.reset[ORDERS] = "done"
        d.server.habits.answer["POST", "/trading/orders/search"] = (500, "text/plain", b"Internal Server Error")
        outcome = await d.do("place_order", **BUY)
        assert outcome.result is Result.UNCERTAIN
        assert "the orders cannot be searched: HTTP 500" in outcome.reason
        assert len(d.sent("/trading/orders")) == 1


async def test_a_server_that_hangs_and_does_it_later() -> None:
    async with desk(limit_s=0.5, patience=LONG) as d:
        d.server.habits.think_s[ORDERS] = 0.8
        outcome = await d.do("place_order", **BUY)
        assert outcome.result is Result.DONE
        assert "no answer within 0.5 s" in outcome.reason
        assert len(d.rows) == 1


async def test_an_order_like_it_from_before_is_not_ours_and_makes_us_unsure() -> None:
    async with desk() as d:
        await d.do("place_order", **BUY)
        d.server.habits.reset[ORDERS] = "lost"
        outcome = await d.do("place_order", **BUY)
        assert outcome.result is Result.FAILED  # the first one is known to be another's
    async with desk() as d:
        d.server.exchange.place({"account_name": KEY[0], "connector_name": KEY[1], "trading_pair": KEY[2],
                                 "trade_type": "BUY", "amount": Decimal("0.5"), "order_type": "MARKET"})  # fmt: skip
        d.rows[0]["created_at"] = "2026-01-01T00:00:00+00:00"
        d.server.habits.reset[ORDERS] = "lost"
        assert (await d.do("place_order", **BUY)).result is Result.FAILED  # too long ago
        d.rows[0]["created_at"] = d.server.exchange._iso()
        outcome = await d.do("place_order", event=make("entry"), **BUY | {"amount": "0.9"})
        assert outcome.result is Result.UNCERTAIN  # the server rounds; that far it hardly does
        assert "looks like it" in outcome.reason


async def test_what_the_server_rounded_is_found() -> None:
    async with desk() as d:
        d.server.habits.reset[ORDERS] = "done"
        place = d.server.exchange.place

        def rounded(body: dict[str, Any]) -> dict[str, Any]:
            return place(body | {"amount": Decimal("0.5")})

        d.server.exchange.place = rounded  # type: ignore[method-assign]
        outcome = await d.do("place_order", **BUY | {"amount": "0.5001"})
        assert outcome.result is Result.DONE
        assert outcome.reason.startswith("found again: order ")


async def test_two_alike_are_told_apart_by_counting() -> None:
    async with desk(limit_s=0.5, patience=LONG) as d:
        d.server.habits.think_s[ORDERS] = 0.8
        both = await asyncio.gather(d.do("place_order", **BUY), d.do("place_order", **BUY))
        assert [outcome.result for outcome in both] == [Result.DONE, Result.DONE]
        ids = {outcome.reason.split()[3] for outcome in both}
        assert len(ids) == len(d.rows) == 2


async def test_after_a_crash_it_is_looked_up_and_nothing_is_sent() -> None:
    event = make("entry", ts=time.time() - 3600)  # limits are the user's: it may have waited long
    async with desk() as d:
        await d.do("place_order", event=event, **BUY)
        sent = d.posts
        d.crash()
        outcome = await d.again("place_order", event=event, **BUY)
        assert outcome.result is Result.DONE
        assert outcome.reason.startswith(f"found again: order {d.rows[0]['order_id']}: ")
        outcome = await d.again("place_order", event=make("entry"), **BUY | {"amount": "0.1"})
        assert outcome == Outcome(Result.FAILED, "interrupted by a crash; Hummingbot has no such order")
        assert d.posts == sent
        assert (await d.again("place_order", **BUY | {"side": "?"})).result is Result.UNCERTAIN


async def test_cut_off_before_the_answer_it_is_found_by_its_looks() -> None:
    event = make("entry", ts=time.time() - 3600)
    async with desk() as d:
        d.server.habits.think_s[ORDERS] = 0.05
        cut = asyncio.create_task(d.do("place_order", event=event, **BUY))
        await until(lambda: bool(d.server.thinking), 5.0)
        cut.cancel()
        d.crash()
        outcome = await d.again("place_order", event=event, **BUY)
        assert outcome.result is Result.DONE
        assert outcome.reason.startswith(f"found again: order {d.rows[0]['order_id']}: ")
        assert len(d.rows) == len(d.sent("/trading/orders")) == 1


async def test_after_a_crash_no_other_order_is_taken_for_it() -> None:
    first, second = make("entry"), make("entry")
    async with desk() as d:
        await d.do("place_order", event=first, **BUY)
        d.crash()
        outcome = await d.again("place_order", event=second, **BUY)  # cut off before it was sent
        assert outcome == Outcome(Result.FAILED, "interrupted by a crash; Hummingbot has no such order")
        d.server.exchange.hold(*KEY, "0.5", "60000")
        await d.do("close_position", "sl", **PERP)
        d.crash()
        outcome = await d.again("place_order", "tp1", **BUY | {"amount": d.rows[-1]["amount"]})
        assert outcome == Outcome(Result.FAILED, "interrupted by a crash; Hummingbot has no such order")


async def test_an_order_by_hand_makes_unsure_what_was_hardly_sent() -> None:
    async with desk() as d:
        d.server.exchange.place({"account_name": KEY[0], "connector_name": KEY[1], "trading_pair": KEY[2],
                                 "trade_type": "BUY", "amount": Decimal("0.5"), "order_type": "MARKET"})  # fmt: skip
        outcome = await d.again("place_order", **BUY)
        assert outcome.result is Result.UNCERTAIN
        assert "nothing says that it was sent from here, but order " in outcome.reason


async def test_what_was_hardly_sent_keeps_nothing_from_what_was() -> None:
    sent, unsent = make("entry"), make("entry")
    async with desk() as d:
        d.server.habits.think_s[ORDERS] = 0.05
        cut = asyncio.create_task(d.do("place_order", event=sent, **BUY))
        await until(lambda: bool(d.server.thinking), 5.0)
        cut.cancel()
        d.crash()
        looks = (d.again("place_order", event=event, **BUY) for event in (unsent, sent))
        none, found = await asyncio.gather(*looks)
        assert (found.result, found.reason[:11]) == (Result.DONE, "found again")
        assert none == Outcome(Result.FAILED, "interrupted by a crash; Hummingbot has no such order")


async def test_without_a_journal_no_order_opens_anything() -> None:
    async with desk() as d:
        d.record.broken = True
        outcome = await d.do("place_order", **BUY)
        assert outcome == Outcome(Result.FAILED, "no order was sent: the journal cannot be written: disk full")
        assert d.rows == []
        d.server.exchange.hold(*KEY, "0.5", "60000")
        assert (await d.do("place_order", "sl", **BUY)).result is Result.DONE


async def test_what_is_on_record_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as d:
        await d.do("place_order", **BUY)
        assert len(d.record.facts) == 2
        monkeypatch.setattr("handlers.hummingbot.sent._TIDY_S", 0.0)
        await d.do("place_order", **BUY)
        assert len(d.record.facts) == 4
        monkeypatch.setattr("handlers.hummingbot.sent.KEPT_S", 0.0)
        await d.do("place_order", **BUY)
        assert len(d.record.facts) == 2


async def test_cancel_orders_counts_and_verifies() -> None:
    limit = BUY | {"price": "50000"}
    async with desk() as d:
        assert await d.do("cancel_orders", "sl", **PERP) == Outcome(Result.DONE, "no order was open")
        for _ in range(3):
            await d.do("place_order", **limit)
        assert await d.do("cancel_orders", "sl", **PERP) == Outcome(Result.DONE, "3 cancelled")
        assert {row["status"] for row in d.rows} == {"CANCELLED"}
        await d.do("place_order", **limit)
        await d.do("place_order", **limit)
        d.server.exchange.fill(d.rows[-1]["order_id"], Decimal("0.1"))
        d.server.habits.cancels = "fills"
        assert await d.do("cancel_orders", "sl", **PERP) == Outcome(Result.DONE, "0 cancelled, 2 filled before")
        d.server.habits.cancels = "pending"
        await d.do("place_order", **limit)
        assert await d.do("cancel_orders", "sl", **PERP) == Outcome(Result.UNCERTAIN, "1 order is still open")
        assert await d.again("cancel_orders", "sl", **PERP) == Outcome(
            Result.UNCERTAIN, "interrupted by a crash; 1 order is still open"
        )


async def test_cancel_orders_of_another_market_are_left_alone() -> None:
    other: dict[str, Any] = {"account": "master_account", "connector": "binance", "pair": "BTC-USDT"}
    async with desk() as d:
        await d.do("place_order", **other, side="BUY", amount=1, price=50000)
        assert await d.do("cancel_orders", "sl", **PERP) == Outcome(Result.DONE, "no order was open")
        assert d.rows[0]["status"] == "OPEN"
        assert (await d.do("cancel_orders", **PERP | {"account": "x"})).reason == "Hummingbot has no account x"
