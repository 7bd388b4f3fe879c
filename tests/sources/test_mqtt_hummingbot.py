"""Hummingbot's own MQTT through a real mosquitto: what counts, what does not, what is found again."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from loguru import logger

from daemon.clock import Clock
from daemon.errors import JournalError
from daemon.metrics import Metrics
from daemon.ports import Receipt, Status
from daemon.settings import BotBrokerSettings
from daemon.sources import mqtt_hummingbot
from daemon.sources.hummingbot import Around, Missed
from daemon.sources.mqtt_hummingbot import HummingbotSource
from tests.fakes.hummingbot_bot import HummingbotBot
from tests.fakes.listener import listener
from tests.fakes.mosquitto import Mosquitto

BOT = "pmm-20261120-101500"


async def until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  # what is waited for is often another thread's
            await asyncio.sleep(0.005)


class Journal:
    """Intake and journal in one; `well` False: nothing can be read or written."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.facts: dict[str, str | None] = {}
        self.alive: list[tuple[str, str]] = []
        self.well = True
        self.writable = True
        self.offers = 0
        self._offered: list[tuple[dict[str, Any], Callable[[Receipt], None]]] = []

    def offer(
        self, raw: bytes | str, origin: str, done: Callable[[Receipt], None], *, ts_required: bool = False
    ) -> None:
        assert (origin, ts_required) == ("hummingbot", False)
        self.offers += 1
        self._offered.append((json.loads(raw), done))

    def flush(self) -> None:
        offered, self._offered = self._offered, []
        for event, done in offered:
            if self.writable:
                assert event["id"] not in self.events
                self.events[event["id"]] = event
            done(Receipt(Status.ACCEPTED if self.writable else Status.UNAVAILABLE, event["id"]))

    def recorded(self, event_id: str) -> bool:
        if not self.well:
            raise JournalError("disk I/O error")
        return event_id in self.events

    def around(self) -> Around:
        around = Around(self.recorded, self.facts.get, self.facts.__setitem__)
        around.known = lambda: [name.removeprefix("fills:") for name in self.facts]
        around.heard = lambda bot, what: self.alive.append((bot, what))
        return around


class Bot:
    """A bot's voice, and its history as the API would tell it."""

    def __init__(self, voice: HummingbotBot) -> None:
        self.voice = voice
        self.rows: list[Missed] = []
        self.asked = 0
        self.answers = True

    def fill(self, number: int, *, position: str = "OPEN") -> None:
        side: Literal["BUY", "SELL"] = "BUY" if position == "OPEN" else "SELL"
        self.rows.append(Missed(f"t{number}", "BTC-USDT", side == "BUY", Decimal("50000.5"), Decimal(1), time.time()))
        self.voice.filled(f"o{number}", side, "50000.5", "1", position=position, exchange_trade_id=f"t{number}")
        self.voice.flush()

    def fills(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.fill(number)

    async def history(self, instance: str, since: float) -> Sequence[Missed] | None:
        assert 0 < since < time.time()
        self.asked += 1
        return list(self.rows) if self.answers and instance == BOT else None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    found = Mosquitto(tmp_path / "broker").start()
    yield found
    found.stop()


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    number = logger.add(lambda line: found.append(str(line)), format="{level} {message}", level="INFO")
    yield found
    logger.remove(number)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_hummingbot, "_TURN_S", 0.02)
    monkeypatch.setattr(mqtt_hummingbot, "ASK_S", 0.1)


def made(broker: Mosquitto, journal: Journal, bot: Bot | None = None, **changes: Any) -> HummingbotSource:
    fields = {"host": "127.0.0.1", "port": broker.port, "instances": ["pmm-*"]} | changes
    settings = BotBrokerSettings.model_validate(fields)
    metrics = Metrics()
    return HummingbotSource(settings, journal, journal.around(), Clock(), metrics, bot.history if bot else None)


@asynccontextmanager
async def running(source: HummingbotSource, *, up: bool = True) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(source.run())
    try:
        if up:
            await until(lambda: source.state == "connected")
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def counted(source: HummingbotSource) -> dict[tuple[str, ...], float]:
    return {labels: number for labels, number in source._metrics._events.items() if labels[1] == "hummingbot"}


