"""Executors that an event opens: a position with its ends, kept by Hummingbot itself.

Each carries a mark of ours as its controller's name, so that one whose answer was lost is found without guessing.
"""

import hashlib

from daemon.clock import Clock
from daemon.events import TradeEvent
from daemon.ports import Outcome, Result
from handlers.hummingbot import asked, models, requests
from handlers.hummingbot.answers import Ok, Refused, Unavailable, Uncertain, Why
from handlers.hummingbot.client import HummingbotApi
from handlers.hummingbot.looking import Patience
from handlers.hummingbot.orders import Orders

MARK = "deskhand-"
"""How the controller's name of an executor of ours begins."""
_BROKEN = frozenset({"FAILED", "INSUFFICIENT_BALANCE", "EXPIRED"})


class Executors:
    """Opens position executors."""

    def __init__(self, api: HummingbotApi, orders: Orders, clock: Clock, patience: Patience) -> None:
        self._api = api
        self._orders = orders
        self._clock = clock
        self._patience = patience

    async def create(self, wanted: asked.Executor, step: str, event: TradeEvent, begun: float) -> Outcome:
        """Open one, and see it run. `begun`: see `Orders.late`."""
        where = wanted.where
        if where.perpetual and (problem := await self._orders.set_leverage(where, wanted.leverage)):
            return problem
        if problem := self._orders.late(begun, event):
            return problem
        name = mark(step, event)
        config = requests.PositionExecutor(
            connector_name=where.connector,
            trading_pair=where.pair,
            side=1 if wanted.side == "BUY" else 2,
            amount=wanted.amount,
            leverage=wanted.leverage,
            triple_barrier_config=requests.TripleBarrier(
                open_order_type=1 if wanted.price is None else 2,
                **asked.given(stop_loss=wanted.stop_loss, take_profit=wanted.take_profit, time_limit=wanted.time_limit),
            ),
            **asked.given(entry_price=wanted.price),
        )
        body = requests.CreateExecutor(account_name=where.account, controller_id=name, executor_config=config)
        with self._orders.turns.sending(event):
            sent = await self._api.create_executor(body)
        match sent:
            case Ok(value=created):
                return await self._running(created.executor_id, name)
            case Refused(why=Why.NOT_SENT) | Unavailable():
                return Outcome(Result.FAILED, f"no executor was sent: {sent.words}")
            case Refused():
                return Outcome(Result.FAILED, f"refused: {sent.words}")
            case Uncertain():
                with self._orders.turns.doubt(event):
                    return await self._sought(name, sent.words)

    async def sought(self, step: str, event: TradeEvent) -> Outcome:
        """What became of one that an earlier life of the daemon may have opened."""
        return await self._sought(mark(step, event), "interrupted by a crash")

    async def _sought(self, name: str, words: str) -> Outcome:
        looks = self._patience.looks(self._clock, self._patience.give_up_s)
        while True:
            found = await self._marked(name)
            if isinstance(found, str):
                why = f"the executors cannot be searched: {found}"
            elif found:
                outcome = _judged(found[-1])
                return Outcome(outcome.result, f"found again: {outcome.reason} ({words})")
            elif looks.passed >= self._patience.absent_s:
                return Outcome(Result.FAILED, f"{words}; Hummingbot has no such executor")
            else:
                why = "it may still come"
            if not await looks.more():
                return Outcome(Result.UNCERTAIN, f"{words}; {why}")

    async def _running(self, executor_id: str, name: str) -> Outcome:
        """What it is a moment later: created is not running."""
        looks = self._patience.looks(self._clock, self._patience.confirm_s)
        while True:
            found = await self._marked(name)
            row = (
                next((row for row in found if row.executor_id == executor_id), None)
                if isinstance(found, list)
                else None
            )
            if row is not None and row.status not in ("", "NOT_STARTED"):
                return _judged(row)
            if not await looks.more():
                return Outcome(Result.UNCERTAIN, f"executor {executor_id} was taken; nobody saw it run")

    async def release(self, where: asked.Where) -> str:
        """Stop our own that run there, keeping what they hold, so that none acts on a position that is being closed.

        Why that is not certain, or "".
        """
        looks = self._patience.looks(self._clock, self._patience.confirm_s / 2)
        told: set[str] = set()
        while True:
            page = await self._api.search_executors(
                requests.SearchExecutors(
                    account_names=(where.account,), connector_names=(where.connector,), trading_pairs=(where.pair,)
                )
            )
            if isinstance(page, Ok):
                ours = (row for row in page.value.rows if row.controller_id.startswith(MARK))
                running = [row.executor_id for row in ours if row.is_active is not False and row.status != "TERMINATED"]
                if not running:
                    return ""
                trouble = f"executor {running[0]} still runs"
                for executor_id in running:
                    if executor_id not in told:
                        told.add(executor_id)
                        await self._api.stop_executor(executor_id, requests.StopExecutor(keep_position=True))
            elif isinstance(page, Refused) and page.why is Why.NO_ROUTE:
                return ""  # an older server, which has none
            else:
                trouble = f"the executors cannot be listed: {page.words}"
            if not await looks.more():
                return trouble

    async def _marked(self, name: str) -> list[models.Executor] | str:
        page = await self._api.search_executors(requests.SearchExecutors(controller_ids=(name,)))
        if not isinstance(page, Ok):
            return page.words
        return [row for row in page.value.rows if row.controller_id in (name, "")]


def mark(step: str, event: TradeEvent) -> str:
    """The same for the same event and step, in every life of the daemon."""
    return MARK + hashlib.sha256(f"{event.id}\n{step}".encode()).hexdigest()[:16]


def _judged(row: models.Executor) -> Outcome:
    said = f"executor {row.executor_id}: {row.status.lower() or 'there'}"
    if row.close_type in _BROKEN:
        return Outcome(Result.FAILED, f"{said}, {row.close_type.lower().replace('_', ' ')}")
    return Outcome(Result.DONE, f"{said}, {row.close_type.lower().replace('_', ' ')}" if row.close_type else said)
