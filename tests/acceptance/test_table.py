"""Each event type, both presets, over each source, in live mode: exactly the keys of the table, in order, with gaps."""

import itertools
from pathlib import Path

import pytest

from tests.acceptance.desk import Desk, KeyServer, results, said_at
from tests.fakes.mosquitto import Mosquitto

TABLE = {
    "classic": {
        "entry": ["buy_ask"],
        "tp1": ["sell_ask", "cancel_all", "break_even"],
        "tp2": ["sell_ask"],
        "sl": ["sell_all_bid"],
        "close": ["sell_all_bid"],
    },
    "bracket": {
        "entry": ["buy_ask"],
        "tp1": ["break_even"],
        "tp2": [],
        "sl": ["cancel_all", "sell_all_bid"],
        "close": ["sell_all_bid"],
    },
}
GAP_S = 0.1
SLACK_S = 0.002  # the log has whole milliseconds


def sent(desk: Desk) -> list[float]:
    """When each key left: there the gap is kept, and keys may travel unequally long."""
    return [said_at(line) for line in desk.log().splitlines() if "[Hotkey] Sent: " in line]


@pytest.mark.parametrize("preset", ["classic", "bracket"])
@pytest.mark.parametrize("connect", ["warm", "persistent"])
def test_every_event_over_every_source(
    tmp_path: Path, keys: KeyServer, broker: Mosquitto, preset: str, connect: str
) -> None:
    sources = ("http", "websocket", "unix", "mqtt") if connect == "warm" else ("unix", "http")
    gaps: list[float] = []
    with Desk(tmp_path, {"main": keys}, broker=broker, hotkeys={"preset": preset, "connect": connect}) as desk:
        for source in sources:
            for exit_ in ("tp2", "sl", "close"):
                trade = f"{source}-{exit_}"
                for type_ in ("entry", "tp1", exit_):
                    before = len(keys.presses)
                    shown = desk.emit(source, desk.make(type_, trade_id=trade))
                    expected = TABLE[preset][type_]
                    keys.wait(before + len(expected))
                    assert results(shown) == [("done", "")], shown
                    assert shown["origin"] == source
                    pressed = keys.presses[before:]
                    assert [press.frame for press in pressed] == expected, (source, type_)
                    for one, two in itertools.pairwise(sent(desk)[before:]):
                        assert two - one > GAP_S - SLACK_S, (source, type_)
                        gaps.append(two - one)
            desk.request("DELETE", "/book")
        assert min(gaps) < 3 * GAP_S, "each may be late by chance, but not all of them"
        assert max(gaps) < 20 * GAP_S
        assert not any(line.split()[2] in ("ERROR", "CRITICAL") for line in desk.log().splitlines())
