"""The first configuration: what is taken, what is kept, what is refused; always checked before anything is changed."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import ConfigError
from daemon.service import configuration
from daemon.service.configuration import FIRST
from daemon.settings import Settings, load
from tests.service.support import ME, Box

LIVE = "mode: live\nhotkeys: {targets: {main: 'ws://127.0.0.1:8765'}}\n"
SECRET = "a-secret-of-sixteen-and-more"


def refused(box: Box, *, live: Path | None = None) -> str:
    """What an installation says that has to be refused, without having changed anything."""
    before = box.files()
    with pytest.raises(ConfigError) as caught:
        box.install(live=live)
    assert box.files() == before
    assert box.run.calls == []
    return str(caught.value)


def test_our_own_first_configuration_is_good(tmp_path: Path) -> None:
    file = tmp_path / "deskhand.yaml"
    file.write_text(FIRST)
    assert load(file, None, (), {"HOME": str(tmp_path)}).mode == "practice"
    commented = [
        line.removeprefix("# ") for line in FIRST.splitlines() if line.startswith(("# hotkeys", "#   ", "# m"))
    ]
    file.write_text("mode: live\n" + "\n".join(commented))
    settings = load(file, None, (), {"HOME": str(tmp_path)})
    assert settings.hotkeys.targets["main"].startswith("ws://")
    assert settings.mqtt.host == "127.0.0.1"


def test_what_lies_here_is_taken(box: Box) -> None:
    (box.here / "deskhand.yaml").write_text("log_level: DEBUG\n")
    env = box.here / ".env"
    env.write_text(f"DESKHAND_HTTP_TOKEN={SECRET}\n")
    env.chmod(0o600)
    said = box.install()
    assert (box.places.config / "deskhand.yaml").read_text() == "log_level: DEBUG\n"
    copy = box.places.config / ".env"
    assert copy.read_text() == env.read_text()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert SECRET not in "\n".join([*said, *box.after, *box.run.calls])


def test_no_copy_can_stay_behind(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the files are checked a kill -9 may come, and nobody would look for what it leaves."""
    (box.here / ".env").write_text(f"PK={SECRET}\n")
    scratch = box.here / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    checks = []

    def watched(config: Path, env_file: Path, *rest: Any) -> Settings:
        assert env_file.read_text() == f"PK={SECRET}\n"
        checks.append(list(scratch.rglob("*")))
        return load(config, env_file, *rest)

    monkeypatch.setattr(configuration, "load", watched)
    box.install()
    assert checks
    assert not any(checks)


def test_an_open_env_is_copied_closed_and_told(box: Box) -> None:
    (box.here / ".env").write_text(f"PK={SECRET}\n")
    (box.here / ".env").chmod(0o644)
    box.install()
    assert (box.places.config / ".env").stat().st_mode & 0o777 == 0o600
    assert any("Others can read" in line and "chmod 600" in line for line in box.after)


