"""A server's words, made fit to show: whatever it answers, in one short line and without what we had sent."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from daemon.egress import Answer
from daemon.redaction import HIDDEN, Redactor, redact

LONGEST = 300
"""Characters of a server's words that are kept."""
_READ = 65536
_SHORTEST = 4
_BLANK = re.compile(r"\s+")


Clean = Callable[[str], str]
"""Takes secrets out of a text. It sees the text before it is cut: half a secret is nobody's to recognise."""


def shown(text: str, clean: Clean = redact) -> str:
    """One printable line of at most `LONGEST` characters."""
    line = _BLANK.sub(" ", clean(text[:_READ])[: 4 * LONGEST]).strip()
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def without(secrets: Collection[str]) -> Clean:
    """Takes these out as well: an exchange may quote a key when it refuses it. Nothing of them is kept."""
    own = Redactor()
    own.add(secrets)

    def clean(text: str) -> str:
        text = own(redact(text))
        for secret in secrets:  # short ones are not the redactor's
            if len(secret) >= _SHORTEST:
                text = text.replace(secret, HIDDEN)
        return text

    return clean


def detail(answer: Answer, clean: Clean = redact) -> str:
    """Why the server refuses, from any of its forms: `{"detail": ...}`, a list of errors, text, a page of HTML."""
    found = answer.json()
    said = found.get("detail", found.get("message")) if isinstance(found, Mapping) else None
    if isinstance(said, str) and said.strip():
        return shown(said, clean)
    if isinstance(said, list) and said:
        return shown("; ".join(map(_error, said[:5])), clean)
    if "html" in answer.headers.get("content-type", ""):
        return "a page of HTML, so something stands in front of the server"
    # Of JSON in another form nothing is shown: it may quote what was sent.
    return shown(answer.text(), clean) if found is None else ""


def _error(row: Any) -> str:
    """One of FastAPI's errors: where and what, never `input`, which is what we sent."""
    if not isinstance(row, Mapping):
        return "?"
    where = row.get("loc")
    place = ".".join(str(each) for each in where) if isinstance(where, list) else "?"
    return f"{place}: {row.get('msg', '?')}"
