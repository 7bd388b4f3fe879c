"""A damaged vault, a wrong key, a disk that fails: each is its own clear error, and nothing is ever overwritten."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import VaultError
from daemon.vault import KeyFile, new_key, new_passphrase
from daemon.vault.disk import owner_of
from tests.vault.support import CANARY, NOW, Box

STEPS = ("open", "write", "fsync", "link", "replace", "unlink", "fchmod")


def filled(box: Box) -> bytes:
    box.open().set("a", CANARY, NOW)
    box.open().set("b", "two", NOW)
    return box.path.read_bytes()


def refuses(box: Box) -> str:
    """Reading and changing are refused with the same words, and every file stays as it is."""
    files = box.files()
    said = set()
    for act in (
        lambda v: v.names(),
        lambda v: v.set("a", "new", NOW),
        lambda v: v.rotate(NOW),
        lambda v: v.rm("a", NOW),
    ):
        with pytest.raises(VaultError) as caught:
            act(box.bare())  # type: ignore[no-untyped-call]  # mypy takes a lambda in a list for one
        said.add(str(caught.value))
    assert box.files() == files
    assert len(said) == 1
    assert "canary" not in said.copy().pop()
    return said.pop()


def test_every_flipped_bit_is_found(box: Box) -> None:
    raw = filled(box)
    said = set()
    for at in range(len(raw)):
        for bit in (0x01, 0x20, 0x80):
            box.path.write_bytes(raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :])
            with pytest.raises(VaultError) as caught:
                box.bare().names()
            said.add(str(caught.value).removeprefix(f"{box.path}: ").partition(";")[0])
    assert {each for each in said if not each.startswith("has form ")} == {
        "is not a vault, or its beginning is damaged",
        "is cut off",
        "is damaged: its checksum is not that of its contents",
    }
    box.path.write_bytes(raw[:100] + b"A" + raw[101:] if raw[100:101] != b"A" else raw[:100] + b"B" + raw[101:])
    assert refuses(box) == (
        f"{box.path}: is damaged: its checksum is not that of its contents; the last good one is its backup;"
        f" run: cp -p {box.state}/vault.bak {box.path}"
    )


def test_every_length_is_found(box: Box) -> None:
    raw = filled(box)
    for length in range(len(raw)):
        box.path.write_bytes(raw[:length])
        with pytest.raises(VaultError):
            box.bare().names()
    for longer in (raw + b"\n", raw + b"x", raw + raw):
        box.path.write_bytes(longer)
        with pytest.raises(VaultError):
            box.bare().names()
    box.path.write_bytes(raw[: len(raw) // 2])
    assert "is cut off; the last good one is its backup" in refuses(box)
    box.path.write_bytes(b"")
    assert "is not a vault, or its beginning is damaged" in refuses(box)


def test_the_command_that_the_error_gives_helps(box: Box) -> None:
    filled(box)
    box.path.write_bytes(b"nothing")
    command = refuses(box).partition("run: ")[2]
    assert os.system(command) == 0
    assert box.holds() == {"a": CANARY}


def test_a_newer_form_is_left_alone(box: Box) -> None:
    raw = filled(box)
    box.path.write_bytes(raw.replace(b"deskhand-vault 1", b"deskhand-vault 2", 1))
    assert refuses(box) == f"{box.path}: has form 2, this deskhand reads form 1; install a newer one"


def forge(box: Box, change: Callable[[bytes], bytes]) -> None:
    """As somebody would who can write the file: with a checksum that fits."""
    body = change(box.path.read_bytes()[: -len("sha256 \n") - 64])
    box.path.write_bytes(body + f"sha256 {hashlib.sha256(body).hexdigest()}\n".encode())


def test_a_forged_file_does_not_open(box: Box, tmp_path: Path) -> None:
    filled(box)
    other = Box(tmp_path / "other")
    filled(other)
    theirs = other.path.read_bytes().splitlines(keepends=True)

    def with_line(number: int) -> Callable[[bytes], bytes]:
        def change(body: bytes) -> bytes:
            lines = body.splitlines(keepends=True)
            return b"".join([*lines[:number], theirs[number], *lines[number + 1 :]])

        return change

    forge(box, with_line(2))
    assert f"{box.key} does not open it: another key is needed, or the file was forged" in refuses(box)
    filled_again = Box(tmp_path / "again")
    filled(filled_again)
    forge(filled_again, with_line(3))
    assert "its key fits, but not what is in it; the last good one is its backup" in refuses(filled_again)


@pytest.mark.parametrize("how", [b"m=9999999 t=3 p=4", b"m=65536 t=99 p=4", b"m=65536 t=3 p=99", b"m=16 t=3 p=4"])
def test_a_forged_header_does_not_eat_the_memory(box: Box, how: bytes) -> None:
    box.open().rekey(new_passphrase("correct horse battery"), NOW)
    forge(box, lambda body: body.replace(b"m=65536 t=3 p=4", how))
    with pytest.raises(VaultError, match="asks for more memory or time than any deskhand would"):
        box.open(lambda: pytest.fail("nobody is asked"))


def test_the_wrong_key_is_told_from_damage(box: Box, tmp_path: Path) -> None:
    filled(box)
    box.key.write_bytes(Box(tmp_path / "other").key.read_bytes())
    assert refuses(box) == (f"{box.path}: {box.key} does not open it: another key is needed, or the file was forged")
    box.key.unlink()
    assert refuses(box) == f"{box.path}: its key is not there; looked at {box.key}"
    box.key.write_text(CANARY)
    box.key.chmod(0o600)
    assert refuses(box) == f"{box.key}: does not hold a vault's key"


def test_a_backup_that_is_damaged_is_told(box: Box) -> None:
    filled(box)
    (box.state / "vault.bak").write_bytes(b"x")
    assert "is not a vault" in box.open().verify().backup
    (box.state / "vault.bak").unlink()
    assert box.open().verify().backup == "missing"


@pytest.mark.parametrize("make", ["link", "pipe", "folder"])
def test_what_is_not_a_plain_file_is_not_followed(box: Box, tmp_path: Path, make: str) -> None:
    filled(box)
    box.path.rename(tmp_path / "elsewhere")
    if make == "link":
        box.path.symlink_to(tmp_path / "elsewhere")
    elif make == "pipe":
        os.mkfifo(box.path)
    else:
        box.path.mkdir()
    with pytest.raises(VaultError, match=r"cannot be read|is not a plain file"):
        box.bare().names()


class Failing:
    """Lets the n-th call of these functions of `os` fail, as a full or broken disk would."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.left = at
        for name in STEPS:
            patch.setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args, **kwargs)

        return wrapped


