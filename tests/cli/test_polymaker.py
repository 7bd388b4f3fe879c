"""`deskhand polymaker`, and the Center in `deskhand status`."""

import json

import pytest

from tests.cli.conftest import Run
from tests.http.stub import StubDesk

TOLD = {
    "place": "http://center:3000", "run": 101, "figures": {"totalOrders": 4, "totalPnl": "2.5"}, "unpriced": 1,
    "left_out": ["peakPnl: must be finite"], "score": "72.5", "waiting": 3, "held": "",
    "config": {"id": 7, "pauseOrders": False, "targetAssets": ["BTC", "ETH"], "tradingBlackoutWindows": []},
}  # fmt: skip
STATUS = """\
Place                          http://center:3000 · not asked yet
Run                            run 101 · 3 wait · last score 72.5
Total orders                   4
Total pnl                      2.5
Not known                      1 trades without a price or size; totals are left out
Left out                       peakPnl: must be finite
config id                      7
config pauseOrders             False
config targetAssets            BTC, ETH
config tradingBlackoutWindows  -
"""
CLOSED = {
    "run": 101, "state": "closed", "status": "completed", "reason": "", "mode": "live", "place": "http://center:3000",
    "started": 1_800_000_000.0, "ended": 1_800_003_600.0, "score": "72.5", "trades": {"done": 12, "uncertain": 1},
    "updates": {"done": 6},
}  # fmt: skip
WAITING = CLOSED | {
    "run": None, "state": "waiting", "status": None, "reason": "", "score": "", "trades": {}, "updates": {},
}  # fmt: skip


async def test_status(deskhand: Run, desk: StubDesk) -> None:
    assert (await deskhand("polymaker", "status")).out.startswith("off: ")
    assert (await deskhand("polymaker", "status", "--json")).out == "null\n"
    desk.told = TOLD
    done = await deskhand("polymaker", "status")
    assert (done.code, done.out, done.err) == (0, STATUS, "")
    assert json.loads((await deskhand("polymaker", "status", "--json")).out) == TOLD


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "run 101 · 3 wait · last score 72.5"),
        ({"waiting": 0, "score": ""}, "run 101"),
        ({"run": None, "waiting": 2, "held": "no config", "score": ""}, "no run · 2 wait · no config"),
    ],
)
async def test_at_a_glance(deskhand: Run, desk: StubDesk, changes: dict[str, object], line: str) -> None:
    assert "Center" not in (await deskhand("status")).out
    desk.told = TOLD | changes
    assert f"Center   {line}\n" in (await deskhand("status")).out


async def test_runs(deskhand: Run, desk: StubDesk) -> None:
    assert (await deskhand("polymaker", "runs")).out == "no run yet\n"
    desk.center_runs = [WAITING, CLOSED]
    head, waiting, closed = (await deskhand("polymaker", "runs")).out.splitlines()
    assert head.split() == ["RUN", "STATE", "MODE", "STARTED", "TRADES", "SCORE", "REASON"]
    assert waiting.split()[:3] == ["-", "waiting", "live"]
    assert closed.startswith("101  closed (completed)  live")
    assert "12 done, 1 uncertain  72.5" in closed
    assert json.loads((await deskhand("polymaker", "runs", "--json")).out) == [WAITING, CLOSED]


async def test_flush(deskhand: Run, desk: StubDesk) -> None:
    done = await deskhand("polymaker", "flush")
    assert (done.code, done.out) == (0, "nothing waits\n")
    desk.flushed = {"waiting": 12, "reason": "Connection refused"}
    done = await deskhand("polymaker", "flush")
    assert (done.code, done.out) == (1, "12 still wait: Connection refused\n")
    assert json.loads((await deskhand("polymaker", "flush", "--json")).out) == desk.flushed


@pytest.mark.parametrize("words", [[], ["start"], ["runs", "101"]])
async def test_usage(verb: Run, words: list[str]) -> None:
    assert (await verb("polymaker", *words)).code == 2
