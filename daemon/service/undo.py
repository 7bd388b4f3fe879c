"""The way back from an update that does not come up: what ran before runs again, at once and without a hand."""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from daemon.errors import DeskhandError
from daemon.service import files
from daemon.service.configuration import YAML
from daemon.service.manager import Manager
from daemon.service.places import SOCKET, Places
from daemon.service.steps import UndoneError


class _File(NamedTuple):
    content: bytes
    mode: int
    owner: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Before:
    """What a running service was started with: links to environments, unit and configuration; None: not there."""

    links: dict[Path, Path | None]
    files: dict[Path, _File | None]


def remember(places: Places, manager: Manager) -> Before | None:
    """What runs now; None if nothing does, for then there is nothing to go back to."""
    current = files.leads_to(places.current)
    if current is None or not current.is_dir() or not manager.active():
        return None
    kept = (places.unit, places.units / SOCKET, places.config / YAML)
    return Before(
        {path: files.leads_to(path) for path in (places.current, places.previous)}, {path: _look(path) for path in kept}
    )


def _look(path: Path) -> _File | None:
    if not path.is_file() or path.is_symlink():
        return None
    about = path.stat()
    return _File(path.read_bytes(), stat.S_IMODE(about.st_mode), (about.st_uid, about.st_gid))


def start(places: Places, manager: Manager, before: Before | None) -> None:
    """Start the service. If it does not come up, put back what ran `before` and start that.

    Raises DeskhandError with the last lines of the log, as UndoneError when what ran before runs again.
    """
    try:
        manager.start(places.pending)
    except DeskhandError as error:
        if before is None or not _put_back(before):
            raise
        try:
            manager.tell("daemon-reload")
            manager.start(places.pending)
        except DeskhandError:
            raise DeskhandError(f"{error}\nWhat ran before was put back, and does not come up either") from None
        raise UndoneError(f"{error}\nWhat ran before was put back and runs again; nothing has changed.") from None


def _put_back(before: Before) -> bool:
    """Whether anything had changed at all."""
    links = {path: to for path, to in before.links.items() if files.leads_to(path) != to}
    changed = {path: file for path, file in before.files.items() if _look(path) != file}
    for path, file in changed.items():
        if file is not None:
            files.put(path, file.content, mode=file.mode, owner=file.owner)
    for path, to in links.items():
        if to is not None:
            files.link(path, to)
        elif path.is_symlink():
            path.unlink()
    return bool(links or changed)
