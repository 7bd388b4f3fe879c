"""A service of one's own, without root: installed by its user, and running on without a login."""

import json
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.acceptance.desk import until
from tests.systemd.machine import Done, Machine
from tests.systemd.service import UNIT, WHEELHOUSE, clone

USER = "trader"
HOME = f"/home/{USER}"


class Own:
    """What the user does, without ever having logged in."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.uid = machine.run("id", "-u", USER).out.strip()
        self.environ: Mapping[str, str] = {"XDG_RUNTIME_DIR": f"/run/user/{self.uid}"}

    def run(self, *command: str, check: bool = True) -> Done:
        return self.machine.run(
            *command, user=USER, cwd=f"{HOME}/deskhand", environ=self.environ, check=check, limit_s=100
        )

    def systemctl(self, *verb: str, check: bool = True) -> str:
        return self.run("systemctl", "--user", *verb, check=check).out.strip()


@pytest.fixture(scope="module")
def own(boot: Callable[[], Machine]) -> Iterator[Own]:
    with boot() as machine:
        machine.run("systemctl", "start", "systemd-logind")
        machine.run("useradd", "--create-home", "--shell", "/bin/sh", USER)
        clone(machine, HOME, USER)
        found = Own(machine)
        machine.run("loginctl", "enable-linger", USER)  # an administrator's, once: there is no polkit in the machine
        until(lambda: found.run("systemctl", "--user", "is-system-running", check=False).out.strip() == "running")
        found.run(".venv/bin/deskhand", "service", "install", "--user", *WHEELHOUSE)
        yield found


def test_it_runs_shut_in_and_takes_events(own: Own) -> None:
    assert own.systemctl("is-active", UNIT) == "active"
    assert own.systemctl("is-enabled", UNIT) == "enabled"
    done = own.run(f"{HOME}/.local/bin/deskhand", "emit", "entry", "AAPL", "--wait")
    assert "practice" in done.out
    pid = own.systemctl("show", "--property=MainPID", "--value", UNIT)
    about = own.machine.read(f"/proc/{pid}/status")
    assert f"Uid:\t{own.uid}\t" in about
    assert "NoNewPrivs:\t1\n" in about
    assert "Seccomp:\t2\n" in about
    assert "CapEff:\t0000000000000000\n" in about
    stat = own.machine.run("stat", "--format=%a %U", f"{HOME}/.local/state/deskhand", f"{HOME}/.config/deskhand").out
    assert stat == f"700 {USER}\n700 {USER}\n"
    loose = own.machine.run("find", f"{HOME}/.local/state/deskhand", "-type", "f", "-not", "-perm", "600").out
    assert loose == ""


def test_nobody_else_may_use_it(own: Own) -> None:
    socket = f"/run/user/{own.uid}/deskhand/deskhand.sock"
    own.machine.run("useradd", "--no-create-home", "neighbour")
    emit = (f"{HOME}/.local/share/deskhand/current/bin/deskhand", "status", "--socket", socket)
    own.machine.run("chmod", "755", HOME)  # as many distributions have it
    assert own.machine.run(*emit, user="neighbour", check=False).code == 69
    assert own.run(*emit).code == 0


def test_reload_and_kill(own: Own) -> None:
    config = f"{HOME}/.config/deskhand/deskhand.yaml"
    text = own.machine.read(config)
    own.machine.put(config, f"{text}\nhotkeys: {{gap_ms: fast}}\n", 0o600, f"{USER}:{USER}")
    assert own.run("systemctl", "--user", "reload", UNIT, check=False).code != 0
    own.machine.put(config, f"{text}\nhotkeys: {{gap_ms: 20}}\n", 0o600, f"{USER}:{USER}")
    own.systemctl("reload", UNIT)
    pid = own.systemctl("show", "--property=MainPID", "--value", UNIT)
    own.systemctl("kill", "--signal=KILL", "--kill-whom=main", UNIT)
    until(lambda: own.systemctl("show", "--property=MainPID", "--value", UNIT) not in ("0", pid))
    until(lambda: own.run(f"{HOME}/.local/bin/deskhand", "status", check=False).code == 0, what="not restarted")


def test_it_starts_without_a_login(own: Own) -> None:
    own.machine.run("systemctl", "restart", f"user@{own.uid}.service")
    until(lambda: own.run("systemctl", "--user", "is-active", UNIT, check=False).out == "active\n", what="not started")


def test_status_and_uninstall(own: Own) -> None:
    said = json.loads(own.run(".venv/bin/deskhand", "service", "status", "--user", "--json").out)
    assert (said["scope"], said["active"], said["linger"]) == ("user", True, True)
    own.run(".venv/bin/deskhand", "service", "uninstall", "--user")
    assert own.run("systemctl", "--user", "status", UNIT, check=False).code == 4
    assert own.run("ls", f"{HOME}/.local/state/deskhand").out
    own.run(".venv/bin/deskhand", "service", "install", "--user", *WHEELHOUSE)
    own.run(".venv/bin/deskhand", "service", "uninstall", "--user", "--purge")
    left = own.run("find", HOME, "-name", "*deskhand*", "-not", "-path", f"{HOME}/deskhand*").out
    assert left == ""
