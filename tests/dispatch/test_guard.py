"""Every sentence of the guard: what is refused because of what is believed open, in each of its three settings."""

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.dispatch.book import TRADES_LIMIT, Book, Entry
from daemon.ports import Action, Delivery, Guard, Outcome, Result, State
from tests.dispatch.support import SetClock, core, event, until

Step = tuple[str, ...]


class Guarded:
    """A book and the way a lane uses it."""

    def __init__(self, guard: Guard = "strict", *, allow_add: bool = False) -> None:
        self.guard, self.allow_add = guard, allow_add
        self.written: dict[str, str | None] = {}
        self.book = Book(self.written.__setitem__)

    def go(self, type: str, symbol: str = "AAPL", trade: str = "", end: str = "done") -> str:
        """One event's turn; `end` is how it ends, `flies` for not yet, `waits-X` for X before its turn came."""
        named: dict[str, Any] = {"trade_id": trade} if trade else {}
        what = event(type, symbol, **named)
        delivery = Delivery(what, 0, Action("hotkeys", "main", ("k",)), "live", what.ts, 1.0)
        if end.startswith("waits-"):
            self.finish(delivery, end.removeprefix("waits-"))
            return end
        reason = self.book.refusal(what, self.guard, allow_add=self.allow_add)
        if reason:
            self.finish(delivery, "refused")
            return reason
        self.book.start(what)
        delivery.started = True
        delivery.begun = 0 if end == "failed" else 1
        if end != "flies":
            self.finish(delivery, end)
        return ""

    def finish(self, delivery: Delivery, end: str) -> None:
        delivery.state = State.ENDED
        delivery.outcome = Outcome(Result(end))
        self.book.end(delivery, self.guard)


