"""How the service is, for readers and for programs; and the verb itself as a spawned process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import cli
from daemon.service import lines, status
from tests.service.support import ME, Box


def test_before_anything_is_installed(box: Box) -> None:
    found = status(box.places, box.run)
    assert not found["installed"]
    assert not found["active"]
    (line,) = lines(found)
    assert "deskhand service install" in line


def test_a_running_service(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.install()
    facts = {
        "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "MainPID": "4711",
        "ActiveEnterTimestamp": "Fri 2026-11-20 22:15:00 UTC", "NRestarts": "2", "Result": "success",
        "WatchdogUSec": "30s", "StatusText": "live · 3 peers up", "DropInPaths": "", "NeedDaemonReload": "no",
    }  # fmt: skip
    monkeypatch.setattr(box.run, "_show", lambda: "\n".join(f"{name}={value}" for name, value in facts.items()))
    found = status(box.places, box.run)
    assert json.loads(json.dumps(found)) == found
    assert found["main_pid"] == 4711
    assert found["restarts"] == 2
    assert found["watchdog"] == "30s"
    assert found["version"] == "0.1.0"
    assert found["environment"] == box.places.current.readlink().name
    page = "\n".join(lines(found))
    for word in ("active/running", "live · 3 peers up", "4711", "30s", "journalctl -u deskhand"):
        assert word in page


def test_what_waits_for_a_restart_is_told(box: Box) -> None:
    box.install()
    box.places.pending.touch()
    assert any("changes wait for a restart" in line for line in lines(status(box.places, box.run)))


def test_a_user_sees_whether_it_outlives_the_login(own: Box) -> None:
    own.install()
    assert any("loginctl enable-linger" in line for line in lines(status(own.places, own.run)))
    assert own.places.linger
    own.places.linger.touch()
    assert status(own.places, own.run)["linger"] is True


def spawned(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {"HOME": str(folder), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(folder / "run")}
    command = [sys.executable, "-m", "daemon", "service", *words]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=50, check=False)


def test_the_verb_from_a_clone_without_changing_anything(tmp_path: Path) -> None:
    """The real payload and a real Python."""
    done = spawned(tmp_path, "install", "--user", "--dry-run")
    assert done.returncode == cli.OK, done.stderr
    assert f"would       write {tmp_path}/.config/systemd/user/deskhand.service" in done.stdout
    assert "already so  let the services" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_without_systemd_the_verb_says_so(tmp_path: Path) -> None:
    done = spawned(tmp_path, "uninstall", "--user")
    assert done.returncode == cli.FAILED
    assert "nothing was changed" in done.stderr
    done = spawned(tmp_path, "status", "--user", "--json")
    assert done.returncode == cli.FAILED
    assert json.loads(done.stdout)["installed"] is False


def test_without_root_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["service", "install"]) == cli.FAILED
    assert "run it with sudo, or give --user" in capsys.readouterr().err


@pytest.mark.skipif(ME.pw_uid != 0, reason="sudo makes it root")
def test_a_users_own_service_is_not_for_sudo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUDO_UID", "1000")
    assert cli.main(["service", "install", "--user"]) == cli.FAILED
    assert "without sudo" in capsys.readouterr().err
