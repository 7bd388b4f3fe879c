"""Calls about bots: what the server and its broker say of them, deploying and stopping."""

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from handlers.hummingbot import models, requests
from handlers.hummingbot.answers import Result
from handlers.hummingbot.wire import Wire, reader

DEPLOY_S = 90.0
"""How long a deploy may take, in seconds: Docker makes a container meanwhile."""
_MARGIN_S = 10.0
_SINCE_START = requests.HistoryQuery()
_IN_ORDER = requests.ArchiveQuery()
_ALL = requests.RunsQuery()

_read_alive = reader(models.Alive)
_read_mqtt = reader(models.Mqtt)
_read_rows = reader(Mapping[str, Any])
_read_row = reader(models.BotStatus)
_read_trades = reader(tuple[models.BotTrade, ...])
_read_deployed = reader(models.Deployed)
_read_runs = reader(tuple[models.BotRun, ...])
_read_run = reader(models.BotRun)
accepted = reader(models.Accepted)
"""What most changes are answered with."""


class BotCalls:
    """Part of `HummingbotApi`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._one_history = asyncio.Lock()

    async def alive(self) -> Result[models.Alive]:
        """GET /: whether it is there, and which version; needs no login."""
        return await self._wire.ask("/", _read_alive)

    async def mqtt(self) -> Result[models.Mqtt]:
        """GET /bot-orchestration/mqtt: whether the login is right, and what the server believes of its broker."""
        return await self._wire.ask("/bot-orchestration/mqtt", lambda data: _read_mqtt(data["data"]))

    async def all_bots(self) -> Result[Mapping[str, models.BotStatus]]:
        """GET /bot-orchestration/status: every bot by its real name, phantoms too; not those being archived."""
        return await self._wire.ask("/bot-orchestration/status", lambda data: _bots(data["data"]))

    async def bot(self, bot: str) -> Result[models.BotStatus]:
        """GET /bot-orchestration/{bot}/status: one bot; NOT_FOUND for none."""
        path = "/bot-orchestration/{bot}/status"
        return await self._wire.ask(path, lambda data: _bot(data["data"]), names={"bot": bot})

    async def history(
        self, bot: str, query: requests.HistoryQuery = _SINCE_START
    ) -> Result[tuple[models.BotTrade, ...]]:
        """GET /bot-orchestration/{bot}/history: its fills, asked of the bot itself; one bot at a time, because the
        server tells two questions of the same millisecond apart by nothing.
        """

        def trades(data: Any) -> tuple[models.BotTrade, ...]:
            found = data["response"]["data"]["data"]
            found = _read_trades(found.get("trades") or [])
            return tuple(found)

        async with self._one_history:
            path, limit_s = "/bot-orchestration/{bot}/history", query.timeout + _MARGIN_S
            return await self._wire.ask(path, trades, names={"bot": bot}, query=query, limit_s=limit_s)

    async def start_bot(self, body: requests.StartBot) -> Result[models.Accepted]:
        """POST /bot-orchestration/start-bot: published, no more. In today's engine the bot refuses, and nobody says so:
        a bot is started by a new deploy.
        """
        return await self._wire.act("/bot-orchestration/start-bot", _response, body=body)

    async def stop_bot(self, body: requests.StopBot) -> Result[models.Accepted]:
        """POST /bot-orchestration/stop-bot: published, no more; from then on it shows `stopped`, whatever it does."""
        return await self._wire.act("/bot-orchestration/stop-bot", _response, body=body)

    async def deploy_script(self, body: requests.DeployScript) -> Result[models.Deployed]:
        """POST /bot-orchestration/deploy-v2-script: a container; the real name is in the answer. A failure leaves a
        folder behind.
        """
        return await self._wire.act("/bot-orchestration/deploy-v2-script", _read_deployed, body=body, limit_s=DEPLOY_S)

    async def deploy_controllers(self, body: requests.DeployControllers) -> Result[models.Deployed]:
        """POST /bot-orchestration/deploy-v2-controllers: as `deploy_script`."""
        path = "/bot-orchestration/deploy-v2-controllers"
        return await self._wire.act(path, _read_deployed, body=body, limit_s=DEPLOY_S)

    async def archive(self, bot: str, query: requests.ArchiveQuery = _IN_ORDER) -> Result[models.Accepted]:
        """POST /bot-orchestration/stop-and-archive-bot/{bot}: begun; the container is gone half a minute later."""
        path = "/bot-orchestration/stop-and-archive-bot/{bot}"
        return await self._wire.act(path, accepted, names={"bot": bot}, query=query)

    async def runs(self, query: requests.RunsQuery = _ALL) -> Result[tuple[models.BotRun, ...]]:
        """GET /bot-orchestration/bot-runs: deploys in the server's books."""
        return await self._wire.ask("/bot-orchestration/bot-runs", lambda data: _read_runs(data["data"]), query=query)

    async def run(self, run_id: int) -> Result[models.BotRun]:
        """GET /bot-orchestration/bot-runs/{id}."""
        path = "/bot-orchestration/bot-runs/{run_id}"
        return await self._wire.ask(path, lambda data: _read_run(data.get("data", data)), names={"run_id": str(run_id)})


def _response(data: Any) -> models.Accepted:
    found: models.Accepted = accepted(data.get("response", {}))
    return found


def _bots(data: Any) -> Mapping[str, models.BotStatus]:
    return {name: _bot(row) for name, row in _read_rows(data).items()}


def _bot(row: Any) -> models.BotStatus:
    """One bot; figures and log lines come from whoever publishes at the broker, and odd ones hide no bot."""
    try:
        found: models.BotStatus = _read_row(row)
    except ValidationError:
        told = row.get("performance")
        plain = {name: row[name] for name in ("status", "recently_active", "source") if name in row}
        found = _read_row(plain | {"performance": {key: {} for key in told} if isinstance(told, Mapping) else {}})
    return found
