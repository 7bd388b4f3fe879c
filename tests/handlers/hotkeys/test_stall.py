"""A server that freezes: no heap of stale keys in its socket, and the exit goes through once it lives."""

import asyncio
import time
from pathlib import Path

import pytest

from handlers.hotkeys import client
from tests.fakes.hotkey_server import Habits, HotkeyServer
from tests.handlers.hotkeys.support import Lane, ServerProcess, lane, until

TIMEOUT = 1.2
"""A short step timeout, seconds, so that giving up is soon; the stall stays at its real 250 ms."""


async def _press_on(desk: Lane, seconds: float, gap: float) -> dict[str, float]:
    """Press an entry key every `gap` seconds while there is capacity; how long after the first, by name.

    By the loop's time, which is the target's, and from before it was asked: however late we come to note it.
    """
    sent: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    start = first = loop.time()
    while (now := loop.time()) - start < seconds:
        if desk.target.capacity(urgent=False):
            key = f"key{len(sent)}"
            desk.press(key)
            first = first if sent else loop.time()
            sent[key] = now - first
        else:
            desk.target.want(urgent=False)
        await asyncio.sleep(gap)
    return sent


@pytest.mark.parametrize("connect", ["warm", "persistent", "per_action"])
async def test_a_frozen_server_gets_no_heap_of_keys(connect: str, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "keys") as server:
        async with lane(server.url, connect, step_timeout_s=TIMEOUT) as desk:
            await desk.ready()
            server.freeze()
            sent = await _press_on(desk, 1.5, 0.02)
            assert all(at < client.STALL_S + 0.03 for at in sent.values()), sent
            await until(lambda: len(desk.settled) == len(sent))
            server.thaw()
            await desk.press_when_ready("alive")
            await until(lambda: "alive" in server.frames())
            assert set(server.frames()) <= {*sent, "alive"}
            await until(lambda: len(desk.settled) == len(sent) + 1)
            assert ("alive", None) in desk.settled
            assert all(problem for key, problem in desk.settled if key != "alive")


@pytest.mark.parametrize("connect", ["warm", "persistent"])
async def test_the_exit_goes_through_once_the_server_lives(connect: str, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "keys") as server:
        async with lane(server.url, connect, step_timeout_s=TIMEOUT) as desk:
            await desk.ready()
            server.freeze()
            desk.press("sell_ask")
            await until(lambda: desk.target.down_s)  # a loop that comes late to it first hears what was said meanwhile
            assert "not confirming since" in desk.target.reason()
            assert not desk.target.up
            assert desk.target.capacity(urgent=False) == 0
            assert desk.target.capacity(urgent=True) == 0
            await until(lambda: desk.settled)
            assert desk.settled == [("sell_ask", f"no confirmation within {TIMEOUT} s")]
            await until(lambda: desk.target.reason() == f"no answer to the handshake within {TIMEOUT} s")
            waiting = asyncio.create_task(desk.press_when_ready("cancel_all", "sell_all_bid", urgent=True))
            await asyncio.sleep(0)
            server.thaw()
            await waiting
            await until(lambda: len(desk.settled) == 3)
            assert desk.settled[1:] == [("cancel_all", None), ("sell_all_bid", None)]
            assert server.frames()[-2:] == ["cancel_all", "sell_all_bid"]
            assert desk.target.up


@pytest.mark.parametrize("connect", ["warm", "persistent"])
async def test_an_exit_may_pass_a_stuck_key_on_a_fresh_connection(connect: str, lines: list[str]) -> None:
    habits = Habits(no_close=True, no_pong=True)
    async with HotkeyServer(habits) as server, lane(server.url, connect, step_timeout_s=1.5) as desk:
        await desk.ready()
        desk.press("sell_ask")
        await until(lambda: "not confirming" in desk.target.reason())
        await desk.ready(urgent=True)
        assert desk.target.reason().startswith("not confirming since")
        assert desk.target.capacity(urgent=False) == 0
        stalled = server.opened
        desk.press("cancel_all")
        assert desk.target.capacity(urgent=True) == 0, "one at a time"
        await until(lambda: "cancel_all" in server.frames)
        assert server.presses[-1].connection >= 2
        assert server.presses[-1].connection <= stalled
        await asyncio.sleep(0.05)
        assert desk.target.capacity(urgent=True) == 0
        await until(lambda: len(desk.settled) == 2)
        assert all(problem == "no confirmation within 1.5 s" for _, problem in desk.settled)
        server.habits.no_close = server.habits.no_pong = False
        await desk.press_when_ready("later")
        await until(lambda: ("later", None) in desk.settled)
        assert server.frames == ["sell_ask", "cancel_all", "later"]
        assert sum("WARNING" in line for line in lines) == 1
        assert any("is back after" in line for line in lines)


