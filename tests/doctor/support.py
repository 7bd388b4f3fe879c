"""A patient for the doctor: a configuration in a folder of its own, and what is found about it."""

import asyncio
import base64
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import yaml

from daemon.doctor import Check, Outside, Press, examine
from daemon.errors import UnreachableError
from daemon.settings import load
from tests.fakes.listener import listener

Json = dict[str, Any]


def nobody(_: Path, __: str) -> tuple[int, Any]:
    """No daemon answers."""
    raise UnreachableError("deskhand is not running")


class Patient:
    """Settings in `folder`; `examine` returns every check, `found` what was said."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.config: Json = {"state_dir": str(self.state), "http": {"port": 0}} | config
        self.env_file: Path | None = None
        self.environ: dict[str, str] = {"HOME": str(folder)}
        self.ask: Callable[[Path, str], tuple[int, Any]] = nobody
        self.facts: Mapping[str, Any] | None = None
        self.said: list[str] = []

    @property
    def file(self) -> Path:
        """The configuration file."""
        return self.folder / "deskhand.yaml"

    def env(self, mode: int = 0o600, **variables: str) -> Path:
        """Write an `.env`."""
        self.env_file = self.folder / ".env"
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        self.env_file.chmod(mode)
        return self.env_file

    async def examine(self, press: Press | None = None, *, limit_s: float = 10.0) -> list[Check]:
        """What the doctor finds."""
        self.file.write_text(yaml.safe_dump(self.config))
        outside = Outside(environ=self.environ, ask=self.ask, unit=lambda: self.facts, say=self.said.append)
        return await examine(lambda: load(self.file, self.env_file, [], self.environ), outside, press, limit_s=limit_s)

    async def only(self, name: str, **options: Any) -> Check:
        """The one check of this name."""
        found = [check for check in await self.examine(**options) if check.name == name]
        assert len(found) == 1, found
        return found[0]

    async def trouble(self, **options: Any) -> Check:
        """The one thing that fails."""
        found = [check for check in await self.examine(**options) if check.state == "fail"]
        assert len(found) == 1, found
        return found[0]


class Web:
    """An HTTP server on loopback: `answers` maps a path to status, body and headers; it notes what was asked."""

    def __init__(self, answers: Mapping[str, tuple[int, bytes, Mapping[str, str]]], port: int) -> None:
        self.answers = answers
        self.port = port
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closing: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *rest = head.split("\r\n")
            path = line.split()[1]
            headers = {k.lower(): v for k, _, v in (row.partition(": ") for row in rest if row)}
            self.asked.append((path, headers))
            status, body, extra = self.answer(path, headers)
            fields = {"Content-Length": str(len(body)), "Connection": "close"} | dict(extra)
            told = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            writer.write(f"HTTP/1.1 {status} X\r\n{told}\r\n".encode() + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def answer(self, path: str, headers: Mapping[str, str]) -> tuple[int, bytes, Mapping[str, str]]:  # noqa: ARG002
        """What this request gets; for servers that look at it."""
        return self.answers.get(path, (404, b'{"detail": "Not Found"}', {}))


class Hummingbot(Web):
    """The Hummingbot API as far as the doctor asks: `GET /` is open, the rest wants user and password."""

    def answer(self, path: str, headers: Mapping[str, str]) -> tuple[int, bytes, Mapping[str, str]]:
        """Strict about the login."""
        given = "Basic " + base64.b64encode(b"desk:a-good-password").decode()
        if path != "/" and "authorization" not in headers:
            return 401, b'{"detail": "Not authenticated"}', {"WWW-Authenticate": "Basic"}
        if path != "/" and headers["authorization"] != given:
            return 401, b'{"detail": "Incorrect username or password"}', {"WWW-Authenticate": "Basic"}
        return super().answer(path, headers)


class Center(Web):
    """The Command Center as far as the doctor asks: wants the key on every path."""

    def answer(self, path: str, headers: Mapping[str, str]) -> tuple[int, bytes, Mapping[str, str]]:
        """Strict about the key."""
        if headers.get("x-api-key") != "a-good-center-key":
            return 401, b'{"error": "Unauthorized"}', {}
        return super().answer(path, headers)


def said(body: object, status: int = 200, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
    """An answer in JSON."""
    return status, json.dumps(body).encode(), {name.title(): value for name, value in headers.items()}


@asynccontextmanager
async def web(
    answers: Mapping[str, tuple[int, bytes, Mapping[str, str]]],
    kind: type[Web] = Web,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Web]:
    """A running `Web`."""
    found = kind(answers, 0)
    async with listener(found.serve, tls=tls) as found.port:
        yield found


@asynccontextmanager
async def bytes_server(said: bytes, *, hang: bool = False) -> AsyncIterator[int]:
    """Says this as soon as anything is sent to it, then closes, or hangs; its port."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not hang:
                await reader.read(65536)
                writer.write(said)
                await writer.drain()
            else:
                await over.wait()
        except OSError:
            pass
        finally:
            writer.close()

    async with listener(serve) as port:
        try:
            yield port
        finally:
            over.set()


@contextmanager
def deaf() -> Iterator[int]:
    """A port that drops every packet that wants to connect, as a firewall does: its queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


root = os.geteuid() == 0
"""Whether files can be given to other users, and file systems mounted."""
