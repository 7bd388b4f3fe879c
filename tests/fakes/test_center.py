"""The fake itself: it refuses what the real one refuses, counts what arrives, and misbehaves on request."""

import asyncio
import json
import signal
import socket
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.center import KEY, Center
from tests.fakes.center_habits import HABITS, config, habit
from tests.fakes.center_privacy import leaks
from tests.fakes.center_process import CenterProcess
from tests.fakes.center_wire import Json, content

START: Json = {"configId": 7, "mode": "live", "startingBankroll": 500}
TRADE: Json = {
    "runId": 101,
    "cycle": 3,
    "asset": "BTC",
    "windowDuration": "15m",
    "side": "buy",
    "outcome": "Up",
    "price": 0.55,
    "size": 12.5,
    "strategy": "MM",
}


async def ask(center: Center, path: str, body: Any = None, *, method: str = "", **headers: str) -> tuple[int, Any]:
    """One request as the known client sends it; the answer is JSON where it is."""
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Host": "x", "Content-Type": "application/json", "X-Api-Key": KEY, "Content-Length": str(len(raw))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = f"{method or ('POST' if raw else 'GET')} {path} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    reader, writer = await asyncio.open_connection("127.0.0.1", center.port)
    try:
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + raw)
        answer = await reader.read()
    finally:
        writer.close()
    told, _, said = answer.partition(b"\r\n\r\n")
    try:
        found = json.loads(said)
    except ValueError:
        found = said
    return int(told.split()[1]) if told.startswith(b"HTTP/1.1 ") else 0, found


async def post(center: Center, path: str, body: Any) -> Any:
    """What a sound request is answered."""
    status, answer = await ask(center, f"/api/bot{path}", body)
    assert status == 200, answer
    return answer


async def test_a_run_from_start_to_stop() -> None:
    async with Center() as center:
        assert await post(center, "/run/start", START) == {"runId": 101}
        assert await post(center, "/trade", TRADE) == {"tradeId": 5001}
        more = [TRADE | {"cycle": 4}, TRADE | {"cycle": 5}]
        assert await post(center, "/trade/batch", {"trades": more}) == {"tradeIds": [5002, 5003]}
        await post(center, "/trade/update", {"tradeId": 5001, "status": "filled", "fillTimestamp": "2026-11-21T10:00Z"})
        await post(center, "/run/update", {"runId": 101, "totalPnl": 1.5, "walletBalance": None})
        await post(center, "/markets/report", {"markets": [{"tokenId": "1", "asset": "BTC", "window": "15m"}]})
        answer = await post(center, "/run/stop", {"runId": 101, "status": "completed", "totalPnl": 2})
        assert answer["analysis"] == {"overallScore": 72.5}
        assert (await ask(center, "/api/bot/config"))[1] == config()
        assert (await ask(center, "/api/bot/status"))[1] == {"status": "ok"}
        run = center.runs[101]
        assert (run.status, run.mode, run.stops, run.final) == ("completed", "live", 1, {"totalPnl": 2})
        assert center.trades[5001].status == "filled"
        assert [trade.batch for trade in center.trades.values()] == [0, 1, 1]
        assert not center.violations
        assert not center.doubled()
        assert len(center.calls) == 9
        assert json.dumps(center.summary())


_LIST = "the body is trades and nothing else, a list that is not empty"
WRONG: list[tuple[str, Any, str]] = [
    ("/run/start", START | {"configId": 7.0}, "configId must be a whole number"),
    ("/run/start", START | {"configId": True}, "configId must be a whole number"),
    ("/run/start", START | {"mode": "practice"}, "mode must be one of live, dry_run"),
    ("/run/start", START | {"startingBankroll": "500"}, "startingBankroll must be a number that is not negative"),
    ("/run/start", {"configId": 7, "mode": "live"}, "startingBankroll is missing"),
    ("/run/start", START | {"starting_bankroll": 1}, "starting_bankroll is not known: snake_case"),
    ("/run/update", {"totalPnl": 1}, "runId is missing"),
    ("/run/update", {"runId": 101, "sharpe": 1}, "sharpe is not known"),
    ("/run/update", {"runId": 101, "winCount": 1.5}, "winCount must be a whole number"),
    ("/run/update", b'{"runId": 101, "totalPnl": NaN}', "NaN is not JSON"),
    ("/run/update", b'{"runId": 101, "totalPnl": -Infinity}', "-Infinity is not JSON"),
    ("/run/update", b'{"runId": 101, "totalPnl": 1e999}', "totalPnl must be a number"),
    ("/run/update", b'{"runId": 101, "runId": 101}', "a key is given twice"),
    ("/run/update", b"runId=101", "the body is not JSON"),
    ("/run/update", b"[" * 100_000, "the body is not JSON"),
    ("/run/update", [1], "the body is no object"),
    ("/run/update", {"runId": 999}, "there is no such run"),
    ("/run/stop", {"runId": 101, "status": "done"}, "status must be one of completed, stopped, error"),
    ("/run/stop", {"runId": 101, "status": "error", "positionValue": 1}, "positionValue is not known"),
    ("/trade", {k: v for k, v in TRADE.items() if k != "runId"}, "runId is missing"),
    ("/trade", TRADE | {"runId": 999}, "there is no such run"),
    ("/trade", TRADE | {"price": 55}, "price must be a number from 0 to 1"),
    ("/trade", TRADE | {"tokenId": 123}, "tokenId must be text"),
    ("/trade", TRADE | {"window_duration": "15m"}, "window_duration is not known: snake_case"),
    ("/trade/batch", {"trades": [TRADE, TRADE | {"runId": None}]}, "trades[1].runId must be a whole number"),
    ("/trade/batch", {"trades": []}, _LIST),
    (
        "/trade/batch",
        {"trades": [TRADE], "runId": 101},
        _LIST,
    ),
    ("/trade/update", {"tradeId": 1, "status": "filled"}, "there is no such trade"),
    (
        "/trade/update",
        {"tradeId": 1, "fillTimestamp": "2026-11-21T10:00"},
        "fillTimestamp must be a time in ISO 8601 with an offset",
    ),
    ("/trade/update", {"tradeId": 1, "status": "open"}, "status must be one of placed, filled, cancelled, failed"),
    ("/markets/report", {"markets": [{"tokenId": "1", "asset": "BTC"}]}, "markets[0].window is missing"),
    (
        "/markets/report",
        {"markets": [{"tokenId": "1", "asset": "B", "window": "5m", "expiresAt": 5}]},
        "markets[0].expiresAt must be text",
    ),
]


