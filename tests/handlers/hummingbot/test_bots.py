"""Bots against the strict fake with all its traps: what is said of them is what was observed."""

import asyncio
from decimal import Decimal

import pytest

from daemon.errors import EventError
from daemon.lifecycle import until
from daemon.ports import Outcome, Result
from handlers.hummingbot.answers import Refused, Unavailable
from handlers.hummingbot.observing import Patience
from handlers.hummingbot.registry import Bot, load
from tests.handlers.hummingbot.keeping import MARKET, SPREAD, instance, listening, make, reason, running, scene, state

BLIND = Patience(alive_s=0.3, stop_s=0.3, archive_s=0.3, quiet_s=0.1, lost_s=0.2, appear_s=0.1, look_s=0.02)
DEPLOY = ("POST", "/bot-orchestration/deploy-v2-controllers")


async def test_a_start_is_a_deploy_that_was_seen_to_live() -> None:
    async with scene(starting_s=0.2) as s, s.life() as bots:
        name = await running(bots)
        assert name.startswith("mm-")
        assert state(bots) == "running"
        assert s.server.count("POST /bot-orchestration/start-bot") == 0, "Hummingbot's own start does nothing"
        (config,) = s.server.bots.known[name].controllers.values()
        assert config["leverage"] == 1
        assert config["buy_spreads"] == ["0.001"]
        assert config["trading_pair"] == "BTC-USD"


async def test_a_second_start_does_nothing() -> None:
    async with scene() as s, s.life() as bots:
        await running(bots)
        assert await bots.start("mm") == Outcome(Result.DONE, "already_running")
        assert len(s.server.bots.known) == 1


async def test_two_starts_at_once_are_one() -> None:
    async with scene(starting_s=0.1) as s, s.life() as bots:
        await make(bots)
        outcomes = await asyncio.gather(bots.start("mm"), bots.start("mm"))
        assert [each.result for each in outcomes] == [Result.DONE, Result.DONE]
        assert len(s.server.bots.known) == 1


async def test_who_waits_for_a_start_may_go_away() -> None:
    async with scene(starting_s=0.2) as s, s.life() as bots:
        await make(bots)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await bots.start("mm")
        assert (await bots.start("mm")).result is Result.DONE
        assert len(s.server.bots.known) == 1


@pytest.mark.parametrize("strategy", ["spread", "grid", "custom"])
async def test_each_strategy_starts(strategy: str) -> None:
    async with scene() as s, s.life() as bots:
        await running(bots, strategy=strategy)
        assert state(bots) == "running"


async def test_a_stop_is_seen_and_a_second_one_does_nothing() -> None:
    async with scene() as s, s.life() as bots:
        name = await running(bots)
        assert await bots.stop("mm") == Outcome(Result.DONE)
        assert state(bots) == "stopped"
        assert s.server.bots.known[name].phase == "stopped"
        assert await bots.stop("mm") == Outcome(Result.DONE, "already_stopped")
        assert s.server.count("POST /bot-orchestration/stop-bot") == 1


async def test_a_bot_that_does_not_obey_is_not_called_stopped() -> None:
    async with scene(disobeys=True) as s, s.life() as bots:
        name = await running(bots)
        outcome = await bots.stop("mm")
        assert outcome.result is Result.UNCERTAIN
        assert "not seen to have stopped" in outcome.reason
        assert state(bots) == "running", "though Hummingbot shows `stopped`"
        assert s.server.bots.status(name)["recently_active"]


async def test_a_script_counts_as_stopped_once_its_container_is_gone() -> None:
    async with scene() as s, s.life() as bots:
        name = await running(bots, strategy="custom")
        stop = asyncio.create_task(bots.stop("mm"), name="stop")
        await until(lambda: s.server.bots.known[name].archiving, 5.0)
        await asyncio.sleep(0.1)
        assert not stop.done(), "it is not listed any more, and not at its end"
        s.server.bots.archived(name)
        assert await stop == Outcome(Result.DONE)


async def test_a_silent_bot_does_not_hear_so_its_container_has_to_go() -> None:
    async with scene() as s, s.life() as bots:
        name = await running(bots)
        s.server.bots.silence(name)
        s.server.pass_time(31)
        bots.watch._sighted -= 20
        stop = asyncio.create_task(bots.stop("mm"), name="stop")
        await until(lambda: s.server.bots.known[name].archiving, 5.0)
        assert not stop.done()
        s.server.bots.archived(name)
        assert await stop == Outcome(Result.DONE)


