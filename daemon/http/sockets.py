"""The two listening sockets, made by ourselves so that a problem with one is told as the setting it comes from."""

import contextlib
import errno
import grp
import os
import socket
import stat
from pathlib import Path

from loguru import logger

from daemon.errors import ConfigError

BACKLOG = 512
_GROUP = "deskhand"
_PATH_LIMIT = 107  # sun_path holds 108 bytes with its closing zero


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises ConfigError that names `http.port` or `http.host`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"http.host: {host} is not an address of this machine: {error}") from error
    # "localhost" may be ::1 first; whoever connects to it tries 127.0.0.1 too, but scripts name only that.
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    # asyncio sets TCP_NODELAY on accepted connections only if the listener says IPPROTO_TCP; without it a POST
    # takes 44 ms (Nagle's algorithm against the client's delayed acknowledgement).
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"http.port: {port} on {host} is in use by another program; set another port") from error
        if error.errno == errno.EACCES:
            raise ConfigError(f"http.port: {port} needs privileges; take one above 1023") from error
        raise ConfigError(f"http.host: cannot listen on {host}: {error.strerror}") from error
    sock.setblocking(False)
    return sock


def listen_unix(path: Path, *, shared: bool) -> socket.socket:
    """A listening unix socket at `path`, mode 0600; if `shared`, under the system service, 0660 and group `deskhand`.

    A file left behind by a killed daemon is replaced. Raises ConfigError when the path is too long, cannot be made,
    is something else, or somebody still listens on it.
    """
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise ConfigError(f"the unix socket's path is longer than {_PATH_LIMIT} bytes: {path}; set a shorter state_dir")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _folder(path.parent, system=shared)
        _clear(path)
        # On Linux the file takes over the socket's own mode, so that it is never open to others, not even shortly.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(os.fspath(path))
        if shared:
            _share(path)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigError(f"the unix socket {path} cannot be made: {error.strerror}") from error
    except ConfigError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _folder(folder: Path, *, system: bool) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.stat()
    if not system and about.st_uid == os.geteuid() and about.st_mode & 0o022:
        # Whoever may write here may put a socket of his own in our place.
        folder.chmod(stat.S_IMODE(about.st_mode) & ~0o022)


def _clear(path: Path) -> None:
    try:
        about = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(about.st_mode):
        raise ConfigError(f"{path} is in the way: it is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        answer = probe.connect_ex(os.fspath(path))
    if answer == errno.ECONNREFUSED:
        path.unlink()
    elif answer != errno.ENOENT:
        raise ConfigError(f"another program listens on {path}")


def _share(path: Path) -> None:
    try:
        group = grp.getgrnam(_GROUP).gr_gid
        # The service's own group is that one, and a hardened service may not call chown at all.
        if path.stat().st_gid != group:
            os.chown(path, -1, group)
    except KeyError:
        return
    except PermissionError:
        logger.warning("{} stays private: this user is not in the group {}", path, _GROUP)
        return
    path.chmod(0o660)


def inode(path: Path) -> int:
    """The file's number, or 0 if there is none: tells our socket file from one that replaced it."""
    with contextlib.suppress(OSError):
        return path.lstat().st_ino
    return 0


def in_use(host: str, port: int) -> bool:
    """Whether somebody else listens there; for a warning before a restart would fail."""
    try:
        listen_tcp(host, port).close()
    except ConfigError:
        return True
    return False
