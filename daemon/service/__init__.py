"""Deskhand as a service of systemd: putting it in place, taking it away, saying how it is.

Each verb is a plan, a list of steps as values, so that `--dry-run` prints exactly what a run does.
"""

from daemon.service.install import install
from daemon.service.places import Places, system, user
from daemon.service.runner import Runner
from daemon.service.status import lines, status
from daemon.service.steps import Plan, Step, alone, perform
from daemon.service.uninstall import uninstall

__all__ = [
    "Places",
    "Plan",
    "Runner",
    "Step",
    "alone",
    "install",
    "lines",
    "perform",
    "status",
    "system",
    "uninstall",
    "user",
]
