"""The wire of the Command Center, a table of our own from the facts: each path, and a body with all it can hold."""

from decimal import Decimal
from typing import Any

from tests.handlers.polymaker.support import CONDITION, TOKEN

_COUNTS = (
    *("totalCycles", "totalOrders", "totalFills", "winCount", "lossCount", "mergesCompleted"),
    *("claimsCompleted", "claimsPending", "pairedWindows", "oneSidedFills"),
)
_FIGURES = (
    *("totalPnl", "peakPnl", "maxDrawdown", "avgSpreadCaptured", "avgFillRate", "endingBankroll"),
    *("maxCapitalDeployed", "walletBalance", "startingWallet", "totalMergedUsd", "totalClaimedUsd", "realizedPnl"),
)
_METRICS = dict.fromkeys(_COUNTS, 3) | dict.fromkeys(_FIGURES, Decimal("1.25"))
_TRADE = {
    "runId": 101,
    "cycle": 4,
    "asset": "BTC",
    "windowDuration": "5m",
    "side": "sell",
    "outcome": "Down",
    "price": Decimal("0.3"),
    "size": Decimal("12.50"),
    "strategy": "arb",
    "conditionId": CONDITION,
    "tokenId": TOKEN,
}
_UPDATE = {
    "tradeId": 5001,
    "status": "filled",
    "fillPrice": Decimal("0.55"),
    "fillSize": Decimal("10.000001"),
    "fillTimestamp": "2026-11-21T10:00:00.250000Z",
    "resolvedOutcome": "Up",
    "pnl": Decimal("-3.2"),
}
_MARKET = {
    "tokenId": TOKEN,
    "asset": "BTC",
    "window": "15m",
    "tokenIdDown": "8" * 77,
    "windowId": "btc-15m-1763719200",
    "conditionId": CONDITION,
    "expiresAt": "2026-11-21T10:15:00Z",
}
WIRE: dict[str, tuple[str, dict[str, Any] | None]] = {
    "/status": ("GET", None),
    "/config": ("GET", None),
    "/run/start": ("POST", {"configId": 7, "mode": "live", "startingBankroll": Decimal("500.5")}),
    "/run/update": ("POST", {"runId": 101, "positionValue": Decimal("1.25"), **_METRICS}),
    "/run/stop": ("POST", {"runId": 101, "status": "error", "errorMessage": "it broke", **_METRICS}),
    "/trade": ("POST", _TRADE),
    "/trade/update": ("POST", _UPDATE),
    "/trade/batch": ("POST", {"trades": [_TRADE, _TRADE | {"cycle": 5}]}),
    "/markets/report": ("POST", {"markets": [_MARKET]}),
}
"""Numbers with a point are Decimals, so that noise in a float would be seen."""
