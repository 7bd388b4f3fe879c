"""A strict fake of Hummingbot API 1.0.1, with the traps of the real one on by default.

    async with HummingbotServer() as server:
        bot = server.bots.add("pmm-20261120-101500")
        ...
        server.clean()      # fails when a request was outside the contract

`server.traps` switches traps off, `server.habits` makes things go wrong, `server.bots` and `server.exchange` are its
state, `server.asked` is every request. As a process it is `python -m tests.fakes.hummingbot`, see `__main__`.
"""

from tests.fakes.hummingbot.bots import Bot, Bots
from tests.fakes.hummingbot.exchange import Exchange
from tests.fakes.hummingbot.habits import Habits, Traps
from tests.fakes.hummingbot.server import Asked, HummingbotServer

__all__ = ["Asked", "Bot", "Bots", "Exchange", "Habits", "HummingbotServer", "Traps"]
