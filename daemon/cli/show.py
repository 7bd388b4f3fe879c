"""`deskhand show EVENT_ID`: everything about one event, step by step."""

import argparse
from typing import Any

from daemon.cli.client import Client, add_json, add_socket, refusal
from daemon.cli.terminal import clock, latency, milliseconds, paint, result, show, show_json, table
from daemon.errors import DeskhandError

HELP = "show one event and its deliveries"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("id", metavar="EVENT_ID")
    add_json(parser)
    add_socket(parser)


def run(args: argparse.Namespace) -> int:
    """Print it; 1 if there is no such event."""
    code, record = Client.of(args).call("GET", f"/events/{args.id}")
    if code == 404:
        raise DeskhandError(f"no event has the id {args.id}")
    if code >= 300:
        raise DeskhandError(refusal(record))
    if args.json:
        show_json(record)
    else:
        show(*_page(record))
    return 0


def _page(record: dict[str, Any]) -> list[str]:
    event = record.get("event") or {}
    age = record["received"] - record["ts"]
    reason = f": {record['reason']}" if record.get("reason") else ""
    rows = [
        ("id", str(record["id"])),
        ("received", f"{clock(record['received'])} over {record.get('origin', '')}"),
        ("its time", f"{clock(record['ts'])}, {milliseconds(age * 1000)} old when received"),
        ("trade", str(record.get("trade", ""))),
    ]
    known = {"id", "type", "symbol", "ts", "trade_id"}
    rows += [(name, _plain(value)) for name, value in event.items() if name not in known and value is not None]
    lines = [f"{record['type']} {record['symbol']} · {record['status']}{reason}", "", *_indent(table(rows))]
    for delivery in record.get("deliveries", []):
        lines += ["", *_delivery(delivery)]
    return lines


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items() if item is not None)
    return str(value)


def _delivery(delivery: dict[str, Any]) -> list[str]:
    ended = f"ended {clock(delivery['ended_at'])}" if delivery.get("ended_at") else ""
    facts = [result(delivery), latency(delivery), ended]
    lines = [
        f"{delivery['handler']} {delivery['target']} ({delivery.get('mode', '')})",
        "  " + " · ".join(fact for fact in facts if fact),
    ]
    begun, confirmed = delivery.get("begun", 0), delivery.get("confirmed", 0)
    for index, step in enumerate(delivery.get("steps", [])):
        if index < confirmed:
            lines.append(f"  {paint('✓', 'green')} {step}")
        elif index < begun:
            lines.append(f"  {paint('?', 'red')} {step}  sent, not confirmed")
        else:
            lines.append(f"  {paint('·', 'dim')} {step}  not sent")
    return lines


def _indent(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
