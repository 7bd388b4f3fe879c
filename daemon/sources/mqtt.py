"""Trade events over MQTT, acknowledged when they are safe; outcomes and our own status published beside them."""

import asyncio
import ipaddress
import math
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote

from loguru import logger

from daemon.apart import apart
from daemon.backoff import delays
from daemon.clock import Clock
from daemon.logs.peer import PeerLog
from daemon.metrics import Metrics
from daemon.ports import Delivery, Receipt, Status
from daemon.redaction import redact
from daemon.settings import MqttSettings
from daemon.sources.mqtt_backlog import Backlog
from daemon.sources.mqtt_link import Link
from daemon.sources.mqtt_wire import BrokerError, Message

CONNECT_S = 10.0
"""How long the broker may take to let us in, in seconds."""
FIRST_S, LONGEST_S = 0.1, 10.0
"""Shortest and longest wait before the next attempt, in seconds."""
STEADY_S = 10.0
"""How long a connection must have lasted before the next attempt starts without back-off, in seconds."""
FLAPS = 3
"""How many connections in a row may be cut before a second client with our id is suspected."""
STOP_S = 0.8
"""How long an orderly goodbye may take, in seconds."""
BACKLOG = 10_000
"""How many outcomes are kept for a broker that is away; the oldest go first."""
CHUNK, PAUSE_S = 25, 0.005  # outcomes leave in small writes, so that a burst of them never holds up a key
_NOT_AUTHORISED = 135


class Intake(Protocol):
    """What a source needs of the one door."""

    def offer(
        self, raw: bytes | str, origin: str, done: Callable[[Receipt], None], *, ts_required: bool = False
    ) -> None:
        """Take one event; `done` is called once, when it is safe or refused."""

    def flush(self) -> None:
        """Write and dispatch what was offered."""


def siblings(topic: str) -> tuple[str, str]:
    """The topics for outcomes and status beside the one for events; never below it, or we would hear ourselves."""
    parent, _, _ = topic.rpartition("/")
    base = parent or "deskhand"
    if any(f"{base}/{name}/".startswith(f"{topic}/") for name in ("outcomes", "status")):
        base += "-desk"
    return f"{base}/outcomes", f"{base}/status"


