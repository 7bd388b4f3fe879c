"""`deskhand status`: what the daemon is doing, on one screen."""

import argparse
from typing import Any

from daemon.cli.client import Client, add_json, add_socket
from daemon.cli.terminal import clock, paint, show, show_json, span, table
from daemon.clock import Clock

HELP = "show what the daemon is doing"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_json(parser)
    add_socket(parser)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    status = Client.of(args).get("GET", "/status")
    if args.json:
        show_json(status)
    else:
        show(*_page(status))
    return 0


def _page(status: dict[str, Any]) -> list[str]:
    mode = str(status.get("mode", ""))
    title = ["deskhand " + str(status.get("version", "")), paint(mode, "red" if mode == "live" else "green")]
    if "uptime_s" in status:
        title.append(f"up {span(status['uptime_s'])}")
    rows = [("Halt", _halt(status.get("halt") or {})), ("Last", _last(status.get("last_event")))]
    rows += _group("Lanes", [_lane(lane) for lane in status.get("lanes") or []])
    rows += _group("Peers", [_peer(peer) for peer in status.get("peers") or []])
    if status.get("mqtt", "off") == "off":
        rows.append(("MQTT", "off"))
    if status.get("polymaker"):
        rows.append(("Center", center(status["polymaker"])))
    if status.get("bots"):
        rows += _group("Bots", bots(status["bots"]))
    rows.append(("Journal", _journal(status.get("journal") or {})))
    rows.append(("Events", _counts(status.get("counts") or {})))
    rows += _reload(status.get("reload") or {})
    return [" · ".join(title), "", *table(rows)]


def center(told: dict[str, Any]) -> str:
    """The Command Center at a glance: `run 101 · 2 wait · score 72.5`."""
    parts = [f"run {told['run']}" if told.get("run") else "no run"]
    if told.get("waiting"):
        parts.append(paint(f"{told['waiting']} wait", "yellow"))
    if told.get("held"):
        parts.append(paint(told["held"], "yellow"))
    if told.get("score"):
        parts.append(f"last score {told['score']}")
    return " · ".join(parts)


def bots(found: dict[str, Any]) -> list[str]:
    """The bots at a glance: `2 running, 1 stopped · 0 positions, 3 open orders`, and a line for each that is amiss."""
    counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items() if count) or "none"
    if not found["up"]:
        return [paint(f"{counts}: {found['reason']}", "red")]
    held = f" · {found['positions']} positions, {found['open_orders']} open orders" if found["reconciled"] else ""
    wrong = [paint(f"{bot['id']} is {bot['status']}: {bot['reason']}", "red") for bot in found["wrong"]]
    return [counts + held, *wrong]


def _reload(last: dict[str, Any]) -> list[tuple[str, str]]:
    if last.get("status") != "refused":
        return []
    problems = [paint(str(problem), "red") for problem in last.get("problems") or []]
    return _group("Reload", [f"refused at {clock(last.get('at', 0))}, what ran goes on:", *problems])


def _group(name: str, lines: list[str]) -> list[tuple[str, str]]:
    return [(name if index == 0 else "", line) for index, line in enumerate(lines)]


def _halt(halt: dict[str, Any]) -> str:
    level = halt.get("level", "none")
    if level == "none":
        return "none"
    what = "everything is stopped" if level == "all" else "entries are stopped, exits fire"
    since = f" since {clock(halt['since'])}" if halt.get("since") else ""
    reason = f": {halt['reason']}" if halt.get("reason") else ""
    by = f" by the {halt['owner']}" if halt.get("owner", "trader") != "trader" else ""
    return paint(f"{what}{by}{since}{reason}", "yellow")


def _last(event: dict[str, Any] | None) -> str:
    if not event:
        return "no event yet"
    ago = f", {span(Clock().now() - event['received'])} ago" if event.get("received") else ""
    return f"{event.get('type', '')} {event.get('symbol', '')}{ago} · {event.get('status', '')}".rstrip(" ·")


def _lane(lane: dict[str, Any]) -> str:
    waiting, running = lane.get("waiting", 0), lane.get("running")
    busy = [f"pressing for {running}"] if running else []
    busy += [f"{waiting} waiting"] if waiting else []
    return f"{lane.get('name', '')}: {', '.join(busy) or 'idle'}"


def _peer(peer: dict[str, Any]) -> str:
    if peer.get("up"):
        return f"{peer.get('name', '')}: {paint('ready', 'green')}"
    reason = f": {peer['reason']}" if peer.get("reason") else ""
    since = f" for {span(peer['down_s'])}" if peer.get("down_s") else ""
    return f"{peer.get('name', '')}: {paint('down', 'red')}{since}{reason}"


def _journal(journal: dict[str, Any]) -> str:
    parts = ["ok" if journal.get("ok", True) else paint(f"cannot be written: {journal.get('reason', '')}", "red")]
    if "events" in journal:
        parts.append(f"{journal['events']} events")
    if "bytes" in journal:
        parts.append(f"{journal['bytes'] / 1e6:.1f} MB")
    if journal.get("set_aside"):
        parts.append(paint(f"{journal['set_aside']} damaged records set aside", "yellow"))
    return " · ".join(parts)


def _counts(counts: dict[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none since the start"
