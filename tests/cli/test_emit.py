"""`deskhand emit`."""

import asyncio
import io
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from daemon.ports import Outcome, Receipt, Result, Status
from tests.cli.conftest import Run
from tests.http.stub import StubDesk, record


def sent(desk: StubDesk) -> dict[str, Any]:
    raw, origin = desk.intake.seen[-1]
    assert origin == "unix"
    found: dict[str, Any] = json.loads(raw)
    return found


async def test_an_event_of_its_own_every_time(deskhand: Run, desk: StubDesk) -> None:
    ids = set()
    for _ in range(2):
        done = await deskhand("emit", "entry", "aapl")
        event = sent(desk)
        assert (done.code, done.out, done.err) == (0, f"accepted {event['id']}\n", "")
        assert abs(event["ts"] - time.time()) < 5
        assert {**event, "ts": 0, "id": ""} == {"type": "entry", "symbol": "aapl", "ts": 0, "id": ""}
        ids.add(uuid.UUID(event["id"]))
    assert len(ids) == 2


async def test_all_fields(deskhand: Run, desk: StubDesk) -> None:
    done = await deskhand(
        "emit", "tp1", "BRK.B", "--side", "short", "--price", "189.20", "--quantity", "100", "--trade-id", "t-1",
        "--account", "a", "--strategy", "s", "--ts", "2026-11-20T10:00:00Z", "--id", "mine", "--tp1", "190", "--tp2",
        "191", "--stop", "188",
    )  # fmt: skip
    assert (done.code, done.out) == (0, "accepted mine\n")
    assert sent(desk) == {
        "type": "tp1", "symbol": "BRK.B", "side": "short", "price": "189.20", "quantity": "100", "trade_id": "t-1",
        "account": "a", "strategy": "s", "ts": "2026-11-20T10:00:00Z", "id": "mine",
        "targets": {"tp1": "190", "tp2": "191", "stop": "188"},
    }  # fmt: skip


async def test_wait(deskhand: Run) -> None:
    done = await deskhand("emit", "entry", "aapl", "--price", "189.20", "--wait")
    assert (done.code, done.out) == (
        0,
        "entry AAPL · practice · main: buy_ask ✓ done · first byte after 0.9 ms\n",
    )


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (Outcome(Result.SIMULATED), 0, "✓ simulated"),
        (Outcome(Result.FAILED, "Connection refused"), 1, "✗ failed: Connection refused"),
        (Outcome(Result.UNCERTAIN, "no confirmation"), 1, "? uncertain: no confirmation"),
        (Outcome(Result.SUPERSEDED, "an sl came"), 1, "↷ superseded: an sl came"),
        (None, 1, "… waiting"),
    ],
)
async def test_wait_for_other_ends(deskhand: Run, desk: StubDesk, end: Outcome | None, code: int, says: str) -> None:
    desk.intake.ends = end
    done = await deskhand("emit", "sl", "AAPL", "--wait", "0.1")
    assert done.code == code
    assert says in done.out


async def test_wait_for_nothing(deskhand: Run, desk: StubDesk) -> None:
    desk.intake.receipt = Receipt(Status.ACCEPTED, "x")
    done = await deskhand("emit", "sl", "AAPL", "--wait")
    assert (done.code, done.out) == (0, "sl AAPL · no route presses a key for it\n")


async def test_duplicate(deskhand: Run, desk: StubDesk) -> None:
    await deskhand("emit", "tp1", "AAPL", "--id", "e/1")
    done = await deskhand("emit", "tp1", "AAPL", "--id", "e/1")
    assert (done.code, done.out) == (0, "duplicate e/1\n")
    desk.records.records = [record(1)]
    done = await deskhand("emit", "tp1", "AAPL", "--id", "e/1", "--wait")
    assert done.code == 1  # as the first one ended
    assert "tp1 AAPL · duplicate · practice · main: sell_ask cancel_all ? uncertain" in done.out


