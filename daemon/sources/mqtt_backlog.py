"""Outcomes that wait for the broker: a burst or an outage leaves thousands."""

import zlib
from collections import deque
from collections.abc import Iterable, Iterator

from daemon.sources.mqtt_wire import Message

PAGE = 64
"""How many messages are packed together."""


class Backlog:
    """Messages that are not retained, first in, first out.

    All but the first and the last few are packed: thousands of small objects leave holes when they go, and the process
    would keep the size of its largest burst for good.
    """

    def __init__(self) -> None:
        self._first: deque[Message] = deque()
        self._packed: deque[bytes] = deque()
        self._last: list[Message] = []

    def __len__(self) -> int:
        """How many there are."""
        return len(self._first) + PAGE * len(self._packed) + len(self._last)

    def __iter__(self) -> Iterator[Message]:
        """All of them, oldest first."""
        yield from self._first
        for page in self._packed:
            yield from _unpacked(page)
        yield from self._last

    def append(self, message: Message) -> None:
        """Add the newest."""
        self._last.append(message)
        if len(self._last) >= PAGE:
            self._packed.append(_packed(self._last))
            self._last.clear()

    def extend(self, messages: Iterable[Message]) -> None:
        """Add many newest, oldest first."""
        for message in messages:
            self.append(message)

    def put_back(self, messages: Iterable[Message]) -> None:
        """Put many before all others, oldest first."""
        self._first.extendleft(reversed(list(messages)))

    def popleft(self) -> Message:
        """Take the oldest. Raises IndexError when there is none."""
        if not self._first:
            if self._packed:
                self._first.extend(_unpacked(self._packed.popleft()))
            else:
                self._first.extend(self._last)
                self._last.clear()
        return self._first.popleft()

    def clear(self) -> None:
        """Forget all."""
        self._first.clear()
        self._packed.clear()
        self._last.clear()


def _packed(messages: list[Message]) -> bytes:
    # Neither a topic nor JSON holds a zero byte. The quickest level: outcomes are much alike.
    return zlib.compress(b"\0".join(part for one in messages for part in (one.topic.encode(), one.payload)), 1)


def _unpacked(page: bytes) -> Iterator[Message]:
    parts = iter(zlib.decompress(page).split(b"\0"))
    return (Message(topic.decode(), payload) for topic, payload in zip(parts, parts, strict=True))
