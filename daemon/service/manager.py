"""What is asked of systemd."""

from pathlib import Path

from daemon.errors import DeskhandError
from daemon.service.places import UNIT, Places
from daemon.service.runner import Runner

START_S = 330
"""Longer than the unit's own limit, TimeoutStartSec."""


class Manager:
    """The service manager that `places` belong to: the system's, or the user's own."""

    def __init__(self, places: Places, run: Runner) -> None:
        self._places = places
        self._run = run
        self._systemctl = places.systemctl()

    def running(self) -> bool:
        """Whether it is there to be asked."""
        return self._places.manager.is_dir()

    def tell(self, *words: str, timeout_s: float = 60) -> None:
        """`systemctl` with these words. Raises DeskhandError with what it said."""
        self._run.run([*self._systemctl, *words], timeout_s=timeout_s)

    def facts(self, *names: str) -> dict[str, str]:
        """Properties of the unit, empty ones where systemd does not answer."""
        code, said = self._run.ask(
            [*self._systemctl, "show", UNIT, *(f"--property={name}" for name in names)], timeout_s=20
        )
        pairs = (line.partition("=") for line in said.splitlines()) if code == 0 else ()
        return dict.fromkeys(names, "") | {name: value for name, _, value in pairs if name in names}

    def active(self) -> bool:
        """Whether the service is up."""
        return self.facts("ActiveState")["ActiveState"] == "active"

    def enabled(self) -> bool:
        """Whether it starts at boot, or with its user."""
        return self.facts("UnitFileState")["UnitFileState"] == "enabled"

    def start(self, pending: Path) -> None:
        """Start it, anew if it runs already; returns when it takes events in.

        Raises DeskhandError with the last lines of its log.
        """
        try:
            self.tell("restart", UNIT, timeout_s=START_S)
        except DeskhandError as error:
            log = self._places.journalctl()
            _, said = self._run.ask([*log.split(), "-n", "10", "-o", "cat", "--no-pager"])
            last = "\n".join(f"    {line}" for line in said.splitlines())
            raise DeskhandError(f"it did not come up; `{log}` says:\n{last or error}") from None
        pending.unlink(missing_ok=True)
