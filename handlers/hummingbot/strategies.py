"""What a bot's configuration means at Hummingbot: one unit for every spread, leverage always said, doubts refused.

A spread is a fraction of the mid price on each side: 0.001 is 0.1 % below and 0.1 % above. Field names are those of the
controllers' own templates (engine 20260922), where leverage would be 20 if nobody said otherwise.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, create_model

from daemon.egress import Body, TextDecimal
from daemon.errors import EventError
from handlers.hummingbot.registry import Bot, bot_id
from handlers.hummingbot.requests import IMAGE, Connector, Name, Pair, pair
from handlers.hummingbot.wire import NAME

STRATEGIES = ("spread", "grid", "custom")
"""What can be asked for."""
SUNSET = {"bitmart": "BitMart ended all trading on 2026-08-26", "bitmex": "BitMEX closed on 2026-09-23"}
"""Venues whose connectors are still there, and which are not."""
ACCOUNT = "master_account"
"""The account at Hummingbot unless `config.account` names another."""
SCRIPT_LIMIT = 65536
"""Longest script, in characters."""
_SPREADS = (
    "a spread here is `spread`: a fraction of the price on each side, 0.001 is 0.1 % below and 0.1 % above"
    " (a total width of 0.2 %, or 20 bps)"
)
_OTHER_UNITS = ("spread_percent", "spread_bps", "spread_pct", "bid_spread", "ask_spread", "bidSpread", "askSpread")
_COMMON = frozenset({"account", "image"})


class Plan(NamedTuple):
    """What to upload and deploy: a controller's configuration, or a script with its source and configuration."""

    config: Body
    image: str
    source: str = ""


class _Controller(Body):
    id: Name
    controller_name: str
    controller_type: str
    connector_name: Connector
    trading_pair: Pair
    manual_kill_switch: bool = False


class PmmSimple(_Controller):
    """`market_making/pmm_simple`: orders on both sides, renewed at intervals, each a position with its own ends."""

    controller_name: Literal["pmm_simple"] = "pmm_simple"
    controller_type: Literal["market_making"] = "market_making"
    total_amount_quote: TextDecimal
    buy_spreads: tuple[TextDecimal, ...]
    sell_spreads: tuple[TextDecimal, ...]
    executor_refresh_time: int
    cooldown_time: int | None = None
    leverage: int
    position_mode: Literal["HEDGE", "ONEWAY"]
    stop_loss: TextDecimal | None = None
    take_profit: TextDecimal | None = None
    time_limit: int | None = None


class PmmV1(_Controller):
    """`generic/pmm_v1`: the classic bid and ask around the price. It knows no leverage."""

    controller_name: Literal["pmm_v1"] = "pmm_v1"
    controller_type: Literal["generic"] = "generic"
    order_amount: TextDecimal
    buy_spreads: tuple[TextDecimal, ...]
    sell_spreads: tuple[TextDecimal, ...]
    order_refresh_time: int


class GridStrike(_Controller):
    """`generic/grid_strike`: a grid of orders between two prices, ended at a third. `side` 1 buys, 2 sells."""

    controller_name: Literal["grid_strike"] = "grid_strike"
    controller_type: Literal["generic"] = "generic"
    side: Literal[1, 2]
    start_price: TextDecimal
    end_price: TextDecimal
    limit_price: TextDecimal
    total_amount_quote: TextDecimal
    min_spread_between_orders: TextDecimal | None = None
    min_order_amount_quote: TextDecimal | None = None
    max_open_orders: int | None = None
    leverage: int
    position_mode: Literal["HEDGE", "ONEWAY"]
    keep_position: bool


