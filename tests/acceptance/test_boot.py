"""Starting and stopping."""

import os
import signal
import socket
import time
from functools import partial
from pathlib import Path

from daemon.http import tokens
from tests.acceptance.desk import Desk, KeyServer, until
from tests.fakes.mosquitto import Mosquitto


def test_a_broker_that_is_down_keeps_no_other_source_waiting(tmp_path: Path, keys: KeyServer) -> None:
    broker = Mosquitto(tmp_path / "broker")
    with Desk(tmp_path, {"main": keys}, broker=broker) as desk:
        assert desk.status()["mqtt"] == "down: Connection refused"
        desk.done("entry")
        broker.start()
        try:
            until(lambda: desk.status()["mqtt"] == "connected")
            desk.emit("mqtt", desk.make("sl"))
            assert keys.frames == ["buy_ask", "sell_all_bid"]
            began = time.monotonic()
            assert desk.stop() == 0
            assert time.monotonic() - began < 3.0
        finally:
            broker.stop()


def test_starting_takes_a_second_at_most_to_the_first_key(tmp_path: Path, keys: KeyServer, broker: Mosquitto) -> None:
    desk = Desk(tmp_path, {"main": keys}, broker=broker)
    with desk:
        desk.stop()
        began = time.monotonic()
        desk.start()
        desk.done("entry")
        assert keys.presses[-1].at - began < 4.0  # 1 s is the bench's business; a busy machine gets four times that


def test_a_stop_lets_the_running_sequence_finish_and_the_rest_wait(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}, hotkeys={"gap_ms": 300}) as desk:
        desk.done("entry")
        desk.post("tp1")
        keys.wait(2)
        began = time.monotonic()
        assert desk.stop() == 0
        assert time.monotonic() - began < 15.0
        assert keys.frames == ["buy_ask", "sell_ask", "cancel_all", "break_even"]
        desk.start()
        assert [d["result"] for e in desk.events() for d in e["deliveries"]] == ["done", "done"]


def test_no_reload_begins_while_it_stops(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}, hotkeys={"gap_ms": 1000}) as desk, socket.socket(socket.AF_UNIX) as late:
        late.settimeout(15)
        late.connect(str(desk.socket_path))
        late.sendall(b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n")
        desk.post("tp1")
        keys.wait(1)
        desk.write(hotkeys={"gap_ms": 1})
        assert desk.process is not None
        desk.process.send_signal(signal.SIGTERM)
        until(lambda: "SIGTERM" in desk.log())
        late.sendall(b"{}")
        assert b"the daemon is stopping" in b"".join(iter(lambda: late.recv(4096), b""))
        assert desk.process.wait(15) == 0
        assert "gap_ms" not in desk.log()


def test_whoever_waits_for_a_reload_is_told_that_it_stops(tmp_path: Path, keys: KeyServer) -> None:
    def ask(client: socket.socket) -> None:
        client.settimeout(15)
        client.connect(str(desk.socket_path))
        client.sendall(b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")

    with (
        Desk(tmp_path, {"main": keys}) as desk,
        socket.socket(socket.AF_UNIX) as first,
        socket.socket(socket.AF_UNIX) as second,
    ):
        desk.file.unlink()
        os.mkfifo(desk.file)
        ask(first)
        end = desk.reading()
        try:
            ask(second)
            desk.status()  # by now the second one waits for the end of the first
            assert desk.process is not None
            desk.process.send_signal(signal.SIGTERM)
            for client in (first, second):
                assert b"the daemon is stopping" in b"".join(iter(partial(client.recv, 4096), b""))
            assert desk.process.wait(15) == 0
        finally:
            os.close(end)
        assert "Traceback" not in desk.log()


def test_a_second_signal_is_immediate(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}, hotkeys={"gap_ms": 5000}) as desk:
        desk.post("tp1")
        keys.wait(1)
        assert desk.process is not None
        desk.process.send_signal(signal.SIGTERM)
        until(lambda: "SIGTERM" in desk.log())
        began = time.monotonic()
        desk.stop()
        assert time.monotonic() - began < 4.0  # of the 10 s that the rest of the sequence takes
        assert len(keys.frames) == 1


def test_one_state_folder_has_one_daemon(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}) as desk:
        first = desk.process
        second = desk.spawn()
        assert second.wait(15) == 78
        assert "another deskhand is running" in desk.log()
        desk.process = first
        desk.done("entry")


def test_damaged_tokens_keep_no_stop_from_firing(tmp_path: Path, keys: KeyServer) -> None:
    desk = Desk(tmp_path, {"main": keys}, hotkeys={"guard": "off"})
    desk.state.mkdir(mode=0o700)
    made = tokens.add(desk.state, "scanner", "ingest", time.time(), expires=None, rate=None)
    whole = (desk.state / tokens.FILE).read_bytes()
    (desk.state / tokens.FILE).write_bytes(b"{")
    with desk:
        assert "tokens.json: is damaged" in desk.log()
        desk.done("sl")
        assert desk.over_tcp("POST", "/events", desk.make("close"))[0] == 202
        event = desk.make("sl")
        assert desk.over_tcp("POST", "/events", event, made)[0] == 401
        (desk.state / tokens.FILE).write_bytes(whole)
        assert desk.over_tcp("POST", "/events", event, made)[0] == 202
        keys.wait(3)
