"""Work that may block for ever, like a question to a name server, in a thread of its own that nobody waits for.

The loop's own executor has a few threads for all: some that hang would keep everybody waiting, and the end.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def apart(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Begin the work in a thread of this name; its result, or what it raised. Cancelling only stops listening."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: list[T], problem: Exception | None) -> None:
        if answer.done():
            return
        if problem is not None:
            answer.set_exception(problem)
        else:
            answer.set_result(*result)

    def body() -> None:
        result: list[T] = []
        problem: Exception | None = None
        try:
            result.append(work())
        except Exception as error:  # promise 4: whoever waits hears of it
            problem = error
        with suppress(RuntimeError):  # the loop is gone, and with it whoever asked
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=body, name=name, daemon=True).start()
    return answer
