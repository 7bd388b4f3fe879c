"""Holding back what says the same again and again, so that a broken sender cannot fill the disk with it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loguru import Record

BURST, WINDOW_S = 20, 10.0
"""How many lines one place in the code may write in so many seconds."""
FLOOD_S = 60.0
"""Once that was too many: one line, and one that counts the rest, in so many seconds, until such a span is quiet."""
SITES = 256
"""How many places are told apart; what is beyond shares one allowance."""
_SHOWN = 500
_WARNING, _CRITICAL = 30, 50
_ELSEWHERE = ("", 0)


@dataclass(slots=True)
class _Site:
    since: float
    until: float
    left: int
    held: int = 0
    last: "Record | None" = None


class Repeats:
    """Decides which records are held back; times in seconds of one clock that does not go back.

    Never held back: what is below WARNING, what is CRITICAL, and the outcome of a delivery (it carries `event_id` and
    `handler`), because each outcome is to be seen. An event that was turned away at the door is no outcome.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self.due = math.inf
        """When the next count is to be told; there is no timer, the next record of any kind brings it out."""
        self._sites: dict[tuple[str, int], _Site] = {}

    def passes(self, record: "Record", now: float) -> bool:
        """Whether it is to be written; what is not is counted."""
        level, extra = record["level"].no, record["extra"]
        if level < _WARNING or level >= _CRITICAL or ("event_id" in extra and "handler" in extra):
            return True
        key = (record["file"].path, record["line"])
        site = self._sites.get(key)
        if site is None or site.until <= now:
            if site is None and len(self._sites) >= SITES:
                self._sites = {k: s for k, s in self._sites.items() if s.held or s.until > now}
                if len(self._sites) >= SITES:
                    key = _ELSEWHERE
                    site = self._sites.get(key)
            if site is None or site.until <= now:
                site = self._sites[key] = _Site(now, now + WINDOW_S, BURST)
        if site.left:
            site.left -= 1
            return True
        site.held += 1
        # Redacted before it is cut, or half a secret would be left. Without its exception, whose frames would be kept
        # alive, and without fields, which are true of one event alone.
        text = self._redact(record["message"])[:_SHOWN]
        site.last = {**record, "message": text, "exception": None, "extra": {}}
        self.due = min(self.due, site.until)
        return False

    def told(self, now: float, *, everything: bool = False) -> list["Record"]:
        """One record for each place whose time is over: how many were held back there, and the last of them."""
        found = []
        for site in self._sites.values():
            last = site.last
            if last is not None and (everything or site.until <= now):
                span = min(now, site.until) - site.since
                last["message"] = f"{site.held} more like this in {span:.0f} s, the last: {last['message']}"
                found.append(last)
                site.since, site.until, site.left, site.held, site.last = now, now + FLOOD_S, 1, 0, None
        self.due = min((site.until for site in self._sites.values() if site.held), default=math.inf)
        return found
