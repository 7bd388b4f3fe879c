"""The vault: its file private, opened by a key that is there, and what settings take from it."""

import shlex
from collections.abc import Iterator

from daemon.doctor.check import Check, fail, ok, warn
from daemon.settings import Settings
from daemon.vault import BACKUP, FILE

_NAME = "vault"


def look(settings: Settings) -> Iterator[Check]:
    """What `load` found when it resolved the references; a reference that is wrong has failed there already."""
    path = settings.state_dir / FILE
    use = settings.origin.vault
    if use is None:
        yield ok(_NAME, "none: no setting needs it")
        return
    if use.problem:
        yield warn(_NAME, f"{use.problem}; no setting needs it, so the daemon runs without")
        return
    opened = f"{path} opens, {use.count} {'secret' if use.count == 1 else 'secrets'}, {len(use.used)} in use"
    if path.stat().st_mode & 0o077:
        yield fail(_NAME, f"others can read {path}", f"chmod 600 {shlex.quote(str(path))}")
    elif use.count and not path.with_name(BACKUP).exists():
        yield warn(_NAME, f"{opened}, and its backup is gone", "deskhand vault rotate makes one")
    else:
        yield ok(_NAME, opened)
