"""The daemon's run at the Command Center, as posts of the outbox: opened, gone on with, its trades told, closed."""

from decimal import Decimal
from typing import Any, Literal
from uuid import uuid4

from loguru import logger

from daemon.clock import Clock
from daemon.errors import JournalError
from daemon.events import EventType, TradeEvent
from daemon.ports import Mode, Outbox, Post, Result
from daemon.settings import PolymakerSettings
from handlers.polymaker.trades import Ledger, Note, Position, is_ours, status_of, trade_body

HANDLER = "polymaker"
"""The handler's name in the journal."""
START, STOP, TRADE, UPDATE = "run/start", "run/stop", "trade", "trade/update"
"""What posts ask: the Center's paths."""
_UNTOLD = (Result.REFUSED, Result.EXPIRED)
_LOST = "the daemon ended without closing this run"

Status = Literal["completed", "stopped", "error"]


class Runs:
    """One run at a time, at `place` (the Center's address); bodies are JSON-ready, with numbers as text."""

    def __init__(self, settings: PolymakerSettings, place: str, mode: Mode, outbox: Outbox, clock: Clock) -> None:
        self.place = place
        self.run = ""
        self.ledger = self._empty(settings)
        self._settings = settings
        self._mode: Mode = mode
        self._outbox = outbox
        self._clock = clock
        self._ids: dict[str, int] = {}

    @staticmethod
    def _empty(settings: PolymakerSettings) -> Ledger:
        return Ledger(Decimal(str(settings.bankroll)) if settings.bankroll is not None else None)

    # -- the run ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Go on with the run that a crash left behind, if it is young enough; else close it and open another.

        Raises JournalError.
        """
        last = next(iter(self._outbox.latest(START, 1)), None)
        if last is not None and self._outbox.find(f"{last.run}:stop") is None:
            here = last.place == self.place and last.body.get("mode") == self._wire_mode
            if here and (self._failed(last) or self._young(last)):
                self._resume(last)
                return
            if not self._failed(last):
                self._put(STOP, f"{last.run}:stop", {"status": "error", "errorMessage": _LOST}, last.run, last.place)
                logger.warning("polymaker: a run was left open; it is closed with status error")
        self.run = uuid4().hex
        self.ledger = self._empty(self._settings)
        self._open(f"{self.run}:start")

    def _resume(self, last: Post) -> None:
        self.run = last.run
        self.ledger = self._empty(self._settings)
        for post in self._outbox.posts(self.run):
            if post.name == TRADE:
                try:
                    self.ledger.take(Note.of(post.body["note"]))
                except (KeyError, TypeError, ValueError, ArithmeticError):
                    logger.error("polymaker: the record of trade {} cannot be read; figures leave it out", post.group)
        if self._failed(last):
            self.reopen()
        else:
            logger.info("polymaker: goes on with the run of before")

    def reopen(self) -> None:
        """Ask again for a run that the Center would not open, if that is how things are. Raises JournalError."""
        starts = [post for post in self._outbox.posts(self.run) if post.name == START] if self.run else []
        if starts and self._failed(starts[-1]):
            self._open(f"{self.run}:start:{len(starts)}")

    def end(self, status: Status, message: str = "") -> None:
        """Close the run, with its final figures."""
        if not self.run:
            return
        body: dict[str, Any] = {"status": status, "metrics": self.figures()}
        if message:
            body["errorMessage"] = message
        self._put(STOP, f"{self.run}:stop", body, self.run, self.place)
        self.run = ""

    def alive(self) -> None:
        """Note that the run goes on."""
        self._outbox.remember("alive", repr(self._clock.now()))

    def _open(self, mark: str) -> None:
        body = {"mode": self._wire_mode, "bankroll": str(self._settings.bankroll or 0)}
        self._put(START, mark, body, self.run, self.place)
        self.alive()

    @property
    def _wire_mode(self) -> str:
        return "live" if self._mode == "live" else "dry_run"

    @staticmethod
    def _failed(start: Post) -> bool:
        return start.outcome is not None and start.outcome.result is not Result.DONE

    def _young(self, start: Post) -> bool:
        alive = max(float(self._outbox.recall("alive") or 0.0), start.made)
        return self._clock.now() - alive <= self._settings.resume_within

    def remote_id(self, run: str) -> int | None:
        """The Center's number for a run, once it has given one. Raises JournalError."""
        if run not in self._ids:
            for post in self._outbox.posts(run):
                if post.name == START and isinstance(post.answer.get("runId"), int):
                    self._ids[run] = post.answer["runId"]
        return self._ids.get(run)

    # -- its trades ------------------------------------------------------------------------------------------------

    def told(self, event: TradeEvent, result: Result, mode: Mode) -> None:
        """An event came to its end: tell the Center of it, if it is a trade there."""
        try:
            self._trade(event, result, mode)
        except JournalError as error:
            logger.error("polymaker: {} {} is not told: {}", event.type.value, event.id, error, event_id=event.id)

    def _trade(self, event: TradeEvent, result: Result, mode: Mode) -> None:
        if not self.run or mode != self._mode or result in _UNTOLD or not is_ours(event):
            return
        mark = f"{event.id}:trade"
        if self._outbox.find(mark) is not None:
            return
        note = self.ledger.note(event, mark, filled=result is Result.DONE)
        position = self.ledger.take(note)
        body = {"wire": trade_body(event, note, self.ledger.cycle), "note": note.json()}
        self._put(TRADE, mark, body, self.run, self.place, event.trade)
        if position is None:
            return
        if event.type is not EventType.ENTRY:
            self._update(event, position, status_of(result, priced=note.price is not None))
        elif result is Result.FAILED:
            self._update(event, position, "failed")

    def _update(self, event: TradeEvent, position: Position, status: str) -> None:
        body: dict[str, Any] = {"entry": position.mark, "status": status}
        if status == "filled" and position.price is not None:
            body["fillPrice"] = str(position.price)
            body["fillSize"] = str(position.size) if position.size is not None else None
            body["fillTimestamp"] = position.filled_at
            body["pnl"] = str(position.pnl) if position.pnl is not None else None
        body = {name: value for name, value in body.items() if value is not None}
        self._put(UPDATE, f"{event.id}:update", body, self.run, self.place, event.trade)

    def figures(self) -> dict[str, str | int]:
        """The run's metrics, JSON-ready: whole numbers as they are, others as text."""
        return {name: value if isinstance(value, int) else str(value) for name, value in self.ledger.figures().items()}

    def _put(self, name: str, mark: str, body: dict[str, Any], run: str, place: str, group: str = "") -> None:
        self._outbox.put(Post(HANDLER, place, run, group, name, mark, body, self._clock.now()))
