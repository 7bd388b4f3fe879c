"""What a change of configuration leaves behind is stopped, and whatever cannot stop hinders nothing."""

import asyncio
from pathlib import Path

import pytest
from loguru import logger

import daemon.parts
from daemon.parts import Parts
from daemon.settings import HotkeySettings, Settings
from handlers.hotkeys.client import HotkeyTarget
from handlers.hotkeys.practice import PracticeServer


class Hanging(HotkeyTarget):
    async def stop(self) -> None:
        await asyncio.get_running_loop().create_future()


class Broken(HotkeyTarget):
    async def stop(self) -> None:
        raise RuntimeError("a mistake of ours")


@pytest.mark.parametrize("kind", [Hanging, Broken])
async def test_a_target_that_cannot_stop_keeps_nothing_else_open(
    kind: type[HotkeyTarget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.parts, "_STOP_S", 0.5)
    said: list[str] = []
    sink = logger.add(said.append, format="{level} {message}")
    practice = PracticeServer()
    await practice.start()
    port = int(practice.url.rstrip("/").rpartition(":")[2])
    parts = Parts(Settings(state_dir=tmp_path), practice)
    parts.targets["main"] = kind("main", practice.url, HotkeySettings())
    try:
        async with asyncio.timeout(10):
            await parts.drop()
    finally:
        logger.remove(sink)
    assert any(line.startswith("ERROR could not stop hotkeys cleanly") for line in said)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
