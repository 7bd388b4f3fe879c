"""The layers over the file: variables from the environment and `.env`, and `--set`; which key each of them means."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from dotenv.parser import parse_stream
from pydantic import BaseModel, SecretStr

from daemon.events import safe_name
from daemon.ports import KnownSecret
from daemon.redaction import SECRET_FROM
from daemon.settings import yaml
from daemon.settings.model import Settings
from daemon.vault import KEY_FILE_VARIABLE

PREFIX = "DESKHAND_"
CONFIG_VARIABLE = "DESKHAND_CONFIG"
"""Names the configuration file."""
REFERENCE = "vault:"
"""What leads the name of a secret in the vault, in the place of the secret itself."""
_NO_SETTINGS = (CONFIG_VARIABLE, KEY_FILE_VARIABLE)
"""Variables of ours that say where something is found."""
NAMES: dict[str, tuple[str, ...]] = {
    "HOTKEY_SERVER_URL": ("hotkeys", "targets", "main"),
    "HUMMINGBOT_API_URL": ("hummingbot", "url"),
    "HUMMINGBOT_API_USERNAME": ("hummingbot", "username"),
    "HUMMINGBOT_API_PASSWORD": ("hummingbot", "password"),
    "HUMMINGBOT_API_KEY": ("hummingbot", "api_key"),
    "POLYMAKER_URL": ("polymaker", "url"),
    "POLYMAKER_API_KEY": ("polymaker", "api_key"),
    "POLYMAKER_ENABLED": ("polymaker", "enabled"),
    "POLYMAKER_TIMEOUT": ("polymaker", "timeout_s"),
    "DESKHAND_HTTP_TOKEN": ("http", "token"),
}
"""Names that do not follow the rule, most of them because users of these systems have them already."""

FOREIGN_LIMIT = 1000
"""Most secrets of others in one `.env`."""

Kind = Literal["section", "table", "secret", "text", "other"]


def _bare(annotation: object) -> object:
    """An annotation without `Annotated` and `None`."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        left = [part for part in get_args(annotation) if part is not type(None)]
        return _bare(left[0])
    return annotation


def _kind(annotation: object) -> Kind:
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return "section"
    if bare is SecretStr:
        return "secret"
    if get_origin(bare) is dict:
        return "table"
    return "text" if bare in (str, Path) or get_origin(bare) is Literal else "other"


def locate(words: Sequence[str]) -> tuple[tuple[str, ...], Kind] | None:
    """The key path and kind that `words` mean, or None; below a table all that is left is one key."""
    model: type[BaseModel] = Settings
    for depth, word in enumerate(words):
        if word not in model.model_fields:
            return None
        annotation = model.model_fields[word].annotation
        kind = _kind(annotation)
        rest = words[depth + 1 :]
        if not rest:
            return tuple(words), kind
        if kind == "table":
            return (*words[: depth + 1], ".".join(rest)), _kind(get_args(_bare(annotation))[1])
        if kind != "section":
            return None
        model = _bare(annotation)  # type: ignore[assignment]  # a section is a model class
    return None


def every_key(model: type[BaseModel] = Settings, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Kind]]:
    """Every key path there is, and its kind."""
    for name, info in model.model_fields.items():
        kind = _kind(info.annotation)
        yield (*above, name), kind
        if kind == "section":
            yield from every_key(_bare(info.annotation), (*above, name))  # type: ignore[arg-type]  # a model class


def is_reference(value: object) -> bool:
    """Whether a secret's value is only its name in the vault."""
    return isinstance(value, str) and value.startswith(REFERENCE)


