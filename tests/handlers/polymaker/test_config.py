"""The configuration that the Center hands out: three forms of lists, and nothing taken for more than it is."""

import json
from decimal import Decimal
from typing import Any, Literal

import pytest

from handlers.polymaker.config import CenterConfig, center_config
from handlers.polymaker.replies import Ok
from tests.fakes.center_habits import Habit, config
from tests.handlers.polymaker.support import both

HOURS = ((Decimal(0), Decimal(2)), (Decimal(22), Decimal(24)))


def known(**changes: Any) -> CenterConfig:
    """What is made of a configuration with changes."""
    found = center_config(json.loads(json.dumps(config(**changes)), parse_float=Decimal))
    assert found is not None
    return found


@pytest.mark.parametrize("lists", ["array", "json", "comma"])
async def test_lists_in_three_forms(lists: Literal["array", "json", "comma"]) -> None:
    async with both() as (center, client):
        center.config = config(lists)
        reply = await client.config()
        assert isinstance(reply, Ok)
        found = reply.answer
        assert found is not None
        assert (found.id, found.mode, found.pause_orders, found.odd) == (7, "live", False, ())
        assert found.target_assets == ("BTC", "ETH")
        assert found.window_durations == ("5m", "15m")
        assert found.blackout_hours == HOURS
        assert found.rest["mmSpreadMin"] == Decimal("0.01")
        assert found.rest["arbEnabled"] is False
        assert found.rest["momentumExitEnabled"] is True
        assert found.rest["hedgeTier4MaxLoss"] == Decimal("12.5")


@pytest.mark.parametrize(
    ("value", "paused", "odd"),
    [
        (True, True, False),
        (False, False, False),
        (None, False, False),
        *((odd, False, True) for odd in ("true", "True", "", "1", 1, 0, 1.0, [], [True], {"value": True})),
    ],
)
async def test_only_a_real_true_pauses(value: Any, paused: bool, odd: bool) -> None:
    async with both() as (center, client):
        center.config = config() | {"pauseOrders": value}
        reply = await client.config()
        assert isinstance(reply, Ok)
        assert reply.answer is not None
        assert reply.answer.pause_orders is paused
        assert reply.answer.odd == (("pauseOrders",) if odd else ())


@pytest.mark.parametrize("answer", [b"", b"null", b"[]", b"{}", b'"x"', b"7", b"<html>", b"[" * 100_000, b'{"id": 7'])
async def test_no_configuration_at_all(answer: bytes) -> None:
    async with both() as (center, client):
        center.habits["/config"] = Habit(200, answer)
        assert await client.config() == Ok(None)


@pytest.mark.parametrize(
    ("value", "id"),
    [(7, 7), ("7", 7), (None, None), (0, None), (-7, None), (True, None), (7.5, None), ("x", None), (2**60, None)],
)
def test_its_id(value: Any, id: int | None) -> None:
    assert known(id=value).id == id


@pytest.mark.parametrize("mode", ["Live", "LIVE", "dry_run", "test", "", None, True, 1, ["live"]])
def test_anything_but_live_is_dry(mode: Any) -> None:
    assert known(mode=mode).mode == "dry_run"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("BTC", ("BTC",)),
        (" BTC , ETH ,", ("BTC", "ETH")),
        ("", ()),
        ("[]", ()),
        ('["BTC"]', ("BTC",)),
        (["BTC", 5], ("BTC", "5")),
        *(
            (odd, None)
            for odd in ("[BTC]", "[" * 100_000, ["x"] * 65, ["x" * 65], [["BTC"]], ["a\nb"], {"a": 1}, 5, True)
        ),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_list_of_names(value: Any, wanted: tuple[str, ...] | None) -> None:
    found = known(targetAssets=value)
    assert found.target_assets == (wanted or ())
    assert found.odd == (() if wanted is not None else ("targetAssets",))


@pytest.mark.parametrize("value", [[[0]], [[0, 2, 3]], ["0-2"], "0-2", [[0, "x"]], [[0, True]], 5])
def test_hours_that_are_none(value: Any) -> None:
    found = known(tradingBlackoutWindows=value)
    assert found.blackout_hours == ()
    assert found.odd == ("tradingBlackoutWindows",)


@pytest.mark.parametrize("value", ["a lot", [], {}, True, "1e400", "NaN", "0x10", "1_0", 10**40])
def test_a_number_that_is_none_counts_as_absent(value: Any) -> None:
    found = known(kellyBankroll=value)
    assert "kellyBankroll" not in found.rest
    assert found.odd == ("kellyBankroll",)
    assert "sessionBudget" in found.rest


def test_numbers_in_text_and_flags_that_are_none() -> None:
    found = known(kellyBankroll="500.5", mmEnabled="true", momentumGateSize=3, momentumExitMode="fast")
    assert found.rest["kellyBankroll"] == Decimal("500.5")
    assert found.rest["momentumGateSize"] == 3
    assert found.odd == ("mmEnabled", "momentumExitMode")


def test_what_nobody_knows_is_ignored() -> None:
    found = known(walletAddress="0x" + "ab" * 20, privateKey="x", nested={"pauseOrders": True})
    assert not found.odd
    assert "ab" * 20 not in repr(found)
    assert not found.pause_orders


def test_what_status_shows_is_json() -> None:
    shown = json.loads(json.dumps(known(lists="json").shown()))
    assert shown["tradingBlackoutWindows"] == [["0", "2"], ["22", "24"]]
    assert shown["targetAssets"] == ["BTC", "ETH"]
    assert shown["mmSpreadMin"] == "0.01"
    assert shown["pauseOrders"] is False
