"""The fake's wire: HTTP/1.1 as uvicorn speaks it, basic authentication, the record of every request."""

import asyncio
import base64
import binascii
import itertools
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes.hummingbot import contract, routes, trading
from tests.fakes.hummingbot.bots import Bots
from tests.fakes.hummingbot.checks import Checked, check
from tests.fakes.hummingbot.errors import CrashError, RefusalError
from tests.fakes.hummingbot.exchange import Exchange
from tests.fakes.hummingbot.habits import Habits, Traps
from tests.fakes.hummingbot.relay import Relay
from tests.fakes.hummingbot.routes import Call, Server
from tests.fakes.hummingbot.sockets import serve_socket

_TABLE = routes.TABLE | trading.TABLE


@dataclass(slots=True)
class Asked:
    """One request as it came; `status` is what was answered, 0 for a connection cut without an answer."""

    at: float
    connection: int
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    route: str = ""
    """As the contract writes it; "" for what is not in it."""

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass(slots=True)
class _Reply:
    status: int
    body: bytes
    kind: str = "application/json"
    dead: bool = False
    """The connection behaves as if nothing had happened, and is dead."""


class _ResetError(Exception):
    """Cut the connection without an answer."""


@dataclass(eq=False)
class HummingbotServer:
    """The server; `port=0` takes a free one, which stays the same over stop(), start() and restart().

    `asked` is every request in order, `violations` what no correct client does, `floats` the amounts of money that came
    as floats. `broker` is the port of a real MQTT broker that its bots publish to and it listens at.
    """

    traps: Traps = field(default_factory=Traps)
    habits: Habits = field(default_factory=Habits)
    user: str = "desk"
    password: str = "hb-secret-password"
    port: int = 0
    host: str = "127.0.0.1"
    broker: int | None = None
    log: Path | None = None

    def __post_init__(self) -> None:
        self.skew = 0.0
        self.asked: list[Asked] = []
        self.violations: list[str] = []
        self.floats: list[str] = []
        self.bots = Bots(self.traps, self.habits, self.now)
        self.exchange = Exchange(self.habits, self.now)
        self.state = Server(self.traps, self.habits, self.now, asyncio.sleep, self.bots, self.exchange)
        self.opened = 0
        self.thinking = 0
        """How many requests were ever thought about, see `habits.think_s`."""
        self.sockets: list[Any] = []
        """Open websockets, see `sockets.Socket`."""
        self.feed: dict[tuple[str, str], list[dict[str, Any]]] = {}
        """Trades of the market by connector and pair, for `/ws/market-data`."""
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._relay: Relay | None = None
        self._log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if self.log else -1

    def now(self) -> float:
        """The server's time, seconds since the epoch."""
        return time.time() + self.skew

    def pass_time(self, seconds: float) -> None:
        """Let its time pass; bots that talk have talked all the while."""
        self.bots.refresh()
        self.skew += seconds
        self.bots.refresh()

    @property
    def url(self) -> str:
        """What a user sets as HUMMINGBOT_API_URL."""
        return f"http://{self.host}:{self.port}"

    @property
    def calls(self) -> list[str]:
        """What was asked, as `METHOD /route/{of}/the/contract`."""
        return [f"{asked.method} {asked.route or asked.path}" for asked in self.asked]

    def count(self, call: str) -> int:
        """How often a route was asked."""
        return self.calls.count(call)

    def clean(self) -> None:
        """Fails when a client broke the contract."""
        assert not self.violations, self.violations
        assert not self.floats, f"amounts as floats: {self.floats}"

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        if self.broker is not None and self._relay is None:
            self._relay = Relay(self.broker, self.bots, self.habits, self.now)
            await asyncio.to_thread(self._relay.start)
        self._server = await asyncio.start_server(self._connected, self.host, self.port, limit=2**20, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server:
            self._server.close()
            self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def restart(self) -> None:
        """The API process dies and starts again: executors are lost, names heard over MQTT are forgotten."""
        await self.stop()
        self.bots.restart()
        self.exchange.restart()
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if self._relay:
            await asyncio.to_thread(self._relay.stop)
            self._relay = None
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    @property
    def relay(self) -> Relay:
        """The bots' own voices over MQTT; only with a broker."""
        assert self._relay is not None, "there is no broker"
        return self._relay

    # One connection.

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.opened += 1
        number = self.opened
        try:
            dead = False
            while asked := await self._read(reader, number):
                if dead:
                    break
                if asked.headers.get("upgrade", "").lower() == "websocket":
                    self._keep(asked, 101)
                    await serve_socket(self, asked, reader, writer)
                    break
                reply = await self._reply(asked)
                self._keep(asked, reply.status)
                self._write(writer, reply)
                await writer.drain()
                dead = reply.dead
                if asked.headers.get("connection", "").lower() == "close":
                    break
        except (_ResetError, asyncio.CancelledError):
            writer.transport.abort()
        except (OSError, EOFError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Asked | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        line, *rest = head.rstrip("\r\n").split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path, _, query = target.partition("?")
        return Asked(self.now(), number, method, path, query, headers, body)

    def _keep(self, asked: Asked, status: int) -> None:
        asked.status = status
        self.asked.append(asked)
        if self._log >= 0:
            line = asdict(asked) | {"body": asked.body.decode("latin-1")}
            os.write(self._log, (json.dumps(line) + "\n").encode())

    @staticmethod
    def _write(writer: asyncio.StreamWriter, reply: _Reply) -> None:
        more = "www-authenticate: Basic\r\n" if reply.status == 401 else ""
        writer.write(
            f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\nserver: uvicorn\r\n{more}"
            f"content-length: {len(reply.body)}\r\ncontent-type: {reply.kind}\r\n\r\n".encode()
            + reply.body
        )

    # One request.

    async def _reply(self, asked: Asked) -> _Reply:
        if "authorization" in asked.query or "password" in asked.query or "token=" in asked.query:
            self._violation(asked, "credentials in the address")
        found = self._find(asked)
        if isinstance(found, _Reply):
            return found
        route, names = found
        asked.route = route.path
        if route.auth and (refused := self.login(asked.headers)):
            return _json({"detail": refused}, 401)
        if given := self.habits.answer.get(route.key):
            return _Reply(given[0], given[2], given[1])
        checked = check(route, asked.query, asked.body, asked.headers, closed=not self.traps.ignores_unknown)
        for words in checked.strange:
            self._violation(asked, words)
        self.floats += [f"{asked.method} {route.path}: {name}" for name in checked.floats]
        if checked.errors:
            self._violation(asked, f"422 {checked.errors[0]['loc']}")
            return _json({"detail": checked.errors}, 422)
        if route.money and any(one.connection == asked.connection for one in self.asked):
            self._violation(asked, "money moved on a connection that was used before")
        return await self._perform(asked, route, names, checked)

    def _find(self, asked: Asked) -> tuple[contract.Route, dict[str, str]] | _Reply:
        for path in (asked.path, *((asked.path + "/", asked.path.rstrip("/")) if not self.traps.slashes else ())):
            if found := contract.find(asked.method, path):
                return found
        if asked.path == "/health" and not self.traps.no_health:
            return _json({"status": "healthy"}, 200)
        known = contract.methods(asked.path)
        self._violation(asked, f"not in the contract; there is {', '.join(sorted(known)) or 'nothing'} at this path")
        return _json({"detail": "Method Not Allowed"}, 405) if known else _json({"detail": "Not Found"}, 404)

    async def _perform(self, asked: Asked, route: contract.Route, names: dict[str, str], checked: Checked) -> _Reply:
        done: Callable[[Server, Call], Any] = _TABLE[route.key]
        reset = self.habits.reset.get(route.key)
        if reset == "lost":
            self._keep(asked, 0)
            raise _ResetError
        if think := self.habits.think_s.get(route.key):
            self.thinking += 1
            await asyncio.sleep(think)
        try:
            answer = done(self.state, Call(names, checked.query, checked.body if checked.body is not None else {}))
            if asyncio.iscoroutine(answer):
                answer = await answer
            reply = _json(answer, route.done)
        except RefusalError as refusal:
            reply = _json({"detail": refusal.detail}, refusal.status)
        except CrashError as crash:
            if self.traps.plain_500:
                words, kind = b"Internal Server Error", "text/plain; charset=utf-8"
                reply = _Reply(500, words, kind, dead=self.traps.drop_after_500)
            else:
                reply = _json({"detail": crash.detail}, crash.status)
        if reset == "done":
            self._keep(asked, 0)
            raise _ResetError
        return reply

    def login(self, headers: dict[str, str]) -> str:
        """Why a request is not let in; "" when it is."""
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return "Not authenticated"
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "Invalid authentication credentials"
        return "" if (user, password) == (self.user, self.password) else "Incorrect username or password"

    def _violation(self, asked: Asked, words: str) -> None:
        self.violations.append(f"{asked.method} {asked.path}: {words}")


def _json(answer: Any, status: int) -> _Reply:
    return _Reply(status, json.dumps(answer, default=_plain, separators=(",", ":")).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(type(value).__name__)
