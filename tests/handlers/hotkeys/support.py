"""What the tests of a hotkey target share: a lane's stand-in, and the fake server as a process that can be frozen."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from daemon.events import TradeEvent, validate
from daemon.settings import HotkeySettings
from handlers.hotkeys.client import HotkeyTarget

ENTRY = validate({"type": "entry", "symbol": "AAPL", "id": "e1", "ts": "1"})


async def until(condition: Callable[[], object], limit: float = 5.0) -> float:
    """Wait until `condition` holds; returns how long it took, seconds. Fails after `limit`."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < limit, "it never happened"
        await asyncio.sleep(0.002)
    return time.monotonic() - start


class Lane:
    """Sends keys as a lane does, and keeps what became of each."""

    def __init__(self, target: HotkeyTarget) -> None:
        self.target = target
        self.settled: list[tuple[str, str | None]] = []
        self.changes = 0
        target.changed = self._changed

    def _changed(self) -> None:
        self.changes += 1

    def press(self, *steps: str, event: TradeEvent = ENTRY) -> None:
        """Send keys in one flush."""
        for step in steps:
            self.target.send(step, event, partial(self._settled, step))
        self.target.flush()

    def _settled(self, step: str, problem: str | None) -> None:
        self.settled.append((step, problem))

    async def both_ready(self) -> None:
        """Wait until both spares of `warm` are there."""
        await until(lambda: len(self.target._keeper.ready) == 2)

    async def ready(self, *, urgent: bool = False, limit: float = 5.0) -> float:
        """Wait for capacity as a lane does: asking again and again."""

        def look() -> bool:
            if self.target.capacity(urgent=urgent):
                return True
            self.target.want(urgent=urgent)
            return False

        return await until(look, limit)

    async def press_when_ready(self, *steps: str, urgent: bool = False, limit: float = 5.0) -> None:
        """Send keys one after another, each when there is capacity."""
        for step in steps:
            await self.ready(urgent=urgent, limit=limit)
            self.press(step)

    async def confirmed(self, count: int) -> None:
        """Wait until that many keys are settled, all confirmed."""
        await until(lambda: len(self.settled) >= count)
        assert [problem for _, problem in self.settled] == [None] * count


@asynccontextmanager
async def lane(url: str, connect: str = "warm", **settings: Any) -> AsyncIterator[Lane]:
    """A started target at `url`; nothing of it may be left when it has stopped."""
    target = HotkeyTarget("main", url, HotkeySettings(connect=connect, **settings))
    await target.start()
    try:
        yield Lane(target)
    finally:
        async with asyncio.timeout(3):
            await target.stop()
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("hotkeys:")]
        assert not left
        assert not target._keeper.links


class ServerProcess:
    """The fake hotkey server as a process of its own."""

    def __init__(self, log: Path, *flags: str, port: int = 0) -> None:
        self._log = log
        self._flags = flags
        self._given = port

    def __enter__(self) -> Self:
        root = Path(__file__).parents[3]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.fakes.hotkey_server"),
                *("--port", str(self._given), "--log", str(self._log)),
                *self._flags,
            ],
            stdout=subprocess.PIPE,
            cwd=root,
            text=True,
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        self.url = f"ws://127.0.0.1:{self.port}/"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thaw()
        self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def freeze(self) -> None:
        """SIGSTOP; returns when the process has stopped."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def presses(self) -> Iterator[dict[str, Any]]:
        """What its log holds."""
        return map(json.loads, self._log.read_text().splitlines() if self._log.exists() else [])

    def frames(self) -> list[str]:
        """The keys in its log."""
        return [press["frame"] for press in self.presses()]
