"""The journal's file, whole and broken, looked at from outside."""

import os
import sqlite3
from pathlib import Path

import pytest

from daemon.doctor import record
from daemon.doctor.check import Check
from daemon.settings import Settings
from tests.journal.support import fill, raw, starts


async def look(folder: Path, limit_s: float = 5.0, **journal: int) -> list[Check]:
    settings = Settings.model_validate({"state_dir": folder, "journal": journal})
    return await record.checks(settings, limit_s)


async def test_none_yet(tmp_path: Path) -> None:
    (found,) = await look(tmp_path)
    assert found.state == "ok"
    assert not os.listdir(tmp_path), "looking makes nothing"  # noqa: PTH208


async def test_a_whole_one(tmp_path: Path) -> None:
    await fill(tmp_path, 10)
    before = (tmp_path / "journal.db").read_bytes()
    (found,) = await look(tmp_path)
    assert found.state == "ok"
    assert found.text.startswith("no damage, ")
    assert found.text.endswith(" of 512 MiB")
    assert (tmp_path / "journal.db").read_bytes() == before


@pytest.mark.parametrize("kind", ["garbage", "pages", "head"])
async def test_damaged(tmp_path: Path, kind: str) -> None:
    await fill(tmp_path, 60)
    path = tmp_path / "journal.db"
    data = bytearray(path.read_bytes())
    if kind == "garbage":
        data[:] = b"garbage " * 5000
    elif kind == "head":
        data[18:20] = b"\7\7"
    else:
        data[4096 * 3 :] = bytes(len(data) - 4096 * 3)
    path.write_bytes(data)
    (found,) = await look(tmp_path)
    assert found.state == "fail"
    assert found.text.startswith("damaged: ")
    assert found.remedy.startswith("restart deskhand: it keeps every record that can be read")
    assert path.read_bytes() == data, "looking repairs nothing"
    # The remedy helps, and the next visit tells what is left of it.
    await starts(tmp_path)
    after = await look(tmp_path)
    assert [check.state for check in after] == ["ok", "warn", "warn"]
    assert "set aside" in after[1].text
    assert after[2].text.startswith("damaged files were kept: journal.damaged-")
    assert after[2].remedy == f"if you need none of them: rm {tmp_path}/journal.damaged-*"


async def test_newer(tmp_path: Path) -> None:
    await fill(tmp_path, 1)
    database = raw(tmp_path)
    database.execute("PRAGMA user_version = 7")
    database.close()
    (found,) = await look(tmp_path)
    assert (found.state, found.text) == ("fail", "made by a newer deskhand (journal version 7)")


async def test_larger_than_allowed(tmp_path: Path) -> None:
    await fill(tmp_path, 1)
    database = raw(tmp_path)
    database.execute("CREATE TABLE ballast (data BLOB)")
    database.execute("INSERT INTO ballast VALUES (zeroblob(2000000))")
    database.close()
    whole, large = await look(tmp_path, max_mb=1)
    assert (whole.state, large.state) == ("ok", "warn")
    assert "more than journal.max_mb allows" in large.text


async def test_a_large_one_is_looked_at_in_bounded_time(tmp_path: Path) -> None:
    await fill(tmp_path, 1)
    database = raw(tmp_path)
    database.execute("CREATE TABLE ballast (data INTEGER)")
    database.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
        " INSERT INTO ballast SELECT i FROM n"
    )
    database.execute("CREATE INDEX b ON ballast (data)")
    database.close()
    (found,) = await look(tmp_path, limit_s=0.0)
    assert found.state == "ok"
    assert found.text.startswith("no damage in the part that 0 s allow to look at")


async def test_beside_a_writer(tmp_path: Path) -> None:
    """A transaction under way holds nobody up, and is not held up."""
    await fill(tmp_path, 10)
    writer = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    try:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO facts (name, value) VALUES ('x', '1')")
        (found,) = await look(tmp_path, limit_s=1.0)
        writer.execute("COMMIT")
    finally:
        writer.close()
    assert found.state == "ok"
