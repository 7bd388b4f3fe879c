"""The vault of an installed service: a key file, then a credential of systemd, and what each user may see of it."""

from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.desk import Json, until
from tests.systemd.machine import Machine
from tests.systemd.service import Keys, Service

CANARY = "canary-5d21-canary-5d21"
BLOB = "/etc/credstore.encrypted/deskhand.key"
DROP_IN = "/etc/systemd/system/deskhand.service.d/credential.conf"


@pytest.fixture(scope="module")
def service(boot: Callable[[], Machine]) -> Iterator[Service]:
    """A service with a vault in which lies the token of the HTTP API."""
    with boot() as machine:
        keys = Keys(machine).start()
        found = Service(machine).install({"mode": "live", "hotkeys": {"targets": {"main": keys.url}}})
        assert "its key is in /etc/deskhand/vault.key" in found.deskhand("vault", "init").out
        machine.run("deskhand", "vault", "set", "token", stdin=f"{CANARY}\n")
        config: Json = {"mode": "live", "hotkeys": {"targets": {"main": keys.url}}, "http": {"token": "vault:token"}}
        found.configure(**config)
        yield found


def modes(machine: Machine, *paths: str) -> dict[str, str]:
    out = machine.run("stat", "--format", "%n %a %U", *paths).out
    return dict(line.split(" ", 1) for line in out.splitlines())


def lets_in(service: Service, token: str) -> bool:
    """Whether the API over TCP takes this token."""
    curl = "curl -s -o /dev/null -w '%{http_code}' -H @/tmp/header http://127.0.0.1:8790/status"
    service.machine.put("/tmp/header", f"Authorization: Bearer {token}\n", 0o600)
    return service.machine.run("sh", "-c", curl, check=False).out.strip() == "200"


def test_what_root_makes_is_the_services_alone(service: Service) -> None:
    machine = service.machine
    paths = ["/etc/deskhand/vault.key", "/var/lib/deskhand/vault", "/var/lib/deskhand/vault.bak"]
    assert modes(machine, *paths) == dict.fromkeys(paths, "600 deskhand")
    assert "good, mode live" in service.deskhand("check").out
    service.deskhand("reload")
    assert lets_in(service, CANARY)


def test_a_changed_value_counts_after_a_reload(service: Service) -> None:
    service.machine.run("deskhand", "vault", "set", "token", stdin=f"{CANARY}-new\n")
    assert "http.token: changed" in service.deskhand("reload").out
    assert lets_in(service, f"{CANARY}-new")
    assert not lets_in(service, CANARY)


def test_the_key_as_a_credential(service: Service) -> None:
    machine = service.machine
    said = service.deskhand("vault", "rekey", "--credential").out
    assert f"its key is in {BLOB}, which this machine alone can read" in said
    assert f"wrote {DROP_IN}" in said
    assert modes(machine, BLOB) == {BLOB: "600 root"}
    assert machine.run("test", "-e", "/etc/deskhand/vault.key", check=False).code == 1
    machine.run("rm", "/etc/deskhand/vault.key.old")
    service.restart()
    assert lets_in(service, f"{CANARY}-new")
    assert f"opened by {BLOB}" in service.deskhand("vault", "verify").out, "root can change it without the service"
    machine.run("deskhand", "vault", "set", "token", stdin=f"{CANARY}-newer\n")
    service.deskhand("reload")
    assert lets_in(service, f"{CANARY}-newer")
    service.deskhand("vault", "rekey", "--credential")
    refused = service.deskhand("reload", check=False)
    assert refused.code == 78, "the service has the key before until it starts again"
    assert lets_in(service, f"{CANARY}-newer"), "and runs on with what it has"
    service.restart()
    assert lets_in(service, f"{CANARY}-newer")


def test_nobody_else_sees_any_of_it(service: Service) -> None:
    machine = service.machine
    key = machine.run("systemd-creds", "decrypt", "--name=deskhand.key", BLOB, "-").out.strip()
    assert len(key) == 44
    for name in ("environ", "cmdline"):
        shown = machine.run("cat", f"/proc/{service.pid}/{name}").out
        assert CANARY not in shown
        assert key not in shown
    journal = machine.journalctl("--output=export")
    assert CANARY not in journal
    assert key not in journal
    for path in (BLOB, "/var/lib/deskhand/vault", "/run/credentials/deskhand.service/deskhand.key"):
        assert machine.run("cat", path, user="nobody", check=False).code != 0


def test_without_the_credential_it_says_so(service: Service) -> None:
    machine = service.machine
    machine.run("mv", DROP_IN, "/tmp/drop-in")
    machine.run("systemctl", "daemon-reload")
    service.systemctl("restart", check=False)
    until(lambda: service.state("ExecMainStatus")["ExecMainStatus"] == "78", what="it is refused as a configuration")
    line = "/etc/deskhand/deskhand.yaml:"
    assert line in service.journal()
    assert "http.token: /var/lib/deskhand/vault: its key is not there; looked at /etc/deskhand/vault.key" in (
        service.journal()
    )
    machine.run("mv", "/tmp/drop-in", DROP_IN)
    machine.run("systemctl", "daemon-reload")
    service.start()
    assert lets_in(service, f"{CANARY}-newer")
