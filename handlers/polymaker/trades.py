"""From trade events to what the Command Center records, and the figures of a run. Pure: no clock, no wire.

Sizes are USDC as on the Center's wire, prices probabilities: an entry of size S at price P buys S / P shares.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from daemon.events import EventType, TradeEvent
from daemon.ports import Result

WINDOW = "15m"
"""A market's window when the event names none, as the Center's own client has it."""
STRATEGY = "MM"
"""The strategy when the event names none, likewise."""
POSITIONS_LIMIT = 5000
"""How many trades of a run are remembered; closed ones are forgotten first."""
_SHARE_DIGITS = Decimal("0.00000001")
_UPDATES = {
    Result.DONE: "filled",
    Result.SUPERSEDED: "cancelled",
    Result.FAILED: "failed",
}


def is_ours(event: TradeEvent) -> bool:
    """Whether it is a trade on Polymarket: its `meta` names an asset or a token."""
    return event.meta is not None and ("asset" in event.meta or "token_id" in event.meta)


@dataclass(slots=True)
class Position:
    """One trade of a run; None is not known. `mark` is its entry's post; `pnl` is realised, in USDC."""

    mark: str
    price: Decimal | None = None
    size: Decimal | None = None
    shares: Decimal | None = None
    pnl: Decimal | None = Decimal(0)
    filled_at: float = 0.0
    open: bool = True
    market: dict[str, Any] = field(default_factory=dict)
    seen: float = 0.0
    targets: dict[str, Decimal] = field(default_factory=dict)


def text_of(event: TradeEvent, name: str, otherwise: str = "") -> str:
    """A field of `meta` as text."""
    value = (event.meta or {}).get(name)
    return str(value) if value not in (None, "") else otherwise


def market_of(event: TradeEvent) -> dict[str, Any]:
    """What is known of the event's market; a field that is not known is left out."""
    known = {
        "asset": text_of(event, "asset", event.symbol),
        "window": text_of(event, "window", WINDOW),
        "tokenId": text_of(event, "token_id"),
        "conditionId": text_of(event, "condition_id"),
        "windowId": text_of(event, "window_id"),
        "tokenIdDown": text_of(event, "token_id_down"),
        "expiresAt": text_of(event, "expires_at"),
    }
    return {name: value for name, value in known.items() if value}


def trade_body(event: TradeEvent, note: "Note", cycle: int) -> dict[str, Any]:
    """The body of `/trade` without its run: JSON-ready, numbers as text; what is not known is left out."""
    market, price, size = note.market, note.price, note.size
    body = {
        "cycle": note.cycle if note.cycle is not None else cycle,
        "asset": market["asset"],
        "windowDuration": market["window"],
        "side": "buy" if event.type is EventType.ENTRY else "sell",
        "outcome": text_of(event, "outcome", "Up" if event.side == "long" else "Down"),
        "price": str(price) if price is not None else None,
        "size": str(size) if size is not None else None,
        "strategy": event.strategy or STRATEGY,
        "conditionId": market.get("conditionId"),
        "tokenId": market.get("tokenId"),
    }
    return {name: value for name, value in body.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Note:
    """What the figures need of one order, kept with its post so that they can be drawn up again after a restart.

    `filled`: as far as anybody knows it was executed; `at` in seconds since the epoch.
    """

    type: EventType
    trade: str
    mark: str
    price: Decimal | None
    size: Decimal | None
    filled: bool
    at: float
    cycle: int | None
    market: dict[str, Any]
    targets: dict[str, Decimal]

    def json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "type": self.type.value,
            "trade": self.trade,
            "mark": self.mark,
            "price": str(self.price) if self.price is not None else None,
            "size": str(self.size) if self.size is not None else None,
            "filled": self.filled,
            "at": self.at,
            "cycle": self.cycle,
            "market": self.market,
            "targets": {name: str(value) for name, value in self.targets.items()},
        }

    @classmethod
    def of(cls, raw: dict[str, Any]) -> "Note":
        """From what `json` gave. Raises KeyError, ValueError, ArithmeticError when it is something else."""
        price, size = raw["price"], raw["size"]
        return cls(
            EventType(raw["type"]),
            raw["trade"],
            raw["mark"],
            Decimal(price) if price is not None else None,
            Decimal(size) if size is not None else None,
            bool(raw["filled"]),
            float(raw["at"]),
            raw["cycle"],
            dict(raw["market"]),
            {name: Decimal(value) for name, value in raw["targets"].items()},
        )


