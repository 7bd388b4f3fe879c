"""Bots as a trader thinks of them: make one, start it, stop it, look at it.

Start is a deploy, because Hummingbot's own start does nothing; and what was accepted is not what was observed, so both
start and stop look until they see it. Whoever waits for one may go away: it goes on, and a second one joins it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from loguru import logger

from daemon.clock import Clock
from daemon.errors import EventError, JournalError, UnreachableError
from daemon.ports import Outcome, Result
from handlers.hummingbot import strategies
from handlers.hummingbot.answers import Ok, Refused, Unavailable, Why
from handlers.hummingbot.client import HummingbotClient
from handlers.hummingbot.models import BotTrade
from handlers.hummingbot.observing import Patience
from handlers.hummingbot.registry import Bot, BotState, Registry, instance_of
from handlers.hummingbot.requests import HistoryQuery
from handlers.hummingbot.starting import ALREADY_STOPPED, Starting
from handlers.hummingbot.watching import Watch
from handlers.hummingbot.words import shown

MOST = 200
"""How many bots there may be."""
_CHAINS = {"jupiter": "solana", "raydium": "solana", "meteora": "solana", "orca": "solana", "uniswap": "ethereum"}
_BUSY = (BotState.RUNNING, BotState.DEPLOYING, BotState.SILENT, BotState.UNKNOWN)


class Bots:
    """The bots of one Hummingbot. All of it belongs to the loop's thread."""

    def __init__(
        self, api: HummingbotClient, registry: Registry, clock: Clock, counted: Callable[[Mapping[str, int]], None],
        patience: Patience | None = None,
    ) -> None:  # fmt: skip
        self.watch = Watch(api, registry, clock, patience or Patience(), counted)
        self._api = api
        self._clock = clock
        self._starting = Starting(api, self.watch, clock)
        self._work: dict[tuple[str, str], asyncio.Task[Outcome]] = {}
        self._one: dict[str, asyncio.Lock] = {}
        self._preparing = asyncio.Lock()

    async def close(self) -> None:
        """Let go of what is under way: what was begun is on record, and is looked up by whoever comes next."""
        tasks = list(self._work.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- looking ---------------------------------------------------------------------------------------------------

    async def observe(self) -> None:
        """Look at every bot. Raises UnreachableError."""
        blind = await self.watch.look()
        if blind:
            raise UnreachableError(f"the bots cannot be seen: {blind}")

    async def reconcile(self) -> None:
        """Look at positions and open orders. Raises UnreachableError."""
        async with self._preparing:
            await self.watch.reconcile()

    async def prepare(self) -> str:
        """Before the first action after a start, or after Hummingbot was away: look at everything once. Why that cannot
        be done, or "".
        """
        async with self._preparing:
            if self.watch.reconciled:
                return ""
            try:
                await self.observe()
                await self.watch.reconcile()
            except (UnreachableError, JournalError) as error:
                return str(error)
            return ""

    @property
    def away(self) -> str:
        """Why Hummingbot cannot be asked, or ""."""
        return self.watch.blind

    @property
    def down_s(self) -> float:
        """For how long that has been so, in seconds."""
        return self.watch.down_s

    def heard(self, instance: str, what: str = "hb") -> None:
        """A bot's own voice over MQTT: `hb`, or what it says of itself."""
        if what != "offline":
            self.watch.heard(instance)

    def find(self, name: str) -> Bot | None:
        """A bot by id, by what a person calls it, or by its instance. Raises JournalError."""
        self.watch.take_up()
        bots = self.watch.bots
        others = (bot for bot in bots.values() if name in (bot.name, bot.instance) and name)
        return bots.get(name) or next(others, None)

    def rows(self) -> list[dict[str, Any]]:
        """Every bot, and what is there and none of ours; JSON-ready. Raises JournalError."""
        self.watch.take_up()
        found = [self._row(bot) for bot in self.watch.bots.values()]
        for each in [] if self.watch.blind else self.watch.strangers:
            name = shown(each.name)[:128]
            found.append(
                {"id": name, "name": name, "status": str(each.state), "strategy": "", "connector": "", "pair": ""}
                | {"chain": "", "instance": name, "reason": each.reason}
            )
        return found

    def row(self, name: str) -> dict[str, Any] | None:
        """One of ours with its configuration, JSON-ready; or None. Raises JournalError."""
        bot = self.find(name)
        if bot is None:
            return None
        config = dict(bot.config)
        if "script" in config:
            config["script"] = f"{len(str(config['script']))} characters"
        more = {"config": config, "made": bot.made, "deployed": bot.deployed or None, "open": self.watch.left(bot)}
        return self._row(bot) | more

    def _row(self, bot: Bot) -> dict[str, Any]:
        state, reason = self.watch.state(bot)
        return {
            "id": bot.id,
            "name": bot.name,
            "status": str(state),
            "strategy": bot.strategy,
            "connector": bot.connector,
            "pair": bot.pair,
            "chain": next((chain for venue, chain in _CHAINS.items() if bot.connector.startswith(venue)), ""),
            "account": bot.account,
            "instance": bot.instance,
            "reason": reason,
            "since": bot.since,
            "seen": bot.seen or None,
        }

    def status(self) -> dict[str, Any]:
        """At a glance, JSON-ready: how many in each state, which are not as they should be, what is held and open.

        Raises JournalError.
        """
        rows, held = self.rows(), self.watch.held
        counts: dict[str, int] = {}
        for row in rows:
            counts[row["status"]] = counts.get(row["status"], 0) + 1
        wrong = ("silent", "failed", "orphan", "phantom", "unknown")
        return {
            "up": not self.watch.blind,
            "reason": self.watch.blind,
            "counts": counts,
            "wrong": [{n: row[n] for n in ("id", "status", "reason")} for row in rows if row["status"] in wrong][:20],
            "positions": len(held.positions) if held else None,
            "open_orders": len(held.orders) if held else None,
            "reconciled": held.at if held else None,
        }

    # -- making and forgetting -------------------------------------------------------------------------------------

    async def create(
        self, name: str, strategy: str, connector: str, pair: str, config: Mapping[str, Any]
    ) -> Bot | Refused | Unavailable:
        """Write a bot down; nothing is started. Raises EventError with the field at fault, JournalError."""
        bot = strategies.new_bot(name, strategy, connector, pair, config, self._clock.now())
        self.watch.take_up()
        if bot.id in self.watch.bots:
            return Refused(f"there is a bot {bot.id} already")
        if len(self.watch.bots) >= MOST:
            return Refused(f"there are {MOST} bots already")
        known = await self._api.connectors()
        if not isinstance(known, Ok):
            return Unavailable(f"Hummingbot cannot be asked for its connectors: {known.words}")
        if bot.connector.partition("/")[0] not in {each.partition("/")[0] for each in known.value}:
            near = sorted(each for each in known.value if each.startswith(bot.connector[:4].lower()))[:5]
            hint = f"; it has {', '.join(near)}" if near else ""
            raise EventError("connector", f"Hummingbot has no such connector{hint}")
        if bot.id in self.watch.bots:  # meanwhile
            return Refused(f"there is a bot {bot.id} already")
        self.watch.save(bot)
        logger.info("bot {}: {} on {} {}, made", bot.id, bot.strategy, bot.connector, bot.pair)
        return bot

    async def remove(self, name: str) -> Outcome:
        """Forget a bot that does not run, and archive what is left of it there. Raises JournalError."""
        bot = self.find(name)
        if bot is None:
            return _nobody(name)
        if self._busy(bot):
            return Outcome(Result.REFUSED, f"{bot.id} is being started or stopped")
        if bot.instance or bot.wanted:
            await self.watch.look()
        state, reason = self.watch.state(bot)
        if state in _BUSY:
            return Outcome(Result.REFUSED, f"{bot.id} is {state}{f': {reason}' if reason else ''}; stop it first")
        words = await self._starting.clear_away(bot)
        self.watch.forget(bot)
        logger.info("bot {}: forgotten{}", bot.id, f"; {words}" if words else "")
        return Outcome(Result.DONE, words)

    # -- starting and stopping -------------------------------------------------------------------------------------

    async def start(self, name: str) -> Outcome:
        """Deploy it and look until it is alive. Done means seen running; `ALREADY_RUNNING` that it was."""
        return await self._do(name, "start", self._starting.start)

    async def stop(self, name: str) -> Outcome:
        """Stop it, look until it is silent, then at its open orders. Done means seen; `ALREADY_STOPPED` that it was."""
        return await self._do(name, "stop", self._starting.stop)

    async def restart(self, name: str) -> Outcome:
        """Stop it, and start it when it was seen to have stopped."""
        return await self._do(name, "restart", self._again)

    async def _again(self, bot: Bot) -> Outcome:
        stopped = await self.stop(bot.id)
        return await self.start(bot.id) if stopped.result is Result.DONE else stopped

    async def _do(self, name: str, what: str, work: Callable[[Bot], Coroutine[Any, Any, Outcome]]) -> Outcome:
        try:
            bot = self.find(name)
        except JournalError as error:
            return Outcome(Result.FAILED, f"the bots' records cannot be read: {error}")
        if bot is None:
            return _nobody(name)
        task = self._work.get((bot.id, what))
        if task is None:
            if what == "stop":
                self._starting.give_up(bot)
            alone = work(bot) if what == "restart" else self._alone(bot, what, work)
            task = asyncio.create_task(alone, name=f"bot {what}: {bot.id}")
            self._work[bot.id, what] = task
            task.add_done_callback(lambda _: self._work.pop((bot.id, what), None))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            return Outcome(Result.UNCERTAIN, f"{what} was broken off: the daemon stops or has another configuration")

    async def _alone(self, bot: Bot, what: str, work: Callable[[Bot], Awaitable[Outcome]]) -> Outcome:
        lock = self._one.setdefault(bot.id, asyncio.Lock())
        async with lock:
            why_not = await self.prepare() if work == self._starting.start else ""  # nothing holds up a stop
            if why_not:
                return Outcome(Result.FAILED, why_not)
            try:
                outcome = await work(bot)
            except EventError as error:
                return Outcome(Result.REFUSED, str(error))
            except JournalError as error:
                return Outcome(Result.UNCERTAIN, f"the journal cannot be written: {error}; see how the bot is")
        said = f": {outcome.reason}" if outcome.reason else ""
        logger.bind(handler="hummingbot").info("bot {}: {} {}{}", bot.id, what, outcome.result, said)
        return outcome

    def _busy(self, bot: Bot) -> bool:
        return any(id == bot.id for id, _ in self._work)

    # -- what it did -----------------------------------------------------------------------------------------------

    async def history(self, name: str, days: int = 0) -> tuple[BotTrade, ...] | Refused | Unavailable:
        """Its fills, as the bot itself tells them; `days` 0 is since its engine started. Raises JournalError."""
        bot = self.find(name)
        if bot is None:
            return Refused(_nobody(name).reason, Why.NOT_FOUND)
        if not bot.instance:
            return ()
        answer = await self._api.history(bot.instance, HistoryQuery(days=days))
        if isinstance(answer, Ok):
            return tuple(answer.value)
        return answer if isinstance(answer, Refused) else Unavailable(answer.words)

    async def logs(self, name: str) -> list[dict[str, Any]] | Refused:
        """Its last log lines, oldest first, JSON-ready; what was seen last while Hummingbot is away.

        Raises JournalError.
        """
        bot = self.find(name)
        if bot is None:
            return Refused(_nobody(name).reason, Why.NOT_FOUND)
        await self.watch.look()
        return [
            {"at": line.timestamp, "level": line.level_name, "text": shown(line.msg)} for line in self.watch.lines(bot)
        ]

    def owner(self, instance: str) -> Bot | None:
        """Whose instance this is, earlier ones included; None for nobody's. Raises JournalError."""
        self.watch.take_up()
        bot = self.watch.bots.get(instance_of(instance))
        return bot if bot is not None and instance in (bot.instance, *bot.past) else None


def _nobody(name: str) -> Outcome:
    return Outcome(Result.REFUSED, f"there is no bot {shown(name)[:64]}")


__all__ = ["ALREADY_STOPPED", "MOST", "Bots"]
