"""What the Command Center takes: a table of its bodies from the facts, and a reader that lets nothing else through."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

Json = dict[str, Any]
"""Numbers with a point or an exponent are Decimals, so that a float never passes for an int."""

_LARGEST = 2**53
_LONGEST = 512


class WrongError(Exception):
    """A request that the Command Center would not take: which field, and why."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status


class Kind(NamedTuple):
    """A kind of value: whether this is one, and what it should have been."""

    fits: Callable[[Any], bool]
    words: str


class Field(NamedTuple):
    """One field of a body."""

    kind: Kind
    required: bool = True
    null: bool = False


def _number(value: Any) -> bool:
    return type(value) in (int, Decimal) and abs(value) < Decimal("1e300")


def _stamp(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _one_of(*words: str) -> Kind:
    return Kind(lambda value: isinstance(value, str) and value in words, f"one of {', '.join(words)}")


WHOLE = Kind(lambda value: type(value) is int and abs(value) < _LARGEST, "a whole number")
NUMBER = Kind(_number, "a number")
AMOUNT = Kind(lambda value: _number(value) and value >= 0, "a number that is not negative")
SHARE = Kind(lambda value: _number(value) and 0 <= value <= 1, "a number from 0 to 1")
TEXT = Kind(lambda value: isinstance(value, str) and 0 < len(value) <= _LONGEST, "text")
STAMP = Kind(_stamp, "a time in ISO 8601 with an offset")
OBJECT = Kind(lambda value: isinstance(value, dict), "an object")

_COUNTS = "totalCycles totalOrders totalFills winCount lossCount mergesCompleted claimsCompleted claimsPending"
_COUNTS += " pairedWindows oneSidedFills"
_FIGURES = "totalPnl peakPnl maxDrawdown avgSpreadCaptured avgFillRate endingBankroll maxCapitalDeployed walletBalance"
_FIGURES += " startingWallet totalMergedUsd totalClaimedUsd realizedPnl"
METRICS = {
    **{name: Field(WHOLE, required=False, null=True) for name in _COUNTS.split()},
    **{name: Field(NUMBER, required=False, null=True) for name in _FIGURES.split()},
    "hedgeAnalytics": Field(OBJECT, required=False, null=True),
}
"""Every metric that is sent today; null is, too."""
TRADE = {
    "runId": Field(WHOLE),
    "cycle": Field(WHOLE),
    "asset": Field(TEXT),
    "windowDuration": Field(TEXT),
    "side": Field(_one_of("buy", "sell")),
    "outcome": Field(TEXT),
    "price": Field(SHARE),
    "size": Field(AMOUNT),
    "strategy": Field(TEXT),
    "conditionId": Field(TEXT, required=False),
    "tokenId": Field(TEXT, required=False),
}
MARKET = {
    "tokenId": Field(TEXT),
    "asset": Field(TEXT),
    "window": Field(TEXT),
    **{name: Field(TEXT, required=False) for name in ("tokenIdDown", "windowId", "conditionId", "expiresAt")},
}
BODIES: Mapping[str, Mapping[str, Field]] = {
    "/run/start": {
        "configId": Field(WHOLE),
        "mode": Field(_one_of("live", "dry_run")),
        "startingBankroll": Field(AMOUNT),
    },
    "/run/update": {"runId": Field(WHOLE), **METRICS, "positionValue": Field(NUMBER, required=False, null=True)},
    "/run/stop": {
        "runId": Field(WHOLE),
        "status": Field(_one_of("completed", "stopped", "error")),
        "errorMessage": Field(TEXT, required=False),
        **METRICS,
    },
    "/trade": TRADE,
    "/trade/update": {
        "tradeId": Field(WHOLE),
        "status": Field(_one_of("placed", "filled", "cancelled", "failed"), required=False),
        "fillPrice": Field(SHARE, required=False),
        "fillSize": Field(AMOUNT, required=False),
        "fillTimestamp": Field(STAMP, required=False),
        "resolvedOutcome": Field(TEXT, required=False),
        "pnl": Field(NUMBER, required=False),
    },
}
"""Path to the fields of its body, for all that is no list."""
LISTS: Mapping[str, tuple[str, Mapping[str, Field]]] = {
    "/trade/batch": ("trades", TRADE),
    "/markets/report": ("markets", MARKET),
}
"""Path to the one field of its body, and what each item of it is."""
METHODS = {"/status": "GET", "/config": "GET", **dict.fromkeys((*BODIES, *LISTS), "POST")}


def read(raw: bytes) -> Json:
    """One JSON object. Raises WrongError."""
    try:
        found = json.loads(
            raw.decode(), object_pairs_hook=_pairs, parse_constant=_constant, parse_float=Decimal, parse_int=int
        )
    except (ValueError, RecursionError):
        raise WrongError("the body is not JSON") from None
    if not isinstance(found, dict):
        raise WrongError("the body is no object")
    return found


def _pairs(pairs: list[tuple[str, Any]]) -> Json:
    if len({name for name, _ in pairs}) != len(pairs):
        raise WrongError("a key is given twice")
    return dict(pairs)


def _constant(text: str) -> NoReturn:
    raise WrongError(f"{text} is not JSON")


def check(path: str, body: Json) -> None:
    """Whether this body may be sent there. Raises WrongError."""
    if path in BODIES:
        _fields(body, BODIES[path], "")
        return
    name, item = LISTS[path]
    items = body.get(name)
    if list(body) != [name] or not isinstance(items, list) or not items:
        raise WrongError(f"the body is {name} and nothing else, a list that is not empty")
    for number, each in enumerate(items):
        if not isinstance(each, dict):
            raise WrongError(f"{name}[{number}] is no object")
        _fields(each, item, f"{name}[{number}].")


def _fields(body: Json, wanted: Mapping[str, Field], at: str) -> None:
    for name, value in body.items():
        field = wanted.get(name)
        if field is None:
            raise WrongError(f"{at}{name} is not known" + (": snake_case" if "_" in name else ""))
        if not (value is None and field.null) and not field.kind.fits(value):
            raise WrongError(f"{at}{name} must be {field.kind.words}")
    for name, field in wanted.items():
        if field.required and name not in body:
            raise WrongError(f"{at}{name} is missing")


def plain(value: Any) -> Any:
    """The same with floats for Decimals, for `json.dumps`."""
    match value:
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case Decimal():
            return int(value) if value == int(value) else float(value)
    return value


def content(body: Json) -> str:
    """What a trade or update says, in one form, whichever run it was sent for."""
    return json.dumps(plain({name: value for name, value in body.items() if name != "runId"}), sort_keys=True)
