"""The token and its file."""

import errno
import os
from pathlib import Path

import pytest
from loguru import logger
from pydantic import SecretStr

from daemon.errors import ConfigError
from daemon.http import token as module
from daemon.http.token import load_or_make_token
from daemon.settings import HttpSettings

NONE = HttpSettings()


def test_the_setting_comes_first(tmp_path: Path) -> None:
    assert load_or_make_token(tmp_path, HttpSettings(token=SecretStr("set-by-the-user"))) == "set-by-the-user"
    assert not list(tmp_path.iterdir())


def test_made_once(tmp_path: Path) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append)
    first = load_or_make_token(tmp_path / "state", NONE)
    again = load_or_make_token(tmp_path / "state", NONE)
    logger.remove(sink)
    assert first == again
    assert len(first) >= 40
    path = tmp_path / "state" / "http-token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["http-token"]
    assert str(path) in "".join(lines)
    assert first not in "".join(lines)


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "http-token"
    path.touch(0o600)
    assert load_or_make_token(tmp_path, NONE) == path.read_text().strip()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_others_can_read_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "http-token"
    path.write_text("x" * 40)
    path.chmod(mode)
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 600") as refused:
        load_or_make_token(tmp_path, NONE)
    assert "xxx" not in str(refused.value)
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("mode", [0o644, 0o660])
def test_a_mode_that_lets_nobody_in_is_mended(tmp_path: Path, mode: int) -> None:
    """A copy brought back from a backup: its folder kept everybody out, and a stop-loss needs a daemon that starts."""
    tmp_path.chmod(0o700)
    path = tmp_path / "http-token"
    path.write_text("x" * 40)
    path.chmod(mode)
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING")
    assert load_or_make_token(tmp_path, NONE) == "x" * 40
    assert load_or_make_token(tmp_path, NONE) == "x" * 40
    logger.remove(sink)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "".join(lines).count("was not for its owner alone") == 1
    assert "xxx" not in "".join(lines)


@pytest.mark.parametrize("content", [b"short", b"with two words in its text", b"\xff\xfe" * 20, "ä".encode() * 20])
def test_not_a_token(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "http-token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="not a token"):
        load_or_make_token(tmp_path, NONE)


def test_no_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "http-token").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_or_make_token(tmp_path, NONE)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "http-token").mkdir()
    with pytest.raises(ConfigError):
        load_or_make_token(tmp_path, NONE)


def test_nowhere_to_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Read-only file system")

    monkeypatch.setattr(module, "put", refuse)
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING")
    first = load_or_make_token(tmp_path, NONE)
    logger.remove(sink)
    assert len(first) >= 40
    assert "Read-only file system" in "".join(lines)
    assert first not in "".join(lines)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert len(load_or_make_token(tmp_path, NONE)) >= 40
    assert not list(tmp_path.iterdir())
