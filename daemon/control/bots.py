"""The bots over HTTP: what the command line uses, and what a cloud bridge used to ask Hummingbot itself.

`POST /bots/create {name, strategy, connector, pair, config}` answers `{success, bot_id, result}`, `start` and `stop`
`{status, bot_id}`; what was accepted and not observed is 202, and what Hummingbot refused 409 with its words.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from daemon.errors import EventError, JournalError
from daemon.events import decode, with_text
from daemon.http.replies import RETRY_AFTER, only, problem, query, reply, whole
from daemon.http.roles import RoleRoute
from daemon.ports import Outcome, Result
from daemon.redaction import redact
from handlers.hummingbot.answers import Refused, Unavailable, Why

WAIT_S = 25
"""How long an answer waits for a start or stop to be seen, in seconds: the known bridge gives up after 30."""
_DONE = {"start": "started", "stop": "stopped", "restart": "started"}
_FIELDS = ("name", "strategy", "connector", "pair", "config", "account")


class Bots(Protocol):
    """What these routes need of the bots; rows are JSON-ready. Each may raise JournalError."""

    @property
    def away(self) -> str:
        """Why Hummingbot cannot be asked, or ""."""
        ...

    def rows(self) -> list[dict[str, Any]]:
        """All of them."""
        ...

    def row(self, name: str, /) -> dict[str, Any] | None:
        """One, or None."""
        ...

    async def create(
        self, name: str, strategy: str, connector: str, pair: str, config: Mapping[str, Any]
    ) -> Any:  # a bot with an `id`, Refused or Unavailable
        """Write one down. Raises EventError."""
        ...

    async def start(self, name: str) -> Outcome:
        """Deploy it and see it run."""
        ...

    async def stop(self, name: str) -> Outcome:
        """Stop it and see it stopped."""
        ...

    async def restart(self, name: str) -> Outcome:
        """Both."""
        ...

    async def remove(self, name: str) -> Outcome:
        """Forget it."""
        ...

    async def history(self, name: str, days: int = 0) -> Any:  # trades, Refused or Unavailable
        """Its fills."""
        ...

    async def logs(self, name: str) -> list[dict[str, Any]] | Refused:
        """Its last log lines."""
        ...


class HasBots(Protocol):
    """The desk, as far as these routes go."""

    def bots(self) -> Bots | str:
        """The bots, or why there are none, in words."""
        ...


Handler = Callable[[Request, Bots], Awaitable[Response]]


def routes(desk: HasBots) -> list[BaseRoute]:
    """The routes of this part."""

    def on(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            bots = desk.bots()
            if isinstance(bots, str):
                return problem(503, "unavailable", bots)
            try:
                return await handler(request, bots)
            except JournalError as error:
                return problem(503, "unavailable", f"the journal cannot be used: {error}", RETRY_AFTER)

        return endpoint

    return [
        RoleRoute("read", "/bots", on(_list)),
        RoleRoute("control", "/bots/create", on(_create), "POST"),
        RoleRoute("read", "/bots/{id}", on(_one)),
        RoleRoute("control", "/bots/{id}", on(_remove), "DELETE"),
        RoleRoute("control", "/bots/{id}/start", on(_doing("start")), "POST"),
        RoleRoute("control", "/bots/{id}/stop", on(_doing("stop")), "POST"),
        RoleRoute("control", "/bots/{id}/restart", on(_doing("restart")), "POST"),
        RoleRoute("read", "/bots/{id}/history", on(_history)),
        RoleRoute("read", "/bots/{id}/logs", on(_logs)),
    ]


async def _list(request: Request, bots: Bots) -> Response:
    account = query(request, "account").get("account")
    rows = [row for row in bots.rows() if account is None or row.get("account") == account]
    return reply({"bots": rows})


async def _one(request: Request, bots: Bots) -> Response:
    found = bots.row(_id(request))
    return reply(found) if found is not None else _nobody()


async def _create(request: Request, bots: Bots) -> Response:
    fields: dict[str, Any] = with_text(decode(await request.body()))
    only(fields, *_FIELDS)
    for name, value in fields.items():
        # It would be written down without it, and the bot deployed that way after a restart.
        if (told := json.dumps(value, ensure_ascii=False)) != redact.sure(told):
            raise EventError(name, "holds a secret that this daemon knows; nothing was written down")
    given = {name: fields.get(name) for name in ("name", "strategy", "connector", "pair")}
    for name, value in given.items():
        if not isinstance(value, str) or not 0 < len(value) <= 64 or not value.isprintable():
            raise EventError(name, "is required: 1 to 64 printable characters")
    config = fields.get("config", {})
    if not isinstance(config, dict):
        raise EventError("config", "must be an object")
    if "account" in fields:
        config = {"account": fields["account"]} | config
    made = await bots.create(**given, config=config)  # type: ignore[arg-type]  # each was looked at above
    if isinstance(made, Refused):
        return problem(409, "refused", made.words)
    if isinstance(made, Unavailable):
        return problem(503, "unavailable", made.words)
    return reply({"success": True, "bot_id": made.id, "result": bots.row(made.id)})


async def _remove(request: Request, bots: Bots) -> Response:
    id = _known(request, bots)
    if id is None:
        return _nobody()
    outcome = await bots.remove(id)
    if outcome.result is not Result.DONE:
        return problem(409, "refused", outcome.reason, bot_id=id)
    return reply({"success": True, "status": "removed", "bot_id": id, "reason": outcome.reason})


def _doing(what: str) -> Handler:
    async def do(request: Request, bots: Bots) -> Response:
        asked = query(request, "wait")
        wait_s = whole("wait", asked["wait"], 0, 180) if "wait" in asked else WAIT_S
        id = _known(request, bots)
        if id is None:
            return _nobody()
        work: Coroutine[Any, Any, Outcome] = getattr(bots, what)(id)
        task = asyncio.create_task(work, name=f"waits for the {what} of {id}")
        done, _ = await asyncio.wait((task,), timeout=wait_s)
        if not done:
            task.cancel()
            return reply(
                {"success": True, "status": "accepted", "bot_id": id, "reason": "not seen yet; look again"}, 202
            )
        outcome = task.result()
        if outcome.result is Result.FAILED and bots.away:
            return problem(503, "unavailable", outcome.reason, bot_id=id)
        return _told(what, id, outcome)

    return do


def _told(what: str, id: str, outcome: Outcome) -> Response:
    body = {"bot_id": id, "result": str(outcome.result), "reason": outcome.reason}
    if outcome.result is Result.DONE:
        already = outcome.reason.startswith("already_")
        status = outcome.reason if already else _DONE[what]
        return reply({"success": True, "status": status} | body | ({"reason": ""} if already else {}))
    code = 202 if outcome.result is Result.UNCERTAIN else 409
    return reply({"success": False, "status": str(outcome.result)} | body, code)


async def _history(request: Request, bots: Bots) -> Response:
    asked = query(request, "days")
    found = await bots.history(_id(request), whole("days", asked["days"], 0, 3650) if "days" in asked else 0)
    if isinstance(found, Refused):
        return _nobody() if found.why is Why.NOT_FOUND and not found.status else problem(409, "refused", found.words)
    if isinstance(found, Unavailable):
        return problem(503, "unavailable", found.words)
    return reply({"bot_id": _known(request, bots), "trades": [_trade(each) for each in found]})


def _trade(trade: Any) -> dict[str, Any]:
    return {
        "id": trade.trade_id,
        "at": trade.trade_timestamp,
        "market": trade.market,
        "pair": trade.symbol,
        "side": trade.trade_type,
        "price": _exact(trade.price),
        "quantity": _exact(trade.quantity),
    }


def _exact(number: Any) -> str | None:
    return None if number is None else f"{number:f}"


async def _logs(request: Request, bots: Bots) -> Response:
    found = await bots.logs(_id(request))
    if isinstance(found, Refused):
        return _nobody()
    return reply({"bot_id": _known(request, bots), "lines": found})


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _known(request: Request, bots: Bots) -> str | None:
    row = bots.row(_id(request))
    return str(row["id"]) if row is not None else None


def _nobody() -> Response:
    return problem(404, "not_found", "there is no such bot")
