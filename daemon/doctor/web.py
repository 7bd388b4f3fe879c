"""Peers over HTTP: the Hummingbot API and the PolyMaker Command Center; harmless reads only.

Wire: Hummingbot API 1.0.1, `GET /` without and `GET /bot-orchestration/mqtt` with a login; Command Center,
`GET /api/bot/config`, which its bot client asks for every few seconds.
"""

import json
import re
from typing import Any
from urllib.parse import urlsplit

from daemon.clock import Clock
from daemon.doctor.check import Check, fail, milliseconds, ok, warn
from daemon.doctor.clocks import compared, offset
from daemon.doctor.remedies import unreachable
from daemon.egress import Answer, Guard
from daemon.egress.address import addresses
from daemon.egress.client import Egress
from daemon.errors import EgressError, UnreachableError
from daemon.settings import HummingbotSettings, PolymakerSettings

_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,32}")


class _Peer:
    """One HTTP peer: asks, and notes how long it took and what time it is there."""

    def __init__(self, name: str, url: str, limit_s: float, egress: Egress, clock: Clock) -> None:
        parts = urlsplit(url)
        self.name, self.url = name, url
        self.where = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._limit_s, self._egress, self._clock = limit_s, egress, clock
        self.took = 0.0
        self.time: Check | None = None

    async def get(self, path: str) -> Answer:
        """Raises UnreachableError."""
        await addresses(*self.where, self._limit_s)
        sent, began = self._clock.now(), self._clock.boot()
        answer = await self._egress.get(path, fresh=True)
        self.took = self._clock.boot() - began
        ahead = offset(answer.headers.get("date", ""), sent, self._clock.now())
        if ahead is not None:
            self.time = compared(f"{self.where[0]} ({self.name})", ahead)
        return answer

    def down(self, error: UnreachableError) -> Check:
        """Why there was no answer."""
        plain = "use http:// instead of https://"
        closed = "is it a web server at all, and does it want https://? See its log"
        return unreachable(self.name, self.where, str(error), plain=plain, closed=closed)

    def stopped(self, error: EgressError) -> Check:
        """The question was not asked: it would have told the peer a secret of another."""
        return fail(self.name, str(error), "give every peer a secret of its own")

    def with_time(self, *checks: Check) -> list[Check]:
        """The checks, and the one of the clock if the peer told the time."""
        return [*checks, self.time] if self.time else list(checks)


async def hummingbot(settings: HummingbotSettings, limit_s: float, clock: Clock, guard: Guard) -> list[Check]:
    """The Hummingbot API: there, itself, and lets us in."""
    name = "hummingbot"
    if settings.url is None:
        return [ok(name, "off: HUMMINGBOT_API_URL is not set")]
    login = settings.username and settings.password and (settings.username, settings.password.get_secret_value())
    async with Egress(name, settings.url, guard, limit_s, login=login or None) as egress:
        peer = _Peer(name, settings.url, limit_s, egress, clock)
        try:
            found = await peer.get("/")
            about = _object(found)
            if about is None or about.get("name") != "Hummingbot API":
                text = f"{settings.url} answers (HTTP {found.status}), but is not the Hummingbot API"
                return peer.with_time(fail(name, text, "correct HUMMINGBOT_API_URL; its usual port is 8000"))
            version = str(about.get("version", ""))
            whole = f"{settings.url}, version {version}" if _VERSION.fullmatch(version) else settings.url
            return peer.with_time(_let_in(whole, await peer.get("/bot-orchestration/mqtt"), settings, peer.took))
        except UnreachableError as error:
            return [peer.down(error)]
        except EgressError as error:
            return [peer.stopped(error)]


def _let_in(whole: str, found: Answer, settings: HummingbotSettings, took: float) -> Check:
    name = "hummingbot"
    names = "HUMMINGBOT_API_USERNAME and HUMMINGBOT_API_PASSWORD"
    if found.status == 401:
        if settings.username and settings.password:
            return fail(name, f"{whole}: it refuses this user and password (401)", f"correct {names} in .env")
        keyless = "; it knows no API keys" if settings.api_key else ""
        return fail(name, f"{whole}: it wants a login{keyless} (401)", f"set {names} in .env")
    answer = _object(found)
    if found.status != 200 or answer is None:
        return fail(
            name, f"{whole}: answers HTTP {found.status} and no JSON that makes sense", "see the log of the API"
        )
    data = answer.get("data")
    if isinstance(data, dict) and data.get("mqtt_connected") is False:
        text = f"{whole}: login fine, but it has no connection to its own MQTT broker, so bots cannot be reached"
        return warn(name, text, "start its broker; in its own folder: docker compose up -d emqx")
    return ok(name, f"{whole}: login fine, {milliseconds(took)}")


async def polymaker(settings: PolymakerSettings, limit_s: float, clock: Clock, guard: Guard) -> list[Check]:
    """The Command Center: there, and takes our key."""
    name = "polymaker"
    if settings.url is None:
        return [ok(name, "off: POLYMAKER_URL is not set")]
    if not settings.enabled:
        return [ok(name, "off: POLYMAKER_ENABLED is not true")]
    if settings.api_key is None:
        return [fail(name, f"{settings.url}: no key is set", "set POLYMAKER_API_KEY in .env")]
    key = {"X-Api-Key": settings.api_key.get_secret_value()}
    headers = {"Content-Type": "application/json"}
    async with Egress(name, settings.url, guard, limit_s, headers=headers, credentials=key) as egress:
        peer = _Peer(name, settings.url, limit_s, egress, clock)
        try:
            found = await peer.get("/api/bot/config")
        except UnreachableError as error:
            return [peer.down(error)]
        except EgressError as error:
            return [peer.stopped(error)]
        return peer.with_time(_center(settings.url, found, peer.took))


def _center(url: str, found: Answer, took: float) -> Check:
    name = "polymaker"
    if found.status in (401, 403):
        return fail(name, f"{url}: it refuses the key ({found.status})", "correct POLYMAKER_API_KEY in .env")
    if found.status == 404:
        return fail(name, f"{url}: there is no Command Center here (404)", "correct POLYMAKER_URL: without /api/bot")
    if 300 <= found.status < 400:
        text = f"{url}: it sends us elsewhere ({found.status}), and keys are not carried along"
        return fail(name, text, "set POLYMAKER_URL to the final address (https:// perhaps)")
    if found.status != 200:
        return fail(name, f"{url}: it answers HTTP {found.status}", "see the log of the Command Center")
    answer = _object(found)
    if answer is None:
        return fail(
            name, f"{url}: answers, but with no JSON that makes sense", "correct POLYMAKER_URL; is it a web page?"
        )
    if not answer.get("id"):
        return warn(name, f"{url}: key fine, but no configuration for this bot", "make one in the Command Center")
    return ok(name, f"{url}: key fine, {milliseconds(took)}")


def _object(found: Answer) -> dict[str, Any] | None:
    try:
        value = json.loads(found.body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
