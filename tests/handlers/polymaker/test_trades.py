"""From events to trades and figures: only what is known, and the same again after a restart."""

import json
import random
from decimal import Decimal
from typing import Any

import pytest

from daemon.events import TradeEvent
from handlers.polymaker import trades
from handlers.polymaker.models import Metrics, Trade
from handlers.polymaker.trades import Ledger, Note, Position, is_ours, market_of, trade_body
from tests.dispatch.support import NOW, event

D = Decimal
META: dict[str, Any] = {"asset": "BTC", "token_id": "77", "outcome": "Up", "window": "5m"}


class Book:
    """A ledger, and every note it took, as the journal would keep it."""

    def __init__(self, bankroll: str | None = "500") -> None:
        self.bankroll = D(bankroll) if bankroll is not None else None
        self.ledger = Ledger(self.bankroll)
        self.notes: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    def take(self, type: str, *, filled: bool = True, trade: str = "t", **fields: Any) -> Position | None:
        found = event(type, trade_id=trade, **({"meta": META} | fields))
        note = self.ledger.note(found, f"{found.id}:trade", filled=filled)
        self.notes.append(json.dumps(note.json()))
        self.bodies.append(trade_body(found, note))
        return self.ledger.take(note)

    def trade(self, buy: str, sell: str | None, trade: str = "t") -> None:
        self.take("entry", trade=trade, price=buy, quantity="20")
        known: dict[str, Any] = {"price": sell} if sell else {}
        self.take("close", trade=trade, **known)

    @property
    def figures(self) -> dict[str, Any]:
        return self.ledger.figures()


