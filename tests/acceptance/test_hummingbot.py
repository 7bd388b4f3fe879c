"""What routes ask of Hummingbot, with the daemon as a user runs it: done when seen, never twice, in no key's way."""

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.acceptance.desk import Desk, Json, KeyServer, results, until
from tests.acceptance.hummingbot import HummingbotProcess

PERP: Json = {"account": "master_account", "connector": "hyperliquid_perpetual", "pair": "{symbol}"}
ORDER: Json = {"hummingbot": "place_order", **PERP, "side": "{side}", "amount": "{quantity}"}
ROUTES: list[Json] = [
    {"when": {"type": "entry", "strategy": "keys"}, "do": [{"hotkeys": "main"}]},
    {"when": {"type": "entry"}, "do": [ORDER]},
    {
        "when": {"type": "sl"},
        "do": [{"hummingbot": "close_position", **PERP}, {"hummingbot": "stop_bot", "bot": "Sharp-Spread"}],
    },
]
BOT: Json = {
    "name": "Sharp Spread", "strategy": "spread", "connector": "hyperliquid_perpetual", "pair": "BTC/USD",
    "config": {"spread": 0.001, "amount_quote": "500"},
}  # fmt: skip
TRADE: Json = {"symbol": "BTC/USD", "quantity": "0.5", "trade_id": "t1"}
PLACE = "/trading/orders"
LEVERAGE = "/trading/{account}/{connector}/leverage"


@pytest.fixture
def hummingbot(tmp_path: Path) -> Iterator[HummingbotProcess]:
    server = HummingbotProcess(tmp_path).start()
    yield server
    assert server.get("violations") == []
    assert server.get("floats") == []
    server.kill()


def desk_for(folder: Path, keys: KeyServer, hummingbot: HummingbotProcess, **config: Any) -> Desk:
    more = {"routes": ROUTES, "hotkeys": {"guard": "off", "gap_ms": 0, "targets": {"main": keys.url}}} | config
    return Desk(folder, {}, hummingbot=hummingbot.config, environ=hummingbot.environ, **more)


@pytest.fixture
def desk(tmp_path: Path, keys: KeyServer, hummingbot: HummingbotProcess) -> Iterator[Desk]:
    with desk_for(tmp_path, keys, hummingbot) as found:
        yield found


def placed(hummingbot: HummingbotProcess) -> list[Json]:
    """Orders as they were sent."""
    return [each for each in hummingbot.asked if (each["method"], each["path"]) == ("POST", PLACE)]


def rows(hummingbot: HummingbotProcess) -> list[Json]:
    """Orders as they are there."""
    found: list[Json] = hummingbot.do("orders")
    return found


def held(hummingbot: HummingbotProcess) -> float:
    return float(hummingbot.do("exchange.position", "master_account", "hyperliquid_perpetual", "BTC-USD"))


def test_an_entry_opens_an_sl_closes_and_stops_the_bot(desk: Desk, hummingbot: HummingbotProcess) -> None:
    made = desk.request("POST", "/bots/create", BOT)
    assert made[0] == 200, made
    assert desk.request("POST", "/bots/Sharp-Spread/start")[1]["status"] == "started"
    desk.done("entry", **TRADE)
    (row,) = rows(hummingbot)
    assert (row["trading_pair"], row["trade_type"], row["status"]) == ("BTC-USD", "BUY", "FILLED")
    assert held(hummingbot) == 0.5
    code, answer = desk.post("sl", wait=60, **TRADE)
    assert (code, [d["result"] for d in answer["deliveries"]]) == (202, ["done", "done"]), answer
    assert answer["deliveries"][0]["reason"] == "closed 0.5 long"
    assert held(hummingbot) == 0
    assert desk.get("/bots/Sharp-Spread")[1]["status"] == "stopped"
    assert desk.status()["halt"]["level"] == "none"


def test_reset_after_receipt_is_found_and_never_a_second_order(desk: Desk, hummingbot: HummingbotProcess) -> None:
    hummingbot.do("habit", "reset", "POST", PLACE, "done")
    code, answer = desk.post("entry", wait=30, **TRADE)
    assert code == 202
    ((result, reason),) = results(answer)
    assert (result, reason.partition(":")[0]) == ("done", "found again")
    assert rows(hummingbot)[0]["order_id"] in reason
    assert len(placed(hummingbot)) == len(rows(hummingbot)) == 1


