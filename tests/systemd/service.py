"""The daemon as it is installed in a machine, and what stands around it: a hotkey server, a stream of events."""

import json
import signal
import sys
import threading
import time
from collections import Counter
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.acceptance.center import CenterServer
from tests.acceptance.desk import ROOT, Api, Json, KeyServer, all_ended, until
from tests.acceptance.stream import audit
from tests.systemd.machine import Done, Machine

UNIT = "deskhand.service"
PYTHON = "/opt/deskhand/current/bin/python"
CONFIG = "/etc/deskhand/deskhand.yaml"
SOCKET_PATH = "/run/deskhand/deskhand.sock"
WHEELHOUSE = ("--wheelhouse", "/srv/wheelhouse")
KEYS_PORT = 8765
CENTER_PORT = 8766


class Keys(KeyServer):
    """The strict fake hotkey server as a unit of the machine, so that it ends with it at the latest."""

    def __init__(self, machine: Machine, name: str = "keys", port: int = KEYS_PORT) -> None:
        machine.run("install", "-d", "/tmp/keys")
        super().__init__(machine.path("/tmp/keys"), name)
        self._machine = machine
        self._unit = f"{name}.service"
        self._port = port

    def start(self, *habits: str) -> Self:
        """Start it with these bad habits, and wait until it listens."""
        self._machine.run(
            *("systemd-run", "--collect", f"--unit={self._unit}", f"--working-directory={ROOT}"),
            *(sys.executable, "-m", "tests.fakes.hotkey_server", "--port", str(self._port)),
            *("--log", f"/tmp/keys/{self._log.name}", *habits),
        )
        _listens(self._machine, self._port)
        return self

    def signal(self, number: int) -> None:
        """Freeze or thaw it."""
        self._machine.run("systemctl", "kill", f"--signal={number}", self._unit)

    def kill(self) -> None:
        """kill -9; nothing if it does not run."""
        self._machine.run("systemctl", "kill", f"--signal={signal.SIGKILL}", self._unit, check=False)
        self._machine.run("systemctl", "stop", self._unit, check=False)


class Center(CenterServer):
    """The strict fake Command Center as a unit of the machine; steered from inside, as nobody else reaches it."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.path("/tmp"))
        self._machine = machine
        self._port = CENTER_PORT

    def start(self, *habits: str) -> Self:
        """Start it with these habits, and wait until it listens."""
        self._machine.run(
            *("systemd-run", "--collect", "--unit=center.service", f"--working-directory={ROOT}"),
            *(sys.executable, "-m", "tests.fakes.center", "--port", str(self._port), "--log", "/tmp/center.jsonl"),
            *(word for habit in habits for word in ("--habit", habit)),
        )
        _listens(self._machine, self._port)
        return self

    def kill(self) -> None:
        """Ends it."""
        self._machine.run("systemctl", "stop", "center.service", check=False)

    def steer(self, verb: str, **given: Any) -> Json:
        """As over HTTP."""
        body = () if verb == "summary" else ("--data-binary", json.dumps(given))
        done = self._machine.run("curl", "--silent", "--fail", *body, f"{self.url}/_fake/{verb}")
        found: Json = json.loads(done.out)
        return found


def _listens(machine: Machine, port: int) -> None:
    listening = ("ss", "--listening", "--tcp", "--numeric", "--no-header", f"sport = :{port}")
    until(lambda: machine.run(*listening).out, what=f"nobody ever listened on port {port}")


def clone(machine: Machine, home: str, user: str = "root") -> None:
    """A clone with its environment, as `make run` leaves it, in this user's home; made once."""
    if machine.run("test", "-e", f"{home}/deskhand", check=False).code == 0:
        return
    machine.run("cp", "--recursive", "/srv/clone", f"{home}/deskhand", user=user)
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/srv/wheelhouse"}
    make = ("make", "--silent", "--directory", f"{home}/deskhand", f"PYTHON={machine.python}", ".venv/.installed")
    machine.run(*make, user=user, limit_s=100, environ=offline)


