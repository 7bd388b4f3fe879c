"""Restarts behind sockets that somebody else holds, as systemd does: nobody is refused, killed or not."""

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.http.stub import AUTH, TOKEN

RESTARTS = 10
"""Of each kind."""
CLIENTS = 6
CUT = {"ConnectionResetError", "BrokenPipeError", "RemoteDisconnected", "IncompleteRead"}
"""How a client learns that the server died while it asked: the answer is missing, in whole or in part."""
_CHILD = """
import asyncio, signal, sys, uvloop
from pathlib import Path
from starlette.responses import Response
from daemon.http.roles import RoleRoute
from daemon.http.server import LocalServer
from daemon.settings import HttpSettings

async def work(request):
    body = await request.body()
    await asyncio.sleep(0.002)
    return Response(body)

async def main():
    given = [int(number) for number in sys.argv[4:]]
    routes = [RoleRoute("ingest", "/work", work, "POST")]
    server = LocalServer(HttpSettings(port=0), Path(sys.argv[1]), sys.argv[2], routes, given=given)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await server.start()
    print("ready", flush=True)
    await stop.wait()
    await server.stop()

with asyncio.Runner(loop_factory=getattr(sys.modules[sys.argv[3]], "new_event_loop")) as runner:
    runner.run(main())
"""


class Clients:
    """Each asks over and over on a fresh connection; what became of it is counted."""

    def __init__(self, port: int, path: Path) -> None:
        self.said: Counter[str] = Counter()
        self._port = port
        self._path = path
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _ask(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            body = f"{number} {count}".encode()
            while True:  # what was cut off unanswered may be sent again, with the same id
                said = self._once(number % 2 == 0, body)
                self.said[said] += 1
                if said not in CUT:
                    break

    def _once(self, over_tcp: bool, body: bytes) -> str:
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            if not over_tcp:
                client.sock = socket.socket(socket.AF_UNIX)
                client.sock.settimeout(20)
                client.sock.connect(str(self._path))
            client.request("POST", "/work", body, AUTH)
            answer = client.getresponse()
            return "answered" if (answer.status, answer.read()) == (200, body) else f"answered {answer.status}"
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            client.close()


class Holder:
    """Holds the listening sockets and starts one server after the other on them."""

    def __init__(self, tcp: int, unix: int, path: Path, loop: str) -> None:
        self._fds = (tcp, unix)
        self._command = [sys.executable, "-c", _CHILD, str(path), TOKEN, loop, str(tcp), str(unix)]

        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, pass_fds=self._fds, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def end(self, number: int) -> int:
        """Its exit code; after the first call nothing."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with process:
            process.send_signal(number)
            return process.wait(10)


@contextlib.contextmanager
def held(path: Path, loop: str) -> Iterator[tuple[Holder, int]]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        path.chmod(0o600)
        unix.listen(512)
        holder = Holder(tcp.fileno(), unix.fileno(), path, loop)
        try:
            holder.start()
            yield holder, tcp.getsockname()[1]
        finally:
            holder.end(signal.SIGKILL)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_nobody_is_refused(tmp_path: Path, loop: str, number: signal.Signals) -> None:
    path = tmp_path / "s"
    with held(path, loop) as (holder, port), Clients(port, path) as clients:
        for _ in range(RESTARTS):
            served = clients.said["answered"]
            while clients.said["answered"] < served + 50:  # it is in the middle of things
                threading.Event().wait(0.005)
            assert holder.end(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
            holder.start()
    cut = clients.said.total() - clients.said["answered"]
    assert clients.said["answered"] > RESTARTS * 50
    if number == signal.SIGTERM:
        assert not cut, clients.said
    else:
        # Accepted and unanswered at the kill: at most one for each client.
        assert cut <= RESTARTS * CLIENTS, clients.said
        assert set(clients.said) <= {"answered", *CUT}
