"""Getting out of a position, in the safe order: cancel, look what is really held, close that and no more, look again.

An empty list of positions proves nothing by itself: the server leaves out, without a word, those of a connector that
did not answer. So it is held against our own fills, and a position counts as closed once it is gone and the orders
that closed it are filled.
"""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, assert_never

from daemon.clock import Clock
from daemon.events import TradeEvent
from daemon.ports import Outcome, Result
from handlers.hummingbot import asked, models, requests
from handlers.hummingbot.answers import Ok, Refused, Unavailable, Uncertain
from handlers.hummingbot.client import HummingbotApi
from handlers.hummingbot.executors import Executors
from handlers.hummingbot.looking import Patience
from handlers.hummingbot.orders import Found, Orders

ATTEMPTS = 3
"""How often a close is tried."""
_DAY_S = 86400.0
_PAGE = 500
_MARKETS_MOST = 1000


@dataclass(frozen=True, slots=True)
class Held:
    """A position; `amount` is above zero for both sides."""

    side: Literal["LONG", "SHORT"]
    amount: Decimal

    def __str__(self) -> str:
        return f"{self.amount:f} {self.side.lower()}"


class _Trying:
    """One close, as far as it is."""

    def __init__(self) -> None:
        self.attempts = 0
        self.filled = Decimal(0)
        self.doubt = False
        """An order of ours may be there that nobody saw."""
        self.seen: tuple[Held, ...] = ()
        self.cancelled = 0
        self.trouble = ""
        self.executor = ""
        """Why one may still act on the position."""

    @property
    def proven(self) -> bool:
        """Whether everything that was seen is accounted for by fills."""
        return self.filled >= sum(held.amount for held in self.seen)


