"""The fake itself: it refuses what the real one refuses, and it is quick enough to measure with."""

import asyncio
import json
import time
from pathlib import Path

import pytest
import websockets
from websockets.asyncio.client import connect

from tests.fakes.hotkey_server import HotkeyServer


async def test_it_refuses_paths_subprotocols_and_binary() -> None:
    async with HotkeyServer() as server:
        for url, more in ((server.url + "x", {}), (server.url, {"subprotocols": ["a"]})):
            with pytest.raises(websockets.InvalidStatus):
                await connect(url, proxy=None, compression=None, **more)  # type: ignore[arg-type]
        async with connect(server.url, proxy=None, compression=None) as client:
            await client.send(b"buy_ask")
            with pytest.raises(websockets.ConnectionClosedError):
                await client.recv()
        assert len(server.refused) == 3
        assert not server.frames


async def test_its_log_holds_every_key(tmp_path: Path) -> None:
    log = tmp_path / "keys"
    async with HotkeyServer(log=log) as server, connect(server.url, proxy=None, compression=None) as client:
        start = time.perf_counter()
        for n in range(5000):
            await client.send(f"k{n}")
        await (await client.ping())
        assert time.perf_counter() - start < 5
        await asyncio.sleep(0)
    presses = [json.loads(line) for line in log.read_text().splitlines()]
    assert [press["frame"] for press in presses] == [f"k{n}" for n in range(5000)]
    assert set(presses[0]) == {"monotonic_ns", "wall", "connection", "frame"}
