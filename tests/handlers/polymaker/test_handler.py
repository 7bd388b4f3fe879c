"""What each answer comes to, and that no trade is lost or told twice whatever the Center says to what."""

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from daemon.dispatch import outbox as module
from daemon.errors import DeskhandError, UnreachableError
from daemon.ports import Again, Held, Outcome, Post, Result
from handlers.polymaker import client as client_module
from handlers.polymaker.models import BATCH_MOST
from handlers.polymaker.replies import (
    KeyRefused,
    Rejected,
    Throttled,
    Trouble,
    Unavailable,
    Uncertain,
)
from tests.dispatch.support import SetClock, until
from tests.fakes.center import Center
from tests.fakes.center_habits import config
from tests.handlers.polymaker.room import META, Room, room


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_S", 0.02)


def result(verdict: object) -> object:
    """In short."""
    outcome = getattr(verdict, "outcome", None)
    return outcome.result if isinstance(outcome, Outcome) else verdict


@pytest.mark.parametrize(
    ("trouble", "trade", "stop"),
    [
        (KeyRefused(401), Again("it refuses the key (401)", 60.0), Again("it refuses the key (401)", 60.0)),
        (Throttled(7.0), Again(Throttled(7.0).reason, 7.0), Again(Throttled(7.0).reason, 7.0)),
        (Rejected("HTTP 400", 400), Result.FAILED, Result.FAILED),
        (Unavailable("no"), Again("no"), Again("no")),
        (Unavailable("HTTP 302", 302), Again("HTTP 302"), Again("HTTP 302")),
        (Unavailable("HTTP 408", 408), Again("HTTP 408"), Again("HTTP 408")),
        (Unavailable("HTTP 500", 500), Result.UNCERTAIN, Again("HTTP 500")),
        (Unavailable("HTTP 503", 503, 9.0), Again("HTTP 503", 9.0), Again("HTTP 503", 9.0)),
        (Unavailable("HTTP 502", 502), Result.UNCERTAIN, Again("HTTP 502")),
        (Unavailable("HTTP 504", 504), Result.UNCERTAIN, Again("HTTP 504")),
        (Unavailable("HTTP 524", 524), Result.UNCERTAIN, Again("HTTP 524")),
        (Uncertain("no answer"), Result.UNCERTAIN, Again("no answer")),
    ],
)
async def test_a_verdict_for_each_reply(tmp_path: Path, trouble: Trouble, trade: object, stop: object) -> None:
    async with Center() as center:
        r = Room(tmp_path, center.url, SetClock(), "live")
        assert result(r.handler._verdict(post("trade"), trouble)) == trade
        for name in ("run/stop", "trade/update", "run/start"):
            assert result(r.handler._verdict(post(name), trouble)) == stop
        await r.crash()


async def test_a_resend_is_a_setting(tmp_path: Path) -> None:
    async with Center() as center:
        r = Room(tmp_path, center.url, SetClock(), "live", resend_uncertain=True)
        assert r.handler._verdict(post("trade"), Uncertain("no answer")) == Again("no answer")
        for status in (500, 502):
            assert r.handler._verdict(post("trade"), Unavailable("HTTP", status)) == Again("HTTP")
        await r.crash()


def post(name: str, run: str = "r", seq: int = 0, group: str = "g") -> Post:
    return Post("polymaker", "here", run, group, name, f"{name}{seq}", {}, 1.0, seq=seq)


async def test_what_goes_together(tmp_path: Path) -> None:
    async with Center() as center:
        r = Room(tmp_path, center.url, SetClock(), "live")
        together = r.handler.together

        def names(*waiting: Post) -> list[int]:
            return [each.seq for each in together(waiting)]

        assert names(post("run/start", seq=1), post("trade", seq=2)) == [1]
        assert names(post("trade", seq=1), post("trade/update", seq=2), post("trade", seq=3)) == [1, 3]
        assert names(post("trade", seq=1), post("trade", "another", 2), post("trade", seq=3)) == [1]
        assert names(post("trade", seq=1), post("run/stop", seq=2), post("trade", seq=3)) == [1]
        assert len(names(*(post("trade", seq=n) for n in range(1, 300)))) == BATCH_MOST
        await r.crash()


async def test_the_run_that_was_handed_over_is_left_alone(tmp_path: Path) -> None:
    """With another key, at the same place: what is for the next run is not for this one's."""
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        other = Room(tmp_path / "other", center.url, r.clock, "practice")
        other.runs._outbox = r.outbox
        r.handler.hand_over(other.handler)
        await until(lambda: not center.open)
        assert await r.outbox.empty(1) is False
        assert len(center.runs) == 1, "it is closed, and no other is opened with the old key"
        assert other.runs.run
        await other.crash()


