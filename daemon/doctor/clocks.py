"""Is it the right time here: events more than 5 s ahead are refused, and ages are judged by this clock."""

import ctypes
import email.utils
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from daemon.doctor.check import Check, fail, ok, warn

WARN_S, FAIL_S = 2.0, 5.0
"""Offsets from which on it warns and fails, in seconds; a Date header has no more than whole seconds."""
_UNSYNC = 0x0040
_SYNC = "timedatectl set-ntp true, or install chrony"


class _Timex(ctypes.Structure):
    """The head of `struct timex`, adjtimex(2); the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def status() -> int | None:
    """The kernel's status bits of adjtimex(2); None where it may not be asked."""
    try:
        found = _Timex()
        code = ctypes.CDLL(None).adjtimex(ctypes.byref(found))
    except (OSError, AttributeError):
        return None
    return int(found.status) if code >= 0 else None


def offset(date: str, sent: float, received: float) -> float | None:
    """How far this clock is ahead of whoever wrote the Date header, in seconds, at least; None if it is no date.

    `sent` and `received` are when the request left and its answer came, on this clock.
    """
    try:
        theirs = email.utils.parsedate_to_datetime(date).timestamp() + 0.5
    except (ValueError, TypeError):
        return None
    ahead = (sent + received) / 2 - theirs
    unsure = (received - sent) / 2
    return max(0.0, ahead - unsure) if ahead > 0 else min(0.0, ahead + unsure)


def compared(peer: str, ahead: float) -> Check:
    """What an offset against a peer means."""
    far = f"{abs(ahead):.0f} s" if abs(ahead) < 120 else f"{abs(ahead) / 60:.0f} min"
    text = f"{far} {'ahead of' if ahead > 0 else 'behind'} the clock of {peer}"
    if abs(ahead) > FAIL_S:
        what = "events of senders with the right time come out too old" if ahead > 0 else "their events are refused"
        return fail("clock", f"{text}: {what}, if it is this one that is wrong", _SYNC)
    if abs(ahead) > WARN_S:
        return warn("clock", text, _SYNC)
    return ok("clock", f"agrees with the clock of {peer} to {WARN_S:.0f} s")


def look(now: float, environ: Mapping[str, str], *, bits: int | None) -> Iterator[Check]:
    """Synchronisation and time zone; `bits` is what `status` says."""
    if bits is None:
        yield ok("time sync", "cannot be seen from here")
    elif bits & _UNSYNC:
        yield warn("time sync", "this clock is not synchronised with any time server", _SYNC)
    else:
        yield ok("time sync", "the kernel's clock is synchronised")
    yield _zone(now, environ)


def _zone(now: float, environ: Mapping[str, str]) -> Check:
    named = environ.get("TZ", "").lstrip(":")
    known = Path("/usr/share/zoneinfo")
    if named and "/" in named and known.is_dir() and not (known / named).is_file():
        return warn("time zone", "TZ names a zone that is not known here: times are shown in UTC", "unset TZ")
    if not named and not Path("/etc/localtime").is_file():
        return ok("time zone", "none is set: times are shown in UTC")
    here = datetime.fromtimestamp(now).astimezone()
    return ok("time zone", f"{here:%Z}, UTC{here.isoformat()[-6:]}")