@pytest.mark.parametrize(
    ("receipt", "says"),
    [
        (Receipt(Status.REFUSED, "x", "halted: news"), "refused: halted: news"),
        (Receipt(Status.INVALID, field="price", reason="must be positive"), "invalid: price: must be positive"),
        (Receipt(Status.UNAVAILABLE, reason="disk full"), "unavailable: disk full"),
    ],
)
@pytest.mark.parametrize("wait", [[], ["--wait"]])
async def test_refused(deskhand: Run, desk: StubDesk, receipt: Receipt, says: str, wait: list[str]) -> None:
    desk.intake.receipt = receipt
    done = await deskhand("emit", "entry", "AAPL", *wait)
    assert (done.code, done.out, done.err) == (1, "", f"{says}\n")


async def test_print_json(deskhand: Run, desk: StubDesk) -> None:
    done = await deskhand("emit", "entry", "AAPL", "--id", "x", "--wait", "--print-json")
    assert json.loads(done.out)["deliveries"][0]["result"] == "done"
    desk.intake.receipt = Receipt(Status.REFUSED, "x", "halted")
    done = await deskhand("emit", "entry", "AAPL", "--print-json")
    assert (done.code, json.loads(done.out)) == (1, {"id": "x", "status": "refused", "reason": "halted"})


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "sl", "symbol": "A", "price": 189.200000000000000001}',
        ' \n {"type": "sl", "symbol": "A", "id": "own"}',
        '{"id": "own", "ts": 1, "type": "sl"}',
        "{}",
    ],
)
async def test_a_file_is_sent_as_it_is(deskhand: Run, desk: StubDesk, tmp_path: Path, text: str) -> None:
    path = tmp_path / "event.json"
    path.write_text(text)
    await deskhand("emit", "--json", str(path))
    raw = desk.intake.seen[-1][0]
    assert isinstance(raw, bytes)
    assert raw.decode().endswith(text.partition("{")[2])
    assert {"id", "ts"} <= set(sent(desk))
    assert {**sent(desk), **json.loads(text)} == sent(desk)


@pytest.mark.parametrize(
    "text", ["[1]", "nonsense", "", '"entry"', "\udcff", '{"type":"sl","type":"entry","symbol":"A"}']
)
async def test_a_file_that_is_wrong(deskhand: Run, tmp_path: Path, text: str) -> None:
    path = tmp_path / "event.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    done = await deskhand("emit", "--json", str(path))
    assert done.code == 1
    assert done.err.startswith("invalid: ")


async def test_stdin(deskhand: Run, desk: StubDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"type":"sl","symbol":"A","id":"own"}')))
    assert (await deskhand("emit", "--json", "-")).out == "accepted own\n"
    assert sent(desk)["id"] == "own"


@pytest.mark.parametrize(
    "words",
    [
        [], ["entry"], ["buy", "AAPL"], ["entry", "AAPL", "--wait", "0"], ["entry", "AAPL", "--wait", "61"],
        ["entry", "AAPL", "--wait", "soon"], ["entry", "AAPL", "--wait", "nan"], ["entry", "AAPL", "--json", "-"],
        ["--json", "/no/such/file"], ["entry", "AAPL", "--side", "up"], ["entry", "AAPL", "--pric", "5"],
    ],
)  # fmt: skip
async def test_usage(deskhand: Run, desk: StubDesk, words: list[str]) -> None:
    done = await deskhand("emit", *words)
    assert done.code == 2
    assert done.err.startswith("usage: deskhand ")
    assert not desk.intake.seen


async def test_wait_takes_its_time(deskhand: Run, desk: StubDesk) -> None:
    desk.intake.ends = None
    waiting = asyncio.create_task(deskhand("emit", "entry", "AAPL", "--wait"))
    async with asyncio.timeout(5):
        while not desk.intake.waiting:
            desk.intake.changed.clear()
            await desk.intake.changed.wait()
    desk.intake.settle(Outcome(Result.DONE))
    assert (await waiting).code == 0
