"""Bodies are closed: what a field may be is said when it is written, and a value goes out as the field says."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from daemon.egress import AllowsSecret, Body, Credential, NumberDecimal, Query, TextDecimal


class Side(IntEnum):
    BUY = 1


class Mode(StrEnum):
    LIVE = "live"


class Part(Body):
    model_config = ConfigDict(alias_generator=AliasGenerator(serialization_alias=to_camel))
    run_id: int = 7


class Whole(Body):
    text: str = 'a"\u00e9\n'
    whole: int = 10**20
    real: float = 1e300
    flag: bool = True
    exact: NumberDecimal = Decimal("1E-7")
    quoted: TextDecimal | None = Decimal("0.10")
    at: datetime = datetime(2026, 11, 21, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    side: Side = Side.BUY
    mode: Mode = Mode.LIVE
    kind: Literal["a", "b"] = "a"
    parts: tuple[Part, ...] = (Part(), Part(run_id=8))
    left_out: str | None = None
    given: str | None = Field(default=None, alias="as-it-is")


def test_every_kind_of_value() -> None:
    raw = Whole(given=None).written().data
    assert raw.isascii()
    assert b'"exact":0.0000001,"quoted":"0.10","at":"2026-11-20T23:02:03Z","side":1,"mode":"live"' in raw
    assert b'"parts":[{"runId":7},{"runId":8}],"as-it-is":null}' in raw
    read = json.loads(raw)
    assert (read["text"], read["whole"], read["real"], read["flag"]) == ('a"\u00e9\n', 10**20, 1e300, True)
    assert "left_out" not in read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("real", float("nan")),
        ("real", float("inf")),
        ("exact", Decimal("NaN")),
        ("exact", Decimal("Infinity")),
        ("exact", Decimal("1E+1000000")),
        ("exact", Decimal("1." + "1" * 100)),
        ("at", datetime(2026, 11, 21)),  # noqa: DTZ001  # that is the point
        ("text", {"free": "form"}),
        ("text", object()),
        ("text", b"bytes"),
    ],
)
def test_what_has_no_form_does_not_go_out(name: str, value: Any) -> None:
    """Even of a model that nobody validated."""
    with pytest.raises(ValueError, match="cannot be sent") as told:
        Whole.model_construct(**{name: value}).written()
    assert "0x" not in str(told.value)


def test_models_refuse_it_before() -> None:
    for bad in ({"real": float("nan")}, {"exact": Decimal("NaN")}, {"whole": "7"}, {"unknown": 1}, {"text": 5}):
        with pytest.raises(ValidationError) as told:
            Whole.model_validate(bad)
        assert "input_value" not in str(told.value)
    with pytest.raises(ValidationError):
        Part().run_id = 8  # type: ignore[misc]  # frozen


@pytest.mark.parametrize(
    "kind", [dict, dict[str, str], Any, object, list[str], set[str], bytes, BaseModel, dict[str, Any] | None]
)
def test_a_field_that_could_hold_anything_is_an_error_of_the_class(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"Open.free: .*nothing free-form"):
        type("Open", (Body,), {"__annotations__": {"free": kind}})


def test_a_secret_needs_a_declared_field_and_a_decimal_a_form() -> None:
    for kind, why in ((SecretStr, "AllowsSecret"), (Decimal, "say which"), (tuple[Decimal, ...], "say which")):
        with pytest.raises(TypeError, match=why):
            type("Open", (Body,), {"__annotations__": {"free": kind}})
    for inside in (Credential, Annotated[str, AllowsSecret("http")], Part, tuple[Part, ...]):
        with pytest.raises(TypeError, match="not in an address"):
            type("Open", (Query,), {"__annotations__": {"free": inside}})


def test_nothing_of_it_shows_in_a_repr() -> None:
    class Keys(Body):
        key: Credential
        memo: str

    keys = Keys(key=SecretStr("canary-canary"), memo="canary-memo")
    written = keys.written()
    assert "canary" not in f"{keys!r} {keys} {written!r} {[keys]}"
    assert written.private
    assert written.bare == b'{"key":null,"memo":"canary-memo"}'
    assert written.data == b'{"key":"canary-canary","memo":"canary-memo"}'


def test_what_a_query_looks_like() -> None:
    class Q(Query):
        flag: bool = True
        at: datetime = datetime(2026, 11, 21, tzinfo=UTC)
        price: TextDecimal = Decimal("1.50")
        nothing: str | None = None
        many: tuple[int, ...] = (1, 2)

    assert Q().written().data == b"flag=true&at=2026-11-21T00%3A00%3A00Z&price=1.50&many=1&many=2"
