"""The one door: what each event is answered, and when."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import JournalError
from daemon.ports import Receipt, Result, Status
from tests.dispatch.support import BOOT, NOW, Core, SetClock, body, core, until


def collect(c: Core, *raws: str | bytes) -> list[Receipt]:
    told: list[Receipt] = []
    for raw in raws:
        c.intake.offer(raw, "http", told.append)
    c.intake.flush()
    return told


def status_of(c: Core, event_id: str) -> str:
    found = c.records.event(event_id)
    assert found is not None
    return str(found["status"])


def _full() -> None:
    raise JournalError("disk full")


async def test_accepted(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        receipt = await c.send("entry", id="a")
        assert (receipt.status, receipt.id, receipt.reason, receipt.field) == (Status.ACCEPTED, "a", "", "")
        assert [d.action.steps for d in receipt.deliveries] == [("buy_ask",)]
        assert status_of(c, "a") == "accepted"


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"\xff", "body"),
        (b'{"type":"entry"}', "symbol"),
        (b'{"type":"buy","symbol":"A"}', "type"),
        (b'{"type":"entry","symbol":"A","symbol":"B"}', "symbol"),
        (b'{"type":"entry","symbol":"A","who":1}', "who"),
        (b'{"type":"entry","symbol":"A","id":""}', "id"),
        (b'{"type":"entry","symbol":"A","ts":"yesterday"}', "ts"),
        ("\ud800", "body"),
    ],
)
async def test_invalid(tmp_path: Path, raw: bytes | str, field: str) -> None:
    async with core(tmp_path) as c:
        receipt = await c.intake.submit(raw, "http")
        assert (receipt.status, receipt.field) == (Status.INVALID, field)
        assert receipt.reason
        assert c.records.events() == []


async def test_a_time_is_required_where_the_source_says_so(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        receipt = await c.intake.submit(body("sl"), "mqtt", ts_required=True)
        assert (receipt.status, receipt.field) == (Status.INVALID, "ts")
        assert c.peer.steps == []
        assert (await c.intake.submit(body("sl", ts=NOW), "mqtt", ts_required=True)).status is Status.ACCEPTED


@pytest.mark.parametrize(("type", "limit"), [("entry", 10), ("tp1", 30), ("tp2", 30), ("sl", 300), ("close", 300)])
async def test_too_old(tmp_path: Path, type: str, limit: int) -> None:
    async with core(tmp_path, guard="off") as c:
        old = await c.send(type, ts=NOW - limit - 0.5, id="old")
        assert old.status is Status.REFUSED
        assert old.reason.startswith("too old: ")
        assert c.peer.steps == []
        assert status_of(c, "old") == "refused"
        assert (await c.send(type, ts=NOW - limit + 0.5)).status is Status.ACCEPTED
        assert c.peer.steps


@pytest.mark.parametrize("type", ["entry", "tp1", "tp2", "sl", "close"])
async def test_a_clock_that_runs_ahead(tmp_path: Path, type: str) -> None:
    async with core(tmp_path, guard="off") as c:
        ahead = await c.send(type, ts=NOW + 6, id="ahead")
        if type in ("sl", "close"):
            assert ahead.status is Status.ACCEPTED
            found = c.records.event("ahead")
            assert found is not None
            assert found["ts"] == NOW
        else:
            assert (ahead.status, ahead.field) == (Status.INVALID, "ts")
        assert (await c.send(type, ts=NOW + 4)).status is Status.ACCEPTED


async def test_refused_and_its_reason(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        short = await c.send("entry", side="short", id="s")
        assert (short.status, short.reason) == (Status.REFUSED, "no sequence for a short entry")
        c.dispatcher.halt("entries", "")
        assert (await c.send("entry")).reason == "halted (entries)"
        assert (await c.send("entry", id="s", side="short")).status is Status.DUPLICATE


async def test_the_same_id(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        assert (await c.send("entry", id="a", price=1)).status is Status.ACCEPTED
        assert (await c.send("entry", id="a", price=1)).status is Status.DUPLICATE
        conflict = await c.send("entry", id="a", price=2)
        assert (conflict.status, conflict.id) == (Status.CONFLICT, "a")
        assert (await c.send("sl", id="a")).status is Status.CONFLICT
        assert (await c.intake.submit(body("entry", id="a", price=1), "mqtt")).status is Status.DUPLICATE
        assert c.peer.steps == ["buy_ask"]


async def test_the_same_id_after_a_restart(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        await c.done("entry", id="a")
        c.crash()
    async with core(tmp_path) as c:
        assert (await c.send("entry", id="a")).status is Status.DUPLICATE
        assert (await c.send("entry", "MSFT", id="a")).status is Status.CONFLICT
        assert c.peer.steps == []


async def test_without_an_id_a_twin_within_60_s_is_the_same(tmp_path: Path) -> None:
    async with core(tmp_path, guard="off") as c:
        first = await c.intake.submit(body("tp1"), "http")
        assert first.id
        c.clock.advance(59)
        again = await c.intake.submit(b'{ "symbol" : "aapl", "type":"tp1" }', "http")
        assert (again.status, again.id) == (Status.DUPLICATE, first.id)
        assert (await c.intake.submit(body("tp1"), "mqtt")).status is Status.ACCEPTED, "another source"
        assert (await c.intake.submit(body("tp1", price=1), "http")).status is Status.ACCEPTED, "another body"
        c.clock.advance(2)
        late = await c.intake.submit(body("tp1"), "http")
        assert late.status is Status.ACCEPTED
        assert late.id != first.id


@pytest.mark.parametrize("committed", [True, False])
async def test_a_clock_set_back_an_hour_makes_no_stop_of_today_a_twin(tmp_path: Path, committed: bool) -> None:
    async with core(tmp_path) as c:
        first = await c.intake.submit(body("sl"), "http")
        if committed:
            c.journal.commit()
        else:
            c.journal.commit = c.journal.record = _full  # type: ignore[method-assign]
            first = await c.intake.submit(body("close"), "http")
        kind = "sl" if committed else "close"
        c.clock.wall -= 3600
        c.clock.advance(10)
        assert (await c.intake.submit(body(kind), "http")).id == first.id, "a resend, whatever the clock says"
        c.clock.advance(1800)
        count = len(c.peer.steps)
        again = await c.intake.submit(body(kind), "http")
        assert again.id != first.id
        assert len(c.peer.steps) == count + 1


async def test_a_clock_set_back_over_a_reboot_makes_no_stop_a_twin(tmp_path: Path) -> None:
    async with core(tmp_path, clock=SetClock()) as c:
        await c.settled(await c.intake.submit(body("sl"), "http"))
    async with core(tmp_path, clock=SetClock(NOW - 3600, 50.0)) as c:
        assert (await c.intake.submit(body("sl"), "http")).status is Status.ACCEPTED
        assert c.peer.steps == ["sell_all_bid"]
    async with core(tmp_path, clock=SetClock(NOW - 3590, 5.0)) as c:
        assert (await c.intake.submit(body("sl"), "http")).status is Status.DUPLICATE, "a resend over a reboot"


async def test_a_mistake_of_ours_over_one_event_loses_none_that_came_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it come again for ever: over MQTT an event that is never answered does."""
    async with core(tmp_path) as c:
        take = c.intake._take

        def mistaken(raw: bytes, *how: Any) -> Any:
            return take(raw, *how) if b"BAD" not in raw else 1 / 0

        monkeypatch.setattr(c.intake, "_take", mistaken)
        told = collect(c, body("entry", "AAPL", id="a"), body("entry", "BAD", id="b"), body("sl", "AAPL", id="c"))
        await until(lambda: len(told) == 3)
        assert {(receipt.id, receipt.status) for receipt in told} == {
            ("a", Status.ACCEPTED), ("", Status.INVALID), ("c", Status.ACCEPTED)
        }  # fmt: skip
        assert c.peer.steps == ["sell_all_bid"]


