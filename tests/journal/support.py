"""What the tests of the journal share."""

import sqlite3
from pathlib import Path

from daemon.ports import Status
from tests.dispatch.support import core, until


async def fill(folder: Path, count: int = 60, *, waiting: int = 0) -> None:
    """A journal of so many ended events, and some that wait for their peer."""
    async with core(folder, guard="off", gap_s=0.0) as c:
        for number in range(count):
            await c.send(("entry", "sl")[number % 2], f"S{number}", id=f"e{number}", meta={"pad": "x" * 600})
        await until(lambda: len(c.ended) == count)
        c.journal.commit()
        c.peer.room = 0
        for number in range(waiting):
            await c.send("sl", f"W{number}", id=f"w{number}")


def raw(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "journal.db", isolation_level=None)


async def starts(folder: Path) -> tuple[int, int]:
    """It starts and works; returns how many good events are left and how many records were set aside."""
    async with core(folder, guard="off") as c:
        assert c.journal.ok
        kept = sum(shown["id"].startswith("e") for shown in c.records.events(limit=1000))
        aside = c.journal.set_aside
        c.peer.room = 1000
        assert (await c.send("sl", "NEW", id="new")).status is Status.ACCEPTED
    async with core(folder, guard="off") as c:
        assert c.records.event("new") is not None
    return kept, aside


def damaged(folder: Path) -> list[Path]:
    """The files that were set aside."""
    return list(folder.glob("journal.damaged-*.db"))
