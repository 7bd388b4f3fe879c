"""The vault: secrets in one encrypted file. Importing this is cheap; cryptography is loaded when a vault is opened."""

from daemon.vault.entries import NAME, NAME_WORDS, VALUE_LIMIT, Entry, Listed
from daemon.vault.keys import KEY_FILE, KEY_FILE_VARIABLE, Holder, KeyFile, Keyring, Master, new_key, new_passphrase
from daemon.vault.store import BACKUP, FILE, Findings, Vault, create, open_vault

__all__ = [
    "BACKUP",
    "FILE",
    "KEY_FILE",
    "KEY_FILE_VARIABLE",
    "NAME",
    "NAME_WORDS",
    "VALUE_LIMIT",
    "Entry",
    "Findings",
    "Holder",
    "KeyFile",
    "Keyring",
    "Listed",
    "Master",
    "Vault",
    "create",
    "new_key",
    "new_passphrase",
    "open_vault",
]
