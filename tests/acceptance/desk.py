"""The daemon as a user runs it: its own process, a configuration file, and everything seen from outside.

Waiting is always for a condition with a limit; nothing here reaches into the daemon's process.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_UNIX, socket
from types import TracebackType
from typing import Any, NamedTuple, Self

import yaml
from websockets.sync.client import connect

from tests.fakes.mosquitto import Mosquitto
from tests.fakes.mqtt_peer import MqttPeer

ROOT = Path(__file__).resolve().parents[2]
PLAIN = ("-m", "daemon")
Json = dict[str, Any]


def until(condition: Callable[[], object], limit_s: float = 15.0, what: str = "") -> None:
    """Until the condition is true. Raises TimeoutError that says `what` did not happen."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what or "the condition never came true")
        time.sleep(0.005)


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that another process appends to; one that is being written is no line yet."""
    return path.read_text().rpartition("\n")[0].splitlines()


def said_at(line: str) -> float:
    """When a line of the daemon's log was said, as epoch seconds."""
    return datetime.fromisoformat(line[:23]).astimezone().timestamp()


class Press(NamedTuple):
    """One key that arrived: when, as which frame."""

    at: float
    wall: float
    frame: str


class KeyServer:
    """The strict fake hotkey server as a process of its own; the same port over kill and start."""

    def __init__(self, folder: Path, name: str = "main") -> None:
        self._log = folder / f"keys-{name}.jsonl"
        self._log.touch()
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """For `hotkeys.targets`."""
        return f"ws://127.0.0.1:{self._port}/"

    def start(self) -> "KeyServer":
        """Start it and wait until it listens."""
        command = [
            sys.executable,
            "-m",
            "tests.fakes.hotkey_server",
            "--port",
            str(self._port),
            "--log",
            str(self._log),
        ]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        return self

    def signal(self, number: int) -> None:
        """Freeze or thaw it."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def wait(self, count: int) -> None:
        """Until that many keys have arrived since the first start."""
        until(lambda: len(self.presses) >= count, what=f"fewer than {count} keys: {self.frames[-10:]}")

    @property
    def presses(self) -> list[Press]:
        """Every key so far, in order of arrival; `at` is in seconds of a monotonic clock."""
        raw = map(json.loads, whole_lines(self._log))
        return [Press(line["monotonic_ns"] / 1e9, line["wall"], line["frame"]) for line in raw]

    @property
    def frames(self) -> list[str]:
        """Every frame so far."""
        return [press.frame for press in self.presses]


class _Unix(HTTPConnection):
    def __init__(self, path: Path, limit_s: float) -> None:
        super().__init__("localhost", timeout=limit_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket(AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Api:
    """The API of a running daemon, over its unix socket."""

    def __init__(self) -> None:
        self._events = 0

    @property
    def socket_path(self) -> Path:
        """Where the daemon listens."""
        raise NotImplementedError

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Json]:
        """One request. Raises OSError when the daemon is not there."""
        return _ask(_Unix(self.socket_path, 70), method, path, body)

    def get(self, path: str) -> tuple[int, Json]:
        """GET over the unix socket."""
        return self.request("GET", path)

    def status(self) -> Json:
        """`GET /status`."""
        return self.get("/status")[1]

    def metrics(self) -> dict[str, float]:
        """`GET /metrics`: each series with its labels, and its value."""
        connection = _Unix(self.socket_path, 70)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def events(self) -> list[Json]:
        """Everything the journal has, oldest first."""
        found: list[Json] = []
        while True:
            page = self.get(f"/events?limit=1000&after={found[-1]['seq'] if found else 0}")[1]["events"]
            found += page
            if len(page) < 1000:
                return found

    def event(self, event_id: str) -> Json:
        """One event of the journal."""
        code, found = self.get(f"/events/{event_id}")
        assert code == 200, found
        return found

    def make(self, type: str, **fields: Any) -> Json:
        """An event of its own, with an id and the time of now."""
        self._events += 1
        return {"type": type, "symbol": "AAPL", "id": f"e{self._events}", "ts": time.time()} | fields

    def post(self, type: str, *, wait: float = 0, **fields: Any) -> tuple[int, Json]:
        """An event over the unix socket."""
        return self.request("POST", f"/events?wait={wait}" if wait else "/events", self.make(type, **fields))

    def done(self, type: str, **fields: Any) -> Json:
        """An event over the unix socket that must end done; its answer."""
        code, answer = self.post(type, wait=10, **fields)
        assert code == 202, answer
        assert [d["result"] for d in answer["deliveries"]] == ["done"], answer
        return answer

    def ended(self, event_id: str, limit_s: float = 15.0) -> Json:
        """The event, once all its deliveries have ended."""
        until(lambda: all_ended(self.event(event_id)), limit_s, f"{event_id} never ended")
        return self.event(event_id)


def _ask(
    connection: HTTPConnection, method: str, path: str, body: object, headers: Mapping[str, str] | None = None
) -> tuple[int, Json]:
    try:
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body)
        connection.request(method, path, raw, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


class Desk(Api):
    """One daemon on one state folder; `start`, `kill -9`, start again. A context manager that leaves nothing behind."""

    def __init__(
        self,
        folder: Path,
        targets: dict[str, KeyServer],
        *,
        broker: Mosquitto | None = None,
        environ: dict[str, str] | None = None,
        **config: Any,
    ) -> None:
        """`config` is laid over the configuration section by section."""
        super().__init__()
        self.folder = folder
        self.state = folder / "state"
        self.environ: dict[str, str] = environ or {}
        """Variables for the daemon, beside those it always gets."""
        self._broker = broker
        self._short = Path(tempfile.mkdtemp(prefix="desk-"))  # a unix socket's path is short
        self.config: Json = {
            "mode": "live",
            "state_dir": str(self.state),
            "http": {"host": "127.0.0.1", "port": 0},
            "hotkeys": {"targets": {name: server.url for name, server in targets.items()}},
        }
        if broker is not None:
            self.config["mqtt"] = {"host": "127.0.0.1", "port": broker.port}
        self.write(**config)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._short, ignore_errors=True)
        if kind is not None:
            sys.stderr.write(self.log()[-6000:])

    # -- the configuration -----------------------------------------------------------------------------------------

    @property
    def file(self) -> Path:
        """The configuration file."""
        return self.folder / "deskhand.yaml"

    def write(self, **config: Any) -> None:
        """Lay `config` over the configuration section by section, and write the file."""
        for section, values in config.items():
            if isinstance(values, dict):
                self.config[section] = self.config.get(section, {}) | values
            else:
                self.config[section] = values
        self.file.write_text(yaml.safe_dump(self.config))

    def reload(self, **config: Any) -> Json:
        """Write the configuration and reload it; what the daemon answers."""
        self.write(**config)
        return self.request("POST", "/reload")[1]

    def reading(self) -> int:
        """Wait until it reads its configuration, which must be a pipe; the end to write to."""
        ends: list[int] = []

        def open_() -> bool:
            try:
                ends.append(os.open(self.file, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:  # nobody opens it for reading
                return False
            return True

        until(open_, what="the daemon never read its configuration")
        return ends[0]

    # -- the process -----------------------------------------------------------------------------------------------

    def spawn(self, launcher: Sequence[str] = PLAIN, *, options: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start the process and return at once."""
        path = self.file
        self.write()
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self._short),
            "LANG": "C.UTF-8",
            **self.environ,
        }
        with (self.folder / "daemon.log").open("ab") as log:
            command = [sys.executable, *launcher, "run", "--config", str(path), *options]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
        return self.process

    def start(self, launcher: Sequence[str] = PLAIN) -> Self:
        """Start it and wait until it takes events (and is connected to the broker, if there is one that runs)."""
        self.spawn(launcher)
        until(self.is_ready, what="the daemon is not ready")
        return self

    def is_ready(self) -> bool:
        """Whether it takes events from all its sources. Raises RuntimeError when it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(
                f"the daemon ended with {self.process and self.process.returncode}: {self.log()[-2000:]}"
            )
        try:
            if self.get("/health/ready")[0] != 200:
                return False
            return self._broker is None or not self._broker.running or self.status()["mqtt"] == "connected"
        except (OSError, HTTPException):
            return False

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        return process.wait(30)

    def log(self) -> str:
        """What it has written to stderr, over all its lives."""
        path = self.folder / "daemon.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- the API ---------------------------------------------------------------------------------------------------

    @property
    def socket_path(self) -> Path:
        """Where the daemon listens."""
        return self._short / "deskhand" / "deskhand.sock"

    def over_tcp(self, method: str, path: str, body: object = None, token: str = "") -> tuple[int, Json]:
        """One request over TCP, with the token. Raises OSError when the daemon is not there."""
        host, _, port = self.status()["http"].rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=70)
        return _ask(connection, method, path, body, {"Authorization": f"Bearer {token or self.token}"})

    @property
    def token(self) -> str:
        """The token that was made at the first start."""
        return (self.state / "http-token").read_text().strip()

    def emit(self, source: str, event: Json) -> Json:
        """An event over `http`, `websocket`, `unix` or `mqtt`; returns what the journal has of it once it has ended."""
        if source in ("http", "unix"):
            code, answer = (self.over_tcp if source == "http" else self.request)("POST", "/events", event)
            assert code == 202, answer
        elif source == "websocket":
            uri = f"ws://{self.status()['http']}/ws"
            header = {"Authorization": f"Bearer {self.token}"}
            with connect(uri, additional_headers=header, proxy=None) as socket_:
                socket_.send(json.dumps(event))
                answer = json.loads(socket_.recv(10))
                assert answer["status"] == "accepted", answer
        else:
            assert self._broker is not None
            with MqttPeer(self._broker.port, listen=None) as peer:
                peer.publish_all([json.dumps(event)])
        until(lambda: self.get(f"/events/{event['id']}")[0] == 200, what="the event never reached the journal")
        return self.ended(event["id"])


def all_ended(event: Json) -> bool:
    """Whether every delivery of an event of the journal has its outcome."""
    return all(delivery["result"] for delivery in event["deliveries"])


def results(event: Json) -> list[tuple[str, str]]:
    """How each delivery ended: (result, reason)."""
    return [(delivery["result"], delivery["reason"]) for delivery in event["deliveries"]]
