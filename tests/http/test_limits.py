"""What one request may cost."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from daemon.http import limits, protocol, server
from daemon.settings import HttpSettings
from daemon.sources import webhook
from tests.http.stub import AUTH, ENTRY, TOKEN, StubDesk, ask, exchange

HEAD = f"POST /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
SIZE = 64 * 1024


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_the_largest_body(port: int, desk: StubDesk) -> None:
    assert (await ask(port, "POST", "/events", ENTRY + b" " * (SIZE - len(ENTRY)))).code == 202
    assert len(desk.intake.seen[0][0]) == SIZE


@pytest.mark.parametrize("size", [SIZE + 1, 500_000])
async def test_too_large(port: int, desk: StubDesk, size: int) -> None:
    reply = await ask(port, "POST", "/events", b"x" * size)
    assert reply.code == 413
    assert reply.body == {"status": "too_large", "reason": "a body is 64 KiB at most"}
    assert not desk.intake.seen


async def test_far_too_large_is_refused_unread(port: int) -> None:
    answer = await exchange(port, f"{HEAD}Content-Length: 999999999999\r\n\r\n".encode())
    assert status(answer) == 413


async def test_too_large_in_chunks(port: int, desk: StubDesk) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(70):
            yield b"x" * 1024

    assert (await ask(port, "POST", "/events", chunks())).code == 413
    assert not desk.intake.seen


async def test_a_length_that_lies(port: int, desk: StubDesk) -> None:
    # More than announced: the rest is not part of the body.
    raw = f"{HEAD}Connection: close\r\nContent-Length: {len(ENTRY)}\r\n\r\n".encode() + ENTRY + b"x" * 100_000
    assert status(await exchange(port, raw)) == 202
    assert desk.intake.seen == [(ENTRY, "http")]


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "1, 2", "٣"])
async def test_a_length_that_is_none(port: int, desk: StubDesk, length: str) -> None:
    answer = await exchange(port, f"{HEAD}Content-Length: {length}\r\n\r\n".encode() + ENTRY)
    assert status(answer) == 400
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == "invalid"
    assert not desk.intake.seen


async def test_headers_that_are_too_large(port: int) -> None:
    assert status(await exchange(port, f"{HEAD}X: {'y' * 20_000}".encode())) == 400


async def test_a_slow_body(monkeypatch: pytest.MonkeyPatch, desk: StubDesk, socket_path: Path) -> None:
    monkeypatch.setattr(limits.Limits.__init__, "__defaults__", (0.2,))
    running = server.LocalServer(HttpSettings(port=0), socket_path, TOKEN, webhook.routes(desk.intake))
    await running.start()
    answer = await exchange(running.bound_port, f"{HEAD}Content-Length: 100\r\n\r\n{{".encode())
    assert status(answer) == 408
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == "timeout"
    assert not desk.intake.seen
    await running.stop()


async def test_half_a_body_and_gone(port: int, desk: StubDesk) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{HEAD}Content-Length: 100\r\n\r\n".encode() + ENTRY)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await ask(port, "GET", "/status")).code == 200
    assert not desk.intake.seen


async def test_headers_that_never_end(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /status HTTP/1.1\r\nHost: ")
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_drops_on_a_used_connection_do_not_keep_it(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_TIMEOUT_S", 1.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET /status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    try:
        for _ in range(2):
            writer.write(request)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.write(b"GET /sta")
        assert await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionResetError:
        pass
    writer.close()


async def test_a_waiting_request_is_not_cut_by_the_header_limit(
    port: int, desk: StubDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADER_TIMEOUT_S", 1.0)
    desk.intake.ends = None
    assert (await ask(port, "POST", "/events?wait=1.5", ENTRY)).code == 202


async def test_too_many_requests(port: int, desk: StubDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUESTS", 1)
    desk.intake.hold = True
    first = asyncio.create_task(ask(port, "POST", "/events", ENTRY))
    await asyncio.wait_for(desk.intake.changed.wait(), 5)
    reply = await ask(port, "POST", "/events", ENTRY)
    assert reply.code == 503
    assert reply.headers["retry-after"] == "1"
    desk.intake.held[0]()
    assert (await first).code == 202
    assert len(desk.intake.seen) == 1


async def test_too_many_websockets(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEBSOCKETS", 1)
    url = f"ws://127.0.0.1:{port}/ws"
    async with connect(url, additional_headers=AUTH, proxy=None):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, additional_headers=AUTH, proxy=None)
        assert refused.value.response.status_code == 503


async def test_too_many_connections(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS", 2)
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(pairs[0][0].read(), 5) == b""
    for reader, writer in pairs[1:]:
        writer.write(f"GET /status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert status(await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)) == 200
    # All others have shown a token, so now it is the new one that goes.
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    pairs.append((reader, writer))
    for _, writer in pairs:
        writer.close()
    started = time.monotonic()
    while True:
        try:
            assert (await ask(port, "GET", "/status")).code == 200
        except OSError:
            assert time.monotonic() - started < 5
        else:
            return
