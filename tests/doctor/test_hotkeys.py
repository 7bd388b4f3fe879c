"""Hotkey servers: the cause of each failure told apart, and no key unless one was asked for by name."""

from pathlib import Path

import pytest

from daemon.doctor import Press
from tests.doctor.support import Patient, bytes_server, deaf, said, web
from tests.fakes.certificates import self_signed
from tests.fakes.hotkey_server import Habits, HotkeyServer
from tests.fakes.mosquitto import free_port


def live(folder: Path, url: str, **more: object) -> Patient:
    return Patient(folder, mode="live", hotkeys={"targets": {"main": url}} | more)


async def test_a_good_server_gets_a_handshake_and_no_key(tmp_path: Path) -> None:
    async with HotkeyServer() as server:
        found = await live(tmp_path, server.url).only("hotkeys:main")
        assert found.state == "ok"
        assert found.text.startswith(f"{server.url} takes connections, handshake in ")
        assert (server.opened, server.frames, list(server.refused)) == (1, [], [])


async def test_port_closed(tmp_path: Path) -> None:
    port = free_port()
    found = await live(tmp_path, f"ws://127.0.0.1:{port}").trouble()
    assert found.name == "hotkeys:main"
    assert found.text == f"127.0.0.1:{port}: Connection refused"
    assert found.remedy == f"nothing listens on port {port} there: start the server, or correct the port"


async def test_name_unknown(tmp_path: Path) -> None:
    found = await live(tmp_path, "ws://desk-that-is-not.invalid:8765").trouble()
    assert found.text == "desk-that-is-not.invalid:8765: host name not resolved"
    assert found.remedy.endswith("getent hosts desk-that-is-not.invalid")


async def test_packets_dropped(tmp_path: Path) -> None:
    with deaf() as port:
        found = await live(tmp_path, f"ws://127.0.0.1:{port}").trouble(limit_s=1.0)
    assert found.text == f"127.0.0.1:{port}: no answer within 1 s"
    assert "firewall" in found.remedy
    assert "IPAddressDeny" in found.remedy


async def test_server_silent(tmp_path: Path) -> None:
    async with HotkeyServer(Habits(slow_handshake=-1)) as server:
        found = await live(tmp_path, server.url).trouble(limit_s=1.0)
    assert found.text == f"127.0.0.1:{server.port}: no answer to the handshake within 1 s"
    assert found.remedy.startswith(f"something listens on port {server.port} but does not speak")


