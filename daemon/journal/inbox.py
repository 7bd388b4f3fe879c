"""The first record of an event: one append to a small file, before its first key.

A SQLite transaction costs a process that was asleep 130 us, an append 20. What is appended here survives a killed
process; the full record follows right after the key, and a crash in between is made good from here at the next start.
Nothing is ever acknowledged on the strength of this file, so it is never flushed to disk.
"""

import errno
import os
import zlib
from pathlib import Path

_EMPTY_FROM = 256 * 1024  # bytes; until then what has been moved is just skipped by its number
_HEAD = b"deskhand"
_ROOM = 1024 * 1024  # bytes; one record takes some 30 KiB of log, a burst takes the full transaction anyway


class Inbox:
    """The file `path`. Raises OSError where it cannot be opened, written or read."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size

    def put(self, head: str, raw: bytes) -> bool:
        """Append one record: a line without line breaks, and the event as it came.

        Returns False, and appends nothing, where the disk may have no room for the full record after the key.
        """
        disk = os.fstatvfs(self._file)
        if disk.f_bavail * disk.f_frsize < _ROOM or disk.f_flag & os.ST_RDONLY:
            return False
        record = head.encode() + b"\n" + raw
        data = b"%b %d %d\n%b\n" % (_HEAD, len(record), zlib.crc32(record), record)
        if os.write(self._file, data) != len(data):
            os.ftruncate(self._file, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += len(data)
        return True

    def records(self) -> list[tuple[str, bytes]]:
        """Every whole record, oldest first; a torn or damaged one ends the list: nothing behind it was written."""
        data = os.pread(self._file, self._size, 0)
        found, at = [], 0
        while data.startswith(_HEAD + b" ", at):
            line = data.find(b"\n", at)
            words = data[at:line].split() if line > 0 else []
            if len(words) != 3 or not words[1].isdigit() or not words[2].isdigit():
                break
            record = data[line + 1 : line + 1 + int(words[1])]
            if len(record) != int(words[1]) or zlib.crc32(record) != int(words[2]):
                break
            head, _, raw = record.partition(b"\n")
            found.append((head.decode(errors="replace"), raw))
            at = line + 1 + len(record) + 1
        return found

    def moved(self) -> None:
        """Everything in here is in the tables now; now and then that makes the file small again."""
        if self._size >= _EMPTY_FROM:
            self.empty()

    def empty(self) -> None:
        """Drop everything."""
        os.ftruncate(self._file, 0)
        self._size = 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
