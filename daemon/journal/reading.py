"""What happened, for people and programs: reads on a connection of its own, so that no listing holds up a key."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from daemon.errors import JournalError
from daemon.journal import salvage
from daemon.journal.rows import SQL, event_json, stored_delivery


class Records:
    """The recorded events; may be used on any thread. Sees what is committed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def events(
        self,
        *,
        since: float | None = None,
        after: int | None = None,
        type: str | None = None,
        symbol: str | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Recorded events, oldest first, JSON-ready: the first `limit` after number `after`, else the newest.

        `since` is in seconds since the epoch. Raises JournalError.
        """
        asked = {"after": after or 0, "since": since or 0.0, "type": type, "symbol": symbol, "limit": limit}
        found = self._read(SQL["list_events" if after is None else "list_events_after"], asked)
        return found if after is not None else found[::-1]

    def event(self, event_id: str) -> dict[str, Any] | None:
        """One recorded event, JSON-ready, or None. Raises JournalError."""
        found = self._read(SQL["one_event"], (event_id,))
        return found[0] if found else None

    def runs(self, handler: str, first: str, ending: str, limit: int = 20) -> list[dict[str, Any]]:
        """A handler's latest runs, newest first: the columns of the post `first` that began each, those of the one
        that ended it (its mark is the run's with `ending`) as `end_...`, and `counts`: post name, result or `waiting`,
        how many. Raises JournalError.
        """
        asked = {"handler": handler, "name": first, "ending": ending, "limit": limit}
        try:
            with self._opened() as database:
                found = [dict(row) | {"counts": {}} for row in database.execute(SQL["list_runs"], asked)]
                by_run = {row["run"]: row for row in found}
                for row in database.execute(SQL["count_posts"], (json.dumps(list(by_run)),)):
                    by_run[row["run"]]["counts"].setdefault(row["name"], {})[row["result"]] = row["count"]
        except sqlite3.Error as error:
            raise JournalError(str(error)) from None
        return found

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        address = f"{self._path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=1.0)) as database:
            database.row_factory = sqlite3.Row
            database.text_factory = salvage.text
            yield database

    def _read(self, sql: str, parameters: Any) -> list[dict[str, Any]]:
        try:
            with self._opened() as database:
                found = database.execute(sql, parameters).fetchall()
                by_seq: dict[int, list[dict[str, Any]]] = {row["seq"]: [] for row in found}
                for row in database.execute(SQL["deliveries_of"], (json.dumps(list(by_seq)),)):
                    by_seq[row["seq"]].append(stored_delivery(row))
        except sqlite3.Error as error:
            raise JournalError(str(error)) from None
        return [event_json(row, by_seq[row["seq"]]) for row in found]
