"""Who may speak to the local server: the token, and no web page however it got here.

A browser on the trader's machine reaches 127.0.0.1 too, so every page it shows could fire keys. Three things stand
against that: the token; the `Origin` a browser adds to what a page sends; and the `Host`, which tells a name that was
rebound to 127.0.0.1 from our own.
"""

import hmac
import ipaddress
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.http.replies import reject

OPEN = frozenset({"/health/live", "/health/ready"})
"""Paths that need nothing: probes carry no token and say nothing worth hiding."""
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value.strip() for key, value in scope["headers"] if key == name]


def _is_loopback(hosts: list[bytes]) -> bool:
    """Whether there is one Host header and it names the loopback interface, with or without a port."""
    if len(hosts) != 1:
        return False
    host = hosts[0].decode("latin-1").lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Auth:
    """Wraps an app for HTTP and WebSocket: 403 for a foreign Host or Origin, 401 without the token.

    `token` None asks for none and takes any Host, as on the unix socket, where the file's mode decides who may speak
    and where no name can be rebound to.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token: bytes | None = None
        self.set_token(token)

    def set_token(self, token: str | None) -> None:
        """Ask for this one from the next request on; a WebSocket that is open stays open."""
        self._token = token.encode() if token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI call."""
        if scope["type"] == "http" and scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        hosts = _values(scope, b"host")
        if self._token is not None and not _is_loopback(hosts):
            await reject(scope, send, 403, "forbidden", "the Host header does not name this machine")
        elif not self._own_origin(_values(scope, b"origin"), hosts):
            await reject(scope, send, 403, "forbidden", "requests of foreign web pages are refused")
        elif self._token is not None and not self._has_token(_values(scope, b"authorization"), self._token):
            await reject(scope, send, 401, "unauthorized", "send the header `Authorization: Bearer TOKEN`", _CHALLENGE)
        else:
            await self._app(scope, receive, send)

    @staticmethod
    def _own_origin(origins: list[bytes], hosts: Iterable[bytes]) -> bool:
        own = {scheme + host.lower() for host in hosts for scheme in (b"http://", b"https://")}
        return all(origin.lower() in own for origin in origins)

    @staticmethod
    def _has_token(headers: list[bytes], token: bytes) -> bool:
        if len(headers) != 1:
            return False
        scheme, _, given = headers[0].partition(b" ")
        # Bytes, because compare_digest raises on text outside ASCII and would answer 500.
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token)