@pytest.mark.parametrize("arrives", [True, False], ids=["placed", "never"])
def test_kill_9_in_the_middle_is_looked_up(desk: Desk, hummingbot: HummingbotProcess, arrives: bool) -> None:
    desk.done("entry", symbol="BTC/USD", quantity="0.1", trade_id="warm")
    hummingbot.do("habit", "think_s", "POST", PLACE, 1.0)
    if not arrives:
        hummingbot.do("habit", "reset", "POST", PLACE, "lost")
    event_id = desk.post("entry", **TRADE)[1]["id"]
    until(lambda: hummingbot.get("thinking") or len(placed(hummingbot)) == 2, what="the order never got there")
    desk.kill()
    desk.start()
    ((result, reason),) = results(desk.ended(event_id, 60))
    if arrives:
        assert (result, reason.partition(":")[0]) == ("done", "found again")
        assert "interrupted by a crash" in reason
        assert held(hummingbot) == 0.6
    else:
        assert (result, reason) == ("failed", "interrupted by a crash; Hummingbot has no such order")
        assert held(hummingbot) == 0.1
    assert len(placed(hummingbot)) == 2


def test_kill_9_before_an_order_leaves_takes_no_order_just_like_it_for_ours(
    desk: Desk, hummingbot: HummingbotProcess
) -> None:
    desk.done("entry", **TRADE)
    hummingbot.do("habit", "think_s", "POST", LEVERAGE, 60.0)
    event_id = desk.post("entry", **TRADE | {"trade_id": "t2"})[1]["id"]
    until(lambda: hummingbot.get("thinking"), what="leverage was never set")
    desk.kill()
    desk.start()
    ((result, reason),) = results(desk.ended(event_id, 60))
    assert (result, reason) == ("failed", "interrupted by a crash; Hummingbot has no such order")
    assert held(hummingbot) == 0.5
    assert len(placed(hummingbot)) == 1


def test_kill_9_finds_the_order_of_an_event_that_is_allowed_to_be_old(
    tmp_path: Path, keys: KeyServer, hummingbot: HummingbotProcess
) -> None:
    with desk_for(tmp_path, keys, hummingbot, events={"max_age_s": {"entry": 7200}}) as desk:
        hummingbot.do("habit", "think_s", "POST", PLACE, 1.0)
        event_id = desk.post("entry", **TRADE, ts=time.time() - 3600)[1]["id"]
        until(lambda: hummingbot.get("thinking"), what="the order never got there")
        desk.kill()
        desk.start()
        ((result, reason),) = results(desk.ended(event_id, 60))
        assert (result, reason.partition(":")[0]) == ("done", "found again")
        assert len(placed(hummingbot)) == len(rows(hummingbot)) == 1


def test_a_position_that_cannot_be_closed_halts_entries(desk: Desk, hummingbot: HummingbotProcess) -> None:
    desk.done("entry", **TRADE)
    hummingbot.set("habits.orders", "reject")
    event_id = desk.post("sl", **TRADE)[1]["id"]
    closing = results(desk.ended(event_id, 90))[0]
    assert closing[0] == "failed"
    assert "0.5 long still open after 3 attempts" in closing[1]
    halt = desk.status()["halt"]
    assert (halt["level"], halt["owner"]) == ("entries", "hummingbot")
    assert "could not be closed" in halt["reason"]
    assert "could not be closed" in desk.log()
    assert desk.post("entry", symbol="ETH/USD", quantity=1)[0] == 409
    desk.kill()
    desk.start()
    assert desk.status()["halt"]["level"] == "entries"
    assert desk.request("POST", "/resume")[1]["level"] == "none"
    hummingbot.set("habits.orders", "rest")
    event_id = desk.post("sl", **TRADE)[1]["id"]
    assert results(desk.ended(event_id, 60))[0] == ("done", "closed 0.5 long")


def test_a_reload_brings_hummingbot_and_keeps_what_it_knows(
    tmp_path: Path, keys: KeyServer, hummingbot: HummingbotProcess
) -> None:
    with Desk(tmp_path, {"main": keys}, environ=hummingbot.environ) as desk:
        assert desk.reload(hummingbot=hummingbot.config, routes=ROUTES)["status"] == "reloaded"
        desk.done("entry", **TRADE)
        assert desk.reload(log_level="DEBUG")["status"] == "reloaded"
        # The first order is known to be another's, so that the second one is found and not the first.
        hummingbot.do("habit", "reset", "POST", PLACE, "done")
        answer = desk.done("entry", **TRADE | {"trade_id": "t2"})
        _, second = rows(hummingbot)
        assert f"found again: order {second['order_id']}" in results(answer)[0][1]
        assert desk.reload(hummingbot={"url": None}, routes=[])["status"] == "reloaded"
        assert "hummingbot:api" not in [lane["name"] for lane in desk.status()["lanes"]]


