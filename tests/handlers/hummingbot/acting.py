"""A handler of routes' calls before a strict fake, and the events that ask for them."""

import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from daemon.clock import Clock
from daemon.egress import Guard
from daemon.errors import JournalError
from daemon.events import TradeEvent, validate
from daemon.ports import Outcome, Result
from daemon.settings import HummingbotSettings
from handlers.hummingbot.client import HummingbotApi
from handlers.hummingbot.handler import BotKeeper, Hummingbot
from handlers.hummingbot.looking import Patience
from tests.fakes.hummingbot import HummingbotServer

PERP: dict[str, Any] = {"account": "master_account", "connector": "hyperliquid_perpetual", "pair": "BTC/USD"}
KEY = ("master_account", "hyperliquid_perpetual", "BTC-USD")
ORDERS = ("POST", "/trading/orders")
EXECUTORS = ("POST", "/executors/")
QUICK = Patience(first_s=0.01, longest_s=0.05, confirm_s=0.3, absent_s=0.3, give_up_s=0.6, close_s=8.0)
"""As the daemon's, a hundred times quicker."""
_ids = itertools.count(1)


class Record:
    """What is on record of orders, over all lives of the daemon; `broken` for a full disk."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.broken = False

    def get(self, name: str) -> str | None:
        return self.list().get(name)

    def put(self, name: str, value: str) -> None:
        self._look()
        self.facts[name] = value

    def list(self) -> dict[str, str]:
        self._look()
        return dict(self.facts)

    def remove(self, name: str) -> None:
        self._look()
        self.facts.pop(name, None)

    def _look(self) -> None:
        if self.broken:
            raise JournalError("disk full")


class Desk:
    """The fake, and the handler in front of it."""

    def __init__(
        self, server: HummingbotServer, api: HummingbotApi, bots: BotKeeper | None, patience: Patience
    ) -> None:
        self.server, self.record = server, Record()
        self._given = (api, Clock(), bots, patience, self.record)
        self.handler = Hummingbot(*self._given)

    def crash(self) -> None:
        """The next life of the daemon, which knows what is on record."""
        self.handler = Hummingbot(*self._given)

    async def do(self, what: str, kind: str = "entry", *, event: TradeEvent | None = None, **fields: Any) -> Outcome:
        """Perform it, for an event of that type."""
        return await self.handler.perform(step(what, **fields), event or make(kind))

    async def again(self, what: str, kind: str = "entry", *, event: TradeEvent | None = None, **fields: Any) -> Outcome:
        """What a next life of the daemon makes of it."""
        return await self.handler.reconcile(step(what, **fields), event or make(kind))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every order that was ever placed."""
        return [order.row for order in self.server.exchange.orders.values()]

    def sent(self, path: str) -> list[Any]:
        """Bodies of what was posted there."""
        return [each.json for each in self.server.asked if each.method == "POST" and each.path == path]

    @property
    def posts(self) -> list[str]:
        """Everything that changes the world, in order."""
        asking = ("/search", "/active", "/trades", "/positions", "/state", "/prices")
        return [each.path for each in self.server.asked if each.method == "POST" and not each.path.endswith(asking)]


@asynccontextmanager
async def desk(bots: BotKeeper | None = None, patience: Patience = QUICK, limit_s: float = 2.0) -> AsyncIterator[Desk]:
    """Both; fails when a request was outside the contract."""
    async with HummingbotServer() as server:
        guard = Guard(Clock(), lambda _: None)
        async with HummingbotApi(settings(server), guard, limit_s=limit_s) as api:
            yield Desk(server, api, bots, patience)
        server.clean()


def settings(server: HummingbotServer) -> HummingbotSettings:
    """Its section."""
    url = f"http://127.0.0.1:{server.port}"
    return HummingbotSettings(url=url, username=server.user, password=SecretStr(server.password))


def step(what: str, **fields: Any) -> str:
    """As the router writes it."""
    return json.dumps({"do": what} | {name: str(value) for name, value in fields.items()}, sort_keys=True)


def make(kind: str = "entry", **fields: Any) -> TradeEvent:
    """An event of now."""
    return validate({"type": kind, "symbol": "BTC-USD", "id": f"e{next(_ids)}", "ts": time.time()} | fields)


def ended(outcome: Outcome) -> Result:
    """How."""
    return outcome.result
