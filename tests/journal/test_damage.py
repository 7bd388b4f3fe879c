"""A damaged journal never keeps the daemon from starting: good records are kept, bad ones set aside and counted."""

import os
import random
import sqlite3
from pathlib import Path

import pytest

from daemon.errors import JournalError
from daemon.journal import Journal
from tests.dispatch.support import NOW, SetClock, core, until
from tests.journal.support import damaged, fill, raw, starts


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("events", "body", b'{"type":"sl","symbol":"W9"}'),
        ("events", "body", b'{"type":"sl","sym\xffol":"W1"}'),
        ("events", "ts", NOW + 1),
        ("events", "received", NOW + 1),
        ("deliveries", "steps", b'["sell_all_bif"]'),
        ("deliveries", "steps", b"[\xf3sell_all_bid]"),
        ("deliveries", "target", b"maio"),
        ("deliveries", "mode", b"livd"),
        ("deliveries", "state", b"plannee"),
        ("deliveries", "begun", 1),
        ("deliveries", "confirmed", 1),
    ],
)
async def test_a_flipped_bit_is_set_aside_and_counted_and_never_pressed(
    tmp_path: Path, table: str, column: str, value: bytes | float
) -> None:
    await fill(tmp_path, 4, waiting=3)
    database = raw(tmp_path)
    (seq,) = database.execute("SELECT seq FROM events WHERE id = 'w1'").fetchone()
    given = f"CAST(x'{value.hex()}' AS TEXT)" if isinstance(value, bytes) else repr(value)
    database.execute(f"UPDATE {table} SET {column} = {given} WHERE seq = {seq}")
    database.close()
    async with core(tmp_path, guard="off") as c:
        await until(lambda: len(c.ended) == 2)
        assert {event_id for event_id, _ in c.peer.keys} == {"w0", "w2"}
        assert c.journal.set_aside == 1
        assert c.journal.ok
        for asked in ({"type": "sl"}, {"symbol": "W0"}, {}):
            assert c.records.events(**asked), "listing is none the worse for it"  # type: ignore[arg-type]
        c.records.event("w1")
        assert c.journal.ok
        assert (await c.done("entry"))[0] == "done"
    async with core(tmp_path, guard="off") as c:
        assert c.journal.set_aside == 1
        assert c.ended == []


async def test_garbage(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(random.Random(1).randbytes(50_000))
    kept, aside = await starts(tmp_path)
    assert (kept, aside) == (0, 1)
    assert len(damaged(tmp_path)) == 1


@pytest.mark.parametrize("left", [0.99, 0.7, 0.3, 0.05])
async def test_a_truncated_file(tmp_path: Path, left: float) -> None:
    await fill(tmp_path)
    path = tmp_path / "journal.db"
    os.truncate(path, int(path.stat().st_size * left))
    kept, aside = await starts(tmp_path)
    assert aside >= 1
    assert kept > 0 or left < 0.5
    assert damaged(tmp_path)


@pytest.mark.parametrize("where", range(1, 12))
async def test_a_bad_page_anywhere(tmp_path: Path, where: int) -> None:
    await fill(tmp_path)
    path = tmp_path / "journal.db"
    pages = path.stat().st_size // 4096
    page = 1 + where * (pages - 2) // 12
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xa5" * 4096)
    kept, aside = await starts(tmp_path)
    assert kept >= 25, "one page holds a few of 60"
    assert aside >= 1 or kept == 60, "where it was of use, it was noticed"


@pytest.mark.parametrize("seed", range(12))
async def test_flipped_bytes_in_the_head_never_keep_it_from_starting(tmp_path: Path, seed: int) -> None:
    await fill(tmp_path, 20)
    path = tmp_path / "journal.db"
    chance = random.Random(seed)
    with path.open("r+b") as file:
        at = [44, 56, 18, 19, 16, 21, 47, 100, 3, 28, 104, 36][seed]
        file.seek(at)
        file.write(bytes([chance.randrange(5, 256)]))
    await starts(tmp_path)


async def test_damage_found_while_running_is_dealt_with_by_opening_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(tmp_path)
    monkeypatch.setattr("daemon.journal.salvage._CHECK_BYTES", 0)  # as for a large file, which no start checks
    path = tmp_path / "journal.db"
    with path.open("r+b") as file:
        for page in range(3, path.stat().st_size // 4096 - 8):
            file.seek(page * 4096)
            file.write(b"\xa5" * 4096)
    journal = Journal(tmp_path, SetClock())
    for _ in range(3):
        try:
            if not journal.ok:
                journal.open()
            journal.trim(float("inf"), 0)
        except JournalError:
            continue
        break
    assert journal.ok
    assert journal.set_aside >= 1
    assert damaged(tmp_path)
    journal.close()


async def test_no_room_for_the_rescue_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(tmp_path)
    path = tmp_path / "journal.db"
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xa5" * 4096)
    before = path.read_bytes()

    def full(*_: object) -> tuple[int, int]:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("daemon.journal.salvage.copy", full)
        with pytest.raises(JournalError, match="full"):
            Journal(tmp_path, SetClock()).open()
    assert path.read_bytes() == before
    assert (await starts(tmp_path))[0] >= 25
