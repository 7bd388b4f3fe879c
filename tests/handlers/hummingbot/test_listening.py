"""Hummingbot's pushes: a killed bot is seen without waiting for the poll, and a socket that fails costs nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest

from daemon.clock import Clock
from daemon.errors import UnreachableError
from daemon.settings import HummingbotSettings
from handlers.hummingbot import listening as module
from handlers.hummingbot.bots import Bots
from handlers.hummingbot.client import HummingbotApi
from handlers.hummingbot.listening import Listener
from tests.fakes.hummingbot import HummingbotServer
from tests.fakes.listener import listener
from tests.handlers.hummingbot.keeping import QUICK, Memory, running, state
from tests.handlers.hummingbot.wire_support import client, guard, until

STATUS = "GET /bot-orchestration/status"


def _more(sent: list[Any], before: int) -> bool:
    return len(sent) > before


class Looks:
    """Counts them; `error` is raised by each."""

    def __init__(self, error: Exception | None = None) -> None:
        self.count = 0
        self.error = error

    async def __call__(self) -> None:
        self.count += 1
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def listening(api: HummingbotApi, look: Callable[[], Any]) -> AsyncIterator["asyncio.Task[None]"]:
    """The listener runs; at the end it is stopped, and is not waited for: a goodbye may take half a second."""
    task = asyncio.create_task(Listener(api.stream, look).run(), name="hummingbot-bots")
    try:
        yield task
        assert not task.done()
    finally:
        task.cancel()
        async with asyncio.timeout(3.0):
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def desk() -> AsyncIterator[tuple[HummingbotServer, HummingbotApi, Bots]]:
    async with HummingbotServer() as server, client(server) as api:
        bots = Bots(api, Memory(), Clock(), lambda _: None, QUICK)
        try:
            yield server, api, bots
        finally:
            await bots.close()
        server.clean()


async def test_a_killed_bot_is_seen_at_once() -> None:
    async with desk() as (server, api, bots), listening(api, bots.observe):
        name = await running(bots)
        await until(lambda: server.sockets)
        await asyncio.sleep(0)
        server.bots.kill(name)
        assert state(bots) == "running"
        await until(lambda: state(bots) == "failed")


async def test_a_cut_socket_comes_back_and_sees_what_was_missed() -> None:
    async with desk() as (server, api, bots), listening(api, bots.observe):
        name = await running(bots)
        await until(lambda: server.sockets)
        first = server.sockets[0]
        first.cut()
        server.bots.kill(name)
        await until(lambda: server.sockets and server.sockets[0] is not first)
        await until(lambda: state(bots) == "failed")


@pytest.mark.parametrize("end", [lambda s: s.garbage(b"{nonsense"), lambda s: s.close(1012, "restart")])
async def test_garbage_and_a_goodbye_end_a_connection_and_no_more(end: Callable[[Any], None]) -> None:
    look = Looks()
    async with desk() as (server, api, _), listening(api, look):
        await until(lambda: look.count == 1)
        first = server.sockets[0]
        end(first)
        await until(lambda: server.sockets and server.sockets[0] is not first)
        await until(lambda: look.count == 2)


@pytest.mark.parametrize("error", [UnreachableError("away"), ValueError("a mistake of ours")])
async def test_the_api_restarts_and_looks_fail(error: Exception) -> None:
    look = Looks(error)
    async with desk() as (server, api, _), listening(api, look):
        await until(lambda: look.count == 1)
        await server.restart()
        await until(lambda: look.count == 2)


async def test_figures_alone_are_no_reason_to_look() -> None:
    look = Looks()
    async with desk() as (server, api, _), listening(api, look):
        bot = server.bots.add("pmm-1")
        await until(lambda: look.count == 1)
        (socket,) = server.sockets
        for number in range(3):
            before = len(socket.sent)
            bot.report["pmm_1"] = {"performance": {"volume_traded": number}}
            await until(partial(_more, socket.sent, before))
        server.bots.silence("pmm-1")
        server.pass_time(31)
        await until(lambda: look.count == 2)


async def test_many_changes_are_one_look_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 1.0)
    look = Looks()
    async with desk() as (server, api, _), listening(api, look):
        await until(lambda: look.count == 1)
        (socket,) = server.sockets
        for number in range(200):
            socket.send({"type": "all_bots_status", "data": {f"bot-{number}": {"status": "running"}}})
        socket.send({"type": "all_bots_status", "data": "what nobody expects"})
        await until(lambda: look.count == 2)
        await until(lambda: len(server.sockets) == 1)
        assert look.count == 2


@pytest.mark.parametrize(("status", "again"), [(403, False), (404, False), (503, True)])
async def test_a_server_without_it_is_left_alone(status: int, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    asked, look = [], Looks()

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()

    async with listener(reply) as port:
        url = f"http://127.0.0.1:{port}"
        async with HummingbotApi(HummingbotSettings(url=url), guard()) as api, listening(api, look):
            if again:
                await until(lambda: len(asked) > 1)
            else:
                await until(lambda: asked)
                with pytest.raises(TimeoutError):
                    await until(lambda: len(asked) > 1, 0.3)
    assert look.count == 0


async def test_a_wrong_password_and_an_older_server_are_asked_again_much_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    look = Looks()
    async with desk() as (server, _, _):
        server.password = "another"
        async with client(server, password="wrong-password") as wrong, listening(wrong, look):
            await until(lambda: server.asked)
            with pytest.raises(TimeoutError):
                await until(lambda: len(server.asked) > 1, 0.3)
    async with desk() as (server, api, _), listening(api, look):
        await until(lambda: look.count == 1)
        server.sockets[0].send({"type": "error", "message": "Unknown subscription type: all_bots_status"})
        await until(lambda: not server.sockets)
        with pytest.raises(TimeoutError):
            await until(lambda: server.sockets, 0.3)


async def test_what_nobody_expects_ends_nothing() -> None:
    asked: list[str] = []

    async def broken(kind: str) -> Any:
        asked.append(kind)
        raise RecursionError

    task = asyncio.create_task(Listener(broken, Looks()).run(), name="hummingbot-bots")
    await until(lambda: asked)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(task, 0.1)
    assert asked == ["executors"]


async def test_a_stop_is_quick_whatever_the_server_does() -> None:
    """It never greets; or it never says goodbye: `listening` holds the second."""
    held: list[asyncio.StreamWriter] = []

    async def mute(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    async with listener(mute) as port:
        url = f"http://127.0.0.1:{port}"
        async with HummingbotApi(HummingbotSettings(url=url), guard()) as api, listening(api, Looks()):
            await until(lambda: held)
    look = Looks()
    async with desk() as (fake, api, _):
        async with listening(api, look):
            await until(lambda: look.count == 1)
            fake.sockets[0].flush = lambda: None  # deaf from now on
        await until(lambda: not fake.sockets)
