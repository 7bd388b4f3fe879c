"""`deskhand check`, and how every verb tells a configuration that cannot be used."""

import json
from pathlib import Path

import pytest

from daemon import cli


def test_good_defaults(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check"]) == cli.OK
    assert capsys.readouterr().out == "no configuration file, the defaults: good, mode practice\n"
    assert not list(alone.iterdir()), "check writes nothing"


def test_a_good_file_is_named(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (alone / "deskhand.yaml").write_text("mode: live\nhotkeys: {targets: {main: 'ws://host:8765'}}\n")
    assert cli.main(["check", "--json"]) == cli.OK
    found = json.loads(capsys.readouterr().out)
    assert found == {"ok": True, "file": str(alone / "deskhand.yaml"), "mode": "live", "problems": []}


def test_every_problem_is_a_line_on_stderr_and_78(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = alone / "bad.yaml"
    path.write_text("http: {port: x}\nmqtt: {prt: 1}\n")
    assert cli.main(["check", "--config", str(path), "--set", "hotkeys.gap_ms=-1"]) == cli.CONFIG
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        f"{path}:1: http.port: must be a whole number from 0 to 65535",
        f"{path}:2: mqtt.prt: is not a known key; did you mean port?",
        "--set hotkeys.gap_ms: must be a whole number from 0 to 10000 milliseconds",
    ]
    assert cli.main(["check", "--json", "--config", str(path)]) == cli.CONFIG
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_run_does_not_start_with_a_bad_configuration(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--set", "mode=live"]) == cli.CONFIG
    assert "hotkeys.targets.main: live mode needs" in capsys.readouterr().err
    assert not list(alone.iterdir())


def test_the_env_file_option(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = alone / "x.env"
    path.write_text("DESKHAND_HTTP__PORT=x\n")
    path.chmod(0o600)
    assert cli.main(["check", "--env-file", str(path)]) == cli.CONFIG
    assert capsys.readouterr().err.startswith(f"{path}:1: DESKHAND_HTTP__PORT: ")
