"""A peer on loopback that records every connection and every byte, and answers as it is told."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from daemon.clock import Clock
from daemon.egress import Guard
from daemon.ports import KnownSecret
from tests.fakes.listener import Serve, listener


class Peer:
    """What came in: how many connections, and all bytes of each."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.connections = 0
        self.received = bytearray()
        self.requests: list[bytes] = []

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


def said(body: bytes, status: int = 200, *head: str) -> bytes:
    """An answer."""
    return (
        b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n"
        % (
            status,
            len(body),
            b"".join(f"{line}\r\n".encode() for line in head),
        )
        + body
    )


async def request(reader: asyncio.StreamReader) -> bytes:
    """One request, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head + await reader.readexactly(length)


@asynccontextmanager
async def peer(
    answer: bytes = said(b"{}"),
    *,
    serve: Serve | None = None,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[Peer]:
    """Answers every request on a kept connection with `answer`, or does what `serve` does once one has come in."""
    found = Peer()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        try:
            while True:
                raw = await request(reader)
                found.received += raw
                found.requests.append(raw)
                if serve is not None:
                    await serve(reader, writer)
                    break
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with listener(talk, host, tls=tls) as found.port:
        yield found


class Blocked:
    """Counts as the metrics do."""

    def __init__(self) -> None:
        self.peers: list[str] = []

    def __call__(self, name: str) -> None:
        self.peers.append(name)


def guard(*secrets: KnownSecret, blocked: Callable[[str], None] = lambda _: None) -> Guard:
    """One that knows these."""
    found = Guard(Clock(), blocked)
    found.know(secrets)
    return found
