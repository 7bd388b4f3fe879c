"""What the guard believes is open, per target, and what it refuses because of it.

A trade's way: entry; tp1 and tp2 at most once each; tp2, sl or close ends it. Starting a delivery reserves its place on
that way, a failure without a byte gives it back. Written to the journal with every change, kept per mode.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from daemon.events import EventType, TradeEvent
from daemon.ports import Delivery, Guard, Result

TRADES_LIMIT = 5000
"""How many trades a target's book remembers; ended ones are forgotten first."""


class Entry(StrEnum):
    """What became of a trade's entry."""

    UNKNOWN = "unknown"  # the daemon never saw it: it may have started in the middle of the trade
    STARTED = "started"
    DONE = "done"
    UNCERTAIN = "uncertain"
    VOID = "void"  # refused, expired or failed: nothing was bought


@dataclass(slots=True)
class Trade:
    """One trade as the guard sees it."""

    trade: str
    symbol: str
    entry: Entry = Entry.UNKNOWN
    taken: list[str] = field(default_factory=list)
    ended_by: str = ""

    @property
    def open(self) -> bool:
        """Whether shares may be held: an entry went out, or a target was taken of one we never saw."""
        if self.ended_by:
            return False
        return self.entry in (Entry.STARTED, Entry.DONE, Entry.UNCERTAIN) or (
            self.entry is Entry.UNKNOWN and bool(self.taken)
        )

    def shown(self) -> dict[str, object]:
        """JSON-ready, with `open` spelled out."""
        return asdict(self) | {"open": self.open}


Changed = Callable[[str, str | None], None]
"""Told of each changed trade and its state as JSON, None when it is forgotten."""


class Book:
    """The book of one target in one mode."""

    def __init__(self, changed: Changed) -> None:
        self.trades: dict[str, Trade] = {}
        self._changed = changed

    def load(self, trade: str, state: str) -> None:
        """Take back a trade as it was written; raises ValueError when it cannot be read."""
        try:
            raw = json.loads(state)
            self.trades[trade] = Trade(
                trade, str(raw["symbol"]), Entry(raw["entry"]), list(map(str, raw["taken"])), str(raw["ended_by"])
            )
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from None

    def refusal(self, event: TradeEvent, guard: Guard, *, allow_add: bool) -> str:
        """Why the guard refuses this event now; empty when it may go."""
        if guard == "off":
            return ""
        trade = self.trades.get(event.trade)
        if guard == "strict":
            reason = self._second_symbol(event)
            if reason:
                return reason
        if event.type is EventType.ENTRY:
            return "the trade is already open" if trade is not None and trade.open and not allow_add else ""
        if event.is_exit or trade is None:
            return ""
        if event.type in trade.taken:
            return f"{event.type} of this trade was already done"
        if trade.ended_by:
            return f"the trade has ended ({trade.ended_by})"
        return (
            "nothing was bought: the trade's entry was refused, expired or failed" if trade.entry is Entry.VOID else ""
        )

    def _second_symbol(self, event: TradeEvent) -> str:
        others = [t for t in self.trades.values() if t.symbol != event.symbol and t.open]
        if event.type is EventType.ENTRY:
            return f"{others[0].symbol} is open at this target" if others else ""
        # Keys land in whatever has the focus: with another symbol surely bought, they would sell that one.
        others = [t for t in others if t.entry is Entry.DONE]
        if not others or any(t.symbol == event.symbol and t.open for t in self.trades.values()):
            return ""
        return f"{others[0].symbol} is the open symbol at this target"

    def start(self, event: TradeEvent) -> None:
        """Reserve the event's place: its first byte is about to go out."""
        trade = self._trade(event)
        if event.type is EventType.ENTRY:
            if not trade.open:
                trade.entry, trade.taken, trade.ended_by = Entry.STARTED, [], ""
        else:
            if not event.is_exit:
                trade.taken.append(event.type)
            if event.type is not EventType.TP1 and not trade.ended_by:
                trade.ended_by = event.type
        self._write(trade)

    def end(self, delivery: Delivery, guard: Guard) -> None:
        """Take note of how a delivery ended; without a byte its reservation is given back."""
        event, outcome = delivery.event, delivery.outcome
        if outcome is None:
            return
        pressed = delivery.begun > 0 or outcome.result in (Result.DONE, Result.UNCERTAIN)
        if outcome.result is Result.UNCERTAIN and not delivery.begun and not delivery.started and not delivery.resumed:
            self.start(event)  # a power cut may have swallowed our record of it: it counts as pressed
        trade = self.trades.get(event.trade)
        if event.type is EventType.ENTRY:
            self._end_entry(delivery, pressed)
        elif trade is not None and not pressed and delivery.started:
            if event.type in trade.taken:
                trade.taken.remove(event.type)
            if trade.ended_by == event.type:
                trade.ended_by = ""
            self._write(trade)
        elif event.is_exit and pressed and guard == "strict":
            # An exit key sells all there is of the symbol in focus, whichever trade it was bought for.
            for other in self.trades.values():
                if other.symbol == event.symbol and other.open:
                    other.ended_by = event.type
                    self._write(other)

    def _end_entry(self, delivery: Delivery, pressed: bool) -> None:
        trade = self._trade(delivery.event)
        if pressed:
            if trade.entry is Entry.STARTED:
                uncertain = delivery.outcome is not None and delivery.outcome.result is Result.UNCERTAIN
                trade.entry = Entry.UNCERTAIN if uncertain else Entry.DONE
        elif (delivery.started and trade.entry is Entry.STARTED) or not trade.open:
            trade.entry, trade.taken, trade.ended_by = Entry.VOID, [], ""
        self._write(trade)

    def set(self, symbol: str, *, open: bool) -> None:
        """Correct the book by hand: the trader knows better."""
        for trade in self.trades.values():
            if trade.symbol == symbol and trade.open and not open:
                trade.ended_by = "hand"
                self._write(trade)
        if open and not any(t.symbol == symbol and t.open for t in self.trades.values()):
            trade = self.trades[f":{symbol}"] = Trade(f":{symbol}", symbol, Entry.DONE)
            self._write(trade)

    def clear(self) -> None:
        """Forget everything."""
        for trade in self.trades:
            self._changed(trade, None)
        self.trades.clear()

    def _trade(self, event: TradeEvent) -> Trade:
        trade = self.trades.pop(event.trade, None)  # and back in at the end: `_bound` forgets the oldest first
        if trade is None:
            trade = self.trades[event.trade] = Trade(event.trade, event.symbol)
            self._bound()
            return trade
        self.trades[event.trade] = trade
        if trade.symbol != event.symbol and not trade.open:
            trade.symbol = event.symbol
        return trade

    def _bound(self) -> None:
        if len(self.trades) > TRADES_LIMIT:
            newest = next(reversed(self.trades))
            ended = (name for name, trade in self.trades.items() if not trade.open and name != newest)
            name = next(ended, None) or next(iter(self.trades))
            del self.trades[name]
            self._changed(name, None)

    def _write(self, trade: Trade) -> None:
        state = {"symbol": trade.symbol, "entry": trade.entry, "taken": trade.taken, "ended_by": trade.ended_by}
        self._changed(trade.trade, json.dumps(state))
