"""When others on the network may reach the local server: there is a token, and TLS or the word that it goes without.

The token made at the first start does not count. Nobody chose it to leave the machine, it may do everything, and it
would make this rule hold for everybody who never thought of it.
"""

import os
from pathlib import Path

from daemon.errors import ConfigError
from daemon.http.tls import context
from daemon.http.tokens import read
from daemon.settings import HttpSettings, Settings
from daemon.settings.model import LAN_TOKEN, LAN_WORDS

_TOKENS = (
    "others on the network need a token: run `deskhand token add NAME --role ingest`, "
    "or set DESKHAND_HTTP_TOKEN; the one made at the first start stays on this machine"
)


def refusal(http: HttpSettings, state: Path | None) -> str:
    """Why others on the network may not reach the server, empty if they may. Raises ConfigError.

    `state` is the folder of the tokens. An expired one counts: it lets nobody in, and a daemon that fires stops must
    not fail to start because a token ran out.
    """
    if not http.sealed:
        return LAN_WORDS
    if http.token is not None and len(http.token.get_secret_value()) >= LAN_TOKEN:
        return ""
    known = read(state).all if state is not None else ()
    return "" if known else _TOKENS


def check(settings: Settings) -> None:
    """What `http` needs beside the settings: certificate and tokens, as `run` will find them. Raises ConfigError."""
    http, place = settings.http, settings.origin.place
    try:
        context(http, _user(settings.state_dir))
    except ConfigError as error:
        key, _, words = str(error).partition(": ")
        raise ConfigError(f"{place(tuple(key.split('.')))}: {words}") from None
    if http.loopback:
        return
    why = refusal(http, settings.state_dir)
    if why and not os.access(settings.state_dir, os.R_OK | os.X_OK) and settings.state_dir.exists():
        why = "whether there are tokens cannot be seen by this user; ask as the user of the daemon"
    if why:
        raise ConfigError(f"{place(('http', 'host'))}: {why}")


def _user(state: Path) -> int | None:
    """Whom the daemon runs as, for root: whose the state folder is."""
    return state.stat().st_uid if os.geteuid() == 0 and state.exists() else None
