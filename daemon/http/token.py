"""The token of the TCP listener: the user's own, or one made at the first start and kept in the state folder."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from loguru import logger

from daemon.errors import ConfigError
from daemon.http.tokens import put
from daemon.redaction import redact
from daemon.settings import HttpSettings

NAME = "http-token"
"""The token's file in the state folder, mode 0600."""
_BYTES = 32


def load_or_make_token(state_dir: Path, settings: HttpSettings) -> str:
    """The token to ask for: the setting's, else the file's, made when missing; its path is logged, never itself.

    Raises ConfigError for a file that others can come to or that is not ours. Where nothing can be written the token
    lives in memory only: the unix socket still serves, and TCP stays shut to those who cannot know it. Redaction knows
    it afterwards.
    """
    token = _token(state_dir, settings)
    redact.add((token,))
    return token


def _token(state_dir: Path, settings: HttpSettings) -> str:
    if settings.token is not None:
        return settings.token.get_secret_value()
    path = state_dir / NAME
    try:
        found = _read(path)
    except FileNotFoundError:
        found = ""
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if found:
        return found
    token = secrets.token_urlsafe(_BYTES)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        put(path, f"{token}\n".encode())
    except OSError as error:
        logger.warning(
            "The HTTP token cannot be kept in {}: {}; only the unix socket is usable until it can", path, error.strerror
        )
    else:
        logger.info("A token for the HTTP API was made; it is in {}", path)
    return token


def _read(path: Path) -> str:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(handle, encoding="utf-8", errors="strict") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise ConfigError(f"{path}: is not a plain file")
        if about.st_uid not in (0, os.geteuid()):
            raise ConfigError(f"{path}: belongs to another user; delete it to get a new token")
        if about.st_mode & 0o077:
            _shut(path, handle)
        try:
            token = file.read(4096).strip()
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: is not a token; delete it to get a new one") from None
    if token and (len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token):
        raise ConfigError(f"{path}: is not a token; delete it to get a new one")
    return token


def _shut(path: Path, handle: int) -> None:
    """Take a file's mode back to 0600, where the folder is ours alone: nobody came to it, and no start is worth that.

    Raises ConfigError where others may have read or written it.
    """
    folder = path.parent.stat()
    if folder.st_uid != os.geteuid() or folder.st_mode & 0o077:
        raise ConfigError(f"{path}: others can read it; `chmod 600 {path}`, or delete it to get a new token")
    with suppress(OSError):  # a disk that is read-only; the folder keeps others out
        os.fchmod(handle, 0o600)
    logger.warning(
        "{} was not for its owner alone, only its folder was; it is now. Delete it and restart for a new one", path
    )