STRICT: list[tuple[str, list[Step], Step, str]] = [
    ("the first entry goes", [], ("entry",), ""),
    ("an entry for a second symbol", [("entry",)], ("entry", "MSFT"), "AAPL is open"),
    ("while the first is only in flight", [("entry", "AAPL", "", "flies")], ("entry", "MSFT"), "AAPL is open"),
    ("or uncertain", [("entry", "AAPL", "", "uncertain")], ("entry", "MSFT"), "AAPL is open"),
    ("not if the first failed without a byte", [("entry", "AAPL", "", "failed")], ("entry", "MSFT"), ""),
    ("nor if it expired", [("entry", "AAPL", "", "waits-expired")], ("entry", "MSFT"), ""),
    ("nor once it was closed", [("entry",), ("close",)], ("entry", "MSFT"), ""),
    ("nor once it was stopped", [("entry",), ("sl",)], ("entry", "MSFT"), ""),
    ("nor after its tp2", [("entry",), ("tp2",)], ("entry", "MSFT"), ""),
    ("but still after its tp1", [("entry",), ("tp1",)], ("entry", "MSFT"), "AAPL is open"),
    ("a tp1 of a trade never seen shows that it is open", [("tp1",)], ("entry", "MSFT"), "AAPL is open"),
    ("a stop in flight ends it", [("entry",), ("sl", "AAPL", "", "flies")], ("entry", "MSFT"), ""),
    ("a stop that failed without a byte does not", [("entry",), ("sl", "AAPL", "", "failed")],
     ("entry", "MSFT"), "AAPL is open"),
    ("a second entry of an open trade", [("entry",)], ("entry",), "already open"),
    ("also while the first is in flight", [("entry", "AAPL", "", "flies")], ("entry",), "already open"),
    ("also when the first is uncertain", [("entry", "AAPL", "", "uncertain")], ("entry",), "already open"),
    ("another trade of the same symbol goes", [("entry", "AAPL", "a")], ("entry", "AAPL", "b"), ""),
    ("a new entry after the end", [("entry",), ("sl",)], ("entry",), ""),
    ("a new entry after one refused", [("entry", "AAPL", "", "waits-refused")], ("entry",), ""),
    ("tp1", [("entry",)], ("tp1",), ""),
    ("tp1 while the entry is in flight", [("entry", "AAPL", "", "flies")], ("tp1",), ""),
    ("tp1 after an uncertain entry", [("entry", "AAPL", "", "uncertain")], ("tp1",), ""),
    ("tp1 twice", [("entry",), ("tp1",)], ("tp1",), "tp1 of this trade was already done"),
    ("tp1 while the first is in flight", [("entry",), ("tp1", "AAPL", "", "flies")], ("tp1",), "already done"),
    ("tp1 after an uncertain tp1", [("entry",), ("tp1", "AAPL", "", "uncertain")], ("tp1",), "already done"),
    ("tp1 after one that failed without a byte", [("entry",), ("tp1", "AAPL", "", "failed")], ("tp1",), ""),
    ("tp1 after one that expired", [("entry",), ("tp1", "AAPL", "", "waits-expired")], ("tp1",), ""),
    ("tp2 after tp1", [("entry",), ("tp1",)], ("tp2",), ""),
    ("tp2 without tp1", [("entry",)], ("tp2",), ""),
    ("tp2 twice", [("entry",), ("tp2",)], ("tp2",), "tp2 of this trade was already done"),
    ("tp1 after tp2", [("entry",), ("tp2",)], ("tp1",), "the trade has ended (tp2)"),
    ("tp1 after a tp2 that failed without a byte", [("entry",), ("tp2", "AAPL", "", "failed")], ("tp1",), ""),
    ("tp2 after the sl", [("entry",), ("sl",)], ("tp2",), "the trade has ended (sl)"),
    ("tp1 after the close", [("entry",), ("close",)], ("tp1",), "the trade has ended (close)"),
    ("tp1 after an uncertain sl", [("entry",), ("sl", "AAPL", "", "uncertain")], ("tp1",), "has ended (sl)"),
    ("tp1 after an sl that failed without a byte", [("entry",), ("sl", "AAPL", "", "failed")], ("tp1",), ""),
    ("tp1 after an entry refused", [("entry", "AAPL", "", "waits-refused")], ("tp1",), "nothing was bought"),
    ("tp1 after an entry expired", [("entry", "AAPL", "", "waits-expired")], ("tp1",), "nothing was bought"),
    ("tp2 after an entry failed", [("entry", "AAPL", "", "failed")], ("tp2",), "nothing was bought"),
    ("tp1 after the entry of a second symbol was refused", [("entry", "MSFT"), ("entry",)], ("tp1",),
     "MSFT is the open"),
    ("a refused second entry takes nothing from the open trade", [("entry",), ("entry",)], ("tp1",), ""),
    ("a late duplicate entry takes nothing either", [("entry",), ("entry", "AAPL", "", "waits-expired")], ("tp1",), ""),
    ("after re-entry tp1 may be done again", [("entry",), ("tp1",), ("sl",), ("entry",)], ("tp1",), ""),
    ("a tp of a trade never heard of", [], ("tp1",), ""),
    ("a tp2 of one", [], ("tp2",), ""),
    ("tp1 of one twice", [("tp1",)], ("tp1",), "already done"),
    ("an sl of a trade never heard of", [], ("sl",), ""),
    ("tp1 after the sl of a trade never heard of", [("sl",)], ("tp1",), "has ended (sl)"),
    ("an sl of a trade whose entry failed", [("entry", "AAPL", "", "failed")], ("sl",), ""),
    ("an sl of a trade that has ended", [("entry",), ("tp2",)], ("sl",), ""),
    ("an sl twice", [("entry",), ("sl",)], ("sl",), ""),
    ("a close after an sl", [("entry",), ("sl",)], ("close",), ""),
    ("an exit of another symbol than the one bought", [("entry", "MSFT")], ("sl",), "MSFT is the open symbol"),
    ("a close of another symbol", [("entry", "MSFT")], ("close",), "MSFT is the open symbol"),
    ("while that entry is in flight", [("entry", "MSFT", "", "flies")], ("sl",), ""),
    ("when it is uncertain", [("entry", "MSFT", "", "uncertain")], ("sl",), ""),
    ("when it failed", [("entry", "MSFT", "", "failed")], ("sl",), ""),
    ("when it has ended", [("entry", "MSFT"), ("close", "MSFT")], ("sl",), ""),
    ("an exit sells all of the symbol: each trade of it",
     [("entry", "AAPL", "a"), ("entry", "AAPL", "b"), ("sl", "AAPL", "a")],
     ("tp1", "AAPL", "b"), "has ended (sl)"),
    ("and then another symbol may be bought", [("entry", "AAPL", "a"), ("entry", "AAPL", "b"), ("sl", "AAPL", "a")],
     ("entry", "MSFT"), ""),
]  # fmt: skip


@pytest.mark.parametrize(("before", "last", "refusal"), [row[1:] for row in STRICT], ids=[row[0] for row in STRICT])
def test_strict(before: list[Step], last: Step, refusal: str) -> None:
    guarded = Guarded("strict")
    for step in before:
        guarded.go(*step)
    reason = guarded.go(*last)
    assert (refusal in reason) if refusal else reason == ""


