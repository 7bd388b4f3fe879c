"""Peers that fail in every way there is, and keep every byte they were sent."""

import contextlib
import socket
import ssl
import threading
from types import TracebackType
from typing import Self

REQUEST_LIMIT = 1 << 20


class Peer:
    """A TCP server on loopback that behaves as `how` says, whatever is spoken to it; `received` has what came.

    `hang` never answers, `close` hangs up after the first bytes, `reset` resets, `garbage` sends bytes that are
    nothing, `echo` sends back what it got, `tls` demands TLS with a certificate that nobody vouches for; `401`, `500`
    and `302` are HTTP answers that quote the request, the last one to another host.
    """

    def __init__(self, how: str, *, tls: ssl.SSLContext | None = None, elsewhere: str = "", host: str = "127.0.0.1"):
        self.how = how
        self.received = bytearray()
        self._tls = tls
        self._elsewhere = elsewhere
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((host, 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name=f"peer-{how}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), name=f"peer-{self.how}-one", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(10)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            first = connection.recv(REQUEST_LIMIT)
            self.received += first
            self._answer(connection, first)
            while more := connection.recv(REQUEST_LIMIT):
                self.received += more
                if self.how == "echo":
                    connection.sendall(more)

    def _answer(self, connection: socket.socket, first: bytes) -> None:
        if self.how in ("hang", "tls"):
            return
        if self.how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        elif self.how == "garbage":
            connection.sendall(b"\xff\x00\x20\x04garbage \r\n\r\n" + first)
        elif self.how == "echo":
            connection.sendall(first)
        elif self.how.isdecimal():
            head = f"HTTP/1.1 {self.how} {'You said so'}\r\nServer: x\r\nContent-Length: {len(first)}\r\n"
            if self.how == "302":
                head += f"Location: {self._elsewhere}\r\n"
            elif self.how == "401":
                head += 'WWW-Authenticate: Basic realm="x"\r\n'
            quoted = first.replace(b"\r\n", b" ")
            connection.sendall(head.encode() + b"X-Quoted: " + quoted[:4000] + b"\r\nConnection: close\r\n\r\n" + first)
        if self.how != "echo":
            connection.shutdown(socket.SHUT_WR)


class ForeignHost(Peer):
    """Where a redirect leads: nothing may ever come here."""

    def __init__(self) -> None:
        super().__init__("500", host="127.0.0.2")

    @property
    def url(self) -> str:
        """What a `Location` says."""
        return f"http://127.0.0.2:{self.port}/take-it"