@pytest.mark.parametrize(("path", "body", "words"), WRONG)
async def test_what_is_wrong_is_refused_and_remembered(path: str, body: Any, words: str) -> None:
    async with Center() as center:
        await post(center, "/run/start", START)
        assert await ask(center, f"/api/bot{path}", body) == (400, {"error": words})
        assert [(each.path, each.words) for each in center.violations] == [(path, words)]
        assert not center.trades
        assert not center.runs[101].updates
        assert len(center.open) == 1


async def test_what_is_wrong_in_the_head() -> None:
    async with Center() as center:
        assert (await ask(center, "/api/bot/run/start", START, Content_Type="text/plain"))[0] == 400
        assert (await ask(center, "/api/bot/config", Content_Type=""))[0] == 400
        assert (await ask(center, "/api/bot/runs/start", START))[0] == 404
        assert (await ask(center, "/run/start", START))[0] == 404
        assert (await ask(center, "/api/bot/config", START))[0] == 405
        assert len(center.violations) == 5
        assert (await ask(center, "/api/bot/config", X_Api_Key="another"))[0] == 401
        assert (await ask(center, "/api/bot/config", X_Api_Key=""))[0] == 401
        assert center.refused_keys == 2
        assert not center.runs


async def test_a_stopped_run_takes_no_update_and_the_rest_is_switchable() -> None:
    stop = {"runId": 101, "status": "stopped"}
    async with Center() as center:
        await post(center, "/run/start", START)
        await post(center, "/run/stop", stop)
        assert (await ask(center, "/api/bot/run/update", {"runId": 101}))[0] == 400
        await post(center, "/run/stop", stop)
        await post(center, "/trade", TRADE)
        center.repeat_stop = center.late_trades = "refuse"
        assert (await ask(center, "/api/bot/run/stop", stop))[0] == 409
        assert (await ask(center, "/api/bot/trade", TRADE))[0] == 409
        assert center.runs[101].stops == 2
        assert len(center.violations) == 1


async def test_a_second_start_closes_refuses_or_opens() -> None:
    async with Center() as center:
        for _ in range(2):
            await post(center, "/run/start", START)
        assert [run.status for run in center.runs.values()] == ["stale", "open"]
        center.open_runs = "refuse"
        assert (await ask(center, "/api/bot/run/start", START))[0] == 409
        center.open_runs = "allow"
        await post(center, "/run/start", START)
        assert [run.id for run in center.open] == [102, 103]


async def test_what_arrives_twice_is_found_whatever_the_run() -> None:
    async with Center() as center:
        for run, size in ((101, b"12.5"), (102, b"12.50")):
            await post(center, "/run/start", START)
            raw = json.dumps(TRADE | {"runId": run}).encode().replace(b"12.5", size)
            await post(center, "/trade", raw)
        await post(center, "/trade", TRADE | {"cycle": 9, "runId": 102})
        assert center.doubled() == [content(TRADE)]


