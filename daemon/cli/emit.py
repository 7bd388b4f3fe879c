"""`deskhand emit`: send a trade event to the running daemon."""

import argparse
import json
import sys
import uuid
from pathlib import Path
from typing import Any

from daemon.cli.client import TIMEOUT_S, Client, add_socket, refusal
from daemon.cli.terminal import latency, result, show, show_json, went_well
from daemon.clock import Clock
from daemon.errors import DeskhandError

HELP = "send a trade event to the running daemon"
_TYPES = ("entry", "tp1", "tp2", "sl", "close")
_WAIT_S = 30.0
_WAIT_LIMIT_S = 60.0
_FIELDS = ("id", "ts", "side", "price", "quantity", "trade_id", "account", "strategy")
_LEVELS = ("tp1", "tp2", "stop")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("type", nargs="?", choices=_TYPES, metavar="TYPE", help=", ".join(_TYPES))
    parser.add_argument("symbol", nargs="?", metavar="SYMBOL")
    parser.add_argument("--side", choices=("long", "short"))
    parser.add_argument("--price", metavar="P")
    parser.add_argument("--quantity", metavar="Q")
    parser.add_argument("--trade-id", metavar="ID", help="groups the events of one trade")
    parser.add_argument("--account", metavar="NAME")
    parser.add_argument("--strategy", metavar="NAME")
    parser.add_argument("--ts", metavar="TIME", help="ISO 8601 with offset, or epoch; else now")
    parser.add_argument("--id", metavar="ID", help="the dedupe key; else every call is an event of its own")
    for level in _LEVELS:
        parser.add_argument(f"--{level}", metavar="P", help=f"the planned {level} level")
    parser.add_argument("--json", metavar="F|-", dest="file", help="send this file (or stdin) instead")
    parser.add_argument(
        "--wait", nargs="?", type=_seconds, const=_WAIT_S, metavar="SECONDS",
        help=f"wait for the outcomes ({_WAIT_S:g} s); exit 1 unless all are done or simulated",
    )  # fmt: skip
    parser.add_argument("--print-json", action="store_true", help="print the daemon's answer as JSON")
    add_socket(parser)
    parser.set_defaults(fail=parser.error)


def run(args: argparse.Namespace) -> int:
    """Send it and say what became of it."""
    given = [name for name in ("type", "symbol", *_FIELDS, *_LEVELS) if getattr(args, name) is not None]
    if args.file is not None:
        if given:
            args.fail("--json takes no other fields: they belong into the file")
        body = _complete(_read(args))
    else:
        if args.symbol is None:
            args.fail("TYPE and SYMBOL are required, or --json")
        body = json.dumps(_event(args)).encode()
    client = Client.of(args)
    wait = args.wait
    code, answer = client.call(
        "POST", "/events", body, query={"wait": wait and f"{wait:g}"}, timeout=TIMEOUT_S + (wait or 0)
    )
    if not isinstance(answer, dict):
        raise DeskhandError(refusal(answer))
    if wait and answer.get("status") == "duplicate":  # its outcomes are those of the first one
        answer["deliveries"] = client.get("GET", f"/events/{answer['id']}")["deliveries"]
    if args.print_json:
        show_json(answer)
    elif code >= 300:
        print(refusal(answer), file=sys.stderr)
    elif wait:
        show(*_outcomes(body, answer))
    else:
        show(f"{answer['status']} {answer.get('id', '')}".rstrip())
    return 0 if code < 300 and (not wait or all(map(went_well, answer.get("deliveries", [])))) else 1


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= _WAIT_LIMIT_S:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {_WAIT_LIMIT_S:g}")
    return value


def _event(args: argparse.Namespace) -> dict[str, Any]:
    event: dict[str, Any] = {"type": args.type, "symbol": args.symbol, **_missing({})}
    event.update({name: getattr(args, name) for name in _FIELDS if getattr(args, name) is not None})
    levels = {name: getattr(args, name) for name in _LEVELS if getattr(args, name) is not None}
    return event | ({"targets": levels} if levels else {})


def _missing(event: dict[str, Any]) -> dict[str, Any]:
    """The id and time of an event that has none."""
    own = {"id": str(uuid.uuid4()), "ts": round(Clock().now(), 6)}
    return {name: value for name, value in own.items() if name not in event}


def _read(args: argparse.Namespace) -> bytes:
    try:
        return sys.stdin.buffer.read() if args.file == "-" else Path(args.file).read_bytes()
    except OSError as error:
        args.fail(f"--json: {args.file} cannot be read: {error.strerror}")
        raise


def _complete(raw: bytes) -> bytes:
    """The same text with id and time put in where they are missing; what is wrong with it the daemon says best."""
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    if not isinstance(event, dict):
        return raw
    # Put in front as text, because decoding and encoding again would change numbers and hide duplicate keys.
    new = json.dumps(_missing(event))[1:-1].encode()
    head, brace, rest = raw.partition(b"{")
    return head + brace + new + (b"," if new and event else b"") + rest


def _outcomes(body: bytes, answer: dict[str, Any]) -> list[str]:
    event = json.loads(body)
    name = f"{event['type']} {str(event['symbol']).upper()}"
    if answer.get("status") == "duplicate":
        name += " · duplicate"
    deliveries = answer.get("deliveries", [])
    if not deliveries:
        return [f"{name} · no route presses a key for it"]
    lines = []
    for delivery in deliveries:
        keys = " ".join(delivery.get("steps", [])) or "no key"
        pressed = f"{delivery.get('target', '')}: {keys} {result(delivery)}"
        lines.append(" · ".join(part for part in (name, delivery.get("mode"), pressed, latency(delivery)) if part))
    return lines
