"""A connection of the local server: how long it may keep us waiting, and who goes when there are too many."""

import asyncio
import itertools
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from daemon.http.access import GRANT, NOBODY
from daemon.http.replies import dump

CONNECTIONS = 512
"""How many connections each listener keeps; then the oldest that never showed a token goes, or else the new one."""
HEADER_TIMEOUT_S = 10.0
"""How long a connection may be open without a complete request, in seconds; one that was used once gets 5 s idle. The
handshake of TLS may take as long."""
_order = itertools.count()
_RETRY_S = 1.0


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket; a handshake that was refused is over, and no error of ours in the log (it says it is)."""

    async def send(self, message: Any) -> None:
        """An ASGI message to the client."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":  # ours are in one piece
            self.handshake_complete = True


class HttpConnection(H11Protocol):
    """uvicorn's HTTP connection, with a limit on how slowly a request's headers may come in (it has none).

    The one on h11, because the one on httptools does not limit their size either.
    """

    _late: asyncio.TimerHandle | None = None
    _last = False
    born = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        super().connection_made(transport)
        self.born = next(_order)
        if make_room(self, self.server_state):
            self._watch()

    def is_stranger(self) -> bool:
        """Whether it has not shown a token."""
        scope: Any = self.scope  # None before the first request
        return scope is None or scope.get(GRANT, NOBODY) is NOBODY

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's signature
        """Answer what is no HTTP; the library's own answer is plain text, and everything this server says is JSON."""
        body = dump({"status": "invalid", "reason": "this is not HTTP that can be read"})
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for part in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request."""
        super().data_received(data)
        self._watch()

    def shutdown(self) -> None:
        """The server stops."""
        # Who connected a moment ago has sent a request, or is about to: closing now would reset it unanswered.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None:
            self._last = True
        else:
            super().shutdown()

    def handle_events(self) -> None:
        """What the bytes so far mean."""
        super().handle_events()
        if self._last and self._busy():
            self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._unwatch()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        """A WebSocket goes on from here, with limits of its own."""
        self._unwatch()
        super().handle_websocket_upgrade(event)

    def _watch(self) -> None:
        if self._busy():
            self._unwatch()
        elif self._late is None and self in self.connections:
            self._late = self.loop.call_later(HEADER_TIMEOUT_S, self.transport.abort)

    def on_response_complete(self) -> None:
        """The answer is out."""
        super().on_response_complete()
        if self._busy():  # the next one was waiting in the buffer
            self._unwatch()

    def _busy(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class TlsListener:
    """Accepts connections on `sock` and shakes hands with each; then `make` says who goes on with it.

    The loop's own TLS listener keeps connections to itself until they have shaken hands, as many as come; here they
    count like all others.
    """

    def __init__(
        self, sock: socket.socket, make: Callable[[], HttpConnection], context: ssl.SSLContext, state: ServerState
    ) -> None:
        self._sock = sock
        self._make = make
        self._context = context
        self._state = state
        self._task = _spawn(self._accept(), "tls-listener", state)

    def close(self) -> None:
        """Accept no more."""
        self._task.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._sock)
            except OSError:  # too many open files, or gone already
                await asyncio.sleep(_RETRY_S)
            else:
                Handshake(sock, self._make, self._context, self._state)


class Handshake:
    """A connection that does not speak TLS yet; it stands beside those that do until it is through or cut off."""

    def __init__(
        self, sock: socket.socket, make: Callable[[], HttpConnection], context: ssl.SSLContext, state: ServerState
    ) -> None:
        self._sock = sock
        self._make = make
        self._context = context
        self._begun = False
        self.born = next(_order)
        self.transport = self
        connections: set[Any] = state.connections
        connections.add(self)
        self._task = _spawn(self._shake(), "tls-handshake", state)
        self._task.add_done_callback(lambda _: connections.discard(self))
        self._task.add_done_callback(self._release)
        make_room(self, state)

    def is_stranger(self) -> bool:
        """It has shown nothing yet."""
        return True

    def abort(self) -> None:
        """Cut it off."""
        self._task.cancel()

    def is_closing(self) -> bool:
        """Whether it was cut off."""
        return self._task.cancelling() > 0

    def shutdown(self) -> None:
        """The server stops."""
        self.abort()

    async def _shake(self) -> None:
        self._begun = True
        with suppress(OSError):  # no TLS, too slow, gone: nobody's fault here
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make, self._sock, ssl=self._context, ssl_handshake_timeout=HEADER_TIMEOUT_S
            )

    def _release(self, task: asyncio.Task[None]) -> None:
        if not self._begun:  # else the socket is the loop's
            self._sock.close()
        if not task.cancelled():
            task.result()


def _spawn(work: Coroutine[Any, Any, None], name: str, state: ServerState) -> asyncio.Task[None]:
    """A task that the server's end waits for."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    state.tasks.add(task)
    task.add_done_callback(state.tasks.discard)
    return task


def make_room(new: HttpConnection | Handshake, state: ServerState) -> bool:
    """Let one connection go if there are too many; False if it is the new one: all others have shown a token."""
    if len(state.connections) <= CONNECTIONS:
        return True
    connections: set[Any] = state.connections
    strangers = [
        each
        for each in connections
        if isinstance(each, (HttpConnection, Handshake))
        and each is not new
        and each.is_stranger()
        and not each.transport.is_closing()
    ]
    victim = min(strangers, key=lambda each: each.born, default=new)
    victim.transport.abort()
    return victim is not new
