"""The service unit: installed, enabled, up, hardened, watched. The facts are those of `deskhand service status`."""

from collections.abc import Iterator, Mapping
from typing import Any

from daemon.doctor.check import Check, fail, ok, warn

MOST_EXPOSED = {"system": 1.2, "user": 2.0}
"""systemd's score of the hardening, 0 to 10, from which on a drop-in must have loosened it."""

Facts = Mapping[str, Any]


def judged(found: Facts | None) -> Iterator[Check]:
    """What the facts mean; None: there is no systemd, or no unit of ours."""
    name = "service"
    if found is None or not found["installed"]:
        yield ok(name, "not installed; it runs while a shell does (deskhand service install makes it a service)")
        return
    scope = str(found["scope"])
    ctl = "systemctl --user" if scope == "user" else "sudo systemctl"
    if not found["systemd"]:
        yield warn(
            name, f"{found['unit']} is there, but systemd does not answer", "is this a container without systemd?"
        )
        return
    if found["active"]:
        yield ok(name, f"{scope} service, {found['state']}")
    else:
        why = f", {found['result']}" if found["result"] not in (None, "success") else ""
        yield fail(
            name,
            f"{scope} service is not up: {found['state'] or 'unknown'}{why}",
            f"{ctl} start deskhand; see: {found['log']}",
        )
    if not found["enabled"]:
        yield warn(name, "does not start at boot", f"{ctl} enable deskhand")
    if found.get("linger") is False:
        yield warn(name, "ends when you log out", "loginctl enable-linger")
    if not found["watchdog"] and found["active"]:
        yield warn(
            name,
            "has no watchdog: a daemon that hangs is not restarted",
            "deskhand service install writes the unit anew",
        )
    exposure = found["exposure"]
    if exposure is not None and exposure > MOST_EXPOSED[scope]:
        where = ", ".join(found["drop_ins"]) or found["unit"]
        yield warn(
            name,
            f"less hardened than it comes: exposure {exposure} of 10",
            f"look at {where}: systemd-analyze security deskhand",
        )
    if found["needs_daemon_reload"] or found["pending"]:
        yield warn(name, "changes wait for a restart", f"{ctl} daemon-reload && {ctl} restart deskhand")
