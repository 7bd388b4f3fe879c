"""The client against a strict Command Center: what goes out, byte for byte, and what each answer comes to."""

import asyncio
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from loguru import logger
from pydantic import SecretStr

from daemon.clock import Clock
from daemon.egress import Guard
from daemon.errors import ConfigError
from handlers.polymaker.client import CommandCenter
from handlers.polymaker.models import BATCH_MOST, Metrics, Trade
from handlers.polymaker.replies import Ok, Rejected
from tests.fakes.center import KEY, Center
from tests.handlers.polymaker.support import (
    CALLS,
    FOREIGN,
    FULL,
    METRICS,
    Blocked,
    both,
    client,
    settings,
)
from tests.handlers.polymaker.wire import WIRE


def same(found: Any, wanted: Any) -> None:
    """Equal, and of the same types: a Decimal stands for a number with a point, an int for one without."""
    assert found == wanted
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            same(found[name], value)
    elif isinstance(wanted, list):
        for one, other in zip(found, wanted, strict=True):
            same(one, other)


@pytest.mark.parametrize("path", CALLS)
async def test_what_goes_out(path: str) -> None:
    async with both() as (center, found):
        assert isinstance(await CALLS[path](found), Ok)
        (call,) = center.calls
        method, body = WIRE[path]
        assert (call.method, call.path) == (method, path)
        assert not center.violations
        assert not center.refused_keys
        fields = dict(call.headers)
        assert len(fields) == len(call.headers)
        assert fields.pop("connection", "close") in ("close", "keep-alive")
        length = {"content-length": str(len(call.raw))} if body else {}
        assert (
            fields
            == length
            | {
                "host": f"127.0.0.1:{center.port}",
                "user-agent": "deskhand",
                "accept": "application/json",
                "accept-encoding": "identity",
                "content-type": "application/json",
                "x-api-key": KEY,
                "connection": fields.get("connection", ""),
            }
            or "connection" not in fields
        )
        if body is None:
            assert call.raw == b""
        else:
            same(json.loads(call.raw, parse_float=Decimal), body)
        assert b"".join(each.data for each in center.received).startswith(
            f"{method} /api/bot{path} HTTP/1.1\r\n".encode()
        )


def test_the_table_is_whole() -> None:
    assert list(WIRE) == list(CALLS)


async def test_what_is_not_known_is_left_out() -> None:
    async with both() as (center, found):
        await found.run_update(101, Metrics())
        await found.run_stop(101, "stopped", Metrics(total_pnl=None, win_count=2))
        await found.trade(
            Trade(run_id=101, cycle=0, asset="B", window_duration="5m", outcome="U", price=Decimal(1), size=Decimal(0))
        )
        assert [call.raw for call in center.calls] == [
            b'{"runId":101}',
            b'{"winCount":2,"runId":101,"status":"stopped"}',
            b'{"runId":101,"cycle":0,"asset":"B","windowDuration":"5m","side":"buy","outcome":"U","price":1,"size":0,"strategy":"MM"}',
        ]
        assert not center.violations


async def test_answers_that_are_asked_for() -> None:
    async with both() as (center, found):
        assert await CALLS["/run/start"](found) == Ok(102)
        assert await CALLS["/trade"](found) == Ok(5002)
        assert await CALLS["/trade/batch"](found) == Ok((5003, 5004))
        assert await CALLS["/run/stop"](found) == Ok(Decimal("72.5"))
        center.score = None
        assert await CALLS["/run/stop"](found) == Ok(None)
        for path in ("/status", "/trade/update", "/markets/report"):
            assert await CALLS[path](found) == Ok(None)
        center.script("/run/start", "nested")
        assert await CALLS["/run/start"](found) == Ok(103)
        assert center.opened == len(center.calls), "each on a connection of its own"


async def test_a_batch_has_its_limits() -> None:
    async with both() as (center, found):
        many = [FULL.model_copy(update={"cycle": number}) for number in range(BATCH_MOST + 1)]
        assert isinstance(await found.trade_batch(many), Rejected)
        assert isinstance(await found.trade_batch([]), Rejected)
        assert not center.calls
        reply = await found.trade_batch(many[:BATCH_MOST])
        assert isinstance(reply, Ok)
        assert reply.answer == tuple(range(5002, 5002 + BATCH_MOST))


async def test_what_is_wrong_with_a_call_is_a_value_too() -> None:
    async with both() as (center, found):
        assert await found.run_update(0, METRICS) == Rejected("run_id: must be greater than or equal to 1")
        assert isinstance(await found.run_stop(101, "done", METRICS), Rejected)  # type: ignore[arg-type]
        assert isinstance(await found.run_stop(101, "error", METRICS, "x" * 9000), Ok)
        assert len(center.calls) == 1
        assert len(center.calls[0].body["errorMessage"]) == 500


async def test_the_guard_stops_what_must_not_leave() -> None:
    blocked = Blocked()
    async with Center() as center, client(center, blocked) as found:
        bad = [
            FULL.model_copy(update={"outcome": f"see {FOREIGN}"}),
            FULL.model_copy(update={"token_id": FOREIGN}),
            FULL.model_copy(update={"strategy": KEY}),
            FULL.model_copy(update={"asset": "0x" + "ab" * 20}),
            FULL.model_copy(update={"outcome": "0x" + "ab" * 32}),
        ]
        for trade in bad:
            reply = await found.trade(trade)
            assert isinstance(reply, Rejected)
            assert reply.status == 0
            assert "was stopped before its first byte" in reply.reason
            assert KEY not in reply.reason
            assert FOREIGN not in reply.reason
        assert blocked == ["polymaker"] * len(bad)
        assert not center.opened


async def test_the_key_is_in_its_header_and_nowhere_else() -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, level="TRACE", format="{message} {exception} {extra}")
    try:
        async with both(timeout_s=1.0) as (center, found):
            seen = [repr(found), str(found), repr(vars(found).keys())]
            for name in ("ok", "unauthorized", "broken", "reset_after", "hang", "garbage"):
                center.habits["*"] = name
                at_once = 5 if name == "hang" else 1  # each takes the whole second
                calls = list(CALLS.values())
                for first in range(0, len(calls), at_once):
                    some = (call(found) for call in calls[first : first + at_once])
                    seen += map(repr, await asyncio.gather(*some))
            whole = b"".join(each.data for each in center.received)
            assert whole.count(KEY.encode()) == whole.count(b"X-Api-Key: " + KEY.encode()) == 6 * len(CALLS)
            assert all(KEY.encode() not in call.raw for call in center.calls)
    finally:
        logger.remove(sink)
    assert KEY not in "".join(lines + seen)


def test_settings_that_lead_nowhere() -> None:
    guard = Guard(Clock(), lambda _: None)
    for missing in ("api_key", "url"):
        with pytest.raises(ConfigError):
            CommandCenter(settings("http://127.0.0.1:1").model_copy(update={missing: None}), guard, Clock())
    broken = settings("http://127.0.0.1:1").model_copy(update={"api_key": SecretStr("line\nbreak-in-a-key")})
    with pytest.raises(ConfigError) as raised:
        CommandCenter(broken, guard, Clock())
    assert "break-in-a-key" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_only_who_has_a_center_pays_for_the_client() -> None:
    rooms = ("models", "replies", "config", "trades", "runs")
    code = f"import sys, daemon.graph, {', '.join(f'handlers.polymaker.{room}' for room in rooms)}\n"
    code += "sys.exit('httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