class Closing:
    """Closes what an account holds of a pair, on both sides in hedge mode."""

    def __init__(
        self, api: HummingbotApi, orders: Orders, executors: Executors, clock: Clock, patience: Patience
    ) -> None:
        self._api = api
        self._orders = orders
        self._executors = executors
        self._clock = clock
        self._patience = patience
        self._flat_since: dict[asked.Where, float] = {}

    async def close(self, where: asked.Where, event: TradeEvent) -> Outcome:
        """Close it; halts entries when that cannot be done, or cannot be known."""
        if not where.perpetual:
            return Outcome(
                Result.REFUSED, f"{where.connector} holds no positions; close_position is for perpetual connectors"
            )
        trying = _Trying()
        try:
            async with asyncio.timeout(self._patience.close_s):
                outcome = await self._close(where, event, trying)
        except TimeoutError:
            trouble = f": {trying.trouble}" if trying.trouble else ""
            outcome = self._open_still(where, trying, f"no end within {self._patience.close_s:g} s{trouble}")
        if outcome.result is Result.DONE:
            if len(self._flat_since) >= _MARKETS_MOST:
                del self._flat_since[next(iter(self._flat_since))]
            self._flat_since[where] = self._clock.now()
        return outcome

    async def _close(self, where: asked.Where, event: TradeEvent, trying: _Trying) -> Outcome:
        trying.executor = await self._executors.release(where)
        looks = self._patience.looks(self._clock, self._patience.give_up_s)
        while trying.attempts < ATTEMPTS:
            doubt = self._orders.turns.doubtful(event)
            cleared = await self._orders.clear(where)
            trying.cancelled += len(cleared.seen)
            held = await self.held(where)
            if isinstance(held, str):
                trying.trouble = f"the positions cannot be listed: {held}"
            elif not held:
                problem = await self._gone(where, event, trying) or cleared.trouble
                if not problem and doubt:
                    problem = trying.executor = "what was to open it is still looked for, and may come yet"
                elif not problem and trying.executor:
                    problem = trying.executor = await self._executors.release(where)
                if not problem:
                    return self._flat(trying)
                trying.trouble = problem
            else:
                trying.seen = trying.seen or held
                sent = [await self._reduce(where, each, event, trying) for each in held]
                trying.attempts += any(sent)
                if any(sent) and await self._vanished(where):
                    continue  # nothing is held: the next round looks for open orders, and ends it
            if not await looks.more():
                break
        return await self._over(where, event, trying)

    async def _over(self, where: asked.Where, event: TradeEvent, trying: _Trying) -> Outcome:
        """All attempts are used up: what is there now."""
        cleared = await self._orders.clear(where)
        held = await self.held(where)
        if isinstance(held, str):
            return self._open_still(where, trying, f"the positions cannot be listed: {held}", away=True)
        if held:
            trouble = f": {trying.trouble}" if trying.trouble else ""
            what = " and ".join(map(str, held))
            return self._open_still(where, trying, f"{what} still open after {trying.attempts} attempts{trouble}")
        problem = await self._gone(where, event, trying) or cleared.trouble or trying.executor
        return self._open_still(where, trying, problem) if problem else self._flat(trying)

    @staticmethod
    def _flat(trying: _Trying) -> Outcome:
        many = "order" if trying.cancelled == 1 else "orders"
        cancelled = f"; {trying.cancelled} {many} cancelled" if trying.cancelled else ""
        if not trying.seen:
            return Outcome(Result.DONE, f"no position is open{cancelled}")
        times = f" in {trying.attempts} attempts" if trying.attempts > 1 else ""
        return Outcome(Result.DONE, f"closed {' and '.join(map(str, trying.seen))}{times}{cancelled}")

    @staticmethod
    def _open_still(where: asked.Where, trying: _Trying, why: str, *, away: bool = False) -> Outcome:
        nothing = not trying.doubt and not trying.filled
        result = Result.FAILED if nothing else Result.UNCERTAIN
        return Outcome(result, why, halt=f"{where} could not be closed: {why}", away=away and nothing)

    # -- looking ---------------------------------------------------------------------------------------------------

    async def held(self, where: asked.Where) -> tuple[Held, ...] | str:
        """What the server says is held; or why nobody knows. Empty may also mean that the exchange did not answer."""
        page = await self._api.positions(
            requests.Positions(account_names=(where.account,), connector_names=(where.connector,), limit=_PAGE)
        )
        if not isinstance(page, Ok):
            return page.words
        rows = [row for row in page.value.rows if _of(row, where)]
        if page.value.next_cursor is not None and not rows:
            return "there are more than can be listed"
        if any(row.amount is None for row in rows):
            return "one has no amount"
        return tuple(_held(row.side, row.amount) for row in rows if row.amount)

    async def _gone(self, where: asked.Where, event: TradeEvent, trying: _Trying) -> str:
        """Why an empty list of positions is not to be believed; "" when it is."""
        if trying.seen:
            return "" if trying.proven else "no position is listed, but the orders that closed it are not all filled"
        since = max(self._clock.now() - _DAY_S, self._flat_since.get(where, 0.0))
        page = await self._api.search_trades(
            requests.SearchTrades(
                account_names=(where.account,),
                connector_names=(where.connector,),
                trading_pairs=(where.pair,),
                start_time=int(since * 1000),
                limit=_PAGE,
            )
        )
        if not isinstance(page, Ok):
            return f"no position is listed, and the fills cannot be: {page.words}"
        net = sum(
            ((row.amount or Decimal(0)) * (1 if row.trade_type == "BUY" else -1) for row in page.value.rows), Decimal(0)
        )
        # A net on the other side is the close of what was opened before these fills.
        if net * (1 if event.side == "long" else -1) <= 0:
            return ""
        return f"no position is listed, but by the fills {abs(net):f} {event.side} should be open"

    async def _vanished(self, where: asked.Where) -> bool:
        """Whether the list of positions becomes empty in time."""
        looks = self._patience.looks(self._clock, self._patience.confirm_s / 2)
        while True:
            if await self.held(where) == ():
                return True
            if not await looks.more():
                return False

    # -- closing ---------------------------------------------------------------------------------------------------

    async def _reduce(self, where: asked.Where, held: Held, event: TradeEvent, trying: _Trying) -> bool:
        """One market order that can only reduce; what of it was filled is seen in its record. Whether one was sent."""
        side: asked.Side = "SELL" if held.side == "LONG" else "BUY"
        order = asked.Order(where, side, held.amount, "MARKET", None, "CLOSE")
        with self._orders.doubts.one((where, side, held.amount, "MARKET")):
            sending = self._orders.sending(event)
            since = sending.since
            before, trying.doubt = trying.doubt, True  # also when time runs out right here
            sent = await self._api.place_order(order.body())
            match sent:
                case Ok(value=placed):
                    order_id = placed.order_id
                    self._orders.claim(order_id, sending)
                case Refused() | Unavailable():
                    trying.trouble, trying.doubt = sent.words, before
                    return isinstance(sent, Refused)
                case Uncertain():
                    # Looked for only briefly: it can do no more than close, whether it is there once or twice.
                    briefly = self._patience.confirm_s / 2
                    found = await self._orders.find(order, since, self._clock.now(), briefly / 2, briefly)
                    if not isinstance(found, Found):
                        trying.trouble = sent.words
                        return True
                    order_id = found.order_id
                    self._orders.claim(order_id, sending)
                case never:
                    assert_never(never)
        row = await self._orders.watch(order, order_id, since)
        if row is None:
            trying.trouble = f"order {order_id} is not confirmed"
            return True
        trying.doubt = before
        if row.status == "FAILED":
            trying.trouble = f"the exchange refused order {order_id}: {row.error_message or 'no reason given'}"
        else:
            trying.filled += row.filled_amount or Decimal(0)
            trying.trouble = "" if row.status == "FILLED" else f"order {order_id} was not filled as a whole"
        return True

    async def closed(self, where: asked.Where, event: TradeEvent) -> Outcome:
        """What is there after a close that a crash cut off; nothing is sent.

        Its last order may still be on its way, and a server that was started with us does not answer yet.
        """
        looks = self._patience.looks(self._clock, self._patience.give_up_s)
        while True:
            why, answered = await self._left(where, event)
            if not why:
                return Outcome(Result.DONE, "no position is open")
            if (answered and looks.passed >= self._patience.confirm_s) or not await looks.more():
                break
        said = f"interrupted by a crash and not tried again; {why}"
        remedy = "close it by hand or send another close, then `deskhand resume`"
        return Outcome(Result.UNCERTAIN, said, halt=f"{where} was not closed: {said}; {remedy}")

    async def _left(self, where: asked.Where, event: TradeEvent) -> tuple[str, bool]:
        """What is still there, "" for nothing; and whether the server could tell."""
        rows = await self._orders.active(where)
        if isinstance(rows, str):
            return f"the open orders cannot be listed: {rows}", False
        held = await self.held(where)
        if isinstance(held, str):
            return f"the positions cannot be listed: {held}", False
        if held:
            return f"{' and '.join(map(str, held))} still open", True
        return f"{len(rows)} orders still open" if rows else await self._gone(where, event, _Trying()), True


def _of(row: models.Position, where: asked.Where) -> bool:
    """A row that leaves out what was asked for is meant."""
    pairs = (row.account_name, where.account), (row.connector_name, where.connector), (row.trading_pair, where.pair)
    return all(name in ("", wanted) for name, wanted in pairs)


def _held(side: str, amount: Decimal | None) -> Held:
    found = amount or Decimal(0)
    short = side == "SHORT" if side in ("LONG", "SHORT") else found < 0
    return Held("SHORT" if short else "LONG", abs(found))
