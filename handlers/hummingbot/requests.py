"""What may be asked of the server: closed bodies, upper-case enums, amounts as text, names the server can bear."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from daemon.egress import AllowsHex, Body, Query, TextDecimal
from handlers.hummingbot.wire import NAME

PAGE = 1000
"""Rows asked for at once; the server's most."""


def pair(text: str) -> str:
    """A trading pair as Hummingbot writes it: `A/B` and `a-b` are `A-B`. Raises ValueError."""
    found = text.strip().replace("/", "-").upper()
    base, dash, quote = found.rpartition("-")
    if not (dash and base and quote and all(c.isalnum() or c in "-._$" for c in found) and len(found) <= 64):
        raise ValueError("a trading pair is like BTC-USDT")
    return found


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("letters, digits, _ and - only")
    return text


def _yml(text: str) -> str:
    """A configuration's file: the server starts nothing without the ending."""
    return _name(text.removesuffix(".yml")) + ".yml"


def _positive(value: Decimal) -> Decimal:
    if not value > 0:
        raise ValueError("must be more than 0")
    return value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _number(value: Any) -> Any:
    """A whole number or text is taken for the Decimal it is; a float is not, for it has lost what it was."""
    if isinstance(value, str) and len(value) <= 64 and value.isascii() and "_" not in value:
        return Decimal(value)
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[str, AfterValidator(_name)]
Connector = Annotated[str, Field(pattern=r"^[A-Za-z0-9_/-]{1,64}$")]
"""As Hummingbot names it: `hyperliquid_perpetual`, `jupiter/router`."""
Pair = Annotated[str, AfterValidator(pair)]
ConfigFile = Annotated[str, AfterValidator(_yml)]
Image = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/:@-]{1,256}$")]
Amount = Annotated[TextDecimal, BeforeValidator(_number), AfterValidator(_positive)]
Exact = Annotated[TextDecimal, BeforeValidator(_number)]
Side = Annotated[Literal["BUY", "SELL"], BeforeValidator(_upper)]
OrderType = Annotated[Literal["LIMIT", "MARKET", "LIMIT_MAKER"], BeforeValidator(_upper)]
Action = Annotated[Literal["OPEN", "CLOSE"], BeforeValidator(_upper)]
Mode = Annotated[Literal["HEDGE", "ONEWAY"], BeforeValidator(_upper)]
Names = tuple[Name, ...]
Connectors = tuple[Connector, ...]
Pairs = tuple[Pair, ...]
IMAGE = "hummingbot/hummingbot:latest"


# Bots.


class StartBot(Body):
    """`start-bot`; `script` and `conf` without their endings."""

    bot_name: Name
    script: Name | None = None
    conf: Name | None = None


class StopBot(Body):
    """`stop-bot`; the server honours the skipping only with `async_backend`."""

    bot_name: Name
    skip_order_cancellation: bool | None = None
    async_backend: bool | None = None


class DeployScript(Body):
    """A container that runs a script with its configuration. The bot's name is another one, see `Deployed`."""

    instance_name: Name
    credentials_profile: Name
    script_config: ConfigFile
    script: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}(\.py)?$")] | None = None
    image: Image = IMAGE
    headless: bool = False


class DeployControllers(Body):
    """A container that runs controllers, each with its configuration; drawdowns in quote currency."""

    instance_name: Name
    credentials_profile: Name
    controllers_config: Annotated[tuple[ConfigFile, ...], Field(min_length=1)]
    max_global_drawdown_quote: Annotated[float, Field(gt=0)] | None = None
    max_controller_drawdown_quote: Annotated[float, Field(gt=0)] | None = None
    image: Image = IMAGE
    headless: bool = False


class HistoryQuery(Query):
    """`days=0` is since the engine started; `timeout` in seconds is how long the server waits for the bot."""

    days: Annotated[int, Field(ge=0)] = 0
    timeout: Annotated[int, Field(ge=1, le=60)] = 10


class ArchiveQuery(Query):
    """The server's own default leaves open orders at the exchange; ours does not."""

    skip_order_cancellation: bool = False
    archive_locally: bool = True


class RunsQuery(Query):
    """Which runs; newest first."""

    bot_name: Name | None = None
    account_name: Name | None = None
    run_status: str | None = None
    deployment_status: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE)] = 100
    offset: Annotated[int, Field(ge=0)] = 0


