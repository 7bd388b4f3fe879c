"""What comes of telling the Command Center something, as values: nothing here is raised, all of it can be acted on."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """It took it (any 2xx); `answer` is what was asked for, as far as the answer held it."""

    answer: T


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """401 or 403: nothing will be taken until the key is right. Nothing was done."""

    status: int

    @property
    def reason(self) -> str:
        """In words."""
        return f"it refuses the key ({self.status})"


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: not before `after_s` seconds. Nothing was done."""

    after_s: float

    @property
    def reason(self) -> str:
        """In words."""
        return f"it is asked too often (429), next in {self.after_s:g} s"


@dataclass(frozen=True, slots=True)
class Rejected:
    """It will not be taken as it is, now or later: another 4xx, or (`status` 0) it may not leave this machine; of
    run/start also a 2xx that names no run. `open_run`: the run that is open already, where a 409 names it.
    """

    reason: str
    status: int = 0
    open_run: int | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Not now: it was not sent (`status` 0), or the answer was a 5xx, a redirect or "try again". `after_s` if it said
    when, in seconds.
    """

    reason: str
    status: int = 0
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Uncertain:
    """It was sent, and no whole answer came: nobody knows whether it was taken."""

    reason: str


Trouble = KeyRefused | Throttled | Rejected | Unavailable | Uncertain
"""All but Ok; each has a `reason` that is safe to show."""
