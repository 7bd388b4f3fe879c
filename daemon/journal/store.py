"""The journal's file: one SQLite database in WAL mode, opened, migrated, rescued, and broken off when it fails."""

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from loguru import logger

from daemon.clock import Clock
from daemon.errors import JournalError
from daemon.journal import salvage
from daemon.journal.rows import SCHEMA, SQL
from daemon.journal.sync import Syncer

VERSION = 2
"""The schema version this code reads and writes."""
MIGRATIONS: dict[int, str] = {
    int(number): block
    for number, block in re.findall(
        r"^-- Version (\d+)\.[^\n]*\n(.*?)(?=^-- Version |\Z)", SCHEMA, re.MULTILINE | re.DOTALL
    )
}
"""Statements that take a file from the version before to this one."""

_PATIENCE_S, _GLANCE_S = 1.0, 0.05
"""How long another program's lock on the file is waited for, in seconds; and when it is tried again while the daemon
works, every second and on the loop's thread, where a stop-loss would wait too."""
_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 0;
PRAGMA cache_size = -256;
PRAGMA temp_store = MEMORY;
"""


class Store:
    """A file that may be unusable now and well again later. All methods belong to the loop's thread."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.path = folder / "journal.db"
        self.why = "not opened yet"
        self.set_aside = 0
        self._clock = clock
        self._database: sqlite3.Connection | None = None
        self._syncer: Syncer | None = None
        self._unsynced = False
        self._damage = ""
        self._patience_s = _PATIENCE_S
        self.broken = asyncio.Event()
        """Set while the file is not open."""
        self.broken.set()

    @property
    def ok(self) -> bool:
        """Whether the journal can be written, as far as is known; else `why` says what is wrong."""
        return self._database is not None

    def open(self) -> None:
        """Open or make the file; what is corrupt is set aside. Raises JournalError when it cannot be used."""
        try:
            try:
                database = self._rescue(self._damage) if self._damage else self._connect()
            except sqlite3.DatabaseError as error:
                if self._damage or not salvage.is_damage(error, opening=True):
                    raise
                database = self._rescue(str(error))
            self._damage = ""
            self.set_aside = database.execute(SQL["count_set_aside"]).fetchone()[0]
            database.execute(f"PRAGMA busy_timeout = {_PATIENCE_S * 1000:.0f}")
        except (sqlite3.Error, OSError, JournalError) as error:
            self.why = str(error)
            raise JournalError(self.why) from None
        finally:
            self._patience_s = _GLANCE_S
        self._database = database
        self.broken.clear()
        self._unsynced = True  # an earlier life may have been killed between its commit and its flush
        self.why = ""
        self._syncer = Syncer(self.path, asyncio.get_running_loop())

    def _connect(self) -> sqlite3.Connection:
        salvage.check_head(self.path)
        database = sqlite3.connect(self.path, isolation_level=None, timeout=self._patience_s, cached_statements=64)
        try:
            database.row_factory = sqlite3.Row
            database.text_factory = salvage.text
            database.executescript(_PRAGMAS)
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise JournalError(f"made by a newer deskhand (journal version {version})")
            if salvage.small_enough_to_check(self.path):
                verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
                if verdict != "ok":
                    raise sqlite3.DatabaseError("damaged pages")
            for step in range(version + 1, VERSION + 1):
                database.executescript(f"BEGIN IMMEDIATE;\n{MIGRATIONS[step]}\nPRAGMA user_version = {step};\nCOMMIT;")
            database.execute(SQL["set_fact"], ("opened", str(self._clock.now())))  # a read-only file fails here
        except BaseException:
            database.close()
            raise
        return database

    def _rescue(self, problem: str) -> sqlite3.Connection:
        aside = salvage.move_aside(self.path, self._clock.now())
        try:
            database = self._connect()
            try:
                kept, lost = salvage.copy(aside, database)
                database.execute(SQL["set_aside"], (self._clock.now(), f"file: {problem}", aside.name))
            except BaseException:
                database.close()
                raise
        except sqlite3.Error:  # a full disk, say: nothing may be lost because of it
            salvage.move_back(aside, self.path)
            raise
        logger.error("journal: damaged ({}); {} records kept, {} or more lost, file now {}", problem, kept, lost, aside)
        return database

    def close(self) -> None:
        """Close the file once the flush under way is over; at most 5 s. Never raises."""
        self._release(wait_s=5)
        self.why = "closed"

    def after_sync(self, done: Callable[[JournalError | None], None], events: int = 1) -> None:
        """Call `done` once everything committed so far survives a power cut, or with what prevented it.

        `events` is how many acknowledgements hang on it.
        """
        syncer = self._syncer
        if syncer is None:
            done(JournalError(self.why))
        elif self._unsynced or syncer.busy:
            self._unsynced = False
            syncer.request(partial(self._synced, syncer, done), events)
        else:
            done(None)

    def _synced(self, syncer: Syncer, done: Callable[[JournalError | None], None], error: OSError | None) -> None:
        if error is not None and self._syncer is syncer:
            # A failed fsync is not to be repeated: the kernel may have dropped the pages. Closing the file copies the
            # log into the database, opening it flushes anew, and until then no entry fires.
            self._break(error)
        done(JournalError(str(error)) if error is not None else None)

    def _break(self, error: sqlite3.Error | OSError) -> None:
        """Give the file up for now; whoever keeps the journal opens it again."""
        self.why = str(error)
        if salvage.is_damage(error):
            self._damage = self.why
        logger.error("journal: cannot be used: {}", self.why)
        self._release(wait_s=0)

    def _release(self, wait_s: float) -> None:
        if self._syncer is not None:
            self._syncer.stop(wait_s=wait_s)
            self._syncer = None
        database, self._database = self._database, None
        self.broken.set()
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                if database.in_transaction:
                    database.execute("ROLLBACK")
            with contextlib.suppress(sqlite3.Error):
                database.close()

    def _query(self, sql: str, parameters: Any = ()) -> list[sqlite3.Row]:
        if self._database is None:
            raise JournalError(self.why)
        try:
            return self._database.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            self._break(error)
            raise JournalError(self.why) from None
