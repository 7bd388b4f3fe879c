"""The composition root: the only file that names every room.

What outlives a change of configuration (journal, lanes with their queues, listening sockets) is made here once; what
is swapped is in `parts`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from loguru import logger

from daemon.clock import Clock
from daemon.control import routes as control
from daemon.desk import Desk
from daemon.dispatch import Dispatcher, Lane
from daemon.dispatch.book import Book
from daemon.dispatch.calls import Calls
from daemon.dispatch.outbox import Outbox
from daemon.dispatch.recovery import recover
from daemon.dispatch.router import HUMMINGBOT
from daemon.egress import Guard
from daemon.errors import ConfigError, JournalError
from daemon.http import binding
from daemon.http.server import LocalServer
from daemon.http.token import load_or_make_token
from daemon.intake import Intake
from daemon.journal import Journal
from daemon.journal.facts import Facts
from daemon.journal.keeper import keep
from daemon.lifecycle import Stops, until
from daemon.metrics import Metrics
from daemon.parts import EARS, Fixed, Parts, router, rules
from daemon.ports import Mode, Peer, Schedule
from daemon.scheduling import Job, Scheduler
from daemon.settings import Settings
from daemon.sources import webhook, websocket
from daemon.sources.hummingbot_memory import around
from schedules.clock import ClockWatch
from schedules.hummingbot import HummingbotObserve, HummingbotReconcile
from schedules.polymaker import PolymakerConfig, PolymakerMarkets, PolymakerMetrics

if TYPE_CHECKING:
    from handlers.polymaker.handler import Polymaker

SOCKET = "deskhand.sock"
"""The unix socket's name in the runtime folder."""
_CENTER_S = 3.5  # for the last words to the Command Center
_OTHER_STOPS_S = 9.0  # what the other stops may take together


