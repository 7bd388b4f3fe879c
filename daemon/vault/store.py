"""The vault itself: read anew at every call, changed under a lock, replaced in one step, a backup beside it."""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from daemon.errors import DeskhandError, VaultError
from daemon.vault import disk, envelope
from daemon.vault.entries import Contents, Entry, Listed, read
from daemon.vault.keys import Found, Holder, Keyring, Master

FILE = "vault"
"""The vault's name in the state folder."""
BACKUP = "vault.bak"
"""The last good one before it; after `rotate` and `rekey` the same as the vault, because the old keys are to go."""
_READS = 3  # another process may be changing the key between our look at the vault and at the key


@dataclass(frozen=True, slots=True)
class Findings:
    """What `verify` found: how many secrets, what opened them, and `backup`: good, missing or what is wrong with it."""

    count: int
    opened_by: str
    backup: str


@dataclass(slots=True)
class _Open:
    """A vault while it is open: the key and the data keys that opened it, and what is in it."""

    master: Master
    found: Found
    data_keys: list[bytes]
    contents: Contents


class Vault:
    """The vault in `folder`. It holds no secret itself: each call reads the file, and what it read is dropped.

    Every method raises VaultError for a vault that does not open, naming what is wrong and the backup; a method that
    fails has changed nothing. Times are seconds since the epoch.
    """

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self.path = folder / FILE
        self.backup = folder / BACKUP
        self._keyring = keyring

    def entries(self) -> dict[str, Entry]:
        """Everything in it, by name."""
        return self._open(self.path).contents.entries

    def get(self, name: str) -> str:
        """One value. Raises DeskhandError if there is none of that name."""
        entry = self.entries().get(name)
        return entry.value if entry else _unknown(name)

    def names(self) -> list[str]:
        """The names, in order."""
        return sorted(self.entries())

    def listed(self) -> list[Listed]:
        """Every secret as it may be shown."""
        return self._open(self.path).contents.listed()

    def set(self, name: str, value: str, now: float) -> None:
        """Put a value there, new or in place of another. Raises DeskhandError for a name or value that cannot be."""
        with self._change() as opened:
            opened.contents.set(name, value, now)
            self._write(opened, now)

    def rm(self, name: str, now: float) -> None:
        """Take one out; the backup has it until the next change. Raises DeskhandError if there is none."""
        with self._change() as opened:
            opened.contents.entries.pop(name, None) or _unknown(name)
            self._write(opened, now)

    def rotate(self, now: float) -> None:
        """Encrypt everything with a new data key, and drop the old one; the master key stays."""
        with self._change() as opened:
            opened.data_keys.insert(0, _data_key())
            self._write(opened, now, again=True)

    def rekey(self, master: Master, now: float) -> None:
        """Let another master key open it, and rotate the data key too. An old key file stays beside it as `.old`."""
        with self._change() as opened:
            if master.holder:
                master.holder.stage(master.key, opened.master.key)
            self._keyring.learn(master)
            before, opened.master = opened.found, master
            opened.data_keys.insert(0, _data_key())
            raw = self._raw(self.path)
            try:
                self._write(opened, now, again=True, finish=master.holder.commit if master.holder else None)
            except VaultError:
                with suppress(VaultError):  # then nobody knows, and the new key must stay
                    if master.holder and self._raw(self.path) == raw:
                        master.holder.discard()
                raise
            if before.holder and before.holder != master.holder:
                before.holder.retire()

    def verify(self) -> Findings:
        """Open it and its backup, and look at all that is in them."""
        opened = self._open(self.path)
        backup = "good"
        if not self.backup.exists():
            backup = "missing"
        else:
            try:
                self._open(self.backup)
            except VaultError as error:
                backup = str(error)
        return Findings(len(opened.contents.entries), opened.found.place, backup)

    def export(self, to: Path) -> None:
        """Write an encrypted copy, 0600, that the same key opens. Raises VaultError rather than overwrite."""
        self._open(self.path)
        raw = self._raw(self.path)
        try:
            handle = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise VaultError(f"{to}: is there already; nothing was written") from None
        except OSError as error:
            raise VaultError(f"{to}: cannot be written: {error.strerror}") from None
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(handle)
            disk.settle(to.parent)
        except OSError as error:
            to.unlink(missing_ok=True)
            raise VaultError(f"{to}: cannot be written: {error.strerror}") from None

    def _raw(self, path: Path) -> bytes:
        try:
            return disk.read(path, envelope.SIZE_LIMIT, disk.owner_of(path.parent))
        except FileNotFoundError:
            if path == self.path and self.backup.exists():
                raise VaultError(f"{path}: is gone{self._remedy(path)}") from None
            raise VaultError(f"{path}: there is no vault; run: deskhand vault init") from None
        except OSError as error:
            raise VaultError(f"{path}: cannot be read: {error.strerror}") from None

    def _remedy(self, path: Path) -> str:
        """What to do about a file that is damaged; said only where there is a backup to go back to."""
        if path != self.path or not self.backup.exists():
            return ""
        return f"; the last good one is its backup; run: cp -p {shlex.quote(str(self.backup))} {shlex.quote(str(path))}"

    def _open(self, path: Path) -> _Open:
        tried: list[str] = []
        for _ in range(_READS):
            raw = self._raw(path)
            form = envelope.read(raw, path, self._remedy(path))
            opened, tried = self._unlock(form, path)
            if opened:
                return opened
            if form.argon2 or raw == self._raw(path):
                break
        if not tried:
            raise VaultError(f"{path}: its key is not there; looked at {self._keyring.looked_at()}")
        one = "does not open it" if len(tried) == 1 else "do not open it"
        raise VaultError(f"{path}: {' and '.join(tried)} {one}: another key is needed, or the file was forged")

    def _unlock(self, form: envelope.Envelope, path: Path) -> tuple[_Open | None, list[str]]:
        """What `form` holds, or None and the places of the keys that do not fit."""
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet  # noqa: PLC0415  # only with a vault

        tried = []
        for found in self._keyring.keys(form, path):
            try:
                data_keys = Fernet(found.key).decrypt(form.keys).split()
            except InvalidToken:
                tried.append(found.place)
                continue
            try:
                contents = read(MultiFernet([Fernet(key) for key in data_keys]).decrypt(form.data))
            except (InvalidToken, ValueError):
                raise VaultError(f"{path}: its key fits, but not what is in it{self._remedy(path)}") from None
            return _Open(Master(found.key, form.argon2), found, data_keys, contents), tried
        return None, tried

    @contextmanager
    def _change(self) -> Iterator[_Open]:
        self._open(self.path)  # first: whoever has to be asked is asked, and where there is no vault no lock is made
        with disk.only_writer(self.path.parent):
            opened = self._open(self.path)
            if opened.found.unfinished and opened.found.holder:  # a `rekey` was killed before its last step
                opened.found.holder.commit()
            yield opened

    def _write(
        self, opened: _Open, now: float, *, again: bool = False, finish: Callable[[], None] | None = None
    ) -> None:
        """Replace the file; with `again` only the first data key stays, and the backup follows."""
        if again:
            del opened.data_keys[1:]
        content = _sealed(opened, now)
        disk.replace(self.path, content, backup=self.backup)
        if finish:
            finish()
        if again:
            self._open(self.path)
            with suppress(OSError):  # it is only older then
                disk.keep(self.path, self.backup)


