"""The contract of Hummingbot API 1.0.1 as far as we call it: routes, methods, authentication, fields, enums, slashes.

A table of our own, written from what the server was seen and read to do. The fake serves exactly this; a request that
does not fit it is a violation.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from urllib.parse import unquote

Kind = Literal["text", "whole", "number", "decimal", "flag", "texts", "object"]


@dataclass(frozen=True)
class Field:
    """One field of a body or a query. Bounds are inclusive; `above` is not."""

    name: str
    kind: Kind = "text"
    required: bool = False
    enum: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: float | None = None


@dataclass(frozen=True)
class Route:
    """`body` is None for none, "free" for a map whose names are the caller's, else the fields it may have."""

    method: str
    path: str
    body: tuple[Field, ...] | Literal["free"] | None = None
    query: tuple[Field, ...] = ()
    auth: bool = True
    done: int = 200
    money: bool = False
    """Whether it moves money: never repeated, always on a connection of its own."""

    @property
    def key(self) -> tuple[str, str]:
        return self.method, self.path

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        parts = re.split(r"(\{[a-z_]+\})", self.path)
        return re.compile("".join(f"(?P<{p[1:-1]}>[^/]+)" if p[:1] == "{" else re.escape(p) for p in parts))

    def match(self, path: str) -> dict[str, str] | None:
        found = self.pattern.fullmatch(path)
        return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


def _need(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, required=True) for name in names)


def _texts(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, "texts") for name in names)


_SIDES = ("BUY", "SELL")
_PAGE = (Field("limit", "whole", low=1, high=1000), Field("cursor"))
_TIMES = (Field("start_time", "whole"), Field("end_time", "whole"))
_WHOSE = _texts("account_names", "connector_names")
_PAIRS = _texts("trading_pairs")
_DEPLOY = (*_need("instance_name", "credentials_profile"), Field("image"), Field("headless", "flag"))

