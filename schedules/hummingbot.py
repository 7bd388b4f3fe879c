"""Looking at Hummingbot at intervals: how its bots are, and what is held and open there."""

from typing import Protocol

OBSERVE_FIRST_S, RECONCILE_FIRST_S = 1.0, 0.0
"""When each runs first, in seconds: reconciling at once, because no action goes to Hummingbot before it."""


class Watched(Protocol):
    """What these jobs need of the bots. Each raises UnreachableError, JournalError."""

    async def observe(self) -> None:
        """Look at every bot, and raise the alarm for those that are not as they should be."""
        ...

    async def reconcile(self) -> None:
        """Look at positions and open orders."""
        ...


class HummingbotObserve:
    """How the bots are."""

    name = "hummingbot_observe"
    first_s = OBSERVE_FIRST_S

    def __init__(self, bots: Watched) -> None:
        self._bots = bots

    async def run(self) -> None:
        """Look at all of them."""
        await self._bots.observe()


class HummingbotReconcile:
    """What is held and open there."""

    name = "hummingbot_reconcile"
    first_s = RECONCILE_FIRST_S

    def __init__(self, bots: Watched) -> None:
        self._bots = bots

    async def run(self) -> None:
        """Look at it."""
        await self._bots.reconcile()
