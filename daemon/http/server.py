"""The one local server: two uvicorn servers inside the daemon's own loop, one for TCP and one for the unix socket.

Only uvicorn's connections are used. Its `serve` takes the process's signals for itself and raises them again at the
end, exits the process when it cannot start, and wakes the loop ten times a second; its `startup` gives a TLS handshake
a minute; its `shutdown` cancels what is open and logs each as an error.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from loguru import logger
from starlette.routing import BaseRoute
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from daemon.clock import Clock
from daemon.errors import ConfigError
from daemon.events import BODY_LIMIT
from daemon.http.access import Access
from daemon.http.app import App, Local, Origin
from daemon.http.auth import Auth
from daemon.http.binding import refusal
from daemon.http.given import take
from daemon.http.limits import Limits
from daemon.http.protocol import HttpConnection, TlsListener, WebSocketConnection
from daemon.http.roles import need
from daemon.http.sockets import BACKLOG, inode, listen_tcp, listen_unix
from daemon.http.tls import Tls, context
from daemon.settings import HttpSettings

HEADER_LIMIT = 16 * 1024
"""Largest request line and headers, in bytes."""
_GRACE_S = 0.5
"""How long open requests may take to end when the server stops, in seconds; then their connections are cut."""


class LocalServer:
    """The local API on `settings.host`:`settings.port` (with tokens) and on the unix socket (without)."""

    def __init__(
        self, settings: HttpSettings, socket_path: Path, token: str, routes: Sequence[BaseRoute],
        clock: Clock | None = None, *, shared: bool = False, given: Sequence[int] = (), state: Path | None = None,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """`token` may do everything; others are in the folder `state`. `shared`: the unix socket is for the group
        `deskhand` too, as under the system service. `given`: descriptors of sockets that systemd listens on for us;
        what is not among them is made. `failed` counts refusals: `foreign`, `missing`, `wrong`, `expired`, `role`.

        Raises ConfigError for a certificate that cannot be used.
        """
        self._settings = settings
        self._path = socket_path
        self._routes = routes
        self._clock = clock or Clock()
        self._state = state
        self._failed = failed
        self._stopping = asyncio.Event()
        self._access = Access(token, state, self._clock)
        inner = context(settings)
        self._tls = Tls(inner) if inner is not None else None
        self._guarded = self._auth("http", self._access)
        self._guarded.hosts = _hosts(settings)
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
            tcp, unix = take(self._given, self._path, self._refusal)
            for sock in (tcp, unix):
                if sock is not None:
                    undo.callback(sock.detach)
            if tcp is None:
                if not self._settings.loopback and (why := self._refusal()):
                    raise ConfigError(f"http.host: {why}")
                tcp = undo.enter_context(listen_tcp(self._settings.host, self._settings.port))
            if unix is None:
                unix = undo.enter_context(listen_unix(self._path, shared=self._shared))
                self._inode = inode(self._path)
            self._port = tcp.getsockname()[1]
            self._bound = [tcp, unix]
            undo.pop_all()
        if self._given and self._port != self._settings.port:
            logger.info("systemd gives port {}, so http.port ({}) does not count", self._port, self._settings.port)

    def prepare(self, settings: HttpSettings, token: str) -> Callable[[], None]:
        """Whatever can fail of going by these settings, files they name read anew; what it returns does the rest.

        A token that is not known any more counts from the next request, or frame, on. Raises ConfigError.
        """
        inner = context(settings)
        if (inner is None) != (self._tls is None):
            raise ConfigError("http.tls_cert: with TLS or without it needs a restart")

        def go_by() -> None:
            self._access.set_token(token)
            self._guarded.hosts = _hosts(settings)
            if self._tls is not None and inner is not None:
                self._tls.inner = inner

        return go_by

    def tokens(self) -> list[dict[str, Any]]:
        """Every token that is known, JSON-ready: name, role, tail of its fingerprint, when it was last used."""
        return self._access.used()

    async def start(self) -> None:
        """Serve, binding first if `bind` was not called; returns when serving. Raises ConfigError."""
        if not self._bound:
            self.bind()
        (tcp, unix), self._bound = self._bound, []
        await self._serve(tcp, self._guarded, self._tls)
        await self._serve(unix, self._auth("unix", None), None)

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

    def _refusal(self) -> str:
        why = refusal(self._settings, self._state)
        if not why and self._tls is None:
            logger.warning("the local server is open to the network without TLS, as http.allow_plaintext_lan says")
        return why

    def _auth(self, origin: Origin, access: Access | None) -> Auth:
        here = Local(origin, self._stopping, self._clock, access)
        app = Limits(App(self._routes, here, self._failed))
        unasked = {getattr(route, "path", "") for route in self._routes if need(route) == "open"}
        return Auth(app, access, self._clock, self._stopping, self._failed, open=unasked)

    async def _serve(self, sock: socket.socket, app: ASGIApp, tls: Tls | None) -> None:
        config = uvicorn.Config(
            app, http=HttpConnection, ws=WebSocketConnection, loop="none", lifespan="off", interface="asgi3",
            log_config=None, log_level=None if logging.root.isEnabledFor(logging.DEBUG) else "error", access_log=False,
            # A stranger's broken requests are warnings there; our own answers carry the date; forwarded addresses
            # are nobody's to claim.
            server_header=False, date_header=False, proxy_headers=False,
            backlog=BACKLOG, timeout_keep_alive=5,
            h11_max_incomplete_event_size=HEADER_LIMIT,
            ws_max_size=BODY_LIMIT, ws_per_message_deflate=False, ws_ping_interval=20, ws_ping_timeout=20,
        )  # fmt: skip
        config.load()
        server = uvicorn.Server(config)
        state = server.server_state

        def connection() -> HttpConnection:
            return HttpConnection(config, state, {})

        if tls is None:
            server.servers = [await asyncio.get_running_loop().create_server(connection, sock=sock, backlog=BACKLOG)]
        else:
            listener: Any = TlsListener(sock, connection, tls.outer, state)
            server.servers = [listener]
        self._running.append((server, sock))

    def _remove_file(self) -> None:
        # Only our own: a daemon started meanwhile may have put its socket there.
        if self._inode and inode(self._path) == self._inode:
            self._path.unlink(missing_ok=True)
        self._inode = 0


def _hosts(settings: HttpSettings) -> frozenset[str]:
    return frozenset(name.lower().removesuffix(".") for name in settings.allowed_hosts)


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
