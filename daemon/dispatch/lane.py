"""A lane: the ordered queue in front of one peer, and the walk of its deliveries step by step.

Keys carry no symbol and land in whatever has the focus, so a lane presses one sequence at a time, with `gap_s` between
any two keys. `select` chooses what may go out this instant and marks it begun; `fire` sends it after the journal has
that on record. Nothing here blocks: what has to wait sets the lane's one timer.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from loguru import logger

from daemon.clock import Clock
from daemon.dispatch.alarm import Alarm
from daemon.dispatch.book import Book
from daemon.dispatch.rules import LaneRules, age, verdict
from daemon.events import TradeEvent
from daemon.journal import Journal
from daemon.metrics import Metrics
from daemon.ports import Delivery, Halt, Outcome, Peer, Result, State

WAITING_LIMIT = 1000
"""How many deliveries may wait in a lane; an sl or close is never turned away."""
_DUMPED = 50
_STUCK_S = 15.0  # longer than the longest gap
_SAID_AFTER_S = 1.0  # an exit that waits is told of: somebody may have to press it by hand
_LOOK_AGAIN_S = 0.1  # while something waits for its peer, so that it ends on time
_WITHOUT_KEY = {Result.FAILED, Result.EXPIRED, Result.REFUSED}


class Lane:
    """One lane; all of it belongs to the loop's thread."""

    def __init__(
        self, name: str, peer: Peer, rules: LaneRules, book: Book, journal: Journal, clock: Clock, metrics: Metrics,
        ended: Callable[[Delivery], None], flush_soon: Callable[[], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.peer = peer
        self.rules = rules
        self.book = book
        self.halt: Halt = "none"
        self._journal = journal
        self._clock = clock
        self._metrics = metrics
        self._ended = ended
        self._flush_soon = flush_soon
        self._waiting: deque[Delivery] = deque()
        self._exits: deque[Delivery] = deque()
        self._running: Delivery | None = None
        self._chosen: list[tuple[Delivery, str]] = []
        self._unconfirmed: set[Delivery] = set()
        self._pressing: Delivery | None = None
        self._last_key = float("-inf")
        self._blocked_since: float | None = None
        self._said = ""
        self._alarm = Alarm(clock, flush_soon)
        self._looked_at = self._clock.monotonic()
        self._holding = False
        peer.changed = self._wake

    # -- what is in it ---------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many deliveries wait or run."""
        return len(self._waiting) + len(self._exits) + (self._running is not None)

    @property
    def draining(self) -> bool:
        """Whether something runs, is unconfirmed, or could go out now."""
        could = bool(self._waiting or self._exits) and self._blocked_since is None
        return self._running is not None or bool(self._unconfirmed) or could

    @property
    def full(self) -> bool:
        """Whether anything but an exit is turned away."""
        return len(self._waiting) >= WAITING_LIMIT

    def put(self, delivery: Delivery) -> None:
        """Take a delivery in; the next `select` looks at it."""
        overtakes = delivery.event.type in self.rules.overtake
        (self._exits if overtakes else self._waiting).append(delivery)

    def shown(self) -> dict[str, object]:
        """JSON-ready, for `status`."""
        return {
            "name": self.name,
            "waiting": len(self._waiting) + len(self._exits),
            "running": self._running.event.id if self._running else None,
            "unconfirmed": len(self._unconfirmed),
        }

    def dump(self) -> Iterator[str]:
        """What is in it, a line for each of the first deliveries."""
        yield f"{self.name}: {self.depth} wait or run, {len(self._unconfirmed)} unconfirmed, {self.peer.reason()}"
        queued = (*([self._running] if self._running else []), *self._unconfirmed, *self._exits, *self._waiting)
        for delivery in list(dict.fromkeys(queued))[:_DUMPED]:
            event, steps = delivery.event, len(delivery.action.steps)
            yield f"{self.name}: {event.type} {event.symbol} {event.id}: step {delivery.begun} of {steps}"

    def stuck(self) -> str:
        """Why this lane makes no progress, empty while it does; waiting for a peer, or for a reload, is progress."""
        ago = self._clock.monotonic() - self._looked_at
        stuck = self.depth and ago > _STUCK_S and not self._holding
        return f"{self.name} has not been looked at for {ago:.0f} s" if stuck else ""

    # -- a change of configuration ---------------------------------------------------------------------------------

    @property
    def calm(self) -> bool:
        """Whether no sequence is half pressed and no key unconfirmed."""
        return self._running is None and not self._unconfirmed

    def hold(self, *, on: bool) -> None:
        """Start nothing but exits, so that the lane becomes calm."""
        self._holding, self._looked_at = on, self._clock.monotonic()
        self._flush_soon()

    def adopt(self, rules: LaneRules, peer: Peer) -> None:
        """Go by these rules from now on and press at `peer`.

        What waits keeps the keys it was planned with. A sequence that is half pressed at another peer goes on at the
        new one only if its rest is repeatable, as after a crash, or if it is an exit's.
        """
        self.rules, self._holding = rules, False
        running = self._running
        if peer is not self.peer:
            self.peer.changed = lambda: None
            self.peer = peer
            peer.changed = self._wake
            self._blocked_since = None
            if running is not None and not running.event.is_exit:
                steps = running.action.steps
                if not all(step in rules.repeatable for step in steps[running.begun :]):
                    self._running = None
                    reason = f"the target changed after step {running.begun} of {len(steps)}"
                    self._end(running, Result.UNCERTAIN, reason)
        self._flush_soon()

    # -- choosing --------------------------------------------------------------------------------------------------

    def select(self) -> bool:
        """Choose and mark begun what may go out now; returns whether there is anything to `fire`."""
        if not (self._running or self._waiting or self._exits):
            return False
        self._looked_at = self._clock.monotonic()
        while self._step():
            pass
        return bool(self._chosen)

    def _step(self) -> bool:
        """One decision; False when nothing more can be decided now."""
        running = self._running
        if running is None:
            return self._start_next()
        cut = self._overtaker(running)
        if cut is not None:
            return self._decide(cut, self._exits)
        if self.halt == "all":
            self._running = None
            self._end(running, Result.UNCERTAIN, f"halted after step {running.begun} of {len(running.action.steps)}")
            return True
        return self._next_key(running)

    def _overtaker(self, running: Delivery) -> Delivery | None:
        if running.event.is_exit:
            return None  # else a stream of stops would put off the sell of each for ever
        for delivery in self._exits:
            if delivery.event.trade == running.event.trade and delivery.event_seq > running.event_seq:
                return delivery
        return None

    def _start_next(self) -> bool:
        queue = self._exits or self._waiting
        if not queue or (self._holding and queue is self._waiting):
            self._blocked_since = None
            return False
        return self._decide(queue[0], queue)

    def _decide(self, delivery: Delivery, queue: deque[Delivery]) -> bool:
        """It is this delivery's turn: end it, start it, or wait."""
        outcome = self._gate(delivery)
        if outcome is not None:
            queue.remove(delivery)
            self._end(delivery, outcome.result, outcome.reason)
            return True
        event = delivery.event
        if delivery.action.steps:
            if not event.is_exit and self._not_yet_due():
                return False
            if self._no_capacity(event):
                return self._sweep()
        queue.remove(delivery)
        self._begin(delivery)
        return True

    def _gate(self, delivery: Delivery) -> Outcome | None:
        """Why it ends before its first byte, if it does."""
        waited = f": {self.peer.reason()}" if self._blocked_since is not None else ""
        return verdict(delivery, self.rules, self.halt, self.book, self._clock, waited)

    def _not_yet_due(self) -> bool:
        wait = self._last_key + self.rules.gap_s - self._clock.monotonic()
        if wait <= 0:
            return False
        self._alarm.set(wait)
        return True

    def _no_capacity(self, event: TradeEvent) -> bool:
        if self.peer.capacity(urgent=event.is_exit) > len(self._chosen):
            self._blocked_since = None
            return False
        if not self._chosen:
            if self._blocked_since is None:
                self._blocked_since = self._clock.boot()
            elif event.is_exit and event.id != self._said and self._clock.boot() - self._blocked_since > _SAID_AFTER_S:
                self._said, why = event.id, self.peer.reason()
                logger.warning("{} {} {} waits at {}: {}", event.type.value, event.symbol, event.id, self.name, why)
            self.peer.want(urgent=event.is_exit)
            self._alarm.set(_LOOK_AGAIN_S)
        return True

    def _begin(self, delivery: Delivery) -> None:
        if delivery.event.type in self.rules.overtake:
            self._supersede(delivery)
        delivery.started = True
        delivery.state = State.STARTED
        if self.rules.guard != "off" and not delivery.resumed:
            self.book.start(delivery.event)
        self._journal.touch(delivery)
        if delivery.action.steps:
            self._running = delivery
            self._next_key(delivery, first=True)
        else:
            self._end(delivery, Result.DONE, "")

    def _supersede(self, exit_: Delivery) -> None:
        """End the older deliveries of the exit's trade; of a running one's rest keep what prevents overselling."""
        trade, seq = exit_.event.trade, exit_.event_seq
        reason = f"superseded by {exit_.event.type} {exit_.event.id}"
        older: list[Delivery] = []
        if self._running is not None and self._running.event.trade == trade:
            older.append(self._running)
            self._running = None
        cut = older.copy()
        for queue in (self._waiting, self._exits):
            for delivery in [d for d in queue if d.event.trade == trade and d.event_seq < seq]:
                queue.remove(delivery)
                older.append(delivery)
                if delivery.resumed:
                    cut.append(delivery)  # a crash has begun what this exit finishes
        kept = tuple(dict.fromkeys(k for d in cut for k in d.action.steps[d.begun :] if k in self.rules.keep))
        steps = exit_.action.steps
        if kept and steps[: len(kept)] != kept:
            exit_.action = exit_.action._replace(steps=kept + steps)
        for delivery in older:
            self._end(delivery, Result.SUPERSEDED, reason)

    def _next_key(self, delivery: Delivery, *, first: bool = False) -> bool:
        if not first:
            if self._not_yet_due():
                return False
            if self._no_capacity(delivery.event):
                return self._give_up_midway(delivery) or self._sweep()
        step = delivery.action.steps[delivery.begun]
        delivery.begun += 1
        self._journal.touch(delivery)
        self._chosen.append((delivery, step))
        self._last_key = self._clock.monotonic()
        if delivery.begun == len(delivery.action.steps):
            self._running = None
        return True

    def _give_up_midway(self, delivery: Delivery) -> bool:
        since = self._blocked_since
        limit = self.rules.max_age_s(delivery.event.type) if delivery.event.is_exit else self.rules.step_timeout_s
        if since is None or self._clock.boot() - since <= limit:
            return False
        self._running = None
        self._failed_line(delivery)
        steps = len(delivery.action.steps)
        self._end(delivery, Result.UNCERTAIN, f"stopped after step {delivery.begun} of {steps}: {self.peer.reason()}")
        return True

    def _sweep(self) -> bool:
        """While the peer is away: end what has waited too long. Returns whether anything ended."""
        since = self._blocked_since
        if since is None:
            return False
        now = self._clock.boot()
        queued, limit = (*self._waiting, *self._exits), self.rules.step_timeout_s
        overdue = [d for d in queued if not d.event.is_exit and now - max(since, d.received_boot) > limit]
        old = [d for d in queued if age(d, self._clock) > self.rules.max_age_s(d.event.type)]
        for delivery in {*overdue, *old}:
            (self._exits if delivery in self._exits else self._waiting).remove(delivery)
            outcome = self._gate(delivery)
            self._failed_line(delivery)
            if outcome is not None:
                self._end(delivery, outcome.result, outcome.reason)
            else:
                self._end(delivery, Result.FAILED, self.peer.reason())
        return bool(overdue or old)

    def _failed_line(self, delivery: Delivery) -> None:
        step = delivery.action.steps[delivery.begun] if delivery.action.steps else ""
        logger.error("[Hotkey] Failed to send '{}': {}", step, self.peer.reason(), **delivery.fields)

    # -- sending ---------------------------------------------------------------------------------------------------

    def unchoose(self, keep: Callable[[Delivery], bool], reason: str) -> bool:
        """The journal has none of it: take back every first step just chosen unless `keep` says to send it anyway.
        Returns whether any was taken back.
        """
        chosen, self._chosen = self._chosen, []
        dropped: set[Delivery] = set()
        for delivery, step in chosen:
            if delivery in dropped:
                continue
            if delivery is self._pressing or keep(delivery):
                self._chosen.append((delivery, step))
                continue
            dropped.add(delivery)
            delivery.begun = 0
            if self._running is delivery:
                self._running = None
            self._end(delivery, Result.REFUSED, reason)
        return bool(dropped)

    def fire(self) -> None:
        """Send what was chosen, in one go."""
        chosen, self._chosen = self._chosen, []
        now = self._clock.now()
        for delivery, step in chosen:
            self.peer.send(step, delivery.event, partial(self._settled, delivery))
        self.peer.flush()
        # The gap counts from here: a slow disk must not eat into it. The loop's own time is in whole milliseconds.
        self._last_key = self._clock.monotonic()
        for delivery, _ in chosen:
            if delivery.settled < delivery.begun:
                self._unconfirmed.add(delivery)
            self._pressing = delivery
            if not delivery.first_byte:
                delivery.first_byte = now
                self._metrics.first_byte_seconds(delivery.action.handler, now - delivery.received)

    def _settled(self, delivery: Delivery, doubt: str | None) -> None:
        """The peer confirmed a step, or never will."""
        delivery.settled += 1
        if doubt is None:
            delivery.confirmed += 1
        elif not delivery.doubt:
            delivery.doubt = doubt
        if delivery.settled == delivery.begun:
            self._unconfirmed.discard(delivery)
        if delivery.state is State.ENDED:
            return
        steps = len(delivery.action.steps)
        if doubt is not None and self._running is delivery and not delivery.event.is_exit:
            self._running = None  # an exit presses on: half a stop-loss is worse than an uncertain one
            self._end(delivery, Result.UNCERTAIN, f"step {delivery.begun} of {steps}: {doubt}")
        elif delivery.settled == steps:
            reason = delivery.doubt or ("resumed after a crash" if delivery.resumed else "")
            self._end(delivery, Result.UNCERTAIN if delivery.doubt else Result.DONE, reason)
        else:
            self._journal.touch(delivery)
        self._flush_soon()

    def _end(self, delivery: Delivery, result: Result, reason: str) -> None:
        if delivery.resumed and result in _WITHOUT_KEY:  # in this life; nobody knows about the one before
            result, reason = Result.UNCERTAIN, f"interrupted by a crash, then {reason}"
        delivery.state = State.ENDED
        delivery.outcome = Outcome(result, reason)
        delivery.ended_at = self._clock.now()
        if self.rules.guard != "off":
            self.book.end(delivery, self.rules.guard)
        self._journal.touch(delivery)
        self._ended(delivery)

    def refuse(self, delivery: Delivery, result: Result, reason: str) -> None:
        """End a delivery that never came into the queue."""
        self._end(delivery, result, reason)

    def withdraw(self, delivery: Delivery, reason: str) -> None:
        """Take a waiting delivery out of the queue and end it as refused."""
        for queue in (self._waiting, self._exits):
            if delivery in queue:
                queue.remove(delivery)
                self._end(delivery, Result.REFUSED, reason)

    # -- waking ----------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self.depth:
            self._flush_soon()

    def close(self) -> None:
        """Stop the timer; what waits stays in the journal."""
        self._alarm.cancel()
