"""Boots the host's own systemd as PID 1 in namespaces on a throw-away overlay of the host's root, and clears it away.

A process of its own, so that nothing stays behind however the tests end: it watches its standard input, and when that
closes (the tests are done, or were killed) it ends every process of the machine and removes its cgroup and folder. All
mounts live in the machine's namespace and go with its processes.

    python keeper.py FOLDER [SOURCE:DEST]...      prints the machine's first process id on the host
    python keeper.py --probe FOLDER               everything but systemd; exit code 0 if this host allows it
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

SYSTEMD = Path("/lib/systemd/systemd")
TARGET = """\
[Unit]
Description=What a test needs, and nothing of the host
Requires=sysinit.target sockets.target dbus.socket systemd-journald.service
After=sysinit.target sockets.target dbus.socket systemd-journald.service
AllowIsolate=yes
"""
MASKED = (
    "dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-binfmt.service", "systemd-firstboot.service",
    "systemd-hwdb-update.service", "systemd-modules-load.service", "systemd-networkd.service",
    "systemd-resolved.service", "systemd-sysctl.service", "systemd-timesyncd.service", "systemd-udev-trigger.service",
    "systemd-udevd.service",
)  # fmt: skip
FORGOTTEN = (
    *("opt/deskhand", "etc/deskhand", "var/lib/deskhand", "usr/local/bin/deskhand", "etc/sysusers.d/deskhand.conf"),
    *("etc/pip.conf", "etc/xdg/pip", "root/.pip", "root/.config/pip"),
)
"""What a host may bring along, from the root: an installed deskhand, and where its pip finds packages."""
POWEROFF = signal.SIGRTMIN + 4
"""What systemd as PID 1 takes for `start poweroff.target`."""
NAMESPACES = ("--mount", "--pid", "--cgroup", "--ipc", "--uts", "--net")


def main() -> int:
    """Outside at first; unshare calls this file again for the inside. What the host refuses is told in one line."""
    verb, *rest = sys.argv[1:]
    try:
        if verb == "--inside":
            inside(Path(rest[1]), rest[2:])
            return 0 if rest[0] == "probe" else become_systemd()
        if verb == "--probe":
            return keep(Path(rest[0]), [], probe=True)
        return keep(Path(verb), rest, probe=False)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def cgroup2() -> Path | None:
    """Where this host has cgroup2, which may be beside the old kind."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None


def keep(folder: Path, binds: list[str], *, probe: bool) -> int:
    """Start it, wait until standard input closes or it ends by itself, and leave nothing behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C reaches the tests; they close the pipe when they are done
    base = cgroup2()
    assert base is not None
    cgroup = base / folder.name
    (folder / "root").mkdir(parents=True)
    (folder / "layer").mkdir()
    try:
        cgroup.mkdir()
        machine = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "--fork", "--kill-child=KILL"),
                *(sys.executable, __file__, "--inside", "probe" if probe else "boot", str(folder), *binds),
            ],
            preexec_fn=lambda: (cgroup / "cgroup.procs").write_text("0"),  # noqa: PLW1509  # there are no threads
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
        )
        if probe:
            return machine.wait()
        first = first_process(machine)
        try:
            sys.stdout.write(f"{first}\n")
            sys.stdout.flush()
            wait_for_the_end(machine)
        finally:
            power_off(machine)
            release(first)
        return 0
    finally:
        clear(cgroup, folder)


def first_process(machine: subprocess.Popen[bytes]) -> int:
    """The machine's PID 1 as the host numbers it; 0 if there will be none."""
    children = Path(f"/proc/{machine.pid}/task/{machine.pid}/children")
    while machine.poll() is None:
        with contextlib.suppress(OSError):
            if found := children.read_text().split():
                return int(found[0])
        time.sleep(0.005)
    return 0


def wait_for_the_end(machine: subprocess.Popen[bytes]) -> None:
    """Until whoever started this closes the pipe, or the machine has ended."""
    ended = os.pidfd_open(machine.pid)
    try:
        select.select([sys.stdin, ended], [], [])
    finally:
        os.close(ended)


def power_off(machine: subprocess.Popen[bytes]) -> None:
    """In order if it can, else by force: with its PID 1 the kernel ends every process of the namespace."""
    first = first_process(machine)
    if first:
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, POWEROFF)
        with contextlib.suppress(subprocess.TimeoutExpired):
            machine.wait(3)
    machine.kill()
    machine.wait()


