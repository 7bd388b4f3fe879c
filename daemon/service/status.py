"""How the service is: installed, enabled, up, hardened, watched."""

import re
from typing import Any

from daemon.service import files
from daemon.service.manager import Manager
from daemon.service.places import UNIT, Places
from daemon.service.runner import Runner

_FACTS = (
    "ActiveState", "SubState", "UnitFileState", "MainPID", "ActiveEnterTimestamp", "NRestarts", "Result",
    "WatchdogUSec", "StatusText", "DropInPaths", "NeedDaemonReload",
)  # fmt: skip
_EXPOSURE = re.compile(r"exposure level.*?([0-9]+\.[0-9])")


def status(places: Places, run: Runner) -> dict[str, Any]:
    """What is known, None for what is not; times as systemd writes them, `watchdog` as it writes spans (`30s`)."""
    manager = Manager(places, run)
    installed = places.unit.is_file()
    facts = manager.facts(*_FACTS) if manager.running() else dict.fromkeys(_FACTS, "")
    current = files.leads_to(places.current)
    previous = files.leads_to(places.previous)
    return {
        "scope": "user" if places.user else "system",
        "installed": installed,
        "systemd": manager.running(),
        "enabled": facts["UnitFileState"] == "enabled",
        "active": facts["ActiveState"] == "active",
        "state": "/".join(filter(None, (facts["ActiveState"], facts["SubState"]))) or None,
        "result": facts["Result"] or None,
        "main_pid": int(facts["MainPID"] or 0) or None,
        "since": facts["ActiveEnterTimestamp"] or None,
        "restarts": int(facts["NRestarts"] or 0),
        "says": facts["StatusText"] or None,
        "watchdog": facts["WatchdogUSec"] if facts["WatchdogUSec"] not in ("", "0", "infinity") else None,
        "exposure": _exposure(places, run) if installed and manager.running() else None,
        "linger": places.linger.exists() if places.linger else None,
        "environment": current.name if current else None,
        "previous": previous.name if previous else None,
        "version": current.name.split("-")[0] if current else None,
        "unit": str(places.unit),
        "drop_ins": facts["DropInPaths"].split(),
        "needs_daemon_reload": facts["NeedDaemonReload"] == "yes",
        "pending": places.pending.exists(),
        "configuration": str(places.config),
        "state_folder": str(places.state),
        "log": places.journalctl(),
    }


def _exposure(places: Places, run: Runner) -> float | None:
    """The score that systemd itself gives the hardening, 0 to 10, lower is better; None where it cannot be had."""
    analyze = ["systemd-analyze", *(["--user"] if places.user else []), "security", "--no-pager", UNIT]
    code, said = run.ask(analyze, timeout_s=20)
    found = _EXPOSURE.search(said) if code == 0 else None
    return float(found[1]) if found else None


def lines(found: dict[str, Any]) -> list[str]:
    """The same for a reader."""
    if not found["installed"]:
        user = " --user" if found["scope"] == "user" else ""
        return [f"not installed: there is no {found['unit']}; install it with `deskhand service install{user}`"]
    rows = [
        ("service", found["state"] or "unknown: systemd does not answer"),
        ("since", found["since"]),
        ("says", found["says"]),
        ("main PID", found["main_pid"]),
        ("restarts", found["restarts"]),
        ("starts at boot", "yes" if found["enabled"] else f"no: {_enable(found)}"),
        ("without a login", {True: "yes", False: "no: loginctl enable-linger", None: None}[found["linger"]]),
        ("environment", found["environment"] or "missing"),
        ("one back", found["previous"]),
        ("watchdog", found["watchdog"] or "off"),
        ("exposure", f"{found['exposure']} of 10" if found["exposure"] is not None else None),
        ("drop-ins", ", ".join(found["drop_ins"]) or None),
        ("pending", "changes wait for a restart" if found["pending"] or found["needs_daemon_reload"] else None),
        ("configuration", found["configuration"]),
        ("state", found["state_folder"]),
        ("log", found["log"]),
    ]
    return [f"{name:<17}{value}" for name, value in rows if value is not None]


def _enable(found: dict[str, Any]) -> str:
    return "systemctl --user enable deskhand" if found["scope"] == "user" else "sudo systemctl enable deskhand"
