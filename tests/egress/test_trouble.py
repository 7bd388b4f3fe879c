"""Peers that hang, drip, lie and break off: told in bounded time, and apart by whether the request may have arrived."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from daemon.egress import client as module
from daemon.egress.client import MOST_BYTES
from daemon.errors import UnreachableError
from tests.doctor.support import bytes_server, deaf
from tests.egress.peer import peer, said
from tests.egress.test_wire import Order, client


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    found: socket.socket = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def close(*_: object) -> None:
    pass


def writes(raw: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return serve


BIG = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(MOST_BYTES + 1)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + bytes(0x10000) + b"\r\n") * 20
TOLD = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"


@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (drip, r"no answer within 1 s"),
        (hang, r"no answer within 1 s"),
        (reset, "Connection reset by peer"),
        (close, "closed the connection without an HTTP answer"),
        (writes(b"canary\r\n\r\n"), "not an HTTP server"),
        (writes(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ncanary"), "not an HTTP server"),
        (writes(b"HTTP/1.1 200 OK\r\nX: " + b"canary" * 50_000), "not an HTTP server"),
        (writes(b"HTTP/1.1 100 Go\r\n\r\n" * 1000), "closed the connection"),
        (writes(BIG), "longer than 1 MiB"),
        (writes(CHUNKED), "longer than 1 MiB"),
        (writes(TOLD), "longer than 1 MiB"),
    ],
)
async def test_whatever_it_does_it_is_told_in_bounded_time_and_as_sent(serve: Any, told: str) -> None:
    async with peer(serve=serve) as found, client(found.base, 1.0 if serve in (drip, hang) else 5.0) as egress:
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=told) as error:
            await egress.request("POST", "/", body=Order())
        assert time.monotonic() - began < 4.5, "less than any other limit"
        assert error.value.sent is True
        assert "canary" not in f"{error.value!r}{error.value.__cause__!r}"
        assert found.requests


class Crumbs(httpx2.AsyncByteStream):
    """What one read may hold, a chunk for each byte: the library hands them out without ever giving way."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(6400):
            yield b"x"


async def test_an_answer_in_crumbs_holds_nobody_up() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    answer = await module._read(httpx2.Response(200, stream=Crumbs()), module._Progress())
    task.cancel()
    assert answer.body == b"x" * 6400
    assert turns >= 100


async def test_what_never_connects_was_not_sent() -> None:
    async with bytes_server(b"", hang=True) as dumb:
        with deaf() as silent, socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            bases = {
                f"http://127.0.0.1:{unused.getsockname()[1]}": "Connection refused",
                f"http://127.0.0.1:{silent}": r"no answer within 0.3 s",
                f"https://127.0.0.1:{dumb}": r"no answer within 0.3 s",
                "http://nobody.invalid": "host name not resolved",
            }
            for base, told in bases.items():
                async with client(base, 0.3 if "0.3" in told else 5.0) as egress:
                    with pytest.raises(UnreachableError, match=told) as error:
                        await egress.request("POST", "/", body=Order())
                assert error.value.sent is False, base


async def test_a_dead_kept_connection_is_told_as_sent() -> None:
    """What fresh is for: the peer closes after its answer without a word, and nobody knows about the next request."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said(b"{}"))
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")

    async with peer(serve=once) as found, client(found.base) as egress:
        await egress.get("/")
        with pytest.raises(UnreachableError) as error:
            await egress.get("/")
        assert error.value.sent is True
        assert (await egress.request("GET", "/", fresh=True)).status == 200
