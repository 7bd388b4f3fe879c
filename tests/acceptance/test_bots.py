"""A day in the life of bots at Hummingbot, with the daemon as a user runs it: the registry tells the truth, always.

What the daemon does every 15 and 60 s it does every second here, so that 30 s are 2.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.acceptance.desk import ROOT, Desk, Json, KeyServer, until
from tests.acceptance.hummingbot import HummingbotProcess

TRUTH_S = 6.0
"""What 30 s are at this pace is 2 s; the rest is for a slow machine."""
OFTEN = {"hummingbot_observe": "1s", "hummingbot_reconcile": "1s"}
MADE = {
    "name": "Sharp Spread", "strategy": "spread", "connector": "hyperliquid_perpetual", "pair": "BTC/USD",
    "config": {"spread": 0.001, "amount_quote": "500"},
}  # fmt: skip
ID = "Sharp-Spread"


@pytest.fixture
def hummingbot(tmp_path: Path) -> Iterator[HummingbotProcess]:
    server = HummingbotProcess(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
def desk(tmp_path: Path, keys: KeyServer, hummingbot: HummingbotProcess) -> Iterator[Desk]:
    with Desk(
        tmp_path, {"main": keys}, hummingbot=hummingbot.config, schedules=OFTEN, environ=hummingbot.environ
    ) as found:
        yield found


def bot(desk: Desk, id: str = ID) -> Json:
    code, found = desk.get(f"/bots/{id}")
    assert code == 200, found
    return found


def is_(desk: Desk, state: str, limit_s: float = TRUTH_S) -> Json:
    until(lambda: bot(desk)["status"] == state, limit_s, f"not {state} but {bot(desk)}")
    return bot(desk)


def started(desk: Desk) -> str:
    code, answer = desk.request("POST", "/bots/create", MADE)
    assert (code, answer["success"], answer["bot_id"]) == (200, True, ID), answer
    code, answer = desk.request("POST", f"/bots/{ID}/start")
    assert (code, answer["status"]) == (200, "started"), answer
    return str(bot(desk)["instance"])


def test_a_day(desk: Desk, hummingbot: HummingbotProcess) -> None:
    name = started(desk)
    is_(desk, "running")
    assert desk.status()["bots"]["counts"] == {"running": 1}

    hummingbot.do("bots.cut")  # the broker restarts: 5 s at most, and nobody is to be alarmed
    until(lambda: bot(desk)["status"] == "running")
    hummingbot.do("bots.join")
    is_(desk, "running")

    hummingbot.set("habits.recent_s", 0.5)  # and one that stays away
    hummingbot.do("bots.cut")
    desk.kill()
    desk.start()  # in the middle of it
    assert bot(desk)["instance"] == name
    hummingbot.do("bots.join")
    hummingbot.set("habits.recent_s", 30.0)
    is_(desk, "running")

    hummingbot.do("stop")  # the API restarts
    is_(desk, "unknown")
    until(lambda: [each["up"] for each in desk.status()["peers"] if each["name"] == "hummingbot"] == [False])
    assert desk.metrics()['deskhand_peer_up{peer="hummingbot"}'] == 0
    code, answer = desk.request("POST", f"/bots/{ID}/stop")
    assert (code, answer["status"]) == (503, "unavailable"), answer
    hummingbot.do("start")
    is_(desk, "running")

    hummingbot.do("bots.kill", name)
    assert is_(desk, "failed")["reason"] == "its container is gone, and nobody here stopped it"
    assert "is failed" in desk.log()
    assert any(each["status"] == "failed" for each in desk.status()["bots"]["wrong"])

    code, answer = desk.request("POST", f"/bots/{ID}/restart")
    assert (code, answer["status"]) == (200, "started"), answer
    assert bot(desk)["instance"] != name
    desk.kill()
    desk.start()
    is_(desk, "running")

    code, answer = desk.request("POST", f"/bots/{ID}/stop")
    assert (code, answer["status"]) == (200, "stopped"), answer
    assert desk.request("POST", f"/bots/{ID}/stop")[1]["status"] == "already_stopped"
    desk.kill()
    desk.start()
    is_(desk, "stopped")
    assert desk.request("DELETE", f"/bots/{ID}")[0] == 200
    assert desk.get("/bots")[1]["bots"] == []
    assert hummingbot.get("violations") == []


def test_killed_in_the_middle_of_a_start(desk: Desk, hummingbot: HummingbotProcess) -> None:
    hummingbot.set("habits.starting_s", 1.5)
    desk.request("POST", "/bots/create", MADE)
    code, answer = desk.request("POST", f"/bots/{ID}/start?wait=0")
    assert (code, answer["status"]) == (202, "accepted"), answer
    until(lambda: bot(desk)["instance"])
    desk.kill()
    desk.start()
    is_(desk, "running")
    deploys = [each for each in hummingbot.asked if each["path"].endswith("deploy-v2-controllers")]
    assert len(deploys) == 1


def test_a_stop_while_somebody_waits_for_a_start(desk: Desk, hummingbot: HummingbotProcess) -> None:
    hummingbot.set("habits.starting_s", 60)
    desk.request("POST", "/bots/create", MADE)
    with ThreadPoolExecutor() as pool:
        waits = pool.submit(desk.request, "POST", f"/bots/{ID}/start")
        is_(desk, "deploying")
        assert desk.stop() == 0
        assert isinstance(waits.exception(), HTTPException)
    assert "could not stop" not in desk.log()


def test_orphans_and_phantoms(desk: Desk, hummingbot: HummingbotProcess) -> None:
    hummingbot.do("bots.add", "stranger-20261120-101500")
    hummingbot.do("bots.phantom", "nobody")
    until(lambda: len(desk.get("/bots")[1]["bots"]) == 2)
    assert desk.metrics()['deskhand_bots{state="orphan"}'] == 1
    assert desk.metrics()['deskhand_bots{state="phantom"}'] == 1
    for words in ("orphan bots: stranger-20261120-101500", "phantom bots: nobody"):
        until(lambda words=words: words in desk.log(), what=words)  # type: ignore[misc]
        assert desk.log().count(words) == 1
    assert desk.request("POST", "/bots/nobody/stop")[0] == 404


def test_the_bridges_own_calls(desk: Desk, hummingbot: HummingbotProcess) -> None:
    assert desk.over_tcp("GET", "/bots")[1] == {"bots": []}
    code, answer = desk.over_tcp("POST", "/bots/create", MADE)
    assert code == 200
    assert answer["success"] is True
    assert answer["result"]["pair"] == "BTC-USD"
    (row,) = desk.over_tcp("GET", "/bots?account=master_account")[1]["bots"]
    assert {"id", "name", "status", "strategy", "connector", "pair", "chain"} <= row.keys()
    assert (row["id"], row["name"], row["status"]) == (ID, "Sharp Spread", "stopped")
    assert desk.over_tcp("POST", f"/bots/{ID}/start")[1]["status"] == "started"
    assert desk.over_tcp("POST", f"/bots/{ID}/start")[1]["status"] == "already_running"
    name = bot(desk)["instance"]
    hummingbot.do("bots.trade", name, "t1", "BUY", "60000.5", "0.01")
    trades = desk.over_tcp("GET", f"/bots/{ID}/history")[1]["trades"]
    assert [(each["id"], each["price"], each["quantity"]) for each in trades] == [("t1", "60000.5", "0.01")]
    assert desk.over_tcp("DELETE", f"/bots/{ID}")[0] == 409
    assert desk.over_tcp("GET", "/bots/nobody")[0] == 404
    code, answer = desk.over_tcp("POST", "/bots/create", MADE | {"name": "x", "config": {"spread_percent": 0.3}})
    assert (code, answer["field"]) == (422, "config.spread_percent")
    assert "fraction of the price on each side" in answer["reason"]
    code, answer = desk.over_tcp("POST", "/bots/create", MADE | {"name": "x", "connector": "bitmart"})
    assert (code, answer["field"]) == (422, "connector")
    assert "2026-08-26" in answer["reason"]
    assert desk.over_tcp("GET", "/bots", token="wrong")[0] == 401
    assert hummingbot.get("violations") == []


def test_the_command_line(desk: Desk, hummingbot: HummingbotProcess, tmp_path: Path) -> None:
    def deskhand(*words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "daemon", *words, "--socket", str(desk.socket_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout + done.stderr

    market = ("--connector", "hyperliquid_perpetual", "--pair", "BTC-USD")
    assert "no bots" in deskhand("bots", "list")
    said = deskhand("bots", "create", "mm", "--strategy", "spread", *market, "--set", "spread=0.001",
                    "--set", "amount_quote=500")  # fmt: skip
    assert "deskhand bots start mm" in said
    assert deskhand("bots", "start", "mm") == "mm ✓ started\n"
    assert deskhand("bots", "start", "mm") == "mm ✓ already running\n"
    assert "running  spread" in deskhand("bots", "list")
    assert json.loads(deskhand("bots", "list", "--json"))[0]["id"] == "mm"
    assert "1 running" in deskhand("status")
    hummingbot.do("bots.say", bot(desk, "mm")["instance"], "placed an order")
    assert "placed an order" in deskhand("bots", "logs", "mm")
    assert "no fills" in deskhand("bots", "history", "mm")
    assert "stop it first" in deskhand("bots", "rm", "mm", code=1)
    assert deskhand("bots", "stop", "mm") == "mm ✓ stopped\n"
    script = tmp_path / "mine.py"
    script.write_text("print('hello')\n")
    deskhand("bots", "create", "own", "--strategy", "custom", *market, "--script", str(script), "--set", "exchange=x")
    assert deskhand("bots", "start", "own") == "own ✓ started\n"
    assert hummingbot.get("state.scripts")["own"] == "print('hello')\n"
    assert "mm is gone" in deskhand("bots", "rm", "mm")
    hummingbot.do("stop")
    assert "Hummingbot" in deskhand("bots", "create", "x", "--strategy", "spread", *market, "--set", "spread=0.001",
                                    "--set", "amount_quote=500", code=69)  # fmt: skip


def test_without_hummingbot(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}) as desk:
        code, answer = desk.get("/bots")
        assert (code, answer["reason"]) == (503, "Hummingbot is not configured; set hummingbot.url")
        assert desk.status()["bots"] is None


def test_keys_do_not_wait_for_a_hummingbot_that_hangs(tmp_path: Path, keys: KeyServer) -> None:
    config = {"url": "http://192.0.2.1:8000", "username": "desk"}
    with Desk(
        tmp_path, {"main": keys}, hummingbot=config, schedules=OFTEN, environ={"HUMMINGBOT_API_PASSWORD": "x" * 12}
    ) as desk:
        assert desk.done("entry")["deliveries"][0]["latency_ms"] < 2000


@pytest.mark.parametrize("field", ["name", "config", "account"])
def test_a_secret_is_written_down_nowhere(
    tmp_path: Path, keys: KeyServer, hummingbot: HummingbotProcess, field: str
) -> None:
    """Kept without it, a bot would be deployed that way after a restart."""
    secret = "Q7rT5xK3d9wVb1pZ8y2L"
    environ = hummingbot.environ | {"DESKHAND_HTTP_TOKEN": secret}
    with Desk(tmp_path, {"main": keys}, hummingbot=hummingbot.config, environ=environ) as desk:
        value: Json | str = {"script": f"KEY = '{secret}'"} if field == "config" else secret
        code, answer = desk.request("POST", "/bots/create", MADE | {field: value})
        assert (code, answer["field"]) == (422, field), answer
        code, answer = desk.request("POST", "/book", {"symbol": secret, "state": "open"})
        assert (code, answer["field"]) == (422, "symbol"), answer
        assert desk.get("/bots")[1]["bots"] == []
        kept = b"".join(path.read_bytes() for path in desk.state.glob("journal*"))
        assert secret.upper().encode() not in kept.upper()
