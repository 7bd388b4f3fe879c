"""Starting and stopping one bot: say it once, then look until it is so."""

import asyncio
from datetime import timedelta
from typing import Any

from daemon.clock import Clock
from daemon.ports import Outcome, Result
from handlers.hummingbot import strategies
from handlers.hummingbot.answers import Ok, Refused, Unavailable, Uncertain
from handlers.hummingbot.client import HummingbotClient
from handlers.hummingbot.observing import container, find
from handlers.hummingbot.registry import PAST, Bot, BotState, instance_of
from handlers.hummingbot.requests import (
    ActiveOrders,
    DeployControllers,
    DeployScript,
    ScriptText,
    StopBot,
)
from handlers.hummingbot.watching import Watch

ALREADY_RUNNING = "already_running"
"""Why a start is done without doing anything."""
ALREADY_STOPPED = "already_stopped"
"""The same of a stop."""
_NOTHING_THERE = (BotState.STOPPED, BotState.FAILED)


class Starting:
    """What `Bots` does to one bot at a time. A start raises JournalError before anything is sent; a stop never."""

    def __init__(self, api: HummingbotClient, watch: Watch, clock: Clock) -> None:
        self._api = api
        self._watch = watch
        self._clock = clock
        self._given_up: set[str] = set()

    def give_up(self, bot: Bot) -> None:
        """A start of it that is under way shall look no longer: it is to be stopped."""
        self._given_up.add(bot.id)

    # -- start -----------------------------------------------------------------------------------------------------

    async def start(self, bot: Bot) -> Outcome:
        """Deploy it, and look until it is alive. Raises EventError for a configuration that does not do."""
        self._given_up.discard(bot.id)
        blind = await self._watch.look()
        if blind:
            return Outcome(Result.FAILED, f"Hummingbot cannot be asked: {blind}")
        if not bot.instance and (there := find(bot, self._watch.rows)):
            # Somebody deployed it, or our record of it was lost: a second one would trade against it.
            bot.instance, bot.wanted, bot.listed = there, True, True
            self._watch.save(bot)
            await self._watch.look()
        if bot.state is BotState.RUNNING and not bot.wanted:
            return Outcome(Result.REFUSED, f"{bot.id} was {bot.reason}; stop it first")
        if bot.state is BotState.RUNNING:
            self._watch.save(bot)
            return Outcome(Result.DONE, ALREADY_RUNNING)
        if bot.state is BotState.SILENT:
            return Outcome(Result.REFUSED, f"{bot.id} is silent: {bot.reason}; stop it first")
        if bot.state is BotState.DEPLOYING and bot.wanted:  # an earlier life of the daemon began it
            return await self._until_alive(bot, "begun before")
        plan = strategies.plan(bot)
        problem = await self._upload(bot, plan)
        if problem:
            return Outcome(Result.FAILED, problem)
        await self._archive_old(bot)
        return await self._deploy(bot, plan)

    async def _upload(self, bot: Bot, plan: strategies.Plan) -> str:
        """Put there what the deploy needs; why not, or "". Doing it twice does no harm."""
        accounts = await self._api.accounts()
        if not isinstance(accounts, Ok):
            return f"Hummingbot cannot be asked for its accounts: {accounts.words}"
        if bot.account not in accounts.value:
            return f"Hummingbot has no account {bot.account}"
        if bot.strategy == "custom":
            saved: Any = await self._api.save_script(bot.id, ScriptText(content=plan.source))
            if isinstance(saved, Ok):
                saved = await self._api.save_script_config(bot.id, plan.config)
        else:
            saved = await self._api.save_controller_config(bot.id, plan.config)
        return "" if isinstance(saved, Ok) else f"its configuration was not taken: {saved.words}"

    async def _archive_old(self, bot: Bot) -> None:
        """What is left of it there: a stopped strategy's program runs on until its container goes."""
        rows = self._watch.rows
        for name in [name for name, row in rows.items() if instance_of(name) == bot.id and container(row)]:
            if name != bot.instance and name not in bot.past:
                bot.past = [*bot.past, name][-PAST:]
        if bot.instance and container(rows.get(bot.instance)):
            await self._api.archive(bot.instance)  # an orphan is told of when it stays

    async def _deploy(self, bot: Bot, plan: strategies.Plan) -> Outcome:
        bot.deploy(self._clock.now())
        self._watch.turn(bot, BotState.DEPLOYING, "no container yet")
        self._watch.save(bot)  # before the first byte: a crash finds that it was begun
        common: dict[str, Any] = {"instance_name": bot.id, "credentials_profile": bot.account, "image": plan.image}
        if bot.strategy == "custom":
            answer = await self._api.deploy_script(DeployScript(**common, script=f"{bot.id}.py", script_config=bot.id))
        else:
            answer = await self._api.deploy_controllers(DeployControllers(**common, controllers_config=(bot.id,)))
        if isinstance(answer, (Refused, Unavailable)):
            bot.wanted = False
            self._watch.turn(bot, BotState.FAILED, f"the deploy was refused: {answer.words}")
            self._watch.save(bot)
            return Outcome(Result.FAILED, bot.reason)
        if isinstance(answer, Uncertain):
            return await self._until_alive(bot, f"nobody knows whether the deploy was taken: {answer.words}")
        bot.instance = answer.value.unique_instance_name
        self._watch.save(bot)
        return await self._until_alive(bot, "accepted")

    async def _until_alive(self, bot: Bot, accepted: str) -> Outcome:
        patience = self._watch.patience
        end = self._clock.monotonic() + patience.alive_s
        while True:
            blind = await self._watch.look()
            if bot.id in self._given_up:
                return Outcome(Result.SUPERSEDED, "to be stopped before it was seen running")
            if not blind and bot.instance and bot.state is BotState.RUNNING:
                return Outcome(Result.DONE)
            if not blind and bot.instance and bot.state is BotState.FAILED:
                return Outcome(Result.FAILED, f"{bot.reason}{self._watch.last_words(bot)}")
            if self._clock.monotonic() >= end:
                why = blind or bot.reason or "nothing was heard"
                words = f"{accepted}, and not seen running within {timedelta(seconds=round(patience.alive_s))}: {why}"
                return Outcome(Result.UNCERTAIN, f"{words}{self._watch.last_words(bot)}")
            await asyncio.sleep(patience.look_s)

    # -- stop ------------------------------------------------------------------------------------------------------

    async def stop(self, bot: Bot) -> Outcome:
        """Stop it, look until it is silent, then at its open orders."""
        blind = await self._watch.look()
        while bot.wanted and bot.state is BotState.DEPLOYING and not blind and not self._listed(bot):
            await asyncio.sleep(self._watch.patience.look_s)  # a command to what is not there yet would be lost
            blind = await self._watch.look()
        if blind:
            return Outcome(Result.FAILED, f"Hummingbot cannot be asked: {blind}", away=True)
        if not bot.instance or not self._may_trade(bot):
            was = bot.state
            bot.wanted = False
            self._watch.turn(bot, BotState.STOPPED, bot.reason if was is BotState.STOPPED else f"stopped; {bot.reason}")
            self._watch.note(bot)
            return Outcome(Result.DONE, ALREADY_STOPPED)
        # A script does not say whether it stopped, and who is not heard does not hear: there the container has to go.
        away = bot.strategy == "custom" or bot.state in (BotState.SILENT, BotState.DEPLOYING)
        wanted, bot.wanted = bot.wanted, False
        self._watch.hush(bot)
        self._watch.note(bot)
        answer = await self._api.stop_bot(StopBot(bot_name=bot.instance))
        if isinstance(answer, (Refused, Unavailable)) and not away:
            await self._watch.look()
            if self._may_trade(bot):
                bot.wanted = wanted
                await self._watch.look()
                self._watch.note(bot)
                return Outcome(Result.FAILED, f"the stop was refused: {answer.words}")
        archived = await self._api.archive(bot.instance) if away else None
        return await self._until_quiet(bot, away=away, trouble=getattr(archived, "words", ""))

    def _listed(self, bot: Bot) -> bool:
        return bool(bot.instance) and container(self._watch.rows.get(bot.instance))

    def _may_trade(self, bot: Bot) -> bool:
        """Whether anything there says that it may: a container that is heard with a report, or is not heard at all."""
        if not container(self._watch.rows.get(bot.instance)):
            return bot.state is BotState.DEPLOYING
        return bot.wanted or bot.state not in _NOTHING_THERE

    async def _until_quiet(self, bot: Bot, *, away: bool, trouble: str) -> Outcome:
        patience = self._watch.patience
        limit_s = patience.archive_s if away else patience.stop_s
        end = self._clock.monotonic() + limit_s
        while True:
            blind = await self._watch.look()
            if not blind and bot.state is BotState.STOPPED and await self._over(bot, away=away):
                return await self._stopped(bot)
            if self._clock.monotonic() >= end:
                why = blind or bot.reason
                words = f"told to stop, and not seen to have stopped within {timedelta(seconds=round(limit_s))}: {why}"
                return Outcome(
                    Result.UNCERTAIN, f"{words}; its container was not archived: {trouble}" if trouble else words
                )
            await asyncio.sleep(patience.look_s)

    async def _over(self, bot: Bot, *, away: bool) -> bool:
        """One that is being archived is no longer listed, and not at its end either."""
        if self._listed(bot):
            return not away
        answer = await self._api.bot(bot.instance)
        return not (isinstance(answer, Ok) and answer.value.status == "stopping")

    async def _stopped(self, bot: Bot) -> Outcome:
        asked = ActiveOrders(account_names=(bot.account,), connector_names=(bot.connector,), trading_pairs=(bot.pair,))
        answer = await self._api.active_orders(asked)
        if not isinstance(answer, Ok):
            return Outcome(Result.DONE, f"stopped; its open orders cannot be seen: {answer.words}")
        count = len(answer.value.rows)
        return Outcome(Result.DONE, f"stopped; {count} orders are open on {bot.connector} {bot.pair}" if count else "")

    async def clear_away(self, bot: Bot) -> str:
        """Archive its container, if it is there still; what did not work, in words."""
        if not bot.instance or not container(self._watch.rows.get(bot.instance)):
            return ""
        answer = await self._api.archive(bot.instance)
        return "" if isinstance(answer, Ok) else f"its container {bot.instance} was not archived: {answer.words}"
