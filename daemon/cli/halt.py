"""`deskhand halt`: the kill switch."""

import argparse
from typing import Any

from daemon.cli.client import Client, add_json, add_socket
from daemon.cli.terminal import show, show_json

HELP = "stop entries, or everything (the kill switch)"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("level", nargs="?", choices=("entries", "all"), default="entries", help="else entries")
    parser.add_argument("--reason", metavar="R", default="", help="kept with it and shown")
    add_json(parser)
    add_socket(parser)


def run(args: argparse.Namespace) -> int:
    """Halt; it is on disk when this returns."""
    answer: Any = Client.of(args).get("POST", "/halt", {"level": args.level, "reason": args.reason})
    if args.json:
        show_json(answer)
    elif args.level == "all":
        show("halted: nothing fires, exits neither; `deskhand resume` ends it")
    else:
        show("halted: entries are stopped, exits still fire; `deskhand resume` ends it")
    return 0
