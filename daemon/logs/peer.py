"""What the log says of one peer: that it went away once, that it came back once, and little of one that does both."""

import math

from loguru import logger

STEADY_S = 30.0
"""A connection that ends before this age, seconds, did not last; longer than anybody's back-off."""
FLAPS = 3
"""After so many of those in a row there is one line more, when one lasts."""


class PeerLog:
    """The first failure is a WARNING, later ones are DEBUG, the recovery is INFO and says how long it took.

    Times are seconds of the caller's loop. At `due` (infinite most of the time) the caller is to call `steady`.
    """

    def __init__(self) -> None:
        self.due = math.inf
        self._up: bool | None = None
        self._up_at = 0.0
        self._away_at: float | None = None
        self._flaps = 0
        self._again = ""

    def down(self, now: float, text: str) -> None:
        """It cannot be used, or an attempt failed again."""
        if self._up is False:
            logger.opt(depth=1).debug("{}", text)
            return
        if self._up:
            self._flaps = self._flaps + 1 if now - self._up_at < STEADY_S else 0
        if self._away_at is None:
            self._away_at = now
        self._up, self.due = False, math.inf
        if self._flaps > FLAPS:
            logger.opt(depth=1).debug("{}", text)
        elif self._flaps == FLAPS:
            quiet = f"the next line comes when it has held for {STEADY_S:g} s"
            logger.opt(depth=1).warning("{}; it comes and goes, {}", text, quiet)
        else:
            logger.opt(depth=1).warning("{}", text)

    def up(self, now: float, text: str, again: str) -> None:
        """It can be used: `text` the first time, `again` and how long it was away later."""
        if self._up:
            return
        self._up, self._up_at, self._again = True, now, again
        if self._flaps >= FLAPS:
            self.due = now + STEADY_S
            logger.opt(depth=1).debug("{}", text)
        elif self._away_at is None:
            logger.opt(depth=1).info("{}", text)
        else:
            self._back(now)

    def steady(self, now: float) -> None:
        """Tell that a peer which came and went has held."""
        if now >= self.due:
            self.due, self._flaps = math.inf, 0
            self._back(self._up_at)

    def _back(self, at: float) -> None:
        away, self._away_at = at - (self._away_at or at), None
        logger.opt(depth=2).info("{} after {:.1f} s", self._again, away)
