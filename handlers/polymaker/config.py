"""The bot configuration as the Command Center hands it out: flat, with lists in three forms, and never quite known.

A field of another kind than expected is `odd` and counts as absent; one that nobody knows is ignored.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from handlers.polymaker.models import RunMode

_NUMBERS = frozenset(
    {
        *("kellyBankroll", "sessionBudget", "budgetPerMarket", "mmSpreadMin", "mmSpreadMax", "maxConcurrentWindows"),
        *("maxOrderSessions", "maxLossPct", "lossCooldownSec", "reserveRatio", "mmBudget", "arbBudget"),
        *("sniperBudget", "contrarianBudget", "preExitBudget", "arbMinProfit", "arbMaxSize", "hedgeMinProfit"),
        *("hedgeTier1Pct", "hedgeTier1Cost", "hedgeTier2Pct", "hedgeTier2Cost", "hedgeTier3Pct", "hedgeTier3Cost"),
        *("hedgeTier4Pct", "hedgeTier4MaxLoss", "maxOrderHorizon", "minBookDepth", "maxSpreadAsymmetry"),
        *("midpointSkewLimit", "mmOrderSize", "simFillRate", "tradeAdvanceWindows"),
    }
)
_FLAGS = frozenset(
    {
        *("mmEnabled", "arbEnabled", "sniperEnabled", "contrarianEnabled"),
        *("preExitEnabled", "hedgeEnabled", "hedgeT4Enabled"),
    }
)
_FAMILIES = re.compile(r"momentum(?:Exit|Gate)[A-Za-z0-9]{0,48}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?", re.ASCII)
_MOST = 64


@dataclass(frozen=True, slots=True)
class CenterConfig:
    """What is known of it. The known client uses one without an `id` for nothing.

    `blackout_hours` are pairs of UTC hours, `rest` the other known fields by their name there, `odd` the known fields
    that were of the wrong kind. Only a real `true` sets `pause_orders`.
    """

    id: int | None = None
    mode: RunMode = "dry_run"
    pause_orders: bool = False
    target_assets: tuple[str, ...] = ()
    window_durations: tuple[str, ...] = ()
    blackout_hours: tuple[tuple[Decimal, Decimal], ...] = ()
    rest: Mapping[str, Decimal | bool] = field(default_factory=dict)
    odd: tuple[str, ...] = ()

    def shown(self) -> dict[str, object]:
        """JSON-ready, by the names there, for `status`."""
        hours = [[str(start), str(end)] for start, end in self.blackout_hours]
        return {
            "id": self.id,
            "mode": self.mode,
            "pauseOrders": self.pause_orders,
            "targetAssets": list(self.target_assets),
            "windowDurations": list(self.window_durations),
            "tradingBlackoutWindows": hours,
            **{name: value if isinstance(value, bool) else str(value) for name, value in self.rest.items()},
        }


def center_config(found: object) -> CenterConfig | None:
    """What an answer's JSON says; None if it is no configuration at all."""
    if not isinstance(found, dict) or not found:
        return None
    odd: list[str] = []
    rest: dict[str, Decimal | bool] = {}
    for name, value in found.items():
        if value is not None and (name in _NUMBERS or name in _FLAGS or _FAMILIES.fullmatch(name)):
            known = value if isinstance(value, bool) and name not in _NUMBERS else number(value)
            if known is None or (name in _FLAGS and not isinstance(known, bool)):
                odd.append(name)
            else:
                rest[name] = known

    def part(name: str, read: Any, absent: Any) -> Any:
        value = found.get(name)
        known = absent if value is None else read(value)
        if known is None:
            odd.append(name)
        return absent if known is None else known

    return CenterConfig(
        id=part("id", whole, None),
        mode="live" if found.get("mode") == "live" else "dry_run",
        pause_orders=part("pauseOrders", lambda value: value if isinstance(value, bool) else None, False),
        target_assets=part("targetAssets", _names, ()),
        window_durations=part("windowDurations", _names, ()),
        blackout_hours=part("tradingBlackoutWindows", _hours, ()),
        rest=rest,
        odd=tuple(odd),
    )


def whole(value: object) -> int | None:
    """An id: a whole number above zero, also in digits; None for anything else."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,15}", value, re.ASCII):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else None


def number(value: object) -> Decimal | None:
    """A finite number below 1e16, also in digits; None for anything else."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
        return None
    known = Decimal(value)
    return known if known.is_finite() and abs(known.adjusted()) < 16 else None


def _list(value: object) -> list[Any] | None:
    """An array, an array in a string, or words between commas."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = json.loads(value, parse_float=Decimal)
            except (ValueError, RecursionError, ArithmeticError):
                return None
        else:
            value = [word.strip() for word in value.split(",") if word.strip()]
    return value if isinstance(value, list) and len(value) <= _MOST else None


def _names(value: object) -> tuple[str, ...] | None:
    items = _list(value)
    if items is None:
        return None
    words = [str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in items]
    sound = all(isinstance(word, str) and 0 < len(word) <= _MOST and word.isprintable() for word in words)
    return tuple(words) if sound else None


def _hours(value: object) -> tuple[tuple[Decimal, Decimal], ...] | None:
    items = _list(value)
    if items is None or not all(isinstance(item, list) and len(item) == 2 for item in items):
        return None
    pairs = [(number(start), number(end)) for start, end in items]
    hours = [(start, end) for start, end in pairs if start is not None and end is not None]
    return tuple(hours) if len(hours) == len(items) else None
