"""The kinds of value a setting can have; each refuses with a sentence that never holds the value."""

import ipaddress
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from daemon.events import EventType

FRAME_FIELDS = frozenset({"action", "symbol", "side", "quantity", "price", "id", "trade_id"})
"""What a `frame` may mention."""

_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}", re.ASCII)
_SYMBOL = re.compile(r"[A-Za-z0-9._:/-]{1,32}", re.ASCII)
_SEQUENCE = re.compile(rf"(?:(?:long|short)\.)?(?:{'|'.join(EventType)})", re.ASCII)
_TEXT_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)
_INSTANCE = re.compile(r"[A-Za-z0-9_*?-]{1,128}", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def refuse(problem: str) -> NoReturn:
    """Raise what pydantic reports as `problem`, word for word."""
    raise PydanticCustomError("deskhand", problem)


@dataclass(frozen=True, slots=True)
class Within:
    """A number from `low` to `high`, both included; text from the environment counts, true and false do not."""

    low: float
    high: float
    unit: str = ""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        whole = source is int
        unit = f" {self.unit}" if self.unit else ""
        problem = f"must be a {'whole ' if whole else ''}number from {self.low:g} to {self.high:g}{unit}"

        def check(value: object) -> float:
            if isinstance(value, str) and _TEXT_NUMBER.fullmatch(value):
                value = float(value) if "." in value else int(value)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                refuse(problem)
            if not self.low <= value <= self.high or (whole and value != int(value)):
                refuse(problem)
            return int(value) if whole else float(value)

        return core_schema.no_info_before_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {"minimum": self.low, "maximum": self.high}


def _pattern(pattern: re.Pattern[str], problem: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            refuse(problem)
        return value

    return check


def _flag(value: object) -> object:
    """Only true and false: pydantic alone would take `yes`, `on` and 1 as well, which YAML 1.2 reads as text."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        refuse("must be true or false")
    return value


def _line(longest: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
            refuse(f"must be text of 1 to {longest} printable characters; put it in quotes if it looks like a number")
        return value

    return check


def _address(value: object, schemes: tuple[str, ...], problem: str) -> str:
    """An address without user, password, query or fragment, which could hold secrets."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or len(value) > 512:
        refuse(problem)
    try:
        parts = urlsplit(value)
        sound = parts.scheme in schemes and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:
        refuse(problem)
    if not sound or " " in value:
        refuse(problem)
    if "@" in parts.netloc or "?" in value or "#" in value:
        refuse("must hold no user, password, query or fragment")
    return value


def _target(value: object) -> str:
    if value == "practice":
        return "practice"
    return _address(value, ("ws", "wss"), "must be practice, or an address like ws://host:8765")


def _http(value: object) -> str:
    return _address(value, ("http", "https"), "must be an address like http://host:8000").rstrip("/")


def _listen(value: object) -> str:
    problem = "must be an address of this machine such as 127.0.0.1; a name could come to mean another one"
    if value == "localhost":
        return "localhost"
    try:
        if not isinstance(value, str) or ipaddress.ip_address(value).is_multicast:
            refuse(problem)
    except ValueError:
        refuse(problem)
    return value


def _file(value: object) -> Path:
    if not isinstance(value, (str, Path)) or not str(value) or not str(value).isprintable():
        refuse("must be the path of a file")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        refuse("there is no home folder here; give an absolute path")


def _topic(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 256 or not value.isprintable():
        refuse("must be 1 to 256 printable characters")
    if "+" in value or "#" in value:
        refuse("must have no wildcards; everything below it is subscribed anyway")
    if value.startswith(("/", "$")) or value.endswith("/") or "//" in value:
        refuse("must not begin with / or $, end with / or hold an empty level")
    own = (f"{value}/".startswith(("deskhand/outcomes/", "deskhand/status/"))) or value == "deskhand"
    if own:
        refuse("must not cover deskhand/outcomes or deskhand/status, where the daemon itself publishes")
    return value


def _frame(value: object) -> str:
    """A `str.format` template of bare field names: no attributes, indexes, conversions or format specifications."""
    if not isinstance(value, str) or not 0 < len(value) <= 1024:
        refuse("must be text of 1 to 1024 characters")
    if not all(c.isprintable() or c in "\n\r\t" for c in value):
        refuse("must hold no control characters")
    allowed = "{" + "}, {".join(sorted(FRAME_FIELDS)) + "}"
    try:
        parts = list(string.Formatter().parse(value))
    except ValueError:
        refuse("has an unpaired brace; a literal brace is written {{ or }}")
    used = [part[1:] for part in parts if part[1] is not None]
    if any(name not in FRAME_FIELDS or specification or conversion for name, specification, conversion in used):
        refuse(f"may hold only {allowed}; a literal brace is written {{{{ or }}}}")
    if ("action", "", None) not in used:
        refuse("must hold {action}, or every key would look the same")
    return value


def _duration(value: object) -> float:
    """Seconds from `30s`, `500ms`, `5m`, `1h` or a bare number of seconds."""
    found = _DURATION.fullmatch(value if isinstance(value, str) else str(value)) if value is not True else None
    seconds = float(found[1]) * _UNITS[found[2]] if found else -1.0
    if not 1 <= seconds <= 86400:
        refuse("must be a duration from 1s to 24h, like 30s, 5m or 1h")
    return seconds


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _short(keys: tuple[str, ...]) -> tuple[str, ...]:
    return keys if len(keys) <= 32 else refuse("must have at most 32 keys")


def _host(value: object) -> str:
    problem = "must be a host name or address, without scheme or port"
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        refuse(problem)
    if ":" in value:
        try:
            ipaddress.IPv6Address(value)
        except ValueError:
            refuse(problem)
    return value


def _upper(value: str) -> str:
    return value.upper()


def _version(value: object) -> object:
    """YAML reads a bare 5 as a number."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not 8 <= len(text) <= 512 or not text.isascii() or not text.isprintable() or " " in text:
        refuse("must be 8 to 512 printable ASCII characters without spaces")
    return value


def _api_key(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().isprintable():  # it goes into a header
        refuse("must be one line of printable characters")
    return value


def _case(change: Callable[[str], str]) -> BeforeValidator:
    return BeforeValidator(lambda value: change(value) if isinstance(value, str) else value)


Flag = Annotated[bool, BeforeValidator(_flag)]
KeyName = Annotated[str, BeforeValidator(_pattern(_KEY, "must be 1 to 64 of A-Z a-z 0-9 _ . -"))]
"""A hotkey's name as the server knows it."""
Keys = Annotated[tuple[KeyName, ...], AfterValidator(_short)]
"""A sequence of at most 32 keys."""
Label = Annotated[str, BeforeValidator(_line(64))]
Text = Annotated[str, BeforeValidator(_line(256))]
Host = Annotated[str, BeforeValidator(_host)]
TargetUrl = Annotated[str, BeforeValidator(_target)]
HttpUrl = Annotated[str, BeforeValidator(_http)]
Listen = Annotated[str, BeforeValidator(_listen)]
"""Where to listen: a literal address, or localhost."""
File = Annotated[Path, BeforeValidator(_file)]
Token = Annotated[SecretStr, AfterValidator(_token)]
ApiKey = Annotated[SecretStr, AfterValidator(_api_key)]
Topic = Annotated[str, BeforeValidator(_topic)]
Frame = Annotated[str, BeforeValidator(_frame)]
SequenceName = Annotated[
    str,
    BeforeValidator(
        _pattern(_SEQUENCE, "is not a sequence: use entry, tp1, tp2, sl or close, alone or after long. or short.")
    ),
]
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^[0-9.]+(ms|s|m|h)?$"}, {"type": "number"}]}),
]
"""Seconds, written `30s`."""
Symbol = Annotated[
    str, BeforeValidator(_pattern(_SYMBOL, "must be 1 to 32 of A-Z 0-9 . _ : / -")), AfterValidator(_upper)
]
Instance = Annotated[
    str, BeforeValidator(_pattern(_INSTANCE, "must be a bot's name of A-Z a-z 0-9 _ -, where * and ? stand for others"))
]
MqttVersion = Annotated[
    Literal["5", "3.1.1"],
    BeforeValidator(_version),
    WithJsonSchema({"enum": [5, "5", "3.1.1"]}),
]
Level = Annotated[Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], _case(str.upper)]
OneOrMany = BeforeValidator(_one_or_many)
"""Lets a list of one be written without brackets."""


def one_or_many(items: dict[str, Any]) -> WithJsonSchema:
    """The JSON Schema that goes with `OneOrMany`."""
    return WithJsonSchema({"anyOf": [items, {"type": "array", "items": items}]})
