"""The Command Center is kept informed, whatever it does, and trading never waits for it."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.center import CenterServer
from tests.acceptance.desk import Desk, Json, KeyServer, until

META = {"asset": "BTC", "token_id": "7" * 60, "window": "5m", "outcome": "Up"}


@pytest.fixture
def center(tmp_path: Path) -> Iterator[CenterServer]:
    server = CenterServer(tmp_path).start()
    yield server
    server.kill()


def desk_for(folder: Path, keys: KeyServer, center: CenterServer, **polymaker: Any) -> Desk:
    hotkeys = {"guard": "off", "gap_ms": 0, "targets": {"main": keys.url}}
    return Desk(
        folder, {}, hotkeys=hotkeys, polymaker=center.config | {"bankroll": 500} | polymaker, environ=center.environ
    )


@pytest.fixture
def desk(tmp_path: Path, keys: KeyServer, center: CenterServer) -> Iterator[Desk]:
    with desk_for(tmp_path, keys, center) as found:
        opened(found)
        yield found


def opened(desk: Desk) -> int:
    """The run's number, once the Center has given one."""
    until(lambda: desk.status()["polymaker"]["run"], what="no run was opened")
    run: int = desk.status()["polymaker"]["run"]
    return run


def told(desk: Desk) -> None:
    """Until nothing waits for the Center; after a long outage it is tried again within its length."""
    until(lambda: desk.status()["polymaker"]["waiting"] == 0, 30, "posts still wait")


def trade(desk: Desk, number: int, *, win: bool = True) -> None:
    """A whole trade: in at 0.40 for 20 USDC, out of all of it."""
    fields = {"symbol": f"M{number}", "meta": META}
    desk.done("entry", price="0.40", quantity=20, **fields)
    desk.done("close", price="0.55" if win else "0.30", **fields)


def test_a_day_at_the_desk(desk: Desk, center: CenterServer) -> None:
    trade(desk, 1)
    trade(desk, 2, win=False)
    desk.done("entry", symbol="PLAIN")  # no trade on Polymarket
    told(desk)
    run_id = desk.status()["polymaker"]["run"]
    assert desk.stop() == 0
    books = center.books
    (run,) = books["runs"]
    assert (run["id"], run["mode"], run["bankroll"], run["status"]) == (run_id, "live", 500, "completed")
    assert run["final"] == {
        "totalCycles": 2, "totalOrders": 4, "totalFills": 4, "totalPnl": 2.5, "realizedPnl": 2.5, "peakPnl": 7.5,
        "maxDrawdown": 5, "winCount": 1, "lossCount": 1, "avgFillRate": 1, "endingBankroll": 502.5,
    }  # fmt: skip
    assert [(t["body"]["side"], t["body"]["price"], t["body"]["size"]) for t in books["trades"]] == [
        ("buy", 0.4, 20), ("sell", 0.55, 27.5), ("buy", 0.4, 20), ("sell", 0.3, 15),
    ]  # fmt: skip
    first = books["trades"][0]
    assert first["body"] | {"runId": 0} == {
        "runId": 0, "cycle": 1, "asset": "BTC", "windowDuration": "5m", "side": "buy", "outcome": "Up", "price": 0.4,
        "size": 20, "strategy": "MM", "tokenId": "7" * 60,
    }  # fmt: skip
    (update,) = first["updates"]
    assert {name: update[name] for name in ("status", "fillPrice", "fillSize", "pnl")} == {
        "status": "filled", "fillPrice": 0.4, "fillSize": 20, "pnl": 7.5,
    }  # fmt: skip
    assert books["doubled"] == []
    assert "the Center's score is 72.5" in desk.log()


def test_what_is_refused_or_expired_is_not_told(desk: Desk, center: CenterServer) -> None:
    desk.post("entry", meta=META, price="0.5", quantity=1, ts=time.time() - 60)
    desk.request("POST", "/halt", {"level": "entries"})
    desk.post("entry", meta=META, price="0.5", quantity=1)
    desk.request("POST", "/resume")
    trade(desk, 1)
    told(desk)
    assert len(center.books["trades"]) == 2


