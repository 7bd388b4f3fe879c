"""What Hummingbot pushes of its bots, with the daemon as a user runs it: seen at once, though it asks once a minute."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.desk import Desk, KeyServer, until
from tests.acceptance.hummingbot import HummingbotProcess

SELDOM = {"hummingbot_observe": "60s", "hummingbot_reconcile": "60s"}
SOON_S = 10.0
"""2 s, and the rest for a slow machine; what is only asked for comes in a minute."""
MADE = {
    "name": "mm", "strategy": "spread", "connector": "hyperliquid_perpetual", "pair": "BTC/USD",
    "config": {"spread": 0.001, "amount_quote": "500"},
}  # fmt: skip


@pytest.fixture
def hummingbot(tmp_path: Path) -> Iterator[HummingbotProcess]:
    server = HummingbotProcess(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
def desk(tmp_path: Path, keys: KeyServer, hummingbot: HummingbotProcess) -> Iterator[Desk]:
    with Desk(
        tmp_path, {"main": keys}, hummingbot=hummingbot.config, schedules=SELDOM, environ=hummingbot.environ
    ) as found:
        yield found


def is_(desk: Desk, state: str, limit_s: float) -> None:
    until(lambda: desk.get("/bots/mm")[1]["status"] == state, limit_s, f"not {state}")


def started(desk: Desk) -> str:
    assert desk.request("POST", "/bots/mm/start")[1]["status"] == "started"
    is_(desk, "running", SOON_S)
    return str(desk.get("/bots/mm")[1]["instance"])


def sockets(hummingbot: HummingbotProcess) -> int:
    return sum(each["path"] == "/ws/executors" for each in hummingbot.asked)


def test_a_killed_bot_is_seen_at_once_also_after_an_outage_and_reloads(
    desk: Desk, hummingbot: HummingbotProcess
) -> None:
    assert desk.request("POST", "/bots/create", MADE)[0] == 200
    hummingbot.do("bots.kill", started(desk))
    is_(desk, "failed", SOON_S)

    name = started(desk)
    before = sockets(hummingbot)
    hummingbot.do("stop")
    hummingbot.do("start")
    until(lambda: sockets(hummingbot) > before)
    hummingbot.do("bots.kill", name)
    is_(desk, "failed", SOON_S)

    name, before = started(desk), sockets(hummingbot)
    desk.reload(hotkeys=desk.config["hotkeys"] | {"gap_ms": 5})  # it goes on as it is
    desk.reload(schedules=SELDOM | {"hummingbot_observe": None})
    desk.reload(schedules=SELDOM)
    until(lambda: sockets(hummingbot) > before)
    hummingbot.do("bots.kill", name)
    is_(desk, "failed", SOON_S)
    assert sockets(hummingbot) == before + 1

    began = time.monotonic()
    assert desk.stop() == 0
    assert time.monotonic() - began < 3.0
    assert hummingbot.get("violations") == []
