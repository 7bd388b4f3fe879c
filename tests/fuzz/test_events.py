"""HTTP body, MQTT payload and WebSocket text all end in `daemon.events`; here it stands alone."""

import contextlib
import json
import time

import pytest

from daemon import events
from daemon.errors import EventError
from tests.fuzz.memory import COUNT, SEED, steady
from tests.fuzz.mutate import CANARY, Mutator
from tests.fuzz.rules import broken


def _keys(raw: bytes) -> str:
    """All keys of what may be JSON: an error may name a field."""
    found: list[str] = []
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(raw, object_pairs_hook=lambda pairs: found.extend(key for key, _ in pairs))
    return " ".join(found)


def test_any_body_is_an_event_or_an_event_error() -> None:
    mutator = Mutator(SEED)
    taken = refused = 0
    with steady(mebibytes=24) as settle:
        for number in range(COUNT):
            raw = mutator.event()
            required = number % 2 == 0
            now = time.time()
            try:
                event = events.settle_time(events.validate(events.decode(raw)), now, required=required)
                body = event.body()
            except EventError as error:
                refused += 1
                said = str(error)
            else:
                taken += 1
                said = ""
                rule = broken(raw, ts_required=required, now=now)
                assert rule is None, f"took what breaks the rule on {rule}: {raw[:300]!r}"
                assert event.symbol == event.symbol.upper()
                assert event.ts <= now + 5
                again = events.validate(events.decode(body)).body()
                assert again == body, "what the journal stores must read back as the same event"
            assert CANARY not in said or CANARY in _keys(raw), f"echoed a value: {raw[:300]!r}"
            assert len(said) < 300
            assert said.isprintable()
            if number == COUNT // 10:
                settle()
    assert taken > COUNT // 50, "hardly anything was accepted: the mutator has lost its way"
    assert refused > COUNT // 4


_GOOD = (
    '{"type":"tp1","symbol":"AAPL","id":"1","ts":1700000000.5,"price":"1.5","targets":{"stop":1},'
    '"meta":{"a":"b","n":1}}'
)


def test_good_events_break_no_rule() -> None:
    """The second writing of the rules would prove nothing if it refused good events."""
    assert broken(_GOOD.encode()) is None
    assert events.validate(events.decode(_GOOD)).symbol == "AAPL"


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ('"1.5"', '"1_5"', "price"),
        ('"1.5"', '"１"', "price"),
        ('"1.5"', "0", "price"),
        ('"1.5"', "NaN", "NaN"),
        ('"1"', '"a\\u0000"', "id"),
        ('"tp1"', '"TP1"', "type"),
        ("1700000000.5", '"2026-01-01T00:00:00"', "ts"),
        ('"stop":1', '"stop":1,"stop":1', "duplicate key"),
        ('"n":1', '"n":[1]', "meta"),
        ('"id"', '"ident"', "unknown field"),
        ("}}", "}", "not JSON"),
    ],
)
def test_bad_events_break_a_rule(old: str, new: str, rule: str) -> None:
    """Nor if it refused nothing."""
    assert broken(_GOOD.replace(old, new, 1).encode()) == rule
