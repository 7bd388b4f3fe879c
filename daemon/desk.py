"""What the local API shows of the daemon and lets people steer: its state, its records, the kill switch, the book."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from loguru import logger

from daemon.control.line import status_line
from daemon.dispatch import Dispatcher, Lane
from daemon.dispatch.calls import Calls
from daemon.dispatch.dispatcher import TRADER
from daemon.errors import ConfigError, EventError, JournalError
from daemon.http.server import LocalServer
from daemon.journal import Journal, Records
from daemon.parts import Fixed, Parts, default_target
from daemon.ports import Halt

if TYPE_CHECKING:
    from handlers.hummingbot.bots import Bots

OWNERS = (TRADER, "polymaker", "hummingbot")
"""Who may halt; each lifts only what it has set, and the trader what Hummingbot's handler has set too."""


_FLUSH_S = 5.0


def _read(raw: str) -> tuple[Halt, str, float]:
    """A halt as it was written: level, reason, since (seconds since the epoch). A damaged one halts entries."""
    try:
        stored = json.loads(raw)
        level: Halt = stored["level"]
        if level in ("none", "entries", "all"):
            return level, str(stored["reason"]), float(stored["since"])
    except (ValueError, KeyError, TypeError):
        pass
    return "entries", "the journal's record of a halt cannot be read; see what happened, then resume", 0.0


def _fact(owner: str) -> str:
    return "halt" if owner == TRADER else f"halt:{owner}"


def _run_shown(row: dict[str, Any]) -> dict[str, Any]:
    """A run as its posts tell; `failed` is one whose beginning or end was not taken."""
    opened, closed = row["state"] == "ended", row["end_state"] == "ended"
    failed = (opened and row["result"] != "done") or (closed and row["end_result"] != "done")
    state = "closed" if closed else "waiting" if not opened else "closing" if row["end_state"] else "open"
    end = json.loads(row["end_body"] or "{}")
    return {
        "run": json.loads(row["answer"]).get("runId"),
        "state": "failed" if failed else state,
        "status": end.get("status"),
        "reason": row["reason"] or row["end_reason"] or "",
        "mode": json.loads(row["body"]).get("mode"),
        "place": row["place"],
        "started": row["made"],
        "ended": row["end_made"],
        "score": json.loads(row["end_answer"] or "{}").get("score", ""),
        "trades": row["counts"].get("trade", {}),
        "updates": row["counts"].get("trade/update", {}),
    }


async def _no_reload() -> dict[str, Any]:
    raise ConfigError("this daemon cannot reload")


