"""`deskhand schema`: the JSON Schema of what goes in."""

import argparse
import json

from daemon.cli import OK


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("what", choices=("event", "config"), help="which schema to print")
    parser.add_argument("--json", action="store_true", help="it is JSON either way")


def run(args: argparse.Namespace) -> int:
    """Print the schema."""
    # Each pulls in a good part of the daemon, and only one is wanted.
    if args.what == "event":
        from daemon.events import schema  # noqa: PLC0415  # see above
    else:
        from daemon.settings import schema  # noqa: PLC0415  # see above
    print(json.dumps(schema(), indent=2))
    return OK
