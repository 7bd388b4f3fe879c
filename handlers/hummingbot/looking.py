"""Finding out what became of something: how long to look, which orders are already somebody's, and who goes first."""

import asyncio
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from daemon.clock import Clock
from daemon.events import TradeEvent

LANDS_S = 20.0
"""How long an exit waits for a request of its trade that is on its way, in seconds."""
_KNOWN_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to look, in seconds. Pauses begin with `first_s`, double, and never exceed `longest_s`."""

    first_s: float = 0.25
    longest_s: float = 5.0
    send_s: float = 10.0
    """For everything that comes before an order that opens something; after that it is late, and is not sent."""
    confirm_s: float = 10.0
    """For the exchange to confirm what the server took, and for positions and open orders to show it."""
    absent_s: float = 30.0
    """What is not there after so long never was; a server under load may be that late."""
    give_up_s: float = 60.0
    """For a server that does not answer."""
    close_s: float = 120.0
    """For a position to be closed, with everything that it takes."""

    def looks(self, clock: Clock, limit_s: float) -> "Looks":
        """Looks for at most `limit_s` seconds."""
        return Looks(clock, self.first_s, self.longest_s, limit_s)


class Looks:
    """A series of looks; the first is at once, and after it there is at least one more."""

    def __init__(self, clock: Clock, first_s: float, longest_s: float, limit_s: float) -> None:
        self._clock, self._pause, self._longest_s, self._limit_s = clock, first_s, longest_s, limit_s
        self._begun = clock.monotonic()
        self._last = False

    @property
    def passed(self) -> float:
        """Seconds since the first."""
        return self._clock.monotonic() - self._begun

    async def more(self) -> bool:
        """Wait until the next look is due; False when the last one has been."""
        if self._last:
            return False
        left = self._limit_s - self.passed
        self._last = left <= self._pause
        await asyncio.sleep(max(0.0, min(self._pause, left)))
        self._pause = min(2 * self._pause, self._longest_s)
        return True


class Doubts:
    """Which orders are known to be whose, and how many calls for one just like another have no order yet.

    A lookup goes by what an order looks like: two that look alike are told apart by counting.
    """

    def __init__(self) -> None:
        self._known: dict[str, None] = {}
        self._open: dict[Hashable, int] = {}

    @contextmanager
    def one(self, like: Hashable) -> Iterator[None]:
        """A call for something like this is under way, or nobody knows what became of it."""
        self._open[like] = self._open.get(like, 0) + 1
        try:
            yield
        finally:
            self._open[like] -= 1
            if not self._open[like]:
                del self._open[like]

    def many(self, like: Hashable) -> int:
        """How many such calls there are."""
        return self._open.get(like, 0)

    def claim(self, order_id: str) -> None:
        """It belongs to a call; no other may find it."""
        self._known[order_id] = None
        if len(self._known) > _KNOWN_MOST:
            del self._known[next(iter(self._known))]

    def claimed(self, order_id: str) -> bool:
        """Whether it belongs to a call already."""
        return order_id in self._known


class Turn:
    """One call that is no exit: whether an exit of its trade came, and whether a request of it is on its way."""

    def __init__(self) -> None:
        self.given_up = False
        self.landed = asyncio.Event()
        self.landed.set()


class Turns:
    """Within a trade an exit goes first: what was not sent by then is not sent, and only a request that is on its way
    is waited for. What then is still looked for may yet come, so a close does not end before that.
    """

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = {}
        self._doubts: Counter[str] = Counter()

    @contextmanager
    def taken(self, event: TradeEvent) -> Iterator[None]:
        """A call of this trade, from its beginning to its end; there is one at a time."""
        turn = self._turns[event.trade] = Turn()
        try:
            yield
        finally:
            turn.landed.set()
            if self._turns.get(event.trade) is turn:
                del self._turns[event.trade]

    @contextmanager
    def sending(self, event: TradeEvent) -> Iterator[None]:
        """A request of this call is on its way."""
        turn = self._turns.get(event.trade) if not event.is_exit else None
        if turn is not None:
            turn.landed.clear()
        try:
            yield
        finally:
            if turn is not None:
                turn.landed.set()

    def given_up(self, event: TradeEvent) -> bool:
        """Whether an exit came meanwhile."""
        turn = self._turns.get(event.trade)
        return turn is not None and turn.given_up and not event.is_exit

    async def go_first(self, event: TradeEvent) -> None:
        """An exit comes: wait for what is on its way, and for nothing else."""
        turn = self._turns.get(event.trade)
        if turn is not None:
            turn.given_up = True
            with suppress(TimeoutError):
                async with asyncio.timeout(LANDS_S):
                    await turn.landed.wait()

    @contextmanager
    def doubt(self, event: TradeEvent) -> Iterator[None]:
        """Nobody knows whether something was opened for this trade; it is looked for."""
        self._doubts[event.trade] += 1
        try:
            yield
        finally:
            self._doubts[event.trade] -= 1
            self._doubts += Counter()  # without those at 0

    def doubtful(self, event: TradeEvent) -> bool:
        """Whether something is still looked for."""
        return self._doubts[event.trade] > 0