def test_a_secret_is_never_open_not_even_shortly(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (box.here / ".env").write_text(f"PK={SECRET}\n")
    modes = []
    real = os.fchmod

    def spy(handle: int, mode: int) -> None:
        modes.append(os.fstat(handle).st_mode & 0o777)
        real(handle, mode)

    monkeypatch.setattr(os, "fchmod", spy)
    old = os.umask(0)
    try:
        box.install()
    finally:
        os.umask(old)
    assert modes
    assert not any(mode & 0o077 for mode in modes if mode != 0o700)


def test_what_is_there_is_kept(box: Box) -> None:
    box.install()
    (box.places.config / "deskhand.yaml").write_text("log_level: WARNING\n")
    (box.here / "deskhand.yaml").write_text("log_level: DEBUG\n")
    said = box.install()
    assert (box.places.config / "deskhand.yaml").read_text() == "log_level: WARNING\n"
    assert any(f"keep {box.places.config / 'deskhand.yaml'}, mode practice" in line for line in said)


def test_a_kept_secret_that_others_could_read_is_closed(box: Box) -> None:
    box.install()
    env = box.places.config / ".env"
    env.write_text(f"PK={SECRET}\n")
    env.chmod(0o644)
    box.install()
    assert env.stat().st_mode & 0o777 == 0o600
    assert env.read_text() == f"PK={SECRET}\n"


def test_problems_name_the_users_own_file_and_line(box: Box) -> None:
    (box.here / "deskhand.yaml").write_text("\nhttp: {prt: 1}\n")
    (box.here / ".env").write_text("DESKHAND_HTTP__PORT=x\n")
    told = refused(box)
    assert f"{box.here}/.env:1: DESKHAND_HTTP__PORT: must be" in told
    assert f"{box.here}/deskhand.yaml:2: http.prt: is not a known key" in told


def test_a_state_folder_that_the_service_cannot_write(box: Box) -> None:
    (box.here / "deskhand.yaml").write_text("state_dir: /home/me/state\n")
    assert f"state_dir: the service can write only below {box.places.state}" in refused(box)


def test_an_env_that_points_to_another_configuration(box: Box) -> None:
    (box.here / ".env").write_text("DESKHAND_CONFIG=/home/me/deskhand.yaml\n")
    assert "DESKHAND_CONFIG: the service reads" in refused(box)


def test_live_is_never_taken_silently(box: Box) -> None:
    file = box.here / "deskhand.yaml"
    file.write_text(LIVE)
    told = refused(box)
    assert f"{file}: says mode live, and nothing goes live by accident" in told
    assert f"deskhand service install --live-config {file}" in told
    box.install(live=file)
    assert (box.places.config / "deskhand.yaml").read_text() == LIVE


def test_live_by_way_of_env_is_not_taken_silently_either(box: Box) -> None:
    box.install()
    box.run.calls.clear()
    (box.here / ".env").write_text("DESKHAND_MODE=live\nHOTKEY_SERVER_URL=ws://127.0.0.1:8765\n")
    assert f"{box.here}/.env: says mode live" in refused(box)


def test_a_live_service_stays_live_at_an_update(box: Box) -> None:
    file = box.here / "live.yaml"
    file.write_text(LIVE)
    box.install(live=file)
    assert {line[:10] for line in box.install()} == {"already so"}
    assert {line[:10] for line in box.install(live=file)} == {"already so"}


def test_a_replaced_configuration_is_copied_first(box: Box) -> None:
    box.install()
    before = (box.places.config / "deskhand.yaml").read_text()
    file = box.here / "live.yaml"
    file.write_text(LIVE)
    box.run.calls.clear()
    box.install(live=file)
    assert (box.places.config / "deskhand.yaml").read_text() == LIVE
    (copy,) = box.places.config.glob("deskhand.yaml.*")
    assert copy.read_text() == before
    assert copy.stat().st_mode & 0o077 == 0
    assert "systemctl restart deskhand.service" in box.run.calls


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mode: practice\n", "says mode practice; --live-config is for going live"),
        ("mode: live\n", "live mode needs an address"),
        (None, "does not exist"),
    ],
)
def test_a_live_configuration_that_is_none(box: Box, text: str | None, told: str) -> None:
    file = box.here / "live.yaml"
    if text is not None:
        file.write_text(text)
    assert told in refused(box, live=file)


@pytest.mark.skipif(ME.pw_uid != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_refused(box: Box) -> None:
    """In a folder that others may write to, `.env` could be a link to a file that only root can read."""
    secret = box.here.parent / "secret"
    secret.write_text(f"PK={SECRET}\n")
    os.chown(secret, 65534, 65534)
    (box.here / ".env").symlink_to(secret)
    assert "belongs to another user" in refused(box)
    box.install(caller=65534)  # it is the caller's own


def test_a_pipe_in_its_place_does_not_hold_it_up(box: Box) -> None:
    os.mkfifo(box.here / ".env")
    assert f"{box.here}/.env: is not a file" in refused(box)
