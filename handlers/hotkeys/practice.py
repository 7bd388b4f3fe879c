"""A hotkey server to practise on: shows the keys, presses nothing."""

import asyncio

from loguru import logger
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

_LONGEST = 4096
_SHOWN = 200


class PracticeServer:
    """Listens on 127.0.0.1 and logs `[Practice] pressed: buy_ask`; port 0 takes a free one."""

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """Where it listens, known after `start`."""
        return f"ws://127.0.0.1:{self._port}/"

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._server = await serve(
            _press,
            "127.0.0.1",
            self._port,
            process_request=_only_root,
            compression=None,
            max_size=_LONGEST,
            max_queue=16,
            open_timeout=5,
            close_timeout=1,
            ping_interval=None,
            server_header=None,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and wait until all are gone."""
        server, self._server = self._server, None
        if server:
            server.close()
            await server.wait_closed()


def _only_root(connection: ServerConnection, request: Request) -> Response | None:
    return None if request.path == "/" else connection.respond(404, "no such path\n")


async def _press(connection: ServerConnection) -> None:
    try:
        async for message in connection:
            if not isinstance(message, str):
                await connection.close(1003, "text only")
                return
            shown = "".join(c if c.isprintable() else "?" for c in message[:_SHOWN])
            logger.info("[Practice] pressed: {}", shown)
            await asyncio.sleep(0)  # a burst of keys must not keep the daemon from its own work
    except ConnectionClosed:
        pass  # cut without a close frame; a practice server has nothing to tell anybody
