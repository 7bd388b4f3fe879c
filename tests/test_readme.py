"""Every example of the README, run as it stands there: shell and Python against a daemon, YAML through `check`.

What needs root is run by `tests/systemd/test_readme.py`, on a machine of its own; here only its words are checked.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from daemon.cli import parser
from daemon.settings import load
from daemon.vault import KeyFile, Vault, create, new_key, open_vault
from tests.acceptance.desk import until
from tests.fakes.mosquitto import Mosquitto, free_port

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
FOR_ROOT: list[str] = [text for kind, text in BLOCKS if kind == "sh" and "sudo " in text]
COMMANDS = [
    (kind, text)
    for kind, text in BLOCKS
    if kind in ("sh", "python") and not text.startswith("make") and text not in FOR_ROOT
]
CONFIGURATIONS = [text for kind, text in BLOCKS if kind == "yaml"]


class Reader:
    """Somebody who follows the README in a folder of their own; only ports differ, because others may be in use."""

    def __init__(self, folder: Path, http: int, mqtt: int) -> None:
        self.folder = folder
        (folder / ".venv").symlink_to(sys.prefix)
        self.environment = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PATH": os.environ["PATH"],
            "DESKHAND_HTTP__PORT": str(http),
            "DESKHAND_MQTT__HOST": "127.0.0.1",
            "DESKHAND_MQTT__PORT": str(mqtt),
        }
        self._ports = {"8790": str(http), "mosquitto_pub ": f"mosquitto_pub -p {mqtt} "}

    def types(self, kind: str, text: str) -> str:
        """Run one example; returns what it printed. Fails when any of its commands does."""
        for there, here in self._ports.items():
            text = text.replace(there, here)
        command = ["bash", "-euo", "pipefail", "-c", text] if kind == "sh" else [".venv/bin/python", "-c", text]
        environment = {name: value for name, value in self.environment.items() if not name.startswith("DESKHAND")}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("r")
    broker = Mosquitto(folder / "broker").start()
    reader = Reader(folder, free_port(), broker.port)
    with (folder / "log").open("w") as log:
        daemon = subprocess.Popen([".venv/bin/deskhand", "run"], cwd=folder, env=reader.environment, stderr=log)
    try:
        until(lambda: "MQTT: connected" in (folder / "log").read_text(), what="the daemon connects to the broker")
        yield reader
    finally:
        daemon.terminate()
        assert daemon.wait(20) == 0
        broker.stop()


def test_every_command(reader: Reader) -> None:
    said = [reader.types(kind, text) for kind, text in COMMANDS]
    assert re.search(r"entry AAPL · practice · main: buy_ask ✓ done · first byte after [0-9.]+ ms", said[0])
    everything = "".join(said)
    assert '{"id":"t-1","status":"duplicate"}' in everything
    assert "refused: AMD is still open" in everything
    assert "deskhand_events_total" in everything
    assert '{"status":"ready"}' in everything
    log = (reader.folder / "log").read_text()
    until(lambda: "sl NVDA n-1 at main: done" in (reader.folder / "log").read_text(), what="the event over MQTT")
    assert "ERROR" not in log


def test_what_needs_root_is_marked_and_means_something() -> None:
    lines = [line for text in FOR_ROOT for line in text.splitlines()]
    assert all(line.startswith("sudo ") for line in lines), "a block is for root as a whole or not at all"
    calls = [
        words[words.index(name) + 1 :] for words in map(_words, lines) for name in words[1:2] if "deskhand" in name
    ]
    assert len(calls) >= 5
    for words in calls:
        assert parser(words[0]).parse_args(words).verb == words[0]


def _words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def vault(home: Path) -> Vault:
    """The reader's, as `deskhand vault init` makes it."""
    state, key = home / ".local/state/deskhand", home / ".config/deskhand/vault.key"
    if not (state / "vault").exists():
        create(state, new_key(KeyFile(key, (os.geteuid(), os.getegid()))), 0)
    return open_vault(state, {"HOME": str(home)})


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_every_configuration(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in re.findall(r"vault:(\w+)", text):
        vault(tmp_path).set(name, "a-secret-of-the-reader", 0)
    file = tmp_path / "deskhand.yaml"
    file.write_text(text)
    load(file, None, [], {"HOME": str(tmp_path)})
    assert yaml.safe_load(text)
