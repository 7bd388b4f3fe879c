"""From a bot's fills to events, without any wire: the real bytes of the facts, and what only looks like them."""

import json
from decimal import Decimal
from typing import Any

import pytest

from daemon import events
from daemon.dispatch.book import Book
from daemon.events import EventType
from daemon.sources.hummingbot import About, Around, Event, Fills, Known, Missed, event_id_of
from daemon.sources.hummingbot_messages import Malformed, listed
from handlers.polymaker.trades import is_ours
from tests.fakes.hummingbot_bot import event_bytes, fill

NOW = 1_795_000_000.0
BOT = "pmm-20261120-101500"
# As the facts have it: floats, a bare NaN, the enum's other spelling.
REAL = (
    b'{"timestamp": 1794999990, "type": "OrderFilled", "data": {"timestamp": 1794999990.5, "order_id": "HBOT1", '
    b'"trading_pair": "BTC-USDT", "trade_type": "TradeType.SELL", "order_type": "OrderType.MARKET", "price": NaN, '
    b'"amount": 0.30000000000000004, "trade_fee": {"fee_type": "AddedToCost", "percent": "0.0002", "percent_token": '
    b'null, "flat_fees": []}, "exchange_trade_id": "T-9", "exchange_order_id": "7", "leverage": 1, '
    b'"position": "PositionAction.CLOSE"}}'
)


class Memory:
    """The journal, as far as the fills know it."""

    def __init__(self) -> None:
        self.facts: dict[str, str | None] = {}
        self.events: set[str] = set()
        self.known: dict[str, Known] = {}
        self.about: dict[str, About] = {}

    def fills(self) -> Fills:
        """A daemon's life begins."""
        around = Around(self.events.__contains__, self.facts.get, self.facts.__setitem__)
        around.order, around.about = self.known.get, self.about.get
        return Fills(around)

    def keep(self, found: Event | None) -> dict[str, Any]:
        """Into the journal, by the rules of the door; what was said."""
        assert found is not None
        said = events.validate(events.decode(found.raw))
        assert said.id == found.id
        self.events.add(found.id)
        written: dict[str, Any] = json.loads(found.raw)
        return written


def filled(order: str, side: str, position: str, trade: str, *, amount: str = "1", pair: str = "BTC-USDT") -> bytes:
    return event_bytes("OrderFilled", fill(order, side, "50000.5", amount, pair, position, trade), int(NOW) - 1)


def test_the_real_bytes() -> None:
    memory = Memory()
    assert memory.keep(memory.fills().take(BOT, REAL, NOW)) == {
        "type": "close",
        "symbol": "BTC-USDT",
        "id": f"hb:{BOT}:T-9",
        "ts": 1794999990.0,
        "side": "long",
        "quantity": "0.30000000000000004",
        "trade_id": "HBOT1",
        "source": "hummingbot",
        "meta": {"instance": BOT, "order": "HBOT1", "exchange_trade_id": "T-9"},
    }


@pytest.mark.parametrize(
    ("side", "position", "type", "of"),
    [
        ("BUY", "OPEN", "entry", "long"),
        ("SELL", "PositionAction.OPEN", "entry", "short"),
        ("SELL", "CLOSE", "close", "long"),
        ("BUY", "PositionAction.CLOSE", "close", "short"),
        ("BUY", "NIL", "entry", "long"),
        ("SELL", "NIL", "entry", "short"),
    ],
)
def test_side_and_position(side: str, position: str, type: str, of: str) -> None:
    memory = Memory()
    said = memory.keep(memory.fills().take(BOT, filled("o1", side, position, "1"), NOW))
    assert (said["type"], said["side"], said["price"], said["quantity"]) == (type, of, "50000.5", "1")


def test_an_orders_first_fill_is_the_entry_and_a_close_is_of_the_trade_that_opened() -> None:
    memory = Memory()
    fills = memory.fills()
    assert memory.keep(fills.take(BOT, filled("o1", "BUY", "OPEN", "1"), NOW))["trade_id"] == "o1"
    assert fills.take(BOT, filled("o1", "BUY", "OPEN", "2"), NOW) is None
    fills = memory.fills()  # the daemon was killed
    assert fills.take(BOT, filled("o1", "BUY", "OPEN", "3"), NOW) is None
    said = memory.keep(fills.take(BOT, filled("o2", "SELL", "CLOSE", "4"), NOW))
    assert (said["type"], said["trade_id"]) == ("close", "o1")
    memory.keep(fills.take(BOT, filled("o3", "SELL", "CLOSE", "5", amount="1.995"), NOW))
    said = memory.keep(fills.take(BOT, filled("o4", "SELL", "CLOSE", "6"), NOW))
    assert (said["type"], said["trade_id"]) == ("close", "o4")  # the crumbs that fees left are no position


