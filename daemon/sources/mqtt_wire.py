"""MQTT packets by hand, and the wire that the library for the other packets takes for its socket."""

import asyncio
from typing import NamedTuple

from daemon.errors import UnreachableError


class BrokerError(UnreachableError):
    """The connection could not be made or was lost. `stubborn`: trying again soon will not help."""

    def __init__(self, reason: str, *, stubborn: bool = False) -> None:
        super().__init__(reason)
        self.stubborn = stubborn


class Message(NamedTuple):
    """Something to publish."""

    topic: str
    payload: bytes
    retain: bool = False


class Wire:
    """What paho takes for its socket: reads what it is fed, writes to the transport, never partially."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.unread = bytearray()

    def recv(self, size: int) -> bytes:
        """At most `size` of the bytes fed; BlockingIOError when there are none."""
        if not self.unread:
            raise BlockingIOError
        taken = bytes(self.unread[:size])
        del self.unread[:size]
        return taken

    def send(self, data: bytes) -> int:
        """Hand everything to the transport. Raises ConnectionResetError when it is gone."""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self.transport.write(bytes(data))
        return len(data)

    def close(self) -> None:
        """Close the transport once what was written has left."""
        if self.transport is not None:
            self.transport.close()

    def setblocking(self, flag: bool) -> None:
        """Nothing to do: it never blocks."""

    def fileno(self) -> int:
        """There is none."""
        return -1


def varint(data: bytes, at: int) -> tuple[int, int] | None:
    """A variable byte integer at `at` and where it ends; None if it is not all there. Raises BrokerError."""
    value = 0
    for shift in (0, 7, 14, 21):
        if at >= len(data):
            return None
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise BrokerError("the broker sent a malformed packet")


def _length(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def publication(message: Message, mid: int, *, v5: bool) -> bytes:
    """A PUBLISH packet with QoS 1."""
    topic = message.topic.encode()
    head = len(topic).to_bytes(2) + topic + mid.to_bytes(2) + (b"\0" if v5 else b"")
    size = _length(len(head) + len(message.payload))
    return (b"\x33" if message.retain else b"\x32") + size + head + message.payload