@pytest.mark.parametrize("away", ["the network", "the daemon", "the broker"])
async def test_100_fills_5_of_them_while_we_are_away_are_100_events(broker: Mosquitto, away: str) -> None:
    journal = Journal()
    with HummingbotBot(broker.port, BOT) as voice:
        bot = Bot(voice)
        async with running(made(broker, journal, bot)) as task:
            await asyncio.to_thread(bot.fills, range(60))
            await until(lambda: len(journal.events) == 60)
            if away == "the broker":  # the bot queues what it has, and its history has it too
                await asyncio.to_thread(broker.stop)
                bot.rows += [Missed(f"t{n}", "BTC-USDT", True, None, Decimal(1), time.time()) for n in range(60, 65)]
                await asyncio.to_thread(broker.start)
                await until(lambda: len(journal.events) == 65)
                await until(voice._client.is_connected)
            elif away == "the network":
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                await asyncio.to_thread(bot.fills, range(60, 65))
            if away == "the broker":
                await asyncio.to_thread(bot.fills, range(60, 100))
                await until(lambda: len(journal.events) == 100)
        if away == "the daemon":
            await asyncio.to_thread(bot.fills, range(60, 65))
        if away != "the broker":
            async with running(made(broker, journal, bot)):
                await asyncio.to_thread(bot.fills, range(65, 100))
                await until(lambda: len(journal.events) == 100)
    assert sorted(journal.events) == sorted(f"hb:{BOT}:t{n}" for n in range(100))
    assert journal.offers == 100
    assert {each["type"] for each in journal.events.values()} == {"entry"}


async def test_a_bot_that_does_not_tell_its_history_is_asked_again(broker: Mosquitto) -> None:
    journal = Journal()
    with HummingbotBot(broker.port, BOT) as voice:
        bot = Bot(voice)
        bot.answers = False
        async with running(made(broker, journal, bot)):
            voice.hb()
            await until(lambda: bot.asked >= 2)
            bot.rows.append(Missed("t1", "BTC-USDT", True, None, Decimal(1), time.time()))
            bot.answers = True
            await until(lambda: len(journal.events) == 1)
            asked = bot.asked
            await asyncio.sleep(0.3)
            assert bot.asked == asked


async def test_signs_of_life_are_handed_on(broker: Mosquitto) -> None:
    journal = Journal()
    source = made(broker, journal)
    with HummingbotBot(broker.port, BOT) as voice, HummingbotBot(broker.port, "other-1") as other:
        async with running(source):
            other.hb()
            other.flush()
            voice.status("online")
            voice.hb()
            voice.status("strategy started", kind="hbapp")
            voice.status("offline")
            await until(lambda: len(journal.alive) == 3)
            voice.publish("hb", b"{}")
            voice.publish("status_updates", b'{"msg": []}')
            await until(lambda: counted(source) == {("unknown", "hummingbot", "invalid"): 2})
    assert journal.alive == [(BOT, "online"), (BOT, "hb"), (BOT, "offline")]


async def test_what_is_forged_or_malformed_counts_and_changes_nothing(broker: Mosquitto, lines: list[str]) -> None:
    journal = Journal()
    source = made(broker, journal)
    good = b'{"timestamp": 1, "type": "OrderFilled", "data": {"order_id": "o", "trading_pair": "A-B", "amount": 1}}'
    with HummingbotBot(broker.port, BOT) as voice, HummingbotBot(broker.port, "foreign-1") as foreign:
        async with running(source):
            foreign.filled("o1", "BUY", "1", "1", position="OPEN", exchange_trade_id="1")
            await until(lambda: counted(source).get(("unknown", "hummingbot", "refused")) == 1)
            voice._client.publish(f"hbot/{BOT}/events", good, retain=True)
            voice.publish("events", b"x" * 70_000)
            voice.publish("events", b"x" * 5_000_000)
            for _ in range(10_000):
                voice.publish("events", good)  # no trade_type
            await asyncio.to_thread(voice.flush, 60)
            voice.filled("o1", "BUY", "1", "1", position="OPEN", exchange_trade_id="1")
            await until(lambda: len(journal.events) == 1, 60)
            assert source.state == "connected"
    found = counted(source)
    assert found[("unknown", "hummingbot", "refused")] == 1
    assert found[("unknown", "hummingbot", "invalid")] == 10_003
    assert len(journal.facts) == 1
    assert len([line for line in lines if "does not count" in line]) <= 3, lines
    async with running(made(broker, journal)) as task:  # the retained one comes at once
        await asyncio.sleep(0.2)
        assert not task.done()
    assert len(journal.events) == 1


