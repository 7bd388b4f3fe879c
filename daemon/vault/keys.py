"""Master keys: where they are found, how they are made, and how one takes the place of another."""

import base64
import binascii
import os
import secrets
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from daemon.errors import VaultError
from daemon.vault import disk
from daemon.vault.envelope import Argon2, Envelope

CREDENTIAL = "deskhand.key"
"""The name of the systemd credential."""
KEY_FILE = "vault.key"
"""The key file's name in the configuration's folder."""
KEY_FILE_VARIABLE = "DESKHAND_VAULT_KEY_FILE"
"""Names another key file."""
PASSPHRASE_FROM = 12
"""Shortest passphrase, in characters: whoever has the file can try as many as they like."""
_LIMIT = 4096


class Holder(Protocol):
    """Where a master key is kept. A vault that changes its key stages the new one first and commits it last."""

    @property
    def place(self) -> str:
        """Where, in words."""

    def read(self) -> Iterator[tuple[bytes, bool]]:
        """What is there and may be read: the staged key (True), then the one in its place (False).

        In this order a reader that finds no staged one finds it committed. Raises VaultError for what is not safe.
        """

    def stage(self, key: bytes, current: bytes | None) -> None:
        """Keep `key` beside the one in use, safe on disk. Raises VaultError if that is neither none nor `current`."""

    def commit(self) -> None:
        """Put the staged key into its place. Raises VaultError."""

    def discard(self) -> None:
        """Forget the staged key: nothing was encrypted with it."""

    def retire(self) -> None:
        """The key opens nothing any more."""


@dataclass(frozen=True, slots=True)
class Master:
    """A key for a vault: how a passphrase becomes it, if it comes from one, and who keeps it, if it is new."""

    key: bytes = field(repr=False)
    argon2: Argon2 | None = None
    holder: Holder | None = None


class Found(NamedTuple):
    """A key that may fit, where it was in words, and who keeps it; `unfinished` if it is only staged there."""

    key: bytes
    place: str
    holder: Holder | None = None
    unfinished: bool = False


def new_key(holder: Holder) -> Master:
    """A random key that `holder` will keep."""
    return Master(base64.urlsafe_b64encode(secrets.token_bytes(32)), None, holder)


def new_passphrase(text: str) -> Master:
    """A key made from a passphrase, with a salt of its own. Raises VaultError for one that is too short."""
    if len(text) < PASSPHRASE_FROM:
        raise VaultError(f"the passphrase is shorter than {PASSPHRASE_FROM} characters; several words are better")
    how = Argon2(secrets.token_bytes(16))
    return Master(derive(text, how), how)


def derive(text: str, how: Argon2) -> bytes:
    """The key that a passphrase makes; takes the memory and time that `how` says."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # only with a vault
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id  # noqa: PLC0415  # only with a vault

    try:
        raw = unicodedata.normalize("NFC", text).encode()
        kdf = Argon2id(salt=how.salt, length=32, iterations=how.passes, lanes=how.lanes, memory_cost=how.memory)
        return base64.urlsafe_b64encode(kdf.derive(raw))
    except UnicodeEncodeError:
        raise VaultError("the passphrase is not UTF-8") from None
    except UnsupportedAlgorithm:
        raise VaultError(
            "the cryptography package here was built without Argon2id; install its wheel, or use a key file"
        ) from None
    except MemoryError:
        raise VaultError(f"a passphrase needs {how.memory // 1024} MiB of memory, and they are not free") from None


def parse(raw: bytes, place: str) -> bytes:
    """The key in a file's bytes. Raises VaultError, without the bytes."""
    key = raw.strip()
    try:
        sound = len(key) == 44 and len(base64.urlsafe_b64decode(key)) == 32
    except (binascii.Error, ValueError):
        sound = False
    if not sound:
        raise VaultError(f"{place}: does not hold a vault's key")
    return key


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key in a file of its own, 0600; the one before it stays beside it as `.old`, for copies made before."""

    path: Path
    owner: disk.Owner

    @property
    def place(self) -> str:
        """See `Holder`."""
        return str(self.path)

    def read(self) -> Iterator[tuple[bytes, bool]]:
        """See `Holder`."""
        with suppress(OSError, VaultError):  # half written yet
            yield self._read(disk.staged(self.path)), True
        with suppress(OSError):
            yield self._read(self.path), False

    def stage(self, key: bytes, current: bytes | None) -> None:
        """See `Holder`."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            there: bytes | None = self._read(self.path)
        except FileNotFoundError:
            there = None
        except OSError as error:
            raise VaultError(f"{self.path}: cannot be written: {error.strerror}") from None
        if there is not None and there != current:
            raise VaultError(f"{self.path}: holds another key, which may be in use elsewhere; move it away first")
        disk.stage(self.path, key + b"\n", self.owner)

    def commit(self) -> None:
        """See `Holder`."""
        new = disk.staged(self.path)
        try:
            disk.keep(self.path, old(self.path))
            os.replace(new, self.path)  # noqa: PTH105  # see disk.replace
            disk.settle(self.path.parent)
        except OSError as error:
            raise VaultError(
                f"{self.path}: could not be replaced: {error.strerror}; the vault's new key is in {new}"
            ) from None

    def discard(self) -> None:
        """See `Holder`."""
        with suppress(OSError):
            os.unlink(disk.staged(self.path))  # noqa: PTH108  # see disk.replace

    def retire(self) -> None:
        """See `Holder`. It stays as `.old`, for copies of the vault made before."""
        with suppress(OSError):
            os.replace(self.path, old(self.path))  # noqa: PTH105  # see disk.replace

    def _read(self, path: Path) -> bytes:
        return parse(disk.read(path, _LIMIT, self.owner, private=True, follow=True), str(path))


