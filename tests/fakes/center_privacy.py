"""What must never come to a Command Center: looked for in every request that the fake ever gets, in every test.

A `conditionId` or `tokenId` is a market's own id and no key, whatever it looks like.
"""

import json
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any

MARKETS = ("conditionId", "tokenId", "tokenIdDown")
_SHAPES = {
    "a private key": r"(?<![0-9A-Za-z])(?:0x)?[0-9a-fA-F]{64}(?![0-9A-Za-z])|PRIVATE KEY",
    "a wallet address": r"(?<![0-9A-Za-z])0x[0-9a-fA-F]{40}(?![0-9A-Za-z])",
    "a file path": r"(?:^|[\s\"'=:(])(?:~|[A-Za-z]:)?[/\\][\w.-]+[/\\][\w./\\-]*",
    "an address": r"[a-z]+://|(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])",
    "a host name": rf"(?i)(?<![\w.-]){re.escape(socket.gethostname())}(?![\w-])|\blocalhost\b",
    "a traceback": r"Traceback|File \"",
}
_USUAL = (
    "host",
    "x-api-key",
    "content-length",
    "content-type",
    "user-agent",
    "accept",
    "accept-encoding",
    "connection",
)


def leaks(path: str, headers: Mapping[str, str], raw: bytes, key: str) -> list[str]:
    """What this request holds and should not, in words without the value."""
    found = [f"{path}: an unusual header {name}" for name in headers if name not in _USUAL]
    others = [(name, value) for name, value in headers.items() if name not in ("host", "x-api-key")]
    try:
        body = json.loads(raw) if raw else {}
    except (ValueError, RecursionError):
        body = {"": raw.decode("latin-1")}
    for name, text in (*others, *_texts("", body)):
        found += [f"{path}: {name} holds {what}" for what, shape in _SHAPES.items() if re.search(shape, text)]
        if key in text:
            found.append(f"{path}: {name} holds our key")
    return found


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every text in it, by its field, names of fields too; but the ids of markets."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield "a name", key
            if key not in MARKETS:
                yield from _texts(key, item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(name, item)
    elif isinstance(value, str):
        yield name, value
