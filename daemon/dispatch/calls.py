"""Actions that are calls: each is one request and its answer, in order within a trade, trades side by side.

As with keys, a call is on record as started before its first byte. What a crash or a lost answer leaves open is not
repeated but looked up (`reconcile`): what was accepted is not what was observed. An exit waits for no place, for no
lookup, and of its own trade only for another exit: what is on its way there the caller knows, and lets end first.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial

from loguru import logger

from daemon.clock import Clock
from daemon.dispatch.rules import age
from daemon.errors import JournalError
from daemon.events import EventType
from daemon.journal import Journal
from daemon.metrics import Metrics
from daemon.ports import Caller, Delivery, Halt, Mode, Outcome, Result, State

WAITING_LIMIT = 1000
"""How many calls may wait; an sl or close is never turned away."""
SIDE_BY_SIDE = 16
"""How many calls may be under way, and as many lookups; an exit does not wait for a place."""
LONGEST_S = 180.0
"""The longest that a call may take with all its looking up, seconds; then its outcome is uncertain."""
AGAIN_S = 1.0
"""How long an exit waits for a peer that is away until it is tried again, seconds."""
_STUCK_S = LONGEST_S + 15.0


async def _nobody(_: str) -> object:
    return None


class Calls:
    """The queue of one handler. `caller` performs; None refuses. `on_halt` stops entries when an outcome asks for it.
    All of it belongs to the loop's thread.
    """

    def __init__(
        self, name: str, mode: Mode, max_age_s: Callable[[EventType], float], journal: Journal, clock: Clock,
        metrics: Metrics, ended: Callable[[Delivery], None], flush_soon: Callable[[], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.halt: Halt = "none"
        self.mode: Mode = mode
        self.max_age_s = max_age_s
        self.caller: Caller | None = None
        self.on_halt: Callable[[str], Awaitable[object]] = _nobody
        self._journal = journal
        self._clock = clock
        self._metrics = metrics
        self._ended = ended
        self._flush_soon = flush_soon
        self._waiting: dict[str, deque[Delivery]] = {}
        self._running: dict[Delivery, Caller | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._chosen: list[Delivery] = []
        self._again: dict[Delivery, asyncio.TimerHandle | None] = {}
        self._loop = asyncio.get_running_loop()

    # -- what is in it ---------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many wait to be chosen."""
        return sum(map(len, self._waiting.values()))

    @property
    def draining(self) -> bool:
        """Whether a call is under way."""
        return bool(self._running)

    @property
    def full(self) -> bool:
        """Whether anything but an exit is turned away."""
        return self.depth >= WAITING_LIMIT

    def put(self, delivery: Delivery) -> None:
        """Take a delivery in. An exit goes ahead of what waits in its trade, which it supersedes."""
        queue = self._waiting.setdefault(delivery.event.trade, deque())
        if delivery.event.is_exit and not delivery.resumed:
            for older in [each for each in queue if not each.resumed and not each.event.is_exit]:
                queue.remove(older)
                self._end(older, Outcome(Result.SUPERSEDED, f"superseded by {delivery.event.type} {delivery.event.id}"))
        queue.append(delivery)

    def shown(self) -> dict[str, object]:
        """JSON-ready, for `status`."""
        running = next(iter(self._running), None)
        return {
            "name": self.name,
            "waiting": self.depth,
            "running": running.event.id if running else None,
            "unconfirmed": len(self._running),
        }

    def dump(self) -> Iterator[str]:
        """What is in it, a line for each call under way."""
        yield f"{self.name}: {self.depth} wait, {len(self._running)} under way"
        for delivery in self._running:
            yield f"{self.name}: {delivery.event.type} {delivery.event.symbol} {delivery.event.id}: under way"

    def stuck(self) -> str:
        """Why this lane makes no progress, empty while it does; a call has a limit of its own."""
        now = self._clock.now()
        late = [d for d in self._running if d.first_byte and now - d.first_byte > _STUCK_S]
        return f"{self.name}: a call does not end" if late else ""

    # -- choosing and calling --------------------------------------------------------------------------------------

    def select(self) -> bool:
        """Choose and mark begun what may go now; returns whether there is anything to `fire`."""
        for trade in list(self._waiting):
            queue = self._waiting[trade]
            while (delivery := self._next(trade, queue)) and self._decide(delivery, queue):
                pass
            if not queue:
                del self._waiting[trade]
        return bool(self._chosen)

    def _next(self, trade: str, queue: deque[Delivery]) -> Delivery | None:
        """Whose turn it is in a trade."""
        running = [each for each in self._running if each.event.trade == trade]
        # A caller of before a reload does not know of an exit that its successor is given.
        ahead = [each for each in running if each.event.is_exit or self._running[each] is not self.caller]
        if all(each.resumed for each in ahead):
            for each in queue:
                if each.event.is_exit and not each.resumed:
                    return each
        return queue[0] if queue and not running else None

    def _decide(self, delivery: Delivery, queue: deque[Delivery]) -> bool:
        outcome = self._gate(delivery)
        if outcome is not None:
            queue.remove(delivery)
            if delivery in self._again:
                self._forget(delivery)
                outcome = Outcome(outcome.result, f"{outcome.reason}; {delivery.doubt}")
            self._end(delivery, outcome)
            return True
        side_by_side = sum(each.resumed == delivery.resumed for each in self._running)
        if side_by_side >= SIDE_BY_SIDE and not delivery.event.is_exit:
            return False
        if self._again.get(delivery) is not None:
            return False
        self._forget(delivery)
        queue.remove(delivery)
        delivery.started, delivery.begun, delivery.state = True, 1, State.STARTED
        self._running[delivery] = self.caller
        self._journal.touch(delivery)
        self._chosen.append(delivery)
        return True

    def _gate(self, delivery: Delivery) -> Outcome | None:
        """Why it ends before its first byte, if it does."""
        event = delivery.event
        if delivery.resumed:
            return None if self.caller else Outcome(Result.UNCERTAIN, "interrupted by a crash; nobody can look it up")
        if delivery.mode != self.mode:
            return Outcome(Result.REFUSED, f"planned in {delivery.mode} mode, the daemon is in {self.mode} mode")
        if self.halt == "all" or (self.halt == "entries" and event.type is EventType.ENTRY):
            return Outcome(Result.REFUSED, f"halted ({self.halt})")
        old, limit = age(delivery, self._clock), self.max_age_s(event.type)
        if old > limit:
            return Outcome(Result.EXPIRED, f"{old:.1f} s old, the limit for {event.type} is {limit:g} s")
        if self.mode == "practice":
            return Outcome(Result.SIMULATED, f"practice mode: {delivery.action.steps[0]}")
        return None if self.caller else Outcome(Result.REFUSED, f"{delivery.action.handler} is not configured")

    def unchoose(self, keep: Callable[[Delivery], bool], reason: str) -> bool:
        """The journal has none of it: take back what was just chosen unless `keep` says to send it anyway."""
        chosen, self._chosen = self._chosen, []
        for delivery in chosen:
            if keep(delivery):
                self._chosen.append(delivery)
                continue
            delivery.begun = 0
            self._running.pop(delivery, None)
            self._end(delivery, Outcome(Result.REFUSED, reason))
        return len(self._chosen) < len(chosen)

    def fire(self) -> None:
        """Begin the calls that were chosen."""
        chosen, self._chosen = self._chosen, []
        for delivery in chosen:
            delivery.first_byte = self._clock.now()
            self._metrics.first_byte_seconds(delivery.action.handler, delivery.first_byte - delivery.received)
            task = asyncio.create_task(self._call(delivery), name=f"{self.name}:{delivery.event.id}")
            self._tasks.add(task)
            task.add_done_callback(partial(self._over, delivery))

    async def _call(self, delivery: Delivery) -> None:
        caller = self.caller
        if caller is None:
            self._settle(delivery, Outcome(Result.UNCERTAIN, "its handler is gone"))
            return
        work = caller.reconcile if delivery.resumed else caller.perform
        try:
            async with asyncio.timeout(LONGEST_S):
                outcome = await work(delivery.action.steps[0], delivery.event)
        except TimeoutError:
            outcome = Outcome(Result.UNCERTAIN, f"no end within {LONGEST_S:g} s")
        except Exception as error:  # promise 3: an action ends in exactly one outcome, also when its handler is broken
            logger.opt(exception=error).error("{}: a mistake of ours", self.name)
            outcome = Outcome(Result.UNCERTAIN, f"a mistake of ours: {type(error).__name__}")
        if outcome.halt:
            logger.error("{}: {}", self.name, outcome.halt, **delivery.fields)
            with suppress(JournalError):  # it holds all the same until the daemon ends
                await self.on_halt(outcome.halt)
        if outcome.away and delivery.event.is_exit and not delivery.resumed:
            self._wait_for_peer(delivery, outcome.reason)
        else:
            self._settle(delivery, outcome)

    def _wait_for_peer(self, delivery: Delivery, reason: str) -> None:
        """Nothing was sent: an exit waits until its age limit, ahead of its trade, and a crash finds it not begun."""
        if not delivery.doubt:
            logger.warning("{}: {}; tried again until it is too old", self.name, reason, **delivery.fields)
        delivery.doubt, delivery.state = reason, State.PLANNED
        delivery.started, delivery.begun, delivery.first_byte = False, 0, 0.0
        self._journal.touch(delivery)
        self._running.pop(delivery, None)
        self._waiting.setdefault(delivery.event.trade, deque()).appendleft(delivery)
        self._again[delivery] = self._loop.call_later(AGAIN_S, self._due, delivery)
        self._flush_soon()

    def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        delivery.settled = 1
        delivery.confirmed = int(outcome.result is Result.DONE)
        if outcome.result in (Result.FAILED, Result.REFUSED, Result.EXPIRED):
            delivery.begun = 0  # the peer says that nothing happened: it may be sent again
        self._running.pop(delivery, None)
        self._end(delivery, outcome)
        self._flush_soon()

    def _over(self, delivery: Delivery, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._running.pop(delivery, None)
        if self._waiting:
            self._flush_soon()

    def _end(self, delivery: Delivery, outcome: Outcome) -> None:
        delivery.state, delivery.outcome = State.ENDED, outcome
        delivery.ended_at = self._clock.now()
        self._journal.touch(delivery)
        self._ended(delivery)

    def refuse(self, delivery: Delivery, result: Result, reason: str) -> None:
        """End a delivery that never came into the queue."""
        self._end(delivery, Outcome(result, reason))

    def withdraw(self, delivery: Delivery, reason: str) -> None:
        """Take a waiting delivery out of the queue and end it as refused."""
        queue = self._waiting.get(delivery.event.trade, ())
        if delivery in queue:
            self._waiting[delivery.event.trade].remove(delivery)
            self._forget(delivery)
            self._end(delivery, Outcome(Result.REFUSED, reason))

    def adopt(self, mode: Mode, max_age_s: Callable[[EventType], float], caller: Caller | None) -> None:
        """Go by another configuration; calls under way end as they began."""
        self.mode, self.max_age_s, self.caller = mode, max_age_s, caller
        self._flush_soon()

    def _due(self, delivery: Delivery) -> None:
        self._again[delivery] = None
        self._flush_soon()

    def _forget(self, delivery: Delivery) -> None:
        if timer := self._again.pop(delivery, None):
            timer.cancel()

    async def stop(self) -> None:
        """Cut off what is under way: it stays started, and is looked up at the next start."""
        for delivery in list(self._again):
            self._forget(delivery)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """Nothing to stop; what waits stays in the journal."""
