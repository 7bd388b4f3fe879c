"""Another configuration while the daemon runs: all of it or nothing, and no event the worse for it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.desk import ROOT, Desk, KeyServer, results, until
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.mqtt_peer import MqttPeer


@pytest.fixture
def desk(tmp_path: Path, keys: KeyServer) -> Iterator[Desk]:
    with Desk(tmp_path, {"main": keys}) as found:
        yield found


@pytest.fixture
def other(tmp_path: Path) -> Iterator[KeyServer]:
    server = KeyServer(tmp_path, "other").start()
    yield server
    server.kill()


def pressed(server: KeyServer) -> list[str]:
    return [press.frame for press in server.presses]


def test_the_next_event_goes_by_the_new_configuration(desk: Desk, keys: KeyServer) -> None:
    desk.done("entry")
    pid = desk.process and desk.process.pid
    answer = desk.reload(hotkeys=desk.config["hotkeys"] | {"sequences": {"sl": ["panic"]}, "gap_ms": 5})
    assert answer["status"] == "reloaded"
    assert answer["changed"] == [
        {"key": "hotkeys.sequences.sl", "old": "", "new": '["panic"]'},
        {"key": "hotkeys.gap_ms", "old": "100", "new": "5"},
    ]
    desk.done("sl")
    assert pressed(keys) == ["buy_ask", "panic"]
    assert desk.process
    assert desk.process.pid == pid
    assert "reload: hotkeys.gap_ms: 100 -> 5" in desk.log()


def test_nothing_changed_is_said_and_nothing_is_touched(desk: Desk) -> None:
    assert desk.reload() == {"status": "unchanged", "changed": []}
    assert "reload: nothing has changed" in desk.log()


def test_what_waits_is_kept_and_keeps_its_keys(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}, hotkeys={"guard": "off", "gap_ms": 10_000}) as desk:
        for number in range(3):
            desk.post("entry", symbol=f"S{number}")
        keys.wait(1)
        answer = desk.reload(hotkeys=desk.config["hotkeys"] | {"sequences": {"entry": ["buy_bid"]}, "gap_ms": 0})
        assert answer["status"] == "reloaded"
        keys.wait(3)
        desk.done("entry", symbol="LAST")
        assert pressed(keys) == ["buy_ask", "buy_ask", "buy_ask", "buy_bid"]


BROKEN = {
    "syntax": ("mode: [live\n", ":2: "),
    "unknown key": ("mode: live\nhotkey: {}\n", ":2: hotkey: is not a known key; did you mean hotkeys?"),
    "wrong type": ("mode: live\nmqtt:\n  port: many\n", ":3: mqtt.port: must be a whole number"),
    "live with practice": ("mode: live\n", "hotkeys.targets.main: live mode needs an address"),
    "state folder": ("mode: practice\nstate_dir: /tmp/elsewhere\n", ":2: state_dir: needs a restart"),
    "secret in the file": ("mode: practice\nmqtt: {password: x}\n", ":2: mqtt.password: is a secret"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_one_changes_nothing_and_names_the_line(desk: Desk, keys: KeyServer, name: str) -> None:
    text, expected = BROKEN[name]
    desk.file.write_text(text)
    code, answer = desk.request("POST", "/reload")
    assert (code, answer["status"]) == (422, "refused")
    assert any(f"{desk.file}{expected}" in problem or expected in problem for problem in answer["problems"]), answer
    desk.done("entry")
    assert pressed(keys) == ["buy_ask"]
    status = desk.status()
    assert (status["mode"], status["reload"]["status"]) == ("live", "refused")
    assert "reload refused: " in desk.log()


def test_a_port_in_use_is_told_before_a_restart_would_fail(desk: Desk) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = desk.reload(http={"port": port})
    assert "http.port: needs a restart; and the port is in use by another program" in answer["problems"][0]
    assert answer["problems"][0].startswith(f"{desk.file}:")


def test_a_file_that_is_gone_is_not_the_defaults(desk: Desk) -> None:
    desk.file.rename(desk.file.with_suffix(".away"))
    _, answer = desk.request("POST", "/reload")
    assert answer["problems"] == [f"{desk.file}: does not exist"]
    assert desk.status()["mode"] == "live"


def test_live_is_never_entered(practice: Desk, keys: KeyServer) -> None:
    answer = practice.reload(mode="live", hotkeys={"targets": {"main": keys.url}})
    assert [problem.split(": ", 1)[1] for problem in answer["problems"]] == ["mode: live is entered by a restart only"]
    practice.done("entry")
    assert pressed(keys) == []


@pytest.fixture
def practice(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path, {}, mode="practice", hotkeys={"targets": {"main": "practice"}}) as desk:
        yield desk


def test_live_is_left_only_when_nothing_is_open(desk: Desk, keys: KeyServer) -> None:
    desk.done("entry")
    answer = desk.reload(mode="practice")
    assert "cannot leave live: hotkeys:main: AAPL is open" in answer["problems"][0]
    desk.done("close")
    assert desk.reload()["status"] == "reloaded"
    assert desk.status()["mode"] == "practice"
    desk.done("entry")
    assert pressed(keys) == ["buy_ask", "sell_all_bid"]
    assert [row["symbol"] for row in desk.get("/book")[1]["book"] if row["open"]] == ["AAPL"]  # the practice book's


def test_a_target_that_moves_takes_its_trade_along(desk: Desk, keys: KeyServer, other: KeyServer) -> None:
    desk.done("entry")
    assert desk.reload(hotkeys={"targets": {"main": other.url}})["status"] == "reloaded"
    desk.done("sl")
    assert (pressed(keys), pressed(other)) == (["buy_ask"], ["sell_all_bid"])


def test_a_stop_that_waits_for_a_dead_server_fires_at_its_new_address(
    desk: Desk, keys: KeyServer, other: KeyServer
) -> None:
    desk.done("entry")
    keys.kill()
    code, answer = desk.post("sl")
    assert code == 202
    desk.reload(hotkeys={"targets": {"main": other.url}})
    assert results(desk.ended(answer["id"])) == [("done", "")]
    assert pressed(other) == ["sell_all_bid"]


def test_a_running_sequence_finishes_where_it_began(tmp_path: Path, keys: KeyServer, other: KeyServer) -> None:
    config = {"sequences": {"tp1": ["a", "b", "c"]}, "gap_ms": 300, "guard": "off"}
    with Desk(tmp_path, {"main": keys}, hotkeys=config) as desk:
        _, answer = desk.post("tp1")
        keys.wait(1)
        assert desk.reload(hotkeys=desk.config["hotkeys"] | {"targets": {"main": other.url}})["status"] == "reloaded"
        assert results(desk.ended(answer["id"])) == [("done", "")]
        assert (pressed(keys), pressed(other)) == (["a", "b", "c"], [])


def test_a_sequence_that_cannot_finish_is_uncertain_not_torn(tmp_path: Path, keys: KeyServer, other: KeyServer) -> None:
    config = {"sequences": {"tp1": ["a", "b"]}, "gap_ms": 2000, "guard": "off", "step_timeout_s": 0.5}
    with Desk(tmp_path, {"main": keys}, hotkeys=config) as desk:
        _, answer = desk.post("tp1")
        keys.wait(1)
        keys.kill()
        desk.reload(hotkeys=desk.config["hotkeys"] | {"targets": {"main": other.url}})
        ((result, reason),) = results(desk.ended(answer["id"]))
        assert result == "uncertain", reason
        assert pressed(other) == []


def test_targets_come_and_go(desk: Desk, keys: KeyServer, other: KeyServer) -> None:
    both = {"targets": {"main": keys.url, "second": other.url}}
    route = [{"when": {"symbol": "TSLA"}, "do": [{"hotkeys": "second"}]}]
    assert desk.reload(hotkeys=both, routes=route)["status"] == "reloaded"
    desk.done("entry", symbol="TSLA")
    answer = desk.reload(hotkeys={"targets": {"main": keys.url}}, routes=[])
    assert "second cannot go: TSLA is open" in answer["problems"][0]
    desk.done("close", symbol="TSLA")
    assert desk.reload()["status"] == "reloaded"
    assert pressed(other) == ["buy_ask", "sell_all_bid"]
    assert [peer["name"] for peer in desk.status()["peers"]] == ["hotkeys:main"]
    assert b"hotkeys:second" not in metrics(desk)


def metrics(desk: Desk) -> bytes:
    with socket.socket(socket.AF_UNIX) as to:
        to.connect(str(desk.socket_path))
        to.sendall(b"GET /metrics HTTP/1.1\r\nHost: desk\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: to.recv(65536), b""))


def test_a_new_token_counts_at_once_and_is_never_shown(tmp_path: Path, keys: KeyServer) -> None:
    env = tmp_path / ".env"
    first, second = "first-token-of-the-desk-0001", "second-token-of-the-desk-0002"
    env.write_text(f"DESKHAND_HTTP_TOKEN={first}\n")
    env.chmod(0o600)
    desk = Desk(tmp_path, {"main": keys})
    with desk:
        desk.kill()
        desk.spawn(options=["--env-file", str(env)])
        until(desk.is_ready)
        env.write_text(f"DESKHAND_HTTP_TOKEN={second}\n")
        _, answer = desk.request("POST", "/reload")
        assert answer == {
            "status": "reloaded",
            "changed": [{"key": "http.token", "old": "(secret)", "new": "(secret)"}],
        }
        assert [desk.over_tcp("GET", "/status", token=token)[0] for token in (first, second)] == [401, 200]
        assert "reload: http.token: changed" in desk.log()
        env.unlink()
        _, answer = desk.request("POST", "/reload")
        assert answer["problems"] == [f"{env}: does not exist"]
        log = desk.log()
    assert first not in log
    assert second not in log


def test_the_command_line_says_what_changed_and_what_was_wrong(desk: Desk) -> None:
    desk.write(hotkeys=desk.config["hotkeys"] | {"gap_ms": 7})
    done = deskhand(desk, "reload")
    assert (done.returncode, done.stdout.splitlines()) == (0, ["hotkeys.gap_ms: 100 -> 7", "reloaded"])
    desk.write(hotkeys=desk.config["hotkeys"] | {"gap_ms": -1})
    done = deskhand(desk, "reload")
    assert done.returncode == 78
    assert f"{desk.file}:" in done.stderr
    assert "hotkeys.gap_ms: must be" in done.stderr
    assert deskhand(desk, "reload", "--json").returncode == 78
    status = deskhand(desk, "status")
    assert "what ran goes on" in status.stdout
    desk.kill()
    assert deskhand(desk, "reload").returncode == 69


def deskhand(desk: Desk, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon", *words, "--socket", str(desk.socket_path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_sighup_reloads_and_many_at_once_are_few(desk: Desk) -> None:
    assert desk.process
    desk.write(hotkeys=desk.config["hotkeys"] | {"gap_ms": 7})
    text = desk.file.read_bytes()
    desk.file.unlink()
    os.mkfifo(desk.file)
    desk.process.send_signal(signal.SIGHUP)
    with os.fdopen(desk.reading(), "wb") as end:
        desk.file.unlink()
        desk.write()  # for whoever reads it next
        for _ in range(20):
            desk.process.send_signal(signal.SIGHUP)
            desk.status()  # it has heard of it
        end.write(text)
    until(lambda: "reload: nothing has changed" in desk.log())
    desk.done("entry")
    assert desk.log().count("reloaded, 1 key changed") == 1
    assert desk.log().count("reload: nothing has changed") == 1, "what came during one reload shares the next"


def test_sighup_before_it_is_ready_does_not_kill(tmp_path: Path, keys: KeyServer) -> None:
    desk = Desk(tmp_path, {"main": keys})
    process = desk.spawn()
    until(lambda: held(process.pid) or process.poll() is not None)
    process.send_signal(signal.SIGHUP)
    until(desk.is_ready)
    until(lambda: "reload: nothing has changed" in desk.log())
    assert desk.stop() == 0


def held(pid: int) -> bool:
    """Whether the process holds SIGHUP back, or has taken it over."""
    fields = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return bool((int(fields["SigBlk"], 16) | int(fields["SigCgt"], 16)) >> (signal.SIGHUP - 1) & 1)


def test_sigusr1_shows_what_everything_does(desk: Desk, keys: KeyServer) -> None:
    until(lambda: desk.status()["peers"][0]["up"])
    keys.signal(signal.SIGSTOP)
    try:
        desk.post("entry")
        assert desk.process
        desk.process.send_signal(signal.SIGUSR1)
        until(lambda: "state: task journal-keeper: " in desk.log())
        assert "state: live · " in desk.log()
        assert "state: hotkeys:main: entry AAPL e1: step 1 of 1" in desk.log()
    finally:
        keys.signal(signal.SIGCONT)


def test_mqtt_that_changes_loses_nothing_and_doubles_nothing(
    tmp_path: Path, keys: KeyServer, broker: Mosquitto
) -> None:
    config = {"guard": "off", "gap_ms": 0, "frame": "{action} {id}"}
    with Desk(tmp_path, {"main": keys}, broker=broker, hotkeys=config) as desk:
        sent = []
        with MqttPeer(broker.port, listen=None) as peer:
            tokens = []
            for round_ in range(3):
                for _ in range(20):
                    event = desk.make("close")
                    sent.append(event["id"])
                    tokens.append(peer.publish(json.dumps(event)))
                assert desk.reload(mqtt={"keepalive_s": 20 + round_})["status"] == "reloaded"
            peer.confirm(tokens)
        keys.wait(len(sent))
        until(desk.is_ready)
        assert sorted(press.frame for press in keys.presses) == sorted(f"sell_all_bid {name}" for name in sent)


def test_another_topic_is_the_only_one_from_then_on(tmp_path: Path, keys: KeyServer, broker: Mosquitto) -> None:
    config = {"guard": "off", "gap_ms": 0, "frame": "{action} {id}"}
    with Desk(tmp_path, {"main": keys}, broker=broker, hotkeys=config) as desk:
        assert desk.reload(mqtt={"topic": "elsewhere/events"})["status"] == "reloaded"
        until(desk.is_ready)
        with MqttPeer(broker.port, listen=None) as peer:
            old, new = desk.make("close"), desk.make("close")
            peer.confirm([peer.publish(json.dumps(old)), peer.publish(json.dumps(new), topic="elsewhere/events")])
        until(lambda: desk.get(f"/events/{new['id']}")[0] == 200)
        assert desk.get(f"/events/{old['id']}")[0] == 404
        assert desk.reload(mqtt={"host": None})["status"] == "reloaded"
        assert desk.status()["mqtt"] == "off"
        assert not [series for series in desk.metrics() if 'peer="mqtt"' in series], "it is not down, it is off"


def test_the_level_of_the_log(desk: Desk) -> None:
    assert desk.reload(log_level="ERROR")["status"] == "reloaded"
    desk.done("entry")
    assert "[Hotkey] Sent: buy_ask" not in desk.log()


def test_a_stop_takes_the_time_that_a_reload_gave_it(tmp_path: Path, keys: KeyServer) -> None:
    slow = {"gap_ms": 1000, "sequences": {"entry": ["one", "two", "three"]}}
    with Desk(tmp_path, {"main": keys}, hotkeys=slow, stop_timeout_s=1) as desk:
        assert desk.reload(stop_timeout_s=15)["status"] == "reloaded"
        desk.post("entry")
        keys.wait(1)
        assert desk.stop() == 0
        assert keys.frames == ["one", "two", "three"]


def test_a_configuration_that_cannot_be_read_to_its_end_holds_up_no_stop(desk: Desk) -> None:
    assert desk.process is not None
    desk.file.unlink()
    os.mkfifo(desk.file)
    desk.process.send_signal(signal.SIGHUP)
    end = desk.reading()
    began = time.monotonic()
    try:
        assert desk.stop() == 0
    finally:
        os.close(end)
    assert time.monotonic() - began < 15.0
    assert "stopped" in desk.log()


def test_descriptors_do_not_pile_up(desk: Desk, keys: KeyServer, other: KeyServer) -> None:
    def files() -> float:
        return desk.metrics()["process_open_fds"]  # /proc shows them to root alone

    desk.reload(hotkeys={"targets": {"main": other.url}})
    desk.reload(hotkeys={"targets": {"main": keys.url}})
    before = files()
    for _ in range(5):
        desk.reload(hotkeys={"targets": {"main": other.url}})
        desk.reload(hotkeys={"targets": {"main": keys.url}})
    # Ten reloads would leave ten at least; some connection may not have been there yet when they were counted first.
    until(lambda: files() <= before + 4, what="more descriptors than before")
