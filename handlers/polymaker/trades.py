"""From trade events to what the Command Center records, and the figures of a run. Pure: no clock, no wire.

Sizes are USDC as on the Center's wire, prices probabilities: an entry of size S at price P buys S / P shares. What is
not known is None and stays so: no figure is made up.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from daemon.events import EventType, TradeEvent
from daemon.ports import Result
from daemon.redaction import HIDDEN

WINDOW = "15m"
"""A market's window when the event names none, as the Center's own client has it."""
STRATEGY = "MM"
"""The strategy when the event names none, likewise."""
POSITIONS_LIMIT = 5000
"""How many open trades of a run are remembered, and how many that ended; the oldest are forgotten first."""
MARKETS_LIMIT = 500
"""How many markets are reported, those traded last."""
FILLED = (Result.DONE, Result.SIMULATED)
"""Results that count as executed, as far as anybody knows."""
_TEXT_LIMIT = 128  # characters; what the wire takes
_LARGEST_CYCLE = 2**53 - 1
_SHARES = Decimal("0.00000001")
_LARGEST = Decimal("1e18")  # with eight decimals within the 28 digits that Decimal's context keeps
_TARGETS = {EventType.TP1: "tp1", EventType.TP2: "tp2", EventType.SL: "stop"}
_IDS = {"tokenId": "token_id", "conditionId": "condition_id", "windowId": "window_id", "tokenIdDown": "token_id_down"}


def is_ours(event: TradeEvent) -> bool:
    """Whether it says that it is a trade on Polymarket: its `meta` names an asset or a token."""
    return event.meta is not None and ("asset" in event.meta or "token_id" in event.meta)


def market_of(event: TradeEvent, known_before: Mapping[str, str] | None = None) -> dict[str, str]:
    """What is known of the event's market, from its entry what it does not name itself; a field that is not known is
    left out, as is an id too long to be one.
    """
    before = known_before or {}
    known = {
        "asset": _meta(event, "asset", before.get("asset", event.symbol))[:_TEXT_LIMIT],
        "window": _meta(event, "window", before.get("window", WINDOW))[:_TEXT_LIMIT],
        "expiresAt": _meta(event, "expires_at", before.get("expiresAt", ""))[:_TEXT_LIMIT],
        **{name: _meta(event, field, before.get(name, "")) for name, field in _IDS.items()},
    }
    return {name: text for name, text in known.items() if 0 < len(text) <= _TEXT_LIMIT}


def hidden(event: TradeEvent) -> list[str]:
    """The fields of its `meta` that held a secret where a market's name or id belongs."""
    return [name for name in ("asset", *_IDS.values()) if HIDDEN in str((event.meta or {}).get(name, ""))]


def _meta(event: TradeEvent, name: str, otherwise: str = "") -> str:
    value = str((event.meta or {}).get(name, ""))
    return value if value and not (HIDDEN in value and name in hidden(event)) else otherwise


def _cycle(event: TradeEvent) -> int | None:
    """The bot's own count, if it is one."""
    text = _meta(event, "cycle").removesuffix(".0")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 17 else None
    return number if number is None or number <= _LARGEST_CYCLE else None


def trade_body(event: TradeEvent, note: "Note") -> dict[str, Any]:
    """The body of `/trade` without its run: JSON-ready, numbers as text; what is not known is left out."""
    body = {
        "cycle": note.cycle,
        "asset": note.market["asset"],
        "windowDuration": note.market["window"],
        "side": "buy" if event.type is EventType.ENTRY else "sell",
        "outcome": note.outcome,
        "price": str(note.price) if note.price is not None else None,
        "size": str(note.size) if note.size is not None else None,
        "strategy": note.strategy,
        "conditionId": note.market.get("conditionId"),
        "tokenId": note.market.get("tokenId"),
    }
    return {name: value for name, value in body.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Note:
    """What the figures need of one order, kept with its post so that they can be drawn up again after a restart.

    `mark` is its post's, `filled`: as far as anybody knows it was executed; `at` in seconds since the epoch.
    """

    type: EventType
    trade: str
    mark: str
    price: Decimal | None
    size: Decimal | None
    filled: bool
    at: float
    cycle: int
    market: dict[str, str]
    targets: dict[str, Decimal]
    outcome: str
    strategy: str

    @property
    def shares(self) -> Decimal | None:
        """How many it buys or sells; None if that is not known."""
        return _exact(self.size / self.price) if self.size is not None and self.price else None

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
            "outcome": self.outcome,
            "strategy": self.strategy,
        }

    @classmethod
    def of(cls, raw: dict[str, Any]) -> "Note":
        """From what `json` gave. Raises KeyError, TypeError, ValueError, ArithmeticError when it is something else."""
        price, size = raw["price"], raw["size"]
        return cls(
            EventType(raw["type"]),
            raw["trade"],
            raw["mark"],
            Decimal(price) if price is not None else None,
            Decimal(size) if size is not None else None,
            bool(raw["filled"]),
            float(raw["at"]),
            int(raw["cycle"]),
            dict(raw["market"]),
            {name: Decimal(value) for name, value in raw["targets"].items()},
            str(raw.get("outcome", "Up")),
            str(raw.get("strategy", STRATEGY)),
        )


@dataclass(slots=True)
class Position:
    """One open trade. `mark`, `price`, `size` and `at` are its first entry's; `shares` is what is left of all entries,
    `basis` what one of them cost on average, `pnl` what was realised, in USDC. None: not known.
    """

    mark: str
    price: Decimal | None
    size: Decimal | None
    at: float
    cycle: int
    market: dict[str, str]
    targets: dict[str, Decimal]
    outcome: str
    strategy: str
    shares: Decimal | None = Decimal(0)
    basis: Decimal | None = Decimal(0)
    pnl: Decimal | None = Decimal(0)


