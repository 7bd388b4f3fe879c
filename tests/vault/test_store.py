"""What a vault takes, gives back, and never shows."""

import hashlib
import json
import stat
from pathlib import Path

import pytest

from daemon.errors import DeskhandError, VaultError
from daemon.vault import VALUE_LIMIT, create, new_key, new_passphrase, open_vault
from tests.vault.support import CANARY, NOW, Box

WORDS = "correct horse battery staple"


def test_what_goes_in_comes_out(box: Box) -> None:
    vault = box.open()
    values = {"a": "x", "poly.maker_key-1": CANARY, "pem": "-----BEGIN-----\nzwei\n", "umlaut": "schlüssel \U0001f511"}
    for name, value in values.items():
        vault.set(name, value, NOW)
    assert box.holds() == values
    assert vault.names() == sorted(values)
    assert vault.get("pem") == values["pem"]
    vault.set("a", "y", NOW + 5)
    vault.rm("pem", NOW + 6)
    assert box.holds() == {"a": "y", "poly.maker_key-1": CANARY, "umlaut": values["umlaut"]}
    assert [each.since for each in vault.listed()] == [NOW + 5, NOW, NOW]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65, "ä", "a\n", "vault:x"])
def test_a_name_is_a_plain_word(box: Box, name: str) -> None:
    with pytest.raises(DeskhandError, match="a name is 1 to 64 of"):
        box.open().set(name, "v", NOW)
    assert box.holds() == {}


