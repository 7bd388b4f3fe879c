"""What gets installed: the rooms with everything in them, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.house.code import ROOMS, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file).namelist()


def test_the_wheel_holds_every_file_of_the_rooms(wheel: list[str]) -> None:
    files = {path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file()}
    wanted = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    assert any(name.endswith(".sql") for name in wanted)
    assert wanted <= set(wheel)


def test_the_wheel_holds_nothing_else(wheel: list[str]) -> None:
    rest = [name for name in wheel if ".dist-info/" not in name]
    assert {Path(name).parts[0] for name in rest if ".data/" not in name} == set(ROOMS)
    shared = {name.partition(".data/data/share/deskhand/")[2] for name in rest if ".data/" in name}
    units = {f"systemd/{path.name}" for path in (ROOT / "systemd").iterdir()}
    assert shared == {"requirements.lock", *units}, "what `deskhand service install` needs without a clone"


def test_the_command_is_deskhand(wheel: list[str]) -> None:
    assert any(name.endswith("entry_points.txt") for name in wheel)
    assert 'deskhand = "daemon.__main__:main"' in (ROOT / "pyproject.toml").read_text()