def test_on_spot_the_first_side_opens_and_the_other_closes() -> None:
    memory = Memory()
    fills = memory.fills()
    told = [
        memory.keep(fills.take(BOT, filled(f"o{n}", side, "NIL", str(n), amount=amount), NOW))
        for n, (side, amount) in enumerate(
            [("BUY", "1"), ("SELL", "0.4"), ("SELL", "0.6"), ("BUY", "2"), ("SELL", "3")]
        )
    ]
    assert [(each["type"], each["side"], each["trade_id"]) for each in told] == [
        ("entry", "long", "o0"),
        ("close", "long", "o0"),
        ("close", "long", "o0"),
        ("entry", "long", "o3"),
        ("close", "long", "o3"),
    ]
    assert memory.keep(fills.take(BOT, filled("o9", "BUY", "NIL", "9"), NOW))["side"] == "short"  # it sold one too many


def test_an_order_that_we_know_is_what_it_was_made_for() -> None:
    memory = Memory()
    memory.known = {"mine": Known(EventType.TP1, "m-1"), "stop": Known(EventType.SL)}
    memory.about[BOT] = About("master_account", "spread")
    fills = memory.fills()
    memory.keep(fills.take(BOT, filled("o1", "BUY", "OPEN", "1", amount="3"), NOW))
    first = memory.keep(fills.take(BOT, filled("mine", "SELL", "CLOSE", "2"), NOW))
    second = memory.keep(fills.take(BOT, filled("stop", "SELL", "CLOSE", "3"), NOW))
    assert (first["type"], first["trade_id"], first["account"], first["strategy"]) == (
        "tp1", "m-1", "master_account", "spread",
    )  # fmt: skip
    assert (second["type"], second["trade_id"]) == ("sl", "o1")


def test_each_fill_once_also_without_an_exchanges_id() -> None:
    memory = Memory()
    fills = memory.fills()
    nameless = filled("o1", "SELL", "CLOSE", "")
    assert memory.keep(fills.take(BOT, nameless, NOW))["id"] == f"hb:{BOT}:o1+50000.5+1+{int(NOW) - 1}"
    for again in (fills, memory.fills()):
        assert again.take(BOT, nameless, NOW) is None
    memory.keep(fills.take("other", nameless, NOW))
    assert event_id_of(BOT, "x" * 200) == event_id_of(BOT, "x" * 200) != event_id_of(BOT, "y" * 200)
    assert len(event_id_of("b" * 128, "x" * 200)) <= 128


def test_what_comes_twice_in_one_batch_is_one() -> None:
    fills = Memory().fills()
    assert fills.take(BOT, REAL, NOW) is not None
    assert fills.take(BOT, REAL, NOW) is None


def missed(mark: str, *, buy: bool = True, at: float = NOW, price: str = "50000.5") -> Missed:
    return Missed(mark, "BTC-USDT", buy, Decimal(price), Decimal(1), at)


def test_history_adds_what_was_missed_and_nothing_else() -> None:
    memory = Memory()
    fills = memory.fills()
    assert fills.lacks(BOT, NOW)
    memory.keep(fills.take(BOT, filled("o1", "BUY", "OPEN", "1"), NOW))
    rows = [missed("1", at=NOW - 1), missed("2", buy=False), missed("", at=NOW), missed("old", at=NOW - 1000)]
    found, nameless = fills.catch_up(BOT, rows, NOW)
    told = [memory.keep(each) for each in found]
    assert [(each["id"], each["type"], each["trade_id"]) for each in told] == [(f"hb:{BOT}:2", "close", "o1")]
    assert nameless == 1
    assert not fills.lacks(BOT, NOW)
    # What the bot had queued comes after all.
    assert fills.take(BOT, filled("o2", "SELL", "CLOSE", "2"), NOW) is None
    fills.away()
    assert fills.lacks(BOT, NOW)
    assert memory.fills().catch_up(BOT, rows, NOW)[0] == []


