"""The command line as a whole: verbs, exit codes, and what it loads."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from daemon import cli
from daemon.errors import ConfigError, DeskhandError, UnreachableError

ROOT = Path(__file__).parents[2]


def test_help_names_every_verb_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == cli.OK
    shown = capsys.readouterr().out
    for verb, line in cli.VERBS.items():
        assert f"\n    {verb}" in shown
        assert line in " ".join(shown.split())


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_verb_is_there_and_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--help"]) == cli.OK
    assert verb in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["nothing"], ["check", "--nothing"], ["--nothing"], ["che"]])
def test_what_is_not_understood_is_usage(words: list[str]) -> None:
    assert cli.main(words) == cli.USAGE


@pytest.mark.parametrize(
    "words",
    [
        ["vault", "init", "--passphrase=@"],
        ["vault", "rekey", "--passphrase", "@"],
        ["vault", "set", "hb", "--value=@"],
        ["vault", "--value", "@", "set", "hb"],
        ["hummingbot", "--api-key", "@", "credential", "add", "a", "b"],
        ["--token", "@", "status"],
        ["practice", "--port", "@"],
        ["token", "add", "x", "--role", "@'\n\"@"],
    ],
)
def test_what_was_typed_by_mistake_is_not_said_back(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    secret = "a pass phrase of mine"
    assert cli.main([word.replace("@", secret) for word in words]) == cli.USAGE
    told = capsys.readouterr()
    assert secret not in told.out + told.err
    assert told.err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == cli.OK
    assert capsys.readouterr().out.startswith("deskhand ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("deskhand.yaml:1: x: y", "second"), 78),
        (UnreachableError("no daemon"), 69),
        (DeskhandError("failed"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_becomes_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "import_module", lambda _: SimpleNamespace(add=lambda _: None, run=run))
    assert cli.main(["check"]) == code
    assert capsys.readouterr().err == (f"{error}\n" if str(error) else "")


def test_a_reader_that_goes_away_is_no_crash() -> None:
    command = f"{sys.executable} -m daemon schema config | head -c 1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    assert result.stderr == ""


def test_the_other_verbs_are_not_loaded() -> None:
    code = (
        "import sys; from daemon.cli import main; main(['schema', 'event'])\n"
        "late = {'daemon.cli.run', 'daemon.settings', 'uvicorn', 'websockets', 'loguru'} & set(sys.modules)\n"
        "print(late, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=30, check=True
    )
    assert result.stderr == "set()\n"
