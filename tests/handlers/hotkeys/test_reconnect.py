import asyncio
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from daemon.events import TradeEvent
from daemon.exposition import render
from daemon.logs.peer import FLAPS
from daemon.metrics import Metrics
from daemon.settings import HotkeySettings
from handlers.hotkeys.client import HotkeyTarget
from handlers.hotkeys.dial import Dialer
from handlers.hotkeys.link import Link
from tests.fakes.hotkey_server import Habits, HotkeyServer
from tests.fakes.listener import listener
from tests.handlers.hotkeys.support import ServerProcess, lane, until


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("connect", ["warm", "persistent", "per_action"])
async def test_refused_then_there(connect: str, lines: list[str]) -> None:
    port = _free_port()
    async with lane(f"ws://127.0.0.1:{port}/", connect) as desk:
        desk.target.want(urgent=False)
        await until(lambda: desk.target.reason() == "Connection refused")
        assert not desk.target.up
        async with HotkeyServer(port=port) as server:
            await desk.press_when_ready("buy_ask")
            await desk.confirmed(1)
            assert server.frames == ["buy_ask"]
            await until(lambda: desk.target.up)
            told = [line for line in lines if "WARNING" in line or "is back after" in line]
            assert "Connection refused" in told[0]
            assert "is back after" in told[1]


async def test_the_metric_follows() -> None:
    metrics = Metrics()
    async with HotkeyServer() as server:
        target = HotkeyTarget("main", server.url, HotkeySettings(), metrics)
        await target.start()
        await until(lambda: b'deskhand_peer_up{peer="hotkeys:main"} 1.0' in render(metrics))
        await server.stop()
        await until(lambda: b'deskhand_peer_up{peer="hotkeys:main"} 0.0' in render(metrics))
        await target.stop()


async def test_somebody_waiting_shortens_the_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.hotkeys.keeper.FIRST_S", 30.0)
    monkeypatch.setattr("handlers.hotkeys.keeper.LONGEST_S", 30.0)
    port = _free_port()
    async with lane(f"ws://127.0.0.1:{port}/") as desk:
        await until(lambda: desk.target.reason() == "Connection refused")
        async with HotkeyServer(port=port):
            await desk.ready()  # long before the 15 s that the back-off would take at least


async def test_one_attempt_per_100_ms_however_much_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.hotkeys.keeper.FIRST_S", 30.0)
    async with HotkeyServer(Habits(reject=503)) as server, lane(server.url) as desk:
        start = time.monotonic()

        def ten() -> bool:
            desk.target.want(urgent=True)
            return server.opened >= 10

        await until(ten)
        assert time.monotonic() - start > 0.7, "two at first, and each later one 0.1 s after the one before"


async def test_one_want_keeps_pauses_below_250_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.hotkeys.keeper.FIRST_S", 30.0)
    async with HotkeyServer(Habits(reject=503)) as server, lane(server.url) as desk:
        pauses: list[float] = []
        loop, keeper = asyncio.get_running_loop(), desk.target._keeper
        desk.target.changed = lambda: pauses.append(keeper._retry_at - loop.time())
        desk.target.want(urgent=False)
        await until(lambda: server.opened >= 5)
        assert max(pauses) < 0.26


@pytest.mark.parametrize(
    ("habits", "reason"),
    [
        (Habits(reject=403), "HTTP 403 instead of a WebSocket"),
        (Habits(reject=200), "HTTP 200 instead of a WebSocket"),
        (Habits(slow_handshake=-1), "no answer to the handshake within 0.3 s"),
    ],
)
async def test_reasons_in_words(habits: Habits, reason: str) -> None:
    async with HotkeyServer(habits) as server, lane(server.url, step_timeout_s=0.3) as desk:
        await until(lambda: desk.target.reason() == reason)
        assert desk.target.capacity(urgent=True) == 0


async def test_a_path_the_server_refuses_and_no_credentials_in_words(lines: list[str]) -> None:
    async with HotkeyServer() as server, lane(f"ws://u:hunter2@127.0.0.1:{server.port}/other") as desk:
        await until(lambda: desk.target.reason() == "HTTP 404 instead of a WebSocket")
        assert server.headers["Authorization"].startswith("Basic ")
        assert not any("hunter2" in line or "u:" in line for line in lines)


async def test_a_name_nobody_knows() -> None:
    async with lane("ws://no-such-host.invalid:8765/", step_timeout_s=5) as desk:
        await until(lambda: desk.target.reason() == "host name not resolved", 10)


