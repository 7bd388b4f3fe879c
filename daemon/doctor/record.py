"""The journal's file: whole, of our version, not too large."""

import asyncio
from collections.abc import Iterator

from daemon.doctor.check import Check, fail, ok, size, warn
from daemon.journal.checkup import Findings, look
from daemon.settings import Settings

_NAME = "journal"


async def checks(settings: Settings, limit_s: float) -> list[Check]:
    """Look at the journal for `limit_s` seconds at most, without getting in a running daemon's way."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + limit_s
    found = await asyncio.to_thread(look, settings.state_dir, lambda: loop.time() > ends)
    return list(_told(found, settings.journal.max_mb * 1024 * 1024, limit_s))


def _told(found: Findings, most: int, limit_s: float) -> Iterator[Check]:
    if not found.exists:
        yield ok(_NAME, "none yet; the first start makes it")
    elif found.damaged:
        remedy = "restart deskhand: it keeps every record that can be read and sets the rest aside"
        yield fail(_NAME, f"damaged: {found.problem}", remedy)
    elif found.problem:
        yield fail(_NAME, f"cannot be read: {found.problem}", "run it as the user of the daemon")
    elif found.newer:
        text = f"made by a newer deskhand (journal version {found.newer})"
        yield fail(_NAME, text, "install that version again, or set another state_dir")
    else:
        whole = "no damage" if found.complete else f"no damage in the part that {limit_s:g} s allow to look at"
        yield ok(_NAME, f"{whole}, {size(found.bytes)} of {size(most)}")
        if found.bytes > most * 1.1:
            text = f"{size(found.bytes)}, more than journal.max_mb allows: it is not being trimmed"
            yield warn(_NAME, text, "is deskhand running? It trims within minutes of its start")
    if found.set_aside:
        count = "1 damaged record was" if found.set_aside == 1 else f"{found.set_aside} damaged records were"
        yield warn(_NAME, f"{count} set aside since this journal was made", "check the disk: smartctl -H, dmesg")
    if found.aside:
        names = ", ".join(path.name for path in found.aside[:3])
        yield warn(
            _NAME,
            f"damaged files were kept: {names}",
            f"if you need none of them: rm {found.aside[0].parent}/journal.damaged-*",
        )
