"""The shapes rooms agree on, so that none has to know another: actions, outcomes, peers, receipts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

from daemon.events import TradeEvent

Mode = Literal["practice", "live"]
Guard = Literal["strict", "per_symbol", "off"]
Halt = Literal["none", "entries", "all"]


class KnownSecret(NamedTuple):
    """A secret the daemon holds. `name` (a setting's key, a variable, the vault's name) may be shown, `value` never;
    `purpose` is the section it is for: `http`, `mqtt`, `hummingbot`, `polymaker`, `foreign` or `vault`.
    """

    name: str
    value: str
    purpose: str

    def __repr__(self) -> str:
        return f"KnownSecret({self.name!r}, ..., {self.purpose!r})"


class Result(StrEnum):
    """How an action ended; exactly one of these."""

    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    UNCERTAIN = "uncertain"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A delivery's end and, unless it is plainly done, the reason in words safe to show.

    `halt`: the handler asks that no entry fires any more, and why, until somebody has looked. `away`: the peer does not
    answer and nothing has reached it, so that an exit may wait for it.
    """

    result: Result
    reason: str = ""
    halt: str = ""
    away: bool = field(default=False, compare=False)


class Action(NamedTuple):
    """One thing asked of one handler: `steps` in order at `target`."""

    handler: str
    target: str
    steps: tuple[str, ...]


class State(StrEnum):
    """How far a delivery is."""

    PLANNED = "planned"
    STARTED = "started"
    ENDED = "ended"


@dataclass(slots=True, eq=False)
class Delivery:
    """One action's way to its end.

    `received` is wall time and `received_boot` time since boot, both in seconds; `begun` counts the steps whose
    bytes may have gone out, `confirmed` those the peer confirmed, `settled` those it confirmed or never will.
    `first_byte` and `ended_at` are wall time or 0; `doubt` is why a step was never confirmed; `started` says
    that its turn came; `resumed` that a crash interrupted it and only its repeatable rest is pressed.
    """

    event: TradeEvent
    number: int
    action: Action
    mode: Mode
    received: float
    received_boot: float
    origin: str = ""
    state: State = State.PLANNED
    begun: int = 0
    confirmed: int = 0
    first_byte: float = 0.0
    ended_at: float = 0.0
    outcome: Outcome | None = None
    event_seq: int = 0
    settled: int = 0
    doubt: str = ""
    started: bool = False
    resumed: bool = False

    @property
    def lane(self) -> str:
        """The name of the lane it goes through."""
        return f"{self.action.handler}:{self.action.target}"

    @property
    def fields(self) -> dict[str, str]:
        """What a log line about it carries beside its text."""
        event = self.event
        return {
            "event_id": event.id,
            "trade_id": event.trade,
            "symbol": event.symbol,
            "handler": self.action.handler,
        }

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds from receipt to the first byte; None without one."""
        return round((self.first_byte - self.received) * 1000, 3) if self.first_byte else None

    def summary(self) -> dict[str, object]:
        """JSON-ready: what was asked, how far it is, how it ended."""
        outcome = self.outcome
        return {
            "number": self.number,
            "handler": self.action.handler,
            "target": self.action.target,
            "steps": list(self.action.steps),
            "mode": self.mode,
            "state": self.state.value,
            "begun": self.begun,
            "confirmed": self.confirmed,
            "result": outcome.result.value if outcome else None,
            "reason": outcome.reason if outcome else "",
            "first_byte": self.first_byte or None,
            "ended_at": self.ended_at or None,
            "latency_ms": self.latency_ms,
        }


Settled = Callable[[str | None], None]
"""Called once per step sent: None when the peer confirmed it, else why nobody can know."""


class Peer(Protocol):
    """What a lane needs of a handler's target. All calls are made on the loop's thread and never block."""

    name: str
    """For logs and metrics: `hotkeys:main`."""
    changed: Callable[[], None]
    """Set by the lane; the peer calls it whenever `capacity` or `reason` may have changed."""

    def capacity(self, *, urgent: bool) -> int:
        """How many steps could go out this instant; `urgent` is an exit, which may pass an unconfirmed step."""
        ...

    def reason(self) -> str:
        """Why there is no capacity, in words for a trader: `Connection refused`."""
        ...

    def want(self, *, urgent: bool) -> None:
        """Somebody waits: connect now rather than after the back-off."""
        ...

    def send(self, step: str, event: TradeEvent, settled: Settled) -> None:
        """Send one step; only within `capacity`. Bytes may be held back until `flush`."""
        ...

    def flush(self) -> None:
        """Put everything sent so far on the wire, in one write where possible."""
        ...


class Schedule(Protocol):
    """Something done at intervals; how often is a setting, when is the scheduler's business."""

    name: str
    """As `schedules.NAME` in the settings, logs and metrics."""

    async def run(self) -> None:
        """One run; never two at a time, cancelled when it takes too long. Whatever it raises is logged, no more."""
        ...


