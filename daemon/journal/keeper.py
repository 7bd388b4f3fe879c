"""Keeps the journal usable: tries a broken one again every second, learns its ids and trims it a little at a time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from loguru import logger

from daemon.clock import Clock
from daemon.errors import JournalError
from daemon.journal.db import Journal

RETRY_S = 1.0
"""How often a journal that cannot be written is tried again, in seconds."""
TRIM_S = 60.0
"""How often old records are looked for, in seconds."""
_DAY_S = 86_400.0
_CHUNK_PAUSE_S = 0.05


async def keep(
    journal: Journal, clock: Clock, limits: Callable[[], tuple[float, int]], opened: Callable[[], None]
) -> None:
    """Run for ever. `limits` gives the days and bytes that records may take; `opened` is called after a journal that
    could not be opened, or broke, is back.
    """
    while True:
        if not journal.ok:
            _try_again(journal, opened)
            await asyncio.sleep(RETRY_S)
            continue
        retention_days, max_bytes = limits()
        older_than = clock.now() - retention_days * _DAY_S
        if _more(journal.learn) or _more(partial(journal.trim, older_than, max_bytes)):
            await asyncio.sleep(_CHUNK_PAUSE_S)
            continue
        # Nothing ticks while all is well: a clock that wakes the process every second meets a key now and then.
        with suppress(TimeoutError):
            async with asyncio.timeout(TRIM_S):
                await journal.broken.wait()


def _try_again(journal: Journal, opened: Callable[[], None]) -> None:
    try:
        journal.open()
        journal.commit()
        opened()
    except JournalError as error:
        logger.debug("journal: still unusable: {}", error)
    else:
        logger.info("journal: can be written again")


def _more(work: Callable[[], bool]) -> bool:
    try:
        return work()
    except JournalError:
        return False  # logged where it broke; the next round tries again