async def test_a_stop_in_the_middle_of_a_start_waits_for_what_it_stops() -> None:
    async with scene(starting_s=0.5) as s, s.life() as bots:
        await make(bots)
        start = asyncio.create_task(bots.start("mm"), name="start")
        await until(lambda: bool(s.server.bots.known), 5.0)
        stop = asyncio.create_task(bots.stop("mm"), name="stop")
        assert (await start).result is Result.SUPERSEDED
        name = instance(bots)
        await until(lambda: s.server.bots.known[name].archiving, 5.0)
        s.server.bots.archived(name)
        assert await stop == Outcome(Result.DONE)
        assert state(bots) == "stopped"


async def test_orders_that_are_open_after_a_stop_are_told() -> None:
    async with scene() as s, s.life() as bots:
        await running(bots)
        market = {"account_name": "master_account", "connector_name": MARKET[0], "trading_pair": "BTC-USD"}
        s.server.exchange.place(market | {"trade_type": "BUY", "amount": Decimal("0.1"), "price": Decimal(50000)})
        outcome = await bots.stop("mm")
        assert outcome == Outcome(Result.DONE, "stopped; 1 orders are open on hyperliquid_perpetual BTC-USD")
        with listening() as said:
            await bots.reconcile()
            await bots.reconcile()
        assert [line for line in said if "1 orders are open" in line] == [said[0]], "told once"


async def test_a_restart_is_a_new_instance_and_the_old_one_goes() -> None:
    async with scene() as s, s.life() as bots:
        old = await running(bots)
        s.server.pass_time(2)
        assert (await bots.restart("mm")).result is Result.DONE
        assert instance(bots) != old
        assert s.server.bots.known[old].archiving
        s.server.bots.known[old].archiving = False  # it stays in Docker's list for a while
        await bots.observe()
        assert not bots.watch.strangers


async def test_a_deploy_that_docker_refuses() -> None:
    async with scene(deploy_refused="Docker says no") as s, s.life() as bots:
        await make(bots)
        assert await bots.start("mm") == Outcome(Result.FAILED, "the deploy was refused: Docker says no")
        await bots.observe()
        assert (state(bots), reason(bots)) == ("failed", "the deploy was refused: Docker says no")


async def test_a_container_that_dies_at_its_start() -> None:
    async with scene(deploy_dies=True, starting_s=0.3) as s, s.life() as bots:
        await make(bots)

        async def last_words() -> None:
            await until(lambda: bool(s.server.bots.known), 5.0)
            s.server.bots.say(next(iter(s.server.bots.known)), "no such market: BTC-USD", error=True)

        outcome, _ = await asyncio.gather(bots.start("mm"), last_words())
        assert outcome.result is Result.FAILED
        assert "ended" in outcome.reason
        assert "its log: no such market: BTC-USD" in outcome.reason
        assert state(bots) == "failed"


async def test_a_bot_that_is_not_heard_in_time_is_uncertain_and_seen_later() -> None:
    async with scene(starting_s=100.0) as s, s.life(patience=BLIND) as bots:
        await make(bots)
        outcome = await bots.start("mm")
        assert outcome.result is Result.UNCERTAIN
        assert "accepted, and not seen running" in outcome.reason
        s.server.pass_time(100)
        await bots.observe()
        assert state(bots) == "running"


@pytest.mark.parametrize("what", ["done", "lost"])
async def test_a_deploy_whose_answer_broke_is_looked_up_and_not_repeated(what: str) -> None:
    async with scene() as s, s.life(patience=BLIND) as bots:
        await make(bots)
        s.server.habits.reset[DEPLOY] = what  # type: ignore[assignment]
        outcome = await bots.start("mm")
        assert s.server.count("POST /bot-orchestration/deploy-v2-controllers") == 1
        if what == "done":
            assert outcome == Outcome(Result.DONE)
            assert instance(bots) in s.server.bots.known
        else:
            assert outcome.result is Result.UNCERTAIN
            await asyncio.sleep(0.1)
            await bots.observe()
            assert state(bots) == "failed"


async def test_a_crash_in_the_middle_of_a_start() -> None:
    async with scene(starting_s=0.3) as s:
        async with s.life() as bots:
            await make(bots)
            start = asyncio.create_task(bots.start("mm"), name="start")
            await until(lambda: bool(s.server.bots.known), 5.0)
            record = load(s.memory.kept["mm"])
            assert (record.wanted, record.state) == (True, "deploying")
            start.cancel()
        record.instance = ""  # the answer was never read
        s.memory.kept["mm"] = record.dump()
        async with s.life() as bots:
            assert state(bots) == "unknown"
            assert await bots.start("mm") == Outcome(Result.DONE)
        assert len(s.server.bots.known) == 1


async def test_a_record_that_was_lost_does_not_start_a_second_bot() -> None:
    async with scene() as s:
        async with s.life() as bots:
            name = await running(bots)
        s.memory.kept.clear()
        async with s.life() as bots:
            await make(bots)
            assert await bots.start("mm") == Outcome(Result.DONE, "already_running")
            assert instance(bots) == name


