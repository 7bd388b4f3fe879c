"""Any interleaving of events on two lanes: no sequence cut into by another trade's, one outcome each, gaps kept."""

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.ports import Delivery, Result
from daemon.settings import Route
from tests.dispatch.support import Core, core, turns, until

GAP = 0.002
SECOND = Route.model_validate({"when": {"symbol": ["MSFT", "TSLA"]}, "do": [{"hotkeys": "second"}]})
SEQUENCES = {"entry": ["e1", "e2"], "tp1": ["a1", "cancel_all", "a3"], "sl": ["s1", "s2"], "close": ["c1"]}

_event = st.tuples(
    st.just("event"),
    st.sampled_from(["entry", "tp1", "tp2", "sl", "close"]),
    st.sampled_from(["AAPL", "NVDA", "MSFT", "TSLA"]),
)
_other = st.one_of(
    st.tuples(st.just("pause"), st.integers(1, 40), st.just("")),
    st.tuples(st.just("away"), st.sampled_from(["main", "second"]), st.just("")),
    st.tuples(st.just("back"), st.sampled_from(["main", "second"]), st.just("")),
    st.tuples(st.just("doubt"), st.sampled_from(["main", "second"]), st.just("")),
    st.tuples(st.just("advance"), st.sampled_from([0.5, 3.0]), st.just("")),
    st.tuples(st.just("halt"), st.sampled_from(["none", "none", "entries", "all"]), st.just("")),
)
Script = list[tuple[Any, ...]]


@given(
    script=st.lists(st.one_of(_event, _event, _event, _other), min_size=1, max_size=30),
    guard=st.sampled_from(["strict", "per_symbol", "off"]),
    overtakes=st.booleans(),
)
@settings(max_examples=60, deadline=None)
async def test_any_interleaving(script: Script, guard: str, overtakes: bool) -> None:
    overtake = frozenset({"sl", "close"} if overtakes else ())
    with tempfile.TemporaryDirectory() as folder:
        how = {"routes": (SECOND,), "sequences": SEQUENCES}
        async with core(
            Path(folder), targets=("main", "second"), how=how, gap_s=GAP, guard=guard, overtake=overtake
        ) as c:
            deliveries = await _play(c, script)
            _check(c, deliveries, overtakes)


async def _play(c: Core, script: Script) -> list[Delivery]:
    deliveries: list[Delivery] = []
    for number, (what, how, symbol) in enumerate(script):
        match what:
            case "event":
                deliveries += (await c.send(how, symbol, id=f"{number}")).deliveries
            case "pause":
                await turns(how)
            case "away":
                c.peers[how].room = 0
            case "back":
                c.peers[how].back()
            case "doubt":
                peer = c.peers[how]
                if peer.open:
                    peer.confirm("connection lost")
                peer.confirms = not peer.confirms
            case "advance":
                c.clock.advance(how)
            case _:
                c.dispatcher.halt(how, "")
    c.dispatcher.halt("none", "")
    for peer in c.peers.values():
        peer.confirms = True
        while peer.open:
            peer.confirm()
        peer.back()

    def over() -> bool:
        for peer in c.peers.values():
            while peer.open:
                peer.confirm()
        return all(d.outcome for d in deliveries)

    await until(over, limit=20)
    return deliveries


def _check(c: Core, deliveries: list[Delivery], overtakes: bool) -> None:
    assert sorted(d.event.id for d in c.ended) == sorted(d.event.id for d in deliveries), "exactly one outcome each"
    by_id = {d.event.id: d for d in deliveries}
    for peer in c.peers.values():
        order: list[str] = []
        pressed: dict[str, list[str]] = {}
        for (earlier, _, before_it), (later, step, event) in pairwise(peer.sent):
            if not event.is_exit or event is before_it:
                assert later - earlier >= GAP * 0.9, (step, event.id)
        for _, step, event in peer.sent:
            pressed.setdefault(event.id, []).append(step)
            if not order or order[-1] != event.id:
                assert event.id not in order, "a sequence was taken up again after another's key"
                order.append(event.id)
        for event_id, steps in pressed.items():
            delivery = by_id[event_id]
            assert tuple(steps) == delivery.action.steps[: len(steps)] == delivery.action.steps[: delivery.begun]
            if len(steps) < len(delivery.action.steps):
                assert delivery.outcome is not None
                assert delivery.outcome.result in (Result.SUPERSEDED, Result.UNCERTAIN)
        for earlier_id, later_id in pairwise(order):
            before, after = by_id[earlier_id], by_id[later_id]
            if before.outcome and before.outcome.result is Result.SUPERSEDED:
                assert overtakes
                assert after.event.trade == before.event.trade
                assert after.event.is_exit
        if not overtakes:
            assert order == sorted(order, key=int)
    for delivery in deliveries:
        stored = c.records.event(delivery.event.id)
        assert stored is not None
        outcome = delivery.outcome
        assert outcome is not None
        assert stored["deliveries"][0]["result"] == outcome.result.value
        if outcome.result in (Result.FAILED, Result.EXPIRED, Result.REFUSED):
            assert delivery.begun == 0
        if outcome.result is Result.DONE:
            assert delivery.confirmed == len(delivery.action.steps)
