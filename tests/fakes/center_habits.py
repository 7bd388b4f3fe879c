"""How a Command Center misbehaves, by name; and the shapes in which its configuration was seen."""

import json
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any, Literal

from tests.fakes.center_wire import Json


@dataclass(frozen=True, slots=True)
class Habit:
    """One way to answer. None for `status` and `body` is the proper one; `takes` says that the request takes effect.

    `cut`: the connection is reset `before` the request is read, `after` it was read and took effect, or `midway`
    through the answer; `never`: the request takes effect, and nobody answers.
    """

    status: int | None = None
    body: bytes | None = None
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    takes: bool = True
    after_s: float = 0.0
    cut: Literal["", "before", "after", "midway", "never"] = ""
    raw: bytes = b""
    """Sent instead of an answer, as it is."""
    nested: bool = False
    """`{"run": {"id": 7}}` instead of `{"runId": 7}`."""
    retry_s: float | None = None
    retry_date: bool = False

    def told(self, now: float) -> list[tuple[str, str]]:
        """The headers it adds at this time."""
        told = list(self.headers)
        if self.retry_s is not None:
            date = formatdate(now + self.retry_s, usegmt=True)
            told.append(("Retry-After", date if self.retry_date else f"{self.retry_s:g}"))
        return told


def _error(status: int, words: str) -> Habit:
    return Habit(status, json.dumps({"error": words}).encode(), takes=False)


_HTML = b"<html><body>welcome</body></html>"

HABITS: dict[str, Habit] = {
    "ok": Habit(),
    "no_content": Habit(204, b""),
    "created": Habit(201),
    "accepted": Habit(202),
    "empty": Habit(200, b""),
    "null": Habit(200, b"null"),
    "text": Habit(200, b"OK", "text/plain"),
    "html": Habit(200, _HTML, "text/html"),
    "deep": Habit(200, b"[" * 100_000),
    "huge": Habit(200, b'"' + b"x" * (2 * 1024 * 1024) + b'"'),
    "nested": Habit(nested=True),
    "slow": Habit(after_s=0.3),
    "hang": Habit(cut="never"),
    "unauthorized": _error(401, "Unauthorized"),
    "forbidden": _error(403, "Forbidden"),
    "not_found": _error(404, "Not found"),
    "conflict": _error(409, "there is an open run"),
    "too_large": Habit(413, _HTML, "text/html", takes=False),
    "broken": Habit(500, b"Internal Server Error", "text/plain", takes=False),
    "broken_json": _error(500, "database is locked"),
    "broken_after": Habit(500, b"Internal Server Error", "text/plain"),
    "away": Habit(503, b"", takes=False),
    "busy": replace(_error(429, "Too many requests"), retry_s=7),
    "busy_date": replace(_error(429, "Too many requests"), retry_s=60, retry_date=True),
    "busy_bare": _error(429, "Too many requests"),
    "reset_after": Habit(cut="after"),
    "reset_before": Habit(cut="before", takes=False),
    "reset_midway": Habit(cut="midway"),
    "garbage": Habit(raw=b"\x00\xff\xfe garbage \r\n\r\n" * 8),
    "closed": Habit(raw=b"\r\n"),
    "redirect": Habit(302, b"", headers=(("Location", "http://127.0.0.1:1/stolen"),), takes=False),
}
"""Name to habit. `slow:2.5`, `busy:30`, `busy_date:30` and `hang` take or need no more; `status:418` is any other."""


def habit(name: "str | Habit | None") -> Habit:
    """The habit of this name. Raises KeyError."""
    if isinstance(name, Habit):
        return name
    word, _, figure = (name or "ok").partition(":")
    if word == "status":
        return _error(int(figure), "so be it")
    found = HABITS[word]
    if not figure:
        return found
    return replace(found, retry_s=float(figure)) if word.startswith("busy") else replace(found, after_s=float(figure))


CONFIG: Json = {
    "id": 7,
    "mode": "live",
    "targetAssets": ["BTC", "ETH"],
    "windowDurations": ["5m", "15m"],
    "kellyBankroll": 500,
    "sessionBudget": 200.5,
    "budgetPerMarket": 25,
    "mmSpreadMin": 0.01,
    "mmSpreadMax": 0.05,
    "maxConcurrentWindows": 4,
    "maxLossPct": 10,
    "lossCooldownSec": 300,
    "mmEnabled": True,
    "arbEnabled": False,
    "arbBudget": 50,
    "hedgeTier1Pct": 30,
    "hedgeTier4MaxLoss": 12.5,
    "momentumExitEnabled": True,
    "minBookDepth": 100,
    "tradingBlackoutWindows": [[0, 2], [22, 24]],
    "pauseOrders": False,
}
"""As it arrives with arrays."""


def config(lists: Literal["array", "json", "comma"] = "array", **changes: Any) -> Json:
    """A configuration with its lists in one of the three forms; a change to None takes the field out."""
    found = {name: value for name, value in (CONFIG | changes).items() if value is not None}
    for name, value in found.items():
        if isinstance(value, list) and lists != "array":
            flat = lists == "comma" and all(isinstance(item, str) for item in value)
            found[name] = ",".join(value) if flat else json.dumps(value)
    return found
