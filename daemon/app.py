"""The daemon's life: take the state folder, start, wait for a signal, stop in bounded time."""

import asyncio
import gc
import os
from typing import Any

import uvloop
from loguru import logger

from daemon import logs, version
from daemon.clock import Clock
from daemon.errors import ConfigError
from daemon.graph import Graph
from daemon.lifecycle import Signals, own_folder
from daemon.settings import Settings

_GC_EVERY = 20_000  # allocations; next to nothing here is cyclic, and a collection on the way to a key is felt


def main(settings: Settings) -> int:
    """Run the daemon until it is told to stop; returns the exit code. Raises ConfigError before anything is served."""
    os.umask(0o077)
    logs.setup(settings.log_level, settings.log_format, settings.secrets())
    lock = own_folder(settings.state_dir)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_live(settings))
    finally:
        os.close(lock)


async def _live(settings: Settings) -> int:
    signals = Signals()
    signals.install()
    graph = Graph(settings, Clock(), version())
    code = 0
    try:
        await graph.start()
    except ConfigError:
        await graph.stop(settings.stop_timeout_s)
        raise
    where = graph.status()
    logger.info("deskhand {} is ready in {} mode, http {}", where["version"], where["mode"].upper(), where["http"])
    # What is loaded by now stays: no later collection has to walk it in the middle of an event.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_EVERY, 50, 100)
    stopped = asyncio.create_task(signals.stop.wait(), name="stop-signal")
    watched: set[asyncio.Future[Any]] = {stopped, graph.failed}
    await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if graph.failed.done():
        logger.critical("stopping because a part of the daemon died: {}", graph.failed.result())
        code = 1
    problems = await graph.stop(settings.stop_timeout_s)
    logger.info("stopped{}", f" with problems: {'; '.join(problems)}" if problems else "")
    return code