async def test_no_bot_counts_until_some_are_named(broker: Mosquitto, lines: list[str]) -> None:
    journal = Journal()
    source = made(broker, journal, instances=[])
    with HummingbotBot(broker.port, BOT) as voice:
        async with running(source):
            voice.filled("o1", "BUY", "1", "1", exchange_trade_id="1")
            await until(lambda: counted(source) == {("unknown", "hummingbot", "refused"): 1})
    assert not journal.events
    assert any("hummingbot.mqtt.instances is empty" in line for line in lines)


async def test_more_bots_than_anybody_has_are_not_remembered(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_hummingbot, "BOTS", 2)
    journal = Journal()
    source = made(broker, journal)
    with HummingbotBot(broker.port, BOT) as voice:
        async with running(source):
            for n in range(5):
                voice._client.publish(f"hbot/pmm-{n}/hb", b'{"ts": 1}')
            await until(lambda: counted(source) == {("unknown", "hummingbot", "refused"): 3})
    assert len(journal.alive) == 2


async def test_we_never_publish_and_leave_nothing_behind(broker: Mosquitto) -> None:
    with HummingbotBot(broker.port, BOT) as voice:
        bot = Bot(voice)
        async with running(made(broker, Journal(), bot)):
            await asyncio.to_thread(bot.fill, 1)
            await until(lambda: bot.asked > 0)
    assert "deskhand-ear" in broker.log()
    assert "Received PUBLISH from deskhand-ear" not in broker.log()


async def test_what_the_journal_cannot_take_is_taken_once_it_can(broker: Mosquitto) -> None:
    journal = Journal()
    with HummingbotBot(broker.port, BOT) as voice:
        bot = Bot(voice)
        async with running(made(broker, journal)):
            await asyncio.to_thread(bot.fill, 1)
            await until(lambda: len(journal.events) == 1)
            journal.well = False
            await asyncio.to_thread(bot.fills, (2, 3, 3))
            await asyncio.sleep(0.1)
            journal.well, journal.writable = True, False
            await until(lambda: journal.offers > 5)
            journal.writable = True
            await until(lambda: len(journal.events) == 3)
    assert list(journal.events) == [f"hb:{BOT}:t{n}" for n in (1, 2, 3)]


async def test_a_login_that_is_refused_is_told_and_tried_slowly(tmp_path: Path, lines: list[str]) -> None:
    broker = Mosquitto(tmp_path / "b", password="right").start()
    try:
        source = made(broker, Journal(), username="desk", password="wrong")
        async with running(source, up=False):
            await until(lambda: source.state.startswith("down"))
            await asyncio.sleep(0.3)
            assert "the broker refused the login" in source.state
        assert broker.log().count("Sending CONNACK") == 1
        assert not any("wrong" in line for line in lines)
        async with running(made(broker, Journal(), username="desk", password="right")):
            pass
    finally:
        broker.stop()


async def test_a_broker_that_is_not_there_or_no_broker() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with listener(hang_up) as there:
        for port, words in ((there, "down"), (1, "down: Connection refused")):
            settings = BotBrokerSettings.model_validate({"host": "127.0.0.1", "port": port, "instances": "*"})
            source = HummingbotSource(settings, Journal(), Journal().around(), Clock(), Metrics())
            async with running(source, up=False) as task:
                await until(partial(lambda source, words: source.state.startswith(words), source, words))
                assert source.down_s >= 0
                assert not task.done()
    with pytest.raises(ValueError, match="host is not set"):
        HummingbotSource(BotBrokerSettings(), Journal(), Journal().around(), Clock(), Metrics())
