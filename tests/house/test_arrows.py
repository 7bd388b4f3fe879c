"""The arrows of the house hold, an arrow that points up is found, and no room stands outside the contract."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.house.code import ROOMS, ROOT

LINTER = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LINTER, "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_arrows_hold(house: Path) -> None:
    result = lint(house)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("daemon/events.py", "daemon.settings"),
        ("daemon/dispatch/__init__.py", "daemon.intake"),
        ("daemon/clock.py", "daemon.journal"),
        ("handlers/hotkeys/presets.py", "daemon.app"),
        ("daemon/errors.py", "daemon.control"),
        ("daemon/sources/webhook.py", "daemon.control"),
    ],
)
def test_an_arrow_that_points_up_is_found(house: Path, low: str, high: str) -> None:
    file = house / low
    file.write_text(f"{file.read_text()}\nimport {high}\n")
    result = lint(house)
    importer = low.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert result.returncode == 1, result.stdout
    assert f"{importer} -> {high}" in result.stdout


def test_every_room_has_its_place() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    placed = {
        word.strip("()") for layer in contract["layers"] for word in layer.replace("|", " ").replace(":", " ").split()
    }
    rooms = {
        path.stem for path in (ROOT / "daemon").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert {f"daemon.{room}" for room in rooms - {"__init__"}} <= placed
