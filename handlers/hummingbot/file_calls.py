"""Calls about files at the server: scripts, controllers, their configurations, and those of bots that run.

Names go without their endings.
"""

from collections.abc import Mapping
from typing import Any

from daemon.egress import Body
from handlers.hummingbot import models, requests
from handlers.hummingbot.answers import Result
from handlers.hummingbot.bot_calls import accepted
from handlers.hummingbot.wire import Wire, reader

Config = Mapping[str, Any]
"""A configuration as the server has it; its fields are the controller's or the script's own."""

_read_names = reader(tuple[str, ...])
_read_kinds = reader(Mapping[str, tuple[str, ...]])
_read_config = reader(dict[str, Any])
_read_configs = reader(tuple[dict[str, Any], ...])
_read_template = reader(Mapping[str, models.TemplateField])


class FileCalls:
    """Part of `HummingbotApi`."""

    _wire: Wire

    async def scripts(self) -> Result[tuple[str, ...]]:
        """GET /scripts/: their names."""
        return await self._wire.ask("/scripts/", _read_names)

    async def script(self, script: str) -> Result[str]:
        """GET /scripts/{name}: its source."""
        return await self._wire.ask("/scripts/{script}", lambda data: str(data["content"]), names={"script": script})

    async def save_script(self, script: str, body: requests.ScriptText) -> Result[models.Accepted]:
        """POST /scripts/{name}: save it, over one of that name."""
        return await self._wire.act("/scripts/{script}", accepted, names={"script": script}, body=body)

    async def delete_script(self, script: str) -> Result[models.Accepted]:
        """DELETE /scripts/{name}."""
        return await self._wire.act("/scripts/{script}", accepted, names={"script": script}, delete=True)

    async def script_configs(self) -> Result[tuple[Config, ...]]:
        """GET /scripts/configs/: what the server tells of each; `config_name` is its name."""
        return await self._wire.ask("/scripts/configs/", _rows)

    async def script_config(self, config: str) -> Result[Config]:
        """GET /scripts/configs/{name}."""
        return await self._wire.ask("/scripts/configs/{config}", _read_config, names={"config": config})

    async def save_script_config(self, config: str, body: Body) -> Result[models.Accepted]:
        """POST /scripts/configs/{name}; the body has to say `script_file_name`."""
        return await self._wire.act("/scripts/configs/{config}", accepted, names={"config": config}, body=body)

    async def delete_script_config(self, config: str) -> Result[models.Accepted]:
        """DELETE /scripts/configs/{name}."""
        return await self._wire.act("/scripts/configs/{config}", accepted, names={"config": config}, delete=True)

    async def controllers(self) -> Result[Mapping[str, tuple[str, ...]]]:
        """GET /controllers/: names by kind: directional_trading, market_making, generic."""
        return await self._wire.ask("/controllers/", _read_kinds)

    async def controller_template(self, kind: str, name: str) -> Result[Mapping[str, models.TemplateField]]:
        """GET /controllers/{kind}/{name}/config/template: which fields its configuration has."""
        path = "/controllers/{kind}/{name}/config/template"
        return await self._wire.ask(path, _read_template, names={"kind": kind, "name": name})

    async def controller_configs(self) -> Result[tuple[Config, ...]]:
        """GET /controllers/configs/: all of them; `id` is what each calls itself."""
        return await self._wire.ask("/controllers/configs/", _rows)

    async def controller_config(self, config: str) -> Result[Config]:
        """GET /controllers/configs/{name}."""
        return await self._wire.ask("/controllers/configs/{config}", _read_config, names={"config": config})

    async def save_controller_config(self, config: str, body: Body) -> Result[models.Accepted]:
        """POST /controllers/configs/{name}: save it, over one of that name; a bot that runs keeps its own copy."""
        return await self._wire.act("/controllers/configs/{config}", accepted, names={"config": config}, body=body)

    async def delete_controller_config(self, config: str) -> Result[models.Accepted]:
        """DELETE /controllers/configs/{name}."""
        return await self._wire.act("/controllers/configs/{config}", accepted, names={"config": config}, delete=True)

    async def bot_configs(self, bot: str) -> Result[tuple[Config, ...]]:
        """GET /controllers/bots/{bot}/configs: of a bot that runs; `_config_name` is each one's name."""
        return await self._wire.ask("/controllers/bots/{bot}/configs", _rows, names={"bot": bot})

    async def tune_controller(self, bot: str, controller: str, body: Body) -> Result[models.Accepted]:
        """POST /controllers/bots/{bot}/{controller}/config: while it runs; `manual_kill_switch` pauses it."""
        path = "/controllers/bots/{bot}/{controller}/config"
        return await self._wire.act(path, accepted, names={"bot": bot, "controller": controller}, body=body)


def _rows(data: Any) -> tuple[Config, ...]:
    """Rows, or bare names as other versions list them."""
    rows = [{"config_name": row} if isinstance(row, str) else row for row in data]
    found: tuple[Config, ...] = _read_configs(rows)
    return found
