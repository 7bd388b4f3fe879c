"""The running daemon: asked and not disturbed; and who has the port."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from socket import create_server
from typing import Any

import pytest

from daemon import version
from daemon.doctor import desk
from tests.acceptance.desk import ROOT, Desk, KeyServer, until
from tests.doctor.support import Patient
from tests.fakes.mosquitto import Mosquitto, free_port
from tests.fakes.mqtt_peer import MqttPeer


class Doctor:
    """The command as a process."""

    def __init__(self, file: Path, runtime: Path) -> None:
        self._command = [sys.executable, "-m", "daemon", "doctor", "--config", str(file)]
        self._environ = {
            "PATH": os.environ["PATH"], "HOME": str(file.parent), "XDG_RUNTIME_DIR": str(runtime), "LANG": "C.UTF-8",
        }  # fmt: skip

    @classmethod
    def of(cls, desk: Desk) -> "Doctor":
        """For the daemon of this desk."""
        return cls(desk.file, desk._short)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        done = subprocess.run(
            [*self._command, *words], cwd=ROOT, env=self._environ, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=50, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def spawn(self) -> "subprocess.Popen[bytes]":
        """Start it and return at once."""
        return subprocess.Popen(self._command, cwd=ROOT, env=self._environ, stdout=subprocess.DEVNULL)

    def checks(self) -> dict[str, list[dict[str, str]]]:
        """By name."""
        _, out, err = self("--json")
        assert not err
        found: dict[str, list[dict[str, str]]] = {}
        for check in json.loads(out)["checks"]:
            found.setdefault(check["name"], []).append(check)
        return found


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    found = Mosquitto(tmp_path / "broker").start()
    yield found
    found.stop()


@pytest.fixture
def keys(tmp_path: Path) -> Any:
    server = KeyServer(tmp_path).start()
    yield server
    server.kill()


def test_a_running_daemon_is_not_disturbed(tmp_path: Path, keys: KeyServer, broker: Mosquitto) -> None:
    with Desk(tmp_path, {"main": keys}, broker=broker) as daemon, MqttPeer(broker.port) as peer:
        daemon.done("entry")
        peer.wait(lambda heard: "deskhand/outcomes/e1" in heard)
        before = daemon.status()
        lines = len(daemon.log().splitlines())
        heard = {topic: list(said) for topic, said in peer.heard.items()}
        code, out, err = Doctor.of(daemon)()
        assert (code, err) == (0, ""), out
        assert "running in live mode, 1 lane, 0 waiting" in out
        assert "held by the running daemon" in out
        assert keys.frames == ["buy_ask"], "no key was pressed"
        after = daemon.status()
        for name in ("ready", "halt", "lanes", "peers", "mqtt", "counts", "last_event"):
            assert after[name] == before[name], name
        assert daemon.log().splitlines()[lines:] == [], "and it has nothing to say about the visit"
        peer.wait(lambda heard: any("doctor" in topic for topic in heard))
        trials = {topic: said for topic, said in peer.heard.items() if "doctor" in topic}
        assert list(trials.values()) == [[b""]]
        assert {topic: said for topic, said in peer.heard.items() if topic not in trials} == heard
        # Its session is the same one: what comes now arrives once, and the broker saw one connection of that name.
        peer.publish_all([json.dumps(daemon.make("sl", id="after"))])
        until(lambda: keys.frames == ["buy_ask", "sell_all_bid"], what="the event after the visit")
        assert broker.log().count(" as deskhand (") == 1
        assert not list(daemon.state.glob("doctor*"))


def test_an_event_that_comes_during_the_visit_is_pressed_once(
    tmp_path: Path, keys: KeyServer, broker: Mosquitto
) -> None:
    with Desk(tmp_path, {"main": keys}, broker=broker, hotkeys={"guard": "off"}) as daemon:
        visit = Doctor.of(daemon).spawn()
        sent = 0
        with MqttPeer(broker.port, listen=None) as peer:
            while visit.poll() is None:
                peer.publish_all([json.dumps(daemon.make("sl", symbol=f"S{sent}"))])
                sent += 1
                keys.wait(sent - 20)  # no faster than a slow machine can press
        assert visit.returncode == 0
        until(lambda: len(keys.frames) == sent, what="every event its key")


def test_a_halted_daemon(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}) as daemon:
        daemon.request("POST", "/halt", {"level": "entries", "reason": "news"})
        halted = Doctor.of(daemon).checks()["daemon"][1]
    assert halted == {
        "name": "daemon", "state": "warn", "text": "halted, entries will not fire: news", "remedy": "deskhand resume",
    }  # fmt: skip


def test_a_daemon_in_another_mode_than_the_file_says(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}, mode="practice") as daemon:
        daemon.write(mode="live")
        found = Doctor.of(daemon).checks()["daemon"]
    assert [(check["state"], check["text"]) for check in found][1:] == [
        ("warn", "runs in practice mode, the configuration says live")
    ]


def test_a_frozen_daemon(tmp_path: Path, keys: KeyServer) -> None:
    with Desk(tmp_path, {"main": keys}) as daemon:
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            (found,) = Doctor.of(daemon).checks()["daemon"]
        finally:
            daemon.process.send_signal(signal.SIGCONT)
    assert found["state"] == "fail"
    assert found["text"] == "one runs on this state folder but does not answer: deskhand did not answer within 5 s"


async def test_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while the journal cannot be written; the daemon's answers stand for it."""
    answers: dict[str, tuple[int, Any]] = {
        "/health/ready": (503, {"status": "unready", "reason": "the journal cannot be written: disk full"}),
        "/status": (200, {"mode": "practice", "ready": False, "version": version(), "http": "127.0.0.1:1"}),
    }
    monkeypatch.setattr(desk, "running", lambda _: True)
    patient = Patient(tmp_path)
    patient.ask = lambda _, path: answers[path]
    found = await patient.trouble()
    assert found.text == "running, but not ready: the journal cannot be written: disk full"


