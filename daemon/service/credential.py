"""The vault's key as a credential of systemd: encrypted on disk for this machine, handed to the service alone."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from daemon.errors import DeskhandError, VaultError
from daemon.service import files
from daemon.service.manager import Manager
from daemon.service.payload import units
from daemon.service.places import Places
from daemon.service.runner import FALLBACK_PATH, Runner
from daemon.vault.disk import settle

BLOB = Path("/etc/credstore.encrypted/deskhand.key")
"""Where systemd looks for encrypted credentials, and where `systemd/credential.conf` says."""
DROP_IN = "credential.conf"
_NAME = "deskhand.key"
_PROGRAM_S = 30


class Credential:
    """The key of a system service's vault; only root can read or change it. Raises VaultError where systemd cannot."""

    def __init__(self, blob: Path = BLOB, path: str = FALLBACK_PATH) -> None:
        """`path` is where systemd's programs are looked for."""
        self._path = path
        self._blob = blob

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return str(self._blob)

    def read(self) -> Iterator[tuple[bytes, bool]]:
        """The staged key (True), then the one in its place (False), as far as they are there and we may read them."""
        for blob, staged in ((self._staged, True), (self._blob, False)):
            with suppress(OSError):
                content = blob.read_bytes()
                yield self._systemd_creds("decrypt", content), staged

    def stage(self, key: bytes, current: bytes | None) -> None:
        """Encrypt `key` beside the one in use; refuses when that is neither none nor `current`."""
        try:
            if self._blob.exists() and self._systemd_creds("decrypt", self._blob.read_bytes()) != current:
                raise VaultError(f"{self._blob}: holds another key, which may be in use elsewhere; move it away first")
            files.make_folder(self._blob.parent, mode=0o700, owner=None)
            files.put(self._staged, self._systemd_creds("encrypt", key), mode=0o600, owner=None)
            settle(self._blob.parent)  # before anything is encrypted with it
        except OSError as error:
            raise VaultError(f"{self._blob}: cannot be written: {error.strerror}") from None

    def commit(self) -> None:
        """Put the staged one into its place."""
        try:
            self._staged.replace(self._blob)
            settle(self._blob.parent)
        except OSError as error:
            raise VaultError(
                f"{self._blob}: could not be replaced: {error.strerror}; the vault's new key is in {self._staged}"
            ) from None

    def discard(self) -> None:
        """Forget the staged one."""
        with suppress(OSError):
            self._staged.unlink()

    def retire(self) -> None:
        """It stays: the service would not start without it while its drop-in asks for it."""

    @property
    def _staged(self) -> Path:
        return self._blob.with_name(f"{self._blob.name}.new")

    def _systemd_creds(self, verb: str, content: bytes) -> bytes:
        """Through pipes only: neither the key nor the way to it shows in a process list or on a disk."""
        command = ["systemd-creds", verb, f"--name={_NAME}", "-", "-"]
        try:
            done = subprocess.run(  # noqa: S603  # the words are ours, and no shell reads them
                command, input=content, capture_output=True, timeout=_PROGRAM_S, check=False, cwd="/",
                env={"PATH": self._path, "LANG": "C.UTF-8"},
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            raise VaultError("systemd-creds cannot be run; a credential needs systemd 250 or newer") from None
        if done.returncode or not done.stdout:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise VaultError(f"systemd-creds cannot {verb} {self._blob}: {said[-1] if said else 'no reason given'}")
        return done.stdout


def needed(places: Places, run: Runner) -> None:
    """Raises DeskhandError with what a credential cannot do without here."""
    if os.geteuid() != 0:
        raise DeskhandError("--credential needs root: sudo deskhand vault init --credential")
    if not Manager(places, run).running():
        raise DeskhandError("--credential needs systemd, and it does not run this machine; use a key file")


def hand_over(places: Places, run: Runner) -> Path:
    """Let systemd hand the credential to the service from its next start on; returns the drop-in that says so."""
    drop_in = places.drop_ins / DROP_IN
    places.drop_ins.mkdir(parents=True, exist_ok=True, mode=0o755)
    files.put(drop_in, (units() / DROP_IN).read_bytes(), mode=0o644, owner=None)
    Manager(places, run).tell("daemon-reload")
    return drop_in
