"""CONTRACT's rules for an event, written a second time and on purpose without looking at `daemon.events`.

Only what CONTRACT says is here; the daemon may be stricter, never laxer.
"""

import json
import math
import re
import unicodedata
from decimal import Decimal

_FIELDS = {
    "type",
    "symbol",
    "id",
    "ts",
    "side",
    "price",
    "quantity",
    "trade_id",
    "account",
    "strategy",
    "source",
    "targets",
    "meta",
}
_SYMBOL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z", re.ASCII)
_ZONED = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*([Zz]|[+-]\d\d:?\d\d)\Z", re.ASCII | re.DOTALL)


class _BrokenError(Exception):
    pass


class _Token(str):
    __slots__ = ()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _BrokenError("duplicate key")
    return dict(pairs)


def _constant(name: str) -> object:
    raise _BrokenError(name)


def broken(raw: bytes, *, ts_required: bool = False, now: float | None = None) -> str | None:
    """Which rule of CONTRACT these bytes break, or None. `now`, in epoch seconds, adds the rule on future times."""
    try:
        _check(raw, ts_required=ts_required, now=now)
    except _BrokenError as rule:
        return str(rule)
    return None


def _check(raw: bytes, *, ts_required: bool, now: float | None) -> None:
    _need(len(raw) <= 64 * 1024, "size")
    try:
        event = json.loads(
            raw.decode(), object_pairs_hook=_object, parse_float=_Token, parse_int=_Token, parse_constant=_constant
        )
    except (ValueError, RecursionError):
        raise _BrokenError("not JSON") from None
    _need(isinstance(event, dict), "not an object")
    _need(event.keys() <= _FIELDS, "unknown field")
    _need(event.get("type") in ("entry", "tp1", "tp2", "sl", "close") and _is_text(event["type"]), "type")
    symbol = event.get("symbol")
    _need(_is_text(symbol) and 0 < len(symbol) <= 32 and _SYMBOL.issuperset(symbol), "symbol")
    for name, longest in (("id", 128), ("trade_id", 128), ("account", 64), ("strategy", 64), ("source", 64)):
        if name in event:
            _need(_printable(event[name], longest), name)
    _need(event.get("side", "long") in ("long", "short") and type(event.get("side", "long")) is str, "side")
    for name in ("price", "quantity"):
        _need(name not in event or _positive(event[name]), name)
    _targets(event)
    _meta(event)
    _need("ts" in event or not ts_required, "ts missing")
    if "ts" in event:
        _time(event, now)


def _need(holds: bool, rule: str) -> None:
    if not holds:
        raise _BrokenError(rule)


def _is_text(value: object) -> bool:
    return type(value) is str


def _printable(value: object, longest: int) -> bool:
    return (
        type(value) is str
        and 0 < len(value) <= longest
        and not any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") for c in value)
    )


def _positive(value: object) -> bool:
    if not isinstance(value, str) or not _NUMBER.match(value) or len(value) > 1000:
        return False
    number = Decimal(str(value))
    return number.is_finite() and number > 0


def _targets(event: dict[str, object]) -> None:
    targets = event.get("targets", {})
    _need(isinstance(targets, dict), "targets")
    assert isinstance(targets, dict)
    _need(targets.keys() <= {"tp1", "tp2", "stop"} and all(map(_positive, targets.values())), "targets")


def _meta(event: dict[str, object]) -> None:
    meta = event.get("meta", {})
    _need(isinstance(meta, dict), "meta")
    assert isinstance(meta, dict)
    size = 0
    for key, value in meta.items():
        _need(isinstance(value, str), "meta")
        if isinstance(value, _Token):
            _need(math.isfinite(float(value)), "meta")
        size += len(key.encode("utf-8", "surrogatepass")) + len(value.encode("utf-8", "surrogatepass"))
    _need(size <= 4096, "meta")


def _time(event: dict[str, object], now: float | None) -> None:
    value = event["ts"]
    _need(isinstance(value, str), "ts")
    text = str(value)
    if _NUMBER.match(text) and len(text) < 40:
        seconds = float(text)
        seconds = seconds / 1000 if seconds > 1e11 else seconds
        ahead = now is not None and seconds > now + 6 and event["type"] not in ("sl", "close")
        _need(not ahead, "ts ahead")
    else:
        _need(type(value) is str and _ZONED.match(text) is not None, "ts")
