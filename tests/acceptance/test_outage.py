"""A hotkey server that goes away, and one that freezes, in the middle of the day."""

import signal
import time
from pathlib import Path

from tests.acceptance.desk import Desk, Json, KeyServer, all_ended, until
from tests.acceptance.stream import RATE, Stream, audit, by_id
from tests.fakes.mosquitto import Mosquitto

LIMITS = {"entry": 1.0, "tp1": 3.0, "tp2": 3.0, "sl": 20.0, "close": 20.0}
STEP_TIMEOUT_S = 1.0
ON_THE_WIRE = 3
"""Keys a server can hold when it stops: one on its way, and one on each of two connections opened in advance."""
HOTKEYS = {"frame": "{action} {id}", "gap_ms": 5, "guard": "off", "step_timeout_s": STEP_TIMEOUT_S}


def test_away_for_3_seconds_at_25_events_a_second(tmp_path: Path, keys: KeyServer, broker: Mosquitto) -> None:
    events = {"max_age_s": LIMITS}
    with Desk(tmp_path, {"main": keys}, broker=broker, hotkeys=HOTKEYS, events=events) as desk:
        with Stream(desk, broker, own_trades=True) as stream:
            until(lambda: len(stream.sent) >= RATE)
            early = set(stream.sent)
            until(lambda: {event["id"] for event in desk.events() if all_ended(event)} >= early)
            keys.kill()
            away = time.time()
            time.sleep(3.0)  # the length of the outage is what the test is about
            keys.start()
            back = time.time()
            until(lambda: desk.status()["peers"][0]["up"], what="it was not found again")
            well = time.time()
            count = len(stream.sent)
            until(lambda: len(stream.sent) >= count + RATE)
        until(lambda: len(desk.events()) == len(stream.sent))
        until(lambda: all(map(all_ended, desk.events())), 30)
        journal = desk.events()
    ends = audit(stream.sent, journal, keys.presses)
    pressed = by_id(keys.presses)
    for event in journal:
        limit = LIMITS[event["type"]]
        result = event["deliveries"][0]["result"]
        keys_at = [press.wall for press in pressed.get(event["id"], [])]
        if keys_at:
            left = event["deliveries"][0]["first_byte"]
            assert left - event["ts"] <= limit + 0.05, ("fired after its age limit", event)
            assert keys_at[0] - left < 1.0, ("held back on its way", event)
        if event["type"] in ("sl", "close"):
            assert result in ("done", "uncertain"), event
            assert keys_at, ("an exit never fired", event)
        elif event["id"] in early:
            assert result == "done", event
        elif away < event["ts"] < back - STEP_TIMEOUT_S - 0.5:
            assert result in ("failed", "expired", "uncertain"), event
            assert not keys_at
        elif event["ts"] > well:
            assert result == "done" or (event["type"], result) == ("entry", "expired"), event
    assert ends["uncertain"] <= ON_THE_WIRE, "only what was on the wire when it went away"
    assert ends["failed"] + ends["expired"] > RATE


def test_no_heap_of_keys_when_a_frozen_server_thaws(tmp_path: Path, keys: KeyServer, broker: Mosquitto) -> None:
    with Desk(tmp_path, {"main": keys}, broker=broker, hotkeys=HOTKEYS) as desk:
        with Stream(desk, broker, own_trades=True, exits=False) as stream:
            until(lambda: len(stream.sent) >= RATE)
            keys.signal(signal.SIGSTOP)
            frozen = time.time()
            time.sleep(1.0)
            stop_loss: Json = desk.make("sl", trade_id="stop")
            stream.sent[stop_loss["id"]] = stop_loss
            assert desk.request("POST", "/events", stop_loss)[0] == 202
            time.sleep(4.0)  # the length of the freeze is what the test is about
            before = len(keys.presses)
            thawed = time.time()
            keys.signal(signal.SIGCONT)
            until(lambda: desk.status()["peers"][0]["up"], what="it was not found again")
            well = time.time()
            count = len(stream.sent)
            until(lambda: len(stream.sent) >= count + RATE)
        until(lambda: len(desk.events()) == len(stream.sent))
        until(lambda: all(map(all_ended, desk.events())), 30)
        journal = desk.events()
    ends = audit(stream.sent, journal, keys.presses)
    after = by_id(keys.presses[before:])
    late = {
        event_id: [press.frame for press in presses]
        for event_id, presses in after.items()
        if stream.sent[event_id]["ts"] < thawed - STEP_TIMEOUT_S - 0.5
    }
    assert late.pop(stop_loss["id"]) == ["sell_all_bid"], "the stop-loss fires once the server is back"
    assert len(late) <= ON_THE_WIRE, ("more than what was on the wire at the freeze", late)
    for event in journal:
        if frozen + 0.5 < event["ts"] < thawed - STEP_TIMEOUT_S - 0.5 and event["id"] != stop_loss["id"]:
            assert event["deliveries"][0]["result"] in ("failed", "expired", "uncertain"), event
        elif event["ts"] > well:
            assert event["deliveries"][0]["result"] == "done", event
    assert ends["uncertain"] <= ON_THE_WIRE, "only what was on the wire at the freeze"
