"""Tokens on disk, and how the running server notices that they change."""

import errno
import json
import multiprocessing
import os
import re
from pathlib import Path

import pytest
from loguru import logger

from daemon.errors import ConfigError, DeskhandError
from daemon.http import tokens
from daemon.http.access import LOOK_S, Access
from tests.dispatch.support import BOOT, NOW, SetClock


def make(folder: Path, name: str = "a", **given: float | None) -> str:
    return tokens.add(folder, name, "ingest", 1000.0, expires=given.get("expires"), rate=given.get("rate"))


def test_it_is_never_kept(tmp_path: Path) -> None:
    made = make(tmp_path)
    assert re.fullmatch(r"dh_[A-Za-z0-9_-]{43}", made)
    for path in tmp_path.iterdir():
        raw = path.read_bytes()
        assert made.encode() not in raw
        assert made[3:].encode() not in raw
        assert path.stat().st_mode & 0o777 == 0o600
    (row,) = json.loads((tmp_path / tokens.FILE).read_text())["tokens"]
    assert row == {
        "name": "a", "role": "ingest", "created": 1000.0, "expires": None, "rate": None,
        "hash": tokens.digest((tmp_path / tokens.KEY_FILE).read_bytes(), made.encode()).hex(),
    }  # fmt: skip


def test_two_folders_hash_differently(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b")
    keys = [(tmp_path / each / tokens.KEY_FILE).read_bytes() for each in "ab"]
    assert keys[0] != keys[1]
    assert tokens.digest(keys[0], b"x") != tokens.digest(keys[1], b"x")


def test_names_are_taken_once(tmp_path: Path) -> None:
    make(tmp_path)
    for name in ("a", tokens.OWN):
        with pytest.raises(DeskhandError, match="already"):
            make(tmp_path, name)
    tokens.remove(tmp_path, "a")
    with pytest.raises(DeskhandError, match="no token called a"):
        tokens.remove(tmp_path, "a")
    make(tmp_path)


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for change in (lambda: make(tmp_path, "b"), lambda: tokens.remove(tmp_path, "a")):
        with pytest.raises(DeskhandError, match="cannot be written: No space left on device; it is as it was"):
            change()
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def _add_ten(folder: Path, start: int) -> None:
    for number in range(start, start + 10):
        make(folder, f"t{number}")


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_add_ten, args=(tmp_path, start)) for start in (0, 10)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(30)
        assert each.exitcode == 0
    assert {token.name for token in tokens.read(tmp_path).all} == {f"t{number}" for number in range(20)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is damaged"), (b"[]", "is damaged"), (b"{", "is damaged"), (b'{"version": 2}', "newer deskhand"),
        (b'{"version": 1, "tokens": [{"name": "a"}]}', "is damaged"),
        (b'{"version": 1, "tokens": [{"name": "a", "role": "all", "hash": "", "created": 1}]}', "is damaged"),
        (b"\xff", "is damaged"), (b"[" * 100_000, "is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    make(tmp_path)
    (tmp_path / tokens.FILE).write_bytes(content)
    for use in (lambda: tokens.read(tmp_path), lambda: make(tmp_path, "b")):
        with pytest.raises(ConfigError, match=words):
            use()
    assert (tmp_path / tokens.FILE).read_bytes() == content


def test_files_of_others_and_links_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / tokens.FILE
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"others can read it; run: chmod 600"):
        tokens.read(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be read"):
        tokens.read(tmp_path)
    if os.geteuid() == 0:
        path.unlink()
        (tmp_path / "elsewhere").rename(path)
        path.chmod(0o600)
        os.chown(path, 12345, -1)
        with pytest.raises(ConfigError, match="belongs to another user"):
            tokens.read(tmp_path)


def test_a_key_that_is_gone(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / tokens.KEY_FILE).unlink()
    with pytest.raises(ConfigError, match="is gone or damaged"):
        tokens.read(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_makes_for_a_service_is_the_services(tmp_path: Path) -> None:
    os.chown(tmp_path, 4321, 4321)
    make(tmp_path)
    assert {(path.stat().st_uid, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {(4321, 0o600)}


class Held:
    """An access with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.clock = SetClock(NOW, BOOT)
        self.access = Access("the-own-token", folder, self.clock)

    def knows(self, token: str) -> bool:
        return self.access.find(token.encode()) is not None


def test_an_added_token_counts_at_once_and_a_removed_one_ends_within_a_second(tmp_path: Path) -> None:
    held = Held(tmp_path)
    made = make(tmp_path)
    assert held.knows(made)
    assert held.knows("the-own-token")
    assert not held.knows("dh_" + "x" * 43)
    grant = held.access.find(made.encode())
    assert grant is not None
    assert held.access.holds(grant)
    tokens.remove(tmp_path, "a")
    held.clock.advance(LOOK_S + 0.01)
    assert not held.access.holds(grant)
    assert not held.knows(made)
    assert held.knows("the-own-token")
    assert LOOK_S < 1


def test_what_stays_keeps_its_rate_and_its_last_use(tmp_path: Path) -> None:
    made = make(tmp_path, rate=1.0)
    held = Held(tmp_path)
    before = held.access.find(made.encode())
    make(tmp_path, "b")
    held.clock.advance(1)
    assert held.access.find(made.encode()) is before
    own = held.access.find(b"the-own-token")
    (tmp_path / tokens.FILE).unlink()
    held.clock.advance(1)
    assert not held.knows(made)
    assert held.access.find(b"the-own-token") is own
    assert own is not None
    assert held.access.holds(own)


def test_it_expires(tmp_path: Path) -> None:
    held = Held(tmp_path)
    now = held.clock.now()
    made = make(tmp_path, expires=now + 10)
    grant = held.access.find(made.encode())
    assert grant is not None
    assert held.access.holds(grant)
    held.clock.advance(10)
    assert not held.access.holds(grant)


def test_a_file_that_breaks_while_it_runs_changes_nothing(tmp_path: Path) -> None:
    made = make(tmp_path)
    held = Held(tmp_path)
    lines: list[str] = []
    sink = logger.add(lines.append, level="ERROR")
    (tmp_path / tokens.FILE).write_text("{")
    for _ in range(5):
        held.clock.advance(1)
        assert held.knows(made)
        assert not held.knows("dh_other")
    logger.remove(sink)
    assert len(lines) == 1
    assert "is damaged" in lines[0]


@pytest.mark.parametrize("broken", [tokens.FILE, tokens.KEY_FILE])
def test_one_that_is_broken_at_the_start_lets_nobody_in_until_it_is_whole(tmp_path: Path, broken: str) -> None:
    made = make(tmp_path)
    path = tmp_path / broken
    whole = path.read_bytes()
    path.write_bytes(b"{")
    lines: list[str] = []
    sink = logger.add(lines.append, level="ERROR")
    held = Held(tmp_path)
    for _ in range(3):
        assert not held.knows(made)
        assert held.knows("the-own-token")
        held.clock.advance(1)
    logger.remove(sink)
    assert len(lines) == 1
    assert "until then no token but our own counts" in lines[0]
    path.write_bytes(whole)
    assert held.knows(made)


def test_it_tells_when_each_was_used(tmp_path: Path) -> None:
    made = make(tmp_path)
    held = Held(tmp_path)
    assert [(row["name"], row["used"]) for row in held.access.used()] == [("a", None), ("http-token", None)]
    held.knows(made)
    assert [row["used"] for row in held.access.used()] == [held.clock.now(), None]
    assert made not in json.dumps(held.access.used())
