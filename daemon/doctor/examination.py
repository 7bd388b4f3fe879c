"""All the checks, in the order in which a person would go about it."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.clock import Clock
from daemon.doctor import bots, broker, clocks, desk, files, hotkeys, package, record, vault, web
from daemon.doctor.check import Check, fail, ok, warn
from daemon.doctor.unit import Facts, judged
from daemon.egress import Guard
from daemon.errors import ConfigError
from daemon.redaction import escape, redact
from daemon.settings import Settings

SOCKET = "deskhand.sock"
"""The unix socket's name in the runtime folder."""
LIMIT_S = 5.0
"""How long one probe may take, in seconds."""
_COMMAND = re.compile(r"; (?:run: )?((?:chmod|chown|cp -p|deskhand vault) .+)$")


@dataclass(frozen=True, slots=True)
class Press:
    """A key that shall be pressed, and at which target."""

    action: str
    target: str = "main"


@dataclass(frozen=True)
class Outside:
    """What the doctor is handed, because others may take it and this room may not.

    The `environ`, a GET over the daemon's unix socket (`ask`; raises UnreachableError), the facts of the service unit
    (`unit`; None where there is none), and how a key is announced before it is pressed (`say`).
    """

    environ: Mapping[str, str]
    ask: Callable[[Path, str], tuple[int, Any]]
    unit: Callable[[], Facts | None]
    say: Callable[[str], None]


async def examine(
    read: Callable[[], Settings], outside: Outside, press: Press | None = None, *, limit_s: float = LIMIT_S
) -> list[Check]:
    """Every check there is. `read` loads the settings; without them what needs none is still looked at."""
    clock = Clock()
    try:
        settings = read()
    except ConfigError as error:
        found = [*_problems(error), *_without_settings(clock, outside)]
    else:
        found = [*_read(settings), *await _with_settings(settings, clock, outside, press, limit_s)]
    return [Check(c.name, c.state, redact(escape(c.text)), redact(escape(c.remedy))) for c in found]


def _problems(error: ConfigError) -> Iterator[Check]:
    for problem in error.problems:
        command = _COMMAND.search(problem)
        if command and "belongs to another user" in problem:
            text = problem[: command.start()]
            yield fail("configuration", text, files.as_owner(Path(text.rpartition(": ")[0])))
        elif command:
            yield fail("configuration", problem[: command.start()], command[1])
        else:
            yield fail("configuration", problem)
    yield warn(
        "peers", "state folder, journal, daemon and peers were not looked at", "put the configuration right first"
    )


def _read(settings: Settings) -> Iterator[Check]:
    file = settings.origin.file
    yield ok("configuration", f"good, {file.absolute() if file else 'no file: the defaults'}")
    if settings.mode == "live":
        yield ok("mode", "live: every key is real")
    else:
        yield ok("mode", "practice: no key leaves this machine")


def _without_settings(clock: Clock, outside: Outside) -> Iterator[Check]:
    yield from _guarded("clock", lambda: clocks.look(clock.now(), outside.environ, bits=clocks.status()))
    yield from _guarded("package", lambda: [package.look()])
    yield from _guarded("service", lambda: judged(outside.unit()))


async def _with_settings(
    settings: Settings, clock: Clock, outside: Outside, press: Press | None, limit_s: float
) -> list[Check]:
    socket = settings.runtime_dir() / SOCKET
    found = [
        *_guarded("files", lambda: files.look(settings, socket)),
        *_guarded("vault", lambda: vault.look(settings)),
        *await _bounded("journal", record.checks(settings, limit_s), limit_s),
        *_guarded("daemon", lambda: desk.look(settings, lambda path: outside.ask(socket, path))),
        *_without_settings(clock, outside),
    ]
    for checks in await asyncio.gather(*_peers(settings, clock, outside, press, limit_s)):
        found += checks
    return found


def _peers(
    settings: Settings, clock: Clock, outside: Outside, press: Press | None, limit_s: float
) -> Iterator[Awaitable[list[Check]]]:
    for name, url in settings.hotkeys.targets.items():
        key = None
        if (
            press is not None
            and press.target == name
            and not hotkeys.refused(name, settings.hotkeys, settings.mode, press.action)
        ):
            key = hotkeys.frame(settings.hotkeys, press.action)
            outside.say(f"pressing {press.action} on {name}, {url}")
        action = press.action if press else ""
        yield _bounded(f"hotkeys:{name}", hotkeys.look(name, url, limit_s, key, action), limit_s)
    if press is not None:
        yield _refusal(hotkeys.refused(press.target, settings.hotkeys, settings.mode, press.action))
    yield _bounded("mqtt", broker.look(settings.mqtt, limit_s), limit_s)
    yield _bounded("hummingbot:mqtt", bots.look(settings.hummingbot.mqtt, limit_s), limit_s)
    guard = Guard(clock, lambda _: None)
    guard.know(settings.known_secrets())
    yield _bounded("hummingbot", web.hummingbot(settings.hummingbot, limit_s, clock, guard), limit_s)
    yield _bounded("polymaker", web.polymaker(settings.polymaker, limit_s, clock, guard), limit_s)


async def _refusal(check: Check | None) -> list[Check]:
    return [check] if check else []


async def _bounded(name: str, work: Awaitable[list[Check]], limit_s: float) -> list[Check]:
    """The checks of one peer; each step in them has its own limit, and this one holds whatever happens."""
    try:
        async with asyncio.timeout(3 * limit_s + 1):
            return await work
    except TimeoutError:
        return [fail(name, f"not done within {3 * limit_s + 1:g} s")]
    except Exception as error:  # one check that breaks must not cost all the others
        return [_broke(name, error)]


def _guarded(name: str, work: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    try:
        yield from work()
    except Exception as error:  # one check that breaks must not cost all the others
        yield _broke(name, error)


def _broke(name: str, error: Exception) -> Check:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return fail(name, f"could not be looked at: {reason}", "run it as the user of the daemon")
