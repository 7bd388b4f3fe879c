"""The plan that takes the service away."""

import grp
import re
from pathlib import Path

from daemon.errors import DeskhandError
from daemon.service import files
from daemon.service.manager import Manager
from daemon.service.places import SOCKET, UNIT, Places
from daemon.service.runner import Runner
from daemon.service.steps import Plan, Step, kept

_STOP_S = 60


def uninstall(places: Places, run: Runner, *, purge: bool, dry: bool) -> Plan:
    """Stop, disable, remove; configuration and state stay unless `purge`. Raises DeskhandError without systemd."""
    manager = Manager(places, run)
    if not dry and not manager.running():
        raise DeskhandError("systemd does not answer here, so the service cannot be stopped; nothing was changed")
    units = [places.unit] if places.user else [places.units / SOCKET, places.unit]
    steps = [_stop(manager, path) for path in units if path.exists()]
    steps += [_unlink(path) for path in units]
    steps += [
        Step("let systemd forget it", lambda: _forget(manager), lambda: manager.facts("LoadState")["LoadState"] == "not-found"),  # noqa: E501  # one line
        _unlink(places.command, only=places.current / "bin/deskhand"),
        _unlink(places.current),
        _unlink(places.previous),
        _unlink(places.pending),
        _remove(places.environments),
        Step(f"remove {places.home}", lambda: _rmdir(places.home), lambda: not files.there(places.home)),
    ]  # fmt: skip
    if places.linger and places.linger.exists():
        steps.append(
            kept(f"keep services of {places.linger.name} running without a login; to end it: loginctl disable-linger")
        )
    if not purge:
        steps += [kept(f"keep {path}; --purge removes it") for path in (places.config, places.state)]
        return Plan(steps)
    steps += [_remove(path) for path in (places.drop_ins, places.config, places.state, places.runtime)]
    if places.account:
        steps += [*([_unlink(places.sysusers)] if places.sysusers else []), _user(places, run, places.account)]
    return Plan(steps)


def _stop(manager: Manager, unit: Path) -> Step:
    return Step(f"stop and disable {unit.name}", lambda: manager.tell("disable", "--now", unit.name, timeout_s=_STOP_S))


def _forget(manager: Manager) -> None:
    manager.tell("daemon-reload")
    if "failed" in manager.facts("ActiveState").values():
        manager.tell("reset-failed", UNIT)


def _unlink(path: Path, only: Path | None = None) -> Step:
    """Remove a file or link; with `only`, a link that points there and nothing else."""
    if only and files.there(path) and files.leads_to(path) != only:
        return kept(f"keep {path}, which is not ours")
    return Step(f"remove {path}", path.unlink, lambda: not files.there(path))


def _remove(path: Path) -> Step:
    return Step(f"remove {path} and all in it", lambda: files.remove_folder(path), lambda: not files.there(path))


def _rmdir(path: Path) -> None:
    left = [each.name for each in path.iterdir()]
    if left:
        raise DeskhandError(f"there is something that is not ours in it: {', '.join(left)}")
    path.rmdir()


def _user(places: Places, run: Runner, account: str) -> Step:
    def user() -> bool:
        try:
            return places.ids() is not None
        except KeyError:
            return False

    def group() -> bool:
        try:
            return bool(grp.getgrnam(account))
        except KeyError:
            return False

    def remove() -> None:
        # userdel leaves the group where it has other members: those who may steer the daemon.
        for there, program in ((user, "userdel"), (group, "groupdel")):
            if there():
                code, said = run.ask([program, account])
                if code:
                    raise DeskhandError(re.sub(r"\s+", " ", said).strip())

    return Step(f"remove the user and group {account}", remove, lambda: not user() and not group())
