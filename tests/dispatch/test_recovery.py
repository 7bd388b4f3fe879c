"""What a start does with what a crash left: the table of DESIGN, "The way of an event", 3 and 4."""

from pathlib import Path
from typing import Any

import pytest

from daemon.dispatch.recovery import verdict
from daemon.ports import Action, Delivery, Outcome, Result, State
from daemon.settings import Route
from tests.dispatch.support import BOOT, NOW, Core, SetClock, core, event, rules, turns, until


def found(
    type: str = "tp1", *, state: State = State.PLANNED, begun: int = 0, confirmed: int = 0, **fields: Any
) -> Delivery:
    steps = fields.pop("steps", ("sell_ask", "cancel_all", "break_even"))
    mode = fields.pop("mode", "live")
    received = fields.pop("received", NOW - 1)
    what = event(type, ts=fields.pop("ts", NOW - 1))
    action = Action("hotkeys", "main", steps)
    return Delivery(
        what, 0, action, mode, received, fields.pop("boot", BOOT - 1), state=state, begun=begun, confirmed=confirmed
    )


STARTED = {"state": State.STARTED}
OLD = {"ts": NOW - 31, "received": NOW - 31, "boot": BOOT - 31}
BEFORE_BOOT = {"ts": NOW - 20, "received": NOW - 20, "boot": 5_000.0}
PRESSES = None

TABLE: list[tuple[str, dict[str, Any], float, Result | None]] = [
    ("planned and young", {}, BOOT, PRESSES),
    ("planned and old", OLD, BOOT, Result.EXPIRED),
    ("planned, an old clock but young by the suspended machine's", {"boot": BOOT - 31}, BOOT, Result.EXPIRED),
    ("planned in another mode", {"mode": "practice"}, BOOT, Result.REFUSED),
    ("started, step 1 of it", STARTED | {"begun": 1}, BOOT, Result.UNCERTAIN),
    ("started, step 1 confirmed: the rest is repeatable", STARTED | {"begun": 1, "confirmed": 1}, BOOT, PRESSES),
    ("started, step 2 of it: the rest is repeatable", STARTED | {"begun": 2, "confirmed": 1}, BOOT, PRESSES),
    ("the same and old", STARTED | {"begun": 2, "confirmed": 1} | OLD, BOOT, Result.UNCERTAIN),
    ("the same in another mode", STARTED | {"begun": 2, "confirmed": 1, "mode": "practice"}, BOOT, Result.UNCERTAIN),
    ("all begun, the last unconfirmed", STARTED | {"begun": 3, "confirmed": 2}, BOOT, PRESSES),
    ("all confirmed", STARTED | {"begun": 3, "confirmed": 3}, BOOT, Result.DONE),
    ("all confirmed and old", STARTED | {"begun": 3, "confirmed": 3} | OLD, BOOT, Result.DONE),
    ("an sl all of whose keys are repeatable",
     STARTED | {"type": "sl", "steps": ("sell_all_bid",), "begun": 1} | OLD, BOOT, PRESSES),
    ("the same after 300 s", STARTED | {"type": "sl", "steps": ("sell_all_bid",), "begun": 1, "ts": NOW - 301,
     "received": NOW - 301}, BOOT, Result.UNCERTAIN),
    ("an sl with a key that is not", STARTED | {"type": "sl", "steps": ("sell_half", "sell_all_bid"), "begun": 1}, BOOT,
     Result.UNCERTAIN),
    ("an entry", STARTED | {"type": "entry", "steps": ("buy_ask",), "begun": 1}, BOOT, Result.UNCERTAIN),
    ("nothing to press", STARTED | {"steps": (), "begun": 0}, BOOT, Result.DONE),
    ("planned before the machine's boot", BEFORE_BOOT, 10.0, Result.UNCERTAIN),
    ("received after it, but its own time is before", BEFORE_BOOT | {"received": NOW - 5, "boot": 5.0}, 10.0,
     Result.UNCERTAIN),
    ("planned before the boot, repeatable", BEFORE_BOOT | {"type": "sl", "steps": ("sell_all_bid",)}, 10.0, PRESSES),
    ("planned before the boot, repeatable, old",
     {"type": "sl", "steps": ("sell_all_bid",), "ts": NOW - 301, "received": NOW - 301, "boot": 5_000.0}, 10.0,
     Result.EXPIRED),
    ("started before the boot", STARTED | {"begun": 1} | BEFORE_BOOT, 10.0, Result.UNCERTAIN),
    ("started before the boot, rest repeatable", STARTED | {"begun": 1, "confirmed": 1} | BEFORE_BOOT, 10.0, PRESSES),
]  # fmt: skip


