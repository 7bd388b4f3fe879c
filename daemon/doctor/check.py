"""One line of the doctor's report."""

import getpass
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and what to do about it: a command where there is one."""

    name: str
    state: State
    text: str
    remedy: str = ""


def ok(name: str, text: str) -> Check:
    """As it should be, or nothing that matters."""
    return Check(name, "ok", text)


def warn(name: str, text: str, remedy: str = "") -> Check:
    """Works, but look at it."""
    return Check(name, "warn", text, remedy)


def fail(name: str, text: str, remedy: str = "") -> Check:
    """Does not work, or is not safe."""
    return Check(name, "fail", text, remedy)


def size(count: float) -> str:
    """Bytes for people: `512 MiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def milliseconds(seconds: float) -> str:
    """`0.9 ms`, `2.3 s`."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def me() -> str:
    """Who this process is, by name if there is one."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "you"
