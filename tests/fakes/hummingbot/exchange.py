"""Accounts, orders, positions and executors of the fake, and the exchange behind it; everything in Decimal."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.fakes.hummingbot.errors import CrashError, RefusalError
from tests.fakes.hummingbot.habits import Habits

OPEN = ("SUBMITTED", "OPEN", "PARTIALLY_FILLED", "PENDING_CANCEL")
CONFIG_MAPS: dict[str, dict[str, dict[str, Any]]] = {
    "bitmart": {name: {"type": "SecretStr", "required": True} for name in ("bitmart_api_key", "bitmart_secret_key")}
    | {"bitmart_memo": {"type": "SecretStr", "required": True}},
    "binance": {name: {"type": "SecretStr", "required": True} for name in ("binance_api_key", "binance_api_secret")},
    "binance_perpetual": {
        name: {"type": "SecretStr", "required": True}
        for name in ("binance_perpetual_api_key", "binance_perpetual_api_secret")
    },
    "hyperliquid_perpetual": {
        "hyperliquid_perpetual_mode": {
            "type": "Literal",
            "required": True,
            "allowed_values": ["arb_wallet", "api_wallet"],
        },
        "use_vault": {"type": "bool", "required": True},
        "hyperliquid_perpetual_address": {"type": "SecretStr", "required": True},
        "hyperliquid_perpetual_secret_key": {"type": "SecretStr", "required": True},
    },
}


@dataclass
class Order:
    """One order, as the server's own books have it."""

    row: dict[str, Any]
    action: str

    @property
    def open(self) -> bool:
        return self.row["status"] in OPEN


