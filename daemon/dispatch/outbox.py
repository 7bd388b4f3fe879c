"""The outbox of one handler: posts that may be late but not lost, sent in order and each once.

A post is on record before it is sent, marked started before its first byte and ended with its answer. What a crash
finds started may have arrived: it is sent again only if that does no harm, else it ends uncertain. While the peer is
silent nothing is sent but probes, so that an outage costs the peer one question at a time.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from loguru import logger

from daemon.backoff import delays
from daemon.clock import Clock
from daemon.errors import JournalError
from daemon.journal import Journal
from daemon.logs.peer import PeerLog
from daemon.metrics import Metrics
from daemon.ports import Again, Ended, Outcome, Post, Postman, Result, State

WAITING_LIMIT = 20_000
"""How many posts may wait; more are refused, loudly."""
FIRST_S, FACTOR, LONGEST_S = 1.0, 2.0, 60.0
"""Pauses between probes of a silent peer, seconds."""
_JOURNAL_S = 1.0
_LOOK_S = 0.01
_NOTHING = "nothing sent yet"
_LOOKED_AT = 500  # posts from which those that go together are taken


class Outbox:
    """A `daemon.ports.Outbox`. `run` is its task; all of it belongs to the loop's thread."""

    def __init__(self, handler: str, journal: Journal, clock: Clock, metrics: Metrics) -> None:
        self.handler = handler
        self.why = _NOTHING
        self._postman: Postman | None = None
        self._journal = journal
        self._clock = clock
        self._metrics = metrics
        self._waiting: deque[Post] = deque()
        self._news = asyncio.Event()
        self._nudged = asyncio.Event()
        self._taken_up = False
        self._log = PeerLog()
        self._doubt: Again | None = None
        self._probes = 0
        self.up: bool | None = None
        self._down_at = 0.0

    # -- what is in it ---------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many posts wait or are under way."""
        return len(self._waiting)

    @property
    def down_s(self) -> float:
        """For how long the peer has been silent, seconds; 0 unless it is."""
        return self._clock.boot() - self._down_at if self.up is False else 0.0

    def put(self, post: Post) -> None:
        """Take a post, unless its mark is known; on record with the next transaction, sent after those before it."""
        with suppress(JournalError):
            if self.find(post.mark) is not None:
                return
        if len(self._waiting) >= WAITING_LIMIT:
            self._end(post, Ended(Outcome(Result.REFUSED, f"{WAITING_LIMIT} posts wait already")))
            return
        self._journal.post(post)
        self._waiting.append(post)
        self._counted()

    def find(self, mark: str) -> Post | None:
        """The post with this mark, or None. Raises JournalError."""
        return next((post for post in self._waiting if post.mark == mark), None) or self._journal.find_post(mark)

    def posts(self, run: str) -> list[Post]:
        """Every post of a run that is still on record, oldest first. Raises JournalError."""
        own = {post.seq: post for post in self._waiting}
        return [own.get(post.seq, post) for post in self._journal.posts_of(run)]

    def latest(self, name: str, limit: int) -> list[Post]:
        """The latest posts of that name, newest first. Raises JournalError."""
        return self._journal.posts_named(self.handler, name, limit)

    def remember(self, name: str, value: str) -> None:
        """Keep a fact of this handler's with the next transaction."""
        self._journal.put_fact(f"{self.handler}:{name}", value)

    def recall(self, name: str) -> str | None:
        """A fact, or None. Raises JournalError."""
        return self._journal.fact(f"{self.handler}:{name}")

    def take_up(self) -> None:
        """Read back what an earlier life left. Raises JournalError."""
        if self._taken_up:
            return
        left = self._journal.waiting_posts(self.handler)
        known = {post.seq for post in self._waiting}
        self._taken_up = True
        older = [post for post in left if post.seq not in known]
        for post in older:
            if post.state is State.STARTED and not (self._postman and self._postman.repeatable(post)):
                self._end(post, Ended(Outcome(Result.UNCERTAIN, "under way when the daemon ended")))
                continue
            post.state = State.PLANNED
            self._waiting.append(post)
        self._waiting = deque(sorted(self._waiting, key=lambda post: post.seq))
        self._counted()
        if older:
            logger.info("{}: {} posts of an earlier run taken up", self.handler, len(older))

    # -- another configuration -------------------------------------------------------------------------------------

    def adopt(self, postman: Postman | None) -> None:
        """Send with this one from now on, or nothing; only while `run` does not run."""
        self._postman, self._doubt = postman, None
        self._turned(up=None, why=_NOTHING)
        self._counted()

    def nudge(self) -> None:
        """Do not wait for the end of a pause."""
        self._nudged.set()

    # -- sending ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send for ever. What is under way when this is cancelled stays started, unless it may be sent again."""
        while True:
            again, self._doubt = self._doubt, None
            if again is None:
                batch = self._next()
                if not batch or self._postman is None:
                    self._news.clear()
                    await self._news.wait()
                    continue
                again = await self._send(self._postman, batch)
            pauses = delays(FIRST_S, FACTOR, LONGEST_S)
            while again is not None:
                await self._pause(next(pauses) if again.after_s is None else again.after_s)
                again = await self._probe()

    def doubt(self, reason: str) -> None:
        """Somebody else found the peer silent: send nothing until it answers a probe."""
        if self.up is not False:
            self._doubt = Again(reason)
            self._turned(up=False, why=reason)
            self._news.set()

    async def empty(self, limit_s: float) -> bool:
        """Wait until nothing waits that could go, the peer is silent, or `limit_s` seconds are over; returns whether
        all is gone.
        """
        seen = self._probes
        self.nudge()
        end = asyncio.get_running_loop().time() + limit_s
        while self._next() and asyncio.get_running_loop().time() < end:
            if self.up is False and self._probes > seen:
                break
            await asyncio.sleep(_LOOK_S)
        return not self._next()

    def _next(self) -> list[Post]:
        """What goes out in the next request; empty when nothing can."""
        if self._postman is None:
            return []
        ready = list(islice((post for post in self._waiting if self._postman.takes(post)), _LOOKED_AT))
        return self._postman.together(ready[0], ready) if ready else []

    async def _send(self, postman: Postman, batch: list[Post]) -> Again | None:
        for post in batch:
            post.state = State.STARTED
            self._journal.post(post)
        try:
            self._journal.commit()
        except JournalError as error:
            return self._put_back(batch, Again(f"the journal cannot be written: {error}", _JOURNAL_S))
        try:
            verdicts = await postman.deliver(batch)
        except BaseException:
            self._put_back([post for post in batch if postman.repeatable(post)], Again("stopped"))
            raise
        again = None
        for post, verdict in zip(batch, verdicts, strict=True):
            if isinstance(verdict, Again):
                again = self._put_back([post], verdict)
            else:
                self._waiting.remove(post)
                self._end(post, verdict)
        with suppress(JournalError):  # it is still gathered, and what is started is not sent again
            self._journal.commit()
        doubt = next((v for v in verdicts if isinstance(v, Ended) and v.outcome.result is Result.UNCERTAIN), None)
        if doubt is not None and again is None:
            again = Again(doubt.outcome.reason)
        if again is None:
            self._turned(up=True, why="")
        else:
            self._turned(up=False, why=again.reason)
        return again

    def _put_back(self, posts: Sequence[Post], again: Again) -> Again:
        for post in posts:
            post.state = State.PLANNED
            self._journal.post(post)
        with suppress(JournalError):
            self._journal.commit()
        return again

    def _end(self, post: Post, verdict: Ended) -> None:
        post.state, post.outcome, post.answer = State.ENDED, verdict.outcome, verdict.answer
        post.ended_at = self._clock.now()
        self._journal.post(post)
        self._metrics.deliveries_total(self.handler, verdict.outcome.result)
        self._counted()
        bad = verdict.outcome.result in (Result.FAILED, Result.UNCERTAIN, Result.REFUSED)
        logger.log(
            "ERROR" if bad else "DEBUG",
            "{}: {} {}: {}{}",
            self.handler,
            post.name,
            post.group or post.mark,
            verdict.outcome.result.value,
            f", {verdict.outcome.reason}" if verdict.outcome.reason else "",
            handler=self.handler,
            trade_id=post.group,
        )

    async def _pause(self, seconds: float) -> None:
        self._nudged.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudged.wait()

    async def _probe(self) -> Again | None:
        if self._postman is None:
            return None
        problem = await self._postman.probe()
        self._probes += 1
        self._turned(up=not problem, why=problem)
        return Again(problem) if problem else None

    def _turned(self, *, up: bool | None, why: str) -> None:
        if up is False and self.up is not False:
            self._down_at = self._clock.boot()
        self.up, self.why = up, why
        if up is not None:
            self._metrics.peer_up(self.handler, up)
            now = asyncio.get_running_loop().time()
            if up:
                self._log.up(now, f"{self.handler}: reached", f"{self.handler}: back")
            else:
                self._log.down(now, f"{self.handler}: {why}; what is for it waits")

    def _counted(self) -> None:
        self._metrics.outbox_depth(self.handler, len(self._waiting))
        self._news.set()
