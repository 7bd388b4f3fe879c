"""Hummingbot's own MQTT, listened to: fills become events, heartbeats signs of life; nothing is ever published there.

QoS 0 loses what is said while we are away, so after every connection each bot's own history is asked for the rest.
"""

import asyncio
import math
import os
import socket
import ssl
from collections import deque
from contextlib import suppress

from loguru import logger

from daemon.backoff import delays
from daemon.clock import Clock
from daemon.egress.address import addresses
from daemon.errors import JournalError, UnreachableError
from daemon.logs.peer import PeerLog
from daemon.metrics import Metrics
from daemon.ports import Receipt, Status
from daemon.settings import BotBrokerSettings
from daemon.sources.hummingbot import Around, Event, Fills, History
from daemon.sources.hummingbot_messages import Malformed, decoded, listed
from daemon.sources.mqtt import Intake
from daemon.sources.mqtt_ear import Ear
from daemon.sources.mqtt_wire import BrokerError

TOPICS = ("hbot/+/events", "hbot/+/hb", "hbot/+/status_updates")
CONNECT_S = 10.0
"""How long the broker may take to let us in, in seconds."""
FIRST_S, LONGEST_S, STEADY_S = 0.1, 10.0, 10.0
"""Shortest and longest wait before the next attempt, and how long a connection must have lasted; in seconds."""
TOLD_S = 10.0
"""Between two lines about messages that do not count, in seconds."""
ASK_S, ASK_LONGEST_S = 2.0, 300.0
"""Shortest and longest wait before a bot that did not tell its history is asked again, in seconds."""
BOTS = 256
"""How many bots are listened to; a stranger cannot make us remember more."""
BACKLOG = 10_000
"""How many messages wait for a journal that cannot be used."""
_ORIGIN = "hummingbot"
_TURN_S = 0.5


class _Asking:
    """When a bot's history is asked for next, in the loop's seconds, and how long to wait after that."""

    def __init__(self) -> None:
        self.due = 0.0
        self.waits = delays(ASK_S, 2.0, ASK_LONGEST_S)


