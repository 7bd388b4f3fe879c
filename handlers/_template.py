"""Copy me: the smallest honest handler, a peer that takes steps over something slow and says what became of each.

A handler knows its peer's wire and nothing of journal, retries, lanes or other handlers. Give it its own settings
section; never the app, never `os.environ`. Then: a line in `handlers.HANDLERS`, a settings section, a test and a row
in README.
"""

import asyncio
from collections.abc import Callable

from daemon.events import TradeEvent
from daemon.ports import Settled


class TemplateTarget:
    """A `daemon.ports.Peer` that confirms each step on the loop's next turn. Replace `_perform` with a wire."""

    def __init__(self, name: str) -> None:
        self.name = f"template:{name}"
        self.changed: Callable[[], None] = lambda: None
        self._held: list[tuple[str, TradeEvent, Settled]] = []
        self._open = False

    async def start(self) -> None:
        """Begin to connect; returns at once, a dead peer is no error here."""
        self._open = True
        self.changed()

    async def stop(self) -> None:
        """Settle what is outstanding within a second, close everything, leave no task behind."""
        self._open = False

    def capacity(self, *, urgent: bool) -> int:  # noqa: ARG002  # nothing here stalls
        """How many steps could go out this instant."""
        return 100 if self._open else 0

    def reason(self) -> str:
        """Why there is no capacity, in words for a trader; never an address with credentials."""
        return "not connected"

    def want(self, *, urgent: bool) -> None:  # there is no back-off here
        """Somebody waits: skip the rest of a back-off, if there is one."""

    def send(self, step: str, event: TradeEvent, settled: Settled) -> None:
        """Take one step; nothing may leave before `flush`."""
        self._held.append((step, event, settled))

    def flush(self) -> None:
        """Let everything taken go out, and settle each step exactly once: None when the peer confirmed it."""
        held, self._held = self._held, []
        for step, event, settled in held:
            self._perform(step, event)
            asyncio.get_running_loop().call_soon(settled, None)

    def _perform(self, step: str, event: TradeEvent) -> None:
        """Here the bytes go out."""
