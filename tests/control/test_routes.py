"""The reading and steering routes."""

from pathlib import Path
from typing import Any

import pytest

from tests.http.stub import StubDesk, ask, record


async def test_health(port: int, desk: StubDesk) -> None:
    assert (await ask(port, "GET", "/health/live")).body == {"status": "live"}
    assert (await ask(port, "GET", "/health/ready")).body == {"status": "ready"}
    desk.unready = "the journal cannot be written: disk full"
    reply = await ask(port, "GET", "/health/ready")
    assert (reply.code, reply.body) == (503, {"status": "unready", "reason": desk.unready})
    assert (await ask(port, "GET", "/health/live")).code == 200
    assert (await ask(port, "HEAD", "/health/live")).raw == b""


async def test_metrics(port: int) -> None:
    reply = await ask(port, "GET", "/metrics")
    assert reply.raw == b"deskhand_halted 0\n"
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_status(port: int, desk: StubDesk) -> None:
    assert (await ask(port, "GET", "/status")).body == desk.status()


async def test_events(port: int, desk: StubDesk) -> None:
    desk.records.records = [record(1), record(2)]
    assert (await ask(port, "GET", "/events")).body == {"events": [record(1), record(2)]}
    assert desk.records.asked == {"since": None, "after": None, "type": None, "symbol": None, "limit": 100}
    await ask(port, "GET", "/events?since=1000.5&after=1&type=sl&symbol=brk.b&limit=1000")
    assert desk.records.asked == {"since": 1000.5, "after": 1, "type": "sl", "symbol": "BRK.B", "limit": 1000}


@pytest.mark.parametrize(
    "since", ["2026-11-20T10:00:00Z", "2026-11-20T10:00:00%2B00:00", "2026-11-20T11:00:00+01:00", "1795168800"]
)
async def test_since(port: int, desk: StubDesk, since: str) -> None:
    assert (await ask(port, "GET", f"/events?since={since}")).code == 200
    assert desk.records.asked["since"] == 1795168800.0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("since=yesterday", "since"), ("since=2026-11-20T10:00:00", "since"), ("since=-1", "since"),
        ("after=-1", "after"),
        ("after=1.0", "after"), ("after=%D9%A3", "after"), ("after=99999999999999999999", "after"),
        ("type=ENTRY", "type"),
        ("type=", "type"), ("symbol=", "symbol"), ("symbol=A%20B", "symbol"), ("symbol=%C3%84", "symbol"),
        ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=+5", "limit"), ("limit=5&limit=6", "limit"),
        ("order=desc", "order"), ("after", "query"), ("a=1&" * 20, "query"),
    ],
)  # fmt: skip
async def test_bad_queries(port: int, desk: StubDesk, query: str, field: str) -> None:
    reply = await ask(port, "GET", f"/events?{query}")
    assert (reply.code, reply.body["status"], reply.body["field"]) == (422, "invalid", field)
    assert not desk.records.asked


async def test_a_journal_that_cannot_be_read(port: int, desk: StubDesk) -> None:
    desk.records.broken = True
    reply = await ask(port, "GET", "/events")
    assert (reply.code, reply.body) == (503, {"status": "unavailable", "reason": "disk full"})
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("id", "path"),
    [("plain", "plain"), ("a/b", "a/b"), ("a/b", "a%2Fb"), ("50% ü?#", "50%25%20%C3%BC%3F%23"), ("..", "..")],
)
async def test_one_event(port: int, desk: StubDesk, id: str, path: str) -> None:
    desk.records.records = [record(1, id=id)]
    assert (await ask(port, "GET", f"/events/{path}")).body["id"] == id


async def test_no_such_event(port: int) -> None:
    reply = await ask(port, "GET", "/events/nothing")
    assert (reply.code, reply.body) == (404, {"status": "not_found", "reason": "no event has this id"})


