"""What the log says of a peer that is there, away, back, or all of it in turns."""

import math
from collections.abc import Iterator

import pytest
from loguru import logger

from daemon.logs.peer import FLAPS, STEADY_S, PeerLog


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    sink = logger.add(lambda line: found.append(line.rstrip("\n")), format="{level} {message}", level="DEBUG")
    yield found
    logger.remove(sink)


def up(peer: PeerLog, now: float) -> None:
    peer.up(now, "connected", "back")


def test_the_first_failure_warns_the_recovery_says_how_long(lines: list[str]) -> None:
    peer = PeerLog()
    up(peer, 1.0)
    up(peer, 2.0)
    for now in (100.0, 100.1, 103.0):
        peer.down(now, "{gone}")
    up(peer, 103.5)
    peer.steady(1e9)
    assert lines == ["INFO connected", "WARNING {gone}", "DEBUG {gone}", "DEBUG {gone}", "INFO back after 3.5 s"]


def test_away_from_the_start(lines: list[str]) -> None:
    peer = PeerLog()
    peer.down(1.0, "gone")
    up(peer, 2.25)
    assert lines == ["WARNING gone", "INFO back after 1.2 s"]


def test_what_comes_and_goes_falls_silent_and_is_told_once_it_holds(lines: list[str]) -> None:
    peer, now = PeerLog(), 0.0
    for _ in range(50):
        up(peer, now)
        peer.steady(now + 1)
        peer.down(now + 1, "gone")
        now += 2
    up(peer, now)
    loud = [line for line in lines if not line.startswith("DEBUG")]
    assert loud[:2] == ["INFO connected", "WARNING gone"]
    assert loud[-1] == f"WARNING gone; it comes and goes, the next line comes when it has held for {STEADY_S:g} s"
    assert len(loud) == 2 * FLAPS
    assert peer.due == now + STEADY_S
    peer.steady(peer.due)
    assert lines[-1] == f"INFO back after {now - 2 * FLAPS + 1:.1f} s", "since the last that was told"
    assert peer.due == math.inf
    peer.down(now + 1000, "gone")
    up(peer, now + 1001)
    assert lines[-2:] == ["WARNING gone", "INFO back after 1.0 s"]
