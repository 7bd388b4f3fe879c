"""A hotkey target: presses keys on one hotkey server and knows what became of each.

The wire is the one known client's (`ws://HOST:8765/`, path `/`, no subprotocol, one bare text frame per key). A key is
confirmed without any help of the server's program: by the close handshake behind it, or in `persistent` by the pong
of a ping sent behind it. A server that closes on its own with 1000 in the very instant a key travels cannot be told
from one that confirms it; no client can.

A confirmation outstanding for more than `STALL_S` stalls the target: connections opened before are never given a key
again, so that a frozen server does not find a heap of stale keys when it thaws, and only an exit may try a connection
whose handshake was completed since, one key at a time.
"""

import asyncio
import math
import ssl
from collections import deque
from collections.abc import Callable, Iterable

from loguru import logger

from daemon.events import TradeEvent
from daemon.metrics import Metrics
from daemon.ports import Settled
from daemon.redaction import redact
from daemon.settings import HotkeySettings
from handlers.hotkeys.dial import Dialer
from handlers.hotkeys.frame import FrameTemplate
from handlers.hotkeys.keeper import Keeper
from handlers.hotkeys.link import Key, Link

STALL_S = 0.25
"""Age of an unconfirmed key, seconds, from which on no other is sent after it."""
HOLD_S = 0.05
"""How long a server that answers may take before we close, seconds."""
MOST_KEYS = 10_000
"""Unconfirmed keys on a persistent connection."""
LATE_S = 0.05
"""A timer later than this, seconds, means that the loop was busy, and that confirmations may lie unread."""
LAST_WORDS_S = 1.0
"""How long `stop` waits for outstanding confirmations, seconds."""


