"""Promise 8: when the journal cannot be written no entry fires, exits do, and all is written once it can be again."""

import asyncio
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.errors import JournalError
from daemon.journal.keeper import RETRY_S, keep
from daemon.ports import Result, Status
from tests.dispatch.support import Core, SetClock, core, until


@contextmanager
def full() -> Iterator[None]:
    """No file may grow: what a full disk is to SQLite, for this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def reopen(c: Core) -> None:
    c.journal.open()
    c.journal.commit()


def stored(c: Core, event_id: str) -> dict[str, object]:
    found = c.records.event(event_id)
    assert found is not None
    (delivery,) = found["deliveries"]
    return {"state": delivery["state"], "result": delivery["result"], "begun": delivery["begun"]}


@pytest.mark.parametrize("type", ["entry", "tp1", "tp2"])
async def test_nothing_but_exits_fires(tmp_path: Path, type: str) -> None:
    async with core(tmp_path, guard="off") as c:
        with full():
            receipt = await c.send(type, id="a")
        assert receipt.status is Status.UNAVAILABLE
        assert c.peer.steps == []
        assert [d.outcome.result for d in receipt.deliveries if d.outcome] == [Result.REFUSED]
        assert not c.journal.ok
        reopen(c)
        assert c.records.event("a") is None, "the source was told to come again"
        assert (await c.send(type, id="a")).status is Status.ACCEPTED
        await until(lambda: c.peer.steps)


async def test_a_file_that_another_program_locks_is_tried_again_without_holding_up_a_stop(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        await c.done("entry")
        c.journal.commit()
        other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await c.send("sl")  # the key goes first, then the lock is waited for, once
        assert not c.journal.ok
        took = []
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(JournalError, match="locked"):
                c.journal.open()
            took.append(time.monotonic() - began)
        assert min(took) < 0.5, "as long as it is locked, every second; patient would be a second each"
        other.execute("ROLLBACK")
        other.close()
        reopen(c)
        assert c.peer.steps == ["buy_ask", "sell_all_bid"]


@pytest.mark.parametrize("type", ["sl", "close"])
async def test_exits_fire_are_remembered_and_written_later(tmp_path: Path, type: str) -> None:
    async with core(tmp_path) as c:
        await c.done("entry")
        with full():
            receipt = await c.send(type, id="x")
            assert c.peer.steps == ["buy_ask", "sell_all_bid"]
            assert receipt.status is Status.UNAVAILABLE
            assert (await c.send("entry", "MSFT")).status is Status.UNAVAILABLE
            assert (await c.send(type, id="x")).status in (Status.DUPLICATE, Status.UNAVAILABLE)
            assert c.peer.steps == ["buy_ask", "sell_all_bid"], "it came again, it is not pressed again"
        await c.settled(receipt)
        reopen(c)
        assert stored(c, "x") == {"state": "ended", "result": "done", "begun": 1}
        assert not c.journal.pending
        assert (await c.send(type, id="x")).status is Status.DUPLICATE


@pytest.mark.parametrize("type", ["sl", "close"])
async def test_an_exit_without_an_id_that_comes_again_is_not_pressed_again(tmp_path: Path, type: str) -> None:
    async with core(tmp_path) as c:
        with full():
            for _ in range(3):
                receipt = await c.intake.submit(f'{{"type":"{type}","symbol":"AAPL"}}', "http")
                assert receipt.status is Status.UNAVAILABLE
        assert c.peer.steps == ["sell_all_bid"]
        reopen(c)
        assert (await c.intake.submit(f'{{"type":"{type}","symbol":"AAPL"}}', "http")).status is Status.DUPLICATE


async def test_exits_can_be_refused_too(tmp_path: Path) -> None:
    async with core(tmp_path, how={"exits": "refuse"}) as c:
        await c.done("entry")
        with full():
            receipt = await c.send("sl", id="x")
        assert receipt.status is Status.UNAVAILABLE
        assert c.peer.steps == ["buy_ask"]
        reopen(c)
        assert (await c.done("tp1"))[0] == "done", "the stop that was not pressed has ended nothing"
        assert (await c.done("sl", id="x"))[0] == "done"


async def test_what_waited_for_its_peer_does_not_fire_without_a_record_either(tmp_path: Path) -> None:
    async with core(tmp_path, guard="off") as c:
        c.peer.room = 0
        entry, sl = await c.send("entry", "A", id="e"), await c.send("sl", "B", id="s")
        with full():
            assert (await c.send("entry", "C")).status is Status.UNAVAILABLE
            c.peer.back()
            await c.settled(entry)
            await c.settled(sl)
            assert c.peer.keys == [("s", "sell_all_bid")]
        assert [d.outcome.result for d in (*entry.deliveries, *sl.deliveries) if d.outcome] == ["refused", "done"]
        reopen(c)
        assert stored(c, "e")["result"] == "refused"
        assert stored(c, "s")["result"] == "done"


async def test_a_running_sequence_goes_on_when_the_disk_fills(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=0.02) as c:
        await c.done("entry")
        c.hold_at(1)
        receipt = await c.send("tp1", id="t")
        await until(lambda: len(c.peer.sent) == 2)
        with full():
            c.clock.go()
            await c.settled(receipt)
        assert c.peer.steps == ["buy_ask", "sell_ask", "cancel_all", "break_even"]
        assert not c.journal.ok
        reopen(c)
        assert stored(c, "t") == {"state": "ended", "result": "done", "begun": 3}


async def test_an_exit_that_came_again_from_before_does_not_poison_the_journal(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        await c.done("sl", id="x")
        with full():
            assert (await c.send("entry")).status is Status.UNAVAILABLE
            await c.send("sl", id="x")
        reopen(c)
        assert c.journal.ok
        assert stored(c, "x")["result"] == "done"
        assert (await c.done("close"))[0] == "done"
        listed = [shown["id"] for shown in c.records.events()]
        assert len(listed) == len(set(listed))
        assert sum(event_id.startswith("x") for event_id in listed) == len(c.peer.sent) - 1


async def test_a_journal_that_could_not_be_opened_at_the_start(tmp_path: Path) -> None:
    """An earlier life's records are taken up later, and this life's exits are pressed once."""
    clock = SetClock()
    async with core(tmp_path, clock=clock) as c:
        for number in range(3):
            await c.done("sl", f"S{number}")
        c.peer.room = 0
        await c.send("close", "OLD", id="old")
        c.crash()
    async with core(tmp_path, clock=clock, opened=False) as c:
        assert (await c.send("entry")).status is Status.UNAVAILABLE
        fired = await c.settled(await c.send("sl", "NOW", id="now"))
        assert fired.outcome is not None
        c.peer.room = 0
        await c.send("close", "WAITS", id="waits")
        reopen(c)
        assert c.take_up() == 1, "only what an earlier life left"
        c.peer.back()
        await until(lambda: len(c.ended) == 3)
        assert sorted(c.peer.keys) == [(i, "sell_all_bid") for i in ("now", "old", "waits")]
        for event_id in ("now", "old", "waits"):
            assert stored(c, event_id)["result"] == "done"


async def test_the_keeper_opens_it_again(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        keeper = asyncio.create_task(keep(c.journal, c.clock, lambda: (30, 1 << 30), lambda: None), name="keeper")
        with full():
            sl = await c.send("sl", id="x")
        assert not c.journal.ok
        assert sl.status is Status.UNAVAILABLE
        await until(lambda: c.journal.ok, limit=RETRY_S + 3)
        assert stored(c, "x")["result"] == "done"
        assert (await c.send("entry")).status is Status.ACCEPTED
        keeper.cancel()
        await asyncio.wait([keeper])


async def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.journal.db.UNWRITTEN_LIMIT", 20)
    async with core(tmp_path, opened=False) as c:
        for number in range(50):
            await c.send("sl", id=f"x{number}")
        assert len(c.peer.sent) == 50
        assert len(c.journal._entries) <= 20
        assert len(c.journal._new) <= 20
        c.journal.open()
        c.journal.commit()
        assert [shown["id"] for shown in c.records.events()][-1] == "x49"


@pytest.mark.parametrize("limit", range(0, 120_000, 6_000))
async def test_full_at_any_byte(tmp_path: Path, limit: int) -> None:
    """The disk fills at every possible point of a day: nothing acknowledged is lost, nothing else fires unrecorded."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with core(tmp_path, guard="off", gap_s=0.0) as c:
        accepted, fired_unrecorded = set(), set()
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit + 4096, before[1]))
        try:
            for number in range(12):
                type = ("entry", "tp1", "sl")[number % 3]
                receipt = await c.send(type, id=f"{type}{number}", meta={"n": "x" * 2000})
                if receipt.status is Status.ACCEPTED:
                    accepted.add(receipt.id)
                elif type == "sl":
                    fired_unrecorded.add(receipt.id)
                else:
                    assert receipt.status is Status.UNAVAILABLE
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        pressed = {event_id for event_id, _ in c.peer.keys}
        assert {f"sl{n}" for n in (2, 5, 8, 11)} <= pressed, "every exit fires"
        if not c.journal.ok:
            reopen(c)
        await until(lambda: all(d.outcome for d in c.ended))
        c.crash()
    async with core(tmp_path, guard="off") as c:
        listed = {shown["id"]: shown["deliveries"] for shown in c.records.events(limit=1000)}
        assert accepted <= set(listed)
        assert fired_unrecorded <= set(listed)
        assert pressed <= set(listed), "no key without a record, in the end"
