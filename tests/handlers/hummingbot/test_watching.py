"""Bots that are not as they should be, orphans and phantoms: seen, told once, and never taken for what they are not."""

import asyncio

import pytest

from daemon.ports import Outcome, Result
from handlers.hummingbot.observing import Patience
from tests.handlers.hummingbot.keeping import listening, reason, running, scene, state

BLIND = Patience(alive_s=0.3, stop_s=0.3, archive_s=0.3, quiet_s=0.1, lost_s=0.2, appear_s=0.1, look_s=0.02)
DEPLOY = ("POST", "/bot-orchestration/deploy-v2-controllers")


async def test_a_killed_bot_has_failed_and_says_so_once() -> None:
    async with scene() as s, s.life() as bots:
        name = await running(bots)
        s.server.bots.kill(name)
        with listening() as said:
            await bots.observe()
            await bots.observe()
        assert (state(bots), reason(bots)) == ("failed", "its container is gone, and nobody here stopped it")
        assert len(said) == 1
        assert s.counts == {"failed": 1}


async def test_a_silent_bot_may_trade_on_and_no_second_one_is_started() -> None:
    async with scene() as s, s.life() as bots:
        name = await running(bots)
        s.server.bots.silence(name)
        s.server.pass_time(31)
        await bots.observe()
        assert state(bots) == "running", "Hummingbot has only just been seen: it has to hear its bots first"
        bots.watch._sighted -= 20
        with listening() as said:
            await bots.observe()
        assert state(bots) == "silent"
        assert len(said) == 1
        assert (await bots.start("mm")).result is Result.REFUSED
        bots.heard(name)
        await bots.observe()
        assert state(bots) == "running", "its own heartbeat counts"
        s.server.bots.wake(name)
        await bots.observe()
        assert state(bots) == "running"


async def test_a_bot_that_somebody_else_stopped() -> None:
    async with scene() as s, s.life() as bots:
        name = await running(bots)
        s.server.bots.stop(name)
        await bots.observe()
        assert state(bots) == "running", "the report may be late"
        await asyncio.sleep(0.35)
        await bots.observe()
        assert state(bots) == "failed"
        assert "stopped by somebody else" in reason(bots)
        assert await bots.stop("mm") == Outcome(Result.DONE), "broken or stopped: it is told to stop all the same"
        assert state(bots) == "stopped"


async def test_orphans_and_phantoms_are_told_once_and_are_no_bots_of_ours() -> None:
    async with scene() as s, s.life() as bots:
        s.server.bots.add("stranger-20261120-101500")
        s.server.bots.phantom("nobody")
        with listening() as said:
            await bots.observe()
            await bots.observe()
        assert {row["id"]: row["status"] for row in bots.rows()} == {
            "stranger-20261120-101500": "orphan",
            "nobody": "phantom",
        }
        assert len(said) == 2
        assert s.counts == {"orphan": 1, "phantom": 1}
        assert (await bots.stop("nobody")).result is Result.REFUSED
        assert not s.server.bots.commands, "a command would keep a phantom alive"


async def test_a_bot_is_unknown_while_hummingbot_is_away() -> None:
    async with scene() as s, s.life() as bots:
        await running(bots)
        await s.server.stop()
        with pytest.raises(Exception, match="cannot be seen"):
            await bots.observe()
        assert state(bots) == "unknown"
        assert "last seen running" in reason(bots)
        assert (await bots.stop("mm")).result is Result.FAILED
        await s.server.start()
        await bots.observe()
        assert state(bots) == "running"
