"""The lock on the state folder, signals, and stops in reverse order."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.errors import ConfigError, LockedError
from daemon.lifecycle import Signals, Stops, own_folder
from tests.dispatch.support import until


async def test_stops_run_last_in_first_out_and_once() -> None:
    stops, ran = Stops(), list[str]()

    async def stop(name: str) -> None:
        ran.append(name)

    for name in "abc":
        stops.add(name, lambda name=name: stop(name))  # type: ignore[misc]
    assert await stops.run(1) == []
    assert await stops.run(1) == []
    assert ran == ["c", "b", "a"]


async def test_one_that_fails_or_hangs_hinders_no_other() -> None:
    stops, ran = Stops(), list[str]()

    async def good() -> None:
        ran.append("good")

    async def bad() -> None:
        raise ValueError("broken")

    async def hangs() -> None:
        await asyncio.Event().wait()

    for name, stop in (("first", good), ("bad", bad), ("hangs", hangs), ("last", good)):
        stops.add(name, stop)
    problems = await stops.run(0.05)
    assert ran == ["good", "good"]
    assert [problem.split(":")[0] for problem in problems] == ["hangs", "bad"]


def test_the_state_folder_is_made_private_and_belongs_to_one(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    first = own_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(LockedError, match="another deskhand is running"):
        own_folder(folder)
    os.close(first)
    os.close(own_folder(folder))


def test_a_folder_open_to_others_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    os.close(own_folder(tmp_path))
    assert tmp_path.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_used_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="state_dir"):
            own_folder(folder)


async def test_a_signal_asks_for_an_orderly_stop() -> None:
    signals = Signals()
    signals.install()
    loop = asyncio.get_running_loop()
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(signals.stop.is_set)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


_TWICE = """
import asyncio, os, signal
from daemon.lifecycle import Signals
async def main():
    signals = Signals()
    signals.install()
    os.kill(os.getpid(), signal.SIGINT)
    await signals.stop.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(30)
asyncio.run(main())
"""


def test_a_second_signal_is_immediate() -> None:
    done = subprocess.run([sys.executable, "-c", _TWICE], timeout=20, check=False, capture_output=True)
    assert done.returncode == 128 + signal.SIGTERM
