import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
from loguru import logger

from tests.loops import Loop


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Every log line, as `LEVEL text`."""
    kept: list[str] = []
    sink = logger.add(lambda line: kept.append(line.rstrip("\n")), format="{level} {message}", level="DEBUG")
    yield kept
    logger.remove(sink)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The client has to work on both loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": Loop}
