"""Many reloads under a steady stream of events: none lost, none twice, none by a map that was not in force."""

import bisect
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.acceptance.desk import Desk, Json, KeyServer, until
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.mqtt_peer import MqttPeer

RELOADS = int(os.environ.get("RELOADS", "20"))
RATE = 100.0
"""Events per second."""


@contextmanager
def stream(desk: Desk, broker: Mosquitto) -> Iterator[dict[str, tuple[float, float]]]:
    """Events at RATE, every other one over MQTT; by id, when each was sent and (over the socket) answered."""
    sent: dict[str, tuple[float, float]] = {}
    stop = threading.Event()

    def run() -> None:
        with MqttPeer(broker.port, listen=None) as peer:
            due, tokens = time.monotonic(), []
            while not stop.is_set():
                event = desk.make("close", symbol=f"S{len(sent) % 50}")
                began = time.monotonic()
                if len(sent) % 2:
                    tokens.append(peer.publish(json.dumps(event)))
                    sent[event["id"]] = (began, float("inf"))
                else:
                    code, answer = desk.request("POST", "/events", event)
                    assert code == 202, answer
                    sent[event["id"]] = (began, time.monotonic())
                due += 1 / RATE
                stop.wait(max(0.0, due - time.monotonic()))
            peer.confirm(tokens)

    thread = threading.Thread(target=run, name="stream")
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def broken(desk: Desk, number: int, port: int) -> tuple[str, str]:
    """A file that must be refused, and what the refusal must say behind its name."""
    good = yaml.safe_dump(desk.config)
    lines = len(good.splitlines())
    ways = [
        (f"{good}routes: [\n", f":{lines + 2}: "),
        (f"{good}hotkey: 1\n", f":{lines + 1}: hotkey: is not a known key; did you mean hotkeys?"),
        (f"{good}stop_timeout_s: soon\n", f":{lines + 1}: stop_timeout_s: must be a number"),
        (
            good.replace("http:\n", f"http:\n  port: {port}\n").replace("  port: 0\n", ""),
            ": http.port: needs a restart; and",
        ),
        (f"{good}polymaker: {{api_key: abcdefgh}}\n", f":{lines + 1}: polymaker.api_key: is a secret"),
        ("", ": cannot be read: "),
        (
            good.replace("mode: live", "mode: practice").replace("ws://127", "http://127"),
            ": hotkeys.targets.main: must be",
        ),
    ]
    return ways[number % len(ways)]


def files(desk: Desk) -> int:
    """How many descriptors the daemon holds."""
    return int(desk.metrics()["process_open_fds"])  # /proc shows them to root alone


def memory(desk: Desk) -> int:
    """The daemon's resident memory in KiB."""
    assert desk.process
    return int(Path(f"/proc/{desk.process.pid}/statm").read_text().split()[1]) * 4


@pytest.mark.timeout(240 + RELOADS * 2)
def test_reloads_under_load(tmp_path: Path, keys: KeyServer, broker: Mosquitto) -> None:
    config = {"guard": "off", "gap_ms": 0, "frame": "{action} {id}", "connect": "persistent", "overtake": []}
    desk = Desk(tmp_path, {"main": keys}, broker=broker, hotkeys=config, journal={"retention_days": 30})
    windows: list[tuple[float, float]] = []
    levels: list[tuple[int, int]] = []
    with desk, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with stream(desk, broker) as sent:
            for number in range(RELOADS):
                sequence = {"sequences": {"close": [f"map{number // 2 + 1}"]}}
                if number % 2:
                    text, reason = broken(desk, number // 2, taken.getsockname()[1])
                    refuse(desk, text, reason)
                else:
                    other = {"keepalive_s": 10 + number % 4} if number % 8 == 0 else {}
                    server = {"step_timeout_s": 2 + number % 3}
                    began = time.monotonic()
                    answer = desk.reload(hotkeys=desk.config["hotkeys"] | sequence | server, mqtt=other)
                    assert answer["status"] == "reloaded", answer
                    windows.append((began, time.monotonic()))
                if number >= RELOADS // 4:
                    levels.append((files(desk), memory(desk)))
                count = len(sent)
                until(lambda count=count: len(sent) >= count + 5)  # type: ignore[misc]
        settled(desk, sent)
    # The stream has ended; the daemon has as well: what it wrote and what arrived are the accounts.
    audit(desk, keys, dict(sent), windows)
    first, last = levels[0], levels[-1]
    print(f"{RELOADS} reloads, {len(sent)} events; descriptors and KiB: {first} at a quarter, {last} at the end")
    assert last[0] <= max(level[0] for level in levels[: len(levels) // 2]) + 2
    assert last[1] <= first[1] + 3 * 1024 + RELOADS * 8


def settled(desk: Desk, sent: dict[str, tuple[float, float]]) -> None:
    """Until everything that was sent has its end."""
    until(lambda: len(desk.events()) >= len(sent))
    until(lambda: all(d["result"] for event in desk.events() for d in event["deliveries"]))


def refuse(desk: Desk, text: str, reason: str) -> None:
    """Reload this text; it must be refused for this reason, which names the file (and line)."""
    if text:
        desk.file.write_text(text)
    else:
        desk.file.unlink()
        desk.file.mkdir()
    code, answer = desk.request("POST", "/reload")
    if not text:
        desk.file.rmdir()
    assert (code, answer["status"]) == (422, "refused"), answer
    assert any(problem.startswith(str(desk.file)) and reason in problem for problem in answer["problems"]), answer
    desk.write()


def audit(
    desk: Desk, keys: KeyServer, sent: dict[str, tuple[float, float]], windows: list[tuple[float, float]]
) -> None:
    """Every event exactly once, with a map that was in force between its sending and its answer."""
    with desk:
        settled(desk, sent)
        journal: dict[str, Json] = {event["id"]: event for event in desk.events()}
    assert set(journal) == set(sent), "lost, or somebody else's"
    assert {d["result"] for event in journal.values() for d in event["deliveries"]} == {"done"}
    pressed: dict[str, list[str]] = {}
    for frame in keys.frames:
        key, event_id = frame.split()
        pressed.setdefault(event_id, []).append(key)
    assert all(len(found) == 1 for found in pressed.values()), "pressed twice"
    assert len(sent) == len(pressed)
    begins, ends = [begin for begin, _ in windows], [end for _, end in windows]
    for event_id, (key,) in pressed.items():
        at, answered = sent[event_id]
        version = int(key.removeprefix("map")) if key.startswith("map") else 0
        # Reloads that had ended before the event was sent count for sure, those that began after its answer do not.
        assert bisect.bisect_left(ends, at) <= version <= bisect.bisect_right(begins, answered), (event_id, key)