def test_an_sl_waits_for_a_hummingbot_that_is_away_over_a_kill_9(
    tmp_path: Path, keys: KeyServer, hummingbot: HummingbotProcess
) -> None:
    routes = [{"when": {"type": "sl"}, "do": [dict(ORDER), {"hummingbot": "stop_bot", "bot": "Sharp-Spread"}]}, *ROUTES]
    with desk_for(tmp_path, keys, hummingbot, routes=routes) as desk:
        assert desk.request("POST", "/bots/create", BOT)[0] == 200
        assert desk.request("POST", "/bots/Sharp-Spread/start")[1]["status"] == "started"
        desk.done("entry", **TRADE)
        hummingbot.do("stop")
        event_id = desk.post("sl", **TRADE)[1]["id"]
        until(lambda: "tried again until it is too old" in desk.log())
        assert desk.event(event_id)["deliveries"][0]["result"] is None
        desk.kill()
        desk.start()
        until(lambda: desk.log().count("tried again until it is too old") == 2)
        hummingbot.do("start")
        assert [result for result, _ in results(desk.ended(event_id, 60))] == ["done", "done"]
        assert held(hummingbot) == 0
        assert len(placed(hummingbot)) == 2
        assert desk.get("/bots/Sharp-Spread")[1]["status"] == "stopped"


def test_a_reload_cuts_off_no_call(desk: Desk, hummingbot: HummingbotProcess) -> None:
    def reloaded_amid(kind: str, path: str, instances: str) -> tuple[str, str]:
        hummingbot.do("habit", "think_s", "POST", path, 2.0)
        before = hummingbot.get("thinking")
        event_id = desk.post(kind, **TRADE)[1]["id"]
        until(lambda: hummingbot.get("thinking") > before, what="the call never got there")
        mqtt = {"instances": [instances]}
        assert desk.reload(hummingbot={**hummingbot.config, "mqtt": mqtt})["status"] == "reloaded"
        hummingbot.do("habit", "think_s", "POST", path, 0.0)
        return results(desk.ended(event_id, 60))[0]

    desk.done("entry", **TRADE)
    assert reloaded_amid("entry", PLACE, "a-*") == ("done", "order hbBBTCUSD000002: filled 0.5 at 60000")
    assert reloaded_amid("sl", "/trading/positions", "b-*") == ("done", "closed 1.0 long")
    assert held(hummingbot) == 0
    assert desk.status()["halt"]["level"] == "none"


def test_practice_sends_nothing(tmp_path: Path, keys: KeyServer, hummingbot: HummingbotProcess) -> None:
    hotkeys = {"targets": {"main": "practice"}}
    with desk_for(tmp_path, keys, hummingbot, mode="practice", hotkeys=hotkeys) as desk:
        code, answer = desk.post("entry", wait=5, **TRADE)
        assert (code, results(answer)[0][0]) == (202, "simulated")
        assert hummingbot.asked == []


def test_a_hummingbot_that_hangs_does_not_slow_keys(desk: Desk, keys: KeyServer, hummingbot: HummingbotProcess) -> None:
    def pressed(count: int) -> list[float]:
        found = []
        for number in range(count):
            answer = desk.done("entry", strategy="keys", trade_id=f"k{time.time()}-{number}")
            found.append(answer["deliveries"][0]["latency_ms"])
        return found

    calm = pressed(100)
    for path in (PLACE, LEVERAGE):
        hummingbot.do("habit", "think_s", "POST", path, 600.0)
    hanging = [desk.post("entry", symbol="BTC/USD", quantity="0.5", trade_id=f"h{n}")[1]["id"] for n in range(40)]
    busy = pressed(100)
    assert all(delivery["result"] is None for delivery in desk.event(hanging[0])["deliveries"])
    # A key that waits for it waits for seconds; the rest is for a machine that others use.
    assert median(busy) < 2 * median(calm) + 20, (median(calm), median(busy))
    assert len(keys.presses) == 200
    # Each has its limit: no order was sent, because the leverage was never set; those that waited are too old now.
    for event_id in hanging:
        ((result, reason),) = results(desk.ended(event_id, 60))
        assert result in ("failed", "expired"), reason
    assert rows(hummingbot) == []
    assert desk.status()["ready"]


def test_the_token_of_the_local_api_never_goes_there(desk: Desk, hummingbot: HummingbotProcess) -> None:
    """Nobody set it: it was made at the first start."""
    answer = desk.reload(routes=[{"when": {"type": "entry"}, "do": [ORDER | {"account": desk.token}]}])
    assert answer["status"] == "reloaded"
    _, told = desk.post("entry", wait=10, **TRADE)
    assert told["deliveries"][0]["result"] != "done"
    assert desk.status()["egress"]["last"]["what"] == "http-token"
    assert desk.token not in hummingbot.log.read_text()
