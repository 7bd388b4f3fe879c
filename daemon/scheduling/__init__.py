"""Jobs at intervals: when they run, that they never overlap, hang or stop the daemon, and how a reload changes them."""

from daemon.scheduling.jobs import Job, Scheduler

__all__ = ["Job", "Scheduler"]
