"""The one local server: two uvicorn servers inside the daemon's own loop, one for TCP and one for the unix socket.

Only uvicorn's `startup` is used. Its `serve` takes the process's signals for itself and raises them again at the end,
exits the process when it cannot start, and wakes the loop ten times a second; its `shutdown` cancels what is open and
logs each as an error.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h11
import uvicorn
from loguru import logger
from starlette.routing import BaseRoute
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from daemon.clock import Clock
from daemon.events import BODY_LIMIT
from daemon.http.app import App, Local
from daemon.http.auth import Auth
from daemon.http.given import take
from daemon.http.limits import Limits
from daemon.http.replies import dump
from daemon.http.sockets import BACKLOG, inode, listen_tcp, listen_unix
from daemon.settings import HttpSettings

CONNECTIONS = 512
"""How many connections each listener keeps; more are closed at once."""
HEADER_LIMIT = 16 * 1024
"""Largest request line and headers, in bytes."""
HEADER_TIMEOUT_S = 10.0
"""How long a connection may be open without a complete request, in seconds; one that was used once gets 5 s idle."""
_GRACE_S = 0.5
"""How long open requests may take to end when the server stops, in seconds; then their connections are cut."""


class _Http(H11Protocol):
    """uvicorn's HTTP connection, with a limit on how slowly a request's headers may come in (it has none).

    The one on h11, because the one on httptools does not limit their size either.
    """

    _late: asyncio.TimerHandle | None = None
    _last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self._watch()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's signature
        # The library's own answer is plain text; everything this server says is JSON.
        body = dump({"status": "invalid", "reason": "this is not HTTP that can be read"})
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for part in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def shutdown(self) -> None:
        # Who connected a moment ago has sent a request, or is about to: closing now would reset it unanswered.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None:
            self._last = True
        else:
            super().shutdown()

    def handle_events(self) -> None:
        super().handle_events()
        if self._last and self._busy():
            self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._unwatch()
        super().handle_websocket_upgrade(event)

    def _watch(self) -> None:
        if self._busy():
            self._unwatch()
        elif self._late is None and self in self.connections:
            self._late = self.loop.call_later(HEADER_TIMEOUT_S, self.transport.abort)

    def on_response_complete(self) -> None:
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


class LocalServer:
    """The local API on `settings.host`:`settings.port` (with `token`) and on the unix socket (without)."""

    def __init__(
        self, settings: HttpSettings, socket_path: Path, token: str, routes: Sequence[BaseRoute],
        clock: Clock | None = None, *, shared: bool = False, given: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """`shared`: the unix socket is for the group `deskhand` too, as under the system service. `given`: descriptors
        of sockets that systemd listens on for us; what is not among them is made.
        """
        self._settings = settings
        self._path = socket_path
        self._routes = routes
        self._clock = clock or Clock()
        self._stopping = asyncio.Event()
        self._guarded = Auth(self._app("http"), token)
        self._given = given
        self._running: list[tuple[uvicorn.Server, socket.socket]] = []
        self._shared = shared
        self._bound: list[socket.socket] = []
        self._inode = 0
        self._port = settings.port

    @property
    def bound_port(self) -> int:
        """The TCP port, the real one when the setting is 0; known once bound."""
        return self._port

    def bind(self) -> None:
        """Take both addresses; whoever connects waits until `start`. Raises ConfigError, and then none is taken."""
        with contextlib.ExitStack() as undo:
            tcp, unix = take(self._given, self._path)
            for sock in (tcp, unix):
                if sock is not None:
                    undo.callback(sock.detach)
            if tcp is None:
                tcp = undo.enter_context(listen_tcp(self._settings.host, self._settings.port))
            if unix is None:
                unix = undo.enter_context(listen_unix(self._path, shared=self._shared))
                self._inode = inode(self._path)
            self._port = tcp.getsockname()[1]
            self._bound = [tcp, unix]
            undo.pop_all()
        if self._given and self._port != self._settings.port:
            logger.info("systemd gives port {}, so http.port ({}) does not count", self._port, self._settings.port)

    def set_token(self, token: str) -> None:
        """Ask for this token over TCP from the next request on; what is open stays open."""
        self._guarded.set_token(token)

    async def start(self) -> None:
        """Serve, binding first if `bind` was not called; returns when serving. Raises ConfigError."""
        if not self._bound:
            self.bind()
        (tcp, unix), self._bound = self._bound, []
        await self._serve(tcp, self._guarded)
        await self._serve(unix, Auth(self._app("unix"), None))

    async def stop(self) -> None:
        """Close everything in less than 2 s, whatever clients do; the second call does nothing."""
        self._stopping.set()
        running, self._running = self._running, []
        bound, self._bound = self._bound, []
        for sock in bound:
            sock.close()
        if running or bound:
            self._remove_file()
            await asyncio.gather(*(_close(server, sock) for server, sock in running))

    def _app(self, origin: Any) -> ASGIApp:
        return Limits(App(self._routes, Local(origin, self._stopping), self._clock))

    async def _serve(self, sock: socket.socket, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app, http=_Http, ws="websockets-sansio", loop="none", lifespan="off", interface="asgi3",
            log_config=None, log_level="error", access_log=False,
            # A stranger's broken requests are warnings there; our own answers carry the date; forwarded addresses
            # are nobody's to claim.
            server_header=False, date_header=False, proxy_headers=False,
            backlog=BACKLOG, timeout_keep_alive=5,
            h11_max_incomplete_event_size=HEADER_LIMIT,
            ws_max_size=BODY_LIMIT, ws_per_message_deflate=False, ws_ping_interval=20, ws_ping_timeout=20,
        )  # fmt: skip
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[sock])
        self._running.append((server, sock))

    def _remove_file(self) -> None:
        # Only our own: a daemon started meanwhile may have put its socket there.
        if self._inode and inode(self._path) == self._inode:
            self._path.unlink(missing_ok=True)
        self._inode = 0


async def _close(server: uvicorn.Server, sock: socket.socket) -> None:
    # A listener that closes drops, in asyncio, what it has accepted in this very turn of the loop. So accept no more,
    # let the loop make those connections, and close then; who is still in the backlog of a given socket waits for the
    # next daemon. uvloop has no such gap, and no reader to remove.
    asyncio.get_running_loop().remove_reader(sock.fileno())
    await _turns()
    for listener in server.servers:
        listener.close()
    sock.close()
    await _turns()
    state = server.server_state
    for connection in list(state.connections):
        connection.shutdown()
    if not await _quiet(state):
        for connection in list(state.connections):  # half-sent bodies, clients that do not read
            connection.transport.abort()
        await _quiet(state)
    tasks = list(state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _turns() -> None:
    """As many turns as it takes from accepting a connection to its protocol."""
    for _ in range(4):
        await asyncio.sleep(0)


async def _quiet(state: ServerState) -> bool:
    """Wait until no connection and no request is left, or the grace is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _GRACE_S
    while state.connections or state.tasks:
        if loop.time() > end:
            return False
        await asyncio.sleep(0.01)
    return True
