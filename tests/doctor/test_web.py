"""The Hummingbot API and the Command Center: real HTTP servers on loopback."""

import time
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.doctor.support import Center, Hummingbot, Patient, bytes_server, deaf, said, web
from tests.fakes.certificates import self_signed
from tests.fakes.mosquitto import free_port

ABOUT = {"name": "Hummingbot API", "version": "1.0.1", "status": "running"}
BROKER = {"status": "success", "data": {"mqtt_connected": True}}
CONFIG = {"id": 7, "mode": "dry_run"}


def hummingbot(folder: Path, port: int, password: str = "a-good-password") -> Patient:
    found = Patient(folder, hummingbot={"url": f"http://127.0.0.1:{port}", "username": "desk"})
    found.env(HUMMINGBOT_API_PASSWORD=password)
    return found


def center(folder: Path, port: int, key: str = "a-good-center-key", scheme: str = "http") -> Patient:
    found = Patient(folder, polymaker={"url": f"{scheme}://127.0.0.1:{port}"})
    found.env(POLYMAKER_API_KEY=key)
    return found


async def test_a_good_hummingbot(tmp_path: Path) -> None:
    answers = {"/": said(ABOUT), "/bot-orchestration/mqtt": said(BROKER)}
    async with web(answers, Hummingbot) as server:
        found = await hummingbot(tmp_path, server.port).only("hummingbot")
        assert found.state == "ok"
        assert found.text.startswith(f"http://127.0.0.1:{server.port}, version 1.0.1: login fine, ")
        assert [path for path, _ in server.asked] == ["/", "/bot-orchestration/mqtt"]


async def test_hummingbot_refuses_the_password(tmp_path: Path) -> None:
    async with web({"/": said(ABOUT)}, Hummingbot) as server:
        found = await hummingbot(tmp_path, server.port, "a-wrong-password").trouble()
    assert found.text.endswith("it refuses this user and password (401)")
    assert "a-wrong-password" not in str(found)


async def test_hummingbot_without_a_login(tmp_path: Path) -> None:
    async with web({"/": said(ABOUT)}, Hummingbot) as server:
        patient = Patient(tmp_path, hummingbot={"url": f"http://127.0.0.1:{server.port}"})
        patient.env(HUMMINGBOT_API_KEY="some-key-of-theirs")
        found = await patient.trouble()
    assert found.text.endswith("it wants a login; it knows no API keys (401)")
    assert "HUMMINGBOT_API_USERNAME" in found.remedy


async def test_hummingbot_without_its_broker(tmp_path: Path) -> None:
    answers = {"/": said(ABOUT), "/bot-orchestration/mqtt": said({"data": {"mqtt_connected": False}})}
    async with web(answers, Hummingbot) as server:
        found = await hummingbot(tmp_path, server.port).only("hummingbot")
    assert found.state == "warn"
    assert "no connection to its own MQTT broker" in found.text


async def test_something_else_where_hummingbot_should_be(tmp_path: Path) -> None:
    async with web({"/": (200, b"<html>", {})}) as server:
        found = await hummingbot(tmp_path, server.port).trouble()
    assert found.text.endswith("answers (HTTP 200), but is not the Hummingbot API")


async def test_hummingbot_is_down(tmp_path: Path) -> None:
    port = free_port()
    found = await hummingbot(tmp_path, port).trouble()
    assert (found.name, found.text) == ("hummingbot", f"127.0.0.1:{port}: Connection refused")


async def test_a_good_center(tmp_path: Path) -> None:
    async with web({"/api/bot/config": said(CONFIG)}, Center) as server:
        found = await center(tmp_path, server.port).only("polymaker")
        assert found.state == "ok"
        assert [path for path, _ in server.asked] == ["/api/bot/config"]


async def test_center_refuses_the_key(tmp_path: Path) -> None:
    async with web({}, Center) as server:
        found = await center(tmp_path, server.port, "a-wrong-center-key").trouble()
    assert found.text == f"http://127.0.0.1:{server.port}: it refuses the key (401)"
    assert found.remedy == "correct POLYMAKER_API_KEY in .env"
    assert "a-wrong-center-key" not in str(found)


