"""What a start does with deliveries that an earlier life of the daemon left unfinished."""

from loguru import logger

from daemon.clock import Clock
from daemon.dispatch.dispatcher import Dispatcher
from daemon.dispatch.rules import LaneRules, age
from daemon.journal import Journal
from daemon.ports import Delivery, Outcome, Result, State


def recover(journal: Journal, dispatcher: Dispatcher, rules: LaneRules, clock: Clock) -> int:
    """Deliver what is young and was never begun, end the rest honestly; returns how many were found.

    Raises JournalError. The caller flushes the dispatcher.
    """
    found = journal.unfinished()
    pending = []
    for delivery in found:
        lane = dispatcher.lanes.get(delivery.lane)
        if delivery.event_seq in journal.unbooked and delivery.state is State.STARTED and lane is not None:
            lane.book.start(delivery.event)
        looked_up = delivery.lane in dispatcher.calls and delivery.state is State.STARTED
        outcome = None if looked_up else verdict(delivery, rules, clock)
        if outcome is not None:
            if outcome.result is Result.UNCERTAIN:
                reason = outcome.reason
                logger.error("event {} was interrupted: {}", delivery.event.id, reason, **delivery.fields)
            dispatcher.refuse(delivery, outcome)
            continue
        if delivery.state is State.STARTED:
            delivery.resumed = delivery.started = True
            delivery.begun = delivery.settled = delivery.confirmed
            delivery.state = State.PLANNED
        dispatcher.submit(delivery)
        pending.append(delivery)
    journal.recovered(pending)
    if found:
        logger.warning("journal: {} unfinished deliveries of an earlier run dealt with", len(found))
    return len(found)


def verdict(delivery: Delivery, rules: LaneRules, clock: Clock) -> Outcome | None:
    """How an unfinished delivery ends now; None when it (or the repeatable rest of it) is to be pressed."""
    steps = delivery.action.steps
    begun = delivery.state is State.STARTED
    if begun and delivery.confirmed == len(steps):
        return Outcome(Result.DONE, "confirmed before the crash")
    rest = steps[delivery.confirmed :] if begun else steps
    repeatable = all(step in rules.repeatable for step in rest)
    where = f"interrupted at step {max(delivery.begun, 1)} of {len(steps)}"
    if delivery.mode != rules.mode:
        if begun:
            return Outcome(Result.UNCERTAIN, f"{where} in {delivery.mode} mode")
        return Outcome(Result.REFUSED, f"planned in {delivery.mode} mode, the daemon is in {rules.mode} mode")
    if not repeatable and before_boot(delivery.event.ts, delivery.received, clock):
        return Outcome(Result.UNCERTAIN, "older than the machine's start: it may have been pressed before")
    old, limit = age(delivery, clock), rules.max_age_s(delivery.event.type)
    if begun and (not repeatable or old > limit):
        return Outcome(Result.UNCERTAIN, where)
    if old > limit:
        return Outcome(Result.EXPIRED, f"{old:.1f} s old after a restart, the limit is {limit:g} s")
    return None


def before_boot(ts: float, received: float, clock: Clock) -> bool:
    """Whether an event is older than the machine's start; what a power cut swallowed comes again after it."""
    return min(ts, received) < clock.booted_at()
