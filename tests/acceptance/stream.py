"""A desk's day in fast motion: trades at a steady pace over MQTT, and the accounts that are drawn up afterwards."""

import json
import random
import threading
import time
from collections import Counter
from itertools import pairwise
from types import TracebackType
from typing import Self

from tests.acceptance.desk import Desk, Json, Press
from tests.acceptance.test_table import TABLE
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.mqtt_peer import MqttPeer

REPEATABLE = {"cancel_all", "break_even", "sell_all_bid"}
RATE = 25.0
"""Events per second."""
AT_ONCE_S = 0.005
"""Keys that arrive closer together, seconds, were on the way at the same time, on two connections: after a confirmation
the gap is longer. A server that stands still until an exit tries a fresh connection finds both, and reads them in an
order of its own.
"""


class Stream:
    """Publishes whole trades, one event every 1/RATE seconds, while the context is open; `sent` is all there was."""

    def __init__(self, desk: Desk, broker: Mosquitto, *, own_trades: bool = False, exits: bool = True) -> None:
        """`own_trades` makes every event a trade of its own, so that none supersedes another; without `exits` a
        trade ends with its tp2.
        """
        self.sent: dict[str, Json] = {}
        self._desk = desk
        self._own = own_trades
        self._last = ["tp2", "sl", "close"] if exits else ["tp2"]
        self._chance = random.Random(1)
        self._peer = MqttPeer(broker.port, listen=None)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream")

    def __enter__(self) -> Self:
        self._peer.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._peer.__exit__(kind, error, trace)

    def _run(self) -> None:
        tokens = []
        due = time.monotonic()
        trade = 0
        while not self._stop.is_set():
            trade += 1
            for type_ in ("entry", "tp1", self._chance.choice(self._last)):
                event = self._desk.make(type_)
                event["trade_id"] = event["id"] if self._own else f"t{trade}"
                self.sent[event["id"]] = event
                tokens.append(self._peer.publish(json.dumps(event)))
                due += 1 / RATE
                self._stop.wait(max(0.0, due - time.monotonic()))
        self._peer.confirm(tokens)


def by_id(presses: list[Press]) -> dict[str, list[Press]]:
    """The keys that arrived, by the event they were pressed for; needs the frame `{action} {id}`."""
    found: dict[str, list[Press]] = {}
    for press in presses:
        key, event_id = press.frame.split()
        found.setdefault(event_id, []).append(press._replace(frame=key))
    return found


def audit(sent: dict[str, Json], journal: list[Json], presses: list[Press], preset: str = "classic") -> Counter[str]:
    """Draw up the accounts: nothing lost, nothing twice, one outcome each, keys as the outcome says.

    Returns how many ended how.
    """
    recorded = Counter(event["id"] for event in journal)
    assert not set(sent) - set(recorded), "lost"
    assert max(recorded.values()) == 1
    pressed = by_id(presses)
    assert not set(pressed) - set(sent)
    ends: Counter[str] = Counter()
    for event in journal:
        assert len(event["deliveries"]) == 1, event
        delivery = event["deliveries"][0]
        assert delivery["state"] == "ended", event
        ends[delivery["result"]] += 1
        found = pressed.get(event["id"], [])
        keys = [press.frame for press in found]
        counts = Counter(keys)
        twice = [key for key in keys if counts[key] > 1 and key not in REPEATABLE]
        assert not twice, (event, keys)
        wanted = TABLE[preset][event["type"]]
        assert set(keys) <= {*wanted, "cancel_all"}, (event, keys)
        if delivery["result"] == "done":
            first = {press.frame: press.at for press in reversed(found)}
            assert set(wanted) <= set(keys), (event, keys)
            for one, next_ in pairwise(wanted):
                assert first[one] < first[next_] + AT_ONCE_S, (event, found)
        elif delivery["result"] in ("failed", "expired", "refused"):
            assert not keys, (event, keys)
    return ends
