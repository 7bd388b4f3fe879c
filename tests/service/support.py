"""A machine of its own for the plans: all places below one folder, and a systemd that only remembers.

The real systemd is in `tests/systemd`; here it is about what a plan does to files, and what it says.
"""

import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

from daemon.service import Places, Runner, install, perform, uninstall
from daemon.service.payload import Payload
from tests.house.code import ROOT

ME = pwd.getpwuid(os.geteuid())


class Recorded(Runner):
    """Runs nothing and remembers everything; `fails` are words of calls that fail from now on, and what they say."""

    def __init__(self) -> None:
        super().__init__(os.environ)
        self.calls: list[str] = []
        self.fails: dict[str, str] = {}
        self.active = self.enabled = self.loaded = False

    def ask(self, words: Sequence[str], *, timeout_s: float = 30, cwd: Path | None = None) -> tuple[int, str]:
        """What a machine in this state would answer."""
        del timeout_s, cwd
        call = " ".join(words)
        for name, said in self.fails.items():
            if name in call:
                return 1, said
        if "import ensurepip" in call:
            return 0, "3 11 3.11.2 /usr\n"
        if "show" in words:
            return 0, self._show()
        self.calls.append(call)
        if "venv" in words:
            (Path(words[-1]) / "bin").mkdir(parents=True)
        if words[0] == "systemctl":
            verb = next(word for word in words[1:] if not word.startswith("-"))
            self.loaded = self.loaded or verb in ("daemon-reload", "enable")
            self.enabled = verb == "enable" or (self.enabled and verb != "disable")
            self.active = verb == "restart" or (self.active and verb != "disable")
        return 0, ""

    def _show(self) -> str:
        return "\n".join([
            f"ActiveState={'active' if self.active else 'inactive'}",
            f"UnitFileState={'enabled' if self.enabled else ''}",
            f"LoadState={'loaded' if self.loaded else 'not-found'}",
            "NeedDaemonReload=no",
        ])  # fmt: skip


class Box:
    """A machine on which things get installed."""

    def __init__(self, folder: Path, *, user: bool = False) -> None:
        self.here = folder / "here"
        self.here.mkdir()
        (folder / "manager").mkdir()
        self.places = Places(
            home=folder / "opt/deskhand",
            config=folder / "etc/deskhand",
            state=folder / "var/lib/deskhand",
            runtime=folder / "run/deskhand",
            units=folder / "etc/systemd/system",
            command=folder / "usr/local/bin/deskhand",
            manager=folder / "manager",
            linger=folder / "linger" if user else None,
            sysusers=None if user else folder / "etc/sysusers.d/deskhand.conf",
            account=None if user else ME.pw_name,
            administrator=None if user else ME.pw_uid,
        )
        self.run = Recorded()
        self.python = folder / "python3.11"
        self.python.touch()
        self.payload = payload(folder, "0.1.0", "a" * 64)

    def install(self, *, live: Path | None = None, dry: bool = False, caller: int = ME.pw_uid) -> list[str]:
        """Install; what it said. Lines of the plan only, without what comes after."""
        said: list[str] = []
        plan = install(
            self.places, self.run, self.here, here=self.here, caller=caller, live=live, dry=dry,
            pythons=[self.python], payload=self.payload,
        )  # fmt: skip
        self.after = plan.after
        perform(plan, said.append, dry=dry)
        return said[: len(plan.steps)]

    def uninstall(self, *, purge: bool = False, dry: bool = False) -> list[str]:
        """Uninstall; what it said."""
        said: list[str] = []
        perform(uninstall(self.places, self.run, purge=purge, dry=dry), said.append, dry=dry)
        return said

    def files(self) -> dict[str, str]:
        """Everything below the folder: modes and contents of files, targets of links."""
        root = self.here.parent
        return {str(path.relative_to(root)): _look(path) for path in sorted(root.rglob("*"))}


def _look(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    mode = f"{path.stat().st_mode & 0o7777:o}"
    return mode if not path.is_file() else f"{mode} {path.stat().st_mtime_ns} {path.read_bytes()!r}"


def payload(folder: Path, version: str, digest: str) -> Payload:
    """Something to install, with the real units."""
    wheel = folder / f"deskhand-{version}-py3-none-any.whl"
    with ZipFile(wheel, "w"):
        pass
    return Payload(wheel, ROOT / "requirements.lock", ROOT / "systemd", version, digest)
