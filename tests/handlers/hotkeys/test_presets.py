import pytest

from daemon.events import EventType
from daemon.settings import HotkeySettings
from handlers.hotkeys.presets import sequence


@pytest.mark.parametrize(
    ("preset", "event_type", "keys"),
    [
        ("classic", "entry", ("buy_ask",)),
        ("classic", "tp1", ("sell_ask", "cancel_all", "break_even")),
        ("classic", "tp2", ("sell_ask",)),
        ("classic", "sl", ("sell_all_bid",)),
        ("classic", "close", ("sell_all_bid",)),
        ("bracket", "entry", ("buy_ask",)),
        ("bracket", "tp1", ("break_even",)),
        ("bracket", "tp2", ()),
        ("bracket", "sl", ("cancel_all", "sell_all_bid")),
        ("bracket", "close", ("sell_all_bid",)),
    ],
)
def test_presets_are_those_of_the_existing_bot(preset: str, event_type: str, keys: tuple[str, ...]) -> None:
    settings = HotkeySettings(preset=preset)
    assert sequence(settings, EventType(event_type), "long") == keys
    assert sequence(settings, EventType(event_type), "short") is None


def test_own_sequences_win() -> None:
    own = {"sl": ["flatten"], "long.close": ["a", "b"], "close": ["c"], "short.entry": ["sell_short"], "tp1": []}
    settings = HotkeySettings(sequences=own)
    assert sequence(settings, EventType.SL, "long") == ("flatten",)
    assert sequence(settings, EventType.CLOSE, "long") == ("a", "b")
    assert sequence(settings, EventType.TP1, "long") == ()
    assert sequence(settings, EventType.ENTRY, "long") == ("buy_ask",)
    assert sequence(settings, EventType.ENTRY, "short") == ("sell_short",)
    assert sequence(settings, EventType.SL, "short") is None, "a bare sl is for longs"
