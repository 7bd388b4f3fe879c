"""A full disk and a read-only state folder: entries are refused, exits fire, and it recovers by itself."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.desk import Desk, KeyServer, results, until


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A state folder on a file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "state"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def full(folder: Path) -> Path:
    """Fill the file system to the last byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass
        try:
            while True:
                file.write(b"\0")
        except OSError:
            pass
    return filler


def check_refusing(desk: Desk, keys: KeyServer) -> None:
    pressed = len(keys.frames)
    for _ in range(3):
        code, answer = desk.post("entry", trade_id="never", wait=2)
        assert code == 503, answer
    assert desk.get("/health/ready")[0] == 503
    assert len(keys.frames) == pressed, "no entry fires"
    code, _ = desk.post("sl", trade_id="open", id="stop", wait=2)
    assert code == 503
    until(lambda: keys.frames[pressed:] == ["sell_all_bid"], what="the stop-loss did not fire")
    code, _ = desk.post("close", trade_id="open", id="close", wait=2)
    assert code == 503
    until(lambda: keys.frames[pressed:] == ["sell_all_bid"] * 2, what="the close did not fire")
    assert desk.process is not None
    assert desk.process.poll() is None


def check_recovered(desk: Desk, keys: KeyServer) -> None:
    until(lambda: desk.get("/health/ready")[0] == 200, what="it did not recover by itself")
    pressed = len(keys.frames)
    for event_id in ("stop", "close"):
        code, _ = desk.post("sl", trade_id="open", id=event_id)
        assert code in (200, 409), "what fired meanwhile is remembered"
    assert len(keys.frames) == pressed
    assert results(desk.ended("stop")) == [("done", "")]
    desk.done("entry", trade_id="after")
    desk.kill()
    desk.start()
    assert results(desk.event("stop")) == [("done", "")]


def test_a_full_disk(tmp_path: Path, keys: KeyServer, small: Path) -> None:
    with Desk(tmp_path, {"main": keys}, hotkeys={"gap_ms": 0}) as desk:
        desk.done("entry", trade_id="open")
        desk.get("/events")  # by now the outcome is on record: the next write is the next event's
        filler = full(small)
        spent = 0
        while desk.post("tp2", wait=2, trade_id=f"fill{spent}")[0] != 503:  # what SQLite had reserved before
            spent += 1
            assert spent < 500
        assert keys.frames == ["buy_ask"] + ["sell_ask"] * spent, "the first that was told 503 fired"
        check_refusing(desk, keys)
        filler.unlink()
        check_recovered(desk, keys)


def test_a_read_only_state_folder(tmp_path: Path, keys: KeyServer, small: Path) -> None:
    with Desk(tmp_path, {"main": keys}) as desk:
        desk.done("entry", trade_id="open")
        desk.stop()
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        desk.spawn()
        until(lambda: "mqtt" in _status(desk), what="it does not start on a read-only state folder")
        check_refusing(desk, keys)
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
        check_recovered(desk, keys)


def _status(desk: Desk) -> dict[str, object]:
    try:
        return desk.status()
    except OSError:
        return {}
