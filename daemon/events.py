"""A trade event: the JSON of version 1, read strictly.

Field rules: unknown fields, duplicate keys, NaN and Infinity, digits other than ASCII, control characters,
times without an offset or more than `AHEAD_S` ahead are refused by field name; no error echoes a value.
"""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from daemon.errors import EventError

AHEAD_S = 5.0
"""How far ahead of our clock an event's time may lie, in seconds."""
BODY_LIMIT = 64 * 1024
"""Largest accepted body, in bytes."""
META_LIMIT = 4 * 1024
"""Largest accepted `meta`, in bytes of compact JSON."""
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC).timestamp()  # the first that can be written; an offset can say more
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()  # and the last; a broken clock can say more
_MILLISECONDS_FROM = 1e11  # as seconds that is the year 5138, as milliseconds 1973


class EventType(StrEnum):
    """What happened in the trade."""

    ENTRY = "entry"
    TP1 = "tp1"
    TP2 = "tp2"
    SL = "sl"
    CLOSE = "close"


EXITS = frozenset({EventType.SL, EventType.CLOSE})
"""The types that get a trader out: never rate-limited, never meeting a full lane."""

_DECIMAL = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})",
    re.ASCII,
)
_EPOCH = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,9})?", re.ASCII)


def _refuse(problem: str) -> NoReturn:
    raise PydanticCustomError("deskhand", problem)


class _Number:
    """A JSON number kept as its own text, so that no float ever stands between the wire and a Decimal."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _decimal(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    text = value.text if type(value) is _Number else value
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        _refuse("must be a positive decimal in plain ASCII digits")
    number = Decimal(text)
    if not 0 < number < Decimal("1e20"):
        _refuse("must be positive and below 1e20")
    return number


_TIME = "must be ISO 8601 with an offset, or epoch seconds or milliseconds"


def _time(value: object) -> float:
    """ISO 8601 with an offset, or epoch seconds or milliseconds, as seconds since the epoch."""
    if type(value) is float:
        return value
    text = value.text if type(value) is _Number else value
    if not isinstance(text, str):
        _refuse(_TIME)
    if _EPOCH.fullmatch(text):
        number = float(text)
        return min(number / 1000 if number >= _MILLISECONDS_FROM else number, _LATEST)
    if text is value and _ISO.fullmatch(text):
        try:
            return max(_EARLIEST, min(datetime.fromisoformat(text.upper()).timestamp(), _LATEST))
        except (ValueError, OverflowError):
            _refuse("is not a real date and time")
    _refuse(_TIME)


def _meta(value: object) -> dict[str, str | int | float]:
    if not isinstance(value, dict):
        _refuse("must be a flat object")
    flat: dict[str, str | int | float] = {}
    for key, item in value.items():
        if not 0 < len(key) <= 64 or not key.isprintable():
            _refuse("keys must be 1 to 64 printable characters")
        if isinstance(item, _Number):
            number = float(item.text) if len(item.text) <= 32 else float("inf")
            if number in (float("inf"), float("-inf")):
                _refuse("numbers must be finite and short")
            flat[key] = int(item.text) if item.text.lstrip("-").isdigit() else number
        elif (type(item) is str and all(c.isprintable() or c in "\n\t" for c in item)) or type(item) in (int, float):
            flat[key] = item
        else:
            _refuse("values must be strings or numbers")
    if len(json.dumps(flat, ensure_ascii=False).encode()) > META_LIMIT:
        _refuse("must be 4 KiB at most")
    return flat


def _iso(ts: float) -> str:
    return datetime.fromtimestamp(ts, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Price = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?$"},
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e20},
            ]
        }
    ),
]
"""A positive, finite decimal."""


def _line(longest: int) -> object:
    # Checked by pydantic's own core, without a way through Python: this is the way to the key.
    printable = StringConstraints(strict=True, min_length=1, max_length=longest, pattern=r"^(?:[^\p{C}\p{Z}]| )+$")
    return Annotated[str, printable, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": longest})]


if TYPE_CHECKING:
    Name = str
    Id = str
else:
    Name = _line(64)
    Id = _line(128)
_STRICT = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Targets(BaseModel):
    """The trade's planned levels."""

    model_config = _STRICT
    tp1: Price | None = None
    tp2: Price | None = None
    stop: Price | None = None


