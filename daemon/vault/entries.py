"""What a vault holds once it is open: names, values, when each was set. None of it shows in a `repr`."""

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass, field

from daemon.errors import DeskhandError

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
"""The name of a secret."""
NAME_WORDS = "a name is 1 to 64 of A-Z a-z 0-9 _ . -"
VALUE_LIMIT = 64 * 1024
"""Largest value, in bytes of UTF-8."""
_ALL_LIMIT = 8 * 1024 * 1024
"""Most that all of it may take, in bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One secret, and when it was set, in seconds since the epoch."""

    value: str = field(repr=False)
    since: float


@dataclass(frozen=True, slots=True)
class Listed:
    """A secret as it may be shown: `fingerprint` tells two values apart and says nothing about either."""

    name: str
    since: float
    fingerprint: str


@dataclass(slots=True)
class Contents:
    """Everything in a vault. `mark` is the fingerprints' key: random, made with the vault, and never outside of it."""

    entries: dict[str, Entry] = field(default_factory=dict, repr=False)
    mark: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def set(self, name: str, value: str, now: float) -> None:
        """Put `value` there. Raises DeskhandError for what does not fit; the value is never echoed."""
        if not NAME.fullmatch(name):
            raise DeskhandError(NAME_WORDS)
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise DeskhandError("the value is not UTF-8") from None
        if not 0 < size <= VALUE_LIMIT:
            raise DeskhandError("the value is empty" if not size else "the value is longer than 64 KiB")
        self.entries[name] = Entry(value, now)

    def listed(self) -> list[Listed]:
        """Every secret as it may be shown, by name.

        A plain hash of a short value could be guessed, even from its last four characters; this one is keyed.
        """
        return [
            Listed(name, entry.since, hmac.digest(self.mark, entry.value.encode(), hashlib.sha256).hex()[-4:])
            for name, entry in sorted(self.entries.items())
        ]

    def dump(self) -> bytes:
        """As bytes, to be encrypted. Raises DeskhandError when it is too much."""
        rows = {name: {"value": entry.value, "set": entry.since} for name, entry in self.entries.items()}
        raw = json.dumps({"mark": self.mark.hex(), "secrets": rows}, ensure_ascii=False).encode()
        if len(raw) > _ALL_LIMIT:
            raise DeskhandError("the vault is full: all values together may take 8 MiB")
        return raw


def read(raw: bytes) -> Contents:
    """What `dump` wrote. Raises ValueError for anything else."""
    try:
        tree = json.loads(raw)
        rows = tree["secrets"].items()
        entries = {name: Entry(row["value"], float(row["set"])) for name, row in rows if NAME.fullmatch(name)}
        if len(entries) != len(rows) or not all(isinstance(entry.value, str) for entry in entries.values()):
            raise ValueError
        return Contents(entries, bytes.fromhex(tree["mark"]))
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError("not the contents of a vault") from None  # the cause would hold what was decrypted
