"""Hummingbot's fills as trade events: what a bot's bridge publishes, and what its history tells of later; each once."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from daemon.events import EventType
from daemon.redaction import redact
from daemon.sources.hummingbot_messages import ID_LIMIT, PAIR, PLAIN, Fill, fill_of, shown

FACT = "fills:"
"""What leads the fact that is kept of a bot."""
MARGIN_S = 120.0
"""How far history is looked at before the last fill that is known, in seconds: two clocks are never the same."""
OLDEST_S = 7 * 86_400.0
"""Fills that are older than this, in seconds, are no news: the journal may have forgotten them."""
_KEPT = 256
_PARTS = 1024  # eight fills a second, as far back as history is looked at
_PAIRS = 64
_DUST = Decimal("0.01")
_OFFERED = 4096
_MARK = "hb:"


class Known(NamedTuple):
    """An order of our own plans: which event its fill is, and of which trade."""

    type: EventType
    trade: str = ""


class About(NamedTuple):
    """What the registry knows of a bot."""

    account: str = ""
    strategy: str = ""


class Missed(NamedTuple):
    """A fill as a bot's history tells it; `id` is the exchange's, `at` in seconds since the epoch."""

    id: str
    pair: str
    buy: bool
    price: Decimal | None
    amount: Decimal | None
    at: float


History = Callable[[str, float], Awaitable[Sequence[Missed] | None]]
"""A bot's own history since a moment, 0 for all of it; None when it did not answer."""


@dataclass
class Around:
    """What the fills need of the rest of the house.

    `recorded` says whether an event is in the journal, `recall` and `remember` keep facts, `known` names bots that were
    heard or deployed before, `about` is the registry; these raise JournalError. `order` knows our orders, `heard` is
    told of each sign of life: the bot, and `hb` or what it says of itself (`online`, `offline`).
    """

    recorded: Callable[[str], bool]
    recall: Callable[[str], str | None]
    remember: Callable[[str, str | None], None]
    known: Callable[[], Sequence[str]] = lambda: ()
    about: Callable[[str], About | None] = lambda _: None
    order: Callable[[str], Known | None] = lambda _: None
    heard: Callable[[str, str], None] = lambda *_: None


class Event(NamedTuple):
    """What goes to intake."""

    id: str
    raw: bytes


@dataclass
class _Held:
    """A position that one bot has: the trade that opened it, what is left, and all that was opened."""

    trade: str
    amount: Decimal
    opened: Decimal


@dataclass
class _Bot:
    """What is remembered of a bot. `until` is when everything before was known, in seconds since the epoch."""

    until: float
    held: dict[str, dict[str, _Held]] = field(default_factory=dict)
    orders: dict[str, None] = field(default_factory=dict)
    """Orders whose first fill has been told."""
    parts: dict[str, None] = field(default_factory=dict)
    """Fills that were no event, because their order had been told; the short form of their ids."""
    whole: bool = False
    """Nothing was missed up to now."""

    def written(self) -> str:
        """For the journal."""
        held = {
            pair: {side: [each.trade, str(each.amount), str(each.opened)] for side, each in sides.items()}
            for pair, sides in self.held.items()
        }
        rest = {"orders": list(self.orders), "parts": list(self.parts)}
        return json.dumps({"until": round(self.until, 3), "held": held} | rest, separators=(",", ":"))


class Fills:
    """From fills to events: each once, over reconnections and restarts. Loop's thread only; may raise JournalError."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._bots: dict[str, _Bot] = {}
        self._offered: dict[str, None] = {}

    def bot(self, instance: str, now: float) -> _Bot:
        """What is remembered of a bot; of one that was never heard of, that nothing before this is news. One that we
        deployed ourselves is told of from its first fill on.
        """
        bot = self._bots.get(instance)
        if bot is None:
            written = self._around.recall(_fact(instance))
            fresh = _Bot(0.0 if self._around.about(instance) else now)
            bot = self._bots[instance] = _read(written) if written else fresh
            if not written:
                self._around.remember(_fact(instance), bot.written())
        return bot

    def away(self) -> None:
        """The connection is gone: from now on fills may be missed."""
        for bot in self._bots.values():
            bot.whole = False

    def lacks(self, instance: str, now: float) -> bool:
        """Whether history is still to be asked for."""
        return not self.bot(instance, now).whole

    def since(self, instance: str, now: float) -> float:
        """From when on history is looked at, in seconds since the epoch; 0 for all of it."""
        until = self.bot(instance, now).until
        return max(until - MARGIN_S, now - OLDEST_S) if until else 0.0

    def take(self, instance: str, raw: bytes, now: float) -> Event | None:
        """The event that a message makes, if any. Raises Malformed."""
        fill = fill_of(raw, now)
        return self._event(instance, fill, now) if fill is not None else None

    def catch_up(self, instance: str, rows: Sequence[Missed], now: float) -> tuple[list[Event], int]:
        """The events that a bot's history adds, and how many of its rows have no id to know them by."""
        bot = self.bot(instance, now)
        since = max(self.since(instance, now), now - OLDEST_S)
        found, nameless = [], 0
        for row in sorted(rows, key=lambda row: row.at):
            if row.at < since or row.amount is None or not row.amount > 0:
                continue
            if not PLAIN.fullmatch(row.id) or not PAIR.fullmatch(row.pair):
                nameless += 1
                continue
            at = min(row.at, now)
            more = {"exchange_trade_id": row.id, "from": "history"}
            fill = Fill(row.id, "", row.pair.upper(), row.buy, row.price, row.amount, at, "", more)
            event = self._event(instance, fill, now)
            bot.until = max(bot.until, at)
            if event is not None:
                found.append(event)
        bot.whole = True
        self._around.remember(_fact(instance), bot.written())
        return found, nameless

    def _event(self, instance: str, fill: Fill, now: float) -> Event | None:
        bot, about = self.bot(instance, now), self._around.about(instance)
        event_id = event_id_of(instance, fill.mark)
        if _short(event_id) in bot.parts or event_id in self._offered or self._around.recorded(event_id):
            if fill.order and fill.position == "OPEN":  # its history told first, which does not know orders
                _keep(bot.orders, fill.order)
            return None
        known = self._around.order(fill.order) if fill.order else None
        if known is not None:  # what it was made for says more than its fill: on spot a fill says nothing, or OPEN
            fill = fill._replace(position="OPEN" if known.type is EventType.ENTRY else "CLOSE")
        kind, side, trade = _placed(bot, fill, event_id, known.trade if known is not None else "")
        told = fill.order in bot.orders
        if known is not None:
            kind, trade = known.type, known.trade or trade
        if kind is EventType.ENTRY and fill.order:
            _keep(bot.orders, fill.order)
        if bot.whole:
            bot.until = max(bot.until, fill.at)
        if kind is EventType.ENTRY and told:
            _keep(bot.parts, _short(event_id), _PARTS)
        self._around.remember(_fact(instance), bot.written())
        if kind is EventType.ENTRY and told:
            return None
        _keep(self._offered, event_id, _OFFERED)
        return Event(event_id, _raw(event_id, fill, kind, side, trade, instance, about))


