"""What the Command Center is told: closed models of its bodies, as its existing bot client sends them.

Python names here, camelCase on the wire; a model takes both. Money and prices are Decimals and go out as JSON numbers,
exact to twelve decimals; times have an offset. What cannot be sent is refused when a model is made, with the field's
name: `why`.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from daemon.egress import AllowsHex, AsNumber, Body

BATCH_MOST = 100
"""The most trades in one `/trade/batch`."""

_PLACES = Decimal("1e-12")
_LARGEST = Decimal("1e15")  # with `_PLACES` within the 28 digits that Decimal's context keeps
_TEXT = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_WALLET = re.compile(r"0[xX][0-9a-fA-F]{40}(?![0-9a-fA-F])")
_LARGEST_WHOLE = 2**53 - 1  # what every reader of JSON can hold


def _exact(value: object) -> object:
    """Ints, floats (what they show, not the noise below) and text as a journal holds it are numbers too."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Decimal(repr(value))
    if isinstance(value, str) and _TEXT.fullmatch(value):
        return Decimal(value)
    if not isinstance(value, Decimal):
        raise PydanticCustomError("deskhand", "must be a number")
    return value


def _whole(value: object) -> object:
    """A Decimal without a fraction counts."""
    if (
        isinstance(value, Decimal)
        and value.is_finite()
        and value.adjusted() < 18
        and value == value.to_integral_value()
    ):
        return int(value)
    return value


def _round(value: Decimal) -> Decimal:
    if value.copy_abs() >= _LARGEST:
        raise PydanticCustomError("deskhand", "is too large for a number")
    places = value.as_tuple().exponent
    rounded = value.quantize(_PLACES).normalize() if isinstance(places, int) and places < -12 else value
    return rounded or Decimal(0)


def _moment(value: object) -> object:
    """Seconds since the epoch are a time too, and text as a journal holds it."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except (ValueError, OverflowError, OSError):
        raise PydanticCustomError("deskhand", "must be a time with an offset") from None


def _offset(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise PydanticCustomError("deskhand", "must be a time with an offset")
    return value


def _market(value: str) -> str:
    """The guard leaves these fields alone, for a market's id has a key's shape. None has that of a wallet."""
    if _WALLET.search(value):
        raise PydanticCustomError("deskhand", "must be a market's id, and looks like a wallet address")
    return value


_SAID = {
    "missing": "is required",
    "extra_forbidden": "is not known",
    "finite_number": "must be finite",
    "int_type": "must be a whole number",
    "string_type": "must be text",
}

Text = Annotated[str, StringConstraints(min_length=1, max_length=128)]
MarketId = Annotated[Text, AllowsHex(), AfterValidator(_market)]
"""A `conditionId` or `tokenId`: the market's own, in the shape of a key."""
Whole = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=_LARGEST_WHOLE)]
Id = Annotated[int, Field(ge=1, le=_LARGEST_WHOLE)]
Figure = Annotated[Decimal, AsNumber(), BeforeValidator(_exact), AfterValidator(_round)]
"""A finite number below 1e15."""
Amount = Annotated[Figure, Field(ge=0)]
Probability = Annotated[Figure, Field(ge=0, le=1)]
"""A price, 0 to 1."""
Time = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_offset)]

RunMode = Literal["live", "dry_run"]
RunStatus = Literal["completed", "stopped", "error"]
TradeStatus = Literal["placed", "filled", "cancelled", "failed"]


class Wire(Body):
    """A body, or a part of one. A field that is None is left out: null says something else there."""

    model_config = ConfigDict(alias_generator=to_camel)

    def fields(self) -> Iterator[tuple[str, Any, frozenset[Any]]]:
        """As of `Body`, without what is None."""
        return (field for field in super().fields() if field[1] is not None)

    def record(self) -> dict[str, Any]:
        """JSON-ready, for a journal, numbers exact; `read` takes it back."""
        return self.model_dump(mode="json", exclude_none=True, by_alias=False)

    @classmethod
    def read(cls, record: dict[str, Any]) -> Self:
        """From JSON-ready fields; numbers may be text. Raises ValidationError, for which there is `why`."""
        return cls.model_validate_json(json.dumps(record))