BOTS = (
    Route("GET", "/bot-orchestration/status"),
    Route("GET", "/bot-orchestration/mqtt"),
    Route(
        "GET",
        "/bot-orchestration/bot-runs",
        query=(
            *(Field(name) for name in ("bot_name", "account_name", "strategy_type", "strategy_name")),
            *(Field(name) for name in ("run_status", "deployment_status")),
            Field("limit", "whole", low=1, high=1000),
            Field("offset", "whole", low=0),
        ),
    ),
    Route("GET", "/bot-orchestration/bot-runs/{run_id}"),
    Route("GET", "/bot-orchestration/{bot}/status"),
    Route(
        "GET",
        "/bot-orchestration/{bot}/history",
        query=(
            Field("days", "whole"),
            Field("verbose", "flag"),
            Field("precision", "whole"),
            Field("timeout", "number"),
        ),
    ),
    Route(
        "POST",
        "/bot-orchestration/start-bot",
        (*_need("bot_name"), Field("log_level"), Field("script"), Field("conf"), Field("async_backend", "flag")),
    ),
    Route(
        "POST",
        "/bot-orchestration/stop-bot",
        (*_need("bot_name"), Field("skip_order_cancellation", "flag"), Field("async_backend", "flag")),
    ),
    Route("POST", "/bot-orchestration/deploy-v2-script", (*_DEPLOY, Field("script"), Field("script_config"))),
    Route(
        "POST",
        "/bot-orchestration/deploy-v2-controllers",
        (
            *_DEPLOY,
            Field("controllers_config", "texts", required=True),
            Field("max_global_drawdown_quote", "number"),
            Field("max_controller_drawdown_quote", "number"),
        ),
    ),
    Route(
        "POST",
        "/bot-orchestration/stop-and-archive-bot/{bot}",
        query=(Field("skip_order_cancellation", "flag"), Field("archive_locally", "flag"), Field("s3_bucket")),
    ),
)
FILES = (
    Route("GET", "/scripts/"),
    Route("GET", "/scripts/configs/"),
    Route("GET", "/scripts/configs/{config}"),
    Route("POST", "/scripts/configs/{config}", "free", done=201),
    Route("DELETE", "/scripts/configs/{config}"),
    Route("GET", "/scripts/{script}"),
    Route("POST", "/scripts/{script}", _need("content"), done=201),
    Route("DELETE", "/scripts/{script}"),
    Route("GET", "/controllers/"),
    Route("GET", "/controllers/configs/"),
    Route("GET", "/controllers/configs/{config}"),
    Route("POST", "/controllers/configs/{config}", "free", done=201),
    Route("DELETE", "/controllers/configs/{config}"),
    Route("GET", "/controllers/bots/{bot}/configs"),
    Route("POST", "/controllers/bots/{bot}/{controller}/config", "free"),
    Route("GET", "/controllers/{type}/{name}/config/template"),
)
ACCOUNTS = (
    Route("GET", "/accounts/"),
    Route("POST", "/accounts/add-account", query=_need("account_name"), done=201),
    Route("POST", "/accounts/delete-account", query=_need("account_name")),
    Route("GET", "/accounts/{account}/credentials"),
    Route("POST", "/accounts/add-credential/{account}/{connector}", "free", done=201),
    Route("POST", "/accounts/delete-credential/{account}/{connector}"),
    Route("GET", "/connectors/"),
    Route("GET", "/connectors/{connector}/config-map"),
    Route("POST", "/portfolio/state", (*_WHOSE, Field("skip_gateway", "flag"), Field("refresh", "flag"))),
)
TRADING = (
    Route(
        "POST",
        "/trading/orders",
        (
            *_need("account_name", "connector_name", "trading_pair"),
            Field("trade_type", required=True, enum=_SIDES),
            Field("amount", "decimal", required=True, above=0),
            Field("order_type", enum=("LIMIT", "MARKET", "LIMIT_MAKER")),
            Field("price", "decimal"),
            Field("position_action", enum=("OPEN", "CLOSE")),
        ),
        done=201,
        money=True,
    ),
    Route("POST", "/trading/{account}/{connector}/orders/{order}/cancel", money=True),
    Route("POST", "/trading/orders/active", (*_PAGE, *_WHOSE, *_PAIRS)),
    Route("POST", "/trading/orders/search", (*_PAGE, *_WHOSE, *_PAIRS, Field("status"), *_TIMES)),
    Route("POST", "/trading/trades", (*_PAGE, *_WHOSE, *_PAIRS, *_texts("trade_types"), *_TIMES)),
    Route("POST", "/trading/positions", (*_PAGE, *_WHOSE)),
    Route("GET", "/trading/{account}/{connector}/position-mode"),
    Route(
        "POST",
        "/trading/{account}/{connector}/position-mode",
        (Field("position_mode", required=True, enum=("HEDGE", "ONEWAY")),),
        money=True,
    ),
    Route(
        "POST",
        "/trading/{account}/{connector}/leverage",
        (*_need("trading_pair"), Field("leverage", "whole", required=True, low=1, high=125)),
        money=True,
    ),
    Route(
        "POST",
        "/executors/",
        (Field("account_name"), Field("controller_id"), Field("executor_config", "object", required=True)),
        done=201,
        money=True,
    ),
    Route(
        "POST",
        "/executors/search",
        (*_PAGE, *_WHOSE, *_PAIRS, *_texts("executor_types", "controller_ids"), Field("status")),
    ),
    Route("GET", "/executors/{executor}"),
    Route("POST", "/executors/{executor}/stop", (Field("keep_position", "flag"),), money=True),
    Route("POST", "/market-data/prices", (*_need("connector_name"), Field("trading_pairs", "texts", required=True))),
    Route("POST", "/market-data/funding-info", _need("connector_name", "trading_pair")),
    Route(
        "POST",
        "/market-data/order-book",
        (*_need("connector_name", "trading_pair"), Field("depth", "whole", low=1, high=1000)),
    ),
)
ROUTES: tuple[Route, ...] = (Route("GET", "/", auth=False), *BOTS, *FILES, *ACCOUNTS, *TRADING)
"""In the order in which the server tries them."""
SOCKETS = ("/ws/executors", "/ws/market-data")


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route that serves this, and the names in its path."""
    for route in ROUTES:
        names = route.match(path) if route.method == method else None
        if names is not None:
            return route, names
    return None


def methods(path: str) -> set[str]:
    """What the server takes at this path."""
    return {route.method for route in ROUTES if route.match(path) is not None}
