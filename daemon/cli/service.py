"""`deskhand service install|uninstall|status`: Deskhand as a service of systemd."""

import argparse
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from daemon.cli import FAILED, OK
from daemon.cli.terminal import show, show_json
from daemon.errors import DeskhandError


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs below this one, and their arguments."""
    verbs = parser.add_subparsers(dest="what", metavar="VERB", required=True)
    install = verbs.add_parser("install", help="install or update it, and start it", allow_abbrev=False)
    install.add_argument(
        "--live-config", type=Path, metavar="F", help="install this configuration, which says mode live"
    )
    install.add_argument(
        "--wheelhouse", type=Path, metavar="DIR", help="take all packages from this folder, none from the network"
    )
    uninstall = verbs.add_parser(
        "uninstall", help="stop and remove it; configuration and state stay", allow_abbrev=False
    )
    uninstall.add_argument("--purge", action="store_true", help="remove configuration and state too, without asking")
    status = verbs.add_parser("status", help="show how it is; 1 unless it is up", allow_abbrev=False)
    status.add_argument("--json", action="store_true", help="print JSON")
    for verb in (install, uninstall, status):
        verb.add_argument("--user", action="store_true", help="your own service, without root")
    for verb in (install, uninstall):
        verb.add_argument("--dry-run", action="store_true", help="print every step and change nothing")


def run(args: argparse.Namespace) -> int:
    """Do it, step by step."""
    if os.geteuid() == 0:
        sys.dont_write_bytecode = True  # no files of root's in the clone that this may run from
    from daemon import service  # noqa: PLC0415  # reads the settings' models, which other verbs do without

    places = service.user(os.environ) if args.user else service.system()
    runner = service.Runner(os.environ)
    if args.what == "status":
        found = service.status(places, runner)
        if args.json:
            show_json(found)
        else:
            show(*service.lines(found))
        return OK if found["active"] else FAILED
    _allowed(args)
    # The folder above our own: it is there before the first installation and after the last.
    lock = nullcontext() if args.dry_run else service.alone(places.home.parent)
    with lock, tempfile.TemporaryDirectory() as work:
        if args.what == "uninstall":
            plan = service.uninstall(places, runner, purge=args.purge, dry=args.dry_run)
            service.perform(plan, _say, dry=args.dry_run)
            return OK
        plan = service.install(
            places, runner, Path(work), here=Path(), caller=int(os.environ.get("SUDO_UID") or os.geteuid()),
            live=args.live_config, wheelhouse=args.wheelhouse, dry=args.dry_run,
        )  # fmt: skip
        service.perform(plan, _say, dry=args.dry_run)
    return OK


def _allowed(args: argparse.Namespace) -> None:
    if args.dry_run:
        return
    if args.user and os.environ.get("SUDO_UID") and os.geteuid() == 0:
        raise DeskhandError("--user is your own service: run it without sudo")
    if not args.user and os.geteuid() != 0:
        raise DeskhandError("this needs root: run it with sudo, or give --user for a service of your own")


def _say(line: str) -> None:
    show(line)
    sys.stdout.flush()  # some steps take a while
