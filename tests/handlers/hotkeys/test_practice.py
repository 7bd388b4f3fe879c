import asyncio

import pytest
import websockets

from handlers.hotkeys.practice import PracticeServer
from tests.handlers.hotkeys.support import lane, until


@pytest.mark.parametrize("connect", ["warm", "persistent", "per_action"])
async def test_it_shows_the_keys(connect: str, lines: list[str]) -> None:
    server = PracticeServer()
    await server.start()
    assert server.url.startswith("ws://127.0.0.1:")
    async with lane(server.url, connect) as desk:
        await desk.press_when_ready("buy_ask", "sell_ask")
        await desk.confirmed(2)
        await until(lambda: sum("pressed" in line for line in lines) == 2)
        assert [line for line in lines if "pressed" in line] == [
            "INFO [Practice] pressed: buy_ask",
            "INFO [Practice] pressed: sell_ask",
        ]
    await server.stop()
    await server.stop()


async def test_it_refuses_what_the_real_one_refuses(lines: list[str]) -> None:
    server = PracticeServer()
    await server.start()
    async with websockets.connect(server.url, proxy=None) as client:
        await client.send(b"\x00")
        with pytest.raises(websockets.ConnectionClosedError):
            await client.recv()
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(server.url + "other", proxy=None)
    async with websockets.connect(server.url, proxy=None) as client:
        await client.send("x" * 300 + "\x1b")
    await until(lambda: any("pressed" in line for line in lines))
    assert "INFO [Practice] pressed: " + "x" * 200 in lines
    await server.stop()


async def test_a_burst_leaves_room_for_others(lines: list[str]) -> None:
    server = PracticeServer()
    await server.start()
    async with lane(server.url, "persistent") as desk:
        await desk.ready()
        desk.press(*(f"k{n}" for n in range(2000)))
        most, shown, seen = 0, 0, len(lines)
        while shown < 2000:
            await asyncio.sleep(0)
            at_once = sum("pressed" in line for line in lines[seen:])
            most, shown, seen = max(most, at_once), shown + at_once, len(lines)
    await server.stop()
    assert most < 8, "keys shown while nobody else had a turn"
