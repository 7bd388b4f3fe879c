"""The wire to a Hummingbot API, without policy: one method a call, one request a method, its end as a value.

Basic authentication; an `api_key` goes along as `X-API-KEY` for a reverse proxy in front, the server itself knows none.
"""

import ssl
from types import TracebackType
from typing import Literal, Self

from daemon.egress import Guard
from daemon.egress.client import Egress
from daemon.errors import ConfigError
from daemon.settings import HummingbotSettings
from handlers.hummingbot.account_calls import AccountCalls
from handlers.hummingbot.answers import Result
from handlers.hummingbot.bot_calls import BotCalls
from handlers.hummingbot.file_calls import FileCalls
from handlers.hummingbot.streams import Stream, Streams
from handlers.hummingbot.trading_calls import TradingCalls
from handlers.hummingbot.wire import Wire

LIMIT_S = 10.0
"""How long a call may take unless it says otherwise, in seconds, from the name to the last byte."""


class HummingbotApi(BotCalls, FileCalls, AccountCalls, TradingCalls):
    """One Hummingbot API. `settings` with a url. Long-lived; to be closed.

    Every method sends one request and gives back Ok or what came instead (see `answers`); a call that is cancelled may
    have been done. Raises ConfigError for settings that lead nowhere. `tls` replaces the system's trust.
    """

    def __init__(
        self, settings: HummingbotSettings, guard: Guard, *, limit_s: float = LIMIT_S, tls: ssl.SSLContext | None = None
    ) -> None:
        if settings.url is None:
            raise ConfigError("hummingbot: url is needed")
        login = None
        if settings.username is not None or settings.password is not None:
            login = (settings.username or "", settings.password.get_secret_value() if settings.password else "")
        key = {"X-API-KEY": settings.api_key.get_secret_value()} if settings.api_key else {}
        try:
            self._egress = Egress("hummingbot", settings.url, guard, limit_s, credentials=key, login=login, tls=tls)
        except ValueError:
            raise ConfigError("hummingbot: api_key and url must be printable, url like http://host:8000") from None
        super().__init__(Wire(self._egress))
        self._streams = Streams(settings.url, guard, limit_s, login, key, tls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop what is open; streams are closed by those who opened them."""
        await self._egress.close()

    async def stream(self, kind: Literal["executors", "market-data"]) -> Result[Stream]:
        """A websocket, connected and logged in: `/ws/executors` (bots too) or `/ws/market-data`."""
        return await self._streams.open(kind)


HummingbotClient = HummingbotApi
"""Its other name, in modules that were written beside it."""