def open_vault(
    folder: Path,
    environ: Mapping[str, str],
    *,
    config: Path | None = None,
    passphrase: Callable[[], str] | None = None,
    credential: Holder | None = None,
) -> Vault:
    """The vault in `folder`, opened by whatever key there is; see `Keyring`. Raises VaultError if it does not open."""
    vault = Vault(folder, Keyring(environ, config, passphrase=passphrase, credential=credential))
    vault.names()
    return vault


def create(folder: Path, master: Master, now: float) -> Path:
    """Make an empty vault in `folder`; returns its path. Raises VaultError if there is one, or a backup of one."""
    path = folder / FILE
    with disk.only_writer(folder):
        for there in (path, folder / BACKUP):
            if os.path.lexists(there):
                raise VaultError(f"{there}: there is a vault already; nothing was changed")
        if master.holder:
            master.holder.stage(master.key, None)
            master.holder.commit()
        opened = _Open(master, Found(master.key, ""), [_data_key()], Contents())
        disk.replace(path, _sealed(opened, now))
    return path


def _sealed(opened: _Open, now: float) -> bytes:
    from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415  # only with a vault

    ring = MultiFernet([Fernet(key) for key in opened.data_keys])
    keys = Fernet(opened.master.key).encrypt_at_time(b"\n".join(opened.data_keys), int(now))
    data = ring.encrypt_at_time(opened.contents.dump(), int(now))
    return envelope.Envelope(opened.master.argon2, keys, data).dump()


def _data_key() -> bytes:
    from cryptography.fernet import Fernet  # noqa: PLC0415  # only with a vault

    return Fernet.generate_key()


def _unknown(name: str) -> NoReturn:
    raise DeskhandError(f"the vault holds no {name}")
