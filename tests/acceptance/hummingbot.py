"""The Hummingbot of an acceptance test: the strict fake as a process, on the same port over kill and start."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.desk import ROOT, Json, whole_lines

USER, PASSWORD = "desk", "hb-secret-password"


class HummingbotProcess:
    """Start it, steer it, kill it. `do("bots.kill", name)` calls, `get("violations")` reads, `set(...)` writes."""

    def __init__(self, folder: Path, broker: int | None = None) -> None:
        self.log = folder / "hummingbot.jsonl"
        self._broker = broker
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """For `hummingbot.url`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def config(self) -> Json:
        """What the daemon needs to know; the password goes into the environment."""
        return {"url": self.url, "username": USER}

    @property
    def environ(self) -> dict[str, str]:
        """The password."""
        return {"HUMMINGBOT_API_PASSWORD": PASSWORD}

    def start(self) -> "HummingbotProcess":
        """Listen."""
        command = [sys.executable, "-m", "tests.fakes.hummingbot", "--port", str(self._port), "--log", str(self.log)]
        command += ["--broker", str(self._broker)] if self._broker is not None else []
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        return self

    def kill(self) -> None:
        """kill -9."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate(timeout=10)

    def do(self, what: str, *given: Any) -> Any:
        """One command."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"do": what, "with": given}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert "ok" in answer, answer
        return answer["ok"]

    def get(self, what: str) -> Any:
        """Read something."""
        return self.do("get", what)

    def set(self, what: str, value: Any) -> None:
        """Write something."""
        self.do("set", what, value)

    @property
    def asked(self) -> list[Json]:
        """Every request so far, over all its lives."""
        return [json.loads(line) for line in whole_lines(self.log)] if self.log.exists() else []
