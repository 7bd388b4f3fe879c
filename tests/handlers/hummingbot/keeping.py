"""Bots of a fake Hummingbot, with a registry in memory that outlives them, and a clock of the machine's."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from loguru import logger
from pydantic import SecretStr

from daemon.clock import Clock
from daemon.egress import Guard
from daemon.errors import JournalError
from daemon.ports import Outcome, Result
from daemon.settings import HummingbotSettings
from handlers.hummingbot.bots import Bots
from handlers.hummingbot.client import HummingbotClient
from handlers.hummingbot.observing import Patience
from handlers.hummingbot.registry import Bot
from tests.fakes.hummingbot import HummingbotServer

QUICK = Patience(alive_s=3.0, stop_s=2.0, archive_s=2.0, quiet_s=0.2, lost_s=0.3, appear_s=0.5, look_s=0.02)
SPREAD: dict[str, Any] = {"spread": "0.001", "amount_quote": "500"}
GRID: dict[str, Any] = {"start_price": "50000", "end_price": "60000", "limit_price": "49000", "amount_quote": "1000"}
SCRIPT: dict[str, Any] = {"script": "print('hello')  # leverage\n", "exchange": "binance", "order_amount": "0.5"}
MARKET = ("hyperliquid_perpetual", "BTC/USD")


class Memory:
    """A registry; `broken` when nothing can be written."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.broken = False
        self.writes = 0

    def get(self, name: str) -> str | None:
        return self.kept.get(name)

    def put(self, name: str, value: str) -> None:
        if self.broken:
            raise JournalError("disk full")
        json.loads(value)
        self.writes += 1
        self.kept[name] = value

    def list(self) -> Mapping[str, str]:
        return dict(self.kept)

    def remove(self, name: str) -> None:
        if self.broken:
            raise JournalError("disk full")
        self.kept.pop(name, None)


class Counts(dict[str, int]):
    """What the metrics were told last."""

    def told(self, counts: Mapping[str, int]) -> None:
        self.clear()
        self.update({name: count for name, count in counts.items() if count})


class Scene:
    """A server, and one life of the daemon after the other."""

    def __init__(self, server: HummingbotServer) -> None:
        self.server = server
        self.memory = Memory()
        self.counts = Counts()

    @asynccontextmanager
    async def life(self, password: str = "", patience: Patience = QUICK) -> AsyncIterator[Bots]:
        guard = Guard(Clock(), lambda _: None)
        settings = HummingbotSettings(
            url=self.server.url, username=self.server.user, password=SecretStr(password or self.server.password)
        )
        async with HummingbotClient(settings, guard) as api:
            bots = Bots(api, self.memory, Clock(), self.counts.told, patience)
            try:
                yield bots
            finally:
                await bots.close()


@asynccontextmanager
async def scene(**habits: Any) -> AsyncIterator[Scene]:
    """A strict server with all its traps."""
    async with HummingbotServer() as server:
        for name, value in habits.items():
            setattr(server.habits, name, value)
        yield Scene(server)
        server.clean()


async def make(bots: Bots, name: str = "mm", strategy: str = "spread", config: dict[str, Any] | None = None) -> str:
    """A bot on record; its id."""
    config = config or {"spread": SPREAD, "grid": GRID, "custom": SCRIPT}[strategy]
    made = await bots.create(name, strategy, *MARKET, config)
    assert isinstance(made, Bot), made
    return made.id


async def running(bots: Bots, name: str = "mm", strategy: str = "spread") -> str:
    """A bot that was started and seen; its instance."""
    id = await make(bots, name, strategy)
    outcome = await bots.start(id)
    assert outcome == Outcome(Result.DONE), outcome
    return instance(bots, id)


def instance(bots: Bots, id: str = "mm") -> str:
    found = bots.find(id)
    assert found is not None
    return found.instance


def state(bots: Bots, id: str = "mm") -> str:
    row = bots.row(id)
    assert row is not None
    return str(row["status"])


def reason(bots: Bots, id: str = "mm") -> str:
    row = bots.row(id)
    assert row is not None
    return str(row["reason"])


class listening:  # noqa: N801  # reads as a word
    """The errors that are logged meanwhile."""

    def __enter__(self) -> list[str]:
        self.said: list[str] = []
        self._sink = logger.add(lambda line: self.said.append(str(line)), level="ERROR", format="{message}")
        return self.said

    def __exit__(self, *_: object) -> None:
        logger.remove(self._sink)
