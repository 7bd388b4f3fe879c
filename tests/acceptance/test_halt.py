"""The kill switch."""

import time
from pathlib import Path

from tests.acceptance.desk import Desk, KeyServer, results


def test_a_halt_takes_effect_at_once_and_survives_kill_9(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}, hotkeys={"gap_ms": 2000}) as desk:
        desk.done("entry")
        running = desk.post("tp1")[1]
        keys.wait(2)
        began = time.monotonic()
        assert desk.request("POST", "/halt", {"level": "all", "reason": "fire drill"})[0] == 200
        ended = desk.ended(running["id"])
        assert time.monotonic() - began < 1.5, "it does not wait for the next key"
        assert results(ended) == [("uncertain", "halted after step 1 of 3")]
        desk.kill()
        desk.start()
        assert desk.status()["halt"]["level"] == "all"
        assert desk.status()["halt"]["reason"] == "fire drill"
        code, answer = desk.post("sl", wait=5)
        assert (code, answer["reason"]) == (409, "halted (all)")
        assert desk.request("POST", "/resume")[0] == 200
        desk.done("sl")
        assert keys.frames == ["buy_ask", "sell_ask", "sell_all_bid"]


def test_a_halt_of_entries_lets_exits_fire(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}, hotkeys={"gap_ms": 1}) as desk:
        desk.done("entry")
        desk.request("POST", "/halt", {"level": "entries"})
        desk.kill()
        desk.start()
        code, answer = desk.post("entry", wait=5, trade_id="other")
        assert code == 409
        assert answer["reason"].startswith("halted")
        desk.done("tp1")
        desk.done("sl")
        assert keys.frames[-1] == "sell_all_bid"
