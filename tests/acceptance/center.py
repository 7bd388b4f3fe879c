"""The Command Center of an acceptance test: the strict fake as a process of its own."""

import json
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.acceptance.desk import ROOT, Json
from tests.fakes.center import KEY


class CenterServer:
    """Start it, steer it, kill it and start it again on the same port (then it has forgotten all but its log)."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "center.jsonl"
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """For `polymaker.url`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def config(self) -> Json:
        """What the daemon needs to know; the key goes into the environment."""
        return {"url": self.url}

    @property
    def environ(self) -> dict[str, str]:
        """The key."""
        return {"POLYMAKER_API_KEY": KEY}

    def start(self, *habits: str) -> "CenterServer":
        """Listen; `habits` as `/trade=reset_after`."""
        command = [sys.executable, "-m", "tests.fakes.center", "--port", str(self._port), "--log", str(self.log)]
        command += [word for habit in habits for word in ("--habit", habit)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        return self

    def signal(self, number: int) -> None:
        """Freeze or thaw it."""
        assert self._process is not None
        self._process.send_signal(number)

    def call_back(self) -> None:
        """It need not stay away any longer; once in its life."""
        self.signal(signal.SIGUSR1)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def steer(self, verb: str, **given: Any) -> Json:
        """`habits`, `script`, `config`, `set`, `away`; or `summary`."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            method = "GET" if verb == "summary" else "POST"
            connection.request(method, f"/_fake/{verb}", json.dumps(given))
            answer = connection.getresponse()
            found: Json = json.loads(answer.read())
            assert answer.status == 200, found
            return found
        finally:
            connection.close()

    @property
    def books(self) -> Json:
        """Everything it knows; none of it may be a violation."""
        found = self.steer("summary")
        assert found["violations"] == []
        return found
