"""The daemon's life: take the state folder, start, wait for a signal, stop in bounded time."""

import asyncio
import faulthandler
import gc
import os
from collections.abc import Callable, Mapping
from typing import Any

import uvloop
from loguru import logger

from daemon import logs, version
from daemon.clock import Clock
from daemon.graph import Graph
from daemon.lifecycle import Signals, Supervisor, own_folder, tasks
from daemon.reloader import Reloader
from daemon.settings import Settings

_SPARE_S = 10.0
"""What the service manager waits beyond `stop_timeout_s`, in seconds, as TimeoutStopSec does beyond the default."""
_GC_EVERY = 20_000  # allocations; next to nothing here is cyclic, and a collection on the way to a key is felt


def main(settings: Settings, read: Callable[[], Settings], environ: Mapping[str, str]) -> int:
    """Run the daemon until it is told to stop; returns the exit code. `read` reads the settings anew, for a reload.

    Raises ConfigError before anything is served.
    """
    os.umask(0o077)
    faulthandler.enable()  # a crash, or the watchdog's SIGABRT, shows where each thread was
    logs.setup(settings.log_level, settings.log_format)
    if settings.origin.vault and settings.origin.vault.problem:
        logger.warning(
            "{}; no setting needs it, but its values are not known here either", settings.origin.vault.problem
        )
    lock = own_folder(settings.state_dir)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(_live(settings, read, Supervisor(environ)))
            # Everything is stopped. Loop and interpreter would now wait for their threads, and one that asks a dead
            # name server or reads a disk that hangs has no end (promise 9).
            logs.finish()
            os._exit(code)
    finally:
        os.close(lock)


async def _live(settings: Settings, read: Callable[[], Settings], supervisor: Supervisor) -> int:
    clock = Clock()
    graph = Graph(settings, clock, version(), supervisor.listeners)
    reloader = Reloader(read, graph, clock, supervisor)
    graph.desk.on_reload = reloader.reload
    asked: list[None] = []  # a SIGHUP that came before there was anything to reload
    signals = Signals(lambda: reloader.request() if graph.desk.open else asked.append(None), lambda: _dump(graph))
    signals.install()
    stopped = asyncio.create_task(signals.stop.wait(), name="stop-signal")
    try:
        code = await _serve(graph, reloader, supervisor, stopped, asked)
    finally:
        stopped.cancel()
        # The unit's own limit fits the default; whoever gives the stop more time shall have it under systemd too.
        extend = int((graph.settings.stop_timeout_s + _SPARE_S) * 1e6)
        supervisor.tell("STOPPING=1", "STATUS=stopping", f"EXTEND_TIMEOUT_USEC={extend}")
        await reloader.close()
        problems = await graph.stop(graph.settings.stop_timeout_s)
        await asyncio.sleep(0)  # what was written last goes out at the end of a turn
    logger.info("stopped{}", f" with problems: {'; '.join(problems)}" if problems else "")
    return code


async def _serve(
    graph: Graph, reloader: Reloader, supervisor: Supervisor, stopped: asyncio.Task[Any], asked: list[None]
) -> int:
    await graph.start()
    http, server = graph.settings.http, graph.desk.server
    where = f"{http.host}:{server.bound_port}" if server else ""
    logger.info("deskhand {} is ready in {} mode, http {}", version(), graph.settings.mode.upper(), where)
    # What is loaded by now stays: no later collection has to walk it in the middle of an event.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_EVERY, 50, 100)
    supervisor.tell("READY=1", f"STATUS={graph.desk.line()}")
    watched: set[asyncio.Future[Any]] = {stopped, graph.failed}
    attending = asyncio.create_task(supervisor.attend(graph.desk.stuck, graph.desk.line), name="supervisor")
    watched.add(attending)
    if asked:
        reloader.request()
    await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    attending.cancel()
    if graph.failed.done():
        logger.critical("stopping because a part of the daemon died: {}", graph.failed.result())
        return 1
    if not stopped.done():  # a daemon that ends with 0 is not started again
        logger.opt(exception=attending.exception()).critical("stopping because the task supervisor died")
        return 1
    return 0


def _dump(graph: Graph) -> None:
    """SIGUSR1: what everything is doing, for whoever looks into the log."""
    logger.info("state: {}", graph.desk.line())
    for lane in graph.dispatcher.queues():
        for line in lane.dump():
            logger.info("state: {}", line)
    for line in tasks():
        logger.info("state: task {}", line)
