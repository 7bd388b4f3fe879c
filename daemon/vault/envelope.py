"""The file's form: lines of ASCII that give nothing away but which kind of key is needed, and a checksum.

    deskhand-vault 1
    needs key                    or: needs passphrase argon2id m=65536 t=3 p=4 salt=...
    keys TOKEN                   the data keys, encrypted with the master key (Fernet)
    data TOKEN                   names, values and times in one piece, encrypted with the data keys (MultiFernet)
    sha256 ...                   of all before it: tells a damaged file from a wrong key

The salt is in here and not in a file of its own, so that a change of the passphrase replaces both in one step.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import VaultError

SIZE_LIMIT = 16 * 1024 * 1024
"""Largest file read, in bytes."""
VERSION = 1
_HEAD = re.compile(rb"deskhand-vault ([0-9]{1,9})\n")
_FORM = re.compile(
    rb"deskhand-vault 1\n"
    rb"needs (?:key|passphrase argon2id m=([1-9][0-9]{0,7}) t=([1-9][0-9]?) p=([1-9][0-9]?)"
    rb" salt=([A-Za-z0-9_-]{22})==)\n"
    rb"keys ([A-Za-z0-9_=-]+)\ndata ([A-Za-z0-9_=-]+)\n"
)
_TAIL = len(b"sha256 \n") + 64


@dataclass(frozen=True, slots=True)
class Argon2:
    """What turns a passphrase into a key: memory in KiB, passes over it, lanes, and the salt.

    The defaults are RFC 9106's second recommendation: a tenth of a second here, for every guess too.
    """

    salt: bytes
    memory: int = 64 * 1024
    passes: int = 3
    lanes: int = 4

    def within_reason(self) -> bool:
        """Whether a machine that could write this can do it again; a forged file must not eat the memory."""
        return 8 * self.lanes <= self.memory <= 1024 * 1024 and self.passes <= 32 and self.lanes <= 16


@dataclass(frozen=True, slots=True)
class Envelope:
    """The file's parts; `argon2` is None where the key is a file or a credential."""

    argon2: Argon2 | None
    keys: bytes
    data: bytes

    def dump(self) -> bytes:
        """The file's bytes."""
        needs = b"key"
        if self.argon2:
            how = self.argon2
            salt = base64.urlsafe_b64encode(how.salt).decode()
            needs = f"passphrase argon2id m={how.memory} t={how.passes} p={how.lanes} salt={salt}".encode()
        body = b"deskhand-vault %d\nneeds %b\nkeys %b\ndata %b\n" % (VERSION, needs, self.keys, self.data)
        return body + _checksum(body)


def read(raw: bytes, path: Path, remedy: str) -> Envelope:
    """The parts of the file at `path`. Raises VaultError with what is wrong, then `remedy`."""
    head = _HEAD.match(raw)
    if not head:
        raise VaultError(f"{path}: is not a vault, or its beginning is damaged{remedy}")
    if int(head[1]) != VERSION:
        raise VaultError(f"{path}: has form {int(head[1])}, this deskhand reads form {VERSION}; install a newer one")
    body, tail = raw[:-_TAIL], raw[-_TAIL:]
    if not tail.startswith(b"sha256 ") or not tail.endswith(b"\n") or b"\n" in tail[:-1]:
        raise VaultError(f"{path}: is cut off{remedy}")
    form = _FORM.fullmatch(body)
    if _checksum(body) != tail or not form:
        raise VaultError(f"{path}: is damaged: its checksum is not that of its contents{remedy}")
    memory, passes, lanes, salt, keys, data = form.groups()
    if memory is None:
        return Envelope(None, keys, data)
    how = Argon2(base64.urlsafe_b64decode(salt + b"=="), int(memory), int(passes), int(lanes))
    if not how.within_reason():
        raise VaultError(f"{path}: asks for more memory or time than any deskhand would{remedy}")
    return Envelope(how, keys, data)


def _checksum(body: bytes) -> bytes:
    return b"sha256 %b\n" % hashlib.sha256(body).hexdigest().encode()
