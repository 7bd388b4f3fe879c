"""Master keys: where they are looked for, in which order, and what is not safe enough."""

import os
import stat
from pathlib import Path

import pytest

from daemon.errors import VaultError
from daemon.vault import Keyring, open_vault
from tests.vault.support import CANARY, NOW, Box

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def credential(box: Box, folder: Path) -> dict[str, str]:
    """The key where systemd would put it."""
    folder.mkdir()
    (folder / "deskhand.key").write_bytes(box.key.read_bytes())
    return {"CREDENTIALS_DIRECTORY": str(folder)}


def opened_by(box: Box, environ: dict[str, str], config: Path | None = None) -> str:
    return open_vault(box.state, environ, config=config).verify().opened_by


def test_the_credential_goes_before_the_key_file_and_the_variable_before_the_folder(box: Box, tmp_path: Path) -> None:
    environ = credential(box, tmp_path / "cred")
    assert opened_by(box, environ, box.config) == f"{tmp_path}/cred/deskhand.key"
    other = tmp_path / "usb.key"
    other.write_bytes(box.key.read_bytes())
    other.chmod(0o600)
    assert opened_by(box, {"DESKHAND_VAULT_KEY_FILE": str(other)}, box.config) == str(other)
    home = tmp_path / "home/.config/deskhand"
    home.mkdir(parents=True)
    box.key.rename(home / "vault.key")
    assert opened_by(box, {"HOME": str(tmp_path / "home")}, box.config) == str(home / "vault.key")
    other.write_text("gone")
    with pytest.raises(VaultError, match=r"usb\.key: does not hold a vault's key"):
        opened_by(box, {"DESKHAND_VAULT_KEY_FILE": str(other), "HOME": str(tmp_path / "home")})


def test_an_old_credential_does_not_hide_the_key_file(box: Box, tmp_path: Path) -> None:
    environ = credential(Box(tmp_path / "other"), tmp_path / "cred")
    assert opened_by(box, environ, box.config) == str(box.key)
    box.key.unlink()
    with pytest.raises(VaultError, match=r"cred/deskhand\.key does not open it"):
        opened_by(box, environ, box.config)


def test_a_credential_needs_no_mode_of_ours(box: Box, tmp_path: Path) -> None:
    environ = credential(box, tmp_path / "cred")
    (tmp_path / "cred/deskhand.key").chmod(0o444)
    assert opened_by(box, environ).startswith(str(tmp_path / "cred"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o601])
def test_a_key_file_that_others_can_read_is_refused_with_the_remedy(box: Box, mode: int) -> None:
    box.key.chmod(mode)
    with pytest.raises(VaultError) as caught:
        box.open()
    assert str(caught.value) == f"{box.key}: others can read it; run: chmod 600 {box.key}"
    assert stat.S_IMODE(box.key.stat().st_mode) == mode, "nothing is done behind the user's back"


@AS_ROOT
def test_a_key_file_of_somebody_else_is_refused(box: Box) -> None:
    os.chown(box.key, 4711, 4711)
    with pytest.raises(VaultError, match=f"{box.key}: belongs to another user; run: chown 0"):
        box.open()


@AS_ROOT
def test_what_root_changes_for_a_service_stays_the_services(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 4711, 4712)
    box = Box(tmp_path)
    box.open().set("a", "b", NOW)
    box.open().rotate(NOW)
    box.open().export(tmp_path / "copy")
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in [*state.iterdir(), box.key]}
    assert owners == dict.fromkeys(["vault", "vault.bak", "vault.lock", "vault.key"], (4711, 4712))
    assert (tmp_path / "copy").stat().st_uid == 0


@AS_ROOT
def test_root_follows_no_link_in_a_folder_of_a_services(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 4711, 4712)
    box = Box(tmp_path)
    victim = tmp_path / "shadow"
    victim.write_text("root's")
    for name in ("vault.new", "vault.bak.new", "vault.bak"):
        (state / name).unlink(missing_ok=True)
        (state / name).symlink_to(victim)
    box.open().set("a", "b", NOW)
    assert victim.read_text() == "root's"
    assert victim.stat().st_uid == 0
    (state / "vault.lock").unlink()
    (state / "vault.lock").symlink_to(victim)
    with pytest.raises(VaultError, match="cannot be written"):
        box.open().set("a", "c", NOW)
    assert victim.stat().st_uid == 0


@pytest.mark.parametrize("content", [b"", b"x", CANARY.encode() * 3, b"\xff" * 44, b"A" * 43 + b"=\n" * 9, b"x" * 5000])
def test_what_is_no_key_is_told_and_not_echoed(box: Box, content: bytes) -> None:
    box.key.write_bytes(content)
    with pytest.raises(VaultError, match=r"does not hold a vault's key|is larger than anything") as caught:
        box.open()
    assert "canary" not in str(caught.value)


def test_half_a_staged_key_is_passed_over(box: Box) -> None:
    box.key.with_name("vault.key.new").write_bytes(b"half")
    assert box.holds() == {}
    box.key.with_name("vault.key.new").unlink()
    os.mkfifo(box.key.with_name("vault.key.new"))
    assert box.holds() == {}, "nor does a pipe hold anybody up"


def test_where_a_new_key_goes(tmp_path: Path) -> None:
    assert Keyring({}, tmp_path).file() == tmp_path / "vault.key"
    assert Keyring({"HOME": str(tmp_path)}).file() == tmp_path / ".config/deskhand/vault.key"
    assert Keyring({}).file() == Path("/etc/deskhand/vault.key")
    named = {"HOME": "/nowhere", "DESKHAND_VAULT_KEY_FILE": str(tmp_path / "k")}
    assert Keyring(named, tmp_path).file() == tmp_path / "k"
