"""Bots as the server sees them: containers, what was heard from them, and names that are no bots at all."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tests.fakes.hummingbot.errors import CrashError, RefusalError
from tests.fakes.hummingbot.habits import Habits, Traps

SAFE = re.compile(r"[A-Za-z0-9_-]+")
_LOGGER = "hummingbot.strategy.strategy_v2_base"

Phase = Literal["starting", "running", "stopped", "silent", "exited"]


@dataclass
class Bot:
    """One container. `silent`: it is up and says nothing; `exited`: it is gone from Docker's list."""

    name: str
    account: str = "master_account"
    controllers: dict[str, dict[str, Any]] = field(default_factory=dict)
    phase: Phase = "running"
    born: float = 0.0
    heard: float = 0.0
    """When its last message came, or the server's own last command went out under its name."""
    report: dict[str, Any] = field(default_factory=dict)
    general: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    trades: list[dict[str, Any]] = field(default_factory=list)
    archiving: bool = False
    sound: bool = True
    """Whether its container finds what to run."""

    @property
    def up(self) -> bool:
        """Whether its container runs."""
        return self.phase != "exited"

    @property
    def talks(self) -> bool:
        """Whether it publishes: a stopped strategy's program still does."""
        return self.phase in ("running", "stopped")


class Bots:
    """All of them; `moved` is called with the name of a bot whose phase changed."""

    def __init__(self, traps: Traps, habits: Habits, now: Callable[[], float]) -> None:
        self.traps, self.habits, self.now = traps, habits, now
        self.known: dict[str, Bot] = {}
        self.ghosts: dict[str, float] = {}
        """Names that are no containers, and when something under them was heard last."""
        self.runs: list[dict[str, Any]] = []
        self.folders: list[str] = []
        """Instance folders on disk; a failed deploy leaves its own."""
        self.broker_up = True
        self.histories = 0
        """Most `history` calls that were under way at the same time."""
        self.commands: list[tuple[str, str]] = []
        """What the server published for bots: name and command."""
        self.moved: Callable[[str], None] = lambda _: None

    # What a test does to them.

    def add(self, name: str, *, controllers: dict[str, dict[str, Any]] | None = None, report: bool = True) -> Bot:
        """A bot that runs already; without `report` it has no controllers, and shows `stopped` though healthy."""
        bot = self.known[name] = Bot(name, controllers=controllers or {}, born=self.now(), heard=self.now())
        if report:
            bot.report = {key: _performance() for key in bot.controllers or {"pmm_1": {}}}
        self.moved(name)
        return bot

    def kill(self, name: str) -> None:
        """kill -9 of its container: it says nothing more, not even goodbye."""
        self._leave(name, "exited")

    def silence(self, name: str) -> None:
        """Its container runs on, its messages stop: the broker lost it, or its loop hangs."""
        self._leave(name, "silent")

    def wake(self, name: str) -> None:
        """A silent bot is heard again."""
        self._leave(name, "running")

    def phantom(self, name: str) -> None:
        """Somebody publishes under this name, and there is no such bot."""
        self.ghosts[name] = self.now()

    def say(self, name: str, words: str, *, error: bool = False) -> None:
        """A line in a bot's log, as it comes over MQTT."""
        self.refresh()
        bot = self.known[name]
        logs = bot.errors if error else bot.general
        number = 40 if error else 20
        level = "ERROR" if error else "INFO"
        logs.append(
            {"level_name": level, "msg": words, "timestamp": self.now(), "level_no": number, "logger_name": _LOGGER}
        )
        del logs[:-100]

    def _leave(self, name: str, phase: Phase) -> None:
        self.refresh()
        self.known[name].phase = phase
        self.moved(name)

    # What time does to them.

    def refresh(self) -> None:
        """Bring everything up to now."""
        for bot in list(self.known.values()):
            if bot.phase == "starting" and self.now() - bot.born >= self.habits.starting_s:
                dies = self.habits.deploy_dies or not bot.sound
                bot.phase = "exited" if dies else "running"
                self.moved(bot.name)
            if bot.talks and self.broker_up:
                bot.heard = self.now()
            if bot.phase == "running" and self.habits.disobeys and not bot.report:  # controllers report every second
                bot.report = {key: _performance() for key in bot.controllers}

    def restart(self) -> None:
        """The server starts anew: it knows what Docker lists, and what it hears from now on."""
        self.refresh()
        self.ghosts.clear()
        for bot in self.known.values():
            bot.heard = self.now() if bot.talks and self.broker_up else 0.0
            bot.general.clear()
            bot.errors.clear()

    def cut(self) -> None:
        """The broker is away from now on."""
        self.refresh()
        self.broker_up = False

    def join(self) -> None:
        """The broker is back."""
        self.broker_up = True
        self.refresh()

    # What the server says of them.

    def recent(self, heard: float) -> bool:
        """Whether a message at that time still counts."""
        return self.now() - heard < self.habits.recent_s

    def listed(self) -> dict[str, str]:
        """The names the server takes for bots, and how it knows them."""
        self.refresh()
        found = {bot.name: "docker" for bot in self.known.values() if bot.up}
        if self.traps.phantoms:
            gone = {bot.name: bot.heard for bot in self.known.values() if not bot.up}
            found |= {name: "mqtt" for name, heard in (gone | self.ghosts).items() if self.recent(heard)}
        return found

    def status(self, name: str) -> dict[str, Any]:
        """One bot's status, by the server's own logic."""
        bot = self.known.get(name)
        heard = bot.heard if bot else self.ghosts.get(name, 0.0)
        report = dict(bot.report) if bot else {}
        recently = self.recent(heard)
        word = ("running" if recently else "idle") if report else "stopped"
        if bot and not self.traps.shows_stopped:
            word = "running" if bot.phase == "running" and recently else "stopped"
        if bot and bot.archiving:
            word = "stopping"
        return {
            "status": word,
            "performance": {key: dict(value) for key, value in report.items()},
            "error_logs": list(bot.errors) if bot else [],
            "general_logs": list(bot.general) if bot else [],
            "recently_active": recently,
        }

    def all(self) -> dict[str, Any]:
        """`GET /bot-orchestration/status`: one that is being archived is left out."""
        listed = {n: s for n, s in self.listed().items() if not (n in self.known and self.known[n].archiving)}
        return {name: self.status(name) | {"source": source} for name, source in listed.items()}

    # What the server does with them.

    def _command(self, name: str, command: str) -> None:
        """Publish; which the server hears itself, and takes for a sign of life (trap 5)."""
        self.commands.append((name, command))
        if self.traps.phantoms:
            if name in self.known:
                self.known[name].heard = self.now()
            else:
                self.ghosts[name] = self.now()

    def start(self, name: str) -> dict[str, Any]:
        """`start-bot`: success is that it was published."""
        if not self.broker_up:
            return {"success": False}
        if name not in self.listed():
            return {"success": False, "message": f"Bot {name} not found"}
        self._command(name, "start")
        bot = self.known.get(name)
        if bot and not self.traps.start_does_nothing and bot.phase == "stopped":
            bot.phase = "running"
            bot.report = {key: _performance() for key in bot.controllers or {"pmm_1": {}}}
            self.moved(name)
        return {"success": True}

    def stop(self, name: str) -> dict[str, Any]:
        """`stop-bot`: the report is forgotten at once, whatever the bot does."""
        if not self.broker_up:
            return {"success": False}
        if name not in self.listed():
            return {"success": False, "message": f"Bot {name} not found"}
        self._command(name, "stop")
        bot = self.known.get(name)
        if bot:
            bot.report = {}
            if bot.phase == "running" and not self.habits.disobeys:
                bot.phase = "stopped"
                self.say(name, "stop command initiated.")
                self.moved(name)
        for run in self.runs:
            if run["bot_name"] == name and run["run_status"] == "CREATED":
                run.update(run_status="STOPPED", stopped_at=_iso(self.now()), final_status="{}")
        return {"success": True}

    def history(self, name: str) -> dict[str, Any]:
        """`history`: the bot's own answer, or a timeout."""
        if name not in self.listed():
            return {"success": False, "message": f"Bot {name} not found"}
        bot = self.known.get(name)
        if not self.broker_up or bot is None or not bot.talks or self.habits.history_silent:
            return {"success": False, "message": f"No response from {name} within 30.0 seconds", "timeout": True}
        header = {"reply_to": "", "timestamp": int(self.now() * 1000), "agent": "commlib"}
        return {
            "success": True,
            "data": {"header": header, "data": {"status": 200, "msg": "", "trades": list(bot.trades)}},
        }

    def archive(self, name: str) -> dict[str, Any]:
        """`stop-and-archive-bot`: says at once that it began; the container is gone some time later, see `archived`."""
        if name not in self.listed():
            active = list(self.listed())
            words = f"Bot '{name}' not found in active bots. Active bots: {active}. Cannot perform graceful shutdown."
            return {"status": "error", "message": words, "details": {"input_name": name, "active_bots": active}}
        self._command(name, "stop")
        if name in self.known:
            self.known[name].archiving = True
        words = f"Stop and archive process started for bot {name}"
        return {"status": "success", "message": words, "details": {"input_name": name, "container_name": name}}

    def archived(self, name: str) -> None:
        """The end of `archive`."""
        self.known.pop(name, None)
        for run in self.runs:
            if run["bot_name"] == name:
                run.update(deployment_status="ARCHIVED", run_status="STOPPED")

    def deploy(
        self, body: dict[str, Any], kind: str, controllers: dict[str, dict[str, Any]], config: str, profiles: set[str]
    ) -> dict[str, Any]:
        """Both deploys: the folder first, then Docker."""
        asked = body["instance_name"]
        if not SAFE.fullmatch(asked):
            raise CrashError("instance_name must be letters, digits, _ and -", 422)
        name = f"{asked}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(self.now()))}"
        if name in self.folders:
            raise RefusalError(500, f"[Errno 17] File exists: 'bots/instances/{name}'")
        self.folders.append(name)
        if body["credentials_profile"] not in profiles:
            raise CrashError(f"[Errno 2] No such file or directory: 'bots/credentials/{body['credentials_profile']}'")
        if self.habits.deploy_refused:
            return {"success": False, "message": self.habits.deploy_refused}
        bot = Bot(name, body["credentials_profile"], controllers, "starting", self.now())
        # Without a configuration that is there, under its whole name, nothing starts in the container.
        bot.sound = bool(controllers or config)
        bot.report = {key: _performance() for key in controllers}
        self.known[name] = bot
        self.runs.append(self._run(bot, body, kind, config))
        self.moved(name)
        return {"success": True, "message": f"Instance {name} created successfully.", "unique_instance_name": name}

    def _run(self, bot: Bot, body: dict[str, Any], kind: str, config: str) -> dict[str, Any]:
        return {
            "id": len(self.runs) + 1,
            "bot_name": bot.name,
            "instance_name": bot.name,
            "deployed_at": _iso(self.now()),
            "stopped_at": None,
            "strategy_type": kind,
            "strategy_name": "v2_with_controllers" if kind == "controller" else body.get("script") or "",
            "config_name": config,
            "account_name": bot.account,
            "image_version": body.get("image") or "hummingbot/hummingbot:latest",
            "deployment_status": "DEPLOYED",
            "run_status": "CREATED",
            "deployment_config": json.dumps(body),
            "final_status": None,
            "error_message": None,
        }

    def trade(self, name: str, trade_id: str, side: str, price: str, amount: str, pair: str = "BTC-USDT") -> None:
        """A fill in a bot's own history."""
        base, _, quote = pair.partition("-")
        self.known[name].trades.append(
            {
                "market": "hyperliquid_perpetual",
                "trade_id": trade_id,
                "price": price,
                "quantity": amount,
                "symbol": pair,
                "trade_timestamp": int(self.now() * 1000),
                "trade_type": side,
                "base_asset": base,
                "quote_asset": quote,
                "raw_json": {"trade_fee": {"percent": "0.0002", "flat_fees": []}},
            }
        )


def _performance() -> dict[str, Any]:
    return {
        "status": "running",
        "performance": {
            "realized_pnl_quote": 1.25,
            "unrealized_pnl_quote": -0.5,
            "unrealized_pnl_pct": -0.05,
            "realized_pnl_pct": 0.125,
            "global_pnl_quote": 0.75,
            "global_pnl_pct": 0.075,
            "volume_traded": 1000.5,
            "positions_summary": [],
            "close_type_counts": {"CloseType.TAKE_PROFIT": 2},
        },
        "custom_info": {},
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()