@pytest.mark.parametrize("end", ["refused", "failed", "expired", "uncertain", "done"])
async def test_a_twin_that_ended_without_a_key_may_come_again(tmp_path: Path, end: str) -> None:
    async with core(tmp_path, guard="off", gap_s=0.2, how={"sequences": {"tp1": ["a", "b"]}}) as c:
        raw = body("tp1")
        if end == "refused":
            c.dispatcher.halt("all", "")
        elif end == "expired":
            raw = body("tp1", ts=NOW - 31)
        elif end == "failed":
            c.peer.room = 0
        elif end == "uncertain":
            c.peer.confirms = False
            c.hold_at(1)
        first = await c.intake.submit(raw, "http")
        if end == "failed":
            c.clock.advance(3)
        elif end == "uncertain":
            c.peer.confirm("lost")
        await c.settled(first)
        again = await c.intake.submit(raw, "http")
        if end in ("done", "uncertain"):
            assert again.status is Status.DUPLICATE
        else:
            assert again.status in (Status.ACCEPTED, Status.REFUSED)
            assert again.id != first.id
            assert c.records.event(again.id) is not None


async def test_twins_in_one_batch(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        told = collect(c, *[body("entry")] * 3, *[body("entry", side="short")] * 3)
        await until(lambda: len(told) == 6)
        assert [r.status for r in told].count(Status.ACCEPTED) == 1
        assert [r.status for r in told].count(Status.DUPLICATE) == 2
        assert [r.status for r in told].count(Status.REFUSED) == 3
        assert c.journal.ok
        assert len({shown["id"] for shown in c.records.events()}) == 4
        assert c.peer.steps == ["buy_ask"]


async def test_the_same_id_in_one_batch(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        told = collect(c, body("entry", id="a"), body("entry", id="a"), body("sl", id="a"))
        await until(lambda: len(told) == 3)
        assert {r.status for r in told} == {Status.ACCEPTED, Status.DUPLICATE, Status.CONFLICT}
        assert c.peer.steps == ["buy_ask"]


async def test_a_batch_is_one_transaction(tmp_path: Path) -> None:
    async with core(tmp_path, guard="off") as c:
        begun: list[str] = []
        database = c.journal._database
        assert isinstance(database, sqlite3.Connection)
        database.set_trace_callback(lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None)
        raws = [
            json.dumps({"type": "entry", "symbol": f"S{n}"} | ({"id": f"i{n}"} if n % 2 else {})) for n in range(200)
        ]
        c.peer.room = 0
        told = collect(c, *raws)
        await until(lambda: len(told) == 200)
        assert len(begun) == 1
        assert {r.status for r in told} == {Status.ACCEPTED}


async def test_nobody_is_told_before_the_flush_to_disk_and_keys_do_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    async with core(tmp_path, gap_s=0.0) as c:
        await c.done("close")
        gate = threading.Event()
        real = __import__("os").fdatasync
        monkeypatch.setattr("daemon.journal.sync.os.fdatasync", lambda fd: (gate.wait(5), real(fd))[1])
        told = collect(c, body("entry", id="a"))
        assert c.peer.steps[-1] == "buy_ask", "the key did not wait"
        told += [] if told else collect(c, body("entry", id="a"))
        for _ in range(50):
            await asyncio.sleep(0)
        duplicates: list[Receipt] = []
        c.intake.offer(body("entry", id="a"), "http", duplicates.append)
        c.intake.flush()
        assert told == duplicates == []
        gate.set()
        await until(lambda: duplicates)
        assert duplicates[0].status is Status.DUPLICATE


async def test_what_cannot_be_flushed_is_not_acknowledged_nor_is_its_duplicate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with core(tmp_path, gap_s=0.0) as c:
        await c.done("close")

        def broken(_: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("daemon.journal.sync.os.fdatasync", broken)
            assert (await c.send("entry", id="a")).status is Status.UNAVAILABLE
            assert (await c.send("entry", id="a")).status is Status.UNAVAILABLE
            assert (await c.send("entry", "MSFT")).status is Status.UNAVAILABLE
            assert c.peer.steps.count("buy_ask") == 1, "no entry fires while nothing can be kept"
            assert (await c.send("sl")).status is Status.UNAVAILABLE
            assert c.peer.steps[-1] == "sell_all_bid"
        c.journal.open()
        c.journal.commit()
        assert (await c.send("entry", id="a")).status is Status.DUPLICATE


async def test_unavailable_without_a_journal(tmp_path: Path) -> None:
    async with core(tmp_path, opened=False) as c:
        for raw in (body("entry", id="a"), body("entry"), body("tp1", id="b")):
            receipt = await c.intake.submit(raw, "http")
            assert receipt.status is Status.UNAVAILABLE
            assert receipt.reason
        assert c.peer.steps == []


@pytest.mark.parametrize(
    ("type", "age", "booted_ago", "result"),
    [
        ("entry", 8.0, 5.0, Result.UNCERTAIN),
        ("entry", 4.0, 5.0, Result.DONE),
        ("entry", 12.0, 5.0, Result.EXPIRED),
        ("tp1", 20.0, 5.0, Result.UNCERTAIN),
        ("sl", 20.0, 5.0, Result.DONE),
        ("entry", 8.0, BOOT, Result.DONE),
    ],
)
async def test_older_than_the_machines_boot(
    tmp_path: Path, type: str, age: float, booted_ago: float, result: Result
) -> None:
    async with core(tmp_path, clock=SetClock(NOW, booted_ago)) as c:
        receipt = await c.send(type, ts=NOW - age)
        delivery = await c.settled(receipt)
        assert delivery.outcome is not None
        assert delivery.outcome.result is result
        assert bool(c.peer.steps) == (result is Result.DONE)


async def test_an_event_no_route_wants_is_accepted_and_presses_nothing(tmp_path: Path) -> None:
    from daemon.settings import Route

    async with core(tmp_path, how={"routes": (Route(do=()),)}) as c:
        receipt = await c.send("sl", id="a")
        assert receipt.status is Status.ACCEPTED
        assert receipt.deliveries == []
        assert (await c.send("sl", id="a")).status is Status.DUPLICATE
        assert c.peer.steps == []


async def test_counts(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        await c.send("entry", id="a")
        await c.send("entry", id="a")
        await c.intake.submit(b"{", "mqtt")
        counts: dict[str, Any] = c.metrics.events_by_status()
        assert counts == {"accepted": 1, "duplicate": 1, "invalid": 1}
        assert c.intake.last_event is not None
        assert c.intake.last_event[0].id == "a"
