"""A strict hotkey server for tests: takes what the real one takes, refuses the rest, and has bad habits on request.

As a process it prints its port as its first line and appends one JSON line per key to `--log`, each in a single
O_APPEND write made before anything is answered, so that the file can be trusted after SIGKILL and SIGSTOP:

    python -m tests.fakes.hotkey_server --port 0 --log keys.jsonl --reply ok

In a test it is an async context manager: `async with HotkeyServer(Habits(reply="ok")) as server: server.frames`.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from websockets.frames import CLOSE, PING, TEXT, CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import CONNECTING
from websockets.server import ServerProtocol

_MUTE = logging.getLogger("tests.hotkey_server")
_MUTE.setLevel(logging.CRITICAL)


@dataclass(slots=True)
class Habits:
    """How the server misbehaves; changed at any time, for the connections and keys that follow. Times in seconds."""

    reply: str | None = None
    """Answers each key with this text."""
    reply_after: float = 0.0
    """How long it thinks before that answer."""
    binary: bool = False
    """Answers each key with a binary frame."""
    flood: int = 0
    """Answers each key with one text frame of that many bytes."""
    garbage: bool = False
    """Answers each key with bytes that are no frame."""
    no_close: bool = False
    """Takes the key but never answers the close frame."""
    no_pong: bool = False
    """Never answers a ping."""
    close_after_key: bool = False
    """Closes (1000) by itself after a key."""
    drop_after_key: bool = False
    """Cuts the connection after a key, without a close frame."""
    idle_close: float = 0.0
    """Closes a connection on which nothing arrived for that long."""
    reject: int = 0
    """Answers the handshake with this HTTP status."""
    accept_then_close: bool = False
    """Completes the handshake and closes at once."""
    slow_handshake: float = 0.0
    """Waits before it answers the handshake; negative: never answers it."""


@dataclass(frozen=True, slots=True)
class Press:
    """One key that arrived."""

    monotonic_ns: int
    wall: float
    connection: int
    frame: str


class _Connection(asyncio.Protocol):
    def __init__(self, server: "HotkeyServer") -> None:
        self.server = server
        self.habits = server.habits
        self.number = 0
        self.ws = ServerProtocol(max_size=4096, logger=_MUTE)
        self.idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self.server.opened += 1
        self.number = self.server.opened
        self.server.opened_at.append(time.monotonic())
        self.server.connections.add(self)
        if not self.server.listening:  # accepted in the instant the server stopped
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.server.connections.discard(self)
        if not self.server.connections:
            self.server.empty.set()
        if self.idle:
            self.idle.cancel()

    def data_received(self, data: bytes) -> None:
        self.ws.receive_data(data)
        self._react()

    def eof_received(self) -> bool:
        self.ws.receive_eof()
        self._react()
        return False

    def _react(self) -> None:
        pressed: list[Press] = []
        mute = False
        for event in self.ws.events_received():
            if isinstance(event, Request):
                if self._delayed(lambda request=event: self._accept(request)):  # type: ignore[misc]
                    return
                self._accept(event)
                continue
            assert isinstance(event, Frame)
            if event.opcode is TEXT and event.fin:
                pressed.append(Press(time.monotonic_ns(), time.time(), self.number, bytes(event.data).decode()))
            elif event.opcode is PING:
                self.server.pings += 1
                mute = self.habits.no_pong
            elif event.opcode is CLOSE:
                mute = self.habits.no_close
            else:
                self.server.refused.append(f"opcode {event.opcode.name}")
                self.ws.fail(CloseCode.UNSUPPORTED_DATA, "text only")
        if pressed:
            self.server.record(pressed)
            self._answer(len(pressed))
        if mute:
            self.ws.data_to_send()
        else:
            self._send()
        self._rest()

    def _delayed(self, then: Callable[[], None]) -> bool:
        delay = self.habits.slow_handshake
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, then)
        return delay != 0

    def _accept(self, request: Request) -> None:
        if self.transport.is_closing():
            return
        if self.habits.reject:
            response = self.ws.reject(self.habits.reject, "no\n")
        elif request.path != "/":
            response = self.ws.reject(404, "no such path\n")
        elif "Sec-WebSocket-Protocol" in request.headers or "Sec-WebSocket-Extensions" in request.headers:
            response = self.ws.reject(400, "no subprotocols, no extensions\n")
        else:
            response = self.ws.accept(request)
        if response.status_code != 101:
            self.server.refused.append(f"HTTP {response.status_code}")
        self.server.headers = dict(request.headers.raw_items())
        self.ws.send_response(response)
        if response.status_code == 101 and self.habits.accept_then_close:
            self.ws.send_close(1000)
        self._send()
        self._rest()

    def _answer(self, keys: int) -> None:
        habits = self.habits
        if habits.reply is not None:
            if habits.reply_after:
                asyncio.get_running_loop().call_later(habits.reply_after, self._reply, keys)
            else:
                self._reply(keys)
        if self.ws.close_rcvd:
            return
        if habits.binary:
            self.ws.send_binary(b"\x00\x01")
        if habits.flood:
            self.ws.send_text(b"x" * habits.flood)
        if habits.garbage:
            self._send()
            self.transport.write(b"\xff\xff garbage " * 10)
        if habits.drop_after_key:
            self.transport.abort()
        elif habits.close_after_key:
            self.ws.send_close(1000)

    def _reply(self, keys: int) -> None:
        if self.ws.close_rcvd or self.transport.is_closing():
            self.server.unanswered += keys  # the client had closed already: an answering server cannot reach it
            return
        for _ in range(keys):
            self.ws.send_text((self.habits.reply or "").encode())
        self._send()

    def _send(self) -> None:
        for data in self.ws.data_to_send():
            if data:
                self.transport.write(data)
            elif not self.transport.is_closing():
                self.transport.close()

    def _rest(self) -> None:
        if self.habits.idle_close and self.ws.state is not CONNECTING:
            if self.idle:
                self.idle.cancel()
            self.idle = asyncio.get_running_loop().call_later(self.habits.idle_close, self._tired)

    def _tired(self) -> None:
        if not self.transport.is_closing() and not self.ws.close_sent:
            self.ws.send_close(1000)
            self._send()


class HotkeyServer:
    """The server; `port=0` takes a free one, which stays the same over stop() and start().

    `presses` are the keys in the order of arrival, `opened` counts TCP connections, `refused` says what was refused.
    """

    def __init__(
        self,
        habits: Habits | None = None,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        log: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.habits = habits or Habits()
        self.host = host
        self.port = port
        self.presses: deque[Press] = deque(maxlen=1_000_000)
        self.opened = 0
        self.opened_at: deque[float] = deque(maxlen=100_000)
        self.pings = 0
        self.unanswered = 0
        self.refused: deque[str] = deque(maxlen=1000)
        self.headers: dict[str, str] = {}
        self.connections: set[_Connection] = set()
        self.empty = asyncio.Event()
        self._tls = tls
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if log else -1
        self._server: asyncio.Server | None = None
        self._listening = False

    @property
    def url(self) -> str:
        """Where a client connects."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self._tls else 'ws'}://{host}:{self.port}/"

    @property
    def listening(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._listening

    @property
    def frames(self) -> list[str]:
        """What arrived, in order."""
        return [press.frame for press in self.presses]

    def record(self, pressed: list[Press]) -> None:
        """Keep keys, and write them to the log in one append."""
        self.presses.extend(pressed)
        if self._log >= 0:
            lines = (
                f'{{"monotonic_ns": {p.monotonic_ns}, "wall": {p.wall:.6f}, "connection": {p.connection}, '
                f'"frame": {json.dumps(p.frame)}}}\n'
                for p in pressed
            )
            os.write(self._log, "".join(lines).encode())

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listening = True
        self._server = await loop.create_server(
            lambda: _Connection(self), self.host, self.port, family=family, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        self._listening = False
        if self._server:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.transport.abort()
        if self.connections:
            self.empty.clear()
            await self.empty.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1


async def _serve(server: HotkeyServer) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    async with server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await done.wait()


def main() -> None:
    """Run as a process until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path)
    for field in fields(Habits):
        flag = "--" + field.name.replace("_", "-")
        if field.type is bool:
            parser.add_argument(flag, action="store_true")
        else:
            kind = field.type if field.type in (int, float) else str
            parser.add_argument(flag, type=kind, default=field.default)
    given = vars(parser.parse_args())
    port, log = given.pop("port"), given.pop("log")
    asyncio.run(_serve(HotkeyServer(Habits(**given), port=port, log=log)))


if __name__ == "__main__":
    main()
