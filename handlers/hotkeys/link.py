"""One WebSocket connection to a hotkey server: websockets' sans-I/O protocol under an asyncio transport.

No library connection object stands on the way of a key: a flush is one `transport.write`. Works on asyncio and uvloop.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections import deque
from dataclasses import dataclass
from typing import Protocol, cast

from websockets.client import ClientProtocol
from websockets.frames import BINARY, CLOSE, PING, PONG, TEXT, Frame
from websockets.protocol import OPEN
from websockets.uri import WebSocketURI

from daemon.errors import UnreachableError
from daemon.events import TradeEvent
from daemon.ports import Settled
from handlers.hotkeys.frame import masked

MAX_BYTES = 64 * 1024
"""Most bytes a server may send between two signs of life before it is dropped."""
BUFFER_BYTES = 64 * 1024
"""Bytes waiting in our own write buffer from which on no key is taken any more."""

_MUTE = logging.getLogger("deskhand.hotkeys.wire")  # a line per frame, on the way of the key; `log_level: TRACE` hears
_MUTE.setLevel(logging.CRITICAL + 1)
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class Key:
    """One key on its way: sent at `sent_at` (loop time, seconds), `open` until settled."""

    step: str
    event: TradeEvent
    settled: Settled
    sent_at: float
    link: "Link"
    open: bool = True


class Listener(Protocol):
    """What a connection tells its target. After `link_lost` nothing but `link_gone` comes."""

    def link_opened(self, link: "Link") -> None:
        """The handshake is complete."""

    def link_answered(self, link: "Link", text: str) -> None:
        """The server sent a text frame."""

    def link_ponged(self, link: "Link", payload: bytes) -> None:
        """A pong arrived."""

    def link_closing(self, link: "Link", code: int) -> None:
        """The server's close frame arrived; ours is out or goes out now."""

    def link_lost(self, link: "Link", why: str) -> None:
        """The connection is over; once for each opened one."""

    def link_paused(self, link: "Link") -> None:
        """`link.paused` changed: the kernel takes no more bytes, or takes them again."""

    def link_gone(self, link: "Link") -> None:
        """The transport is closed and nothing of the connection is left."""


class Link(asyncio.Protocol):
    """One connection. Times are loop times in seconds; `ping_at` is 0.0 while no ping is outstanding."""

    def __init__(self, uri: WebSocketURI, listener: Listener, sock: socket.socket) -> None:
        self.loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = self.loop.create_future()
        self.keys: deque[Key] = deque()
        self.used = False
        self.distrusted = False
        self.ended = False
        self.paused = False
        self.ready_at = 0.0
        self.alive_at = 0.0
        self.ping_at = 0.0
        self.ping_covers = 0
        self.hold: asyncio.TimerHandle | None = None
        self.answers_due = 0
        self.transport: asyncio.Transport | None = None
        self._ws = ClientProtocol(uri, max_size=MAX_BYTES, logger=_MUTE)
        self._listener = listener
        self._sock = sock
        self._heard = 0
        self._head = b""
        self._pings = 0
        self._added: list[bytes] = []

    @property
    def open(self) -> bool:
        """Whether frames can be sent."""
        return not self.ended and self._ws.state is OPEN

    def text(self, payload: bytes) -> None:
        """Add a text frame; it leaves with `push`."""
        self._heard = 0
        self._added.append(masked(TEXT, payload))

    def ping(self) -> None:
        """Add a ping that confirms all keys added before it; it leaves with `push`."""
        self._pings += 1
        self.ping_at = self.loop.time()
        self.ping_covers = len(self.keys)
        self._added.append(masked(PING, self._pings.to_bytes(4, "big")))

    def pong_matches(self, payload: bytes) -> bool:
        """Whether a pong answers the outstanding ping."""
        return bool(self.ping_at) and payload == self._pings.to_bytes(4, "big")

    def close(self) -> None:
        """Add the close frame (1000), unless one is out already; it leaves with `push`."""
        if self._ws.state is OPEN:
            self._ws.send_close(1000)

    def push(self) -> None:
        """Put everything added on the wire in one write."""
        # The library's own frames are the close frame, which comes behind the keys it confirms, and pongs.
        data = self._added + self._ws.data_to_send()
        if data and not self.ended and self.transport:
            self._added = []
            self.transport.write(b"".join(data))

    def end(self, why: str, *, reset: bool = False) -> None:
        """Cut the connection; `reset` also takes back what the kernel has not delivered yet."""
        if self.ended:
            return
        self.ended = True
        if self.hold:
            self.hold.cancel()
        if self.transport:
            if reset:
                with contextlib.suppress(OSError):  # the socket may be dead already, which is all we want
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        if self.ready_at:
            self._listener.link_lost(self, why)
        elif not self.opened.done():
            self.opened.set_exception(UnreachableError(why))
            self.opened.exception()  # a dial given up does not look at it any more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the handshake."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=BUFFER_BYTES)
        self._ws.send_request(self._ws.connect())
        self.push()

    def data_received(self, data: bytes) -> None:
        """Parse what came, tell the listener, answer pings."""
        if self.ended:
            return
        self._heard += len(data)
        if self._heard > MAX_BYTES:
            self.end("the server sent more than 64 KiB", reset=True)
            return
        if not self.ready_at and self._refused(data):
            return
        self._ws.receive_data(data)
        for event in self._ws.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            elif self._ws.handshake_exc is None:
                self.ready_at = self.alive_at = self.loop.time()
                self._listener.link_opened(self)
                if not self.opened.done():
                    self.opened.set_result(None)
        if self._ws.handshake_exc:
            self.end("not a WebSocket server")
        elif self._ws.parser_exc:
            self.push()
            self.end("the server broke the WebSocket protocol", reset=True)
        else:
            self.push()

    def _frame(self, frame: Frame) -> None:
        if self.ended:
            return
        if frame.opcode is PONG:
            self._heard = 0
            self._listener.link_ponged(self, bytes(frame.data))
        elif frame.opcode is CLOSE:
            self.push()
            received = self._ws.close_rcvd
            self._listener.link_closing(self, received.code if received else 1005)
        elif frame.opcode is TEXT and frame.fin:
            self._listener.link_answered(self, bytes(frame.data).decode(errors="replace"))
        elif frame.opcode is BINARY:
            self.end("the server sent a binary frame", reset=True)

    def _refused(self, data: bytes) -> bool:
        """Whether the status line says no; told from the first bytes, as a body might never end."""
        if len(self._head) < 12:
            self._head += data[:12]
        if self._head.startswith(b"HTTP/1.") and len(self._head) >= 12 and self._head[9:12] != b"101":
            status = self._head[9:12]
            self.end(f"HTTP {status.decode()} instead of a WebSocket" if status.isdigit() else "not a WebSocket server")
        return self.ended

    def eof_received(self) -> None:
        """The server closed its side; nothing more will be confirmed."""
        self.end("the server closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone, by us or by the network."""
        number = exc.errno if isinstance(exc, OSError) else None
        self.end(os.strerror(number) if number and number > 0 else "the server closed the connection")
        self._listener.link_gone(self)

    def pause_writing(self) -> None:
        """The kernel takes no more."""
        self.paused = True
        self._listener.link_paused(self)

    def resume_writing(self) -> None:
        """The kernel takes bytes again."""
        self.paused = False
        self._listener.link_paused(self)
