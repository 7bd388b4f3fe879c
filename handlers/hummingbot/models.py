"""What the server answers, read with tolerance: unknown fields are ignored, missing ones have a plain value.

Amounts are Decimal, whether they came as text or as numbers; times are seconds since the epoch.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

T = TypeVar("T")

ENDED = frozenset({"FILLED", "CANCELLED", "CANCELED", "FAILED", "EXPIRED"})
"""How an order is when nothing of it can be filled any more."""


def _number(value: Any) -> Any:
    """NaN, which market orders have for a price, is no number; a float is taken for what it reads."""
    if value is None or isinstance(value, bool):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None if value == "" else value
    return found if found.is_finite() else None


def _moment(value: Any) -> Any:
    """Seconds, from ISO 8601 (in UTC unless it says otherwise), seconds, or milliseconds."""
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return _number(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    number = _number(value)
    return number / 1000 if isinstance(number, Decimal) and number > 10**11 else number


def _word(value: Any) -> Any:
    """An enum's value: `TradeType.BUY` and `buy` are `BUY`."""
    return value.rpartition(".")[2].upper() if isinstance(value, str) else value


def _rows(value: Any) -> Any:
    return [] if value is None else value


def _map(value: Any) -> Any:
    return {} if value is None else value


Number = Annotated[Decimal | None, BeforeValidator(_number)]
Moment = Annotated[float | None, BeforeValidator(_moment)]
Word = Annotated[str, BeforeValidator(_word)]
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_rows)]


class Read(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, coerce_numbers_to_str=True)


class Alive(Read):
    """`GET /`: no login needed, and nothing said of the broker."""

    name: Text = ""
    version: Text = ""
    status: Text = ""


class Mqtt(Read):
    """The server's view of its broker; `mqtt_connected` stays true for a while after the broker went away."""

    mqtt_connected: bool = False
    discovered_bots: Texts = ()
    active_bots: Texts = ()
    broker_host: Text = ""
    broker_port: int | None = None
    client_state: Text = ""


class LogLine(Read):
    """A line of a bot's log; `msg` may be a whole traceback."""

    level_name: Text = ""
    msg: Text = ""
    timestamp: Moment = None
    logger_name: Text = ""


class Performance(Read):
    """A controller's figures, in quote currency."""

    realized_pnl_quote: Number = None
    unrealized_pnl_quote: Number = None
    global_pnl_quote: Number = None
    global_pnl_pct: Number = None
    volume_traded: Number = None


class ControllerReport(Read):
    """What a controller reports, about once a second."""

    status: Text = ""
    performance: Annotated[Performance, BeforeValidator(_map)] = Performance()


class BotStatus(Read):
    """A bot as the server sees it. Go by `recently_active`: a healthy bot without controllers shows `stopped`, and one
    that was told to stop does so at once. `source` is `docker` or `mqtt`; only a container is a bot for certain.
    """

    status: Text = ""
    recently_active: bool | None = None
    source: Text = ""
    performance: Annotated[Mapping[str, ControllerReport], BeforeValidator(_map)] = {}
    error_logs: Annotated[tuple[LogLine, ...], BeforeValidator(_rows)] = ()
    general_logs: Annotated[tuple[LogLine, ...], BeforeValidator(_rows)] = ()


class BotTrade(Read):
    """A fill in a bot's own history. `trade_timestamp` in seconds, whole milliseconds on the wire."""

    market: Text = ""
    trade_id: Text = ""
    symbol: Text = ""
    trade_type: Word = ""
    price: Number = None
    quantity: Number = None
    trade_timestamp: Moment = None
    base_asset: Text = ""
    quote_asset: Text = ""


class Deployed(Read):
    """`unique_instance_name` is the bot's real name, with a time suffix; all later calls need it."""

    unique_instance_name: str
    message: Text = ""


class Accepted(Read):
    """The server took it. Whether it happened must be looked at."""

    message: Text = ""


