"""A lane under a change of configuration: what waits is kept, what runs ends where it began, and no lane sleeps."""

import asyncio
from pathlib import Path

import pytest

from daemon.ports import Result
from tests.dispatch.support import FakePeer, core, rules, turns, until


async def test_other_rules_count_for_the_next_decision(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=60.0, guard="off") as c:
        for symbol in "ABC":
            await c.send("entry", symbol)
        assert c.peer.steps == ["buy_ask"]
        c.lane.adopt(rules(gap_s=0.0, guard="off"), c.peer)
        await until(lambda: c.peer.steps == ["buy_ask"] * 3)


async def test_what_waits_goes_to_the_new_peer(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        c.peer.room = 0
        await c.send("entry")
        other = FakePeer()
        c.lane.adopt(rules(), other)
        await until(lambda: other.steps == ["buy_ask"])
        assert c.peer.steps == []
        c.peer.back()  # nobody listens to it any more
        await turns()
        assert c.peer.steps == []


async def test_held_it_starts_nothing_but_exits(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=0.0, guard="off") as c:
        c.lane.hold(on=True)
        await c.send("entry")
        await c.send("sl")
        assert c.peer.steps == ["sell_all_bid"]
        assert c.lane.calm
        c.lane.hold(on=False)
        await until(lambda: c.peer.steps == ["sell_all_bid", "buy_ask"] or bool(c.ended))


async def test_it_is_calm_once_nothing_is_half_pressed(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=0.01) as c:
        await c.send("entry")
        c.peer.confirms = False
        await c.send("tp1")
        c.lane.hold(on=True)
        assert not c.lane.calm
        await until(lambda: c.peer.steps[-1] == "break_even")
        assert not c.lane.calm
        while c.peer.open:
            c.peer.confirm()
        assert c.lane.calm


@pytest.mark.parametrize(
    ("type_", "repeatable", "result", "after"),
    [
        ("tp1", frozenset({"cancel_all", "break_even"}), Result.DONE, ["cancel_all", "break_even"]),
        ("tp1", frozenset({"cancel_all"}), Result.UNCERTAIN, []),
        ("sl", frozenset[str](), Result.DONE, ["second"]),
    ],
)
async def test_a_half_pressed_sequence_at_another_peer(
    tmp_path: Path, type_: str, repeatable: frozenset[str], result: Result, after: list[str]
) -> None:
    async with core(tmp_path, how={"sequences": {"sl": ["first", "second"]}}, gap_s=0.2, guard="off") as c:
        c.hold_at(1)
        delivery = (await c.send(type_)).deliveries[0]
        await until(lambda: len(c.peer.steps) == 1)
        other = FakePeer()
        c.lane.adopt(rules(gap_s=0.0, guard="off", repeatable=repeatable), other)
        await until(lambda: delivery.outcome is not None)
        assert delivery.outcome is not None
        assert (delivery.outcome.result, other.steps) == (result, after)


async def test_a_lane_that_a_reload_holds_is_not_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a `step_timeout_s` of a minute the watchdog would kill the daemon amid the reload."""
    async with core(tmp_path, step_timeout_s=60.0) as c:
        c.peer.confirms = False
        await c.send("entry")
        c.lane.hold(on=True)
        await c.send("tp1")
        later = c.clock.monotonic() + 40
        monkeypatch.setattr(c.clock, "monotonic", lambda: later)
        assert c.lane.stuck() == ""
        c.lane.hold(on=False)
        assert c.lane.stuck() == "", "it has its time again"
        monkeypatch.setattr(c.clock, "monotonic", lambda: later + 60)
        assert c.lane.stuck()


async def test_a_lane_that_is_never_looked_at_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with core(tmp_path) as c:
        c.peer.room = 0
        await c.send("entry")
        assert c.lane.stuck() == ""
        c.clock.hold()
        monkeypatch.setattr(c.lane, "_looked_at", c.clock.monotonic() - 60)
        assert c.lane.stuck().startswith("hotkeys:main has not been looked at for 60 s")
        c.peer.back()
        await until(lambda: c.peer.steps == ["buy_ask"])
        assert c.lane.stuck() == ""


async def test_waiting_for_a_peer_is_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with core(tmp_path) as c:
        c.peer.room = 0
        receipt = await c.send("sl")
        monkeypatch.setattr(c.lane, "_looked_at", asyncio.get_running_loop().time() - 60)
        await until(lambda: c.lane.stuck() == "")
        assert [line.split(": ", 1)[1] for line in c.lane.dump()][1:] == [f"sl AAPL {receipt.id}: step 0 of 1"]
