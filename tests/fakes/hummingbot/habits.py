"""How the fake behaves: the traps of the real server, on by default, and what goes wrong only on request."""

from dataclasses import dataclass, field
from typing import Literal

Route = tuple[str, str]
"""Method and path as the contract writes it: `("POST", "/trading/orders")`."""


@dataclass(slots=True)
class Traps:
    """The eleven traps; each is how server 1.0.1 really is. Off means: as one would expect it."""

    hollow_success: bool = True
    """1. 200 with the refusal inside. Off: 404 or 400."""
    status_of_nobody: bool = True
    """2. The status of an unknown bot is 200. Off: 404."""
    start_does_nothing: bool = True
    """3. `start-bot` says success, the bot refuses. Off: a stopped bot runs again."""
    shows_stopped: bool = True
    """4. A healthy bot without a report, and any bot told to stop, shows `stopped`. Off: as it really is."""
    phantoms: bool = True
    """5. Any message about a name makes it a bot for 30 s, the server's own commands too. Off: only containers."""
    mqtt_lies: bool = True
    """6. `/mqtt` says connected while the broker is away. Off: it tells."""
    slashes: bool = True
    """7. A path without its slash is 404. Off: both are served."""
    plain_500: bool = True
    """8. Unhandled errors are text/plain. Off: JSON, and 422 for names."""
    drop_after_500: bool = True
    """9. The connection of such a 500 is dead, without a word. Off: it is kept."""
    no_health: bool = True
    """10. There is no `/health`. Off: there is."""
    ignores_unknown: bool = True
    """11. Unknown body fields are ignored. Off: 422."""


@dataclass(slots=True)
class Habits:
    """What the fake does on request, changed at any time. Times in seconds."""

    reset: dict[Route, Literal["done", "lost"]] = field(default_factory=dict)
    """Requests that are read and then reset: what was asked is `done` all the same, or `lost`."""
    answer: dict[Route, tuple[int, str, bytes]] = field(default_factory=dict)
    """Answered with this status, content type and body, whatever was asked."""
    think_s: dict[Route, float] = field(default_factory=dict)
    """How long a request takes before it is done and answered."""
    login_s: float = 0.0
    """How long add-credential logs in at the exchange; 85 on a bad day."""
    login_refused: str = ""
    """Why the exchange refuses the login."""
    config_map: Literal["object", "list"] = "object"
    """The form of config-map; `list` is what older images answer."""
    deploy_refused: str = ""
    """Why Docker refuses a deploy."""
    starting_s: float = 0.0
    """From the deploy until the bot's first message."""
    deploy_dies: bool = False
    """The container of a deploy exits before its first message."""
    disobeys: bool = False
    """Bots hear `stop` and go on."""
    history_silent: bool = False
    """Bots do not answer `history`."""
    orders: Literal["rest", "fill", "partial", "reject"] = "rest"
    """What becomes of a new limit order; market orders are filled unless it says partial or reject."""
    cancels: Literal["done", "pending", "fills"] = "done"
    """What a cancel leads to; `fills`: the order is filled before the cancel arrives at the exchange."""
    recent_s: float = 30.0
    """How long a bot counts as recently active after its last message."""
    heartbeat_s: float = 30.0
    """Between two heartbeats of a websocket."""
    hb_s: float = 10.0
    """Between two heartbeats of a bot over MQTT."""
    old_version: str = ""
    """Another version than 1.0.1."""
