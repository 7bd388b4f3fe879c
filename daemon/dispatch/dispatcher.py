"""All lanes together: takes planned deliveries, commits and fires what may go, and tells who listens how each ended."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from loguru import logger

from daemon.clock import Clock
from daemon.dispatch.calls import Calls
from daemon.dispatch.lane import Lane
from daemon.errors import JournalError
from daemon.events import TradeEvent
from daemon.journal import Journal
from daemon.metrics import Metrics
from daemon.ports import Delivery, Halt, Mode, Outcome, Result, State

TRADER = "trader"
"""Whose kill switch `deskhand halt` sets."""
_WRITE_SOON_S = 0.001  # ends and confirmations of one such span share a transaction
_LEVELS = {
    Result.UNCERTAIN: "ERROR",
    Result.FAILED: "ERROR",
    Result.EXPIRED: "WARNING",
    Result.REFUSED: "WARNING",
}


class Dispatcher:
    """Owns the lanes; all of it belongs to the loop's thread."""

    def __init__(self, journal: Journal, clock: Clock, metrics: Metrics, *, exits_without_journal: bool) -> None:
        self.lanes: dict[str, Lane] = {}
        self.calls: dict[str, Calls] = {}
        self.ended: list[Callable[[Delivery], None]] = []
        self.told: list[Callable[[TradeEvent, Result, Mode], None]] = []
        self.exits_without_journal = exits_without_journal
        self.halts: dict[str, tuple[Halt, str]] = {}
        self._journal = journal
        self._clock = clock
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._hot = False
        self._later: asyncio.TimerHandle | None = None
        self._waiters: dict[Delivery, list[asyncio.Future[None]]] = {}

    def add_lane(self, lane: Lane) -> None:
        """Put a lane into service."""
        lane.halt = self.halt_level()
        self.lanes[lane.name] = lane

    def add_calls(self, calls: Calls) -> None:
        """Put a queue of calls into service."""
        calls.halt = self.halt_level()
        self.calls[calls.name] = calls

    def queues(self) -> tuple[Lane | Calls, ...]:
        """Every lane and every queue of calls."""
        return (*self.lanes.values(), *self.calls.values())

    def _queue(self, delivery: Delivery) -> Lane | Calls | None:
        return self.lanes.get(delivery.lane) or self.calls.get(delivery.lane)

    def submit(self, delivery: Delivery) -> None:
        """Take a planned delivery; the next `flush` acts on it."""
        lane = self._queue(delivery)
        if lane is None:
            result = Result.UNCERTAIN if delivery.resumed else Result.REFUSED
            self.end(delivery, Outcome(result, f"there is no target {delivery.action.target}"))
        elif lane.full and not delivery.event.is_exit:
            lane.refuse(delivery, Result.REFUSED, "too many actions are waiting at this target")
        else:
            lane.put(delivery)

    def refuse(self, delivery: Delivery, outcome: Outcome) -> None:
        """End a planned delivery before it reaches a queue."""
        lane = self._queue(delivery)
        if lane is None:
            self.end(delivery, outcome)
        else:
            lane.refuse(delivery, outcome.result, outcome.reason)

    def withdraw(self, delivery: Delivery, reason: str) -> None:
        """Take a delivery that never started back out of its queue."""
        lane = self._queue(delivery)
        if lane is not None and delivery.state is State.PLANNED:
            lane.withdraw(delivery, reason)

    def end(self, delivery: Delivery, outcome: Outcome) -> None:
        """Write down an end that no lane decides."""
        delivery.state = State.ENDED
        delivery.outcome = outcome
        delivery.ended_at = self._clock.now()
        self._journal.touch(delivery)
        self.on_end(delivery)

    def flush(self) -> bool:
        """Choose, commit, fire: everything that may go out this instant. Returns whether the commit succeeded."""
        self._hot = False
        lanes = [lane for lane in self.queues() if self._selects(lane)]
        recorded = True
        try:
            self._journal.record()
        except JournalError as error:
            recorded = False
            reason = f"the journal cannot be written: {error}"
            for lane in lanes:
                if lane.unchoose(self._fires_unrecorded, reason):
                    self.flush_soon()
        for lane in lanes:
            try:
                lane.fire()
            except Exception as error:  # promise 4, as below
                _mistake(lane, error)
        if recorded:
            self._write()
        return recorded

    @staticmethod
    def _selects(lane: Lane | Calls) -> bool:
        """Whether this queue has something to fire."""
        try:
            return lane.select()
        except Exception as error:  # promise 4: a mistake of ours in one queue keeps no other's keys
            _mistake(lane, error)
            return True  # what it had chosen is begun, and has to go now or never

    def _fires_unrecorded(self, delivery: Delivery) -> bool:
        return delivery.event.is_exit and self.exits_without_journal

    def flush_soon(self) -> None:
        """Flush in this turn of the loop's next."""
        if not self._hot:
            self._hot = True
            self._loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        if not self._hot:
            return
        if any(lane.depth for lane in self.queues()):
            self.flush()
        else:
            self._hot = False
            if self._later is None:
                self._later = self._loop.call_later(_WRITE_SOON_S, self._write)

    def _write(self) -> None:
        """Commit; a failure is logged where it happens, and the keeper of the journal tries again every second."""
        self._later = None
        with suppress(JournalError):
            self._journal.commit()

    def on_end(self, delivery: Delivery) -> None:
        """Log, count and tell: a delivery has ended."""
        outcome, event = delivery.outcome, delivery.event
        if outcome is None:
            return
        self._metrics.deliveries_total(delivery.action.handler, outcome.result)
        level = _LEVELS.get(outcome.result, "INFO")
        if event.is_exit and outcome.result is Result.EXPIRED:
            level = "ERROR"  # a stop-loss that did not fire
        logger.log(
            level,
            "{} {} {} at {}: {}{}",
            event.type.value,
            event.symbol,
            event.id,
            delivery.action.target,
            outcome.result.value,
            f", {outcome.reason}" if outcome.reason else "",
            **delivery.fields,
        )
        for waiter in self._waiters.pop(delivery, ()):
            if not waiter.done():
                waiter.set_result(None)
        for listener in self.ended:
            listener(delivery)
        self.tell(event, outcome.result, delivery.mode)

    async def wait(self, deliveries: list[Delivery], timeout: float) -> None:
        """Wait until all have ended, at most `timeout` seconds."""
        waiters = []
        for delivery in deliveries:
            if delivery.outcome is None:
                waiter = self._loop.create_future()
                self._waiters.setdefault(delivery, []).append(waiter)
                waiters.append((delivery, waiter))
        if not waiters:
            return
        try:
            await asyncio.wait([waiter for _, waiter in waiters], timeout=timeout)
        finally:
            for delivery, waiter in waiters:
                waiter.cancel()
                if delivery.outcome is None:
                    self._waiters.get(delivery, []).remove(waiter)

    def halt(self, level: Halt, reason: str, owner: str = TRADER) -> None:
        """Set or lift (`none`) one owner's kill switch; the strictest counts. What waits is decided anew at once."""
        self.halts.pop(owner, None)
        if level != "none":
            self.halts[owner] = (level, reason)
        now = self.halt_level()
        for lane in self.queues():
            lane.halt = now
        self._metrics.halted(now)
        self.flush_soon()

    def halt_level(self) -> Halt:
        """The strictest of all kill switches."""
        levels = [level for level, _ in self.halts.values()]
        return "all" if "all" in levels else "entries" if levels else "none"

    def tell(self, event: TradeEvent, result: Result, mode: Mode) -> None:
        """An event came to an end at one of its targets, or had none; once for each of them."""
        for listener in self.told:
            listener(event, result, mode)

    @property
    def draining(self) -> bool:
        """Whether a sequence runs or a key is unconfirmed: what an orderly stop waits for."""
        return any(lane.draining for lane in self.queues())

    def close(self) -> None:
        """Stop all timers; nothing is sent any more."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        for lane in self.queues():
            lane.close()


def _mistake(lane: Lane | Calls, error: Exception) -> None:
    logger.opt(exception=error).error("{}: a mistake of ours", lane.name)
