"""Who may speak to the local server: who has a token, and no web page however it got here.

A browser on the trader's machine reaches 127.0.0.1 too, so every page it shows could fire keys. Three things stand
against that: the token; the `Origin` and `Sec-Fetch-Site` a browser adds to what a page sends; and the `Host`, which
tells a name that was rebound to our address from our own.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Collection
from functools import lru_cache
from math import ceil

from loguru import logger
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.clock import Clock
from daemon.http.access import GRANT, NOBODY, UNIX, Access, Grant
from daemon.http.rates import LONGEST_S, Slowdown
from daemon.http.replies import reject

HELD = 64
"""How many answers to wrong tokens are held back at a time; more get 429 at once."""
_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_SLOW = {"Retry-After": str(ceil(LONGEST_S))}
_READ = (b"host", b"origin", b"sec-fetch-site", b"authorization")


@lru_cache(256)
def _name(host: bytes) -> str:
    """The name or address in a Host header, without the port."""
    text = host.decode("latin-1").lower()
    return text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0].removesuffix(".")


@lru_cache(256)
def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A literal address; None for a name."""
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


class Auth:
    """Wraps an app for HTTP and WebSocket: 403 for a foreign Host or Origin, 401 without a token, and what the token
    allows for the app to go by. Wrong tokens are answered more and more slowly, which delays nobody with a right one.

    `access` None asks for no token and takes any Host, as on the unix socket, where the file's mode decides who may
    speak and where no name can be rebound to. `open`: paths that need nothing. `failed` is told of every refusal:
    `foreign`, `missing`, `wrong` or `expired`.
    """

    def __init__(
        self, app: ASGIApp, access: Access | None, clock: Clock, stopping: asyncio.Event,
        failed: Callable[[str], None], *, open: Collection[str] = (),
    ) -> None:  # fmt: skip
        self._app = app
        self._access = access
        self._clock = clock
        self._stopping = stopping
        self._failed = failed
        self._open = open
        self._slowdown = Slowdown()
        self._held = 0
        self.hosts: frozenset[str] = frozenset()
        """Names beside our addresses that a Host may have, lower case."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI call."""
        if scope["type"] == "http" and scope["path"] in self._open:
            scope[GRANT] = NOBODY
            await self._app(scope, receive, send)
            return
        found: dict[bytes, list[bytes]] = {name: [] for name in _READ}
        for name, value in scope["headers"]:
            if name in found:
                found[name].append(value.strip())
        if self._access is not None and not self._own_host(found[b"host"], scope["server"]):
            await self._foreign(scope, send, "the Host header does not name this machine; see http.allowed_hosts")
        elif not self._own_page(found):
            await self._foreign(scope, send, "requests of foreign web pages are refused")
        elif self._access is None:
            scope[GRANT] = UNIX
            await self._app(scope, receive, send)
        else:
            given = _token(found[b"authorization"])
            grant = self._access.find(given) if given else None
            if grant is None or grant.expired(self._clock.now()):
                await self._refuse(scope, send, given, grant)
            else:
                scope[GRANT] = grant
                await self._app(scope, receive, send)

    def _own_host(self, hosts: list[bytes], server: tuple[str, int] | None) -> bool:
        """Whether there is one Host header and it names the loopback interface, the address the connection came to, or
        a name of the configuration. A web page's own name rebound to us is none of these.
        """
        if len(hosts) != 1:
            return False
        name = _name(hosts[0])
        if name == "localhost" or name in self.hosts:
            return True
        address = _address(name)
        return address is not None and (
            address.is_loopback or (server is not None and address == _address(server[0].partition("%")[0]))
        )

    @staticmethod
    def _own_page(found: dict[bytes, list[bytes]]) -> bool:
        """Whether no browser says that this comes from a page of somebody else."""
        if any(site.lower() not in (b"same-origin", b"none") for site in found[b"sec-fetch-site"]):
            return False
        if not found[b"origin"]:
            return True
        own = {scheme + host.lower() for host in found[b"host"] for scheme in (b"http://", b"https://")}
        return all(origin.lower() in own for origin in found[b"origin"])

    async def _foreign(self, scope: Scope, send: Send, reason: str) -> None:
        self._failed("foreign")
        await reject(scope, send, 403, "forbidden", reason)

    async def _refuse(self, scope: Scope, send: Send, given: bytes, grant: Grant | None) -> None:
        if grant is not None:
            self._failed("expired")
            logger.warning("the token {} was used, but it has expired", grant.name)
            await reject(scope, send, 401, "unauthorized", "this token has expired", _CHALLENGE)
        elif not given:
            self._failed("missing")
            await reject(scope, send, 401, "unauthorized", "send the header `Authorization: Bearer TOKEN`", _CHALLENGE)
        else:
            await self._wrong(scope, send)

    async def _wrong(self, scope: Scope, send: Send) -> None:
        """Answer a wrong token. Behind a tunnel all callers have one address, so all wrong ones share one slowdown."""
        self._failed("wrong")
        delay_s = self._slowdown.failed(self._clock.boot())
        client = scope.get("client")
        logger.warning("a wrong token was sent to the local server by {}", client[0] if client else "somebody")
        if delay_s:
            if self._held >= HELD:
                await reject(scope, send, 429, "limited", "too many wrong tokens were sent", _SLOW)
                return
            self._held += 1
            try:
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()
            except TimeoutError:
                pass
            finally:
                self._held -= 1
        await reject(scope, send, 401, "unauthorized", "this is no token that is known here", _CHALLENGE)


def _token(headers: list[bytes]) -> bytes:
    """The token in the one Authorization header; empty if there is none, or two."""
    if len(headers) != 1:
        return b""
    scheme, _, given = headers[0].partition(b" ")
    return given.strip() if scheme.lower() == b"bearer" else b""
