"""The one clock."""

import time

from daemon.clock import Clock


def test_wall_time_and_time_since_boot() -> None:
    clock = Clock()
    assert abs(clock.now() - time.time()) < 1
    assert clock.boot() >= time.monotonic() - 1, "suspension counts"
    first = clock.boot()
    assert clock.boot() >= first


def test_when_the_machine_started() -> None:
    clock = Clock()
    assert abs(clock.booted_at() - (time.time() - clock.boot())) < 1
    with open("/proc/stat", encoding="ascii") as stat:  # noqa: PTH123  # not a path to work on
        btime = next(int(line.split()[1]) for line in stat if line.startswith("btime"))
    assert abs(clock.booted_at() - btime) < 120, "the kernel's own word, as far as the wall clock was not set since"
