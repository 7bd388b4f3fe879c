"""Reload, all or nothing: one path for SIGHUP, `deskhand reload` and `POST /reload`."""

import asyncio
from collections.abc import Callable
from typing import Any

from loguru import logger

from daemon import logs
from daemon.apart import apart
from daemon.clock import Clock
from daemon.errors import ConfigError, DeskhandError
from daemon.graph import Graph
from daemon.http.sockets import in_use
from daemon.lifecycle import Supervisor
from daemon.settings import Settings
from daemon.settings.diff import NEEDS_RESTART, Change, changes

READ_S = 5.0
"""How long reading the configuration may take, in seconds: its file may lie on a disk that hangs."""
_STOPPING = "the daemon is stopping"


class Reloader:
    """Reads with `read` what the daemon was started with and swaps it in; requests during a reload share the next."""

    def __init__(self, read: Callable[[], Settings], graph: Graph, clock: Clock, supervisor: Supervisor) -> None:
        self._read = read
        self._graph = graph
        self._clock = clock
        self._supervisor = supervisor
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[dict[str, Any]] | None = None
        self._tasks: set[asyncio.Task[dict[str, Any]]] = set()
        self._closed = False

    def request(self) -> None:
        """Reload now, or once more after the reload under way; nothing after `close`."""
        if self._next is None and not self._closed:
            self._next = asyncio.create_task(self._in_turn(), name="reload")
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)

    async def reload(self) -> dict[str, Any]:
        """As `request`, and wait for it. JSON-ready: `status` reloaded, unchanged or refused; `changed` key by key, or
        the `problems`.
        """
        self.request()
        task = self._next
        if self._closed:  # its request was under way when the stop began
            return _refused(_STOPPING)
        assert task is not None  # noqa: S101  # `request` sets it
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():  # else it was `close`, and whoever asked is still there to be told
                raise
            return _refused(_STOPPING)

    async def close(self) -> None:
        """Let no reload go on, nor begin."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
            await asyncio.wait([task])

    async def _in_turn(self) -> dict[str, Any]:
        async with self._turn:
            self._next = None  # whoever asks from here on may have changed the file since it was read
            self._supervisor.tell("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")
            try:
                answer = await self._reload()
            finally:
                self._supervisor.tell("READY=1")
        self._graph.desk.reloaded(answer)
        return answer

    async def _reload(self) -> dict[str, Any]:
        try:
            changed = await self._change()
        except ConfigError as error:
            return _refused(*error.problems)
        except DeskhandError as error:
            return _refused(str(error))
        except Exception as error:  # promise 5: whatever breaks a reload, the daemon runs on as it was
            logger.opt(exception=error).error("reload: a mistake of ours")
            return _refused(f"a mistake of ours: {type(error).__name__}; the log says where")
        if not changed:
            logger.info("reload: nothing has changed")
            return {"status": "unchanged", "changed": []}
        for change in changed:
            logger.info("reload: {}", change.words)
        logger.info("reloaded, {} changed", f"{len(changed)} keys" if len(changed) > 1 else "1 key")
        return {
            "status": "reloaded",
            "changed": [{"key": change.key, "old": change.old, "new": change.new} for change in changed],
        }

    async def _change(self) -> list[Change]:
        old = self._graph.settings
        try:
            async with asyncio.timeout(READ_S):
                new = await apart(self._read, "reload-read")
        except TimeoutError:
            raise ConfigError(f"the configuration could not be read within {READ_S:g} s") from None
        found = changes(old, new)
        problems = [*_vanished(old, new), *_impossible(new, found)]
        if problems:
            raise ConfigError(*problems)
        if found:
            await self._graph.swap(new)
            if (old.log_level, old.log_format) != (new.log_level, new.log_format):
                logs.setup(new.log_level, new.log_format)
        else:
            self._graph.refresh(new)
        return found


def _refused(*problems: str) -> dict[str, Any]:
    for problem in problems:
        logger.error("reload refused: {}", problem)
    return {"status": "refused", "problems": list(problems)}


def _vanished(old: Settings, new: Settings) -> list[str]:
    """A file that was read and is not there any more: what is left would be the defaults, or another's."""
    files = ((old.origin.file, new.origin.file), (old.origin.env_file, new.origin.env_file))
    return [f"{before}: was the configuration and is gone" for before, now in files if before and before != now]


def _impossible(new: Settings, found: list[Change]) -> list[str]:
    """What no running daemon can take over."""
    problems = []
    for change in found:
        if change.path in NEEDS_RESTART:
            taken = change.path == ("http", "port") and in_use(new.http.host, new.http.port)
            hint = "; and the port is in use by another program" if taken else ""
            problems.append(f"{new.origin.place(change.path)}: needs a restart{hint}")
        elif change.path == ("mode",) and new.mode == "live":
            problems.append(f"{new.origin.place(change.path)}: live is entered by a restart only")
    return problems
