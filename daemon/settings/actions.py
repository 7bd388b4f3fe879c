"""Actions in routes: keys at a hotkey target, or a call to Hummingbot with fields that the event fills in."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Tag
from pydantic import model_validator as model_check

from daemon.settings import fields as f

PLACES = ("symbol", "side", "type", "quantity", "price", "id", "trade_id", "account", "strategy", "tp1", "tp2", "stop")
"""What a template may name in braces, beside `meta.NAME`."""
_HOLE = re.compile(r"\{([a-z0-9_.]*)\}")

CALLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "start_bot": (("bot",), ()),
    "stop_bot": (("bot",), ()),
    "place_order": (
        ("account", "connector", "pair", "side", "amount"),
        ("order_type", "price", "leverage", "position_action"),
    ),
    "cancel_orders": (("account", "connector", "pair"), ()),
    "close_position": (("account", "connector", "pair"), ()),
    "executor": (
        ("account", "connector", "pair", "side", "amount"),
        ("price", "leverage", "take_profit", "stop_loss", "time_limit"),
    ),
    "controller_config": (("bot", "controller"), ("manual_kill_switch", "total_amount_quote")),
}
"""Each call: the fields it needs, and those it may have."""


def _template(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        f.refuse("must be text or a number, with {symbol} and such for what the event brings")
    text = str(value)
    if not 0 < len(text) <= 256 or not text.isprintable():
        f.refuse("must be 1 to 256 printable characters")
    for name in _HOLE.findall(text):
        if name not in PLACES and not re.fullmatch(r"meta\.[a-z0-9_]{1,64}", name):
            f.refuse(f"braces may hold {', '.join(PLACES)} or meta.NAME")
    if "{" in _HOLE.sub("", text) or "}" in _HOLE.sub("", text):
        f.refuse("has a brace too many")
    return text


Template = Annotated[str, BeforeValidator(_template)]


class _Action(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Press(_Action):
    """Press keys at the target `hotkeys`: `keys`, or without them the event's usual sequence."""

    hotkeys: f.KeyName
    keys: f.Keys | None = None


class Call(_Action):
    """Ask Hummingbot for something; every field may hold {symbol} and such. `leverage` is 1 unless set."""

    hummingbot: Literal[
        "start_bot", "stop_bot", "place_order", "cancel_orders", "close_position", "executor", "controller_config"
    ]
    bot: Template | None = None
    account: Template | None = None
    connector: Template | None = None
    pair: Template | None = None
    side: Template | None = None
    amount: Template | None = None
    order_type: Template | None = None
    price: Template | None = None
    leverage: Template | None = None
    position_action: Template | None = None
    take_profit: Template | None = None
    stop_loss: Template | None = None
    time_limit: Template | None = None
    controller: Template | None = None
    manual_kill_switch: Template | None = None
    total_amount_quote: Template | None = None

    @model_check(mode="after")
    def _fitting(self) -> Self:
        needed, allowed = CALLS[self.hummingbot]
        given = set(self.templates())
        missing = [name for name in needed if name not in given]
        beside = sorted(given - {*needed, *allowed})
        if missing:
            f.refuse(f"{self.hummingbot} needs {', '.join(missing)}")
        if beside:
            f.refuse(f"{self.hummingbot} does not take {', '.join(beside)}")
        return self

    def templates(self) -> dict[str, str]:
        """The fields that are given."""
        return {
            name: value
            for name in type(self).model_fields
            if name != "hummingbot" and (value := getattr(self, name)) is not None
        }


def _which(value: object) -> str:
    called = isinstance(value, Call) or (isinstance(value, dict) and "hummingbot" in value)
    return "(call)" if called else "(press)"


KINDS = ("(press)", "(call)")
"""Marks that pydantic adds to the place of an error inside an action."""
Action = Annotated[
    Annotated[Press, Tag("(press)")] | Annotated[Call, Tag("(call)")],
    Discriminator(_which),
]
