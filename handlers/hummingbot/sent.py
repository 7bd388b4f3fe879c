"""Orders that were sent, on record: a next life of the daemon knows its own by id, and takes no other's for it; and a
fill of one is known for what it was meant to be.

Of each there are two facts: before its first byte that it is about to go, and with the answer which id it has.
"""

from contextlib import suppress
from typing import NamedTuple

from daemon.clock import Clock
from daemon.errors import JournalError
from daemon.events import TradeEvent
from handlers.hummingbot.registry import Registry

KEPT_S = 86_400.0
"""How long a record is kept, in seconds: a lookup goes back some minutes before a crash, and a fill may be late."""
MOST = 1000
"""How many records are kept, two for each order."""
_TIDY_S, _TIDIED = 600.0, 200  # each is a write
_BEGUN, _TAKEN = "begun:", "id:"


class Sending(NamedTuple):
    """An order on its way: whose it is, since when (wall time, seconds), what it is for, and its id if it is known."""

    mark: str
    since: float
    purpose: str = ""
    order_id: str = ""


class Sent:
    """What is on record; without a `registry` nothing is."""

    def __init__(self, registry: Registry | None, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._tidied = clock.monotonic()

    def begin(self, mark: str, event: TradeEvent) -> Sending:
        """The order of this mark goes out now. Raises JournalError."""
        sending = self.unrecorded(mark, event)
        if self._registry is not None:
            self._tidy(self._registry)
            self._registry.put(_BEGUN + mark, repr(sending.since))
        return sending

    def unrecorded(self, mark: str, event: TradeEvent) -> Sending:
        """The same, and nothing is written of it."""
        return Sending(mark, self._clock.now(), f"{event.type} {event.trade}")

    def took(self, sending: Sending, order_id: str) -> None:
        """The server gave it this id. What cannot be written is searched for after a crash."""
        if self._registry is not None:
            with suppress(JournalError):
                self._registry.put(_TAKEN + order_id, f"{sending.since!r} {sending.mark} {sending.purpose}")

    def last(self, mark: str) -> Sending | None:
        """The latest order of this mark; None when there is no record of one."""
        facts = self._facts()
        since = _time(facts.get(_BEGUN + mark, ""))
        if since is None:
            return None
        begins = f"{since!r} {mark} "
        found = (name for name, value in facts.items() if name.startswith(_TAKEN) and value.startswith(begins))
        return Sending(mark, since, order_id=next(found, "").removeprefix(_TAKEN))

    def ids(self) -> frozenset[str]:
        """Every order that is somebody's."""
        return frozenset(name.removeprefix(_TAKEN) for name in self._facts() if name.startswith(_TAKEN))

    def _facts(self) -> dict[str, str]:
        try:
            return dict(self._registry.list()) if self._registry is not None else {}
        except JournalError:
            return {}

    def _tidy(self, registry: Registry) -> None:
        """Not right after a start: what is looked up then may be long ago."""
        if self._clock.monotonic() - self._tidied < _TIDY_S:
            return
        self._tidied = self._clock.monotonic()
        facts = sorted((_time(value.partition(" ")[0]) or 0.0, name) for name, value in registry.list().items())
        too_many, oldest = len(facts) - MOST, self._clock.now() - KEPT_S
        for number, (since, name) in enumerate(facts[:_TIDIED]):
            if since < oldest or number < too_many:
                registry.remove(name)


def _time(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
