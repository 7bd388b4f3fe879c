"""Clock, name clash, service unit, and what happens when a check itself breaks."""

import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.doctor import clocks, desk, package
from daemon.doctor.clocks import offset
from daemon.doctor.unit import judged
from tests.doctor.support import Patient

GOOD: dict[str, Any] = {
    "scope": "system", "installed": True, "systemd": True, "enabled": True, "active": True, "state": "active/running",
    "result": "success", "watchdog": "30s", "exposure": 1.0, "linger": None, "drop_ins": [],
    "needs_daemon_reload": False, "pending": False,
    "unit": "/etc/systemd/system/deskhand.service", "log": "journalctl -u deskhand",
}  # fmt: skip


def distribution(folder: Path, name: str, files: str) -> None:
    info = folder / f"{name.replace('-', '_')}-3.1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.1.2\n")
    (info / "RECORD").write_text(files)


def test_the_name_is_ours_alone() -> None:
    assert package.look().state == "ok"


def test_python_daemon_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "python-daemon", "daemon/__init__.py,,\ndaemon/daemon.py,,\n")
    distribution(tmp_path, "innocent", "innocent/daemon/__init__.py,,\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    found = package.look()
    assert found.state == "fail"
    assert found.text == "python-daemon installs a package `daemon` too: one hides the other"
    assert found.remedy == f"{sys.executable} -m pip uninstall python-daemon, then install deskhand again"


@pytest.mark.parametrize(("bits", "state"), [(0x0040 | 0x2000, "warn"), (0x2001, "ok"), (None, "ok")])
def test_time_sync(bits: int | None, state: str) -> None:
    found = next(iter(clocks.look(0.0, {}, bits=bits)))
    assert (found.name, found.state) == ("time sync", state)


def test_the_kernel_can_be_asked() -> None:
    found = clocks.status()
    assert found is None or 0 <= found < 0x10000


def test_an_unknown_time_zone() -> None:
    if not Path("/usr/share/zoneinfo").is_dir():
        pytest.skip("no time zones are installed here")
    _, found = clocks.look(0.0, {"TZ": "Europe/Atlantis"}, bits=0)
    assert (found.state, found.remedy) == ("warn", "unset TZ")


@pytest.mark.parametrize(
    ("sent", "received", "ahead"),
    [(1000.4, 1000.6, 0.0), (1010.4, 1010.6, 9.9), (990.4, 990.6, -9.9), (1000.0, 1008.0, 0.0), (None, None, None)],
)
def test_an_offset_is_no_larger_than_is_sure(sent: float | None, received: float | None, ahead: float | None) -> None:
    if sent is None or received is None:
        assert offset("once upon a time", 0, 0) is None
        return
    found = offset("Thu, 01 Jan 1970 00:16:40 GMT", sent, received)
    assert found == pytest.approx(ahead)


@pytest.mark.parametrize(
    ("change", "state", "text"),
    [
        ({}, "ok", "system service, active/running"),
        ({"installed": False}, "ok", "not installed"),
        ({"systemd": False}, "warn", "systemd does not answer"),
        (
            {"active": False, "state": "failed/failed", "result": "exit-code"},
            "fail",
            "not up: failed/failed, exit-code",
        ),
        ({"enabled": False}, "warn", "does not start at boot"),
        ({"linger": False}, "warn", "ends when you log out"),
        ({"watchdog": None}, "warn", "no watchdog"),
        ({"exposure": 4.3, "drop_ins": ["/etc/x.conf"]}, "warn", "exposure 4.3 of 10"),
        ({"pending": True}, "warn", "changes wait for a restart"),
    ],
)
def test_the_unit(change: dict[str, Any], state: str, text: str) -> None:
    found = list(judged(GOOD | change))
    assert found[-1].state == state
    assert text in found[-1].text
    assert state == "ok" or found[-1].remedy


def test_no_unit() -> None:
    (found,) = judged(None)
    assert found.state == "ok"


async def test_a_check_that_breaks_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(desk, "running", broken)
    checks = await Patient(tmp_path).examine()
    (found,) = [check for check in checks if check.state == "fail"]
    assert (found.name, found.text) == ("daemon", "could not be looked at: ZeroDivisionError")
    assert checks[-1].name == "polymaker"


async def test_configuration_errors_are_a_line_each_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    patient = Patient(tmp_path, mqtt={"prt": 1}, hotkeys={"gap_ms": -1})
    checks = await patient.examine()
    fails = [check.text for check in checks if check.state == "fail"]
    assert len(fails) == 2
    assert any("hotkeys.gap_ms: must be a whole number from 0 to 10000 milliseconds" in text for text in fails)
    assert any("mqtt.prt: is not a known key; did you mean port?" in text for text in fails)
    assert {"peers", "time sync", "time zone", "package", "service"} <= {check.name for check in checks}


async def test_secrets_of_others_are_hidden(tmp_path: Path) -> None:
    """A path that holds one is as far as a secret can get."""
    folder = tmp_path / "canary-0815-canary"
    folder.mkdir()
    patient = Patient(folder)
    patient.env(API_SECRET="canary-0815-canary")
    said = str(await patient.examine())
    assert "canary-0815" not in said
    assert "[hidden]" in said
