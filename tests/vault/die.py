"""Changes a vault in a process of its own, which can be killed at its n-th step; the product knows nothing of it.

python -m tests.vault.die STATE CONFIG VERB N      dies (-9) right before its n-th call of `os`, 0 for never
python -m tests.vault.die STATE CONFIG loop NAME   sets NAME to 1, 2, 3, ... and prints each number once it is set
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.vault import KeyFile, Vault, disk, new_key, open_vault
from daemon.vault.disk import owner_of
from tests.vault.support import NOW

STEPS = ("open", "write", "fsync", "link", "replace", "unlink", "fchmod", "close")


def arm(at: int) -> None:
    """Set the trap."""
    left = [at]

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return step

    for name in STEPS:
        setattr(os, name, wrapped(getattr(os, name)))


def loop(vault: Vault, name: str) -> None:
    """Until somebody ends it."""
    # Two that never pause leave a third one little: it looks more often, or it could miss every gap for ten seconds.
    disk._WAIT_S, disk._TRIES = 0.001, 10_000
    number = 0
    while True:
        number += 1
        vault.set(name, str(number), NOW)
        print(number, flush=True)


def main(state: Path, config: Path, verb: str, what: str) -> None:
    """Do it."""
    vault = open_vault(state, {}, config=config)
    if verb == "loop":
        loop(vault, what)
    arm(int(what))
    if verb == "set":
        vault.set("a", "new", NOW)
    elif verb == "rotate":
        vault.rotate(NOW)
    else:
        vault.rekey(new_key(KeyFile(config / "vault.key", owner_of(state))), NOW)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