def test_the_backlog_of_an_outage_goes_in_batches(desk: Desk, center: CenterServer) -> None:
    run = opened(desk)
    center.steer("away", for_s=60)
    until(lambda: not reachable(center))
    for number in range(60):
        trade(desk, number)
    center.call_back()
    told(desk)
    books = center.books
    assert len(books["trades"]) == 120
    assert books["doubled"] == []
    assert {t["run"] for t in books["trades"]} == {run}
    assert max(Counter(t["batch"] for t in books["trades"]).values()) > 50
    sides = [t["body"]["side"] for t in books["trades"]]
    assert sides == ["buy", "sell"] * 60
    assert all(len(t["updates"]) == (t["body"]["side"] == "buy") for t in books["trades"])


def reachable(center: CenterServer) -> bool:
    try:
        center.steer("summary")
    except OSError:
        return False
    return True


def test_an_answer_that_never_came_is_reported_and_not_repeated(desk: Desk, center: CenterServer) -> None:
    center.steer("script", **{"/trade": ["reset_after"]})
    trade(desk, 1)
    told(desk)
    books = center.books
    assert [t["body"]["side"] for t in books["trades"]] == ["buy", "sell"]
    assert books["doubled"] == []
    assert "polymaker: trade :M1 e1: uncertain" in desk.log()


