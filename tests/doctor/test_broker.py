"""MQTT brokers: a real mosquitto that refuses in each of its ways, and things that are no broker."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from daemon.settings import MqttSettings
from daemon.sources.mqtt_probe import visit
from tests.doctor.support import Patient, bytes_server
from tests.fakes.certificates import self_signed
from tests.fakes.listener import listener
from tests.fakes.mosquitto import Mosquitto, free_port

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Any]:
    started: list[Mosquitto] = []

    def start(**options: Any) -> Mosquitto:
        started.append(Mosquitto(tmp_path / "broker", **options).start())
        return started[-1]

    yield start
    for each in started:
        each.stop()


@asynccontextmanager
async def slow_line(port: int, delay_s: float) -> AsyncIterator[int]:
    """A port that leads to `port`, from which everything arrives later."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", port)

        async def forth() -> None:
            with suppress(OSError):
                while data := await reader.read(65536):
                    onward.write(data)
            onward.close()

        other = asyncio.create_task(forth())
        while data := await there.read(65536):
            await asyncio.sleep(delay_s)
            writer.write(data)
        writer.close()
        await other

    async with listener(serve) as near:
        yield near


def patient(folder: Path, port: int, password: str = "", **mqtt: object) -> Patient:
    found = Patient(folder, mqtt={"host": "127.0.0.1", "port": port} | mqtt)
    if password:
        found.env(DESKHAND_MQTT__USERNAME="desk", DESKHAND_MQTT__PASSWORD=password)
    return found


@VERSIONS
async def test_a_good_broker(tmp_path: Path, brokers: Any, version: str) -> None:
    broker = brokers(password="a-good-password", acl="user desk\ntopic readwrite deskhand/#\n")
    found = await patient(tmp_path, broker.port, "a-good-password", version=version).only("mqtt")
    assert found.state == "ok"
    assert found.text.startswith(f"127.0.0.1:{broker.port}, MQTT {version}: login, deskhand/events/# and a message in ")
    assert "as deskhand-doctor-" in broker.log(), "not under the daemon's own id"
    assert " as deskhand (" not in broker.log()


async def test_port_closed(tmp_path: Path) -> None:
    port = free_port()
    found = await patient(tmp_path, port).trouble()
    assert found.name == "mqtt"
    assert found.text == f"127.0.0.1:{port}: Connection refused"


async def test_name_unknown(tmp_path: Path) -> None:
    found = await patient(tmp_path, 1883, host="broker.invalid").trouble()
    assert found.text == "broker.invalid:1883: host name not resolved"


async def test_a_frozen_broker(tmp_path: Path, brokers: Any) -> None:
    broker = brokers()
    broker.signal(signal.SIGSTOP)
    try:
        found = await patient(tmp_path, broker.port).trouble(limit_s=1.0)
    finally:
        broker.signal(signal.SIGCONT)
    assert found.text == f"127.0.0.1:{broker.port}: no answer within 1 s"


@VERSIONS
async def test_password_refused(tmp_path: Path, brokers: Any, version: str) -> None:
    broker = brokers(password="a-good-password")
    found = await patient(tmp_path, broker.port, "a-wrong-password", version=version).trouble()
    assert found.text.startswith(f"127.0.0.1:{broker.port} refused the login of desk (")
    assert "DESKHAND_MQTT__PASSWORD" in found.remedy
    assert "a-wrong-password" not in str(found)


async def test_login_missing(tmp_path: Path, brokers: Any) -> None:
    broker = brokers(password="a-good-password")
    found = await patient(tmp_path, broker.port).trouble()
    assert found.text.startswith(f"127.0.0.1:{broker.port} wants a login, and none is set (")


async def test_rules_that_let_us_write_and_not_read(tmp_path: Path, brokers: Any) -> None:
    """mosquitto grants the subscription all the same and says nothing."""
    broker = brokers(password="a-good-password", acl="user desk\ntopic write deskhand/#\n")
    found = await patient(tmp_path, broker.port, "a-good-password").trouble()
    assert found.text.endswith("grants deskhand/events/# and then delivers nothing: its rules keep desk from reading")
    assert found.remedy == "in mosquitto's acl_file, below `user desk`: topic readwrite deskhand/events/#"


