"""A peer that speaks HTTP, and the only way to it: one base address, no detours, and nothing leaves unsearched.

The only module that knows httpx2. Importing it costs 8 MB and 0.1 s, so it is imported by those who have such a peer.
"""

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import Mapping
from functools import cache
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx2

from daemon.egress.address import addresses, private
from daemon.egress.answer import Answer
from daemon.egress.body import Body, Query, Written
from daemon.egress.guard import Finding, Guard, Header, Outgoing
from daemon.errors import EgressError, UnreachableError

MOST_BYTES = 1024 * 1024
"""The longest answer that is read and the longest body that is sent, in bytes."""
CONNECT_S = 5.0
"""How long connecting may take, TLS included or not, where the whole request may take longer; in seconds."""
IDLE_S = 4.0
"""How long an unused connection is kept, in seconds: less than the five of uvicorn, which then closes its end."""

_ADDRESSES = 4
_CONNECTIONS = 8
_LONG = 8 * 1024
_PARTS = 32  # of an answer, taken in one go; then others have their turn
_PATH = re.compile(r"(?:/[A-Za-z0-9_.~{}-]*)+")
_HOLE = re.compile(r"\{([a-z_]+)\}")
_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/\\\x00-\x1f\x7f\ud800-\udfff]{1,256}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")

Method = Literal["GET", "POST", "PUT", "DELETE"]


