"""A timer that only ever moves forward."""

import asyncio
from collections.abc import Callable

from daemon.clock import Clock


class Alarm:
    """Calls `ring` once, at the earliest time set."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None
        self._when = 0.0  # kept here: below half a millisecond uvloop gives a handle that does not know it

    def set(self, delay: float) -> None:
        """Ring in `delay` seconds, unless it rings before."""
        when = self._clock.monotonic() + delay
        if self._timer is not None:
            if self._when <= when:
                return
            self._timer.cancel()
        self._when = when
        self._timer = self._loop.call_later(delay, self._due)

    def _due(self) -> None:
        self._timer = None
        self._ring()

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
