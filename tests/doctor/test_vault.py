"""What doctor says of a vault: none, good, readable by others, locked, a missing name, and a damaged one."""

import os
from pathlib import Path

import pytest

from daemon.vault import KeyFile, Vault, create, new_key, open_vault
from tests.doctor.support import Patient
from tests.vault.support import NOW


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path, polymaker={"api_key": "vault:pm"})


@pytest.fixture
def vault(patient: Patient) -> Vault:
    create(patient.state, new_key(KeyFile(patient.folder / "vault.key", (os.geteuid(), os.getegid()))), NOW)
    found = open_vault(patient.state, {}, config=patient.folder)
    found.set("pm", "a-good-center-key", NOW)
    found.set("spare", "something-else", NOW)
    return found


async def test_none(tmp_path: Path) -> None:
    found = await Patient(tmp_path).only("vault")
    assert (found.state, found.text) == ("ok", "none: no setting needs it")


async def test_good(patient: Patient, vault: Vault) -> None:
    found = await patient.only("vault")
    assert (found.state, found.text) == ("ok", f"{vault.path} opens, 2 secrets, 1 in use")


async def test_others_can_read_it(patient: Patient, vault: Vault) -> None:
    vault.path.chmod(0o640)
    found = await patient.trouble()
    assert (found.name, found.text) == ("vault", f"others can read {vault.path}")
    assert found.remedy == f"chmod 600 {vault.path}"


async def test_its_backup_is_gone(patient: Patient, vault: Vault) -> None:
    vault.backup.unlink()
    found = await patient.only("vault")
    assert (found.state, found.remedy) == ("warn", "deskhand vault rotate makes one")


async def test_a_locked_one_that_nothing_needs(patient: Patient, vault: Vault) -> None:
    (patient.folder / "vault.key").unlink()
    patient.config.pop("polymaker")
    found = await patient.only("vault")
    assert found.state == "warn"
    assert found.text.startswith(f"{vault.path}: its key is not there; looked at ")


async def test_a_missing_name_has_its_command(patient: Patient, vault: Vault) -> None:
    vault.rm("pm", NOW)
    found = await patient.trouble()
    assert found.text.endswith("polymaker.api_key: the vault holds no pm")
    assert found.remedy == "deskhand vault set pm"


async def test_no_vault_and_a_key_file_that_others_can_read(patient: Patient, vault: Vault) -> None:
    key = patient.folder / "vault.key"
    key.chmod(0o644)
    found = await patient.trouble()
    assert found.remedy == f"chmod 600 {key}"
    key.chmod(0o600)
    vault.path.unlink()
    vault.backup.unlink()
    assert (await patient.trouble()).remedy == "deskhand vault init"


async def test_a_damaged_one_names_its_backup(patient: Patient, vault: Vault) -> None:
    vault.path.write_bytes(b"x")
    found = await patient.trouble()
    assert found.remedy == f"cp -p {vault.backup} {vault.path}"
    assert "a-good-center-key" not in f"{await patient.examine()}"
