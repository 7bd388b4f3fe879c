"""What differs between two configurations, key by key and safe to log; and what a running daemon cannot take over."""

from collections.abc import Iterator
from typing import NamedTuple

from pydantic import BaseModel, SecretStr

from daemon.redaction import redact
from daemon.settings.model import Settings

NEEDS_RESTART = (("state_dir",), ("http", "host"), ("http", "port"))
"""Keys that stand for what outlives a reload: the journal's folder and the listening sockets."""
_SHOWN = 120  # characters of a value

KeyPath = tuple[str | int, ...]


class Change(NamedTuple):
    """One key whose value is another: both as compact JSON, empty where there is none, of a secret only `(secret)`."""

    path: KeyPath
    old: str
    new: str

    @property
    def key(self) -> str:
        """The key with dots: `hotkeys.targets.main`."""
        return ".".join(map(str, self.path))

    @property
    def words(self) -> str:
        """For people: `hotkeys.gap_ms: 100 -> 50`, `http.token: changed`."""
        if "(secret)" in (self.old, self.new):
            kind = "changed" if self.old and self.new else "set" if self.new else "removed"
            return f"{self.key}: {kind}"
        return f"{self.key}: {self.old or '(none)'} -> {self.new or '(none)'}"


def changes(old: Settings, new: Settings) -> list[Change]:
    """Every key that differs, in the order of the model."""
    return list(_compare((), old, new))


def _compare(path: KeyPath, old: object, new: object) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, BaseModel) and isinstance(new, BaseModel) and type(old) is type(new):
        for name in type(old).model_fields:
            yield from _compare((*path, name), getattr(old, name), getattr(new, name))
    elif isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            yield from _compare((*path, name), old.get(name), new.get(name))
    elif _routes(old) and _routes(new) and len(old) == len(new):  # type: ignore[arg-type]  # both are tuples
        for number, pair in enumerate(zip(old, new, strict=True)):  # type: ignore[call-overload]
            yield from _compare((*path, number), *pair)
    else:
        yield Change(path, _shown(old), _shown(new))


def _routes(value: object) -> bool:
    return isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return "(secret)"
    text = redact.dumps(_plain(value), ensure_ascii=False, default=str)  # before it is cut
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
