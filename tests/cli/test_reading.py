"""`status`, `events`, `show`."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.client import Client
from daemon.cli.terminal import span
from daemon.errors import UnreachableError
from tests.cli.conftest import Run
from tests.http.stub import StubDesk, record

ROOT = Path(__file__).parents[2]
PAGE = """\
deskhand 0.1.0 · practice · up 2 h 13 min

Halt     none
Last     no event yet
Lanes    main: pressing for e-7, 2 waiting
Peers    hotkeys:main: down: Connection refused
MQTT     off
Journal  ok · 12 events · 0.0 MB
Events   12 accepted, 1 duplicate
"""


async def test_status(deskhand: Run) -> None:
    done = await deskhand("status")
    assert (done.code, done.out, done.err) == (0, PAGE, "")


async def test_status_halted(deskhand: Run, desk: StubDesk) -> None:
    desk.level, desk.reason = "entries", "news"
    assert "Halt     entries are stopped, exits fire: news\n" in (await deskhand("status")).out
    desk.level, desk.reason = "all", ""
    assert "Halt     everything is stopped\n" in (await deskhand("status")).out


async def test_a_status_with_less_in_it(deskhand: Run, desk: StubDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "status", lambda: {"mode": "live"})
    done = await deskhand("status")
    assert (done.code, done.out.partition("\n")[0]) == (0, "deskhand  · live")


async def test_status_json(deskhand: Run, desk: StubDesk) -> None:
    assert json.loads((await deskhand("status", "--json")).out) == desk.status()


def test_span() -> None:
    spans = [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (7980, "2 h 13 min"), (90061, "1 d 1 h")]
    assert [span(seconds) for seconds, _ in spans] == [text for _, text in spans]


async def test_events(deskhand: Run, desk: StubDesk) -> None:
    assert (await deskhand("events")).out == "no events\n"
    refused = record(2, status="refused", reason="too old", deliveries=[], type="entry")
    desk.records.records = [record(1), refused]
    first, second = (await deskhand("events")).out.splitlines()
    assert first.split()[2:] == ["tp1", "AAPL", "accepted", "?", "uncertain:", "no", "confirmation", "0.9", "ms", "e/1"]
    assert "refused" in second
    assert "too old" in second
    assert second.endswith("e/2")
    assert json.loads((await deskhand("events", "--json")).out) == desk.records.records


async def test_filters(deskhand: Run, desk: StubDesk) -> None:
    await deskhand("events", "--type", "sl", "--symbol", "aapl", "--limit", "7", "--since", "2026-11-20T10:00:00Z")
    assert desk.records.asked == {"since": 1795168800.0, "after": None, "type": "sl", "symbol": "AAPL", "limit": 7}
    for text, ago in (("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400)):
        await deskhand("events", "--since", text)
        assert abs(time.time() - ago - desk.records.asked["since"]) < 5
    await deskhand("events", "--since", "2026-11-20")
    assert desk.records.asked["since"] == time.mktime((2026, 11, 20, 0, 0, 0, 0, 0, -1))


@pytest.mark.parametrize("words", [["--since", "yesterday"], ["--since", "5w"], ["--type", "buy"], ["--limit", "x"]])
async def test_usage(deskhand: Run, words: list[str]) -> None:
    assert (await deskhand("events", *words)).code == 2


async def test_a_limit_the_daemon_refuses(deskhand: Run) -> None:
    done = await deskhand("events", "--limit", "5000")
    assert (done.code, done.err) == (1, "invalid: limit: must be a whole number from 1 to 1000\n")


@pytest.mark.usefixtures("alone", "server")
async def test_follow(command: list[str], socket_path: Path, desk: StubDesk) -> None:
    waiting = [{**record(2)["deliveries"][0], "result": None, "state": "planned"}]
    desk.records.records = [record(1)]
    process = await asyncio.create_subprocess_exec(
        *command, "events", "--follow", "--json", "--socket", str(socket_path), stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None

    async def line() -> object:
        assert process.stdout is not None
        return json.loads(await asyncio.wait_for(process.stdout.readline(), 10))

    assert await line() == record(1)
    desk.records.records.append(record(2, deliveries=waiting))
    assert await line() == record(2, deliveries=waiting)
    desk.records.records[1] = record(2)  # it has ended: told once more
    assert await line() == record(2)
    desk.records.records.append(record(3))
    assert await line() == record(3)
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, out, err) == (0, b"", b"")


@pytest.mark.usefixtures("alone", "server")
async def test_the_reader_of_a_pipe_goes_away(command: list[str], socket_path: Path, desk: StubDesk) -> None:
    desk.records.records = [record(number) for number in range(1000)]
    words = " ".join([*command, "events", "--limit", "1000", "--socket", str(socket_path)])
    process = await asyncio.create_subprocess_shell(
        f"{words} | head -1", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert out.count(b"\n") == 1
    assert err == b""


async def test_following_survives_a_restart(deskhand: Run, desk: StubDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0
    works = Client.get

    def get(client: Client, *words: str, **query: Any) -> Any:
        if turns == 1:
            raise UnreachableError("being restarted")
        return works(client, *words, **query)

    def sleep(_: float) -> None:
        nonlocal turns
        turns += 1
        desk.records.records = [record(1)]
        if turns == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Client, "get", get)
    monkeypatch.setattr(time, "sleep", sleep)
    done = await deskhand("events", "--follow")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("e/1") == 1


SHOWN = """\
tp1 AAPL · accepted

  id        e/1
  received  1970-01-01 00:16:40.000 over unix
  its time  1970-01-01 00:16:39.500, 500.0 ms old when received
  trade     :AAPL
  price     189.20

hotkeys main (practice)
  ? uncertain: no confirmation · first byte after 0.9 ms · ended 1970-01-01 00:16:40.200
  ✓ sell_ask
  ? cancel_all  sent, not confirmed
"""


async def test_show(deskhand: Run, desk: StubDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    desk.records.records = [record(1)]
    done = await deskhand("show", "e/1")
    assert (done.code, done.out) == (0, SHOWN)
    assert json.loads((await deskhand("show", "e/1", "--json")).out) == record(1)


async def test_show_nothing(deskhand: Run) -> None:
    done = await deskhand("show", "e/1")
    assert (done.code, done.out, done.err) == (1, "", "no event has the id e/1\n")


async def test_colours_only_for_eyes(deskhand: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" not in (await deskhand("status")).out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert "\x1b[31mdown\x1b[0m" in (await deskhand("status")).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in (await deskhand("status")).out
