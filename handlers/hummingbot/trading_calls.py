"""Calls about money: orders, positions, executors; and what the market says.

They cover the server's own orders and executors. What bots trade in their containers is in `history` and on MQTT.
"""

from typing import Any, TypeVar

from handlers.hummingbot import models, requests
from handlers.hummingbot.answers import Result
from handlers.hummingbot.bot_calls import accepted
from handlers.hummingbot.wire import Wire, reader

T = TypeVar("T")

MARKET_S = 20.0
"""How long the server may take for market data, in seconds: it may have to open a feed first."""

_read_placed = reader(models.Placed)
_read_executor = reader(models.Executor)
_read_prices = reader(models.Prices)
_read_funding = reader(models.Funding)
_read_book = reader(models.Book)


def _page(kind: type[T]) -> Any:
    read = reader(models.Page[kind])  # type: ignore[valid-type]  # made at run time

    def page(data: Any) -> Any:
        about = data.get("pagination") or {}
        cursor = about.get("next_cursor") if about.get("has_more", True) else None
        return read({"rows": data["data"], "next_cursor": cursor, "total": about.get("total_count")})

    return page


_read_orders = _page(models.Order)
_read_fills = _page(models.Fill)
_read_positions = _page(models.Position)
_read_executors = _page(models.Executor)


class TradingCalls:
    """Part of `HummingbotApi`."""

    _wire: Wire

    async def place_order(self, body: requests.PlaceOrder) -> Result[models.Placed]:
        """POST /trading/orders: taken by the server, which is not yet the exchange's word. Uncertain: search for it."""
        return await self._wire.act("/trading/orders", _read_placed, body=body)

    async def cancel_order(self, account: str, connector: str, order: str) -> Result[models.Accepted]:
        """POST /trading/{account}/{connector}/orders/{order}/cancel: begun; it may still be filled meanwhile."""
        path = "/trading/{account}/{connector}/orders/{order}/cancel"
        return await self._wire.act(path, accepted, names={"account": account, "connector": connector, "order": order})

    async def active_orders(self, body: requests.ActiveOrders) -> Result[models.Page[models.Order]]:
        """POST /trading/orders/active: a page of the orders that are open."""
        return await self._wire.ask("/trading/orders/active", _read_orders, body=body)

    async def search_orders(self, body: requests.SearchOrders) -> Result[models.Page[models.Order]]:
        """POST /trading/orders/search: a page of orders of any age, newest first."""
        return await self._wire.ask("/trading/orders/search", _read_orders, body=body)

    async def search_trades(self, body: requests.SearchTrades) -> Result[models.Page[models.Fill]]:
        """POST /trading/trades: a page of fills, newest first."""
        return await self._wire.ask("/trading/trades", _read_fills, body=body)

    async def positions(self, body: requests.Positions) -> Result[models.Page[models.Position]]:
        """POST /trading/positions: a page of positions. Of a connector that did not answer there are none, silently."""
        return await self._wire.ask("/trading/positions", _read_positions, body=body, limit_s=MARKET_S)

    async def position_mode(self, account: str, connector: str) -> Result[str]:
        """GET /trading/{account}/{connector}/position-mode: HEDGE or ONEWAY."""

        def mode(data: Any) -> str:
            return str(data["position_mode"]).rpartition(".")[2].upper()

        path = "/trading/{account}/{connector}/position-mode"
        return await self._wire.ask(path, mode, names={"account": account, "connector": connector})

    async def set_position_mode(self, account: str, connector: str, body: requests.SetMode) -> Result[models.Accepted]:
        """POST /trading/{account}/{connector}/position-mode."""
        path = "/trading/{account}/{connector}/position-mode"
        return await self._wire.act(path, accepted, names={"account": account, "connector": connector}, body=body)

    async def set_leverage(self, account: str, connector: str, body: requests.SetLeverage) -> Result[models.Accepted]:
        """POST /trading/{account}/{connector}/leverage: for one pair."""
        path = "/trading/{account}/{connector}/leverage"
        return await self._wire.act(path, accepted, names={"account": account, "connector": connector}, body=body)

    # Executors.

    async def create_executor(self, body: requests.CreateExecutor) -> Result[models.Executor]:
        """POST /executors/: begun. Uncertain: look among `search_executors`."""
        return await self._wire.act("/executors/", _read_executor, body=body)

    async def search_executors(self, body: requests.SearchExecutors) -> Result[models.Page[models.Executor]]:
        """POST /executors/search: a page of executors."""
        return await self._wire.ask("/executors/search", _read_executors, body=body)

    async def executor(self, executor: str) -> Result[models.Executor]:
        """GET /executors/{id}."""
        return await self._wire.ask("/executors/{executor}", _read_executor, names={"executor": executor})

    async def stop_executor(self, executor: str, body: requests.StopExecutor) -> Result[models.Accepted]:
        """POST /executors/{id}/stop: begun; it closes its position unless told to keep it."""
        return await self._wire.act("/executors/{executor}/stop", accepted, names={"executor": executor}, body=body)

    # The market.

    async def prices(self, body: requests.PricesOf) -> Result[models.Prices]:
        """POST /market-data/prices."""
        return await self._wire.ask("/market-data/prices", _read_prices, body=body, limit_s=MARKET_S)

    async def order_book(self, body: requests.BookOf) -> Result[models.Book]:
        """POST /market-data/order-book."""
        return await self._wire.ask("/market-data/order-book", _read_book, body=body, limit_s=MARKET_S)

    async def funding(self, body: requests.FundingOf) -> Result[models.Funding]:
        """POST /market-data/funding-info."""
        return await self._wire.ask("/market-data/funding-info", _read_funding, body=body, limit_s=MARKET_S)
