"""The websockets: logged in by header, pushes on change alone, and an end that is told in words."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Literal

import pytest
from pydantic import SecretStr, ValidationError
from websockets.asyncio.server import ServerConnection, serve

from daemon.clock import Clock
from daemon.egress import Guard
from daemon.ports import KnownSecret
from daemon.settings import HummingbotSettings
from handlers.hummingbot.answers import Refused, Unavailable, Why
from handlers.hummingbot.client import HummingbotApi
from handlers.hummingbot.streams import (
    Push,
    Stream,
    Streams,
    SubscribeBot,
    SubscribeBots,
    SubscribeExecutors,
    SubscribeMarket,
)
from tests.fakes.hummingbot import HummingbotServer
from tests.fakes.listener import listener
from tests.fakes.mosquitto import free_port
from tests.handlers.hummingbot.wire_support import PERP, client, guard, ok, pair, until

Kind = Literal["executors", "market-data"]


@asynccontextmanager
async def stream(kind: Kind = "executors") -> AsyncIterator[tuple[HummingbotServer, Stream]]:
    async with pair() as (server, api):
        found = ok(await api.stream(kind))
        try:
            yield server, found
        finally:
            await found.close()


async def following(found: Stream) -> Push:
    """The next push."""
    async with asyncio.timeout(5):
        async for push in found:
            return push
    raise AssertionError(f"it ended: {found.ended}")


async def rest(found: Stream) -> list[Push]:
    """Everything until it ends."""
    async with asyncio.timeout(5):
        return [push async for push in found]


async def test_bots_at_once_and_then_on_change_alone() -> None:
    async with stream() as (server, found):
        server.bots.add("b-1")
        assert await found.subscribe(SubscribeBots(update_interval=0.25)) is None
        assert (await following(found)).type == "subscribed"
        push = await following(found)
        assert (push.type, push.data["b-1"]["status"]) == ("all_bots_status", "running")
        assert "general_logs" not in push.data["b-1"]
        await asyncio.sleep(0.6)
        server.bots.stop("b-1")
        push = await following(found)
        assert push.data["b-1"]["status"] == "stopped"
        sent = [message["type"] for message in server.sockets[0].sent]
        assert sent == ["connected", "subscribed", "all_bots_status", "all_bots_status"], "nothing in between"


async def test_the_other_kinds() -> None:
    async with stream() as (server, found):
        server.bots.add("b-1")
        await found.subscribe(SubscribeBot(bot_name="b-1"))
        assert (await following(found)).type == "subscribed"
        assert (await following(found)).data["recently_active"] is True
        await found.subscribe(SubscribeExecutors(type="positions"))
        assert (await following(found)).subscription_id == "positions"
        assert (await following(found)).data == []


async def test_a_market() -> None:
    async with stream("market-data") as (server, found):
        about: dict[str, Any] = {"connector": PERP, "trading_pair": "btc/usd", "update_interval": 0.25}
        await found.subscribe(SubscribeMarket(type="order_book", **about))
        assert (await following(found)).type == "subscribed"
        book = await following(found)
        assert book.data["bids"][0] == [Decimal("59999.0"), Decimal("0.5")]
        await found.subscribe(SubscribeMarket(type="trades", **about))
        assert (await following(found)).subscription_id == f"trades_{PERP}_BTC-USD"
        server.feed[PERP, "BTC-USD"] = [{"price": 60001.5, "amount": 0.1, "side": "buy", "timestamp": 1.0}]
        assert (await following(found)).data[0]["price"] == Decimal("60001.5")


async def test_a_wrong_password_is_told_after_the_handshake() -> None:
    async with pair(password=SecretStr("wrong-password")) as (server, api):
        found = await api.stream("executors")
        assert found == Refused("user name or password refused", Why.LOGIN, 4001)
        assert server.asked[0].status == 101


async def test_the_login_is_in_the_header_and_a_proxy_s_key_too() -> None:
    async with pair(api_key=SecretStr("proxy-key-1234")) as (server, api):
        found = ok(await api.stream("executors"))
        await found.close()
    (asked,) = server.asked
    assert (asked.path, asked.query) == ("/ws/executors", "")
    assert asked.headers["authorization"].startswith("Basic ")
    assert asked.headers["x-api-key"] == "proxy-key-1234"


async def test_nobody_there() -> None:
    async with HummingbotApi(HummingbotSettings(url=f"http://127.0.0.1:{free_port()}"), guard()) as api:
        assert await api.stream("executors") == Unavailable("Connection refused")


async def test_a_server_that_restarts_ends_it() -> None:
    async with stream() as (server, found):
        task = asyncio.create_task(rest(found), name="rest")
        await until(lambda: server.sockets)
        await server.restart()
        assert await task == []
        assert found.ended == "the connection broke"
        assert isinstance(await found.subscribe(SubscribeBots()), Unavailable)


async def test_a_server_that_closes_says_why() -> None:
    async with stream() as (server, found):
        server.sockets[0].close(1012, "service restart")
        assert await rest(found) == []
        assert found.ended == "the server closed it with code 1012: service restart"


async def test_heartbeats_keep_it_and_silence_ends_it() -> None:
    async with HummingbotServer() as server:
        server.habits.heartbeat_s = 0.2
        streams = Streams(server.url, guard(), 2.0, (server.user, server.password), {}, None)
        found = ok(await streams.open("executors", silent_s=1.2))
        task = asyncio.create_task(rest(found), name="rest")
        await until(lambda: len(server.sockets[0].sent) > 8)
        assert not task.done(), "eight heartbeats take longer than silence may"
        server.habits.heartbeat_s = 60
        assert await task == []
        assert found.ended == "nothing heard for 1.2 s"


async def test_garbage_ends_it() -> None:
    async with stream() as (server, found):
        server.sockets[0].garbage(b"no json")
        assert await rest(found) == []
        assert found.ended == "it sends what is not understood"


async def test_a_refused_subscription_is_told() -> None:
    async with HummingbotServer() as server, client(server) as api:
        found = ok(await api.stream("executors"))
        await found.subscribe(SubscribeMarket(type="trades", connector=PERP, trading_pair="BTC-USD"))
        push = await following(found)
        assert push.type == "error"
        assert "Unknown subscription type" in push.message
        await found.close()


@asynccontextmanager
async def other(reply: Any) -> AsyncIterator[HummingbotApi]:
    """A websocket server that is no Hummingbot API."""
    async with serve(reply, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with HummingbotApi(HummingbotSettings(url=f"http://127.0.0.1:{port}"), guard(), limit_s=1.5) as api:
            yield api


async def test_a_greeting_of_somebody_else_and_none_at_all() -> None:
    async def hello(connection: ServerConnection) -> None:
        await connection.send(json.dumps({"type": "hello"}))

    async def nothing(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with other(hello) as api:
        assert await api.stream("executors") == Unavailable("it greets us as no Hummingbot API does")
    async with other(nothing) as api:
        assert await api.stream("executors") == Unavailable("no greeting within 1.5 s")


@pytest.mark.parametrize("status", [302, 307, 401, 403, 404, 500])
async def test_no_redirect_is_followed_and_no_other_answer_taken(status: int) -> None:
    followed = []

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        followed.append(head)
        port = writer.get_extra_info("sockname")[1]
        writer.write(
            f"HTTP/1.1 {status} No\r\nLocation: ws://127.0.0.1:{port}/elsewhere\r\nContent-Length: 0\r\n\r\n".encode()
        )
        writer.close()

    async with (
        listener(reply) as there,
        HummingbotApi(HummingbotSettings(url=f"http://127.0.0.1:{there}"), guard()) as api,
    ):
        found = await api.stream("executors")
    why = Why.LOGIN if status == 401 else Why.NO_ROUTE
    if status == 500:
        assert isinstance(found, (Refused, Unavailable))
    else:
        assert found == Refused(f"no websocket there: HTTP {status}", why, status)
    assert len(followed) == 1


async def test_another_peer_s_secret_stays_here() -> None:
    watch = Guard(Clock(), lambda _: None)
    watch.know([KnownSecret("polymaker.api_key", "pm-key-of-another-peer", "polymaker")])
    async with HummingbotServer() as server, client(server, watch=watch) as api:
        found = ok(await api.stream("executors"))
        refused = await found.subscribe(SubscribeBot(bot_name="pm-key-of-another-peer"))
        assert isinstance(refused, Refused)
        assert refused.why is Why.NOT_SENT
        await found.close()
    async with (
        HummingbotServer() as server,
        client(server, watch=watch, api_key=SecretStr("pm-key-of-another-peer")) as api,
    ):
        assert isinstance(await api.stream("executors"), Refused)
        assert not server.asked


def test_what_cannot_be_subscribed_to() -> None:
    for wrong in ({"update_interval": 0.1}, {"type": "everything"}):
        with pytest.raises(ValidationError):
            SubscribeExecutors(**{"type": "positions"} | wrong)


async def test_nothing_is_left_of_a_closed_one() -> None:
    async with stream() as (server, found):
        await found.close()
        assert found.ended == "closed by us"
        assert await rest(found) == []
        await until(lambda: not server.sockets)
