"""The daemon with a mistake that tells secrets: `python -m tests.canary.breaking run ...` dies of one, in every way.

A task that raises with a chain of causes and a group, a thread that raises, an object that cannot be deleted, and at
the end an exception that nobody catches.
"""

import gc
import os
import sys
import threading
from typing import Any, NoReturn

from daemon import cli
from daemon.settings import Settings
from daemon.sources.mqtt import MqttSource


class _Odd:
    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.me = self

    def __del__(self) -> None:
        raise ValueError(f"cannot let go of {self.secret}")


def _tell(secret: str) -> None:
    try:
        try:
            int(secret)
        except ValueError as error:
            raise KeyError(secret, {"password": secret}) from error
    except KeyError as error:
        group = ExceptionGroup(f"all of {secret}", [error, RuntimeError(secret.encode())])
        group.add_note(f"note: {secret}")
        raise RuntimeError(f"at the end: {secret!r}") from group


async def _break(self: Any) -> None:
    settings = self._settings
    secret = settings.password.get_secret_value()
    thread = threading.Thread(target=_tell, args=(secret,), name=f"thread-{secret}")
    thread.start()
    thread.join()
    _Odd(secret)
    gc.collect()
    _tell(secret)


def main() -> None:
    """Run the verb, broken."""
    MqttSource.run = _break  # type: ignore[method-assign]
    kept: list[Settings] = []
    came_from = Settings.came_from

    def keep(self: Settings, origin: Any) -> None:
        kept.append(self)
        came_from(self, origin)

    def end(status: int) -> NoReturn:  # noqa: ARG001  # the name is Python's
        settings = kept[0]
        assert settings.mqtt.password is not None
        raise RuntimeError(f"nobody caught {settings!r} {settings.mqtt.password.get_secret_value()}", sys.argv)

    Settings.came_from = keep  # type: ignore[method-assign]
    os._exit = end  # the daemon's last word
    cli.main()


if __name__ == "__main__":
    main()
