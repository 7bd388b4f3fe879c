"""How often a token may be used, and how slowly wrong ones are answered."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from loguru import logger
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from daemon.control.routes import routes as control_routes
from daemon.http import auth, rates, tokens
from daemon.http.rates import FORGET_S, FREE, LONGEST_S, Bucket, Slowdown, is_exit
from daemon.http.server import LocalServer
from daemon.settings import HttpSettings
from daemon.sources import webhook, websocket
from tests.dispatch.support import SetClock, until
from tests.http.stub import AUTH, TOKEN, Reply, StubDesk, ask


def test_a_bucket() -> None:
    bucket = Bucket(2.0, 100.0)
    assert [bucket.take(100.0) for _ in range(2)] == [0.0, 0.0]
    assert bucket.take(100.0) == pytest.approx(0.5)
    assert bucket.take(100.4) == pytest.approx(0.1)
    assert bucket.take(100.51) == 0.0
    slow = Bucket(0.1, 0.0)
    assert slow.take(0.0) == 0.0
    assert slow.take(5.0) == pytest.approx(5.0)
    assert slow.take(10.1) == 0.0


def test_the_slowdown_grows_and_is_forgotten() -> None:
    slowdown = Slowdown()
    delays = [slowdown.failed(1000.0) for _ in range(30)]
    assert delays[:FREE] == [0.0] * FREE
    assert delays[FREE] > 0
    assert sorted(delays) == delays
    assert delays[-1] == LONGEST_S
    assert 0 < slowdown.failed(1000.0 + FORGET_S) < LONGEST_S
    assert slowdown.failed(1000.0 + 20 * FORGET_S) == 0.0


@pytest.mark.parametrize(
    ("body", "exits"),
    [
        (b'{"type":"sl","symbol":"A"}', True), (b'{"type" : "close"}', True), ('{"type":"sl"}', True),
        (rb'{"type":"\u0073l"}', True), (rb'{"ty\u0070e":"close"}', True),
        (b'{"type":"entry"}', False), (b'{"type":"entry","meta":{"x":"sl"}}', False), (b'{"symbol":"sl"}', False),
        (b'{"type":"SL"}', False), (b'{"type":["sl"]}', False), (b'"sl"', False), (b'["sl"]', False), (b"", False),
        (b'{"type":"sl","type":"entry"}', False), (b'{"type":"sl"', False), (b'\xff"sl"', False),
        (b'{"type":"sl","x":' + b"[" * 60_000, False), ('{"type":"\ud800"}', False),
    ],
)  # fmt: skip
def test_what_is_an_exit(body: bytes | str, exits: bool) -> None:
    assert is_exit(body) is exits


class Desk:
    """A server with tokens of its own, and what it counted; its clock stands still, so that no rate recovers."""

    def __init__(self, folder: Path, desk: StubDesk) -> None:
        self.state = folder / "state"
        self.failed: list[str] = []
        self.clock = SetClock()
        self.slow = self.make("slow", rate=1.0)
        routes = [*webhook.routes(desk.intake), *websocket.routes(desk.intake), *control_routes(desk)]
        self.server = LocalServer(
            HttpSettings(port=0), folder / "s", TOKEN, routes, self.clock, state=self.state, failed=self.failed.append
        )

    def make(self, name: str, role: str = "ingest", rate: float | None = None, expires: float | None = None) -> str:
        return tokens.add(self.state, name, role, 1.0, expires=expires, rate=rate)  # type: ignore[arg-type]  # is one

    async def ask(self, token: str, method: str, path: str, body: bytes | None = None) -> Reply:
        return await ask(self.server.bound_port, method, path, body, {"Authorization": f"Bearer {token}"})


@pytest.fixture
async def at(tmp_path: Path, desk: StubDesk) -> AsyncIterator[Desk]:
    made = Desk(tmp_path, desk)
    await made.server.start()
    yield made
    await made.server.stop()


def event(kind: str, number: int) -> bytes:
    return json.dumps({"type": kind, "symbol": "AAPL", "id": f"{kind}-{number}"}).encode()


async def test_too_many_events_but_never_too_many_exits(at: Desk, desk: StubDesk) -> None:
    assert (await at.ask(at.slow, "POST", "/events", event("entry", 0))).code == 202
    reply = await at.ask(at.slow, "POST", "/events", event("entry", 1))
    assert (reply.code, reply.body) == (429, {"status": "limited", "reason": "this token may be used 1 times a second"})
    assert reply.headers["retry-after"] == "1"
    at.clock.advance(1)
    assert (await at.ask(at.slow, "POST", "/events", event("entry", 3))).code == 202
    for number in range(20):
        for kind in ("sl", "close"):
            assert (await at.ask(at.slow, "POST", "/events", event(kind, number))).code == 202
    assert len(desk.intake.seen) == 42
    assert (await ask(at.server.bound_port, "POST", "/events", event("entry", 2))).code == 202


async def test_frames_count_each(at: Desk, desk: StubDesk) -> None:
    head = {"Authorization": f"Bearer {at.slow}"}
    async with connect(f"ws://127.0.0.1:{at.server.bound_port}/ws", additional_headers=head, proxy=None) as socket:
        for each in (event("entry", 0), event("entry", 1), event("sl", 0), event("tp1", 0), event("close", 0)):
            await socket.send(each.decode())
        said = [json.loads(await socket.recv()) for _ in range(5)]
        assert [each["status"] for each in said] == ["accepted", "limited", "accepted", "limited", "accepted"]
        assert 0 < said[1]["retry_after"] <= 1
        tokens.remove(at.state, "slow")
        at.clock.advance(1)
        with pytest.raises(ConnectionClosed) as closed:
            await _on_and_on(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
    assert len(desk.intake.seen) >= 3


async def _on_and_on(socket: ClientConnection) -> None:
    for _ in range(10):
        await socket.send(event("sl", 9).decode())
        await socket.recv()


async def test_a_read_token_has_a_limit_of_its_own_and_steering_has_none(at: Desk) -> None:
    read, steer = at.make("r", "read"), at.make("c", "control", 0.001)
    codes = [(await at.ask(read, "GET", "/status")).code for _ in range(60)]
    assert codes == [200] * 20 + [429] * 40
    assert [(await at.ask(steer, "GET", "/status")).code for _ in range(2)] == [200, 429]
    assert [(await at.ask(steer, "POST", "/halt")).code for _ in range(3)] == [200] * 3


async def test_an_expired_token_is_told_so(at: Desk) -> None:
    old = at.make("old", expires=2.0)
    reply = await at.ask(old, "POST", "/events", event("sl", 0))
    assert (reply.code, reply.body["reason"]) == (401, "this token has expired")
    assert at.failed == ["expired"]


async def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(
    at: Desk, desk: StubDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING")
    began = time.monotonic()
    took = []
    for number in range(FREE + 4):
        before = time.monotonic()
        assert (await at.ask(f"dh_canary{number}", "GET", "/status")).code == 401
        took.append(time.monotonic() - before)
    assert time.monotonic() - began >= 0.7
    assert took[-1] >= 0.35
    monkeypatch.setattr(rates, "LONGEST_S", 600.0)
    monkeypatch.setattr(rates, "_FIRST_S", 600.0)
    before, held = time.monotonic(), len(at.failed)
    wrong = [asyncio.create_task(at.ask("dh_canary", "GET", "/status")) for _ in range(3)]  # each takes a thread
    await until(lambda: len(at.failed) == held + 3)
    assert (await at.ask(TOKEN, "POST", "/events", event("sl", 0))).code == 202
    assert (await at.ask(at.slow, "POST", "/events", event("sl", 1))).code == 202
    assert not any(task.done() for task in wrong)
    await at.server.stop()  # and stopping does not wait for them
    assert time.monotonic() - before < 10
    assert {reply.code for reply in await asyncio.gather(*wrong)} == {401}
    logger.remove(sink)
    assert set(at.failed) == {"wrong"}
    assert "a wrong token was sent" in lines[0]
    assert "canary" not in "".join(lines)
    assert len(desk.intake.seen) == 2


async def test_only_so_many_are_held_back(at: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "HELD", 2)
    monkeypatch.setattr(rates, "_FIRST_S", 1.0)
    replies = await asyncio.gather(*(at.ask("dh_wrong", "GET", "/status") for _ in range(16)))
    codes = [reply.code for reply in replies]
    assert set(codes) == {401, 429}
    assert codes.count(429) >= 6
    full = next(reply for reply in replies if reply.code == 429)
    assert full.headers["retry-after"] == "2"
    assert (await ask(at.server.bound_port, "GET", "/status", None, AUTH)).code == 200


async def test_nobody_is_slowed_down_for_no_token_at_all(at: Desk) -> None:
    before = time.monotonic()
    for _ in range(20):
        assert (await ask(at.server.bound_port, "GET", "/status", None, {})).code == 401
    assert time.monotonic() - before < 5, "wrong ones would take 25 s"
    assert at.failed == ["missing"] * 20
