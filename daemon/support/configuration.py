"""The configuration as it may be shown, by its model: a new setting that is text is not shown until it is on a list."""

import json
from collections.abc import Iterator

from pydantic import BaseModel

from daemon.settings import Settings
from daemon.support.masks import Masks

_PLAIN = {
    ("hotkeys", "sequences"),
    ("hotkeys", "repeatable"),
    ("hotkeys", "keep_when_superseded"),
    ("routes", "do", "keys"),
}
"""Which keys are pressed is what most questions are about."""
_NAMED = {"symbol": "symbol", "account": "account", "strategy": "strategy", "hotkeys": "target"}
"""Settings in a route that have a name in the other parts of the file."""
_AMOUNTS = {"bankroll"}
_OWN = "(your own)"


def learn(settings: Settings, masks: Masks) -> None:
    """Names for what the configuration tells, so that they are found in other texts too."""
    bots = settings.hummingbot.mqtt
    users = (settings.mqtt.username, settings.hummingbot.username, bots.username)
    masks.hide([user or "" for user in users], "(user)")
    for host in (settings.mqtt.host, bots.host):
        if host:
            masks.host(host)
    for url in (*settings.hotkeys.targets.values(), settings.hummingbot.url, settings.polymaker.url):
        if url and url != "practice":
            masks.url(url)
    for target in settings.hotkeys.targets:
        target_name(target, masks)


def lines(settings: Settings, masks: Masks) -> Iterator[str]:
    """A line for each setting."""
    origin = settings.origin
    yield f"file: {'read' if origin.file else 'none'}, .env: {'read' if origin.env_file else 'none'}"
    held = f"{origin.vault.count} in the vault" if origin.vault else "no vault"
    yield f"secrets: {held}, {len(origin.foreign)} of others in .env"
    yield from _section(settings, masks, ())


def _section(section: BaseModel, masks: Masks, above: tuple[str, ...]) -> Iterator[str]:
    for name, info in type(section).model_fields.items():
        value, path = getattr(section, name), (*above, name)
        if isinstance(value, BaseModel):
            yield from _section(value, masks, path)
            continue
        if "SecretStr" in str(info.annotation):
            shown: object = "not set" if value is None else "set"
        elif value == info.get_default(call_default_factory=True):
            shown = _json(value)
        else:
            shown = _json(_shown(value, info.annotation, masks, path))
        yield f"{'.'.join(path)}: {shown}"


def _json(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _shown(value: object, annotation: object, masks: Masks, path: tuple[str, ...]) -> object:
    if value is None or isinstance(value, (bool, int, float)):
        return _OWN if path[-1] in _AMOUNTS and value is not None else value
    if isinstance(value, BaseModel):
        kinds = type(value).model_fields
        return {
            name: _shown(getattr(value, name), kinds[name].annotation, masks, (*path, name))
            for name in value.model_dump(exclude_none=True)
        }
    if isinstance(value, dict):
        return {_key(name, masks, path): _shown(item, None, masks, path) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_shown(item, annotation, masks, path) for item in value]
    return _text(str(value), annotation, masks, path)


def _text(text: str, annotation: object, masks: Masks, path: tuple[str, ...]) -> str:
    """Text is shown where the model says which words it can be, and where it says nothing about anybody."""
    if "://" in text:
        return masks.url(text)
    if any(word in str(annotation) for word in ("Literal[", "EventType")) or path in _PLAIN or text == "practice":
        return text
    if path[-1] == "host":
        return masks.host(text)
    kind = _NAMED.get(path[-1], "")
    if kind == "target":
        return target_name(text, masks)
    return masks.name(kind, text) if kind else _OWN


def _key(name: object, masks: Masks, path: tuple[str, ...]) -> str:
    if path == ("hotkeys", "targets"):
        return target_name(str(name), masks)
    return str(name) if path in _PLAIN else _OWN


def target_name(name: str, masks: Masks) -> str:
    """What a hotkey target is called in the file: everybody's `main` as it is."""
    return name if name == "main" else masks.name("target", name)
