"""Names to addresses, in bounded time.

The resolver of the C library cannot be interrupted, and the loop's own executor waits for it at exit; so it runs in a
thread that nobody waits for.
"""

import asyncio
import socket
import threading
from contextlib import suppress

from daemon.errors import UnreachableError


async def addresses(host: str, port: int, limit_s: float) -> list[tuple[str, int]]:
    """Every address of a host, preferred one first. Raises UnreachableError; `limit_s` in seconds."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str] | None] = loop.create_future()

    def settle(found: list[str] | None) -> None:
        if not answer.done():
            answer.set_result(found)

    def ask() -> None:
        found = None
        with suppress(OSError, UnicodeError):
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(row[4][0]) for row in rows))
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=ask, name="doctor-resolve", daemon=True).start()
    try:
        async with asyncio.timeout(limit_s):
            found = await answer
    except TimeoutError:
        raise UnreachableError(f"no answer from the name server within {limit_s:g} s") from None
    if not found:
        raise UnreachableError("host name not resolved")
    return [(address, port) for address in found]
