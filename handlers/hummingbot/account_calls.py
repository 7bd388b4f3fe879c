"""Calls about accounts, exchange credentials and what is held."""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import Field, SecretStr, create_model

from daemon.egress import Body, Credential
from handlers.hummingbot import models, requests
from handlers.hummingbot.answers import Ok, Result
from handlers.hummingbot.bot_calls import accepted
from handlers.hummingbot.wire import Wire, reader
from handlers.hummingbot.words import without

LOGIN_S = 120.0
"""How long add-credential may take, in seconds: the server logs in at the exchange meanwhile."""
REFRESH_S = 60.0
"""How long the exchanges may take to tell what is held, in seconds."""
_FIELDS = 64

_read_names = reader(tuple[str, ...])
_read_map = reader(Mapping[str, models.ConfigField])
_read_portfolio = reader(Mapping[str, Mapping[str, tuple[models.Balance, ...]]])


def credential_body(values: Mapping[str, SecretStr | bool]) -> Body:
    """A credential, field by field under the connector's own names. Raises ValueError for what can be no field."""
    if not 0 < len(values) <= _FIELDS or not all(name.isidentifier() and len(name) <= 128 for name in values):
        raise ValueError("the fields of a credential have names like binance_api_key")
    # Under numbers inside, because a name of theirs may be one of the model's own.
    fields: dict[str, Any] = {
        f"f{number}": (bool if isinstance(value, bool) else Credential, Field(alias=name))
        for number, (name, value) in enumerate(values.items())
    }
    form = create_model("CredentialBody", __base__=Body, **fields)
    return form(**{f"f{number}": value for number, value in enumerate(values.values())})


class AccountCalls:
    """Part of `HummingbotApi`."""

    _wire: Wire

    async def accounts(self) -> Result[tuple[str, ...]]:
        """GET /accounts/: their names."""
        return await self._wire.ask("/accounts/", _read_names)

    async def add_account(self, body: requests.AccountQuery) -> Result[models.Accepted]:
        """POST /accounts/add-account: a name that exists is refused."""
        return await self._wire.act("/accounts/add-account", accepted, query=body)

    async def delete_account(self, body: requests.AccountQuery) -> Result[models.Accepted]:
        """POST /accounts/delete-account: its credentials go with it."""
        return await self._wire.act("/accounts/delete-account", accepted, query=body)

    async def credentials(self, account: str) -> Result[tuple[str, ...]]:
        """GET /accounts/{account}/credentials: the connectors it has keys for."""
        return await self._wire.ask("/accounts/{account}/credentials", _read_names, names={"account": account})

    async def add_credential(self, account: str, connector: str, body: Body) -> Result[models.Accepted]:
        """POST /accounts/add-credential/{account}/{connector}: a body of `credential_body`. To loopback and private
        addresses only; whatever comes back is shown without the values.
        """
        found = await self._wire.act(
            "/accounts/add-credential/{account}/{connector}",
            accepted,
            names={"account": account, "connector": connector},
            body=body,
            limit_s=LOGIN_S,
            private_only=True,
            clean=without([value.get_secret_value() for _, value, _ in body.fields() if isinstance(value, SecretStr)]),
        )
        # What it says of a success is nothing anybody needs, and might quote.
        return Ok(models.Accepted()) if isinstance(found, Ok) else found

    async def delete_credential(self, account: str, connector: str) -> Result[models.Accepted]:
        """POST /accounts/delete-credential/{account}/{connector}: done as well when there was none."""
        path = "/accounts/delete-credential/{account}/{connector}"
        return await self._wire.act(path, accepted, names={"account": account, "connector": connector})

    async def connectors(self) -> Result[tuple[str, ...]]:
        """GET /connectors/: every connector of this server."""
        return await self._wire.ask("/connectors/", _read_names)

    async def config_map(self, connector: str) -> Result[Mapping[str, models.ConfigField]]:
        """GET /connectors/{connector}/config-map: the fields of its credentials; older servers tell names only."""
        path = "/connectors/{connector}/config-map"
        return await self._wire.ask(path, _config_map, names={"connector": connector})

    async def portfolio(
        self, body: requests.PortfolioQuery
    ) -> Result[Mapping[str, Mapping[str, tuple[models.Balance, ...]]]]:
        """POST /portfolio/state: tokens held, by account and connector; an account without any is missing."""
        return await self._wire.ask("/portfolio/state", _read_portfolio, body=body, limit_s=REFRESH_S)


def _config_map(data: Any) -> Mapping[str, models.ConfigField]:
    found = {name: {} for name in data} if isinstance(data, list) else data
    return cast(Mapping[str, models.ConfigField], _read_map(found))
