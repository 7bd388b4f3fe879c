"""Taking it away: what goes, what stays, and that nothing outside our folders is ever touched."""

from pathlib import Path

import pytest

from daemon.errors import DeskhandError
from daemon.service import files
from tests.service.support import Box


def lived_in(box: Box) -> None:
    """Installed, and used: a journal, a drop-in."""
    box.install()
    box.places.state.mkdir(parents=True, exist_ok=True)
    (box.places.state / "journal.db").write_text("events")
    box.places.drop_ins.mkdir()
    (box.places.drop_ins / "lan-only.conf").write_text("[Service]\n")


def test_configuration_and_state_stay(box: Box) -> None:
    lived_in(box)
    said = box.uninstall()
    places = box.places
    for path in (places.unit, places.units / "deskhand.socket", places.command, places.home):
        assert not files.there(path), path
    assert (places.state / "journal.db").read_text() == "events"
    assert (places.config / "deskhand.yaml").exists()
    assert (places.drop_ins / "lan-only.conf").exists()
    assert f"already so  keep {places.state}; --purge removes it" in said
    assert "systemctl disable --now deskhand.service" in box.run.calls
    assert "systemctl disable --now deskhand.socket" in box.run.calls
    assert not box.run.active


def test_the_service_is_stopped_before_anything_is_removed(box: Box) -> None:
    lived_in(box)
    box.run.fails["disable --now deskhand.service"] = "Failed to stop: Connection timed out"
    with pytest.raises(DeskhandError, match=r"could not stop and disable deskhand\.service: .*"):
        box.uninstall()
    assert box.places.current.exists()
    assert box.places.unit.exists()
    box.run.fails.clear()
    box.uninstall()
    assert not box.places.home.exists()


def test_purge_leaves_nothing_but_other_peoples_files(box: Box) -> None:
    empty = box.files()
    lived_in(box)
    box.uninstall(purge=True)
    left = {name for name in box.files() if name not in empty}
    assert left <= {"etc", "etc/systemd", "etc/systemd/system", "etc/sysusers.d", "opt", "usr", "usr/local",
                    "usr/local/bin", "var", "var/lib"}  # fmt: skip
    assert any(call.startswith("userdel ") for call in box.run.calls)


def test_a_dry_run_removes_nothing(box: Box) -> None:
    lived_in(box)
    before, calls = box.files(), list(box.run.calls)
    said = box.uninstall(purge=True, dry=True)
    assert box.files() == before
    assert box.run.calls == calls
    assert f"would       remove {box.places.state} and all in it" in said


def test_twice_is_once(box: Box) -> None:
    lived_in(box)
    box.uninstall()
    box.run.loaded = False
    assert {line[:10] for line in box.uninstall()} == {"already so"}


def test_a_link_in_a_folder_is_removed_and_not_followed(box: Box, tmp_path: Path) -> None:
    lived_in(box)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("x")
    (box.places.state / "link").symlink_to(tmp_path / "precious")
    (box.places.environments / "link").symlink_to(tmp_path / "precious")
    box.uninstall(purge=True)
    assert (tmp_path / "precious/file").read_text() == "x"
    assert not box.places.state.exists()


def test_a_folder_that_is_a_link_is_left_to_its_owner(box: Box, tmp_path: Path) -> None:
    lived_in(box)
    elsewhere = tmp_path / "elsewhere"
    box.places.state.rename(elsewhere)
    box.places.state.symlink_to(elsewhere)
    with pytest.raises(DeskhandError, match="remove it by hand"):
        box.uninstall(purge=True)
    assert (elsewhere / "journal.db").read_text() == "events"


def test_something_that_is_not_ours_in_the_folder_stays(box: Box) -> None:
    lived_in(box)
    (box.places.home / "notes.txt").write_text("x")
    with pytest.raises(DeskhandError, match=r"not ours in it: notes\.txt"):
        box.uninstall()
    assert (box.places.home / "notes.txt").exists()


def test_a_command_of_somebody_else_stays(box: Box) -> None:
    lived_in(box)
    box.places.command.unlink()
    box.places.command.write_text("#!/bin/sh\n")
    box.uninstall()
    assert box.places.command.exists()


@pytest.mark.parametrize("path", ["/", "/etc", "relative/deskhand", "/var/lib/../lib/deskhand"])
def test_strange_folders_are_refused(path: str) -> None:
    with pytest.raises(DeskhandError, match="strange folder"):
        files.remove_folder(Path(path))


def test_without_systemd_nothing_is_removed(box: Box) -> None:
    lived_in(box)
    box.places.manager.rmdir()
    before = box.files()
    with pytest.raises(DeskhandError, match="nothing was changed"):
        box.uninstall()
    assert box.files() == before
