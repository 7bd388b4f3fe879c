"""What the Command Center is told and asked at intervals: figures, markets, and this bot's configuration there."""

from collections.abc import Awaitable, Callable
from typing import Protocol

METRICS_FIRST_S, MARKETS_FIRST_S, CONFIG_FIRST_S = 30.0, 15.0, 7.5
"""When each runs first, in seconds; apart, so that they never coincide. The first figures go with the run's start."""


class Center(Protocol):
    """What these jobs need of the handler. Each raises DeskhandError."""

    async def push_metrics(self) -> None:
        """Send the run's figures; fails without a request while the Center is silent."""
        ...

    async def report_markets(self) -> None:
        """Tell which markets are traded; fails without a request while the Center is silent."""
        ...

    async def poll_config(self) -> bool | None:
        """Read this bot's configuration there; whether it asks for a pause, None if it does not say."""
        ...


class PolymakerMetrics:
    """The run's figures."""

    name = "polymaker_metrics"
    first_s = METRICS_FIRST_S

    def __init__(self, center: Center) -> None:
        self._center = center

    async def run(self) -> None:
        """Push them."""
        await self._center.push_metrics()


class PolymakerMarkets:
    """The markets that are traded."""

    name = "polymaker_markets"
    first_s = MARKETS_FIRST_S

    def __init__(self, center: Center) -> None:
        self._center = center

    async def run(self) -> None:
        """Report them."""
        await self._center.report_markets()


class PolymakerConfig:
    """What this bot is to do, as the Center has it: only its wish for a pause does anything here."""

    name = "polymaker_config"
    first_s = CONFIG_FIRST_S

    def __init__(self, center: Center, pause: Callable[[bool], Awaitable[None]]) -> None:
        self._center = center
        self._pause = pause

    async def run(self) -> None:
        """Read it; also while the Center is silent, for that is how one asks whether it still is."""
        paused = await self._center.poll_config()
        if paused is not None:
            await self._pause(paused)
