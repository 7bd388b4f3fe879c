"""The JSON that every answer of the local server is made of, and strict reading of what it is asked."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope, Send

from daemon.errors import EventError
from daemon.events import safe_name
from daemon.redaction import redact

RETRY_AFTER = {"Retry-After": "1"}
"""Sent with every 503, in seconds: the journal is tried again at once, so should the sender be."""
_MAX_QUERY = 16
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)


def dump(body: object) -> bytes:
    """Compact UTF-8 JSON without secrets; a float that is no number raises ValueError rather than break the JSON."""
    return redact.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def reply(body: object, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(dump(body), code, dict(headers) if headers else None, "application/json")


def problem(code: int, status: str, reason: str, headers: Mapping[str, str] | None = None, **more: str) -> Response:
    """An answer that says no: `{"status", "reason"}` and what `more` there is to say."""
    return reply({"status": status, **more, "reason": reason}, code, headers)


async def reject(
    scope: Scope, send: Send, code: int, status: str, reason: str, headers: Mapping[str, str] | None = None
) -> None:
    """Answer a request, or a WebSocket handshake, with an error before any route sees it."""
    await turn_away(scope, send, problem(code, status, reason, headers))


async def turn_away(scope: Scope, send: Send, response: Response) -> None:
    """Answer a request, or a WebSocket handshake, with this."""
    prefix = "websocket." if scope["type"] == "websocket" else ""
    await send(
        {"type": f"{prefix}http.response.start", "status": response.status_code, "headers": response.raw_headers}
    )
    await send({"type": f"{prefix}http.response.body", "body": bytes(response.body)})


def query(request: Request, *known: str) -> dict[str, str]:
    """The query's parameters. Raises EventError for one that is unknown, given twice or no UTF-8."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True, strict_parsing=bool(request.scope["query_string"]),
            errors="strict", max_num_fields=_MAX_QUERY,
        )  # fmt: skip
    except ValueError:
        raise EventError("query", "is not valid") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise EventError(safe_name(name), "is not a known parameter")
        if name in found:
            raise EventError(name, "is given twice")
        found[name] = value
    return found


def number(name: str, text: str, most: float) -> float:
    """Plain ASCII digits, 0 to `most`. Raises EventError for `name`."""
    if not _NUMBER.fullmatch(text) or float(text) > most:
        raise EventError(name, f"must be a number from 0 to {most:g}")
    return float(text)


def whole(name: str, text: str, least: int, most: int) -> int:
    """A whole number in plain ASCII digits, `least` to `most`. Raises EventError for `name`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and least <= int(text) <= most):
        raise EventError(name, f"must be a whole number from {least} to {most}")
    return int(text)


def moment(name: str, text: str) -> float:
    """ISO 8601 with an offset, or epoch seconds, as seconds since the epoch. Raises EventError for `name`."""
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        # An unescaped "+" of an offset arrives as a blank.
        when = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        if when.tzinfo is not None and text.isascii():
            return when.timestamp()
    except (ValueError, OverflowError):
        pass
    raise EventError(name, "must be ISO 8601 with an offset, or epoch seconds")


def text(fields: Mapping[str, Any], name: str, longest: int, default: str = "") -> str:
    """A string field of a decoded body, one printable line. Raises EventError for `name`."""
    value = fields.get(name, default)
    if type(value) is not str or len(value) > longest or not value.isprintable():
        raise EventError(name, f"must be at most {longest} printable characters")
    return value


def only(fields: Mapping[str, Any], *known: str) -> None:
    """Raises EventError for the first field that is not `known`."""
    for name in fields:
        if name not in known:
            raise EventError(safe_name(name), "is not a known field")
