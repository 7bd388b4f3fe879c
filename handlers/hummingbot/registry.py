"""Our bots as they are written down: what each one is, what is wanted of it, and what was last observed."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

_KINDS: dict[str, Any] = {"id": str, "name": str, "instance": str, "config": dict, "past": list}
PAST = 10
"""How many earlier instances of a bot are remembered."""
_STAMPED = re.compile(r"(?P<id>.+)-[0-9]{8}-[0-9]{6}")


class BotState(StrEnum):
    """How a bot is, as far as it was observed."""

    DEPLOYING = "deploying"
    """Asked for; not heard yet."""
    RUNNING = "running"
    """Heard, and reporting as its strategy should."""
    SILENT = "silent"
    """Its container is there and nothing is heard: it may trade on."""
    STOPPED = "stopped"
    """It does not trade: never started, gone, or without a word from its strategy after it was told to stop."""
    FAILED = "failed"
    """It should run and does not."""
    ORPHAN = "orphan"
    """A container that runs there and is none of ours."""
    PHANTOM = "phantom"
    """A name that was heard and has no container."""
    UNKNOWN = "unknown"
    """Hummingbot cannot be asked, or was not asked yet."""


@dataclass(slots=True)
class Bot:
    """One bot of ours. Times are wall time in seconds, 0 for never.

    `instance` is its name at Hummingbot, new with every deploy, `past` the earlier ones; `wanted` whether it should
    run; `since` when its state began, `seen` when Hummingbot last told of it, `deployed` when its deploy was begun;
    `listed` whether this instance's container was ever seen.
    """

    id: str
    name: str
    strategy: str
    connector: str
    pair: str
    account: str
    config: dict[str, Any] = field(default_factory=dict)
    made: float = 0.0
    wanted: bool = False
    instance: str = ""
    past: list[str] = field(default_factory=list)
    state: BotState = BotState.STOPPED
    since: float = 0.0
    reason: str = "never started"
    seen: float = 0.0
    deployed: float = 0.0
    listed: bool = False

    def dump(self) -> str:
        """As it is kept."""
        return json.dumps(asdict(self))

    def deploy(self, now: float) -> None:
        """A new instance is about to be asked for; its name comes with the answer."""
        if self.instance:
            self.past = [*self.past, self.instance][-PAST:]
        self.instance, self.listed, self.wanted, self.deployed = "", False, True, now


def load(raw: str) -> Bot:
    """What `dump` wrote. Raises ValueError."""
    try:
        fields: Any = json.loads(raw)
        found = Bot(**fields | {"state": BotState(fields["state"])})
        if not all(isinstance(fields[name], kind) for name, kind in _KINDS.items()):
            raise TypeError
    except (TypeError, KeyError, ValueError):
        raise ValueError("not a bot's record") from None
    return found


def bot_id(name: str) -> str:
    """What Hummingbot can bear of what a person calls it: `Sharp Spread` is `Sharp-Spread`. Raises ValueError."""
    found = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    if not 0 < len(found) <= 64 or not name.isprintable() or len(name) > 64:
        raise ValueError("must be 1 to 64 printable characters, with a letter or digit")
    if _STAMPED.fullmatch(found):
        raise ValueError("must not end like an instance of Hummingbot's, with a date and a time")
    return found


def instance_of(instance: str) -> str:
    """The bot that an instance's name says it is of, "" for none: `a-20261120-101500` is of `a`."""
    found = _STAMPED.fullmatch(instance)
    return found["id"] if found else ""


class Registry(Protocol):
    """Where the records are kept, by a bot's id. Each raises JournalError."""

    def get(self, name: str) -> str | None:
        """One record, or None."""
        ...

    def put(self, name: str, value: str) -> None:
        """Keep a record; it survives a killed process when this returns."""
        ...

    def list(self) -> Mapping[str, str]:
        """All records."""
        ...

    def remove(self, name: str) -> None:
        """Forget one."""
        ...