class _Given:
    """A configuration being read: each value is taken once, and what is left over at the end is refused."""

    def __init__(self, config: Mapping[str, Any], known: frozenset[str]) -> None:
        self._config = {name: value for name, value in config.items() if value is not None}
        for name in self._config:
            if name not in known | _COMMON:
                odd = name.isidentifier() and len(name) <= 64
                raise EventError(f"config.{name}" if odd else "config", f"is not known; there is {_words(known)}")

    def has(self, name: str) -> bool:
        """Whether it is given."""
        return name in self._config

    def number(self, name: str, above: str = "0", below: str | None = None) -> Decimal | None:
        """A number between these, neither included; None if it is not given."""
        return _number(f"config.{name}", self._config[name], above, below) if name in self._config else None

    def numbers(self, name: str, below: str) -> tuple[Decimal, ...]:
        """One number or a list of them."""
        value = self._config.get(name, ())
        many = value if isinstance(value, (list, tuple)) else (value,)
        return tuple(_number(f"config.{name}", each, "0", below) for each in many[:20])

    def needed(self, name: str, why: str) -> Decimal:
        """A number that has to be there."""
        found = self.number(name)
        if found is None:
            raise EventError(f"config.{name}", f"is required: {why}")
        return found

    def whole(self, name: str, default: int | None, most: int) -> int | None:
        """A whole number from 1 to `most`."""
        found = self.number(name)
        if found is None:
            return default
        if found != int(found) or found > most:
            raise EventError(f"config.{name}", f"must be a whole number from 1 to {most}")
        return int(found)

    def word(self, name: str, default: str, *allowed: str) -> str:
        """One of a few words, in any case."""
        found = str(self._config.get(name, default))
        match = next((each for each in allowed if each.upper() == found.upper()), None)
        if match is None:
            raise EventError(f"config.{name}", f"must be one of {', '.join(allowed)}")
        return match

    def flag(self, name: str) -> bool:
        """Yes or no; no unless it is given."""
        found = self._config.get(name, False)
        if not isinstance(found, bool):
            raise EventError(f"config.{name}", "must be true or false")
        return found


def _words(names: frozenset[str]) -> str:
    return ", ".join(sorted(names | _COMMON))


def _number(name: str, value: Any, above: str, below: str | None) -> Decimal:
    try:
        if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)) or len(str(value)) > 40:
            raise InvalidOperation
        found = Decimal(str(value))
        if not found.is_finite() or found <= Decimal(above) or (below is not None and found >= Decimal(below)):
            raise InvalidOperation
    except InvalidOperation:
        bounds = f"above {above}" + (f" and below {below}" if below is not None else "")
        raise EventError(name, f"must be a number {bounds}") from None
    return found


def new_bot(name: str, strategy: str, connector: str, pair_: str, config: Mapping[str, Any], now: float) -> Bot:
    """A bot of ours, checked in everything that needs no Hummingbot. Raises EventError with the field at fault."""
    try:
        id = bot_id(name)
    except ValueError as error:
        raise EventError("name", str(error)) from None
    if strategy not in STRATEGIES:
        raise EventError("strategy", f"must be one of {', '.join(STRATEGIES)}")
    venue = next((words for venue, words in SUNSET.items() if connector.lower().startswith(venue)), None)
    if venue is not None:
        raise EventError("connector", f"{venue}; choose another venue")
    try:
        found = pair(pair_)
    except ValueError as error:
        raise EventError("pair", str(error)) from None
    account = config.get("account", ACCOUNT)
    if not isinstance(account, str) or not NAME.fullmatch(account):
        raise EventError("config.account", "must be letters, digits, _ and -")
    bot = Bot(id, name, strategy, connector, found, account, dict(config), made=now, since=now)
    plan(bot)
    return bot


def plan(bot: Bot) -> Plan:
    """What to send for this bot. Raises EventError with the field at fault."""
    image = bot.config.get("image", IMAGE)
    if not isinstance(image, str):
        raise EventError("config.image", "must be the name of a Docker image")
    makers = {"spread": _spread, "grid": _grid}
    try:
        if bot.strategy == "custom":
            return _custom(bot, image)
        return Plan(makers[bot.strategy](bot), image)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = {"connector_name": "connector", "trading_pair": "pair"}.get(str(first["loc"][0]), str(first["loc"][0]))
        raise EventError(where, "is not what Hummingbot takes") from None


def _spread(bot: Bot) -> Body:
    for name in _OTHER_UNITS:
        if name in bot.config:
            raise EventError(f"config.{name}", f"has meant three things in three programs; {_SPREADS}")
    simple = frozenset(
        {"amount_quote", "leverage", "position_mode", "stop_loss", "take_profit", "time_limit_s", "cooldown_s"}
    )
    given = _Given(bot.config, simple | {"spread", "buy_spread", "sell_spread", "amount", "controller", "refresh_s"})
    kind = given.word("controller", "pmm_v1" if given.has("amount") else "pmm_simple", "pmm_simple", "pmm_v1")
    both = given.numbers("spread", "0.5")
    buys, sells = given.numbers("buy_spread", "0.5") or both, given.numbers("sell_spread", "0.5") or both
    if not buys or not sells:
        raise EventError("config.spread", f"is required: {_SPREADS}")
    if kind == "pmm_v1":
        beside = [name for name in sorted(simple) if given.has(name)]
        if beside:
            raise EventError(f"config.{beside[0]}", "is not for pmm_v1; it takes amount, in the base currency")
        amount = given.needed("amount", "how much each order is, in the base currency")
        refresh_s = given.whole("refresh_s", 30, 86400) or 30
        return PmmV1(
            id=bot.id, connector_name=bot.connector, trading_pair=bot.pair, order_amount=amount,
            buy_spreads=buys, sell_spreads=sells, order_refresh_time=refresh_s,
        )  # fmt: skip
    if given.has("amount"):
        raise EventError("config.amount", "is not for pmm_simple; it takes amount_quote, in the quote currency")
    optional: dict[str, Any] = {
        "cooldown_time": given.whole("cooldown_s", None, 86400),
        "stop_loss": given.number("stop_loss", below="1"),
        "take_profit": given.number("take_profit", below="1"),
        "time_limit": given.whole("time_limit_s", None, 31_536_000),
    }
    return PmmSimple(
        id=bot.id, connector_name=bot.connector, trading_pair=bot.pair,
        total_amount_quote=given.needed("amount_quote", "how much is used in all, in the quote currency"),
        buy_spreads=buys, sell_spreads=sells, executor_refresh_time=given.whole("refresh_s", 300, 86400) or 300,
        leverage=given.whole("leverage", 1, 125) or 1, position_mode=_mode(given),
        **{name: value for name, value in optional.items() if value is not None},
    )  # fmt: skip


