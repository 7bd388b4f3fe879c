"""What the file says: first what is in it, then the facts, all in plain text that can be read before it is posted."""

import json
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from daemon import version
from daemon.doctor import Check
from daemon.redaction import redact
from daemon.settings import Settings
from daemon.settings.actions import CALLS
from daemon.support import configuration
from daemon.support.masks import Masks

INSIDE = "versions, configuration, state, the last events with their outcomes, and what `deskhand doctor` says"
"""The parts, for people."""
EVENTS = 100
"""How many of the last events are in it."""
_NAMED = ("bot", "account", "pair", "controller")
"""What a call is told that has a name in this file."""
_AMOUNT = re.compile(r"(?<![\w.])-?(?:\d+[.,]\d+|\d{4,})(?![\w.]*\w)")
_HEAD = """\
# Deskhand support file

In it: {inside}.
Not in it: secrets (a setting that is one says `set` or `not set`), account names, strategies, quantities, prices,
`meta`, notes and reasons that you wrote. Hosts, symbols, trades and events have names like `host-1`, the same
throughout; times are ages. Read it through before you post it.
"""


@dataclass
class Seen:
    """What was found out before the file is written; what could not be is None, and `missing` says why."""

    now: float
    settings: Settings | None
    problems: Sequence[str] = ()
    status: Mapping[str, Any] | None = None
    events: Sequence[Mapping[str, Any]] | None = None
    checks: Sequence[Check] = ()
    private: Sequence[str] = ()
    """Words that are nobody's business: this machine's name, the user's."""
    missing: dict[str, str] = field(default_factory=dict)


def bundle(seen: Seen) -> str:
    """The whole file, as text."""
    masks = Masks()
    masks.hide(seen.private, "(you)")
    if seen.settings is not None:
        configuration.learn(seen.settings, masks)
    masks.hide([str(((seen.status or {}).get("halt") or {}).get("reason") or "")], "(your own words)")
    for lane in (seen.status or {}).get("lanes") or ():  # the configuration may be what is broken
        _learn_target(*str(lane.get("name")).split(":", 1), masks=masks)
    for event in seen.events or ():
        _learn_event(event, masks)
    parts = [
        ("Versions", _versions()),
        ("Configuration", _configured(seen, masks)),
        ("State", _state(seen, masks)),
        (f"Events, the last {EVENTS} at most", _events(seen, masks)),
        ("Doctor", _doctor(seen, masks)),
    ]
    text = _HEAD.format(inside=INSIDE)
    for title, lines in parts:
        text += f"\n## {title}\n```\n{chr(10).join(line.replace('```', '...') for line in lines)}\n```\n"
    return redact(text)


def _versions() -> Iterator[str]:
    yield f"deskhand {version()}"
    yield f"python {platform.python_version()} ({platform.python_implementation()}, {sys.platform})"
    yield f"system {platform.system()} {platform.release()} {platform.machine()}, libc {' '.join(platform.libc_ver())}"
    try:
        about = platform.freedesktop_os_release()
        yield f"distribution {about.get('PRETTY_NAME', about['ID'])}"
    except OSError:
        pass
    for name in sorted({_project(entry) for entry in metadata.requires("deskhand") or () if "extra ==" not in entry}):
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"{name} (not installed)"


def _project(requirement: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else " " for c in requirement).split()[0]


def _configured(seen: Seen, masks: Masks) -> Iterator[str]:
    yield from (f"problem: {masks.text(problem)}" for problem in seen.problems)
    if seen.settings is not None:
        yield from configuration.lines(seen.settings, masks)


# -- what happened -----------------------------------------------------------------------------------------------------


def _learn_target(handler: str, target: str = "", *, masks: Masks) -> None:
    if handler == "hotkeys":
        configuration.target_name(target, masks)


def _learn_event(event: Mapping[str, Any], masks: Masks) -> None:
    body = event.get("event") or {}
    masks.name("event", str(event.get("id") or ""))
    masks.name("symbol", str(event.get("symbol") or ""))
    masks.name("trade", str(event.get("trade") or ""))
    for kind in ("account", "strategy", "source"):
        masks.name(kind, str(body.get(kind) or ""))
    for each in event.get("deliveries") or ():
        _learn_target(str(each.get("handler")), str(each.get("target") or ""), masks=masks)
    for call in (_call(step) for each in event.get("deliveries") or () for step in each.get("steps") or ()):
        for kind in _NAMED:
            masks.name(kind, str(call.get(kind) or ""))


