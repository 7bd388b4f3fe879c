"""A real server on a unix socket, and the command line against it."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import NamedTuple

import pytest

from daemon import cli
from daemon.http.server import LocalServer
from tests.http.conftest import desk, port, server, socket_path

__all__ = ["desk", "port", "server", "socket_path"]


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Coroutine[None, None, Done]]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No daemon to be found: a home of its own and no runtime folders."""
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "DESKHAND_STATE_DIR", "STATE_DIRECTORY", "DESKHAND_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def verb(alone: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a verb in a thread, so that the server in this loop can answer."""
    assert Path.home() == alone

    async def run(*words: str) -> Done:
        code = await asyncio.to_thread(cli.main, words)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def deskhand(verb: Run, server: LocalServer, socket_path: Path) -> Run:
    """A verb against the server of this test."""

    assert server.bound_port

    async def run(*words: str) -> Done:
        return await verb(*words, "--socket", str(socket_path))

    return run


@pytest.fixture
def command() -> list[str]:
    """The command line as a process of its own."""
    return [sys.executable, "-m", "daemon"]
