"""A daemon without its core: an intake that only remembers, a journal in a list, and clients to ask a real server."""

import asyncio
import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from daemon.errors import EventError, JournalError
from daemon.events import TradeEvent, decode, validate
from daemon.ports import Action, Delivery, Halt, Outcome, Receipt, Result, State, Status

TOKEN = "a-token-for-tests-only"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
ENTRY = b'{"type":"entry","symbol":"aapl","id":"e-1"}'


class StubIntake:
    """Receipts at once, or with `hold` when the test calls `release`; deliveries end as `ends` says, or never."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes | str, str]] = []
        self.receipt: Receipt | None = None
        self.ends: Outcome | None = Outcome(Result.DONE)
        self.hold = False
        self.held: list[Callable[[], None]] = []
        self.waiting = 0
        self.known: dict[str, list[Delivery]] = {}
        self.changed = asyncio.Event()
        self.flushes = 0

    def offer(
        self, raw: bytes | str, origin: str, done: Callable[[Receipt], None], *, ts_required: bool = False
    ) -> None:
        assert not ts_required  # that is for sources that queue
        self.seen.append((raw, origin))
        receipt = self.receipt or self._receipt(raw)
        if self.hold:
            self.held.append(lambda: done(receipt))
        else:
            done(receipt)
        self.changed.set()

    def flush(self) -> None:
        self.flushes += 1

    async def submit(self, raw: bytes | str, origin: str, *, ts_required: bool = False) -> Receipt:
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.offer(raw, origin, answer.set_result, ts_required=ts_required)
        self.flush()
        return await answer

    async def outcomes(self, receipt: Receipt, timeout: float) -> None:
        self.waiting += 1
        self.changed.set()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    while any(delivery.outcome is None for delivery in receipt.deliveries):
                        self.changed.clear()
                        await self.changed.wait()
        finally:
            self.waiting -= 1
            self.changed.set()

    def settle(self, outcome: Outcome) -> None:
        for deliveries in self.known.values():
            for delivery in deliveries:
                delivery.outcome, delivery.state = outcome, State.ENDED
        self.changed.set()

    def _receipt(self, raw: bytes | str) -> Receipt:
        try:
            event = validate(decode(raw))
        except EventError as error:
            return Receipt(Status.INVALID, reason=error.problem, field=error.field)
        if event.id in self.known:
            return Receipt(Status.DUPLICATE, event.id)
        self.known[event.id] = [delivery_of(event, self.ends)]
        return Receipt(Status.ACCEPTED, event.id, deliveries=self.known[event.id])


def delivery_of(event: TradeEvent, end: Outcome | None) -> Delivery:
    return Delivery(
        event=event, number=0, action=Action("hotkeys", "main", ("buy_ask",)), mode="practice", received=1000.0,
        received_boot=10.0, state=State.ENDED if end else State.PLANNED, begun=1 if end else 0,
        confirmed=1 if end else 0, first_byte=1000.0009 if end else 0.0, ended_at=1000.002 if end else 0.0, outcome=end,
    )  # fmt: skip


def record(seq: int, **changes: Any) -> dict[str, Any]:
    """A journal record as the reading side answers it."""
    delivery = {
        "number": 0, "handler": "hotkeys", "target": "main", "steps": ["sell_ask", "cancel_all"], "mode": "practice",
        "state": "ended", "begun": 2, "confirmed": 1, "result": "uncertain", "reason": "no confirmation",
        "first_byte": 1000.0009, "ended_at": 1000.2, "latency_ms": 0.9,
    }  # fmt: skip
    return {
        "seq": seq, "id": f"e/{seq}",
        "type": "tp1", "symbol": "AAPL", "trade": ":AAPL", "ts": 999.5, "received": 1000.0,
        "origin": "unix", "status": "accepted", "reason": "", "event": {"type": "tp1", "price": "189.20"},
        "deliveries": [delivery], **changes,
    }  # fmt: skip


class StubJournal:
    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.asked: dict[str, Any] = {}
        self.broken = False

    def events(self, **asked: Any) -> list[dict[str, Any]]:
        self.asked = asked
        if self.broken:
            raise JournalError("disk full")
        after = asked["after"]
        found = [each for each in self.records if after is None or each["seq"] > after]
        return found[: asked["limit"]] if after is not None else found[-asked["limit"] :]

    def event(self, id: str) -> dict[str, Any] | None:
        return next((each for each in self.records if each["id"] == id), None)


class StubDesk:
    def __init__(self) -> None:
        self.intake = StubIntake()
        self.records = StubJournal()
        self.level: Halt = "none"
        self.reason = ""
        self.unready = ""
        self.rows: list[dict[str, Any]] = []
        self.secret = "canary-in-an-error"
        self.bots_kept: Any = "Hummingbot is not configured"
        self.told: dict[str, Any] | None = None
        self.center_runs: list[dict[str, Any]] = []
        self.flushed = {"waiting": 0, "reason": ""}
        self.reloads: dict[str, Any] = {"status": "unchanged", "changed": []}

    def status(self) -> dict[str, Any]:
        return {
            "mode": "practice", "version": "0.1.0", "uptime_s": 7980.0, "halt": self._halt(),
            "lanes": [{"name": "main", "waiting": 2, "running": "e-7"}],
            "peers": [{"name": "hotkeys:main", "up": False, "reason": "Connection refused"}],
            "journal": {"ok": True, "reason": "", "events": 12, "bytes": 45000, "set_aside": 0}, "mqtt": "off",
            "last_event": None, "polymaker": self.told, "counts": {"accepted": 12, "duplicate": 1},
        }  # fmt: skip

    def _halt(self) -> dict[str, Any]:
        return {"level": self.level, "reason": self.reason, "since": None}

    def ready(self) -> tuple[bool, str]:
        return not self.unready, self.unready

    async def metrics(self) -> bytes:
        return b"deskhand_halted 0\n"

    async def reload(self) -> dict[str, Any]:
        return self.reloads

    async def halt(self, level: Halt, reason: str) -> dict[str, Any]:
        if reason == "break":
            raise RuntimeError(self.secret)
        self.level, self.reason = level, reason
        return self._halt()

    async def runs(self) -> list[dict[str, Any]]:
        return self.center_runs

    async def flush_outbox(self) -> dict[str, Any]:
        return self.flushed

    def bots(self) -> Any:
        return self.bots_kept

    def book(self) -> list[dict[str, Any]]:
        return self.rows

    async def book_set(self, symbol: str, *, open: bool, target: str) -> list[dict[str, Any]]:
        if target not in ("", "main"):
            raise EventError("target", "is not one of hotkeys.targets")
        self.rows = [{"target": target or "main", "symbol": symbol, "open": open, "entry": "done", "trade": ":AAPL"}]
        return self.rows

    async def book_clear(self) -> None:
        self.rows = []


class Reply:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.code = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.raw = response.read()

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@contextlib.contextmanager
def connection(where: int | Path) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection("127.0.0.1", where if isinstance(where, int) else 80, timeout=15)
    if isinstance(where, Path):
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.settimeout(15)
        client.sock.connect(str(where))
    try:
        yield client
    finally:
        client.close()


async def ask(
    where: int | Path, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """One request to a port (with the token) or a unix socket; bytes or an iterable of chunks go as they are."""
    raw = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    sent = dict(AUTH if isinstance(where, int) and headers is None else headers or {})

    def call() -> Reply:
        with connection(where) as client:
            client.request(method, path, raw, sent)
            return Reply(client.getresponse())

    return await asyncio.to_thread(call)


async def exchange(where: int, raw: bytes) -> bytes:
    """Bytes as they are, and everything the server says until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", where)
    try:
        writer.write(raw)
        return await asyncio.wait_for(reader.read(), 15)
    finally:
        writer.transport.abort()  # what the server did not want to read