@pytest.mark.parametrize("name", ["desk..local", "x" * 64 + ".local"])
async def test_a_name_that_nobody_can_have(name: str) -> None:
    async with lane(f"ws://{name}:8765/") as desk:
        await until(lambda: desk.target.reason() == "host name not resolved", 10)
        assert desk.target.down_s >= 0
        assert not desk.target.up


async def test_a_mistake_of_ours_in_one_attempt_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    async def mistaken(*_: object) -> None:
        raise ValueError("never thought of")

    async with HotkeyServer() as server:
        dial = Dialer.dial
        monkeypatch.setattr(Dialer, "dial", mistaken)
        async with lane(server.url) as desk:
            await until(lambda: desk.target.reason() == "a mistake of ours: ValueError")
            assert any("a mistake of ours" in line and "ERROR" in line for line in lines)
            monkeypatch.setattr(Dialer, "dial", dial)
            await until(lambda: desk.target.up)


async def test_a_name_server_that_hangs_keeps_no_other_target_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one cannot be made to hang here: its library's call stands still for one name."""
    real, asked, answered, dial, dials = socket.getaddrinfo, [], threading.Event(), Dialer.dial, []

    def slow(host: Any, *args: Any, **options: Any) -> Any:
        if host == "far.invalid" and not options.get("flags"):
            asked.append(threading.current_thread().name)
            answered.wait(20)
        return real(host, *args, **options)

    def counted(dialer: Dialer, listener: Any) -> Any:
        dials.append(dialer)
        return dial(dialer, listener)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(Dialer, "dial", counted)
    try:
        async with HotkeyServer() as server, lane("ws://far.invalid:8765/", step_timeout_s=0.05) as far:
            await until(lambda: "no answer from the name server" in far.target.reason())

            def many() -> bool:
                far.target.want(urgent=True)
                return len(dials) >= 8

            await until(many)  # attempts that give up
            async with lane(f"ws://localhost:{server.port}/") as near:
                await near.press_when_ready("key", urgent=True)
                await near.confirmed(1)
            assert len(asked) == 1, "one question at a time"
    finally:
        answered.set()


@pytest.mark.parametrize(
    ("said", "stay", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", True, "not a WebSocket server"),
        (b"HTTP/1.1 101 Sure\r\n\r\n", True, "not a WebSocket server"),
        (b"HTTP/1.1 500 Oops\r\n", True, "HTTP 500 instead of a WebSocket"),
        (b"HTTP/1.1 xyz\r\n", True, "not a WebSocket server"),
        (b"", False, "the server closed the connection"),
        (b"x" * 1_000_000, True, "the server sent more than 64 KiB"),
    ],
)
async def test_something_else_listens_there(said: bytes, stay: bool, reason: str) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        if not stay:
            writer.close()

    async with listener(speak) as port, lane(f"ws://127.0.0.1:{port}/", step_timeout_s=1) as desk:
        await until(lambda: desk.target.reason() in {reason, "not a WebSocket server", "Connection reset by peer"})