class RunStart(Wire):
    """`/run/start`; `starting_bankroll` in USDC."""

    config_id: Id
    mode: RunMode
    starting_bankroll: Amount


class _Figures(Wire):
    total_cycles: Whole | None = None
    total_orders: Whole | None = None
    total_fills: Whole | None = None
    total_pnl: Figure | None = None
    peak_pnl: Figure | None = None
    max_drawdown: Figure | None = None
    win_count: Whole | None = None
    loss_count: Whole | None = None
    avg_spread_captured: Figure | None = None
    avg_fill_rate: Figure | None = None
    ending_bankroll: Figure | None = None
    max_capital_deployed: Figure | None = None
    wallet_balance: Figure | None = None
    starting_wallet: Figure | None = None
    merges_completed: Whole | None = None
    total_merged_usd: Figure | None = None
    claims_completed: Whole | None = None
    total_claimed_usd: Figure | None = None
    claims_pending: Whole | None = None
    realized_pnl: Figure | None = None
    paired_windows: Whole | None = None
    one_sided_fills: Whole | None = None


class Metrics(_Figures):
    """What is known of a run; the rest stays None. Counts, and USDC unless the name says otherwise.

    `position_value` is not for the end of a run.
    """

    position_value: Figure | None = None

    @classmethod
    def of(cls, **values: object) -> tuple["Metrics", tuple[str, ...]]:
        """The metrics that can be sent, and what was left out: each as `total_pnl: why`. None is no metric."""
        sound: dict[str, object] = {}
        left_out: list[str] = []
        for name, value in values.items():
            try:
                sound |= dict(cls.model_validate({name: value}).model_dump(exclude_none=True))
            except ValidationError as error:
                left_out.append(why(error))
        return cls.model_validate(sound), tuple(left_out)


class RunUpdate(Metrics):
    """`/run/update`."""

    run_id: Id


class RunStop(_Figures):
    """`/run/stop`; the metrics are the final ones."""

    run_id: Id
    status: RunStatus
    error_message: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None


class Trade(Wire):
    """`/trade`, and an item of `/trade/batch`: one side of a market. `price` 0 to 1, `size` in USDC."""

    run_id: Id
    cycle: Whole
    asset: Text
    window_duration: Text = "15m"
    side: Literal["buy", "sell"] = "buy"
    outcome: Text
    price: Probability
    size: Amount
    strategy: Text = "MM"
    condition_id: MarketId | None = None
    token_id: MarketId | None = None


class TradeUpdate(Wire):
    """`/trade/update`: what became of a trade; `fill_size` and `pnl` in USDC."""

    trade_id: Id
    status: TradeStatus | None = None
    fill_price: Probability | None = None
    fill_size: Amount | None = None
    fill_timestamp: Time | None = None
    resolved_outcome: Text | None = None
    pnl: Figure | None = None


class TradeBatch(Wire):
    """`/trade/batch`."""

    trades: Annotated[tuple[Trade, ...], Field(min_length=1, max_length=BATCH_MOST)]


class Market(Wire):
    """An item of `/markets/report`; `token_id` is the up side's."""

    token_id: MarketId
    asset: Text
    window: Text
    token_id_down: MarketId | None = None
    window_id: Text | None = None
    condition_id: MarketId | None = None
    expires_at: Text | None = None


class MarketsReport(Wire):
    """`/markets/report`."""

    markets: tuple[Market, ...]


def why(error: ValidationError) -> str:
    """What is wrong with a model's fields, in words that never hold a value."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {_words(each)}" for each in found)


def _words(error: Any) -> str:
    """Ours, or pydantic's own, which name what was wanted."""
    text: str = error["msg"]
    return _SAID.get(error["type"]) or text.replace("Input should", "must", 1).replace("String should", "must", 1)