@pytest.mark.parametrize("value", ["", CANARY * 4000, "ä" * (VALUE_LIMIT // 2 + 1), "\ud800" + CANARY])
def test_a_value_that_does_not_fit_is_refused_and_not_echoed(box: Box, value: str) -> None:
    box.open().set("a", "before", NOW)
    files = box.files()
    with pytest.raises(DeskhandError) as caught:
        box.open().set("a", value, NOW)
    assert "canary" not in str(caught.value)
    assert box.files() == files


def test_the_largest_value_fits_and_a_full_vault_says_so(box: Box) -> None:
    vault = box.open()
    vault.set("most", "x" * VALUE_LIMIT, NOW)
    assert len(vault.get("most")) == VALUE_LIMIT
    from daemon.vault.entries import Contents

    full = Contents()
    for number in range(140):
        full.set(f"n{number}", "x" * VALUE_LIMIT, NOW)
    with pytest.raises(DeskhandError, match="the vault is full"):
        full.dump()


def test_neither_names_nor_values_nor_their_hashes_are_in_any_file(box: Box) -> None:
    vault = box.open()
    vault.set("a-telling-name", CANARY, NOW)
    vault.rotate(NOW)
    vault.set("another", "other", NOW)
    everything = b"".join(box.files().values())
    for secret in (b"a-telling-name", CANARY.encode(), hashlib.sha256(CANARY.encode()).hexdigest()[-8:].encode()):
        assert secret not in everything
    head = box.path.read_text().splitlines()[:2]
    assert head == ["deskhand-vault 1", "needs key"]


def test_a_fingerprint_tells_values_apart_and_says_nothing_about_them(tmp_path: Path) -> None:
    first, second = Box(tmp_path / "1"), Box(tmp_path / "2")
    for box in (first, second):
        for name, value in (("pin", "0042"), ("same", "0042"), ("other", "0043")):
            box.open().set(name, value, NOW)
    prints = {each.name: each.fingerprint for each in first.open().listed()}
    assert prints["pin"] == prints["same"]
    assert all(len(each) == 4 for each in prints.values())
    # Unkeyed, ten thousand tries would find a PIN; keyed, another vault's says something else of the same value.
    assert prints != {each.name: each.fingerprint for each in second.open().listed()}
    assert prints["pin"] != hashlib.sha256(b"0042").hexdigest()[-4:]
    first.open().rotate(NOW)
    assert prints == {each.name: each.fingerprint for each in first.open().listed()}, "the same after a rotation"


def test_nothing_shows_in_a_repr(box: Box) -> None:
    vault = box.open()
    vault.set("a", CANARY, NOW)
    opened = vault._open(box.path)
    key = box.key.read_text().strip()
    shown = f"{vault!r} {vault.entries()!r} {vault.listed()!r} {opened.master!r} {opened.contents!r} {vault.__dict__!r}"
    assert CANARY not in shown
    assert key not in shown


def test_every_file_is_ours_alone(box: Box) -> None:
    vault = box.open()
    vault.set("a", "b", NOW)
    vault.rekey(new_key(box.key_file), NOW)
    vault.export(box.config / "copy")
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for folder in (box.state, box.config) for p in folder.iterdir()}
    assert modes == dict.fromkeys(["vault", "vault.bak", "vault.lock", "vault.key", "vault.key.old", "copy"], 0o600)
    assert stat.S_IMODE(box.state.stat().st_mode) == stat.S_IMODE(box.config.stat().st_mode) == 0o700


def test_the_backup_is_the_last_good_one(box: Box) -> None:
    vault = box.open()
    vault.set("a", "1", NOW)
    before = box.path.read_bytes()
    vault.set("a", "2", NOW)
    backup = box.state / "vault.bak"
    assert backup.read_bytes() == before
    box.path.unlink()
    with pytest.raises(VaultError, match=r"vault: is gone; the last good one is its backup; run: cp -p .*vault.bak"):
        box.open()
    backup.rename(box.path)
    assert box.holds() == {"a": "1"}


def test_rotate_drops_the_old_data_key_everywhere(box: Box) -> None:
    vault = box.open()
    vault.set("a", "1", NOW)
    before = vault._open(box.path).data_keys
    vault.rotate(NOW + 1)
    after = vault._open(box.path).data_keys
    assert len(before) == len(after) == 1
    assert before != after
    assert (box.state / "vault.bak").read_bytes() == box.path.read_bytes(), "nothing is left that the old key opens"
    assert box.holds() == {"a": "1"}
    assert vault.verify().backup == "good"


def test_rekey_to_another_key_file_a_passphrase_and_back(box: Box) -> None:
    vault = box.open()
    vault.set("a", "1", NOW)
    vault.export(box.config / "copy")
    first = box.key.read_bytes()
    vault.rekey(new_key(box.key_file), NOW)
    assert box.key.read_bytes() != first
    assert (box.config / "vault.key.old").read_bytes() == first, "copies made before stay readable"
    vault.rekey(new_passphrase(WORDS), NOW)
    assert not box.key.exists()
    assert vault.get("a") == "1", "nobody is asked for what they have just given"
    with pytest.raises(VaultError, match="opens with a passphrase, and there is nobody to ask"):
        box.open()
    with pytest.raises(VaultError, match="the passphrase does not open it"):
        box.open(lambda: WORDS + "r")
    asked: list[int] = []

    def person() -> str:
        asked.append(1)
        return WORDS

    again = box.open(person)
    assert [again.get("a") for _ in range(5)] == ["1"] * 5
    assert asked == [1], "asked once"
    assert again.verify().backup == "good"
    again.rekey(new_key(box.key_file), NOW)
    assert box.holds() == {"a": "1"}


def test_the_same_passphrase_makes_another_key_each_time() -> None:
    first, second = new_passphrase(WORDS), new_passphrase(WORDS)
    assert first.key != second.key
    assert first.argon2
    assert second.argon2
    assert first.argon2.salt != second.argon2.salt
    assert (len(first.argon2.salt), first.argon2.memory, first.argon2.passes) == (16, 65536, 3)
    with pytest.raises(VaultError, match="shorter than 12 characters"):
        new_passphrase("short")


def test_a_key_file_that_is_anothers_is_never_replaced(box: Box, tmp_path: Path) -> None:
    other = Box(tmp_path / "other")
    before = other.files()
    with pytest.raises(VaultError, match="holds another key, which may be in use elsewhere; move it away first"):
        box.open().rekey(new_key(other.key_file), NOW)
    assert other.files() == before
    assert box.holds() == {}


def test_there_is_one_vault_to_a_folder(box: Box) -> None:
    files = box.files()
    for path in (box.path, box.state / "vault.bak"):
        with pytest.raises(VaultError, match=f"{path}: there is a vault already"):
            create(box.state, new_key(box.key_file), NOW)
        assert box.files() == files
        if box.path.exists():
            box.path.rename(box.state / "vault.bak")
        files = box.files()


def test_a_copy_is_encrypted_and_overwrites_nothing(box: Box, tmp_path: Path) -> None:
    vault = box.open()
    vault.set("a", CANARY, NOW)
    copy = tmp_path / "copy"
    vault.export(copy)
    assert copy.read_bytes() == box.path.read_bytes()
    for there in (copy, tmp_path / "link"):
        if not there.exists():
            there.symlink_to(tmp_path / "nowhere")
        with pytest.raises(VaultError, match=f"{there}: is there already; nothing was written"):
            vault.export(there)
    with pytest.raises(VaultError, match="cannot be written: No such file or directory"):
        vault.export(tmp_path / "no" / "folder")
    assert not (tmp_path / "nowhere").exists()


def test_what_is_not_there_is_told_and_nothing_is_made(tmp_path: Path, box: Box) -> None:
    with pytest.raises(VaultError, match="there is no vault; run: deskhand vault init"):
        open_vault(tmp_path / "none", {}, config=box.config)
    assert not (tmp_path / "none").exists()
    for call in (lambda: box.open().get("x"), lambda: box.open().rm("x", NOW)):
        with pytest.raises(DeskhandError, match="the vault holds no x") as caught:
            call()
        assert not isinstance(caught.value, VaultError), "a missing name is no damage"


def test_contents_of_another_shape_are_damage() -> None:
    from daemon.vault.entries import read

    for raw in (
        b"",
        b"[]",
        b"{}",
        b'{"secrets": {}, "mark": "zz"}',
        b'{"secrets": {"a": {"value": 1, "set": 1}}}',
        b"\xff",
    ):
        with pytest.raises(ValueError, match="not the contents of a vault"):
            read(raw)
    tree = {"mark": "00", "secrets": {"a b": {"value": CANARY, "set": 1}}}
    with pytest.raises(ValueError, match="not the contents") as caught:
        read(json.dumps(tree).encode())
    assert caught.value.__cause__ is None
