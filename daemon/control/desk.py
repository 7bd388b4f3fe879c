"""What the routes here may ask of the daemon; the graph builds it."""

from typing import Any, Protocol

from daemon.control.bots import Bots
from daemon.ports import Halt


class Records(Protocol):
    """The journal's reading side, for any thread. A record is JSON-ready: `seq`, `id`, `type`, ... `deliveries`."""

    def events(
        self, *, since: float | None, after: int | None, type: str | None, symbol: str | None, limit: int
    ) -> list[dict[str, Any]]:
        """At most `limit` records, oldest first: the first ones behind `after` if given, else the latest ones.

        `since` is wall time of receipt in seconds since the epoch, `after` a record's `seq`. Raises JournalError.
        """
        ...

    def event(self, id: str, /) -> dict[str, Any] | None:
        """One record, or None if there is none. Raises JournalError."""
        ...


class Desk(Protocol):
    """The whole daemon, as far as it can be read and steered from outside."""

    @property
    def records(self) -> Records:
        """What happened."""
        ...

    def status(self) -> dict[str, Any]:
        """JSON-ready; `deskhand status` shows what is there of the following, times in seconds.

        mode, version, uptime_s; halt {level, reason, since}; lanes [{name, waiting, running}]; peers [{name, up,
        reason, down_s}]; journal {ok, reason, events, bytes, set_aside}; mqtt "off", "connected" or why not; tokens
        [{name, role, tail, used}]; last_event {id, type, symbol, received, status} or None; counts {status: how many
        since the start}; polymaker {run, waiting, held, score, figures, config, ...} or None;
        reload {at, status, problems} or None, the last one.
        """
        ...

    def ready(self) -> tuple[bool, str]:
        """Whether events are acted on, and why not."""
        ...

    async def metrics(self) -> bytes:
        """Prometheus text."""
        ...

    async def halt(self, level: Halt, reason: str) -> dict[str, Any]:
        """Halt, or with `none` resume; durable on return. Answers the `halt` of `status`. Raises JournalError."""
        ...

    async def reload(self) -> dict[str, Any]:
        """Read the configuration anew: `status` reloaded or unchanged with `changed` [{key, old, new}], or refused
        with `problems`, and then nothing has changed.
        """
        ...

    async def runs(self) -> list[dict[str, Any]]:
        """The latest runs at the Command Center, newest first: run, state (waiting, open, closing, closed, failed),
        status, reason, mode, place, started, ended, score, trades and updates {result or waiting: how many}.

        Raises JournalError.
        """
        ...

    async def flush_outbox(self) -> dict[str, Any]:
        """Try now to tell it what waits: `waiting`, how many still do, and `reason`."""
        ...

    def bots(self) -> Bots | str:
        """The bots at Hummingbot, or why there are none, in words."""
        ...

    def book(self) -> list[dict[str, Any]]:
        """What the guard believes: a row for each target and symbol."""
        ...

    async def book_set(self, symbol: str, *, open: bool, target: str) -> list[dict[str, Any]]:
        """Correct one row and answer the book; `target` "" is the default one.

        Raises EventError that names `symbol` or `target`, JournalError.
        """
        ...

    async def book_clear(self) -> None:
        """Forget every row. Raises JournalError."""
        ...