class Service(Api):
    """The installed daemon: the unit, its files, and its API through the control socket."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    @property
    def socket_path(self) -> Path:
        """The control socket, as the host reaches it."""
        return self.machine.path(SOCKET_PATH)

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Json]:
        """One request. Raises OSError when the daemon is not there, or is killed before it answers."""
        try:
            return super().request(method, path, body)
        except HTTPException as error:
            raise ConnectionError(str(error)) from error

    def install(self, config: Json, env: str = "") -> Self:
        """As README tells it: clone, `make`, `deskhand service install`; everything from the wheelhouse."""
        given = "/tmp/live.yaml"
        self.machine.put(given, yaml.safe_dump(config, sort_keys=False))
        clone(self.machine, "/root")
        if env:
            self.machine.put("/root/deskhand/.env", env, 0o600)
        self.verb("install", *WHEELHOUSE, "--live-config", given)
        until(self.is_ready, what="the service is not ready")
        return self

    def verb(self, *words: str) -> Done:
        """`deskhand service ...`, out of the clone."""
        return self.machine.run(".venv/bin/deskhand", "service", *words, cwd="/root/deskhand", limit_s=100)

    def configure(self, **config: Any) -> None:
        """Write the configuration file, as an administrator with an editor would."""
        text = yaml.safe_dump(config, sort_keys=False)
        self.machine.put(CONFIG, text, 0o640, "root:deskhand")

    def systemctl(self, *verb: str, check: bool = True) -> Done:
        """`systemctl VERB... deskhand.service`."""
        return self.machine.run("systemctl", *verb, UNIT, check=check)

    def deskhand(self, *verb: str, user: str = "root", check: bool = True) -> Done:
        """The installed command."""
        return self.machine.run("deskhand", *verb, user=user, check=check)

    def state(self, *names: str) -> dict[str, str]:
        """Properties of the unit."""
        return self.machine.show(UNIT, *names)

    @property
    def pid(self) -> int:
        """The daemon's process id inside; 0 when it does not run."""
        return int(self.state("MainPID")["MainPID"])

    @property
    def restarts(self) -> int:
        """How often systemd has started it again by itself."""
        return int(self.state("NRestarts")["NRestarts"])

    def is_ready(self) -> bool:
        """Whether it takes events."""
        try:
            return self.get("/health/ready")[0] == 200
        except OSError:
            return False

    def start(self) -> None:
        """Start, and wait until it takes events."""
        self.systemctl("start")
        until(self.is_ready, what="the service is not ready")

    def restart(self) -> None:
        """Restart, and wait until it takes events."""
        self.systemctl("restart")
        until(self.is_ready, what="the service is not ready")

    def kill_9(self) -> None:
        """kill -9, and wait until systemd has brought it back and it takes events."""
        restarts = self.restarts
        self.kill(signal.SIGKILL)
        until(lambda: self.restarts > restarts and self.is_ready(), what="the service was not restarted")

    def kill(self, number: int) -> None:
        """Send the daemon itself a signal."""
        self.systemctl("kill", f"--signal={number}", "--kill-whom=main")

    def journal(self, since: str = "") -> str:
        """What the journal has of the unit, from a cursor on if one is given."""
        return self.machine.journal(UNIT, *([f"--after-cursor={since}"] if since else []))

    def cursor(self) -> str:
        """Where the journal ends now, for `journal`."""
        out = self.machine.journalctl("--lines=0", "--show-cursor")
        return out.rpartition("-- cursor: ")[2].strip()


class Posts:
    """A steady stream over the control socket while the context is open; `sent` is all there was.

    An event without an answer is sent again under the same id until there is one, as any careful source does.
    """

    def __init__(self, service: Service, rate: float = 25.0) -> None:
        """`rate` in events per second; each is a trade of its own, so that none supersedes another."""
        self.sent: dict[str, Json] = {}
        self.answers: dict[str, int] = {}
        self.again: list[str] = []
        """Why an event had to be sent again: what came instead of an answer."""
        self._service = service
        self._gap_s = 1 / rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="posts")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            event = self._service.make(("entry", "tp1", "sl", "close")[len(self.sent) % 4])
            event["trade_id"] = event["id"]
            self.sent[event["id"]] = event
            self._post(event)
            due = max(due + self._gap_s, time.monotonic() - 1)
            self._stop.wait(max(0.0, due - time.monotonic()))

    def _post(self, event: Json) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                code, answer = self._service.request("POST", "/events", event)
            except OSError as error:
                self.again.append(f"{event['id']}: {error!r}")
            else:
                if code < 500:
                    self.answers[event["id"]] = code
                    return
                self.again.append(f"{event['id']}: {code} {answer}")
            time.sleep(0.02)


def accounts(service: Service, keys: Keys, stream: Posts, before: int) -> Counter[str]:
    """Every event of the stream has one end in the journal, and its keys at the server once; how many ended how.

    `before` is how many keys had arrived before the stream began.
    """
    until(lambda: all(map(all_ended, service.events())), 30, "some events never ended")
    journal = [event for event in service.events() if event["id"] in stream.sent]
    return audit(stream.sent, journal, keys.presses[before:])
