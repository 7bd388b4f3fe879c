"""The sockets, starting and stopping."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import time
from pathlib import Path

import pytest
from loguru import logger
from starlette.requests import Request
from starlette.responses import Response
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from daemon.errors import ConfigError
from daemon.http import sockets
from daemon.http.roles import RoleRoute
from daemon.http.server import LocalServer
from daemon.settings import HttpSettings
from tests.http.stub import AUTH, ENTRY, TOKEN, StubDesk, ask


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def change_mode(path: Path, to: int) -> None:
    path.chmod(to)


def replace(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.touch()


def make(path: Path, port: int = 0, *, shared: bool = False) -> LocalServer:
    return LocalServer(HttpSettings(port=port), path, TOKEN, [], shared=shared)


async def test_accepted_connections_do_not_wait_for_more(port: int, server: LocalServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"live")
    (connection,) = server._running[0][0].server_state.connections
    accepted = connection.transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.close()


@pytest.mark.usefixtures("server")
async def test_modes(socket_path: Path) -> None:
    assert mode(socket_path) == 0o600
    assert mode(socket_path.parent) == 0o700


async def test_a_folder_that_others_may_write_is_tightened(tmp_path: Path) -> None:
    change_mode(tmp_path, 0o777)
    server = make(tmp_path / "s")
    await server.start()
    assert mode(tmp_path) == 0o755
    await server.stop()


async def test_under_the_system_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = next(iter(os.getgroups()), os.getgid())
    monkeypatch.setattr(sockets, "_GROUP", __import__("grp").getgrgid(group).gr_name)
    server = make(tmp_path / "s", shared=True)
    await server.start()
    about = (tmp_path / "s").stat()
    assert (stat.S_IMODE(about.st_mode), about.st_gid) == (0o660, group)
    await server.stop()


async def test_under_a_service_without_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_GROUP", "no-such-group-here")
    server = make(tmp_path / "s", shared=True)
    await server.start()
    assert mode(tmp_path / "s") == 0o600
    await server.stop()


async def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = make(path)
    await server.start()
    assert (await ask(path, "GET", "/nothing")).code == 404
    await server.stop()
    assert not path.exists()


@pytest.mark.usefixtures("server")
async def test_a_socket_in_use_is_left_alone(socket_path: Path) -> None:
    with pytest.raises(ConfigError, match="another program listens on"):
        await make(socket_path).start()
    assert (await ask(socket_path, "GET", "/status")).code == 200


async def test_a_file_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="not a socket"):
        await make(path).start()
    assert path.read_text() == "precious"


async def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="longer than 107 bytes"):
        await make(tmp_path / ("x" * 110)).start()


async def test_the_longest_path(tmp_path: Path) -> None:
    path = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    server = make(path)
    await server.start()
    assert mode(path) == 0o600
    await server.stop()


async def test_a_port_in_use(tmp_path: Path, port: int) -> None:
    with pytest.raises(ConfigError, match=f"http.port: {port} on 127.0.0.1 is in use"):
        await make(tmp_path / "s", port).start()
    assert not (tmp_path / "s").exists()


async def test_a_failed_start_leaves_the_port_free(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    broken = make(tmp_path / "s")
    with pytest.raises(ConfigError):
        await broken.start()
    again = make(tmp_path / "t", broken.bound_port)
    await again.start()
    await again.stop()


async def test_the_address_of_localhost(tmp_path: Path) -> None:
    server = LocalServer(HttpSettings(host="localhost", port=0), tmp_path / "s", TOKEN, [])
    await server.start()
    assert (await ask(server.bound_port, "GET", "/nothing")).code == 404
    await server.stop()


async def test_stopping_twice_and_before_starting(tmp_path: Path) -> None:
    server = make(tmp_path / "s")
    await server.stop()
    await server.start()
    await server.stop()
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await ask(server.bound_port, "GET", "/health/live")


async def test_a_successors_socket_is_not_removed(server: LocalServer, socket_path: Path) -> None:
    replace(socket_path)
    await server.stop()
    assert mode(socket_path)


async def test_signals_stay_ours(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = make(tmp_path / "s")
    await server.start()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    await server.stop()


async def test_nothing_runs_while_nobody_asks(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    server = make(tmp_path / "s")
    await server.start()
    assert asyncio.all_tasks() == before
    await server.stop()
    assert asyncio.all_tasks() == before


async def test_stop_does_not_wait_for_clients(
    port: int, server: LocalServer, desk: StubDesk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.intake.ends = None
    waiting = asyncio.create_task(ask(port, "POST", "/events?wait=30", ENTRY))
    await asyncio.wait_for(desk.intake.changed.wait(), 5)
    half, half_writer = await asyncio.open_connection("127.0.0.1", port)
    half_writer.write(f"POST /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode())
    half_writer.write(b"Content-Length: 100\r\n\r\n{")
    idle, idle_writer = await asyncio.open_connection("127.0.0.1", port)
    async with connect(f"ws://127.0.0.1:{port}/ws", additional_headers=AUTH, proxy=None) as ws:
        started = time.monotonic()
        await server.stop()
        assert time.monotonic() - started < 5
        with pytest.raises(ConnectionClosed):
            await ws.recv()
    reply = await waiting
    assert reply.code == 202
    assert reply.body["deliveries"][0]["state"] == "planned"
    for reader, writer in ((half, half_writer), (idle, idle_writer)):
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
    assert not caplog.records


async def test_stop_ends_an_answer_nobody_reads(tmp_path: Path) -> None:
    async def much(_: Request) -> Response:
        return Response(b"x" * 50_000_000)

    server = LocalServer(HttpSettings(port=0), tmp_path / "s", TOKEN, [RoleRoute("read", "/much", much)])
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.bound_port)
    writer.write(f"GET /much HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    await reader.readexactly(1)
    started = time.monotonic()
    await server.stop()
    assert time.monotonic() - started < 5
    writer.close()


async def test_unknown_paths_and_methods(port: int) -> None:
    nothing = await ask(port, "GET", "/nothing")
    assert (nothing.code, nothing.body["status"]) == (404, "not_found")
    wrong = await ask(port, "PATCH", "/events")
    assert (wrong.code, wrong.body["status"], wrong.headers["allow"]) == (405, "not_allowed", "GET, HEAD, POST")
    assert (await ask(port, "GET", "/events/")).code == 404
    assert "date" in wrong.headers
    assert "server" not in wrong.headers


async def test_broken_http(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x00\x01 nonsense\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"status":"invalid"' in answer
    writer.close()


async def test_an_accident_gives_nothing_away(port: int, desk: StubDesk) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    try:
        reply = await ask(port, "POST", "/halt", {"reason": "break"})
    finally:
        logger.remove(sink)
    assert reply.code == 500
    assert reply.body["status"] == "error"
    said = "".join(lines) + reply.raw.decode()
    assert "RuntimeError" in said
    assert desk.secret not in said
    assert '"break"' not in said.replace('if reason == "break"', "")
