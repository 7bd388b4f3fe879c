"""The OpenAPI document, from the event's own schema and one table of routes."""

import json
from functools import cache
from typing import Any

from daemon.events import schema
from daemon.http.roles import Need

_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}, "description": "percent-encoded"}


def _query(name: str, kind: str, about: str, **more: object) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": {"type": kind, **more}, "description": about}


def _object(*required: str, **properties: object) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
    }


_EVENTS = [
    _query("since", "string", "received since: ISO 8601 with offset, or epoch seconds"),
    _query("after", "integer", "behind the record with this seq", minimum=0),
    _query("type", "string", "only this type", enum=["entry", "tp1", "tp2", "sl", "close"]),
    _query("symbol", "string", "only this symbol"),
    _query("limit", "integer", "how many at most", minimum=1, maximum=1000, default=100),
]
_HALT = _object(level={"enum": ["entries", "all"], "default": "entries"}, reason={"type": "string", "maxLength": 200})
_BOOK = _object(
    "symbol", "state", symbol={"type": "string"}, state={"enum": ["open", "flat"]}, target={"type": "string"}
)
_WAIT = _query("wait", "number", "hold the answer until the outcomes are known, in seconds", minimum=0, maximum=60)
_ACCOUNT = [_query("account", "string", "only those of this account")]
_BOT = _object(
    "name", "strategy", "connector", "pair",
    name={"type": "string"}, strategy={"enum": ["spread", "grid", "custom"]}, connector={"type": "string"},
    pair={"type": "string"}, account={"type": "string"}, config={"type": "object"},
)  # fmt: skip
_SEEN = [_ID, _query("wait", "integer", "how long to look for it, in seconds", minimum=0, maximum=180, default=25)]
_DAYS = [_ID, _query("days", "integer", "of the last days; 0 is of this run", minimum=0, maximum=3650, default=0)]
_EVENT = {"$ref": "#/components/schemas/Event"}

ROUTES: tuple[tuple[Need, str, str, str, list[dict[str, Any]], dict[str, Any] | None, tuple[int, ...]], ...] = (
    ("open", "get", "/health/live", "Whether the process serves; needs no token", [], None, (200,)),
    ("open", "get", "/health/ready", "Whether events are acted on; needs no token", [], None, (200, 503)),
    ("read", "get", "/metrics", "Prometheus metrics, as text", [], None, (200,)),
    ("read", "get", "/status", "What the daemon is doing", [], None, (200,)),
    ("read", "get", "/openapi.json", "This document", [], None, (200,)),
    ("ingest", "post", "/events", "Send an event", [_WAIT], _EVENT, (202, 200, 409, 413, 422, 503)),
    ("read", "get", "/events", "What happened, oldest first", _EVENTS, None, (200, 422, 503)),
    ("read", "get", "/events/{id}", "One event and its deliveries", [_ID], None, (200, 404, 503)),
    (
        "ingest",
        "get",
        "/ws",
        "WebSocket: one event per text frame, one JSON reply each, in order",
        [],
        None,
        (101,),
    ),
    ("control", "post", "/halt", "Stop entries, or everything", [], _HALT, (200, 422, 503)),
    ("control", "post", "/resume", "Undo a halt", [], None, (200, 422, 503)),
    (
        "control",
        "post",
        "/reload",
        "Read the configuration anew; 422 refuses it with the problems",
        [],
        None,
        (200, 422),
    ),
    ("read", "get", "/polymaker/runs", "The latest runs at the Command Center", [], None, (200, 422, 503)),
    ("control", "post", "/polymaker/flush", "Try now to tell it what waits", [], None, (200, 422)),
    ("read", "get", "/bots", "The bots at Hummingbot, and how each is", _ACCOUNT, None, (200, 422, 503)),
    ("control", "post", "/bots/create", "Write a bot down; nothing is started", [], _BOT, (200, 409, 422, 503)),
    ("read", "get", "/bots/{id}", "One bot with its configuration", [_ID], None, (200, 404, 503)),
    ("control", "delete", "/bots/{id}", "Forget a bot that does not run", [_ID], None, (200, 404, 409, 503)),
    ("control", "post", "/bots/{id}/start", "Deploy it and see it run", _SEEN, None, (200, 202, 404, 409, 422, 503)),
    ("control", "post", "/bots/{id}/stop", "Stop it and see it stopped", _SEEN, None, (200, 202, 404, 409, 422, 503)),
    ("control", "post", "/bots/{id}/restart", "Stop it, then start it", _SEEN, None, (200, 202, 404, 409, 422, 503)),
    ("read", "get", "/bots/{id}/history", "Its fills, as it tells them", _DAYS, None, (200, 404, 409, 422, 503)),
    ("read", "get", "/bots/{id}/logs", "The last lines of its log", [_ID], None, (200, 404, 503)),
    ("read", "get", "/book", "What the guard believes is open", [], None, (200,)),
    ("control", "post", "/book", "Correct one row of it", [], _BOOK, (200, 422, 503)),
    ("control", "delete", "/book", "Forget all of it", [], None, (200, 422, 503)),
)
"""Role, method, path, summary, parameters, schema of the body, statuses (and 401, 403, 429 where a token is due)."""
_ROLES = "Roles: ingest sends events, read looks, control may do all. The unix socket asks for no token."
_SAYS = {
    101: "switching to WebSocket", 200: "done", 202: "accepted, and an event safe on disk",
    401: "the token is missing or wrong", 403: "a foreign Host or Origin, or a token without the role",
    404: "there is none", 409: "refused, or the same id with another body", 413: "larger than 64 KiB",
    422: "invalid; `field` names what", 429: "too often; never an sl or close",
    503: "cannot be recorded now, or Hummingbot is away; try again",
}  # fmt: skip


@cache
def document() -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for role, method, path, summary, parameters, body, codes in ROUTES:
        is_open = role == "open"
        operation: dict[str, Any] = {
            "summary": summary,
            "responses": {str(c): {"description": _SAYS[c]} for c in (*codes, *(() if is_open else (401, 403, 429)))},
            **({"parameters": parameters} if parameters else {}),
            "security": [] if is_open else [{"token": [role]}],
        }
        if body is not None:
            required = body is not _HALT
            operation["requestBody"] = {"required": required, "content": {"application/json": {"schema": body}}}
        paths.setdefault(path, {})[method] = operation
    event = json.loads(json.dumps(schema()).replace("#/$defs/", "#/components/schemas/"))
    parts = event.pop("$defs", {})
    event.pop("$schema")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Deskhand", "version": "1", "description": "The local API of the trading daemon."},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": _ROLES}},
            "schemas": {"Event": event, **parts},
        },
    }