class HotkeyTarget:
    """A `daemon.ports.Peer`: one hotkey server. `url` is ws:// or wss://; `tls` replaces the default trust."""

    def __init__(
        self,
        name: str,
        url: str,
        settings: HotkeySettings,
        metrics: Metrics | None = None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = f"hotkeys:{name}"
        self._metrics = metrics or Metrics()
        self.changed: Callable[[], None] = lambda: None
        self._persistent = settings.connect == "persistent"
        self._per_action = settings.connect == "per_action"
        self._timeout = settings.step_timeout_s
        self._stall = min(STALL_S, self._timeout)
        self._render = FrameTemplate(settings.frame).render
        self._keeper = Keeper(
            name,
            Dialer(url, self._timeout, tls),
            self,
            spares=self._spares,
            arm=self._arm,
            changed=self._stir,
            turned=self._turned,
        )
        self._pending: deque[Key] = deque()
        self._unflushed: list[Key] = []
        self._stalled_at: float | None = None
        self._answers: bool | None = None
        self._refused = False
        self._stopping = False
        self._calm: asyncio.Event | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self._late = False

    @property
    def up(self) -> bool:
        """Whether the server could be reached last time, and confirms."""
        return self._keeper.up is True

    @property
    def down_s(self) -> float:
        """For how long the server has been down, seconds; 0 unless it is."""
        return self._keeper.down_s

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        self._loop = asyncio.get_running_loop()
        self._keeper.refill()

    async def stop(self) -> None:
        """Give outstanding confirmations a second, then close everything. No task or transport is left."""
        self._stopping = True
        for key in list(self._pending):
            if key.link.hold:
                self._close(key.link)
        if self._pending:
            self._calm = asyncio.Event()
            try:
                async with asyncio.timeout(LAST_WORDS_S):
                    await self._calm.wait()
            except TimeoutError:
                self._settle([key for key in self._pending if key.open], "stopped before the server confirmed it")
        await self._keeper.stop()
        if self._timer:
            self._timer.cancel()
            self._timer, self._due = None, math.inf

    def capacity(self, *, urgent: bool) -> int:
        """How many keys could go out this instant; while stalled only an urgent one, on a fresh connection.

        One at most unless `persistent`, and none while the one before is unconfirmed: the order of two connections is
        the server's to choose, and a `break_even` that is read after a `sell_all_bid` opens a trade.
        """
        pending = self._pending
        count = 0
        if self._stopping:
            pass
        elif self._stalled_at is not None:
            if urgent and not (pending and pending[-1].open and pending[-1].sent_at >= self._stalled_at):
                count = 1 if self._keeper.usable() else 0
        elif pending and self._loop.time() - pending[0].sent_at > self._stall:
            pass  # the timer is about to say so
        elif self._persistent:
            count = max(0, MOST_KEYS - len(pending)) if self._keeper.usable() else 0
        elif pending and pending[-1].open:
            pass  # until its close handshake is complete, or the stall; `want` cuts the wait for an answer short
        else:
            count = 1 if self._keeper.usable() else 0
        if not count:
            self._refused = True
        return count

    def reason(self) -> str:
        """Why there is no capacity: `Connection refused`, `not confirming since 0.4 s`."""
        if self._stopping:
            return "stopping"
        if self._pending and (age := self._loop.time() - self._pending[0].sent_at) > self._stall:
            return f"not confirming since {age:.1f} s"
        if silent := max(map(self._keeper.silent, self._keeper.ready), default=0.0):
            return f"no answer to a ping since {silent:.1f} s"
        if any(link.paused for link in self._keeper.ready):
            return "the server does not read"
        return self._keeper.why if self._keeper.up is not True else "connecting"

    def want(self, *, urgent: bool) -> None:
        """Somebody waits: connect now rather than after the back-off, and learn another time whether it answers."""
        if self._answers is None or urgent:
            for key in list(self._pending):
                if key.link.hold:
                    self._close(key.link)
        if not self._stopping:
            self._keeper.want()

    def send(self, step: str, event: TradeEvent, settled: Settled) -> None:
        """Add one key; only within `capacity` (else RuntimeError). It leaves with `flush`.

        `settled` is called once: None when the server confirmed it, else why nobody can know.
        """
        link = self._keeper.any_open()
        if link is None:
            raise RuntimeError(f"{self.name}: send without capacity")
        now = self._loop.time()
        key = Key(step, event, settled, now, link)
        link.keys.append(key)
        link.used = True
        if link.answers_due < 100:
            link.answers_due += 1
        link.text(self._render(step, event))
        self._pending.append(key)
        self._unflushed.append(key)
        if not self._persistent:
            self._keeper.take(link)

    def flush(self) -> None:
        """Put all keys sent so far on the wire, one write per connection."""
        keys = self._unflushed
        if not keys:
            return
        self._unflushed = []
        last: Link | None = None
        for key in keys:
            if key.link is not last:
                last = key.link
                self._finish(last)
        self._arm(keys[0].sent_at + self._stall)
        for key in keys:
            event = key.event
            about = {"event_id": event.id, "trade_id": event.trade, "symbol": event.symbol, "handler": "hotkeys"}
            logger.info("[Hotkey] Sent: {}", key.step, **about)
        if not self._persistent:
            self._keeper.refill()

    def _finish(self, link: Link) -> None:
        """Add what makes the server confirm, and write."""
        if self._persistent:
            if not link.ping_at:
                link.ping()
        elif self._answers is False:
            link.close()
        else:
            link.hold = self._loop.call_later(HOLD_S, self._unanswered, link)
        link.push()

    def _unanswered(self, link: Link) -> None:
        if self._answers is None:
            self._answers = False
        self._close(link)

    def _close(self, link: Link) -> None:
        if link.hold:
            link.hold.cancel()
            link.hold = None
        if not link.ended:
            link.close()
            link.push()

    def _spares(self) -> int:
        if self._per_action:
            return 1 if self._keeper.wanted else 0
        return 1 if self._persistent or self._stalled_at is not None else 2

    def _stir(self) -> None:
        """Something changed; the lane looks again."""
        self._refused = False
        self.changed()

    def _turned(self, up: bool) -> None:
        self._metrics.peer_up(self.name, up)
        if up:
            self._answers = None  # it may be another program now: learn again whether it answers

    # What the connections tell.

    def link_opened(self, link: Link) -> None:
        """A handshake is complete."""
        self._keeper.opened(link, trusted=self._stalled_at is None)

    def link_answered(self, link: Link, text: str) -> None:
        """An answer is logged, and closes the connection that waited for it."""
        if not link.used:
            return
        self._answers = True
        if link.answers_due:
            link.answers_due -= 1
            shown = "".join(c if c.isprintable() else "?" for c in redact(text)[:200])
            logger.info("[Hotkey] {} answered: {}", self._keeper.name, shown)
        if link.hold:
            self._close(link)

    def link_ponged(self, link: Link, payload: bytes) -> None:
        """A pong confirms the keys before its ping."""
        if not link.pong_matches(payload):
            return
        link.ping_at = 0.0
        link.alive_at = self._loop.time()
        confirmed = [link.keys.popleft() for _ in range(link.ping_covers)]
        if link.keys:
            link.ping()  # also on a distrusted connection: this is no key, and asks after keys already sent
            link.push()
        elif link.distrusted:
            link.end("distrusted", reset=True)
        if confirmed:
            self._keeper.proven()
        else:
            self._keeper.rested(link)
        self._settle(confirmed, None)

    def link_closing(self, link: Link, code: int) -> None:
        """The server's close frame: in `warm` and `per_action` that is the confirmation."""
        if link.hold:
            link.hold.cancel()
            link.hold = None
        self._keeper.closing(link)
        if self._persistent or code not in (1000, 1005):
            # In `persistent` it came of the server's own accord, and says nothing about the keys under way.
            self.link_lost(link, f"the server closed it with code {code}")
            return
        keys = list(link.keys)
        link.keys.clear()
        if keys:
            self._keeper.proven()
            self._settle(keys, None)
        else:
            self._keeper.lost(link, "the server closed the connection")
            self._keeper.closing(link)

    def link_lost(self, link: Link, why: str) -> None:
        """A connection is over: its unconfirmed keys are uncertain."""
        keys = list(link.keys)
        link.keys.clear()
        self._keeper.lost(link, why)
        self._settle(keys, f"connection lost after the key was sent: {why}")

    def link_paused(self, link: Link) -> None:  # noqa: ARG002  # `capacity` looks for itself
        """The kernel takes no more bytes, or takes them again."""
        self._stir()

    def link_gone(self, link: Link) -> None:
        """Nothing of the connection is left."""
        self._keeper.gone(link)

    # Confirmations, and their absence.

    def _settle(self, keys: Iterable[Key], problem: str | None) -> None:
        settled = [key for key in keys if key.open]
        for key in settled:
            key.open = False
        pending = self._pending
        while pending and not pending[0].open:
            pending.popleft()
        if not pending:
            if self._stalled_at is not None:
                self._recover(confirmed=problem is None)
                self._refused = True
            if self._calm:
                self._calm.set()
        for key in settled:
            key.settled(problem)
        if self._refused:
            self._stir()

    def _recover(self, *, confirmed: bool) -> None:
        """Nothing is outstanding any more: what was opened since the stall began is as good as new.

        In `per_action` there is no other connection to tell that the server is back.
        """
        self._stalled_at = None
        if (self._keeper.ready or (self._per_action and confirmed)) and not self._stopping:
            self._keeper.set_up()
        self._keeper.refill()

    def _arm(self, when: float) -> None:
        """See to it that `_tick` runs at loop time `when` or before; one timer serves all keys and connections."""
        if when < self._due:
            if self._timer:
                self._timer.cancel()
            self._due = when
            self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        late = now - self._due > LATE_S
        self._due, self._timer = math.inf, None
        if late and not self._late:
            # The loop was busy, and uvloop runs timers before it reads: hear what the server said, then judge.
            self._late = True
            self._arm(now + 0.005)
            return
        self._late = False
        self._give_up(now)
        pending = self._pending
        if pending and self._stalled_at is None and now - pending[0].sent_at >= self._stall:
            self._stalled_at = now
            self._keeper.distrust(f"not confirming since {now - pending[0].sent_at:.1f} s")
            self._stir()
        elif self._refused:
            self._stir()
        due = self._keeper.tick(now)
        if pending:
            wait = self._stall if self._stalled_at is None else self._timeout
            due = min(due, pending[0].sent_at + wait)
        if due < math.inf:
            self._arm(due)

    def _give_up(self, now: float) -> None:
        """Keys older than the step's timeout are uncertain, and their connections cut."""
        expired = [key for key in self._pending if key.open and now - key.sent_at >= self._timeout]
        for link in {key.link for key in expired}:
            others = [key for key in link.keys if now - key.sent_at < self._timeout]
            link.keys.clear()
            link.end("no confirmation", reset=True)
            self._settle(others, "connection lost after the key was sent: it was not confirming")
        if expired:
            self._settle(expired, f"no confirmation within {self._timeout:g} s")