@pytest.mark.parametrize(("before", "last", "refusal"), [row[1:] for row in STRICT], ids=[row[0] for row in STRICT])
def test_per_symbol_is_the_same_without_the_one_symbol_rule(before: list[Step], last: Step, refusal: str) -> None:
    guarded = Guarded("per_symbol")
    for step in before:
        guarded.go(*step)
    reason = guarded.go(*last)
    symbols = {step[1] if len(step) > 1 else "AAPL" for step in (*before, last)}
    if len(symbols) > 1 or "each trade of it" in refusal or [s[0] for s in before] == ["entry", "entry", "sl"]:
        assert reason == ""
    else:
        assert (refusal in reason) if refusal else reason == ""


@pytest.mark.parametrize(("before", "last"), [row[1:3] for row in STRICT], ids=[row[0] for row in STRICT])
def test_off_lets_everything_through(before: list[Step], last: Step) -> None:
    guarded = Guarded("off")
    for step in before:
        guarded.go(*step)
    assert guarded.go(*last) == ""


def test_allow_add_lets_a_second_entry_through_and_keeps_what_was_taken() -> None:
    guarded = Guarded(allow_add=True)
    assert [guarded.go("entry"), guarded.go("tp1"), guarded.go("entry")] == ["", "", ""]
    assert "already done" in guarded.go("tp1")
    assert "AAPL is open" in guarded.go("entry", "MSFT")


def test_a_second_entry_that_failed_does_not_void_the_first() -> None:
    guarded = Guarded(allow_add=True)
    guarded.go("entry")
    guarded.go("entry", end="failed")
    assert guarded.go("tp1") == ""
    assert "AAPL is open" in guarded.go("entry", "MSFT")


@pytest.mark.parametrize("type", ["tp1", "tp2", "sl", "close"])
def test_what_may_have_been_pressed_before_a_power_cut_counts_as_pressed(type: str) -> None:
    guarded = Guarded()
    guarded.go("entry", end="waits-uncertain")
    assert guarded.book.trades[":AAPL"].entry is Entry.UNCERTAIN
    assert "AAPL is open" in guarded.go("entry", "MSFT")
    guarded.go(type, end="waits-uncertain")
    assert guarded.go("tp2" if type == "tp2" else "tp1") != ""


def test_by_hand() -> None:
    guarded = Guarded()
    guarded.book.set("AAPL", open=True)
    assert "AAPL is open" in guarded.go("entry", "MSFT")
    assert "AAPL is the open symbol" in guarded.go("sl", "MSFT")
    assert guarded.go("tp1", "AAPL") == ""
    guarded.book.set("AAPL", open=False)
    assert "has ended (hand)" in guarded.go("tp2", "AAPL")
    assert guarded.go("entry", "MSFT") == ""
    guarded.book.set("MSFT", open=True)
    assert len([t for t in guarded.book.trades.values() if t.open]) == 1, "setting what is so changes nothing"
    guarded.book.clear()
    assert guarded.book.trades == {}
    assert guarded.written == {":AAPL": None, ":MSFT": None}
    assert guarded.go("entry", "TSLA") == ""


def test_flat_by_hand_ends_every_trade_of_the_symbol() -> None:
    guarded = Guarded()
    guarded.go("entry", trade="a")
    guarded.go("entry", trade="b")
    guarded.book.set("AAPL", open=False)
    assert guarded.go("entry", "MSFT") == ""


def test_every_change_is_written_and_can_be_loaded() -> None:
    guarded = Guarded()
    for step in (("entry",), ("tp1",), ("entry", "MSFT"), ("sl",), ("entry", "TSLA", "x", "flies")):
        guarded.go(*step)
        again = Book(lambda *_: None)
        for trade, state in guarded.written.items():
            assert state is not None
            again.load(trade, state)
        assert again.trades == guarded.book.trades


