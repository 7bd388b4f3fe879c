"""A desk with a canary in every secret there is, and everything it says and does, kept to be searched."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from daemon.settings.layers import every_key, variable
from tests.acceptance.desk import ROOT, Desk, KeyServer, until
from tests.canary.search import Canary, plant

MARKS = {"mqtt.password": '/"', "hummingbot.password": " é&", "foreign.PASSPHRASE": "\\+ "}
"""What stands within a canary where any character is allowed, so that it is escaped on its way."""
FOREIGN = ("PK", "API_SECRET", "PASSPHRASE", "BROWSER_ADDRESS", "PRIVATE_KEY")
IN_ENVIRONMENT = ("mqtt.password", "hummingbot.password")
IN_VAULT = {"polymaker.api_key": "center"}


class Stage:
    """The desk `desk` in `folder`; `canaries` by name, `said` has what verbs and answers said, by where."""

    def __init__(self, folder: Path, keys: KeyServer) -> None:
        self.folder = folder
        self.desk = Desk(folder, {"main": keys}, log_level="TRACE", hotkeys={"step_timeout_s": 0.2, "guard": "off"})
        self.said: dict[str, bytes] = {}
        self.env_file = folder / ".env"
        self.paths = [path for path, kind in every_key() if kind == "secret"]
        self.canaries: list[Canary] = []
        self.now: dict[str, Canary] = {}
        self._name_users()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(folder / "notify"))
        self._notify.setblocking(False)
        self._told = bytearray()
        self.plant_all()

    # -- planting ----------------------------------------------------------------------------------------------------

    def plant_all(self) -> None:
        """A new value in every secret setting, and in the `.env` of others; write them where they belong."""
        for name in (*(".".join(path) for path in self.paths), *(f"foreign.{name}" for name in FOREIGN)):
            if name not in self.now or name not in IN_ENVIRONMENT:  # which a process that runs does not read anew
                self.add(plant(name, MARKS.get(name, "")))
        lines = [f"{name}={json.dumps(self.now[f'foreign.{name}'].value, ensure_ascii=False)}" for name in FOREIGN]
        environ = {"NOTIFY_SOCKET": str(self.folder / "notify"), "WATCHDOG_USEC": "400000"}
        for path in self.paths:
            name = ".".join(path)
            value = f"vault:{IN_VAULT[name]}" if name in IN_VAULT else self.now[name].value
            if name in IN_ENVIRONMENT:
                environ[variable(path)] = value
            else:
                lines.append(f"{variable(path)}={value}")
        self.env_file.write_text("\n".join(lines) + "\n")
        self.env_file.chmod(0o600)
        self.desk.environ = environ

    def _name_users(self) -> None:
        """A user beside every password: some protocols want one."""
        known = {path for path, _ in every_key()}
        for path in self.paths:
            if (*path[:-1], "username") in known:
                section = self.desk.config
                for word in path[:-1]:
                    section = section.setdefault(word, {})
                section["username"] = "desk"

    def add(self, canary: Canary) -> Canary:
        """Look for this one too."""
        self.canaries.append(canary)
        self.now[canary.name] = canary
        return canary

    def make_vault(self) -> None:
        """A vault that holds a setting's secret and one that nothing refers to, and a token that only it shows."""
        self.verb("vault", "init")
        self.add(Canary("vault.key", (self.folder / "vault.key").read_text().strip()))
        for name, value in (
            ("center", self.now["polymaker.api_key"]),
            ("unused", self.add(plant("vault.unused", "=/"))),
        ):
            self.verb("vault", "set", name, stdin=value.value + "\n")
        said = self.verb("token", "add", "ci", "--role", "ingest", where="token add")
        (token,) = (word for word in said.split() if word.startswith("dh_"))
        self.add(Canary("token", token.removeprefix("dh_")))

    # -- acting ------------------------------------------------------------------------------------------------------

    @property
    def environ(self) -> dict[str, str]:
        """Of a verb, and of the daemon."""
        return {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(self.desk.socket_path.parent.parent), **self.desk.environ,
        }  # fmt: skip

    def verb(self, *words: str, stdin: str = "", where: str = "", config: Path | None = None) -> str:
        """Run one with the desk's configuration; what it said on stdout, all of it kept."""
        options = ["--config", str(config or self.desk.file), "--env-file", str(self.env_file)]
        live = words[0] in ("status", "events", "show", "halt", "resume", "book", "reload", "emit")
        command = [
            sys.executable,
            "-m",
            "daemon",
            *words,
            *(("--socket", str(self.desk.socket_path)) if live else options),
        ]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environ | {"PYTHONPATH": str(ROOT)}, input=stdin.encode(),
            capture_output=True, timeout=50, check=False,
        )  # fmt: skip
        name = where or f"verb {len(self.said)}: {' '.join(words[:2])}"
        self.said[name] = done.stdout + b"\n" + done.stderr
        assert b"Traceback" not in done.stderr, done.stderr
        return done.stdout.decode()

    def doctors(self, configs: Sequence[dict[str, Any]]) -> None:
        """The doctor, once for each of the configurations laid over the desk's, two at a time."""
        files = []
        for number, config in enumerate(configs):
            file = self.folder / f"doctor-{number}.yaml"
            laid = {name: self.desk.config.get(name, {}) | section for name, section in config.items()}
            file.write_text(json.dumps(self.desk.config | laid))
            files.append(file)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda file: self.verb("doctor", where=f"doctor: {file.name}", config=file), files))

    def spawn(self, launcher: Sequence[str] = ("-m", "daemon")) -> None:
        """Start the daemon."""
        self.desk.spawn(launcher, options=["--env-file", str(self.env_file)])

    def start(self) -> None:
        """Start the daemon and wait until it takes events."""
        self.spawn()
        until(self.desk.is_ready, what="the daemon is not ready")
        assert self.desk.process
        self.said[f"cmdline {self.desk.process.pid}"] = Path(f"/proc/{self.desk.process.pid}/cmdline").read_bytes()

    def ask(self, method: str, path: str, body: bytes = b"", *, token: str | None = None) -> int:
        """A request over TCP; its answer, headers too, is kept."""
        host, _, port = self.desk.status()["http"].rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=20)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            told = str(answer.getheaders()).encode() + answer.read()
        finally:
            connection.close()
        self.said[f"answer {len(self.said)}: {method} {path[:12]}"] = told
        return answer.status

    def look(self) -> None:
        """Everything that can be read of a running daemon."""
        token = self.now["http.token"].value
        for path in ("/metrics", "/status", "/events?limit=1000", "/openapi.json", "/book", "/health/ready"):
            assert self.ask("GET", path, token=token) == 200
        for event in self.desk.events()[-20:]:
            self.said[f"event {event['id']}"] = json.dumps(self.desk.event(event["id"])).encode()
        for words in (
            ("status",),
            ("status", "--json"),
            ("events",),
            ("show", self.desk.events()[0]["id"]),
            ("book", "show"),
        ):
            self.verb(*words)

    def notified(self) -> bytes:
        """What the service manager was told so far."""
        try:
            while True:
                self._told += self._notify.recv(65536) + b"\n"
        except BlockingIOError:
            return bytes(self._told)

    def haystacks(self) -> dict[str, bytes]:
        """All of it: what was said, the log, and every file of the state folder."""
        found = dict(self.said)
        found["log"] = self.desk.log().encode()
        found["notify"] = self.notified()
        found |= self._state()
        for path in sorted(self.folder.glob("support*.md")):
            found[path.name] = path.read_bytes()
        return found

    def keep(self, when: str) -> None:
        """Keep the files of the state folder as they are now."""
        self.said |= {f"{when}: {name}": text for name, text in self._state().items()}

    def _state(self) -> dict[str, bytes]:
        state = self.desk.state
        files = (path for path in sorted(state.rglob("*")) if path.is_file())
        return {f"state/{path.relative_to(state)}": path.read_bytes() for path in files}

    def close(self) -> None:
        """Nothing is left behind."""
        self.desk.__exit__(None, None, None)
        self._notify.close()
