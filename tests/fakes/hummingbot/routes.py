"""What each route of the contract does."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.hummingbot.bots import SAFE, Bots
from tests.fakes.hummingbot.errors import CrashError, RefusalError
from tests.fakes.hummingbot.exchange import CONFIG_MAPS, Exchange
from tests.fakes.hummingbot.habits import Habits, Traps

_CONTROLLERS = {
    "directional_trading": ["bollinger_v1", "supertrend_v1"],
    "market_making": ["pmm_simple", "pmm_dynamic"],
    "generic": ["grid_strike", "pmm_v1", "pmm_mister"],
}


@dataclass
class Call:
    """A request that passed the contract."""

    names: dict[str, str]
    query: dict[str, Any]
    body: dict[str, Any]


@dataclass
class Server:
    """Everything the routes work on."""

    traps: Traps
    habits: Habits
    now: Callable[[], float]
    wait: Callable[[float], Awaitable[None]]
    bots: Bots
    exchange: Exchange
    scripts: dict[str, str] = field(default_factory=lambda: {"v2_with_controllers": "# shipped"})
    script_configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    controller_configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    histories: int = 0
    """`history` calls under way."""


Done = Callable[[Server, Call], Any]
TABLE: dict[tuple[str, str], Done] = {}
"""Method and path, as in the contract, to what is done."""


def on(method: str, path: str) -> Callable[[Done], Done]:
    """Put a function into the table."""

    def keep(done: Done) -> Done:
        TABLE[method, path] = done
        return done

    return keep


def _hollow(server: Server, answer: dict[str, Any], status: int = 400) -> dict[str, Any]:
    """Trap 1: the refusal stands in a 200."""
    if not server.traps.hollow_success and answer.get("success") is False:
        words = answer.get("message", "failed")
        raise RefusalError(404 if "not found" in words else status, words)
    return answer


@on("GET", "/")
def _root(server: Server, _: Call) -> Any:
    return {"name": "Hummingbot API", "version": server.habits.old_version or "1.0.1", "status": "running"}


# Bots.


@on("GET", "/bot-orchestration/status")
def _all_bots(server: Server, _: Call) -> Any:
    return {"status": "success", "data": server.bots.all()}


@on("GET", "/bot-orchestration/mqtt")
def _mqtt(server: Server, _: Call) -> Any:
    connected = server.bots.broker_up or server.traps.mqtt_lies
    listed = list(server.bots.listed())
    data = {"mqtt_connected": connected, "discovered_bots": listed, "active_bots": listed}
    data |= {"broker_host": "localhost", "broker_port": 1883, "broker_username": "admin"}
    return {"status": "success", "data": data | {"client_state": "connected" if connected else "disconnected"}}


@on("GET", "/bot-orchestration/bot-runs")
def _runs(server: Server, call: Call) -> Any:
    query = dict(call.query)
    limit, offset = query.pop("limit", 100), query.pop("offset", 0)
    rows = [run for run in server.bots.runs if all(run[name] == value for name, value in query.items())]
    page = sorted(rows, key=lambda run: -int(run["id"]))[offset : offset + limit]
    return {"status": "success", "data": page, "total": len(page), "limit": limit, "offset": offset}


@on("GET", "/bot-orchestration/bot-runs/{run_id}")
def _run(server: Server, call: Call) -> Any:
    found = [run for run in server.bots.runs if str(run["id"]) == call.names["run_id"]]
    if not found:
        raise RefusalError(404, f"Bot run {call.names['run_id']} not found")
    return {"status": "success", "data": found[0]}


@on("GET", "/bot-orchestration/{bot}/status")
def _bot(server: Server, call: Call) -> Any:
    name = call.names["bot"]
    if name not in server.bots.listed():
        if not server.traps.status_of_nobody:
            raise RefusalError(404, f"Bot {name} not found")
        return {"status": "success", "data": {"status": "not_found", "error": f"Bot {name} not found"}}
    return {"status": "success", "data": server.bots.status(name)}


@on("GET", "/bot-orchestration/{bot}/history")
async def _history(server: Server, call: Call) -> Any:
    server.histories += 1
    server.bots.histories = max(server.bots.histories, server.histories)
    try:
        crowded = server.histories > 1  # two RPCs with one id: the later one's answer is taken for the other's
        await server.wait(0.01)
        answer = server.bots.history(call.names["bot"])
        if crowded:
            answer = {"success": False, "message": f"No response from {call.names['bot']}", "timeout": True}
    finally:
        server.histories -= 1
    return {"status": "success", "response": _hollow(server, answer)}


@on("POST", "/bot-orchestration/start-bot")
def _start(server: Server, call: Call) -> Any:
    return {"status": "success", "response": _hollow(server, server.bots.start(call.body["bot_name"]))}


@on("POST", "/bot-orchestration/stop-bot")
def _stop(server: Server, call: Call) -> Any:
    return {"status": "success", "response": _hollow(server, server.bots.stop(call.body["bot_name"]))}


@on("POST", "/bot-orchestration/deploy-v2-script")
def _deploy_script(server: Server, call: Call) -> Any:
    given = call.body.get("script_config") or ""
    known = given.endswith(".yml") and given.removesuffix(".yml") in server.script_configs
    profiles = set(server.exchange.accounts)
    return _hollow(server, server.bots.deploy(call.body, "script", {}, given if known else "", profiles))


@on("POST", "/bot-orchestration/deploy-v2-controllers")
def _deploy_controllers(server: Server, call: Call) -> Any:
    names = [name.removesuffix(".yml") for name in call.body["controllers_config"]]
    for name in names:
        if name not in server.controller_configs:
            server.bots.folders.append(call.body["instance_name"])
            raise RefusalError(500, f"[Errno 2] No such file or directory: 'bots/conf/controllers/{name}.yml'")
    configs = {name: dict(server.controller_configs[name]) for name in names}
    script = f"{call.body['instance_name']}.yml"
    answer = server.bots.deploy(call.body, "controller", configs, script, set(server.exchange.accounts))
    more = {"script_config_generated": script, "controllers_deployed": call.body["controllers_config"]}
    return _hollow(server, answer | more if answer["success"] else answer)


@on("POST", "/bot-orchestration/stop-and-archive-bot/{bot}")
def _archive(server: Server, call: Call) -> Any:
    answer = server.bots.archive(call.names["bot"])
    if answer["status"] == "error" and not server.traps.hollow_success:
        raise RefusalError(404, answer["message"])
    return answer


# Scripts, controllers and their configurations.


def _files(base: str, what: Callable[[Server], dict[str, Any]], word: str) -> None:
    """List, read, save, remove of one kind of file."""

    def known(server: Server, call: Call) -> str:
        (name,) = call.names.values()
        if name not in what(server):
            raise RefusalError(404, f"{word} '{name}' not found")
        return name

    def save(server: Server, call: Call) -> Any:
        (name,) = call.names.values()
        if not SAFE.fullmatch(name):
            raise CrashError(f"invalid name {name}", 422)
        what(server)[name] = call.body["content"] if word == "Script" else call.body
        return {"message": f"{word} '{name}' saved successfully"}

    def read(server: Server, call: Call) -> Any:
        name = known(server, call)
        found = what(server)[name]
        return {"name": name, "content": found} if word == "Script" else found

    def remove(server: Server, call: Call) -> Any:
        name = known(server, call)
        del what(server)[name]
        return {"message": f"{word} '{name}' deleted successfully"}

    def listed(server: Server, _: Call) -> Any:
        if word == "Script":
            return list(what(server))
        return [{"id": name, "config_name": name} | body for name, body in what(server).items()]

    hole = "{script}" if word == "Script" else "{config}"
    on("GET", f"{base}/")(listed)
    on("GET", f"{base}/{hole}")(read)
    on("POST", f"{base}/{hole}")(save)
    on("DELETE", f"{base}/{hole}")(remove)


_files("/scripts", lambda server: server.scripts, "Script")
_files("/scripts/configs", lambda server: server.script_configs, "Configuration")
_files("/controllers/configs", lambda server: server.controller_configs, "Configuration")


@on("GET", "/controllers/")
def _controllers(_: Server, __: Call) -> Any:
    return _CONTROLLERS


@on("GET", "/controllers/{type}/{name}/config/template")
def _template(_: Server, call: Call) -> Any:
    kind, name = call.names["type"], call.names["name"]
    if name not in _CONTROLLERS.get(kind, ()):
        raise RefusalError(404, f"Controller configuration class for '{name}' not found")
    return {
        "id": {"default": None, "type": "<class 'str'>", "required": True},
        "controller_name": {"default": name, "type": "<class 'str'>", "required": False},
        "controller_type": {"default": kind, "type": "<class 'str'>", "required": False},
        "total_amount_quote": {"default": "100", "type": "<class 'decimal.Decimal'>", "required": False},
        "connector_name": {"default": "PydanticUndefined", "type": "<class 'str'>", "required": True},
        "leverage": {"default": 20, "type": "<class 'int'>", "required": False},
    }


@on("GET", "/controllers/bots/{bot}/configs")
def _bot_configs(server: Server, call: Call) -> Any:
    bot = server.bots.known.get(call.names["bot"])
    if bot is None:
        raise RefusalError(404, f"Bot '{call.names['bot']}' not found")
    return [config | {"_config_name": name} for name, config in bot.controllers.items()]


@on("POST", "/controllers/bots/{bot}/{controller}/config")
def _tune(server: Server, call: Call) -> Any:
    bot = server.bots.known.get(call.names["bot"])
    if bot is None or call.names["controller"] not in bot.controllers:
        raise RefusalError(404, f"Bot '{call.names['bot']}' not found")
    bot.controllers[call.names["controller"]] |= call.body
    return {"message": f"Controller configuration for bot '{bot.name}' updated successfully"}


# Accounts, credentials, portfolio.


@on("GET", "/accounts/")
def _accounts(server: Server, _: Call) -> Any:
    return list(server.exchange.accounts)


@on("POST", "/accounts/add-account")
def _add_account(server: Server, call: Call) -> Any:
    name = call.query["account_name"]
    if name in server.exchange.accounts:
        raise RefusalError(400, "Account already exists.")
    if not SAFE.fullmatch(name):
        raise RefusalError(400, "Invalid account name.")
    server.exchange.accounts[name] = {}
    return {"message": "Account added successfully."}


@on("POST", "/accounts/delete-account")
def _delete_account(server: Server, call: Call) -> Any:
    name = call.query["account_name"]
    if name == "master_account":
        raise RefusalError(400, "Cannot delete master account.")
    if server.exchange.accounts.pop(name, None) is None:
        raise RefusalError(404, "Account not found.")
    return {"message": "Account deleted successfully."}


@on("GET", "/accounts/{account}/credentials")
def _credentials(server: Server, call: Call) -> Any:
    if call.names["account"] not in server.exchange.accounts:
        raise RefusalError(404, f"Account '{call.names['account']}' not found")
    return list(server.exchange.accounts[call.names["account"]])


@on("POST", "/accounts/add-credential/{account}/{connector}")
async def _add_credential(server: Server, call: Call) -> Any:
    account, connector = call.names["account"], call.names["connector"]
    if account not in server.exchange.accounts:
        raise RefusalError(404, f"Account '{account}' not found")
    if connector not in CONFIG_MAPS:
        raise RefusalError(400, f"Connector {connector} not found")
    for name in call.body:
        if name not in CONFIG_MAPS[connector]:
            raise RefusalError(400, f"Object has no attribute '{name}'")
    await server.wait(server.habits.login_s)
    if server.habits.login_refused:
        raise RefusalError(400, server.habits.login_refused)
    server.exchange.accounts[account][connector] = call.body
    return {"message": "Connector credentials added successfully."}


@on("POST", "/accounts/delete-credential/{account}/{connector}")
def _delete_credential(server: Server, call: Call) -> Any:
    server.exchange.accounts.get(call.names["account"], {}).pop(call.names["connector"], None)
    return {"message": f"Credential '{call.names['connector']}' deleted"}


@on("GET", "/connectors/")
def _connectors(_: Server, __: Call) -> Any:
    return list(CONFIG_MAPS)


@on("GET", "/connectors/{connector}/config-map")
def _config_map(server: Server, call: Call) -> Any:
    found = CONFIG_MAPS.get(call.names["connector"])
    if found is None:
        raise CrashError(f"'{call.names['connector']}'", 404)
    return list(found) if server.habits.config_map == "list" else found


@on("POST", "/portfolio/state")
def _portfolio(server: Server, call: Call) -> Any:
    accounts, connectors = call.body.get("account_names"), call.body.get("connector_names")
    return {
        account: {name: rows for name, rows in held.items() if not connectors or name in connectors}
        for account, held in server.exchange.balances.items()
        if not accounts or account in accounts
    }
