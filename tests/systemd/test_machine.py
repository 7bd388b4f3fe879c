"""The machine itself: it is a real systemd, and nothing of it stays on the host."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.desk import ROOT, until
from tests.systemd import keeper
from tests.systemd.machine import Machine

BOOT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in a shell's background inherits it ignored
from tests.systemd.machine import Machine
Machine().start()
print("up", flush=True)
sys.stdin.read()
"""


def left() -> set[str]:
    """Everything on this host that only a machine makes: its folder, cgroups, mounts and processes."""
    base = keeper.cgroup2()
    assert base is not None
    found = {str(path) for folder in (base, Path("/tmp")) for path in folder.glob("deskhand-machine-*")}
    found |= {line for line in Path("/proc/self/mounts").read_text().splitlines() if "deskhand-machine" in line}
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if b"deskhand-machine" in line or b"--system\0--show-status=no" in line:
            found.add(f"{process}: {line!r}")
    return found


@pytest.fixture(autouse=True)
def nothing_new_is_left() -> Iterator[None]:
    before = left()
    yield
    assert left() <= before


def test_it_is_a_real_systemd_on_an_overlay() -> None:
    mark = Path("/etc/deskhand-was-here")
    with Machine() as machine:
        assert machine.run("cat", "/proc/1/comm").out == "systemd\n"
        assert machine.run("systemctl", "is-system-running").out == "running\n"
        services = machine.run("systemctl", "list-units", "--type=service", "--state=running", "--plain", "--no-legend")
        running = {line.split()[0] for line in services.out.splitlines()}
        assert running <= {"dbus.service", "systemd-journald.service"}
        links = machine.run("ip", "-brief", "link").out
        assert [line.split()[0] for line in links.splitlines()] == ["lo"]
        machine.put(str(mark), "inside")
        assert machine.read(str(mark)) == "inside"
        assert not mark.exists()
        machine.run("systemd-run", "--unit=told", "--wait", "echo", "hello from a unit")
        assert "hello from a unit" in machine.journal("told.service")


def test_it_ends_with_what_runs_inside() -> None:
    with Machine() as machine:
        machine.run("systemd-run", "--property=TimeoutStopSec=60", "sh", "-c", "trap '' TERM; sleep 987")
        stays = subprocess.Popen(machine.inside("sleep", "986"))
        stopped = subprocess.Popen(machine.inside("sh", "-c", "kill -STOP $$; sleep 985"))
        until(lambda: " T " in Path(f"/proc/{stopped.pid}/stat").read_text(), what="nsenter does not stop with its own")
    assert stays.wait(5) != 0
    assert stopped.wait(5) != 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_a_test_that_is_killed(number: int) -> None:
    before = left()
    test = subprocess.Popen(
        [sys.executable, "-c", BOOT], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert test.stdout is not None
    assert test.stdin is not None
    assert test.stdout.readline() == "up\n"
    assert left() > before
    os.killpg(test.pid, number)
    assert test.wait(10)
    test.stdin.close()
    test.stdout.close()
    until(lambda: left() <= before, 10, f"left behind: {left()}")


def test_a_machine_that_cannot_boot_leaves_nothing_either(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended"):
        Machine({tmp_path / "not-there": "/srv/x"}).start()


def test_a_host_that_is_a_container_with_the_rights_will_do() -> None:
    """Its root is an overlay itself, as a machine's own root is."""
    with Machine() as host:
        tried = host.run(sys.executable, keeper.__file__, "--probe", "/tmp/deskhand-machine-inner", check=False)
        assert tried.code == 0, tried
        assert "deskhand-machine" not in host.run("ls", "/tmp").out
        assert "deskhand-machine" not in host.run("ls", "/sys/fs/cgroup").out


def test_a_host_that_does_not_allow_it_says_what() -> None:
    command = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable, "-c")
    ask = "from tests.systemd.machine import why_not; print(why_not())"
    said = subprocess.run([*command, ask], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said == "this host does not allow it: unshare: unshare failed: Operation not permitted\n"