class _Progress:
    """How far a request is: whether a byte of it may have left, and the connection made for it."""

    def __init__(self) -> None:
        self.sent = False
        self._stream: Any = None

    async def __call__(self, event: str, about: Mapping[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            self.sent = True
        elif event.endswith("connect_tcp.complete"):
            self._stream = about["return_value"]

    async def drop(self) -> None:
        """Close a connection that was not used; the library forgets one that is given up amid the TLS handshake."""
        if self._stream is not None and not self.sent:
            await self._stream.aclose()


class Egress:
    """Requests to `peer`, its section's name, below `base`; each within `limit_s` seconds, from name to last byte.

    No proxy, trust or login from the environment, no redirect, no cookie, no decompression. `headers` go with every
    request; `credentials` too, and only there, or in fields declared for it, may a secret of this peer stand. `login`
    is user and password. `tls` replaces the system's trust, not the checking. Long-lived; to be closed.
    """

    def __init__(
        self,
        peer: str,
        base: str,
        guard: Guard,
        limit_s: float,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.peer = peer
        self._guard = guard
        self._limit_s = limit_s
        self._base = _base(base)
        self._port = self._base.port or (443 if self._base.scheme == "https" else 80)
        own = dict(credentials or {})
        if login is not None:
            own["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        self._headers = (
            *(_header(name, value, own=False) for name, value in (headers or {}).items()),
            *(_header(name, value, own=True) for name, value in own.items()),
        )
        if tls is not None and (tls.verify_mode is not ssl.CERT_REQUIRED or not tls.check_hostname):
            raise ValueError("certificates are always checked")
        # Over plain HTTP nobody is to be trusted, and reading the system's trust takes its time.
        verify = tls or (_trust() if self._base.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        self._kept = _transport(verify, kept=2)
        self._fresh = _transport(verify, kept=0)
        self._last = ""
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop what is open."""
        self._closed = True
        await self._kept.aclose()
        await self._fresh.aclose()

    async def get(
        self,
        path: str,
        *,
        values: Mapping[str, str | int] | None = None,
        query: Query | None = None,
        fresh: bool = False,
        limit_s: float | None = None,
    ) -> Answer:
        """`request` with GET."""
        return await self.request("GET", path, values=values, query=query, fresh=fresh, limit_s=limit_s)

    async def request(
        self,
        method: Method,
        path: str,
        *,
        values: Mapping[str, str | int] | None = None,
        query: Query | None = None,
        body: Body | None = None,
        fresh: bool = False,
        private_only: bool = False,
        limit_s: float | None = None,
    ) -> Answer:
        """Send one request, once, and read the answer, whatever its status.

        `path` begins with a slash and goes below the base; `values` fill its `{holes}`, a segment each. `fresh` takes a
        connection of its own: a kept one may be dead, and then nobody knows whether the peer acted. `private_only`
        refuses addresses other than loopback and private ones, as does a body with a field for secrets. `limit_s`
        replaces the client's. Raises EgressError when it may not leave, UnreachableError in plain words, whose `sent`
        says whether the peer may have seen it; a request that was cancelled it may have.
        """
        limit_s = limit_s or self._limit_s
        url = self._url(path, values or {})
        asked = query.written() if query else Written()
        if asked.data:
            url = url.copy_with(query=asked.data)
        content = body.written() if body is not None else None
        if content and len(content.data) > MOST_BYTES:
            raise EgressError(f"a request to {self.peer} was not sent: its body is longer than 1 MiB")
        # Not searched: the peer's own host, which it knows, and headers that are the same for everybody.
        await self._look(Outgoing(url.raw_path, asked, self._headers, content))
        if self._closed:
            raise UnreachableError("the client is closed")
        progress = _Progress()
        try:
            async with asyncio.timeout(limit_s):
                found = await self._addresses(limit_s, private_only=private_only or bool(content and content.private))
                connect_s = min(limit_s, CONNECT_S) / len(found)
                request = self._build(method, url, content, progress, (limit_s, connect_s))
                return await self._send(request, found, self._fresh if fresh else self._kept, progress)
        except (TimeoutError, httpx2.TimeoutException) as error:
            waited = min(limit_s, CONNECT_S) if isinstance(error, httpx2.ConnectTimeout) else limit_s
            raise UnreachableError(f"no answer within {waited:g} s", sent=progress.sent) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise UnreachableError(_words(error), sent=progress.sent) from None

    def _url(self, path: str, values: Mapping[str, str | int]) -> httpx2.URL:
        if not _PATH.fullmatch(path) or "//" in path or "/." in path:
            raise ValueError("a path begins with a slash and holds names, and holes for values")
        if set(_HOLE.findall(path)) != set(values) or "{" in _HOLE.sub("", path):
            raise ValueError("a path has a hole for each value and a value for each hole")
        for name, value in values.items():
            if not _SEGMENT.fullmatch(str(value)):
                raise EgressError(f"a request to {self.peer} was not sent: its {name} cannot stand in an address")
        filled = _HOLE.sub(lambda hole: quote(str(values[hole[1]]), safe=""), path)
        below = self._base.raw_path.rstrip(b"/") + filled.encode()
        return self._base.copy_with(raw_path=below)

    async def _look(self, request: Outgoing) -> None:
        if request.size > _LONG:  # promise 4: what takes milliseconds stands in nobody's way
            finding = await asyncio.to_thread(self._guard.search, self.peer, request)
        else:
            finding = self._guard.search(self.peer, request)
        if finding:
            raise self._guard.stop(self.peer, finding)

    async def _addresses(self, limit_s: float, *, private_only: bool) -> list[str]:
        found = [address for address, _ in await addresses(self._base.host, self._port, limit_s)]
        if private_only and not all(map(private, found)):
            raise self._guard.stop(self.peer, Finding("address", "neither loopback nor private", verb="is"))
        return sorted(found, key=lambda address: address != self._last)[:_ADDRESSES]

    def _build(
        self,
        method: Method,
        url: httpx2.URL,
        content: Written | None,
        progress: _Progress,
        limits_s: tuple[float, float],
    ) -> httpx2.Request:
        named = {header.name.lower() for header in self._headers}
        usual = [("User-Agent", "deskhand"), ("Accept", "application/json"), ("Accept-Encoding", "identity")]
        if content is not None:
            usual.append(("Content-Type", "application/json"))
        headers = [
            ("Host", url.netloc),
            *((name, value.encode()) for name, value in usual if name.lower() not in named),
        ]
        headers += [(header.name, header.value) for header in self._headers]
        limit_s, connect_s = limits_s
        waits = {"connect": connect_s, "read": limit_s, "write": limit_s, "pool": limit_s}
        extensions: dict[str, Any] = {"timeout": waits, "trace": progress}
        if url.scheme == "https":
            extensions["sni_hostname"] = url.host
        raw = [(name.encode(), value) for name, value in headers]
        return httpx2.Request(
            method, url, headers=raw, content=content.data if content else None, extensions=extensions
        )

    async def _send(
        self, request: httpx2.Request, found: list[str], transport: httpx2.AsyncHTTPTransport, progress: _Progress
    ) -> Answer:
        """To the first of the addresses that takes the connection: what was checked is what is connected to."""
        for address in found:
            request.url = request.url.copy_with(host=address)
            try:
                response = await transport.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if address == found[-1]:
                    raise
            except BaseException:
                await progress.drop()
                raise
            else:
                self._last = address
                return await _read(response, progress)
        raise AssertionError("a name has an address")


async def _read(response: httpx2.Response, progress: _Progress) -> Answer:
    body = bytearray()
    try:
        declared = response.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and len(declared) < 20 and int(declared) > MOST_BYTES:
            raise UnreachableError("the answer is longer than 1 MiB", sent=progress.sent)
        parts = 0
        async for part in response.aiter_raw():
            body += part
            parts += 1
            if len(body) > MOST_BYTES:
                raise UnreachableError("the answer is longer than 1 MiB", sent=progress.sent)
            if parts % _PARTS == 0:  # promise 4: what was read at once may be ten thousand parts of a byte each
                await asyncio.sleep(0)
    finally:
        await response.aclose()
    return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body))


def _base(address: str) -> httpx2.URL:
    try:
        url = httpx2.URL(address.rstrip("/"))
    except httpx2.InvalidURL:
        raise ValueError("a base is an address like http://host:8000") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ValueError("a base is an address like http://host:8000, without user, password, query or fragment")
    return url


def _header(name: str, value: str, *, own: bool) -> Header:
    if not _HEADER.fullmatch(name) or not value.isprintable():
        raise ValueError("a header is a name and printable text")
    return Header(name, value.encode(), own)


@cache
def _trust() -> ssl.SSLContext:
    """The system's, read once: it takes 20 ms."""
    return httpx2.create_ssl_context(trust_env=False)


def _transport(verify: ssl.SSLContext, *, kept: int) -> httpx2.AsyncHTTPTransport:
    limits = httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=kept, keepalive_expiry=IDLE_S)
    return httpx2.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)


def _words(error: BaseException) -> str:
    """Why there is no answer, from what lies below the library's own error, which would quote address or answer."""
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
