"""A timer that only ever moves forward."""

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `ring` once, at the earliest time set."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, delay: float) -> None:
        """Ring in `delay` seconds, unless it rings before."""
        when = self._loop.time() + delay
        if self._timer is not None:
            if self._timer.when() <= when and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._due)

    def _due(self) -> None:
        self._timer = None
        self._ring()

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
