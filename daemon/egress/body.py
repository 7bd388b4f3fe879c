"""What may be in a request: closed models, every field with a type that says how it is written, and nothing free-form.

A body is `class StopBot(Body): bot_name: str`; what an address asks for after `?` is a `Query`. A None that nobody set
is left out, one that was set goes out as null. Numbers are finite, times have an offset and go out as ISO 8601 in UTC.
"""

import json
import math
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union, final, get_args, get_origin
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, SecretStr

_LARGEST = 40
"""Digits before or after the point that a number may have."""


@dataclass(frozen=True, slots=True)
class AllowsHex:
    """Marks a field that is there to hold a wallet address, a key, or an id of the same shape."""


@dataclass(frozen=True, slots=True)
class AllowsSecret:
    """Marks a field that is there to hold a secret of this purpose; a body with one goes to private addresses only."""

    purpose: str


@dataclass(frozen=True, slots=True)
class AsNumber:
    """Marks a Decimal that is written as a JSON number."""


@dataclass(frozen=True, slots=True)
class AsText:
    """Marks a Decimal that is written as a JSON string."""


Hex64 = Annotated[str, AllowsHex()]
"""An id that has the shape of a key, such as PolyMaker's `conditionId`."""
Credential = Annotated[SecretStr, AllowsHex(), AllowsSecret("vault")]
"""An exchange's credential, from the vault or typed in."""
NumberDecimal = Annotated[Decimal, AsNumber()]
"""An exact number, as a number."""
TextDecimal = Annotated[Decimal, AsText()]
"""An exact number, in quotes."""

_Marks = frozenset[Any]
_LEAVES = (str, int, float, bool, Decimal, datetime, type(None), SecretStr, Enum)


@dataclass(frozen=True, slots=True)
class Held:
    """A declared field's text, and what it may hold: secrets of these purposes, things that look like a key."""

    text: bytes
    purposes: frozenset[str]
    hex: bool


@dataclass(slots=True)
class Written:
    """What goes out; `bare` is the same without what stands in declared fields, which is in `held`."""

    data: bytes = b""
    bare: bytes = b""
    held: list[Held] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Written({len(self.data)} bytes)"

    @property
    def private(self) -> bool:
        """Whether there is a field for secrets in it, filled."""
        return any(held.purposes for held in self.held)


