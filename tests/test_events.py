"""The event's JSON: what is taken, what is refused by name, and that nothing refused is ever repeated."""

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from daemon import events
from daemon.errors import EventError
from daemon.events import EventType, TradeEvent

CANARY = "canary5f1e"
SCHEMA = Draft202012Validator(events.schema())
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


def parse(raw: bytes | str) -> TradeEvent:
    return events.validate(events.decode(raw))


def event(**fields: object) -> bytes:
    return json.dumps({"type": "entry", "symbol": "AAPL"} | fields).encode()


def refusal(raw: bytes | str) -> EventError:
    with pytest.raises(EventError) as caught:
        parse(raw)
    assert CANARY not in str(caught.value)
    assert str(caught.value).isprintable()
    return caught.value


def test_the_least_an_event_can_be() -> None:
    found = parse(b'{"type":"sl","symbol":"brk.b"}')
    assert (found.type, found.symbol, found.side, found.id, found.ts) == (EventType.SL, "BRK.B", "long", "", 0.0)
    assert (found.trade, found.is_exit) == (":BRK.B", True)


def test_the_most_an_event_can_be() -> None:
    raw = event(
        id="a b/\u00e9", ts="2026-11-20T12:00:00.25+02:00", side="short", price=189.2, quantity="100", trade_id="t1",
        account="acc", strategy="s", source="scanner", targets={"tp1": 190, "tp2": "191.5", "stop": "1e2"},
        meta={"n": 1, "x": -1.5, "text": "line\nline"},
    )  # fmt: skip
    found = parse(raw)
    assert found.ts == NOW - 7200 + 0.25
    assert (found.price, found.quantity) == (Decimal("189.2"), Decimal(100))
    assert found.targets is not None
    assert (found.targets.tp1, found.targets.tp2, found.targets.stop) == (
        Decimal(190),
        Decimal("191.5"),
        Decimal("1e2"),
    )
    assert found.meta == {"n": 1, "x": -1.5, "text": "line\nline"}
    assert (found.trade, found.is_exit) == ("t1", False)
    SCHEMA.validate(json.loads(raw))


def test_the_trade_is_account_and_symbol_unless_said() -> None:
    assert parse(event(account="a")).trade == "a:AAPL"
    assert parse(event(account="a", trade_id="t")).trade == "t"


GOOD_TIMES: list[tuple[object, float]] = [
    ("2026-11-20T12:00:00Z", NOW), ("2026-11-20t12:00:00z", NOW), ("2026-11-20 12:00:00+00:00", NOW),
    ("2026-11-20T13:30:00+01:30", NOW), ("2026-11-20T12:00Z", NOW), ("2026-11-20T12:00:00.5Z", NOW + 0.5),
    ("2026-11-20T12:00:00-0500", NOW + 18000), (int(NOW), NOW), (NOW + 0.5, NOW + 0.5), (str(int(NOW)), NOW),
    (int(NOW * 1000), NOW), (f"{int(NOW * 1000)}", NOW), (NOW * 1000 + 0.5, NOW + 0.0005), (0, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "ts"), GOOD_TIMES)
def test_a_time_has_an_offset_or_is_since_the_epoch(text: object, ts: float) -> None:
    assert parse(event(ts=text)).ts == pytest.approx(ts, abs=1e-6)
    SCHEMA.validate(json.loads(event(ts=text)))


# Field, and the value as JSON text.
BAD: list[tuple[str, str]] = [
    *(("type", text) for text in ('"ENTRY"', '"stop"', '""', "1", "[]", "{}", "true", '"entry "')),
    *(("symbol", text) for text in ('""', '"A B"', '"A\\u0000"', '"A\\n"', "1", '"\uff21"', '"\u00c4"',
        f'"{"A" * 33}"', "[]")),
    *(("id", text) for text in ('""', '"a\\nb"', '"a\\u0000"', '"a\\u202eb"', f'"{"x" * 129}"', "5", "true",
        "[]", '"\\ud800"')),
    *(("side", text) for text in ('"buy"', '"LONG"', '""', "1")),
    *(
        (field, text)
        for field in ("price", "quantity")
        for text in (
            "0", "-1", "-0.0", "true", '""', '" 1"', '"1 "', '"+1"', '"1_0"', '"1,5"', '"0x10"', '".5"', '"1."', '"1e"',
            '"1e999"', "1e400", "1e20", '"nan"', '"Infinity"', '"\uff11"', '"\u0661"', "[]", "{}", '"0.0"', '"1e-999"',
            f'"{"9" * 21}"', "9" * 400,
        )
    ),
    *(
        ("ts", text)
        for text in (
            '"2026-11-20T12:00:00"', '"2026-11-20"', '"12:00:00Z"', '"2026-13-20T12:00:00Z"', '"2026-02-30T12:00:00Z"',
            '"2026-11-20T25:00:00Z"', '"2026-11-20T12:00:00+99:00"', '"2026-W47-5T12:00:00Z"', '"20261120T120000Z"',
            '"now"', '""', "-1", "true", "[]", '"1e9"', "1e300", '"\uff11"', "99999999999999999",
            '"2026-11-20T12:00:00Z "',
        )
    ),
    *(("trade_id", text) for text in ('""', f'"{"x" * 129}"', '"\\t"', "1")),
    *((field, text) for field in ("account", "strategy", "source") for text in ('""', f'"{"x" * 65}"',
        '"a\\u0007"', "1")),
    *(("targets", text) for text in ("1", '"x"', "[]")),
    *(("meta", text) for text in ("1", '"x"', "[]", '{"a": []}', '{"a": {}}', '{"a": true}', '{"": 1}',
        '{"a": 1e999}')),
    *(("meta", text) for text in ('{"a\\u0000": 1}', '{"a": "\\u0000"}', '{"a": "\\ud800"}',
        f'{{"a": "{"x" * 5000}"}}')),
]  # fmt: skip


