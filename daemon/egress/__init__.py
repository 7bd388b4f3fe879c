"""The way to peers that speak HTTP: one `client.Egress` per peer, to no other host, and past one `Guard`.

The client is not imported here: it brings httpx2, which costs 8 MB and 0.1 s; a daemon without such a peer needs none.
"""

from daemon.egress.answer import Answer
from daemon.egress.body import (
    AllowsHex,
    AllowsSecret,
    AsNumber,
    AsText,
    Body,
    Credential,
    Hex64,
    NumberDecimal,
    Query,
    TextDecimal,
)
from daemon.egress.guard import Guard

__all__ = [
    "AllowsHex",
    "AllowsSecret",
    "Answer",
    "AsNumber",
    "AsText",
    "Body",
    "Credential",
    "Guard",
    "Hex64",
    "NumberDecimal",
    "Query",
    "TextDecimal",
]
