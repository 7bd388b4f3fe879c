"""Executors, controllers and bots that routes ask for."""

from decimal import Decimal
from typing import Any

import pytest

from daemon.errors import UnreachableError
from daemon.ports import Outcome, Result
from handlers import HANDLERS
from tests.handlers.hummingbot.acting import EXECUTORS, KEY, PERP, desk, make

LONG: dict[str, Any] = PERP | {"side": "long", "amount": "0.1", "take_profit": "61200", "stop_loss": "59400"}
CONFIG: dict[str, Any] = {"bot": "pmm-20261120-101500", "controller": "pmm_1"}


async def test_an_executor_with_the_events_targets() -> None:
    async with desk() as d:
        event = make("entry", price="60000")
        outcome = await d.do("executor", event=event, **LONG, time_limit=3600)
        assert outcome == Outcome(Result.DONE, "executor ex0001: running")
        (sent,) = d.sent("/executors/")
        assert sent["account_name"] == "master_account"
        assert sent["executor_config"] == {
            "type": "position_executor", "connector_name": "hyperliquid_perpetual", "trading_pair": "BTC-USD",
            "side": 1, "amount": "0.1", "leverage": 1,
            "triple_barrier_config": {
                "stop_loss": "0.01", "take_profit": "0.02", "time_limit": 3600, "open_order_type": 1,
                "take_profit_order_type": 1, "stop_loss_order_type": 1, "time_limit_order_type": 1,
            },
        }  # fmt: skip
        assert d.server.exchange.leverage[KEY] == 1


async def test_a_short_one_at_a_price_with_percentages() -> None:
    async with desk() as d:
        fields = LONG | {"side": "short", "price": "50000", "take_profit": "1.5%", "stop_loss": "50500", "leverage": 2}
        assert (await d.do("executor", **fields)).result is Result.DONE
        config = d.sent("/executors/")[0]["executor_config"]
        assert (config["side"], config["leverage"], config["entry_price"]) == (2, 2, "50000")
        barriers = config["triple_barrier_config"]
        assert (barriers["take_profit"], barriers["stop_loss"], barriers["open_order_type"]) == ("0.015", "0.01", 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stop_loss": "60001"}, "stop_loss lies on the wrong side of the entry's price"),
        ({"take_profit": "60000"}, "take_profit lies on the wrong side of the entry's price"),
        ({"stop_loss": "100%"}, "stop_loss is not a distance from the entry's price"),
        ({"stop_loss": "0.0000001%"}, "stop_loss is not a distance from the entry's price"),
        ({"take_profit": "99999999999999999999"}, "take_profit is not a distance from the entry's price"),
        (
            {"side": "short", "take_profit": "100%", "stop_loss": "1%"},
            "take_profit is not a distance from the entry's price",
        ),
        ({"time_limit": "1h"}, "time_limit must be whole seconds"),
        ({"take_profit": "-5"}, "take_profit must be a number above 0"),
    ],
)
async def test_targets_that_make_no_sense(change: dict[str, str], words: str) -> None:
    async with desk() as d:
        event = make("entry", price="60000")
        assert await d.do("executor", event=event, **LONG | change) == Outcome(Result.REFUSED, words)
        assert d.posts == []
        no_price = await d.do("executor", **LONG)
        assert no_price == Outcome(Result.REFUSED, "take_profit is a price, so the entry's price is needed too")


async def test_an_executor_whose_answer_is_lost_is_found_by_its_mark() -> None:
    event = make("entry", price="60000")
    async with desk() as d:
        await d.do("executor", **LONG | {"take_profit": "2%", "stop_loss": "1%"})  # another one just like it
        d.server.habits.reset[EXECUTORS] = "done"
        outcome = await d.do("executor", event=event, **LONG)
        assert outcome.result is Result.DONE
        assert outcome.reason.startswith("found again: executor ex0002: running")
        again = await d.again("executor", event=event, **LONG)
        assert again == Outcome(Result.DONE, "found again: executor ex0002: running (interrupted by a crash)")
        d.server.habits.reset[EXECUTORS] = "lost"
        lost = await d.do("executor", event=make("entry", price="60000"), **LONG)
        assert lost.result is Result.FAILED
        assert lost.reason.endswith("Hummingbot has no such executor")
        assert len(d.server.exchange.executors) == 2


async def test_an_executor_that_dies_at_once() -> None:
    async with desk() as d:
        create = d.server.exchange.create_executor

        def dying(body: dict[str, Any]) -> dict[str, Any]:
            answer = create(body)
            d.server.exchange.end_executor(answer["executor_id"], "INSUFFICIENT_BALANCE")
            return answer

        d.server.exchange.create_executor = dying  # type: ignore[method-assign]
        outcome = await d.do("executor", event=make("entry", price="60000"), **LONG)
        assert outcome == Outcome(Result.FAILED, "executor ex0001: terminated, insufficient balance")


