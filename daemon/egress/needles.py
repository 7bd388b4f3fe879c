"""Secrets in what is about to leave: in plain, and in the forms that ordinary code gives to text on its way out.

A form is a string of bytes that shows wherever the secret stands in the encoded text: of base64 that is what no
neighbour changes, once for each of its three offsets. What was escaped or encoded as a whole is looked at decoded too.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from daemon.egress.views import BASE64, HEX, decoded, readings
from daemon.ports import KnownSecret
from daemon.redaction import SECRET_FROM

_HEX_TEXT = re.compile(r"(?:0x)?((?:[0-9a-f]{2}){8,})")
# Of a token of the local API nobody keeps more than its hash.
_TOKEN = re.compile(rb"(?<![0-9a-zA-Z_-])dh_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
_GENERAL = frozenset({"vault", "foreign"})
_HEX_RUN = 2 * SECRET_FROM


class _Value(NamedTuple):
    """One secret: what it is called, and the purposes it may be let through for."""

    name: str
    purposes: frozenset[str]


class Needles:
    """Every form of some secrets; those shorter than `SECRET_FROM` characters would be found everywhere."""

    def __init__(self, secrets: Iterable[KnownSecret] = ()) -> None:
        values = _values(secrets)
        self._hex: list[tuple[bytes, _Value]] = []
        self._other: list[tuple[int, bytes, _Value]] = []
        for text, value in values.items():
            hexes, others = _forms(text)
            self._hex += [(form, value) for form in sorted(hexes)]
            self._other += [(_solid(form), form, value) for form in sorted(others)]
        self._other.sort(key=lambda entry: entry[0])
        self._lengths = sorted({_HEX_RUN, *(solid for solid, _, _ in self._other if solid)})
        self._spaces = any(" " in text for text in values)

    def find(self, data: bytes, may: frozenset[str] = frozenset()) -> str:
        """The name of a secret in `data`, or ""; a token of the local API is one, known or not. Those that are for one
        of the purposes in `may` are let through.
        """
        if not self._other:
            return ""
        plain = readings(data, spaces=self._spaces)
        for view in plain:
            if found := self._search(view, may):
                return found
        for view in (inner for outer in plain for inner in decoded(outer)):
            for inside in readings(view, spaces=self._spaces, rounds=1):
                if found := self._search(inside, may):
                    return found
        return ""

    def _search(self, view: bytes, may: frozenset[str]) -> str:
        if b"dh_" in view and _TOKEN.search(view):
            return "a token of the local API"
        run = self._longest_run(view)
        for solid, form, value in self._other:
            if solid > run:
                break
            if form in view and not value.purposes & may:
                return value.name
        if run >= _HEX_RUN and b"x" * _HEX_RUN in view.translate(HEX):
            lower = view.lower()
            for form, value in self._hex:
                if form in lower and not value.purposes & may:
                    return value.name
        return ""

    def _longest_run(self, view: bytes) -> int:
        """How long a run of letters, digits and `+/_-` there is, as far as it matters: most text has only short ones,
        and need not be searched for what is longer.
        """
        solid, found = view.translate(BASE64), 0
        for length in self._lengths:
            if b"x" * length not in solid:
                break
            found = length
        return found


def _values(secrets: Iterable[KnownSecret]) -> dict[str, _Value]:
    """By text. What a section has is that section's, wherever else it is kept as well."""
    names: dict[str, str] = {}
    purposes: dict[str, set[str]] = {}
    for name, text, purpose in secrets:
        for part in {text, *text.splitlines()}:
            if len(part) >= SECRET_FROM:
                names.setdefault(part, name)
                purposes.setdefault(part, set()).add(purpose)
    own = {text: (found - _GENERAL) or found for text, found in purposes.items()}
    # What is part of a longer secret goes where that one may go.
    return {
        text: _Value(names[text], frozenset().union(*(mine for other, mine in own.items() if text in other)))
        for text in names
    }


def _forms(text: str) -> tuple[set[bytes], set[bytes]]:
    """Hexadecimal forms, in lower case, and all others."""
    raws = {text.encode(errors="surrogatepass")}
    if not text.isascii():
        raws |= {text.encode("latin-1")} if max(text) < "\u0100" else set()
    hexes, others = {raw.hex().encode() for raw in raws}, set(raws)
    if found := _HEX_TEXT.fullmatch(
        text.lower()
    ):  # a key written in hexadecimal is the same in either case, and as bytes
        hexes.add(found[1].encode())
        raws.add(bytes.fromhex(found[1]))
    bare = text.rstrip("=")
    if len(bare) >= SECRET_FROM and bare.isascii():
        others |= {bare.encode(), *_alphabets(bare.encode())}
    for raw in raws:
        for form in _base64(raw):
            others |= {form, *_alphabets(form)}
    return hexes, others


def _solid(form: bytes) -> int:
    """The longest run of letters, digits and `+/_-` in it."""
    return max(map(len, form.translate(BASE64).split(b" ")))


def _alphabets(form: bytes) -> Iterator[bytes]:
    yield form.translate(bytes.maketrans(b"+/", b"-_"))
    yield form.translate(bytes.maketrans(b"-_", b"+/"))


def _base64(raw: bytes) -> Iterator[bytes]:
    """The characters that only `raw` decides, for each place it may begin at."""
    for offset in range(3):
        bits = 8 * offset
        first, last = -(-bits // 6), (bits + 8 * len(raw)) // 6
        yield base64.b64encode(bytes(offset) + raw)[first:last]
