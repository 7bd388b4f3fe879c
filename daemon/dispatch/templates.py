"""What a call takes, from the route's templates and the event; pure."""

import json
import re

from daemon.events import TradeEvent

_HOLE = re.compile(r"\{([a-z0-9_.]+)\}")


def fill(template: str, event: TradeEvent) -> tuple[str, str]:
    """The text with the event's values, and the name of the first that the event does not bring (empty: none)."""
    missing = ""

    def value(found: re.Match[str]) -> str:
        nonlocal missing
        known = _value(found[1], event)
        if known is None:
            missing = missing or found[1]
        return known or ""

    return _HOLE.sub(value, template), missing


def _value(name: str, event: TradeEvent) -> str | None:
    if name.startswith("meta."):
        found = (event.meta or {}).get(name.removeprefix("meta."))
        return None if found is None else str(found)
    if name in ("tp1", "tp2", "stop"):
        target = getattr(event.targets, name) if event.targets is not None else None
        return None if target is None else f"{target:f}"
    if name == "trade_id":
        return event.trade
    known = getattr(event, name)
    if name in ("quantity", "price"):
        return None if known is None else f"{known:f}"
    return None if known is None else str(known)


def step(what: str, templates: dict[str, str], event: TradeEvent) -> tuple[str, str]:
    """A call as one step of a delivery, JSON with sorted keys; and why it cannot be made (empty: it can)."""
    filled = {}
    for name, template in templates.items():
        text, missing = fill(template, event)
        if missing:
            return json.dumps({"do": what}), f"{what} needs {{{missing}}} for {name}, and the event brings none"
        filled[name] = text
    return json.dumps({"do": what, **filled}, sort_keys=True), ""