@pytest.mark.parametrize(
    ("body", "level", "reason"),
    [
        (None, "entries", ""),
        ({}, "entries", ""),
        ({"level": "entries"}, "entries", ""),
        ({"level": "all", "reason": "news at 14:30"}, "all", "news at 14:30"),
    ],
)
async def test_halt_and_resume(port: int, desk: StubDesk, body: Any, level: str, reason: str) -> None:
    reply = await ask(port, "POST", "/halt", body)
    assert (reply.code, reply.body) == (200, {"level": level, "reason": reason, "since": None})
    assert desk.level == level
    assert (await ask(port, "POST", "/resume")).body["level"] == "none"
    assert desk.level == "none"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"level": "none"}, "level"), ({"level": "ALL"}, "level"), ({"level": ["all"]}, "level"),
        ({"level": 1}, "level"),
        ({"reason": 5}, "reason"), ({"reason": "x" * 201}, "reason"), ({"reason": "a\nb"}, "reason"),
        ({"levle": "all"}, "levle"), (b'{"level":"all","level":"entries"}', "level"), (b"[]", "body"), (b"{", "body"),
    ],
)  # fmt: skip
async def test_bad_halts_do_not_halt(port: int, desk: StubDesk, body: Any, field: str) -> None:
    reply = await ask(port, "POST", "/halt", body)
    assert (reply.code, reply.body["field"]) == (422, field)
    assert desk.level == "none"


async def test_resume_takes_nothing(port: int) -> None:
    assert (await ask(port, "POST", "/resume", {"level": "all"})).code == 422


@pytest.mark.usefixtures("server")
async def test_book(socket_path: Path) -> None:
    assert (await ask(socket_path, "GET", "/book")).body == {"book": []}
    reply = await ask(socket_path, "POST", "/book", {"symbol": "aapl", "state": "open", "target": "main"})
    assert reply.body["book"][0]["symbol"] == "AAPL"
    assert reply.body["book"][0]["open"] is True
    reply = await ask(socket_path, "POST", "/book", {"symbol": "AAPL", "state": "flat"})
    assert reply.body["book"][0]["open"] is False
    assert (await ask(socket_path, "DELETE", "/book")).body == {"book": []}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, "state"), ({"symbol": "AAPL"}, "state"), ({"symbol": "AAPL", "state": "OPEN"}, "state"),
        ({"state": "open"}, "symbol"), ({"symbol": "A B", "state": "open"}, "symbol"),
        ({"symbol": 5, "state": "open"}, "symbol"), ({"symbol": "A", "state": "open", "target": "other"}, "target"),
        ({"symbol": "A", "state": "open", "side": "long"}, "side"), ({"symbol": "A", "state": {}}, "state"),
    ],
)  # fmt: skip
async def test_bad_corrections(port: int, desk: StubDesk, body: Any, field: str) -> None:
    reply = await ask(port, "POST", "/book", body)
    assert (reply.code, reply.body["status"], reply.body["field"]) == (422, "invalid", field)
    assert desk.rows == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": "unchanged", "changed": []}, 200),
        ({"status": "reloaded", "changed": [{"key": "mode", "old": "live", "new": "practice"}]}, 200),
        ({"status": "refused", "problems": ["deskhand.yaml:3: mode: must be practice, live"]}, 422),
    ],
)
async def test_reload_answers_what_came_of_it(port: int, desk: StubDesk, answer: dict[str, Any], code: int) -> None:
    desk.reloads = answer
    reply = await ask(port, "POST", "/reload")
    assert (reply.code, reply.body) == (code, answer)
    assert (await ask(port, "POST", "/reload", {"now": True})).code == 422
    assert (await ask(port, "GET", "/reload")).code == 405


async def test_the_command_center(port: int, desk: StubDesk) -> None:
    desk.center_runs = [{"run": 101}]
    assert (await ask(port, "GET", "/polymaker/runs")).body == {"runs": [{"run": 101}]}
    assert (await ask(port, "GET", "/polymaker/runs?limit=3")).code == 422
    desk.flushed = {"waiting": 3, "reason": "Connection refused"}
    assert (await ask(port, "POST", "/polymaker/flush")).body == desk.flushed
    assert (await ask(port, "POST", "/polymaker/flush", {"now": True})).code == 422
