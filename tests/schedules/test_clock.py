"""A clock that was set is told once, and only that."""

from collections.abc import Iterator

import pytest
from loguru import logger

from schedules.clock import ClockWatch
from tests.dispatch.support import SetClock


@pytest.fixture
def lines() -> Iterator[list[str]]:
    said: list[str] = []
    sink = logger.add(said.append, level="DEBUG", format="{level} {message}")
    yield said
    logger.remove(sink)


@pytest.mark.parametrize(("by", "told"), [(3600.0, "forward by 3600.0 s"), (-1.5, "back by 1.5 s")])
async def test_a_clock_that_was_set(lines: list[str], by: float, told: str) -> None:
    clock = SetClock()
    watch = ClockWatch(clock)
    clock.advance(60)
    clock.wall += by
    await watch.run()
    assert lines == [f"WARNING the clock was set {told}; the age of events is judged by it\n"]
    clock.advance(60)
    await watch.run()
    assert len(lines) == 1


@pytest.mark.parametrize("by", [0.0, 0.99, -0.99])
async def test_time_that_passes_is_nothing_to_tell(lines: list[str], by: float) -> None:
    clock = SetClock()
    watch = ClockWatch(clock)
    clock.advance(86_400)
    clock.wall += by
    await watch.run()
    assert lines == []
