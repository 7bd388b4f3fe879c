"""One connection to the MQTT broker: trade events in, acknowledgements and outcomes out.

The frequent packets (PUBLISH in and out, PUBACK) are read and written here by hand, straight from the transport's
buffer into intake, because a client library's queue, task and copies per message cost more than all the rest of the
way to the key. The rare ones are paho's, pinned below its next major version. Wire: MQTT 3.1.1 and 5.0, OASIS.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import paho.mqtt.client as paho
from loguru import logger
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from daemon.events import BODY_LIMIT
from daemon.ports import Receipt, Status
from daemon.sources.mqtt_wire import BrokerError, Message, Wire, publication, varint

SESSION_S = 30 * 24 * 3600
"""How long the broker keeps our session and its queue while we are away (MQTT 5), in seconds."""
RECEIVE_MAX = 256
"""How many events may be unacknowledged at once (MQTT 5); 3.1.1 leaves it to the broker."""
WINDOW = 20
"""How many of our own publications may be unacknowledged at once, unless the broker allows fewer."""
BATCH = 64
"""How many events are taken in one turn of the loop: bounds how long everything else waits."""
_PACKET_LIMIT = BODY_LIMIT + 64 * 1024 + 4 * 1024  # a body, a topic and properties
_TOO_LARGE = bytes(BODY_LIMIT + 1)
_FIRST_MID, _LAST_MID = 0x4000, 0xFFFF  # paho counts from 1 and needs a handful per connection
_TAKEN_OVER = 142
_AUTH = {4, 5, 134, 135, 138, 140}  # 3.1.1 and 5: bad password, not authorised, banned, bad authentication method


class _Paho(paho.Client):
    """paho on a wire of ours instead of a socket it opens (and blocks on) itself."""

    wire: Wire

    def _create_socket(self) -> Any:
        return self.wire


class Link(asyncio.Protocol):
    """One connection. Made by `open`, ends with `lost` holding the reason; a new one is made for the next."""

    def __init__(
        self,
        *,
        client_id: str,
        v5: bool,
        offer: Callable[[bytes, Callable[[Receipt], None]], None],
        flush: Callable[[], None],
        refused: Callable[[Receipt], None],
        retained: Callable[[], None],
        room: Callable[[], None],
        denied: Callable[[str, int], None],
    ) -> None:
        """`offer` and `flush` are intake's; `refused` hears of answers that are no acceptance, `retained` of retained
        events, `room` of each confirmed publication, `denied` of topic and code of one that the broker did not take.
        """
        self._loop = asyncio.get_running_loop()
        self._v5 = v5
        self._offer, self._flush, self._refused = offer, flush, refused
        self._retained, self._room, self._denied = retained, room, denied
        self._transport: asyncio.Transport | None = None
        self._rest, self._topic = b"", ""
        self._next: asyncio.Handle | None = None
        self._held = self._ack_due = self._paused = False
        self._skip = 0
        self._unacked: deque[int] = deque()  # the standard wants PUBACKs in the order of the PUBLISHes
        self._settled: set[int] = set()
        self._sent: dict[int, Message] = {}
        self._mid = _FIRST_MID - 1
        self._window = WINDOW
        self._misc: asyncio.TimerHandle | None = None
        self._tick_s = 1.0
        self.session_present = False
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._moved: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[BrokerError] = self._loop.create_future()
        self._wire = Wire()
        self._paho = _Paho(
            callback_api_version=CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=paho.MQTTv5 if v5 else paho.MQTTv311,
            clean_session=None if v5 else False,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if logging.root.isEnabledFor(logging.DEBUG):  # all that libraries say is asked for
            self._paho.enable_logger(logging.getLogger("paho"))
        self._paho.wire = self._wire
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_subscribe = self._on_subscribe

    # -- connecting and leaving ------------------------------------------------------------------------------------

    async def open(
        self,
        address: tuple[str, int],
        *,
        tls: ssl.SSLContext | None,
        hostname: str,
        credentials: tuple[str, str | None] | None,
        keepalive_s: int,
        will: tuple[str, bytes],
        topic: str,
    ) -> None:
        """Connect, log in and subscribe to `topic`. Raises BrokerError or OSError; the caller sets the time limit."""
        if credentials:
            self._paho.username_pw_set(*credentials)
        self._paho.will_set(will[0], will[1], qos=1, retain=True)
        self._topic = topic
        properties = Properties(PacketTypes.CONNECT) if self._v5 else None  # type: ignore[no-untyped-call]
        if properties is not None:
            properties.SessionExpiryInterval = SESSION_S
            properties.ReceiveMaximum = RECEIVE_MAX
        await self._loop.create_connection(lambda: self, *address, ssl=tls, server_hostname=hostname if tls else None)
        clean: dict[str, Any] = {"clean_start": False} if self._v5 else {}
        self._paho.connect(hostname, address[1], keepalive_s, properties=properties, **clean)
        self._tick_s = keepalive_s / 4
        self._misc = self._loop.call_later(self._tick_s, self._tick)
        await asyncio.wait((self._ready, self.lost), return_when=asyncio.FIRST_COMPLETED)
        if self.lost.done():
            raise self.lost.result()

    async def close(self) -> None:
        """Say goodbye and wait until everything written has left; the caller sets the time limit."""
        self._send_acks()
        self._paho.disconnect()
        self._lose(BrokerError("stopped"))
        if self._transport is not None:
            self._transport.close()
            await asyncio.wait((self._gone,))  # given up, it must not be cancelled: the loop still resolves it

    def abort(self) -> None:
        """Drop the connection at once."""
        self._fail(BrokerError("stopped"))

    @property
    def is_up(self) -> bool:
        """Whether events can come and outcomes can go."""
        return self._ready.done() and not self.lost.done()

    async def settled(self) -> None:
        """Until nothing waits for an acknowledgement, in either direction, or the connection is lost."""
        while (self._unacked or self._sent) and not self.lost.done():
            self._moved = self._loop.create_future()
            await asyncio.wait((self._moved, self.lost), return_when=asyncio.FIRST_COMPLETED)

    def _progress(self) -> None:
        if not self._moved.done():
            self._moved.set_result(None)

    def pause(self, *, leave: bool = False) -> None:
        """Take no more events; those taken can still be acknowledged. `leave`: the broker keeps none for us either."""
        self._paused = True
        if leave:
            self._paho.unsubscribe(self._topic)

    # -- events in -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = self._wire.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = self._wire.transport = None
        self._gone.set_result(None)
        self._lose(BrokerError(str(exc) if exc else "the broker closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Called by the loop: take what is there, a batch in each turn of the loop, and flush intake after each."""
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
        if more:  # a burst: the keys' confirmations and everybody else come first, then the next batch
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
        while end - at >= 2:
            head = data[at]
            size, body = data[at + 1], at + 2
            if size > 0x7F:
                long = varint(data, at + 1)
                if long is None:
                    break
                size, body = long
            stop = body + size
            if stop > end:
                if size > _PACKET_LIMIT and self._oversized(data, head, body, stop):
                    at = end
                break
            if head >> 4 == 3:
                self._event(data, head, body, stop)
                taken += 1
            else:
                self._other(data, at, body, stop)
            at = stop
            if taken == BATCH:
                break
        self._rest = data[at:] if at < end else b""
        return taken == BATCH

    def _event(self, data: bytes, head: int, body: int, stop: int) -> None:
        start = body + 2 + (data[body] << 8 | data[body + 1])
        mid = 0
        if head & 0x06:
            mid = data[start] << 8 | data[start + 1]
            start += 2
        if self._v5:
            size = data[start]
            start += 1
            if size > 0x7F:
                size, start = varint(data, start - 1) or (0, stop + 1)
            start += size
        if start > stop:
            raise BrokerError("the broker sent a malformed packet")
        if self._paused:  # not acknowledged: it comes again at the next start
            return
        if mid:
            if head & 0x08 and mid in self._unacked:
                return  # some brokers send again what is not acknowledged for long: one answer is for both
            self._unacked.append(mid)
        if start < stop and not head & 1:
            self._offer(data[start:stop], partial(self._done, mid))
            return
        self._settle(mid)
        if start < stop:  # empty is no event: a retained message is cleared, or the doctor looks whether one would come
            self._retained()

    def _other(self, data: bytes, at: int, body: int, stop: int) -> None:
        if data[at] == 0x40 and stop - body >= 2:
            self._confirmed(data[body] << 8 | data[body + 1], data[body + 2] if stop - body > 2 else 0)
            return
        self._wire.unread += data[at:stop]
        self._paho.loop_read()
        if self._paho.want_write():
            self._paho.loop_write()

    def _oversized(self, data: bytes, head: int, body: int, stop: int) -> bool:
        """Refuse a packet beyond every limit as soon as its head is there, and drop the rest as it streams in."""
        if head >> 4 != 3:
            raise BrokerError("the broker sent a packet that is too large")
        if len(data) < body + 2:
            return False
        start = body + 2 + (data[body] << 8 | data[body + 1])
        if len(data) < start + 2:
            return False
        self._skip = stop - len(data)
        if not self._paused:
            mid = data[start] << 8 | data[start + 1] if head & 0x06 else 0
            if mid:
                self._unacked.append(mid)
            self._offer(_TOO_LARGE, partial(self._done, mid))
        return True

    # -- acknowledgements and outcomes out -------------------------------------------------------------------------

    def _done(self, mid: int, receipt: Receipt) -> None:
        """Intake's answer about one event."""
        if receipt.status is not Status.ACCEPTED:
            self._refused(receipt)
        self._settle(mid)

    def _settle(self, mid: int) -> None:
        # Once the connection is gone the answer is void: the event comes again, under a packet id of its own.
        if not mid or self.lost.done():
            return
        self._settled.add(mid)
        if not self._ack_due:
            self._ack_due = True
            self._loop.call_soon(self._send_acks)

    def _send_acks(self) -> None:
        self._ack_due = False
        if self._transport is None or self.lost.done():
            return
        unacked, settled = self._unacked, self._settled
        out = bytearray()
        while unacked and unacked[0] in settled:
            mid = unacked.popleft()
            settled.discard(mid)
            out += bytes((0x40, 2, mid >> 8, mid & 0xFF))
        if out:
            self._transport.write(bytes(out))
            self._progress()

    @property
    def room(self) -> int:
        """How many publications may go out now."""
        return self._window - len(self._sent) if self.is_up else 0

    def publish(self, messages: list[Message]) -> None:
        """Send some messages, QoS 1, in one write; only within `room`."""
        if self._transport is None:
            return
        out = bytearray()
        for message in messages:
            self._mid = _FIRST_MID if self._mid >= _LAST_MID else self._mid + 1
            self._sent[self._mid] = message
            out += publication(message, self._mid, v5=self._v5)
        self._transport.write(bytes(out))

    def unconfirmed(self) -> list[Message]:
        """What was published and never confirmed, oldest first: to be published again on the next connection."""
        return list(self._sent.values())

    def _confirmed(self, mid: int, code: int) -> None:
        message = self._sent.pop(mid, None)
        if message is None:
            return
        if code >= 0x80:
            self._denied(message.topic, code)
        self._progress()
        self._room()

    # -- paho's callbacks ------------------------------------------------------------------------------------------

    def _on_connect(self, *args: Any) -> None:
        flags, code, properties = args[2], args[3], args[4]
        if code.is_failure:
            self._fail(BrokerError(f"the broker refused the login: {code}", stubborn=code.value in _AUTH))
            return
        self.session_present = bool(flags.session_present)
        self._window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        if self._v5:
            options = SubscribeOptions(
                qos=1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            )
            self._paho.subscribe(self._topic, options=options)
        else:
            self._paho.subscribe(self._topic, qos=1)

    def _on_subscribe(self, *args: Any) -> None:
        code: ReasonCode = args[3][0]
        if code.is_failure:
            self._fail(BrokerError(f"the broker refused the subscription to {self._topic}: {code}", stubborn=True))
        elif not self._ready.done():
            self._ready.set_result(None)

    def _on_disconnect(self, *args: Any) -> None:
        flags, code = args[2], args[3]
        if flags.is_disconnect_packet_from_server and code.value == _TAKEN_OVER:
            reason = "another client with the same mqtt.client_id took the session over (a second daemon?)"
            self._lose(BrokerError(reason, stubborn=True))
        else:
            self._lose(BrokerError(f"disconnected: {code}"))

    def _tick(self) -> None:
        if self.lost.done():
            return
        self._misc = self._loop.call_later(self._tick_s, self._tick)
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
