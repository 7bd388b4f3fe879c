"""A postman whose answers the test decides, and an outbox that runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from daemon.dispatch.outbox import Outbox
from daemon.journal import Journal
from daemon.metrics import Metrics
from daemon.ports import Again, Ended, Outcome, Post, Result, Verdict
from tests.dispatch.support import NOW, SetClock

DONE = Ended(Outcome(Result.DONE), {"ok": True})


class Peer:
    """A postman whose answers the test decides; `calls` is what it was asked to send."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.answer: Callable[[Post], Verdict] = lambda _: DONE
        self.told: list[str] = []
        self.probes: list[str] = []
        self.probed = 0
        self.place = "here"
        self.batch = 1
        self.gate: asyncio.Event | None = None

    def repeatable(self, post: Post) -> bool:
        return post.name == "stop"

    def together(self, waiting: list[Post]) -> list[Post]:
        return waiting[: self.batch]

    async def deliver(self, posts: list[Post]) -> list[Verdict]:
        self.calls.append([post.mark for post in posts])
        if self.gate is not None:
            await self.gate.wait()
        return [self.answer(post) for post in posts]

    async def recorded(self, posts: list[Post]) -> None:
        self.told += [post.mark for post in posts]

    async def probe(self) -> Again | None:
        self.probed += 1
        return Again(self.probes.pop(0)) if self.probes else None

    @property
    def sent(self) -> list[str]:
        return [mark for call in self.calls for mark in call]


def post(mark: str, name: str = "trade", place: str = "here", *, group: str = "g", made: float = NOW) -> Post:
    return Post("p", place, "run", group, name, mark, {"n": 1}, made)


@asynccontextmanager
async def running(folder: Path, peer: Peer, *, crash: bool = False) -> AsyncIterator[Outbox]:
    """An outbox on a journal in `folder`, running; `crash` ends it as kill -9 would."""
    clock = SetClock()
    journal = Journal(folder, clock)
    journal.open()
    box = Outbox("p", journal, clock, Metrics())
    box.adopt(peer)  # type: ignore[arg-type]  # lists are sequences enough
    box.take_up()
    task = asyncio.create_task(box.run(), name="outbox")
    try:
        yield box
    finally:
        if crash:
            journal._release(wait_s=1)  # nothing more is written
            journal.open = lambda: None  # type: ignore[method-assign]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if not crash:
            journal.close()