def _short(event_id: str) -> str:
    return hashlib.blake2b(event_id.encode(), digest_size=6).hexdigest()


def _fact(instance: str) -> str:
    return FACT + instance


def event_id_of(instance: str, mark: str) -> str:
    """The id under which the journal knows a fill; a mark that is long or looks like a key, by its digest."""
    name = f"{_MARK}{instance}:{mark}"
    if len(name) <= ID_LIMIT and redact.sure(name) == name:
        return name
    digest = hashlib.blake2b(mark.encode(), digest_size=12).hexdigest()
    return f"{_MARK}{instance[:90]}:~{digest}"


def _placed(bot: _Bot, fill: Fill, event_id: str, known: str) -> tuple[EventType, str, str]:
    """What a fill does to what its bot holds: event type, side and trade, `known` if that is one of ours. Without a
    word about the position (on spot, in a history) the first side opens and the other one closes.

    A history knows no orders: what it adds to a position, and what is added to one that it opened, may be of the same
    order, so it is of the same trade, of which the guard lets no second entry through.
    """
    sides = bot.held.setdefault(fill.pair, {})
    toward, against = ("long", "short") if fill.buy else ("short", "long")
    closes = fill.position == "CLOSE" or (not fill.position and against in sides)
    name = known or fill.order or event_id
    if closes:
        held = sides.get(against)
        rest = (held.amount if held else Decimal(0)) - fill.amount
        if held is not None:
            held.amount = rest
            if rest <= held.opened * _DUST:  # fees leave crumbs
                del sides[against]
        if rest < 0 and held is not None and not fill.position:
            sides[toward] = _Held(name, -rest, -rest)
        kind, side, trade = EventType.CLOSE, against, held.trade if held is not None else name
    else:
        held = sides.setdefault(toward, _Held(name, Decimal(0), Decimal(0)))
        held.amount += fill.amount
        held.opened += fill.amount
        blind = not fill.order or held.trade.startswith(_MARK)
        kind, side, trade = EventType.ENTRY, toward, held.trade if blind else name
    if not sides:
        del bot.held[fill.pair]
    while len(bot.held) > _PAIRS:
        del bot.held[next(iter(bot.held))]
    return kind, side, trade


def _keep(names: dict[str, None], name: str, most: int = _KEPT) -> None:
    names[name] = None
    while len(names) > most:
        del names[next(iter(names))]


def _raw(
    event_id: str, fill: Fill, kind: EventType, side: str, trade: str, instance: str, about: About | None
) -> bytes:
    fields: dict[str, Any] = {
        "type": kind.value,
        "symbol": fill.pair,
        "id": event_id,
        "ts": round(fill.at, 3),
        "side": side,
        "quantity": shown(fill.amount),
        "trade_id": trade[:ID_LIMIT],
        "source": "hummingbot",
        "meta": {"instance": instance} | fill.more,
    }
    if shown(fill.price):
        fields["price"] = shown(fill.price)
    if about is not None:
        fields |= {name: value[:64] for name, value in about._asdict().items() if value}
    return json.dumps(fields).encode()


def _read(written: str) -> _Bot:
    """Back from the journal; what cannot be read is as nothing."""
    try:
        found = json.loads(written)
        held = {
            str(pair): {str(side): _Held(str(t), Decimal(a), Decimal(o)) for side, (t, a, o) in sides.items()}
            for pair, sides in found["held"].items()
        }
        orders, parts = (dict.fromkeys(map(str, found[name])) for name in ("orders", "parts"))
        parts = {name if len(name) == 12 else _short(name): None for name in parts}
        return _Bot(float(found["until"]), held, orders, parts)
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation):
        return _Bot(0.0)