class Graph:
    """The daemon's parts, put together; `start` brings them up, `swap` takes another configuration over, `stop` takes
    them down in reverse. `listeners` are sockets that the service manager handed over.
    """

    def __init__(self, settings: Settings, clock: Clock, version: str, listeners: Sequence[int] = ()) -> None:
        self.settings = settings
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._listeners = listeners
        self._clock = clock
        self._metrics = Metrics()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stops = Stops()
        self._recovered = False
        self.journal = Journal(settings.state_dir, clock)
        self.dispatcher = Dispatcher(self.journal, clock, self._metrics, exits_without_journal=_fires(settings))
        self.intake = Intake(
            self.journal,
            self.dispatcher,
            router(settings),
            clock,
            self._metrics,
            mode=settings.mode,
            max_age_s=settings.events.max_age_s.of,
            repeatable=rules(settings).repeatable,
        )
        self._outbox = Outbox("polymaker", self.journal, clock, self._metrics)
        self._fixed = Fixed(
            self.intake, self._outbox, Guard(clock, self._metrics.egress_blocked), clock, self._metrics,
            around(self.journal, clock), Facts(self.journal, "bot:"), Facts(self.journal, "order:"),
        )  # fmt: skip
        self._scheduler = Scheduler(clock, self._metrics)
        self._clock_watch = ClockWatch(clock)
        self._calls = Calls(
            f"hummingbot:{HUMMINGBOT}", settings.mode, settings.events.max_age_s.of, self.journal, clock, self._metrics,
            self.dispatcher.on_end, self.dispatcher.flush_soon,
        )  # fmt: skip
        self.dispatcher.add_calls(self._calls)
        self.desk = Desk(version, self.journal, self.dispatcher, self._fixed)
        self._calls.on_halt = partial(self.desk.halt, "entries", owner="hummingbot")
        self.parts: Parts  # from `start` on

    # -- up and down -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring everything up; peers may be down. Raises ConfigError."""
        settings = self.settings
        try:
            self.journal.open()
        except JournalError as error:
            logger.error("journal: {} cannot be used: {}; entries are refused until it can", self.journal.path, error)
        self._stops.add("journal", self._close_journal)
        binding.check(settings)
        token = load_or_make_token(settings.state_dir, settings.http)
        self._fixed.guard.keep(token)
        routes = [*webhook.routes(self.intake), *websocket.routes(self.intake), *control.routes(self.desk)]
        socket = settings.runtime_dir() / SOCKET
        server = self.desk.server = LocalServer(
            settings.http, socket, token, routes, self._clock, shared=settings.origin.service, given=self._listeners,
            state=settings.state_dir, failed=self._metrics.auth_failures_total,
        )  # fmt: skip
        server.bind()
        self._stops.add("local server", server.stop)
        self._fixed.guard.know(settings.known_secrets())
        self.parts = self.desk.parts = await Parts.make(settings, self._fixed)
        self._stops.add("hotkeys", self._drop_parts, 3.0)
        for name, target in self.parts.targets.items():
            self.dispatcher.add_lane(self._lane(name, target, self._book(settings.mode, name)))
        self._calls.adopt(settings.mode, settings.events.max_age_s.of, self.parts.caller)
        self._stops.add("calls", self._calls.stop)
        self._listen()
        if self.journal.ok:
            with suppress(JournalError):  # promise 10; logged where it broke, and the keeper comes back to it
                self._take_up()
        self._spawn("journal-keeper", keep(self.journal, self._clock, self._limits, self._take_up))
        self._stops.add("journal-keeper", partial(self._end_task, "journal-keeper"))
        self._start_mqtt()
        self._stops.add("mqtt", partial(self._end_task, "mqtt"))
        self._start_ears()
        for name in EARS:
            self._stops.add(name, partial(self._end_task, name))
        self._spawn("outbox", self._outbox.run())
        self._stops.add("outbox", partial(self._end_task, "outbox"))
        self._stops.add("command center", self._close_run, _CENTER_S + 0.5)
        self._stops.add("schedules", self._scheduler.stop)
        self._scheduler.apply(self._jobs(settings, self.parts))
        self._stops.add("running sequences", self._drain, float("inf"))
        await server.start()
        self._stops.add("local server", server.stop, 2.0)
        self.desk.open = True

    def _limits(self) -> tuple[float, int]:
        journal = self.settings.journal
        return journal.retention_days, journal.max_mb * 1024 * 1024

    def _jobs(self, settings: Settings, parts: Parts) -> Iterator[Job]:
        wanted: list[tuple[Schedule, float | None]] = [(self._clock_watch, None)]
        if parts.center is not None:
            wanted += [(job, job.first_s) for job in self._center_jobs(parts.center)]
        if parts.bots is not None:
            wanted += [(job, job.first_s) for job in (HummingbotReconcile(parts.bots), HummingbotObserve(parts.bots))]
        for schedule, first_s in wanted:
            every_s: float | None = getattr(settings.schedules, schedule.name)
            if every_s is not None:
                yield Job(schedule.name, every_s, every_s if first_s is None else min(first_s, every_s), schedule.run)

    def _center_jobs(self, center: "Polymaker") -> tuple[PolymakerMetrics, PolymakerMarkets, PolymakerConfig]:
        return PolymakerMetrics(center), PolymakerMarkets(center), PolymakerConfig(center, self.desk.pause)

    def _lane(self, name: str, target: Peer, book: Book) -> Lane:
        return Lane(
            f"hotkeys:{name}", target, self.parts.rules, book, self.journal, self._clock, self._metrics,
            self.dispatcher.on_end, self.dispatcher.flush_soon,
        )  # fmt: skip

    def _book(self, mode: Mode, target: str) -> Book:
        return Book(partial(self.journal.put_trade, mode, target))

    def _take_up(self) -> None:
        """Read back what an earlier life wrote: the halt, the book, unfinished deliveries. Raises JournalError."""
        if self._recovered:
            return
        self.desk.take_up()
        self._read_books(self.settings.mode, {name: lane.book for name, lane in self.dispatcher.lanes.items()})
        self._begin_run(self.parts.center)
        recover(self.journal, self.dispatcher, self.parts.rules, self._clock)
        self._recovered = True
        self.dispatcher.flush()

    def _read_books(self, mode: Mode, books: Mapping[str, Book]) -> None:
        """Fill the books, by lane name, with what the journal has of that mode. Raises JournalError."""
        for target, trade, state in self.journal.trades(mode):
            book = books.get(f"hotkeys:{target}")
            if book is not None:
                try:
                    book.load(trade, state)
                except ValueError as error:
                    logger.error("book: the record of a trade at {} cannot be read: {}", target, error)

    def _start_mqtt(self) -> None:
        if self.parts.mqtt is not None:
            self._spawn("mqtt", self.parts.mqtt.run())

    def _start_ears(self) -> None:
        for name, ear in self.parts.ears.items():
            if name not in self._tasks:
                self._spawn(name, ear.run())

    def _listen(self) -> None:
        """Whom to tell how deliveries and events ended, which bots were heard, and that the Center wants a pause."""
        mqtt, center, bots = self.parts.mqtt, self.parts.center, self.parts.bots
        self._fixed.around.heard = bots.heard if bots is not None else lambda *_: None
        self.dispatcher.ended[:] = [mqtt.publish_outcome] if mqtt is not None else []
        self.dispatcher.told[:] = [center.runs.told] if center is not None else []
        if center is not None:
            center.pause = self.desk.pause

    def _begin_run(self, center: "Polymaker | None") -> None:
        """Take up the outbox and this daemon's run at the Center. Raises JournalError: it tells nothing yet."""
        if center is not None:
            self._outbox.adopt(center)
            try:
                self._outbox.take_up()
                center.runs.begin()
            except JournalError:
                self._outbox.adopt(None)
                raise

    async def _close_run(self) -> None:
        """Close the run at the Center; what it does not take now goes out at the next start."""
        if self.parts.center is not None:
            self.parts.center.runs.end("error" if self.failed.done() else "completed")
            await self._outbox.empty(_CENTER_S)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        self._tasks[name] = task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self.failed.done():
            error = task.exception()
            self.failed.set_result(f"{task.get_name()} ended: {type(error).__name__ if error else 'returned'}")
            if error is not None:
                logger.opt(exception=error).critical("the task {} died", task.get_name())

    async def _end_task(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _drop_parts(self) -> None:
        await self.parts.drop()

    async def _close_journal(self) -> None:
        self.dispatcher.close()
        self.journal.close()

    async def _drain(self) -> None:
        """Take nothing more and let running sequences finish; what is left waits in the journal for the next start."""
        if self.parts.mqtt is not None:
            self.parts.mqtt.pause()
        async with asyncio.timeout(max(1.0, self.settings.stop_timeout_s - _OTHER_STOPS_S)):  # a reload may change it
            await until(lambda: not self.dispatcher.draining)

    async def stop(self, limit_s: float) -> list[str]:
        """Stop everything in reverse order within `limit_s` seconds; returns what went wrong."""
        self.desk.open = False
        return await self._stops.run(limit_s)

    # -- another configuration ---------------------------------------------------------------------------------------

    async def swap(self, settings: Settings) -> None:
        """Go by other settings from now on: everything that can fail first, then all of it in one turn of the loop.

        Raises ConfigError or JournalError, and then nothing has changed.
        """
        before = self.parts
        serve = self._serving(settings)
        parts = await Parts.make(settings, self._fixed, before)
        moving = [
            lane
            for name, lane in self.dispatcher.lanes.items()
            if parts.targets.get(_target(name)) is not before.targets[_target(name)]
        ]
        try:
            await parts.warm(before)
            await self._calm(moving, settings.hotkeys.step_timeout_s)
            self._publish(settings, parts)
        except BaseException:
            for lane in moving:
                lane.hold(on=False)
            await parts.drop(before)
            raise
        serve()
        if before.center is not None and parts.center is not before.center:
            await self._move_run(parts.center)
        if parts.mqtt is not before.mqtt:
            if before.mqtt is not None:  # never two clients with one id
                before.mqtt.leave(settings.mqtt)
                await self._end_task("mqtt")
            if before.mqtt is not None and parts.mqtt is not None:
                parts.mqtt.take_over(before.mqtt.left_over(settings.mqtt))
            self._start_mqtt()
        for name, ear in before.ears.items():
            if parts.ears.get(name) is not ear:
                await self._end_task(name)
        self._start_ears()
        await before.drop(parts)

    async def _move_run(self, new: "Polymaker | None") -> None:
        """The old Center is told what it still takes; then the outbox is the new one's."""
        await self._outbox.empty(_CENTER_S)
        await self._end_task("outbox")
        self._outbox.adopt(new)
        self._spawn("outbox", self._outbox.run())
        if new is None:
            with suppress(JournalError):  # it is lifted all the same, as long as this daemon lives
                await self.desk.pause(paused=False)
        elif not new.runs.run:
            new.runs.start()

    def refresh(self, settings: Settings) -> None:
        """Read anew the files that unchanged settings name: token, certificate, vault. Raises ConfigError."""
        self._fixed.guard.know(settings.known_secrets())
        self._serving(settings)()

    def _serving(self, settings: Settings) -> Callable[[], None]:
        """Everything that can fail of serving by other settings; what it returns does it."""
        binding.check(settings)
        token = load_or_make_token(settings.state_dir, settings.http)
        self._fixed.guard.keep(token)
        assert self.desk.server is not None  # noqa: S101  # `start` has made it
        return self.desk.server.prepare(settings.http, token)

    async def _calm(self, lanes: Sequence[Lane], limit_s: float) -> None:
        """Let half pressed sequences finish where they began; only exits begin meanwhile."""
        for lane in lanes:
            lane.hold(on=True)
        await until(lambda: all(lane.calm for lane in lanes), limit_s)

    def _publish(self, settings: Settings, parts: Parts) -> None:
        """The swap itself. Raises ConfigError, JournalError before anything is changed."""
        lanes = self.dispatcher.lanes
        gone = {name: lane for name, lane in lanes.items() if _target(name) not in parts.targets}
        place = settings.origin.place
        problems = [
            f"{place(('hotkeys', 'targets'))}: {_target(n)} cannot go: {_busy(gone[n])}" for n in gone if _busy(gone[n])
        ]
        other_mode = settings.mode != self.settings.mode
        if other_mode:
            problems += (
                f"{place(('mode',))}: cannot leave {self.settings.mode}: {n}: {_busy(lane)}"
                for n, lane in lanes.items()
                if _busy(lane)
            )
        if problems:
            raise ConfigError(*problems)
        books = {
            f"hotkeys:{n}": self._book(settings.mode, n)
            for n in parts.targets
            if other_mode or f"hotkeys:{n}" not in lanes
        }
        if books:
            self._read_books(settings.mode, books)
        old, new = self.parts.center, parts.center
        if old is None:
            self._begin_run(new)
        # From here on nothing can fail.
        if old is not None and new is not old and (new is None or not new.take_over(old)):
            old.hand_over(new)
        self.settings, self.parts, self.desk.parts = settings, parts, parts
        self._fixed.guard.know(settings.known_secrets())
        self._calls.adopt(settings.mode, settings.events.max_age_s.of, parts.caller)
        self._listen()
        self.dispatcher.exits_without_journal = _fires(settings)
        self.intake.router, self.intake.mode = parts.router, settings.mode
        self.intake.max_age_s, self.intake.repeatable = settings.events.max_age_s.of, parts.rules.repeatable
        self._scheduler.apply(self._jobs(settings, parts))
        for name, lane in gone.items():
            lane.close()
            del lanes[name]
            self._metrics.gone(name)
        for name, target in parts.targets.items():
            where = f"hotkeys:{name}"
            if where not in lanes:
                self.dispatcher.add_lane(self._lane(name, target, books[where]))
                continue
            lanes[where].book = books.get(where, lanes[where].book)
            lanes[where].adopt(parts.rules, target)


def _fires(settings: Settings) -> bool:
    return settings.events.exits_without_journal == "fire"


def _target(lane: str) -> str:
    return lane.partition(":")[2]


def _busy(lane: Lane) -> str:
    """Why this lane's target or mode cannot be left now, if it cannot."""
    held = next((trade.symbol for trade in lane.book.trades.values() if trade.open), "")
    if held:
        return f"{held} is open; close it, or correct the book"
    return "" if lane.calm and not lane.depth else "actions wait or run there"
