"""What gets installed is the same from a clone and from an installation without one; and the runner's own promises."""

import os
import subprocess
import sys
import time
from importlib.metadata import Distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

from daemon.errors import DeskhandError
from daemon.service import Runner
from daemon.service import payload as room
from tests.acceptance.desk import until
from tests.house.code import ROOT


def test_an_installation_passes_itself_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Runner(os.environ)
    first = room.gather(tmp_path, run)
    assert first.version == "0.1.0"
    env = tmp_path / "env"  # its own pip: another environment's would touch what is installed there
    subprocess.run([sys.executable, "-m", "venv", str(env)], check=True, timeout=50)
    pip = [str(env / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, str(first.wheel)], check=True, timeout=50)

    (info,) = env.rglob("deskhand-*.dist-info")
    monkeypatch.setattr(room, "tree", lambda: None)
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Distribution.at(info))
    (tmp_path / "again").mkdir()
    again = room.gather(tmp_path / "again", run)
    assert again.digest == first.digest
    assert again.lock.read_bytes() == (ROOT / "requirements.lock").read_bytes()
    assert again.unit("deskhand.service") == first.unit("deskhand.service")
    with ZipFile(again.wheel) as copy, ZipFile(first.wheel) as wheel:
        assert sorted(copy.namelist()) == sorted(wheel.namelist())
    (env / "bin/deskhand").unlink()
    subprocess.run([*pip, "--force-reinstall", str(again.wheel)], check=True, timeout=50)
    assert (env / "bin/deskhand").exists()
    assert (env / "share/deskhand/systemd/deskhand.socket").exists()


def test_an_installation_that_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "deskhand-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: deskhand\nVersion: 0.1.0\n")
    (info / "RECORD").write_text("daemon/__init__.py,,\n")
    with pytest.raises(DeskhandError, match=r"not whole: daemon/__init__\.py"):
        room.packed(Distribution.at(info), tmp_path)
    monkeypatch.setattr(room, "tree", lambda: None)
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Distribution.at(info))
    with pytest.raises(DeskhandError, match="share/deskhand"):
        room.gather(tmp_path, Runner({}))


def test_a_program_gets_only_what_it_needs_of_the_environment() -> None:
    run = Runner({
        "PATH": os.environ["PATH"], "HOME": "/root", "PIP_INDEX_URL": "x", "https_proxy": "p", "PIP_TARGET": "/tmp",
        "DESKHAND_HTTP_TOKEN": "a-secret", "POLYMAKER_API_KEY": "a-secret", "PYTHONPATH": "/evil", "LANG": "C",
    })  # fmt: skip
    said = run.run([sys.executable, "-c", "import os; print(sorted(os.environ))"])
    names = set(said.strip("[]\n").replace("'", "").split(", ")) - {"LC_CTYPE"}
    assert names == {"PATH", "HOME", "PIP_INDEX_URL", "https_proxy", "LANG", "XDG_RUNTIME_DIR"}


def test_a_program_that_hangs_is_ended_with_all_it_started() -> None:
    start = time.monotonic()
    with pytest.raises(DeskhandError, match=r"took longer than 0\.5 s"):
        Runner(os.environ).run(["sh", "-c", "sleep 1234.5 & wait"], timeout_s=0.5)
    assert time.monotonic() - start < 10
    until(lambda: not any(b"1234.5" in _bytes(path) for path in Path("/proc").glob("[0-9]*/cmdline")), 5, "it lives on")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_program_that_is_missing_or_fails() -> None:
    run = Runner(os.environ)
    assert run.ask(["no-such-program"]) == (127, "no-such-program is not installed")
    with pytest.raises(DeskhandError, match=r"failed \(3\)\n    what happened"):
        run.run(["sh", "-c", "echo what happened >&2; exit 3"])
