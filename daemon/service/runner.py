"""Running the programs that a plan needs: with a limit, a clean environment and nothing left behind."""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from daemon.errors import DeskhandError

_KEPT = re.compile(
    r"PATH|HOME|LANG|LC_\w+|TMPDIR|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|XDG_RUNTIME_DIR"
    r"|DBUS_SESSION_BUS_ADDRESS|(?i:(https?|all|no)_proxy)|PIP_\w+"
)
_ELSEWHERE = {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "PIP_DRY_RUN", "PIP_REQUIRE_VIRTUALENV"}
"""Settings of pip that would put the files somewhere else, or nowhere."""
_PASSWORD = re.compile(r"(?<=//)[^/@\s]+@")
_SHOWN = 15
FALLBACK_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where an administrator's programs are."""


class Runner:
    """Starts programs with what they need of `environ`: where they are, proxies, pip's own settings, the language."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {
            name: value for name, value in environ.items() if _KEPT.fullmatch(name) and name not in _ELSEWHERE
        }
        # A user's PATH need not have the folders of administrators' programs.
        self._environ["PATH"] = ":".join(filter(None, [environ.get("PATH"), FALLBACK_PATH]))
        self._environ["XDG_RUNTIME_DIR"] = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"

    def ask(self, words: Sequence[str], *, timeout_s: float = 30, cwd: Path | None = None) -> tuple[int, str]:
        """Exit code and output, both streams as one; 127 when there is no such program.

        Raises DeskhandError after `timeout_s` seconds; then, and at Ctrl-C, whatever it has started is ended too.
        """
        # Into a file: a pipe would be held open by whatever outlives the program.
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(  # noqa: S603  # the words are ours, and no shell reads them
                    words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=cwd or "/",
                    env=self._environ, umask=0o022, start_new_session=True,
                )  # fmt: skip
            except FileNotFoundError:
                return 127, f"{words[0]} is not installed"
            except OSError as error:
                return 126, f"{words[0]} cannot be run: {error.strerror}"
            try:
                code = process.wait(timeout_s)
            except BaseException as error:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise DeskhandError(f"`{' '.join(words)}` took longer than {timeout_s:g} s") from None
                raise
            output.seek(0)
            return code, output.read().decode(errors="replace")

    def run(self, words: Sequence[str], *, timeout_s: float = 30, cwd: Path | None = None) -> str:
        """Its output. Raises DeskhandError with the end of what it said when it fails."""
        code, said = self.ask(words, timeout_s=timeout_s, cwd=cwd)
        if code:
            # Indexes may carry a password in their address.
            last = [_PASSWORD.sub("", line) for line in said.splitlines() if line.strip()][-_SHOWN:]
            raise DeskhandError("\n".join([f"`{' '.join(words)}` failed ({code})", *(f"    {line}" for line in last)]))
        return said
