"""The MQTT source against a real mosquitto, with a stand-in for intake that acknowledges when told to."""

import asyncio
import datetime as dt
import ipaddress
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from loguru import logger

from daemon.clock import Clock
from daemon.events import TradeEvent
from daemon.logs.peer import FLAPS
from daemon.ports import Action, Delivery, Outcome, Receipt, Result, State, Status
from daemon.settings import MqttSettings
from daemon.sources import mqtt
from daemon.sources.mqtt import MqttSource, siblings
from tests.fakes.listener import listener
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.mqtt_peer import MqttPeer
from tests.sources.door import Door

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


async def until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  # what is waited for is often the broker's log
            await asyncio.sleep(0.005)


def settings(broker: Mosquitto, **changes: Any) -> MqttSettings:
    return MqttSettings.model_validate({"host": "127.0.0.1", "port": broker.port} | changes)


@asynccontextmanager
async def running(source: MqttSource, *, up: bool = True) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(source.run())
    try:
        if up:
            await until(lambda: source.state == "connected")
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def delivery(event_id: str, **changes: Any) -> Delivery:
    event = TradeEvent.model_validate({"type": "sl", "symbol": "AAPL", "id": event_id, "ts": 1.0e9})
    found = Delivery(event, 0, Action("hotkeys", "main", ("sell_all_bid",)), "live", received=100.0, received_boot=1.0)
    found.state, found.first_byte, found.ended_at = State.ENDED, 100.002, 101.0
    found.outcome = Outcome(Result.DONE)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    found = Mosquitto(tmp_path / "broker").start()
    yield found
    found.stop()


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    number = logger.add(lambda line: found.append(str(line)), format="{level} {message}", level="DEBUG")
    yield found
    logger.remove(number)


@VERSIONS
async def test_events_arrive_in_order_and_are_flushed_together(broker: Mosquitto, version: str) -> None:
    door = Door()
    source = MqttSource(settings(broker, version=version), door, Clock())
    async with running(source):
        pass
    with MqttPeer(broker.port, listen=None) as peer:
        await asyncio.to_thread(peer.publish_all, [f"{n}" for n in range(1000)])
        async with running(source):
            await until(lambda: len(door.raw) == 1000)
            await asyncio.to_thread(peer.publish_all, ["sub"], "deskhand/events/aapl/entry")
            await until(lambda: len(door.raw) == 1001)
    assert door.raw == [b"%d" % n for n in range(1000)] + [b"sub"]
    assert door.flushes < len(door.raw)


@VERSIONS
async def test_what_was_not_acknowledged_comes_again_after_a_restart_of_the_broker(
    broker: Mosquitto, version: str
) -> None:
    door = Door()
    door.hold = True
    source = MqttSource(settings(broker, version=version), door, Clock())
    async with running(source):
        with MqttPeer(broker.port, listen=None) as peer:
            await asyncio.to_thread(peer.publish_all, [f"{n}" for n in range(15)])
        await until(lambda: len(door.raw) == 15)
        first = door.waiting[:5]
        del door.waiting[:5]
        for done in first:
            done(door.answer)
        await until(lambda: broker.log().count("Received PUBACK") >= 5)
        await asyncio.to_thread(broker.restart)
        stale, door.waiting = door.waiting, []
        await until(lambda: len(door.raw) == 25)
        assert door.raw[15:] == [b"%d" % n for n in range(5, 15)]
        before = broker.log().count("Received PUBACK")
        for done in stale:  # of the connection that is gone: their packet ids mean something else by now
            done(door.answer)
        door.release()
        await until(lambda: broker.log().count("Received PUBACK") >= before + 10)
        await asyncio.to_thread(broker.restart)
        with MqttPeer(broker.port, listen=None) as peer:
            await asyncio.to_thread(peer.publish_all, ["last"])
        await until(lambda: b"last" in door.raw)
    assert len(door.raw) == 26


@VERSIONS
async def test_a_retained_event_is_refused(broker: Mosquitto, version: str, lines: list[str]) -> None:
    door = Door()
    with MqttPeer(broker.port) as peer:
        peer.confirm([peer.publish("old", retain=True)])
        async with running(MqttSource(settings(broker, version=version), door, Clock())):
            await until(lambda: any("retained" in line for line in lines))
            if version == "5":  # 3.1.1 does not say of a live message that it is retained as well
                peer.publish("live", "deskhand/events/x", retain=True)
            peer.publish("fresh")
            await until(lambda: b"fresh" in door.raw)
    assert door.raw == [b"fresh"]
    assert len([line for line in lines if "refused a retained" in line and "WARNING" in line]) == 1


