"""What the fills know beside their own wire: facts of the journal, the registry of bots, and the bots' histories."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from daemon.clock import Clock
from daemon.events import EventType
from daemon.journal import Journal
from daemon.sources.hummingbot import FACT, OLDEST_S, About, Around, History, Known, Missed

if TYPE_CHECKING:
    from handlers.hummingbot.client import HummingbotApi

_DAY_S = 86_400.0
_BOT = "bot:"
"""What leads the registry's facts: a bot with its `instance`, its `past` ones, `account` and `strategy`."""
_ORDER = "order:id:"
"""What leads the fact of an order: when, a mark, the event's type and its trade, with blanks between."""


def around(journal: Journal, clock: Clock) -> Around:
    """The fills' surroundings in a daemon; `heard` is for others to set."""
    return Around(
        recorded=lambda event_id: journal.find(event_id) is not None,
        recall=journal.fact,
        remember=journal.put_fact,
        known=partial(_known, journal, clock),
        about=partial(_about, journal),
        order=partial(_order, journal),
    )


def history_of(api: "HummingbotApi", clock: Clock) -> History:
    """A bot's own history, through the Hummingbot API."""
    # Whoever calls this has them loaded.
    from handlers.hummingbot.answers import Ok  # noqa: PLC0415
    from handlers.hummingbot.requests import HistoryQuery  # noqa: PLC0415

    async def ask(instance: str, since: float) -> Sequence[Missed] | None:
        days = int(max(0.0, clock.now() - since) // _DAY_S) + 1 if since else 0
        found = await api.history(instance, HistoryQuery(days=days))
        if not isinstance(found, Ok):
            return None
        return [
            Missed(row.trade_id, row.symbol, row.trade_type == "BUY", row.price, row.quantity, row.trade_timestamp)
            for row in found.value
            if row.trade_timestamp is not None and row.trade_type in ("BUY", "SELL")
        ]

    return ask


def _bots(journal: Journal) -> Iterator[dict[str, Any]]:
    for written in journal.facts(_BOT).values():
        try:
            found = json.loads(written)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def _about(journal: Journal, instance: str) -> About | None:
    for bot in _bots(journal):
        past = bot.get("past")
        if instance in (bot.get("instance"), *(past if isinstance(past, list) else ())):
            return About(*(str(bot.get(name) or "") for name in About._fields))
    return None


def _order(journal: Journal, order_id: str) -> Known | None:
    """What an order that was sent from here is for."""
    _, _, purpose = (journal.fact(_ORDER + order_id) or "").partition(" ")
    _, _, purpose = purpose.partition(" ")
    kind, _, trade = purpose.partition(" ")
    return Known(EventType(kind), trade) if kind in set(EventType) else None


def _known(journal: Journal, clock: Clock) -> Sequence[str]:
    """The registry's bots, and those that were heard lately; what was remembered of older ones is forgotten."""
    names = [str(bot["instance"]) for bot in _bots(journal) if bot.get("instance")]
    for instance, written in journal.facts(FACT).items():
        try:
            until = float(json.loads(written)["until"])
        except (ValueError, KeyError, TypeError):
            until = 0.0
        if until > clock.now() - OLDEST_S or instance in names:
            names.append(instance)
        else:
            journal.put_fact(f"{FACT}{instance}", None)
    return list(dict.fromkeys(names))