@pytest.mark.parametrize("connect", ["warm", "persistent"])
async def test_no_key_waits_for_back_off_after_a_clean_close(connect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.hotkeys.keeper.FIRST_S", 30.0)
    monkeypatch.setattr("handlers.hotkeys.keeper.PROVEN_S", 0.05)
    async with HotkeyServer(Habits(idle_close=0.5)) as server, lane(server.url, connect) as desk:
        await until(lambda: desk.target.capacity(urgent=False))  # and no `want`: it would shorten the back-off
        first = server.opened
        await until(lambda: server.opened >= first + 2)
        await until(lambda: desk.target.capacity(urgent=False))


async def test_a_server_that_vanishes_between_keys(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "keys") as server:
        async with lane(server.url) as desk:
            await desk.press_when_ready("buy_ask")
            await desk.confirmed(1)
            server.kill()
            await until(lambda: desk.target.reason() == "Connection refused")
            with ServerProcess(tmp_path / "more", port=server.port) as again:
                await desk.press_when_ready("sell_ask")
                await desk.confirmed(2)
                assert again.frames() == ["sell_ask"]


@pytest.mark.parametrize("connect", ["warm", "persistent"])
@pytest.mark.parametrize(
    "habits",
    [Habits(accept_then_close=True), Habits(slow_handshake=0.03, idle_close=0.02)],
    ids=["at once", "while the next one comes about"],
)
async def test_a_server_that_accepts_and_closes_meets_back_off(connect: str, habits: Habits) -> None:
    async with HotkeyServer(replace(habits)) as server, lane(server.url, connect) as desk:
        await until(lambda: desk.target.reason().startswith("closed at once"))
        await asyncio.sleep(1.0)
        assert server.opened <= 16
        server.habits = Habits()
        await desk.press_when_ready("buy_ask")
        await desk.confirmed(1)


async def test_a_key_that_was_served_ends_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.hotkeys.keeper.FIRST_S", 30.0)
    async with HotkeyServer() as server, lane(server.url) as desk:
        await desk.both_ready()
        server.habits = Habits(reject=503)
        desk.press("buy_ask")
        await until(lambda: desk.target._keeper._retry_at)
        server.habits = Habits()
        desk.press("sell_ask")
        await desk.confirmed(2)
        await desk.both_ready()


async def test_a_server_that_comes_and_goes_does_not_fill_the_log(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.logs.peer.STEADY_S", 0.4)
    monkeypatch.setattr("handlers.hotkeys.keeper.LONGEST_S", 0.1)
    async with HotkeyServer(Habits(accept_then_close=True)) as server, lane(server.url) as desk:
        await until(lambda: sum(line.startswith("DEBUG [Hotkey] main is down") for line in lines) >= 5)
        assert sum(line.startswith("WARNING") for line in lines) == FLAPS
        server.habits.accept_then_close = False
        await until(lambda: lines[-1].startswith("INFO [Hotkey] main is back after"))
        assert desk.target.up
        assert sum(line.startswith("INFO") for line in lines) == FLAPS + 1


async def test_a_key_that_was_sent_carries_its_event(lines: list[str]) -> None:
    found: list[dict[str, object]] = []
    sink = logger.add(lambda line: found.append(line.record["extra"]), filter=lambda r: "Sent" in r["message"])
    event = TradeEvent.model_validate({"type": "sl", "symbol": "AAPL", "id": "e1", "ts": 1.0e9, "trade_id": "m-1"})
    async with HotkeyServer() as server, lane(server.url) as desk:
        await desk.ready()
        desk.press("buy_ask", event=event)
        await desk.confirmed(1)
    logger.remove(sink)
    assert found == [{"event_id": "e1", "trade_id": "m-1", "symbol": "AAPL", "handler": "hotkeys"}]
    assert "INFO [Hotkey] Sent: buy_ask" in lines


async def test_a_connection_opened_for_nobody_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.hotkeys.keeper.PING_S", 0.1)
    monkeypatch.setattr("handlers.hotkeys.keeper.WANTED_S", 0.05)
    async with HotkeyServer() as server, lane(server.url, "per_action") as desk:
        await desk.ready()
        await until(lambda: not server.connections)
        assert server.opened == 1
        await desk.press_when_ready("buy_ask")
        await desk.confirmed(1)


async def test_idle_connections_are_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.hotkeys.keeper.PING_S", 0.05)
    async with HotkeyServer(Habits(idle_close=1.0)) as server, lane(server.url) as desk:
        await desk.both_ready()
        await until(lambda: server.pings >= 48)  # of two connections, so 1.2 s at least
        assert server.opened == 2


async def test_stop_while_connecting() -> None:
    async with HotkeyServer(Habits(slow_handshake=-1)) as server, lane(server.url) as desk:
        await until(lambda: server.opened == 2)
        assert desk.target.reason() == "connecting"


@pytest.mark.parametrize("when", ["__init__", "connection_made"])
async def test_stop_in_the_very_turn_of_the_handshake(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's answer is read before whoever opens the connection is woken; uvloop then cuts it without a word."""
    stops: list[asyncio.Task[None]] = []

    def stopping(name: str, plain: Callable[..., None]) -> Callable[..., None]:
        def meanwhile(link: Link, *args: Any) -> None:
            plain(link, *args)
            if when == name and not stops:
                stops.append(asyncio.create_task(target.stop()))
            if name == "connection_made":
                select.select([link._sock], [], [], 5)

        return meanwhile

    for name in ("__init__", "connection_made"):
        monkeypatch.setattr(Link, name, stopping(name, getattr(Link, name)))
    monkeypatch.setattr("handlers.hotkeys.link.BUFFER_BYTES", 0)  # uvloop writes at once what does not fit in there
    with ServerProcess(tmp_path / "log") as server:
        target = HotkeyTarget("main", server.url, HotkeySettings())
        await target.start()
        await until(lambda: stops)
        async with asyncio.timeout(3):
            await stops[0]
        assert not target._keeper.links