async def test_the_daemon_starts_without_a_broker_and_finds_it_later(tmp_path: Path, lines: list[str]) -> None:
    broker = Mosquitto(tmp_path)
    source = MqttSource(settings(broker, host="localhost"), Door(), Clock())
    async with running(source, up=False):
        await until(lambda: source.state == "down: Connection refused")
        await until(lambda: sum("Connection refused" in line for line in lines) >= 3)
        await asyncio.to_thread(broker.start)
        await until(lambda: source.state == "connected")
        broker.kill()
        await until(lambda: source.state.startswith("down"))
        await asyncio.to_thread(broker.start)
        await until(lambda: source.state == "connected")
        broker.stop()
    assert source.state == "stopped"
    told = [line.split()[0] for line in lines if "trying again" in line]
    assert told[:3] == ["WARNING", "DEBUG", "DEBUG"]
    assert told.count("WARNING") == 2
    assert sum(line.startswith("INFO MQTT: connected") and " back after " in line for line in lines) == 2


@pytest.mark.parametrize("name", ["desk..lan", "x" * 64 + ".lan"])
async def test_a_name_that_nobody_can_have_ends_nothing(name: str) -> None:
    """Python raises UnicodeError for it, and the end of this task would be the daemon's."""
    source = MqttSource(MqttSettings(host=name), Door(), Clock())
    async with running(source, up=False) as task:
        await until(lambda: source.state == "down: the broker's name cannot be resolved")
        assert not task.done()


async def test_a_refused_login_is_said_in_words_and_not_hammered(tmp_path: Path, lines: list[str]) -> None:
    broker = Mosquitto(tmp_path, password="right").start()
    try:
        wrong = settings(broker, username="desk", password="hunter2")
        source = MqttSource(wrong, Door(), Clock())
        async with running(source, up=False):
            await until(lambda: "refused the login" in source.state)
            assert "Not authorized" in source.state
            tries = broker.log().count("New connection")
            await asyncio.sleep(0.7)  # nothing must happen in this time: there is no condition to wait for
            assert broker.log().count("New connection") == tries
        assert not any("hunter2" in line for line in lines)
        async with running(MqttSource(settings(broker, username="desk", password="right"), Door(), Clock())):
            pass
    finally:
        broker.stop()


async def test_a_second_client_with_the_same_id_is_suspected(broker: Mosquitto, lines: list[str]) -> None:
    first, second = (MqttSource(settings(broker), Door(), Clock()) for _ in range(2))
    async with running(first), running(second):
        await until(lambda: any("a second daemon use the mqtt.client_id deskhand?" in line for line in lines))


