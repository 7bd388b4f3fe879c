"""From an event to what is asked of whom."""

from functools import partial
from typing import Any

import pytest

from daemon.dispatch import Router
from daemon.settings import HotkeySettings, Route
from handlers.hotkeys import presets
from tests.dispatch.support import event


def router(*routes: dict[str, Any], **hotkeys: Any) -> Router:
    rules = [Route.model_validate(route) for route in routes]
    return Router(rules, partial(presets.sequence, HotkeySettings(**hotkeys)), "main")


def asked(plan_of: Router, *args: Any, **fields: Any) -> list[tuple[str, tuple[str, ...], str]]:
    return [(p.action.target, p.action.steps, p.refusal) for p in plan_of.plan(event(*args, **fields))]


@pytest.mark.parametrize(
    ("preset", "type", "keys"),
    [
        ("classic", "entry", ("buy_ask",)),
        ("classic", "tp1", ("sell_ask", "cancel_all", "break_even")),
        ("classic", "tp2", ("sell_ask",)),
        ("classic", "sl", ("sell_all_bid",)),
        ("classic", "close", ("sell_all_bid",)),
        ("bracket", "entry", ("buy_ask",)),
        ("bracket", "tp1", ("break_even",)),
        ("bracket", "tp2", ()),
        ("bracket", "sl", ("cancel_all", "sell_all_bid")),
        ("bracket", "close", ("sell_all_bid",)),
    ],
)
def test_without_a_route_the_usual_sequence_goes_to_the_default_target(
    preset: str, type: str, keys: tuple[str, ...]
) -> None:
    assert asked(router(preset=preset), type) == [("main", keys, "")]


@pytest.mark.parametrize("type", ["entry", "tp1", "tp2", "sl", "close"])
def test_a_side_without_a_sequence_of_its_own_is_refused(type: str) -> None:
    assert asked(router(), type, side="short") == [("main", (), f"no sequence for a short {type}")]


def test_a_bare_own_sequence_is_for_longs_only() -> None:
    own = router(sequences={"sl": ["flat_now"], "short.entry": ["sell_short"]})
    assert asked(own, "sl") == [("main", ("flat_now",), "")]
    assert asked(own, "sl", side="short")[0][2]
    assert asked(own, "entry", side="short") == [("main", ("sell_short",), "")]


@pytest.mark.parametrize(
    ("when", "fields", "matches"),
    [
        ({}, {}, True),
        ({"type": "sl"}, {"type": "sl"}, True),
        ({"type": ["sl", "close"]}, {"type": "close"}, True),
        ({"type": ["sl", "close"]}, {"type": "tp1"}, False),
        ({"symbol": "msft"}, {"symbol": "MSFT"}, True),
        ({"symbol": ["TSLA", "nvda"]}, {"symbol": "nvda"}, True),
        ({"symbol": "AAP"}, {"symbol": "AAPL"}, False),
        ({"account": "a1"}, {"account": "a1"}, True),
        ({"account": "a1"}, {}, False),
        ({"account": "a1"}, {"account": "A1"}, False),
        ({"strategy": ["x", "y"]}, {"strategy": "y"}, True),
        ({"strategy": ["x", "y"]}, {"strategy": "z"}, False),
        ({"side": "short"}, {"side": "short"}, True),
        ({"side": "short"}, {}, False),
        ({"type": "entry", "symbol": "AAPL", "account": "a"}, {"account": "a"}, True),
        ({"type": "entry", "symbol": "AAPL", "account": "a"}, {"account": "b"}, False),
    ],
)
def test_filters(when: dict[str, Any], fields: dict[str, Any], matches: bool) -> None:
    routed = router({"when": when, "do": [{"hotkeys": "second", "keys": ["hit"]}]})
    given = {"type": "entry", "symbol": "AAPL"} | fields
    targets = [target for target, _, _ in asked(routed, given.pop("type"), given.pop("symbol"), **given)]
    assert targets == (["second"] if matches else ["main"])


def test_the_first_match_wins_and_replaces_the_default() -> None:
    routed = router(
        {"when": {"symbol": "AAPL"}, "do": [{"hotkeys": "one"}, {"hotkeys": "two", "keys": ["x", "y"]}]},
        {"when": {"type": "entry"}, "do": [{"hotkeys": "three"}]},
    )
    assert asked(routed, "entry") == [("one", ("buy_ask",), ""), ("two", ("x", "y"), "")]
    assert asked(routed, "entry", "MSFT") == [("three", ("buy_ask",), "")]
    assert asked(routed, "sl", "MSFT") == [("main", ("sell_all_bid",), "")]


def test_do_nothing_and_press_nothing() -> None:
    assert asked(router({"do": []}), "sl") == []
    assert asked(router({"do": [{"hotkeys": "main", "keys": []}]}), "sl") == [("main", (), "")]


def test_keys_of_a_route_serve_a_side_that_has_no_sequence() -> None:
    routed = router(
        {"when": {"side": "short", "type": "entry"}, "do": [{"hotkeys": "main", "keys": ["sell_short"]}]},
        {"when": {"side": "short"}, "do": [{"hotkeys": "second"}]},
    )
    assert asked(routed, "entry", side="short") == [("main", ("sell_short",), "")]
    assert asked(routed, "sl", side="short") == [("second", (), "no sequence for a short sl")]


def test_it_is_pure() -> None:
    routed = router({"when": {"type": "sl"}, "do": [{"hotkeys": "two"}]})
    for type in ("entry", "sl"):
        first = event(type)
        assert routed.plan(first) == routed.plan(first) == routed.plan(event(type, side="long"))
