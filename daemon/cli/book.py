"""`deskhand book`: what the guard believes is open, and correcting it."""

import argparse
from typing import Any

from daemon.cli.client import Client, add_json, add_socket
from daemon.cli.terminal import show, show_json, table

HELP = "show or correct what the guard believes is open"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    does = parser.add_subparsers(dest="does", metavar="show|set|clear", required=True)
    change = does.add_parser("set", help="say that a symbol is open or flat")
    change.add_argument("symbol", metavar="SYMBOL")
    change.add_argument("state", choices=("open", "flat"))
    change.add_argument("--target", metavar="T", help="the hotkey target, else the default one")
    shown, cleared = does.add_parser("show", help="what is open"), does.add_parser("clear", help="forget all of it")
    for sub in (shown, change, cleared):
        add_json(sub)
        add_socket(sub)


def run(args: argparse.Namespace) -> int:
    """Show or change it; a change prints the book as it is now."""
    client = Client.of(args)
    if args.does == "set":
        fields = {"symbol": args.symbol, "state": args.state} | ({"target": args.target} if args.target else {})
        answer = client.get("POST", "/book", fields)
    else:
        answer = client.get("DELETE" if args.does == "clear" else "GET", "/book")
    rows = answer["book"]
    if args.json:
        show_json(rows)
    else:
        show(*table([_HEAD, *map(_row, rows)]) if rows else ["nothing is open"])
    return 0


_HEAD = ("TARGET", "SYMBOL", "STATE", "ENTRY", "TP1", "TP2", "TRADE")


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    ways = (_word(row.get(name)) for name in ("entry", "tp1", "tp2"))
    state = "open" if row.get("open") else "flat"
    return (str(row.get("target", "")), str(row.get("symbol", "")), state, *ways, str(row.get("trade", "")))


def _word(value: object) -> str:
    if value is None or value is False:
        return ""
    return "yes" if value is True else str(value)
