"""Planted values, and the search for them; knows nothing of the daemon's own redaction."""

import base64
import json
import re
import secrets
import string
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

PREFIX = 6
"""So many first characters of a canary are a hit, in characters."""


@dataclass(frozen=True)
class Canary:
    """A value that was planted as `name`."""

    name: str
    value: str


def plant(name: str, mark: str = "", length: int = 24) -> Canary:
    """A value that nothing else holds. `mark` stands within its first six characters: what a URL or JSON escapes."""
    letters, digits = string.ascii_letters, string.digits
    body = "".join(secrets.choice(digits if at % 2 else letters) for at in range(length))
    return Canary(name, body[:3] + mark + body[3:])


def base64_of(raw: bytes) -> Iterator[bytes]:
    """What stays of it wherever it begins in something that is encoded as a whole."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + raw)
        first = (0, 2, 3)[before]
        last = (before + len(raw)) * 8 // 6
        yield whole[first:last]
        yield whole[first:last].replace(b"+", b"-").replace(b"/", b"_")


def needles(value: str) -> dict[str, set[bytes]]:
    """Every form that counts as a hit, by its name; each for the whole value and for its first characters."""
    found: dict[str, set[bytes]] = {}
    for what, text in (("whole", value), ("prefix", value[:PREFIX])):
        raw = text.encode()
        found[f"plain, {what}"] = {raw}
        found[f"base64, {what}"] = set(base64_of(raw))
        found[f"hex, {what}"] = {raw.hex().encode(), raw.hex().upper().encode()}
        urls = {quote(text, safe=""), quote(text), quote_plus(text), quote_plus(text, safe="")}
        found[f"url, {what}"] = {each.encode() for each in urls | set(map(lower_escapes, urls))}
        quoted = (repr(text)[1:-1], repr(raw)[2:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
        found[f"escaped, {what}"] = {each.encode() for each in quoted}
    found["upper case, whole"] = {value.upper().encode()}
    return found


def lower_escapes(url: str) -> str:
    """`%2f` instead of `%2F`."""
    return re.sub("%..", lambda found: found[0].lower(), url)


def hits(
    haystacks: Mapping[str, bytes], canaries: Iterable[Canary], places: Mapping[str, Collection[str]]
) -> list[str]:
    """`WHERE: NAME (FORM)` for each canary outside its places; `places` maps its name to beginnings of haystacks."""
    found = []
    for canary in canaries:
        own = tuple(places.get(canary.name, ()))
        for where, text in haystacks.items():
            if own and where.startswith(own):
                continue
            forms = [form for form, each in needles(canary.value).items() if any(needle in text for needle in each)]
            if forms:
                found.append(f"{where}: {canary.name} ({forms[0]})")
    return found
