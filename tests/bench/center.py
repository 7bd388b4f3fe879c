"""A Command Center that goes away in the middle of 1,000 events: does a key wait for it?

Two daemons, one with a Center and one without, get the same stream in turns, a few events each, in the same run. All
through the middle the Center refuses connections, as one does that is being restarted for ten minutes.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.center import CenterServer
from tests.bench import parts
from tests.fakes.center import KEY

EVENTS, CHUNK = 1000, 50
"""Events of each daemon; how many in a turn."""
RATE, QUICK = 50, 200
"""Events per second within a turn, at leisure and for those in a hurry."""
AWAY = (5, 15)
"""The turns during which the Center is away: first, and the one after the last."""
LIMIT = 1.1
"""How much larger the p99 may be, as a ratio."""
_FIRST = 1
_PAUSE_S = 0.2


@dataclass
class Outage:
    """Latencies of both in microseconds, per turn; `books` is what the Center has in the end, `log` what ours said."""

    told: list[list[float]] = field(default_factory=list)
    untold: list[list[float]] = field(default_factory=list)
    books: dict[str, Any] = field(default_factory=dict)
    log: str = ""

    def p99(self, *, told: bool, away: bool) -> float:
        """While the Center was away, or otherwise."""
        turns = self.told if told else self.untold
        return p99([each for turn, each in enumerate(turns) if (AWAY[0] <= turn < AWAY[1]) is away])

    def ratio(self, *, away: bool) -> float:
        """Of the daemon with a Center to the one without."""
        return self.p99(told=True, away=away) / self.p99(told=False, away=away)

    def cycles(self) -> list[int]:
        """Which trades the Center has, in its order."""
        return [trade["body"]["cycle"] for trade in self.books["trades"]]

    def words(self) -> str:
        """For people."""
        lines = []
        for what, away in (("away", True), ("there", False)):
            with_, without = self.p99(told=True, away=away), self.p99(told=False, away=away)
            lines.append(
                f"Center {what}: p99 {with_:,.0f} us, without one {without:,.0f} us, ratio {with_ / without:.2f}"
            )
        return "\n".join(lines)


def p99(turns: list[list[float]]) -> float:
    """Of all of them together."""
    found = sorted(us for each in turns for us in each)
    return found[int(0.99 * len(found))]


def run(folder: Path, rate: int = QUICK) -> Outage:
    """One run: a minute at leisure, else 20 seconds."""
    found = Outage()
    with ExitStack() as stack:
        broker, port = parts.broker(folder)
        stack.callback(broker.stop)
        receiver = parts.Asked("receiver", folder / "receiver.log")
        stack.callback(receiver.stop)
        publisher = parts.Asked("publisher", folder / "publisher.log", str(port))
        stack.callback(publisher.stop)
        there = CenterServer(folder).start()
        stack.callback(there.kill)
        url = f"ws://127.0.0.1:{receiver.hello}/"
        told = parts.deskhand(folder, port, url, "persistent", "told", center=there.url, key=KEY)
        untold = parts.deskhand(folder, port, url, "persistent", "untold")
        for subject in (told, untold):
            subject.start()
            stack.callback(subject.stop)
            _warm(publisher, receiver, subject.topic)
        before = len(there.steer("summary")["trades"])
        assert before == 0, "warming up tells the Center nothing"
        turn_s = 2 * (CHUNK / rate + _PAUSE_S)
        for turn in range(EVENTS // CHUNK):
            if turn == AWAY[0]:
                there.steer("away", for_s=(AWAY[1] - AWAY[0]) * turn_s)
            for subject, into in ((told, found.told), (untold, found.untold))[:: -1 if turn % 2 else 1]:
                into.append(_turn(publisher, receiver, subject.topic, f"b{subject.name}@{_FIRST + turn * CHUNK}", rate))
        ends = time.monotonic() + 60
        while len(there.steer("summary")["trades"]) < EVENTS and time.monotonic() < ends:
            time.sleep(0.1)
        told.stop()
        found.books = there.books
        found.log = (folder / "told.log").read_text()
    return found


def _warm(publisher: parts.Asked, receiver: parts.Asked, topic: str) -> None:
    """Until this daemon presses, and all it was given has come: nothing of it is left for a turn."""
    receiver.ask("reset")
    ends = time.monotonic() + 15
    while not receiver.ask("wait 1 0.1 0.1"):
        publisher.ask(f"0 1 {topic} warm{time.monotonic_ns()}")
        assert time.monotonic() < ends, "no key"
    tag = f"warm{time.monotonic_ns()}"
    publisher.ask(f"{QUICK} {CHUNK} {topic} {tag}")
    while len(_arrived(receiver.ask("wait 1000000 1 0.3"), tag)) < CHUNK:
        assert time.monotonic() < ends, "keys are missing"


def _turn(publisher: parts.Asked, receiver: parts.Asked, topic: str, tag: str, rate: int) -> list[float]:
    receiver.ask("reset")
    sent = publisher.ask(f"{rate} {CHUNK} {topic} {tag}")
    frames = receiver.ask(f"wait {CHUNK} 10 5")
    time.sleep(_PAUSE_S)  # what is not seen from outside
    arrived = _arrived(frames, tag)
    assert len(arrived) == CHUNK, (tag, len(arrived))
    return [(arrived[number] - sent[number]) / 1000 for number in range(CHUNK)]


def _arrived(frames: list[tuple[int, str]], tag: str) -> dict[int, int]:
    """When each key of this tag came first, by its number."""
    arrived: dict[int, int] = {}
    for at, text in frames:
        own, _, number = text.split()[-1].rpartition("-")
        if own == tag:
            arrived.setdefault(int(number), at)
    return arrived


def main(folder: Path, repeats: int) -> int:
    """Run, print, and return the exit code: whether all runs together keep the limit."""
    told: list[list[float]] = []
    untold: list[list[float]] = []
    for repeat in range(repeats):
        home = folder / str(repeat)
        home.mkdir()
        found = run(home, RATE)
        complete = found.cycles() == list(range(_FIRST, _FIRST + EVENTS))
        print(f"{found.words()}\nevery trade once and in order: {complete}", flush=True)
        if not complete:
            return 1
        told += found.told[AWAY[0] : AWAY[1]]
        untold += found.untold[AWAY[0] : AWAY[1]]
    ratio = p99(told) / p99(untold)
    print(f"all together while it is away: ratio {ratio:.2f}, at most {LIMIT}")
    return 0 if ratio <= LIMIT else 1
