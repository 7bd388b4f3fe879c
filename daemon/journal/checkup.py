"""Looks at the journal's file from outside, beside a running daemon and without getting in its way."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from daemon.journal import salvage
from daemon.journal.rows import SQL
from daemon.journal.store import VERSION

_STEPS = 20_000
"""How many instructions of the database pass between two looks at the time."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found: `problem` says why it cannot be used, `complete` whether all of it was looked at in time.

    `bytes` is what the records take; `aside` are the damaged files that were kept.
    """

    exists: bool = True
    problem: str = ""
    damaged: bool = False
    newer: int = 0
    complete: bool = True
    bytes: int = 0
    set_aside: int = 0
    aside: tuple[Path, ...] = ()


def look(folder: Path, late: Callable[[], bool]) -> Findings:
    """The journal in the state folder. Stops checking pages when `late` says so. For any thread; never raises."""
    path = folder / "journal.db"
    try:
        aside = tuple(sorted(folder.glob("journal.damaged-*.db")))
        if not path.exists():
            return Findings(exists=False, aside=aside)
        salvage.check_head(path)
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as database:
            database.text_factory = salvage.text
            return _read(database, aside, late)
    except sqlite3.Error as error:
        return Findings(problem=str(error), damaged=salvage.is_damage(error, opening=True))
    except OSError as error:
        return Findings(problem=error.strerror or str(error))


def _read(database: sqlite3.Connection, aside: tuple[Path, ...], late: Callable[[], bool]) -> Findings:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        return Findings(newer=version, aside=aside)
    if version == 0:
        return Findings(aside=aside)  # made, and not yet filled
    pages, free, page = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    found = Findings(
        bytes=(pages - free) * page, set_aside=database.execute(SQL["count_set_aside"]).fetchone()[0], aside=aside
    )
    database.set_progress_handler(late, _STEPS)
    try:
        verdict = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return Findings(complete=False, bytes=found.bytes, set_aside=found.set_aside, aside=aside)
    if verdict != "ok":
        return Findings(problem=verdict.splitlines()[0], damaged=True, aside=aside)
    return found