class TradeEvent(BaseModel):
    """A thing that happened in a trade; immutable. `ts` is in seconds since the epoch."""

    model_config = ConfigDict(title="Deskhand event, version 1", **_STRICT)
    type: EventType
    symbol: Annotated[str, StringConstraints(strict=True, to_upper=True, pattern="^[A-Za-z0-9._:/-]{1,32}$")]
    id: Id = ""
    ts: Annotated[
        float,
        BeforeValidator(_time),
        PlainSerializer(_iso, return_type=str),
        WithJsonSchema(
            {
                "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}],
                "description": "ISO 8601 with offset, or epoch seconds or milliseconds; required over MQTT",
            }
        ),
    ] = 0.0
    side: Literal["long", "short"] = "long"
    price: Price | None = None
    quantity: Price | None = None
    trade_id: Id | None = None
    account: Name | None = None
    strategy: Name | None = None
    source: Name | None = None
    targets: Targets | None = None
    meta: (
        Annotated[
            dict[str, str | int | float],
            BeforeValidator(_meta),
            WithJsonSchema(
                {"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "number"}]}}
            ),
        ]
        | None
    ) = None

    @property
    def trade(self) -> str:
        """What groups the events of one trade: `trade_id`, else account and symbol."""
        return self.trade_id or f"{self.account or ''}:{self.symbol}"

    @property
    def is_exit(self) -> bool:
        """Whether this gets the trader out (sl, close)."""
        return self.type in EXITS

    def body(self) -> str:
        """What the sender said, as canonical JSON without the id: two events are the same if this is."""
        return self.model_dump_json(exclude_none=True, exclude={"id"})


class _NoNull(GenerateJsonSchema):
    """Optional fields are left out, never null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = super().default_schema(schema)
        if inner.get("default", "") in (None, "", 0.0):  # "absent", not a value to send
            inner.pop("default", None)
        return inner


def schema() -> dict[str, Any]:
    """The JSON Schema of an event."""
    return TradeEvent.model_json_schema(schema_generator=_NoNull) | {
        "$schema": "https://json-schema.org/draft/2020-12/schema"
    }


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise EventError(safe_name(key), "is given twice")
            seen.add(key)
    for key, value in pairs:
        if value is None:
            raise EventError(safe_name(key), "must not be null; leave it out")
    return found


def _constant(_: str) -> NoReturn:
    raise EventError("body", "NaN and Infinity are not JSON")


_scan = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_Number, parse_int=_Number, parse_constant=_constant
).scan_once  # type: ignore[attr-defined]  # there since Python 2.6, but not in the stubs


def safe_name(name: str) -> str:
    """A key that a stranger sent, short and printable enough for a log line."""
    return "".join(c if c.isprintable() else "?" for c in name[:64]) or "''"


def decode(raw: bytes | str) -> dict[str, object]:
    """Read one JSON object strictly; numbers stay text. Raises EventError for field `body` or the key at fault."""
    if len(raw) > BODY_LIMIT:
        raise EventError("body", "is larger than 64 KiB")
    try:
        text = raw if isinstance(raw, str) else raw.decode()
        text = text.strip(" \t\n\r")
        value, end = _scan(text, 0)
        if end != len(text):
            raise EventError("body", "is not valid JSON")
    except EventError:
        raise
    except UnicodeDecodeError:
        raise EventError("body", "is not UTF-8") from None
    except RecursionError:
        raise EventError("body", "is nested too deeply") from None
    except (ValueError, StopIteration):
        raise EventError("body", "is not valid JSON") from None
    if not isinstance(value, dict):
        raise EventError("body", "must be a JSON object")
    return value


def with_text(value: Any) -> Any:
    """What `decode` read, with each number as the text it was written in."""
    if isinstance(value, dict):
        return {name: with_text(each) for name, each in value.items()}
    if isinstance(value, list):
        return [with_text(each) for each in value]
    return value.text if type(value) is _Number else value


_PROBLEMS = {"missing": "is required", "extra_forbidden": "is not a known field", "model_type": "must be an object"}
_WANTED = {
    "type": "must be one of " + ", ".join(EventType),
    "symbol": "must be 1 to 32 of A-Z 0-9 . _ : / -",
    "side": "must be one of long, short",
    **dict.fromkeys(("id", "trade_id"), "must be 1 to 128 printable characters"),
    **dict.fromkeys(("account", "strategy", "source"), "must be 1 to 64 printable characters"),
}


_validate: Callable[[dict[str, object]], TradeEvent] = TradeEvent.__pydantic_validator__.validate_python


def validate(fields: dict[str, object]) -> TradeEvent:
    """Check decoded fields. Raises EventError that names the first field at fault."""
    try:
        return _validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    name = ".".join(safe_name(str(part)) for part in first["loc"]) or "body"
    problem = (
        first["msg"]
        if first["type"] == "deskhand"
        else _PROBLEMS.get(first["type"]) or _WANTED.get(name, "is not valid")
    )
    raise EventError(name, problem)


def settle_time(event: TradeEvent, now: float, *, required: bool = False) -> TradeEvent:
    """Give an event without a time the time of receipt `now` (seconds), and refuse one from the future.

    An sl or close that runs ahead counts as now: a stop is never lost to a bad clock. Raises EventError for `ts`.
    """
    if event.ts == 0.0 and "ts" not in event.model_fields_set:
        if required:
            raise EventError("ts", "is required here: a queued message would look fresh")
        return event.model_copy(update={"ts": now})
    if event.ts > now + AHEAD_S:
        if not event.is_exit:
            raise EventError("ts", f"lies more than {AHEAD_S:.0f} s ahead of this machine's clock")
        return event.model_copy(update={"ts": now})
    return event


def derived_id(source: str, body: str, now: float) -> str:
    """An id for an event that came without one: a digest of where it came from and what it said, and when."""
    digest = hashlib.blake2b(f"{source}\n{body}".encode(), digest_size=8).hexdigest()
    return f"auto-{digest}-{int(now * 1000):x}"
