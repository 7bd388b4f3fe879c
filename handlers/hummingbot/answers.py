"""What became of a call, as a value: done, refused, not sent, or nobody knows."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Why(StrEnum):
    """What kind of refusal it is."""

    SAID_NO = "said_no"
    """The server understood and refuses; its words say why."""
    NOT_FOUND = "not_found"
    """There is no such bot, order, account, file."""
    LOGIN = "login"
    """User name or password are wrong."""
    NO_ROUTE = "no_route"
    """The server does not know the call: another version, or no Hummingbot API."""
    NOT_SENT = "not_sent"
    """Refused by ourselves, before anything was sent."""


@dataclass(frozen=True, slots=True)
class Ok(Generic[T_co]):
    """The server says so. Of `start` and `stop` that means accepted, not observed."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was done, for certain. `status` is that of HTTP, 0 when it did not get that far."""

    words: str
    why: Why = Why.SAID_NO
    status: int = 0


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Nothing was sent; or it was a question, which changes nothing, and there is no usable answer."""

    words: str


@dataclass(frozen=True, slots=True)
class Uncertain:
    """It was sent and may have been done: find out before doing anything again."""

    words: str


Result = Ok[T_co] | Refused | Unavailable | Uncertain
"""What every call gives back; none raises for what a server does."""
