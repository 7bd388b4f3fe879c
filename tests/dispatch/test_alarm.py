"""The timer of a lane, on the loop that the daemon runs on."""

import asyncio
from time import monotonic

import pytest

from daemon.clock import Clock
from daemon.dispatch.alarm import Alarm
from tests.dispatch.support import until


@pytest.mark.parametrize("delay", [0.0, 0.0002, 0.0004, 0.003])
async def test_set_again_before_it_rings(delay: float) -> None:
    rung: list[float] = []
    alarm = Alarm(Clock(), lambda: rung.append(monotonic()))
    for _ in range(3):
        alarm.set(delay)
    await until(lambda: rung)
    await asyncio.sleep(0.005)
    assert len(rung) == 1
    alarm.set(delay)
    await until(lambda: len(rung) == 2)


async def test_the_earliest_counts() -> None:
    rung: list[float] = []
    alarm = Alarm(Clock(), lambda: rung.append(monotonic()))
    for delay in (50.0, 0.02, 30.0):
        alarm.set(delay)
    await until(lambda: rung)


async def test_cancelled() -> None:
    rung: list[float] = []
    alarm = Alarm(Clock(), lambda: rung.append(monotonic()))
    for delay in (0.0, 0.0002, 0.003):
        alarm.set(delay)
        alarm.cancel()
    alarm.cancel()
    await asyncio.sleep(0.01)
    assert rung == []
