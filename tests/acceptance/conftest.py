"""The outside world of an acceptance test: a hotkey server and a broker, real processes both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.desk import KeyServer
from tests.fakes.mosquitto import Mosquitto


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
