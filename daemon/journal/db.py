"""Writing and reading the record: gathered changes, written in one transaction per tick.

Before a key goes out, `record` makes the event survive a killed process in the quickest way; `commit` writes all that
was gathered; `after_sync` says when it also survives a power cut. When writing fails nothing is dropped here: the
caller decides what to forget.
"""

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from loguru import logger

from daemon.clock import Clock
from daemon.errors import JournalError
from daemon.journal import rows
from daemon.journal.inbox import Inbox
from daemon.journal.known import Known
from daemon.journal.posts import post_change, post_row, rebuild_post
from daemon.journal.rows import SQL, Entry
from daemon.journal.store import Store
from daemon.ports import Delivery, Post, State
from daemon.redaction import redact

UNWRITTEN_LIMIT = 10_000
"""How many changes are remembered while the journal cannot be written."""


class Journal(Store):
    """The record of events, deliveries, the book and the halt. All methods belong to the loop's thread."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder, clock)
        self.unbooked: set[int] = set()
        """Events whose first key may have gone out before the book took note; for recovery."""
        self._seq = 0
        self._found: int | None = None  # the last number of earlier lives, known once the file could be opened
        self._known = Known()
        self._entries: dict[str, Entry] = {}
        self._twins: dict[bytes, Entry] = {}
        self._new: dict[Delivery, None] = {}
        self._changed: dict[Delivery, None] = {}
        self._trades: dict[tuple[str, str, str], str | None] = {}
        self._facts: dict[str, str | None] = {}
        self._posts: dict[str, Post] = {}
        self._posted: dict[str, Post] = {}
        self._post_seq = 0
        self._inbox: Inbox | None = None
        self._unlearned = 0
        self._in_inbox = False

    def open(self) -> None:
        """Open or make the file; what is corrupt is set aside. Raises JournalError when it cannot be used."""
        super().open()
        last = self._query(SQL["last_seq"])[0][0]
        try:
            self._inbox = Inbox(self.path.with_name("inbox"))
            waiting = self._inbox.records()
        except OSError as error:
            self._break(error)
            raise JournalError(self.why) from None
        left = self._left_behind(waiting, last)
        if self._found is None:
            self._unlearned = last
            self.learn()
            self._found = max([last, *(entry.seq for entry in left)])
            self._renumber(self._found)
        self._seq = max(self._seq, self._found)
        self._renumber_posts(self._query(SQL["last_post"])[0][0])
        for entry in left:
            self._entries[entry.event.id] = entry
            self._known.add(entry.event.id)
            self._new.update(dict.fromkeys(entry.deliveries))
            self.unbooked.add(entry.seq)
        self.commit()
        with contextlib.suppress(OSError):
            self._inbox.empty()

    def _left_behind(self, waiting: list[tuple[str, bytes]], last: int) -> list[Entry]:
        """What a crash left between an event's first record and the tables. Raises JournalError."""
        gathered: set[int] = set()
        if self._found is not None:  # after a full disk we still know our own, and better
            gathered = {entry.seq for entry in self._entries.values()}
        left = []
        for head, raw in waiting:
            try:
                entry = rows.rebuild_entry(head, raw)
            except ValueError as problem:
                self._distrust((head, raw), str(problem))
                continue
            if entry.seq > last and entry.seq not in gathered:
                left.append(entry)
        return list({entry.seq: entry for entry in left}.values())  # the last word on each

    def close(self) -> None:
        """Write what is left and close the file; at most 5 s. Never raises."""
        with contextlib.suppress(JournalError):
            self.commit()
        super().close()

    # -- writing ---------------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Gather an event with its planned deliveries and give them their sequence number."""
        self._seq += 1
        entry.seq = self._seq
        if self._database is None and len(self._entries) >= UNWRITTEN_LIMIT:
            self.forget(next(iter(self._entries)))
        self._entries[entry.event.id] = entry
        if entry.fingerprint is not None:
            self._twins[entry.fingerprint] = entry
        for delivery in entry.deliveries:
            delivery.event_seq = entry.seq
            self._new[delivery] = None

    def touch(self, delivery: Delivery) -> None:
        """Gather a delivery whose progress or end must be written by the next commit."""
        if delivery not in self._new:
            self._changed[delivery] = None

    def forget(self, event_id: str) -> None:
        """Drop an event that was gathered but not committed, with its deliveries: it may be sent again."""
        entry = self._entries.pop(event_id, None)
        if entry is not None and entry.fingerprint is not None:
            self._twins.pop(entry.fingerprint, None)
        for delivery in entry.deliveries if entry is not None else ():
            self._new.pop(delivery, None)
            self._changed.pop(delivery, None)

    def put_trade(self, mode: str, target: str, trade: str, state: str | None) -> None:
        """Gather one trade of the book (JSON), or its removal (None)."""
        self._trades[mode, target, trade] = state

    def put_fact(self, name: str, value: str | None) -> None:
        """Gather a single fact, or its removal (None)."""
        self._facts[name] = redact.sure(value) if value is not None else None

    def post(self, post: Post) -> None:
        """Gather a post that is new, or one that has changed, for the next commit."""
        if not post.seq:
            self._post_seq += 1
            post.seq = self._post_seq
            self._posts[post.mark] = post
        elif post.mark not in self._posts:
            self._posted[post.mark] = post

    @property
    def pending(self) -> bool:
        """Whether anything waits to be committed."""
        gathered = (self._new, self._changed, self._entries, self._trades, self._facts, self._posts, self._posted)
        return any(gathered)

    def record(self) -> None:
        """Make what is about to go out survive a killed process. Raises JournalError; then it is still gathered.

        A single event about to start takes the short way, one append to the inbox; the caller makes up for it with
        `commit` once the key is out.
        """
        if len(self._entries) == 1 and not self._changed and not self._facts and self._inbox is not None:
            entry = next(iter(self._entries.values()))
            if entry.deliveries and all(d.state is not State.ENDED for d in entry.deliveries):
                try:
                    self._in_inbox |= (short := self._inbox.put(rows.inbox_head(entry), entry.raw))
                except OSError as error:
                    self._break(error)
                    raise JournalError(self.why) from None
                if short:
                    return
        self.commit()

    def commit(self) -> None:
        """Write everything gathered in one transaction. Raises JournalError; then all of it is still gathered."""
        if not self.pending:
            return
        database = self._database
        if database is None:
            raise JournalError(self.why)
        try:
            try:
                self._write(database)
            except sqlite3.IntegrityError:
                database.execute("ROLLBACK")
                self._rename_known(database)
                self._write(database)
        except sqlite3.Error as error:
            self._break(error)
            raise JournalError(self.why) from None
        for entry in self._entries.values():
            self._known.add(entry.event.id)
        self._entries.clear()
        self._twins.clear()
        self._new.clear()
        self._changed.clear()
        self._trades.clear()
        self._facts.clear()
        self._posts.clear()
        self._posted.clear()
        self._unsynced = True
        if self._in_inbox and self._inbox is not None:
            self._in_inbox = False
            with contextlib.suppress(OSError):  # it grows a little more, and is tried again
                self._inbox.moved()

    def _write(self, database: sqlite3.Connection) -> None:
        database.execute("BEGIN IMMEDIATE")
        if self._entries:
            database.executemany(SQL["add_event"], map(rows.event_row, self._entries.values()))
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
            database.executemany(SQL["set_fact"], [item for item in self._facts.items() if item[1] is not None])
            database.executemany(SQL["drop_fact"], [(name,) for name, value in self._facts.items() if value is None])
        if self._posts:
            database.executemany(SQL["add_post"], map(post_row, self._posts.values()))
        if self._posted:
            database.executemany(SQL["change_post"], map(post_change, self._posted.values()))
        database.execute("COMMIT")

    def _rename_known(self, database: sqlite3.Connection) -> None:
        """An exit that came again while the file could not be read has fired again: it gets an id of its own."""
        for event_id, entry in self._entries.items():
            if database.execute(SQL["find_event"], (event_id,)).fetchone() is not None:
                entry.event = entry.event.model_copy(update={"id": f"{event_id}~{entry.seq}"})

    def _renumber(self, last: int) -> None:
        """What was gathered before the file could first be opened comes after all that is in it."""
        self._seq += last
        for entry in self._entries.values():
            entry.seq += last
        for delivery in (*self._new, *self._changed):
            delivery.event_seq += last

    def _renumber_posts(self, last: int) -> None:
        if self._post_seq <= len(self._posts):  # none of ours has been written yet
            for post in self._posts.values():
                post.seq += last
            self._post_seq += last

    def _release(self, wait_s: float) -> None:
        super()._release(wait_s)
        if self._inbox is not None:
            self._inbox.close()
            self._inbox = None

    def _break(self, error: sqlite3.Error | OSError) -> None:
        super()._break(error)
        while len(self._changed) > UNWRITTEN_LIMIT:
            del self._changed[next(iter(self._changed))]

    # -- looking up ------------------------------------------------------------------------------------------------

    def find(self, event_id: str) -> str | None:
        """The body recorded under an id, or None. Raises JournalError."""
        waiting = self._entries.get(event_id)
        if waiting is not None:
            return waiting.said.body()
        if not self._unlearned and not self._known.maybe(event_id) and self._database is not None:
            return None
        found = self._query(SQL["find_event"], (event_id,))
        return str(found[0][1]) if found else None

    def learn(self, chunk: int = 10_000) -> bool:
        """Take note of some more ids on record, newest first; returns whether there are more. Raises JournalError.

        Until all are known every event asks the database, which is slower and just as right.
        """
        if not self._unlearned:
            return False
        found = self._query(SQL["ids"], (self._unlearned, chunk))
        for row in found:
            self._known.add(row["id"])
        self._unlearned = found[-1]["seq"] - 1 if len(found) == chunk else 0
        return bool(self._unlearned)

    def find_twin(self, fingerprint: bytes, since: float, since_boot: float = -math.inf) -> str | None:
        """The id of the newest event without an id of its own, same source and body, received after `since`.

        None if it ended without a key. `since` is in seconds since the epoch, `since_boot` since the machine's start: a
        clock that was set back makes no event younger. Raises JournalError.
        """
        waiting = self._twins.get(fingerprint)
        if waiting is not None and waiting.received > since and waiting.boot > since_boot:
            without_key = waiting.deliveries and all(map(rows.without_key, waiting.deliveries))
            return None if without_key else waiting.event.id
        if self._changed:  # how the twin ended may be among it
            with contextlib.suppress(JournalError):
                self.commit()
        now = self._clock.now() if since_boot > -math.inf else math.inf
        found = self._query(SQL["find_twin"], (fingerprint, since, since_boot, self._clock.boot(), now))
        if not found or (found[0][2] == 0 and found[0][3] > 0):
            return None
        return str(found[0][1])

    def fact(self, name: str) -> str | None:
        """A single fact, or None. Raises JournalError."""
        found = self._query(SQL["get_fact"], (name,))
        return str(found[0][0]) if found else None

    def facts(self, prefix: str) -> dict[str, str]:
        """Every fact whose name begins so, by the rest of its name. Raises JournalError."""
        found = {row[0]: row[1] for row in self._query(SQL["get_facts"], (len(prefix), prefix))}
        found |= {name: value for name, value in self._facts.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): value for name, value in found.items() if value is not None}

    def trades(self, mode: str) -> list[tuple[str, str, str]]:
        """The book of a mode: (target, trade, state as JSON). Raises JournalError."""
        return [(row[0], row[1], row[2]) for row in self._query(SQL["trades"], (mode,))]

    # -- recovery --------------------------------------------------------------------------------------------------

    def unfinished(self) -> list[Delivery]:
        """Deliveries of earlier lives that have not ended, oldest first.

        Records that cannot be trusted are set aside and counted. Raises JournalError.
        """
        after = self.fact("recovered") or ""
        found = []
        for row in self._query(SQL["unfinished"], (int(after) if after.isdecimal() else 0, self._found)):
            try:
                found.append(rows.rebuild(row))
            except ValueError as problem:
                self._distrust(tuple(row), str(problem))
                self._query(SQL["drop_delivery"], (row["seq"], row["number"]))
        return found

    def recovered(self, pending: Iterable[Delivery]) -> None:
        """Remember that all that earlier lives left has been dealt with, but for `pending`, which only wait again."""
        seq = min((delivery.event_seq - 1 for delivery in pending), default=self._found or 0)
        self.put_fact("recovered", str(seq))

    def _distrust(self, row: rows.Row, problem: str) -> None:
        record = json.dumps([value if not isinstance(value, bytes) else value.hex() for value in row])
        self._query(SQL["set_aside"], (self._clock.now(), problem, record))
        self.set_aside += 1
        logger.error("journal: record {} set aside: {}", row[0], problem)

    # -- posts -----------------------------------------------------------------------------------------------------

    def waiting_posts(self, handler: str) -> list[Post]:
        """What a handler has not been told the end of, oldest first. Raises JournalError."""
        return self._read_posts("waiting_posts", handler)

    def find_post(self, mark: str) -> Post | None:
        """The post with this mark, or None; writes nothing, so what is gathered stays together. Raises JournalError."""
        gathered = self._posts.get(mark) or self._posted.get(mark)
        return gathered or next(iter(self._rebuilt("find_post", mark)), None)

    def posts_of(self, run: str) -> list[Post]:
        """Every post of a run, oldest first. Raises JournalError."""
        return self._read_posts("posts_of_run", run)

    def posts_named(self, handler: str, name: str, limit: int) -> list[Post]:
        """A handler's latest posts of that name, newest first. Raises JournalError."""
        return self._read_posts("posts_named", handler, name, limit)

    def _read_posts(self, query: str, *parameters: object) -> list[Post]:
        if self._posts or self._posted:
            self.commit()
        return self._rebuilt(query, *parameters)

    def _rebuilt(self, query: str, *parameters: object) -> list[Post]:
        found = []
        for row in self._query(SQL[query], parameters):
            try:
                found.append(rebuild_post(row))
            except (ValueError, KeyError) as problem:
                self._distrust(tuple(row), str(problem))
                self._query(SQL["drop_post"], (row["seq"],))
        return found

    # -- keeping house ---------------------------------------------------------------------------------------------

    def size(self) -> int:
        """Bytes of the database that hold records. Raises JournalError."""
        names = ("page_count", "freelist_count", "page_size")
        pages, free, page = (self._query(f"PRAGMA {name}")[0][0] for name in names)
        return int((pages - free) * page)

    def trim(self, older_than: float, largest: int, chunk: int = 200) -> bool:
        """Forget a few of the oldest events; returns whether there is more to do. Raises JournalError.

        Those received before `older_than` (seconds since the epoch), or any while the file holds over `largest` bytes.
        """
        before = float("inf") if self.size() > largest else older_than
        doomed = self._query(SQL["oldest"], (chunk, before))
        if doomed:
            self._query(SQL["drop_deliveries_to"], (doomed[-1][0],))
            self._query(SQL["drop_events_to"], (doomed[-1][0],))
        self._query(SQL["drop_posts"], {"before": older_than, "chunk": chunk})
        return len(doomed) == chunk
