"""Exits cut in where they should, the guard refuses with its reason, and no sequence is cut into by another."""

import json
import random
import time
from pathlib import Path

import pytest

from tests.acceptance.desk import Desk, KeyServer, all_ended, results, until
from tests.acceptance.test_table import TABLE
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.mqtt_peer import MqttPeer


def test_a_stop_loss_amid_the_gap_of_a_tp1(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}, hotkeys={"gap_ms": 1000}) as desk:
        desk.done("entry")
        code, tp1 = desk.post("tp1")
        assert code == 202
        keys.wait(2)
        time.sleep(0.05)  # the publisher's pace
        sl = desk.done("sl")
        assert keys.frames == ["buy_ask", "sell_ask", "cancel_all", "sell_all_bid"]
        pressed = keys.presses
        assert pressed[2].at - pressed[1].at < 1.0, "an exit does not wait for the gap"
        assert results(desk.ended(tp1["id"])) == [("superseded", f"superseded by sl {sl['id']}")]


def test_what_the_guard_refuses(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}, hotkeys={"gap_ms": 1}) as desk:
        desk.done("entry")
        for type_, fields, reason in (
            ("entry", {"symbol": "MSFT"}, "AAPL is open"),
            ("entry", {}, "already open"),
            ("sl", {"symbol": "MSFT"}, "AAPL is the open symbol"),
        ):
            code, answer = desk.post(type_, wait=5, **fields)
            assert (code, answer["status"]) == (409, "refused")
            assert reason in answer["reason"]
        desk.done("tp1")
        code, answer = desk.post("tp1", wait=5)
        assert (code, answer["reason"]) == (409, "tp1 of this trade was already done")
        desk.done("sl")
        code, answer = desk.post("tp2", wait=5)
        assert (code, answer["reason"]) == (409, "the trade has ended (sl)")
        assert keys.frames == ["buy_ask", "sell_ask", "cancel_all", "break_even", "sell_all_bid"]
        desk.kill()
        desk.start()
        assert desk.post("tp2", wait=5)[0] == 409, "the book survives a crash"
        desk.done("entry", symbol="MSFT")


@pytest.mark.parametrize("preset", ["classic", "bracket"])
def test_1000_interleaved_events_on_two_targets(tmp_path: Path, broker: Mosquitto, preset: str) -> None:
    servers = {name: KeyServer(tmp_path, name).start() for name in ("main", "right")}
    chance = random.Random(2)
    routes = [
        {"when": {"account": name, "type": type_}, "do": [{"hotkeys": name}]}
        for name in servers
        for type_ in ("entry", "tp1", "tp2", "sl", "close")
    ]
    hotkeys = {"preset": preset, "frame": "{action} {id}", "gap_ms": 0, "guard": "off"}
    # They come at once: the last ones must not be too old when a slow machine gets to them.
    events = {"max_age_s": dict.fromkeys(("entry", "tp1", "tp2"), 300)}
    try:
        with (
            Desk(tmp_path, servers, broker=broker, hotkeys=hotkeys, routes=routes, events=events) as desk,
            MqttPeer(broker.port, listen=None) as peer,
        ):
            made = [
                desk.make(
                    chance.choice(["entry", "tp1", "tp1", "tp2", "sl", "close"]),
                    account=chance.choice(["main", "right"]),
                    trade_id=f"t{n}",
                )
                for n in range(1000)
            ]
            peer.publish_all([json.dumps(event) for event in made])
            until(lambda: len(desk.events()) == 1000, 30)
            until(lambda: all(map(all_ended, desk.events())), 60)
            ended = {event["id"]: event for event in desk.events()}
    finally:
        for server in servers.values():
            server.kill()
    assert {results(event)[0] for event in ended.values()} == {("done", "")}
    for name, server in servers.items():
        wanted = {e["id"]: TABLE[preset][e["type"]] for e in made if e["account"] == name}
        frames = [frame.split() for frame in server.frames]
        assert len(frames) == sum(map(len, wanted.values()))
        at = 0
        while at < len(frames):
            event_id = frames[at][1]
            sequence = wanted.pop(event_id)
            assert frames[at : at + len(sequence)] == [[key, event_id] for key in sequence]
            at += len(sequence)
