"""Hummingbot's own word that something of its bots changed: then they are looked at at once, instead of in 15 s.

A push is only a reason to look; what is true is what the look sees. So a socket that is silent, garbled or not there
costs nothing but the time until the next look that is due anyway.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from loguru import logger

from daemon.backoff import delays
from handlers.hummingbot.answers import Ok, Refused, Result
from handlers.hummingbot.streams import Stream, SubscribeBots

EVERY_S, THEIRS_S = 1.0, 0.5
"""At most one look of ours in so many seconds, and one of the server's own for something to push."""
FIRST_S, LONGEST_S, STEADY_S = 1.0, 60.0, 10.0
"""Shortest and longest wait before the next attempt, and how long a connection must have lasted; in seconds."""
ABSENT_S = 600.0
"""Until a server that has no such socket, or does not let us in, is asked again, in seconds."""
CLOSE_S = 0.5
"""For a goodbye; a stop does not wait longer."""

Open = Callable[[Literal["executors"]], Awaitable[Result[Stream]]]


class Listener:
    """Keeps `/ws/executors` open, for ever; `run` it as a task and cancel it."""

    def __init__(self, open: Open, look: Callable[[], Awaitable[None]]) -> None:
        """`look` sees how every bot is."""
        self._open, self._look = open, look
        self._changed = asyncio.Event()
        self._said = ""

    async def run(self) -> None:
        """Listen, look and reconnect until cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._keep(), name="hummingbot-bots: listen")
            both.create_task(self._follow(), name="hummingbot-bots: look")

    async def _follow(self) -> None:
        """One look for all that was pushed since the last one."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._look()
            except Exception as error:  # promise 4: the daemon goes on; the scheduled look fails alike, and tells of it
                logger.debug("Hummingbot: a look at its bots failed: {}", type(error).__name__)
            await asyncio.sleep(EVERY_S)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        waits = delays(FIRST_S, 2.0, LONGEST_S)
        while True:
            began = loop.time()
            try:
                absent, why = await self._serve()
            except Exception as error:  # promise 4: the daemon goes on without pushes
                absent, why = True, type(error).__name__
            if loop.time() - began > STEADY_S:
                waits = delays(FIRST_S, 2.0, LONGEST_S)
            if why != self._said:
                self._said = why
                logger.debug("Hummingbot: no word of its bots by websocket: {}", why)
            await asyncio.sleep(ABSENT_S if absent else next(waits))

    async def _serve(self) -> tuple[bool, str]:
        """One connection; whether there is no such thing at this server, and why it ended."""
        opened = await self._open("executors")
        if not isinstance(opened, Ok):
            return isinstance(opened, Refused) and not 500 <= opened.status < 600, opened.words
        stream = opened.value
        try:
            refused = await stream.subscribe(SubscribeBots(update_interval=THEIRS_S))
            if refused is not None:
                return False, refused.words
            last: object = None
            async for push in stream:
                if push.type == "error":  # an older server, which has no such subscription
                    return True, push.message or "refused"
                if push.type == "all_bots_status" and (mark := _mark(push.data)) != last:
                    last, self._said = mark, ""
                    self._changed.set()
            return False, stream.ended
        finally:
            await stream.leave(CLOSE_S)


def _mark(data: Any) -> object:
    """What of a push is worth a look: figures change every second while a bot runs, how it is does not."""
    if not isinstance(data, Mapping):
        return repr(data)
    return {name: _row(row) for name, row in data.items()}


def _row(row: Any) -> object:
    if not isinstance(row, Mapping):
        return repr(row)
    return row.get("status"), row.get("source"), row.get("recently_active"), bool(row.get("performance"))
