"""The reading and steering routes: health, metrics, status, events, runs, halt, reload, book."""

import asyncio
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from daemon.control import bots
from daemon.control.desk import Desk
from daemon.control.openapi import document
from daemon.errors import EventError
from daemon.events import EventType, decode
from daemon.http.replies import RETRY_AFTER, moment, only, problem, query, reply, text, whole
from daemon.http.roles import RoleRoute
from daemon.ports import Halt
from daemon.redaction import redact

EVENTS_LIMIT = 1000
"""How many events one answer lists at most."""
_EVENTS_DEFAULT = 100
_REASON_LENGTH = 200
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


def routes(desk: Desk) -> list[BaseRoute]:
    """The routes of this room."""
    return [*_reading(desk), *_steering(desk), *bots.routes(desk)]


def _reading(desk: Desk) -> list[BaseRoute]:
    async def live(_: Request) -> Response:
        return reply({"status": "live"})

    async def ready(_: Request) -> Response:
        is_ready, reason = desk.ready()
        return reply({"status": "ready"}) if is_ready else problem(503, "unready", reason, RETRY_AFTER)

    async def metrics(_: Request) -> Response:
        return Response(await desk.metrics(), headers={"Content-Type": _METRICS})

    async def status(_: Request) -> Response:
        return reply(desk.status())

    async def events(request: Request) -> Response:
        asked = query(request, "since", "after", "type", "symbol", "limit")
        kind = asked.get("type")
        if kind is not None and kind not in tuple(EventType):
            raise EventError("type", "must be one of " + ", ".join(EventType))
        found = await asyncio.to_thread(
            desk.records.events,
            since=moment("since", asked["since"]) if "since" in asked else None,
            after=whole("after", asked["after"], 0, 2**53) if "after" in asked else None,
            type=kind,
            symbol=_symbol(asked["symbol"]) if "symbol" in asked else None,
            limit=whole("limit", asked["limit"], 1, EVENTS_LIMIT) if "limit" in asked else _EVENTS_DEFAULT,
        )
        return reply({"events": found})

    async def event(request: Request) -> Response:
        found = await asyncio.to_thread(desk.records.event, request.path_params["id"])
        return reply(found) if found is not None else problem(404, "not_found", "no event has this id")

    async def runs(request: Request) -> Response:
        query(request)
        return reply({"runs": await desk.runs()})

    async def openapi(_: Request) -> Response:
        return reply(document())

    return [
        RoleRoute("open", "/health/live", live),
        RoleRoute("open", "/health/ready", ready),
        RoleRoute("read", "/metrics", metrics),
        RoleRoute("read", "/status", status),
        RoleRoute("read", "/events", events),
        RoleRoute("read", "/events/{id:path}", event),  # an id may hold slashes
        RoleRoute("read", "/polymaker/runs", runs),
        RoleRoute("read", "/openapi.json", openapi),
    ]


def _steering(desk: Desk) -> list[BaseRoute]:
    async def halt(request: Request) -> Response:
        fields = await _fields(request, "level", "reason")
        level = fields.get("level", "entries")
        if level not in ("entries", "all"):
            raise EventError("level", "must be one of entries, all")
        return reply(await desk.halt(cast(Halt, level), text(fields, "reason", _REASON_LENGTH)))

    async def resume(request: Request) -> Response:
        await _fields(request)
        return reply(await desk.halt("none", ""))

    async def reload(request: Request) -> Response:
        await _fields(request)
        answer = await desk.reload()
        return reply(answer, 422 if answer["status"] == "refused" else 200)

    async def flush(request: Request) -> Response:
        await _fields(request)
        return reply(await desk.flush_outbox())

    async def book(_: Request) -> Response:
        return reply({"book": desk.book()})

    async def correct(request: Request) -> Response:
        fields = await _fields(request, "symbol", "state", "target")
        state = fields.get("state")
        if state not in ("open", "flat"):
            raise EventError("state", "must be one of open, flat")
        symbol, target = _symbol(text(fields, "symbol", 32)), text(fields, "target", 64)
        return reply({"book": await desk.book_set(symbol, open=state == "open", target=target)})

    async def clear(request: Request) -> Response:
        await _fields(request)
        await desk.book_clear()
        return reply({"book": desk.book()})

    return [
        RoleRoute("control", "/halt", halt, "POST"),
        RoleRoute("control", "/resume", resume, "POST"),
        RoleRoute("control", "/reload", reload, "POST"),
        RoleRoute("control", "/polymaker/flush", flush, "POST"),
        RoleRoute("read", "/book", book),
        RoleRoute("control", "/book", correct, "POST"),
        RoleRoute("control", "/book", clear, "DELETE"),
    ]


def _symbol(given: str) -> str:
    if not 0 < len(given) <= 32 or not given.isascii() or not all(c.isalnum() or c in "._:/-" for c in given):
        raise EventError("symbol", "must be 1 to 32 of A-Z 0-9 . _ : / -")
    if redact.sure(given) != given:  # in the book it would stand in the journal
        raise EventError("symbol", "is a secret that this daemon knows, and no symbol")
    return given.upper()


async def _fields(request: Request, *known: str) -> dict[str, Any]:
    """The body's fields; no body is an empty object. Raises EventError."""
    query(request)
    raw = await request.body()
    fields = decode(raw) if raw.strip() else {}
    only(fields, *known)
    return fields
