"""What a route asks for, from a step's JSON: names, sides and amounts are checked here, before anything is sent."""

import json
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Literal

from daemon.events import EventType, TradeEvent
from handlers.hummingbot import requests
from handlers.hummingbot.wire import NAME

Side = Literal["BUY", "SELL"]
Action = Literal["OPEN", "CLOSE"]
OrderKind = Literal["LIMIT", "MARKET", "LIMIT_MAKER"]
_CONNECTOR_MOST = 64
_FRACTION = Decimal("1e-8")
_FARTHEST = 1000


class AskedError(Exception):
    """What is asked makes no sense; the text says why, without the value."""


@dataclass(frozen=True, slots=True)
class Where:
    """An account's market."""

    account: str
    connector: str
    pair: str

    @property
    def perpetual(self) -> bool:
        """Whether there are positions and leverage; a testnet's name goes on after the word."""
        return "_perpetual" in self.connector

    def __str__(self) -> str:
        return f"{self.pair} at {self.connector} ({self.account})"


@dataclass(frozen=True, slots=True)
class Order:
    """One order; `leverage` None where there is none to set."""

    where: Where
    side: Side
    amount: Decimal
    kind: OrderKind
    price: Decimal | None = None
    action: Action = "OPEN"
    leverage: int | None = None

    def body(self) -> requests.PlaceOrder:
        """As it goes out."""
        return requests.PlaceOrder(
            account_name=self.where.account,
            connector_name=self.where.connector,
            trading_pair=self.where.pair,
            trade_type=self.side,
            amount=self.amount,
            order_type=self.kind,
            position_action=self.action,
            **given(price=self.price),
        )


@dataclass(frozen=True, slots=True)
class Executor:
    """A position executor; the barriers are fractions of the entry price, `time_limit` in seconds."""

    where: Where
    side: Side
    amount: Decimal
    price: Decimal | None
    leverage: int
    take_profit: Decimal | None
    stop_loss: Decimal | None
    time_limit: int | None


@dataclass(frozen=True, slots=True)
class Tuning:
    """What of a running bot's controller is to be as given; None is left as it is."""

    bot: str
    controller: str
    kill_switch: bool | None
    total_amount_quote: Decimal | None


def given(**fields: Any) -> dict[str, Any]:
    """Those that are not None: what nobody asked for is not sent as null."""
    return {name: value for name, value in fields.items() if value is not None}


def read(step: str) -> tuple[str, dict[str, str]]:
    """What is asked, and its fields. Raises AskedError."""
    try:
        found: dict[str, Any] = json.loads(step)
        return str(found.pop("do")), {name: str(value) for name, value in found.items()}
    except (ValueError, KeyError, AttributeError, TypeError):
        raise AskedError("its record cannot be read") from None


def name(fields: dict[str, str], what: str) -> str:
    """A name that the server can bear. Raises AskedError."""
    if not NAME.fullmatch(fields.get(what, "")):
        raise AskedError(f"{what} must be letters, digits, _ and -, 128 at most")
    return fields[what]


def where(fields: dict[str, str]) -> Where:
    """Account, connector and pair. Raises AskedError."""
    account, connector = name(fields, "account"), name(fields, "connector")
    if len(connector) > _CONNECTOR_MOST:
        raise AskedError("connector must be 64 characters at most")
    try:
        return Where(account, connector, requests.pair(fields.get("pair", "")))
    except ValueError:
        raise AskedError("pair must be like BTC-USDT") from None


def order(fields: dict[str, str], event: TradeEvent) -> Order:
    """An order. Of an exit it is a sell for a long trade, and closes unless told otherwise. Raises AskedError."""
    market = where(fields)
    price = _number(fields["price"], "price") if "price" in fields else None
    kind = fields.get("order_type", "LIMIT" if price is not None else "MARKET").upper()
    kinds: dict[str, OrderKind] = {"LIMIT": "LIMIT", "MARKET": "MARKET", "LIMIT_MAKER": "LIMIT_MAKER"}
    if kind not in kinds:
        raise AskedError("order_type must be MARKET, LIMIT or LIMIT_MAKER")
    if (price is None) != (kind == "MARKET"):
        raise AskedError(f"a {kind} order {'takes no' if price is not None else 'needs a'} price")
    entry = event.type is EventType.ENTRY
    actions: dict[str, Action] = {"OPEN": "OPEN", "CLOSE": "CLOSE"}
    wanted = fields.get("position_action", "OPEN" if entry or not market.perpetual else "CLOSE").upper()
    if wanted not in actions:
        raise AskedError("position_action must be OPEN or CLOSE")
    action = actions[wanted]
    if action == "CLOSE" and not market.perpetual:
        raise AskedError(f"{market.connector} holds no positions: position_action is for perpetual connectors")
    # A close opens nothing, and an exchange may refuse another leverage while a position is open.
    leverage = _leverage(fields, market) if action == "OPEN" or "leverage" in fields else None
    return Order(
        market,
        _side(fields, event),
        _number(fields.get("amount", ""), "amount"),
        kinds[kind],
        price,
        action,
        leverage if market.perpetual else None,
    )