def release(first: int) -> None:
    """Wake whoever had entered that machine: nsenter stops itself when what it runs inside is stopped, and a machine
    that powers off stops everything for a moment; asleep it would not see the end of what it waits for.
    """
    command, end = f"nsenter\0--all\0-t\0{first}\0".encode(), time.monotonic() + 5
    waiting = True
    while waiting and time.monotonic() < end:
        waiting = False
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cmdline").read_bytes().startswith(command):
                    os.kill(int(process.name), signal.SIGCONT)
                    waiting = True
        time.sleep(0.01)


def clear(cgroup: Path, folder: Path) -> None:
    """Remove the cgroups (those below first) and the folder; the kernel may need a moment to let go of the last."""
    end = time.monotonic() + 5
    while cgroup.exists() and time.monotonic() < end:
        with contextlib.suppress(OSError):
            (cgroup / "cgroup.kill").write_text("1")
        for below, _, _ in os.walk(cgroup, topdown=False):
            with contextlib.suppress(OSError):
                Path(below).rmdir()
        time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)


# -- inside the namespaces, before systemd ---------------------------------------------------------------------------


def inside(folder: Path, binds: list[str]) -> None:
    """Put the root together and change over to it."""
    root, layer = folder / "root", folder / "layer"
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", layer)
    (layer / "upper").mkdir()
    (layer / "work").mkdir()
    mount("-t", "overlay", "-o", f"lowerdir=/,upperdir={layer}/upper,workdir={layer}/work", "overlay", root)
    kernel_filesystems(root)
    for bind in binds:
        source, _, dest = bind.partition(":")
        target = root / dest.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        mount("--bind", source, target)
        mount("-o", "remount,bind,ro", target)
    own_units(root)
    forget(root)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.chdir(root)
    Path("run/before").mkdir()
    subprocess.run(["pivot_root", ".", "run/before"], check=True)
    subprocess.run(["umount", "-l", "/run/before"], check=True)
    Path("/run/before").rmdir()
    mount("--make-rshared", "/")  # systemd leaves this out in a container, and credentials need it


def become_systemd() -> NoReturn:
    """This process is PID 1 here, so what it executes is too."""
    environ = {"container": "deskhand", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    options = ("--system", "--show-status=no", "--log-target=journal-or-kmsg", "--log-level=notice")
    os.execve(SYSTEMD, [str(SYSTEMD), *options], environ)


def mount(*args: str | Path) -> None:
    """mount(8). Raises CalledProcessError; its message is on standard error."""
    subprocess.run(["mount", *map(str, args)], check=True)


def kernel_filesystems(root: Path) -> None:
    """What systemd expects to find: proc, sysfs, cgroup2, and a /dev with little in it."""
    mount("-t", "proc", "proc", root / "proc")
    mount("-t", "sysfs", "-o", "ro", "sysfs", root / "sys")
    mount("-t", "cgroup2", "cgroup2", root / "sys/fs/cgroup")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root / "run")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "tmp")
    dev = root / "dev"
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", dev)
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (dev / name).touch()
        mount("--bind", f"/dev/{name}", dev / name)
    for name, options in (("pts", "newinstance,ptmxmode=0666,mode=620"), ("shm", "mode=1777")):
        (dev / name).mkdir()
        mount("-t", "devpts" if name == "pts" else "tmpfs", "-o", options, name, dev / name)
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")


def own_units(root: Path) -> None:
    """No unit of the host starts: its administrator's are gone, and those that need real hardware are masked."""
    units = root / "etc/systemd/system"
    shutil.rmtree(units, ignore_errors=True)
    units.mkdir(parents=True)
    (units / "test.target").write_text(TARGET)
    (units / "default.target").symlink_to("test.target")
    for name in MASKED:
        (units / name).symlink_to("/dev/null")
    journald = root / "etc/systemd/journald.conf.d"
    journald.mkdir(exist_ok=True)
    (journald / "test.conf").write_text("[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n")
    (root / "etc/fstab").write_text("")
    identity = root / "etc/machine-id"
    if not identity.exists() or not identity.read_text().strip():
        identity.write_text(os.urandom(16).hex() + "\n")


def forget(root: Path) -> None:
    """As if the daemon had never been installed on this host, and no package index were known to it."""
    for path in map(root.joinpath, FORGOTTEN):
        if path.is_symlink() or path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)
    for name in ("passwd", "group", "shadow", "gshadow"):
        path = root / "etc" / name
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(_without(lines)))


def _without(lines: list[str]) -> Iterator[str]:
    return (line for line in lines if not line.startswith("deskhand:"))


if __name__ == "__main__":
    sys.exit(main())
