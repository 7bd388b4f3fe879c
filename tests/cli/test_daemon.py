"""The verbs against the real daemon, in practice mode with its defaults."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.http.stub import ask


@pytest.fixture
async def daemon(command: list[str], alone: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    log = alone / "log"
    with log.open("wb") as to:
        process = await asyncio.create_subprocess_exec(
            *command, "run", "--set", "http.port=0", stdout=to, stderr=to,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
    started = time.monotonic()
    while b" is ready in " not in log.read_bytes():
        assert process.returncode is None, log.read_text()
        assert time.monotonic() - started < 20
        await asyncio.sleep(0.02)
    yield process
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0, log.read_text()


@pytest.mark.usefixtures("daemon")
async def test_a_trade(verb: Run) -> None:
    done = await verb("emit", "entry", "AAPL", "--price", "189.20", "--id", "e/1", "--ts", str(time.time()), "--wait")
    assert done.code == 0, done.err
    assert done.out.startswith("entry AAPL · practice · main: buy_ask ✓ done · first byte after ")
    assert "buy_ask" in (await verb("show", "e/1")).out
    assert "AAPL" in (await verb("book", "show")).out
    done = await verb("emit", "entry", "MSFT", "--wait")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("refused: ")
    assert (await verb("halt", "--reason", "news")).code == 0
    assert "entries are stopped, exits fire" in (await verb("status")).out
    done = await verb("emit", "sl", "AAPL", "--wait")
    assert (done.code, done.out.partition(" · first")[0]) == (0, "sl AAPL · practice · main: sell_all_bid ✓ done")
    assert (await verb("resume")).code == 0
    rows = json.loads((await verb("events", "--json")).out)
    assert [(row["type"], row["symbol"], row["status"]) for row in rows] == [
        ("entry", "AAPL", "accepted"), ("entry", "MSFT", "refused"), ("sl", "AAPL", "accepted"),
    ]  # fmt: skip
    after = json.loads((await verb("events", "--json", "--symbol", "MSFT")).out)
    assert [row["seq"] for row in after] == [rows[1]["seq"]]


@pytest.mark.usefixtures("daemon")
async def test_the_same_over_tcp_with_the_token_it_made(verb: Run, alone: Path) -> None:
    state = alone / ".local/state/deskhand"
    token = await asyncio.to_thread((state / "http-token").read_text)
    port = int(json.loads((await verb("status", "--json")).out)["http"].rpartition(":")[2])
    headers = {"Authorization": f"Bearer {token.strip()}"}
    reply = await ask(port, "POST", "/events?wait=10", {"type": "close", "symbol": "AAPL"}, headers)
    assert (reply.code, reply.body["deliveries"][0]["result"]) == (202, "done")
    assert b"deskhand_events_total" in (await ask(port, "GET", "/metrics", headers=headers)).raw
    assert (await ask(port, "GET", "/health/ready", headers={})).code == 200
    reply = await ask(port, "GET", f"/events/{reply.body['id']}", headers=headers)
    assert reply.body["origin"] == "http"