PATHS = ("/config", "/run/start", "/run/update", "/trade", "/trade/update", "/trade/batch", "/run/stop")
HABITS = (
    *("no_content", "null", "nested", "created", "html", "deep", "huge", "slow:0.05", "unauthorized", "forbidden"),
    *("broken", "broken_json", "away", "status:408", "status:502", "busy:1", "busy_date:1", "busy_bare", "redirect"),
    *("reset_before", "reset_after", "reset_midway", "garbage", "closed", "hang", "conflict", "not_found"),
    "broken_after",
)
NO_ANSWER = (
    *("huge", "status:502", "reset_after", "reset_midway", "garbage", "closed", "hang", "reset_before"),
    *("broken", "broken_json", "broken_after"),
)
"""After these nobody knows whether it was taken."""


@pytest.mark.parametrize("habit", HABITS)
async def test_no_trade_is_lost(tmp_path: Path, habit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each path misbehaves once; then every trade is there once, but those whose answer never came."""
    monkeypatch.setattr(client_module, "PAUSE_S", 0.01)
    async with Center() as center:
        for path in PATHS:
            center.script(path, habit)
        async with room(tmp_path, center.url, timeout_s=0.5 if habit == "hang" else 5.0) as r:
            await nudged(r)
            for number in range(2):
                for kind in ("entry", "close"):
                    r.say(kind, number, meta=META | {"cycle": 2 * number + (kind == "close")})
                    await nudged(r)
            for number in range(2, 6):
                r.trade(number)
            await nudged(r)
            with suppress(DeskhandError):
                await r.handler.push_metrics()
            r.runs.end("completed")
            await nudged(r)
            ends = Counter((post.name, post.outcome.result) for post in r.posts() if post.outcome)
            uncertain = ends["trade", Result.UNCERTAIN]
        for path in PATHS:
            assert not center._scripts.get(path), f"{path} was never asked"
        assert set(center.copies().values()) == {1}
        assert center.violations == []
        assert bool(uncertain) == (habit in NO_ANSWER)
        refused = habit in ("conflict", "not_found")  # then it is not wanted, now or later
        assert ends["trade", Result.FAILED] == refused, "the trade that was refused alone; those of the batch are not"
        assert ends["run/stop", Result.FAILED] == refused
        assert [run.status for run in center.runs.values()][-1] == ("open" if refused else "completed")
        assert len(center.open) == refused
        assert len(center.trades) >= 12 - uncertain - ends["trade", Result.FAILED]
        assert ends["trade", Result.DONE] == 12 - uncertain - ends["trade", Result.FAILED]


async def nudged(r: Room) -> None:
    """Until nothing waits; no pause that the Center asks for is waited for."""

    def done() -> bool:
        r.outbox.nudge()
        return not r.outbox.depth and r.outbox.up is not False

    await until(done, 10)


async def test_a_batch_that_is_refused_for_one_of_them(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        center.script("/trade", "away")
        center.script("/trade/batch", "status:400")
        center.script("/trade", None, None, "status:400", None)
        for number in range(5):
            r.say("entry", number, meta=META | {"cycle": number})
        await nudged(r)
        ends = [(post.group, post.outcome.result.value) for post in r.posts("trade") if post.outcome]
        assert ends == [("t0", "done"), ("t1", "done"), ("t2", "failed"), ("t3", "done"), ("t4", "done")]
        assert [trade.body["cycle"] for trade in center.trades.values()] == [0, 1, 3, 4]


async def test_what_cannot_be_sent_does_not_hinder_the_rest(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        center.script("/trade", "away")
        for number, price in enumerate(("0.5", "189.20", "0.4")):
            r.say("entry", number, price=price)
        r.say("entry", 3, price=None)
        r.say("entry", 4, price="0.3", meta=META | {"asset": "0x" + "a" * 64})
        await nudged(r)
        said = {post.group: post.outcome for post in r.posts("trade")}
        assert [said[f"t{n}"].result.value for n in range(5)] == ["done", "failed", "done", "failed", "failed"]  # type: ignore[union-attr]
        assert said["t1"].reason == "cannot be told: price: must be less than or equal to 1"  # type: ignore[union-attr]
        assert said["t3"].reason == "cannot be told: price: is required"  # type: ignore[union-attr]
        assert "stopped before its first byte" in said["t4"].reason  # type: ignore[union-attr]
        assert len(center.trades) == 2


async def test_an_update_of_a_trade_without_a_number(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        center.habits["/trade"] = "no_content"
        r.say("entry", 1)
        await nudged(r)
        r.say("close", 1)
        await nudged(r)
        (update,) = r.posts("trade/update")
        assert update.outcome == Outcome(Result.REFUSED, "the Center never gave its trade a number")
        assert len(center.trades) == 2


# -- a run that is not opened ------------------------------------------------------------------------------------------


async def test_without_a_configuration_it_waits_and_says_so(tmp_path: Path) -> None:
    async with Center() as center:
        center.config = config(id=None)
        async with room(tmp_path, center.url) as r:
            await until(lambda: r.outbox.held)
            assert r.outbox.held.startswith("the Center has no configuration with an id for this bot")
            assert r.outbox.up is True
            r.trade(1)
            center.config = config(id=9)
            assert await r.handler.poll_config() is False
            await r.opened()
            await r.told()
            assert [run.config_id for run in center.runs.values()] == [9]
            assert len(center.trades) == 2


@pytest.mark.parametrize("habit", ["not_found", "no_content", "null"])
async def test_a_configuration_that_is_set_here_needs_none_there(tmp_path: Path, habit: str) -> None:
    async with Center() as center:
        center.habits["/config"] = habit
        async with room(tmp_path, center.url, config_id=4) as r:
            await r.opened()
        assert [run.config_id for run in center.runs.values()] == [4]


async def test_a_run_that_is_refused_is_asked_for_ever_more_seldom(tmp_path: Path) -> None:
    async with Center() as center:
        r = Room(tmp_path, center.url, SetClock(), "live")
        waits = []
        for _ in range(12):
            held = r.handler._not_opened("HTTP 409")
            assert isinstance(held, Held)
            waits.append(held.after_s)
        assert waits[:3] == [30, 60, 120]
        assert waits[-1] == 3600
        await r.crash()


async def test_a_center_that_names_another_run_for_the_same_start(tmp_path: Path) -> None:
    """The answer to run/start was lost: what is told goes to the run that was named in the end."""
    async with Center() as center:
        center.script("/run/start", "reset_after")
        async with room(tmp_path, center.url) as r:
            r.trade(1)
            await r.opened()
            await r.told()
            assert r.runs.current_id == 102
        assert {trade.run for trade in center.trades.values()} == {102}
        assert [run.status for run in center.runs.values()] == ["stale", "completed"]


# -- of the moment -----------------------------------------------------------------------------------------------------


async def test_figures_that_are_refused_say_nothing_of_the_peer(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        await until(lambda: center.asked("/run/update"))
        center.script("/run/update", "status:400")
        with pytest.raises(DeskhandError, match="HTTP 400"):
            await r.handler.push_metrics()
        assert r.outbox.up is True


@pytest.mark.parametrize("push", ["push_metrics", "report_markets", "poll_config"])
async def test_a_center_that_is_away_is_asked_by_probes_alone(tmp_path: Path, push: str) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        r.trade(1)
        await r.told()
        await center.stop()
        with pytest.raises(UnreachableError):
            await getattr(r.handler, push)()
        assert r.outbox.up is False
        if push != "poll_config":
            with pytest.raises(UnreachableError, match="refused"):  # asks nothing, and does not say that it is done
                await getattr(r.handler, push)()
        await center.start()
        await until(lambda: r.outbox.up)


async def test_a_center_that_wants_quiet_has_it(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        center.habits["*"] = "busy:60"
        with pytest.raises(UnreachableError):
            await r.handler.poll_config()
        await until(lambda: r.outbox.quiet)
        asked = len(center.calls)
        assert await r.handler.poll_config() is None
        await r.handler.push_metrics()
        r.trade(1)
        assert len(center.calls) == asked
        center.habits.clear()
        r.outbox.nudge()
        await r.told()


@pytest.mark.parametrize(
    ("there", "paused"),
    [
        (config(pauseOrders=True), True), (config(), False), (config(pauseOrders=None), False),
        (config(pauseOrders="true"), None), (config(pauseOrders=1), None), (None, None), ([], None),
    ],
)  # fmt: skip
async def test_only_a_real_word_pauses_or_lifts(tmp_path: Path, there: Any, paused: bool | None) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        center.config = there
        assert await r.handler.poll_config() is paused


async def test_one_bad_figure_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        await until(lambda: center.asked("/run/update"))
        monkeypatch.setattr(r.runs, "figures", lambda: {"totalOrders": 3, "totalPnl": "NaN", "peakPnl": "1e400"})
        await r.handler.push_metrics()
        assert center.asked("/run/update")[-1].body == {"runId": 101, "totalOrders": 3}
        assert [words.split(":")[0] for words in r.handler.shown()["left_out"]] == ["totalPnl", "peakPnl"]


async def test_markets(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        await r.handler.report_markets()
        assert not center.asked("/markets/report")
        r.say("entry", 1, meta=META | {"condition_id": "0x" + "5f" * 32, "expires_at": "soon"})
        r.say("entry", 2, meta={"asset": "ETH"})
        await r.handler.report_markets()
        assert center.asked("/markets/report")[0].body == {
            "markets": [
                {
                    "tokenId": "7" * 60,
                    "asset": "BTC",
                    "window": "5m",
                    "conditionId": "0x" + "5f" * 32,
                    "expiresAt": "soon",
                }
            ]
        }


async def test_other_settings_go_on_with_the_run(tmp_path: Path) -> None:
    async with Center() as center, room(tmp_path, center.url) as r:
        await r.opened()
        r.trade(1)
        other = Room(tmp_path / "other", center.url, r.clock, "live", timeout_s=1.0)
        assert other.handler.take_over(r.handler)
        assert other.handler.runs.current_id == 101
        for change in ({"mode": "practice"}, {"url": "http://127.0.0.1:1"}):
            another = Room(tmp_path / "other", **({"url": center.url, "clock": r.clock, "mode": "live"} | change))  # type: ignore[arg-type]
            assert not another.handler.take_over(r.handler)
            await another.crash()
        await other.crash()
