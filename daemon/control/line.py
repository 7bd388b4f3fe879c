"""The daemon's state in one line, for the service manager and the log."""

from typing import Any


def status_line(status: dict[str, Any], now: float) -> str:
    """`live · 2 peers up, hotkeys:main down 12 s · last event sl AAPL 4 s ago`, from `/status` and the time of now."""
    parts = [str(status["mode"])]
    if status["halt"]["level"] != "none":
        parts.append(f"HALTED ({status['halt']['level']})")
    up = sum(peer["up"] for peer in status["peers"])
    down = [_down(peer) for peer in status["peers"] if not peer["up"]]
    parts.append(", ".join([f"{up} peer{'' if up == 1 else 's'} up", *down]))
    if not status["journal"]["ok"]:
        parts.append(f"the journal cannot be written: {status['journal']['reason']}")
    if (status["reload"] or {}).get("status") == "refused":
        parts.append(f"the last reload was refused: {status['reload']['problems'][0]}")
    last = status["last_event"]
    if last:
        parts.append(f"last event {last['type']} {last['symbol']} {_span(now - last['received'])} ago")
    return " · ".join(parts)


def _down(peer: dict[str, Any]) -> str:
    return f"{peer['name']} down {_span(peer['down_s'])}" if peer["down_s"] else f"{peer['name']} connecting"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
