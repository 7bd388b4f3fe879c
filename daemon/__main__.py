"""`python -m daemon` and the command `deskhand` are the same."""

import signal
import sys

from daemon import HELD


def main() -> int:
    """Run one verb; returns its exit code.

    The daemon's signals are held back before anything else is imported, and taken over once there is a loop: a SIGHUP
    that comes earlier would end the process.
    """
    if sys.argv[1:2] == ["run"]:
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    from daemon.cli import main as cli  # noqa: PLC0415  # after the signals
    from daemon.hygiene import seal  # noqa: PLC0415  # see above

    seal()
    return cli()


if __name__ == "__main__":
    sys.exit(main())
