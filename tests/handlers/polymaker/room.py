"""The room as the daemon puts it together: journal, outbox, handler and client, against a Center of the test's own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from daemon.clock import Clock
from daemon.dispatch.outbox import Outbox
from daemon.egress import Answer, Body, Guard
from daemon.events import TradeEvent
from daemon.journal import Journal
from daemon.metrics import Metrics
from daemon.ports import Mode, Post, Result
from handlers.polymaker.client import CommandCenter
from handlers.polymaker.handler import Polymaker
from tests.dispatch.support import SetClock, event, until
from tests.fakes.center_books import Books
from tests.fakes.center_habits import config
from tests.fakes.center_wire import plain
from tests.handlers.polymaker.support import Blocked, secrets, settings

META = {"asset": "BTC", "token_id": "7" * 60, "window": "5m", "outcome": "Up"}


class Room:
    """One life of the daemon's Polymarket side; `say` is an event that came to its end."""

    def __init__(self, folder: Path, url: str, clock: Clock, mode: Mode, **more: Any) -> None:
        guard = Guard(clock, Blocked().append)
        guard.know(secrets())
        self.clock = clock
        self.metrics = Metrics()
        folder.mkdir(exist_ok=True)
        self.journal = Journal(folder, clock)
        self.journal.open()
        self.outbox = Outbox("polymaker", self.journal, clock, self.metrics)
        section = settings(url, **({"bankroll": 500.0} | more))
        self.client = CommandCenter(section, guard, clock)
        self.handler = Polymaker(section, mode, self.client, self.outbox, clock)
        self.task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> Any:
        return self.handler.runs

    def begin(self) -> None:
        """As the graph does it at the start."""
        self.outbox.adopt(self.handler)
        self.outbox.take_up()
        self.handler.runs.begin()
        self.journal.commit()
        self.task = asyncio.create_task(self.outbox.run(), name="outbox")

    def say(self, type: str, number: int = 0, result: Result = Result.DONE, **fields: Any) -> TradeEvent:
        """An event of trade `number`, which came to its end; each has a cycle of its own to be known by."""
        given = {"trade_id": f"t{number}", "price": "0.50", "quantity": "10", "meta": META} | fields
        found = event(type, f"M{number}", ts=self.clock.now(), **given)
        self.runs.told(found, result, "live")
        self.journal.commit()
        return found

    def trade(self, number: int) -> None:
        """In and out again."""
        self.say("entry", number, meta=META | {"cycle": 2 * number})
        self.say("close", number, meta=META | {"cycle": 2 * number + 1})

    async def told(self) -> None:
        """Until nothing waits."""
        await until(lambda: not self.outbox.depth)

    async def opened(self) -> int:
        """The run's number, once there is one."""
        await until(lambda: self.runs.current_id)
        found: int = self.runs.current_id
        return found

    def posts(self, name: str = "") -> list[Post]:
        """Of this run."""
        return [post for post in self.outbox.posts(self.runs.run) if not name or post.name == name]

    async def stop(self) -> None:
        """As the graph does it at the end."""
        if self.outbox.held == "" and self.outbox.up is not False:
            self.runs.end("completed")
            await self.outbox.empty(2)
        await self.crash(write=True)

    async def crash(self, *, write: bool = False) -> None:
        """Nothing more is written."""
        if not write:
            self.journal._release(wait_s=1)
            self.journal.open = lambda: None  # type: ignore[method-assign]
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
            if not self.task.cancelled() and self.task.exception():
                raise RuntimeError("the outbox died") from self.task.exception()
        await self.client.close()
        if write:
            self.journal.close()


@asynccontextmanager
async def room(
    folder: Path, url: str, *, clock: Clock | None = None, mode: Mode = "live", crash: bool = False, **more: Any
) -> AsyncIterator[Room]:
    """A room that has begun; `crash` ends it as kill -9 would."""
    found = Room(folder, url, clock or SetClock(), mode, **more)
    found.begin()
    try:
        yield found
    finally:
        await (found.crash() if crash else found.stop())


class InProcess(Books):
    """The strict Center without a socket, for a loop whose time is not the world's: `Room.client` asks it directly."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(config=config())
        self.clock = clock
        self.asked: list[tuple[float, str]] = []
        self.takes_s = 0.0

    def serve(self, room: Room) -> None:
        """Put this in the place of the room's wire."""
        room.client._egress = self  # type: ignore[assignment]

    async def close(self) -> None:
        """Nothing is open."""

    async def get(self, path: str, *, fresh: bool = False) -> Answer:
        return await self.request("GET", path, fresh=fresh)

    async def request(self, method: str, path: str, *, body: Body | None = None, fresh: bool = False) -> Answer:
        assert fresh
        await asyncio.sleep(self.takes_s)
        self.asked.append((self.clock.now(), path))
        kind = "application/json"
        raw = body.written().data if body is not None else b""
        status, answer = self.take(method, path, kind, raw, self.clock.now())
        return Answer(status, {"content-type": kind}, json.dumps(plain(answer)).encode())
