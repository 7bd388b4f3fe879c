"""How a secret can look where somebody wrote it: escaped, quoted, in hex, in base64, cut off."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import quote, quote_plus

SECRET_FROM = 8
"""Shortest value, in characters, that redaction looks for: shorter ones would tear ordinary words apart."""
CUT_FROM = 6
"""So many of its first characters are hidden too, where a secret was cut off; not of one that reads like words."""
_CUT_TO = 12
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[\W\d_]+", re.ASCII)
_ESCAPE = re.compile(r"%[0-9A-F]{2}")


def escape(text: str) -> str:
    """The text on one line, with every character that steers a terminal or a log spelled out.

    These are C0, DEL, C1, the Unicode line ends, and the marks that turn the direction of writing.
    """
    if text.isascii() and text.isprintable():  # nearly every line, at a tenth of the price
        return text
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write a secret. `head` gives it away; `whole` is how it goes on. With `cut` the head alone is hidden,
    and with it what follows without a break; without, only the whole.
    """

    head: str
    whole: str
    cut: bool


def looks_random(text: str) -> bool:
    """Whether it reads like a key: letters and digits in a jumble, not words, paths, dates or addresses."""
    if not any(c.isdigit() for c in text) or not any(c.isalpha() for c in text):
        return False
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" if c.isalpha() else "" for c in text]
    changes = sum(bool(a and b and a != b) for a, b in pairwise(kinds))
    return changes >= max(3, (len(text) - 1) / 5)


def forms(secret: str) -> Iterator[Form]:
    """Every form of a secret of at least `SECRET_FROM` characters."""
    length = _head(secret) if looks_random(secret) else 0
    if not length:
        for whole in dict.fromkeys([*_written(secret), *_encoded(secret)]):
            yield Form(whole, whole, cut=False)
        return
    start = secret[:length]
    cased = [(secret, start)]
    cased += [(secret.upper(), start.upper()), (secret.lower(), start.lower())]
    for text, head in cased:
        # Heads and wholes are made by the same functions, so they come in the same order.
        for short, whole in dict.fromkeys(zip(_written(head), _written(text), strict=True)):
            if whole.startswith(short):
                yield Form(short, whole, cut=True)
            else:  # `repr` chose other quotes
                yield Form(short, short, cut=True)
                yield Form(whole, whole, cut=False)
    for short, whole in dict.fromkeys(zip(_encoded(start), _encoded(secret), strict=True)):
        yield Form(short, whole, cut=True)


def _head(secret: str) -> int:
    """How many characters it takes until its beginning is no mere word or number; 0 if that is too many."""
    for length in range(CUT_FROM, min(_CUT_TO, len(secret)) + 1):
        if not _WORD.fullmatch(secret[:length]):
            return length
    return 0


def _written(text: str) -> list[str]:
    """As text: as it is, as logs, `repr` and JSON escape it, and in a URL."""
    plain = [text, escape(text), repr(text)[1:-1]]
    in_json = [json.dumps(each)[1:-1] for each in plain]
    in_json += [json.dumps(each)[1:-1] for each in in_json]
    raw = text.encode("utf-8", "surrogatepass")
    quoted = [quote(raw, safe=""), quote(raw), quote_plus(raw)]
    lower = [_ESCAPE.sub(lambda found: found[0].lower(), each) for each in quoted]
    return [*plain, *in_json, json.dumps(text, ensure_ascii=False)[1:-1], repr(raw)[2:-1], *quoted, *lower]


def _encoded(text: str) -> list[str]:
    """As bytes: in hex, and in base64 wherever it stands there, up to the last character that is all its own."""
    raw = text.encode("utf-8", "surrogatepass")
    found = [raw.hex(), raw.hex().upper()]
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + raw).decode()
        # The first and last characters share their six bits with what stands beside it.
        core = whole[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        found += [core, core.replace("+", "-").replace("/", "_")]
    return found
