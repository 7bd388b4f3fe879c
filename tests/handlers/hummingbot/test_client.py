"""Every call against the strict fake: the contract's route, one request, and an answer that is understood."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from daemon.egress import Body
from handlers.hummingbot import models
from handlers.hummingbot import requests as r
from handlers.hummingbot.account_calls import credential_body
from handlers.hummingbot.client import HummingbotApi
from tests.fakes.hummingbot import HummingbotServer
from tests.fakes.hummingbot.contract import ROUTES
from tests.handlers.hummingbot.wire_support import ACCOUNT, PERP, ok, pair

Case = tuple[str, Callable[[HummingbotApi], Awaitable[Any]], Callable[[Any], Any]]


class Script(Body):
    script_file_name: str = "mine.py"


class Kill(Body):
    manual_kill_switch: bool = True


ORDER = r.PlaceOrder(
    account_name=ACCOUNT,
    connector_name=PERP,
    trading_pair="BTC-USD",
    trade_type="BUY",
    amount=Decimal("0.5"),
    price=Decimal(59000),
)
EXECUTOR = r.PositionExecutor(connector_name=PERP, trading_pair="BTC-USD", side=1, amount=Decimal("0.01"))
DEPLOY: dict[str, Any] = {"instance_name": "mm", "credentials_profile": ACCOUNT}
KEYS = credential_body({"binance_api_key": SecretStr("k" * 20), "binance_api_secret": SecretStr("s" * 20)})


def done(value: Any) -> bool:
    return isinstance(value, models.Accepted)


CASES: list[Case] = [
    ("GET /", lambda api: api.alive(), lambda v: v.version == "1.0.1"),
    ("GET /bot-orchestration/mqtt", lambda api: api.mqtt(), lambda v: v.mqtt_connected and "b-1" in v.active_bots),
    ("GET /bot-orchestration/status", lambda api: api.all_bots(), lambda v: v["b-1"].source == "docker"),
    ("GET /bot-orchestration/{bot}/status", lambda api: api.bot("b-1"), lambda v: v.recently_active is True),
    (
        "GET /bot-orchestration/{bot}/history",
        lambda api: api.history("b-1", r.HistoryQuery(days=2)),
        lambda v: (v[0].trade_id, v[0].price, v[0].trade_type) == ("t-1", Decimal("60000.5"), "BUY"),
    ),
    ("POST /bot-orchestration/start-bot", lambda api: api.start_bot(r.StartBot(bot_name="b-1")), done),
    ("POST /bot-orchestration/stop-bot", lambda api: api.stop_bot(r.StopBot(bot_name="b-1")), done),
    (
        "POST /bot-orchestration/deploy-v2-script",
        lambda api: api.deploy_script(r.DeployScript(**DEPLOY, script_config="mine")),
        lambda v: v.unique_instance_name.startswith("mm-20"),
    ),
    (
        "POST /bot-orchestration/deploy-v2-controllers",
        lambda api: api.deploy_controllers(r.DeployControllers(**DEPLOY, controllers_config=("pmm",))),
        lambda v: v.unique_instance_name.startswith("mm-20"),
    ),
    ("POST /bot-orchestration/stop-and-archive-bot/{bot}", lambda api: api.archive("b-1"), done),
    ("GET /bot-orchestration/bot-runs", lambda api: api.runs(r.RunsQuery(limit=5)), lambda v: v[0].bot_name == "b-0"),
    ("GET /bot-orchestration/bot-runs/{run_id}", lambda api: api.run(1), lambda v: v.run_status == "CREATED"),
    ("GET /scripts/", lambda api: api.scripts(), lambda v: v == ("v2_with_controllers", "mine")),
    ("GET /scripts/{script}", lambda api: api.script("mine"), lambda v: v == "print()"),
    ("POST /scripts/{script}", lambda api: api.save_script("other", r.ScriptText(content="pass")), done),
    ("DELETE /scripts/{script}", lambda api: api.delete_script("mine"), done),
    ("GET /scripts/configs/", lambda api: api.script_configs(), lambda v: v[0]["config_name"] == "mine"),
    ("GET /scripts/configs/{config}", lambda api: api.script_config("mine"), lambda v: "script_file_name" in v),
    ("POST /scripts/configs/{config}", lambda api: api.save_script_config("other", Script()), done),
    ("DELETE /scripts/configs/{config}", lambda api: api.delete_script_config("mine"), done),
    ("GET /controllers/", lambda api: api.controllers(), lambda v: "pmm_simple" in v["market_making"]),
    (
        "GET /controllers/{type}/{name}/config/template",
        lambda api: api.controller_template("generic", "grid_strike"),
        lambda v: v["leverage"].default == 20 and v["connector_name"].default is None,
    ),
    ("GET /controllers/configs/", lambda api: api.controller_configs(), lambda v: v[0]["id"] == "pmm"),
    ("GET /controllers/configs/{config}", lambda api: api.controller_config("pmm"), lambda v: v["leverage"] == 1),
    ("POST /controllers/configs/{config}", lambda api: api.save_controller_config("two", Kill()), done),
    ("DELETE /controllers/configs/{config}", lambda api: api.delete_controller_config("pmm"), done),
    (
        "GET /controllers/bots/{bot}/configs",
        lambda api: api.bot_configs("b-1"),
        lambda v: v[0]["_config_name"] == "pmm",
    ),
    (
        "POST /controllers/bots/{bot}/{controller}/config",
        lambda api: api.tune_controller("b-1", "pmm", Kill()),
        done,
    ),
    ("GET /accounts/", lambda api: api.accounts(), lambda v: v == (ACCOUNT, "two")),
    ("POST /accounts/add-account", lambda api: api.add_account(r.AccountQuery(account_name="three")), done),
    ("POST /accounts/delete-account", lambda api: api.delete_account(r.AccountQuery(account_name="two")), done),
    ("GET /accounts/{account}/credentials", lambda api: api.credentials(ACCOUNT), lambda v: PERP in v),
    (
        "POST /accounts/add-credential/{account}/{connector}",
        lambda api: api.add_credential("two", "binance", KEYS),
        done,
    ),
    ("POST /accounts/delete-credential/{account}/{connector}", lambda api: api.delete_credential("two", "x"), done),
    ("GET /connectors/", lambda api: api.connectors(), lambda v: "bitmart" in v),
    (
        "GET /connectors/{connector}/config-map",
        lambda api: api.config_map(PERP),
        lambda v: v["hyperliquid_perpetual_mode"].allowed_values == ("arb_wallet", "api_wallet"),
    ),
    (
        "POST /portfolio/state",
        lambda api: api.portfolio(r.PortfolioQuery(account_names=(ACCOUNT,), refresh=True)),
        lambda v: v[ACCOUNT][PERP][0].units == Decimal("1.5"),
    ),
    ("POST /trading/orders", lambda api: api.place_order(ORDER), lambda v: v.status == "submitted"),
    (
        "POST /trading/{account}/{connector}/orders/{order}/cancel",
        lambda api: api.cancel_order(ACCOUNT, PERP, "hbBBTCUSD000001"),
        done,
    ),
    (
        "POST /trading/orders/active",
        lambda api: api.active_orders(r.ActiveOrders(trading_pairs=("BTC-USD",))),
        lambda v: v.rows[0].amount == Decimal("0.5") and v.rows[0].open,
    ),
    (
        "POST /trading/orders/search",
        lambda api: api.search_orders(r.SearchOrders(status="open", start_time=1, end_time=2**50)),
        lambda v: v.total == 1 and v.rows[0].created_at is not None,
    ),
    (
        "POST /trading/trades",
        lambda api: api.search_trades(r.SearchTrades(account_names=(ACCOUNT,), trade_types=("SELL",))),
        lambda v: v.rows[0].price == Decimal(61000),
    ),
    (
        "POST /trading/positions",
        lambda api: api.positions(r.Positions(connector_names=(PERP,))),
        lambda v: (v.rows[0].side, v.rows[0].amount) == ("LONG", Decimal("0.25")),
    ),
    (
        "GET /trading/{account}/{connector}/position-mode",
        lambda api: api.position_mode(ACCOUNT, PERP),
        lambda v: v == "ONEWAY",
    ),
    (
        "POST /trading/{account}/{connector}/position-mode",
        lambda api: api.set_position_mode(ACCOUNT, PERP, r.SetMode(position_mode="HEDGE")),
        done,
    ),
    (
        "POST /trading/{account}/{connector}/leverage",
        lambda api: api.set_leverage(ACCOUNT, PERP, r.SetLeverage(trading_pair="BTC/USD", leverage=1)),
        done,
    ),
    (
        "POST /executors/",
        lambda api: api.create_executor(r.CreateExecutor(account_name=ACCOUNT, executor_config=EXECUTOR)),
        lambda v: (v.executor_id, v.status) == ("ex0002", "RUNNING"),
    ),
    (
        "POST /executors/search",
        lambda api: api.search_executors(r.SearchExecutors(executor_types=("position_executor",))),
        lambda v: v.rows[0].side == "SELL" and v.rows[0].close_type == "",
    ),
    ("GET /executors/{executor}", lambda api: api.executor("ex0001"), lambda v: v.is_active is True),
    (
        "POST /executors/{executor}/stop",
        lambda api: api.stop_executor("ex0001", r.StopExecutor(keep_position=False)),
        done,
    ),
    (
        "POST /market-data/prices",
        lambda api: api.prices(r.PricesOf(connector_name="binance", trading_pairs=("btc/usdt",))),
        lambda v: v.prices == {"BTC-USDT": Decimal("60010.5")},
    ),
    (
        "POST /market-data/funding-info",
        lambda api: api.funding(r.FundingOf(connector_name=PERP, trading_pair="BTC-USD")),
        lambda v: v.funding_rate == Decimal("0.0000125"),
    ),
    (
        "POST /market-data/order-book",
        lambda api: api.order_book(r.BookOf(connector_name=PERP, trading_pair="BTC-USD", depth=3)),
        lambda v: len(v.bids) == 3 and v.bids[0].price < v.asks[0].price,
    ),
]


def furnish(server: HummingbotServer) -> None:
    """Something of everything."""
    state, exchange = server.state, server.exchange
    state.scripts["mine"] = "print()"
    state.script_configs["mine"] = {"script_file_name": "mine.py"}
    state.controller_configs["pmm"] = {"id": "pmm", "leverage": 1}
    server.bots.add("b-1", controllers={"pmm": {"id": "pmm"}})
    server.bots.trade("b-1", "t-1", "BUY", "60000.5", "0.1")
    exchange.accounts["two"] = {}
    exchange.balances[ACCOUNT] = {PERP: [{"token": "USD", "units": 1.5, "price": 1, "value": 1.5}]}
    order = {"account_name": ACCOUNT, "connector_name": PERP, "trading_pair": "BTC-USD", "trade_type": "BUY"}
    exchange.place(order | {"amount": Decimal("0.5"), "price": Decimal(59000)})
    exchange.hold(ACCOUNT, PERP, "BTC-USD", "0.25", "58000")
    exchange.trades.append(order | {"trade_id": "t1", "order_id": "o", "trade_type": "SELL", "price": 61000.0})
    deployed = {"instance_name": "b", "credentials_profile": ACCOUNT}
    server.bots.deploy(deployed, "script", {}, "mine.yml", {ACCOUNT})
    server.bots.kill(server.bots.folders[0])
    server.bots.runs[0]["bot_name"] = "b-0"
    config = {"type": "position_executor", "connector_name": "binance_perpetual", "trading_pair": "BTC-USDT"}
    exchange.create_executor({"executor_config": config | {"side": 2, "amount": "0.1"}})


@pytest.mark.parametrize(("route", "call", "right"), CASES, ids=[case[0] for case in CASES])
async def test_a_call(route: str, call: Callable[[HummingbotApi], Awaitable[Any]], right: Callable[[Any], Any]) -> None:
    async with pair() as (server, api):
        furnish(server)
        found = ok(await call(api))
        assert right(found), found
        assert server.calls == [route], "one request a call"


def test_no_call_of_the_contract_is_left_out() -> None:
    assert sorted(route for route, _, _ in CASES) == sorted(f"{route.method} {route.path}" for route in ROUTES)


async def test_a_key_for_a_proxy_goes_along_with_the_login() -> None:
    async with pair(api_key=SecretStr("proxy-key-1234")) as (server, api):
        ok(await api.mqtt())
    (asked,) = server.asked
    assert asked.headers["x-api-key"] == "proxy-key-1234"
    assert asked.headers["authorization"].startswith("Basic ")


async def test_without_a_key_no_such_header() -> None:
    async with pair() as (server, api):
        ok(await api.mqtt())
    assert "x-api-key" not in server.asked[0].headers


async def test_pages_go_on_until_the_last() -> None:
    async with pair() as (server, api):
        for _ in range(5):
            furnish_order(server)
        first = ok(await api.search_orders(r.SearchOrders(limit=3)))
        assert len(first.rows) == 3
        assert first.next_cursor
        rest = ok(await api.search_orders(r.SearchOrders(limit=3, cursor=first.next_cursor)))
        assert rest.next_cursor is None
        assert len({row.order_id for row in (*first.rows, *rest.rows)}) == 5


def furnish_order(server: HummingbotServer) -> None:
    server.exchange.place(
        {
            "account_name": ACCOUNT,
            "connector_name": PERP,
            "trading_pair": "BTC-USD",
            "trade_type": "SELL",
            "amount": Decimal(1),
            "price": Decimal(70000),
        }
    )


async def test_amounts_go_out_as_text_and_exactly() -> None:
    async with pair() as (server, api):
        body = ORDER.model_copy(update={"amount": Decimal("0.10000000000000000001")})
        ok(await api.place_order(body))
    assert server.asked[0].json["amount"] == "0.10000000000000000001"
    assert server.asked[0].json["price"] == "59000"


async def test_questions_after_a_bot_s_history_wait_for_each_other() -> None:
    async with pair() as (server, api):
        server.bots.add("b-1")
        found = await asyncio.gather(*(api.history("b-1") for _ in range(5)))
        assert [ok(each) for each in found] == [()] * 5
        assert server.bots.histories == 1
