"""The composition root: the only file that names every room.

What outlives a change of configuration (journal, lanes, listening sockets) is made apart from what would be swapped
(router, rules, targets, the MQTT source).
"""

import asyncio
import json
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from loguru import logger

from daemon import logs
from daemon.clock import Clock
from daemon.control import routes as steering
from daemon.dispatch import Dispatcher, Lane, LaneRules, Router
from daemon.dispatch.book import Book
from daemon.dispatch.recovery import recover
from daemon.errors import EventError, JournalError
from daemon.http.server import LocalServer
from daemon.http.token import load_or_make_token
from daemon.intake import Intake
from daemon.journal import Journal, Records
from daemon.journal.keeper import keep
from daemon.lifecycle import Stops
from daemon.metrics import Metrics
from daemon.ports import Halt
from daemon.settings import Settings
from daemon.sources import webhook, websocket
from daemon.sources.mqtt import MqttSource
from handlers.hotkeys import presets
from handlers.hotkeys.client import HotkeyTarget
from handlers.hotkeys.practice import PracticeServer

SOCKET = "deskhand.sock"
"""The unix socket's name in the runtime folder."""
_OTHER_STOPS_S = 6.0  # what the other stops may take together


def rules(settings: Settings) -> LaneRules:
    """What the hotkey lanes go by."""
    hotkeys = settings.hotkeys
    return LaneRules(
        mode=settings.mode,
        gap_s=hotkeys.gap_ms / 1000,
        step_timeout_s=hotkeys.step_timeout_s,
        max_age_s=settings.events.max_age_s.of,
        repeatable=frozenset(hotkeys.repeatable),
        keep=frozenset(hotkeys.keep_when_superseded),
        overtake=frozenset(hotkeys.overtake),
        guard=hotkeys.guard,
        allow_add=hotkeys.allow_add,
    )


def _read_halt(raw: str) -> tuple[Halt, str, float]:
    """A halt as it was written: level, reason, since (seconds since the epoch). A damaged one halts entries."""
    try:
        stored = json.loads(raw)
        level: Halt = stored["level"]
        if level in ("none", "entries", "all"):
            return level, str(stored["reason"]), float(stored["since"])
    except (ValueError, KeyError, TypeError):
        pass
    return "entries", "the journal's record of a halt cannot be read; see what happened, then resume", 0.0


