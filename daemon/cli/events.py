"""`deskhand events`: what happened, newest last."""

import argparse
import json
import re
import time
from datetime import datetime
from typing import Any

from daemon.cli.client import Client, add_socket
from daemon.cli.terminal import clock, milliseconds, pad, result, show, show_json, table
from daemon.clock import Clock
from daemon.errors import UnreachableError

HELP = "list what happened"
_POLL_S = 0.25
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OPEN_LIMIT = 50
"""How many events without an outcome `--follow` keeps an eye on."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--follow", "-f", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--since", type=_since, metavar="T", help="ISO time, or 10m, 2h, 1d ago")
    parser.add_argument("--type", choices=("entry", "tp1", "tp2", "sl", "close"))
    parser.add_argument("--symbol", metavar="S")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="the latest N (50), at most 1000")
    parser.add_argument("--json", action="store_true", help="print JSON; with --follow one line per event and change")
    add_socket(parser)


def run(args: argparse.Namespace) -> int:
    """Print them."""
    client = Client.of(args)
    asked = {"since": args.since, "type": args.type, "symbol": args.symbol}
    found = client.get("GET", "/events", **asked, limit=args.limit)["events"]
    if args.follow:
        try:
            _follow(client, asked, found, as_json=args.json)
        except KeyboardInterrupt:
            return 0
    elif args.json:
        show_json(found)
    else:
        show(*table([_row(record) for record in found]) or ["no events"])
    return 0


def _follow(client: Client, asked: dict[str, Any], found: list[dict[str, Any]], *, as_json: bool) -> None:
    asked.pop("since")
    after = 0
    unsettled: list[str] = []
    if not found:  # nothing fits yet: begin behind whatever there is
        last = client.get("GET", "/events", limit=1)["events"]
        after = last[-1]["seq"] if last else 0
    while True:
        _print(found, as_json=as_json)
        after = max([after, *(record["seq"] for record in found)])
        unsettled = [*unsettled, *(record["id"] for record in found if not _settled(record))][-_OPEN_LIMIT:]
        time.sleep(_POLL_S)
        try:
            ended = [
                record for record in (client.get("GET", f"/events/{each}") for each in unsettled) if _settled(record)
            ]
            unsettled = [each for each in unsettled if each not in {record["id"] for record in ended}]
            _print(ended, as_json=as_json)
            found = client.get("GET", "/events", **asked, after=after, limit=1000)["events"]
        except UnreachableError:
            # It is being restarted, perhaps: the one who follows wants to see what comes after.
            found = []


def _print(records: list[dict[str, Any]], *, as_json: bool) -> None:
    for record in records:
        if as_json:
            print(json.dumps(record), flush=True)
        else:
            show("  ".join(map(pad, _row(record), _WIDTHS)).rstrip())
    if not as_json:
        print(end="", flush=True)


_WIDTHS = (12, 5, 10, 9, 40, 8, 0)


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    deliveries = record.get("deliveries", [])
    ends = "; ".join(result(delivery) for delivery in deliveries) or str(record.get("reason") or "")
    first = min((d["latency_ms"] for d in deliveries if d.get("latency_ms") is not None), default=None)
    return (
        clock(record["received"]), record["type"], record["symbol"], record["status"], ends,
        milliseconds(first) if first is not None else "", record["id"],
    )  # fmt: skip


def _settled(record: dict[str, Any]) -> bool:
    return all(delivery.get("result") for delivery in record.get("deliveries", []))


def _since(text: str) -> float:
    relative = re.fullmatch(r"([0-9]{1,6})([smhd])", text, re.ASCII)
    if relative:
        return round(Clock().now() - int(relative[1]) * _UNITS[relative[2]], 3)
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()  # without an offset it is local time
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("must be an ISO time, or like 10m, 2h, 1d") from None
