"""kill -9 at every step and at random, with a persistent session behind it: nothing lost, nothing pressed twice.

KILLS_PER_STEP and KILLS_AT_RANDOM say how often (3 and 20; `make kill` runs 25 and 200).
"""

import itertools
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.desk import Desk, Json, KeyServer, all_ended, said_at, until
from tests.acceptance.kill_at import STEPS
from tests.acceptance.stream import Stream, audit
from tests.fakes.mosquitto import Mosquitto

PER_STEP = int(os.environ.get("KILLS_PER_STEP", "2"))
AT_RANDOM = int(os.environ.get("KILLS_AT_RANDOM", "12"))
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
    check_uncertain([event for event in journal if event["deliveries"][0]["result"] == "uncertain"], deaths, log)
    assert ends["done"] > len(journal) / 4, ends


def check_uncertain(uncertain: list[Json], deaths: list[float], log: str) -> None:
    """Uncertain is only what was in flight at a kill, and each is reported once."""
    live: Counter[float] = Counter()
    all_: Counter[float] = Counter()
    ready = [said_at(line) for line in log.splitlines() if " is ready in " in line]
    for event in uncertain:
        shown = f"{event['type']} {event['symbol']} {event['id']} at main: uncertain"
        told = [said_at(line) for line in log.splitlines() if shown in line]
        assert told, f"{event['id']} was never reported"
        for at, again in itertools.pairwise(told):  # killed between the report and its record: it is reported again
            assert any(at <= death < min(again, at + 0.5) for death in deaths), (shown, told)
        death = max((at for at in deaths if at < told[0]), default=0.0)
        assert event["received"] < death < told[0], ("not in flight at a kill", event, deaths)
        assert not [at for at in ready if death < at < told[0]], ("not reported by the start after it", event, deaths)
        # A kill between the first byte and the full record leaves no time of the byte; it was pressed at receipt then.
        pressed = event["deliveries"][0]["first_byte"] or event["received"]
        live[death] += pressed - event["ts"] < 0.04
        all_[death] += 1
    crowded = [(e["id"], e["ts"], e["received"], e["deliveries"]) for e in uncertain]
    assert max(live.values(), default=0) <= 1, (live, crowded)
    # While what piled up goes out as fast as the gap allows, it is two at most.
    assert max(all_.values(), default=0) <= 2, (all_, crowded)
