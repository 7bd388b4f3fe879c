"""kill -9 at every point of everything the Command Center is told: no run left open, no trade lost, none told twice.

CENTER_KILLS says how often (once; `make center` 10 times).
"""

import os
import random
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.acceptance.center import CenterServer
from tests.acceptance.desk import Desk, Json, KeyServer, all_ended, until
from tests.acceptance.kill_center import FIGURES, POINTS

TIMES = int(os.environ.get("CENTER_KILLS", "1"))
NAMES = ("run/start", "trade", "trade/update", "trade/batch", "run/stop")
RECEIVED = "received"
"""The Center has it, and its answer never comes."""
STEPS = [
    *((point, name) for name in NAMES for point in (*POINTS, RECEIVED) if (point, name) != ("put", "trade/batch")),
    *((point, FIGURES) for point in ("marked", RECEIVED, "answered")),
]


class Scene:
    """A desk with a Center, whose every event has a number of its own to be known by."""

    def __init__(self, folder: Path, keys: KeyServer, center: CenterServer) -> None:
        self.center = center
        self.desk = Desk(
            folder, {}, environ=center.environ, hotkeys={"guard": "off", "gap_ms": 0, "targets": {"main": keys.url}},
            polymaker=center.config | {"bankroll": 500}, schedules={"polymaker_metrics": "1s"},
        )  # fmt: skip
        self.sent: dict[str, Json] = {}
        self.count = 0

    def event(self, type: str, number: int) -> None:
        """One event; nobody may be there to hear it."""
        self.count += 1
        meta = {"asset": "BTC", "token_id": "77", "cycle": self.count}
        event = self.desk.make(type, trade_id=f"t{number}", price="0.50", quantity="10", meta=meta)
        with suppress(OSError, HTTPException):
            code, _ = self.desk.request("POST", "/events", event)
            assert code == 202
            self.sent[event["id"]] = event

    def trades(self, dead: Callable[[], bool], first: int) -> None:
        """Whole trades, until the daemon is gone."""
        for number in range(first, first + 40):
            for type_ in ("entry", "close"):
                if dead():
                    return
                self.event(type_, number)

    def asked(self, name: str) -> int:
        """How often the Center was asked this."""
        return sum(path == f"/{name}" for _, _, path, _ in self.center.steer("summary")["calls"])

    def kill(self, point: str, name: str, first: int) -> None:
        """One life that ends at this point."""
        desk = self.desk
        if name == "run/start":  # there is one only where no run is to be gone on with
            self.life()
        before = self.asked(name)
        if point == RECEIVED:
            self.center.steer("script", **{f"/{name}": ["hang"]})
            process = desk.spawn()
        else:
            process = desk.spawn(("-m", "tests.acceptance.kill_center", point, name))

        def dead() -> bool:
            if point == RECEIVED and self.asked(name) > before:
                desk.kill()
            return process.poll() is not None

        if name == "run/stop":
            until(lambda: dead() or self.told())
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        elif name.startswith("trade"):
            until(lambda: dead() or self.told())
            if name == "trade/batch":  # so that there is a pile
                self.center.steer("script", **{"/trade": ["away"]})
            self.trades(dead, first)
        until(dead, 20, f"{point} {name} never came: {desk.log()[-2000:]}")
        assert process.returncode == -9, (point, name, process.returncode, desk.log()[-3000:])
        desk.process = None

    def told(self) -> bool:
        """Whether a run is open and nothing waits."""
        with suppress(OSError, HTTPException):
            status = self.desk.status()["polymaker"]
            return status["run"] is not None and status["waiting"] == 0
        return False

    def life(self) -> None:
        """A start, everything told, and an orderly end."""
        self.desk.start()
        until(self.told, what="posts still wait")
        assert self.desk.stop() == 0


@pytest.mark.timeout(120 + 3 * TIMES * len(STEPS))
def test_kill_9_at_every_point(tmp_path: Path, keys: KeyServer) -> None:
    center = CenterServer(tmp_path).start()
    scene = Scene(tmp_path, keys, center)
    plan = STEPS * TIMES
    random.Random(5).shuffle(plan)
    try:
        for number, (point, name) in enumerate(plan):
            scene.kill(point, name, first=100 * number)
        desk = scene.desk.start()
        until(lambda: all(map(all_ended, desk.events())), 30, "some events never ended")
        until(scene.told, what="posts still wait")
        events = desk.events()
        runs = desk.get("/polymaker/runs")[1]["runs"]
        assert desk.stop() == 0
        books = center.books
    finally:
        scene.desk.__exit__(None, None, None)
        center.kill()
    audit(plan, scene, events, runs, books)


def audit(plan: list[tuple[str, str]], scene: Scene, events: list[Json], runs: list[Json], books: Json) -> None:
    told = Counter(trade["body"]["cycle"] for trade in books["trades"])
    log = scene.desk.log()
    uncertain = set(re.findall(r"polymaker: trade t\d+ (e\d+): uncertain", log))
    assert set(scene.sent) <= {event["id"] for event in events}, "an event is lost"
    for event in events:
        cycle = event["event"]["meta"]["cycle"]
        assert told[cycle] == 1 or (told[cycle] == 0 and event["id"] in uncertain), (cycle, event)
    assert max(told.values()) == 1, "told twice"
    sys.stdout.write(f"{len(plan)} kills, {len(events)} events, {len(uncertain)} trades uncertain\n")
    under_way = Counter(name for point, name in plan if point in ("marked", RECEIVED, "answered"))
    assert len(uncertain) <= under_way["trade"] + 100 * under_way["trade/batch"]
    statuses = Counter(run["status"] for run in books["runs"])
    assert not statuses["open"], "a run is left open"
    # The Center opened a run and nobody heard of it: it closes such a one itself when the next is opened.
    unheard = sum(name == "run/start" and point in (RECEIVED, "answered") for point, name in plan)
    assert statuses["stale"] <= unheard, statuses
    assert all(run["stops"] for run in books["runs"] if run["status"] != "stale")
    assert {run["state"] for run in runs} <= {"closed", "open"}
