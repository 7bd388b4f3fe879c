"""Events over a WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from daemon.sources.websocket import IN_FLIGHT
from tests.http.conftest import desk, port, server, socket_path
from tests.http.stub import AUTH, StubDesk, ask

__all__ = ["desk", "port", "server", "socket_path"]


def event(number: int) -> str:
    return json.dumps({"type": "entry", "symbol": "AAPL", "id": f"e-{number}"})


@pytest.fixture
async def ws(port: int) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://127.0.0.1:{port}/ws", additional_headers=AUTH, proxy=None) as connection:
        yield connection


async def answer(ws: ClientConnection) -> dict[str, object]:
    text = await asyncio.wait_for(ws.recv(), 5)
    assert isinstance(text, str)
    found: dict[str, object] = json.loads(text)
    return found


async def until_seen(desk: StubDesk, count: int) -> None:
    async with asyncio.timeout(5):
        while len(desk.intake.seen) < count:
            desk.intake.changed.clear()
            await desk.intake.changed.wait()


async def test_one_reply_per_frame_as_over_http(ws: ClientConnection, port: int, desk: StubDesk) -> None:
    await ws.send(event(1))
    first = await answer(ws)
    assert (first["id"], first["status"]) == ("e-1", "accepted")
    assert first["deliveries"][0]["result"] == "done"  # type: ignore[index]
    await ws.send(event(1))
    assert await answer(ws) == {"id": "e-1", "status": "duplicate"}
    await ws.send("{}")
    over_http = await ask(port, "POST", "/events", b"{}")
    assert await answer(ws) == over_http.body
    assert desk.intake.seen[0] == (event(1), "websocket")


async def test_binary_is_refused_and_the_conversation_goes_on(ws: ClientConnection, desk: StubDesk) -> None:
    await ws.send(event(1).encode())
    assert await answer(ws) == {
        "status": "invalid", "field": "body", "reason": "send text frames; binary ones are not read",
    }  # fmt: skip
    assert not desk.intake.seen
    await ws.send(event(2))
    assert (await answer(ws))["id"] == "e-2"


async def test_a_reply_that_is_late_delays_no_event_and_keeps_its_place(ws: ClientConnection, desk: StubDesk) -> None:
    desk.intake.hold = True
    for number in range(3):
        await ws.send(event(number))
    await until_seen(desk, 3)
    desk.intake.held[2]()
    desk.intake.held[1]()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ws.recv(), 0.05)
    desk.intake.held[0]()
    assert [(await answer(ws))["id"] for _ in range(3)] == ["e-0", "e-1", "e-2"]


async def test_back_pressure(ws: ClientConnection, desk: StubDesk) -> None:
    desk.intake.hold = True
    for number in range(IN_FLIGHT + 10):
        await ws.send(event(number))
    await until_seen(desk, IN_FLIGHT)
    await ask_around(desk)
    assert len(desk.intake.seen) == IN_FLIGHT
    for number in range(IN_FLIGHT + 10):
        await until_seen(desk, number + 1)
        desk.intake.held[number]()
        assert (await answer(ws))["id"] == f"e-{number}"


async def ask_around(desk: StubDesk) -> None:
    """Long enough for one more event to come in, if one could."""
    desk.intake.changed.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(desk.intake.changed.wait(), 0.1)


async def test_a_frame_that_is_too_large_ends_the_connection(ws: ClientConnection, desk: StubDesk) -> None:
    await ws.send("x" * (64 * 1024 + 1))
    with pytest.raises(ConnectionClosed) as closed:
        await asyncio.wait_for(ws.recv(), 5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    assert not desk.intake.seen


async def test_leaving_with_replies_open_leaves_nothing(port: int, desk: StubDesk) -> None:
    before = asyncio.all_tasks()
    desk.intake.hold = True
    async with connect(f"ws://127.0.0.1:{port}/ws", additional_headers=AUTH, proxy=None) as ws:
        await ws.send(event(1))
        await ws.send(event(2))
        await until_seen(desk, 2)
    await asyncio.wait_for(asyncio.gather(*(asyncio.all_tasks() - before), return_exceptions=True), 5)
    for release in desk.intake.held:
        release()


async def test_no_websocket_elsewhere(port: int) -> None:
    with pytest.raises(Exception, match="404"):
        await connect(f"ws://127.0.0.1:{port}/elsewhere", additional_headers=AUTH, proxy=None)
    assert (await ask(port, "GET", "/ws")).code == 404


@pytest.mark.parametrize(
    ("head", "code"),
    [({}, 401), ({"Authorization": "Bearer a-wrong-one"}, 401), (AUTH | {"Origin": "http://elsewhere"}, 403)],
)
async def test_a_refused_handshake_is_no_error_of_ours(
    port: int, head: dict[str, str], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{port}/ws", additional_headers=head, proxy=None)
    assert refused.value.response.status_code == code
    assert json.loads(refused.value.response.body)["status"] in ("unauthorized", "forbidden")
    assert (await ask(port, "GET", "/health/live")).code == 200
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
