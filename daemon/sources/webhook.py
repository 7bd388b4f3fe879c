"""Events over HTTP: `POST /events`, any content type, the body is the event."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from daemon.http.app import local
from daemon.http.replies import number, query, reply
from daemon.http.roles import RoleRoute
from daemon.sources.door import Door, describe, headers

WAIT_LIMIT_S = 60.0
"""The longest `?wait=`, in seconds."""


def routes(intake: Door) -> list[BaseRoute]:
    """The routes of this source."""

    async def post(request: Request) -> Response:
        asked = query(request, "wait")
        wait = number("wait", asked["wait"], WAIT_LIMIT_S) if "wait" in asked else 0.0
        here = local(request)
        receipt = await intake.submit(await request.body(), here.origin)
        if wait and any(delivery.outcome is None for delivery in receipt.deliveries):
            await _first(outcomes=intake.outcomes(receipt, wait), gone=_gone(request), stopping=here.stopping.wait())
        code, body = describe(receipt)
        return reply(body, code, headers(code))

    return [RoleRoute("ingest", "/events", post, "POST")]


async def _gone(request: Request) -> None:
    """Returns when the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _first(**waits: Coroutine[Any, Any, object]) -> None:
    """Return when the first of these is over; the others are cancelled and awaited: none outlives the request."""
    tasks = [asyncio.create_task(wait, name=f"webhook-{name}") for name, wait in waits.items()]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
