"""Where lines go: a file descriptor, or journald's own socket. Neither ever blocks or raises."""

import errno
import os
import select
import socket

JOURNAL = "/run/systemd/journal/socket"
"""Where journald takes datagrams with fields."""
_CHUNK = select.PIPE_BUF
"""A pipe that polls as writable takes this many bytes without blocking."""
_STILL_THERE = (errno.EAGAIN, errno.EMSGSIZE, errno.ENOBUFS)


class Stderr:
    """A file descriptor that takes lines as long as it can."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._torn = False

    def write(self, text: bytes) -> bool:
        """Whether all of it went out."""
        if self._torn:
            text = b"\n" + text  # what stopped in the middle of a line stays a line of its own
        done = 0
        try:
            while done < len(text):
                if not self._poll.poll(0):
                    raise BlockingIOError
                done += os.write(self._descriptor, text[done : done + _CHUNK])
        except OSError:
            self._torn = self._torn if done == 0 else text[done - 1 : done] != b"\n"
            return False
        self._torn = False
        return True


class Journal:
    """journald's native socket (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram is one entry.

    Connected, because that halves the time an entry takes; a journald that comes back is found again by the next one.
    """

    def __init__(self, path: str = JOURNAL) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._connected = False

    def send(self, entry: bytes) -> bool:
        """Whether journald has it; not when it is away, its queue is full, or the entry is too large."""
        try:
            if not self._connected:
                self._socket.connect(self._path)
                self._connected = True
            self._socket.send(entry)
        except OSError as error:
            self._connected = self._connected and error.errno in _STILL_THERE
            return False
        return True

    def close(self) -> None:
        """Nothing can be sent afterwards."""
        self._socket.close()
