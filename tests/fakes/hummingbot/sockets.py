"""The two websockets: accepted first, then asked for the password; heartbeats; pushes when something changed."""

import asyncio
import hashlib
import itertools
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from websockets.frames import TEXT, Frame
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.fakes.hummingbot.contract import SOCKETS
from tests.fakes.hummingbot.errors import CrashError, RefusalError
from tests.fakes.hummingbot.trading import book

if TYPE_CHECKING:
    from tests.fakes.hummingbot.server import Asked, HummingbotServer

_MUTE = logging.getLogger("tests.hummingbot")
_MUTE.setLevel(logging.CRITICAL)
_NUMBERS = itertools.count(1)
_MADE_OF_BOTS = ("bot_status", "all_bots_status")
_OF_EXECUTORS = ("executors", "executor_detail", "executor_summary", "performance", "positions", "executor_logs")
_OF_MARKETS = ("order_book", "trades", "candles")

Message = dict[str, Any]


class Socket:
    """One connection; `subscribed` are its subscriptions by id."""

    def __init__(self, server: "HummingbotServer", path: str, ws: ServerProtocol, writer: asyncio.StreamWriter) -> None:
        self.server, self.path, self._ws, self._writer = server, path, ws, writer
        self.id = f"c{next(_NUMBERS):07d}"
        self.subscribed: dict[str, asyncio.Task[None]] = {}
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        """Send one message."""
        self.sent.append(message)
        self._ws.send_text(json.dumps(message, default=str).encode())
        self.flush()

    def garbage(self, data: bytes) -> None:
        """Send what is no JSON."""
        self._ws.send_text(data)
        self.flush()

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake."""
        self._ws.send_close(code, reason)
        self.flush()

    def cut(self) -> None:
        """Gone, without a word."""
        self._writer.transport.abort()

    def flush(self) -> None:
        """Put on the wire what the protocol has to say."""
        for data in self._ws.data_to_send():
            if data:
                self._writer.write(data)
            elif self._writer.can_write_eof():
                self._writer.write_eof()

    def hear(self, message: Any) -> None:
        """What a client says."""
        action = message.get("action") if isinstance(message, dict) else None
        if action == "ping":
            self.send({"type": "pong", "timestamp": self.server.now()})
        elif action == "unsubscribe":
            self._unsubscribe(str(message.get("subscription_id")))
        elif action == "subscribe":
            self._subscribe(message)
        else:
            self._refuse(f"Unknown action: {action}. Valid actions: subscribe, unsubscribe, ping")

    def _refuse(self, words: str) -> None:
        self.server.violations.append(f"{self.path}: {words}")
        self.send({"type": "error", "message": words})

    def _unsubscribe(self, name: str) -> None:
        task = self.subscribed.pop(name, None)
        if task:
            task.cancel()
            self.send({"type": "unsubscribed", "subscription_id": name})
        else:
            self._refuse(f"No subscription found: {name}")

    def _subscribe(self, message: Message) -> None:
        kind = str(message.get("type"))
        markets = self.path == "/ws/market-data"
        if kind not in (_OF_MARKETS if markets else (*_OF_EXECUTORS, *_MADE_OF_BOTS)):
            return self._refuse(f"Unknown subscription type: {kind}")
        wanted = {"bot_status": ["bot_name"], "executor_detail": ["executor_id"], "executor_logs": ["executor_id"]}
        needed = ["connector", "trading_pair"] if markets else wanted.get(kind, [])
        if any(not message.get(name) for name in needed):
            return self._refuse(f"{kind} requires {needed}")
        name = "_".join([kind, *(str(message[each]) for each in needed)])
        every = min(60.0, max(0.25, float(message.get("update_interval") or (1.0 if markets else 2.0))))
        if name in self.subscribed:
            self.subscribed[name].cancel()
        look = self._market(kind, message) if markets else self._watch(kind, message)
        self.send(
            {"type": "subscribed", "subscription_id": name}
            | ({} if markets else {"subscription_type": kind, "update_interval": every})
        )
        push = self._push(kind, name, every, look, first=not markets)
        self.subscribed[name] = asyncio.create_task(push, name=f"push {name}")
        return None

    async def _push(
        self, kind: str, name: str, every: float, look: Callable[[], Message | None], *, first: bool
    ) -> None:
        last = ""
        while True:
            if not first:
                await asyncio.sleep(every)
            first = False
            found = look()
            if found is None:
                continue
            text = json.dumps(found, sort_keys=True, default=str)
            now = hashlib.sha256(text.encode()).hexdigest()
            if now != last:
                last = now
                self.send({"type": kind, "subscription_id": name, **found, "timestamp": self.server.now()})

    def _watch(self, kind: str, message: Message) -> Callable[[], Message | None]:
        bots, exchange = self.server.bots, self.server.exchange
        if kind == "all_bots_status":
            names = ("status", "source", "performance", "recently_active")

            def all_bots() -> Message:
                data = {bot: {name: row[name] for name in names} for bot, row in bots.all().items()}
                return {"data": data, "bot_count": len(data)}

            return all_bots
        if kind == "bot_status":
            name = str(message["bot_name"])
            nobody = {"status": "not_found", "error": f"Bot {name} not found"}
            return lambda: {"bot_name": name, "data": bots.status(name) if name in bots.listed() else nobody}
        if kind == "executors":
            return lambda: {"data": list(exchange.executors.values()), "total_count": len(exchange.executors)}
        if kind == "executor_detail":
            return lambda: {"data": exchange.executors.get(str(message["executor_id"]))}
        if kind == "positions":
            return lambda: {"data": list(exchange.position_rows())}
        return lambda: {"data": {"total_active": sum(bool(e["is_active"]) for e in exchange.executors.values())}}

    def _market(self, kind: str, message: Message) -> Callable[[], Message | None]:
        key = (str(message["connector"]), str(message["trading_pair"]))
        if kind == "order_book":

            def order_book() -> Message | None:
                try:
                    levels = book(self.server.exchange.price(*key), int(message.get("depth") or 10))
                except (RefusalError, CrashError):
                    return None
                return {"data": {side: [[row["price"], row["amount"]] for row in levels[side]] for side in levels}}

            return order_book
        told = [len(self.server.feed.get(key, ()))]

        def trades() -> Message | None:
            rows = self.server.feed.get(key, [])[told[0] :]
            told[0] += len(rows)
            return {"data": rows} if rows else None

        return trades


async def _heartbeat(socket: Socket) -> None:
    while True:
        await asyncio.sleep(socket.server.habits.heartbeat_s)
        socket.send({"type": "heartbeat", "timestamp": socket.server.now()})


async def serve_socket(
    server: "HummingbotServer", asked: "Asked", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one connection to its end."""
    ws = ServerProtocol(max_size=65536, logger=_MUTE)
    head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
    ws.receive_data(f"GET {asked.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
    (request,) = ws.events_received()
    assert isinstance(request, Request)
    socket = Socket(server, asked.path, ws, writer)
    if asked.path not in SOCKETS:
        server.violations.append(f"no websocket at {asked.path}")
        ws.send_response(ws.reject(403, ""))
        return socket.flush()
    if asked.query:
        server.violations.append(f"{asked.path}: {', '.join(parse_qs(asked.query))} in the address")
    ws.send_response(ws.accept(request))
    socket.flush()
    if server.login(asked.headers):
        socket.send({"type": "error", "message": "Authentication failed"})
        socket.close(4001, "Authentication failed")
    else:
        socket.send({"type": "connected", "connection_id": socket.id, "timestamp": server.now()})
        server.sockets.append(socket)
    beat = asyncio.create_task(_heartbeat(socket), name=f"heartbeat {socket.id}")
    try:
        while data := await reader.read(65536):
            ws.receive_data(data)
            for event in ws.events_received():
                if isinstance(event, Frame) and event.opcode is TEXT:
                    socket.hear(json.loads(bytes(event.data)))
            socket.flush()
    finally:
        for task in (beat, *socket.subscribed.values()):
            task.cancel()
        if socket in server.sockets:
            server.sockets.remove(socket)
    return None
