"""A Command Center that is away amid 1,000 events; `python -m tests.bench --center` measures it at leisure."""

import re
import sys
from pathlib import Path
from statistics import median

from tests.bench import center
from tests.bench.center import AWAY, EVENTS


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
    # Loose bounds in microseconds, for a machine that is busy or stands still: keys that waited for the Center would
    # have waited for seconds. The limit is 1.1 for the p99, and the bench holds it.
    told, untold = (
        median(each for turn in turns[AWAY[0] : AWAY[1]] for each in turn) for turns in (found.told, found.untold)
    )
    assert told <= 2 * untold + 20_000, (told, untold)
    assert found.p99(told=True, away=True) <= 2 * found.p99(told=False, away=True) + 1_000_000, found.words()
