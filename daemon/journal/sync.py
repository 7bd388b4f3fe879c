"""The grouped fsync: makes what is committed safe against a power cut, on a thread of its own.

SQLite commits with synchronous=NORMAL, which survives a killed process; before a source is acknowledged the
write-ahead log is flushed here. All requests that arrive during one flush share the next. The same thread moves
the log into the database (checkpoint), so that no fsync ever runs on the loop's thread.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

Done = Callable[[OSError | None], None]

_GATHER_S = 0.01  # a flush takes disk and processor from the next key, so it waits a little for company
_ENOUGH = 16  # events that need not wait for more: many brokers send no 21st event before the first is acknowledged
_CHECKPOINT_EVERY = 1000  # flushed requests; an event writes about 20 KiB of log
_TRUNCATE_BYTES = 256 * 1024 * 1024


class Syncer:
    """Flushes one SQLite write-ahead log. `request` and `stop` belong to the loop's thread."""

    def __init__(self, database: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._database = database
        self._wal = Path(f"{database}-wal")
        self._loop = loop
        self._waiting: list[Done] = []
        self._batch: list[Done] = []
        self._busy = False
        self._events = 0
        self._go = threading.Semaphore(0)
        self._stopping = False
        self._unmoved = 0
        self._gathering: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._work, name="journal-fsync", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a flush is under way or asked for."""
        return self._busy

    def request(self, done: Done, events: int = 1) -> None:
        """Call `done` on the loop once all that is committed now is on disk, or with the error that prevented it.

        `events` is how many acknowledgements hang on it: many are not kept waiting for more.
        """
        self._waiting.append(done)
        self._events += events
        if not self._busy:
            self._busy = True
            self._gather()
        elif self._gathering is not None and self._events >= _ENOUGH:
            self._hand_over()

    def _gather(self) -> None:
        if self._events >= _ENOUGH or self._stopping:
            self._hand_over()
        else:
            self._gathering = self._loop.call_later(_GATHER_S, self._hand_over)

    def _hand_over(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        # The thread only ever sees a list that the loop no longer appends to: whatever is in it was committed before.
        self._batch, self._waiting, self._events = self._waiting, [], 0
        self._go.release()

    def stop(self, *, wait_s: float) -> None:
        """End the thread after the flush under way, waiting at most `wait_s` seconds for it."""
        self._stopping = True
        if self._gathering is not None:
            self._hand_over()
        else:
            self._go.release()
        self._thread.join(wait_s)

    def _work(self) -> None:
        descriptor = -1
        try:
            while True:
                self._go.acquire()
                batch, self._batch = self._batch, []
                error: OSError | None = None
                try:
                    if descriptor < 0:
                        descriptor = os.open(self._wal, os.O_RDONLY | os.O_CLOEXEC)
                    os.fdatasync(descriptor)
                except OSError as problem:
                    error = problem
                if self._stopping:
                    self._report(batch, error)
                    return
                self._report(batch, error)
                self._unmoved += len(batch)
                if self._unmoved >= _CHECKPOINT_EVERY and descriptor >= 0:
                    self._checkpoint(descriptor)
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _checkpoint(self, descriptor: int) -> None:
        """Move the log into the database; PASSIVE never holds the writer up, and later passes take what came since."""
        self._unmoved = 0
        try:
            with closing(sqlite3.connect(self._database, isolation_level=None, timeout=0)) as database:
                for _ in range(3):
                    _, logged, moved = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                    if logged == moved:
                        return
                if os.fstat(descriptor).st_size > _TRUNCATE_BYTES:
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except (sqlite3.Error, OSError):
            return  # the log stays longer; the next round tries again, and the writer reports a full disk itself

    def _report(self, batch: list[Done], error: OSError | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self._finish, batch, error)

    def _finish(self, batch: list[Done], error: OSError | None) -> None:
        unheard: list[Done] = []
        if self._waiting and self._stopping:
            unheard, self._waiting = self._waiting, []  # the thread has ended: nobody will flush for them
        if self._waiting:
            self._gather()
        else:
            self._busy = False
        for done in batch:
            done(error)
        for done in unheard:
            done(OSError("the journal was closed before it was flushed"))
