"""Where a service's parts lie: one set of folders for the system's service, one below a user's home."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

UNIT = "deskhand.service"
SOCKET = "deskhand.socket"
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""What ProtectHome= hides from a service."""


@dataclass(frozen=True, slots=True)
class Places:
    """All paths of one service, and whose they are; tests point them below a folder of their own.

    `account` is the user that the service runs as and `administrator` the uid its other files belong to; both None
    for a user's own service, where everything belongs to that user.
    """

    home: Path
    config: Path
    state: Path
    runtime: Path
    units: Path
    command: Path
    manager: Path
    linger: Path | None = None
    sysusers: Path | None = None
    account: str | None = None
    administrator: int | None = None

    @property
    def user(self) -> bool:
        """Whether this is a user's own service."""
        return self.account is None

    @property
    def environments(self) -> Path:
        """The environments, a folder for each version."""
        return self.home / "envs"

    @property
    def current(self) -> Path:
        """The link to the environment in use."""
        return self.home / "current"

    @property
    def previous(self) -> Path:
        """The link to the environment before it, for going back."""
        return self.home / "previous"

    @property
    def pending(self) -> Path:
        """There from the first change until the service has been started with it: a run that broke off is caught up."""
        return self.home / ".pending"

    @property
    def unit(self) -> Path:
        """The installed unit."""
        return self.units / UNIT

    @property
    def drop_ins(self) -> Path:
        """What an administrator has added to the unit."""
        return self.units / f"{UNIT}.d"

    def ids(self) -> tuple[int, int] | None:
        """Uid and gid of the account, None for a user's own service. Raises KeyError if there is no such account."""
        if self.account is None:
            return None
        found = pwd.getpwnam(self.account)
        return found.pw_uid, found.pw_gid

    def systemctl(self) -> list[str]:
        """`systemctl`, for the manager that this service belongs to."""
        return ["systemctl", "--user"] if self.user else ["systemctl"]

    def journalctl(self) -> str:
        """The command that shows the log."""
        return f"journalctl {'--user ' if self.user else ''}-u deskhand"


def system() -> Places:
    """The places of the system's service."""
    return Places(
        home=Path("/opt/deskhand"),
        config=Path("/etc/deskhand"),
        state=Path("/var/lib/deskhand"),
        runtime=Path("/run/deskhand"),
        units=Path("/etc/systemd/system"),
        command=Path("/usr/local/bin/deskhand"),
        manager=Path("/run/systemd/system"),
        sysusers=Path("/etc/sysusers.d/deskhand.conf"),
        account="deskhand",
        administrator=0,
    )


def user(environ: Mapping[str, str]) -> Places:
    """The places of the calling user's own service."""
    about = pwd.getpwuid(os.geteuid())
    home = Path(environ.get("HOME") or about.pw_dir)
    runtime = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{about.pw_uid}")
    return Places(
        home=home / ".local/share/deskhand",
        config=home / ".config/deskhand",
        state=home / ".local/state/deskhand",
        runtime=runtime / "deskhand",
        # Not XDG_CONFIG_HOME: a shell may set it, the user's service manager would not know.
        units=home / ".config/systemd/user",
        command=home / ".local/bin/deskhand",
        manager=runtime / "systemd",
        linger=Path("/var/lib/systemd/linger", about.pw_name),
    )
