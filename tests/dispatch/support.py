"""What the tests of the core share: a clock to set, a peer to steer, and the core put together around them."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from daemon.clock import Clock
from daemon.dispatch import Dispatcher, Lane, LaneRules, Router
from daemon.dispatch.book import Book
from daemon.dispatch.recovery import recover
from daemon.errors import JournalError
from daemon.events import EventType, TradeEvent, validate
from daemon.intake import Intake
from daemon.journal import Journal, Records
from daemon.metrics import Metrics
from daemon.ports import Delivery, Receipt, Settled
from daemon.settings import EventSettings, HotkeySettings, Route
from handlers.hotkeys import presets

NOW = 1_800_000_000.0
"""The wall time of a fresh `SetClock`, seconds since the epoch."""
BOOT = 100_000.0
"""Its time since boot, seconds."""
_ids = itertools.count()


class SetClock(Clock):
    """A clock that stands still until a test moves it; all in seconds. What gaps are measured with goes on by itself,
    but for the time between `hold` and `go`.
    """

    def __init__(self, now: float = NOW, boot: float = BOOT) -> None:
        self.wall, self.up = now, boot
        self._held: float | None = None
        self._lost = 0.0

    def now(self) -> float:
        return self.wall

    def boot(self) -> float:
        return self.up

    def monotonic(self) -> float:
        return super().monotonic() - self._lost if self._held is None else self._held

    def hold(self) -> None:
        """No gap ends from now on, however long the disk or the machine takes."""
        self._held = self.monotonic()

    def go(self) -> None:
        """Go on from where `hold` stopped."""
        if self._held is not None:
            self._lost = super().monotonic() - self._held
            self._held = None

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds


class FakePeer:
    """A peer whose room and confirmations the test decides."""

    def __init__(self, name: str = "hotkeys:main") -> None:
        self.name = name
        self.changed: Callable[[], None] = lambda: None
        self.room = 1000
        self.urgent_room: int | None = None
        self.why = "Connection refused"
        self.confirms = True
        self.sent: list[tuple[float, str, TradeEvent]] = []
        self.open: list[Settled] = []
        self.wanted = 0
        self.on_send: Callable[[str, TradeEvent], None] = lambda _, __: None

    def capacity(self, *, urgent: bool) -> int:
        return self.urgent_room if urgent and self.urgent_room is not None else self.room

    def reason(self) -> str:
        return self.why

    def want(self, *, urgent: bool) -> None:  # noqa: ARG002  # the shape is Peer's
        self.wanted += 1

    def send(self, step: str, event: TradeEvent, settled: Settled) -> None:
        assert self.capacity(urgent=event.is_exit) > 0, "sent without room"
        self.sent.append((time.monotonic(), step, event))
        self.on_send(step, event)
        if self.confirms:
            asyncio.get_running_loop().call_soon(settled, None)
        else:
            self.open.append(settled)

    def flush(self) -> None:
        pass

    def confirm(self, problem: str | None = None) -> None:
        """Settle the oldest open step."""
        self.open.pop(0)(problem)

    def back(self, room: int = 1000) -> None:
        """Reachable again."""
        self.room = room
        self.changed()

    @property
    def steps(self) -> list[str]:
        return [step for _, step, _ in self.sent]

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(event id, step) in order."""
        return [(event.id, step) for _, step, event in self.sent]


def rules(**changes: Any) -> LaneRules:
    """The default rules with a gap of 5 ms."""
    hotkeys = HotkeySettings()
    usual = LaneRules(
        mode="live",
        gap_s=0.005,
        step_timeout_s=2.0,
        max_age_s=EventSettings().max_age_s.of,
        repeatable=frozenset(hotkeys.repeatable),
        keep=frozenset(hotkeys.keep_when_superseded),
        overtake=frozenset(hotkeys.overtake),
        guard="strict",
        allow_add=False,
    )
    return replace(usual, **changes)


def event(type: str, symbol: str = "AAPL", *, ts: float = NOW, **fields: Any) -> TradeEvent:
    """A validated event; a fresh id unless given."""
    fields.setdefault("id", f"{type}-{symbol}-{next(_ids)}")
    return validate({"type": type, "symbol": symbol} | fields).model_copy(update={"ts": ts})


def body(type: str, symbol: str = "AAPL", **fields: Any) -> str:
    """An event as a source would send it."""
    return json.dumps({"type": type, "symbol": symbol} | fields)