def _mode(given: _Given) -> Any:
    return given.word("position_mode", "HEDGE", "HEDGE", "ONEWAY")


def _grid(bot: Bot) -> Body:
    known = {"side", "start_price", "end_price", "limit_price", "amount_quote", "min_spread", "min_order_quote"}
    given = _Given(bot.config, frozenset(known | {"max_open_orders", "leverage", "position_mode", "keep_position"}))
    side = given.word("side", "BUY", "BUY", "SELL")
    start = given.needed("start_price", "where the grid begins, the lower price")
    end = given.needed("end_price", "where it ends, the higher price")
    limit = given.needed("limit_price", "where it gives up: below start_price to buy, above end_price to sell")
    if start >= end:
        raise EventError("config.end_price", "must be above start_price")
    if side == "BUY" and limit >= start:
        raise EventError("config.limit_price", "must be below start_price, for a grid that buys")
    if side == "SELL" and limit <= end:
        raise EventError("config.limit_price", "must be above end_price, for a grid that sells")
    optional: dict[str, Any] = {
        "min_spread_between_orders": given.number("min_spread", below="0.5"),
        "min_order_amount_quote": given.number("min_order_quote"),
        "max_open_orders": given.whole("max_open_orders", None, 1000),
    }
    return GridStrike(
        id=bot.id, connector_name=bot.connector, trading_pair=bot.pair, side=1 if side == "BUY" else 2,
        start_price=start, end_price=end, limit_price=limit,
        total_amount_quote=given.needed("amount_quote", "how much is used in all, in the quote currency"),
        leverage=given.whole("leverage", 1, 125) or 1, position_mode=_mode(given),
        keep_position=given.flag("keep_position"),
        **{name: value for name, value in optional.items() if value is not None},
    )  # fmt: skip


class _Script(Body):
    script_file_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}\.py$")]


def _custom(bot: Bot, image: str) -> Plan:
    """The script's own fields go along as they are; the model of them is made for this bot."""
    source = bot.config.get("script")
    if not isinstance(source, str) or not source.strip() or len(source) > SCRIPT_LIMIT:
        raise EventError("config.script", f"is required: the script's source, {SCRIPT_LIMIT} characters at most")
    fields: dict[str, Any] = {}
    for name, value in bot.config.items():
        if name == "script" or name in _COMMON or value is None:
            continue
        if not (name.isidentifier() and len(name) <= 64) or name == "script_file_name":
            raise EventError("config", "holds a field with a name that a script cannot have")
        if isinstance(value, (list, tuple)):
            if not all(isinstance(each, str) for each in value):
                raise EventError(f"config.{name}", "must be text, a number, true or false, or a list of those")
            fields[name] = (tuple[str, ...], tuple(value))
        elif isinstance(value, (bool, int, str)):
            fields[name] = (type(value), value)
        elif isinstance(value, (float, Decimal)):
            fields[name] = (str, str(value))
        else:
            raise EventError(f"config.{name}", "must be text, a number, true or false, or a list of those")
    if "leverage" in source:  # its own default may be 20
        fields.setdefault("leverage", (str, "1"))
    types = {name: (kind, ...) for name, (kind, _) in fields.items()}
    model: Any = create_model("ScriptConfig", __base__=_Script, **types)  # type: ignore[call-overload]
    values = {name: value for name, (_, value) in fields.items()}
    return Plan(model(script_file_name=f"{bot.id}.py", **values), image, source)
