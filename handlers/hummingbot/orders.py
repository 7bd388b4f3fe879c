"""Orders: placed once, found again when the answer is lost, cancelled until none is left.

What the server took (201) is not what the exchange did: an order counts when its status says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import assert_never

from daemon.clock import Clock
from daemon.errors import JournalError
from daemon.events import TradeEvent
from daemon.ports import Outcome, Result
from handlers.hummingbot import asked, models, requests
from handlers.hummingbot.answers import Ok, Refused, Unavailable, Uncertain, Why
from handlers.hummingbot.client import HummingbotApi
from handlers.hummingbot.looking import Doubts, Patience, Turns
from handlers.hummingbot.sent import Sending, Sent

NEAR_S = 5.0
"""How far the server's clock may be off, in seconds, and an order still be ours beyond doubt."""
WIDE_S = 600.0
"""Within this an order that looks like ours may be ours; then it cannot be said that ours is not there."""
UNDER_WAY_S = 180.0
"""How long after its first byte, in seconds, an order that a crash cut off may have been made."""
_ROUNDED = Decimal("0.9")
"""The server rounds an amount down to the exchange's steps; below this share it may be another order."""
_CANCELS = 3
_PAGE = 500  # with twice as many an answer may be longer than is read
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Found:
    """The order."""

    order_id: str


@dataclass(frozen=True, slots=True)
class Absent:
    """It is not there, and would be by now."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say."""

    words: str


@dataclass(slots=True)
class Cleared:
    """What became of the open orders: `left` are open still, `trouble` says why that is or that nobody knows."""

    seen: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    trouble: str = ""