def secrets_within(tree: object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The key paths in `tree` that hold a secret; a reference is none."""
    if not isinstance(tree, dict):
        return
    for path, kind in every_key():
        if kind == "secret" and path[: len(above)] == above:
            value: object = tree
            for word in path[len(above) :]:
                value = value.get(word) if isinstance(value, dict) else None
            if value is not None and not is_reference(value):
                yield path


def variable(path: tuple[str, ...]) -> str:
    """The name of the variable that sets `path`, as most people have it."""
    return next((name for name, known in NAMES.items() if known == path), PREFIX + "__".join(path).upper())


def remedy(path: tuple[str, ...]) -> str:
    """What to say to a secret in the wrong place."""
    return (
        f"is a secret and does not belong here; set {variable(path)} in the environment or in .env, or write vault:NAME"
    )


@dataclass(slots=True)
class Layer:
    """Values by key path, where each came from (for errors), and what is wrong."""

    values: dict[tuple[str, ...], object] = field(default_factory=dict)
    origins: dict[tuple[str, ...], str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def put(self, label: str, path: tuple[str, ...], kind: Kind, text: str) -> None:
        """Read `text` as the kind of value that `path` takes."""
        value: object = text
        if kind not in ("text", "secret"):
            try:
                value = yaml.value(text)
            except ValueError as error:
                self.problems.append(f"{label}: {error}")
                return
        elif kind == "text" and text in ("null", "~"):
            value = None
        self.values[path] = value
        self.origins[path] = label


def from_variables(found: Mapping[str, str], labels: Mapping[str, str]) -> Layer:
    """Our own variables and the known ones of others; empty ones count as unset. `labels` name them in errors."""
    layer = Layer()
    for name, path in NAMES.items():  # first, so that a name by the rule wins over an inherited one
        text = found.get(name, "").strip()
        if not text:
            continue
        if "${" in text and kind_of(path) != "secret":
            layer.problems.append(f"{labels[name]}: ${{...}} is not expanded here; write the value out")
        elif name == "POLYMAKER_ENABLED":
            layer.put(labels[name], path, "other", str(text.lower() == "true").lower())
        else:
            layer.put(labels[name], path, kind_of(path), text)
    for name, text in found.items():
        if not name.startswith(PREFIX) or name in (*NAMES, *_NO_SETTINGS) or not text.strip():
            continue
        place = locate(name.removeprefix(PREFIX).lower().split("__"))
        if place is None:
            tails = [
                *_NO_SETTINGS,
                "DESKHAND_HTTP_TOKEN",
                *(PREFIX + "__".join(path).upper() for path, _ in every_key()),
            ]
            close = suggestion(name.removeprefix(PREFIX), [tail.removeprefix(PREFIX) for tail in tails], PREFIX)
            layer.problems.append(f"{labels[name]}: is not a known variable{close}")
        else:
            layer.put(labels[name], *place, text)
    return layer


def kind_of(path: tuple[str, ...]) -> Kind:
    """The kind of a key path that exists."""
    place = locate(path)
    return place[1] if place else "other"


def suggestion(name: str, known: Sequence[str], prefix: str = "") -> str:
    """`; did you mean ...?`, with `prefix` before it, when one of `known` is close."""
    close = get_close_matches(name, known, n=1, cutoff=0.75)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def from_overrides(overrides: Sequence[str]) -> Layer:
    """`--set key=value`; secrets are refused, because other users can read a process's arguments."""
    layer = Layer()
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key:
            layer.problems.append("--set: must be key=value")
            continue
        label = f"--set {safe_name(key)}"
        place = locate(key.strip().split("."))
        if place is None:
            layer.problems.append(
                f"{label}: is not a known key{suggestion(key, ['.'.join(path) for path, _ in every_key()])}"
            )
        elif place[1] == "secret" and not is_reference(text):
            layer.problems.append(f"{label}: {remedy(place[0])}")
        else:
            layer.put(label, *place, text)
            for path in secrets_within(layer.values.get(place[0]), place[0]):
                layer.problems.append(f"{label}: {'.'.join(path)} {remedy(path)}")
    return layer


@dataclass(slots=True)
class EnvFile:
    """What a `.env` holds, if it was `found`: variables for us with their labels, secrets of others, what is wrong."""

    found: bool = True
    variables: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    foreign: list[KnownSecret] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_env_file(path: Path, *, required: bool) -> EnvFile:
    """Read a `.env`; one that is not ours alone is refused with the command that helps."""
    found = EnvFile()
    try:
        # Non-blocking, or a pipe in its place would hold the start up; checked after opening, so nobody can swap it.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            about = os.fstat(file.fileno())
            raw = file.read(yaml.SIZE_LIMIT + 1) if stat.S_ISREG(about.st_mode) else b""
    except FileNotFoundError:
        found.found = False
        if required:
            found.problems.append(f"{path}: does not exist")
        return found
    except OSError as error:
        found.problems.append(f"{path}: cannot be read: {error.strerror}")
        return found
    if not stat.S_ISREG(about.st_mode):
        found.problems.append(f"{path}: is not a file")
    elif about.st_uid != os.geteuid():
        found.problems.append(f"{path}: belongs to another user; run: chown {os.geteuid()} '{path}'")
    elif about.st_mode & 0o077:
        found.problems.append(f"{path}: others can read it, and it holds secrets; run: chmod 600 '{path}'")
    elif len(raw) > yaml.SIZE_LIMIT:
        found.problems.append(f"{path}: is larger than 1 MiB")
    else:
        try:
            _parse(raw.decode("utf-8-sig"), path, found)
        except UnicodeDecodeError:
            found.problems.append(f"{path}: is not UTF-8")
    return found


def _parse(text: str, path: Path, found: EnvFile) -> None:
    for binding in parse_stream(StringIO(text)):
        place = f"{path}:{binding.original.line}"
        if binding.error:
            found.problems.append(f"{place}: is not NAME=value")
        elif binding.key is not None:
            value = binding.value or ""
            if binding.key in NAMES or binding.key.startswith(PREFIX):
                found.variables[binding.key] = value
                found.labels[binding.key] = f"{place}: {safe_name(binding.key)}"
            elif len(value) >= SECRET_FROM and not is_reference(value):
                found.foreign.append(KnownSecret(safe_name(binding.key), value, "foreign"))
    if len(found.foreign) > FOREIGN_LIMIT:
        found.problems.append(
            f"{path}: holds more than {FOREIGN_LIMIT} values of others, and each of them is looked for in every line"
            " that leaves; keep what is Deskhand's in a file of its own"
        )