async def test_center_without_a_key(tmp_path: Path) -> None:
    found = await Patient(tmp_path, polymaker={"url": "http://127.0.0.1:1"}).trouble()
    assert found.text == "http://127.0.0.1:1: no key is set"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((200, b"<html>welcome</html>", {}), "answers, but with no JSON that makes sense"),
        ((200, b'{"id": ', {}), "answers, but with no JSON that makes sense"),
        ((200, b"[" * 100_000, {}), "answers, but with no JSON that makes sense"),
        ((404, b"{}", {}), "there is no Command Center here (404)"),
        ((500, b"oops", {}), "it answers HTTP 500"),
        (
            (301, b"", {"Location": "http://127.0.0.1:1/stolen"}),
            "it sends us elsewhere (301), and keys are not carried along",
        ),
    ],
)
async def test_center_answers_garbage(tmp_path: Path, answer: tuple[int, bytes, dict[str, str]], text: str) -> None:
    async with web({"/api/bot/config": answer}, Center) as server:
        found = await center(tmp_path, server.port).trouble()
        assert found.text == f"http://127.0.0.1:{server.port}: {text}"
        assert len(server.asked) == 1


async def test_center_answers_too_much(tmp_path: Path) -> None:
    async with web({"/api/bot/config": (200, bytes(2 * 1024 * 1024), {})}, Center) as server:
        found = await center(tmp_path, server.port).trouble()
    assert found.text == f"127.0.0.1:{server.port}: the answer is longer than 1 MiB"


async def test_center_is_no_web_server(tmp_path: Path) -> None:
    async with bytes_server(b"220 mail.example ESMTP\r\n250 HELP\r\n\r\n") as port:
        found = await center(tmp_path, port).trouble()
    assert found.text == f"127.0.0.1:{port}: not an HTTP server"
    async with bytes_server(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n") as port:
        found = await center(tmp_path, port).trouble()
    assert found.text == f"127.0.0.1:{port}: the server closed the connection without an HTTP answer"


async def test_center_is_silent_or_out_of_reach(tmp_path: Path) -> None:
    async with bytes_server(b"", hang=True) as port:
        found = await center(tmp_path, port).trouble(limit_s=1.0)
        assert found.text == f"127.0.0.1:{port}: no answer within 1 s"
    with deaf() as port:
        found = await center(tmp_path, port).trouble(limit_s=1.0)
        assert found.text == f"127.0.0.1:{port}: no answer within 1 s"


async def test_center_certificate(tmp_path: Path) -> None:
    async with web({}, Center, self_signed(tmp_path)) as server:
        found = await center(tmp_path, server.port, scheme="https").trouble()
    assert found.text == f"127.0.0.1:{server.port}: certificate refused: self-signed certificate"


async def test_no_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with web({"/api/bot/config": said(CONFIG)}, Center) as server:
        assert (await center(tmp_path, server.port).only("polymaker")).state == "ok"


@pytest.mark.parametrize(
    ("ahead", "state", "words"),
    [
        (0, "ok", "agrees with the clock of"),
        (-3.5, "warn", "behind"),
        (3.5, "warn", "ahead of"),
        (30, "fail", "ahead of"),
        (-3600, "fail", "60 min behind"),
    ],
)
async def test_clock_off(tmp_path: Path, ahead: float, state: str, words: str) -> None:
    """`ahead`: how far this clock is ahead of the server's, in seconds."""
    date = formatdate(time.time() - ahead, usegmt=True)
    async with web({"/api/bot/config": said(CONFIG, date=date)}, Center) as server:
        found = await center(tmp_path, server.port).only("clock")
    assert found.state == state
    assert words in found.text
    assert state == "ok" or "set-ntp" in found.remedy


async def test_a_date_that_is_none_says_nothing(tmp_path: Path) -> None:
    async with web({"/api/bot/config": said(CONFIG, date="yesterday")}, Center) as server:
        assert not [check for check in await center(tmp_path, server.port).examine() if check.name == "clock"]