class _Closed(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        validate_by_name=True,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Refuse a field of a type that could hold anything, when the class is made."""
        for name, about in cls.model_fields.items():
            _check(about.annotation, _marks(about.annotation, *about.metadata), f"{cls.__name__}.{name}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    __str__ = __repr__

    def fields(self) -> Iterator[tuple[str, Any, _Marks]]:
        """Each field that goes out: its name there, its value, its marks."""
        for name, about in type(self).model_fields.items():
            value = getattr(self, name)
            if value is not None or name in self.model_fields_set:
                outside = about.serialization_alias or about.alias or name
                yield outside, value, _marks(about.annotation, *about.metadata)


class Body(_Closed):
    """A request's body, or a part of one; goes out as a JSON object."""

    @final
    def written(self) -> Written:
        """As JSON, in ASCII. Raises ValueError for a number or time that JSON cannot hold."""
        out = Written()
        whole, bare = _object(self, out.held)
        out.data, out.bare = whole.encode("ascii"), bare.encode("ascii")
        return out


class Query(_Closed):
    """What follows `?` in an address: plain fields, or tuples of them, whose name is repeated."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """As of a body; and an address is no place for secrets."""
        super().__pydantic_init_subclass__(**kwargs)
        for name, about in cls.model_fields.items():
            marks = _marks(about.annotation, *about.metadata)
            if any(isinstance(mark, AllowsSecret) for mark in marks) or _models(about.annotation):
                raise TypeError(f"{cls.__name__}.{name}: not in an address")

    @final
    def written(self) -> Written:
        """As `a=1&b=x`, encoded. Raises ValueError as a body does."""
        out = Written()
        whole, bare = [], []
        for name, value, marks in self.fields():
            for each in value if isinstance(value, tuple) else (value,):
                if each is not None:
                    text = _text(each)
                    whole.append(f"{quote(name, safe='')}={quote(text, safe='', errors='replace')}")
                    bare.append(f"{quote(name, safe='')}=" if _hold(text, marks, out.held) else whole[-1])
        out.data, out.bare = "&".join(whole).encode(), "&".join(bare).encode()
        return out


def _marks(annotation: Any, *metadata: Any) -> _Marks:
    """The marks of a field, wherever in its type they stand."""
    found: _Marks = frozenset(
        mark for mark in metadata if isinstance(mark, (AllowsHex, AllowsSecret, AsNumber, AsText))
    )
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return found | _marks(inner, *more)
    return found.union(*(_marks(part) for part in get_args(annotation) if part is not annotation))


def _models(annotation: Any) -> bool:
    inner = get_args(annotation)
    return any(map(_models, inner)) if inner else isinstance(annotation, type) and issubclass(annotation, _Closed)


def _check(annotation: Any, marks: _Marks, where: str) -> None:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return
    if origin is Annotated:
        _check(inner[0], marks, where)
    elif origin in (Union, types.UnionType, tuple):
        for part in inner:
            if part is not Ellipsis:
                _check(part, marks, where)
    elif not isinstance(annotation, type) or not issubclass(annotation, (*_LEAVES, Body)):
        raise TypeError(f"{where}: a field is text, a number, a time, a Body, or a tuple of those; nothing free-form")
    elif issubclass(annotation, SecretStr) and not any(isinstance(mark, AllowsSecret) for mark in marks):
        raise TypeError(f"{where}: a secret needs a field that says AllowsSecret")
    elif issubclass(annotation, Decimal) and not marks & {AsNumber(), AsText()}:
        raise TypeError(f"{where}: a Decimal goes out as a number or as text: say which")


def _hold(text: str, marks: _Marks, held: list[Held]) -> bool:
    purposes = frozenset(mark.purpose for mark in marks if isinstance(mark, AllowsSecret))
    if not purposes and AllowsHex() not in marks:
        return False
    held.append(Held(text.encode(errors="surrogatepass"), purposes, AllowsHex() in marks))
    return True


def _object(body: _Closed, held: list[Held]) -> tuple[str, str]:
    pairs = [(json.dumps(name), *_value(value, marks, held)) for name, value, marks in body.fields()]
    return (
        "{" + ",".join(f"{name}:{whole}" for name, whole, _ in pairs) + "}",
        "{" + ",".join(f"{name}:{bare}" for name, _, bare in pairs) + "}",
    )


def _value(value: Any, marks: _Marks, held: list[Held]) -> tuple[str, str]:
    """The value in JSON, as it goes out and without what is declared."""
    if isinstance(value, Body):
        return _object(value, held)
    if isinstance(value, tuple):
        parts = [_value(part, marks, held) for part in value]
        return "[" + ",".join(whole for whole, _ in parts) + "]", "[" + ",".join(bare for _, bare in parts) + "]"
    if value is None:
        return "null", "null"
    text = _text(value)
    shown = value.value if isinstance(value, Enum) else value
    number = isinstance(shown, (bool, int, float)) or (isinstance(shown, Decimal) and AsNumber() in marks)
    whole = text if number else json.dumps(text)
    return whole, "null" if _hold(text, marks, held) else whole


def _text(value: Any) -> str:
    """A plain value as text; a type that nobody declared is an error, not its `repr`."""
    if isinstance(value, Enum):
        value = value.value
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return str(value)
        case SecretStr():
            return value.get_secret_value()
        case int():
            return int.__repr__(value)
        case float() if math.isfinite(value):
            return float.__repr__(value)
        case Decimal() if (
            value.is_finite() and abs(value.adjusted()) <= _LARGEST and len(value.as_tuple().digits) <= 2 * _LARGEST
        ):
            return format(value, "f")
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case _:
            raise ValueError(
                f"a {type(value).__name__} that cannot be sent: not finite, too large, or without an offset"
            )
