"""The two websockets: what the server pushes when something changed, and an end that says why.

`/ws/executors` has `all_bots_status`, `bot_status`, executors and positions, `/ws/market-data` has `order_book` and
`trades`. The server accepts everybody and only then looks at the login. Credentials go in the header, never in the
address, where they would stand in logs.
"""

import asyncio
import base64
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from daemon.egress import Body, Guard
from daemon.egress.guard import Header, Outgoing
from daemon.errors import EgressError
from handlers.hummingbot.answers import Ok, Refused, Result, Unavailable, Why
from handlers.hummingbot.models import Moment, Read, Text
from handlers.hummingbot.requests import Connector, Name, Pair
from handlers.hummingbot.words import shown

SILENT_S = 75.0
"""Without a word for so long, seconds, a connection is dead: heartbeats come every 30."""
_PING_S = 15.0
_LARGEST = 4 * 1024 * 1024
_LOGIN = 4001

Every = Annotated[float, Field(ge=0.25, le=60)]
"""Seconds between two looks of the server for a change."""


class SubscribeBots(Body):
    """Every bot's status, without logs: at once, then when one changed."""

    action: Literal["subscribe"] = "subscribe"
    type: Literal["all_bots_status"] = "all_bots_status"
    update_interval: Every = 2.0


class SubscribeBot(SubscribeBots):
    """One bot's status."""

    type: Literal["bot_status"] = "bot_status"  # type: ignore[assignment]  # narrower, and another
    bot_name: Name


class SubscribeExecutors(SubscribeBots):
    """Executors, or the positions they hold."""

    type: Literal["executors", "positions", "executor_summary"]  # type: ignore[assignment]  # as above


class SubscribeMarket(Body):
    """A market's order book or trades; on `/ws/market-data` only."""

    action: Literal["subscribe"] = "subscribe"
    type: Literal["order_book", "trades"]
    connector: Connector
    trading_pair: Pair
    update_interval: Every = 1.0


Subscribe = SubscribeBots | SubscribeBot | SubscribeExecutors | SubscribeMarket


class Push(Read):
    """One message: `subscribed`, `error`, or a subscription's kind with its `data`, fractions as Decimal."""

    type: Text = ""
    subscription_id: Text = ""
    message: Text = ""
    data: Any = None
    timestamp: Moment = None


