"""What Hummingbot's bridge publishes, read: `hbot/INSTANCE/events`, `{"timestamp": s, "type": T, "data": {...}}`.

Of all types OrderFilled alone counts: Completed carries totals of the same fills. A price may be a bare NaN, an enum
may be written with its class. Nobody signs anything there, so what is not in shape is refused as a whole.
"""

import json
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
"""A bot's name as Hummingbot makes it."""
PLAIN = re.compile(r"[!-~]+")
"""An id: printable, without blanks."""
PAIR = re.compile(r"[A-Za-z0-9._:/-]{1,32}", re.ASCII)
"""A trading pair, as an event's symbol can be."""
ID_LIMIT = 128
"""Longest id, in characters."""
_TYPES = re.compile(r"[A-Za-z]{1,64}")


class Malformed(Exception):  # noqa: N818  # it is what the message is
    """No message of Hummingbot's; says in which way, never with what was sent."""


class Fill(NamedTuple):
    """One fill; `position` is OPEN, CLOSE or empty where nobody says, `mark` what makes it one."""

    mark: str
    order: str
    pair: str
    buy: bool
    price: Decimal | None
    amount: Decimal
    at: float
    position: str
    more: dict[str, str]


def listed(instance: str, patterns: Sequence[str]) -> bool:
    """Whether this bot counts."""
    return bool(INSTANCE.fullmatch(instance)) and any(fnmatchcase(instance, each) for each in patterns)


def decoded(raw: bytes) -> dict[str, Any]:
    """A message's object, its numbers as text, NaN as None. Raises Malformed."""
    try:
        found = json.loads(raw, parse_float=str, parse_int=str, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(found, dict):
        raise Malformed("not a JSON object")
    return found


def fill_of(raw: bytes, now: float) -> Fill | None:
    """The fill that a message tells of, None if it is about something else. Raises Malformed."""
    found = decoded(raw)
    kind, data = found.get("type"), found.get("data")
    if not isinstance(kind, str) or not _TYPES.fullmatch(kind) or not isinstance(data, dict):
        raise Malformed("no type and data")
    if kind != "OrderFilled":
        return None
    amount, price = number(data.get("amount")), number(data.get("price"))
    if amount is None:
        raise Malformed("amount is no amount")
    order, pair, exchange = _text(data, "order_id"), _text(data, "trading_pair"), data.get("exchange_trade_id") or ""
    if not PAIR.fullmatch(pair):
        raise Malformed("trading_pair is no pair")
    if not isinstance(exchange, str) or (exchange and not PLAIN.fullmatch(exchange)) or len(exchange) > 1024:
        raise Malformed("exchange_trade_id is no text")
    stamp = found.get("timestamp")
    position = _word(data, "position")
    return Fill(
        mark=exchange or f"{order}+{shown(price)}+{shown(amount)}+{stamp}",
        order=order,
        pair=pair.upper(),
        buy=_side(data),
        price=price,
        amount=amount,
        at=min(_seconds(stamp) or now, now),
        position=position if position in ("OPEN", "CLOSE") else "",
        more={"order": order} | ({"exchange_trade_id": exchange} if exchange else {}),
    )


def number(value: object) -> Decimal | None:
    """A positive amount, None for what is none (NaN, 0, text)."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and 0 < found < Decimal("1e20") and shown(found) else None


def shown(value: Decimal | None) -> str:
    """As an event takes it: plain digits, 20 after the point at most; empty for nothing left."""
    if value is None:
        return ""
    text = f"{value:.20f}" if value.as_tuple().exponent < -20 else f"{value:f}"  # type: ignore[operator]  # it is finite
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "" if text in ("", "0") else text


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not PLAIN.fullmatch(value) or len(value) > ID_LIMIT:
        raise Malformed(f"{name} is no text")
    return value


def _word(data: dict[str, Any], name: str) -> str:
    """An enum's value, whether it is written `CLOSE` or `PositionAction.CLOSE`."""
    value = data.get(name)
    return value.rpartition(".")[2].upper() if isinstance(value, str) and len(value) <= ID_LIMIT else ""


def _side(data: dict[str, Any]) -> bool:
    word = _word(data, "trade_type")
    if word not in ("BUY", "SELL"):
        raise Malformed("trade_type is neither BUY nor SELL")
    return word == "BUY"


def _seconds(stamp: object) -> float:
    found = number(stamp)
    return float(found / 1000 if found > 10**11 else found) if found is not None else 0.0
