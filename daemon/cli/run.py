"""`deskhand run`: the daemon, in the foreground."""

import argparse
import os

from daemon.cli.options import add_config, settings

HELP = "run the daemon in the foreground"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config(parser)
    parser.add_argument("--log-format", choices=("auto", "human", "json"), help="how log lines look (auto)")


def run(args: argparse.Namespace) -> int:
    """Run until a signal; the exit code is the daemon's."""
    if args.log_format:
        args.overrides = [*args.overrides, f"log_format={args.log_format}"]
    found = settings(args)
    from daemon.app import main  # noqa: PLC0415  # a mistake in the settings is told without loading the rest

    return main(found, lambda: settings(args), os.environ)