class _Connect(connect):
    """Never anywhere else than where it was told: the login goes with it."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Stream:
    """One connection. `ended` says why it ended, in words; "" while it is there."""

    def __init__(self, connection: ClientConnection, guard: Guard, target: bytes, silent_s: float) -> None:
        self.ended = ""
        self._connection = connection
        self._guard = guard
        self._target = target
        self._silent_s = silent_s

    async def subscribe(self, body: Subscribe) -> Refused | Unavailable | None:
        """Ask for pushes; that it was granted comes as a Push, `subscribed` or `error`."""
        written = body.written()
        try:
            _look(self._guard, Outgoing(self._target, type(written)(), (), written))
            await self._connection.send(written.data.decode())
        except EgressError as error:
            return Refused(str(error), Why.NOT_SENT)
        except (WebSocketException, OSError) as error:
            self._end(_words(error))
            return Unavailable(self.ended)
        return None

    async def __aiter__(self) -> AsyncIterator[Push]:
        """Every push until the connection ends; heartbeats are kept to ourselves."""
        while not self.ended:
            try:
                async with asyncio.timeout(self._silent_s):
                    found = _push(await self._connection.recv())
            except TimeoutError:
                self._end(f"nothing heard for {self._silent_s:g} s")
            except (WebSocketException, OSError) as error:
                self._end(_words(error))
            else:
                if found is None:
                    self._end("it sends what is not understood")
                elif found.type not in ("heartbeat", "pong"):
                    yield found
        await self.close()

    async def first(self, limit_s: float) -> Push | None:
        """The very first message; None when it does not come, and then `ended` says why."""
        try:
            async with asyncio.timeout(limit_s):
                return _push(await self._connection.recv())
        except TimeoutError:
            self._end(f"no greeting within {limit_s:g} s")
        except (WebSocketException, OSError) as error:
            self._end(_words(error))
        return None

    async def close(self) -> None:
        """Close it, in a second at most."""
        self._end("closed by us")
        await self._connection.close()

    async def leave(self, limit_s: float) -> None:
        """Close it, and after `limit_s` seconds cut it; also for one who is being cancelled."""
        try:
            async with asyncio.timeout(limit_s):
                await self.close()
        except TimeoutError:
            pass
        finally:
            self.cut()

    def cut(self) -> None:
        """Gone at once, without a word."""
        self._end("closed by us")
        self._connection.transport.abort()

    def _end(self, why: str) -> None:
        self.ended = self.ended or why


class Streams:
    """Opens them, below the address of the API."""

    def __init__(
        self,
        base: str,
        guard: Guard,
        limit_s: float,
        login: tuple[str, str] | None,
        key: Mapping[str, str],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._base, self._guard, self._limit_s = base, guard, limit_s
        self._headers = dict(key)
        if login is not None:
            self._headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        self._tls = tls

    async def open(self, kind: Literal["executors", "market-data"], silent_s: float = SILENT_S) -> Result[Stream]:
        """Connect, and wait for the greeting that tells whether the login is right."""
        parts = urlsplit(self._base)
        target = f"{parts.path.rstrip('/')}/ws/{kind}"
        secure = parts.scheme == "https"
        try:
            headers = tuple(Header(name, value.encode(), own=True) for name, value in self._headers.items())
            _look(self._guard, Outgoing(target.encode(), Body().written(), headers, None))
            connection = await _Connect(
                f"{'wss' if secure else 'ws'}://{parts.netloc}{target}",
                additional_headers=self._headers,
                user_agent_header="deskhand",
                ssl=(self._tls or ssl.create_default_context()) if secure else None,
                proxy=None,
                compression=None,
                open_timeout=self._limit_s,
                ping_interval=_PING_S,
                ping_timeout=_PING_S,
                close_timeout=1.0,
                max_size=_LARGEST,
            )
        except EgressError as error:
            return Refused(str(error), Why.NOT_SENT)
        except TimeoutError:
            return Unavailable(f"no answer within {self._limit_s:g} s")
        except InvalidStatus as error:
            status = error.response.status_code
            why = Why.LOGIN if status == 401 else Why.NO_ROUTE
            return Refused(f"no websocket there: HTTP {status}", why, status)
        except (WebSocketException, InvalidHandshake, OSError) as error:
            return Unavailable(_words(error))
        stream = Stream(connection, self._guard, target.encode(), silent_s)
        try:
            greeting = await stream.first(self._limit_s)
        except asyncio.CancelledError:
            stream.cut()
            raise
        if greeting is not None and greeting.type == "connected":
            return Ok(stream)
        await stream.close()
        if greeting is not None and greeting.type == "error":
            return Refused("user name or password refused", Why.LOGIN, _LOGIN)
        return Unavailable(stream.ended if greeting is None else "it greets us as no Hummingbot API does")


def _look(guard: Guard, outgoing: Outgoing) -> None:
    if finding := guard.search("hummingbot", outgoing):
        raise guard.stop("hummingbot", finding)


def _push(raw: str | bytes) -> Push | None:
    try:
        return Push.model_validate(json.loads(raw, parse_float=Decimal))
    except (ValueError, ValidationError, RecursionError):
        return None


def _words(error: BaseException) -> str:
    """Why a connection is not there, without the address."""
    if isinstance(error, ConnectionClosed):
        said = error.rcvd
        if said is None:
            return "the connection broke"
        reason = f": {shown(said.reason)}" if said.reason else ""
        return f"the server closed it with code {said.code}{reason}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message or 'not trusted'}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return "host name not resolved" if isinstance(error, OSError) else "not a websocket server"
