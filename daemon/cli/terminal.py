"""How things look on the terminal: colours, times, tables, JSON."""

import os
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

from daemon.redaction import redact

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}
_PAINT = re.compile("\x1b\\[[0-9]+m")
_RESULTS = {
    "done": ("✓", "green"), "simulated": ("✓", "green"), "failed": ("✗", "red"), "refused": ("✗", "yellow"),
    "expired": ("✗", "yellow"), "superseded": ("↷", "dim"), "uncertain": ("?", "red"),
}  # fmt: skip


def show(*lines: str) -> None:
    """Print lines without secrets; what the terminal's encoding cannot show becomes a question mark rather than an
    error.
    """
    encoding = sys.stdout.encoding or "utf-8"
    for line in map(redact.known, lines):
        print(line.encode(encoding, "replace").decode(encoding))


def show_json(value: Any) -> None:
    """Print one JSON document without secrets: laid out for a reader, in one line for a program."""
    print(redact.dumps(value, indent=2 if sys.stdout.isatty() else None))


def paint(text: str, colour: str) -> str:
    """Coloured on a terminal, unless NO_COLOR is set."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def result(delivery: dict[str, Any]) -> str:
    """A delivery's end: `✓ done`, `✗ failed: Connection refused`; `… waiting` while there is none."""
    name = delivery.get("result")
    if not name:
        return paint("… " + ("under way" if delivery.get("state") == "started" else "waiting"), "dim")
    mark, colour = _RESULTS.get(name, ("·", "bold"))
    reason = f": {delivery['reason']}" if delivery.get("reason") else ""
    return paint(f"{mark} {name}", colour) + reason


def went_well(delivery: dict[str, Any]) -> bool:
    """Whether it ended as asked for."""
    return delivery.get("result") in ("done", "simulated")


def latency(delivery: dict[str, Any]) -> str:
    """`first byte after 0.9 ms`, or nothing if no byte went out."""
    value = delivery.get("latency_ms")
    return f"first byte after {milliseconds(value)}" if isinstance(value, (int, float)) else ""


def milliseconds(value: float) -> str:
    """`0.9 ms`, `2.3 s`."""
    return f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def clock(seconds: float) -> str:
    """Wall time, local, to the millisecond; with its date unless that is today."""
    when = time.localtime(seconds)
    today = time.localtime()[:3] == when[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", when) + f".{int(seconds * 1000) % 1000:03d}"


def span(seconds: float) -> str:
    """A length of time in its two largest units: `2 h 13 min`."""
    whole = max(0, int(seconds))
    units = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    parts = [f"{count} {unit}" for count, unit in units if count]
    return " ".join(parts[:2]) or "0 s"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as left-aligned columns; the last column is free."""
    if not rows:
        return []
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return ["  ".join([*map(pad, row, widths), row[-1]]) for row in rows]


def pad(cell: str, width: int) -> str:
    """Blanks up to `width` columns; colours take none."""
    return cell + " " * (width - _width(cell))


def _width(cell: str) -> int:
    return len(_PAINT.sub("", cell))
