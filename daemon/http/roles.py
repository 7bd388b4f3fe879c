"""What a token may do, and what a route asks for; a route says so where it is made, and one that does not is shut."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

Role = Literal["ingest", "read", "control"]
"""ingest sends events and sees nothing; read sees everything and changes nothing; control may do all."""
Need = Literal["open", "ingest", "read", "control"]
"""What a route asks for; `open` asks for no token at all."""

ROLES: dict[Role, frozenset[Need]] = {
    "ingest": frozenset({"ingest"}),
    "read": frozenset({"read"}),
    "control": frozenset({"ingest", "read", "control"}),
}
"""What each role may, beside what is open to all."""
REFUSALS: dict[Need | None, str] = {
    "ingest": "this token may not send events",
    "read": "this token may not read",
    "control": "this token may not steer the daemon",
    None: "no token may use this path",
}
"""What is said to a token that lacks the role."""


class RoleRoute(Route):
    """A route of the local API for those who may `need`: GET unless `methods` are given."""

    def __init__(
        self, need: Need, path: str, endpoint: Callable[[Request], Awaitable[Response]], *methods: str
    ) -> None:
        super().__init__(path, endpoint, methods=methods or ("GET",))
        self.need = need


class RoleSocket(WebSocketRoute):
    """A WebSocket of the local API for those who may `need`."""

    def __init__(self, need: Need, path: str, endpoint: Callable[[WebSocket], Awaitable[None]]) -> None:
        super().__init__(path, endpoint)
        self.need = need


def need(route: Any) -> Need | None:
    """What a route asks for; None if it never said, and then nobody may use it."""
    found: Need | None = getattr(route, "need", None)
    return found
