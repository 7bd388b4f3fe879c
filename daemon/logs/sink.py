"""Renders, redacts and writes one record after another; on the way of every key, so it is short."""

import json
import struct
from datetime import datetime
from typing import TYPE_CHECKING

from daemon.clock import Clock
from daemon.logs.out import Journal, Stderr
from daemon.logs.repeats import Repeats
from daemon.redaction import Redactor, escape

if TYPE_CHECKING:
    from loguru import Message, Record

_FIELDS = {"event_id": "EVENT_ID", "trade_id": "TRADE_ID", "symbol": "SYMBOL", "handler": "HANDLER"}
"""What a record may carry beside its text, and how journald calls it. Lines for people leave them out."""
_PRIORITIES = {"TRACE": 7, "DEBUG": 7, "INFO": 6, "SUCCESS": 5, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
_COLOURS = {"TRACE": "2", "DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_WARNING = 30
_PLACES = 256


class Sink:
    """loguru calls it under its own lock. `prefixed` lines begin with journald's `<N>` and leave time and level to it;
    with `journal`, they are only what it did not take. `coloured` is for a terminal.
    """

    def __init__(
        self,
        stderr: Stderr,
        redact: Redactor,
        clock: Clock,
        *,
        journal: Journal | None = None,
        as_json: bool = False,
        prefixed: bool = False,
        coloured: bool = False,
    ) -> None:
        self.lost = 0
        self._stderr = stderr
        self._redact = redact
        self._clock = clock
        self._journal = journal
        self._as_json = as_json
        self._prefixed = prefixed
        self._repeats = Repeats(redact)
        self._heads = {
            name: f"\x1b[{_COLOURS[name]}m{name:<9}\x1b[0m" if coloured and name in _COLOURS else f"{name:<9}"
            for name in _PRIORITIES
        }
        self._second: tuple[int, int, int, int] = (0, 0, 0, 0)
        self._stamp = ""
        self._places: dict[tuple[str, int, str | None], str] = {}
        self._known = redact.forms

    def __call__(self, message: "Message") -> None:
        """Write it, unless there were too many like it."""
        record = message.record
        repeats = self._repeats
        try:
            if record["level"].no >= _WARNING or repeats.due < float("inf"):
                now = self._clock.boot()
                if repeats.due <= now:
                    self._tell(now)
                if not repeats.passes(record, now):
                    return
            text = record["message"]
            self._write(record, text, message[len(text) + 1 :].rstrip("\n") if record["exception"] else "")
        except Exception:  # promise 6: loguru would show the record as it is, secrets and all
            self.lost += 1

    def close(self) -> None:
        """Tell what is still held back, or lost; the last thing before the end."""
        try:
            self._tell(self._clock.boot(), everything=True)
            if self.lost and self._stderr.write(self._gap()):
                self.lost = 0
        except Exception:  # as above
            self.lost += 1
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _tell(self, now: float, *, everything: bool = False) -> None:
        for record in self._repeats.told(now, everything=everything):
            record["time"] = datetime.fromtimestamp(self._clock.now(), record["time"].tzinfo)
            self._write(record, record["message"], "")

    def _write(self, record: "Record", text: str, trace: str) -> None:
        priority = _PRIORITIES.get(record["level"].name)
        if priority is None:  # a library's own level
            priority = 4 if record["level"].no >= _WARNING else 6
        if self.lost and self._stderr.write(self._gap()):
            self.lost = 0
        if self._as_json:
            line = self._json(record, text, trace)
        else:
            line = self._redact(self._human(record, text, trace))
            if self._journal is not None and self._journal.send(self._entry(record, line, priority)):
                return
        if self._prefixed:
            line = f"<{priority}>" + line.replace("\n", f"\n<{priority}>")
        if not self._stderr.write(f"{line}\n".encode("utf-8", "replace")):
            self.lost += 1

    def _gap(self) -> bytes:
        text = f"{self.lost} log lines were lost here: nobody took them"
        line = json.dumps({"level": "WARNING", "message": text}) if self._as_json else text
        return f"{'<4>' if self._prefixed else ''}{line}\n".encode()

    def _time(self, at: datetime) -> str:
        second = (at.day, at.hour, at.minute, at.second)
        if second != self._second:
            self._second, self._stamp = second, at.strftime("%Y-%m-%d %H:%M:%S")
        return f"{self._stamp}.{at.microsecond // 1000:03d}"

    def _human(self, record: "Record", text: str, trace: str) -> str:
        line = escape(text)
        for name, value in record["extra"].items():
            if name not in _FIELDS:
                line += f" {escape(name)}={escape(str(value))}"
        if not self._prefixed:  # journald keeps time and level itself
            level = record["level"].name
            line = f"{self._time(record['time'])} {self._heads.get(level) or f'{level:<9}'}{line}"
        if trace:
            line += "".join(f"\n    {escape(part)}" for part in trace.split("\n"))
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
        line = json.dumps(fields)  # ASCII only: every control character is escaped
        if not self._redact.holds(line):
            return line
        # Value by value, so that it stays JSON; then once more, because nobody's parser is worth a secret.
        hidden = {self._redact(name): _hidden(value, self._redact) for name, value in fields.items()}
        return self._redact(json.dumps(hidden))

    def _entry(self, record: "Record", line: str, priority: int) -> bytes:
        """One datagram. Only the message can have more than one line; its length then stands before it."""
        body = line.encode("utf-8", "replace")
        body = b"\n" + struct.pack("<Q", len(body)) + body if b"\n" in body else b"=" + body
        rest = "\n"
        for name, value in record["extra"].items():
            if name in _FIELDS:
                rest += f"{_FIELDS[name]}={escape(str(value))}\n"
        rest = f"{self._redact(rest)}PRIORITY={priority}\n{self._place(record)}"
        return b"MESSAGE" + body + rest.encode("utf-8", "replace")

    def _place(self, record: "Record") -> str:
        """Where the line comes from; kept, because the same few places write nearly all lines."""
        if self._known is not self._redact.forms or len(self._places) >= _PLACES:
            self._known = self._redact.forms
            self._places.clear()
        key = (record["file"].path, record["line"], record["name"])
        place = self._places.get(key)
        if place is None:
            path, line, name = key
            place = self._redact(
                f"SYSLOG_IDENTIFIER=deskhand\nLOGGER={escape(name or '')}\nCODE_FILE={escape(path)}\n"
                f"CODE_LINE={line}\nCODE_FUNC={escape(record['function'])}\n"
            )
            self._places[key] = place
        return place


def _hidden(value: object, redact: Redactor) -> object:
    """The value of a field; a number that holds a secret becomes text."""
    text = str(value)
    return value if (shown := redact(text)) == text else shown
