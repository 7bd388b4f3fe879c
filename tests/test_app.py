"""The daemon's life: a side task that dies ends it loudly, and the line that shows its state never does."""

import asyncio
import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from loguru import logger

from daemon.app import _serve
from daemon.desk import Desk
from daemon.graph import Graph
from daemon.lifecycle import Supervisor
from daemon.reloader import Reloader


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lines.append, format="{level} {message}", backtrace=False)
    yield lines
    logger.remove(number)


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


class BrokenDesk(Desk):
    """One whose view of some peer is a mistake of ours."""

    def __init__(self) -> None:
        self.parts = cast(Any, SimpleNamespace(settings=SimpleNamespace(mode="live")))
        self.server = None

    def status(self) -> dict[str, Any]:
        raise ArithmeticError("a figure of one bot")


async def served(desk: Desk, stopped: asyncio.Task[Any]) -> int:
    async def start() -> None: ...

    http = SimpleNamespace(host="127.0.0.1")
    graph = SimpleNamespace(
        start=start, desk=desk, settings=SimpleNamespace(http=http, mode="live"),
        failed=asyncio.get_running_loop().create_future(),
    )  # fmt: skip
    return await _serve(cast(Graph, graph), cast(Reloader, None), Supervisor({}), stopped, [])


async def test_a_state_that_cannot_be_shown_ends_no_daemon(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BrokenDesk, "stuck", lambda _: "")
    stop = asyncio.Event()
    stopped = asyncio.create_task(stop.wait())
    serving = asyncio.create_task(served(BrokenDesk(), stopped))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not serving.done()
    assert "the status line: a mistake of ours" in "".join(said)
    stop.set()
    assert await asyncio.wait_for(serving, 5) == 0


async def test_a_task_supervisor_that_dies_is_said_and_no_orderly_end(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd starts again what failed, and leaves alone what ended with 0."""
    monkeypatch.setattr(BrokenDesk, "stuck", lambda _: 1 / 0)
    stopped = asyncio.create_task(asyncio.Event().wait())
    try:
        assert await asyncio.wait_for(served(BrokenDesk(), stopped), 5) == 1
    finally:
        stopped.cancel()
    assert any(line.startswith("CRITICAL stopping because the task supervisor died") for line in said)
