"""Machines to install on."""

from pathlib import Path

import pytest

from tests.service.support import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """For the system's service."""
    return Box(tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Box:
    """For a user's own service."""
    return Box(tmp_path, user=True)
