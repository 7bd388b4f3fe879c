"""Hummingbot, asked by routes: each call to its honest outcome. Nothing is sent twice; a doubt is looked into, or told.

`done` is what was seen, not what was accepted.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Protocol

from daemon.clock import Clock
from daemon.errors import JournalError, UnreachableError
from daemon.events import TradeEvent
from daemon.ports import Outcome, Result
from daemon.redaction import redact
from handlers.hummingbot import asked
from handlers.hummingbot.answers import Ok, Refused, Unavailable, Why
from handlers.hummingbot.client import HummingbotApi
from handlers.hummingbot.closing import Closing
from handlers.hummingbot.executors import Executors, mark
from handlers.hummingbot.looking import Patience
from handlers.hummingbot.orders import Orders
from handlers.hummingbot.registry import Registry
from handlers.hummingbot.sent import Sent
from handlers.hummingbot.tuning import Controllers

KNOWN_S = 300.0
"""How long an account is taken to have a connector's credentials once it was seen to, in seconds."""
_CUT_OFF = "interrupted by a crash"
_ELSEWHERE = ("_paper_trade", "/")  # these need no credentials of the account's
_KNOWN_MOST = 1000
_OPENS = ("place_order", "executor")  # of these an exit waits for no more than the request
_BOTS = ("start_bot", "stop_bot")  # they have an order of their own

Fields = dict[str, str]
Way = Callable[[str, Fields, TradeEvent], Awaitable[Outcome]]


class BotKeeper(Protocol):
    """What starts and stops bots, and knows their real names."""

    async def start(self, name: str) -> Outcome:
        """Deploy it, and see it run."""
        ...

    async def stop(self, name: str) -> Outcome:
        """Stop it, and see it stopped."""
        ...

    async def prepare(self) -> str:
        """Look at everything once, before the first action after a start; why that cannot be done, or ""."""
        ...

    async def observe(self) -> None:
        """Look at every bot. Raises UnreachableError, JournalError."""
        ...

    def row(self, name: str) -> Mapping[str, Any] | None:
        """One of ours: `status`, `reason`, `instance`; or None. Raises JournalError."""
        ...


