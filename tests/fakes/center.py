"""A strict PolyMaker Command Center for tests: takes what the real one takes, refuses the rest, and has bad habits.

In a test it is an async context manager: `async with Center() as center: center.habits["/trade"] = "reset_after"`.
As a process it prints its port as its first line, and appends JSON lines to `--log`, each in a single O_APPEND write
made before anything is answered, so that the file can be trusted after SIGKILL: `bytes` as they came, `call` for each
whole request. Outside `/api/bot` it is steered: `GET /_fake/summary`, `POST /_fake/{habits,script,config,set,away}`;
SIGUSR1 calls it back before its time away is over.

    python -m tests.fakes.center --port 0 --log center.jsonl --habit /trade=reset_after
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urlsplit

import h11

from tests.fakes.center_books import Books
from tests.fakes.center_habits import Habit, config, habit
from tests.fakes.center_privacy import leaks
from tests.fakes.center_wire import Json, plain

BASE = "/api/bot"
KEY = "a-good-center-key"
_LARGEST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes as they came."""

    monotonic_ns: int
    wall: float
    connection: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One request that was read to its end, and how it was answered; `path` without the base, `at` the server's now."""

    at: float
    monotonic_ns: int
    connection: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    raw: bytes
    status: int
    habit: Habit

    @property
    def body(self) -> Any:
        """What was sent, as JSON; None without a body."""
        return json.loads(self.raw) if self.raw else None

    def header(self, name: str) -> str | None:
        """The first of this name."""
        return next((value for key, value in self.headers if key == name.lower()), None)


