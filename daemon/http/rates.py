"""How often a token may be used, and how slowly wrong ones are answered."""

from daemon.errors import EventError
from daemon.events import EXITS, decode

FREE = 3
"""How many wrong tokens in a row are answered at once: somebody mistyped, or a client is set up wrong."""
LONGEST_S = 2.0
"""The longest that the answer to a wrong token is held back, in seconds."""
FORGET_S = 10.0
"""In how many seconds half of the wrong tokens are forgotten."""
_FIRST_S, _MOST = 0.05, 10.0


class Bucket:
    """A token bucket: `rate` uses per second, and what was not used of one second (one use at least) at once."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._most = max(1.0, rate)
        self._left = self._most
        self._at = now

    def take(self, now: float) -> float:
        """Use it: 0, or how many seconds there are to wait first. `now` in seconds of a clock that never goes back."""
        self._left = min(self._most, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left >= 1.0:
            self._left -= 1.0
            return 0.0
        return (1.0 - self._left) / self.rate


class Slowdown:
    """How long to hold back the answer to a wrong token: longer with each, shorter again with time."""

    def __init__(self) -> None:
        self._level = 0.0
        self._at = 0.0

    def failed(self, now: float) -> float:
        """Note one more; seconds to hold its answer back. `now` in seconds of a clock that never goes back."""
        self._level = min(_MOST, self._level * 0.5 ** ((now - self._at) / FORGET_S) + 1.0)
        self._at = now
        return min(LONGEST_S, _FIRST_S * 2.0 ** (self._level - FREE - 1)) if self._level > FREE else 0.0


def is_exit(raw: bytes | str) -> bool:
    """Whether a body is an sl or close, which no rate limit may hold up; what cannot be read is none.

    Bodies that could not be one are not decoded: only whoever sends too much gets here.
    """
    text = raw if isinstance(raw, bytes) else raw.encode("utf-8", "replace")
    if b"\\" not in text and not any(b'"%s"' % kind.value.encode() in text for kind in EXITS):
        return False
    try:
        kind = decode(raw).get("type")
    except EventError:
        return False
    return isinstance(kind, str) and kind in EXITS