class Hummingbot:
    """A `daemon.ports.Caller`."""

    def __init__(
        self, api: HummingbotApi, clock: Clock, bots: BotKeeper | None = None, patience: Patience | None = None,
        sent: Registry | None = None,
    ) -> None:  # fmt: skip
        """`sent` keeps which orders were sent; without it only this life of the daemon knows."""
        patience = patience or Patience()
        self.bots = bots
        self._api = api
        self._clock = clock
        self._orders = Orders(api, clock, patience, Sent(sent, clock))
        self._executors = Executors(api, self._orders, clock, patience)
        self._closing = Closing(api, self._orders, self._executors, clock, patience)
        self._controllers = Controllers(api, clock, patience)
        self._known: dict[tuple[str, str], float] = {}
        self._under_way = 0
        self._left = False
        self._ways: dict[str, tuple[Way, Way]] = {
            "start_bot": (self._start, self._started),
            "stop_bot": (self._stop, self._stopped),
            "place_order": (self._place, self._placed),
            "cancel_orders": (self._cancel, self._cancelled),
            "close_position": (self._close, self._closed),
            "executor": (self._create, self._created),
            "controller_config": (self._tune, self._tuned),
        }

    async def perform(self, step: str, event: TradeEvent) -> Outcome:
        """Do it once, and say what came of it."""
        return await self._go(step, event, 0)

    async def reconcile(self, step: str, event: TradeEvent) -> Outcome:
        """Look up what became of it in an earlier life of the daemon; nothing is sent that changes anything."""
        return await self._go(step, event, 1)

    async def leave(self) -> None:
        """No new call comes here, and those under way end as they began; the last one closes the client."""
        self._left = True
        if not self._under_way:
            await self._api.close()

    async def _go(self, step: str, event: TradeEvent, which: int) -> Outcome:
        self._under_way += 1
        try:
            return await self._call(step, event, which)
        finally:
            self._under_way -= 1
            if self._left:
                await self.leave()

    async def _call(self, step: str, event: TradeEvent, which: int) -> Outcome:
        try:
            what, fields = asked.read(step)
            way = self._ways.get(what)
            if way is None:
                raise asked.AskedError(f"nobody knows how to {what}")
            outcome = await self._in_turn(what, way, step, fields, event, which)
        except asked.AskedError as error:
            outcome = Outcome(Result.UNCERTAIN if which else Result.REFUSED, str(error))
        return replace(outcome, reason=redact(outcome.reason), halt=redact(outcome.halt))

    async def _in_turn(
        self, what: str, way: tuple[Way, Way], step: str, fields: Fields, event: TradeEvent, which: int
    ) -> Outcome:
        """Within its trade: an exit first, a lookup beside all."""
        turns = self._orders.turns
        if which:
            with turns.doubt(event) if what in _OPENS else nullcontext():
                return await way[1](step, fields, event)
        if event.is_exit:
            await turns.go_first(event)
            return await way[0](step, fields, event)
        with turns.taken(event), nullcontext() if what in _OPENS + _BOTS else turns.sending(event):
            return await way[0](step, fields, event)

    # -- orders and positions --------------------------------------------------------------------------------------

    async def _place(self, step: str, fields: Fields, event: TradeEvent) -> Outcome:
        order, begun = asked.order(fields, event), self._clock.monotonic()
        problem = await self._ready(event) or await self._hindered(order.where, event)
        return problem or await self._orders.place(order, mark(step, event), event, begun)

    async def _placed(self, step: str, fields: Fields, event: TradeEvent) -> Outcome:
        return await self._orders.sought(asked.order(fields, event), mark(step, event), event.ts)

    async def _cancel(self, _: str, fields: Fields, event: TradeEvent) -> Outcome:
        where = asked.where(fields)
        return await self._hindered(where, event) or await self._orders.cancel(where, event)

    async def _cancelled(self, _: str, fields: Fields, __: TradeEvent) -> Outcome:
        return await self._orders.uncancelled(asked.where(fields))

    async def _close(self, _: str, fields: Fields, event: TradeEvent) -> Outcome:
        where = asked.where(fields)
        return await self._hindered(where, event) or await self._closing.close(where, event)

    async def _closed(self, _: str, fields: Fields, event: TradeEvent) -> Outcome:
        return await self._closing.closed(asked.where(fields), event)

    async def _create(self, step: str, fields: Fields, event: TradeEvent) -> Outcome:
        wanted, begun = asked.executor(fields, event), self._clock.monotonic()
        problem = await self._ready(event) or await self._unknown(wanted.where)
        return problem or await self._executors.create(wanted, step, event, begun)

    async def _created(self, step: str, _: Fields, event: TradeEvent) -> Outcome:
        return await self._executors.sought(step, event)

    async def _ready(self, event: TradeEvent) -> Outcome | None:
        """What is held and open is looked at before anything is opened; an exit does not wait for it. None: it was."""
        if self.bots is None or event.is_exit:
            return None
        why_not = await self.bots.prepare()
        return Outcome(Result.FAILED, f"nothing was sent: {why_not}") if why_not else None

    async def _hindered(self, where: asked.Where, event: TradeEvent) -> Outcome | None:
        """The same; but no exit stays undone because a question was not answered."""
        problem = await self._unknown(where)
        return None if problem is not None and problem.result is Result.FAILED and event.is_exit else problem

    async def _unknown(self, where: asked.Where) -> Outcome | None:
        """Why there is no such market for us; the server's own lists are simply empty then. None when there is."""
        key, now = (where.account, where.connector), self._clock.now()
        if any(word in where.connector for word in _ELSEWHERE) or now - self._known.get(key, 0.0) < KNOWN_S:
            return None
        found = await self._api.credentials(where.account)
        match found:
            case Ok(value=connectors) if where.connector in connectors:
                if len(self._known) >= _KNOWN_MOST:
                    self._known.clear()
                self._known[key] = now
                return None
            case Ok():
                return Outcome(Result.REFUSED, f"{where.account} has no credentials for {where.connector}")
            case Refused(why=Why.NOT_FOUND):
                return Outcome(Result.REFUSED, f"Hummingbot has no account {where.account}")
            case _:
                return Outcome(Result.FAILED, f"nothing was sent: {found.words}", away=isinstance(found, Unavailable))

    # -- bots ------------------------------------------------------------------------------------------------------

    async def _start(self, _: str, fields: Fields, __: TradeEvent) -> Outcome:
        name = asked.name(fields, "bot")
        return await self.bots.start(name) if self.bots is not None else _NO_BOTS

    async def _stop(self, _: str, fields: Fields, __: TradeEvent) -> Outcome:
        name = asked.name(fields, "bot")
        return await self.bots.stop(name) if self.bots is not None else _NO_BOTS

    async def _started(self, _: str, fields: Fields, __: TradeEvent) -> Outcome:
        return await self._as(asked.name(fields, "bot"), "running")

    async def _stopped(self, _: str, fields: Fields, __: TradeEvent) -> Outcome:
        return await self._as(asked.name(fields, "bot"), "stopped")

    async def _as(self, name: str, wanted: str) -> Outcome:
        """Whether a bot is seen to be what it was asked to be."""
        if self.bots is None:
            return Outcome(Result.UNCERTAIN, f"{_CUT_OFF}; {_NO_BOTS.reason}")
        try:
            await self.bots.observe()
            row = self.bots.row(name)
        except (UnreachableError, JournalError) as error:
            return Outcome(Result.UNCERTAIN, f"{_CUT_OFF}; {error}")
        if row is None:
            return Outcome(Result.UNCERTAIN, f"{_CUT_OFF}; there is no bot {name}")
        why = f" ({row['reason']})" if row["reason"] else ""
        result = Result.DONE if row["status"] == wanted else Result.UNCERTAIN
        return Outcome(result, f"{_CUT_OFF}; {name} is {row['status']}{why}")

    async def _tune(self, _: str, fields: Fields, __: TradeEvent) -> Outcome:
        return await self._controllers.tune(self._instance(asked.tuning(fields)))

    async def _tuned(self, _: str, fields: Fields, __: TradeEvent) -> Outcome:
        return await self._controllers.tuned(self._instance(asked.tuning(fields)))

    def _instance(self, wanted: asked.Tuning) -> asked.Tuning:
        """A bot of ours has another name at Hummingbot."""
        try:
            row = self.bots.row(wanted.bot) if self.bots is not None else None
        except JournalError:
            row = None
        return replace(wanted, bot=row["instance"]) if row is not None and row["instance"] else wanted


_NO_BOTS = Outcome(Result.REFUSED, "there is nobody to keep bots")
