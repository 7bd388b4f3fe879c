"""`deskhand token`: who may use the local API over the network, and for what."""

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon.cli import OK
from daemon.cli.client import Client, add_json
from daemon.cli.options import add_config, as_service
from daemon.cli.terminal import clock, show, show_json, span, table
from daemon.clock import Clock
from daemon.errors import UnreachableError
from daemon.http import tokens
from daemon.http.roles import ROLES
from daemon.settings import whereabouts

_SPAN = re.compile(r"([0-9]{1,5})([hdw])", re.ASCII)
_HOURS = {"h": 1, "d": 24, "w": 168}
_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(?:/s)?", re.ASCII)
_SOCKET = "deskhand.sock"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs below this one, and their arguments."""
    verbs = parser.add_subparsers(dest="does", metavar="VERB", required=True)
    made = verbs.add_parser("add", help="make a token and show it, this once")
    verbs.add_parser("list", help="the tokens, what they may do, and when each was last used")
    removed = verbs.add_parser("rm", help="refuse a token from now on")
    made.add_argument("name", metavar="NAME", type=_name, help="what to know it by")
    removed.add_argument("name", metavar="NAME")
    made.add_argument(
        "--role", required=True, choices=tuple(ROLES),
        help="ingest sends events and sees nothing, read sees everything and changes nothing, control may do all",
    )  # fmt: skip
    made.add_argument("--expires", metavar="T", type=_expires, help="when it ends: 12h, 90d, 4w, or 2027-01-31")
    made.add_argument(
        "--rate", metavar="N/s", type=_rate, help="how often a second it may be used; an sl or close always may"
    )
    for verb in verbs.choices.values():
        verb.allow_abbrev = False
        add_json(verb)
        add_config(verb)


def _name(text: str) -> str:
    if not tokens.NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("a name is 1 to 64 of A-Z a-z 0-9 _ . -")
    return text


def _expires(text: str) -> float:
    now = Clock().now()
    found = _SPAN.fullmatch(text)
    if found:
        when = now + int(found[1]) * _HOURS[found[2]] * 3600
    else:
        try:
            day = datetime.fromisoformat(text)
        except ValueError:
            raise argparse.ArgumentTypeError("is a time like 12h, 90d or 4w, or a date like 2027-01-31") from None
        when = day.replace(tzinfo=day.tzinfo or UTC).timestamp()
    if when <= now:
        raise argparse.ArgumentTypeError("lies in the past")
    return when


def _rate(text: str) -> float:
    found = _RATE.fullmatch(text)
    if not found or not 0 < float(found[1]) <= tokens.RATE_MOST:
        raise argparse.ArgumentTypeError("is a number of uses per second, like 5/s")
    return float(found[1])


def run(args: argparse.Namespace) -> int:
    """Do it. A daemon that runs notices by itself: a new token counts at once, one removed for less than a second."""
    environ, env_file = as_service(args)
    at = whereabouts(args.config, env_file, args.overrides, environ)
    if args.does == "add":
        _add(args, at.state_dir)
    elif args.does == "rm":
        tokens.remove(at.state_dir, args.name)
        if args.json:
            show_json({"name": args.name, "removed": True})
        else:
            show(f"{args.name} is gone; a daemon that runs refuses it from now on")
    else:
        runtime = environ.get("RUNTIME_DIRECTORY")
        _list(args, at.state_dir, Path(runtime.split(":")[0], _SOCKET) if runtime else None)
    return OK


def _add(args: argparse.Namespace, folder: Path) -> None:
    now = Clock().now()
    made = tokens.add(folder, args.name, args.role, now, expires=args.expires, rate=args.rate)
    if args.json:
        row = {"name": args.name, "role": args.role, "created": now, "expires": args.expires, "rate": args.rate}
        show_json(row | {"token": made})
    else:
        print(made)
    if sys.stdout.isatty():
        print("this is the only time it is shown; send it as `Authorization: Bearer TOKEN`", file=sys.stderr)


def _list(args: argparse.Namespace, folder: Path, socket: Path | None) -> None:
    now = Clock().now()
    found = tokens.read(folder).all
    used = _used(socket) if found else {}
    rows = [_row(token, used.get((token.name, token.tail)), now) for token in found]
    if args.json:
        show_json(rows)
    elif rows:
        head = ("NAME", "ROLE", "RATE", "CREATED", "EXPIRES", "LAST USED", "FINGERPRINT")
        show(*table([head, *map(_cells, rows)]))
    else:
        show(f"no tokens in {folder}")


def _used(socket: Path | None) -> dict[tuple[str, str], float | None]:
    """When the running daemon last saw each, by name and fingerprint; it forgets when it ends."""
    try:
        code, status = Client(socket).call("GET", "/status")
    except UnreachableError:
        return {}
    listed = status.get("tokens", []) if code == 200 and isinstance(status, dict) else []
    return {(each["name"], each["tail"]): each["used"] for each in listed}


def _row(token: tokens.Token, used: float | None, now: float) -> dict[str, Any]:
    return {
        "name": token.name,
        "role": token.role,
        "rate": token.rate,
        "created": token.created,
        "expires": token.expires,
        "expired": token.expired(now),
        "used": used,
        "fingerprint": token.tail,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    now = Clock().now()
    expires = "never" if row["expires"] is None else f"in {span(row['expires'] - now)}"
    return (
        row["name"],
        row["role"],
        f"{row['rate']:g}/s" if row["rate"] else "",
        clock(row["created"]).partition(".")[0],
        "EXPIRED" if row["expired"] else expires,
        f"{span(now - row['used'])} ago" if row["used"] else "",
        row["fingerprint"],
    )