@pytest.mark.parametrize(
    ("name", "status", "body", "takes"),
    [
        ("no_content", 204, b"", True),
        ("empty", 200, b"", True),
        ("null", 200, None, True),
        ("nested", 200, {"run": {"id": 101, "status": "running"}}, True),
        ("created", 201, {"runId": 101}, True),
        ("html", 200, b"<html><body>welcome</body></html>", True),
        ("unauthorized", 401, {"error": "Unauthorized"}, False),
        ("forbidden", 403, {"error": "Forbidden"}, False),
        ("broken", 500, b"Internal Server Error", False),
        ("broken_json", 500, {"error": "database is locked"}, False),
        ("broken_after", 500, b"Internal Server Error", True),
        ("redirect", 302, b"", False),
        ("status:418", 418, {"error": "so be it"}, False),
        ("reset_before", 0, b"", False),
        ("reset_after", 0, b"", True),
        ("garbage", 0, HABITS["garbage"].raw.partition(b"\r\n\r\n")[2], True),
    ],
)
async def test_a_habit(name: str, status: int, body: Any, takes: bool) -> None:
    async with Center() as center:
        center.script("/run/start", name)
        try:
            found = await ask(center, "/api/bot/run/start", START)
        except ConnectionError:
            found = (0, b"")
        assert found == (status, body)
        assert len(center.runs) == takes
        assert len(center.asked("/run/start")) == (name != "reset_before")
        assert await post(center, "/run/start", START), "the script is over"


async def test_habits_that_take_time() -> None:
    async with Center() as center:
        center.habits["*"] = "slow:0.2"
        began = time.monotonic()
        await post(center, "/run/start", START)
        assert time.monotonic() - began > 0.19
        center.habits["/run/update"] = "hang"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await post(center, "/run/update", {"runId": 101})
        assert len(center.runs[101].updates) == 1


async def test_it_says_when_to_come_back() -> None:
    assert habit("busy").told(0.0) == [("Retry-After", "7")]
    ((_, date),) = habit("busy_date:30").told(1_000_000_000.0)
    assert parsedate_to_datetime(date).timestamp() == 1_000_000_030
    assert habit("busy_bare").told(0.0) == []


async def test_a_configuration_in_three_forms() -> None:
    assert config("json")["targetAssets"] == '["BTC", "ETH"]'
    assert config("comma")["targetAssets"] == "BTC,ETH"
    assert config("comma")["tradingBlackoutWindows"] == "[[0, 2], [22, 24]]"
    assert "id" not in config(id=None)
    assert config(pauseOrders=True)["pauseOrders"] is True


async def test_every_byte_is_kept_and_the_port_stays() -> None:
    async with Center() as center:
        await post(center, "/run/start", START)
        port = center.port
        await center.stop()
        with pytest.raises(ConnectionRefusedError):
            await post(center, "/run/start", START)
        await center.start()
        assert center.port == port
        assert list(center.runs) == [101]
        whole = b"".join(each.data for each in center.received)
        assert whole.startswith(b"POST /api/bot/run/start HTTP/1.1\r\n")
        assert whole.endswith(json.dumps(START).encode())


async def test_a_process_of_its_own(tmp_path: Path) -> None:
    with CenterProcess(tmp_path, "/status=broken") as process:
        center = Center(port=process.port)
        assert (await ask(center, "/api/bot/status"))[0] == 500
        process.habits({"/config": "hang"})
        process.steer("script", **{"/status": ["no_content"]})
        process.steer("config", lists="comma", changes={"pauseOrders": True})
        process.steer("set", open_runs="refuse")
        assert (await ask(center, "/api/bot/status"))[0] == 204
        for status in (200, 409):
            assert (await ask(center, "/api/bot/run/start", START))[0] == status
        process.habits({})
        answer = (await ask(center, "/api/bot/config"))[1]
        assert answer["targetAssets"] == "BTC,ETH"
        assert answer["pauseOrders"] is True
        summary = process.summary()
        assert [run["status"] for run in summary["runs"]] == ["open"]
        process.signal(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await ask(center, "/api/bot/status")
        process.signal(signal.SIGCONT)
        process.steer("away", for_s=0.3)
        async with asyncio.timeout(5):
            while True:
                try:
                    if (await ask(center, "/api/bot/status"))[0] == 200:
                        break
                except OSError:
                    await asyncio.sleep(0.02)
    assert [call["status"] for call in process.lines("call")][:4] == [500, 204, 200, 409]
    assert process.received().count(b"POST /api/bot/run/start") == 2
    assert b"_fake" not in process.received()


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("asset", "0x" + "ab" * 20, "a wallet address"),
        ("outcome", "ab" * 32, "a private key"),
        ("strategy", "/home/me/bot.py", "a file path"),
        ("strategy", "see ~/.config/deskhand", "a file path"),
        ("asset", f"on {socket.gethostname()}", "a host name"),
        ("asset", "at 192.168.1.30", "an address"),
        ("asset", "http://desk", "an address"),
        ("asset", KEY, "our key"),
        ("strategy", 'File "x"', "a traceback"),
    ],
)
def test_what_must_never_come_is_found(field: str, value: str, what: str) -> None:
    sound = {"asset": "BTC/USD", "outcome": "Up", "conditionId": "0x" + "5f" * 32, "tokenId": "7" * 77, "price": 0.5}
    assert leaks("/trade", {"host": "center:3000", "x-api-key": KEY}, json.dumps(sound).encode(), KEY) == []
    found = leaks("/trade/batch", {}, json.dumps({"trades": [sound | {field: value}]}).encode(), KEY)
    assert found == [f"/trade/batch: {field} holds {what}"]
    assert leaks("/trade", {"cookie": "x"}, b"", KEY) == ["/trade: an unusual header cookie"]
