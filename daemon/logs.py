"""Logs: one line per message on stderr, for people, for journald, or as JSON; never a secret, never an exception.

The line is redacted after it is rendered, so that exception texts and bound fields are covered too. Control characters
are escaped: nobody outside can forge a line. Writing never blocks and never raises: lines that stderr does not take
(a full disk, a closed or stalled pipe) are dropped and counted, because no log is worth a late stop-loss.
"""

import json
import logging
import os
import re
import select
import sys
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from loguru import logger

from daemon.settings.model import SECRET_FROM

if TYPE_CHECKING:
    from loguru import Message, Record

Format = Literal["auto", "human", "json"]

HIDDEN = "[hidden]"
"""What stands where a secret was."""

_PRIORITIES = {"TRACE": 7, "DEBUG": 7, "INFO": 6, "SUCCESS": 5, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
# C0, DEL, C1, the Unicode line ends, and the marks that turn the direction of writing. Tabs and newlines are handled
# by who calls: a traceback keeps them, a message does not.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CHUNK = select.PIPE_BUF
"""A pipe that polls as writable takes this many bytes without blocking."""


def _escape(text: str) -> str:
    if text.isascii() and text.isprintable():  # nearly every line, at a tenth of the price
        return text
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


class _Writer:
    """A file descriptor that takes lines as long as it can; what it does not take is counted."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.lost = 0

    def write(self, line: bytes) -> bool:
        """Whether the whole line went out."""
        try:
            for start in range(0, len(line), _CHUNK):
                if not self._poll.poll(0):
                    raise BlockingIOError
                os.write(self._descriptor, line[start : start + _CHUNK])
        except OSError:
            self.lost += 1
            return False
        return True


class _Sink:
    """Renders, redacts and writes one record after another; loguru calls it under its own lock."""

    def __init__(self, writer: _Writer, *, as_json: bool, journald: bool) -> None:
        self._writer = writer
        self._as_json = as_json
        self._journald = journald
        self._secrets: tuple[str, ...] = ()
        self._second: tuple[int, int, int, int] = (0, 0, 0, 0)
        self._stamp = ""

    def hide(self, secrets: Iterable[str]) -> None:
        """Redact these too, as they are and as escaping writes them."""
        known = set(self._secrets)
        for secret in secrets:
            if len(secret) >= SECRET_FROM:
                forms = {secret, _escape(secret), repr(secret)[1:-1]}
                known |= forms | {json.dumps(form)[1:-1] for form in forms}
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    def __call__(self, message: "Message") -> None:
        record = message.record
        text = record["message"]
        trace = message[len(text) + 1 :].rstrip("\n") if record["exception"] else ""
        line = self._json(record, text, trace) if self._as_json else self._human(record, text, trace)
        for secret in self._secrets:
            if secret in line:
                line = line.replace(secret, HIDDEN)
        if self._journald:
            prefix = f"<{_PRIORITIES.get(record['level'].name, 6)}>"
            line = prefix + line.replace("\n", "\n" + prefix)
        if self._writer.lost and self._writer.write(self._gap(self._writer.lost).encode()):
            self._writer.lost = 0
        self._writer.write(f"{line}\n".encode("utf-8", "replace"))

    def _gap(self, lost: int) -> str:
        text = f"{lost} log lines were lost here: stderr did not take them"
        return (
            ("<4>" if self._journald else "")
            + (json.dumps({"level": "WARNING", "message": text}) if self._as_json else text)
            + "\n"
        )

    def _time(self, at: datetime) -> str:
        second = (at.day, at.hour, at.minute, at.second)
        if second != self._second:
            self._second, self._stamp = second, at.strftime("%Y-%m-%d %H:%M:%S")
        return f"{self._stamp}.{at.microsecond // 1000:03d}"

    def _human(self, record: "Record", text: str, trace: str) -> str:
        line = _escape(text)
        if record["extra"]:
            line += "".join(f" {_escape(name)}={_escape(str(value))}" for name, value in record["extra"].items())
        if not self._journald:  # journald keeps time and level itself
            line = f"{self._time(record['time'])} {record['level'].name:<9}{line}"
        if trace:
            line += "".join(f"\n    {_escape(part)}" for part in trace.split("\n"))
        return line

    def _json(self, record: "Record", text: str, trace: str) -> str:
        fields: dict[str, object] = {
            "time": record["time"].isoformat(timespec="milliseconds"),
            "level": record["level"].name,
            "message": text,
        }
        for name, value in record["extra"].items():
            fields.setdefault(name, value if isinstance(value, (int, float, bool)) else str(value))
        if trace:
            fields["exception"] = trace
        return json.dumps(fields)  # ASCII only: every control character is escaped


class _Bridge(logging.Handler):
    """Takes what libraries log with the standard library (uvicorn, websockets, paho, asyncio, warnings)."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            text = "a log line that could not be put together"
        level: int | str = record.levelname if record.levelname in _PRIORITIES else record.levelno
        logger.opt(exception=record.exc_info).log(level, "{}: {}", record.name, text)


_sink: _Sink | None = None


def _to_journal(descriptor: int) -> bool:
    """Whether the descriptor is journald's: it then reads `<N>` at the start of a line as the priority."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        about = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(about.st_dev), str(about.st_ino))


def _crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What nobody caught: through the same sink, so that a crash tells no secret either."""
    if issubclass(kind, KeyboardInterrupt):
        return
    logger.opt(exception=(kind, error, trace)).critical("Stopped by a mistake of ours")


def _thread_crash(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _crash(args.exc_type, args.exc_value, args.exc_traceback)


def setup(level: str, fmt: Format, secrets: Sequence[str]) -> None:
    """Send all logging of the process to stderr from `level` up, and that of libraries from WARNING up."""
    global _sink  # noqa: PLW0603  # a process has one stderr
    descriptor = 2
    _sink = _Sink(_Writer(descriptor), as_json=fmt == "json", journald=_to_journal(descriptor))
    _sink.hide(secrets)
    logger.remove()
    logger.add(_sink, level=level, format="{message}", colorize=False, backtrace=False, diagnose=False, catch=True)
    logging.root.handlers[:] = [_Bridge()]
    logging.root.setLevel(logging.WARNING)
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _crash
    threading.excepthook = _thread_crash


def hide(*secrets: str) -> None:
    """Redact these from now on; for secrets that come up while running, like a token made at first start."""
    if _sink:
        _sink.hide(secrets)
