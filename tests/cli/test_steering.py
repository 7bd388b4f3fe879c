"""`halt`, `resume`, `book`, `practice`, `run`."""

import json

import pytest

from daemon.cli import practice
from tests.cli.conftest import Run
from tests.http.stub import StubDesk


async def test_halt_and_resume(deskhand: Run, desk: StubDesk) -> None:
    done = await deskhand("halt")
    assert (done.code, desk.level, desk.reason) == (0, "entries", "")
    assert done.out == "halted: entries are stopped, exits still fire; `deskhand resume` ends it\n"
    done = await deskhand("halt", "all", "--reason", "news at 14:30")
    assert (done.code, desk.level, desk.reason) == (0, "all", "news at 14:30")
    assert done.out == "halted: nothing fires, exits neither; `deskhand resume` ends it\n"
    done = await deskhand("resume")
    assert (done.code, desk.level, done.out) == (0, "none", "resumed: everything fires again\n")


async def test_halt_json(deskhand: Run) -> None:
    assert json.loads((await deskhand("halt", "--json")).out)["level"] == "entries"
    assert json.loads((await deskhand("resume", "--json")).out)["level"] == "none"


async def test_halt_refused(deskhand: Run, desk: StubDesk) -> None:
    done = await deskhand("halt", "--reason", "x" * 300)
    assert (done.code, done.err) == (1, "invalid: reason: must be at most 200 printable characters\n")
    assert desk.level == "none"
    assert (await deskhand("halt", "everything")).code == 2


async def test_book(deskhand: Run, desk: StubDesk) -> None:
    assert (await deskhand("book", "show")).out == "nothing is open\n"
    done = await deskhand("book", "set", "aapl", "open")
    assert done.code == 0
    assert [line.split() for line in done.out.splitlines()] == [
        ["TARGET", "SYMBOL", "STATE", "ENTRY", "TP1", "TP2", "TRADE"],
        ["main", "AAPL", "open", "done", ":AAPL"],
    ]
    assert json.loads((await deskhand("book", "show", "--json")).out) == desk.rows
    done = await deskhand("book", "set", "AAPL", "flat", "--target", "other")
    assert (done.code, done.err) == (1, "invalid: target: is not one of hotkeys.targets\n")
    assert (await deskhand("book", "clear")).out == "nothing is open\n"
    assert desk.rows == []


@pytest.mark.parametrize("words", [[], ["drop"], ["set", "AAPL"], ["set", "AAPL", "shut"]])
async def test_book_usage(verb: Run, words: list[str]) -> None:
    assert (await verb("book", *words)).code == 2


async def test_run_with_a_mistake(verb: Run) -> None:
    done = await verb("run", "--set", "mode=practise")
    assert done.code == 78
    assert "mode" in done.err


async def test_practice_ends_with_ctrl_c(verb: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = []

    async def serve(port: int) -> None:
        ports.append(port)
        raise KeyboardInterrupt

    monkeypatch.setattr(practice, "_serve", serve)
    assert (await verb("practice", "--port", "0")).code == 0
    assert ports == [0]