def old(path: Path) -> Path:
    """Where a key file goes when another takes its place."""
    return path.with_name(f"{path.name}.old")


class Keyring:
    """Every way to a master key that there is here; the first that fits is taken: credential, key file, passphrase.

    `config` is the configuration's folder. `credential` keeps the encrypted one that a service is handed, for root.
    `passphrase` asks a person; the answer is kept as the key it makes, so that nobody is asked twice.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        config: Path | None = None,
        *,
        passphrase: Callable[[], str] | None = None,
        credential: Holder | None = None,
    ) -> None:
        self._environ = environ
        self._config = config
        self._passphrase = passphrase
        self._others = [credential] if credential else []
        self._derived: dict[Argon2, bytes] = {}

    def file(self) -> Path:
        """The key file that is there, else the one that a new vault gets."""
        files = self._files()
        return next((path for path in files if os.path.lexists(path)), files[0])

    def _files(self) -> list[Path]:
        if self._environ.get(KEY_FILE_VARIABLE):
            return [Path(self._environ[KEY_FILE_VARIABLE]).expanduser().absolute()]
        home = self._environ.get("HOME")
        folders = [self._config, Path(home, ".config/deskhand") if home else None]
        return list(dict.fromkeys(folder.absolute() / KEY_FILE for folder in folders if folder)) or [
            Path("/etc/deskhand", KEY_FILE)
        ]

    def keys(self, envelope: Envelope, vault: Path) -> Iterator[Found]:
        """The keys that may fit `envelope`, read from `vault`. Raises VaultError for what is not safe, or no key."""
        if envelope.argon2:
            yield Found(self._from_person(envelope.argon2, vault), "the passphrase")
            return
        if self._environ.get("CREDENTIALS_DIRECTORY"):
            path = Path(self._environ["CREDENTIALS_DIRECTORY"], CREDENTIAL)
            with suppress(OSError):  # systemd has seen to who can read it, with an owner and a mode of its own
                yield Found(parse(disk.read(path, _LIMIT, None), str(path)), str(path))
        files = [KeyFile(path, disk.owner_of(vault.parent)) for path in self._files()]
        for holder in (*files, *self._others):
            for key, unfinished in holder.read():
                yield Found(key, holder.place, holder, unfinished)

    def _from_person(self, how: Argon2, vault: Path) -> bytes:
        if how not in self._derived:
            if self._passphrase is None:
                raise VaultError(
                    f"{vault}: opens with a passphrase, and there is nobody to ask; use --passphrase-stdin, or give it"
                    " a key file: deskhand vault rekey"
                )
            self._derived[how] = derive(self._passphrase(), how)
        return self._derived[how]

    def learn(self, master: Master) -> None:
        """Know a new key, wherever it is kept, and a new passphrase without asking for it again."""
        if master.argon2:
            self._derived[master.argon2] = master.key
        if master.holder:
            self._others.append(master.holder)

    def looked_at(self) -> str:
        """Where a key was looked for, in words."""
        credential = self._environ.get("CREDENTIALS_DIRECTORY")
        first = [str(Path(credential, CREDENTIAL))] if credential else []
        return ", ".join([*first, *map(str, self._files())])
