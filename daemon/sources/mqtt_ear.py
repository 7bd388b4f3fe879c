"""One connection to a broker that only listens: MQTT 3.1.1, QoS 0, a clean session, no will, nothing ever published.

Publications are read by hand, straight from the transport's buffer, and what is too large is dropped as it streams in;
the rare packets are paho's. Wire: MQTT 3.1.1, OASIS standard.
"""

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

import paho.mqtt.client as paho
from loguru import logger
from paho.mqtt.enums import CallbackAPIVersion

from daemon.events import BODY_LIMIT
from daemon.sources.mqtt_wire import BrokerError, Wire, varint

BATCH = 64
"""How many messages are taken in one turn of the loop: bounds how long everything else waits."""
KEEPALIVE_S = 10
_TOPIC_LIMIT = 1024
_PACKET_LIMIT = BODY_LIMIT + _TOPIC_LIMIT
_LOGIN = {4, 5, 134, 135}

Heard = Callable[[str, bytes | None], None]
"""Topic and payload; None for one that is too large, or was retained, which is no news."""


class _Paho(paho.Client):
    """paho on a wire of ours instead of a socket it opens (and blocks on) itself."""

    wire: Wire

    def _create_socket(self) -> Any:
        return self.wire


class Ear(asyncio.Protocol):
    """Made by `open`, ends with `lost` holding the reason; a new one is made for the next connection. `flush` is called
    after each batch of messages.
    """

    def __init__(self, heard: Heard, flush: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard, self._flush = heard, flush
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._next: asyncio.Handle | None = None
        self._misc: asyncio.TimerHandle | None = None
        self._held = False
        self._skip = 0
        self._topics: list[str] = []
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[BrokerError] = self._loop.create_future()
        self._wire = Wire()
        self._paho = _Paho(
            callback_api_version=CallbackAPIVersion.VERSION2,
            client_id=f"deskhand-ear-{secrets.token_hex(4)}",
            protocol=paho.MQTTv311,
            clean_session=True,
            reconnect_on_failure=False,
        )
        if logging.root.isEnabledFor(logging.DEBUG):  # all that libraries say is asked for
            self._paho.enable_logger(logging.getLogger("paho"))
        self._paho.wire = self._wire
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_subscribe = self._on_subscribe

    async def open(
        self,
        address: tuple[str, int],
        topics: Sequence[str],
        *,
        tls: ssl.SSLContext | None,
        hostname: str,
        credentials: tuple[str, str | None] | None,
    ) -> None:
        """Connect, log in and subscribe. Raises BrokerError or OSError; the caller sets the time limit."""
        self._topics = list(topics)
        if credentials:
            self._paho.username_pw_set(*credentials)
        await self._loop.create_connection(lambda: self, *address, ssl=tls, server_hostname=hostname if tls else None)
        self._paho.connect(hostname, address[1], KEEPALIVE_S)
        self._misc = self._loop.call_later(KEEPALIVE_S / 4, self._tick)
        await asyncio.wait((self._ready, self.lost), return_when=asyncio.FIRST_COMPLETED)
        if self.lost.done():
            raise self.lost.result()

    def close(self) -> None:
        """Say goodbye and hang up; what is written still leaves."""
        if not self.lost.done():
            self._paho.disconnect()
        self._lose(BrokerError("stopped"))
        if self._transport is not None:
            # Given up while it comes about, uvloop has cut what carries the TLS: nothing can be written to it any more.
            (self._transport.close if self._ready.done() else self._transport.abort)()

    # -- the wire --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = self._wire.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = self._wire.transport = None
        self._lose(BrokerError(str(exc) if exc else "the broker closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Called by the loop: take what is there, a batch in each turn of the loop."""
        self._rest = self._rest + data if self._rest else data
        if self._next is None:
            self._turn()

    def _turn(self) -> None:
        self._next, more = None, False
        try:
            more = self._take(self._rest)
        except BrokerError as error:
            self._fail(error)
        except Exception as error:  # promise 4: whatever a broker sends ends this connection at most
            logger.opt(exception=error).debug("MQTT: malformed packet")
            self._fail(BrokerError(f"the broker sent a malformed packet ({type(error).__name__})"))
        self._flush()
        transport = self._transport
        if transport is None or self.lost.done():
            return
        if more:  # a flood: the keys come first, then the next batch
            self._next = self._loop.call_soon(self._turn)
        if more != self._held:
            self._held = more
            (transport.pause_reading if more else transport.resume_reading)()

    def _take(self, data: bytes) -> bool:
        """Take up to a batch of whole packets; returns whether there may be more."""
        at, end, taken = 0, len(data), 0
        if self._skip:
            at = min(self._skip, end)
            self._skip -= at
        while end - at >= 2 and taken < BATCH:
            head, found = data[at], varint(data, at + 1)
            if found is None:
                break
            size, body = found
            stop = body + size
            if stop > end:
                if size > _PACKET_LIMIT and self._oversized(data, head, body, stop):
                    at = end
                break
            if head >> 4 == 3:
                self._message(data, head, body, stop)
                taken += 1
            else:
                self._wire.unread += data[at:stop]
                self._paho.loop_read()
                if self._paho.want_write():
                    self._paho.loop_write()
            at = stop
        self._rest = data[at:] if at < end else b""
        return taken == BATCH

    def _message(self, data: bytes, head: int, body: int, stop: int) -> None:
        start = body + 2 + (data[body] << 8 | data[body + 1])
        topic = data[body + 2 : start].decode()
        if head & 0x06:  # never asked for
            start += 2
        if start > stop:
            raise BrokerError("the broker sent a malformed packet")
        usable = stop - start <= BODY_LIMIT and not head & 1
        self._heard(topic, data[start:stop] if usable else None)

    def _oversized(self, data: bytes, head: int, body: int, stop: int) -> bool:
        """Count a packet beyond every limit as soon as its head is there, and drop the rest as it streams in."""
        if head >> 4 != 3:
            raise BrokerError("the broker sent a packet that is too large")
        if len(data) < body + 2:
            return False
        start = body + 2 + (data[body] << 8 | data[body + 1])
        if len(data) < start:
            return False
        self._skip = stop - len(data)
        self._heard(data[body + 2 : start].decode(errors="replace"), None)
        return True

    # -- paho's callbacks ------------------------------------------------------------------------------------------

    def _on_connect(self, *args: Any) -> None:
        code = args[3]
        if code.is_failure:
            self._fail(BrokerError(f"the broker refused the login: {code}", stubborn=code.value in _LOGIN))
            return
        self._paho.subscribe([(topic, 0) for topic in self._topics])

    def _on_subscribe(self, *args: Any) -> None:
        refused = [topic for topic, code in zip(self._topics, args[3], strict=False) if code.is_failure]
        if refused:
            self._fail(BrokerError(f"the broker refused the subscription to {', '.join(refused)}", stubborn=True))
        elif not self._ready.done():
            self._ready.set_result(None)

    def _on_disconnect(self, *args: Any) -> None:
        self._lose(BrokerError(f"disconnected: {args[3]}"))

    def _tick(self) -> None:
        if not self.lost.done():
            self._misc = self._loop.call_later(KEEPALIVE_S / 4, self._tick)
            self._paho.loop_misc()

    def _fail(self, error: BrokerError) -> None:
        self._lose(error)
        if self._transport is not None:
            self._transport.abort()

    def _lose(self, error: BrokerError) -> None:
        if self._misc is not None:
            self._misc.cancel()
        if not self.lost.done():
            self.lost.set_result(error)