@pytest.mark.parametrize(("field", "text"), BAD)
def test_a_bad_value_is_refused_by_the_field_that_holds_it(field: str, text: str) -> None:
    head = "".join(f'"{name}": {value}, ' for name, value in (("type", '"sl"'), ("symbol", '"A"')) if name != field)
    error = refusal(f'{{{head}"{field}": {text}}}')
    assert error.field == field
    assert error.problem


@pytest.mark.parametrize(
    ("raw", "field", "problem"),
    [
        (b"", "body", "is not valid JSON"),
        (b"nonsense canary5f1e", "body", "is not valid JSON"),
        (b"{}", "type", "is required"),
        (b'{"type": "sl"}', "symbol", "is required"),
        (b"[]", "body", "must be a JSON object"),
        (b'"sl"', "body", "must be a JSON object"),
        (b"null", "body", "must be a JSON object"),
        (b'{"type": "sl", "symbol": "A"} canary5f1e', "body", "is not valid JSON"),
        (b'{"type": "sl", "symbol": "A",}', "body", "is not valid JSON"),
        (b"\xff\xfe", "body", "is not UTF-8"),
        (b'\xef\xbb\xbf{"type": "sl", "symbol": "A"}', "body", "is not valid JSON"),
        (b" " * 65537, "body", "is larger than 64 KiB"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "body", "is nested too deeply"),
        (b"[" * 60000, "body", "is nested too deeply"),
        (event(price=math.nan), "body", "NaN and Infinity are not JSON"),
        (event(price=-math.inf), "body", "NaN and Infinity are not JSON"),
        (event(prise=CANARY), "prise", "is not a known field"),
        (event(Type="sl"), "Type", "is not a known field"),
        (event(targets={"tp3": CANARY}), "targets.tp3", "is not a known field"),
        (event(targets={"tp1": CANARY}), "targets.tp1", "must be a positive decimal in plain ASCII digits"),
        (event(price=None), "price", "must not be null; leave it out"),
        (event(targets={"stop": None}), "stop", "must not be null; leave it out"),
        (b'{"type": "sl", "type": "sl", "symbol": "A"}', "type", "is given twice"),
        (b'{"type": "sl", "symbol": "A", "meta": {"k": 1, "k": 2}}', "k", "is given twice"),
        (b'{"type": "sl", "symbol": "A", "\\u001b[2J\\n": 1}', "?[2J?", "is not a known field"),
        (b'{"type": "sl", "symbol": "A", "%s": 1}' % (b"x" * 999), "x" * 64, "is not a known field"),
        (b'{"type": "sl", "symbol": "A", "": 1}', "''", "is not a known field"),
    ],
)
def test_a_bad_body_is_refused_in_so_many_words(raw: bytes, field: str, problem: str) -> None:
    error = refusal(raw)
    assert (error.field, error.problem) == (field, problem)


@pytest.mark.parametrize("field", sorted(TradeEvent.model_fields))
def test_no_field_echoes_its_value(field: str) -> None:
    refusal(event(**{field: [CANARY]}))
    refusal(event(**{field: {"stop": CANARY, "k": [CANARY]}}))


def test_numbers_reach_their_decimals_without_a_float_between() -> None:
    text = "0.1000000000000000055"
    assert parse(f'{{"type": "sl", "symbol": "A", "price": {text}}}').price == Decimal(text)
    assert parse(f'{{"type": "sl", "symbol": "A", "price": "{text}"}}').price == Decimal(text)


def test_a_time_from_ahead_is_refused_unless_it_gets_the_trader_out() -> None:
    ahead = parse(event(ts=NOW + 5.1))
    with pytest.raises(EventError, match="ts: lies more than 5 s ahead"):
        events.settle_time(ahead, NOW)
    assert events.settle_time(parse(event(ts=NOW + 4.9)), NOW).ts == NOW + 4.9
    for kind in ("sl", "close"):
        assert events.settle_time(parse(event(type=kind, ts=NOW + 9999)), NOW).ts == NOW
    assert events.settle_time(parse(event()), NOW).ts == NOW
    assert events.settle_time(parse(event(ts=0)), NOW).ts == 0, "1970 is old, not absent"
    with pytest.raises(EventError, match="ts: is required here"):
        events.settle_time(parse(event()), NOW, required=True)