@pytest.mark.parametrize(
    ("days", "why"), [(1, "self-signed certificate"), (-1, "certificate has expired")], ids=["self-signed", "expired"]
)
async def test_certificate(tmp_path: Path, days: int, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    context = self_signed(tmp_path, days=days)
    if days < 0:  # trusted, and too old
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    async with HotkeyServer(tls=context) as server:
        found = await live(tmp_path, server.url).trouble()
    assert found.text == f"127.0.0.1:{server.port}: certificate refused: {why}"
    assert "issuer's certificate" in found.remedy


async def test_certificate_of_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = self_signed(tmp_path, address="192.0.2.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    async with HotkeyServer(tls=context) as server:
        found = await live(tmp_path, server.url).trouble()
    assert "certificate refused: IP address mismatch, certificate is not valid for '127.0.0.1'" in found.text


async def test_a_trusted_certificate_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    async with HotkeyServer(tls=context) as server:
        found = await live(tmp_path, server.url).only("hotkeys:main")
        assert found.state == "ok"
        assert "TLS and handshake in" in found.text


async def test_wss_where_nobody_speaks_tls(tmp_path: Path) -> None:
    async with HotkeyServer() as server:
        found = await live(tmp_path, f"wss://127.0.0.1:{server.port}").trouble()
    assert found.text.startswith(f"127.0.0.1:{server.port}: TLS failed: ")
    assert found.remedy == "this port does not speak TLS: use ws:// instead of wss://"


async def test_a_web_server_where_a_hotkey_server_should_be(tmp_path: Path) -> None:
    async with web({"/": said({"hello": "world"})}) as server:
        found = await live(tmp_path, f"ws://127.0.0.1:{server.port}").trouble()
    assert found.text == f"127.0.0.1:{server.port}: HTTP 200 instead of a WebSocket"
    assert found.remedy == "this is a web server; correct the address or the port"


async def test_handshake_refused(tmp_path: Path) -> None:
    async with HotkeyServer(Habits(reject=403)) as server:
        found = await live(tmp_path, server.url).trouble()
    assert found.text == f"127.0.0.1:{server.port}: HTTP 403 instead of a WebSocket"


async def test_garbage(tmp_path: Path) -> None:
    async with bytes_server(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n") as port:
        found = await live(tmp_path, f"ws://127.0.0.1:{port}").trouble()
    assert found.text == f"127.0.0.1:{port}: not a WebSocket server"
    assert found.remedy == f"something else listens on port {port}; correct the address"


async def test_a_server_that_hangs_up(tmp_path: Path) -> None:
    async with bytes_server(b"") as port:
        found = await live(tmp_path, f"ws://127.0.0.1:{port}").trouble()
    assert found.text == f"127.0.0.1:{port}: the server closed the connection"
    assert "wss://" in found.remedy


async def test_targets_are_looked_at_side_by_side_and_told_apart(tmp_path: Path) -> None:
    async with HotkeyServer() as good, HotkeyServer(Habits(slow_handshake=-1)) as silent:
        targets = {"main": good.url, **{f"t{n}": silent.url for n in range(5)}}
        patient = Patient(tmp_path, mode="live", hotkeys={"targets": targets})
        loop_limit = 1.0
        checks = {check.name: check.state for check in await patient.examine(limit_s=loop_limit)}
    assert checks["hotkeys:main"] == "ok"
    assert [checks[f"hotkeys:t{n}"] for n in range(5)] == ["fail"] * 5


async def test_press_says_so_and_presses_once(tmp_path: Path) -> None:
    async with HotkeyServer() as server:
        patient = live(tmp_path, server.url)
        checks = await patient.examine(Press("cancel_all"))
        assert server.frames == ["cancel_all"]
        assert patient.said == [f"pressing cancel_all on main, {server.url}"]
        (pressed,) = [check for check in checks if "pressed" in check.text]
        assert pressed.state == "ok"
        assert pressed.text.startswith("pressed cancel_all, confirmed in ")


async def test_a_press_that_is_not_confirmed_is_told(tmp_path: Path) -> None:
    async with HotkeyServer(Habits(no_close=True)) as server:
        checks = await live(tmp_path, server.url).examine(Press("cancel_all"))
        assert server.frames == ["cancel_all"]
    (pressed,) = [check for check in checks if "pressed" in check.text]
    assert pressed.state == "warn"
    assert pressed.text.startswith("pressed cancel_all, and the server did not confirm it")


async def test_press_is_refused_in_practice_mode(tmp_path: Path) -> None:
    async with HotkeyServer() as server:
        patient = Patient(tmp_path, hotkeys={"targets": {"main": server.url}})
        found = await patient.trouble(press=Press("cancel_all"))
        assert found.text == "cancel_all not pressed: in practice mode no key leaves this machine"
        assert server.frames == []
        assert patient.said == []


async def test_press_is_refused_for_the_practice_server_and_unknown_targets(tmp_path: Path) -> None:
    found = await Patient(tmp_path).trouble(press=Press("buy_ask"))
    assert found.text.startswith("buy_ask not pressed: main is the built-in practice server")
    found = await Patient(tmp_path).trouble(press=Press("buy_ask", "other"))
    assert (found.text, found.remedy) == ("there is no target other", "--target is one of: main")


async def test_press_is_refused_where_a_frame_needs_an_event(tmp_path: Path) -> None:
    async with HotkeyServer() as server:
        patient = live(tmp_path, server.url, frame="{action} {symbol}")
        found = await patient.trouble(press=Press("buy_ask"))
        assert found.text == "buy_ask not pressed: hotkeys.frame holds fields of an event"
        assert server.frames == []
