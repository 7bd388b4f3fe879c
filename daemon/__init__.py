"""Deskhand: a local trading daemon that hears trade events and acts on them at once."""


def version() -> str:
    """The installed version, or `unknown` when run from a tree that was never installed."""
    from importlib import metadata  # noqa: PLC0415  # costs more than the rest of a quick verb

    try:
        return metadata.version("deskhand")
    except metadata.PackageNotFoundError:
        return "unknown"
