"""What to do with a damaged file: keep it under another name and copy every record that can still be read."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CHECK_BYTES = 16 * 1024 * 1024  # a full check of this much takes some 50 ms; larger files are checked as they are read
_KEEP = 5
_COLUMNS = {
    "events": "seq, id, origin, ts, received, boot, body, fingerprint, crc",
    "deliveries": (
        "seq, number, handler, target, steps, mode, state, begun, confirmed, first_byte, ended_at, result, reason, crc"
    ),
    "book": "mode, target, trade, state",
    "facts": "name, value",
    "posts": (
        'seq, handler, place, run, "group", name, mark, body, made, state, result, reason, answer, ended_at, crc'
    ),
    "set_aside": "found, what, record",
}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_damage(error: Exception, *, opening: bool = False) -> bool:
    """Whether an error says that the file itself is broken, rather than the disk full or the file locked."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the journal itself
        return not isinstance(error, sqlite3.OperationalError)
    # SQLITE_ERROR while opening: a schema or a file format that no version of ours has written.
    return code & 0xFF in _DAMAGE or (opening and code & 0xFF == sqlite3.SQLITE_ERROR)


def text(raw: bytes) -> str:
    """Text as stored; a flipped bit that makes it invalid must not keep the row from being read and set aside."""
    return raw.decode(errors="replace")


def check_head(path: Path) -> None:
    """Raise sqlite3.DatabaseError for a damage that SQLite takes for a write protection; OSError if unreadable."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        if file.read(20)[18:19] > b"\x02":
            raise sqlite3.DatabaseError("damaged head")


def small_enough_to_check(path: Path) -> bool:
    """Whether a full check of the file is quick enough for every start."""
    try:
        return path.stat().st_size <= _CHECK_BYTES
    except FileNotFoundError:
        return False


def move_aside(path: Path, now: float) -> Path:
    """Rename a damaged database with its log to a name that tells when (`now`, seconds since the epoch); the oldest
    such files are removed. Raises OSError.
    """
    aside = path.with_name(f"journal.damaged-{int(now)}.db")
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    Path(f"{path}-shm").unlink(missing_ok=True)
    for old in sorted(path.parent.glob("journal.damaged-*.db"))[:-_KEEP]:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{old}{suffix}").unlink(missing_ok=True)
    return aside


def move_back(aside: Path, path: Path) -> None:
    """Undo `move_aside`. Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{aside}{suffix}").rename(f"{path}{suffix}")


def copy(damaged: Path, into: sqlite3.Connection) -> tuple[int, int]:
    """Copy what can be read; returns how many records were kept and at least how many could not be. Raises
    sqlite3.Error only when `into` cannot be written.
    """
    kept = lost = 0
    source = sqlite3.connect(damaged, isolation_level=None)
    source.text_factory = text
    try:
        into.execute("BEGIN IMMEDIATE")
        for table, columns in _COLUMNS.items():
            marks = ", ".join("?" * len(columns.split(", ")))
            insert = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608  # names from above
            broken: list[sqlite3.Error] = []
            # From both ends, so that one bad page in the middle does not hide what lies behind it.
            for direction in ("ASC", "DESC"):
                read = f"SELECT {columns} FROM {table} ORDER BY 1 {direction}"  # noqa: S608  # names from above
                before = len(broken)
                for row in _readable(source, read, broken):
                    try:
                        kept += into.execute(insert, row).rowcount
                    except sqlite3.IntegrityError:
                        lost += 1  # a value of a kind that no row of ours has
                if len(broken) == before or table == "set_aside":
                    break
            broken = [error for error in broken if not str(error).startswith("no such table")]  # an older version's
            lost += bool(broken)
        into.execute("COMMIT")
    finally:
        source.close()
    return kept, max(lost, 1)


def _readable(source: sqlite3.Connection, read: str, broken: list[sqlite3.Error]) -> Iterator[tuple[Any, ...]]:
    """The rows up to the first that cannot be read; then the reason goes into `broken`."""
    try:
        yield from source.execute(read)
    except sqlite3.DatabaseError as error:
        broken.append(error)
