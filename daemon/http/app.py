"""From a request that may pass to its route, and from whatever goes wrong there to JSON that gives nothing away."""

import asyncio
import traceback
from collections.abc import Callable, Sequence
from email.utils import formatdate
from math import ceil
from typing import Literal

from loguru import logger
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send

from daemon.clock import Clock
from daemon.errors import DeskhandError, EventError, JournalError
from daemon.http.access import GRANT, Access, Caller, Grant, grant_of
from daemon.http.limits import BODY
from daemon.http.replies import RETRY_AFTER, problem, turn_away
from daemon.http.roles import REFUSALS, need

Origin = Literal["http", "unix"]
_KEY = "deskhand"
_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Local:
    """What a route can ask about the way its request came: the `origin`, and `stopping`, set when the server closes."""

    def __init__(self, origin: Origin, stopping: asyncio.Event, clock: Clock, access: Access | None = None) -> None:
        self.origin = origin
        self.stopping = stopping
        self.clock = clock
        self.access = access


def local(connection: HTTPConnection) -> Local:
    """The `Local` of a request or WebSocket; only for those that came through `App`."""
    found: Local = connection.scope[_KEY]
    return found


def caller(connection: HTTPConnection) -> Caller:
    """Who is behind an open WebSocket, for each of its frames; only for those that came through `App`."""
    here = local(connection)
    return Caller(grant_of(connection), here.access, here.clock)


class App:
    """Routes requests to what their token may use; unknown paths and wrong methods, errors on purpose and errors by
    accident become JSON. `failed` is told `role` for every token that may not do what it asked for.
    """

    def __init__(self, routes: Sequence[BaseRoute], here: Local, failed: Callable[[str], None]) -> None:
        self._routes = routes
        self._here = here
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI call."""
        scope[_KEY] = self._here
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.start":
                date = formatdate(self._here.clock.now(), usegmt=True).encode()
                message["headers"] = [*message["headers"], (b"date", date), *_HEADERS]
            await send(message)

        route = self._route(scope)
        refusal = self._refusal(scope, route) if route is not None else None
        if route is None or refusal is not None:
            response = refusal or _no_route(self._allowed(scope))
            if scope["type"] == "websocket":
                await turn_away(scope, send, response)
            else:
                await response(scope, receive, answer)
            return
        try:
            await route.handle(scope, receive, answer)
        except DeskhandError as error:
            response = _told(error)
        except Exception as error:  # promise 4: what breaks one request breaks neither the server nor another request
            response = _unforeseen(error)
        else:
            return
        if scope["type"] == "http" and not started:
            await response(scope, receive, answer)

    def _route(self, scope: Scope) -> BaseRoute | None:
        for route in self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                scope.update(child)
                return route
        return None

    def _refusal(self, scope: Scope, route: BaseRoute) -> Response | None:
        """Why this request goes no further: no right to it, or too often."""
        needed = need(route)
        grant: Grant = scope[GRANT]
        if needed not in grant.may and needed != "open":
            self._failed("role")
            return problem(403, "forbidden", REFUSALS[needed])
        if grant.bucket is None or needed == "control" or scope["type"] == "websocket":
            # Steering is how things are stopped; a WebSocket is counted by its frames.
            return None
        who = Caller(grant, None, self._here.clock)
        wait_s = who.must_wait(scope[BODY] if needed == "ingest" else b"")
        return problem(429, "limited", who.limit(), {"Retry-After": str(ceil(wait_s))}) if wait_s else None

    def _allowed(self, scope: Scope) -> str:
        """The methods that the path takes; of a WebSocket path GET; empty if nothing is there."""
        methods: set[str] = set()
        for route in self._routes:
            if route.matches(scope)[0] is not Match.NONE:
                methods |= getattr(route, "methods", None) or {"GET"}
        return ", ".join(sorted(methods))


def _no_route(allowed: str) -> Response:
    if allowed:
        return problem(405, "not_allowed", "this path does not take that method", {"Allow": allowed})
    return problem(404, "not_found", "there is no such path")


def _told(error: DeskhandError) -> Response:
    if isinstance(error, EventError):
        return problem(422, "invalid", error.problem, field=error.field)
    if isinstance(error, JournalError):
        return problem(503, "unavailable", str(error), RETRY_AFTER)
    return problem(409, "refused", str(error))


def _unforeseen(error: Exception) -> Response:
    # The frames, and not the error's own text, which may quote what was sent.
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("A request to the local server failed: {}\n{}", type(error).__name__, frames)
    return problem(500, "error", "deskhand could not do this; its log says where it failed")
