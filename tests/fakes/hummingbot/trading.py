"""Routes that trade and that look at the market."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from tests.fakes.hummingbot.errors import RefusalError
from tests.fakes.hummingbot.routes import TABLE, Call, Server, on

__all__ = ["TABLE", "book"]

_Rows = Iterable[Mapping[str, Any]]


def _page(rows: _Rows, body: dict[str, Any], key: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    """A page of rows, cut after the cursor; a cursor nobody gave begins anew, as the server does."""
    found = list(rows)
    limit, cursor = body.get("limit") or 100, body.get("cursor")
    start = next((number + 1 for number, row in enumerate(found) if key(row) == cursor), 0) if cursor else 0
    page = found[start : start + limit]
    more = start + limit < len(found)
    pagination = {"limit": limit, "has_more": more, "next_cursor": key(page[-1]) if more else None}
    return {"data": page, "pagination": pagination | {"total_count": len(found)}}


_FILTERS = {
    "account_names": "account_name",
    "connector_names": "connector_name",
    "trading_pairs": "trading_pair",
    "trade_types": "trade_type",
    "executor_types": "executor_type",
    "controller_ids": "controller_id",
}


def _match(rows: _Rows, body: dict[str, Any], time: str = "") -> _Rows:
    for row in rows:
        wanted = all(row[field] in body[name] for name, field in _FILTERS.items() if body.get(name))
        if wanted and body.get("status"):
            wanted = row["status"] == body["status"]
        if wanted and time and (body.get("start_time") or body.get("end_time")):
            at = datetime.fromisoformat(row[time]).timestamp() * 1000
            wanted = (body.get("start_time") or 0) <= at <= (body.get("end_time") or at)
        if wanted:
            yield row


@on("POST", "/trading/orders")
def _place(server: Server, call: Call) -> Any:
    return server.exchange.place(call.body)


@on("POST", "/trading/{account}/{connector}/orders/{order}/cancel")
def _cancel(server: Server, call: Call) -> Any:
    return server.exchange.cancel(call.names["account"], call.names["connector"], call.names["order"])


@on("POST", "/trading/orders/active")
def _active(server: Server, call: Call) -> Any:
    rows = (order.row for order in server.exchange.orders.values() if order.open)
    return _page(_match(rows, call.body), call.body, lambda row: str(row["order_id"]))


@on("POST", "/trading/orders/search")
def _search(server: Server, call: Call) -> Any:
    rows = reversed([order.row for order in server.exchange.orders.values()])
    return _page(_match(rows, call.body, "created_at"), call.body, lambda row: f"{row['created_at']}|{row['order_id']}")


@on("POST", "/trading/trades")
def _trades(server: Server, call: Call) -> Any:
    rows = _match(reversed(server.exchange.trades), call.body, "timestamp")
    return _page(rows, call.body, lambda row: str(row["trade_id"]))


@on("POST", "/trading/positions")
def _positions(server: Server, call: Call) -> Any:
    rows = _match(server.exchange.position_rows(), call.body)
    return _page(rows, call.body, lambda row: f"{row['account_name']}:{row['connector_name']}:{row['trading_pair']}")


def _perpetual(server: Server, call: Call) -> tuple[str, str]:
    account, connector = call.names["account"], call.names["connector"]
    if connector not in server.exchange.accounts.get(account, {}):
        raise RefusalError(404, f"Connector '{connector}' not found for account '{account}'")
    if "_perpetual" not in connector:
        raise RefusalError(400, f"Connector '{connector}' is not a perpetual connector")
    return account, connector


@on("GET", "/trading/{account}/{connector}/position-mode")
def _mode(server: Server, call: Call) -> Any:
    key = _perpetual(server, call)
    mode = server.exchange.modes.get(key, "ONEWAY")
    return {"position_mode": mode, "connector": key[1], "account": key[0]}


@on("POST", "/trading/{account}/{connector}/position-mode")
def _set_mode(server: Server, call: Call) -> Any:
    key = _perpetual(server, call)
    server.exchange.modes[key] = call.body["position_mode"]
    return {"status": "success", "message": f"Position mode set to {call.body['position_mode']} on {key[1]}"}


@on("POST", "/trading/{account}/{connector}/leverage")
def _leverage(server: Server, call: Call) -> Any:
    account, connector = _perpetual(server, call)
    server.exchange.leverage[account, connector, call.body["trading_pair"]] = call.body["leverage"]
    return {"status": "success", "message": f"Leverage for {call.body['trading_pair']} set to {call.body['leverage']}"}


@on("POST", "/executors/")
def _create(server: Server, call: Call) -> Any:
    return server.exchange.create_executor(call.body)


@on("POST", "/executors/search")
def _executors(server: Server, call: Call) -> Any:
    rows = ({k: v for k, v in each.items() if k != "config"} for each in server.exchange.executors.values())
    return _page(_match(rows, call.body), call.body, lambda row: str(row["executor_id"]))


@on("GET", "/executors/{executor}")
def _executor(server: Server, call: Call) -> Any:
    found = server.exchange.executors.get(call.names["executor"])
    if found is None:
        raise RefusalError(404, f"Executor {call.names['executor']} not found")
    return found


@on("POST", "/executors/{executor}/stop")
def _stop(server: Server, call: Call) -> Any:
    return server.exchange.stop_executor(call.names["executor"], keep=bool(call.body.get("keep_position")))


@on("POST", "/market-data/prices")
def _prices(server: Server, call: Call) -> Any:
    connector = call.body["connector_name"]
    prices = {pair: float(server.exchange.price(connector, pair)) for pair in call.body["trading_pairs"]}
    return {"connector": connector, "prices": prices, "timestamp": server.now()}


@on("POST", "/market-data/funding-info")
def _funding(server: Server, call: Call) -> Any:
    price = float(server.exchange.price(call.body["connector_name"], call.body["trading_pair"]))
    return {
        "trading_pair": call.body["trading_pair"],
        "funding_rate": 0.0000125,
        "next_funding_time": server.now() + 1800,
        "mark_price": price,
        "index_price": price * 0.999,
    }


@on("POST", "/market-data/order-book")
def _book(server: Server, call: Call) -> Any:
    price = server.exchange.price(call.body["connector_name"], call.body["trading_pair"])
    depth = call.body.get("depth") or 10
    return {"trading_pair": call.body["trading_pair"], **book(price, depth), "timestamp": server.now()}


def book(price: Decimal, depth: int) -> dict[str, Any]:
    """A book around a price, in floats as the server has it."""
    steps = range(1, depth + 1)
    return {
        "bids": [{"price": float(price - step), "amount": 0.5 * step} for step in steps],
        "asks": [{"price": float(price + step), "amount": 0.5 * step} for step in steps],
    }
