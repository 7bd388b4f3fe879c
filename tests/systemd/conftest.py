"""Machines to test on; every test here is skipped, with the reason, where none can be booted."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.systemd.machine import why_not

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Asked only when there is something to run here: it mounts and unmounts."""
    ours = [item for item in items if HERE in item.path.parents]
    reason = why_not() if ours else None
    if reason is not None:
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=f"no systemd can be booted here: {reason}"))
