"""A Command Center that is away amid 1,000 events; `python -m tests.bench --center` measures it at leisure."""

import re
import sys
from pathlib import Path

import pytest

from tests.bench import center
from tests.bench.center import EVENTS


@pytest.mark.timeout(150)
def test_no_key_waits_for_the_center_and_no_trade_is_lost(tmp_path: Path) -> None:
    found = center.run(tmp_path)
    sys.stdout.write(f"{found.words()}\n")
    assert found.cycles() == list(range(1, EVENTS + 1)), "every trade once, in order"
    bought = [trade for trade in found.books["trades"] if trade["body"]["side"] == "buy"]
    assert all(len(trade["updates"]) == 1 for trade in bought)
    (run,) = found.books["runs"]
    assert (run["status"], run["stops"], run["final"]["totalOrders"]) == ("completed", 1, EVENTS)
    assert run["final"]["totalPnl"] == 0
    assert found.books["doubled"] == []
    assert max(trade["batch"] for trade in found.books["trades"]) >= 5, "the backlog went in batches"
    assert len(re.findall("WARNING", found.log)) < 20, "an outage is told once"
    # A loose bound, for other tests run beside this one: a key that waited for the Center would have waited for
    # seconds. The limit is 1.1, and the bench holds it.
    told, untold = found.p99(told=True, away=True), found.p99(told=False, away=True)
    assert told <= 2 * untold + 50_000, (told, untold)