class Desk:
    """A `daemon.control.desk.Desk`. The graph sets what changes: `parts`, `server`, `open`, `on_reload`."""

    def __init__(self, version: str, journal: Journal, dispatcher: Dispatcher, fixed: Fixed) -> None:
        self.parts: Parts  # once the graph has started
        self.server: LocalServer | None = None
        self.open = False
        self.on_reload: Callable[[], Awaitable[dict[str, Any]]] = _no_reload
        self._version = version
        self._journal = journal
        self._dispatcher = dispatcher
        self._intake = fixed.intake
        self._outbox = fixed.outbox
        self._guard = fixed.guard
        self._metrics = fixed.metrics
        self._clock = fixed.clock
        self._started_at = fixed.clock.boot()
        self._since: dict[str, float] = {}
        self._last_reload: dict[str, Any] | None = None

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def records(self) -> Records:
        """What happened, up to this moment."""
        with suppress(JournalError):  # what cannot be written now is in the log, and listed once it can
            self._journal.commit()
        return Records(self._journal.path)

    def ready(self) -> tuple[bool, str]:
        """Whether events are taken and recorded, and why not."""
        if not self.open:
            return False, "starting or stopping"
        return (True, "") if self._journal.ok else (False, f"the journal cannot be written: {self._journal.why}")

    async def metrics(self) -> bytes:
        """Prometheus text."""
        exposition = await asyncio.to_thread(import_module, "daemon.exposition")  # the first time, 30 ms
        for name, lane in self._dispatcher.lanes.items():
            self._metrics.queue_depth(name, lane.depth)
        parts = self.parts
        if parts.bots is not None:
            self._metrics.peer_up("hummingbot", not parts.bots.away)
        peers = {"mqtt": parts.mqtt, "hummingbot": parts.bots, "hummingbot:mqtt": parts.fills}
        for name, part in (peers | {"polymaker": parts.center}).items():
            if part is None:  # switched off by a reload: no alarm on peers that are down may ring for it ever after
                self._metrics.gone(name)
        text: bytes = exposition.render(self._metrics)
        return text

    def status(self) -> dict[str, Any]:
        """What the daemon is doing; JSON-ready."""
        last = self._intake.last_event
        server, mqtt = self.server, self.parts.mqtt
        return {
            "mode": self.parts.settings.mode,
            "version": self._version,
            "uptime_s": round(self._clock.boot() - self._started_at, 1),
            "ready": self.ready()[0],
            "halt": self._halt_shown(),
            "lanes": [lane.shown() for lane in self._lanes()],
            "peers": self.peers(),
            "journal": {"ok": self._journal.ok, "reason": self._journal.why, "set_aside": self._journal.set_aside},
            "mqtt": mqtt.state if mqtt else "off",
            "http": f"{self.parts.settings.http.host}:{server.bound_port}" if server else "",
            "tokens": server.tokens() if server else [],
            "last_event": {"id": last[0].id, "type": last[0].type.value, "symbol": last[0].symbol, "received": last[1]}
            if last
            else None,
            "counts": self._metrics.events_by_status(),
            "reload": self._last_reload,
            "polymaker": self._center_shown(),
            "bots": self._bots_shown(),
            "egress": self._guard.shown(),
        }

    def _center_shown(self) -> dict[str, Any] | None:
        center = self.parts.center
        if center is None:
            return None
        with suppress(JournalError):
            return center.shown() | {"waiting": self._outbox.depth, "held": self._outbox.held}
        return {"place": center.place, "waiting": self._outbox.depth, "held": self._outbox.held}

    def _bots_shown(self) -> dict[str, Any] | None:
        with suppress(JournalError):
            return self.parts.bots.status() if self.parts.bots is not None else None
        return None

    def bots(self) -> "Bots | str":
        """The bots at Hummingbot, or why there are none, in words."""
        settings = self.parts.settings
        if self.parts.bots is not None:
            return self.parts.bots
        if settings.hummingbot.url is None:
            return "Hummingbot is not configured; set hummingbot.url"
        return f"the daemon is in {settings.mode} mode, and Hummingbot is asked for nothing"

    def _lanes(self) -> list[Lane | Calls]:
        """Those that are in use: a queue of calls only while somebody performs them."""
        return [lane for lane in self._dispatcher.queues() if isinstance(lane, Lane) or lane.caller is not None]

    def peers(self) -> list[dict[str, Any]]:
        """Every peer: name, up, why not, and for how many seconds it has been down."""
        mqtt = self.parts.mqtt
        found = [(t.name, t.up, t.reason(), t.down_s) for t in self.parts.targets.values()]
        if mqtt is not None:
            found.append(("mqtt", mqtt.state == "connected", mqtt.state.removeprefix("down: "), mqtt.down_s))
        fills = self.parts.fills
        if fills is not None:
            found.append((fills.name, fills.state == "connected", fills.state.removeprefix("down: "), fills.down_s))
        bots = self.parts.bots
        if bots is not None:
            found.append(("hummingbot", not bots.away, bots.away, bots.down_s))
        if self.parts.center is not None:
            found.append(("polymaker", self._outbox.up is True, self._outbox.why, self._outbox.down_s))
        return [
            {"name": name, "up": up, "reason": "" if up else reason, "down_s": round(down_s, 1)}
            for name, up, reason, down_s in found
        ]

    def stuck(self) -> str:
        """What makes no progress; empty while everything does."""
        return "; ".join(filter(None, (lane.stuck() for lane in self._dispatcher.queues())))

    def line(self) -> str:
        """The state in one line: `live · 2 peers up, hotkeys:main down 12 s · last event sl AAPL 4 s ago`."""
        try:
            return status_line(self.status(), self._clock.now())
        except Exception as error:  # promise 4: a line for people, made of what every peer said, ends no daemon
            logger.opt(exception=error).error("the status line: a mistake of ours")
            return f"{self.parts.settings.mode} · the rest cannot be shown, the log says why"

    async def reload(self) -> dict[str, Any]:
        """Read the configuration anew; see `Reloader`."""
        return await self.on_reload()

    def reloaded(self, answer: dict[str, Any]) -> None:
        """Note how a reload ended, for the status."""
        self._metrics.reloads_total(answer["status"])
        problems = answer.get("problems", [])
        self._last_reload = {"at": self._clock.now(), "status": answer["status"], "problems": problems}

    # -- steering --------------------------------------------------------------------------------------------------

    def take_up(self) -> None:
        """Go on with the halts that an earlier life of the daemon was under. Raises JournalError."""
        for owner in OWNERS:
            written = self._journal.fact(_fact(owner))
            if owner == "polymaker" and self.parts.center is None:
                continue  # nobody is left who could lift it
            if written:
                level, reason, since = _read(written)
                self._since[owner] = since
                self._dispatcher.halt(level, reason, owner)
                if level != "none":
                    logger.warning("halted ({}) by the {}: {}", level, owner, reason or "no reason given")

    def _halt_shown(self) -> dict[str, Any]:
        level = self._dispatcher.halt_level()
        halts = self._dispatcher.halts
        owner = next((owner for owner in OWNERS if owner in halts and halts[owner][0] == level), "")
        reason = halts[owner][1] if owner else ""
        return {"level": level, "reason": reason, "since": self._since.get(owner) or None, "owner": owner}

    async def halt(self, level: Halt, reason: str, owner: str = TRADER) -> dict[str, Any]:
        """Set or lift (`none`) one owner's kill switch. Raises JournalError, and then it still holds until the daemon
        ends.
        """
        self._since[owner] = self._clock.now() if level != "none" else 0.0
        self._dispatcher.halt(level, reason, owner)
        words = f"halted ({level}) by the {owner}: {reason or 'no reason given'}"
        logger.warning("{}", words if level != "none" else f"resumed by the {owner}")
        fact = {"level": level, "reason": reason, "since": self._since[owner]}
        self._journal.put_fact(_fact(owner), json.dumps(fact))
        await self._durable()
        if owner == TRADER and level == "none" and "hummingbot" in self._dispatcher.halts:
            await self.halt("none", "", "hummingbot")
        return self._halt_shown()

    async def pause(self, paused: bool) -> None:
        """The Command Center asks for no new orders, or no longer, or there is none any more. Raises JournalError."""
        halted = "polymaker" in self._dispatcher.halts
        if paused and not halted:
            await self.halt("entries", "pauseOrders is set in the Command Center", "polymaker")
        elif halted and not paused:
            await self.halt("none", "", "polymaker")

    async def runs(self) -> list[dict[str, Any]]:
        """The latest runs at the Command Center, newest first. Raises JournalError."""
        found = await asyncio.to_thread(self.records.runs, "polymaker", "run/start", ":stop")
        return [_run_shown(row) for row in found]

    async def flush_outbox(self) -> dict[str, Any]:
        """Try now to tell the Command Center what waits: how many still wait, and why."""
        gone = await self._outbox.empty(_FLUSH_S)
        reason = self._outbox.held or self._outbox.why if self.parts.center is not None else "polymaker is off"
        if gone and self.parts.center is not None:
            reason = "for a Command Center at another address, until polymaker.url is that again"
        waiting = self._outbox.depth
        return {"waiting": waiting, "reason": reason if waiting else ""}

    def book(self) -> list[dict[str, Any]]:
        """What the guard believes, a row per trade it has not forgotten."""
        return [
            {"target": name.partition(":")[2], **trade.shown()}
            for name, lane in self._dispatcher.lanes.items()
            for trade in lane.book.trades.values()
        ]

    async def book_set(self, symbol: str, *, open: bool, target: str) -> list[dict[str, Any]]:
        """Correct the book of a target (empty: the default one). Raises EventError for `target`, JournalError."""
        lane = self._dispatcher.lanes.get(f"hotkeys:{target or default_target(self.parts.settings)}")
        if lane is None:
            raise EventError("target", "is not one of hotkeys.targets")
        lane.book.set(symbol, open=open)
        await self._durable()
        return self.book()

    async def book_clear(self) -> None:
        """Forget every trade of this mode. Raises JournalError."""
        for lane in self._dispatcher.lanes.values():
            lane.book.clear()
        await self._durable()

    async def _durable(self) -> None:
        self._journal.commit()
        synced: asyncio.Future[JournalError | None] = asyncio.get_running_loop().create_future()
        self._journal.after_sync(lambda error: None if synced.done() else synced.set_result(error))
        error = await synced
        if error is not None:
            raise error
