"""The outside world of an acceptance test: a hotkey server and a broker, real processes both."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.desk import KeyServer, whole_lines
from tests.fakes.center import KEY
from tests.fakes.center_privacy import leaks
from tests.fakes.mosquitto import Mosquitto


@pytest.fixture(autouse=True)
def center_learns_nothing_private(tmp_path: Path) -> Iterator[None]:
    """Whatever a Command Center received in this test, byte for byte, holds nothing that is nobody's business."""
    yield
    tokens = [file.read_text().strip() for file in tmp_path.rglob("http-token")]
    private = [str(tmp_path), str(Path.home()), *tokens]
    for log in tmp_path.rglob("center.jsonl"):
        lines = list(map(json.loads, whole_lines(log)))
        received = "".join(line["data"] for line in lines if line["kind"] == "bytes")
        assert not [word for word in private if word in received]
        assert f"{socket.gethostname()}\r" not in received
        bodies = [(line["path"], line["raw"].encode("latin-1")) for line in lines if line["kind"] == "call"]
        assert [leak for path, raw in bodies for leak in leaks(path, {}, raw, KEY)] == []


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyServer]:
    """A hotkey server."""
    server = KeyServer(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker with persistent sessions."""
    found = Mosquitto(tmp_path / "broker").start()
    yield found
    found.stop()