async def test_not_running_and_the_port_is_free(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.state.mkdir(mode=0o700)
    assert (await patient.only("daemon")).text == "not running on this state folder"


async def test_port_taken_by_another_program(tmp_path: Path) -> None:
    with create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = await Patient(tmp_path, http={"port": port}).trouble()
    assert found.name == "http port"
    assert found.text == f"http.port: {port} on 127.0.0.1 is in use by another program"
    assert f"ss -ltnp sport = :{port}" in found.remedy
    assert (await Patient(tmp_path, http={"port": port}).only("http port")).text == f"127.0.0.1:{port} is free"


def test_plain_json_and_exit_codes(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "deskhand.yaml"
    file.write_text(
        f"mode: live\nstate_dir: {tmp_path}/state\nhttp: {{port: 0}}\n"
        f"hotkeys: {{targets: {{main: 'ws://127.0.0.1:{port}'}}}}\n"
    )
    doctor = Doctor(file, tmp_path)
    code, out, err = doctor()
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert (
        f"fail  hotkeys:main   127.0.0.1:{port}: Connection refused → nothing listens on port {port} there: start the"
        " server, or correct the port"
    ) in lines
    assert lines[-1].startswith("1 to put right")
    assert "\x1b" not in out
    assert all(line.split()[0] in ("ok", "warn", "fail") for line in lines[:-2])
    code, out, err = doctor("--json")
    assert (code, err) == (1, "")
    told = json.loads(out)
    assert told["ok"] is False
    assert all(set(check) == {"name", "state", "text", "remedy"} for check in told["checks"])
    assert {check["state"] for check in told["checks"]} <= {"ok", "warn", "fail"}
    code, out, _ = doctor("--set", "mode=practice", "--set", "hotkeys.targets.main=practice")
    assert code == 0
    assert "fail" not in out
    code, _, err = doctor("--press", "a key")
    assert code == 2
    assert "a key is 1 to 64 of" in err
    file.write_text("http: {port: x}\n")
    code, out, err = doctor()
    assert (code, err) == (1, ""), "never 78"
    assert out.startswith(f"fail  configuration  {file}:1: http.port: must be a whole number")