def _state(seen: Seen, masks: Masks) -> Iterator[str]:
    status = seen.status
    if status is None:
        yield masks.text(seen.missing.get("status", "not known"))
        return
    halt, journal, last, reload = (status.get(name) or {} for name in ("halt", "journal", "last_event", "reload"))
    yield f"version: {status.get('version')}, mode: {status.get('mode')}, up {status.get('uptime_s', 0):.0f} s"
    reason = ", with a reason" if halt.get("reason") else ""
    yield f"halt: {halt.get('level')}{reason}{_age(halt.get('since'), seen.now)}"
    for lane in status.get("lanes") or ():
        running = "running" if lane.get("running") else "idle"
        yield f"lane {masks.text(str(lane.get('name')))}: {lane.get('waiting')} waiting, {running}"
    for peer in status.get("peers") or ():
        how = "up" if peer.get("up") else f"down {peer.get('down_s')} s: {masks.text(str(peer.get('reason')))}"
        yield f"peer {masks.text(str(peer.get('name')))}: {how}"
    yield f"mqtt: {masks.text(str(status.get('mqtt')))}"
    kept = "ok" if journal.get("ok") else masks.text(str(journal.get("reason")))
    yield f"journal: {kept}, {journal.get('set_aside')} set aside"
    yield f"last event: {last.get('type')}{_age(last.get('received'), seen.now)}" if last else "last event: none"
    yield f"counts: {json.dumps(status.get('counts'))}"
    if reload:
        problems = "; ".join(masks.text(str(problem)) for problem in reload.get("problems") or ())
        yield f"reload: {reload.get('status')}{_age(reload.get('at'), seen.now)}{f': {problems}' if problems else ''}"


def _age(at: object, now: float) -> str:
    return f", {now - at:.0f} s ago" if isinstance(at, (int, float)) and at else ""


def _events(seen: Seen, masks: Masks) -> Iterator[str]:
    if seen.events is None:
        yield masks.text(seen.missing.get("events", "not known"))
        return
    for event in seen.events[-EVENTS:]:
        late = event["received"] - event["ts"]
        names = " ".join(masks.name(kind, str(event.get(kind) or "")) for kind in ("symbol", "trade"))
        reason = f": {masks.text(str(event['reason']))}" if event.get("reason") else ""
        name = masks.name("event", str(event["id"]))
        yield (
            f"{seen.now - event['received']:.1f} s ago: {name} {event['type']} {names} "
            f"over {event['origin']}, {late:.3f} s old, {event['status']}{reason}"
        )
        yield from (f"    {line}" for line in _deliveries(event.get("deliveries") or (), masks))


def _deliveries(deliveries: Iterable[Mapping[str, Any]], masks: Masks) -> Iterator[str]:
    for each in deliveries:
        target = str(each.get("target"))
        latency = f", first byte after {each['latency_ms']} ms" if each.get("latency_ms") is not None else ""
        yield (
            f"{each.get('handler')}:{masks.text(target)} {each.get('mode')}: {_steps(each)} "
            f"[{each.get('begun')} begun, {each.get('confirmed')} confirmed] "
            f"{each.get('result') or each.get('state')}{_why(each, masks)}{latency}"
        )


def _steps(delivery: Mapping[str, Any]) -> str:
    """The keys; of a call its name alone, for what it is called with is the trader's."""
    steps = delivery.get("steps") or ()
    if delivery.get("handler") == "hotkeys":
        return " ".join(steps)
    found = [_call(step).get("do") for step in steps]
    return " ".join(do if do in CALLS else "(a call)" for do in found)


def _call(step: str) -> dict[str, Any]:
    try:
        found = json.loads(step)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _why(delivery: Mapping[str, Any], masks: Masks) -> str:
    """The reason; an exchange's words may tell what a call was told, and balances."""
    reason = str(delivery.get("reason") or "")
    if delivery.get("handler") != "hotkeys":
        for step in delivery.get("steps") or ():
            reason = reason.replace(step, _steps(delivery))
        reason = _AMOUNT.sub("(number)", reason)
    return f": {masks.text(reason)}" if reason else ""


def _doctor(seen: Seen, masks: Masks) -> Iterator[str]:
    if not seen.checks:
        yield masks.text(seen.missing.get("doctor", "not asked"))
    for check in seen.checks:
        remedy = f" -> {masks.text(check.remedy)}" if check.remedy else ""
        yield f"{check.state:<4}  {masks.text(check.name)}: {masks.text(check.text)}{remedy}"
