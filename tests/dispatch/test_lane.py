"""The order of keys, the gaps between them, what overtakes and what ends how; on a real loop with a small gap."""

import time
from itertools import pairwise
from pathlib import Path

import pytest
from loguru import logger

from daemon.dispatch.lane import WAITING_LIMIT
from daemon.ports import Outcome, Result
from tests.dispatch.support import Core, core, turns, until

GAP = 0.02
TP1 = ["sell_ask", "cancel_all", "break_even"]


def results(c: Core) -> list[tuple[str, str]]:
    return [(d.event.id, d.outcome.result.value) for d in c.ended if d.outcome]


def gaps(c: Core) -> list[float]:
    times = [at for at, _, _ in c.peer.sent]
    return [later - earlier for earlier, later in pairwise(times)]


async def test_the_first_key_goes_out_within_the_call(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        c.intake.offer(b'{"type":"entry","symbol":"AAPL"}', "http", lambda _: None)
        c.intake.flush()
        assert c.peer.steps == ["buy_ask"]


async def test_a_gap_between_any_two_keys(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=GAP) as c:
        await c.send("entry")
        tp1 = await c.settled(await c.send("tp1"))
        assert min(gaps(c)) >= GAP * 0.95
        assert min(gaps(c)) < GAP + 0.25, "and no more than a gap; each may be longer where the machine stands still"
        assert tp1.outcome == Outcome(Result.DONE)
        assert c.peer.steps == ["buy_ask", *TP1]


async def test_no_gap_before_an_exit_nor_after_the_last_key(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=60.0) as c:
        assert (await c.done("entry"))[0] == "done", "long before a gap is over"
        assert (await c.done("sl"))[0] == "done"
        assert c.peer.steps == ["buy_ask", "sell_all_bid"]


async def test_the_gap_holds_between_two_trades_and_inside_an_exit(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=GAP, guard="off", how={"preset": "bracket"}) as c:
        c.hold_at(2)
        await c.send("entry", "A")
        await c.send("entry", "B")
        await until(lambda: len(c.peer.sent) == 2)
        sl = await c.send("sl", "A")
        assert c.peer.steps == ["buy_ask", "buy_ask", "cancel_all"], "none before the exit"
        c.clock.go()
        await c.settled(sl)
        assert c.peer.steps == ["buy_ask", "buy_ask", "cancel_all", "sell_all_bid"]
        first, _, inside = gaps(c)
        assert first >= GAP * 0.95
        assert inside >= GAP * 0.95


async def test_the_gap_is_never_short(tmp_path: Path) -> None:
    gap = 0.003
    async with core(tmp_path, gap_s=gap, guard="off") as c:
        for number in range(50):
            c.intake.offer(b'{"type":"entry","symbol":"S%d"}' % number, "http", lambda _: None)
            c.intake.flush()
            while len(c.peer.sent) <= number or time.monotonic() < c.peer.sent[-1][0] + gap - 0.0005:
                await turns(1)
        assert min(gaps(c)) >= gap


async def test_no_gap_at_all_when_it_is_zero(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=0.0) as c:
        await c.send("entry")
        c.intake.offer(b'{"type":"tp1","symbol":"AAPL"}', "http", lambda _: None)
        c.intake.flush()
        assert c.peer.steps == ["buy_ask", *TP1], "one write where possible"


async def test_a_stop_in_a_tp1(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=GAP) as c:
        await c.done("entry")
        c.peer.sent.clear()
        c.hold_at(1)
        tp1 = await c.send("tp1")
        await until(lambda: c.peer.steps == ["sell_ask"])
        receipt = await c.send("sl", id="the-sl")
        assert c.peer.steps == ["sell_ask", "cancel_all"], "no gap before an exit, and one inside it"
        c.clock.go()
        sl = await c.settled(receipt)
        assert c.peer.steps == ["sell_ask", "cancel_all", "sell_all_bid"]
        assert gaps(c)[1] >= GAP * 0.95
        assert sl.outcome == Outcome(Result.DONE)
        assert tp1.deliveries[0].outcome == Outcome(Result.SUPERSEDED, "superseded by sl the-sl")
        assert tp1.deliveries[0].begun == 1


async def test_kept_steps_are_not_doubled(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=GAP, how={"sequences": {"sl": ["cancel_all", "sell_all_bid"]}}) as c:
        await c.done("entry")
        c.hold_at(1)
        await c.send("tp1")
        await until(lambda: len(c.peer.sent) == 2)
        sl = await c.send("sl")
        c.clock.go()
        await c.settled(sl)
        assert c.peer.steps == ["buy_ask", "sell_ask", "cancel_all", "sell_all_bid"]


async def test_what_was_already_pressed_is_not_kept(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=GAP) as c:
        await c.done("entry")
        c.hold_at(2)
        await c.send("tp1")
        await until(lambda: c.peer.steps[-1] == "cancel_all")
        await c.done("sl")
        assert c.peer.steps == ["buy_ask", "sell_ask", "cancel_all", "sell_all_bid"]


async def test_nothing_is_kept_of_what_only_waited(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        await c.done("entry")
        c.peer.room = 0
        tp1 = await c.send("tp1")
        await c.send("sl")
        c.peer.back()
        await until(lambda: len(c.ended) == 3)
        assert c.peer.steps == ["buy_ask", "sell_all_bid"]
        assert tp1.deliveries[0].outcome is not None
        assert tp1.deliveries[0].outcome.result is Result.SUPERSEDED


async def test_another_trades_running_sequence_finishes_first(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=GAP, guard="off") as c:
        c.hold_at(1)
        tp1 = await c.send("tp1", "AAPL", id="tp1")
        await until(lambda: c.peer.steps == ["sell_ask"])
        waiting = await c.send("entry", "TSLA", id="entry")
        await c.send("sl", "MSFT", id="sl")
        c.clock.go()
        await c.settled(waiting)
        assert c.peer.keys == [("tp1", k) for k in TP1] + [("sl", "sell_all_bid"), ("entry", "buy_ask")]
        assert tp1.deliveries[0].outcome == Outcome(Result.DONE)


async def test_a_newer_tp_is_not_superseded_by_an_older_stop(tmp_path: Path) -> None:
    async with core(tmp_path, guard="off") as c:
        c.peer.room = 0
        await c.send("entry", id="old")
        await c.send("sl", id="sl")
        await c.send("tp1", id="new")
        c.peer.back()
        await until(lambda: len(c.ended) == 3)
        assert dict(results(c)) == {"old": "superseded", "sl": "done", "new": "done"}
        assert c.peer.keys[0] == ("sl", "sell_all_bid")


async def test_a_close_supersedes_a_waiting_stop_of_its_trade(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        await c.done("entry")
        c.peer.room = 0
        sl, close = await c.send("sl"), await c.send("close")
        c.peer.back()
        assert (await c.settled(sl)).outcome == Outcome(Result.DONE), "first come, first served among exits"
        await c.settled(close)
        assert c.peer.steps == ["buy_ask", "sell_all_bid", "sell_all_bid"]


async def test_a_stream_of_stops_does_not_cut_into_each_other(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=0.005, how={"preset": "bracket"}) as c:
        for number in range(4):
            await c.send("sl", id=f"s{number}")
        await until(lambda: len(c.ended) == 4)
        keys = c.peer.keys
        assert keys == [(f"s{n}", k) for n in range(4) for k in ("cancel_all", "sell_all_bid")]


async def test_without_overtaking_the_order_is_strict(tmp_path: Path) -> None:
    async with core(tmp_path, guard="off", overtake=frozenset()) as c:
        await c.send("tp1", id="tp1")
        await c.send("entry", "MSFT", id="entry")
        await c.send("sl", id="sl")
        await until(lambda: len(c.ended) == 3)
        assert c.peer.keys == [("tp1", k) for k in TP1] + [("entry", "buy_ask"), ("sl", "sell_all_bid")]
        assert {result for _, result in results(c)} == {"done"}


async def test_an_empty_sequence_is_done_without_a_key(tmp_path: Path) -> None:
    async with core(tmp_path, how={"preset": "bracket"}) as c:
        c.peer.room = 0
        assert await c.done("tp2") == ("done", "")
        assert c.peer.steps == []


async def test_a_full_lane_refuses_all_but_exits(tmp_path: Path) -> None:
    async with core(tmp_path, guard="off") as c:
        c.peer.room = 0
        for number in range(WAITING_LIMIT):
            c.intake.offer(f'{{"type":"entry","symbol":"AAPL","id":"e{number}"}}', "http", lambda _: None)
        c.intake.flush()
        assert c.lane.depth == WAITING_LIMIT
        assert await c.done("entry") == ("refused", "too many actions are waiting at this target")
        assert (await c.done("tp1"))[0] == "refused"
        for number in range(20):
            assert (await c.send("sl", id=f"x{number}")).status == "accepted"
        assert c.lane.depth == WAITING_LIMIT + 20


@pytest.mark.parametrize("type", ["entry", "tp1", "tp2"])
async def test_entries_and_tps_fail_when_their_peer_stays_away(tmp_path: Path, type: str) -> None:
    async with core(tmp_path) as c:
        c.peer.room = 0
        receipt = await c.send(type)
        c.clock.advance(1.9)
        await until(lambda: c.peer.wanted > 2)
        assert receipt.deliveries[0].outcome is None
        c.clock.advance(0.2)
        assert (await c.settled(receipt)).outcome == Outcome(Result.FAILED, "Connection refused")
        assert receipt.deliveries[0].begun == 0
        c.peer.back()
        await turns()
        assert c.peer.steps == []


async def test_an_exit_that_waits_or_never_fires_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    sink = logger.add(lambda line: told.append(line.rstrip("\n")), format="{level} {message}", level="WARNING")
    try:
        async with core(tmp_path) as c:
            c.peer.room = 0
            receipt = await c.send("sl", id="s1")
            c.clock.advance(1.1)
            await until(lambda: told)
            looks = c.peer.wanted
            await until(lambda: c.peer.wanted > looks + 2)
            assert told == ["WARNING sl AAPL s1 waits at hotkeys:main: Connection refused"]
            c.clock.advance(300)
            await c.settled(receipt)
            assert told[1].startswith("ERROR sl AAPL s1 at main: expired, 301.1 s old")
    finally:
        logger.remove(sink)


async def test_the_reason_names_what_became_of_the_peer(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        c.peer.room, c.peer.why = 0, "no route to host"
        receipt = await c.send("entry")
        c.clock.advance(2.1)
        await c.settled(receipt)
        assert (await c.done("tp1"))[1] == "nothing was bought: the trade's entry was refused, expired or failed"


@pytest.mark.parametrize("type", ["sl", "close"])
async def test_exits_wait_until_their_age_limit(tmp_path: Path, type: str) -> None:
    async with core(tmp_path) as c:
        c.peer.room = 0
        receipt = await c.send(type)
        c.clock.advance(299)
        await until(lambda: c.peer.wanted > 2)
        assert receipt.deliveries[0].outcome is None
        c.clock.advance(2)
        outcome = (await c.settled(receipt)).outcome
        assert outcome is not None
        assert outcome.result is Result.EXPIRED
        assert "Connection refused" in outcome.reason


async def test_an_exit_fires_when_the_peer_is_back(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        c.peer.room = 0
        entry, sl = await c.send("entry", "MSFT"), await c.send("sl", "AAPL")
        c.clock.advance(60)
        assert (await c.settled(entry)).outcome is not None
        c.peer.back()
        assert (await c.settled(sl)).outcome == Outcome(Result.DONE)
        assert c.peer.steps == ["sell_all_bid"]


async def test_an_exit_may_pass_an_unconfirmed_step(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        await c.done("entry")
        c.peer.room, c.peer.urgent_room = 0, 1
        await c.done("sl")
        assert c.peer.steps == ["buy_ask", "sell_all_bid"]


async def test_time_in_the_queue_counts_against_the_age_limit(tmp_path: Path) -> None:
    async with core(tmp_path, guard="off", step_timeout_s=1000) as c:
        c.peer.room = 0
        receipt = await c.send("entry")
        c.clock.advance(10.5)
        c.peer.back()
        outcome = (await c.settled(receipt)).outcome
        assert outcome is not None
        assert outcome.result is Result.EXPIRED
        assert c.peer.steps == []


async def test_a_suspended_machine_does_not_keep_an_event_young(tmp_path: Path) -> None:
    async with core(tmp_path, guard="off", step_timeout_s=1000) as c:
        c.peer.room = 0
        receipt = await c.send("entry")
        c.clock.up += 10.5  # the wall clock was set back meanwhile
        c.peer.back()
        outcome = (await c.settled(receipt)).outcome
        assert outcome is not None
        assert outcome.result is Result.EXPIRED


async def test_a_peer_lost_in_the_middle_leaves_it_uncertain(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        await c.done("entry")
        c.peer.room = 1
        c.peer.on_send = lambda *_: setattr(c.peer, "room", 0)
        receipt = await c.send("tp1")
        entry = await c.send("entry", "MSFT")
        await until(lambda: c.peer.wanted > 1)
        c.clock.advance(2.1)
        outcome = (await c.settled(receipt)).outcome
        assert outcome == Outcome(Result.UNCERTAIN, "stopped after step 1 of 3: Connection refused")
        await c.settled(entry)


async def test_what_waits_behind_a_stalled_exit_ends_on_time(tmp_path: Path) -> None:
    async with core(tmp_path, guard="off", how={"preset": "bracket"}) as c:
        c.peer.on_send = lambda *_: setattr(c.peer, "room", 0)
        sl = await c.send("sl")
        entry = await c.send("entry", "MSFT")
        await until(lambda: c.peer.wanted > 1)
        c.clock.advance(2.1)
        assert (await c.settled(entry)).outcome == Outcome(Result.FAILED, "Connection refused")
        assert sl.deliveries[0].outcome is None
        c.peer.on_send = lambda *_: None
        c.peer.back()
        assert (await c.settled(sl)).outcome == Outcome(Result.DONE)


async def test_a_doubt_stops_a_tp_but_an_exit_presses_on(tmp_path: Path) -> None:
    async with core(
        tmp_path, gap_s=0.03, guard="off", how={"preset": "bracket", "sequences": {"tp1": ["a", "b"]}}
    ) as c:
        c.peer.confirms = False
        c.hold_at(1)
        tp1 = await c.send("tp1", "MSFT")
        c.peer.confirm("connection lost")
        assert (await c.settled(tp1)).outcome == Outcome(Result.UNCERTAIN, "step 1 of 2: connection lost")
        c.clock.go()
        sl = await c.send("sl")
        await until(lambda: c.peer.open)
        c.peer.confirm("connection lost")
        await until(lambda: c.peer.open)
        c.peer.confirm(None)
        assert (await c.settled(sl)).outcome == Outcome(Result.UNCERTAIN, "connection lost")
        assert c.peer.steps == ["a", "cancel_all", "sell_all_bid"]


async def test_a_late_confirmation_changes_no_outcome(tmp_path: Path) -> None:
    async with core(tmp_path, gap_s=GAP) as c:
        await c.done("entry")
        c.peer.confirms = False
        c.hold_at(1)
        tp1 = await c.send("tp1")
        await until(lambda: len(c.peer.open) == 1)
        await c.send("sl")
        c.peer.confirm("too late")
        c.clock.go()
        await until(lambda: len(c.peer.sent) == 4)
        while c.peer.open:
            c.peer.confirm()
        await until(lambda: len(c.ended) == 3)
        assert [r for _, r in results(c)] == ["done", "superseded", "done"]
        assert tp1.deliveries[0].begun == 1


async def test_a_healthy_lane_does_not_wait_for_confirmations(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        c.peer.confirms = False
        await c.send("entry")
        tp1 = await c.send("tp1")
        await until(lambda: len(c.peer.sent) == 4)
        assert c.ended == []
        while c.peer.open:
            c.peer.confirm()
        assert (await c.settled(tp1)).confirmed == 3
