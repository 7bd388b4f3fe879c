"""`deskhand polymaker`: what the Command Center is told, its runs, and telling it now."""

import argparse
from typing import Any

from daemon.cli.client import Client, add_json, add_socket
from daemon.cli.status import center
from daemon.cli.terminal import clock, paint, show, show_json, table

HELP = "show what the Command Center is told, and its runs"
_OFF = "off: no Command Center is told anything (polymaker.url, api_key, enabled; in practice also report_practice)"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    does = parser.add_subparsers(dest="does", metavar="status|runs|flush", required=True)
    for name, about in (
        ("status", "the run, its figures, and what the Center has configured"),
        ("runs", "the latest runs and what became of their trades"),
        ("flush", "try now to tell what waits; exits with 1 if something still does"),
    ):
        sub = does.add_parser(name, help=about)
        add_json(sub)
        add_socket(sub)


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    client = Client.of(args)
    if args.does == "flush":
        return _flush(client.get("POST", "/polymaker/flush"), json=args.json)
    if args.does == "runs":
        found = client.get("GET", "/polymaker/runs")["runs"]
        lines = table([_HEAD, *map(_row, found)]) if found else ["no run yet"]
    else:
        status = client.get("GET", "/status")
        found = status.get("polymaker")
        lines = _page(status, found) if found else [_OFF]
    if args.json:
        show_json(found)
    else:
        show(*lines)
    return 0


def _flush(answer: dict[str, Any], *, json: bool) -> int:
    waiting = answer["waiting"]
    if json:
        show_json(answer)
    else:
        show(f"{waiting} still wait: {answer['reason'] or 'no time for all of them'}" if waiting else "nothing waits")
    return 1 if waiting else 0


def _page(status: dict[str, Any], told: dict[str, Any]) -> list[str]:
    peer: dict[str, Any] = next((peer for peer in status.get("peers") or [] if peer["name"] == "polymaker"), {})
    state = paint("ready", "green") if peer.get("up") else paint(peer.get("reason") or "not asked yet", "yellow")
    rows = [("Place", f"{told.get('place', '')} · {state}"), ("Run", center(told))]
    rows += [(_words(name), str(value)) for name, value in (told.get("figures") or {}).items()]
    if told.get("unpriced"):
        rows.append(("Not known", f"{told['unpriced']} trades without a price or size; totals are left out"))
    rows += [("Left out", words) for words in told.get("left_out") or []]
    rows += [(f"config {name}", _value(value)) for name, value in (told.get("config") or {}).items()]
    return table(rows)


def _words(name: str) -> str:
    """`totalPnl` as `Total pnl`."""
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in name)
    return words[:1].upper() + words[1:]


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value) or "-"
    return "-" if value is None else str(value)


_HEAD = ("RUN", "STATE", "MODE", "STARTED", "TRADES", "SCORE", "REASON")


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    state = f"{run['state']} ({run['status']})" if run["status"] else run["state"]
    trades = ", ".join(f"{count} {name}" for name, count in run["trades"].items()) or "-"
    number = str(run["run"]) if run["run"] else "-"
    return number, state, str(run["mode"]), clock(run["started"]), trades, run["score"] or "-", run["reason"]
