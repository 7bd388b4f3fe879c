"""The processes of a run: broker, receiver, publisher and the forwarders that are measured."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until_listening(port: int, seconds: float = 10.0) -> None:
    """Wait until somebody listens on a loopback port; TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


class Part:
    """A child process in a process group of its own, ended at the end whatever happens."""

    def __init__(self, command: list[str], log: Path, **more: Any) -> None:
        self.command, self.log = command, log
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stderr=sink, start_new_session=True, **({"stdout": sink} | more)
            )

    def stop(self, seconds: float = 20.0) -> None:
        """SIGTERM, and SIGKILL for the whole group if that does not end it within `seconds`."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def tail(self) -> str:
        """The last lines it said, for a failure's message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Asked(Part):
    """A part that answers each line on its stdin with one line of JSON."""

    def __init__(self, module: str, log: Path, *words: str) -> None:
        super().__init__(
            [sys.executable, "-m", f"tests.bench.{module}", *words],
            log,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.hello = self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line: str = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.command} died:\n{self.tail()}")
        return line.strip()

    def ask(self, order: str) -> Any:
        """Send an order and wait for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        return json.loads(self._line())


def broker(folder: Path) -> tuple[Part, int]:
    """A mosquitto of our own on loopback, the same for all; nothing in it limits or drops. Returns it and its port."""
    binary = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n"
        "max_inflight_messages 0\nset_tcp_nodelay true\nlog_type error\n"
    )
    part = Part([binary, "-c", str(config)], folder / "mosquitto.log")
    until_listening(port)
    return part, port


class Subject:
    """A forwarder under measurement; `start` may be called again after `stop`."""

    def __init__(self, name: str, topic: str, command: list[str], folder: Path, environ: dict[str, str]) -> None:
        self.name, self.topic = name, topic
        self._command, self._log, self._environ = command, folder / f"{name}.log", environ
        self.part: Part | None = None

    def start(self) -> None:
        """Spawn it."""
        self.part = Part(self._command, self._log, env=self._environ)

    def stop(self) -> None:
        """End it in order; its sessions and state stay."""
        if self.part is not None:
            self.part.stop()
            self.part = None

    def check(self) -> None:
        """RuntimeError with its last words if it died."""
        _ = self.running

    @property
    def running(self) -> Part:
        """The process; RuntimeError with its last words if it died."""
        if self.part is None or self.part.process.poll() is not None:
            said = self.part.tail() if self.part else "never started"
            raise RuntimeError(f"{self.name} is not running:\n{said}")
        return self.part


def bare(folder: Path, broker_port: int, url: str) -> Subject:
    """The forwarder that everything is compared with."""
    topic = "bench/bare"
    command = [sys.executable, "-m", "tests.bench.bare", str(broker_port), topic, url]
    return Subject("bare", topic, command, folder, _environ(folder))


def other(folder: Path, broker_port: int, url: str, template: str) -> Subject:
    """Any other forwarder: `{port} {topic} {url} {dir}` in its command line are filled in."""
    home = folder / "other"
    home.mkdir(exist_ok=True)
    topic = "bench/other"
    command = [part.format(port=broker_port, topic=topic, url=url, dir=home) for part in template.split()]
    return Subject("other", topic, command, folder, _environ(home))


def deskhand(
    folder: Path, broker_port: int, url: str, connect: str, name: str, *, http_port: int | None = None,
    center: str = "", key: str = "",
) -> Subject:  # fmt: skip
    """The daemon in live mode with everything off that would add or reorder keys; its state lies in `folder`.

    `center` is the address of a Command Center that it is to keep informed, `key` its key.
    """
    home = folder / name
    (home / "state").mkdir(parents=True)
    topic = f"bench/{name}"
    config = home / "deskhand.yaml"
    config.write_text(
        f"mode: live\n"
        f"state_dir: {home / 'state'}\n"
        f"http: {{host: 127.0.0.1, port: {http_port or free_port()}}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {broker_port}, topic: {topic}, client_id: {name}}}\n"
        f"hotkeys:\n"
        f'  targets: {{main: "{url}"}}\n'
        f'  frame: "{{action}} {{id}}"\n'
        f"  gap_ms: 0\n  connect: {connect}\n  guard: off\n  overtake: []\n"
        + (f"polymaker: {{url: '{center}', bankroll: 500}}\n" if center else "")
    )
    command = [sys.executable, "-m", "daemon", "run", "--config", str(config)]
    return Subject(name, topic, command, folder, _environ(home) | ({"POLYMAKER_API_KEY": key} if key else {}))


def _environ(home: Path) -> dict[str, str]:
    """Nothing of the user's own environment may change what is measured."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "LANG": "C.UTF-8",
    }
