import asyncio
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from daemon.settings import HotkeySettings
from handlers.hotkeys.client import HotkeyTarget
from tests.fakes.hotkey_server import Habits, HotkeyServer
from tests.handlers.hotkeys.support import ENTRY, Lane, ServerProcess, lane, until

TRIPLE = ("sell_ask", "cancel_all", "break_even")


@pytest.mark.parametrize("connect", ["warm", "persistent", "per_action"])
async def test_keys_arrive_in_order_and_are_confirmed(connect: str, lines: list[str]) -> None:
    async with HotkeyServer() as server, lane(server.url, connect) as desk:
        await desk.press_when_ready(*TRIPLE)
        await desk.confirmed(3)
        assert server.frames == list(TRIPLE)
        assert not server.refused
        assert [line for line in lines if "Sent" in line] == [f"INFO [Hotkey] Sent: {step}" for step in TRIPLE]


async def test_warm_takes_a_connection_of_its_own_for_each_key_and_opens_the_next_at_once() -> None:
    async with HotkeyServer() as server, lane(server.url) as desk:
        await desk.both_ready()
        assert server.opened == 2
        assert desk.target.up
        desk.press("buy_ask")
        assert len(desk.target._keeper.ready) == 1
        await desk.confirmed(1)
        await desk.both_ready()
        assert server.opened == 3
        await until(lambda: len(server.connections) == 2)
        assert len({press.connection for press in server.presses}) == 1


@pytest.mark.parametrize("connect", ["warm", "per_action"])
async def test_without_a_gap_keys_still_arrive_in_order(connect: str) -> None:
    async with HotkeyServer() as server, lane(server.url, connect) as desk:
        keys = [f"key{n}" for n in range(100)]
        await desk.press_when_ready(*keys)
        await desk.confirmed(100)
        assert server.frames == keys


@pytest.mark.parametrize("urgent", [True, False])
async def test_a_slow_confirmation_holds_the_next_key_back(
    urgent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a server that stood still might read `b`, on another connection, before `a`."""
    monkeypatch.setattr("handlers.hotkeys.client.STALL_S", 30.0)
    with ServerProcess(tmp_path / "log") as server:
        async with lane(server.url, step_timeout_s=30) as desk:
            await desk.both_ready()
            server.freeze()
            desk.press("a")
            asyncio.get_running_loop().call_later(0.1, server.thaw)
            await desk.ready(urgent=urgent)
            assert desk.settled == [("a", None)]
            desk.press("b")
            await desk.confirmed(2)
        assert server.frames() == ["a", "b"]


async def test_per_action_opens_nothing_before_it_is_wanted() -> None:
    async with HotkeyServer() as server, lane(server.url, "per_action") as desk:
        assert desk.target.capacity(urgent=False) == 0
        await asyncio.sleep(0)
        assert server.opened == 0
        await desk.press_when_ready("buy_ask", "sell_ask")
        await desk.confirmed(2)
        assert server.opened == 2
        assert [press.connection for press in server.presses] == [1, 2]


async def test_persistent_sends_a_flush_on_one_connection_with_one_ping_behind() -> None:
    async with HotkeyServer() as server, lane(server.url, "persistent") as desk:
        await desk.ready()
        assert desk.target.capacity(urgent=False) >= 1000
        keys = [f"key{n}" for n in range(500)]
        desk.press(*keys)
        await desk.confirmed(500)
        assert [step for step, _ in desk.settled] == keys
        assert server.frames == keys
        assert server.opened == 1
        assert server.pings == 1


async def test_persistent_keeps_one_ping_outstanding_and_asks_again_behind_later_keys() -> None:
    async with HotkeyServer() as server, lane(server.url, "persistent") as desk:
        await desk.ready()
        for key in ("a", "b", "c"):
            desk.press(key)
        await desk.confirmed(3)
        assert server.pings == 2
        assert server.frames == ["a", "b", "c"]


async def test_the_handshake_is_plain() -> None:
    async with HotkeyServer() as server, lane(server.url) as desk:
        await desk.ready()
        names = {name.lower() for name in server.headers}
        assert names == {"host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version"}


async def test_nagle_is_off() -> None:
    async with HotkeyServer() as server, lane(server.url) as desk:
        await desk.ready()
        for link in desk.target._keeper.links:
            assert link._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_proxy_variables_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    async with HotkeyServer() as server, lane(server.url) as desk:
        await desk.ready()


async def test_names_and_ipv6() -> None:
    async with HotkeyServer() as server, lane(f"ws://localhost:{server.port}") as desk:
        await desk.press_when_ready("buy_ask")
        await desk.confirmed(1)
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    async with HotkeyServer(host="::1") as server, lane(server.url) as desk:
        await desk.press_when_ready("buy_ask")
        await desk.confirmed(1)


async def test_wss_with_a_checked_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(  # noqa: ASYNC221  # before anything runs
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} -days 2 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost",
        shell=True,
        check=True,
        capture_output=True,
    )
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate, key)
    async with HotkeyServer(tls=serving) as server:
        url = f"wss://localhost:{server.port}/"
        async with lane(url) as desk:
            await until(lambda: "certificate refused" in desk.target.reason())
            assert not server.frames
        trusting = ssl.create_default_context(cafile=str(certificate))
        target = HotkeyTarget("main", url, HotkeySettings(), tls=trusting)
        await target.start()
        desk = Lane(target)
        await desk.press_when_ready("buy_ask", "sell_ask")
        await desk.confirmed(2)
        await target.stop()
        assert server.frames == ["buy_ask", "sell_ask"]


async def test_sending_without_capacity_is_a_mistake() -> None:
    async with HotkeyServer(Habits(slow_handshake=-1)) as server, lane(server.url) as desk:
        with pytest.raises(RuntimeError):
            desk.target.send("buy_ask", ENTRY, lambda _: None)


@pytest.mark.parametrize("connect", ["warm", "persistent"])
async def test_stop_waits_a_moment_for_confirmations(connect: str) -> None:
    async with HotkeyServer() as server:
        async with lane(server.url, connect) as desk:
            await desk.ready()
            desk.press("buy_ask")
        assert desk.settled == [("buy_ask", None)]
        assert server.frames == ["buy_ask"]
        assert desk.target.capacity(urgent=True) == 0
        assert desk.target.reason() == "stopping"


async def test_stop_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.hotkeys.client.LAST_WORDS_S", 0.1)
    async with HotkeyServer(Habits(no_pong=True)) as server, lane(server.url, "persistent") as desk:
        await desk.ready()
        desk.press("buy_ask")
        await desk.target.stop()
        assert desk.settled == [("buy_ask", "stopped before the server confirmed it")]


async def test_a_flush_is_one_write() -> None:
    async with HotkeyServer() as server, lane(server.url, "persistent") as desk:
        await desk.ready()
        (link,) = desk.target._keeper.ready
        writes: list[bytes] = []

        class Counting:
            def __init__(self, transport: asyncio.Transport) -> None:
                self._transport = transport

            def write(self, data: bytes) -> None:
                writes.append(data)
                self._transport.write(data)

            def __getattr__(self, name: str) -> object:
                return getattr(self._transport, name)

        assert link.transport
        link.transport = Counting(link.transport)  # type: ignore[assignment]
        desk.press("a", "b", "c")
        assert len(writes) == 1
        await desk.confirmed(3)
        assert len(writes) == 1
