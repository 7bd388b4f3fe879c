"""From what Hummingbot shows of a bot to how it is. Pure: no wire, no clock.

The word `stopped` proves nothing: a healthy bot without controllers shows it, and so does every bot that was told to
stop. What counts is a container, a message within 30 s (`recently_active`, or a heartbeat of the bot's own), and
whether its controllers report, which they do about once a second.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from handlers.hummingbot.models import BotStatus
from handlers.hummingbot.registry import Bot, BotState, instance_of

HEARTBEAT_S = 30.0
"""How long a bot's own heartbeat counts; it beats every 10 s."""
LINES = 20
"""How many of a bot's last log lines are kept."""
_CONTAINER = "mqtt"  # a source that is no container; an older server does not say


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, in seconds.

    `alive_s` from a deploy to the first sign of life, `stop_s` from a stop to silence, `archive_s` for a container to
    go, `quiet_s` how long controllers must have reported nothing to count as stopped, `lost_s` the same for one that
    should run, `appear_s` from a deploy's answer until its container is listed; `look_s` between two looks.
    """

    alive_s: float = 60.0
    stop_s: float = 45.0
    archive_s: float = 60.0
    quiet_s: float = 5.0
    lost_s: float = 20.0
    appear_s: float = 10.0
    look_s: float = 1.0


class Stranger(NamedTuple):
    """A name at Hummingbot that is none of ours: orphan or phantom."""

    name: str
    state: BotState
    reason: str


def container(row: BotStatus | None) -> bool:
    """Whether there is a container behind it."""
    return row is not None and row.source != _CONTAINER


def reports(row: BotStatus | None) -> bool:
    """Whether its controllers report."""
    return row is not None and bool(row.performance)


def alive(row: BotStatus | None, beat: float | None, now: float) -> bool:
    """Whether it was heard lately; `beat` is when its own heartbeat came last."""
    return (row is not None and row.recently_active is True) or (beat is not None and now - beat < HEARTBEAT_S)


def find(bot: Bot, rows: Mapping[str, BotStatus], taken: Iterable[str] = ()) -> str:
    """The instance of a deploy whose answer nobody read: the latest container with its name that is not known."""
    others = {*bot.past, *taken}
    found = [name for name, row in rows.items() if instance_of(name) == bot.id and container(row)]
    return max((name for name in found if name not in others), default="")


def judge(
    bot: Bot, row: BotStatus | None, beat: float | None, quiet_s: float, now: float, patience: Patience
) -> tuple[BotState, str]:
    """State and reason. `row` is what Hummingbot lists under its instance, `quiet_s` for how long it has been heard
    without a report of its controllers, in seconds.
    """
    if not bot.instance:
        return _undeployed(bot, now, patience)
    if not container(row):
        return _gone(bot, now, patience)
    assert row is not None  # noqa: S101  # a container is a row
    if not alive(row, beat, now):
        return _unheard(bot, now, patience)
    if bot.strategy == "custom":  # a script reports nothing, so being heard is all there is to see
        if not bot.wanted:
            return BotState.RUNNING, "told to stop, and still heard; a script does not say whether it stopped"
        return BotState.RUNNING, ""
    if reports(row):
        return BotState.RUNNING, "" if bot.wanted else "told to stop, and its controllers report still"
    return _without_report(bot, quiet_s, patience)


def _unheard(bot: Bot, now: float, patience: Patience) -> tuple[BotState, str]:
    if bot.state is BotState.DEPLOYING and now - bot.deployed < patience.alive_s:
        return BotState.DEPLOYING, "its container is there, nothing heard yet"
    if bot.state is BotState.STOPPED and not bot.wanted:
        return BotState.STOPPED, "stopped; its container is there and silent"
    return BotState.SILENT, "its container is there and nothing was heard for 30 s; it may trade on"


def _without_report(bot: Bot, quiet_s: float, patience: Patience) -> tuple[BotState, str]:
    if not bot.wanted:
        if quiet_s >= patience.quiet_s or bot.state is BotState.STOPPED:
            return BotState.STOPPED, "stopped; its container is there, its controllers report nothing"
        return BotState.RUNNING, "told to stop; its controllers may still report"
    if bot.state in (BotState.RUNNING, BotState.DEPLOYING) and quiet_s < patience.lost_s:
        return bot.state, bot.reason
    return BotState.FAILED, "it is heard, but its controllers report nothing: stopped by somebody else, or broken"


def _undeployed(bot: Bot, now: float, patience: Patience) -> tuple[BotState, str]:
    if not bot.wanted:
        if bot.state in (BotState.STOPPED, BotState.FAILED):
            return bot.state, bot.reason
        return BotState.STOPPED, "stopped; it has no container"
    if bot.state is BotState.DEPLOYING or bot.state is BotState.UNKNOWN:
        if now - bot.deployed < patience.alive_s:
            return BotState.DEPLOYING, "no container yet"
        return BotState.FAILED, "its deploy was begun, and no container of it appeared"
    return BotState.FAILED, bot.reason or "no container of it is there"


def _gone(bot: Bot, now: float, patience: Patience) -> tuple[BotState, str]:
    if not bot.wanted:
        return BotState.STOPPED, "stopped; its container is gone"
    if not bot.listed and now - bot.deployed < patience.appear_s:
        return BotState.DEPLOYING, "deployed; its container is not listed yet"
    if bot.state is BotState.DEPLOYING:
        return BotState.FAILED, "its container ended before anything was heard"
    return BotState.FAILED, "its container is gone, and nobody here stopped it"


def strangers(bots: Iterable[Bot], rows: Mapping[str, BotStatus]) -> list[Stranger]:
    """What is listed there and is none of ours."""
    ours: dict[str, Bot] = {}
    for bot in bots:
        ours |= dict.fromkeys(bot.past, bot)
    current = {bot.instance for bot in bots if bot.instance}
    coming = {bot.id for bot in bots if bot.wanted and not bot.instance}
    found = []
    for name, row in rows.items():
        if name in current:
            continue
        if not container(row):
            if name not in ours:
                found.append(Stranger(name, BotState.PHANTOM, "heard over MQTT, and there is no such container"))
        elif name in ours:  # a stopped one stays until it is archived
            if reports(row) and alive(row, None, 0.0):
                words = f"an earlier instance of {ours[name].id}, and it reports still"
                found.append(Stranger(name, BotState.ORPHAN, words))
        elif instance_of(name) not in coming:
            found.append(Stranger(name, BotState.ORPHAN, "a container that runs there and is not known here"))
    return found
