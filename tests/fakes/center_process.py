"""The fake Command Center as a process of its own, for tests that spawn the daemon too; no loop needed."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes.center import KEY
from tests.fakes.center_wire import Json

_ROOT = Path(__file__).resolve().parents[2]


class CenterProcess:
    """Starts, steers and ends it. The port outlives kill(); what it knew is then only in `log`."""

    def __init__(self, folder: Path, *habits: str, key: str = KEY) -> None:
        self.log = folder / "center.jsonl"
        self.log.touch()
        self.port = 0
        self.key = key
        self._habits = habits
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """For `POLYMAKER_URL`."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start it and wait until it listens."""
        command = [sys.executable, "-m", "tests.fakes.center", "--port", str(self.port), "--log", str(self.log)]
        command += ["--key", self.key, *(word for each in self._habits for word in ("--habit", each))]
        self._process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def signal(self, number: int) -> None:
        """SIGSTOP freezes it, SIGCONT thaws it."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def steer(self, what: str, **given: Any) -> None:
        """`habits`, `script`, `config`, `set` or `away`, with what it takes."""
        self._ask("POST", f"/_fake/{what}", given)

    def habits(self, habits: Mapping[str, str]) -> None:
        """The habits from now on, by path (`/trade`, or `*`); all others end."""
        self.steer("habits", **habits)

    def summary(self) -> Json:
        """What `Center.summary` says."""
        return self._ask("GET", "/_fake/summary", None)

    def lines(self, kind: str) -> list[Json]:
        """The `bytes` or the `call` lines of the log, over every start."""
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in found if line["kind"] == kind]

    def received(self) -> bytes:
        """Every byte that ever came, for those who look for what must not be there."""
        return b"".join(line["data"].encode("latin-1") for line in self.lines("bytes"))

    def _ask(self, method: str, path: str, body: Json | None) -> Json:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            found: Json = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"{path}: {found}")
        return found

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