async def test_a_controller_is_set_and_read_back() -> None:
    async with desk() as d:
        bot = d.server.bots.add(CONFIG["bot"], controllers={"pmm_1": {"id": "pmm_1", "total_amount_quote": "100"}})
        assert await d.do("controller_config", "sl", **CONFIG, manual_kill_switch="True") == Outcome(
            Result.DONE, "pmm_1 of pmm-20261120-101500 is set"
        )
        assert bot.controllers["pmm_1"] == {"id": "pmm_1", "total_amount_quote": "100", "manual_kill_switch": True}
        assert (await d.do("controller_config", "sl", **CONFIG, total_amount_quote="250.50")).result is Result.DONE
        assert Decimal(bot.controllers["pmm_1"]["total_amount_quote"]) == Decimal("250.5")
        assert bot.controllers["pmm_1"]["manual_kill_switch"] is True
        assert (await d.again("controller_config", "sl", **CONFIG, total_amount_quote="250.5")).result is Result.DONE
        unset = await d.again("controller_config", "sl", **CONFIG, total_amount_quote="1")
        assert unset.result is Result.UNCERTAIN


async def test_a_controller_that_is_not_there_or_is_asked_nonsense() -> None:
    async with desk() as d:
        outcome = await d.do("controller_config", **CONFIG, manual_kill_switch="false")
        assert outcome.result is Result.FAILED
        assert "not found" in outcome.reason
        for fields, words in (
            ({}, "controller_config needs manual_kill_switch or total_amount_quote"),
            ({"manual_kill_switch": "on"}, "manual_kill_switch must be true or false"),
            ({"total_amount_quote": "0"}, "total_amount_quote must be a number above 0"),
            ({"manual_kill_switch": "true", "bot": "a.b"}, "bot must be letters, digits, _ and -, 128 at most"),
        ):
            assert await d.do("controller_config", **CONFIG | fields) == Outcome(Result.REFUSED, words)


class Keeper:
    """Who keeps bots, as far as the handler knows."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.why_not = ""
        self.status = "running"

    async def start(self, name: str) -> Outcome:
        self.asked.append(("start", name))
        return Outcome(Result.DONE, "running")

    async def stop(self, name: str) -> Outcome:
        self.asked.append(("stop", name))
        return Outcome(Result.UNCERTAIN, "it still talks")

    async def prepare(self) -> str:
        return self.why_not

    async def observe(self) -> None:
        if self.why_not:
            raise UnreachableError(self.why_not)

    def row(self, name: str) -> dict[str, Any] | None:
        return {"status": self.status, "reason": "", "instance": CONFIG["bot"]} if name == "grid" else None


async def test_bots_are_their_keepers() -> None:
    keeper = Keeper()
    async with desk(keeper) as d:
        assert await d.do("start_bot", bot="grid") == Outcome(Result.DONE, "running")
        assert await d.do("stop_bot", "sl", bot="grid") == Outcome(Result.UNCERTAIN, "it still talks")
        assert (await d.do("stop_bot", "sl", bot="../grid")).result is Result.REFUSED
        assert keeper.asked == [("start", "grid"), ("stop", "grid")]
        assert d.server.asked == []
    async with desk() as d:
        assert (await d.do("stop_bot", "sl", bot="grid")).result is Result.REFUSED


async def test_a_start_or_stop_that_a_crash_cut_off_is_seen() -> None:
    keeper = Keeper()
    async with desk(keeper) as d:
        assert await d.again("start_bot", bot="grid") == Outcome(Result.DONE, "interrupted by a crash; grid is running")
        assert await d.again("stop_bot", "sl", bot="grid") == Outcome(
            Result.UNCERTAIN, "interrupted by a crash; grid is running"
        )
        assert (await d.again("stop_bot", "sl", bot="other")).result is Result.UNCERTAIN
        keeper.why_not = "Connection refused"
        assert (await d.again("stop_bot", "sl", bot="grid")).reason == "interrupted by a crash; Connection refused"
        assert keeper.asked == []


async def test_a_bot_of_ours_goes_by_its_real_name() -> None:
    async with desk(Keeper()) as d:
        bot = d.server.bots.add(CONFIG["bot"], controllers={"pmm_1": {"id": "pmm_1"}})
        tuned = await d.do("controller_config", "sl", bot="grid", controller="pmm_1", manual_kill_switch="true")
        assert tuned.result is Result.DONE
        assert bot.controllers["pmm_1"]["manual_kill_switch"] is True


async def test_nothing_is_opened_before_everything_was_looked_at() -> None:
    keeper = Keeper()
    keeper.why_not = "Connection refused"
    order: dict[str, Any] = PERP | {"side": "BUY", "amount": "0.5"}
    async with desk(keeper) as d:
        failed = Outcome(Result.FAILED, "nothing was sent: Connection refused")
        assert await d.do("place_order", **order) == failed
        assert await d.do("executor", event=make("entry", price="60000"), **LONG) == failed
        assert d.posts == []
        d.server.exchange.hold(*KEY, "0.5", "60000")
        assert (await d.do("place_order", "sl", **order | {"side": "SELL"})).result is Result.DONE


async def test_a_record_that_cannot_be_read() -> None:
    async with desk() as d:
        event = make()
        for step in ("", "[]", '{"do": "dance"}', '{"account": "x"}', "\xff"):
            assert (await d.handler.perform(step, event)).result is Result.REFUSED
            assert (await d.handler.reconcile(step, event)).result is Result.UNCERTAIN


def test_it_is_registered() -> None:
    assert HANDLERS["hummingbot"] == "handlers.hummingbot.handler:Hummingbot"