@dataclass
class Exchange:
    """The state; a test reads and changes it as it likes."""

    habits: Habits
    now: Callable[[], float]
    accounts: dict[str, dict[str, dict[str, Any]]] = field(
        default_factory=lambda: {"master_account": {"hyperliquid_perpetual": {}, "binance": {}}}
    )
    """Account, connector, and the credentials as they came."""
    orders: dict[str, Order] = field(default_factory=dict)
    trades: list[dict[str, Any]] = field(default_factory=list)
    positions: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    """By account, connector and pair; `amount` is below zero when short."""
    balances: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    prices: dict[tuple[str, str], Decimal] = field(
        default_factory=lambda: {
            ("hyperliquid_perpetual", "BTC-USD"): Decimal(60000),
            ("binance", "BTC-USDT"): Decimal("60010.5"),
            ("binance_perpetual", "BTC-USDT"): Decimal(60020),
        }
    )
    leverage: dict[tuple[str, str, str], int] = field(default_factory=dict)
    modes: dict[tuple[str, str], str] = field(default_factory=dict)
    executors: dict[str, dict[str, Any]] = field(default_factory=dict)
    blind: set[str] = field(default_factory=set)
    """Connectors whose positions cannot be fetched: the server leaves them out without a word."""

    # Orders.

    def place(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /trading/orders."""
        account, connector, pair = body["account_name"], body["connector_name"], body["trading_pair"]
        if account not in self.accounts:
            raise RefusalError(404, f"Account '{account}' not found")
        if connector not in self.accounts[account]:
            raise RefusalError(
                500, f"Unexpected error placing trade: Account {account} has no credentials for {connector}"
            )
        kind, price = body.get("order_type") or "LIMIT", body.get("price")
        market = self.prices.get((connector, pair))
        if market is None:
            raise RefusalError(400, f"Trading pair {pair} not supported")
        if kind != "MARKET" and price is None:
            raise RefusalError(400, f"Price is required for {kind} orders")
        if body["amount"] < Decimal("0.00001"):
            raise RefusalError(400, f"Order amount {body['amount']} is below minimum order size 0.00001 for {pair}")
        row: dict[str, Any] = {
            "order_id": f"hb{'BS'[body['trade_type'] == 'SELL']}{pair.replace('-', '')}{len(self.orders) + 1:06d}",
            "account_name": account,
            "connector_name": connector,
            "trading_pair": pair,
            "trade_type": body["trade_type"],
            "order_type": kind,
            "amount": body["amount"],
            "price": price,
            "status": "SUBMITTED",
            "filled_amount": Decimal(0),
            "average_fill_price": None,
            "fee_paid": Decimal(0),
            "fee_currency": None,
            "created_at": self._iso(),
            "updated_at": self._iso(),
            "exchange_order_id": None,
            "error_message": None,
        }
        order = self.orders[row["order_id"]] = Order(row, body.get("position_action") or "OPEN")
        self._accept(order)
        return {
            name: row[name]
            for name in ("order_id", "account_name", "connector_name", "trading_pair", "trade_type", "amount")
        } | {"order_type": kind, "price": price, "status": "submitted"}

    def _accept(self, order: Order) -> None:
        row, habit = order.row, self.habits.orders
        held = self.position(row["account_name"], row["connector_name"], row["trading_pair"])
        closes = held < 0 if row["trade_type"] == "BUY" else held > 0
        if habit == "reject":
            self.reject(row["order_id"], "Insufficient margin")
        elif order.action == "CLOSE" and not closes:
            self.reject(row["order_id"], "Reduce only order would increase position")
        else:
            row.update(status="OPEN", exchange_order_id=f"x{row['order_id']}")
            if habit == "partial":
                self.fill(row["order_id"], row["amount"] / 2)
            elif habit == "fill" or row["order_type"] == "MARKET":
                self.fill(row["order_id"])

    def fill(self, order_id: str, amount: Decimal | None = None, price: Decimal | None = None) -> None:
        """Fill an order, all that is left of it unless `amount` says how much."""
        order = self.orders[order_id]
        row = order.row
        key = (row["account_name"], row["connector_name"], row["trading_pair"])
        left = row["amount"] - row["filled_amount"]
        if order.action == "CLOSE":
            left = min(left, abs(self.position(*key)))
        part = min(amount or left, left)
        at = price or row["price"] or self.prices[row["connector_name"], row["trading_pair"]]
        spent = row["filled_amount"] * (row["average_fill_price"] or 0) + part * at
        row["filled_amount"] += part
        row["average_fill_price"] = spent / row["filled_amount"] if row["filled_amount"] else None
        row["fee_paid"] += part * at * Decimal("0.0002")
        row["fee_currency"] = row["trading_pair"].partition("-")[2]
        whole = row["filled_amount"] >= row["amount"] or (order.action == "CLOSE" and part == left)
        row.update(status="FILLED" if whole else "PARTIALLY_FILLED", updated_at=self._iso())
        self.trades.append(
            {
                "trade_id": f"t{len(self.trades) + 1}",
                **{name: row[name] for name in ("order_id", "account_name", "connector_name", "trading_pair")},
                "trade_type": row["trade_type"],
                "amount": part,
                "price": at,
                "fee_paid": part * at * Decimal("0.0002"),
                "fee_currency": row["fee_currency"],
                "timestamp": self._iso(),
            }
        )
        if "_perpetual" in row["connector_name"]:
            self._move(key, part if row["trade_type"] == "BUY" else -part, at)

    def reject(self, order_id: str, why: str) -> None:
        """The exchange refuses an order that the server had taken."""
        self.orders[order_id].row.update(status="FAILED", error_message=why, updated_at=self._iso())

    def cancel(self, account: str, connector: str, order_id: str) -> dict[str, Any]:
        """POST .../cancel: begun, not done."""
        order = self.orders.get(order_id)
        row = order.row if order else {}
        if order is None or not order.open or (row["account_name"], row["connector_name"]) != (account, connector):
            raise RefusalError(404, f"Order '{order_id}' not found in active orders")
        if self.habits.cancels == "fills":
            self.fill(order_id)
        else:
            row["status"] = "PENDING_CANCEL" if self.habits.cancels == "pending" else "CANCELLED"
        row["updated_at"] = self._iso()
        return {"message": f"Order cancellation initiated for {order_id}"}

    # Positions.

    def position(self, account: str, connector: str, pair: str) -> Decimal:
        """How much is held; below zero when short."""
        return Decimal(self.positions.get((account, connector, pair), {}).get("amount", 0))

    def hold(self, account: str, connector: str, pair: str, amount: str, price: str) -> None:
        """A position that came from elsewhere."""
        self._move((account, connector, pair), Decimal(amount), Decimal(price))

    def _move(self, key: tuple[str, str, str], amount: Decimal, price: Decimal) -> None:
        held = self.positions.setdefault(key, {"amount": Decimal(0), "entry_price": price})
        if held["amount"] * amount >= 0:
            total = held["amount"] + amount
            held["entry_price"] = (held["entry_price"] * held["amount"] + price * amount) / total if total else price
        held["amount"] += amount
        if not held["amount"]:
            del self.positions[key]

    def position_rows(self) -> Iterable[dict[str, Any]]:
        """As `/trading/positions` lists them."""
        for (account, connector, pair), held in self.positions.items():
            if connector in self.blind:
                continue
            price = self.prices.get((connector, pair), held["entry_price"])
            yield {
                "account_name": account,
                "connector_name": connector,
                "trading_pair": pair,
                "side": "LONG" if held["amount"] > 0 else "SHORT",
                "amount": held["amount"],
                "entry_price": held["entry_price"],
                "unrealized_pnl": held["amount"] * (price - held["entry_price"]),
                "leverage": self.leverage.get((account, connector, pair), 20),
            }

    # Executors.

    def create_executor(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /executors/."""
        config, account = body["executor_config"], body.get("account_name") or "master_account"
        kind = config.get("type")
        if kind not in ("position_executor", "grid_executor", "dca_executor", "twap_executor", "order_executor"):
            raise RefusalError(400, f"Unsupported executor type: {kind}")
        missing = [name for name in ("connector_name", "trading_pair", "side", "amount") if name not in config]
        if missing:
            raise RefusalError(400, f"Invalid executor config: {missing[0]} Field required")
        if config["side"] not in (1, 2) or isinstance(config["side"], bool):
            raise RefusalError(400, "Invalid executor config: side Input should be 1, 2 or 3")
        if account not in self.accounts:
            raise RefusalError(404, f"Account '{account}' not found")
        key = (account, config["connector_name"], config["trading_pair"])
        number = f"ex{len(self.executors) + 1:04d}"
        price = self.prices.get(key[1:])
        if price is None:
            raise RefusalError(500, f"Error creating executor: '{config['trading_pair']}'")
        amount = Decimal(str(config["amount"]))
        self.executors[number] = {
            "executor_id": number,
            "executor_type": kind,
            "account_name": account,
            "connector_name": key[1],
            "trading_pair": key[2],
            "controller_id": body.get("controller_id") or "main",
            "side": "BUY" if config["side"] == 1 else "SELL",
            "status": "RUNNING",
            "is_active": True,
            "is_trading": True,
            "timestamp": self.now(),
            "created_at": self._iso(),
            "close_type": None,
            "close_timestamp": None,
            "net_pnl_quote": 0.0,
            "net_pnl_pct": 0.0,
            "cum_fees_quote": 0.0,
            "filled_amount_quote": float(amount * price),
            "config": dict(config),
            "custom_info": {},
        }
        self.leverage[key] = config.get("leverage", 1)
        self._move(key, amount if config["side"] == 1 else -amount, price)
        names = ("executor_id", "executor_type", "connector_name", "trading_pair", "controller_id", "status")
        return {name: self.executors[number][name] for name in (*names, "created_at")}

    def stop_executor(self, number: str, *, keep: bool) -> dict[str, Any]:
        """POST /executors/{id}/stop."""
        executor = self.executors.get(number)
        if executor is None or not executor["is_active"]:
            raise RefusalError(404, f"Executor {number} not found")
        self.end_executor(number, "POSITION_HOLD" if keep else "EARLY_STOP", keep=keep)
        return {"executor_id": number, "status": "stopping", "keep_position": keep}

    def end_executor(self, number: str, close_type: str, *, keep: bool = False) -> None:
        """An executor ends: TAKE_PROFIT, STOP_LOSS, TIME_LIMIT, EARLY_STOP, SYSTEM_CLEANUP..."""
        executor = self.executors[number]
        executor.update(
            status="TERMINATED",
            is_active=False,
            is_trading=False,
            close_type=close_type,
            close_timestamp=self.now(),
        )
        key = (executor["account_name"], executor["connector_name"], executor["trading_pair"])
        if not keep and key in self.positions:
            self._move(key, -self.positions[key]["amount"], self.prices[key[1:]])

    def restart(self) -> None:
        """The server starts anew: executors lived in its memory, what they held stays at the exchange."""
        for number, executor in self.executors.items():
            if executor["is_active"]:
                self.end_executor(number, "SYSTEM_CLEANUP", keep=True)

    # Market data.

    def price(self, connector: str, pair: str) -> Decimal:
        """A price; for what is not there the server's useless words."""
        if connector not in CONFIG_MAPS:
            raise CrashError(f"'{connector}'")
        if (connector, pair) not in self.prices:
            raise RefusalError(500, repr(pair))
        return self.prices[connector, pair]

    def _iso(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).isoformat()
