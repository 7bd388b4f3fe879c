"""`deskhand reload`: read the configuration anew, all or nothing."""

import argparse
import sys
from typing import Any

from daemon.cli import CONFIG, OK
from daemon.cli.client import Client, add_json, add_socket, refusal
from daemon.cli.terminal import show, show_json
from daemon.errors import DeskhandError

_LIMIT_S = 60.0  # half pressed sequences may finish first


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_json(parser)
    add_socket(parser)


def run(args: argparse.Namespace) -> int:
    """Print what changed; 78 with every problem if it was refused, and then what ran goes on."""
    code, answer = Client.of(args).call("POST", "/reload", timeout=_LIMIT_S)
    problems = answer.get("problems") if isinstance(answer, dict) else None
    if code >= 300 and problems is None:
        raise DeskhandError(refusal(answer))
    if args.json:
        show_json(answer)
    elif problems is None:
        changed = [f"{change['key']}: {_words(change)}" for change in answer["changed"]]
        show(*changed, "reloaded" if changed else "nothing has changed")
    else:
        print("refused, what ran goes on:", *problems, sep="\n", file=sys.stderr)
    return OK if problems is None else CONFIG


def _words(change: dict[str, Any]) -> str:
    old, new = change["old"], change["new"]
    if "(secret)" in (old, new):
        return "changed" if old and new else "set" if new else "removed"
    return f"{old or '(none)'} -> {new or '(none)'}"
