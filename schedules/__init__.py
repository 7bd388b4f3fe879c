"""The schedules: one module per subject, jobs at intervals. A new one is a copy of `_template.py` and a line here."""

SCHEDULES: dict[str, str] = {
    "clock": "schedules.clock:ClockWatch",
    "hummingbot_observe": "schedules.hummingbot:HummingbotObserve",
    "hummingbot_reconcile": "schedules.hummingbot:HummingbotReconcile",
    "polymaker_config": "schedules.polymaker:PolymakerConfig",
    "polymaker_markets": "schedules.polymaker:PolymakerMarkets",
    "polymaker_metrics": "schedules.polymaker:PolymakerMetrics",
}
"""Schedule name, as `schedules.NAME` sets its interval, to the class that runs (a `daemon.ports.Schedule`)."""