class _Connection(asyncio.Protocol):
    def __init__(self, center: "Center") -> None:
        self.center = center
        self.number = 0
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
        self.steers: bool | None = None
        self.request: h11.Request | None = None
        self.path = ""
        self.habit = Habit()
        self.raw = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.center.opened += 1
        self.number = self.center.opened
        self.center.connections.add(self)
        if not self.center.listening or self.center.reset_connections:
            self.reset()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self.center.connections.discard(self)
        if not self.center.connections:
            self.center.empty.set()

    def data_received(self, data: bytes) -> None:
        if self.steers is None:
            self.steers = b" /_fake/" in data[:16]
        if not self.steers:
            self.center.note(Received(time.monotonic_ns(), time.time(), self.number, data))
        try:
            self.http.receive_data(data)
            self._react()
        except h11.RemoteProtocolError:
            self.center.garbled += 1
            self.transport.close()

    def eof_received(self) -> bool:
        return False

    def _react(self) -> None:
        while not self.transport.is_closing():
            event = self.http.next_event()
            if isinstance(event, h11.Request):
                whole = urlsplit(event.target.decode("latin-1")).path
                self.path = whole.removeprefix(BASE) if whole.startswith(f"{BASE}/") else f"outside:{whole}"
                self.request, self.raw = event, bytearray()
                self.habit = Habit() if self.steers else self.center.next_habit(self.path)
                if self.habit.cut == "before":
                    self.reset()
            elif isinstance(event, h11.Data):
                self.raw += event.data
                if len(self.raw) > _LARGEST:
                    self.transport.abort()
            elif isinstance(event, h11.EndOfMessage):
                self._whole()
                return
            else:
                return

    def _whole(self) -> None:
        request, raw = self.request, bytes(self.raw)
        assert request is not None
        if self.steers:
            status, answer = self.center.steer(request.method.decode(), self.path.removeprefix("outside:"), raw)
            self._say(status, json.dumps(answer).encode(), "application/json")
            return
        status, body, kind = self.center.call(self.number, request, self.path, raw, self.habit)
        if self.habit.cut == "never":
            return
        asyncio.get_running_loop().call_later(self.habit.after_s, self._answer, status, body, kind)

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        if self.transport.is_closing():
            return
        if self.habit.cut == "after":
            self.reset()
        elif self.habit.raw:
            self.transport.write(self.habit.raw)
            self.transport.close()
        else:
            self._say(status, body, kind)

    def _say(self, status: int, body: bytes, kind: str) -> None:
        fields = self.habit.told(time.time())
        if status != 204:
            fields += [("Content-Type", kind), ("Content-Length", str(len(body)))]
        self.transport.write(self.http.send(h11.Response(status_code=status, headers=fields, reason=b"so")) or b"")
        if self.habit.cut == "midway":
            self.transport.write(body[: len(body) // 2])
            asyncio.get_running_loop().call_later(0.05, self.reset)  # a reset at once would swallow what was said
            return
        for event in (h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.http.send(event) or b"")
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
            self._react()
        else:
            self.transport.close()

    def reset(self) -> None:
        """Cut it so that the other side sees a reset."""
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Center(Books):
    """The server; `port=0` takes a free one, which stays the same over stop() and start(), as does all it knows.

    `habits` holds a habit by path (`*` for every other path) until it is changed, `script()` some for the next
    requests. `received` is every byte, `calls` every whole request; `now` replaces the clock that times are told by.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        key: str = KEY,
        log: Path | None = None,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(config=config())
        self.port, self.host, self.key, self.now = port, host, key, now
        self.habits: dict[str, str | Habit | None] = {}
        self.reset_connections = False
        self.opened = self.garbled = self.refused_keys = 0
        self.received: deque[Received] = deque(maxlen=1_000_000)
        self.calls: deque[Call] = deque(maxlen=1_000_000)
        self.leaks: list[str] = []
        self.connections: set[_Connection] = set()
        self.empty = asyncio.Event()
        self.listening = False
        self._scripts: dict[str, deque[str | Habit | None]] = {}
        self._tls = tls
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if log else -1
        self._server: asyncio.Server | None = None
        self._return: asyncio.Task[None] | None = None
        self.called = asyncio.Event()

    @property
    def url(self) -> str:
        """For `POLYMAKER_URL`."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def script(self, path: str, *habits: str | Habit | None) -> None:
        """The habits of the next requests to this path, one each; then what `habits` says again."""
        self._scripts.setdefault(path, deque()).extend(habits)

    def next_habit(self, path: str) -> Habit:
        """How the request that now begins is treated."""
        for place in (path, "*"):
            if self._scripts.get(place):
                return habit(self._scripts[place].popleft())
        return habit(self.habits.get(path, self.habits.get("*")))

    def asked(self, path: str) -> list[Call]:
        """Whole requests to this path."""
        return [call for call in self.calls if call.path == path]

    def summary(self) -> Json:
        """JSON-ready."""
        calls = [[call.at, call.method, call.path, call.status] for call in self.calls]
        found = super().summary()
        found["violations"] += self.leaks
        return found | {"calls": calls, "opened": self.opened, "refused_keys": self.refused_keys}

    def note(self, received: Received) -> None:
        """Keep bytes."""
        self.received.append(received)
        self._write(
            "bytes",
            monotonic_ns=received.monotonic_ns,
            wall=received.wall,
            connection=received.connection,
            data=received.data.decode("latin-1"),
        )

    def call(
        self, connection: int, request: h11.Request, path: str, raw: bytes, habit: Habit
    ) -> tuple[int, bytes, str]:
        """Let a request take effect, as far as its habit allows; status, body and content type of the answer."""
        method, now = request.method.decode(), self.now()
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers)
        given = dict(headers)
        self.leaks += leaks(path, given, raw, self.key)
        status, kind = habit.status or 500, "application/json"
        answer: Any = None
        sound = given.get("x-api-key") == self.key
        if not sound:
            self.refused_keys += 1
            status, answer = 401, {"error": "Unauthorized"}
        elif habit.takes:
            status, answer = self.take(method, path, given.get("content-type"), raw, now)
            sound = status < 300
            if habit.nested and sound and "runId" in answer:
                answer = {"run": {"id": answer["runId"], "status": "running"}}
        body = json.dumps(plain(answer)).encode()
        if sound:
            status = habit.status or status
            body, kind = (body, kind) if habit.body is None else (habit.body, habit.kind)
        call = Call(now, time.monotonic_ns(), connection, method, path, headers, raw, status, habit)
        self.calls.append(call)
        self._write(
            "call",
            at=now,
            monotonic_ns=call.monotonic_ns,
            connection=connection,
            method=method,
            path=path,
            status=status,
            raw=raw.decode("latin-1"),
        )
        return status, body, kind

    def steer(self, method: str, path: str, raw: bytes) -> tuple[int, Any]:
        """What a test asks of it over HTTP."""
        if (method, path) == ("GET", "/_fake/summary"):
            return 200, self.summary()
        given: Json = json.loads(raw or b"{}")
        match path.removeprefix("/_fake/"):
            case "habits":
                self.habits = given
            case "script":
                for place, habits in given.items():
                    self.script(place, *habits)
            case "config":
                self.config = config(given.get("lists", "array"), **given.get("changes", {}))
            case "set":
                for name, value in given.items():
                    if name not in ("open_runs", "repeat_stop", "late_trades", "score", "reset_connections", "key"):
                        return 404, {"error": name}
                    setattr(self, name, value)
            case "away":
                self._return = asyncio.create_task(self._be_away(float(given["for_s"])), name="center away")
            case _:
                return 404, {"error": path}
        return 200, {}

    async def _be_away(self, for_s: float) -> None:
        await self.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.called.wait(), for_s)
        await self.start()

    def _write(self, kind: str, **line: Any) -> None:
        if self._log >= 0:
            os.write(self._log, (json.dumps({"kind": kind} | line) + "\n").encode())

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self.listening = True
        self._server = await loop.create_server(
            lambda: _Connection(self), self.host, self.port, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        self.listening = False
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
        if self._return:
            self._return.cancel()
            await asyncio.gather(self._return, return_exceptions=True)
        await self.stop()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1
        assert error is not None or not self.leaks, self.leaks


async def _serve(center: Center) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    loop.add_signal_handler(signal.SIGUSR1, center.called.set)
    async with center:
        sys.stdout.write(f"{center.port}\n")
        sys.stdout.flush()
        await done.wait()


def main() -> None:
    """Run as a process until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--habit", action="append", default=[], metavar="PATH=NAME")
    given = parser.parse_args()

    async def run() -> None:
        center = Center(port=given.port, key=given.key, log=given.log)
        for each in given.habit:
            path, _, name = each.partition("=")
            center.habits[path] = name
        await _serve(center)

    asyncio.run(run())


if __name__ == "__main__":
    main()
