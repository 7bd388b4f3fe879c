"""Runs the daemon and kills it (-9) at the n-th time it takes a named step; the product knows nothing of it.

    python -m tests.acceptance.kill_at STEP N run --config F

A kill `after` bytes were written comes one turn of the loop later: only then the loop has handed them to the kernel.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from daemon.cli import main
from daemon.dispatch import Lane
from daemon.intake import Intake
from daemon.journal import Journal
from daemon.sources.mqtt_link import Link
from handlers.hotkeys.client import HotkeyTarget

STEPS = ("received", "recorded", "dispatched", "step1", "step2", "step3", "ended", "acknowledged")
_LONG = 3  # the steps of a sequence that can be killed in the middle


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Trap:
    """Counts down to the kill."""

    def __init__(self, count: int) -> None:
        self.left = count

    def hit(self) -> bool:
        self.left -= 1
        return self.left == 0

    def now(self) -> None:
        if self.hit():
            _die()

    def after(self) -> None:
        if self.hit():
            asyncio.get_running_loop().call_soon(_die)


def _wrap(owner: type, name: str, around: Callable[..., Any]) -> None:
    original = getattr(owner, name)

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(lambda: original(self, *args, **kwargs), self)

    setattr(owner, name, wrapped)


def arm(step: str, count: int) -> None:
    """Set the trap. Raises KeyError for an unknown step."""
    trap = _Trap(count)

    def received(call: Callable[[], None], _: Intake) -> None:
        call()
        trap.now()

    def recorded(call: Callable[[], None], journal: Journal) -> None:
        new = bool(journal._entries)
        call()
        if new:
            trap.now()

    def dispatched(call: Callable[[], None], _: HotkeyTarget) -> None:
        trap.now()
        call()

    def sent(number: int) -> Callable[..., None]:
        def fire(call: Callable[[], None], lane: Lane) -> None:
            hits = [d for d, _ in lane._chosen if len(d.action.steps) == _LONG and d.begun == number]
            call()
            if hits:
                trap.after()

        return fire

    def ended(call: Callable[[], None], _: Lane) -> None:
        call()
        trap.now()

    def acknowledged(call: Callable[[], None], link: Link) -> None:
        before = len(link._unacked)
        call()
        if len(link._unacked) < before:
            trap.after()

    traps: dict[str, tuple[type, str, Callable[..., Any]]] = {
        "received": (Intake, "offer", received),
        "recorded": (Journal, "record", recorded),
        "dispatched": (HotkeyTarget, "send", dispatched),
        "step1": (Lane, "fire", sent(1)),
        "step2": (Lane, "fire", sent(2)),
        "step3": (Lane, "fire", sent(3)),
        "ended": (Lane, "_end", ended),
        "acknowledged": (Link, "_send_acks", acknowledged),
    }
    _wrap(*traps[step])


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:] = sys.argv[3:]
    sys.exit(main())
