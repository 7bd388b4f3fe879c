"""The eleven traps of the real server, each switched on and off: the client says the same of both."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from handlers.hummingbot import requests as r
from handlers.hummingbot.answers import Refused, Unavailable, Uncertain, Why
from handlers.hummingbot.client import HummingbotApi
from tests.fakes.hummingbot import HummingbotServer
from tests.fakes.hummingbot.contract import ROUTES
from tests.handlers.hummingbot.test_client import DEPLOY, ORDER
from tests.handlers.hummingbot.wire_support import ACCOUNT, PERP, ok, pair

BOTH = pytest.mark.parametrize("on", [True, False])
NOBODY: list[Callable[[HummingbotApi], Awaitable[Any]]] = [
    lambda api: api.start_bot(r.StartBot(bot_name="nobody")),
    lambda api: api.stop_bot(r.StopBot(bot_name="nobody")),
    lambda api: api.history("nobody"),
    lambda api: api.archive("nobody"),
    lambda api: api.bot("nobody"),
]


@BOTH
@pytest.mark.parametrize("call", NOBODY, ids=["start", "stop", "history", "archive", "status"])
async def test_1_and_2_the_refusal_inside_a_200(call: Callable[[HummingbotApi], Awaitable[Any]], on: bool) -> None:
    async with pair() as (server, api):
        server.traps.hollow_success = server.traps.status_of_nobody = on
        found = await call(api)
        assert isinstance(found, Refused)
        assert found.why is Why.NOT_FOUND
        assert "nobody" in found.words
        assert (server.asked[0].status == 200) == on


async def test_1_a_deploy_that_docker_refuses() -> None:
    async with pair() as (server, api):
        server.state.controller_configs["pmm"] = {}
        server.habits.deploy_refused = "Error while fetching server API version: no Docker here"
        found = await api.deploy_controllers(r.DeployControllers(**DEPLOY, controllers_config=("pmm",)))
        assert found == Refused("Error while fetching server API version: no Docker here", Why.SAID_NO, 200)
        assert server.bots.folders, "a failed deploy leaves its folder"


@BOTH
async def test_3_a_start_is_accepted_and_nothing_happens(on: bool) -> None:
    async with pair() as (server, api):
        server.traps.start_does_nothing = on
        server.bots.add("b-1")
        ok(await api.stop_bot(r.StopBot(bot_name="b-1")))
        ok(await api.start_bot(r.StartBot(bot_name="b-1")))
        assert bool(ok(await api.bot("b-1")).performance) is not on


async def test_4_a_healthy_bot_shows_stopped_and_is_recently_active() -> None:
    async with pair() as (server, api):
        server.bots.add("b-1", report=False)
        found = ok(await api.bot("b-1"))
        assert (found.status, found.recently_active) == ("stopped", True)
        server.bots.silence("b-1")
        server.pass_time(31)
        found = ok(await api.bot("b-1"))
        assert (found.status, found.recently_active) == ("stopped", False)


async def test_4_a_bot_that_disobeys_shows_stopped_at_once() -> None:
    async with pair() as (server, api):
        server.habits.disobeys = True
        server.bots.add("b-1")
        assert ok(await api.bot("b-1")).status == "running"
        ok(await api.stop_bot(r.StopBot(bot_name="b-1")))
        assert ok(await api.bot("b-1")).status == "stopped"
        assert server.bots.known["b-1"].phase == "running"


async def test_5_commands_keep_a_phantom_alive() -> None:
    async with pair() as (server, api):
        server.bots.phantom("ghost")
        server.pass_time(29)
        assert ok(await api.all_bots())["ghost"].source == "mqtt"
        ok(await api.stop_bot(r.StopBot(bot_name="ghost")))
        server.pass_time(29)
        assert ok(await api.bot("ghost")).recently_active is True
        server.pass_time(2)
        assert "ghost" not in ok(await api.all_bots())


@BOTH
async def test_6_a_broker_that_is_away(on: bool) -> None:
    async with pair() as (server, api):
        server.traps.mqtt_lies = on
        server.bots.add("b-1")
        server.bots.cut()
        assert ok(await api.mqtt()).mqtt_connected is on
        found = await api.stop_bot(r.StopBot(bot_name="b-1"))
        assert found == Refused("no reason given; its MQTT broker may be away", Why.SAID_NO, 200)
        assert isinstance(await api.history("b-1"), Unavailable)
        server.bots.join()
        ok(await api.stop_bot(r.StopBot(bot_name="b-1")))


@BOTH
async def test_7_every_path_has_its_slash(on: bool) -> None:
    async with pair() as (server, api):
        server.traps.slashes = on
        for call in (api.accounts, api.connectors, api.scripts, api.script_configs, api.controllers):
            ok(await call())
        ok(await api.controller_configs())
        assert all(asked.path.endswith("/") for asked in server.asked)


def test_7_the_contract_has_the_slashes_of_the_facts() -> None:
    wanted = {"/accounts/", "/connectors/", "/scripts/", "/scripts/configs/", "/controllers/", "/executors/"}
    assert wanted <= {route.path for route in ROUTES}


async def test_8_plain_text_survives() -> None:
    async with pair() as (server, api):
        assert await api.config_map("nosuch") == Unavailable("HTTP 500: Internal Server Error")
        found = await api.deploy_script(
            r.DeployScript(instance_name="a", credentials_profile="nosuch", script_config="x")
        )
        assert found == Uncertain("HTTP 500: Internal Server Error"), "who knows how far it came"
        server.traps.plain_500 = False
        found_again = await api.config_map("nosuch")
        assert isinstance(found_again, Refused)
        assert found_again.why is Why.NOT_FOUND


@pytest.mark.parametrize("name", ["../x", "a.b", "a b", "", "a/b", "ü", "x" * 129])
async def test_8_names_the_server_cannot_bear_never_get_there(name: str) -> None:
    async with pair() as (server, api):
        for found in (
            await api.bot(name),
            await api.history(name),
            await api.archive(name),
            await api.script(name),
            await api.save_script(name, r.ScriptText(content="")),
            await api.controller_config(name),
            await api.credentials(name),
            await api.config_map(name),
            await api.cancel_order(ACCOUNT, PERP, name),
            await api.position_mode(name, PERP),
            await api.executor(name),
            await api.tune_controller("b", name, r.StopExecutor(keep_position=True)),
        ):
            assert isinstance(found, Refused)
            assert found.why is Why.NOT_SENT
        assert not server.asked


async def test_9_a_call_after_such_an_error_gets_through() -> None:
    """60 times, as those who counted how often another client's next call was lost."""
    async with pair() as (server, api):
        for number in range(60):
            await api.config_map("nosuch")
            ok(await api.place_order(ORDER.model_copy(update={"amount": ORDER.amount + number})))
        assert len(server.exchange.orders) == 60
        used = [asked.connection for asked in server.asked if asked.path == "/trading/orders"]
        assert len(set(used)) == 60


