"""`deskhand support`: a file for whoever helps, safe to post in public."""

import argparse
import getpass
import os
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.cli import OK
from daemon.cli.client import Client, add_socket
from daemon.cli.options import add_config, settings_of_service
from daemon.cli.terminal import show
from daemon.clock import Clock
from daemon.errors import ConfigError, DeskhandError, JournalError, UnreachableError

if TYPE_CHECKING:
    from daemon.support import Seen


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config(parser)
    add_socket(parser)
    parser.add_argument("--to", type=Path, metavar="FILE", help="the file to write, else one in this folder")


def run(args: argparse.Namespace) -> int:
    """Look at everything, write the file, and say what is in it."""
    # Every room of the house, which other verbs do without.
    from daemon.support import INSIDE, bundle  # noqa: PLC0415  # see above

    path = args.to or Path(time.strftime("deskhand-support-%Y%m%d-%H%M%S.md"))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise DeskhandError(f"{path} is there already; nothing is overwritten") from None
    except OSError as error:
        raise DeskhandError(f"{path} cannot be written: {error.strerror}") from None
    try:
        text = bundle(_look(args))
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    show(
        f"wrote {path}, {len(text.encode(errors='replace')) / 1024:.0f} KiB, readable by you alone",
        f"in it: {INSIDE}",
        "without secrets, accounts, quantities and prices; hosts, symbols and trades under other names",
        "read it through before you post it",
    )
    return OK


def _look(args: argparse.Namespace) -> "Seen":
    from daemon.cli.doctor import examined  # noqa: PLC0415  # see `run`
    from daemon.journal import Records  # noqa: PLC0415  # see `run`
    from daemon.support import Seen  # noqa: PLC0415  # see `run`

    seen = Seen(Clock().now(), None, private=_private())
    try:
        seen.settings = settings_of_service(args)
    except ConfigError as error:
        seen.problems = error.problems
    own = seen.settings.runtime_dir() / "deskhand.sock" if seen.settings else None
    client = Client(args.socket or own)
    try:
        seen.status = client.get("GET", "/status")
        seen.events = client.get("GET", "/events", limit=100)["events"]
    except (UnreachableError, DeskhandError) as error:
        seen.missing["status"] = f"no daemon answers: {error}"
    if seen.events is None and seen.settings is not None:
        try:
            seen.events = Records(seen.settings.state_dir / "journal.db").events(limit=100)
        except JournalError as error:
            seen.missing["events"] = f"no journal: {error}"
    seen.checks = examined(args)
    return seen


def _private() -> list[str]:
    """The names of this machine and its user, which stand in paths and messages."""
    node = platform.node()
    found = [node, node.partition(".")[0], os.environ.get("SUDO_USER", "")]
    with suppress(OSError, KeyError):
        found.append(getpass.getuser())
    with suppress(RuntimeError):
        found.append(Path.home().name)
    common = {"root", "deskhand", "localhost", "localhost.localdomain", ""}
    return [name for name in dict.fromkeys(found) if name not in common]
