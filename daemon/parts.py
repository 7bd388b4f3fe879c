"""What a change of configuration swaps: router, lane rules, hotkey targets, the MQTT source, the Command Center. Made
from settings alone, beside those in use; what stays the same is taken over from them.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from loguru import logger

from daemon.clock import Clock
from daemon.dispatch import LaneRules, Router
from daemon.dispatch.outbox import Outbox
from daemon.egress import Guard
from daemon.errors import ConfigError
from daemon.intake import Intake
from daemon.journal.facts import Facts
from daemon.lifecycle import Stops, until
from daemon.metrics import Metrics
from daemon.settings import Settings
from daemon.sources.hummingbot import Around
from daemon.sources.hummingbot_memory import history_of
from daemon.sources.mqtt import MqttSource
from handlers.hotkeys import presets
from handlers.hotkeys.client import HotkeyTarget
from handlers.hotkeys.practice import PracticeServer

if TYPE_CHECKING:
    from daemon.sources.mqtt_hummingbot import HummingbotSource
    from handlers.hummingbot.bots import Bots
    from handlers.hummingbot.client import HummingbotApi
    from handlers.hummingbot.handler import Hummingbot
    from handlers.hummingbot.listening import Listener
    from handlers.polymaker.handler import Polymaker

EARS = ("hummingbot-mqtt", "hummingbot-bots")
"""The tasks that listen to the bots: to their own voices, and to what Hummingbot pushes of them."""
_WIRE = ("frame", "connect", "step_timeout_s")  # what a target is made of, beside its address
_WARM_S = 1.0
_STOP_S, _DROP_S = 3.0, 6.0  # of one part, and of all of them


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


def default_target(settings: Settings) -> str:
    """The target of events without a route."""
    targets = settings.hotkeys.targets
    return "main" if "main" in targets else next(iter(targets))


def router(settings: Settings) -> Router:
    """From an event to its keys."""
    return Router(settings.routes, partial(presets.sequence, settings.hotkeys), default_target(settings))


def unreported(settings: Settings) -> str:
    """Why no Command Center is told anything; empty if one is."""
    center = settings.polymaker
    if not center.enabled:
        return "polymaker.enabled is false"
    missing = [name for name in ("url", "api_key") if getattr(center, name) is None]
    if missing:
        return f"polymaker.{' and polymaker.'.join(missing)} not set"
    practice = settings.mode != "live" and not center.report_practice
    return "practice is not reported (polymaker.report_practice)" if practice else ""


class Fixed(NamedTuple):
    """What outlives a change of configuration and the parts stand on."""

    intake: Intake
    outbox: Outbox
    guard: Guard
    clock: Clock
    metrics: Metrics
    around: Around
    registry: Facts
    sent: Facts


def _center(settings: Settings, fixed: Fixed) -> "Polymaker":
    # Imported for those who have a Center: an HTTP client costs 8 MB.
    from handlers.polymaker.client import CommandCenter  # noqa: PLC0415
    from handlers.polymaker.handler import Polymaker  # noqa: PLC0415

    client = CommandCenter(settings.polymaker, fixed.guard, fixed.clock)
    return Polymaker(settings.polymaker, settings.mode, client, fixed.outbox, fixed.clock)


def _fills(settings: Settings, fixed: Fixed, api: "HummingbotApi | None") -> "HummingbotSource":
    from daemon.sources.mqtt_hummingbot import HummingbotSource  # noqa: PLC0415  # most have no bots

    history = history_of(api, fixed.clock) if api is not None else None
    return HummingbotSource(settings.hummingbot.mqtt, fixed.intake, fixed.around, fixed.clock, fixed.metrics, history)


def _api(settings: Settings, fixed: Fixed) -> "HummingbotApi | None":
    if settings.hummingbot.url is None:
        return None
    from handlers.hummingbot.client import HummingbotApi  # noqa: PLC0415  # an HTTP client costs 8 MB

    return HummingbotApi(settings.hummingbot, fixed.guard)


def _bots(fixed: Fixed, api: "HummingbotApi") -> "Bots":
    from handlers.hummingbot.bots import Bots  # noqa: PLC0415  # as above

    return Bots(api, fixed.registry, fixed.clock, fixed.metrics.bots)


def _listener(api: "HummingbotApi", bots: "Bots") -> "Listener":
    from handlers.hummingbot.listening import Listener  # noqa: PLC0415  # as above

    return Listener(api.stream, bots.observe)


def _caller(fixed: Fixed, api: "HummingbotApi", bots: "Bots") -> "Hummingbot":
    from handlers.hummingbot.handler import Hummingbot  # noqa: PLC0415  # as above

    return Hummingbot(api, fixed.clock, bots, sent=fixed.sent)


class Parts:
    """The parts of one configuration; `make` builds them, `drop` stops those that the other parts do not use."""

    def __init__(self, settings: Settings, practice: PracticeServer | None) -> None:
        self.settings = settings
        self.rules = rules(settings)
        self.router = router(settings)
        self.practice = practice
        self.targets: dict[str, HotkeyTarget] = {}
        self.mqtt: MqttSource | None = None
        self.fills: HummingbotSource | None = None
        self.api: HummingbotApi | None = None
        self.bots: Bots | None = None
        self.listener: Listener | None = None
        self.center: Polymaker | None = None
        self.caller: Hummingbot | None = None

    @classmethod
    async def make(cls, settings: Settings, fixed: Fixed, before: "Parts | None" = None) -> "Parts":
        """Build everything and begin to connect the targets; peers may be down. Raises ConfigError."""
        practice = before.practice if before is not None else None
        if settings.mode == "live":
            practice = None
        elif practice is None:
            practice = PracticeServer()
            try:
                await practice.start()
            except OSError as error:
                raise ConfigError(f"the practice server cannot listen: {error.strerror}") from None
        parts = cls(settings, practice)
        for name, address in settings.hotkeys.targets.items():
            kept = before.targets.get(name) if before is not None and parts._as_before(before, name) else None
            url = practice.url if practice is not None else address
            parts.targets[name] = kept or HotkeyTarget(name, url, settings.hotkeys, fixed.metrics)
            if kept is None:
                await parts.targets[name].start()
        if settings.mqtt.host is not None:
            same = before is not None and before.settings.mqtt == settings.mqtt
            parts.mqtt = before.mqtt if before is not None and same else None
            parts.mqtt = parts.mqtt or MqttSource(settings.mqtt, fixed.intake, fixed.clock, fixed.metrics)
        parts._take_hummingbot(fixed, before)
        silence = unreported(settings)
        if silence and (before is None or before.center is not None):
            logger.info("polymaker: off: {}", silence)
        if not silence:
            same = before is not None and (before.settings.polymaker, before.settings.mode) == (
                settings.polymaker,
                settings.mode,
            )
            parts.center = before.center if before is not None and same else None
            parts.center = parts.center or _center(settings, fixed)
        return parts

    def _take_hummingbot(self, fixed: Fixed, before: "Parts | None") -> None:
        """Its API, fills and bots; in practice mode it has no bots that anybody asks for."""
        settings = self.settings
        heard, live = settings.hummingbot.mqtt.host is not None, settings.mode == "live"
        if before is not None and before.settings.hummingbot == settings.hummingbot:
            self.api, self.fills = before.api, before.fills
            self.bots = before.bots if before.settings.mode == settings.mode else None
        if self.api is None and (heard or live):
            self.api = _api(settings, fixed)
        if self.fills is None and heard:
            self.fills = _fills(settings, fixed, self.api)
        if self.bots is None and self.api is not None and live:
            self.bots = _bots(fixed, self.api)
        if self.bots is not None and self.api is not None:
            same = before is not None and before.bots is self.bots
            self.caller = before.caller if before is not None and same else _caller(fixed, self.api, self.bots)
            if settings.schedules.hummingbot_observe is not None:
                kept = before.listener if before is not None and same else None
                self.listener = kept or _listener(self.api, self.bots)

    @property
    def ears(self) -> "dict[str, HummingbotSource | Listener]":
        """Who listens to the bots, by the name of the task."""
        return {name: ear for name, ear in zip(EARS, (self.fills, self.listener), strict=True) if ear is not None}

    def _as_before(self, before: "Parts", name: str) -> bool:
        old, new = before.settings.hotkeys, self.settings.hotkeys
        return (
            before.practice is self.practice
            and (self.practice is not None or old.targets.get(name) == new.targets[name])
            and all(getattr(old, key) == getattr(new, key) for key in _WIRE)
        )

    async def warm(self, before: "Parts") -> None:
        """Wait a moment until the new targets are connected, so that the swap does not make a key wait for it."""
        fresh = [target for name, target in self.targets.items() if before.targets.get(name) is not target]
        await until(lambda: all(target.up or target.down_s for target in fresh), _WARM_S)

    async def drop(self, other: "Parts | None" = None) -> None:
        """Stop the targets and the practice server, unless `other` uses them too; the MQTT source is its task's.

        Never fails, and takes a few seconds at most: what cannot stop is logged.
        """
        stops = Stops()
        if self.practice is not None and (other is None or other.practice is not self.practice):
            stops.add("practice server", self.practice.stop, _STOP_S)
        if self.center is not None and (other is None or other.center is not self.center):
            stops.add("polymaker", self.center.close)
        if self.api is not None and (other is None or other.api is not self.api):
            stops.add("hummingbot", self.caller.leave if self.caller is not None else self.api.close)
        if self.bots is not None and (other is None or other.bots is not self.bots):
            stops.add("bots", self.bots.close)
        used = set(other.targets.values()) if other is not None else set()
        stops.add("hotkeys", partial(_stop, set(self.targets.values()) - used), _STOP_S)
        await stops.run(_DROP_S)


async def _stop(targets: set[HotkeyTarget]) -> None:
    await asyncio.gather(*(target.stop() for target in targets))