async def test_9_the_fake_s_connection_is_dead_for_those_who_keep_it() -> None:
    """The trap is real: a client with a pool falls into it."""
    async with HummingbotServer() as server:
        login = (server.user, server.password)
        async with httpx2.AsyncClient(base_url=server.url, auth=login, trust_env=False) as pool:
            assert (await pool.get("/connectors/nosuch/config-map")).status_code == 500
            with pytest.raises(httpx2.RemoteProtocolError):
                await pool.get("/")


@BOTH
async def test_10_liveness_is_the_root(on: bool) -> None:
    async with pair() as (server, api):
        server.traps.no_health = on
        assert ok(await api.alive()).name == "Hummingbot API"
        assert "authorization" in server.asked[0].headers


async def test_11_a_server_that_refuses_unknown_fields_finds_none() -> None:
    async with pair() as (server, api):
        server.traps.ignores_unknown = False
        server.bots.add("b-1")
        ok(await api.stop_bot(r.StopBot(bot_name="b-1", skip_order_cancellation=False, async_backend=False)))
        ok(await api.place_order(ORDER))
        ok(await api.search_orders(r.SearchOrders(account_names=(ACCOUNT,))))


async def test_a_second_order_is_never_sent() -> None:
    """The server resets after it read the order: placed or not, it is asked once, and nobody knows."""
    for what in ("done", "lost"):
        async with pair() as (server, api):
            server.habits.reset["POST", "/trading/orders"] = what
            assert isinstance(await api.place_order(ORDER), Uncertain)
            await asyncio.sleep(0)
            assert server.count("POST /trading/orders") == 1
            assert len(server.exchange.orders) == (what == "done")
