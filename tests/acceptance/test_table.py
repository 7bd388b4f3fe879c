"""Each event type, both presets, over each source, in live mode: exactly the keys of the table, in order, with gaps."""

import itertools
from pathlib import Path

import pytest

from tests.acceptance.desk import Desk, KeyServer, results
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
SLACK_S = 0.025  # the gap is kept where keys leave; they may travel unequally long


@pytest.mark.parametrize("preset", ["classic", "bracket"])
@pytest.mark.parametrize("connect", ["warm", "persistent"])
def test_every_event_over_every_source(
    tmp_path: Path, keys: KeyServer, broker: Mosquitto, preset: str, connect: str
) -> None:
    sources = ("http", "websocket", "unix", "mqtt") if connect == "warm" else ("unix",)
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
                    for one, two in itertools.pairwise(pressed):
                        assert GAP_S - SLACK_S < two.at - one.at < 3 * GAP_S, (source, type_)
            desk.request("DELETE", "/book")
        assert not any(line.split()[2] in ("ERROR", "CRITICAL") for line in desk.log().splitlines())
