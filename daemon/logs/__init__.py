"""Logs: one line per message, for people, for journald, or as JSON; never a secret, never an exception.

The line is redacted after it is rendered, so that exception texts and bound fields are covered too. Control characters
are escaped: nobody outside can forge a line. Writing never blocks and never raises: lines that nobody takes (a full
disk, a closed or stalled pipe) are dropped and counted, because no log is worth a late stop-loss.

Lines go to stderr. When that is journald's, they go to its native socket instead, with the fields TRADE_ID, SYMBOL,
EVENT_ID and HANDLER, and to stderr with `<N>` prefixes only when that fails. JSON was asked for by name, so it is JSON
on stderr there too, the fields inside.
"""

import atexit
import contextlib
import logging
import os
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from loguru import logger

from daemon.clock import Clock
from daemon.logs.out import JOURNAL, Journal, Stderr
from daemon.logs.sink import Sink
from daemon.redaction import redact

if TYPE_CHECKING:
    from loguru import Message, Record

__all__ = ["Format", "hide", "plain", "setup"]

Format = Literal["auto", "human", "json"]
_NAMES = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
_sink: Sink | None = None
_silenced: dict[str, int] = {}


def _miss() -> None:
    """Loguru is not re-entrant: the collector ran while a line was written, and what it found wants to be logged."""
    if _sink:
        _sink.lost += 1


class _Bridge(logging.Handler):
    """Takes what libraries log with the standard library (uvicorn, websockets, paho, asyncio, warnings)."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            text = "a log line that could not be put together"
        level: int | str = record.levelname if record.levelname in _NAMES else record.levelno

        def place(found: "Record") -> None:
            found["name"], found["function"], found["line"] = record.name, record.funcName or "", record.lineno
            found["file"].name, found["file"].path = record.filename, record.pathname

        try:
            logger.patch(place).opt(exception=record.exc_info).log(level, "{}: {}", record.name, text)
        except RuntimeError:
            _miss()


def _to_journal(descriptor: int) -> bool:
    """Whether the descriptor is journald's: it then reads `<N>` at the start of a line as the priority."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        about = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(about.st_dev), str(about.st_ino))


def _coloured(descriptor: int) -> bool:
    """Whether to colour the level: on a terminal, unless the user wants none anywhere (no-color.org)."""
    try:
        return os.isatty(descriptor) and not os.environ.get("NO_COLOR")
    except OSError:
        return False


def _crash(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """What nobody caught: through the same sink, so that a crash tells no secret either."""
    if issubclass(kind, KeyboardInterrupt) or error is None:
        return
    logger.opt(exception=(kind, error, trace)).critical("Stopped by a mistake of ours")


def _thread_crash(args: threading.ExceptHookArgs) -> None:
    _crash(args.exc_type, args.exc_value, args.exc_traceback)


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    """What failed where nobody can catch it, like a `__del__`: Python would print it as it is."""
    error = (args.exc_type, args.exc_value, args.exc_traceback)
    try:
        logger.opt(exception=error).error("A mistake of ours went unheard")
    except RuntimeError:
        _miss()


def _listen(*, everything: bool) -> None:
    """Whether to hear all that libraries say, even those that were silenced one by one."""
    logging.root.setLevel(1 if everything else logging.WARNING)
    for name, level in _silenced.items():
        logging.getLogger(name).setLevel(level)
    _silenced.clear()
    for name, found in list(logging.root.manager.loggerDict.items()) if everything else ():
        if isinstance(found, logging.Logger) and found.level:
            _silenced[name] = found.level
            found.setLevel(logging.NOTSET)


def finish() -> None:
    """Tell what is held back, and write nothing more; at the interpreter's end this happens by itself."""
    global _sink  # noqa: PLW0603  # a process has one stderr
    if _sink:
        _sink.close()
        _sink = None


def setup(level: str, fmt: Format, *, clock: Clock | None = None, journal: str = JOURNAL) -> None:
    """Send all logging of the process out from `level` up, and that of libraries from WARNING up; at TRACE all of it.

    Called again it replaces what was set before. `journal` is where journald listens.
    """
    global _sink  # noqa: PLW0603  # a process has one stderr
    logger.remove()
    finish()
    descriptor = 2
    to_journal, as_json = _to_journal(descriptor), fmt == "json"
    _sink = Sink(
        Stderr(descriptor),
        redact,
        clock or Clock(),
        journal=Journal(journal) if to_journal and not as_json else None,
        as_json=as_json,
        prefixed=to_journal,
        coloured=_coloured(descriptor),
    )
    logger.add(_sink, level=level, format="{message}", colorize=False, backtrace=False, diagnose=False, catch=False)
    logging.root.handlers[:] = [_Bridge()]
    _listen(everything=level == "TRACE")
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _crash
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_crash
    atexit.unregister(finish)
    atexit.register(finish)


def _write(message: "Message") -> None:
    with contextlib.suppress(OSError, ValueError):  # a full disk, a closed stderr: no log line is worth a failed verb
        sys.stderr.write(redact(message))


def plain() -> None:
    """For a verb that ends soon: warnings, and what libraries have to say, to stderr and without secrets.

    Nothing happens after `setup`: a daemon reads its configuration the same way, again and again.
    """
    if _sink is not None:
        return
    logger.remove()
    logger.add(_write, level="WARNING", format="{message}", backtrace=False, diagnose=False, catch=False)
    logging.lastResort = _Bridge(logging.WARNING)


def hide(*secrets: str) -> None:
    """Redact these from now on; for secrets that come up while running, like a token made at first start."""
    redact.add(secrets)