class Graph:
    """The daemon's parts, put together; `start` brings them up, `stop` takes them down in reverse."""

    def __init__(self, settings: Settings, clock: Clock, version: str) -> None:
        self.settings = settings
        self.version = version
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._clock = clock
        self._metrics = Metrics()
        self._started_at = clock.boot()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stops = Stops()
        self._recovered = False
        self._open = False
        self._halted_since = 0.0
        hotkeys = settings.hotkeys
        default = "main" if "main" in hotkeys.targets else next(iter(hotkeys.targets))
        self.default_target = default
        self.journal = Journal(settings.state_dir, clock)
        self.dispatcher = Dispatcher(
            self.journal,
            clock,
            self._metrics,
            exits_without_journal=settings.events.exits_without_journal == "fire",
        )
        self._rules = rules(settings)
        self.intake = Intake(
            self.journal,
            self.dispatcher,
            Router(settings.routes, partial(presets.sequence, hotkeys), default),
            clock,
            self._metrics,
            mode=settings.mode,
            max_age_s=settings.events.max_age_s.of,
            repeatable=self._rules.repeatable,
        )
        self.targets: dict[str, HotkeyTarget] = {}
        self.mqtt: MqttSource | None = None
        self.server: LocalServer | None = None

    # -- up and down -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring everything up; peers may be down. Raises ConfigError."""
        settings = self.settings
        try:
            self.journal.open()
        except JournalError as error:
            logger.error("journal: {} cannot be used: {}; entries are refused until it can", self.journal.path, error)
        self._stops.add("journal", self._close_journal)
        token = load_or_make_token(settings.state_dir, settings.http)
        logs.hide(token)
        routes = [*webhook.routes(self.intake), *websocket.routes(self.intake), *steering.routes(self)]
        socket = settings.runtime_dir() / SOCKET
        self.server = LocalServer(settings.http, socket, token, routes, self._clock, shared=settings.service)
        self.server.bind()
        self._stops.add("local server", self.server.stop)
        await self._start_targets()
        if settings.mqtt.host is not None:
            self.mqtt = MqttSource(settings.mqtt, self.intake, self._clock, self._metrics)
            self.dispatcher.ended.append(self.mqtt.publish_outcome)
        if self.journal.ok:
            with suppress(JournalError):  # promise 10; logged where it broke, and the keeper comes back to it
                self._take_up()
        self._spawn(
            "journal-keeper",
            keep(
                self.journal,
                self._clock,
                settings.journal.retention_days,
                settings.journal.max_mb * 1024 * 1024,
                self._take_up,
            ),
        )
        if self.mqtt is not None:
            self._spawn("mqtt", self.mqtt.run())
        self._stops.add("running sequences", self._drain, max(1.0, settings.stop_timeout_s - _OTHER_STOPS_S))
        await self.server.start()
        self._stops.add("local server", self.server.stop)
        self._open = True

    async def _start_targets(self) -> None:
        hotkeys = self.settings.hotkeys
        url = ""
        if self.settings.mode == "practice":
            practice = PracticeServer()
            await practice.start()
            self._stops.add("practice server", practice.stop)
            url = practice.url
        for name, address in hotkeys.targets.items():
            target = HotkeyTarget(name, url or address, hotkeys, self._metrics)
            book = Book(partial(self.journal.put_trade, self.settings.mode, name))
            lane = Lane(
                f"hotkeys:{name}",
                target,
                self._rules,
                book,
                self.journal,
                self._clock,
                self._metrics,
                self.dispatcher.on_end,
                self.dispatcher.flush_soon,
            )
            self.dispatcher.add_lane(lane)
            self.targets[name] = target
            await target.start()
            self._stops.add(f"hotkeys:{name}", target.stop)

    def _take_up(self) -> None:
        """Read back what an earlier life wrote: the halt, the book, unfinished deliveries. Raises JournalError."""
        if self._recovered:
            return
        halt = self.journal.fact("halt")
        if halt:
            level, reason, self._halted_since = _read_halt(halt)
            self.dispatcher.halt(level, reason)
            logger.warning("halted ({}): {}", level, reason or "no reason given")
        for target, trade, state in self.journal.trades(self.settings.mode):
            lane = self.dispatcher.lanes.get(f"hotkeys:{target}")
            if lane is not None:
                try:
                    lane.book.load(trade, state)
                except ValueError as error:
                    logger.error("book: the record of a trade at {} cannot be read: {}", target, error)
        recover(self.journal, self.dispatcher, self._rules, self._clock)
        self._recovered = True
        self.dispatcher.flush()

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        self._tasks[name] = task
        self._stops.add(name, partial(self._end_task, task))

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self.failed.done():
            error = task.exception()
            self.failed.set_result(f"{task.get_name()} ended: {type(error).__name__ if error else 'returned'}")
            if error is not None:
                logger.opt(exception=error).critical("the task {} died", task.get_name())

    async def _end_task(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task])

    async def _close_journal(self) -> None:
        self.dispatcher.close()
        self.journal.close()

    async def _drain(self) -> None:
        """Take nothing more and let running sequences finish; what is left waits in the journal for the next start."""
        if self.mqtt is not None:
            self.mqtt.pause()
        while self.dispatcher.draining:  # noqa: ASYNC110  # once, seconds at most
            await asyncio.sleep(0.02)

    async def stop(self, limit_s: float) -> list[str]:
        """Stop everything in reverse order within `limit_s` seconds; returns what went wrong."""
        self._open = False
        return await self._stops.run(limit_s)

    # -- what control and the status line ask -----------------------------------------------------------------------

    @property
    def records(self) -> Records:
        """What happened, up to this moment."""
        with suppress(JournalError):  # what cannot be written now is in the log, and listed once it can
            self.journal.commit()
        return Records(self.journal.path)

    def ready(self) -> tuple[bool, str]:
        """Whether events are taken and recorded, and why not."""
        if not self._open:
            return False, "starting or stopping"
        return (True, "") if self.journal.ok else (False, f"the journal cannot be written: {self.journal.why}")

    def metrics(self) -> bytes:
        """Prometheus text."""
        for name, lane in self.dispatcher.lanes.items():
            self._metrics.queue_depth(name, lane.depth)
        return self._metrics.render()

    def status(self) -> dict[str, Any]:
        """What the daemon is doing; JSON-ready."""
        last = self.intake.last_event
        server = self.server
        return {
            "mode": self.settings.mode,
            "version": self.version,
            "uptime_s": round(self._clock.boot() - self._started_at, 1),
            "ready": self.ready()[0],
            "halt": self._halt_shown(),
            "lanes": [lane.shown() for lane in self.dispatcher.lanes.values()],
            "peers": [
                {
                    "name": target.name,
                    "up": target.up,
                    "reason": "" if target.up else target.reason(),
                }
                for target in self.targets.values()
            ],
            "journal": {"ok": self.journal.ok, "reason": self.journal.why, "set_aside": self.journal.set_aside},
            "mqtt": self.mqtt.state if self.mqtt else "off",
            "http": f"{self.settings.http.host}:{server.bound_port}" if server else "",
            "last_event": {"id": last[0].id, "type": last[0].type.value, "symbol": last[0].symbol, "received": last[1]}
            if last
            else None,
            "counts": self._metrics.events_by_status(),
        }

    def _halt_shown(self) -> dict[str, Any]:
        dispatcher = self.dispatcher
        return {"level": dispatcher.halt_level, "reason": dispatcher.halt_reason, "since": self._halted_since or None}

    async def halt(self, level: Halt, reason: str) -> dict[str, Any]:
        """Set or lift (`none`) the kill switch; on disk when this returns. Raises JournalError, and then it still holds
        until the daemon ends.
        """
        self._halted_since = self._clock.now() if level != "none" else 0.0
        self.dispatcher.halt(level, reason)
        logger.warning("{}", f"halted ({level}): {reason or 'no reason given'}" if level != "none" else "resumed")
        self.journal.put_fact("halt", json.dumps({"level": level, "reason": reason, "since": self._halted_since}))
        await self._durable()
        return self._halt_shown()

    def book(self) -> list[dict[str, Any]]:
        """What the guard believes, a row per trade it has not forgotten."""
        return [
            {"target": name.partition(":")[2], **trade.shown()}
            for name, lane in self.dispatcher.lanes.items()
            for trade in lane.book.trades.values()
        ]

    async def book_set(self, symbol: str, *, open: bool, target: str) -> list[dict[str, Any]]:
        """Correct the book of a target (empty: the default one). Raises EventError for `target`, JournalError."""
        lane = self.dispatcher.lanes.get(f"hotkeys:{target or self.default_target}")
        if lane is None:
            raise EventError("target", "is not one of hotkeys.targets")
        lane.book.set(symbol, open=open)
        await self._durable()
        return self.book()

    async def book_clear(self) -> None:
        """Forget every trade of this mode. Raises JournalError."""
        for lane in self.dispatcher.lanes.values():
            lane.book.clear()
        await self._durable()

    async def _durable(self) -> None:
        self.journal.commit()
        synced: asyncio.Future[JournalError | None] = asyncio.get_running_loop().create_future()
        self.journal.after_sync(lambda error: None if synced.done() else synced.set_result(error))
        error = await synced
        if error is not None:
            raise error
