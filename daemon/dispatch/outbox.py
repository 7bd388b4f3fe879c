"""The outbox of one handler: posts that may be late but not lost, sent in order and each once.

A post is on record before it is sent, marked started before its first byte (on disk, if it must not be sent twice)
and ended with its answer. What a crash finds started may have arrived: it is sent again only if that does no harm,
else it ends uncertain. While the peer is silent nothing is sent but probes, so that an outage costs the peer one
question at a time.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from loguru import logger

from daemon.backoff import delays
from daemon.clock import Clock
from daemon.errors import JournalError
from daemon.journal import Journal
from daemon.logs.peer import PeerLog
from daemon.metrics import Metrics
from daemon.ports import Again, Ended, Held, Outcome, Post, Postman, Result, State, Verdict

WAITING_LIMIT = 20_000
"""How many posts may wait; more are refused, loudly, unless they have no group: those are few, and matter to all."""
KEEP_S = 7 * 86_400.0
"""How long posts wait for a place that is not configured any more, seconds."""
FIRST_S, FACTOR, LONGEST_S = 1.0, 2.0, 60.0
"""Pauses between probes of a silent peer, seconds."""
_JOURNAL_S = 1.0
_LOOK_S = 0.01
_NOTHING = "nothing sent yet"
_LOOKED_AT = 250  # posts from which those that go together are taken
_REMEMBERED = 1000


class Outbox:
    """A `daemon.ports.Outbox`. `run` is its task; all of it belongs to the loop's thread.

    `up` and `why` are about the peer, `held` is why the next post waits although the peer is well; `quiet`: the peer
    asked to be left alone for now.
    """

    def __init__(self, handler: str, journal: Journal, clock: Clock, metrics: Metrics) -> None:
        self.handler = handler
        self.up: bool | None = None
        self.why = _NOTHING
        self.held = ""
        self.quiet = False
        self._postman: Postman | None = None
        self._journal = journal
        self._clock = clock
        self._metrics = metrics
        self._waiting: dict[str, OrderedDict[str, Post]] = {}  # place, mark
        self._lately: OrderedDict[str, None] = OrderedDict()  # marks that ended; the journal may be gone by then
        self._news = asyncio.Event()
        self._nudged = asyncio.Event()
        self._taken_up = False
        self._log = PeerLog()
        self._doubt: Again | None = None
        self._held_until = 0.0
        self._failures = 0
        self._down_at = 0.0

    # -- what is in it ---------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many posts wait or are under way."""
        return sum(map(len, self._waiting.values()))

    @property
    def down_s(self) -> float:
        """For how long the peer has been silent, seconds; 0 unless it is."""
        return self._clock.boot() - self._down_at if self.up is False else 0.0

    def put(self, post: Post) -> None:
        """Take a post; on record with the next transaction, sent after those before it. The caller has asked whether
        its mark is `known`; what is in memory is looked at once more.
        """
        if self._in_memory(post.mark):
            return
        self._drop_old()
        if post.group and self.depth >= WAITING_LIMIT:
            self._end(post, Ended(Outcome(Result.REFUSED, f"{WAITING_LIMIT} posts wait already")))
            return
        self._journal.post(post)
        self._queue(post.place)[post.mark] = post
        self._counted()

    def known(self, mark: str) -> bool:
        """Whether there is, or was, a post with this mark; as far as memory goes while the journal cannot be read."""
        if self._in_memory(mark):
            return True
        with suppress(JournalError):
            return self._journal.find_post(mark) is not None
        return False

    def _in_memory(self, mark: str) -> bool:
        return mark in self._lately or any(mark in queue for queue in self._waiting.values())

    def find(self, mark: str) -> Post | None:
        """The post with this mark, or None. Raises JournalError."""
        waiting = next((queue[mark] for queue in self._waiting.values() if mark in queue), None)
        return waiting or self._journal.find_post(mark)

    def posts(self, run: str) -> list[Post]:
        """Every post of a run that is still on record, oldest first. Raises JournalError."""
        return self._journal.posts_of(run)

    def latest(self, name: str, limit: int) -> list[Post]:
        """The latest posts of that name without a group, newest first. Raises JournalError."""
        return self._journal.posts_named(self.handler, name, limit)

    def send_again(self, post: Post) -> None:
        """Send a post that has ended once more, before all that waits: the peer has forgotten it."""
        post.outcome, post.ended_at = None, 0.0
        post.may_be_sent()
        self._back([post])
        queue = self._queue(post.place)
        queue[post.mark] = post
        queue.move_to_end(post.mark, last=False)
        self._counted()

    def remember(self, name: str, value: str) -> None:
        """Keep a fact of this handler's, now or as soon as the journal can be written."""
        self._journal.put_fact(f"{self.handler}:{name}", value)
        with suppress(JournalError):
            self._journal.commit()

    def recall(self, name: str) -> str | None:
        """A fact, or None. Raises JournalError."""
        return self._journal.fact(f"{self.handler}:{name}")

    def take_up(self) -> None:
        """Read back what an earlier life left. Raises JournalError."""
        if self._taken_up:
            return
        left = self._journal.waiting_posts(self.handler)
        self._taken_up = True
        known = {post.mark: post for queue in self._waiting.values() for post in queue.values()}
        older = [post for post in left if post.mark not in known]
        self._waiting.clear()
        for post in (*older, *known.values()):
            self._queue(post.place)[post.mark] = post
        for post in older:
            self._interrupted(post, "under way when the daemon ended")
        self._drop_old()
        self._counted()
        if older:
            logger.info("{}: {} posts of an earlier run taken up", self.handler, len(older))

    def _interrupted(self, post: Post, when: str) -> None:
        """What was under way may have arrived."""
        if post.state is not State.STARTED:
            return
        if self._postman is not None and self._postman.repeatable(post):
            post.may_be_sent()
            self._back([post])
        else:
            self._end(post, Ended(Outcome(Result.UNCERTAIN, when)))

    def _queue(self, place: str) -> OrderedDict[str, Post]:
        return self._waiting.setdefault(place, OrderedDict())

    def _drop_old(self) -> None:
        """Posts do not wait for ever for a place that nobody configures any more."""
        if self._postman is None:
            return
        before = self._clock.now() - KEEP_S
        for place, queue in self._waiting.items():
            while place != self._postman.place and queue and next(iter(queue.values())).made < before:
                reason = "it waited a week for a place that is not configured any more"
                self._end(next(iter(queue.values())), Ended(Outcome(Result.EXPIRED, reason)))

    # -- another configuration -------------------------------------------------------------------------------------

    def adopt(self, postman: Postman | None) -> None:
        """Send with this one from now on, or nothing; only while `run` sends nothing."""
        self._postman, self._doubt = postman, None
        self._hold("", 0.0)
        self._turned(up=None, why=_NOTHING)
        if postman is None:
            self._metrics.gone(self.handler)
        self._counted()

    def nudge(self) -> None:
        """Do not wait for the end of a pause."""
        self._held_until = 0.0
        self._nudged.set()
        self._news.set()

    # -- sending ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send for ever. What is under way when this is cancelled ends uncertain, unless it may be sent again."""
        pauses = _pauses()
        while True:
            again, self._doubt = self._doubt, None
            if again is None:
                batch = self._next()
                if not batch or self._postman is None:
                    await self._idle()
                    continue
                try:
                    again = await self._send(self._postman, batch)
                except JournalError:  # logged where it broke; nothing goes out that is not on record
                    await asyncio.sleep(_JOURNAL_S)
                    continue
                if again is None:
                    pauses = _pauses()  # only what was sent shows that it is well: a probe can be all that it answers
            while again is not None:
                await self._pause(next(pauses) if again.after_s is None else again.after_s, again)
                again = await self._probe()

    def doubt(self, again: Again) -> None:
        """Somebody else found the peer silent: send nothing until it answers a probe."""
        if self.up is not False:
            self._doubt = again
            self._turned(up=False, why=again.reason)
            self._news.set()

    def ask(self) -> None:
        """Probe the peer at once, before anything is sent."""
        self._doubt = Again(_NOTHING, 0.0)
        self._news.set()

    async def empty(self, limit_s: float) -> bool:
        """Wait until nothing waits that could go, the peer is silent, or `limit_s` seconds are over; returns whether
        all that is for this peer has gone.
        """
        seen = self._failures
        self.nudge()
        end = asyncio.get_running_loop().time() + limit_s
        while self._next() and asyncio.get_running_loop().time() < end:
            if self.up is False and self._failures > seen:
                break
            await asyncio.sleep(_LOOK_S)
        return not (self._postman and self._waiting.get(self._postman.place))

    def _next(self) -> list[Post]:
        """What goes out in the next request; empty when nothing can."""
        queue = self._waiting.get(self._postman.place) if self._postman is not None else None
        if self._postman is None or not queue or asyncio.get_running_loop().time() < self._held_until:
            return []
        first = list(islice(queue.values(), _LOOKED_AT))
        return self._postman.together(first)

    async def _idle(self) -> None:
        self._news.clear()
        left_s = self._held_until - asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s if left_s > 0 else None):
                await self._news.wait()

    async def _send(self, postman: Postman, batch: list[Post]) -> Again | None:
        """One request. Returns why and when to try again if the peer is not well. Raises JournalError: nothing was
        sent.
        """
        for post in batch:
            post.state = State.STARTED
            self._journal.post(post)
        try:
            self._journal.commit()
            if not all(map(postman.repeatable, batch)):
                await self._on_disk()
        except BaseException:
            self._back(batch)
            raise
        try:
            verdicts = await postman.deliver(batch)
        except JournalError:
            self._back(batch)
            raise
        except BaseException:
            for post in batch:
                self._interrupted(post, "under way when it was broken off")
            with suppress(JournalError):
                self._journal.commit()
            raise
        again = self._settle(batch, verdicts)
        with suppress(JournalError):  # it is still gathered, and what is started is not sent again
            self._journal.commit()
        self._turned(up=again is None, why=again.reason if again else "")
        if again is None:
            self._doubt = None
            await postman.recorded(batch)
        return again

    async def _on_disk(self) -> None:
        """Until what is committed survives a power cut too, or what was sent would wait again. Raises JournalError."""
        synced: asyncio.Future[JournalError | None] = asyncio.get_running_loop().create_future()
        self._journal.after_sync(lambda error: None if synced.done() else synced.set_result(error))
        error = await synced
        if error is not None:
            raise error

    def _settle(self, batch: Sequence[Post], verdicts: Sequence[Verdict]) -> Again | None:
        again: Again | None = None
        held = Held("", 0.0)
        for post, verdict in zip(batch, verdicts, strict=True):
            if isinstance(verdict, Ended):
                self._end(post, verdict)
                if verdict.outcome.result is Result.UNCERTAIN:  # then nobody knows whether the peer is well, either
                    again = again or Again(verdict.outcome.reason)
                continue
            self._back([post])
            if isinstance(verdict, Again):
                again = verdict
            else:
                held = verdict
        self._hold(held.reason, held.after_s)
        return again

    def _back(self, posts: Sequence[Post]) -> None:
        for post in posts:
            post.state = State.PLANNED
            self._journal.post(post)

    def _hold(self, reason: str, after_s: float) -> None:
        if reason != self.held and after_s:
            logger.warning("{}: {}; what is for it waits", self.handler, reason)
        self.held = reason if after_s else ""
        self._held_until = asyncio.get_running_loop().time() + after_s if after_s else 0.0

    def _end(self, post: Post, verdict: Ended) -> None:
        post.state, post.outcome, post.answer = State.ENDED, verdict.outcome, verdict.answer
        post.ended_at = self._clock.now()
        if post.seq or self._journal.ok:  # else what is refused would pile up while nothing can be written
            self._journal.post(post)
        self._queue(post.place).pop(post.mark, None)
        self._lately[post.mark] = None
        if len(self._lately) > _REMEMBERED:
            self._lately.popitem(last=False)
        self._metrics.deliveries_total(self.handler, verdict.outcome.result)
        self._counted()
        bad = verdict.outcome.result is not Result.DONE
        of = post.mark.rpartition(":")[0]
        logger.log(
            "ERROR" if bad else "DEBUG",
            "{}: {} {}: {}{}",
            self.handler,
            post.name,
            f"{post.group} {of}".strip(),
            verdict.outcome.result.value,
            f", {verdict.outcome.reason}" if verdict.outcome.reason else "",
            handler=self.handler,  # with the event's id it is never held back as a repetition: each outcome is seen
            event_id=of,
            trade_id=post.group,
        )

    async def _pause(self, seconds: float, again: Again) -> None:
        self._nudged.clear()
        self.quiet = again.after_s is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
        self.quiet = False

    async def _probe(self) -> Again | None:
        if self._postman is None:
            return None
        again = await self._postman.probe()
        self._turned(up=again is None, why=again.reason if again else "")
        return again

    def _turned(self, *, up: bool | None, why: str) -> None:
        if up is False and self.up is not False:
            self._down_at = self._clock.boot()
        self.up, self.why = up, why
        self._failures += up is False
        if up is not None:
            self._metrics.peer_up(self.handler, up)
            now = asyncio.get_running_loop().time()
            if up:
                self._log.up(now, f"{self.handler}: reached", f"{self.handler}: back")
            else:
                self._log.down(now, f"{self.handler}: {why}; what is for it waits")

    def _counted(self) -> None:
        self._metrics.outbox_depth(self.handler, self.depth)
        self._news.set()


def _pauses() -> Iterator[float]:
    return delays(FIRST_S, FACTOR, LONGEST_S)
