"""`deskhand practice`, as a process."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from websockets.asyncio.client import connect


@pytest.mark.usefixtures("alone")
async def test_shows_the_keys(command: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, "practice", "--port", "0", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert process.stdout is not None
    first = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
    assert first.startswith("practice hotkey server on ws://127.0.0.1:")
    async with connect(first.split()[4].rstrip(";"), proxy=None) as ws:
        await ws.send("buy_ask")
        assert b"buy_ask" in await asyncio.wait_for(process.stdout.readline(), 5)
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.usefixtures("alone")
async def test_a_port_in_use(command: list[str]) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *command, "practice", "--port", str(port), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 78
    assert err.decode().startswith(f"--port: {port} cannot be used")
    server.close()