# Files.


class ScriptText(Body):
    """A script's source, which may hold an address of a contract."""

    content: Annotated[str, AllowsHex()]


# Accounts.


class AccountQuery(Query):
    """The account stands in the address, not in a body."""

    account_name: Name


class Whose(Body):
    """Which accounts and connectors; none is all."""

    account_names: Names | None = None
    connector_names: Connectors | None = None


class PortfolioQuery(Whose):
    """`refresh` asks the exchange instead of the server's memory, which is up to 5 min old."""

    refresh: bool = False
    skip_gateway: bool = True


# Trading.


class PlaceOrder(Body):
    """An order. No id of ours can go with it: a broken one is found again by account, pair, side, amount and time."""

    account_name: Name
    connector_name: Connector
    trading_pair: Pair
    trade_type: Side
    amount: Amount
    order_type: OrderType = "LIMIT"
    price: Amount | None = None
    position_action: Action = "OPEN"


class Positions(Whose):
    """Positions; the server leaves out, without a word, those of a connector that did not answer."""

    limit: Annotated[int, Field(ge=1, le=PAGE)] = PAGE
    cursor: str | None = None


class ActiveOrders(Positions):
    """Orders that are open now, from the connectors' own memory."""

    trading_pairs: Pairs | None = None


class SearchOrders(ActiveOrders):
    """Orders of any age, newest first. Times in milliseconds since the epoch."""

    status: Annotated[str, BeforeValidator(_upper)] | None = None
    start_time: Annotated[int, Field(ge=0)] | None = None
    end_time: Annotated[int, Field(ge=0)] | None = None


class SearchTrades(ActiveOrders):
    """Fills, newest first. Times in milliseconds since the epoch."""

    trade_types: tuple[Side, ...] | None = None
    start_time: Annotated[int, Field(ge=0)] | None = None
    end_time: Annotated[int, Field(ge=0)] | None = None


class SetLeverage(Body):
    """1 to 125; the engine's own default is 20, so it is always set."""

    trading_pair: Pair
    leverage: Annotated[int, Field(ge=1, le=125)]


class SetMode(Body):
    """HEDGE or ONEWAY."""

    position_mode: Mode


# Executors.


class TrailingStop(Body):
    """Fractions of the price."""

    activation_price: Exact
    trailing_delta: Exact


class TripleBarrier(Body):
    """When a position ends: fractions of the entry price, seconds; order types 1 market, 2 limit, 3 limit maker."""

    stop_loss: Amount | None = None
    take_profit: Amount | None = None
    time_limit: Annotated[int, Field(gt=0)] | None = None
    trailing_stop: TrailingStop | None = None
    open_order_type: Literal[1, 2, 3] = 2
    take_profit_order_type: Literal[1, 2, 3] = 1
    stop_loss_order_type: Literal[1] = 1
    time_limit_order_type: Literal[1] = 1


class PositionExecutor(Body):
    """One position with its ends. `side` is 1 for buy and 2 for sell; leverage is always said."""

    type: Literal["position_executor"] = "position_executor"
    connector_name: Connector
    trading_pair: Pair
    side: Literal[1, 2]
    amount: Amount
    entry_price: Amount | None = None
    leverage: Annotated[int, Field(ge=1, le=125)] = 1
    triple_barrier_config: TripleBarrier = TripleBarrier()


class CreateExecutor(Body):
    """It lives in the server's memory: a restart ends it, and leaves its position at the exchange unattended."""

    account_name: Name
    executor_config: PositionExecutor
    controller_id: Name | None = None


class SearchExecutors(ActiveOrders):
    """Executors that run, and those that ended."""

    executor_types: tuple[str, ...] | None = None
    controller_ids: Names | None = None
    status: Annotated[str, BeforeValidator(_upper)] | None = None


class StopExecutor(Body):
    """`keep_position` leaves what it holds at the exchange."""

    keep_position: bool


# Market data.


class PricesOf(Body):
    """Which prices."""

    connector_name: Connector
    trading_pairs: Annotated[Pairs, Field(min_length=1)]


class FundingOf(Body):
    """Whose funding."""

    connector_name: Connector
    trading_pair: Pair


class BookOf(FundingOf):
    """Which order book, and how deep."""

    depth: Annotated[int, Field(ge=1, le=1000)] = 10
