"""Real minutes with a Command Center: every tick within a second of its time. `make center` runs it."""

import os
import time
from pathlib import Path

import pytest

from tests.acceptance.center import CenterServer
from tests.acceptance.desk import KeyServer
from tests.acceptance.test_center import desk_for, opened, trade

MINUTES = int(os.environ.get("CENTER_MINUTES", "0"))


@pytest.mark.skipif(not MINUTES, reason="takes minutes; CENTER_MINUTES=3 asks for it")
@pytest.mark.timeout(60 * MINUTES + 60)
def test_every_tick_within_a_second(tmp_path: Path, keys: KeyServer) -> None:
    center = CenterServer(tmp_path).start()
    try:
        with desk_for(tmp_path, keys, center) as desk:
            began = time.time()
            opened(desk)
            trade(desk, 0)
            number = 0
            while time.time() - began < 60 * MINUTES + 5:
                time.sleep(7)
                number += 1
                trade(desk, number)
            assert desk.stop() == 0
            books = center.books
    finally:
        center.kill()
    asked = [(at - began, path) for at, _, path, _ in books["calls"]]
    for path, every_s, first_s in (("/run/update", 30, 30), ("/markets/report", 60, 15), ("/config", 30, 7.5)):
        found = [at for at, each in asked if each == path]
        if path != "/markets/report":  # the first figures and the first configuration go with the run's start
            assert found.pop(0) < 1.5
        wanted = [first_s + every_s * tick for tick in range(int((60 * MINUTES + 5 - first_s) // every_s) + 1)]
        assert len(found) in (len(wanted), len(wanted) + 1), (path, found)
        late = [at - due for at, due in zip(found, wanted, strict=False)]
        assert all(-1 < each < 1 for each in late), (path, late)
        print(f"{path}: {len(found)} times, {min(late):+.2f} to {max(late):+.2f} s")
    assert len(books["trades"]) == 2 * (number + 1)
    assert [run["status"] for run in books["runs"]] == ["completed"]
    assert books["doubled"] == []
