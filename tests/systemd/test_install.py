"""From a clean clone to a running service, what protects it, who may use it, and the way back; in this order."""

import json
import re
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.desk import Json, until
from tests.systemd.machine import Machine
from tests.systemd.service import CONFIG, PYTHON, UNIT, WHEELHOUSE, Keys, Service, clone

MODES = {
    "/etc/deskhand": "750 root deskhand",
    "/etc/deskhand/deskhand.yaml": "640 root deskhand",
    "/etc/deskhand/.env": "600 deskhand deskhand",
    "/var/lib/deskhand": "700 deskhand deskhand",
    "/run/deskhand": "755 deskhand deskhand",
    "/run/deskhand/deskhand.sock": "660 deskhand deskhand",
    "/etc/systemd/system/deskhand.service": "644 root root",
}
SECRET = "a-secret-of-sixteen-and-more"
TREES = ("/etc", "/opt", "/usr/local", "/var/lib", "/run/deskhand", "/root", "/home")


@pytest.fixture(scope="module")
def machine(boot: Callable[[], Machine]) -> Iterator[Machine]:
    with boot() as booted:
        yield booted


@pytest.fixture(scope="module")
def before(machine: Machine) -> set[str]:
    """Every file there is without the service."""
    return files(machine)


@pytest.fixture(scope="module")
def keys(machine: Machine) -> Keys:
    return Keys(machine).start()


@pytest.fixture(scope="module")
def live(keys: Keys) -> Json:
    return {"mode": "live", "hotkeys": {"targets": {"main": keys.url}, "preset": "classic", "gap_ms": 20}}


@pytest.fixture(scope="module")
def service(machine: Machine, before: set[str], live: Json) -> Service:
    """Installed once for the module; a `.env` lies in the clone, as users of the older tools have it."""
    assert before
    return Service(machine).install(live, env=f"DESKHAND_HTTP_TOKEN={SECRET}\n")


def files(machine: Machine) -> set[str]:
    """Everything below the folders that an installation may write to, without what the manager keeps for itself."""
    found = machine.run("find", *TREES, "-xdev", "-not", "-path", "*/__pycache__*", "-printf", "%p\\n", check=False).out
    return {
        line for line in found.splitlines() if not re.match(r"/etc/machine-id|/var/lib/systemd|/root/\.cache", line)
    }


def test_a_dry_run_changes_nothing(machine: Machine, before: set[str]) -> None:
    assert before
    clone(machine, "/root")
    machine.put("/root/deskhand/.env", f"DESKHAND_HTTP_TOKEN={SECRET}\n", 0o600)
    made = files(machine)
    said = Service(machine).verb("install", *WHEELHOUSE, "--dry-run").out
    for word in ("/opt/deskhand", "/etc/deskhand", UNIT, "/usr/local/bin/deskhand"):
        assert word in said, said
    assert files(machine) == made
    assert "deskhand:" not in machine.read("/etc/passwd")


def test_it_runs_and_is_enabled(service: Service) -> None:
    until(service.is_ready, what="the service is not ready")
    state = service.state("ActiveState", "UnitFileState", "User", "Type", "NeedDaemonReload", "StatusText")
    assert state | {"StatusText": ""} == {
        "ActiveState": "active", "UnitFileState": "enabled", "User": "deskhand", "Type": "notify",
        "NeedDaemonReload": "no", "StatusText": "",
    }  # fmt: skip
    assert state["StatusText"].startswith("live"), state
    assert service.status()["mode"] == "live"


def test_nothing_of_it_warns(service: Service) -> None:
    warned = service.machine.journalctl("--output=json", "--priority=warning")
    lines = [json.loads(line) for line in warned.splitlines()]
    assert [line["MESSAGE"] for line in lines if UNIT in (line.get("UNIT"), line.get("_SYSTEMD_UNIT"))] == []


def test_owners_and_modes(service: Service) -> None:
    stat = service.machine.run("stat", "--format=%n=%a %U %G", *MODES).out
    assert dict(line.split("=") for line in stat.splitlines()) == MODES
    loose = service.machine.run("find", "/var/lib/deskhand", "-type", "f", "-not", "-perm", "600").out
    assert loose == ""


