"""A hotkey server: name, TCP, TLS and handshake; a key only when one was asked for by name."""

import asyncio
import string
from contextlib import suppress
from urllib.parse import urlsplit

from daemon.doctor.check import Check, fail, milliseconds, ok, warn
from daemon.doctor.remedies import unreachable
from daemon.egress.address import addresses
from daemon.errors import UnreachableError
from daemon.settings import HotkeySettings
from handlers.hotkeys.dial import Dialer
from handlers.hotkeys.link import Link

_GOODBYE_S = 1.0


class _Visitor:
    """Hears what one connection says."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.confirmed = False
        self.why = ""
        self.over = asyncio.get_running_loop().create_future()

    def link_opened(self, link: Link) -> None:
        self.link = link

    def link_answered(self, link: Link, text: str) -> None:
        pass

    def link_ponged(self, link: Link, payload: bytes) -> None:
        pass

    def link_paused(self, link: Link) -> None:
        pass

    def link_closing(self, link: Link, code: int) -> None:  # noqa: ARG002  # the listener's signature
        self.confirmed = code in (1000, 1001, 1005)

    def link_lost(self, link: Link, why: str) -> None:  # noqa: ARG002  # the listener's signature
        self.why = why

    def link_gone(self, link: Link) -> None:  # noqa: ARG002  # the listener's signature
        if not self.over.done():
            self.over.set_result(None)

    async def leave(self, frame: bytes | None = None) -> None:
        """Send the key, if there is one, and the close frame; wait for the server's, a second at most."""
        if self.link is None:
            return
        if frame is not None:
            self.link.text(frame)
        self.link.close()
        self.link.push()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await asyncio.shield(self.over)
        self.link.end("the server did not answer the close", reset=True)


def frame(settings: HotkeySettings, action: str) -> bytes | None:
    """What the key looks like on the wire; None where a frame needs an event's fields, which a bare key has not."""
    fields = {name for _, name, _, _ in string.Formatter().parse(settings.frame) if name}
    return settings.frame.format(action=action).encode() if fields == {"action"} else None


async def look(name: str, url: str, limit_s: float, key: bytes | None = None, action: str = "") -> list[Check]:
    """The target `name`: how long the way to it takes, or what is in the way. With `key`, one key is pressed."""
    label = f"hotkeys:{name}"
    if url == "practice":
        return [ok(label, "the built-in practice server, inside the daemon")]
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    where = parts.hostname or "", parts.port or (443 if secure else 80)
    loop = asyncio.get_running_loop()
    began = loop.time()
    visitor = _Visitor()
    try:
        await addresses(*where, limit_s)
        await Dialer(url, limit_s).dial(visitor)
    except UnreachableError as error:
        plain = "use ws:// instead of wss://"
        closed = "it hangs up on strangers: is this host allowed there? Does the port want wss://?"
        return [unreachable(label, where, str(error), plain=plain, closed=closed)]
    took = loop.time() - began
    checks = [ok(label, f"{url} takes connections, {'TLS and ' if secure else ''}handshake in {milliseconds(took)}")]
    began = loop.time()
    await visitor.leave(key)
    if key is not None:
        checks.append(_pressed(label, action, visitor, loop.time() - began))
    return checks


def _pressed(label: str, action: str, visitor: _Visitor, took: float) -> Check:
    if visitor.confirmed:
        return ok(label, f"pressed {action}, confirmed in {milliseconds(took)}: look at the platform")
    text = f"pressed {action}, and the server did not confirm it: {visitor.why or 'no answer'}"
    return warn(label, text, "look at the platform whether the key arrived")


def refused(name: str, settings: HotkeySettings, mode: str, action: str) -> Check | None:
    """Why this key cannot be pressed at target `name`; None when it can."""
    label = f"hotkeys:{name}"
    url = settings.targets.get(name)
    if url is None:
        return fail("press", f"there is no target {name}", f"--target is one of: {', '.join(settings.targets)}")
    if url == "practice":
        text = f"{action} not pressed: {name} is the built-in practice server, which lives inside the daemon"
        return fail(
            label, text, f"deskhand practice --port 8765, and: --set hotkeys.targets.{name}=ws://127.0.0.1:8765"
        )
    if mode != "live":
        text = f"{action} not pressed: in practice mode no key leaves this machine"
        return fail(label, text, "add --set mode=live if you mean it")
    if frame(settings, action) is None:
        text = f"{action} not pressed: hotkeys.frame holds fields of an event"
        return fail(label, text, "send an event: deskhand emit")
    return None
