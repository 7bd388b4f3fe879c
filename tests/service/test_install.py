"""Installing: what is planned, what is done, that twice is once, and how it goes on after a failure."""

import os
import re
from pathlib import Path

import pytest

from daemon.errors import ConfigError, DeskhandError
from daemon.service import install
from daemon.service.python import below_home, candidates, find
from tests.house.code import ROOT
from tests.service.support import ME, Box, payload


def test_a_dry_run_tells_every_step_and_changes_nothing(box: Box) -> None:
    before = box.files()
    said = box.install(dry=True)
    assert box.files() == before
    assert box.run.calls == []
    told = "\n".join(said)
    for path in (box.places.config / "deskhand.yaml", box.places.unit, box.places.current, box.places.command):
        assert f"would       {path}" in re.sub(r"would       \w+ ", "would       ", told), path
    done = box.install()
    assert [line[12:] for line in done] == [line[12:] for line in said], "a run takes the very steps that were told"


def test_everything_is_in_its_place(box: Box) -> None:
    box.install()
    places = box.places
    assert places.current.readlink().parent == places.environments
    assert places.current.readlink().name.startswith("0.1.0-aaaaaaaa-py3.")
    assert places.command.readlink() == places.current / "bin/deskhand"
    assert places.unit.read_bytes() == (ROOT / "systemd/deskhand.service").read_bytes()
    assert (places.units / "deskhand.socket").is_file()
    assert places.config.stat().st_mode & 0o777 == 0o750
    assert (places.config / "deskhand.yaml").stat().st_mode & 0o777 == 0o640
    assert not (places.config / ".env").exists()
    assert "mode: practice" in (places.config / "deskhand.yaml").read_text()
    assert box.run.active
    assert box.run.enabled
    assert not places.pending.exists()
    assert "enable deskhand.socket" not in "\n".join(box.run.calls), "socket activation is for whoever wants it"


def test_pip_takes_only_what_the_lock_names_and_then_ourselves(box: Box) -> None:
    box.install()
    locked, ours = [call for call in box.run.calls if " -m pip " in call]
    assert f"--require-hashes --requirement {ROOT}/requirements.lock" in locked
    assert ours.endswith(f"--no-deps {box.payload.wheel}")


