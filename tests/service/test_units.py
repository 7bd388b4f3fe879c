"""The files in `systemd/`: systemd and mosquitto accept them without a word, and they say what the code relies on."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from daemon.service import system, user
from tests.fakes.mosquitto import BINARY, free_port, wait_port
from tests.house.code import ROOT

UNITS = ROOT / "systemd"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed (Debian: systemd)")


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE
    with tempfile.TemporaryDirectory() as runtime:  # --user makes a folder there
        environ = {"PATH": os.environ["PATH"], "HOME": runtime, "XDG_RUNTIME_DIR": runtime}
        command = [ANALYZE, *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)


def verify(folder: Path, *names: str, manager: str = "--system") -> str:
    """What systemd has to say; it exits 0 even on keys it does not know."""
    files = [str(folder / name) for name in names]
    done = analyze("verify", "--man=no", manager, *files)
    return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The units as installed, but with a Python that exists here."""
    for unit in ("deskhand.service", "deskhand.socket"):
        text = (UNITS / unit).read_text()
        (tmp_path / unit).write_text(text.replace("/opt/deskhand/current/bin/python", sys.executable))
    return tmp_path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The user's unit under its installed name."""
    (tmp_path / "own").mkdir()
    text = (UNITS / "deskhand-user.service").read_text()
    (tmp_path / "own/deskhand.service").write_text(
        text.replace("%h/.local/share/deskhand/current/bin/python", sys.executable)
    )
    return tmp_path / "own"


@needs_systemd
def test_systemd_has_nothing_to_say(folder: Path, own: Path) -> None:
    assert verify(folder, "deskhand.service", "deskhand.socket") == ""
    assert verify(own, "deskhand.service", manager="--user") == ""


@needs_systemd
@pytest.mark.parametrize("drop_in", ["lan-only.conf", "credential.conf"])
def test_systemd_has_nothing_to_say_about_the_drop_ins(folder: Path, drop_in: str) -> None:
    (folder / "deskhand.service.d").mkdir()
    shutil.copy(UNITS / drop_in, folder / "deskhand.service.d")
    assert verify(folder, "deskhand.service") == ""


@needs_systemd
@pytest.mark.parametrize("wrong", ["NoSuchKey=yes", "WatchdogSec=often", "SystemCallFilter=@no-such-set"])
def test_a_wrong_line_would_be_found(folder: Path, wrong: str) -> None:
    unit = folder / "deskhand.service"
    unit.write_text(unit.read_text().replace("[Install]", f"{wrong}\n\n[Install]"))
    assert verify(folder, "deskhand.service") != ""


def exposure(unit: Path) -> float:
    """The score of systemd's own, 0 to 10."""
    done = analyze("security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


@needs_systemd
def test_hardening(folder: Path, own: Path) -> None:
    assert exposure(folder / "deskhand.service") <= 1.2
    assert exposure(own / "deskhand.service") <= 1.7
    bare = folder / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    assert exposure(bare) > 9


@needs_systemd
def test_the_lan_drop_in_is_what_is_left_of_the_score(folder: Path) -> None:
    unit = folder / "deskhand.service"
    alone = exposure(unit)
    lan = (UNITS / "lan-only.conf").read_text().partition("[Service]")[2]
    unit.write_text(unit.read_text().replace("[Install]", f"{lan}\n[Install]"))
    assert exposure(unit) < alone


def values(name: str) -> dict[str, list[str]]:
    """Each key of a unit with its values."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_the_units_and_the_installer_mean_the_same_places() -> None:
    places, unit = system(), values("deskhand.service")
    assert unit["ExecStart"][0].split()[0] == str(places.current / "bin/python")
    assert unit["ExecReload"][0].split()[0] == str(places.current / "bin/python")
    assert unit["WorkingDirectory"] == [str(places.config)]
    assert unit["User"] == unit["Group"] == [places.account]
    assert [f"/var/lib/{name}" for name in unit["StateDirectory"]] == [str(places.state)]
    assert [f"/run/{name}" for name in unit["RuntimeDirectory"]] == [str(places.runtime)]
    assert f"{places.runtime}/deskhand.sock" in values("deskhand.socket")["ListenStream"]
    own, unit = user({"HOME": "/home/me"}), values("deskhand-user.service")
    assert unit["ExecStart"][0].split()[0].replace("%h", "/home/me") == str(own.current / "bin/python")
    assert unit["WorkingDirectory"][0].replace("%h", "/home/me") == str(own.config)
    assert unit["ReadWritePaths"][0].replace("%h", "/home/me") == str(own.state)


@pytest.mark.parametrize("name", ["deskhand.service", "deskhand-user.service"])
def test_what_the_daemon_relies_on(name: str) -> None:
    unit = values(name)
    assert unit["Type"] == ["notify"]
    assert unit["RestartPreventExitStatus"] == ["78"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert int(unit["TimeoutStopSec"][0]) > 15, "above the drain"
    assert "ExecStartPre" not in unit, "an exit 78 there would be tried again for ever"
    assert not {"Environment", "SetCredential"} & set(unit), "every local user could read them"
    assert "faulthandler" in unit["ExecStart"][0]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("systemd-sysusers"), reason="needs root and systemd-sysusers")
def test_the_account(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", f"--root={tmp_path}", "-"]
    text = (UNITS / "deskhand.sysusers.conf").read_text()
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("deskhand:")]
    assert line.split(":")[4:] == ["Deskhand trading daemon", "/var/lib/deskhand", "/usr/sbin/nologin"]
    assert "deskhand:" in (tmp_path / "etc/group").read_text()


def test_a_real_broker_takes_our_file(tmp_path: Path) -> None:
    """As Debian sets it up: its own mosquitto.conf includes ours. Nobody gets in without a password."""
    port = free_port()
    passwords, included, store = tmp_path / "passwd", tmp_path / "conf.d", tmp_path / "store"
    included.mkdir()
    store.mkdir()
    passwords.write_text("deskhand:right-word\n")
    subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, timeout=30)
    text = (UNITS / "mosquitto-deskhand.conf").read_text()
    assert "\nlistener 1883 127.0.0.1\n" in text
    assert "\npassword_file /etc/mosquitto/deskhand.passwd\n" in text
    text = text.replace("/etc/mosquitto/deskhand.passwd", str(passwords)).replace("listener 1883", f"listener {port}")
    (included / "deskhand.conf").write_text(text)
    lines = ["persistence true", f"persistence_location {store}/", f"include_dir {included}", "log_dest stderr"]
    lines += ["user root"] if os.geteuid() == 0 else []
    (tmp_path / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    with (tmp_path / "log").open("wb") as log:
        broker = subprocess.Popen([BINARY, "-c", str(tmp_path / "mosquitto.conf")], stdout=log, stderr=log)
    try:
        wait_port(port)
        assert publish(port) != 0, "nobody"
        assert publish(port, "-u", "deskhand", "-P", "wrong-word") != 0
        assert publish(port, "-u", "deskhand", "-P", "right-word", "-r") == 0
    finally:
        broker.terminate()
        code = broker.wait(10)
    said = (tmp_path / "log").read_text()
    assert code == 0, said
    told = [line for line in said.splitlines() if re.search(r"error|warning", line, re.IGNORECASE)]
    assert [line for line in told if "should not be run as root" not in line] == []
    assert "not authorised" in said
    assert b"still-there" in (store / "mosquitto.db").read_bytes()


def publish(port: int, *words: str) -> int:
    """The exit code of `mosquitto_pub`."""
    command = ["mosquitto_pub", "-p", str(port), "-q", "1", "-t", "deskhand/x", "-m", "still-there", *words]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode
