import asyncio

import pytest

from tests.fakes.hotkey_server import Habits, HotkeyServer
from tests.handlers.hotkeys.support import lane, until


@pytest.mark.parametrize("connect", ["warm", "per_action"])
async def test_an_answer_is_read_and_logged_and_the_server_is_not_hung_up_on(
    connect: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.hotkeys.client.HOLD_S", 2.0)  # the answer ends it, not this
    async with (
        HotkeyServer(Habits(reply="ok\n\x1b[31m", reply_after=0.01)) as server,
        lane(server.url, connect) as desk,
    ):
        await desk.press_when_ready("a")
        await desk.confirmed(1)  # now it is known that this server answers
        await desk.press_when_ready("b", "c")
        await desk.confirmed(3)
        assert server.unanswered == 0
        assert lines.count("INFO [Hotkey] main answered: ok??[31m") == 3


async def test_a_silent_server_is_waited_for_once(lines: list[str]) -> None:
    async with HotkeyServer() as server, lane(server.url) as desk:
        await desk.ready()
        start = asyncio.get_running_loop().time()
        desk.press("a")
        await until(lambda: len(desk.settled) == 1)
        assert asyncio.get_running_loop().time() - start > 0.04
        for n in range(2, 6):
            await desk.ready()
            desk.press("b")
            assert not any(link.hold for link in desk.target._keeper.links)
            await until(lambda n=n: len(desk.settled) == n)  # type: ignore[misc]
        await desk.confirmed(5)
        assert server.frames == ["a", "b", "b", "b", "b"]
        assert not any("answered" in line for line in lines)


async def test_keys_do_not_wait_for_answers() -> None:
    async with HotkeyServer(Habits(reply="late", reply_after=30.0)) as server, lane(server.url) as desk:
        await desk.both_ready()
        desk.press("a")
        await desk.ready()
        desk.press("b")
        await until(lambda: server.frames == ["a", "b"])
        await desk.confirmed(2)


async def test_answers_on_a_persistent_connection(lines: list[str]) -> None:
    async with HotkeyServer(Habits(reply="y" * 1000)) as server, lane(server.url, "persistent") as desk:
        await desk.ready()
        desk.press("a", "b")
        await desk.confirmed(2)
        await until(lambda: lines.count("INFO [Hotkey] main answered: " + "y" * 200) == 2)


async def test_a_server_that_closes_by_itself_after_each_key() -> None:
    async with HotkeyServer(Habits(close_after_key=True)) as server, lane(server.url) as desk:
        await desk.press_when_ready("a", "b")
        await desk.confirmed(2)
        assert server.frames == ["a", "b"]


@pytest.mark.parametrize("connect", ["warm", "persistent"])
@pytest.mark.parametrize(
    ("habits", "why"),
    [
        (Habits(binary=True), "the server sent a binary frame"),
        (Habits(garbage=True), "the server broke the WebSocket protocol"),
        (Habits(flood=3_000_000), "the server sent more than 64 KiB"),
        (Habits(drop_after_key=True), "the server closed the connection"),
    ],
)
async def test_bad_manners_leave_the_key_uncertain_and_the_target_alive(
    connect: str, habits: Habits, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with HotkeyServer(habits) as server, lane(server.url, connect) as desk:
        await desk.ready()
        opened = server.opened
        with monkeypatch.context() as patch:
            patch.setattr("handlers.hotkeys.client.HOLD_S", 2.0)  # the server comes first: a close confirms
            desk.press("a")
        await until(lambda: desk.settled)
        (_, problem), *_ = desk.settled
        if connect == "warm" or problem:  # a pong before the nonsense does confirm
            assert problem
            assert problem.startswith("connection lost after the key was sent: ")
            assert problem.endswith((why, "the server broke the WebSocket protocol", "Connection reset by peer"))
        server.habits = Habits()
        for connection in server.connections:
            connection.habits = server.habits
        await until(lambda: server.opened > opened)  # in `persistent`, that its only connection was given up
        await desk.press_when_ready("b")
        await until(lambda: len(desk.settled) == 2)
        assert desk.settled[1] == ("b", None)


async def test_a_close_of_the_servers_own_confirms_nothing_on_a_persistent_connection() -> None:
    async with HotkeyServer(Habits(no_pong=True)) as server, lane(server.url, "persistent") as desk:
        await desk.ready()
        desk.press("a")
        await until(lambda: server.frames)
        for connection in list(server.connections):
            connection._tired()
        await until(lambda: desk.settled)
        why = "connection lost after the key was sent: the server closed it with code 1000"
        assert desk.settled == [("a", why)]


async def test_a_server_going_away_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.hotkeys.client.HOLD_S", 2.0)  # the server's close comes first
    async with HotkeyServer(Habits(no_close=True)) as server, lane(server.url) as desk:
        await desk.ready()
        desk.press("a")
        await until(lambda: server.frames)
        for connection in list(server.connections):
            connection.ws.send_close(1001) if connection.ws.state.name == "OPEN" else None
            connection._send()
        await until(lambda: desk.settled)
        assert desk.settled == [("a", "connection lost after the key was sent: the server closed it with code 1001")]


async def test_chatter_of_an_idle_server_is_dropped_and_not_logged(lines: list[str]) -> None:
    async with HotkeyServer() as server, lane(server.url, "persistent") as desk:
        await desk.ready()
        for connection in list(server.connections):
            for _ in range(1000):
                connection.ws.send_text(b"tick " * 20)
            connection._send()
        await until(lambda: any("more than 64 KiB" in line for line in lines))
        assert not any("answered" in line for line in lines)
        await desk.press_when_ready("a")
        await desk.confirmed(1)