def test_with_a_wheelhouse_nothing_else_is_asked(box: Box, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    plan = install(
        box.places, box.run, tmp_path, here=box.here, caller=ME.pw_uid, wheelhouse=wheels, payload=box.payload,
        pythons=[box.python],
    )  # fmt: skip
    for step in plan.steps[:8]:
        if not step.so():
            step.do()
    pips = [call for call in box.run.calls if " -m pip " in call]
    assert len(pips) == 2
    assert all(f"--no-index --find-links {wheels}" in call for call in pips)


def test_twice_is_once(box: Box) -> None:
    box.install()
    files, calls = box.files(), list(box.run.calls)
    said = box.install()
    assert {line[:10] for line in said} == {"already so"}
    assert box.files() == files
    assert box.run.calls == calls


def test_a_unit_that_was_changed_by_hand_is_put_right_and_the_service_restarted(box: Box) -> None:
    box.install()
    box.places.unit.write_text("[Service]\n")
    box.run.calls.clear()
    said = box.install()
    assert [line for line in said if line.startswith("done")] == [
        f"done        write {box.places.unit}",
        "done        let systemd read its units",
        "done        start deskhand.service and wait until it takes events in",
    ]
    assert box.run.calls == ["systemctl daemon-reload", "systemctl restart deskhand.service"]


def test_an_update_keeps_one_environment_to_go_back_to(box: Box, tmp_path: Path) -> None:
    names = []
    for digest in "abc":
        box.payload = payload(tmp_path, "0.1.0", digest * 64)
        box.install()
        names.append(box.places.current.readlink().name)
    assert len(set(names)) == 3
    assert {path.name for path in box.places.environments.iterdir()} == set(names[1:])
    assert box.places.previous.readlink().name == names[1]


def test_a_failure_is_told_and_the_next_run_goes_on(box: Box) -> None:
    box.run.fails["--require-hashes"] = "No matching distribution found for //user:secret-word@x/simple"
    with pytest.raises(DeskhandError) as caught:
        box.install()
    told = str(caught.value)
    assert told.startswith("could not install the locked requirements into it")
    assert "No matching distribution" in told
    assert "secret-word" not in told
    assert "run it again to go on" in told
    assert not box.places.current.exists(), "what is in use is turned last"
    assert "systemctl restart deskhand.service" not in box.run.calls

    box.run.fails.clear()
    box.install()
    assert "systemctl restart deskhand.service" in box.run.calls
    assert sum(" -m venv " in call for call in box.run.calls) == 2, "a broken environment is made anew"


def test_what_changed_before_a_failure_still_restarts_the_service_afterwards(box: Box) -> None:
    box.install()
    box.places.unit.write_text("[Service]\n")
    box.run.fails["daemon-reload"] = "Connection timed out"
    with pytest.raises(DeskhandError, match="Connection timed out"):
        box.install()
    box.run.fails.clear()
    box.run.calls.clear()
    box.install()
    assert box.run.calls == ["systemctl daemon-reload", "systemctl restart deskhand.service"]


def test_a_service_that_does_not_come_up_shows_its_log(box: Box) -> None:
    box.run.fails["restart deskhand"] = "Job failed. See journalctl."
    box.run.fails["journalctl"] = "deskhand.yaml:3: http.port: must be a whole number"
    with pytest.raises(DeskhandError, match=r"http\.port: must be a whole number"):
        box.install()


def test_a_command_of_somebody_else_is_left_alone(box: Box) -> None:
    box.places.command.parent.mkdir(parents=True)
    box.places.command.write_text("#!/bin/sh\n")
    said = box.install()
    assert box.places.command.read_text() == "#!/bin/sh\n"
    assert any(f"keep {box.places.command}, which is not ours" in line for line in said)


def test_a_masked_unit_is_not_overwritten(box: Box) -> None:
    box.places.units.mkdir(parents=True)
    box.places.unit.symlink_to("/dev/null")
    with pytest.raises(DeskhandError, match="systemctl unmask deskhand"):
        box.install()
    assert box.run.calls == []


def test_a_folder_that_is_a_link_is_refused(box: Box, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    box.places.config.parent.mkdir(parents=True)
    box.places.config.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeskhandError, match="is not a folder of its own"):
        box.install()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_without_systemd_nothing_is_changed(box: Box) -> None:
    box.places.manager.rmdir()
    before = box.files()
    with pytest.raises(DeskhandError, match="systemd does not run this machine"):
        box.install()
    assert box.files() == before
    assert box.install(dry=True)


def test_a_dry_run_without_root_tells_what_it_can(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may not look into /etc/deskhand: the rest of the plan is told all the same, a real run says why not."""
    box.install()
    real = os.open

    def closed(path: os.PathLike[str] | str, *args: int, **kwargs: int) -> int:
        if Path(path).parent == box.places.config:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", closed)
    said = box.install(dry=True)
    assert any(str(box.places.unit) in line for line in said)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        box.install()


def test_a_users_own_service(own: Box) -> None:
    said = own.install()
    assert own.places.unit.read_bytes() == (ROOT / "systemd/deskhand-user.service").read_bytes()
    assert own.places.state.stat().st_mode & 0o777 == 0o700
    assert own.places.config.stat().st_mode & 0o777 == 0o700
    assert (own.places.config / "deskhand.yaml").stat().st_mode & 0o777 == 0o600
    assert "systemctl --user restart deskhand.service" in own.run.calls
    assert f"loginctl enable-linger {own.places.linger and own.places.linger.name}" in own.run.calls
    assert not any("sysusers" in call for call in own.run.calls)
    assert any("enable-linger" in line for line in said)


def test_a_python_below_a_home_is_not_for_the_system(box: Box, tmp_path: Path) -> None:
    below = Path("/root/python3") if ME.pw_uid == 0 else Path(ME.pw_dir, "python3")
    assert below_home(below)
    with pytest.raises(DeskhandError, match="apt install python3 python3-venv"):
        find(box.run, [below, tmp_path / "nowhere"], user=False)
    assert not any(below_home(path) for path in candidates(user=False) if path.exists())


def test_a_python_that_cannot_make_environments_is_named(box: Box, tmp_path: Path) -> None:
    poor = tmp_path / "python3"
    poor.touch()
    box.run.fails[str(poor)] = "ModuleNotFoundError: No module named 'ensurepip'"
    with pytest.raises(DeskhandError, match=f"{poor} cannot make environments"):
        find(box.run, [poor], user=False)
