"""The bodies: what cannot be sent is refused by name, numbers are exact, and a journal's record comes back the same."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from handlers.polymaker.models import Market, Metrics, RunStart, Trade, TradeUpdate, Wire, why
from tests.handlers.polymaker.support import FULL, MARKET, METRICS, UPDATE

BAD = [
    *(Decimal(text) for text in ("NaN", "sNaN", "Infinity", "-Infinity", "1e9999999", "1e16")),
    *(float(text) for text in ("nan", "inf", "-inf")),
]


def refused(model: type[Wire], given: dict[str, Any]) -> str:
    """Why a model cannot be made."""
    with pytest.raises(ValidationError) as raised:
        model.model_validate(given)
    return why(raised.value)


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_number_that_is_none_is_refused_in_every_field(bad: object) -> None:
    for whole in (FULL, UPDATE, RunStart(config_id=1, mode="live", starting_bankroll=Decimal(5))):
        given = dict(whole)
        for name, value in given.items():
            if isinstance(value, Decimal):
                assert refused(type(whole), given | {name: bad}).split(":")[0] == name


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_one_bad_metric_is_left_out_and_named_and_the_rest_goes(bad: object) -> None:
    given = dict(METRICS)
    for name in given:
        found, left_out = Metrics.of(**given | {name: bad})
        assert [each.split(":")[0] for each in left_out] == [name]
        assert found.record() == {key: value for key, value in METRICS.record().items() if key != name}


def test_metrics_in_the_words_of_the_wire_and_from_a_journal() -> None:
    found, left_out = Metrics.of(totalPnl="-1.50", totalCycles=3, winCount=Decimal(2), peakPnl=None, sharpe=1)
    assert left_out == ("sharpe: is not known",)
    assert found.written().data == b'{"totalCycles":3,"totalPnl":-1.50,"winCount":2}'
    for bad in (1.5, Decimal("1.5"), -1, True, "3", 2**53):
        assert Metrics.of(total_fills=bad) == (Metrics(), Metrics.of(total_fills=bad)[1])
    for odd in ("1_0", "０", " 5", "", "0x10", "NaN", True, [1], b"1"):
        assert Metrics.of(total_pnl=odd)[1]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Decimal("0.1") + Decimal("0.2"), b"0.3"),
        (0.1 + 0.2, b"0.3"),
        (0.07, b"0.07"),
        (Decimal(1) / 3, b"0.333333333333"),
        (Decimal("1E+3"), b"1000"),
        (1e-7, b"0.0000001"),
        (Decimal("1e-9999999"), b"0"),
        (Decimal("-0.0"), b"0"),
        (Decimal("999999999999999.123456"), b"999999999999999.123456"),
        (Decimal("12.50"), b"12.50"),
        (5, b"5"),
    ],
)
def test_a_number_goes_out_as_what_it_is(value: Any, written: bytes) -> None:
    found, left_out = Metrics.of(total_pnl=value)
    assert not left_out
    assert found.written().data == b'{"totalPnl":' + written + b"}"


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        (Trade, {"price": Decimal("1.01")}, "price: must be less than or equal to 1"),
        (Trade, {"price": Decimal("-0.01")}, "price: must be greater than or equal to 0"),
        (Trade, {"size": Decimal(-1)}, "size: must be greater than or equal to 0"),
        (Trade, {"cycle": 1.0}, "cycle: must be a whole number"),
        (Trade, {"run_id": True}, "run_id: must be a whole number"),
        (Trade, {"run_id": 0}, "run_id: must be greater than or equal to 1"),
        (Trade, {"asset": ""}, "asset: must have at least 1 character"),
        (Trade, {"outcome": "x" * 129}, "outcome: must have at most 128 characters"),
        (Trade, {"token_id": 123}, "token_id: must be text"),
        (Trade, {"side": "long"}, "side: must be 'buy' or 'sell'"),
        (Trade, {"orderId": "A-1"}, "orderId: is not known"),
        (TradeUpdate, {"status": "open"}, "status: must be 'placed', 'filled', 'cancelled' or 'failed'"),
        (TradeUpdate, {"fill_timestamp": datetime(2026, 1, 1)}, "fill_timestamp: must be a time with an offset"),  # noqa: DTZ001
        (TradeUpdate, {"fill_timestamp": "2026-01-01T00:00:00"}, "fill_timestamp: must be a time with an offset"),
        (TradeUpdate, {"fill_timestamp": 1e300}, "fill_timestamp: must be a time with an offset"),
        (Market, {"token_id": None}, "token_id: must be text"),
    ],
)
def test_what_is_refused_and_why(model: type[Wire], given: dict[str, Any], words: str) -> None:
    whole = {Trade: FULL, TradeUpdate: UPDATE, Market: MARKET}[model]
    assert refused(model, dict(whole) | given) == words


def test_a_markets_id_may_look_like_a_key_and_not_like_a_wallet() -> None:
    for name in ("token_id", "condition_id"):
        for sound in ("0x" + "5f" * 32, "5f" * 32, "7" * 77):
            assert getattr(Trade.model_validate(dict(FULL) | {name: sound}), name) == sound
        words = refused(Trade, dict(FULL) | {name: f"at 0X{'0' * 40}, mine"})
        assert words == f"{name}: must be a market's id, and looks like a wallet address"


def test_a_refusal_never_holds_the_value() -> None:
    for name in Trade.model_fields:
        assert "hunter2" not in refused(Trade, dict(FULL) | {name: ["hunter2"]})
    assert refused(Trade, {"cycle": 1}).count("is required") == 5


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 11, 21, 10, tzinfo=UTC),
        datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=2))),
        datetime(2026, 11, 21, 10, tzinfo=UTC).timestamp(),
        "2026-11-21T10:00:00+00:00",
    ],
)
def test_a_time_goes_out_with_its_offset(moment: Any) -> None:
    found = TradeUpdate.model_validate({"trade_id": 1, "fill_timestamp": moment})
    assert json.loads(found.written().data)["fillTimestamp"] == "2026-11-21T10:00:00Z"


@pytest.mark.parametrize("whole", [FULL, UPDATE, MARKET, METRICS, Metrics()], ids=lambda whole: type(whole).__name__)
def test_a_record_comes_back_the_same(whole: Wire) -> None:
    record = json.loads(json.dumps(whole.record()))
    assert type(whole).read(record) == whole
    assert type(whole).read(record).written().data == whole.written().data


def test_a_record_in_the_words_of_the_wire_is_read_too() -> None:
    body = {"runId": 101, "cycle": 4, "asset": "BTC", "outcome": "Up", "price": "0.55", "size": "12.50", "tokenId": "7"}
    assert json.loads(Trade.read(body).written().data) == body | {
        "windowDuration": "15m",
        "side": "buy",
        "strategy": "MM",
        "price": 0.55,
        "size": 12.5,
    }


def test_a_model_does_not_show_what_it_holds() -> None:
    assert "BTC" not in f"{FULL!r} {FULL} {[FULL]}"
