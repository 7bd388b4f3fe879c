"""Sockets that somebody else listens on: taken as they are, refused when they would open a door, left for the next."""

import asyncio
import contextlib
import http.client
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from loguru import logger
from starlette.requests import Request
from starlette.responses import Response

from daemon.errors import ConfigError
from daemon.http.roles import RoleRoute
from daemon.http.server import LocalServer
from daemon.settings import HttpSettings
from tests.dispatch.support import until
from tests.http.stub import AUTH, TOKEN, ask
from tests.http.test_server import change_mode, mode

LOOPS = pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])


@contextlib.contextmanager
def tcp(host: str = "127.0.0.1", kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((host, 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield sock


@contextlib.contextmanager
def unix(address: str | Path, to: int = 0o660) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(address))
        if isinstance(address, Path):
            change_mode(address, to)
        sock.listen()
        yield sock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "given.sock"


@pytest.fixture
def lines() -> Iterator[list[str]]:
    said: list[str] = []
    sink = logger.add(said.append, level="DEBUG", format="{level} {message}")
    yield said
    logger.remove(sink)


def about(path: Path) -> tuple[int, int, int] | None:
    found = path.stat() if path.exists() else None
    return (found.st_ino, found.st_mode, found.st_gid) if found else None


def put(path: Path) -> None:
    path.write_text("in the way")


def remove(path: Path) -> None:
    path.unlink()


async def echo(request: Request) -> Response:
    return Response(await request.body() + b" heard")


def server(path: Path, *given: socket.socket | int, port: int = 0) -> LocalServer:
    """As after the handover: with descriptors of its own, inheritable and blocking."""
    numbers = [os.dup(each.fileno()) if isinstance(each, socket.socket) else each for each in given]
    for number in numbers:
        os.set_inheritable(number, True)
        os.set_blocking(number, True)
    return LocalServer(
        HttpSettings(port=port), path, TOKEN, [RoleRoute("ingest", "/echo", echo, "POST")], given=numbers
    )


async def test_both_are_taken_as_they_are(path: Path, lines: list[str]) -> None:
    with unix(path) as file, tcp() as port:
        before = about(path)
        running = server(path, file, port, port=1)
        await running.start()
        assert running.bound_port == port.getsockname()[1]
        assert (await ask(running.bound_port, "POST", "/echo", b"tcp")).raw == b"tcp heard"
        assert (await ask(path, "POST", "/echo", b"unix")).raw == b"unix heard"
        assert (await ask(running.bound_port, "POST", "/echo", b"", {})).code == 401
        for _, sock in running._running:
            assert not sock.get_inheritable()
            assert not sock.getblocking()
        assert lines == [f"INFO systemd gives port {running.bound_port}, so http.port (1) does not count\n"]
        await running.stop()
        assert about(path) == before
        assert port.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


async def test_what_was_not_given_is_made(path: Path) -> None:
    with tcp() as port:
        running = server(path, port)
        await running.start()
        assert mode(path) == 0o600
        assert (await ask(path, "POST", "/echo", b"unix")).raw == b"unix heard"
        assert (await ask(port.getsockname()[1], "POST", "/echo", b"tcp")).raw == b"tcp heard"
        await running.stop()
        assert about(path) is None
    with unix(path) as file:
        running = server(path, file)
        await running.start()
        assert (await ask(path, "POST", "/echo", b"unix")).raw == b"unix heard"
        assert (await ask(running.bound_port, "POST", "/echo", b"tcp")).raw == b"tcp heard"
        await running.stop()
        assert mode(path) == 0o660


@LOOPS
def test_an_answer_does_not_wait_for_more(path: Path, factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Nagle's algorithm against delayed acknowledgements costs 44 ms a request."""

    def post(port: int) -> float:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        times = []
        for _ in range(10):
            started = time.perf_counter()
            client.request("POST", "/echo", b"body", AUTH)
            client.getresponse().read()
            times.append(time.perf_counter() - started)
        client.close()
        return sorted(times)[5]

    async def live() -> None:
        with tcp() as port:
            running = server(path, port)
            await running.start()
            client = socket.create_connection(port.getsockname(), timeout=5)
            connections = running._running[0][0].server_state.connections
            await until(lambda: bool(connections))
            (accepted,) = connections
            number = accepted.transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(number)) as seen:
                assert seen.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            client.close()
            rounds = [await asyncio.to_thread(post, running.bound_port) for _ in range(3)]
            assert min(rounds) < 0.03, "an answer that waits for the client's kernel takes 0.04 s, in each round"
            await running.stop()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(live())


def connected() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


async def refused(path: Path, *given: socket.socket | int) -> str:
    running = server(path, *given)
    with pytest.raises(ConfigError) as caught:
        await running.start()
    for number in running._given:
        os.fstat(number)  # still open: it is not ours to close
        os.close(number)
    await running.stop()
    return str(caught.value)


async def test_what_is_no_listening_socket(path: Path) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert "is no socket: only ListenStream= may stand there" in await refused(path, reading)
    with tcp(kind=socket.SOCK_DGRAM) as datagrams:
        assert "does not listen for streams" in await refused(path, datagrams)
    one, other = connected()
    with one, other:
        assert "use ListenStream=, Accept=no" in await refused(path, one)
    assert "is no socket" in await refused_number(path, 987)


async def refused_number(path: Path, number: int) -> str:
    running = LocalServer(HttpSettings(port=0), path, TOKEN, [], given=[number])
    with pytest.raises(ConfigError) as caught:
        running.bind()
    return str(caught.value)


async def test_two_of_a_kind(path: Path, tmp_path: Path) -> None:
    with tcp() as first, tcp() as second:
        assert "one ListenStream= for TCP" in await refused(path, first, second)
    with unix(path) as first, unix(tmp_path / "other") as second, tcp() as third:
        assert "one for the unix socket" in await refused(path, first, third, second)


async def test_a_port_open_to_the_network(path: Path) -> None:
    with tcp("0.0.0.0") as port:
        number = port.getsockname()[1]
        assert f"listens on 0.0.0.0: it must say ListenStream=127.0.0.1:{number}" in await refused(path, port)
    if socket.has_dualstack_ipv6():
        with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as port:
            assert "listens on ::: it must say ListenStream=127.0.0.1:" in await refused(path, port)


async def test_a_unix_socket_open_to_everybody(path: Path) -> None:
    with unix(path, 0o666) as file:
        assert "SocketMode=0660" in await refused(path, file)
        assert mode(path) == 0o666
    with unix("\0deskhand-test-" + path.parent.name) as file:
        assert "must be a path" in await refused(path.with_name("own"), file)


async def test_a_failure_after_taking_leaves_them_open(path: Path) -> None:
    put(path)
    with tcp() as port:
        running = server(path, port)
        with pytest.raises(ConfigError, match="not a socket"):
            await running.start()
        remove(path)
        await running.start()
        assert (await ask(running.bound_port, "POST", "/echo", b"again")).raw == b"again heard"
        await running.stop()


async def test_commands_that_look_elsewhere_are_told(path: Path, lines: list[str]) -> None:
    with unix(path) as file, tcp() as port:
        running = server(path.with_name("else.sock"), file, port)
        await running.start()
        assert (
            lines[0] == f"WARNING commands look for {path.with_name('else.sock')}, but the socket unit gives {path}\n"
        )
        await running.stop()
        lines.clear()
        remove(path)
        running = server(path, file, port)
        await running.start()
        assert lines[0].startswith(f"WARNING {path} is gone, so commands cannot reach the daemon")
        await running.stop()


def request(to: Any, body: bytes) -> socket.socket:
    """A fresh connection with a request on its way, as quickly as that can be."""
    client = socket.create_connection(to, timeout=15)
    client.sendall(
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
        % (TOKEN.encode(), len(body), body)
    )
    return client


def whole(client: socket.socket) -> bytes:
    """An answer, or what there is of one when the connection ends."""
    answer = b""
    while not answer.endswith(b" heard") and (part := client.recv(4096)):
        answer += part
    return answer


@LOOPS
@pytest.mark.parametrize("turns", range(8))
def test_whoever_connects_just_before_a_stop_is_answered(
    path: Path, turns: int, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """By this server or by the next, in whichever turn of the loop it stops."""

    async def live() -> None:
        with tcp() as port:
            old = server(path, port)
            await old.start()
            clients = [request(port.getsockname(), b"%d" % number) for number in range(5)]
            for _ in range(turns):
                await asyncio.sleep(0)
            await old.stop()
            late = request(port.getsockname(), b"5")
            new = server(path, port)
            await new.start()
            for number, client in enumerate([*clients, late]):
                answer = await asyncio.to_thread(whole, client)
                assert answer.startswith(b"HTTP/1.1 200 "), (turns, number, answer)
                assert answer.endswith(b"%d heard" % number), answer
                client.close()
            await new.stop()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(live())


@LOOPS
def test_whoever_is_connected_may_still_ask_while_it_stops(
    path: Path, factory: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.http.server._GRACE_S", 5.0)

    async def live() -> None:
        with tcp() as port:
            running = server(path, port)
            await running.start()
            reader, writer = await asyncio.open_connection(*port.getsockname())
            await until(lambda: bool(running._running[0][0].server_state.connections))
            stopping = asyncio.create_task(running.stop())
            await asyncio.sleep(0.05)
            writer.write(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n")
            writer.write(f"Authorization: Bearer {TOKEN}\r\n\r\nlast".encode())
            answer = await asyncio.wait_for(reader.read(), 5)
            assert answer.endswith(b"last heard")
            await stopping
            writer.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(live())
