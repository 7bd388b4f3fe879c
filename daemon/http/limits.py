"""What one request may cost: size and time of its body, and how many WebSockets are open at once."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.events import BODY_LIMIT
from daemon.http.replies import RETRY_AFTER, reject

BODY_TIMEOUT_S = 10.0
"""How long a body may take from the end of its headers to its last byte, in seconds."""
REQUESTS = 256
"""How many requests one listener works on at a time; more get 503."""
WEBSOCKETS = 64
"""How many WebSocket connections one listener keeps; more get 503."""
_DRAIN = 1024 * 1024
"""How much of a body that is too large is read and dropped, in bytes, so that the sender gets to read the answer."""
BODY = "deskhand.body"
"""Where a request's scope holds its whole body."""
_CLOSE = {"Connection": "close"}


class _TooLargeError(Exception):
    """The body is over the limit."""


class _GoneError(Exception):
    """The client hung up before its body was complete."""


class Limits:
    """Reads a request's body whole before the app sees it: 413 over 64 KiB, 408 when it takes over 10 s."""

    def __init__(self, app: ASGIApp, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._app = app
        self._timeout_s = timeout_s
        self._open = {"http": 0, "websocket": 0}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI call."""
        kind = scope["type"]
        if self._open[kind] >= (WEBSOCKETS if kind == "websocket" else REQUESTS):
            await reject(scope, send, 503, "unavailable", "too many requests are open", RETRY_AFTER)
            return
        self._open[kind] += 1
        try:
            await (self._app if kind == "websocket" else self._http)(scope, receive, send)
        finally:
            self._open[kind] -= 1

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await _body(scope, receive)
        except TimeoutError:
            reason = f"the body took longer than {self._timeout_s:g} s"
            await reject(scope, send, 408, "timeout", reason, _CLOSE)
            return
        except _TooLargeError:
            await reject(scope, send, 413, "too_large", "a body is 64 KiB at most", _CLOSE)
            return
        except _GoneError:
            return
        scope[BODY] = body
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


async def _body(scope: Scope, receive: Receive) -> bytes:
    size, chunks = 0, []
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if len(declared) > 9 or int(declared) > _DRAIN:  # h11 has checked that these are digits
        raise _TooLargeError
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _GoneError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size <= BODY_LIMIT:
            chunks.append(chunk)
        if size > _DRAIN:
            raise _TooLargeError
        if not message.get("more_body", False):
            break
    if size > BODY_LIMIT:
        raise _TooLargeError
    return b"".join(chunks)
