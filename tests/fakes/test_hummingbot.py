"""The fake itself: it refuses what the real one refuses, remembers what no good client does, and speaks over MQTT."""

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hummingbot import HummingbotServer
from tests.fakes.hummingbot.contract import ROUTES
from tests.fakes.hummingbot.server import _TABLE
from tests.fakes.hummingbot_bot import HummingbotBot, event_bytes, fill
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.mqtt_peer import MqttPeer

ORDER = {
    "account_name": "master_account",
    "connector_name": "hyperliquid_perpetual",
    "trading_pair": "BTC-USD",
    "trade_type": "BUY",
    "amount": "0.1",
    "price": "59000",
}


async def ask(
    server: HummingbotServer, method: str, path: str, body: Any = None, *, login: bool = True, head: str = ""
) -> tuple[int, Any]:
    """One raw request; the status and the body, as JSON if it is that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    data = b"" if body is None else json.dumps(body).encode()
    kind = "content-type: application/json\r\n" if data else ""
    basic = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
    auth = f"authorization: Basic {basic}\r\n" if login else ""
    writer.write(
        f"{method} {path} HTTP/1.1\r\nconnection: close\r\n{auth}{kind}{head}".encode()
        + f"content-length: {len(data)}\r\n\r\n".encode()
        + data
    )
    answer = await reader.read()
    writer.close()
    top, _, rest = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(rest) if b"application/json" in top else rest.decode()


async def until(condition: Callable[[], object], limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():  # other threads and processes set no event
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0.01)


def test_every_route_of_the_contract_is_served() -> None:
    assert set(_TABLE) == {route.key for route in ROUTES}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 404),
        ("GET", "/accounts", 404),
        ("POST", "/executors", 404),
        ("POST", "/bot-orchestration/b/stop", 404),
        ("POST", "/bot-orchestration/b/halt/now", 404),
        ("GET", "/market/price?connector=x", 404),
        ("DELETE", "/accounts/", 405),
    ],
)
async def test_what_is_not_in_the_contract(method: str, path: str, status: int) -> None:
    async with HummingbotServer() as server:
        assert (await ask(server, method, path))[0] == status
        assert len(server.violations) == 1
        with pytest.raises(AssertionError):
            server.clean()


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        ({"trade_type": "buy"}, "literal_error", "trade_type"),
        ({"order_type": "limit"}, "literal_error", "order_type"),
        ({"amount": "0"}, "greater_than", "amount"),
        ({"amount": "x"}, "decimal_parsing", "amount"),
        ({"amount": None}, "decimal_type", "amount"),
        ({"account_name": 7}, "string_type", "account_name"),
    ],
)
async def test_a_wrong_field_is_a_422_as_fastapi_says_it(change: dict[str, Any], kind: str, field: str) -> None:
    async with HummingbotServer() as server:
        status, answer = await ask(server, "POST", "/trading/orders", ORDER | change)
        assert status == 422
        (error,) = answer["detail"]
        assert (error["type"], error["loc"]) == (kind, ["body", field])
        assert {"msg", "input"} <= error.keys()
        assert server.violations


async def test_missing_fields_and_no_body() -> None:
    async with HummingbotServer() as server:
        status, answer = await ask(server, "POST", "/bot-orchestration/stop-bot", {})
        assert (status, answer["detail"][0]["type"]) == (422, "missing")
        assert (await ask(server, "POST", "/portfolio/state"))[0] == 422
        status, answer = await ask(server, "POST", "/accounts/add-account", {"account_name": "x"})
        assert (status, answer["detail"][0]["loc"]) == (422, ["query", "account_name"])


async def test_floats_work_and_are_remembered() -> None:
    async with HummingbotServer() as server:
        status, answer = await ask(server, "POST", "/trading/orders", ORDER | {"amount": 0.1})
        assert (status, answer["amount"]) == (201, "0.1")
        assert not server.violations
        with pytest.raises(AssertionError, match="floats"):
            server.clean()


async def test_unknown_fields_are_ignored_and_remembered() -> None:
    async with HummingbotServer() as server:
        body = {"bot_name": "b", "script_file": "x.py", "config": {}}
        assert (await ask(server, "POST", "/bot-orchestration/start-bot", body))[0] == 200
        assert sorted(server.violations) == [
            "POST /bot-orchestration/start-bot: unknown body field config",
            "POST /bot-orchestration/start-bot: unknown body field script_file",
        ]
        server.traps.ignores_unknown = False
        assert (await ask(server, "POST", "/bot-orchestration/start-bot", body))[0] == 422


async def test_only_the_root_needs_no_login() -> None:
    async with HummingbotServer() as server:
        assert (await ask(server, "GET", "/", login=False))[0] == 200
        status, answer = await ask(server, "GET", "/bot-orchestration/mqtt", login=False, head="x-api-key: k\r\n")
        assert (status, answer) == (401, {"detail": "Not authenticated"})
        wrong = f"authorization: Basic {base64.b64encode(b'desk:wrong').decode()}\r\n"
        status, answer = await ask(server, "GET", "/accounts/", login=False, head=wrong)
        assert (status, answer) == (401, {"detail": "Incorrect username or password"})
        assert not server.violations, "a wrong password breaks no contract"


async def test_money_on_a_used_connection_is_a_violation() -> None:
    async with HummingbotServer() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        basic = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
        data = json.dumps(ORDER).encode()
        head = f"authorization: Basic {basic}\r\ncontent-type: application/json\r\n"
        writer.write(f"GET / HTTP/1.1\r\n{head}\r\n".encode())
        writer.write(f"POST /trading/orders HTTP/1.1\r\n{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        await until(lambda: len(server.asked) == 2)
        writer.close()
        del reader
        assert server.violations == ["POST /trading/orders: money moved on a connection that was used before"]


async def test_a_day_of_a_bot() -> None:
    async with HummingbotServer() as server:
        server.state.controller_configs["pmm"] = {"id": "pmm"}
        server.habits.starting_s = 20
        body = {"instance_name": "mm", "credentials_profile": "master_account", "controllers_config": ["pmm.yml"]}
        _, answer = await ask(server, "POST", "/bot-orchestration/deploy-v2-controllers", body)
        name = answer["unique_instance_name"]

        async def look() -> tuple[str, bool, str] | None:
            _, answer = await ask(server, "GET", "/bot-orchestration/status")
            row = answer["data"].get(name)
            return row and (row["status"], row["recently_active"], row["source"])

        assert await look() == ("idle", False, "docker")
        server.pass_time(25)
        assert await look() == ("running", True, "docker")
        server.bots.cut()
        server.pass_time(31)
        assert await look() == ("idle", False, "docker")
        server.bots.join()
        assert await look() == ("running", True, "docker")
        await server.restart()
        assert await look() == ("running", True, "docker")
        server.bots.kill(name)
        server.pass_time(5)
        assert await look() == ("running", True, "mqtt"), "still in the server's memory"
        server.pass_time(30)
        assert await look() is None
        server.clean()


async def test_as_a_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fakes.hummingbot", "--log", str(tmp_path / "log"), "--off", "no_health"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(  # noqa: ASYNC220  # it is waited for at once
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        server = HummingbotServer()
        server.port = int(process.stdout.readline())

        def do(what: str, *given: Any) -> Any:
            process.stdin.write(json.dumps({"do": what, "with": given}) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return json.loads(process.stdout.readline())  # type: ignore[union-attr]

        assert "ok" in do("bots.add", "b-1")
        assert do("set", "habits.orders", "fill") == {"ok": "fill"}
        assert "error" in do("bots.nothing")
        _, answer = await ask(server, "GET", "/bot-orchestration/status")
        assert list(answer["data"]) == ["b-1"]
        assert (await ask(server, "GET", "/health"))[0] == 200
        assert do("get", "violations") == {"ok": []}
        process.stdin.close()
        assert process.wait(10) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", "/bot-orchestration/status", 200),
        ("GET", "/health", 200),
    ]


async def test_bots_speak_over_a_real_broker_and_the_server_hears(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    await asyncio.to_thread(broker.start)
    try:
        with MqttPeer(broker.port, listen="hbot/#") as peer:
            async with HummingbotServer(broker=broker.port) as server:
                server.habits.hb_s = 0.1
                server.bots.add("b-1")
                await until(lambda: {"hbot/b-1/hb", "hbot/b-1/status_updates"} <= peer.heard.keys())
                assert json.loads(peer.heard["hbot/b-1/status_updates"][0])["msg"] == "online"
                await until(lambda: "b-1" in server.relay.voices)
                server.relay.voices["b-1"].filled("o-1", "BUY", "60000", "0.1", position="OPEN", exchange_trade_id="x1")
                await until(lambda: "hbot/b-1/events" in peer.heard)
                peer.publish("{}", "hbot/ghost/hb")
                await until(lambda: "ghost" in server.bots.listed())
                assert "hbot/ghost/hb" in server.relay.strangers
                await asyncio.to_thread(broker.stop)
                await until(lambda: not server.bots.broker_up)
                _, answer = await ask(server, "GET", "/bot-orchestration/mqtt")
                assert answer["data"]["mqtt_connected"] is True, "it lies"
                _, answer = await ask(server, "POST", "/bot-orchestration/stop-bot", {"bot_name": "b-1"})
                assert answer["response"] == {"success": False}
                await asyncio.to_thread(broker.start)
                await until(lambda: server.bots.broker_up)
    finally:
        await asyncio.to_thread(broker.stop)


async def test_a_bot_answers_commands_as_the_engine_does(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    await asyncio.to_thread(broker.start)
    try:
        with MqttPeer(broker.port, listen="reply/#") as peer, HummingbotBot(broker.port, "b-1") as bot:
            bot.trades.append({"trade_id": "t"})
            for command in ("start", "history"):
                peer.publish(
                    json.dumps({"header": {"reply_to": f"reply/{command}"}, "data": {}}), f"hbot/b-1/{command}"
                )
            await until(lambda: len(peer.heard) == 2)
            start, history = (json.loads(peer.heard[f"reply/{name}"][0])["data"] for name in ("start", "history"))
            assert start["status"] == 400
            assert "no attribute 'strategy'" in start["msg"]
            assert history["trades"] == [{"trade_id": "t"}]
            assert sorted(bot.commands) == ["history", "start"]
    finally:
        await asyncio.to_thread(broker.stop)


def test_a_fill_s_bytes() -> None:
    event = json.loads(event_bytes("OrderFilled", fill("o", "SELL", "1.5", "2", "A-B", "CLOSE", "x"), 1795168800))
    assert (event["timestamp"], event["type"]) == (1795168800, "OrderFilled")
    assert event["data"]["trade_type"] == "TradeType.SELL"
    assert event["data"]["trade_fee"]["percent"] == "0.0002"
    assert event["data"]["price"] == 1.5
