"""The process keeps its memory to itself: secrets are in it, and what is in a core file is on the disk."""

import contextlib
import ctypes
import resource

_PR_SET_DUMPABLE = 4  # prctl(2)


def seal() -> None:
    """No core dump from here on, and no other process of this user may read our memory, environment or files.

    /proc/PID then belongs to root: who wants to look with gdb or py-spy does so as root. Programs that we start are
    not concerned.
    """
    with contextlib.suppress(OSError, ValueError):  # the service's unit has done it, and forbids the call
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):  # no such call here
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
