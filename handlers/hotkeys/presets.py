"""Which keys an event presses: the two sequences maps that traders run today, and the user's own over them."""

from daemon.events import EventType
from daemon.settings import HotkeySettings

PRESETS: dict[str, dict[EventType, tuple[str, ...]]] = {
    "classic": {
        EventType.ENTRY: ("buy_ask",),
        EventType.TP1: ("sell_ask", "cancel_all", "break_even"),
        EventType.TP2: ("sell_ask",),
        EventType.SL: ("sell_all_bid",),
        EventType.CLOSE: ("sell_all_bid",),
    },
    # For a platform that holds its own take-profit orders: a level that is hit fills there, only the stop moves.
    "bracket": {
        EventType.ENTRY: ("buy_ask",),
        EventType.TP1: ("break_even",),
        EventType.TP2: (),
        EventType.SL: ("cancel_all", "sell_all_bid"),
        EventType.CLOSE: ("sell_all_bid",),
    },
}
"""Long trades only: neither map has keys for the short side."""


def sequence(settings: HotkeySettings, event_type: EventType, side: str) -> tuple[str, ...] | None:
    """The keys of an event: () presses nothing and ends done, None means that this side has no sequence.

    `sequences` wins over the preset, and `long.sl` over `sl`. A bare `sl` is for longs: the same keys on a short
    would double it.
    """
    own = settings.sequences.get(f"{side}.{event_type}")
    if own is None and side == "long":
        own = settings.sequences.get(str(event_type))
    if own is not None:
        return tuple(own)
    return PRESETS[settings.preset][event_type] if side == "long" else None