class BotRun(Read):
    """A deploy in the server's books; `run_status` goes CREATED to STOPPED or ERROR and is never RUNNING."""

    id: int | None = None
    bot_name: Text = ""
    instance_name: Text = ""
    deployed_at: Moment = None
    stopped_at: Moment = None
    strategy_type: Text = ""
    strategy_name: Text = ""
    config_name: Text = ""
    account_name: Text = ""
    image_version: Text = ""
    deployment_status: Text = ""
    run_status: Text = ""
    error_message: Text = ""


class ConfigField(Read):
    """A field that a connector's credentials have. Older servers tell names only: then `type` is empty."""

    type: Text = ""
    required: bool = True
    allowed_values: Texts = ()


class TemplateField(Read):
    """A field of a controller's configuration; `default` is None where there is none."""

    default: Annotated[Any, BeforeValidator(lambda value: None if value == "PydanticUndefined" else value)] = None
    type: Text = ""
    required: bool = False


class Balance(Read):
    """A token held; `value` in the server's quote currency."""

    token: Text = ""
    units: Number = None
    price: Number = None
    value: Number = None
    available_units: Number = None


class Page(Read, Generic[T]):
    """Rows, and the cursor of the next ones; None on the last page."""

    rows: tuple[T, ...] = ()
    next_cursor: str | None = None
    total: int | None = None


class Placed(Read):
    """An order the server took. The exchange may still refuse it: its status is FAILED then."""

    order_id: str
    status: Text = ""


class Order(Read):
    """An order in the server's books: its own orders and those of its executors, not those of bots."""

    order_id: str
    account_name: Text = ""
    connector_name: Text = ""
    trading_pair: Text = ""
    trade_type: Word = ""
    order_type: Word = ""
    amount: Number = None
    price: Number = None
    status: Word = ""
    filled_amount: Number = None
    average_fill_price: Number = None
    fee_paid: Number = None
    fee_currency: Text = ""
    created_at: Moment = None
    updated_at: Moment = None
    exchange_order_id: Text = ""
    error_message: Text = ""

    @property
    def open(self) -> bool:
        """Whether it may still be filled; a status nobody knows counts as open."""
        return self.status not in ENDED


class Fill(Read):
    """A fill of one of the server's own orders."""

    trade_id: Text = ""
    order_id: Text = ""
    account_name: Text = ""
    connector_name: Text = ""
    trading_pair: Text = ""
    trade_type: Word = ""
    amount: Number = None
    price: Number = None
    fee_paid: Number = None
    fee_currency: Text = ""
    timestamp: Moment = None


class Position(Read):
    """A position at an exchange; `side` says LONG or SHORT, some connectors give a negative amount as well."""

    account_name: Text = ""
    connector_name: Text = ""
    trading_pair: Text = ""
    side: Word = ""
    amount: Number = None
    entry_price: Number = None
    unrealized_pnl: Number = None
    leverage: Number = None


class Executor(Read):
    """An executor. After a restart of the server: TERMINATED with `close_type` SYSTEM_CLEANUP, its position alone."""

    executor_id: str
    executor_type: Text = ""
    account_name: Text = ""
    connector_name: Text = ""
    trading_pair: Text = ""
    controller_id: Text = ""
    side: Word = ""
    status: Word = ""
    is_active: bool | None = None
    is_trading: bool | None = None
    created_at: Moment = None
    close_type: Annotated[str, BeforeValidator(lambda value: "" if value is None else _word(value))] = ""
    close_timestamp: Moment = None
    net_pnl_quote: Number = None
    filled_amount_quote: Number = None


class Prices(Read):
    """Prices by pair."""

    connector: Text = ""
    prices: Annotated[Mapping[str, Number], BeforeValidator(_map)] = {}
    timestamp: Moment = None


class Funding(Read):
    """A perpetual's funding; per interval, and the interval is not told. `next_funding_time` in seconds."""

    trading_pair: Text = ""
    funding_rate: Number = None
    next_funding_time: Moment = None
    mark_price: Number = None
    index_price: Number = None


class Level(Read):
    """A price and the amount there."""

    price: Annotated[Decimal, BeforeValidator(_number)]
    amount: Annotated[Decimal, BeforeValidator(_number)]


class Book(Read):
    """An order book, best price first."""

    trading_pair: Text = ""
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()
    timestamp: Moment = None
