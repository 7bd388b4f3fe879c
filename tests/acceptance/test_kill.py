"""kill -9 at every step and at random, with a persistent session behind it: nothing lost, nothing pressed twice.

KILLS_PER_STEP and KILLS_AT_RANDOM say how often (3 and 20; `make kill` runs 25 and 200).
"""

import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.desk import Desk, KeyServer, all_ended, until
from tests.acceptance.kill_at import STEPS
from tests.acceptance.stream import Stream, audit
from tests.fakes.mosquitto import Mosquitto

PER_STEP = int(os.environ.get("KILLS_PER_STEP", "3"))
AT_RANDOM = int(os.environ.get("KILLS_AT_RANDOM", "20"))
LIMIT_S = 60 + 4 * (PER_STEP * len(STEPS) + AT_RANDOM)


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("restarting", [False, True], ids=["broker-stays", "broker-restarts"])
def test_kill_9_everywhere(tmp_path: Path, keys: KeyServer, broker: Mosquitto, restarting: bool) -> None:
    chance = random.Random(9)
    plan = [step for step in STEPS for _ in range(PER_STEP)] + [""] * AT_RANDOM
    chance.shuffle(plan)
    deaths: list[float] = []
    hotkeys = {"frame": "{action} {id}", "gap_ms": 10, "guard": "off" if restarting else "strict"}
    desk = Desk(tmp_path, {"main": keys}, broker=broker, hotkeys=hotkeys)
    with desk:
        with Stream(desk, broker, own_trades=restarting) as stream:
            for number, step in enumerate(plan):
                desk.kill()
                if step:
                    count = chance.randint(1, 3 if step.startswith("step") else 8)
                    process = desk.spawn(("-m", "tests.acceptance.kill_at", step, str(count)))
                else:
                    process = desk.spawn()
                if restarting and number % 4 == 1:
                    broker.restart()
                if step:
                    assert process.wait(30) == -9, (step, desk.log()[-3000:])
                else:
                    time.sleep(chance.uniform(0.0, 0.8))
                    desk.kill()
                deaths.append(time.time())
            desk.start()
        until(lambda: set(stream.sent) <= {event["id"] for event in desk.events()}, 30, "some events are lost")
        until(lambda: all(map(all_ended, desk.events())), 30, "some events never ended")
        journal = desk.events()
        ends = audit(stream.sent, journal, keys.presses)
        log = desk.log()
    sys.stdout.write(f"{len(deaths)} kills, {len(journal)} events: {dict(ends)}\n")
    uncertain = [event for event in journal if event["deliveries"][0]["result"] == "uncertain"]
    per_death: Counter[float] = Counter()
    for event in uncertain:
        first_byte = event["deliveries"][0]["first_byte"] or event["received"]
        death = min((at for at in deaths if at >= first_byte - 0.05), default=0.0)
        assert 0 <= death - first_byte + 0.05 < 1.5, ("uncertain, but not in flight at a kill", event, deaths)
        per_death[death] += 1
        line = f"{event['type']} {event['symbol']} {event['id']} at main: uncertain"
        assert log.count(line) == 1, (line, log.count(line))
    assert max(per_death.values(), default=0) <= 1, [(per_death, e, deaths) for e in uncertain]
    assert ends["done"] > len(journal) / 4, ends
