"""Deskhand: a local trading daemon that hears trade events and acts on them at once."""

import signal

HELD = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that wait, from the daemon's first instruction on, until there is a loop to handle them."""


def version() -> str:
    """The installed version, or `unknown` when run from a tree that was never installed."""
    from importlib import metadata  # noqa: PLC0415  # costs more than the rest of a quick verb

    try:
        return metadata.version("deskhand")
    except metadata.PackageNotFoundError:
        return "unknown"
