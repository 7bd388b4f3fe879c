"""Files and folders with exact owners and modes, and removal that never leaves the folder it is meant for."""

import os
import secrets
import shutil
import stat
from pathlib import Path

from daemon.errors import DeskhandError

Owner = tuple[int, int] | None
"""Uid and gid, or None to leave it to whoever makes the file."""


def put(path: Path, content: bytes, *, mode: int, owner: Owner, replace: bool = True) -> None:
    """Write the file beside its place, private from its first moment, and move it there in one step.

    Raises FileExistsError when it is there and not to be replaced, else OSError.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if owner:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if replace:
            beside.replace(path)
        else:
            path.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)


def is_put(path: Path, content: bytes, *, mode: int, owner: Owner) -> bool:
    """Whether `put` would change nothing."""
    try:
        about = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(about.st_mode) and _fits(about, mode, owner) and path.read_bytes() == content


def give(path: Path, *, mode: int, owner: Owner) -> None:
    """Give a file that is there this owner and mode; a link is not followed. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if owner:
            os.fchown(handle, *owner)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def is_given(path: Path, *, mode: int, owner: Owner) -> bool:
    """Whether `give` would change nothing."""
    return _fits(path.lstat(), mode, owner)


def make_folder(path: Path, *, mode: int, owner: Owner) -> None:
    """Make a folder, or give the one that is there this owner and mode. Raises DeskhandError if it is a link."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    path.mkdir(exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise DeskhandError(f"{path} is not a folder of its own; move it away") from None
    try:
        if owner:
            os.fchown(handle, *owner)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def is_folder(path: Path, *, mode: int, owner: Owner) -> bool:
    """Whether `make_folder` would change nothing."""
    try:
        about = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISDIR(about.st_mode) and _fits(about, mode, owner)


def _fits(about: os.stat_result, mode: int, owner: Owner) -> bool:
    return stat.S_IMODE(about.st_mode) == mode and owner in (None, (about.st_uid, about.st_gid))


def link(path: Path, target: Path) -> None:
    """Make or turn a symbolic link in one step: nobody ever finds it missing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    beside.symlink_to(target)
    beside.replace(path)


def leads_to(path: Path) -> Path | None:
    """Where a symbolic link points, None if it is none."""
    return path.readlink() if path.is_symlink() else None


def there(path: Path) -> bool:
    """Whether anything is at this path, a dangling link included."""
    return os.path.lexists(path)


def remove_folder(path: Path) -> None:
    """Remove a folder and all in it; links in it are removed, never followed.

    Raises DeskhandError for what cannot be one of our folders.
    """
    if not path.is_absolute() or len(path.parts) < 3 or ".." in path.parts:
        raise DeskhandError(f"{path} is a strange folder to remove; do it by hand")
    if path.is_symlink():
        raise DeskhandError(f"{path} is a link to {path.resolve()}; remove it by hand")
    shutil.rmtree(path)
