"""`deskhand token`: made once, listed without itself, and noticed by a daemon that runs."""

import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest

from daemon.http import tokens
from tests.acceptance.desk import Desk, until
from tests.cli.conftest import Run

FOLDER = ".local/state/deskhand"
TOKEN = re.compile(r"dh_[A-Za-z0-9_-]{43}")


async def test_add_shows_it_and_nothing_else(verb: Run, alone: Path) -> None:
    done = await verb("token", "add", "scanner", "--role", "ingest")
    assert (done.code, done.err) == (0, "")
    assert TOKEN.fullmatch(done.out.strip())
    (known,) = tokens.read(alone / FOLDER).all
    assert (known.name, known.role, known.expires, known.rate) == ("scanner", "ingest", None, None)


async def test_list_and_rm(verb: Run) -> None:
    assert (await verb("token", "list")).out.startswith("no tokens in ")
    made = await verb("token", "add", "dash", "--role", "read", "--expires", "90d", "--rate", "5/s", "--json")
    told = json.loads(made.out)
    assert TOKEN.fullmatch(told["token"])
    assert told["expires"] == pytest.approx(time.time() + 90 * 86400, abs=60)
    shown = await verb("token", "list")
    assert told["token"] not in shown.out
    assert shown.out.splitlines()[0].split() == [
        "NAME",
        "ROLE",
        "RATE",
        "CREATED",
        "EXPIRES",
        "LAST",
        "USED",
        "FINGERPRINT",
    ]
    assert re.search(r"^dash +read +5/s .* in 89 d 23 h ", shown.out, re.MULTILINE)
    (row,) = json.loads((await verb("token", "list", "--json")).out)
    assert {key: row[key] for key in ("name", "role", "rate", "expired", "used")} == {
        "name": "dash", "role": "read", "rate": 5.0, "expired": False, "used": None,
    }  # fmt: skip
    assert re.fullmatch(r"[0-9a-f]{4}", row["fingerprint"])
    assert (await verb("token", "rm", "dash")).out == "dash is gone; a daemon that runs refuses it from now on\n"
    again = await verb("token", "rm", "dash")
    assert (again.code, again.err) == (1, "there is no token called dash\n")


@pytest.mark.parametrize(
    "words",
    [
        ("add", "a"), ("add", "a b", "--role", "read"), ("add", "", "--role", "read"), ("add", "a", "--role", "all"),
        ("add", "a", "--role", "read", "--expires", "yesterday"), ("add", "a", "--role", "read", "--expires", "0d"),
        ("add", "a", "--role", "read", "--expires", "2020-01-01"), ("add", "a", "--role", "read", "--rate", "0/s"),
        ("add", "a", "--role", "read", "--rate", "5/m"), ("add", "a", "--role", "read", "--rate", "-1"), (), ("show",),
    ],
)  # fmt: skip
async def test_usage(verb: Run, alone: Path, words: tuple[str, ...]) -> None:
    assert (await verb("token", *words)).code == 2
    assert not (alone / FOLDER).exists()


@pytest.mark.parametrize(("text", "when"), [("2099-01-31", 4073500800.0), ("2099-01-31T01:00+01:00", 4073500800.0)])
async def test_a_date(verb: Run, text: str, when: float) -> None:
    made = await verb("token", "add", "a", "--role", "control", "--expires", text, "--json")
    assert json.loads(made.out)["expires"] == when


async def test_a_name_that_is_taken(verb: Run) -> None:
    for name, code in (("a", 0), ("a", 1), ("http-token", 1)):
        assert (await verb("token", "add", name, "--role", "read")).code == code


async def test_a_damaged_file_is_a_configuration_error(verb: Run, alone: Path) -> None:
    await verb("token", "add", "a", "--role", "read")
    (alone / FOLDER / tokens.FILE).write_text("{")
    for words in (("list",), ("add", "b", "--role", "read"), ("rm", "a")):
        done = await verb("token", *words)
        assert done.code == 78
        assert "is damaged" in done.err


def test_the_hint_is_for_a_terminal_only(alone: Path, command: list[str]) -> None:
    ours, theirs = pty.openpty()
    words = [*command, "token", "add", "a", "--role", "read"]
    environ = {"HOME": str(alone), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(words, stdout=theirs, stderr=subprocess.PIPE, env=environ, timeout=30, check=True)
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert TOKEN.fullmatch(shown.strip())
    assert b"the only time it is shown" in done.stderr
    assert b"dh_" not in done.stderr


def test_a_daemon_that_runs_notices(tmp_path: Path, command: list[str]) -> None:
    with Desk(tmp_path, {}, mode="practice", hotkeys={"targets": {"main": "practice"}}) as desk:

        def token(*words: str) -> str:
            environ = {
                "HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(desk.socket_path.parents[1]),
            }  # fmt: skip
            full = [*command, "token", *words, "--config", str(desk.file)]
            done = subprocess.run(full, capture_output=True, text=True, env=environ, timeout=30, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        made = token("add", "a", "--role", "ingest")
        code, answer = desk.over_tcp("POST", "/events", desk.make("entry"), made)
        assert (code, answer["status"]) == (202, "accepted")
        assert desk.over_tcp("GET", "/status", token=made)[0] == 403
        assert " ago" in token("list")
        (row,) = json.loads(token("list", "--json"))
        assert row["used"] == pytest.approx(time.time(), abs=30)
        token("rm", "a")
        until(lambda: desk.over_tcp("POST", "/events", desk.make("entry"), made)[0] == 401, 5.0, "it still works")
        assert desk.over_tcp("GET", "/status")[0] == 200  # the one of the first start
        log = (tmp_path / "daemon.log").read_text()
        assert made not in log
