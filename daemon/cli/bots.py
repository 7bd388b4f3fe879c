"""`deskhand bots`: the bots at Hummingbot, made, started, stopped and looked at through the daemon."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from daemon.cli import FAILED, OK, UNREACHABLE
from daemon.cli.client import Client, add_json, add_socket, refusal
from daemon.cli.terminal import clock, paint, show, show_json, span, table
from daemon.clock import Clock
from daemon.errors import DeskhandError

_START_S, _STOP_S = 170, 120  # how long the daemon may look
_COLOURS = {"running": "green", "stopped": "dim", "deploying": "yellow", "unknown": "yellow"}
_SCRIPT_LIMIT = 60_000


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs below this one, and their arguments."""
    verbs = parser.add_subparsers(dest="does", metavar="VERB", required=True)
    verbs.add_parser("list", help="the bots, and how each was last seen")
    made = verbs.add_parser("create", help="write a bot down; nothing is started")
    made.add_argument("name", metavar="NAME")
    made.add_argument("--strategy", required=True, choices=("spread", "grid", "custom"))
    made.add_argument("--connector", required=True, metavar="C", help="as Hummingbot names it: hyperliquid_perpetual")
    made.add_argument("--pair", required=True, metavar="BASE-QUOTE")
    made.add_argument("--account", metavar="A", help="the account at Hummingbot, else master_account")
    made.add_argument("--script", type=Path, metavar="F", help="the file of a custom strategy")
    made.add_argument(
        "--set", action="append", default=[], metavar="key=value", dest="fields",
        help="of its configuration; a spread is a fraction of the price on each side: spread=0.001 is 0.1 %%",
    )  # fmt: skip
    for name, line in (
        ("start", "deploy it, and wait until it is seen running"),
        ("stop", "stop it, and wait until it is seen to have stopped"),
        ("restart", "stop it, then start it"),
        ("history", "its fills, as the bot tells them"),
        ("logs", "the last lines of its log"),
        ("rm", "forget a bot that does not run"),
    ):
        verb = verbs.add_parser(name, help=line)
        verb.add_argument("name", metavar="NAME")
        if name == "history":
            verb.add_argument("--days", type=int, default=0, metavar="N", help="of the last N days, else of this run")
    for verb in verbs.choices.values():
        verb.allow_abbrev = False
        add_json(verb)
        add_socket(verb)


def run(args: argparse.Namespace) -> int:
    """Do it; a start or stop that was accepted and not seen is told as such, and exits with 1."""
    client = Client.of(args)
    if args.does == "list":
        return _list(args, _ask(client, "GET", "/bots")["bots"])
    if args.does == "create":
        return _create(args, client)
    path = f"/bots/{args.name}"
    if args.does == "rm":
        answer = _ask(client, "DELETE", path)
        return _say(args, answer, " · ".join(filter(None, (f"{args.name} is gone", answer.get("reason")))))
    if args.does == "history":
        return _history(args, _ask(client, "GET", f"{path}/history", days=args.days))
    if args.does == "logs":
        return _logs(args, _ask(client, "GET", f"{path}/logs"))
    return _do(args, client, path)


def _ask(client: Client, method: str, path: str, body: object = None, **query: object) -> Any:
    code, answer = client.call(method, path, body, query=query, timeout=90)
    if code == 503:
        print(refusal(answer), file=sys.stderr)
        raise SystemExit(UNREACHABLE)
    if code >= 300:
        raise DeskhandError(refusal(answer))
    return answer


def _list(args: argparse.Namespace, rows: list[dict[str, Any]]) -> int:
    if args.json:
        show_json(rows)
    else:
        show(*table([_HEAD, *map(_row, rows)]) if rows else ["no bots; make one with: deskhand bots create"])
    return OK


_HEAD = ("BOT", "STATE", "STRATEGY", "MARKET", "ACCOUNT", "SEEN", "WHY")


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    seen = f"{span(Clock().now() - row['seen'])} ago" if row.get("seen") else ""
    market = " ".join(filter(None, (row["connector"], row["pair"])))
    status = paint(row["status"], _COLOURS.get(row["status"], "red"))
    return row["id"], status, row["strategy"], market, row.get("account", ""), seen, row.get("reason", "")


def _create(args: argparse.Namespace, client: Client) -> int:
    config: dict[str, Any] = {}
    for field in args.fields:
        name, equals, value = field.partition("=")
        if not equals:
            raise DeskhandError(f"--set {name}: must be key=value")
        config[name] = _value(value)
    if args.script is not None:
        try:
            config["script"] = args.script.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise DeskhandError(f"{args.script}: cannot be read") from None
        if len(config["script"]) > _SCRIPT_LIMIT:
            raise DeskhandError(f"{args.script}: is longer than {_SCRIPT_LIMIT} characters")
    body = {"name": args.name, "strategy": args.strategy, "connector": args.connector, "pair": args.pair}
    body |= {"config": config} | ({"account": args.account} if args.account else {})
    answer = _ask(client, "POST", "/bots/create", body)
    id = answer["bot_id"]
    return _say(args, answer, f"{id} is made; start it with: deskhand bots start {quote(id)}")


def _value(text: str) -> Any:
    """Lists, true and false as JSON has them; anything else is the text itself."""
    if text[:1] == "[" or text in ("true", "false"):
        try:
            return json.loads(text, parse_float=str, parse_int=str)
        except ValueError:
            pass
    return text


def _do(args: argparse.Namespace, client: Client, path: str) -> int:
    wait_s = _STOP_S if args.does == "stop" else _START_S
    code, answer = client.call("POST", f"{path}/{args.does}", query={"wait": wait_s}, timeout=wait_s + 10)
    if code == 503:
        print(refusal(answer), file=sys.stderr)
        return UNREACHABLE
    if code >= 300 and "result" not in answer:
        raise DeskhandError(refusal(answer))
    reason = f": {answer['reason']}" if answer.get("reason") else ""
    good = bool(answer.get("success")) and code == 200
    mark = paint("✓", "green") if good else paint("?" if code == 202 else "✗", "red")
    _say(args, answer, f"{args.name} {mark} {str(answer['status']).replace('_', ' ')}{reason}")
    return OK if good else FAILED


def _history(args: argparse.Namespace, answer: dict[str, Any]) -> int:
    trades = answer["trades"]
    rows = [
        (clock(t["at"]) if t["at"] else "", t["side"], t["quantity"] or "", t["pair"], t["price"] or "", t["id"])
        for t in trades
    ]
    head = ("TIME", "SIDE", "QUANTITY", "PAIR", "PRICE", "ID")
    return _say(args, trades, *(table([head, *rows]) if rows else ["no fills"]))


def _logs(args: argparse.Namespace, answer: dict[str, Any]) -> int:
    lines = answer["lines"]
    rows = [(clock(line["at"]) if line["at"] else "", line["level"], line["text"]) for line in lines]
    return _say(args, lines, *(table(rows) if rows else ["nothing was logged, or nothing was seen of it"]))


def _say(args: argparse.Namespace, answer: Any, *lines: str) -> int:
    if args.json:
        show_json(answer)
    else:
        show(*lines)
    return OK
