"""The journal's file: one SQLite database in WAL mode, written by the loop's thread in one transaction per tick.

Changes are gathered and written by `commit`, which survives a killed process when it returns; `after_sync` says when
they also survive a power cut. When a commit fails nothing is dropped here: the caller decides what to forget.
"""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from loguru import logger

from daemon.clock import Clock
from daemon.errors import JournalError
from daemon.events import TradeEvent
from daemon.journal import rows, salvage
from daemon.journal.rows import SQL
from daemon.journal.sync import Syncer
from daemon.ports import Delivery

VERSION = 1
"""The schema version this code reads and writes."""
MIGRATIONS: dict[int, str] = {}
"""Statements that take a file from the version before to this one."""
UNWRITTEN_LIMIT = 10_000
"""How many changes are remembered while the journal cannot be written."""

_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 0;
PRAGMA cache_size = -4000;
PRAGMA temp_store = MEMORY;
"""


class Journal:
    """The record of events, deliveries, the book and the halt. All methods belong to the loop's thread."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.path = folder / "journal.db"
        self.why = "not opened yet"
        self.set_aside = 0
        self._clock = clock
        self._database: sqlite3.Connection | None = None
        self._syncer: Syncer | None = None
        self._seq = 0
        self._events: dict[str, rows.Row] = {}
        self._new: dict[Delivery, None] = {}
        self._changed: dict[Delivery, None] = {}
        self._trades: dict[tuple[str, str, str], str | None] = {}
        self._facts: dict[str, str] = {}
        self._unsynced = False

    @property
    def ok(self) -> bool:
        """Whether the journal can be written, as far as is known; else `why` says what is wrong."""
        return self._database is not None

    def open(self) -> None:
        """Open or make the file; what is corrupt is set aside. Raises JournalError when it cannot be used."""
        try:
            try:
                database = self._connect()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                database = self._rescue(str(error))
            self._seq = max(self._seq, database.execute(SQL["last_seq"]).fetchone()[0])
            self.set_aside = database.execute(SQL["count_set_aside"]).fetchone()[0]
        except (sqlite3.Error, OSError) as error:
            self.why = str(error)
            raise JournalError(self.why) from None
        self._database = database
        self.why = ""
        self._syncer = Syncer(self.path, asyncio.get_running_loop())

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, isolation_level=None, timeout=1.0, cached_statements=64)
        try:
            database.row_factory = sqlite3.Row
            database.executescript(_PRAGMAS)
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise sqlite3.OperationalError(f"made by a newer deskhand (journal version {version})")
            if salvage.small_enough_to_check(self.path):
                verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
                if verdict != "ok":
                    raise sqlite3.DatabaseError("damaged pages")
            if version == 0:
                database.executescript(f"BEGIN IMMEDIATE;\n{rows.SCHEMA}\nPRAGMA user_version = {VERSION};\nCOMMIT;")
            for step in range(max(version, 1) + 1, VERSION + 1):
                database.executescript(f"BEGIN IMMEDIATE;\n{MIGRATIONS[step]}\nPRAGMA user_version = {step};\nCOMMIT;")
            database.execute(SQL["set_fact"], ("opened", str(self._clock.now())))  # a read-only file fails here
        except BaseException:
            database.close()
            raise
        return database

    def _rescue(self, problem: str) -> sqlite3.Connection:
        aside = salvage.move_aside(self.path, self._clock.now())
        database = self._connect()
        kept, lost = salvage.copy(aside, database)
        self.set_aside += lost
        database.execute(SQL["set_aside"], (self._clock.now(), f"file: {problem}", aside.name))
        logger.error(
            "journal: damaged ({}); {} records kept, at least {} lost, file kept as {}", problem, kept, lost, aside
        )
        return database

    def close(self) -> None:
        """Write what is left and close the file; at most a few seconds. Never raises."""
        with contextlib.suppress(JournalError):
            self.commit()
        if self._syncer is not None:
            self._syncer.stop(wait_s=5)
            self._syncer = None
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None
            self.why = "closed"

    # -- writing ---------------------------------------------------------------------------------------------------

    def add(
        self,
        event: TradeEvent,
        body: str,
        origin: str,
        received: float,
        boot: float,
        deliveries: list[Delivery],
        fingerprint: bytes | None,
    ) -> None:
        """Gather an event with its planned deliveries for the next commit and give them their sequence number."""
        self._seq += 1
        seq = self._seq
        self._events[event.id] = rows.event_row(seq, event, body, origin, received, boot, fingerprint)
        for delivery in deliveries:
            delivery.event_seq = seq
            self._new[delivery] = None

    def touch(self, delivery: Delivery) -> None:
        """Gather a delivery whose progress or end must be written by the next commit."""
        if delivery not in self._new:
            self._changed[delivery] = None

    def forget(self, event_id: str) -> None:
        """Drop an event that was gathered but not committed, with its deliveries: its source will be told to resend."""
        row = self._events.pop(event_id, None)
        if row is not None:
            for gathered in (self._new, self._changed):
                for delivery in [d for d in gathered if d.event_seq == row[0]]:
                    del gathered[delivery]

    def put_trade(self, mode: str, target: str, trade: str, state: str | None) -> None:
        """Gather one trade of the book (JSON), or its removal (None)."""
        self._trades[mode, target, trade] = state

    def put_fact(self, name: str, value: str) -> None:
        """Gather a single fact."""
        self._facts[name] = value

    @property
    def pending(self) -> bool:
        """Whether anything waits to be committed."""
        return bool(self._new or self._changed or self._events or self._trades or self._facts)

    def commit(self) -> None:
        """Write everything gathered in one transaction. Raises JournalError; then all of it is still gathered."""
        if not self.pending:
            return
        database = self._database
        if database is None:
            raise JournalError(self.why)
        try:
            database.execute("BEGIN IMMEDIATE")
            if self._events:
                database.executemany(SQL["add_event"], self._events.values())
            if self._new:
                database.executemany(SQL["add_delivery"], map(rows.delivery_row, self._new))
            if self._changed:
                database.executemany(SQL["change_delivery"], map(rows.change_row, self._changed))
            for (mode, target, trade), state in self._trades.items():
                if state is None:
                    database.execute(SQL["drop_trade"], (mode, target, trade))
                else:
                    database.execute(SQL["put_trade"], (mode, target, trade, state))
            if self._facts:
                database.executemany(SQL["set_fact"], self._facts.items())
            database.execute("COMMIT")
        except sqlite3.Error as error:
            self._break(str(error))
            raise JournalError(self.why) from None
        self._events.clear()
        self._new.clear()
        self._changed.clear()
        self._trades.clear()
        self._facts.clear()
        self._unsynced = True

    def _break(self, why: str) -> None:
        self.why = why
        logger.error("journal: cannot be written: {}", why)
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                if database.in_transaction:
                    database.execute("ROLLBACK")
            with contextlib.suppress(sqlite3.Error):
                database.close()
        if self._syncer is not None:
            self._syncer.stop(wait_s=0)
            self._syncer = None
        while len(self._changed) > UNWRITTEN_LIMIT:
            del self._changed[next(iter(self._changed))]

    def after_sync(self, done: Callable[[JournalError | None], None]) -> None:
        """Call `done` once everything committed so far survives a power cut, or with what prevented it."""
        syncer = self._syncer
        if syncer is None:
            done(JournalError(self.why))
        elif self._unsynced or syncer.busy:
            self._unsynced = False
            syncer.request(lambda error: done(JournalError(str(error)) if error else None))
        else:
            done(None)

    # -- looking up ------------------------------------------------------------------------------------------------

    def find(self, event_id: str) -> str | None:
        """The body recorded under an id, or None. Raises JournalError."""
        waiting = self._events.get(event_id)
        if waiting is not None:
            return str(waiting[6])
        found = self._query(SQL["find_event"], (event_id,))
        return str(found[0][1]) if found else None

    def find_twin(self, fingerprint: bytes, since: float) -> str | None:
        """The id of the newest event without an id of its own, same source and body, received after `since` (seconds
        since the epoch), unless it ended without a key. Raises JournalError.
        """
        with contextlib.suppress(JournalError):
            self.commit()
        found = self._query(SQL["find_twin"], (fingerprint, since))
        if not found or (found[0][2] == 0 and found[0][3] > 0):
            return None
        return str(found[0][1])

    def fact(self, name: str) -> str | None:
        """A single fact, or None. Raises JournalError."""
        found = self._query(SQL["get_fact"], (name,))
        return str(found[0][0]) if found else None

    def trades(self, mode: str) -> list[tuple[str, str, str]]:
        """The book of a mode: (target, trade, state as JSON). Raises JournalError."""
        return [(row[0], row[1], row[2]) for row in self._query(SQL["trades"], (mode,))]

    def _query(self, sql: str, parameters: Any) -> list[sqlite3.Row]:
        if self._database is None:
            raise JournalError(self.why)
        try:
            return self._database.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            self._break(str(error))
            raise JournalError(self.why) from None

    # -- recovery --------------------------------------------------------------------------------------------------

    def unfinished(self) -> Iterator[Delivery]:
        """Deliveries that no earlier start has dealt with and that have not ended, oldest first. Records that cannot be
        trusted are set aside and counted. Raises JournalError.
        """
        after = int(self.fact("recovered") or 0)
        for row in self._query(SQL["unfinished"], (after,)):
            try:
                yield rows.rebuild(row)
            except ValueError as problem:
                self._distrust(tuple(row), str(problem))

    def recovered(self) -> None:
        """Remember that everything recorded so far has been dealt with."""
        self.put_fact("recovered", str(self._seq))

    def _distrust(self, row: rows.Row, problem: str) -> None:
        record = json.dumps([value if not isinstance(value, bytes) else value.hex() for value in row])
        self._query(SQL["set_aside"], (self._clock.now(), problem, record))
        self._query(SQL["drop_delivery"], (row[0], row[9]))
        self.set_aside += 1
        logger.error("journal: record {} set aside: {}", row[0], problem)

    # -- reading and keeping house ---------------------------------------------------------------------------------

    def events(
        self,
        *,
        since: float | None = None,
        after: int | None = None,
        type: str | None = None,
        symbol: str | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Recorded events, oldest first, JSON-ready: the first `limit` after sequence number `after`, else the newest.
        Raises JournalError.
        """
        with contextlib.suppress(JournalError):
            self.commit()
        sql = SQL["list_events" if after is None else "list_events_after"]
        found = self._query(
            sql, {"after": after or 0, "since": since or 0.0, "type": type, "symbol": symbol, "limit": limit}
        )
        return self._with_deliveries(found if after is not None else found[::-1])

    def event(self, event_id: str) -> dict[str, Any] | None:
        """One recorded event, JSON-ready, or None. Raises JournalError."""
        with contextlib.suppress(JournalError):
            self.commit()
        shown = self._with_deliveries(self._query(SQL["one_event"], (event_id,)))
        return shown[0] if shown else None

    def _with_deliveries(self, found: list[sqlite3.Row]) -> list[dict[str, Any]]:
        if not found:
            return []
        by_seq: dict[int, list[dict[str, Any]]] = {row["seq"]: [] for row in found}
        for row in self._query(SQL["deliveries_of"], (found[0]["seq"], found[-1]["seq"])):
            if row["seq"] in by_seq:
                by_seq[row["seq"]].append(rows.stored_delivery(row))
        return [rows.event_json(row, by_seq[row["seq"]]) for row in found]

    def size(self) -> int:
        """Bytes of the database that hold records. Raises JournalError."""
        pages, free, page = (
            self._query(f"PRAGMA {name}", ())[0][0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * page)

    def trim(self, older_than: float, largest: int, chunk: int = 200) -> bool:
        """Forget a few of the oldest events: those received before `older_than` (seconds since the epoch), or any while
        the file holds more than `largest` bytes. Returns whether there is more to do. Raises JournalError.
        """
        before = float("inf") if self.size() > largest else older_than
        doomed = self._query(SQL["oldest"], (before, chunk))
        if doomed:
            self._query(SQL["drop_deliveries_to"], (doomed[-1][0],))
            self._query(SQL["drop_events_to"], (doomed[-1][0],))
        return len(doomed) == chunk
