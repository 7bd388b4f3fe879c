"""The record: what is written is found again, by whom it may be, after whatever happens to the file."""

import asyncio
import os
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import JournalError
from daemon.journal import Journal, Records, reading, rows, store
from daemon.journal.sync import Syncer
from daemon.ports import Status
from tests.dispatch.support import NOW, SetClock, core, until
from tests.journal.support import damaged, fill, raw, starts


async def test_a_new_file_has_the_schema_and_is_private_to_wal(tmp_path: Path) -> None:
    await fill(tmp_path, 1)
    with raw(tmp_path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (store.VERSION,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        assert {"events", "deliveries", "book", "facts", "set_aside"} <= tables
    database.close()


async def test_a_file_of_a_newer_deskhand_is_left_alone(tmp_path: Path) -> None:
    await fill(tmp_path, 3)
    database = raw(tmp_path)
    database.execute(f"PRAGMA user_version = {store.VERSION + 1}")
    database.close()
    before = (tmp_path / "journal.db").read_bytes()
    journal = Journal(tmp_path, SetClock())
    with pytest.raises(JournalError, match="made by a newer deskhand"):
        journal.open()
    assert not journal.ok
    assert (tmp_path / "journal.db").read_bytes() == before
    assert not damaged(tmp_path)


async def test_migrations_run_in_order_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(tmp_path, 3)
    steps = {3: "CREATE TABLE two (a);", 4: "INSERT INTO two VALUES (3);"}
    monkeypatch.setattr(store, "MIGRATIONS", steps)
    monkeypatch.setattr(store, "VERSION", 4)
    for _ in range(2):
        async with core(tmp_path) as c:
            assert len(c.records.events()) == 3
    database = raw(tmp_path)
    assert database.execute("SELECT a FROM two").fetchall() == [(3,)]
    assert database.execute("PRAGMA user_version").fetchone() == (4,)
    database.close()


async def test_a_file_of_the_first_version_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = raw(tmp_path)
    database.executescript(f"PRAGMA journal_mode = WAL;{store.MIGRATIONS[1]};PRAGMA user_version = 1;")
    database.execute("INSERT INTO book VALUES ('live', 'main', 'AAPL', '{}')")
    database.commit()
    database.close()
    async with core(tmp_path, mode="practice") as c:
        await c.done("entry")
        assert c.journal.trades("live") == [("main", "AAPL", "{}")]
        assert c.journal.waiting_posts("polymaker") == []
    monkeypatch.setattr(store, "VERSION", 1)
    with pytest.raises(JournalError, match="made by a newer deskhand"):
        Journal(tmp_path, SetClock()).open()


# -- listing -----------------------------------------------------------------------------------------------------------


async def test_listing(tmp_path: Path) -> None:
    clock = SetClock()
    async with core(tmp_path, clock=clock, guard="off") as c:
        for number, (type, symbol) in enumerate([("entry", "A"), ("tp1", "A"), ("entry", "B"), ("sl", "B")]):
            await c.done(type, symbol, id=f"{number}")
            clock.advance(10)
        shown = c.records.events

        def ids(**asked: Any) -> list[str]:
            return [e["id"] for e in shown(**asked)]

        assert ids() == ["0", "1", "2", "3"]
        assert ids(limit=2) == ["2", "3"], "the newest, oldest first"
        assert ids(type="entry") == ["0", "2"]
        assert ids(symbol="B") == ["2", "3"]
        assert ids(type="entry", symbol="B") == ["2"]
        assert ids(since=NOW + 15) == ["2", "3"]
        seq = shown()[1]["seq"]
        assert ids(after=seq) == ["2", "3"]
        assert ids(after=seq, limit=1) == ["2"]
        assert ids(after=seq, type="sl") == ["3"]
        assert shown(after=999_999) == []
        one = c.records.event("1")
        assert one is not None
        assert (one["type"], one["symbol"], one["status"], one["origin"]) == ("tp1", "A", "accepted", "http")
        (delivery,) = one["deliveries"]
        assert (delivery["begun"], delivery["confirmed"], delivery["result"]) == (3, 3, "done")
        assert delivery["latency_ms"] is not None
        assert c.records.event("none") is None


async def test_a_thinly_spread_symbol_does_not_read_the_whole_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with core(tmp_path, guard="off", gap_s=0.0) as c:
        for number in range(300):
            await c.send("sl", "RARE" if number in (0, 299) else "A", id=f"{number}")
        c.journal.commit()
        read: list[object] = []
        real = rows.stored_delivery

        def counted(row: sqlite3.Row) -> dict[str, Any]:
            read.append(row)
            return real(row)

        monkeypatch.setattr(reading, "stored_delivery", counted)
        assert len(c.records.events(symbol="RARE")) == 2
        assert len(read) == 2


# -- power cuts --------------------------------------------------------------------------------------------------------


async def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    """The database and its log, copied the moment an event is acknowledged: it is in there."""
    (tmp_path / "live").mkdir()
    async with core(tmp_path / "live", guard="off", gap_s=0.0) as c:
        for number in range(8):
            receipt = await c.send("entry", f"S{number}", id=f"{number}")
            assert receipt.status is Status.ACCEPTED
            cut = tmp_path / f"cut{number}"
            cut.mkdir()
            for name in ("journal.db", "journal.db-wal"):
                shutil.copy(tmp_path / "live" / name, cut / name)
    for number in range(8):
        journal = Journal(tmp_path / f"cut{number}", SetClock())
        journal.open()
        assert [shown["id"] for shown in Records(journal.path).events()] == [str(n) for n in range(number + 1)]
        journal.close()


async def test_the_flush_comes_after_the_commit_and_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, flushes, gate = os.fdatasync, list[int](), threading.Event()

    def slow(descriptor: int) -> None:
        gate.wait(5)
        flushes.append(os.fstat(descriptor).st_size)
        real(descriptor)

    async with core(tmp_path, guard="off") as c:
        await c.done("close")
        await until(lambda: not c.journal._syncer or not c.journal._syncer.busy)
        monkeypatch.setattr("daemon.journal.sync.os.fdatasync", slow)
        told: list[str] = []
        for number in range(20):
            c.intake.offer(
                f'{{"type":"sl","symbol":"S{number}","id":"i{number}"}}', "http", lambda r: told.append(r.id)
            )
            c.intake.flush()
        assert told == []
        gate.set()
        await until(lambda: len(told) == 20)
        assert told == [f"i{number}" for number in range(20)]
        assert len(flushes) == 2, "the first, and one for all that came during it"


async def test_whoever_waits_is_told_when_the_syncer_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, gate, told = threading.Event(), threading.Event(), list[OSError | None]()
    (tmp_path / "x-wal").write_bytes(b"log")

    def flush(_: int) -> None:
        begun.set()
        gate.wait(5)

    monkeypatch.setattr("daemon.journal.sync.os.fdatasync", flush)
    syncer = Syncer(tmp_path / "x", asyncio.get_running_loop())
    syncer.request(told.append)
    await until(begun.is_set)
    syncer.request(told.append)
    syncer.stop(wait_s=0)
    gate.set()
    await until(lambda: len(told) == 2)
    assert told[0] is None
    assert isinstance(told[1], OSError)


async def test_the_log_stays_bounded(tmp_path: Path) -> None:
    async with core(tmp_path, guard="off", gap_s=0.0) as c:
        largest, wal = 0, tmp_path / "journal.db-wal"
        for number in range(20_000):
            c.intake.offer(f'{{"type":"entry","symbol":"A","id":"{number}"}}', "http", lambda _: None)
            c.intake.flush()
            if number % 20 == 0:
                await asyncio.sleep(0)
            if number % 200 == 0:
                largest = max(largest, wal.stat().st_size)
                await until(lambda: not c.journal._syncer or not c.journal._syncer.busy, 20)
        assert largest < 300 * 1024 * 1024


async def test_only_the_loops_thread_touches_its_connection(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        for number in range(1100):
            await c.send("sl", id=f"{number}")
        assert c.journal.ok
        database = c.journal._database
        assert database is not None
        caught: list[Exception] = []

        def touch() -> None:
            try:
                database.execute("SELECT 1")
            except sqlite3.ProgrammingError as error:
                caught.append(error)

        thread = threading.Thread(target=touch)
        thread.start()
        thread.join()
        assert caught, "sqlite3 itself watches over it: check_same_thread is on"


# -- keeping house -----------------------------------------------------------------------------------------------------


async def test_trim_by_age(tmp_path: Path) -> None:
    clock = SetClock()
    async with core(tmp_path, clock=clock, guard="off") as c:
        for number in range(30):
            await c.done("sl", id=f"{number}")
            clock.advance(1)
        c.journal.commit()
        assert c.journal.trim(NOW + 9.5, 1 << 40, chunk=4)
        while c.journal.trim(NOW + 9.5, 1 << 40, chunk=4):
            pass
        assert [shown["id"] for shown in c.records.events()] == [f"{n}" for n in range(10, 30)]
        database = raw(tmp_path)
        assert database.execute("SELECT count(*) FROM deliveries").fetchone() == (20,)
        database.close()
        assert (await c.send("sl", id="3")).status is Status.ACCEPTED, "forgotten is forgotten"


async def test_trim_by_size(tmp_path: Path) -> None:
    await fill(tmp_path, 200)
    async with core(tmp_path) as c:
        before = c.journal.size()
        while c.journal.trim(0.0, before // 2, chunk=10):
            pass
        assert c.journal.size() <= before // 2
        ids = [shown["id"] for shown in c.records.events(limit=1000)]
        assert ids[-1] == "e199"
        assert 50 < len(ids) < 200


async def test_facts_and_the_book(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SetClock())
    journal.open()
    journal.put_fact("halt", "a")
    journal.put_fact("halt", "b")
    journal.put_trade("live", "main", "t", "{}")
    journal.put_trade("practice", "main", "t", "[]")
    journal.commit()
    journal.put_trade("live", "main", "t", None)
    journal.close()
    journal = Journal(tmp_path, SetClock())
    with pytest.raises(JournalError, match="not opened"):
        journal.fact("halt")
    journal.open()
    assert journal.fact("halt") == "b"
    assert journal.fact("none") is None
    assert journal.trades("live") == []
    assert journal.trades("practice") == [("main", "t", "[]")]
    journal.put_fact("recovered", "not a number")
    journal.commit()
    journal.close()
    assert (await starts(tmp_path))[1] == 0


async def test_ids_are_known_however_the_file_came_to_be_open(tmp_path: Path) -> None:
    await fill(tmp_path, 4)
    async with core(tmp_path) as c:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(c.journal, "_database", None)
            assert (await c.send("entry", "S0", id="e0", meta={"pad": "x" * 600})).status is Status.UNAVAILABLE
        c.journal._release(wait_s=1)
        c.journal.open()
        assert (await c.send("entry", "S0", id="e0", meta={"pad": "x" * 600})).status is Status.DUPLICATE
        assert (await c.send("entry", "S2", id="e0")).status is Status.CONFLICT
        assert c.peer.steps == []


async def test_a_torn_inbox_is_no_trouble(tmp_path: Path) -> None:
    await fill(tmp_path, 2, waiting=1)
    with (tmp_path / "inbox").open("ab") as file:
        file.write(b"deskhand 500 12345\nhalf a rec")
    assert (await starts(tmp_path))[0] == 2


async def test_facts_by_prefix_also_before_they_are_written(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        for name in ("bot:a", "bot:b", "bother"):
            c.journal.put_fact(name, name.upper())
        assert c.journal.facts("bot:") == {"a": "BOT:A", "b": "BOT:B"}
        c.journal.commit()
        c.journal.put_fact("bot:a", None)
        c.journal.put_fact("bot:c", "new")
        assert c.journal.facts("bot:") == {"b": "BOT:B", "c": "new"}
        c.journal.commit()
        assert c.journal.facts("bot:") == {"b": "BOT:B", "c": "new"}
        assert c.journal.fact("bot:a") is None