class MqttSource:
    """Keeps one connection to the broker, for ever; `run` it as a task and cancel it to say goodbye (within 1 s)."""

    def __init__(self, settings: MqttSettings, intake: Intake, clock: Clock, metrics: Metrics | None = None) -> None:
        if settings.host is None:
            raise ValueError("mqtt.host is not set")
        self._settings, self._intake, self._clock = settings, intake, clock
        self._metrics = metrics or Metrics()
        self._host = settings.host
        self._where = f"{settings.host}:{settings.port}"
        self._outcomes, self._status = siblings(settings.topic)
        self._backlog = Backlog()
        self._dropped = 0
        self._link: Link | None = None
        self._drain_due: asyncio.TimerHandle | None = None
        self._paused = False
        self._retained = 0
        self._denied = False
        self._forbidden: set[str] = set()
        self._said = PeerLog()
        self._seen = False
        self._flaps = 0  # connections that did not last, in a row
        self._tls: ssl.SSLContext | None = None
        self._leaving = False
        self._down_at: float | None = None
        self.state = "connecting"
        """`connecting`, `connected`, `down: REASON` or `stopped`; safe to show."""

    # -- the connection --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, serve and reconnect until cancelled."""
        waits = delays(FIRST_S, 2.0, LONGEST_S)
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                error = await self._serve()
                if loop.time() - began > STEADY_S:
                    waits = delays(FIRST_S, 2.0, LONGEST_S)
                    self._flaps = 0
                elif self.state == "connected":
                    self._flaps += 1
                self._down(error)
                await asyncio.sleep(LONGEST_S if error.stubborn else next(waits))
        finally:
            self.state = "stopped"
            self._metrics.peer_up("mqtt", False)

    @property
    def down_s(self) -> float:
        """For how long the broker has been away, in seconds; 0 while connected."""
        return 0.0 if self._down_at is None else asyncio.get_running_loop().time() - self._down_at

    def leave(self, following: MqttSettings) -> None:
        """Another configuration follows; called before `run` is cancelled.

        Where it has another session, the goodbye unsubscribes, or the broker would keep events for nobody.
        """
        session = ("host", "port", "client_id", "topic")
        self._leaving = any(getattr(self._settings, name) != getattr(following, name) for name in session)

    def left_over(self, following: MqttSettings) -> list[Message]:
        """Once `run` has ended: the outcomes that the broker never got, if they go to the same topic there."""
        same = following.host is not None and siblings(following.topic)[0] == self._outcomes
        return list(self._backlog) if same else []

    def take_over(self, outcomes: list[Message]) -> None:
        """Publish these first."""
        self._backlog.extend(outcomes)

    def pause(self) -> None:
        """Take no more events; outcomes still go out until `run` is cancelled."""
        self._paused = True
        if self._link is not None:
            self._link.pause()

    async def _serve(self) -> BrokerError:
        """One connection, from its first packet to its last; the reason it ended."""
        link = self._link = Link(
            client_id=self._settings.client_id,
            v5=self._settings.version == "5",
            offer=self._offer,
            flush=self._intake.flush,
            refused=self._refused,
            retained=self._on_retained,
            room=self._soon,
            denied=self._on_denied,
        )
        if self._paused:
            link.pause()
        try:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await self._open(link)
            except TimeoutError:
                return BrokerError(f"no answer within {CONNECT_S:.0f} s")
            except BrokerError as error:
                return error
            except OSError as error:
                return BrokerError(_words(error))
            self._up(link)
            left = self._said.due - asyncio.get_running_loop().time()
            await asyncio.wait((link.lost,), timeout=left if left < math.inf else None)
            self._said.steady(asyncio.get_running_loop().time())
            await asyncio.wait((link.lost,))
            return link.lost.result()
        except asyncio.CancelledError:
            if link.is_up:
                await self._goodbye(link)
            raise
        finally:
            link.abort()
            self._link = None
            if self._outcomes not in self._forbidden:
                self._backlog.put_back(m for m in link.unconfirmed() if not m.retain)

    async def _open(self, link: Link) -> None:
        settings = self._settings
        if settings.tls and self._tls is None:
            self._tls = await apart(ssl.create_default_context, "mqtt-tls")  # reads the certificates from disk
        password = settings.password.get_secret_value() if settings.password else None
        problem: OSError = ConnectionRefusedError("no address")
        for address in await _addresses(self._host, settings.port):
            try:
                await link.open(
                    address,
                    tls=self._tls,
                    hostname=self._host,
                    credentials=(settings.username, password) if settings.username else None,
                    keepalive_s=settings.keepalive_s,
                    will=(self._status, b"offline"),
                    topic=f"{settings.topic}/#",
                )
                return
            except OSError as error:
                problem = error
        raise problem

    def _up(self, link: Link) -> None:
        self._tell(link, b"online")
        self.state, self._down_at = "connected", None
        self._metrics.peer_up("mqtt", True)
        text = f"MQTT: connected to {self._where}, listening on {self._settings.topic}/#"
        self._said.up(asyncio.get_running_loop().time(), text, f"{text}, back")
        if self._seen and not link.session_present:
            logger.warning("MQTT: the broker kept no session for us; events published meanwhile are lost")
        self._seen = True
        self._soon()

    def _down(self, error: BrokerError) -> None:
        if self._flaps >= FLAPS and not error.stubborn:  # not every broker says so when a session is taken over
            hint = f"does a second daemon use the mqtt.client_id {self._settings.client_id}?"
            error = BrokerError(f"{error}, again and again: {hint}")
        self.state = f"down: {error}"
        self._down_at = self._down_at or asyncio.get_running_loop().time()
        self._metrics.peer_up("mqtt", False)
        self._said.down(asyncio.get_running_loop().time(), f"MQTT: {error} ({self._where}), trying again")

    def _tell(self, link: Link, status: bytes) -> None:
        if self._status not in self._forbidden:
            link.publish([Message(self._status, status, retain=True)])

    async def _goodbye(self, link: Link) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                link.pause(leave=self._leaving)
                await link.settled()
                while self._backlog and link.is_up:
                    self._drain()
                    await link.settled()
                self._tell(link, b"offline")
                await link.close()

    # -- events in -------------------------------------------------------------------------------------------------

    def _offer(self, raw: bytes, done: Callable[[Receipt], None]) -> None:
        self._intake.offer(raw, "mqtt", done, ts_required=True)

    def _refused(self, receipt: Receipt) -> None:
        """Tell the sender what no delivery will tell: this event was turned away at the door."""
        if receipt.status is Status.DUPLICATE or receipt.deliveries or not receipt.id:
            return
        ended_at = _iso(self._clock.now())
        self._queue(
            self._message(
                receipt.id, {"id": receipt.id, "result": "refused", "reason": receipt.reason, "ended_at": ended_at}
            )
        )

    def _on_retained(self) -> None:
        self._retained += 1
        self._metrics.events_total("unknown", "mqtt", "refused")
        if self._retained == 1:
            logger.warning("MQTT: refused a retained event on {}/#; publish without retain", self._settings.topic)
        else:
            logger.debug("MQTT: refused a retained event, {} so far", self._retained)

    # -- outcomes out ----------------------------------------------------------------------------------------------

    def publish_outcome(self, delivery: Delivery) -> None:
        """Publish how this delivery ended, soon; never blocks, and kept while the broker is away."""
        self._queue(self._encode(delivery))  # encoded now: a backlog of whole deliveries would be four times the size

    def _queue(self, item: Message) -> None:
        if self._outcomes in self._forbidden:
            return
        if len(self._backlog) >= BACKLOG:
            self._backlog.popleft()
            self._dropped += 1
            if self._dropped == 1:
                logger.warning("MQTT: more than {} outcomes wait for the broker, dropping the oldest", BACKLOG)
        self._backlog.append(item)
        self._soon()

    def _soon(self) -> None:
        if self._drain_due is None and self._backlog and self._link is not None and self._link.room > 0:
            self._drain_due = asyncio.get_running_loop().call_later(PAUSE_S, self._drain)

    def _drain(self) -> None:
        if self._drain_due is not None:
            self._drain_due.cancel()
            self._drain_due = None
        link, backlog = self._link, self._backlog
        if link is None or not backlog:
            return
        count = min(CHUNK, link.room, len(backlog))
        if count > 0:
            link.publish([backlog.popleft() for _ in range(count)])
        if self._dropped and not backlog:
            logger.warning("MQTT: {} outcomes were never published; the journal has them all", self._dropped)
            self._dropped = 0
        self._soon()

    def _encode(self, item: Delivery) -> Message:
        event, outcome = item.event, item.outcome
        return self._message(
            event.id,
            {
                "id": event.id,
                "type": event.type,
                "symbol": event.symbol,
                "trade": event.trade,
                "number": item.number,
                "handler": item.action.handler,
                "target": item.action.target,
                "steps": item.action.steps,
                "result": outcome.result if outcome else "",
                "reason": outcome.reason if outcome else "",
                "mode": item.mode,
                "ended_at": _iso(item.ended_at),
                "latency_ms": round((item.first_byte - item.received) * 1000, 3) if item.first_byte else None,
            },
        )

    def _message(self, event_id: str, body: dict[str, object]) -> Message:
        return Message(f"{self._outcomes}/{quote(event_id, safe='')}", redact.dumps(body, ensure_ascii=False).encode())

    def _on_denied(self, topic: str, code: int) -> None:
        """The broker did not take a publication. What it forbids is not tried again: some cut the connection for it."""
        if not self._denied:
            logger.warning("MQTT: the broker does not let us publish to {} (code {})", topic, code)
        self._denied = True
        if code != _NOT_AUTHORISED:
            return
        if topic == self._status:
            self._forbidden.add(self._status)
        else:
            self._forbidden.add(self._outcomes)
            self._backlog.clear()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate was not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}"
    if isinstance(error, socket.gaierror):
        return "the broker's name cannot be resolved"
    return os.strerror(error.errno) if error.errno else str(error)


async def _addresses(host: str, port: int) -> list[tuple[str, int]]:
    with suppress(ValueError):
        return [(str(ipaddress.ip_address(host)), port)]
    try:
        found = await apart(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), "mqtt-resolve")
    except UnicodeError:  # a name that none can have: with an empty label, say
        raise socket.gaierror(socket.EAI_NONAME, "no such name") from None
    return [(str(item[4][0]), port) for item in found]
