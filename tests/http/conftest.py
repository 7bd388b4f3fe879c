"""A real server on a free port and a unix socket."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.control.routes import routes as control_routes
from daemon.http.server import LocalServer
from daemon.settings import HttpSettings
from daemon.sources import webhook, websocket
from tests.http.stub import TOKEN, StubDesk


@pytest.fixture
async def desk() -> StubDesk:
    return StubDesk()


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "deskhand.sock"


@pytest.fixture
async def server(socket_path: Path, desk: StubDesk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalServer]:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    routes = [*webhook.routes(desk.intake), *websocket.routes(desk.intake), *control_routes(desk)]
    running = LocalServer(HttpSettings(port=0), socket_path, TOKEN, routes)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def port(server: LocalServer) -> int:
    return server.bound_port
