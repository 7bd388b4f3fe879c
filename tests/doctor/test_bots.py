"""The broker of Hummingbot's bots: a real mosquitto, listened to and never spoken to."""

from pathlib import Path

from daemon.doctor import bots
from daemon.doctor.check import Check
from daemon.settings import BotBrokerSettings
from tests.doctor.support import Patient, bytes_server
from tests.fakes.mosquitto import Mosquitto, free_port


async def look(**settings: object) -> Check:
    (found,) = await bots.look(BotBrokerSettings.model_validate(settings), 10.0)
    return found


async def test_without_one_there_is_nothing_to_tell() -> None:
    assert await bots.look(BotBrokerSettings(), 2.0) == []


async def test_a_broker_with_passwords(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "b", password="a-good-password").start()
    try:
        good = {"host": "127.0.0.1", "port": broker.port, "username": "desk", "password": "a-good-password"}
        assert (await look(**good, instances="pmm-*")).state == "ok"
        empty = await look(**good)
        assert (empty.state, empty.remedy) == ("warn", "name them in hummingbot.mqtt.instances")
        wrong = await look(**good | {"password": "another-password"})
        assert wrong.state == "fail"
        assert "refused the login" in wrong.text
        assert "DESKHAND_HUMMINGBOT__MQTT__PASSWORD" in wrong.remedy
        assert "PUBLISH" not in broker.log()
    finally:
        broker.stop()


async def test_one_that_lets_anybody_in_is_told(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "b").start()
    try:
        values = {"host": "127.0.0.1", "port": broker.port, "instances": ["pmm-*"]}
        found = await Patient(tmp_path, hummingbot={"mqtt": values}).only("hummingbot:mqtt")
        assert found.state == "warn"
        assert "can forge a fill" in found.text
    finally:
        broker.stop()


async def test_none_there_or_none_at_all() -> None:
    port = free_port()
    found = await look(host="127.0.0.1", port=port)
    assert (found.state, found.text) == ("fail", f"127.0.0.1:{port}: Connection refused")
    async with bytes_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert (await look(host="127.0.0.1", port=port)).state == "fail"
