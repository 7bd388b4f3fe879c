"""Events over HTTP and the unix socket."""

import asyncio
import http.client
import socket
from pathlib import Path

import pytest

from daemon.ports import Outcome, Receipt, Result, Status
from tests.http.conftest import desk, port, server, socket_path
from tests.http.stub import AUTH, ENTRY, TOKEN, StubDesk, ask

__all__ = ["desk", "port", "server", "socket_path"]


async def test_accepted(port: int, desk: StubDesk) -> None:
    reply = await ask(port, "POST", "/events", ENTRY)
    assert reply.code == 202
    assert reply.headers["content-type"] == "application/json"
    assert reply.body == {
        "id": "e-1",
        "status": "accepted",
        "deliveries": [
            {
                "number": 0, "handler": "hotkeys", "target": "main", "steps": ["buy_ask"], "mode": "practice",
                "state": "ended", "begun": 1, "confirmed": 1, "result": "done", "first_byte": 1000.0009,
                "latency_ms": 0.9,
            }
        ],
    }  # fmt: skip
    assert desk.intake.seen == [(ENTRY, "http")]
    assert desk.intake.flushes == 1


@pytest.mark.usefixtures("server")
async def test_over_the_unix_socket(socket_path: Path, desk: StubDesk) -> None:
    assert (await ask(socket_path, "POST", "/events", ENTRY)).code == 202
    assert desk.intake.seen == [(ENTRY, "unix")]


async def test_duplicate(port: int) -> None:
    await ask(port, "POST", "/events", ENTRY)
    reply = await ask(port, "POST", "/events", ENTRY)
    assert (reply.code, reply.body) == (200, {"id": "e-1", "status": "duplicate"})


@pytest.mark.parametrize(
    ("receipt", "code", "body"),
    [
        (Receipt(Status.REFUSED, "a", "too old"), 409, {"id": "a", "status": "refused", "reason": "too old"}),
        (
            Receipt(Status.CONFLICT, "a", "this id came before with another body"), 409,
            {"id": "a", "status": "refused", "reason": "this id came before with another body"},
        ),
        (
            Receipt(Status.INVALID, field="price", reason="must be positive"), 422,
            {"status": "invalid", "field": "price", "reason": "must be positive"},
        ),
        (Receipt(Status.UNAVAILABLE, reason="disk full"), 503, {"status": "unavailable", "reason": "disk full"}),
        (Receipt(Status.ACCEPTED, "a"), 202, {"id": "a", "status": "accepted", "deliveries": []}),
    ],
)  # fmt: skip
async def test_other_answers(port: int, desk: StubDesk, receipt: Receipt, code: int, body: object) -> None:
    desk.intake.receipt = receipt
    reply = await ask(port, "POST", "/events?wait=5", ENTRY)
    assert (reply.code, reply.body) == (code, body)
    assert reply.headers.get("retry-after") == ("1" if code == 503 else None)


async def test_refused_by_the_guard(port: int, desk: StubDesk) -> None:
    desk.intake.ends = Outcome(Result.REFUSED, "MSFT is open at main")
    reply = await ask(port, "POST", "/events", ENTRY)
    assert reply.code == 409
    assert (reply.body["status"], reply.body["reason"]) == ("refused", "MSFT is open at main")
    assert reply.body["deliveries"][0]["result"] == "refused"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json; charset=utf-8", "application/x-www-form-urlencoded", ""]
)
async def test_any_content_type(port: int, kind: str) -> None:
    assert (await ask(port, "POST", "/events", ENTRY, AUTH | {"Content-Type": kind})).code == 202


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"type":"canary-value","symbol":"A"}'])
async def test_bad_bodies(port: int, body: bytes) -> None:
    reply = await ask(port, "POST", "/events", body)
    assert reply.code == 422
    assert reply.body["status"] == "invalid"
    assert b"canary" not in reply.raw


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("wait=", "wait"), ("wait=-1", "wait"), ("wait=61", "wait"), ("wait=1e1", "wait"), ("wait=nan", "wait"),
        ("wait=1_0", "wait"), ("wait=%EF%BC%95", "wait"), ("wait=+5", "wait"), ("wait=5&wait=5", "wait"),
        ("wait=%ff", "query"), ("Wait=5", "Wait"), ("x=1", "x"), ("wait", "query"),
    ],
)  # fmt: skip
async def test_bad_queries(port: int, desk: StubDesk, query: str, field: str) -> None:
    reply = await ask(port, "POST", f"/events?{query}", ENTRY)
    assert (reply.code, reply.body["status"], reply.body["field"]) == (422, "invalid", field)
    assert not desk.intake.seen


@pytest.mark.parametrize("query", ["wait=0", "wait=60", "wait=0.5"])
async def test_good_queries(port: int, query: str) -> None:
    assert (await ask(port, "POST", f"/events?{query}", ENTRY)).code == 202


async def test_waits_for_the_outcomes(port: int, desk: StubDesk) -> None:
    desk.intake.ends = None
    waiting = asyncio.create_task(ask(port, "POST", "/events?wait=30", ENTRY))
    await until_waiting(desk, 1)
    assert not waiting.done()
    desk.intake.settle(Outcome(Result.FAILED, "Connection refused"))
    reply = await waiting
    assert reply.code == 202
    assert (reply.body["deliveries"][0]["result"], reply.body["deliveries"][0]["reason"]) == (
        "failed",
        "Connection refused",
    )
    assert desk.intake.waiting == 0


async def test_answers_what_it_knows_when_the_time_is_over(port: int, desk: StubDesk) -> None:
    desk.intake.ends = None
    reply = await ask(port, "POST", "/events?wait=0.05", ENTRY)
    assert reply.code == 202
    assert reply.body["deliveries"][0]["state"] == "planned"
    assert "result" not in reply.body["deliveries"][0]


async def test_a_client_that_leaves_while_waiting_leaves_nothing(port: int, desk: StubDesk) -> None:
    before = asyncio.all_tasks()
    desk.intake.ends = None

    def leave() -> socket.socket:
        client = http.client.HTTPConnection("127.0.0.1", port)
        client.request("POST", "/events?wait=30", ENTRY, {"Authorization": f"Bearer {TOKEN}"})
        return client.sock

    sock = await asyncio.to_thread(leave)
    await until_waiting(desk, 1)
    sock.close()
    await until_waiting(desk, 0)
    await asyncio.wait_for(asyncio.gather(*(asyncio.all_tasks() - before), return_exceptions=True), 5)


async def until_waiting(desk: StubDesk, count: int) -> None:
    async with asyncio.timeout(5):
        while desk.intake.waiting != count:
            desk.intake.changed.clear()
            await desk.intake.changed.wait()