class HummingbotSource:
    """Keeps one connection to the bots' broker, for ever; `run` it as a task and cancel it."""

    name = "hummingbot:mqtt"
    """As peer, in metrics and status."""

    def __init__(
        self,
        settings: BotBrokerSettings,
        intake: Intake,
        around: Around,
        clock: Clock,
        metrics: Metrics,
        history: History | None = None,
    ) -> None:
        """`history` asks a bot for its own; without it what is missed stays missed."""
        if settings.host is None:
            raise ValueError("hummingbot.mqtt.host is not set")
        self._settings, self._intake, self._around = settings, intake, around
        self._clock, self._metrics, self._history = clock, metrics, history
        self._host = settings.host
        self._where = f"{settings.host}:{settings.port}"
        self._fills = Fills(around)
        self._said = PeerLog()
        self._tls: ssl.SSLContext | None = None
        self._down_at: float | None = None
        self._odd, self._odd_due = 0, 0.0
        self._connections = 0
        self._asking: dict[str, _Asking] = {}
        self._late: deque[tuple[str, bytes]] = deque()
        self._unsaved: deque[Event] = deque()
        self.state = "connecting"
        """`connecting`, `connected`, `down: REASON` or `stopped`; safe to show."""

    @property
    def down_s(self) -> float:
        """For how long the broker has been away, in seconds; 0 while connected."""
        return 0.0 if self._down_at is None else asyncio.get_running_loop().time() - self._down_at

    # -- the connection --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, listen and reconnect until cancelled."""
        loop = asyncio.get_running_loop()
        waits = delays(FIRST_S, 2.0, LONGEST_S)
        steward = asyncio.create_task(self._look_after(), name="hummingbot-fills")
        try:
            while True:
                began = loop.time()
                error = await self._serve(steward)
                if loop.time() - began > STEADY_S:
                    waits = delays(FIRST_S, 2.0, LONGEST_S)
                self._down(error)
                await asyncio.sleep(LONGEST_S if error.stubborn else next(waits))
        finally:
            steward.cancel()
            await asyncio.wait([steward])
            self.state = "stopped"
            self._metrics.peer_up(self.name, False)

    async def _serve(self, steward: asyncio.Task[None]) -> BrokerError:
        """One connection, from its first packet to its last; the reason it ended."""
        ear = Ear(self._heard, self._intake.flush)
        loop = asyncio.get_running_loop()
        try:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await self._open(ear)
            except TimeoutError:
                return BrokerError(f"no answer within {CONNECT_S:.0f} s")
            except BrokerError as error:
                return error
            except UnreachableError as error:
                return BrokerError(str(error))
            except OSError as error:
                return BrokerError(_words(error))
            self._up()
            left = self._said.due - loop.time()
            await asyncio.wait(
                (ear.lost, steward), timeout=left if left < math.inf else None, return_when="FIRST_COMPLETED"
            )
            self._said.steady(loop.time())
            await asyncio.wait((ear.lost, steward), return_when="FIRST_COMPLETED")
            if steward.done():  # a mistake of ours; the graph ends the daemon for it
                steward.result()
            return ear.lost.result()
        finally:
            ear.close()

    async def _open(self, ear: Ear) -> None:
        settings = self._settings
        if settings.tls and self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)  # reads the certificates from disk
        password = settings.password.get_secret_value() if settings.password else None
        login = (settings.username, password) if settings.username else None
        problem: OSError = ConnectionRefusedError("no address")
        for address in await addresses(self._host, settings.port, CONNECT_S):
            try:
                await ear.open(address, TOPICS, tls=self._tls, hostname=self._host, credentials=login)
                return
            except OSError as error:
                problem = error
        raise problem

    def _up(self) -> None:
        self.state, self._down_at = "connected", None
        self._metrics.peer_up(self.name, True)
        text = f"Hummingbot: listening to its bots at {self._where}"
        self._said.up(asyncio.get_running_loop().time(), text, f"{text}, back")
        if not self._settings.instances:
            logger.warning("Hummingbot: hummingbot.mqtt.instances is empty, so no bot's fills count")
        self._connections += 1
        self._asking = {name: _Asking() for name in self._known()}

    def _down(self, error: BrokerError) -> None:
        now = asyncio.get_running_loop().time()
        self.state = f"down: {error}"
        self._down_at = self._down_at or now
        self._fills.away()
        self._metrics.peer_up(self.name, False)
        self._said.down(now, f"Hummingbot: {error} ({self._where}), trying again")

    # -- messages --------------------------------------------------------------------------------------------------

    def _heard(self, topic: str, payload: bytes | None) -> None:
        parts = topic.split("/")
        if len(parts) != 3:
            self._count("invalid", "a topic that was not asked for")
            return
        instance, what = parts[1], parts[2]
        if not listed(instance, self._settings.instances):
            if what == "events":  # signs of life are every bot's
                self._count("refused", "it is from a bot that is not in hummingbot.mqtt.instances")
            return
        if payload is None:
            self._count("invalid", "it is larger than 64 KiB, or retained")
            return
        if instance not in self._asking and len(self._asking) >= BOTS:
            self._count("refused", f"there are more than {BOTS} bots")
            return
        if what == "events":
            self._take(instance, payload)
        else:
            self._alive(instance, what, payload)

    def _take(self, instance: str, payload: bytes) -> None:
        if self._late:  # in order
            self._wait(instance, payload)
            return
        try:
            self._try(instance, payload)
        except JournalError:
            self._wait(instance, payload)

    def _try(self, instance: str, payload: bytes) -> None:
        """Raises JournalError."""
        try:
            event = self._fills.take(instance, payload, self._clock.now())
        except Malformed as problem:
            self._count("invalid", str(problem))
            return
        self._asking.setdefault(instance, _Asking())
        if event is not None:
            self._offer(event)

    def _wait(self, instance: str, payload: bytes) -> None:
        if len(self._late) >= BACKLOG:
            self._count("unavailable", "the journal cannot be used, and too many wait")
        else:
            self._late.append((instance, payload))

    def _offer(self, event: Event) -> None:
        def done(receipt: Receipt) -> None:
            if receipt.status is Status.UNAVAILABLE and len(self._unsaved) < BACKLOG:
                self._unsaved.append(event)

        self._intake.offer(event.raw, _ORIGIN, done)

    def _alive(self, instance: str, what: str, payload: bytes) -> None:
        try:
            found = decoded(payload)
        except Malformed as problem:
            self._count("invalid", str(problem))
            return
        said = found.get("msg")
        if what == "hb" and "ts" in found:
            self._around.heard(instance, "hb")
        elif what == "status_updates" and isinstance(said, str):
            if said in ("online", "offline"):
                self._around.heard(instance, said)
        else:
            self._count("invalid", f"it is no {what}")
            return
        self._asking.setdefault(instance, _Asking())

    def _count(self, status: str, why: str) -> None:
        """It counts, and changes nothing; a flood of these is a line now and then."""
        self._metrics.events_total("unknown", _ORIGIN, status)
        now = asyncio.get_running_loop().time()
        self._odd += 1
        if now >= self._odd_due:
            more = f", {self._odd} of them" if self._odd > 1 else ""
            logger.warning("Hummingbot: a message at {} does not count: {}{}", self._where, why, more)
            self._odd, self._odd_due = 0, now + TOLD_S

    # -- what was missed -------------------------------------------------------------------------------------------

    def _known(self) -> list[str]:
        names = list(self._asking)
        with suppress(JournalError):  # then those that are heard are asked
            names += self._around.known()
        return [name for name in dict.fromkeys(names) if listed(name, self._settings.instances)][:BOTS]

    async def _look_after(self) -> None:
        """Offer again what the journal could not take, and ask bots for what was missed."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TURN_S)
            with suppress(JournalError):
                self._again()
                if self.state != "connected" or self._history is None:
                    continue
                for instance, asking in list(self._asking.items()):
                    if asking.due <= loop.time() and self._fills.lacks(instance, self._clock.now()):
                        asking.due = loop.time() + next(asking.waits)
                        await self._catch_up(instance, self._history)

    def _again(self) -> None:
        """Raises JournalError."""
        while self._late:
            self._try(*self._late[0])
            self._late.popleft()
        for _ in range(len(self._unsaved)):
            self._offer(self._unsaved.popleft())
        self._intake.flush()

    async def _catch_up(self, instance: str, history: History) -> None:
        """Ask one bot, one at a time. Raises JournalError."""
        asked = self._connections
        rows = await history(instance, self._fills.since(instance, self._clock.now()))
        if rows is None or self._connections != asked or self.state != "connected":
            return
        found, nameless = self._fills.catch_up(instance, rows, self._clock.now())
        for event in found:
            self._offer(event)
        self._intake.flush()
        if found:
            logger.info(
                "Hummingbot: {} fills of {} came while nobody listened; its history had them", len(found), instance
            )
        if nameless:
            logger.warning(
                "Hummingbot: {} fills in the history of {} have no id, so they cannot be told apart", nameless, instance
            )


async def visit(settings: BotBrokerSettings, limit_s: float) -> None:
    """Connect, log in, subscribe and leave, each within the limit. Raises UnreachableError."""
    password = settings.password.get_secret_value() if settings.password else None
    login = (settings.username, password) if settings.username else None
    tls = ssl.create_default_context() if settings.tls else None
    host = settings.host or ""
    problem = UnreachableError("no address")
    for address in (await addresses(host, settings.port, limit_s))[:2]:
        ear = Ear(lambda *_: None, lambda: None)
        try:
            async with asyncio.timeout(limit_s):
                await ear.open(address, TOPICS, tls=tls, hostname=host, credentials=login)
            return
        except BrokerError:
            raise
        except TimeoutError:
            problem = UnreachableError(f"no answer within {limit_s:g} s")
        except OSError as error:
            problem = UnreachableError(_words(error))
        finally:
            ear.close()
    raise problem


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate was not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}"
    if isinstance(error, socket.gaierror):
        return "the broker's name cannot be resolved"
    return os.strerror(error.errno) if error.errno else str(error)
