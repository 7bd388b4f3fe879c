"""The way to peers that speak HTTP: one `Egress` per peer, and to no other host.

The only module that knows httpx2. Importing it costs 8 MB and 0.1 s, so it is imported by those who have such a peer.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx2

from daemon.errors import UnreachableError

MOST_BYTES = 1024 * 1024
"""The longest answer that is read, in bytes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer answered; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Egress:
    """Requests below one base address, each within `limit_s` seconds from the name to the last byte.

    No proxy or credentials from the environment, no redirect, no cookie, and each request on a connection of its own:
    a server that drops a kept connection without a word would leave a request half done. `login` is user and password,
    `tls` replaces the system's trust.
    """

    def __init__(
        self,
        base: str,
        limit_s: float,
        *,
        headers: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._base = httpx2.URL(base.rstrip("/"))
        self._limit_s = limit_s
        self._client = httpx2.AsyncClient(
            headers={"User-Agent": "deskhand", "Accept": "application/json", "Accept-Encoding": "identity"}
            | dict(headers or {}),
            auth=login,
            verify=tls or True,
            trust_env=False,
            follow_redirects=False,
            timeout=limit_s,
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop what is open."""
        await self._client.aclose()

    async def get(self, path: str) -> Answer:
        """GET `path`, which begins with a slash and goes below the base. Raises UnreachableError in plain words."""
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._send("GET", self._below(path))
        except (TimeoutError, httpx2.TimeoutException):
            raise UnreachableError(f"no answer within {self._limit_s:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise UnreachableError(_words(error)) from None

    def _below(self, path: str) -> httpx2.URL:
        if not path.startswith("/"):
            raise ValueError("a path begins with a slash")
        url, base = httpx2.URL(f"{self._base}{path}"), self._base
        if (url.scheme, url.host, url.port) != (base.scheme, base.host, base.port):
            raise ValueError("a path leads below the peer's address")
        return url

    async def _send(self, method: str, url: httpx2.URL) -> Answer:
        body = bytearray()
        async with self._client.stream(method, url) as response:
            self._client.cookies.clear()
            async for part in response.aiter_raw():
                body += part
                if len(body) > MOST_BYTES:
                    raise UnreachableError("the answer is longer than 1 MiB")
        return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body))


def _words(error: BaseException) -> str:
    """Why, from what lies below the library's own error, which would quote the address or the answer."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, ssl.SSLCertVerificationError):
            return f"certificate refused: {below.verify_message or 'not trusted'}"
        if isinstance(below, ssl.SSLError):
            return f"TLS failed: {(below.reason or 'unknown').replace('_', ' ').lower()}"
        if isinstance(below, (socket.gaierror, UnicodeError)):
            return "host name not resolved"
        if isinstance(below, OSError) and below.errno and below.errno > 0:
            return os.strerror(below.errno)
        below = below.__cause__ or below.__context__
    if isinstance(error, httpx2.RemoteProtocolError):
        closed = "disconnected" in str(error)
        return "the server closed the connection without an HTTP answer" if closed else "not an HTTP server"
    return "the connection broke"
