"""Changing a running bot's controller: pause it, resume it, give it another amount."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from daemon.clock import Clock
from daemon.egress import Body
from daemon.ports import Outcome, Result
from handlers.hummingbot import asked, requests
from handlers.hummingbot.answers import Ok, Refused, Unavailable
from handlers.hummingbot.client import HummingbotApi
from handlers.hummingbot.looking import Patience


class Tuning(Body):
    """What is to be set."""

    manual_kill_switch: bool | None = None
    total_amount_quote: requests.Amount | None = None


class Controllers:
    """Sets a controller's configuration, which may be done twice without harm, and reads it back."""

    def __init__(self, api: HummingbotApi, clock: Clock, patience: Patience) -> None:
        self._api = api
        self._clock = clock
        self._patience = patience

    async def tune(self, wanted: asked.Tuning) -> Outcome:
        """Set it, and see it set."""
        sent = await self._api.tune_controller(
            wanted.bot,
            wanted.controller,
            Tuning(**asked.given(manual_kill_switch=wanted.kill_switch, total_amount_quote=wanted.total_amount_quote)),
        )
        if isinstance(sent, (Refused, Unavailable)):
            return Outcome(Result.FAILED, f"nothing was changed: {sent.words}")
        return await self._seen(wanted, "" if isinstance(sent, Ok) else sent.words)

    async def tuned(self, wanted: asked.Tuning) -> Outcome:
        """Whether it is as an earlier life of the daemon may have set it."""
        return await self._seen(wanted, "interrupted by a crash")

    async def _seen(self, wanted: asked.Tuning, words: str) -> Outcome:
        looks = self._patience.looks(self._clock, self._patience.confirm_s)
        lead = f"{words}; " if words else ""
        while True:
            found = await self._api.bot_configs(wanted.bot)
            if isinstance(found, Ok):
                named = (row for row in found.value if wanted.controller in (row.get("_config_name"), row.get("id")))
                row = next(named, None)
                if row is not None and _as(row, wanted):
                    return Outcome(Result.DONE, f"{wanted.controller} of {wanted.bot} is set")
                why = "its configuration is another one" if row is not None else "it has no such controller"
            else:
                why = found.words
            if not await looks.more():
                return Outcome(Result.UNCERTAIN, f"{lead}not seen to be set: {why}")


def _as(row: Mapping[str, Any], wanted: asked.Tuning) -> bool:
    """Whether a controller's configuration says what was wanted."""
    switch, total = row.get("manual_kill_switch"), row.get("total_amount_quote")
    if wanted.kill_switch is not None and str(switch).lower() != str(wanted.kill_switch).lower():
        return False
    try:
        return wanted.total_amount_quote is None or Decimal(str(total)) == wanted.total_amount_quote
    except InvalidOperation:
        return False
