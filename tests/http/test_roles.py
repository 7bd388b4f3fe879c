"""Every route has a role, and each token may do exactly what its role says: a walk over the OpenAPI document."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from daemon.control.openapi import document
from daemon.control.routes import routes as control_routes
from daemon.http import tokens
from daemon.http.roles import ROLES, Role, RoleRoute, RoleSocket
from daemon.http.server import LocalServer
from daemon.settings import HttpSettings
from daemon.sources import webhook, websocket
from tests.http.stub import TOKEN, StubDesk, ask

EXPECTED = {
    "open": {("get", "/health/live"), ("get", "/health/ready")},
    "ingest": {("post", "/events"), ("get", "/ws")},
    "read": {
        ("get", "/metrics"), ("get", "/status"), ("get", "/events"), ("get", "/events/{id}"), ("get", "/openapi.json"),
        ("get", "/book"), ("get", "/polymaker/runs"),
        ("get", "/bots"), ("get", "/bots/{id}"), ("get", "/bots/{id}/history"), ("get", "/bots/{id}/logs"),
    },
    "control": {
        ("post", "/halt"), ("post", "/resume"), ("post", "/reload"), ("post", "/book"), ("delete", "/book"),
        ("post", "/polymaker/flush"), ("post", "/bots/create"), ("delete", "/bots/{id}"),
        ("post", "/bots/{id}/start"), ("post", "/bots/{id}/stop"), ("post", "/bots/{id}/restart"),
    },
}  # fmt: skip


def walk() -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, told) for path, item in document()["paths"].items() for method, told in item.items()]


def role_of(told: dict[str, Any]) -> str:
    if told["security"] == []:
        return "open"
    ((role,),) = [need["token"] for need in told["security"]]
    return str(role)


def test_the_document_names_a_role_for_every_route() -> None:
    found: dict[str, set[tuple[str, str]]] = {}
    for method, path, told in walk():
        found.setdefault(role_of(told), set()).add((method, path))
    assert found == EXPECTED


def test_the_routes_say_what_the_document_says(desk: StubDesk) -> None:
    made: dict[str, set[tuple[str, str]]] = {}
    for route in [*webhook.routes(desk.intake), *websocket.routes(desk.intake), *control_routes(desk)]:
        assert isinstance(route, (RoleRoute, RoleSocket))
        methods = (route.methods or set()) - {"HEAD"} if isinstance(route, RoleRoute) else {"GET"}
        for method in methods:
            made.setdefault(route.need, set()).add((method.lower(), route.path.replace(":path}", "}")))
    assert made == EXPECTED


def test_reading_is_getting_and_nothing_else() -> None:
    assert all(method == "get" for method, _ in EXPECTED["read"])
    assert {path for method, path in EXPECTED["control"] if method == "get"} == set()


@pytest.fixture
async def made(desk: StubDesk, tmp_path: Path) -> AsyncIterator[tuple[LocalServer, dict[Role, str]]]:
    state = tmp_path / "state"
    given = {role: tokens.add(state, role, role, 1.0, expires=None, rate=None) for role in ROLES}
    routes = [*webhook.routes(desk.intake), *websocket.routes(desk.intake), *control_routes(desk)]
    running = LocalServer(HttpSettings(port=0), tmp_path / "s", TOKEN, routes, state=state)
    await running.start()
    yield running, given
    await running.stop()


@pytest.mark.parametrize("role", [*ROLES, None])
async def test_each_role_may_exactly_what_it_may(
    made: tuple[LocalServer, dict[Role, str]], role: Role | None, desk: StubDesk
) -> None:
    server, given = made
    token = given[role] if role else TOKEN
    head = {"Authorization": f"Bearer {token}"}
    may = ROLES[role or "control"] | {"open"}
    walked = 0
    for method, path, told in walk():
        walked += 1
        needed = role_of(told)
        if path == "/ws":
            code = await upgrade(server.bound_port, head)
        else:
            reply = await ask(server.bound_port, method.upper(), path.replace("{id}", "nothing"), None, head)
            code = reply.code
            if code == 403:
                assert reply.body["status"] == "forbidden"
                assert reply.body["reason"].startswith("this token may not ")
        assert (code != 403) == (needed in may), (method, path, code)
        assert code != 401
    assert walked == sum(map(len, EXPECTED.values()))
    assert (desk.level == "entries") == (role in ("control", None)) or desk.level == "none"


async def upgrade(port: int, head: dict[str, str]) -> int:
    try:
        async with connect(f"ws://127.0.0.1:{port}/ws", additional_headers=head, proxy=None):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_a_head_is_a_get(made: tuple[LocalServer, dict[Role, str]]) -> None:
    server, given = made
    for role, code in (("ingest", 403), ("read", 200), ("control", 200)):
        head = {"Authorization": f"Bearer {given[role]}"}  # type: ignore[index]  # the roles are these
        assert (await ask(server.bound_port, "HEAD", "/status", None, head)).code == code


async def test_a_route_that_names_no_role_is_shut(tmp_path: Path) -> None:
    async def answer(_: Request) -> Response:
        return Response(b"in")

    async def serve(socket: Any) -> None:
        await socket.accept()

    server = LocalServer(
        HttpSettings(port=0), tmp_path / "s", TOKEN, [Route("/plain", answer), WebSocketRoute("/plain-ws", serve)]
    )
    await server.start()
    try:
        for where in (server.bound_port, tmp_path / "s"):
            reply = await ask(where, "GET", "/plain")
            assert (reply.code, reply.body["reason"]) == (403, "no token may use this path")
        with pytest.raises(InvalidStatus) as refused:
            async with connect(
                f"ws://127.0.0.1:{server.bound_port}/plain-ws",
                additional_headers={"Authorization": f"Bearer {TOKEN}"},
                proxy=None,
            ):
                pass
        assert refused.value.response.status_code == 403
    finally:
        await asyncio.wait_for(server.stop(), 5)


@pytest.mark.usefixtures("server")
async def test_the_unix_socket_may_do_everything(socket_path: Path) -> None:
    for method, path, _ in walk():
        if path != "/ws":
            reply = await ask(socket_path, method.upper(), path.replace("{id}", "nothing"))
            assert reply.code not in (401, 403)
