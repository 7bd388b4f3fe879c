"""Keeping connections to one hotkey server ready: opened in advance, kept alive, reopened with back-off."""

import asyncio
import math
from collections import deque
from collections.abc import Callable

from loguru import logger

from daemon.backoff import delays
from daemon.errors import UnreachableError
from daemon.logs.peer import PeerLog
from handlers.hotkeys.dial import Dialer
from handlers.hotkeys.link import Link, Listener

FIRST_S, FACTOR, LONGEST_S = 0.1, 2.0, 5.0
"""Back-off between failed attempts, seconds."""
URGED_S = 0.25
"""Longest pause between attempts while a key waits, seconds."""
APART_S = 0.1
"""Attempts after a failure are never closer than this, seconds, however much somebody waits."""
PROVEN_S = 1.0
"""A connection that the server closes unused before this age, seconds, counts as a failed attempt."""
PING_S, PONG_S = 5.0, 2.0
"""An idle connection is pinged this often and dropped without a pong in this time, seconds."""
SILENT_S = 0.25
"""A ping unanswered for longer, seconds: no key is written behind it."""
FAREWELL_S = 1.0
"""How long the server may take to close the connection after the close frames, seconds."""
WANTED_S = 5.0
"""How long `want` holds, seconds; whoever waits asks again whenever something changed."""


