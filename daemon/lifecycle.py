"""How the process lives and ends: the lock on its state folder, signals, the service manager, stops in reverse."""

import asyncio
import contextlib
import fcntl
import math
import os
import pwd
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from loguru import logger

from daemon import HELD
from daemon.errors import ConfigError, LockedError
from daemon.redaction import redact

Stop = Callable[[], Awaitable[None]]
_STATUS_S = 10.0
_FIRST_FD = 3  # SD_LISTEN_FDS_START
_FRAMES = 12
_LOOK_S = 0.01
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
    about = os.fstat(descriptor)
    if os.geteuid() == 0 and about.st_uid != 0:
        os.close(descriptor)
        raise ConfigError(
            f"state_dir: {folder} belongs to {user_name(about.st_uid)}, whose daemon could not use what root makes "
            "there; run as that user, or set another state_dir"
        )
    with contextlib.suppress(OSError):
        if about.st_mode & 0o077:
            os.fchmod(descriptor, 0o700)
    return descriptor


def user_name(uid: int) -> str:
    """What the user is called here, or `user 1234`."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


async def until(condition: Callable[[], bool], limit_s: float = math.inf) -> bool:
    """Wait for what nothing tells of, looking every 10 ms; returns whether it came true within `limit_s` seconds."""
    end = asyncio.get_running_loop().time() + limit_s
    while not condition():
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


class Signals:
    """SIGTERM and SIGINT ask for an orderly stop, a second one ends the process at once; SIGHUP asks for a reload,
    SIGUSR1 for the state in the log. They may come before `install`: `python -m daemon` holds them back until then.
    """

    def __init__(self, reload: Callable[[], None], dump: Callable[[], None]) -> None:
        self.stop = asyncio.Event()
        self._reload = reload
        self._dump = dump

    def install(self) -> None:
        """Take the signals over; what was held back arrives now."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR1, self._dump)
        loop.add_signal_handler(signal.SIGUSR2, logger.info, "SIGUSR2: nothing to do")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)

    def _asked(self, number: signal.Signals) -> None:
        if self.stop.is_set():
            logger.warning("{} again: stopping at once", number.name)
            os._exit(128 + number)
        logger.info("{}: stopping", number.name)
        self.stop.set()


class Supervisor:
    """The service manager, if there is one: what systemd wants to be told, and what it handed over.

    `period_s` is how often it wants to hear from us, seconds: half the watchdog's limit, so that one ping may be late;
    10 at most. Wire: sd_notify(3), sd_listen_fds(3).
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        limit = environ.get("WATCHDOG_USEC", "") if ours else ""
        self.period_s = min(_STATUS_S, int(limit) / 2e6) if limit.isdecimal() and int(limit) else _STATUS_S
        self.listeners: tuple[int, ...] = ()
        if environ.get("LISTEN_PID") == str(os.getpid()) and environ.get("LISTEN_FDS", "").isdecimal():
            self.listeners = tuple(range(_FIRST_FD, _FIRST_FD + int(environ["LISTEN_FDS"])))

    def tell(self, *lines: str) -> None:
        """Send some `NAME=value` lines in one datagram. Never blocks; a manager that is gone is no error."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.setblocking(False)
            to.connect(self._address)
            to.send("\n".join(map(_shown, lines)).encode())

    async def attend(self, stuck: Callable[[], str], status: Callable[[], str]) -> None:
        """For ever: keep the status line current and the watchdog calm, as long as `stuck` has nothing to say.

        The loop runs this, so a loop that does not turn does not ping. A ping withheld ends in a restart; the reason
        is logged first, once.
        """
        silent = False
        while True:
            problem = stuck()
            if not problem:
                silent = False
                self.tell("WATCHDOG=1", f"STATUS={status()}")
            elif not silent:
                silent = True
                logger.critical("no progress: {}; the watchdog is not told that all is well", problem)
                self.tell(f"STATUS=no progress: {problem}")
            if not self._address:
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(self.period_s)


def _shown(line: str) -> str:
    """Without secrets, where there are words: the protocol's own must stay as they are, whatever a password is."""
    line = line.replace("\n", " ")
    return redact(line) if line.startswith("STATUS=") else line


def tasks() -> Iterator[str]:
    """One line per task of the loop: its name, and where it waits, innermost last."""
    for task in sorted(asyncio.all_tasks(), key=asyncio.Task.get_name):
        frames: list[str] = []
        waits: Any = task.get_coro()
        while waits is not None and len(frames) < _FRAMES:
            frame = getattr(waits, "cr_frame", None) or getattr(waits, "ag_frame", None)
            if frame is not None:
                frames.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}")
            waits = getattr(waits, "cr_await", None) or getattr(waits, "ag_await", None)
        yield f"{task.get_name()}: {' > '.join(frames) or 'not started'}"
