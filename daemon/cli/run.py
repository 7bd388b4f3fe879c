"""`deskhand run`: the daemon, in the foreground."""

import argparse
import os

from daemon.cli.options import add_config, settings
from daemon.cli.secret import Passphrase

HELP = "run the daemon in the foreground"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config(parser)
    parser.add_argument("--log-format", choices=("auto", "human", "json"), help="how log lines look (auto)")


def run(args: argparse.Namespace) -> int:
    """Run until a signal; the exit code is the daemon's."""
    if args.log_format:
        args.overrides = [*args.overrides, f"log_format={args.log_format}"]
    passphrase = Passphrase(from_stdin=args.passphrase_stdin)
    found = settings(args, passphrase)
    passphrase.silent = True
    from daemon.app import main  # noqa: PLC0415  # a mistake in the settings is told without loading the rest

    return main(found, lambda: settings(args, passphrase), os.environ)
