"""A TCP server of a test's own, which leaves no connection behind."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listener(serve: Serve, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Its port. In the end what is still connected is cut, `serve` comes to its end, and both are waited for.

    A loop that closes first would find the connections open: the servers of asyncio do not wait for them.
    """
    served: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served[task] = writer
        with suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)

    async with await asyncio.start_server(one, host, 0, ssl=tls) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            while served:
                task, writer = served.popitem()
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()
                await task
