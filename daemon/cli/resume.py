"""`deskhand resume`: undo a halt."""

import argparse

from daemon.cli.client import Client, add_json, add_socket
from daemon.cli.terminal import show, show_json

HELP = "undo a halt"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_json(parser)
    add_socket(parser)


def run(args: argparse.Namespace) -> int:
    """Resume; it is on disk when this returns."""
    answer = Client.of(args).get("POST", "/resume")
    if args.json:
        show_json(answer)
    elif answer["level"] != "none":
        show(f"resumed, but the {answer['owner']} still halts {answer['level']}: {answer['reason']}")
    else:
        show("resumed: everything fires again")
    return 0
