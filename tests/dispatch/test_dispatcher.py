"""The kill switch, and all lanes together."""

from pathlib import Path

import pytest

from daemon.ports import Outcome, Result
from daemon.settings import Press, Route, When
from tests.dispatch.support import ages, core, turns, until

GAP = 0.02


async def test_halt_entries(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        await c.done("entry", "AAPL")
        c.dispatcher.halt("entries", "lunch")
        assert await c.done("entry", "AAPL") == ("refused", "halted (entries)")
        assert (await c.done("tp1"))[0] == "done"
        assert (await c.done("sl"))[0] == "done"
        c.dispatcher.halt("none", "")
        assert (await c.done("entry"))[0] == "done"


@pytest.mark.parametrize("type", ["entry", "tp1", "tp2", "sl", "close"])
async def test_halt_all(tmp_path: Path, type: str) -> None:
    async with core(tmp_path) as c:
        c.dispatcher.halt("all", "")
        assert await c.done(type) == ("refused", "halted (all)")
        assert c.peer.steps == []


async def test_halt_all_stops_a_running_sequence(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=GAP) as c:
        await c.done("entry")
        c.hold_at(1)
        receipt = await c.send("tp1")
        await until(lambda: len(c.peer.sent) == 2)
        c.dispatcher.halt("all", "")
        assert (await c.settled(receipt)).outcome == Outcome(Result.UNCERTAIN, "halted after step 1 of 3")
        await turns()
        assert c.peer.steps == ["buy_ask", "sell_ask"]


async def test_what_waits_is_decided_anew_at_a_halt(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        c.peer.room = 0
        receipt = await c.send("entry")
        c.dispatcher.halt("entries", "")
        assert (await c.settled(receipt)).outcome == Outcome(Result.REFUSED, "halted (entries)")


async def test_a_lane_added_later_is_halted_too(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        c.dispatcher.halt("all", "")
        lane = c.dispatcher.lanes.pop("hotkeys:main")
        lane.halt = "none"
        c.dispatcher.add_lane(lane)
        assert c.lane.halt == "all"


# -- the dispatcher ----------------------------------------------------------------------------------------------------


async def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    route = Route.model_validate({"do": [{"hotkeys": "gone"}]})
    async with core(tmp_path, how={"routes": (route,)}) as c:
        assert await c.done("sl") == ("refused", "there is no target gone")


async def test_two_actions_of_one_event_go_their_own_ways(tmp_path: Path) -> None:
    route = Route.model_validate({"do": [{"hotkeys": "main"}, {"hotkeys": "second", "keys": ["x"]}]})
    async with core(tmp_path, targets=("main", "second"), how={"routes": (route,)}) as c:
        c.peers["second"].room = 0
        receipt = await c.send("entry")
        await until(lambda: receipt.deliveries[0].outcome)
        c.clock.advance(3)
        await until(lambda: receipt.deliveries[1].outcome)
        assert [d.outcome.result.value for d in receipt.deliveries if d.outcome] == ["done", "failed"]
        assert c.peers["second"].steps == []


async def test_one_sick_lane_slows_no_other(tmp_path: Path) -> None:
    route = Route.model_validate({"when": {"symbol": "SICK"}, "do": [{"hotkeys": "second"}]})
    async with core(tmp_path, targets=("main", "second"), guard="off", how={"routes": (route,)}) as c:
        c.peers["second"].room = 0
        for _ in range(50):
            await c.send("entry", "SICK")
        for number in range(5):
            await c.done("entry", f"S{number}")
        assert len(c.peer.sent) == 5


async def test_waiting_for_outcomes_has_a_limit(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        c.peer.room = 0
        receipt = await c.send("entry")
        await c.intake.outcomes(receipt, 0.01)
        assert c.ended == []
        c.clock.advance(2.1)
        await c.intake.outcomes(receipt, 5)
        assert len(c.ended) == 1
        await c.intake.outcomes(receipt, 5)
        assert not c.dispatcher._waiters


async def test_draining_says_when_an_orderly_stop_may_go_on(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=GAP) as c:
        seen = [c.dispatcher.draining]
        c.peer.confirms = False
        await c.send("tp1")
        seen.append(c.dispatcher.draining)
        await until(lambda: len(c.peer.open) == 3)
        seen.append(c.dispatcher.draining)
        while c.peer.open:
            c.peer.confirm()
        seen.append(c.dispatcher.draining)
        c.peer.room = 0
        await c.send("sl")
        seen.append(c.dispatcher.draining)
        assert seen == [False, True, True, False, False], "a peer that is away is not waited for"


async def test_what_a_mode_planned_never_runs_in_another(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        c.intake.mode = "practice"
        assert await c.done("sl") == ("refused", "planned in practice mode, the daemon is in live mode")
        assert c.peer.steps == []


async def test_withdraw_ends_only_what_has_not_started(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        done = await c.settled(await c.send("entry"))
        c.peer.room = 0
        waiting = (await c.send("tp1")).deliveries[0]
        exit_ = (await c.send("sl")).deliveries[0]
        for delivery in (done, waiting, exit_, waiting):
            c.dispatcher.withdraw(delivery, "taken back")
        assert done.outcome == Outcome(Result.DONE)
        assert [d.outcome for d in (waiting, exit_)] == [Outcome(Result.REFUSED, "taken back")] * 2
        assert c.lane.depth == 0
        assert len(c.ended) == 3


async def test_limits_come_from_the_rules(tmp_path: Path) -> None:
    async with core(tmp_path, max_age_s=ages(sl=1.0)) as c:
        c.peer.room = 0
        receipt = await c.send("sl")
        c.clock.advance(1.1)
        outcome = (await c.settled(receipt)).outcome
        assert outcome is not None
        assert outcome.result is Result.EXPIRED


async def test_each_owner_lifts_only_its_own_halt(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        c.dispatcher.halt("entries", "lunch")
        c.dispatcher.halt("entries", "the Center says so", "polymaker")
        c.dispatcher.halt("none", "")
        assert (await c.done("entry"))[0] == "refused"
        c.dispatcher.halt("all", "enough")
        c.dispatcher.halt("none", "", "polymaker")
        assert (await c.done("sl"))[0] == "refused"
        c.dispatcher.halt("none", "")
        assert (await c.done("entry"))[0] == "done"


async def test_an_event_is_told_once_for_each_end_also_without_a_target(tmp_path: Path) -> None:
    async with core(tmp_path, how={"routes": (Route(when=When(symbol="X"), do=()),)}) as c:
        told = list[tuple[str, str]]()
        c.dispatcher.told.append(lambda event, result, mode: told.append((event.symbol, f"{result} {mode}")))
        await c.done("entry")
        await c.send("entry", "X")
        assert told == [("AAPL", "done live"), ("X", "done live")]


@pytest.mark.parametrize("broken", ["main", "second"])
async def test_a_mistake_in_one_lane_keeps_no_key_of_another(
    tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = Route(do=(Press(hotkeys="main"), Press(hotkeys="second")))
    async with core(tmp_path, targets=("main", "second"), how={"routes": (route,)}) as c:
        well = ({"main", "second"} - {broken}).pop()
        with monkeypatch.context() as patch:
            patch.setattr(c.peers[broken], "capacity", lambda **_: 1 // 0)
            await c.send("entry")
            assert c.peers[well].steps == ["buy_ask"]
            assert c.peers[broken].steps == []
        c.dispatcher.flush()
        await until(lambda: c.peers[broken].steps == ["buy_ask"])


async def test_a_mistake_at_one_peer_keeps_no_key_of_another(tmp_path: Path) -> None:
    route = Route(do=(Press(hotkeys="main"), Press(hotkeys="second")))
    async with core(tmp_path, targets=("main", "second"), how={"routes": (route,)}) as c:

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        c.peers["main"].on_send = broken
        await c.send("entry")
        assert c.peers["second"].steps == ["buy_ask"]
