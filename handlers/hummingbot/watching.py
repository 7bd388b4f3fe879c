"""Every bot, watched: what Hummingbot shows of them now, what is written down, and the alarm when the two part.

An alarm is one ERROR in the log when something becomes wrong, and one line when it is over; the state stays to be seen.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from loguru import logger

from daemon.clock import Clock
from daemon.errors import JournalError, UnreachableError
from handlers.hummingbot.answers import Ok
from handlers.hummingbot.client import HummingbotClient
from handlers.hummingbot.models import BotStatus, LogLine, Order, Position
from handlers.hummingbot.observing import LINES, Patience, Stranger, alive, find, judge, reports, strangers
from handlers.hummingbot.registry import Bot, BotState, Registry, load
from handlers.hummingbot.requests import ActiveOrders, Positions
from handlers.hummingbot.words import shown

SIGHT_S = 15.0
"""How long after Hummingbot came back no bot counts as silent, seconds: it has to hear them first."""
_NAMED = 5  # of many strangers
_MOST = 1000  # heartbeats of that many names
_WRONG = (BotState.SILENT, BotState.FAILED)


class Market(NamedTuple):
    """Where a bot trades."""

    account: str
    connector: str
    pair: str


class Held(NamedTuple):
    """What is held and open at the exchanges, as Hummingbot's accounts know it; `at` in wall time, seconds.

    Orders that a bot's container placed by itself are not among these.
    """

    at: float
    positions: tuple[Position, ...]
    orders: tuple[Order, ...]


def market(row: Bot | Position | Order) -> Market:
    """Where this is."""
    if isinstance(row, Bot):
        return Market(row.account, row.connector, row.pair)
    return Market(row.account_name, row.connector_name, row.trading_pair)


def _mark(bot: Bot) -> tuple[object, ...]:
    """What of a bot is worth a write."""
    return bot.state, bot.reason, bot.instance, bot.wanted, bot.listed


class Watch:
    """`bots` are ours by id, `rows` what Hummingbot listed last, `blind` why it cannot be asked, `counted` is told how
    many bots are in each state.
    """

    def __init__(
        self, api: HummingbotClient, registry: Registry, clock: Clock, patience: Patience,
        counted: Callable[[Mapping[str, int]], None],
    ) -> None:  # fmt: skip
        self.bots: dict[str, Bot] = {}
        self.rows: Mapping[str, BotStatus] = {}
        self.strangers: list[Stranger] = []
        self.blind = "not looked at yet"
        self.held: Held | None = None
        self.reconciled = False
        self.patience = patience
        self._api = api
        self._registry = registry
        self._clock = clock
        self._counted = counted
        self._loaded = False
        self._looking = asyncio.Lock()
        self._beats: dict[str, float] = {}
        self._quiet: dict[str, float] = {}
        self._lines: dict[str, list[LogLine]] = {}
        self._sighted = self._lost = 0.0
        self._alarmed: set[str] = set()
        self._written: dict[str, tuple[object, ...]] = {}

    # -- what is written down --------------------------------------------------------------------------------------

    def take_up(self) -> None:
        """Read the registry, once. Raises JournalError."""
        if self._loaded:
            return
        for name, raw in self._registry.list().items():
            try:
                bot = load(raw)
            except ValueError as error:
                logger.error("bot {}: its record cannot be read: {}", name, error)
            else:
                self.bots[bot.id] = bot
                self._written[bot.id] = _mark(bot)
        self._loaded = True

    def save(self, bot: Bot) -> None:
        """Write one down. Raises JournalError."""
        self.bots[bot.id] = bot
        self._registry.put(bot.id, bot.dump())
        self._written[bot.id] = _mark(bot)

    def note(self, bot: Bot) -> None:
        """Write one down if that can be done; else the next look tries again. For what must not fail because of it."""
        with suppress(JournalError):
            self.save(bot)

    def forget(self, bot: Bot) -> None:
        """Remove one. Raises JournalError."""
        self._registry.remove(bot.id)
        for known in (self.bots, self._written):
            known.pop(bot.id, None)
        self._lines.pop(bot.id, None)

    def state(self, bot: Bot) -> tuple[BotState, str]:
        """How it is, and why; unknown while Hummingbot cannot be asked, unless it has nothing there."""
        if self.blind and (bot.instance or bot.wanted):
            return BotState.UNKNOWN, f"{self.blind}; last seen {bot.state}"
        return bot.state, bot.reason

    def lines(self, bot: Bot) -> list[LogLine]:
        """The last lines that were seen of its log, oldest first."""
        return self._lines.get(bot.id, [])

    @property
    def down_s(self) -> float:
        """For how long Hummingbot has not answered, in seconds; 0 while it does, or was not asked yet."""
        return self._clock.boot() - self._lost if self._lost else 0.0

    # -- looking ---------------------------------------------------------------------------------------------------

    def heard(self, instance: str) -> None:
        """A sign of life of a bot's own, over MQTT."""
        if instance in self._beats or len(self._beats) < _MOST:
            self._beats[instance] = self._clock.now()

    def hush(self, bot: Bot) -> None:
        """It was told to stop: silence counts from now on."""
        self._quiet.pop(bot.instance, None)

    async def look(self) -> str:
        """See how every bot is; why Hummingbot cannot be asked, or ""."""
        async with self._looking:
            with suppress(JournalError):  # what cannot be read now is read later
                self.take_up()
            answer = await self._api.all_bots()
            if not isinstance(answer, Ok):
                if not self.blind:
                    logger.warning("Hummingbot: the bots cannot be seen: {}", answer.words)
                self._lost = self._lost or self._clock.boot()
                self.blind, self.reconciled = answer.words, False
                self._count()
                return self.blind
            if self.blind:
                self.blind, self._sighted, self._lost = "", self._clock.boot(), 0.0
            self.rows = answer.value
            for bot in list(self.bots.values()):
                self._see(bot)
            self._see_strangers()
            self._count()
            return ""

    def _see(self, bot: Bot) -> None:
        now = self._clock.now()
        if bot.wanted and not bot.instance:
            bot.instance = find(bot, self.rows, [other.instance for other in self.bots.values()])
            if bot.instance:
                logger.info("bot {}: found as {}", bot.id, bot.instance)
        row, beat = self.rows.get(bot.instance), self._beats.get(bot.instance)
        if row is not None:
            bot.seen, bot.listed = now, bot.listed or row.source != "mqtt"
            self._keep_lines(bot, row)
        if reports(row) or not alive(row, beat, now):
            self._quiet.pop(bot.instance, None)
        else:
            self._quiet.setdefault(bot.instance, self._clock.boot())
        quiet_s = self._clock.boot() - self._quiet.get(bot.instance, self._clock.boot())
        state, reason = judge(bot, row, beat, quiet_s, now, self.patience)
        if state is BotState.SILENT and self._clock.boot() - self._sighted < SIGHT_S and bot.state is BotState.RUNNING:
            return
        self.turn(bot, state, reason)

    def turn(self, bot: Bot, state: BotState, reason: str) -> None:
        """A bot's state is this from now on."""
        if state is not bot.state:
            bot.since = self._clock.now()
            to = logger.bind(handler="hummingbot")
            if state in _WRONG:
                to.error("bot {} is {}: {}{}", bot.id, state, reason, self.last_words(bot))
            else:
                to.info("bot {} is {}{}", bot.id, state, f": {reason}" if reason else "")
        bot.state, bot.reason = state, reason
        if self._written.get(bot.id) != _mark(bot):
            self.note(bot)

    def _keep_lines(self, bot: Bot, row: BotStatus) -> None:
        lines = sorted((*row.error_logs, *row.general_logs), key=lambda line: line.timestamp or 0.0)
        if lines:
            self._lines[bot.id] = lines[-LINES:]

    def last_words(self, bot: Bot) -> str:
        """Its last log lines, for a sentence; "" when none was seen."""
        lines = [line for line in self.lines(bot) if (line.timestamp or 0.0) >= bot.deployed - 5.0]
        return "; its log: " + " | ".join(shown(line.msg) for line in lines[-3:]) if lines else ""

    def _see_strangers(self) -> None:
        before = {each.name for each in self.strangers}
        self.strangers = strangers(list(self.bots.values()), self.rows)
        for state in (BotState.ORPHAN, BotState.PHANTOM):
            fresh = [each for each in self.strangers if each.state is state and each.name not in before]
            if fresh:
                names = ", ".join(shown(each.name)[:128] for each in fresh[:_NAMED])
                more = f" and {len(fresh) - _NAMED} more" if len(fresh) > _NAMED else ""
                logger.bind(handler="hummingbot").error("{} bots: {}{}: {}", state, names, more, fresh[0].reason)

    def _count(self) -> None:
        counts = dict.fromkeys(map(str, BotState), 0)
        for bot in self.bots.values():
            counts[self.state(bot)[0]] += 1
        for each in self.strangers:
            counts[each.state] += 1
        self._counted(counts)

    # -- positions and open orders ---------------------------------------------------------------------------------

    async def reconcile(self) -> None:
        """Look at what is held and open. Raises UnreachableError."""
        positions = await self._api.positions(Positions())
        orders = await self._api.active_orders(ActiveOrders())
        for answer in (positions, orders):
            if not isinstance(answer, Ok):
                self.reconciled = False
                raise UnreachableError(f"positions and open orders cannot be seen: {answer.words}")
        assert isinstance(positions, Ok)  # noqa: S101  # both are
        assert isinstance(orders, Ok)  # noqa: S101
        before, self.held = self.held, Held(self._clock.now(), positions.value.rows, orders.value.rows)
        self.reconciled = True
        if before is None:
            held = self.held
            logger.info("Hummingbot: {} positions, {} open orders", len(held.positions), len(held.orders))
        for bot in self.bots.values():
            self._left_over(bot)

    def _left_over(self, bot: Bot) -> None:
        """A bot that does not run, and something of its market is open."""
        words = self.left(bot) if bot.instance and bot.state in (BotState.STOPPED, BotState.FAILED) else ""
        if not words:
            self._alarmed.discard(bot.id)
        elif bot.id not in self._alarmed:
            self._alarmed.add(bot.id)
            logger.bind(handler="hummingbot").error("bot {} is {}, and {}", bot.id, bot.state, words)

    def left(self, bot: Bot) -> str:
        """What was open where it trades at the last look, in words; "" for nothing."""
        if self.held is None:
            return ""
        orders = sum(market(each) == market(bot) for each in self.held.orders)
        positions = [each for each in self.held.positions if market(each) == market(bot) and each.amount]
        parts = [f"{orders} orders are open"] if orders else []
        parts += [f"{abs(each.amount or 0):f} {each.side.lower()} is held" for each in positions]
        return f"{', '.join(parts)} on {bot.connector} {bot.pair}" if parts else ""
