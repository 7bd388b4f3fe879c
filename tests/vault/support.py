"""A vault in a folder of its own, and what lies there."""

from collections.abc import Callable
from pathlib import Path

from daemon.vault import FILE, KeyFile, Keyring, Vault, create, new_key, open_vault
from daemon.vault.disk import owner_of

CANARY = "canary-7c1f-canary"
NOW = 1_795_000_000.0


class Box:
    """`state` and `config` folders with a vault that a key file opens; `open` is what another process would see."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.config = folder / "config"
        create(self.state, new_key(self.key_file), NOW)

    @property
    def path(self) -> Path:
        """The vault's file."""
        return self.state / FILE

    @property
    def key(self) -> Path:
        """The key file."""
        return self.config / "vault.key"

    @property
    def key_file(self) -> KeyFile:
        """A holder for it."""
        return KeyFile(self.key, owner_of(self.state))

    def open(self, passphrase: Callable[[], str] | None = None) -> Vault:
        """Open it anew. Raises VaultError."""
        return open_vault(self.state, {}, config=self.config, passphrase=passphrase)

    def holds(self) -> dict[str, str]:
        """Names and values, as another process would read them."""
        return {name: entry.value for name, entry in self.open().entries().items()}

    def bare(self) -> Vault:
        """Not opened yet."""
        return Vault(self.state, Keyring({}, self.config))

    def files(self) -> dict[str, bytes]:
        """Every file of both folders and its bytes."""
        return {p.name: p.read_bytes() for folder in (self.state, self.config) for p in sorted(folder.iterdir())}
