"""The Python that a service's environment is made with: one that the service can still reach when it runs."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import DeskhandError
from daemon.service.places import HOMES
from daemon.service.runner import Runner

_NEWEST = 14
_ASK = "import ensurepip, platform, sqlite3, ssl, sys, venv; print(*sys.version_info[:2], platform.python_version(), sys.base_prefix)"  # noqa: E501  # one line for `-c`


@dataclass(frozen=True, slots=True)
class Python:
    """A Python that can make environments."""

    path: Path
    version: str


def candidates(*, user: bool) -> list[Path]:
    """Where to look, best first: wheels gathered beforehand fit the minor version that is running now."""
    minors = [sys.version_info.minor, *range(_NEWEST, 10, -1)]
    names = [f"python3.{minor}" for minor in dict.fromkeys(minors)]
    names.insert(1, "python3")
    found = [Path(folder, name) for name in names for folder in ("/usr/bin", "/usr/local/bin")]
    own = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    return [*found, own] if user or not below_home(own) else found


def below_home(path: Path) -> bool:
    """Whether a service with ProtectHome= could not see it."""
    return any(path.resolve().is_relative_to(home) for home in HOMES)


def find(run: Runner, paths: Iterable[Path], *, user: bool) -> Python:
    """The first Python 3.11 or newer that can make environments, outside any home unless for a `user`.

    Raises DeskhandError that says what to install.
    """
    poor: Path | None = None
    for path in paths:
        if not path.exists() or (not user and below_home(path)):
            continue
        code, said = run.ask([str(path), "-I", "-c", _ASK])
        if code:
            poor = poor or path
            continue
        major, minor, version, prefix = said.split(maxsplit=3)
        if (int(major), int(minor)) >= (3, 11) and (user or not below_home(Path(prefix.strip()))):
            return Python(path, version)
    what = f"{poor} cannot make environments" if poor else "there is no Python 3.11 or newer"
    where = "" if user else " outside home folders, where a service could reach it"
    raise DeskhandError(f"{what}{where}; on Debian or Ubuntu: apt install python3 python3-venv")