class Ledger:
    """The Polymarket trades of one run and what they came to."""

    def __init__(self, bankroll: Decimal | None) -> None:
        self.positions: dict[str, Position] = {}
        self.orders = 0
        self.fills = 0
        self.cycle = 0
        self.wins = 0
        self.losses = 0
        self.unknown = 0
        self._bankroll = bankroll
        self._pnl = Decimal(0)
        self._peak = Decimal(0)
        self._drawdown = Decimal(0)

    def note(self, event: TradeEvent, mark: str, *, filled: bool) -> Note:
        """What is known of it: an exit's price may be the target that its entry gave, its size all that is left."""
        position = self.positions.get(event.trade)
        price, size = event.price, event.quantity
        if position is not None and event.type is not EventType.ENTRY:
            target = {EventType.TP1: "tp1", EventType.TP2: "tp2", EventType.SL: "stop"}.get(event.type, "")
            price = price if price is not None else position.targets.get(target)
            if size is None and position.shares is not None and price is not None:
                size = (position.shares * price).quantize(_SHARE_DIGITS).normalize()
        given = (event.meta or {}).get("cycle")
        targets = event.targets.model_dump(exclude_none=True) if event.targets is not None else {}
        return Note(
            type=event.type,
            trade=event.trade,
            mark=mark,
            price=price,
            size=size,
            filled=filled,
            at=event.ts,
            cycle=given if isinstance(given, int) and given >= 0 else None,
            market=market_of(event),
            targets={name: Decimal(str(value)) for name, value in targets.items()},
        )

    def take(self, note: Note) -> Position | None:
        """Count an order; the trade's position, if its entry is known."""
        self.orders += 1
        self.fills += note.filled
        if note.cycle is not None:
            self.cycle = max(self.cycle, note.cycle)
        elif note.type is EventType.ENTRY:
            self.cycle += 1
        if note.type is EventType.ENTRY:
            return self._enter(note)
        position = self.positions.get(note.trade)
        if position is not None and note.filled:
            self._leave(note, position)
        return position

    def _enter(self, note: Note) -> Position:
        self._bound()
        position = self.positions[note.trade] = Position(
            note.mark, note.price, note.size, filled_at=note.at, open=note.filled, market=note.market, seen=note.at
        )
        position.targets = note.targets
        if note.price is not None and note.size is not None and note.filled:
            position.shares = (note.size / note.price).quantize(_SHARE_DIGITS)
        return position

    def _leave(self, note: Note, position: Position) -> None:
        position.seen = note.at
        if position.pnl is None or not (note.price and note.size and position.price and position.shares is not None):
            position.pnl = None
        else:
            shares = min(position.shares, (note.size / note.price).quantize(_SHARE_DIGITS))
            position.shares -= shares
            earned = shares * (note.price - position.price)
            position.pnl += earned
            self._earn(earned)
        if note.type is not EventType.TP1:
            self._close(position)

    def figures(self) -> dict[str, Decimal | int]:
        """The metrics of the run under the Center's names; only what is known."""
        found: dict[str, Decimal | int] = {
            "totalCycles": self.cycle,
            "totalOrders": self.orders,
            "totalFills": self.fills,
            "winCount": self.wins,
            "lossCount": self.losses,
        }
        if self.orders:
            found["avgFillRate"] = (Decimal(self.fills) / self.orders).quantize(Decimal("0.0001"))
        if not self.unknown:
            found |= {
                "totalPnl": self._pnl,
                "realizedPnl": self._pnl,
                "peakPnl": self._peak,
                "maxDrawdown": self._drawdown,
            }
            if self._bankroll is not None:
                found["endingBankroll"] = self._bankroll + self._pnl
        return found

    def markets(self, since: float) -> list[dict[str, Any]]:
        """The markets of open trades, and those seen since then (seconds since the epoch), each once."""
        found = {
            position.market["tokenId"]: position.market
            for position in self.positions.values()
            if "tokenId" in position.market and (position.open or position.seen >= since)
        }
        return list(found.values())

    def _earn(self, earned: Decimal) -> None:
        self._pnl += earned
        self._peak = max(self._peak, self._pnl)
        self._drawdown = max(self._drawdown, self._peak - self._pnl)

    def _close(self, position: Position) -> None:
        if not position.open:
            return
        position.open = False
        if position.pnl is None:
            self.unknown += 1
        elif position.pnl > 0:
            self.wins += 1
        elif position.pnl < 0:
            self.losses += 1

    def _bound(self) -> None:
        if len(self.positions) >= POSITIONS_LIMIT:
            gone = next((trade for trade, position in self.positions.items() if not position.open), None)
            del self.positions[gone or next(iter(self.positions))]


def status_of(result: Result, *, priced: bool) -> str:
    """The Center's word for what became of a trade whose keys ended so; without a price nobody knows of a fill."""
    word = _UPDATES.get(result, "placed")
    return "placed" if word == "filled" and not priced else word