class Keeper:
    """The connections of one target. `ready` holds those with a complete handshake and no key in flight but on top.

    `spares` says how many there should be, `arm` asks for `tick` at a loop time, `changed` tells of more or less.
    """

    def __init__(
        self,
        name: str,
        dialer: Dialer,
        listener: Listener,
        *,
        spares: Callable[[], int],
        arm: Callable[[float], None],
        changed: Callable[[], None],
        turned: Callable[[bool], None],
    ) -> None:
        self.name = name
        self.ready: deque[Link] = deque()
        self.links: set[Link] = set()
        self.wanted = False
        self.why = "connecting"
        self.up: bool | None = None
        self._dialer = dialer
        self._listener = listener
        self._spares = spares
        self._arm = arm
        self._changed = changed
        self._turned = turned
        self._stopping = False
        self._attempts: set[asyncio.Task[None]] = set()
        self._leaving: dict[Link, float] = {}
        self._delays = delays(FIRST_S, FACTOR, LONGEST_S)
        self._retry_at = 0.0
        self._attempt_at = -math.inf
        self._wanted_until = 0.0
        self._down_at = 0.0
        self._said = PeerLog()
        self._gone: asyncio.Event | None = None

    @property
    def down_s(self) -> float:
        """For how long the server has been down, seconds; 0 unless it is."""
        return asyncio.get_running_loop().time() - self._down_at if self.up is False else 0.0

    def usable(self) -> Link | None:
        """A connection that a key may be written to now."""
        for link in self.ready:
            if not link.ended and not link.paused and not self.silent(link):
                return link
        return None

    def any_open(self) -> Link | None:
        """The connection of the next key once capacity was granted; prefers a usable one."""
        return self.usable() or next((link for link in self.ready if not link.ended), None)

    def silent(self, link: Link) -> float:
        """For how long a ping has been unanswered, seconds; 0.0 while that is still nothing to worry about."""
        since = link.loop.time() - link.ping_at if link.ping_at else 0.0
        return since if since > SILENT_S else 0.0

    def take(self, link: Link) -> None:
        """Use a connection up: it is no spare any more."""
        self.ready.remove(link)
        self.wanted = False

    def refill(self) -> None:
        """Open what is missing, now or when the back-off ends."""
        missing = self._spares() - len(self.ready) - len(self._attempts)
        if missing <= 0 or self._stopping:
            return
        loop = asyncio.get_running_loop()
        if self._retry_at:
            if self._attempts:
                return
            if loop.time() < self._retry_at:
                self._arm(self._retry_at)
                return
            missing = 1
        self._attempt_at = loop.time()
        for _ in range(missing):
            task = loop.create_task(self._attempt(), name=f"hotkeys:{self.name}:connect")
            self._attempts.add(task)
            task.add_done_callback(self._attempts.discard)

    def want(self) -> None:
        """Somebody waits: skip the rest of the back-off."""
        now = asyncio.get_running_loop().time()
        self.wanted = True
        self._wanted_until = now + WANTED_S
        if self._retry_at > now:
            self._retry_at = max(now, min(self._retry_at, self._attempt_at + APART_S))
        self.refill()

    def opened(self, link: Link, *, trusted: bool) -> None:
        """A handshake is complete."""
        self.links.add(link)
        if self._stopping:
            link.end("stopping")
            return
        if self._retry_at <= link.loop.time():
            self._retry_at = 0.0  # a pause that began while this one came about holds: it may end as the one before
        self.ready.append(link)
        self._arm(link.ready_at + PING_S)
        if trusted:
            self.set_up()
        self.refill()
        self._changed()

    def lost(self, link: Link, why: str) -> None:
        """A connection ended; one that was ready is replaced, at once if it had served or lived."""
        self._leaving.pop(link, None)
        if link not in self.ready:
            return
        self.ready.remove(link)
        if link.used or link.loop.time() - link.ready_at >= PROVEN_S:
            self.proven()
            logger.debug("[Hotkey] {}: {}; opening another connection", self.name, why)
            self.refill()
            self._changed()
        else:
            self._failed(f"closed at once: {why}")

    def closing(self, link: Link) -> None:
        """Both close frames are out: the server has a moment to close the connection."""
        deadline = link.loop.time() + FAREWELL_S
        self._leaving[link] = deadline
        self._arm(deadline)

    def gone(self, link: Link) -> None:
        """A transport is closed."""
        self.links.discard(link)
        self._leaving.pop(link, None)
        if self._gone and not self.links:
            self._gone.set()

    def rested(self, link: Link) -> None:
        """An idle connection answered a ping."""
        self._arm(link.alive_at + PING_S)

    def proven(self) -> None:
        """The server works: no pause now, and a short one after the next failure."""
        self._delays = delays(FIRST_S, FACTOR, LONGEST_S)
        if self._retry_at:
            self._retry_at = 0.0
            self.refill()

    def distrust(self, why: str) -> None:
        """The server stopped confirming: no connection opened before now is written to again."""
        spares, self.ready = list(self.ready), deque()
        for link in spares:
            link.distrusted = True
            if not link.keys:
                link.end("distrusted", reset=True)
        self.set_down(why)
        self.refill()

    def tick(self, now: float) -> float:
        """Do what is due and return the loop time of what is due next (may be infinite)."""
        for link in [link for link, deadline in self._leaving.items() if deadline <= now]:
            link.end("the server did not close the connection", reset=True)
        self._said.steady(now)
        if self.wanted and self._wanted_until <= now:
            self.wanted = False
        for link in list(self.ready):
            self._tend(link, now)
        self.refill()
        due = [self._said.due, *self._leaving.values(), *(self._tend_at(link) for link in self.ready)]
        if self._retry_at > now and not self._attempts:
            due.append(self._retry_at)
        return min(due)

    def _tend_at(self, link: Link) -> float:
        return link.ping_at + PONG_S if link.ping_at else link.alive_at + PING_S

    def _tend(self, link: Link, now: float) -> None:
        if self._tend_at(link) > now:
            return
        if link.ping_at:
            self.ready.remove(link)
            link.end(f"no pong within {PONG_S:g} s", reset=True)
            self._failed(f"no answer to a ping within {PONG_S:g} s")
        elif self._spares() < len(self.ready):  # opened for a key that nobody sends any more
            self.ready.remove(link)
            link.close()
            link.push()
            self.closing(link)
        else:
            link.ping()
            link.push()

    async def _attempt(self) -> None:
        problem = ""
        try:
            await self._dialer.dial(self._listener)
        except UnreachableError as error:
            problem = str(error)
        except Exception as error:  # promise 4: it ends silently, and without the next attempt no key goes out
            logger.opt(exception=error).error("[Hotkey] {}: a mistake of ours", self.name)
            problem = f"a mistake of ours: {type(error).__name__}"
        task = asyncio.current_task()
        if task:
            self._attempts.discard(task)
        if problem:
            self._failed(problem)
        else:
            self.refill()

    def _failed(self, why: str) -> None:
        if self._stopping:
            return
        now = asyncio.get_running_loop().time()
        self.why = why
        if self._retry_at <= now:
            delay = next(self._delays)
            self._retry_at = now + (min(delay, URGED_S) if now < self._wanted_until else delay)
        if not self.ready:
            self.set_down(why)
        self.refill()
        self._changed()

    def set_up(self) -> None:
        """Note, and log once, that the server can be reached."""
        if self.up:
            return
        now = asyncio.get_running_loop().time()
        self._said.up(now, f"[Hotkey] {self.name} is connected", f"[Hotkey] {self.name} is back")
        if self._said.due < math.inf:
            self._arm(self._said.due)
        self.up = True
        self._turned(True)

    def set_down(self, why: str) -> None:
        """Note that the server cannot be used; the first time is a warning."""
        self.why = why
        now = asyncio.get_running_loop().time()
        self._said.down(now, f"[Hotkey] {self.name} is down: {why}")
        if self.up is False:
            return
        self.up = False
        self._down_at = now
        self._turned(False)

    async def stop(self) -> None:
        """Close everything, within a fraction of a second; no task or transport is left."""
        self._stopping = True
        for task in self._attempts:
            task.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)
        self.ready.clear()
        self._gone = asyncio.Event()
        for link in list(self.links):
            if not link.ended:
                link.close()
                link.push()
                link.end("stopping")
        if self.links:
            await self._gone.wait()
