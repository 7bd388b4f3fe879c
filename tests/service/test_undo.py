"""An update that does not come up gives way to what ran before, and no two installations run at once."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from daemon.errors import DeskhandError
from daemon.service import Places, alone
from tests.service.support import Box, Recorded, payload


class Refusing(Recorded):
    """A systemd on which what is in these environments does not come up."""

    def __init__(self, box: Box) -> None:
        super().__init__()
        self._places: Places = box.places
        self.broken: set[str] = set()

    def ask(self, words: Sequence[str], *, timeout_s: float = 30, cwd: Path | None = None) -> tuple[int, str]:
        if "restart" in words and self._places.current.readlink().name in self.broken:
            self.calls.append("a restart that fails")
            self.active = False
            return 1, "Job failed."
        if words[0] == "journalctl":
            return 0, "ImportError: a library is missing\n"
        return super().ask(words, timeout_s=timeout_s, cwd=cwd)


@pytest.fixture
def updated(box: Box, tmp_path: Path) -> Box:
    """A box on which two versions ran, the second runs now, and the third will not."""
    box.run = Refusing(box)
    for digest in "ab":
        box.payload = payload(tmp_path, "0.1.0", digest * 64)
        box.install()
    box.places.unit.write_text("# the unit of that version\n")
    box.payload = payload(tmp_path, "0.1.0", "c" * 64)
    box.run.broken |= {box.places.current.readlink().name.replace("b" * 8, "c" * 8)}
    return box


def test_what_ran_before_runs_again(updated: Box, tmp_path: Path) -> None:
    places, run = updated.places, updated.run
    live = tmp_path / "live.yaml"
    live.write_text("mode: live\nhotkeys: {targets: {main: 'ws://127.0.0.1:8765'}}\n")
    kept = (places.unit, places.units / "deskhand.socket", places.config / "deskhand.yaml")
    before = [(path.read_bytes(), path.stat().st_mode) for path in kept]
    links = [path.readlink() for path in (places.current, places.previous)]
    with pytest.raises(DeskhandError) as caught:
        updated.install(live=live)
    told = str(caught.value)
    assert "ImportError: a library is missing" in told
    assert "What ran before was put back and runs again" in told
    assert "What was done until here stays" not in told
    assert [(path.read_bytes(), path.stat().st_mode) for path in kept] == before
    assert [path.readlink() for path in (places.current, places.previous)] == links
    assert run.active
    assert run.calls[-3:] == [
        "a restart that fails", "systemctl daemon-reload", "systemctl restart deskhand.service",
    ]  # fmt: skip
    assert not places.pending.exists()


def test_one_that_comes_up_neither_is_told_as_that(updated: Box) -> None:
    updated.run.broken.add(updated.places.current.readlink().name)  # type: ignore[attr-defined]
    with pytest.raises(DeskhandError, match="was put back, and does not come up either"):
        updated.install()


def test_without_anything_that_ran_there_is_no_way_back(updated: Box) -> None:
    updated.run.active = False
    with pytest.raises(DeskhandError, match="What was done until here stays") as caught:
        updated.install()
    assert "put back" not in str(caught.value)
    assert updated.places.current.readlink().name in updated.run.broken  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", ["install", "uninstall"])
def test_two_at_once_do_not_get_into_each_others_way(tmp_path: Path, what: str) -> None:
    def ask() -> str:
        words = [sys.executable, "-m", "daemon", "service", what, "--user"]
        environ = os.environ | {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        environ.pop("SUDO_UID", None)
        done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode
        return done.stderr

    (tmp_path / "deskhand.yaml").write_text("mode: nonsense\n")
    share = tmp_path / ".local/share"
    with alone(share):
        assert "at this moment" in ask()
    assert "at this moment" not in ask()
    assert list(share.iterdir()) == []
