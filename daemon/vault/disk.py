"""Files that are there whole or not at all, private from their first moment, and one writer at a time."""

import fcntl
import os
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from daemon.errors import VaultError

_LOCK = "vault.lock"
_WAIT_S, _TRIES = 0.05, 200  # ten seconds


Owner = tuple[int, int]
"""Uid and gid."""


def owner_of(folder: Path) -> Owner:
    """Whose a folder is, we where it is not there yet: what root changes for a service stays the service's."""
    try:
        about = folder.stat()
    except OSError:
        return os.geteuid(), os.getegid()
    return about.st_uid, about.st_gid


def read(path: Path, limit: int, owner: Owner | None, *, private: bool = False, follow: bool = False) -> bytes:
    """The bytes of a plain file that is ours, root's or `owner`'s (None: anybody's); if `private`, theirs alone.

    Raises OSError, and VaultError with the command that helps.
    """
    # Non-blocking, or a pipe in its place would hold us up; checked after opening, so nobody can swap it.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise VaultError(f"{path}: is not a plain file")
        if owner is not None and about.st_uid not in {0, os.geteuid(), owner[0]}:
            raise VaultError(f"{path}: belongs to another user; run: chown {os.geteuid()} {shlex.quote(str(path))}")
        if private and about.st_mode & 0o077:
            raise VaultError(f"{path}: others can read it; run: chmod 600 {shlex.quote(str(path))}")
        with os.fdopen(os.dup(handle), "rb") as file:
            raw = file.read(limit + 1)
    finally:
        os.close(handle)
    if len(raw) > limit:
        raise VaultError(f"{path}: is larger than anything deskhand writes there")
    return raw


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock that every change takes, in a folder that is made if need be. Raises VaultError after 10 s."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise VaultError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        _give(handle, owner_of(folder))
        for _ in range(_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_WAIT_S)
        else:
            raise VaultError(f"{folder}: another deskhand has been changing the vault for 10 s; look for it, try again")
        yield
    finally:
        os.close(handle)


def replace(path: Path, content: bytes, *, backup: Path | None = None) -> None:
    """Put `content` at `path` in one step, keeping what is there as `backup`. Raises VaultError, then nothing changed.

    At every moment `path` is either the old or the new file, both safe on disk.
    """
    new = stage(path, content)
    try:
        if backup:
            keep(path, backup)
        os.replace(new, path)  # noqa: PTH105  # all in here goes through `os`, where tests break it step by step
    except OSError as error:
        with suppress(OSError):
            os.unlink(new)  # noqa: PTH108  # see above
        raise VaultError(f"{path}: could not be replaced: {error.strerror}; it is as it was") from None
    try:
        settle(path.parent)
    except OSError as error:
        raise VaultError(f"{path}: was replaced, but may not survive a power cut: {error.strerror}") from None


def staged(path: Path) -> Path:
    """Where a file is before it is in its place."""
    return path.with_name(f"{path.name}.new")


def stage(path: Path, content: bytes, owner: Owner | None = None) -> Path:
    """Write `content` beside `path`, 0600, `owner`'s or the folder's owner's, safe on disk; returns where.

    Raises VaultError.
    """
    new = staged(path)
    try:
        with suppress(FileNotFoundError):
            os.unlink(new)  # noqa: PTH108  # what a killed writer left; we hold the lock
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _give(handle, owner or owner_of(path.parent))
            os.fchmod(handle, 0o600)
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        settle(path.parent)
    except OSError as error:
        with suppress(OSError):
            os.unlink(new)  # noqa: PTH108  # see `replace`
        raise VaultError(f"{path}: could not be written: {error.strerror}; it is as it was") from None
    return new


def keep(path: Path, backup: Path) -> None:
    """Make `backup` a second name of `path`, in one step, if `path` is there. Raises OSError."""
    beside = staged(backup)
    with suppress(FileNotFoundError):
        os.unlink(beside)  # noqa: PTH108  # see `replace`
    with suppress(FileNotFoundError):
        os.link(path, beside, follow_symlinks=False)
        os.replace(beside, backup)  # noqa: PTH105  # see `replace`
        with suppress(FileNotFoundError):
            os.unlink(beside)  # noqa: PTH108  # two names of one file: rename does nothing and leaves both


def settle(folder: Path) -> None:
    """Let the names in `folder` survive a power cut. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _give(handle: int, owner: Owner) -> None:
    about = os.fstat(handle)
    if (about.st_uid, about.st_gid) != owner and os.geteuid() == 0:
        os.fchown(handle, *owner)
