"""The guard before every request: what holds a secret that is not for this peer does not leave, and that is told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from loguru import logger

from daemon.clock import Clock
from daemon.egress.body import Written
from daemon.egress.needles import Needles
from daemon.egress.shapes import shape
from daemon.errors import EgressError
from daemon.ports import KnownSecret

_NOTHING: frozenset[str] = frozenset()


class Header(NamedTuple):
    """One line of a request's head; `own` is there to hold the peer's own secret."""

    name: str
    value: bytes
    own: bool = False


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is about to be sent: path and query as they go out, with `query` apart, head and body."""

    target: bytes
    query: Written
    headers: tuple[Header, ...]
    body: Written | None

    @property
    def size(self) -> int:
        """Bytes to be searched, about."""
        return len(self.target) + (len(self.body.data) if self.body else 0)


class Finding(NamedTuple):
    """Where something is that must not leave, and what, by name."""

    where: str
    what: str
    verb: str = "holds"


class Guard:
    """One for all peers of a daemon; outlives a reload. `blocked` counts a stopped request by its peer."""

    def __init__(self, clock: Clock, blocked: Callable[[str], None]) -> None:
        self._clock = clock
        self._count = blocked
        self._told: tuple[KnownSecret, ...] = ()
        self._kept: dict[str, KnownSecret] = {}
        self._needles = Needles()
        self._blocked = 0
        self._last: dict[str, Any] | None = None

    def know(self, secrets: Iterable[KnownSecret]) -> None:
        """These are the secrets now; the ones of before are forgotten, for what was no secret after all is let out by
        taking it from the settings.
        """
        self._told = tuple(secrets)
        self._needles = Needles((*self._told, *self._kept.values()))

    def keep(self, token: str) -> None:
        """Know the local API's own token too, wherever it came from: whoever has it presses keys."""
        self._kept[token] = KnownSecret("http-token", token, "http")
        self.know(self._told)

    def shown(self) -> dict[str, Any]:
        """For `status`: `blocked` requests since the start, and the `last` one: at, peer, where, what; or None."""
        return {"blocked": self._blocked, "last": self._last}

    def search(self, peer: str, request: Outgoing) -> Finding | None:
        """What `request` holds that must not go to `peer`, whose name is its purpose. Any thread may ask."""
        find = self._needles.find
        others = [header for header in request.headers if not header.own]
        # A query stands in the target; looked at alone, its declared fields can be left out.
        for where, plain in (
            ("url", request.target.partition(b"?")[0] + b"?" + request.query.bare),
            ("name of a header", b"\n".join(header.name.encode() for header in request.headers)),
            *((f"header {header.name}", header.value) for header in others),
            ("body", request.body.bare if request.body else b""),
        ):
            if what := find(plain) or shape(plain):
                return Finding(where, what)
        for header in request.headers:
            if header.own and (what := find(header.value, frozenset({peer}))):
                return Finding(f"header {header.name}", what)
        for where, written in (("url", request.query), ("body", request.body)):
            if written and (what := _held(find, written)):
                return Finding(where, what)
        return None

    def stop(self, peer: str, finding: Finding) -> EgressError:
        """Sound the alarm; the error to raise. Loop's thread only."""
        self._blocked += 1
        self._last = {"at": self._clock.now(), "peer": peer, "where": finding.where, "what": finding.what}
        self._count(peer)
        text = f"{finding.where} {finding.verb} {finding.what}"
        logger.error("[Egress] A request to {} was stopped before its first byte: its {}", peer, text)
        return EgressError(f"a request to {peer} was stopped before its first byte: its {text}")


def _held(find: Callable[[bytes, frozenset[str]], str], written: Written) -> str:
    """What stands in declared fields and is not declared; and what only all of it together gives."""
    if not written.held:
        return ""
    for held in written.held:
        if what := find(held.text, held.purposes) or ("" if held.hex else shape(held.text)):
            return what
    return find(written.data, _NOTHING.union(*(held.purposes for held in written.held)))
