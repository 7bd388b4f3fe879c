"""Work in a thread of its own: what it gives, what it raises, and nobody who waits for it at the end."""

import asyncio
import subprocess
import sys
import threading

import pytest

from daemon.apart import apart


async def test_its_result() -> None:
    assert await apart(lambda: threading.current_thread().name, "some-work") == "some-work"


async def test_what_it_raised() -> None:
    def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await apart(work, "fails")


async def test_nobody_listens_any_more() -> None:
    go = threading.Event()
    answer = apart(lambda: go.wait(10), "late")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await answer
    go.set()
    assert await apart(lambda: 1, "next") == 1
    assert answer.cancelled()


def test_the_end_does_not_wait_for_it() -> None:
    script = """
import asyncio, time
from daemon.apart import apart

async def main():
    apart(lambda: time.sleep(60), "hangs")
    await asyncio.sleep(0)

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", script], timeout=20, check=False, capture_output=True)
    assert (ended.returncode, ended.stderr) == (0, b"")
