"""Does `daemon` mean this program, or another package of that name such as python-daemon?"""

import sys
from importlib.metadata import distributions
from pathlib import Path, PurePosixPath

import daemon
from daemon.doctor.check import Check, fail, ok

_OURS = "deskhand"


def look() -> Check:
    """Whether another distribution of this environment brings a package `daemon` too, and whose files those are."""
    here = Path(__file__).parents[1]
    if Path(daemon.__file__).parent != here:
        return fail("package", f"`daemon` is another package than {here}", "give deskhand an environment of its own")
    others = sorted({found.name for found in distributions() if found.name != _OURS and _brings_daemon(found.files)})
    if others:
        names = ", ".join(others)
        remedy = f"{sys.executable} -m pip uninstall {' '.join(others)}, then install deskhand again"
        return fail("package", f"{names} installs a package `daemon` too: one hides the other", remedy)
    return ok("package", f"`daemon` is ours alone in {sys.prefix}")


def _brings_daemon(files: object) -> bool:
    return isinstance(files, list) and any(PurePosixPath(file).parts[:2] == ("daemon", "__init__.py") for file in files)
