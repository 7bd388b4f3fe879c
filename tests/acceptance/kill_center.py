"""Runs the daemon and kills it (-9) where it tells the Command Center something; the product knows nothing of it.

    python -m tests.acceptance.kill_center POINT NAME run --config F

`put`: it is gathered and not on record yet; `marked`: on record as started, before the first byte; `answered`: the
answer is here and not on record; `ended`: that is on record, too. NAME is the Center's path, `trade/batch` for several.
"""

import os
import signal
import sys
from typing import Any

from daemon.cli import main
from daemon.dispatch.outbox import Outbox
from daemon.ports import Post
from handlers.polymaker.handler import Polymaker

POINTS = ("put", "marked", "answered", "ended")
FIGURES = "run/update"
"""No post: it has no record, so only `marked` and `answered`."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _call(posts: list[Post]) -> str:
    return "trade/batch" if posts[0].name == "trade" and len(posts) > 1 else posts[0].name


def arm(point: str, name: str) -> None:
    """Set the trap. Raises KeyError for an unknown point."""
    put, send, deliver, push = Outbox.put, Outbox._send, Polymaker.deliver, Polymaker.push_metrics

    def putting(self: Outbox, post: Post) -> None:
        put(self, post)
        if post.name == name:
            _die()

    async def sending(self: Outbox, postman: Any, batch: list[Post]) -> Any:
        again = await send(self, postman, batch)
        if _call(batch) == name:
            _die()
        return again

    async def delivering(self: Polymaker, posts: list[Post]) -> Any:
        hit = _call(posts) == name
        if hit and point == "marked":
            _die()
        verdicts = await deliver(self, posts)
        if hit:
            _die()
        return verdicts

    async def pushing(self: Polymaker) -> None:
        if point == "answered":
            await push(self)
        _die()

    traps: dict[str, tuple[type, str, Any]] = {
        "put": (Outbox, "put", putting),
        "marked": (Polymaker, "deliver", delivering),
        "answered": (Polymaker, "deliver", delivering),
        "ended": (Outbox, "_send", sending),
    }
    setattr(*(traps[point] if name != FIGURES else (Polymaker, "push_metrics", pushing)))


if __name__ == "__main__":
    arm(sys.argv[1], sys.argv[2])
    sys.argv[1:] = sys.argv[3:]
    sys.exit(main())