@VERSIONS
async def test_rules_that_hide_the_topic(tmp_path: Path, brokers: Any, version: str) -> None:
    broker = brokers(password="a-good-password", acl="user desk\ntopic readwrite other/#\n")
    found = await patient(tmp_path, broker.port, "a-good-password", version=version).only("mqtt")
    assert found.state == "warn", "a user who may only read looks the same"
    assert "whether events come through could not be tried" in found.text or "did not come back" in found.text
    assert "topic readwrite deskhand/events/#" in found.remedy


async def test_certificate(tmp_path: Path, brokers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    self_signed(tmp_path)
    broker = brokers(tls=tmp_path)
    found = await patient(tmp_path, broker.port, tls=True).trouble()
    assert found.text == f"127.0.0.1:{broker.port}: certificate refused: self-signed certificate"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    assert (await patient(tmp_path, broker.port, tls=True).only("mqtt")).state == "ok"


async def test_a_visit_is_over_when_the_broker_has_hung_up(tmp_path: Path, brokers: Any) -> None:
    """Nothing is left open when the doctor ends, however slow the line: over TLS a goodbye has an answer."""
    self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=tmp_path / "server.pem")
    broker = brokers(tls=tmp_path)
    async with slow_line(broker.port, 0.05) as port:
        found = await visit(MqttSettings(host="127.0.0.1", tls=True), ("127.0.0.1", port), 10.0, trust)
        assert " disconnected." in broker.log()
    assert found.delivered


async def test_tls_where_nobody_speaks_it(tmp_path: Path, brokers: Any) -> None:
    broker = brokers()
    found = await patient(tmp_path, broker.port, tls=True).trouble()
    assert "TLS failed" in found.text, found
    assert found.remedy == "this port does not speak TLS: set mqtt.tls to false"


async def test_plain_where_tls_is_spoken(tmp_path: Path, brokers: Any) -> None:
    self_signed(tmp_path)
    broker = brokers(tls=tmp_path)
    found = await patient(tmp_path, broker.port).trouble()
    assert "without an answer" in found.text or "not an MQTT broker" in found.text
    assert "TLS" in found.remedy


async def test_a_web_server_where_the_broker_should_be(tmp_path: Path) -> None:
    async with bytes_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        found = await patient(tmp_path, port).trouble()
    assert found.text == f"127.0.0.1:{port}: not an MQTT broker"


@pytest.mark.parametrize(
    ("version", "answer"),
    [("5", b"\x20\x02\x00\x01"), ("5", b"\x20\x03\x00\x84\x00"), ("3.1.1", b"\x20\x02\x00\x01")],
)
async def test_wrong_version_of_the_protocol(tmp_path: Path, version: str, answer: bytes) -> None:
    async with bytes_server(answer) as port:
        found = await patient(tmp_path, port, version=version).trouble()
    assert found.text.startswith(f"127.0.0.1:{port} does not speak MQTT {version} (")
    assert found.remedy == f"set mqtt.version to {'3.1.1' if version == '5' else '5'}"


@pytest.mark.parametrize("answer", [b"\x20\xff\xff\xff\xff\xff\xff", b"\x20\x09\x00\x00\x06\x7f\xff\xff\xff\xff\xff"])
async def test_malformed_packets(tmp_path: Path, answer: bytes) -> None:
    async with bytes_server(answer) as port:
        found = await patient(tmp_path, port).trouble(limit_s=1.0)
    assert found.name == "mqtt"
    assert f"127.0.0.1:{port}" in found.text


async def test_subscription_refused(tmp_path: Path) -> None:
    """As brokers other than mosquitto do it: in the answer to the subscription."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"\x20\x03\x00\x00\x00")
        asked = await reader.read(1024)
        writer.write(b"\x90\x04" + asked[2:4] + b"\x00\x87")
        await reader.read(1024)
        writer.close()

    async with listener(serve) as port:
        found = await patient(tmp_path, port).trouble()
    assert found.text == f"127.0.0.1:{port} refused the subscription to deskhand/events/# (Not authorized)"