@pytest.mark.parametrize(
    ("meta", "ours"),
    [
        (META, True),
        ({"asset": "BTC"}, True),
        ({"token_id": 7}, True),
        ({"window": "5m"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_which_events_are_trades_there(meta: Any, ours: bool) -> None:
    assert is_ours(event("entry", meta=meta)) is ours


@pytest.mark.parametrize(
    ("meta", "market"),
    [
        ({"asset": "BTC"}, {"asset": "BTC", "window": "15m"}),
        ({"token_id": 7132}, {"asset": "AAPL", "window": "15m", "tokenId": "7132"}),
        ({"asset": "", "token_id": "7"}, {"asset": "AAPL", "window": "15m", "tokenId": "7"}),
        ({"asset": "x" * 300, "token_id": "7" * 300}, {"asset": "x" * 128, "window": "15m"}),
        ({"asset": "sold 15m", "window": "1h"}, {"asset": "sold 15m", "window": "1h"}),
        (
            {"asset": 5, "condition_id": "0x5f", "window_id": 1_763_719_200, "token_id_down": "8", "expires_at": "2"},
            {"asset": "5", "window": "15m", "conditionId": "0x5f", "windowId": "1763719200", "tokenIdDown": "8",
             "expiresAt": "2"},
        ),
    ],
)  # fmt: skip
def test_what_is_known_of_a_market(meta: Any, market: dict[str, str]) -> None:
    assert market_of(event("entry", meta=meta)) == market


def test_a_whole_body() -> None:
    book = Book()
    book.take("entry", price="0.42", quantity="25.5", strategy="arb", meta=META | {"cycle": 12, "condition_id": "0x5f"})
    book.take("tp1", price="0.5", quantity="10", side="short", meta={"asset": "BTC"})
    assert book.bodies == [
        {
            "cycle": 12, "asset": "BTC", "windowDuration": "5m", "side": "buy", "outcome": "Up", "price": "0.42",
            "size": "25.5", "strategy": "arb", "conditionId": "0x5f", "tokenId": "77",
        },
        {
            "cycle": 12, "asset": "BTC", "windowDuration": "15m", "side": "sell", "outcome": "Down", "price": "0.5",
            "size": "10", "strategy": "MM",
        },
    ]  # fmt: skip
    for body in book.bodies:
        assert Trade.read(body | {"runId": 101}).run_id == 101


@pytest.mark.parametrize(
    ("cycle", "told"),
    [(4, 4), ("4", 4), (4.0, 4), (0, 0), (-1, 1), ("four", 1), (1.5, 1), (2**53, 1), ("9" * 40, 1), (2**53 - 1,) * 2],
)
def test_the_bots_own_count(cycle: object, told: int) -> None:
    book = Book()
    book.take("entry", price="0.5", quantity="1", meta=META | {"cycle": cycle})
    assert book.bodies[0]["cycle"] == told
    Trade.read(book.bodies[0] | {"runId": 101})


def test_without_a_count_each_entry_is_one_more_and_exits_belong_to_theirs() -> None:
    book = Book()
    for trade in "abc":
        book.take("entry", trade=trade, price="0.5", quantity="1")
    book.take("close", trade="a", price="0.6")
    book.take("close", trade="never heard of", price="0.6")
    assert [body["cycle"] for body in book.bodies] == [1, 2, 3, 1, 3]
    assert book.figures["totalCycles"] == 3


def test_wins_losses_peak_and_drawdown() -> None:
    book = Book()
    for buy, sell in (("0.40", "0.55"), ("0.40", "0.30"), ("0.50", "0.50"), ("0.25", "0.30")):
        book.trade(buy, sell)
    assert book.figures == {
        "totalCycles": 4, "totalOrders": 8, "totalFills": 8, "winCount": 2, "lossCount": 1, "avgFillRate": D("1.0000"),
        "totalPnl": D("6.5"), "realizedPnl": D("6.5"), "peakPnl": D("7.5"), "maxDrawdown": D(5),
        "endingBankroll": D("506.5"),
    }  # fmt: skip
    metrics, left_out = Metrics.of(**book.figures)
    assert not left_out
    assert metrics.total_pnl == D("6.5")


def test_nothing_is_made_up() -> None:
    assert set(Book(None).figures.values()) == {0}
    assert "endingBankroll" not in Book(None).figures
    book = Book()
    book.trade("0.4", "0.5", "a")
    book.trade("0.4", None, "b")  # sold at nobody knows what
    assert book.ledger.unknown == 1
    assert not {"totalPnl", "realizedPnl", "peakPnl", "maxDrawdown", "endingBankroll"} & set(book.figures)
    assert (book.figures["winCount"], book.figures["totalOrders"]) == (1, 4)


@pytest.mark.parametrize(
    ("entry", "exits", "unknown"),
    [
        ({"price": "0.4"}, [("close", {"price": "0.5"})], 1),
        ({"quantity": "20"}, [("close", {"price": "0.5"})], 1),
        ({"price": "0.4", "quantity": "20"}, [("tp1", {"price": "0.5"}), ("close", {"price": "0.5"})], 1),
        ({"price": "0.4", "quantity": "20"}, [("tp1", {"price": "0.5", "quantity": "5"}), ("sl", {"price": "0.3"})], 0),
        ({"price": "0.4", "quantity": "20", "targets": {"stop": "0.3"}}, [("sl", {})], 0),
        ({"price": "0.4", "quantity": "20", "targets": {"tp2": "0.6"}}, [("tp2", {})], 0),
        ({"price": "0.4", "quantity": "20", "targets": {"tp2": "0.6"}}, [("close", {})], 1),
        (None, [("close", {"price": "0.5", "quantity": "5"})], 1),
        (None, [("tp1", {"price": "0.5", "quantity": "5"}), ("sl", {"price": "0.5", "quantity": "5"})], 1),
        (None, [("sl", {}), ("close", {})], 1),
        ({"price": "0.4", "quantity": "20"}, [("tp2", {"price": "0.5"}), ("close", {"price": "0.5"})], 0),
    ],
)
def test_what_is_known_of_a_result(entry: Any, exits: list[Any], unknown: int) -> None:
    book = Book()
    if entry is not None:
        book.take("entry", **entry)
    for type_, fields in exits:
        book.take(type_, **fields)
    assert book.ledger.unknown == unknown


def test_what_ends_a_trade_sells_all_that_is_left() -> None:
    book = Book()
    book.take("entry", price="0.40", quantity="20", targets={"tp1": "0.50", "stop": "0.30"})
    book.take("tp1", quantity="10")
    book.take("sl")
    assert [(body["price"], body["size"]) for body in book.bodies[1:]] == [("0.50", "10"), ("0.30", "9")]
    assert book.figures["totalPnl"] == D("2.0") - D("3.0")


def test_a_first_profit_of_unknown_size_is_no_whole_trade() -> None:
    book = Book()
    book.take("entry", price="0.40", quantity="20", targets={"tp1": "0.50"})
    book.take("tp1")
    assert "size" not in book.bodies[1]


def test_a_total_is_not_known_from_the_profit_on_that_nobody_can_put_a_figure_on() -> None:
    book = Book()
    book.take("entry", price="0.40", quantity="20")
    assert book.figures["totalPnl"] == 0
    book.take("tp1", price="0.50")
    assert book.ledger.unknown == 1
    assert not {"totalPnl", "realizedPnl", "peakPnl", "maxDrawdown", "endingBankroll"} & set(book.figures)
    book.take("tp1")
    book.take("close")
    assert book.ledger.unknown == 1, "one trade, counted once"


def test_adding_to_a_trade() -> None:
    book = Book()
    first = book.take("entry", price="0.40", quantity="20")
    assert book.take("entry", price="0.60", quantity="30") is first
    assert first is not None
    assert (first.price, first.size, first.shares, first.basis) == (D("0.40"), D(20), D(100), D("0.5"))
    book.take("close", price="0.55")
    assert book.figures["totalPnl"] == D("5.00")
    assert book.figures["winCount"] == 1


def test_what_was_not_filled_counts_as_an_order_only() -> None:
    book = Book()
    assert book.take("entry", filled=False, price="0.40", quantity="20") is None
    assert book.take("entry", price="0.50", quantity="20") is not None
    assert book.take("close", filled=False, price="0.6") is None
    assert book.ledger.positions["t"].shares == D(40), "a sale that failed sells nothing"
    assert (book.figures["totalOrders"], book.figures["totalFills"]) == (3, 1)
    assert book.figures["avgFillRate"] == D("0.3333")


def test_more_than_there_is_cannot_be_sold() -> None:
    book = Book()
    book.take("entry", price="0.40", quantity="20")
    book.take("close", price="0.50", quantity="1000")
    assert book.figures["totalPnl"] == D("5.00")


@pytest.mark.parametrize(
    ("price", "quantity"), [("1e-20", "9e19"), ("9e19", "1e-20"), ("1e-20", "1e-20"), ("9e19",) * 2]
)
def test_numbers_beyond_all_measure(price: str, quantity: str) -> None:
    book = Book()
    book.take("entry", price=price, quantity=quantity)
    book.take("entry", price=price, quantity=quantity)
    book.take("tp1", price="9e19", quantity="1e-20")
    book.take("close", price="1e-20")
    assert book.figures["totalOrders"] == 4
    metrics, _ = Metrics.of(**book.figures)
    assert metrics.total_orders == 4


def test_markets_are_those_of_open_trades_and_of_the_last_hour() -> None:
    book = Book()
    for trade, at in (("open", NOW - 9000), ("old", NOW - 8000), ("young", NOW - 100)):
        meta = {"asset": trade, "token_id": trade}
        book.take("entry", trade=trade, price="0.5", quantity="1", ts=at, meta=meta)
        if trade != "open":
            book.take("close", trade=trade, price="0.5", ts=at, meta=meta)
    book.take("entry", trade="no token", price="0.5", quantity="1", meta={"asset": "BTC"})
    assert [market["asset"] for market in book.ledger.markets(NOW - 3600)] == ["open", "young"]


def test_a_replay_gives_the_same_figures() -> None:
    chance = random.Random(5)
    book = Book()
    for number in range(400):
        trade = f"t{chance.randrange(40)}"
        fields: dict[str, Any] = {"ts": NOW + number}
        if chance.random() < 0.97:
            fields["price"] = f"0.{chance.randrange(1, 99):02}"
        if chance.random() < 0.97:
            fields["quantity"] = str(chance.randrange(1, 90))
        kind = chance.choice(["entry", "entry", "tp1", "tp2", "sl", "close"])
        book.take(kind, trade=trade, filled=chance.random() < 0.9, **fields)
    again = Ledger(book.bankroll)
    for note in book.notes:
        again.take(Note.of(json.loads(note)))
    assert again.figures() == book.figures
    assert again.positions == book.ledger.positions
    assert again.markets(NOW) == book.ledger.markets(NOW)
    assert again.unknown == book.ledger.unknown > 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trades, "POSITIONS_LIMIT", 50)
    monkeypatch.setattr(trades, "MARKETS_LIMIT", 20)
    book = Book()
    for number in range(200):
        meta = {"asset": "BTC", "token_id": number}
        book.take("entry", trade=f"open{number}", price="0.5", quantity="1", meta=meta)
        book.trade("0.4", "0.5", f"closed{number}")
    ledger = book.ledger
    assert (len(ledger.positions), len(ledger._ended)) == (49, 50)
    assert len(ledger.markets(0)) == 20
    assert "open199" in ledger.positions


@pytest.mark.parametrize("raw", [{}, {"type": "entry"}, {"type": "buy"}])
def test_a_note_that_is_none(raw: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        Note.of(raw)


def test_numbers_in_meta_are_text_on_the_wire() -> None:
    found: TradeEvent = event(
        "entry", price="0.5", quantity="1", meta={"asset": "BTC", "outcome": 1, "token_id": 10**20}
    )
    body = trade_body(found, Ledger(None).note(found, "m", filled=True))
    assert (body["outcome"], body["tokenId"]) == ("1", str(10**20))
