"""The OpenAPI document is true."""

import json
from typing import Any

from jsonschema import Draft202012Validator
from starlette.routing import Route, WebSocketRoute

from daemon.control.openapi import document
from daemon.control.routes import routes
from daemon.sources import webhook, websocket
from tests.http.stub import StubDesk, ask


async def test_it_has_every_route_and_no_other(desk: StubDesk) -> None:
    real: set[tuple[str, str]] = set()
    for route in [*webhook.routes(desk.intake), *websocket.routes(desk.intake), *routes(desk)]:
        if isinstance(route, WebSocketRoute):
            real.add(("get", route.path))
        else:
            assert isinstance(route, Route)
            path = route.path.replace(":path}", "}")
            real |= {(method.lower(), path) for method in route.methods or () if method != "HEAD"}
    assert real == {(method, path) for path, item in document()["paths"].items() for method in item}


async def test_every_reference_leads_somewhere() -> None:
    def walk(item: Any) -> None:
        if isinstance(item, dict):
            if "$ref" in item:
                found: Any = document()
                for part in item["$ref"].removeprefix("#/").split("/"):
                    found = found[part]
            for each in item.values():
                walk(each)
        elif isinstance(item, list):
            for each in item:
                walk(each)

    walk(document())


async def test_its_event_schema_takes_events() -> None:
    schema = {"$ref": "#/components/schemas/Event", "components": document()["components"]}
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"type": "sl", "symbol": "AAPL", "targets": {"stop": "1.5"}})
    assert not validator.is_valid({"type": "sl"})


async def test_statuses_are_those_that_come(port: int) -> None:
    paths = document()["paths"]
    for method, path, body in (("post", "/events", b"{"), ("post", "/halt", b"{"), ("get", "/events/{id}", None)):
        reply = await ask(port, method.upper(), path, body)
        assert str(reply.code) in paths[path][method]["responses"]


async def test_it_is_served(port: int) -> None:
    reply = await ask(port, "GET", "/openapi.json")
    assert reply.body == json.loads(json.dumps(document()))
    assert reply.body["openapi"] == "3.1.0"
