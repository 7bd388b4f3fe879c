"""What gets installed: the project's own wheel, the locked requirements and the units, from a clone or from a wheel."""

import base64
import hashlib
import sys
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from daemon.errors import DeskhandError
from daemon.service.runner import Runner

_SHARE = "share/deskhand"
_LOCK = "requirements.lock"
_INSTALLER = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
"""What whoever installs a wheel adds to it."""
_BUILD_S = 120


@dataclass(frozen=True, slots=True)
class Payload:
    """Files to install from; `digest` is the same for the same contents, however they were wrapped."""

    wheel: Path
    lock: Path
    units: Path
    version: str
    digest: str

    def unit(self, name: str) -> bytes:
        """The content of one of the files in `systemd/`."""
        return (self.units / name).read_bytes()


def tree() -> Path | None:
    """The clone that this runs from, None if it was installed from a wheel."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").exists() and (root / _LOCK).exists() else None


def gather(work: Path, run: Runner) -> Payload:
    """Build the wheel, or pack it again from what is installed, in the folder `work`. Raises DeskhandError."""
    clone = tree()
    if clone:
        return _payload(_built(clone, work, run), clone / _LOCK, clone / "systemd")
    installed = metadata.distribution("deskhand")
    share = _shared(installed)
    return _payload(packed(installed, work), share / _LOCK, share / "systemd")


def units() -> Path:
    """The folder `systemd/`, of the clone or of what is installed. Raises DeskhandError."""
    clone = tree()
    return (clone or _shared(metadata.distribution("deskhand"))) / "systemd"


def _payload(wheel: Path, lock: Path, units: Path) -> Payload:
    digest = hashlib.sha256(lock.read_bytes())
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith(".dist-info/RECORD"):
                digest.update(f"\0{name}\0".encode() + hashlib.sha256(archive.read(name)).digest())
    return Payload(wheel, lock, units, wheel.name.split("-")[1], digest.hexdigest())


def _built(clone: Path, work: Path, run: Runner) -> Path:
    build = [sys.executable, "-I", "-B", "-m", "hatchling", "build", "--target", "wheel", "--directory", str(work)]
    code, said = run.ask(build, timeout_s=_BUILD_S, cwd=clone)
    if "No module named hatchling" in said:
        raise DeskhandError(f"the wheel cannot be built, this environment lacks hatchling; run: make -C {clone} run")
    wheels = list(work.glob("*.whl"))
    if code or len(wheels) != 1:
        raise DeskhandError(f"the wheel cannot be built from {clone}:\n{said.strip()}")
    return wheels[0]


def _shared(installed: metadata.Distribution) -> Path:
    for file in installed.files or ():
        if file.as_posix().endswith(f"{_SHARE}/{_LOCK}"):
            found = Path(str(file.locate())).resolve()
            if found.exists():
                return found.parent
    raise DeskhandError("this installation lacks its share/deskhand folder; install it again, or run from a clone")


def packed(installed: metadata.Distribution, work: Path) -> Path:
    """The wheel that `installed` came from, packed again from its files. Raises DeskhandError if one is missing."""
    stem = f"deskhand-{installed.version}"
    wheel = work / f"{stem}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in installed.files or ():
            name = _within(file.as_posix(), stem)
            if name is None:
                continue
            try:
                content = Path(str(file.locate())).read_bytes()
            except OSError as error:
                raise DeskhandError(f"this installation is not whole: {file}: {error.strerror}") from error
            archive.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}")
        archive.writestr(f"{stem}.dist-info/RECORD", "\n".join([*record, f"{stem}.dist-info/RECORD,,", ""]))
    return wheel


def _within(name: str, stem: str) -> str | None:
    """The name that an installed file had in its wheel, None if it was not in it."""
    if name.startswith(f"{stem}.dist-info/"):
        return None if name.split("/", 1)[1] in _INSTALLER else name
    if name.endswith(".pyc"):
        return None
    before, share, rest = name.partition(f"{_SHARE}/")
    if share and set(before.split("/")) <= {"..", ""}:
        return f"{stem}.data/data/{_SHARE}/{rest}"
    return None if name.startswith(("..", "/")) else name
