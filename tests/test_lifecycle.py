"""The lock on the state folder, signals, and stops in reverse order."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import HELD
from daemon.errors import ConfigError, LockedError
from daemon.lifecycle import Signals, Stops, Supervisor, own_folder, tasks
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


def test_root_makes_nothing_in_the_folder_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial run with sudo would leave files with which the service does not start."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError, match=f"state_dir: {tmp_path} belongs to .+ run as that user"):
        own_folder(tmp_path)
    monkeypatch.undo()
    os.chown(tmp_path, os.geteuid(), -1)
    os.close(own_folder(tmp_path))  # nothing holds the lock


async def test_each_signal_asks_for_its_own() -> None:
    asked = list[str]()
    signals = Signals(lambda: asked.append("reload"), lambda: asked.append("dump"))
    signals.install()
    loop = asyncio.get_running_loop()
    try:
        for number in (signal.SIGUSR2, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), number)
        await until(signals.stop.is_set)
        assert sorted(asked) == ["dump", "reload"]
    finally:
        for number in HELD:
            loop.remove_signal_handler(number)


_TWICE = """
import asyncio, os, signal
from daemon.lifecycle import Signals
async def main():
    signals = Signals(lambda: None, lambda: None)
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


class Manager:
    """What systemd is to a service: a datagram socket that listens."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self._seen: list[str] = []

    def heard(self) -> list[str]:
        """Every line so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._seen += self._socket.recv(4096).decode().splitlines()
        return self._seen

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("place", ["path", "abstract"])
async def test_the_service_manager_hears_of_progress_and_only_of_that(tmp_path: Path, place: str) -> None:
    address = str(tmp_path / "notify") if place == "path" else f"@deskhand-{os.getpid()}"
    manager = Manager(address)
    supervisor = Supervisor({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "40000"})
    assert supervisor.period_s == 0.02
    problem = ""
    attending = asyncio.create_task(supervisor.attend(lambda: problem, lambda: "live\n1 peer up"))
    try:
        await until(lambda: manager.heard().count("WATCHDOG=1") >= 3)
        assert "STATUS=live 1 peer up" in manager.heard()
        problem = "hotkeys:main has not been looked at for 20 s"
        await until(lambda: f"STATUS=no progress: {problem}" in manager.heard())
        pings = manager.heard().count("WATCHDOG=1")
        await asyncio.sleep(0.1)
        assert manager.heard().count("WATCHDOG=1") == pings
        problem = ""
        await until(lambda: manager.heard().count("WATCHDOG=1") > pings)
    finally:
        attending.cancel()
        manager.close()
    supervisor.tell("STOPPING=1")  # a manager that is gone is no error


async def test_without_a_manager_nothing_ticks() -> None:
    supervisor = Supervisor({"WATCHDOG_USEC": "10000", "WATCHDOG_PID": str(os.getpid())})
    asked = list[str]()

    def status() -> str:
        asked.append("status")
        return "live"

    attending = asyncio.create_task(supervisor.attend(lambda: "", status))
    await until(lambda: bool(asked))
    await asyncio.sleep(0.05)  # for what must not happen
    assert len(asked) == 1
    attending.cancel()


def test_only_what_is_meant_for_this_process_counts() -> None:
    mine, other = str(os.getpid()), str(os.getpid() + 1)
    assert Supervisor({"LISTEN_PID": mine, "LISTEN_FDS": "2"}).listeners == (3, 4)
    assert Supervisor({"LISTEN_PID": other, "LISTEN_FDS": "2"}).listeners == ()
    assert Supervisor({"LISTEN_PID": mine, "LISTEN_FDS": "two"}).listeners == ()
    watchdog = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "3000000"}
    assert Supervisor({**watchdog, "WATCHDOG_PID": mine}).period_s == 1.5
    assert Supervisor({**watchdog, "WATCHDOG_PID": other}).period_s == 10
    assert Supervisor({**watchdog, "WATCHDOG_USEC": "60000000"}).period_s == 10


async def test_where_every_task_waits() -> None:
    async def inner() -> None:
        await asyncio.get_running_loop().create_future()

    async def outer() -> None:
        await inner()

    task = asyncio.create_task(outer(), name="deep")
    await asyncio.sleep(0)
    (line,) = [line for line in tasks() if line.startswith("deep: ")]
    assert line.count("test_lifecycle.py") == 2
    assert line.endswith(" inner")
    task.cancel()