def test_a_resend_is_the_users_own_wish(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    with desk_for(tmp_path, keys, center, resend_uncertain=True) as desk:
        opened(desk)
        center.steer("script", **{"/trade": ["reset_after"]})
        trade(desk, 1)
        told(desk)
        assert len(center.books["doubled"]) == 1


@pytest.mark.parametrize("habit", ["no_content", "empty", "null", "text", "accepted"])
def test_any_2xx_is_a_success(desk: Desk, center: CenterServer, habit: str) -> None:
    center.steer("habits", **{"/trade": habit, "/run/update": habit, "/run/stop": habit})
    trade(desk, 1)
    told(desk)
    assert desk.stop() == 0
    books = center.books
    assert len(books["trades"]) == 2
    assert [run["status"] for run in books["runs"]] == ["completed"]


def test_a_key_that_is_refused_is_told_once(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    desk = desk_for(tmp_path, keys, center)
    desk.environ["POLYMAKER_API_KEY"] = "another-key-altogether"
    with desk:
        until(lambda: "it refuses the key (401)" in desk.log())
        trade(desk, 1)
        assert desk.log().count("refuses the key") == 1
        assert "another-key-altogether" not in desk.log()
        asked = len(center.books["calls"])
        assert desk.status()["polymaker"]["waiting"] == 4
        assert asked <= 2


def test_no_configuration_there_is_said(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    center.steer("config", changes={"id": None})
    with desk_for(tmp_path, keys, center) as desk:
        until(lambda: "the Center has no configuration with an id for this bot" in desk.log())
        assert desk.status()["polymaker"]["run"] is None
    with desk_for(tmp_path, keys, center, config_id=4) as desk:
        opened(desk)
        assert [run["config_id"] for run in center.books["runs"]] == [4]


def test_in_practice_nothing_is_reported_unless_asked_for(
    tmp_path: Path, keys: KeyServer, center: CenterServer
) -> None:
    desk = desk_for(tmp_path, keys, center)
    desk.config |= {"mode": "practice"}
    with desk:
        trade(desk, 1)
        assert desk.status()["polymaker"] is None
        assert center.books["calls"] == []
    (tmp_path / "again").mkdir()
    desk = desk_for(tmp_path / "again", keys, center, report_practice=True)
    desk.config |= {"mode": "practice"}
    with desk:
        opened(desk)
        trade(desk, 2)
        told(desk)
    assert [run["mode"] for run in center.books["runs"]] == ["dry_run"]
    assert len(center.books["trades"]) == 2


def test_a_run_goes_on_after_a_crash(desk: Desk, center: CenterServer) -> None:
    run = opened(desk)
    trade(desk, 1)
    told(desk)
    desk.kill()
    desk.start()
    assert opened(desk) == run
    trade(desk, 2)
    told(desk)
    assert desk.status()["polymaker"]["figures"]["totalOrders"] == 4
    assert len(center.books["runs"]) == 1


def test_a_run_that_lay_still_too_long_is_closed(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    with desk_for(tmp_path, keys, center, resume_within="1s") as desk:
        first = opened(desk)
        began = time.monotonic()
        desk.kill()
        until(lambda: time.monotonic() - began > 1.5)
        desk.start()
        assert opened(desk) != first
        told(desk)
        runs = center.books["runs"]
        assert [(run["status"], run["error_message"]) for run in runs] == [
            ("error", "the daemon ended without closing this run"),
            ("open", None),
        ]


def test_a_center_that_hangs_does_not_keep_the_daemon_from_ending(desk: Desk, center: CenterServer) -> None:
    opened(desk)
    center.signal(signal.SIGSTOP)
    trade(desk, 1)
    began = time.monotonic()
    assert desk.stop() == 0
    assert time.monotonic() - began < 15
    center.signal(signal.SIGCONT)
    desk.start()
    opened(desk)
    told(desk)
    runs = center.books["runs"]
    assert [run["status"] for run in runs] == ["completed", "open"]
    assert center.books["doubled"] == []


def test_a_reload_moves_the_run(desk: Desk, center: CenterServer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = CenterServer(tmp_path / "other").start()
    try:
        assert desk.reload(polymaker={"url": other.url})["status"] == "reloaded"
        opened(desk)
        trade(desk, 1)
        told(desk)
        assert [run["status"] for run in center.books["runs"]] == ["stopped"]
        assert [run["status"] for run in other.books["runs"]] == ["open"]
        assert len(other.books["trades"]) == 2
        assert desk.reload(polymaker={"enabled": False})["status"] == "reloaded"
        assert [run["status"] for run in other.books["runs"]] == ["stopped"]
        assert desk.status()["polymaker"] is None
    finally:
        other.kill()


def test_a_pause_there_halts_entries_here_and_only_lifts_itself(
    tmp_path: Path, keys: KeyServer, center: CenterServer
) -> None:
    desk = desk_for(tmp_path, keys, center)
    desk.config["schedules"] = {"polymaker_config": "1s"}
    with desk:
        opened(desk)
        center.steer("config", changes={"pauseOrders": True})
        until(lambda: desk.status()["halt"]["owner"] == "polymaker")
        assert desk.post("entry")[0] == 409
        desk.done("sl")
        desk.request("POST", "/halt", {"level": "entries", "reason": "lunch"})
        center.steer("config", changes={"pauseOrders": False})
        until(lambda: "resumed by the polymaker" in desk.log())
        assert desk.status()["halt"]["owner"] == "trader"
        desk.request("POST", "/resume")
        desk.done("entry")


def test_a_pause_holds_from_the_first_word_on(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    center.steer("config", changes={"pauseOrders": True})
    desk = desk_for(tmp_path, keys, center)
    desk.config["schedules"] = {"polymaker_config": None}  # no poll comes to its help
    with desk:
        opened(desk)
        assert desk.status()["halt"]["owner"] == "polymaker"
        assert desk.post("entry")[0] == 409
        center.kill()  # and comes back with another configuration
        desk.done("close", meta=META, price="0.5", quantity=1)
        until(lambda: not next(peer["up"] for peer in desk.status()["peers"] if peer["name"] == "polymaker"))
        center.start()
        until(lambda: desk.status()["halt"]["level"] == "none", what="the pause is not lifted")
        desk.done("entry")


def test_figures_and_markets_at_their_intervals(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    desk = desk_for(tmp_path, keys, center)
    desk.config["schedules"] = {"polymaker_metrics": "1s", "polymaker_markets": "1s"}
    with desk:
        opened(desk)
        trade(desk, 1)
        until(lambda: len(center.books["reports"]) >= 2 and len(center.books["runs"][0]["updates"]) >= 3)
        books: Json = center.books
        assert books["reports"][-1][1] == [{"tokenId": "7" * 60, "asset": "BTC", "window": "5m"}]


def test_an_event_that_only_reports_is_told_too(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    desk = desk_for(tmp_path, keys, center)
    desk.config["routes"] = [{"when": {"strategy": "bot"}, "do": []}]
    with desk:
        opened(desk)
        desk.post("entry", meta=META, price="0.5", quantity=10, strategy="bot")
        told(desk)
        assert [t["body"]["strategy"] for t in center.books["trades"]] == ["bot"]
        assert keys.frames == []
