"""What the tests of Hummingbot's wire share: a client at a fake, and its results taken apart."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pydantic import SecretStr

from daemon.clock import Clock
from daemon.egress import Guard
from daemon.settings import HummingbotSettings
from handlers.hummingbot.answers import Ok, Result
from handlers.hummingbot.client import HummingbotApi
from tests.fakes.hummingbot import HummingbotServer

T = TypeVar("T")

ACCOUNT = "master_account"
PERP = "hyperliquid_perpetual"


def guard() -> Guard:
    """One that knows no secrets."""
    return Guard(Clock(), lambda _: None)


def client(server: HummingbotServer, *, limit_s: float = 3.0, watch: Guard | None = None, **more: Any) -> HummingbotApi:
    """A client at the fake; `more` are other settings than the right ones."""
    given = {"url": server.url, "username": server.user, "password": SecretStr(server.password)} | more
    return HummingbotApi(HummingbotSettings(**given), watch or guard(), limit_s=limit_s)


@asynccontextmanager
async def pair(**more: Any) -> AsyncIterator[tuple[HummingbotServer, HummingbotApi]]:
    """A fake and a client, who leave it with nothing to complain of."""
    async with HummingbotServer() as server, client(server, **more) as api:
        yield server, api
        server.clean()


def ok(found: Result[T]) -> T:
    """What is in an Ok; fails for anything else."""
    assert isinstance(found, Ok), found
    return found.value


async def until(condition: Callable[[], object], limit_s: float = 5.0) -> None:
    """Wait until it holds; fails after `limit_s` seconds."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  # what is looked at sets no event
            await asyncio.sleep(0.005)
