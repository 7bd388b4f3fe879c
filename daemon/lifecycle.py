"""How the process lives and ends: the lock on its state folder, signals, and stops that run in reverse order."""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from loguru import logger

from daemon.errors import ConfigError, LockedError

Stop = Callable[[], Awaitable[None]]
_LEAST_S = 0.1  # for each stop, also when those before it have used up all the time


class Stops:
    """Named stops, run last in, first out; each once, each with a limit, and one that fails hinders no other."""

    def __init__(self) -> None:
        self._stops: list[tuple[str, Stop, float]] = []

    def add(self, name: str, stop: Stop, limit_s: float = 1.0) -> None:
        """Remember how to stop what was just started, and how many seconds that may take."""
        self._stops.append((name, stop, limit_s))

    async def run(self, limit_s: float) -> list[str]:
        """Run and forget them all, within `limit_s` seconds and little more; returns what went wrong, by name."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + limit_s
        problems = []
        while self._stops:
            name, stop, own_limit_s = self._stops.pop()
            try:
                async with asyncio.timeout(min(own_limit_s, max(_LEAST_S, ends - loop.time()))):
                    await stop()
            except Exception as error:  # promise 9: what cannot stop must not keep the rest from stopping
                problems.append(f"{name}: {type(error).__name__}: {error}")
                logger.error("could not stop {} cleanly: {}", name, type(error).__name__)
        return problems


def own_folder(folder: Path) -> int:
    """Make the state folder (0700) if need be and lock it for this process; returns the descriptor that holds the lock.

    The folder itself is locked, so that a full or read-only disk does not get in the way. Raises ConfigError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"state_dir: {folder} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LockedError(
            f"state_dir: another deskhand is running on {folder}; stop it, or set another state_dir"
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"state_dir: {folder} cannot be locked: {error.strerror}") from None
    with contextlib.suppress(OSError):
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o700)
    return descriptor


class Signals:
    """SIGTERM and SIGINT ask for an orderly stop; a second one ends the process at once."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def install(self) -> None:
        """Take the signals over."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._asked, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._hangup)

    def _asked(self, number: signal.Signals) -> None:
        if self.stop.is_set():
            logger.warning("{} again: stopping at once", number.name)
            os._exit(128 + number)
        logger.info("{}: stopping", number.name)
        self.stop.set()

    def _hangup(self) -> None:
        logger.warning("SIGHUP: this version cannot reload; restart it to use a changed configuration")
