"""The plan that installs or updates the service."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from daemon.clock import Clock
from daemon.errors import ConfigError, DeskhandError
from daemon.service import configuration, environment, files, python, undo
from daemon.service.manager import Manager
from daemon.service.payload import Payload, gather
from daemon.service.places import SOCKET, UNIT, Places
from daemon.service.runner import Runner
from daemon.service.steps import Plan, Step


def install(
    places: Places,
    run: Runner,
    work: Path,
    *,
    here: Path,
    caller: int,
    live: Path | None = None,
    wheelhouse: Path | None = None,
    dry: bool = False,
    pythons: Iterable[Path] | None = None,
    payload: Payload | None = None,
) -> Plan:
    """Everything is looked at and checked here; nothing is changed before the plan is performed.

    `work` is a folder for what is built, `here` the folder with the user's files, `caller` the uid of whoever asked,
    `live` and `wheelhouse` as on the command line; `pythons` and `payload` replace what would be searched and built.
    Raises ConfigError for a configuration that cannot be used, DeskhandError for all else that is missing.
    """
    manager = Manager(places, run)
    if not dry and not manager.running() and not places.user:
        raise DeskhandError("systemd does not run this machine, so it cannot run the service; use `deskhand run`")
    if places.unit.is_symlink():
        raise DeskhandError(f"{places.unit} is a link (a masked unit?): systemctl unmask deskhand, or move it away")
    if wheelhouse and not wheelhouse.is_dir():
        raise DeskhandError(f"--wheelhouse: {wheelhouse} is not a folder")
    found = _configuration(places, here, live, caller, dry=dry)
    chosen = python.find(run, pythons or python.candidates(user=places.user), user=places.user)
    parts = payload or gather(work, run)
    made = environment.build(places, parts, chosen, wheelhouse.absolute() if wheelhouse else None, run)
    steps = [
        _folder(places.home, 0o755),
        *_account(places, run, parts),
        *made,
        *(configuration.write(places, found, _stamp()) if found else []),
        *environment.switch(places, parts, chosen),
        *_units(places, parts),
        *_start(places, manager, run, None if dry else undo.remember(places, manager)),
        environment.prune(places),
    ]
    after = ["", *configuration.notes(found)] if found else [""]
    return Plan(steps, places.pending, [*after, *_where(places)])


def _configuration(
    places: Places, here: Path, live: Path | None, caller: int, *, dry: bool
) -> configuration.Configuration | None:
    try:
        return configuration.settle(places, here, live, caller)
    except PermissionError as error:
        if dry:  # the rest of the plan can still be told
            return None
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _stamp() -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(Clock().now()))


def _folder(path: Path, mode: int) -> Step:
    return Step(
        f"make the folder {path}",
        lambda: files.make_folder(path, mode=mode, owner=None),
        lambda: files.is_folder(path, mode=mode, owner=None),
    )


def _account(places: Places, run: Runner, parts: Payload) -> list[Step]:
    """The user that the service runs as; a user's own service only needs its state folder."""
    if places.account is None:
        return [_folder(places.state, 0o700)]
    account = places.account

    def exists() -> bool:
        try:
            return places.ids() is not None
        except KeyError:
            return False

    def make() -> None:
        code, said = run.ask(["systemd-sysusers", str(places.sysusers)])
        if code == 127:  # a systemd without it
            run.run(["useradd", "--system", "--user-group", "--home-dir", str(places.state), "--no-create-home",
                     "--shell", "/usr/sbin/nologin", account])  # fmt: skip
        elif code:
            raise DeskhandError(f"systemd-sysusers: {said.strip()}")

    steps = [Step(f"make the user and group {account}", make, exists)]
    if places.sysusers:
        steps.insert(0, _file(places.sysusers, parts.unit("deskhand.sysusers.conf"), affects=False))
    return steps


def _file(path: Path, content: bytes, *, affects: bool = True) -> Step:
    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        files.put(path, content, mode=0o644, owner=None)

    return Step(f"write {path}", write, lambda: files.is_put(path, content, mode=0o644, owner=None), affects)


def _units(places: Places, parts: Payload) -> list[Step]:
    if places.user:
        return [_file(places.unit, parts.unit("deskhand-user.service"))]
    return [
        _file(places.unit, parts.unit("deskhand.service")),
        _file(places.units / SOCKET, parts.unit("deskhand.socket")),
    ]


def _start(places: Places, manager: Manager, run: Runner, before: undo.Before | None) -> list[Step]:
    steps = [
        Step(
            "let systemd read its units",
            lambda: manager.tell("daemon-reload"),
            lambda: not places.pending.exists() and manager.facts("NeedDaemonReload")["NeedDaemonReload"] == "no",
        ),
        Step(
            f"enable {UNIT}: it starts {'with its user' if places.user else 'at boot'}",
            lambda: manager.tell("enable", UNIT),
            manager.enabled,
        ),
        Step(
            f"start {UNIT} and wait until it takes events in",
            lambda: undo.start(places, manager, before),
            lambda: not places.pending.exists() and manager.active(),
        ),
    ]
    if places.linger is None:
        return steps
    linger = places.linger
    lingering = Step(
        f"let the services of {linger.name} run without a login (loginctl enable-linger)",
        lambda: _linger(linger, manager, run),
        lambda: linger.exists() and manager.running(),
    )
    # Without a login there is no manager of the user's before this; else it comes last, because it may be forbidden.
    return [*steps, lingering] if manager.running() else [lingering, *steps]


def _linger(linger: Path, manager: Manager, run: Runner) -> None:
    code, said = run.ask(["loginctl", "enable-linger", linger.name])
    if code:
        raise DeskhandError(
            f"{said.strip()}\nWithout it the service ends at logout. An administrator can do it: "
            f"sudo loginctl enable-linger {linger.name}"
        )
    if not manager.running():
        run.ask(["systemctl", "start", f"user@{os.geteuid()}.service"])
    if not manager.running():
        raise DeskhandError("the user's service manager did not start; log in once, then run it again")


def _where(places: Places) -> list[str]:
    systemctl = " ".join(places.systemctl()) if places.user else "sudo systemctl"
    rows = [
        ("configuration", f"{places.config}/deskhand.yaml, secrets in {places.config}/.env"),
        ("apply changes", f"{systemctl} reload deskhand"),
        ("state", f"{places.state}"),
        ("log", places.journalctl()),
        ("how it is", f"deskhand service status{' --user' if places.user else ''}; deskhand status"),
        ("examples", f"{places.current}/share/deskhand/systemd"),
    ]
    if not places.user:
        rows.insert(5, ("who may steer it", "root and the group deskhand: sudo usermod -aG deskhand YOU"))
    return [f"{name:<18}{value}" for name, value in rows]