def test_the_env_of_the_clone_came_along(service: Service) -> None:
    curl = ("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "http://127.0.0.1:8790/status")
    assert service.machine.run(*curl, "--header", f"Authorization: Bearer {SECRET}").out == "200"
    assert service.machine.run(*curl, "--header", "Authorization: Bearer something-else-altogether").out == "401"


def test_it_is_shut_in(service: Service) -> None:
    """What the unit promises, as the kernel holds it for the running process."""
    machine = service.machine
    about = dict(
        line.split(":\t", 1) for line in machine.read(f"/proc/{service.pid}/status").splitlines() if ":\t" in line
    )
    assert about["NoNewPrivs"] == "1"
    assert about["Seccomp"] == "2"
    assert {about[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert set(about["Uid"].split()) == {machine.run("id", "-u", "deskhand").out.strip()}
    assert about["Umask"] == "0077"
    probe = (
        "import os, pathlib, json; print(json.dumps({p: sorted(os.listdir(p))[:3] if os.access(p, os.R_OK) else None "
        "for p in ('/home', '/root', '/tmp', '/opt/deskhand')} | {w: os.access(w, os.W_OK) "
        "for w in ('/etc/deskhand', '/opt/deskhand', '/usr', '/var/lib/deskhand', '/run/deskhand')}))"
    )
    machine.put("/tmp/outside", "")
    user = ("setpriv", "--reuid=deskhand", "--regid=deskhand", "--clear-groups")
    enter = ("nsenter", "--mount", "-t", str(service.pid), *user)
    seen = json.loads(machine.run(*enter, PYTHON, "-c", probe).out)
    assert not seen["/home"]
    assert not seen["/root"]
    assert seen["/tmp"] == []
    writable = {path for path, can in seen.items() if can is True}
    assert writable == {"/var/lib/deskhand", "/run/deskhand"}


def test_an_event_presses_its_keys(service: Service, keys: Keys) -> None:
    done = service.deskhand("emit", "entry", "AAPL", "--trade-id", "first", "--wait")
    assert "done" in done.out
    assert keys.frames == ["buy_ask"]
    assert "done" in service.deskhand("emit", "tp1", "AAPL", "--trade-id", "first", "--wait").out
    assert "done" in service.deskhand("emit", "sl", "AAPL", "--trade-id", "first", "--wait").out
    assert keys.frames == ["buy_ask", "sell_ask", "cancel_all", "break_even", "sell_all_bid"]


def test_the_group_may_use_it_and_others_may_not(service: Service, keys: Keys) -> None:
    machine, before = service.machine, len(keys.frames)
    machine.run("useradd", "--create-home", "--groups", "deskhand", "member")
    machine.run("useradd", "--create-home", "stranger")
    done = service.deskhand("emit", "close", "AAPL", "--trade-id", "first", "--wait", user="member")
    assert "done" in done.out
    assert keys.frames[before:] == ["sell_all_bid"]
    refused = service.deskhand("emit", "close", "AAPL", "--trade-id", "first", "--wait", user="stranger", check=False)
    assert refused.code == 69
    assert "group deskhand" in refused.err
    for path in ("/etc/deskhand/deskhand.yaml", "/etc/deskhand/.env"):
        assert machine.run("cat", path, user="stranger", check=False).code != 0
    assert machine.run("cat", "/etc/deskhand/.env", user="member", check=False).code != 0
    assert len(keys.frames) == before + 1


def test_the_journal_has_fields(service: Service) -> None:
    def lines(*match: str) -> list[Json]:
        return [json.loads(line) for line in service.machine.journalctl("--output=json", *match).splitlines()]

    told = lines("TRADE_ID=first")
    assert {line["_SYSTEMD_UNIT"] for line in told} == {UNIT}
    assert {line["SYMBOL"] for line in told} == {"AAPL"}
    ends = [line for line in told if "done" in line["MESSAGE"]]
    assert {line["PRIORITY"] for line in ends} == {"6"}
    assert len({line["EVENT_ID"] for line in ends}) >= 4
    refused = service.deskhand("emit", "tp1", "AAPL", "--trade-id", "first", "--id", "late-tp", "--wait", check=False)
    assert refused.code == 1
    (line,) = [line for line in lines("EVENT_ID=late-tp") if "refused" in line["MESSAGE"]]
    assert line["PRIORITY"] == "4"
    assert SECRET not in service.machine.journalctl("--output=export")


def test_a_second_install_changes_nothing(service: Service) -> None:
    pid, made = service.pid, files(service.machine)
    inode = service.machine.run("stat", "--format=%i %Y", CONFIG).out
    said = service.verb("install", *WHEELHOUSE).out
    assert service.pid == pid
    assert files(service.machine) == made
    assert service.machine.run("stat", "--format=%i %Y", CONFIG).out == inode
    assert "done " not in said, said


def test_status_says_how_it_is(service: Service) -> None:
    said = service.deskhand("service", "status")
    assert "active" in said.out
    assert "live" in said.out
    as_json = json.loads(service.deskhand("service", "status", "--json").out)
    assert as_json


def test_uninstall_keeps_the_state(service: Service) -> None:
    machine = service.machine
    service.verb("uninstall")
    assert machine.run("systemctl", "status", UNIT, check=False).code == 4  # no such unit
    assert machine.run("test", "-e", "/opt/deskhand", check=False).code == 1
    assert machine.run("test", "-e", "/usr/local/bin/deskhand", check=False).code == 1
    assert machine.run("ls", "/var/lib/deskhand").out
    assert machine.read(CONFIG)


def test_it_comes_back_with_its_state_and_its_mode(service: Service, keys: Keys) -> None:
    seen = {"close"}
    service.verb("install", *WHEELHOUSE)
    until(service.is_ready, what="the service is not ready")
    assert service.status()["mode"] == "live"
    assert seen <= {event["type"] for event in service.events()}
    assert service.deskhand("emit", "entry", "MSFT", "--wait").code == 0
    assert keys.frames[-1] == "buy_ask"


def test_purge_leaves_the_machine_as_it_was(service: Service, before: set[str]) -> None:
    machine = service.machine
    service.verb("uninstall", "--purge")
    left = {path for path in files(machine) - before if not path.startswith(("/root/deskhand", "/home/"))}
    accounts = {
        f"/etc/{name}{end}"
        for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
        for end in ("", "-")
    }
    assert left - accounts - {"/etc/sysusers.d"} == set()  # an empty folder of systemd's own
    assert before - files(machine) == set()
    for name in ("passwd", "group"):
        assert "deskhand:" not in machine.read(f"/etc/{name}")
    assert machine.run("systemctl", "list-unit-files", "--no-legend", "deskhand*", check=False).out == ""
    assert machine.run("systemctl", "is-system-running").out == "running\n"
