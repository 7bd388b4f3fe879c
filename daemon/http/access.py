"""Which tokens the running server knows: its own, and those of `tokens.json`, whose changes it notices by itself."""

import hmac
import secrets
from pathlib import Path
from typing import Any

from loguru import logger
from starlette.requests import HTTPConnection

from daemon.clock import Clock
from daemon.errors import ConfigError
from daemon.http.rates import Bucket, is_exit
from daemon.http.roles import ROLES, Need
from daemon.http.tokens import OWN, Token, Tokens, digest, mark, read

GRANT = "deskhand.grant"
"""Where a request's scope holds its `Grant`."""
LOOK_S = 0.5
"""How often the file is looked at while tokens are used, in seconds; an unknown token has it looked at too."""
READ_RATE = 20.0
"""How often a second a read token may ask unless it says otherwise: one listing may hold a thousand events."""


class Grant:
    """What a request may do because of the token it came with; `name` is empty without one."""

    __slots__ = ("bucket", "expires", "gone", "hash", "may", "name", "role", "token", "used")

    def __init__(self, token: Token | None, now: float, *, name: str = "", may: frozenset[Need] = frozenset()) -> None:
        self.token = token
        self.name = token.name if token else name
        self.role = token.role if token else "control"
        self.may = ROLES[token.role] if token else may
        self.expires = token.expires if token else None
        self.hash = bytes.fromhex(token.hash) if token else b""
        self.used = 0.0
        self.gone = False
        rate = token.rate if token and token.rate else READ_RATE if token and token.role == "read" else 0.0
        self.bucket = Bucket(rate, now) if rate else None

    def expired(self, now: float) -> bool:
        """Whether its time is over; `now` in seconds since the epoch."""
        return self.expires is not None and now >= self.expires


NOBODY = Grant(None, 0.0)
"""Who shows no token where none is asked for: the health of the daemon."""
UNIX = Grant(None, 0.0, name="unix socket", may=ROLES["control"])
"""Who comes by the unix socket: the file's mode has decided."""


def _own_grant() -> Grant:
    return Grant(None, 0.0, name=OWN, may=ROLES["control"])


class Access:
    """The tokens of one server: `token`, which may do everything, and those of the state folder, if it is given.

    A file that cannot be used is told, and looked at again when it changes; what was known of it goes on to count. At
    the start that is nothing: it lets nobody in, and a daemon that fires stops must start.
    """

    def __init__(self, token: str, folder: Path | None, clock: Clock) -> None:
        self._clock = clock
        self._folder = folder
        self._own = token.encode()
        self._own_grant = _own_grant()
        self._tokens = Tokens()
        self._seen: tuple[int, ...] = ()
        self._grants: dict[bytes, Grant] = {}
        self._trouble = ""
        self._take(self._tokens)
        self._look()

    def set_token(self, token: str) -> None:
        """Know this one instead of the one before."""
        if token.encode() != self._own:
            self._own = token.encode()
            self._own_grant.gone, self._own_grant = True, _own_grant()
        self._take(self._tokens)

    def find(self, given: bytes) -> Grant | None:
        """Who sent this; None if nobody has it. The grant may have expired."""
        self._look_now_and_then()
        found = self._known(given)
        return found if found is not None or not self._look() else self._known(given)

    def holds(self, grant: Grant) -> bool:
        """Whether what was granted a while ago, to a WebSocket, still is."""
        self._look_now_and_then()
        return not grant.gone and not grant.expired(self._clock.now())

    def used(self) -> list[dict[str, Any]]:
        """Every token, JSON-ready: name, role, tail, and when it was last used, in seconds since the epoch or None."""
        return [
            {"name": grant.name, "role": grant.role, "tail": grant.hash.hex()[-4:], "used": grant.used or None}
            for grant in self._grants.values()
        ]

    def _known(self, given: bytes) -> Grant | None:
        hashed = digest(self._key, given)
        # Which entry a dictionary finds tells nothing to who cannot compute the keyed hash.
        grant = self._grants.get(hashed)
        if grant is None or not hmac.compare_digest(grant.hash, hashed):
            return None
        grant.used = self._clock.now()
        return grant

    def _look_now_and_then(self) -> None:
        if self._clock.boot() >= self._look_at:
            self._look()

    def _look(self) -> bool:
        """Take over a file that has changed; whether it had."""
        self._look_at = self._clock.boot() + LOOK_S
        if self._folder is None:
            return False
        try:
            at = mark(self._folder)
            if at == self._seen:
                return False
            self._seen = at
            tokens = read(self._folder)
        except (OSError, ConfigError) as error:
            self._complain(str(error))
            return False
        self._trouble = ""
        self._seen = tokens.mark
        self._take(tokens)
        return True

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            rest = "those known so far go on to count" if self._tokens.all else "until then no token but our own counts"
            logger.error("tokens: {}; {}", trouble, rest)

    def _take(self, tokens: Tokens) -> None:
        now = self._clock.boot()
        self._tokens = tokens
        self._key = tokens.key or secrets.token_bytes(32)
        known = {grant.token: grant for grant in self._grants.values() if grant.token is not None}
        grants = [known.pop(token) if token in known else Grant(token, now) for token in tokens.all]
        for grant in known.values():
            grant.gone = True
        self._own_grant.hash = digest(self._key, self._own)
        self._grants = {grant.hash: grant for grant in (*grants, self._own_grant)}


class Caller:
    """Who sends, asked for every frame: a token may end, or run out of its rate, while its WebSocket is open."""

    def __init__(self, grant: Grant, access: Access | None, clock: Clock) -> None:
        self._grant = grant
        self._access = access
        self._clock = clock

    def allowed(self) -> bool:
        """Whether it still may send anything."""
        return self._access is None or self._access.holds(self._grant)

    def must_wait(self, raw: bytes | str) -> float:
        """Seconds to wait before this may be sent again, 0 to let it pass; an sl or close always passes."""
        bucket = self._grant.bucket
        wait = bucket.take(self._clock.boot()) if bucket else 0.0
        return wait if wait and not is_exit(raw) else 0.0

    def limit(self) -> str:
        """Why it must wait."""
        rate = self._grant.bucket.rate if self._grant.bucket else 0.0
        return f"this token may be used {rate:g} times a second"


def grant_of(connection: HTTPConnection) -> Grant:
    """What a request that came through `Auth` may do."""
    found: Grant = connection.scope[GRANT]
    return found
