"""What a configuration means: one unit for a spread, leverage always said, and clear words for what is refused."""

import json
from typing import Any

import pytest

from daemon.errors import EventError
from handlers.hummingbot.registry import bot_id, instance_of, load
from handlers.hummingbot.strategies import new_bot, plan
from tests.handlers.hummingbot.keeping import GRID, MARKET, SCRIPT, SPREAD


def sent(strategy: str, config: dict[str, Any]) -> dict[str, Any]:
    bot = new_bot("mm", strategy, *MARKET, config, 1.0)
    found: dict[str, Any] = json.loads(plan(bot).config.written().data)
    return found


def test_a_spread_is_a_fraction_on_each_side() -> None:
    found = sent("spread", SPREAD | {"spread": ["0.001", "0.002"]})
    assert found["buy_spreads"] == found["sell_spreads"] == ["0.001", "0.002"]
    assert (found["controller_name"], found["controller_type"]) == ("pmm_simple", "market_making")
    assert (found["leverage"], found["trading_pair"], found["total_amount_quote"]) == (1, "BTC-USD", "500")


def test_an_amount_for_each_order_is_the_classic_spread() -> None:
    found = sent("spread", {"buy_spread": "0.001", "sell_spread": "0.002", "amount": "0.5", "refresh_s": "15"})
    assert (found["controller_name"], found["order_amount"], found["order_refresh_time"]) == ("pmm_v1", "0.5", 15)
    assert (found["buy_spreads"], found["sell_spreads"]) == (["0.001"], ["0.002"])
    assert "leverage" not in found


@pytest.mark.parametrize(("side", "limit", "number"), [("buy", "49000", 1), ("SELL", "61000", 2)])
def test_a_grid(side: str, limit: str, number: int) -> None:
    found = sent("grid", GRID | {"side": side, "limit_price": limit, "leverage": "3"})
    assert (found["side"], found["limit_price"], found["leverage"]) == (number, limit, 3)
    assert found["controller_name"] == "grid_strike"


def test_a_script_gets_its_own_fields_and_leverage_if_it_has_one() -> None:
    found = sent("custom", SCRIPT | {"pairs": ["A-B"], "on": True})
    assert found == {
        "script_file_name": "mm.py", "exchange": "binance", "order_amount": "0.5", "pairs": ["A-B"], "on": True,
        "leverage": "1",
    }  # fmt: skip
    assert "leverage" not in sent("custom", {"script": "pass"})


@pytest.mark.parametrize(
    ("strategy", "config", "field", "words"),
    [
        ("spread", {}, "config.spread", "a fraction of the price on each side"),
        ("spread", SPREAD | {"spread_percent": "0.3"}, "config.spread_percent", "0.001 is 0.1 %"),
        ("spread", SPREAD | {"spread_bps": "20"}, "config.spread_bps", "three things"),
        ("spread", SPREAD | {"spread": "0.5"}, "config.spread", "below 0.5"),
        ("spread", SPREAD | {"spread": "0"}, "config.spread", "above 0"),
        ("spread", SPREAD | {"spread": "nan"}, "config.spread", "must be a number"),
        ("spread", SPREAD | {"spread": True}, "config.spread", "must be a number"),
        ("spread", SPREAD | {"leverage": "126"}, "config.leverage", "from 1 to 125"),
        ("spread", SPREAD | {"leverage": "1.5"}, "config.leverage", "whole"),
        ("spread", SPREAD | {"levrage": "2"}, "config.levrage", "is not known"),
        ("spread", SPREAD | {"a b": "2"}, "config", "is not known"),
        ("spread", SPREAD | {"account": "../x"}, "config.account", "letters"),
        ("spread", {"spread": "0.1", "amount": "1", "leverage": "2"}, "config.leverage", "pmm_v1"),
        ("spread", {"spread": "0.1"}, "config.amount_quote", "is required"),
        ("grid", GRID | {"end_price": "40000"}, "config.end_price", "above start_price"),
        ("grid", GRID | {"limit_price": "55000"}, "config.limit_price", "below start_price"),
        ("grid", GRID | {"side": "sell"}, "config.limit_price", "above end_price"),
        ("grid", GRID | {"side": "up"}, "config.side", "BUY, SELL"),
        ("custom", {}, "config.script", "is required"),
        ("custom", {"script": "x", "deep": {"a": 1}}, "config.deep", "text, a number"),
        ("custom", {"script": "x", "script_file_name": "y.py"}, "config", "name"),
        ("arbitrage", {}, "strategy", "spread, grid, custom"),
    ],
)
def test_what_is_refused_is_named(strategy: str, config: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(EventError) as caught:
        new_bot("mm", strategy, *MARKET, config, 1.0)
    assert caught.value.field == field
    assert words in caught.value.problem


@pytest.mark.parametrize(
    ("name", "connector", "pair", "field"),
    [
        ("", *MARKET, "name"),
        ("...", *MARKET, "name"),
        ("a-20261120-101500", *MARKET, "name"),
        ("a", "bitmart", "A-B", "connector"),
        ("a", "bitmart_perpetual", "A-B", "connector"),
        ("a", "bitmex", "A-B", "connector"),
        ("a", "b c", "A-B", "connector"),
        ("a", "binance", "BTCUSDT", "pair"),
    ],
)
def test_a_name_a_venue_and_a_pair_are_looked_at(name: str, connector: str, pair: str, field: str) -> None:
    with pytest.raises(EventError) as caught:
        new_bot(name, "spread", connector, pair, SPREAD, 1.0)
    assert caught.value.field == field


def test_names_and_instances() -> None:
    assert bot_id("Sharp Spread (1)") == "Sharp-Spread-1"
    assert instance_of("a-b-20261120-101500") == "a-b"
    assert instance_of("a-b") == ""


@pytest.mark.parametrize("raw", ["", "[]", "{}", '{"id": 1}', "null", '{"id":"a","state":"odd"}'])
def test_a_damaged_record_is_no_bot(raw: str) -> None:
    with pytest.raises(ValueError, match="not a bot's record"):
        load(raw)


def test_a_record_comes_back_as_it_was() -> None:
    bot = new_bot("mm", "spread", *MARKET, SPREAD, 1.0)
    bot.deploy(2.0)
    assert load(bot.dump()) == bot