def test_a_time_before_all_years_is_an_event_like_another() -> None:
    found = parse(event(ts="0001-01-01T00:00:00+14:00"))  # a sender's zero time, in its own time zone
    assert "0001-01-01T00:00:00" in found.body()
    assert found.ts < 0


@pytest.mark.parametrize("ts", [9999999999999999, "9999999999999999", "9999-12-31T23:59:59-23:59"])
def test_a_time_in_the_far_future_is_an_event_like_another(ts: object) -> None:
    """Whatever is accepted can be written down: an sl with a broken clock must still fire."""
    found = parse(event(type="sl", ts=ts))
    assert "9999-12-31" in found.body()
    assert events.settle_time(found, NOW).ts == NOW


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(event()).symbol = "B"


def test_derived_ids_tell_source_and_body_apart() -> None:
    assert events.derived_id("http", "b", NOW) == events.derived_id("http", "b", NOW)
    assert len({events.derived_id(s, b, t) for s in ("http", "mqtt") for b in "ab" for t in (NOW, NOW + 1)}) == 8
    assert parse(event(id=events.derived_id("http", "b", NOW))).id.startswith("auto-")


def test_the_schema_is_one_and_refuses_what_the_parser_refuses() -> None:
    Draft202012Validator.check_schema(events.schema())
    cases: tuple[dict[str, object], ...] = (
        {"prise": 1}, {"type": "x"}, {"symbol": ""}, {"price": -1}, {"price": "x"}, {"side": "up"}, {"id": ""},
                   {"targets": {"tp9": 1}}, {"meta": {"a": []}}, {"ts": True}, {"account": None},
    )  # fmt: skip
    for fields in cases:
        raw = event(**fields)
        refusal(raw)
        assert not SCHEMA.is_valid(json.loads(raw)), fields


def _day(year: int) -> datetime:
    return datetime(year, 1, 1)  # noqa: DTZ001  # hypothesis adds the zone


printable = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=64)
decimals = st.one_of(
    st.integers(1, 10**15),
    st.decimals(Decimal("0.00001"), Decimal("1e15"), places=5).map(str),
    st.floats(0.001, 1e15).filter(lambda x: len(repr(x)) < 20),
)
optional: dict[str, st.SearchStrategy[Any]] = {
    "id": printable, "trade_id": printable, "account": printable, "strategy": printable, "source": printable,
    "side": st.sampled_from(["long", "short"]), "price": decimals, "quantity": decimals,
    "targets": st.fixed_dictionaries({}, optional={"tp1": decimals, "tp2": decimals, "stop": decimals}),
    "meta": st.dictionaries(printable, st.one_of(printable, st.integers(-(10**9), 10**9), st.floats(-1e9,
    1e9)), max_size=5),
    "ts": st.one_of(
        st.integers(0, 2**33),
        st.integers(10**11, 2 * 10**12),
        st.datetimes(_day(1971), _day(2100), timezones=st.just(UTC)).map(datetime.isoformat),
    ),
}  # fmt: skip
bodies = st.fixed_dictionaries(
    {
        "type": st.sampled_from([str(kind) for kind in EventType]),
        "symbol": st.from_regex(r"\A[A-Za-z0-9._:/-]{1,32}\Z"),
    },
    optional=optional,
)


@given(bodies)
def test_what_was_accepted_reads_back_as_the_same(fields: dict[str, Any]) -> None:
    SCHEMA.validate(fields)
    first = parse(json.dumps(fields))
    again = parse(first.model_dump_json(exclude_none=True, exclude=None if first.id else {"id"}))
    if "ts" not in fields:  # absent is written as 1970, which only intake may see
        again = again.model_copy(update={"ts": first.ts})
    assert again.model_copy(update={"ts": 0}) == first.model_copy(update={"ts": 0})
    assert again.ts == pytest.approx(first.ts, abs=1e-5)
    assert again.body() == first.body()


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_an_event_or_a_refusal(value: Any) -> None:
    try:
        parse(json.dumps(value))
    except EventError as error:
        problem = error
    else:
        return
    assert problem.field.isprintable()


@given(
    bodies,
    st.sampled_from(sorted(TradeEvent.model_fields)),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
)
def test_what_the_schema_refuses_the_parser_refuses(fields: dict[str, Any], field: str, value: Any) -> None:
    changed = fields | {field: value}
    try:
        parse(json.dumps(changed))
    except EventError:
        return
    assert SCHEMA.is_valid(changed)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_a_refusal(raw: bytes) -> None:
    with pytest.raises(EventError):
        parse(raw)
