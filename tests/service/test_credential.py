"""The vault's key as a credential: the real systemd-creds, with a secret of its machine that is the test's own."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from daemon.errors import ConfigError, VaultError
from daemon.service import credential
from daemon.service.credential import Credential
from daemon.vault import KeyFile, Vault, create, new_key, open_vault
from tests.service.support import Box, Recorded
from tests.vault.support import NOW

OWNER = (os.geteuid(), os.getegid())
SCRIPT = """#!/bin/sh
echo "$@" >> {calls}
exec unshare --mount sh -c 'mount --bind {secret} /var/lib/systemd && exec {program} "$@"' sh "$@"
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with a systemd-creds that keeps the machine's secret in the test's folder, and notes its arguments."""
    program = shutil.which("systemd-creds")
    if program is None or os.geteuid() != 0:
        pytest.skip("needs root and systemd-creds (Debian: systemd)")
    folder, secret = tmp_path / "bin", tmp_path / "machine"
    folder.mkdir()
    secret.mkdir()
    script = folder / "systemd-creds"
    script.write_text(SCRIPT.format(calls=tmp_path / "calls", secret=secret, program=program))
    script.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run([script, "encrypt", "--name=x", "-", "-"], input=b"x", capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"systemd-creds cannot encrypt here: {done.stderr.decode().strip()}")
    return path


@pytest.fixture
def holder(path: str, tmp_path: Path) -> Credential:
    return Credential(tmp_path / "credstore.encrypted/deskhand.key", path)


def opened(tmp_path: Path, holder: Credential) -> Vault:
    return open_vault(tmp_path / "state", {}, config=tmp_path / "config", credential=holder)


def test_a_vault_that_only_this_machine_opens(tmp_path: Path, holder: Credential) -> None:
    create(tmp_path / "state", new_key(holder), NOW)
    vault = opened(tmp_path, holder)
    vault.set("a", "value", NOW)
    assert opened(tmp_path, holder).get("a") == "value"
    blob = Path(holder.place)
    assert stat.S_IMODE(blob.stat().st_mode) == 0o600
    assert stat.S_IMODE(blob.parent.stat().st_mode) == 0o700
    ((key, staged),) = holder.read()
    assert not staged
    assert key not in blob.read_bytes()
    assert key.decode() not in (tmp_path / "calls").read_text(), "never in a process list"
    before = blob.read_bytes()
    vault.rekey(new_key(holder), NOW)
    assert blob.read_bytes() != before
    assert opened(tmp_path, holder).verify().opened_by == str(blob)
    blob.write_bytes(b"broken")
    with pytest.raises(VaultError, match="systemd-creds cannot decrypt"):
        opened(tmp_path, holder)


def test_a_rekey_that_broke_off_is_finished_by_the_next_change(tmp_path: Path, holder: Credential) -> None:
    create(tmp_path / "state", new_key(holder), NOW)
    before = Path(holder.place).read_bytes()
    opened(tmp_path, holder).rekey(new_key(holder), NOW)
    blob = Path(holder.place)
    blob.rename(blob.with_name("deskhand.key.new"))
    blob.write_bytes(before)
    vault = opened(tmp_path, holder)
    vault.set("a", "value", NOW)
    assert not blob.with_name("deskhand.key.new").exists()
    assert [staged for _, staged in holder.read()] == [False]


def test_a_power_cut_loses_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vault that is safe on disk needs the key's name there too, before it and after."""
    holder = Credential(tmp_path / "credstore.encrypted/deskhand.key")
    monkeypatch.setattr(holder, "_systemd_creds", lambda _, content: content[::-1])
    safe: list[str] = []
    sync = os.fsync

    def noted(handle: int) -> None:
        safe.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    holder.stage(b"key", None)
    assert safe[-1] == "credstore.encrypted"
    safe.clear()
    holder.commit()
    assert safe == ["credstore.encrypted"]


def test_from_a_key_file_and_back(tmp_path: Path, holder: Credential) -> None:
    file = KeyFile(tmp_path / "config/vault.key", OWNER)
    create(tmp_path / "state", new_key(file), NOW)
    vault = open_vault(tmp_path / "state", {}, config=tmp_path / "config")  # as before there was any credential
    vault.rekey(new_key(holder), NOW)
    assert vault.verify().backup == "good"
    assert sorted(path.name for path in file.path.parent.iterdir()) == ["vault.key.old"]
    vault.rekey(new_key(file), NOW)
    assert opened(tmp_path, holder).verify().opened_by == str(file.path)
    with pytest.raises(VaultError, match="holds another key, which may be in use elsewhere"):
        opened(tmp_path, holder).rekey(new_key(holder), NOW)


def test_what_it_cannot_do_without_is_told(tmp_path: Path, box: Box) -> None:
    nowhere = Credential(tmp_path / "blob", "/nonexistent")
    with pytest.raises(VaultError, match="systemd-creds cannot be run; a credential needs systemd 250 or newer"):
        nowhere.stage(b"x", None)
    assert list(nowhere.read()) == []
    if os.geteuid() == 0:
        box.places.manager.rmdir()
        with pytest.raises(Exception, match="--credential needs systemd, and it does not run this machine"):
            credential.needed(box.places, Recorded())
    else:
        with pytest.raises(Exception, match="--credential needs root"):
            credential.needed(box.places, Recorded())


def test_the_drop_in_is_the_one_in_the_repository(box: Box) -> None:
    run = Recorded()
    drop_in = credential.hand_over(box.places, run)
    assert drop_in == box.places.drop_ins / "credential.conf"
    assert "LoadCredentialEncrypted=deskhand.key:/etc/credstore.encrypted/deskhand.key" in drop_in.read_text()
    assert run.calls == ["systemctl daemon-reload"]


def test_an_update_keeps_what_the_vault_holds(own: Box) -> None:
    own.install()
    (own.places.config / "deskhand.yaml").write_text("mqtt: {password: vault:mq}\n")
    with pytest.raises(ConfigError) as caught:
        own.install()
    assert str(caught.value).endswith(
        "deskhand.yaml:1: mqtt.password: the service has no vault yet; install without this line, then:"
        " deskhand vault init; deskhand vault set NAME"
    )
    create(own.places.state, new_key(KeyFile(own.places.config / "vault.key", OWNER)), NOW)
    open_vault(own.places.state, {}, config=own.places.config).set("mq", "a-password", NOW)
    own.install()
