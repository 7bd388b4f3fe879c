"""One short visit to the MQTT broker, beside the daemon's session and without touching it.

The visitor logs in as the daemon does but under a client id of its own, with a clean session, no will and no retained
message, so that it leaves nothing behind and takes nothing over. It subscribes as one more subscriber: what it hears
are copies, which it neither acknowledges nor keeps. To see whether events come through at all (mosquitto grants every
subscription and then delivers what its rules allow), it publishes one empty message below the event topic, which is
no event to anybody. Wire: MQTT 3.1.1 and 5.0, OASIS standards.
"""

import asyncio
import errno
import os
import secrets
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from daemon.errors import UnreachableError
from daemon.settings import MqttSettings
from daemon.sources.mqtt_wire import Wire

_DELIVERY_S = 1.0
"""How long our own message may take to come back, in seconds."""
_GOODBYE_S = 1.0
_EXPIRY_S = 5
_VERSIONS = {1, 132}  # 3.1.1 and 5: unacceptable, unsupported protocol version
_LOGIN = {4, 5, 134, 135, 138, 140}


class RefusedError(UnreachableError):
    """The broker is there and says no; `what` is `version`, `login`, `subscription` or `other`."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(reason)
        self.what = what


@dataclass(frozen=True, slots=True)
class Visit:
    """How it went. `delivered`: our message came back; `published`: the broker took it, None if it does not say.

    `qos` is what the broker grants, `round_trip_s` the time from the question to the answer.
    """

    qos: int
    round_trip_s: float
    published: bool | None
    delivered: bool


class _Paho(paho.Client):
    """paho on a wire of ours instead of a socket it opens (and blocks on) itself."""

    wire: Wire

    def _create_socket(self) -> Any:
        return self.wire


async def visit(
    settings: MqttSettings, address: tuple[str, int], limit_s: float, tls: ssl.SSLContext | None = None
) -> Visit:
    """Visit the broker at `address` for at most `limit_s` and a goodbye. `tls` replaces the default trust.

    Raises RefusedError, and UnreachableError for what is not even a broker.
    """
    visitor = _Visitor(settings)
    if settings.tls:
        tls = tls or ssl.create_default_context()
    try:
        async with asyncio.timeout(limit_s):
            await visitor.open(address, tls if settings.tls else None)
            found = await visitor.look()
        await visitor.leave()
        return found
    except TimeoutError:
        raise UnreachableError(f"no answer within {limit_s:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(f"certificate refused: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise UnreachableError(f"TLS failed: {(error.reason or 'unknown').replace('_', ' ').lower()}") from None
    except OSError as error:
        # Whoever takes a TLS greeting for nonsense hangs up, which asyncio may report without a number.
        if settings.tls and error.errno in (None, errno.ECONNRESET):
            raise UnreachableError("TLS failed: the broker hung up") from None
        raise UnreachableError(os.strerror(error.errno) if error.errno else "connection failed") from None
    finally:
        visitor.abort()


class _Visitor(asyncio.Protocol):
    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self._v5 = settings.version == "5"
        loop = asyncio.get_running_loop()
        self._granted: asyncio.Future[int] = loop.create_future()
        self._confirmed: asyncio.Future[bool] = loop.create_future()
        self._delivered: asyncio.Future[None] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._heard = False
        name = secrets.token_hex(4)
        self._trial = f"{settings.topic}/doctor-{name}"
        self._wire = Wire()
        self._paho = _Paho(
            callback_api_version=CallbackAPIVersion.VERSION2,
            client_id=f"{settings.client_id}-doctor-{name}",
            protocol=paho.MQTTv5 if self._v5 else paho.MQTTv311,
            clean_session=None if self._v5 else True,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self._paho.wire = self._wire
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_publish = self._on_publish
        self._paho.on_message = self._on_message

    async def open(self, address: tuple[str, int], tls: ssl.SSLContext | None) -> None:
        settings = self._settings
        host = cast(str, settings.host)
        if settings.username:
            password = settings.password.get_secret_value() if settings.password else None
            self._paho.username_pw_set(settings.username, password)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, *address, ssl=tls, server_hostname=host if tls else None)
        clean: dict[str, Any] = {"clean_start": True} if self._v5 else {}
        self._paho.connect(host, address[1], settings.keepalive_s, **clean)

    async def look(self) -> Visit:
        qos = await self._granted
        loop = asyncio.get_running_loop()
        asked = loop.time()
        properties = Properties(PacketTypes.PUBLISH) if self._v5 else None  # type: ignore[no-untyped-call]
        if properties is not None:
            properties.MessageExpiryInterval = _EXPIRY_S  # nor does it wait for somebody who is away
        self._paho.publish(self._trial, b"", qos=1, properties=properties)
        await asyncio.wait((self._confirmed,), timeout=_DELIVERY_S)
        took = loop.time() - asked
        answered = self._confirmed.done() and not self._confirmed.exception()
        published = self._confirmed.result() if answered else False  # some brokers cut the connection to say no
        if published:
            await asyncio.wait((self._delivered,), timeout=_DELIVERY_S)
        # Before 5 a broker confirms also what it throws away.
        return Visit(qos, took, published if self._v5 or not published else None, self._delivered.done())

    async def leave(self) -> None:
        with suppress(OSError):
            self._paho.disconnect()
        self._wire.close()
        await asyncio.wait((self._gone,), timeout=_GOODBYE_S)  # over TLS, it is the broker's answer that ends it

    def abort(self) -> None:
        if self._wire.transport is not None:
            self._wire.transport.abort()

    # -- the wire --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._heard and data[0] != 0x20:
            self._end(UnreachableError("not an MQTT broker"))
            return
        if not self._heard and data[1:2] == b"\2" and (self._v5 or data[3:4] == b"\1"):  # as those before 5 say it
            self._end(RefusedError("version", "Unsupported protocol version"))
            return
        self._heard = True
        self._wire.unread += data
        try:
            code = 0
            while self._wire.unread and not code:
                code = self._paho.loop_read()
            while self._paho.want_write() and not code:
                code = self._paho.loop_write()
            if code:
                self._end(UnreachableError("the broker sent a malformed packet"))
        except Exception:  # promise 4: whatever a broker sends ends this visit at most
            self._end(UnreachableError("the broker sent a malformed packet"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.transport = None
        self._gone.set_result(None)
        words = os.strerror(exc.errno) if isinstance(exc, OSError) and exc.errno else "the broker closed the connection"
        if not self._heard:
            words += " without an answer"
        self._end(UnreachableError(words))

    def _end(self, error: UnreachableError) -> None:
        for future in (self._granted, self._confirmed):
            if not future.done():
                future.set_exception(error)
                future.exception()  # looked at by those who still wait, which may be nobody
        self.abort()

    # -- paho's callbacks ------------------------------------------------------------------------------------------

    def _on_connect(self, *args: Any) -> None:
        code = args[3]
        if code.is_failure:
            what = "version" if code.value in _VERSIONS else "login" if code.value in _LOGIN else "other"
            self._end(RefusedError(what, str(code)))
            return
        topic = f"{self._settings.topic}/#"
        if self._v5:
            never = SubscribeOptions.RETAIN_DO_NOT_SEND
            self._paho.subscribe(topic, options=SubscribeOptions(qos=1, retainHandling=never))
        else:
            self._paho.subscribe(topic, qos=1)

    def _on_subscribe(self, *args: Any) -> None:
        code = args[3][0]
        if code.is_failure:
            self._end(RefusedError("subscription", str(code)))
        elif not self._granted.done():
            self._granted.set_result(int(code.value))

    def _on_publish(self, *args: Any) -> None:
        if not self._confirmed.done():
            self._confirmed.set_result(not args[3].is_failure)

    def _on_message(self, *args: Any) -> None:
        if args[2].topic == self._trial and not self._delivered.done():
            self._delivered.set_result(None)

    def _on_disconnect(self, *args: Any) -> None:
        code = args[3]
        if args[2].is_disconnect_packet_from_server:
            self._end(RefusedError("other", str(code)))
