"""Files and folders: whose they are, who else may read or change them, and whether there is room."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from daemon.doctor import files
from tests.doctor.support import Patient, root

AS_ROOT = pytest.mark.skipif(not root, reason="only root can give files away and mount")


@contextmanager
def mounted(folder: Path, options: str, *, read_only: bool = False) -> Iterator[Path]:
    """A file system of its own, in memory."""
    folder.mkdir(mode=0o700)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("this root may not mount")
    try:
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@AS_ROOT
@pytest.mark.parametrize(("owner", "taken"), [(995, False), (1000, True)])
async def test_root_is_never_told_to_take_a_services_files_away(tmp_path: Path, owner: int, taken: bool) -> None:
    patient = Patient(tmp_path)
    patient.state.mkdir(mode=0o700)
    os.chown(patient.state, owner, owner)
    (told,) = [check for check in await patient.examine() if check.name == "state folder"]
    assert told.state == "fail"
    assert "look as its owner: sudo -u " in told.remedy
    assert ("chown" in told.remedy) is taken


async def test_a_fresh_machine_has_nothing_to_put_right(tmp_path: Path) -> None:
    checks = await Patient(tmp_path).examine()
    assert [check for check in checks if check.state == "fail"] == []
    assert not (tmp_path / "state").exists(), "looking makes nothing"


async def test_a_used_machine_is_left_as_it_was(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.state.mkdir(mode=0o700)
    (patient.state / "http-token").write_text("x" * 40)
    (patient.state / "http-token").chmod(0o600)
    found = {check.name: check.state for check in await patient.examine()}
    assert found["state folder"] == found["http token"] == found["disk"] == "ok"
    assert [path.name for path in patient.state.iterdir()] == ["http-token"]


async def test_env_file_that_others_can_read(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    path = patient.env(0o644, POLYMAKER_API_KEY="a-good-center-key")
    found = await patient.trouble()
    assert found.name == "configuration"
    assert found.text == f"{path}: others can read it, and it holds secrets"
    assert found.remedy == f"chmod 600 '{path}'"


@AS_ROOT
async def test_env_file_of_somebody_else(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    path = patient.env(POLYMAKER_API_KEY="a-good-center-key")
    os.chown(path, 65534, 65534)
    found = await patient.trouble()
    assert found.text == f"{path}: belongs to another user"
    assert found.remedy.startswith("look as its owner: sudo -u nobody deskhand doctor")


@AS_ROOT
async def test_configuration_file_that_somebody_else_can_change(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.file.write_text("")
    patient.file.chmod(0o666)
    found = await patient.trouble()
    assert (found.name, found.text) == ("config file", f"everybody can change {patient.file}")
    assert found.remedy == f"chmod o-w {patient.file}"
    patient.file.chmod(0o644)
    os.chown(patient.file, 65534, 0)
    found = await patient.trouble()
    assert found.text == f"{patient.file} belongs to nobody, who could change what is pressed"


async def test_state_folder_that_others_can_read(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.state.mkdir()
    patient.state.chmod(0o755)
    found = await patient.trouble()
    assert (found.name, found.text) == ("state folder", f"others can read {patient.state}")
    assert found.remedy == f"chmod 700 {patient.state}"


@AS_ROOT
async def test_state_folder_of_somebody_else(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.state.mkdir(mode=0o700)
    os.chown(patient.state, 65534, 65534)
    found = await patient.trouble()
    assert found.text == f"{patient.state} belongs to nobody, not to root"
    assert found.remedy.startswith("look as its owner: sudo -u nobody deskhand doctor")


async def test_state_folder_that_is_a_file(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.state.write_text("")
    found = [check for check in await patient.examine() if check.name == "state folder"]
    assert [(check.state, check.text) for check in found] == [("fail", f"{patient.state} is not a folder")]


@AS_ROOT
async def test_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    with mounted(patient.state, "size=900m,mode=700", read_only=True):
        found = await patient.trouble()
    assert found.text == f"{patient.state} is on a file system that is read-only"
    assert "remount,rw" in found.remedy


@AS_ROOT
async def test_disk_full(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    with mounted(patient.state, "size=1m,mode=700") as folder:
        (folder / "ballast").write_bytes(bytes(1024 * 1024))
        checks = [check for check in await patient.examine() if check.state == "fail"]
    assert [check.name for check in checks] == ["state folder", "disk"]
    assert checks[0].text == f"no file fits into {patient.state}: No space left on device"
    assert checks[1].text.startswith("0 bytes free, less than 64 MiB")
    assert checks[1].remedy == f"make room: df -h {patient.state}"


@AS_ROOT
async def test_disk_nearly_full(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    with mounted(patient.state, "size=100m,mode=700"):
        found = await patient.only("disk")
    assert (found.state, found.text) == ("warn", "only 100 MiB free")


@AS_ROOT
async def test_no_inodes_left(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    with mounted(patient.state, "size=900m,mode=700,nr_inodes=6") as folder:
        for number in range(3):
            (folder / f"{number}").touch()
        found = [check for check in await patient.examine() if check.state == "fail"]
    assert [check.name for check in found] == ["disk"]
    assert found[0].text.endswith("more files fit (inodes)")


@pytest.mark.parametrize(
    ("content", "mode", "text", "remedy"),
    [
        ("{", 0o600, "is damaged", "remove it and make the tokens anew"),
        ('{"version": 1, "tokens": []}', 0o644, "others can read it", "chmod 600 {path}"),
    ],
)
async def test_tokens_that_cannot_be_used(tmp_path: Path, content: str, mode: int, text: str, remedy: str) -> None:
    patient = Patient(tmp_path)
    patient.state.mkdir(mode=0o700)
    path = patient.state / "tokens.json"
    (patient.state / "tokens.key").write_text("k" * 32)
    (patient.state / "tokens.key").chmod(0o600)
    path.write_text(content)
    path.chmod(mode)
    found = await patient.trouble()
    assert found.name == "tokens"
    assert found.text == f"{path}: {text}; a daemon that starts knows none of them"
    assert found.remedy == remedy.format(path=path)
    path.write_text('{"version": 1, "tokens": []}')
    path.chmod(0o600)
    assert "tokens" not in {check.name for check in await patient.examine()}


async def test_token_that_others_can_read(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.state.mkdir(mode=0o700)
    path = patient.state / "http-token"
    path.write_text("x" * 40)
    path.chmod(0o640)
    found = await patient.trouble()
    assert (found.name, found.text) == ("http token", f"others can read {path}")
    assert found.remedy == f"chmod 600 {path}, or delete it to get a new one"


async def test_socket_folder_that_others_can_write_to(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    run.chmod(0o777)
    patient.environ["RUNTIME_DIRECTORY"] = str(run)
    found = await patient.trouble()
    assert (found.name, found.remedy) == ("unix socket", f"chmod go-w {run}")


async def test_socket_that_others_can_use(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.state.mkdir(mode=0o700)
    path = patient.state / "deskhand.sock"
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        found = await patient.trouble()
    assert found.text == f"others can press keys through {path}"


async def test_socket_path_too_long(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.config["state_dir"] = str(tmp_path / ("x" * 100))
    found = await patient.trouble()
    assert (found.name, found.remedy) == ("unix socket", "set a shorter state_dir")


@AS_ROOT
def test_a_folder_that_this_user_may_not_make() -> None:
    """As another user, because root may do everything."""
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above, "state")
        Path(above).chmod(0o755)
        os.seteuid(65534)
        try:
            (found,) = files.state_folder(folder)
        finally:
            os.seteuid(0)
    assert found.state == "fail"
    assert found.text.startswith(f"{folder} is not there, and {above} does not let ")
    assert found.remedy.startswith("sudo install -d -m 700 -o ")
