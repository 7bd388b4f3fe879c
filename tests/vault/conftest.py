"""A fresh vault for each test."""

from pathlib import Path

import pytest

from tests.vault.support import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)
