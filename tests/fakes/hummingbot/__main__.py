"""The fake as a process: prints its port as its first line, and takes one JSON command per line on stdin.

    python -m tests.fakes.hummingbot --port 0 --log requests.jsonl --off phantoms --off start_does_nothing
    {"do": "bots.add", "with": ["pmm-1"]}
    {"do": "bots.kill", "with": ["pmm-1"]}
    {"do": "get", "with": ["violations"]}
    {"do": "set", "with": ["habits.orders", "fill"]}
    {"do": "habit", "with": ["reset", "POST", "/trading/orders", "done"]}
    {"do": "orders"}

Each is answered with one line: `{"ok": ...}` or `{"error": ...}`. It ends with stdin, or with SIGTERM.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from tests.fakes.hummingbot import HummingbotServer, Traps


def _below(owner: Any, names: Iterable[str]) -> Any:
    for name in names:
        owner = getattr(owner, name)
    return owner


async def _do(server: HummingbotServer, command: dict[str, Any]) -> Any:
    what, given = command["do"], command.get("with", [])
    if what == "habit":
        habit, method, path, value = given
        getattr(server.habits, habit)[method, path] = value
        return None
    if what == "orders":
        return [order.row for order in server.exchange.orders.values()]
    if what in ("get", "set"):
        *way, last = given[0].split(".")
        owner = _below(server, way)
        if what == "set":
            setattr(owner, last, given[1])
        return getattr(owner, last)
    answer = _below(server, what.split("."))(*given)
    return await answer if asyncio.iscoroutine(answer) else answer


async def _serve(server: HummingbotServer) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    loop.add_signal_handler(signal.SIGTERM, reader.feed_eof)
    async with server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        while line := await reader.readline():
            try:
                answer = {"ok": await _do(server, json.loads(line))}
            except Exception as error:  # whatever a test typed wrongly, it is told
                answer = {"error": repr(error)}
            sys.stdout.write(json.dumps(answer, default=str) + "\n")
            sys.stdout.flush()


def main() -> None:
    """Run as a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--broker", type=int, help="the port of an MQTT broker on 127.0.0.1")
    parser.add_argument("--off", action="append", default=[], choices=[each.name for each in fields(Traps)])
    given = parser.parse_args()
    traps = Traps(**dict.fromkeys(given.off, False))
    asyncio.run(_serve(HummingbotServer(traps, port=given.port, log=given.log, broker=given.broker)))


if __name__ == "__main__":
    main()