async def test_a_connection_that_comes_and_goes_does_not_fill_the_log(
    broker: Mosquitto, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.logs.peer.STEADY_S", 2.0)
    monkeypatch.setattr(mqtt, "LONGEST_S", 0.1)
    source = MqttSource(settings(broker), Door(), Clock())
    async with running(source):
        for _ in range(FLAPS + 4):
            await until(lambda: source.state == "connected")
            assert source._link is not None
            source._link.abort()
            await until(lambda: source.state.startswith("down"))
        await until(lambda: any("INFO" in line and "back after" in line for line in lines[-3:]))
    assert sum(line.startswith("WARNING") for line in lines) == FLAPS
    assert sum(line.startswith("INFO MQTT: connected") for line in lines) == FLAPS + 1


async def test_a_session_that_was_taken_over_is_said_plainly(lines: list[str]) -> None:
    async def scripted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x20\x03\x01\x00\x00")  # CONNACK
        await reader.read(1000)
        writer.write(b"\x90\x04\x00\x01\x00\x01" + b"\xe0\x01\x8e")  # SUBACK, then DISCONNECT: session taken over
        writer.close()

    async with listener(scripted) as port:
        found = MqttSettings.model_validate({"host": "127.0.0.1", "port": port})
        async with running(MqttSource(found, Door(), Clock()), up=False):
            await until(lambda: any("WARNING" in line and "same mqtt.client_id" in line for line in lines))


async def test_a_broker_that_never_answers_is_given_up_and_stopping_is_quick(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "CONNECT_S", 0.2)
    source = MqttSource(settings(broker), Door(), Clock())
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deaf = MqttSource(settings(broker, port=silent.getsockname()[1]), Door(), Clock())
        async with running(deaf, up=False):
            await until(lambda: "no answer" in deaf.state)
            began = loop.time()
        assert loop.time() - began < 5.0
    async with running(source):
        broker.signal(signal.SIGSTOP)
        began = loop.time()
    broker.signal(signal.SIGCONT)
    assert loop.time() - began < mqtt.STOP_S + 2


@VERSIONS
async def test_status_and_outcomes_are_published(broker: Mosquitto, version: str) -> None:
    source = MqttSource(settings(broker, version=version), Door(), Clock())
    with MqttPeer(broker.port) as peer:
        async with running(source):
            for n in range(100):
                source.publish_outcome(delivery(f"a/b #{n}"))
            await until(lambda: len(peer.heard) == 101)
            assert peer.heard["deskhand/status"] == [b"online"]
        await until(lambda: peer.heard["deskhand/status"] == [b"online", b"offline"])
        body = json.loads(peer.heard["deskhand/outcomes/a%2Fb%20%237"][0])
    assert body == {
        "id": "a/b #7",
        "type": "sl",
        "symbol": "AAPL",
        "trade": ":AAPL",
        "number": 0,
        "handler": "hotkeys",
        "target": "main",
        "steps": ["sell_all_bid"],
        "result": "done",
        "reason": "",
        "mode": "live",
        "ended_at": "1970-01-01T00:01:41.000Z",
        "latency_ms": 2.0,
    }
    with MqttPeer(broker.port) as peer:
        peer.wait(lambda heard: heard.get("deskhand/status") == [b"offline"])


async def test_the_last_will_says_offline(broker: Mosquitto) -> None:
    source = MqttSource(settings(broker), Door(), Clock())
    with MqttPeer(broker.port) as peer:
        async with running(source):
            await until(lambda: peer.heard.get("deskhand/status") == [b"online"])
            assert source._link is not None
            source._link.abort()
            await until(lambda: peer.heard["deskhand/status"] == [b"online", b"offline", b"online"])


async def test_outcomes_wait_for_the_broker_and_the_oldest_go_first(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setattr(mqtt, "BACKLOG", 50)
    source = MqttSource(settings(broker), Door(), Clock())
    for n in range(60):
        source.publish_outcome(delivery(f"{n}"))
    with MqttPeer(broker.port, listen="deskhand/outcomes/#") as peer:
        async with running(source):
            await until(lambda: len(peer.heard) == 50)
            await until(lambda: any("10 outcomes were never published" in line for line in lines))
    assert list(peer.heard) == [f"deskhand/outcomes/{n}" for n in range(10, 60)]
    assert sum("dropping the oldest" in line for line in lines) == 1


async def test_an_event_turned_away_at_the_door_is_acknowledged_and_published_as_refused(broker: Mosquitto) -> None:
    door = Door()
    door.answer = Receipt(Status.UNAVAILABLE, "e1", "the journal cannot be written: disk full")
    with MqttPeer(broker.port) as peer:
        async with running(MqttSource(settings(broker), door, Clock())):
            peer.publish("{}")
            await until(lambda: "deskhand/outcomes/e1" in peer.heard)
            body = json.loads(peer.heard["deskhand/outcomes/e1"][0])
            assert (body["id"], body["result"], body["reason"]) == ("e1", "refused", door.answer.reason)
            await until(lambda: "Received PUBACK from deskhand" in broker.log())


async def test_the_broker_may_forbid_outcomes_but_not_events(tmp_path: Path, lines: list[str]) -> None:
    broker = Mosquitto(tmp_path, acl="topic read deskhand/events/#\ntopic write deskhand/events/#\n").start()
    door = Door()
    try:
        source = MqttSource(settings(broker), door, Clock())
        with MqttPeer(broker.port, listen=None) as peer:
            async with running(source):
                for n in range(3):
                    source.publish_outcome(delivery(f"{n}"))
                await until(lambda: any("does not let us publish" in line for line in lines))
                peer.publish("x")
                await until(lambda: door.raw == [b"x"])
    finally:
        broker.stop()


async def test_paused_it_takes_no_event_but_acknowledges_and_publishes(broker: Mosquitto) -> None:
    door = Door()
    door.hold = True
    source = MqttSource(settings(broker), door, Clock())
    with MqttPeer(broker.port) as peer:
        async with running(source):
            peer.publish("before")
            await until(lambda: len(door.raw) == 1)
            source.pause()
            peer.publish("after")
            door.release()
            source.publish_outcome(delivery("o"))
            await until(lambda: "deskhand/outcomes/o" in peer.heard)
            await until(lambda: "Received PUBACK from deskhand" in broker.log())
        async with running(MqttSource(settings(broker), door, Clock())):
            await until(lambda: len(door.raw) >= 2)
    assert door.raw == [b"before", b"after"]


async def test_tls_to_a_broker_whose_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "desk")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (tmp_path / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    broker = Mosquitto(tmp_path / "broker", tls=tmp_path).start()
    try:
        stranger = MqttSource(settings(broker, tls=True), Door(), Clock())
        async with running(stranger, up=False):
            await until(lambda: "certificate was not accepted" in stranger.state)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
        async with running(MqttSource(settings(broker, tls=True), Door(), Clock())):
            await until(lambda: "New client connected" in broker.log())
    finally:
        broker.stop()


def test_our_own_topics_never_lie_below_the_one_we_listen_on() -> None:
    assert siblings("deskhand/events") == ("deskhand/outcomes", "deskhand/status")
    assert siblings("desk/7/signals") == ("desk/7/outcomes", "desk/7/status")
    assert siblings("signals") == ("deskhand/outcomes", "deskhand/status")
    for topic in ("deskhand", "x/outcomes", "x/status", "outcomes"):
        assert not any(f"{name}/".startswith(f"{topic}/") for name in siblings(topic))