@pytest.mark.parametrize("connect", ["warm", "persistent"])
async def test_a_confirmed_exit_key_frees_the_way_for_the_next(connect: str) -> None:
    habits = Habits(no_close=True, no_pong=True)
    async with HotkeyServer(habits) as server, lane(server.url, connect) as desk:
        await desk.ready()
        desk.press("stuck")
        await until(lambda: "not confirming" in desk.target.reason())
        await desk.ready(urgent=True)
        for connection in server.connections:
            if connection.number != server.presses[0].connection:
                connection.habits = Habits()
        server.habits = Habits()
        await desk.press_when_ready("cancel_all", "sell_all_bid", urgent=True)
        await until(lambda: len(desk.settled) == 2)
        assert desk.settled == [("cancel_all", None), ("sell_all_bid", None)]
        assert desk.target.capacity(urgent=False) == 0, "the stuck key is still unconfirmed"


async def test_a_late_confirmation_ends_the_stall_and_the_old_connection() -> None:
    async with HotkeyServer(Habits(no_pong=True)) as server, lane(server.url, "persistent") as desk:
        await desk.ready()
        desk.press("a")
        await until(lambda: desk.target.down_s)
        old = next(connection for connection in server.connections if connection.number == 1)
        old.ws.send_pong((1).to_bytes(4, "big"))
        old._send()
        await desk.confirmed(1)
        await desk.press_when_ready("b")
        await until(lambda: "b" in server.frames)
        assert server.presses[-1].connection == 2
        await until(lambda: old not in server.connections)


@pytest.mark.parametrize("connect", ["warm", "persistent", "per_action"])
async def test_a_late_confirmation_is_told_as_the_servers_return(
    connect: str, tmp_path: Path, lines: list[str]
) -> None:
    with ServerProcess(tmp_path / "keys") as server:
        async with lane(server.url, connect, step_timeout_s=30.0) as desk:
            await desk.ready()
            server.freeze()
            desk.press("a")
            await until(lambda: desk.target.down_s)
            server.thaw()
            await desk.confirmed(1)
            await until(lambda: desk.target.up)
            assert sum("WARNING" in line for line in lines) == 1
            assert "is back after" in lines[-1]


async def test_a_busy_loop_is_no_stall() -> None:
    async with HotkeyServer() as server, lane(server.url, "persistent") as desk:
        await desk.ready()
        desk.press("a")
        await asyncio.sleep(0)
        time.sleep(0.4)  # noqa: ASYNC251  # the point of it
        await desk.confirmed(1)
        desk.press("b")
        await desk.confirmed(2)
        assert server.opened == 1


async def test_a_server_that_never_confirms_leaves_keys_uncertain() -> None:
    async with HotkeyServer(Habits(no_close=True)) as server, lane(server.url, step_timeout_s=0.3) as desk:
        await desk.ready()
        desk.press("buy_ask")
        await until(lambda: server.frames)
        await until(lambda: desk.settled)
        assert desk.settled == [("buy_ask", "no confirmation within 0.3 s")]
        assert server.frames == ["buy_ask"]


async def test_idle_connections_are_tested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str]) -> None:
    monkeypatch.setattr("handlers.hotkeys.keeper.PING_S", 0.1)
    monkeypatch.setattr("handlers.hotkeys.keeper.PONG_S", 1.5)
    with ServerProcess(tmp_path / "keys") as server:
        async with lane(server.url, step_timeout_s=TIMEOUT) as desk:
            await desk.both_ready()
            server.freeze()
            await until(lambda: desk.target.capacity(urgent=True) == 0)
            assert desk.target.reason().startswith("no answer to a ping since")
            await until(lambda: not desk.target.up)
            assert any("WARNING [Hotkey] main is down: no answer to a ping within 1.5 s" in line for line in lines)
            server.thaw()
            await desk.both_ready()
            await until(lambda: any("main is back after" in line for line in lines))
