"""The tokens of the local API on disk: names, roles and keyed hashes in `tokens.json`, their key in `tokens.key`.

A token is shown once and never kept: what is here checks one and cannot make one. Both files are the folder's owner's
alone, replaced in one step; one writer at a time.
"""

import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from daemon.errors import ConfigError, DeskhandError
from daemon.http.roles import ROLES, Role

FILE = "tokens.json"
"""The tokens' file in the state folder."""
KEY_FILE = "tokens.key"
"""The key of their hashes."""
PREFIX = "dh_"
"""What every token begins with, so that scanners for leaked secrets can know it: `dh_` and 43 of A-Z a-z 0-9 _ -."""
OWN = "http-token"
"""The name of the token made at the first start, or set as `http.token`; no other may have it."""
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
RATE_MOST = 100_000.0
_MOST, _SIZE_LIMIT, _KEY_BYTES, _HASH_BYTES = 1000, 1024 * 1024, 32, 32


@dataclass(frozen=True, slots=True)
class Token:
    """One token, without itself: `hash` is a keyed BLAKE2b in hex. Times in seconds since the epoch; `rate` in uses per
    second, None for as many as come.
    """

    name: str
    role: Role
    hash: str
    created: float
    expires: float | None = None
    rate: float | None = None

    @property
    def tail(self) -> str:
        """The last four characters of its fingerprint."""
        return self.hash[-4:]

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires


@dataclass(frozen=True, slots=True)
class Tokens:
    """All tokens and the key of their hashes; `mark` tells this state of the file from another."""

    key: bytes = b""
    all: tuple[Token, ...] = ()
    mark: tuple[int, ...] = ()


def digest(key: bytes, token: bytes) -> bytes:
    """The keyed hash of a token."""
    return blake2b(token, key=key, digest_size=_HASH_BYTES).digest()


def mark(folder: Path) -> tuple[int, ...]:
    """What changes with the tokens, or with their key; empty if there are none. Raises OSError."""
    try:
        found = _mark((folder / FILE).stat(follow_symlinks=False))
    except FileNotFoundError:
        return ()
    with suppress(FileNotFoundError):
        found += _mark((folder / KEY_FILE).stat(follow_symlinks=False))
    return found


def _mark(about: os.stat_result) -> tuple[int, ...]:
    return about.st_ino, about.st_mtime_ns, about.st_ctime_ns, about.st_size


def read(folder: Path) -> Tokens:
    """The tokens of a state folder, none if there is no file. Raises ConfigError that says what to do."""
    path = folder / FILE
    found = _read(path)
    if found is None:
        return Tokens()
    raw, at = found
    key = _read(folder / KEY_FILE)
    if key is None or len(key[0]) != _KEY_BYTES:
        raise ConfigError(f"{folder / KEY_FILE}: is gone or damaged; remove {path} and make the tokens anew")
    try:
        content = json.loads(raw)
        if content["version"] != 1:
            raise ConfigError(f"{path}: was written by a newer deskhand")
        tokens = tuple(map(_token, content["tokens"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError(f"{path}: is damaged; remove it and make the tokens anew") from None
    return Tokens(key[0], tokens, at + key[1])


def _token(row: dict[str, Any]) -> Token:
    token = Token(**row)
    numbers = (token.created, token.expires, token.rate)
    sound = (
        NAME.fullmatch(token.name)
        and token.role in ROLES
        and re.fullmatch(r"[0-9a-f]{64}", token.hash)
        and all(n is None or type(n) in (int, float) for n in numbers)
        and (token.rate is None or 0 < token.rate <= RATE_MOST)
    )
    if not sound:
        raise ValueError
    return token


def add(folder: Path, name: str, role: Role, now: float, *, expires: float | None, rate: float | None) -> str:
    """Make a token and answer it, the only time that anybody sees it. Raises DeskhandError if the name is taken."""
    with _only_writer(folder):
        known = read(folder)
        if name == OWN or any(token.name == name for token in known.all):
            raise DeskhandError(f"there is a token called {name} already")
        if len(known.all) >= _MOST:
            raise DeskhandError(f"there are {_MOST} tokens already; remove some")
        key = known.key or _make_key(folder)
        made = PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        new = Token(name, role, digest(key, made.encode()).hex(), now, expires, rate)
        _write(folder, (*known.all, new))
    return made


def remove(folder: Path, name: str) -> None:
    """Forget a token; a running daemon refuses it within a second. Raises DeskhandError if there is none."""
    with _only_writer(folder):
        known = read(folder).all
        left = tuple(token for token in known if token.name != name)
        if left == known:
            hint = "; delete the file http-token instead, and restart" if name == OWN else ""
            raise DeskhandError(f"there is no token called {name}{hint}")
        _write(folder, left)


def _make_key(folder: Path) -> bytes:
    found = _read(folder / KEY_FILE)
    if found is not None and len(found[0]) == _KEY_BYTES:
        return found[0]
    key = secrets.token_bytes(_KEY_BYTES)
    put(folder / KEY_FILE, key)
    return key


def _write(folder: Path, tokens: tuple[Token, ...]) -> None:
    content = {"version": 1, "tokens": [asdict(token) for token in tokens]}
    put(folder / FILE, json.dumps(content, indent=1).encode())


def _read(path: Path) -> tuple[bytes, tuple[int, ...]] | None:
    """What is in a file that is its owner's alone, and its mark. Raises ConfigError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _SIZE_LIMIT:
            raise ConfigError(f"{path}: is not a file that deskhand wrote; remove it")
        if about.st_mode & 0o077:
            raise ConfigError(f"{path}: others can read it; run: chmod 600 {path}")
        if about.st_uid not in (0, os.geteuid(), path.parent.stat().st_uid):
            raise ConfigError(f"{path}: belongs to another user; remove it and make the tokens anew")
        return file.read(_SIZE_LIMIT), _mark(about)


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / "tokens.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DeskhandError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        _give(handle, folder)
        fcntl.flock(handle, fcntl.LOCK_EX)  # held for milliseconds
        yield
    except OSError as error:
        raise DeskhandError(f"{folder / FILE}: cannot be written: {error.strerror}; it is as it was") from None
    finally:
        os.close(handle)


def put(path: Path, content: bytes) -> None:
    """In one step, private from the first moment, safe on disk on return. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()  # what a killed writer left; there is one writer at a time
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            _give(handle, path.parent)
            file.write(content)
            file.flush()
            os.fsync(handle)
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _give(handle: int, folder: Path) -> None:
    """What root makes for a service is the service's."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(handle, owner.st_uid, owner.st_gid)
