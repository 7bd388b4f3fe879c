"""For every test: nothing of the machine's own configuration gets in."""

import os

import pytest

from daemon.redaction import redact
from daemon.settings.layers import NAMES, PREFIX

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
