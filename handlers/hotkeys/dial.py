"""Opening a connection: name, TCP, TLS, handshake, and in words for a trader why it did not work."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from websockets.uri import parse_uri

from daemon.apart import apart
from daemon.errors import UnreachableError
from handlers.hotkeys.link import Link, Listener

_Address = tuple[int, int, int, str, Any]


class Dialer:
    """Opens connections to one server, each within `timeout` seconds. wss:// checks the certificate."""

    def __init__(self, url: str, timeout: float, tls: ssl.SSLContext | None = None) -> None:
        self._uri = parse_uri(url)
        self._timeout = timeout
        self._tls = (tls or ssl.create_default_context()) if self._uri.secure else None
        self._lookup: asyncio.Future[Sequence[_Address]] | None = None

    async def dial(self, listener: Listener) -> None:
        """Open one connection; the listener has been told when this returns. Raises UnreachableError."""
        stage = "no answer from the name server"
        link: Link | None = None
        try:
            async with asyncio.timeout(self._timeout):
                addresses = await self._resolve()
                stage = "no answer"
                sock = await self._reach(addresses)
                stage = "no answer to the handshake"
                try:
                    link = await self._open(sock, listener)
                except BaseException:
                    with contextlib.suppress(OSError):  # uvloop refuses while its transport is still closing it
                        sock.close()
                    raise
                await link.opened
        except TimeoutError:
            raise UnreachableError(f"{stage} within {self._timeout:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise UnreachableError(f"certificate refused: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise UnreachableError(f"TLS failed: {(error.reason or 'unknown').replace('_', ' ').lower()}") from None
        except OSError as error:
            # Whoever takes a TLS greeting for nonsense hangs up, which asyncio may report without a number.
            greeted = self._tls is not None and stage == "no answer to the handshake"
            cut = greeted and error.errno in (None, errno.ECONNRESET)
            raise UnreachableError("TLS failed: the server hung up" if cut else _words(error)) from None
        finally:
            if link is not None and not link.ready_at:
                link.end("given up")

    async def _resolve(self) -> Sequence[_Address]:
        host, port = self._uri.host, self._uri.port
        try:
            # Numbers need no name server, hence no thread.
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (socket.gaierror, UnicodeError):  # no number, or a name that none can have: with an empty label, say
            pass
        if self._lookup is None:  # else an earlier attempt gave up on one that still runs: one at a time
            self._lookup = apart(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), "hotkeys-resolve")
            self._lookup.add_done_callback(self._looked_up)
        try:
            return await asyncio.shield(self._lookup)
        except (socket.gaierror, UnicodeError):
            raise UnreachableError("host name not resolved") from None

    def _looked_up(self, lookup: asyncio.Future[Sequence[_Address]]) -> None:
        self._lookup = None
        if not lookup.cancelled():
            lookup.exception()  # seen, even if nobody waits any more

    async def _reach(self, addresses: Sequence[_Address]) -> socket.socket:
        """Connect to the first address that answers; a silent one gets its share of the time, not all of it."""
        share = self._timeout / len(addresses)
        problem: OSError = OSError("no address")
        for family, kind, proto, _, address in addresses:
            sock = socket.socket(family, kind, proto)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                async with asyncio.timeout(share):
                    await asyncio.get_running_loop().sock_connect(sock, address)
                return sock
            except OSError as error:  # the next address may answer
                sock.close()
                problem = error
            except BaseException:
                sock.close()
                raise
        raise problem

    async def _open(self, sock: socket.socket, listener: Listener) -> Link:
        link = Link(self._uri, listener, sock)
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: link, sock=sock, ssl=self._tls, server_hostname=self._uri.host if self._tls else None
            )
        except BaseException:
            # Given up in the turn in which it came about: uvloop closes the transport and never says so, though the
            # server's answer may have opened the connection by then.
            link.connection_lost(None)
            raise
        return link


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else "connection failed"
