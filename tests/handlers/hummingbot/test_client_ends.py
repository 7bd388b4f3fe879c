"""How a call can end when things go wrong: what is said, and whether it may have been done."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from daemon.clock import Clock
from daemon.egress import Guard
from daemon.errors import ConfigError
from daemon.ports import KnownSecret
from daemon.settings import HummingbotSettings
from handlers.hummingbot import account_calls, models
from handlers.hummingbot import requests as r
from handlers.hummingbot.account_calls import credential_body
from handlers.hummingbot.answers import Ok, Refused, Unavailable, Uncertain, Why
from handlers.hummingbot.client import HummingbotApi
from tests.fakes.hummingbot import HummingbotServer
from tests.fakes.hummingbot.habits import Route
from tests.fakes.mosquitto import free_port
from tests.handlers.hummingbot.test_client import KEYS, ORDER
from tests.handlers.hummingbot.wire_support import ACCOUNT, PERP, client, guard, ok, pair, until

ORDERS = ("POST", "/trading/orders")
STATUS = ("GET", "/bot-orchestration/status")
ACTIVE = ("POST", "/trading/orders/active")


def says(server: HummingbotServer, route: Route, status: int, body: Any, kind: str = "application/json") -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    server.habits.answer[route] = (status, kind, data)


async def test_a_wrong_password() -> None:
    async with pair(password=SecretStr("wrong-password")) as (_, api):
        for found in (await api.mqtt(), await api.place_order(ORDER)):
            assert found == Refused("user name or password refused", Why.LOGIN, 401)


async def test_no_login_at_all_is_no_login() -> None:
    async with pair(username=None, password=None) as (server, api):
        assert await api.mqtt() == Refused("user name or password refused", Why.LOGIN, 401)
        ok(await api.alive())
        assert "authorization" not in server.asked[0].headers


async def test_nobody_there() -> None:
    settings = HummingbotSettings(url=f"http://127.0.0.1:{free_port()}", username="u")
    async with HummingbotApi(settings, guard()) as api:
        for found in (await api.alive(), await api.place_order(ORDER)):
            assert found == Unavailable("Connection refused"), "nothing was sent"


@pytest.mark.parametrize("what", ["done", "lost"])
async def test_a_reset_after_receipt(what: Any) -> None:
    async with pair() as (server, api):
        server.bots.add("b-1")
        server.habits.reset |= dict.fromkeys(
            [ORDERS, ACTIVE, STATUS, ("POST", "/bot-orchestration/stop-bot"), ("POST", "/executors/")], what
        )
        assert isinstance(await api.place_order(ORDER), Uncertain)
        assert isinstance(await api.stop_bot(r.StopBot(bot_name="b-1")), Uncertain)
        assert isinstance(await api.all_bots(), Unavailable), "a question changes nothing"
        assert isinstance(await api.active_orders(r.ActiveOrders()), Unavailable)
        assert len(server.calls) == 4, "nothing is sent twice"


async def test_no_answer_in_time() -> None:
    async with HummingbotServer() as server, client(server, limit_s=0.6) as api:
        server.habits.think_s[ORDERS] = server.habits.think_s[STATUS] = 5
        assert await api.place_order(ORDER) == Uncertain("no answer within 0.6 s")
        assert await api.all_bots() == Unavailable("no answer within 0.6 s")


NOT = "the answer is not understood: "
NO_ROW = NOT + "the whole: Input should be a valid dictionary or instance of Placed"
FRONT = "HTTP 502: a page of HTML, so something stands in front of the server"
NO_REASON = "no reason given; its MQTT broker may be away"
QUOTING = {"detail": [{"loc": ["body", "amount"], "msg": "too small", "input": "SECRET"}]}
PAGE = b"<html><body>ERR_NGROK_3200</body></html>"


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (400, {"detail": "No price"}, Refused("HTTP 400: No price", Why.SAID_NO, 400)),
        (404, {"detail": "Account 'x' not found"}, Refused("HTTP 404: Account 'x' not found", Why.NOT_FOUND, 404)),
        (422, QUOTING, Refused("HTTP 422: body.amount: too small", Why.SAID_NO, 422)),
        (422, {"errors": "SECRET"}, Refused("HTTP 422", Why.SAID_NO, 422)),
        (429, b"slow down", Refused("HTTP 429: slow down", Why.SAID_NO, 429)),
        (500, {"detail": "Unexpected error: x"}, Uncertain("HTTP 500: Unexpected error: x")),
        (500, b"Internal Server Error", Uncertain("HTTP 500: Internal Server Error")),
        (502, PAGE, Uncertain(FRONT)),
        (503, {"detail": "Rules not loaded"}, Refused("HTTP 503: Rules not loaded", Why.SAID_NO, 503)),
        (503, b"", Uncertain("HTTP 503")),
        (200, b"", Uncertain(NO_ROW)),
        (201, b"OK", Uncertain(NO_ROW)),
        (201, [], Uncertain(NO_ROW)),
        (201, {"status": "submitted"}, Uncertain(NOT + "order_id: Field required")),
        (200, {"status": "error", "message": "no"}, Refused("no", Why.SAID_NO, 200)),
        (200, {"success": False}, Refused(NO_REASON, Why.SAID_NO, 200)),
    ],
)
async def test_an_order_s_answer(status: int, body: Any, wanted: Any) -> None:
    async with pair() as (server, api):
        kind = "text/html" if body == PAGE else "text/plain" if isinstance(body, bytes) else "application/json"
        says(server, ORDERS, status, body, kind)
        assert await api.place_order(ORDER) == wanted


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"no json", b'{"status":"success"}', b'{"data":3}', b"[" * 100_000, b'{"data":{"a":7}}'],
)
async def test_garbage_is_no_answer(body: bytes) -> None:
    async with pair() as (server, api):
        says(server, STATUS, 200, body)
        found = await api.all_bots()
        assert isinstance(found, Unavailable)
        assert found.words.startswith("the answer is not understood")


async def test_a_stop_whose_answer_does_not_say_is_uncertain() -> None:
    async with pair() as (server, api):
        for body in ({"status": "success", "response": {}}, {"status": "success", "response": None}):
            says(server, ("POST", "/bot-orchestration/stop-bot"), 200, body)
            found = await api.stop_bot(r.StopBot(bot_name="b"))
            assert found == Uncertain("the answer does not say whether it was done")


async def test_another_server_altogether() -> None:
    async with HummingbotServer() as server, client(server) as api:
        says(server, STATUS, 404, {"detail": "Not Found"})
        says(server, ACTIVE, 405, {"detail": "Method Not Allowed"})
        for found in (await api.all_bots(), await api.active_orders(r.ActiveOrders())):
            assert isinstance(found, Refused)
            assert found.why is Why.NO_ROUTE


async def test_words_are_one_printable_line() -> None:
    async with pair() as (server, api):
        says(server, STATUS, 500, {"detail": "a\n\x1b[31m" + "b" * 1000})
        found = await api.all_bots()
        assert isinstance(found, Unavailable)
        assert found.words.isprintable()
        assert len(found.words) < 320


# Credentials.


async def test_a_slow_login_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert account_calls.LOGIN_S == 120
    async with pair(limit_s=0.5) as (server, api):
        server.habits.login_s = 1.0
        ok(await api.add_credential(ACCOUNT, "binance", KEYS))
        assert server.exchange.accounts[ACCOUNT]["binance"] == {
            "binance_api_key": "k" * 20,
            "binance_api_secret": "s" * 20,
        }
        monkeypatch.setattr(account_calls, "LOGIN_S", 0.6)
        assert isinstance(await api.add_credential(ACCOUNT, "binance", KEYS), Uncertain)


async def test_both_forms_of_config_map_and_any_field() -> None:
    async with pair() as (server, api):
        known = ok(await api.config_map(PERP))
        server.habits.config_map = "list"
        older = ok(await api.config_map(PERP))
        assert known.keys() == older.keys()
        assert older["use_vault"] == models.ConfigField()
        address = "0x" + "ab" * 20
        body = credential_body(
            {
                "hyperliquid_perpetual_address": SecretStr(address),
                "hyperliquid_perpetual_secret_key": SecretStr("0x" + "cd" * 32),
                "hyperliquid_perpetual_mode": SecretStr("arb_wallet"),
                "use_vault": False,
            }
        )
        ok(await api.add_credential(ACCOUNT, PERP, body))
        assert server.asked[-1].json["use_vault"] is False
        assert server.asked[-1].json["hyperliquid_perpetual_address"] == address


async def test_what_an_exchange_quotes_of_a_key_is_hidden() -> None:
    secret = "kQ7zX2pL9mN4vB8cR5tY1wE6"
    async with pair() as (server, api):
        server.habits.login_refused = f"invalid key {secret} for {'x' * 270}{secret}"
        found = await api.add_credential(ACCOUNT, "binance", credential_body({"binance_api_key": SecretStr(secret)}))
        assert isinstance(found, Refused)
        assert secret[:6] not in found.words
        assert "[hidden]" in found.words
        assert secret not in repr(found)


async def test_credentials_go_to_private_addresses_only() -> None:
    settings = HummingbotSettings(url="http://198.51.100.7:8000", username="u", password=SecretStr("password"))
    async with HummingbotApi(settings, guard(), limit_s=1) as api:
        found = await api.add_credential(ACCOUNT, "binance", KEYS)
        assert isinstance(found, Refused)
        assert found.why is Why.NOT_SENT


async def test_wrong_names_are_the_server_s_words() -> None:
    async with pair() as (_, api):
        found = await api.add_credential(ACCOUNT, "binance", credential_body({"api_key": SecretStr("x" * 12)}))
        assert found == Refused("HTTP 400: Object has no attribute 'api_key'", Why.SAID_NO, 400)


@pytest.mark.parametrize("values", [{}, {"a b": True}, {"": True}])
def test_what_is_no_credential(values: dict[str, bool]) -> None:
    with pytest.raises(ValueError, match="names like"):
        credential_body(values)


async def test_another_peer_s_secret_stays_here() -> None:
    watch = Guard(Clock(), lambda _: None)
    watch.know([KnownSecret("polymaker.api_key", "pm-key-of-another-peer", "polymaker")])
    async with HummingbotServer() as server, client(server, watch=watch) as api:
        found = await api.save_script("s", r.ScriptText(content="key = 'pm-key-of-another-peer'"))
        assert isinstance(found, Refused)
        assert found.why is Why.NOT_SENT
        assert not server.asked


# Requests, before they are any.


@pytest.mark.parametrize(
    "wrong",
    [
        {"trade_type": "LONG"},
        {"order_type": "STOP"},
        {"position_action": "NIL"},
        {"amount": "0"},
        {"amount": "-1"},
        {"amount": 0.5},
        {"amount": "NaN"},
        {"amount": "1_0"},
        {"amount": True},
        {"trading_pair": "BTCUSD"},
        {"trading_pair": "BTC-"},
        {"account_name": "a.b"},
        {"connector_name": "a b"},
        {"something": 1},
    ],
)
def test_an_order_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        r.PlaceOrder(**{name: getattr(ORDER, name) for name in type(ORDER).model_fields} | wrong)


def test_what_is_made_of_loose_words() -> None:
    loose: dict[str, Any] = {"account_name": "a", "connector_name": "jupiter/router", "trading_pair": "sharp/usdt"}
    loose |= {"trade_type": "sell", "amount": 2, "order_type": "market", "position_action": "close"}
    order = r.PlaceOrder(**loose)
    assert (order.trading_pair, order.trade_type, order.order_type) == ("SHARP-USDT", "SELL", "MARKET")
    assert order.amount == Decimal(2)
    deploy = r.DeployScript(instance_name="a", credentials_profile="b", script_config="conf")
    assert deploy.script_config == r.DeployScript(**dict(deploy) | {"script_config": "conf.yml"}).script_config
    assert deploy.script_config == "conf.yml"


async def test_a_number_json_cannot_hold_is_not_sent() -> None:
    async with pair() as (server, api):
        found = await api.place_order(ORDER.model_copy(update={"amount": Decimal("1e60")}))
        assert isinstance(found, Refused)
        assert found.why is Why.NOT_SENT
        assert not server.asked


# Answers of other versions.


def test_an_answer_with_nothing_in_it_is_understood() -> None:
    assert models.BotStatus.model_validate({}).recently_active is None
    assert models.BotStatus.model_validate({"performance": None, "error_logs": None, "new": 1}).performance == {}
    assert models.Order.model_validate({"order_id": "o"}).open, "nobody knows, so it counts as open"


def test_numbers_of_every_kind() -> None:
    row = {"order_id": 7, "amount": "1.50", "price": float("nan"), "filled_amount": 0.1, "average_fill_price": 3}
    order = models.Order.model_validate(row | {"fee_paid": "", "status": "OrderState.FILLED", "trade_type": "buy"})
    assert (order.order_id, order.amount, order.price) == ("7", Decimal("1.50"), None)
    assert (order.filled_amount, order.average_fill_price) == (Decimal("0.1"), Decimal(3))
    assert (order.fee_paid, order.status, order.trade_type, order.open) == (None, "FILLED", "BUY", False)
    with pytest.raises(ValidationError):
        models.Order.model_validate({"order_id": "o", "amount": "much"})


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("2026-11-20T10:00:00", 1795168800),
        ("2026-11-20T10:00:00+00:00", 1795168800),
        ("2026-11-20T12:00:00+02:00", 1795168800),
        (1795168800, 1795168800),
        (1795168800123, 1795168800.123),
        ("1795168800", 1795168800),
        (None, None),
    ],
)
def test_times_of_every_kind(given: Any, seconds: float | None) -> None:
    assert models.Fill.model_validate({"timestamp": given}).timestamp == seconds


@pytest.mark.parametrize("wrong", [{"url": None}, {"api_key": SecretStr("a\nb")}])
def test_settings_that_lead_nowhere(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="hummingbot: "):
        HummingbotApi(HummingbotSettings(url="http://127.0.0.1:1").model_copy(update=wrong), guard())


async def test_a_cancelled_call_is_sent_once() -> None:
    async with pair() as (server, api):
        server.habits.think_s[ORDERS] = 1.0
        task = asyncio.create_task(api.place_order(ORDER), name="order")
        await until(lambda: server.opened)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.habits.think_s.clear()
        assert isinstance(await api.alive(), Ok)


@pytest.mark.parametrize(
    "odd",
    [
        {"performance": [1]},
        {"performance": {"c": "boom"}},
        {"performance": {"c": {"performance": {"realized_pnl_quote": "n/a"}}}},
        {"error_logs": ["boom"]},
        {"general_logs": [{"msg": {"a": 1}, "timestamp": "yesterday"}]},
    ],
    ids=repr,
)
async def test_what_one_bot_says_oddly_hides_no_bot(odd: dict[str, Any]) -> None:
    row = {"status": "running", "recently_active": True, "source": "docker", "performance": {"c": {}}}
    data = {"good": row, "odd": row | odd}
    async with pair() as (server, api):
        words = json.dumps({"status": "success", "data": data}).encode()
        server.habits.answer["GET", "/bot-orchestration/status"] = (200, "application/json", words)
        found = ok(await api.all_bots())
        assert found["good"].performance
        assert (found["odd"].recently_active, found["odd"].source) == (True, "docker")
        assert bool(found["odd"].performance) is isinstance((row | odd)["performance"], dict)