class Orders:
    """Places, finds and cancels."""

    def __init__(self, api: HummingbotApi, clock: Clock, patience: Patience, sent: Sent) -> None:
        self.doubts = Doubts()
        self.turns = Turns()
        self._sent = sent
        self._api = api
        self._clock = clock
        self._patience = patience

    # -- placing ---------------------------------------------------------------------------------------------------

    async def place(self, order: asked.Order, mark: str, event: TradeEvent, begun: float) -> Outcome:
        """Set the leverage, place it, and see what the exchange makes of it. `mark` says whose it is; `begun`: `late`.

        Without a journal it goes out only for an exit, and a crash may leave a doubt.
        """
        if order.leverage is not None and (problem := await self.set_leverage(order.where, order.leverage)):
            return problem
        if problem := self.late(begun, event):
            return problem
        with self.doubts.one(like(order)):
            try:
                sending = self._sent.begin(mark, event)
            except JournalError as error:
                if not event.is_exit:
                    return Outcome(Result.FAILED, f"no order was sent: the journal cannot be written: {error}")
                sending = self._sent.unrecorded(mark, event)
            since = sending.since
            with self.turns.sending(event):
                sent = await self._api.place_order(order.body())
            match sent:
                case Ok(value=placed):
                    self.claim(placed.order_id, sending)
                case Refused(why=Why.NOT_SENT) | Unavailable():
                    away = isinstance(sent, Unavailable)
                    return Outcome(Result.FAILED, f"no order was sent: {sent.words}", away=away)
                case Refused():
                    return Outcome(Result.FAILED, f"refused: {sent.words}")
                case Uncertain():
                    with self.turns.doubt(event):
                        return await self._sought(order, sending, self._clock.now(), sent.words)
                case never:
                    assert_never(never)
        return await self.confirmed(order, placed.order_id, since)

    def late(self, begun: float, event: TradeEvent) -> Outcome | None:
        """Why nothing is to be opened any more: an exit came, or so much went by since `begun` (monotonic seconds);
        None: go on.
        """
        if self.turns.given_up(event):
            return Outcome(Result.SUPERSEDED, "nothing was sent: an sl or close of its trade came first")
        passed = self._clock.monotonic() - begun
        if event.is_exit or passed <= self._patience.send_s:
            return None
        return Outcome(Result.EXPIRED, f"nothing was sent: {passed:.1f} s went by before it could be")

    async def set_leverage(self, where: asked.Where, leverage: int) -> Outcome | None:
        """Before anything is opened: the engine's own is 20. None when it is set."""
        body = requests.SetLeverage(trading_pair=where.pair, leverage=leverage)
        found = await self._api.set_leverage(where.account, where.connector, body)
        if isinstance(found, Ok):
            return None
        words = f"no order was sent: leverage {leverage} could not be set: {found.words}"
        return Outcome(Result.FAILED, words, away=isinstance(found, Unavailable))

    def sending(self, event: TradeEvent) -> Sending:
        """An order that nobody looks up by its mark."""
        return self._sent.unrecorded("-", event)

    def claim(self, order_id: str, sending: Sending) -> None:
        """It is this one's, in this life of the daemon and the next."""
        self.doubts.claim(order_id)
        self._sent.took(sending, order_id)

    async def sought(self, order: asked.Order, mark: str, earliest: float) -> Outcome:
        """What became of an order that an earlier life of the daemon may have placed, not before `earliest`."""
        words, sending = "interrupted by a crash", self._sent.last(mark)
        if sending is not None and sending.order_id:
            self.doubts.claim(sending.order_id)
            outcome = await self.confirmed(order, sending.order_id, sending.since)
            return Outcome(outcome.result, f"found again: {outcome.reason} ({words})")
        if sending is not None:
            with self.doubts.one(like(order)):
                return await self._sought(order, sending, sending.since + UNDER_WAY_S, words)
        # It was hardly sent: that would be on record, unless the journal is damaged. So none is taken for it.
        absent_s, give_up_s = self._patience.absent_s, self._patience.give_up_s
        found = await self.find(order, earliest, self._clock.now(), absent_s, give_up_s, take=False)
        if isinstance(found, Unknown):
            return Outcome(Result.UNCERTAIN, f"{words}; nothing says that it was sent from here, but {found.words}")
        return Outcome(Result.FAILED, f"{words}; Hummingbot has no such order")

    async def _sought(self, order: asked.Order, sending: Sending, until: float, words: str) -> Outcome:
        """`words` say why there is a doubt."""
        since = sending.since
        match await self.find(order, since, until, self._patience.absent_s, self._patience.give_up_s):
            case Found(order_id=order_id):
                self.claim(order_id, sending)
                outcome = await self.confirmed(order, order_id, since)
                return Outcome(outcome.result, f"found again: {outcome.reason} ({words})")
            case Absent():
                return Outcome(Result.FAILED, f"{words}; Hummingbot has no such order")
            case Unknown(words=why):
                return Outcome(Result.UNCERTAIN, f"{words}; {why}")

    async def find(
        self, order: asked.Order, since: float, until: float, absent_s: float, give_up_s: float, *, take: bool = True
    ) -> Found | Absent | Unknown:
        """Search for an order like this that was made between these times (seconds since the epoch), for the caller to
        claim at once.

        Absent only after `absent_s`, Unknown after `give_up_s` seconds. Without `take` none is Found.
        """
        looks, known = self._patience.looks(self._clock, give_up_s), self._sent.ids()
        while True:
            search = self._search(order.where, since - WIDE_S)
            page = await self._api.search_orders(search)
            words = "the orders cannot be searched: "
            if not isinstance(page, Ok):
                words += page.words
            else:
                rows = [row for row in page.value.rows if row.order_id not in known]
                ours, others = self._alike(order, rows, since, until)
                if take and ours and len(ours) >= self.doubts.many(like(order)):
                    return Found(ours[-1])
                maybe = [*ours, *others]
                words = f"order {maybe[0]} looks like it" if maybe else "there are more orders than can be searched"
                if not maybe and page.value.next_cursor is None and looks.passed >= absent_s:
                    return Absent()
            if not await looks.more():
                return Unknown(words)

    def _alike(
        self, order: asked.Order, rows: Sequence[models.Order], since: float, until: float
    ) -> tuple[list[str], list[str]]:
        """Orders that are ours by all signs, newest first; and those that may be."""
        ours, others = [], []
        for row in rows:
            if self.doubts.claimed(row.order_id) or row.trade_type not in (order.side, ""):
                continue
            if row.order_type not in (order.kind, "") or row.amount is None:
                continue
            if not order.amount < 2 * row.amount <= 2 * order.amount:  # rounded down to a step it keeps more than half
                continue
            same = row.amount >= order.amount * _ROUNDED
            at = row.created_at
            near = at is not None and since - NEAR_S <= at <= until + NEAR_S
            if same and near:
                ours.append(row.order_id)
            elif near or (same and (at is None or since - WIDE_S <= at <= until + WIDE_S)):
                others.append(row.order_id)
        return ours, others

    @staticmethod
    def _search(where: asked.Where, since: float) -> requests.SearchOrders:
        return requests.SearchOrders(
            account_names=(where.account,),
            connector_names=(where.connector,),
            trading_pairs=(where.pair,),
            start_time=max(0, int(since * 1000)),
            limit=_PAGE,
        )

    # -- what became of it -----------------------------------------------------------------------------------------

    async def confirmed(self, order: asked.Order, order_id: str, since: float) -> Outcome:
        """What the exchange made of an order that the server took after `since`."""
        row = await self.watch(order, order_id, since)
        if row is None:
            return Outcome(Result.UNCERTAIN, f"order {order_id} was taken; the exchange has not confirmed it")
        filled = row.filled_amount or Decimal(0)
        price = f" at {row.average_fill_price:f}" if row.average_fill_price is not None and filled else ""
        match row.status:
            case "FAILED":
                why = f": {row.error_message}" if row.error_message else ""
                return Outcome(Result.FAILED, f"the exchange refused order {order_id}{why}")
            case "FILLED":
                return Outcome(Result.DONE, f"order {order_id}: filled {filled:f}{price}")
            case _ if not row.open and not filled:
                return Outcome(Result.FAILED, f"order {order_id} was {row.status.lower()}, nothing was filled")
            case _ if not row.open:
                return Outcome(Result.DONE, f"order {order_id}: filled {filled:f} of {order.amount:f}{price}, no more")
            case _ if filled:
                return Outcome(Result.DONE, f"order {order_id}: open, filled {filled:f} of {order.amount:f}{price}")
            case _:
                return Outcome(Result.DONE, f"order {order_id}: open")

    async def watch(self, order: asked.Order, order_id: str, since: float) -> models.Order | None:
        """The order once the exchange has it, a market order once it has ended, if it does so in time; or None."""
        looks = self._patience.looks(self._clock, self._patience.confirm_s)
        known = None
        while True:
            page = await self._api.search_orders(self._search(order.where, since - WIDE_S))
            rows = page.value.rows if isinstance(page, Ok) else ()
            row = next((row for row in rows if row.order_id == order_id), None)
            if row is not None and row.status not in ("SUBMITTED", ""):
                known = row
                if not row.open or order.kind != "MARKET":
                    return row
            if not await looks.more():
                return known

    # -- cancelling ------------------------------------------------------------------------------------------------

    async def active(self, where: asked.Where) -> list[models.Order] | str:
        """Orders that are open; or why nobody knows."""
        found: list[models.Order] = []
        cursor: str | None = None
        for _ in range(10):
            page = await self._api.active_orders(
                requests.ActiveOrders(
                    account_names=(where.account,),
                    connector_names=(where.connector,),
                    trading_pairs=(where.pair,),
                    cursor=cursor,
                )
            )
            if not isinstance(page, Ok):
                return page.words
            found += page.value.rows
            cursor = page.value.next_cursor
            if cursor is None:
                return found
        return "there are more open orders than can be listed"

    async def clear(self, where: asked.Where) -> Cleared:
        """Cancel every open order, and look until none is left."""
        cleared = Cleared()
        for _ in range(_CANCELS):
            looks = self._patience.looks(self._clock, self._patience.confirm_s / _CANCELS)
            asked_for: set[str] = set()
            while True:
                rows = await self.active(where)
                if isinstance(rows, str):
                    cleared.trouble = f"the open orders cannot be listed: {rows}"
                else:
                    cleared.left = [row.order_id for row in rows]
                    if not rows:
                        cleared.trouble = ""
                        return cleared
                    cleared.trouble = f"{_orders(len(rows))} still open"
                    for row in rows:
                        if row.order_id not in asked_for:
                            asked_for.add(row.order_id)
                            await self._cancel(where, row.order_id, cleared)
                if not await looks.more():
                    break
        return cleared

    async def _cancel(self, where: asked.Where, order_id: str, cleared: Cleared) -> None:
        """Begin to; that it is gone is seen in the list of open orders."""
        if order_id not in cleared.seen:
            cleared.seen.append(order_id)
        found = await self._api.cancel_order(where.account, where.connector, order_id)
        if not isinstance(found, (Ok, Uncertain)) and not (isinstance(found, Refused) and found.why is Why.NOT_FOUND):
            cleared.trouble = f"order {order_id}: {found.words}"

    async def cancel(self, where: asked.Where, event: TradeEvent) -> Outcome:
        """Cancel every open order, and one of this trade that is still looked for; the outcome counts."""
        cleared = await self.clear(where)
        looks = self._patience.looks(self._clock, self._patience.give_up_s)
        doubt = event.is_exit and self.turns.doubtful(event)
        while doubt and await looks.more():
            doubt = self.turns.doubtful(event)  # and once more after it has ended
            seen, cleared = cleared.seen, await self.clear(where)
            cleared.seen = list(dict.fromkeys([*seen, *cleared.seen]))
        if cleared.left or cleared.trouble:
            result = Result.UNCERTAIN if cleared.seen else Result.FAILED
            return Outcome(result, cleared.trouble, away=not cleared.seen)
        return Outcome(Result.DONE, await self.counted(where, cleared.seen))

    async def uncancelled(self, where: asked.Where) -> Outcome:
        """What is there after a cancel that a crash cut off."""
        rows = await self.active(where)
        if isinstance(rows, str):
            return Outcome(Result.UNCERTAIN, f"interrupted by a crash; the open orders cannot be listed: {rows}")
        if rows:
            return Outcome(Result.UNCERTAIN, f"interrupted by a crash; {_orders(len(rows))} still open")
        return Outcome(Result.DONE, "no order is open")

    async def counted(self, where: asked.Where, ids: Sequence[str]) -> str:
        """What became of orders that are open no longer, in words."""
        if not ids:
            return "no order was open"
        page = await self._api.search_orders(self._search(where, self._clock.now() - _DAY_S))
        rows = [row for row in page.value.rows if row.order_id in ids] if isinstance(page, Ok) else []
        filled = sum(row.status == "FILLED" for row in rows)
        if filled:
            return f"{len(ids) - filled} cancelled, {filled} filled before"
        return f"{len(ids)} cancelled" if len(rows) == len(ids) else f"{len(ids)} no longer open"


def like(order: asked.Order) -> tuple[object, ...]:
    """What a lookup goes by."""
    return order.where, order.side, order.amount, order.kind


def _orders(count: int) -> str:
    return "1 order is" if count == 1 else f"{count} orders are"