def executor(fields: dict[str, str], event: TradeEvent) -> Executor:
    """A position executor. Raises AskedError."""
    market = where(fields)
    side = _side(fields, event)
    price = _number(fields["price"], "price") if "price" in fields else None
    entry = price if price is not None else event.price
    rising: Literal[1, -1] = 1 if side == "BUY" else -1
    limit = fields.get("time_limit")
    if limit is not None and not (limit.isascii() and limit.isdigit() and 0 < len(limit) <= 9 and int(limit) > 0):
        raise AskedError("time_limit must be whole seconds")
    return Executor(
        market,
        side,
        _number(fields.get("amount", ""), "amount"),
        price,
        _leverage(fields, market),
        _fraction(fields, "take_profit", entry, rising),
        _fraction(fields, "stop_loss", entry, -rising),
        int(limit) if limit is not None else None,
    )


def tuning(fields: dict[str, str]) -> Tuning:
    """A change of a controller's configuration. Raises AskedError."""
    switch = fields.get("manual_kill_switch")
    if switch is not None and switch.lower() not in ("true", "false"):
        raise AskedError("manual_kill_switch must be true or false")
    total = _number(fields["total_amount_quote"], "total_amount_quote") if "total_amount_quote" in fields else None
    if switch is None and total is None:
        raise AskedError("controller_config needs manual_kill_switch or total_amount_quote")
    kill = switch.lower() == "true" if switch is not None else None
    return Tuning(name(fields, "bot"), name(fields, "controller"), kill, total)


def _side(fields: dict[str, str], event: TradeEvent) -> Side:
    """BUY and SELL are meant as they are; a trade's side says buy for the entry of a long, sell for its exits."""
    side = fields.get("side", "").upper()
    if side in ("LONG", "SHORT"):
        return "BUY" if (side == "LONG") == (event.type is EventType.ENTRY) else "SELL"
    if side == "BUY":
        return "BUY"
    if side == "SELL":
        return "SELL"
    raise AskedError("side must be BUY or SELL, or {side}")


def _leverage(fields: dict[str, str], market: Where) -> int:
    text = fields.get("leverage", "1")
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 125):
        raise AskedError("leverage must be 1 to 125")
    if int(text) != 1 and not market.perpetual:
        raise AskedError(f"{market.connector} is no perpetual connector: it has no leverage")
    return int(text)


def _number(text: str, what: str) -> Decimal:
    try:
        found = Decimal(text) if text.isascii() and "_" not in text and len(text) <= 64 else Decimal(0)
    except InvalidOperation:
        found = Decimal(0)
    if not found.is_finite() or found <= 0 or abs(found.adjusted()) > 20:
        raise AskedError(f"{what} must be a number above 0")
    return found


def _fraction(fields: dict[str, str], what: str, entry: Decimal | None, ahead: int) -> Decimal | None:
    """How far a barrier lies from the entry: `2%` is 0.02, a price is |price - entry| / entry, on its right side.

    `ahead` is 1 for a barrier above the entry, -1 for one below.
    """
    text = fields.get(what)
    if text is None:
        return None
    found: Decimal
    if text.endswith("%"):
        found = _number(text[:-1].strip(), what) / 100
    else:
        barrier = _number(text, what)
        if entry is None:
            raise AskedError(f"{what} is a price, so the entry's price is needed too")
        found = (barrier - entry) * ahead / entry
        if found <= 0:
            raise AskedError(f"{what} lies on the wrong side of the entry's price")
    found = found.quantize(_FRACTION, ROUND_HALF_EVEN).normalize() if found < _FARTHEST else found
    if not 0 < found < (_FARTHEST if ahead > 0 else 1):  # nothing falls by more than all of it
        raise AskedError(f"{what} is not a distance from the entry's price")
    return found
