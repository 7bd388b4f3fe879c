"""Finding the daemon, and the exit codes."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from daemon.cli.client import Client, candidates
from daemon.errors import UnreachableError
from daemon.http.server import LocalServer
from daemon.settings import HttpSettings
from tests.cli.conftest import Run
from tests.http.stub import TOKEN

ROOT = Path(__file__).parents[2]


def test_where_it_looks() -> None:
    found = candidates({"RUNTIME_DIRECTORY": "/run/x:/run/y", "XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/home/u"})
    assert [str(path) for path in found][:2] == ["/run/x/deskhand.sock", "/run/user/7/deskhand/deskhand.sock"]
    assert [str(path) for path in candidates({"DESKHAND_STATE_DIR": "/var/s"})] == [
        "/var/s/deskhand.sock",
        "/run/deskhand/deskhand.sock",
    ]
    assert next(candidates({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"})) == Path("/var/lib/a/deskhand.sock")


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    assert next(candidates({})) == Path("/home/u/.local/state/deskhand/deskhand.sock")


async def test_nobody_there(verb: Run, alone: Path) -> None:
    done = await verb("status")
    assert done.code == 69
    assert done.out == ""
    assert done.err.startswith("deskhand is not running: no socket at ")
    assert str(alone / ".local/state/deskhand/deskhand.sock") in done.err
    assert done.err.endswith("; start it with `deskhand run`\n")


@pytest.mark.parametrize(
    "words", [["emit", "sl", "AAPL"], ["events"], ["show", "x"], ["halt"], ["resume"], ["book", "show"]]
)
async def test_nobody_there_for_any_verb(verb: Run, words: list[str]) -> None:
    assert (await verb(*words)).code == 69


async def test_a_socket_left_behind_is_passed_over(verb: Run, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = alone / "xdg" / "deskhand" / "deskhand.sock"
    dead.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(dead))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(alone / "xdg"))
    assert (await verb("status")).code == 69
    server = LocalServer(HttpSettings(port=0), alone / ".local/state/deskhand/deskhand.sock", TOKEN, [])
    await server.start()
    done = await verb("status")
    assert (done.code, done.err) == (1, "not_found: there is no such path\n")
    await server.stop()


async def test_a_state_folder_that_only_the_configuration_knows(verb: Run, alone: Path) -> None:
    (alone / "deskhand.yaml").write_text(f"state_dir: {alone}/elsewhere\n")
    server = LocalServer(HttpSettings(port=0), alone / "elsewhere" / "deskhand.sock", TOKEN, [])
    await server.start()
    assert (await verb("status")).code == 1
    await server.stop()


async def test_a_socket_of_others(verb: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:  # the loop of this test makes sockets too
        patch.setattr("daemon.cli.client.socket.socket", lambda *_: _Refusing())
        done = await verb("status", "--socket", "/run/deskhand/deskhand.sock")
    assert done.code == 69
    assert "is not yours to use" in done.err


class _Refusing:
    def settimeout(self, _: float) -> None: ...

    def connect(self, _: str) -> None:
        raise PermissionError(13, "Permission denied")

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "is not deskhand"),
        (b"nonsense\r\n\r\n", "closed the connection"),
    ],
)
async def test_answers_that_are_none(tmp_path: Path, answer: bytes, says: str) -> None:
    calls = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    with pytest.raises(UnreachableError, match=says):
        await asyncio.to_thread(Client(tmp_path / "s").call, "GET", "/status")
    assert calls == 1  # and never a second try
    server.close()
    await server.wait_closed()


async def test_no_answer_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "s"))
        deaf.listen()

        def call() -> None:
            Client(tmp_path / "s").call("GET", "/status", timeout=0.05)

        with pytest.raises(UnreachableError, match=r"within 0\.05 s"):
            await asyncio.to_thread(call)


@pytest.mark.parametrize("verb_name", ["status", "emit", "events", "show", "halt", "resume", "book"])
async def test_verbs_load_nothing_heavy(verb_name: str) -> None:
    heavy = {"pydantic", "uvicorn", "starlette", "loguru", "yaml", "asyncio", "daemon.settings"}
    code = f"import sys, daemon.cli as c; c.parser({verb_name!r}); print(*sorted({heavy!r} & set(sys.modules)))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    out, _ = await process.communicate()
    assert (process.returncode, out.strip()) == (0, b"")
