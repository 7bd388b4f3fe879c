"""Who may speak to the local server."""

import asyncio
import http.client
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from daemon.http.server import LocalServer
from daemon.settings import HttpSettings
from tests.http.stub import AUTH, ENTRY, TOKEN, Reply, StubDesk, ask, connection, exchange


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer t\xf6ken", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"BEARER   {TOKEN} ", 200),
    ],
)
async def test_token(port: int, header: str | None, code: int) -> None:
    reply = await ask(port, "GET", "/status", headers={} if header is None else {"Authorization": header})
    assert reply.code == code
    if code == 401:
        assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.body["status"] == "unauthorized"
        assert TOKEN not in reply.raw.decode()


async def test_two_tokens_are_none(port: int) -> None:
    head = f"GET /status HTTP/1.1\r\nHost: localhost\r\n{'Authorization: Bearer ' + TOKEN + chr(13) + chr(10)}" * 1
    raw = f"{head}Authorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    assert b" 401 " in (await exchange(port, raw.encode())).partition(b"\r\n")[0]


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_health_needs_nothing(port: int, path: str) -> None:
    assert (await ask(port, "GET", path, headers={"Host": "probe.example"})).code == 200


@pytest.mark.parametrize("path", ["/health", "/health/live/", "//health/live", "/metrics", "/openapi.json", "/nothing"])
async def test_all_else_needs_the_token(port: int, path: str) -> None:
    assert (await ask(port, "GET", path, headers={})).code == 401


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://127.0.0.1:1", 403),
        ("http://localhost:{port}", 403),
        ("http://127.0.0.1:{port}", 202),
        ("https://127.0.0.1:{port}", 202),
        ("HTTP://127.0.0.1:{port}", 202),
    ],
)
async def test_origin(port: int, desk: StubDesk, origin: str, code: int) -> None:
    reply = await ask(port, "POST", "/events", ENTRY, AUTH | {"Origin": origin.format(port=port)})
    assert reply.code == code
    assert len(desk.intake.seen) == (code == 202)


@pytest.mark.usefixtures("server")
async def test_origin_on_the_unix_socket(socket_path: Path, desk: StubDesk) -> None:
    assert (await ask(socket_path, "POST", "/events", ENTRY, {"Origin": "http://evil.example"})).code == 403
    assert (await ask(socket_path, "POST", "/events", ENTRY, {"Origin": "http://127.0.0.1"})).code == 202
    assert [origin for _, origin in desk.intake.seen] == ["unix"]


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:80", 403),
        ("192.168.0.9", 403),
        ("", 403),
        ("[::1", 200),
        ("[::1]:8790", 200),
        ("LOCALHOST:8790", 200),
        ("127.8.9.1:1", 200),
    ],
)
async def test_host(port: int, host: str, code: int) -> None:
    assert (await ask(port, "GET", "/status", headers=AUTH | {"Host": host})).code == code


async def test_no_host_at_all(port: int) -> None:
    answer = await exchange(port, f"GET /status HTTP/1.0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    assert b" 403 " in answer.partition(b"\r\n")[0]


@pytest.mark.usefixtures("server")
async def test_the_unix_socket_takes_any_host(socket_path: Path) -> None:
    assert (await ask(socket_path, "GET", "/status", headers={"Host": "deskhand"})).code == 200


@pytest.mark.parametrize(
    ("headers", "origin", "code"),
    [({}, None, 401), ({"Authorization": "Bearer no"}, None, 401), (AUTH, "http://evil.example", 403)],
)
async def test_websocket(port: int, desk: StubDesk, headers: dict[str, str], origin: str | None, code: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://127.0.0.1:{port}/ws", additional_headers=headers, origin=origin, proxy=None):  # type: ignore[arg-type]
            pass
    assert refused.value.response.status_code == code
    assert not desk.intake.seen


async def test_another_token_counts_from_the_next_request(port: int, server: LocalServer, desk: StubDesk) -> None:
    other = {"Authorization": "Bearer another-token"}

    def code(client: http.client.HTTPConnection, headers: dict[str, str]) -> int:
        client.request("GET", "/status", headers=headers)
        return Reply(client.getresponse()).code

    with connection(port) as client:
        assert await asyncio.to_thread(code, client, AUTH) == 200
        held = client.sock
        async with connect(f"ws://127.0.0.1:{port}/ws", additional_headers=AUTH, proxy=None) as ws:
            server.prepare(HttpSettings(port=port), TOKEN)()
            await ws.send('{"type": "entry", "symbol": "AAPL"}')
            assert "accepted" in str(await ws.recv())
            server.prepare(HttpSettings(port=port), "another-token")()
            await ws.send('{"type": "entry", "symbol": "MSFT"}')
            with pytest.raises(ConnectionClosed) as closed:
                await ws.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        assert len(desk.intake.seen) == 1
        assert await asyncio.to_thread(code, client, AUTH) == 401
        assert await asyncio.to_thread(code, client, other) == 200
        assert client.sock is held


async def test_a_token_set_before_the_start(tmp_path: Path) -> None:
    server = LocalServer(HttpSettings(port=0), tmp_path / "s", TOKEN, [])
    server.prepare(HttpSettings(port=0), "another-token")()
    await server.start()
    assert (await ask(server.bound_port, "GET", "/nothing")).code == 401
    assert (
        await ask(server.bound_port, "GET", "/nothing", None, {"Authorization": "Bearer another-token"})
    ).code == 404
    await server.stop()
