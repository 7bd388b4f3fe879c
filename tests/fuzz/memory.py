"""How much is fed, and a watch on what it leaves behind."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

COUNT = int(os.environ.get("FUZZ_N", "20000"))
"""Inputs per parser."""
SEED = int(os.environ.get("FUZZ_SEED", "1"))
"""The first seed."""


def resident(pid: int | str = "self") -> float:
    """Resident memory of a process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


@contextmanager
def steady(mebibytes: float) -> Iterator[Callable[[], None]]:
    """Fail if memory grows by more than this after the yielded function was called (once caches are warm)."""
    base: list[float] = []

    def settle() -> None:
        gc.collect()
        base.append(resident())

    yield settle
    gc.collect()
    grown = resident() - base[-1]
    assert grown <= mebibytes, f"memory grew by {grown:.1f} MiB"
