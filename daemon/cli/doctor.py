"""`deskhand doctor`: what is wrong, why, and what to do about it."""

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from daemon.cli import FAILED, OK
from daemon.cli.client import Client, add_json
from daemon.cli.options import add_config, settings_of_service
from daemon.cli.terminal import pad, paint, show, show_json

if TYPE_CHECKING:
    from daemon.doctor import Check

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config(parser)
    add_json(parser)
    parser.add_argument("--press", type=_key, metavar="ACTION", help="really press this one key, in live mode only")
    parser.add_argument("--target", metavar="T", help="where to press it, else main")


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise argparse.ArgumentTypeError("a key is 1 to 64 of A-Z a-z 0-9 _ . -")
    return text


def run(args: argparse.Namespace) -> int:
    """Look at everything; 1 if anything fails."""
    checks = examined(args, args.press, args.target or "main")
    failed = any(check.state == "fail" for check in checks)
    if args.json:
        fields = ("name", "state", "text", "remedy")
        show_json({"ok": not failed, "checks": [{name: getattr(check, name) for name in fields} for check in checks]})
    else:
        show(*_page(checks))
    return FAILED if failed else OK


def examined(args: argparse.Namespace, key: str | None = None, target: str = "main") -> "Sequence[Check]":
    """All that the doctor finds with the options of `add_config`; in live mode, and only then, `key` is pressed."""
    from daemon import doctor, service  # noqa: PLC0415  # every room of the house, which other verbs do without

    places = [each for each in (service.system(), service.user(os.environ)) if each.unit.is_file()]
    if not os.access(".", os.R_OK | os.X_OK):  # `sudo -u deskhand` in root's home
        os.chdir(next((each.config for each in places if os.access(each.config, os.X_OK)), "/"))
    press = doctor.Press(key, target) if key else None

    def unit() -> dict[str, Any] | None:
        return service.status(places[0], service.Runner(os.environ)) if places else None

    outside = doctor.Outside(
        environ=os.environ,
        ask=lambda socket, path: Client(socket).call("GET", path, timeout=doctor.LIMIT_S),
        unit=unit,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    return asyncio.run(doctor.examine(lambda: settings_of_service(args), outside, press))


def _page(checks: "Sequence[Check]") -> list[str]:
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        line = f"{paint(pad(check.state, 4), _COLOURS[check.state])}  {pad(check.name, width)}  {check.text}"
        lines.append(line)
        if check.remedy and sys.stdout.isatty():  # its own line for a reader, the same line for grep
            lines.append(f"{' ' * (width + 8)}{paint('→ ' + check.remedy, 'bold')}")
        elif check.remedy:
            lines[-1] += f" → {check.remedy}"
    counts = {state: sum(check.state == state for check in checks) for state in ("fail", "warn")}
    told = [f"{counts['fail']} to put right"] if counts["fail"] else []
    told += [f"{counts['warn']} to look at"] if counts["warn"] else []
    return [*lines, "", ", ".join(told) or "all is well"]