class Ledger:
    """The Polymarket trades of one run and what they came to; `unknown` counts those nobody can put a figure on."""

    def __init__(self, bankroll: Decimal | None) -> None:
        self.positions: OrderedDict[str, Position] = OrderedDict()
        self.orders = 0
        self.fills = 0
        self.cycle = 0
        self.wins = 0
        self.losses = 0
        self.unknown = 0
        self._bankroll = bankroll
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._markets: OrderedDict[str, tuple[dict[str, str], float]] = OrderedDict()
        self._pnl = Decimal(0)
        self._peak = Decimal(0)
        self._drawdown = Decimal(0)

    def note(self, event: TradeEvent, mark: str, *, filled: bool) -> Note:
        """What is known of it: an exit's price may be the target that its entry gave; one that names no market has its
        entry's, and its outcome and strategy; what ends a trade sells all that is left of it.
        """
        position = self.positions.get(event.trade)
        price, size, cycle = event.price, event.quantity, _cycle(event)
        if event.type is EventType.ENTRY:
            cycle = self.cycle + 1 if cycle is None else cycle
        elif position is not None:
            cycle = position.cycle if cycle is None else cycle
            price = price if price is not None else position.targets.get(_TARGETS.get(event.type, ""))
            if size is None and price is not None and position.shares and event.type is not EventType.TP1:
                size = _exact(position.shares * price)
        targets = event.targets.model_dump(exclude_none=True) if event.targets is not None else {}
        heir = None if is_ours(event) else position
        outcome = heir.outcome if heir is not None else "Up" if event.side == "long" else "Down"
        return Note(
            type=event.type,
            trade=event.trade,
            mark=mark,
            price=price,
            size=size,
            filled=filled,
            at=event.ts,
            cycle=self.cycle if cycle is None else cycle,
            market=market_of(event, heir.market if heir is not None else None),
            targets={name: Decimal(str(value)) for name, value in targets.items()},
            outcome=_meta(event, "outcome", outcome)[:_TEXT_LIMIT],
            strategy=event.strategy or (heir.strategy if heir is not None else STRATEGY),
        )

    def take(self, note: Note) -> Position | None:
        """Count an order; the position that it opened, added to, reduced or ended, if it was filled and is known."""
        self.orders += 1
        self.fills += note.filled
        self.cycle = max(self.cycle, note.cycle)
        token = note.market.get("tokenId")
        if token is not None:
            _put(self._markets, token, (note.market, note.at), MARKETS_LIMIT)
        if not note.filled:
            return None
        return self._enter(note) if note.type is EventType.ENTRY else self._leave(note)

    def _enter(self, note: Note) -> Position:
        position = self.positions.get(note.trade)
        if position is None:
            position = Position(
                note.mark,
                note.price,
                note.size,
                note.at,
                note.cycle,
                note.market,
                note.targets,
                note.outcome,
                note.strategy,
            )
            _put(self.positions, note.trade, position, POSITIONS_LIMIT)
        bought = note.shares
        if position.shares is None or position.basis is None or bought is None or not note.price or note.size is None:
            position.shares = position.basis = None
        else:
            before, position.shares = position.shares, position.shares + bought
            cost = before * position.basis + note.size
            position.basis = cost / position.shares if before and position.shares else note.price
        return position

    def _leave(self, note: Note) -> Position | None:
        position = self.positions.get(note.trade)
        if position is None:
            if note.type is not EventType.TP1 and note.trade not in self._ended:
                self.unknown += 1  # an entry that nobody told us of
                _put(self._ended, note.trade, None, POSITIONS_LIMIT)
            return None
        sold = note.shares
        if position.shares is None or position.basis is None or sold is None or not note.price:
            self.unknown += position.pnl is not None  # from here on, not only once the trade ends
            position.pnl = position.shares = None
        else:
            shares = min(position.shares, sold)
            position.shares -= shares
            earned = shares * (note.price - position.basis)
            position.pnl = position.pnl + earned if position.pnl is not None else None
            self._earn(earned)
        if note.type is not EventType.TP1:
            self._close(note.trade, position)
        return position

    def _earn(self, earned: Decimal) -> None:
        self._pnl += earned
        self._peak = max(self._peak, self._pnl)
        self._drawdown = max(self._drawdown, self._peak - self._pnl)

    def _close(self, trade: str, position: Position) -> None:
        del self.positions[trade]
        _put(self._ended, trade, None, POSITIONS_LIMIT)
        if position.pnl is not None:
            self.wins += position.pnl > 0
            self.losses += position.pnl < 0

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

    def markets(self, since: float) -> list[dict[str, str]]:
        """The markets of open trades, and those traded since then (seconds since the epoch), each once."""
        held = {position.market.get("tokenId") for position in self.positions.values()}
        return [market for token, (market, at) in self._markets.items() if at >= since or token in held]


def _exact(number: Decimal) -> Decimal | None:
    """To eight decimals; None for one that is beyond all measure."""
    return number.quantize(_SHARES).normalize() if number < _LARGEST else None


def _put(into: OrderedDict[str, Any], name: str, value: object, limit: int) -> None:
    """As the newest; the oldest goes."""
    into[name] = value
    into.move_to_end(name)
    if len(into) > limit:
        into.popitem(last=False)