async def test_a_wrong_password_is_told() -> None:
    async with scene() as s:
        async with s.life() as bots:
            await make(bots)
        async with s.life("wrong") as bots:
            outcome = await bots.start("mm")
            assert outcome.result is Result.FAILED
            assert "user name or password refused" in outcome.reason


async def test_the_broker_is_away_and_the_stop_is_refused() -> None:
    async with scene() as s, s.life() as bots:
        await running(bots)
        s.server.bots.cut()
        outcome = await bots.stop("mm")
        assert outcome.result is Result.FAILED
        assert "broker may be away" in outcome.reason
        assert state(bots) == "running"
        s.server.bots.join()
        assert await bots.stop("mm") == Outcome(Result.DONE)


async def test_nothing_is_asked_for_before_positions_and_orders_were_seen() -> None:
    async with scene() as s, s.life() as bots:
        await make(bots)
        s.server.habits.answer["POST", "/trading/positions"] = (500, "text/plain", b"Internal Server Error")
        outcome = await bots.start("mm")
        assert outcome.result is Result.FAILED
        assert "positions and open orders cannot be seen" in outcome.reason
        assert not s.server.bots.known
        s.server.habits.answer.clear()
        assert (await bots.start("mm")).result is Result.DONE


async def test_a_journal_that_cannot_be_written_starts_nothing() -> None:
    async with scene() as s, s.life() as bots:
        await make(bots)
        s.memory.broken = True
        outcome = await bots.start("mm")
        assert outcome.result is Result.UNCERTAIN
        assert "disk full" in outcome.reason
        assert not s.server.bots.known


async def test_a_stop_needs_neither_journal_nor_positions() -> None:
    async with scene() as s, s.life() as bots:
        name = await running(bots)
        s.memory.broken = True
        bots.watch.reconciled = False
        s.server.habits.answer["POST", "/trading/positions"] = (500, "text/plain", b"Internal Server Error")
        assert await bots.stop("mm") == Outcome(Result.DONE)
        assert s.server.bots.known[name].phase == "stopped"
        s.memory.broken = False
        await bots.observe()
        assert load(s.memory.kept["mm"]).state == "stopped", "written once it can be"


async def test_a_running_bot_is_not_removed() -> None:
    async with scene() as s, s.life() as bots:
        name = await running(bots)
        outcome = await bots.remove("mm")
        assert (outcome.result, outcome.reason) == (Result.REFUSED, "mm is running; stop it first")
        await bots.stop("mm")
        assert await bots.remove("mm") == Outcome(Result.DONE)
        assert not s.memory.kept
        assert s.server.bots.known[name].archiving


async def test_history_and_logs_are_the_bots_own() -> None:
    async with scene() as s, s.life() as bots:
        name = await running(bots)
        s.server.bots.trade(name, "t1", "BUY", "60000.5", "0.01")
        s.server.bots.say(name, "placed an order")
        found = await bots.history("mm")
        assert isinstance(found, tuple)
        assert [each.trade_id for each in found] == ["t1"]
        lines = await bots.logs("mm")
        assert isinstance(lines, list)
        assert lines[-1]["text"] == "placed an order"
        s.server.habits.history_silent = True
        assert isinstance(await bots.history("mm"), Unavailable)
        assert isinstance(await bots.history("nobody"), Refused)


async def test_a_name_is_made_fit_for_hummingbot() -> None:
    async with scene() as s, s.life() as bots:
        assert await make(bots, "Sharp Spread") == "Sharp-Spread"
        assert isinstance(await bots.create("Sharp-Spread", "spread", *MARKET, SPREAD), Refused)
        assert bots.find("Sharp Spread") is bots.find("Sharp-Spread")


async def test_a_connector_that_hummingbot_does_not_have() -> None:
    async with scene() as s, s.life() as bots:
        with pytest.raises(EventError, match="it has hyperliquid_perpetual"):
            await bots.create("x", "spread", "hyperliquid", "BTC-USD", SPREAD)
        await s.server.stop()
        assert isinstance(await bots.create("x", "spread", *MARKET, SPREAD), Unavailable)


async def test_an_account_that_hummingbot_does_not_have() -> None:
    async with scene() as s, s.life() as bots:
        made = await bots.create("x", "spread", *MARKET, SPREAD | {"account": "other"})
        assert isinstance(made, Bot)
        assert await bots.start("x") == Outcome(Result.FAILED, "Hummingbot has no account other")


async def test_watching_writes_only_what_changed() -> None:
    async with scene() as s, s.life() as bots:
        await running(bots)
        writes = s.memory.writes
        for _ in range(3):
            await bots.observe()
        assert s.memory.writes == writes
