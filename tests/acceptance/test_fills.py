"""Hummingbot's fills through the whole daemon: its MQTT, its history over the API, a kill -9, a route and a key."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.acceptance.desk import ROOT, Desk, KeyServer, results, until
from tests.fakes.hummingbot_bot import HummingbotBot
from tests.fakes.mosquitto import Mosquitto

BOT = "pmm-20261120-101500"
OTHER = "foreign-20261120-101500"


class Api:
    """The strict fake as a process."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.fakes.hummingbot"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def do(self, what: str, *given: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": what, "with": given}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "ok" in answer, answer
        return answer["ok"]

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()
    yield found
    found.stop()


def config(broker: Mosquitto, api: Api, **more: Any) -> dict[str, Any]:
    bots = {"host": "127.0.0.1", "port": broker.port, "instances": ["pmm-*"]}
    routes = [{"when": {"source": "hummingbot"}, "do": [{"hotkeys": "main"}]}]
    return {"hummingbot": {"url": api.url, "username": "desk", "mqtt": bots}, "routes": routes} | more


def desk_of(tmp_path: Path, keys: KeyServer, **more: Any) -> Desk:
    return Desk(tmp_path, {"main": keys}, environ={"HUMMINGBOT_API_PASSWORD": "hb-secret-password"}, **more)


def connected(desk: Desk) -> bool:
    return any(peer["name"] == "hummingbot:mqtt" and peer["up"] for peer in desk.status()["peers"])


def test_100_fills_5_of_them_while_the_daemon_is_dead(
    tmp_path: Path, keys: KeyServer, broker: Mosquitto, api: Api
) -> None:
    with (
        desk_of(tmp_path, keys, **config(broker, api, routes=[])) as desk,
        HummingbotBot(broker.port, BOT) as bot,
        HummingbotBot(broker.port, OTHER) as other,
    ):
        api.do("bots.add", BOT)

        def fills(start: int, end: int) -> None:
            for n in range(start, end):
                bot.filled(f"o{n}", "BUY", "50000.5", "0.01", position="OPEN", exchange_trade_id=f"t{n}")
                api.do("bots.trade", BOT, f"t{n}", "BUY", "50000.5", "0.01")
                other.filled(f"o{n}", "BUY", "50000.5", "0.01", position="OPEN", exchange_trade_id=f"t{n}")
            bot.flush()

        until(lambda: connected(desk))
        fills(0, 50)
        until(lambda: len(desk.events()) == 50)
        desk.kill()
        fills(50, 55)
        desk.start()
        until(lambda: connected(desk))
        fills(55, 100)
        until(lambda: len(desk.events()) == 100, what=f"{len(desk.events())} events")
        time.sleep(1)
        events = desk.events()
        assert sorted(each["id"] for each in events) == sorted(f"hb:{BOT}:t{n}" for n in range(100))
        assert {(e["origin"], e["type"], len(e["deliveries"])) for e in events} == {("hummingbot", "entry", 0)}
        refused = 'deskhand_events_total{source="hummingbot",status="refused",type="unknown"}'
        assert desk.metrics()[refused] >= 45
        assert not keys.frames
        assert api.do("get", "violations") == []
        assert "GET /bot-orchestration/{bot}/history" in api.do("get", "calls")
    assert "hb-secret-password" not in desk.log()


def test_a_route_for_fills_presses_in_time_and_an_old_fill_does_not(
    tmp_path: Path, keys: KeyServer, broker: Mosquitto, api: Api
) -> None:
    with desk_of(tmp_path, keys, **config(broker, api)) as desk, HummingbotBot(broker.port, BOT) as bot:
        until(lambda: connected(desk))
        bot.filled("o1", "BUY", "100", "1", position="OPEN", exchange_trade_id="t1")
        keys.wait(1)
        bot.filled("o2", "SELL", "101", "1", position="CLOSE", exchange_trade_id="t2")
        keys.wait(2)
        old = int(time.time()) - 400
        bot.filled("o3", "BUY", "100", "1", position="OPEN", exchange_trade_id="t3", at=old)
        bot.filled("o3", "SELL", "100", "1", position="CLOSE", exchange_trade_id="t4", at=old)
        until(lambda: len(desk.events()) == 4)
        for name in ("t3", "t4"):
            ((result, reason),) = results(desk.ended(f"hb:{BOT}:{name}"))
            assert result == "expired", reason
        assert desk.event(f"hb:{BOT}:t2")["trade"] == "o1"
        assert keys.frames == ["buy_ask", "sell_all_bid"]
        # Never back to Hummingbot: not as a route, and without one not at all.
        answer = desk.reload(
            routes=[{"when": {"source": "hummingbot"}, "do": [{"hummingbot": "stop_bot", "bot": "pmm"}]}]
        )
        assert "only hotkeys may" in answer["problems"][0]


def test_the_fill_of_an_order_of_ours_is_what_the_order_was_for(
    tmp_path: Path, keys: KeyServer, broker: Mosquitto, api: Api
) -> None:
    market = {"account": "master_account", "connector": "hyperliquid_perpetual", "pair": "{symbol}"}
    order = {"hummingbot": "place_order", **market, "side": "{side}", "amount": "{quantity}"}
    routes = [{"when": {"type": ["entry", "tp1"]}, "do": [order]}]
    routes += [{"when": {"type": "sl"}, "do": [{"hummingbot": "close_position", **market}]}]
    with desk_of(tmp_path, keys, **config(broker, api, routes=routes)) as desk, HummingbotBot(broker.port, BOT) as bot:
        until(lambda: connected(desk))
        said = [results(desk.done(kind, symbol="BTC-USD", quantity=amount, trade_id="my trade"))[0][1]
                for kind, amount in (("entry", 1), ("tp1", "0.25"), ("sl", 1))]  # fmt: skip
        assert said[2] == "closed 0.75 long"
        ids = [row["order_id"] for row in api.do("orders")]
        desk.kill()  # it is on record
        desk.start()
        until(lambda: connected(desk))
        for number, order_id in enumerate(ids):
            position = "CLOSE" if number else "OPEN"
            side: Literal["BUY", "SELL"] = "SELL" if number else "BUY"
            bot.filled(order_id, side, "100", "0.2", position=position, exchange_trade_id=f"t{number}")
        until(lambda: len(desk.events()) == 6)
        fills = [desk.event(f"hb:{BOT}:t{number}") for number in range(3)]
        assert [(each["type"], each["trade"]) for each in fills] == [
            ("entry", "my trade"), ("tp1", "my trade"), ("sl", "my trade"),
        ]  # fmt: skip
        assert all(each["deliveries"] == [] for each in fills)


def test_another_broker_after_a_reload(tmp_path: Path, keys: KeyServer, broker: Mosquitto, api: Api) -> None:
    second = Mosquitto(tmp_path / "second").start()
    try:
        with desk_of(tmp_path, keys, **config(broker, api)) as desk, HummingbotBot(second.port, BOT) as bot:
            until(lambda: connected(desk))
            values = config(second, api)["hummingbot"]
            assert desk.reload(hummingbot=values)["status"] == "reloaded"
            until(lambda: connected(desk) and "deskhand-ear" in second.log())
            bot.filled("o1", "BUY", "100", "1", position="OPEN", exchange_trade_id="t1")
            keys.wait(1)
            assert desk.reload(hummingbot=values | {"mqtt": {}})["status"] == "reloaded"
            assert not any(peer["name"] == "hummingbot:mqtt" for peer in desk.status()["peers"])
            until(lambda: "deskhand-ear" in second.log() and "disconnected" in second.log())
    finally:
        second.stop()