@pytest.mark.parametrize("verb", ["set", "rotate", "rekey", "export"])
def test_a_disk_that_fails_at_any_step_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    said: list[str] = []
    left = 0
    for at in range(1, 200):
        box = Box(tmp_path / str(at))
        filled(box)
        vault = box.open()
        with monkeypatch.context() as patch:
            failing = Failing(patch, at)
            try:
                if verb == "set":
                    vault.set("a", "new", NOW)
                elif verb == "rotate":
                    vault.rotate(NOW)
                elif verb == "rekey":
                    vault.rekey(new_key(KeyFile(box.key, owner_of(box.state))), NOW)
                else:
                    vault.export(tmp_path / f"copy{at}")
            except VaultError as error:
                said.append(str(error))
        assert box.holds() in ({"a": CANARY, "b": "two"}, {"a": "new", "b": "two"})
        box.open().set("a", "newer", NOW)
        assert box.holds() == {"a": "newer", "b": "two"}, "and it can be changed again"
        left = failing.left
        if left > 0:
            break
    assert len(said) >= 5
    assert "canary" not in "".join(said)
    assert left > 0, "every step has been tried"


def test_a_full_disk_leaves_no_half_file(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(box)
    files = box.files()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(VaultError, match="could not be written: No space left on device; it is as it was"):
        box.open().set("a", "new", NOW)
    assert box.files() == files


def test_a_full_disk_leaves_no_key_that_opens_nothing(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vault's disk is full, that of its key file is not."""
    filled(box)
    files = box.files()
    write, calls = os.write, []

    def full(handle: int, content: bytes) -> int:
        calls.append(handle)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, content)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(VaultError, match="could not be written: No space left on device; it is as it was"):
        box.open().rekey(new_key(box.key_file), NOW)
    assert len(calls) == 2
    assert box.files() == files
