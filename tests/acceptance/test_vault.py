"""The daemon with a vault: references at the start and at a reload, a rotation under load, and a canary in memory."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.vault import KeyFile, Vault, create, new_key, open_vault
from tests.acceptance.desk import Desk, KeyServer, until
from tests.vault.support import NOW

CANARY = "canary-e07b-canary"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """In the daemon's state folder, its key beside `deskhand.yaml`."""
    create(tmp_path / "state", new_key(KeyFile(tmp_path / "vault.key", (os.geteuid(), os.getegid()))), NOW)
    found = open_vault(tmp_path / "state", {}, config=tmp_path)
    found.set("token", CANARY, NOW)
    found.set("spare", "spare-canary-e07b", NOW)
    return found


@pytest.fixture
def desk(tmp_path: Path, keys: KeyServer, vault: Vault) -> Iterator[Desk]:
    assert vault.names()
    with Desk(tmp_path, {"main": keys}, http={"token": "vault:token"}) as found:
        yield found


def test_a_value_from_the_vault_counts_and_is_nowhere_to_be_read(desk: Desk) -> None:
    assert desk.over_tcp("GET", "/status", token=CANARY)[0] == 200
    assert desk.over_tcp("GET", "/status", token="vault:token")[0] == 401
    assert desk.process
    process = Path(f"/proc/{desk.process.pid}")
    desk.get("/events")
    shown = [(process / name).read_text() for name in ("cmdline", "environ")]
    shown += [desk.log(), str(desk.status()), desk.file.read_text()]
    shown += [path.read_bytes().decode("latin-1") for path in desk.state.rglob("*") if path.is_file()]
    assert not [text for text in shown if "canary" in text]


def test_reload_takes_a_changed_value_over_and_refuses_a_missing_one(desk: Desk, vault: Vault) -> None:
    assert desk.reload() == {"status": "unchanged", "changed": []}
    vault.set("token", f"{CANARY}-2", NOW)
    assert desk.reload() == {
        "status": "reloaded",
        "changed": [{"key": "http.token", "old": "(secret)", "new": "(secret)"}],
    }
    assert desk.over_tcp("GET", "/status", token=f"{CANARY}-2")[0] == 200
    assert desk.over_tcp("GET", "/status", token=CANARY)[0] == 401
    answer = desk.reload(http={"token": "vault:gone"})
    assert answer["status"] == "refused"
    (problem,) = answer["problems"]
    assert problem.startswith(f"{desk.file}:")
    assert problem.endswith(": http.token: the vault holds no gone; run: deskhand vault set gone")
    assert desk.over_tcp("GET", "/status", token=f"{CANARY}-2")[0] == 200, "it runs on as it was"
    desk.write(http={"token": "vault:token"})
    whole = vault.path.read_bytes()
    vault.path.write_bytes(whole[:-3])
    assert "is cut off; the last good one is its backup" in desk.reload()["problems"][0]
    vault.path.write_bytes(whole)
    assert "canary" not in desk.log()


def test_it_does_not_start_without_its_secret(desk: Desk, vault: Vault) -> None:
    desk.stop()
    vault.rm("token", NOW)
    process = desk.spawn()
    assert process.wait(20) == 78
    desk.process = None
    assert "http.token: the vault holds no token; run: deskhand vault set token" in desk.log()


def test_a_vault_that_nothing_needs_does_not_keep_it_from_starting(
    tmp_path: Path, keys: KeyServer, vault: Vault
) -> None:
    assert vault.names()
    (tmp_path / "vault.key").unlink()
    with Desk(tmp_path, {"main": keys}) as desk:
        desk.done("entry")
        assert "its key is not there" in desk.log()
        assert "no setting needs it" in desk.log()


def test_a_passphrase_on_stdin_serves_reloads_too(tmp_path: Path, keys: KeyServer, vault: Vault) -> None:
    from daemon.vault import new_passphrase

    vault.rekey(new_passphrase("correct horse battery"), NOW)
    desk = Desk(tmp_path, {"main": keys}, http={"token": "vault:token"})
    read, write = os.pipe()
    os.write(write, b"correct horse battery\n")
    os.close(write)
    stdin = os.dup(0)
    os.dup2(read, 0)
    try:
        desk.spawn(options=["--passphrase-stdin"])
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
        os.close(read)
    try:
        until(desk.is_ready, what="the daemon is not ready")
        vault.set("token", f"{CANARY}-3", NOW)
        assert desk.reload()["status"] == "reloaded"
        assert desk.over_tcp("GET", "/status", token=f"{CANARY}-3")[0] == 200
    finally:
        assert desk.stop() == 0


def test_rotations_and_reloads_while_events_go_through(desk: Desk, vault: Vault) -> None:
    """1,000 reads of the vault and a stream of events, and no failure in either."""
    over, problems = threading.Event(), []
    reads = [0]

    def read() -> None:
        while not over.is_set() or reads[0] < 1000:
            if open_vault(desk.state, {}, config=desk.folder).get("token") != CANARY:
                problems.append("another value")
            reads[0] += 1

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    try:
        for number in range(20):
            vault.rotate(NOW)
            desk.done(("entry", "sl")[number % 2], trade_id=f"t{number // 2}")
            if number % 5 == 0:
                assert desk.reload()["status"] == "unchanged"
    finally:
        over.set()
        reader.join(50)
    assert problems == []
    assert reads[0] >= 1000
    assert desk.over_tcp("GET", "/status", token=CANARY)[0] == 200