class Core:
    """Journal, lanes and intake on a clock and peers of the test's own."""

    def __init__(self, folder: Path, clock: SetClock, lane_rules: LaneRules, targets: tuple[str, ...], **how: Any):
        self.clock = clock
        self.rules = lane_rules
        self.journal = Journal(folder, clock)
        self.metrics = Metrics()
        self.dispatcher = Dispatcher(
            self.journal, self.clock, self.metrics, exits_without_journal=how.get("exits", "fire") == "fire"
        )
        self.ended: list[Delivery] = []
        self.dispatcher.ended.append(self.ended.append)
        self.peers: dict[str, FakePeer] = {}
        hotkeys = HotkeySettings(preset=how.get("preset", "classic"), sequences=how.get("sequences", {}))
        for name in targets:
            peer = self.peers[name] = FakePeer(f"hotkeys:{name}")
            lane = Lane(
                f"hotkeys:{name}",
                peer,
                lane_rules,
                Book(partial(self.journal.put_trade, lane_rules.mode, name)),
                self.journal,
                clock,
                self.metrics,
                self.dispatcher.on_end,
                self.dispatcher.flush_soon,
            )
            self.dispatcher.add_lane(lane)
        routes: tuple[Route, ...] = how.get("routes", ())
        self.intake = Intake(
            self.journal,
            self.dispatcher,
            Router(routes, partial(presets.sequence, hotkeys), targets[0]),
            clock,
            self.metrics,
            mode=lane_rules.mode,
            max_age_s=lane_rules.max_age_s,
            repeatable=lane_rules.repeatable,
        )

    @property
    def peer(self) -> FakePeer:
        return self.peers["main"]

    @property
    def lane(self) -> Lane:
        return self.dispatcher.lanes["hotkeys:main"]

    def hold_at(self, count: int) -> None:
        """Stop the gap behind the `count`-th key from now on: the next key but an exit's first waits for `clock.go`."""
        last = len(self.peer.sent) + count

        def look(*_: object) -> None:
            if len(self.peer.sent) == last:
                self.clock.hold()

        self.peer.on_send = look

    def take_up(self) -> int:
        """What a start does: the book, then what is unfinished."""
        for target, trade, state in self.journal.trades(self.rules.mode):
            self.dispatcher.lanes[f"hotkeys:{target}"].book.load(trade, state)
        found = recover(self.journal, self.dispatcher, self.rules, self.clock)
        self.dispatcher.flush()
        return found

    @property
    def records(self) -> Records:
        """What happened, up to this moment."""
        with suppress(JournalError):
            self.journal.commit()
        return Records(self.journal.path)

    async def send(self, type: str, symbol: str = "AAPL", **fields: Any) -> Receipt:
        """Through the door; returns once it is safe on disk."""
        fields.setdefault("id", f"{type}-{symbol}-{next(_ids)}")
        return await self.intake.submit(body(type, symbol, **fields), "http")

    async def settled(self, receipt: Receipt) -> Delivery:
        """The receipt's only delivery, once it has ended."""
        (delivery,) = receipt.deliveries
        await until(lambda: delivery.outcome is not None)
        return delivery

    async def done(self, type: str, symbol: str = "AAPL", **fields: Any) -> tuple[str, str]:
        """Send and wait for the end: (result, reason)."""
        delivery = await self.settled(await self.send(type, symbol, **fields))
        assert delivery.outcome is not None
        return delivery.outcome.result.value, delivery.outcome.reason

    def stop(self) -> None:
        self.dispatcher.close()
        self.journal.close()

    def crash(self) -> None:
        """What kill -9 leaves: nothing gathered is written, nothing is told."""
        self.dispatcher.close()
        self.journal._release(wait_s=5)
        for lane in self.dispatcher.lanes.values():
            lane.peer.changed = lambda: None


@asynccontextmanager
async def core(
    folder: Path,
    *,
    clock: SetClock | None = None,
    targets: tuple[str, ...] = ("main",),
    opened: bool = True,
    how: dict[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[Core]:
    """The core, started on `folder`; `changes` are to the lanes' rules, `how` to everything else."""
    made = Core(folder, clock or SetClock(), rules(**changes), targets, **(how or {}))
    try:
        if opened:
            made.journal.open()
            made.take_up()
        yield made
    finally:
        made.stop()


async def until(condition: Callable[[], object], limit: float = 10.0) -> None:
    """Wait until `condition` holds; fails after `limit` seconds."""
    ends = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < ends, "it never happened"
        await asyncio.sleep(0.001)


async def turns(count: int = 20) -> None:
    """Let the loop turn over, for what must not happen."""
    for _ in range(count):
        await asyncio.sleep(0)


def ages(**limits: float) -> Callable[[EventType], float]:
    """Age limits with some changed, seconds."""
    usual = EventSettings().max_age_s.of
    return lambda kind: limits.get(kind.value, usual(kind))
