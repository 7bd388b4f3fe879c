"""A client of a fake Command Center that has a run and a trade already, and every call of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pydantic import SecretStr

from daemon.clock import Clock
from daemon.egress import Guard
from daemon.ports import KnownSecret
from daemon.settings import PolymakerSettings
from handlers.polymaker.client import CommandCenter
from handlers.polymaker.models import Market, Metrics, RunStart, Trade, TradeUpdate
from tests.fakes.center import KEY, Center

CONDITION = "0x" + "5f" * 32
TOKEN = "7" * 77
FOREIGN = "another-peers-secret-0815"


def secrets() -> list[KnownSecret]:
    """What the guard knows."""
    return [
        KnownSecret("polymaker.api_key", KEY, "polymaker"),
        KnownSecret("hummingbot.password", FOREIGN, "hummingbot"),
    ]


class Blocked(list[str]):
    """The peers of stopped requests."""


def settings(url: str, **more: Any) -> PolymakerSettings:
    """Its section."""
    return PolymakerSettings(url=url, api_key=SecretStr(KEY), **({"timeout_s": 2.0} | more))


@asynccontextmanager
async def client(center: Center, blocked: Blocked | None = None, **more: Any) -> AsyncIterator[CommandCenter]:
    """A client of it."""
    guard = Guard(Clock(), (blocked if blocked is not None else Blocked()).append)
    guard.know(secrets())
    found = CommandCenter(settings(center.url, **more), guard, Clock())
    try:
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def both(**more: Any) -> AsyncIterator[tuple[Center, CommandCenter]]:
    """A Center with run 101 and trade 5001, and its client."""
    async with Center() as center, client(center, **more) as found:
        center.take("POST", "/run/start", "application/json", RUN, 0.0)
        center.take("POST", "/trade", "application/json", TRADE_BYTES, 0.0)
        yield center, found


RUN = b'{"configId": 7, "mode": "live", "startingBankroll": 500}'
TRADE_BYTES = (
    b'{"runId": 101, "cycle": 1, "asset": "BTC", "windowDuration": "15m", "side": "buy", "outcome": "Up",'
    b' "price": 0.5, "size": 10, "strategy": "MM"}'
)
METRICS, _ = Metrics.of(
    **{name: 3 if "int" in str(about.annotation) else Decimal("1.25") for name, about in Metrics.model_fields.items()}
)
"""Every metric there is."""
FULL = Trade(
    run_id=101,
    cycle=4,
    asset="BTC",
    window_duration="5m",
    side="sell",
    outcome="Down",
    price=Decimal("0.1") + Decimal("0.2"),
    size=Decimal("12.50"),
    strategy="arb",
    condition_id=CONDITION,
    token_id=TOKEN,
)
UPDATE = TradeUpdate(
    trade_id=5001,
    status="filled",
    fill_price=Decimal("0.55"),
    fill_size=Decimal("10.000001"),
    fill_timestamp=datetime(2026, 11, 21, 10, 0, 0, 250_000, UTC),
    resolved_outcome="Up",
    pnl=Decimal("-3.2"),
)
MARKET = Market(
    token_id=TOKEN,
    asset="BTC",
    window="15m",
    token_id_down="8" * 77,
    window_id="btc-15m-1763719200",
    condition_id=CONDITION,
    expires_at="2026-11-21T10:15:00Z",
)
Call = Callable[[CommandCenter], Awaitable[Any]]
POSTS: dict[str, Call] = {
    "/run/start": lambda c: c.run_start(RunStart(config_id=7, mode="live", starting_bankroll=Decimal("500.5"))),
    "/run/update": lambda c: c.run_update(101, METRICS),
    "/run/stop": lambda c: c.run_stop(101, "error", METRICS, "it broke"),
    "/trade": lambda c: c.trade(FULL),
    "/trade/update": lambda c: c.trade_update(UPDATE),
    "/trade/batch": lambda c: c.trade_batch([FULL, FULL.model_copy(update={"cycle": 5})]),
    "/markets/report": lambda c: c.markets_report([MARKET]),
}
"""Each path with a call that fills every field."""
GETS: dict[str, Call] = {"/status": lambda c: c.status(), "/config": lambda c: c.config()}
CALLS = GETS | POSTS