@pytest.mark.parametrize(("given", "boot", "result"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_verdict(given: dict[str, Any], boot: float, result: Result | None) -> None:
    outcome = verdict(found(**given), rules(), SetClock(NOW, boot))
    assert (outcome.result if outcome else None) == result


# -- with a journal ----------------------------------------------------------------------------------------------------


async def crash_in(folder: Path, clock: SetClock, *, keys: int, confirmed: int, **how: Any) -> None:
    """A life that ends by kill -9 in a tp1 after so many keys, of which so many were confirmed."""
    async with core(folder, clock=clock, **how) as c:
        await c.done("entry")
        c.peer.confirms = False
        c.peer.room = keys
        c.peer.on_send = lambda *_: setattr(c.peer, "room", c.peer.room - 1)
        await c.send("tp1", id="it")
        await until(lambda: len(c.peer.sent) == 1 + keys)
        for _ in range(confirmed):
            c.peer.confirm()
        await turns()
        c.journal.commit()
        c.crash()


@pytest.mark.parametrize(
    ("keys", "confirmed", "pressed", "result"),
    [
        (0, 0, ["sell_ask", "cancel_all", "break_even"], "done"),
        (1, 0, [], "uncertain"),
        (1, 1, ["cancel_all", "break_even"], "done"),
        (2, 1, ["cancel_all", "break_even"], "done"),
        (2, 2, ["break_even"], "done"),
        (3, 2, ["break_even"], "done"),
    ],
)
async def test_killed_in_a_sequence(tmp_path: Path, keys: int, confirmed: int, pressed: list[str], result: str) -> None:
    clock = SetClock()
    await crash_in(tmp_path, clock, keys=keys, confirmed=confirmed)
    async with core(tmp_path, clock=clock) as c:
        await until(lambda: len(c.ended) == 1)
        (delivery,) = c.ended
        assert c.peer.steps == pressed
        assert delivery.outcome is not None
        assert delivery.outcome.result == result
        assert (await c.done("tp1"))[1] == "tp1 of this trade was already done"
        c.crash()
    async with core(tmp_path, clock=clock) as c:
        assert c.take_up() == 0, "reported once"
        assert c.ended == []


async def test_killed_twice_while_a_stop_waits_for_its_peer(tmp_path: Path) -> None:
    clock = SetClock()
    for life in range(4):
        async with core(tmp_path, clock=clock, opened=False) as c:
            c.peer.room = 0
            c.journal.open()
            assert c.take_up() == (1 if life else 0)
            if not life:
                await c.send("sl", id="stop")
            c.crash()
    async with core(tmp_path, clock=clock) as c:
        await until(lambda: c.ended)
        assert c.peer.keys == [("stop", "sell_all_bid")]
        await c.done("close")
        c.journal.commit()
        c.crash()
    async with core(tmp_path, clock=clock) as c:
        assert c.peer.steps == []


@pytest.mark.parametrize("after", ["too old", "away", "halted", "no target", "no journal"])
async def test_what_was_begun_before_the_crash_never_ends_as_if_it_was_not(tmp_path: Path, after: str) -> None:
    clock = SetClock()
    async with core(tmp_path, clock=clock, how={"preset": "bracket"}) as c:
        c.peer.confirms = False
        await c.send("tp1", id="it")
        c.crash()
    async with core(
        tmp_path, clock=clock, opened=False, targets=("other",) if after == "no target" else ("main",)
    ) as c:
        c.journal.open()
        peer = next(iter(c.peers.values()))
        peer.room = 0
        if after == "halted":
            c.dispatcher.halt("all", "")
        c.take_up() if after != "no target" else _only_recover(c)
        if after == "too old":
            clock.advance(31)
        elif after == "away":
            clock.advance(3)
        elif after == "no journal":
            c.journal._release(wait_s=1)
            peer.back()
        await until(lambda: c.ended)
        outcome = c.ended[0].outcome
        assert outcome is not None
        assert outcome.result is Result.UNCERTAIN
        assert peer.steps == []


def _only_recover(c: Core) -> None:
    from daemon.dispatch.recovery import recover

    recover(c.journal, c.dispatcher, c.rules, c.clock)
    c.dispatcher.flush()


async def test_a_stop_behind_a_sequence_that_a_crash_cut_keeps_its_cancel_all(tmp_path: Path) -> None:
    clock = SetClock()
    async with core(tmp_path, clock=clock, gap_s=10.0) as c:
        c.peer.confirms = False
        await c.send("tp1", id="tp")
        c.peer.confirm()
        c.peer.room = 0
        await c.send("sl", id="sl")
        c.journal.commit()
        c.crash()
    async with core(tmp_path, clock=clock) as c:
        await until(lambda: len(c.ended) == 2)
        assert c.peer.keys == [("sl", "cancel_all"), ("sl", "sell_all_bid")]
        assert {d.event.id: d.outcome.result.value for d in c.ended if d.outcome} == {"tp": "superseded", "sl": "done"}


async def test_exits_go_ahead_of_what_else_is_recovered(tmp_path: Path) -> None:
    clock = SetClock()
    async with core(tmp_path, clock=clock, guard="off") as c:
        c.peer.room = 0
        for type, symbol in (("entry", "A"), ("tp1", "B"), ("sl", "C")):
            await c.send(type, symbol, id=f"{type}")
        c.crash()
    async with core(tmp_path, clock=clock, guard="off") as c:
        await until(lambda: len(c.ended) == 3)
        assert c.peer.keys[0] == ("sl", "sell_all_bid")
        assert c.peer.keys[1] == ("entry", "buy_ask")


async def test_a_change_of_mode(tmp_path: Path) -> None:
    clock = SetClock()
    async with core(tmp_path, clock=clock, guard="off", mode="practice") as c:
        c.peer.room = 0
        for type, symbol in (("entry", "A"), ("sl", "B")):
            await c.send(type, symbol)
        c.crash()
    async with core(tmp_path, clock=clock, guard="off") as c:
        await until(lambda: len(c.ended) == 2)
        assert {d.outcome.result for d in c.ended if d.outcome} == {Result.REFUSED}
        assert c.peer.steps == []


async def test_two_deliveries_of_one_event_have_fates_of_their_own(tmp_path: Path) -> None:
    clock = SetClock()
    route = Route.model_validate({"do": [{"hotkeys": "main"}, {"hotkeys": "second"}]})
    how = {"routes": (route,)}
    async with core(tmp_path, clock=clock, targets=("main", "second"), how=how) as c:
        c.peer.confirms = False
        c.peers["second"].room = 0
        await c.send("entry")
        c.crash()
    async with core(tmp_path, clock=clock, targets=("main", "second"), how=how) as c:
        await until(lambda: len(c.ended) == 2)
        assert [d.outcome for d in sorted(c.ended, key=lambda d: d.number)] == [
            Outcome(Result.UNCERTAIN, "interrupted at step 1 of 1"),
            Outcome(Result.DONE),
        ]
        assert c.peers["second"].steps == ["buy_ask"]


async def test_numbers_go_on_when_retention_has_taken_everything(tmp_path: Path) -> None:
    clock = SetClock()
    async with core(tmp_path, clock=clock) as c:
        for number in range(5):
            await c.done("sl", f"S{number}")
        c.crash()
    async with core(tmp_path, clock=clock) as c:
        while c.journal.trim(NOW + 1, 1 << 40):
            pass
        assert len(c.records.events()) == 1, "the newest stays: its number is still needed"
    async with core(tmp_path, clock=clock) as c:
        c.peer.room = 0
        await c.send("sl", id="stop")
        c.crash()
    async with core(tmp_path, clock=clock) as c:
        await until(lambda: c.ended)
        assert c.peer.keys == [("stop", "sell_all_bid")]


@pytest.mark.parametrize(
    ("type", "result", "pressed"), [("entry", "uncertain", 0), ("tp1", "uncertain", 0), ("sl", "done", 1)]
)
async def test_killed_between_the_first_record_and_the_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type: str, result: str, pressed: int
) -> None:
    clock = SetClock()
    async with core(tmp_path, clock=clock) as c:
        await c.done("close", "OTHER")
        await turns()
        c.journal.commit()
        monkeypatch.setattr(c.dispatcher, "_write", lambda: None)
        c.peer.confirms = False
        c.intake.offer(f'{{"type":"{type}","symbol":"AAPL","id":"it"}}', "http", lambda _: None)
        c.intake.flush()
        await until(lambda: len(c.peer.sent) == 2)
        c.crash()
    async with core(tmp_path, clock=clock) as c:
        await until(lambda: c.ended)
        assert [(d.event.id, d.outcome.result.value) for d in c.ended if d.outcome] == [("it", result)]
        assert len(c.peer.sent) == pressed
        assert (await c.send(type, id="it")).status == "duplicate"
        if type == "entry":
            assert (await c.done("entry", "MSFT"))[1] == "AAPL is open at this target"
        elif type == "tp1":
            assert (await c.done("tp1"))[1] == "tp1 of this trade was already done"
        c.journal.commit()
        c.crash()
    async with core(tmp_path, clock=clock) as c:
        assert c.ended == []
        assert (await c.send("sl", "NEXT")).status == "accepted"
        assert c.journal.ok
