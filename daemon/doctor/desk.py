"""The daemon that runs on this state folder, if one does; its own word on how it is; and the HTTP port."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from daemon import version
from daemon.doctor.check import Check, fail, ok, warn
from daemon.errors import ConfigError, UnreachableError
from daemon.http.sockets import listen_tcp
from daemon.settings import Settings

Ask = Callable[[str], tuple[int, Any]]
"""GET over the daemon's unix socket: status and JSON. Raises UnreachableError."""


def running(folder: Path) -> bool | None:
    """Whether a daemon has locked the folder; None if that cannot be seen.

    Read from the kernel's list, because to try the lock is to hold it, and a daemon starting then would give up.
    """
    try:
        about = folder.stat()
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return False if not folder.exists() else _tried(folder)
    except OSError:
        return None
    device = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}"
    for line in locks:
        words = line.split()
        if words[1:2] == ["FLOCK"] and len(words) >= 6 and words[3] == "WRITE":
            where, _, inode = words[5].rpartition(":")
            # btrfs and overlays list another device than stat tells.
            if inode == str(about.st_ino) and (where == device or _is_deskhand(words[4])):
                return True
    return False


def _is_deskhand(process: str) -> bool:
    with suppress(OSError):
        words = Path("/proc", process, "cmdline").read_bytes().split(b"\0")
        return b"daemon" in words or any(word.endswith(b"/deskhand") for word in words)
    return False


def _tried(folder: Path) -> bool | None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def look(settings: Settings, ask: Ask) -> Iterator[Check]:
    """What the running daemon says about itself, and who has the port."""
    name = "daemon"
    held = running(settings.state_dir)
    status: dict[str, Any] | None = None
    if held:
        # Not asked otherwise: where systemd holds the socket, the question alone would start it.
        try:
            _, readiness = ask("/health/ready")
            code, found = ask("/status")
            status = found if code == 200 and isinstance(found, dict) else {}
        except UnreachableError as error:
            yield fail(
                name,
                f"one runs on this state folder but does not answer: {error}",
                "systemctl restart deskhand, or kill it",
            )
        else:
            yield from _told(settings, readiness, status)
    elif held is None:
        yield warn(name, "whether one runs cannot be seen by this user", "run it as the user of the daemon")
    else:
        yield ok(name, "not running on this state folder")
    yield port(settings, status)


def _told(settings: Settings, readiness: Any, status: dict[str, Any]) -> Iterator[Check]:
    name = "daemon"
    mode = str(status.get("mode", "?"))
    if status.get("ready"):
        waiting = sum(int(lane.get("waiting", 0)) for lane in status.get("lanes") or [])
        count = len(status.get("lanes") or [])
        lanes = f"{count} {'lane' if count == 1 else 'lanes'}, {waiting} waiting"
        yield ok(name, f"running in {mode} mode, {lanes}")
    else:
        reason = readiness.get("reason") if isinstance(readiness, dict) else None
        yield fail(
            name, f"running, but not ready: {reason or 'no reason given'}", "see its log: journalctl -u deskhand"
        )
    halt = status.get("halt") or {}
    if halt.get("level", "none") != "none":
        what = "everything" if halt["level"] == "all" else "entries"
        reason = f": {halt['reason']}" if halt.get("reason") else ""
        yield warn(name, f"halted, {what} will not fire{reason}", "deskhand resume")
    if mode != settings.mode:
        yield warn(
            name,
            f"runs in {mode} mode, the configuration says {settings.mode}",
            "restart it: systemctl restart deskhand",
        )
    if str(status.get("version")) != version():
        yield warn(
            name, f"version {status.get('version')} runs, {version()} is installed", "systemctl restart deskhand"
        )
    journal = status.get("journal") or {}
    if not journal.get("ok", True):
        yield fail(name, f"it cannot write its journal: {journal.get('reason')}", "see disk and state folder above")


def port(settings: Settings, status: dict[str, Any] | None) -> Check:
    """Whether the HTTP port is free, or held by the daemon whose `status` this is."""
    name = "http port"
    http = settings.http
    where = f"{http.host}:{http.port}"
    ours = str((status or {}).get("http", ""))
    if status is not None and (http.port == 0 or ours.rpartition(":")[2] == str(http.port)):
        return ok(name, f"{ours}, held by the running daemon")
    if http.port == 0:
        return ok(name, "any free one")
    try:
        with closing(listen_tcp(http.host, http.port)):
            return ok(name, f"{where} is free")
    except ConfigError as error:
        key, _, problem = str(error).partition(": ")
        remedy = f"see who: ss -ltnp sport = :{http.port} (deskhand.socket's systemd is fine); or set another http.port"
        return fail(name, f"{key}: {problem.partition(';')[0]}", remedy)
