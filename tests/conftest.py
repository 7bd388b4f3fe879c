"""For every test: nothing of the machine's own configuration gets in, and its loop is the daemon's."""

import asyncio
import os
from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, settings

from daemon.redaction import redact
from daemon.settings.layers import NAMES, PREFIX
from tests.loops import Loop

# A machine that stands still for a moment finds no fault: what an example may take is the test's own time limit.
settings.register_profile("deskhand", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("deskhand")

_FOLDERS = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "JOURNAL_STREAM")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable that `load` would read, whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(PREFIX) or name in NAMES or name in _FOLDERS:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_secret_of_another_test() -> None:
    """What one test's configuration held is no secret in the next."""
    redact.forget()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the daemon runs on: its timers, transports and errors are not those of asyncio's own."""
    return {"uvloop": Loop}
