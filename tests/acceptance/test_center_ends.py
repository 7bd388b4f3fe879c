"""The daemon ends, the Center hangs or the disk is full: everything in bounded time, and everything told in the end."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.center import CenterServer
from tests.acceptance.desk import Json, KeyServer, until
from tests.acceptance.test_center import META, desk_for, opened, reachable, told, trade
from tests.acceptance.test_disk import full, small

__all__ = ["small"]
STOP_S = 15.0
CALLS = {
    "config": ("/config",),
    "run/start": ("/run/start",),
    "run/update": ("/run/update",),
    "trade": ("/trade",),
    "trade/update": ("/trade/update",),
    "trade/batch": ("/trade", "/trade/batch"),
    "markets/report": ("/markets/report",),
    "run/stop": ("/run/stop",),
    "everything": ("*",),
}
"""What hangs, and which paths that is."""


def asked(books: Json, path: str) -> bool:
    return any(path in ("*", each) for _, _, each, _ in books["calls"])


def one_life(folder: Path, keys: KeyServer, name: str) -> None:
    folder.mkdir()
    center = CenterServer(folder).start()
    try:
        desk = desk_for(folder, keys, center)
        desk.config["schedules"] = dict.fromkeys(("polymaker_metrics", "polymaker_markets", "polymaker_config"), "1s")
        with desk:
            if name not in ("config", "run/start"):
                opened(desk)
            center.steer("habits", **dict.fromkeys(CALLS[name], "hang"))
            if name == "trade/batch":
                center.steer("script", **{"/trade": ["away"]})
            for number in range(3):
                trade(desk, number)
            until(lambda: name == "run/stop" or asked(center.steer("summary"), CALLS[name][-1]))
            began = time.monotonic()
            assert desk.stop() == 0
            took = time.monotonic() - began
            assert took < STOP_S, (name, took)
            center.steer("habits")
            desk.start()
            opened(desk)
            told(desk)
            log = desk.log()
            assert desk.stop() == 0
            books = center.books
    finally:
        center.kill()
    told_once = [(t["body"]["cycle"], t["body"]["side"]) for t in books["trades"]]
    assert len(told_once) == len(set(told_once)), name
    assert len(told_once) + log.count(": uncertain") >= 6, (name, told_once)
    assert ("trade" not in name and name != "everything") <= (len(told_once) == 6), (name, told_once)
    statuses = [run["status"] for run in books["runs"]]
    assert statuses[-2:] == ["completed", "completed"], (name, statuses)
    assert set(statuses[:-2]) <= ({"stale"} if name in ("run/start", "everything", "config") else set()), (
        name,
        statuses,
    )
    assert "could not stop" not in log, name


def test_sigterm_while_the_center_hangs_at_any_call(tmp_path: Path, keys: KeyServer) -> None:
    with ThreadPoolExecutor(5) as pool:  # they mostly wait
        lives = {name: pool.submit(one_life, tmp_path / name.replace("/", "-"), keys, name) for name in CALLS}
    for life in lives.values():
        life.result()


@pytest.fixture
def center(tmp_path: Path) -> Iterator[CenterServer]:
    server = CenterServer(tmp_path).start()
    yield server
    server.kill()


@pytest.mark.usefixtures("small")
def test_a_full_disk_loses_no_trade(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    with desk_for(tmp_path, keys, center) as desk:
        opened(desk)
        trade(desk, 1)
        told(desk)
        filler = full(tmp_path / "state")
        until(lambda: desk.post("entry", symbol="M9")[0] == 503)
        code, _ = desk.post("close", symbol="M2", meta=META, price="0.4", quantity=20, id="by-itself")
        assert code == 503, "it fires all the same"
        filler.unlink()
        until(lambda: desk.get("/health/ready")[0] == 200)
        trade(desk, 3)
        told(desk)
        assert [t["body"]["side"] for t in center.books["trades"]] == ["buy", "sell", "sell", "buy", "sell"]
        assert center.books["doubled"] == []
        assert desk.stop() == 0
    assert [run["status"] for run in center.books["runs"]] == ["completed"]


def test_a_pause_ends_with_its_center(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    center.steer("config", changes={"pauseOrders": True})
    desk = desk_for(tmp_path, keys, center)
    desk.config["schedules"] = {"polymaker_config": "1s"}
    with desk:
        opened(desk)
        until(lambda: desk.status()["halt"]["owner"] == "polymaker")
        center.steer("habits", **{"/config": "null"})
        seen = len(center.steer("summary")["calls"])
        until(lambda: len(center.steer("summary")["calls"]) > seen + 1)
        assert desk.status()["halt"]["owner"] == "polymaker", "no word is no leave to go on"
        desk.kill()
        desk.start()
        assert desk.status()["halt"]["owner"] == "polymaker", "not even after a crash"
        assert desk.reload(polymaker={"enabled": False})["status"] == "reloaded"
        assert desk.status()["halt"]["level"] == "none", "nobody is left who could lift it"
        assert 'deskhand_peer_up{peer="polymaker"}' not in desk.metrics()
        desk.kill()
        desk.start()
        assert desk.status()["halt"]["level"] == "none"
        desk.done("entry")


def test_a_reload_while_the_center_is_away(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    with desk_for(tmp_path, keys, center) as desk:
        run = opened(desk)
        center.signal(signal.SIGSTOP)
        trade(desk, 1)
        began = time.monotonic()
        assert desk.reload(polymaker={"timeout_s": 20})["status"] == "reloaded"
        assert time.monotonic() - began < 10
        trade(desk, 2)
        center.signal(signal.SIGCONT)
        told(desk)
        assert desk.status()["polymaker"]["run"] == run, "another timeout is no other run"
        books = center.books
        assert len(books["trades"]) + desk.log().count(": uncertain") >= 4
        assert books["doubled"] == []
        assert desk.reload(polymaker={"bankroll": 800, "resume_within": "1h"})["status"] == "reloaded"
        assert desk.status()["polymaker"]["run"] == run
        desk.environ["POLYMAKER_API_KEY"] = "never read anew"
        assert desk.stop() == 0
    assert [run["status"] for run in center.books["runs"]] == ["completed"]


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_an_end_amid_a_reload_that_moves_the_run(
    tmp_path: Path, keys: KeyServer, center: CenterServer, end: str
) -> None:
    (tmp_path / "other").mkdir()
    other = CenterServer(tmp_path / "other").start()
    try:
        with desk_for(tmp_path, keys, center) as desk, ThreadPoolExecutor(1) as pool:
            opened(desk)
            center.signal(signal.SIGSTOP)  # what is under way there is waited for, for a while
            trade(desk, 1)
            reload = pool.submit(desk.reload, polymaker={"url": other.url})
            until(lambda: desk.status()["polymaker"]["place"] == other.url)
            trade(desk, 2)
            getattr(desk, end)()
            reload.exception()  # it was under way, and has no answer
            desk.start()
            opened(desk)
            until(lambda: len(other.books["trades"]) == 2, what="the trade amid the reload is not told")
            code, left = desk.request("POST", "/polymaker/flush")
            assert (code, left["waiting"] > 0, left["reason"].partition(",")[0]) == (
                200, True, "for a Command Center at another address",
            )  # fmt: skip
            assert [t["body"]["side"] for t in other.books["trades"]] == ["buy", "sell"]
            assert desk.stop() == 0
            assert {run["status"] for run in other.books["runs"]} == {"completed"}
            center.signal(signal.SIGCONT)
            desk.write(polymaker={"url": center.url})
            desk.start()
            opened(desk)
            told(desk)
            assert [run["status"] for run in center.books["runs"]] == ["stopped", "open"]
    finally:
        center.signal(signal.SIGCONT)
        other.kill()


def test_what_a_user_sees(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    with desk_for(tmp_path, keys, center) as desk:
        opened(desk)
        trade(desk, 1)
        told(desk)
        assert desk.request("POST", "/polymaker/flush") == (200, {"waiting": 0, "reason": ""})
        center.steer("away", for_s=60)
        until(lambda: not reachable(center))
        trade(desk, 2)
        code, answer = desk.request("POST", "/polymaker/flush")
        assert (code, answer["waiting"]) == (200, 3)
        assert answer["reason"] == "Connection refused"
        (run,) = desk.get("/polymaker/runs")[1]["runs"]
        assert (run["run"], run["state"], run["trades"]) == (101, "open", {"done": 2, "waiting": 2})
        peer = next(peer for peer in desk.status()["peers"] if peer["name"] == "polymaker")
        assert (peer["up"], peer["reason"]) == (False, "Connection refused")
        assert desk.metrics()['deskhand_outbox_depth{handler="polymaker"}'] == 3
        center.call_back()
        told(desk)
        assert desk.stop() == 0
        desk.start()
        opened(desk)
        first, second = reversed(desk.get("/polymaker/runs")[1]["runs"])
        assert (first["status"], second["state"]) == ("completed", "open")


def test_a_center_that_comes_back_without_its_books(tmp_path: Path, keys: KeyServer, center: CenterServer) -> None:
    with desk_for(tmp_path, keys, center) as desk:
        opened(desk)
        trade(desk, 1)
        told(desk)
        center.kill()
        trade(desk, 2)
        center.start()
        trade(desk, 3)
        told(desk)
        assert desk.status()["polymaker"]["run"]
        assert desk.stop() == 0
        books = center.steer("summary")
        assert "is opened anew" in desk.log()
    assert [run["status"] for run in books["runs"]] == ["completed"]
    assert [body["cycle"] for body in (each["body"] for each in books["trades"])] == [2, 2, 3, 3]
    assert books["doubled"] == []
    assert books["runs"][0]["final"]["totalOrders"] == 6
