"""A hotkey server that only notes when each frame came: far cheaper than anything it measures.

It runs as a process of its own and is steered by lines on stdin:
`reset` forgets everything, `wait N SECONDS QUIET` answers with one JSON line `[[nanoseconds, text], ...]` once N frames
are in, SECONDS have passed, or nothing came for QUIET seconds. Times are CLOCK_MONOTONIC at the read that brought it.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import sys
import time
from typing import cast

import uvloop

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING = 1, 8, 9


class Frames:
    """What arrived since the last reset; still masked, so that unmasking costs nothing while it is measured."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bytes, bytes]] = []
        self.last = time.monotonic()
        self.target = 0
        self.reached = asyncio.Event()

    def reset(self) -> None:
        self.seen = []
        self.target = 0
        self.reached.clear()

    def unmasked(self) -> list[tuple[int, str]]:
        """Time in nanoseconds and text of each frame, in order of arrival."""
        return [(at, _unmask(mask, payload).decode()) for at, mask, payload in self.seen]


def _unmask(mask: bytes, payload: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


class Line(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._rest = b""
        self._open = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._rest + data
        if not self._open:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            self._upgrade(data[:end])
            data = data[end + 4 :]
        self._rest = self._read(data, now)

    def _upgrade(self, head: bytes) -> None:
        headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        key = next(value for name, value in headers.items() if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self._open = True
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def _read(self, data: bytes, now: int) -> bytes:
        """Take whole frames off `data`; what is left of an unfinished one is returned."""
        at, end = 0, len(data)
        frames = self._frames
        while end - at >= 6:
            size = data[at + 1] & 127
            head = at + 2
            if size == 126:
                size = int.from_bytes(data[at + 2 : at + 4])
                head = at + 4
            if end < head + 4 + size:
                break
            opcode = data[at] & 15
            mask, payload = data[head : head + 4], data[head + 4 : head + 4 + size]
            at = head + 4 + size
            if opcode == _TEXT:
                frames.seen.append((now, mask, payload))
            elif opcode == _PING:
                self._transport.write(bytes((0x8A, size)) + _unmask(mask, payload))
            elif opcode == _CLOSE:
                self._transport.write(bytes((0x88, size)) + _unmask(mask, payload))
                self._transport.close()
                return b""
        frames.last = time.monotonic()
        if frames.target and len(frames.seen) >= frames.target:
            frames.reached.set()
        return data[at:]


async def _wait(frames: Frames, count: int, seconds: float, quiet: float) -> None:
    frames.target = count
    frames.reached.clear()
    if len(frames.seen) >= count:
        return
    frames.last = time.monotonic()
    deadline = frames.last + seconds
    while not frames.reached.is_set():
        until = min(deadline, frames.last + quiet)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(frames.reached.wait(), max(0.0, until - time.monotonic()))
        if time.monotonic() >= min(deadline, frames.last + quiet):
            return


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    frames = Frames()
    server = await loop.create_server(lambda: Line(frames), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    orders = asyncio.StreamReader(limit=2**20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        verb, *words = line.decode().split()
        if verb == "reset":
            frames.reset()
            print("{}", flush=True)
        else:
            await _wait(frames, int(words[0]), float(words[1]), float(words[2]))
            print(json.dumps(frames.unmasked()), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve())
