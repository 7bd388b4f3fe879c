"""Listening sockets that systemd holds for us (socket activation), so that nobody is refused while we restart.

They stay the unit's: their file is neither removed nor changed, and closing ours leaves whoever waits in the backlog to
the next daemon. What would open the API to strangers is refused: on the unix socket nobody is asked for a token.
"""

import contextlib
import ipaddress
import os
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from loguru import logger

from daemon.errors import ConfigError

_UNIT = "the socket unit"


class Given(NamedTuple):
    """At most one listening socket of each kind."""

    tcp: socket.socket | None = None
    unix: socket.socket | None = None


def take(descriptors: Sequence[int], path: Path, refusal: Callable[[], str]) -> Given:
    """The sockets behind the descriptors; `path` is where commands look for the unix socket, `refusal` says why others
    on the network may not reach the server, if they may not.

    Raises ConfigError that says what the socket unit must say; then no descriptor is closed.
    """
    with contextlib.ExitStack() as undo:
        found: dict[str, socket.socket] = {}
        for number in descriptors:
            sock = _socket(number)
            undo.callback(sock.detach)
            kind = "unix" if sock.family == socket.AF_UNIX else "tcp"
            if kind in found:
                raise ConfigError(f"{_UNIT} may hold one ListenStream= for TCP and one for the unix socket, no more")
            if kind == "unix":
                _check_unix(sock)
            else:
                _check_tcp(sock, refusal)
            found[kind] = sock
        for sock in found.values():
            os.set_inheritable(sock.fileno(), False)
            sock.setblocking(False)
        if "tcp" in found:
            # Accepted connections inherit it. asyncio would set it itself, but for plain TCP only and not for MPTCP.
            found["tcp"].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if "unix" in found:
            _compare(found["unix"], path)
        undo.pop_all()
        return Given(**found)


def _socket(number: int) -> socket.socket:
    try:
        # Asks the kernel for family, type and protocol; a listener without its protocol would cost 44 ms a request,
        # see `listen_tcp`.
        sock = socket.socket(fileno=number)
    except OSError as error:
        raise ConfigError(f"descriptor {number} of {_UNIT} is no socket: only ListenStream= may stand there") from error
    stream = sock.family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
    if not stream or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise ConfigError(f"descriptor {number} of {_UNIT} does not listen for streams: use ListenStream=, Accept=no")
    return sock


def _check_tcp(sock: socket.socket, refusal: Callable[[], str]) -> None:
    host, port = sock.getsockname()[:2]
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        why = refusal()
        if why:
            raise ConfigError(f"{_UNIT} listens on {host}: it must say ListenStream=127.0.0.1:{port}, because {why}")


def _check_unix(sock: socket.socket) -> None:
    address = sock.getsockname()
    if not isinstance(address, str) or not address.startswith("/"):
        raise ConfigError(f"{_UNIT} gives a unix socket without a file: ListenStream= must be a path")
    with contextlib.suppress(OSError):
        if stat.S_IMODE(Path(address).stat().st_mode) & 0o002:
            raise ConfigError(f"everybody may write to {address}: {_UNIT} must say SocketMode=0660 or less")


def _compare(unix: socket.socket, path: Path) -> None:
    address = unix.getsockname()
    if address != os.fspath(path):
        logger.warning("commands look for {}, but {} gives {}", path, _UNIT, address)
    elif not path.is_socket():
        logger.warning("{} is gone, so commands cannot reach the daemon; restart {}", path, _UNIT)
