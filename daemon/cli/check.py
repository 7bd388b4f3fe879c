"""`deskhand check`: is the configuration usable? Nothing is started and nothing is written."""

import argparse

from daemon.cli import CONFIG, OK
from daemon.cli.options import add_config, settings_of_service
from daemon.cli.terminal import show, show_json
from daemon.errors import ConfigError
from daemon.http import binding


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Print every problem with file, line and key; 78 if there are any."""
    try:
        found = settings_of_service(args)
        binding.check(found)
    except ConfigError as error:
        if not args.json:
            raise
        show_json({"ok": False, "problems": list(error.problems)})
        return CONFIG
    file = str(found.origin.file.absolute()) if found.origin.file else None
    if args.json:
        show_json({"ok": True, "file": file, "mode": found.mode, "problems": []})
    else:
        show(f"{file or 'no configuration file, the defaults'}: good, mode {found.mode}")
    return OK
