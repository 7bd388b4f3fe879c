"""What the lanes of one kind of handler go by, and the decision at the head of a lane."""

from collections.abc import Callable
from dataclasses import dataclass

from daemon.clock import Clock
from daemon.dispatch.book import Book
from daemon.events import EventType
from daemon.ports import Delivery, Guard, Halt, Mode, Outcome, Result


@dataclass(frozen=True, slots=True)
class LaneRules:
    """What a lane goes by; times in seconds. Swapped as a whole when the configuration changes."""

    mode: Mode
    gap_s: float
    step_timeout_s: float
    max_age_s: Callable[[EventType], float]
    repeatable: frozenset[str]
    keep: frozenset[str]
    overtake: frozenset[str]
    guard: Guard
    allow_add: bool


def age(delivery: Delivery, clock: Clock) -> float:
    """Seconds: the larger of wall-clock age and time since receipt, which a suspended machine does not stop."""
    return max(clock.now() - delivery.event.ts, clock.boot() - delivery.received_boot)


def verdict(delivery: Delivery, rules: LaneRules, halt: Halt, book: Book, clock: Clock, waited: str) -> Outcome | None:
    """Why a delivery whose turn has come ends before its first byte, if it does; `waited` is added to its age."""
    event = delivery.event
    if delivery.mode != rules.mode:
        return Outcome(Result.REFUSED, f"planned in {delivery.mode} mode, the daemon is in {rules.mode} mode")
    if halt == "all" or (halt == "entries" and event.type is EventType.ENTRY):
        return Outcome(Result.REFUSED, f"halted ({halt})")
    old, limit = age(delivery, clock), rules.max_age_s(event.type)
    if old > limit:
        return Outcome(Result.EXPIRED, f"{old:.1f} s old, the limit for {event.type} is {limit:g} s{waited}")
    if delivery.resumed:
        return None
    reason = book.refusal(event, rules.guard, allow_add=rules.allow_add)
    return Outcome(Result.REFUSED, reason) if reason else None