def test_a_bot_that_we_deployed_is_told_of_from_its_first_fill_on() -> None:
    memory = Memory()
    memory.about[BOT] = About()
    assert [each.id for each in memory.fills().catch_up(BOT, [missed("1", at=NOW - 3600)], NOW)[0]] == [f"hb:{BOT}:1"]


def test_what_was_missed_before_a_fill_that_was_heard_is_found_after_a_restart() -> None:
    memory = Memory()
    fills = memory.fills()
    fills.catch_up(BOT, [], NOW)
    fills.away()
    later = NOW + 3600
    memory.keep(
        fills.take(BOT, event_bytes("OrderFilled", fill("o1", "BUY", "1", "1", "A-B", "OPEN", "9"), int(later)), later)
    )
    found, _ = memory.fills().catch_up(BOT, [missed("5", at=NOW + 10), missed("9", at=later)], later)
    assert [each.id for each in found] == [f"hb:{BOT}:5"]


def changed(**changes: Any) -> bytes:
    data = fill("o1", "BUY", "1", "1", "BTC-USDT", "OPEN", "1") | changes
    return event_bytes("OrderFilled", {k: v for k, v in data.items() if v is not ...}, int(NOW))


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"null", b"[]", b"\xff\xfe", b"{", b"[" * 20_000, b'{"type": "OrderFilled"}', b'{"type": 1, "data": {}}',
        b'{"type": "OrderFilled", "data": []}', b'{"type": "Order Filled", "data": {}}',
        changed(order_id=...), changed(order_id=[7]), changed(order_id="a b"), changed(order_id="x" * 200),
        changed(trading_pair="BTC USDT"), changed(trading_pair="x" * 40), changed(trade_type="TradeType.RANGE"),
        changed(trade_type=None), changed(amount=0), changed(amount=-1), changed(amount=float("nan")),
        changed(amount=True), changed(amount="1e400"), changed(amount=1e-30), changed(exchange_trade_id=["x"]),
        changed(exchange_trade_id="\x00"), changed(amount=10**30),
    ],
)  # fmt: skip
def test_what_is_no_fill_is_malformed_and_changes_nothing(raw: bytes) -> None:
    memory = Memory()
    with pytest.raises(Malformed):
        memory.fills().take(BOT, raw, NOW)
    assert not memory.facts


def test_what_is_tolerated() -> None:
    fills = Memory().fills()
    odd: list[dict[str, Any]] = [{"price": float("nan")}, {"price": ...}, {"position": ...}, {"position": 3}]
    for n, more in enumerate([*odd, {"leverage": "x"}]):
        found = fills.take(BOT, changed(exchange_trade_id=f"t{n}", order_id=f"o{n}", **more), NOW)
        assert found is not None
        events.validate(events.decode(found.raw))
    assert fills.take(BOT, changed(exchange_trade_id=12345, order_id="n"), NOW) is not None
    for kind in (
        "BuyOrderCompleted",
        "SellOrderCompleted",
        "BuyOrderCreated",
        "OrderCancelled",
        "FundingPaymentCompleted",
    ):
        assert fills.take(BOT, event_bytes(kind, {"order_id": "o1", "amount": 1}, int(NOW)), NOW) is None


def test_a_bot_whose_clock_runs_ahead_is_taken_at_our_time() -> None:
    memory = Memory()
    ahead = event_bytes("OrderFilled", fill("o1", "BUY", "1", "1", "A-B", "OPEN", "1"), int(NOW) + 60)
    assert memory.keep(memory.fills().take(BOT, ahead, NOW))["ts"] == NOW


@pytest.mark.parametrize(
    "written", ["", "{}", "[]", '{"until": 1, "held": {"A": {"long": [1]}}, "orders": [], "parts": []}']
)
def test_a_memory_that_cannot_be_read_is_as_none(written: str) -> None:
    memory = Memory()
    memory.facts[f"fills:{BOT}"] = written
    memory.keep(memory.fills().take(BOT, REAL, NOW))


def test_what_is_remembered_is_bounded() -> None:
    memory = Memory()
    fills = memory.fills()
    for n in range(400):
        memory.keep(fills.take(BOT, filled(f"o{n}", "BUY", "OPEN", str(n), pair=f"P{n}-USDT"), NOW))
    assert len(memory.facts[f"fills:{BOT}"] or "") < 16_000