class Caller(Protocol):
    """What a queue of calls needs of a handler: one action, with everything it takes, to its outcome."""

    async def perform(self, step: str, event: TradeEvent) -> Outcome:
        """Do it once, and say what came of it; failed and refused mean that nothing happened. May be cancelled."""
        ...

    async def reconcile(self, step: str, event: TradeEvent) -> Outcome:
        """An earlier life of the daemon was cut off in `perform`: find out what became of it, and repeat nothing."""
        ...


class Status(StrEnum):
    """What became of an event at the door."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REFUSED = "refused"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"


@dataclass(slots=True)
class Receipt:
    """The door's answer about one event; `field` only when invalid, `deliveries` only when accepted or refused."""

    status: Status
    id: str = ""
    reason: str = ""
    field: str = ""
    deliveries: Sequence[Delivery] = ()
    origin: str = ""


@dataclass(slots=True, eq=False)
class Post:
    """Something to tell a peer that may be late but not lost.

    `place` is the peer's address, `group` what it belongs to (a trade), `name` what is asked, `mark` what makes it one
    (the same mark is the same post; before its last colon is what it came from, an event's id), `body` JSON-ready.
    `made` and `ended_at` are wall time in seconds; `answer` is what the peer said, JSON-ready.
    """

    handler: str
    place: str
    run: str
    group: str
    name: str
    mark: str
    body: dict[str, Any]
    made: float
    state: State = State.PLANNED
    outcome: Outcome | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    ended_at: float = 0.0
    seq: int = 0

    @property
    def sent(self) -> bool:
        """Whether it may have reached the peer already: what the peer says now may be about that."""
        return self.answer.get("sent") is True

    def may_be_sent(self) -> None:
        """Note that, instead of an answer."""
        self.answer = {"sent": True}

    def summary(self) -> dict[str, object]:
        """JSON-ready, without the body."""
        outcome = self.outcome
        return {
            "seq": self.seq,
            "name": self.name,
            "group": self.group,
            "made": self.made,
            "state": self.state.value,
            "result": outcome.result.value if outcome else None,
            "reason": outcome.reason if outcome else "",
        }


@dataclass(frozen=True, slots=True)
class Again:
    """Nothing has reached the peer: try again, not before `after_s` seconds (None: after the usual pause)."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a post ended, and what the peer answered, JSON-ready."""

    outcome: Outcome
    answer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """The peer is well and does not take it now: it waits for `after_s` seconds, and all behind it waits too."""

    reason: str
    after_s: float


Verdict = Ended | Again | Held


class Postman(Protocol):
    """What the outbox needs of a handler."""

    place: str
    """The peer's address: posts for another one wait."""

    def repeatable(self, post: Post) -> bool:
        """Whether sending it a second time does no harm."""
        ...

    def together(self, waiting: Sequence[Post]) -> list[Post]:
        """Which of the first `waiting` posts go out in the next request, the very first among them; empty: it waits,
        and all behind it.
        """
        ...

    async def deliver(self, posts: list[Post]) -> list[Verdict]:
        """Send them in one request; a verdict for each. Must let itself be cancelled. Raises JournalError: not sent."""
        ...

    async def recorded(self, posts: list[Post]) -> None:
        """What `deliver` said of them is on record, and the peer is well."""
        ...

    async def probe(self) -> Again | None:
        """Whether the peer answers again, without changing anything there: None, or why not."""
        ...


class Outbox(Protocol):
    """What a handler needs of its outbox. All calls are made on the loop's thread."""

    up: bool | None
    """Whether the peer answers; None: not known."""
    why: str
    """Why it does not, while `up` is False."""
    quiet: bool
    """Whether the peer asked to be left alone for now."""

    def put(self, post: Post) -> None:
        """Take a post whose mark is not `known`; on record with the next transaction, sent after those before it."""
        ...

    def known(self, mark: str) -> bool:
        """Whether there is, or was, a post with this mark."""
        ...

    def find(self, mark: str) -> Post | None:
        """The post with this mark, or None. Raises JournalError."""
        ...

    def posts(self, run: str) -> list[Post]:
        """Every post of a run that is still on record, oldest first. Raises JournalError."""
        ...

    def latest(self, name: str, limit: int) -> list[Post]:
        """The latest posts of that name without a group, newest first. Raises JournalError."""
        ...

    def send_again(self, post: Post) -> None:
        """Send a post that has ended once more, before all that waits: the peer has forgotten it."""
        ...

    def remember(self, name: str, value: str) -> None:
        """Keep a fact of this handler's."""
        ...

    def recall(self, name: str) -> str | None:
        """A fact, or None. Raises JournalError."""
        ...

    def doubt(self, again: Again) -> None:
        """The peer did not answer: send nothing until it does."""
        ...

    def ask(self) -> None:
        """Probe the peer at once, before anything is sent."""
        ...

    def nudge(self) -> None:
        """Do not wait for the end of a pause."""
        ...
