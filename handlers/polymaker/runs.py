"""The daemon's run at the Command Center, as posts of the outbox: opened, gone on with, its trades told, closed."""

from collections import deque
from decimal import Decimal
from typing import Any, Literal
from uuid import uuid4

from loguru import logger

from daemon.clock import Clock
from daemon.events import EventType, TradeEvent
from daemon.ports import Mode, Outbox, Post, Result, State
from daemon.settings import PolymakerSettings
from handlers.polymaker.trades import FILLED, Ledger, Note, hidden, is_ours, trade_body

HANDLER = "polymaker"
"""The handler's name in the journal."""
START, STOP, TRADE, UPDATE = "run/start", "run/stop", "trade", "trade/update"
"""What posts ask: the Center's paths."""
EARLY_LIMIT = 1000
"""How many events are remembered that end before there is a run to tell them in: while the journal cannot be read."""
_UNTOLD = (Result.REFUSED, Result.EXPIRED)
_WITHOUT_FILL = {Result.FAILED: "failed", Result.SUPERSEDED: "cancelled"}
_LOST = "the daemon ended without closing this run"

Status = Literal["completed", "stopped", "error"]


class Runs:
    """One run at a time, at `place` (the Center's address); bodies are JSON-ready, with numbers as text.

    `run` is its name here, empty before there is one; `over`: it is to be closed, and no figures of it go out any more.
    `settings` may be replaced; what a run began with stays.
    """

    def __init__(self, settings: PolymakerSettings, place: str, mode: Mode, outbox: Outbox, clock: Clock) -> None:
        self.place = place
        self.run = ""
        self.over = False
        self.settings = settings
        self.ledger = self._empty()
        self._mode: Mode = mode
        self._outbox = outbox
        self._clock = clock
        self._ids: dict[str, int | None] = {}
        self._early: deque[tuple[TradeEvent, Result, Mode]] = deque(maxlen=EARLY_LIMIT)

    def _empty(self) -> Ledger:
        return Ledger(Decimal(str(self.settings.bankroll)) if self.settings.bankroll is not None else None)

    # -- the run ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Go on with the run that a crash left behind, if it is young enough; else close it and open another.

        Raises JournalError before anything is done.
        """
        last = next(iter(self._outbox.latest(START, 1)), None)
        if last is not None:
            self._outbox.ask()  # it may want a pause by now, and what waits may go out before this run's start
        if last is None or _never_opened(last) or self._outbox.find(_stop_of(last.run)) is not None:
            self.start()
            return
        posts = self._outbox.posts(last.run)
        ledger = self._replayed(posts)
        here = last.place == self.place and last.body.get("mode") == self._wire_mode
        if here and self._young(max(post.made for post in (last, *posts))):
            self.run, self.ledger = last.run, ledger
            logger.info("polymaker: goes on with the run of before")
            self._catch_up()
            return
        body = {"status": "error", "errorMessage": _LOST, "metrics": _shown(ledger)}
        self._put(STOP, _stop_of(last.run), body, last.run, last.place)
        logger.warning("polymaker: a run was left open; it is closed with status error")
        self.start()

    def start(self) -> None:
        """Open a run."""
        self.run, self.over, self.ledger = uuid4().hex, False, self._empty()
        if self.settings.bankroll is None:
            logger.info("polymaker: polymaker.bankroll is not set: the run starts with 0")
        body = {"mode": self._wire_mode, "bankroll": str(self.settings.bankroll or 0)}
        self._put(START, f"{self.run}:start", body, self.run, self.place)
        self._catch_up()

    def end(self, status: Status) -> None:
        """Close the run, with its final figures."""
        if self.run and not self.over:
            self.over = True
            body = {"status": status, "metrics": self.figures()}
            self._put(STOP, _stop_of(self.run), body, self.run, self.place)

    def alive(self) -> None:
        """Note that the run goes on."""
        if self.run and not self.over:
            self._outbox.remember("alive", repr(self._clock.now()))

    def forgotten(self, run: str) -> None:
        """The Center knows it no more: it is opened anew, and goes on with all that waits. Raises JournalError."""
        start = self._outbox.find(f"{run}:start")
        if start is not None and start.state is State.ENDED:
            self._ids.pop(run, None)
            self._outbox.send_again(start)

    def figures_of(self, run: str) -> dict[str, Any] | None:
        """The figures of a run that is going on or about to be closed; None once it is. Raises JournalError."""
        stop = self._outbox.find(_stop_of(run))
        if stop is not None and stop.state is State.ENDED:
            return None
        found: dict[str, Any] = stop.body.get("metrics", {}) if stop is not None else self.figures()
        return found

    def opened(self, run: str, run_id: int) -> None:
        """The Center gave a run its number."""
        self._ids[run] = run_id

    def remote_id(self, run: str) -> int | None:
        """The Center's number for a run; None before it has given one, or if nobody knows it. Raises JournalError."""
        if run and run not in self._ids:
            start = self._outbox.find(f"{run}:start")
            if start is None or start.state is not State.ENDED:
                return None
            self._ids[run] = start.answer.get("runId")
        return self._ids.get(run)

    @property
    def current_id(self) -> int | None:
        """The number of the run that is open. Raises JournalError."""
        return None if self.over else self.remote_id(self.run)

    @property
    def _wire_mode(self) -> str:
        return "live" if self._mode == "live" else "dry_run"

    def _young(self, made: float) -> bool:
        try:
            made = max(float(self._outbox.recall("alive") or 0.0), made)
        except ValueError:
            logger.error("polymaker: the record of when the run was last alive cannot be read")
        return self._clock.now() - made <= self.settings.resume_within

    def _replayed(self, posts: list[Post]) -> Ledger:
        ledger = self._empty()
        for post in posts:
            if post.name == TRADE:
                try:
                    ledger.take(Note.of(post.body["note"]))
                except (KeyError, TypeError, ValueError, ArithmeticError):
                    logger.error("polymaker: the record of trade {} cannot be read; figures leave it out", post.group)
        return ledger

    # -- its trades ------------------------------------------------------------------------------------------------

    def told(self, event: TradeEvent, result: Result, mode: Mode) -> None:
        """An event came to its end: tell the Center of it, if it is a trade there. The first word on it counts."""
        if mode != self._mode or result in _UNTOLD or not (is_ours(event) or self._ends_ours(event)):
            return
        try:
            self._tell(event, result, mode)
        except Exception as error:  # promise 4: the key of the next event must not suffer for what is told of this one
            logger.opt(exception=error).error("polymaker: {} {} is not told", event.type.value, event.id)

    def _ends_ours(self, event: TradeEvent) -> bool:
        """Whether it is an exit of a trade there: a stop that says no more than its trade must not leave it open."""
        if event.type is EventType.ENTRY:
            return False
        return event.trade in self.ledger.positions or any(event.trade == early.trade for early, _, _ in self._early)

    def _tell(self, event: TradeEvent, result: Result, mode: Mode) -> None:
        if not self.run:
            self._early.append((event, result, mode))
            return
        mark = f"{event.id}:trade"
        if self._outbox.known(mark):
            return
        if left_out := hidden(event):
            words = ", ".join(f"meta.{name}" for name in left_out)
            logger.warning("polymaker: {} {}: {} held a secret and is left out", event.type.value, event.id, words)
        note = self.ledger.note(event, mark, filled=result in FILLED)
        position = self.ledger.take(note)
        body = {"wire": trade_body(event, note), "note": note.json()}
        self._put(TRADE, mark, body, self.run, self.place, event.trade)
        update: dict[str, Any] = {}
        if result in _WITHOUT_FILL:
            update = {"trade": mark, "status": _WITHOUT_FILL[result]}
        elif event.type is not EventType.ENTRY and position is not None and position.price is not None:
            update = {
                "trade": position.mark,
                "status": "filled",
                "fillPrice": str(position.price),
                "fillSize": str(position.size) if position.size is not None else None,
                "fillTimestamp": position.at,
                "pnl": str(position.pnl) if position.pnl is not None else None,
            }
        if update:
            known = {name: value for name, value in update.items() if value is not None}
            self._put(UPDATE, f"{event.id}:update", known, self.run, self.place, event.trade)

    def _catch_up(self) -> None:
        """What ended before there was a run."""
        early = list(self._early)
        self._early.clear()
        for event, result, mode in early:
            self.told(event, result, mode)

    def figures(self) -> dict[str, str | int]:
        """The run's metrics, JSON-ready: whole numbers as they are, others as text."""
        return _shown(self.ledger)

    def _put(self, name: str, mark: str, body: dict[str, Any], run: str, place: str, group: str = "") -> None:
        self._outbox.put(Post(HANDLER, place, run, group, name, mark, body, self._clock.now()))


def _shown(ledger: Ledger) -> dict[str, str | int]:
    return {name: value if isinstance(value, int) else str(value) for name, value in ledger.figures().items()}


def _stop_of(run: str) -> str:
    return f"{run}:stop"


def _never_opened(start: Post) -> bool:
    return start.outcome is not None and start.outcome.result is not Result.DONE