def test_which_bots_count() -> None:
    assert listed(BOT, ["pmm-*"])
    assert listed(BOT, ["x", BOT])
    assert not listed(BOT, [])
    assert not listed("Pmm-1", ["pmm-*"])
    assert not listed("pmm-/x", ["pmm-*"])
    assert not listed("pmm-" + "x" * 200, ["*"])


def test_a_busy_order_is_not_told_again_by_its_history() -> None:
    memory = Memory()
    fills = memory.fills()
    fills.catch_up(BOT, [], NOW)
    rows = []
    for number in range(900):
        found = fills.take(BOT, filled("o1", "BUY", "OPEN", f"T-{number}"), NOW)
        assert (found is not None) is (number == 0)
        if found is not None:
            memory.keep(found)
        rows.append(Missed(f"T-{number}", "BTC-USDT", True, Decimal(1), Decimal(1), NOW - 1))
    fills.away()
    assert fills.catch_up(BOT, rows, NOW) == ([], 0)
    assert memory.fills().catch_up(BOT, rows, NOW) == ([], 0), "after a restart"


def test_parts_as_an_earlier_version_wrote_them_are_known() -> None:
    memory = Memory()
    written = {"until": NOW, "held": {}, "orders": ["o1"], "parts": [f"hb:{BOT}:T-1"]}
    memory.facts[f"fills:{BOT}"] = json.dumps(written)
    assert memory.fills().catch_up(BOT, [Missed("T-1", "BTC-USDT", True, None, Decimal(1), NOW)], NOW) == ([], 0)


def test_partial_fills_that_were_missed_are_of_one_trade() -> None:
    memory = Memory()
    fills = memory.fills()
    fills.catch_up(BOT, [], NOW)
    fills.away()
    found, _ = fills.catch_up(BOT, [missed("1"), missed("2")], NOW)
    told = [memory.keep(each) for each in found]
    told.append(memory.keep(fills.take(BOT, filled("o1", "BUY", "OPEN", "3"), NOW)))  # the rest of the same order
    assert [(each["type"], each["trade_id"]) for each in told] == [("entry", f"hb:{BOT}:1")] * 3
    assert fills.take(BOT, filled("o1", "BUY", "OPEN", "4"), NOW) is None
    fills.away()
    said = [memory.keep(each) for each in fills.catch_up(BOT, [missed("5", buy=False)], NOW)[0]]
    assert [(each["type"], each["trade_id"]) for each in said] == [("close", f"hb:{BOT}:1")]

    other = memory.fills()
    memory.keep(other.take("b", filled("o1", "BUY", "OPEN", "1"), NOW))
    said = [memory.keep(each) for each in other.catch_up("b", [missed("2", at=NOW - 1)], NOW)[0]]
    assert [(each["type"], each["trade_id"]) for each in said] == [("entry", "o1")]


def test_what_our_order_opened_is_closed_as_our_trade() -> None:
    memory = Memory()
    memory.known = {"mine": Known(EventType.ENTRY, "T"), "stop": Known(EventType.SL, "T")}
    fills = memory.fills()
    assert memory.keep(fills.take(BOT, filled("mine", "BUY", "OPEN", "1"), NOW))["trade_id"] == "T"
    said = memory.keep(fills.take(BOT, filled("by-hand", "SELL", "CLOSE", "2"), NOW))
    assert (said["type"], said["side"], said["trade_id"]) == ("close", "long", "T")
    for position, trade in (("NIL", "3"), ("OPEN", "4")):  # on spot, where nothing is known to be held
        said = memory.keep(fills.take(BOT, filled("stop", "SELL", position, trade), NOW))
        assert (said["type"], said["side"], said["trade_id"]) == ("sl", "long", "T")


def test_a_fill_is_no_trade_for_the_command_center_and_no_second_entry_for_the_guard() -> None:
    memory = Memory()
    memory.known = {"mine": Known(EventType.ENTRY, "T")}
    found = memory.fills().take(BOT, filled("mine", "BUY", "OPEN", "1"), NOW)
    assert found is not None
    fill_event = events.validate(events.decode(found.raw))
    assert not is_ours(fill_event)
    book = Book(lambda *_: None)
    book.start(events.validate({"type": "entry", "symbol": "BTC-USDT", "id": "ours", "trade_id": "T"}))
    assert book.refusal(fill_event, "per_symbol", allow_add=False) == "the trade is already open"
