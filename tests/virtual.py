"""Time that passes as fast as the machine can go: a loop whose time jumps to its next timer, and a `Clock` for it."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.dispatch.support import BOOT, NOW, SetClock

T = TypeVar("T")


class _Jump(selectors.DefaultSelector):
    """Waits for nothing: a loop with nothing to do until a timer is told that the time has come."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("nothing will ever happen any more")
        if not ready:
            self.passed += timeout or 0.0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sleeping takes no time; `clock` goes along. Only for what waits for timers and not for other processes."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self.clock = VirtualClock(self._jump)

    def time(self) -> float:
        return self._jump.passed


class VirtualClock(SetClock):
    """Wall time and time since boot that pass with the loop's; `wall` may still be set."""

    def __init__(self, jump: _Jump) -> None:
        super().__init__(NOW, BOOT)
        self._jump = jump

    def now(self) -> float:
        return self.wall + self._jump.passed

    def boot(self) -> float:
        return self.up + self._jump.passed


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def clock() -> VirtualClock:
    """The clock of the virtual loop that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.clock
