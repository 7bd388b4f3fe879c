"""A machine for tests: a real systemd of its own, that can be told what to do and asked what happened."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.acceptance.desk import ROOT, until
from tests.systemd import keeper

_PROGRAMS = ("unshare", "nsenter", "setpriv", "pivot_root", "mount", "ip", "systemctl", "journalctl", "dbus-daemon")
_KEEPER = (sys.executable, keeper.__file__)
_ENVIRON = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "SYSTEMD_PAGER=cat")


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str


def why_not() -> str | None:
    """Why no machine can be booted here, in words for a skipped test; None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root"
    if missing := [name for name in _PROGRAMS if not shutil.which(name)]:
        return f"needs {', '.join(missing)}"
    if not keeper.SYSTEMD.exists():
        return "needs systemd"
    if keeper.cgroup2() is None:
        return "needs cgroup2"
    tried = subprocess.run([*_KEEPER, "--probe", str(_folder())], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"this host does not allow it: {(tried.stderr.strip().splitlines() or ['no reason given'])[0]}"
    return None


def _folder() -> Path:
    return Path(tempfile.gettempdir(), f"deskhand-machine-{os.urandom(4).hex()}")


def _in_overlay(path: Path) -> bool:
    """Whether the machine has it anyway: it lies on the root's own filesystem, and not in /tmp, which is new inside."""
    return path.stat().st_dev == Path("/").stat().st_dev and not path.is_relative_to("/tmp")


class Machine:
    """One boot; a context manager. `binds` shows folders of the host inside, read-only: {host folder: path inside}.

    `python` is one that services can use.
    """

    def __init__(self, binds: Mapping[Path, str] | None = None, python: str = "/usr/bin/python3") -> None:
        self.python = python
        shown = {path: str(path) for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix)) if not _in_overlay(path)}
        self._binds = [f"{source}:{dest}" for source, dest in (shown | dict(binds or {})).items()]
        self._keeper: subprocess.Popen[str] | None = None
        self._first = 0
        self._name = ""

    def start(self) -> Self:
        """Boot, and wait until the manager answers and has nothing left to start."""
        folder = _folder()
        self._name = folder.name
        self._keeper = subprocess.Popen(
            [*_KEEPER, str(folder), *self._binds],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._keeper.stdout is not None
        try:
            self._first = int(self._keeper.stdout.readline())
            until(self._is_up, 20, "the machine never came up")
        except BaseException:
            self.stop()
            raise
        return self

    def _is_up(self) -> bool:
        try:
            name = Path(f"/proc/{self._first}/comm").read_text().strip()
        except OSError:
            raise RuntimeError("the machine's PID 1 ended; see standard error") from None
        if name != "systemd":
            return False
        return self.run("systemctl", "is-system-running", check=False).out.strip() in {"running", "degraded"}

    def stop(self) -> None:
        """Power off; returns when nothing of it is left on the host. The second call does nothing."""
        process, self._keeper = self._keeper, None
        if process is not None:
            process.communicate()  # closes the pipe it watches

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run(
        self, *command: str, check: bool = True, user: str = "root", cwd: str = "/", stdin: str = "",
        limit_s: float = 60, environ: Mapping[str, str] | None = None,
    ) -> Done:  # fmt: skip
        """Run a command inside, as this user. With `check`, raises AssertionError with what it said if it fails."""
        ended = subprocess.run(
            self.inside(*command, user=user, cwd=cwd, environ=environ),
            input=stdin, capture_output=True, text=True, errors="replace", timeout=limit_s, check=False,
        )  # fmt: skip
        done = Done(ended.returncode, ended.stdout, ended.stderr)
        assert not check or done.code == 0, f"{' '.join(command)} ended with {done.code}: {done.out}{done.err}"
        return done

    def inside(
        self, *command: str, user: str = "root", cwd: str = "/", environ: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command as the host runs it, in all namespaces of the machine; it ends with the machine at the latest."""
        assert self._first
        enter = ["nsenter", "--all", "-t", str(self._first), "--root", "--wd", "--"]
        clean = ["env", "-i", f"--chdir={cwd}", *_ENVIRON, "HOME=/root"]
        if user != "root":
            clean += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env"]
            clean += ["env", *_ENVIRON]
        return [*enter, *clean, *(f"{name}={value}" for name, value in (environ or {}).items()), *command]

    def path(self, inside: str) -> Path:
        """The same file as the host sees it; only where no symbolic link with an absolute target lies on the way."""
        return Path(f"/proc/{self._first}/root", inside.lstrip("/"))

    def processes(self, unit: str) -> list[int]:
        """The processes of a system service as the host numbers them, for signals that cannot wait for systemctl."""
        base = keeper.cgroup2()
        assert base is not None
        try:
            text = (base / self._name / "system.slice" / unit / "cgroup.procs").read_text()
        except OSError:  # it has none at the moment
            return []
        return [int(line) for line in text.split()]

    def put(self, path: str, text: str, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file, with its folders."""
        user, _, group = owner.partition(":")
        self.run("install", "-D", f"-m{mode:o}", f"-o{user}", f"-g{group}", "/dev/stdin", path, stdin=text)

    def read(self, path: str) -> str:
        """A file's text. Raises AssertionError when it is not there."""
        return self.run("cat", path).out

    def journalctl(self, *options: str) -> str:
        """`journalctl`, once everything that was said before this call is in the journal, however busy it is."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "--quiet", *options).out

    def journal(self, unit: str = "", *options: str) -> str:
        """What the journal has of a unit, or of all: messages only."""
        of = [f"--unit={unit}"] if unit else []
        return self.journalctl("--output=cat", *of, *options)

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit, as systemctl shows them."""
        lines = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names)).out.splitlines()
        return dict(line.split("=", 1) for line in lines)
