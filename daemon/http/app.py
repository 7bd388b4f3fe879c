"""From a request that may pass to its route, and from whatever goes wrong there to JSON that gives nothing away."""

import asyncio
import traceback
from collections.abc import Sequence
from email.utils import formatdate
from typing import Literal

from loguru import logger
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Router
from starlette.types import Message, Receive, Scope, Send

from daemon.clock import Clock
from daemon.errors import DeskhandError, EventError, JournalError
from daemon.http.replies import RETRY_AFTER, problem, reject

Origin = Literal["http", "unix"]
_KEY = "deskhand"
_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Local:
    """What a route can ask about the way its request came: the `origin`, and `stopping`, set when the server closes."""

    def __init__(self, origin: Origin, stopping: asyncio.Event) -> None:
        self.origin = origin
        self.stopping = stopping


def local(connection: HTTPConnection) -> Local:
    """The `Local` of a request or WebSocket; only for those that came through `App`."""
    found: Local = connection.scope[_KEY]
    return found


class App:
    """Routes requests; unknown paths and wrong methods, errors on purpose and errors by accident become JSON."""

    def __init__(self, routes: Sequence[BaseRoute], here: Local, clock: Clock) -> None:
        self._routes = routes
        self._router = Router(routes, redirect_slashes=False)
        self._here = here
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI call."""
        scope[_KEY] = self._here
        scope["app"] = self  # makes starlette raise 404 and 405 instead of answering in plain text
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.start":
                date = formatdate(self._clock.now(), usegmt=True).encode()
                message["headers"] = [*message["headers"], (b"date", date), *_HEADERS]
            await send(message)

        if scope["type"] == "websocket" and not self._allowed(scope):
            await reject(scope, send, 404, "not_found", "there is no such path")
            return
        try:
            await self._router(scope, receive, answer)
        except HTTPException:  # only starlette's own, for a path or a method that no route takes
            response = _no_route(self._allowed(scope))
        except DeskhandError as error:
            response = _told(error)
        except Exception as error:  # promise 4: what breaks one request breaks neither the server nor another request
            response = _unforeseen(error)
        else:
            return
        if scope["type"] == "http" and not started:
            await response(scope, receive, answer)

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
