"""What the Command Center is told and asked at intervals: figures, markets, and this bot's configuration there."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from daemon.errors import UnreachableError

METRICS_FIRST_S, MARKETS_FIRST_S, CONFIG_FIRST_S = 30.0, 15.0, 7.5
"""When each runs first, in seconds; apart, so that they never coincide. The first figures go with the run's start."""


class Center(Protocol):
    """What these jobs need of the handler. Each raises UnreachableError, JournalError."""

    async def push_metrics(self) -> None:
        """Send the run's figures."""
        ...

    async def report_markets(self) -> None:
        """Tell which markets are watched."""
        ...

    async def poll_config(self) -> bool:
        """Read this bot's configuration there; whether it asks for a pause."""
        ...


class Line(Protocol):
    """What these jobs need of the outbox: while the Center is silent it alone asks, with probes."""

    up: bool | None

    def doubt(self, reason: str) -> None:
        """The Center did not answer."""
        ...

    def nudge(self) -> None:
        """It answers."""
        ...


class _Push:
    def __init__(self, center: Center, line: Line) -> None:
        self._center = center
        self._line = line

    async def _told(self, push: Callable[[], Awaitable[None]]) -> None:
        if self._line.up is False:
            return
        try:
            await push()
        except UnreachableError as error:
            self._line.doubt(str(error))
            raise


class PolymakerMetrics(_Push):
    """The run's figures."""

    name = "polymaker_metrics"
    first_s = METRICS_FIRST_S

    async def run(self) -> None:
        """Push them, unless the Center is silent."""
        await self._told(self._center.push_metrics)


class PolymakerMarkets(_Push):
    """The markets that are traded."""

    name = "polymaker_markets"
    first_s = MARKETS_FIRST_S

    async def run(self) -> None:
        """Report them, unless the Center is silent."""
        await self._told(self._center.report_markets)


class PolymakerConfig:
    """What this bot is to do, as the Center has it: only its wish for a pause does anything here."""

    name = "polymaker_config"
    first_s = CONFIG_FIRST_S

    def __init__(self, center: Center, line: Line, pause: Callable[[bool], Awaitable[None]]) -> None:
        self._center = center
        self._line = line
        self._pause = pause

    async def run(self) -> None:
        """Read it; also while the Center is silent, for that is how one asks whether it still is."""
        paused = await self._center.poll_config()
        if self._line.up is False:
            self._line.nudge()
        await self._pause(paused)