@pytest.mark.parametrize(
    "state",
    [
        "",
        "{",
        "[]",
        '"x"',
        "7",
        "{}",
        '{"symbol":"A","entry":"?","taken":[],"ended_by":""}',
        '{"symbol":"A","entry":"done","taken":7,"ended_by":""}',
    ],
)
def test_a_record_that_cannot_be_read_says_so(state: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the words are Python's
        Book(lambda *_: None).load("t", state)


def test_5000_trades_at_most_and_the_ended_and_oldest_go_first() -> None:
    guarded = Guarded("per_symbol")
    guarded.go("entry", "OPEN")
    guarded.go("entry", "LATE")
    for number in range(TRADES_LIMIT + 10):
        if number == TRADES_LIMIT - 20:
            guarded.go("sl", "LATE")
        guarded.go("sl", f"S{number}")
    assert len(guarded.book.trades) == TRADES_LIMIT
    assert guarded.book.trades[":OPEN"].open
    assert ":LATE" in guarded.book.trades, "it has ended, but a moment ago: its tp must still be refused"
    assert "has ended" in guarded.go("tp1", "LATE")
    assert ":S0" not in guarded.book.trades
    assert guarded.written[":S0"] is None
    assert sum(state is not None for state in guarded.written.values()) == TRADES_LIMIT


def test_with_only_open_trades_the_oldest_goes() -> None:
    guarded = Guarded("per_symbol")
    for number in range(TRADES_LIMIT + 1):
        guarded.go("entry", f"S{number}")
    assert len(guarded.book.trades) == TRADES_LIMIT
    assert f":S{TRADES_LIMIT}" in guarded.book.trades
    assert ":S0" not in guarded.book.trades


# -- in the lane, and over a restart -----------------------------------------------------------------------------------


async def test_refusals_at_the_lane_have_outcomes_with_reasons(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        assert await c.done("entry") == ("done", "")
        assert await c.done("entry", "MSFT") == ("refused", "AAPL is open at this target")
        assert (await c.send("entry", "MSFT")).status == "refused"
        assert await c.done("tp1") == ("done", "")
        assert await c.done("tp1") == ("refused", "tp1 of this trade was already done")
        assert await c.done("sl") == ("done", "")
        assert await c.done("tp2") == ("refused", "the trade has ended (sl)")
        assert c.peer.steps == ["buy_ask", "sell_ask", "cancel_all", "break_even", "sell_all_bid"]


async def test_it_decides_when_the_turn_comes_not_at_the_door(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        await c.done("entry")
        c.peer.room = 0
        close, entry = await c.send("close"), await c.send("entry", "MSFT")
        assert entry.status == "accepted"
        c.peer.back()
        assert (await c.settled(close)).outcome == Outcome(Result.DONE)
        assert (await c.settled(entry)).outcome == Outcome(Result.DONE)


async def test_the_book_survives_a_restart_and_is_kept_per_mode(tmp_path: Path) -> None:
    clock = SetClock()
    async with core(tmp_path, clock=clock) as c:
        await c.done("entry")
        await c.done("tp1")
        c.crash()
    async with core(tmp_path, clock=clock) as c:
        assert (await c.done("entry", "MSFT"))[1] == "AAPL is open at this target"
        assert (await c.done("tp1"))[1] == "tp1 of this trade was already done"
    async with core(tmp_path, clock=clock, mode="practice") as c:
        assert c.lane.book.trades == {}
        assert (await c.done("entry", "MSFT"))[0] == "done"
    async with core(tmp_path, clock=clock) as c:
        assert {t.symbol for t in c.lane.book.trades.values() if t.open} == {"AAPL"}
        assert (await c.done("sl"))[0] == "done"


async def test_a_crash_in_an_entry_leaves_it_uncertain_and_the_symbol_open(tmp_path: Path) -> None:
    clock = SetClock()
    async with core(tmp_path, clock=clock) as c:
        c.peer.confirms = False
        await c.send("entry")
        await until(lambda: c.peer.steps == ["buy_ask"])
        c.crash()
    async with core(tmp_path, clock=clock) as c:
        assert c.lane.book.trades[":AAPL"].entry is Entry.UNCERTAIN
        assert c.peer.steps == []
        assert (await c.done("entry"))[1] == "the trade is already open"


async def test_cleared_by_hand_stays_cleared(tmp_path: Path) -> None:
    async with core(tmp_path) as c:
        await c.done("entry")
        c.lane.book.clear()
        c.lane.book.set("TSLA", open=True)
        c.journal.commit()
        c.crash()
    async with core(tmp_path) as c:
        assert [json.dumps(trade.shown()["symbol"]) for trade in c.lane.book.trades.values()] == ['"TSLA"']


async def test_two_targets_have_books_of_their_own(tmp_path: Path) -> None:
    from daemon.settings import Route

    route = Route.model_validate({"when": {"symbol": "MSFT"}, "do": [{"hotkeys": "second"}]})
    async with core(tmp_path, targets=("main", "second"), how={"routes": (route,)}) as c:
        assert (await c.done("entry", "AAPL"))[0] == "done"
        assert (await c.done("entry", "MSFT"))[0] == "done"
        assert (await c.done("entry", "TSLA"))[1] == "AAPL is open at this target"
