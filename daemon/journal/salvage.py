"""What to do with a damaged file: keep it under another name and copy every record that can still be read."""

import contextlib
import sqlite3
from pathlib import Path

_CHECK_BYTES = 16 * 1024 * 1024  # a full check of this much takes some 50 ms; larger files are checked as they are read
_KEEP = 5
_COLUMNS = {
    "events": "seq, id, origin, ts, received, boot, body, fingerprint, crc",
    "deliveries": (
        "seq, number, handler, target, steps, mode, state, begun, confirmed, first_byte, ended_at, result, reason, crc"
    ),
    "book": "mode, target, trade, state",
    "facts": "name, value",
}


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


def copy(damaged: Path, into: sqlite3.Connection) -> tuple[int, int]:
    """Copy what can be read; returns how many records were kept and at least how many could not be. Raises
    sqlite3.Error only when `into` cannot be written.
    """
    kept = lost = 0
    source = sqlite3.connect(damaged, isolation_level=None)
    try:
        into.execute("BEGIN IMMEDIATE")
        for table, columns in _COLUMNS.items():
            marks = ", ".join("?" * len(columns.split(", ")))
            insert = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608  # names from above
            broken = 0
            # From both ends, so that one bad page in the middle does not hide what lies behind it.
            for direction in ("ASC", "DESC"):
                try:
                    read = f"SELECT {columns} FROM {table} ORDER BY 1 {direction}"  # noqa: S608  # names from above
                    for row in source.execute(read):
                        kept += into.execute(insert, row).rowcount
                    break
                except sqlite3.DatabaseError:
                    broken = 1
            lost += broken
        into.execute("COMMIT")
    finally:
        source.close()
    return kept, max(lost, 1)
